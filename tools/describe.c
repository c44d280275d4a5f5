#include "tools/describe.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#include "formats/safetensors.h"
#include "formats/sample.h"

/* How often each extent occurred, in order of the extent: the median needs no more. */
typedef struct { int64_t value; uint64_t n; } bin;
typedef struct { bin *v; size_t n, cap; uint64_t total; } histogram;

static vq_status histogram_add(histogram *h, int64_t value)
{
	size_t i = h->n;
	while (i > 0 && h->v[i - 1].value >= value)
		i--;
	h->total++;
	if (i < h->n && h->v[i].value == value) {
		h->v[i].n++;
		return VQ_OK;
	}
	if (h->n == h->cap) {
		size_t cap = h->cap ? 2 * h->cap : 64;
		bin *more = vq_realloc(h->v, cap * sizeof *more);
		if (!more)
			return VQ_ENOMEM;
		h->v = more;
		h->cap = cap;
	}
	memmove(h->v + i + 1, h->v + i, (h->n++ - i) * sizeof *h->v);
	h->v[i] = (bin){ value, 1 };
	return VQ_OK;
}

static double histogram_at(const histogram *h, uint64_t rank)
{
	for (size_t i = 0; i < h->n; rank -= h->v[i++].n)
		if (rank < h->v[i].n)
			return (double)h->v[i].value;
	return 0;
}

static cJSON *histogram_json(const histogram *h)
{
	cJSON *o = cJSON_CreateObject();
	if (!h->total) {
		cJSON_AddNullToObject(o, "min");
		cJSON_AddNullToObject(o, "median");
		cJSON_AddNullToObject(o, "max");
		return o;
	}
	cJSON_AddNumberToObject(o, "min", (double)h->v[0].value);
	cJSON_AddNumberToObject(o, "median", (histogram_at(h, (h->total - 1) / 2) + histogram_at(h, h->total / 2)) / 2);
	cJSON_AddNumberToObject(o, "max", (double)h->v[h->n - 1].value);
	return o;
}

typedef struct {
	histogram height, width;
	double items, bytes;
	char dtype[64];     /* of the main tensor; several are joined with commas */
	cJSON *tensors;     /* [{"name","dtype","records"}] */
	cJSON *list;        /* NULL, or an object a record */
	FILE *lines;
} survey;

/* The tensor that gives a record its size. */
static const vqt_entry *main_tensor(const vqt_record *r)
{
	static const char *const names[] = { "image", "codes" };
	for (size_t k = 0; k < VQ_COUNT(names); k++)
		for (int i = 0; i < r->n; i++)
			if (!strcmp(r->entry[i].name, names[k]))
				return &r->entry[i];
	return r->n ? &r->entry[0] : NULL;
}

static int64_t extent(const vq_tensor *t, int from_end) { return t->ndim >= from_end ? t->shape[t->ndim - from_end] : 1; }

static cJSON *shape_json(const int64_t *shape, int n)
{
	cJSON *a = cJSON_CreateArray();
	for (int i = 0; i < n; i++)
		cJSON_AddItemToArray(a, cJSON_CreateNumber((double)shape[i]));
	return a;
}

static void note_tensor(survey *s, const vqt_entry *e)
{
	cJSON *known;
	const char *dtype = vq_dtype_name(e->t.dtype);
	cJSON_ArrayForEach(known, s->tensors) {
		if (strcmp(cJSON_GetStringValue(cJSON_GetObjectItem(known, "name")), e->name) ||
		    strcmp(cJSON_GetStringValue(cJSON_GetObjectItem(known, "dtype")), dtype))
			continue;
		cJSON *n = cJSON_GetObjectItem(known, "records");
		cJSON_SetNumberValue(n, n->valuedouble + 1);
		return;
	}
	known = cJSON_CreateObject();
	cJSON_AddStringToObject(known, "name", e->name);
	cJSON_AddStringToObject(known, "dtype", dtype);
	cJSON_AddNumberToObject(known, "records", 1);
	cJSON_AddItemToArray(s->tensors, known);
}

/* Adds a word to a list joined with commas. */
static void note_dtype(char list[64], const char *word)
{
	size_t n = strlen(word), used = strlen(list);
	for (const char *p = list; (p = strstr(p, word)); p += n)
		if ((p == list || p[-1] == ',') && (p[n] == ',' || !p[n]))
			return;
	snprintf(list + used, 64 - used, "%s%s", used ? "," : "", word);
}

static cJSON *record_json(const vqt_record *r, const vqt_entry *e, double bytes)
{
	cJSON *line = cJSON_CreateObject();
	cJSON_AddStringToObject(line, "id", r->id);
	cJSON_AddNumberToObject(line, "bytes", bytes);
	if (e) {
		cJSON_AddNumberToObject(line, "height", (double)extent(&e->t, 2));
		cJSON_AddNumberToObject(line, "width", (double)extent(&e->t, 1));
	}
	cJSON *tensors = cJSON_AddArrayToObject(line, "tensors");
	for (int i = 0; i < r->n; i++) {
		cJSON *t = cJSON_CreateObject();
		cJSON_AddStringToObject(t, "name", r->entry[i].name);
		cJSON_AddStringToObject(t, "dtype", vq_dtype_name(r->entry[i].t.dtype));
		cJSON_AddItemToObject(t, "shape", shape_json(r->entry[i].t.shape, r->entry[i].t.ndim));
		cJSON_AddItemToArray(tensors, t);
	}
	return line;
}

static void list_record(survey *s, const vqt_record *r, const vqt_entry *e, double bytes)
{
	cJSON *line = record_json(r, e, bytes);
	if (s->lines)
		vq_describe_line(s->lines, line);
	if (!s->list || !cJSON_AddItemToArray(s->list, line))
		cJSON_Delete(line);
}

static vq_status survey_record(survey *s, const vqt_record *r)
{
	const vqt_entry *e = main_tensor(r);
	const cJSON *items = cJSON_GetObjectItemCaseSensitive(r->meta, "items");
	double bytes = 0;
	s->items += cJSON_IsArray(items) ? cJSON_GetArraySize(items) : 1;
	for (int i = 0; i < r->n; i++) {
		size_t n;
		VQ_TRY(vq_tensor_bytes(&r->entry[i].t, &n));
		bytes += (double)n;
		note_tensor(s, &r->entry[i]);
	}
	s->bytes += bytes;
	if (s->list || s->lines)
		list_record(s, r, e, bytes);
	if (!e)
		return VQ_OK;
	note_dtype(s->dtype, vq_dtype_name(e->t.dtype));
	VQ_TRY(histogram_add(&s->height, extent(&e->t, 2)));
	return histogram_add(&s->width, extent(&e->t, 1));
}

static void add_copy(cJSON *o, const char *key, const cJSON *header)
{
	const cJSON *v = cJSON_GetObjectItemCaseSensitive(header, key);
	cJSON_AddItemToObject(o, key, v ? cJSON_Duplicate(v, 1) : cJSON_CreateNull());
}

static cJSON *stream_json(const vqt_reader *r, survey *s, int end, const char *words)
{
	cJSON *o = cJSON_CreateObject();
	const cJSON *header = vqt_header(r), *more;
	int major, minor;
	char version[32];
	vqt_version(r, &major, &minor);
	snprintf(version, sizeof version, "%d.%d", major, minor);
	cJSON_AddStringToObject(o, "file", vqt_name(r));
	cJSON_AddStringToObject(o, "kind", vqt_header_kind(header));
	cJSON_AddStringToObject(o, "version", version);
	cJSON_AddNumberToObject(o, "records", (double)vqt_count(r));
	if (!strcmp(vqt_header_kind(header), "batches"))
		cJSON_AddNumberToObject(o, "items", s->items);
	add_copy(o, "channels", header);
	cJSON_AddItemToObject(o, "dtype", s->dtype[0] ? cJSON_CreateString(s->dtype) : cJSON_CreateNull());
	cJSON_AddItemToObject(o, "height", histogram_json(&s->height));
	cJSON_AddItemToObject(o, "width", histogram_json(&s->width));
	cJSON_AddItemToObject(o, "tensors", s->tensors);
	cJSON_AddNumberToObject(o, "bytes", s->bytes);
	s->tensors = NULL;
	add_copy(o, "chain", header);
	cJSON_ArrayForEach(more, header)
		if (!cJSON_HasObjectItem(o, more->string))
			cJSON_AddItemToObject(o, more->string, cJSON_Duplicate(more, 1));
	cJSON_AddBoolToObject(o, "complete", end == 0);
	if (vqt_warning(r))
		cJSON_AddStringToObject(o, "warning", vqt_warning(r));
	if (end < 0)
		cJSON_AddStringToObject(o, "error", words);
	if (s->list)
		cJSON_AddItemToObject(o, "list", s->list);
	s->list = NULL;
	return o;
}

static vq_description describe_stream(const char *path, bool list, FILE *lines)
{
	vq_description d = {0};
	vqt_reader *r;
	vqt_record rec;
	if ((d.status = vqt_open(&r, path, NULL, NULL)) < 0)
		return d;
	survey s = { .tensors = cJSON_CreateArray(), .list = list ? cJSON_CreateArray() : NULL, .lines = lines };
	while ((d.status = vqt_next(r, &rec)) > 0) {
		d.status = survey_record(&s, &rec);
		vqt_record_free(&rec);
		if (d.status < 0)
			break;
	}
	char *words = vq_strdup(d.status < 0 ? vq_message() : "");
	d.json = stream_json(r, &s, d.status, words ? words : "out of memory");
	free(words);
	free(s.height.v);
	free(s.width.v);
	cJSON_Delete(s.tensors);
	cJSON_Delete(s.list);
	vqt_close(r);
	return d;
}

static cJSON *tensors_json(const vq_st *st, char dtypes[64], double *parameters, double *bytes)
{
	cJSON *all = cJSON_CreateArray();
	for (int i = 0; i < vq_st_count(st); i++) {
		const vq_st_info *t = vq_st_at(st, i);
		cJSON *o = cJSON_CreateObject();
		cJSON_AddStringToObject(o, "name", t->name);
		cJSON_AddStringToObject(o, "dtype", t->dtype);
		cJSON_AddItemToObject(o, "shape", shape_json(t->shape, t->ndim));
		cJSON_AddItemToArray(all, o);
		note_dtype(dtypes, t->dtype);
		*parameters += (double)t->count;
		*bytes += (double)(t->end - t->begin);
	}
	return all;
}

static vq_description describe_tensors(const char *path)
{
	vq_description d = {0};
	vq_st *st;
	char dtypes[64] = "";
	double parameters = 0, bytes = 0;
	if ((d.status = vq_st_open(&st, path)) < 0)
		return d;
	const cJSON *meta = vq_st_metadata(st);
	const char *format = vq_st_meta(st, "format"), *version = vq_st_meta(st, "version");
	bool ours = format && !strncmp(format, "vq-", 3); /* vq-model, vq-checkpoint */
	cJSON *tensors = tensors_json(st, dtypes, &parameters, &bytes);
	d.json = cJSON_CreateObject();
	cJSON_AddStringToObject(d.json, "file", path);
	cJSON_AddStringToObject(d.json, "kind", ours ? format + 3 : "tensors");
	if (ours && version)
		cJSON_AddStringToObject(d.json, "version", version);
	cJSON_AddNumberToObject(d.json, "parameters", parameters);
	cJSON_AddNumberToObject(d.json, "bytes", bytes);
	cJSON_AddItemToObject(d.json, "dtype", dtypes[0] ? cJSON_CreateString(dtypes) : cJSON_CreateNull());
	cJSON_AddItemToObject(d.json, "tensors", tensors);
	cJSON_AddItemToObject(d.json, "metadata", meta ? cJSON_Duplicate(meta, 1) : cJSON_CreateObject());
	cJSON_AddBoolToObject(d.json, "complete", 1);
	vq_st_close(st);
	return d;
}

/* A regular file that begins with a length and a brace. */
static bool looks_like_safetensors(const char *path)
{
	unsigned char b[9];
	struct stat st;
	if (!strcmp(path, "-") || stat(path, &st) || !S_ISREG(st.st_mode))
		return false;
	FILE *f = fopen(path, "rb");
	bool yes = f && fread(b, 1, sizeof b, f) == sizeof b && b[8] == '{' && !b[5] && !b[6] && !b[7];
	if (f)
		fclose(f);
	return yes;
}

vq_description vq_describe(const char *path, bool list, FILE *lines)
{
	return looks_like_safetensors(path) ? describe_tensors(path) : describe_stream(path, list, lines);
}
