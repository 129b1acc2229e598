/* Which parts of a text are routed by themselves. */
#include "editor/route_text.h"

#include "tests/unit/editor/tiny_fixture.h"

#define HIDDEN 64

/* The parts of a text, or of a chat's message, one a line; *whole: it is routed too, from its own states. */
static void parts_are(const char *bytes, bool in_chat, bool whole_too, const char *expected)
{
	struct editor__parts parts = { 0 };
	struct editor_prompt prompt = { 0 }, own;
	struct buf all = BUF_INIT;
	struct err e = ERR_INIT;
	int32_t *ids = NULL;
	bool whole = false;
	assert_ok(&e, model_tokenizer_encode(model_tokenizer_of(model), bytes, strlen(bytes), false, &ids,
					     &prompt.id_count, &e));
	float *states = calloc(prompt.id_count, (size_t)HIDDEN * sizeof(*states));
	assert_non_null(states);
	prompt.ids = ids;
	prompt.prompt_states = prompt.relation_states = states;
	assert_ok(&e,
		  editor__text_parts(&parts, model, 0, in_chat ? prompt.id_count : 0, 7, &prompt, &own, &whole, &e));
	assert_int_equal(whole, whole_too);
	assert_int_equal(own.looks, parts.count + (whole ? 1 : 0));
	for (size_t i = 0; i < parts.count; i++) {
		assert_int_equal(parts.of[i].owner, 7);
		assert_int_equal(parts.of[i].looks, own.looks);
		assert_int_equal(model_tokenizer_decode(model_tokenizer_of(model), parts.tokens[i].ids,
							parts.tokens[i].id_count, false, &all),
				 0);
		buf_u8(&all, '\n');
	}
	assert_string_equal(buf_cstr(&all), expected);
	editor__parts_free(&parts);
	buf_free(&all);
	free(states);
	free(ids);
}

static void ends_of_a_text_are_parts(void **state)
{
	(void)state;
	parts_are("Who owns it?", false, true, "");
	parts_are("Who owns it?", true, false, "Who owns it?\n");
	parts_are("I ask. Who owns it?", false, true, "Who owns it?\n");
}

/* They have states of their own, and hide names: they are asked in small letters too. */
static void capitals_are_asked_in_small_letters(void **state)
{
	(void)state;
	parts_are("WHO OWNS IT?", false, true, "Who owns it?\n");
	parts_are("WHO OWNS IT?", true, false, "WHO OWNS IT?\nWho owns it?\n");
	parts_are("I ASK. WHO OWNS IT?", false, true, "I ask. who owns it?\nWHO OWNS IT?\nWho owns it?\n");
	parts_are("WHO OWNS iT?", false, true, "");
	parts_are("NASA 2028?", false, true, "");
	parts_are("", false, true, "");
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(ends_of_a_text_are_parts),
		cmocka_unit_test(capitals_are_asked_in_small_letters),
	};
	return cmocka_run_group_tests(tests, open_tiny, close_tiny);
}
