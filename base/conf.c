#include "base/conf.h"

#include "base/fault.h"
#include "base/json.h"

#include <assert.h>
#include <errno.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static void *value_at(const struct conf_item *item, void *values)
{
	return (char *)values + item->offset;
}

static const void *value_in(const struct conf_item *item, const void *values)
{
	return (const char *)values + item->offset;
}

/* "a|b|c": the index of `text`, or -1. */
static int choice_find(const char *choices, const char *text)
{
	size_t len = strlen(text);
	int index = 0;
	for (const char *at = choices; len > 0; index++) {
		size_t n = strcspn(at, "|");
		if (n == len && memcmp(at, text, n) == 0)
			return index;
		if (at[n] == '\0')
			break;
		at += n + 1;
	}
	return -1;
}

static const char *choice_name(const char *choices, int index, size_t *len)
{
	const char *at = choices;
	for (int i = 0; i < index && strchr(at, '|') != NULL; i++)
		at = strchr(at, '|') + 1;
	*len = strcspn(at, "|");
	return at;
}

/* A flag may be written with - for _. */
static bool same_name(const char *a, size_t a_len, const char *b)
{
	if (strlen(b) != a_len)
		return false;
	for (size_t i = 0; i < a_len; i++) {
		char x = a[i] == '-' ? '_' : a[i];
		char y = b[i] == '-' ? '_' : b[i];
		if (x != y)
			return false;
	}
	return true;
}

static const struct conf_item *find(const struct conf_table *table, const char *name, size_t len)
{
	for (size_t i = 0; i < table->item_count; i++) {
		const struct conf_item *item = &table->items[i];
		if (same_name(name, len, item->name) || (item->flag != NULL && same_name(name, len, item->flag)))
			return item;
	}
	return NULL;
}

static int set_bool(const struct conf_item *item, bool *value, const char *text, struct err *e)
{
	static const char *const yes[] = { "true", "yes", "on", "1" };
	static const char *const no[] = { "false", "no", "off", "0" };
	for (size_t i = 0; i < sizeof(yes) / sizeof(yes[0]); i++) {
		if (strcmp(text, yes[i]) == 0 || strcmp(text, no[i]) == 0) {
			*value = strcmp(text, yes[i]) == 0;
			return 0;
		}
	}
	return err_set(e, ERR_INVALID, "%s: '%.64s' must be true or false", item->name, text);
}

static const char *unit_of(const struct conf_item *item)
{
	return item->unit != NULL ? item->unit : "";
}

static int out_of_range(const struct conf_item *item, const char *text, struct err *e)
{
	const char *unit = unit_of(item);
	return err_set(e, ERR_INVALID, "%s: '%.64s' must be a%s from %.15g to %.15g%s%s", item->name, text,
		       item->type == CONF_INT ? " whole number" : " number", item->min, item->max,
		       *unit != '\0' ? " " : "", unit);
}

static int set_int(const struct conf_item *item, int64_t *value, const char *text, struct err *e)
{
	char *end;
	errno = 0;
	long long parsed = strtoll(text, &end, 10);
	if (end == text || *end != '\0' || errno != 0 || (double)parsed < item->min || (double)parsed > item->max)
		return out_of_range(item, text, e);
	*value = parsed;
	return 0;
}

static int set_real(const struct conf_item *item, double *value, const char *text, struct err *e)
{
	char *end;
	double parsed = strtod(text, &end);
	if (end == text || *end != '\0' || !isfinite(parsed) || parsed < item->min || parsed > item->max)
		return out_of_range(item, text, e);
	*value = parsed;
	return 0;
}

static int set_string(const struct conf_item *item, char **value, const char *text, struct err *e)
{
	size_t bytes = strlen(text) + 1;
	char *copy = fault_malloc(bytes);
	if (copy == NULL)
		return err_set(e, ERR_NOMEM, "%s: out of memory", item->name);
	memcpy(copy, text, bytes);
	free(*value);
	*value = copy;
	return 0;
}

static int set_choice(const struct conf_item *item, int *value, const char *text, struct err *e)
{
	int index = choice_find(item->choices, text);
	if (index < 0)
		return err_set(e, ERR_INVALID, "%s: '%.64s' must be one of %s", item->name, text, item->choices);
	*value = index;
	return 0;
}

static int set_item(const struct conf_item *item, void *values, const char *text, struct err *e)
{
	void *at = value_at(item, values);
	switch (item->type) {
	case CONF_BOOL:
		return set_bool(item, at, text, e);
	case CONF_INT:
		return set_int(item, at, text, e);
	case CONF_REAL:
		return set_real(item, at, text, e);
	case CONF_STRING:
		return set_string(item, at, text, e);
	case CONF_CHOICE:
		return set_choice(item, at, text, e);
	}
	return err_set(e, ERR_INVALID, "%s: no such type", item->name);
}

int conf_init(const struct conf_table *table, void *values, struct err *e)
{
	for (size_t i = 0; i < table->item_count; i++) {
		assert(table->items[i].offset < table->struct_bytes);
		const char *text = table->items[i].value_default;
		int rc = set_item(&table->items[i], values, text != NULL ? text : "", e);
		if (rc != 0) {
			err_wrap(e, "default");
			conf_fini(table, values);
			return rc;
		}
	}
	return 0;
}

void conf_fini(const struct conf_table *table, void *values)
{
	for (size_t i = 0; i < table->item_count; i++) {
		if (table->items[i].type != CONF_STRING)
			continue;
		char **at = value_at(&table->items[i], values);
		free(*at);
		*at = NULL;
	}
}

static bool same_value(const struct conf_item *item, const void *a, const void *b)
{
	const void *x = value_in(item, a), *y = value_in(item, b);
	switch (item->type) {
	case CONF_BOOL:
		return *(const bool *)x == *(const bool *)y;
	case CONF_INT:
		return *(const int64_t *)x == *(const int64_t *)y;
	case CONF_REAL:
		return memcmp(x, y, sizeof(double)) == 0;
	case CONF_STRING:
		return strcmp(*(char *const *)x, *(char *const *)y) == 0;
	case CONF_CHOICE:
		return *(const int *)x == *(const int *)y;
	}
	return true;
}

const struct conf_item *conf_changed(const struct conf_table *table, const void *values, const char *prefix)
{
	const struct conf_item *changed = NULL;
	struct err ignored = ERR_INIT;
	void *defaults = fault_calloc(1, table->struct_bytes);
	if (defaults == NULL || conf_init(table, defaults, &ignored) != 0) {
		free(defaults);
		return NULL;
	}
	for (size_t i = 0; i < table->item_count && changed == NULL; i++) {
		const struct conf_item *item = &table->items[i];
		if (strncmp(item->name, prefix, strlen(prefix)) == 0 && !same_value(item, values, defaults))
			changed = item;
	}
	conf_fini(table, defaults);
	free(defaults);
	return changed;
}

int conf_set(const struct conf_table *table, void *values, const char *name, const char *text, struct err *e)
{
	const struct conf_item *item = find(table, name, strlen(name));
	if (item == NULL)
		return err_set(e, ERR_NOT_FOUND, "%s: no such setting", name);
	return set_item(item, values, text, e);
}

/* What argv[i] asks for. `value` is NULL when it comes with the next argument. */
struct flag {
	const struct conf_item *item;
	const char *value;
};

static struct flag read_flag(const struct conf_table *table, const char *arg)
{
	struct flag f = { NULL, NULL };
	if (strncmp(arg, "--", 2) != 0 || arg[2] == '\0')
		return f;
	arg += 2;
	size_t len = strcspn(arg, "=");
	f.item = find(table, arg, len);
	if (f.item != NULL && arg[len] == '=')
		f.value = arg + len + 1;
	else if (f.item != NULL && f.item->type == CONF_BOOL)
		f.value = "true";
	else if (f.item == NULL && arg[len] == '\0' && strncmp(arg, "no-", 3) == 0) {
		f.item = find(table, arg + 3, len - 3);
		if (f.item != NULL && f.item->type != CONF_BOOL)
			f.item = NULL;
		f.value = "false";
	}
	return f;
}

int conf_parse_flags(const struct conf_table *table, void *values, int *argc, char **argv, struct err *e)
{
	int kept = *argc > 0 ? 1 : 0, rc = 0, i;
	for (i = kept; i < *argc && rc == 0 && strcmp(argv[i], "--") != 0; i++) {
		struct flag f = read_flag(table, argv[i]);
		if (f.item == NULL) {
			argv[kept++] = argv[i];
			continue;
		}
		if (f.value == NULL && i + 1 == *argc) {
			rc = err_set(e, ERR_INVALID, "%s: needs a value", f.item->name);
			break;
		}
		if (f.value == NULL)
			f.value = argv[++i];
		rc = set_item(f.item, values, f.value, e);
	}
	if (rc != 0) {
		err_wrap(e, "flag");
		return rc;
	}
	while (i < *argc)
		argv[kept++] = argv[i++];
	*argc = kept;
	argv[kept] = NULL;
	return 0;
}

static bool in_role(const struct conf_item *item, unsigned role)
{
	return role == 0 || (item->roles & role) != 0;
}

static const char *const type_names[] = { "", "N", "X", "TEXT", "" };

static void flag_usage(const struct conf_item *item, struct buf *out)
{
	buf_printf(out, "  --%s%s", item->type == CONF_BOOL ? "[no-]" : "", item->name);
	if (item->type == CONF_CHOICE)
		buf_printf(out, " %s", item->choices);
	else if (*type_names[item->type] != '\0')
		buf_printf(out, " %s", type_names[item->type]);
	if (item->flag != NULL && strcmp(item->flag, item->name) != 0)
		buf_printf(out, ", --%s", item->flag);
}

void conf_help(const struct conf_table *table, unsigned role, struct buf *out)
{
	for (size_t i = 0; i < table->item_count; i++) {
		const struct conf_item *item = &table->items[i];
		if (!in_role(item, role))
			continue;
		size_t start = out->len;
		flag_usage(item, out);
		size_t width = out->len - start;
		if (width >= 40)
			buf_printf(out, "\n%*s", 40, "");
		else
			buf_printf(out, "%*s", (int)(40 - width), "");
		buf_puts(out, item->help);
		if (item->type == CONF_INT || item->type == CONF_REAL)
			buf_printf(out, " [%.10g..%.10g%s%s]", item->min, item->max, *unit_of(item) != '\0' ? " " : "",
				   unit_of(item));
		if (item->value_default != NULL && *item->value_default != '\0')
			buf_printf(out, " (default %s)", item->value_default);
		buf_u8(out, '\n');
	}
}

static void put_quoted(const char *text, size_t len, struct buf *out)
{
	struct json_w w; /* a JSON string is a double-quoted YAML scalar */
	json_w_init(&w, out);
	json_w_strn(&w, text, len);
}

static void put_value(const struct conf_item *item, const void *values, struct json_w *w)
{
	const void *at = value_in(item, values);
	size_t len;
	switch (item->type) {
	case CONF_BOOL:
		json_w_bool(w, *(const bool *)at);
		break;
	case CONF_INT:
		json_w_int(w, *(const int64_t *)at);
		break;
	case CONF_REAL:
		json_w_real(w, *(const double *)at);
		break;
	case CONF_STRING:
		json_w_str(w, *(char *const *)at);
		break;
	case CONF_CHOICE: {
		const char *name = choice_name(item->choices, *(const int *)at, &len);
		json_w_strn(w, name, len); /* quoted: YAML reads a bare `off` as false */
		break;
	}
	}
}

/* Writes one item; `values` NULL: its default, with its help as a comment. */
static void put_item(const struct conf_item *item, const char *last, const void *values, int indent, struct buf *out)
{
	if (values != NULL) {
		struct json_w w;
		json_w_init(&w, out);
		buf_printf(out, "%*s%s: ", indent, "", last);
		put_value(item, values, &w);
		buf_u8(out, '\n');
		return;
	}
	buf_printf(out, "%*s# %s", indent, "", item->help);
	if (item->type == CONF_CHOICE)
		buf_printf(out, " One of %s.", item->choices);
	else if (item->type == CONF_INT || item->type == CONF_REAL)
		buf_printf(out, " From %.10g to %.10g%s%s.", item->min, item->max, *unit_of(item) != '\0' ? " " : "",
			   unit_of(item));
	buf_printf(out, "\n%*s%s: ", indent, "", last);
	const char *text = item->value_default != NULL ? item->value_default : "";
	if (item->type == CONF_STRING || item->type == CONF_CHOICE)
		put_quoted(text, strlen(text), out);
	else
		buf_puts(out, text);
	buf_u8(out, '\n');
}

/* True when an item before `index` opened the section items[index].name[0..len) already. */
static bool section_seen(const struct conf_table *table, unsigned role, size_t index, size_t len)
{
	const char *name = table->items[index].name;
	for (size_t i = 0; i < index; i++) {
		const struct conf_item *item = &table->items[i];
		if (in_role(item, role) && strncmp(item->name, name, len) == 0 && item->name[len] == '.')
			return true;
	}
	return false;
}

/* All items under `prefix` (its `len` bytes end in a dot, or 0), each section where its first item stands. */
static void put_section(const struct conf_table *table, unsigned role, const void *values, const char *prefix,
			size_t len, int indent, struct buf *out)
{
	for (size_t i = 0; i < table->item_count; i++) {
		const struct conf_item *item = &table->items[i];
		if (!in_role(item, role) || strncmp(item->name, prefix, len) != 0)
			continue;
		const char *dot = strchr(item->name + len, '.');
		if (dot == NULL) {
			put_item(item, item->name + len, values, indent, out);
			continue;
		}
		size_t section_len = (size_t)(dot - item->name);
		if (section_seen(table, role, i, section_len))
			continue;
		buf_printf(out, "%*s%.*s:\n", indent, "", (int)(section_len - len), item->name + len);
		put_section(table, role, values, item->name, section_len + 1, indent + 2, out);
	}
}

void conf_sample(const struct conf_table *table, unsigned role, struct buf *out)
{
	put_section(table, role, NULL, "", 0, 0, out);
}

void conf_view(const struct conf_table *table, const void *values, unsigned role, struct buf *out)
{
	put_section(table, role, values, "", 0, 0, out);
}

/* As put_section, as members of an open object. */
static void put_members(const struct conf_table *table, unsigned role, const void *values, const char *prefix,
			size_t len, struct json_w *w)
{
	for (size_t i = 0; i < table->item_count; i++) {
		const struct conf_item *item = &table->items[i];
		if (!in_role(item, role) || strncmp(item->name, prefix, len) != 0)
			continue;
		const char *dot = strchr(item->name + len, '.');
		char section[64];
		if (dot == NULL) {
			json_w_key(w, item->name + len);
			put_value(item, values, w);
			continue;
		}
		size_t section_len = (size_t)(dot - item->name);
		if (section_seen(table, role, i, section_len))
			continue;
		snprintf(section, sizeof section, "%.*s", (int)(section_len - len), item->name + len);
		json_w_key(w, section);
		json_w_open(w, '{');
		put_members(table, role, values, item->name, section_len + 1, w);
		json_w_close(w);
	}
}

void conf_view_json(const struct conf_table *table, const void *values, unsigned role, struct buf *out)
{
	struct json_w w;
	json_w_init(&w, out);
	json_w_open(&w, '{');
	put_members(table, role, values, "", 0, &w);
	json_w_close(&w);
}
