#define _POSIX_C_SOURCE 200809L
#include "lib/base.h"

#ifdef __GLIBC__
#include <malloc.h>
#endif
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

static _Thread_local char message[1024];

const char *vq_message(void) { return message; }

vq_status vq_fail(vq_status code, const char *fmt, ...)
{
	char text[sizeof message]; /* arguments may point into the old message */
	va_list ap;
	va_start(ap, fmt);
	vsnprintf(text, sizeof text, fmt, ap);
	va_end(ap);
	memcpy(message, text, sizeof message);
	return code;
}

vq_status vq_context(vq_status code, const char *fmt, ...)
{
	char where[sizeof message], text[2 * sizeof message + 2];
	va_list ap;
	va_start(ap, fmt);
	vsnprintf(where, sizeof where, fmt, ap);
	va_end(ap);
	snprintf(text, sizeof text, "%s: %s", where, message);
	text[sizeof message - 1] = 0;
	memcpy(message, text, sizeof message);
	return code;
}

static void *checked(void *p, size_t bytes)
{
	if (!p)
		vq_fail(VQ_ENOMEM, "out of memory: %zu bytes were asked for", bytes);
	return p;
}

void *vq_malloc(size_t bytes) { return checked(malloc(bytes ? bytes : 1), bytes); }
void *vq_calloc(size_t n, size_t size) { return checked(calloc(n ? n : 1, size ? size : 1), n * size); }
void *vq_realloc(void *p, size_t bytes) { return checked(realloc(p, bytes ? bytes : 1), bytes); }

void *vq_aligned(size_t bytes)
{
	void *p = NULL;
	if (bytes > SIZE_MAX - 64 || posix_memalign(&p, 64, VQ_ALIGN(bytes ? bytes : 1, (size_t)64)))
		p = NULL;
	return checked(p, bytes);
}

void vq_keep_memory(void)
{
#ifdef __GLIBC__
	mallopt(M_MMAP_THRESHOLD, 32 << 20);
	mallopt(M_TRIM_THRESHOLD, 64 << 20);
	mallopt(M_MXFAST, 0); /* what is kept fast for small pieces is gone through at every large one that is freed */
#endif
}

char *vq_strdup(const char *s) { return vq_strndup(s, strlen(s)); }

char *vq_strndup(const char *s, size_t n)
{
	n = strnlen(s, n);
	char *p = vq_malloc(n + 1);
	if (p) {
		memcpy(p, s, n);
		p[n] = 0;
	}
	return p;
}

char *vq_format(const char *fmt, ...)
{
	va_list ap, again;
	va_start(ap, fmt);
	va_copy(again, ap);
	int n = vsnprintf(NULL, 0, fmt, ap);
	char *p = n < 0 ? NULL : vq_malloc((size_t)n + 1);
	if (p)
		vsnprintf(p, (size_t)n + 1, fmt, again);
	va_end(again);
	va_end(ap);
	return p;
}

vq_status vq_mul(size_t a, size_t b, size_t *out)
{
	return __builtin_mul_overflow(a, b, out) ? vq_fail(VQ_ELIMIT, "a size overflows: %zu x %zu", a, b) : VQ_OK;
}

vq_status vq_add(size_t a, size_t b, size_t *out)
{
	return __builtin_add_overflow(a, b, out) ? vq_fail(VQ_ELIMIT, "a size overflows: %zu + %zu", a, b) : VQ_OK;
}

vq_status vq_buf_reserve(vq_buf *b, size_t extra)
{
	size_t need;
	VQ_TRY(vq_add(b->len, extra, &need));
	VQ_TRY(vq_add(need, 1, &need));
	if (need <= b->cap)
		return VQ_OK;
	size_t cap = VQ_MAX(need, b->cap + b->cap / 2);
	char *p = vq_realloc(b->data, cap);
	if (!p)
		return VQ_ENOMEM;
	b->data = p;
	b->cap = cap;
	return VQ_OK;
}

vq_status vq_buf_add(vq_buf *b, const void *p, size_t n)
{
	VQ_TRY(vq_buf_reserve(b, n));
	if (n)
		memcpy(b->data + b->len, p, n);
	b->len += n;
	b->data[b->len] = 0;
	return VQ_OK;
}

vq_status vq_buf_str(vq_buf *b, const char *s) { return vq_buf_add(b, s, strlen(s)); }

vq_status vq_buf_fmt(vq_buf *b, const char *fmt, ...)
{
	va_list ap, again;
	va_start(ap, fmt);
	va_copy(again, ap);
	int n = vsnprintf(NULL, 0, fmt, ap);
	vq_status s = n < 0 ? vq_fail(VQ_EINVAL, "a text could not be formatted") : vq_buf_reserve(b, (size_t)n);
	if (s == VQ_OK) {
		vsnprintf(b->data + b->len, (size_t)n + 1, fmt, again);
		b->len += (size_t)n;
	}
	va_end(again);
	va_end(ap);
	return s;
}

void vq_buf_free(vq_buf *b)
{
	free(b->data);
	*b = (vq_buf){0};
}

struct vq_arena_block {
	vq_arena_block *next;
	size_t cap, used;
	char *bytes;
};

void *vq_arena_get(vq_arena *a, size_t bytes)
{
	bytes = VQ_ALIGN(bytes ? bytes : 1, (size_t)64);
	if (!a->head || a->head->cap - a->head->used < bytes) {
		vq_arena_block *n = vq_calloc(1, sizeof *n);
		if (!n)
			return NULL;
		n->cap = VQ_MAX(bytes, (size_t)1 << 16);
		n->bytes = vq_aligned(n->cap);
		if (!n->bytes) {
			free(n);
			return NULL;
		}
		n->next = a->head;
		a->head = n;
	}
	void *p = a->head->bytes + a->head->used;
	a->head->used += bytes;
	a->used += bytes;
	return memset(p, 0, bytes);
}

char *vq_arena_str(vq_arena *a, const char *s)
{
	size_t n = strlen(s) + 1;
	char *p = vq_arena_get(a, n);
	return p ? memcpy(p, s, n) : NULL;
}

void vq_arena_free(vq_arena *a)
{
	while (a->head) {
		vq_arena_block *next = a->head->next;
		free(a->head->bytes);
		free(a->head);
		a->head = next;
	}
	a->used = 0;
}

double vq_seconds(void)
{
	struct timespec t;
	clock_gettime(CLOCK_MONOTONIC, &t);
	return (double)t.tv_sec + 1e-9 * (double)t.tv_nsec;
}

int vq_distance(const char *a, const char *b)
{
	enum { MAX = 63 };
	int la = (int)strnlen(a, MAX), lb = (int)strnlen(b, MAX), d[MAX + 1][MAX + 1];
	for (int i = 0; i <= la; i++)
		d[i][0] = i;
	for (int j = 0; j <= lb; j++)
		d[0][j] = j;
	for (int i = 1; i <= la; i++)
		for (int j = 1; j <= lb; j++) {
			int best = d[i - 1][j - 1] + (a[i - 1] != b[j - 1]);
			best = VQ_MIN(best, VQ_MIN(d[i - 1][j], d[i][j - 1]) + 1);
			if (i > 1 && j > 1 && a[i - 1] == b[j - 2] && a[i - 2] == b[j - 1])
				best = VQ_MIN(best, d[i - 2][j - 2] + 1);
			d[i][j] = best;
		}
	return d[la][lb];
}
