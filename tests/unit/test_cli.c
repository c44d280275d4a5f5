#include "tests/unit/test.h"

#include <fcntl.h>
#include <sched.h>
#include <sys/ioctl.h>
#include <sys/wait.h>
#include <unistd.h>

#include "tools/cli.h"
#include "tools/progress.h"

static bool reflect, reflect_given, remove_pad;
static int64_t multiple, memory;
static double tolerance, seconds;
static const char *stats, *word;
static int how;
static vq_strings set, operands;

static const vq_option options[] = {
	{ NULL, 0, VQ_OPT_GROUP, .help = "How to pad" },
	{ "reflect", 'r', VQ_OPT_FLAG, &reflect, NULL, "Reflect at the edges; what lies beyond the image is a mirror image of it, repeated as often as that takes.",
	  .given = &reflect_given },
	{ "remove", 0, VQ_OPT_FLAG, &remove_pad, NULL, "Undo." },
	{ "multiple", 'n', VQ_OPT_INT, &multiple, "N", "Multiple.", NULL, 1, 4096 },
	{ "tolerance", 0, VQ_OPT_REAL, &tolerance, "F", "Tolerance.", NULL, 0, 1 },
	{ "memory", 0, VQ_OPT_SIZE, &memory, "SIZE", "Memory.", NULL, 1024, 1e18 },
	{ "max-time", 0, VQ_OPT_TIME, &seconds, "TIME", "Time." },
	{ "set", 0, VQ_OPT_LIST, &set, "KEY=VALUE", "Set." },
	{ "stats", 's', VQ_OPT_FILE, &stats, "FILE", ".dots and back\\slashes, as in --fit." },
	{ "word", 0, VQ_OPT_STRING, &word, "TEXT", "A word." },
	{ "how", 0, VQ_OPT_CHOICE, &how, NULL, "How.", "one|two|three" },
	{0},
};
static const vq_tool tool = {
	"vq-try", "try the parser", "--reflect [options] [STREAM]\n--remove [STREAM]", options,
	VQ_CLI_THREADS | VQ_CLI_SEED | VQ_CLI_DEVICE | VQ_CLI_OUTPUT, 0, 2,
};

static struct { int status; char out[16384], err[16384]; } got;
static int child_stdout = -1; /* where the child's standard output goes instead of the pipe */

static void drain(int fd, char *text, size_t size)
{
	size_t n = 0;
	ssize_t r;
	while (n + 1 < size && (r = read(fd, text + n, size - 1 - n)) > 0)
		n += (size_t)r;
	text[n] = 0;
	close(fd);
}

/* Runs body in a child after parsing args (separated by blanks); what it prints and its status are left in got. */
static void run_tool(const vq_tool *t, const char *args, int (*body)(void))
{
	char copy[512], *argv[64] = { "vq-try" };
	int argc = 1, out[2], err[2], status;
	snprintf(copy, sizeof copy, "%s", args);
	for (char *p = strtok(copy, " "); p; p = strtok(NULL, " "))
		argv[argc++] = p;
	CHECK(!pipe(out) && !pipe(err));
	fflush(stdout);
	pid_t pid = fork();
	CHECK(pid >= 0);
	if (pid == 0) {
		dup2(child_stdout >= 0 ? child_stdout : out[1], 1);
		dup2(err[1], 2);
		close(out[0]);
		close(out[1]);
		close(err[0]);
		close(err[1]);
		vq_cli_parse(t, argc, argv, &operands);
		exit(vq_cli_end(body ? body() : 0));
	}
	close(out[1]);
	close(err[1]);
	drain(out[0], got.out, sizeof got.out);
	drain(err[0], got.err, sizeof got.err);
	CHECK(waitpid(pid, &status, 0) == pid);
	CHECK(WIFEXITED(status));
	got.status = WEXITSTATUS(status);
}

static int print_values(void)
{
	printf("reflect %d given %d remove %d multiple %lld tolerance %g memory %lld seconds %g stats %s word %s how %d\n", reflect, reflect_given, remove_pad,
	       (long long)multiple, tolerance, (long long)memory, seconds, stats ? stats : "-", word ? word : "-", how);
	printf("threads %d seed %llu device %d output %s verbosity %d\n", vq_cli.threads, (unsigned long long)vq_cli.seed, vq_cli.device,
	       vq_cli.output ? vq_cli.output : "-", vq_cli.verbosity);
	for (int i = 0; i < set.n; i++)
		printf("set %s\n", set.v[i]);
	for (int i = 0; i < operands.n; i++)
		printf("operand %s\n", operands.v[i]);
	return 0;
}

static int print_args(void)
{
	cJSON *args = vq_cli_args();
	char *text = cJSON_PrintUnformatted(args);
	printf("%s", text);
	cJSON_free(text);
	cJSON_Delete(args);
	return 0;
}

TEST(every_type_is_parsed)
{
	run_tool(&tool, "--reflect --multiple 32 --tolerance=0.25 --memory 1.5M --max-time 2m --stats a.json --word=x=y --how two one.vqt", print_values);
	CHECK(got.status == 0);
	CHECK_STR(got.err, "");
	CHECK_HAS(got.out, "reflect 1 given 1 remove 0 multiple 32 tolerance 0.25 memory 1572864 seconds 120 stats a.json word x=y how 1\n");
	CHECK_HAS(got.out, "operand one.vqt\n");
}

TEST(defaults_stand)
{
	cpu_set_t cores;
	char line[200];
	CHECK(!sched_getaffinity(0, sizeof cores, &cores));
	snprintf(line, sizeof line, "threads %d seed 0 device 0 output - verbosity 0\n", CPU_COUNT(&cores));
	run_tool(&tool, "", print_values);
	CHECK_HAS(got.out, line);
	CHECK_HAS(got.out, "reflect 0 given 0");
}

TEST(common_options)
{
	run_tool(&tool, "--threads 3 --seed 9223372036854775807 --device cuda -o out.vqt -v", print_values);
	CHECK_HAS(got.out, "threads 3 seed 9223372036854775807 device 2 output out.vqt verbosity 1\n");
	run_tool(&tool, "-q --output=-", print_values);
	CHECK_HAS(got.out, "output - verbosity -1\n");
}

TEST(letters_bundle_and_take_values)
{
	run_tool(&tool, "-rqn48 -s- -", print_values);
	CHECK_HAS(got.out, "reflect 1 given 1 remove 0 multiple 48");
	CHECK_HAS(got.out, "stats - ");
	CHECK_HAS(got.out, "verbosity -1\noperand -\n");
}

TEST(lists_and_operands_keep_their_order)
{
	run_tool(&tool, "--set a=1 in --set=b=2 --set c -- -x", print_values);
	CHECK_HAS(got.out, "set a=1\nset b=2\nset c\noperand in\noperand -x\n");
}

TEST(negative_values_follow_options)
{
	run_tool(&tool, "--multiple -3", NULL);
	CHECK(got.status == 2);
	CHECK_STR(got.err, "vq-try: --multiple must be from 1 to 4096, not -3\n");
}

TEST(sizes_and_times)
{
	static const struct { const char *args, *part; } cases[] = {
		{ "--memory 4096", "memory 4096 " }, { "--memory 32K", "memory 32768 " }, { "--memory 1g", "memory 1073741824 " },
		{ "--memory 2MiB", "memory 2097152 " }, { "--memory 2048B", "memory 2048 " }, { "--max-time 90", "seconds 90 " },
		{ "--max-time 120s", "seconds 120 " }, { "--max-time 1.5h", "seconds 5400 " }, { "--max-time 1d", "seconds 86400 " },
	};
	for (size_t i = 0; i < VQ_COUNT(cases); i++) {
		run_tool(&tool, cases[i].args, print_values);
		CHECK_HAS(got.out, cases[i].part);
	}
}

TEST(misuse_is_one_line_and_status_2)
{
	static const struct { const char *args, *line; } cases[] = {
		{ "--refelct", "unknown option --refelct; did you mean --reflect?" },
		{ "--mult 3", "unknown option --mult; did you mean --multiple?" },
		{ "--sets=3", "unknown option --sets; did you mean --set?" },
		{ "--zzzzzzzzzz", "unknown option --zzzzzzzzzz; --help lists them" },
		{ "-z", "unknown option -z; --help lists them" },
		{ "--reflect=yes", "--reflect takes no value" },
		{ "--stats", "--stats needs a value: --stats FILE" },
		{ "--stats --reflect", "--stats needs a value, and --reflect follows it; write --stats=--reflect if that is the value" },
		{ "--multiple 4097", "--multiple must be from 1 to 4096, not 4097" },
		{ "--multiple 1e3", "--multiple needs a whole number, not \"1e3\"" },
		{ "--multiple 99999999999999999999", "--multiple needs a whole number, not \"99999999999999999999\"" },
		{ "--multiple=", "--multiple needs a whole number, not \"\"" },
		{ "--tolerance nan", "--tolerance needs a number, not \"nan\"" },
		{ "--tolerance 0.5x", "--tolerance needs a number, not \"0.5x\"" },
		{ "--tolerance 1.01", "--tolerance must be from 0 to 1, not 1.01" },
		{ "--memory 1000", "--memory must be at least 1024, not 1000" },
		{ "--memory 5X", "--memory needs a size in bytes such as 4096, 32M or 1G, not \"5X\"" },
		{ "--memory 1e30", "--memory needs a size in bytes such as 4096, 32M or 1G, not \"1e30\"" },
		{ "--max-time 5y", "--max-time needs a time such as 90, 120s, 2m or 1.5h, not \"5y\"" },
		{ "--max-time -1", "--max-time needs a time such as 90, 120s, 2m or 1.5h, not \"-1\"" },
		{ "--how four", "--how must be one of one|two|three, not four" },
		{ "--how on", "--how must be one of one|two|three, not on" },
		{ "--device gpu", "--device must be one of auto|cpu|cuda, not gpu" },
		{ "--seed -1", "--seed must be at least 0, not -1" },
		{ "--threads 0", "--threads must be from 1 to 1024, not 0" },
		{ "--help=nothing", "--help takes man or complete, not nothing" },
		{ "a b c", "unexpected operand c" },
	};
	char line[300];
	for (size_t i = 0; i < VQ_COUNT(cases); i++) {
		run_tool(&tool, cases[i].args, NULL);
		snprintf(line, sizeof line, "vq-try: %s\n", cases[i].line);
		CHECK_STR(got.err, line);
		CHECK_STR(got.out, "");
		CHECK(got.status == 2);
	}
}

TEST(a_missing_operand_shows_the_usage)
{
	const vq_tool t = { "vq-try", "try", "[options] FILE...\nmore", NULL, 0, 1, -1 };
	run_tool(&t, "", NULL);
	CHECK(got.status == 2);
	CHECK_STR(got.err, "vq-try: the operand is missing; usage: vq-try [options] FILE...\n");
	run_tool(&t, "a b c d", NULL);
	CHECK(got.status == 0);
	run_tool(&t, "--threads 2 a", NULL);
	CHECK_HAS(got.err, "unknown option --threads");
}

TEST(version)
{
	run_tool(&tool, "-V", NULL);
	CHECK(got.status == 0);
	CHECK_STR(got.out, "vq-try " VQ_VERSION "\n");
}

TEST(help_fits_80_columns)
{
	run_tool(&tool, "-h", NULL);
	CHECK(got.status == 0);
	CHECK_STR(got.err, "");
	CHECK(!strncmp(got.out, "vq-try - try the parser\n\nusage: vq-try --reflect [options] [STREAM]\n       vq-try --remove [STREAM]\n\nHow to pad:\n", 108));
	CHECK_HAS(got.out, "\n  -n, --multiple N        Multiple.\n");
	CHECK_HAS(got.out, "\n      --how one|two|three\n                          How.\n");
	CHECK_HAS(got.out, "\nCommon options:\n  -o, --output FILE ");
	for (const char *line = got.out; *line; line += strcspn(line, "\n") + 1) {
		CHECK(strcspn(line, "\n") <= 80);
		CHECK(strcspn(line, "\n") == 0 || line[strcspn(line, "\n") - 1] != ' ');
	}
}

TEST(help_man_is_escaped)
{
	run_tool(&tool, "--help=man", NULL);
	CHECK(got.status == 0);
	CHECK(!strncmp(got.out, ".SS How to pad\n.TP\n\\fB\\-r\\fR, \\fB\\-\\-reflect\\fR\nReflect", 50));
	CHECK_HAS(got.out, "\\fB\\-\\-max\\-time\\fR \\fITIME\\fR\nTime.\n");
	CHECK_HAS(got.out, "\n\\&.dots and back\\eslashes, as in \\-\\-fit.\n");
	CHECK_HAS(got.out, "\\fB\\-\\-how\\fR \\fBone|two|three\\fR\n");
}

TEST(args_for_the_chain)
{
	run_tool(&tool, "-r --threads 2 -q -o x.vqt --multiple=32 --seed 4 --set a=b in.vqt", print_args);
	CHECK_STR(got.out, "[\"--reflect\",\"--multiple\",\"32\",\"--seed\",\"4\",\"--set\",\"a=b\",\"in.vqt\"]");
	run_tool(&tool, "-v -- --odd", print_args);
	CHECK_STR(got.out, "[\"--\",\"--odd\"]");
	run_tool(&tool, "", print_args);
	CHECK_STR(got.out, "[]");
}

static int warn_often(void)
{
	for (int i = 0; i < 25; i++)
		vq_warn("%d.tif: unreadable", i);
	for (int i = 0; i < 20; i++)
		vq_warn("another kind %d", i);
	vq_error("one error");
	vq_info("details");
	return 0;
}

static int count_lines(const char *text, const char *part)
{
	int n = 0;
	for (const char *p = text; (p = strstr(p, part)); p++)
		n++;
	return n;
}

TEST(warnings_are_counted_after_20_alike)
{
	run_tool(&tool, "", warn_often);
	CHECK(got.status == 0);
	CHECK(count_lines(got.err, "vq-try: warning: ") == 41);
	CHECK(count_lines(got.err, "another kind") == 20);
	CHECK_HAS(got.err, "vq-try: warning: 19.tif: unreadable\n");
	CHECK_HAS(got.err, "vq-try: warning: 5 more like \"24.tif: unreadable\"\n");
	CHECK_HAS(got.err, "vq-try: one error\n");
	CHECK(!strstr(got.err, "details"));
	run_tool(&tool, "-q", warn_often);
	CHECK_STR(got.err, "vq-try: one error\n");
	run_tool(&tool, "-v", warn_often);
	CHECK_HAS(got.err, "vq-try: details\n");
}

static int die_here(void)
{
	vq_fail(VQ_EIO, "a\nb.tif: no such file");
	vq_die(NULL);
}

static int die_with_words(void) { vq_die("%d cells", 0); }

TEST(dying)
{
	run_tool(&tool, "", die_here);
	CHECK(got.status == 1);
	CHECK_STR(got.err, "vq-try: a?b.tif: no such file\n");
	run_tool(&tool, "", die_with_words);
	CHECK(got.status == 1);
	CHECK_STR(got.err, "vq-try: 0 cells\n");
}

static int exit_3(void) { return 3; }

TEST(standard_output_is_checked)
{
	int full = open("/dev/full", O_WRONLY), p[2];
	if (full < 0)
		SKIP("no /dev/full");
	child_stdout = full;
	run_tool(&tool, "", print_values);
	CHECK(got.status == 1);
	CHECK_STR(got.err, "vq-try: standard output: No space left on device\n");
	run_tool(&tool, "--help", NULL);
	CHECK(got.status == 1);
	run_tool(&tool, "", exit_3);
	CHECK(got.status == 3);
	close(full);
	CHECK(!pipe(p));
	close(p[0]);
	child_stdout = p[1];
	run_tool(&tool, "", print_values);
	child_stdout = -1;
	close(p[1]);
	CHECK(got.status == 1);
	CHECK_STR(got.err, "vq-try: standard output: Broken pipe\n");
}

TEST(split)
{
	static const struct { const char *text; int n; const char *parts[3]; } cases[] = {
		{ "a,b", 2, { "a", "b" } }, { "", 1, { "" } }, { ",x,", 3, { "", "x", "" } }, { "one", 1, { "one" } },
	};
	for (size_t i = 0; i < VQ_COUNT(cases); i++) {
		char **v;
		int n;
		CHECK_OK(vq_split(cases[i].text, ',', &v, &n));
		CHECK(n == cases[i].n);
		for (int j = 0; j < n; j++) {
			CHECK_STR(v[j], cases[i].parts[j]);
			free(v[j]);
		}
		free(v);
	}
}

TEST(progress_is_silent_without_a_terminal)
{
	vq_progress_show("step %d", 1);
	int null = open("/dev/null", O_WRONLY), saved = dup(2);
	dup2(null, 2);
	bool on = vq_progress_on();
	dup2(saved, 2);
	close(saved);
	close(null);
	CHECK(!on || isatty(2));
}

/* In a child whose stderr is a terminal of 20 columns. */
static void progress_child(void)
{
	vq_cli.verbosity = 0;
	vq_progress_show("a line that is wider than it");
	vq_progress_show("too soon");
	vq_warn("stop");
	vq_progress_end();
	_exit(0);
}

TEST(progress_on_a_terminal)
{
	int master = posix_openpt(O_RDWR | O_NOCTTY), status;
	if (master < 0 || grantpt(master) || unlockpt(master))
		SKIP("no pseudo-terminal");
	int slave = open(ptsname(master), O_RDWR | O_NOCTTY);
	CHECK(slave >= 0);
	struct winsize w = { .ws_row = 5, .ws_col = 20 };
	CHECK(!ioctl(slave, TIOCSWINSZ, &w));
	fflush(stdout);
	pid_t pid = fork();
	CHECK(pid >= 0);
	if (pid == 0) {
		dup2(slave, 2);
		progress_child();
	}
	CHECK(waitpid(pid, &status, 0) == pid && WIFEXITED(status) && WEXITSTATUS(status) == 0);
	char text[256];
	ssize_t n = read(master, text, sizeof text - 1);
	CHECK(n > 0);
	text[n] = 0;
	close(slave);
	close(master);
	CHECK_STR(text, "\ra line that is wide\r                   \rvq: warning: stop\r\n");
}

TEST_MAIN(RUN(every_type_is_parsed) RUN(defaults_stand) RUN(common_options) RUN(letters_bundle_and_take_values)
	RUN(lists_and_operands_keep_their_order) RUN(negative_values_follow_options) RUN(sizes_and_times)
	RUN(misuse_is_one_line_and_status_2) RUN(a_missing_operand_shows_the_usage) RUN(version) RUN(help_fits_80_columns)
	RUN(help_man_is_escaped) RUN(args_for_the_chain) RUN(warnings_are_counted_after_20_alike) RUN(dying)
	RUN(standard_output_is_checked) RUN(split) RUN(progress_on_a_terminal) RUN(progress_is_silent_without_a_terminal))
