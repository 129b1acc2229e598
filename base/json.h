/* json.h: JSON values (RFC 8259) over Jansson, and a streaming writer. Not thread-safe.
 * Borrowed: values returned by the getters belong to their document. Duplicate keys are refused. */
#ifndef AMEND_BASE_JSON_H
#define AMEND_BASE_JSON_H

#include "base/buf.h"
#include "base/hash.h"

#define JSON_DEPTH_MAX 32

struct json; /* a value; the root owns the document */

/* ERR_INVALID with "column N: reason"; ERR_LIMIT over JSON_DEPTH_MAX. NUL inside strings is refused. */
int json_parse(const char *text, size_t text_len, struct json **root, struct err *e) MUST_CHECK;
/* The same, but strings (not keys) may hold NULs, as what a model says may: read them by their lengths. */
int json_parse_nul(const char *text, size_t text_len, struct json **root, struct err *e) MUST_CHECK;
void json_free(struct json **root);
enum json_type { JSON_NULL, JSON_BOOL, JSON_NUMBER, JSON_STRING, JSON_ARRAY, JSON_OBJECT };
enum json_type json_type(const struct json *v);
const struct json *json_get(const struct json *object, const char *key); /* NULL when absent or not an object */
size_t json_length(const struct json *array_or_object);
const struct json *json_at(const struct json *array, size_t index);
const char *json_string(const struct json *v, size_t *len); /* NULL when no string; len may be NULL */
bool json_bool(const struct json *v);
double json_number(const struct json *v);
bool json_is_integer(const struct json *v);
int64_t json_integer(const struct json *v);
/* Iterates an object's members in their order of appearance: for (i = 0; json_member(o, i, &key, &value); i++) */
bool json_member(const struct json *object, size_t index, const char **key, const struct json **value);
/* Canonical form: keys sorted bytewise, no spaces, shortest escapes (RFC 8785 for strings and integers). */
void json_canonical(const struct json *v, struct buf *out);
/* As json_canonical, without the member `key` of the outermost object. */
void json_canonical_without(const struct json *v, const char *key, struct buf *out);

/* Writer: json_w_open(&w,'{'); json_w_key(&w,"a"); json_w_int(&w,1); json_w_close(&w); commas and escapes are its
 * business. */
struct json_w {
	struct buf *out;
	size_t depth;
	uint8_t first[JSON_DEPTH_MAX]; /* nothing written at this depth yet */
	char close[JSON_DEPTH_MAX];
	bool after_key;
};
void json_w_init(struct json_w *w, struct buf *out);
void json_w_open(struct json_w *w, char bracket); /* '{' or '[' */
void json_w_close(struct json_w *w);
void json_w_key(struct json_w *w, const char *key);
void json_w_str(struct json_w *w, const char *text);
void json_w_strn(struct json_w *w, const char *text, size_t len);
void json_w_int(struct json_w *w, int64_t v);
void json_w_uint(struct json_w *w, uint64_t v);
void json_w_real(struct json_w *w, double v); /* shortest that reads back; null when not finite */
void json_w_float(struct json_w *w, float v); /* the same: shortest that reads back as a float */
void json_w_bool(struct json_w *w, bool v);
void json_w_null(struct json_w *w);
void json_w_value(struct json_w *w, const struct json *v); /* a parsed value, in canonical form */
/* A key and its value. */
void json_w_member_str(struct json_w *w, const char *key, const char *text);
void json_w_member_strn(struct json_w *w, const char *key, const char *text, size_t len); /* len 0: text may be NULL */
void json_w_member_uint(struct json_w *w, const char *key, uint64_t v);
void json_w_member_int(struct json_w *w, const char *key, int64_t v);
void json_w_member_real(struct json_w *w, const char *key, double v);
void json_w_member_float(struct json_w *w, const char *key, float v);
void json_w_member_bool(struct json_w *w, const char *key, bool v);
void json_w_member_hash(struct json_w *w, const char *key, const struct hash *hash); /* 64 hex digits */

#endif
