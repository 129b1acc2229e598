#include "tests/unit/editor/decode_fixture.h"

#include <math.h>

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

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(batched_answers_are_those_of_one_at_a_time),
		cmocka_unit_test(a_long_prompt_is_routed_as_a_whole),
		cmocka_unit_test(what_a_text_asks_last_is_routed_as_if_alone),
		cmocka_unit_test(a_memory_changes_only_what_is_routed_to_it),
		cmocka_unit_test(a_sequence_keeps_its_set),
		cmocka_unit_test(broken_scores_end_only_their_sequence),
		cmocka_unit_test(sampling_is_seeded),
		cmocka_unit_test(what_does_not_fit_is_refused_whole),
		cmocka_unit_test(a_stopped_run_frees_its_slots),
		cmocka_unit_test(memory_that_runs_out_takes_nothing),
	};
	return cmocka_run_group_tests(tests, set_up, tear_down);
}
