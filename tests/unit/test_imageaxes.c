#include "tests/unit/test.h"

#include "formats/imagefile.h"
#include "formats/imagefile_write.h"
#include "tests/unit/tiffs.h"

/* pages planes of 2x3, every pixel of page i is i. */
static void stack(const char *path, int pages, const char *description)
{
	vq_tensor t;
	CHECK_OK(vq_tensor_make(&t, VQ_U8, 3, (int64_t[]){ pages, 2, 3 }));
	for (int i = 0; i < pages * 6; i++)
		((uint8_t *)t.data)[i] = (uint8_t)(i / 6);
	vq_status s = vq_tiff_write(path, &t, &(vq_tiff_options){ .description = description });
	vq_tensor_free(&t);
	CHECK(s == VQ_OK);
}

/* The page that holds (c,z,t), by its pixels; -1 when it cannot be read. */
static int page_of(vq_image_file *f, int series, int c, int z, int t)
{
	vq_image im;
	vq_pick p = { .page = -1, .series = series, .c = c, .z = z, .t = t };
	if (vq_image_planes(f, &p, &im) < 0)
		return -1;
	int v = im.planes.shape[0] == 1 ? (int)vq_tensor_get(&im.planes, 0) : -2;
	vq_image_free(&im);
	return v;
}

static vq_axes axes_of(vq_image_file *f, int series)
{
	vq_axes a;
	if (vq_image_axes(f, series, &a) < 0) {
		printf("# %s\n", vq_message());
		a = (vq_axes){ .c = -1 };
	}
	return a;
}

#define OME(order, c, z, t, inside) "<?xml version=\"1.0\"?><!-- <Image> in a comment --><OME xmlns=\"x\" UUID=\"urn:uuid:1\"><Image ID=\"Image:0\">" \
	"<Pixels DimensionOrder=\"" order "\" SizeC=\"" c "\" SizeT=\"" t "\" SizeX=\"3\" SizeY=\"2\" SizeZ=\"" z "\" Type=\"uint8\">" inside "</Pixels></Image></OME>"

TEST(ome_orders)
{
	const char *path = temp_path("a.ome.tif");
	static const struct { const char *text; int c, z, t; } order[] = { /* page of c=1, z=2, t=1 among 2 x 3 x 2 */
		{ OME("XYCZT", "2", "3", "2", "<TiffData/>"), 1, 2, 6 }, { OME("XYZCT", "2", "3", "2", ""), 3, 1, 6 },
		{ OME("XYTZC", "2", "3", "2", "<TiffData IFD=\"0\" PlaneCount=\"12\"/>"), 6, 2, 1 },
		{ OME("XYZTC", "2", "3", "2", "<TiffData></TiffData>"), 6, 1, 3 },
	};
	for (size_t i = 0; i < VQ_COUNT(order); i++) {
		stack(path, 12, order[i].text);
		vq_image_file *f;
		CHECK_OK(vq_image_open(&f, path, NULL));
		vq_axes a = axes_of(f, 0);
		CHECK(a.source == VQ_AXES_OME && a.c == 2 && a.z == 3 && a.t == 2 && a.width == 3 && a.height == 2 && a.series == 1);
		for (int c = 0; c < 2; c++)
			for (int z = 0; z < 3; z++)
				for (int t = 0; t < 2; t++)
					CHECK(page_of(f, 0, c, z, t) == c * order[i].c + z * order[i].z + t * order[i].t);
		CHECK(page_of(f, 0, 2, 0, 0) == -1);
		CHECK_HAS(vq_message(), "channel 3");
		vq_image_close(f);
	}
}

TEST(ome_lists_and_names)
{
	const char *path = temp_path("b.ome.tif");
	stack(path, 2, OME("XYCZT", "2", "1", "1", "<Channel ID=\"c0\" Name=\"&#945;-tubulin &lt;1&gt;\" SamplesPerPixel=\"1\"><LightPath/></Channel>"
		"<ome:Channel Name='DNA'/><TiffData FirstC=\"1\" IFD=\"0\"/><TiffData FirstC=\"0\" IFD=\"1\" PlaneCount=\"1\"/>"));
	vq_image_file *f;
	CHECK_OK(vq_image_open(&f, path, NULL));
	CHECK(axes_of(f, 0).c == 2);
	CHECK(page_of(f, 0, 0, 0, 0) == 1 && page_of(f, 0, 1, 0, 0) == 0);
	CHECK_STR(vq_image_channel(f, 0, 0), "\xce\xb1-tubulin <1>");
	CHECK_STR(vq_image_channel(f, 0, 1), "DNA");
	CHECK(!vq_image_channel(f, 0, 2));
	vq_pick one = VQ_PICK;
	one.page = 1;
	vq_image im;
	CHECK_OK(vq_image_planes(f, &one, &im));
	CHECK(vq_tensor_get(&im.planes, 0) == 1);
	vq_image_free(&im);
	vq_image_close(f);
}

TEST(ome_series)
{
	const char *path = temp_path("c.ome.tif");
	stack(path, 5, "<OME><Image><Pixels DimensionOrder=\"XYCZT\" SizeC=\"2\" SizeZ=\"1\" SizeT=\"1\"><TiffData/></Pixels></Image>"
		"<Image><Pixels DimensionOrder=\"XYCZT\" SizeC=\"3\" SizeZ=\"1\" SizeT=\"1\"><TiffData/></Pixels></Image></OME>");
	vq_image_file *f;
	CHECK_OK(vq_image_open(&f, path, NULL));
	vq_axes a = axes_of(f, 1);
	CHECK(a.series == 2 && a.c == 3 && axes_of(f, 0).c == 2);
	CHECK(page_of(f, 0, 1, 0, 0) == 1 && page_of(f, 1, 2, 0, 0) == 4);
	CHECK_FAILS(vq_image_axes(f, 2, &a), VQ_EINVAL);
	vq_image_close(f);
}

#define FILE_OF(c, name) "<TiffData FirstC=\"" c "\" IFD=\"0\" PlaneCount=\"1\"><UUID FileName=\"" name "\">urn:uuid:" name "</UUID></TiffData>"

TEST(ome_in_several_files)
{
	const char *path = temp_path("w2.ome.tif");
	stack(path, 1, OME("XYCZT", "3", "1", "1", "<Channel Name=\"a\"/><Channel Name=\"b\"/><Channel Name=\"c\"/>" FILE_OF("0", "w1.ome.tif")
		FILE_OF("1", "w2.ome.tif") FILE_OF("2", "w3.ome.tif")));
	vq_image_file *f;
	CHECK_OK(vq_image_open(&f, path, NULL));
	vq_axes a = axes_of(f, 0);
	CHECK(a.c == 1 && a.z == 1 && a.t == 1);
	CHECK_STR(vq_image_channel(f, 0, 0), "b");
	CHECK(page_of(f, 0, 0, 0, 0) == 0);
	vq_image_close(f);
	stack(path, 1, OME("XYCZT", "1", "1", "1", FILE_OF("0", "old-name.ome.tif"))); /* renamed */
	CHECK_OK(vq_image_open(&f, path, NULL));
	CHECK(axes_of(f, 0).c == 1);
	vq_image_close(f);
}

TEST(ome_that_lies)
{
	const char *path = temp_path("d.ome.tif");
	static const struct { const char *text, *part; } bad[] = {
		{ OME("XYCZT", "3", "1", "1", "<TiffData/>"), "page 3, the file has 2" },
		{ OME("XYCZT", "2", "1", "1", "<TiffData IFD=\"0\"/><TiffData IFD=\"1\"/>"), "one of them twice" },
		{ OME("XYCZT", "2", "2", "1", "<TiffData IFD=\"0\"/><TiffData FirstC=\"1\" FirstZ=\"1\" IFD=\"1\"/>"), "2 planes of 2 channels" },
		{ OME("XYCZT", "2", "1", "1", "<TiffData FirstC=\"2\" IFD=\"0\"/>"), "outside image 1" },
		{ OME("XYCZT", "99999999999", "1", "1", "<TiffData/>"), "out of range" },
		{ OME("XYCZT", "2", "1", "1", "<TiffData IFD=\"-1\"/>"), "out of range" },
	};
	for (size_t i = 0; i < VQ_COUNT(bad); i++) {
		stack(path, 2, bad[i].text);
		vq_image_file *f;
		vq_axes a;
		CHECK_OK(vq_image_open(&f, path, NULL));
		CHECK_FAILS(vq_image_axes(f, 0, &a), VQ_EFORMAT);
		CHECK_HAS(vq_message(), bad[i].part);
		vq_image_close(f);
	}
	stack(path, 2, "<OME><Image><Pixels SizeC=\"2"); /* cut: no axes, but pages */
	vq_image_file *f;
	CHECK_OK(vq_image_open(&f, path, NULL));
	CHECK(page_of(f, 0, 0, 0, 0) <= 0);
	vq_image_close(f);
}

TEST(imagej)
{
	const char *path = temp_path("ij.tif");
	stack(path, 12, "ImageJ=1.53t\nimages=12\nchannels=2\nslices=3\nframes=2\nhyperstack=true\nmode=composite\n");
	vq_image_file *f;
	CHECK_OK(vq_image_open(&f, path, NULL));
	vq_axes a = axes_of(f, 0);
	CHECK(a.source == VQ_AXES_IMAGEJ && a.c == 2 && a.z == 3 && a.t == 2);
	CHECK(page_of(f, 0, 1, 2, 1) == 1 + 2 * 2 + 6);
	vq_image_close(f);
	stack(path, 4, "ImageJ=1.53t\nimages=4\n"); /* not said what they are */
	CHECK_OK(vq_image_open(&f, path, NULL));
	CHECK(axes_of(f, 0).z == 4);
	vq_image_close(f);
	stack(path, 4, "ImageJ=1.53t\nimages=6\nchannels=2\nslices=3\n"); /* pages were taken away since */
	CHECK_OK(vq_image_open(&f, path, NULL));
	a = axes_of(f, 0);
	CHECK(a.source == VQ_AXES_PAGES && a.z == 4);
	vq_image_close(f);
}

/* ImageJ writes stacks beyond 4 GB with one directory and the planes behind each other. */
TEST(imagej_without_directories)
{
	const char *path = temp_path("big.tif");
	for (int big = 0; big < 2; big++) {
		uint8_t pixels[6 * 12];
		for (int i = 0; i < 36; i++) {
			pixels[2 * i + !big] = 1;
			pixels[2 * i + big] = (uint8_t)(i / 6);
		}
		const tiff_tag t[] = { { 256, 32, 3 }, { 257, 32, 2 }, { 258, 16, 16 }, { 259, 16, 1 }, { 262, 16, 1 },
			{ 270, .text = "ImageJ=1.53t\nimages=6\nchannels=2\nslices=3\n" }, { 273, 32, 8 }, { 277, 16, 1 }, { 278, 32, 2 }, { 279, 32, 12 } };
		tiff_made(path, big, t, (int)VQ_COUNT(t), pixels, sizeof pixels);
		vq_image_file *f;
		CHECK_OK(vq_image_open(&f, path, NULL));
		vq_axes a = axes_of(f, 0);
		CHECK(vq_image_pages(f) == 1 && a.c == 2 && a.z == 3 && a.t == 1);
		CHECK(page_of(f, 0, 1, 2, 0) == 256 + 5 && page_of(f, 0, 0, 1, 0) == 256 + 2);
		vq_image_close(f);
	}
}

TEST(pages_alone)
{
	const char *path = temp_path("pages.tif");
	stack(path, 3, "nothing about axes");
	vq_image_file *f;
	CHECK_OK(vq_image_open(&f, path, NULL));
	vq_axes a = axes_of(f, 0);
	CHECK(a.source == VQ_AXES_PAGES && a.c == 1 && a.z == 3 && !a.mixed);
	vq_pick p = VQ_PICK;
	p.pages_are_channels = true;
	vq_image im;
	CHECK_OK(vq_image_planes(f, &p, &im));
	CHECK(im.planes.shape[0] == 3 && vq_tensor_get(&im.planes, 17) == 2);
	vq_image_free(&im);
	p = VQ_PICK;
	p.page = 3;
	CHECK_FAILS(vq_image_planes(f, &p, &im), VQ_EINVAL);
	CHECK_HAS(vq_message(), "page 4 is asked for, it has 3");
	vq_image_close(f);
}

/* --- labels ---------------------------------------------------------------------------------------------------------- */

static vq_status labels_of(const char *path, vq_tensor *out)
{
	vq_image_file *f;
	VQ_TRY(vq_image_open(&f, path, NULL));
	vq_status s = vq_image_labels(f, &VQ_PICK, out);
	vq_image_close(f);
	return s;
}

TEST(labels)
{
	static const vq_dtype types[] = { VQ_U8, VQ_U16, VQ_I32, VQ_I64, VQ_F32, VQ_F64 };
	const char *path = temp_path("labels.tif");
	vq_tensor t, out;
	for (size_t k = 0; k < VQ_COUNT(types); k++) {
		double most = types[k] == VQ_U8 ? 255 : types[k] == VQ_U16 ? 65535 : types[k] == VQ_F32 ? 16777216 : 2147483647;
		CHECK_OK(vq_tensor_make(&t, types[k], 2, (int64_t[]){ 2, 2 }));
		vq_tensor_set(&t, 1, 7);
		vq_tensor_set(&t, 3, most);
		CHECK_OK(vq_tiff_write(path, &t, NULL));
		CHECK_OK(labels_of(path, &out));
		CHECK(out.dtype == VQ_I32 && out.ndim == 2 && vq_tensor_get(&out, 1) == 7 && vq_tensor_get(&out, 3) == most);
		vq_tensor_free(&out);
		vq_tensor_free(&t);
	}
	CHECK_OK(vq_tensor_make(&t, VQ_F32, 2, (int64_t[]){ 2, 3 }));
	vq_tensor_set(&t, 4, 2.5);
	CHECK_OK(vq_tiff_write(path, &t, NULL));
	CHECK_FAILS(labels_of(path, &out), VQ_EFORMAT);
	CHECK_HAS(vq_message(), "a label of 2.5 at x 1, y 1");
	vq_tensor_set(&t, 4, NAN);
	CHECK_OK(vq_tiff_write(path, &t, NULL));
	CHECK_FAILS(labels_of(path, &out), VQ_EFORMAT);
	vq_tensor_free(&t);
	CHECK_OK(vq_tensor_make(&t, VQ_I64, 2, (int64_t[]){ 1, 2 }));
	vq_tensor_set(&t, 0, 2147483648.0);
	CHECK_OK(vq_tiff_write(path, &t, NULL));
	CHECK_FAILS(labels_of(path, &out), VQ_EFORMAT);
	vq_tensor_free(&t);
	CHECK_OK(vq_tensor_make(&t, VQ_I32, 2, (int64_t[]){ 1, 2 }));
	vq_tensor_set(&t, 0, -1);
	CHECK_OK(vq_tiff_write(path, &t, NULL));
	CHECK_FAILS(labels_of(path, &out), VQ_EFORMAT);
	vq_tensor_free(&t);
}

TEST(labels_in_colour)
{
	const char *path = temp_path("labels.png");
	vq_tensor t, out;
	CHECK_OK(vq_tensor_make(&t, VQ_U8, 3, (int64_t[]){ 1, 2, 3 }));
	for (size_t i = 3; i < 6; i++)
		vq_tensor_set(&t, i, 9);
	CHECK_OK(vq_png_write(path, &t));
	CHECK_OK(labels_of(path, &out));
	CHECK(vq_tensor_get(&out, 0) == 0 && vq_tensor_get(&out, 1) == 9);
	vq_tensor_free(&out);
	vq_tensor_set(&t, 5, 8);
	CHECK_OK(vq_png_write(path, &t));
	CHECK_FAILS(labels_of(path, &out), VQ_EUNSUP);
	CHECK_HAS(vq_message(), "a colour image (R, G and B differ at x 1, y 0)");
	vq_tensor_free(&t);
	stack(temp_path("many.tif"), 2, OME("XYCZT", "2", "1", "1", "<TiffData/>"));
	CHECK_FAILS(labels_of(temp_path("many.tif"), &out), VQ_EINVAL);
	CHECK_HAS(vq_message(), "2 channels: a label image has one");
}

TEST_MAIN(RUN(ome_orders) RUN(ome_lists_and_names) RUN(ome_series) RUN(ome_in_several_files) RUN(ome_that_lies) RUN(imagej)
          RUN(imagej_without_directories) RUN(pages_alone) RUN(labels) RUN(labels_in_colour))
