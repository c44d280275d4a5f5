/* loaddata: CellProfiler's LoadData tables as lists of fields.
 *
 * Columns, each with or without `Image_` before it: FileName_X and PathName_X, or URL_X with file:, name channel X; Series_X and
 * Frame_X (from 0) choose in it; ObjectsFileName_N, ObjectsPathName_N (ObjectsURL_N, ObjectsSeries_N, ObjectsFrame_N) are label images;
 * Metadata_* is kept as text. A channel IllumX whose X or OrigX is a channel too is the function that it is divided by. */
#ifndef VQ_LOADDATA_H
#define VQ_LOADDATA_H

#include "formats/fields.h"

typedef struct {
	const char *root;             /* relative paths are against this; NULL: the folder of the table */
	const char *const *map;       /* "OLD=NEW": a path that begins with OLD begins with NEW instead; \ and / are alike in OLD */
	int maps;
	const char *objects;          /* N of the label images; NULL: the only one there is */
	bool labels;                  /* label images are wanted; without, their columns are not looked at */
	const char *const *channel;   /* what to read: X, or X_SOMETHING for a part of X; NULL: all */
	int channels;
	bool distinct;                /* the table has a row an object: a field for each ImageNumber, which it must have */
	const char *id;               /* columns of the id, comma-separated; NULL: the default of vq-crop(1) */
} vq_loaddata_rules;

/* Appends a field a row. Wrong columns and malformed tables fail, with the path and what there is instead; a row that cannot be used
 * becomes a field with a problem. */
vq_status vq_loaddata_read(vq_fields *l, const char *csv, const vq_loaddata_rules *rules);

#endif
