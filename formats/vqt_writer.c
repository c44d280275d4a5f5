/* The writer, and the filter made of a reader and a writer. */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "formats/outfile.h"
#include "formats/vqt_int.h"

struct vqt_writer {
	vq_out *out;
	vqt_frames *frames;
	vq_buf group;       /* whole record blocks of the frame being gathered */
	uint64_t group_first;
	uint64_t at, count; /* plain bytes and records of the segment so far, those in group included */
	uint64_t limit;
	vqt_ids ids;
};

static void discard(vqt_writer *w)
{
	vqt_frames_close(w->frames);
	vq_out_abort(w->out);
	vqt_ids_free(&w->ids);
	vq_buf_free(&w->group);
	free(w);
}

vq_status vqt_create(vqt_writer **out, const char *path, const cJSON *header, const vqt_options *options)
{
	vqt_options o = options ? *options : (vqt_options){0};
	*out = NULL;
	vqt_writer *w = vq_calloc(1, sizeof *w);
	if (!w)
		return VQ_ENOMEM;
	w->limit = o.record_bytes ? o.record_bytes : VQT_RECORD_BYTES;
	vq_status s;
	VQ_TRY_GOTO(s, vqt_pack_header(&w->group, header), fail);
	VQ_TRY_GOTO(s, vq_out_open(&w->out, path, VQ_OUT_BINARY), fail);
	VQ_TRY_GOTO(s, vqt_frames_open(&w->frames, vq_out_file(w->out), vq_out_name(w->out), o.level, o.threads), fail);
	w->at = w->group.len;
	VQ_TRY_GOTO(s, vqt_frames_add(w->frames, &w->group, UINT64_MAX), fail);
	*out = w;
	return VQ_OK;
fail:
	discard(w);
	return s;
}

vq_status vqt_flush(vqt_writer *w)
{
	return w->group.len ? vqt_frames_add(w->frames, &w->group, w->group_first) : VQ_OK;
}

vq_status vqt_put(vqt_writer *w, const vqt_record *rec) { return vqt_put_text(w, rec, NULL); }

vq_status vqt_put_text(vqt_writer *w, const vqt_record *rec, const char *meta)
{
	char id[208];
	size_t before = w->group.len;
	vq_status s = vqt_pack_record(&w->group, rec, meta, w->at, w->count, w->limit);
	if (s == VQ_OK) {
		int fresh = vqt_ids_add(&w->ids, rec->id);
		s = fresh > 0 ? VQ_OK : fresh < 0 ? fresh : vq_fail(VQ_EINVAL, "the id occurs twice");
	}
	if (s < 0) {
		w->group.len = before;
		return vq_context(s, "%s: record %llu, \"%s\"", vq_out_name(w->out), (unsigned long long)w->count,
			rec->id ? vqt_short(rec->id, id) : "");
	}
	if (!before)
		w->group_first = w->count;
	w->at += w->group.len - before;
	w->count++;
	return w->group.len >= VQT_FRAME ? vqt_flush(w) : VQ_OK;
}

static vq_status put_end(vqt_writer *w)
{
	VQ_TRY(vqt_flush(w));
	VQ_TRY(vqt_frames_wait(w->frames));
	const vqt_places *places = vqt_frames_places(w->frames);
	uint64_t end = vqt_frames_bytes(w->frames);
	unsigned char block[VQT_BLOCK];
	vqt_pack_end(block, w->at, w->count, vqt_index_bytes(places->n));
	VQ_TRY(vq_buf_add(&w->group, block, sizeof block));
	VQ_TRY(vqt_frames_add(w->frames, &w->group, UINT64_MAX));
	VQ_TRY(vqt_frames_wait(w->frames));
	w->group.len = 0;
	VQ_TRY(vqt_index_pack(&w->group, places, w->count, end, vqt_frames_bytes(w->frames) - end));
	errno = 0;
	if (fwrite(w->group.data, 1, w->group.len, vq_out_file(w->out)) != w->group.len)
		return vq_fail(VQ_EIO, "%s: %s", vq_out_name(w->out), strerror(errno ? errno : EIO));
	return VQ_OK;
}

vq_status vqt_finish(vqt_writer *w)
{
	vq_status s = put_end(w);
	if (s == VQ_OK) {
		s = vq_out_commit(w->out);
		w->out = NULL;
	}
	discard(w);
	return s;
}

void vqt_abort(vqt_writer *w)
{
	if (!w)
		return;
	char cause[1024]; /* stopping is no failure of its own: the message stays the one that led here */
	snprintf(cause, sizeof cause, "%s", vq_message());
	if (vqt_flush(w) == VQ_OK)
		vqt_frames_wait(w->frames);
	discard(w);
	vq_fail(VQ_OK, "%s", cause);
}

vq_status vqt_filter_open(vqt_filter *f, const char *in, const char *out, const char *kinds, const char *kind_out,
	const char *tool, cJSON *args, const vqt_options *options)
{
	cJSON *header = NULL;
	vq_status s;
	*f = (vqt_filter){0};
	VQ_TRY_GOTO(s, vqt_open(&f->in, in, kinds, NULL), fail);
	if (!(header = cJSON_Duplicate(vqt_header(f->in), 1)) ||
	    (kind_out && !cJSON_ReplaceItemInObjectCaseSensitive(header, "kind", cJSON_CreateString(kind_out)))) {
		s = vq_fail(VQ_ENOMEM, "out of memory for a stream header");
		goto fail;
	}
	cJSON *given = args;
	args = NULL;
	VQ_TRY_GOTO(s, vqt_header_chain(header, tool, given), fail);
	VQ_TRY_GOTO(s, vqt_create(&f->out, out, header, options), fail);
	cJSON_Delete(header);
	return VQ_OK;
fail:
	cJSON_Delete(args);
	cJSON_Delete(header);
	vqt_filter_abort(f);
	return s;
}

int vqt_filter_next(vqt_filter *f, vqt_record *rec)
{
	if (vqt_drained(f->in)) {
		vq_status s = vqt_flush(f->out);
		if (s < 0) {
			*rec = (vqt_record){0};
			return s;
		}
	}
	return vqt_next(f->in, rec);
}

vq_status vqt_filter_finish(vqt_filter *f)
{
	vq_status s = vqt_finish(f->out);
	f->out = NULL;
	vqt_filter_abort(f);
	return s;
}

void vqt_filter_abort(vqt_filter *f)
{
	vqt_abort(f->out);
	vqt_close(f->in);
	*f = (vqt_filter){0};
}
