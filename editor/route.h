/* route.h: routing by content (method.md, family `amend`, 4): the prompt key of a query against the keys of all edits.
 *
 * A raw key is the mean over a prompt's tokens (the first left out; the first alone when it is the only one) of the
 * hidden state at the input of layer `prompt_layer`: `hidden` floats. Stored raw; standardised, whitened (ridge) and
 * normalised by the calibration of the version, so that one index serves with any calibration. Threads: an index is
 * read-only after build. Pure. */
#ifndef AMEND_EDITOR_ROUTE_H
#define AMEND_EDITOR_ROUTE_H

#include "base/buf.h"
#include "base/hash.h"
#include "editor/config.h"

#define EDITOR_HIDDEN_MAX 16384u /* longest key */

/* --- Calibration: statistics of a corpus that holds none of the evaluated edits, and thresholds by number of edits. */
#define EDITOR_THRESHOLDS      8
#define EDITOR_SAME_FORM_SHARE 0.02
#define EDITOR_KEPT_SHARE      0.98
#define EDITOR_SUBJECT_SHARE   0.8f /* of a subject's letters that must stand in the query */
struct editor_calibration {
	size_t hidden, prompt_layer;
	float *mean, *deviation; /* hidden */
	float *whiten; /* hidden × hidden, upper triangular: key = normalise(((raw − mean) / deviation) · whiten) */
	/* For edits without a subject: ascending edit_count; log-linear between, and beyond the last. */
	struct {
		uint32_t edit_count;
		float threshold;
	} thresholds[EDITOR_THRESHOLDS];
	float subject_threshold;        /* for an edit whose subject stands in the query */
	struct hash base_model, corpus; /* digests */
};
/* The whitening W is an inverse Cholesky factor of the covariance with ridge: every W with W·Wᵀ = (C + λI)⁻¹ gives the
 * same cosines, so no eigenvectors are needed. Thresholds: texts of the corpus stand for edits and for queries, each
 * half of it with the statistics of the other. An open threshold for n edits is the least at which the expected share
 * of unrelated texts that reach any of n such edits is at most config.false_route_share, and of questions of other
 * groups at most EDITOR_SAME_FORM_SHARE; the subject's keeps EDITOR_KEPT_SHARE of the rephrases. ERR_INVALID: a line
 * that is none (its number), or too few texts. Same corpus, model and backend: same bytes. corpus: texts, one a line:
 * "<kind>\t<group>\t<text>": kind `question` (in the form of edits; texts of one group share a subject or fact) or
 * `unrelated`. */
int editor_calibrate(struct model *model, const struct editor_config *config, const char *corpus_text,
		     size_t corpus_len, const struct editor_watch *watch, struct editor_calibration **out,
		     struct err *e) MUST_CHECK;
void editor_calibration_destroy(struct editor_calibration **calibration);
int editor_calibration_encode(const struct editor_calibration *calibration, struct buf *out, struct err *e) MUST_CHECK;
int editor_calibration_decode(const void *bytes, size_t len, struct editor_calibration **out, struct err *e) MUST_CHECK;
/* The key of a raw key: whitened, unit length (zeros when the raw key is the mean). */
void editor_calibration_key(const struct editor_calibration *calibration, const float *raw, float *key);
/* The open threshold for a number of edits. */
float editor_calibration_threshold(const struct editor_calibration *calibration, size_t edit_count);

/* --- Entries of one shard's edits: bytes {"AMIX", format, hidden, count, then per edit: seq, subject text, raw key as
 * float32}. */
struct editor_index_entry {
	uint64_t seq;
	struct record_text_view {
		const char *text;
		size_t len;
	} subject;        /* folded; len 0: none */
	const float *raw; /* hidden floats */
};
int editor_index_encode(const struct editor_index_entry *entries, size_t entry_count, size_t hidden, struct buf *out,
			struct err *e) MUST_CHECK;

/* --- The router of a version: all entries that are live. */
struct editor_router;
int editor_router_new(const struct editor_calibration *calibration, struct editor_router **out,
		      struct err *e) MUST_CHECK; /* calibration borrowed */
void editor_router_destroy(struct editor_router **router);
/* Adds a shard's index bytes; entries whose seq is in `removed` are left out. `memory` is handed back by routes. */
int editor_router_add(struct editor_router *router, const void *bytes, size_t len, size_t memory,
		      const uint64_t *removed, size_t removed_count, struct err *e) MUST_CHECK;
size_t editor_router_count(const struct editor_router *router);
/* Which memory holds `seq`; false when no live entry has it. */
bool editor_router_memory_of(const struct editor_router *router, uint64_t seq, size_t *memory);

#define EDITOR_NEAREST 4
struct editor_route {
	bool routed;                          /* false: main memory */
	size_t memory;                        /* as given to editor_router_add; of nearest[0] */
	float prompt_score, prompt_threshold; /* cosine of the nearest edit, and what it had to reach */
	bool subject_found; /* the subject of nearest[0] stands in the query: prompt_threshold is the subject's */
	uint64_t nearest[EDITOR_NEAREST]; /* seqs, nearest first */
	float nearest_score[EDITOR_NEAREST];
	size_t nearest_count;
};
/* Route of a raw key (hidden floats) and of the text that it was taken from. Of the EDITOR_CANDIDATES nearest edits the
 * first wins whose subject stands in the text and that reaches the subject's threshold, or that has no subject and
 * reaches the open one; it comes first in `nearest`. An edit with a subject is never routed to by a text that does not
 * name it: questions in the same form about something else are nearer than many rephrases. An empty router routes
 * nothing. ERR_NOMEM. */
#define EDITOR_CANDIDATES 32
int editor_router_route(const struct editor_router *router, const float *raw, const char *text, size_t text_len,
			struct editor_route *out, struct err *e) MUST_CHECK;
/* Whether the folded `subject` stands in `text` as routes look at it. An index should carry only subjects that stand in
 * their edit's own prompt. */
int editor_route_subject_in(const char *subject, size_t subject_len, const char *text, size_t text_len,
			    bool *found) MUST_CHECK;
/* Means over the rows of each segment (see above) of tapped states (rows × hidden) into raw (segment_count × hidden).
 */
void editor_route_raw_keys(const float *states, const struct model_segment *segments, size_t segment_count,
			   size_t hidden, float *raw);

#endif
