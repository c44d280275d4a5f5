/* cli: one option table a tool feeds the parser, --help, the man page's OPTIONS and shell completion.
 *
 * Every tool has -h/--help, -V/--version, -q/--quiet, -v/--verbose; VQ_CLI_* flags add --threads, --seed, --device, -o.
 * Options are `--name VALUE` or `--name=VALUE`; `--` ends them; options and operands mix. Misuse: one line on stderr that names
 * the nearest known option where there is one, exit 2. `--help=man` prints the man page's OPTIONS (roff), `--help=complete`
 * a bash completion script for the tool. Messages may come from any thread. */
#ifndef VQ_CLI_H
#define VQ_CLI_H

#include <cjson/cJSON.h>

#include "lib/base.h"

typedef enum {
	VQ_OPT_FLAG,   /* bool*: set true */
	VQ_OPT_STRING, /* const char** */
	VQ_OPT_FILE,   /* const char**, completes file names */
	VQ_OPT_CHOICE, /* int*: index into the '|'-separated choices */
	VQ_OPT_INT,    /* int64_t*, within [lo, hi] */
	VQ_OPT_REAL,   /* double*, within [lo, hi] */
	VQ_OPT_SIZE,   /* int64_t*: 32M, 1G, 4096 (powers of 1024) */
	VQ_OPT_TIME,   /* double* seconds: 120s, 2m, 1.5h, 90 */
	VQ_OPT_LIST,   /* vq_strings*: may be given several times */
	VQ_OPT_GROUP,  /* no option: `help` is a heading for those that follow */
} vq_opt_type;

typedef struct { const char **v; int n; } vq_strings; /* points into argv; the array is freed at exit */

typedef struct {
	const char *name;      /* without the dashes */
	char letter;           /* short form, or 0 */
	vq_opt_type type;
	void *value;
	const char *arg;       /* how help names the value: "N", "FILE", "KEY=VALUE" */
	const char *help;      /* one or two sentences, default included */
	const char *choices;   /* CHOICE: "auto|cpu|cuda" */
	double lo, hi;         /* INT, REAL, SIZE, TIME: lo < hi to check */
	bool *given;           /* set when the option occurred; may be NULL */
} vq_option;

enum { VQ_CLI_THREADS = 1, VQ_CLI_SEED = 2, VQ_CLI_DEVICE = 4, VQ_CLI_OUTPUT = 8 };

typedef struct {
	const char *name;      /* "vq-pad" */
	const char *brief;     /* one line */
	const char *usage;     /* one or more lines without the tool's name: "[options] [STREAM]" separated by \n */
	const vq_option *options; /* ends with {0} */
	int flags;
	int min_operands, max_operands; /* max < 0: any number */
} vq_tool;

/* What the common options set. */
typedef struct {
	int verbosity;         /* -1 quiet, 0, 1 verbose */
	int threads;           /* at least 1 */
	uint64_t seed;
	int device;            /* 0 auto, 1 cpu, 2 cuda */
	const char *output;    /* after -o, or NULL */
} vq_common;
extern vq_common vq_cli;

/* Parses; handles help and version (exit 0) and misuse (exit 2). Operands are left in *operands. */
void vq_cli_parse(const vq_tool *tool, int argc, char **argv, vq_strings *operands);

/* "vq-pad: message" on stderr, exit 2 / exit 1. vq_die() takes the thread's message when fmt is NULL. */
_Noreturn void vq_misuse(const char *fmt, ...) __attribute__((format(printf, 1, 2)));
_Noreturn void vq_die(const char *fmt, ...) __attribute__((format(printf, 1, 2)));
/* Prints "vq-pad: message" and goes on (the tool then exits 1 itself). */
void vq_error(const char *fmt, ...) __attribute__((format(printf, 1, 2)));
/* "vq-pad: warning: ..." one line; alike means the same fmt pointer: after 20 the rest are counted and the count is printed
 * by vq_cli_end(). -q silences them. */
void vq_warn(const char *fmt, ...) __attribute__((format(printf, 1, 2)));
void vq_info(const char *fmt, ...) __attribute__((format(printf, 1, 2))); /* with -v only */
/* Called before a line goes to stderr, so that a progress line can be wiped; NULL for none. */
extern void (*vq_cli_before_line)(void);
/* Counted warnings; flushes and closes standard output, whose failure is exit 1. Returns the exit status: status, or 1. */
int vq_cli_end(int status);

/* The arguments for the stream's chain: every option given and operand, but -o, --threads, -q, -v, --help and their values. Caller frees. */
cJSON *vq_cli_args(void);

/* Splits "a,b" into fresh strings; caller frees each and the array. Empty parts are kept. */
vq_status vq_split(const char *text, char sep, char ***out, int *n);

#endif
