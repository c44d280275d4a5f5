#include "formats/history.h"

#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "formats/outfile.h"

enum { HISTORY_BYTES_MAX = 1 << 30 };

struct vq_history {
	int fd;
	char *path;
};

static vq_status last_byte_is_newline(const vq_history *h, off_t size)
{
	char last = '\n';
	if (size && pread(h->fd, &last, 1, size - 1) != 1)
		return vq_fail(VQ_EIO, "%s: %s", h->path, strerror(errno));
	return last == '\n' ? VQ_OK : vq_fail(VQ_EFORMAT, "%s: its last line was cut off", h->path);
}

vq_status vq_history_open(vq_history **out, const char *path)
{
	*out = NULL;
	vq_status s = VQ_ENOMEM;
	struct stat st;
	vq_history *h = vq_calloc(1, sizeof *h);
	if (!h)
		return VQ_ENOMEM;
	h->fd = -1;
	if (!(h->path = vq_strdup(path)))
		goto fail;
	if ((h->fd = open(path, O_RDWR | O_CREAT | O_APPEND | O_CLOEXEC, 0666)) < 0 || fstat(h->fd, &st)) {
		s = vq_fail(VQ_EIO, "%s: %s", path, strerror(errno));
		goto fail;
	}
	if (S_ISREG(st.st_mode))
		VQ_TRY_GOTO(s, last_byte_is_newline(h, st.st_size), fail);
	*out = h;
	return VQ_OK;
fail:
	vq_history_close(h);
	return s;
}

vq_status vq_history_add(vq_history *h, const cJSON *line)
{
	vq_buf b = { 0 };
	struct stat st;
	char *text = cJSON_PrintUnformatted(line);
	vq_status s = text ? vq_buf_fmt(&b, "%s\n", text) : vq_fail(VQ_ENOMEM, "out of memory");
	cJSON_free(text);
	bool regular = !fstat(h->fd, &st) && S_ISREG(st.st_mode);
	size_t done = 0;
	while (s == VQ_OK && done < b.len) { /* what is missing of a line is tried again, for the reason why */
		ssize_t n = write(h->fd, b.data + done, b.len - done);
		if (n > 0)
			done += (size_t)n;
		else if (n == 0 || errno != EINTR)
			s = vq_fail(VQ_EIO, "%s: %s", h->path, strerror(n < 0 ? errno : ENOSPC));
	}
	if (s < 0 && done && regular && ftruncate(h->fd, st.st_size))
		s = vq_context(s, "a line was cut off");
	vq_buf_free(&b);
	return s;
}

void vq_history_close(vq_history *h)
{
	if (!h)
		return;
	if (h->fd >= 0)
		close(h->fd);
	free(h->path);
	free(h);
}

void vq_history_free(vq_history_lines *h)
{
	for (int i = 0; i < h->n; i++)
		cJSON_Delete(h->line[i]);
	free(h->line);
	memset(h, 0, sizeof *h);
}

/* A line without its newline as an object; NULL when it is none. */
static cJSON *parse_line(const char *p, size_t n)
{
	const char *end = NULL;
	cJSON *object = cJSON_ParseWithLengthOpts(p, n, &end, false);
	while (object && end < p + n && (*end == ' ' || *end == '\r'))
		end++;
	if (object && (!cJSON_IsObject(object) || end != p + n)) {
		cJSON_Delete(object);
		object = NULL;
	}
	return object;
}

/* Calls keep for each line with its bytes, newline included, and its object, which keep owns. */
typedef vq_status keep_fn(void *to, const char *p, size_t n, cJSON *object);

static vq_status each_line(const char *path, const vq_buf *text, keep_fn *keep, void *to, int *cut)
{
	int number = 1;
	const char *end = text->data + text->len;
	*cut = 0;
	for (const char *p = text->data; p < end; number++) {
		const char *newline = memchr(p, '\n', (size_t)(end - p));
		cJSON *object = newline ? parse_line(p, (size_t)(newline - p)) : NULL;
		const char *next = newline ? newline + 1 : end;
		if (object)
			VQ_TRY(keep(to, p, (size_t)(next - p), object));
		else if (next == end)
			*cut = number;
		else
			return vq_fail(VQ_EFORMAT, "%s: line %d: no JSON object", path, number);
		p = next;
	}
	return VQ_OK;
}

static vq_status keep_object(void *to, const char *p, size_t n, cJSON *object)
{
	vq_history_lines *h = to;
	cJSON **line = h->n & (h->n - 1) ? h->line : vq_realloc(h->line, (size_t)VQ_MAX(2 * h->n, 1) * sizeof *line);
	if (!line) {
		cJSON_Delete(object);
		return VQ_ENOMEM;
	}
	h->line = line;
	h->line[h->n++] = object;
	return VQ_OK;
}

vq_status vq_history_read(const char *path, vq_history_lines *h)
{
	vq_buf text = { 0 };
	memset(h, 0, sizeof *h);
	vq_status s = vq_file_read(path, HISTORY_BYTES_MAX, &text);
	if (s == VQ_OK)
		s = each_line(path, &text, keep_object, h, &h->cut);
	vq_buf_free(&text);
	return s;
}

typedef struct { vq_buf text; int64_t step; } cutting;

static vq_status keep_step(void *to, const char *p, size_t n, cJSON *object)
{
	cutting *c = to;
	const cJSON *step = cJSON_GetObjectItemCaseSensitive(object, "step");
	bool beyond = cJSON_IsNumber(step) && step->valuedouble > (double)c->step;
	cJSON_Delete(object);
	return beyond ? VQ_OK : vq_buf_add(&c->text, p, n);
}

vq_status vq_history_cut(const char *path, int64_t step)
{
	vq_buf text = { 0 };
	cutting c = { .step = step };
	int cut;
	if (access(path, F_OK) && errno == ENOENT)
		return VQ_OK;
	vq_status s = vq_file_read(path, HISTORY_BYTES_MAX, &text);
	if (s == VQ_OK)
		s = each_line(path, &text, keep_step, &c, &cut);
	if (s == VQ_OK && c.text.len != text.len)
		s = vq_out_write(path, c.text.data ? c.text.data : "", c.text.len);
	vq_buf_free(&text);
	vq_buf_free(&c.text);
	return s;
}
