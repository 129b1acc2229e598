/* eval_part.h: one trained shard of an evaluation, and how it is kept (eval_keep.h). Inside daemon/ only. */
#ifndef AMEND_DAEMON_EVAL_PART_H
#define AMEND_DAEMON_EVAL_PART_H

#include "daemon/eval_rows.h"

struct eval__part {
	struct buf delta, index;
	uint64_t steps, failed;
	double seconds, core_seconds; /* its share of the time that shards beside one another took */
	bool reused;                  /* kept by an earlier run */
};

/* What a shard's bytes follow from beside the software. */
struct eval__part_of {
	const struct editor_config *config;
	const struct hash *model;
	const struct eval__rows *rows;
	const struct buf *corpus; /* family `paper` takes prefixes and irrelevant texts from it */
	const size_t *shard_of;   /* an edit */
	size_t shard;
};
int eval__part_key(const struct eval_options *options, const struct eval__part_of *of, struct hash *key,
		   struct err *e) MUST_CHECK;
/* ERR_NOT_FOUND: train it. `part` is empty then. */
int eval__part_get(struct eval_keep *keep, const struct hash *key, struct eval__part *part, struct err *e) MUST_CHECK;
int eval__part_put(struct eval_keep *keep, const struct hash *key, const struct eval__part *part,
		   struct err *e) MUST_CHECK;
void eval__part_fini(struct eval__part *part);
/* What every key begins with. */
void eval__key_begin(const struct eval_options *options, const char *kind, const struct hash *model, struct buf *out);

#endif
