/* parts.h: what model.c, forward.c, backward.c, kv.c and sample.c share of a model, its caches and its work space. */
#ifndef AMEND_MODEL_PARTS_H
#define AMEND_MODEL_PARTS_H

#include "model/model.h"

#define MODEL__LOGIT_ROWS_MAX 64 /* rows of logits that are held at once where they are not asked for */

/* The matrices of a layer as the file stores them, for steps; NULL each where there is no such form. */
struct model__stored_layer {
	struct model_weight *q, *k, *v, *o, *gate, *up, *down;
};

struct model__layer {
	float *attn_norm, *ffn_norm; /* hidden; the backend's memory */
	struct model_weight *q, *k, *v, *o, *gate, *up, *down;
	struct model__stored_layer stored;
	const struct model_tensor *down_tensor;
};

struct model {
	struct model_shape shape;
	struct model_backend *backend; /* holds the weights; work runs on each run's own */
	char backend_name[16];
	size_t backward_from;
	bool stored_too, head_stored_only; /* as asked for */
	struct model_gguf *gguf;
	struct model_tokenizer *tokenizer;
	struct model__layer *layers;
	const struct model_tensor *embedding;
	float *output_norm;
	struct model_weight *head, *stored_head; /* one of them may be NULL */
	bool stored;                             /* every layer's matrices are there as the file stores them */
	float *freq;                             /* head_size / 2 rotation frequencies */
	struct hash digest;
	char name[128];
};

struct model_kv {
	struct model_backend *backend;
	size_t layers, slot_count, token_max, width; /* width: kv_heads × head_size */
	float *keys, *values;                        /* layer × slot × token × width */
};

/* Finds, checks and prepares every tensor, and meanwhile hashes the file at `path` (NULL: does not); by all threads of
 * the model's backend, where that can. */
int model__weights_load(struct model *model, const char *path, struct err *e) MUST_CHECK;

/* First token of a slot's keys or values in one layer. */
float *model__kv_at(const struct model_kv *kv, float *base, size_t layer, size_t slot);

/* Activations of one layer that its backward reads. */
struct model__kept {
	float *x, *q, *k, *v, *middle, *gate, *up;
};

struct model_run {
	struct model *model;
	struct model_backend *backend;
	size_t row_max, row_capacity, segment_capacity, logit_capacity, kept_capacity, kept_layers;
	float *x, *h, *q, *k, *v, *attended, *gate, *up; /* row_capacity rows each */
	float *gradient[6];                              /* backward: see backward.c; row_capacity rows */
	size_t gradient_capacity;
	int32_t *positions;
	const float **keys, **values; /* one a segment */
	float *logits, *head_rows;    /* logit_capacity rows of vocabulary, of hidden */
	struct model__kept *kept;     /* one a layer from `from` on */
	float *kept_memory;
	size_t kept_memory_floats;
	size_t *row_index; /* backward: distinct labelled rows and where a row stands among them */
	size_t row_index_capacity;
	struct model__candidate *candidates; /* sample.c */
};

struct model__candidate {
	float p;
	int32_t id;
};

/* Sees to work space for `rows` rows and `segment_count` segments. ERR_LIMIT over row_max, ERR_NOMEM. */
int model__run_reserve(struct model_run *run, size_t rows, size_t segment_count, struct err *e) MUST_CHECK;
int model__run_reserve_logits(struct model_run *run, size_t rows, struct err *e) MUST_CHECK;
/* Checks segments against the batch and the cache and sets run->positions. `kv` may be NULL. */
int model__run_segments(struct model_run *run, const struct model_kv *kv, const struct model_segment *segments,
			size_t segment_count, size_t *row_count, struct err *e) MUST_CHECK;
/* y[i] = x · W[i]ᵀ, together where the backend can. */
int model__products(struct model_backend *b, float *const *y, const float *x, const struct model_weight *const *w,
		    size_t count, size_t rows) MUST_CHECK;
/* Maps an operation's code to text; 0 stays 0. */
int model__op_check(int rc, const char *what, struct err *e);

#endif
