/* locations: CellProfiler's object tables as places of cells in fields.
 *
 * Columns: Location_Center_X and Location_Center_Y (or NAME_Location_Center_X for objects NAME in a merged table), px from the centre
 * of the first pixel; ObjectNumber (or NAME_Number_Object_Number, Number_Object_Number), else cells are counted from 1 in each field. */
#ifndef VQ_LOCATIONS_H
#define VQ_LOCATIONS_H

#include "formats/fields.h"

/* Gives each field of the list its places. The way from a row to its field: ImageNumber is the field's own number, or counts the list from 1;
 * else the Metadata_ columns that both have; else the only field. A row that leads to no field, or to several, fails with its line. objects: NAME,
 * or NULL for the only one there is. */
vq_status vq_locations_read(vq_fields *l, const char *csv, const char *objects);

#endif
