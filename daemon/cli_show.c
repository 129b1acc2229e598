/* cli_show.c: tables and progress bars. */
#include "daemon/cli.h"

#include "base/env.h"
#include "base/text.h"

#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define COLUMNS_MAX      16
#define CELL_COLUMNS_MAX 60 /* what a table cell shows; -o wide and json show all */
#define BAR_COLUMNS      24
#define PLAIN_LINE_US    (5 * INT64_C(1000000))
#define BAR_US           INT64_C(100000)

struct cli_table {
	size_t column_count, cell_count, cell_cap;
	char **cells; /* row-major, headers first */
};

/* Columns that a UTF-8 text takes: one a character; good enough for the languages that the tables show. */
static size_t width_of(const char *text)
{
	size_t width = 0;
	for (; *text != '\0'; text++)
		width += ((unsigned char)*text & 0xC0) != 0x80;
	return width;
}

static void cell_add(struct cli_table *t, const char *text)
{
	if (t->cell_count == t->cell_cap) {
		size_t cap = t->cell_cap == 0 ? 256 : t->cell_cap * 2;
		char **cells = realloc(t->cells, cap * sizeof *cells);
		if (cells == NULL)
			return;
		t->cells = cells;
		t->cell_cap = cap;
	}
	struct buf escaped = BUF_INIT;
	text_escape(text, strlen(text), &escaped);
	t->cells[t->cell_count++] = strdup(buf_cstr(&escaped));
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
	struct buf text = BUF_INIT;
	char small[1024];
	va_list list;
	va_start(list, format);
	vsnprintf(small, sizeof small, format, list);
	va_end(list);
	buf_puts(&text, small);
	cell_add(t, buf_cstr(&text));
	buf_free(&text);
}

/* Cuts at a character so that at most `columns` are shown, the last one an ellipsis. */
static void cut(char *text, size_t columns)
{
	if (width_of(text) <= columns)
		return;
	size_t seen = 0, i = 0;
	for (; text[i] != '\0'; i++)
		if (((unsigned char)text[i] & 0xC0) != 0x80 && ++seen == columns)
			break;
	memcpy(text + i, "\xE2\x80\xA6", strlen(text + i) >= 3 ? 3 : 0);
	text[i + (strlen(text + i) >= 3 ? 3 : 0)] = '\0';
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

void cli_table_print(struct cli *cli, struct cli_table **table)
{
	struct cli_table *t = *table;
	size_t widths[COLUMNS_MAX] = { 0 };
	size_t rows = t->cell_count / t->column_count;
	for (size_t i = 0; i < rows * t->column_count; i++) {
		if (cli->output != CLI_WIDE)
			cut(t->cells[i], CELL_COLUMNS_MAX);
		size_t width = width_of(t->cells[i]);
		if (width > widths[i % t->column_count])
			widths[i % t->column_count] = width;
	}
	for (size_t row = cli->no_headers ? 1 : 0; row < rows; row++)
		row_print(cli, t, row, widths);
	cli_table_free(table);
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

void cli_object_print(struct cli *cli, struct buf *json)
{
	struct json *root = NULL;
	(void)cli;
	if (json_parse(buf_cstr(json), json->len, &root, NULL) == 0)
		members_print(root, 0);
	json_free(&root);
}

void cli_progress_begin(struct cli *cli, struct cli_progress *p, const char *what, const char *unit, uint64_t total)
{
	*p = (struct cli_progress){ what, unit, total, env_monotonic_us(env_system()), 0, false };
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
	double seconds = (double)(env_monotonic_us(env_system()) - p->began_us) / 1e6;
	double share = p->total > 0 ? (double)done / (double)p->total : 0;
	double rate = seconds > 0 ? (double)done / seconds : 0;
	char spent[32], left[48] = "", bar[BAR_COLUMNS + 1];
	size_t filled = (size_t)(share * BAR_COLUMNS + 0.5);
	for (size_t i = 0; i < BAR_COLUMNS; i++)
		bar[i] = i < filled ? '#' : '.';
	bar[BAR_COLUMNS] = '\0';
	time_format(seconds, spent, sizeof spent);
	if (done > 0 && done < p->total) {
		char text[32];
		time_format((double)(p->total - done) / rate, text, sizeof text);
		snprintf(left, sizeof left, ", %s left", text);
	}
	fprintf(stderr, "%s%-12s [%s] %llu/%llu %s, %.3g/s, %s%s%s", cli->stderr_is_terminal ? "\r\033[K" : "", p->what,
		bar, (unsigned long long)done, (unsigned long long)p->total, p->unit, rate, spent, left, end);
}

void cli_progress_set(struct cli *cli, struct cli_progress *p, uint64_t done)
{
	int64_t now = env_monotonic_us(env_system());
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
}
