/* base: status codes with a message, checked memory, arenas, growing buffers, small maths.
 *
 * Every function that can fail returns a vq_status: VQ_OK (0) or a negative code. The words that go with
 * the code are kept per thread and read with vq_message(); a caller adds where it happened with vq_context()
 * and passes the code on. Libraries never print and never exit; only tools do. */
#ifndef VQ_BASE_H
#define VQ_BASE_H

#include <stdarg.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

typedef int vq_status;
enum {
	VQ_OK = 0,
	VQ_EINVAL = -1,   /* a value out of its range, a shape that does not fit */
	VQ_ENOMEM = -2,   /* memory could not be had */
	VQ_EIO = -3,      /* the operating system said no (message holds strerror) */
	VQ_EFORMAT = -4,  /* a file or stream that breaks its format */
	VQ_ETRUNC = -5,   /* a stream or file that ends too early */
	VQ_EUNSUP = -6,   /* well-formed, but not something this build can do */
	VQ_ELIMIT = -7,   /* larger than the limit in force */
	VQ_EBACKEND = -8, /* a compute library or device failed */
	VQ_EINTR = -9,    /* stopped by a signal */
};

/* Sets this thread's message (printf style, one line, no trailing newline) and returns code. */
vq_status vq_fail(vq_status code, const char *fmt, ...) __attribute__((format(printf, 2, 3)));
/* Puts "CONTEXT: " before this thread's message and returns code. */
vq_status vq_context(vq_status code, const char *fmt, ...) __attribute__((format(printf, 2, 3)));
/* This thread's last message; "" when nothing failed yet. Valid until the thread's next failure. */
const char *vq_message(void);

/* Checked memory: NULL on failure, with the message set. Zero bytes give a unique pointer. free() releases. */
void *vq_malloc(size_t bytes);
void *vq_calloc(size_t n, size_t size);
void *vq_realloc(void *p, size_t bytes); /* p stays valid on failure */
char *vq_strdup(const char *s);
char *vq_strndup(const char *s, size_t n);
char *vq_format(const char *fmt, ...) __attribute__((format(printf, 1, 2))); /* a fresh string; caller frees */
/* 64-byte aligned; released with free(). */
void *vq_aligned(size_t bytes);
/* What is freed stays with the process, for programs that take large pieces again and again: fresh pages cost more than most use of them. */
void vq_keep_memory(void);

/* *out = a*b or a+b; VQ_ELIMIT on overflow. */
vq_status vq_mul(size_t a, size_t b, size_t *out);
vq_status vq_add(size_t a, size_t b, size_t *out);

#define VQ_COUNT(a) (sizeof(a) / sizeof((a)[0]))
#define VQ_MIN(a, b) ((a) < (b) ? (a) : (b))
#define VQ_MAX(a, b) ((a) > (b) ? (a) : (b))
#define VQ_ALIGN(n, a) (((n) + (a) - 1) / (a) * (a))
/* Passes a failure on. */
#define VQ_TRY(call) do { vq_status s_ = (call); if (s_ < 0) return s_; } while (0)
#define VQ_TRY_GOTO(s, call, label) do { if (((s) = (call)) < 0) goto label; } while (0)

/* A growing byte buffer. Zero-initialise; vq_buf_free releases. `data` is always NUL-terminated after an append. */
typedef struct { char *data; size_t len, cap; } vq_buf;
vq_status vq_buf_add(vq_buf *b, const void *p, size_t n);
vq_status vq_buf_str(vq_buf *b, const char *s);
vq_status vq_buf_fmt(vq_buf *b, const char *fmt, ...) __attribute__((format(printf, 2, 3)));
vq_status vq_buf_reserve(vq_buf *b, size_t extra); /* room for extra more bytes */
void vq_buf_free(vq_buf *b);

/* A bump arena: many small allocations, freed at once. 64-byte aligned pieces. Zero-initialise. */
typedef struct vq_arena_block vq_arena_block;
typedef struct { vq_arena_block *head; size_t used; } vq_arena;
void *vq_arena_get(vq_arena *a, size_t bytes); /* zeroed; NULL on failure */
char *vq_arena_str(vq_arena *a, const char *s);
void vq_arena_free(vq_arena *a);

double vq_seconds(void); /* monotonic clock, seconds */

/* Edit distance (insertions, deletions, swaps of neighbours, replacements); for "did you mean". */
int vq_distance(const char *a, const char *b);

#define VQ_VERSION "0.1.0"

#endif
