/* decode_internal.h: the decoder's sequences, between decode.c (tokens, steps) and decode_prefill.c (prompts, routes,
 * what is asked aside). */
#ifndef AMEND_EDITOR_DECODE_INTERNAL_H
#define AMEND_EDITOR_DECODE_INTERNAL_H

#include "editor/decode.h"

#include "base/rng.h"
#include "editor/packed.h"

struct editor__slot {
	struct editor_sequence out;
	bool used;
	struct editor_memory_set *set; /* held until the sequence ends */
	const struct model_side *side;
	float *anchors; /* rows of route.anchor, × ffn; NULL: none */
	bool anchored;  /* what was decoded so far is the anchored edit's target */
	bool pressed;   /* its anchors were made stronger */
	int32_t fed;    /* the last row's token */
	bool no_anchor;
	/* A part of a longer text is asked aside, as if it stood alone, as long as what is said is the edit's target;
	 * the rest is said in the text's own context. */
	struct editor__tokens part;   /* to be asked aside; no tokens: nothing is, or it was begun */
	struct editor__tokens prompt; /* while it is asked: the whole text, to go back to */
	bool departed;                /* it is to go back */
	struct model_sampling sampling;
	struct rng rng;
	size_t position; /* of the next token in the sequence */
	size_t token_max;
	int32_t next; /* sampled, not yet in the cache */
	bool stop_at_newline;
};

struct editor_decoder {
	struct model *model;
	struct model_backend *backend;
	struct model_run *run;
	struct model_kv *kv;
	struct editor__slot *slots;
	size_t slot_count, token_max, rows_max; /* rows of a call to the model */
	size_t active;
	float *x;      /* x_rows × hidden */
	float *states; /* the same, to read: at the layers of the two keys */
	float *relation_states;
	float *inputs; /* input_rows × ffn: A(x) of prompts that are routed by gap; NULL until there is one */
	size_t x_rows, input_rows;
	float *logits;                  /* slot_count × vocabulary */
	int32_t *ids;                   /* x_rows */
	struct model_segment *segments; /* slot_count */
	struct model_reading *readings; /* slot_count */
	size_t *rows;                   /* slot_count: rows whose logits are wanted */
	size_t *which;                  /* slot_count: slots of this call */
	struct editor__packer *packer;  /* what parts of texts go through; NULL until there is one */
};

/* decode_prefill.c. Room for rows of a call to the model; what stood there is lost. ERR_NOMEM. */
int editor__decoder_reserve(struct editor_decoder *d, size_t rows, struct err *e) MUST_CHECK;
/* How row `row` of the answer reads its memory: row 0 is the prompt's last one, row t takes the token t−1 that was
 * decoded. `from` is where that row stands in its segment. */
struct model_reading editor__decoder_reading(const struct editor_decoder *d, struct editor__slot *slot, size_t row,
					     size_t from);
/* How many requests from `from` go through the model together: those that fit and whose routes are decided at the
 * same layers. */
size_t editor__decoder_group(const struct editor_decoder *d, const struct editor_request *requests, size_t from,
			     size_t count, struct editor_key_layers *layers);
/* Prompt, route and first token of a group of requests, whose slots stand in d->which. */
int editor__decoder_prefill(struct editor_decoder *d, const struct editor_request *requests, size_t count,
			    struct editor_key_layers key_layers, struct err *e) MUST_CHECK;
/* Goes on in the text's own context, behind what was said aside. */
int editor__decoder_go_back(struct editor_decoder *d, size_t index, struct err *e) MUST_CHECK;
/* decode.c. The last of each segment's rows in x gives its sequence a token. */
int editor__decoder_sample(struct editor_decoder *d, size_t count, struct err *e) MUST_CHECK;

#endif
