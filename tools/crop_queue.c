#include <fcntl.h>
#include <pthread.h>
#include <stdlib.h>
#include <unistd.h>

#include "tools/crop_load.h"

enum { FETCH_FIELDS = 4, FETCH_BYTES = 16 << 20 };

struct crop_queue {
	const vq_fields *list;
	const crop_rules *rules;
	size_t next;             /* field that crop_queue_next gives */
	bool ahead, stop, full;
	pthread_t thread;
	pthread_mutex_t lock;
	pthread_cond_t change;
	crop_field field;        /* when full: what was loaded */
	vq_status status;
	char *message;
};

static void fetch_file(const char *path)
{
	int fd = path ? open(path, O_RDONLY | O_CLOEXEC | O_NONBLOCK) : -1;
	if (fd < 0)
		return;
	(void)posix_fadvise(fd, 0, FETCH_BYTES, POSIX_FADV_WILLNEED);
	close(fd);
}

/* The disk may read the files of field i while others are worked on. */
static void fetch(const crop_queue *q, size_t i)
{
	if (i >= q->list->n)
		return;
	const vq_field *f = &q->list->v[i];
	for (int k = 0; k < f->files; k++)
		fetch_file(f->file[k].path);
	fetch_file(f->labels.path);
}

/* The slot is emptied before the next field is read, so that no third one is ever in memory. */
static void *read_ahead(void *arg)
{
	crop_queue *q = arg;
	for (size_t i = 0; i < q->list->n; i++) {
		crop_field f;
		pthread_mutex_lock(&q->lock);
		while (q->full && !q->stop)
			pthread_cond_wait(&q->change, &q->lock);
		bool stop = q->stop;
		pthread_mutex_unlock(&q->lock);
		if (stop)
			return NULL;
		fetch(q, i + FETCH_FIELDS);
		vq_status s = crop_load(&q->list->v[i], q->rules, &f);
		char *message = s < 0 ? vq_strdup(vq_message()) : NULL;
		pthread_mutex_lock(&q->lock);
		q->field = f;
		q->status = s;
		q->message = message;
		q->full = true;
		pthread_cond_signal(&q->change);
		pthread_mutex_unlock(&q->lock);
	}
	return NULL;
}

vq_status crop_queue_start(crop_queue **out, const vq_fields *list, const crop_rules *rules, bool ahead)
{
	crop_queue *q = vq_calloc(1, sizeof *q);
	*out = q;
	if (!q)
		return VQ_ENOMEM;
	q->list = list;
	q->rules = rules;
	for (size_t i = 0; i < FETCH_FIELDS; i++)
		fetch(q, i);
	pthread_mutex_init(&q->lock, NULL);
	pthread_cond_init(&q->change, NULL);
	/* Without a thread the fields are read when they are asked for. */
	q->ahead = ahead && list->n > 1 && !pthread_create(&q->thread, NULL, read_ahead, q);
	return VQ_OK;
}

vq_status crop_queue_next(crop_queue *q, crop_field *out)
{
	if (!q->ahead)
		fetch(q, q->next + FETCH_FIELDS);
	if (!q->ahead)
		return crop_load(&q->list->v[q->next++], q->rules, out);
	pthread_mutex_lock(&q->lock);
	while (!q->full)
		pthread_cond_wait(&q->change, &q->lock);
	vq_status s = q->status;
	*out = q->field;
	if (s < 0)
		vq_fail(s, "%s", q->message ? q->message : "out of memory");
	free(q->message);
	q->message = NULL;
	q->full = false;
	q->next++;
	pthread_cond_signal(&q->change);
	pthread_mutex_unlock(&q->lock);
	return s;
}

void crop_queue_stop(crop_queue *q)
{
	if (!q)
		return;
	if (q->ahead) {
		pthread_mutex_lock(&q->lock);
		q->stop = true;
		pthread_cond_signal(&q->change);
		pthread_mutex_unlock(&q->lock);
		pthread_join(q->thread, NULL);
	}
	if (q->full)
		crop_field_free(&q->field);
	free(q->message);
	pthread_mutex_destroy(&q->lock);
	pthread_cond_destroy(&q->change);
	free(q);
}
