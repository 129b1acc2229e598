#include "editor/decode.h"

#include "tests/unit/editor/tiny.h"

#include <pthread.h>

static struct model *model;
static struct buf calibration, deltas[3], indexes[2];
static float keys[2][TINY_HIDDEN];

static int set_up(void **state)
{
	(void)state;
	struct err e = ERR_INIT;
	model = tiny_open();
	plain_calibration(model_digest(model), TINY_HIDDEN, 0.5f, 0.9f, -1, &calibration);
	for (size_t i = 0; i < 3; i++)
		tiny_delta(i, 0.01f, &deltas[i]);
	for (size_t i = 0; i < 2; i++) {
		keys[i][i] = 1;
		const struct editor_index_entry entry = { .seq = 100 + i, .raw = keys[i], .relation = keys[i] };
		assert_int_equal(editor_index_encode(&entry, 1, TINY_HIDDEN, TINY_FFN, &indexes[i], &e), 0);
	}
	return 0;
}

static int tear_down(void **state)
{
	(void)state;
	model_close(&model);
	buf_free(&calibration);
	for (size_t i = 0; i < 3; i++)
		buf_free(&deltas[i]);
	buf_free(&indexes[0]);
	buf_free(&indexes[1]);
	return 0;
}

static const uint64_t both[] = { 1, 2 };

/* Shards 1 and 2 with edits 100 and 101, and memory 9 that covers both. */
static void parts_of(struct editor_memory_part parts[3])
{
	for (size_t i = 0; i < 3; i++)
		parts[i] =
			(struct editor_memory_part){ .id = i + 1, .delta = deltas[i].data, .delta_len = deltas[i].len };
	for (size_t i = 0; i < 2; i++) {
		parts[i].index = indexes[i].data;
		parts[i].index_len = indexes[i].len;
	}
	parts[2].id = 9;
	parts[2].sources = both;
	parts[2].source_count = 2;
}

static int make(const struct editor_memory_part *parts, size_t count, const uint64_t *removed, size_t removed_count,
		struct editor_memory_set **out, struct err *e)
{
	return editor_memory_set_new(model_shape_of(model), model_digest(model), TINY_LAYER, 42, calibration.data,
				     calibration.len, parts, count, removed, removed_count, EDITOR_SET_MERGED, out, e);
}

static uint64_t route_id(const struct editor_memory_set *set, enum editor_set_kind kind, const float *raw,
			 const struct model_side **side)
{
	struct editor_route route;
	uint64_t id = tiny_set_route(set, kind, model, "text", raw, &route, side);
	assert_int_equal(route.routed, *side != NULL);
	return id;
}

static void routes_lead_to_shards_or_to_what_covers_them(void **state)
{
	(void)state;
	struct editor_memory_part parts[3];
	struct editor_memory_set *set = NULL;
	struct err e = ERR_INIT;
	const struct model_side *side, *merged;
	uint64_t id = 0;
	parts_of(parts);
	assert_int_equal(make(parts, 3, NULL, 0, &set, &e), 0);
	assert_true(editor_memory_set_has_merged(set));
	assert_int_equal(editor_memory_set_version(set), 42);
	assert_int_equal(editor_memory_set_edit_count(set), 2);
	assert_int_equal(editor_memory_set_layer(set), TINY_LAYER);
	assert_int_equal(editor_memory_set_key_layers(set).prompt, TINY_PROMPT_LAYER);
	assert_int_equal(editor_memory_set_key_layers(set).relation, TINY_PROMPT_LAYER);
	assert_int_equal(editor_memory_set_default(set), EDITOR_SET_MERGED);
	assert_int_equal(route_id(set, EDITOR_SET_RETRIEVE, keys[1], &side), 2);
	assert_int_equal(side->layer, TINY_LAYER);
	assert_int_equal(route_id(set, EDITOR_SET_MERGED, keys[1], &merged), 9);
	assert_ptr_not_equal(side->delta, merged->delta);
	assert_ptr_equal(editor_memory_set_side_of(set, EDITOR_SET_RETRIEVE, 101, &id), side);
	assert_int_equal(id, 2);
	assert_null(editor_memory_set_side_of(set, EDITOR_SET_RETRIEVE, 5, &id));
	float far[TINY_HIDDEN] = { [5] = 1 };
	assert_int_equal(route_id(set, EDITOR_SET_RETRIEVE, far, &side), 0);
	assert_null(side);
	editor_memory_set_release(&set);
	assert_null(set);
}

static void a_shard_that_no_merge_covers_is_read_itself(void **state)
{
	(void)state;
	struct editor_memory_part parts[3];
	struct editor_memory_set *set = NULL;
	struct err e = ERR_INIT;
	const struct model_side *side;
	parts_of(parts);
	parts[2].source_count = 1;
	assert_int_equal(make(parts, 3, NULL, 0, &set, &e), 0);
	assert_int_equal(route_id(set, EDITOR_SET_MERGED, keys[0], &side), 9);
	assert_int_equal(route_id(set, EDITOR_SET_MERGED, keys[1], &side), 2);
	editor_memory_set_release(&set);
}

static void what_a_merge_has_lost_is_read_in_its_shard(void **state)
{
	(void)state;
	struct editor_memory_part parts[3];
	struct editor_memory_set *set = NULL;
	struct err e = ERR_INIT;
	const struct model_side *own, *side;
	const uint64_t lost[] = { 7, 101, 500 };
	uint64_t id = 0;
	parts_of(parts);
	parts[2].lost = lost;
	parts[2].lost_count = 3;
	assert_int_equal(make(parts, 3, NULL, 0, &set, &e), 0);
	assert_int_equal(route_id(set, EDITOR_SET_MERGED, keys[0], &side), 9);
	assert_int_equal(route_id(set, EDITOR_SET_RETRIEVE, keys[1], &own), 2);
	assert_int_equal(route_id(set, EDITOR_SET_MERGED, keys[1], &side), 2);
	assert_ptr_equal(side, own);
	assert_ptr_equal(editor_memory_set_side_of(set, EDITOR_SET_MERGED, 101, &id), own);
	assert_int_equal(id, 2);
	editor_memory_set_release(&set);
}

static void revoked_edits_are_not_routed_to(void **state)
{
	(void)state;
	struct editor_memory_part parts[3];
	struct editor_memory_set *set = NULL;
	struct err e = ERR_INIT;
	const struct model_side *side;
	const uint64_t removed[] = { 100 };
	parts_of(parts);
	assert_int_equal(make(parts, 2, removed, 1, &set, &e), 0);
	assert_int_equal(editor_memory_set_edit_count(set), 1);
	assert_int_equal(route_id(set, EDITOR_SET_RETRIEVE, keys[0], &side), 0);
	editor_memory_set_release(&set);
}

static void an_empty_version_routes_nothing(void **state)
{
	(void)state;
	struct editor_memory_set *set = NULL;
	struct err e = ERR_INIT;
	const struct model_side *side;
	assert_int_equal(editor_memory_set_new(model_shape_of(model), model_digest(model), TINY_LAYER, 0, NULL, 0, NULL,
					       0, NULL, 0, EDITOR_SET_RETRIEVE, &set, &e),
			 0);
	assert_int_equal(route_id(set, EDITOR_SET_RETRIEVE, keys[0], &side), 0);
	assert_int_equal(editor_memory_set_edit_count(set), 0);
	editor_memory_set_release(&set);
}

static void wrong_parts_are_refused(void **state)
{
	(void)state;
	struct editor_memory_part parts[3];
	struct editor_memory_set *set = NULL;
	struct err e = ERR_INIT;
	parts_of(parts);
	parts[1].delta_len--;
	assert_int_equal(make(parts, 3, NULL, 0, &set, &e), ERR_CORRUPT);
	assert_non_null(strstr(e.text, "memory 2"));
	parts_of(parts);
	assert_int_equal(editor_memory_set_new(model_shape_of(model), model_digest(model), TINY_LAYER + 1, 1,
					       calibration.data, calibration.len, parts, 3, NULL, 0, EDITOR_SET_MERGED,
					       &set, &e),
			 ERR_MISMATCH);
	assert_int_equal(editor_memory_set_new(model_shape_of(model), model_digest(model), TINY_LAYER, 1, NULL, 0,
					       parts, 3, NULL, 0, EDITOR_SET_MERGED, &set, &e),
			 ERR_INVALID);
	/* two merged memories for one shard */
	struct editor_memory_part four[4];
	parts_of(four);
	four[3] = four[2];
	four[3].id = 10;
	assert_int_equal(make(four, 4, NULL, 0, &set, &e), ERR_INVALID);
	assert_null(set);
}

static void *take_and_give(void *context)
{
	for (int i = 0; i < 20000; i++) {
		struct editor_memory_set *own = editor_memory_set_acquire(context);
		editor_memory_set_release(&own);
	}
	return NULL;
}

static void references_are_counted_by_several_threads(void **state)
{
	(void)state;
	struct editor_memory_part parts[3];
	struct editor_memory_set *set = NULL;
	struct err e = ERR_INIT;
	pthread_t threads[2];
	parts_of(parts);
	assert_int_equal(make(parts, 3, NULL, 0, &set, &e), 0);
	for (int i = 0; i < 2; i++)
		assert_int_equal(pthread_create(&threads[i], NULL, take_and_give, set), 0);
	for (int i = 0; i < 2; i++)
		pthread_join(threads[i], NULL);
	assert_int_equal(editor_memory_set_version(set), 42);
	editor_memory_set_release(&set);
}

/* A set that only routes: the decoder says which delta it lacks. */
static void a_route_to_a_memory_without_its_delta_is_an_error(void **state)
{
	(void)state;
	struct editor_memory_part parts[3];
	struct editor_memory_set *set = NULL;
	struct editor_decoder *d = NULL;
	struct buf index = BUF_INIT;
	struct err e = ERR_INIT;
	static const char text[] = "what is the capital of Orla?";
	float raw[TINY_HIDDEN];
	int32_t *ids = NULL;
	size_t count = 0, slot;
	tiny_raw_key(model, text, raw);
	const struct editor_index_entry entry = { .seq = 100, .raw = raw, .relation = raw };
	assert_ok(&e, editor_index_encode(&entry, 1, TINY_HIDDEN, TINY_FFN, &index, &e));
	parts_of(parts);
	parts[0].delta = NULL;
	parts[0].index = index.data;
	parts[0].index_len = index.len;
	assert_ok(&e, make(parts, 1, NULL, 0, &set, &e));
	assert_ok(&e, model_tokenizer_encode(model_tokenizer_of(model), text, strlen(text), false, &ids, &count, &e));
	const struct editor_request request = { .ids = ids, .id_count = count, .token_max = 3, .set = set };
	assert_ok(&e, editor_decoder_new(model, 1, 64, 64, &d, &e));
	assert_int_equal(editor_decoder_admit(d, &request, 1, &slot, &e), ERR_NOT_FOUND);
	assert_non_null(strstr(e.text, "memory 1 "));
	assert_ok(&e, editor_memory_set_delta(set, model_shape_of(model), 1, deltas[0].data, deltas[0].len, &e));
	assert_ok(&e, editor_decoder_admit(d, &request, 1, &slot, &e));
	assert_int_equal(editor_decoder_sequence(d, slot)->memory_id, 1);
	editor_decoder_destroy(&d);
	editor_memory_set_release(&set);
	buf_free(&index);
	free(ids);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(routes_lead_to_shards_or_to_what_covers_them),
		cmocka_unit_test(a_shard_that_no_merge_covers_is_read_itself),
		cmocka_unit_test(what_a_merge_has_lost_is_read_in_its_shard),
		cmocka_unit_test(revoked_edits_are_not_routed_to),
		cmocka_unit_test(an_empty_version_routes_nothing),
		cmocka_unit_test(wrong_parts_are_refused),
		cmocka_unit_test(references_are_counted_by_several_threads),
		cmocka_unit_test(a_route_to_a_memory_without_its_delta_is_an_error),
	};
	return cmocka_run_group_tests(tests, set_up, tear_down);
}
