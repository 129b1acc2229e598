#include "editor/trial.h"

#include "base/fault.h"
#include "editor/corpus.h"

#include <stdlib.h>
#include <string.h>

#define LINES_MAX  20000u
#define GROUPS_MIN 2u

static bool is_equal(const struct record_text *a, const struct record_text *b)
{
	return a->len == b->len && memcmp(a->text, b->text, a->len) == 0;
}

static void take_line(struct editor_trial_corpus *c, const struct editor_corpus_line *line, struct record_text *group)
{
	struct editor_trial_group *last = c->group_count > 0 ? &c->groups[c->group_count - 1] : NULL;
	if (line->kind == EDITOR_UNRELATED) {
		c->unrelated[c->unrelated_count++] = line->text;
	} else if (line->kind == EDITOR_PROMPT && line->subject.len > 0) {
		if (last == NULL || last->rephrase.len > 0) /* one without a rephrase gives its place */
			last = &c->groups[c->group_count++];
		*last = (struct editor_trial_group){ .subject = line->subject, .prompt = line->text };
		*group = line->group;
	} else if (line->kind == EDITOR_REPHRASE && last != NULL && last->rephrase.len == 0 &&
		   is_equal(&line->group, group)) {
		last->rephrase = line->text;
	}
}

/* Keeps `kept` of `count` items, evenly spread. */
static void thin(void *items, size_t item_bytes, size_t count, size_t kept)
{
	for (size_t i = 0; i < kept; i++)
		memmove((char *)items + i * item_bytes, (char *)items + i * count / kept * item_bytes, item_bytes);
}

static int read_lines(struct editor_trial_corpus *c, const char *bytes, size_t len, struct err *e)
{
	const size_t lines = editor_corpus_lines(bytes, len);
	struct record_text group = { NULL, 0 };
	struct editor_corpus_line line;
	struct editor_corpus corpus;
	int rc;
	if (lines > LINES_MAX)
		return err_set(e, ERR_LIMIT, "calibration corpus: %zu lines, at most %u", lines, LINES_MAX);
	c->groups = fault_calloc(lines, sizeof(*c->groups));
	c->unrelated = fault_calloc(lines, sizeof(*c->unrelated));
	if (c->groups == NULL || c->unrelated == NULL)
		return err_set(e, ERR_NOMEM, "calibration corpus: out of memory");
	editor_corpus_init(&corpus, "calibration corpus", bytes, len);
	while ((rc = editor_corpus_next(&corpus, &line, e)) == 0)
		take_line(c, &line, &group);
	if (c->group_count > 0 && c->groups[c->group_count - 1].rephrase.len == 0)
		c->group_count--;
	return rc == ERR_NOT_FOUND ? 0 : rc;
}

int editor_trial_read(const char *corpus, size_t corpus_len, size_t groups_max, size_t unrelated_max,
		      struct editor_trial_corpus *out, struct err *e)
{
	*out = (struct editor_trial_corpus){ .group_count = 0 };
	int rc = read_lines(out, corpus, corpus_len, e);
	if (rc == 0 && out->group_count < GROUPS_MIN)
		rc = err_set(e, ERR_INVALID,
			     "calibration corpus: %zu groups with a subject, a prompt and a rephrase, at least %u are "
			     "needed to try edits on",
			     out->group_count, GROUPS_MIN);
	if (rc != 0) {
		editor_trial_fini(out);
		return rc;
	}
	if (out->group_count > groups_max) {
		thin(out->groups, sizeof(*out->groups), out->group_count, groups_max);
		out->group_count = groups_max;
	}
	if (out->unrelated_count > unrelated_max) {
		thin(out->unrelated, sizeof(*out->unrelated), out->unrelated_count, unrelated_max);
		out->unrelated_count = unrelated_max;
	}
	return 0;
}

void editor_trial_fini(struct editor_trial_corpus *corpus)
{
	free(corpus->groups);
	free(corpus->unrelated);
	*corpus = (struct editor_trial_corpus){ .group_count = 0 };
}

const struct record_text *editor_trial_target(const struct editor_trial_corpus *corpus, size_t index)
{
	return &corpus->groups[(index + 1) % corpus->group_count].subject;
}

int editor_trial_record(const struct record_text *prompt, const struct record_text *target,
			const struct record_text *subject, struct record **out, struct err *e)
{
	struct buf text = BUF_INIT;
	struct json_w w;
	json_w_init(&w, &text);
	json_w_open(&w, '{');
	json_w_member_strn(&w, "prompt", prompt->text, prompt->len);
	json_w_member_strn(&w, "target_new", target->text, target->len);
	if (subject != NULL && subject->len > 0)
		json_w_member_strn(&w, "subject", subject->text, subject->len);
	json_w_close(&w);
	int rc = buf_failed(&text) ? err_set(e, ERR_NOMEM, "trial edit: out of memory")
				   : record_parse(buf_cstr(&text), text.len, out, e);
	buf_free(&text);
	return rc;
}
