/* trainer_int: what the trainer's own files share. */
#ifndef VQ_TRAINER_INT_H
#define VQ_TRAINER_INT_H

#include "lib/train/alike.h"
#include "lib/train/state.h"

typedef struct { vq_graph g; vq_model_io io; vq_plan *plan; } train_plan;
enum { SIZED_PLANS = 48 };
typedef struct { train_plan p; vq_sheet sheet; vq_graph_kind kind; uint64_t used; } sized_plan;
typedef struct { vq_train_sums sum; double began; } epoch_state; /* began: less what it took before it was resumed */
typedef struct { uint8_t *at; size_t size; } own_marks; /* [canvases,h,w] of a batch: 1 where a cell's own mask is */

/* A run that trains, until its numbers are known. */
typedef struct {
	vq_step step;
	int64_t number;         /* of the step, from 1 */
	train_plan p;
	const vq_batch *batches;
	int part, parts;        /* this one's among them; the last one updates */
	own_marks own;
} flight;
enum { FLIGHTS = 2 };

/* Wall seconds of the run so far, and, for `profile`, by operation: seconds (of plans that are gone), what was computed with factors of each
 * type, what was moved; nodes: of the last plan. */
typedef struct {
	double cells, plans, steps, closing;
	double seconds[VQ_OPS], f32[VQ_OPS], bf16[VQ_OPS], bytes[VQ_OPS];
	int nodes[VQ_OPS];
} train_spent;

struct vq_trainer {
	vq_trainer_options o;
	const vq_config *c;
	vq_backend *b;
	vq_model_info info;
	vq_params params;
	vq_store *store;
	train_plan train, eval, encode; /* of the sheet; those of one that is not packable belong to `sized`. encode: with codebook_refit */
	size_t arena, plain;    /* vq_trainer_memory */
	vq_sheet sheet;
	vq_alike alike;         /* not packable: how cells share a batch */
	sized_plan sized[SIZED_PLANS];
	uint64_t clock;         /* of the use of `sized` */
	vq_dtype compute;
	int augment;
	vq_sampler sampler;
	vq_rng health;          /* codebook start and revival */
	float *live;            /* training's codebooks while others are in their place; or NULL */
	vq_plateau plateau;
	vq_batch *batches;      /* one a micro-batch, for the steps that are under way by turns; the first for others too when none is */
	flight flight[FLIGHTS];
	int flights, oldest;    /* how many are under way, and which was the first */
	uint64_t *counts;       /* codes of this epoch, level after level */
	size_t code_at[VQ_CODE_LEVELS_MAX + 1]; /* where each level's begin, and how many there are */
	uint64_t *front;        /* those of positions with some of the cell's own mask */
	own_marks own;          /* of the batch that was prepared last, flights apart */
	uint32_t *failed;       /* cells of the batch whose numbers were not finite */
	int n_failed;
	epoch_state now;        /* this epoch so far */
	int64_t step, epoch;
	uint64_t pixels;
	double fraction, closing, best;
	train_spent spent;
	double run_began, train_pixels, val_pixels; /* true pixels of the cells */
	int stale;              /* epochs since the best */
	bool started_codebook;
	bool inside;            /* within an epoch */
	bool stopped;           /* early stopping: the run is over */
	bool halted;            /* a callback said so: it may be resumed */
};

void trainer_measure(vq_trainer *t, const vq_graph *g); /* for vq_trainer_memory, of a plan that trains */
/* The plan for the batch, its input where `phases` need one, and the step that goes with it. pixels and positions (of each level): what the
 * losses are means over; NULL: of 1. */
vq_status trainer_prepare(vq_trainer *t, train_plan *p, const vq_batch *b, unsigned phases, double pixels, const double *positions, vq_step *step, own_marks *own);
/* Finishes the oldest runs under way until there are at most so many: their numbers are the epoch's then. */
vq_status trainer_settle(vq_trainer *t, int most);
/* Prepares it with the trainer's own marks, and runs it. No flight is under way. */
vq_status trainer_forward(vq_trainer *t, train_plan *p, const vq_batch *b, unsigned phases, double pixels, const double *positions, vq_step *step);
/* losses.c: adds a batch's positions of each level; its sums to those of the epoch; its codes to the counts (front: of the positions alone
 * that have some of the cell's own mask). Then the figures: usage and perplexity, usage by the foreground (NaN where no mask told what that
 * is), and the means. */
void trainer_count_positions(vq_trainer *t, const vq_batch *b, double *positions);
void trainer_add_losses(vq_trainer *t, const vq_batch *b, const vq_step *s, vq_train_sums *l);
void trainer_tally_codes(vq_trainer *t, train_plan *p, const vq_batch *b, const own_marks *own, uint64_t *counts, uint64_t *front);
void trainer_usage(const vq_trainer *t, const uint64_t *counts, vq_losses *l);
double trainer_front_usage(const uint64_t *front, size_t n);
void trainer_means(vq_trainer *t, const vq_train_sums *s, vq_losses *l);
/* validate.c: of all validation cells; psnr, ssim and the losses NaN where there are none. */
vq_status trainer_validate(vq_trainer *t, vq_losses *l);
/* Puts the averaged weights in place of the live ones, where there are any; *live: what trainer_mean_out puts back and frees. */
vq_status trainer_mean_in(vq_trainer *t, float **live);
vq_status trainer_mean_out(vq_trainer *t, float *live);
/* refit.c: with codebook_refit, codebooks that fit the model at rest in place of training's, until trainer_refit_out; and about how many true
 * pixels that encodes. A function of the weights, the codebooks and the seed. */
vq_status trainer_refit_in(vq_trainer *t);
vq_status trainer_refit_out(vq_trainer *t);
double trainer_refit_pixels(const vq_trainer *t);
/* trouble.c: whether all sums and norms of a step are finite; and the failure that says where one first was not, `what` before it ("step 3:
 * the loss"). The trainer is of no further use then. */
bool trainer_finite(const vq_step *s);
vq_status trainer_trouble(vq_trainer *t, train_plan *p, const vq_batch *batches, int parts, unsigned phases, const vq_step *was, const char *what);
/* sized.c: what differs for models that take one cell a canvas. */
void trainer_alike(vq_trainer *t);
void trainer_drop_sized(vq_trainer *t);
/* Makes *view (&t->train, &t->eval or &t->encode) and t->sheet those of these canvases. */
vq_status trainer_use(vq_trainer *t, train_plan *view, const vq_sheet *sheet);
vq_status trainer_draw(vq_trainer *t, vq_sampler *s, int augment, vq_batch *b);
vq_status trainer_order(vq_trainer *t, vq_sampler *s); /* a new epoch's */
/* An item's code positions of a level that are valid, and the index of one of them in the codes' value, on the batch's canvases. */
vq_rect trainer_positions(const vq_trainer *t, const vq_batch *b, int level, int item);
size_t trainer_position(const vq_trainer *t, const vq_batch *b, int level, vq_rect r, int y, int x);
/* profile.c: adds a run of a training plan, with profile; and the seconds of a plan that is about to go. */
void trainer_note_run(vq_trainer *t, const vq_graph *g, unsigned phases);
void trainer_note_plan(vq_trainer *t, const train_plan *p);
/* health.c: rows from data to start with, and for those that nothing uses, in each codebook. */
vq_status trainer_start_codebook(vq_trainer *t);
/* Appends a level's vectors at valid positions of the plan's last run. */
vq_status trainer_rows(vq_trainer *t, const train_plan *p, const vq_batch *b, int level, vq_buf *rows);
vq_status trainer_revive(vq_trainer *t, const vq_batch *b, int64_t *revived);

#endif
