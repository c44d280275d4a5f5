#include "lib/train/batch.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

vq_status vq_sampler_make(vq_sampler *s, const uint32_t *cells, uint32_t n, uint64_t seed, uint64_t stream)
{
	*s = (vq_sampler){ .n = n, .at = n, .most = VQ_PACK_MAX, .rng = vq_rng_make(seed, stream) };
	s->order = vq_malloc(sizeof *s->order * n);
	s->wait = vq_malloc(sizeof *s->wait * VQ_PACK_MAX);
	if (!s->order || !s->wait) {
		vq_sampler_free(s);
		return VQ_ENOMEM;
	}
	memcpy(s->order, cells, sizeof *cells * n);
	return VQ_OK;
}

void vq_sampler_free(vq_sampler *s)
{
	free(s->order);
	free(s->wait);
	s->order = s->wait = NULL;
}

void vq_sampler_epoch(vq_sampler *s)
{
	vq_rng_shuffle(&s->rng, s->order, s->n);
	s->at = 0;
}

void vq_cell_turned(const vq_cell *c, int turn, vq_cell *t)
{
	*t = *c;
	if (turn & VQ_FLIP_Y)
		t->top = c->h - c->top - c->th;
	if (turn & VQ_FLIP_X)
		t->left = c->w - c->left - c->tw;
	if (turn & VQ_TURN) {
		vq_cell u = *t;
		t->h = u.w;
		t->w = u.h;
		t->top = u.left;
		t->left = u.top;
		t->th = u.tw;
		t->tw = u.th;
	}
}

vq_status vq_batch_draw(vq_sampler *s, const vq_train_calls *calls, const vq_sheet *sheet, int augment, vq_batch *b)
{
	static const double crowd = 1.6; /* candidates a sheet, by area: enough to fill it, few enough that none waits long */
	uint32_t cell[VQ_PACK_MAX];
	vq_size size[VQ_PACK_MAX];
	vq_cell at[VQ_PACK_MAX];
	uint8_t turn[VQ_PACK_MAX];
	vq_rect rect[VQ_PACK_MAX];
	double area = 0, want = crowd * sheet->canvases * (double)sheet->h * sheet->w;
	int n = 0;
	uint32_t waited = 0;
	while (n < (int)s->most && (waited < s->waiting || (s->at < s->n && area < want))) {
		cell[n] = waited < s->waiting ? s->wait[waited++] : s->order[s->at++];
		turn[n] = (uint8_t)(augment ? (int)(vq_rng_u32(&s->rng) & (uint32_t)augment) : 0);
		vq_cell c;
		VQ_TRY(calls->size(calls->ctx, cell[n], &c));
		vq_cell_turned(&c, turn[n], &at[n]);
		size[n] = (vq_size){ at[n].h, at[n].w };
		if (at[n].h > sheet->h || at[n].w > sheet->w)
			return vq_fail(VQ_EINVAL, "a cell of %d x %d on canvases of %d x %d", at[n].h, at[n].w, sheet->h, sheet->w);
		area += (double)(at[n].h + sheet->gap) * (at[n].w + sheet->gap);
		n++;
	}
	if (!n)
		return vq_fail(VQ_EINVAL, "there is no cell to draw");
	int placed = vq_pack(sheet, n, size, rect);
	if (placed < 0)
		return placed;
	b->items = 0;
	b->pixels = 0;
	s->waiting = 0;
	for (int i = 0; i < n; i++) {
		if (rect[i].n < 0) {
			s->wait[s->waiting++] = cell[i];
			continue;
		}
		vq_place *p = &b->place[b->items];
		p->extent = rect[i];
		p->valid = (vq_rect){ rect[i].n, rect[i].y + at[i].top, rect[i].x + at[i].left, at[i].th, at[i].tw };
		b->cell[b->items] = cell[i];
		b->turn[b->items++] = turn[i];
		b->pixels += (uint64_t)at[i].th * (uint64_t)at[i].tw;
	}
	return VQ_OK;
}

/* Source position of a turned cell's (y, x). */
static inline size_t source(const vq_cell *c, int turn, int y, int x)
{
	int sy = turn & VQ_TURN ? x : y, sx = turn & VQ_TURN ? y : x;
	if (turn & VQ_FLIP_Y)
		sy = c->h - 1 - sy;
	if (turn & VQ_FLIP_X)
		sx = c->w - 1 - sx;
	return (size_t)sy * (size_t)c->w + (size_t)sx;
}

/* Foreground and background each count as if they filled the cell. */
static void weigh(const vq_cell *c, const vq_config *f, int turn, vq_rect r, const vq_sheet *s, float *weight)
{
	double all = (double)c->th * c->tw, in = 0;
	for (int y = c->top; c->mask && y < c->top + c->th; y++)
		for (int x = c->left; x < c->left + c->tw; x++)
			in += c->mask[(size_t)y * (size_t)c->w + (size_t)x] == 1;
	double fg = in > 0 ? f->foreground_weight * all / in : 1, bg = all - in > 0 ? f->background_weight * all / (all - in) : 1;
	fg = fmin(fmax(fg, .1), 10);
	bg = fmin(fmax(bg, .1), 10);
	for (int y = 0; y < r.h; y++)
		for (int x = 0; x < r.w; x++) {
			bool inside = c->mask && c->mask[source(c, turn, y, x)] == 1;
			weight[((size_t)r.n * (size_t)s->h + (size_t)(r.y + y)) * (size_t)s->w + (size_t)(r.x + x)] = (float)(c->mask ? inside ? fg : bg : 1);
		}
}

static void mark_own(const vq_cell *c, int turn, vq_rect r, const vq_sheet *s, uint8_t *own)
{
	for (int y = 0; c->mask && y < r.h; y++)
		for (int x = 0; x < r.w; x++)
			own[((size_t)r.n * (size_t)s->h + (size_t)(r.y + y)) * (size_t)s->w + (size_t)(r.x + x)] = c->mask[source(c, turn, y, x)] == 1;
}

vq_status vq_batch_fill(const vq_batch *b, const vq_train_calls *calls, const vq_sheet *s, int channels, const vq_config *c, float *input, float *weight,
	uint8_t *own)
{
	size_t canvas = (size_t)s->h * (size_t)s->w, ch = (size_t)channels;
	memset(input, 0, sizeof *input * (size_t)s->canvases * canvas * ch);
	if (own)
		memset(own, 0, (size_t)s->canvases * canvas);
	for (int i = 0; i < b->items; i++) {
		vq_cell cell;
		VQ_TRY(calls->cell(calls->ctx, b->cell[i], &cell));
		vq_rect r = b->place[i].extent;
		size_t plane = (size_t)cell.h * (size_t)cell.w;
		for (int y = 0; y < r.h; y++) {
			float *to = input + ((size_t)r.n * canvas + (size_t)(r.y + y) * (size_t)s->w + (size_t)r.x) * ch;
			if (ch == 1 && !(b->turn[i] & (VQ_TURN | VQ_FLIP_X))) {
				memcpy(to, cell.pixels + source(&cell, b->turn[i], y, 0), sizeof *to * (size_t)r.w);
				continue;
			}
			for (int x = 0; x < r.w; x++) {
				size_t at = source(&cell, b->turn[i], y, x);
				for (size_t k = 0; k < ch; k++)
					to[(size_t)x * ch + k] = cell.pixels[k * plane + at];
			}
		}
		if (weight)
			weigh(&cell, c, b->turn[i], r, s, weight);
		if (own)
			mark_own(&cell, b->turn[i], r, s, own);
	}
	return VQ_OK;
}
