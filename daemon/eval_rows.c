#include "daemon/eval_rows.h"
#include "base/fault.h"
#include "base/mention.h"
#include "base/text.h"
#include "editor/corpus.h"

#include <stdlib.h>
#include <string.h>

#define ROWS_MAX 1000000u

/* ---- Texts of the calibration corpus */

/* The texts of kind `unrelated`, as they stand there. */
static int read_texts(struct eval__rows *rows, const char *bytes, size_t len, struct err *e)
{
	struct editor_corpus_line line;
	struct editor_corpus lines;
	int rc;
	rows->texts = fault_calloc(editor_corpus_lines(bytes, len), sizeof(*rows->texts));
	rows->text_bytes = fault_malloc(len + 1);
	if (rows->texts == NULL || rows->text_bytes == NULL)
		return err_set(e, ERR_NOMEM, "calibration corpus: out of memory");
	memcpy(rows->text_bytes, bytes, len);
	editor_corpus_init(&lines, "calibration corpus", bytes, len);
	while ((rc = editor_corpus_next(&lines, &line, e)) == 0) {
		char *text = rows->text_bytes + (line.text.text - bytes);
		text[line.text.len] = '\0';
		if (line.kind == EDITOR_UNRELATED)
			rows->texts[rows->text_count++] = (struct record_text){ text, line.text.len };
	}
	return rc == ERR_NOT_FOUND ? 0 : rc;
}

static int read_corpus(struct eval__rows *rows, const struct eval__rows_from *from, struct err *e)
{
	int rc = editor_fitting_add_corpus(&rows->fitted, from->corpus, from->corpus_len, e);
	if (rc == 0 && from->fitting != NULL)
		rc = editor_fitting_add_digests(&rows->fitted, from->fitting, e);
	editor_fitting_sort(&rows->fitted);
	return rc == 0 ? read_texts(rows, from->corpus, from->corpus_len, e) : rc;
}

/* Its prompt or one of its rephrases. */
static int is_calibration_row(const struct eval__rows *rows, const struct record *record, bool *found)
{
	int rc = editor_fitting_has(&rows->fitted, record->prompt.text, record->prompt.len, found);
	for (size_t i = 0; i < record->rephrase_count && rc == 0 && !*found; i++)
		rc = editor_fitting_has(&rows->fitted, record->rephrases[i].text, record->rephrases[i].len, found);
	return rc;
}

/* ---- Rows */

static int hash_key(const struct record *record, int (*key_of)(const struct record *, struct buf *), uint64_t *out)
{
	struct buf key = BUF_INIT;
	int rc = key_of(record, &key);
	*out = hash_short(HASH_SHORT_INIT, key.data, key.len);
	buf_free(&key);
	return rc;
}

static int hash_keys(struct eval__row *row)
{
	int rc = hash_key(row->record, record_subject_key, &row->keys[EVAL__SUBJECT]);
	return rc == 0 ? hash_key(row->record, record_prompt_key, &row->keys[EVAL__PROMPT]) : rc;
}

static int push(struct eval__row **items, size_t *count, size_t *cap, const struct eval__row *row, struct err *e)
{
	if (*count == *cap) {
		const size_t grown_cap = *cap > 0 ? 2 * *cap : 128;
		struct eval__row *grown = *count < ROWS_MAX ? fault_realloc(*items, grown_cap * sizeof(*grown)) : NULL;
		if (grown == NULL)
			return err_set(e, ERR_NOMEM, "out of memory for %zu rows (at most %u)", grown_cap, ROWS_MAX);
		*items = grown;
		*cap = grown_cap;
	}
	(*items)[(*count)++] = *row;
	return 0;
}

/* ---- Edits by their keys */

static struct eval__bucket *bucket_of(const struct eval__rows *rows, enum eval__key key, uint64_t hash)
{
	return &rows->buckets[key][hash & (rows->bucket_count - 1)];
}

static void buckets_add(struct eval__rows *rows, size_t edit)
{
	for (enum eval__key key = 0; key < EVAL__KEY_COUNT; key++) {
		struct eval__bucket *bucket = bucket_of(rows, key, rows->edits[edit].keys[key]);
		rows->buckets[key][edit].next = SIZE_MAX;
		if (bucket->first == SIZE_MAX)
			bucket->first = edit;
		else
			rows->buckets[key][bucket->last].next = edit;
		bucket->last = edit;
	}
}

static int buckets_grow(struct eval__rows *rows, struct err *e)
{
	const size_t count = rows->bucket_count > 0 ? 2 * rows->bucket_count : 256;
	for (enum eval__key key = 0; key < EVAL__KEY_COUNT; key++) {
		struct eval__bucket *grown = fault_realloc(rows->buckets[key], count * sizeof(*grown));
		if (grown == NULL)
			return err_set(e, ERR_NOMEM, "out of memory for %zu rows", count);
		rows->buckets[key] = grown;
		for (size_t i = 0; i < count; i++)
			grown[i] = (struct eval__bucket){ SIZE_MAX, SIZE_MAX, SIZE_MAX };
	}
	rows->bucket_count = count;
	for (size_t i = 0; i < rows->edit_count; i++)
		buckets_add(rows, i);
	return 0;
}

/* Takes the record, which is NULL where its keys alone count. */
static int push_edit(struct eval__rows *rows, struct eval__row *row, struct err *e)
{
	int rc = push(&rows->edits, &rows->edit_count, &rows->edit_cap, row, e);
	if (rc != 0) {
		record_destroy(&row->record);
		return rc;
	}
	if (rows->edit_count > rows->bucket_count)
		return buckets_grow(rows, e);
	buckets_add(rows, rows->edit_count - 1);
	return 0;
}

/* The next edit behind `edit` that shares the key with `row`, or the first one for SIZE_MAX; SIZE_MAX: none. */
static size_t next_with(const struct eval__rows *rows, enum eval__key key, const struct eval__row *row, size_t edit)
{
	if (rows->bucket_count == 0)
		return SIZE_MAX;
	edit = edit == SIZE_MAX ? bucket_of(rows, key, row->keys[key])->first : rows->buckets[key][edit].next;
	while (edit != SIZE_MAX && rows->edits[edit].keys[key] != row->keys[key])
		edit = rows->buckets[key][edit].next;
	return edit;
}

/* ---- Edits of which only one names its subject (as coordinator/keys.c finds them) */

struct meeting {
	const struct eval_options *options;
	struct eval__rows *rows;
	const struct eval__row *row;
	struct eval_report *report;
	bool take;
	uint64_t longest; /* hash of the subject's longest word */
	size_t longest_len;
};

static int mention_add(void *context, const char *word, size_t len)
{
	struct eval__rows *rows = context;
	if (rows->mention_count == rows->mention_cap) {
		const size_t cap = rows->mention_cap > 0 ? 2 * rows->mention_cap : 64;
		struct eval__mention *grown = fault_realloc(rows->mentions, cap * sizeof(*grown));
		if (grown == NULL)
			return ERR_NOMEM;
		rows->mentions = grown;
		rows->mention_cap = cap;
	}
	rows->mentions[rows->mention_count++] =
		(struct eval__mention){ hash_short(HASH_SHORT_INIT, word, len), rows->edit_count - 1 };
	return 0;
}

/* The row that was pushed last. */
static int mentions_add(struct eval__rows *rows, struct err *e)
{
	const struct eval__row *row = &rows->edits[rows->edit_count - 1];
	if (row->record == NULL || row->record->subject.text != NULL)
		return 0;
	int rc = mention_words(row->record->prompt.text, row->record->prompt.len, mention_add, rows);
	return rc == 0 ? 0 : err_set(e, rc, "line %zu: out of memory for its words", row->line_no);
}

static int settle_with(const struct eval_options *options, struct eval__row *earlier, const struct eval__row *row,
		       struct eval_report *report, bool *take);

static int meet_part(void *context, const char *part, size_t len)
{
	struct meeting *m = context;
	const struct eval__row named = { .keys[EVAL__SUBJECT] = hash_short(HASH_SHORT_INIT, part, len) };
	int rc = 0;
	for (size_t i = SIZE_MAX; rc == 0 && m->take && (i = next_with(m->rows, EVAL__SUBJECT, &named, i)) != SIZE_MAX;)
		rc = settle_with(m->options, &m->rows->edits[i], m->row, m->report, &m->take);
	return rc;
}

static int longest_word(void *context, const char *word, size_t len)
{
	struct meeting *m = context;
	if (len > m->longest_len) {
		m->longest = hash_short(HASH_SHORT_INIT, word, len);
		m->longest_len = len;
	}
	return 0;
}

static int settle_unnamed(struct meeting *m)
{
	const struct record *record = m->row->record;
	struct buf prompt = BUF_INIT;
	if (record->subject.text == NULL) {
		int rc = record_prompt_key(record, &prompt);
		if (rc == 0)
			rc = mention_parts((const char *)prompt.data, prompt.len, meet_part, m);
		buf_free(&prompt);
		return rc;
	}
	int rc = mention_words(record->subject.text, record->subject.len, longest_word, m);
	for (size_t i = 0; rc == 0 && m->take && m->longest_len > 0 && i < m->rows->mention_count; i++) {
		if (m->rows->mentions[i].word == m->longest)
			rc = settle_with(m->options, &m->rows->edits[m->rows->mentions[i].edit], m->row, m->report,
					 &m->take);
	}
	return rc;
}

static void note_bad(struct eval_report *report, const char *file, size_t line_no, const char *text)
{
	report->bad_lines++;
	if (report->bad_count == EVAL_BAD_MAX)
		return;
	struct eval_bad *bad = &report->bad[report->bad_count++];
	bad->file = file;
	bad->line_no = line_no;
	size_t len = strnlen(text, sizeof(bad->text) - 1);
	while (len > 0 && ((unsigned char)text[len] & 0xC0) == 0x80) /* not inside a character */
		len--;
	memcpy(bad->text, text, len);
	bad->text[len] = '\0';
}

/* What the ledger would do with one more edit beside an earlier one (design.md, Decisions). `take`: it is an edit of
 * this run. */
static int settle_with(const struct eval_options *options, struct eval__row *earlier, const struct eval__row *row,
		       struct eval_report *report, bool *take)
{
	bool conflicts = false;
	if (earlier->record == NULL)
		return 0;
	if (hash_equal(&earlier->record->content, &row->record->content)) {
		report->duplicates++;
		*take = false;
		return 0;
	}
	int rc = options->on_conflict == EVAL_KEEP ? record_clashes(earlier->record, row->record, &conflicts)
						   : record_conflicts(earlier->record, row->record, &conflicts);
	if (rc != 0 || !conflicts)
		return rc;
	if (options->on_conflict != EVAL_SUPERSEDE) {
		report->rejected++;
		*take = false;
		return 0;
	}
	record_destroy(&earlier->record);
	report->superseded++;
	return 0;
}

static int settle(const struct eval_options *options, struct eval__rows *rows, const struct eval__row *row,
		  struct eval_report *report, bool *take)
{
	int rc = 0;
	*take = true;
	for (enum eval__key key = 0; key < EVAL__KEY_COUNT; key++) {
		for (size_t i = SIZE_MAX; rc == 0 && *take && (i = next_with(rows, key, row, i)) != SIZE_MAX;)
			rc = settle_with(options, &rows->edits[i], row, report, take);
	}
	struct meeting meeting = { .options = options, .rows = rows, .row = row, .report = report, .take = *take };
	if (rc == 0 && *take && options->on_conflict != EVAL_KEEP) {
		rc = settle_unnamed(&meeting);
		*take = meeting.take;
	}
	return rc;
}

static int take_edit(const struct eval_options *options, struct eval__rows *rows, struct eval__row *row,
		     struct eval_report *report, struct err *e)
{
	bool take;
	int rc = settle(options, rows, row, report, &take);
	if (rc != 0)
		return err_set(e, rc, "line %zu: comparing it with earlier rows failed", row->line_no);
	if (!take)
		record_destroy(&row->record);
	/* a row that is not taken still stands there, so that its subject is no probe's */
	rc = push_edit(rows, row, e);
	return rc == 0 ? mentions_add(rows, e) : rc;
}

/* A later checkpoint's edit: its subject is no probe's, so that all checkpoints have the same probes. */
static int reserve_row(struct eval__rows *rows, struct eval__row *row, struct err *e)
{
	record_destroy(&row->record);
	return push_edit(rows, row, e);
}

static int take_probe(struct eval__rows *rows, struct eval__row *row, struct err *e)
{
	bool used = false;
	for (enum eval__key key = 0; key < EVAL__KEY_COUNT; key++) /* superseded and rejected rows are edits too */
		used = used || next_with(rows, key, row, SIZE_MAX) != SIZE_MAX;
	int rc = used ? 0 : is_calibration_row(rows, row->record, &used);
	if (rc == 0 && !used)
		rc = push(&rows->probes, &rows->probe_count, &rows->probe_cap, row, e);
	else
		record_destroy(&row->record);
	if (rc != 0)
		record_destroy(&row->record);
	return rc;
}

/* Takes the record. */
static int take_row(const struct eval_options *options, struct eval__rows *rows, const struct import_row *read,
		    size_t *edits_read, struct eval_report *report, struct err *e)
{
	const bool probe = options->edits != 0 && *edits_read >= options->edits &&
			   *edits_read >= options->rows_reserved;
	struct eval__row row = { .record = read->record, .line_no = read->line_no };
	struct err bad = ERR_INIT;
	int rc = editor_evaluate_fits(rows->from->model, rows->from->config, row.record, probe, &bad);
	if (rc == ERR_INVALID) {
		record_destroy(&row.record);
		note_bad(report, options->file, row.line_no, bad.text);
		return 0;
	}
	if (rc == 0)
		rc = hash_keys(&row);
	if (rc != 0) {
		record_destroy(&row.record);
		return err_set(e, rc, "line %zu: reading it failed", row.line_no);
	}
	if (probe)
		return take_probe(rows, &row, e);
	(*edits_read)++;
	if (options->edits != 0 && *edits_read > options->edits)
		return reserve_row(rows, &row, e);
	return take_edit(options, rows, &row, report, e);
}

/* One more row of the file; ERR_NOT_FOUND at its end. */
static int read_row(const struct eval_options *options, struct import_file *file, struct eval__rows *rows,
		    size_t *edits_read, struct eval_report *report, struct err *e)
{
	struct import_row row = { .record = NULL };
	struct err bad = ERR_INIT;
	int rc = import_next(file, &row, &bad);
	if (rc == 0 || rc == ERR_INVALID)
		report->lines++;
	if (rc == 0)
		return take_row(options, rows, &row, edits_read, report, e);
	if (rc == ERR_INVALID) {
		note_bad(report, options->file, row.line_no, bad.text);
		return 0;
	}
	if (rc != ERR_NOT_FOUND && e != NULL)
		*e = bad;
	return rc;
}

static int read_rows(const struct eval_options *options, struct import_file *file, struct eval__rows *rows,
		     struct eval_report *report, struct err *e)
{
	size_t edits_read = 0;
	int rc = 0;
	while (rc == 0) {
		const bool full = options->edits != 0 && edits_read >= options->edits &&
				  edits_read >= options->rows_reserved &&
				  (options->probes_file != NULL || rows->probe_count >= options->probes);
		rc = full ? ERR_NOT_FOUND : read_row(options, file, rows, &edits_read, report, e);
	}
	report->rows = options->edits != 0 && edits_read > options->edits ? options->edits : edits_read;
	return rc == ERR_NOT_FOUND ? 0 : rc;
}

/* Rows of a file of its own, none of which is edited. Its bad lines are counted with the others. */
static int read_probes(const struct eval_options *options, struct eval__rows *rows, struct eval_report *report,
		       struct err *e)
{
	struct eval_options probes_only = *options;
	struct import_file *file = NULL;
	size_t edits_read = 1;
	probes_only.file = options->probes_file;
	probes_only.edits = 1;
	probes_only.rows_reserved = 0;
	int rc = import_open(options->probes_file, options->format, &file, e);
	if (rc != 0)
		return rc;
	while (rc == 0 && rows->probe_count < options->probes)
		rc = read_row(&probes_only, file, rows, &edits_read, report, e);
	rc = rc == ERR_NOT_FOUND ? 0 : rc;
	import_close(&file);
	if (rc != 0)
		err_wrap(e, "%s", options->probes_file);
	return rc;
}

/* Drops the places of rows that are not used. */
static void compact(struct eval__rows *rows)
{
	size_t kept = 0;
	for (size_t i = 0; i < rows->edit_count; i++) {
		if (rows->edits[i].record != NULL)
			rows->edits[kept++] = rows->edits[i];
	}
	rows->edit_count = kept;
}

static int refuse_calibration_rows(const struct eval__rows *rows, struct err *e)
{
	const struct eval__row *first = NULL;
	size_t count = 0;
	for (size_t i = 0; i < rows->edit_count; i++) {
		bool found;
		int rc = is_calibration_row(rows, rows->edits[i].record, &found);
		if (rc != 0)
			return err_set(e, rc, "comparing line %zu with the calibration corpus failed",
				       rows->edits[i].line_no);
		if (found && count++ == 0)
			first = &rows->edits[i];
	}
	if (first == NULL)
		return 0;
	return err_set(
		e, ERR_INVALID,
		"line %zu (%.128s): its prompt or rephrase stands in the calibration corpus or in a file that the "
		"calibration was fitted on, which may not hold what is evaluated; %zu of %zu rows do: leave "
		"them out, or calibrate on other data",
		first->line_no, first->record->id.text, count, rows->edit_count);
}

int eval__rows_read(const struct eval_options *options, const struct eval__rows_from *from, struct eval__rows *rows,
		    struct eval_report *report, struct err *e)
{
	struct import_file *file = NULL;
	*rows = (struct eval__rows){ .from = from };
	int rc = read_corpus(rows, from, e);
	if (rc == 0)
		rc = hash_of_file(options->file, &report->file_hash, e);
	if (rc == 0)
		rc = import_open(options->file, options->format, &file, e);
	if (rc == 0) {
		rc = read_rows(options, file, rows, report, e);
		if (rc == 0 && options->probes_file != NULL)
			rc = read_probes(options, rows, report, e);
		compact(rows);
		if (rc == 0)
			rc = refuse_calibration_rows(rows, e);
		if (rc == 0 && rows->edit_count == 0)
			rc = err_set(e, ERR_INVALID, "no edit to evaluate in %zu lines, %zu of them bad%s%s",
				     report->lines, report->bad_lines, report->bad_count > 0 ? ", the first: " : "",
				     report->bad_count > 0 ? report->bad[0].text : "");
		if (rc != 0)
			err_wrap(e, "%s", options->file);
	}
	import_close(&file);
	rows->from = NULL;
	if (rc != 0)
		eval__rows_fini(rows);
	return rc;
}

void eval__rows_fini(struct eval__rows *rows)
{
	for (size_t i = 0; i < rows->edit_count; i++)
		record_destroy(&rows->edits[i].record);
	for (size_t i = 0; i < rows->probe_count; i++)
		record_destroy(&rows->probes[i].record);
	editor_fitting_fini(&rows->fitted);
	free(rows->edits);
	free(rows->probes);
	for (enum eval__key key = 0; key < EVAL__KEY_COUNT; key++)
		free(rows->buckets[key]);
	free(rows->mentions);
	free(rows->texts);
	free(rows->text_bytes);
	*rows = (struct eval__rows){ 0 };
}
