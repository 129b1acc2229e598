#include "editor/chat.h"

#include "tests/unit/editor/tiny_fixture.h"

/* The text of the `from_end`-th message of a chat. */
static void expect_content(const struct model_message *messages, size_t count, size_t from_end, const char *text)
{
	const struct model_tokenizer *tokenizer = model_tokenizer_of(model);
	int32_t *ids = NULL;
	size_t id_count = 0, first = 0, length = 0;
	struct buf got = BUF_INIT;
	struct err e = ERR_INIT;
	assert_int_equal(model_tokenizer_chat(tokenizer, messages, count, &ids, &id_count, &e), 0);
	editor_chat_content(tokenizer, ids, id_count, from_end, &first, &length);
	assert_true(length > 0 && first + length <= id_count);
	assert_int_equal(model_tokenizer_decode(tokenizer, ids + first, length, false, &got), 0);
	assert_string_equal(buf_cstr(&got), text);
	buf_free(&got);
	free(ids);
}

static void the_last_user_message_is_found(void **state)
{
	(void)state;
	const struct model_message messages[] = { { "user", "who is Orla?", 12 },
						  { "assistant", "I see.", 6 },
						  { "user", "where is Saro?", 14 } };
	expect_content(messages, 3, 1, "where is Saro?");
	expect_content(messages, 3, 3, "who is Orla?");
	expect_content(messages, 1, 1, "who is Orla?");
	expect_content(messages, 2, 2, "who is Orla?");
}

static void tokens_without_messages_have_no_content(void **state)
{
	(void)state;
	static const int32_t ids[] = { TINY_BYTE + 'a', TINY_BYTE + 'b' };
	size_t first = 7, count = 7;
	editor_chat_content(model_tokenizer_of(model), ids, 2, 1, &first, &count);
	assert_int_equal(first, 0);
	assert_int_equal(count, 0);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(the_last_user_message_is_found),
		cmocka_unit_test(tokens_without_messages_have_no_content),
	};
	return cmocka_run_group_tests(tests, open_tiny, close_tiny);
}
