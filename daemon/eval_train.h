/* eval_train.h: trains the edits of an evaluation in process, shard beside shard. Inside daemon/ only. */
#ifndef AMEND_DAEMON_EVAL_TRAIN_H
#define AMEND_DAEMON_EVAL_TRAIN_H

#include "daemon/eval_part.h"
#include "editor/shard.h"

struct eval__trained {
	struct eval__part *parts;
	size_t part_count;
	struct buf merged; /* delta of the memory merged from all parts (family `amend`); empty: none */
};

/* The seq of edit i is i + 1. Fills the report's counts and times of training. `threads` as in the options. */
int eval__train(const struct eval_options *options, size_t threads, const struct editor_config *config,
		const struct eval__rows *rows, const struct buf *corpus, struct eval__trained *out,
		struct eval_report *report, struct err *e) MUST_CHECK;
void eval__trained_fini(struct eval__trained *trained);

/* eval_merge.c: family `amend`, merged by rounds. */
struct eval__plan { /* which shard each edit goes to */
	struct model *model;
	const struct editor_config *config;
	const struct eval__rows *rows;
	const size_t *shard_of; /* of each edit */
	size_t shard_count;
};
/* Merges the parts, one a shard, into `trained->merged`, and re-tests the result. */
int eval__merge(const struct eval__plan *plan, struct eval__trained *trained, const struct editor_watch *watch,
		struct eval_merged *report, struct err *e) MUST_CHECK;
/* Adds the edits of shard `index`. */
int eval__shard_fill(const struct eval__plan *plan, size_t index, struct editor_shard *shard, struct err *e) MUST_CHECK;

/* eval_paper.c: the paper's family. */
struct eval__paper {
	const struct eval_options *options;
	struct model *model;
	const struct editor_config *config;
	const struct eval__rows *rows;
	const size_t *shard_of; /* of each edit */
	size_t shard_count;
	const struct buf *corpus;
};
struct eval__paper_stats {
	size_t edits, steps, failed; /* failed: not every token of the target was learnt */
};
/* Trains shard `index`; its delta is appended. Any number of threads at once, each with an index of its own. */
int eval__paper_train(const struct eval__paper *paper, size_t index, const struct editor_watch *watch,
		      struct buf *delta, struct eval__paper_stats *stats, struct err *e) MUST_CHECK;
/* Whether shard `shard` replays the edits of shard `earlier`, and as which memory's. */
bool eval__paper_replays(const struct eval_options *options, const struct editor_config *config, size_t earlier,
			 size_t shard, uint64_t *memory);
/* Puts the shards' deltas together as the mode says, and gives every memory its index: `trained`, one part a shard
 * before, has one a memory afterwards. */
int eval__paper_merge(const struct eval__paper *paper, struct eval__trained *trained, struct err *e) MUST_CHECK;

#endif
