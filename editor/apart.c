#include "editor/apart.h"

#include "editor/asking.h"
#include "editor/numbers.h"

#include <string.h>

/* The query's words as a list; "-" for those that `taken` (NULL: all are) leaves out, or that are marked. */
static int list_words(const struct editor__query *query, const uint8_t *taken, const uint8_t *marks, struct buf *out)
{
	for (size_t i = 0; i < query->word_count; i++) {
		const size_t from = i > 0 ? query->ends[i - 1] : 0;
		if (i > 0)
			buf_u8(out, ' ');
		if ((taken != NULL && !taken[i]) || (marks != NULL && marks[i]))
			buf_u8(out, '-');
		else
			buf_append(out, query->words.data + from, query->ends[i] - from);
	}
	return buf_failed(out) ? ERR_NOMEM : 0;
}

static struct editor__saying saying(struct editor__contrasts *contrasts, const struct buf *words)
{
	editor__contrasts_in(contrasts, (const char *)words->data, words->len);
	return (struct editor__saying){ contrasts, (const char *)words->data, words->len };
}

int editor__apart_init(struct editor__apart *apart, const struct editor__prompt *prompt)
{
	const bool end = prompt->asked.word_count > 0;
	apart->numbers = apart->asked_words = apart->all_words = (struct buf)BUF_INIT;
	apart->prompt = prompt;
	apart->query = end ? &prompt->asked : &prompt->query;
	apart->text = (const char *)prompt->text.data + (end ? prompt->text.len - prompt->prompt->asked_bytes : 0);
	editor__asking_words(apart->query, apart->text, apart->asks);
	int rc = list_words(&prompt->query, NULL, NULL, &apart->all_words);
	if (rc == 0)
		apart->asked = apart->all = saying(&apart->all_says, &apart->all_words);
	if (rc == 0 && (end || memchr(apart->asks, 0, apart->query->word_count) != NULL)) {
		rc = list_words(apart->query, apart->asks, NULL, &apart->asked_words);
		if (rc == 0)
			apart->asked = saying(&apart->asked_says, &apart->asked_words);
	}
	return rc == 0 ? editor__numbers_in(apart->query, apart->text, NULL, &apart->numbers) : rc;
}

void editor__apart_fini(struct editor__apart *apart)
{
	buf_free(&apart->numbers);
	buf_free(&apart->asked_words);
	buf_free(&apart->all_words);
}

/* Whether the edit says every one of the numbers, in its prompt or in a name of its subject. */
static bool says_numbers(const struct editor_router *router, const struct editor__entry *entry,
			 const struct names *names, const struct buf *numbers)
{
	const char *own = (const char *)router->bytes.data + entry->words, *number;
	bool says = true;
	size_t len;
	for (size_t at = 0; says && editor__words_next((const char *)numbers->data, numbers->len, &at, &number, &len);)
		says = editor__number_stands(number, len, own, entry->words_len) ||
		       editor__number_stands(number, len, names->subject, names->subject_len) ||
		       editor__number_stands(number, len, names->aliases, names->aliases_len);
	return says;
}

/* Whether the text says every number without which an edit is not asked for ("in 1990"). */
static bool says_needed(const struct editor__apart *apart, const struct editor_router *router,
			const struct editor__entry *entry)
{
	const char *needed = (const char *)router->bytes.data + entry->needed, *number;
	bool says = true;
	size_t len;
	for (size_t at = 0; says && editor__words_next(needed, entry->needed_len, &at, &number, &len);)
		says = editor__number_stands(number, len, apart->all.words, apart->all.words_len);
	return says;
}

/* What is asked beside the names of the edit: "the mother" of Mother Jones is asked of her, and "Aster7" may be
 * Aster-7. */
static int beside_names(const struct editor__apart *apart, const struct editor_router *router,
			const struct editor__entry *entry, const struct names *names, bool *told_apart)
{
	uint8_t marks[EDITOR__QUERY_WORDS_MAX];
	struct buf words = BUF_INIT, numbers = BUF_INIT;
	struct editor__contrasts says;
	int rc = editor__names_mark(apart->query, names, marks);
	if (rc == 0)
		rc = editor__numbers_in(apart->query, apart->text, marks, &numbers);
	if (rc == 0)
		rc = list_words(apart->query, apart->asks, marks, &words);
	if (rc == 0) {
		const struct editor__saying edit = editor__router_saying(router, entry), asked = saying(&says, &words);
		*told_apart = !says_numbers(router, entry, names, &numbers) ||
			      editor__contrasts_apart(&asked, &apart->all, &edit);
	}
	buf_free(&words);
	buf_free(&numbers);
	return rc;
}

int editor__apart_from(const struct editor__apart *apart, const struct editor_router *router,
		       const struct editor__entry *entry, bool *told_apart)
{
	const struct names names = editor__router_names(router, entry);
	const struct editor__saying edit = editor__router_saying(router, entry);
	*told_apart = !says_needed(apart, router, entry);
	if (*told_apart || (says_numbers(router, entry, &names, &apart->numbers) &&
			    !editor__contrasts_apart(&apart->asked, &apart->all, &edit)))
		return 0;
	return beside_names(apart, router, entry, &names, told_apart);
}
