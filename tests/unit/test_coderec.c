/* Codes through a stream: what is decoded from records that were written and read again is what is decoded from memory, byte for byte,
 * for every latent and skip; and what an exchange of codes leaves alone. */
#include "formats/config.h"
#include "tests/unit/engine.h"
#include "tests/unit/streams.h"
#include "tests/unit/test.h"
#include "tools/cells.h"
#include "tools/coderec.h"
#include "tools/swap.h"

#define SMALL "channels_per_level=8,8,12,16", "num_embeddings=64"
#define GLOBAL "embedding_dim=6", "hidden=20,12"
#define CODES "channels_per_level=8,16", "blocks=1", "embedding_dim=8", "num_embeddings=300"
static const struct { const char *file; const char *set[12]; } forms[] = {
	{ "configs/improved.json", { SMALL, "latent=grid", "skip=none", "embedding_dim=16" } },
	{ "configs/improved.json", { SMALL, "latent=grid", "skip=features", "embedding_dim=16", "codebook_depth=3" } },
	{ "configs/improved.json", { SMALL, "latent=grid", "skip=quantized", "embedding_dim=16", "codebook_depth=2", "skip_embedding_dim=5", "skip_num_embeddings=40" } },
	{ "configs/improved.json", { SMALL, GLOBAL, "latent=global", "skip=none", "codebook_depth=2" } },
	{ "configs/improved.json", { SMALL, GLOBAL, "latent=global", "skip=features", "activation=gelu" } },
	{ "configs/improved.json", { SMALL, GLOBAL, "latent=global", "skip=quantized", "codebook_depth=3" } },
	{ "configs/original.json", { GLOBAL, "num_embeddings=64" } },
	{ "configs/cells.json", { CODES } },
	{ "configs/cells.json", { CODES, "codebook_depth=3" } },
	{ "configs/cells.json", { CODES, "skip=quantized", "codebook_depth=2", "skip_embedding_dim=5" } },
};
enum { DOCUMENT = 4, CHANNELS = 2, CELLS = 4 };
static const int size[CELLS][2] = { { 32, 30 }, { 13, 41 }, { 27, 27 }, { 50, 40 } };
#define PATH stream_path("codes.vqt")

/* Weights at which attention counts, statistics as training would leave them, and code vectors that lie where latents may. */
static void make_model(vq_model *m, size_t form)
{
	*m = (vq_model){ .channels = CHANNELS };
	vq_config_defaults(&m->config);
	CHECK_OK(vq_config_read(&m->config, forms[form].file));
	for (int i = 0; forms[form].set[i]; i++)
		CHECK_OK(vq_config_set(&m->config, forms[form].set[i]));
	CHECK_OK(vq_config_check(&m->config));
	CHECK_OK(vq_model_setup(m));
	vq_model_init(&m->params, &m->config, 1, m->state, m->param);
	for (int i = 0; i < m->params.n; i++) {
		const vq_param *p = &m->params.p[i];
		float *x = (p->trainable ? m->param : m->state) + p->offset;
		for (size_t j = 0; j < p->count; j++)
			x[j] = strstr(p->name, ".gamma") ? .5f : strstr(p->name, "running_var") ? .05f : strstr(p->name, ".codebook") ? x[j] * 4 : x[j];
	}
}

/* Cell i as the model pads it, any function of its place and channel. */
static vq_cell make_cell(const vq_model_info *info, int i)
{
	vq_pad_plan p;
	CHECK_OK(vq_pad_make_plan(&p, size[i][0], size[i][1], info->power_of_two ? 0 : info->multiple, info->min));
	vq_cell c = { .h = (int)p.H, .w = (int)p.W, .top = (int)p.top, .left = (int)p.left, .th = (int)p.h, .tw = (int)p.w };
	float *x = vq_malloc(sizeof *x * CHANNELS * (size_t)(c.h * c.w));
	for (int k = 0; k < CHANNELS; k++)
		for (int j = 0; j < c.h * c.w; j++)
			x[k * c.h * c.w + j] = sinf((float)(i + 1) * .7f + (float)(j / c.w) * .31f + (float)(j % c.w * (k + 1)) * .23f);
	c.pixels = x;
	return c;
}

/* What each cell is encoded to, and that decoded from memory. */
static void code_cells(const vq_model *m, codec *encoder, codec *decoder, cell_codes *k, float **pixels)
{
	for (int i = 0; i < CELLS; i++) {
		vq_cell c = make_cell(&m->info, i);
		CHECK_OK(codec_encode(encoder, 0, &c, i % 2, &k[i]));
		CHECK_OK(codec_decode(decoder, 0, &k[i], &pixels[i]));
		free((void *)c.pixels);
	}
}

/* A stream of codes at PATH. */
static void write_cells(const vq_model *m, const cell_codes *k)
{
	vqt_writer *out;
	cJSON *header = vqt_header_make("codes", NULL);
	CHECK_OK(vqt_create(&out, PATH, header, NULL));
	cJSON_Delete(header);
	for (int i = 0; i < CELLS; i++) {
		char id[16];
		vqt_record rec;
		vq_cell c = make_cell(&m->info, i);
		snprintf(id, sizeof id, "cell%d", i);
		CHECK_OK(vqt_record_make(&rec, id));
		CHECK_OK(vq_coderec_set(&m->info, &c, &k[i], i % 2, &rec));
		CHECK_OK(vqt_put(out, &rec));
		vqt_record_free(&rec);
		free((void *)c.pixels);
	}
	CHECK_OK(vqt_finish(out));
}

static size_t pixels_of(const cell_codes *k) { return CHANNELS * (size_t)k->extent_h * (size_t)k->extent_w; }

static size_t skip_count(const vq_model_info *info, const cell_codes *k, int s)
{
	return (size_t)info->skip[s].channels * (size_t)(k->extent_h / info->skip[s].stride) * (size_t)(k->extent_w / info->skip[s].stride);
}

/* Every codebook and every feature map has a say: with another code, or another value, the picture is another. */
static void check_each_counts(const vq_model_info *info, codec *decoder, cell_codes *k, const float *pixels)
{
	float *other;
	for (int l = 0; l < info->levels + info->skips; l++) {
		int32_t *code = l < info->levels ? k->codes[l] : NULL, was = code ? *code : 0;
		float *value = code ? NULL : k->skip[l - info->levels], held = value ? *value : 0;
		if (code)
			*code = (was + 1) % info->level[l].size;
		else
			*value += 1;
		CHECK_OK(codec_decode(decoder, 0, k, &other));
		CHECK(memcmp(other, pixels, sizeof *other * pixels_of(k)));
		free(other);
		if (code)
			*code = was;
		else
			*value = held;
	}
}

/* `read` is what came back of `own`. */
static void check_back(const vq_model_info *info, const cell_codes *own, const cell_codes *read)
{
	CHECK(read->extent_h == own->extent_h && read->extent_w == own->extent_w && !memcmp(&read->valid, &own->valid, sizeof own->valid));
	for (int l = 0; l < info->levels; l++) {
		int n = codec_positions(own->extent_h, info->level[l].stride) * codec_positions(own->extent_w, info->level[l].stride);
		CHECK(!memcmp(read->codes[l], own->codes[l], sizeof(int32_t) * (size_t)n));
	}
	for (int s = 0; s < info->skips; s++)
		CHECK(!memcmp(read->skip[s], own->skip[s], sizeof(float) * skip_count(info, own, s)));
}

static void open_codecs(const vq_model *m, codec **encoder, codec **decoder)
{
	CHECK_OK(codec_open(encoder, m, engine_device(), 1, CODEC_ENCODE));
	CHECK_OK(codec_open(decoder, m, engine_device(), 1, CODEC_DECODE));
}

static void form_through_a_stream(size_t form)
{
	vq_model m;
	vqt_reader *in;
	vqt_record rec;
	codec *encoder, *decoder, *fresh;
	cell_codes own[CELLS] = {0};
	float *pixels[CELLS] = {0};
	make_model(&m, form);
	open_codecs(&m, &encoder, &decoder);
	code_cells(&m, encoder, decoder, own, pixels);
	write_cells(&m, own);
	CHECK_OK(codec_open(&fresh, &m, engine_device(), 2, CODEC_DECODE)); /* as another process: it has decoded nothing before */
	CHECK_OK(vqt_open(&in, PATH, "codes", NULL));
	for (int i = 0; i < CELLS; i++) {
		cell_codes k = {0};
		vq_geom g;
		float *again;
		CHECK(vqt_next(in, &rec) == 1);
		CHECK_OK(vq_coderec_get(&m, &rec, &k, &g));
		CHECK(g.h == size[i][0] && g.w == size[i][1] && g.top == own[i].valid.y && g.left == own[i].valid.x);
		check_back(&m.info, &own[i], &k);
		CHECK_OK(codec_decode(fresh, i % 2, &k, &again));
		CHECK(!memcmp(again, pixels[i], sizeof *again * pixels_of(&k)));
		check_each_counts(&m.info, fresh, &k, again);
		free(again);
		cell_codes_free(&k);
		vqt_record_free(&rec);
	}
	CHECK(vqt_next(in, &rec) == 0);
	vqt_close(in);
	for (int i = 0; i < CELLS; i++) {
		cell_codes_free(&own[i]);
		free(pixels[i]);
	}
	codec_close(encoder);
	codec_close(decoder);
	codec_close(fresh);
	vq_model_free(&m);
}

TEST(decoded_from_a_stream_as_from_memory)
{
	for (size_t f = 0; f < VQ_COUNT(forms); f++)
		form_through_a_stream(f);
}

/* The document's model, one code a cell and raw skips: another cell's code, its own feature maps. */
TEST(an_exchange_of_codes_leaves_raw_skips)
{
	vq_model m;
	vqt_reader *in;
	vqt_record rec;
	swap *s;
	codec *encoder, *decoder;
	cell_codes own[CELLS] = {0};
	float *pixels[CELLS] = {0};
	int taken[CELLS] = {0};
	make_model(&m, DOCUMENT);
	open_codecs(&m, &encoder, &decoder);
	code_cells(&m, encoder, decoder, own, pixels);
	for (int i = 0; i < CELLS; i++)
		own[i].codes[0][0] = 10 * i; /* codes that tell the cells apart */
	write_cells(&m, own);
	CHECK_OK(swap_open(&s, PATH, &m, SWAP_SHUFFLED, NULL, 0));
	CHECK(swap_left_out(s) == 0); /* cells of any size: one code is like another */
	CHECK_OK(vqt_open(&in, PATH, "codes", NULL));
	for (int i = 0; i < CELLS; i++) {
		cell_codes k = {0};
		vq_geom g;
		CHECK(vqt_next(in, &rec) == 1);
		CHECK(swap_apply(s, (uint64_t)i, &rec) == 1);
		CHECK_OK(vq_coderec_get(&m, &rec, &k, &g));
		int32_t code = k.codes[0][0];
		CHECK(code != 10 * i && code % 10 == 0 && code / 10 < CELLS);
		taken[code / 10]++;
		k.codes[0][0] = 10 * i;
		check_back(&m.info, &own[i], &k); /* all else is its own */
		cell_codes_free(&k);
		vqt_record_free(&rec);
	}
	for (int i = 0; i < CELLS; i++) {
		CHECK(taken[i] == 1);
		cell_codes_free(&own[i]);
		free(pixels[i]);
	}
	vqt_close(in);
	swap_close(s);
	codec_close(encoder);
	codec_close(decoder);
	vq_model_free(&m);
}

TEST_MAIN(RUN(decoded_from_a_stream_as_from_memory) RUN(an_exchange_of_codes_leaves_raw_skips))
