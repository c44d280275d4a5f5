#include "lib/image/panel.h"

#include <math.h>
#include <stdio.h>
#include <string.h>

enum { MAX_SIDE = 4096, MAX_CHANNELS = 16, GAP = 4, PAD = 14, BAR = 12, BAR_WIDTH = 180 };
static const int64_t LIMIT = (int64_t)256 << 20;

static const uint8_t ink[3] = { 40, 40, 40 }, paper[3] = { 255, 255, 255 }, off[3] = { 225, 225, 225 }, outline[3] = { 240, 228, 66 };

/* Colours that people with any colour vision tell apart, for the channels of a composite. */
static const uint8_t channel_colour[MAX_CHANNELS][3] = {
	{ 100, 143, 255 }, { 255, 176, 0 }, { 220, 38, 127 }, { 0, 200, 150 }, { 120, 94, 240 }, { 254, 97, 0 }, { 240, 228, 66 }, { 86, 180, 233 },
	{ 204, 121, 167 }, { 0, 158, 115 }, { 213, 94, 0 }, { 0, 114, 178 }, { 230, 159, 0 }, { 180, 180, 180 }, { 150, 110, 60 }, { 255, 255, 255 },
};

/* What all blocks share. */
typedef struct {
	const vq_panel_options *o;
	int64_t channels, most_h, most_w; /* of the items, pixels */
	int zoom, text, head, columns, rows; /* text scales; blocks across and down */
	int tiles, first;           /* 1: originals (first 0) or differences (first 2) alone; 3 */
	int bands;                  /* rows of tiles in a block */
	int64_t tile_h, tile_w, block_h, block_w, left, top, h, w;
	double error;
} layout;

/* --- colours --------------------------------------------------------------------------------------------------------- */

static uint8_t byte(double v) { return v <= 0 ? 0 : v >= 255 ? 255 : (uint8_t)(v + .5); }

/* -1 to 1 on blue - white - red; both ends dark enough to differ from each other without colour too. */
static void diverging(double v, uint8_t out[3])
{
	static const double stop[5][3] = { { 5, 48, 130 }, { 90, 160, 215 }, { 250, 250, 250 }, { 235, 130, 80 }, { 125, 0, 30 } };
	if (!isfinite(v))
		v = 0;
	double p = (v < -1 ? 0 : v > 1 ? 2 : v + 1) * 2;
	int i = p >= 4 ? 3 : (int)p;
	for (int k = 0; k < 3; k++)
		out[k] = byte(stop[i][k] + (stop[i + 1][k] - stop[i][k]) * (p - i));
}

static double finite_or_0(float v) { return isfinite(v) ? v : 0; }
static double clipped(float v) { return isfinite(v) ? VQ_MIN(VQ_MAX(v, -1.f), 1.f) : 0; }

/* The colour of pixel i in tile `kind` (0 original, 1 reconstruction, 2 difference) of band (a channel, or -1: composite). */
static void pixel_colour(const layout *l, const vq_panel_item *it, int kind, int band, int64_t i, uint8_t out[3])
{
	int64_t n = it->h * it->w, c0 = band < 0 ? 0 : band, c1 = band < 0 ? it->channels : band + 1;
	double sum[3] = {0}, worst = 0; /* the difference of a composite: that of the channel where it is largest */
	for (int64_t c = c0; c < c1; c++) {
		if (kind == 2) {
			double d = finite_or_0(it->recon[c * n + i]) - finite_or_0(it->image[c * n + i]);
			worst = fabs(d) > fabs(worst) ? d : worst;
			continue;
		}
		double v = (clipped((kind ? it->recon : it->image)[c * n + i]) + 1) / 2;
		for (int k = 0; k < 3; k++)
			sum[k] += v * (band < 0 ? channel_colour[c][k] : 255);
	}
	if (kind == 2) {
		diverging(worst / l->error, out);
		return;
	}
	for (int k = 0; k < 3; k++)
		out[k] = byte(sum[k]);
}

void vq_panel_colour(const float *image, int64_t channels, int64_t n, int64_t i, uint8_t out[3])
{
	const layout plain = {0};
	const vq_panel_item it = { .channels = channels, .h = 1, .w = n, .image = image };
	pixel_colour(&plain, &it, 0, channels > 1 ? -1 : 0, i, out);
}

/* --- drawing --------------------------------------------------------------------------------------------------------- */

static void fill(vq_tensor *rgb, int64_t x0, int64_t y0, int64_t w, int64_t h, const uint8_t colour[3])
{
	for (int64_t y = VQ_MAX(y0, 0); y < VQ_MIN(y0 + h, rgb->shape[0]); y++)
		for (int64_t x = VQ_MAX(x0, 0); x < VQ_MIN(x0 + w, rgb->shape[1]); x++)
			memcpy((uint8_t *)rgb->data + 3 * (y * rgb->shape[1] + x), colour, 3);
}

/* Text cut with ".." so that it fits the width. */
static void text_within(vq_tensor *rgb, int64_t x, int64_t y, int scale, int64_t width, const char *text)
{
	char part[256];
	int64_t most = width / (6 * scale);
	snprintf(part, sizeof part, "%s", text);
	if (vq_text_width(text, scale) > 6 * scale * most || strlen(text) >= sizeof part) {
		size_t keep = 0, shown = 0;
		for (; shown + 2 < (size_t)VQ_MAX(most, 0) && keep + 8 < sizeof part && text[keep]; shown++)
			do
				keep++;
			while (((unsigned char)text[keep] & 0xc0) == 0x80);
		memcpy(part, text, keep);
		strcpy(part + keep, "..");
	}
	vq_text_draw(rgb, x, y, scale, ink, part);
}

static void draw_outline(vq_tensor *rgb, const layout *l, const vq_panel_item *it, int64_t x0, int64_t y0)
{
	const uint8_t *colour = l->o->composite ? paper : outline;
	int64_t z = l->zoom, line = VQ_MAX(1, z / 6);
	for (int64_t y = 0; y < it->h; y++)
		for (int64_t x = 0; x < it->w; x++) {
			const uint8_t *m = it->mask + y * it->w + x;
			if (*m != 1)
				continue;
			int64_t px = x0 + x * z, py = y0 + y * z;
			if (y == 0 || m[-it->w] != 1)
				fill(rgb, px, py, z, line, colour);
			if (y == it->h - 1 || m[it->w] != 1)
				fill(rgb, px, py + z - line, z, line, colour);
			if (x == 0 || m[-1] != 1)
				fill(rgb, px, py, line, z, colour);
			if (x == it->w - 1 || m[1] != 1)
				fill(rgb, px + z - line, py, line, z, colour);
		}
}

static void draw_tile(vq_tensor *rgb, const layout *l, const vq_panel_item *it, int kind, int band, int64_t x0, int64_t y0)
{
	fill(rgb, x0 - 1, y0 - 1, l->tile_w + 2, l->tile_h + 2, off); /* a frame: a white tile ends somewhere */
	x0 += (l->tile_w - it->w * l->zoom) / 2;
	y0 += (l->tile_h - it->h * l->zoom) / 2;
	for (int64_t y = 0; y < it->h; y++)
		for (int64_t x = 0; x < it->w; x++) {
			uint8_t colour[3];
			pixel_colour(l, it, kind, l->o->composite ? -1 : band, y * it->w + x, colour);
			fill(rgb, x0 + x * l->zoom, y0 + y * l->zoom, l->zoom, l->zoom, colour);
		}
	if (kind == 0 && it->mask && l->zoom > 1)
		draw_outline(rgb, l, it, x0, y0);
}

static void item_note(const vq_panel_item *it, char out[64])
{
	size_t n = (size_t)(it->h * it->w);
	double p = 0;
	for (int64_t c = 0; it->recon && c < it->channels; c++)
		p += vq_panel_psnr(it->recon + (size_t)c * n, it->image + (size_t)c * n, n, 2) / (double)it->channels;
	*out = 0;
	if (it->recon)
		snprintf(out, 64, isinf(p) ? "equal" : "%.1f dB", p);
}

static void draw_block(vq_tensor *rgb, const layout *l, const vq_panel_item *it, int64_t x, int64_t y)
{
	char note[64];
	int64_t line = 10 * l->text;
	item_note(it, note);
	if (it->title)
		text_within(rgb, x, y, l->text, l->block_w, it->title);
	text_within(rgb, x, y + line, l->text, l->block_w, it->note ? it->note : note);
	y += 2 * line;
	for (int b = 0; b < l->bands; b++)
		for (int k = 0; it->image && k < l->tiles; k++)
			if (k + l->first == 0 || it->recon)
				draw_tile(rgb, l, it, k + l->first, b, x + k * (l->tile_w + GAP), y + b * (l->tile_h + GAP));
}

/* A bar with numbers at its ends and middle; returns the x beyond it. */
static int64_t draw_scale(vq_tensor *rgb, const layout *l, int64_t x, int64_t y, const char *what, double end, bool signed_colours)
{
	char number[32];
	vq_text_draw(rgb, x, y, l->text, ink, what);
	y += 10 * l->text;
	for (int64_t i = 0; i < BAR_WIDTH; i++) {
		uint8_t c[3] = { byte(255. * (double)i / (BAR_WIDTH - 1)) };
		c[1] = c[2] = c[0];
		if (signed_colours)
			diverging(2. * (double)i / (BAR_WIDTH - 1) - 1, c);
		fill(rgb, x + i, y, 1, BAR, c);
	}
	for (int k = -1; k <= 1; k++) {
		snprintf(number, sizeof number, k && signed_colours ? "%+g" : "%g", k ? k * end : 0.);
		int64_t at = x + (k + 1) * (BAR_WIDTH - 1) / 2, width = vq_text_width(number, l->text);
		fill(rgb, at, y + BAR, 1, 3, ink);
		vq_text_draw(rgb, k < 0 ? x : k ? at - width + l->text : at - width / 2, y + BAR + 5, l->text, ink, number);
	}
	return x + VQ_MAX(BAR_WIDTH, vq_text_width(what, l->text)) + 2 * PAD;
}

static void draw_key(vq_tensor *rgb, const layout *l, int64_t x, int64_t y)
{
	int64_t start = x, line = 10 * l->text;
	char number[16];
	for (int64_t c = 0; c < l->channels; c++) {
		snprintf(number, sizeof number, "C%d", (int)c + 1);
		const char *name = l->o->channels ? l->o->channels[c] : number;
		if (x > start && x + BAR + 6 + vq_text_width(name, l->text) > l->w) {
			x = start;
			y += line;
		}
		fill(rgb, x, y, BAR, BAR, channel_colour[c]);
		vq_text_draw(rgb, x + BAR + 6, y, l->text, ink, name);
		x += BAR + 6 + vq_text_width(name, l->text) + PAD;
	}
}

static void draw_heads(vq_tensor *rgb, const layout *l, int column, int64_t x, int64_t y)
{
	static const char *const name[3][3] = { { "original", "reconstruction", "difference" }, { "original", "reconstr.", "difference" }, { "orig", "recon", "diff" } };
	int k = 0;
	if (l->o->heads) {
		if (l->o->heads[column])
			text_within(rgb, x, y, l->head, l->block_w, l->o->heads[column]);
		return;
	}
	while (k < 2 && VQ_MAX(vq_text_width(name[k][1], l->head), vq_text_width(name[k][2], l->head)) > l->tile_w + GAP)
		k++;
	for (int i = 0; i < l->tiles; i++)
		text_within(rgb, x + i * (l->tile_w + GAP), y, l->head, l->tile_w + GAP, name[k][i + l->first]);
}

/* --- layout ---------------------------------------------------------------------------------------------------------- */

static vq_status check_items(const vq_panel_item *items, int n, layout *l)
{
	if (n < 1)
		return vq_fail(VQ_EINVAL, "a panel of no cells");
	for (int i = 0; i < n; i++) {
		const vq_panel_item *it = &items[i];
		if (it->h < 1 || it->w < 1 || it->h > MAX_SIDE || it->w > MAX_SIDE || it->channels < 1 || it->channels > MAX_CHANNELS)
			return vq_fail(VQ_EINVAL, "%s: %lld channels of %lld x %lld pixels: a panel takes 1 to %d channels and 1 to %d pixels a side",
			               it->title ? it->title : "a cell", (long long)it->channels, (long long)it->h, (long long)it->w, MAX_CHANNELS, MAX_SIDE);
		if (it->channels != items[0].channels)
			return vq_fail(VQ_EINVAL, "%s has %lld channels, the first cell of the panel %lld", it->title ? it->title : "a cell",
			               (long long)it->channels, (long long)items[0].channels);
		l->most_h = VQ_MAX(l->most_h, it->h);
		l->most_w = VQ_MAX(l->most_w, it->w);
		l->tiles = it->recon ? 3 : VQ_MAX(l->tiles, 1);
		if (l->o->difference && !it->recon)
			return vq_fail(VQ_EINVAL, "%s: a difference needs a reconstruction", it->title ? it->title : "a cell");
	}
	if (l->o->difference) {
		l->tiles = 1;
		l->first = 2;
	}
	l->channels = items[0].channels;
	return VQ_OK;
}

/* The end of the difference scale: what 99 % of the values stay below, rounded up to 1, 2 or 5. */
static double error_range(const vq_panel_item *items, int n)
{
	enum { BINS = 4096 };
	uint64_t bin[BINS] = {0}, total = 0, seen = 0;
	for (int i = 0; i < n; i++)
		for (int64_t k = 0; items[i].recon && k < items[i].channels * items[i].h * items[i].w; k++) {
			double d = fabs(finite_or_0(items[i].recon[k]) - finite_or_0(items[i].image[k]));
			bin[d >= 2 ? BINS - 1 : (int)(d * (BINS / 2))]++;
			total++;
		}
	int b = 0;
	while (b < BINS && (double)(seen += bin[b]) < .99 * (double)total)
		b++;
	double e = VQ_MAX((b + 1) * 2. / BINS, .01), power = pow(10, floor(log10(e) + 1e-9)), lead = e / power;
	return (lead <= 1.000001 ? 1 : lead <= 2 ? 2 : lead <= 5 ? 5 : 10) * power;
}

static int64_t picture_size(layout *l, int n, int columns)
{
	int64_t line = 10 * l->text, scales = 3 * line + BAR + 8;
	l->columns = columns;
	l->rows = (n + columns - 1) / columns;
	l->w = l->left + columns * (l->block_w + PAD) + PAD;
	l->h = l->top + l->rows * (l->block_h + PAD) + scales + PAD;
	if (l->o->composite)
		l->h += line * l->channels;
	l->w = VQ_MAX(l->w, 2 * PAD + 2 * BAR_WIDTH + 2 * PAD + 20);
	return l->h * l->w;
}

static vq_status plan(const vq_panel_item *items, int n, layout *l)
{
	const vq_panel_options *o = l->o;
	VQ_TRY(check_items(items, n, l));
	int64_t side = VQ_MAX(l->most_h, l->most_w), most = o->difference ? 256 : 160;
	l->zoom = o->zoom > 0 ? VQ_MIN(o->zoom, 32) : (int)VQ_MAX(1, VQ_MIN(16, (most + side / 2) / side));
	l->tile_h = l->most_h * l->zoom;
	l->tile_w = l->most_w * l->zoom;
	l->bands = o->composite ? 1 : (int)l->channels;
	l->block_w = l->tiles * (l->tile_w + GAP) - GAP;
	l->text = l->block_w >= 240 ? 2 : 1;
	l->head = vq_text_width("difference", l->text) <= l->tile_w + GAP ? l->text : 1;
	l->block_h = 20 * l->text + l->bands * (l->tile_h + GAP);
	l->left = PAD;
	for (int c = 0; o->channels && !o->composite && l->channels > 1 && c < l->channels; c++)
		l->left = VQ_MAX(l->left, vq_text_width(o->channels[c], l->text) + 2 * PAD);
	l->left = VQ_MIN(l->left, 160);
	l->top = PAD + (o->title ? 14 * l->text : 0) + 12 * l->head;
	int columns = o->columns > 0 ? VQ_MIN(o->columns, n) : 1;
	double best = INFINITY;
	for (int k = 1; k <= n && o->columns <= 0; k++) {
		picture_size(l, n, k);
		double away = fabs(log((double)l->w / (double)l->h / (4. / 3)));
		if (away < best) {
			best = away;
			columns = k;
		}
	}
	if (picture_size(l, n, columns) > LIMIT / 3)
		return vq_fail(VQ_ELIMIT, "a panel of %lld x %lld pixels: fewer cells or a smaller zoom", (long long)l->h, (long long)l->w);
	l->error = o->error > 0 ? o->error : error_range(items, n);
	return VQ_OK;
}

vq_status vq_panel_draw(vq_tensor *rgb, const vq_panel_item *items, int n, const vq_panel_options *options)
{
	static const vq_panel_options plain = {0};
	layout l = { .o = options ? options : &plain };
	*rgb = (vq_tensor){0};
	VQ_TRY(plan(items, n, &l));
	VQ_TRY(vq_tensor_make(rgb, VQ_U8, 3, (int64_t[]){ l.h, l.w, 3 }));
	fill(rgb, 0, 0, l.w, l.h, paper);
	if (l.o->title)
		text_within(rgb, PAD, PAD, l.text, l.w - 2 * PAD, l.o->title);
	for (int i = 0; i < n; i++) {
		int64_t x = l.left + i % l.columns * (l.block_w + PAD), y = l.top + i / l.columns * (l.block_h + PAD);
		if (i < l.columns)
			draw_heads(rgb, &l, i, x, l.top - 12 * l.head);
		for (int c = 0; i % l.columns == 0 && l.left > PAD && c < l.channels; c++)
			text_within(rgb, PAD, y + 20 * l.text + c * (l.tile_h + GAP) + l.tile_h / 2 - 4 * l.text, l.text, l.left - PAD, l.o->channels[c]);
		draw_block(rgb, &l, &items[i], x, y);
	}
	int64_t y = l.top + l.rows * (l.block_h + PAD);
	int64_t x = l.o->composite || l.first ? PAD : draw_scale(rgb, &l, PAD, y, "intensity", 1, false);
	if (l.tiles > 1 || l.first)
		draw_scale(rgb, &l, x, y, "difference", l.error, true);
	if (l.o->composite && !l.first)
		draw_key(rgb, &l, PAD, y + 30 * l.text + BAR + 8);
	return VQ_OK;
}

double vq_panel_psnr(const float *a, const float *b, size_t n, double range)
{
	double sum = 0;
	for (size_t i = 0; i < n; i++) {
		double d = (double)a[i] - b[i];
		sum += d * d;
	}
	return n ? 10 * log10(range * range * (double)n / sum) : NAN;
}
