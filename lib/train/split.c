#include "lib/train/split.h"

#include <stdlib.h>
#include <string.h>
#include <strings.h>

#include "lib/rng.h"

enum { SPLIT_STREAM = 0x73706c6974 }; /* its own Philox stream */

static const char *const names[] = { "train", "val", "test" };

const char *vq_part_name(vq_part p) { return names[p]; }

int vq_part_parse(const char *text)
{
	static const struct { const char *name; vq_part part; } words[] = {
		{ "train", VQ_PART_TRAIN }, { "training", VQ_PART_TRAIN }, { "val", VQ_PART_VAL }, { "valid", VQ_PART_VAL },
		{ "validation", VQ_PART_VAL }, { "test", VQ_PART_TEST }, { "testing", VQ_PART_TEST },
	};
	for (size_t i = 0; i < VQ_COUNT(words); i++)
		if (!strcasecmp(words[i].name, text))
			return words[i].part;
	return -1;
}

typedef struct { const char *name; size_t record; } member;

static int by_name(const void *a, const void *b)
{
	const member *x = a, *y = b;
	int d = strcmp(x->name, y->name);
	return d ? d : x->record < y->record ? -1 : x->record > y->record;
}

/* Runs of one name in the sorted members become groups start[0..groups]. */
static size_t find_groups(const member *m, size_t n, size_t *start)
{
	size_t groups = 0;
	for (size_t i = 0; i < n; i++)
		if (!i || strcmp(m[i].name, m[i - 1].name))
			start[groups++] = i;
	start[groups] = n;
	return groups;
}

/* Moves whole groups of the sorted candidates to val. */
static void draw(const member *m, const size_t *start, const uint32_t *order, size_t groups, double target, uint8_t *part)
{
	size_t val = 0, taken = 0, smallest = order[0];
	for (size_t i = 0; i < groups; i++) {
		size_t g = order[i], size = start[g + 1] - start[g];
		if (size < start[smallest + 1] - start[smallest])
			smallest = g;
		double now = target - (double)val, then = (double)(val + size) - target;
		if (now <= 0 || taken + 1 == groups || then > now)
			continue;
		for (size_t k = start[g]; k < start[g + 1]; k++)
			part[m[k].record] = VQ_PART_VAL;
		val += size;
		taken++;
	}
	if (!taken && groups > 1)
		for (size_t k = start[smallest]; k < start[smallest + 1]; k++)
			part[m[k].record] = VQ_PART_VAL;
}

static vq_status draw_val(const vq_part_record *record, size_t n, double val_fraction, uint64_t seed, uint8_t *part, vq_part_report *report)
{
	vq_status s = VQ_ENOMEM;
	member *m = vq_malloc((n + 1) * sizeof *m);
	size_t *start = vq_malloc((n + 1) * sizeof *start), count = 0, groups;
	uint32_t *order = vq_malloc((n + 1) * sizeof *order);
	if (!m || !start || !order)
		goto done;
	for (size_t i = 0; i < n; i++)
		if (part[i] == VQ_PART_TRAIN)
			m[count++] = (member){ record[i].group ? record[i].group : "", i };
	qsort(m, count, sizeof *m, by_name);
	groups = find_groups(m, count, start);
	if (groups == 1) {
		report->by_cell = true;
		for (size_t i = 0; i < count; i++)
			m[i].name = record[m[i].record].id;
		qsort(m, count, sizeof *m, by_name);
		groups = find_groups(m, count, start);
	}
	for (size_t g = 0; g < groups; g++)
		order[g] = (uint32_t)g;
	vq_rng rng = vq_rng_make(seed, SPLIT_STREAM);
	vq_rng_shuffle(&rng, order, groups);
	if (groups)
		draw(m, start, order, groups, val_fraction * (double)count, part);
	s = VQ_OK;
done:
	free(m);
	free(start);
	free(order);
	return s;
}

/* Groups that have a cell in each part. */
static vq_status count_groups(const vq_part_record *record, size_t n, const uint8_t *part, vq_part_report *report)
{
	member *m = vq_malloc((n + 1) * sizeof *m);
	if (!m)
		return VQ_ENOMEM;
	for (size_t i = 0; i < n; i++)
		m[i] = (member){ record[i].group ? record[i].group : "", i };
	qsort(m, n, sizeof *m, by_name);
	for (size_t i = 0; i < n; ) {
		bool in[3] = { false };
		size_t first = i;
		for (; i < n && !strcmp(m[i].name, m[first].name); i++)
			in[part[m[i].record]] = true;
		for (int p = 0; p < 3; p++)
			report->groups[p] += in[p];
	}
	free(m);
	return VQ_OK;
}

vq_status vq_part_assign(const vq_part_record *record, size_t n, double val_fraction, uint64_t seed, uint8_t *part, vq_part_report *report)
{
	bool has_val = false;
	memset(report, 0, sizeof *report);
	if (!(val_fraction >= 0 && val_fraction < 1))
		return vq_fail(VQ_EINVAL, "a validation fraction of %g is not within 0 to 1", val_fraction);
	if (n > UINT32_MAX)
		return vq_fail(VQ_ELIMIT, "%zu records are too many to split", n);
	for (size_t i = 0; i < n; i++) {
		const char *declared = record[i].declared;
		part[i] = VQ_PART_TRAIN;
		if (!declared || !*declared)
			continue;
		int p = vq_part_parse(declared);
		if (p < 0)
			return vq_fail(VQ_EINVAL, "record %s: Metadata_Split is \"%.60s\", not train, val or test", record[i].id, declared);
		part[i] = (uint8_t)p;
		report->declared = true;
		has_val |= p == VQ_PART_VAL;
	}
	if (!has_val && val_fraction > 0)
		VQ_TRY(draw_val(record, n, val_fraction, seed, part, report));
	for (size_t i = 0; i < n; i++)
		report->cells[part[i]]++;
	return count_groups(record, n, part, report);
}
