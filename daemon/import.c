#include "daemon/import.h"

#include "base/fault.h"
#include "daemon/import_internal.h"

#include <stdlib.h>
#include <string.h>

#define ARENA_BLOCK_BYTES (64 * 1024)
#define ARENA_BYTES_MAX   (16 * IMPORT_ITEM_BYTES_MAX)

enum container { LINES, ARRAY, TABLE };

struct import_file {
	struct import__source source;
	enum import_format format;
	enum container container;
	struct import__array array;
	struct import__csv *csv;
	const struct import__format *table_format; /* of a CSV file */
	bool begun;                                /* its header has been read */
	struct import__item item;
	struct import__out out;
	struct record *records[IMPORT__ROWS_MAX]; /* of the item, those from next_row on are not yet given out */
	size_t next_row;
};

/* What has these fields and more may have those of a later one too, so the order counts. What none recognises is taken
 * for a record, whose check then says what is missing. */
static const struct {
	enum import_format id;
	const struct import__format *format;
} formats[] = {
	{ IMPORT_AMEND, &import__record },
	{ IMPORT_MQUAKE, &import__mquake },
	{ IMPORT_ZSRE, &import__zsre },
	{ IMPORT_KNOWEDIT, &import__knowedit },
	{ IMPORT_COUNTERFACT, &import__counterfact },
	{ IMPORT_HALLU_CSV, &import__hallu_csv },
};
#define FORMAT_COUNT (sizeof(formats) / sizeof(formats[0]))

int import_format_parse(const char *name, enum import_format *out, struct err *e)
{
	*out = IMPORT_AUTO;
	if (name == NULL || strcmp(name, "auto") == 0)
		return 0;
	for (size_t i = 0; i < FORMAT_COUNT; i++) {
		if (strcmp(name, formats[i].format->name) == 0) {
			*out = formats[i].id;
			return 0;
		}
	}
	return err_set(e, ERR_INVALID, "--format %.64s: may be " IMPORT_FORMATS, name);
}

static const struct import__format *format_of(enum import_format wanted, const struct json *item)
{
	for (size_t i = 0; i < FORMAT_COUNT; i++) {
		if (wanted == IMPORT_AUTO ? formats[i].format->recognises(item) : wanted == formats[i].id)
			return formats[i].format;
	}
	return &import__record;
}

/* --- Opening */

static bool ends_with(const char *text, const char *end)
{
	size_t len = strlen(text), end_len = strlen(end);
	return len >= end_len && strcmp(text + len - end_len, end) == 0;
}

/* By the name, else by the first byte that is no white space. */
static int container_of(struct import_file *file, const char *path, struct err *e)
{
	int c = 0, rc = 0;
	if (ends_with(path, ".csv") || ends_with(path, ".csv.zst")) {
		file->container = TABLE;
		return 0;
	}
	while ((rc = import__peek(&file->source, &c, e)) == 0 && (c == ' ' || c == '\t' || c == '\n' || c == '\r'))
		import__take(&file->source);
	if (rc != 0)
		return rc;
	file->container = c == '[' ? ARRAY : c != '{' && file->format == IMPORT_HALLU_CSV ? TABLE : LINES;
	return 0;
}

int import_open(const char *path, enum import_format format, struct import_file **out, struct err *e)
{
	struct import_file *file = fault_calloc(1, sizeof(*file));
	if (file == NULL)
		return err_set(e, ERR_NOMEM, "opening %s: out of memory", path);
	file->format = format;
	int rc = import__source_open(path, &file->source, e);
	if (rc != 0) {
		free(file);
		return rc;
	}
	rc = container_of(file, path, e);
	if (rc == 0 && file->container == TABLE)
		rc = import__csv_new(&file->csv, e);
	if (rc == 0 && arena_new(ARENA_BLOCK_BYTES, ARENA_BYTES_MAX, &file->out.arena) != 0)
		rc = err_set(e, ERR_NOMEM, "opening %s: out of memory", path);
	if (rc != 0)
		import_close(&file);
	else
		*out = file;
	return rc;
}

static void drop_rows(struct import_file *file)
{
	for (size_t i = file->next_row; i < file->out.count; i++)
		record_destroy(&file->records[i]);
	file->next_row = file->out.count = 0;
}

void import_close(struct import_file **file)
{
	struct import_file *f = *file;
	if (f == NULL)
		return;
	drop_rows(f);
	import__csv_destroy(&f->csv);
	import__source_close(&f->source);
	arena_destroy(&f->out.arena);
	buf_free(&f->item.text);
	buf_free(&f->out.text);
	free(f);
	*file = NULL;
}

/* --- Reading */

static int item_parse(const struct buf *text, struct json **item, struct err *e)
{
	int rc = json_parse((const char *)text->data, text->len, item, e);
	if (rc == ERR_LIMIT)
		return err_set(e, ERR_INVALID, "record: JSON nested deeper than %d", JSON_DEPTH_MAX);
	if (rc != 0) {
		err_wrap(e, "record");
		return rc;
	}
	if (json_type(*item) == JSON_OBJECT)
		return 0;
	json_free(item);
	return err_set(e, ERR_INVALID, "record: must be a JSON object");
}

/* A row leaves out its empty fields, so a table is known by its header. */
static int table_begin(struct import_file *file, struct err *e)
{
	struct json *header = NULL;
	int rc = import__csv_header(file->csv, &file->source, &file->item, e);
	file->begun = true;
	if (rc == 0)
		rc = item_parse(&file->item.text, &header, e);
	if (rc == 0)
		file->table_format = format_of(file->format, header);
	json_free(&header);
	return rc;
}

static int item_next(struct import_file *file, struct err *e)
{
	int rc = 0;
	switch (file->container) {
	case LINES:
		return import__line_next(&file->source, &file->item, e);
	case ARRAY:
		return import__array_next(&file->array, &file->source, &file->item, e);
	case TABLE:
		break;
	}
	if (!file->begun)
		rc = table_begin(file, e);
	return rc == 0 ? import__csv_next(file->csv, &file->source, &file->item, e) : rc;
}

/* A record is kept as it is written; over several lines, in canonical form. */
static int keep(struct import_file *file, const struct json *item, struct err *e)
{
	struct import__out *out = &file->out;
	const struct buf *text = &file->item.text;
	if (memchr(text->data, '\n', text->len) == NULL)
		buf_append(&out->text, text->data, text->len);
	else
		json_canonical(item, &out->text);
	out->rows[0].at = 0;
	out->rows[0].len = out->text.len;
	out->count = 1;
	return buf_failed(&out->text) ? err_set(e, ERR_NOMEM, "out of memory for a record") : 0;
}

/* All records of the item, or none. */
static int records_parse(struct import_file *file, struct err *e)
{
	struct import__out *out = &file->out;
	for (size_t i = 0; i < out->count; i++) {
		const char *text = (const char *)out->text.data + out->rows[i].at;
		int rc = record_parse_new(text, out->rows[i].len, &file->records[i], e);
		if (rc == 0)
			continue;
		if (out->count > 1 && rc == ERR_INVALID)
			err_wrap(e, "edit %zu of %zu", i + 1, out->count);
		out->count = i;
		drop_rows(file);
		return rc;
	}
	return 0;
}

static int item_convert(struct import_file *file, struct err *e)
{
	struct json *item = NULL;
	file->next_row = file->out.count = 0;
	buf_clear(&file->out.text);
	arena_reset(file->out.arena, 0);
	int rc = item_parse(&file->item.text, &item, e);
	if (rc != 0)
		return rc;
	const struct import__format *format = file->table_format != NULL ? file->table_format
									 : format_of(file->format, item);
	rc = format->convert == NULL ? keep(file, item, e) : format->convert(item, &file->out, e);
	if (rc != 0)
		file->out.count = 0;
	else
		rc = records_parse(file, e);
	json_free(&item);
	return rc;
}

int import_next(struct import_file *file, struct import_row *row, struct err *e)
{
	if (file->next_row == file->out.count) {
		int rc = item_next(file, e);
		row->line_no = file->item.line_no;
		if (rc == 0) {
			rc = item_convert(file, e);
			row->text = (const char *)file->item.text.data;
			row->len = file->item.text.len;
		}
		if (rc != 0)
			return rc;
	}
	size_t i = file->next_row++;
	*row = (struct import_row){ .record = file->records[i],
				    .text = (const char *)file->out.text.data + file->out.rows[i].at,
				    .len = file->out.rows[i].len,
				    .line_no = file->item.line_no };
	return 0;
}

uint64_t import_bytes_read(const struct import_file *file)
{
	return file->source.bytes_read;
}

uint64_t import_bytes_total(const struct import_file *file)
{
	return file->source.bytes_total;
}
