#include "tools/scorer.h"

#include <omp.h>
#include <stdio.h>
#include <stdlib.h>

#include "tools/cli.h"

enum { AUTO, CPU, CUDA };
enum { DEVICE_BYTES = 64 << 20, PARALLEL_BYTES = 4 << 20 };

typedef struct { vq_scorer *s; double range; bool grey; } settings;

/* What is done of a pair on a thread: all of it, or what comes before and behind the device's part. */
typedef vq_status work_fn(const settings *set, vq_scored *p);

static vq_score_scratch *scratch(const settings *set) { return &set->s->scratch[omp_get_thread_num()]; }
static vq_status alone(const settings *set, vq_scored *p) { return vq_score_record(scratch(set), &p->image, &p->reference, set->range, set->grey, &p->score); }
static vq_status before(const settings *set, vq_scored *p) { return vq_score_take(&p->image, &p->reference, set->grey, &p->planes, &p->score); }
static vq_status behind(const settings *set, vq_scored *p) { return vq_score_with(&scratch(set)->work, &p->planes, p->maps, p->image.id, set->range, &p->score); }

static void each(const settings *set, work_fn *work, vq_scored *pair, int n, size_t bytes)
{
	/* Threads that wait spin for a while: for little work they cost more than they give. */
#pragma omp parallel for schedule(dynamic) num_threads(vq_cli.threads) if (bytes >= PARALLEL_BYTES)
	for (int i = 0; i < n; i++) {
		vq_scored *p = &pair[i];
		if (p->status == VQ_OK)
			p->status = work(set, p);
		if (p->status < 0 && !*p->why)
			snprintf(p->why, sizeof p->why, "%s", vq_message());
	}
}

/* --- a device ------------------------------------------------------------------------------------------------------ */

static void close_device(vq_scorer *s)
{
	if (s->device)
		s->device->close(s->device);
	s->device = NULL;
}

/* Without it, when that may be. */
static vq_status do_without(vq_scorer *s, vq_status why)
{
	if (vq_cli.device == CUDA)
		return vq_context(why, "device cuda");
	vq_info("computing on the CPU: %s", vq_message());
	close_device(s);
	s->cpu = true;
	return VQ_OK;
}

static vq_status find_device(vq_scorer *s, size_t bytes)
{
	s->seen += bytes;
	if (s->device || s->cpu || vq_cli.device == CPU || (vq_cli.device == AUTO && s->seen < DEVICE_BYTES))
		return VQ_OK;
	vq_status st = vq_backend_cuda(&s->device, vq_cli.threads, false);
	return st < 0 ? do_without(s, st) : VQ_OK;
}

static int channels(const vq_scored *pair, int n)
{
	int sum = 0;
	for (int i = 0; i < n; i++)
		sum += pair[i].status < 0 ? 0 : pair[i].score.channels;
	return sum;
}

/* Of all pairs that have not failed; the maps lie in *maps, which the caller frees. */
static vq_status make_maps(const settings *set, vq_scored *pair, int n, vq_maps **maps)
{
	double kernel[VQ_SSIM_TAPS / 2 + 1];
	const int all = channels(pair, n);
	int at = 0;
	if (!all)
		return VQ_OK;
	vq_pictures *p = vq_malloc(sizeof *p * (size_t)all);
	*maps = vq_malloc(sizeof **maps * (size_t)all);
	vq_status st = p && *maps ? VQ_OK : VQ_ENOMEM;
	for (int i = 0; i < n && st == VQ_OK; i++) {
		pair[i].maps = *maps + at;
		for (int c = 0; pair[i].status == VQ_OK && c < pair[i].score.channels; c++)
			p[at++] = pair[i].planes.channel[c];
	}
	vq_score_kernel(kernel);
	if (st == VQ_OK)
		st = set->s->device->maps(set->s->device, all, p, kernel, set->range, *maps);
	free(p);
	return st;
}

static vq_status score_group(const settings *set, vq_scored *pair, int n, size_t bytes)
{
	vq_maps *maps = NULL;
	each(set, before, pair, n, bytes);
	vq_status st = make_maps(set, pair, n, &maps);
	if (st < 0) {
		st = do_without(set->s, st);
		for (int i = 0; i < n; i++)
			pair[i].maps = NULL;
	}
	if (st == VQ_OK)
		each(set, behind, pair, n, bytes);
	for (int i = 0; i < n; i++)
		vq_score_planes_free(&pair[i].planes);
	free(maps);
	return st;
}

/* At most, on the way to the device; of padding it takes nothing. */
static size_t planes_bytes(const vq_scored *p)
{
	size_t n;
	const vq_tensor *image = vqt_get(&p->image, "image");
	return image && vq_tensor_count(image, &n) == VQ_OK ? (2 * sizeof(double) + 1) * n : 0;
}

/* --- a batch ------------------------------------------------------------------------------------------------------- */

vq_status vq_scorer_run(vq_scorer *s, vq_scored *pair, int n, size_t bytes, double range, bool grey)
{
	const settings set = { s, range, grey };
	if (!s->scratch && !(s->scratch = vq_calloc((size_t)vq_cli.threads, sizeof *s->scratch)))
		return VQ_ENOMEM;
	for (int i = 0; i < n; i++) {
		pair[i].status = VQ_OK;
		pair[i].why[0] = 0;
	}
	if (n)
		VQ_TRY(find_device(s, bytes));
	int done = 0;
	while (done < n && s->device) {
		size_t group = planes_bytes(&pair[done]), more;
		int end = done + 1;
		for (; end < n && group + (more = planes_bytes(&pair[end])) <= VQ_SCORER_GROUP; end++)
			group += more;
		VQ_TRY(score_group(&set, pair + done, end - done, group));
		done = end;
	}
	each(&set, alone, pair + done, n - done, bytes);
	return VQ_OK;
}

void vq_scorer_free(vq_scorer *s)
{
	close_device(s);
	for (int i = 0; s->scratch && i < vq_cli.threads; i++)
		vq_score_scratch_free(&s->scratch[i]);
	free(s->scratch);
	*s = (vq_scorer){0};
}
