/* route.h: routing by content (method.md, family `amend`, 4). Two keys are taken from a prompt's prefill, and an edit's
 * memory is read only when both are near enough to the edit's own:
 *
 * Prompt key: the mean over the prompt's tokens (the first left out; the first alone when it is the only one) of the
 * hidden state at the input of layer `prompt_layer`: which fact. Relation key: the mean over the tokens that are not
 * part of the edit's subject at the input of layer `relation_layer`: what is asked about it; words that both questions
 * have (words.h) raise its score. Both are stored raw and made into unit vectors by the calibration of the version, so
 * that one index serves with any calibration. Threads: an index is read-only after build. Pure. */
#ifndef AMEND_EDITOR_ROUTE_H
#define AMEND_EDITOR_ROUTE_H

#include "base/buf.h"
#include "base/hash.h"
#include "base/record.h"
#include "editor/anchor.h"
#include "editor/config.h"

#define EDITOR_HIDDEN_MAX 16384u /* longest key */

struct editor_key_layers { /* at whose inputs the keys are taken; all 0: no calibration, nothing is routed */
	size_t prompt, relation;
	size_t gap; /* family `paper`: behind the edited layer, whose inputs A(x) are taken (gap.h); the others are 0 */
};
/* The layers below it are run before the route is known. */
static inline size_t editor_key_layers_top(struct editor_key_layers layers)
{
	const size_t top = layers.prompt > layers.relation ? layers.prompt : layers.relation;
	return layers.gap > top ? layers.gap : top;
}
static inline bool editor_key_layers_same(struct editor_key_layers a, struct editor_key_layers b)
{
	return a.prompt == b.prompt && a.relation == b.relation && a.gap == b.gap;
}

/* --- Calibration: statistics of a corpus that holds none of the evaluated edits, and thresholds by number of edits. */
#define EDITOR_THRESHOLDS        8
#define EDITOR_SAME_FORM_SHARE   0.02
#define EDITOR_KEPT_SHARE        0.995
#define EDITOR_RELATION_KEPT     0.95
#define EDITOR_RELATION_KEPT_MIN 100u /* rephrases; of fewer the share says nothing */
#define EDITOR_OWN_WORDS         0.9f /* cosine of the prompt keys from which on a text is the edit's own prompt, or nearly */
#define EDITOR_SUBJECT_SHARE     0.8f /* of a subject's letters that must stand in the query */
#define EDITOR_NAMES_SHARE       0.6f /* of those of the names that stand for a subject that nobody gave */
#define EDITOR_RELATION_DIMS_MAX 1024u
/* A relation score is the cosine of two relation keys plus this times the share of the words of the edit's prompt,
 * beside its subject and what many questions say, that the text has too. Chosen on 500 edits of same_subject.jsonl that
 * share no subject and no question form with the 310 groups fitted on, 8 | 10 % of the other questions passing: .904 |
 * .916 of the rephrases pass at 0, .952 | .960 at 0.2, .956 | .964 at 0.4. */
#define EDITOR_RELATION_WORDS 0.4f
/* Of edits on one subject that ask the same (their relation score with each other passes the threshold) and whose
 * scores with a question are within this of the best, the latest is meant; cosine from which on a prompt is an edit's
 * own, and no other's. */
#define EDITOR_RELATION_TIE 0.05f
#define EDITOR_OWN_PROMPT   0.9999f
#define EDITOR_COMMON_SHARE 0.02 /* of the corpus's questions have a word that tells nothing */
#define EDITOR_COMMON_MAX   1024u
struct editor_short_rows { /* a matrix in 16 bits a number: row r is steps[r] times its integers (calibration_key.c) */
	float *steps;
	int16_t *shorts;
};
struct editor_calibration {
	size_t hidden, prompt_layer, dims; /* dims: of prompt keys */
	float *mean, *deviation;           /* hidden */
	float *whiten;                     /* hidden × dims: key = normalise(((raw − mean) / deviation) · whiten) */
	struct editor_short_rows *short_whiten; /* the same in fewer bytes; NULL: not kept */
	/* For edits without a subject: ascending edit_count; log-linear between, and beyond the last. */
	struct {
		uint32_t edit_count;
		float threshold;
	} thresholds[EDITOR_THRESHOLDS];
	float subject_threshold; /* for an edit whose subject stands in the query */
	/* Relation key: normalise(((raw − mean) / deviation) · head), without a head normalise((raw − mean) /
	 * deviation). */
	struct {
		size_t layer;
		float *mean, *deviation;              /* hidden */
		size_t dims;                          /* 0: no head */
		float *head;                          /* hidden × dims */
		struct editor_short_rows *short_head; /* the same in fewer bytes; NULL: not kept */
		float threshold;                      /* of the relation score */
		uint64_t *common; /* hashes of words that many questions have (words.h), ascending */
		size_t common_count;
	} relation;
	struct hash base_model, corpus; /* digests */
};
/* The whitening W is an inverse Cholesky factor of the covariance with ridge: every W with W·Wᵀ = (C + λI)⁻¹ gives the
 * same cosines, so no eigenvectors are needed. With fewer dims than `hidden` it is that of the covariance among the
 * directions in which keys vary most (subspace.h). Thresholds: texts of the corpus stand for edits and for queries,
 * each half of it with the statistics of the other. An open threshold for n edits is the least at which the expected
 * share of unrelated texts that reach any of n such edits is at most config.false_route_share, and of questions of
 * other groups at most EDITOR_SAME_FORM_SHARE; the subject's keeps EDITOR_KEPT_SHARE of the rephrases. ERR_INVALID: a
 * line that is none (its number), or too few texts. A text longer than the model's context is left out. Same corpus,
 * model and backend: same bytes. corpus: texts, one a line:
 * "<kind>\t<group>\t<subject>\t<text>": kind `prompt`, `rephrase` (of the group's prompt) or `other` (another question
 * on its subject) or `near` (one that sounds like the prompt), all in the form of edits, or `unrelated` (no subject).
 * The relation head is fitted on a group's prompt, rephrase and other question (`other`, else `near`), its threshold by
 * heads that did not see the questions (relation.h): config.false_relation_share of the other questions pass, not
 * counting those of kind `near`, which hardly any head tells apart, unless there are no others; more of them where
 * fewer than EDITOR_RELATION_KEPT of the rephrases, of at least EDITOR_RELATION_KEPT_MIN, would pass. */
int editor_calibrate(struct model *model, const struct editor_config *config, const char *corpus_text,
		     size_t corpus_len, const struct editor_watch *watch, struct editor_calibration **out,
		     struct err *e) MUST_CHECK;
/* The same with groups of the operator's own for the relation head. */
struct editor_calibration_data {
	const char *corpus;
	size_t corpus_len;
	const char *groups; /* further lines of a corpus, none `unrelated`, for the relation head only */
	size_t groups_len;  /* 0: none */
	bool groups_alone;  /* the head is fitted on them and not on the corpus's own groups */
};
struct editor_relation_report { /* by heads that saw no subject and no form of question of what they are asked */
	size_t groups, rephrases, others; /* groups fitted on in the end; questions asked, none `near` unless all are */
	size_t folds, fitted_least;       /* fitted_least: groups that the fold with the fewest was fitted on */
	bool forms_apart;                 /* false: too few groups, forms are shared */
	double kept, passed;              /* shares of the rephrases kept and of the other questions let through */
};
struct editor_calibration_report {
	size_t prompts, rephrases, others, unrelated; /* texts of the corpus */
	size_t left_out;                              /* texts longer than the model's context, of groups too */
	struct editor_relation_report relation;
};
int editor_calibrate_data(struct model *model, const struct editor_config *config,
			  const struct editor_calibration_data *data, const struct editor_watch *watch,
			  struct editor_calibration **out, struct editor_calibration_report *report,
			  struct err *e) MUST_CHECK;
void editor_calibration_destroy(struct editor_calibration **calibration);
int editor_calibration_encode(const struct editor_calibration *calibration, struct buf *out, struct err *e) MUST_CHECK;
int editor_calibration_decode(const void *bytes, size_t len, struct editor_calibration **out, struct err *e) MUST_CHECK;
/* The key of a raw key: whitened, unit length (zeros when the raw key is the mean, or out of range); `dims` floats. */
void editor_calibration_key(const struct editor_calibration *calibration, const float *raw, float *key);
/* The same for the relation: editor_calibration_relation_dims floats. */
size_t editor_calibration_relation_dims(const struct editor_calibration *calibration);
void editor_calibration_relation_key(const struct editor_calibration *calibration, const float *raw, float *key);
/* The open threshold for a number of edits. */
float editor_calibration_threshold(const struct editor_calibration *calibration, size_t edit_count);

/* --- Entries of one shard's edits. Bytes: {"AMIX", format, hidden, ffn, count, then per edit: seq, flags, subject,
 * aliases, words, raw key, raw relation, target tokens, anchor rows (anchor.h), forms}, little-endian, floats as
 * float32. */
#define EDITOR_FORMS_MAX 8u
struct editor_index_entry {
	uint64_t seq;
	struct record_text subject; /* folded; len 0: none */
	bool subject_given;         /* by people: queries must name it; else it tells the relation from the rest */
	bool subject_names;         /* not given, but the prompt's names: queries must say most of them */
	struct record_text aliases; /* of a given subject, which it goes by too: folded, each ended by a NUL, which
				       counts; len 0: none */
	struct record_text words;   /* of the prompt beside the subject, folded, one space between; len 0: none */
	const float *raw;           /* hidden floats */
	const float *relation;      /* raw relation key: hidden floats */
	const int32_t *target_ids;  /* without end-of-text */
	size_t target_count;
	const float *anchors; /* anchor_count × ffn: inputs of the edited matrix at the answer's positions; 0: none */
	size_t anchor_count;
	const float
		*forms; /* form_count × (raw key, raw relation key): of the prompt with other names of its subject */
	size_t form_count; /* at most EDITOR_FORMS_MAX */
};
/* ERR_LIMIT, ERR_NOMEM; ERR_INVALID: a number that is not finite, or of no hidden state (over 1e9). Then `out` is as
 * before. */
int editor_index_encode(const struct editor_index_entry *entries, size_t entry_count, size_t hidden, size_t ffn,
			struct buf *out, struct err *e) MUST_CHECK;

/* --- The router of a version: all entries that are live. */
struct editor_router;
int editor_router_new(const struct editor_calibration *calibration, size_t ffn, struct editor_router **out,
		      struct err *e) MUST_CHECK; /* calibration borrowed */
void editor_router_destroy(struct editor_router **router);
/* Adds a shard's index bytes; entries whose seq is in `removed` are left out. `memory` is handed back by routes. */
int editor_router_add(struct editor_router *router, const void *bytes, size_t len, size_t memory,
		      const uint64_t *removed, size_t removed_count, struct err *e) MUST_CHECK;
/* Takes back the entries from the first one of a memory ≥ `memory` on, and their bytes: what was added in ascending
 * order of memories is added again from there. Routes found before are not to be looked at any more. */
void editor_router_cut(struct editor_router *router, size_t memory);
size_t editor_router_count(const struct editor_router *router); /* of edits */
/* Which memory holds `seq`; false when no live entry has it. Looks at every entry: evaluations ask, routes do not. */
bool editor_router_memory_of(const struct editor_router *router, uint64_t seq, size_t *memory);

struct editor_prompt { /* what a route is decided from */
	const int32_t *ids;
	size_t id_count;
	const float *prompt_states;   /* id_count × hidden at the input of prompt_layer */
	const float *relation_states; /* the same at the input of relation_layer */
	size_t looks; /* so many parts of one text are routed, this among them, and share its bound on false routes; 0
			 is 1 */
	size_t asked_bytes; /* at the end of the tokens' text: what it asks, when other sentences stand before that; 0:
			       all of it */
	/* family `paper`: */
	const float *inputs; /* id_count × ffn: A(x) of the edited matrix */
	struct model_backend *backend;
};

#define EDITOR_NEAREST 4
struct editor_route {
	bool routed;                              /* false: main memory */
	size_t memory;                            /* as given to editor_router_add; of nearest[0] */
	float prompt_score, prompt_threshold;     /* cosine of the nearest edit, and what it had to reach */
	float relation_score, relation_threshold; /* of nearest[0]; score 0 where the prompt key alone refused */
	bool subject_found; /* the subject of nearest[0] stands in the query: prompt_threshold is the subject's */
	bool told_apart; /* nearest[0], whose subject (or what stands for one) is there, does not answer for the words
			  * of both: another number, or one that rules its own out (numbers.h, contrasts.h) */
	uint64_t nearest[EDITOR_NEAREST]; /* seqs, nearest first */
	float nearest_score[EDITOR_NEAREST];
	size_t nearest_count;
	struct editor_anchor anchor; /* of nearest[0] when routed, borrowed from the router; row_count 0: none */
};
/* Route of a prompt. Candidates are the EDITOR_CANDIDATES edits whose prompt keys are nearest, as far as they reach the
 * lower of the thresholds. The first of them wins whose subject stands in the text, by itself or by an alias, and that
 * reaches the subject's threshold, or that has no subject and reaches the open one. An edit whose prompt and names lack
 * a number that the text asks about is none (numbers.h), nor is one that says the summer where the text asks about the
 * winter (contrasts.h). An edit with a subject is never routed to by a text that does not name it: questions in the
 * same form about something else are nearer than many rephrases. Among the candidates on the winner's subject the one
 * with the nearest relation key is the route, when it reaches the relation threshold; else the next subject is looked
 * at. It comes first in `nearest`. An empty router routes nothing. ERR_NOMEM. */
#define EDITOR_CANDIDATES 32
int editor_router_route(const struct editor_router *router, const struct model_tokenizer *tokenizer,
			const struct editor_prompt *prompt, struct editor_route *out, struct err *e) MUST_CHECK;
/* Whether the folded `subject` stands in `text` as routes look at it. An index should carry only subjects that stand in
 * their edit's own prompt. */
int editor_route_subject_in(const char *subject, size_t subject_len, const char *text, size_t text_len,
			    bool *found) MUST_CHECK;
/* Whether the record gives a subject that its prompt says by none of its names. Such an edit is found by its prompt's
 * own words, like one without a subject, and by no question that says the subject. ERR_NOMEM. */
int editor_route_subject_absent(const struct record *record, bool *absent) MUST_CHECK;
/* Means over the rows of each segment (see above) of tapped states (rows × hidden) into raw (segment_count × hidden).
 */
void editor_route_raw_keys(const float *states, const struct model_segment *segments, size_t segment_count,
			   size_t hidden, float *raw);

#endif
