#include "formats/table.h"
#include "formats/outfile.h"
#include "tests/unit/streams.h"
#include "tests/unit/test.h"

static const char *const columns[] = { "id", "value" };

TEST(columns_found_on_the_way)
{
	vq_table *t;
	vq_buf got = {0};
	const char *path = stream_path("t.csv");
	CHECK_OK(vq_table_open(&t, path, columns, 2));
	CHECK_OK(vq_table_text(t, "a,\"1\"\nb"));
	CHECK_OK(vq_table_number(t, 0.1));
	CHECK_OK(vq_table_row(t));
	CHECK_OK(vq_table_text(t, "c"));
	CHECK_OK(vq_table_number(t, NAN));
	CHECK_OK(vq_table_named(t, "Plate", "P 1"));
	CHECK_OK(vq_table_named(t, "Well", "A01"));
	CHECK_OK(vq_table_row(t));
	CHECK_OK(vq_table_text(t, NULL));
	CHECK_OK(vq_table_number(t, -1234567.125));
	CHECK_OK(vq_table_named(t, "Site", "\"s\""));
	CHECK_OK(vq_table_named(t, "Plate", NULL));
	CHECK_OK(vq_table_row(t));
	CHECK_OK(vq_table_text(t, "e"));
	CHECK_OK(vq_table_number(t, 1e-20));
	CHECK_OK(vq_table_row(t));
	CHECK_FAILS(vq_file_read(path, 1000, &got), VQ_EIO); /* nothing under the name yet */
	CHECK_OK(vq_table_commit(t));
	CHECK_OK(vq_file_read(path, 1000, &got));
	CHECK_STR(got.data, "id,value,Plate,Well,Site\n"
	          "\"a,\"\"1\"\"\nb\",0.1,,,\n"
	          "c,,P 1,A01,\n"
	          ",-1234567.125,,,\"\"\"s\"\"\"\n"
	          "e,1e-20,,,\n");
	vq_buf_free(&got);
}

TEST(no_row_and_a_wrong_row)
{
	vq_table *t;
	vq_buf got = {0};
	const char *path = stream_path("u.csv");
	CHECK_OK(vq_table_open(&t, path, columns, 2));
	CHECK_OK(vq_table_commit(t));
	CHECK_OK(vq_file_read(path, 1000, &got));
	CHECK_STR(got.data, "id,value\n");
	path = stream_path("v.csv");
	CHECK_OK(vq_table_open(&t, path, columns, 2));
	CHECK_OK(vq_table_text(t, "x"));
	CHECK_FAILS(vq_table_row(t), VQ_EINVAL);
	CHECK_HAS(vq_message(), "v.csv: a row of 1 cells for 2 columns");
	vq_table_abort(t);
	CHECK_FAILS(vq_file_read(path, 1000, &got), VQ_EIO);
	CHECK_FAILS(vq_table_open(&t, "/no/such/t.csv", columns, 2), VQ_EIO);
	vq_buf_free(&got);
}

TEST_MAIN(RUN(columns_found_on_the_way) RUN(no_row_and_a_wrong_row))
