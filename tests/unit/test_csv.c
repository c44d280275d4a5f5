#include "formats/csv.h"
#include "tests/unit/test.h"

#include <unistd.h>

static char path[] = "/tmp/test_csv_XXXXXX";

/* Opens text of n bytes as a table. */
static vq_status open_text(vq_csv **c, const char *text, size_t n)
{
	FILE *f = fopen(path, "wb");
	if (!f || fwrite(text, 1, n, f) != n || fclose(f))
		return VQ_EIO;
	return vq_csv_open(c, path);
}
#define OPEN(text) open_text(&c, text, sizeof(text) - 1)

TEST(plain)
{
	vq_csv *c;
	CHECK_OK(OPEN("a,b,c\n1,2,3\n\n4,,6"));
	CHECK(vq_csv_columns(c) == 3 && vq_csv_column(c, "b") == 1 && vq_csv_column(c, "d") == -1);
	CHECK_STR(vq_csv_name(c, 2), "c");
	CHECK(vq_csv_next(c) == 1);
	CHECK_STR(vq_csv_get(c, 0), "1");
	CHECK_STR(vq_csv_get(c, 2), "3");
	CHECK(vq_csv_line(c) == 2);
	CHECK(vq_csv_next(c) == 1);
	CHECK_STR(vq_csv_get(c, 0), "4");
	CHECK_STR(vq_csv_get(c, 1), "");
	CHECK_STR(vq_csv_get(c, 2), "6");
	CHECK(vq_csv_line(c) == 4);
	CHECK(vq_csv_next(c) == 0 && vq_csv_next(c) == 0);
	CHECK_STR(vq_csv_get(c, 0), "");
	vq_csv_close(c);
}

TEST(quotes_and_line_breaks)
{
	vq_csv *c;
	CHECK_OK(OPEN("\xef\xbb\xbf\"na\"\"me\",b\r\n\"x,y\",\"two\r\nlines\"\r\n\"\",in\"side\r\nlast,\"q\""));
	CHECK_STR(vq_csv_name(c, 0), "na\"me");
	CHECK(vq_csv_next(c) == 1 && vq_csv_line(c) == 2);
	CHECK_STR(vq_csv_get(c, 0), "x,y");
	CHECK_STR(vq_csv_get(c, 1), "two\r\nlines");
	CHECK(vq_csv_next(c) == 1 && vq_csv_line(c) == 4);
	CHECK_STR(vq_csv_get(c, 0), "");
	CHECK_STR(vq_csv_get(c, 1), "in\"side");
	CHECK(vq_csv_next(c) == 1 && vq_csv_line(c) == 5);
	CHECK_STR(vq_csv_get(c, 1), "q");
	CHECK(vq_csv_next(c) == 0);
	vq_csv_close(c);
}

TEST(old_mac_line_ends)
{
	vq_csv *c;
	CHECK_OK(OPEN("a,b\r1,2\r\r3,4\r"));
	CHECK(vq_csv_next(c) == 1 && vq_csv_next(c) == 1 && vq_csv_line(c) == 4);
	CHECK_STR(vq_csv_get(c, 1), "4");
	CHECK(vq_csv_next(c) == 0);
	vq_csv_close(c);
}

TEST(ragged_rows)
{
	vq_csv *c;
	CHECK_OK(OPEN("a,b,c\n1\n1,2,3,4\n"));
	CHECK(vq_csv_next(c) == 1 && vq_csv_fields(c) == 1);
	CHECK_STR(vq_csv_get(c, 2), "");
	CHECK(vq_csv_next(c) == 1 && vq_csv_fields(c) == 4);
	CHECK_STR(vq_csv_get(c, -1), "");
	vq_csv_close(c);
}

TEST(rows_across_chunks)
{
	vq_csv *c;
	vq_buf b = { 0 };
	vq_buf_str(&b, "n,text\n");
	for (int i = 0; i < 20000; i++)
		vq_buf_fmt(&b, "%d,\"a,\"\"%d\"\"\"\r\n", i, i * 7);
	CHECK_OK(open_text(&c, b.data, b.len));
	for (int i = 0; i < 20000; i++) {
		char want[40];
		snprintf(want, sizeof want, "a,\"%d\"", i * 7);
		CHECK(vq_csv_next(c) == 1 && atoi(vq_csv_get(c, 0)) == i);
		CHECK_STR(vq_csv_get(c, 1), want);
	}
	CHECK(vq_csv_next(c) == 0);
	vq_csv_close(c);
	vq_buf_free(&b);
}

TEST(refusals)
{
	vq_csv *c;
	CHECK_FAILS(OPEN(""), VQ_EFORMAT);
	CHECK_HAS(vq_message(), "empty");
	CHECK_FAILS(OPEN("\n\r\n"), VQ_EFORMAT);
	CHECK_FAILS(OPEN("\xff\xfe" "a\0,\0"), VQ_EFORMAT);
	CHECK_HAS(vq_message(), "UTF-16");
	CHECK_FAILS(OPEN("a\0b\n"), VQ_EFORMAT);
	CHECK_HAS(vq_message(), "line 1: a NUL byte");
	CHECK_FAILS(vq_csv_open(&c, "/nowhere/table.csv"), VQ_EIO);
	CHECK_STR(vq_message(), "/nowhere/table.csv: No such file or directory");
	CHECK_FAILS(vq_csv_open(&c, "/tmp"), VQ_EIO);
	CHECK_OK(OPEN("a\n\"open\nstill\n"));
	CHECK_FAILS(vq_csv_next(c), VQ_EFORMAT);
	CHECK_HAS(vq_message(), "line 2: a quote that is never closed");
	vq_csv_close(c);
	CHECK_OK(OPEN("a\n1\n\"b\"c\n"));
	CHECK(vq_csv_next(c) == 1);
	CHECK_FAILS(vq_csv_next(c), VQ_EFORMAT);
	CHECK_HAS(vq_message(), "line 3: text after a closing quote");
	vq_csv_close(c);
}

TEST(written_fields_come_back)
{
	static const char *const text[] = { "plain", "a,b", "q\"q", "two\nlines", " blank", "", "tab\t", "\"", "cr\r", "\xc3\xa9" };
	const int n = (int)VQ_COUNT(text);
	vq_csv *c;
	vq_buf b = { 0 };
	FILE *f = fopen(path, "wb");
	CHECK(f);
	vq_csv_write(f, text, n);
	vq_csv_write(f, text, n);
	fclose(f);
	CHECK_OK(vq_csv_open(&c, path));
	CHECK(vq_csv_next(c) == 1 && vq_csv_fields(c) == n);
	for (int i = 0; i < n; i++) {
		CHECK_STR(vq_csv_name(c, i), text[i]);
		CHECK_STR(vq_csv_get(c, i), text[i]);
	}
	vq_csv_close(c);
	CHECK_OK(vq_csv_add(&b, "a\"b"));
	CHECK_STR(b.data, "\"a\"\"b\"");
	vq_buf_free(&b);
}

int main(void)
{
	int fd = mkstemp(path);
	if (fd < 0)
		return 1;
	close(fd);
	RUN(plain) RUN(quotes_and_line_breaks) RUN(old_mac_line_ends) RUN(ragged_rows) RUN(rows_across_chunks) RUN(refusals) RUN(written_fields_come_back)
	printf("1..%d\n", test_number);
	unlink(path);
	return test_failed != 0;
}
