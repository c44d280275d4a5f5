#include "tools/cli.h"

#include <errno.h>
#include <fcntl.h>
#include <math.h>
#include <pthread.h>
#include <sched.h>
#include <signal.h>
#include <stdio.h>
#include <stdio_ext.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "tools/help.h"

enum { WARNINGS_SHOWN = 20, THREADS_MAX = 1024 };

vq_common vq_cli;
void (*vq_cli_before_line)(void);

static struct {
	const vq_tool *tool;
	vq_option *all;                                            /* the tool's options and the common ones */
	struct { const vq_option *option; const char *value; } *given; /* in the order of the command line */
	int ngiven;
	vq_strings operands;
	vq_arena memory;
} cli;

/* What the common options are parsed into. */
static struct { int64_t threads, seed; bool quiet, verbose; } common;

/* --- messages ----------------------------------------------------------------------------------------------------- */

static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;
static struct { const char *fmt; unsigned long n; char last[200]; } alike[64];

static const char *tool_name(void) { return cli.tool ? cli.tool->name : "vq"; }

/* One line, whatever a file name holds, in one write. */
static void print_line(const char *kind, const char *text)
{
	char line[2200];
	snprintf(line, sizeof line, "%s: %s%s", tool_name(), kind, text);
	for (char *c = line; *c; c++)
		if ((unsigned char)*c < ' ' || *c == 0x7f)
			*c = '?';
	size_t n = strnlen(line, sizeof line - 2);
	memcpy(line + n, "\n", 2);
	if (vq_cli_before_line)
		vq_cli_before_line();
	fputs(line, stderr);
}

#define FORMAT(text, fmt) \
	char text[2048]; \
	do { va_list ap_; va_start(ap_, fmt); vsnprintf(text, sizeof text, fmt, ap_); va_end(ap_); } while (0)

static void print_counts(void)
{
	pthread_mutex_lock(&lock);
	for (size_t i = 0; i < VQ_COUNT(alike) && alike[i].fmt; i++) {
		char text[300];
		if (alike[i].n > WARNINGS_SHOWN && vq_cli.verbosity >= 0) {
			snprintf(text, sizeof text, "%lu more like \"%s\"", alike[i].n - WARNINGS_SHOWN, alike[i].last);
			print_line("warning: ", text);
		}
		alike[i].n = 0;
	}
	pthread_mutex_unlock(&lock);
}

void vq_misuse(const char *fmt, ...)
{
	FORMAT(text, fmt);
	print_line("", text);
	exit(2);
}

void vq_die(const char *fmt, ...)
{
	char text[2048];
	const char *m = vq_message();
	va_list ap;
	va_start(ap, fmt);
	if (fmt)
		vsnprintf(text, sizeof text, fmt, ap);
	else
		snprintf(text, sizeof text, "%s", *m ? m : "failed for a reason that was not recorded");
	va_end(ap);
	print_counts();
	print_line("", text);
	exit(1);
}

void vq_error(const char *fmt, ...)
{
	FORMAT(text, fmt);
	print_line("", text);
}

void vq_warn(const char *fmt, ...)
{
	FORMAT(text, fmt);
	pthread_mutex_lock(&lock);
	size_t i = 0;
	while (i < VQ_COUNT(alike) - 1 && alike[i].fmt && alike[i].fmt != fmt)
		i++;
	alike[i].fmt = fmt;
	bool show = ++alike[i].n <= WARNINGS_SHOWN && vq_cli.verbosity >= 0;
	snprintf(alike[i].last, sizeof alike[i].last, "%.*s", (int)sizeof alike[i].last - 1, text);
	if (show)
		print_line("warning: ", text);
	pthread_mutex_unlock(&lock);
}

void vq_info(const char *fmt, ...)
{
	if (vq_cli.verbosity < 1)
		return;
	FORMAT(text, fmt);
	print_line("", text);
}

int vq_cli_end(int status)
{
	print_counts();
	bool written = __fpending(stdout) > 0;
	errno = 0;
	bool bad = ferror(stdout) || fflush(stdout);
	int cause = errno;
	/* A standard output that was closed from the start is fine as long as nothing was meant for it. */
	if (fclose(stdout) && (written || errno != EBADF)) {
		cause = cause ? cause : errno;
		bad = true;
	}
	if (!bad)
		return status;
	print_line("standard output: ", strerror(cause ? cause : EIO));
	return status ? status : 1;
}

/* --- values ------------------------------------------------------------------------------------------------------- */

static bool parse_int(const char *text, int64_t *out)
{
	char *end;
	errno = 0;
	long long v = strtoll(text, &end, 10);
	*out = v;
	return end != text && !*end && !errno && *text != ' ';
}

/* A decimal number, and what follows it. */
static bool parse_real(const char *text, double *out, const char **rest)
{
	char *end;
	*out = strtod(text, &end);
	*rest = end;
	return end != text && isfinite(*out) && !strpbrk(text, "xX ");
}

static bool parse_size(const char *text, int64_t *out)
{
	static const char units[] = "KMGT";
	const char *rest;
	double v;
	if (!parse_real(text, &v, &rest) || v < 0)
		return false;
	const char *unit = *rest ? strchr(units, *rest >= 'a' ? *rest - 32 : *rest) : NULL;
	if (unit) {
		v *= pow(1024, (double)(unit - units + 1));
		rest++;
		rest += *rest == 'i';
	}
	rest += *rest == 'B';
	*out = v < 0x1p63 ? (int64_t)v : 0;
	return !*rest && v < 0x1p63;
}

static bool parse_time(const char *text, double *out)
{
	const char *rest;
	if (!parse_real(text, out, &rest) || *out < 0)
		return false;
	switch (*rest) {
	case 'd': *out *= 24; /* fall through */
	case 'h': *out *= 60; /* fall through */
	case 'm': *out *= 60; /* fall through */
	case 's': rest++;
	}
	return !*rest;
}

static void check_range(const vq_option *o, double v, const char *text)
{
	if (!(o->lo < o->hi) || (v >= o->lo && v <= o->hi))
		return;
	if (o->hi >= 1e15)
		vq_misuse("--%s must be at least %.15g, not %s", o->name, o->lo, text);
	vq_misuse("--%s must be from %.15g to %.15g, not %s", o->name, o->lo, o->hi, text);
}

/* The index of text among "a|b|c", or -1. */
static int parse_choice(const char *choices, const char *text)
{
	size_t n = strlen(text);
	for (int i = 0; choices; i++) {
		size_t len = strcspn(choices, "|");
		if (len == n && !strncmp(choices, text, n))
			return i;
		choices = choices[len] ? choices + len + 1 : NULL;
	}
	return -1;
}

static void store_list(vq_strings *list, const char *text)
{
	/* Room doubles at powers of two; the arena frees the pieces left behind. */
	if ((list->n & (list->n - 1)) == 0) {
		const char **v = vq_arena_get(&cli.memory, sizeof *v * (list->n ? 2 * (size_t)list->n : 1));
		if (!v)
			vq_die(NULL);
		if (list->n)
			memcpy(v, list->v, sizeof *v * (size_t)list->n);
		list->v = v;
	}
	list->v[list->n++] = text;
}

static void store(const vq_option *o, const char *text)
{
	double real;
	const char *rest;
	switch (o->type) {
	case VQ_OPT_FLAG:
		*(bool *)o->value = true;
		break;
	case VQ_OPT_STRING:
	case VQ_OPT_FILE:
		*(const char **)o->value = text;
		break;
	case VQ_OPT_CHOICE:
		if ((*(int *)o->value = parse_choice(o->choices, text)) < 0)
			vq_misuse("--%s must be one of %s, not %s", o->name, o->choices, text);
		break;
	case VQ_OPT_INT:
		if (!parse_int(text, o->value))
			vq_misuse("--%s needs a whole number, not \"%s\"", o->name, text);
		check_range(o, (double)*(int64_t *)o->value, text);
		break;
	case VQ_OPT_REAL:
		if (!parse_real(text, &real, &rest) || *rest)
			vq_misuse("--%s needs a number, not \"%s\"", o->name, text);
		check_range(o, real, text);
		*(double *)o->value = real;
		break;
	case VQ_OPT_SIZE:
		if (!parse_size(text, o->value))
			vq_misuse("--%s needs a size in bytes such as 4096, 32M or 1G, not \"%s\"", o->name, text);
		check_range(o, (double)*(int64_t *)o->value, text);
		break;
	case VQ_OPT_TIME:
		if (!parse_time(text, o->value))
			vq_misuse("--%s needs a time such as 90, 120s, 2m or 1.5h, not \"%s\"", o->name, text);
		check_range(o, *(double *)o->value, text);
		break;
	case VQ_OPT_LIST:
		store_list(o->value, text);
		break;
	case VQ_OPT_GROUP:
		break;
	}
	if (o->given)
		*o->given = true;
}

/* --- the table ---------------------------------------------------------------------------------------------------- */

static int allowed_cores(void)
{
	cpu_set_t set;
	long n = sched_getaffinity(0, sizeof set, &set) ? sysconf(_SC_NPROCESSORS_ONLN) : CPU_COUNT(&set);
	return (int)VQ_MAX(1, VQ_MIN(n, THREADS_MAX));
}

static void merge_tables(const vq_tool *tool)
{
	const vq_option shared[] = {
		{ "output", 'o', VQ_OPT_FILE, &vq_cli.output, "FILE", "Write to FILE, which appears when it is complete; - is standard output." },
		{ "threads", 0, VQ_OPT_INT, &common.threads, "N", "Use N threads (default: the cores that this process may use).", NULL, 1,
		  THREADS_MAX },
		{ "seed", 0, VQ_OPT_INT, &common.seed, "N", "Seed of the random numbers (default 0).", NULL, 0, 0x1p63 },
		{ "device", 0, VQ_OPT_CHOICE, &vq_cli.device, NULL, "Where to compute (default auto: cuda where it is built in and present).",
		  "auto|cpu|cuda" },
		{ "quiet", 'q', VQ_OPT_FLAG, &common.quiet, NULL, "No warnings and no progress line; errors only." },
		{ "verbose", 'v', VQ_OPT_FLAG, &common.verbose, NULL, "Say more on standard error." },
		{ "help", 'h', VQ_OPT_FLAG, NULL, NULL, "Print this text on standard output and exit." },
		{ "version", 'V', VQ_OPT_FLAG, NULL, NULL, "Print the version and exit." },
	};
	static const int flag[VQ_COUNT(shared)] = { VQ_CLI_OUTPUT, VQ_CLI_THREADS, VQ_CLI_SEED, VQ_CLI_DEVICE };
	size_t own = 0, n;
	while (tool->options && !vq_option_end(&tool->options[own]))
		own++;
	if (!(cli.all = vq_arena_get(&cli.memory, sizeof *cli.all * (own + VQ_COUNT(shared) + 2))))
		vq_die(NULL);
	if (own)
		memcpy(cli.all, tool->options, own * sizeof *cli.all);
	n = own;
	cli.all[n++] = (vq_option){ .type = VQ_OPT_GROUP, .help = own ? "Common options" : "Options" };
	for (size_t i = 0; i < VQ_COUNT(shared); i++)
		if (!flag[i] || (tool->flags & flag[i]))
			cli.all[n++] = shared[i];
}

static const vq_option *find_long(const char *name, size_t len)
{
	for (const vq_option *o = cli.all; !vq_option_end(o); o++)
		if (o->name && strlen(o->name) == len && !strncmp(o->name, name, len))
			return o;
	return NULL;
}

static const vq_option *find_letter(char letter)
{
	for (const vq_option *o = cli.all; !vq_option_end(o); o++)
		if (o->name && o->letter == letter)
			return o;
	return NULL;
}

static _Noreturn void unknown_option(const char *name, size_t len)
{
	const vq_option *best = NULL;
	char text[64];
	int least = (int)VQ_MAX(2, len / 2);
	snprintf(text, sizeof text, "%.*s", (int)VQ_MIN(len, sizeof text - 1), name);
	for (const vq_option *o = cli.all; !vq_option_end(o); o++) {
		if (!o->name)
			continue;
		int d = len > 1 && !strncmp(o->name, text, strlen(text)) ? 0 : vq_distance(text, o->name);
		if (d < least + !best) {
			least = d;
			best = o;
		}
	}
	if (best)
		vq_misuse("unknown option --%.*s; did you mean --%s?", (int)VQ_MIN(len, 200), name, best->name);
	vq_misuse("unknown option --%.*s; --help lists them", (int)VQ_MIN(len, 200), name);
}

/* --- the command line --------------------------------------------------------------------------------------------- */

static _Noreturn void answer_help(const char *what)
{
	if (!what || !strcmp(what, ""))
		vq_help_text(stdout, cli.tool, cli.all);
	else if (!strcmp(what, "man"))
		vq_help_man(stdout, cli.all);
	else if (!strcmp(what, "complete"))
		vq_help_complete(stdout, cli.tool, cli.all);
	else
		vq_misuse("--help takes man or complete, not %s", what);
	exit(vq_cli_end(0));
}

static void accept(const vq_option *o, const char *value)
{
	if (!strcmp(o->name, "help"))
		answer_help(value);
	if (!strcmp(o->name, "version")) {
		printf("%s %s\n", cli.tool->name, VQ_VERSION);
		exit(vq_cli_end(0));
	}
	store(o, value);
	cli.given[cli.ngiven].option = o;
	cli.given[cli.ngiven++].value = value;
}

/* The value of o at argv[*i + 1]. A value that begins with two dashes is far more likely a forgotten one. */
static const char *next_value(const vq_option *o, int argc, char **argv, int *i)
{
	const char *next = *i + 1 < argc ? argv[*i + 1] : NULL;
	if (!next)
		vq_misuse("--%s needs a value: --%s %s", o->name, o->name, o->arg ? o->arg : o->choices ? o->choices : "VALUE");
	if (next[0] == '-' && next[1] == '-')
		vq_misuse("--%s needs a value, and %s follows it; write --%s=%s if that is the value", o->name, next, o->name, next);
	++*i;
	return next;
}

static void parse_long(int argc, char **argv, int *i)
{
	const char *name = argv[*i] + 2;
	size_t len = strcspn(name, "=");
	const char *value = name[len] ? name + len + 1 : NULL;
	const vq_option *o = find_long(name, len);
	if (!o)
		unknown_option(name, len);
	if (!vq_option_valued(o) && value && strcmp(o->name, "help"))
		vq_misuse("--%s takes no value", o->name);
	if (vq_option_valued(o) && !value)
		value = next_value(o, argc, argv, i);
	accept(o, value);
}

static void parse_letters(int argc, char **argv, int *i)
{
	for (const char *c = argv[*i] + 1; *c; c++) {
		const vq_option *o = find_letter(*c);
		if (!o)
			vq_misuse("unknown option -%c; --help lists them", *c);
		if (vq_option_valued(o)) {
			accept(o, c[1] ? c + 1 : next_value(o, argc, argv, i));
			return;
		}
		accept(o, NULL);
	}
}

static void check_operands(const vq_tool *tool)
{
	int n = cli.operands.n;
	size_t line = strcspn(tool->usage ? tool->usage : "", "\n");
	if (n < tool->min_operands)
		vq_misuse("%s is missing; usage: %s %.*s", n ? "an operand" : "the operand", tool->name, (int)line, tool->usage ? tool->usage : "");
	if (tool->max_operands >= 0 && n > tool->max_operands)
		vq_misuse("unexpected operand %s", cli.operands.v[tool->max_operands]);
}

static void release(void) { vq_arena_free(&cli.memory); }

/* A closed descriptor 0 to 2 would be given to the next file that is opened, and messages would end in it. */
static void keep_standard_streams(void)
{
	for (int fd = 0; fd < 3; fd++)
		if (fcntl(fd, F_GETFD) < 0 && errno == EBADF)
			(void)!open("/dev/null", fd == 0 ? O_WRONLY : O_RDONLY);
}

void vq_cli_parse(const vq_tool *tool, int argc, char **argv, vq_strings *operands)
{
	cli.tool = tool;
	keep_standard_streams();
	signal(SIGPIPE, SIG_IGN);
	atexit(release);
	common.threads = allowed_cores();
	merge_tables(tool);
	size_t most = 1; /* options there can be, bundled letters included */
	for (int i = 1; i < argc; i++)
		most += strlen(argv[i]);
	if (!(cli.given = vq_arena_get(&cli.memory, sizeof *cli.given * most)))
		vq_die(NULL);
	for (int i = 1; i < argc; i++) {
		if (!strcmp(argv[i], "--")) {
			while (++i < argc)
				store_list(&cli.operands, argv[i]);
		} else if (argv[i][0] == '-' && argv[i][1] == '-') {
			parse_long(argc, argv, &i);
		} else if (argv[i][0] == '-' && argv[i][1]) {
			parse_letters(argc, argv, &i);
		} else {
			store_list(&cli.operands, argv[i]);
		}
	}
	vq_cli.verbosity = common.quiet ? -1 : common.verbose;
	vq_cli.threads = (int)common.threads;
	vq_cli.seed = (uint64_t)common.seed;
	check_operands(tool);
	if (operands)
		*operands = cli.operands;
}

static bool in_chain(const vq_option *o)
{
	static const char *const left_out[] = { "output", "threads", "quiet", "verbose" };
	for (size_t i = 0; i < VQ_COUNT(left_out); i++)
		if (!strcmp(o->name, left_out[i]))
			return false;
	return true;
}

static bool add_text(cJSON *array, const char *text)
{
	cJSON *item = cJSON_CreateString(text);
	if (item && cJSON_AddItemToArray(array, item))
		return true;
	cJSON_Delete(item);
	return false;
}

cJSON *vq_cli_args(void)
{
	cJSON *args = cJSON_CreateArray();
	char name[80];
	bool ok = args, dashes = false;
	for (int i = 0; ok && i < cli.ngiven; i++) {
		const vq_option *o = cli.given[i].option;
		if (!in_chain(o))
			continue;
		snprintf(name, sizeof name, "--%s", o->name);
		ok = add_text(args, name) && (!cli.given[i].value || add_text(args, cli.given[i].value));
	}
	for (int i = 0; i < cli.operands.n; i++)
		dashes = dashes || (cli.operands.v[i][0] == '-' && cli.operands.v[i][1]);
	ok = ok && (!dashes || add_text(args, "--"));
	for (int i = 0; ok && i < cli.operands.n; i++)
		ok = add_text(args, cli.operands.v[i]);
	if (ok)
		return args;
	cJSON_Delete(args);
	vq_fail(VQ_ENOMEM, "out of memory for the command's arguments");
	return NULL;
}

vq_status vq_split(const char *text, char sep, char ***out, int *n)
{
	int parts = 1, i = 0;
	for (const char *c = text; *c; c++)
		parts += *c == sep;
	char **v = vq_calloc((size_t)parts, sizeof *v);
	*out = NULL;
	*n = 0;
	if (!v)
		return VQ_ENOMEM;
	for (const char *c = text; i < parts; i++) {
		const char *end = strchr(c, sep);
		if (!(v[i] = vq_strndup(c, end ? (size_t)(end - c) : strlen(c))))
			goto fail;
		c = end ? end + 1 : c;
	}
	*out = v;
	*n = parts;
	return VQ_OK;
fail:
	while (i > 0)
		free(v[--i]);
	free(v);
	return VQ_ENOMEM;
}
