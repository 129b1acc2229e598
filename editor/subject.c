#include "editor/subject.h"
#include "base/text.h"

#include <string.h>

#define WORD_BYTES_MAX 64u /* longer words must be equal */

static bool is_sign(char c)
{
	return c == '+' || c == '#';
}

static int add_word(void *context, const char *word, size_t len, size_t start, size_t end)
{
	struct editor__query *query = context;
	if (query->word_count == EDITOR__QUERY_WORDS_MAX)
		return 0;
	buf_append(&query->words, word, len);
	query->spans[query->word_count].start = start;
	query->spans[query->word_count].end = end;
	query->ends[query->word_count++] = query->words.len;
	return buf_failed(&query->words) ? ERR_NOMEM : 0;
}

void editor__query_clear(struct editor__query *query)
{
	query->folded = (struct buf)BUF_INIT;
	query->words = (struct buf)BUF_INIT;
	query->word_count = 0;
}

int editor__query_init(struct editor__query *query, const char *text, size_t len)
{
	editor__query_clear(query);
	int rc = text_fold(text, len, &query->folded);
	if (rc == 0 && query->folded.len > 0)
		rc = text_words_at(text, len, add_word, query);
	for (size_t i = 0; i < query->word_count; i++)
		query->signs[i] = query->spans[i].end < len && is_sign(text[query->spans[i].end]);
	if (rc == 0)
		return 0;
	editor__query_fini(query);
	return rc == ERR_NOMEM ? rc : 0;
}

void editor__query_fini(struct editor__query *query)
{
	buf_free(&query->folded);
	buf_free(&query->words);
	query->word_count = 0;
}

/* What words are made of, C++ and C# too. */
static bool is_plain(char c)
{
	return (c >= 'a' && c <= 'z') || (c >= '0' && c <= '9') || is_sign(c);
}

static bool has_sign(const char *subject, size_t len)
{
	return memchr(subject, '+', len) != NULL || memchr(subject, '#', len) != NULL;
}

/* The subject as it is, not inside a longer word; scripts without spaces have no such borders to look for. */
static bool stands_in(const struct buf *text, const char *subject, size_t len)
{
	const char *data = (const char *)text->data;
	for (size_t at = 0; at + len <= text->len; at++) {
		const char *hit = memmem(data + at, text->len - at, subject, len);
		if (hit == NULL)
			return false;
		at = (size_t)(hit - data);
		const bool joined_before = at > 0 && is_plain(hit[-1]) && is_plain(subject[0]);
		const bool joined_after = at + len < text->len && is_plain(hit[len]) && is_plain(subject[len - 1]);
		if (!joined_before && !joined_after)
			return true;
	}
	return false;
}

bool editor__word_has_digit(const char *word, size_t len)
{
	for (size_t i = 0; i < len; i++) {
		if (word[i] >= '0' && word[i] <= '9')
			return true;
	}
	return false;
}

bool editor__words_match(const char *a, size_t a_len, const char *b, size_t b_len)
{
	const size_t longer = a_len > b_len ? a_len : b_len, shorter = a_len > b_len ? b_len : a_len,
		     limit = longer / 4;
	size_t row[WORD_BYTES_MAX + 1];
	if (a_len == b_len && memcmp(a, b, a_len) == 0)
		return true;
	if (editor__word_has_digit(a, a_len) || editor__word_has_digit(b, b_len))
		return false;
	if (limit == 0 || longer - shorter > limit || longer > WORD_BYTES_MAX)
		return false;
	for (size_t j = 0; j <= b_len; j++)
		row[j] = j;
	for (size_t i = 1; i <= a_len; i++) {
		size_t diagonal = row[0];
		row[0] = i;
		for (size_t j = 1; j <= b_len; j++) {
			const size_t change = diagonal + (a[i - 1] != b[j - 1] ? 1 : 0);
			const size_t gap = (row[j] < row[j - 1] ? row[j] : row[j - 1]) + 1;
			diagonal = row[j];
			row[j] = change < gap ? change : gap;
		}
	}
	return row[b_len] <= limit;
}

/* ---- Names */

#define PLURAL_BYTES_MIN     3u
#define TURNED_BYTES_MIN     4u /* of the words of a name that may stand in another order */
#define MISSPELT_LETTERS_MIN 8u /* shorter names that differ in one letter are other names: Mali, Bali */

bool editor__word_is_numeral(const char *word, size_t len)
{
	size_t roman = 0;
	while (roman < len && strchr("ivx", word[roman]) != NULL)
		roman++;
	return roman == len || editor__word_has_digit(word, len);
}

static bool is_inside_letter(char byte)
{
	return ((unsigned char)byte & 0xc0) == 0x80;
}

static size_t letters_of(const char *text, size_t len)
{
	size_t count = 0;
	for (size_t i = 0; i < len; i++)
		count += is_inside_letter(text[i]) ? 0 : 1;
	return count;
}

/* Bytes of the letters that both begin with. */
static size_t same_at_front(const char *a, size_t a_len, const char *b, size_t b_len)
{
	size_t n = 0;
	while (n < a_len && n < b_len && a[n] == b[n])
		n++;
	while (n > 0 && ((n < a_len && is_inside_letter(a[n])) || (n < b_len && is_inside_letter(b[n]))))
		n--;
	return n;
}

/* Of those that both end with, behind the first `front` bytes. */
static size_t same_at_back(const char *a, size_t a_len, const char *b, size_t b_len, size_t front)
{
	size_t n = 0;
	while (n + front < a_len && n + front < b_len && a[a_len - 1 - n] == b[b_len - 1 - n])
		n++;
	while (n > 0 && is_inside_letter(a[a_len - n]))
		n--;
	return n;
}

static bool is_plural(const char *longer, size_t longer_len, const char *word, size_t len)
{
	return len >= PLURAL_BYTES_MIN && longer_len == len + 1 && memcmp(longer, word, len) == 0 && longer[len] == 's';
}

bool editor__names_match(const char *a, size_t a_len, const char *b, size_t b_len)
{
	if (a_len == b_len && memcmp(a, b, a_len) == 0)
		return true;
	if (is_plural(a, a_len, b, b_len) || is_plural(b, b_len, a, a_len))
		return true;
	if (letters_of(a, a_len) < MISSPELT_LETTERS_MIN || letters_of(b, b_len) < MISSPELT_LETTERS_MIN ||
	    editor__word_has_digit(a, a_len) || editor__word_has_digit(b, b_len))
		return false;
	const size_t front = same_at_front(a, a_len, b, b_len), back = same_at_back(a, a_len, b, b_len, front);
	if (front == 0 || back == 0) /* what a name begins or ends with tells people and places apart */
		return false;
	const size_t a_apart = a_len - front - back, b_apart = b_len - front - back;
	if (letters_of(a + front, a_apart) <= 1 && letters_of(b + front, b_apart) <= 1)
		return true;
	return a_apart == 2 && b_apart == 2 && a[front] == b[front + 1] && a[front + 1] == b[front];
}

struct share {
	const struct editor__query *query;
	bool spelled; /* a word that is only alike is no match, and words may stand in any order */
	bool number_missing;
	size_t word_count, shortest, found, all;      /* letters of the words that have a match anywhere; of all */
	uint8_t matched[EDITOR__QUERY_WORDS_MAX];     /* of the query's words */
	size_t in_order[EDITOR__QUERY_WORDS_MAX + 1]; /* the most letters that match in order among the query's first i
							 words */
};

static bool matches_word(const struct share *share, size_t i, const char *word, size_t len)
{
	const struct editor__query *query = share->query;
	const size_t start = i > 0 ? query->ends[i - 1] : 0, own = query->ends[i] - start;
	const char *at = (const char *)query->words.data + start;
	if (query->signs[i])
		return false;
	return share->spelled ? own == len && memcmp(at, word, len) == 0 : editor__names_match(word, len, at, own);
}

static int share_of_word(void *context, const char *word, size_t len)
{
	struct share *share = context;
	size_t before = 0; /* in_order[i] without this word */
	bool found = false;
	share->all += len;
	for (size_t i = 0; i < share->query->word_count; i++) {
		const bool matches = matches_word(share, i, word, len);
		const size_t with = matches ? before + len : 0, without = share->in_order[i + 1],
			     last = share->in_order[i];
		before = without;
		share->in_order[i + 1] = with > without ? with : without;
		if (share->in_order[i + 1] < last)
			share->in_order[i + 1] = last;
		found = found || matches;
		share->matched[i] |= matches;
	}
	share->word_count++;
	share->shortest = len < share->shortest ? len : share->shortest;
	share->found += found ? len : 0;
	share->number_missing = share->number_missing || (!found && editor__word_is_numeral(word, len));
	return 0;
}

/* Whether all words stand there, one behind the other in any order: "Mann, Thomas". A name with an "of" in it is
 * another one in another order: the president of Miami University is not the University of Miami's. */
static bool stand_together(const struct share *share)
{
	size_t run = 0, longest = 0;
	for (size_t i = 0; i < share->query->word_count; i++) {
		run = share->matched[i] ? run + 1 : 0;
		longest = run > longest ? run : longest;
	}
	return share->found == share->all && longest >= share->word_count && share->shortest >= TURNED_BYTES_MIN;
}

/* ---- Names whose letters and digits stand apart otherwise: "Aster-7", "Aster7", "Aster 7" */

static bool is_digit(char c)
{
	return c >= '0' && c <= '9';
}

/* The next run of letters or of digits from *at on, which moves behind it; no bytes: no more. */
static size_t next_piece(const char *text, size_t len, size_t *at, const char **piece)
{
	while (*at < len && !is_plain(text[*at]) && (unsigned char)text[*at] < 0x80)
		++*at;
	const size_t start = *at;
	while (*at < len && (is_plain(text[*at]) || (unsigned char)text[*at] >= 0x80) &&
	       is_digit(text[*at]) == is_digit(text[start]))
		++*at;
	*piece = text + start;
	return *at - start;
}

/* How many of the query's words from word i on are the name, piece by piece; 0: they are not. Words that the name has
 * together stand one byte apart. */
static size_t pieces_at(const struct editor__query *query, size_t i, const char *name, size_t len)
{
	const char *words = (const char *)query->words.data, *own, *other;
	size_t first = i, at = i > 0 ? query->ends[i - 1] : 0;
	for (size_t name_at = 0, own_len; (own_len = next_piece(name, len, &name_at, &own)) > 0;) {
		if (at == query->ends[i]) {
			if (i + 1 == query->word_count || query->spans[i + 1].start != query->spans[i].end + 1)
				return 0;
			i++;
		}
		if (next_piece(words, query->ends[i], &at, &other) != own_len || memcmp(own, other, own_len) != 0)
			return 0;
	}
	return at == query->ends[i] && !query->signs[i] ? i + 1 - first : 0;
}

struct place {
	size_t first, words; /* of the query */
};

/* The first place where the name stands piece by piece; false: nowhere, and *place is not written. */
static bool find_pieces(const struct editor__query *query, const char *name, size_t len, struct place *place)
{
	if (!editor__word_has_digit(name, len) || has_sign(name, len))
		return false;
	for (size_t i = 0; i < query->word_count; i++) {
		const size_t words = pieces_at(query, i, name, len);
		if (words == 0)
			continue;
		*place = (struct place){ i, words };
		return true;
	}
	return false;
}

static int share_of(const struct editor__query *query, const char *subject, size_t len, bool spelled, float *share)
{
	*share = 0;
	if (len == 0 || query->folded.len == 0)
		return 0;
	if (stands_in(&query->folded, subject, len)) {
		*share = 1;
		return 0;
	}
	if (has_sign(subject, len)) /* its words are not all of it */
		return 0;
	struct place place;
	if (find_pieces(query, subject, len, &place)) {
		*share = 1;
		return 0;
	}
	struct share sum = { .query = query, .spelled = spelled, .shortest = SIZE_MAX };
	int rc = text_words(subject, len, share_of_word, &sum);
	if (rc == 0 && sum.all > 0 && (spelled || !sum.number_missing)) {
		const bool any_order = spelled || stand_together(&sum);
		*share = (float)(any_order ? sum.found : sum.in_order[query->word_count]) / (float)sum.all;
	}
	return rc == ERR_NOMEM ? rc : 0;
}

int editor__query_share(const struct editor__query *query, const char *subject, size_t len, float *share)
{
	return share_of(query, subject, len, false, share);
}

int editor__query_share_spelled(const struct editor__query *query, const char *subject, size_t len, float *share)
{
	return share_of(query, subject, len, true, share);
}

/* ---- Which of the query's words are the subject's */

struct marking {
	const struct editor__query *query;
	uint8_t *marks; /* of whole: whether the subject may begin there */
	size_t at;      /* whole: words of the subject so far */
};

static bool word_is(const struct editor__query *query, size_t i, const char *word, size_t len)
{
	const size_t start = i > 0 ? query->ends[i - 1] : 0;
	return query->ends[i] - start == len && memcmp(query->words.data + start, word, len) == 0;
}

static int match_next(void *context, const char *word, size_t len)
{
	struct marking *m = context;
	const size_t count = m->query->word_count;
	for (size_t first = 0; first < count; first++)
		m->marks[first] = m->marks[first] && first + m->at < count &&
				  word_is(m->query, first + m->at, word, len);
	m->at++;
	return 0;
}

/* marks: 1 where the subject begins and stands word by word; *words: how many it has. */
static int mark_places(const struct editor__query *query, const char *subject, size_t len, uint8_t *marks,
		       size_t *words)
{
	struct marking m = { .query = query, .marks = marks };
	memset(marks, 1, query->word_count);
	int rc = text_words(subject, len, match_next, &m);
	*words = m.at;
	return rc;
}

int editor__query_stands_behind(const struct editor__query *query, const char *subject, size_t len, size_t from,
				bool *stands)
{
	uint8_t marks[EDITOR__QUERY_WORDS_MAX];
	size_t words = 0;
	int rc = mark_places(query, subject, len, marks, &words);
	*stands = false;
	for (size_t i = 0; rc == 0 && words > 0 && i < query->word_count; i++)
		*stands = *stands || (marks[i] && query->spans[i + words - 1].end > from);
	struct place place;
	if (rc != ERR_NOMEM && !*stands && find_pieces(query, subject, len, &place))
		*stands = query->spans[place.first + place.words - 1].end > from;
	return rc == ERR_NOMEM ? rc : 0;
}

/* Marks the words of the first place where the subject stands word by word. */
static int mark_whole(const struct editor__query *query, const char *subject, size_t len, uint8_t *marks, bool *found)
{
	size_t words = 0;
	int rc = mark_places(query, subject, len, marks, &words);
	const uint8_t *first = rc == 0 ? memchr(marks, 1, query->word_count) : NULL;
	struct place place = { first != NULL ? (size_t)(first - marks) : 0, words };
	*found = rc == 0 && (first != NULL || find_pieces(query, subject, len, &place));
	memset(marks, 0, query->word_count);
	if (*found)
		memset(marks + place.first, 1, place.words);
	return rc;
}

static int mark_alike(void *context, const char *word, size_t len)
{
	struct marking *m = context;
	const struct editor__query *query = m->query;
	if (len < EDITOR__SUBJECT_WORD_BYTES)
		return 0;
	for (size_t i = 0; i < query->word_count; i++) {
		const size_t start = i > 0 ? query->ends[i - 1] : 0;
		if (editor__names_match(word, len, (const char *)query->words.data + start, query->ends[i] - start))
			m->marks[i] = 1;
	}
	return 0;
}

int editor__query_mark(const struct editor__query *query, const char *subject, size_t len, uint8_t *marks)
{
	bool found = false;
	int rc = mark_whole(query, subject, len, marks, &found);
	if (rc == 0 && !found) {
		struct marking m = { .query = query, .marks = marks };
		rc = text_words(subject, len, mark_alike, &m);
	}
	return rc == ERR_NOMEM ? rc : 0;
}
