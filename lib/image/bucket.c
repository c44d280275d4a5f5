#include "lib/image/bucket.h"

#include <stdlib.h>

struct open_batch {
	vq_bucket_batch b;
	int64_t min_h, min_w; /* of its smallest height and width */
	uint64_t kind;
	bool closed;          /* nothing more joins */
};

struct vq_buckets {
	vq_bucket_rule rule;
	struct open_batch *v; /* in the order they were opened */
	size_t n, cap, bytes, closed;
	uint64_t serial;
};

vq_status vq_buckets_open(vq_buckets **b, const vq_bucket_rule *rule)
{
	*b = NULL;
	if (rule->size < 1 || rule->pixels < 0 || !(rule->tolerance >= 0 && rule->tolerance <= 1e6))
		return vq_fail(VQ_EINVAL, "batches of %lld images, %lld pixels, tolerance %g", (long long)rule->size, (long long)rule->pixels,
			rule->tolerance);
	vq_buckets *n = vq_calloc(1, sizeof *n);
	if (!n)
		return VQ_ENOMEM;
	n->rule = *rule;
	*b = n;
	return VQ_OK;
}

/* Sides fit 31 bits in practice; as f64 no product here overflows. */
static double area(double n, int64_t h, int64_t w) { return n * (double)h * (double)w; }

static bool too_many_pixels(const vq_buckets *b, double n, int64_t h, int64_t w)
{
	return b->rule.pixels && area(n, h, w) > (double)b->rule.pixels;
}

static bool fits(const vq_buckets *b, const struct open_batch *o, const vq_bucket_item *it)
{
	double k = (1 + b->rule.tolerance) * (1 + 1e-12); /* 1.3 x 10 is 13 */
	return !o->closed && o->kind == it->kind && (double)VQ_MAX(o->b.h, it->h) <= k * (double)VQ_MIN(o->min_h, it->h) &&
		(double)VQ_MAX(o->b.w, it->w) <= k * (double)VQ_MIN(o->min_w, it->w);
}

static struct open_batch *best(vq_buckets *b, const vq_bucket_item *it)
{
	struct open_batch *found = NULL;
	double least = 0;
	for (size_t i = 0; i < b->n; i++) {
		struct open_batch *o = &b->v[i];
		if (!fits(b, o, it))
			continue;
		double added = area(o->b.n + 1, VQ_MAX(o->b.h, it->h), VQ_MAX(o->b.w, it->w)) - area(o->b.n, o->b.h, o->b.w);
		if (!found || added < least) {
			found = o;
			least = added;
		}
	}
	return found;
}

static void close_batch(vq_buckets *b, struct open_batch *o)
{
	if (!o->closed) {
		o->closed = true;
		b->closed++;
	}
}

static struct open_batch *open_batch(vq_buckets *b, const vq_bucket_item *it)
{
	if (b->n == b->cap) {
		size_t cap = b->cap ? 2 * b->cap : 16;
		struct open_batch *v = vq_realloc(b->v, cap * sizeof *v);
		if (!v)
			return NULL;
		b->v = v;
		b->cap = cap;
	}
	struct open_batch *o = &b->v[b->n++];
	*o = (struct open_batch){ .b = { .h = it->h, .w = it->w, .serial = b->serial++ }, .min_h = it->h, .min_w = it->w, .kind = it->kind };
	return o;
}

vq_status vq_buckets_put(vq_buckets *b, const vq_bucket_item *it)
{
	if (it->h < 1 || it->w < 1)
		return vq_fail(VQ_EINVAL, "an image of %lld x %lld pixels in a batch", (long long)it->h, (long long)it->w);
	struct open_batch *o = best(b, it);
	if (o && too_many_pixels(b, o->b.n + 1, VQ_MAX(o->b.h, it->h), VQ_MAX(o->b.w, it->w))) {
		close_batch(b, o);
		o = NULL;
	}
	if (!o && !(o = open_batch(b, it)))
		return VQ_ENOMEM;
	if (o->b.n == o->b.cap) {
		int cap = o->b.cap ? 2 * o->b.cap : 4;
		vq_bucket_item *v = vq_realloc(o->b.v, (size_t)cap * sizeof *v);
		if (!v)
			return VQ_ENOMEM;
		o->b.v = v;
		o->b.cap = cap;
	}
	o->b.v[o->b.n++] = *it;
	o->b.h = VQ_MAX(o->b.h, it->h);
	o->b.w = VQ_MAX(o->b.w, it->w);
	o->min_h = VQ_MIN(o->min_h, it->h);
	o->min_w = VQ_MIN(o->min_w, it->w);
	o->b.bytes += it->bytes;
	b->bytes += it->bytes;
	if (o->b.n >= b->rule.size || o->b.n == INT32_MAX / 2 || (b->rule.pixels && area(o->b.n, o->b.h, o->b.w) >= (double)b->rule.pixels))
		close_batch(b, o);
	return VQ_OK;
}

/* How much of its limit a batch has reached. */
static double fullness(const vq_buckets *b, const struct open_batch *o)
{
	double n = o->b.n / (double)b->rule.size;
	double p = b->rule.pixels ? area(o->b.n, o->b.h, o->b.w) / (double)b->rule.pixels : 0;
	return VQ_MAX(n, p);
}

static bool fuller(const vq_buckets *b, const struct open_batch *x, const struct open_batch *y)
{
	double fx = fullness(b, x), fy = fullness(b, y);
	return fx > fy || (fx == fy && x->b.bytes > y->b.bytes);
}

bool vq_buckets_take(vq_buckets *b, bool all, vq_bucket_batch *out)
{
	size_t at = b->n;
	if (b->closed) {
		for (at = 0; !b->v[at].closed; at++)
			;
		b->closed--;
	} else if (b->n && all) {
		at = 0;
	} else if (b->n && b->rule.memory && b->bytes > b->rule.memory) {
		at = 0;
		for (size_t i = 1; i < b->n; i++)
			if (fuller(b, &b->v[i], &b->v[at]))
				at = i;
	}
	if (at == b->n)
		return false;
	*out = b->v[at].b;
	b->bytes -= out->bytes;
	b->n--;
	for (size_t i = at; i < b->n; i++)
		b->v[i] = b->v[i + 1];
	return true;
}

size_t vq_buckets_bytes(const vq_buckets *b) { return b->bytes; }

void vq_bucket_batch_free(vq_bucket_batch *batch)
{
	free(batch->v);
	*batch = (vq_bucket_batch){0};
}

void vq_buckets_close(vq_buckets *b, void (*drop)(void *item))
{
	if (!b)
		return;
	for (size_t i = 0; i < b->n; i++) {
		for (int k = 0; drop && k < b->v[i].b.n; k++)
			drop(b->v[i].b.v[k].item);
		free(b->v[i].b.v);
	}
	free(b->v);
	free(b);
}

struct vq_shuffle {
	vq_bucket_item *v;
	size_t n, cap, limit, memory, bytes;
	vq_rng rng;
};

vq_status vq_shuffle_open(vq_shuffle **s, size_t n, size_t memory, vq_rng rng)
{
	*s = NULL;
	if (!n)
		return vq_fail(VQ_EINVAL, "a shuffling window of no records");
	vq_shuffle *w = vq_calloc(1, sizeof *w);
	if (!w)
		return VQ_ENOMEM;
	*w = (vq_shuffle){ .limit = n, .memory = memory, .rng = rng };
	*s = w;
	return VQ_OK;
}

vq_status vq_shuffle_put(vq_shuffle *s, const vq_bucket_item *item)
{
	if (s->n == s->cap) {
		size_t cap = s->cap ? 2 * s->cap : 64;
		vq_bucket_item *v = vq_realloc(s->v, cap * sizeof *v);
		if (!v)
			return VQ_ENOMEM;
		s->v = v;
		s->cap = cap;
	}
	s->v[s->n++] = *item;
	s->bytes += item->bytes;
	return VQ_OK;
}

bool vq_shuffle_take(vq_shuffle *s, bool all, vq_bucket_item *out)
{
	if (!s->n || !(all || s->n > s->limit || (s->memory && s->bytes > s->memory)))
		return false;
	size_t at = (size_t)vq_rng_below(&s->rng, s->n);
	*out = s->v[at];
	s->v[at] = s->v[--s->n];
	s->bytes -= out->bytes;
	return true;
}

void vq_shuffle_close(vq_shuffle *s, void (*drop)(void *item))
{
	if (!s)
		return;
	for (size_t i = 0; drop && i < s->n; i++)
		drop(s->v[i].item);
	free(s->v);
	free(s);
}
