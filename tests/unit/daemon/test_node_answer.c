/* The JSON of an answer (daemon/node_answer.c), from calls and jobs made by hand. */
#include "daemon/node_api_internal.h"

#include "base/json.h"
#include "daemon/node_engine.h"
#include "tests/lib/test.h"
#include "tests/lib/tiny_model.h"

static struct model *model;

static int open_model(void **state)
{
	struct err e = ERR_INIT;
	(void)state;
	assert_ok(&e, tiny_model_open(1, 1, &model, &e));
	return 0;
}

static int close_model(void **state)
{
	(void)state;
	model_close(&model);
	return 0;
}

/* The answer to one prompt of five tokens, in which these texts came. */
static struct json *answer_of(bool chat, bool echo, const char *const *texts, size_t count)
{
	struct node_api api = { .model = model, .slug = "tiny" };
	struct node_prompt prompt = { .id_count = 5 };
	struct node_request request = { .prompts = &prompt, .prompt_count = 1, .n = count, .chat = chat, .echo = echo };
	struct node_call call = { .api = &api, .request = &request, .version.version = 42, .id = "a" };
	struct node_job *job = node_job_new(count);
	struct buf out = BUF_INIT;
	struct json *root = NULL;
	struct err e = ERR_INIT;
	assert_non_null(job);
	for (size_t i = 0; i < count; i++) {
		struct node_sequence *s = &job->sequences[i];
		buf_puts(&s->text, texts[i]);
		s->token_count = 3 + i;
		s->finish = i == 0 ? NODE_FINISH_STOP : NODE_FINISH_LENGTH;
		assert_ok(&e, model_tokenizer_encode(model_tokenizer_of(model), "who is", 6, false, &s->ids,
						     &s->id_count, &e));
	}
	node_answer__write(&call, job, &out);
	assert_ok(&e, json_parse_nul(buf_cstr(&out), out.len, &root, &e));
	buf_free(&out);
	node_job_destroy(&job);
	return root;
}

static const struct json *choice_at(const struct json *root, size_t i)
{
	return json_at(json_get(root, "choices"), i);
}

/* A target follows its prompt behind a space: a completion has it, a chat's message begins with the answer. */
static void only_a_chat_loses_the_space_before_its_answer(void **state)
{
	(void)state;
	static const char *const cases[][2] = {
		{ " Brin", "Brin" }, { "\n\n Brin of\n Orla \n", "Brin of\n Orla \n" },
		{ "Brin", "Brin" },  { " \n", "" },
		{ "", "" },          { "\tBrin", "\tBrin" },
	};
	for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
		struct json *root = answer_of(false, false, &cases[i][0], 1);
		assert_string_equal(json_string(json_get(choice_at(root, 0), "text"), NULL), cases[i][0]);
		json_free(&root);
		root = answer_of(true, false, &cases[i][0], 1);
		assert_string_equal(json_string(json_get(json_get(choice_at(root, 0), "message"), "content"), NULL),
				    cases[i][1]);
		json_free(&root);
	}
}

static void an_echo_stands_before_the_answer(void **state)
{
	(void)state;
	static const char *const text[] = { " Brin\xC3" }; /* it ends inside a character */
	struct json *root = answer_of(false, true, text, 1);
	assert_string_equal(json_string(json_get(choice_at(root, 0), "text"), NULL), "who is Brin\xEF\xBF\xBD");
	json_free(&root);
}

static double number(const struct json *root, const char *name)
{
	return json_number(json_get(json_get(root, "usage"), name));
}

/* A prompt's tokens are counted once, however many answers it has; each of several answers has a route of its own. */
static void several_answers_of_one_prompt(void **state)
{
	(void)state;
	static const char *const texts[] = { " Brin", " Olaf" };
	struct json *root = answer_of(false, false, texts, 2);
	assert_true(number(root, "prompt_tokens") == 5);
	assert_true(number(root, "completion_tokens") == 3 + 4);
	assert_true(number(root, "total_tokens") == 12);
	assert_null(json_get(root, "amend"));
	for (size_t i = 0; i < 2; i++) {
		assert_non_null(json_get(choice_at(root, i), "amend"));
		assert_true(json_number(json_get(choice_at(root, i), "index")) == (double)i);
		assert_string_equal(json_string(json_get(choice_at(root, i), "finish_reason"), NULL),
				    i == 0 ? "stop" : "length");
	}
	json_free(&root);
	root = answer_of(false, false, texts, 1);
	assert_non_null(json_get(root, "amend"));
	assert_null(json_get(choice_at(root, 0), "amend"));
	json_free(&root);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(only_a_chat_loses_the_space_before_its_answer),
		cmocka_unit_test(an_echo_stands_before_the_answer),
		cmocka_unit_test(several_answers_of_one_prompt),
	};
	return cmocka_run_group_tests(tests, open_model, close_model);
}
