/* tiny.h: the tiny model and calibrations made by hand, for the tests of routing, decoding and evaluation. */
#ifndef AMEND_TESTS_UNIT_EDITOR_TINY_H
#define AMEND_TESTS_UNIT_EDITOR_TINY_H

#include "editor/delta.h"
#include "editor/memory.h"
#include "editor/words.h"
#include "tests/lib/test.h"
#include "tests/lib/tiny_model.h"

#include "base/rng.h"

#include <unistd.h>

#define TINY_LAYER        2
#define TINY_PROMPT_LAYER 1

static inline struct model *tiny_open(void)
{
	struct err e = ERR_INIT;
	struct model *model = NULL;
	assert_ok(&e, tiny_model_open(TINY_LAYER + 1, 1, &model, &e));
	return model;
}

/* Keys are raw keys without change but for their length; routes need `subject` or `open` as cosine, and `relation`. */
static inline void plain_calibration(const struct hash *base_model, size_t hidden, float subject, float open,
				     float relation, struct buf *out)
{
	struct editor_calibration c = { .hidden = hidden,
					.dims = hidden,
					.prompt_layer = TINY_PROMPT_LAYER,
					.subject_threshold = subject,
					.relation = { .layer = TINY_PROMPT_LAYER } };
	struct err e = ERR_INIT;
	c.base_model = *base_model;
	c.mean = calloc(hidden, sizeof(float));
	c.deviation = calloc(hidden, sizeof(float));
	c.whiten = calloc(hidden * hidden, sizeof(float));
	assert_true(c.mean != NULL && c.deviation != NULL && c.whiten != NULL);
	c.relation.mean = c.mean;
	c.relation.deviation = c.deviation;
	c.relation.threshold = relation;
	for (size_t i = 0; i < hidden; i++)
		c.deviation[i] = c.whiten[i * hidden + i] = 1;
	for (size_t i = 0; i < EDITOR_THRESHOLDS; i++) {
		c.thresholds[i].edit_count = (uint32_t)i + 1;
		c.thresholds[i].threshold = open;
	}
	assert_int_equal(editor_calibration_encode(&c, out, &e), 0);
	free(c.mean);
	free(c.deviation);
	free(c.whiten);
}

/* A prompt whose keys are these raw keys: every token's state is the same. */
struct tiny_prompt {
	struct editor_prompt prompt;
	int32_t *ids;
	float *states, *relation;
};

static inline void tiny_prompt_init(struct tiny_prompt *p, const struct model_tokenizer *tokenizer, const char *text,
				    const float *raw, const float *relation, size_t hidden)
{
	struct err e = ERR_INIT;
	size_t count = 0;
	p->ids = NULL;
	assert_int_equal(model_tokenizer_encode(tokenizer, text, strlen(text), false, &p->ids, &count, &e), 0);
	p->states = calloc(count * hidden, sizeof(float));
	p->relation = calloc(count * hidden, sizeof(float));
	assert_true(p->states != NULL && p->relation != NULL);
	for (size_t i = 0; i < count; i++) {
		memcpy(p->states + i * hidden, raw, hidden * sizeof(float));
		memcpy(p->relation + i * hidden, relation, hidden * sizeof(float));
	}
	p->prompt = (struct editor_prompt){
		.ids = p->ids, .id_count = count, .prompt_states = p->states, .relation_states = p->relation
	};
}

static inline void tiny_prompt_fini(struct tiny_prompt *p)
{
	free(p->ids);
	free(p->states);
	free(p->relation);
}

/* Routes a prompt of these keys through a set; the id of the memory. */
static inline uint64_t tiny_set_route(const struct editor_memory_set *set, enum editor_set_kind kind,
				      const struct model *model, const char *text, const float *raw,
				      struct editor_route *route, const struct model_side **side)
{
	struct tiny_prompt p;
	struct err e = ERR_INIT;
	uint64_t id = 77;
	tiny_prompt_init(&p, model_tokenizer_of(model), text, raw, raw, TINY_HIDDEN);
	assert_int_equal(editor_memory_set_route(set, kind, model_tokenizer_of(model), &p.prompt, route, side, &id, &e),
			 0);
	tiny_prompt_fini(&p);
	return id;
}

/* The raw key of a text, with the model's own functions. */
static inline void tiny_raw_key(struct model *model, const char *text, float *raw)
{
	struct err e = ERR_INIT;
	struct model_run *run = NULL;
	int32_t *ids = NULL;
	size_t count = 0;
	assert_int_equal(model_tokenizer_encode(model_tokenizer_of(model), text, strlen(text), false, &ids, &count, &e),
			 0);
	float *x = calloc(count * TINY_HIDDEN, sizeof(*x));
	const struct model_segment segment = { .row_count = count };
	assert_int_equal(model_run_new(model, count, &run, &e), 0);
	assert_int_equal(model_embed(run, x, ids, count, &e), 0);
	assert_int_equal(model_layers(run, x, NULL, &segment, 1, 0, TINY_PROMPT_LAYER, NULL, NULL, 0, &e), 0);
	editor_route_raw_keys(x, &segment, 1, TINY_HIDDEN, raw);
	model_run_destroy(&run);
	free(x);
	free(ids);
}

/* A delta of normal numbers times `scale`, encoded. */
static inline void tiny_delta(uint64_t seed, float scale, struct buf *out)
{
	const size_t count = (size_t)TINY_HIDDEN * TINY_FFN;
	struct rng rng;
	struct err e = ERR_INIT;
	float *delta = calloc(count, sizeof(*delta));
	assert_non_null(delta);
	rng_init(&rng, seed);
	for (size_t i = 0; i < count; i++)
		delta[i] = scale * rng_normal(&rng);
	editor_delta_round(delta, count);
	assert_int_equal(editor_delta_encode(delta, TINY_LAYER, TINY_HIDDEN, TINY_FFN, out, &e), 0);
	free(delta);
}

/* The words of a text, as an edit without a subject keeps those of its prompt. */
static inline struct record_text tiny_words(const char *text, struct buf *out)
{
	static const uint8_t marks[EDITOR__QUERY_WORDS_MAX];
	struct editor__query query;
	assert_int_equal(editor__query_init(&query, text, strlen(text)), 0);
	assert_int_equal(editor__words_unmarked(&query, marks, out), 0);
	editor__query_fini(&query);
	return (struct record_text){ buf_cstr(out), out->len };
}

/* A set of one shard (id 7) whose edits are `prompts` (seqs 1 …) without subjects, routed to when the key is the same.
 */
static inline struct editor_memory_set *tiny_set(struct model *model, const char *const *prompts, size_t count,
						 uint64_t delta_seed, float scale, uint64_t version)
{
	struct buf calibration = BUF_INIT, index = BUF_INIT, delta = BUF_INIT, words[16] = { BUF_INIT };
	struct editor_index_entry entries[16];
	float raw[16][TINY_HIDDEN];
	struct err e = ERR_INIT;
	struct editor_memory_set *set = NULL;
	assert_true(count <= 16);
	for (size_t i = 0; i < count; i++) {
		tiny_raw_key(model, prompts[i], raw[i]);
		entries[i] = (struct editor_index_entry){
			.seq = i + 1, .words = tiny_words(prompts[i], &words[i]), .raw = raw[i], .relation = raw[i]
		};
	}
	plain_calibration(model_digest(model), TINY_HIDDEN, 0.5f, 0.9999f, -1, &calibration);
	tiny_delta(delta_seed, scale, &delta);
	assert_int_equal(editor_index_encode(entries, count, TINY_HIDDEN, TINY_FFN, &index, &e), 0);
	const struct editor_memory_part part = {
		.id = 7, .delta = delta.data, .delta_len = delta.len, .index = index.data, .index_len = index.len
	};
	assert_int_equal(editor_memory_set_new(model_shape_of(model), model_digest(model), TINY_LAYER, version,
					       calibration.data, calibration.len, &part, 1, NULL, 0,
					       EDITOR_SET_RETRIEVE, &set, &e),
			 0);
	buf_free(&calibration);
	buf_free(&index);
	buf_free(&delta);
	for (size_t i = 0; i < count; i++)
		buf_free(&words[i]);
	return set;
}

#endif
