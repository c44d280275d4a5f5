#include "lib/eval/codecoder.h"

#include <stdlib.h>
#include <string.h>

/* --- the coder ------------------------------------------------------------------------------------------------------- */

/* A byte is out when both ends of the interval agree on it; an interval that becomes small without agreeing is cut at the next multiple of
 * BOTTOM, so that no carry ever reaches a byte that is out. */
static const uint64_t TOP = (uint64_t)1 << 56, BOTTOM = (uint64_t)1 << 40;

static bool settled(uint64_t low, uint64_t *range)
{
	if ((low ^ (low + *range)) < TOP)
		return true;
	if (*range >= BOTTOM)
		return false;
	*range = -low & (BOTTOM - 1);
	return true;
}

void vq_range_encode_start(vq_range_encoder *e, vq_buf *out) { *e = (vq_range_encoder){ 0, UINT64_MAX, out }; }

vq_status vq_range_encode(vq_range_encoder *e, uint64_t from, uint64_t freq, uint64_t total)
{
	uint64_t unit = e->range / total;
	e->low += unit * from;
	e->range = unit * freq;
	while (settled(e->low, &e->range)) {
		uint8_t byte = (uint8_t)(e->low >> 56);
		VQ_TRY(vq_buf_add(e->out, &byte, 1));
		e->low <<= 8;
		e->range <<= 8;
	}
	return VQ_OK;
}

vq_status vq_range_encode_end(vq_range_encoder *e, size_t start)
{
	uint64_t value = e->low;
	int bytes = 8;
	for (int k = 0; k < 8; k++) {
		uint64_t mask = ((uint64_t)1 << (8 * (7 - k))) - 1, up = (e->low + mask) & ~mask;
		if (up >= e->low && up - e->low < e->range) {
			value = up;
			bytes = k + 1;
			break;
		}
	}
	for (int k = 0; k < bytes; k++) {
		uint8_t byte = (uint8_t)(value >> (56 - 8 * k));
		VQ_TRY(vq_buf_add(e->out, &byte, 1));
	}
	while (e->out->len > start && !e->out->data[e->out->len - 1])
		e->out->len--;
	return VQ_OK;
}

static uint64_t next_byte(vq_range_decoder *d) { return d->at < d->end ? *d->at++ : 0; }

void vq_range_decode_start(vq_range_decoder *d, const void *data, size_t n)
{
	*d = (vq_range_decoder){ .range = UINT64_MAX, .at = data, .end = (const uint8_t *)data + n };
	for (int k = 0; k < 8; k++)
		d->code = d->code << 8 | next_byte(d);
}

uint64_t vq_range_decode_at(vq_range_decoder *d, uint64_t total)
{
	uint64_t v = (d->code - d->low) / (d->range / total);
	return v < total ? v : total - 1;
}

void vq_range_decode_step(vq_range_decoder *d, uint64_t from, uint64_t freq, uint64_t total)
{
	uint64_t unit = d->range / total;
	d->low += unit * from;
	d->range = unit * freq;
	while (settled(d->low, &d->range)) {
		d->code = d->code << 8 | next_byte(d);
		d->low <<= 8;
		d->range <<= 8;
	}
}

/* --- the tables ------------------------------------------------------------------------------------------------------ */

vq_status vq_code_tables_make(vq_code_tables *t, int32_t size)
{
	size_t n = (size_t)size, pairs = size <= VQ_CODE_CONTEXTS ? n * n : 0;
	*t = (vq_code_tables){ .size = size };
	t->count = vq_calloc(3 * n, sizeof *t->count);
	t->p = vq_calloc(2 * n, sizeof *t->p);
	t->freq = vq_calloc(n, sizeof *t->freq);
	t->left = pairs ? vq_calloc(2 * pairs, sizeof *t->left) : NULL;
	if (!t->count || !t->p || !t->freq || (pairs && !t->left)) {
		vq_code_tables_free(t);
		return VQ_ENOMEM;
	}
	t->left_total = t->count + n;
	t->above_total = t->count + 2 * n;
	t->q = t->p + n;
	t->above = pairs ? t->left + pairs : NULL;
	return VQ_OK;
}

void vq_code_tables_free(vq_code_tables *t)
{
	free(t->count);
	free(t->p);
	free(t->freq);
	free(t->left);
	*t = (vq_code_tables){0};
}

vq_status vq_code_tables_add(vq_code_tables *t, const int32_t *codes, int64_t h, int64_t w)
{
	for (int64_t i = 0; i < h * w; i++)
		if (codes[i] < 0 || codes[i] >= t->size)
			return vq_fail(VQ_EINVAL, "code %d of a codebook of %d", (int)codes[i], (int)t->size);
	for (int64_t i = 0; i < h * w; i++) {
		size_t c = (size_t)codes[i];
		t->count[c]++;
		t->total++;
		if (t->left && i % w) {
			t->left[(size_t)codes[i - 1] * (size_t)t->size + c]++;
			t->left_total[codes[i - 1]]++;
		}
		if (t->left && i >= w) {
			t->above[(size_t)codes[i - w] * (size_t)t->size + c]++;
			t->above_total[codes[i - w]]++;
		}
	}
	return VQ_OK;
}

void vq_code_tables_end(vq_code_tables *t)
{
	/* a code that was never seen counts as a 64th of one */
	double sum = (double)t->total + (double)t->size / 64;
	for (int32_t c = 0; c < t->size; c++)
		t->p[c] = ((double)t->count[c] + 1. / 64) / sum;
}

static vq_status store_number(vq_buf *out, uint64_t v)
{
	do {
		uint8_t byte = (uint8_t)((v & 127) | (v > 127 ? 128 : 0));
		VQ_TRY(vq_buf_add(out, &byte, 1));
	} while (v >>= 7);
	return VQ_OK;
}

vq_status vq_code_tables_store(const vq_code_tables *t, vq_buf *out)
{
	size_t n = (size_t)t->size, gap = 0;
	for (size_t c = 0; c < n; c++)
		VQ_TRY(store_number(out, t->count[c]));
	for (size_t i = 0; t->left && i < 2 * n * n; i++, gap++)
		if (t->left[i]) {
			VQ_TRY(store_number(out, gap));
			VQ_TRY(store_number(out, t->left[i]));
			gap = 0;
		}
	return VQ_OK;
}

/* Fills t->freq for the next code; returns their sum. Only sums, products and quotients in one order, so that the decoder finds the same. */
static uint64_t frequencies(vq_code_tables *t, int64_t left, int64_t above)
{
	const uint32_t *l = t->left && left >= 0 ? t->left + left * t->size : NULL, *a = t->left && above >= 0 ? t->above + above * t->size : NULL;
	double l_sum = l ? (double)t->left_total[left] + VQ_CODE_PRIOR : 1, a_sum = a ? (double)t->above_total[above] + VQ_CODE_PRIOR : 1, sum = 0;
	uint64_t total = 0;
	for (int32_t c = 0; c < t->size; c++) {
		double p = t->p[c], pl = l ? ((double)l[c] + VQ_CODE_PRIOR * p) / l_sum : p, pa = a ? ((double)a[c] + VQ_CODE_PRIOR * p) / a_sum : p;
		t->q[c] = pl * pa / p;
		sum += t->q[c];
	}
	double scale = (double)(1 << 30) / sum;
	for (int32_t c = 0; c < t->size; c++) {
		t->freq[c] = 1 + (uint32_t)(t->q[c] * scale);
		total += t->freq[c];
	}
	return total;
}

vq_status vq_codes_encode(vq_code_tables *t, vq_range_encoder *e, const int32_t *codes, int64_t h, int64_t w)
{
	for (int64_t i = 0; i < h * w; i++) {
		if (codes[i] < 0 || codes[i] >= t->size)
			return vq_fail(VQ_EINVAL, "code %d of a codebook of %d", (int)codes[i], (int)t->size);
		uint64_t total = frequencies(t, i % w ? codes[i - 1] : -1, i >= w ? codes[i - w] : -1), from = 0;
		for (int32_t c = 0; c < codes[i]; c++)
			from += t->freq[c];
		VQ_TRY(vq_range_encode(e, from, t->freq[codes[i]], total));
	}
	return VQ_OK;
}

void vq_codes_decode(vq_code_tables *t, vq_range_decoder *d, int32_t *codes, int64_t h, int64_t w)
{
	for (int64_t i = 0; i < h * w; i++) {
		uint64_t total = frequencies(t, i % w ? codes[i - 1] : -1, i >= w ? codes[i - w] : -1), from = 0, at = vq_range_decode_at(d, total);
		int32_t c = 0;
		while (c + 1 < t->size && from + t->freq[c] <= at)
			from += t->freq[c++];
		codes[i] = c;
		vq_range_decode_step(d, from, t->freq[c], total);
	}
}
