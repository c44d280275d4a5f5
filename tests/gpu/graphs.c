/* graphs: every convolution of the models and of tests/unit/convs.h as a cuDNN operation graph, without a device. From cuDNN 9.8 on a device may be described in
 * words: then each is taken further, to an engine that suits and a finished execution plan. Engines that are compiled when they are chosen
 * need a driver for that; what widens bf16 to f32 is made of such, so that its other way (in f32) is taken instead, as the backend does.
 *   graphs [-v]     TAP */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "formats/config.h"
#include "lib/cuda/cuda.h"
#include "lib/model/graph.h"
#include "lib/model/model.h"
#include "tests/unit/convs.h"

enum { CHANNELS = 3, SPECS = 4096 };
static const struct { const char *config, *set[3]; int size; } models[] = {
	{ "configs/cells.json", { 0 }, 64 },
	{ "configs/peer.json", { 0 }, 48 },
	{ "configs/improved.json", { 0 }, 64 },
	{ "configs/improved.json", { "latent=grid", "skip=none" }, 128 },
	{ "configs/original.json", { 0 }, 64 },
};
static const struct { const char *name; int version, shared, multiprocessors; } devices[] = {
	{ "7.5", 750, 65536, 40 }, { "8.0", 800, 166912, 108 }, { "9.0", 900, 232448, 132 }, { "10.0", 1000, 232448, 148 },
};

static cuda_conv_spec spec[SPECS];
static int specs, failed, number;
static bool verbose;

static void told(bool ok, const char *what, const char *why)
{
	printf("%sok %d - %s\n", ok ? "" : "not ", ++number, what);
	if (!ok)
		printf("# %s\n", why);
	failed += !ok;
}

static void add(const cuda_conv_spec *s)
{
	for (int i = 0; i < specs; i++)
		if (!memcmp(&spec[i], s, sizeof *s))
			return;
	if (specs < SPECS)
		spec[specs++] = *s;
}

static vq_status collect(const vq_config *c, vq_graph_kind kind, int size, vq_dtype t)
{
	vq_params params = {0};
	vq_graph g = {0};
	vq_model_io io;
	vq_status st = vq_model_params(c, CHANNELS, &params);
	if (st == VQ_OK)
		st = vq_model_graph(c, CHANNELS, &params, kind, (vq_canvas){ 8, size, size, 8, true, t }, &g, &io);
	for (int i = 0; i < g.nn && st == VQ_OK; i++) {
		cuda_conv_spec s;
		memset(&s, 0, sizeof s);
		if (cuda_conv_spec_of(&g, &g.node[i], &s))
			add(&s);
	}
	vq_graph_free(&g);
	vq_params_free(&params);
	return st;
}

static void collect_all(void)
{
	static const vq_graph_kind kinds[] = { VQ_GRAPH_TRAIN, VQ_GRAPH_ENCODE, VQ_GRAPH_DECODE };
	for (size_t m = 0; m < VQ_COUNT(models); m++) {
		vq_config c;
		vq_config_defaults(&c);
		vq_status st = vq_config_read(&c, models[m].config);
		for (int i = 0; i < 3 && models[m].set[i] && st == VQ_OK; i++)
			st = vq_config_set(&c, models[m].set[i]);
		if (st == VQ_OK)
			st = vq_config_set(&c, "use_perceptual_loss=false");
		for (size_t k = 0; k < VQ_COUNT(kinds) && st == VQ_OK; k++)
			for (int t = 0; t < 2 && st == VQ_OK; t++)
				if (!t || kinds[k] == VQ_GRAPH_TRAIN)
					st = collect(&c, kinds[k], models[m].size, t ? VQ_BF16 : VQ_F32);
		if (st < 0)
			told(false, models[m].config, vq_message());
	}
}

/* What the frozen networks have that no model has, forward and by data; they take no gradient of their weights. */
static void collect_networks(void)
{
	static const struct { int c, k, size, stride, pad, side; } conv[] = {
		{ 3, 64, 3, 1, 1, 64 }, { 64, 64, 3, 1, 1, 64 }, { 128, 128, 3, 1, 1, 32 }, { 256, 512, 3, 1, 1, 8 }, { 512, 512, 3, 1, 1, 4 }, /* VGG */
		{ 3, 64, 11, 4, 2, 64 }, { 64, 192, 5, 1, 2, 7 }, { 192, 384, 3, 1, 1, 3 }, /* AlexNet */
		{ 3, 64, 3, 2, 0, 64 }, { 64, 16, 1, 1, 0, 15 }, { 16, 128, 3, 1, 1, 15 }, { 3, 3, 1, 1, 0, 64 }, /* SqueezeNet; colours that are learnt */
	};
	for (size_t i = 0; i < VQ_COUNT(conv); i++)
		for (int kind = CUDA_FORWARD; kind <= CUDA_BY_DATA; kind++)
			for (vq_dtype t = VQ_BF16; t <= VQ_F32; t++) {
				cuda_conv_spec s;
				int out = (conv[i].side + 2 * conv[i].pad - conv[i].size) / conv[i].stride + 1;
				memset(&s, 0, sizeof s);
				s = (cuda_conv_spec){ (cuda_conv_kind)kind, t, t, 8, conv[i].c, conv[i].side, conv[i].side, conv[i].k, out, out, conv[i].size, conv[i].stride, conv[i].pad };
				add(&s);
			}
}

/* What test_ops_conv computes, and its gradients. */
static void collect_cases(void)
{
	for (size_t i = 0; i < VQ_COUNT(cases); i++)
		for (int kind = CUDA_FORWARD; kind <= CUDA_BY_FILTER; kind++)
			for (vq_dtype t = VQ_BF16; t <= VQ_F32; t++) {
				const conv_case *c = &cases[i];
				int h = c->transposed ? (c->h - 1) * c->s - 2 * c->p + c->k : (c->h + 2 * c->p - c->k) / c->s + 1;
				int w = c->transposed ? (c->w - 1) * c->s - 2 * c->p + c->k : (c->w + 2 * c->p - c->k) / c->s + 1;
				cuda_conv_spec s;
				memset(&s, 0, sizeof s);
				if (c->transposed)
					s = (cuda_conv_spec){ (cuda_conv_kind)kind, t, t, c->n, c->out, h, w, c->in, c->h, c->w, c->k, c->s, c->p };
				else
					s = (cuda_conv_spec){ (cuda_conv_kind)kind, t, t, c->n, c->in, c->h, c->w, c->out, h, w, c->k, c->s, c->p };
				add(&s);
			}
}

static void operation_graphs(void)
{
	char what[96];
	vq_status st = VQ_OK;
	int made = 0;
	for (int i = 0; i < specs && st == VQ_OK; i++) {
		cudnnBackendDescriptor_t g;
		if ((st = cuda_conv_graph(&spec[i], NULL, &g)) < 0)
			break;
		cudnnBackendDestroyDescriptor(g);
		made++;
	}
	snprintf(what, sizeof what, "%d of %d operation graphs", made, specs);
	told(st == VQ_OK && specs > 50, what, vq_message());
}

/* A description of a device, as cuDNN writes one. */
static bool describe(cudnnBackendDescriptor_t *d, int version, int shared, int multiprocessors)
{
#if CUDNN_VERSION >= 90800
	char text[1024];
	snprintf(text, sizeof text, "{\"deviceName\":\"a device\",\"cudaDeviceId\":0,\"deviceVer\":%d,\"driverVer\":%d,\"multiProcessorCount\":%d,"
		"\"maxGridSize\":[2147483647,65535,65535],\"maxBlockSize\":[1024,1024,64],\"regsPerBlock\":65536,\"smClockRateKHz\":1500000,"
		"\"memClockRateKHz\":1500000,\"l2CacheSize\":41943040,\"warpSize\":32,\"maxSharedMemoryPerBlock\":49152,\"maxSharedMemoryPerBlockOptin\":%d,"
		"\"reservedSharedMemoryPerBlock\":1024,\"maxRegistersPerSM\":65536,\"pciDeviceId\":0,\"maxCtasPerSM\":32,\"maxThreadsPerBlock\":1024,"
		"\"maxThreadsPerSM\":2048,\"isTccDriver\":0,\"supportCoopLaunch\":1,\"totalGlobalMem\":40000000000}", version, CUDART_VERSION, multiprocessors, shared);
	return cudnnBackendCreateDescriptor(CUDNN_BACKEND_DEVICEPROP_DESCRIPTOR, d) == CUDNN_STATUS_SUCCESS &&
		cudnnBackendSetAttribute(*d, CUDNN_ATTR_DEVICEPROP_JSON_REPRESENTATION, CUDNN_TYPE_CHAR, (int64_t)strlen(text), text) == CUDNN_STATUS_SUCCESS &&
		cudnnBackendFinalize(*d) == CUDNN_STATUS_SUCCESS;
#else
	return false;
#endif
}

static void plans(size_t at)
{
	cudnnBackendDescriptor_t d = NULL;
	char what[160];
	int made = 0, wide = 0;
	if (!describe(&d, devices[at].version, devices[at].shared, devices[at].multiprocessors)) {
		printf("ok %d - execution plans for compute capability %s # skip this cuDNN takes no such description of a device\n", ++number, devices[at].name);
		return;
	}
	vq_status st = VQ_OK;
	for (int i = 0; i < specs && st == VQ_OK; i++) {
		cuda_conv c;
		cuda_conv_spec s = spec[i];
		if (s.t == VQ_BF16 && devices[at].version < 800)
			continue;
		wide += s.t != s.out;
		s.t = s.out;
		if ((st = cuda_conv_make(&s, NULL, d, &c)) < 0)
			break;
		if (verbose)
			printf("# %s kind %d %s [%d,%d,%d,%d] %dx%d/%d %d: %s, notes %#x, workspace %zu\n", devices[at].name, (int)s.kind, s.t == VQ_BF16 ? "bf16" : "f32", s.n, s.h, s.w, s.c,
				s.size, s.size, s.stride, s.k, c.name, c.notes, c.workspace);
		if (s.t == VQ_F32 && c.notes >> CUDNN_NUMERICAL_NOTE_TENSOR_CORE & 1)
			st = vq_fail(VQ_EINVAL, "in f32 %s rounds to TF32", c.name);
		cuda_conv_drop(&c);
		made++;
	}
	snprintf(what, sizeof what, "execution plans for compute capability %s: %d, of which %d in f32 that widen bf16 where an engine does", devices[at].name, made, wide);
	told(st == VQ_OK, what, vq_message());
	cudnnBackendDestroyDescriptor(d);
}

int main(int argc, char **argv)
{
	verbose = argc > 1 && !strcmp(argv[1], "-v");
	collect_all();
	collect_networks();
	collect_cases();
	operation_graphs();
	for (size_t i = 0; i < VQ_COUNT(devices); i++)
		plans(i);
	printf("1..%d\n", number);
	return failed != 0;
}
