#include "editor/asking.h"

#include "editor/words.h"

#include <string.h>

static const char *const question_words[] = { "how", "what", "when", "where", "which", "who", "whom", "whose", "why" };
/* They lead to a question that is told ("my former boss asked who …"). */
static const char *const leading_verbs[] = { "ask", "asked", "know", "me", "say", "tell", "wonder" };
/* Before "2028", "the winter": these are a part of what is asked. */
static const char *const settings[] = { "at", "during", "in", "of", "on" };
#define COUNT(a) (sizeof(a) / sizeof((a)[0]))

static bool is_one_of(const struct editor__query *query, size_t word, const char *const *list, size_t count)
{
	const size_t from = word > 0 ? query->ends[word - 1] : 0, len = query->ends[word] - from;
	return editor__word_is_one_of((const char *)query->words.data + from, len, list, count);
}

static bool is_the(const struct editor__query *query, size_t word)
{
	static const char *const the[] = { "the" };
	return is_one_of(query, word, the, COUNT(the));
}

/* Whether the sentence begins anew at the word. */
static bool begins(const struct editor__query *query, const char *text, size_t word)
{
	const char *end = text + query->spans[word].start;
	for (const char *at = text + query->spans[word - 1].end; at < end; at++) {
		if (strchr(",:;.!?()-", *at) != NULL)
			return true;
	}
	return is_one_of(query, word - 1, leading_verbs, COUNT(leading_verbs)) || (word == 1 && text[0] == '#');
}

/* The word with which the question begins. */
static size_t first_asking(const struct editor__query *query, const char *text)
{
	for (size_t i = 1; i < query->word_count; i++) {
		if (is_one_of(query, i - 1, question_words, COUNT(question_words)))
			return 0;
		if (is_one_of(query, i, question_words, COUNT(question_words)))
			return begins(query, text, i) ? i : 0;
	}
	return 0;
}

void editor__asking_words(const struct editor__query *query, const char *text, uint8_t *asks)
{
	const size_t first = first_asking(query, text);
	for (size_t i = 0; i < query->word_count; i++) {
		const size_t before = i > 1 && is_the(query, i - 1) ? i - 2 : i - 1;
		asks[i] = i >= first || (i > 0 && is_one_of(query, before, settings, COUNT(settings)));
	}
}
