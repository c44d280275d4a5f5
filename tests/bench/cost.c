/* cost: what a command took.   cost FILE COMMAND [ARGUMENT...]
 *
 * Adds a line to FILE: wall seconds, processor seconds, peak resident MiB of the command and what it waited for; its status is the command's. */
#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/wait.h>
#include <unistd.h>

#include "lib/base.h"

int main(int argc, char **argv)
{
	struct rusage u;
	int status;
	if (argc < 3) {
		fprintf(stderr, "usage: cost FILE COMMAND [ARGUMENT...]\n");
		return 2;
	}
	double start = vq_seconds();
	pid_t pid = fork();
	if (!pid) {
		execvp(argv[2], argv + 2);
		fprintf(stderr, "cost: %s: %s\n", argv[2], strerror(errno));
		_exit(127);
	}
	if (pid < 0 || wait4(pid, &status, 0, &u) < 0) {
		fprintf(stderr, "cost: %s\n", strerror(errno));
		return 1;
	}
	double wall = vq_seconds() - start;
	FILE *f = fopen(argv[1], "a");
	if (!f || fprintf(f, "%.3f %.3f %.1f\n", wall, (double)(u.ru_utime.tv_sec + u.ru_stime.tv_sec) + 1e-6 * (double)(u.ru_utime.tv_usec + u.ru_stime.tv_usec),
	                (double)u.ru_maxrss / 1024) < 0 || fclose(f)) {
		fprintf(stderr, "cost: %s: %s\n", argv[1], strerror(errno));
		return 1;
	}
	return WIFEXITED(status) ? WEXITSTATUS(status) : 128 + WTERMSIG(status);
}
