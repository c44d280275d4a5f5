/* Streams that went through a pipe: frames that hold their bytes as they are. */
#include "tests/unit/test.h"

#include <fcntl.h>
#include <pthread.h>
#include <sys/stat.h>
#include <unistd.h>

#include "formats/vqt_int.h"
#include "tests/unit/streams.h"

typedef struct { const char *from; vq_buf got; vq_status s; } drain;

/* Odd pieces, so that reads and writes cut frames, blocks and heads anywhere. */
static void *take_all(void *arg)
{
	drain *d = arg;
	char part[777];
	ssize_t n;
	int fd = open(d->from, O_RDONLY);
	d->s = fd < 0 ? VQ_EIO : VQ_OK;
	while (d->s == VQ_OK && (n = read(fd, part, sizeof part)) > 0)
		d->s = vq_buf_add(&d->got, part, (size_t)n);
	close(fd);
	return NULL;
}

static vq_buf piped(const char *kind, int n)
{
	drain d = { .from = stream_path("pipe") };
	pthread_t t;
	unlink(d.from);
	CHECK(!mkfifo(d.from, 0600));
	CHECK(!pthread_create(&t, NULL, take_all, &d));
	CHECK_OK(stream_write(d.from, kind, 0, n, 2, NULL));
	CHECK(!pthread_join(t, NULL));
	CHECK_OK(d.s);
	unlink(d.from);
	return d.got;
}

TEST(the_plain_stream_is_that_of_a_file)
{
	vq_buf stored = piped("mixed", 20), packed = {0}, a = {0}, b = {0};
	CHECK(stored.len > 20 && vqt_u32(stored.data) == VQT_ZSTD_MAGIC && (unsigned char)stored.data[4] == VQT_STORED_FLAGS);
	CHECK_OK(stream_write(stream_path("file.vqt"), "mixed", 0, 20, 2, NULL));
	CHECK_OK(stream_load(stream_path("file.vqt"), &packed));
	CHECK_OK(stream_plain(&stored, &a)); /* by libzstd */
	CHECK_OK(stream_plain(&packed, &b));
	CHECK(stored.len > packed.len && stored.len > a.len);

	CHECK(a.len == b.len && !memcmp(a.data, b.data, a.len));
	vq_buf_free(&stored);
	vq_buf_free(&packed);
	vq_buf_free(&a);
	vq_buf_free(&b);
}

TEST(it_is_read_in_order_and_in_any_order)
{
	vq_buf stored = piped("mixed", 20);
	const char *path = stream_path("stored.vqt");
	vqt_file *f;
	vqt_record rec, want;
	stream_save(path, stored.data, stored.len);
	stream_view v = stream_read(path, NULL, NULL);
	CHECK_STR(v.message, "");
	CHECK_STR(v.warning, "");
	CHECK(v.result == 0 && v.records == 20);
	CHECK_OK(vqt_file_open(&f, path, NULL, NULL));
	CHECK(!vqt_file_warning(f));
	for (int i = 19; i >= 0; i--) {
		CHECK_OK(vqt_file_read(f, (uint64_t)i, &rec));
		CHECK_OK(stream_record(&want, "mixed", i));
		CHECK(stream_digest(&rec, 1) == stream_digest(&want, 1));
		vqt_record_free(&rec);
		vqt_record_free(&want);
	}
	vqt_file_close(f);
	vq_buf_free(&stored);
}

/* Whatever byte is wrong: what comes out is right, or there is a message. */
TEST(damage_is_found)
{
	vq_buf stored = piped("mixed", 3);
	const char *path = stream_path("damaged.vqt");
	stream_view good, v;
	stream_save(path, stored.data, stored.len);
	good = stream_read(path, NULL, NULL);
	CHECK(good.records == 3);
	for (size_t i = 0; i < stored.len; i += i < 600 ? 1 : 37) {
		stored.data[i] ^= 1 << i % 8;
		stream_save(path, stored.data, stored.len);
		v = stream_read(path, NULL, NULL);
		CHECK(v.result < 0 || (v.records == 3 && v.digest == good.digest));
		stored.data[i] ^= 1 << i % 8;
	}
	size_t all = stored.len;
	for (size_t n = 0; n < all; n += n < 600 ? 1 : 41) {
		stored.len = n;
		stream_save(path, stored.data, stored.len);
		v = stream_read(path, NULL, NULL);
		CHECK(v.result < 0 || (v.records == 3 && *v.warning)); /* an index that is cut is worth a warning */
	}
	vq_buf_free(&stored);
}

TEST_MAIN(RUN(the_plain_stream_is_that_of_a_file) RUN(it_is_read_in_order_and_in_any_order) RUN(damage_is_found))
