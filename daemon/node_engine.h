/* node_engine.h: the one thread of a node that runs the model: continuous batching of the requests' sequences. A
 * request keeps the memory set that it was submitted with until it ends. Prompts are prefilled in calls of at most
 * `prefill_rows` tokens between two decoding steps, in order of arrival, so that a long queue does not stop those that
 * are being answered. */
#ifndef AMEND_DAEMON_NODE_ENGINE_H
#define AMEND_DAEMON_NODE_ENGINE_H

#include "base/buf.h"
#include "base/env.h"
#include "editor/decode.h"

#define NODE_STOPS_MAX      4
#define NODE_STOP_BYTES_MAX 256

struct node_engine;

struct node_engine_config {
	size_t slot_count;     /* sequences decoded together */
	size_t context_tokens; /* of one sequence, prompt and answer; cut to the model's context */
	size_t prefill_rows;
	size_t queue_requests; /* waiting jobs; more are refused */
};

enum node_finish { NODE_FINISH_STOP, NODE_FINISH_LENGTH };

struct node_sequence {
	/* in */
	int32_t *ids; /* free() by node_job_destroy */
	size_t id_count;
	size_t route_first, route_count; /* as in struct editor_request */
	uint64_t seed;
	/* out */
	struct buf text; /* bytes of the answer, without a stop string; may end inside a character */
	enum node_finish finish;
	size_t token_count; /* generated */
	struct editor_route route;
	uint64_t memory_id; /* 0: main */
	bool anchored;      /* a token of it was decoded with the edit's own inputs */
	/* the engine's */
	size_t decoded, searched;
	bool ended;
};

struct node_job {
	/* in */
	struct node_sequence *sequences;
	size_t sequence_count;
	struct editor_memory_set *set; /* the job's own reference; NULL: main memory only */
	enum editor_set_kind kind;
	struct model_sampling sampling;
	size_t token_max; /* a sequence */
	char stops[NODE_STOPS_MAX][NODE_STOP_BYTES_MAX + 1];
	size_t stop_count;
	int64_t deadline_us;                /* of env's monotonic clock: ended with ERR_TIMEOUT */
	bool (*abandoned)(void *context);   /* asked now and then: true ends it with ERR_INTERRUPTED; may be NULL */
	void (*done)(struct node_job *job); /* on the engine's thread, once; it owns the job then */
	void *context;
	/* out */
	int code; /* 0, ERR_TIMEOUT, ERR_INTERRUPTED (abandoned), ERR_CLOSED (the engine ends), or what went wrong */
	struct err error;
	int64_t first_token_us; /* 0: not reached */
	/* the engine's */
	struct node_job *next;
	size_t admitted, ended;
};

/* NULL when out of memory. */
struct node_job *node_job_new(size_t sequence_count) MUST_CHECK;
void node_job_destroy(struct node_job **job);

/* `model` is used by the engine's thread alone from now on (its tokenizer and shape may be read by all). */
int node_engine_open(const struct node_engine_config *config, const struct env *env, struct model *model,
		     struct node_engine **out, struct err *e) MUST_CHECK;
/* Takes *job and nulls it. Any thread, never blocks long. ERR_LIMIT: the queue is full; ERR_CLOSED; ERR_INVALID: a
 * prompt is empty or leaves no room for an answer. */
int node_engine_submit(struct node_engine *engine, struct node_job **job, struct err *e) MUST_CHECK;
size_t node_engine_context_tokens(const struct node_engine *engine);
/* No new jobs; ends what still runs or waits with ERR_CLOSED, joins the thread. Submit then gives ERR_CLOSED.
 * Idempotent. */
void node_engine_stop(struct node_engine *engine);
void node_engine_destroy(struct node_engine **engine); /* stops and frees */

/* The model failed again and again, not for lack of memory: a device that is lost does not come back within a process.
 * False again with the first step that succeeds. Any thread. */
bool node_engine_broken(const struct node_engine *engine);

struct node_engine_counts {
	size_t running, waiting; /* jobs */
	uint64_t prompt_tokens, generated_tokens;
	double cache_ratio; /* share of the key-value cache that holds tokens */
};
void node_engine_counts_get(struct node_engine *engine, struct node_engine_counts *out);

#endif
