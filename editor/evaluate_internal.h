/* evaluate_internal.h: what the files of the evaluation share. Inside editor/ only. */
#ifndef AMEND_EDITOR_EVALUATE_INTERNAL_H
#define AMEND_EDITOR_EVALUATE_INTERNAL_H

#include "editor/decode.h"
#include "editor/evaluate.h"
#include "editor/packed.h"

/* One text that is asked, and what came of it. Those of a record stand together, so that a record's mean is one sweep.
 * Numbers are NaN where nothing was asked. */
struct editor__question {
	enum editor_asked_kind kind;
	size_t record;                     /* index; of a probe where `edit` is NULL */
	const struct record *edit;         /* whose question it is; NULL: a probe's */
	struct record_text text, target;   /* target.text NULL: none */
	const struct record_text *aliases; /* other forms of the target that are right answers */
	size_t alias_count;
	struct editor__tokens tokens;
	size_t answer_tokens;            /* so many are decoded */
	size_t route_first, route_count; /* as in struct editor_request */
	struct editor_route route;
	const struct model_side *side; /* NULL: main memory */
	uint64_t memory_id;
	double forced;        /* teacher-forced accuracy, or share of unchanged positions */
	double ppl, ppl_base; /* of the target, with the route and by the unedited model */
	double confident;     /* share of the target's tokens with p > 0.8 */
	double confident_own; /* of the text's own tokens */
	double right;         /* free decoding: 0 or 1 */
	double right_bare;    /* the same without anchors */
	double right_base;    /* the same of the unedited model */
	bool verbatim;        /* a rephrase that is another edited record's prompt, word for word */
	char answer[160], answer_base[160];
};

struct editor__evaluator {
	struct model *model;
	const struct editor_config *config;
	struct editor_memory_set *set;
	enum editor_set_kind set_kind;
	const struct editor_evaluation *what;
	const struct editor_watch *watch;
	struct editor__question *questions;
	size_t count, cap;
	struct editor__packer *packer;
	struct editor_decoder *decoder;
};

/* evaluate_ask.c: makes the list of questions. */
int editor__evaluate_ask(struct editor__evaluator *v, struct err *e) MUST_CHECK;
/* evaluate_sum.c: figures of every record (into `answers` when not NULL), of every probe (into what->details), and
 * their means. */
int editor__evaluate_sum(struct editor__evaluator *v, struct editor_scores *scores, struct editor_answer *answers,
			 struct err *e) MUST_CHECK;

static inline bool editor__is_edit(const struct editor__question *q)
{
	return q->kind == EDITOR_ASKED_PROMPT || q->kind == EDITOR_ASKED_REPHRASE;
}

#endif
