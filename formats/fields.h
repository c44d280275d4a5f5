/* fields: the list of what vq-crop reads: for each field its image files, its label image and its metadata. Nothing is
 * opened here but directories; formats/loaddata.h and formats/locations.h fill the list from tables.
 *
 * Every string and array lives in the list's arena and is freed with it. Text that ends up in metadata is UTF-8; paths are
 * bytes as the system has them. */
#ifndef VQ_FIELDS_H
#define VQ_FIELDS_H

#include "lib/base.h"

typedef struct {
	const char *name;   /* of the channel; NULL: the file's own channel names, or C1, C2, ... over the field */
	const char *path;   /* to open */
	const char *given;  /* as the table or the command line has it */
	const char *illum;  /* illumination function to divide by, or NULL */
	int series, frame;  /* from 0; -1: not said */
} vq_field_file;

typedef struct { double y, x; int32_t label; } vq_place; /* centre of a cell, px */

typedef struct {
	const char *id;      /* FIELD in FIELD#LABEL */
	vq_field_file *file;
	int files;
	vq_field_file labels; /* path NULL: none */
	const char **key, **value; /* the Metadata_ columns */
	int pairs;
	int number;          /* ImageNumber of its row, -1 when there is none */
	const char *origin;  /* "load_data.csv line 3", or the file that the field is made of */
	const char *problem; /* why it cannot be read, one line with its source; NULL when nothing is known against it */
	vq_place *place;     /* from a table of locations, in the table's order */
	size_t places;
} vq_field;

typedef struct { vq_arena arena; vq_field *v; size_t n, cap; } vq_fields; /* zero-initialise */

vq_field *vq_fields_add(vq_fields *l); /* an empty one at the end, valid until the next; NULL on failure */
void vq_fields_free(vq_fields *l);

const char *vq_field_value(const vq_field *f, const char *key); /* of a Metadata_ column; "" when it has none */

/* One field: a file a channel, or one with several. labels may be NULL. */
vq_status vq_fields_image(vq_fields *l, const char *const *file, int n, const char *labels);
/* Every image NAME+suffix.EXT (TIFF or PNG by its name) of dir that has NAME_cp_masks.{tif,tiff,png} or NAME+suffix+_cp_masks in masks (NULL: dir
 * itself), by name. What Cellpose itself writes is never an image. An image with only a _seg.npy is a field with a problem
 * that says how to make masks of it. None at all: VQ_EINVAL. */
vq_status vq_fields_cellpose(vq_fields *l, const char *dir, const char *suffix, const char *masks);
/* Each file is a cell; a directory stands for the images in it, by name. mask_suffix (or NULL): the mask of NAME.EXT is
 * NAME+mask_suffix.{EXT,tif,tiff,png}, or NAME+mask_suffix where that is an image's name, and such files are not cells. */
vq_status vq_fields_whole(vq_fields *l, const char *const *file, int n, const char *mask_suffix);

/* VQ_EINVAL when two fields have the same id, with both named and the metadata columns that tell them apart. */
vq_status vq_fields_unique(const vq_fields *l);

/* For those who fill the list. NULL on failure. */
char *vq_fields_format(vq_fields *l, const char *fmt, ...) __attribute__((format(printf, 2, 3)));
char *vq_fields_text(vq_fields *l, const char *text);    /* UTF-8: what is not is taken as Latin-1; control characters become blanks */
char *vq_fields_stem(vq_fields *l, const char *path);    /* file name without directory and extension, as text */
bool vq_path_ends(const char *path, const char *end);    /* ignoring case */
/* The message for a Cellpose _seg.npy: refused, with the command that makes a mask image of it. */
char *vq_fields_seg(vq_fields *l, const char *path);

#endif
