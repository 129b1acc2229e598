/* The streaming writer and the canonical form, for json.h. */
#include "base/json.h"

#include "base/fault.h"

#include <assert.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

void json_w_init(struct json_w *w, struct buf *out)
{
	*w = (struct json_w){ .out = out };
}

/* The comma before a value or key, where one is due. */
static void separate(struct json_w *w)
{
	if (w->after_key) {
		w->after_key = false;
		return;
	}
	if (w->depth == 0)
		return;
	if (!w->first[w->depth - 1])
		buf_u8(w->out, ',');
	w->first[w->depth - 1] = 0;
}

void json_w_open(struct json_w *w, char bracket)
{
	assert(bracket == '{' || bracket == '[');
	assert(w->depth < JSON_DEPTH_MAX);
	separate(w);
	buf_u8(w->out, (uint8_t)bracket);
	w->first[w->depth] = 1;
	w->close[w->depth] = bracket == '{' ? '}' : ']';
	w->depth++;
}

void json_w_close(struct json_w *w)
{
	assert(w->depth > 0 && !w->after_key);
	w->depth--;
	buf_u8(w->out, (uint8_t)w->close[w->depth]);
}

/* RFC 8785, 3.2.2.2: the short escapes, \\u00xx for the other controls, all else as it is. */
static void put_string(struct buf *out, const char *text, size_t len)
{
	buf_u8(out, '"');
	size_t start = 0;
	for (size_t i = 0; i < len; i++) {
		unsigned char c = (unsigned char)text[i];
		if (c >= 0x20 && c != '"' && c != '\\')
			continue;
		buf_append(out, text + start, i - start);
		start = i + 1;
		static const char named[] = "\bb\tt\nn\ff\rr\"\"\\\\";
		const char *found = c != 0 ? strchr(named, c) : NULL;
		if (found != NULL && (found - named) % 2 == 0)
			buf_printf(out, "\\%c", found[1]);
		else
			buf_printf(out, "\\u%04x", c);
	}
	buf_append(out, text + start, len - start);
	buf_u8(out, '"');
}

void json_w_member_str(struct json_w *w, const char *key, const char *text)
{
	json_w_key(w, key);
	json_w_str(w, text);
}

void json_w_member_strn(struct json_w *w, const char *key, const char *text, size_t len)
{
	json_w_key(w, key);
	json_w_strn(w, len > 0 ? text : "", len);
}

void json_w_member_uint(struct json_w *w, const char *key, uint64_t v)
{
	json_w_key(w, key);
	json_w_uint(w, v);
}

void json_w_member_int(struct json_w *w, const char *key, int64_t v)
{
	json_w_key(w, key);
	json_w_int(w, v);
}

void json_w_member_real(struct json_w *w, const char *key, double v)
{
	json_w_key(w, key);
	json_w_real(w, v);
}

void json_w_member_float(struct json_w *w, const char *key, float v)
{
	json_w_key(w, key);
	json_w_float(w, v);
}

void json_w_member_bool(struct json_w *w, const char *key, bool v)
{
	json_w_key(w, key);
	json_w_bool(w, v);
}

void json_w_member_hash(struct json_w *w, const char *key, const struct hash *hash)
{
	char hex[HASH_HEX_BYTES];
	hash_hex(hash, hex);
	json_w_member_str(w, key, hex);
}

void json_w_value(struct json_w *w, const struct json *v)
{
	separate(w);
	json_canonical(v, w->out);
}

void json_w_key(struct json_w *w, const char *key)
{
	assert(w->depth > 0 && w->close[w->depth - 1] == '}' && !w->after_key);
	separate(w);
	put_string(w->out, key, strlen(key));
	buf_u8(w->out, ':');
	w->after_key = true;
}

void json_w_str(struct json_w *w, const char *text)
{
	json_w_strn(w, text, strlen(text));
}

void json_w_strn(struct json_w *w, const char *text, size_t len)
{
	separate(w);
	put_string(w->out, text, len);
}

void json_w_int(struct json_w *w, int64_t v)
{
	separate(w);
	buf_printf(w->out, "%lld", (long long)v);
}

void json_w_uint(struct json_w *w, uint64_t v)
{
	separate(w);
	buf_printf(w->out, "%llu", (unsigned long long)v);
}

static bool reads_back(const char *text, double v, bool single)
{
	return single ? strtof(text, NULL) == (float)v : strtod(text, NULL) == v;
}

static void put_real(struct buf *out, double v, bool single)
{
	if (!isfinite(v)) {
		buf_puts(out, "null");
		return;
	}
	char text[40];
	for (int digits = 1; digits <= 17; digits++) {
		snprintf(text, sizeof(text), "%.*g", digits, v);
		if (reads_back(text, v, single))
			break;
	}
	/* A locale may write a decimal comma, which is no JSON. */
	char *comma = strchr(text, ',');
	if (comma != NULL)
		*comma = '.';
	buf_puts(out, strcmp(text, "-0") == 0 ? "0" : text);
}

void json_w_real(struct json_w *w, double v)
{
	separate(w);
	put_real(w->out, v, false);
}

void json_w_float(struct json_w *w, float v)
{
	separate(w);
	put_real(w->out, (double)v, true);
}

void json_w_bool(struct json_w *w, bool v)
{
	separate(w);
	buf_puts(w->out, v ? "true" : "false");
}

void json_w_null(struct json_w *w)
{
	separate(w);
	buf_puts(w->out, "null");
}

struct member {
	const char *key;
	const struct json *value;
};

static int compare_members(const void *a, const void *b)
{
	const struct member *x = a, *y = b;
	return strcmp(x->key, y->key);
}

static void put_canonical(const struct json *v, const char *without, struct buf *out);

static void put_object(const struct json *v, const char *without, struct buf *out)
{
	size_t count = 0;
	struct member *members = fault_malloc(json_length(v) * sizeof(*members));
	if (members == NULL) {
		out->failed = true;
		return;
	}
	const char *key;
	const struct json *value;
	for (size_t i = 0; json_member(v, i, &key, &value); i++) {
		if (without == NULL || strcmp(key, without) != 0)
			members[count++] = (struct member){ key, value };
	}
	qsort(members, count, sizeof(*members), compare_members);
	buf_u8(out, '{');
	for (size_t i = 0; i < count; i++) {
		if (i > 0)
			buf_u8(out, ',');
		put_string(out, members[i].key, strlen(members[i].key));
		buf_u8(out, ':');
		put_canonical(members[i].value, NULL, out);
	}
	buf_u8(out, '}');
	free(members);
}

static void put_array(const struct json *v, struct buf *out)
{
	buf_u8(out, '[');
	for (size_t i = 0; i < json_length(v); i++) {
		if (i > 0)
			buf_u8(out, ',');
		put_canonical(json_at(v, i), NULL, out);
	}
	buf_u8(out, ']');
}

/* Recursion is bounded by JSON_DEPTH_MAX, which json_parse checks. */
static void put_canonical(const struct json *v, const char *without, struct buf *out)
{
	size_t len;
	const char *text;
	switch (json_type(v)) {
	case JSON_NULL:
		buf_puts(out, "null");
		break;
	case JSON_BOOL:
		buf_puts(out, json_bool(v) ? "true" : "false");
		break;
	case JSON_NUMBER:
		if (json_is_integer(v))
			buf_printf(out, "%lld", (long long)json_integer(v));
		else
			put_real(out, json_number(v), false);
		break;
	case JSON_STRING:
		text = json_string(v, &len);
		put_string(out, text, len);
		break;
	case JSON_ARRAY:
		put_array(v, out);
		break;
	case JSON_OBJECT:
		put_object(v, without, out);
		break;
	}
}

void json_canonical(const struct json *v, struct buf *out)
{
	put_canonical(v, NULL, out);
}

void json_canonical_without(const struct json *v, const char *key, struct buf *out)
{
	put_canonical(v, key, out);
}
