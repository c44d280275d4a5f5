#include "tools/coded.h"

#include <stdlib.h>
#include <string.h>

#include <zstd.h>

#include "lib/eval/codecoder.h"

/* A record's codes of all levels, one after the other. */
typedef struct { int32_t *codes; int64_t h[VQ_CODE_LEVELS_MAX], w[VQ_CODE_LEVELS_MAX], th, tw; } grid;

typedef struct {
	const vq_codestats *stats;
	vq_code_tables tables[VQ_CODE_LEVELS_MAX];
	grid *v;
	size_t n, cap;
} coded;

static void coded_free(coded *c)
{
	for (int l = 0; l < c->stats->nlevels; l++)
		vq_code_tables_free(&c->tables[l]);
	for (size_t i = 0; i < c->n; i++)
		free(c->v[i].codes);
	free(c->v);
}

/* --- reading --------------------------------------------------------------------------------------------------------- */

static vq_status take(const coded *c, const vqt_record *r, grid *g)
{
	size_t n = 0;
	vq_geom geom;
	VQ_TRY(vq_geom_get(r->meta, NULL, &geom));
	*g = (grid){ .th = geom.h, .tw = geom.w };
	for (int pass = 0; pass < 2; pass++) {
		n = 0;
		for (int l = 0; l < c->stats->nlevels; l++) {
			const vq_tensor *t = vqt_get(r, c->stats->levels[l].name);
			if (!t || t->ndim < 1 || t->ndim > 2 || (t->dtype != VQ_U16 && t->dtype != VQ_I32))
				return vq_fail(VQ_EFORMAT, "record %s: no grid of codes \"%s\"", r->id, c->stats->levels[l].name);
			g->h[l] = t->ndim == 2 ? t->shape[0] : 1;
			g->w[l] = t->shape[t->ndim - 1];
			for (int64_t i = 0; pass && i < g->h[l] * g->w[l]; i++)
				g->codes[n + (size_t)i] = (int32_t)vq_tensor_get(t, (size_t)i);
			n += (size_t)(g->h[l] * g->w[l]);
		}
		if (!pass && !(g->codes = vq_calloc(n + 1, sizeof *g->codes)))
			return VQ_ENOMEM;
	}
	return VQ_OK;
}

static vq_status count(coded *c, const vqt_record *r)
{
	grid g = {0};
	size_t n = 0;
	vq_status s = take(c, r, &g);
	for (int l = 0; s == VQ_OK && l < c->stats->nlevels; l++) {
		s = vq_code_tables_add(&c->tables[l], g.codes + n, g.h[l], g.w[l]);
		if (s < 0)
			vq_context(s, "record %s", r->id);
		n += (size_t)(g.h[l] * g.w[l]);
	}
	free(g.codes);
	return s;
}

static vq_status keep(coded *c, const vqt_record *r)
{
	if (c->n == c->cap) {
		size_t cap = c->cap ? 2 * c->cap : 256;
		grid *v = vq_realloc(c->v, cap * sizeof *v);
		if (!v)
			return VQ_ENOMEM;
		c->v = v;
		c->cap = cap;
	}
	c->n++;
	return take(c, r, &c->v[c->n - 1]);
}

/* Codes of two models cannot be told apart by looking at them: the streams say which model made them. */
static vq_status check_header(const coded *c, const cJSON *header, const cJSON **levels)
{
	const cJSON *own = cJSON_GetObjectItemCaseSensitive(cJSON_GetObjectItemCaseSensitive(header, "model"), "levels");
	if (*levels && !cJSON_Compare(own, *levels, true))
		return vq_fail(VQ_EINVAL, "its codes are not those of the same model");
	*levels = own;
	return cJSON_GetArraySize(own) == c->stats->nlevels ? VQ_OK : vq_fail(VQ_EINVAL, "its codes are not those of the same model");
}

static vq_status each(coded *c, vqt_reader *in, vq_status (*f)(coded *, const vqt_record *))
{
	vqt_record r;
	int got;
	while ((got = vqt_next(in, &r)) > 0) {
		vq_status s = f(c, &r);
		vqt_record_free(&r);
		VQ_TRY(s);
	}
	return got;
}

static vq_status read_both(coded *c, const char *stream, const char *tables)
{
	vqt_reader *in = NULL, *of = NULL;
	const cJSON *levels = NULL;
	VQ_TRY(vqt_open(&in, stream, "codes", NULL));
	vq_status s = vqt_open(&of, tables, "codes", NULL);
	if (s == VQ_OK && (s = check_header(c, vqt_header(in), &levels)) == VQ_OK)
		if ((s = check_header(c, vqt_header(of), &levels)) < 0 || (s = each(c, of, count)) < 0)
			vq_context(s, "%s", vqt_name(of));
	if (s == VQ_OK && (s = each(c, in, keep)) < 0)
		vq_context(s, "%s", vqt_name(in));
	vqt_close(of);
	vqt_close(in);
	return s;
}

/* --- coding ---------------------------------------------------------------------------------------------------------- */

static vq_status add_size(vq_buf *b, int64_t v)
{
	do {
		uint8_t byte = (uint8_t)((v & 127) | (v > 127 ? 128 : 0));
		VQ_TRY(vq_buf_add(b, &byte, 1));
	} while (v >>= 7);
	return VQ_OK;
}

static vq_status encode(coded *c, vq_range_encoder *e, const grid *g)
{
	size_t n = 0;
	for (int l = 0; l < c->stats->nlevels; l++) {
		VQ_TRY(vq_codes_encode(&c->tables[l], e, g->codes + n, g->h[l], g->w[l]));
		n += (size_t)(g->h[l] * g->w[l]);
	}
	return VQ_OK;
}

/* Fails unless the next codes of the message are g's. */
static vq_status verify(coded *c, vq_range_decoder *d, const grid *g)
{
	size_t n = 0;
	for (int l = 0; l < c->stats->nlevels; l++) {
		size_t k = (size_t)(g->h[l] * g->w[l]);
		int32_t *back = vq_calloc(k + 1, sizeof *back);
		if (!back)
			return VQ_ENOMEM;
		vq_codes_decode(&c->tables[l], d, back, g->h[l], g->w[l]);
		bool alike = !memcmp(back, g->codes + n, k * sizeof *back);
		free(back);
		if (!alike)
			return vq_fail(VQ_EBACKEND, "codes came back from their coded bytes as others");
		n += k;
	}
	return VQ_OK;
}

/* The bytes of the cells first to last - 1 as one message, sizes included. */
static vq_status message(coded *c, size_t first, size_t last, size_t *bytes)
{
	vq_buf b = {0}, sizes = {0};
	vq_range_encoder e;
	vq_range_decoder d;
	vq_status s = VQ_OK;
	vq_range_encode_start(&e, &b);
	for (size_t i = first; s == VQ_OK && i < last; i++)
		if ((s = add_size(&sizes, c->v[i].th)) == VQ_OK && (s = add_size(&sizes, c->v[i].tw)) == VQ_OK)
			s = encode(c, &e, &c->v[i]);
	if (s == VQ_OK)
		s = vq_range_encode_end(&e, 0);
	vq_range_decode_start(&d, b.data, b.len);
	for (size_t i = first; s == VQ_OK && i < last; i++)
		s = verify(c, &d, &c->v[i]);
	*bytes = b.len + sizes.len;
	vq_buf_free(&b);
	vq_buf_free(&sizes);
	return s;
}

/* All codes at ceil(log2 size) bits, a level after the other. */
static vq_status pack(const coded *c, vq_buf *out)
{
	for (int l = 0; l < c->stats->nlevels; l++) {
		uint64_t held = 0;
		int bits = 0, width = c->stats->levels[l].figures.raw_bits;
		for (size_t i = 0; i < c->n; i++) {
			size_t n = 0;
			for (int k = 0; k < l; k++)
				n += (size_t)(c->v[i].h[k] * c->v[i].w[k]);
			for (int64_t k = 0; k < c->v[i].h[l] * c->v[i].w[l]; k++) {
				held = held << width | (uint32_t)c->v[i].codes[n + (size_t)k];
				for (bits += width; bits >= 8; bits -= 8)
					VQ_TRY(vq_buf_add(out, &(uint8_t){ (uint8_t)(held >> (bits - 8)) }, 1));
			}
		}
		if (bits)
			VQ_TRY(vq_buf_add(out, &(uint8_t){ (uint8_t)(held << (8 - bits)) }, 1));
	}
	return VQ_OK;
}

static vq_status zstd_size(const vq_buf *b, size_t *bytes)
{
	size_t room = ZSTD_compressBound(b->len);
	void *to = vq_malloc(room);
	if (!to)
		return VQ_ENOMEM;
	*bytes = ZSTD_compress(to, room, b->len ? b->data : "", b->len, 19);
	free(to);
	return ZSTD_isError(*bytes) ? vq_fail(VQ_EBACKEND, "zstd: %s", ZSTD_getErrorName(*bytes)) : VQ_OK;
}

static vq_status figures(coded *c, cJSON *o)
{
	vq_buf packed = {0}, tables = {0};
	size_t together, one, separate = 0, zstd = 0, stored = 0;
	for (int l = 0; l < c->stats->nlevels; l++)
		vq_code_tables_end(&c->tables[l]);
	VQ_TRY(message(c, 0, c->n, &together));
	for (size_t i = 0; i < c->n; i++, separate += one)
		VQ_TRY(message(c, i, i + 1, &one));
	vq_status s = pack(c, &packed);
	for (int l = 0; s == VQ_OK && l < c->stats->nlevels; l++)
		s = vq_code_tables_store(&c->tables[l], &tables);
	if (s == VQ_OK && (s = zstd_size(&packed, &zstd)) == VQ_OK)
		s = zstd_size(&tables, &stored);
	double skip = (double)c->stats->skip_bits, pixels = (double)c->stats->pixels;
	const struct { const char *key; double v; } part[] = {
		{ "bytes", (double)together }, { "bits_per_pixel", (8. * (double)together + skip) / pixels },
		{ "bytes_separate", (double)separate }, { "bits_per_pixel_separate", (8. * (double)separate + skip) / pixels },
		{ "packed_bytes", (double)packed.len }, { "packed_bits_per_pixel", (8. * (double)packed.len + skip) / pixels },
		{ "zstd_bytes", (double)zstd }, { "zstd_bits_per_pixel", (8. * (double)zstd + skip) / pixels },
		{ "order", c->tables[0].left ? 1 : 0 }, { "tables_bytes", (double)stored },
	};
	for (size_t i = 0; s == VQ_OK && i < VQ_COUNT(part); i++)
		s = vq_json_set(o, part[i].key, cJSON_CreateNumber(part[i].v));
	vq_buf_free(&packed);
	vq_buf_free(&tables);
	return s;
}

vq_status vq_coded(const char *stream, const char *tables, const vq_codestats *stats, cJSON **out)
{
	coded c = { .stats = stats };
	vq_status s = VQ_OK;
	*out = cJSON_CreateObject();
	if (!*out)
		return vq_fail(VQ_ENOMEM, "out of memory for JSON");
	for (int l = 0; s == VQ_OK && l < stats->nlevels; l++)
		s = vq_code_tables_make(&c.tables[l], (int32_t)stats->levels[l].all.size);
	if (s == VQ_OK)
		s = read_both(&c, stream, tables);
	if (s == VQ_OK)
		s = figures(&c, *out);
	coded_free(&c);
	if (s < 0) {
		cJSON_Delete(*out);
		*out = NULL;
	}
	return s;
}
