/* decode_fixture.h: a decoder of the tiny model, prompts for it, and answers to compare. */
#ifndef AMEND_TESTS_UNIT_EDITOR_DECODE_FIXTURE_H
#define AMEND_TESTS_UNIT_EDITOR_DECODE_FIXTURE_H

#include "editor/decode.h"

#include "base/fault.h"
#include "tests/lib/test.h"
#include "tests/unit/editor/tiny.h"

#define PROMPTS    5
#define TOKENS     12
#define LONG_BYTES 90

static struct model *model;
static int32_t *ids[PROMPTS];
static size_t id_counts[PROMPTS];
static const char *prompts[PROMPTS] = { "what is the capital of Orla?", "a",
					"who was the king of the land of Vint in 1907?", "Saro: ", NULL };
static char long_prompt[LONG_BYTES + 1];

static inline int set_up(void **state)
{
	(void)state;
	struct err e = ERR_INIT;
	model = tiny_open();
	for (size_t i = 0; i < LONG_BYTES; i++)
		long_prompt[i] = (char)('a' + (i * 7 + i / 13) % 26);
	prompts[PROMPTS - 1] = long_prompt;
	for (size_t i = 0; i < PROMPTS; i++)
		assert_int_equal(model_tokenizer_encode(model_tokenizer_of(model), prompts[i], strlen(prompts[i]),
							false, &ids[i], &id_counts[i], &e),
				 0);
	return 0;
}

static inline int tear_down(void **state)
{
	(void)state;
	for (size_t i = 0; i < PROMPTS; i++)
		free(ids[i]);
	model_close(&model);
	return 0;
}

struct answer {
	int32_t ids[TOKENS];
	size_t count;
	struct editor_route route;
	uint64_t memory_id;
	bool done;
};

static inline struct editor_request request_of(size_t prompt, struct editor_memory_set *set)
{
	return (struct editor_request){ .ids = ids[prompt],
					.id_count = id_counts[prompt],
					.token_max = TOKENS,
					.set = set,
					.sampling = { .temperature = 0, .top_p = 1 } };
}

static inline struct editor_decoder *decoder_of(size_t slots, size_t prefill_rows)
{
	struct editor_decoder *d = NULL;
	struct err e = ERR_INIT;
	assert_int_equal(editor_decoder_new(model, slots, 256, prefill_rows, &d, &e), 0);
	return d;
}

static inline void keep(void *context, size_t request, const struct editor_sequence *sequence)
{
	struct answer *answer = (struct answer *)context + request;
	assert_false(answer->done);
	answer->done = true;
	answer->count = sequence->id_count;
	memcpy(answer->ids, sequence->ids, sequence->id_count * sizeof(*answer->ids));
	answer->route = sequence->route;
	answer->memory_id = sequence->memory_id;
	assert_true(sequence->done);
	assert_int_equal(sequence->finish, sequence->id_count == TOKENS ? EDITOR_LENGTH : EDITOR_STOP);
}

static inline void run(struct editor_decoder *d, const struct editor_request *requests, size_t count,
		       struct answer *answers)
{
	struct err e = ERR_INIT;
	memset(answers, 0, count * sizeof(*answers));
	if (editor_decoder_run(d, requests, count, keep, answers, NULL, &e) != 0)
		fail_msg("%s", e.text);
	for (size_t i = 0; i < count; i++)
		assert_true(answers[i].done);
	assert_int_equal(editor_decoder_active(d), 0);
}

static inline struct answer answer_alone(const struct editor_request *request)
{
	struct editor_decoder *d = decoder_of(1, 256);
	struct answer answer;
	run(d, request, 1, &answer);
	editor_decoder_destroy(&d);
	return answer;
}

static inline void same_tokens(const struct answer *a, const struct answer *b)
{
	assert_int_equal(a->count, b->count);
	assert_memory_equal(a->ids, b->ids, a->count * sizeof(*a->ids));
}

#endif
