/* bucket: which images of mixed sizes share a batch, and a shuffling window in front of it.
 *
 * Both hold pointers of the caller's and the bytes that stand behind them; neither looks at what they point to. Memory held is
 * bounded by the rule. Not safe for use by several threads at once. */
#ifndef VQ_IMAGE_BUCKET_H
#define VQ_IMAGE_BUCKET_H

#include "lib/base.h"
#include "lib/rng.h"

typedef struct {
	int64_t h, w;   /* size, 1 or more */
	uint64_t kind;  /* only items of one kind share a batch (channels, type, ...) */
	size_t bytes;   /* memory behind the item */
	void *item;
} vq_bucket_item;

typedef struct {
	int64_t size;     /* images in a batch at most, 1 or more */
	int64_t pixels;   /* n x H x W of a batch at most; 0: no limit. An image larger than that is a batch alone. */
	double tolerance; /* a batch's H and W are at most (1 + tolerance) times those of its smallest image */
	size_t memory;    /* bytes held at most before the fullest batch goes as it is; 0: no limit */
} vq_bucket_rule;

/* A batch: n items in the order they came, the least size that holds each. Release with vq_bucket_batch_free. */
typedef struct { int64_t h, w; int n, cap; vq_bucket_item *v; size_t bytes; uint64_t serial; } vq_bucket_batch;

typedef struct vq_buckets vq_buckets;
vq_status vq_buckets_open(vq_buckets **b, const vq_bucket_rule *rule); /* VQ_EINVAL: a value out of its range */
/* An image joins the open batch where it adds the fewest padded pixels (the older of two alike), or opens one. */
vq_status vq_buckets_put(vq_buckets *b, const vq_bucket_item *item);
/* True: *out is a batch that is ready: full, or closed because the next image would have broken the pixel limit, or the fullest
 * while memory is exceeded; with `all` also those that are not, oldest first. To be called until false after every put. */
bool vq_buckets_take(vq_buckets *b, bool all, vq_bucket_batch *out);
size_t vq_buckets_bytes(const vq_buckets *b); /* held now */
void vq_bucket_batch_free(vq_bucket_batch *batch); /* the array, not the items */
/* drop (may be NULL) is called for every item still held. */
void vq_buckets_close(vq_buckets *b, void (*drop)(void *item));

/* A window of n items: once it is full (or holds more than `memory` bytes, 0: no limit) each that comes in pushes out a random one. */
typedef struct vq_shuffle vq_shuffle;
vq_status vq_shuffle_open(vq_shuffle **s, size_t n, size_t memory, vq_rng rng); /* VQ_EINVAL: n is 0 */
vq_status vq_shuffle_put(vq_shuffle *s, const vq_bucket_item *item);
/* True: *out leaves the window; with `all` until it is empty. To be called until false after every put. */
bool vq_shuffle_take(vq_shuffle *s, bool all, vq_bucket_item *out);
void vq_shuffle_close(vq_shuffle *s, void (*drop)(void *item));

#endif
