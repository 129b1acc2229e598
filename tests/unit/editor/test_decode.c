#include "editor/decode.h"

#include "base/fault.h"
#include "tests/lib/test.h"
#include "tests/unit/editor/tiny.h"

#include <math.h>

#define PROMPTS    5
#define TOKENS     12
#define LONG_BYTES 90

static struct model *model;
static int32_t *ids[PROMPTS];
static size_t id_counts[PROMPTS];
static const char *prompts[PROMPTS] = { "what is the capital of Orla?", "a",
					"who was the king of the land of Vint in 1907?", "Saro: ", NULL };
static char long_prompt[LONG_BYTES + 1];

static int set_up(void **state)
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

static int tear_down(void **state)
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

static struct editor_request request_of(size_t prompt, struct editor_memory_set *set)
{
	return (struct editor_request){ .ids = ids[prompt],
					.id_count = id_counts[prompt],
					.token_max = TOKENS,
					.set = set,
					.sampling = { .temperature = 0, .top_p = 1 } };
}

static struct editor_decoder *decoder_of(size_t slots, size_t prefill_rows)
{
	struct editor_decoder *d = NULL;
	struct err e = ERR_INIT;
	assert_int_equal(editor_decoder_new(model, slots, 256, prefill_rows, &d, &e), 0);
	return d;
}

static void keep(void *context, size_t request, const struct editor_sequence *sequence)
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

static void run(struct editor_decoder *d, const struct editor_request *requests, size_t count, struct answer *answers)
{
	struct err e = ERR_INIT;
	memset(answers, 0, count * sizeof(*answers));
	if (editor_decoder_run(d, requests, count, keep, answers, NULL, &e) != 0)
		fail_msg("%s", e.text);
	for (size_t i = 0; i < count; i++)
		assert_true(answers[i].done);
	assert_int_equal(editor_decoder_active(d), 0);
}

static struct answer answer_alone(const struct editor_request *request)
{
	struct editor_decoder *d = decoder_of(1, 256);
	struct answer answer;
	run(d, request, 1, &answer);
	editor_decoder_destroy(&d);
	return answer;
}

static void same_tokens(const struct answer *a, const struct answer *b)
{
	assert_int_equal(a->count, b->count);
	assert_memory_equal(a->ids, b->ids, a->count * sizeof(*a->ids));
}

static bool equal_tokens(const struct answer *a, const struct answer *b)
{
	return a->count == b->count && memcmp(a->ids, b->ids, a->count * sizeof(*a->ids)) == 0;
}

static void batched_answers_are_those_of_one_at_a_time(void **state)
{
	(void)state;
	struct editor_memory_set *set = tiny_set(model, prompts, 1, 3, 0.5f, 1);
	static const size_t slots[] = { 1, 3, 8 }, rows[] = { 256, 16, 64 };
	struct editor_request requests[PROMPTS];
	struct answer alone[PROMPTS], together[PROMPTS];
	for (size_t i = 0; i < PROMPTS; i++) {
		requests[i] = request_of(i, set);
		alone[i] = answer_alone(&requests[i]);
	}
	assert_int_equal(alone[0].memory_id, 7);
	for (size_t k = 0; k < 3; k++) {
		/* with 16 rows a call the long prompt takes several, and its route is still that of the whole */
		struct editor_decoder *d = decoder_of(slots[k], rows[k]);
		run(d, requests, PROMPTS, together);
		for (size_t i = 0; i < PROMPTS; i++) {
			same_tokens(&together[i], &alone[i]);
			assert_int_equal(together[i].memory_id, alone[i].memory_id);
		}
		editor_decoder_destroy(&d);
	}
	editor_memory_set_release(&set);
}

static void a_long_prompt_is_routed_as_a_whole(void **state)
{
	(void)state;
	const char *long_only[] = { long_prompt };
	struct editor_memory_set *set = tiny_set(model, long_only, 1, 3, 0.5f, 1);
	const struct editor_request request = request_of(PROMPTS - 1, set);
	const struct answer whole = answer_alone(&request);
	struct editor_decoder *d = decoder_of(1, 8);
	struct answer parts;
	run(d, &request, 1, &parts);
	assert_int_equal(whole.memory_id, 7);
	assert_int_equal(parts.memory_id, 7);
	same_tokens(&parts, &whole);
	editor_decoder_destroy(&d);
	editor_memory_set_release(&set);
}

/* `before` and `text` as one text, or `text` as a chat's message behind it. */
static struct editor_route route_of_text(struct editor_memory_set *set, const char *before, const char *text,
					 bool in_chat, size_t prefill_rows)
{
	const struct model_tokenizer *tokenizer = model_tokenizer_of(model);
	struct err e = ERR_INIT;
	struct editor_request request = request_of(0, set);
	struct answer answer;
	int32_t *own = NULL;
	size_t count = 0;
	assert_ok(&e, model_tokenizer_encode(tokenizer, before, strlen(before), false, &own, &count, &e));
	const size_t first = count;
	assert_ok(&e, model_tokenizer_encode(tokenizer, text, strlen(text), false, &own, &count, &e));
	request.ids = own;
	request.id_count = count;
	request.route_first = in_chat ? first : 0;
	request.route_count = in_chat ? count - first : 0;
	struct editor_decoder *d = decoder_of(1, prefill_rows);
	run(d, &request, 1, &answer);
	editor_decoder_destroy(&d);
	free(own);
	answer.route.anchor = (struct editor_anchor){ 0 };
	assert_int_equal(answer.memory_id, answer.route.routed ? 7 : 0);
	return answer.route;
}

/* But for the rounding of a product with more rows. */
static bool same_score(const struct editor_route *a, const struct editor_route *b)
{
	return fabsf(a->prompt_score - b->prompt_score) < 1e-6f && fabsf(a->relation_score - b->relation_score) < 1e-6f;
}

/* The question is known behind other text, and as a message after others, by the very scores that it has alone. */
static void what_a_text_asks_last_is_routed_as_if_alone(void **state)
{
	(void)state;
	static const char before[] = "the sea is wide\nand deep. Is it?\n", after[] = "\nthe sea is wide\nIs it?";
	struct editor_memory_set *set = tiny_set(model, prompts, 1, 3, 0.5f, 1);
	const struct editor_route alone = route_of_text(set, "", prompts[0], false, 64);
	assert_true(alone.routed);
	static const size_t rows[] = { 64, 8 };
	for (size_t i = 0; i < 2; i++) {
		const struct editor_route behind = route_of_text(set, before, prompts[0], false, rows[i]);
		const struct editor_route message = route_of_text(set, before, prompts[0], true, rows[i]);
		assert_true(behind.routed && same_score(&behind, &alone));
		assert_true(message.routed && same_score(&message, &alone));
		assert_int_equal(behind.nearest[0], 1);
		/* what was asked before the last question is not what the text asks */
		assert_false(route_of_text(set, prompts[0], after, false, rows[i]).routed);
	}
	editor_memory_set_release(&set);
}

static void a_memory_changes_only_what_is_routed_to_it(void **state)
{
	(void)state;
	struct editor_memory_set *set = tiny_set(model, prompts, 1, 3, 0.5f, 1);
	uint64_t id;
	struct editor_request forced = request_of(0, NULL), routed = request_of(0, set), other = request_of(2, set);
	struct editor_request base = request_of(0, NULL), other_base = request_of(2, NULL);
	forced.forced = editor_memory_set_side_of(set, EDITOR_SET_RETRIEVE, 1, &id);
	assert_non_null(forced.forced);
	const struct answer a = answer_alone(&forced), b = answer_alone(&routed), c = answer_alone(&base);
	same_tokens(&a, &b);
	assert_false(equal_tokens(&a, &c));
	assert_true(b.route.routed && b.route.nearest[0] == 1);
	const struct answer d = answer_alone(&other), e = answer_alone(&other_base);
	same_tokens(&d, &e);
	assert_int_equal(d.memory_id, 0);
	editor_memory_set_release(&set);
}

/* A new version while a sequence runs: it ends as it began, with the set that only it still holds. */
static void a_sequence_keeps_its_set(void **state)
{
	(void)state;
	struct editor_memory_set *old = tiny_set(model, prompts, 1, 3, 0.5f, 1),
				 *new = tiny_set(model, prompts, 1, 4, 0.5f, 2);
	struct editor_request requests[2] = { request_of(0, old), request_of(0, new) };
	const struct answer old_alone = answer_alone(&requests[0]), new_alone = answer_alone(&requests[1]);
	struct editor_decoder *d = decoder_of(2, 64);
	size_t slots[2];
	struct err e = ERR_INIT;
	assert_false(equal_tokens(&old_alone, &new_alone));
	assert_int_equal(editor_decoder_admit(d, &requests[0], 1, &slots[0], &e), 0);
	editor_memory_set_release(&old); /* freed with the sequence: the address sanitizer would tell if sooner */
	assert_int_equal(editor_decoder_step(d, &e), 0);
	assert_int_equal(editor_decoder_admit(d, &requests[1], 1, &slots[1], &e), 0);
	for (size_t i = 0; i < TOKENS; i++)
		assert_int_equal(editor_decoder_step(d, &e), 0);
	for (size_t i = 0; i < 2; i++) {
		const struct editor_sequence *sequence = editor_decoder_sequence(d, slots[i]);
		const struct answer *expected = i == 0 ? &old_alone : &new_alone;
		assert_true(sequence->done);
		assert_int_equal(sequence->id_count, expected->count);
		assert_memory_equal(sequence->ids, expected->ids, expected->count * sizeof(int32_t));
		editor_decoder_release(d, slots[i]);
	}
	assert_int_equal(editor_decoder_free_slots(d), 2);
	editor_decoder_destroy(&d);
	editor_memory_set_release(&new);
}

/* A memory that drives one sequence's scores out of range ends that one; those beside it answer as alone. */
static void broken_scores_end_only_their_sequence(void **state)
{
	(void)state;
	struct editor_decoder *d = decoder_of(4, 64);
	struct err e = ERR_INIT;
	const size_t count = (size_t)TINY_HIDDEN * TINY_FFN;
	float *delta = calloc(count, sizeof(*delta));
	assert_non_null(delta);
	for (size_t i = 0; i < count; i++)
		delta[i] = NAN;
	const struct model_side broken = { TINY_LAYER, delta };
	struct answer alone[2] = { 0 };
	struct editor_request requests[3] = { request_of(0, NULL), request_of(1, NULL), request_of(2, NULL) };
	run(d, &requests[0], 1, &alone[0]);
	run(d, &requests[2], 1, &alone[1]);
	size_t slots[3];
	requests[1].forced = &broken;
	assert_int_equal(editor_decoder_admit(d, requests, 3, slots, &e), 0);
	const struct editor_sequence *bad = editor_decoder_sequence(d, slots[1]);
	assert_true(bad->done);
	assert_int_equal(bad->finish, EDITOR_FAILED);
	while (editor_decoder_active(d) > 0)
		assert_int_equal(editor_decoder_step(d, &e), 0);
	for (size_t i = 0; i < 2; i++) {
		const struct editor_sequence *good = editor_decoder_sequence(d, slots[2 * i]);
		assert_int_equal(good->id_count, alone[i].count);
		assert_memory_equal(good->ids, alone[i].ids, alone[i].count * sizeof(*good->ids));
	}
	editor_decoder_destroy(&d);
	free(delta);
}

static void sampling_is_seeded(void **state)
{
	(void)state;
	struct editor_request hot = request_of(2, NULL);
	hot.sampling = (struct model_sampling){ .temperature = 1.5f, .top_p = 0.95f };
	hot.seed = 11;
	const struct answer a = answer_alone(&hot), b = answer_alone(&hot);
	same_tokens(&a, &b);
	bool differs = false;
	for (uint64_t seed = 12; seed < 16 && !differs; seed++) {
		hot.seed = seed;
		const struct answer other = answer_alone(&hot);
		differs = !equal_tokens(&a, &other);
	}
	assert_true(differs);
}

static void what_does_not_fit_is_refused_whole(void **state)
{
	(void)state;
	struct editor_decoder *d = NULL;
	struct err e = ERR_INIT;
	size_t slots[3];
	assert_int_equal(editor_decoder_new(model, 2, 40, 32, &d, &e), 0);
	struct editor_request requests[3] = { request_of(0, NULL), request_of(1, NULL), request_of(2, NULL) };
	assert_int_equal(editor_decoder_admit(d, requests, 3, slots, &e), ERR_LIMIT);
	struct editor_request with_long[2] = { request_of(1, NULL), request_of(PROMPTS - 1, NULL) };
	assert_true(id_counts[PROMPTS - 1] >= 40);
	assert_int_equal(editor_decoder_admit(d, with_long, 2, slots, &e), ERR_LIMIT);
	struct editor_request bad_route = request_of(0, NULL);
	bad_route.route_first = bad_route.id_count;
	bad_route.route_count = 1;
	assert_int_equal(editor_decoder_admit(d, &bad_route, 1, slots, &e), ERR_INVALID);
	assert_int_equal(editor_decoder_free_slots(d), 2);
	assert_int_equal(editor_decoder_active(d), 0);
	/* prompt and answer share token_max */
	struct editor_request endless = request_of(0, NULL);
	endless.token_max = 1000;
	assert_int_equal(editor_decoder_admit(d, &endless, 1, slots, &e), 0);
	while (!editor_decoder_sequence(d, slots[0])->done)
		assert_int_equal(editor_decoder_step(d, &e), 0);
	assert_true(editor_decoder_sequence(d, slots[0])->id_count <= 40 - id_counts[0]);
	editor_decoder_release(d, slots[0]);
	editor_decoder_destroy(&d);
}

static int stop(void *context, const char *phase, size_t done, size_t total, double loss)
{
	(void)context, (void)phase, (void)done, (void)total, (void)loss;
	return 1;
}

static void a_stopped_run_frees_its_slots(void **state)
{
	(void)state;
	struct editor_decoder *d = decoder_of(2, 64);
	const struct editor_watch watch = { .on_progress = stop };
	struct editor_request requests[3] = { request_of(0, NULL), request_of(2, NULL), request_of(3, NULL) };
	struct answer answers[3] = { { .done = false } };
	struct err e = ERR_INIT;
	assert_int_equal(editor_decoder_run(d, requests, 3, keep, answers, &watch, &e), ERR_INTERRUPTED);
	assert_int_equal(editor_decoder_free_slots(d), 2);
	run(d, requests, 3, answers); /* and goes on afterwards */
	editor_decoder_destroy(&d);
}

static void memory_that_runs_out_takes_nothing(void **state)
{
	(void)state;
	struct editor_memory_set *set = tiny_set(model, prompts, 1, 3, 0.5f, 1);
	struct editor_decoder *d = decoder_of(2, 64);
	struct editor_request requests[2] = { request_of(0, set), request_of(2, set) };
	size_t slots[2];
	struct err e = ERR_INIT;
	int rc = ERR_NOMEM;
	for (int64_t n = 0; rc != 0; n++) {
		fault_set(n, 1);
		rc = editor_decoder_admit(d, requests, 2, slots, &e);
		fault_set(-1, 0);
		assert_true(rc == 0 || rc == ERR_NOMEM);
		assert_int_equal(editor_decoder_free_slots(d), rc == 0 ? 0 : 2);
		assert_true(n < 1000);
	}
	editor_decoder_destroy(&d); /* with running sequences */
	editor_memory_set_release(&set);
}

/* A set of one edit on prompt 0 with the answer's first `target_count` tokens as target, four anchors and a memory of
 * this size. */
static struct editor_memory_set *anchored_set_of(const int32_t *target, size_t target_count, float size)
{
	static float anchors[4 * TINY_FFN];
	struct buf calibration = BUF_INIT, index = BUF_INIT, delta = BUF_INIT;
	float raw[TINY_HIDDEN];
	struct err e = ERR_INIT;
	struct editor_memory_set *set = NULL;
	tiny_raw_key(model, prompts[0], raw);
	for (size_t i = 0; i < (size_t)4 * TINY_FFN; i++)
		anchors[i] = (float)(i % 7) - 3;
	const struct editor_index_entry entry = { .seq = 5,
						  .raw = raw,
						  .relation = raw,
						  .target_ids = target,
						  .target_count = target_count,
						  .anchors = anchors,
						  .anchor_count = 4 };
	plain_calibration(model_digest(model), TINY_HIDDEN, 0.5f, 0.9999f, -1, &calibration);
	tiny_delta(3, size, &delta);
	assert_ok(&e, editor_index_encode(&entry, 1, TINY_HIDDEN, TINY_FFN, &index, &e));
	const struct editor_memory_part part = {
		.id = 7, .delta = delta.data, .delta_len = delta.len, .index = index.data, .index_len = index.len
	};
	assert_ok(&e, editor_memory_set_new(model_shape_of(model), model_digest(model), TINY_LAYER, 1, calibration.data,
					    calibration.len, &part, 1, NULL, 0, EDITOR_SET_RETRIEVE, &set, &e));
	buf_free(&calibration);
	buf_free(&index);
	buf_free(&delta);
	return set;
}

/* One whose memory is too weak to change an answer. */
static struct editor_memory_set *anchored_set(const int32_t *target, size_t target_count)
{
	return anchored_set_of(target, target_count, 1e-7f);
}

static size_t anchored_tokens(struct editor_memory_set *set, bool no_anchor)
{
	struct editor_decoder *d = decoder_of(1, 64);
	struct editor_request request = request_of(0, set);
	struct err e = ERR_INIT;
	size_t slot;
	request.no_anchor = no_anchor;
	assert_ok(&e, editor_decoder_admit(d, &request, 1, &slot, &e));
	while (!editor_decoder_sequence(d, slot)->done)
		assert_ok(&e, editor_decoder_step(d, &e));
	assert_true(editor_decoder_sequence(d, slot)->route.routed);
	const size_t anchored = editor_decoder_sequence(d, slot)->anchored;
	editor_decoder_release(d, slot);
	editor_decoder_destroy(&d);
	return anchored;
}

/* The anchor is read as long as the answer is the edit's target, as far as there are rows, and not at all where that is
 * asked for. */
static void an_answer_that_departs_leaves_the_anchor(void **state)
{
	(void)state;
	struct answer answer[1] = { 0 };
	struct editor_decoder *d = decoder_of(1, 64);
	const struct editor_request request = request_of(0, NULL);
	struct err e = ERR_INIT;
	assert_ok(&e, editor_decoder_run(d, &request, 1, keep, answer, NULL, &e));
	editor_decoder_destroy(&d);
	assert_true(answer[0].count >= 5);
	struct editor_memory_set *set = anchored_set(answer[0].ids, 5);
	assert_int_equal(anchored_tokens(set, false), 4);
	assert_int_equal(anchored_tokens(set, true), 0);
	editor_memory_set_release(&set);
	int32_t other[5];
	memcpy(other, answer[0].ids, sizeof(other));
	other[1]++; /* the second token departs: the row that takes it is not read any more */
	set = anchored_set(other, 5);
	assert_int_equal(anchored_tokens(set, false), 2);
	editor_memory_set_release(&set);
}

/* The first token of the answer to prompt 0 where `target` is the edit's; *steps: of the decoder, to its end. */
static int32_t first_said(int32_t target, float size, size_t *steps, size_t *tokens)
{
	struct editor_memory_set *set = anchored_set_of(&target, 1, size);
	struct editor_decoder *d = decoder_of(1, 64);
	const struct editor_request request = request_of(0, set);
	struct err e = ERR_INIT;
	size_t slot;
	*steps = 0;
	assert_ok(&e, editor_decoder_admit(d, &request, 1, &slot, &e));
	for (; !editor_decoder_sequence(d, slot)->done; ++*steps)
		assert_ok(&e, editor_decoder_step(d, &e));
	const int32_t said = editor_decoder_sequence(d, slot)->id_count > 0 ? editor_decoder_sequence(d, slot)->ids[0]
									    : -1;
	*tokens = editor_decoder_sequence(d, slot)->id_count;
	editor_decoder_release(d, slot);
	editor_decoder_destroy(&d);
	editor_memory_set_release(&set);
	return said;
}

/* A memory that changes the answer when its anchors are pressed, and not by itself: the pressed answer is said where
 * the target is another than the model's own. */
static void what_departs_is_asked_for_again_by_stronger_anchors(void **state)
{
	(void)state;
	const struct editor_request plain = request_of(0, NULL);
	const int32_t base = answer_alone(&plain).ids[0], no_token_of_it = base == 0 ? 1 : 0;
	size_t steps, tokens, pressed_steps, pressed_tokens;
	for (float size = 1e-4f; size < 10; size *= 1.1f) {
		const int32_t pressed = first_said(no_token_of_it, size, &pressed_steps, &pressed_tokens);
		assert_int_equal(pressed_steps,
				 pressed_tokens); /* one token more, were it not for the row read twice */
		const int32_t unpressed = first_said(base, size, &steps, &tokens);
		if (unpressed != base || steps >= tokens || pressed == base)
			continue;
		assert_int_equal(first_said(pressed, size, &steps, &tokens), pressed);
		assert_int_equal(steps, tokens);
		return;
	}
	fail_msg("no memory of this model changes an answer only when it is pressed");
}

static const char before_it[] = "Saro: a b c\n";

/* Prompt 0 behind other text, and `said` behind that. */
static int32_t *ids_behind(const int32_t *said, size_t said_count, size_t *count)
{
	const struct model_tokenizer *tokenizer = model_tokenizer_of(model);
	int32_t *all = NULL;
	struct err e = ERR_INIT;
	*count = 0;
	assert_ok(&e, model_tokenizer_encode(tokenizer, before_it, strlen(before_it), false, &all, count, &e));
	assert_ok(&e, model_tokenizer_encode(tokenizer, prompts[0], strlen(prompts[0]), false, &all, count, &e));
	all = realloc(all, (*count + said_count) * sizeof(*all));
	assert_non_null(all);
	if (said_count > 0)
		memcpy(all + *count, said, said_count * sizeof(*all));
	*count += said_count;
	return all;
}

/* What is said behind prompt 0 in its text, `said` first; set NULL: by the unedited model. */
static struct answer answer_behind(struct editor_memory_set *set, const int32_t *said, size_t said_count,
				   size_t *anchored)
{
	struct editor_request request = request_of(0, set);
	struct answer answer = { .count = 0 };
	struct err e = ERR_INIT;
	size_t slot;
	int32_t *all = ids_behind(said, said_count, &request.id_count);
	request.ids = all;
	struct editor_decoder *d = decoder_of(2, 16);
	/* beside another, which must not notice */
	struct editor_request requests[2] = { request_of(2, set), request };
	size_t slots[2];
	assert_ok(&e, editor_decoder_admit(d, requests, 2, slots, &e));
	slot = slots[1];
	while (editor_decoder_active(d) > 0)
		assert_ok(&e, editor_decoder_step(d, &e));
	const struct editor_sequence *sequence = editor_decoder_sequence(d, slot);
	answer.count = sequence->id_count;
	memcpy(answer.ids, sequence->ids, answer.count * sizeof(*answer.ids));
	*anchored = sequence->anchored;
	const struct editor_sequence *other = editor_decoder_sequence(d, slots[0]);
	const struct answer alone = answer_alone(&requests[0]);
	assert_int_equal(other->id_count, alone.count);
	assert_memory_equal(other->ids, alone.ids, alone.count * sizeof(*alone.ids));
	editor_decoder_destroy(&d);
	free(all);
	return answer;
}

/* A question behind other text is answered as if it stood alone as long as that is the edit's target; from the first
 * token on that is not, the answer is what the text itself goes on with. */
static void a_part_is_asked_aside_and_left_when_it_departs(void **state)
{
	(void)state;
	const struct editor_request plain = request_of(0, NULL);
	const struct answer alone = answer_alone(&plain);
	size_t anchored;
	assert_true(alone.count >= 5);
	const struct answer in_text = answer_behind(NULL, NULL, 0, &anchored);
	assert_int_equal(anchored, 0);
	assert_memory_not_equal(in_text.ids, alone.ids, 5 * sizeof(*alone.ids));
	/* the target is what the model says of itself: four anchors are read, then the text goes on */
	struct editor_memory_set *set = anchored_set(alone.ids, 5);
	const struct answer known = answer_behind(set, NULL, 0, &anchored);
	const struct answer rest = answer_behind(NULL, alone.ids, 5, &(size_t){ 0 });
	assert_int_equal(anchored, 4);
	assert_memory_equal(known.ids, alone.ids, 5 * sizeof(*known.ids));
	assert_true(known.count == TOKENS || known.count == 5 + rest.count);
	assert_memory_equal(known.ids + 5, rest.ids, (known.count - 5) * sizeof(*known.ids));
	editor_memory_set_release(&set);
	/* nothing of a target that is not said remains */
	int32_t other[5];
	memcpy(other, alone.ids, sizeof(other));
	other[0]++;
	set = anchored_set(other, 5);
	const struct answer departed = answer_behind(set, NULL, 0, &anchored);
	same_tokens(&departed, &in_text);
	assert_int_equal(anchored, 0);
	editor_memory_set_release(&set);
}

/* An admission that runs out of memory anywhere on its way aside leaves nothing behind, and can be tried again. */
static void an_aside_that_runs_out_of_memory_takes_nothing(void **state)
{
	(void)state;
	const struct editor_request plain = request_of(0, NULL);
	const struct answer alone = answer_alone(&plain);
	struct editor_memory_set *set = anchored_set(alone.ids, 3);
	struct editor_request request = request_of(0, set);
	int32_t *all = ids_behind(NULL, 0, &request.id_count);
	request.ids = all;
	struct err e = ERR_INIT;
	size_t slot = 0;
	struct editor_decoder *d = decoder_of(1, 16);
	int rc = ERR_NOMEM;
	for (int64_t n = 0; rc != 0; n++) {
		fault_set(n, 1);
		rc = editor_decoder_admit(d, &request, 1, &slot, &e);
		fault_set(-1, 0);
		assert_true(rc == 0 || rc == ERR_NOMEM);
		assert_int_equal(editor_decoder_free_slots(d), rc == 0 ? 0 : 1);
		assert_true(n < 1000);
	}
	while (!editor_decoder_sequence(d, slot)->done)
		assert_ok(&e, editor_decoder_step(d, &e));
	assert_int_equal(editor_decoder_sequence(d, slot)->anchored, 3);
	assert_memory_equal(editor_decoder_sequence(d, slot)->ids, alone.ids, 3 * sizeof(*alone.ids));
	editor_decoder_destroy(&d);
	free(all);
	editor_memory_set_release(&set);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(batched_answers_are_those_of_one_at_a_time),
		cmocka_unit_test(a_long_prompt_is_routed_as_a_whole),
		cmocka_unit_test(what_a_text_asks_last_is_routed_as_if_alone),
		cmocka_unit_test(a_memory_changes_only_what_is_routed_to_it),
		cmocka_unit_test(a_sequence_keeps_its_set),
		cmocka_unit_test(an_answer_that_departs_leaves_the_anchor),
		cmocka_unit_test(what_departs_is_asked_for_again_by_stronger_anchors),
		cmocka_unit_test(a_part_is_asked_aside_and_left_when_it_departs),
		cmocka_unit_test(an_aside_that_runs_out_of_memory_takes_nothing),
		cmocka_unit_test(broken_scores_end_only_their_sequence),
		cmocka_unit_test(sampling_is_seeded),
		cmocka_unit_test(what_does_not_fit_is_refused_whole),
		cmocka_unit_test(a_stopped_run_frees_its_slots),
		cmocka_unit_test(memory_that_runs_out_takes_nothing),
	};
	return cmocka_run_group_tests(tests, set_up, tear_down);
}
