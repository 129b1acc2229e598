/* Rows of a CSV file (RFC 4180) as JSON objects of strings, by the names in its first row. Empty fields are left out,
 * as are columns without a name and all but the first of several columns of one name. */
#include "base/fault.h"
#include "daemon/import_internal.h"

#include <csv.h>
#include <stdlib.h>
#include <string.h>

struct import__csv {
	struct csv_parser parser;
	struct buf names;           /* of the columns, each with its NUL; the empty name: the column is not used */
	size_t name_count, name_at; /* name_at: the offset of the name of the field that comes next */
	bool named;                 /* the header has been read */
	/* the row being read */
	struct import__item *item;
	struct json_w w;
	size_t field_count, row_bytes;
	bool row_done, line_empty, ended; /* ended: without a header the rest means nothing */
};

#define OPTIONS (CSV_STRICT | CSV_STRICT_FINI | CSV_APPEND_NULL | CSV_REPALL_NL)

static int parser_init(struct csv_parser *parser, struct err *e)
{
	if (csv_init(parser, OPTIONS) != 0)
		return err_set(e, ERR_NOMEM, "out of memory for CSV");
	csv_set_realloc_func(parser, fault_realloc);
	return 0;
}

int import__csv_new(struct import__csv **out, struct err *e)
{
	struct import__csv *csv = fault_calloc(1, sizeof(*csv));
	int rc = csv == NULL ? err_set(e, ERR_NOMEM, "out of memory for CSV") : parser_init(&csv->parser, e);
	if (rc != 0)
		free(csv);
	else
		*out = csv;
	return rc;
}

void import__csv_destroy(struct import__csv **csv)
{
	if (*csv == NULL)
		return;
	csv_free(&(*csv)->parser);
	buf_free(&(*csv)->names);
	free(*csv);
	*csv = NULL;
}

static bool name_known(const struct import__csv *csv, const char *name)
{
	const char *at = (const char *)csv->names.data;
	for (size_t i = 0; i < csv->name_count; i++, at += strlen(at) + 1) {
		if (strcmp(at, name) == 0)
			return true;
	}
	return false;
}

static void on_name(struct import__csv *csv, const char *text, size_t len)
{
	if (buf_failed(&csv->names))
		return;
	if (strlen(text) != len || name_known(csv, text))
		len = 0;
	buf_append(&csv->names, text, len);
	buf_u8(&csv->names, '\0');
	csv->name_count++;
}

static void on_field(void *bytes, size_t len, void *context)
{
	struct import__csv *csv = context;
	const char *text = bytes != NULL ? bytes : "";
	csv->field_count++;
	if (csv->field_count > IMPORT_COLUMNS_MAX || csv->row_bytes > IMPORT_ITEM_BYTES_MAX)
		return;
	if (!csv->named) {
		on_name(csv, text, len);
		return;
	}
	if (csv->field_count > csv->name_count)
		return;
	const char *name = (const char *)csv->names.data + csv->name_at;
	csv->name_at += strlen(name) + 1;
	if (name[0] == '\0' || len == 0)
		return;
	json_w_key(&csv->w, name);
	json_w_strn(&csv->w, text, len);
}

static void on_row(int terminator, void *context)
{
	struct import__csv *csv = context;
	(void)terminator;
	csv->row_done = csv->field_count > 0;
	csv->line_empty = !csv->row_done;
}

static void row_begin(struct import__csv *csv, struct import__source *source, struct import__item *item)
{
	buf_clear(&item->text);
	item->line_no = source->line_no;
	csv->item = item;
	csv->field_count = csv->row_bytes = csv->name_at = 0;
	csv->row_done = csv->line_empty = false;
	json_w_init(&csv->w, &item->text);
	json_w_open(&csv->w, '{');
}

/* After a broken row the parser begins anew on the next line. */
static int give_up(struct import__csv *csv, struct import__source *source, const char *reason, struct err *e)
{
	int c = 0, rc = 0;
	csv_free(&csv->parser);
	rc = parser_init(&csv->parser, e);
	if (rc != 0)
		return rc;
	while ((rc = import__peek(source, &c, e)) == 0 && c >= 0) {
		import__take(source);
		if (c == '\n')
			break;
	}
	return rc != 0 ? rc : err_set(e, ERR_INVALID, "record: %s", reason);
}

/* Hands the parser one byte. libcsv ends a row at a carriage return too, and then skips the line feed. */
static int feed(struct import__csv *csv, struct import__source *source, int c, struct err *e)
{
	unsigned char byte = (unsigned char)c;
	size_t taken = csv_parse(&csv->parser, &byte, 1, on_field, on_row, csv);
	if (taken == 1) {
		import__take(source);
		csv->row_bytes++;
		return 0;
	}
	if (csv_error(&csv->parser) == CSV_EPARSE)
		return give_up(csv, source, "a quote in the wrong place: quotes inside a field are doubled", e);
	return err_set(e, ERR_NOMEM, "out of memory for a field");
}

static int finish(struct import__csv *csv, struct import__source *source, struct err *e)
{
	if (csv_fini(&csv->parser, on_field, on_row, csv) == 0)
		return 0;
	if (csv_error(&csv->parser) == CSV_EPARSE)
		return give_up(csv, source, "the file ends inside a quoted field", e);
	return err_set(e, ERR_NOMEM, "out of memory for a field");
}

/* Reads to the end of a row; ERR_NOT_FOUND when no row is left. */
static int row_read(struct import__csv *csv, struct import__source *source, struct import__item *item, struct err *e)
{
	row_begin(csv, source, item);
	while (!csv->row_done) {
		int c = 0, rc = import__peek(source, &c, e);
		if (rc == 0 && c < 0) {
			rc = finish(csv, source, e);
			return rc != 0 || csv->row_done ? rc : ERR_NOT_FOUND;
		}
		if (rc == 0)
			rc = feed(csv, source, c, e);
		if (rc != 0)
			return rc;
		if (csv->line_empty)
			row_begin(csv, source, item);
		if (csv->row_bytes > IMPORT_ITEM_BYTES_MAX)
			return give_up(csv, source, "over 1 MiB: is a quote not closed?", e);
	}
	return 0;
}

int import__csv_header(struct import__csv *csv, struct import__source *source, struct import__item *item, struct err *e)
{
	int rc = row_read(csv, source, item, e);
	csv->named = true;
	csv->ended = rc != 0 || csv->field_count > IMPORT_COLUMNS_MAX;
	if (rc == ERR_INVALID)
		err_wrap(e, "header");
	if (rc != 0)
		return rc;
	if (csv->ended)
		return err_set(e, ERR_INVALID, "header: %zu columns, %d are possible", csv->field_count,
			       IMPORT_COLUMNS_MAX);
	if (buf_failed(&csv->names))
		return err_set(e, ERR_NOMEM, "out of memory for the header");
	const char *name = (const char *)csv->names.data;
	for (size_t i = 0; i < csv->name_count; i++, name += strlen(name) + 1) {
		if (name[0] == '\0')
			continue;
		json_w_key(&csv->w, name);
		json_w_str(&csv->w, "");
	}
	json_w_close(&csv->w);
	return buf_failed(&item->text) ? err_set(e, ERR_NOMEM, "out of memory for the header") : 0;
}

int import__csv_next(struct import__csv *csv, struct import__source *source, struct import__item *item, struct err *e)
{
	int rc = csv->ended ? ERR_NOT_FOUND : row_read(csv, source, item, e);
	if (rc != 0)
		return rc;
	if (csv->field_count != csv->name_count)
		return err_set(e, ERR_INVALID, "record: %zu fields, the header has %zu", csv->field_count,
			       csv->name_count);
	json_w_close(&csv->w);
	return buf_failed(&item->text) ? err_set(e, ERR_NOMEM, "out of memory for a row") : 0;
}
