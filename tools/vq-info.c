/* vq-info: what is in a stream, model or checkpoint. */
#include <stdio.h>
#include <string.h>

#include "tools/cli.h"
#include "tools/describe.h"
#include "tools/values.h"

static struct { bool json, values, records; } opt;

static const vq_option options[] = {
	{ "json", 0, VQ_OPT_FLAG, &opt.json, NULL, "Print JSON: an object, or for several files a list of objects." },
	{ "values", 0, VQ_OPT_FLAG, &opt.values, NULL,
	  "Print the same a value a line, for scripts: KEY, tab, VALUE, as in channels.0; channels.# is how many there are. A FILE whose name ends in .json, such as a report of vq-metrics, is printed so too." },
	{ "records", 0, VQ_OPT_FLAG, &opt.records, NULL, "Also list the records of streams, a line each (before the summary, separated by tabs): id, bytes of data, and each tensor's name, type and shape." },
	{ 0 },
};

static const vq_tool tool = { "vq-info", "what is in a stream, model or checkpoint", "[options] [FILE...]", options, 0, 0, -1 };

static vq_description describe(const char *path, const cJSON *all)
{
	vq_description d = {0};
	size_t n = strlen(path);
	if (!opt.values || n < 5 || strcmp(path + n - 5, ".json"))
		return vq_describe(path, opt.records && all, opt.records && !all ? stdout : NULL);
	d.status = vq_values_read(path, &d.json);
	return d;
}

/* The description is added to all, or printed at once. false: the file is broken, and that was said. */
static bool inform(const char *path, cJSON *all)
{
	vq_description d = describe(path, all);
	if (!d.json) {
		vq_error("%s", vq_message());
		return false;
	}
	const char *error = cJSON_GetStringValue(cJSON_GetObjectItem(d.json, "error"));
	const char *warning = cJSON_GetStringValue(cJSON_GetObjectItem(d.json, "warning"));
	if (warning)
		vq_warn("%s", warning);
	if (error)
		vq_error("%s", error);
	if (!all)
		vq_describe_print(stdout, d.json);
	if (!all || !cJSON_AddItemToArray(all, d.json))
		cJSON_Delete(d.json);
	return d.status == VQ_OK;
}

int main(int argc, char **argv)
{
	vq_strings files;
	static const char *const standard_input[] = { "-" };
	int status = 0;
	vq_cli_parse(&tool, argc, argv, &files);
	const char *const *names = files.n ? files.v : standard_input;
	int n = files.n ? files.n : 1;
	if (opt.json && opt.values)
		vq_misuse("--json or --values, not both");
	cJSON *all = opt.json || opt.values ? cJSON_CreateArray() : NULL;
	if ((opt.json || opt.values) && !all)
		vq_die("out of memory");
	for (int i = 0; i < n; i++)
		if (!inform(names[i], all))
			status = 1;
	if (all && opt.values) {
		if (all->child)
			vq_values_print(stdout, n == 1 ? all->child : all);
		cJSON_Delete(all);
	} else if (all) {
		char *text = cJSON_Print(n == 1 ? cJSON_GetArrayItem(all, 0) : all);
		if (text)
			puts(text);
		else if (n > 1 || all->child)
			vq_die("out of memory");
		cJSON_free(text);
		cJSON_Delete(all);
	}
	return vq_cli_end(status);
}
