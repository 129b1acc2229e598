/* Forms: an edit's prompt with another name of its subject in that place ("Who is the mayor of NHT?"). Its keys are far
 * from those of the prompt itself, so the index holds both. */
#include "editor/shard_internal.h"

#include "base/fault.h"
#include "base/names.h"
#include "editor/prompt.h"

#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

struct form {
	struct editor__edit *edit;
	struct editor__tokens tokens;
	size_t at; /* of the edit's forms */
};

struct forms {
	struct form *list;
	size_t count;
};

static bool wants_forms(const struct editor__edit *edit)
{
	return edit->forms == NULL && edit->inputs != NULL && edit->subject_given && edit->subject_aliases.len > 0;
}

/* A name that the prompt says already, or that makes it too long, gives none. */
static int add_form(struct editor_shard *shard, struct editor__edit *edit, const struct record_text *name,
		    struct forms *forms, struct err *e)
{
	const struct record_text *prompt = &edit->record->prompt;
	struct form *form = &forms->list[forms->count];
	struct err why = ERR_INIT;
	struct buf text = BUF_INIT;
	int rc = edit->form_count < EDITOR_FORMS_MAX ? names_say(edit->record, name, prompt->text, prompt->len, &text)
						     : 0;
	*form = (struct form){ .edit = edit, .at = edit->form_count };
	if (rc == 0 && text.len > 0 && (text.len != prompt->len || memcmp(text.data, prompt->text, text.len) != 0)) {
		rc = editor__tokens_of(shard->model, buf_cstr(&text), text.len, &form->tokens, &why);
		forms->count += rc == 0;
		edit->form_count += rc == 0;
	}
	buf_free(&text);
	return rc == ERR_NOMEM ? err_set(e, rc, "edit %" PRIu64 ": out of memory for its names", edit->seq) : 0;
}

static int edit_forms(struct editor_shard *shard, struct editor__edit *edit, struct forms *forms, struct err *e)
{
	const struct record *record = edit->record;
	int rc = add_form(shard, edit, &record->subject, forms, e);
	for (size_t i = 0; rc == 0 && i < record->subject_alias_count; i++)
		rc = add_form(shard, edit, &record->subject_aliases[i], forms, e);
	edit->forms = fault_calloc((edit->form_count + 1) * 2 * shard->shape->hidden, sizeof(float));
	return rc == 0 && edit->forms == NULL
		       ? err_set(e, ERR_NOMEM, "edit %" PRIu64 ": out of memory for its names", edit->seq)
		       : rc;
}

static int keep_form(struct editor_shard *shard, void *owner, const struct editor__prefix_rows *rows, struct err *e)
{
	const struct form *form = owner;
	const size_t hidden = shard->shape->hidden;
	const struct model_segment segment = { .row_count = form->tokens.id_count };
	const struct editor_prompt states = { .ids = form->tokens.ids,
					      .id_count = form->tokens.id_count,
					      .prompt_states = rows->states,
					      .relation_states = rows->relation };
	const struct names names = editor__edit_names(form->edit);
	float *raw = form->edit->forms + form->at * 2 * hidden;
	uint8_t marks[EDITOR__QUERY_WORDS_MAX];
	struct editor__prompt prompt;
	editor_route_raw_keys(states.prompt_states, &segment, 1, hidden, raw);
	int rc = editor__prompt_init(&prompt, model_tokenizer_of(shard->model), &states);
	if (rc == 0)
		rc = editor__names_mark(&prompt.query, &names, marks);
	if (rc == 0)
		rc = editor__prompt_relation(&prompt, hidden, marks, raw + hidden);
	editor__prompt_fini(&prompt);
	return rc != 0 ? err_set(e, rc, "edit %" PRIu64 ": its keys: %s", form->edit->seq, err_text(rc)) : 0;
}

static int forms_run(struct editor_shard *shard, struct forms *forms, struct err *e)
{
	struct editor__prefix_text *texts = fault_malloc((forms->count + 1) * sizeof(*texts));
	if (texts == NULL)
		return err_set(e, ERR_NOMEM, "shard: out of memory for the names of its subjects");
	for (size_t i = 0; i < forms->count; i++) {
		struct form *form = &forms->list[i];
		texts[i] = (struct editor__prefix_text){ form->tokens.ids, form->tokens.id_count, form };
	}
	int rc = editor__prefix_run(shard, texts, forms->count, keep_form, NULL, e);
	free(texts);
	return rc;
}

/* An edit has all of its forms, or none. */
int editor__forms_fill(struct editor_shard *shard, struct err *e)
{
	struct forms forms = { .count = 0 };
	size_t most = 0;
	int rc = 0;
	for (size_t i = 0; i < shard->edit_count; i++)
		most += wants_forms(&shard->edits[i]) ? EDITOR_FORMS_MAX + 1 : 0;
	if (most == 0)
		return 0;
	bool *made = fault_calloc(shard->edit_count, sizeof(*made));
	forms.list = fault_calloc(most, sizeof(*forms.list));
	if (made == NULL || forms.list == NULL)
		rc = err_set(e, ERR_NOMEM, "shard: out of memory for the names of its subjects");
	for (size_t i = 0; rc == 0 && i < shard->edit_count; i++) {
		made[i] = wants_forms(&shard->edits[i]);
		if (made[i])
			rc = edit_forms(shard, &shard->edits[i], &forms, e);
	}
	if (rc == 0)
		rc = forms_run(shard, &forms, e);
	for (size_t i = 0; rc != 0 && made != NULL && i < shard->edit_count; i++) {
		if (!made[i])
			continue;
		free(shard->edits[i].forms);
		shard->edits[i].forms = NULL;
		shard->edits[i].form_count = 0;
	}
	for (size_t i = 0; i < forms.count; i++)
		editor__tokens_free(&forms.list[i].tokens, 1);
	free(forms.list);
	free(made);
	return rc;
}
