/* models: the configurations that tests/bench/steps.c times, as settings for vq_config_set on the defaults, so that it needs no JSON. test_config
 * holds them to the files. */
#ifndef VQ_BENCH_MODELS_H
#define VQ_BENCH_MODELS_H

static const char *const bench_peer[] = { /* configs/peer.json */
	"num_embeddings=512", "revive_threshold=0.03", "revive_every=20", "revive_until=1", "val_fraction=0", "epochs=0",
	"max_seconds=120", "learning_rate=0.001", "mixed_precision=off", "save_samples_every=0",
	NULL
};
static const char *const bench_improved[] = { /* configs/improved.json */
	"model=improved", "latent=global", "skip=features", "levels=4", "channels_per_level=32,64,128,256", "blocks=1",
	"block_norm=batch", "attention=true", "attention_width=32", "dropout=0.1", "embedding_dim=256", "num_embeddings=512",
	"codebook_start=normal", "revive_every=1", "codebook_refit=5", "commitment_cost=0.5", "reconstruction_loss_weight=2.0",
	"content_weighting=true", "use_perceptual_loss=true", "perceptual_net=vgg19", "perceptual_taps=0,5,10,19,28", "pad_multiple=16",
	"pad_min=32", "pack=false", "mixed_precision=off", "batch_size=16", "pixels_per_step=0", "size_tolerance=0.3",
	"learning_rate=0.0001", "beta2=0.999", "gradient_clip_norm=0.5", "warmup_steps=0", "use_early_stopping=true",
	"save_directory=results/improved",
	NULL
};

#endif
