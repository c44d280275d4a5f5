/* What a step gave, added up, and the means that people see. */
#include <math.h>
#include <string.h>

#include "lib/train/trainer_int.h"

void trainer_count_positions(vq_trainer *t, const vq_batch *b, double *positions)
{
	for (int l = 0; l < t->info.levels; l++)
		for (int i = 0; i < b->items; i++) {
			vq_rect r = trainer_positions(t, b, l, i);
			positions[l] += (double)r.h * r.w;
		}
}

void trainer_add_losses(vq_trainer *t, const vq_batch *b, const vq_step *s, vq_train_sums *l)
{
	l->recon += s->scalar[VQ_S_RECON];
	for (int i = 0; i < t->info.levels; i++)
		l->commit[i] += s->scalar[VQ_S_COMMIT + i];
	l->perceptual += s->scalar[VQ_S_PERCEPTUAL];
	l->pixels += b->pixels;
	l->cells += (uint64_t)b->items;
	trainer_count_positions(t, b, l->positions);
}

/* Whether some of the cell's own mask is under a code position of its. */
static bool on_foreground(const vq_trainer *t, const vq_batch *b, const own_marks *own, int level, int item, vq_rect r, int y, int x)
{
	int s = t->info.level[level].stride;
	vq_rect e = b->place[item].extent; /* one code a cell: all of it */
	if (s)
		e = (vq_rect){ r.n, (r.y + y) * s, (r.x + x) * s, s, s };
	const vq_sheet *c = &b->sheet;
	for (int i = e.y; i < VQ_MIN(e.y + e.h, c->h); i++)
		if (memchr(own->at + ((size_t)e.n * (size_t)c->h + (size_t)i) * (size_t)c->w + (size_t)e.x, 1, (size_t)VQ_MIN(e.w, c->w - e.x)))
			return true;
	return false;
}

void trainer_tally_codes(vq_trainer *t, train_plan *p, const vq_batch *b, const own_marks *own, uint64_t *counts, uint64_t *front)
{
	for (int l = 0; l < t->info.levels; l++) {
		const int32_t *codes = t->b->plan_host(p->plan, p->io.codes[l]);
		for (int i = 0; i < b->items && codes; i++) {
			vq_rect r = trainer_positions(t, b, l, i);
			for (int y = 0; y < r.h; y++)
				for (int x = 0; x < r.w; x++) {
					size_t code = t->code_at[l] + (size_t)codes[trainer_position(t, b, l, r, y, x)];
					counts[code]++;
					front[code] += on_foreground(t, b, own, l, i, r, y, x);
				}
		}
	}
}

/* Returns the entropy, in nats. */
static double usage_of_level(const uint64_t *counts, int n, double *total, double *used)
{
	double h = 0;
	*total = *used = 0;
	for (int i = 0; i < n; i++)
		*total += (double)counts[i];
	for (int i = 0; i < n; i++)
		if (counts[i]) {
			double q = (double)counts[i] / *total;
			h -= q * log(q);
			++*used;
		}
	return h;
}

void trainer_usage(const vq_trainer *t, const uint64_t *counts, vq_losses *l)
{
	double all = 0, vectors = 0, nats = 0;
	for (int i = 0; i < t->info.levels; i++) {
		int n = t->info.level[i].size;
		double total, used, h = usage_of_level(counts + t->code_at[i], n, &total, &used);
		l->level[i].usage = used / n;
		l->level[i].perplexity = total > 0 ? exp(h) : 0;
		all += total;
		vectors += used;
		nats += total * h;
	}
	l->usage = vectors / (double)t->code_at[t->info.levels];
	l->perplexity = t->info.levels == 1 ? l->level[0].perplexity : all > 0 ? exp(nats / all) : 0;
}

double trainer_front_usage(const uint64_t *front, size_t n)
{
	size_t used = 0;
	for (size_t i = 0; i < n; i++)
		used += front[i] > 0;
	return used ? (double)used / (double)n : NAN;
}

void trainer_means(vq_trainer *t, const vq_train_sums *s, vq_losses *l)
{
	l->recon = s->recon / ((double)s->pixels * t->info.channels);
	l->commit = 0;
	for (int i = 0; i < t->info.levels; i++) {
		l->commit += l->level[i].commit = s->commit[i] / (s->positions[i] * t->info.level[i].dim);
		l->level[i].positions = s->positions[i];
	}
	l->codebook = t->c->codebook_update == VQ_UPDATE_GRADIENT ? l->commit : 0;
	l->loss = t->c->reconstruction_loss_weight * l->recon + t->c->commitment_cost * l->commit + l->codebook;
	l->perceptual = s->cells ? s->perceptual / (double)s->cells : 0;
	l->loss += t->c->use_perceptual_loss ? t->c->perceptual_loss_weight * l->perceptual : 0;
	l->cells = s->cells;
	l->pixels = s->pixels;
}
