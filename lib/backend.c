#include "lib/backend.h"

static const char *const names[VQ_OPS] = {
	[VQ_OP_CONV] = "conv", [VQ_OP_CONV_DATA] = "conv_data", [VQ_OP_CONV_WEIGHT] = "conv_weight", [VQ_OP_DECONV] = "deconv",
	[VQ_OP_DECONV_DATA] = "deconv_data", [VQ_OP_DECONV_WEIGHT] = "deconv_weight", [VQ_OP_ACT] = "act", [VQ_OP_ACT_BWD] = "act_bwd",
	[VQ_OP_ADD] = "add", [VQ_OP_CLEAR] = "clear", [VQ_OP_CAST] = "cast", [VQ_OP_NORM] = "norm", [VQ_OP_NORM_BWD] = "norm_bwd",
	[VQ_OP_LINEAR] = "linear", [VQ_OP_LINEAR_DATA] = "linear_data", [VQ_OP_LINEAR_WEIGHT] = "linear_weight", [VQ_OP_FLATTEN] = "flatten",
	[VQ_OP_UNFLATTEN] = "unflatten", [VQ_OP_POOL] = "pool", [VQ_OP_POOL_BWD] = "pool_bwd", [VQ_OP_RESIZE] = "resize",
	[VQ_OP_RESIZE_BWD] = "resize_bwd", [VQ_OP_ATTENTION] = "attention", [VQ_OP_ATTENTION_BWD] = "attention_bwd", [VQ_OP_GATE] = "gate",
	[VQ_OP_GATE_BWD] = "gate_bwd", [VQ_OP_DROPOUT] = "dropout", [VQ_OP_DROPOUT_BWD] = "dropout_bwd", [VQ_OP_QUANTIZE] = "quantize", [VQ_OP_LOOKUP] = "lookup",
	[VQ_OP_QUANTIZE_BWD] = "quantize_bwd", [VQ_OP_CODEBOOK_BWD] = "codebook_bwd", [VQ_OP_EMA_SUM] = "ema_sum", [VQ_OP_EMA_UPDATE] = "ema_update",
	[VQ_OP_RESIDUAL] = "residual", [VQ_OP_LOSS] = "loss", [VQ_OP_COLOURS] = "colours", [VQ_OP_COLOURS_BWD] = "colours_bwd",
	[VQ_OP_MAXPOOL] = "maxpool", [VQ_OP_MAXPOOL_BWD] = "maxpool_bwd", [VQ_OP_FEATURES] = "features", [VQ_OP_OPTIMIZE] = "optimize",
};

const char *vq_op_name(vq_op op) { return (unsigned)op < VQ_OPS && names[op] ? names[op] : "?"; }

vq_status vq_store_range(const vq_params *params, bool there, vq_buf_kind kind, size_t offset, size_t count)
{
	size_t size = params->sizes[kind != VQ_BUF_STATE];
	if (!there || offset > size || count > size - offset)
		return vq_fail(VQ_EINVAL, "a store has no buffer %d of %zu floats at %zu", (int)kind, count, offset);
	return VQ_OK;
}
