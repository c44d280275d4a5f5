#include "lib/train/alike.h"

#include <stdlib.h>
#include <string.h>

/* The sides that canvases have form a row that grows by the tolerance: the first that holds v. */
static int side(const vq_alike *a, int v)
{
	int s = VQ_ALIGN(VQ_MAX(a->least, a->multiple), a->multiple);
	while (s < v)
		s = VQ_ALIGN(VQ_MAX(s + a->multiple, (int)((double)s * (1 + a->tolerance))), a->multiple);
	return s;
}

vq_sheet vq_alike_sheet(const vq_alike *a, int h, int w)
{
	vq_sheet s = { .h = side(a, a->square ? VQ_MAX(h, w) : h), .w = side(a, a->square ? VQ_MAX(h, w) : w) };
	int64_t n = a->cells ? a->cells : VQ_PACK_MAX;
	if (a->pixels)
		n = VQ_MIN(n, a->pixels / ((int64_t)s.h * s.w));
	s.canvases = (int)VQ_MIN(VQ_MAX(n, 1), VQ_PACK_MAX);
	return s;
}

typedef struct { vq_sheet sheet; uint32_t batch; int n; } open_batch;

/* batch[i]: which batch the cell at order[i] belongs to. Returns how many there are. */
static vq_status assign(const vq_sampler *s, const vq_train_calls *calls, const vq_alike *a, uint32_t *batch, uint32_t *batches)
{
	open_batch *open = NULL;
	size_t n = 0;
	vq_status st = VQ_OK;
	*batches = 0;
	for (uint32_t i = 0; i < s->n && st == VQ_OK; i++) {
		vq_cell c;
		size_t k = 0;
		if ((st = calls->size(calls->ctx, s->order[i], &c)) < 0)
			break;
		vq_sheet sheet = vq_alike_sheet(a, c.h, c.w);
		while (k < n && (open[k].sheet.h != sheet.h || open[k].sheet.w != sheet.w))
			k++;
		if (k == n) {
			open_batch *more = vq_realloc(open, sizeof *open * (n + 1));
			if (!more) {
				st = VQ_ENOMEM;
				break;
			}
			open = more;
			open[n++] = (open_batch){ sheet, 0, sheet.canvases };
		}
		if (open[k].n == sheet.canvases) {
			open[k].n = 0;
			open[k].batch = (*batches)++;
		}
		open[k].n++;
		batch[i] = open[k].batch;
	}
	free(open);
	return st;
}

vq_status vq_alike_epoch(vq_sampler *s, const vq_train_calls *calls, const vq_alike *a)
{
	uint32_t *batch = vq_malloc(sizeof *batch * s->n), *order = vq_malloc(sizeof *order * s->n), *first = NULL, *rank = NULL, n = 0;
	vq_sampler_epoch(s);
	vq_status st = batch && order ? assign(s, calls, a, batch, &n) : VQ_ENOMEM;
	if (st == VQ_OK && (!(first = vq_calloc(n + 1, sizeof *first)) || !(rank = vq_malloc(sizeof *rank * (n + 1)))))
		st = VQ_ENOMEM;
	if (st == VQ_OK) {
		for (uint32_t i = 0; i < n; i++)
			rank[i] = i;
		vq_rng_shuffle(&s->rng, rank, n);
		for (uint32_t i = 0; i < s->n; i++)
			first[rank[batch[i]] + 1]++;
		for (uint32_t i = 0; i < n; i++)
			first[i + 1] += first[i];
		for (uint32_t i = 0; i < s->n; i++)
			order[first[rank[batch[i]]]++] = s->order[i];
		memcpy(s->order, order, sizeof *order * s->n);
	}
	free(batch);
	free(order);
	free(first);
	free(rank);
	return st;
}

vq_status vq_alike_draw(vq_sampler *s, const vq_train_calls *calls, const vq_alike *a, int augment, vq_batch *b)
{
	int most = 1, need = 1;
	b->items = 0;
	b->pixels = 0;
	for (; s->at < s->n && b->items < most; s->at++) {
		vq_cell c, t;
		VQ_TRY(calls->size(calls->ctx, s->order[s->at], &c));
		vq_sheet sheet = vq_alike_sheet(a, c.h, c.w);
		if (b->items && (sheet.h != b->sheet.h || sheet.w != b->sheet.w))
			break;
		b->sheet = sheet;
		most = sheet.canvases;
		int i = b->items++;
		b->cell[i] = s->order[s->at];
		b->turn[i] = (uint8_t)(augment ? (int)(vq_rng_u32(&s->rng) & (uint32_t)augment) : 0);
		vq_cell_turned(&c, b->turn[i], &t);
		b->place[i] = (vq_place){ { i, 0, 0, t.h, t.w }, { i, t.top, t.left, t.th, t.tw } };
		b->pixels += (uint64_t)t.th * (uint64_t)t.tw;
	}
	if (!b->items)
		return vq_fail(VQ_EINVAL, "there is no cell to draw");
	while (need < b->items)
		need *= 2;
	b->sheet.canvases = VQ_MIN(need, most);
	return VQ_OK;
}
