#include "tools/progress.h"

#include <stdarg.h>
#include <stdio.h>
#include <string.h>
#include <sys/ioctl.h>
#include <unistd.h>

#include "tools/cli.h"

static int shown;      /* columns in use */
static double last_at; /* when a line was last shown; 0 = never */

bool vq_progress_on(void)
{
	static int tty = -1;
	if (tty < 0)
		tty = isatty(STDERR_FILENO);
	return tty && vq_cli.verbosity >= 0;
}

static int width(void)
{
	struct winsize w;
	return !ioctl(STDERR_FILENO, TIOCGWINSZ, &w) && w.ws_col > 1 ? w.ws_col : 80;
}

/* Blanks rather than an escape sequence: they work on every terminal. */
static void wipe(void)
{
	if (shown)
		fprintf(stderr, "\r%*s\r", shown, "");
	shown = 0;
}

void vq_progress_show(const char *fmt, ...)
{
	char text[512];
	double now = vq_seconds();
	if (!vq_progress_on() || (last_at > 0 && now - last_at < 0.2))
		return;
	va_list ap;
	va_start(ap, fmt);
	int n = vsnprintf(text, sizeof text, fmt, ap);
	va_end(ap);
	n = VQ_MAX(0, VQ_MIN(n, VQ_MIN((int)sizeof text - 1, width() - 1)));
	fprintf(stderr, "\r%.*s%*s%s", n, text, VQ_MAX(0, shown - n), "", shown > n ? "\r" : "");
	vq_cli_before_line = wipe;
	shown = n;
	last_at = now;
}

void vq_progress_end(void)
{
	wipe();
	last_at = 0;
}
