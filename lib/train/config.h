/* config: every setting of a model and its training, as a plain struct, and the one table that describes them.
 *
 * The table feeds the defaults, the range checks, and (in formats/config.h) the JSON parser, the resolved JSON, the manual page's
 * key list and the JSON schema. No JSON and no files here. A vq_config holds no pointers: copy it by assignment. */
#ifndef VQ_CONFIG_H
#define VQ_CONFIG_H

#include "lib/base.h"

enum { VQ_LEVELS_MAX = 5, VQ_CONFIG_LIST_MAX = 8, VQ_CONFIG_TEXT_MAX = 1024 };

typedef enum { VQ_MODEL_CODES, VQ_MODEL_IMPROVED, VQ_MODEL_ORIGINAL } vq_model_family;
typedef enum { VQ_LATENT_GRID, VQ_LATENT_GLOBAL } vq_latent;
typedef enum { VQ_SKIP_NONE, VQ_SKIP_FEATURES, VQ_SKIP_QUANTIZED } vq_skip;
typedef enum { VQ_ACT_RELU, VQ_ACT_LEAKY_RELU, VQ_ACT_SILU, VQ_ACT_GELU } vq_activation;
typedef enum { VQ_BLOCK_NORM_NONE, VQ_BLOCK_NORM_BATCH } vq_block_norm;
typedef enum { VQ_START_DATA, VQ_START_KMEANS, VQ_START_NORMAL, VQ_START_UNIFORM } vq_codebook_start;
typedef enum { VQ_UPDATE_EMA, VQ_UPDATE_GRADIENT } vq_codebook_update;
typedef enum { VQ_OPT_ADAM, VQ_OPT_ADAMW, VQ_OPT_SGD } vq_optimizer_kind;
typedef enum { VQ_SCHED_COSINE, VQ_SCHED_STEP, VQ_SCHED_PLATEAU } vq_scheduler;
typedef enum { VQ_LOSS_MSE, VQ_LOSS_L1 } vq_loss_kind;
typedef enum { VQ_NET_VGG16, VQ_NET_VGG19, VQ_NET_ALEXNET, VQ_NET_SQUEEZENET } vq_perceptual_net;
typedef enum { VQ_PRECISION_OFF, VQ_PRECISION_BF16, VQ_PRECISION_AUTO } vq_precision;
typedef enum { VQ_CONFIG_PAD_REFLECT, VQ_CONFIG_PAD_ZERO, VQ_CONFIG_PAD_EDGE } vq_config_pad;
typedef enum { VQ_CONFIG_NORM_ROBUST, VQ_CONFIG_NORM_ZSCORE, VQ_CONFIG_NORM_MINMAX, VQ_CONFIG_NORM_NONE } vq_config_norm;

typedef struct { int n; int v[VQ_CONFIG_LIST_MAX]; } vq_ints;
typedef struct { int n; double v[VQ_CONFIG_LIST_MAX]; } vq_reals;
typedef char vq_config_text[VQ_CONFIG_TEXT_MAX];

/* Field names are the keys. Choices are ints that hold the enums above. */
typedef struct {
	/* model */
	int model;                  /* vq_model_family: the form of a block and what stands round the codebook */
	int latent;                 /* vq_latent */
	int skip;                   /* vq_skip */
	int levels;                 /* down-samplings, 1 to 5; equals channels_per_level.n */
	vq_ints channels_per_level; /* width after each down-sampling */
	int blocks;                 /* residual blocks a level */
	int block_norm;             /* vq_block_norm */
	int activation;             /* vq_activation */
	int stem_kernel, stem_stride;
	int head_channels;          /* width before the last convolution */
	bool attention;
	int attention_width;        /* of query and key; 0 = channels / 8 */
	int pool_size;              /* global latent: side of the pooled square */
	vq_ints hidden;             /* global latent: widths of the linear layers between pool and code */
	double dropout;             /* in the linear layers */

	/* codebook */
	int embedding_dim, num_embeddings;
	int codebook_depth;         /* residual quantisation: codebooks in a row */
	int skip_embedding_dim, skip_num_embeddings; /* quantized skips; 0 = as the main codebook */
	int codebook_start, codebook_update; /* vq_codebook_start, vq_codebook_update */
	bool straight_through;
	double commitment_cost;     /* beta */
	double ema_decay, ema_epsilon;
	double revive_threshold;    /* a fraction of the mean count; 0 = off */
	int revive_every;           /* optimiser steps */
	double revive_until;        /* fraction of the schedule */
	int kmeans_steps;
	int codebook_refit;         /* k-means passes before a validation; 0 = off */

	/* losses */
	int loss;                   /* vq_loss_kind */
	double reconstruction_loss_weight;
	bool content_weighting;
	double foreground_weight, background_weight;
	bool use_perceptual_loss;
	double perceptual_loss_weight;
	int perceptual_net;         /* vq_perceptual_net */
	vq_config_text perceptual_file;
	vq_config_text perceptual_heads; /* LPIPS heads; "" = unweighted taps */
	vq_ints perceptual_taps;    /* layer indices (torchvision's); n = 0: the network's usual ones */
	int perceptual_scales;      /* 1 = full size only, 2 = and half size, ... */

	/* data */
	vq_config_text data_directory;
	int normalize_method;       /* vq_config_norm */
	vq_reals normalize_percentiles; /* two, for robust */
	bool normalize_clip;
	int pad_mode;               /* vq_config_pad */
	int pad_multiple;           /* 0 = the next power of two */
	int pad_min;
	double val_fraction;
	vq_config_text split_by;    /* "": the usual groups; "cell"; columns with commas */
	bool augment_flip, augment_rotate;
	int num_workers;

	/* steps */
	int batch_size;             /* most cells a step; 0 = as many as pixels_per_step holds */
	int64_t pixels_per_step;    /* most padded pixels a step (at least one cell); 0 = as many as batch_size holds */
	double size_tolerance;      /* sizes within this fraction share a batch */
	bool pack;
	int accumulate;             /* batches an optimiser step */
	int64_t epochs, max_steps;  /* 0 = no limit */
	double max_seconds;         /* 0 = no limit */
	int optimizer;              /* vq_optimizer_kind */
	double learning_rate, weight_decay, beta1, beta2, optimizer_epsilon, momentum;
	double gradient_clip_norm;  /* 0 = off */
	bool use_scheduler;
	int scheduler_type;         /* vq_scheduler */
	int warmup_steps;
	double lr_floor;            /* a fraction of learning_rate */
	int step_size;              /* epochs */
	double step_gamma, plateau_factor;
	int plateau_patience;       /* epochs */
	bool use_early_stopping;
	int early_stopping_patience; /* epochs */
	double weight_average;      /* decay; 0 = off */
	int mixed_precision;        /* vq_precision */
	bool checkpoint_activations;
	int64_t seed;

	/* output */
	vq_config_text save_directory;
	int save_samples_every;     /* epochs; 0 = never */
	double save_every;          /* seconds between checkpoints inside an epoch; 0 = at each epoch's end only */
} vq_config;

typedef enum {
	VQ_KEY_BOOL, VQ_KEY_INT, VQ_KEY_INT64, VQ_KEY_REAL, VQ_KEY_CHOICE, VQ_KEY_TEXT, VQ_KEY_INTS, VQ_KEY_REALS, VQ_KEY_GROUP
} vq_key_type;

typedef struct {
	const char *name;    /* GROUP: a heading for those that follow */
	vq_key_type type;
	size_t offset;       /* in vq_config */
	const char *preset;  /* the default, as text: "0.001", "true", "relu", "32,64" */
	double lo, hi;       /* INT, REAL: both included; lists: of each element */
	int min_n, max_n;    /* lists: how many elements */
	const char *choices; /* CHOICE: "relu|leaky_relu|..." in the enum's order; INT: the only values allowed, "3|5|7", or NULL */
	const char *help;    /* one line */
} vq_config_key;

extern const vq_config_key vq_config_keys[]; /* ends with name NULL */

/* The values of configs/cells.json, which are what vq-train takes without -c. */
void vq_config_defaults(vq_config *c);
/* The key of that name, or NULL with the message naming the nearest known key. */
const vq_config_key *vq_config_find(const char *name);
/* One value from text: 0.001, true, relu, 32,64 or [32,64] or [] for an empty list; text as it is. VQ_EINVAL: the message names the
 * key and its range or choices, and *c is as before. */
vq_status vq_config_put(vq_config *c, const vq_config_key *k, const char *text);
/* "KEY=VALUE", as --set takes it; a text or choice in double quotes loses them. */
vq_status vq_config_set(vq_config *c, const char *assignment);
/* One value as text that vq_config_put reads back to the same value; caller frees; NULL when memory is out. */
char *vq_config_get(const vq_config *c, const vq_config_key *k);
/* What no single key can tell: levels against channels_per_level, both batch limits 0, ... Call after the last change. */
vq_status vq_config_check(const vq_config *c);
/* "0.001 to 1", "relu, leaky_relu, silu or gelu", "1 to 5 integers, each 1 to 4096": what a value may be; caller frees. */
char *vq_config_range(const vq_config_key *k);
/* The name of a choice's value: vq_config_name("activation", c.activation, buf); "?" when it is none. Returns buf. */
const char *vq_config_name(const char *key, int value, char buf[32]);

#endif
