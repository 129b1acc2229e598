/* merge_plan.h: the two files of a merge run, met by the coordinator (writes the plan, verifies the output) and the
 * ranks (read the plan, write the output). Plain JSON and hashes, no tensors; paths in a plan are names relative to its
 * folder. Pure but for the file functions.
 *
 * Edits file of a shard: one line an edit, "<seq>\t<record JSON>\n", ascending seq. Output file: one line of JSON, then
 * the bytes of the delta. */
#ifndef AMEND_BASE_MERGE_PLAN_H
#define AMEND_BASE_MERGE_PLAN_H

#include "base/buf.h"
#include "base/hash.h"

#define MERGE_PLAN_BYTES_MAX      (1024 * 1024)
#define MERGE_PLAN_SHARDS_MAX     1000
#define MERGE_PLAN_NAME_BYTES_MAX 64
#define MERGE_DELTA_BYTES_MAX     (UINT64_C(1) << 33)
#define MERGE_EDITS_BYTES_MAX     (1024u * 1024 * 1024)

/* What editor/merge.h does with each. Rounds train again; the others put finished deltas together. */
enum merge_operator {
	MERGE_ROUNDS,
	MERGE_TIES,
	MERGE_LINEAR,
	MERGE_SIGN,
	MERGE_SLERP,
	MERGE_DARE,
	MERGE_DARE_TIES,
	MERGE_OPERATOR_COUNT
};
const char *merge_operator_name(enum merge_operator operator); /* "dare-ties" */
/* ERR_INVALID lists the names. */
int merge_operator_parse(const char *name, enum merge_operator *out, struct err *e) MUST_CHECK;

struct merge_numbers { /* 0 (or less): the model's default */
	uint64_t rounds, passes, batch_edits;
	double rate, outer_rate, outer_momentum,
		noise;     /* outer_momentum and noise: less than 0 is the default, 0 is none */
	double density;    /* ties, dare, dare-ties: share that is kept, default 0.53 */
	bool trim_nonzero; /* ties: density counts over the non-zero entries */
};
struct merge_plan_shard {
	uint64_t id;
	char delta[MERGE_PLAN_NAME_BYTES_MAX],
		edits[MERGE_PLAN_NAME_BYTES_MAX]; /* file names beside the plan, no '/' */
	struct hash delta_hash, edits_hash;       /* SHA-256 of the files */
};
struct merge_plan {
	uint64_t merge;
	enum merge_operator operator;
	struct hash base_model;
	uint64_t layer, seed, deadline_ms;
	struct merge_numbers numbers;
	struct merge_plan_shard *shards;
	size_t shard_count;
};

void merge_numbers_init(struct merge_numbers *numbers); /* all defaults */
int merge_plan_new(size_t shard_count, struct merge_plan **out,
		   struct err *e) MUST_CHECK; /* numbers at their defaults; shards zero */
void merge_plan_destroy(struct merge_plan **plan);
int merge_plan_encode(const struct merge_plan *plan, struct buf *out, struct err *e) MUST_CHECK;
/* ERR_INVALID with the field: unknown format or operator, a missing or wrong field, a file name with '/', two shards
 * with one id. */
int merge_plan_parse(const char *text, size_t len, struct merge_plan **out, struct err *e) MUST_CHECK;
/* Reads and parses; *digest is the SHA-256 of the file. */
int merge_plan_read(const char *path, struct merge_plan **out, struct hash *digest, struct err *e) MUST_CHECK;
/* The file `name` beside the plan, checked against `want`: appended to `out`, or ERR_CORRUPT with both digests. */
int merge_plan_input(const char *plan_path, const char *name, const struct hash *want, size_t byte_limit,
		     struct buf *out, struct err *e) MUST_CHECK;
/* One line of an edits file; the next one is taken off *text. ERR_NOT_FOUND at the end, ERR_CORRUPT for a line that is
 * none. */
int merge_plan_edit_next(const char **text, size_t *len, uint64_t *seq, const char **record, size_t *record_len,
			 struct err *e) MUST_CHECK;

struct merge_output {
	uint64_t merge;
	struct hash plan; /* SHA-256 of the plan file */
	struct hash delta_hash;
	uint64_t layer; /* that the delta edits */
	uint64_t delta_bytes, rounds, ranks;
	uint64_t reduces, reduced_bytes; /* sums of matrices over the ranks; bytes of all sums on one rank */
	double loss;                     /* mean of the last round; 0 without rounds */
};
/* Writes the file atomically. delta_bytes and delta_hash of `output` are computed here. */
int merge_output_write(const char *path, struct merge_output *output, const void *delta, size_t delta_len,
		       struct err *e) MUST_CHECK;
/* Reads it and checks it: made from the plan with this digest (else ERR_MISMATCH), whole and matching its own digest
 * (else ERR_CORRUPT). The bytes of the delta are appended to `delta`. ERR_NOT_FOUND: no file. */
int merge_output_read(const char *path, const struct hash *plan, struct merge_output *output, struct buf *delta,
		      struct err *e) MUST_CHECK;

#endif
