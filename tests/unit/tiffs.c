#include "tests/unit/tiffs.h"

#include <dirent.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

static char dir[256];

static void clean(void)
{
	DIR *d = opendir(dir);
	for (struct dirent *e; d && (e = readdir(d));) {
		char path[600];
		snprintf(path, sizeof path, "%s/%s", dir, e->d_name);
		if (strcmp(e->d_name, ".") && strcmp(e->d_name, ".."))
			unlink(path);
	}
	if (d)
		closedir(d);
	rmdir(dir);
}

static void must(bool ok, const char *what)
{
	if (ok)
		return;
	perror(what);
	exit(1);
}

const char *temp_path(const char *name)
{
	static char path[8][512];
	static int turn;
	if (!*dir) {
		const char *base = getenv("TMPDIR");
		snprintf(dir, sizeof dir, "%s/vq-test-XXXXXX", base && *base ? base : "/tmp");
		must(mkdtemp(dir), dir);
		atexit(clean);
	}
	char *p = path[turn++ % 8];
	snprintf(p, sizeof path[0], "%s/%s", dir, name);
	return p;
}

void file_made(const char *path, const void *data, size_t n)
{
	FILE *f = fopen(path, "wb");
	must(f && fwrite(data, 1, n, f) == n && !fclose(f), path);
}

typedef struct { uint8_t *b; size_t n; bool big; } bytes_out;

static void number(bytes_out *o, uint32_t v, int size)
{
	for (int i = 0; i < size; i++)
		o->b[o->n++] = (uint8_t)(v >> 8 * (o->big ? size - 1 - i : i));
}

void tiff_made(const char *path, bool big, const tiff_tag *tags, int n, const void *pixels, size_t bytes)
{
	size_t room = bytes + 64 + 12 * (size_t)n;
	for (int i = 0; i < n; i++)
		room += (tags[i].text ? strlen(tags[i].text) : 4 * (size_t)tags[i].count) + 8;
	bytes_out o = { .b = calloc(1, room), .big = big };
	uint32_t at[64];
	must(o.b && n <= 64, "tiff_made");
	memcpy(o.b, big ? "MM\0*" : "II*\0", 4);
	o.n = 8;
	memcpy(o.b + o.n, pixels, bytes);
	o.n += bytes;
	for (int i = 0; i < n; i++) { /* values that do not fit their entry */
		const tiff_tag *t = &tags[i];
		o.n += o.n & 1;
		at[i] = (uint32_t)o.n;
		if (t->text) {
			memcpy(o.b + o.n, t->text, strlen(t->text) + 1);
			o.n += strlen(t->text) + 1;
		}
		for (int k = 0; t->values && k < t->count; k++)
			number(&o, t->values[k], t->bits / 8);
	}
	o.n += o.n & 1;
	size_t ifd = o.n;
	number(&o, (uint32_t)n, 2);
	for (int i = 0; i < n; i++) {
		const tiff_tag *t = &tags[i];
		size_t len = t->text ? strlen(t->text) + 1 : t->values ? (size_t)t->count : 1, size = t->text ? 1 : (size_t)t->bits / 8;
		number(&o, (uint32_t)t->code, 2);
		number(&o, t->text ? 2 : t->bits == 16 ? 3 : 4, 2);
		number(&o, (uint32_t)len, 4);
		size_t end = o.n + 4;
		if (len * size > 4)
			number(&o, at[i], 4);
		else if (t->text)
			memcpy(o.b + o.n, t->text, len);
		else
			for (size_t k = 0; k < len; k++)
				number(&o, t->values ? t->values[k] : t->value, (int)size);
		o.n = end;
	}
	number(&o, 0, 4);
	size_t total = o.n;
	o.n = 4;
	number(&o, (uint32_t)ifd, 4);
	file_made(path, o.b, total);
	free(o.b);
}
