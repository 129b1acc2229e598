/* model.h: a `llama` architecture transformer: RMSNorm, RoPE, grouped-query attention, SwiGLU, tied or own head. Shapes
 * and names come from the file. Weights are packed once; the model is read-only and shared by threads, each with its
 * own model_run.
 *
 * The forward is staged, so that callers can stop at a layer: embed → layers [from, to) → head. Rows are the tokens of
 * a packed batch: segment after segment. `hidden`, `ffn`, `vocabulary` are the file's sizes. Layers are numbered from
 * 0. */
#ifndef AMEND_MODEL_MODEL_H
#define AMEND_MODEL_MODEL_H

#include "base/hash.h"
#include "model/backend.h"
#include "model/tokenizer.h"

struct model_shape {
	size_t layers, hidden, ffn, heads, kv_heads, head_size, vocabulary, context;
	size_t window; /* sliding window, 0: none */
	float rms_eps, rope_base;
	bool tied_head;
};

struct model;

struct model_options {
	const char *backend;   /* "auto" when NULL */
	size_t thread_count;   /* 0: all */
	size_t backward_from;  /* first layer whose transposed weights are packed too, and the head's: edited layer + 1;
				  SIZE_MAX: none */
	bool stored_too;       /* keep the weights as the file stores them beside the packed ones: model_step and
				  model_head read those */
	bool head_stored_only; /* with stored_too: no other form of the head is kept, where it can be; model_head_loss
				  then reads this one. Not with backward_from ≤ layers */
	bool skip_digest;      /* do not hash the file (tests) */
};

/* Reads, checks (architecture, every tensor's name, type and shape) and packs. ERR_UNSUPPORTED names what is not
 * supported. */
int model_open(const char *path, const struct model_options *options, struct model **out, struct err *e) MUST_CHECK;
void model_close(struct model **model);
const struct model_shape *model_shape_of(const struct model *model);
const struct model_tokenizer *model_tokenizer_of(const struct model *model);
struct model_backend *model_backend_of(struct model *model);
/* SHA-256 of the file: what "the same base model" means everywhere. */
const struct hash *model_digest(const struct model *model);
const char *model_name(const struct model *model); /* general.name, else the file's name; NUL-terminated */
/* A copy of W = down_proj of `layer`, hidden × ffn, in `out`. */
void model_down_proj_get(const struct model *model, size_t layer, float *out);

/* --- Keys and values of sequences: `slot_count` sequences of up to `token_max` tokens each. */
struct model_kv;
int model_kv_new(const struct model *model, size_t slot_count, size_t token_max, struct model_kv **out,
		 struct err *e) MUST_CHECK;
void model_kv_destroy(struct model_kv **kv);

/* --- What to copy out while layers run; each `out` is rows × width in batch order (caller's memory). */
enum model_tap_point {
	MODEL_TAP_INPUT,         /* hidden state at the input of the layer: width hidden */
	MODEL_TAP_DOWN_INPUT,    /* A(x): input of down_proj: width ffn */
	MODEL_TAP_DOWN_RESIDUAL, /* residual that down_proj's output is added to: width hidden */
};
struct model_tap {
	enum model_tap_point point;
	size_t layer;
	float *out;
};

/* A side memory beside one down_proj: rows that read it get y = A·Wᵀ + A·Dᵀ (WISE eq. 2, with D = W′−W). */
struct model_side {
	size_t layer;
	const float *delta; /* hidden × ffn */
};
/* How a segment reads one. Its rows from `anchor_from` on, as many as there are in `anchors`, read the memory with
 * those inputs in place of their own A(x) (anchored recall); W reads A(x) in every row. */
struct model_reading {
	const struct model_side *side; /* NULL: main memory only */
	const float *anchors;          /* anchor_count × ffn */
	size_t anchor_from, anchor_count;
};

/* --- One thread's work space. Not thread-safe. Grows to the largest batch seen, up to `row_max` rows. */
struct model_run;
int model_run_new(struct model *model, size_t row_max, struct model_run **out, struct err *e) MUST_CHECK;
void model_run_destroy(struct model_run **run);
/* What computes beside the run, on its thread. The model's own backend only describes: one serves one thread. */
struct model_backend *model_run_backend(struct model_run *run);

/* x (rows × hidden) = embeddings. ERR_INVALID for an id out of range. */
int model_embed(struct model_run *run, float *x, const int32_t *ids, size_t row_count, struct err *e) MUST_CHECK;
/* Runs layers [from, to) in place on x. kv NULL: segments must start at position 0 and nothing is kept. With kv: keys
 * and values of these layers are written at [position, position + row_count) of the slot, and earlier positions are
 * read. readings: one a segment, or NULL: main memory only. taps: those with from ≤ layer < to are filled. */
int model_layers(struct model_run *run, float *x, struct model_kv *kv, const struct model_segment *segments,
		 size_t segment_count, size_t from, size_t to, const struct model_reading *readings,
		 const struct model_tap *taps, size_t tap_count, struct err *e) MUST_CHECK;
/* A decode step: all layers, for few rows of running sequences, usually one each. As model_layers without taps, but
 * with weights as the file stores them where the model was opened with stored_too: rows are rounded to 16 bits a block
 * before each product (backend.h, weight_new_stored), and a row's bits do not depend on the others. A side memory reads
 * A(x) unrounded. */
int model_step(struct model_run *run, float *x, struct model_kv *kv, const struct model_segment *segments,
	       size_t segment_count, const struct model_reading *readings, struct err *e) MUST_CHECK;
/* logits (row_count × vocabulary) of the chosen rows of x (the output of the last layer): final norm and head, which is
 * read as stored where it is kept so. */
int model_head(struct model_run *run, float *logits, const float *x, const size_t *rows, size_t row_count,
	       struct err *e) MUST_CHECK;
/* loss (−log p) and argmax of chosen rows without keeping the logits (blocked); labels may be NULL (then only argmax).
 * With the packed head, but for head_stored_only. */
int model_head_loss(struct model_run *run, float *loss, int32_t *argmax, const float *x, const size_t *rows,
		    const int32_t *labels, size_t row_count, struct err *e) MUST_CHECK;

/* --- Training: everything below and at the edited layer is frozen, so a step starts from y, the output of layer
 * `from`−1 (rows × hidden; what the edited matrix's output was added to). Forward through [from, layers), head at the
 * labelled rows, loss = Σ scale[k] · −log p(labels[k]); backward to dy (rows × hidden; NULL: forward only). loss and
 * argmax are per labelled row. Activations above are kept. Segments start at position 0. */
int model_loss(struct model_run *run, float *loss, int32_t *argmax, float *dy, const float *y,
	       const struct model_segment *segments, size_t segment_count, size_t from, const size_t *rows,
	       const int32_t *labels, const float *scale, size_t label_count, struct err *e) MUST_CHECK;

/* --- Sampling from one row of logits (changed in place). temperature 0: greedy (lowest id wins ties). top_p in (0, 1].
 * `uniform` in [0, 1). ERR_CORRUPT: a logit is no finite number; nothing was sampled. `run`, never NULL, is
 * of the model whose logits these are: it lends room for top_p under 1. */
struct model_sampling {
	float temperature, top_p;
};
int model_sample(float *logits, size_t vocabulary, const struct model_sampling *sampling, float uniform,
		 struct model_run *run, int32_t *out) MUST_CHECK;

#endif
