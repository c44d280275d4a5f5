/* Good streams: what goes in comes out, by any way of reading. */
#include "tests/unit/test.h"

#include <pthread.h>
#include <unistd.h>

#include "formats/outfile.h"
#include "formats/vqt_int.h"
#include "formats/xxh64.h"
#include "tests/unit/streams.h"

/* What a reader must make of records first to first+n-1. */
static uint64_t expected(const char *kind, int first, int n, uint64_t seed)
{
	for (int i = first; i < first + n; i++) {
		vqt_record r;
		if (stream_record(&r, kind, i) < 0)
			abort();
		seed = stream_digest(&r, seed);
		vqt_record_free(&r);
	}
	return seed;
}

static bool same(const vq_buf *a, const vq_buf *b) { return a->len == b->len && !memcmp(a->data, b->data, a->len); }

TEST(hash_is_xxh64)
{
	vq_xxh64 h;
	char text[101];
	for (int i = 0; i < 101; i++)
		text[i] = (char)(i * 7);
	CHECK(vq_xxh64_of("", 0, 0) == 0xEF46DB3751D8E999u); /* published values */
	CHECK(vq_xxh64_of("a", 1, 0) == 0xD24EC4F1A98C6E5Bu);
	CHECK(vq_xxh64_of("abc", 3, 0) == 0x44BC2CF5AD770999u);
	for (size_t cut = 0; cut <= 101; cut++) {
		vq_xxh64_init(&h, 5);
		vq_xxh64_add(&h, text, cut);
		vq_xxh64_add(&h, text + cut, 101 - cut);
		CHECK(vq_xxh64_value(&h) == vq_xxh64_of(text, 101, 5));
	}
	/* long pieces may be hashed in another way than short ones */
	char more[3001];
	for (size_t n = 0; n <= sizeof more; n += 1 + n / 9) {
		vq_xxh64_init(&h, 9);
		for (size_t i = 0; i < n; i++) {
			more[i] = (char)(i * i * 31 + i);
			vq_xxh64_add(&h, more + i, 1);
		}
		CHECK(vq_xxh64_value(&h) == vq_xxh64_of(more, n, 9));
	}
}

TEST(every_type_and_shape_comes_back)
{
	const char *path = stream_path("mixed.vqt");
	CHECK_OK(stream_write(path, "mixed", 0, 20, 0, NULL));
	stream_view v = stream_read(path, NULL, NULL);
	CHECK_STR(v.message, "");
	CHECK(v.result == 0 && v.records == 20);
	CHECK(v.digest == expected("mixed", 0, 20, 0));
	CHECK_STR(v.warning, "");
}

TEST(tensors_are_aligned_and_named_once)
{
	const char *path = stream_path("mixed.vqt");
	vqt_reader *r;
	vqt_record rec;
	CHECK_OK(stream_write(path, "mixed", 0, 3, 0, NULL));
	CHECK_OK(vqt_open(&r, path, "mixed", NULL));
	CHECK(vqt_next(r, &rec) == 1);
	for (int i = 0; i < rec.n; i++)
		CHECK((uintptr_t)rec.entry[i].t.data % 64 == 0);
	CHECK(rec.n == VQ_DTYPES && vqt_get(&rec, "f32.7") && !vqt_get(&rec, "f33"));
	vqt_remove(&rec, "u8.0");
	CHECK(rec.n == VQ_DTYPES - 1 && !vqt_get(&rec, "u8.0") && vqt_get(&rec, "i8.1"));
	vqt_record_free(&rec);
	vqt_close(r);
}

/* The plain stream, taken apart by the words of man/vqt.5 and nothing else. */
TEST(the_bytes_are_those_of_the_manual)
{
	vq_buf packed = {0}, plain = {0};
	size_t at = 0;
	CHECK_OK(stream_write(stream_path("m.vqt"), "mixed", 0, 3, 0, NULL));
	CHECK_OK(stream_load(stream_path("m.vqt"), &packed));
	CHECK_OK(stream_plain(&packed, &plain));
	CHECK(!memcmp(plain.data, "VQTH\1\0\0\0", 8));
	for (int i = -1; i <= 3; i++) {
		const char *b = plain.data + at;
		uint64_t size = vqt_u64(b + 8), text = 64 + 128 * (uint64_t)vqt_u32(b + 40) + vqt_u32(b + 32) + vqt_u32(b + 36);
		CHECK(!memcmp(b, i < 0 ? "VQTH" : i < 3 ? "VQTR" : "VQTE", 4));
		CHECK(size % 64 == 0 && vqt_u64(b + 16) == at && vqt_u64(b + 24) == (uint64_t)VQ_MAX(i, 0));
		CHECK(vqt_u64(b + 48) == vq_xxh64_of(b + 64, (size_t)size - 64, 0) && vqt_u64(b + 56) == vq_xxh64_of(b, 56, 0));
		uint64_t data = (text + 63) / 64 * 64;
		if (i >= 0 && i < 3) {
			vqt_record r;
			CHECK_OK(stream_record(&r, "mixed", i));
			CHECK(!memcmp(b + 64 + 128 * r.n, r.id, strlen(r.id)));
			for (int k = 0; k < r.n; k++) {
				size_t bytes;
				CHECK_OK(vq_tensor_bytes(&r.entry[k].t, &bytes));
				CHECK_STR(b + 64 + 128 * k, r.entry[k].name);
				CHECK_STR(b + 64 + 128 * k + 64, vq_dtype_name(r.entry[k].t.dtype));
				CHECK(!memcmp(b + data, r.entry[k].t.data, bytes));
				data += (bytes + 63) / 64 * 64;
			}
			vqt_record_free(&r);
		}
		CHECK(data == size);
		at += size;
	}
	CHECK(at == plain.len);
	vq_buf_free(&packed);
	vq_buf_free(&plain);
}

TEST(the_header_keeps_kind_channels_and_chain)
{
	vqt_reader *r;
	const char *path = stream_path("a.vqt");
	CHECK_OK(stream_write(path, "samples", 0, 1, 0, NULL));
	CHECK_OK(vqt_open(&r, path, "codes|samples", NULL));
	CHECK_STR(vqt_header_kind(vqt_header(r)), "samples");
	char *text = cJSON_PrintUnformatted(vqt_header(r));
	CHECK_STR(text, "{\"kind\":\"samples\",\"channels\":[\"DNA\",\"ER\"],\"chain\":[{\"tool\":\"vq-test\",\"version\":\"1\",\"args\":[]}]}");
	cJSON_free(text);
	int major, minor;
	vqt_version(r, &major, &minor);
	CHECK(major == 1 && minor == 0);
	vqt_close(r);
	CHECK_FAILS(vqt_open(&r, path, "codes", NULL), VQ_EINVAL);
	CHECK_HAS(vq_message(), "a.vqt: a stream of samples, where codes are wanted");
	CHECK_FAILS(vqt_open(&r, path, "codes|batches", NULL), VQ_EINVAL);
	CHECK_HAS(vq_message(), "where codes or batches are wanted");
}

TEST(a_stream_of_no_records_is_complete)
{
	const char *path = stream_path("none.vqt");
	CHECK_OK(stream_write(path, "codes", 0, 0, 0, NULL));
	stream_view v = stream_read(path, NULL, NULL), w = stream_read_any_order(path, NULL);
	CHECK(v.result == 0 && v.records == 0 && !v.warning[0]);
	CHECK(w.result == 0 && w.records == 0 && !w.warning[0]);
}

TEST(the_bytes_do_not_depend_on_threads)
{
	vq_buf one = {0}, more = {0};
	const char *path = stream_path("t.vqt");
	for (int flush = 0; flush < 4; flush += 3) {
		one.len = 0;
		for (int threads = 1; threads <= 4; threads *= 2) {
			vqt_options o = { .threads = threads };
			CHECK_OK(stream_write(path, "samples", 0, 700, flush, &o));
			more.len = 0;
			CHECK_OK(stream_load(path, threads == 1 ? &one : &more));
			CHECK(threads == 1 || same(&one, &more));
		}
	}
	vq_buf_free(&one);
	vq_buf_free(&more);
	CHECK(stream_read(path, NULL, NULL).digest == expected("samples", 0, 700, 0));
}

TEST(small_records_share_a_frame_unless_flushed)
{
	vq_buf b = {0};
	const char *path = stream_path("small.vqt");
	CHECK_OK(stream_write(path, "codes", 0, 1000, 0, NULL));
	CHECK_OK(stream_load(path, &b));
	CHECK(b.len < 1000 * 100); /* 384 bytes a record plain */
	vq_buf_free(&b);
	vqt_reader *r;
	vqt_record rec;
	CHECK_OK(stream_write(path, "codes", 0, 6, 2, NULL));
	CHECK_OK(vqt_open(&r, path, NULL, NULL));
	CHECK(vqt_drained(r));
	for (int i = 0; i < 6; i++) {
		CHECK(vqt_next(r, &rec) == 1);
		vqt_record_free(&rec);
		CHECK(vqt_drained(r) == (i % 2 == 1));
	}
	CHECK(vqt_next(r, &rec) == 0);
	vqt_close(r);
}

TEST(plain_bytes_are_a_stream_too)
{
	vq_buf packed = {0}, plain = {0}, again = {0};
	CHECK_OK(stream_write(stream_path("a.vqt"), "samples", 0, 300, 0, NULL));
	CHECK_OK(stream_load(stream_path("a.vqt"), &packed));
	CHECK_OK(stream_plain(&packed, &plain));
	uint64_t digest = expected("samples", 0, 300, 0);
	stream_save(stream_path("plain.vqt"), plain.data, plain.len);
	stream_view v = stream_read(stream_path("plain.vqt"), NULL, NULL), w = stream_read_any_order(stream_path("plain.vqt"), NULL);
	CHECK(v.result == 0 && v.digest == digest && !v.warning[0]);
	CHECK(w.result == 0 && w.digest == digest && !w.warning[0]);
	/* compressed anew, as one frame */
	CHECK_OK(stream_pack(&again, plain.data, plain.len));
	stream_save(stream_path("again.vqt"), again.data, again.len);
	v = stream_read(stream_path("again.vqt"), NULL, NULL);
	w = stream_read_any_order(stream_path("again.vqt"), NULL);
	CHECK(v.result == 0 && v.digest == digest);
	CHECK_HAS(v.warning, "the index is missing");
	CHECK(w.result == 0 && w.digest == digest);
	/* and in frames that end anywhere, with a foreign skippable frame between */
	again.len = 0;
	for (size_t at = 0, n; at < plain.len; at += n) {
		n = VQ_MIN(plain.len - at, 777);
		CHECK_OK(stream_pack(&again, plain.data + at, n));
		CHECK_OK(vq_buf_add(&again, "\x50\x2A\x4D\x18\x03\0\0\0xyz", 11));
	}
	stream_save(stream_path("odd.vqt"), again.data, again.len);
	v = stream_read(stream_path("odd.vqt"), NULL, NULL);
	w = stream_read_any_order(stream_path("odd.vqt"), NULL);
	CHECK_STR(v.message, "");
	CHECK(v.result == 0 && v.digest == digest);
	CHECK(w.result == 0 && w.digest == digest);
	vq_buf_free(&packed);
	vq_buf_free(&plain);
	vq_buf_free(&again);
}

TEST(streams_are_joined_with_cat)
{
	vq_buf all = {0};
	const char *joined = stream_path("joined.vqt");
	uint64_t digest = 0;
	for (int i = 0; i < 4; i++) { /* the second has no records */
		CHECK_OK(stream_write(stream_path("part.vqt"), "samples", 100 * i, i == 1 ? 0 : 30, i, NULL));
		CHECK_OK(stream_load(stream_path("part.vqt"), &all));
		digest = expected("samples", 100 * i, i == 1 ? 0 : 30, digest);
	}
	stream_save(joined, all.data, all.len);
	stream_view v = stream_read(joined, "samples", NULL), w = stream_read_any_order(joined, NULL);
	CHECK_STR(v.message, "");
	CHECK(v.result == 0 && v.records == 90 && v.digest == digest && !v.warning[0]);
	CHECK(w.result == 0 && w.records == 90 && w.digest == digest && !w.warning[0]);
	vq_buf_free(&all);
}

TEST(any_record_can_be_read)
{
	const char *path = stream_path("r.vqt");
	vqt_file *f;
	vqt_record rec;
	char id[32];
	CHECK_OK(stream_write(path, "codes", 0, 1000, 0, NULL));
	CHECK_OK(vqt_file_open(&f, path, "codes", NULL));
	CHECK(vqt_file_count(f) == 1000 && !vqt_file_warning(f));
	int failures = 0;
	#pragma omp parallel for num_threads(3) private(rec, id) reduction(+:failures)
	for (int i = 0; i < 1000; i += 7) {
		snprintf(id, sizeof id, "cell#%d", i);
		if (vqt_file_read(f, (uint64_t)i, &rec) < 0 || strcmp(rec.id, id))
			failures++;
		vqt_record_free(&rec);
	}
	CHECK(failures == 0);
	CHECK_FAILS(vqt_file_read(f, 1000, &rec), VQ_EINVAL);
	vqt_file_close(f);
	CHECK_FAILS(vqt_file_open(&f, path, "samples", NULL), VQ_EINVAL);
	CHECK_HAS(vq_message(), "a stream of codes, where samples are wanted");
	CHECK_FAILS(vqt_file_open(&f, "-", NULL, NULL), VQ_EINVAL);
}

TEST(what_cannot_be_written_is_refused)
{
	vqt_writer *w;
	vqt_record a, b;
	cJSON *h = stream_header("samples");
	vqt_options o = { .record_bytes = 4096 };
	CHECK_OK(vqt_create(&w, stream_path("bad.vqt"), h, &o));
	CHECK_OK(stream_record(&a, "samples", 0));
	CHECK_OK(vqt_record_copy(&b, &a));
	CHECK_OK(vqt_put(w, &a));
	CHECK_FAILS(vqt_put(w, &b), VQ_EINVAL);
	CHECK_HAS(vq_message(), "bad.vqt: record 1, \"cell#0\": the id occurs twice");
	b.id[0] = '\n';
	CHECK_FAILS(vqt_put(w, &b), VQ_EINVAL);
	b.id[0] = 'x';
	vq_tensor big;
	CHECK_OK(vq_tensor_make(&big, VQ_F64, 2, (int64_t[]){ 64, 64 }));
	CHECK_FAILS(vqt_set(&b, "no spaces", &big), VQ_EINVAL);
	CHECK_OK(vqt_set(&b, "big", &big));
	CHECK_FAILS(vqt_put(w, &b), VQ_ELIMIT);
	vqt_remove(&b, "big");
	CHECK_OK(vqt_put(w, &b)); /* a refused record leaves no trace */
	CHECK_OK(vqt_finish(w));
	CHECK(stream_read(stream_path("bad.vqt"), NULL, NULL).records == 2);
	CHECK_OK(vqt_create(&w, stream_path("gone.vqt"), h, NULL));
	CHECK_OK(vqt_put(w, &a));
	vqt_abort(w);
	CHECK(access(stream_path("gone.vqt"), F_OK) != 0);
	vqt_record_free(&a);
	vqt_record_free(&b);
	cJSON_Delete(h);
}

TEST(a_full_device_is_an_error)
{
	if (access("/dev/full", W_OK))
		SKIP("no /dev/full");
	for (int threads = 1; threads < 3; threads++) {
		vqt_options o = { .threads = threads };
		vq_status s = stream_write("/dev/full", "samples", 0, 2000, 0, &o);
		CHECK(s == VQ_EIO);
		CHECK_HAS(vq_message(), "/dev/full: No space left on device");
	}
}

TEST(a_filter_adds_itself_to_the_chain_and_keeps_frames_flowing)
{
	vqt_filter f;
	vqt_record rec;
	const char *const given[] = { "--x" };
	cJSON *args = cJSON_CreateStringArray(given, 1);
	const char *in = stream_path("in.vqt"), *out = stream_path("out.vqt");
	CHECK_OK(stream_write(in, "samples", 0, 9, 3, NULL));
	CHECK_OK(vqt_filter_open(&f, in, out, "samples", "codes", "vq-filter", args, NULL));
	int got, n = 0;
	while ((got = vqt_filter_next(&f, &rec)) > 0) {
		CHECK_OK(vqt_put(f.out, &rec));
		vqt_record_free(&rec);
		n++;
	}
	CHECK(got == 0 && n == 9);
	CHECK_OK(vqt_filter_finish(&f));
	vqt_reader *r;
	CHECK_OK(vqt_open(&r, out, "codes", NULL));
	const cJSON *chain = cJSON_GetObjectItem(vqt_header(r), "chain");
	CHECK(cJSON_GetArraySize(chain) == 2);
	char *step = cJSON_PrintUnformatted(cJSON_GetArrayItem(chain, 1));
	CHECK_STR(step, "{\"tool\":\"vq-filter\",\"version\":\"" VQ_VERSION "\",\"args\":[\"--x\"]}");
	cJSON_free(step);
	for (int i = 0; i < 9; i++) {
		CHECK(vqt_next(r, &rec) == 1);
		vqt_record_free(&rec);
		CHECK(vqt_drained(r) == (i % 3 == 2)); /* the frames of the input */
	}
	vqt_close(r);
	CHECK_FAILS(vqt_filter_open(&f, in, out, "codes", NULL, "vq-filter", NULL, NULL), VQ_EINVAL);
}

typedef struct { int to, from; vq_buf stream; size_t half; uint64_t seen, digest; int result; } neighbour;

/* Both ends of the pipe: sends the second half only when the records of the first have come back. */
static void *send_and_receive(void *arg)
{
	neighbour *n = arg;
	char path[64];
	vqt_reader *r;
	vqt_record rec;
	snprintf(path, sizeof path, "/proc/self/fd/%d", n->from);
	n->result = write(n->to, n->stream.data, n->half) == (ssize_t)n->half ? vqt_open(&r, path, NULL, NULL) : VQ_EIO;
	if (n->result < 0)
		return NULL;
	while ((n->result = vqt_next(r, &rec)) > 0) {
		n->digest = stream_digest(&rec, n->digest);
		vqt_record_free(&rec);
		if (++n->seen == 3) {
			size_t left = n->stream.len - n->half;
			if (write(n->to, n->stream.data + n->half, left) != (ssize_t)left)
				break;
			close(n->to);
		}
	}
	vqt_close(r);
	return NULL;
}

/* Two joined segments through a filter: out comes one, and nothing is held back while the input waits. */
static void filter_in_a_pipe(int threads)
{
	int in[2], out[2];
	char from[64], to[64];
	vqt_filter f;
	vqt_record rec;
	neighbour n = {0};
	pthread_t thread;
	vqt_options o = { .threads = threads };
	for (int i = 0; i < 2; i++) {
		CHECK_OK(stream_write(stream_path("p.vqt"), "samples", 3 * i, 3, 0, NULL));
		CHECK_OK(stream_load(stream_path("p.vqt"), &n.stream));
		if (!i)
			n.half = n.stream.len - 40; /* a cut in the first index: all its records are there, and the end */
	}
	CHECK(!pipe(in) && !pipe(out));
	n.to = in[1];
	n.from = out[0];
	snprintf(from, sizeof from, "/proc/self/fd/%d", in[0]);
	snprintf(to, sizeof to, "/proc/self/fd/%d", out[1]);
	alarm(60);
	CHECK(!pthread_create(&thread, NULL, send_and_receive, &n));
	CHECK_OK(vqt_filter_open(&f, from, to, NULL, NULL, "vq-filter", NULL, &o));
	int got;
	while ((got = vqt_filter_next(&f, &rec)) > 0) {
		CHECK_OK(vqt_put(f.out, &rec));
		vqt_record_free(&rec);
	}
	CHECK(got == 0);
	CHECK_OK(vqt_filter_finish(&f));
	close(out[1]);
	pthread_join(thread, NULL);
	alarm(0);
	close(in[0]);
	close(out[0]);
	vq_buf_free(&n.stream);
	CHECK(n.result == 0 && n.seen == 6 && n.digest == expected("samples", 0, 6, 0));
}

TEST(a_filter_holds_nothing_back)
{
	filter_in_a_pipe(1);
	filter_in_a_pipe(3);
}

TEST(many_ids_make_no_false_alarm)
{
	static vqt_ids ids;
	char id[32];
	size_t cells = 0;
	for (int i = 0; i < 200000; i++) {
		snprintf(id, sizeof id, "plate/well#%d", i);
		CHECK(vqt_ids_add(&ids, id) == 1);
	}
	for (int i = 0; i < 200000; i += 1999) {
		snprintf(id, sizeof id, "plate/well#%d", i);
		CHECK(vqt_ids_add(&ids, id) == 0);
	}
	for (int i = 0; i < 256; i++)
		cells += ids.shard[i].cap;
	CHECK(cells * 8 <= 200000 * 16);
	vqt_ids_free(&ids);
}

TEST_MAIN(
	RUN(hash_is_xxh64)
	RUN(every_type_and_shape_comes_back)
	RUN(tensors_are_aligned_and_named_once)
	RUN(the_bytes_are_those_of_the_manual)
	RUN(the_header_keeps_kind_channels_and_chain)
	RUN(a_stream_of_no_records_is_complete)
	RUN(the_bytes_do_not_depend_on_threads)
	RUN(small_records_share_a_frame_unless_flushed)
	RUN(plain_bytes_are_a_stream_too)
	RUN(streams_are_joined_with_cat)
	RUN(any_record_can_be_read)
	RUN(what_cannot_be_written_is_refused)
	RUN(a_full_device_is_an_error)
	RUN(a_filter_adds_itself_to_the_chain_and_keeps_frames_flowing)
	RUN(a_filter_holds_nothing_back)
	RUN(many_ids_make_no_false_alarm)
)
