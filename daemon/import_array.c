/* Items of JSON lines and of a JSON array, cut out of the stream for json_parse: brackets and strings are followed,
 * what stands between them is the parser's business. */
#include "daemon/import_internal.h"

#include <string.h>

static bool is_space(int c)
{
	return c == ' ' || c == '\t' || c == '\n' || c == '\r';
}

int import__item_check(const struct import__item *item, struct err *e)
{
	if (buf_failed(&item->text))
		return err_set(e, ERR_NOMEM, "out of memory for an item");
	if (item->text.len > IMPORT_ITEM_BYTES_MAX)
		return err_set(e, ERR_INVALID, "record: over %d bytes", IMPORT_ITEM_BYTES_MAX);
	return 0;
}

static bool is_blank(const struct buf *text)
{
	for (size_t i = 0; i < text->len; i++) {
		if (!is_space(text->data[i]))
			return false;
	}
	return true;
}

int import__line_next(struct import__source *source, struct import__item *item, struct err *e)
{
	for (;;) {
		int c = 0, rc = 0;
		buf_clear(&item->text);
		item->line_no = source->line_no;
		while ((rc = import__peek(source, &c, e)) == 0 && c >= 0) {
			import__take(source);
			if (c == '\n')
				break;
			IMPORT__ITEM_PUT(item, c);
		}
		if (rc == 0)
			rc = import__item_check(item, e);
		if (rc != 0)
			return rc;
		if (item->text.len > 0 && item->text.data[item->text.len - 1] == '\r')
			item->text.len--;
		if (!is_blank(&item->text))
			return 0;
		if (c < 0)
			return ERR_NOT_FOUND;
	}
}

/* --- An array */

/* Skips white space; *column is then where the next byte stands on its line, or SIZE_MAX when something else that was
 * taken stands before it. */
static int skip_space(struct import__source *s, int *c, size_t *column, struct err *e)
{
	for (;;) {
		int rc = import__peek(s, c, e);
		if (rc != 0 || *c < 0 || !is_space(*c))
			return rc;
		import__take(s);
		if (*c == '\n')
			*column = 0;
		else if (*column != SIZE_MAX)
			(*column)++;
	}
}

/* Takes the opening bracket, the closing one and the comma between items. *more: an item begins here. */
static int separator(struct import__array *a, struct import__source *s, bool *more, struct err *e)
{
	int c = 0;
	*more = false;
	a->here = SIZE_MAX;
	int rc = skip_space(s, &c, &a->here, e);
	if (rc != 0)
		return rc;
	if (c < 0) {
		a->ended = true;
		return err_set(e, ERR_INVALID, "record: the file ends inside the array: it was cut short");
	}
	if (c == ']') {
		import__take(s);
		a->ended = true;
		return 0;
	}
	if (!a->first && c != ',')
		return err_set(e, ERR_INVALID, "record: a comma or ] must follow the item before");
	if (!a->first) {
		import__take(s);
		a->here = SIZE_MAX;
		rc = skip_space(s, &c, &a->here, e);
	}
	if (rc == 0 && (c < 0 || c == ']' || c == ','))
		return err_set(e, ERR_INVALID, "record: no item follows the comma");
	*more = rc == 0;
	a->column = a->here;
	return rc;
}

/* Moves to the item after a broken one: an opening brace in the broken one's column, or in a file without line breaks
 * the next brace. What stands before it belongs to the broken one. */
static int resync(struct import__array *a, struct import__source *s, struct err *e)
{
	size_t wanted = a->column, column = a->here;
	for (;;) {
		int c = 0, rc = skip_space(s, &c, &column, e);
		if (rc != 0)
			return rc;
		if (c < 0 || (c == '{' && column == wanted)) {
			a->column = column;
			return 0;
		}
		import__take(s);
		column = SIZE_MAX;
	}
}

struct scan {
	size_t depth;
	bool in_string, escaped;
};

/* Whether the value goes on behind this byte of it. */
static bool scan_byte(struct scan *scan, int c)
{
	if (scan->in_string) {
		if (scan->escaped)
			scan->escaped = false;
		else if (c == '\\')
			scan->escaped = true;
		else
			scan->in_string = c != '"';
	} else if (c == '"') {
		scan->in_string = true;
	} else if (c == '{' || c == '[') {
		scan->depth++;
	} else if (c == '}' || c == ']') {
		scan->depth--;
	} else {
		return true; /* of a number or a word: its end shows in the byte after it */
	}
	return scan->in_string || scan->depth > 0;
}

static int take_value(struct import__array *a, struct import__source *s, struct import__item *item, struct err *e)
{
	struct scan scan = { 0, false, false };
	item->line_no = s->line_no;
	for (;;) {
		int c = 0, rc = import__peek(s, &c, e);
		if (rc != 0)
			return rc;
		if (c < 0) {
			a->ended = true;
			return err_set(e, ERR_INVALID, "record: the file ends inside it: it was cut short");
		}
		if (scan.in_string && c == '\n') {
			a->skipping = true;
			return err_set(e, ERR_INVALID,
				       "record: a line break inside a text: its closing quote is missing");
		}
		if (scan.depth == 0 && !scan.in_string && (c == ',' || c == ']' || c == '}' || is_space(c)) &&
		    item->text.len > 0)
			return 0;
		import__take(s);
		IMPORT__ITEM_PUT(item, c);
		bool stray = scan.depth == 0 && !scan.in_string && c == '}';
		a->skipping = stray || item->text.len > IMPORT_ITEM_BYTES_MAX;
		if (stray)
			return err_set(e, ERR_INVALID, "record: } without {");
		if (a->skipping) /* behind a bracket that is never closed stands the whole rest of the file */
			return err_set(e, ERR_INVALID, "record: over %d bytes, or a bracket is not closed",
				       IMPORT_ITEM_BYTES_MAX);
		if (!scan_byte(&scan, c))
			return 0;
	}
}

/* Nothing but white space may follow the array. */
static int after_end(struct import__source *s, struct import__item *item, struct err *e)
{
	int c = 0;
	size_t column = 0;
	int rc = skip_space(s, &c, &column, e);
	if (rc != 0 || c < 0)
		return rc != 0 ? rc : ERR_NOT_FOUND;
	item->line_no = s->line_no;
	while (rc == 0 && c >= 0) {
		import__take(s);
		rc = import__peek(s, &c, e);
	}
	return rc != 0 ? rc : err_set(e, ERR_INVALID, "record: text after the end of the array");
}

int import__array_next(struct import__array *a, struct import__source *s, struct import__item *item, struct err *e)
{
	bool more = true;
	int c = 0, rc = 0;
	buf_clear(&item->text);
	if (!a->begun) {
		rc = skip_space(s, &c, &a->here, e);
		if (rc != 0)
			return rc;
		import__take(s); /* [ */
		a->begun = a->first = true;
	}
	if (a->skipping) {
		rc = resync(a, s, e);
		a->skipping = false;
		if (rc == 0)
			rc = import__peek(s, &c, e);
		if (rc == 0 && c < 0)
			a->ended = true; /* the broken item took the array's end with it, and was reported */
	} else if (!a->ended) {
		item->line_no = s->line_no;
		rc = separator(a, s, &more, e);
		a->skipping = rc == ERR_INVALID && !a->ended;
		item->line_no = rc == ERR_INVALID ? s->line_no : item->line_no;
	}
	if (rc != 0)
		return rc;
	if (a->ended || !more)
		return after_end(s, item, e);
	a->first = false;
	a->here = SIZE_MAX;
	rc = take_value(a, s, item, e);
	return rc == 0 ? import__item_check(item, e) : rc;
}
