/* compare: two files of BENCH_JSON side by side.   compare BEFORE.json AFTER.json
 *
 * A line for each number that both have, and that differs by more than 3 %: its name, both values and their ratio. */
#include <math.h>
#include <stdio.h>
#include <string.h>

#include "formats/outfile.h"
#include "formats/sample.h"

static cJSON *load(const char *path)
{
	vq_buf b = {0};
	cJSON *json = vq_file_read(path, 64 << 20, &b) < 0 ? NULL : vq_json_parse(b.data ? b.data : "", path);
	vq_buf_free(&b);
	return json;
}

/* The member of a list that has the same name or command. */
static const cJSON *partner(const cJSON *list, const cJSON *item)
{
	static const char *const keys[] = { "name", "command" };
	const cJSON *other;
	for (size_t i = 0; i < VQ_COUNT(keys); i++) {
		const char *name = cJSON_GetStringValue(cJSON_GetObjectItemCaseSensitive(item, keys[i]));
		cJSON_ArrayForEach(other, list) {
			const char *theirs = cJSON_GetStringValue(cJSON_GetObjectItemCaseSensitive(other, keys[i]));
			if (name && theirs && !strcmp(name, theirs))
				return other;
		}
	}
	return NULL;
}

static const char *label(const cJSON *item)
{
	const char *name = cJSON_GetStringValue(cJSON_GetObjectItemCaseSensitive(item, "name"));
	return name ? name : cJSON_GetStringValue(cJSON_GetObjectItemCaseSensitive(item, "command"));
}

static void show(const char *where, const cJSON *a, const cJSON *b)
{
	const cJSON *item;
	char path[512];
	if (cJSON_IsNumber(a) && cJSON_IsNumber(b)) {
		double x = a->valuedouble, y = b->valuedouble;
		if (fabs(y - x) > 0.03 * fabs(x))
			printf("%-60s %12g %12g %8.2f\n", where, x, y, y / x);
		return;
	}
	cJSON_ArrayForEach(item, a) {
		const cJSON *other = cJSON_IsArray(a) ? partner(b, item) : cJSON_GetObjectItemCaseSensitive(b, item->string);
		const char *name = cJSON_IsArray(a) ? label(item) : item->string;
		if (!other || !name)
			continue;
		snprintf(path, sizeof path, "%s%s%s", where, *where ? ": " : "", name);
		show(path, item, other);
	}
}

int main(int argc, char **argv)
{
	if (argc != 3) {
		fprintf(stderr, "usage: compare BEFORE.json AFTER.json\n");
		return 2;
	}
	cJSON *a = load(argv[1]), *b = a ? load(argv[2]) : NULL;
	if (!b) {
		fprintf(stderr, "compare: %s\n", vq_message());
		cJSON_Delete(a);
		return 1;
	}
	printf("%-60s %12s %12s %8s\n", "", "before", "after", "ratio");
	show("", a, b);
	cJSON_Delete(a);
	cJSON_Delete(b);
	return 0;
}
