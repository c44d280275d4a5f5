#include "lib/image/window.h"

vq_status vq_window_check(const vq_tensor *t, vq_window w)
{
	if (t->ndim < 2)
		return vq_fail(VQ_EINVAL, "an image needs two axes or more, not %d", t->ndim);
	int64_t h = t->shape[t->ndim - 2], wide = t->shape[t->ndim - 1];
	if (w.h < 1 || w.w < 1)
		return vq_fail(VQ_EINVAL, "an image without pixels");
	if (w.top < 0 || w.left < 0 || w.h > h || w.w > wide || w.top > h - w.h || w.left > wide - w.w)
		return vq_fail(VQ_EINVAL, "rows %lld+%lld, columns %lld+%lld do not lie within %lld x %lld pixels", (long long)w.top,
			(long long)w.h, (long long)w.left, (long long)w.w, (long long)h, (long long)wide);
	return VQ_OK;
}
