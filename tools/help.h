/* help: the texts that are made from a tool's option table. cli.c is the only caller.
 *
 * `all` is the merged table (the tool's own options, then the common ones), ended by an entry that vq_option_end() accepts. */
#ifndef VQ_HELP_H
#define VQ_HELP_H

#include <stdio.h>

#include "tools/cli.h"

static inline bool vq_option_end(const vq_option *o) { return !o->name && o->type != VQ_OPT_GROUP; }
/* Whether the option is followed by a value. */
static inline bool vq_option_valued(const vq_option *o) { return o->type != VQ_OPT_FLAG && o->type != VQ_OPT_GROUP; }

void vq_help_text(FILE *f, const vq_tool *tool, const vq_option *all);     /* --help */
void vq_help_man(FILE *f, const vq_option *all);                           /* --help=man */
void vq_help_complete(FILE *f, const vq_tool *tool, const vq_option *all); /* --help=complete */

#endif
