#include <stddef.h>

#include "lib/train/config.h"

#define GROUP(heading) { heading, VQ_KEY_GROUP, 0, NULL, 0, 0, 0, 0, NULL, NULL }
#define BOOL(key, preset, help) { #key, VQ_KEY_BOOL, offsetof(vq_config, key), preset, 0, 0, 0, 0, NULL, help }
#define INT(key, preset, lo, hi, help) { #key, VQ_KEY_INT, offsetof(vq_config, key), preset, lo, hi, 0, 0, NULL, help }
#define INT64(key, preset, lo, hi, help) { #key, VQ_KEY_INT64, offsetof(vq_config, key), preset, lo, hi, 0, 0, NULL, help }
#define REAL(key, preset, lo, hi, help) { #key, VQ_KEY_REAL, offsetof(vq_config, key), preset, lo, hi, 0, 0, NULL, help }
#define CHOICE(key, preset, choices, help) { #key, VQ_KEY_CHOICE, offsetof(vq_config, key), preset, 0, 0, 0, 0, choices, help }
#define TEXT(key, preset, help) { #key, VQ_KEY_TEXT, offsetof(vq_config, key), preset, 0, 0, 0, 0, NULL, help }
#define INTS(key, preset, lo, hi, least, most, help) \
	{ #key, VQ_KEY_INTS, offsetof(vq_config, key), preset, lo, hi, least, most, NULL, help }
#define REALS(key, preset, lo, hi, least, most, help) \
	{ #key, VQ_KEY_REALS, offsetof(vq_config, key), preset, lo, hi, least, most, NULL, help }

const vq_config_key vq_config_keys[] = {
	GROUP("Model"),
	CHOICE(model, "codes", "codes|improved|original",
	       "Family of layers: codes (pre-activation blocks, no normalisation, a 1x1 convolution to the code), improved (the reference's "
	       "second model: residual blocks after each down-sampling but the last) or original (its first: plain convolutions)."),
	CHOICE(latent, "grid", "grid|global", "A code for each position of the coarsest level, or one code for the whole cell."),
	CHOICE(skip, "none", "none|features|quantized",
	       "What passes from encoder to decoder beside the code: nothing, raw features (hundreds of bits a pixel, counted as such), "
	       "or features through a codebook for each level. Model codes has no raw features, and original has no skips."),
	INT(levels, "2", 1, VQ_LEVELS_MAX, "Down-samplings. Must equal the length of channels_per_level."),
	INTS(channels_per_level, "32,64", 1, 2048, 1, VQ_LEVELS_MAX, "Channels after each down-sampling, finest first."),
	INT(blocks, "2", 0, 8, "Residual blocks a level."),
	CHOICE(block_norm, "none", "none|batch", "Normalisation after each convolution; batch takes its statistics from true pixels only."),
	CHOICE(activation, "relu", "relu|leaky_relu|silu|gelu", "Activation function (leaky_relu has slope 0.01, gelu is the exact form)."),
	{ "stem_kernel", VQ_KEY_INT, offsetof(vq_config, stem_kernel), "7", 3, 7, 0, 0, "3|5|7", "Side of the first convolution's kernel." },
	INT(stem_stride, "2", 1, 3, "Stride of the first convolution."),
	INT(head_channels, "16", 1, 512, "Channels before the last convolution."),
	BOOL(attention, "false", "Self-attention over the positions of the coarsest level, in encoder and decoder."),
	INT(attention_width, "0", 0, 1024, "Width of attention's query and key; 0 is an eighth of the channels."),
	INT(pool_size, "4", 1, 16, "Global code: side of the square that features are pooled to."),
	INTS(hidden, "1024,512", 1, 16384, 0, 4, "Global code: widths of the linear layers between the pooled features and the code."),
	REAL(dropout, "0", 0, 0.9, "Global code: dropout in the linear layers."),

	GROUP("Codebook"),
	INT(embedding_dim, "64", 1, 4096, "Length of a code vector."),
	INT(num_embeddings, "1024", 2, 65536, "Code vectors in a codebook."),
	INT(codebook_depth, "1", 1, 8, "Residual quantisation of the code (not of skips): codebooks applied one after another to what the last one left; the decoder "
	    "gets the sum. With quantized skips, eight codebooks in all at most."),
	INT(skip_embedding_dim, "0", 0, 4096, "Length of a code vector of quantized skips; 0 is embedding_dim."),
	INT(skip_num_embeddings, "0", 0, 65536, "Code vectors in each codebook of quantized skips; 0 is num_embeddings."),
	CHOICE(codebook_start, "data", "data|kmeans|normal|uniform",
	       "First code vectors: encoder outputs, centres of encoder outputs, normal with deviation 1/num_embeddings, or uniform within "
	       "1/num_embeddings of 0."),
	INT(kmeans_steps, "10", 1, 100, "Iterations of the kmeans start."),
	CHOICE(codebook_update, "ema", "ema|gradient", "Code vectors follow their moving average, or are trained by gradient."),
	BOOL(straight_through, "true", "Pass the decoder's gradient past the codebook to the encoder. The reference's first model lacked it."),
	REAL(commitment_cost, "0.25", 0, 100, "Weight of the loss that draws encoder outputs to their code vector (beta)."),
	REAL(ema_decay, "0.99", 0, 0.99999, "Decay of the moving average of code counts and sums."),
	REAL(ema_epsilon, "1e-05", 0, 1, "Smoothing of the code counts; the total is preserved."),
	REAL(revive_threshold, "0.1", 0, 1,
	     "A code is dead, and is replaced by an encoder output, below this fraction of the mean count; 0 is never."),
	INT(revive_every, "10", 1, 1000000, "Steps between looks for dead codes."),
	REAL(revive_until, "0.8", 0, 1,
	     "Fraction of the training after which no code is revived, so that the reported usage is the codebook's own."),
	INT(codebook_refit, "0", 0, 100,
	    "Passes of k-means that fit the code vectors to what the encoder gives for training cells at rest (no dropout, running statistics, "
	    "averaged weights), for each validation and the model that is kept; codes that nothing uses get a new place. Training goes on with its "
	    "own. 0 is off."),

	GROUP("Losses"),
	CHOICE(loss, "mse", "mse|l1", "Reconstruction loss: mean squared or mean absolute error over true pixels."),
	REAL(reconstruction_loss_weight, "1", 0, 1000000, "Weight of the reconstruction loss."),
	BOOL(content_weighting, "false", "Weight cell and background pixels apart, each normalised to their own number (needs masks)."),
	REAL(foreground_weight, "1", 0.1, 10, "Content weighting: weight of the cell's pixels."),
	REAL(background_weight, "0.1", 0.1, 10, "Content weighting: weight of all other pixels."),
	BOOL(use_perceptual_loss, "false", "Add a distance between features of a frozen network, a cell's mean over its true pixels. Needs perceptual_file. Cells are then not "
	     "packed, one has a canvas: size_tolerance lets cells of about one size share a batch."),
	REAL(perceptual_loss_weight, "0.1", 0, 1000000, "Weight of the perceptual loss."),
	CHOICE(perceptual_net, "vgg16", "vgg16|vgg19|alexnet|squeezenet", "The frozen network."),
	TEXT(perceptual_file, "", "Its weights: a safetensors file with torchvision's names (features.0.weight, ...), at least up to the last of perceptual_taps."),
	TEXT(perceptual_heads, "", "Safetensors file with LPIPS heads for that network (lin0.model.1.weight, ...), for the LPIPS distance; empty is the mean squared "
	     "difference of the features as they are."),
	INTS(perceptual_taps, "", 0, 63, 0, VQ_CONFIG_LIST_MAX,
	     "Layers compared, as rising indices into torchvision's features, where a convolution's own output is before its ReLU; empty is the "
	     "last ReLU of each block (of squeezenet LPIPS's seven)."),
	INT(perceptual_scales, "1", 1, 4, "Compare at full size only (1), at half size too (2), and so on; the mean of these counts."),

	GROUP("Data"),
	TEXT(data_directory, "", "Sample stream read when vq-train is given none: a .vqt file, or a directory that holds cells.vqt."),
	CHOICE(normalize_method, "robust", "robust|zscore|minmax|none",
	       "How raw records are normalised before training, a record and channel at a time; records that are normalised already must agree."),
	REALS(normalize_percentiles, "5,95", 0, 100, 2, 2, "The two percentiles of robust that become -1 and 1."),
	BOOL(normalize_clip, "true", "Clip to [-1, 1] after robust and minmax."),
	CHOICE(pad_mode, "reflect", "reflect|zero|edge", "What fills a cell's padding, in training and whenever the model is run. How the stream was padded does not matter."),
	INT(pad_multiple, "1", 0, 512,
	    "Sides of a cell are padded to a multiple of this and of what the model needs (2 to the power of levels; original: 32); 0 is the next power "
	    "of two."),
	INT(pad_min, "1", 1, 4096, "Sides of a cell are padded to at least this, and to what the model needs (improved and original: 32)."),
	REAL(val_fraction, "0.1", 0, 0.9, "Fraction of the cells held out, by whole groups, to choose the model on."),
	TEXT(split_by, "", "Metadata columns, with commas, whose values make a group; cell lets cells of one field fall on both sides; "
	     "empty is Metadata_Group, else plate and well, else the field."),
	BOOL(augment_flip, "true", "Flip batches left-right and top-bottom at random."),
	BOOL(augment_rotate, "false", "Turn batches by quarter turns at random."),
	INT(num_workers, "0", 0, 64, "Accepted for the reference's configurations, and without effect: cells wait in memory (vq-train --memory), and vq-train --threads says "
	    "how many threads compute."),

	GROUP("Training"),
	INT(batch_size, "0", 0, 65536, "Most cells in a batch; 0 is as many as pixels_per_step holds."),
	INT64(pixels_per_step, "32768", 0, 1073741824,
	      "Most padded pixels in a batch, of at least one cell; 0 is as many as batch_size cells have."),
	REAL(size_tolerance, "0", 0, 1, "Cells whose padded sides differ by up to this fraction share a batch."),
	BOOL(pack, "true", "Place small cells side by side on one canvas. Not with batch normalisation, attention or a global code."),
	INT(accumulate, "1", 1, 1024, "Batches whose gradients make one step, weighted by their true pixels."),
	INT64(epochs, "100", 0, 1000000000, "Passes over the training cells; 0 is no limit."),
	INT64(max_steps, "0", 0, 1000000000000, "Most optimiser steps; 0 is no limit."),
	REAL(max_seconds, "0", 0, 31536000, "Time budget that the schedule is fitted to; 0 is no limit."),
	CHOICE(optimizer, "adamw", "adam|adamw|sgd", "Optimiser. weight_decay is decoupled in adamw and part of the gradient in the others."),
	REAL(learning_rate, "0.002", 1e-9, 10, "Largest learning rate."),
	REAL(weight_decay, "0.0001", 0, 1, "Weight decay."),
	REAL(beta1, "0.9", 0, 0.99999, "adam, adamw: decay of the mean gradient."),
	REAL(beta2, "0.99", 0, 0.999999, "adam, adamw: decay of the mean squared gradient."),
	REAL(optimizer_epsilon, "1e-08", 1e-16, 0.1, "adam, adamw: added to the root of the mean squared gradient."),
	REAL(momentum, "0.9", 0, 0.99999, "sgd: momentum."),
	REAL(gradient_clip_norm, "1", 0, 1000000, "The gradient's norm is scaled down to at most this; 0 is off."),
	BOOL(use_scheduler, "true", "Change the learning rate as scheduler_type says; else it stays constant after the warm-up."),
	CHOICE(scheduler_type, "cosine", "cosine|step|plateau",
	       "cosine over the whole training (by time when max_seconds is set), "
	       "step every step_size epochs, or plateau when validation stalls."),
	INT(warmup_steps, "100", 0, 100000000, "Steps over which the learning rate rises from 0."),
	REAL(lr_floor, "0", 0, 1, "The schedule never falls below this fraction of learning_rate."),
	INT(step_size, "30", 1, 1000000000, "step: epochs between drops."),
	REAL(step_gamma, "0.1", 1e-6, 1, "step: factor of a drop."),
	REAL(plateau_factor, "0.5", 1e-6, 1, "plateau: factor of a drop."),
	INT(plateau_patience, "5", 0, 1000000000, "plateau: epochs without improvement before a drop."),
	BOOL(use_early_stopping, "false", "Stop when validation has not improved for early_stopping_patience epochs."),
	INT(early_stopping_patience, "15", 1, 1000000000, "Early stopping: epochs without improvement."),
	REAL(weight_average, "0", 0, 0.999999, "Decay of a moving average of the weights, which is then the model that is kept; 0 is off."),
	CHOICE(mixed_precision, "auto", "off|bf16|auto", "Compute in bf16 with f32 weights; auto does so where the machine is faster in it."),
	BOOL(checkpoint_activations, "false",
	     "Compute activations again in the backward pass instead of keeping them: the same bytes, in about half the memory (vq-train -v says "
	     "how much) and a fifth more time."),
	INT64(seed, "0", 0, 9007199254740991, "Seed of everything random."),

	GROUP("Output"),
	TEXT(save_directory, "run", "Where the run is kept when vq-train is given no -o."),
	INT(save_samples_every, "5", 0, 1000000000, "Epochs between pictures of samples; 0 is never."),
	REAL(save_every, "0", 0, 31536000, "Seconds between checkpoints inside an epoch; 0 is at the end of each epoch only."),
	{ 0 },
};
