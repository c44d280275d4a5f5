#include "formats/gnuplot.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

#include "formats/outfile.h"

vq_status vq_plot_format_of(const char *path, vq_plot_format *out)
{
	static const char *const ending[] = { ".png", ".svg", ".pdf" };
	size_t n = strlen(path);
	for (int i = 0; i < 3; i++)
		if (n > 4 && !strcasecmp(path + n - 4, ending[i])) {
			*out = (vq_plot_format)i;
			return VQ_OK;
		}
	return vq_fail(VQ_EINVAL, "%s: a picture's name ends in .png, .svg or .pdf", path);
}

vq_status vq_plot_terminal(vq_buf *b, vq_plot_format format, int width, int height)
{
	switch (format) {
	case VQ_PLOT_SVG:
		return vq_buf_fmt(b, "set terminal svg noenhanced size %d,%d font 'Sans,14' background rgb 'white'\n", width, height);
	case VQ_PLOT_PDF:
		return vq_buf_fmt(b, "set terminal pdfcairo noenhanced size %gin,%gin font 'Sans,10'\n", width / 100., height / 100.);
	default:
		return vq_buf_fmt(b, "if (strstrt(GPVAL_TERMINALS, 'pngcairo') > 0) {\n"
		                  "\tset terminal pngcairo noenhanced size %d,%d font 'Sans,11' background rgb 'white'\n"
		                  "} else {\n\tset terminal png noenhanced size %d,%d background rgb 'white'\n}\n", width, height, width, height);
	}
}

vq_status vq_plot_quote(vq_buf *b, const char *text)
{
	VQ_TRY(vq_buf_str(b, "'"));
	for (; *text; text++) {
		char c = (unsigned char)*text < ' ' ? ' ' : *text;
		VQ_TRY(vq_buf_add(b, &c, 1));
		if (c == '\'')
			VQ_TRY(vq_buf_add(b, &c, 1));
	}
	return vq_buf_str(b, "'");
}

static const char *program(void)
{
	const char *name = getenv("VQ_GNUPLOT");
	return name && *name ? name : "gnuplot";
}

/* The child: script in, picture out, complaints to a file. */
_Noreturn static void become_gnuplot(FILE *script, int out, FILE *complaints)
{
	if (dup2(fileno(script), 0) < 0 || dup2(out, 1) < 0 || dup2(fileno(complaints), 2) < 0)
		_exit(126);
	close(out);
	unsetenv("DISPLAY");
	setenv("GNUTERM", "dumb", 1);
	execlp(program(), program(), "-d", "-", (char *)NULL);
	_exit(errno == ENOENT || errno == EACCES || errno == ENOTDIR ? 127 : 126);
}

static vq_status read_all(int fd, vq_buf *out)
{
	char block[65536];
	for (;;) {
		ssize_t n = read(fd, block, sizeof block);
		if (n == 0)
			return VQ_OK;
		if (n < 0 && errno == EINTR)
			continue;
		if (n < 0)
			return vq_fail(VQ_EIO, "gnuplot: %s", strerror(errno));
		VQ_TRY(vq_buf_add(out, block, (size_t)n));
	}
}

/* gnuplot puts a picture of its input and a caret above the message; the message is the line that names a line. */
static vq_status complain(FILE *f, int status)
{
	char line[400], first[400] = "";
	rewind(f);
	while (fgets(line, sizeof line, f)) {
		line[strcspn(line, "\n")] = 0;
		char *p = line + strspn(line, " \t");
		if (strstr(p, "line ") && strstr(p, ": ")) {
			snprintf(first, sizeof first, "%s", p);
			break;
		}
		if (*p && *p != '^' && !*first)
			snprintf(first, sizeof first, "%s", p);
	}
	if (WIFSIGNALED(status))
		return vq_fail(VQ_EIO, "gnuplot was ended by signal %d", WTERMSIG(status));
	return vq_fail(VQ_EIO, "gnuplot ended with status %d: %s", WEXITSTATUS(status), *first ? first : "it gave no reason");
}

static vq_status run(FILE *script, FILE *complaints, vq_buf *picture)
{
	int ends[2], status = 0;
	if (pipe(ends) < 0)
		return vq_fail(VQ_EIO, "gnuplot cannot be started: %s", strerror(errno));
	pid_t child = fork();
	if (child == 0) {
		close(ends[0]);
		become_gnuplot(script, ends[1], complaints);
	}
	close(ends[1]);
	vq_status s = child < 0 ? vq_fail(VQ_EIO, "gnuplot cannot be started: %s", strerror(errno)) : read_all(ends[0], picture);
	close(ends[0]);
	while (child > 0 && waitpid(child, &status, 0) < 0)
		if (errno != EINTR)
			return vq_fail(VQ_EIO, "gnuplot: %s", strerror(errno));
	VQ_TRY(s);
	if (WIFEXITED(status) && WEXITSTATUS(status) == 127)
		return vq_fail(VQ_EUNSUP, "%s was not found: install gnuplot (Debian: gnuplot-nox), or take the script with --script", program());
	if (!WIFEXITED(status) || WEXITSTATUS(status) != 0)
		return complain(complaints, status);
	return picture->len ? VQ_OK : complain(complaints, status);
}

vq_status vq_plot_run(const char *path, const vq_buf *script)
{
	vq_buf picture = {0};
	vq_status s = VQ_OK;
	FILE *in = tmpfile(), *complaints = tmpfile();
	if (!in || !complaints || fwrite(script->data, 1, script->len, in) != script->len || fflush(in) || fseek(in, 0, SEEK_SET))
		s = vq_fail(VQ_EIO, "a temporary file for gnuplot: %s", strerror(errno));
	if (s == VQ_OK)
		s = run(in, complaints, &picture);
	if (s == VQ_OK)
		s = vq_out_write(path, picture.data, picture.len);
	if (in)
		fclose(in);
	if (complaints)
		fclose(complaints);
	vq_buf_free(&picture);
	return s;
}
