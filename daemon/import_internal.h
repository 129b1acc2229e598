/* import_internal.h: the parts of the importer: source (bytes) → container (items) → format (records). */
#ifndef AMEND_DAEMON_IMPORT_INTERNAL_H
#define AMEND_DAEMON_IMPORT_INTERNAL_H

#include "base/arena.h"
#include "daemon/import.h"

/* --- import_source.c: the file's bytes, decompressed, without a byte order mark */
struct import__source {
	int fd;
	char *path;
	const uint8_t *at, *end; /* decompressed bytes that are not yet read */
	size_t line_no;          /* of the next byte */
	uint64_t bytes_read, bytes_total;
	struct zstd_reader *zstd; /* NULL: the file is not compressed */
	const uint8_t *packed;    /* compressed bytes that are not yet used */
	size_t packed_len;
	uint8_t *block, *plain; /* what was read; what was decompressed */
};
int import__source_open(const char *path, struct import__source *out, struct err *e) MUST_CHECK;
void import__source_close(struct import__source *source);
/* More bytes when there are none; source->at == source->end afterwards only at the end of the file. */
int import__source_fill(struct import__source *source, struct err *e) MUST_CHECK;
/* The next byte without taking it, -1 at the end. */
static inline int import__peek(struct import__source *source, int *c, struct err *e)
{
	if (source->at == source->end) {
		int rc = import__source_fill(source, e);
		if (rc != 0)
			return rc;
	}
	*c = source->at < source->end ? *source->at : -1;
	return 0;
}
/* Takes the byte that was peeked at. */
static inline void import__take(struct import__source *source)
{
	source->line_no += *source->at == '\n';
	source->at++;
}

/* --- Containers: the next item as JSON text. The contract of import_next, for import__item. */
struct import__item {
	struct buf text;
	size_t line_no;
};
struct import__csv;

struct import__array { /* import_array.c */
	bool begun, ended;
	bool first, skipping; /* no item yet; looking for the next item after a broken one */
	size_t column,
		here; /* of the item's first byte on its line, and of the next byte; SIZE_MAX: not at its start */
};
int import__line_next(struct import__source *source, struct import__item *item, struct err *e) MUST_CHECK;
int import__array_next(struct import__array *array, struct import__source *source, struct import__item *item,
		       struct err *e) MUST_CHECK;
int import__csv_new(struct import__csv **out, struct err *e) MUST_CHECK;
void import__csv_destroy(struct import__csv **csv);
/* The first row, before any other: an object with the columns' names, the values empty. */
int import__csv_header(struct import__csv *csv, struct import__source *source, struct import__item *item,
		       struct err *e) MUST_CHECK;
int import__csv_next(struct import__csv *csv, struct import__source *source, struct import__item *item,
		     struct err *e) MUST_CHECK;
/* Appends a byte to an item, up to the limit; what is over it is only counted. */
#define IMPORT__ITEM_PUT(item, c)                                                                                      \
	do {                                                                                                           \
		if ((item)->text.len <= IMPORT_ITEM_BYTES_MAX)                                                         \
			buf_u8(&(item)->text, (uint8_t)(c));                                                           \
	} while (0)
int import__item_check(const struct import__item *item, struct err *e) MUST_CHECK; /* too long, out of memory */

/* --- import_edit.c: one edit on its way into a record. Texts are trimmed and belong to the item or the arena. */
#define IMPORT__ALIASES_MAX 16 /* kept of a probe's other answers: some entities have hundreds */
struct import__list {
	struct record_text *items; /* at most RECORD_LIST_MAX; more are left out */
	size_t count;
};
struct import__probe {
	struct record_text prompt, target;
	const char *kind;
	struct import__list aliases;
};
struct import__probes {
	struct import__probe *items;
	size_t count;
};
struct import__edit {
	struct record_text prompt, subject, target_new, target_true, group, case_id, relation;
	struct import__list rephrases, aliases;
	struct import__probes locality, portability;
};
#define IMPORT__ROWS_MAX 64 /* records of one item */
struct import__out {
	struct arena *arena;
	struct buf text; /* the records' JSON, one after the other */
	struct {
		size_t at, len;
	} rows[IMPORT__ROWS_MAX];
	size_t count;
};
/* A string (or a number's text); {NULL, 0} when it is absent, null or blank. ERR_INVALID "NAME: …" for another type. */
int import__text(struct arena *arena, const struct json *value, const char *name, struct record_text *out,
		 struct err *e) MUST_CHECK;
/* As import__text, but "NAME: missing" or "NAME: empty". */
int import__required(struct arena *arena, const struct json *value, const char *name, struct record_text *out,
		     struct err *e) MUST_CHECK;
/* Adds a string, or the strings of a list or of a list of lists; blank ones and those that are there are left out. */
int import__add(struct arena *arena, const struct json *value, const char *name, struct import__list *list,
		struct err *e) MUST_CHECK;
/* The first text of such a value, and the others as `rest`. */
int import__answers(struct arena *arena, const struct json *value, const char *name, struct record_text *first,
		    struct import__list *rest, struct err *e) MUST_CHECK;
/* Adds a probe; one without a prompt is left out. */
int import__probe(struct arena *arena, struct import__probes *probes, const struct import__probe *probe,
		  struct err *e) MUST_CHECK;
/* {prompt (with {} for the subject), subject, target_new, target_true, relation_id}: a target is a text, {str}, or
 * target_new_str beside it. */
int import__rewrite(struct arena *arena, const struct json *rewrite, struct import__edit *edit,
		    struct err *e) MUST_CHECK;
/* "portability": {"New Question", "New Answer"}, which EasyEdit's ZsRE and CounterFact files add. */
int import__new_question(struct arena *arena, const struct json *item, struct import__edit *edit,
			 struct err *e) MUST_CHECK;
/* Writes the record, texts in NFC, and adds it to the rows. */
int import__emit(struct import__out *out, const struct import__edit *edit, struct err *e) MUST_CHECK;

/* --- Formats. `item` is an object. */
struct import__format {
	const char *name;
	bool (*recognises)(const struct json *item);
	int (*convert)(const struct json *item, struct import__out *out, struct err *e); /* NULL: it is a record */
};
/* A question with its new answer, as records and flat CounterFact have them. */
bool import__has_core(const struct json *item);
extern const struct import__format import__record, import__zsre, import__counterfact, import__knowedit, import__mquake,
	import__hallu_csv;

#endif
