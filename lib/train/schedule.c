#include "lib/train/schedule.h"

#include <math.h>

void vq_plateau_start(vq_plateau *p) { *p = (vq_plateau){ 1, INFINITY, 0 }; }

void vq_plateau_epoch(vq_plateau *p, const vq_config *c, double loss)
{
	if (loss < p->best) {
		p->best = loss;
		p->bad = 0;
	} else if (++p->bad > c->plateau_patience) {
		p->factor *= c->plateau_factor;
		p->bad = 0;
	}
}

double vq_schedule_lr(const vq_config *c, const vq_plateau *p, double fraction, int64_t step, int64_t epoch)
{
	double f = 1, warm = c->warmup_steps > 0 ? fmin(1, (double)(step + 1) / c->warmup_steps) : 1;
	fraction = fmin(fmax(fraction, 0), 1);
	if (c->use_scheduler)
		switch (c->scheduler_type) {
		case VQ_SCHED_COSINE: f = .5 * (1 + cos(3.14159265358979323846 * fraction)); break;
		case VQ_SCHED_STEP: f = pow(c->step_gamma, (double)(epoch / VQ_MAX(c->step_size, 1))); break;
		default: f = p->factor;
		}
	return c->learning_rate * warm * fmax(f, c->lr_floor);
}
