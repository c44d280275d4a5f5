/* The scheduler behind lib/cuda/emulate.h: a fibre a thread, a block at a time. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#ifndef __x86_64__
#include <ucontext.h>
#endif
#if defined __SANITIZE_ADDRESS__
#include <sanitizer/common_interface_defs.h>
#endif

#include "lib/base.h"
#include "lib/cuda/emulate.h"

enum { THREADS = 1024, STACK = 256 << 10, REGIONS = 64 };
enum { READY, AT_BARRIER, AT_WARP, DONE };

typedef struct {
#ifdef __x86_64__
	void *sp;
#else
	ucontext_t context;
#endif
	char *stack;
	int state, line;
} fibre;

vq_emulated_index threadIdx, blockIdx, blockDim, gridDim;
vq_emulated_defer *vq_emulate_defer;

static fibre all[THREADS], home;
static int current;
static void (*work)(void *);
static void *work_context;
static unsigned char slots[THREADS][16];
static void *region[REGIONS];
static int regions;
static unsigned order;
static long launches;
static int turn[THREADS];

void vq_emulate_order(unsigned o) { order = o; }
long vq_emulate_launches(void) { return launches; }

#ifdef __x86_64__
/* Saves what a call must keep, changes stacks, and returns there. */
void fibre_switch(void **save, void *to);
__asm__(".text\n"
	"fibre_switch:\n"
	"	pushq %rbp\n	pushq %rbx\n	pushq %r12\n	pushq %r13\n	pushq %r14\n	pushq %r15\n"
	"	movq %rsp, (%rdi)\n"
	"	movq %rsi, %rsp\n"
	"	popq %r15\n	popq %r14\n	popq %r13\n	popq %r12\n	popq %rbx\n	popq %rbp\n"
	"	ret\n");
#endif

#if defined __SANITIZE_ADDRESS__
static const void *home_stack;
static size_t home_size;
#endif

static void change(fibre *from, fibre *to)
{
#if defined __SANITIZE_ADDRESS__
	void *fake = NULL;
	__sanitizer_start_switch_fiber(&fake, to == &home ? home_stack : to->stack, to == &home ? home_size : STACK);
#endif
#ifdef __x86_64__
	fibre_switch(&from->sp, to->sp);
#else
	swapcontext(&from->context, &to->context);
#endif
#if defined __SANITIZE_ADDRESS__
	__sanitizer_finish_switch_fiber(fake, NULL, NULL);
#endif
}

static void life(void)
{
#if defined __SANITIZE_ADDRESS__
	__sanitizer_finish_switch_fiber(NULL, &home_stack, &home_size);
#endif
	for (;;) {
		work(work_context);
		all[current].state = DONE;
		change(&all[current], &home);
	}
}

static void fibre_make(fibre *f)
{
	if (f->stack)
		return;
	f->stack = mmap(NULL, STACK, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
	if (f->stack == MAP_FAILED) {
		perror("fibres");
		abort();
	}
#ifdef __x86_64__
	void **top = (void **)(f->stack + STACK);
	*--top = NULL;
	*--top = (void *)life;
	for (int i = 0; i < 6; i++)
		*--top = NULL;
	f->sp = top;
#else
	getcontext(&f->context);
	f->context.uc_stack.ss_sp = f->stack;
	f->context.uc_stack.ss_size = STACK;
	makecontext(&f->context, life, 0);
#endif
}

static void wait_for(int state, int line)
{
	all[current].state = state;
	all[current].line = line;
	change(&all[current], &home);
}

void vq_emulate_barrier(int line) { wait_for(AT_BARRIER, line); }
void vq_emulate_warp(int line) { wait_for(AT_WARP, line); }
void *vq_emulate_slot(int lane) { return slots[current / 32 * 32 + lane]; }

void vq_emulate_shared(void *p, size_t bytes)
{
	for (int i = 0; i < regions; i++)
		if (region[i] == p)
			return;
	if (regions == REGIONS)
		abort();
	region[regions++] = p;
	memset(p, 0xff, bytes);
}

static unsigned dice(unsigned *s)
{
	*s = *s * 1664525u + 1013904223u;
	return *s >> 8;
}

/* 0..n-1 in the order asked for. */
static void orders(int *a, int n, unsigned salt)
{
	unsigned s = order * 2654435761u + salt;
	for (int i = 0; i < n; i++)
		a[i] = order == 1 ? n - 1 - i : i;
	for (int i = n; i > 1 && order > 1; i--) {
		int j = (int)(dice(&s) % (unsigned)i), t = a[i - 1];
		a[i - 1] = a[j];
		a[j] = t;
	}
}

/* Frees from..to when all of them wait in the same way; 1 if so. */
static int release(int from, int to, int state)
{
	for (int i = from; i < to; i++)
		if (all[i].state != state)
			return 0;
		else if (all[i].line != all[from].line) {
			fprintf(stderr, "fibres: threads %d and %d wait at lines %d and %d\n", from, i, all[from].line, all[i].line);
			abort();
		}
	for (int i = from; i < to; i++)
		all[i].state = READY;
	return 1;
}

static void run_block(int n, unsigned salt)
{
	regions = 0;
	memset(slots, 0xff, sizeof slots);
	for (int i = 0; i < n; i++)
		all[i].state = READY;
	for (;;) {
		int done = 0, moved = 0;
		orders(turn, n, salt++);
		for (int k = 0; k < n; k++) {
			int i = turn[k];
			if (all[i].state == READY) {
				current = i;
				threadIdx = (vq_emulated_index){ (unsigned)i % blockDim.x, (unsigned)i / blockDim.x % blockDim.y, (unsigned)i / (blockDim.x * blockDim.y) };
				change(&home, &all[i]);
				moved++;
			}
			done += all[i].state == DONE;
		}
		if (done == n)
			return;
		moved += release(0, n, AT_BARRIER);
		for (int i = 0; i < n; i += 32)
			moved += release(i, VQ_MIN(i + 32, n), AT_WARP);
		if (!moved) {
			fprintf(stderr, "fibres: block %u,%u,%u: some threads wait (line %d) for others that never come\n", blockIdx.x, blockIdx.y, blockIdx.z, all[turn[0]].line);
			abort();
		}
	}
}

void vq_emulate_launch(void (*fn)(void *), void *ctx, vq_emulated_index grid, vq_emulated_index block)
{
	int n = (int)(block.x * block.y * block.z), blocks = (int)(grid.x * grid.y * grid.z), *at = malloc(sizeof *at * (size_t)blocks);
	if (!at || n < 1 || n > THREADS || n % 32 || blocks < 1) {
		fprintf(stderr, "fibres: a launch of %d blocks of %d threads\n", blocks, n);
		abort();
	}
	launches++;
	work = fn;
	work_context = ctx;
	gridDim = grid;
	blockDim = block;
	for (int i = 0; i < n; i++)
		fibre_make(&all[i]);
	orders(at, blocks, 77);
	for (int i = 0; i < blocks; i++) {
		blockIdx = (vq_emulated_index){ (unsigned)at[i] % grid.x, (unsigned)at[i] / grid.x % grid.y, (unsigned)at[i] / (grid.x * grid.y) };
		run_block(n, (unsigned)i);
	}
	free(at);
}
