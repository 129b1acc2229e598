#include "base/mention.h"
#include "base/text.h"

#include "tests/lib/test.h"

struct list {
	char text[1 << 16];
	size_t count;
	int stop_at;
};

static int note(void *context, const char *text, size_t len)
{
	struct list *l = context;
	size_t used = strlen(l->text);
	if (used + len + 2 < sizeof l->text)
		snprintf(l->text + used, sizeof l->text - used, "%.*s|", (int)len, text);
	l->count++;
	return l->stop_at > 0 && l->count == (size_t)l->stop_at ? ERR_LIMIT : 0;
}

static void words(void **state)
{
	(void)state;
	struct list l = { "", 0, 0 };
	const char text[] = "Who is the CEO of the Nordwind of Nordwind's name?";
	assert_int_equal(mention_words(text, strlen(text), note, &l), 0);
	assert_string_equal(l.text, "ceo|nordwind|");
	l = (struct list){ "", 0, 1 };
	assert_int_equal(mention_words(text, strlen(text), note, &l), ERR_LIMIT);
	assert_string_equal(l.text, "ceo|");
	l = (struct list){ "", 0, 0 };
	assert_int_equal(mention_words("", 0, note, &l), 0);
	assert_int_equal(mention_words("Who is it?", 10, note, &l), 0);
	assert_int_equal(l.count, 0);
}

static void parts(void **state)
{
	(void)state;
	struct list l = { "", 0, 0 };
	const char text[] = "who leads dr. x-files";
	assert_int_equal(mention_parts(text, strlen(text), note, &l), 0);
	assert_string_equal(l.text, "who leads|who leads dr|who leads dr.|who leads dr. x|who leads dr. x-files|"
				    "who leads dr. x-files.|leads|leads dr|leads dr.|leads dr. x|leads dr. x-files|"
				    "leads dr. x-files.|dr|dr.|dr. x|dr. x-files|dr. x-files.|x|x-files|x-files.|files|"
				    "files.|");
	l = (struct list){ "", 0, 2 };
	assert_int_equal(mention_parts(text, strlen(text), note, &l), ERR_LIMIT);
	assert_int_equal(l.count, 2);
	l = (struct list){ "", 0, 0 };
	assert_int_equal(mention_parts("", 0, note, &l), 0);
	assert_int_equal(mention_parts("who is it", 9, note, &l), 0);
	assert_int_equal(l.count, 0);
}

/* A text of any length costs no more than its limits say. */
static void limits(void **state)
{
	(void)state;
	struct buf text = BUF_INIT;
	struct list l = { "", 0, 0 };
	for (int i = 0; i < 2000; i++)
		buf_printf(&text, "%sw%d", i > 0 ? " " : "", i);
	assert_int_equal(mention_words((const char *)text.data, text.len, note, &l), 0);
	assert_int_equal(l.count, MENTION_WORDS_MAX);
	l = (struct list){ "", 0, 0 };
	assert_int_equal(mention_parts((const char *)text.data, text.len, note, &l), 0);
	assert_true(l.count <= MENTION_TEXT_WORDS_MAX * MENTION_PART_WORDS_MAX);
	assert_true(l.count > (MENTION_TEXT_WORDS_MAX - MENTION_PART_WORDS_MAX) * MENTION_PART_WORDS_MAX);
	buf_free(&text);
}

static int both(void *context)
{
	struct list l = { "", 0, 0 };
	const char *text = context;
	int rc = mention_words(text, strlen(text), note, &l);
	return rc == 0 ? mention_parts(text, strlen(text), note, &l) : rc;
}

static void out_of_memory(void **state)
{
	(void)state;
	char text[] = "who leads dr. x-files";
	assert_true(test_walk_allocations(both, text) >= 3);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(words),
		cmocka_unit_test(parts),
		cmocka_unit_test(limits),
		cmocka_unit_test(out_of_memory),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
