#include "lib/eval/names.h"

#include <stdlib.h>
#include <string.h>

static uint64_t hash_of(const char *s)
{
	uint64_t h = 0xcbf29ce484222325u; /* FNV-1a */
	for (; *s; s++)
		h = (h ^ (uint8_t)*s) * 0x100000001b3u;
	return h;
}

static size_t slot_of(const vq_names *s, const char *name)
{
	const size_t mask = 2 * s->cap - 1;
	size_t at = hash_of(name) & mask;
	while (s->table[at] && strcmp(s->name[s->table[at] - 1], name))
		at = (at + 1) & mask;
	return at;
}

static vq_status grow(vq_names *s)
{
	size_t cap = s->cap ? 2 * s->cap : 64;
	char **name = vq_realloc(s->name, cap * sizeof *name);
	if (!name)
		return VQ_ENOMEM;
	s->name = name;
	size_t *table = vq_calloc(2 * cap, sizeof *table);
	if (!table)
		return VQ_ENOMEM;
	free(s->table);
	s->table = table;
	s->cap = cap;
	for (size_t i = 0; i < s->n; i++)
		s->table[slot_of(s, s->name[i])] = i + 1;
	return VQ_OK;
}

vq_status vq_names_find(vq_names *s, const char *name, size_t *index)
{
	size_t at = s->cap ? slot_of(s, name) : 0;
	if (s->cap && s->table[at]) {
		*index = s->table[at] - 1;
		return VQ_OK;
	}
	if (s->n == s->cap) {
		VQ_TRY(grow(s));
		at = slot_of(s, name);
	}
	if (!(s->name[s->n] = vq_strdup(name)))
		return VQ_ENOMEM;
	*index = s->n++;
	s->table[at] = s->n;
	return VQ_OK;
}

void vq_names_free(vq_names *s)
{
	for (size_t i = 0; i < s->n; i++)
		free(s->name[i]);
	free(s->name);
	free(s->table);
	*s = (vq_names){0};
}
