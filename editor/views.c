/* Views: an edit's answer behind its own question by another name of its subject or as it is typed in a hurry, and
 * behind other edits' questions, asked about its subject (subject-preserving template mixing, method.md). An anchored
 * answer reads the edit's own inputs behind whatever the prompt's rows hold; trained behind questions of other forms,
 * it learns to. */
#include "editor/shard_internal.h"

#include "base/fault.h"
#include "base/names.h"
#include "base/text.h"
#include "editor/numbers.h"
#include "editor/subject.h"

#include <stdlib.h>
#include <string.h>

#define FORM_BYTES_MAX 256u         /* a longer prompt is asked in no other way: it is a text, not a question */
#define LABELS_MAX     32u          /* a longer answer has no views: they cost in proportion to it */
#define VIEW_TRIES     8u           /* forms that are drawn for one view, until one does */
#define BYTES_MAX      (1ull << 30) /* of all views of a shard; edits that come later have none */

struct editor__view {
	size_t prompt_rows;             /* before the row that predicts the answer's first token */
	float *inputs;                  /* prompt_rows × ffn */
	float *residual;                /* (prompt_rows + labels) × hidden; in the same block */
	const struct record_text *name; /* that its question says, of the edit's record; NULL: of no other name */
};

static int no_memory(struct err *e)
{
	return err_set(e, ERR_NOMEM, "shard: out of memory for the views of its edits");
}

static void views_keep(struct editor__edit *edit, size_t count)
{
	while (edit->view_count > count)
		free(edit->views[--edit->view_count].inputs);
	edit->seen = NULL;
	if (edit->view_count == 0) {
		free(edit->views);
		edit->views = NULL;
	}
}

void editor__views_free(struct editor__edit *edit)
{
	views_keep(edit, 0);
	edit->name_view_count = edit->own_view_count = 0;
	edit->views_owned = false;
}

void editor__views_give_back(struct editor_shard *shard)
{
	for (size_t i = 0; i < shard->edit_count; i++)
		views_keep(&shard->edits[i], shard->edits[i].own_view_count);
}

struct editor__reading editor__edit_reading(const struct editor__edit *edit)
{
	const struct editor__view *view = edit->seen;
	if (view == NULL)
		return (struct editor__reading){ edit->prompt_count - 1, edit->inputs, edit->residual };
	return (struct editor__reading){ view->prompt_rows, view->inputs, view->residual };
}

/* Of the own views the last; NULL: there is none. */
static const struct editor__view *plain_of(const struct editor__edit *edit)
{
	return edit->own_view_count > edit->name_view_count ? &edit->views[edit->own_view_count - 1] : NULL;
}

void editor__edit_see(struct editor__edit *edit, uint64_t turn, bool plain_too)
{
	const struct editor__view *plain = plain_of(edit);
	const size_t others = edit->view_count - (plain != NULL ? 1 : 0);
	if (turn % 2 == 1 && others > 0) {
		const size_t at = (size_t)(turn / 2 % others);
		edit->seen = &edit->views[plain != NULL && at + 1 >= edit->own_view_count ? at + 1 : at];
	} else {
		edit->seen = plain_too && (others > 0 ? turn % 4 == 2 : turn % 2 == 1) ? plain : NULL;
	}
}

void editor__edit_see_name(struct editor__edit *edit, size_t at)
{
	edit->seen = &edit->views[at];
}

const struct record_text *editor__edit_name(const struct editor__edit *edit, size_t at)
{
	return edit->views[at].name;
}

/* ---- Forms: what an edit's prompt asks, without the subject */

struct span {
	size_t start, end; /* bytes of the prompt */
};

struct form {
	struct span subject; /* end 0: none to lend */
	struct span number;  /* the one beside the subject; end 0: there is none */
};

/* The one number beside the subject, if there is one; false: there are several, of which nobody knows which is which.
 */
static bool number_find(const struct editor__query *query, const uint8_t *marks, struct form *out)
{
	for (size_t i = 0; i < query->word_count; i++) {
		const size_t from = i > 0 ? query->ends[i - 1] : 0;
		if (marks[i] || !editor__is_number((const char *)query->words.data + from, query->ends[i] - from))
			continue;
		if (out->number.end > 0) {
			out->number = (struct span){ 0 };
			return false;
		}
		out->number = (struct span){ query->spans[i].start, query->spans[i].end };
	}
	return true;
}

/* The one run of words that is the subject; none, several, or the subject stands there again: nothing to lend. */
static int form_find(struct editor__edit *edit, struct form *out)
{
	const struct record_text *prompt = &edit->record->prompt;
	uint8_t marks[EDITOR__QUERY_WORDS_MAX];
	struct editor__query query;
	*out = (struct form){ 0 };
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
		if (rc == 0 && !again && number_find(&query, marks, out))
			out->subject = (struct span){ query.spans[first].start, end };
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
	const struct record_text *name; /* NULL: of no other name */
	int32_t *ids;
	size_t id_count, prompt_count;
};

struct drafts {
	struct editor_shard *shard;
	const struct form *forms; /* of every edit */
	struct rng rng;
	struct draft *list; /* views × edits at most */
	size_t count;
	uint64_t bytes; /* of the views that are there, and of these */
};

static size_t view_floats(const struct editor_shard *shard, size_t prompt_rows, size_t labels)
{
	return prompt_rows * shard->shape->ffn + (prompt_rows + labels) * shard->shape->hidden;
}

static int keep_view(struct editor_shard *shard, void *owner, const struct editor__prefix_rows *rows, struct err *e)
{
	struct draft *draft = owner;
	struct editor__edit *edit = draft->edit;
	const size_t ffn = shard->shape->ffn, hidden = shard->shape->hidden, before = draft->prompt_count - 1;
	struct editor__view view = { .prompt_rows = before, .name = draft->name };
	view.inputs = fault_malloc(view_floats(shard, before, editor__edit_labels(edit)) * sizeof(float));
	if (view.inputs == NULL)
		return no_memory(e);
	view.residual = view.inputs + before * ffn;
	memcpy(view.inputs, rows->inputs, before * ffn * sizeof(float));
	memcpy(view.residual, rows->residual, (draft->id_count - 1) * hidden * sizeof(float));
	edit->views[edit->view_count++] = view;
	edit->name_view_count += view.name != NULL;
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

/* A view of the edit behind this text, where it does. */
static int draft_add(struct drafts *d, struct editor__edit *edit, const struct record_text *name, struct buf *text,
		     size_t first, struct err *e)
{
	const struct editor_shard *shard = d->shard;
	struct draft draft = { .edit = edit, .name = name };
	int rc = buf_failed(text) ? no_memory(e)
				  : editor__tokenise(shard->model, buf_cstr(text), text->len, &edit->record->target_new,
						     true, &draft.ids, &draft.id_count, &draft.prompt_count, e);
	if (rc == ERR_INVALID) { /* longer than the model's context */
		err_clear(e);
		return 0;
	}
	if (rc == 0 && does(d, &draft, first)) {
		d->bytes += view_floats(shard, draft.prompt_count - 1, editor__edit_labels(edit)) * sizeof(float);
		d->list[d->count++] = draft;
	} else {
		free(draft.ids);
	}
	return rc;
}

static void put_instead(struct buf *out, const char *text, size_t *at, struct span span, const char *by, size_t len)
{
	buf_append(out, text + *at, span.start - *at);
	buf_append(out, by, len);
	*at = span.end;
}

/* What edit `from` asks, about the subject of edit `to`, and about its number where the question says one. */
static int form_add(struct drafts *d, size_t to, size_t from, size_t first, struct err *e)
{
	struct editor__edit *edit = &d->shard->edits[to];
	const struct record *own = edit->record, *other = d->shard->edits[from].record;
	const struct span subject = d->forms[from].subject, number = d->forms[from].number,
			  own_number = d->forms[to].number;
	const char *own_digits = own->prompt.text + own_number.start;
	struct buf text = BUF_INIT;
	size_t at = 0;
	if (number.end > 0 && number.start < subject.start)
		put_instead(&text, other->prompt.text, &at, number, own_digits, own_number.end - own_number.start);
	put_instead(&text, other->prompt.text, &at, subject, own->subject.text, own->subject.len);
	if (number.end > 0 && number.start > subject.start)
		put_instead(&text, other->prompt.text, &at, number, own_digits, own_number.end - own_number.start);
	buf_append(&text, other->prompt.text + at, other->prompt.len - at);
	int rc = draft_add(d, edit, NULL, &text, first, e);
	buf_free(&text);
	return rc;
}

/* The edit's own question, about its subject by another name. */
static int name_add(struct drafts *d, struct editor__edit *edit, const struct record_text *name, size_t first,
		    struct err *e)
{
	const struct record *own = edit->record;
	struct buf text = BUF_INIT;
	int rc = names_say(own, name, own->prompt.text, own->prompt.len, &text);
	if (rc == ERR_NOMEM)
		rc = no_memory(e);
	else if (rc == 0)
		rc = draft_add(d, edit, name, &text, first, e);
	buf_free(&text);
	return rc;
}

/* The edit's own question in small letters and without the mark at its end. */
static int plain_add(struct drafts *d, struct editor__edit *edit, size_t first, struct err *e)
{
	const struct record_text *prompt = &edit->record->prompt;
	struct buf text = BUF_INIT;
	size_t len = prompt->len;
	while (len > 0 && strchr("?.! ", prompt->text[len - 1]) != NULL)
		len--;
	int rc = text_fold(prompt->text, len, &text);
	if (rc == ERR_NOMEM)
		rc = no_memory(e);
	else if (rc == 0 && text.len > 0)
		rc = draft_add(d, edit, NULL, &text, first, e);
	buf_free(&text);
	return rc;
}

/* Of the views that the shard holds. */
static uint64_t bytes_held(const struct editor_shard *shard)
{
	uint64_t floats = 0;
	for (size_t i = 0; i < shard->edit_count; i++) {
		const struct editor__edit *edit = &shard->edits[i];
		for (size_t v = 0; v < edit->view_count; v++)
			floats += view_floats(shard, edit->views[v].prompt_rows, editor__edit_labels(edit));
	}
	return floats * sizeof(float);
}

static bool has_views(const struct editor__edit *edit)
{
	return edit->subject_given && editor__edit_labels(edit) <= LABELS_MAX;
}

static int name_drafts(struct drafts *d, struct editor__edit *edit, size_t first, struct err *e)
{
	const struct record *record = edit->record;
	if (!has_views(edit) || record->subject_alias_count == 0)
		return 0;
	int rc = name_add(d, edit, &record->subject, first, e);
	for (size_t i = 0;
	     rc == 0 && i < record->subject_alias_count && d->count - first < EDITOR_FORMS_MAX && d->bytes < BYTES_MAX;
	     i++)
		rc = name_add(d, edit, &record->subject_aliases[i], first, e);
	return rc;
}

/* Those by names first. */
static int own_drafts(struct drafts *d, struct editor__edit *edit, struct err *e)
{
	const size_t first = d->count;
	const struct editor_config *config = &d->shard->config;
	if (edit->record->prompt.len > FORM_BYTES_MAX || editor__edit_labels(edit) > LABELS_MAX)
		return 0;
	int rc = config->views > 0 ? name_drafts(d, edit, first, e) : 0;
	return rc == 0 && config->plain_view && d->bytes < BYTES_MAX ? plain_add(d, edit, first, e) : rc;
}

static bool may_lend(const struct drafts *d, size_t from, size_t to)
{
	const struct form *form = &d->forms[from];
	return form->subject.end > 0 && (form->number.end == 0 || d->forms[to].number.end > 0) &&
	       !same_subject(&d->shard->edits[to], &d->shard->edits[from]);
}

/* Forms of edits on the same subject are not mixed in: they are what those edits answer otherwise. */
static int lent_drafts(struct drafts *d, size_t at, struct err *e)
{
	const size_t wanted = d->shard->config.views, first = d->count;
	int rc = 0;
	if (!has_views(&d->shard->edits[at]))
		return 0;
	for (size_t draw = 0; draw < VIEW_TRIES * wanted && d->count - first < wanted && rc == 0; draw++) {
		const size_t from = (size_t)rng_below(&d->rng, d->shard->edit_count);
		if (d->bytes < BYTES_MAX && may_lend(d, from, at))
			rc = form_add(d, at, from, first, e);
	}
	return rc;
}

/* ---- Their rows */

static int views_reserve(struct drafts *d, struct err *e)
{
	for (size_t i = 0, count; i < d->count; i += count) {
		struct editor__edit *edit = d->list[i].edit;
		for (count = 1; i + count < d->count && d->list[i + count].edit == edit;)
			count++;
		struct editor__view *grown =
			fault_realloc(edit->views, (edit->view_count + count) * sizeof(*edit->views));
		if (grown == NULL)
			return no_memory(e);
		edit->views = grown;
	}
	return 0;
}

static int drafts_run(struct drafts *d, const struct editor_watch *watch, struct err *e)
{
	int rc = views_reserve(d, e);
	struct editor__prefix_text *texts = rc == 0 ? fault_malloc((d->count + 1) * sizeof(*texts)) : NULL;
	if (rc == 0 && texts == NULL)
		rc = no_memory(e);
	for (size_t i = 0; i < d->count && rc == 0; i++)
		texts[i] = (struct editor__prefix_text){ d->list[i].ids, d->list[i].id_count - 1, &d->list[i] };
	if (rc == 0)
		rc = editor__prefix_run(d->shard, texts, d->count, keep_view, watch, e);
	free(texts);
	return rc;
}

/* Room for so many drafts of each edit. */
static int drafts_init(struct drafts *d, struct editor_shard *shard, size_t each, struct err *e)
{
	*d = (struct drafts){ .shard = shard, .bytes = bytes_held(shard) };
	d->list = fault_malloc((each * shard->edit_count + 1) * sizeof(*d->list));
	return d->list == NULL ? no_memory(e) : 0;
}

static void drafts_fini(struct drafts *d)
{
	for (size_t i = 0; i < d->count; i++)
		free(d->list[i].ids);
	free(d->list);
}

int editor__views_own(struct editor_shard *shard, const struct editor_watch *watch, struct err *e)
{
	struct drafts drafts;
	if (shard->config.views == 0 && !shard->config.plain_view)
		return 0;
	int rc = drafts_init(&drafts, shard, EDITOR_FORMS_MAX + 1, e);
	for (size_t i = 0; i < shard->edit_count && rc == 0; i++) {
		if (!shard->edits[i].views_owned)
			rc = own_drafts(&drafts, &shard->edits[i], e);
	}
	if (rc == 0)
		rc = drafts_run(&drafts, watch, e);
	for (size_t i = 0; i < shard->edit_count; i++) {
		struct editor__edit *edit = &shard->edits[i];
		if (edit->views_owned)
			continue;
		if (rc != 0)
			editor__views_free(edit);
		edit->own_view_count = edit->view_count;
		edit->views_owned = rc == 0;
	}
	drafts_fini(&drafts);
	return rc;
}

int editor__views_lend(struct editor_shard *shard, uint64_t seed, const struct editor_watch *watch, struct err *e)
{
	struct drafts drafts;
	editor__views_give_back(shard);
	if (shard->config.views == 0)
		return 0;
	struct form *forms = fault_malloc((shard->edit_count + 1) * sizeof(*forms));
	int rc = drafts_init(&drafts, shard, shard->config.views, e);
	if (rc == 0 && forms == NULL)
		rc = no_memory(e);
	drafts.forms = forms;
	rng_init(&drafts.rng, seed);
	for (size_t i = 0; i < shard->edit_count && rc == 0; i++)
		rc = form_find(&shard->edits[i], &forms[i]) == 0 ? 0 : no_memory(e);
	for (size_t i = 0; i < shard->edit_count && rc == 0; i++)
		rc = lent_drafts(&drafts, i, e);
	if (rc == 0)
		rc = drafts_run(&drafts, watch, e);
	if (rc != 0)
		editor__views_give_back(shard);
	drafts_fini(&drafts);
	free(forms);
	return rc;
}
