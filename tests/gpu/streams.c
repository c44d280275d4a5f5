/* Streams, events and graphs of the emulated CUDA library. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "lib/cuda/emulate.h"
#include "tests/gpu/host.h"

typedef struct work { struct work *next; void (*fn)(void *); void *ctx; cudaEvent_t record, wait; long ticket; } work;
typedef struct { work *first, **end; } queue;
struct CUstream_st { queue q; unsigned number; bool capturing, broken, running; queue graph; };
struct CUevent_st { long recorded, done; cudaStream_t at; };
struct CUgraph_st { queue q; };
struct CUgraphExec_st { queue q; };

enum { STREAMS = 16 };
static cudaStream_t all[STREAMS];
static unsigned streams;

static void append(queue *q, work *w)
{
	if (!q->first)
		q->end = &q->first;
	*q->end = w;
	q->end = &w->next;
}

static void drop(queue *q)
{
	for (work *w = q->first, *next; w; w = next) {
		next = w->next;
		free(w->ctx);
		free(w);
	}
	*q = (queue){0};
}

static bool eager(const struct CUstream_st *s)
{
	const char *v = getenv("VQ_EMULATED_EAGER");
	return v && strtoul(v, NULL, 0) >> s->number & 1;
}

/* Does the first thing in the queue; false when there is none, or an event holds it back. */
static bool step(cudaStream_t s)
{
	work *w = s->q.first;
	if (!w || s->running || (w->wait && w->wait->done < w->ticket))
		return false;
	s->q.first = w->next;
	s->running = true;
	if (w->fn)
		w->fn(w->ctx);
	if (w->record)
		w->record->done = w->ticket;
	s->running = false;
	free(w->ctx);
	free(w);
	return true;
}

static void go_on(cudaStream_t s)
{
	while (step(s))
		;
}

static void eager_ones(void)
{
	for (unsigned i = 0; i < streams; i++)
		if (all[i] && eager(all[i]))
			go_on(all[i]);
}

/* Until the stream is empty, or an event has come by. */
static void drain(cudaStream_t s, cudaEvent_t until)
{
	while (s->q.first && !(until && until->done >= until->recorded))
		if (!step(s)) {
			cudaEvent_t e = s->q.first->wait;
			if (!e || e->at == s) {
				fprintf(stderr, "streams: stream %u waits for itself\n", s->number);
				abort();
			}
			while (e->done < s->q.first->ticket)
				if (!step(e->at))
					drain(e->at, NULL);
		}
	eager_ones();
}

static void put(cudaStream_t s, work w, size_t bytes)
{
	work *p = malloc(sizeof *p);
	if (!p || (bytes && !(p->ctx = malloc(bytes))))
		abort();
	void *ctx = bytes ? memcpy(p->ctx, w.ctx, bytes) : NULL;
	*p = w;
	p->ctx = ctx;
	append(s->capturing ? &s->graph : &s->q, p);
	eager_ones();
}

void host_put(cudaStream_t s, void (*fn)(void *), const void *ctx, size_t bytes) { put(s, (work){ .fn = fn, .ctx = (void *)ctx }, bytes); }

static void defer(void *s, void (*fn)(void *), const void *ctx, size_t bytes) { host_put(s, fn, ctx, bytes); }

bool host_captured(void)
{
	bool yes = false;
	for (unsigned i = 0; i < streams; i++)
		if (all[i] && all[i]->capturing)
			yes = all[i]->broken = true;
	return yes;
}

bool host_all_done(void)
{
	if (host_captured())
		return false;
	for (unsigned i = 0; i < streams; i++)
		if (all[i])
			drain(all[i], NULL);
	return true;
}

/* --- streams and events -------------------------------------------------------------------------------------------- */

cudaError_t cudaStreamCreateWithFlags(cudaStream_t *s, unsigned flags)
{
	if (streams == STREAMS || !(*s = calloc(1, sizeof **s)))
		return cudaErrorMemoryAllocation;
	vq_emulate_defer = defer;
	(*s)->number = streams;
	all[streams++] = *s;
	return cudaSuccess;
}

cudaError_t cudaStreamDestroy(cudaStream_t s)
{
	drain(s, NULL);
	all[s->number] = NULL;
	while (streams && !all[streams - 1])
		streams--;
	free(s);
	return cudaSuccess;
}

long host_waits[HOST_WAITS];

cudaError_t cudaStreamSynchronize(cudaStream_t s)
{
	host_waits[HOST_STREAM]++;
	if (host_captured())
		return cudaErrorStreamCaptureUnsupported;
	drain(s, NULL);
	return cudaSuccess;
}

cudaError_t cudaEventCreateWithFlags(cudaEvent_t *e, unsigned flags) { return (*e = calloc(1, sizeof **e)) ? cudaSuccess : cudaErrorMemoryAllocation; }

cudaError_t cudaEventDestroy(cudaEvent_t e)
{
	host_all_done();
	free(e);
	return cudaSuccess;
}

cudaError_t cudaEventRecord(cudaEvent_t e, cudaStream_t s)
{
	e->at = s;
	put(s, (work){ .record = e, .ticket = ++e->recorded }, 0);
	return cudaSuccess;
}

cudaError_t cudaStreamWaitEvent(cudaStream_t s, cudaEvent_t e, unsigned flags)
{
	if (e->recorded)
		put(s, (work){ .wait = e, .ticket = e->recorded }, 0);
	return cudaSuccess;
}

cudaError_t cudaEventSynchronize(cudaEvent_t e)
{
	host_waits[HOST_EVENT]++;
	if (host_captured())
		return cudaErrorStreamCaptureUnsupported;
	if (e->recorded)
		drain(e->at, e);
	return cudaSuccess;
}

/* --- memory -------------------------------------------------------------------------------------------------------- */

typedef struct { void *to; const void *from; int value; size_t bytes; } move;

static void copy(void *ctx) { const move *m = ctx; memcpy(m->to, m->from, m->bytes); }
static void fill(void *ctx) { const move *m = ctx; memset(m->to, m->value, m->bytes); }

cudaError_t cudaMemcpyAsync(void *to, const void *from, size_t n, enum cudaMemcpyKind kind, cudaStream_t s)
{
	move m = { to, from, 0, n };
	host_put(s, copy, &m, sizeof m);
	return cudaSuccess;
}

cudaError_t cudaMemsetAsync(void *p, int v, size_t n, cudaStream_t s)
{
	move m = { p, NULL, v, n };
	host_put(s, fill, &m, sizeof m);
	return cudaSuccess;
}

/* --- graphs -------------------------------------------------------------------------------------------------------- */

cudaError_t cudaStreamBeginCapture(cudaStream_t s, enum cudaStreamCaptureMode m)
{
	s->capturing = true;
	s->broken = false;
	return cudaSuccess;
}

cudaError_t cudaStreamEndCapture(cudaStream_t s, cudaGraph_t *g)
{
	*g = s->broken ? NULL : calloc(1, sizeof **g);
	if (*g)
		(*g)->q = s->graph;
	else
		drop(&s->graph);
	s->graph = (queue){0};
	s->capturing = false;
	return *g ? cudaSuccess : cudaErrorStreamCaptureInvalidated;
}

/* What is in the graph goes to the program made of it: the backend makes one of each. With VQ_EMULATED_LOOSE there is no such thing. */
cudaError_t cudaGraphInstantiate(cudaGraphExec_t *e, cudaGraph_t g, unsigned long long flags)
{
	if (getenv("VQ_EMULATED_LOOSE"))
		return cudaErrorNotSupported;
	if (!(*e = calloc(1, sizeof **e)))
		return cudaErrorMemoryAllocation;
	(*e)->q = g->q;
	g->q = (queue){0};
	return cudaSuccess;
}

static long launched;

static void run_graph(void *ctx)
{
	launched++;
	for (work *w = (*(cudaGraphExec_t *)ctx)->q.first; w; w = w->next)
		w->fn(w->ctx);
}

cudaError_t cudaGraphLaunch(cudaGraphExec_t e, cudaStream_t s)
{
	host_put(s, run_graph, &e, sizeof e);
	return cudaSuccess;
}

cudaError_t cudaGraphDestroy(cudaGraph_t g)
{
	drop(&g->q);
	free(g);
	return cudaSuccess;
}

cudaError_t cudaGraphExecDestroy(cudaGraphExec_t e)
{
	host_all_done();
	drop(&e->q);
	free(e);
	return cudaSuccess;
}

__attribute__((destructor)) static void tell(void)
{
	if (getenv("VQ_EMULATED_TELL"))
		fprintf(stderr, "waits for streams: %ld, for events: %ld, for memory: %ld; graphs launched: %ld\n", host_waits[HOST_STREAM], host_waits[HOST_EVENT],
			host_waits[HOST_MEMORY], launched);
}
