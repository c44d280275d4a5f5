/* perceptual: the frozen network of the perceptual loss, from the files that a configuration names. */
#ifndef VQ_TOOLS_PERCEPTUAL_H
#define VQ_TOOLS_PERCEPTUAL_H

#include "lib/model/perceptual.h"

/* Zero *p first; it stays empty when use_perceptual_loss is off. An error says which file has to be where and how to do without. */
vq_status vq_perceptual_load(vq_perceptual *p, const vq_config *c);

#endif
