#include "tools/filter.h"

#include <stdlib.h>
#include <string.h>

#include "tools/cli.h"

static vq_status refuse_batches(vqt_reader *in, const char *tool)
{
	const char *kind = vqt_header_kind(vqt_header(in)), *name = vqt_name(in);
	if (!kind || strcmp(kind, "batches"))
		return VQ_OK;
	bool file = strcmp(name, "standard input");
	return vq_fail(VQ_EINVAL, "%s holds batches, and %s takes single samples: vq-batch --split%s%s | %s", name, tool, file ? " " : "",
		file ? name : "", tool);
}

vq_status vq_samples_open(vqt_reader **in, const char *path, const char *tool)
{
	VQ_TRY(vqt_open(in, path, "samples|batches", NULL));
	vq_status s = refuse_batches(*in, tool);
	if (s < 0) {
		vqt_close(*in);
		*in = NULL;
	}
	return s;
}

void vq_samples_close(vqt_reader *in)
{
	if (vqt_warning(in))
		vq_warn("%s", vqt_warning(in));
	vqt_close(in);
}

void vq_filter_die(vqt_filter *f)
{
	vqt_filter_abort(f);
	vq_die(NULL);
}

int vq_filter_samples(const char *path, const char *tool, const char *keys, vq_status (*apply)(vqt_record *rec, void *user), void *user)
{
	vqt_filter f;
	vqt_record rec;
	vqt_options how = { .threads = vq_cli.threads };
	int got;
	vq_keep_memory();
	if (vqt_filter_open(&f, path, vq_cli.output, "samples|batches", NULL, tool, vq_cli_args(), &how) < 0)
		vq_die(NULL);
	if (refuse_batches(f.in, tool) < 0)
		vq_filter_die(&f);
	vqt_look_at(f.in, keys);
	while ((got = vqt_filter_next(&f, &rec)) > 0) {
		vq_status s = apply(&rec, user);
		if (s < 0)
			vq_context(s, "%s", vqt_name(f.in));
		else
			s = vqt_put(f.out, &rec);
		vqt_record_free(&rec);
		if (s < 0)
			vq_filter_die(&f);
	}
	if (got < 0)
		vq_filter_die(&f);
	if (vqt_warning(f.in))
		vq_warn("%s", vqt_warning(f.in));
	if (vqt_filter_finish(&f) < 0)
		vq_filter_die(&f);
	return 0;
}
