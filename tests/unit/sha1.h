/* SHA-1 of a buffer, as 40 hex digits; for comparing decoded pixels with a table. */
#ifndef TEST_SHA1_H
#define TEST_SHA1_H

#include <stddef.h>

void test_sha1(const void *data, size_t n, char hex[41]);

#endif
