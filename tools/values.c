#include "tools/values.h"

#include <stdlib.h>
#include <string.h>

#include "formats/outfile.h"

enum { KEY_MAX = 400, JSON_BYTES_MAX = 1 << 28 };

static void put_text(FILE *f, const char *text)
{
	for (; *text; text++)
		putc((unsigned char)*text < ' ' || *text == 0x7f ? ' ' : *text, f);
}

static void put_number(FILE *f, double v)
{
	char text[32];
	snprintf(text, sizeof text, "%.15g", v);
	if (strtod(text, NULL) != v)
		snprintf(text, sizeof text, "%.17g", v);
	fputs(text, f);
}

/* key: a buffer of KEY_MAX with what stands before. What is too long for it is cut. */
static void put(FILE *f, const cJSON *v, char *key)
{
	size_t n = strlen(key);
	if (cJSON_IsArray(v) || cJSON_IsObject(v)) {
		const char *dot = n ? "." : "";
		const cJSON *item;
		int i = 0;
		cJSON_ArrayForEach(item, v) {
			if (item->string)
				snprintf(key + n, KEY_MAX - n, "%s%s", dot, item->string);
			else
				snprintf(key + n, KEY_MAX - n, "%s%d", dot, i);
			put(f, item, key);
			i++;
		}
		key[n] = 0;
		if (cJSON_IsArray(v))
			fprintf(f, "%s%s#\t%d\n", key, dot, i);
		return;
	}
	put_text(f, key);
	putc('\t', f);
	if (cJSON_IsNumber(v))
		put_number(f, v->valuedouble);
	else
		put_text(f, cJSON_IsString(v) ? v->valuestring : cJSON_IsTrue(v) ? "true" : cJSON_IsFalse(v) ? "false" : "null");
	putc('\n', f);
}

void vq_values_print(FILE *f, const cJSON *json)
{
	char key[KEY_MAX] = "";
	put(f, json, key);
}

vq_status vq_values_read(const char *path, cJSON **json)
{
	vq_buf b = {0};
	const char *end = NULL;
	VQ_TRY(vq_file_read(path, JSON_BYTES_MAX, &b));
	*json = cJSON_ParseWithLengthOpts((char *)b.data, b.len, &end, false);
	vq_status s = *json ? VQ_OK : vq_fail(VQ_EFORMAT, "%s: no JSON, from byte %zu on", path, end ? (size_t)(end - (char *)b.data) : b.len);
	vq_buf_free(&b);
	return s;
}
