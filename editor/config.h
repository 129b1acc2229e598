/* config.h: the numbers of the default family `amend` (method.md), for one base model. Plain values; pure. */
#ifndef AMEND_EDITOR_CONFIG_H
#define AMEND_EDITOR_CONFIG_H

#include "model/model.h"

struct editor_config {
	size_t layer;           /* edited matrix: down_proj of this layer */
	size_t prompt_layer;    /* prompt key: hidden state at the input of this layer */
	size_t edits_per_shard; /* a shard closes at this many */
	/* breadth-first pass */
	size_t batch_edits, epochs;
	float rate;  /* Adam, falling linearly to 0 */
	float noise; /* standard deviations of A(x) over real tokens */
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
	float ridge;             /* × mean eigenvalue */
	float false_route_share; /* 0.001: expected share of irrelevant prompts routed */
	/* merge rounds */
	size_t merge_rounds, merge_passes;
	float merge_rate, merge_outer_rate, merge_outer_momentum;
	uint64_t seed;
};

/* Defaults for a model: layer 25 of 30, prompt layer 6 of 30, in proportion for other depths (and inside the model's
 * range). */
void editor_config_default(const struct model_shape *shape, struct editor_config *out);
/* Ranges: ERR_INVALID says which field and what it may be. */
int editor_config_check(const struct editor_config *config, const struct model_shape *shape, struct err *e) MUST_CHECK;

/* Long work reports here and may be told to stop: on_progress returns non-zero to stop (ERR_INTERRUPTED). May be NULL.
 */
struct editor_watch {
	int (*on_progress)(void *context, const char *phase, size_t done, size_t total, double loss);
	void *context;
};

#endif
