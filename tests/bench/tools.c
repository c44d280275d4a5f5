/* tools: how fast the filters are, and how much memory they take.   tools [--json] BINDIR [CELLS]
 *
 * Each runs on a file of simulated cells with its output thrown away, ROUNDS times; the median counts. MB/s: plain bytes (that is,
 * not as compressed) of the input a second of wall time. Peak: resident memory. */
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/wait.h>
#include <unistd.h>

#include "formats/vqt.h"

enum { ROUNDS = 5, ARGS = 12 };

static const char *bin;
static char dir[] = "/tmp/vq-bench-XXXXXX";

typedef struct { double seconds, cpu; long peak; /* KiB */ } cost;

/* Runs BINDIR/args[0] with its output in the file `out` of dir (or nowhere). */
static vq_status run(const char *const *args, const char *out, cost *c)
{
	char path[4096], to[4096];
	struct rusage u;
	int status;
	snprintf(path, sizeof path, "%s/%s", bin, args[0]);
	snprintf(to, sizeof to, "%s/%s", out ? dir : "/dev", out ? out : "null");
	double start = vq_seconds();
	pid_t pid = fork();
	if (pid < 0)
		return vq_fail(VQ_EIO, "fork: %s", strerror(errno));
	if (!pid) {
		int fd = open(to, O_WRONLY | O_CREAT | O_TRUNC, 0600);
		if (fd < 0 || dup2(fd, 1) < 0 || chdir(dir) < 0)
			_exit(126);
		execv(path, (char *const *)(uintptr_t)args);
		_exit(127);
	}
	if (wait4(pid, &status, 0, &u) < 0 || !WIFEXITED(status) || WEXITSTATUS(status))
		return vq_fail(VQ_EIO, "%s failed", path);
	*c = (cost){ vq_seconds() - start, (double)(u.ru_utime.tv_sec + u.ru_stime.tv_sec) + 1e-6 * (double)(u.ru_utime.tv_usec + u.ru_stime.tv_usec),
		         u.ru_maxrss };
	return VQ_OK;
}

static int by_seconds(const void *a, const void *b)
{
	double x = ((const cost *)a)->seconds, y = ((const cost *)b)->seconds;
	return (x > y) - (x < y);
}

/* Bytes of all tensors and ids of a stream. */
static vq_status plain_bytes(const char *name, double *bytes, uint64_t *records)
{
	char path[4096];
	vqt_reader *r;
	vqt_record rec;
	int got;
	snprintf(path, sizeof path, "%s/%s", dir, name);
	VQ_TRY(vqt_open(&r, path, NULL, NULL));
	*bytes = 0;
	while ((got = vqt_next(r, &rec)) > 0) {
		for (int i = 0; i < rec.n; i++) {
			size_t n = 0;
			if (vq_tensor_bytes(&rec.entry[i].t, &n) == VQ_OK)
				*bytes += (double)n;
		}
		vqt_record_free(&rec);
	}
	*records = vqt_count(r);
	vqt_close(r);
	return got;
}

static const struct { const char *in, *args[ARGS]; } cases[] = {
	{ "raw.vqt", { "vq-normalize", "--robust", "raw.vqt" } },
	{ "raw.vqt", { "vq-normalize", "--zscore", "raw.vqt" } },
	{ "raw.vqt", { "vq-normalize", "--fit", "raw.vqt" } },
	{ "norm.vqt", { "vq-pad", "--reflect", "norm.vqt" } },
	{ "pad.vqt", { "vq-pad", "--remove", "pad.vqt" } },
	{ "pad.vqt", { "vq-batch", "pad.vqt" } },
	{ "pad.vqt", { "vq-batch", "--shuffle", "1000", "pad.vqt" } },
	{ "batch.vqt", { "vq-batch", "--split", "batch.vqt" } },
};

static vq_status bench(const char *const *args, const char *in, bool json, bool last)
{
	cost c[ROUNDS];
	double bytes;
	uint64_t records;
	char line[256] = "";
	VQ_TRY(plain_bytes(in, &bytes, &records));
	for (int i = 0; i < ROUNDS; i++)
		VQ_TRY(run(args, NULL, &c[i]));
	qsort(c, ROUNDS, sizeof *c, by_seconds);
	const cost *m = &c[ROUNDS / 2];
	for (int i = 0; args[i + 1]; i++)
		snprintf(line + strlen(line), sizeof line - strlen(line), "%s%s", i ? " " : "", args[i]);
	if (json)
		printf("  {\"command\":\"%s\",\"mb_s\":%.1f,\"records_s\":%.0f,\"cpu_s\":%.3f,\"peak_mib\":%.1f}%s\n", line, bytes / 1e6 / m->seconds,
			(double)records / m->seconds, m->cpu, (double)m->peak / 1024, last ? "" : ",");
	else
		printf("%-26s %8.1f MB/s %9.0f records/s %7.3f s CPU %6.1f MiB\n", line, bytes / 1e6 / m->seconds, (double)records / m->seconds, m->cpu,
			(double)m->peak / 1024);
	fflush(stdout);
	return VQ_OK;
}

static vq_status inputs(const char *cells)
{
	cost c;
	VQ_TRY(run((const char *[]){ "vq-synth", "-n", cells, "--channels", "1", "--max-size", "80", NULL }, "raw.vqt", &c));
	VQ_TRY(run((const char *[]){ "vq-normalize", "raw.vqt", NULL }, "norm.vqt", &c));
	VQ_TRY(run((const char *[]){ "vq-pad", "norm.vqt", NULL }, "pad.vqt", &c));
	return run((const char *[]){ "vq-batch", "pad.vqt", NULL }, "batch.vqt", &c);
}

static void clean(void)
{
	static const char *const names[] = { "raw.vqt", "norm.vqt", "pad.vqt", "batch.vqt" };
	char path[4096];
	for (size_t i = 0; i < VQ_COUNT(names); i++) {
		snprintf(path, sizeof path, "%s/%s", dir, names[i]);
		unlink(path);
	}
	rmdir(dir);
}

int main(int argc, char **argv)
{
	bool json = argc > 1 && !strcmp(argv[1], "--json");
	argv += json;
	argc -= json;
	if (argc < 2 || argc > 3) {
		fprintf(stderr, "usage: tools [--json] BINDIR [CELLS]\n");
		return 2;
	}
	char *full = realpath(argv[1], NULL);
	if (!full || !mkdtemp(dir)) {
		fprintf(stderr, "tools: %s: %s\n", argv[1], strerror(errno));
		free(full);
		return 1;
	}
	bin = full;
	vq_status s = inputs(argc > 2 ? argv[2] : "3000");
	if (json)
		printf("[\n");
	for (size_t i = 0; s == VQ_OK && i < VQ_COUNT(cases); i++)
		s = bench(cases[i].args, cases[i].in, json, i + 1 == VQ_COUNT(cases));
	if (json)
		printf("]\n");
	clean();
	free(full);
	if (s < 0)
		fprintf(stderr, "tools: %s\n", vq_message());
	return s < 0;
}
