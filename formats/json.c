#include "formats/json.h"

#include <ctype.h>
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
	if (*p++ != '"')
		return NULL;
	while (*p != '"') {
		if (!*p || (*p == '\\' && (!*++p || !strchr("\"\\/bfnrt", *p))))
			return NULL;
		p++;
	}
	return p + 1;
}

static const char *past_digits(const char *p)
{
	if (!isdigit((unsigned char)*p))
		return NULL;
	while (isdigit((unsigned char)*p))
		p++;
	return p;
}

static const char *past_number(const char *p)
{
	p += *p == '-';
	if (*p == '0' && isdigit((unsigned char)p[1]))
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
	for (const char *p = keys; p; p = strchr(p, '|')) {
		p += *p == '|';
		if (!strncmp(p, key, n) && (!p[n] || p[n] == '|'))
			return true;
	}
	return false;
}

static cJSON *value_of(const char *from, const char *to, bool tree)
{
	if (tree)
		return cJSON_ParseWithLength(from, (size_t)(to - from));
	char *text = vq_strndup(from, (size_t)(to - from));
	cJSON *raw = text ? cJSON_CreateNull() : NULL;
	if (!raw) {
		free(text);
		return NULL;
	}
	raw->type = cJSON_Raw;
	raw->valuestring = text;
	return raw;
}

/* "key": value at p, into the object; past it. */
static const char *take_member(cJSON *object, const char *p, const char *keys)
{
	char name[64];
	const char *key = p + 1, *end = past_string(p), *from;
	size_t n = end ? (size_t)(end - 1 - key) : sizeof name;
	if (n >= sizeof name || memchr(key, '\\', n) || *(from = space(end)) != ':')
		return NULL;
	memcpy(name, key, n);
	name[n] = 0;
	from = space(from + 1);
	if (!(end = past_value(from, 0)))
		return NULL;
	cJSON *item = value_of(from, end, listed(keys, name, n));
	if (item && cJSON_AddItemToObject(object, name, item))
		return space(end);
	cJSON_Delete(item);
	return NULL;
}

cJSON *vq_json_parse_some(const char *text, size_t n, const char *keys)
{
	const char *p = space(text);
	cJSON *object = *p == '{' ? cJSON_CreateObject() : NULL;
	if (!object)
		return NULL;
	p = space(p + 1);
	while (p && *p && *p != '}') {
		p = take_member(object, p, keys);
		if (p && *p == ',') {
			p = space(p + 1);
			if (*p == '}')
				p = NULL;
		} else if (p && *p != '}') {
			p = NULL;
		}
	}
	if (p && *p == '}' && space(p + 1) == text + n)
		return object;
	cJSON_Delete(object);
	return NULL;
}
