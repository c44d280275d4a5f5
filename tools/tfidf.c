#include "tools/tfidf.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

static vq_status check_codes(const cJSON *header, const char *book)
{
	const char *kind = vqt_header_kind(header);
	const cJSON *level = cJSON_GetArrayItem(cJSON_GetObjectItemCaseSensitive(cJSON_GetObjectItemCaseSensitive(header, "model"), "levels"), 0);
	const char *hash = cJSON_GetStringValue(cJSON_GetObjectItemCaseSensitive(level, "hash"));
	if (strcmp(kind, "codes"))
		return vq_fail(VQ_EINVAL, "it holds %s, not codes: vq-encode --features makes them", kind);
	return book && hash && strcmp(book, hash) ? vq_fail(VQ_EINVAL, "codes of another model: of other codebook vectors") : VQ_OK;
}

/* Adds 1 to each code that the cell has. */
static vq_status count_cell(const vqt_record *r, float *with, int64_t size)
{
	const vq_tensor *t = vqt_get(r, "histogram");
	if (!t)
		return vq_fail(VQ_EINVAL, "record %s: no histogram (vq-encode --features writes it)", r->id);
	if (t->ndim != 1 || t->shape[0] != size)
		return vq_fail(VQ_EINVAL, "record %s: a histogram of other than %lld codes", r->id, (long long)size);
	for (int64_t k = 0; k < size; k++)
		with[k] += vq_tensor_get(t, (size_t)k) > 0;
	return VQ_OK;
}

static vq_status read_cells(vqt_reader *in, float *idf, int64_t size)
{
	vqt_record r;
	int got;
	while ((got = vqt_next(in, &r)) > 0) {
		vq_status s = count_cell(&r, idf, size);
		vqt_record_free(&r);
		VQ_TRY(s);
	}
	VQ_TRY(got);
	if (!vqt_count(in))
		return vq_fail(VQ_EINVAL, "it holds no record");
	for (int64_t k = 0; k < size; k++)
		idf[k] = (float)(log((1 + (double)vqt_count(in)) / (1 + (double)idf[k])) + 1);
	return VQ_OK;
}

vq_status vq_idf_read(float **idf, const char *path, int64_t size, const char *book)
{
	vqt_reader *in;
	*idf = NULL;
	VQ_TRY(vqt_open(&in, path, NULL, NULL));
	float *v = vq_calloc((size_t)size, sizeof *v);
	vq_status s = v ? check_codes(vqt_header(in), book) : VQ_ENOMEM;
	if (s == VQ_OK)
		s = read_cells(in, v, size);
	if (s < 0 && strncmp(vq_message(), path, strlen(path)))
		vq_context(s, "%s", vqt_name(in));
	vqt_close(in);
	if (s == VQ_OK)
		*idf = v;
	else
		free(v);
	return s;
}

void vq_tfidf(const int32_t *histogram, const float *idf, int64_t size, float *out)
{
	double squares = 0;
	for (int64_t k = 0; k < size; k++) {
		const double v = histogram[k] * (double)idf[k];
		squares += v * v;
	}
	const double scale = squares > 0 ? 1 / sqrt(squares) : 0;
	for (int64_t k = 0; k < size; k++)
		out[k] = (float)(histogram[k] * (double)idf[k] * scale);
}
