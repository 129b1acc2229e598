/* shard.h: one knowledge shard in training: its edits with their frozen inputs of the edited matrix, and the delta
 * W′−W. Both families: of `paper` (wise.h) it trains one edit after the other with the seed as the shard's own (always
 * the same one), its index bytes are gap.h's, an edit passes the re-test when its answer begins with the target, and
 * merging by rounds and gradients are not for it. Of a record prompt, target_new, aliases and subject are looked at
 * (and loc_prompt in the paper's family): the same of these, config, seeds, backend and thread count, same bytes. Not
 * thread-safe; no clock, no files, no sockets. */
#ifndef AMEND_EDITOR_SHARD_H
#define AMEND_EDITOR_SHARD_H

#include "base/record.h"
#include "editor/config.h"
#include "editor/route.h"

struct editor_shard;

int editor_shard_new(struct model *model, const struct editor_config *config, struct editor_shard **out,
		     struct err *e) MUST_CHECK;
void editor_shard_destroy(struct editor_shard **shard);
/* Tokenises prompt + " " + target (special tokens off) and end-of-text and appends the edit; its inputs are computed at
 * the next training or re-test, many at once. ERR_INVALID: empty, or longer than the model's context. ERR_EXISTS: seq
 * is there. */
int editor_shard_add(struct editor_shard *shard, uint64_t seq, const struct record *record, struct err *e) MUST_CHECK;
int editor_shard_remove(struct editor_shard *shard, uint64_t seq, struct err *e) MUST_CHECK; /* ERR_NOT_FOUND */
size_t editor_shard_count(const struct editor_shard *shard);
/* Family `paper`: where edits without a loc_prompt find an irrelevant text (wise.h). Copied. */
int editor_shard_corpus_set(struct editor_shard *shard, const char *corpus, size_t corpus_len,
			    struct err *e) MUST_CHECK;
/* Family `paper`: an edit of a memory that was merged before this shard, for L_memo (wise.h). Copied. It is no edit of
 * the shard: neither counted nor tested. ERR_INVALID: in family `amend`; what the model cannot take is told by the
 * training. ERR_EXISTS: seq is there. */
int editor_shard_replay_add(struct editor_shard *shard, uint64_t memory, uint64_t seq, const struct record *record,
			    struct err *e) MUST_CHECK;
size_t editor_shard_replay_count(const struct editor_shard *shard);
/* Continues from a committed delta (bytes of delta.h). Without it the delta is zero. */
int editor_shard_delta_load(struct editor_shard *shard, const void *bytes, size_t len, struct err *e) MUST_CHECK;
int editor_shard_delta_encode(const struct editor_shard *shard, struct buf *out, struct err *e) MUST_CHECK;
size_t editor_shard_layer(const struct editor_shard *shard);       /* that the delta edits */
const float *editor_shard_delta(const struct editor_shard *shard); /* hidden × ffn, borrowed */
size_t editor_shard_delta_size(const struct editor_shard *shard);  /* hidden × ffn */

enum editor_mode { EDITOR_STREAM, EDITOR_BREADTH_FIRST, EDITOR_ANEW };
struct editor_train_stats {
	enum editor_mode mode; /* what was done: streamed or breadth first */
	size_t steps;
	double loss; /* of the last pass */
};
/* STREAM: trains edits [first, first + count) with replay of earlier ones, continuing from the present delta;
 * BREADTH_FIRST: all edits of the shard from delta zero (so the result depends on the list of edits and the seed
 * alone); ANEW: the same, for editor_shard_learn. Ends by rounding the delta to bf16. The optimiser's state does not
 * outlive the call. On ERR_INTERRUPTED the delta is as before the call. ERR_INVALID: loss became NaN (which edit). */
int editor_shard_train(struct editor_shard *shard, enum editor_mode mode, size_t first, size_t count, uint64_t seed,
		       const struct editor_watch *watch, struct editor_train_stats *stats, struct err *e) MUST_CHECK;

struct editor_result {
	uint64_t seq;
	bool passed;
	uint32_t tries;
	bool exact; /* the target token by token; else what it decodes to counts as the target, when passed */
	/* When not passed (one line of UTF-8, escaped, cut at a character): what it decodes to, what was wanted. */
	char got[128], wanted[72];
	/* Of one that is exact: its own question by the other names of its subject, as it is trained by them (at most
	 * EDITOR_FORMS_MAX). names_asked 0: it has none, or was not asked by them. */
	uint32_t names_asked, names_failed;
	char name[72]; /* the first that fails, like `got` */
};
/* Free decoding (greedy) of every edit's prompt with the memory forced, compared as answer.h does. An edit whose
 * teacher-forced argmax is the target at every position decodes to it; only the others are really decoded. results:
 * editor_shard_count entries. */
int editor_shard_retest(struct editor_shard *shard, struct editor_result *results, const struct editor_watch *watch,
			struct err *e) MUST_CHECK;
#define EDITOR_ANEW_TRIES 4
/* Trains, re-tests, trains failures again (with replay) up to config.retest_tries, and keeps the best delta. What a
 * worker calls. Edits that were just streamed, and in a breadth-first pass all, are asked by the other names of their
 * subject too, as an anchored answer to such a question reads the memory; one that fails by a name is trained again
 * like one that fails, and passes all the same when it does by its own prompt. Family `amend`, breadth first: the
 * present delta holds the edits below `first`; when one of them fails after the pass, the present delta is a second
 * candidate, its failures trained again too, and is kept when more edits pass with it (stats->mode is then
 * EDITOR_STREAM). With first 0 nothing of it can stay. ANEW: breadth first over edits that a memory has held which may
 * not stay: there is no second candidate, so what fails is trained again EDITOR_ANEW_TRIES times as often. */
int editor_shard_learn(struct editor_shard *shard, enum editor_mode mode, size_t first, size_t count, uint64_t seed,
		       const struct editor_watch *watch, struct editor_result *results,
		       struct editor_train_stats *stats, struct err *e) MUST_CHECK;
/* The router entries of the shard's edits (route.h): bytes for index_root. */
int editor_shard_index_encode(struct editor_shard *shard, struct buf *out, struct err *e) MUST_CHECK;
/* For merging: local passes from a given common delta (float32, not rounded), at a constant rate. The optimiser's
 * moments go on from the call before unless the shard was trained or editor_shard_local_begin was called between. See
 * merge.h. */
int editor_shard_local_passes(struct editor_shard *shard, const float *common, size_t passes, float rate, uint64_t seed,
			      float *out_delta, double *loss, const struct editor_watch *watch,
			      struct err *e) MUST_CHECK;
/* Loss (mean over the labelled positions of all edits) and its gradient (hidden × ffn) at a delta (NULL: zero), without
 * noise. */
int editor_shard_gradient(struct editor_shard *shard, const float *delta, double *loss, float *gradient,
			  struct err *e) MUST_CHECK;
/* Before the first of them: fresh moments, and the noise of these passes and of the metric (metric.h), which the shard
 * keeps: it is for merging from then on. prompt_noise > 0: in every second pass an edit is trained as an anchored
 * question reads it: with this noise in the prompt's rows and none in those that predict the answer. */
void editor_shard_local_begin(struct editor_shard *shard, float noise, float prompt_noise);
/* Re-tests any delta (a merged memory) on this shard's edits. */
int editor_shard_retest_delta(struct editor_shard *shard, const float *delta, struct editor_result *results,
			      const struct editor_watch *watch, struct err *e) MUST_CHECK;

#endif
