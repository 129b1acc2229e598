/* evaluate.h: the metrics of method.md over records and a memory set. Fractions in [0, 1]; NaN where the file has no
 * such items (null in JSON). */
#ifndef AMEND_EDITOR_EVALUATE_H
#define AMEND_EDITOR_EVALUATE_H

#include "base/record.h"
#include "editor/memory.h"

struct editor_scores {
	size_t edits;
	double rel, gen; /* teacher-forced token accuracy on prompts and rephrases, real routing */
	double loc, loc_same_subject, loc_neighborhood,
		loc_same_form;     /* share of answer positions unchanged against the base model */
	double free_rel, free_gen; /* free decoding, exact match */
	double free_gen_no_anchor; /* memories read with the query's own inputs only */
	double free_rel_base;      /* the unedited model */
	double right_memory,
		right_memory_prompts; /* share of rephrases / prompts that read the memory holding their edit */
	double routed_unrelated, routed_same_form,
		routed_same_subject;                 /* share of those prompts that leave the main memory */
	double portability;                          /* NaN when none */
	size_t probes_same_form, rephrases_verbatim; /* rephrases that are verbatim another row's prompt */
	double free_gen_no_conflict;                 /* rows without a conflicting twin */
};
struct editor_answer {                                                   /* per edit, for tables and --details */
	char prompt_before[160], prompt_after[160], rephrase_after[160]; /* decoded, cut at newline */
	bool prompt_right, rephrase_right;
	uint64_t prompt_memory, rephrase_memory; /* id; 0: main */
	float rephrase_score;
};
struct editor_evaluation {
	const struct record *const *records; /* the edited ones */
	const uint64_t *seqs;                /* their seqs in the set */
	size_t record_count;
	const struct record *const
		*probes; /* records that were not edited and whose subjects were not: loc_same_form */
	size_t probe_count;
	bool no_anchor;  /* anchored recall off everywhere */
	bool before_too; /* also decode with the base model: free_rel_base and prompt_before */
};
/* answers: record_count entries or NULL. */
int editor_evaluate(struct model *model, const struct editor_config *config, struct editor_memory_set *set,
		    enum editor_set_kind kind, const struct editor_evaluation *evaluation, struct editor_scores *scores,
		    struct editor_answer *answers, const struct editor_watch *watch, struct err *e) MUST_CHECK;

#endif
