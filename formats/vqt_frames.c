/* Compression: independent frames, made by several threads and written in order. A frame's bytes depend on its content and the
 * level alone. Whichever thread finishes the frame that is due next writes it, so nothing waits for the caller.
 *
 * Into a pipe frames are stored: compressing there takes both ends longer than all else that they do. */
#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/uio.h>
#include <unistd.h>
#include <zstd.h>

#include "formats/vqt_int.h"

enum { THREADS_MAX = 8, RING = 2 * THREADS_MAX };
#define QUEUE_BYTES ((size_t)16 << 20) /* plain bytes that may wait, unless one frame alone has more */

typedef struct {
	vq_buf plain, packed;
	uint64_t first;
	enum { FREE, WAITING, BUSY, READY } state;
} job;

struct vqt_frames {
	FILE *f;
	char *name;
	int level, threads, running, idle;
	bool stop, writing, stored;
	pthread_mutex_t lock;
	pthread_cond_t work, done;
	pthread_t thread[THREADS_MAX];
	job ring[RING];
	uint64_t head, tail;     /* jobs written, jobs added */
	uint64_t next;           /* the next that waits for a thread */
	size_t queued;           /* plain bytes between head and tail */
	ZSTD_CCtx *zstd;         /* of the caller, when there are no threads */
	uint64_t bytes;
	vqt_places places;
	vq_status failed;        /* the first failure, */
	char failure[512];       /* and its words */
};

static vq_status compress(ZSTD_CCtx *z, job *j)
{
	j->packed.len = 0;
	VQ_TRY(vq_buf_reserve(&j->packed, ZSTD_compressBound(j->plain.len)));
	size_t n = ZSTD_compress2(z, j->packed.data, j->packed.cap, j->plain.data, j->plain.len);
	if (ZSTD_isError(n))
		return vq_fail(VQ_EBACKEND, "zstd: %s", ZSTD_getErrorName(n));
	j->packed.len = n;
	return VQ_OK;
}

static ZSTD_CCtx *make_context(int level)
{
	ZSTD_CCtx *z = ZSTD_createCCtx();
	if (!z)
		vq_fail(VQ_ENOMEM, "out of memory for compression");
	else {
		ZSTD_CCtx_setParameter(z, ZSTD_c_compressionLevel, level);
		ZSTD_CCtx_setParameter(z, ZSTD_c_checksumFlag, 1);
	}
	return z;
}

static void keep_failure(vqt_frames *p, vq_status s)
{
	if (p->failed)
		return;
	p->failed = s;
	snprintf(p->failure, sizeof p->failure, "%s", vq_message());
}

static vq_status put(vqt_frames *p, const job *j)
{
	errno = 0;
	if (fwrite(j->packed.data, 1, j->packed.len, p->f) != j->packed.len || fflush(p->f))
		return vq_fail(VQ_EIO, "%s: %s", p->name, strerror(errno ? errno : EIO));
	if (j->first != UINT64_MAX)
		VQ_TRY(vqt_places_add(&p->places, p->bytes, j->first));
	p->bytes += j->packed.len;
	return VQ_OK;
}

/* A small buffer is kept for the next frame; a large one is not worth its memory. */
static void recycle(job *j)
{
	if (j->plain.cap > 4 * VQT_FRAME)
		vq_buf_free(&j->plain);
	if (j->packed.cap > 4 * VQT_FRAME)
		vq_buf_free(&j->packed);
	j->plain.len = j->packed.len = 0;
	j->state = FREE;
}

/* With the lock held: writes what is ready and due; one thread at a time. */
static void write_ready(vqt_frames *p)
{
	if (p->writing)
		return;
	p->writing = true;
	while (p->head < p->tail && p->ring[p->head % RING].state == READY) {
		job *j = &p->ring[p->head % RING];
		if (!p->failed) {
			pthread_mutex_unlock(&p->lock);
			vq_status s = put(p, j);
			pthread_mutex_lock(&p->lock);
			if (s < 0)
				keep_failure(p, s);
		}
		p->queued -= j->plain.len;
		recycle(j);
		p->head++;
		pthread_cond_broadcast(&p->done);
	}
	p->writing = false;
}

static void *worker(void *arg)
{
	vqt_frames *p = arg;
	ZSTD_CCtx *z = make_context(p->level);
	pthread_mutex_lock(&p->lock);
	for (;;) {
		while (p->next == p->tail && !p->stop) {
			p->idle++;
			pthread_cond_wait(&p->work, &p->lock);
			p->idle--;
		}
		if (p->next == p->tail)
			break;
		job *j = &p->ring[p->next++ % RING];
		j->state = BUSY;
		pthread_mutex_unlock(&p->lock);
		vq_status s = z ? compress(z, j) : VQ_ENOMEM;
		pthread_mutex_lock(&p->lock);
		if (s < 0)
			keep_failure(p, s);
		j->state = READY;
		write_ready(p);
	}
	pthread_mutex_unlock(&p->lock);
	ZSTD_freeCCtx(z);
	return NULL;
}

/* --- stored frames ------------------------------------------------------------------------------------------------ */

/* All of the parts, however little the pipe takes at a time. */
static vq_status write_parts(vqt_frames *p, struct iovec *part, int n)
{
	while (n) {
		ssize_t done = writev(fileno(p->f), part, VQ_MIN(n, 64));
		if (done < 0 && errno == EINTR)
			continue;
		if (done < 0)
			return vq_fail(VQ_EIO, "%s: %s", p->name, strerror(errno));
		for (; n && (size_t)done >= part->iov_len; part++, n--)
			done -= (ssize_t)part->iov_len;
		if (n) {
			part->iov_base = (char *)part->iov_base + done;
			part->iov_len -= (size_t)done;
		}
	}
	return VQ_OK;
}

/* The head of the frame with its first block's, then blocks of at most VQT_STORED_BLOCK, each behind three bytes. */
static vq_status store(vqt_frames *p, const vq_buf *plain, uint64_t first)
{
	size_t blocks = VQ_MAX((plain->len + VQT_STORED_BLOCK - 1) / VQT_STORED_BLOCK, (size_t)1);
	struct iovec *part = vq_malloc(2 * blocks * sizeof *part);
	unsigned char *head = vq_malloc(VQT_STORED_HEAD + 3 * blocks), *h = head;
	vq_status s = part && head ? VQ_OK : VQ_ENOMEM;
	for (size_t i = 0; s == VQ_OK && i < blocks; i++) {
		size_t at = i * VQT_STORED_BLOCK, n = VQ_MIN(plain->len - at, (size_t)VQT_STORED_BLOCK);
		unsigned char *from = h;
		if (!i) {
			vqt_put_u32(h, VQT_ZSTD_MAGIC);
			h[4] = VQT_STORED_FLAGS;
			h[5] = VQT_STORED_WINDOW;
			vqt_put_u64(h + 6, plain->len);
			h += VQT_STORED_HEAD;
		}
		uint32_t block = (uint32_t)n << 3 | (i + 1 == blocks);
		h[0] = (unsigned char)block, h[1] = (unsigned char)(block >> 8), h[2] = (unsigned char)(block >> 16);
		h += 3;
		part[2 * i] = (struct iovec){ from, (size_t)(h - from) };
		part[2 * i + 1] = (struct iovec){ plain->data + at, n };
	}
	if (s == VQ_OK)
		s = write_parts(p, part, (int)(2 * blocks));
	if (s == VQ_OK && first != UINT64_MAX)
		s = vqt_places_add(&p->places, p->bytes, first);
	p->bytes += (uint64_t)(h - head) + plain->len;
	free(part);
	free(head);
	return s;
}

static vq_status add_stored(vqt_frames *p, vq_buf *plain, uint64_t first)
{
	vq_status s = store(p, plain, first);
	if (s < 0)
		keep_failure(p, s);
	plain->len = 0;
	if (plain->cap > 4 * VQT_FRAME)
		vq_buf_free(plain);
	return s;
}

/* A pipe, a socket, a device; not a file. A longer pipe lets both ends work at once. */
static bool passes_on(FILE *f)
{
	struct stat st;
	if (fstat(fileno(f), &st) || S_ISREG(st.st_mode) || fflush(f))
		return false;
	if (S_ISFIFO(st.st_mode))
		(void)!fcntl(fileno(f), F_SETPIPE_SZ, VQT_PIPE);
	return true;
}

vq_status vqt_frames_open(vqt_frames **out, FILE *f, const char *name, int level, int threads)
{
	*out = NULL;
	vqt_frames *p = vq_calloc(1, sizeof *p);
	if (!p)
		return VQ_ENOMEM;
	p->f = f;
	p->stored = !level && passes_on(f);
	p->level = level ? VQ_MIN(level, VQT_LEVEL_MAX) : 1;
	p->threads = p->stored ? 1 : VQ_MIN(threads, THREADS_MAX);
	pthread_mutex_init(&p->lock, NULL);
	pthread_cond_init(&p->work, NULL);
	pthread_cond_init(&p->done, NULL);
	p->name = vq_strdup(name);
	if (p->threads <= 1 && !p->stored)
		p->zstd = make_context(p->level);
	if (!p->name || (p->threads <= 1 && !p->stored && !p->zstd)) {
		vqt_frames_close(p);
		return VQ_ENOMEM;
	}
	*out = p;
	return VQ_OK;
}

static vq_status state(const vqt_frames *p)
{
	return p->failed ? vq_fail(p->failed, "%s", p->failure) : VQ_OK;
}

/* A thread more when one is wanted and allowed; without any, the caller would wait for ever. */
static vq_status hire(vqt_frames *p)
{
	if ((uint64_t)p->idle > p->tail - p->next || p->running == p->threads)
		return VQ_OK;
	int e = pthread_create(&p->thread[p->running], NULL, worker, p);
	if (!e)
		p->running++;
	return e && !p->running ? vq_fail(VQ_EIO, "no thread for compression: %s", strerror(e)) : VQ_OK;
}

static vq_status add_threaded(vqt_frames *p, vq_buf *plain, uint64_t first)
{
	pthread_mutex_lock(&p->lock);
	while (p->tail - p->head == RING || (p->head < p->tail && p->queued + plain->len > QUEUE_BYTES))
		pthread_cond_wait(&p->done, &p->lock);
	vq_status s = state(p);
	if (s == VQ_OK)
		s = hire(p);
	if (s == VQ_OK) {
		job *j = &p->ring[p->tail % RING];
		vq_buf spare = j->plain;
		j->plain = *plain;
		*plain = spare;
		j->first = first;
		j->state = WAITING;
		p->queued += j->plain.len;
		p->tail++;
		pthread_cond_signal(&p->work);
	}
	pthread_mutex_unlock(&p->lock);
	return s;
}

vq_status vqt_frames_add(vqt_frames *p, vq_buf *plain, uint64_t first)
{
	if (p->threads > 1)
		return add_threaded(p, plain, first);
	VQ_TRY(state(p));
	if (p->stored)
		return add_stored(p, plain, first);
	job *j = &p->ring[0];
	vq_buf spare = j->plain;
	j->plain = *plain;
	*plain = spare;
	j->first = first;
	vq_status s = compress(p->zstd, j);
	if (s == VQ_OK)
		s = put(p, j);
	if (s < 0)
		keep_failure(p, s);
	recycle(j);
	return s;
}

vq_status vqt_frames_wait(vqt_frames *p)
{
	pthread_mutex_lock(&p->lock);
	while (p->head < p->tail)
		pthread_cond_wait(&p->done, &p->lock);
	vq_status s = state(p);
	pthread_mutex_unlock(&p->lock);
	return s;
}

uint64_t vqt_frames_bytes(const vqt_frames *p) { return p->bytes; }
const vqt_places *vqt_frames_places(const vqt_frames *p) { return &p->places; }

void vqt_frames_close(vqt_frames *p)
{
	if (!p)
		return;
	pthread_mutex_lock(&p->lock);
	p->stop = true;
	if (!p->failed && p->head < p->tail) /* an abort: what is not written yet stays so. The caller's message is left alone. */
		p->failed = VQ_EINTR;
	pthread_cond_broadcast(&p->work);
	pthread_mutex_unlock(&p->lock);
	for (int i = 0; i < p->running; i++)
		pthread_join(p->thread[i], NULL);
	for (int i = 0; i < RING; i++) {
		vq_buf_free(&p->ring[i].plain);
		vq_buf_free(&p->ring[i].packed);
	}
	pthread_cond_destroy(&p->work);
	pthread_cond_destroy(&p->done);
	pthread_mutex_destroy(&p->lock);
	ZSTD_freeCCtx(p->zstd);
	free(p->places.v);
	free(p->name);
	free(p);
}
