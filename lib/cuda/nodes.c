/* One operation of the graph: what it needs before the plan runs, and its launch. */
#include "lib/cuda/cuda.h"

#include <string.h>

static bool convolves(vq_op op)
{
	return op == VQ_OP_CONV || op == VQ_OP_CONV_DATA || op == VQ_OP_CONV_WEIGHT || op == VQ_OP_DECONV || op == VQ_OP_DECONV_DATA || op == VQ_OP_DECONV_WEIGHT;
}

/* --- before: engines, filters, bytes of scratch -------------------------------------------------------------------- */

static vq_cuda_norm_spec norm_of(const vq_plan *p, const vq_node *n)
{
	const vq_value *x = cuda_v(p, n->in[0]);
	return (vq_cuda_norm_spec){ .t = x->dtype, .act = n->act, .training = n->training, .momentum = n->again ? 0 : n->a, .eps = n->b, .g = cuda_grid_of(p, x), .c = x->c };
}

static vq_cuda_attention_spec attention_of(const vq_plan *p, const vq_node *n)
{
	const vq_value *q = cuda_v(p, n->in[0]);
	return (vq_cuda_attention_spec){ q->dtype, cuda_grid_of(p, q), q->c, cuda_v(p, n->in[2])->c };
}

/* z is the first input wherever there is a codebook. */
static vq_cuda_book book_of(const vq_plan *p, const vq_node *n, int rows)
{
	const vq_value *z = cuda_v(p, n->in[0]);
	return (vq_cuda_book){ cuda_grid_of(p, z), z->c, rows };
}

static int rows_of(const vq_plan *p, const vq_node *n) { return cuda_v(p, n->in[1])->c / cuda_v(p, n->in[0])->c; }

static vq_cuda_book update_book(const vq_plan *p, const vq_node *n)
{
	return (vq_cuda_book){ p->grid[p->g.ng], cuda_v(p, n->in[1])->c / n->k, n->k };
}

static size_t scratch_of(const vq_plan *p, const vq_node *n)
{
	switch (n->op) {
	case VQ_OP_GATE_BWD: return vq_cuda_gate_bwd_scratch(cuda_count(cuda_v(p, n->in[0])));
	case VQ_OP_NORM:
	case VQ_OP_NORM_BWD: return vq_cuda_norm_scratch(norm_of(p, n));
	case VQ_OP_ATTENTION:
	case VQ_OP_ATTENTION_BWD: return vq_cuda_attention_scratch(attention_of(p, n));
	case VQ_OP_QUANTIZE: return vq_cuda_quantize_scratch(book_of(p, n, n->k));
	case VQ_OP_CODEBOOK_BWD: return vq_cuda_code_sums_scratch(book_of(p, n, rows_of(p, n)));
	case VQ_OP_EMA_SUM: return vq_cuda_code_sums_scratch(book_of(p, n, cuda_v(p, n->out[0])->c));
	case VQ_OP_EMA_UPDATE: return vq_cuda_ema_update_scratch(update_book(p, n));
	case VQ_OP_LOSS: return vq_cuda_loss_scratch(cuda_grid_of(p, cuda_v(p, n->in[0])), cuda_v(p, n->in[0])->c);
	case VQ_OP_FEATURES: return vq_cuda_features_scratch(cuda_grid_of(p, cuda_v(p, n->in[0])));
	case VQ_OP_OPTIMIZE: return vq_cuda_optimize_scratch(p->s->params.sizes[1]);
	default: return 0;
	}
}

static size_t bias_grad_scratch(const vq_plan *p, const vq_node *n)
{
	const vq_value *dy = cuda_v(p, n->in[1]);
	return n->out[1] < 0 ? 0 : vq_cuda_bias_grad_scratch(cuda_count(dy) / (size_t)dy->c, dy->c);
}

/* The gradient of a filter leaves cuDNN in its own layout and in the type of its inputs. */
static vq_status prepare_filter_gradient(vq_plan *p, const vq_node *n, const cuda_conv_spec *s, cuda_node *c)
{
	void *table;
	VQ_TRY(cuda_conv_make(s, p->b->dnn, NULL, &c->conv));
	c->result = VQ_ALIGN((size_t)s->k * (size_t)s->c * (size_t)s->size * (size_t)s->size * vq_dtype_size(s->t), (size_t)256);
	c->scratch = VQ_MAX(c->conv.workspace, bias_grad_scratch(p, n));
	VQ_TRY(cuda_get(&table, sizeof *c->unpack, "a gradient"));
	c->unpack = table;
	return VQ_OK;
}

/* bf16 in and f32 out is an operation more, which only some engines do; where none does, what goes in is made f32 before. */
static vq_status prepare_conv(vq_plan *p, const vq_node *n, cuda_node *c)
{
	cuda_conv_spec s;
	if (!cuda_conv_spec_of(&p->g, n, &s))
		return VQ_EINVAL;
	if (s.kind == CUDA_BY_FILTER)
		return prepare_filter_gradient(p, n, &s, c);
	if (n->op == VQ_OP_CONV && n->in[3] >= 0) /* y holds what is to be added */
		c->result = VQ_ALIGN(cuda_v(p, n->out[0])->bytes, (size_t)256);
	vq_status st = cuda_conv_make(&s, p->b->dnn, NULL, &c->conv);
	if (st == VQ_EUNSUP && s.t != s.out) {
		s.t = s.out;
		c->wide = VQ_ALIGN(cuda_count(cuda_v(p, n->in[0])) * vq_dtype_size(s.t), (size_t)256);
		st = cuda_conv_make(&s, p->b->dnn, NULL, &c->conv);
	}
	VQ_TRY(st);
	c->scratch = c->conv.workspace;
	return cuda_filter_of(p->s, cuda_v(p, n->in[1]), s.t, &c->filter);
}

static vq_status prepare_linear(vq_plan *p, const vq_node *n, cuda_node *c)
{
	for (int i = 0; i < 2; i++)
		if (cuda_v(p, n->in[i])->dtype != VQ_F32)
			return vq_fail(VQ_EUNSUP, "linear layers take f32");
	int rows = cuda_v(p, n->in[0])->n;
	if (rows != p->g.items_max)
		return vq_fail(VQ_EUNSUP, "a linear layer of %d rows for %d items", rows, p->g.items_max);
	if (n->op == VQ_OP_LINEAR)
		VQ_TRY(cuda_gemm_make(p->b, rows, cuda_v(p, n->out[0])->c, cuda_v(p, n->in[0])->c, false, true, &c->gemm));
	else if (n->op == VQ_OP_LINEAR_DATA)
		VQ_TRY(cuda_gemm_make(p->b, rows, cuda_v(p, n->out[0])->c, cuda_v(p, n->in[0])->c, false, false, &c->gemm));
	else
		VQ_TRY(cuda_gemm_make(p->b, cuda_v(p, n->in[1])->c, cuda_v(p, n->in[0])->c, rows, true, false, &c->gemm));
	c->scratch = VQ_MAX(c->gemm.workspace, n->op == VQ_OP_LINEAR_WEIGHT ? bias_grad_scratch(p, n) : (size_t)0);
	return VQ_OK;
}

vq_status cuda_node_prepare(vq_plan *p, const vq_node *n, cuda_node *c)
{
	if ((unsigned)n->op >= VQ_OPS)
		return vq_fail(VQ_EUNSUP, "the CUDA backend has no such operation");
	if (n->op == VQ_OP_MAXPOOL_BWD && cuda_v(p, n->in[2])->dtype != cuda_v(p, n->in[0])->dtype)
		return vq_fail(VQ_EUNSUP, "a gradient of another type");
	c->filter = -1;
	if (convolves(n->op))
		VQ_TRY(prepare_conv(p, n, c));
	else if (n->op == VQ_OP_LINEAR || n->op == VQ_OP_LINEAR_DATA || n->op == VQ_OP_LINEAR_WEIGHT)
		VQ_TRY(prepare_linear(p, n, c));
	else
		c->scratch = scratch_of(p, n);
	p->scratch = VQ_MAX(p->scratch, c->result + c->wide + c->scratch);
	return VQ_OK;
}

vq_status cuda_node_bind(vq_plan *p, const vq_node *n, cuda_node *c)
{
	cuda_conv_spec s;
	if (!c->unpack || !cuda_conv_spec_of(&p->g, n, &s))
		return VQ_OK;
	vq_cuda_weight w = { .plain = cuda_at(p, n->out[0]), .packed = p->s->scratch.at, .t = s.t, .a = s.k, .b = s.c, .k = s.size, .a_pad = s.k, .b_pad = s.c };
	return cuda_copy_now(p->s, c->unpack, &w, sizeof w, cudaMemcpyHostToDevice);
}

void cuda_node_drop(cuda_node *c)
{
	cuda_conv_drop(&c->conv);
	cuda_gemm_drop(&c->gemm);
	cudaFree(c->unpack);
}

/* --- the launch ---------------------------------------------------------------------------------------------------- */

static void *result_of(const vq_plan *p) { return p->s->scratch.at; }
static void *scratch(const vq_plan *p, const cuda_node *c) { return p->s->scratch.at + c->result + c->wide; }
static const vq_cuda_step *step_of(const vq_plan *p) { return (const vq_cuda_step *)p->device; }
static double *scalar_of(const vq_plan *p, const vq_node *n) { return n->scalar < 0 ? NULL : &p->results->scalar[n->scalar]; }

static vq_status run_conv(vq_plan *p, const vq_node *n, cuda_node *c)
{
	cudnnHandle_t h = p->b->dnn;
	void *w = p->s->filter[c->filter].w.packed, *x = cuda_at(p, n->in[0]), *y = cuda_at(p, n->out[0]);
	const vq_value *out = cuda_v(p, n->out[0]);
	bool forward = n->op == VQ_OP_CONV || n->op == VQ_OP_DECONV;
	void *bias = forward ? cuda_at(p, n->in[2]) : NULL, *sum = n->op == VQ_OP_CONV ? cuda_at(p, n->in[3]) : NULL, *to = c->result ? result_of(p) : y;
	if (c->wide) {
		const vq_value *in = cuda_v(p, n->in[0]);
		void *wide = p->s->scratch.at + c->result;
		VQ_TRY(cuda_try(vq_cuda_cast(p->b->stream, in->dtype, out->dtype, cuda_count(in), x, wide), "cast"));
		x = wide;
	}
	if (n->op == VQ_OP_CONV || n->op == VQ_OP_DECONV_DATA) /* image to features */
		VQ_TRY(cuda_conv_run(h, &c->conv, x, w, to, scratch(p, c)));
	else
		VQ_TRY(cuda_conv_run(h, &c->conv, to, w, x, scratch(p, c)));
	if (!bias && !sum && (!forward || n->act == VQ_FN_NONE))
		return VQ_OK;
	return cuda_try(vq_cuda_bias_act(p->b->stream, out->dtype, n->act, cuda_count(out) / (size_t)out->c, out->c, to, bias, sum, NULL, y), "bias_act");
}

static vq_status run_conv_weight(vq_plan *p, const vq_node *n, cuda_node *c)
{
	bool turned = n->op == VQ_OP_DECONV_WEIGHT;
	const vq_value *dy = cuda_v(p, n->in[1]);
	VQ_TRY(cuda_conv_run(p->b->dnn, &c->conv, cuda_at(p, n->in[turned]), result_of(p), cuda_at(p, n->in[!turned]), scratch(p, c)));
	VQ_TRY(cuda_try(vq_cuda_unpack_add(p->b->stream, c->unpack, 1, c->result / sizeof(uint16_t)), "unpack_add"));
	if (n->out[1] < 0)
		return VQ_OK;
	return cuda_try(vq_cuda_bias_grad(p->b->stream, dy->dtype, cuda_count(dy) / (size_t)dy->c, dy->c, cuda_at(p, n->in[1]), NULL, cuda_at(p, n->out[1]),
		scratch(p, c)), "bias_grad");
}

/* Rows past the last item may hold anything; what comes out there is 0, and a sum over rows does not see them. */
static vq_status run_linear(vq_plan *p, const vq_node *n, cuda_node *c)
{
	vq_cuda_grid rows = p->grid[p->g.ng];
	float *x = cuda_at(p, n->in[0]), *w = cuda_at(p, n->in[1]), *y = cuda_at(p, n->out[0]);
	cudaStream_t s = p->b->stream;
	if (n->op != VQ_OP_LINEAR_WEIGHT) {
		int out = cuda_v(p, n->out[0])->c;
		VQ_TRY(cuda_gemm_run(p->b, &c->gemm, x, w, false, y, scratch(p, c)));
		return cuda_try(vq_cuda_bias_act(s, VQ_F32, VQ_FN_NONE, (size_t)rows.n, out, y, n->op == VQ_OP_LINEAR ? cuda_at(p, n->in[2]) : NULL, NULL, rows.mark, y),
			"bias_act");
	}
	int in = cuda_v(p, n->in[0])->c, out = cuda_v(p, n->in[1])->c;
	VQ_TRY(cuda_try(vq_cuda_clear(s, VQ_F32, rows, in, x), "clear"));
	VQ_TRY(cuda_try(vq_cuda_clear(s, VQ_F32, rows, out, w), "clear"));
	VQ_TRY(cuda_gemm_run(p->b, &c->gemm, w, x, true, y, scratch(p, c)));
	if (n->out[1] < 0)
		return VQ_OK;
	return cuda_try(vq_cuda_bias_grad(s, VQ_F32, (size_t)rows.n, out, w, rows.mark, cuda_at(p, n->out[1]), scratch(p, c)), "bias_grad");
}

static int run_optimize(vq_plan *p, const vq_node *n, cuda_node *c)
{
	vq_store *s = p->s;
	return vq_cuda_optimize(p->b->stream, step_of(p), p->g.optimizer, s->params.sizes[1], s->buf[VQ_BUF_GRAD], s->buf[VQ_BUF_M], s->buf[VQ_BUF_V],
		s->buf[VQ_BUF_PARAM], scalar_of(p, n), scratch(p, c));
}

static int run_norm(vq_plan *p, const vq_node *n, cuda_node *c)
{
	vq_cuda_norm_spec spec = norm_of(p, n);
	void *in[VQ_NODE_IN], *out[VQ_NODE_OUT];
	for (int i = 0; i < VQ_NODE_IN; i++)
		in[i] = cuda_at(p, n->in[i]);
	for (int i = 0; i < VQ_NODE_OUT; i++)
		out[i] = cuda_at(p, n->out[i]);
	if (n->op == VQ_OP_NORM)
		return vq_cuda_norm(p->b->stream, spec, in[0], in[1], in[2], in[3], in[4], in[5], out[0], out[1], scratch(p, c));
	const float *beta = p->s->buf[VQ_BUF_PARAM] + p->s->params.p[cuda_v(p, n->out[2])->param].offset;
	return vq_cuda_norm_bwd(p->b->stream, spec, in[0], in[1], in[2], in[3], beta, in[4], in[5], out[0], out[1], out[2], out[3], scratch(p, c));
}

/* The operations of the quantiser. */
static int run_book(vq_plan *p, const vq_node *n, cuda_node *c)
{
	cudaStream_t s = p->b->stream;
	void *in[5], *o0 = cuda_at(p, n->out[0]), *o1 = cuda_at(p, n->out[1]), *w = scratch(p, c);
	for (int i = 0; i < 5; i++)
		in[i] = cuda_at(p, n->in[i]);
	switch (n->op) {
	case VQ_OP_QUANTIZE: return vq_cuda_quantize(s, book_of(p, n, n->k), in[0], in[1], cuda_v(p, n->out[0])->dtype, o0, o1, scalar_of(p, n), w);
	case VQ_OP_LOOKUP: {
		const vq_value *q = cuda_v(p, n->out[0]);
		return vq_cuda_lookup(s, cuda_count(q) / (size_t)q->c, q->c, cuda_v(p, n->in[1])->c / q->c, in[0], in[1], q->dtype, o0, &p->results->bad);
	}
	case VQ_OP_QUANTIZE_BWD:
		return vq_cuda_quantize_bwd(s, step_of(p), book_of(p, n, rows_of(p, n)), n->a, n->scale, in[0], in[1], in[2] ? cuda_v(p, n->in[2])->dtype : VQ_F32, in[2],
			in[3], o0);
	case VQ_OP_CODEBOOK_BWD:
		return vq_cuda_codebook_bwd(s, step_of(p), book_of(p, n, rows_of(p, n)), n->scale, in[0], in[1], in[2], in[3] ? cuda_v(p, n->in[3])->dtype : VQ_F32, in[3],
			o0, w);
	case VQ_OP_EMA_SUM: return vq_cuda_ema_sum(s, book_of(p, n, cuda_v(p, n->out[0])->c), in[0], in[1], o0, o1, w);
	default: return vq_cuda_ema_update(s, update_book(p, n), n->a, n->b, in[0], in[1], in[2], in[3], in[4], w);
	}
}

/* What frozen networks need beside convolutions. */
static int run_frozen(vq_plan *p, const vq_node *n, cuda_node *c)
{
	cudaStream_t s = p->b->stream;
	const vq_value *xv = cuda_v(p, n->in[0]), *yv = n->out[0] < 0 ? NULL : cuda_v(p, n->out[0]);
	void *in[3], *out = cuda_at(p, n->out[0]);
	vq_cuda_grid gx = cuda_grid_of(p, xv);
	for (int i = 0; i < 3; i++)
		in[i] = cuda_at(p, n->in[i]);
	switch (n->op) {
	case VQ_OP_COLOURS: return vq_cuda_colours(s, gx, xv->c, n->k, n->s, xv->dtype, in[0], in[1], in[2], yv->dtype, out);
	case VQ_OP_COLOURS_BWD: return vq_cuda_colours_bwd(s, gx, yv->c, n->k, n->s, xv->dtype, in[0], in[1], yv->dtype, out);
	case VQ_OP_MAXPOOL: return vq_cuda_maxpool(s, step_of(p), xv->dtype, gx, cuda_grid_of(p, yv), n->k, n->s, xv->c, in[0], out);
	case VQ_OP_MAXPOOL_BWD:
		return vq_cuda_maxpool_bwd(s, step_of(p), xv->dtype, gx, cuda_grid_of(p, cuda_v(p, n->in[1])), n->k, n->s, xv->c, in[0], in[1], in[2], out);
	default: return vq_cuda_features(s, step_of(p), xv->dtype, gx, xv->c, n->k, n->a, n->scale, in[0], in[1], in[2], out, scalar_of(p, n), scratch(p, c));
	}
}

/* Operations that are one launch. */
static int run_plain(vq_plan *p, const vq_node *n, cuda_node *c)
{
	cudaStream_t s = p->b->stream;
	const vq_cuda_step *step = step_of(p);
	const vq_value *xv = n->in[0] < 0 ? NULL : cuda_v(p, n->in[0]), *yv = n->out[0] < 0 ? NULL : cuda_v(p, n->out[0]);
	void *in[5], *out[3];
	for (int i = 0; i < 5; i++)
		in[i] = cuda_at(p, n->in[i]);
	for (int i = 0; i < 3; i++)
		out[i] = cuda_at(p, n->out[i]);
	switch (n->op) {
	case VQ_OP_ACT: return vq_cuda_act(s, yv->dtype, n->act, cuda_count(yv), in[0], out[0]);
	case VQ_OP_ACT_BWD: return vq_cuda_act_bwd(s, yv->dtype, n->act, n->accumulate, cuda_count(yv), in[0], in[1], in[2], out[0]);
	case VQ_OP_ADD: return vq_cuda_add(s, yv->dtype, cuda_count(yv), in[0], in[1], out[0]);
	case VQ_OP_CLEAR: return vq_cuda_clear(s, yv->dtype, cuda_grid_of(p, yv), yv->c, out[0]);
	case VQ_OP_CAST: return vq_cuda_cast(s, xv->dtype, yv->dtype, cuda_count(xv), in[0], out[0]);
	case VQ_OP_FLATTEN: return vq_cuda_flatten(s, xv->dtype, false, xv->n, xv->h * xv->w, xv->c, in[0], out[0]);
	case VQ_OP_UNFLATTEN: return vq_cuda_flatten(s, yv->dtype, true, yv->n, yv->h * yv->w, yv->c, in[0], out[0]);
	case VQ_OP_POOL: return vq_cuda_pool(s, step, xv->dtype, cuda_grid_of(p, xv), n->k, xv->c, in[0], out[0]);
	case VQ_OP_POOL_BWD: return vq_cuda_pool_bwd(s, step, yv->dtype, cuda_grid_of(p, yv), n->k, yv->c, in[0], out[0]);
	case VQ_OP_RESIZE: return vq_cuda_resize(s, step, xv->dtype, cuda_grid_of(p, xv), cuda_grid_of(p, yv), xv->c, in[0], out[0]);
	case VQ_OP_RESIZE_BWD: return vq_cuda_resize_bwd(s, step, yv->dtype, cuda_grid_of(p, yv), cuda_grid_of(p, xv), yv->c, in[0], out[0]);
	case VQ_OP_ATTENTION: return vq_cuda_attention(s, step, attention_of(p, n), in[0], in[1], in[2], out[0], scratch(p, c));
	case VQ_OP_ATTENTION_BWD:
		return vq_cuda_attention_bwd(s, step, attention_of(p, n), in[0], in[1], in[2], in[3], in[4], out[0], out[1], out[2], scratch(p, c));
	case VQ_OP_GATE: return vq_cuda_gate(s, yv->dtype, cuda_count(yv), in[0], in[1], in[2], out[0]);
	case VQ_OP_GATE_BWD: return vq_cuda_gate_bwd(s, xv->dtype, cuda_count(xv), in[0], in[1], in[2], out[0], out[1], scratch(p, c));
	case VQ_OP_DROPOUT:
	case VQ_OP_DROPOUT_BWD: return vq_cuda_dropout(s, step, yv->dtype, n->a, n->k, cuda_count(yv), in[0], out[0]);
	case VQ_OP_RESIDUAL: return vq_cuda_residual(s, cuda_count(yv), in[0], in[1], out[0]);
	case VQ_OP_LOSS:
		return vq_cuda_loss(s, step, cuda_grid_of(p, xv), xv->c, (int)n->a, n->scale, in[0], in[1], in[2], out[0], scalar_of(p, n), scratch(p, c));
	default: return cudaErrorNotSupported;
	}
}

vq_status cuda_node_run(vq_plan *p, const vq_node *n, cuda_node *c)
{
	switch (n->op) {
	case VQ_OP_CONV:
	case VQ_OP_CONV_DATA:
	case VQ_OP_DECONV:
	case VQ_OP_DECONV_DATA: return run_conv(p, n, c);
	case VQ_OP_CONV_WEIGHT:
	case VQ_OP_DECONV_WEIGHT: return run_conv_weight(p, n, c);
	case VQ_OP_LINEAR:
	case VQ_OP_LINEAR_DATA:
	case VQ_OP_LINEAR_WEIGHT: return run_linear(p, n, c);
	case VQ_OP_NORM:
	case VQ_OP_NORM_BWD: return cuda_try(run_norm(p, n, c), "launch");
	case VQ_OP_QUANTIZE:
	case VQ_OP_LOOKUP:
	case VQ_OP_QUANTIZE_BWD:
	case VQ_OP_CODEBOOK_BWD:
	case VQ_OP_EMA_SUM:
	case VQ_OP_EMA_UPDATE: return cuda_try(run_book(p, n, c), "launch");
	case VQ_OP_COLOURS:
	case VQ_OP_COLOURS_BWD:
	case VQ_OP_MAXPOOL:
	case VQ_OP_MAXPOOL_BWD:
	case VQ_OP_FEATURES: return cuda_try(run_frozen(p, n, c), "launch");
	case VQ_OP_OPTIMIZE: return cuda_try(run_optimize(p, n, c), "launch");
	default: return cuda_try(run_plain(p, n, c), "launch");
	}
}
