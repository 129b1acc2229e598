/* import.h: files of edits, in our form and in the forms in which data sets are published, as edit records one at a
 * time. A file may hold a JSON array, JSON lines, or CSV with a header (RFC 4180), each also zstd-compressed; it is
 * streamed: memory is bounded by the largest item, not by the file. Not thread-safe per object. Blocks in read(). */
#ifndef AMEND_DAEMON_IMPORT_H
#define AMEND_DAEMON_IMPORT_H

#include "base/record.h"

enum import_format { /* IMPORT_AUTO: each item by its fields */
		     IMPORT_AUTO,
		     IMPORT_AMEND,
		     IMPORT_ZSRE,
		     IMPORT_COUNTERFACT,
		     IMPORT_KNOWEDIT,
		     IMPORT_MQUAKE,
		     IMPORT_HALLU_CSV,
};
#define IMPORT_FORMATS "auto|amend|zsre|counterfact|knowedit|mquake|hallu-csv"

#define IMPORT_ITEM_BYTES_MAX (1024 * 1024) /* one item as the file has it; a record has its own limit */
#define IMPORT_COLUMNS_MAX    256           /* of a CSV file */

/* NULL: IMPORT_AUTO. ERR_INVALID names the formats. */
int import_format_parse(const char *name, enum import_format *out, struct err *e) MUST_CHECK;

struct import_row {
	struct record *record; /* the caller's */
	const char *text;      /* the record's JSON, `len` bytes; valid until the next call */
	size_t len;
	size_t line_no; /* where the item begins in the file, from 1; several records of one item share it */
};

struct import_file;
/* "-": standard input. `path` is copied. ERR_INVALID: no text, by its first piece (NUL bytes, or a first line that is
 * no UTF-8; UTF-16 is named). */
int import_open(const char *path, enum import_format format, struct import_file **out, struct err *e) MUST_CHECK;
/* 0: `row` is filled. ERR_NOT_FOUND: the file has ended. ERR_INVALID: row->line_no is where a bad item begins, the text
 * is "field: reason", and the next call goes on behind it; an item that makes several records (MQuAKE) is taken whole
 * or not at all, and row->text is the item as the file has it. Any other code is the end of reading: ERR_IO,
 * ERR_CORRUPT (a damaged .zst), ERR_NOMEM, ERR_INTERRUPTED when a signal handler ran while it waited for bytes. `row`
 * is not touched but for line_no and that text. */
int import_next(struct import_file *file, struct import_row *row, struct err *e) MUST_CHECK;
void import_close(struct import_file **file);

/* How far reading is, in bytes of the file: for a progress bar. The size is 0 when unknown (a pipe). */
uint64_t import_bytes_read(const struct import_file *file);
uint64_t import_bytes_total(const struct import_file *file);

#endif
