/* vq-batch: puts cells of about one size into batches, or takes batches apart. */
#include <stdlib.h>

#include "tools/batchrec.h"
#include "tools/cli.h"
#include "tools/filter.h"

enum { RNG_STREAM = 1 };

static struct {
	int64_t size, pixels, shuffle, memory;
	double tolerance;
	bool split, given[5];
} opt = { .size = 16, .tolerance = .3, .memory = 32 << 20 };

static const vq_option options[] = {
	{ "size", 0, VQ_OPT_INT, &opt.size, "N", "Cells in a batch at most (default 16).", NULL, 1, 4096, &opt.given[0] },
	{ "pixels", 0, VQ_OPT_INT, &opt.pixels, "N",
	  "Pixels (cells x height x width) in a batch at most; a larger cell is a batch alone. Default: no limit.", NULL, 1, 1e12, &opt.given[1] },
	{ "tolerance", 0, VQ_OPT_REAL, &opt.tolerance, "F",
	  "Sides within this fraction of the smallest share a batch, at the larger size (default 0.3; 0: equal sizes only).", NULL, 0, 1e6, &opt.given[2] },
	{ "shuffle", 0, VQ_OPT_INT, &opt.shuffle, "WINDOW", "Draw cells at random from a window of this many (see --seed). Default: in input order.", NULL, 1, 1e9,
	  &opt.given[3] },
	{ "memory", 0, VQ_OPT_SIZE, &opt.memory, "SIZE",
	  "What may wait in unfinished batches and in the window; beyond it the fullest batch goes as it is (default 32M).", NULL, 1 << 16, 1e15, &opt.given[4] },
	{ "split", 0, VQ_OPT_FLAG, &opt.split, NULL, "Take batches apart: the exact inverse, in the batches' order." },
	{ 0 },
};

static const vq_tool tool = { "vq-batch", "put cells of about one size into batches", "[options] [STREAM]\n--split [STREAM]", options,
	                          VQ_CLI_SEED | VQ_CLI_OUTPUT | VQ_CLI_THREADS, 0, 1 };

struct state { vqt_filter f; vq_buckets *buckets; vq_shuffle *shuffle; };

static vq_status write_ready(struct state *s, bool all)
{
	vq_bucket_batch b;
	vqt_record rec;
	while (vq_buckets_take(s->buckets, all, &b)) {
		vq_status status = vq_batch_make(&rec, &b);
		vq_bucket_batch_free(&b);
		VQ_TRY(status);
		status = vqt_put(s->f.out, &rec);
		vqt_record_free(&rec);
		VQ_TRY(status);
	}
	return VQ_OK;
}

static vq_status into_bucket(struct state *s, const vq_bucket_item *it)
{
	vq_status status = vq_buckets_put(s->buckets, it);
	if (status < 0) {
		vq_batch_sample_free(it->item);
		return status;
	}
	return write_ready(s, false);
}

static vq_status out_of_window(struct state *s, bool all)
{
	vq_bucket_item it;
	while (vq_shuffle_take(s->shuffle, all, &it))
		VQ_TRY(into_bucket(s, &it));
	return VQ_OK;
}

static vq_status add(struct state *s, vqt_record *rec)
{
	vq_bucket_item it;
	vq_status status = vq_batch_sample_make(rec, &it);
	if (status < 0)
		return vq_context(status, "%s", vqt_name(s->f.in));
	if (!s->shuffle)
		return into_bucket(s, &it);
	status = vq_shuffle_put(s->shuffle, &it);
	if (status < 0) {
		vq_batch_sample_free(it.item);
		return status;
	}
	return out_of_window(s, false);
}

/* Half of --memory is the window's, when there is one. */
static vq_status open_state(struct state *s)
{
	vq_bucket_rule rule = { opt.size, opt.pixels, opt.tolerance, (size_t)(opt.shuffle ? opt.memory / 2 : opt.memory) };
	VQ_TRY(vq_buckets_open(&s->buckets, &rule));
	return opt.shuffle ? vq_shuffle_open(&s->shuffle, (size_t)opt.shuffle, (size_t)opt.memory / 2, vq_rng_make(vq_cli.seed, RNG_STREAM)) : VQ_OK;
}

static vq_status batch(struct state *s)
{
	vqt_record rec;
	int got;
	while ((got = vqt_filter_next(&s->f, &rec)) > 0) {
		vq_status status = add(s, &rec);
		if (status < 0) {
			vqt_record_free(&rec);
			return status;
		}
	}
	VQ_TRY(got);
	if (s->shuffle)
		VQ_TRY(out_of_window(s, true));
	return write_ready(s, true);
}

static vq_status split_record(vqt_filter *f, const vqt_record *rec)
{
	vqt_record sample;
	int n;
	vq_status s = vq_batch_count(rec, &n);
	for (int i = 0; s == VQ_OK && i < n; i++) {
		if ((s = vq_batch_item(rec, i, &sample)) < 0)
			break;
		vq_status put = vqt_put(f->out, &sample);
		vqt_record_free(&sample);
		VQ_TRY(put);
	}
	return s < 0 ? vq_context(s, "%s", vqt_name(f->in)) : VQ_OK;
}

static vq_status split(vqt_filter *f)
{
	vqt_record rec;
	int got;
	while ((got = vqt_filter_next(f, &rec)) > 0) {
		vq_status s = split_record(f, &rec);
		vqt_record_free(&rec);
		VQ_TRY(s);
	}
	return got;
}

int main(int argc, char **argv)
{
	vq_strings operands;
	struct state s = {0};
	vq_cli_parse(&tool, argc, argv, &operands);
	for (size_t i = 0; i < VQ_COUNT(opt.given); i++)
		if (opt.split && opt.given[i])
			vq_misuse("--split takes batches apart and goes with no other option");
	vqt_options how = { .threads = vq_cli.threads };
	if (vqt_filter_open(&s.f, operands.n ? operands.v[0] : NULL, vq_cli.output, opt.split ? "batches" : "samples", opt.split ? "samples" : "batches",
	        tool.name, vq_cli_args(), &how) < 0)
		vq_die(NULL);
	vq_status status = opt.split ? VQ_OK : open_state(&s);
	if (status == VQ_OK)
		status = opt.split ? split(&s.f) : batch(&s);
	if (status < 0)
		vq_filter_die(&s.f);
	if (vqt_warning(s.f.in))
		vq_warn("%s", vqt_warning(s.f.in));
	if (vqt_filter_finish(&s.f) < 0)
		vq_filter_die(&s.f);
	vq_buckets_close(s.buckets, vq_batch_sample_free);
	vq_shuffle_close(s.shuffle, vq_batch_sample_free);
	return vq_cli_end(0);
}
