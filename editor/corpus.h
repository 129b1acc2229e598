/* corpus.h: the lines of a calibration corpus: "kind<tab>group<tab>subject<tab>text", kind prompt, rephrase, other,
 * near or unrelated; the subject may be empty, the text, which ends with the line, not. Empty lines are passed over.
 * Pure. */
#ifndef AMEND_EDITOR_CORPUS_H
#define AMEND_EDITOR_CORPUS_H

#include "base/record.h"

#define EDITOR_CORPUS_LINE_BYTES_MAX 8192u

enum editor_corpus_kind { EDITOR_UNRELATED, EDITOR_PROMPT, EDITOR_REPHRASE, EDITOR_OTHER, EDITOR_NEAR };
#define EDITOR_CORPUS_KINDS 5

struct editor_corpus {    /* a place in its bytes, which are borrowed */
	const char *what; /* "calibration corpus", for errors */
	const char *bytes;
	size_t len, at, line_no; /* of the line read last */
};
struct editor_corpus_line { /* in the corpus's bytes */
	enum editor_corpus_kind kind;
	struct record_text group, subject, text;
};
void editor_corpus_init(struct editor_corpus *corpus, const char *what, const char *bytes, size_t len);
/* ERR_NOT_FOUND: no more lines. ERR_INVALID, ERR_LIMIT: a line of another form, or too long a one; the next call reads
 * the one behind it. */
int editor_corpus_next(struct editor_corpus *corpus, struct editor_corpus_line *out, struct err *e) MUST_CHECK;
/* No fewer than it has. */
size_t editor_corpus_lines(const char *bytes, size_t len);

#endif
