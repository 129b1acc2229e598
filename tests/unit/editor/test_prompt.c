/* Which words are a subject's and which tokens are not, against looking everywhere for each. */
#include "editor/prompt.h"

#include "base/text.h"
#include "tests/unit/editor/tiny_fixture.h"

#define WORDS_MAX 40

/* `count` words of few, so that they repeat and nearly repeat. */
static void put_words(struct rng *rng, size_t count, struct buf *out)
{
	static const char *const words[] = {
		"a", "of", "angel", "angle", "north", "Nörth", "1984", "1985", "a", "東京"
	};
	static const char *const between[] = { " ", " ", "  ", ", ", "-", "?! " };
	for (size_t i = 0; i < count; i++) {
		buf_puts(out, words[rng_below(rng, sizeof(words) / sizeof(words[0]))]);
		buf_puts(out, between[rng_below(rng, sizeof(between) / sizeof(between[0]))]);
	}
}

struct words {
	char text[WORDS_MAX][16];
	size_t count;
};

static int keep_word(void *context, const char *word, size_t len)
{
	struct words *words = context;
	assert_true(words->count < WORDS_MAX && len < sizeof(words->text[0]));
	memcpy(words->text[words->count++], word, len);
	return 0;
}

static struct words words_of(const struct buf *text)
{
	struct words words = { .count = 0 };
	assert_int_equal(text_words((const char *)text->data, text->len, keep_word, &words), 0);
	return words;
}

static bool stands_at(const struct words *text, size_t at, const struct words *subject)
{
	for (size_t i = 0; i < subject->count; i++) {
		if (at + i >= text->count || strcmp(text->text[at + i], subject->text[i]) != 0)
			return false;
	}
	return subject->count > 0;
}

static bool is_like_one_of(const char *word, const struct words *subject)
{
	for (size_t i = 0; i < subject->count; i++) {
		const char *own = subject->text[i];
		if (strlen(own) >= EDITOR__SUBJECT_WORD_BYTES &&
		    editor__names_match(own, strlen(own), word, strlen(word)))
			return true;
	}
	return false;
}

static void expect_marks(const struct words *text, const struct words *subject, const uint8_t *marks)
{
	size_t first = 0;
	while (first < text->count && !stands_at(text, first, subject))
		first++;
	for (size_t i = 0; i < text->count; i++) {
		const bool whole = i >= first && i < first + subject->count;
		const bool expected = first < text->count ? whole : is_like_one_of(text->text[i], subject);
		if (marks[i] != (expected ? 1 : 0))
			fail_msg("word %zu, \"%s\"", i, text->text[i]);
	}
}

static void a_subject_is_marked_where_it_stands_first(void **state)
{
	(void)state;
	struct rng rng;
	size_t whole = 0;
	rng_init(&rng, 1);
	for (size_t round = 0; round < 3000; round++) {
		struct buf text = BUF_INIT, subject = BUF_INIT;
		struct editor__query query;
		uint8_t marks[EDITOR__QUERY_WORDS_MAX];
		put_words(&rng, (size_t)rng_below(&rng, 12), &text);
		put_words(&rng, (size_t)rng_below(&rng, 4), &subject);
		assert_int_equal(editor__query_init(&query, buf_cstr(&text), text.len), 0);
		assert_int_equal(editor__query_mark(&query, buf_cstr(&subject), subject.len, marks), 0);
		const struct words all = words_of(&text), own = words_of(&subject);
		assert_int_equal(query.word_count, all.count);
		expect_marks(&all, &own, marks);
		for (size_t i = 0; i < all.count; i++)
			whole += stands_at(&all, i, &own);
		editor__query_fini(&query);
		buf_free(&text);
		buf_free(&subject);
	}
	assert_true(whole > 100);
}

static bool touches_a_mark(const struct editor__prompt *p, const uint8_t *marks, size_t token)
{
	for (size_t w = 0; w < p->query.word_count; w++) {
		if (marks[w] && p->query.spans[w].start < p->ends[token] && p->query.spans[w].end > p->ends[token - 1])
			return true;
	}
	return false;
}

/* Token i has a one in place i of its state: the mean tells which tokens it is of. */
static void the_relation_is_of_tokens_beside_the_marks(void **state)
{
	(void)state;
	struct rng rng;
	rng_init(&rng, 2);
	for (size_t round = 0; round < 500; round++) {
		struct buf text = BUF_INIT;
		struct err e = ERR_INIT;
		struct editor__prompt p;
		int32_t *ids = NULL;
		size_t count = 0, kept = 0;
		uint8_t marks[EDITOR__QUERY_WORDS_MAX], *wanted;
		put_words(&rng, 1 + (size_t)rng_below(&rng, 8), &text);
		assert_int_equal(model_tokenizer_encode(model_tokenizer_of(model), buf_cstr(&text), text.len, false,
							&ids, &count, &e),
				 0);
		float *states = calloc(count * count, sizeof(*states)), *mean = calloc(count, sizeof(*mean));
		wanted = calloc(count, 1);
		assert_true(states != NULL && mean != NULL && wanted != NULL);
		for (size_t i = 0; i < count; i++)
			states[i * count + i] = 1;
		const struct editor_prompt prompt = { .ids = ids, .id_count = count, .relation_states = states };
		assert_int_equal(editor__prompt_init(&p, model_tokenizer_of(model), &prompt), 0);
		for (size_t w = 0; w < p.query.word_count; w++)
			marks[w] = (uint8_t)(rng_below(&rng, 4) < round % 5);
		for (size_t i = 1; i < count; i++) {
			wanted[i] = !touches_a_mark(&p, marks, i);
			kept += wanted[i];
		}
		if (kept == 0)
			kept = wanted[count - 1] = 1;
		assert_int_equal(editor__prompt_relation(&p, count, marks, mean), 0);
		for (size_t i = 0; i < count; i++)
			assert_true(mean[i] == (wanted[i] ? 1.0f / (float)kept : 0));
		editor__prompt_fini(&p);
		buf_free(&text);
		free(ids);
		free(states);
		free(mean);
		free(wanted);
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(a_subject_is_marked_where_it_stands_first),
		cmocka_unit_test(the_relation_is_of_tokens_beside_the_marks),
	};
	return cmocka_run_group_tests(tests, open_tiny, close_tiny);
}
