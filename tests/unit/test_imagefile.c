#include "tests/unit/test.h"

#include "formats/imagefile.h"
#include "formats/imagefile_write.h"
#include "tests/unit/sha1.h"

#define DATA "../shared/data/tiffs/"

/* --- every file of the collection --- */

static int cells(char *line, char **cell, int most)
{
	int n = 0;
	for (char *p = line; p && n < most; n++) {
		cell[n] = p;
		if ((p = strpbrk(p, "\t\r\n")))
			*p++ = 0;
	}
	return n;
}

static size_t width_of(const char *dtype)
{
	if (!strcmp(dtype, "bool") || strstr(dtype, "int8"))
		return 1;
	return strstr(dtype, "64") ? 8 : strstr(dtype, "32") ? 4 : 2;
}

/* The bytes that the table's hash is of: its own type, and planes first for separate planes. */
static char *as_decoded(const vq_tensor *t, const char *dtype, bool planar, size_t *bytes)
{
	size_t n = (size_t)(t->shape[0] * t->shape[1]), s = (size_t)t->shape[2], w = width_of(dtype), from = vq_dtype_size(t->dtype);
	char *out = malloc(n * s * w + 1);
	*bytes = n * s * w;
	if (from < w) {
		*bytes = 0;
		return out;
	}
	for (size_t i = 0; i < n; i++)
		for (size_t k = 0; k < s; k++)
			memcpy(out + (planar ? k * n + i : i * s + k) * w, (char *)t->data + (i * s + k) * from, w);
	return out;
}

typedef struct { int files, hashed, matched, refused, wrong, planes, labels; } tally;

/* A failure's message is one line that names the file. */
static bool named(const char *file)
{
	const char *m = vq_message();
	bool good = strstr(m, file) && !strchr(m, '\n');
	if (!good || getenv("VQ_TEST_VERBOSE"))
		printf("# message: %s\n", m);
	return good;
}

static void one_file(char **cell, tally *sum)
{
	char path[512];
	vq_image_file *f;
	vq_tensor t = {0};
	vq_page p = {0};
	snprintf(path, sizeof path, DATA "%s", cell[0]);
	const char *hash = cell[22];
	sum->files++;
	sum->hashed += *hash != 0;
	vq_status s = vq_image_open(&f, path, NULL);
	if (s == VQ_OK)
		s = vq_image_page(f, 0, &p);
	if (s == VQ_OK)
		s = vq_image_read(f, 0, &t);
	char hex[41] = "";
	if (s == VQ_OK && *hash) {
		size_t n;
		char *bytes = as_decoded(&t, cell[21], p.planar, &n);
		test_sha1(bytes, n, hex);
		free(bytes);
		if (strcmp(hex, hash))
			printf("# other pixels: %s (%s %d bit, %s)\n", cell[0], p.codec, p.bits, cell[21]), sum->wrong++;
		else
			sum->matched++;
	} else if (s != VQ_OK && *hash) {
		printf("# refused: %s\n", vq_message() + strlen(DATA));
		sum->refused++;
	} else if (getenv("VQ_TEST_VERBOSE")) {
		printf("# no hash: %s: %s\n", cell[0], s == VQ_OK ? "read" : vq_message());
	}
	sum->wrong += s != VQ_OK && !named(cell[0]);
	vq_tensor_free(&t);
	vq_image im;
	if (f && vq_image_planes(f, &VQ_PICK, &im) == VQ_OK)
		vq_image_free(&im), sum->planes++;
	else
		sum->wrong += !named(cell[0]);
	if (f && vq_image_labels(f, &VQ_PICK, &t) == VQ_OK)
		vq_tensor_free(&t), sum->labels++;
	else
		sum->wrong += !named(cell[0]);
	vq_image_close(f);
}

TEST(collection)
{
	FILE *in = fopen(DATA "manifest.tsv", "r");
	if (!in)
		SKIP("no " DATA "manifest.tsv");
	char line[4096], *cell[24];
	tally sum = {0};
	for (bool first = true; fgets(line, sizeof line, in); first = false) {
		for (int i = 0; i < 24; i++)
			cell[i] = (char *)"";
		if (!first && cells(line, cell, 24) > 0)
			one_file(cell, &sum);
	}
	fclose(in);
	printf("# %d files, %d hashes: %d match, %d refused, %d wrong; %d give planes, %d labels\n", sum.files, sum.hashed, sum.matched,
	       sum.refused, sum.wrong, sum.planes, sum.labels);
	CHECK(sum.files >= 200);
	CHECK(sum.matched >= 110);
	CHECK(sum.wrong == 0);
}

TEST_MAIN(RUN(collection))
