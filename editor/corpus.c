#include "editor/corpus.h"

#include <string.h>

static const char *const kinds[EDITOR_CORPUS_KINDS] = { "unrelated", "prompt", "rephrase", "other", "near" };

void editor_corpus_init(struct editor_corpus *corpus, const char *what, const char *bytes, size_t len)
{
	*corpus = (struct editor_corpus){ .what = what, .bytes = bytes, .len = len };
}

size_t editor_corpus_lines(const char *bytes, size_t len)
{
	size_t lines = 1;
	for (size_t i = 0; i < len; i++)
		lines += bytes[i] == '\n' ? 1 : 0;
	return lines;
}

/* The next column of a line: up to a tab. */
static bool take_column(const char **at, const char *end, struct record_text *out)
{
	const char *tab = memchr(*at, '\t', (size_t)(end - *at));
	if (tab == NULL)
		return false;
	*out = (struct record_text){ .text = *at, .len = (size_t)(tab - *at) };
	*at = tab + 1;
	return true;
}

static bool take_kind(const char **at, const char *end, enum editor_corpus_kind *out)
{
	struct record_text name;
	if (!take_column(at, end, &name))
		return false;
	for (size_t i = 0; i < EDITOR_CORPUS_KINDS; i++) {
		if (strlen(kinds[i]) == name.len && memcmp(kinds[i], name.text, name.len) == 0) {
			*out = (enum editor_corpus_kind)i;
			return true;
		}
	}
	return false;
}

static int split(const struct editor_corpus *c, const char *at, size_t len, struct editor_corpus_line *out,
		 struct err *e)
{
	const char *end = at + len;
	if (len > EDITOR_CORPUS_LINE_BYTES_MAX)
		return err_set(e, ERR_LIMIT, "%s: line %zu: %zu bytes, at most %u", c->what, c->line_no, len,
			       EDITOR_CORPUS_LINE_BYTES_MAX);
	if (!take_kind(&at, end, &out->kind) || !take_column(&at, end, &out->group) ||
	    !take_column(&at, end, &out->subject) || at == end)
		return err_set(e, ERR_INVALID,
			       "%s: line %zu: must read \"kind<tab>group<tab>subject<tab>text\", kind prompt, "
			       "rephrase, other, near or unrelated",
			       c->what, c->line_no);
	out->text = (struct record_text){ .text = at, .len = (size_t)(end - at) };
	return 0;
}

int editor_corpus_next(struct editor_corpus *c, struct editor_corpus_line *out, struct err *e)
{
	while (c->at < c->len) {
		const char *line = c->bytes + c->at, *end = memchr(line, '\n', c->len - c->at);
		const size_t len = end != NULL ? (size_t)(end - line) : c->len - c->at;
		c->at += end != NULL ? len + 1 : len;
		c->line_no++;
		if (len > 0)
			return split(c, line, len, out, e);
	}
	return ERR_NOT_FOUND;
}
