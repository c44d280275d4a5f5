#include "formats/json.h"

#include <float.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* --- printing ----------------------------------------------------------------------------------------------------- */

/* Digits of v, the decimal point `point` digits from the right, zeros at the end of the fraction left out. */
static size_t decimal(char *to, bool minus, uint64_t v, int point)
{
	char digit[24];
	size_t n = 0, at = 0;
	for (; point && v % 10 == 0; point--)
		v /= 10;
	for (; v || n <= (size_t)point; v /= 10)
		digit[n++] = (char)('0' + v % 10);
	if (minus)
		to[at++] = '-';
	while (n) {
		if (n-- == (size_t)point && point)
			to[at++] = '.';
		to[at++] = digit[n];
	}
	return at;
}

static const double power[] = { 1, 1e1, 1e2, 1e3, 1e4, 1e5, 1e6, 1e7, 1e8, 1e9, 1e10, 1e11, 1e12, 1e13, 1e14, 1e15, 1e16, 1e17, 1e18, 1e19, 1e20, 1e21, 1e22 };

/* 15 digits where they are enough to cJSON's mind, else 17: what cJSON does. */
static size_t by_printf(char to[32], double d)
{
	int n = snprintf(to, 32, "%1.15g", d);
	double back = strtod(to, NULL), most = fabs(back) > fabs(d) ? fabs(back) : fabs(d);
	if (fabs(back - d) > most * DBL_EPSILON)
		n = snprintf(to, 32, "%1.17g", d);
	return (size_t)n;
}

/* a times 10^k to the nearest whole number; false when that cannot be told: so near to a half that the product's own rounding counts. */
static bool scaled(double a, int k, uint64_t *v)
{
	long double t = (long double)a * power[k], whole = floorl(t), rest = t - whole;
	*v = (uint64_t)whole + (rest > 0.5L);
	return rest < 0.48L || rest > 0.52L;
}

/* The same for 1e-4 <= |d| < 1e9, where %g writes no exponent. */
static size_t by_digits(char to[32], double d)
{
	double a = fabs(d);
	int before = 0; /* digits before the decimal point; for 0.0123 it is -1 */
	uint64_t v;
	if (a >= 1)
		while (a >= power[before])
			before++;
	else
		for (double t = a * 10; t < 1; t *= 10)
			before--;
	if (before > -3 && scaled(a, 15 - before, &v)) {
		double back = (double)v / power[15 - before], most = back > a ? back : a;
		if (fabs(back - a) <= most * DBL_EPSILON)
			return decimal(to, d < 0, v, 15 - before);
		if (scaled(a, 17 - before, &v) && v >= 10000000000000000u && v < 100000000000000000u)
			return decimal(to, d < 0, v, 17 - before);
	}
	return by_printf(to, d);
}

/* A number of up to 15 digits is the one that its nearest double prints as, so a few multiplications do for most. */
static size_t number(char to[32], double d)
{
	double a = fabs(d);
	if (!isfinite(d))
		return (size_t)snprintf(to, 32, "null");
	if (d == 0)
		return (size_t)(signbit(d) ? (memcpy(to, "-0", 2), 2) : (*to = '0', 1));
	if (a < 1e15 && a == floor(a))
		return decimal(to, d < 0, (uint64_t)a, 0);
	return a >= 1e-4 && a < 1e9 ? by_digits(to, d) : by_printf(to, d);
}

vq_status vq_json_print_string(vq_buf *out, const char *s)
{
	size_t n = s ? strlen(s) : 0;
	VQ_TRY(vq_buf_reserve(out, 6 * n + 2));
	char *to = out->data + out->len;
	*to++ = '"';
	for (const unsigned char *p = (const unsigned char *)s; n; p++, n--) {
		const char *at;
		if (*p >= ' ' && *p != '"' && *p != '\\') {
			*to++ = (char)*p;
		} else if ((at = strchr("\"\\\b\f\n\r\t", *p))) {
			*to++ = '\\';
			*to++ = "\"\\bfnrt"[at - "\"\\\b\f\n\r\t"];
		} else {
			to += sprintf(to, "\\u%04x", *p);
		}
	}
	*to++ = '"';
	*to = 0;
	out->len = (size_t)(to - out->data);
	return VQ_OK;
}

vq_status vq_json_print_number(vq_buf *out, double v)
{
	char text[32];
	return vq_buf_add(out, text, number(text, v));
}

vq_status vq_json_print_numbers(vq_buf *out, const double *v, int n)
{
	VQ_TRY(vq_buf_add(out, "[", 1));
	for (int i = 0; i < n; i++) {
		if (i)
			VQ_TRY(vq_buf_add(out, ",", 1));
		VQ_TRY(vq_json_print_number(out, v[i]));
	}
	return vq_buf_add(out, "]", 1);
}

static vq_status print_members(vq_buf *out, const cJSON *json)
{
	bool object = cJSON_IsObject(json);
	VQ_TRY(vq_buf_add(out, object ? "{" : "[", 1));
	for (const cJSON *item = json->child; item; item = item->next) {
		if (item != json->child)
			VQ_TRY(vq_buf_add(out, ",", 1));
		if (object) {
			VQ_TRY(vq_json_print_string(out, item->string));
			VQ_TRY(vq_buf_add(out, ":", 1));
		}
		VQ_TRY(vq_json_print(out, item));
	}
	return vq_buf_add(out, object ? "}" : "]", 1);
}

vq_status vq_json_print(vq_buf *out, const cJSON *json)
{
	switch (json->type & 0xff) {
	case cJSON_NULL: return vq_buf_add(out, "null", 4);
	case cJSON_False: return vq_buf_add(out, "false", 5);
	case cJSON_True: return vq_buf_add(out, "true", 4);
	case cJSON_Number: return vq_json_print_number(out, json->valuedouble);
	case cJSON_Raw: return vq_buf_str(out, json->valuestring);
	case cJSON_String: return vq_json_print_string(out, json->valuestring);
	default: return print_members(out, json);
	}
}

enum { KEY_MAX = 64 };

/* --- parsing ------------------------------------------------------------------------------------------------------ */

static const char *space(const char *p)
{
	while (*p == ' ' || *p == '\t' || *p == '\n' || *p == '\r')
		p++;
	return p;
}

/* Each of these goes past what it is named after, or gives NULL. The text ends in a 0, which is part of nothing. */
static const char *past_string(const char *p)
{
	static const bool special[256] = { [0] = true, ['"'] = true, ['\\'] = true };
	if (*p++ != '"')
		return NULL;
	for (;;) {
		while (!special[(unsigned char)*p])
			p++;
		if (*p != '\\')
			return *p ? p + 1 : NULL;
		if (!*++p || !strchr("\"\\/bfnrt", *p))
			return NULL;
		p++;
	}
}

static bool is_digit(char c) { return c >= '0' && c <= '9'; }

static const char *past_digits(const char *p)
{
	if (!is_digit(*p))
		return NULL;
	while (is_digit(*p))
		p++;
	return p;
}

static const char *past_number(const char *p)
{
	p += *p == '-';
	if (*p == '0' && is_digit(p[1]))
		return NULL;
	p = past_digits(p);
	if (p && *p == '.')
		p = past_digits(p + 1);
	if (p && (*p == 'e' || *p == 'E')) {
		p++;
		p = past_digits(p + (*p == '+' || *p == '-'));
	}
	return p;
}

static const char *past_value(const char *p, int depth);

static const char *past_members(const char *p, int depth)
{
	char close = *p == '{' ? '}' : ']';
	p = space(p + 1);
	if (*p == close)
		return p + 1;
	for (;;) {
		if (close == '}') {
			if (!(p = past_string(p)) || *(p = space(p)) != ':')
				return NULL;
			p = space(p + 1);
		}
		if (!(p = past_value(p, depth)))
			return NULL;
		p = space(p);
		if (*p == close)
			return p + 1;
		if (*p != ',')
			return NULL;
		p = space(p + 1);
	}
}

static const char *past_value(const char *p, int depth)
{
	switch (*p) {
	case '"': return past_string(p);
	case '{': case '[': return depth < 32 ? past_members(p, depth + 1) : NULL;
	case 't': return strncmp(p, "true", 4) ? NULL : p + 4;
	case 'f': return strncmp(p, "false", 5) ? NULL : p + 5;
	case 'n': return strncmp(p, "null", 4) ? NULL : p + 4;
	default: return past_number(p);
	}
}

static bool listed(const char *keys, const char *key, size_t n)
{
	for (const char *p = keys, *end;; p = end + 1) {
		for (end = p; *end && *end != '|'; end++)
			;
		if ((size_t)(end - p) == n && !memcmp(p, key, n))
			return true;
		if (!*end)
			return false;
	}
}

/* Consumes item. */
static bool put(cJSON *object, const char *key, size_t n, cJSON *item)
{
	char name[KEY_MAX];
	memcpy(name, key, n);
	name[n] = 0;
	if (item && cJSON_AddItemToObject(object, name, item))
		return true;
	cJSON_Delete(item);
	return false;
}

/* Members that nobody will look at and that follow one another as they would be printed are one item: named as the first, its text
 * their values with the names between. */
typedef struct { const char *key, *from, *to; size_t n; } run;

static bool end_run(cJSON *object, run *r)
{
	if (!r->from)
		return true;
	cJSON *raw = cJSON_CreateNull();
	char *text = raw ? vq_strndup(r->from, (size_t)(r->to - r->from)) : NULL;
	if (text) {
		raw->type = cJSON_Raw;
		raw->valuestring = text;
	} else {
		cJSON_Delete(raw);
		raw = NULL;
	}
	bool good = put(object, r->key, r->n, raw);
	*r = (run){0};
	return good;
}

static bool printed_alike(const char *key, size_t n)
{
	for (size_t i = 0; i < n; i++)
		if ((unsigned char)key[i] < ' ')
			return false;
	return true;
}

/* "key": value at p, into the object or the run; past it. */
static const char *take_member(cJSON *object, const char *p, const char *keys, run *r)
{
	const char *key = p + 1, *end = past_string(p), *from;
	size_t n = end ? (size_t)(end - 1 - key) : KEY_MAX;
	if (n >= KEY_MAX || memchr(key, '\\', n) || *(from = space(end)) != ':')
		return NULL;
	bool close = from == end && from + 1 == space(from + 1), tree = listed(keys, key, n);
	from = space(from + 1);
	if (!(end = past_value(from, 0)))
		return NULL;
	if (r->from && !tree && close && r->to + 1 == p && printed_alike(key, n)) {
		r->to = end;
		return space(end);
	}
	if (!end_run(object, r))
		return NULL;
	if (tree)
		return put(object, key, n, cJSON_ParseWithLength(from, (size_t)(end - from))) ? space(end) : NULL;
	*r = (run){ key, from, end, n };
	return space(end);
}

cJSON *vq_json_parse_some(const char *text, size_t n, const char *keys)
{
	const char *p = space(text);
	cJSON *object = *p == '{' ? cJSON_CreateObject() : NULL;
	run r = {0};
	if (!object)
		return NULL;
	p = space(p + 1);
	while (p && *p && *p != '}') {
		p = take_member(object, p, keys, &r);
		if (p && *p == ',') {
			p = space(p + 1);
			if (*p == '}')
				p = NULL;
		} else if (p && *p != '}') {
			p = NULL;
		}
	}
	if (p && *p == '}' && space(p + 1) == text + n && end_run(object, &r))
		return object;
	cJSON_Delete(object);
	return NULL;
}
