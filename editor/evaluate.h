/* evaluate.h: the metrics of method.md over records and a memory set. Fractions in [0, 1]; NaN where the file has no
 * such items (null in JSON). */
#ifndef AMEND_EDITOR_EVALUATE_H
#define AMEND_EDITOR_EVALUATE_H

#include "base/record.h"
#include "editor/memory.h"

/* Every figure: its name in reports, and what it says. A record's mean, then the mean over records. */
#define EDITOR_FIGURES(X)                                                                                              \
	X(rel, "token accuracy on the prompts, teacher-forced")                                                        \
	X(gen, "the same on the rephrases")                                                                            \
	X(loc, "unrelated answers unchanged")                                                                          \
	X(loc_same_subject, "other questions on an edited subject unchanged")                                          \
	X(loc_neighborhood, "the same relation of other subjects unchanged")                                           \
	X(loc_same_form, "questions of the same form on other subjects unchanged")                                     \
	X(free_rel, "prompts that decode to the target")                                                               \
	X(free_gen, "rephrases that decode to the target")                                                             \
	X(free_rel_no_anchor, "prompts, without anchored recall")                                                      \
	X(free_gen_no_anchor, "rephrases, without anchored recall")                                                    \
	X(free_gen_no_conflict, "rephrases of rows without a conflicting twin")                                        \
	X(free_gen_verbatim, "rephrases that are another row's prompt, word for word")                                 \
	X(free_gen_no_verbatim, "all other rephrases")                                                                 \
	X(free_long, "the first rephrase behind three unrelated texts")                                                \
	X(free_chat, "the first rephrase in a chat behind two earlier turns")                                          \
	X(free_long_no_anchor, "the same behind three texts, without anchored recall")                                 \
	X(free_chat_no_anchor, "the same in a chat, without anchored recall")                                          \
	X(free_rel_base, "prompts, unedited model")                                                                    \
	X(portability, "facts that follow")                                                                            \
	X(portability_base, "the same, unedited model")                                                                \
	X(ppl, "perplexity of the targets behind their prompts")                                                       \
	X(ppl_base, "the same, unedited model")                                                                        \
	X(confident_rel, "target tokens with p > 0.8")                                                                 \
	X(confident_ood, "tokens of the rephrases themselves with p > 0.8")                                            \
	X(right_memory, "rephrases routed to the memory with their edit")                                              \
	X(right_memory_prompts, "prompts routed to it")                                                                \
	X(right_memory_long, "long texts routed to it")                                                                \
	X(right_memory_chat, "chats routed to it")                                                                     \
	X(routed_unrelated, "unrelated prompts that leave the main memory")                                            \
	X(routed_same_form, "questions of the same form that leave it")                                                \
	X(routed_same_subject, "other questions on an edited subject that leave it")                                   \
	X(routed_neighborhood, "questions of the same relation that leave it")                                         \
	X(routed_unrelated_long, "unrelated prompts behind three unrelated texts that leave it")                       \
	X(routed_same_form_long, "questions of the same form behind such texts that leave it")                         \
	X(routed_same_subject_long, "other questions on an edited subject behind such texts that leave it")            \
	X(routed_mention, "texts that name an edited subject and ask something unrelated last that leave it")          \
	X(routed_mention_other, "texts that name an edited subject and ask the same of another one last that leave "   \
				"it")
enum editor_figure {
#define X(name, what) EDITOR_FIGURE_##name,
	EDITOR_FIGURES(X)
#undef X
		EDITOR_FIGURE_COUNT
};
extern const char *const editor_figure_names[EDITOR_FIGURE_COUNT];
extern const char *const editor_figure_texts[EDITOR_FIGURE_COUNT]; /* what each says */

struct editor_figures { /* the same numbers by name and by place */
	union {
		double values[EDITOR_FIGURE_COUNT];
		struct {
#define X(name, what) double name;
			EDITOR_FIGURES(X)
#undef X
		};
	};
};
struct editor_scores {
	size_t edits, probes_same_form, rephrases_verbatim; /* rephrases that are verbatim another row's prompt */
	union {
		struct editor_figures mean;
		struct {
#define X(name, what) double name;
			EDITOR_FIGURES(X)
#undef X
		};
	};
};
struct editor_answer {                                                   /* per edit, for tables and --details */
	char prompt_before[160], prompt_after[160], rephrase_after[160]; /* decoded, cut at newline */
	bool prompt_right, rephrase_right;
	uint64_t prompt_memory, rephrase_memory; /* id; 0: main */
	float rephrase_score;
	struct editor_figures figures; /* of this record alone */
};

/* One text that was asked, for distributions of routing scores. */
enum editor_asked_kind {
	EDITOR_ASKED_PROMPT,
	EDITOR_ASKED_REPHRASE,
	EDITOR_ASKED_UNRELATED,
	EDITOR_ASKED_SAME_SUBJECT,
	EDITOR_ASKED_NEIGHBORHOOD,
	EDITOR_ASKED_PORTABILITY,
	EDITOR_ASKED_LONG,
	EDITOR_ASKED_CHAT,
	EDITOR_ASKED_SAME_FORM,
	EDITOR_ASKED_UNRELATED_LONG, /* these five behind other text: only their routes are looked at */
	EDITOR_ASKED_SAME_FORM_LONG,
	EDITOR_ASKED_SAME_SUBJECT_LONG,
	EDITOR_ASKED_MENTION,
	EDITOR_ASKED_MENTION_OTHER,
	EDITOR_ASKED_COUNT
};
extern const char *const editor_asked_names[EDITOR_ASKED_COUNT];
struct editor_asked {
	enum editor_asked_kind kind;
	size_t record; /* index; of a probe for SAME_FORM and SAME_FORM_LONG */
	bool routed;
	float prompt_score, relation_score; /* of the nearest edit; relation 0 where the prompt key alone refused */
	float prompt_threshold; /* that the prompt score was held against; family `paper`: ε of the memory with that gap
				 */
};
struct editor_details {
	struct editor_figures *probes; /* probe_count */
	struct editor_asked *asked;
	size_t asked_count;
};
void editor_details_fini(struct editor_details *details);

struct editor_evaluation {
	const struct record *const *records; /* the edited ones */
	const uint64_t *seqs;                /* their seqs in the set */
	size_t record_count;
	const struct record *const
		*probes; /* records that were not edited and whose subjects were not: loc_same_form */
	size_t probe_count;
	/* Texts that have nothing to do with the edits: a record's first rephrase is asked behind three of them
	 * (free_long) and in a chat whose two earlier turns they are (free_chat). Which ones is a function of the
	 * record's content and text_count; what must not be routed stands behind them too. 0: none of it is asked. */
	const struct record_text *texts;
	size_t text_count;
	bool no_anchor;  /* anchored recall off everywhere */
	bool oracle;     /* no routing: what belongs to an edit reads the memory that holds it, the rest the main one */
	bool before_too; /* also decode with the base model: free_rel_base, ppl_base and prompt_before */
	struct editor_details *details; /* out: freed by the caller, also zeroed after an error; NULL: not wanted */
};
/* Whether the model's context holds what training and an evaluation read of the record; of a probe that is its prompt.
 * ERR_INVALID: "field: reason". */
int editor_evaluate_fits(const struct model *model, const struct editor_config *config, const struct record *record,
			 bool probe, struct err *e) MUST_CHECK;
/* answers: record_count entries or NULL. Records and probes fit (above). */
int editor_evaluate(struct model *model, const struct editor_config *config, struct editor_memory_set *set,
		    enum editor_set_kind kind, const struct editor_evaluation *evaluation, struct editor_scores *scores,
		    struct editor_answer *answers, const struct editor_watch *watch, struct err *e) MUST_CHECK;

#endif
