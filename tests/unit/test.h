/* test: a unit test program is a list of TEST functions and one TEST_MAIN; it prints TAP.
 *
 *   TEST(pads_are_centred) { CHECK(top == 3); CHECK_NEAR(y, 1.5, 1e-6); }
 *   TEST_MAIN(RUN(pads_are_centred))
 *
 * A failed CHECK names file, line and values, and ends that test. SKIP("reason") ends it as skipped. */
#ifndef VQ_TEST_H
#define VQ_TEST_H

#include <math.h>
#include <setjmp.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "lib/base.h"

typedef void test_fn(void);
static jmp_buf test_out;
static int test_number, test_failed;
static char test_note[2048];

#define TEST(name) static void name(void)
#define TEST_END(code, ...) do { snprintf(test_note, sizeof test_note, __VA_ARGS__); longjmp(test_out, code); } while (0)
#define SKIP(...) TEST_END(2, __VA_ARGS__)
#define CHECK(x) do { if (!(x)) TEST_END(1, "%s:%d: %s", __FILE__, __LINE__, #x); } while (0)
#define CHECK_OK(call) do { vq_status s_ = (call); if (s_ < 0) TEST_END(1, "%s:%d: %s: %s", __FILE__, __LINE__, #call, vq_message()); } while (0)
#define CHECK_FAILS(call, code) do { vq_status s_ = (call); \
	if (s_ != (code)) TEST_END(1, "%s:%d: %s gave %d, not %s", __FILE__, __LINE__, #call, s_, #code); } while (0)
#define CHECK_NEAR(a, b, tol) do { double a_ = (a), b_ = (b), t_ = (tol); if (!(fabs(a_ - b_) <= t_)) \
	TEST_END(1, "%s:%d: %s = %.9g, %s = %.9g, apart by %.3g (limit %.3g)", __FILE__, __LINE__, #a, a_, #b, b_, fabs(a_ - b_), t_); } while (0)
#define CHECK_STR(a, b) do { const char *a_ = (a), *b_ = (b); if (!a_ || !b_ || strcmp(a_, b_)) \
	TEST_END(1, "%s:%d: %s is \"%.800s\", not \"%.800s\"", __FILE__, __LINE__, #a, a_ ? a_ : "(null)", b_ ? b_ : "(null)"); } while (0)
#define CHECK_HAS(a, part) do { const char *a_ = (a); if (!a_ || !strstr(a_, part)) \
	TEST_END(1, "%s:%d: %s is \"%.800s\", without \"%.800s\"", __FILE__, __LINE__, #a, a_ ? a_ : "(null)", part); } while (0)

static void test_run(const char *name, test_fn *f)
{
	test_number++;
	switch (setjmp(test_out)) {
	case 0:
		f();
		printf("ok %d - %s\n", test_number, name);
		break;
	case 2:
		printf("ok %d - %s # skip %s\n", test_number, name, test_note);
		break;
	default:
		printf("not ok %d - %s\n# %s\n", test_number, name, test_note);
		test_failed++;
	}
	fflush(stdout);
}

#define RUN(name) test_run(#name, name);
#define TEST_MAIN(runs) int main(void) { runs printf("1..%d\n", test_number); return test_failed != 0; }

#endif
