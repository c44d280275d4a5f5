#include "formats/config.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cjson/cJSON.h>

#include "formats/outfile.h"

enum { CONFIG_BYTES_MAX = 1 << 20 };

static int line_of(const char *text, const char *at)
{
	int line = 1;
	for (const char *p = text; p < at; p++)
		line += *p == '\n';
	return line;
}

/* Comments become blanks, so that lines keep their numbers. */
static vq_status blank_comments(char *text, const char *name)
{
	for (char *p = text; *p; ) {
		if (*p == '"') {
			for (p++; *p && *p != '"'; p++)
				if (*p == '\\' && p[1])
					p++;
			p += *p == '"';
		} else if (p[0] == '/' && p[1] == '/') {
			for (; *p && *p != '\n'; p++)
				*p = ' ';
		} else if (p[0] == '/' && p[1] == '*') {
			char *end = strstr(p + 2, "*/");
			if (!end)
				return vq_fail(VQ_EFORMAT, "%s: line %d: a comment without its end", name, line_of(text, p));
			for (end += 2; p < end; p++)
				if (*p != '\n')
					*p = ' ';
		} else {
			p++;
		}
	}
	return VQ_OK;
}

/* A JSON number or string as text; NULL for anything else. */
static char *scalar(const cJSON *item)
{
	if (cJSON_IsNumber(item))
		return vq_format("%.17g", item->valuedouble);
	return cJSON_IsString(item) ? vq_strdup(item->valuestring) : NULL;
}

static char *list_text(const cJSON *item)
{
	vq_buf b = { 0 };
	vq_status s = vq_buf_str(&b, "[");
	for (const cJSON *e = item->child; e && s == VQ_OK; e = e->next) {
		char *v = cJSON_IsNumber(e) ? scalar(e) : vq_strdup("?");
		s = v ? vq_buf_fmt(&b, "%s%s", e == item->child ? "" : ",", v) : VQ_ENOMEM;
		free(v);
	}
	if (s < 0 || vq_buf_str(&b, "]") < 0)
		vq_buf_free(&b);
	return b.data;
}

static vq_status put_json(vq_config *c, const vq_config_key *k, const cJSON *item)
{
	bool right = false;
	switch (k->type) {
	case VQ_KEY_BOOL: right = cJSON_IsBool(item); break;
	case VQ_KEY_INT: case VQ_KEY_INT64: case VQ_KEY_REAL: right = cJSON_IsNumber(item); break;
	case VQ_KEY_CHOICE: case VQ_KEY_TEXT: right = cJSON_IsString(item); break;
	case VQ_KEY_INTS: case VQ_KEY_REALS: right = cJSON_IsArray(item); break;
	default: break;
	}
	if (!right) {
		char *range = vq_config_range(k), *got = cJSON_PrintUnformatted(item);
		vq_fail(VQ_EINVAL, "%s: %.80s is not %s", k->name, got ? got : "this", range ? range : "of its type");
		free(range);
		cJSON_free(got);
		return VQ_EINVAL;
	}
	char *text = cJSON_IsBool(item) ? vq_strdup(cJSON_IsTrue(item) ? "true" : "false") : cJSON_IsArray(item) ? list_text(item) : scalar(item);
	vq_status s = text ? vq_config_put(c, k, text) : VQ_ENOMEM;
	free(text);
	return s;
}

static vq_status put_object(vq_config *c, const cJSON *object)
{
	for (const cJSON *item = object->child; item; item = item->next) {
		if (!strcmp(item->string, "$schema"))
			continue;
		const vq_config_key *k = vq_config_find(item->string);
		if (!k)
			return VQ_EINVAL;
		for (const cJSON *before = object->child; before != item; before = before->next)
			if (!strcmp(before->string, item->string))
				return vq_fail(VQ_EINVAL, "%s: given twice", k->name);
		VQ_TRY(put_json(c, k, item));
	}
	return VQ_OK;
}

vq_status vq_config_parse(vq_config *c, const char *text, const char *name)
{
	vq_status s;
	cJSON *object = NULL;
	const char *end = NULL;
	vq_config out = *c; /* so that a failure leaves *c alone */
	char *copy = vq_strdup(text);
	if (!copy)
		return VQ_ENOMEM;
	VQ_TRY_GOTO(s, blank_comments(copy, name), done);
	if (!(object = cJSON_ParseWithOpts(copy, &end, true))) {
		s = vq_fail(VQ_EFORMAT, "%s: line %d: not JSON", name, end ? line_of(copy, end) : 1);
		goto done;
	}
	if (!cJSON_IsObject(object)) {
		s = vq_fail(VQ_EFORMAT, "%s: not a JSON object ({...})", name);
		goto done;
	}
	if ((s = put_object(&out, object)) < 0)
		vq_context(s, "%s", name);
	else
		*c = out;
done:
	cJSON_Delete(object);
	free(copy);
	return s;
}

vq_status vq_config_read(vq_config *c, const char *path)
{
	vq_buf b = { 0 };
	const char *name = !strcmp(path, "-") ? "standard input" : path;
	vq_status s = vq_file_read(path, CONFIG_BYTES_MAX, &b);
	if (s == VQ_OK && b.data && strlen(b.data) != b.len)
		s = vq_fail(VQ_EFORMAT, "%s: not text (a zero byte at %zu)", name, strlen(b.data));
	if (s == VQ_OK)
		s = vq_config_parse(c, b.data ? b.data : "", name);
	vq_buf_free(&b);
	return s;
}

static vq_status quoted(vq_buf *out, const char *text)
{
	vq_status s = vq_buf_str(out, "\"");
	for (const char *p = text; *p && s == VQ_OK; p++) {
		if (*p == '"' || *p == '\\')
			s = vq_buf_fmt(out, "\\%c", *p);
		else if ((unsigned char)*p < ' ')
			s = vq_buf_fmt(out, "\\u%04x", (unsigned)*p);
		else
			s = vq_buf_add(out, p, 1);
	}
	return s < 0 ? s : vq_buf_str(out, "\"");
}

/* A value's text as JSON. */
static vq_status value(vq_buf *out, const vq_config_key *k, const char *text)
{
	return k->type == VQ_KEY_TEXT || k->type == VQ_KEY_CHOICE ? quoted(out, text) : vq_buf_str(out, text);
}

vq_status vq_config_json(const vq_config *c, vq_buf *out)
{
	const char *before = "{\n";
	for (const vq_config_key *k = vq_config_keys; k->name; k++) {
		if (k->type == VQ_KEY_GROUP)
			continue;
		char *text = vq_config_get(c, k);
		vq_status s = text ? vq_buf_fmt(out, "%s  \"%s\": ", before, k->name) : VQ_ENOMEM;
		if (s == VQ_OK)
			s = value(out, k, text);
		free(text);
		VQ_TRY(s);
		before = ",\n";
	}
	return vq_buf_str(out, "\n}\n");
}

static vq_status schema_limits(vq_buf *out, const vq_config_key *k, const char *type)
{
	return vq_buf_fmt(out, "\"type\": \"%s\", \"minimum\": %.17g, \"maximum\": %.17g", type, k->lo, k->hi);
}

static vq_status schema_type(vq_buf *out, const vq_config_key *k)
{
	bool quote = k->type == VQ_KEY_CHOICE;
	switch (k->type) {
	case VQ_KEY_BOOL: return vq_buf_str(out, "\"type\": \"boolean\"");
	case VQ_KEY_TEXT: return vq_buf_fmt(out, "\"type\": \"string\", \"maxLength\": %d", VQ_CONFIG_TEXT_MAX - 1);
	case VQ_KEY_REAL: return schema_limits(out, k, "number");
	case VQ_KEY_INTS: case VQ_KEY_REALS:
		VQ_TRY(vq_buf_fmt(out, "\"type\": \"array\", \"minItems\": %d, \"maxItems\": %d, \"items\": { ", k->min_n, k->max_n));
		VQ_TRY(schema_limits(out, k, k->type == VQ_KEY_INTS ? "integer" : "number"));
		return vq_buf_str(out, " }");
	default: break;
	}
	if (!k->choices)
		return schema_limits(out, k, "integer");
	VQ_TRY(vq_buf_str(out, "\"enum\": ["));
	for (const char *p = k->choices; *p; ) {
		int len = (int)strcspn(p, "|");
		VQ_TRY(vq_buf_fmt(out, quote ? "\"%.*s\"" : "%.*s", len, p));
		p += len;
		if (*p++ != '|')
			break;
		VQ_TRY(vq_buf_str(out, ", "));
	}
	return vq_buf_str(out, "]");
}

vq_status vq_config_schema(vq_buf *out)
{
	vq_config d;
	vq_config_defaults(&d);
	VQ_TRY(vq_buf_str(out, "{\n  \"$schema\": \"https://json-schema.org/draft/2020-12/schema\",\n"
	                       "  \"title\": \"vq-config: a model and its training\",\n  \"type\": \"object\",\n"
	                       "  \"additionalProperties\": false,\n  \"properties\": {\n    \"$schema\": { \"type\": \"string\" }"));
	for (const vq_config_key *k = vq_config_keys; k->name; k++) {
		if (k->type == VQ_KEY_GROUP)
			continue;
		VQ_TRY(vq_buf_fmt(out, ",\n    \"%s\": {\n      \"description\": ", k->name));
		VQ_TRY(quoted(out, k->help));
		VQ_TRY(vq_buf_str(out, ",\n      "));
		VQ_TRY(schema_type(out, k));
		char *text = vq_config_get(&d, k);
		vq_status s = text ? vq_buf_str(out, ",\n      \"default\": ") : VQ_ENOMEM;
		if (s == VQ_OK)
			s = value(out, k, text);
		free(text);
		VQ_TRY(s);
		VQ_TRY(vq_buf_str(out, "\n    }"));
	}
	return vq_buf_str(out, "\n  }\n}\n");
}

static vq_status roff(vq_buf *out, const char *text)
{
	for (const char *p = text; *p; p++) {
		if (*p == '\\' || *p == '-')
			VQ_TRY(vq_buf_str(out, *p == '-' ? "\\-" : "\\e"));
		else if (p == text && (*p == '.' || *p == '\''))
			VQ_TRY(vq_buf_fmt(out, "\\&%c", *p));
		else
			VQ_TRY(vq_buf_add(out, p, 1));
	}
	return VQ_OK;
}

/* "Range: 1 to 5. Default: 2." */
static vq_status roff_value(vq_buf *out, const vq_config_key *k, const char *range, const char *preset)
{
	if (k->type != VQ_KEY_BOOL && k->type != VQ_KEY_TEXT) {
		VQ_TRY(vq_buf_str(out, k->choices ? "One of: " : "Range: "));
		VQ_TRY(roff(out, range));
		VQ_TRY(vq_buf_str(out, ". "));
	}
	VQ_TRY(vq_buf_str(out, "Default: "));
	VQ_TRY(roff(out, *preset ? preset : "empty"));
	return vq_buf_str(out, ".\n");
}

vq_status vq_config_roff(vq_buf *out)
{
	vq_config d;
	vq_config_defaults(&d);
	for (const vq_config_key *k = vq_config_keys; k->name; k++) {
		if (k->type == VQ_KEY_GROUP) {
			VQ_TRY(vq_buf_fmt(out, ".SS %s\n", k->name));
			continue;
		}
		char *range = vq_config_range(k), *preset = vq_config_get(&d, k);
		vq_status s = range && preset ? vq_buf_fmt(out, ".TP\n.B %s\n", k->name) : VQ_ENOMEM;
		if (s == VQ_OK)
			s = roff(out, k->help);
		if (s == VQ_OK)
			s = vq_buf_str(out, "\n");
		if (s == VQ_OK)
			s = roff_value(out, k, range, preset);
		free(range);
		free(preset);
		VQ_TRY(s);
	}
	return VQ_OK;
}
