#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "formats/h5ad.h"
#include "formats/safetensors.h"
#include "lib/eval/pca.h"
#include "lib/model/model.h"
#include "tools/cli.h"
#include "tools/export.h"

enum { COMPONENTS = 50, ROWS_AT_ONCE = 256 };

struct vq_export_h5ad {
	vq_h5ad *h;
	vq_st *model;
	int64_t latent;         /* values of latent_mean; 0: the first record has none */
	int64_t codes[VQ_CODE_LEVELS_MAX]; /* of histogram, histogram.1, ... */
	int channels;           /* of the raw measurements; 0 when the first record has none */
	int d;                  /* features */
	int to_codes[VQ_CODE_LEVELS_MAX], to_tfidf, to_pca; /* matrices */
	float *x;               /* [d] */
	float *histogram;       /* [the most of codes] */
	bool weighted;          /* the first record has tfidf */
	vq_pca pca;
};

static const cJSON *get(const cJSON *object, const char *key) { return cJSON_GetObjectItemCaseSensitive(object, key); }

/* --- what the first record decides ---------------------------------------------------------------------------------- */

static const char *const measures[] = { "mean", "integrated", "background" }, *const measure_names[] = { "Mean", "Integrated", "Background" };

static vq_status name_features(vq_export_h5ad *e, const vqt_record *rec, const cJSON *header, char **names)
{
	int at = 0;
	char buf[32];
	for (int64_t i = 0; i < e->latent; i++, at++)
		if (!(names[at] = vq_format("Cells_VQ_LatentMean_%lld", (long long)i)))
			return VQ_ENOMEM;
	for (int64_t i = 0; i < e->latent; i++, at++)
		if (!(names[at] = vq_format("Cells_VQ_LatentStd_%lld", (long long)i)))
			return VQ_ENOMEM;
	if (e->channels && !(names[at++] = vq_strdup("Cells_VQ_Raw_Area")))
		return VQ_ENOMEM;
	for (size_t k = 0; k < VQ_COUNT(measures); k++)
		for (int c = 0; c < e->channels; c++, at++)
			if (!(names[at] = vq_format("Cells_VQ_Raw_%s_%s", measure_names[k], vq_export_channel(rec, header, c, buf))))
				return VQ_ENOMEM;
	return vq_h5ad_features(e->h, (const char *const *)names, e->d);
}

static vq_status declare_obs(vq_export_h5ad *e)
{
	static const char *const first[] = { "Metadata_Plate", "Metadata_Well", "Metadata_Site", "Metadata_ImageNumber", "Metadata_ObjectNumber", "Metadata_CellID" };
	for (size_t i = 0; i < VQ_COUNT(first); i++)
		VQ_TRY(vq_h5ad_column(e->h, first[i], i == 3 || i == 4));
	return VQ_OK;
}

static int64_t vector_length(const vqt_record *rec, const char *name)
{
	const vq_tensor *t = vqt_get(rec, name);
	return t && t->ndim == 1 ? t->shape[0] : 0;
}

/* A level's histogram in a record, and its matrix. */
static const char *level_name(char buf[32], const char *name, int level)
{
	if (level)
		snprintf(buf, 32, "%.16s.%d", name, level);
	else
		snprintf(buf, 32, "%.16s", name);
	return buf;
}

static vq_status measure_first(vq_export_h5ad *e, const vqt_record *rec)
{
	char buf[32];
	e->latent = vqt_get(rec, "latent_std") ? vector_length(rec, "latent_mean") : 0;
	for (int l = 0; l < VQ_CODE_LEVELS_MAX; l++)
		e->codes[l] = vector_length(rec, level_name(buf, "histogram", l));
	e->weighted = e->codes[0] && vector_length(rec, "tfidf") == e->codes[0];
	e->channels = cJSON_GetArraySize(get(get(rec->meta, "raw"), "mean"));
	if (!e->latent && !e->channels)
		return vq_fail(VQ_EINVAL, "record %s has neither latent features (vq-encode --features writes them) nor raw measurements", rec->id);
	if (e->channels > VQ_CHANNELS_MAX || e->latent > VQ_PCA_MAX / 2 - VQ_CHANNELS_MAX * 2)
		return vq_fail(VQ_ELIMIT, "record %s: %lld latent values and %d channels are too many", rec->id, (long long)e->latent, e->channels);
	e->d = (int)(2 * e->latent) + (e->channels ? 1 + 3 * e->channels : 0);
	if (!e->latent)
		vq_warn("no latent features in the stream: X holds raw measurements only (vq-encode --features writes them)");
	return VQ_OK;
}

static vq_status declare(vq_export_h5ad *e, const vqt_record *rec, const cJSON *header)
{
	char **names = vq_calloc((size_t)e->d, sizeof *names);
	vq_status s = names ? name_features(e, rec, header, names) : VQ_ENOMEM;
	for (int i = 0; names && i < e->d; i++)
		free(names[i]);
	free(names);
	VQ_TRY(s);
	VQ_TRY(declare_obs(e));
	int64_t most = 0;
	char buf[32];
	for (int l = 0; l < VQ_CODE_LEVELS_MAX; l++) {
		if (e->codes[l])
			VQ_TRY(vq_h5ad_matrix(e->h, level_name(buf, "obsm/X_codes", l), e->codes[l], true, &e->to_codes[l]));
		most = VQ_MAX(most, e->codes[l]);
	}
	if (e->weighted)
		VQ_TRY(vq_h5ad_matrix(e->h, "obsm/X_tfidf", e->codes[0], true, &e->to_tfidf));
	e->x = vq_malloc((size_t)e->d * sizeof *e->x);
	e->histogram = vq_malloc((size_t)most * sizeof *e->histogram);
	return e->x && e->histogram ? vq_pca_make(&e->pca, e->d) : VQ_ENOMEM;
}

/* --- uns ------------------------------------------------------------------------------------------------------------ */

static vq_status put_codebook(vq_export_h5ad *e, const cJSON *level)
{
	const cJSON *name = get(level, "name"), *tensor = get(level, "tensor"), *size = get(level, "size"), *dim = get(level, "dim");
	if (!cJSON_IsString(name) || strncmp(name->valuestring, "codes", 5) || !cJSON_IsString(tensor) || !cJSON_IsNumber(size) || !cJSON_IsNumber(dim))
		return vq_fail(VQ_EFORMAT, "the header's model.levels has an entry without name, tensor, size and dim");
	vq_tensor t;
	VQ_TRY(vq_st_f32(e->model, tensor->valuestring, 2, (int64_t[]){ (int64_t)size->valuedouble, (int64_t)dim->valuedouble }, &t));
	char *path = vq_format("uns/codebook%s", name->valuestring + 5);
	vq_status s = path ? vq_h5ad_array(e->h, path, &t) : VQ_ENOMEM;
	free(path);
	vq_tensor_free(&t);
	return s;
}

static vq_status put_channels(vq_export_h5ad *e, const cJSON *channels)
{
	const char *names[VQ_CHANNELS_MAX];
	int n = 0;
	const cJSON *item;
	cJSON_ArrayForEach(item, channels)
		if (cJSON_IsString(item) && n < VQ_CHANNELS_MAX)
			names[n++] = item->valuestring;
	return n ? vq_h5ad_texts(e->h, "uns/channels", names, n) : VQ_OK;
}

static vq_status put_uns(vq_export_h5ad *e, const cJSON *header)
{
	const cJSON *chain = get(header, "chain"), *level, *levels = get(get(header, "model"), "levels");
	char *text = chain ? cJSON_PrintUnformatted(chain) : NULL;
	vq_status s = text ? vq_h5ad_text(e->h, "uns/chain", text) : chain ? vq_fail(VQ_ENOMEM, "out of memory") : VQ_OK;
	cJSON_free(text);
	VQ_TRY(s);
	VQ_TRY(put_channels(e, get(header, "channels")));
	if (!e->model)
		return VQ_OK;
	if (!cJSON_GetArraySize(levels))
		return vq_fail(VQ_EINVAL, "a stream that names no codebook has no use for -m MODEL");
	cJSON_ArrayForEach(level, levels)
		VQ_TRY(put_codebook(e, level));
	return VQ_OK;
}

/* --- cells ---------------------------------------------------------------------------------------------------------- */

static vq_status take_vector(const vqt_record *rec, const char *name, int64_t n, float *to)
{
	const vq_tensor *t = vqt_get(rec, name);
	if (!n && !t)
		return VQ_OK;
	if (!t || t->ndim != 1 || t->shape[0] != n)
		return vq_fail(VQ_EINVAL, "record %s: %s is not of the %lld values that the first record has", rec->id, name, (long long)n);
	for (int64_t i = 0; i < n; i++)
		to[i] = (float)vq_tensor_get(t, (size_t)i);
	return VQ_OK;
}

static float number(const cJSON *item) { return cJSON_IsNumber(item) ? (float)item->valuedouble : NAN; }

static vq_status fill(vq_export_h5ad *e, const vqt_record *rec)
{
	const cJSON *raw = get(rec->meta, "raw");
	float *x = e->x + 2 * e->latent;
	VQ_TRY(take_vector(rec, "latent_mean", e->latent, e->x));
	VQ_TRY(take_vector(rec, "latent_std", e->latent, e->x + e->latent));
	if (cJSON_GetArraySize(get(raw, "mean")) != e->channels)
		return vq_fail(VQ_EINVAL, "record %s: raw measurements of %d channels, the first record's are of %d", rec->id,
		               cJSON_GetArraySize(get(raw, "mean")), e->channels);
	if (e->channels)
		*x++ = number(get(rec->meta, "area"));
	for (size_t k = 0; k < VQ_COUNT(measures); k++)
		for (int c = 0; c < e->channels; c++)
			*x++ = number(cJSON_GetArrayItem(get(raw, measures[k]), c));
	return VQ_OK;
}

static vq_status put_histograms(vq_export_h5ad *e, const vqt_record *rec)
{
	char buf[32];
	for (int l = 0; l < VQ_CODE_LEVELS_MAX; l++) {
		VQ_TRY(take_vector(rec, level_name(buf, "histogram", l), e->codes[l], e->histogram));
		if (e->codes[l])
			VQ_TRY(vq_h5ad_put(e->h, e->to_codes[l], e->histogram));
	}
	if (e->weighted) {
		VQ_TRY(take_vector(rec, "tfidf", e->codes[0], e->histogram));
		VQ_TRY(vq_h5ad_put(e->h, e->to_tfidf, e->histogram));
	}
	return VQ_OK;
}

static vq_status put_obs(vq_export_h5ad *e, const vqt_record *rec)
{
	char buf[32];
	const char *label = vq_sample_text(rec->meta, "label", buf);
	const cJSON *item;
	if (label)
		VQ_TRY(vq_h5ad_obs(e->h, "Metadata_ObjectNumber", label));
	VQ_TRY(vq_h5ad_obs(e->h, "Metadata_CellID", rec->id));
	cJSON_ArrayForEach(item, get(rec->meta, "metadata"))
		if (cJSON_IsString(item) && strcmp(item->string, "Metadata_CellID") && !(label && !strcmp(item->string, "Metadata_ObjectNumber")))
			VQ_TRY(vq_h5ad_obs(e->h, item->string, item->valuestring));
	return VQ_OK;
}

vq_status vq_export_h5ad_open(vq_export_h5ad **out, const char *path, const char *model)
{
	*out = NULL;
	vq_export_h5ad *e = vq_calloc(1, sizeof *e);
	vq_status s = e ? VQ_OK : VQ_ENOMEM;
	if (s == VQ_OK && model)
		s = vq_st_open(&e->model, model);
	if (s == VQ_OK)
		s = vq_h5ad_open(&e->h, path);
	if (s < 0)
		vq_export_h5ad_abort(e);
	else
		*out = e;
	return s;
}

vq_status vq_export_h5ad_put(vq_export_h5ad *e, const vqt_record *rec, const cJSON *header)
{
	if (!vq_h5ad_count(e->h)) {
		VQ_TRY(measure_first(e, rec));
		VQ_TRY(declare(e, rec, header));
		VQ_TRY(put_uns(e, header));
	}
	VQ_TRY(fill(e, rec));
	vq_status s = put_obs(e, rec);
	if (s < 0)
		return s == VQ_EINVAL ? vq_context(s, "record %s", rec->id) : s;
	vq_pca_moments(&e->pca, e->x, 1);
	VQ_TRY(put_histograms(e, rec));
	return vq_h5ad_cell(e->h, e->x);
}

/* --- principal components, once all cells are there ------------------------------------------------------------------ */

/* Passes over X, ROWS_AT_ONCE at a time: into the covariance, or, with out, through the components. */
static vq_status pass(vq_export_h5ad *e, float *rows, float *out)
{
	for (int64_t first = 0, n; first < vq_h5ad_count(e->h); first += n) {
		n = VQ_MIN(vq_h5ad_count(e->h) - first, ROWS_AT_ONCE);
		VQ_TRY(vq_h5ad_read(e->h, first, n, rows));
		if (!out) {
			vq_pca_covariance(&e->pca, rows, n);
			continue;
		}
		vq_pca_project(&e->pca, rows, n, out);
		for (int64_t i = 0; i < n; i++)
			VQ_TRY(vq_h5ad_put(e->h, e->to_pca, out + i * e->pca.k));
	}
	return VQ_OK;
}

/* varm/PCs and uns/pca, as scanpy names them. */
static vq_status put_axes(vq_export_h5ad *e)
{
	const vq_pca *p = &e->pca;
	double *share = vq_malloc((size_t)p->k * sizeof *share), *axes = vq_malloc((size_t)p->k * (size_t)p->d * sizeof *axes);
	vq_status s = share && axes ? VQ_OK : VQ_ENOMEM;
	for (int k = 0; s == VQ_OK && k < p->k; k++) {
		share[k] = p->variance[k] / p->total;
		for (int j = 0; j < p->d; j++)
			axes[(size_t)j * (size_t)p->k + (size_t)k] = p->axis[(size_t)k * (size_t)p->d + (size_t)j];
	}
	if (s == VQ_OK)
		s = vq_h5ad_array(e->h, "uns/pca/variance", &(vq_tensor){ .dtype = VQ_F64, .ndim = 1, .shape = { p->k }, .data = p->variance });
	if (s == VQ_OK)
		s = vq_h5ad_array(e->h, "uns/pca/variance_ratio", &(vq_tensor){ .dtype = VQ_F64, .ndim = 1, .shape = { p->k }, .data = share });
	if (s == VQ_OK)
		s = vq_h5ad_array(e->h, "varm/PCs", &(vq_tensor){ .dtype = VQ_F64, .ndim = 2, .shape = { p->d, p->k }, .data = axes });
	free(share);
	free(axes);
	return s;
}

static vq_status put_pca(vq_export_h5ad *e)
{
	float *rows = vq_malloc((size_t)ROWS_AT_ONCE * (size_t)e->d * sizeof *rows), *out = vq_malloc((size_t)ROWS_AT_ONCE * COMPONENTS * sizeof *out);
	vq_status s = rows && out ? pass(e, rows, NULL) : VQ_ENOMEM;
	if (s == VQ_OK)
		s = vq_pca_solve(&e->pca, COMPONENTS);
	if (s == VQ_OK && e->pca.k && (s = vq_h5ad_matrix(e->h, "obsm/X_pca", e->pca.k, false, &e->to_pca)) == VQ_OK && (s = pass(e, rows, out)) == VQ_OK)
		s = put_axes(e);
	free(rows);
	free(out);
	return s;
}

static void forget(vq_export_h5ad *e)
{
	vq_st_close(e->model);
	vq_pca_free(&e->pca);
	free(e->x);
	free(e->histogram);
	free(e);
}

vq_status vq_export_h5ad_commit(vq_export_h5ad *e)
{
	vq_status s = put_pca(e);
	if (s < 0) {
		vq_export_h5ad_abort(e);
		return s;
	}
	s = vq_h5ad_commit(e->h);
	forget(e);
	return s;
}

void vq_export_h5ad_abort(vq_export_h5ad *e)
{
	if (!e)
		return;
	vq_h5ad_abort(e->h);
	forget(e);
}
