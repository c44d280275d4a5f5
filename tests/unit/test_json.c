/* The printer beside cJSON's, and the parser that leaves members as text. */
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "formats/json.h"
#include "lib/rng.h"
#include "tests/unit/test.h"

static void same_number(double d)
{
	vq_buf b = {0};
	cJSON *n = cJSON_CreateNumber(d);
	char *want = cJSON_PrintUnformatted(n);
	CHECK_OK(vq_json_print(&b, n));
	CHECK_STR(b.data, want);
	cJSON_free(want);
	cJSON_Delete(n);
	vq_buf_free(&b);
}

TEST(numbers)
{
	static const double some[] = { 0, 1, -1, 0.1, 0.05, -0.05, 100, 1e-4, 9.9e-5, 123456789, 1e9, 1e14, 999999999999999.0, 1e15, 1e16, 1.5e300, 5e-324, 0.1 + 0.2,
		1.0 / 3, 2147483647, 2147483648.0, -2147483648.0, 4294967295.5, 99.9, 1e8 + 0.000001, 123.000001, NAN, INFINITY, -INFINITY, 65535.25, 1e-7, 12345678.9012345 };
	for (size_t i = 0; i < VQ_COUNT(some); i++)
		same_number(some[i]);
	vq_rng r = vq_rng_make(5, 1);
	for (int i = 0; i < 20000; i++) {
		double u = vq_rng_uniform(&r), whole = floor(u * 1e6);
		same_number(u);
		same_number((u - 0.5) * pow(10, (double)(i % 40) - 20));
		same_number(whole / pow(10, i % 8));
		same_number((double)(float)u * 255);
	}
}

static void same_text(const char *text)
{
	cJSON *json = cJSON_Parse(text);
	char *want = cJSON_PrintUnformatted(json);
	vq_buf b = {0};
	CHECK(json != NULL);
	CHECK_OK(vq_json_print(&b, json));
	CHECK_STR(b.data, want);
	cJSON_free(want);
	cJSON_Delete(json);
	vq_buf_free(&b);
}

TEST(texts)
{
	same_text("{}");
	same_text("[]");
	same_text("[[],{},[{}],\"\"]");
	same_text("{\"a\":[1,2,{\"b\":null}],\"c\":true,\"d\":false,\"\":\"x\"}");
	same_text("{\"q\\\"\\\\\\/\\b\\f\\n\\r\\t\\u0001\\u001f\\u00e9\":\"\\u4e2d\\u6587 \\ud83d\\ude00 plain\"}");
}

/* As the writer would put it out again. */
static char *through(const char *text, const char *keys)
{
	vq_buf b = {0};
	cJSON *json = vq_json_parse_some(text, strlen(text), keys);
	if (!json)
		return NULL;
	CHECK_OK(vq_json_print(&b, json));
	cJSON_Delete(json);
	return b.data;
}

TEST(some_members)
{
	const char *text = " {\"size\":[12, 3.50],\"source\" : {\"files\":[\"a\\\"b}\",\"c\"],\"n\":-0.5e+3},\"pad\":[1,2,3,4],\"sizes\":null,\"t\":true} ";
	cJSON *json = vq_json_parse_some(text, strlen(text), "pad|size");
	CHECK(json != NULL);
	CHECK(cJSON_IsArray(cJSON_GetObjectItem(json, "size")));
	CHECK(cJSON_IsArray(cJSON_GetObjectItem(json, "pad")));
	CHECK(cJSON_IsRaw(cJSON_GetObjectItem(json, "source")));
	CHECK(cJSON_IsRaw(cJSON_GetObjectItem(json, "sizes")));
	CHECK(!cJSON_GetObjectItem(json, "t")); /* one item with the one before */
	cJSON_Delete(json);
	char *out = through(text, "pad|size");
	CHECK_STR(out, "{\"size\":[12,3.5],\"source\":{\"files\":[\"a\\\"b}\",\"c\"],\"n\":-0.5e+3},\"pad\":[1,2,3,4],\"sizes\":null,\"t\":true}");
	free(out);
	out = through("{\"a\":1,\"b\": 2,\"c\":3,\"d\":4 ,\"e\":5, \"f\":6,\"pad\":[0],\"g\t\":7,\"h\t\":8,\"a\":9}", "size|pad");
	CHECK_STR(out, "{\"a\":1,\"b\":2,\"c\":3,\"d\":4,\"e\":5,\"f\":6,\"pad\":[0],\"g\\t\":7,\"h\\t\":8,\"a\":9}");
	free(out);
	out = through("{}", "pad");
	CHECK_STR(out, "{}");
	free(out);
}

TEST(parts)
{
	vq_buf b = {0};
	CHECK_OK(vq_json_print_numbers(&b, (double[]){ 1, -0.5, NAN, 1e300 }, 4));
	CHECK_OK(vq_json_print_numbers(&b, NULL, 0));
	CHECK_OK(vq_json_print_number(&b, 12));
	CHECK_OK(vq_json_print_string(&b, "a\"\n"));
	CHECK_STR(b.data, "[1,-0.5,null,1e+300][]12\"a\\\"\\n\"");
	vq_buf_free(&b);
}

TEST(what_cjson_must_judge)
{
	static const char *const no[] = { "", "[]", "1", "{", "{\"a\"}", "{\"a\":}", "{\"a\":1,}", "{,}", "{\"a\":1 \"b\":2}", "{\"a\":1}x", "{\"a\":01}", "{\"a\":1.}",
		"{\"a\":.5}", "{\"a\":1e}", "{\"a\":+1}", "{\"a\":nul}", "{\"a\":\"\\u0041\"}", "{\"a\":\"\\x\"}", "{\"a\":\"x}", "{\"a\\n\":1}", "{\"a\":[1,]}", "{\"a\":[1 2]}",
		"{\"a\":{\"b\":1,}}", "{a:1}", "{\"a\":--1}", "{\"a\":]}" };
	for (size_t i = 0; i < VQ_COUNT(no); i++)
		CHECK(!vq_json_parse_some(no[i], strlen(no[i]), "z"));
	char deep[200] = "{\"a\":";
	memset(deep + 5, '[', 80);
	memset(deep + 85, ']', 80);
	deep[165] = '}';
	CHECK(!vq_json_parse_some(deep, strlen(deep), "z"));
	CHECK(!vq_json_parse_some("{\"a\":1}\0{", 9, "z"));
}

TEST_MAIN(RUN(numbers) RUN(texts) RUN(some_members) RUN(parts) RUN(what_cjson_must_judge))
