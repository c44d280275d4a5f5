/* Cells of loaded fields to the stream. */
#include "tools/crop_cells.h"

#include <stdlib.h>

#include "tools/cli.h"
#include "tools/crop_record.h"

/* The stream begins with the first field that can be read: only then are its channels known. */
static vq_status agree(crop_out *out, const vq_field *field, const crop_field *data)
{
	cJSON *channels = crop_channels(data);
	vq_status s = channels ? VQ_OK : VQ_ENOMEM;
	if (s == VQ_OK && !out->channels) {
		out->channels = channels;
		return VQ_OK;
	}
	if (s == VQ_OK && !cJSON_Compare(channels, out->channels, true)) {
		char *have = cJSON_PrintUnformatted(channels), *want = cJSON_PrintUnformatted(out->channels);
		s = vq_fail(VQ_EINVAL, "%s: channels %s, where the fields before have %s", field->origin, have ? have : "?", want ? want : "?");
		cJSON_free(have);
		cJSON_free(want);
	}
	cJSON_Delete(channels);
	return s;
}

static vq_status begin_stream(crop_out *out)
{
	vqt_options how = { .threads = vq_cli.threads };
	cJSON *header = vqt_header_make("samples", out->channels);
	vq_status s = header ? vqt_header_chain(header, out->tool, vq_cli_args()) : VQ_ENOMEM;
	if (s == VQ_OK)
		s = vqt_create(&out->writer, vq_cli.output, header, &how);
	cJSON_Delete(header);
	return s;
}

/* A stream that cannot be written is the end of the program, not of the field. */
static void put_cell(crop_out *out, const vq_field *field, const crop_field *data, crop_shared *shared, const vq_box *box, int32_t label)
{
	vqt_record r;
	vq_status s = out->writer ? VQ_OK : begin_stream(out);
	if (s == VQ_OK)
		s = crop_record_make(&r, field, data, shared, box, label);
	if (s == VQ_OK) {
		s = vqt_put_text(out->writer, &r, shared->meta.data);
		vqt_record_free(&r);
	}
	if (s < 0) {
		vqt_abort(out->writer);
		vq_die(NULL);
	}
	out->cells++;
}

/* The cells of a label image. */
static vq_status crop_objects(crop_out *out, const crop_cuts *cuts, const vq_field *field, const crop_field *data, crop_shared *shared)
{
	int64_t h = data->image.shape[1], w = data->image.shape[2];
	vq_object *object;
	int64_t max = cuts->rule.max_size;
	size_t n, count[VQ_CROP_ACROSS + 1] = { 0 };
	vq_box box;
	VQ_TRY(vq_objects_find(data->labels.data, h, w, &object, &n));
	for (size_t i = 0; i < n; i++) {
		const vq_object *a = &object[i];
		vq_crop_verdict v = vq_crop_plan(a, h, w, &cuts->rule, &box);
		count[v]++;
		if (v == VQ_CROP_TAKE)
			put_cell(out, field, data, shared, &box, a->label);
		if (v == VQ_CROP_LARGE)
			vq_warn("%s: object %d is %lldx%lld px, more than --max-size %lld; dropped", field->labels.path, a->label, (long long)(a->box.x1 - a->box.x0),
			        (long long)(a->box.y1 - a->box.y0), (long long)max);
		if (v == VQ_CROP_ACROSS)
			vq_warn("%s: object %d lies on several tiles; dropped", field->labels.path, a->label);
	}
	out->dropped += count[VQ_CROP_LARGE] + count[VQ_CROP_ACROSS];
	free(object);
	if (!n)
		vq_info("warning: %s: no objects", field->labels.path);
	else
		vq_info("%s: %zu cells; dropped: %zu at the edge, %zu small, %zu large, %zu on several tiles", field->id, count[VQ_CROP_TAKE], count[VQ_CROP_EDGE],
		        count[VQ_CROP_SMALL], count[VQ_CROP_LARGE], count[VQ_CROP_ACROSS]);
	return VQ_OK;
}

static vq_status crop_whole(crop_out *out, const crop_cuts *cuts, const vq_field *field, const crop_field *data, crop_shared *shared)
{
	int64_t h = data->image.shape[1], w = data->image.shape[2];
	int64_t max = cuts->rule.max_size;
	const int32_t *mask = data->labels.data;
	bool any = !mask;
	for (int64_t i = 0; !any && i < h * w; i++)
		any = mask[i];
	if (!any)
		return vq_fail(VQ_EINVAL, "%s: nothing but 0 in its mask", field->origin);
	if (max && (h > max || w > max)) {
		vq_warn("%s: %lldx%lld px, more than --max-size %lld; dropped", field->origin, (long long)w, (long long)h, (long long)max);
		out->dropped++;
		return VQ_OK;
	}
	put_cell(out, field, data, shared, &(vq_box){ 0, 0, h, w }, 1);
	return VQ_OK;
}

static void crop_places(crop_out *out, const crop_cuts *cuts, const vq_field *field, const crop_field *data, crop_shared *shared)
{
	size_t dropped = 0;
	for (size_t i = 0; i < field->places; i++) {
		const vq_place *p = &field->place[i];
		vq_box box;
		if (vq_crop_around(p->y, p->x, cuts->box, data->image.shape[1], data->image.shape[2], cuts->rule.keep_edge, &box) == VQ_CROP_TAKE)
			put_cell(out, field, data, shared, &box, p->label);
		else
			dropped++;
	}
	vq_info("%s: %zu cells; dropped: %zu at the edge", field->id, field->places - dropped, dropped);
}

vq_status crop_cells(crop_out *out, const crop_cuts *cuts, const vq_field *field, const crop_field *data)
{
	crop_shared shared;
	vq_status s = VQ_OK;
	VQ_TRY(agree(out, field, data));
	VQ_TRY(crop_shared_make(&shared, field, data));
	if (data->note)
		vq_info("warning: %s", data->note);
	if (cuts->whole)
		s = crop_whole(out, cuts, field, data, &shared);
	else if (cuts->box)
		crop_places(out, cuts, field, data, &shared);
	else
		s = crop_objects(out, cuts, field, data, &shared);
	crop_shared_free(&shared);
	return s;
}
