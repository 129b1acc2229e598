/* Routes of texts that are kept: those of a decoder's requests, in one set after the other. */
#include "editor/route_kept.h"

#include "tests/unit/editor/decode_fixture.h"

#define TEXTS  9
#define EDITED 3

/* The first three are edits' own prompts; then parts of texts, a chat's message, and what no edit is about. */
static const char *const asked[TEXTS] = {
	"what is the capital of Orla?",
	"who was the king of the land of Vint in 1907?",
	"Saro: ",
	"It rains. What is it? what is the capital of Orla?",
	"what is the capital of Orla? Be brief. Thanks!",
	"Hello there. who was the king of the land of Vint in 1907?",
	"a",
	"what is the capital of Vint?",
	"how many legs has a spider?",
};

struct text {
	int32_t *ids;
	size_t count, first; /* first > 0: of a chat's message */
};

static void texts_make(struct text texts[TEXTS], bool in_chat)
{
	struct err e = ERR_INIT;
	for (size_t i = 0; i < TEXTS; i++) {
		char all[256];
		const char *before = in_chat ? "user says: " : "";
		int32_t *head = NULL;
		texts[i] = (struct text){ .first = 0 };
		snprintf(all, sizeof all, "%s%s", before, asked[i]);
		assert_ok(&e, model_tokenizer_encode(model_tokenizer_of(model), all, strlen(all), false, &texts[i].ids,
						     &texts[i].count, &e));
		if (in_chat)
			assert_ok(&e, model_tokenizer_encode(model_tokenizer_of(model), before, strlen(before), false,
							     &head, &texts[i].first, &e));
		free(head);
	}
}

static void same_routes(const struct editor_kept *kept, const struct text *texts, struct editor_memory_set *set)
{
	struct editor_request requests[TEXTS];
	struct answer answers[TEXTS];
	struct editor_decoder *d = decoder_of(4, 256);
	struct err e = ERR_INIT;
	size_t routed = 0;
	for (size_t i = 0; i < TEXTS; i++) {
		requests[i] = request_of(0, set);
		requests[i].ids = texts[i].ids;
		requests[i].id_count = texts[i].count;
		requests[i].route_first = texts[i].first;
		requests[i].route_count = texts[i].first > 0 ? texts[i].count - texts[i].first : 0;
	}
	run(d, requests, TEXTS, answers);
	for (size_t i = 0; i < TEXTS; i++) {
		const struct editor_route *want = &answers[i].route;
		const struct model_side *side;
		struct editor_route route;
		uint64_t memory_id = 99;
		assert_ok(&e, editor_kept_route(kept, i, set, EDITOR_SET_RETRIEVE, &route, &side, &memory_id, &e));
		assert_int_equal(memory_id, answers[i].memory_id);
		assert_int_equal(side != NULL, memory_id != 0);
		assert_int_equal(route.routed, want->routed);
		assert_int_equal(route.nearest_count, want->nearest_count);
		for (size_t k = 0; k < route.nearest_count; k++)
			assert_int_equal(route.nearest[k], want->nearest[k]);
		assert_true(route.prompt_threshold == want->prompt_threshold);
		assert_float_equal(route.prompt_score, want->prompt_score, 1e-5); /* other batches */
		routed += route.routed;
	}
	assert_in_range(routed, 1, TEXTS - 2);
	editor_decoder_destroy(&d);
}

static void routes_are_a_decoders(bool in_chat)
{
	struct err e = ERR_INIT;
	struct text texts[TEXTS];
	struct editor_kept_text list[TEXTS];
	struct editor_kept *kept = NULL;
	struct editor_memory_set *sets[2] = { tiny_set(model, asked, EDITED, 3, 0.5f, 1),
					      tiny_set(model, asked + 1, 1, 4, 0.5f, 2) };
	texts_make(texts, in_chat);
	for (size_t i = 0; i < TEXTS; i++)
		list[i] = (struct editor_kept_text){ texts[i].ids, texts[i].count, texts[i].first,
						     texts[i].first > 0 ? texts[i].count - texts[i].first : 0 };
	assert_ok(&e, editor_kept_new(model, editor_memory_set_key_layers(sets[0]), &kept, &e));
	assert_ok(&e, editor_kept_add(kept, list, 4, NULL, &e));
	assert_ok(&e, editor_kept_add(kept, list + 4, TEXTS - 4, NULL, &e));
	assert_int_equal(editor_kept_count(kept), TEXTS);
	for (size_t s = 0; s < 2; s++) {
		same_routes(kept, texts, sets[s]);
		editor_memory_set_release(&sets[s]);
	}
	editor_kept_destroy(&kept);
	for (size_t i = 0; i < TEXTS; i++)
		free(texts[i].ids);
}

static void texts_are_routed_as_a_decoder_does(void **state)
{
	(void)state;
	routes_are_a_decoders(false);
}

static void messages_are_routed_as_a_decoder_does(void **state)
{
	(void)state;
	routes_are_a_decoders(true);
}

static int stop(void *context, const char *phase, size_t done, size_t total, double loss)
{
	(void)context;
	(void)phase;
	(void)done;
	(void)total;
	(void)loss;
	return 1;
}

static void what_fails_adds_nothing(void **state)
{
	struct err e = ERR_INIT;
	struct editor_kept *kept = NULL;
	const struct editor_key_layers none = { 0 }, gap = { .gap = 3 }, layers = { .prompt = 1, .relation = 1 };
	const struct editor_kept_text text = { ids[0], id_counts[0], 0, 0 };
	const struct editor_watch watch = { stop, NULL };
	(void)state;
	assert_int_equal(editor_kept_new(model, none, &kept, &e), ERR_INVALID);
	assert_int_equal(editor_kept_new(model, gap, &kept, &e), ERR_INVALID);
	assert_null(kept);
	assert_ok(&e, editor_kept_new(model, layers, &kept, &e));
	assert_int_equal(editor_kept_add(kept, &text, 1, &watch, &e), ERR_INTERRUPTED);
	assert_int_equal(editor_kept_count(kept), 0);
	int rc = ERR_NOMEM;
	for (int countdown = 0; rc != 0 && countdown < 200; countdown++) {
		fault_set(countdown, 1);
		rc = editor_kept_add(kept, &text, 1, NULL, &e);
		fault_set(-1, 0);
		assert_true(rc == 0 || rc == ERR_NOMEM);
		assert_int_equal(editor_kept_count(kept), rc == 0 ? 1 : 0);
	}
	assert_int_equal(rc, 0);
	editor_kept_destroy(&kept);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(texts_are_routed_as_a_decoder_does),
		cmocka_unit_test(messages_are_routed_as_a_decoder_does),
		cmocka_unit_test(what_fails_adds_nothing),
	};
	return cmocka_run_group_tests(tests, set_up, tear_down);
}
