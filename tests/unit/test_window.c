/* A stream worked on by threads: order, and failures of each of the three parts. */
#include <omp.h>
#include <stdlib.h>
#include <string.h>

#include "tests/unit/test.h"
#include "tools/window.h"

enum { RECORDS = 500 }; /* more windows than go round at once, with up to 3 threads */

typedef struct {
	int threads, n, at, written;
	int bad_next, bad_work, bad_put; /* the record that fails there, or -1 */
	int workers[3];
} stream;

static int next(void *ctx, vqt_record *rec)
{
	stream *s = ctx;
	char id[16];
	if (s->at == s->bad_next)
		return vq_fail(VQ_ETRUNC, "next %d", s->at);
	if (s->at == s->n)
		return 0;
	snprintf(id, sizeof id, "%d", s->at++);
	vq_status st = vqt_record_make(rec, id);
	return st < 0 ? st : 1;
}

static vq_status work(void *ctx, int worker, vqt_record *in, vqt_record *out)
{
	stream *s = ctx;
	s->workers[worker]++;
	if (atoi(in->id) == s->bad_work)
		return vq_fail(VQ_EINVAL, "work %s", in->id);
	return vqt_record_make(out, in->id);
}

static vq_status put(void *ctx, vqt_record *in, vqt_record *out)
{
	stream *s = ctx;
	if (atoi(in->id) == s->bad_put)
		return vq_fail(VQ_EIO, "put %s", in->id);
	if (strcmp(in->id, out->id) || atoi(in->id) != s->written)
		return vq_fail(VQ_EINVAL, "%s after %d records", in->id, s->written);
	s->written++;
	return VQ_OK;
}

static vq_status run(stream *s)
{
	vq_window_job j = { s->threads, next, work, put, s };
	s->at = s->written = 0;
	memset(s->workers, 0, sizeof s->workers);
	return vq_window_run(&j);
}

TEST(records_come_out_in_order)
{
	for (int threads = 1; threads <= 3; threads++)
		for (int n = 0; n <= RECORDS; n = 2 * n + 1) {
			stream s = { threads, n, .bad_next = -1, .bad_work = -1, .bad_put = -1 };
			CHECK_OK(run(&s));
			CHECK(s.written == n);
			CHECK(s.workers[0] + s.workers[1] + s.workers[2] == n);
		}
}

/* What stands before the record that failed is written; of several failures the first record's is told. */
TEST(the_first_failure_is_told)
{
	static const struct { int next, work, put, written; vq_status status; const char *message; } c[] = {
		{ 0, -1, -1, 0, VQ_ETRUNC, "next 0" },
		{ 7, -1, -1, 7, VQ_ETRUNC, "next 7" },
		{ 400, -1, -1, 400, VQ_ETRUNC, "next 400" },
		{ -1, 0, -1, 0, VQ_EINVAL, "work 0" },
		{ -1, 301, -1, 301, VQ_EINVAL, "work 301" },
		{ -1, 499, -1, 499, VQ_EINVAL, "work 499" },
		{ -1, -1, 0, 0, VQ_EIO, "put 0" },
		{ -1, -1, 333, 333, VQ_EIO, "put 333" },
		{ -1, -1, 499, 499, VQ_EIO, "put 499" },
		{ 460, 120, 119, 119, VQ_EIO, "put 119" },
		{ 460, 120, 121, 120, VQ_EINVAL, "work 120" },
		{ 130, 131, 132, 130, VQ_ETRUNC, "next 130" },
		{ 130, 129, -1, 129, VQ_EINVAL, "work 129" },
	};
	for (int threads = 1; threads <= 3; threads++)
		for (size_t i = 0; i < VQ_COUNT(c); i++) {
			stream s = { threads, RECORDS, .bad_next = c[i].next, .bad_work = c[i].work, .bad_put = c[i].put };
			CHECK(run(&s) == c[i].status);
			CHECK_STR(vq_message(), c[i].message);
			CHECK(s.written == c[i].written);
		}
}

TEST_MAIN(RUN(records_come_out_in_order) RUN(the_first_failure_is_told))
