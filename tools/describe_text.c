/* A description for people. */
#include <stdlib.h>
#include <string.h>

#include "tools/describe.h"

static const char *text(const cJSON *o, const char *key)
{
	const char *s = cJSON_GetStringValue(cJSON_GetObjectItemCaseSensitive(o, key));
	return s ? s : "";
}

static double number(const cJSON *o, const char *key)
{
	const cJSON *v = cJSON_GetObjectItemCaseSensitive(o, key);
	return cJSON_IsNumber(v) ? v->valuedouble : 0;
}

/* A file's own words: they must not steer a terminal. */
static void print_text(FILE *f, const char *s)
{
	for (; *s; s++)
		fputc((unsigned char)*s < 32 || *s == 127 ? '?' : *s, f);
}

static void print_label(FILE *f, const char *name) { fprintf(f, "  %-10s ", name); }

static void print_bytes(FILE *f, double bytes)
{
	static const char *const units[] = { "bytes", "KiB", "MiB", "GiB", "TiB" };
	size_t u = 0;
	while (bytes >= 1024 && u + 1 < VQ_COUNT(units)) {
		bytes /= 1024;
		u++;
	}
	fprintf(f, u ? "%.1f %s" : "%.0f %s", bytes, units[u]);
}

static void print_shape(FILE *f, const cJSON *shape)
{
	const cJSON *v;
	fputc('[', f);
	cJSON_ArrayForEach(v, shape)
		fprintf(f, "%s%.0f", v == shape->child ? "" : ",", v->valuedouble);
	fputc(']', f);
}

static void print_range(FILE *f, const cJSON *o, const char *key)
{
	const cJSON *r = cJSON_GetObjectItem(o, key);
	if (!cJSON_IsNumber(cJSON_GetObjectItem(r, "min")))
		return;
	print_label(f, key);
	fprintf(f, "%g to %g, median %g\n", number(r, "min"), number(r, "max"), number(r, "median"));
}

/* An argument as a shell would need it. */
static void print_argument(FILE *f, const char *a)
{
	bool bare = *a && !strpbrk(a, " \t\n\\'\"$`*?[]{}()<>|&;~#!");
	if (!bare)
		fputc('\'', f);
	for (; *a; a++) {
		char one[2] = { *a, 0 };
		print_text(f, *a == '\'' ? "'\\''" : one);
	}
	if (!bare)
		fputc('\'', f);
}

static void print_chain(FILE *f, const cJSON *chain)
{
	const cJSON *step, *arg;
	cJSON_ArrayForEach(step, chain) {
		print_label(f, step == chain->child ? "chain" : "");
		print_text(f, text(step, "tool"));
		cJSON_ArrayForEach(arg, cJSON_GetObjectItem(step, "args"))
			if (cJSON_IsString(arg)) {
				fputc(' ', f);
				print_argument(f, arg->valuestring);
			}
		fputs("   (", f);
		print_text(f, text(step, "version"));
		fputs(")\n", f);
	}
}

void vq_describe_line(FILE *f, const cJSON *record)
{
	const cJSON *t;
	fprintf(f, "%s\t%.0f", text(record, "id"), number(record, "bytes"));
	cJSON_ArrayForEach(t, cJSON_GetObjectItem(record, "tensors")) {
		fprintf(f, "\t%s %s ", text(t, "name"), text(t, "dtype"));
		print_shape(f, cJSON_GetObjectItem(t, "shape"));
	}
	fputc('\n', f);
}

static void print_stream(FILE *f, const cJSON *o)
{
	const cJSON *v, *channels = cJSON_GetObjectItem(o, "channels"), *tensors = cJSON_GetObjectItem(o, "tensors");
	fprintf(f, "%s: %s, format %s, %.0f record%s", text(o, "file"), text(o, "kind"), text(o, "version"), number(o, "records"),
		number(o, "records") == 1 ? "" : "s");
	if (cJSON_HasObjectItem(o, "items"))
		fprintf(f, " of %.0f cells", number(o, "items"));
	fprintf(f, "%s\n", cJSON_IsTrue(cJSON_GetObjectItem(o, "complete")) ? "" : ", INCOMPLETE");
	if (cJSON_IsArray(channels)) {
		print_label(f, "channels");
		cJSON_ArrayForEach(v, channels) {
			fputs(v == channels->child ? "" : ", ", f);
			print_text(f, v->valuestring);
		}
		fputc('\n', f);
	}
	if (cJSON_GetArraySize(tensors)) {
		print_label(f, "tensors");
		cJSON_ArrayForEach(v, tensors)
			fprintf(f, "%s%s %s", v == tensors->child ? "" : ", ", text(v, "name"), text(v, "dtype"));
		fputc('\n', f);
	}
	print_range(f, o, "height");
	print_range(f, o, "width");
	print_label(f, "data");
	print_bytes(f, number(o, "bytes"));
	fputc('\n', f);
	print_chain(f, cJSON_GetObjectItem(o, "chain"));
}

static void print_tensors(FILE *f, const cJSON *o)
{
	const cJSON *t, *meta = cJSON_GetObjectItem(o, "metadata"), *tensors = cJSON_GetObjectItem(o, "tensors");
	fprintf(f, "%s: %s, %d tensors, %.0f values, ", text(o, "file"), text(o, "kind"), cJSON_GetArraySize(tensors), number(o, "parameters"));
	print_bytes(f, number(o, "bytes"));
	fputc('\n', f);
	cJSON_ArrayForEach(t, meta) {
		print_label(f, t == meta->child ? "metadata" : "");
		print_text(f, t->string);
		fprintf(f, " (%zu bytes)\n", strlen(t->valuestring));
	}
	cJSON_ArrayForEach(t, tensors) {
		print_label(f, t == tensors->child ? "tensors" : "");
		print_text(f, text(t, "name"));
		fprintf(f, " %s ", text(t, "dtype"));
		print_shape(f, cJSON_GetObjectItem(t, "shape"));
		fputc('\n', f);
	}
}

void vq_describe_print(FILE *f, const cJSON *json)
{
	cJSON_HasObjectItem(json, "records") ? print_stream(f, json) : print_tensors(f, json);
}
