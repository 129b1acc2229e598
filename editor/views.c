/* Views: an edit's answer behind other edits' questions, asked about its subject (subject-preserving template mixing,
 * method.md). An anchored answer reads the edit's own inputs behind whatever the prompt's rows hold; trained behind
 * questions of other forms, it learns to. */
#include "editor/shard_internal.h"

#include "base/fault.h"

#include <stdlib.h>
#include <string.h>

#define FORM_BYTES_MAX 256u /* a longer prompt is lent to nobody: it is a text, not a question */
#define LABELS_MAX     32u  /* a longer answer has no views: they cost in proportion to it */
#define DRAWS          8u   /* a view, of which some forms do not do */

struct editor__view {
	size_t prompt_rows; /* before the row that predicts the answer's first token */
	float *inputs;      /* prompt_rows × ffn */
	float *residual;    /* (prompt_rows + labels) × hidden; in the same block */
};

void editor__views_free(struct editor__edit *edit)
{
	for (size_t i = 0; i < edit->view_count; i++)
		free(edit->views[i].inputs);
	free(edit->views);
	edit->views = NULL;
	edit->view_count = 0;
	edit->seen = NULL;
}

struct editor__reading editor__edit_reading(const struct editor__edit *edit)
{
	const struct editor__view *view = edit->seen;
	if (view == NULL)
		return (struct editor__reading){ edit->prompt_count - 1, edit->inputs, edit->residual };
	return (struct editor__reading){ view->prompt_rows, view->inputs, view->residual };
}

void editor__edit_see(struct editor__edit *edit, uint64_t turn)
{
	edit->seen = edit->view_count > 0 && turn % 2 == 1 ? &edit->views[turn / 2 % edit->view_count] : NULL;
}

struct draft { /* a view whose rows are not computed yet */
	struct editor__edit *edit;
	int32_t *ids;
	size_t id_count, prompt_count;
};

static int keep_view(struct editor_shard *shard, void *owner, const struct editor__prefix_rows *rows, struct err *e)
{
	struct draft *draft = owner;
	struct editor__edit *edit = draft->edit;
	const size_t ffn = shard->shape->ffn, hidden = shard->shape->hidden, before = draft->prompt_count - 1;
	struct editor__view view = { .prompt_rows = before };
	view.inputs = fault_malloc((before * ffn + (draft->id_count - 1) * hidden) * sizeof(float));
	if (view.inputs == NULL)
		return err_set(e, ERR_NOMEM, "shard: out of memory for the views of its edits");
	view.residual = view.inputs + before * ffn;
	memcpy(view.inputs, rows->inputs, before * ffn * sizeof(float));
	memcpy(view.residual, rows->residual, (draft->id_count - 1) * hidden * sizeof(float));
	edit->views[edit->view_count++] = view;
	return 0;
}

/* Where the subject stands in the edit's own prompt, letter by letter; NULL: nowhere. */
static const char *subject_in(const struct editor__edit *edit)
{
	const struct record *record = edit->record;
	if (record->subject.text == NULL || record->subject.len == 0)
		return NULL;
	return memmem(record->prompt.text, record->prompt.len, record->subject.text, record->subject.len);
}

/* What `form` asks, about the subject of `edit`. *made: false where it does not do. */
static int draft_make(struct editor_shard *shard, struct editor__edit *edit, const struct editor__edit *form,
		      struct draft *out, bool *made, struct err *e)
{
	const struct record *own = edit->record, *other = form->record;
	const char *at = subject_in(form);
	struct buf text = BUF_INIT;
	*made = false;
	if (form == edit || at == NULL || other->prompt.len > FORM_BYTES_MAX)
		return 0;
	const size_t before = (size_t)(at - other->prompt.text), end = before + other->subject.len;
	buf_append(&text, other->prompt.text, before);
	buf_append(&text, own->subject.text, own->subject.len);
	buf_append(&text, other->prompt.text + end, other->prompt.len - end);
	struct draft draft = { .edit = edit };
	int rc = buf_failed(&text) ? err_set(e, ERR_NOMEM, "shard: out of memory for the views of its edits")
				   : editor__tokenise(shard->model, buf_cstr(&text), text.len, &own->target_new, true,
						      &draft.ids, &draft.id_count, &draft.prompt_count, e);
	buf_free(&text);
	if (rc == ERR_INVALID) { /* longer than the model's context */
		err_clear(e);
		return 0;
	}
	const size_t labels = editor__edit_labels(edit);
	if (rc == 0 && draft.id_count - draft.prompt_count == labels &&
	    memcmp(draft.ids + draft.prompt_count, edit->ids + edit->prompt_count, labels * sizeof(*edit->ids)) == 0) {
		*out = draft;
		*made = true;
	} else {
		free(draft.ids); /* tokens of the answer that depend on what stands before it */
	}
	return rc;
}

static int drafts_of(struct editor_shard *shard, struct editor__edit *edit, struct rng *rng, struct draft *drafts,
		     size_t *count, struct err *e)
{
	const size_t wanted = shard->config.views;
	size_t got = 0;
	int rc = 0;
	if (subject_in(edit) == NULL || editor__edit_labels(edit) > LABELS_MAX)
		return 0;
	for (size_t draw = 0; draw < DRAWS * wanted && got < wanted && rc == 0; draw++) {
		bool made;
		rc = draft_make(shard, edit, &shard->edits[rng_below(rng, shard->edit_count)], &drafts[*count], &made,
				e);
		got += made ? 1 : 0;
		*count += made ? 1 : 0;
	}
	if (rc != 0 || got == 0)
		return rc;
	edit->views = fault_calloc(got, sizeof(*edit->views));
	return edit->views == NULL ? err_set(e, ERR_NOMEM, "shard: out of memory for the views of its edits") : 0;
}

static int views_fill(struct editor_shard *shard, struct rng *rng, struct draft *drafts,
		      struct editor__prefix_text *texts, size_t *count, struct err *e)
{
	int rc = 0;
	for (size_t i = 0; i < shard->edit_count && rc == 0; i++)
		rc = drafts_of(shard, &shard->edits[i], rng, drafts, count, e);
	for (size_t i = 0; i < *count; i++)
		texts[i] = (struct editor__prefix_text){ drafts[i].ids, drafts[i].id_count - 1, &drafts[i] };
	return rc == 0 ? editor__prefix_run(shard, texts, *count, keep_view, e) : rc;
}

int editor__views_make(struct editor_shard *shard, uint64_t seed, struct err *e)
{
	const size_t most = shard->config.views * shard->edit_count;
	size_t count = 0;
	struct rng rng;
	for (size_t i = 0; i < shard->edit_count; i++)
		editor__views_free(&shard->edits[i]);
	if (most == 0 || shard->edit_count < 2)
		return 0;
	struct draft *drafts = fault_malloc(most * sizeof(*drafts));
	struct editor__prefix_text *texts = fault_malloc(most * sizeof(*texts));
	rng_init(&rng, seed);
	int rc = drafts == NULL || texts == NULL
			 ? err_set(e, ERR_NOMEM, "shard: out of memory for the views of its edits")
			 : views_fill(shard, &rng, drafts, texts, &count, e);
	for (size_t i = 0; i < count; i++)
		free(drafts[i].ids);
	free(drafts);
	free(texts);
	return rc;
}
