/* Answers at whose positions an edit's own stored inputs are read, in place and aside. */
#include "tests/unit/editor/decode_fixture.h"

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

/* Of a target that begins with "The" an answer that begins with "the" departs as little. */
static void large_and_small_letters_do_not_depart(void **state)
{
	const struct model_tokenizer *tokenizer = model_tokenizer_of(model);
	const char *const letters[] = { "t", "T", "u", "7" };
	int32_t id[4] = { -1, -1, -1, -1 };
	uint8_t target[8];
	(void)state;
	for (int32_t i = 0; (size_t)i < model_tokenizer_vocabulary(tokenizer); i++) {
		size_t len;
		const char *piece = model_tokenizer_piece(tokenizer, i, &len);
		for (size_t k = 0; k < 4; k++)
			id[k] = len == 1 && piece[0] == letters[k][0] ? i : id[k];
	}
	for (size_t k = 0; k < 4; k++)
		assert_true(id[k] >= 0);
	const uint32_t tokens[] = { (uint32_t)id[1], (uint32_t)id[3] };
	memcpy(target, tokens, sizeof(target)); /* little-endian, as every machine that this is built for */
	const struct editor_anchor anchor = { .ids = target, .id_count = 2 };
	assert_true(editor_anchor_says(&anchor, tokenizer, 0, id[1]));
	assert_true(editor_anchor_says(&anchor, tokenizer, 0, id[0]));
	assert_false(editor_anchor_says(&anchor, tokenizer, 0, id[2]));
	assert_false(editor_anchor_says(&anchor, tokenizer, 1, id[0]));
	assert_true(editor_anchor_says(&anchor, tokenizer, 1, id[3]));
	assert_false(editor_anchor_says(&anchor, tokenizer, 2, id[3]));
	/* nor do they where an answer's tokens are given */
	const struct editor_anchor rows = { .ids = target, .id_count = 2, .row_count = 3 };
	assert_int_equal(editor_anchor_reach(&rows, tokenizer, (const int32_t[]){ id[0], id[3] }, 2), 3);
	assert_int_equal(editor_anchor_reach(&rows, tokenizer, (const int32_t[]){ id[2], id[3] }, 2), 1);
}

/* The first token of the answer to prompt 0 where `target` is the edit's; *steps: of the decoder, to its end. */
static int32_t first_sampled(int32_t target, float size, float temperature, size_t *steps, size_t *tokens)
{
	struct editor_memory_set *set = anchored_set_of(&target, 1, size);
	struct editor_decoder *d = decoder_of(1, 64);
	struct editor_request request = request_of(0, set);
	struct err e = ERR_INIT;
	size_t slot;
	request.sampling.temperature = temperature;
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

static int32_t first_said(int32_t target, float size, size_t *steps, size_t *tokens)
{
	return first_sampled(target, size, 0, steps, tokens);
}

/* A token that was drawn may depart by chance: drawing again would skew the draw. */
static void a_sampled_answer_is_asked_for_once(void **state)
{
	(void)state;
	const struct editor_request plain = request_of(0, NULL);
	const int32_t no_token_of_it = answer_alone(&plain).ids[0] == 0 ? 1 : 0;
	size_t steps, tokens;
	(void)first_said(no_token_of_it, 1e-4f, &steps, &tokens);
	assert_int_equal(steps, tokens); /* the row of the first one is read twice */
	(void)first_sampled(no_token_of_it, 1e-4f, 1e-3f, &steps, &tokens);
	assert_int_equal(steps, tokens - 1);
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
		cmocka_unit_test(an_answer_that_departs_leaves_the_anchor),
		cmocka_unit_test(large_and_small_letters_do_not_depart),
		cmocka_unit_test(what_departs_is_asked_for_again_by_stronger_anchors),
		cmocka_unit_test(a_sampled_answer_is_asked_for_once),
		cmocka_unit_test(a_part_is_asked_aside_and_left_when_it_departs),
		cmocka_unit_test(an_aside_that_runs_out_of_memory_takes_nothing),
	};
	return cmocka_run_group_tests(tests, set_up, tear_down);
}
