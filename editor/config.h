/* config.h: the numbers of both families of memories (method.md), for one base model. Plain values; pure. */
#ifndef AMEND_EDITOR_CONFIG_H
#define AMEND_EDITOR_CONFIG_H

#include "base/merge_plan.h"
#include "model/model.h"

#define EDITOR_RATE_MIN 1e-8f /* of every kind of training */
#define EDITOR_RATE_MAX 1.0f  /* of all but the paper's family's */

enum editor_family { EDITOR_FAMILY_AMEND, EDITOR_FAMILY_PAPER };

/* WISE as published (arXiv 2405.14768; wise.h). The margins are those of 7B models: calibrate them per model. */
struct editor_wise_config {
	float alpha, beta, gamma; /* margins of eq. 4: 5, 20, 10 */
	float rate;               /* SGD: 1.0 */
	size_t steps_max;         /* of an edit: 70 */
	float clip;               /* |W′−W| of an entry: 1.0 */
	float mask_ratio;         /* ρ: 0.2 */
	float stop_delta;         /* an edit is learnt when the loss moves by no more than this, 1e-4, … */
	float stop_loss;          /* … and is no more than this, 0.02 */
	float act_ratio;          /* ε = act_ratio · the smallest gap of the memory's edits: 0.88 */
	bool prefixes;            /* ten model-generated prefixes beside the bare prompt */
	size_t prefix_tokens[2];  /* greedy tokens after each of the five seeds: 5 and 10 */
	bool activation_loss;     /* L_a */
	bool replay;              /* L_memo, where earlier groups are given (WISE-Retrieve) */
	size_t merge_shards;      /* k: 2 */
	enum merge_operator merge_operator;
	float merge_density;     /* TIES, DARE and DARE-TIES: 0.53 */
	bool merge_trim_nonzero; /* TIES: density counts over the non-zero entries */
};

struct editor_config {
	enum editor_family family;
	size_t layer;           /* edited matrix: down_proj of this layer */
	size_t prompt_layer;    /* prompt key: hidden state at the input of this layer */
	size_t edits_per_shard; /* a shard closes at this many */
	/* breadth-first pass */
	size_t batch_edits, epochs;
	float rate;      /* Adam, falling linearly to 0 */
	float noise;     /* standard deviations of A(x) over real tokens */
	bool end_token;  /* an answer's end is trained, too */
	size_t views;    /* lent to an edit: its answer behind other edits' questions; 0: none, by its names neither */
	bool plain_view; /* its answer behind its own question in small letters, without the mark at its end */
	/* streaming */
	size_t stream_group_max; /* larger groups of new edits take the breadth-first pass over the shard instead */
	size_t stream_replay, stream_steps_max;
	float stream_rate, stream_stop_loss;
	float stream_protect; /* how softly the shard's other edits are kept: λ of protect.c, in mean square input
				 lengths; 0: off */
	/* re-test */
	size_t retest_tries;      /* extra trainings for what fails, before it is reported failed */
	size_t answer_tokens_max; /* 32 */
	/* routing */
	size_t relation_layer;      /* relation key: hidden state at the input of this layer */
	size_t prompt_dims;         /* of prompt keys, at most the model's hidden size */
	float ridge;                /* × mean eigenvalue */
	float false_route_share;    /* 0.001: expected share of irrelevant prompts routed */
	float false_relation_share; /* share of other questions on an edit's subject that pass the relation key */
	size_t relation_dims;       /* of the relation head; 0: none is fitted */
	size_t relation_steps;
	/* merge rounds */
	size_t merge_rounds, merge_passes;
	float merge_rate, merge_noise, merge_outer_rate, merge_outer_momentum;
	float merge_prompt_noise; /* of every second pass, with none in the answer's rows; 0: all are alike */
	uint64_t seed;
	struct editor_wise_config wise;
};

/* Defaults for a model (family amend): layer 25 of 30, prompt layer 6 of 30, in proportion for other depths (and inside
 * the model's range). */
void editor_config_default(const struct model_shape *shape, struct editor_config *out);
void editor_wise_config_default(struct editor_wise_config *out); /* the published values above */
/* Changes the family, and with it the edited layer: 24 of 30 for the paper's, in proportion for other depths. */
void editor_config_set_family(struct editor_config *config, enum editor_family family, const struct model_shape *shape);
/* Ranges: ERR_INVALID says which field and what it may be. */
int editor_config_check(const struct editor_config *config, const struct model_shape *shape, struct err *e) MUST_CHECK;

/* Long work reports here and may be told to stop: on_progress returns non-zero to stop (ERR_INTERRUPTED). May be NULL.
 */
struct editor_watch {
	int (*on_progress)(void *context, const char *phase, size_t done, size_t total, double loss);
	void *context;
};

#endif
