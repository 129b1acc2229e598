/* evaluate_sum.c: from answers to figures. */
#include "base/fault.h"
#include "editor/evaluate_internal.h"
#include "editor/twins.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

const char *const editor_figure_names[EDITOR_FIGURE_COUNT] = {
#define X(name, what) #name,
	EDITOR_FIGURES(X)
#undef X
};
const char *const editor_figure_texts[EDITOR_FIGURE_COUNT] = {
#define X(name, what) what,
	EDITOR_FIGURES(X)
#undef X
};
const char *const editor_asked_names[EDITOR_ASKED_COUNT] = {
	"prompt", "rephrase",  "unrelated",      "same_subject",   "neighborhood",      "portability", "long",
	"chat",   "same_form", "unrelated_long", "same_form_long", "same_subject_long", "mention",     "mention_other"
};

enum value { FORCED, PPL, PPL_BASE, CONFIDENT, CONFIDENT_OWN, RIGHT, RIGHT_BARE, RIGHT_BASE, ROUTED, RIGHT_MEMORY };
enum filter { ALL, NO_CONFLICT, VERBATIM, NO_VERBATIM };

/* Which questions make a figure, and which of their numbers. */
static const struct {
	enum editor_asked_kind kind;
	enum value value;
	enum filter filter;
} rules[EDITOR_FIGURE_COUNT] = {
	[EDITOR_FIGURE_rel] = { EDITOR_ASKED_PROMPT, FORCED, ALL },
	[EDITOR_FIGURE_gen] = { EDITOR_ASKED_REPHRASE, FORCED, ALL },
	[EDITOR_FIGURE_loc] = { EDITOR_ASKED_UNRELATED, FORCED, ALL },
	[EDITOR_FIGURE_loc_same_subject] = { EDITOR_ASKED_SAME_SUBJECT, FORCED, ALL },
	[EDITOR_FIGURE_loc_neighborhood] = { EDITOR_ASKED_NEIGHBORHOOD, FORCED, ALL },
	[EDITOR_FIGURE_loc_same_form] = { EDITOR_ASKED_SAME_FORM, FORCED, ALL },
	[EDITOR_FIGURE_free_rel] = { EDITOR_ASKED_PROMPT, RIGHT, ALL },
	[EDITOR_FIGURE_free_gen] = { EDITOR_ASKED_REPHRASE, RIGHT, ALL },
	[EDITOR_FIGURE_free_rel_no_anchor] = { EDITOR_ASKED_PROMPT, RIGHT_BARE, ALL },
	[EDITOR_FIGURE_free_gen_no_anchor] = { EDITOR_ASKED_REPHRASE, RIGHT_BARE, ALL },
	[EDITOR_FIGURE_free_gen_no_conflict] = { EDITOR_ASKED_REPHRASE, RIGHT, NO_CONFLICT },
	[EDITOR_FIGURE_free_gen_verbatim] = { EDITOR_ASKED_REPHRASE, RIGHT, VERBATIM },
	[EDITOR_FIGURE_free_gen_no_verbatim] = { EDITOR_ASKED_REPHRASE, RIGHT, NO_VERBATIM },
	[EDITOR_FIGURE_free_long] = { EDITOR_ASKED_LONG, RIGHT, ALL },
	[EDITOR_FIGURE_free_chat] = { EDITOR_ASKED_CHAT, RIGHT, ALL },
	[EDITOR_FIGURE_free_long_no_anchor] = { EDITOR_ASKED_LONG, RIGHT_BARE, ALL },
	[EDITOR_FIGURE_free_chat_no_anchor] = { EDITOR_ASKED_CHAT, RIGHT_BARE, ALL },
	[EDITOR_FIGURE_free_rel_base] = { EDITOR_ASKED_PROMPT, RIGHT_BASE, ALL },
	[EDITOR_FIGURE_portability] = { EDITOR_ASKED_PORTABILITY, RIGHT, ALL },
	[EDITOR_FIGURE_portability_base] = { EDITOR_ASKED_PORTABILITY, RIGHT_BASE, ALL },
	[EDITOR_FIGURE_ppl] = { EDITOR_ASKED_PROMPT, PPL, ALL },
	[EDITOR_FIGURE_ppl_base] = { EDITOR_ASKED_PROMPT, PPL_BASE, ALL },
	[EDITOR_FIGURE_confident_rel] = { EDITOR_ASKED_PROMPT, CONFIDENT, ALL },
	[EDITOR_FIGURE_confident_ood] = { EDITOR_ASKED_REPHRASE, CONFIDENT_OWN, ALL },
	[EDITOR_FIGURE_right_memory] = { EDITOR_ASKED_REPHRASE, RIGHT_MEMORY, ALL },
	[EDITOR_FIGURE_right_memory_prompts] = { EDITOR_ASKED_PROMPT, RIGHT_MEMORY, ALL },
	[EDITOR_FIGURE_right_memory_long] = { EDITOR_ASKED_LONG, RIGHT_MEMORY, ALL },
	[EDITOR_FIGURE_right_memory_chat] = { EDITOR_ASKED_CHAT, RIGHT_MEMORY, ALL },
	[EDITOR_FIGURE_routed_unrelated] = { EDITOR_ASKED_UNRELATED, ROUTED, ALL },
	[EDITOR_FIGURE_routed_same_form] = { EDITOR_ASKED_SAME_FORM, ROUTED, ALL },
	[EDITOR_FIGURE_routed_same_subject] = { EDITOR_ASKED_SAME_SUBJECT, ROUTED, ALL },
	[EDITOR_FIGURE_routed_neighborhood] = { EDITOR_ASKED_NEIGHBORHOOD, ROUTED, ALL },
	[EDITOR_FIGURE_routed_unrelated_long] = { EDITOR_ASKED_UNRELATED_LONG, ROUTED, ALL },
	[EDITOR_FIGURE_routed_same_form_long] = { EDITOR_ASKED_SAME_FORM_LONG, ROUTED, ALL },
	[EDITOR_FIGURE_routed_same_subject_long] = { EDITOR_ASKED_SAME_SUBJECT_LONG, ROUTED, ALL },
	[EDITOR_FIGURE_routed_mention] = { EDITOR_ASKED_MENTION, ROUTED, ALL },
	[EDITOR_FIGURE_routed_mention_other] = { EDITOR_ASKED_MENTION_OTHER, ROUTED, ALL },
};

static double right_memory(const struct editor__evaluator *v, const struct editor__question *q)
{
	uint64_t own = 0;
	if (q->side == NULL || editor_memory_set_side_of(v->set, v->set_kind, v->what->seqs[q->record], &own) == NULL)
		return 0;
	return own == q->memory_id ? 1 : 0;
}

static double value_of(const struct editor__evaluator *v, const struct editor__question *q, enum value value)
{
	switch (value) {
	case FORCED:
		return q->forced;
	case PPL:
		return q->ppl;
	case PPL_BASE:
		return q->ppl_base;
	case CONFIDENT:
		return q->confident;
	case CONFIDENT_OWN:
		return q->confident_own;
	case RIGHT:
		return q->right;
	case RIGHT_BARE:
		return q->right_bare;
	case RIGHT_BASE:
		return q->right_base;
	case ROUTED:
		return q->side != NULL ? 1 : 0;
	case RIGHT_MEMORY:
		return right_memory(v, q);
	}
	return (double)NAN;
}

static bool is_counted(const struct editor__question *q, enum filter filter, bool conflict)
{
	return filter == ALL || (filter == NO_CONFLICT && !conflict) || (filter == VERBATIM && q->verbatim) ||
	       (filter == NO_VERBATIM && !q->verbatim);
}

/* Means of the questions [first, end), which are one record's. */
static void figures_of(const struct editor__evaluator *v, size_t first, size_t end, const bool *conflict,
		       struct editor_figures *out)
{
	for (size_t f = 0; f < EDITOR_FIGURE_COUNT; f++) {
		double sum = 0;
		size_t n = 0;
		for (size_t i = first; i < end; i++) {
			const struct editor__question *q = &v->questions[i];
			const bool conflicts = q->edit != NULL && conflict[q->record];
			if (q->kind != rules[f].kind || !is_counted(q, rules[f].filter, conflicts))
				continue;
			const double x = value_of(v, q, rules[f].value);
			sum += isnan(x) ? 0 : x;
			n += isnan(x) ? 0 : 1;
		}
		out->values[f] = n > 0 ? sum / (double)n : (double)NAN;
	}
}

static void answer_fill(const struct editor__evaluator *v, size_t first, size_t end, struct editor_answer *a)
{
	for (size_t i = first; i < end; i++) {
		const struct editor__question *q = &v->questions[i];
		if (q->kind == EDITOR_ASKED_PROMPT) {
			memcpy(a->prompt_before, q->answer_base, sizeof(a->prompt_before));
			memcpy(a->prompt_after, q->answer, sizeof(a->prompt_after));
			a->prompt_right = q->right > 0;
			a->prompt_memory = q->memory_id;
		} else if (q->kind == EDITOR_ASKED_REPHRASE && q[-1].kind == EDITOR_ASKED_PROMPT) {
			memcpy(a->rephrase_after, q->answer, sizeof(a->rephrase_after));
			a->rephrase_right = q->right > 0;
			a->rephrase_memory = q->memory_id;
			a->rephrase_score = q->route.prompt_score;
		}
	}
}

/* Where the record ends whose questions begin at `first`: a probe is a record of its own. */
static size_t record_end(const struct editor__evaluator *v, size_t first)
{
	size_t end = first + 1;
	while (end < v->count && v->questions[end].kind != EDITOR_ASKED_SAME_FORM &&
	       v->questions[end].record == v->questions[first].record)
		end++;
	return end;
}

static void all_figures(const struct editor__evaluator *v, const bool *conflict, struct editor_scores *scores,
			struct editor_answer *answers)
{
	double sums[EDITOR_FIGURE_COUNT] = { 0 };
	size_t counts[EDITOR_FIGURE_COUNT] = { 0 };
	for (size_t first = 0, end; first < v->count; first = end) {
		const struct editor__question *q = &v->questions[first];
		const bool probe = q->edit == NULL;
		struct editor_figures own;
		end = record_end(v, first);
		figures_of(v, first, end, conflict, &own);
		for (size_t f = 0; f < EDITOR_FIGURE_COUNT; f++) {
			sums[f] += isnan(own.values[f]) ? 0 : own.values[f];
			counts[f] += isnan(own.values[f]) ? 0 : 1;
		}
		if (!probe && answers != NULL) {
			answers[q->record].figures = own;
			answer_fill(v, first, end, &answers[q->record]);
		}
		if (probe && v->what->details != NULL)
			v->what->details->probes[q->record] = own;
	}
	for (size_t f = 0; f < EDITOR_FIGURE_COUNT; f++)
		scores->mean.values[f] = counts[f] > 0 ? sums[f] / (double)counts[f] : (double)NAN;
}

static int details_new(const struct editor__evaluator *v, struct editor_details *details)
{
	details->probes = fault_calloc(v->what->probe_count + 1, sizeof(*details->probes));
	details->asked = fault_calloc(v->count + 1, sizeof(*details->asked));
	if (details->probes == NULL || details->asked == NULL) {
		editor_details_fini(details);
		return ERR_NOMEM;
	}
	for (size_t i = 0; i < v->count; i++) {
		const struct editor__question *q = &v->questions[i];
		details->asked[i] = (struct editor_asked){ .kind = q->kind,
							   .record = q->record,
							   .routed = q->side != NULL,
							   .prompt_score = q->route.prompt_score,
							   .relation_score = q->route.relation_score,
							   .prompt_threshold = q->route.prompt_threshold };
	}
	details->asked_count = v->count;
	return 0;
}

void editor_details_fini(struct editor_details *details)
{
	free(details->probes);
	free(details->asked);
	*details = (struct editor_details){ 0 };
}

static void mark_verbatim(struct editor__evaluator *v, const bool *verbatim)
{
	for (size_t i = 0, rephrase = 0; i < v->count; i++) {
		if (v->questions[i].kind == EDITOR_ASKED_REPHRASE)
			v->questions[i].verbatim = verbatim[rephrase++];
	}
}

int editor__evaluate_sum(struct editor__evaluator *v, struct editor_scores *scores, struct editor_answer *answers,
			 struct err *e)
{
	const size_t records = v->what->record_count, probes = v->what->probe_count;
	/* one flag a question is room enough for one a rephrase */
	bool *verbatim = fault_calloc(v->count + 1, sizeof(*verbatim));
	bool *conflict = fault_calloc(records + 1, sizeof(*conflict));
	int rc = conflict == NULL || verbatim == NULL ? err_set(e, ERR_NOMEM, "evaluation: out of memory")
						      : editor__twins_mark(v->what, conflict, e);
	if (rc == 0)
		rc = editor__twins_mark_verbatim(v->what, verbatim, &scores->rephrases_verbatim, e);
	if (rc == 0 && v->what->details != NULL && details_new(v, v->what->details) != 0)
		rc = err_set(e, ERR_NOMEM, "evaluation: out of memory");
	if (rc == 0) {
		scores->edits = records;
		scores->probes_same_form = probes;
		if (answers != NULL)
			memset(answers, 0, records * sizeof(*answers));
		mark_verbatim(v, verbatim);
		all_figures(v, conflict, scores, answers);
	}
	free(conflict);
	free(verbatim);
	return rc;
}
