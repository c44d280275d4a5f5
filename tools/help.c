#include "tools/help.h"

#include <ctype.h>
#include <stdlib.h>
#include <string.h>

enum { WIDTH = 80, COLUMN_MAX = 26 };

/* Prints text from column `at` on, broken at spaces before WIDTH; further lines begin at column `indent`. */
static void wrap(FILE *f, const char *text, int at, int indent)
{
	bool first = true;
	while (*text) {
		int n = (int)strcspn(text, " ");
		if (!first && at + 1 + n > WIDTH - 1) {
			fprintf(f, "\n%*s", indent, "");
			at = indent;
		} else if (!first) {
			fputc(' ', f);
			at++;
		}
		fprintf(f, "%.*s", n, text);
		at += n;
		first = false;
		text += n + (text[n] == ' ');
	}
	fputc('\n', f);
}

static const char *value_name(const vq_option *o)
{
	return o->arg ? o->arg : o->choices ? o->choices : "VALUE";
}

/* "-o, --output FILE" */
static int left_side(char *text, size_t size, const vq_option *o)
{
	char letter[8] = "    ";
	if (o->letter)
		snprintf(letter, sizeof letter, "-%c, ", o->letter);
	return snprintf(text, size, "  %s--%s%s%s", letter, o->name, vq_option_valued(o) ? " " : "", vq_option_valued(o) ? value_name(o) : "");
}

/* Where the explanations begin: past most left sides, but not so far that no room is left. */
static int help_column(const vq_option *all)
{
	char left[256];
	int column = 0;
	for (const vq_option *o = all; !vq_option_end(o); o++)
		if (o->type != VQ_OPT_GROUP)
			column = VQ_MAX(column, left_side(left, sizeof left, o) + 2);
	return VQ_MIN(column, COLUMN_MAX);
}

static void print_option(FILE *f, const vq_option *o, int column)
{
	char left[256];
	int n = left_side(left, sizeof left, o);
	fputs(left, f);
	if (n + 2 > column)
		fprintf(f, "\n%*s", column, "");
	else
		fprintf(f, "%*s", column - n, "");
	wrap(f, o->help ? o->help : "", column, column);
}

void vq_help_text(FILE *f, const vq_tool *tool, const vq_option *all)
{
	int column = help_column(all), name = (int)strlen(tool->name);
	fprintf(f, "%s - ", tool->name);
	wrap(f, tool->brief, name + 3, name + 3);
	fputc('\n', f);
	const char *line = tool->usage ? tool->usage : "[options]";
	for (bool first = true; line; first = false) {
		size_t n = strcspn(line, "\n");
		char *copy = vq_strndup(line, n);
		fprintf(f, "%s %s ", first ? "usage:" : "      ", tool->name);
		if (copy)
			wrap(f, copy, name + 8, name + 8);
		free(copy);
		line = line[n] ? line + n + 1 : NULL;
	}
	if (all->type != VQ_OPT_GROUP)
		fputs("\nOptions:\n", f);
	for (const vq_option *o = all; !vq_option_end(o); o++)
		if (o->type == VQ_OPT_GROUP)
			fprintf(f, "\n%s:\n", o->help);
		else
			print_option(f, o, column);
}

/* --- man page ----------------------------------------------------------------------------------------------------- */

/* Roff text: backslashes and the dashes of options are escaped, and no line begins with a control character. */
static void roff(FILE *f, const char *text)
{
	if (*text == '.' || *text == '\'')
		fputs("\\&", f);
	for (const char *c = text; *c; c++) {
		bool dash = *c == '-' && (c == text || !isalnum((unsigned char)c[-1]));
		if (*c == '\\')
			fputs("\\e", f);
		else if (dash)
			fputs("\\-", f);
		else
			fputc(*c, f);
	}
}

/* An option's name: every dash is one that is typed. */
static void roff_name(FILE *f, const char *name)
{
	for (const char *c = name; *c; c++)
		fputs(*c == '-' ? "\\-" : (char[]){ *c, 0 }, f);
}

void vq_help_man(FILE *f, const vq_option *all)
{
	for (const vq_option *o = all; !vq_option_end(o); o++) {
		if (o->type == VQ_OPT_GROUP) {
			fprintf(f, ".SS %s\n", o->help);
			continue;
		}
		fputs(".TP\n", f);
		if (o->letter)
			fprintf(f, "\\fB\\-%c\\fR, ", o->letter);
		fputs("\\fB\\-\\-", f);
		roff_name(f, o->name);
		fputs("\\fR", f);
		if (vq_option_valued(o)) {
			fputs(o->arg ? " \\fI" : " \\fB", f);
			roff(f, value_name(o));
			fputs("\\fR", f);
		}
		fputc('\n', f);
		roff(f, o->help ? o->help : "");
		fputc('\n', f);
	}
}

/* --- completion --------------------------------------------------------------------------------------------------- */

/* "-o|--output", as a pattern of case. */
static void pattern(FILE *f, const vq_option *o)
{
	if (o->letter)
		fprintf(f, "-%c|", o->letter);
	fprintf(f, "--%s", o->name);
}

static void complete_values(FILE *f, const vq_option *all)
{
	bool files = false, other = false;
	fputs("\tcase $prev in\n", f);
	for (const vq_option *o = all; !vq_option_end(o); o++) {
		if (o->type != VQ_OPT_CHOICE)
			continue;
		fputc('\t', f);
		pattern(f, o);
		fputs(") COMPREPLY=($(compgen -W \"", f);
		for (const char *c = o->choices; *c; c++)
			fputc(*c == '|' ? ' ' : *c, f);
		fputs("\" -- \"$cur\")); return ;;\n", f);
	}
	for (const vq_option *o = all; !vq_option_end(o); o++)
		if (o->type == VQ_OPT_FILE || o->type == VQ_OPT_LIST) {
			fputs(files ? "|" : "\t", f);
			pattern(f, o);
			files = true;
		}
	fputs(files ? ") ;;\n" : "", f);
	for (const vq_option *o = all; !vq_option_end(o); o++)
		if (vq_option_valued(o) && o->type != VQ_OPT_FILE && o->type != VQ_OPT_LIST && o->type != VQ_OPT_CHOICE) {
			fputs(other ? "|" : "\t", f);
			pattern(f, o);
			other = true;
		}
	fputs(other ? ") return ;;\n" : "", f);
	fputs("\t*) if [[ $cur == -* ]]; then COMPREPLY=($(compgen -W \"$options\" -- \"$cur\")); return; fi ;;\n\tesac\n", f);
}

void vq_help_complete(FILE *f, const vq_tool *tool, const vq_option *all)
{
	char function[64];
	snprintf(function, sizeof function, "_%s", tool->name);
	for (char *c = function; *c; c++)
		*c = *c == '-' ? '_' : *c;
	fprintf(f, "# bash completion for %s; made by %s --help=complete\n%s()\n{\n", tool->name, tool->name, function);
	fputs("\tlocal cur=${COMP_WORDS[COMP_CWORD]} prev=${COMP_WORDS[COMP_CWORD-1]} options=\"", f);
	bool first = true;
	for (const vq_option *o = all; !vq_option_end(o); o++)
		if (o->name) {
			fprintf(f, "%s--%s", first ? "" : " ", o->name);
			first = false;
		}
	fputs("\"\n\tCOMPREPLY=()\n", f);
	fputs("\t# bash splits --name=VALUE into three words\n"
	      "\tif [[ $cur == = ]]; then cur=; elif [[ $prev == = ]]; then prev=${COMP_WORDS[COMP_CWORD-2]}; fi\n", f);
	complete_values(f, all);
	fputs("\tcompopt -o filenames 2>/dev/null\n\tmapfile -t COMPREPLY < <(compgen -f -- \"$cur\")\n}\n", f);
	fprintf(f, "complete -F %s %s\n", function, tool->name);
}
