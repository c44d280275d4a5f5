/* vq-montage: all cells as one picture of 8 bits, for programs that take pictures; and the cells again, from what they made of it. */
#include <math.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#include "formats/imagefile.h"
#include "formats/imagefile_write.h"
#include "lib/image/montage.h"
#include "tools/cli.h"
#include "tools/export.h"
#include "tools/filter.h"
#include "tools/padrec.h"

static const char *back;

static const vq_option options[] = {
	{ "back", 0, VQ_OPT_FILE, &back, "PICTURES",
	  "Write STREAM with the pixels of this picture, or of the directory that vq-export --png made of the same cells, instead of its own." },
	{ 0 },
};

static const vq_tool tool = { "vq-montage", "all cells as one picture, and back", "-o FILE.png [STREAM]\n--back PICTURES [-o FILE] STREAM", options,
	                          VQ_CLI_OUTPUT, 0, 1 };

typedef struct { vq_place *place; size_t n, cap; int64_t h, w; } layout;

/* --- cells ----------------------------------------------------------------------------------------------------------- */

/* Without padding, and on the scale of the picture. */
static vq_status prepare(vqt_record *rec, vq_tensor **image)
{
	vq_norm norm;
	VQ_TRY(vq_sample_check(rec, image, NULL));
	VQ_TRY(vq_norm_get(rec->meta, &norm));
	if ((*image)->shape[0] != 1)
		return vq_fail(VQ_EUNSUP, "record %s has %lld channels: a montage takes cells of one", rec->id, (long long)(*image)->shape[0]);
	if (norm.method != VQ_NORM_ROBUST && norm.method != VQ_NORM_MINMAX)
		return vq_fail(VQ_EINVAL, "record %s is not normalised to -1 and 1: vq-normalize --robust or --minmax does it", rec->id);
	VQ_TRY(vq_unpad_record(rec));
	return vq_sample_check(rec, image, NULL);
}

static vq_status add_place(layout *l, const vq_tensor *image)
{
	if (l->n == l->cap) {
		size_t cap = l->cap ? 2 * l->cap : 256;
		vq_place *p = vq_realloc(l->place, cap * sizeof *p);
		if (!p)
			return VQ_ENOMEM;
		l->place = p;
		l->cap = cap;
	}
	l->place[l->n++] = (vq_place){ image->shape[1], image->shape[2], 0, 0 };
	return VQ_OK;
}

/* --- to a picture ---------------------------------------------------------------------------------------------------- */

/* The cells one after the other, and, unless NULL, their pixels as bytes. */
static vq_status read_cells(const char *path, layout *l, vq_buf *pixels)
{
	vqt_reader *in;
	vqt_record r;
	vq_tensor *image;
	int got;
	VQ_TRY(vq_samples_open(&in, path, tool.name));
	while ((got = vqt_next(in, &r)) > 0) {
		vq_status s = prepare(&r, &image);
		if (s == VQ_OK && (s = add_place(l, image)) == VQ_OK && pixels)
			s = vq_buf_reserve(pixels, (size_t)(image->shape[1] * image->shape[2]));
		for (int64_t i = 0; s == VQ_OK && pixels && i < image->shape[1] * image->shape[2]; i++) {
			double v = vq_tensor_get(image, (size_t)i);
			uint8_t byte = v >= 1 ? 255 : v > -1 ? (uint8_t)lround((v + 1) * 127.5) : 0;
			s = vq_buf_add(pixels, &byte, 1);
		}
		vqt_record_free(&r);
		if (s < 0) {
			got = vq_context(s, "%s", vqt_name(in));
			break;
		}
	}
	if (got == 0 && !l->n)
		got = vq_fail(VQ_EINVAL, "%s: no records in it", vqt_name(in));
	vq_samples_close(in);
	return got < 0 ? got : VQ_OK;
}

static vq_status compose(const char *path)
{
	layout l = {0};
	vq_buf pixels = {0};
	vq_tensor out = {0};
	vq_status s = read_cells(path, &l, &pixels);
	if (s == VQ_OK && (s = vq_montage_plan(l.place, l.n, &l.h, &l.w)) == VQ_OK)
		s = vq_tensor_make(&out, VQ_U8, 2, (int64_t[]){ l.h, l.w });
	const uint8_t *from = (const uint8_t *)pixels.data;
	for (size_t i = 0; s == VQ_OK && i < l.n; i++) {
		const vq_place *p = &l.place[i];
		for (int64_t y = 0; y < p->h; y++, from += p->w)
			memcpy((uint8_t *)out.data + (p->y + y) * l.w + p->x, from, (size_t)p->w);
	}
	if (s == VQ_OK)
		s = vq_png_write(vq_cli.output, &out);
	free(l.place);
	vq_buf_free(&pixels);
	vq_tensor_free(&out);
	return s;
}

/* --- and back -------------------------------------------------------------------------------------------------------- */

static struct { layout l; vq_tensor montage; bool folder; } from;

/* Red, green and blue become their mean: decoders of codecs that know colour alone may round them apart. */
static void make_grey(vq_tensor *t)
{
	int64_t n = t->shape[1] * t->shape[2];
	uint8_t *p = t->data;
	for (int64_t i = 0; i < n; i++)
		p[i] = (uint8_t)((p[i] + p[n + i] + p[2 * n + i] + 1) / 3);
	t->shape[0] = 1;
}

/* A picture of 8 bits, u8 [1,H,W]. */
static vq_status read_picture(const char *path, vq_tensor *out)
{
	vq_image_file *f;
	vq_image im = {0};
	VQ_TRY(vq_image_open(&f, path, NULL));
	vq_status s = vq_image_planes(f, &VQ_PICK, &im);
	if (s == VQ_OK && ((im.planes.shape[0] != 1 && im.planes.shape[0] != 3) || im.planes.dtype != VQ_U8))
		s = vq_fail(VQ_EINVAL, "%s: not a picture of 8 bits, grey or red, green and blue", path);
	if (s == VQ_OK && im.planes.shape[0] == 3)
		make_grey(&im.planes);
	if (s == VQ_OK) {
		*out = im.planes;
		im.planes = (vq_tensor){0};
	}
	vq_image_free(&im);
	vq_image_close(f);
	return s;
}

static vq_status read_layout(const char *path)
{
	VQ_TRY(read_cells(path, &from.l, NULL));
	VQ_TRY(vq_montage_plan(from.l.place, from.l.n, &from.l.h, &from.l.w));
	VQ_TRY(read_picture(back, &from.montage));
	if (from.montage.shape[1] != from.l.h || from.montage.shape[2] != from.l.w)
		return vq_fail(VQ_EINVAL, "%s: %lld x %lld pixels; a montage of %s has %lld x %lld", back, (long long)from.montage.shape[1], (long long)from.montage.shape[2],
		               path, (long long)from.l.h, (long long)from.l.w);
	return VQ_OK;
}

static vq_status paste(vq_tensor *image, const vq_tensor *picture, int64_t y0, int64_t x0)
{
	vq_tensor t;
	int64_t h = image->shape[1], w = image->shape[2], stride = picture->shape[2];
	VQ_TRY(vq_tensor_make(&t, VQ_F32, 3, (int64_t[]){ 1, h, w }));
	for (int64_t i = 0; i < h * w; i++)
		((float *)t.data)[i] = (float)(((const uint8_t *)picture->data)[(y0 + i / w) * stride + x0 + i % w] / 127.5 - 1);
	vq_tensor_free(image);
	*image = t;
	return VQ_OK;
}

static vq_status paste_file(vqt_record *rec, vq_tensor *image)
{
	vq_tensor picture = {0};
	char *name = vq_export_file_name(rec->id, ".png"), *file = name ? vq_format("%s/%s", back, name) : NULL;
	vq_status s = file ? read_picture(file, &picture) : VQ_ENOMEM;
	if (s == VQ_OK && (picture.shape[1] != image->shape[1] || picture.shape[2] != image->shape[2]))
		s = vq_fail(VQ_EINVAL, "%s: %lld x %lld pixels; record %s has %lld x %lld", file, (long long)picture.shape[1], (long long)picture.shape[2], rec->id,
		            (long long)image->shape[1], (long long)image->shape[2]);
	if (s == VQ_OK)
		s = paste(image, &picture, 0, 0);
	vq_tensor_free(&picture);
	free(file);
	free(name);
	return s;
}

static vq_status replace(vqt_record *rec, void *counter)
{
	size_t i = (*(size_t *)counter)++;
	vq_tensor *image;
	VQ_TRY(prepare(rec, &image));
	if (from.folder)
		return paste_file(rec, image);
	if (i >= from.l.n || from.l.place[i].h != image->shape[1] || from.l.place[i].w != image->shape[2])
		return vq_fail(VQ_EIO, "record %s: the stream has changed meanwhile", rec->id);
	return paste(image, &from.montage, from.l.place[i].y, from.l.place[i].x);
}

int main(int argc, char **argv)
{
	vq_strings operands;
	struct stat st;
	size_t counter = 0;
	vq_cli_parse(&tool, argc, argv, &operands);
	const char *path = operands.n ? operands.v[0] : "-";
	if (!back) {
		size_t n = vq_cli.output ? strlen(vq_cli.output) : 0;
		if (n < 5 || strcmp(vq_cli.output + n - 4, ".png"))
			vq_misuse("where to? Give -o FILE.png");
		if (compose(path) < 0)
			vq_die(NULL);
		return vq_cli_end(0);
	}
	from.folder = !stat(back, &st) && S_ISDIR(st.st_mode);
	if (!from.folder && !strcmp(path, "-"))
		vq_misuse("--back reads the stream twice: name a file");
	if (!from.folder && read_layout(path) < 0)
		vq_die(NULL);
	int status = vq_filter_samples(path, tool.name, NULL, replace, &counter);
	free(from.l.place);
	vq_tensor_free(&from.montage);
	return vq_cli_end(status);
}
