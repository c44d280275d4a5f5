#include <fcntl.h>
#include <sys/resource.h>
#include <signal.h>
#include <unistd.h>

#include "formats/history.h"
#include "formats/outfile.h"
#include "tests/unit/test.h"

static char path[64];
static const char *scratch(void)
{
	snprintf(path, sizeof path, "/tmp/vq-test-history.%ld", (long)getpid());
	unlink(path);
	return path;
}

static void put(const char *text) { FILE *f = fopen(path, "wb"); fputs(text, f); fclose(f); }

static bool holds(const char *text)
{
	vq_buf b = { 0 };
	bool same = vq_file_read(path, 1 << 20, &b) == VQ_OK && !strcmp(b.data ? b.data : "", text);
	vq_buf_free(&b);
	return same;
}

static vq_status add(vq_history *h, const char *json)
{
	cJSON *line = cJSON_Parse(json);
	vq_status s = vq_history_add(h, line);
	cJSON_Delete(line);
	return s;
}

TEST(lines_are_appended_and_read)
{
	vq_history *h;
	vq_history_lines lines;
	CHECK_OK(vq_history_open(&h, scratch()));
	CHECK_OK(add(h, "{\"epoch\":1,\"step\":10,\"loss\":0.1}"));
	CHECK(holds("{\"epoch\":1,\"step\":10,\"loss\":0.1}\n")); /* there at once */
	CHECK_OK(add(h, "{\"epoch\":2,\"step\":20,\"note\":\"a\\nb\"}"));
	vq_history_close(h);
	CHECK_OK(vq_history_open(&h, path));
	cJSON *nan = cJSON_CreateObject();
	cJSON_AddNumberToObject(nan, "step", 30);
	cJSON_AddNumberToObject(nan, "loss", NAN);
	CHECK_OK(vq_history_add(h, nan));
	cJSON_Delete(nan);
	vq_history_close(h);
	CHECK_OK(vq_history_read(path, &lines));
	CHECK(lines.n == 3 && lines.cut == 0);
	CHECK(cJSON_GetObjectItem(lines.line[1], "step")->valuedouble == 20);
	CHECK(cJSON_IsNull(cJSON_GetObjectItem(lines.line[2], "loss")));
	vq_history_free(&lines);
	unlink(path);
}

TEST(a_cut_last_line_is_numbered)
{
	vq_history *h;
	vq_history_lines lines;
	scratch();
	put("{\"step\":1}\n{\"step\":2}\n{\"st");
	CHECK_OK(vq_history_read(path, &lines));
	CHECK(lines.n == 2 && lines.cut == 3);
	vq_history_free(&lines);
	CHECK_FAILS(vq_history_open(&h, path), VQ_EFORMAT);
	CHECK_HAS(vq_message(), "cut off");
	CHECK_OK(vq_history_cut(path, 100));
	CHECK(holds("{\"step\":1}\n{\"step\":2}\n"));
	CHECK_OK(vq_history_open(&h, path));
	vq_history_close(h);
	put("{\"step\":1}\n{\"step\":2}"); /* without its newline it may be cut, too */
	CHECK_OK(vq_history_read(path, &lines));
	CHECK(lines.n == 1 && lines.cut == 2);
	vq_history_free(&lines);
	put("");
	CHECK_OK(vq_history_read(path, &lines));
	CHECK(lines.n == 0 && lines.cut == 0);
	vq_history_free(&lines);
	unlink(path);
}

TEST(a_bad_line_inside_is_an_error)
{
	vq_history_lines lines;
	scratch();
	put("{\"step\":1}\nhello\n{\"step\":3}\n");
	CHECK_FAILS(vq_history_read(path, &lines), VQ_EFORMAT);
	CHECK_HAS(vq_message(), "line 2");
	CHECK_HAS(vq_message(), path);
	vq_history_free(&lines);
	put("{\"step\":1}\n[1]\n{\"step\":3}\n");
	CHECK_FAILS(vq_history_read(path, &lines), VQ_EFORMAT);
	vq_history_free(&lines);
	put("{\"step\":1}\n{} x\n{\"step\":3}\n");
	CHECK_FAILS(vq_history_read(path, &lines), VQ_EFORMAT);
	vq_history_free(&lines);
	CHECK_FAILS(vq_history_read("/none/such", &lines), VQ_EIO);
	unlink(path);
}

TEST(cutting_back_keeps_bytes)
{
	scratch();
	put("{ \"step\": 10, \"loss\": 0.10 }\n{\"step\":20}\n{\"step\":30}\n");
	CHECK_OK(vq_history_cut(path, 20));
	CHECK(holds("{ \"step\": 10, \"loss\": 0.10 }\n{\"step\":20}\n"));
	CHECK_OK(vq_history_cut(path, 19));
	CHECK(holds("{ \"step\": 10, \"loss\": 0.10 }\n"));
	CHECK_OK(vq_history_cut(path, 0));
	CHECK(holds(""));
	unlink(path);
	CHECK_OK(vq_history_cut(path, 0));
	CHECK(access(path, F_OK));
}

TEST(a_full_disk_leaves_whole_lines)
{
	vq_history *h;
	struct rlimit old, small;
	CHECK_OK(vq_history_open(&h, scratch()));
	CHECK_OK(add(h, "{\"step\":1}"));
	signal(SIGXFSZ, SIG_IGN);
	getrlimit(RLIMIT_FSIZE, &old);
	small = old;
	small.rlim_cur = 15; /* five bytes of the next line fit */
	setrlimit(RLIMIT_FSIZE, &small);
	vq_status s = add(h, "{\"step\":2}");
	setrlimit(RLIMIT_FSIZE, &old);
	vq_history_close(h);
	CHECK(s == VQ_EIO && holds("{\"step\":1}\n"));
	unlink(path);
}

TEST_MAIN(
	RUN(lines_are_appended_and_read)
	RUN(a_cut_last_line_is_numbered)
	RUN(a_bad_line_inside_is_an_error)
	RUN(cutting_back_keeps_bytes)
	RUN(a_full_disk_leaves_whole_lines)
)
