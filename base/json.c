/* Jansson and json.h have names in common. Jansson's take other ones in this file: none of the renamed functions is
 * called, and its macros that use the renamed enumerators are not used either. */
#define json_type    jansson_type
#define json_string  jansson_string
#define json_integer jansson_integer
#define JSON_OBJECT  JANSSON_OBJECT
#define JSON_ARRAY   JANSSON_ARRAY
#define JSON_STRING  JANSSON_STRING
#define JSON_INTEGER JANSSON_INTEGER
#define JSON_REAL    JANSSON_REAL
#define JSON_TRUE    JANSSON_TRUE
#define JSON_FALSE   JANSSON_FALSE
#define JSON_NULL    JANSSON_NULL
#include <jansson.h>
#undef json_type
#undef json_string
#undef json_integer
#undef JSON_OBJECT
#undef JSON_ARRAY
#undef JSON_STRING
#undef JSON_INTEGER
#undef JSON_REAL
#undef JSON_TRUE
#undef JSON_FALSE
#undef JSON_NULL
#undef json_is_integer

#include "base/json.h"

#include "base/fault.h"
#include "base/text.h"

#include <pthread.h>
#include <stdlib.h>
#include <string.h>

/* Our own nodes over Jansson's tree: members and items are reached by index in constant time, which Jansson's iterators
 * do not give. The texts stay Jansson's. */
struct json {
	const char *key; /* of the member that this value is, or NULL */
	const json_t *value;
	const struct json *children;
	size_t child_count;
};

struct document {
	json_t *tree;
	struct json nodes[]; /* the root first */
};

/* Jansson reports some failed allocations as bad input, so its allocator keeps the truth. Worse, it does not notice
 * that its token buffer could not grow, and then writes past a copy of it: a planted failure is only noted here, and
 * json_parse sees beforehand that there is room. */
static _Thread_local bool out_of_memory;

static void *watched_malloc(size_t bytes)
{
	void *p = fault_malloc(bytes);
	if (p != NULL)
		return p;
	out_of_memory = true;
	return malloc(bytes);
}

/* The token buffer doubles, and its old half is still there while it does. */
static bool room_for_tokens(size_t text_len)
{
	void *room = fault_malloc(4 * text_len + 4096);
	bool is_room = room != NULL;
	free(room);
	return is_room;
}

static void use_our_memory(void)
{
	json_set_alloc_funcs(watched_malloc, free);
}

/* Jansson follows nesting far deeper than we want: look first. */
static bool too_deep(const char *text, size_t len)
{
	size_t depth = 0;
	bool in_string = false;
	for (size_t i = 0; i < len; i++) {
		char c = text[i];
		if (in_string) {
			if (c == '\\')
				i++;
			else if (c == '"')
				in_string = false;
		} else if (c == '"')
			in_string = true;
		else if (c == '{' || c == '[')
			depth++;
		else if ((c == '}' || c == ']') && depth > 0)
			depth--;
		if (depth > JSON_DEPTH_MAX)
			return true;
	}
	return false;
}

static size_t count_nodes(const json_t *v)
{
	size_t n = 1, i;
	const char *key;
	json_t *child;
	if (v->type == JANSSON_ARRAY) {
		json_array_foreach(v, i, child) n += count_nodes(child);
	} else if (v->type == JANSSON_OBJECT) {
		json_object_foreach((json_t *)(uintptr_t)v, key, child) n += count_nodes(child);
	}
	return n;
}

/* Describes node->value; its children take the nodes from *next on, side by side. */
static void build(struct json *node, struct json **next)
{
	struct json *children = *next;
	size_t i = 0;
	const char *key;
	json_t *child;
	if (node->value->type == JANSSON_ARRAY) {
		json_array_foreach(node->value, i, child) children[i] = (struct json){ .value = child };
	} else if (node->value->type == JANSSON_OBJECT) {
		json_object_foreach((json_t *)(uintptr_t)node->value, key, child)
			children[i++] = (struct json){ .key = key, .value = child };
	}
	node->children = children;
	node->child_count = i;
	*next += i;
	for (size_t c = 0; c < node->child_count; c++)
		build(&children[c], next);
}

static int parse_error(const json_error_t *error, struct err *e)
{
	char reason[2 * JSON_ERROR_TEXT_LENGTH];
	size_t len = 0, left = strlen(error->text);
	for (const char *at = error->text; left > 0 && len + TEXT_ESCAPE_BYTES < sizeof(reason);) {
		size_t escaped_len;
		size_t taken = text_escape_step(at, left, reason + len, &escaped_len);
		len += escaped_len;
		at += taken;
		left -= taken;
	}
	reason[len] = '\0';
	static const char advice[] = " without JSON_ALLOW_NUL"; /* for programmers of the library */
	char *at_advice = strstr(reason, advice);
	if (at_advice != NULL)
		memmove(at_advice, at_advice + sizeof advice - 1, strlen(at_advice + sizeof advice - 1) + 1);
	if (error->line > 1)
		return err_set(e, ERR_INVALID, "line %d, column %d: %s", error->line, error->column, reason);
	return err_set(e, ERR_INVALID, "column %d: %s", error->column, reason);
}

static int parse(const char *text, size_t text_len, size_t flags, struct json **root, struct err *e)
{
	static pthread_once_t once = PTHREAD_ONCE_INIT;
	pthread_once(&once, use_our_memory);
	if (too_deep(text, text_len))
		return err_set(e, ERR_LIMIT, "JSON nested deeper than %d", JSON_DEPTH_MAX);
	if (!room_for_tokens(text_len))
		return err_set(e, ERR_NOMEM, "parsing JSON: out of memory");
	json_error_t error;
	out_of_memory = false;
	json_t *tree = json_loadb(text, text_len, flags | JSON_REJECT_DUPLICATES | JSON_DECODE_ANY, &error);
	if (out_of_memory) {
		json_decref(tree);
		return err_set(e, ERR_NOMEM, "parsing JSON: out of memory");
	}
	if (tree == NULL)
		return parse_error(&error, e);
	size_t node_count = count_nodes(tree);
	struct document *doc = fault_malloc(sizeof(*doc) + node_count * sizeof(doc->nodes[0]));
	if (doc == NULL) {
		json_decref(tree);
		return err_set(e, ERR_NOMEM, "parsing JSON: out of memory");
	}
	doc->tree = tree;
	doc->nodes[0] = (struct json){ .value = tree };
	struct json *next = &doc->nodes[1];
	build(&doc->nodes[0], &next);
	*root = &doc->nodes[0];
	return 0;
}

int json_parse(const char *text, size_t text_len, struct json **root, struct err *e)
{
	return parse(text, text_len, 0, root, e);
}

int json_parse_nul(const char *text, size_t text_len, struct json **root, struct err *e)
{
	return parse(text, text_len, JSON_ALLOW_NUL, root, e);
}

void json_free(struct json **root)
{
	if (*root == NULL)
		return;
	struct document *doc = (struct document *)(void *)((char *)*root - offsetof(struct document, nodes));
	json_decref(doc->tree);
	free(doc);
	*root = NULL;
}

enum json_type json_type(const struct json *v)
{
	switch (v->value->type) {
	case JANSSON_OBJECT:
		return JSON_OBJECT;
	case JANSSON_ARRAY:
		return JSON_ARRAY;
	case JANSSON_STRING:
		return JSON_STRING;
	case JANSSON_INTEGER:
	case JANSSON_REAL:
		return JSON_NUMBER;
	case JANSSON_TRUE:
	case JANSSON_FALSE:
		return JSON_BOOL;
	case JANSSON_NULL:
		break;
	}
	return JSON_NULL;
}

const struct json *json_get(const struct json *object, const char *key)
{
	if (object == NULL || object->value->type != JANSSON_OBJECT)
		return NULL;
	for (size_t i = 0; i < object->child_count; i++) {
		if (strcmp(object->children[i].key, key) == 0)
			return &object->children[i];
	}
	return NULL;
}

size_t json_length(const struct json *array_or_object)
{
	return array_or_object != NULL ? array_or_object->child_count : 0;
}

const struct json *json_at(const struct json *array, size_t index)
{
	if (array == NULL || array->value->type != JANSSON_ARRAY || index >= array->child_count)
		return NULL;
	return &array->children[index];
}

const char *json_string(const struct json *v, size_t *len)
{
	if (v == NULL || v->value->type != JANSSON_STRING)
		return NULL;
	if (len != NULL)
		*len = json_string_length(v->value);
	return json_string_value(v->value);
}

bool json_bool(const struct json *v)
{
	return v != NULL && v->value->type == JANSSON_TRUE;
}

double json_number(const struct json *v)
{
	return v != NULL ? json_number_value(v->value) : 0.0;
}

bool json_is_integer(const struct json *v)
{
	return v != NULL && v->value->type == JANSSON_INTEGER;
}

int64_t json_integer(const struct json *v)
{
	return v != NULL ? (int64_t)json_integer_value(v->value) : 0;
}

bool json_member(const struct json *object, size_t index, const char **key, const struct json **value)
{
	if (object == NULL || object->value->type != JANSSON_OBJECT || index >= object->child_count)
		return false;
	*key = object->children[index].key;
	*value = &object->children[index];
	return true;
}
