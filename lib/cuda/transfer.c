/* What goes between the host and the device. A run's step and inputs are filled into one of two slots of pinned memory, copied to the stage by
 * a stream of their own while the run before is under way, and moved to their places at the head of the run. Sums and codes come back behind
 * it, into pinned memory too; the host looks at them when it finishes the run, by which time the next one may be under way. */
#include "lib/cuda/cuda.h"

#include <stdlib.h>
#include <string.h>

static vq_status pinned(void **p, size_t bytes)
{
	cuda_count_wait();
	return cuda_try(cudaMallocHost(p, VQ_MAX(bytes, (size_t)64)), "cudaMallocHost");
}

static bool is_input(const vq_value *v) { return v->where == VQ_AT_INPUT; }
static bool is_codes(const vq_value *v) { return v->where == VQ_AT_OUTPUT && v->dtype == VQ_I32; }

static void unpin(void *p)
{
	if (p)
		cudaFreeHost(p);
}

/* --- slots --------------------------------------------------------------------------------------------------------- */

vq_status cuda_transfer_make(vq_plan *p)
{
	p->slot_bytes = VQ_ALIGN(p->step_bytes, (size_t)256);
	p->back_bytes = VQ_ALIGN(sizeof(cuda_results), (size_t)256);
	for (int i = 0; i < p->g.nv; i++) {
		const vq_value *v = cuda_v(p, i);
		size_t *end = is_input(v) ? &p->slot_bytes : is_codes(v) ? &p->back_bytes : NULL;
		if (!end)
			continue;
		p->mirror[i].at = *end;
		*end += VQ_ALIGN(v->bytes, (size_t)256);
	}
	for (int i = 0; i < CUDA_SLOTS; i++) {
		void *back;
		VQ_TRY(pinned(&back, p->back_bytes));
		memset(p->back[i] = back, 0, p->back_bytes);
	}
	return VQ_OK;
}

void cuda_transfer_free(vq_plan *p)
{
	for (int i = 0; p->mirror && i < p->g.nv; i++)
		unpin(p->mirror[i].host);
	for (int i = 0; i < CUDA_SLOTS; i++) {
		unpin(p->back[i]);
		if (p->s->slot[i].plan == p) {
			p->s->slot[i].plan = NULL;
			p->s->slot[i].busy = false;
		}
	}
}

void cuda_slots_free(vq_store *s)
{
	for (int i = 0; i < CUDA_SLOTS; i++) {
		unpin(s->slot[i].host);
		if (s->slot[i].copied)
			cudaEventDestroy(s->slot[i].copied);
		if (s->slot[i].done)
			cudaEventDestroy(s->slot[i].done);
	}
	if (s->taken)
		cudaEventDestroy(s->taken);
	cudaFree(s->stage.at);
}

static vq_status event(cudaEvent_t *e) { return *e ? VQ_OK : cuda_try(cudaEventCreateWithFlags(e, cudaEventDisableTiming), "cudaEventCreate"); }

vq_status cuda_transfer_hold(vq_plan *p)
{
	vq_store *s = p->s;
	VQ_TRY(cuda_grow(s, &s->stage, p->slot_bytes, "the inputs of this shape"));
	VQ_TRY(event(&s->taken));
	for (int i = 0; i < CUDA_SLOTS; i++) {
		cuda_slot *t = &s->slot[i];
		void *host;
		VQ_TRY(event(&t->copied));
		VQ_TRY(event(&t->done));
		if (p->slot_bytes <= t->bytes)
			continue;
		VQ_TRY(cuda_wait(p->b->copies, "cudaStreamSynchronize"));
		VQ_TRY(pinned(&host, p->slot_bytes));
		unpin(t->host);
		t->host = host;
		t->bytes = p->slot_bytes;
		for (int k = 0; t->plan && k < t->plan->g.nv; k++)
			t->plan->mirror[k].given[i] = CUDA_UNSET;
	}
	return VQ_OK;
}

vq_status cuda_slot_take(vq_plan *p, int *slot)
{
	vq_store *s = p->s;
	bool next = s->slot[s->now].busy;
	if (next)
		s->now = (s->now + 1) % CUDA_SLOTS;
	cuda_slot *t = &s->slot[s->now];
	if (t->busy)
		return vq_fail(VQ_EINVAL, "more than %d runs are under way", CUDA_SLOTS);
	for (int i = 0; (next || t->plan != p) && i < p->g.nv; i++)
		p->mirror[i].given[s->now] = CUDA_UNSET;
	t->plan = p;
	*slot = s->now;
	return VQ_OK;
}

/* --- to and fro ---------------------------------------------------------------------------------------------------- */

static vq_status copy(cudaStream_t s, void *to, const void *from, size_t bytes, enum cudaMemcpyKind kind)
{
	return cuda_try(cudaMemcpyAsync(to, from, bytes, kind, s), "cudaMemcpyAsync");
}

vq_status cuda_bring(vq_plan *p, int slot, unsigned phases, cuda_given least)
{
	vq_store *s = p->s;
	cuda_slot *t = &s->slot[slot];
	cudaStream_t stream = p->b->stream, copies = p->b->copies;
	VQ_TRY(cuda_try(cudaStreamWaitEvent(copies, s->taken, 0), "cudaStreamWaitEvent"));
	VQ_TRY(copy(copies, s->stage.at, t->host, p->step_bytes, cudaMemcpyHostToDevice));
	for (int i = 0; i < p->g.nv && (phases & VQ_FORWARD); i++)
		if (is_input(cuda_v(p, i)) && p->mirror[i].given[slot] >= least)
			VQ_TRY(copy(copies, s->stage.at + p->mirror[i].at, t->host + p->mirror[i].at, cuda_v(p, i)->bytes, cudaMemcpyHostToDevice));
	VQ_TRY(cuda_try(cudaEventRecord(t->copied, copies), "cudaEventRecord"));
	VQ_TRY(cuda_try(cudaStreamWaitEvent(stream, t->copied, 0), "cudaStreamWaitEvent"));
	VQ_TRY(copy(stream, p->device, s->stage.at, p->step_bytes, cudaMemcpyDeviceToDevice));
	for (int i = 0; i < p->g.nv && (phases & VQ_FORWARD); i++)
		if (is_input(cuda_v(p, i)) && p->mirror[i].given[slot] >= least) {
			VQ_TRY(copy(stream, cuda_at(p, i), s->stage.at + p->mirror[i].at, cuda_v(p, i)->bytes, cudaMemcpyDeviceToDevice));
			p->mirror[i].given[slot] = CUDA_HELD;
		}
	return cuda_try(cudaEventRecord(s->taken, stream), "cudaEventRecord");
}

vq_status cuda_fetch(vq_plan *p, int slot, vq_step *step, unsigned phases)
{
	cuda_slot *t = &p->s->slot[slot];
	cudaStream_t stream = p->b->stream;
	VQ_TRY(copy(stream, p->back[slot], p->results, sizeof *p->results, cudaMemcpyDeviceToHost));
	for (int i = 0; i < p->g.nv && (phases & VQ_FORWARD); i++)
		if (is_codes(cuda_v(p, i)))
			VQ_TRY(copy(stream, p->back[slot] + p->mirror[i].at, cuda_at(p, i), cuda_v(p, i)->bytes, cudaMemcpyDeviceToHost));
	VQ_TRY(cuda_try(cudaEventRecord(t->done, stream), "cudaEventRecord"));
	t->step = step;
	t->phases = phases;
	t->busy = true;
	return VQ_OK;
}

static vq_status bad_code(const vq_plan *p, int32_t code)
{
	int rows = 0; /* of the smallest codebook that has no such row: of two that do not, one is named */
	for (int i = 0; i < p->g.nn; i++) {
		const vq_node *n = &p->g.node[i];
		int k = n->op == VQ_OP_LOOKUP ? cuda_v(p, n->in[1])->c / cuda_v(p, n->out[0])->c : 0;
		if (k && k <= code && (!rows || k < rows))
			rows = k;
	}
	return vq_fail(VQ_EINVAL, "code %d of a codebook of %d", (int)code, rows);
}

vq_status cuda_finish(vq_plan *p, vq_step *step)
{
	int slot = 0;
	while (slot < CUDA_SLOTS && !(p->s->slot[slot].busy && p->s->slot[slot].plan == p && p->s->slot[slot].step == step))
		slot++;
	if (slot == CUDA_SLOTS)
		return vq_fail(VQ_EINVAL, "no run with this step is under way");
	cuda_slot *t = &p->s->slot[slot];
	const cuda_results *r = (const cuda_results *)p->back[slot];
	VQ_TRY(cuda_try(cudaEventSynchronize(t->done), "a run"));
	t->busy = false;
	p->told = slot;
	if (r->bad >= 0 && (t->phases & VQ_FORWARD))
		return bad_code(p, r->bad);
	if (t->phases & VQ_FORWARD)
		memcpy(step->scalar, r->scalar, sizeof step->scalar);
	for (int i = 0; i < p->g.nn; i++)
		if ((p->g.node[i].phase & t->phases) && p->g.node[i].scalar >= 0)
			step->scalar[p->g.node[i].scalar] = r->scalar[p->g.node[i].scalar];
	return VQ_OK;
}

/* --- what the seam has of it --------------------------------------------------------------------------------------- */

static vq_status plan_write(vq_plan *p, int value, const void *host)
{
	const vq_value *v = cuda_v(p, value);
	int slot;
	if (is_input(v)) {
		VQ_TRY(cuda_slot_take(p, &slot));
		memcpy(p->s->slot[slot].host + p->mirror[value].at, host, v->bytes);
		p->mirror[value].given[slot] = CUDA_NEW;
		return VQ_OK;
	}
	VQ_TRY(cuda_plan_hold(p));
	VQ_TRY(copy(p->b->stream, cuda_at(p, value), host, v->bytes, cudaMemcpyHostToDevice));
	return cuda_wait(p->b->stream, "writing a value");
}

static vq_status plan_read(vq_plan *p, int value, void *host)
{
	VQ_TRY(cuda_plan_hold(p));
	VQ_TRY(copy(p->b->stream, host, cuda_at(p, value), cuda_v(p, value)->bytes, cudaMemcpyDeviceToHost));
	return cuda_wait(p->b->stream, "reading a value");
}

static void *plan_host(vq_plan *p, int value)
{
	cuda_mirror *m = &p->mirror[value];
	const vq_value *v = cuda_v(p, value);
	int slot;
	if (is_codes(v))
		return p->back[p->told] + m->at;
	if (is_input(v)) {
		if (cuda_slot_take(p, &slot) < 0)
			return NULL;
		m->given[slot] = CUDA_NEW;
		return p->s->slot[slot].host + m->at;
	}
	return (m->host || pinned(&m->host, v->bytes) == VQ_OK) && plan_read(p, value, m->host) == VQ_OK ? m->host : NULL;
}

void cuda_transfer_table(vq_backend *b)
{
	b->plan_write = plan_write;
	b->plan_read = plan_read;
	b->plan_host = plan_host;
}
