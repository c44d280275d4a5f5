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

static void work(const vq_window_job *j, place *p, int n)
{
#pragma omp parallel for schedule(dynamic) num_threads(j->threads)
	for (int i = 0; i < n; i++) {
		p[i].s = j->work(j->ctx, omp_get_thread_num(), &p[i].in, &p[i].out);
		if (p[i].s < 0)
			p[i].message = vq_strdup(vq_message());
	}
}

static vq_status put(const vq_window_job *j, place *p, int n)
{
	vq_status s = VQ_OK;
	for (int i = 0; i < n; i++) {
		if (s == VQ_OK && p[i].s < 0)
			s = vq_fail(p[i].s, "%s", p[i].message ? p[i].message : "out of memory");
		if (s == VQ_OK)
			s = j->put(j->ctx, &p[i].in, &p[i].out);
		vqt_record_free(&p[i].in);
		vqt_record_free(&p[i].out);
		free(p[i].message);
	}
	return s;
}

vq_status vq_window_run(const vq_window_job *j)
{
	int depth = DEPTH * j->threads, got = 1;
	place *p = vq_malloc(sizeof *p * (size_t)depth);
	vq_status s = p ? VQ_OK : VQ_ENOMEM;
	while (s == VQ_OK && got > 0) {
		int n = 0;
		size_t bytes = 0;
		memset(p, 0, sizeof *p * (size_t)depth);
		while (n < depth && bytes < most_bytes && (got = j->next(j->ctx, &p[n].in)) > 0)
			bytes += bytes_of(&p[n++].in);
		char *why = got < 0 ? vq_strdup(vq_message()) : NULL;
		work(j, p, n);
		s = put(j, p, n);
		if (s == VQ_OK && got < 0)
			s = vq_fail(got, "%s", why ? why : "out of memory");
		free(why);
	}
	free(p);
	return s;
}
