/* The configuration file, for conf.h: libcyaml reads every scalar as a string under a schema that is made from the
 * table, so that unknown keys and misplaced structure are its errors, and values are converted by conf_set. */
#include "base/conf.h"

#include "base/fault.h"

#include <assert.h>
#include <cyaml/cyaml.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <yaml.h>

#define STEP            "`amend config sample` prints a file of the right form"
#define FILE_BYTES_MAX  (1024 * 1024)
#define VALUE_BYTES_MAX 4096
#define PATH_BYTES_MAX  256
#define LEVELS_MAX      8

/* The schema: at most one field array a section. All fields have the offset of the item's slot in one array of strings;
 * sections have offset 0, so offsets stay absolute. */
struct schema {
	const struct conf_table *table;
	cyaml_schema_field_t *fields; /* all arrays, one after another, each ended by CYAML_FIELD_END */
	size_t used, cap;
	char *keys; /* copies of the parts of the names */
	size_t keys_used;
	cyaml_schema_value_t top;
};

/* What cyaml logs: the first message and the first line number. */
struct complaint {
	char text[256];
	char path[128];
	int line;
};

static void *cyaml_memory(void *context, void *p, size_t bytes)
{
	(void)context;
	if (bytes == 0) {
		free(p);
		return NULL;
	}
	return fault_realloc(p, bytes);
}

__attribute__((format(printf, 3, 0))) static void listen(cyaml_log_t level, void *context, const char *format,
							 va_list args)
{
	struct complaint *c = context;
	char text[256];
	(void)level;
	vsnprintf(text, sizeof(text), format, args);
	text[strcspn(text, "\r\n")] = '\0';
	const char *line = strstr(text, "line: ");
	if (c->line == 0 && line != NULL)
		c->line = atoi(line + 6);
	const char *said = strncmp(text, "Load: ", 6) == 0 ? text + 6 : text;
	if (c->text[0] == '\0' && *said != ' ' && strncmp(said, "Backtrace", 9) != 0)
		snprintf(c->text, sizeof(c->text), "%.250s", said);
}

static char *copy_key(struct schema *s, const char *text, size_t len)
{
	char *key = s->keys + s->keys_used;
	memcpy(key, text, len);
	key[len] = '\0';
	s->keys_used += len + 1;
	return key;
}

/* True when an item before `index` lies in the same section. */
static bool seen_before(const struct conf_table *table, size_t index, size_t len)
{
	for (size_t i = 0; i < index; i++) {
		const char *other = table->items[i].name;
		if (strncmp(other, table->items[index].name, len) == 0 && other[len] == '.')
			return true;
	}
	return false;
}

static size_t count_fields(const struct conf_table *table, const char *prefix, size_t len)
{
	size_t n = 0;
	for (size_t i = 0; i < table->item_count; i++) {
		const char *name = table->items[i].name;
		const char *dot = strncmp(name, prefix, len) == 0 ? strchr(name + len, '.') : NULL;
		if (strncmp(name, prefix, len) == 0 && (dot == NULL || !seen_before(table, i, (size_t)(dot - name))))
			n++;
	}
	return n;
}

static const cyaml_schema_field_t *make_section(struct schema *s, const char *prefix, size_t len)
{
	size_t count = count_fields(s->table, prefix, len), next = 0;
	cyaml_schema_field_t *fields = s->fields + s->used;
	s->used += count + 1;
	assert(s->used <= s->cap);
	for (size_t i = 0; i < s->table->item_count; i++) {
		const char *name = s->table->items[i].name;
		if (strncmp(name, prefix, len) != 0)
			continue;
		const char *dot = strchr(name + len, '.');
		if (dot == NULL) {
			fields[next++] = (cyaml_schema_field_t){
				.key = copy_key(s, name + len, strlen(name + len)),
				.data_offset = (uint32_t)(i * sizeof(char *)),
				.value = { .type = CYAML_STRING,
					   .flags = CYAML_FLAG_POINTER | CYAML_FLAG_OPTIONAL,
					   .data_size = sizeof(char),
					   .string = { .min = 0, .max = VALUE_BYTES_MAX } },
			};
			continue;
		}
		size_t section_len = (size_t)(dot - name);
		if (seen_before(s->table, i, section_len))
			continue;
		const char *key = copy_key(s, name + len, section_len - len);
		const cyaml_schema_field_t *inner = make_section(s, name, section_len + 1);
		fields[next++] = (cyaml_schema_field_t){
			.key = key,
			.value = { .type = CYAML_MAPPING,
				   .flags = CYAML_FLAG_OPTIONAL,
				   .data_size = (uint32_t)(s->table->item_count * sizeof(char *)),
				   .mapping = { .fields = inner } },
		};
	}
	assert(next == count);
	return fields;
}

static int make_schema(const struct conf_table *table, struct schema *s, struct err *e)
{
	size_t names = 0, dots = 0;
	for (size_t i = 0; i < table->item_count; i++) {
		const char *name = table->items[i].name;
		names += strlen(name) + 1;
		for (const char *at = name; (at = strchr(at, '.')) != NULL; at++)
			dots++;
	}
	/* Each item and each section is a field, and each section has an end. A section's name is part of an item's. */
	*s = (struct schema){ .table = table, .cap = table->item_count + 2 * dots + 1 };
	s->fields = fault_calloc(s->cap, sizeof(*s->fields));
	s->keys = fault_malloc(names + dots);
	if (s->fields == NULL || s->keys == NULL) {
		free(s->fields);
		free(s->keys);
		return err_set(e, ERR_NOMEM, "reading the configuration: out of memory");
	}
	s->top = (cyaml_schema_value_t){
		.type = CYAML_MAPPING,
		.flags = CYAML_FLAG_POINTER,
		.data_size = (uint32_t)(table->item_count * sizeof(char *)),
		.mapping = { .fields = make_section(s, "", 0) },
	};
	return 0;
}

/* One "key:" line of block YAML: its indent and key; false for blank lines, comments and the rest. */
static bool read_key(const char *line, size_t len, size_t *indent, const char **key, size_t *key_len)
{
	size_t at = 0;
	while (at < len && line[at] == ' ')
		at++;
	const char *colon = memchr(line + at, ':', len - at);
	if (at == len || line[at] == '#' || line[at] == '-' || colon == NULL)
		return false;
	*indent = at;
	*key = line + at;
	*key_len = (size_t)(colon - *key);
	return true;
}

/* The line of a setting, for errors that only we see; 0 when it is written in a way that this simple look misses. */
static int find_line(const struct buf *file, const char *name)
{
	size_t indents[LEVELS_MAX], lens[LEVELS_MAX], depth = 0;
	char path[PATH_BYTES_MAX] = "";
	int line_no = 0;
	for (size_t at = 0; at < file->len;) {
		const char *line = (const char *)file->data + at;
		const char *feed = memchr(line, '\n', file->len - at);
		size_t len = feed != NULL ? (size_t)(feed - line) : file->len - at, indent, key_len;
		const char *key;
		line_no++;
		at += len + 1;
		if (!read_key(line, len, &indent, &key, &key_len))
			continue;
		while (depth > 0 && indents[depth - 1] >= indent)
			depth--;
		size_t start = depth > 0 ? lens[depth - 1] : 0;
		if (depth == LEVELS_MAX || start + key_len + 2 > sizeof(path))
			return 0;
		int put =
			snprintf(path + start, sizeof(path) - start, "%s%.*s", depth > 0 ? "." : "", (int)key_len, key);
		indents[depth] = indent;
		lens[depth++] = start + (size_t)put;
		if (strcmp(path, name) == 0)
			return line_no;
	}
	return 0;
}

static int wrap_line(const char *path, int line, struct err *e, int rc)
{
	if (line > 0)
		err_wrap(e, "%s:%d", path, line);
	else
		err_wrap(e, "%s", path);
	return rc;
}

static int apply(const struct conf_table *table, void *values, char *const *texts, const struct buf *file,
		 const char *path, struct err *e)
{
	for (size_t i = 0; i < table->item_count; i++) {
		if (texts[i] == NULL)
			continue;
		int rc = conf_set(table, values, table->items[i].name, texts[i], e);
		if (rc != 0)
			return wrap_line(path, find_line(file, table->items[i].name), e, rc);
	}
	return 0;
}

/* libcyaml names the line where the section starts; the key itself is more use. */
static int find_key_line(const struct buf *file, const char *wanted, int from_line)
{
	int line_no = 0;
	for (size_t at = 0; at < file->len;) {
		const char *line = (const char *)file->data + at, *key;
		const char *feed = memchr(line, '\n', file->len - at);
		size_t len = feed != NULL ? (size_t)(feed - line) : file->len - at, indent, key_len;
		at += len + 1;
		if (++line_no >= from_line && read_key(line, len, &indent, &key, &key_len) &&
		    key_len == strlen(wanted) && memcmp(key, wanted, key_len) == 0)
			return line_no;
	}
	return from_line;
}

/* The first line that is no comment; 0: there is none, which is no YAML mapping and means the defaults. */
static int first_line(const struct buf *file)
{
	bool comment = false, line_start = true;
	int line_no = 1;
	for (size_t i = 0; i < file->len; i++) {
		char c = (char)file->data[i];
		if (c == '\n') {
			comment = false;
			line_start = true;
			line_no++;
		} else if (c == '#' && line_start)
			comment = true;
		else if (!comment && c != ' ' && c != '\t' && c != '\r')
			return line_no;
	}
	return 0;
}

static size_t lines_before(const struct buf *file, size_t end)
{
	size_t lines = 0;
	for (size_t i = 0; i < end && i < file->len; i++)
		lines += file->data[i] == '\n' ? 1 : 0;
	return lines;
}

static int syntax_error(const yaml_parser_t *parser, const struct buf *file, const char *path, struct err *e)
{
	if (parser->error == YAML_MEMORY_ERROR)
		return err_set(e, ERR_NOMEM, "%s: out of memory", path);
	size_t line = parser->problem_mark.line + 1;
	if (parser->error == YAML_READER_ERROR) /* known by its byte */
		line = lines_before(file, parser->problem_offset) + 1;
	char from[128] = "";
	if (parser->context != NULL && parser->context_mark.line + 1 < line)
		snprintf(from, sizeof(from), ", %s from line %zu on", parser->context, parser->context_mark.line + 1);
	return err_set(e, ERR_INVALID, "%s:%zu: no YAML: %s%s; mend that line, " STEP, path, line,
		       parser->problem != NULL ? parser->problem : "it ends too early", from);
}

/* libcyaml does not pass on where libyaml stopped, and drops what follows the first document. */
static int check_syntax(const struct buf *file, const char *path, struct err *e)
{
	yaml_parser_t parser;
	yaml_event_t event;
	int rc = 0, documents = 0;
	if (!yaml_parser_initialize(&parser))
		return err_set(e, ERR_NOMEM, "%s: out of memory", path);
	yaml_parser_set_input_string(&parser, file->data, file->len);
	for (bool end = false; rc == 0 && !end;) {
		if (!yaml_parser_parse(&parser, &event)) {
			rc = syntax_error(&parser, file, path, e);
			break;
		}
		size_t line = event.start_mark.line + 1;
		if (event.type == YAML_DOCUMENT_START_EVENT && ++documents > 1)
			rc = err_set(e, ERR_INVALID,
				     "%s:%zu: a second document begins: put all settings into one; " STEP, path, line);
		else if (event.type == YAML_ALIAS_EVENT)
			rc = err_set(e, ERR_INVALID,
				     "%s:%zu: \"*%s\" stands for a value of another place: write the "
				     "value itself; " STEP,
				     path, line, (const char *)event.data.alias.anchor);
		end = event.type == YAML_STREAM_END_EVENT;
		yaml_event_delete(&event);
	}
	yaml_parser_delete(&parser);
	return rc;
}

/* libcyaml's sentences, by their beginning, in words of ours; those with a %s end in a key. */
static const struct {
	const char *theirs, *ours;
	int lines_behind; /* how far the key is behind the line that libcyaml names, at least */
} sentences[] = {
	{ "Unexpected key: ", "no setting has the name \"%s\" here", 0 },
	{ "Mapping field already seen: ", "\"%s\" stands twice here", 1 },
	{ "Expecting MAPPING", "settings belong here, each as name: value on a line of its own", 0 },
	{ "Expecting STRING", "this setting has a single value", 0 },
};

static const char *say(const char *why, const struct buf *file, int *line, char *out, size_t out_bytes)
{
	for (size_t i = 0; i < sizeof(sentences) / sizeof(sentences[0]); i++) {
		size_t len = strlen(sentences[i].theirs);
		if (strncmp(why, sentences[i].theirs, len) != 0)
			continue;
		const char *key = strstr(sentences[i].ours, "%s");
		if (key == NULL)
			return sentences[i].ours;
		*line = find_key_line(file, why + len, *line + sentences[i].lines_behind);
		(void)snprintf(out, out_bytes, "%.*s%s%s", (int)(key - sentences[i].ours), sentences[i].ours, why + len,
			       key + 2);
		return out;
	}
	return why;
}

static int refuse(const struct complaint *c, cyaml_err_t code, const struct buf *file, const char *path, struct err *e)
{
	if (code == CYAML_ERR_OOM || code == CYAML_ERR_LIBYAML_PARSER) /* the syntax was checked */
		return err_set(e, ERR_NOMEM, "%s: out of memory", path);
	const char *why = c->text[0] != '\0' ? c->text : cyaml_strerror(code);
	char text[sizeof(c->text) + 64];
	int line = c->line > 0 ? c->line : first_line(file);
	why = say(why, file, &line, text, sizeof(text));
	return wrap_line(path, line, e, err_set(e, ERR_INVALID, "%s; " STEP, why));
}

static int load(const struct conf_table *table, void *values, const struct buf *file, const char *path, struct err *e)
{
	struct schema schema;
	int rc = make_schema(table, &schema, e);
	if (rc != 0)
		return rc;
	struct complaint complaint = { .line = 0 };
	const cyaml_config_t config = {
		.log_fn = listen,
		.log_ctx = &complaint,
		.mem_fn = cyaml_memory,
		.log_level = CYAML_LOG_ERROR,
		.flags = CYAML_CFG_NO_ALIAS, /* aliases can multiply a small file */
	};
	char **texts = NULL;
	cyaml_err_t code = cyaml_load_data(file->data, file->len, &config, &schema.top, (cyaml_data_t **)&texts, NULL);
	rc = code == CYAML_OK ? apply(table, values, texts, file, path, e) : refuse(&complaint, code, file, path, e);
	if (code == CYAML_OK)
		cyaml_free(&config, &schema.top, texts, 0);
	free(schema.fields);
	free(schema.keys);
	return rc;
}

int conf_load_file(const struct conf_table *table, void *values, const char *path, struct err *e)
{
	struct buf file = BUF_INIT;
	int rc = file_read(path, FILE_BYTES_MAX, &file, e);
	if (rc == 0 && first_line(&file) > 0) {
		rc = check_syntax(&file, path, e);
		if (rc == 0)
			rc = load(table, values, &file, path, e);
	}
	buf_free(&file);
	return rc;
}
