/* Broken streams: cut, flipped, joined wrongly, hostile; and the golden files of the format. VQ_GOLDEN=write makes those anew. */
#include "tests/unit/test.h"

#include <sys/resource.h>
#include <unistd.h>
#include <zstd.h>

#include "formats/outfile.h"
#include "formats/vqt_int.h"
#include "formats/xxh64.h"
#include "lib/rng.h"
#include "tests/unit/streams.h"

enum { RECORDS = 24 };

/* Two segments with several frames each; ends[]: where each segment's end frame ends. */
static void two_segments(vq_buf *b, size_t ends[2])
{
	for (int i = 0; i < 2; i++) {
		vqt_index_tail t;
		CHECK_OK(stream_write(stream_path("part.vqt"), "samples", i * RECORDS / 2, RECORDS / 2, 5, NULL));
		CHECK_OK(stream_load(stream_path("part.vqt"), b));
		CHECK(vqt_index_tail_parse(&t, (unsigned char *)b->data + b->len - VQT_INDEX_TAIL));
		ends[i] = b->len - t.bytes;
	}
}

static stream_view read_memory(const void *data, size_t n)
{
	stream_memory m = stream_memory_open(data, n);
	stream_view v = stream_read(m.path, NULL, NULL);
	stream_memory_close(&m);
	return v;
}

static stream_view read_memory_any_order(const void *data, size_t n)
{
	stream_memory m = stream_memory_open(data, n);
	stream_view v = stream_read_any_order(m.path, NULL);
	stream_memory_close(&m);
	return v;
}

/* A cut stream says how many records were read and which was the last; between two segments, a cut is none. */
static void check_cut(const vq_buf *b, size_t cut, const size_t ends[2], size_t first)
{
	char part[192];
	stream_view v = read_memory(b->data, cut);
	if (cut >= ends[1] || (cut >= ends[0] && cut <= first)) {
		if (v.result)
			TEST_END(1, "cut at %zu: %s", cut, v.message);
		CHECK(v.records == (cut >= ends[1] ? RECORDS : RECORDS / 2));
		CHECK((cut == b->len || cut == first) == !v.warning[0]);
		return;
	}
	if (v.result != VQ_ETRUNC)
		TEST_END(1, "cut at %zu: %d %s", cut, v.result, v.message);
	if (v.records) {
		snprintf(part, sizeof part, "truncated: %llu record%s read, the last good one \"%s\"", (unsigned long long)v.records,
			v.records == 1 ? " was" : "s were", v.last);
		CHECK_HAS(v.message, part);
	}
	CHECK(read_memory_any_order(b->data, cut).result == VQ_ETRUNC);
}

TEST(a_cut_anywhere_is_refused)
{
	vq_buf b = {0};
	size_t ends[2], first;
	vq_rng rng = vq_rng_make(11, 0);
	two_segments(&b, ends);
	vqt_index_tail t;
	CHECK(vqt_index_tail_parse(&t, (unsigned char *)b.data + b.len - VQT_INDEX_TAIL));
	first = b.len - t.segment;
	for (int i = 0; i < 1000; i++)
		check_cut(&b, 1 + vq_rng_below(&rng, b.len), ends, first);
	for (size_t i = 0; i < 12; i++) {
		check_cut(&b, ends[0] - i, ends, first);
		check_cut(&b, ends[0] + i, ends, first);
		check_cut(&b, first - i, ends, first);
		check_cut(&b, ends[1] - i, ends, first);
		check_cut(&b, ends[1] + i, ends, first);
	}
	check_cut(&b, b.len, ends, first);
	vq_buf_free(&b);
	stream_view v = read_memory("", 0);
	CHECK(v.result == VQ_ETRUNC);
	CHECK_HAS(v.message, "empty: not even a stream header");
}

TEST(a_plain_stream_that_is_cut_is_refused)
{
	vq_buf b = {0}, plain = {0};
	vq_rng rng = vq_rng_make(12, 0);
	CHECK_OK(stream_write(stream_path("a.vqt"), "samples", 0, 8, 0, NULL));
	CHECK_OK(stream_load(stream_path("a.vqt"), &b));
	CHECK_OK(stream_plain(&b, &plain));
	for (int i = 0; i < 300; i++) {
		stream_view v = read_memory(plain.data, 4 + vq_rng_below(&rng, plain.len - 4));
		CHECK(v.result == VQ_ETRUNC);
		CHECK_HAS(v.message, "truncated");
	}
	vq_buf_free(&b);
	vq_buf_free(&plain);
}

/* Refused with the place named, or the very same records. */
static int check_flip(vq_buf *b, size_t at, int bit, const stream_view *good)
{
	b->data[at] = (char)(b->data[at] ^ 1 << bit);
	stream_view v = read_memory(b->data, b->len), w = read_memory_any_order(b->data, b->len);
	b->data[at] = (char)(b->data[at] ^ 1 << bit);
	if (v.result == 0 && (v.digest != good->digest || v.records != good->records))
		TEST_END(1, "byte %zu, bit %d: other records", at, bit);
	if (w.result == 0 && (w.digest != good->digest || w.records != good->records))
		TEST_END(1, "byte %zu, bit %d: other records in random order", at, bit);
	if (v.result && !((strstr(v.message, "record") && strstr(v.message, "byte")) || strstr(v.message, "not a vqt stream") ||
	    strstr(v.message, "stream header")))
		TEST_END(1, "byte %zu, bit %d: %s", at, bit, v.message);
	return v.result != 0;
}

TEST(a_flipped_bit_is_refused_or_harmless)
{
	vq_buf b = {0}, plain = {0};
	size_t ends[2];
	int refused = 0;
	vq_rng rng = vq_rng_make(13, 0);
	two_segments(&b, ends);
	stream_view good = read_memory(b.data, b.len);
	CHECK(good.result == 0 && good.records == RECORDS);
	for (int i = 0; i < 1000; i++) {
		size_t at = vq_rng_below(&rng, b.len);
		refused += check_flip(&b, at, (int)vq_rng_below(&rng, 8), &good);
	}
	CHECK(refused > 700);
	CHECK_OK(stream_plain(&b, &plain));
	for (int i = 0; i < 500; i++) {
		size_t at = vq_rng_below(&rng, plain.len);
		CHECK(check_flip(&plain, at, (int)vq_rng_below(&rng, 8), &good));
	}
	vq_buf_free(&b);
	vq_buf_free(&plain);
}

TEST(damage_to_an_index_alone_is_a_warning)
{
	vq_buf b = {0};
	size_t ends[2];
	two_segments(&b, ends);
	stream_view good = read_memory(b.data, b.len);
	vqt_index_tail t;
	CHECK(vqt_index_tail_parse(&t, (unsigned char *)b.data + b.len - VQT_INDEX_TAIL));
	size_t first = b.len - t.segment;
	for (size_t at = ends[0]; at < b.len; at = at + 1 == first ? ends[1] : at + 1)
		for (int bit = 0; bit < 8; bit++) {
			b.data[at] = (char)(b.data[at] ^ 1 << bit);
			stream_view v = read_memory(b.data, b.len), w = bit ? v : read_memory_any_order(b.data, b.len);
			if (v.result || v.digest != good.digest || w.result || w.digest != good.digest || !v.warning[0] || !w.warning[0])
				TEST_END(1, "byte %zu, bit %d: %s %s", at, bit, v.message, v.warning);
			b.data[at] = (char)(b.data[at] ^ 1 << bit);
		}
	vq_buf_free(&b);
}

static void joined(const char *kind, const cJSON *header, int first)
{
	vq_buf b = {0};
	vqt_writer *w;
	vqt_record r;
	CHECK_OK(stream_write(stream_path("part.vqt"), "samples", 0, 2, 0, NULL));
	CHECK_OK(stream_load(stream_path("part.vqt"), &b));
	CHECK_OK(vqt_create(&w, stream_path("part.vqt"), header, NULL));
	CHECK_OK(stream_record(&r, kind, first));
	CHECK_OK(vqt_put(w, &r));
	vqt_record_free(&r);
	CHECK_OK(vqt_finish(w));
	CHECK_OK(stream_load(stream_path("part.vqt"), &b));
	stream_save(stream_path("joined.vqt"), b.data, b.len);
	vq_buf_free(&b);
}

TEST(what_does_not_agree_cannot_be_joined)
{
	cJSON *h = stream_header("codes");
	joined("codes", h, 5);
	cJSON_Delete(h);
	stream_view v = stream_read(stream_path("joined.vqt"), NULL, NULL), w = stream_read_any_order(stream_path("joined.vqt"), NULL);
	CHECK(v.result == VQ_EFORMAT && v.records == 2 && w.result == VQ_EFORMAT);
	CHECK_HAS(v.message, "joined.vqt: record 2 (after \"cell#1\"), byte ");
	CHECK_HAS(v.message, "streams of different kinds were joined: first samples, then codes");
	h = stream_header("samples");
	cJSON_ReplaceItemInArray(cJSON_GetObjectItem(h, "channels"), 1, cJSON_CreateString("RNA"));
	joined("samples", h, 5);
	v = stream_read(stream_path("joined.vqt"), NULL, NULL);
	CHECK_HAS(v.message, "streams of different channels were joined: first [\"DNA\",\"ER\"], then [\"DNA\",\"RNA\"]");
	cJSON_Delete(h);
	h = stream_header("samples");
	joined("samples", h, 1);
	cJSON_Delete(h);
	v = stream_read(stream_path("joined.vqt"), NULL, NULL);
	CHECK(v.result == VQ_EFORMAT && v.records == 2);
	CHECK_HAS(v.message, "the id \"cell#1\" occurs twice");
	w = stream_read_any_order(stream_path("joined.vqt"), NULL);
	CHECK(w.result == VQ_EFORMAT);
	CHECK_HAS(w.message, "the id \"cell#1\" occurs twice");
}

TEST(a_cut_stream_before_another_is_refused)
{
	vq_buf b = {0};
	size_t ends[2];
	two_segments(&b, ends);
	vqt_index_tail t;
	CHECK(vqt_index_tail_parse(&t, (unsigned char *)b.data + b.len - VQT_INDEX_TAIL));
	vq_buf cut = {0};
	vqt_index_tail u;
	size_t first = b.len - t.segment;
	CHECK(vqt_index_tail_parse(&u, (unsigned char *)b.data + first - VQT_INDEX_TAIL));
	CHECK_OK(vq_buf_add(&cut, b.data, u.end)); /* everything but the end record */
	CHECK_OK(vq_buf_add(&cut, b.data + first, b.len - first));
	stream_view v = read_memory(cut.data, cut.len);
	CHECK(v.result == VQ_EFORMAT && v.records == RECORDS / 2);
	CHECK_HAS(v.message, "the one before it was truncated");
	vq_buf_free(&b);
	vq_buf_free(&cut);
}

TEST(a_large_record_is_refused_unless_told)
{
	vqt_limits small = { .record_bytes = 1000 }, exact = { .record_bytes = 1 << 16 };
	CHECK_OK(stream_write(stream_path("l.vqt"), "mixed", 0, 2, 0, NULL));
	stream_view v = stream_read(stream_path("l.vqt"), NULL, &small), w = stream_read_any_order(stream_path("l.vqt"), &small);
	CHECK(v.result == VQ_ELIMIT && w.result == VQ_ELIMIT);
	CHECK_HAS(v.message, "more than the limit of 1000");
	CHECK(stream_read(stream_path("l.vqt"), NULL, &exact).result == 0);
}

/* A record block with sound checksums of the head whose sizes are lies. */
static void hostile(vq_buf *plain, size_t record, vq_rng *rng)
{
	unsigned char *head = (unsigned char *)plain->data + record, *row = head + VQT_BLOCK;
	static const uint64_t values[] = { 0, 1, 63, 64, 128, 4096, 1u << 20, (1u << 30) - 64, 1u << 30, UINT32_MAX, 1ull << 40,
		INT64_MAX, 1ull << 63, UINT64_MAX, UINT64_MAX - 63 };
	for (int k = 0; k < 3; k++) {
		uint64_t v = values[vq_rng_below(rng, VQ_COUNT(values))];
		switch (vq_rng_below(rng, 8)) {
		case 0: vqt_put_u32(head + 32, (uint32_t)v); break;
		case 1: vqt_put_u32(head + 36, (uint32_t)v); break;
		case 2: vqt_put_u32(head + 40, (uint32_t)v); break;
		case 3: vqt_put_u64(row + 80 + 8 * vq_rng_below(rng, 6), v); break;
		case 4: vqt_put_u32(row + 72, (uint32_t)vq_rng_below(rng, 8)); break;
		case 5: row[vq_rng_below(rng, 128)] = (unsigned char)v; break;
		default: vqt_put_u64(head + 8, v); break;
		}
	}
	vqt_put_u64(head + 56, vq_xxh64_of(head, 56, 0));
}

static long peak_kib(void)
{
	struct rusage u;
	getrusage(RUSAGE_SELF, &u);
	return u.ru_maxrss;
}

TEST(sizes_that_lie_take_no_memory)
{
	vq_buf b = {0}, plain = {0};
	vqt_head h;
	vq_rng rng = vq_rng_make(14, 0);
	CHECK_OK(stream_write(stream_path("a.vqt"), "samples", 0, 3, 0, NULL));
	CHECK_OK(stream_load(stream_path("a.vqt"), &b));
	CHECK_OK(stream_plain(&b, &plain));
	CHECK_OK(vqt_head_parse(&h, (unsigned char *)plain.data));
	size_t record = (size_t)h.size;
	char *good = vq_malloc(plain.len);
	CHECK(good);
	memcpy(good, plain.data, plain.len);
	long before = peak_kib();
	for (int i = 0; i < 2000; i++) {
		memcpy(plain.data, good, plain.len);
		hostile(&plain, record, &rng);
		stream_view v = read_memory(plain.data, plain.len);
		CHECK(v.result < 0 || v.records == 3);
	}
	CHECK(peak_kib() - before < 200 << 10); /* the sanitiser keeps what was freed for a while */
	free(good);
	vq_buf_free(&b);
	vq_buf_free(&plain);
}

/* An index with a sound checksum that lies: the records asked for are returned, or none. */
TEST(an_index_that_lies_gives_no_other_records)
{
	vq_buf b = {0};
	vqt_index_tail t;
	vq_rng rng = vq_rng_make(16, 0);
	CHECK_OK(stream_write(stream_path("a.vqt"), "codes", 0, 12, 2, NULL));
	CHECK_OK(stream_load(stream_path("a.vqt"), &b));
	CHECK(vqt_index_tail_parse(&t, (unsigned char *)b.data + b.len - VQT_INDEX_TAIL));
	stream_view good = read_memory_any_order(b.data, b.len);
	CHECK(good.result == 0 && good.records == 12 && !good.warning[0]);
	size_t words = (size_t)(t.bytes - 24 - 16) / 8;
	for (int i = 0; i < 1000; i++) {
		unsigned char *index = (unsigned char *)b.data + b.len - t.bytes, *word = index + 24 + 8 * vq_rng_below(&rng, words), old[8];
		memcpy(old, word, 8);
		vqt_put_u64(word, i % 2 ? vq_rng_below(&rng, b.len + 3) : vqt_u64(word) + vq_rng_below(&rng, 7) - 3);
		vqt_put_u64((char *)b.data + b.len - 16, vq_xxh64_of(index + 8, (size_t)t.bytes - 24, 0));
		stream_view v = read_memory_any_order(b.data, b.len);
		CHECK(v.result < 0 || (v.records == 12 && v.digest == good.digest));
		memcpy(word, old, 8);
	}
	vq_buf_free(&b);
}

TEST(noise_is_no_stream)
{
	vq_rng rng = vq_rng_make(15, 0);
	unsigned char noise[600];
	for (int i = 0; i < 500; i++) {
		size_t n = 1 + vq_rng_below(&rng, sizeof noise);
		for (size_t k = 0; k < n; k++)
			noise[k] = (unsigned char)vq_rng_u32(&rng);
		if (i % 2 && n > 8)
			memcpy(noise, i % 4 == 1 ? "\x28\xB5\x2F\xFD" : "VQTH\1\0\0\0", i % 4 == 1 ? 4 : 8);
		CHECK(read_memory(noise, n).result < 0);
	}
	stream_view v = read_memory("II*\0not a stream", 16);
	CHECK_HAS(v.message, "not a vqt stream");
	CHECK(read_memory("\x50\x2A\x4D\x18\xff\xff\xff\xff", 8).result < 0);
}

/* --- golden files ---- */

static const struct { const char *kind; int n; } goldens[] = { { "samples", 5 }, { "batches", 2 }, { "codes", 6 }, { "mixed", 7 }, { "empty", 0 } };

static char *golden(const char *name)
{
	static char path[256];
	snprintf(path, sizeof path, "tests/golden/%s.vqt", name);
	return path;
}

static void make_good(vq_buf *b, size_t i)
{
	CHECK_OK(stream_write(stream_path("golden.vqt"), goldens[i].kind, 0, goldens[i].n, 4, NULL));
	CHECK_OK(stream_load(stream_path("golden.vqt"), b));
}

static const char *const broken[] = { "v1-truncated", "v1-flipped", "v2-newer", "v1-duplicate", "v1-index-cut", "v1-escape" };

/* A good stream whose channel has a name that would colour a terminal. */
static void make_escape(vq_buf *b)
{
	vqt_writer *w;
	cJSON *h = stream_header("samples");
	cJSON_ReplaceItemInArray(cJSON_GetObjectItem(h, "channels"), 0, cJSON_CreateString("\033[31mDNA"));
	CHECK_OK(vqt_create(&w, stream_path("escape.vqt"), h, NULL));
	cJSON_Delete(h);
	CHECK_OK(vqt_finish(w));
	CHECK_OK(stream_load(stream_path("escape.vqt"), b));
}

static void make_broken(vq_buf *b, size_t i)
{
	vqt_index_tail t;
	make_good(b, 0);
	CHECK(vqt_index_tail_parse(&t, (unsigned char *)b->data + b->len - VQT_INDEX_TAIL));
	if (i == 0)
		b->len = (size_t)t.end;
	if (i == 1)
		b->data[t.end - 40] ^= 4;
	if (i == 2) {
		unsigned char end[VQT_BLOCK];
		vqt_pack_end(end, 0, 0, 0);
		memcpy(end, "VQTH\2\0\1", 7); /* all that a reader of version 1 may know of version 2 */
		b->len = 0;
		CHECK_OK(stream_pack(b, end, sizeof end));
	}
	if (i == 3)
		make_good(b, 0);
	if (i == 4)
		b->len -= 20;
	if (i == 5) {
		b->len = 0;
		make_escape(b);
	}
}

/* The file equals b: in its plain bytes, and also packed when this is the zstd that packed it. */
static void check_golden(const char *name, const vq_buf *b, bool whole)
{
	vq_buf file = {0}, a = {0}, c = {0};
	const char *mode = getenv("VQ_GOLDEN");
	if (mode && !strcmp(mode, "write"))
		stream_save(golden(name), b->data, b->len);
	CHECK_OK(stream_load(golden(name), &file));
	if (ZSTD_versionNumber() == 10504)
		CHECK(file.len == b->len && !memcmp(file.data, b->data, b->len));
	if (whole) {
		CHECK_OK(stream_plain(&file, &a));
		CHECK_OK(stream_plain(b, &c));
		CHECK(a.len == c.len && !memcmp(a.data, c.data, a.len));
	}
	vq_buf_free(&file);
	vq_buf_free(&a);
	vq_buf_free(&c);
}

TEST(golden_files_are_what_is_written)
{
	char name[64];
	for (size_t i = 0; i < VQ_COUNT(goldens); i++) {
		vq_buf b = {0};
		make_good(&b, i);
		snprintf(name, sizeof name, "v1-%s", goldens[i].kind);
		check_golden(name, &b, true);
		vq_buf_free(&b);
		stream_view v = stream_read(golden(name), goldens[i].kind, NULL), w = stream_read_any_order(golden(name), NULL);
		CHECK(v.result == 0 && v.records == (uint64_t)goldens[i].n && !v.warning[0]);
		CHECK(w.result == 0 && w.digest == v.digest && !w.warning[0]);
	}
	for (size_t i = 0; i < VQ_COUNT(broken); i++) {
		vq_buf b = {0};
		make_broken(&b, i);
		check_golden(broken[i], &b, false);
		vq_buf_free(&b);
	}
}

TEST(broken_golden_files_are_refused_with_words)
{
	stream_view v = stream_read(golden("v1-truncated"), NULL, NULL);
	CHECK(v.result == VQ_ETRUNC && v.records == 5);
	CHECK_HAS(v.message, "v1-truncated.vqt: truncated: 5 records were read, the last good one \"cell#4\"; it stops at byte ");
	v = stream_read(golden("v1-flipped"), NULL, NULL);
	CHECK(v.result == VQ_EFORMAT && v.records == 4);
	CHECK_HAS(v.message, "v1-flipped.vqt: record 4 (after \"cell#3\"), byte ");
	v = stream_read(golden("v2-newer"), NULL, NULL);
	CHECK(v.result == VQ_EUNSUP);
	CHECK_STR(v.message, "tests/golden/v2-newer.vqt: the stream has format version 2.1; this program reads up to 1.x: a newer vq is needed");
	v = stream_read(golden("v1-duplicate"), NULL, NULL);
	CHECK(v.result == VQ_EFORMAT && v.records == 5);
	CHECK_HAS(v.message, "v1-duplicate.vqt: record 5 (after \"cell#4\"), byte ");
	CHECK_HAS(v.message, ": the id \"cell#0\" occurs twice");
	v = stream_read(golden("v1-index-cut"), NULL, NULL);
	CHECK(v.result == 0 && v.records == 5);
	CHECK_STR(v.warning, "tests/golden/v1-index-cut.vqt: the index is cut; the records are complete");
	stream_view w = stream_read_any_order(golden("v1-index-cut"), NULL);
	CHECK(w.result == 0 && w.digest == v.digest);
	CHECK_HAS(w.warning, "the index is missing or damaged; all of the file was read instead");
}

TEST_MAIN(
	RUN(a_cut_anywhere_is_refused)
	RUN(a_plain_stream_that_is_cut_is_refused)
	RUN(a_flipped_bit_is_refused_or_harmless)
	RUN(damage_to_an_index_alone_is_a_warning)
	RUN(what_does_not_agree_cannot_be_joined)
	RUN(a_cut_stream_before_another_is_refused)
	RUN(a_large_record_is_refused_unless_told)
	RUN(sizes_that_lie_take_no_memory)
	RUN(an_index_that_lies_gives_no_other_records)
	RUN(noise_is_no_stream)
	RUN(golden_files_are_what_is_written)
	RUN(broken_golden_files_are_refused_with_words)
)
