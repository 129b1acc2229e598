/* stream.h: which edits the steps of a streamed group read, and how many and large these are (method.md, Training).
 * Inside editor/ only. Not thread-safe per object. */
#ifndef AMEND_EDITOR_STREAM_H
#define AMEND_EDITOR_STREAM_H

#include "editor/shard_internal.h"

struct editor__stream {
	size_t *edits;  /* of a step, indices: the group, those near to it, then what is replayed in this one */
	size_t *others; /* that may be replayed, ascending */
	size_t *drawn;  /* those of them that are not near, in the order in which they are drawn */
	size_t group_count, near_count, replay_count, other_count, drawn_count;
	size_t steps_max;
	size_t turns; /* until each of the group has been read in each of its ways */
	float rate;
	bool noise;
};
/* For edits of the shard whose inputs and views are there; replays are of those before `replay_end`. `again`: the group
 * has failed its re-test. ERR_NOMEM; then there is nothing to free. */
int editor__stream_new(const struct editor_shard *shard, const size_t *group, size_t group_count, size_t replay_end,
		       bool again, struct editor__stream *s, struct err *e) MUST_CHECK;
void editor__stream_free(struct editor__stream *s);
size_t editor__stream_count(const struct editor__stream *s); /* of a step's edits */
/* What the next step replays. */
void editor__stream_draw(struct editor__stream *s, struct rng *rng);

#endif
