#include "tools/synth_out.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#include "formats/imagefile_write.h"
#include "formats/outfile.h"
#include "formats/sample.h"
#include "lib/image/crop.h"

static const char plate[] = "Simulated";

cJSON *vq_synth_channels(const vq_synth_options *o)
{
	char buf[16];
	cJSON *list = cJSON_CreateArray();
	for (int c = 0; list && c < o->channels; c++)
		if (!cJSON_AddItemToArray(list, cJSON_CreateString(vq_synth_channel(c, buf)))) {
			cJSON_Delete(list);
			list = NULL;
		}
	if (!list)
		vq_fail(VQ_ENOMEM, "out of memory: channel names");
	return list;
}

/* --- truth ----------------------------------------------------------------------------------------------------------- */

/* What the truth has beside the lists by channel: one table for JSON and CSV. */
typedef struct { const char *name; double v; bool whole; } truth_value;
enum { TRUTH_VALUES = 17 };

static void truth_values(const vq_synth_truth *t, truth_value v[TRUTH_VALUES])
{
	const truth_value all[TRUTH_VALUES] = {
		{ "sisters", t->sisters, true }, { "radius", t->radius, false }, { "nucleus_radius", t->nucleus_radius, false },
		{ "elongation", t->elongation, false }, { "angle", t->angle, false }, { "dna", t->dna, false }, { "texture", t->texture, false },
		{ "foci", t->foci, true }, { "nucleoli", t->nucleoli, true }, { "puncta", t->puncta, true }, { "tubules", t->tubules, true },
		{ "gradient", t->gradient, false }, { "gradient_angle", t->gradient_angle, false }, { "psf", t->psf, false },
		{ "gain", t->gain, false }, { "offset", t->offset, false }, { "read_noise", t->read_noise, false },
	};
	memcpy(v, all, sizeof all);
}

/* Six digits are plenty, and shorter. */
static double tidy(double v)
{
	char text[32];
	snprintf(text, sizeof text, "%.6g", v);
	return strtod(text, NULL);
}

static cJSON *tidy_list(const double *v, int n)
{
	double t[VQ_SYNTH_CHANNELS];
	for (int i = 0; i < n; i++)
		t[i] = tidy(v[i]);
	return vq_json_doubles(t, n);
}

static vq_status set_truth(cJSON *meta, const vq_synth_options *o, const vq_synth_truth *t)
{
	truth_value v[TRUTH_VALUES];
	cJSON *truth = cJSON_CreateObject();
	truth_values(t, v);
	VQ_TRY(vq_json_set(meta, "truth", truth));
	VQ_TRY(vq_json_set(truth, "class", cJSON_CreateString(vq_synth_class_name(t->kind))));
	for (int i = 0; i < TRUTH_VALUES; i++)
		VQ_TRY(vq_json_set(truth, v[i].name, cJSON_CreateNumber(tidy(v[i].v))));
	VQ_TRY(vq_json_set(truth, "light", tidy_list(t->light, o->channels)));
	return vq_json_set(truth, "background", tidy_list(t->background, o->channels));
}

/* --- records --------------------------------------------------------------------------------------------------------- */

static void well_name(uint64_t well, char out[8])
{
	snprintf(out, 8, "%c%02d", (char)('A' + well / 12 % 8), (int)(well % 12) + 1);
}

static vq_status set_raw(cJSON *meta, const vq_tensor *image, const vq_tensor *mask)
{
	double mean[VQ_SYNTH_CHANNELS], sum[VQ_SYNTH_CHANNELS], back[VQ_SYNTH_CHANNELS];
	int channels = (int)image->shape[0];
	size_t n = (size_t)(image->shape[1] * image->shape[2]);
	int64_t area = 0;
	for (int c = 0; c < channels; c++) {
		vq_cell_light l;
		area = vq_cell_measure((uint16_t *)image->data + (size_t)c * n, VQ_U16, mask->data, n, &l);
		mean[c] = l.mean;
		sum[c] = l.integrated;
		back[c] = l.background;
	}
	cJSON *raw = cJSON_CreateObject();
	VQ_TRY(vq_json_set(meta, "area", cJSON_CreateNumber((double)area)));
	VQ_TRY(vq_json_set(meta, "raw", raw));
	VQ_TRY(vq_json_set(raw, "mean", vq_json_doubles(mean, channels)));
	VQ_TRY(vq_json_set(raw, "integrated", vq_json_doubles(sum, channels)));
	return vq_json_set(raw, "background", vq_json_doubles(back, channels));
}

static vq_status set_metadata(cJSON *meta, const char *well, const char *site, const char *kind)
{
	cJSON *m = cJSON_CreateObject();
	VQ_TRY(vq_json_set(meta, "metadata", m));
	VQ_TRY(vq_json_set(m, "Metadata_Plate", cJSON_CreateString(plate)));
	VQ_TRY(vq_json_set(m, "Metadata_Well", cJSON_CreateString(well)));
	VQ_TRY(vq_json_set(m, "Metadata_Site", cJSON_CreateString(site)));
	return vq_json_set(m, "Metadata_Class", cJSON_CreateString(kind));
}

static vq_status fill_record(const vq_synth_options *o, uint64_t i, vqt_record *r)
{
	vq_synth_truth truth;
	vq_tensor image, mask;
	char well[8], site[8], field[64];
	uint64_t label = i / 96 + 1;
	well_name(i % 24, well);
	snprintf(site, sizeof site, "%d", (int)(i / 24 % 4) + 1);
	snprintf(field, sizeof field, "%s_%s_%s", plate, well, site);
	char *id = vq_format("%s#%llu", field, (unsigned long long)label);
	vq_status s = id ? vqt_record_make(r, id) : VQ_ENOMEM;
	free(id);
	VQ_TRY(s);
	VQ_TRY(vq_synth_cell(o, i, &truth, &image, &mask));
	int box[4] = { 0, 0, (int)image.shape[1], (int)image.shape[2] };
	cJSON *m = r->meta;
	VQ_TRY_GOTO(s, vq_json_set(m, "field", cJSON_CreateString(field)), done);
	VQ_TRY_GOTO(s, vq_json_set(m, "label", cJSON_CreateNumber((double)label)), done);
	VQ_TRY_GOTO(s, vq_json_set(m, "bbox", cJSON_CreateIntArray(box, 4)), done);
	VQ_TRY_GOTO(s, vq_json_set(m, "field_size", cJSON_CreateIntArray(box + 2, 2)), done);
	VQ_TRY_GOTO(s, vq_json_set(m, "channels", vq_synth_channels(o)), done);
	VQ_TRY_GOTO(s, vq_json_set(m, "size", cJSON_CreateIntArray(box + 2, 2)), done);
	VQ_TRY_GOTO(s, vq_json_set(m, "dtype", cJSON_CreateString("u16")), done);
	VQ_TRY_GOTO(s, set_raw(m, &image, &mask), done);
	VQ_TRY_GOTO(s, set_metadata(m, well, site, vq_synth_class_name(truth.kind)), done);
	VQ_TRY_GOTO(s, set_truth(m, o, &truth), done);
	VQ_TRY_GOTO(s, vqt_set(r, "image", &image), done);
	s = vqt_set(r, "mask", &mask);
done:
	vq_tensor_free(&image);
	vq_tensor_free(&mask);
	return s;
}

vq_status vq_synth_record(const vq_synth_options *o, uint64_t i, vqt_record *out)
{
	*out = (vqt_record){0};
	vq_status s = fill_record(o, i, out);
	if (s < 0)
		vqt_record_free(out);
	return s;
}

/* --- fields ---------------------------------------------------------------------------------------------------------- */

static vq_status make_dir(const char *dir)
{
	char *path = vq_strdup(dir);
	if (!path)
		return VQ_ENOMEM;
	vq_status s = VQ_OK;
	for (char *p = path + 1; s == VQ_OK; p++)
		if (*p == '/' || !*p) {
			char end = *p;
			*p = 0;
			struct stat st;
			if (mkdir(path, 0777) && !(errno == EEXIST && !stat(path, &st) && S_ISDIR(st.st_mode)))
				s = vq_fail(VQ_EIO, "%s: cannot be made: %s", path, strerror(errno == EEXIST ? ENOTDIR : errno));
			*p = end;
			if (!end)
				break;
		}
	free(path);
	return s;
}

/* Whole wells: of ten, one is for testing and one for validation, the second and third, so that three fields have all. */
static const char *split_of(int64_t well)
{
	return well % 10 == 1 ? "test" : well % 10 == 2 ? "val" : "train";
}

typedef struct {
	const vq_synth_options *o;
	const char *dir;
	vq_out *load, *truth;
	char name[64], well[8]; /* the field at hand */
	int64_t site;
} field_set;

static vq_status write_tiff(const field_set *s, const char *what, const vq_tensor *pixels)
{
	vq_tiff_options how = { .compress = true };
	char *path = vq_format("%s/%s_%s.tif", s->dir, s->name, what);
	vq_status status = path ? vq_tiff_write(path, pixels, &how) : VQ_ENOMEM;
	free(path);
	return status;
}

static vq_status write_images(const field_set *s, const vq_synth_field *f)
{
	char buf[16];
	for (int c = 0; c < s->o->channels; c++) {
		vq_tensor plane = { .dtype = VQ_U16, .ndim = 2, .shape = { f->image.shape[1], f->image.shape[2] } };
		plane.data = (uint16_t *)f->image.data + c * plane.shape[0] * plane.shape[1];
		VQ_TRY(write_tiff(s, vq_synth_channel(c, buf), &plane));
	}
	return write_tiff(s, "labels", &f->labels);
}

static void write_load_row(const field_set *s, int64_t well)
{
	char buf[16];
	FILE *f = vq_out_file(s->load);
	for (int c = 0; c < s->o->channels; c++)
		fprintf(f, "%s_%s.tif,.,", s->name, vq_synth_channel(c, buf));
	fprintf(f, "%s_labels.tif,.,%s,%s,%lld,%s,%s\n", s->name, plate, s->well, (long long)s->site, s->well, split_of(well));
}

static void write_truth_rows(const field_set *s, const vq_synth_field *field)
{
	FILE *f = vq_out_file(s->truth);
	truth_value v[TRUTH_VALUES];
	for (int i = 0; i < field->n; i++) {
		const vq_synth_placed *p = &field->cell[i];
		truth_values(&p->truth, v);
		fprintf(f, "%s,%d,%s,%lld,%lld,%lld,%lld", s->name, p->label, vq_synth_class_name(p->truth.kind), (long long)p->box[0],
		        (long long)p->box[1], (long long)p->box[2], (long long)p->box[3]);
		for (int k = 0; k < TRUTH_VALUES; k++)
			fprintf(f, ",%.6g", v[k].v);
		for (int c = 0; c < s->o->channels; c++)
			fprintf(f, ",%.6g,%.6g", p->truth.light[c], p->truth.background[c]);
		fputc('\n', f);
	}
}

static void write_heads(const field_set *s)
{
	char buf[16];
	truth_value v[TRUTH_VALUES];
	FILE *load = vq_out_file(s->load), *truth = vq_out_file(s->truth);
	truth_values(&(vq_synth_truth){0}, v);
	fputs("field,label,class,y0,x0,y1,x1", truth);
	for (int k = 0; k < TRUTH_VALUES; k++)
		fprintf(truth, ",%s", v[k].name);
	for (int c = 0; c < s->o->channels; c++) {
		const char *name = vq_synth_channel(c, buf);
		fprintf(load, "Image_FileName_%s,Image_PathName_%s,", name, name);
		fprintf(truth, ",light_%s,background_%s", name, name);
	}
	fputs("Image_ObjectsFileName_Cells,Image_ObjectsPathName_Cells,Metadata_Plate,Metadata_Well,Metadata_Site,Metadata_Group,Metadata_Split\n", load);
	fputc('\n', truth);
}

static vq_status write_fields(field_set *s, int64_t n, int64_t size, int64_t fields, int64_t *cells)
{
	int64_t first = 0;
	for (int64_t f = 0; f < fields; f++) {
		int64_t well = f % 96, count = n / fields + (f < n % fields);
		vq_synth_field field;
		well_name((uint64_t)well, s->well);
		s->site = f / 96 + 1;
		snprintf(s->name, sizeof s->name, "%s_%s_%lld", plate, s->well, (long long)s->site);
		VQ_TRY(vq_synth_make_field(s->o, (uint64_t)f, size, (uint64_t)first, (int)count, &field));
		vq_status status = write_images(s, &field);
		write_load_row(s, well);
		write_truth_rows(s, &field);
		first += count;
		*cells += field.n;
		vq_synth_field_free(&field);
		VQ_TRY(status);
	}
	return VQ_OK;
}

vq_status vq_synth_fields(const vq_synth_options *o, const char *dir, int64_t n, int64_t size, int64_t *fields, int64_t *cells)
{
	field_set s = { .o = o, .dir = dir };
	int64_t most = vq_synth_field_capacity(o, size);
	*fields = VQ_MAX((n + most - 1) / most, VQ_MIN(n, 3));
	*cells = 0;
	VQ_TRY(make_dir(dir));
	vq_status status = VQ_ENOMEM;
	char *load = vq_format("%s/load_data.csv", dir), *truth = vq_format("%s/truth.csv", dir);
	if (!load || !truth)
		goto done;
	VQ_TRY_GOTO(status, vq_out_open(&s.load, load, VQ_OUT_TEXT), done);
	VQ_TRY_GOTO(status, vq_out_open(&s.truth, truth, VQ_OUT_TEXT), done);
	write_heads(&s);
	VQ_TRY_GOTO(status, write_fields(&s, n, size, *fields, cells), done);
	status = vq_out_commit(s.truth);
	s.truth = NULL;
	if (status == VQ_OK) {
		status = vq_out_commit(s.load);
		s.load = NULL;
	}
done:
	vq_out_abort(s.load);
	vq_out_abort(s.truth);
	free(load);
	free(truth);
	return status;
}
