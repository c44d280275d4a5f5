#include <math.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "formats/imagefile.h"
#include "formats/imagefile_write.h"
#include "tools/cli.h"
#include "tools/export.h"
#include "tools/normrec.h"

struct vq_export_tiff {
	const char *path, *root;
	bool made;            /* the directory is ours */
	char *field;          /* the one in memory; NULL for none */
	char *description;    /* its OME-XML */
	vq_tensor planes;     /* u16 [C,H,W]: its pixels, with the cells so far put back */
	vq_tensor labels;     /* i32 [H,W], or empty */
	uint64_t values, clipped, beyond; /* put back: all; those that clipping changed; those that 16 bit do not hold */
};

static const cJSON *get(const cJSON *object, const char *key) { return cJSON_GetObjectItemCaseSensitive(object, key); }

/* --- the field as it was ------------------------------------------------------------------------------------------- */

static vq_status open_source(const vq_export_tiff *e, const char *name, vq_image_file **f)
{
	char *path = e->root && *name != '/' ? vq_format("%s/%s", e->root, name) : vq_strdup(name);
	if (!path)
		return VQ_ENOMEM;
	vq_status s = vq_image_open(f, path, NULL);
	if (s == VQ_EIO && *name != '/' && !e->root)
		s = vq_fail(s, "%s (--path-root DIR says where relative names begin)", vq_message());
	free(path);
	return s;
}

static double plane_mean(const vq_tensor *t, int64_t c)
{
	size_t n = (size_t)(t->shape[1] * t->shape[2]);
	double sum = 0;
	for (size_t i = 0; i < n; i++)
		sum += vq_tensor_get(t, (size_t)c * n + i);
	return sum / (double)n;
}

/* Plane c of the field from the first of these planes with the mean that was recorded (not finite: the first one). */
static bool take_plane(vq_tensor *to, int c, const vq_tensor *from, double mean)
{
	size_t n = (size_t)(to->shape[1] * to->shape[2]);
	if ((from->dtype != VQ_U8 && from->dtype != VQ_U16) || from->shape[1] != to->shape[1] || from->shape[2] != to->shape[2])
		return false;
	for (int64_t k = 0; k < from->shape[0]; k++) {
		if (isfinite(mean) && fabs(plane_mean(from, k) - mean) > 1e-9 * fmax(1, fabs(mean)))
			continue;
		for (size_t i = 0; i < n; i++)
			((uint16_t *)to->data)[(size_t)c * n + i] = (uint16_t)vq_tensor_get(from, (size_t)k * n + i);
		return true;
	}
	return false;
}

/* The page that the record names, else all channels of the file: whichever has the mean. */
static vq_status load_plane(vq_export_tiff *e, int c, const char *name, int page, double mean)
{
	vq_image_file *f;
	bool found = false;
	VQ_TRY(open_source(e, name, &f));
	for (int way = 0; way < 3 && !found; way++) {
		vq_pick pick = VQ_PICK;
		vq_image im;
		if (way == 0)
			pick.page = page;
		pick.pages_are_channels = way == 2;
		if (vq_image_planes(f, &pick, &im) < 0)
			continue;
		found = take_plane(&e->planes, c, &im.planes, mean);
		vq_image_free(&im);
	}
	vq_status s = found ? VQ_OK : vq_fail(VQ_EUNSUP, "%s: no plane of 8 or 16 bit, %lldx%lld px and mean %.10g, as recorded (a projection, a corrected illumination, or another file)",
	                                      vq_image_path(f), (long long)e->planes.shape[2], (long long)e->planes.shape[1], mean);
	vq_image_close(f);
	return s;
}

static vq_status load_labels(vq_export_tiff *e, const char *name)
{
	vq_image_file *f;
	VQ_TRY(open_source(e, name, &f));
	vq_status s = vq_image_labels(f, &VQ_PICK, &e->labels);
	if (s == VQ_OK && (e->labels.shape[0] != e->planes.shape[1] || e->labels.shape[1] != e->planes.shape[2]))
		s = vq_fail(VQ_EINVAL, "%s: labels of another size than the field", vq_image_path(f));
	vq_image_close(f);
	return s;
}

static vq_status xml_text(vq_buf *b, const char *s)
{
	for (; *s; s++) {
		const char *as = *s == '<' ? "&lt;" : *s == '&' ? "&amp;" : *s == '"' ? "&quot;" : NULL;
		VQ_TRY(as ? vq_buf_str(b, as) : vq_buf_add(b, s, 1));
	}
	return VQ_OK;
}

static vq_status describe(const vqt_record *rec, const cJSON *header, const vq_tensor *planes, vq_buf *b)
{
	char buf[32];
	VQ_TRY(vq_buf_fmt(b, "<?xml version=\"1.0\" encoding=\"UTF-8\"?><OME xmlns=\"http://www.openmicroscopy.org/Schemas/OME/2016-06\">"
		"<Image ID=\"Image:0\"><Pixels ID=\"Pixels:0\" DimensionOrder=\"XYCZT\" Type=\"uint16\" BigEndian=\"false\" SizeX=\"%lld\" SizeY=\"%lld\" "
		"SizeC=\"%lld\" SizeZ=\"1\" SizeT=\"1\">", (long long)planes->shape[2], (long long)planes->shape[1], (long long)planes->shape[0]));
	for (int c = 0; c < planes->shape[0]; c++) {
		VQ_TRY(vq_buf_fmt(b, "<Channel ID=\"Channel:0:%d\" SamplesPerPixel=\"1\" Name=\"", c));
		VQ_TRY(xml_text(b, vq_export_channel(rec, header, c, buf)));
		VQ_TRY(vq_buf_str(b, "\"/>"));
	}
	return vq_buf_str(b, "<TiffData/></Pixels></Image></OME>");
}

static void forget_field(vq_export_tiff *e)
{
	free(e->field);
	free(e->description);
	e->field = e->description = NULL;
	vq_tensor_free(&e->planes);
	vq_tensor_free(&e->labels);
}

static vq_status load_field(vq_export_tiff *e, const vqt_record *rec, const cJSON *header, const char *field, int64_t channels)
{
	const cJSON *source = get(rec->meta, "source"), *files = get(source, "files"), *pages = get(source, "pages");
	const cJSON *size = get(rec->meta, "field_size"), *h = cJSON_GetArrayItem(size, 0), *w = cJSON_GetArrayItem(size, 1);
	const cJSON *means = get(get(rec->meta, "field_stats"), "mean");
	vq_buf text = {0};
	if (!cJSON_IsNumber(h) || !cJSON_IsNumber(w) || !(h->valuedouble >= 1 && w->valuedouble >= 1 && h->valuedouble * w->valuedouble < 1e10))
		return vq_fail(VQ_EINVAL, "it does not know the size of its field (field_size)");
	if (cJSON_GetArraySize(files) != channels)
		return vq_fail(VQ_EINVAL, "it knows %d files of its field, for %lld channels", cJSON_GetArraySize(files), (long long)channels);
	VQ_TRY(vq_tensor_make(&e->planes, VQ_U16, 3, (int64_t[]){ channels, (int64_t)h->valuedouble, (int64_t)w->valuedouble }));
	for (int c = 0; c < channels; c++) {
		const cJSON *name = cJSON_GetArrayItem(files, c), *page = cJSON_GetArrayItem(pages, c), *mean = cJSON_GetArrayItem(means, c);
		if (!cJSON_IsString(name))
			return vq_fail(VQ_EFORMAT, "metadata key source.files has an entry that is no name");
		VQ_TRY(load_plane(e, c, name->valuestring, cJSON_IsNumber(page) ? (int)page->valuedouble : 0, cJSON_IsNumber(mean) ? mean->valuedouble : NAN));
	}
	vq_status s = describe(rec, header, &e->planes, &text);
	e->description = text.data;
	VQ_TRY(s);
	return (e->field = vq_strdup(field)) ? VQ_OK : VQ_ENOMEM;
}

/* --- a cell in its field -------------------------------------------------------------------------------------------- */

typedef struct { vq_geom g; vq_norm n; int64_t y0, x0, label; const vq_tensor *mask; int mine; } cell;

/* Own: mask 1, else the label, else (mine < 0) all that is labelled; without either the whole box. */
static bool own(const vq_export_tiff *e, const cell *k, int64_t y, int64_t x)
{
	if (k->mask)
		return ((const uint8_t *)k->mask->data)[(k->g.top + y) * k->mask->shape[1] + k->g.left + x] == 1;
	if (!e->labels.data)
		return true;
	int32_t l = ((const int32_t *)e->labels.data)[(k->y0 + y) * e->labels.shape[1] + k->x0 + x];
	return k->mine < 0 ? l != 0 : l == k->label;
}

static int64_t count_own(const vq_export_tiff *e, const cell *k)
{
	int64_t n = 0;
	for (int64_t y = 0; y < k->g.h; y++)
		for (int64_t x = 0; x < k->g.w; x++)
			n += own(e, k, y, x);
	return n;
}

static vq_status find_own(const vq_export_tiff *e, const vqt_record *rec, cell *k)
{
	const cJSON *area = get(rec->meta, "area");
	if (k->mask || !e->labels.data || !cJSON_IsNumber(area) || count_own(e, k) == (int64_t)area->valuedouble)
		return VQ_OK;
	k->mine = -1; /* a mask image of any value, as vq-crop --whole takes it */
	if (count_own(e, k) == (int64_t)area->valuedouble)
		return VQ_OK;
	k->mine = 0;
	return vq_fail(VQ_EINVAL, "the label image has %lld pixels of label %lld in its box, not %.0f as recorded", (long long)count_own(e, k), (long long)k->label, area->valuedouble);
}

static vq_status place(const vq_export_tiff *e, const vqt_record *rec, cell *k)
{
	const cJSON *box = get(rec->meta, "bbox"), *label = get(rec->meta, "label");
	double v[4];
	for (int i = 0; i < 4; i++) {
		const cJSON *item = cJSON_GetArrayItem(box, i);
		if (!cJSON_IsNumber(item) || item->valuedouble != floor(item->valuedouble))
			return vq_fail(VQ_EINVAL, "it does not know its place in the field (bbox)");
		v[i] = item->valuedouble;
	}
	if (!(v[0] >= 0 && v[1] >= 0 && v[2] <= (double)e->planes.shape[1] && v[3] <= (double)e->planes.shape[2]) || v[2] - v[0] != (double)k->g.h || v[3] - v[1] != (double)k->g.w)
		return vq_fail(VQ_EINVAL, "its box is not of its size, or leaves the field");
	k->y0 = (int64_t)v[0];
	k->x0 = (int64_t)v[1];
	k->label = cJSON_IsNumber(label) ? (int64_t)label->valuedouble : -1;
	return find_own(e, rec, k);
}

/* What a value of the field has lost that lies outside the limits of the normalisation. */
static bool was_clipped(const vq_norm *n, int c, double old)
{
	if (n->method != VQ_NORM_ROBUST && n->method != VQ_NORM_MINMAX)
		return n->method == VQ_NORM_ZSCORE && n->constant[c] && old != n->a[c];
	return n->constant[c] ? old != n->a[c] : n->clip && (old < n->a[c] || old > n->b[c]);
}

static void put_back(vq_export_tiff *e, const cell *k, const vq_tensor *grey)
{
	for (int c = 0; c < grey->shape[0]; c++)
		for (int64_t y = 0; y < k->g.h; y++)
			for (int64_t x = 0; x < k->g.w; x++) {
				if (!own(e, k, y, x))
					continue;
				uint16_t *to = (uint16_t *)e->planes.data + ((int64_t)c * e->planes.shape[1] + k->y0 + y) * e->planes.shape[2] + k->x0 + x;
				double v = rint(((const double *)grey->data)[((int64_t)c * grey->shape[1] + k->g.top + y) * grey->shape[2] + k->g.left + x]);
				e->values++;
				e->clipped += was_clipped(&k->n, c, *to);
				e->beyond += !(v >= 0 && v <= UINT16_MAX);
				*to = (uint16_t)(v > 0 ? fmin(v, UINT16_MAX) : 0);
			}
}

/* --- the target ----------------------------------------------------------------------------------------------------- */

vq_status vq_export_tiff_open(vq_export_tiff **out, const char *path, const char *root)
{
	*out = NULL;
	vq_export_tiff *e = vq_calloc(1, sizeof *e);
	if (!e)
		return VQ_ENOMEM;
	vq_status s = vq_export_dir_open(path, &e->made);
	if (s < 0) {
		free(e);
		return s;
	}
	e->path = path;
	e->root = root;
	*out = e;
	return VQ_OK;
}

static char *file_of(const vq_export_tiff *e, const char *field)
{
	char *name = vq_export_file_name(field, ".ome.tif"), *file = name ? vq_format("%s/%s", e->path, name) : NULL;
	free(name);
	return file;
}

static vq_status write_field(vq_export_tiff *e)
{
	if (!e->field)
		return VQ_OK;
	char *file = file_of(e, e->field);
	vq_status s = file ? vq_tiff_write(file, &e->planes, &(vq_tiff_options){ .compress = true, .description = e->description }) : VQ_ENOMEM;
	free(file);
	forget_field(e);
	return s;
}

static vq_status change_field(vq_export_tiff *e, const vqt_record *rec, const cJSON *header, const char *field, int64_t channels)
{
	VQ_TRY(write_field(e));
	char *file = file_of(e, field);
	vq_status s = !file ? VQ_ENOMEM : access(file, F_OK) ? VQ_OK : vq_fail(VQ_EINVAL, "%s is there already: the cells of a field must follow each other", file);
	free(file);
	if (s == VQ_OK && (s = load_field(e, rec, header, field, channels)) < 0)
		forget_field(e);
	return s;
}

static vq_status put(vq_export_tiff *e, const vqt_record *rec, const cJSON *header, vq_tensor *grey)
{
	cell k = {0};
	vq_tensor *image, *mask;
	char buf[32];
	const char *field = vq_sample_text(rec->meta, "field", buf);
	VQ_TRY(vq_sample_check(rec, &image, &mask));
	VQ_TRY(vq_norm_get(rec->meta, &k.n));
	VQ_TRY(vq_geom_get(rec->meta, image, &k.g));
	VQ_TRY(vq_denormalize_record(rec, grey));
	if (!field)
		return vq_fail(VQ_EINVAL, "it does not know its field");
	if (!e->field || strcmp(e->field, field))
		VQ_TRY(change_field(e, rec, header, field, image->shape[0]));
	if (e->planes.shape[0] != image->shape[0])
		return vq_fail(VQ_EINVAL, "%lld channels, the field has %lld", (long long)image->shape[0], (long long)e->planes.shape[0]);
	k.mask = mask;
	const cJSON *labels = get(get(rec->meta, "source"), "labels");
	if (!mask && !e->labels.data && cJSON_IsString(labels))
		VQ_TRY(load_labels(e, labels->valuestring));
	VQ_TRY(place(e, rec, &k));
	put_back(e, &k, grey);
	return VQ_OK;
}

vq_status vq_export_tiff_put(vq_export_tiff *e, const vqt_record *rec, const cJSON *header)
{
	vq_tensor grey = {0};
	vq_status s = put(e, rec, header, &grey);
	vq_tensor_free(&grey);
	return s == VQ_OK || !strncmp(vq_message(), "record ", 7) ? s : vq_context(s, "record %s", rec->id);
}

static void forget(vq_export_tiff *e)
{
	forget_field(e);
	free(e);
}

vq_status vq_export_tiff_commit(vq_export_tiff *e)
{
	vq_status s = write_field(e);
	if (s == VQ_OK && e->clipped)
		vq_warn("%llu of %llu values inside cells had been clipped by the normalisation and stand at its limits (vq-normalize --no-clip or --minmax keeps them)",
		        (unsigned long long)e->clipped, (unsigned long long)e->values);
	if (s == VQ_OK && e->beyond)
		vq_warn("%llu of %llu values inside cells were below 0 or above 65535 and stand at that limit", (unsigned long long)e->beyond, (unsigned long long)e->values);
	if (s == VQ_OK)
		forget(e);
	else
		vq_export_tiff_abort(e);
	return s;
}

void vq_export_tiff_abort(vq_export_tiff *e)
{
	if (!e)
		return;
	vq_export_dir_abort(e->path, ".ome.tif", e->made);
	forget(e);
}
