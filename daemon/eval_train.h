/* eval_train.h: trains the edits of an evaluation in process, shard beside shard. Inside daemon/ only. */
#ifndef AMEND_DAEMON_EVAL_TRAIN_H
#define AMEND_DAEMON_EVAL_TRAIN_H

#include "daemon/eval_rows.h"

struct eval__part { /* one trained shard */
	struct buf delta, index;
};
struct eval__trained {
	struct eval__part *parts;
	size_t part_count;
};

/* The seq of edit i is i + 1. Fills the report's counts and times of training. `threads` as in the options. */
int eval__train(const struct eval_options *options, size_t threads, const struct editor_config *config,
		const struct eval__rows *rows, struct eval__trained *out, struct eval_report *report,
		struct err *e) MUST_CHECK;
void eval__trained_fini(struct eval__trained *trained);

#endif
