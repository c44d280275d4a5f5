#include "lib/train/config.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static void *field(vq_config *c, const vq_config_key *k) { return (char *)c + k->offset; }
static const void *field_of(const vq_config *c, const vq_config_key *k) { return (const char *)c + k->offset; }

void vq_config_defaults(vq_config *c)
{
	memset(c, 0, sizeof *c);
	for (const vq_config_key *k = vq_config_keys; k->name; k++)
		if (k->type != VQ_KEY_GROUP)
			vq_config_put(c, k, k->preset); /* a unit test puts every preset */
}

/* text for a message: one line, not too long. */
static const char *shown(const char *text, char buf[84])
{
	snprintf(buf, 84, "%.80s%s", text, strlen(text) > 80 ? "..." : "");
	for (char *p = buf; *p; p++)
		if ((unsigned char)*p < ' ')
			*p = ' ';
	return buf;
}

const vq_config_key *vq_config_find(const char *name)
{
	char buf[84];
	const vq_config_key *nearest = NULL;
	int best = 0;
	for (const vq_config_key *k = vq_config_keys; k->name; k++) {
		if (k->type == VQ_KEY_GROUP)
			continue;
		if (!strcmp(k->name, name))
			return k;
		int d = vq_distance(k->name, name);
		if (!nearest || d < best) {
			nearest = k;
			best = d;
		}
	}
	vq_fail(VQ_EINVAL, "unknown key \"%s\"; the nearest known one is %s", shown(name, buf), nearest->name);
	return NULL;
}

/* Part i of "a|b|c"; NULL beyond the last. */
static const char *choice(const char *choices, int i, size_t *len)
{
	const char *p = choices;
	for (; i > 0 && p; i--)
		if ((p = strchr(p, '|')))
			p++;
	*len = p ? strcspn(p, "|") : 0;
	return p;
}

static int choice_index(const char *choices, const char *text)
{
	size_t len;
	const char *p;
	for (int i = 0; (p = choice(choices, i, &len)); i++)
		if (strlen(text) == len && !strncmp(p, text, len))
			return i;
	return -1;
}

const char *vq_config_name(const char *key, int value, char buf[32])
{
	size_t len = 0;
	const vq_config_key *k = vq_config_find(key);
	const char *p = k && k->choices && value >= 0 ? choice(k->choices, value, &len) : NULL;
	snprintf(buf, 32, "%.*s", p ? (int)len : 1, p ? p : "?");
	return buf;
}

/* The shortest text that strtod reads back as v. */
static void number(double v, char buf[32])
{
	for (int digits = 1; digits <= 17; digits++) {
		snprintf(buf, 32, "%.*g", digits, v);
		if (strtod(buf, NULL) == v)
			break;
	}
	if (fabs(v) < 1e15 && v == floor(v)) /* 32768, not 3.2768e+04 or 3e+01 */
		snprintf(buf, 32, "%.0f", v);
}

char *vq_config_range(const vq_config_key *k)
{
	char lo[32], hi[32];
	number(k->lo, lo);
	number(k->hi, hi);
	vq_buf b = { 0 };
	size_t len;
	const char *p;
	switch (k->type) {
	case VQ_KEY_BOOL: return vq_strdup("true or false");
	case VQ_KEY_REAL: return vq_format("%s to %s", lo, hi);
	case VQ_KEY_INTS: case VQ_KEY_REALS:
		if (k->min_n == k->max_n)
			return vq_format("%d numbers, each %s to %s", k->max_n, lo, hi);
		return vq_format("%d to %d %s, each %s to %s", k->min_n, k->max_n, k->type == VQ_KEY_INTS ? "integers" : "numbers", lo, hi);
	case VQ_KEY_TEXT: return vq_format("text of at most %d bytes", VQ_CONFIG_TEXT_MAX - 1);
	case VQ_KEY_INT: case VQ_KEY_INT64: case VQ_KEY_CHOICE:
		if (!k->choices)
			return vq_format("an integer, %s to %s", lo, hi);
		for (int i = 0; (p = choice(k->choices, i, &len)); i++)
			if (vq_buf_fmt(&b, "%s%.*s", !i ? "" : p[len] ? ", " : " or ", (int)len, p) < 0)
				break;
		return b.data;
	default: return vq_strdup("");
	}
}

static vq_status bad(const vq_config_key *k, const char *text)
{
	char buf[84], *range = vq_config_range(k);
	vq_fail(VQ_EINVAL, "%s: \"%s\" is not %s", k->name, shown(text, buf), range ? range : "in its range");
	free(range);
	return VQ_EINVAL;
}

/* A whole text as a number in the key's range; false when it is not. */
static bool parse_number(const vq_config_key *k, const char *text, bool integer, double *v)
{
	char *end;
	if (!*text || strspn(text, "0123456789+-.eE") != strlen(text))
		return false;
	*v = strtod(text, &end);
	return !*end && *v >= k->lo && *v <= k->hi && (!integer || *v == floor(*v));
}

static vq_status put_list(vq_config *c, const vq_config_key *k, const char *text)
{
	vq_reals list = { 0 };
	char item[64];
	const char *p = text, *end = text + strlen(text);
	if (*p == '[') {
		if (end[-1] != ']')
			return bad(k, text);
		p++;
		end--;
	}
	while (p < end && *p == ' ')
		p++;
	for (bool more = p < end; more; ) {
		size_t len = 0;
		const char *start = p;
		while (p < end && *p != ',')
			p++;
		more = p < end;
		for (; start < p && *start == ' '; start++)
			;
		for (len = (size_t)(p - start); len && start[len - 1] == ' '; len--)
			;
		p += more;
		if (len >= sizeof item || list.n == k->max_n)
			return bad(k, text);
		memcpy(item, start, len);
		item[len] = 0;
		if (!parse_number(k, item, k->type == VQ_KEY_INTS, &list.v[list.n++]))
			return bad(k, text);
	}
	if (list.n < k->min_n)
		return bad(k, text);
	if (k->type == VQ_KEY_REALS) {
		*(vq_reals *)field(c, k) = list;
	} else {
		vq_ints ints = { .n = list.n };
		for (int i = 0; i < list.n; i++)
			ints.v[i] = (int)list.v[i];
		*(vq_ints *)field(c, k) = ints;
	}
	return VQ_OK;
}

vq_status vq_config_put(vq_config *c, const vq_config_key *k, const char *text)
{
	double v;
	int i;
	switch (k->type) {
	case VQ_KEY_BOOL:
		if ((i = choice_index("false|true", text)) < 0)
			return bad(k, text);
		*(bool *)field(c, k) = i;
		return VQ_OK;
	case VQ_KEY_CHOICE:
		if ((i = choice_index(k->choices, text)) < 0)
			return bad(k, text);
		*(int *)field(c, k) = i;
		return VQ_OK;
	case VQ_KEY_INT: case VQ_KEY_INT64:
		if (!parse_number(k, text, true, &v) || (k->choices && choice_index(k->choices, text) < 0))
			return bad(k, text);
		if (k->type == VQ_KEY_INT)
			*(int *)field(c, k) = (int)v;
		else
			*(int64_t *)field(c, k) = (int64_t)v;
		return VQ_OK;
	case VQ_KEY_REAL:
		if (!parse_number(k, text, false, &v))
			return bad(k, text);
		*(double *)field(c, k) = v;
		return VQ_OK;
	case VQ_KEY_TEXT:
		if (strlen(text) >= VQ_CONFIG_TEXT_MAX)
			return bad(k, text);
		memset(field(c, k), 0, VQ_CONFIG_TEXT_MAX);
		strcpy(field(c, k), text);
		return VQ_OK;
	case VQ_KEY_INTS: case VQ_KEY_REALS:
		return put_list(c, k, text);
	default:
		return vq_fail(VQ_EINVAL, "%s: a heading, not a key", k->name);
	}
}

vq_status vq_config_set(vq_config *c, const char *assignment)
{
	char buf[84];
	const char *eq = strchr(assignment, '=');
	if (!eq)
		return vq_fail(VQ_EINVAL, "\"%s\" is not KEY=VALUE", shown(assignment, buf));
	char *name = vq_strndup(assignment, (size_t)(eq - assignment)), *value = vq_strdup(eq + 1);
	vq_status s = VQ_ENOMEM;
	if (name && value) {
		const vq_config_key *k = vq_config_find(name);
		size_t n = strlen(value);
		if (k && (k->type == VQ_KEY_TEXT || k->type == VQ_KEY_CHOICE) && n >= 2 && value[0] == '"' && value[n - 1] == '"') {
			memmove(value, value + 1, n - 2);
			value[n - 2] = 0;
		}
		s = k ? vq_config_put(c, k, value) : VQ_EINVAL;
	}
	free(name);
	free(value);
	return s;
}

char *vq_config_get(const vq_config *c, const vq_config_key *k)
{
	char buf[32];
	const void *f = field_of(c, k);
	switch (k->type) {
	case VQ_KEY_BOOL: return vq_strdup(*(const bool *)f ? "true" : "false");
	case VQ_KEY_CHOICE: return vq_strdup(vq_config_name(k->name, *(const int *)f, buf));
	case VQ_KEY_INT: return vq_format("%d", *(const int *)f);
	case VQ_KEY_INT64: return vq_format("%lld", (long long)*(const int64_t *)f);
	case VQ_KEY_REAL:
		number(*(const double *)f, buf);
		return vq_strdup(buf);
	case VQ_KEY_TEXT: return vq_strdup(f);
	default: break;
	}
	vq_buf b = { 0 };
	const vq_ints *ints = f;
	const vq_reals *reals = f;
	int n = k->type == VQ_KEY_INTS ? ints->n : reals->n;
	vq_status s = vq_buf_str(&b, "[");
	for (int i = 0; i < n && s == VQ_OK; i++) {
		number(k->type == VQ_KEY_INTS ? ints->v[i] : reals->v[i], buf);
		s = vq_buf_fmt(&b, "%s%s", i ? ", " : "", buf);
	}
	if (s < 0 || vq_buf_str(&b, "]") < 0)
		vq_buf_free(&b);
	return b.data;
}

vq_status vq_config_check(const vq_config *c)
{
	if (c->levels != c->channels_per_level.n)
		return vq_fail(VQ_EINVAL, "levels is %d, but channels_per_level has %d numbers", c->levels, c->channels_per_level.n);
	if (!c->batch_size && !c->pixels_per_step)
		return vq_fail(VQ_EINVAL, "batch_size and pixels_per_step are both 0: one of them must limit a batch");
	if (!c->epochs && !c->max_steps && c->max_seconds == 0)
		return vq_fail(VQ_EINVAL, "epochs, max_steps and max_seconds are all 0: one of them must end the training");
	if (c->normalize_percentiles.v[0] >= c->normalize_percentiles.v[1])
		return vq_fail(VQ_EINVAL, "normalize_percentiles: the first must be below the second");
	if (c->pack && (c->block_norm != VQ_BLOCK_NORM_NONE || c->attention || c->latent == VQ_LATENT_GLOBAL || c->model != VQ_MODEL_CODES))
		return vq_fail(VQ_EINVAL, "pack: only with model codes, a grid of codes, no block_norm and no attention");
	if (c->codebook_update == VQ_UPDATE_EMA && !c->straight_through)
		return vq_fail(VQ_EINVAL, "straight_through: false leaves the encoder untrained unless codebook_update is gradient");
	if (c->model == VQ_MODEL_ORIGINAL && c->codebook_depth > 1)
		return vq_fail(VQ_EINVAL, "codebook_depth: model original has one codebook");
	if (c->codebook_update == VQ_UPDATE_GRADIENT && c->codebook_depth > 1 && !c->straight_through)
		return vq_fail(VQ_EINVAL, "codebook_depth: more than 1 needs straight_through");
	if (c->model == VQ_MODEL_ORIGINAL && (c->skip != VQ_SKIP_NONE || c->attention || c->latent != VQ_LATENT_GLOBAL))
		return vq_fail(VQ_EINVAL, "model: original has a global code, no skips and no attention");
	return VQ_OK;
}
