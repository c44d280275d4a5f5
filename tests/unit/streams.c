#include "tests/unit/streams.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>
#include <zstd.h>

#include "formats/outfile.h"
#include "formats/xxh64.h"
#include "lib/rng.h"

static char directory[512];

static void remove_directory(void)
{
	char command[600];
	snprintf(command, sizeof command, "rm -rf '%s'", directory);
	if (system(command))
		fprintf(stderr, "# %s stays\n", directory);
}

const char *stream_dir(void)
{
	if (!directory[0]) {
		const char *t = getenv("TMPDIR");
		snprintf(directory, sizeof directory, "%s/vqt-XXXXXX", t && *t ? t : "/tmp");
		if (!mkdtemp(directory))
			abort();
		atexit(remove_directory);
	}
	return directory;
}

const char *stream_path(const char *name)
{
	static char ring[8][640];
	static int at;
	char *p = ring[at++ % 8];
	snprintf(p, sizeof ring[0], "%s/%s", stream_dir(), name);
	return p;
}

static vq_status add(vqt_record *r, const char *name, vq_dtype type, int ndim, const int64_t *shape, vq_rng *rng)
{
	vq_tensor t;
	size_t n;
	VQ_TRY(vq_tensor_make(&t, type, ndim, shape));
	VQ_TRY(vq_tensor_count(&t, &n));
	for (size_t i = 0; i < n; i++)
		vq_tensor_set(&t, i, (double)vq_rng_below(rng, 100) - (type == VQ_I8 || type >= VQ_I32 ? 50 : 0));
	vq_status s = vqt_set(r, name, &t);
	vq_tensor_free(&t);
	return s;
}

static vq_status add_mixed(vqt_record *r, int i, vq_rng *rng)
{
	static const struct { int ndim; int64_t shape[VQ_MAX_DIMS]; } shapes[] = {
		{ 0, { 0 } }, { 1, { 0 } }, { 1, { 1 } }, { 2, { 3, 0 } }, { 3, { 2, 3, 5 } }, { 6, { 1, 2, 1, 3, 1, 2 } }, { 1, { 67 } },
	};
	char name[32];
	for (int d = 0; d < VQ_DTYPES; d++) {
		size_t k = (size_t)(i + d) % VQ_COUNT(shapes);
		snprintf(name, sizeof name, "%s.%d", vq_dtype_name((vq_dtype)d), d);
		VQ_TRY(add(r, name, (vq_dtype)d, shapes[k].ndim, shapes[k].shape, rng));
	}
	return VQ_OK;
}

vq_status stream_record(vqt_record *r, const char *kind, int i)
{
	char id[32];
	vq_rng rng = vq_rng_make(7, (uint64_t)i);
	int64_t h = 3 + i % 5, w = 2 + i % 3;
	snprintf(id, sizeof id, "cell#%d", i);
	VQ_TRY(vqt_record_make(r, id));
	cJSON_AddNumberToObject(r->meta, "label", i);
	cJSON_AddStringToObject(r->meta, "field", "f\xc3\xa9" "ld \"1\"");
	if (!strcmp(kind, "samples")) {
		VQ_TRY(add(r, "image", i % 2 ? VQ_U16 : VQ_F32, 3, (int64_t[]){ 2, h, w }, &rng));
		return add(r, "mask", VQ_U8, 2, (int64_t[]){ h, w }, &rng);
	}
	if (!strcmp(kind, "batches")) {
		VQ_TRY(add(r, "image", VQ_F32, 4, (int64_t[]){ 2, 2, h, w }, &rng));
		return add(r, "valid", VQ_I32, 2, (int64_t[]){ 2, 4 }, &rng);
	}
	if (!strcmp(kind, "codes"))
		return add(r, "codes", VQ_U16, 2, (int64_t[]){ h, w }, &rng);
	return add_mixed(r, i, &rng);
}

cJSON *stream_header(const char *kind)
{
	static const char *const names[] = { "DNA", "ER" };
	cJSON *channels = cJSON_CreateStringArray(names, 2), *h = vqt_header_make(kind, channels);
	cJSON_Delete(channels);
	vqt_header_chain(h, "vq-test", NULL);
	cJSON_ReplaceItemInObject(cJSON_GetArrayItem(cJSON_GetObjectItem(h, "chain"), 0), "version", cJSON_CreateString("1"));
	return h; /* the golden files must outlive a release */
}

vq_status stream_write(const char *path, const char *kind, int first, int n, int flush, const vqt_options *o)
{
	vqt_writer *w;
	cJSON *h = stream_header(kind);
	vq_status s = vqt_create(&w, path, h, o);
	cJSON_Delete(h);
	if (s < 0)
		return s;
	for (int i = first; i < first + n && s == VQ_OK; i++) {
		vqt_record r;
		s = stream_record(&r, kind, i);
		if (s == VQ_OK)
			s = vqt_put(w, &r);
		vqt_record_free(&r);
		if (s == VQ_OK && flush && (i - first) % flush == flush - 1)
			s = vqt_flush(w);
	}
	if (s == VQ_OK)
		return vqt_finish(w);
	vqt_abort(w);
	return s;
}

uint64_t stream_digest(const vqt_record *r, uint64_t seed)
{
	vq_xxh64 h;
	char *meta = cJSON_PrintUnformatted(r->meta);
	vq_xxh64_init(&h, seed);
	vq_xxh64_add(&h, r->id, strlen(r->id) + 1);
	vq_xxh64_add(&h, meta, strlen(meta) + 1);
	cJSON_free(meta);
	for (int i = 0; i < r->n; i++) {
		const vq_tensor *t = &r->entry[i].t;
		size_t bytes;
		if (vq_tensor_bytes(t, &bytes) < 0)
			abort();
		vq_xxh64_add(&h, r->entry[i].name, strlen(r->entry[i].name) + 1);
		vq_xxh64_add(&h, &t->dtype, sizeof t->dtype);
		vq_xxh64_add(&h, &t->ndim, sizeof t->ndim);
		vq_xxh64_add(&h, t->shape, sizeof *t->shape * (size_t)t->ndim);
		vq_xxh64_add(&h, t->data, bytes);
	}
	return vq_xxh64_value(&h);
}

static void note(char *to, size_t n, const char *text) { snprintf(to, n, "%s", text ? text : ""); }

stream_view stream_read(const char *path, const char *kinds, const vqt_limits *limits)
{
	stream_view v = {0};
	vqt_reader *r;
	vqt_record rec;
	if ((v.result = vqt_open(&r, path, kinds, limits)) < 0) {
		note(v.message, sizeof v.message, vq_message());
		return v;
	}
	while ((v.result = vqt_next(r, &rec)) > 0) {
		v.digest = stream_digest(&rec, v.digest);
		note(v.last, sizeof v.last, rec.id);
		v.records++;
		vqt_record_free(&rec);
	}
	if (v.result < 0)
		note(v.message, sizeof v.message, vq_message());
	if (v.records != vqt_count(r) || (v.result < 0 && vqt_next(r, &rec) != v.result))
		abort();
	note(v.warning, sizeof v.warning, vqt_warning(r));
	vqt_close(r);
	return v;
}

stream_view stream_read_any_order(const char *path, const vqt_limits *limits)
{
	stream_view v = {0};
	vqt_file *f;
	if ((v.result = vqt_file_open(&f, path, NULL, limits)) < 0) {
		note(v.message, sizeof v.message, vq_message());
		return v;
	}
	v.records = vqt_file_count(f);
	note(v.warning, sizeof v.warning, vqt_file_warning(f));
	vqt_record *all = calloc((size_t)v.records + 1, sizeof *all);
	for (uint64_t i = v.records; all && i-- > 0 && v.result == VQ_OK; )
		if ((v.result = vqt_file_read(f, i, &all[i])) < 0)
			note(v.message, sizeof v.message, vq_message());
	for (uint64_t i = 0; all && i < v.records; i++) {
		if (v.result == VQ_OK)
			v.digest = stream_digest(&all[i], v.digest);
		vqt_record_free(&all[i]);
	}
	free(all);
	vqt_file_close(f);
	return v;
}

vq_status stream_load(const char *path, vq_buf *b) { return vq_file_read(path, 1 << 28, b); }

void stream_save(const char *path, const void *data, size_t n)
{
	FILE *f = fopen(path, "wb");
	if (!f || fwrite(data, 1, n, f) != n || fclose(f))
		abort();
}

vq_status stream_plain(const vq_buf *packed, vq_buf *plain)
{
	ZSTD_DCtx *z = ZSTD_createDCtx();
	ZSTD_inBuffer in = { packed->data, packed->len, 0 };
	vq_status s = VQ_OK;
	while (in.pos < in.size && s == VQ_OK) {
		if ((s = vq_buf_reserve(plain, 1 << 17)) < 0)
			break;
		ZSTD_outBuffer out = { plain->data + plain->len, 1 << 17, 0 };
		if (ZSTD_isError(ZSTD_decompressStream(z, &out, &in)))
			s = VQ_EFORMAT;
		plain->len += out.pos;
	}
	ZSTD_freeDCtx(z);
	return s;
}

vq_status stream_pack(vq_buf *out, const void *data, size_t n)
{
	VQ_TRY(vq_buf_reserve(out, ZSTD_compressBound(n)));
	size_t r = ZSTD_compress(out->data + out->len, out->cap - out->len, data, n, 1);
	if (ZSTD_isError(r))
		return VQ_EBACKEND;
	out->len += r;
	return VQ_OK;
}

stream_memory stream_memory_open(const void *data, size_t n)
{
	stream_memory m = { .fd = memfd_create("stream", MFD_CLOEXEC) };
	if (m.fd < 0)
		abort();
	for (size_t done = 0; done < n; ) {
		ssize_t w = write(m.fd, (const char *)data + done, n - done);
		if (w < 0)
			abort();
		done += (size_t)w;
	}
	snprintf(m.path, sizeof m.path, "/proc/self/fd/%d", m.fd);
	return m;
}

void stream_memory_close(stream_memory *m) { close(m->fd); }
