/* cli_show.c: tables, JSON as text or YAML, progress bars. */
#include "daemon/cli.h"

#include "base/env.h"
#include "base/text.h"

#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define COLUMNS_MAX      16
#define CELL_COLUMNS_MAX 60 /* what a table cell shows; -o wide shows more, json all */
#define ELLIPSIS         "\xE2\x80\xA6"
#define LINE_BYTES       4096
#define BAR_COLUMNS      24
#define PLAIN_LINE_US    (5 * INT64_C(1000000))
#define BAR_US           INT64_C(100000)

void cli_line(FILE *to, const char *format, ...)
{
	char line[LINE_BYTES] = "", shown[2 * LINE_BYTES];
	va_list args;
	va_start(args, format);
	(void)vsnprintf(line, sizeof line, format, args);
	va_end(args);
	size_t used = 0, step;
	for (size_t at = 0, len = strlen(line); at < len && used + TEXT_ESCAPE_BYTES <= sizeof shown; used += step)
		at += text_escape_step(line + at, len - at, shown + used, &step);
	fprintf(to, "%.*s\n", (int)used, shown);
}

struct cli_table {
	size_t column_count, cell_count, cell_cap;
	bool failed;  /* a cell found no memory */
	char **cells; /* row-major, headers first */
};

static size_t width_of(const char *text)
{
	size_t width = 0, columns;
	for (size_t at = 0, len = strlen(text); at < len; width += columns)
		at += text_columns_step(text + at, len - at, &columns);
	return width;
}

static bool cells_grow(struct cli_table *t)
{
	if (t->cell_count < t->cell_cap)
		return true;
	size_t cap = t->cell_cap == 0 ? 256 : t->cell_cap * 2;
	char **cells = realloc(t->cells, cap * sizeof *cells);
	if (cells == NULL)
		return false;
	t->cells = cells;
	t->cell_cap = cap;
	return true;
}

static void cell_add(struct cli_table *t, const char *text)
{
	struct buf escaped = BUF_INIT;
	text_escape(text, strlen(text), &escaped);
	char *cell = buf_failed(&escaped) || !cells_grow(t) ? NULL : malloc(escaped.len + sizeof ELLIPSIS);
	if (cell != NULL) {
		memcpy(cell, buf_cstr(&escaped), escaped.len + 1);
		t->cells[t->cell_count++] = cell;
	}
	t->failed |= cell == NULL;
	buf_free(&escaped);
}

int cli_table_new(const char *const *headers, size_t column_count, struct cli_table **out)
{
	struct cli_table *t = calloc(1, sizeof *t);
	if (t == NULL || column_count > COLUMNS_MAX) {
		free(t);
		return ERR_NOMEM;
	}
	t->column_count = column_count;
	for (size_t i = 0; i < column_count; i++)
		cell_add(t, headers[i]);
	*out = t;
	return 0;
}

void cli_table_cell(struct cli_table *t, const char *format, ...)
{
	char *text = NULL;
	va_list list;
	va_start(list, format);
	int len = vasprintf(&text, format, list);
	va_end(list);
	if (len >= 0)
		cell_add(t, text[0] != '\0' ? text : "-"); /* an empty one would shift the columns of awk */
	t->failed |= len < 0;
	if (len >= 0)
		free(text);
}

/* Cuts at a character so that at most `columns` are shown, the last one an ellipsis: a cell has room for it. */
static void cut(char *text, size_t columns)
{
	if (width_of(text) <= columns)
		return;
	size_t seen = 0, i = 0, len = strlen(text), taken, wide;
	while ((taken = text_columns_step(text + i, len - i, &wide)) > 0 && seen + wide < columns) {
		seen += wide;
		i += taken;
	}
	memcpy(text + i, ELLIPSIS, sizeof ELLIPSIS);
}

void cli_table_cell_cut(struct cli_table *t, size_t columns, const char *text)
{
	size_t before = t->cell_count;
	cli_table_cell(t, "%s", text);
	if (t->cell_count > before)
		cut(t->cells[before], columns);
}

static void row_print(const struct cli *cli, const struct cli_table *t, size_t row, const size_t *widths)
{
	bool header = row == 0 && !cli->no_color;
	printf("%s", header ? "\033[1m" : "");
	for (size_t c = 0; c < t->column_count; c++) {
		const char *cell = t->cells[row * t->column_count + c];
		bool last = c + 1 == t->column_count;
		printf("%s%*s", cell, last ? 0 : (int)(widths[c] - width_of(cell) + 2), "");
	}
	printf("%s\n", header ? "\033[0m" : "");
}

int cli_table_print(struct cli *cli, struct cli_table **table)
{
	struct cli_table *t = *table;
	size_t widths[COLUMNS_MAX] = { 0 };
	size_t rows = t->failed ? 0 : t->cell_count / t->column_count;
	int status = t->failed ? cli_out_of_memory(cli) : CLI_OK;
	for (size_t i = 0; i < rows * t->column_count; i++) {
		if (cli->output != CLI_WIDE)
			cut(t->cells[i], CELL_COLUMNS_MAX);
		size_t width = width_of(t->cells[i]);
		bool counts = i >= t->column_count || !cli->no_headers;
		if (counts && width > widths[i % t->column_count])
			widths[i % t->column_count] = width;
	}
	for (size_t row = cli->no_headers ? 1 : 0; row < rows; row++)
		row_print(cli, t, row, widths);
	cli_table_free(table);
	return status;
}

void cli_table_free(struct cli_table **table)
{
	struct cli_table *t = *table;
	for (size_t i = 0; t != NULL && i < t->cell_count; i++)
		free(t->cells[i]);
	if (t != NULL)
		free(t->cells);
	free(t);
	*table = NULL;
}

static void value_print(const struct json *v, int indent);

static void members_print(const struct json *object, int indent)
{
	const char *key;
	const struct json *value;
	int widest = 0;
	for (size_t i = 0; json_member(object, i, &key, &value); i++)
		widest = (int)strlen(key) > widest ? (int)strlen(key) : widest;
	for (size_t i = 0; json_member(object, i, &key, &value); i++) {
		printf("%*s%-*s  ", indent, "", widest, key);
		value_print(value, indent + 2);
	}
}

static void value_print(const struct json *v, int indent)
{
	struct buf text = BUF_INIT, escaped = BUF_INIT;
	size_t len;
	const char *string = json_string(v, &len);
	if (json_type(v) == JSON_OBJECT) {
		printf("\n");
		members_print(v, indent);
	} else {
		if (string == NULL)
			json_canonical(v, &text);
		text_escape(string != NULL ? string : buf_cstr(&text), string != NULL ? len : text.len, &escaped);
		printf("%s\n", json_type(v) == JSON_NULL ? "-" : buf_cstr(&escaped));
	}
	buf_free(&text);
	buf_free(&escaped);
}

int cli_object_print(struct cli *cli, struct buf *json)
{
	struct json *root = NULL;
	int rc = buf_failed(json) ? ERR_NOMEM : json_parse_nul(buf_cstr(json), json->len, &root, NULL);
	if (rc == 0)
		members_print(root, 0);
	json_free(&root);
	buf_free(json);
	return rc == 0 ? CLI_OK : cli_out_of_memory(cli);
}

/* --- JSON texts in other forms */

static void yaml_put(const struct json *v, int indent, bool in_list, struct buf *out);

static bool yaml_inline(const struct json *v)
{
	return (json_type(v) != JSON_OBJECT && json_type(v) != JSON_ARRAY) || json_length(v) == 0;
}

static void yaml_child(const struct json *v, int indent, struct buf *out)
{
	if (yaml_inline(v)) {
		buf_u8(out, ' ');
		json_canonical(v, out); /* a JSON scalar is a YAML scalar */
		buf_u8(out, '\n');
		return;
	}
	buf_u8(out, '\n');
	yaml_put(v, indent, false, out);
}

/* `in_list`: the first line goes on behind the dash. */
static void yaml_put(const struct json *v, int indent, bool in_list, struct buf *out)
{
	const char *key;
	const struct json *value;
	for (size_t i = 0; json_type(v) == JSON_OBJECT && json_member(v, i, &key, &value); i++) {
		buf_printf(out, "%*s%s:", in_list && i == 0 ? 0 : indent, "", key);
		yaml_child(value, indent + 2, out);
	}
	for (size_t i = 0; json_type(v) == JSON_ARRAY && i < json_length(v); i++) {
		const struct json *item = json_at(v, i);
		buf_printf(out, "%*s-", in_list && i == 0 ? 0 : indent, "");
		if (yaml_inline(item)) {
			yaml_child(item, indent, out);
		} else {
			buf_u8(out, ' ');
			yaml_put(item, indent + 2, true, out);
		}
	}
}

static void yaml_root(const struct json *root, struct buf *out)
{
	if (!yaml_inline(root)) {
		yaml_put(root, 0, false, out);
		return;
	}
	json_canonical(root, out);
	buf_u8(out, '\n');
}

static void lines_put(const struct json *v, struct buf *out)
{
	for (size_t i = 0; i < json_length(v); i++) {
		json_canonical(json_at(v, i), out);
		buf_u8(out, '\n');
	}
}

int cli_emit(struct cli *cli, struct buf *json)
{
	struct json *root = NULL;
	struct buf out = BUF_INIT;
	bool lines = cli->output == CLI_JSONL && json->len > 0 && json->data[0] == '[';
	int rc = buf_failed(json) ? ERR_NOMEM : 0;
	if (rc == 0 && (lines || cli->output == CLI_YAML))
		rc = json_parse_nul(buf_cstr(json), json->len, &root, NULL);
	if (rc == 0 && lines)
		lines_put(root, &out);
	else if (rc == 0 && root != NULL)
		yaml_root(root, &out);
	else
		buf_printf(&out, "%s\n", buf_cstr(json));
	if (rc == 0 && !buf_failed(&out))
		printf("%s", buf_cstr(&out));
	else
		rc = ERR_NOMEM;
	json_free(&root);
	buf_free(&out);
	buf_free(json);
	return rc == 0 ? CLI_OK : cli_out_of_memory(cli);
}

bool cli_is_structured(const struct cli *cli)
{
	return cli->output == CLI_JSON || cli->output == CLI_JSONL || cli->output == CLI_YAML;
}

bool cli_output_open(void)
{
	return !ferror(stdout);
}

/* --- progress */

void cli_progress_begin(struct cli *cli, struct cli_progress *p, const char *what, const char *unit, uint64_t total)
{
	*p = (struct cli_progress){
		.what = what, .unit = unit, .total = total, .began_us = env_monotonic_us(cli->env)
	};
	p->shown_us = cli->stderr_is_terminal ? 0 : p->began_us;
}

static void time_format(double seconds, char *out, size_t out_bytes)
{
	int s = (int)(seconds + 0.5);
	if (s < 60)
		snprintf(out, out_bytes, "%d s", s);
	else
		snprintf(out, out_bytes, "%d:%02d min", s / 60, s % 60);
}

static void progress_print(struct cli *cli, const struct cli_progress *p, uint64_t done, const char *end)
{
	double seconds = (double)(env_monotonic_us(cli->env) - p->began_us) / 1e6;
	double share = p->total > 0 ? (double)done / (double)p->total : 0;
	double rate = seconds > 0 ? (double)done / seconds : 0;
	char spent[32], left[48] = "", bar[BAR_COLUMNS + 1];
	size_t filled = (size_t)(share * BAR_COLUMNS + 0.5);
	int decimals = rate < 10 ? 2 : rate < 100 ? 1 : 0;
	for (size_t i = 0; i < BAR_COLUMNS; i++)
		bar[i] = i < filled ? '#' : '.';
	bar[BAR_COLUMNS] = '\0';
	time_format(seconds, spent, sizeof spent);
	if (done > 0 && done < p->total) {
		char text[32];
		time_format((double)(p->total - done) / rate, text, sizeof text);
		snprintf(left, sizeof left, ", %s left", text);
	}
	fprintf(stderr, "%s%-12s ", cli->stderr_is_terminal ? "\r\033[K" : "", p->what);
	if (strcmp(p->unit, "%") == 0)
		fprintf(stderr, "[%s] %llu %%", bar, (unsigned long long)done);
	else if (p->awaited != NULL)
		fprintf(stderr, "[%s] %llu/%llu %s", bar, (unsigned long long)done, (unsigned long long)p->total,
			p->unit);
	else if (p->total > 0)
		fprintf(stderr, "[%s] %llu/%llu%s%s, %.*f/s", bar, (unsigned long long)done,
			(unsigned long long)p->total, p->unit[0] != '\0' ? " " : "", p->unit, decimals, rate);
	else /* a pipe's length is not known */
		fprintf(stderr, "%llu %s, %.*f/s", (unsigned long long)done, p->unit, decimals, rate);
	fprintf(stderr, ", %s%s%s%s", spent, p->awaited != NULL ? ", waiting for " : left,
		p->awaited != NULL ? p->awaited : "", end);
}

void cli_progress_set(struct cli *cli, struct cli_progress *p, uint64_t done)
{
	int64_t now = env_monotonic_us(cli->env);
	if (cli->quiet || now - p->shown_us < (cli->stderr_is_terminal ? BAR_US : PLAIN_LINE_US))
		return;
	p->shown_us = now;
	p->drawn = true;
	progress_print(cli, p, done, cli->stderr_is_terminal ? "" : "\n");
}

void cli_progress_end(struct cli *cli, struct cli_progress *p, uint64_t done)
{
	if (!cli->quiet)
		progress_print(cli, p, done, "\n");
	p->drawn = false;
}

void cli_progress_break(struct cli *cli, struct cli_progress *p)
{
	if (p->drawn && cli->stderr_is_terminal)
		fputc('\n', stderr);
	p->drawn = false;
}
