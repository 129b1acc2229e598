/* decode.h: continuous batching: sequences are admitted (batched prefill, routed once from their prompt) and then
 * advance one token a step, together. A sequence keeps the memory set it was admitted with. An answer does not depend
 * on what it was batched with, up to the backend's row-independent arithmetic. One thread. Used by the node, the
 * re-test and the evaluation alike. */
#ifndef AMEND_EDITOR_DECODE_H
#define AMEND_EDITOR_DECODE_H

#include "editor/memory.h"

struct editor_decoder;

struct editor_request {
	const int32_t *ids; /* prompt, ≥ 1 token; borrowed during admit */
	size_t id_count;
	size_t route_first, route_count; /* the tokens that the key is taken from; route_count 0: all (chat: the last
					    user message) */
	size_t token_max;                /* to generate, ≥ 1 */
	struct editor_memory_set *set;   /* acquired until the sequence ends; NULL: main memory only. A route to a
					    memory that has no delta is ERR_NOT_FOUND */
	enum editor_set_kind kind;
	const struct model_side *forced; /* not NULL: this memory, no routing */
	bool no_anchor;                  /* read the memory with the query's own inputs only */
	struct model_sampling sampling;
	uint64_t seed;
	bool stop_at_newline; /* evaluation: end at "\n" too */
	void *user;
};
struct editor_sequence { /* what a sequence has come to; valid until editor_decoder_release */
	void *user;
	struct editor_route route;
	uint64_t memory_id; /* 0: main */
	size_t anchored;    /* tokens whose position read the memory with the edit's own inputs */
	int32_t *ids;       /* generated, end-of-text not included */
	size_t id_count;
	bool done;
	enum {
		EDITOR_RUNNING,
		EDITOR_STOP,
		EDITOR_LENGTH,
		EDITOR_FAILED
	} finish; /* end token or newline; token_max or context reached; scores that are not numbers */
};

/* `slot_count` sequences at once, each of prompt + generated ≤ token_max tokens; `prefill_rows_max` rows a prefill
 * call. */
int editor_decoder_new(struct model *model, size_t slot_count, size_t token_max, size_t prefill_rows_max,
		       struct editor_decoder **out, struct err *e) MUST_CHECK;
void editor_decoder_destroy(struct editor_decoder **decoder);
size_t editor_decoder_free_slots(const struct editor_decoder *decoder);
size_t editor_decoder_active(const struct editor_decoder *decoder);
/* Prefills the requests together and samples their first token. All or nothing: ERR_LIMIT when they do not fit (slots,
 * token_max). slots[i] names the sequence of request i. */
int editor_decoder_admit(struct editor_decoder *decoder, const struct editor_request *requests, size_t request_count,
			 size_t *slots, struct err *e) MUST_CHECK;
/* One token for every running sequence. */
int editor_decoder_step(struct editor_decoder *decoder, struct err *e) MUST_CHECK;
const struct editor_sequence *editor_decoder_sequence(const struct editor_decoder *decoder, size_t slot);
/* Ends the sequence (cancels a running one) and frees the slot. */
void editor_decoder_release(struct editor_decoder *decoder, size_t slot);
/* Runs many requests to their end, admitting as slots free up; calls `on_done` for each, in order of completion. */
int editor_decoder_run(struct editor_decoder *decoder, const struct editor_request *requests, size_t request_count,
		       void (*on_done)(void *context, size_t request, const struct editor_sequence *sequence),
		       void *context, const struct editor_watch *watch, struct err *e) MUST_CHECK;

#endif
