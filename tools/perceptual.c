#include "tools/perceptual.h"

#include <stdlib.h>
#include <string.h>

#include "formats/safetensors.h"

static bool tensor_shape(void *ctx, const char *tensor, int *ndim, int64_t *shape)
{
	const vq_st_info *i = vq_st_find(ctx, tensor);
	if (!i)
		return false;
	*ndim = i->ndim;
	memcpy(shape, i->shape, sizeof *shape * (size_t)VQ_MIN(i->ndim, 4));
	return true;
}

static vq_status tensor_read(void *ctx, const char *tensor, int ndim, const int64_t *shape, float *to)
{
	vq_tensor t;
	VQ_TRY(vq_st_f32(ctx, tensor, ndim, shape, &t));
	size_t n = 1;
	for (int i = 0; i < ndim; i++)
		n *= (size_t)shape[i];
	memcpy(to, t.data, n * sizeof *to);
	vq_tensor_free(&t);
	return VQ_OK;
}

static vq_status open_weights(vq_weights *w, const char *path)
{
	vq_st *st;
	VQ_TRY(vq_st_open(&st, path));
	*w = (vq_weights){ st, path, tensor_shape, tensor_read };
	return VQ_OK;
}

static vq_status load(vq_perceptual *p, const vq_config *c)
{
	vq_weights weights = {0}, heads = {0};
	bool headed = *c->perceptual_heads;
	vq_status s = open_weights(&weights, c->perceptual_file);
	if (s == VQ_OK && headed)
		s = open_weights(&heads, c->perceptual_heads);
	if (s == VQ_OK)
		s = vq_perceptual_make(p, c, &weights, headed ? &heads : NULL);
	vq_st_close(weights.ctx);
	vq_st_close(heads.ctx);
	return s;
}

vq_status vq_perceptual_load(vq_perceptual *p, const vq_config *c)
{
	char net[32], last[64];
	if (!c->use_perceptual_loss)
		return VQ_OK;
	if (!*c->perceptual_file)
		return vq_fail(VQ_EINVAL, "use_perceptual_loss is on, but perceptual_file names no weights: save the features of torchvision's %s, up to %s, as a "
			"safetensors file and give --set perceptual_file=FILE, or switch the loss off with --set use_perceptual_loss=false",
			vq_config_name("perceptual_net", c->perceptual_net, net), vq_perceptual_last(c, last));
	vq_status s = load(p, c);
	if (s == VQ_OK)
		return VQ_OK;
	char *why = vq_strdup(vq_message());
	if (why)
		vq_fail(s, "perceptual loss: %s; --set use_perceptual_loss=false switches it off", why);
	free(why);
	return s;
}
