/* Which ids have been seen: 64-bit hashes in 256 open tables, so that growing one needs little memory for a moment. Two ids of
 * ten million share a hash with a probability of 3e-6. */
#include <stdlib.h>
#include <string.h>

#include "formats/vqt_int.h"
#include "formats/xxh64.h"

static uint64_t *find(const vqt_shard *s, uint64_t hash)
{
	uint32_t i = (uint32_t)((uint64_t)(uint32_t)hash * s->cap >> 32);
	while (s->slot[i] && s->slot[i] != hash)
		i = i + 1 == s->cap ? 0 : i + 1;
	return &s->slot[i];
}

static vq_status grow(vqt_shard *s)
{
	if (s->cap > UINT32_MAX / 4 * 2)
		return vq_fail(VQ_ELIMIT, "more records than the set of ids can hold");
	vqt_shard bigger = { .n = s->n, .cap = s->cap ? s->cap + s->cap / 2 : 8 };
	if (!(bigger.slot = vq_calloc(bigger.cap, sizeof *bigger.slot)))
		return VQ_ENOMEM;
	for (uint32_t i = 0; i < s->cap; i++)
		if (s->slot[i])
			*find(&bigger, s->slot[i]) = s->slot[i];
	free(s->slot);
	*s = bigger;
	return VQ_OK;
}

int vqt_ids_add(vqt_ids *s, const char *id)
{
	uint64_t hash = vq_xxh64_of(id, strlen(id), 0x7671746964ull);
	if (!hash) { /* an empty slot is 0 */
		int fresh = !s->zero;
		s->zero = true;
		return fresh;
	}
	vqt_shard *shard = &s->shard[hash >> 56];
	if (shard->n >= shard->cap - shard->cap / 8)
		VQ_TRY(grow(shard));
	uint64_t *slot = find(shard, hash);
	if (*slot)
		return 0;
	*slot = hash;
	shard->n++;
	return 1;
}

void vqt_ids_free(vqt_ids *s)
{
	for (size_t i = 0; i < VQ_COUNT(s->shard); i++)
		free(s->shard[i].slot);
	*s = (vqt_ids){0};
}
