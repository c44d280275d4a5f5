/* vq-crop: fields and label images to a stream of single cells. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "formats/fields.h"
#include "formats/loaddata.h"
#include "formats/locations.h"
#include "tools/cli.h"
#include "tools/crop_cells.h"

static struct {
	vq_strings load_data, map, image;
	const char *root, *objects, *channels, *id, *labels, *cellpose, *suffix, *masks, *mask_suffix, *locations, *z;
	int64_t border, min_area, max_size, tile, box;
	bool keep_edge, strict, whole, mask_last;
	int mask_channel;
} o = { .border = 10, .min_area = 20, .max_size = 1024 };

static const vq_option options[] = {
	{ .type = VQ_OPT_GROUP, .help = "What to read" },
	{ "load-data", 0, VQ_OPT_LIST, &o.load_data, "CSV", "CellProfiler's LoadData table: FileName_X and PathName_X (or URL_X) for the channels, ObjectsFileName_N for the label images. May be given several times." },
	{ "image", 0, VQ_OPT_LIST, &o.image, "F[,F2...]", "One field: a file a channel, or one file with several channels." },
	{ "labels", 0, VQ_OPT_FILE, &o.labels, "L", "The label image of --image." },
	{ "cellpose", 0, VQ_OPT_FILE, &o.cellpose, "DIR", "Every image in DIR with NAME_cp_masks.tif or .png." },
	{ "image-suffix", 0, VQ_OPT_STRING, &o.suffix, "S", "With --cellpose: images are called NAME plus S." },
	{ "masks", 0, VQ_OPT_FILE, &o.masks, "DIR", "With --cellpose: where the masks are (default: beside the images)." },
	{ "whole", 0, VQ_OPT_FLAG, &o.whole, NULL, "Each operand is an image of one cell, or a directory of such images." },
	{ "mask-suffix", 0, VQ_OPT_STRING, &o.mask_suffix, "S", "With --whole: the mask of NAME.tif is NAME plus S, which may end in an extension; what is not 0 in it is the cell." },
	{ "mask-channel", 0, VQ_OPT_CHOICE, &o.mask_channel, "WHICH", "With --whole: the last channel of each file is its mask.", "last", .given = &o.mask_last },
	{ "locations", 0, VQ_OPT_FILE, &o.locations, "CSV", "CellProfiler's object table: --box pixels around Location_Center_X, Location_Center_Y in the fields of --load-data or --image, or of the table itself; no label images." },
	{ "box", 0, VQ_OPT_INT, &o.box, "N", "With --locations: side of the crops, in pixels.", NULL, 1, 65536 },
	{ "path-root", 0, VQ_OPT_FILE, &o.root, "DIR", "Relative paths in tables are against DIR (default: the table's folder)." },
	{ "path-map", 0, VQ_OPT_LIST, &o.map, "OLD=NEW", "Paths in tables that begin with OLD begin with NEW instead. May be given several times." },
	{ "objects", 0, VQ_OPT_STRING, &o.objects, "NAME", "Which objects, where a table has several." },
	{ "channels", 0, VQ_OPT_STRING, &o.channels, "[OUT=]IN,...", "Channels to take, in this order, by name or by number from 1; OUT is the new name (default: all)." },
	{ "id", 0, VQ_OPT_STRING, &o.id, "COLUMNS", "Columns whose values, joined by _, name a field (default: Metadata_Plate_Well_Site, or Metadata_Plate, _Well and _Site; else Metadata_Field; else the file's name)." },
	{ "z", 0, VQ_OPT_STRING, &o.z, "max|N", "Of several z-planes take the maximum, or plane N from 1." },
	{ .type = VQ_OPT_GROUP, .help = "What to cut" },
	{ "border", 0, VQ_OPT_INT, &o.border, "PX", "Pixels around the cell's bounding box (default 10).", NULL, 0, 65536 },
	{ "min-area", 0, VQ_OPT_INT, &o.min_area, "PX", "Cells of fewer pixels are dropped (default 20).", NULL, 0, 1e12 },
	{ "max-size", 0, VQ_OPT_INT, &o.max_size, "PX", "Cells that are longer on a side are dropped with a warning (default 1024; 0: no limit).", NULL, 0, 1e9 },
	{ "keep-edge", 0, VQ_OPT_FLAG, &o.keep_edge, NULL, "Keep cells that touch the edge of their field." },
	{ "tile", 0, VQ_OPT_INT, &o.tile, "PX", "Fields are montages of tiles of this side, which crops do not leave.", NULL, 1, 1e9 },
	{ "strict", 0, VQ_OPT_FLAG, &o.strict, NULL, "Stop at the first field that cannot be read." },
	{ 0 },
};

static const vq_tool tool = {
	.name = "vq-crop",
	.brief = "single cells out of microscopy fields",
	.usage = "--load-data CSV [options]\n--image F[,F2...] --labels L [options]\n--cellpose DIR [options]\n--whole F... [options]\n--locations CSV --box N [options]",
	.options = options,
	.flags = VQ_CLI_THREADS | VQ_CLI_OUTPUT,
	.min_operands = 0,
	.max_operands = -1,
};

/* --- options to a list of fields ---------------------------------------------------------------------------------- */

static void check_options(const vq_strings *operands)
{
	int ways = (o.load_data.n > 0) + (o.image.n > 0) + (o.cellpose != NULL) + o.whole;
	if (!ways && !o.locations)
		vq_misuse("give one of --load-data, --image, --cellpose, --whole and --locations");
	if (ways > 1 || (o.locations && (o.cellpose || o.whole)))
		vq_misuse("--load-data, --image, --cellpose and --whole exclude each other, and the last two --locations");
	if (o.whole != (operands->n > 0))
		vq_misuse(o.whole ? "--whole wants image files" : "an operand (%s) goes with --whole only", o.whole ? "" : operands->v[0]);
	if (!o.locations != !o.box)
		vq_misuse("--locations and --box go together");
	if (o.image.n && !o.labels && !o.locations)
		vq_misuse("--image wants --labels");
	if (o.labels && (!o.image.n || o.locations))
		vq_misuse("--labels goes with --image%s", o.locations ? ", without --locations" : "");
	if ((o.suffix || o.masks) && !o.cellpose)
		vq_misuse("%s goes with --cellpose", o.suffix ? "--image-suffix" : "--masks");
	if ((o.mask_suffix || o.mask_last) && !o.whole)
		vq_misuse("%s goes with --whole", o.mask_suffix ? "--mask-suffix" : "--mask-channel");
	if (o.mask_suffix && (o.mask_last || !*o.mask_suffix))
		vq_misuse(o.mask_last ? "--mask-suffix and --mask-channel exclude each other" : "--mask-suffix is empty");
	if (o.id && (ways ? !o.load_data.n : !o.locations))
		vq_misuse("--id goes with --load-data");
	for (int i = 0; i < o.map.n; i++)
		if (!strchr(o.map.v[i], '=') || o.map.v[i][0] == '=')
			vq_misuse("--path-map %s: OLD=NEW is wanted", o.map.v[i]);
}

static void must(vq_status s)
{
	if (s < 0)
		vq_die(NULL);
}

static void read_rules(crop_rules *r)
{
	char **part = NULL, *end;
	int n = 0;
	r->whole = o.whole;
	r->mask_last = o.mask_last;
	r->pages_are_channels = o.image.n || o.cellpose || o.whole;
	if (o.z) {
		long z = strtol(o.z, &end, 10);
		if (strcmp(o.z, "max") && (!*o.z || *end || z < 1 || z > 1 << 24))
			vq_misuse("--z %s: max or a plane from 1 is wanted", o.z);
		r->z = strcmp(o.z, "max") ? (int)z : CROP_Z_MAX;
	}
	if (!o.channels)
		return;
	must(vq_split(o.channels, ',', &part, &n));
	crop_pick *pick = vq_calloc((size_t)n, sizeof *pick);
	if (!pick)
		vq_die(NULL);
	for (int i = 0; i < n; i++) {
		char *eq = strchr(part[i], '=');
		pick[i] = (crop_pick){ eq ? part[i] : NULL, eq ? eq + 1 : part[i] };
		if (eq)
			*eq = 0;
		if (!*part[i] || !*pick[i].in)
			vq_misuse("--channels %s: an empty name", o.channels);
	}
	free(part); /* the names stay */
	r->pick = pick;
	r->picks = n;
}

static void free_rules(crop_rules *r)
{
	for (int i = 0; i < r->picks; i++)
		free((void *)(r->pick[i].out ? r->pick[i].out : r->pick[i].in)); /* one string holds both */
	free((void *)r->pick);
}

static void list_image(vq_fields *l)
{
	char **file = NULL;
	int n = 0;
	for (int i = 0; i < o.image.n; i++) {
		char **part;
		int parts;
		char sep = access(o.image.v[i], F_OK) ? ',' : '\n'; /* a name may have a comma in it */
		must(vq_split(o.image.v[i], sep, &part, &parts));
		char **more = vq_realloc(file, (size_t)(n + parts) * sizeof *file);
		if (!more)
			vq_die(NULL);
		file = more;
		for (int k = 0; k < parts; k++)
			file[n++] = part[k];
		free(part);
	}
	for (int i = 0; i < n; i++)
		if (!*file[i])
			vq_misuse("--image: an empty name");
	must(vq_fields_image(l, (const char *const *)file, n, o.labels));
	for (int i = 0; i < n; i++)
		free(file[i]);
	free(file);
}

static void list_fields(vq_fields *l, const crop_rules *rules, const vq_strings *operands)
{
	const char **in = vq_calloc((size_t)rules->picks + 1, sizeof *in);
	if (!in)
		vq_die(NULL);
	for (int i = 0; i < rules->picks; i++)
		in[i] = rules->pick[i].in;
	vq_loaddata_rules table = { .root = o.root, .map = o.map.v, .maps = o.map.n, .objects = o.objects, .labels = !o.locations,
		.channel = rules->picks ? in : NULL, .channels = rules->picks, .id = o.id };
	for (int i = 0; i < o.load_data.n; i++)
		must(vq_loaddata_read(l, o.load_data.v[i], &table));
	if (o.image.n)
		list_image(l);
	if (o.cellpose)
		must(vq_fields_cellpose(l, o.cellpose, o.suffix, o.masks));
	if (o.whole)
		must(vq_fields_whole(l, operands->v, operands->n, o.mask_suffix));
	if (o.locations && !o.load_data.n && !o.image.n) {
		table.distinct = true;
		must(vq_loaddata_read(l, o.locations, &table));
	}
	must(vq_fields_unique(l));
	if (o.locations)
		must(vq_locations_read(l, o.locations, o.objects));
	free(in);
}

int main(int argc, char **argv)
{
	vq_strings operands;
	vq_fields list = { 0 };
	crop_rules rules = { 0 };
	crop_out out = { .tool = tool.name };
	crop_queue *queue;
	size_t failed = 0;
	char *first = NULL;
	vq_keep_memory();
	vq_cli_parse(&tool, argc, argv, &operands);
	check_options(&operands);
	read_rules(&rules);
	list_fields(&list, &rules, &operands);
	const crop_cuts cuts = { { o.border, o.min_area, o.max_size, o.tile, o.keep_edge }, o.box, o.whole };
	must(crop_queue_start(&queue, &list, &rules, vq_cli.threads > 1));
	for (size_t i = 0; i < list.n; i++) {
		crop_field data;
		vq_status s = crop_queue_next(queue, &data);
		if (s == VQ_OK) {
			s = crop_cells(&out, &cuts, &list.v[i], &data);
			crop_field_free(&data);
		}
		if (s < 0 && o.strict) {
			vq_error("%s", vq_message());
			vqt_abort(out.writer);
			out.writer = NULL;
			failed++;
			break;
		}
		if (s < 0) {
			vq_warn("%s", vq_message());
			if (!failed++)
				first = vq_strdup(vq_message());
		}
	}
	crop_queue_stop(queue);
	if (out.writer)
		must(vqt_finish(out.writer));
	else if (!failed && !out.dropped)
		vq_error("no cell in %zu field%s", list.n, list.n == 1 ? "" : "s");
	if (first && vq_cli.verbosity < 0) /* warnings were not wanted, but a failure is never silent */
		vq_error("%zu of %zu field%s failed, the first: %s", failed, list.n, list.n == 1 ? "" : "s", first);
	free(first);
	cJSON_Delete(out.channels);
	free_rules(&rules);
	vq_fields_free(&list);
	return vq_cli_end(failed || !out.cells);
}
