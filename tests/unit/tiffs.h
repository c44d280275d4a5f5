/* tiffs: TIFF files made by hand, as no decent writer would make them. */
#ifndef TEST_TIFFS_H
#define TEST_TIFFS_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* Tags in ascending order. text: an ASCII tag; values: count numbers (bits 16 or 32); else the one value. */
typedef struct { int code, bits; uint32_t value; int count; const uint32_t *values; const char *text; } tiff_tag;

/* One directory; the pixels (as they are to stand in the file) begin at byte 8, where StripOffsets (273, supply it with value 8) should
 * point. Exits on failure: a test cannot go on without its file. */
void tiff_made(const char *path, bool big, const tiff_tag *tags, int n, const void *pixels, size_t bytes);

void file_made(const char *path, const void *data, size_t n);
/* The path of a file of this name in a directory of this process's own, which is emptied and removed at exit. Valid until the 8th next call. */
const char *temp_path(const char *name);

#endif
