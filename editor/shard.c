#include "editor/shard_internal.h"

#include "base/fault.h"
#include "editor/delta.h"
#include "editor/prompt.h"
#include "editor/wise.h"
#include "editor/words.h"

#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

static void edit_fini(struct editor__edit *edit)
{
	record_destroy(&edit->record);
	free(edit->ids);
	free(edit->inputs);
	free(edit->forms);
	editor__views_free(edit);
	buf_free(&edit->subject);
	buf_free(&edit->subject_aliases);
	buf_free(&edit->words);
	*edit = (struct editor__edit){ 0 };
}

int editor_shard_new(struct model *model, const struct editor_config *config, struct editor_shard **out, struct err *e)
{
	const struct model_shape *shape = model_shape_of(model);
	int rc = editor_config_check(config, shape, e);
	if (rc != 0)
		return rc;
	struct editor_shard *shard = fault_calloc(1, sizeof(*shard));
	if (shard == NULL)
		return err_set(e, ERR_NOMEM, "shard: out of memory");
	shard->model = model;
	shard->config = *config;
	shard->shape = shape;
	shard->row_max = shape->context > EDITOR__ROWS_MAX ? shape->context : EDITOR__ROWS_MAX;
	shard->delta = fault_calloc(shape->hidden * shape->ffn, sizeof(float));
	rc = shard->delta == NULL ? err_set(e, ERR_NOMEM, "shard: out of memory for its delta")
				  : model_run_new(model, shard->row_max, &shard->run, e);
	if (rc == 0)
		shard->backend = model_run_backend(shard->run);
	if (rc != 0) {
		editor_shard_destroy(&shard);
		return rc;
	}
	*out = shard;
	return 0;
}

void editor_shard_destroy(struct editor_shard **shard)
{
	struct editor_shard *s = *shard;
	if (s == NULL)
		return;
	for (size_t i = 0; i < s->edit_count; i++)
		edit_fini(&s->edits[i]);
	free(s->edits);
	editor__batch_free(&s->batch, s->backend);
	editor__trainer_free(s);
	editor_wise_destroy(&s->wise);
	editor__wise_replays_free(s);
	buf_free(&s->corpus);
	model_run_destroy(&s->run);
	free(s->delta);
	free(s);
	*shard = NULL;
}

static void put_text(struct json_w *w, const char *key, const struct record_text *text)
{
	if (text->text == NULL)
		return;
	json_w_key(w, key);
	json_w_strn(w, text->text, text->len);
}

static void put_list(struct json_w *w, const char *key, const struct record_text *texts, size_t count)
{
	if (count == 0)
		return;
	json_w_key(w, key);
	json_w_open(w, '[');
	for (size_t i = 0; i < count; i++)
		json_w_strn(w, texts[i].text, texts[i].len);
	json_w_close(w);
}

int editor__record_copy(const struct record *record, bool irrelevant, struct record **out, struct err *e)
{
	struct buf text = BUF_INIT;
	struct json_w w;
	json_w_init(&w, &text);
	json_w_open(&w, '{');
	put_text(&w, "prompt", &record->prompt);
	put_text(&w, "target_new", &record->target_new);
	put_text(&w, "subject", &record->subject);
	if (irrelevant)
		put_text(&w, "loc_prompt", &record->loc_prompt);
	put_list(&w, "aliases", record->aliases, record->alias_count);
	put_list(&w, "subject_aliases", record->subject_aliases, record->subject_alias_count);
	json_w_close(&w);
	int rc = buf_failed(&text) ? err_set(e, ERR_NOMEM, "edit: out of memory")
				   : record_parse(buf_cstr(&text), text.len, out, e);
	buf_free(&text);
	return rc;
}

static size_t find(const struct editor_shard *shard, uint64_t seq)
{
	size_t i = 0;
	while (i < shard->edit_count && shard->edits[i].seq != seq)
		i++;
	return i;
}

static int reserve(struct editor_shard *shard, struct err *e)
{
	if (shard->edit_count < shard->edit_cap)
		return 0;
	size_t cap = shard->edit_cap == 0 ? 16 : 2 * shard->edit_cap;
	struct editor__edit *grown = fault_realloc(shard->edits, cap * sizeof(*grown));
	if (grown == NULL)
		return err_set(e, ERR_NOMEM, "shard: out of memory for %zu edits", cap);
	shard->edits = grown;
	shard->edit_cap = cap;
	return 0;
}

int editor_shard_add(struct editor_shard *shard, uint64_t seq, const struct record *record, struct err *e)
{
	if (find(shard, seq) < shard->edit_count)
		return err_set(e, ERR_EXISTS, "edit %" PRIu64 " is in the shard already", seq);
	int rc = reserve(shard, e);
	if (rc != 0)
		return rc;
	struct editor__edit edit = { .seq = seq };
	rc = editor__tokenise(shard->model, record->prompt.text, record->prompt.len, &record->target_new, true,
			      &edit.ids, &edit.id_count, &edit.prompt_count, e);
	if (rc == 0)
		rc = editor__record_copy(record, shard->config.family == EDITOR_FAMILY_PAPER, &edit.record, e);
	if (rc != 0) {
		edit_fini(&edit);
		return rc;
	}
	shard->edits[shard->edit_count++] = edit;
	return 0;
}

int editor_shard_remove(struct editor_shard *shard, uint64_t seq, struct err *e)
{
	size_t i = find(shard, seq);
	if (i == shard->edit_count)
		return err_set(e, ERR_NOT_FOUND, "edit %" PRIu64 " is not in the shard", seq);
	edit_fini(&shard->edits[i]);
	memmove(&shard->edits[i], &shard->edits[i + 1], (shard->edit_count - i - 1) * sizeof(shard->edits[0]));
	shard->edit_count--;
	return 0;
}

size_t editor_shard_count(const struct editor_shard *shard)
{
	return shard->edit_count;
}

int editor_shard_delta_load(struct editor_shard *shard, const void *bytes, size_t len, struct err *e)
{
	/* Decoded aside, so that a damaged delta leaves the present one. */
	float *loaded = fault_malloc(editor__matrix_size(shard) * sizeof(*loaded));
	if (loaded == NULL)
		return err_set(e, ERR_NOMEM, "delta: out of memory");
	int rc = editor_delta_decode(bytes, len, shard->config.layer, shard->shape->hidden, shard->shape->ffn, loaded,
				     e);
	if (rc != 0) {
		free(loaded);
		return rc;
	}
	free(shard->delta);
	shard->delta = loaded;
	editor__trainer_forget(shard);
	return 0;
}

size_t editor_shard_layer(const struct editor_shard *shard)
{
	return shard->config.layer;
}

int editor_shard_delta_encode(const struct editor_shard *shard, struct buf *out, struct err *e)
{
	return editor_delta_encode(shard->delta, shard->config.layer, shard->shape->hidden, shard->shape->ffn, out, e);
}

const float *editor_shard_delta(const struct editor_shard *shard)
{
	return shard->delta;
}

size_t editor_shard_delta_size(const struct editor_shard *shard)
{
	return editor__matrix_size(shard);
}

/* ---- The frozen part below the edited matrix */

/* The subject when it stands in the prompt by any of its names: routes ask for it in a query's text (route.h), so a
 * subject that even the edit's own prompt does not name would keep the edit from ever being found. Else words of the
 * prompt stand for it. */
static int find_subject(struct editor__edit *edit, const struct editor__prompt *prompt)
{
	const struct record *record = edit->record;
	struct buf *subject = &edit->subject;
	int rc = 0;
	subject->len = edit->subject_aliases.len = 0;
	edit->subject_given = edit->subject_names = false;
	if (record->subject.text != NULL)
		rc = record_subject_key(record, subject);
	if (rc == 0)
		rc = names_fold_aliases(record, &edit->subject_aliases);
	const struct names names = editor__edit_names(edit);
	if (rc == 0 && subject->len > 0)
		rc = editor__names_stand(&names, record->prompt.text, record->prompt.len, &edit->subject_given);
	if (rc != 0 || edit->subject_given)
		return rc;
	subject->len = edit->subject_aliases.len = 0;
	return editor__prompt_subject(prompt, subject, &edit->subject_names);
}

/* Of the prompt beside its subject. */
static int keep_relation(struct editor__edit *edit, const struct editor__prompt *prompt, size_t hidden)
{
	const struct names names = editor__edit_names(edit);
	uint8_t marks[EDITOR__QUERY_WORDS_MAX];
	int rc = editor__names_mark(&prompt->query, &names, marks);
	if (rc == 0)
		rc = editor__prompt_relation(prompt, hidden, marks, edit->relation);
	edit->words.len = 0;
	return rc == 0 ? editor__words_unmarked(&prompt->query, marks, &edit->words) : rc;
}

static int keep_keys(struct editor_shard *shard, struct editor__edit *edit, const struct editor__prefix_rows *rows,
		     struct err *e)
{
	const size_t hidden = shard->shape->hidden;
	const struct model_segment segment = { .row_count = edit->prompt_count };
	const struct editor_prompt states = { .ids = edit->ids,
					      .id_count = edit->prompt_count,
					      .prompt_states = rows->states,
					      .relation_states = rows->relation };
	struct editor__prompt prompt;
	editor_route_raw_keys(states.prompt_states, &segment, 1, hidden, edit->raw);
	int rc = editor__prompt_init(&prompt, model_tokenizer_of(shard->model), &states);
	if (rc == 0)
		rc = find_subject(edit, &prompt);
	if (rc == 0)
		rc = keep_relation(edit, &prompt, hidden);
	editor__prompt_fini(&prompt);
	return rc != 0 ? err_set(e, rc, "edit %" PRIu64 ": its keys: %s", edit->seq, err_text(rc)) : 0;
}

static int keep_edit(struct editor_shard *shard, void *owner, const struct editor__prefix_rows *found, struct err *e)
{
	struct editor__edit *edit = owner;
	size_t rows = editor__edit_rows(edit), ffn = shard->shape->ffn, hidden = shard->shape->hidden;
	edit->inputs = fault_malloc((rows * (ffn + hidden) + 2 * hidden) * sizeof(float));
	if (edit->inputs == NULL)
		return err_set(e, ERR_NOMEM, "edit %" PRIu64 ": out of memory for its inputs", edit->seq);
	edit->residual = edit->inputs + rows * ffn;
	edit->raw = edit->residual + rows * hidden;
	edit->relation = edit->raw + hidden;
	memcpy(edit->inputs, found->inputs, rows * ffn * sizeof(float));
	memcpy(edit->residual, found->residual, rows * hidden * sizeof(float));
	edit->sum = edit->square_sum = 0;
	for (size_t i = 0; i < rows * ffn; i++) {
		double a = (double)edit->inputs[i];
		edit->sum += a;
		edit->square_sum += a * a;
	}
	int rc = keep_keys(shard, edit, found, e);
	if (rc != 0) {
		free(edit->inputs);
		edit->inputs = NULL;
	}
	return rc;
}

int editor__prefix_fill(struct editor_shard *shard, struct err *e)
{
	struct editor__prefix_text *texts = fault_malloc((shard->edit_count + 1) * sizeof(*texts));
	size_t count = 0;
	if (texts == NULL)
		return err_set(e, ERR_NOMEM, "shard: out of memory for the texts of %zu edits", shard->edit_count);
	for (size_t i = 0; i < shard->edit_count; i++) {
		struct editor__edit *edit = &shard->edits[i];
		if (edit->inputs == NULL)
			texts[count++] = (struct editor__prefix_text){ edit->ids, editor__edit_rows(edit), edit };
	}
	int rc = editor__prefix_run(shard, texts, count, keep_edit, NULL, e);
	free(texts);
	return rc == 0 ? editor__forms_fill(shard, e) : rc;
}

/* ---- What the router reads */

static struct editor_index_entry index_entry(const struct editor_shard *shard, const struct editor__edit *edit)
{
	const size_t labels = editor__edit_labels(edit);
	return (struct editor_index_entry){
		.seq = edit->seq,
		.subject = { .text = (const char *)edit->subject.data, .len = edit->subject.len },
		.subject_given = edit->subject_given,
		.subject_names = edit->subject_names,
		.aliases = { .text = (const char *)edit->subject_aliases.data, .len = edit->subject_aliases.len },
		.words = { .text = (const char *)edit->words.data, .len = edit->words.len },
		.raw = edit->raw,
		.relation = edit->relation,
		.target_ids = edit->ids + edit->prompt_count,
		.target_count = labels - 1, /* without the end of the text */
		.anchors = edit->inputs + (edit->prompt_count - 1) * shard->shape->ffn,
		.anchor_count = labels < EDITOR_ANCHOR_ROWS_MAX ? labels : EDITOR_ANCHOR_ROWS_MAX,
		.forms = edit->forms,
		.form_count = edit->form_count,
	};
}

int editor_shard_index_encode(struct editor_shard *shard, struct buf *out, struct err *e)
{
	if (shard->config.family == EDITOR_FAMILY_PAPER)
		return editor__wise_index(shard, out, e);
	int rc = editor__prefix_fill(shard, e);
	if (rc != 0)
		return rc;
	struct editor_index_entry *entries = fault_calloc(shard->edit_count, sizeof(*entries));
	if (entries == NULL)
		return err_set(e, ERR_NOMEM, "index: out of memory");
	for (size_t i = 0; i < shard->edit_count; i++)
		entries[i] = index_entry(shard, &shard->edits[i]);
	rc = editor_index_encode(entries, shard->edit_count, shard->shape->hidden, shard->shape->ffn, out, e);
	free(entries);
	return rc;
}
