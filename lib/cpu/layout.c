/* Weights and codebooks in the layouts that operations want, shared by all plans of a store: many plans differ in the size of their canvases alone. */
#include <stdlib.h>
#include <string.h>

#include "lib/cpu/cpu.h"

static bool same(const cpu_form *a, const cpu_form *b)
{
	return a->where == b->where && a->param == b->param && a->who == b->who && a->turned == b->turned &&
		(a->who || dnnl_memory_desc_equal(&a->library, &b->library));
}

vq_status cpu_layout_get(vq_store *s, const cpu_form *f, size_t bytes, cpu_layout **out)
{
	for (cpu_layout *l = s->layouts; l; l = l->next)
		if (same(&l->form, f)) {
			l->users++;
			*out = l;
			return VQ_OK;
		}
	cpu_layout *l = vq_calloc(1, sizeof *l);
	if (!l || !(l->bytes = vq_aligned(bytes))) {
		free(l);
		return VQ_ENOMEM;
	}
	memset(l->bytes, 0, bytes);
	l->form = *f;
	l->users = 1;
	l->next = s->layouts;
	s->layouts = l;
	*out = l;
	return VQ_OK;
}

void cpu_layout_drop(vq_store *s, cpu_layout *l)
{
	if (!l || --l->users)
		return;
	for (cpu_layout **at = &s->layouts; *at; at = &(*at)->next)
		if (*at == l) {
			*at = l->next;
			break;
		}
	free(l->bytes);
	free(l);
}
