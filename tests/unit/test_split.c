#include <unistd.h>

#include "formats/outfile.h"
#include "formats/sample.h"
#include "formats/split.h"
#include "tests/unit/test.h"

enum { N = 200 };
static vq_part_record rec[N];
static char ids[N][16], group_names[N][16];
static uint8_t part[N], again[N];
static vq_part_report report;

/* n cells in groups of the given size. */
static void make(int n, int size)
{
	for (int i = 0; i < n; i++) {
		snprintf(ids[i], sizeof ids[i], "f#%03d", i);
		snprintf(group_names[i], sizeof group_names[i], "g%d", i / size);
		rec[i] = (vq_part_record){ ids[i], group_names[i], NULL };
	}
}

static bool groups_whole(int n)
{
	for (int i = 0; i < n; i++)
		for (int j = 0; j < i; j++)
			if (!strcmp(rec[i].group, rec[j].group) && part[i] != part[j])
				return false;
	return true;
}

TEST(groups_stay_whole_and_the_fraction_is_met)
{
	make(N, 5);
	for (uint64_t seed = 0; seed < 20; seed++) {
		CHECK_OK(vq_part_assign(rec, N, 0.1, seed, part, &report));
		CHECK(groups_whole(N));
		CHECK(report.cells[VQ_PART_VAL] == 20 && report.cells[VQ_PART_TRAIN] == 180 && report.cells[VQ_PART_TEST] == 0);
		CHECK(report.groups[VQ_PART_VAL] == 4 && report.groups[VQ_PART_TRAIN] == 36 && !report.by_cell && !report.declared);
	}
}

TEST(seed_decides_and_record_order_does_not)
{
	make(N, 5);
	CHECK_OK(vq_part_assign(rec, N, 0.1, 7, part, &report));
	CHECK_OK(vq_part_assign(rec, N, 0.1, 7, again, &report));
	CHECK(!memcmp(part, again, N));
	CHECK_OK(vq_part_assign(rec, N, 0.1, 8, again, &report));
	CHECK(memcmp(part, again, N));
	vq_part_record turned[N];
	for (int i = 0; i < N; i++)
		turned[i] = rec[N - 1 - i];
	CHECK_OK(vq_part_assign(turned, N, 0.1, 7, again, &report));
	for (int i = 0; i < N; i++)
		CHECK(part[i] == again[N - 1 - i]);
}

TEST(two_groups_give_one_each)
{
	make(100, 90); /* 90 and 10 */
	for (uint64_t seed = 0; seed < 10; seed++) {
		CHECK_OK(vq_part_assign(rec, 100, 0.1, seed, part, &report));
		CHECK(report.cells[VQ_PART_VAL] == 10 && groups_whole(100)); /* never the big one */
		CHECK_OK(vq_part_assign(rec, 100, 0.01, seed, part, &report));
		CHECK(report.cells[VQ_PART_VAL] == 10 && report.groups[VQ_PART_VAL] == 1);
		CHECK_OK(vq_part_assign(rec, 100, 0.9, seed, part, &report));
		CHECK(report.groups[VQ_PART_VAL] == 1 && report.groups[VQ_PART_TRAIN] == 1);
	}
}

TEST(one_group_is_split_by_cell_and_says_so)
{
	make(50, 50);
	CHECK_OK(vq_part_assign(rec, 50, 0.1, 3, part, &report));
	CHECK(report.by_cell && report.cells[VQ_PART_VAL] == 5 && report.groups[VQ_PART_VAL] == 1 && report.groups[VQ_PART_TRAIN] == 1);
	CHECK_OK(vq_part_assign(rec, 50, 0, 3, part, &report));
	CHECK(!report.by_cell && report.cells[VQ_PART_VAL] == 0);
	CHECK_OK(vq_part_assign(rec, 1, 0.5, 3, part, &report));
	CHECK(report.by_cell && report.cells[VQ_PART_TRAIN] == 1);
	CHECK_OK(vq_part_assign(rec, 0, 0.5, 3, part, &report));
	CHECK(report.cells[VQ_PART_TRAIN] == 0);
}

TEST(declared_parts_stand)
{
	make(40, 4);
	for (int i = 0; i < 40; i++)
		rec[i].declared = i < 20 ? "train" : i < 28 ? "Validation" : i < 36 ? "TEST" : "";
	CHECK_OK(vq_part_assign(rec, 40, 0.1, 0, part, &report));
	CHECK(report.declared && report.cells[VQ_PART_TRAIN] == 24 && report.cells[VQ_PART_VAL] == 8 && report.cells[VQ_PART_TEST] == 8);
	for (int i = 0; i < 40; i++)
		CHECK(part[i] == (i < 20 ? VQ_PART_TRAIN : i < 28 ? VQ_PART_VAL : i < 36 ? VQ_PART_TEST : VQ_PART_TRAIN));
	rec[3].declared = "tset";
	CHECK_FAILS(vq_part_assign(rec, 40, 0.1, 0, part, &report), VQ_EINVAL);
	CHECK_HAS(vq_message(), "f#003");
	CHECK_HAS(vq_message(), "tset");
}

TEST(val_is_drawn_from_declared_train_by_groups)
{
	make(100, 5);
	for (int i = 0; i < 100; i++)
		rec[i].declared = i < 80 ? "train" : "test";
	CHECK_OK(vq_part_assign(rec, 100, 0.25, 0, part, &report));
	CHECK(report.cells[VQ_PART_VAL] == 20 && report.cells[VQ_PART_TEST] == 20 && report.cells[VQ_PART_TRAIN] == 60 && groups_whole(100));
	for (int i = 80; i < 100; i++)
		CHECK(part[i] == VQ_PART_TEST);
	for (int i = 0; i < 100; i++)
		rec[i].declared = "test";
	CHECK_OK(vq_part_assign(rec, 100, 0.25, 0, part, &report));
	CHECK(report.cells[VQ_PART_TEST] == 100);
}

TEST(fractions_out_of_range)
{
	make(4, 2);
	CHECK_FAILS(vq_part_assign(rec, 4, 1, 0, part, &report), VQ_EINVAL);
	CHECK_FAILS(vq_part_assign(rec, 4, -0.1, 0, part, &report), VQ_EINVAL);
	CHECK_FAILS(vq_part_assign(rec, 4, NAN, 0, part, &report), VQ_EINVAL);
}

static bool group_is(const char *json, const char *id, const char *by, const char *want)
{
	cJSON *meta = cJSON_Parse(json);
	char *group = NULL;
	vq_status s = vq_part_group(meta, id, by, &group);
	bool same = want ? s == VQ_OK && !strcmp(group, want) : s == VQ_EINVAL && !group;
	free(group);
	cJSON_Delete(meta);
	return same;
}

TEST(groups_come_from_the_metadata)
{
	const char *all = "{\"field\":\"F\",\"metadata\":{\"Metadata_Group\":\"G\",\"Metadata_Plate\":\"P\",\"Metadata_Well\":\"W\"}}";
	CHECK(group_is(all, "F#1", NULL, "G"));
	CHECK(group_is(all, "F#1", "", "G"));
	CHECK(group_is(all, "F#1", "cell", "F#1"));
	CHECK(group_is(all, "F#1", "Well,Metadata_Plate", "W/P"));
	CHECK(group_is(all, "F#1", "field", "F"));
	CHECK(group_is(all, "F#1", "Site", NULL));
	CHECK_HAS(vq_message(), "Site");
	CHECK_HAS(vq_message(), "F#1");
	CHECK(group_is("{\"field\":\"F\",\"metadata\":{\"Metadata_Plate\":\"P\",\"Metadata_Well\":\"W\"}}", "F#1", NULL, "P/W"));
	CHECK(group_is("{\"field\":\"F\",\"metadata\":{\"Metadata_Well\":\"W\"}}", "F#1", NULL, "W"));
	CHECK(group_is("{\"field\":\"F\",\"metadata\":{\"Metadata_Plate\":\"P\"}}", "F#1", NULL, "F"));
	CHECK(group_is("{}", "a#b#12", NULL, "a#b"));
	CHECK(group_is("{}", "alone", NULL, "alone"));
}

static const char *scratch(void)
{
	static char path[64];
	snprintf(path, sizeof path, "/tmp/vq-test-split.%ld", (long)getpid());
	return path;
}

TEST(table_round_trip)
{
	vq_parts *t;
	make(40, 4);
	strcpy(ids[7], "odd, \"id\"\n#7");
	CHECK_OK(vq_part_assign(rec, 40, 0.2, 1, part, &report));
	CHECK_OK(vq_parts_write(scratch(), rec, part, 40));
	vq_buf text = { 0 };
	CHECK_OK(vq_file_read(scratch(), 1 << 20, &text));
	CHECK(!strncmp(text.data, "id,group,split\nf#000,g0,", 24));
	vq_buf_free(&text);
	CHECK_OK(vq_parts_read(&t, scratch()));
	CHECK(vq_parts_count(t) == 40);
	for (int i = 0; i < 40; i++) {
		CHECK(vq_parts_find(t, rec[i].id) == part[i]);
		CHECK_STR(vq_parts_group(t, rec[i].id), rec[i].group);
	}
	CHECK(vq_parts_find(t, "f#100") == -1 && !vq_parts_group(t, "f#100"));
	vq_parts_free(t);
	unlink(scratch());
}

static bool table_refused(const char *text, const char *part_of_message)
{
	vq_parts *t;
	vq_status s = vq_out_write(scratch(), text, strlen(text));
	s = s < 0 ? s : vq_parts_read(&t, scratch());
	unlink(scratch());
	return s == VQ_EFORMAT && !t && strstr(vq_message(), part_of_message) && strstr(vq_message(), scratch());
}

TEST(bad_tables_name_file_and_line)
{
	CHECK(table_refused("id,split\na,train\nb,none\n", "line 3"));
	CHECK(table_refused("id,group\na,g\n", "\"split\""));
	CHECK(table_refused("split,group\ntrain,g\n", "\"id\""));
	CHECK(table_refused("id,split\na,train\nb,val\na,test\n", "lines 2 and 4"));
	vq_parts *t;
	CHECK_FAILS(vq_parts_read(&t, "/none/such.csv"), VQ_EIO);
	CHECK_OK(vq_out_write(scratch(), "split,id\nVal,x\n", 15));
	CHECK_OK(vq_parts_read(&t, scratch()));
	CHECK(vq_parts_find(t, "x") == VQ_PART_VAL);
	vq_parts_free(t);
	unlink(scratch());
}

TEST_MAIN(
	RUN(groups_stay_whole_and_the_fraction_is_met)
	RUN(seed_decides_and_record_order_does_not)
	RUN(two_groups_give_one_each)
	RUN(one_group_is_split_by_cell_and_says_so)
	RUN(declared_parts_stand)
	RUN(val_is_drawn_from_declared_train_by_groups)
	RUN(fractions_out_of_range)
	RUN(groups_come_from_the_metadata)
	RUN(table_round_trip)
	RUN(bad_tables_name_file_and_line)
)
