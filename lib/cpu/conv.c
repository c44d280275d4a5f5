/* Convolutions by oneDNN 2.x. A transposed convolution is a convolution with its roles swapped: its forward pass is the gradient by
 * data, its gradient by data a forward pass, and its weights [in,out,k,k] are the convolution's [out,in,k,k] as they are. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "lib/cpu/cpu.h"

enum { SRC, DST, BIAS, PAD, DW };

void cpu_node_drop(vq_store *s, cpu_node *n)
{
	if (n->prim)
		dnnl_primitive_destroy(n->prim);
	if (n->back)
		dnnl_primitive_destroy(n->back);
	for (size_t i = 0; i < VQ_COUNT(n->mem); i++)
		if (n->mem[i])
			dnnl_memory_destroy(n->mem[i]);
	if (n->w.reorder)
		dnnl_primitive_destroy(n->w.reorder);
	if (n->w.mem)
		dnnl_memory_destroy(n->w.mem);
	if (n->w.plain)
		dnnl_memory_destroy(n->w.plain);
	cpu_layout_drop(s, n->w.at);
	free(n->extra);
	*n = (cpu_node){0};
}

static dnnl_data_type_t type_of(vq_dtype t) { return t == VQ_BF16 ? dnnl_bf16 : dnnl_f32; }

/* An NHWC activation, described as oneDNN wants it: NCHW dimensions, nhwc order. */
static void describe(dnnl_memory_desc_t *d, const vq_value *v)
{
	dnnl_dims_t dims = { v->n, v->c, v->h, v->w };
	dnnl_memory_desc_init_by_tag(d, 4, dims, type_of(v->dtype), dnnl_nhwc);
}

static vq_status memory(vq_plan *p, dnnl_memory_t *m, const dnnl_memory_desc_t *d, void *at)
{
	return cpu_dnnl(dnnl_memory_create(m, d, p->b->engine, at), "memory_create");
}

static vq_status make_reorder(vq_plan *p, dnnl_primitive_t *r, const dnnl_memory_desc_t *from, const dnnl_memory_desc_t *to, bool add)
{
	dnnl_primitive_attr_t attr = NULL;
	dnnl_post_ops_t ops = NULL;
	dnnl_primitive_desc_t pd = NULL;
	dnnl_primitive_attr_create(&attr);
	if (add) {
		dnnl_post_ops_create(&ops);
		dnnl_post_ops_append_sum(ops, 1);
		dnnl_primitive_attr_set_post_ops(attr, ops);
	}
	vq_status s = cpu_dnnl(dnnl_reorder_primitive_desc_create(&pd, from, p->b->engine, to, p->b->engine, attr), "reorder");
	if (s == VQ_OK)
		s = cpu_dnnl(dnnl_primitive_create(r, pd), "reorder");
	dnnl_primitive_desc_destroy(pd);
	dnnl_post_ops_destroy(ops);
	dnnl_primitive_attr_destroy(attr);
	return s;
}

static cpu_conv roles_of(const vq_node *n)
{
	switch (n->op) {
	case VQ_OP_CONV: return (cpu_conv){ CPU_FORWARD, n->in[0], n->out[0], n->in[1], n->in[2], n->act == VQ_FN_RELU, n->in[3] >= 0, n->k, n->s, n->p };
	case VQ_OP_CONV_DATA: return (cpu_conv){ CPU_BY_DATA, n->out[0], n->in[0], n->in[1], -1, false, false, n->k, n->s, n->p };
	case VQ_OP_CONV_WEIGHT: return (cpu_conv){ CPU_BY_WEIGHT, n->in[0], n->in[1], n->out[0], -1, false, false, n->k, n->s, n->p };
	case VQ_OP_DECONV: return (cpu_conv){ CPU_BY_DATA, n->out[0], n->in[0], n->in[1], -1, false, false, n->k, n->s, n->p };
	case VQ_OP_DECONV_DATA: return (cpu_conv){ CPU_FORWARD, n->in[0], n->out[0], n->in[1], -1, false, false, n->k, n->s, n->p };
	default: return (cpu_conv){ CPU_BY_WEIGHT, n->in[1], n->in[0], n->out[0], -1, false, false, n->k, n->s, n->p };
	}
}

/* The primitive's description: forward, or backward with a forward one as the hint it needs. */
static vq_status describe_conv(vq_plan *p, const vq_node *n, const cpu_conv *r, dnnl_primitive_desc_t *out)
{
	const vq_value *src = cpu_v(p, r->src), *dst = cpu_v(p, r->dst);
	dnnl_memory_desc_t s, d, w, wf, b;
	dnnl_dims_t wdims = { dst->c, src->c, n->k, n->k }, bdims = { dst->c }, stride = { n->s, n->s }, pad = { n->p, n->p };
	/* what makes the far padding fit when the size is no multiple of the stride */
	dnnl_dims_t far = { (dst->h - 1) * n->s + n->k - src->h - n->p, (dst->w - 1) * n->s + n->k - src->w - n->p };
	describe(&s, src);
	describe(&d, dst);
	dnnl_data_type_t compute = type_of(r->kind == CPU_FORWARD ? src->dtype : dst->dtype);
	dnnl_memory_desc_init_by_tag(&wf, 4, wdims, compute, dnnl_format_tag_any);
	dnnl_memory_desc_init_by_tag(&w, 4, wdims, r->kind == CPU_BY_WEIGHT ? dnnl_f32 : compute, dnnl_format_tag_any);
	dnnl_memory_desc_init_by_tag(&b, 1, bdims, dnnl_f32, dnnl_a);

	dnnl_primitive_attr_t attr = NULL;
	dnnl_post_ops_t ops = NULL;
	dnnl_primitive_desc_t hint = NULL;
	dnnl_primitive_attr_create(&attr);
	dnnl_primitive_attr_set_scratchpad_mode(attr, dnnl_scratchpad_mode_user);
	dnnl_post_ops_create(&ops);
	if (r->sum)
		dnnl_post_ops_append_sum(ops, 1);
	if (r->relu)
		dnnl_post_ops_append_eltwise(ops, 1, dnnl_eltwise_relu, 0, 0);
	dnnl_primitive_attr_set_post_ops(attr, ops);

	dnnl_convolution_desc_t fd, bd;
	vq_status st;
	VQ_TRY_GOTO(st, cpu_dnnl(dnnl_convolution_forward_desc_init(&fd, dnnl_forward_training, dnnl_convolution_direct, &s, &wf,
		r->bias >= 0 ? &b : NULL, &d, stride, pad, far), "convolution_forward"), done);
	VQ_TRY_GOTO(st, cpu_dnnl(dnnl_primitive_desc_create(r->kind == CPU_FORWARD ? out : &hint, &fd, r->kind == CPU_FORWARD ? attr : NULL, p->b->engine, NULL),
		"convolution_forward"), done);
	if (r->kind == CPU_BY_DATA) {
		VQ_TRY_GOTO(st, cpu_dnnl(dnnl_convolution_backward_data_desc_init(&bd, dnnl_convolution_direct, &s, &w, &d, stride, pad, far),
			"convolution_backward_data"), done);
		st = cpu_dnnl(dnnl_primitive_desc_create(out, &bd, attr, p->b->engine, hint), "convolution_backward_data");
	} else if (r->kind == CPU_BY_WEIGHT) {
		VQ_TRY_GOTO(st, cpu_dnnl(dnnl_convolution_backward_weights_desc_init(&bd, dnnl_convolution_direct, &s, &w, NULL, &d, stride, pad, far),
			"convolution_backward_weights"), done);
		st = cpu_dnnl(dnnl_primitive_desc_create(out, &bd, attr, p->b->engine, hint), "convolution_backward_weights");
	}
done:
	dnnl_primitive_desc_destroy(hint);
	dnnl_post_ops_destroy(ops);
	dnnl_primitive_attr_destroy(attr);
	return st;
}

static vq_status reorder(vq_plan *p, dnnl_primitive_t prim, dnnl_memory_t from, dnnl_memory_t to)
{
	dnnl_exec_arg_t args[2] = { { DNNL_ARG_FROM, from }, { DNNL_ARG_TO, to } };
	return cpu_dnnl(dnnl_primitive_execute(prim, p->b->stream, 2, args), "reorder");
}

/* A weight (or its gradient) in the primitive's layout, with the way from or to the flat buffer. */
static vq_status prepare_weight(vq_plan *p, const cpu_conv *r, cpu_node *c, const dnnl_memory_desc_t *want)
{
	const vq_value *src = cpu_v(p, r->src), *dst = cpu_v(p, r->dst), *w = cpu_v(p, r->w);
	dnnl_memory_desc_t plain;
	dnnl_dims_t dims = { dst->c, src->c, want->dims[2], want->dims[3] };
	dnnl_memory_desc_init_by_tag(&plain, 4, dims, dnnl_f32, dnnl_oihw);
	VQ_TRY(cpu_layout_get(p->s, &(cpu_form){ .where = w->where, .param = w->param, .library = *want }, dnnl_memory_desc_get_size(want), &c->w.at));
	VQ_TRY(memory(p, &c->w.mem, want, c->w.at->bytes));
	VQ_TRY(memory(p, &c->w.plain, &plain, cpu_at(p, r->w)));
	return r->kind == CPU_BY_WEIGHT ? make_reorder(p, &c->back, want, &plain, true) : VQ_OK;
}

/* The way into the layout is made when it is first gone: of the plans that share a layout which nobody updates, one needs it. */
static vq_status refresh_weight(vq_plan *p, cpu_node *c)
{
	const dnnl_memory_desc_t *plain, *want;
	if (!c->w.reorder) {
		VQ_TRY(cpu_dnnl(dnnl_memory_get_memory_desc(c->w.plain, &plain), "memory_get_memory_desc"));
		VQ_TRY(cpu_dnnl(dnnl_memory_get_memory_desc(c->w.mem, &want), "memory_get_memory_desc"));
		VQ_TRY(make_reorder(p, &c->w.reorder, plain, want, false));
	}
	VQ_TRY(reorder(p, c->w.reorder, c->w.plain, c->w.mem));
	c->w.at->version = p->s->version;
	return VQ_OK;
}

/* Ours, where they are the faster ones; *taken: it is one of them. */
static vq_status prepare_own(vq_plan *p, const vq_node *n, const cpu_conv *r, cpu_node *c, bool *taken)
{
	const vq_value *src = cpu_v(p, r->src), *dst = cpu_v(p, r->dst);
	bool strip = cpu_strip_takes(p->s, src, dst, r);
	*taken = true;
	if (cpu_head_takes(p->b, src, dst, r) && (n->op == VQ_OP_CONV || n->op == VQ_OP_CONV_WEIGHT))
		return cpu_head_prepare(p, r, c);
	if (!strip && cpu_gather_takes(p->b, src, dst, r))
		return cpu_gather_prepare(p, r, c);
	VQ_TRY(cpu_wino_prepare(p, r, c));
	if (c->wino)
		return cpu_scratch(p, cpu_sums_bytes((size_t)VQ_MAX(src->c, dst->c)));
	if (strip)
		return cpu_strip_prepare(p, r, c);
	*taken = false;
	return VQ_OK;
}

vq_status cpu_conv_prepare(vq_plan *p, const vq_node *n, cpu_node *c)
{
	cpu_conv r = roles_of(n);
	bool taken = false;
	if (cpu_v(p, r.w)->where != VQ_AT_FROZEN) /* the library's layouts alone are made once */
		VQ_TRY(prepare_own(p, n, &r, c, &taken));
	if (taken)
		return VQ_OK;
	dnnl_primitive_desc_t pd = NULL;
	VQ_TRY(describe_conv(p, n, &r, &pd));
	const char *impl = "";
	dnnl_primitive_desc_query(pd, dnnl_query_impl_info_str, 0, &impl);
	snprintf(c->impl, sizeof c->impl, "%s", impl);
	vq_status s = cpu_dnnl(dnnl_primitive_create(&c->prim, pd), "primitive_create");
	dnnl_memory_desc_t sd, dd, bd;
	const dnnl_memory_desc_t *pad = dnnl_primitive_desc_query_md(pd, dnnl_query_scratchpad_md, 0);
	const dnnl_memory_desc_t *want = dnnl_primitive_desc_query_md(pd, r.kind == CPU_BY_WEIGHT ? dnnl_query_diff_weights_md : dnnl_query_weights_md, 0);
	describe(&sd, cpu_v(p, r.src));
	describe(&dd, cpu_v(p, r.dst));
	dnnl_dims_t bdims = { cpu_v(p, r.dst)->c };
	dnnl_memory_desc_init_by_tag(&bd, 1, bdims, dnnl_f32, dnnl_a);
	if (s == VQ_OK)
		s = memory(p, &c->mem[SRC], &sd, NULL);
	if (s == VQ_OK)
		s = memory(p, &c->mem[DST], &dd, NULL);
	if (s == VQ_OK && r.bias >= 0)
		s = memory(p, &c->mem[BIAS], &bd, NULL);
	if (s == VQ_OK)
		s = memory(p, &c->mem[PAD], pad, NULL);
	if (s == VQ_OK)
		s = cpu_scratch(p, VQ_MAX(dnnl_memory_desc_get_size(pad), cpu_sums_bytes((size_t)VQ_MAX(sd.dims[1], dd.dims[1]))));
	if (s == VQ_OK)
		s = prepare_weight(p, &r, c, want);
	dnnl_primitive_desc_destroy(pd);
	return s;
}

/* Points the memories at where this run's arena is. */
static void bind(vq_plan *p, const cpu_conv *r, cpu_node *c)
{
	dnnl_memory_set_data_handle(c->mem[SRC], cpu_at(p, r->src));
	dnnl_memory_set_data_handle(c->mem[DST], cpu_at(p, r->dst));
	dnnl_memory_set_data_handle(c->mem[PAD], p->scratch);
	if (c->mem[BIAS])
		dnnl_memory_set_data_handle(c->mem[BIAS], cpu_at(p, r->bias));
}

static vq_status library_run(vq_plan *p, const cpu_conv *r, cpu_node *c)
{
	bind(p, r, c);
	cpu_layout *l = c->w.at;
	if (!l->version || (l->version != p->s->version && l->form.where != VQ_AT_FROZEN))
		VQ_TRY(refresh_weight(p, c));
	bool forward = r->kind == CPU_FORWARD;
	dnnl_exec_arg_t args[5] = {
		{ forward ? DNNL_ARG_SRC : DNNL_ARG_DIFF_SRC, c->mem[SRC] },
		{ DNNL_ARG_WEIGHTS, c->w.mem },
		{ forward ? DNNL_ARG_DST : DNNL_ARG_DIFF_DST, c->mem[DST] },
		{ DNNL_ARG_SCRATCHPAD, c->mem[PAD] },
		{ DNNL_ARG_BIAS, c->mem[BIAS] },
	};
	VQ_TRY(cpu_dnnl(dnnl_primitive_execute(c->prim, p->b->stream, c->mem[BIAS] ? 5 : 4, args), "convolution"));
	return VQ_OK;
}

vq_status cpu_conv_run(vq_plan *p, const vq_node *n, cpu_node *c)
{
	cpu_conv r = roles_of(n);
	if (c->head) {
		cpu_head_run(p, &r, c);
		return VQ_OK;
	}
	if (c->strip) {
		cpu_strip_run(p, &r, c);
		return VQ_OK;
	}
	if (c->wino || c->gather) {
		if (n->op == VQ_OP_DECONV) {
			r.bias = n->in[2];
			r.relu = n->act == VQ_FN_RELU; /* the builder gives no others */
		}
		(c->wino ? cpu_wino_run : cpu_gather_run)(p, &r, c);
		return VQ_OK;
	}
	VQ_TRY(library_run(p, &r, c));
	if (n->op == VQ_OP_DECONV && (n->in[2] >= 0 || n->act != VQ_FN_NONE))
		cpu_bias_act(p, n->out[0], cpu_at(p, n->in[2]), n->act);
	return VQ_OK;
}

vq_status cpu_conv_weight_run(vq_plan *p, const vq_node *n, cpu_node *c)
{
	cpu_conv r = roles_of(n);
	if (c->head) {
		cpu_head_weight_run(p, &r, c, cpu_at(p, n->out[1]));
		return VQ_OK;
	}
	if (c->wino) {
		bool fused = n->op == VQ_OP_CONV_WEIGHT && n->k == 3; /* a transposed one's bias is on its other side */
		cpu_wino_weight_run(p, &r, c, fused ? cpu_at(p, n->out[1]) : NULL);
		if (n->out[1] >= 0 && !fused)
			cpu_bias_grad(p, n->in[1], cpu_at(p, n->out[1]));
		return VQ_OK;
	}
	if (c->gather) {
		cpu_gather_weight_run(p, &r, c);
		if (n->out[1] >= 0)
			cpu_bias_grad(p, n->in[1], cpu_at(p, n->out[1]));
		return VQ_OK;
	}
	bind(p, &r, c);
	dnnl_exec_arg_t args[4] = {
		{ DNNL_ARG_SRC, c->mem[SRC] },
		{ DNNL_ARG_DIFF_DST, c->mem[DST] },
		{ DNNL_ARG_DIFF_WEIGHTS, c->w.mem },
		{ DNNL_ARG_SCRATCHPAD, c->mem[PAD] },
	};
	VQ_TRY(cpu_dnnl(dnnl_primitive_execute(c->prim, p->b->stream, 4, args), "convolution by weights"));
	VQ_TRY(reorder(p, c->back, c->w.mem, c->w.plain));
	if (n->out[1] >= 0)
		cpu_bias_grad(p, n->in[1], cpu_at(p, n->out[1]));
	return VQ_OK;
}
