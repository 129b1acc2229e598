#include "editor/gap.h"

#include "base/fault.h"
#include "editor/decode.h"
#include "editor/evaluate.h"
#include "editor/wise.h"
#include "tests/unit/editor/tiny_fixture.h"

#include <math.h>

#define TOKENS 8

/* ---- Settings and index bytes */

static void settings_come_back(void **state)
{
	(void)state;
	struct editor_config c;
	struct buf bytes = BUF_INIT, again = BUF_INIT;
	struct err e = ERR_INIT;
	struct editor_wise_calibration in = { .corpus = { .bytes = { 9 } } }, out;
	editor_config_default(model_shape_of(model), &c);
	in.base_model = *model_digest(model);
	in.layer = 24;
	in.wise = c.wise;
	in.wise.alpha = 41.5f;
	in.wise.merge_operator = MERGE_DARE_TIES;
	in.wise.merge_trim_nonzero = in.wise.replay = true;
	in.wise.prefixes = false;
	in.wise.prefix_tokens[1] = 11;
	assert_int_equal(editor_wise_calibration_encode(&in, &bytes, &e), 0);
	assert_true(editor_wise_calibration_is(bytes.data, bytes.len));
	assert_int_equal(editor_wise_calibration_decode(bytes.data, bytes.len, &out, &e), 0);
	assert_true(out.wise.alpha == 41.5f && out.wise.merge_operator == MERGE_DARE_TIES && !out.wise.prefixes);
	assert_int_equal(out.layer, 24);
	assert_int_equal(out.wise.prefix_tokens[1], 11);
	assert_int_equal(editor_wise_calibration_encode(&out, &again, &e), 0); /* every field */
	assert_same_bytes(&again, &bytes);
	for (size_t len = 0; len < bytes.len; len++)
		assert_int_equal(editor_wise_calibration_decode(bytes.data, len, &out, &e), ERR_CORRUPT);
	bytes.data[4] = 7;
	assert_int_equal(editor_wise_calibration_decode(bytes.data, bytes.len, &out, &e), ERR_UNSUPPORTED);
	assert_non_null(strstr(e.text, "format 7"));
	bytes.data[0] = 'X';
	assert_false(editor_wise_calibration_is(bytes.data, bytes.len));
	assert_int_equal(editor_wise_calibration_decode(bytes.data, bytes.len, &out, &e), ERR_CORRUPT);
	buf_free(&bytes);
	buf_free(&again);
}

static void index_of(const struct editor_gap_entry *entries, size_t count, float act_ratio, struct buf *out)
{
	struct err e = ERR_INIT;
	buf_clear(out);
	assert_int_equal(editor_gap_index_encode(entries, count, act_ratio, out, &e), 0);
}

static struct editor_gap_router *router_of(size_t hidden, size_t ffn)
{
	struct editor_gap_router *router = NULL;
	struct err e = ERR_INIT;
	assert_int_equal(editor_gap_router_new(hidden, ffn, &router, &e), 0);
	return router;
}

static void broken_indexes_are_refused(void **state)
{
	(void)state;
	const struct editor_gap_entry good[2] = { { 1, 10 }, { 2, 20 } }, none = { 3, NAN }, below = { 4, -1 };
	const float delta[6] = { 0 };
	struct buf bytes = BUF_INIT;
	struct err e = ERR_INIT;
	struct editor_gap_router *router = router_of(2, 3);
	assert_int_equal(editor_gap_index_encode(&none, 1, 1, &bytes, &e), ERR_INVALID);
	assert_non_null(strstr(e.text, "edit 3"));
	assert_int_equal(editor_gap_index_encode(&below, 1, 1, &bytes, &e), ERR_INVALID);
	index_of(good, 2, 1, &bytes);
	for (size_t len = 0; len < bytes.len; len++)
		assert_int_equal(editor_gap_router_add(router, delta, bytes.data, len, 0, false, NULL, 0, &e),
				 ERR_CORRUPT);
	memcpy(bytes.data + bytes.len - 4, "\0\0\xC0\x7F", 4); /* the last gap: NaN */
	assert_int_equal(editor_gap_router_add(router, delta, bytes.data, bytes.len, 0, false, NULL, 0, &e),
			 ERR_CORRUPT);
	assert_non_null(strstr(e.text, "edit 2"));
	bytes.data[4] = 9;
	assert_int_equal(editor_gap_router_add(router, delta, bytes.data, bytes.len, 0, false, NULL, 0, &e),
			 ERR_UNSUPPORTED);
	assert_int_equal(editor_gap_router_count(router), 0);
	editor_gap_router_destroy(&router);
	buf_free(&bytes);
}

/* ---- Routes of deltas whose gaps are known */

/* Two tokens, three inputs, two outputs: with these deltas their lengths are 5 and 13 (gap 9), 2 and 4 (gap 3). */
static const float inputs[6] = { 1, 0, 0, 0, 1, 2 }, nine[6] = { 3, 1, 2, 4, 0, 6 }, three[6] = { 2, 0, 2, 0, 0, 0 };

static void route(const struct editor_gap_router *router, bool (*admitted)(const void *, size_t), const void *context,
		  struct editor_route *out)
{
	const struct editor_prompt prompt = { .id_count = 2, .inputs = inputs, .backend = model_backend_of(model) };
	struct err e = ERR_INIT;
	if (editor_gap_router_route(router, &prompt, admitted, context, out, &e) != 0)
		fail_msg("%s", e.text);
}

static void put(struct editor_gap_router *router, const float *delta, size_t memory, uint64_t seq, float gap,
		const uint64_t *removed, size_t removed_count)
{
	/* two edits: the smaller gap counts */
	const struct editor_gap_entry entries[2] = { { seq, gap }, { seq + 1, 2 * gap } };
	struct buf bytes = BUF_INIT;
	struct err e = ERR_INIT;
	index_of(entries, 2, 0.5f, &bytes);
	assert_int_equal(
		editor_gap_router_add(router, delta, bytes.data, bytes.len, memory, false, removed, removed_count, &e),
		0);
	buf_free(&bytes);
}

static bool not_seven(const void *context, size_t memory)
{
	(void)context;
	return memory != 7;
}

static void the_largest_gap_above_its_threshold_wins(void **state)
{
	(void)state;
	struct editor_gap_router *router = router_of(2, 3);
	struct editor_route out;
	size_t memory;
	route(router, NULL, NULL, &out);
	assert_false(out.routed);
	put(router, three, 5, 10, 4, NULL, 0); /* ε 2 < 3 */
	route(router, NULL, NULL, &out);
	assert_true(out.routed && out.memory == 5);
	assert_true(fabsf(out.prompt_score - 3) < 1e-5f && fabsf(out.prompt_threshold - 2) < 1e-5f);
	put(router, nine, 7, 20, 16, NULL, 0); /* ε 8 < 9 */
	route(router, NULL, NULL, &out);
	assert_true(out.routed && out.memory == 7);
	route(router, not_seven, NULL, &out);
	assert_true(out.routed && out.memory == 5);
	assert_int_equal(editor_gap_router_count(router), 4);
	assert_true(editor_gap_router_memory_of(router, 21, &memory) && memory == 7);
	assert_false(editor_gap_router_memory_of(router, 12, &memory));
	editor_gap_router_destroy(&router);
}

static void below_every_threshold_the_main_memory_answers(void **state)
{
	(void)state;
	struct editor_gap_router *router = router_of(2, 3);
	struct editor_route out;
	put(router, three, 5, 10, 20, NULL, 0); /* ε 10: .3 of it is reached */
	put(router, nine, 7, 20, 36, NULL, 0);  /* ε 18: .5 */
	route(router, NULL, NULL, &out);
	assert_false(out.routed);
	assert_int_equal(out.memory, 7);
	assert_true(fabsf(out.prompt_score - 9) < 1e-5f && fabsf(out.prompt_threshold - 18) < 1e-5f);
	editor_gap_router_destroy(&router);
}

static void removed_edits_do_not_count(void **state)
{
	(void)state;
	static const uint64_t first[1] = { 20 }, both[3] = { 21, 5, 20 };
	struct editor_gap_router *router = router_of(2, 3);
	struct editor_route out;
	size_t memory;
	put(router, nine, 7, 20, 16, first, 1); /* 32 is left: ε 16 */
	route(router, NULL, NULL, &out);
	assert_false(out.routed);
	assert_int_equal(editor_gap_router_count(router), 1);
	assert_false(editor_gap_router_memory_of(router, 20, &memory));
	put(router, nine, 8, 20, 0.1f, both, 3); /* nothing is left */
	route(router, NULL, NULL, &out);
	assert_false(out.routed);
	assert_int_equal(out.memory, 7);
	editor_gap_router_destroy(&router);
}

/* ---- Sets, decoding and evaluation on the tiny model */

static void settings_of(const struct hash *base_model, struct buf *out)
{
	struct editor_config c;
	struct err e = ERR_INIT;
	editor_config_default(model_shape_of(model), &c);
	const struct editor_wise_calibration calibration = { .base_model = *base_model, .wise = c.wise };
	assert_int_equal(editor_wise_calibration_encode(&calibration, out, &e), 0);
}

/* Tokens of a text, and its gap at a delta with the model's own functions. */
static double gap_of(const char *text, const struct buf *bytes, int32_t **ids, size_t *count)
{
	struct err e = ERR_INIT;
	struct model_run *run = NULL;
	double gap = 0;
	*ids = NULL;
	assert_int_equal(model_tokenizer_encode(model_tokenizer_of(model), text, strlen(text), false, ids, count, &e),
			 0);
	float *x = calloc(*count * TINY_HIDDEN, sizeof(*x)), *a = calloc(*count * TINY_FFN, sizeof(*a));
	float *delta = calloc((size_t)TINY_HIDDEN * TINY_FFN, sizeof(*delta));
	const struct model_segment segment = { .row_count = *count };
	const struct model_tap tap = { MODEL_TAP_DOWN_INPUT, TINY_LAYER, a };
	assert_true(x != NULL && a != NULL && delta != NULL);
	assert_int_equal(editor_delta_decode(bytes->data, bytes->len, TINY_LAYER, TINY_HIDDEN, TINY_FFN, delta, &e), 0);
	assert_int_equal(model_run_new(model, *count, &run, &e), 0);
	assert_int_equal(model_embed(run, x, *ids, *count, &e), 0);
	assert_int_equal(model_layers(run, x, NULL, &segment, 1, 0, TINY_LAYER + 1, NULL, &tap, 1, &e), 0);
	assert_int_equal(editor_wise_gap(model_run_backend(run), a, *count, delta, TINY_HIDDEN, TINY_FFN, x, &gap, &e),
			 0);
	model_run_destroy(&run);
	free(x);
	free(a);
	free(delta);
	return gap;
}

struct parts { /* a set of memories whose thresholds are given */
	struct buf settings, deltas[3], indexes[3];
	struct editor_memory_part parts[3];
	size_t count;
};

static void part_add(struct parts *p, uint64_t id, uint64_t delta_seed, double threshold, uint64_t seq)
{
	const size_t i = p->count++;
	const struct editor_gap_entry entry = { seq, (float)threshold };
	tiny_delta(delta_seed, 0.5f, &p->deltas[i]);
	index_of(&entry, 1, 1, &p->indexes[i]);
	p->parts[i] = (struct editor_memory_part){ .id = id,
						   .delta = p->deltas[i].data,
						   .delta_len = p->deltas[i].len,
						   .index = p->indexes[i].data,
						   .index_len = p->indexes[i].len };
}

static int try_set(struct parts *p, struct editor_memory_set **set, struct err *e)
{
	return editor_memory_set_new(model_shape_of(model), model_digest(model), TINY_LAYER, 4, p->settings.data,
				     p->settings.len, p->parts, p->count, NULL, 0, EDITOR_SET_RETRIEVE, set, e);
}

static struct editor_memory_set *set_of(struct parts *p)
{
	struct editor_memory_set *set = NULL;
	struct err e = ERR_INIT;
	if (p->settings.len == 0)
		settings_of(model_digest(model), &p->settings);
	if (try_set(p, &set, &e) != 0)
		fail_msg("%s", e.text);
	return set;
}

static void parts_free(struct parts *p)
{
	buf_free(&p->settings);
	for (size_t i = 0; i < 3; i++) {
		buf_free(&p->deltas[i]);
		buf_free(&p->indexes[i]);
	}
}

static void wrong_versions_are_refused(void **state)
{
	(void)state;
	const struct hash other = { .bytes = { 1 } };
	struct editor_memory_set *set = NULL;
	struct parts p = { 0 };
	struct err e = ERR_INIT;
	part_add(&p, 1, 3, 1, 1);
	settings_of(&other, &p.settings);
	assert_int_equal(try_set(&p, &set, &e), ERR_MISMATCH);
	buf_clear(&p.settings);
	settings_of(model_digest(model), &p.settings);
	p.parts[0].index = NULL;
	assert_int_equal(try_set(&p, &set, &e), ERR_INVALID);
	assert_non_null(strstr(e.text, "memory 1"));
	assert_non_null(strstr(e.text, "threshold"));
	p.parts[0].index = "AMIX, of the other family";
	assert_int_equal(try_set(&p, &set, &e), ERR_CORRUPT);
	assert_null(set);
	parts_free(&p);
}

struct answer {
	int32_t ids[TOKENS];
	size_t count;
	uint64_t memory_id;
	float score, threshold;
};

static void keep(void *context, size_t request, const struct editor_sequence *sequence)
{
	struct answer *answer = (struct answer *)context + request;
	memcpy(answer->ids, sequence->ids, sequence->id_count * sizeof(*answer->ids));
	answer->count = sequence->id_count;
	answer->memory_id = sequence->memory_id;
	answer->score = sequence->route.prompt_score;
	answer->threshold = sequence->route.prompt_threshold;
}

static void decode(const struct editor_request *requests, size_t count, size_t rows, struct answer *answers)
{
	struct editor_decoder *d = NULL;
	struct err e = ERR_INIT;
	memset(answers, 0, count * sizeof(*answers));
	assert_int_equal(editor_decoder_new(model, count, 256, rows, &d, &e), 0);
	if (editor_decoder_run(d, requests, count, keep, answers, NULL, &e) != 0)
		fail_msg("%s", e.text);
	editor_decoder_destroy(&d);
}

static void same(const struct answer *a, const struct answer *b)
{
	assert_int_equal(a->count, b->count);
	assert_memory_equal(a->ids, b->ids, a->count * sizeof(*a->ids));
}

static const char long_text[] = "in the land of Orla, where the king of Vint was born in 1907, what is the capital? "
				"And who was the king before him, in the year when Saro was founded?";

/* A prompt above its threshold is answered as with its memory forced, one below as without any; in one batch with
 * others, alone, and cut into several parts. */
static void decoding_reads_what_the_gap_says(void **state)
{
	(void)state;
	struct parts p = { 0 };
	int32_t *ids = NULL;
	size_t count = 0;
	tiny_delta(3, 0.5f, &p.deltas[0]);
	const double gap = gap_of(long_text, &p.deltas[0], &ids, &count);
	const size_t rows[] = { 256, 16 };
	buf_clear(&p.deltas[0]);
	part_add(&p, 6, 3, 0.999 * gap, 1);
	part_add(&p, 7, 4, 1e6, 2);
	struct editor_memory_set *above = set_of(&p);
	struct parts q = { 0 };
	part_add(&q, 6, 3, 1.001 * gap, 1);
	struct editor_memory_set *below = set_of(&q);
	uint64_t id = 0;
	struct editor_request requests[4], request = { .ids = ids, .id_count = count, .token_max = TOKENS };
	request.sampling.top_p = 1;
	for (size_t i = 0; i < 4; i++)
		requests[i] = request;
	requests[0].set = above;
	requests[1].set = below;
	requests[2].forced = editor_memory_set_side_of(above, EDITOR_SET_RETRIEVE, 1, &id);
	assert_int_equal(id, 6);
	struct answer together[4], alone;
	for (size_t r = 0; r < 2; r++) {
		decode(requests, 4, rows[r], together);
		assert_int_equal(together[0].memory_id, 6);
		assert_true(fabs((double)together[0].score - gap) < 1e-4 * gap);
		assert_int_equal(together[1].memory_id, 0);
		assert_true((double)together[1].threshold > gap);
		same(&together[0], &together[2]);
		same(&together[1], &together[3]);
		assert_true(memcmp(together[0].ids, together[1].ids, sizeof(alone.ids)) != 0);
		for (size_t i = 0; i < 4; i++) {
			decode(&requests[i], 1, rows[r], &alone);
			assert_int_equal(alone.memory_id, together[i].memory_id);
			same(&alone, &together[i]);
		}
	}
	editor_memory_set_release(&above);
	editor_memory_set_release(&below);
	parts_free(&p);
	parts_free(&q);
	free(ids);
}

/* Only the tokens that a request names are looked at (a chat's last message); every row reads the memory. */
static void a_part_of_the_prompt_decides(void **state)
{
	(void)state;
	struct parts p = { 0 };
	struct answer answer;
	int32_t *ids = NULL;
	size_t count = 0;
	tiny_delta(3, 0.5f, &p.deltas[0]);
	(void)gap_of(long_text, &p.deltas[0], &ids, &count);
	buf_clear(&p.deltas[0]);
	part_add(&p, 6, 3, 0, 1); /* everything reads it */
	struct editor_memory_set *set = set_of(&p);
	struct editor_request request = { .ids = ids, .id_count = count, .token_max = TOKENS, .set = set };
	request.sampling.top_p = 1;
	decode(&request, 1, 256, &answer);
	const float whole = answer.score;
	double sum = 0;
	for (size_t at = 0; at < count; at++) { /* the whole's is the mean of its tokens' */
		request.route_first = at;
		request.route_count = 1;
		decode(&request, 1, at % 2 == 0 ? 256 : 16, &answer);
		assert_int_equal(answer.memory_id, 6);
		sum += (double)answer.score / (double)count;
	}
	assert_true(fabs(sum - (double)whole) < 1e-4 * sum);
	editor_memory_set_release(&set);
	parts_free(&p);
	free(ids);
}

static void merged_memories_stand_for_their_shards(void **state)
{
	(void)state;
	struct parts p = { 0 };
	struct answer answer;
	int32_t *ids = NULL;
	size_t count = 0;
	static const uint64_t sources[1] = { 1 };
	tiny_delta(3, 0.5f, &p.deltas[0]);
	const double gap = gap_of(long_text, &p.deltas[0], &ids, &count);
	buf_clear(&p.deltas[0]);
	part_add(&p, 1, 3, 0.9 * gap, 1); /* covered, read */
	part_add(&p, 2, 4, 1e6, 2);       /* a shard in progress, not read */
	part_add(&p, 9, 5, 1e6, 1);
	p.parts[2].merged = true;
	p.parts[2].sources = sources;
	p.parts[2].source_count = 1;
	struct editor_memory_set *set = set_of(&p);
	struct editor_request request = { .ids = ids, .id_count = count, .token_max = TOKENS, .set = set };
	request.sampling.top_p = 1;
	assert_int_equal(editor_memory_set_edit_count(set), 2);
	assert_int_equal(editor_memory_set_family(set), EDITOR_FAMILY_PAPER);
	assert_true(editor_memory_set_has_merged(set));
	decode(&request, 1, 256, &answer);
	assert_int_equal(answer.memory_id, 1);
	request.kind = EDITOR_SET_MERGED; /* shard 1 is not asked any more */
	decode(&request, 1, 256, &answer);
	assert_int_equal(answer.memory_id, 0);
	uint64_t id = 0;
	assert_non_null(editor_memory_set_side_of(set, EDITOR_SET_MERGED, 1, &id));
	assert_int_equal(id, 9);
	assert_non_null(editor_memory_set_side_of(set, EDITOR_SET_MERGED, 2, &id));
	assert_int_equal(id, 2);
	editor_memory_set_release(&set);
	parts_free(&p);
	free(ids);
}

static void evaluation_routes_by_gap_or_by_oracle(void **state)
{
	(void)state;
	static const char text[] = "{\"prompt\":\"who is the king of Vint?\",\"target_new\":\"Olaf\",\"rephrase\":"
				   "[\"Vint's king is\"],\"locality\":[{\"prompt\":\"a song from long ago\"}]}";
	struct parts p = { 0 };
	struct record *record = NULL;
	struct editor_scores scores;
	struct editor_config c;
	struct err e = ERR_INIT;
	const uint64_t seq = 1;
	assert_int_equal(record_parse(text, strlen(text), &record, &e), 0);
	editor_config_default(model_shape_of(model), &c);
	part_add(&p, 6, 3, 1e6, 1);
	struct editor_memory_set *set = set_of(&p);
	struct editor_evaluation what = { .records = (const struct record *const *)&record,
					  .seqs = &seq,
					  .record_count = 1 };
	for (int pass = 0; pass < 2; pass++) {
		what.oracle = pass == 1;
		if (editor_evaluate(model, &c, set, EDITOR_SET_RETRIEVE, &what, &scores, NULL, NULL, &e) != 0)
			fail_msg("%s", e.text);
		assert_true(scores.right_memory == pass && scores.right_memory_prompts == pass);
		assert_true(scores.routed_unrelated == 0 && scores.loc == 1);
	}
	editor_memory_set_release(&set);
	buf_clear(&p.indexes[0]);
	const struct editor_gap_entry always = { 1, 0 };
	index_of(&always, 1, 1, &p.indexes[0]);
	p.parts[0].index = p.indexes[0].data;
	set = set_of(&p);
	what.oracle = false;
	assert_int_equal(editor_evaluate(model, &c, set, EDITOR_SET_RETRIEVE, &what, &scores, NULL, NULL, &e), 0);
	assert_true(scores.right_memory == 1 && scores.routed_unrelated == 1);
	editor_memory_set_release(&set);
	parts_free(&p);
	record_destroy(&record);
}

static void memory_that_runs_out_takes_nothing(void **state)
{
	(void)state;
	const struct editor_gap_entry entry = { 1, 10 };
	struct buf bytes = BUF_INIT;
	struct err e = ERR_INIT;
	int rc = ERR_NOMEM;
	index_of(&entry, 1, 1, &bytes);
	for (int at = 0; rc != 0; at++) {
		struct editor_gap_router *router = NULL;
		struct editor_route out;
		const struct editor_prompt prompt = { .id_count = 2,
						      .inputs = inputs,
						      .backend = model_backend_of(model) };
		fault_set(at, 1);
		rc = editor_gap_router_new(2, 3, &router, &e);
		if (rc == 0)
			rc = editor_gap_router_add(router, nine, bytes.data, bytes.len, 0, false, NULL, 0, &e);
		if (rc == 0)
			rc = editor_gap_router_route(router, &prompt, NULL, NULL, &out, &e);
		fault_set(-1, 0);
		assert_true(rc == 0 || rc == ERR_NOMEM);
		assert_true(at < 50);
		if (router != NULL && rc != 0)
			assert_true(editor_gap_router_count(router) <= 1);
		editor_gap_router_destroy(&router);
	}
	buf_free(&bytes);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(settings_come_back),
		cmocka_unit_test(broken_indexes_are_refused),
		cmocka_unit_test(the_largest_gap_above_its_threshold_wins),
		cmocka_unit_test(below_every_threshold_the_main_memory_answers),
		cmocka_unit_test(removed_edits_do_not_count),
		cmocka_unit_test(wrong_versions_are_refused),
		cmocka_unit_test(decoding_reads_what_the_gap_says),
		cmocka_unit_test(a_part_of_the_prompt_decides),
		cmocka_unit_test(merged_memories_stand_for_their_shards),
		cmocka_unit_test(evaluation_routes_by_gap_or_by_oracle),
		cmocka_unit_test(memory_that_runs_out_takes_nothing),
	};
	return cmocka_run_group_tests(tests, open_tiny, close_tiny);
}
