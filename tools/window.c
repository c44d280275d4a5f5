#include "tools/window.h"

#include <omp.h>
#include <stdlib.h>
#include <string.h>

enum { DEPTH = 32 }; /* records a thread */
static const size_t most_bytes = (size_t)64 << 20;

typedef struct { vqt_record in, out; vq_status s; char *message; } place;

static size_t bytes_of(const vqt_record *r)
{
	size_t sum = 0, n;
	for (int i = 0; i < r->n; i++)
		if (vq_tensor_bytes(&r->entry[i].t, &n) == VQ_OK)
			sum += n;
	return sum;
}

/* What is read ahead, worked on, and waits to be written: three of these go round. */
typedef struct { place *p; int n, got; vq_status s; char *message; } window;

static void read_window(const vq_window_job *j, window *w, int depth)
{
	size_t bytes = 0;
	memset(w->p, 0, sizeof *w->p * (size_t)depth);
	w->got = 1;
	while (w->n < depth && bytes < most_bytes && (w->got = j->next(j->ctx, &w->p[w->n].in)) > 0)
		bytes += bytes_of(&w->p[w->n++].in);
	w->s = w->got < 0 ? w->got : VQ_OK;
	w->message = w->got < 0 ? vq_strdup(vq_message()) : NULL;
}

/* Writes until the first failure, and frees all. */
static vq_status put_window(const vq_window_job *j, window *w, vq_status s)
{
	for (int i = 0; i < w->n; i++) {
		place *p = &w->p[i];
		if (s == VQ_OK && p->s < 0)
			s = vq_fail(p->s, "%s", p->message ? p->message : "out of memory");
		if (s == VQ_OK)
			s = j->put(j->ctx, &p->in, &p->out);
		vqt_record_free(&p->in);
		vqt_record_free(&p->out);
		free(p->message);
	}
	if (s == VQ_OK && w->s < 0)
		s = vq_fail(w->s, "%s", w->message ? w->message : "out of memory");
	free(w->message);
	*w = (window){ .p = w->p };
	return s;
}

static bool waits(const window *w) { return w->n > 0 || w->s < 0; }

/* One thread writes what is done and reads ahead while the others work; then it works too. */
static vq_status turn(const vq_window_job *j, window *done, window *now, window *ahead, int depth)
{
	vq_status s = VQ_OK;
	char *message = NULL;
#pragma omp parallel num_threads(j->threads)
	{
#pragma omp single nowait
		{
			if ((s = put_window(j, done, VQ_OK)) < 0)
				message = vq_strdup(vq_message());
			else if (now->got > 0)
				read_window(j, ahead, depth);
		}
#pragma omp for schedule(dynamic)
		for (int i = 0; i < now->n; i++) {
			place *p = &now->p[i];
			if ((p->s = j->work(j->ctx, omp_get_thread_num(), &p->in, &p->out)) < 0)
				p->message = vq_strdup(vq_message());
		}
	}
	if (s < 0)
		s = vq_fail(s, "%s", message ? message : "out of memory");
	free(message);
	return s;
}

vq_status vq_window_run(const vq_window_job *j)
{
	int depth = DEPTH * j->threads;
	window w[3] = {0};
	place *p = vq_malloc(sizeof *p * (size_t)depth * VQ_COUNT(w));
	vq_status s = p ? VQ_OK : VQ_ENOMEM;
	for (size_t i = 0; p && i < VQ_COUNT(w); i++)
		w[i].p = p + (size_t)depth * i;
	if (p)
		read_window(j, &w[0], depth);
	for (size_t i = 0; s == VQ_OK && (waits(&w[i % 3]) || waits(&w[(i + 2) % 3])); i++)
		s = turn(j, &w[(i + 2) % 3], &w[i % 3], &w[(i + 1) % 3], depth);
	for (size_t i = 0; i < VQ_COUNT(w); i++)
		put_window(j, &w[i], s);
	free(p);
	return s;
}
