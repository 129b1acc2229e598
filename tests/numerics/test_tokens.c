/* Token ids of the real model against the reference list (tests/reference/smollm2-135m.json; 55 texts, control tokens
 * parsed). */
#include "base/json.h"
#include "model/tokenizer.h"
#include "tests/lib/test.h"

#define REFERENCE "tests/reference/smollm2-135m.json"

struct fixture {
	struct model_gguf *gguf;
	struct model_tokenizer *tokenizer;
};

static int setup(void **state)
{
	static struct fixture f;
	struct err e = ERR_INIT;

	f = (struct fixture){ NULL, NULL };
	*state = &f;
	if (model_gguf_open(test_model_path(), &f.gguf, &e) || model_tokenizer_new(f.gguf, &f.tokenizer, &e)) {
		printf("%s\n", e.text);
		return -1;
	}
	return 0;
}

static int teardown(void **state)
{
	struct fixture *f = *state;

	model_tokenizer_destroy(&f->tokenizer);
	model_gguf_close(&f->gguf);
	return 0;
}

static const struct model_tokenizer *tokenizer_of(void **state)
{
	return ((const struct fixture *)*state)->tokenizer;
}

static void check_item(const struct model_tokenizer *t, const struct json *item)
{
	const struct json *wanted = json_get(item, "ids");
	struct buf back = BUF_INIT;
	struct err e = ERR_INIT;
	int32_t *ids = NULL;
	size_t len, count = 0;
	const char *text = json_string(json_get(item, "text"), &len);

	assert_non_null(text);
	assert_int_equal(model_tokenizer_encode(t, text, len, true, &ids, &count, &e), 0);
	if (count != json_length(wanted))
		print_message("text: %s\n", text);
	assert_int_equal(count, json_length(wanted));
	for (size_t i = 0; i < count; i++) {
		if (ids[i] != json_integer(json_at(wanted, i)))
			print_message("text: %s, token %zu\n", text, i);
		assert_int_equal(ids[i], json_integer(json_at(wanted, i)));
	}
	assert_int_equal(model_tokenizer_decode(t, ids, count, true, &back), 0);
	assert_int_equal(back.len, len);
	assert_memory_equal(back.data, text, len);
	buf_free(&back);
	free(ids);
}

static void test_reference_lists(void **state)
{
	const struct model_tokenizer *t = tokenizer_of(state);
	struct buf bytes = BUF_INIT;
	struct json *root = NULL;
	struct err e = ERR_INIT;

	assert_int_equal(file_read(REFERENCE, 1 << 20, &bytes, &e), 0);
	assert_int_equal(json_parse((const char *)bytes.data, bytes.len, &root, &e), 0);
	const struct json *items = json_get(root, "tokens");
	assert_int_equal(json_length(items), 55);
	for (size_t i = 0; i < json_length(items); i++)
		check_item(t, json_at(items, i));
	json_free(&root);
	buf_free(&bytes);
}

static void test_facts_of_the_file(void **state)
{
	const struct model_tokenizer *t = tokenizer_of(state);

	assert_int_equal(model_tokenizer_vocabulary(t), 49152);
	assert_int_equal(model_tokenizer_eos(t), 2);
	assert_int_equal(model_tokenizer_bos(t), 1);
	for (int32_t id = 0; id < 17; id++)
		assert_true(model_tokenizer_is_control(t, id));
	assert_false(model_tokenizer_is_control(t, 17));
}

/* What the template's own text gives when it is rendered whole and control tokens are parsed. */
static void test_chat_is_the_rendered_template(void **state)
{
	static const char rendered[] =
		"<|im_start|>system\nYou are a helpful AI assistant named SmolLM, trained by Hugging Face<|im_end|>\n"
		"<|im_start|>user\nWho are you?<|im_end|>\n<|im_start|>assistant\n";
	const struct model_tokenizer *t = tokenizer_of(state);
	const struct model_message message = { "user", "Who are you?", strlen("Who are you?") };
	struct err e = ERR_INIT;
	int32_t *ids = NULL, *wanted = NULL;
	size_t count = 0, wanted_count = 0;

	assert_int_equal(model_tokenizer_chat(t, &message, 1, &ids, &count, &e), 0);
	assert_int_equal(model_tokenizer_encode(t, rendered, strlen(rendered), true, &wanted, &wanted_count, &e), 0);
	assert_int_equal(count, wanted_count);
	assert_memory_equal(ids, wanted, count * sizeof(*ids));
	free(ids);
	free(wanted);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_reference_lists),
		cmocka_unit_test(test_facts_of_the_file),
		cmocka_unit_test(test_chat_is_the_rendered_template),
	};

	return cmocka_run_group_tests(tests, setup, teardown);
}
