/* family: what the model builders of lib/model share; not for others. */
#ifndef VQ_FAMILY_H
#define VQ_FAMILY_H

#include "lib/model/graph.h"
#include "lib/model/model.h"

typedef struct {
	vq_builder *b;
	const vq_config *c;
	const vq_model_info *info;
	vq_graph_kind kind;
	vq_model_io *io;
	vq_act act;
} vq_family;

vq_status vq_codes_describe(const vq_config *c, vq_model_info *info);
void vq_codes_build(vq_family *f, vq_canvas canvas);

#endif
