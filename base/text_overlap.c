/* The overlap of two prompts, for text.h. */
#include "base/text.h"

#include "base/fault.h"

#include <stdlib.h>
#include <string.h>

struct word {
	const char *text;
	size_t len;
};

/* The different words of one text, sorted bytewise; they point into `folded`. */
struct words {
	struct buf folded;
	struct word *items;
	size_t count, cap;
};

static int compare_words(const void *a, const void *b)
{
	const struct word *x = a, *y = b;
	size_t n = x->len < y->len ? x->len : y->len;
	int order = memcmp(x->text, y->text, n);
	if (order != 0)
		return order;
	return (x->len > y->len) - (x->len < y->len);
}

static int add_word(void *context, const char *text, size_t len)
{
	struct words *w = context;
	if (w->count == w->cap) {
		size_t cap = w->cap != 0 ? 2 * w->cap : 32;
		struct word *grown = fault_realloc(w->items, cap * sizeof(*grown));
		if (grown == NULL)
			return ERR_NOMEM;
		w->items = grown;
		w->cap = cap;
	}
	/* The words that text_words gives die with its folded copy: keep the bytes, and their offset for now. */
	w->items[w->count++] = (struct word){ (const char *)(uintptr_t)w->folded.len, len };
	buf_append(&w->folded, text, len);
	return buf_failed(&w->folded) ? ERR_NOMEM : 0;
}

static int words_of(const char *text, size_t len, struct words *out)
{
	*out = (struct words){ .folded = BUF_INIT };
	int rc = len != 0 ? text_words(text, len, add_word, out) : 0;
	if (rc != 0)
		return rc;
	for (size_t i = 0; i < out->count; i++)
		out->items[i].text = (const char *)out->folded.data + (uintptr_t)out->items[i].text;
	if (out->count > 1)
		qsort(out->items, out->count, sizeof(*out->items), compare_words);
	size_t kept = 0;
	for (size_t i = 0; i < out->count; i++) {
		if (i == 0 || compare_words(&out->items[i], &out->items[kept - 1]) != 0)
			out->items[kept++] = out->items[i];
	}
	out->count = kept;
	return 0;
}

static void words_free(struct words *w)
{
	free(w->items);
	buf_free(&w->folded);
}

static bool holds(const struct words *w, const struct word *word)
{
	return w->count > 0 && bsearch(word, w->items, w->count, sizeof(*word), compare_words) != NULL;
}

static bool is_stop_word(const struct word *word)
{
	static const char *const stop[] = {
		"a",     "about", "an",   "and",   "are",  "as",   "at",   "be",    "been",  "by",   "can",
		"could", "did",   "do",   "does",  "for",  "from", "had",  "has",   "have",  "he",   "her",
		"his",   "how",   "i",    "in",    "into", "is",   "it",   "its",   "me",    "my",   "of",
		"on",    "or",    "s",    "she",   "so",   "than", "that", "the",   "their", "them", "there",
		"these", "they",  "this", "those", "to",   "was",  "we",   "were",  "what",  "when", "where",
		"which", "who",   "whom", "whose", "why",  "will", "with", "would", "you",   "your",
	};
	for (size_t i = 0; i < sizeof(stop) / sizeof(stop[0]); i++) {
		if (strlen(stop[i]) == word->len && memcmp(stop[i], word->text, word->len) == 0)
			return true;
	}
	return false;
}

static bool counts(const struct word *word, const struct words *subject, bool with_stop_words)
{
	return !holds(subject, word) && (with_stop_words || !is_stop_word(word));
}

static size_t count_in(const struct words *w, const struct words *subject, bool with_stop_words)
{
	size_t n = 0;
	for (size_t i = 0; i < w->count; i++)
		n += counts(&w->items[i], subject, with_stop_words) ? 1 : 0;
	return n;
}

static double jaccard(const struct words *a, const struct words *b, const struct words *subject)
{
	/* When one prompt consists of stop words only, both are compared with theirs. */
	bool with_stop_words = count_in(a, subject, false) == 0 || count_in(b, subject, false) == 0;
	size_t a_count = count_in(a, subject, with_stop_words);
	size_t b_count = count_in(b, subject, with_stop_words);
	size_t both = 0;
	for (size_t i = 0; i < a->count; i++)
		both += counts(&a->items[i], subject, with_stop_words) && holds(b, &a->items[i]) ? 1 : 0;
	size_t either = a_count + b_count - both;
	return either == 0 ? 1.0 : (double)both / (double)either;
}

int text_prompt_overlap(const char *a, size_t a_len, const char *b, size_t b_len, const char *subject,
			size_t subject_len, double *overlap)
{
	struct words a_words = { .folded = BUF_INIT }, b_words = a_words, subject_words = a_words;
	int rc = words_of(a, a_len, &a_words);
	if (rc == 0)
		rc = words_of(b, b_len, &b_words);
	if (rc == 0)
		rc = words_of(subject, subject_len, &subject_words);
	if (rc == 0)
		*overlap = jaccard(&a_words, &b_words, &subject_words);
	words_free(&a_words);
	words_free(&b_words);
	words_free(&subject_words);
	return rc;
}
