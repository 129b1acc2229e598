/* eval_rows.h: the rows of an evaluation: which are edited, which probe, which may not be used. Inside daemon/ only. */
#ifndef AMEND_DAEMON_EVAL_ROWS_H
#define AMEND_DAEMON_EVAL_ROWS_H

#include "daemon/eval_file.h"

struct eval__rows_from {
	const char *corpus;
	size_t corpus_len;
	const struct editor_fitting *fitting; /* what may not be evaluated beside the corpus's texts; may be NULL */
	const struct model *model;            /* a row that its context does not hold is a bad line */
	const struct editor_config *config;
};

struct eval__rows {
	struct eval__row *edits, *probes;
	size_t edit_count, edit_cap, probe_count, probe_cap;
	/* while the file is read: edits by their keys, in the order of the file; SIZE_MAX: none */
	struct eval__bucket {
		size_t first, last;
		size_t next; /* not of this bucket: the edit after the edit with this index */
	} * buckets[EVAL__KEY_COUNT];
	size_t bucket_count; /* of each: a power of two and no less than edit_count, or 0 */
	struct eval__mention {
		uint64_t word; /* hash of a word that the prompt of an edit without a subject says */
		size_t edit;
	} * mentions;
	size_t mention_count, mention_cap;
	const struct eval__rows_from *from;
	struct editor_fitting fitted; /* texts of the corpus and of what a calibration was fitted on */
	char *text_bytes;             /* the corpus, its texts ended by NULs */
	struct record_text *texts;    /* its unrelated ones, in text_bytes */
	size_t text_count;
};

/* Reads options->file; fills the report's counts of the file. */
int eval__rows_read(const struct eval_options *options, const struct eval__rows_from *from, struct eval__rows *rows,
		    struct eval_report *report, struct err *e) MUST_CHECK;
void eval__rows_fini(struct eval__rows *rows);

#endif
