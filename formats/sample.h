/* sample: what the metadata of a cell record means, and the way between JSON and C structs.
 *
 * A sample record has tensors `image` [C,H,W] (any dtype; f32 once normalised) and `mask` [H,W] u8 (0 background, 1 this cell,
 * 2 other cells), H and W including padding. Its metadata keys:
 *
 *   source       {"files":[path a channel], "pages":[n a channel], "labels": path}     as given on the command line or in the CSV
 *   field        "FIELD"             the part of the id before '#'
 *   label        12                  object label in the label image
 *   bbox         [y0,x0,y1,x1]       crop in the field, half-open, border included
 *   field_size   [H,W]               of the source field
 *   channels     ["DNA",...]
 *   size         [h,w]               true size, without padding
 *   pad          [top,bottom,left,right]   absent or zeros: none.  "pad_mode": "reflect"|"zero"|"edge"
 *   dtype        "u16"               of the raw pixels
 *   area         321                 pixels of mask 1
 *   raw          {"mean":[C],"integrated":[C],"background":[C]}     grey levels; inside the mask, and label 0 around it (null if none)
 *   field_stats  {"mean":[C],"std":[C],"percentiles":{"p":[0,0.1,1,5,25,50,75,95,99,99.9,100],"values":[[..]a channel]}}
 *   normalize    {"method":"robust|zscore|minmax|none","scope":"record|field|stats","percentiles":[5,95],"clip":true,
 *                 "low":[C],"high":[C] | "mean":[C],"std":[C], "clipped":[C fraction],"constant":[C bool]}   absent: raw grey levels
 *   metadata     {"Metadata_Plate":"...",...}   every Metadata_* column, as text
 *   truth        {...}               vq-synth only: parameters of the simulated cell
 *
 * robust, minmax: y = (x - low) / (high - low) * 2 - 1; zscore: y = (x - mean) / std. A constant channel is 0 everywhere.
 *
 * A batch record has `image` [N,C,H,W], `mask` [N,H,W], `valid` [N,4] i32 (top,left,height,width of the true pixels), and metadata
 * {"items":[{"id":..., "meta":{...}}, ...], "shapes":[[H,W] each item had before batching]}; item i's pixels are at the top left, zeros beyond.
 *
 * A code record has `codes` [h,w] (grid) or [1] (global) per level: u16 (size up to 65,536) or i32; named `codes`, `codes.1`, ...; skip tensors
 * `skip.0`, ... when the decoder needs them; the metadata of its sample, and "extent" [H,W] (padded size that was encoded, with
 * the true pixels centred in it as pad says). With features also `latent_mean`, `latent_std` [dim] f32, `histogram` [size] i32 and `tfidf` [size]
 * f32, of the first level over the cell's own positions. */
#ifndef VQ_SAMPLE_H
#define VQ_SAMPLE_H

#include "formats/vqt.h"

enum { VQ_CHANNELS_MAX = 16 };

typedef enum { VQ_NORM_RAW = 0, VQ_NORM_NONE, VQ_NORM_ROBUST, VQ_NORM_ZSCORE, VQ_NORM_MINMAX } vq_norm_method;

/* How pixels were mapped. RAW: never normalised; NONE: vq-normalize --none (only converted to f32). */
typedef struct {
	vq_norm_method method;
	char scope[8];              /* "record" "field" "stats" */
	double percentiles[2];      /* robust */
	bool clip;
	int channels;
	double a[VQ_CHANNELS_MAX];  /* low, or mean */
	double b[VQ_CHANNELS_MAX];  /* high, or std */
	double clipped[VQ_CHANNELS_MAX]; /* fraction of pixels that clipping changed */
	bool constant[VQ_CHANNELS_MAX];
} vq_norm;

typedef struct {
	int64_t h, w;               /* true size */
	int64_t top, bottom, left, right; /* padding round it */
	char mode[8];               /* "reflect" "zero" "edge" or "" */
} vq_geom;

const char *vq_norm_name(vq_norm_method m); /* "raw" "none" "robust" "zscore" "minmax" */
int vq_norm_parse(const char *name);

/* From a record's metadata; missing keys mean raw and unpadded (true size = the image's). Malformed ones: VQ_EFORMAT, key named.
 * vq_geom_get also checks that size + pad equals the image's extents. */
vq_status vq_norm_get(const cJSON *meta, vq_norm *n);
vq_status vq_norm_set(cJSON *meta, const vq_norm *n);
vq_status vq_geom_get(const cJSON *meta, const vq_tensor *image, vq_geom *g);
vq_status vq_geom_set(cJSON *meta, const vq_geom *g);
/* "percentiles 5,95 per record, clipped" and the like; caller frees. */
char *vq_norm_describe(const vq_norm *n);

/* A record of kind "samples": image [C,H,W] with 1 to 16 channels, mask [H,W] if present; sets the pointers. mask may be NULL. */
vq_status vq_sample_check(const vqt_record *r, vq_tensor **image, vq_tensor **mask);

/* metadata.NAME as text, or NULL. Also reads "field", "label" (into buf, 32 bytes) when name has no Metadata_ prefix. */
const char *vq_sample_text(const cJSON *meta, const char *name, char buf[32]);
/* Of the metadata columns and "field" the one that `name` is likest to, with or without its Metadata_ prefix. Belongs to meta. */
const char *vq_sample_nearest(const cJSON *meta, const char *name);
/* How unlike a column's name is to what was asked for. */
int vq_sample_distance(const char *asked, const char *column);

/* JSON helpers: replace-or-add that report memory failure. */
vq_status vq_json_set(cJSON *object, const char *key, cJSON *item /* consumed */);
cJSON *vq_json_doubles(const double *v, int n); /* non-finite becomes null */
/* Parses text; the message names what and the line. NULL on failure. */
cJSON *vq_json_parse(const char *text, const char *what);

#endif
