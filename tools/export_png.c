#include <ctype.h>
#include <dirent.h>
#include <errno.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "formats/imagefile_write.h"
#include "formats/xxh64.h"
#include "tools/export.h"

enum { NAME_MOST = 180 };

/* --- names --- */

vq_status vq_export_dir_open(const char *path, bool *made)
{
	*made = !mkdir(path, 0777);
	if (*made)
		return VQ_OK;
	DIR *d = errno == EEXIST ? opendir(path) : NULL;
	if (!d)
		return vq_fail(VQ_EIO, "%s: %s", path, strerror(errno));
	bool empty = true;
	for (struct dirent *e; empty && (e = readdir(d));)
		empty = !strcmp(e->d_name, ".") || !strcmp(e->d_name, "..");
	closedir(d);
	return empty ? VQ_OK : vq_fail(VQ_EIO, "%s: the directory is not empty", path);
}

void vq_export_dir_abort(const char *path, const char *end, bool made)
{
	DIR *d = opendir(path);
	for (struct dirent *e; d && (e = readdir(d));) {
		size_t n = strlen(e->d_name), tail = strlen(end);
		char *file = n > tail && !strcmp(e->d_name + n - tail, end) ? vq_format("%s/%s", path, e->d_name) : NULL;
		if (file)
			unlink(file);
		free(file);
	}
	if (d)
		closedir(d);
	if (made)
		rmdir(path);
}

/* FIELD#12 and no other '#': what vq-crop and vq-synth make. */
static bool plain_label(const char *id)
{
	const char *hash = strchr(id, '#');
	return hash && hash[1] && hash[1 + strspn(hash + 1, "0123456789")] == 0;
}

char *vq_export_file_name(const char *id, const char *end)
{
	vq_buf b = {0};
	bool changed = *id == '.' || strlen(id) > NAME_MOST, label = plain_label(id);
	vq_status s = VQ_OK;
	for (const char *p = id; s == VQ_OK && *p && b.len < NAME_MOST; p++) {
		bool keep = isascii((unsigned char)*p) && (isalnum((unsigned char)*p) || strchr("._-", *p)) && !(p == id && *p == '.');
		changed |= !keep && !(*p == '#' && label);
		s = vq_buf_add(&b, keep ? p : "_", 1);
	}
	if (s == VQ_OK && changed)
		s = vq_buf_fmt(&b, "-%016llx", (unsigned long long)vq_xxh64_of(id, strlen(id), 0));
	if (s == VQ_OK)
		s = vq_buf_str(&b, end);
	if (s < 0)
		vq_buf_free(&b);
	return b.data;
}

/* --- pixels --- */

/* What shows as black and as white. */
static void contrast(const vqt_record *rec, const vq_norm *n, const vq_tensor *image, const vq_geom *g, int c, double *lo, double *hi)
{
	*lo = -1, *hi = 1;
	if (n->method == VQ_NORM_ZSCORE)
		*lo = -3, *hi = 3;
	if (n->method != VQ_NORM_RAW && n->method != VQ_NORM_NONE)
		return;
	const cJSON *p = cJSON_GetObjectItemCaseSensitive(cJSON_GetObjectItemCaseSensitive(rec->meta, "field_stats"), "percentiles");
	const cJSON *levels = cJSON_GetObjectItemCaseSensitive(p, "p"), *level;
	const cJSON *values = cJSON_GetArrayItem(cJSON_GetObjectItemCaseSensitive(p, "values"), c);
	int k = 0;
	*lo = INFINITY, *hi = -INFINITY;
	cJSON_ArrayForEach(level, levels) {
		const cJSON *v = cJSON_GetArrayItem(values, k++);
		if (cJSON_IsNumber(v) && level->valuedouble == 0.1)
			*lo = v->valuedouble;
		if (cJSON_IsNumber(v) && level->valuedouble == 99.9)
			*hi = v->valuedouble;
	}
	if (*hi > *lo)
		return;
	*lo = INFINITY, *hi = -INFINITY;
	for (int64_t y = 0; y < g->h; y++)
		for (int64_t x = 0; x < g->w; x++) {
			double v = vq_tensor_get(image, (size_t)((c * image->shape[1] + g->top + y) * image->shape[2] + g->left + x));
			*lo = isfinite(v) ? fmin(*lo, v) : *lo;
			*hi = isfinite(v) ? fmax(*hi, v) : *hi;
		}
}

/* Adds channel c, in its colour, to a picture of `samples` samples a pixel. */
static void add_channel(const vqt_record *rec, const vq_norm *n, const vq_tensor *image, const vq_geom *g, int c, const uint8_t colour[3],
                        vq_tensor *out)
{
	double lo, hi;
	int samples = (int)out->shape[2];
	contrast(rec, n, image, g, c, &lo, &hi);
	uint8_t *to = out->data;
	for (int64_t y = 0; y < g->h; y++)
		for (int64_t x = 0; x < g->w; x++, to += samples) {
			double v = vq_tensor_get(image, (size_t)((c * image->shape[1] + g->top + y) * image->shape[2] + g->left + x));
			v = hi > lo ? (v - lo) / (hi - lo) : 0;
			v = v > 0 ? v < 1 ? v : 1 : 0;
			for (int k = 0; k < samples; k++)
				to[k] = (uint8_t)VQ_MIN(255, to[k] + (int)lround(v * colour[k]));
		}
}

static vq_status find_channel(const vqt_record *rec, const cJSON *header, const char *name, int channels, int *out)
{
	char buf[32];
	int best = 0, least = -1;
	for (int c = 0; c < channels; c++) {
		const int d = vq_distance(name, vq_export_channel(rec, header, c, buf));
		if (least < 0 || d < least) {
			best = c;
			least = d;
		}
	}
	*out = best;
	return !least ? VQ_OK : vq_fail(VQ_EINVAL, "record %s has no channel %s; the nearest is %s", rec->id, name, vq_export_channel(rec, header, best, buf));
}

static vq_status picture(const vqt_record *rec, const cJSON *header, const char *channel, vq_tensor *out)
{
	static const uint8_t white[3] = { 255, 255, 255 };
	static const uint8_t colour[7][3] = { { 0, 90, 255 }, { 0, 255, 0 }, { 255, 0, 0 }, { 255, 0, 255 }, { 0, 255, 255 }, { 255, 255, 0 },
		{ 128, 128, 128 } };
	vq_tensor *image;
	vq_norm n;
	vq_geom g;
	*out = (vq_tensor){0};
	VQ_TRY(vq_sample_check(rec, &image, NULL));
	VQ_TRY(vq_norm_get(rec->meta, &n));
	VQ_TRY(vq_geom_get(rec->meta, image, &g));
	int channels = (int)image->shape[0], one = channels == 1 ? 0 : -1;
	if (channel)
		VQ_TRY(find_channel(rec, header, channel, channels, &one));
	VQ_TRY(vq_tensor_make(out, VQ_U8, 3, (int64_t[]){ g.h, g.w, one >= 0 ? 1 : 3 }));
	if (one >= 0)
		add_channel(rec, &n, image, &g, one, white, out);
	for (int c = 0; one < 0 && c < channels; c++)
		add_channel(rec, &n, image, &g, c, colour[VQ_MIN(c, 6)], out);
	return VQ_OK;
}

vq_status vq_export_png_put(const char *path, const vqt_record *rec, const cJSON *header, const char *channel)
{
	vq_tensor t;
	VQ_TRY(picture(rec, header, channel, &t));
	char *name = vq_export_file_name(rec->id, ".png"), *file = name ? vq_format("%s/%s", path, name) : NULL;
	vq_status s = VQ_ENOMEM;
	if (file && !access(file, F_OK))
		s = vq_fail(VQ_EIO, "%s: two records go by this name, %s is the second", file, rec->id);
	else if (file)
		s = vq_png_write(file, &t);
	free(file);
	free(name);
	vq_tensor_free(&t);
	return s;
}
