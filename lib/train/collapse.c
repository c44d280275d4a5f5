#include "lib/train/collapse.h"

static vq_status add(vq_buf *b, const char *text) { return vq_buf_fmt(b, "%s%s", b->len ? "; or " : "", text); }

/* What is wrong with the configuration first, then what may help any. */
static vq_status advise(vq_buf *b, const vq_config *c, int codes, double positions, double done)
{
	bool ema = c->codebook_update == VQ_UPDATE_EMA;
	if (positions < codes)
		VQ_TRY(vq_buf_fmt(b, "lower num_embeddings, for an epoch has %.0f codes to spread over them", positions));
	if (!ema)
		VQ_TRY(add(b, "set codebook_update to ema, which revives dead codes"));
	if (ema && c->revive_threshold == 0)
		VQ_TRY(add(b, "set revive_threshold to 0.1, so that dead codes are revived"));
	else if (ema && done > c->revive_until)
		VQ_TRY(vq_buf_fmt(b, "%sraise revive_until, for no code is revived after %g of the training", b->len ? "; or " : "", c->revive_until));
	if (ema && (c->codebook_start == VQ_START_NORMAL || c->codebook_start == VQ_START_UNIFORM))
		VQ_TRY(add(b, "set codebook_start to data or kmeans"));
	return vq_buf_fmt(b, "%slower learning_rate (%g), raise warmup_steps (%d) or change commitment_cost (%g)%s", b->len ? "; or " : "", c->learning_rate,
		c->warmup_steps, c->commitment_cost, positions < codes ? "" : ", or lower num_embeddings");
}

char *vq_collapse_epoch(vq_collapse *s, const vq_config *c, double usage, int codes, double positions, double done)
{
	vq_buf keys = {0};
	s->low = usage < VQ_COLLAPSE_USAGE ? s->low + 1 : 0;
	if (s->told || s->low < VQ_COLLAPSE_EPOCHS)
		return NULL;
	s->told = true;
	char *text = NULL;
	if (advise(&keys, c, codes, positions, done) == VQ_OK)
		text = vq_format("the codebook has collapsed: %.0f of %d codes were used (usage %.3f), and usage was below %g for %d epochs: %s",
			usage * codes, codes, usage, VQ_COLLAPSE_USAGE, VQ_COLLAPSE_EPOCHS, keys.data);
	vq_buf_free(&keys);
	return text;
}
