/* modelfile: a trained model in one safetensors file: weights, configuration, and how its input was normalised and padded.
 *
 * Metadata strings of the file: "format" ("vq-model"), "version" ("1"), "config" (resolved JSON), "channels" (JSON array of names),
 * "normalize" (JSON as in a sample's metadata, without per-record values), "pad_mode", "chain" (JSON: the commands that made the
 * training stream, and the training itself), "step". No times and no paths of outputs: the same training gives the same bytes. */
#ifndef VQ_TOOLS_MODELFILE_H
#define VQ_TOOLS_MODELFILE_H

#include "formats/sample.h"
#include "lib/model/model.h"

typedef struct {
	vq_config config;
	int channels;
	cJSON *names;           /* array of channel names */
	cJSON *chain;           /* array */
	vq_norm norm;           /* a and b hold values only for scope "stats" */
	char pad_mode[8];
	int64_t step;
	vq_model_info info;
	vq_params params;
	float *state, *param;   /* params.sizes floats */
} vq_model;

/* Zero-initialise; fills info and params and zeroed weights from config and channels. */
vq_status vq_model_setup(vq_model *m);
void vq_model_free(vq_model *m);
vq_status vq_model_save(const vq_model *m, const char *path);
/* VQ_EFORMAT: not a vq model, or of a newer version; tensors that lack or have another shape are named. */
vq_status vq_model_load(vq_model *m, const char *path);
/* Weights from any safetensors file with the names and shapes of m's parameters. Codebook averages that it lacks start from the codebook.
 * PyTorch's own state_dicts are understood: codebooks called quantizer.w, .n and .m, quantizer.codebook, .count and .sums, or codebook.weight;
 * the bias of a convolution before a norm, which has no effect but on the running mean, is taken off that. A warning names what is not used. */
vq_status vq_model_init_from(vq_model *m, const char *path);

/* A level's codebook, [size, dim], owned by the model; NULL when it has none. */
const float *vq_model_vectors(const vq_model *m, int level);
/* XXH64 of a level's codebook, as 16 hexadecimal digits: codes mean nothing beside another. False when the model has none. */
bool vq_model_codebook(const vq_model *m, int level, char hash[17]);
/* The header's "model" object of a code stream; dtype: what the codes were computed in. */
cJSON *vq_model_header(const vq_model *m, const char *device, const char *isa, const char *dtype);

#endif
