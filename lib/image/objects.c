#include "lib/image/crop.h"

#ifdef __SSE2__
#include <emmintrin.h>
#endif
#include <stdlib.h>
#include <string.h>

/* Labels are met in runs along a row, so that one look-up serves about a cell's width; the table is open addressing. */
typedef struct {
	vq_object *v;
	size_t n, cap;
	uint32_t *slot;   /* index + 1 into v, 0 for empty */
	size_t slots;     /* a power of two, at least 2 * cap */
} object_table;

static size_t slot_of(const object_table *t, int32_t label)
{
	size_t i = ((uint32_t)label * 2654435769u) & (t->slots - 1);
	while (t->slot[i] && t->v[t->slot[i] - 1].label != label)
		i = (i + 1) & (t->slots - 1);
	return i;
}

static vq_status grow(object_table *t)
{
	size_t cap = t->cap ? t->cap * 2 : 64;
	if (cap > UINT32_MAX / 2)
		return vq_fail(VQ_ELIMIT, "too many labels");
	vq_object *v = vq_realloc(t->v, cap * sizeof *v);
	if (!v)
		return VQ_ENOMEM;
	t->v = v;
	t->cap = cap;
	free(t->slot);
	t->slots = cap * 2;
	if (!(t->slot = vq_calloc(t->slots, sizeof *t->slot)))
		return VQ_ENOMEM;
	for (size_t i = 0; i < t->n; i++)
		t->slot[slot_of(t, t->v[i].label)] = (uint32_t)i + 1;
	return VQ_OK;
}

static vq_status add_run(object_table *t, int32_t label, int64_t y, int64_t x0, int64_t x1)
{
	if (t->n == t->cap)
		VQ_TRY(grow(t));
	size_t i = slot_of(t, label);
	if (!t->slot[i]) {
		t->v[t->n] = (vq_object){ label, 0, { y, x0, y + 1, x1 } };
		t->slot[i] = (uint32_t)++t->n;
	}
	vq_object *o = &t->v[t->slot[i] - 1];
	o->area += x1 - x0;
	o->box.x0 = VQ_MIN(o->box.x0, x0);
	o->box.x1 = VQ_MAX(o->box.x1, x1);
	o->box.y1 = y + 1;
	return VQ_OK;
}

/* The first pixel from x on that is not v; w when there is none. */
static int64_t past_same(const int32_t *row, int64_t x, int64_t w, int32_t v)
{
#ifdef __SSE2__
	const __m128i all = _mm_set1_epi32(v);
	for (; x + 16 <= w; x += 16) {
		__m128i same[4];
		for (int k = 0; k < 4; k++)
			same[k] = _mm_cmpeq_epi32(_mm_loadu_si128((const __m128i *)(const void *)(row + x + 4 * k)), all);
		int mask = _mm_movemask_epi8(_mm_packs_epi16(_mm_packs_epi32(same[0], same[1]), _mm_packs_epi32(same[2], same[3])));
		if (mask != 0xffff)
			return x + __builtin_ctz(~(unsigned)mask);
	}
#endif
	while (x < w && row[x] == v)
		x++;
	return x;
}

static int by_label(const void *a, const void *b)
{
	int32_t p = ((const vq_object *)a)->label, q = ((const vq_object *)b)->label;
	return (p > q) - (p < q);
}

vq_status vq_objects_find(const int32_t *labels, int64_t h, int64_t w, vq_object **out, size_t *n)
{
	object_table t = { 0 };
	vq_status s = VQ_OK;
	*out = NULL;
	*n = 0;
	for (int64_t y = 0; y < h; y++) {
		const int32_t *row = labels + y * w;
		for (int64_t x = past_same(row, 0, w, 0), x0; x < w; x = past_same(row, x, w, 0)) {
			int32_t label = row[x0 = x];
			if (label < 0) {
				s = vq_fail(VQ_EINVAL, "label %d at pixel %lld,%lld is negative", label, (long long)x, (long long)y);
				goto fail;
			}
			x = past_same(row, x, w, label);
			VQ_TRY_GOTO(s, add_run(&t, label, y, x0, x), fail);
		}
	}
	if (t.n > 1)
		qsort(t.v, t.n, sizeof *t.v, by_label);
	*out = t.v;
	*n = t.n;
	free(t.slot);
	return VQ_OK;
fail:
	free(t.v);
	free(t.slot);
	return s;
}
