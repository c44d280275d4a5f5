/* vq-pad: pads each cell to sides that a network can halve, or takes the padding away. */
#include "tools/cli.h"
#include "tools/filter.h"
#include "tools/padrec.h"

static struct {
	bool reflect, zero, edge, remove, pow2, multiple_given, min_given;
	int64_t multiple, min;
} opt = { .multiple = 16, .min = 32 };

static const vq_option options[] = {
	{ "reflect", 0, VQ_OPT_FLAG, &opt.reflect, NULL, "Mirror the image at its border, again and again where the padding is wider than it (the default)." },
	{ "zero", 0, VQ_OPT_FLAG, &opt.zero, NULL, "Pad with zeros." },
	{ "edge", 0, VQ_OPT_FLAG, &opt.edge, NULL, "Repeat the border pixels." },
	{ "multiple", 0, VQ_OPT_INT, &opt.multiple, "N", "Make each side a multiple of N (default 16).", NULL, 1, 65536, &opt.multiple_given },
	{ "pow2", 0, VQ_OPT_FLAG, &opt.pow2, NULL, "Make each side a power of two instead." },
	{ "min", 0, VQ_OPT_INT, &opt.min, "N", "Make each side at least N (default 32), and still a multiple.", NULL, 0, 65536, &opt.min_given },
	{ "remove", 0, VQ_OPT_FLAG, &opt.remove, NULL, "Take all padding away: the exact inverse." },
	{ 0 },
};

static const vq_tool tool = { "vq-pad", "pad cells to sides that a network can halve",
	                          "[--reflect | --zero | --edge] [--multiple N | --pow2] [--min N] [STREAM]\n--remove [STREAM]", options,
	                          VQ_CLI_THREADS | VQ_CLI_OUTPUT, 0, 1 };

static vq_status pad(vqt_record *rec, void *mode)
{
	return opt.remove ? vq_unpad_record(rec) : vq_pad_record(rec, *(vq_pad_mode *)mode, opt.pow2 ? 0 : opt.multiple, opt.min);
}

int main(int argc, char **argv)
{
	vq_strings operands;
	vq_cli_parse(&tool, argc, argv, &operands);
	if (opt.reflect + opt.zero + opt.edge > 1)
		vq_misuse("only one of --reflect, --zero and --edge can be had");
	if (opt.remove && (opt.reflect + opt.zero + opt.edge + opt.pow2 || opt.multiple_given || opt.min_given))
		vq_misuse("--remove takes padding away and goes with no other option");
	if (opt.pow2 && opt.multiple_given)
		vq_misuse("--multiple and --pow2 exclude each other");
	vq_pad_mode mode = opt.zero ? VQ_PAD_ZERO : opt.edge ? VQ_PAD_EDGE : VQ_PAD_REFLECT;
	return vq_cli_end(vq_filter_samples(operands.n ? operands.v[0] : NULL, tool.name, "extent|pad|pad_mode|size", pad, &mode));
}
