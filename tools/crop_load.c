#include "tools/crop_load.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "formats/imagefile.h"
#include "formats/npy.h"

enum { PLANES_MAX = 1024, NAME_MAX_BYTES = 200 };

/* One plane of one of the field's files. */
typedef struct {
	char name[NAME_MAX_BYTES];
	const char *suffix;          /* in name: what was added to the column's X; "" */
	int file, page, index;       /* index: in that file's planes */
} plane;

typedef struct {
	const vq_field *field;
	const crop_rules *rules;
	crop_field *out;
	vq_image *image;             /* a file each */
	plane *plane;
	int planes;
} loader;

static size_t pixels(const loader *l) { return (size_t)(l->image[0].planes.shape[1] * l->image[0].planes.shape[2]); }

static const void *plane_data(const loader *l, const plane *p)
{
	const vq_tensor *t = &l->image[p->file].planes;
	return (const char *)t->data + (size_t)p->index * pixels(l) * vq_dtype_size(t->dtype);
}

/* --- which planes of a file --------------------------------------------------------------------------------------- */

static vq_status pick_frame(const char *path, const vq_field_file *file, const vq_axes *a, vq_pick *pick)
{
	if (file->series <= 0) {
		pick->page = file->frame;
		return VQ_OK;
	}
	if (a->c > 1 && a->z * a->t > 1)
		return vq_fail(VQ_EUNSUP, "%s: a frame of a series with both channels and planes", path);
	int *axis = a->z > 1 ? &pick->z : a->t > 1 ? &pick->t : &pick->c;
	int n = a->z > 1 ? a->z : a->t > 1 ? a->t : a->c;
	if (file->frame >= n)
		return vq_fail(VQ_EINVAL, "%s: frame %d of a series with %d (counted from 0)", path, file->frame, n);
	*axis = file->frame;
	return VQ_OK;
}

/* Sets *pick; *deep is the number of z-planes to take the maximum of, else 1. */
static vq_status pick_planes(vq_image_file *f, const vq_field_file *file, const crop_rules *r, bool labels, vq_pick *pick, vq_axes *a, int *deep)
{
	const char *path = vq_image_path(f);
	*pick = VQ_PICK;
	*deep = 1;
	*a = (vq_axes){ 0 };
	if (file->frame >= 0 && file->series <= 0)
		return pick_frame(path, file, a, pick);
	pick->series = VQ_MAX(file->series, 0);
	VQ_TRY(vq_image_axes(f, pick->series, a));
	if (a->series > 1 && file->series < 0)
		return vq_fail(VQ_EUNSUP, "%s: %d images in one file; a Series_ column says which", path, a->series);
	if (a->mixed)
		return vq_fail(VQ_EUNSUP, "%s: pages of unlike size or type; a Frame_ column says which", path);
	if (file->frame >= 0)
		return pick_frame(path, file, a, pick);
	if (a->t > 1)
		return vq_fail(VQ_EUNSUP, "%s: a time series of %d; cells would be counted again and again: give its time points as fields of their own", path, a->t);
	if (a->z > 1 && r->z == CROP_Z_UNSAID && r->pages_are_channels && a->source == VQ_AXES_PAGES && !labels) {
		pick->pages_are_channels = true;
		return a->z <= VQ_CHANNELS_MAX ? VQ_OK : vq_fail(VQ_EUNSUP, "%s: %d pages, too many for channels; for z-planes give --z max or --z N", path, a->z);
	}
	if (a->z > 1 && r->z == CROP_Z_UNSAID)
		return vq_fail(VQ_EUNSUP, "%s: %d z-planes; choose with --z max or --z N", path, a->z);
	if (labels && a->z == 1) /* one label image for all planes */
		return VQ_OK;
	if (r->z > a->z)
		return vq_fail(VQ_EINVAL, "%s: --z %d of %d z-plane%s", path, r->z, a->z, a->z > 1 ? "s" : "");
	if (r->z > 0)
		pick->z = r->z - 1;
	if (r->z == CROP_Z_MAX && labels)
		return vq_fail(VQ_EUNSUP, "%s: labels in %d z-planes have no maximum; choose with --z N", path, a->z);
	if (r->z == CROP_Z_MAX)
		*deep = a->z;
	return VQ_OK;
}

/* A type that vq_plane_max and the records know. */
static vq_status simple_type(vq_image *im)
{
	vq_tensor f32;
	if (im->planes.dtype == VQ_U8 || im->planes.dtype == VQ_U16 || im->planes.dtype == VQ_F32)
		return VQ_OK;
	VQ_TRY(vq_tensor_to_f32(&f32, &im->planes));
	vq_tensor_free(&im->planes);
	im->planes = f32;
	return VQ_OK;
}

static vq_status read_planes(vq_image_file *f, vq_pick pick, int deep, vq_image *out)
{
	vq_image more;
	size_t n, m;
	VQ_TRY(vq_image_planes(f, &pick, out));
	if (deep > 1)
		VQ_TRY(simple_type(out));
	for (pick.z = 1; pick.z < deep; pick.z++) {
		VQ_TRY(vq_image_planes(f, &pick, &more));
		vq_status s = simple_type(&more);
		if (s == VQ_OK)
			s = vq_tensor_count(&out->planes, &n);
		if (s == VQ_OK)
			s = vq_tensor_count(&more.planes, &m);
		if (s == VQ_OK && (n != m || out->planes.dtype != more.planes.dtype))
			s = vq_fail(VQ_EFORMAT, "%s: z-planes of unlike size or type", vq_image_path(f));
		if (s == VQ_OK)
			vq_plane_max(out->planes.data, more.planes.data, out->planes.dtype, n);
		vq_image_free(&more);
		VQ_TRY(s);
	}
	return VQ_OK;
}

/* --- names -------------------------------------------------------------------------------------------------------- */

static void name_plane(const loader *l, vq_image_file *f, const vq_axes *a, int series, int i, int n, plane *p)
{
	const vq_field_file *file = &l->field->file[p->file];
	bool rgb = l->image[p->file].rgb && n % 3 == 0;
	int channel = rgb ? i / 3 : i;
	const char *own = !file->name && a->source == VQ_AXES_OME ? vq_image_channel(f, series, channel) : NULL;
	char base[NAME_MAX_BYTES - 20], part[20] = "";
	if (file->name || (own && *own))
		snprintf(base, sizeof base, "%s", file->name ? file->name : own);
	else
		snprintf(base, sizeof base, "C%d", l->planes - i + channel + 1);
	if (rgb && (n == 3 || !file->name))
		snprintf(part, sizeof part, "_%c", "RGB"[i % 3]);
	else if (rgb)
		snprintf(part, sizeof part, "_%d_%c", channel + 1, "RGB"[i % 3]);
	else if (file->name && n > 1)
		snprintf(part, sizeof part, "_%d", i + 1);
	snprintf(p->name, sizeof p->name, "%s%s", base, part);
	p->suffix = p->name + strlen(base);
}

/* Channel names of the files' own that occur twice give way to C1, C2, ... */
static vq_status check_names(loader *l)
{
	for (int i = 0; i < l->planes; i++)
		for (int k = 0; k < i; k++) {
			if (strcmp(l->plane[i].name, l->plane[k].name))
				continue;
			if (l->field->file[0].name)
				return vq_fail(VQ_EINVAL, "%s: two channels are called %s", l->field->origin, l->plane[i].name);
			for (int j = 0; j < l->planes; j++) {
				snprintf(l->plane[j].name, sizeof l->plane[j].name, "C%d", j + 1);
				l->plane[j].suffix = "";
			}
			return VQ_OK;
		}
	return VQ_OK;
}

/* --- files -------------------------------------------------------------------------------------------------------- */

static vq_status mask_from(loader *l, const vq_tensor *t, int plane_at)
{
	size_t n = (size_t)(t->shape[1] * t->shape[2]);
	VQ_TRY(vq_tensor_room(&l->out->labels, VQ_I32, 2, t->shape + 1));
	int32_t *to = l->out->labels.data;
	for (size_t i = 0; i < n; i++)
		to[i] = vq_tensor_get(t, (size_t)plane_at * n + i) != 0;
	return VQ_OK;
}

static vq_status note(loader *l, const char *path, const char *text)
{
	if (!text || l->out->note)
		return VQ_OK;
	return (l->out->note = strstr(text, path) == text ? vq_strdup(text) : vq_format("%s: %s", path, text)) ? VQ_OK : VQ_ENOMEM;
}

static vq_status add_file(loader *l, int k, vq_image_file *f)
{
	const vq_field_file *file = &l->field->file[k];
	vq_pick pick;
	vq_axes axes;
	int deep;
	VQ_TRY(pick_planes(f, file, l->rules, false, &pick, &axes, &deep));
	VQ_TRY(read_planes(f, pick, deep, &l->image[k]));
	const vq_tensor *t = &l->image[k].planes, *first = &l->image[0].planes;
	if (t->shape[1] != first->shape[1] || t->shape[2] != first->shape[2])
		return vq_fail(VQ_EINVAL, "%s: %lldx%lld px, where %s has %lldx%lld", file->path, (long long)t->shape[2], (long long)t->shape[1],
		               l->field->file[0].path, (long long)first->shape[2], (long long)first->shape[1]);
	int n = (int)VQ_MIN(t->shape[0], PLANES_MAX + 1);
	if (l->rules->mask_last && k == l->field->files - 1) {
		if (n + l->planes < 2)
			return vq_fail(VQ_EINVAL, "%s: one channel; --mask-channel last leaves no image", file->path);
		VQ_TRY(mask_from(l, t, --n));
	}
	if (l->planes + n > PLANES_MAX)
		return vq_fail(VQ_ELIMIT, "%s: more than %d channels", file->path, PLANES_MAX);
	bool paged = pick.page < 0 && vq_image_pages(f) > 1;
	for (int i = 0; i < n; i++) {
		plane *p = &l->plane[l->planes];
		*p = (plane){ .file = k, .index = i, .page = pick.page >= 0 ? pick.page : !paged ? 0 : pick.c >= 0 ? pick.c : axes.c > 1 || pick.pages_are_channels ? i : pick.z };
		name_plane(l, f, &axes, pick.series, i, n, p);
		l->planes++;
	}
	return note(l, file->path, vq_image_warning(f));
}

static vq_status load_files(loader *l)
{
	for (int k = 0; k < l->field->files; k++) {
		vq_image_file *f;
		VQ_TRY(vq_image_open(&f, l->field->file[k].path, NULL));
		vq_status s = add_file(l, k, f);
		vq_image_close(f);
		VQ_TRY(s);
	}
	return check_names(l);
}

static vq_status load_labels(loader *l)
{
	const vq_field_file *file = &l->field->labels;
	const vq_tensor *image = &l->image[0].planes;
	vq_tensor *labels = &l->out->labels;
	vq_image_file *f;
	vq_pick pick;
	vq_axes axes;
	int deep;
	if (!file->path)
		return VQ_OK;
	VQ_TRY(vq_image_open(&f, file->path, NULL));
	vq_status s = pick_planes(f, file, l->rules, true, &pick, &axes, &deep);
	if (s == VQ_OK)
		s = vq_image_labels(f, &pick, labels);
	if (s == VQ_OK)
		s = note(l, file->path, vq_image_warning(f));
	vq_image_close(f);
	VQ_TRY(s);
	if (labels->shape[0] != image->shape[1] || labels->shape[1] != image->shape[2])
		return vq_fail(VQ_EINVAL, "%s: %s of %lldx%lld px, where the image %s has %lldx%lld", file->path, l->rules->whole ? "a mask" : "labels",
		               (long long)labels->shape[1], (long long)labels->shape[0], l->field->file[0].path, (long long)image->shape[2], (long long)image->shape[1]);
	int32_t *p = labels->data;
	for (size_t i = 0, n = l->rules->whole ? pixels(l) : 0; i < n; i++)
		p[i] = p[i] != 0;
	return VQ_OK;
}

/* --- the chosen planes as one image ------------------------------------------------------------------------------- */

static vq_status take(loader *l, int at, const char *name, const char *suffix)
{
	crop_field *o = l->out;
	if (o->channels == VQ_CHANNELS_MAX)
		return vq_fail(VQ_ELIMIT, "%s: more than %d channels; choose with --channels", l->field->origin, VQ_CHANNELS_MAX);
	o->file[o->channels] = at; /* of plane, until the image is made */
	o->name[o->channels] = vq_format("%s%s", name, suffix);
	return o->name[o->channels++] ? VQ_OK : VQ_ENOMEM;
}

static vq_status no_such_channel(const loader *l, const char *in)
{
	vq_buf all = { 0 };
	for (int i = 0; i < l->planes; i++)
		VQ_TRY(vq_buf_fmt(&all, "%s%s", i ? ", " : "", l->plane[i].name));
	vq_status s = vq_fail(VQ_EINVAL, "%s: no channel %s; there are %s", l->field->origin, in, all.data);
	vq_buf_free(&all);
	return s;
}

static vq_status take_pick(loader *l, const crop_pick *pick)
{
	int before = l->out->channels;
	char *end;
	for (int i = 0; i < l->planes; i++)
		if (!strcmp(l->plane[i].name, pick->in))
			return take(l, i, pick->out ? pick->out : pick->in, "");
	for (int i = 0; i < l->planes; i++) {
		const char *column = l->field->file[l->plane[i].file].name;
		if (column && !strcmp(column, pick->in))
			VQ_TRY(take(l, i, pick->out ? pick->out : pick->in, l->plane[i].suffix));
	}
	if (l->out->channels > before)
		return VQ_OK;
	long n = strtol(pick->in, &end, 10);
	if (*pick->in && !*end && n >= 1 && n <= l->planes)
		return take(l, (int)n - 1, pick->out ? pick->out : l->plane[n - 1].name, "");
	return no_such_channel(l, pick->in);
}

static vq_status choose(loader *l)
{
	const crop_rules *r = l->rules;
	for (int i = 0; !r->picks && i < l->planes; i++)
		VQ_TRY(take(l, i, l->plane[i].name, ""));
	for (int i = 0; i < r->picks; i++)
		VQ_TRY(take_pick(l, &r->pick[i]));
	for (int i = 0; i < l->out->channels; i++)
		for (int k = 0; k < i; k++)
			if (!strcmp(l->out->name[i], l->out->name[k]))
				return vq_fail(VQ_EINVAL, "%s: two channels would be called %s", l->field->origin, l->out->name[i]);
	return VQ_OK;
}

static vq_status divide(const loader *l, const char *path, float *p)
{
	vq_tensor f32 = { 0 };
	vq_image im = { 0 };
	vq_image_file *f;
	const int64_t *want = l->image[0].planes.shape;
	vq_status s;
	if (vq_path_ends(path, ".npy")) {
		s = vq_npy_plane(path, &f32);
	} else {
		VQ_TRY(vq_image_open(&f, path, NULL));
		s = vq_image_planes(f, &VQ_PICK, &im);
		vq_image_close(f);
		if (s == VQ_OK)
			s = vq_tensor_to_f32(&f32, &im.planes);
	}
	const int64_t *have = f32.shape + (f32.ndim == 3);
	if (s == VQ_OK && f32.ndim == 3 && f32.shape[0] != 1)
		s = vq_fail(VQ_EINVAL, "%s: an illumination function of %lld planes", path, (long long)f32.shape[0]);
	else if (s == VQ_OK && (have[0] != want[1] || have[1] != want[2]))
		s = vq_fail(VQ_EINVAL, "%s: an illumination function of %lldx%lld px, where the image has %lldx%lld", path, (long long)have[1], (long long)have[0],
		            (long long)want[2], (long long)want[1]);
	if (s == VQ_OK && (s = vq_plane_divide(p, f32.data, pixels(l))) < 0)
		s = vq_context(s, "%s: an illumination function", path);
	vq_tensor_free(&f32);
	vq_image_free(&im);
	return s;
}

static vq_status make_channel(loader *l, int c)
{
	crop_field *o = l->out;
	const plane *p = &l->plane[o->file[c]];
	const vq_field_file *file = &l->field->file[p->file];
	size_t n = pixels(l), bad;
	void *to = (char *)o->image.data + (size_t)c * n * vq_dtype_size(o->image.dtype);
	if (to != plane_data(l, p))
		VQ_TRY(vq_plane_convert(to, o->image.dtype, plane_data(l, p), l->image[p->file].planes.dtype, n));
	o->file[c] = p->file;
	o->page[c] = p->page;
	if (file->illum)
		VQ_TRY(divide(l, file->illum, to));
	if (o->image.dtype == VQ_F32 && (bad = vq_plane_finite(to, n)) < n) {
		float v = ((float *)to)[bad];
		int64_t w = o->image.shape[2];
		return vq_fail(VQ_EINVAL, "%s: channel %s is %s at pixel %lld,%lld", file->path, o->name[c], v != v ? "NaN" : "infinite",
		               (long long)((int64_t)bad % w), (long long)((int64_t)bad / w));
	}
	return vq_plane_measure(to, o->image.dtype, n, &o->stats[c]);
}

static vq_status make_image(loader *l)
{
	crop_field *o = l->out;
	vq_dtype type = VQ_U8;
	VQ_TRY(choose(l));
	for (int c = 0; c < o->channels; c++) {
		const plane *p = &l->plane[o->file[c]];
		vq_dtype t = l->image[p->file].planes.dtype;
		if (l->field->file[p->file].illum || (t != VQ_U8 && t != VQ_U16))
			type = VQ_F32;
		else if (t == VQ_U16 && type == VQ_U8)
			type = VQ_U16;
	}
	vq_tensor *only = &l->image[0].planes;
	int64_t shape[3] = { o->channels, only->shape[1], only->shape[2] };
	if (l->field->files == 1 && only->shape[0] == 1 && only->dtype == type && o->channels == 1) { /* as it is: the file's copy lends its pixels */
		o->image = *only;
		only->owned = false;
	} else {
		VQ_TRY(vq_tensor_room(&o->image, type, 3, shape));
	}
	for (int c = 0; c < o->channels; c++)
		VQ_TRY(make_channel(l, c));
	return VQ_OK;
}

vq_status crop_load(const vq_field *f, const crop_rules *rules, crop_field *out)
{
	loader l = { f, rules, out, NULL, NULL, 0 };
	vq_status s = VQ_ENOMEM;
	*out = (crop_field){ 0 };
	if (f->problem)
		return vq_fail(VQ_EINVAL, "%s", f->problem);
	l.image = vq_calloc((size_t)f->files, sizeof *l.image);
	l.plane = vq_calloc(PLANES_MAX, sizeof *l.plane);
	if (l.image && l.plane)
		s = load_files(&l);
	if (s == VQ_OK)
		s = load_labels(&l);
	if (s == VQ_OK)
		s = make_image(&l);
	for (int k = 0; l.image && k < f->files; k++)
		vq_image_free(&l.image[k]);
	free(l.image);
	free(l.plane);
	if (s < 0)
		crop_field_free(out);
	return s;
}

void crop_field_free(crop_field *f)
{
	for (int i = 0; i < f->channels; i++)
		free(f->name[i]);
	vq_tensor_free(&f->image);
	vq_tensor_free(&f->labels);
	free(f->note);
	*f = (crop_field){ 0 };
}
