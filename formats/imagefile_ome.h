/* imagefile_ome: where the planes of an OME-TIFF are, from its OME-XML. Part of imagefile. */
#ifndef VQ_IMAGEFILE_OME_H
#define VQ_IMAGEFILE_OME_H

#include "formats/imagefile_priv.h"

typedef struct {
	int c, z, t;               /* of the whole image, other files included; c counts an RGB channel once */
	int planes;                /* those in this file */
	vq_plane_at *at;           /* planes entries, as the XML lists them */
	int n_names;
	char **names;              /* by channel; entries may be NULL */
} vq_ome_image;

typedef struct { int n; vq_ome_image *image; } vq_ome;

/* text: the description; path: of the file (TiffData may speak of other files, known by name or UUID); pages: how many it has. No
 * <Image>: n is 0. Extents out of range, or a plane on a page that is not there: VQ_EFORMAT. */
vq_status vq_ome_parse(vq_ome *out, const char *text, const char *path, int pages);
void vq_ome_free(vq_ome *o);

#endif
