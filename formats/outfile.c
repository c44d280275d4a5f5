#define _POSIX_C_SOURCE 200809L
#include "formats/outfile.h"

#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

struct vq_out {
	FILE *f;
	char *path, *temp; /* temp is NULL for standard output and for what is no regular file */
	int slot;
};

/* What a signal handler must remove: plain pointers, set before the file exists and cleared after it is gone. */
enum { SLOTS = 64 };
static char *volatile unfinished[SLOTS];

static void sweep(void)
{
	for (int i = 0; i < SLOTS; i++)
		if (unfinished[i])
			unlink(unfinished[i]);
}

static void on_signal(int sig)
{
	sweep();
	signal(sig, SIG_DFL);
	raise(sig);
}

static void watch_signals(void)
{
	static const int signals[] = { SIGINT, SIGTERM, SIGHUP };
	static bool done;
	if (done)
		return;
	done = true;
	atexit(sweep); /* a tool that gives up leaves nothing behind */
	for (size_t i = 0; i < VQ_COUNT(signals); i++) {
		struct sigaction old, new = { .sa_handler = on_signal };
		if (!sigaction(signals[i], NULL, &old) && old.sa_handler == SIG_DFL)
			sigaction(signals[i], &new, NULL);
	}
}

static void forget(vq_out *o)
{
	if (o->slot >= 0)
		unfinished[o->slot] = NULL;
	free(o->path);
	free(o->temp);
	free(o);
}

static vq_status open_temp(vq_out *o)
{
	struct stat st;
	bool exists = !stat(o->path, &st);
	if (exists && S_ISDIR(st.st_mode))
		return vq_fail(VQ_EIO, "%s: is a directory", o->path);
	if (exists && !S_ISREG(st.st_mode)) { /* a pipe or a device: nothing to rename */
		if (!(o->f = fopen(o->path, "wb")))
			return vq_fail(VQ_EIO, "%s: %s", o->path, strerror(errno));
		return VQ_OK;
	}
	if (!(o->temp = vq_format("%s.%ld.tmp", o->path, (long)getpid())))
		return VQ_ENOMEM;
	for (int i = 0; i < SLOTS && o->slot < 0; i++)
		if (!unfinished[i])
			o->slot = i;
	if (o->slot >= 0)
		unfinished[o->slot] = o->temp;
	int fd = open(o->temp, O_RDWR | O_CREAT | O_TRUNC | O_CLOEXEC, 0666);
	if (fd < 0)
		return vq_fail(VQ_EIO, "%s: %s", o->path, strerror(errno));
	if (exists)
		(void)!fchmod(fd, st.st_mode & 07777);
	if (!(o->f = fdopen(fd, "w+b"))) {
		close(fd);
		return vq_fail(VQ_EIO, "%s: %s", o->path, strerror(errno));
	}
	return VQ_OK;
}

vq_status vq_out_open(vq_out **out, const char *path, int flags)
{
	*out = NULL;
	vq_out *o = vq_calloc(1, sizeof *o);
	if (!o)
		return VQ_ENOMEM;
	o->slot = -1;
	bool std = !path || !strcmp(path, "-");
	if (!(o->path = vq_strdup(std ? "standard output" : path))) {
		free(o);
		return VQ_ENOMEM;
	}
	vq_status s = VQ_OK;
	if (!std) {
		watch_signals();
		s = open_temp(o);
	} else if ((flags & VQ_OUT_BINARY) && isatty(STDOUT_FILENO)) {
		s = vq_fail(VQ_EINVAL, "standard output is a terminal: binary data goes to a file or a pipe (-o FILE)");
	} else {
		o->f = stdout;
	}
	if (s < 0) {
		vq_out_abort(o);
		return s;
	}
	*out = o;
	return VQ_OK;
}

FILE *vq_out_file(vq_out *o) { return o->f; }
const char *vq_out_name(const vq_out *o) { return o->path; }
const char *vq_out_temp(const vq_out *o) { return o->temp; }

vq_status vq_out_commit(vq_out *o)
{
	vq_status s = VQ_OK;
	errno = 0;
	bool bad = fflush(o->f) || ferror(o->f); /* in this order: a flush that fails again says why */
	int cause = errno;
	if (o->f != stdout && fclose(o->f)) {
		cause = cause ? cause : errno;
		bad = true;
	}
	o->f = NULL;
	if (bad)
		s = vq_fail(VQ_EIO, "%s: %s", o->path, strerror(cause ? cause : EIO));
	else if (o->temp && rename(o->temp, o->path))
		s = vq_fail(VQ_EIO, "%s: %s", o->path, strerror(errno));
	if (s < 0 && o->temp)
		unlink(o->temp);
	forget(o);
	return s;
}

void vq_out_abort(vq_out *o)
{
	if (!o)
		return;
	if (o->f && o->f != stdout)
		fclose(o->f);
	if (o->temp)
		unlink(o->temp);
	forget(o);
}

vq_status vq_out_write(const char *path, const void *data, size_t n)
{
	vq_out *o;
	VQ_TRY(vq_out_open(&o, path, VQ_OUT_TEXT));
	if (fwrite(data, 1, n, vq_out_file(o)) != n) {
		vq_status s = vq_fail(VQ_EIO, "%s: %s", o->path, strerror(errno));
		vq_out_abort(o);
		return s;
	}
	return vq_out_commit(o);
}

vq_status vq_file_read(const char *path, size_t limit, vq_buf *out)
{
	bool std = !path || !strcmp(path, "-");
	const char *name = std ? "standard input" : path;
	FILE *f = std ? stdin : fopen(path, "rb");
	if (!f)
		return vq_fail(VQ_EIO, "%s: %s", name, strerror(errno));
	vq_status s = VQ_OK;
	size_t n;
	do {
		if ((s = vq_buf_reserve(out, 1 << 16)) < 0)
			break;
		n = fread(out->data + out->len, 1, 1 << 16, f);
		out->len += n;
		out->data[out->len] = 0;
		if (out->len > limit)
			s = vq_fail(VQ_ELIMIT, "%s: larger than %zu bytes", name, limit);
	} while (s == VQ_OK && n);
	if (s == VQ_OK && ferror(f))
		s = vq_fail(VQ_EIO, "%s: %s", name, strerror(errno));
	if (!std)
		fclose(f);
	return s;
}
