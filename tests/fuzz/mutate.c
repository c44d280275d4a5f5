/* mutate: makes broken copies of good files.
 *
 *   mutate SEED COUNT DIR FILE...    writes DIR/0.EXT to DIR/COUNT-1.EXT, each from a FILE drawn at random, EXT being that of FILE
 *
 * What is changed depends on the name: .csv and .json as text, .png with its chunk sums put right again, .vqt (plain, that is,
 * after zstd -dc) block by block with sizes, offsets and hashes put right again, so that the change gets past them; anything
 * else as bytes. The same arguments give the same files. */
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "formats/xxh64.h"
#include "lib/rng.h"

typedef struct { unsigned char *data; size_t n; } bytes;

static vq_rng rng;

static size_t below(size_t n) { return n ? (size_t)vq_rng_below(&rng, n) : 0; }
static bool chance(unsigned in) { return below(in) == 0; }

static _Noreturn void die(const char *what, const char *name)
{
	fprintf(stderr, "mutate: %s %s\n", what, name);
	exit(2);
}

static void *take(size_t n)
{
	void *p = malloc(n ? n : 1);
	if (!p)
		die("no memory for", "a copy");
	return p;
}

/* Replaces `cut` bytes at `at` with `n` bytes of p, which may lie within b itself. */
static void splice(bytes *b, size_t at, size_t cut, const void *p, size_t n)
{
	unsigned char *out = take(b->n - cut + n);
	memcpy(out, b->data, at);
	memcpy(out + at, p, n);
	memcpy(out + at + n, b->data + at + cut, b->n - at - cut);
	free(b->data);
	b->data = out;
	b->n = b->n - cut + n;
}

/* A place in n bytes: anywhere, or near an end, where headers and directories are. */
static size_t place(size_t n)
{
	switch (below(4)) {
	case 0: return below(n < 64 ? n : 64);
	case 1: return n - 1 - below(n < 400 ? n : 400);
	default: return below(n);
	}
}

static void put_integer(bytes *b, size_t at)
{
	static const uint64_t values[] = {
		0, 1, 2, 3, 7, 8, 16, 17, 64, 127, 128, 255, 256, 1000, 32767, 32768, 65535, 65536, 0x7fffffff, 0x80000000, 0xfffffffe, 0xffffffff,
		0x100000000, 0x7fffffffffffffff, 0x8000000000000000, 0xffffffffffffffff,
	};
	uint64_t v = values[below(sizeof values / sizeof *values)];
	size_t width = (size_t)1 << below(4);
	bool big = chance(2);
	for (size_t i = 0; i < width && at + i < b->n; i++)
		b->data[at + i] = (unsigned char)(v >> 8 * (big ? width - 1 - i : i));
}

static void mutate_bytes(bytes *b)
{
	for (size_t times = 1 + below(4); times && b->n; times--) {
		size_t at = place(b->n), most = b->n - at < 512 ? b->n - at : 512;
		switch (below(8)) {
		case 0: case 1: b->data[at] ^= (unsigned char)(1u << below(8)); break;
		case 2: b->data[at] = (unsigned char)below(256); break;
		case 3: case 4: put_integer(b, at); break;
		case 5: splice(b, at, below(most), "", 0); break;
		case 6: splice(b, at, 0, b->data + at, below(most)); break;
		default:
			if (chance(3))
				b->n = at;
			else
				memset(b->data + at, chance(2) ? 0 : 0xff, below(most < 16 ? most : 16));
		}
	}
}

enum { VALUES = 22 }; /* the first of the tokens are JSON values */

/* Gentle: what was JSON mostly stays JSON, so that the keys are reached. */
static void mutate_text(bytes *b, bool gentle)
{
	static const char *const tokens[] = {
		"null", "[]", "{}", "true", "-1", "0", "1", "-0", "1e999", "1e-999", "NaN", "inf", "0.5", "17", "255", "65536", "4294967295", "4294967296",
		"9223372036854775807", "18446744073709551616", "\"\"", "\"a\"", "\\u0000", "\\ud800", "\\", "\"", ",", ",,", "\n", "\r\n", "\t", ";", "//", "/*", "#",
		"../", "/", "file:///", "http://x/", "[[[[[[[[[[[[[[[[", "{\"a\":", "\xff\xfe", "\xc3", "\x7f", "%s%n", "Metadata_Well", "FileName_DNA", "\x1b[31m",
	};
	for (size_t times = gentle ? 1 : 1 + below(4); times && b->n; times--) {
		size_t at = below(b->n), most = b->n - at, end = at;
		const char *token = tokens[below(gentle ? VALUES : sizeof tokens / sizeof *tokens)];
		switch (gentle ? 4 : below(6)) {
		case 0: b->data[at] = (unsigned char)below(256); break;
		case 1: splice(b, at, 0, token, strlen(token)); break;
		case 2: splice(b, at, below(most < 40 ? most : 40), "", 0); break;
		case 3: splice(b, at, 0, b->data + at, below(most < 200 ? most : 200)); break;
		case 4: /* another number, or another word */
			while (at < b->n && !(b->data[at] >= '0' && b->data[at] <= '9'))
				at++;
			for (end = at; end < b->n && b->data[end] >= '0' && b->data[end] <= '9';)
				end++;
			splice(b, at, end - at, token, strlen(token));
			break;
		default:
			if (chance(4))
				b->n = at;
			else
				splice(b, at, strlen(token) < most ? strlen(token) : most, token, strlen(token));
		}
	}
}

/* --- PNG ---------------------------------------------------------------------------------------------------------- */

static uint32_t crc32_of(const unsigned char *p, size_t n)
{
	uint32_t c = 0xffffffffu;
	for (size_t i = 0; i < n; i++) {
		c ^= p[i];
		for (int k = 0; k < 8; k++)
			c = c & 1 ? 0xedb88320u ^ c >> 1 : c >> 1;
	}
	return c ^ 0xffffffffu;
}

static void mutate_png(bytes *b)
{
	mutate_bytes(b);
	for (size_t at = 8; at + 12 <= b->n;) {
		size_t n = (size_t)b->data[at] << 24 | (size_t)b->data[at + 1] << 16 | (size_t)b->data[at + 2] << 8 | b->data[at + 3];
		if (n > b->n - at - 12)
			return;
		uint32_t c = crc32_of(b->data + at + 4, n + 4);
		for (int i = 0; i < 4; i++)
			b->data[at + 8 + n + (size_t)i] = (unsigned char)(c >> (24 - 8 * i));
		at += n + 12;
	}
}

/* --- vqt ---------------------------------------------------------------------------------------------------------- */

static uint64_t load(const unsigned char *p, int n)
{
	uint64_t v = 0;
	for (int i = n; i-- > 0;)
		v = v << 8 | p[i];
	return v;
}

static void save(unsigned char *p, uint64_t v, int n)
{
	for (int i = 0; i < n; i++)
		p[i] = (unsigned char)(v >> 8 * i);
}

/* Where the JSON of a block begins: after the head, and in a record after the tensor table and the id. */
static size_t json_at(const unsigned char *block)
{
	return 64 + (memcmp(block, "VQTR", 4) ? 0 : 128 * (size_t)load(block + 40, 4) + (size_t)load(block + 32, 4));
}

/* Changes the JSON of the block, with its length, and pads it again. */
static void mutate_block_json(bytes *block)
{
	size_t at = json_at(block->data), n = (size_t)load(block->data + 36, 4), room = (at + n + 63) / 64 * 64;
	if (!n || room > block->n)
		return;
	bytes text = { take(n), n };
	memcpy(text.data, block->data + at, n);
	mutate_text(&text, !chance(4));
	size_t new_room = (at + text.n + 63) / 64 * 64;
	unsigned char *out = take(new_room - at);
	memset(out, 0, new_room - at);
	memcpy(out, text.data, text.n);
	save(block->data + 36, text.n, 4);
	splice(block, at, room - at, out, new_room - at);
	free(out);
	free(text.data);
}

static void mutate_block(bytes *block)
{
	size_t front = json_at(block->data);
	if (!memcmp(block->data, "VQTE", 4) || chance(12)) {
		put_integer(block, 24 + below(24));
	} else if (chance(2)) {
		mutate_block_json(block);
	} else if (chance(3) && block->n > 64) {
		block->data[64 + below(block->n - 64)] = (unsigned char)below(256);
	} else if (front > 64 && front <= block->n) {
		put_integer(block, 64 + below(front - 64)); /* tensor table and id */
	}
}

/* Sizes, offsets and hashes as they should be, but for one time in eight, when the hashes stay as they were. */
static void seal_block(bytes *block, size_t offset)
{
	save(block->data + 8, block->n, 8);
	save(block->data + 16, offset, 8);
	if (chance(8))
		return;
	save(block->data + 48, vq_xxh64_of(block->data + 64, block->n - 64, 0), 8);
	save(block->data + 56, vq_xxh64_of(block->data, 56, 0), 8);
}

static void mutate_vqt(bytes *b)
{
	bytes out = { take(0), 0 };
	size_t blocks = 0, at = 0, which;
	for (; at + 64 <= b->n && load(b->data + at + 8, 8) >= 64 && load(b->data + at + 8, 8) <= b->n - at; blocks++)
		at += (size_t)load(b->data + at + 8, 8);
	which = below(blocks);
	at = 0;
	for (size_t i = 0; i < blocks; i++) {
		size_t n = (size_t)load(b->data + at + 8, 8);
		bytes block = { take(n), n };
		memcpy(block.data, b->data + at, n);
		at += n;
		if (i == which || chance(10))
			mutate_block(&block);
		for (size_t copies = chance(40) ? below(3) : 1; copies; copies--) {
			seal_block(&block, out.n);
			splice(&out, out.n, 0, block.data, block.n);
		}
		free(block.data);
	}
	free(b->data);
	*b = out;
	if (chance(10))
		mutate_bytes(b);
}

/* --- files -------------------------------------------------------------------------------------------------------- */

static bytes read_file(const char *name)
{
	FILE *f = fopen(name, "rb");
	bytes b = { NULL, 0 };
	if (!f || fseek(f, 0, SEEK_END))
		die("cannot read", name);
	b.n = (size_t)ftell(f);
	rewind(f);
	b.data = take(b.n);
	if (fread(b.data, 1, b.n, f) != b.n)
		die("cannot read", name);
	fclose(f);
	return b;
}

static const char *extension(const char *name)
{
	const char *slash = strrchr(name, '/'), *dot = strrchr(name, '.');
	return dot && (!slash || dot > slash) ? dot : "";
}

int main(int argc, char **argv)
{
	if (argc < 5)
		die("usage:", "mutate SEED COUNT DIR FILE...");
	long count = atol(argv[2]);
	for (long i = 0; i < count; i++) {
		char name[4096];
		rng = vq_rng_make(strtoull(argv[1], NULL, 10), (uint64_t)i);
		const char *file = argv[4 + below((size_t)argc - 4)], *ext = extension(file);
		bytes b = read_file(file);
		if (!strcmp(ext, ".vqt"))
			mutate_vqt(&b);
		else if (!strcmp(ext, ".png"))
			mutate_png(&b);
		else if (!strcmp(ext, ".csv") || !strcmp(ext, ".json"))
			mutate_text(&b, chance(2));
		else
			mutate_bytes(&b);
		snprintf(name, sizeof name, "%s/%ld%s", argv[3], i, ext);
		FILE *f = fopen(name, "wb");
		if (!f || fwrite(b.data, 1, b.n, f) != b.n || fclose(f))
			die("cannot write", name);
		free(b.data);
	}
	return 0;
}
