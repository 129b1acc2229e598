#include "editor/words.h"

#include "base/fault.h"
#include "base/hash.h"
#include "base/order.h"
#include "editor/numbers.h"

#include <stdlib.h>
#include <string.h>

uint64_t editor__word_hash(const char *word, size_t len)
{
	return hash_short(HASH_SHORT_INIT, word, len);
}

static void put_word(struct buf *out, size_t start, const char *word, size_t len)
{
	if (out->len > start)
		buf_u8(out, ' ');
	buf_append(out, word, len);
}

int editor__words_unmarked(const struct editor__query *query, const uint8_t *marks, struct buf *out)
{
	const size_t start = out->len;
	for (size_t i = 0; i < query->word_count; i++) {
		const size_t from = i > 0 ? query->ends[i - 1] : 0;
		if (!marks[i])
			put_word(out, start, (const char *)query->words.data + from, query->ends[i] - from);
	}
	return buf_failed(out) ? ERR_NOMEM : 0;
}

bool editor__word_is_one_of(const char *word, size_t len, const char *const *list, size_t count)
{
	for (size_t i = 0; i < count; i++) {
		if (len > 0 && list[i][0] == word[0] && strlen(list[i]) == len && memcmp(list[i], word, len) == 0)
			return true;
	}
	return false;
}

bool editor__words_next(const char *words, size_t len, size_t *at, const char **word, size_t *word_len)
{
	if (*at >= len)
		return false;
	const char *end = memchr(words + *at, ' ', len - *at);
	*word = words + *at;
	*word_len = end != NULL ? (size_t)(end - *word) : len - *at;
	*at += *word_len + 1;
	return true;
}

int editor__words_uncommon(const char *words, size_t len, const struct editor__common_words *common, struct buf *out)
{
	const size_t start = out->len;
	const char *word;
	for (size_t at = 0, word_len; editor__words_next(words, len, &at, &word, &word_len);) {
		const uint64_t hash = editor__word_hash(word, word_len);
		if (common->count == 0 || editor__is_number(word, word_len) ||
		    bsearch(&hash, common->hashes, common->count, sizeof(hash), order_u64) == NULL)
			put_word(out, start, word, word_len);
	}
	return buf_failed(out) ? ERR_NOMEM : 0;
}

static bool has_match(const char *word, size_t word_len, const char *words, size_t len)
{
	const char *other;
	for (size_t at = 0, other_len; editor__words_next(words, len, &at, &other, &other_len);) {
		if (editor__words_match(word, word_len, other, other_len))
			return true;
	}
	return false;
}

float editor__words_share(const char *a, size_t a_len, const char *b, size_t b_len)
{
	size_t matched = 0, all = 0;
	const char *word;
	for (size_t at = 0, word_len; editor__words_next(a, a_len, &at, &word, &word_len); all++)
		matched += has_match(word, word_len, b, b_len);
	return all > 0 ? (float)matched / (float)all : 0.0f;
}

/* ---- Common words */

struct occurrence {
	uint64_t hash;
	size_t list;
};

static int by_hash_and_list(const void *a, const void *b)
{
	const struct occurrence *x = a, *y = b;
	if (x->hash != y->hash)
		return x->hash < y->hash ? -1 : 1;
	return (x->list > y->list) - (x->list < y->list);
}

struct counted {
	uint64_t hash;
	size_t lists;
};

static int by_lists(const void *a, const void *b)
{
	const struct counted *x = a, *y = b;
	if (x->lists != y->lists)
		return x->lists > y->lists ? -1 : 1;
	return (x->hash > y->hash) - (x->hash < y->hash);
}

static size_t word_count_of(const struct buf *list)
{
	size_t count = list->len > 0 ? 1 : 0;
	for (size_t i = 0; i < list->len; i++)
		count += list->data[i] == ' ';
	return count;
}

static void collect(const struct buf *lists, size_t count, struct occurrence *out)
{
	const char *word;
	for (size_t i = 0; i < count; i++) {
		for (size_t at = 0, len;
		     editor__words_next((const char *)lists[i].data, lists[i].len, &at, &word, &len); out++)
			*out = (struct occurrence){ .hash = editor__word_hash(word, len), .list = i };
	}
}

/* Sorted occurrences become words with the number of their lists; those in fewer than `least` are left out. */
static size_t count_lists(const struct occurrence *all, size_t count, double least, struct counted *out)
{
	size_t kept = 0;
	for (size_t i = 0, end; i < count; i = end) {
		size_t lists = 0;
		for (end = i; end < count && all[end].hash == all[i].hash; end++)
			lists += end == i || all[end].list != all[end - 1].list;
		if ((double)lists >= least)
			out[kept++] = (struct counted){ .hash = all[i].hash, .lists = lists };
	}
	return kept;
}

int editor__words_common(const struct buf *lists, size_t count, double share, size_t most, uint64_t **hashes,
			 size_t *hash_count)
{
	size_t words = 0;
	for (size_t i = 0; i < count; i++)
		words += word_count_of(&lists[i]);
	struct occurrence *all = fault_calloc(words + 1, sizeof(*all));
	struct counted *counted = fault_calloc(words + 1, sizeof(*counted));
	uint64_t *common = fault_calloc(most + 1, sizeof(*common));
	int rc = all == NULL || counted == NULL || common == NULL ? ERR_NOMEM : 0;
	if (rc == 0) {
		collect(lists, count, all);
		qsort(all, words, sizeof(*all), by_hash_and_list);
		size_t kept = count_lists(all, words, share * (double)count, counted);
		qsort(counted, kept, sizeof(*counted), by_lists);
		kept = kept < most ? kept : most;
		for (size_t i = 0; i < kept; i++)
			common[i] = counted[i].hash;
		qsort(common, kept, sizeof(*common), order_u64);
		*hashes = common;
		*hash_count = kept;
		common = NULL;
	}
	free(all);
	free(counted);
	free(common);
	return rc;
}
