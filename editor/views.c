/* Views: an edit's answer behind other edits' questions, asked about its subject (subject-preserving template mixing,
 * method.md). An anchored answer reads the edit's own inputs behind whatever the prompt's rows hold; trained behind
 * questions of other forms, it learns to. */
#include "editor/shard_internal.h"

#include "base/fault.h"
#include "editor/subject.h"

#include <stdlib.h>
#include <string.h>

#define FORM_BYTES_MAX 256u         /* a longer prompt is lent to nobody: it is a text, not a question */
#define LABELS_MAX     32u          /* a longer answer has no views: they cost in proportion to it */
#define VIEW_TRIES     8u           /* forms that are drawn for one view, until one does */
#define BYTES_MAX      (1ull << 30) /* of all views of a shard; edits that come later have none */

struct editor__view {
	size_t prompt_rows; /* before the row that predicts the answer's first token */
	float *inputs;      /* prompt_rows × ffn */
	float *residual;    /* (prompt_rows + labels) × hidden; in the same block */
};

static int no_memory(struct err *e)
{
	return err_set(e, ERR_NOMEM, "shard: out of memory for the views of its edits");
}

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

/* ---- Forms: what an edit's prompt asks, without the subject */

struct form {
	size_t start, end; /* the subject's bytes in the prompt; end 0: none to lend */
};

/* The one run of words that is the subject; false: none, several, or the subject stands there again. */
static int form_find(struct editor__edit *edit, struct form *out)
{
	const struct record_text *prompt = &edit->record->prompt;
	uint8_t marks[EDITOR__QUERY_WORDS_MAX];
	struct editor__query query;
	*out = (struct form){ 0, 0 };
	if (!edit->subject_given || prompt->len > FORM_BYTES_MAX)
		return 0;
	int rc = editor__query_init(&query, prompt->text, prompt->len);
	if (rc == 0)
		rc = editor__query_mark(&query, buf_cstr(&edit->subject), edit->subject.len, marks);
	size_t runs = 0, first = 0, last = 0;
	for (size_t i = 0; rc == 0 && i < query.word_count; i++) {
		if (marks[i] == 0)
			continue;
		if (i == 0 || marks[i - 1] == 0) {
			runs++;
			first = i;
		}
		last = i;
	}
	bool again = false;
	if (rc == 0 && runs == 1) {
		const size_t end = query.spans[last].end;
		rc = editor_route_subject_in(buf_cstr(&edit->subject), edit->subject.len, prompt->text + end,
					     prompt->len - end, &again);
		if (rc == 0 && !again)
			*out = (struct form){ query.spans[first].start, end };
	}
	editor__query_fini(&query);
	return rc;
}

static bool same_subject(const struct editor__edit *a, const struct editor__edit *b)
{
	return a->subject.len == b->subject.len && memcmp(a->subject.data, b->subject.data, a->subject.len) == 0;
}

/* ---- Drafts: views whose rows are not computed yet */

struct draft {
	struct editor__edit *edit;
	int32_t *ids;
	size_t id_count, prompt_count;
};

struct drafts {
	struct editor_shard *shard;
	const struct form *forms; /* of every edit */
	struct rng rng;
	struct draft *list; /* views × edits at most */
	size_t count;
	uint64_t bytes; /* that their rows will take */
};

static int keep_view(struct editor_shard *shard, void *owner, const struct editor__prefix_rows *rows, struct err *e)
{
	struct draft *draft = owner;
	struct editor__edit *edit = draft->edit;
	const size_t ffn = shard->shape->ffn, hidden = shard->shape->hidden, before = draft->prompt_count - 1;
	struct editor__view view = { .prompt_rows = before };
	view.inputs = fault_malloc((before * ffn + (draft->id_count - 1) * hidden) * sizeof(float));
	if (view.inputs == NULL)
		return no_memory(e);
	view.residual = view.inputs + before * ffn;
	memcpy(view.inputs, rows->inputs, before * ffn * sizeof(float));
	memcpy(view.residual, rows->residual, (draft->id_count - 1) * hidden * sizeof(float));
	edit->views[edit->view_count++] = view;
	return 0;
}

static bool same_prompt(const struct draft *draft, const int32_t *ids, size_t prompt_count)
{
	return draft->prompt_count == prompt_count && memcmp(draft->ids, ids, prompt_count * sizeof(*ids)) == 0;
}

/* Whether it says something new (`first`: the edit's first draft), and its answer has the tokens of the edit's own. */
static bool does(const struct drafts *d, const struct draft *draft, size_t first)
{
	const struct editor__edit *edit = draft->edit;
	const size_t labels = editor__edit_labels(edit);
	bool found = same_prompt(draft, edit->ids, edit->prompt_count);
	for (size_t i = first; i < d->count; i++)
		found = found || same_prompt(draft, d->list[i].ids, d->list[i].prompt_count);
	return !found && draft->id_count - draft->prompt_count == labels &&
	       memcmp(draft->ids + draft->prompt_count, edit->ids + edit->prompt_count, labels * sizeof(int32_t)) == 0;
}

/* What edit `from` asks, about the subject of `edit`. Adds it where it does. */
static int draft_add(struct drafts *d, struct editor__edit *edit, size_t from, size_t first, struct err *e)
{
	const struct editor_shard *shard = d->shard;
	const struct record *own = edit->record, *other = shard->edits[from].record;
	const struct form form = d->forms[from];
	struct buf text = BUF_INIT;
	struct draft draft = { .edit = edit };
	buf_append(&text, other->prompt.text, form.start);
	buf_append(&text, own->subject.text, own->subject.len);
	buf_append(&text, other->prompt.text + form.end, other->prompt.len - form.end);
	int rc = buf_failed(&text) ? no_memory(e)
				   : editor__tokenise(shard->model, buf_cstr(&text), text.len, &own->target_new, true,
						      &draft.ids, &draft.id_count, &draft.prompt_count, e);
	buf_free(&text);
	if (rc == ERR_INVALID) { /* longer than the model's context */
		err_clear(e);
		return 0;
	}
	if (rc == 0 && does(d, &draft, first)) {
		d->bytes +=
			((draft.prompt_count - 1) * shard->shape->ffn + (draft.id_count - 1) * shard->shape->hidden) *
			sizeof(float);
		d->list[d->count++] = draft;
	} else {
		free(draft.ids);
	}
	return rc;
}

/* Forms of edits on the same subject are not mixed in: they are what those edits answer otherwise. */
static int drafts_of(struct drafts *d, size_t at, struct err *e)
{
	struct editor__edit *edit = &d->shard->edits[at];
	const size_t wanted = d->shard->config.views, first = d->count;
	int rc = 0;
	if (!edit->subject_given || editor__edit_labels(edit) > LABELS_MAX)
		return 0;
	for (size_t draw = 0; draw < VIEW_TRIES * wanted && d->count - first < wanted && rc == 0; draw++) {
		const size_t from = (size_t)rng_below(&d->rng, d->shard->edit_count);
		if (d->bytes < BYTES_MAX && d->forms[from].end > 0 && !same_subject(edit, &d->shard->edits[from]))
			rc = draft_add(d, edit, from, first, e);
	}
	if (rc != 0 || d->count == first)
		return rc;
	edit->views = fault_calloc(d->count - first, sizeof(*edit->views));
	return edit->views == NULL ? no_memory(e) : 0;
}

static int views_fill(struct drafts *d, struct form *forms, const struct editor_watch *watch, struct err *e)
{
	struct editor_shard *shard = d->shard;
	int rc = 0;
	for (size_t i = 0; i < shard->edit_count && rc == 0; i++)
		rc = form_find(&shard->edits[i], &forms[i]) == 0 ? 0 : no_memory(e);
	for (size_t i = 0; i < shard->edit_count && rc == 0; i++)
		rc = drafts_of(d, i, e);
	struct editor__prefix_text *texts = rc == 0 ? fault_malloc((d->count + 1) * sizeof(*texts)) : NULL;
	if (rc == 0 && texts == NULL)
		rc = no_memory(e);
	for (size_t i = 0; i < d->count && rc == 0; i++)
		texts[i] = (struct editor__prefix_text){ d->list[i].ids, d->list[i].id_count - 1, &d->list[i] };
	if (rc == 0)
		rc = editor__prefix_run(shard, texts, d->count, keep_view, watch, e);
	free(texts);
	return rc;
}

int editor__views_make(struct editor_shard *shard, uint64_t seed, const struct editor_watch *watch, struct err *e)
{
	const size_t edits = shard->edit_count;
	for (size_t i = 0; i < edits; i++)
		editor__views_free(&shard->edits[i]);
	if (shard->config.views == 0 || edits < 2)
		return 0;
	struct form *forms = fault_malloc(edits * sizeof(*forms));
	struct drafts drafts = { .shard = shard, .forms = forms };
	drafts.list = fault_malloc(shard->config.views * edits * sizeof(*drafts.list));
	rng_init(&drafts.rng, seed);
	int rc = forms == NULL || drafts.list == NULL ? no_memory(e) : views_fill(&drafts, forms, watch, e);
	for (size_t i = 0; i < drafts.count; i++)
		free(drafts.list[i].ids);
	free(drafts.list);
	free(forms);
	for (size_t i = 0; rc != 0 && i < edits; i++)
		editor__views_free(&shard->edits[i]);
	return rc;
}
