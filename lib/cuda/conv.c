/* Convolutions by cuDNN's backend API: one operation a graph, NHWC, the first engine that is deterministic and keeps the precision. A
 * transposed convolution is a convolution with its roles swapped, as in lib/cpu/conv.c. */
#include "lib/cuda/cuda.h"

#include <stdio.h>
#include <string.h>

typedef cudnnBackendDescriptor_t desc;
enum { UID_X = 1, UID_W, UID_Y, UID_SUMS, ENGINES = 64, NOTES = 16 };
static const size_t workspace_most = (size_t)1 << 28;

vq_status cuda_dnn(cudnnStatus_t s, const char *what)
{
	if (s == CUDNN_STATUS_SUCCESS)
		return VQ_OK;
	char why[256] = "";
	cudnnGetLastErrorString(why, sizeof why);
	why[strcspn(why, "\n")] = 0;
	vq_status st = s == CUDNN_STATUS_ALLOC_FAILED ? VQ_ENOMEM : CUDNN_STATUS_CATEGORY(s) == CUDNN_STATUS_NOT_SUPPORTED ? VQ_EUNSUP : VQ_EBACKEND;
	return vq_fail(st, "cuDNN: %s: %s%s%s", what, cudnnGetErrorString(s), *why ? ": " : "", why);
}

static void drop(desc *d)
{
	if (*d)
		cudnnBackendDestroyDescriptor(*d);
	*d = NULL;
}

#if CUDNN_VERSION < 90800 /* knows no descriptions of devices; nobody has one to give then */
enum { CUDNN_ATTR_ENGINEHEUR_DEVICEPROP = 204, CUDNN_ATTR_EXECUTION_PLAN_DEVICEPROP = 407 };
#endif

static vq_status set(desc d, cudnnBackendAttributeName_t name, cudnnBackendAttributeType_t type, int64_t n, const void *v, const char *what)
{
	return cuda_dnn(cudnnBackendSetAttribute(d, name, type, n, v), what);
}

static vq_status make(desc *d, cudnnBackendDescriptorType_t type, const char *what) { return cuda_dnn(cudnnBackendCreateDescriptor(type, d), what); }
static vq_status finish(desc d, const char *what) { return cuda_dnn(cudnnBackendFinalize(d), what); }

static cudnnDataType_t type_of(vq_dtype t) { return t == VQ_BF16 ? CUDNN_DATA_BFLOAT16 : CUDNN_DATA_FLOAT; }

/* Dimensions in the order n, c, h, w, whatever lies in memory in the order n, h, w, c. */
static vq_status tensor(desc *d, int64_t uid, vq_dtype t, int n, int c, int h, int w)
{
	int64_t dims[4] = { n, c, h, w }, strides[4] = { (int64_t)h * w * c, 1, (int64_t)w * c, c }, align = 16;
	cudnnDataType_t type = type_of(t);
	VQ_TRY(make(d, CUDNN_BACKEND_TENSOR_DESCRIPTOR, "tensor"));
	VQ_TRY(set(*d, CUDNN_ATTR_TENSOR_DATA_TYPE, CUDNN_TYPE_DATA_TYPE, 1, &type, "tensor type"));
	VQ_TRY(set(*d, CUDNN_ATTR_TENSOR_DIMENSIONS, CUDNN_TYPE_INT64, 4, dims, "tensor dimensions"));
	VQ_TRY(set(*d, CUDNN_ATTR_TENSOR_STRIDES, CUDNN_TYPE_INT64, 4, strides, "tensor strides"));
	VQ_TRY(set(*d, CUDNN_ATTR_TENSOR_UNIQUE_ID, CUDNN_TYPE_INT64, 1, &uid, "tensor id"));
	VQ_TRY(set(*d, CUDNN_ATTR_TENSOR_BYTE_ALIGNMENT, CUDNN_TYPE_INT64, 1, &align, "tensor alignment"));
	if (uid == UID_SUMS) {
		bool yes = true;
		VQ_TRY(set(*d, CUDNN_ATTR_TENSOR_IS_VIRTUAL, CUDNN_TYPE_BOOLEAN, 1, &yes, "tensor of sums"));
	}
	return finish(*d, "tensor");
}

static vq_status convolution(desc *d, const cuda_conv_spec *s)
{
	int64_t two = 2, dilation[2] = { 1, 1 }, stride[2] = { s->stride, s->stride }, pad[2] = { s->pad, s->pad };
	cudnnDataType_t compute = CUDNN_DATA_FLOAT;
	cudnnConvolutionMode_t mode = CUDNN_CROSS_CORRELATION;
	VQ_TRY(make(d, CUDNN_BACKEND_CONVOLUTION_DESCRIPTOR, "convolution"));
	VQ_TRY(set(*d, CUDNN_ATTR_CONVOLUTION_COMP_TYPE, CUDNN_TYPE_DATA_TYPE, 1, &compute, "convolution type"));
	VQ_TRY(set(*d, CUDNN_ATTR_CONVOLUTION_CONV_MODE, CUDNN_TYPE_CONVOLUTION_MODE, 1, &mode, "convolution mode"));
	VQ_TRY(set(*d, CUDNN_ATTR_CONVOLUTION_SPATIAL_DIMS, CUDNN_TYPE_INT64, 1, &two, "convolution dimensions"));
	VQ_TRY(set(*d, CUDNN_ATTR_CONVOLUTION_DILATIONS, CUDNN_TYPE_INT64, 2, dilation, "convolution dilation"));
	VQ_TRY(set(*d, CUDNN_ATTR_CONVOLUTION_FILTER_STRIDES, CUDNN_TYPE_INT64, 2, stride, "convolution stride"));
	VQ_TRY(set(*d, CUDNN_ATTR_CONVOLUTION_PRE_PADDINGS, CUDNN_TYPE_INT64, 2, pad, "convolution padding"));
	VQ_TRY(set(*d, CUDNN_ATTR_CONVOLUTION_POST_PADDINGS, CUDNN_TYPE_INT64, 2, pad, "convolution padding"));
	return finish(*d, "convolution");
}

static const struct {
	cudnnBackendDescriptorType_t type;
	cudnnBackendAttributeName_t conv, x, w, y, alpha, beta;
} names[] = {
	[CUDA_FORWARD] = { CUDNN_BACKEND_OPERATION_CONVOLUTION_FORWARD_DESCRIPTOR, CUDNN_ATTR_OPERATION_CONVOLUTION_FORWARD_CONV_DESC,
		CUDNN_ATTR_OPERATION_CONVOLUTION_FORWARD_X, CUDNN_ATTR_OPERATION_CONVOLUTION_FORWARD_W, CUDNN_ATTR_OPERATION_CONVOLUTION_FORWARD_Y,
		CUDNN_ATTR_OPERATION_CONVOLUTION_FORWARD_ALPHA, CUDNN_ATTR_OPERATION_CONVOLUTION_FORWARD_BETA },
	[CUDA_BY_DATA] = { CUDNN_BACKEND_OPERATION_CONVOLUTION_BACKWARD_DATA_DESCRIPTOR, CUDNN_ATTR_OPERATION_CONVOLUTION_BWD_DATA_CONV_DESC,
		CUDNN_ATTR_OPERATION_CONVOLUTION_BWD_DATA_DX, CUDNN_ATTR_OPERATION_CONVOLUTION_BWD_DATA_W, CUDNN_ATTR_OPERATION_CONVOLUTION_BWD_DATA_DY,
		CUDNN_ATTR_OPERATION_CONVOLUTION_BWD_DATA_ALPHA, CUDNN_ATTR_OPERATION_CONVOLUTION_BWD_DATA_BETA },
	[CUDA_BY_FILTER] = { CUDNN_BACKEND_OPERATION_CONVOLUTION_BACKWARD_FILTER_DESCRIPTOR, CUDNN_ATTR_OPERATION_CONVOLUTION_BWD_FILTER_CONV_DESC,
		CUDNN_ATTR_OPERATION_CONVOLUTION_BWD_FILTER_X, CUDNN_ATTR_OPERATION_CONVOLUTION_BWD_FILTER_DW, CUDNN_ATTR_OPERATION_CONVOLUTION_BWD_FILTER_DY,
		CUDNN_ATTR_OPERATION_CONVOLUTION_BWD_FILTER_ALPHA, CUDNN_ATTR_OPERATION_CONVOLUTION_BWD_FILTER_BETA },
};

static vq_status operation(desc *op, const cuda_conv_spec *s, desc x, desc w, desc y, desc conv)
{
	float one = 1, zero = 0;
	VQ_TRY(make(op, names[s->kind].type, "operation"));
	VQ_TRY(set(*op, names[s->kind].conv, CUDNN_TYPE_BACKEND_DESCRIPTOR, 1, &conv, "operation convolution"));
	VQ_TRY(set(*op, names[s->kind].x, CUDNN_TYPE_BACKEND_DESCRIPTOR, 1, &x, "operation image"));
	VQ_TRY(set(*op, names[s->kind].w, CUDNN_TYPE_BACKEND_DESCRIPTOR, 1, &w, "operation filter"));
	VQ_TRY(set(*op, names[s->kind].y, CUDNN_TYPE_BACKEND_DESCRIPTOR, 1, &y, "operation features"));
	VQ_TRY(set(*op, names[s->kind].alpha, CUDNN_TYPE_FLOAT, 1, &one, "operation alpha"));
	VQ_TRY(set(*op, names[s->kind].beta, CUDNN_TYPE_FLOAT, 1, &zero, "operation beta"));
	return finish(*op, "operation");
}

/* What follows a convolution whose sums are to be written as they are: engines for bf16 write bf16 else. */
static vq_status widening(desc *op, desc sums, desc out)
{
	desc mode = NULL;
	cudnnPointwiseMode_t identity = CUDNN_POINTWISE_IDENTITY;
	cudnnDataType_t type = CUDNN_DATA_FLOAT;
	vq_status st;
	VQ_TRY(make(&mode, CUDNN_BACKEND_POINTWISE_DESCRIPTOR, "pointwise"));
	VQ_TRY_GOTO(st, set(mode, CUDNN_ATTR_POINTWISE_MODE, CUDNN_TYPE_POINTWISE_MODE, 1, &identity, "pointwise mode"), done);
	VQ_TRY_GOTO(st, set(mode, CUDNN_ATTR_POINTWISE_MATH_PREC, CUDNN_TYPE_DATA_TYPE, 1, &type, "pointwise type"), done);
	VQ_TRY_GOTO(st, finish(mode, "pointwise"), done);
	VQ_TRY_GOTO(st, make(op, CUDNN_BACKEND_OPERATION_POINTWISE_DESCRIPTOR, "pointwise operation"), done);
	VQ_TRY_GOTO(st, set(*op, CUDNN_ATTR_OPERATION_POINTWISE_PW_DESCRIPTOR, CUDNN_TYPE_BACKEND_DESCRIPTOR, 1, &mode, "pointwise operation"), done);
	VQ_TRY_GOTO(st, set(*op, CUDNN_ATTR_OPERATION_POINTWISE_XDESC, CUDNN_TYPE_BACKEND_DESCRIPTOR, 1, &sums, "pointwise input"), done);
	VQ_TRY_GOTO(st, set(*op, CUDNN_ATTR_OPERATION_POINTWISE_YDESC, CUDNN_TYPE_BACKEND_DESCRIPTOR, 1, &out, "pointwise output"), done);
	st = finish(*op, "pointwise operation");
done:
	drop(&mode);
	return st;
}

/* One of x, w and y is the output; where its type is another than the inputs', what the convolution writes is a tensor that is nowhere. */
vq_status cuda_conv_graph(const cuda_conv_spec *s, cudnnHandle_t handle, cudnnBackendDescriptor_t *graph)
{
	desc part[3] = {0}, sums = NULL, conv = NULL, op[2] = {0};
	int out = s->kind == CUDA_FORWARD ? 2 : s->kind == CUDA_BY_DATA ? 0 : 1;
	const int dims[3][4] = { { s->n, s->c, s->h, s->w }, { s->k, s->c, s->size, s->size }, { s->n, s->k, s->p, s->q } };
	bool widen = s->out != s->t;
	vq_status st;
	*graph = NULL;
	for (int i = 0; i < 3; i++)
		VQ_TRY_GOTO(st, tensor(&part[i], UID_X + i, i == out ? s->out : s->t, dims[i][0], dims[i][1], dims[i][2], dims[i][3]), done);
	if (widen)
		VQ_TRY_GOTO(st, tensor(&sums, UID_SUMS, VQ_F32, dims[out][0], dims[out][1], dims[out][2], dims[out][3]), done);
	VQ_TRY_GOTO(st, convolution(&conv, s), done);
	VQ_TRY_GOTO(st, operation(&op[0], s, widen && out == 0 ? sums : part[0], widen && out == 1 ? sums : part[1], widen && out == 2 ? sums : part[2], conv), done);
	if (widen)
		VQ_TRY_GOTO(st, widening(&op[1], sums, part[out]), done);
	VQ_TRY_GOTO(st, make(graph, CUDNN_BACKEND_OPERATIONGRAPH_DESCRIPTOR, "operation graph"), done);
	if (handle)
		VQ_TRY_GOTO(st, set(*graph, CUDNN_ATTR_OPERATIONGRAPH_HANDLE, CUDNN_TYPE_HANDLE, 1, &handle, "operation graph handle"), done);
	VQ_TRY_GOTO(st, set(*graph, CUDNN_ATTR_OPERATIONGRAPH_OPS, CUDNN_TYPE_BACKEND_DESCRIPTOR, 1 + widen, op, "operation graph operations"), done);
	st = finish(*graph, "operation graph");
done:
	for (int i = 0; i < 3; i++)
		drop(&part[i]);
	for (int i = 0; i < 2; i++)
		drop(&op[i]);
	drop(&sums);
	drop(&conv);
	if (st < 0)
		drop(graph);
	return st;
}

/* --- engines ------------------------------------------------------------------------------------------------------- */

enum { NOTE_BITS = 32 };
static unsigned note_bit(cudnnBackendNumericalNote_t n) { return 1u << n; }

/* false also for a note that has no bit: of a later cuDNN, and who knows what it says. */
static bool read_notes(desc engine, unsigned *notes)
{
	cudnnBackendNumericalNote_t note[NOTES];
	int64_t n = 0;
	*notes = 0;
	if (cudnnBackendGetAttribute(engine, CUDNN_ATTR_ENGINE_NUMERICAL_NOTE, CUDNN_TYPE_NUMERICAL_NOTE, NOTES, &n, note) != CUDNN_STATUS_SUCCESS)
		return false;
	for (int64_t i = 0; i < VQ_MIN(n, (int64_t)NOTES); i++) {
		if ((unsigned)note[i] >= NOTE_BITS)
			return false;
		*notes |= note_bit(note[i]);
	}
	return true;
}

/* Deterministic, and no sums rounded to bf16 on the way; the large Winograd tiles lose bits too. Tensor cores round f32 to TF32. */
static bool engine_suits(unsigned notes, vq_dtype t)
{
	unsigned bad = note_bit(CUDNN_NUMERICAL_NOTE_NONDETERMINISTIC) | note_bit(CUDNN_NUMERICAL_NOTE_DOWN_CONVERT_INPUTS) |
		note_bit(CUDNN_NUMERICAL_NOTE_REDUCED_PRECISION_REDUCTION) | note_bit(CUDNN_NUMERICAL_NOTE_FFT) |
		note_bit(CUDNN_NUMERICAL_NOTE_WINOGRAD_TILE_6x6) | note_bit(CUDNN_NUMERICAL_NOTE_WINOGRAD_TILE_13x13);
	if (t == VQ_F32)
		bad |= note_bit(CUDNN_NUMERICAL_NOTE_TENSOR_CORE);
	return !(notes & bad);
}

static bool config_suits(desc config, vq_dtype t, cuda_conv *c)
{
	desc engine = NULL;
	int64_t n = 0, index = -1;
	bool suits = make(&engine, CUDNN_BACKEND_ENGINE_DESCRIPTOR, "engine") == VQ_OK &&
		cudnnBackendGetAttribute(config, CUDNN_ATTR_ENGINECFG_ENGINE, CUDNN_TYPE_BACKEND_DESCRIPTOR, 1, &n, &engine) == CUDNN_STATUS_SUCCESS &&
		read_notes(engine, &c->notes) && engine_suits(c->notes, t);
	if (suits && cudnnBackendGetAttribute(engine, CUDNN_ATTR_ENGINE_GLOBAL_INDEX, CUDNN_TYPE_INT64, 1, &n, &index) == CUDNN_STATUS_SUCCESS)
		snprintf(c->name, sizeof c->name, "engine %d", (int)index);
	drop(&engine);
	return suits;
}

static vq_status plan_of(desc config, cudnnHandle_t handle, desc device, cuda_conv *c)
{
	int64_t n = 0, bytes = 0;
	vq_status st;
	VQ_TRY(make(&c->plan, CUDNN_BACKEND_EXECUTION_PLAN_DESCRIPTOR, "execution plan"));
	VQ_TRY_GOTO(st, set(c->plan, CUDNN_ATTR_EXECUTION_PLAN_ENGINE_CONFIG, CUDNN_TYPE_BACKEND_DESCRIPTOR, 1, &config, "execution plan engine"), fail);
	if (device)
		st = set(c->plan, CUDNN_ATTR_EXECUTION_PLAN_DEVICEPROP, CUDNN_TYPE_BACKEND_DESCRIPTOR, 1, &device, "execution plan device");
	else
		st = set(c->plan, CUDNN_ATTR_EXECUTION_PLAN_HANDLE, CUDNN_TYPE_HANDLE, 1, &handle, "execution plan handle");
	if (st < 0)
		goto fail;
	VQ_TRY_GOTO(st, finish(c->plan, "execution plan"), fail);
	VQ_TRY_GOTO(st, cuda_dnn(cudnnBackendGetAttribute(c->plan, CUDNN_ATTR_EXECUTION_PLAN_WORKSPACE_SIZE, CUDNN_TYPE_INT64, 1, &n, &bytes),
		"execution plan workspace"), fail);
	c->workspace = (size_t)VQ_MAX(bytes, 0);
	if (c->workspace <= workspace_most)
		return VQ_OK;
	st = vq_fail(VQ_EUNSUP, "cuDNN: an engine wants %zu bytes of workspace", c->workspace);
fail:
	drop(&c->plan);
	return st;
}

/* The first of n that suits and gives a plan. VQ_EUNSUP when there is none: an engine may want a library or a driver that is not there, which
 * is no reason not to take another; the last of such reasons is told. */
static vq_status first_of(const desc *config, int64_t n, vq_dtype t, cudnnHandle_t handle, desc device, cuda_conv *c)
{
	char why[256] = "";
	int suits = 0;
	for (int64_t i = 0; i < n; i++) {
		if (!config_suits(config[i], t, c))
			continue;
		vq_status st = plan_of(config[i], handle, device, c);
		if (st == VQ_OK || st == VQ_ENOMEM)
			return st;
		snprintf(why, sizeof why, "; the last: %s", vq_message());
		suits++;
	}
	return vq_fail(VQ_EUNSUP, "cuDNN: of %d engines %d are deterministic and exact, and none of these works in %zu MiB%s", (int)n, suits, workspace_most >> 20, why);
}

/* By one ranking. */
static vq_status pick(cudnnBackendHeurMode_t mode, vq_dtype t, cudnnHandle_t handle, desc device, cuda_conv *c)
{
	desc heur = NULL, config[ENGINES] = {0};
	int64_t n = 0, made = 0;
	vq_status st;
	VQ_TRY(make(&heur, CUDNN_BACKEND_ENGINEHEUR_DESCRIPTOR, "heuristics"));
	VQ_TRY_GOTO(st, set(heur, CUDNN_ATTR_ENGINEHEUR_OPERATION_GRAPH, CUDNN_TYPE_BACKEND_DESCRIPTOR, 1, &c->graph, "heuristics graph"), done);
	VQ_TRY_GOTO(st, set(heur, CUDNN_ATTR_ENGINEHEUR_MODE, CUDNN_TYPE_HEUR_MODE, 1, &mode, "heuristics mode"), done);
	if (device)
		VQ_TRY_GOTO(st, set(heur, CUDNN_ATTR_ENGINEHEUR_DEVICEPROP, CUDNN_TYPE_BACKEND_DESCRIPTOR, 1, &device, "heuristics device"), done);
	VQ_TRY_GOTO(st, finish(heur, "heuristics"), done);
	for (; made < ENGINES; made++)
		VQ_TRY_GOTO(st, make(&config[made], CUDNN_BACKEND_ENGINECFG_DESCRIPTOR, "engine configuration"), done);
	VQ_TRY_GOTO(st, cuda_dnn(cudnnBackendGetAttribute(heur, CUDNN_ATTR_ENGINEHEUR_RESULTS, CUDNN_TYPE_BACKEND_DESCRIPTOR, ENGINES, &n, config),
		"heuristics results"), done);
	st = first_of(config, VQ_MIN(n, (int64_t)ENGINES), t, handle, device, c);
done:
	for (int64_t i = 0; i < made; i++)
		drop(&config[i]);
	drop(&heur);
	return st;
}

vq_status cuda_conv_make(const cuda_conv_spec *s, cudnnHandle_t handle, cudnnBackendDescriptor_t device, cuda_conv *out)
{
	static const cudnnBackendHeurMode_t modes[] = { CUDNN_HEUR_MODE_A, CUDNN_HEUR_MODE_FALLBACK };
	*out = (cuda_conv){0};
	vq_status st = cuda_conv_graph(s, handle, &out->graph);
	if (st < 0)
		return st;
	st = VQ_EUNSUP;
	for (size_t i = 0; i < VQ_COUNT(modes) && st == VQ_EUNSUP; i++)
		st = pick(modes[i], s->t, handle, device, out);
	if (st < 0) {
		cuda_conv_drop(out);
		return vq_context(st, "convolution %dx%d/%d of [%d,%d,%d,%d] and %d features", s->size, s->size, s->stride, s->n, s->h, s->w, s->c, s->k);
	}
	return VQ_OK;
}

vq_status cuda_conv_run(cudnnHandle_t handle, const cuda_conv *c, void *x, void *w, void *y, void *workspace)
{
	desc pack = NULL;
	int64_t uid[3] = { UID_X, UID_W, UID_Y };
	void *at[3] = { x, w, y };
	vq_status st;
	VQ_TRY(make(&pack, CUDNN_BACKEND_VARIANT_PACK_DESCRIPTOR, "variant pack"));
	VQ_TRY_GOTO(st, set(pack, CUDNN_ATTR_VARIANT_PACK_UNIQUE_IDS, CUDNN_TYPE_INT64, 3, uid, "variant pack ids"), done);
	VQ_TRY_GOTO(st, set(pack, CUDNN_ATTR_VARIANT_PACK_DATA_POINTERS, CUDNN_TYPE_VOID_PTR, 3, at, "variant pack pointers"), done);
	VQ_TRY_GOTO(st, set(pack, CUDNN_ATTR_VARIANT_PACK_WORKSPACE, CUDNN_TYPE_VOID_PTR, 1, &workspace, "variant pack workspace"), done);
	VQ_TRY_GOTO(st, finish(pack, "variant pack"), done);
	st = cuda_dnn(cudnnBackendExecute(handle, c->plan, pack), "execute");
done:
	drop(&pack);
	return st;
}

void cuda_conv_drop(cuda_conv *c)
{
	drop(&c->plan);
	drop(&c->graph);
	c->workspace = 0;
}
