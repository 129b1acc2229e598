#include "editor/prompt.h"

#include "base/fault.h"
#include "base/text.h"
#include "editor/words.h"

#include <stdlib.h>
#include <string.h>

#define SMALL_WORD_BYTES 4

int editor__prompt_init(struct editor__prompt *p, const struct model_tokenizer *tokenizer,
			const struct editor_prompt *prompt)
{
	p->prompt = prompt;
	p->text = (struct buf)BUF_INIT;
	editor__query_clear(&p->query);
	editor__query_clear(&p->asked);
	p->ends = fault_calloc(prompt->id_count, sizeof(*p->ends));
	if (p->ends == NULL)
		return ERR_NOMEM;
	for (size_t i = 0; i < prompt->id_count; i++) {
		size_t len;
		const char *piece = model_tokenizer_piece(tokenizer, prompt->ids[i], &len);
		buf_append(&p->text, piece, len);
		p->ends[i] = p->text.len;
	}
	if (buf_failed(&p->text))
		return ERR_NOMEM;
	const char *text = buf_cstr(&p->text);
	int rc = editor__query_init(&p->query, text, p->text.len);
	if (rc == 0 && prompt->asked_bytes > 0 && prompt->asked_bytes < p->text.len)
		rc = editor__query_init(&p->asked, text + p->text.len - prompt->asked_bytes, prompt->asked_bytes);
	return rc;
}

void editor__prompt_fini(struct editor__prompt *p)
{
	free(p->ends);
	buf_free(&p->text);
	editor__query_fini(&p->query);
	editor__query_fini(&p->asked);
}

/* Tokens without a byte of a marked word, except the first; how many there are. Tokens and words both stand in order.
 */
static size_t tokens_beside(const struct editor__prompt *p, const uint8_t *marks, uint8_t *wanted)
{
	const struct editor__query *query = &p->query;
	size_t kept = 0, word = 0;
	for (size_t i = 1; i < p->prompt->id_count; i++) {
		const size_t start = p->ends[i - 1], end = p->ends[i];
		while (word < query->word_count && query->spans[word].end <= start)
			word++;
		wanted[i] = 1;
		for (size_t w = word; w < query->word_count && query->spans[w].start < end; w++)
			wanted[i] = wanted[i] && !(marks[w] && query->spans[w].end > start);
		kept += wanted[i];
	}
	return kept;
}

static void mean_of_tokens(const float *states, const uint8_t *wanted, size_t count, size_t hidden, float *mean)
{
	size_t n = 0;
	memset(mean, 0, hidden * sizeof(*mean));
	for (size_t i = 0; i < count; i++) {
		if (!wanted[i])
			continue;
		n++;
#pragma omp simd
		for (size_t k = 0; k < hidden; k++)
			mean[k] += states[i * hidden + k];
	}
	for (size_t k = 0; k < hidden; k++)
		mean[k] /= (float)n;
}

int editor__prompt_relation(const struct editor__prompt *p, size_t hidden, const uint8_t *marks, float *raw)
{
	const size_t count = p->prompt->id_count;
	uint8_t *wanted = fault_calloc(count, 1);
	if (wanted == NULL)
		return ERR_NOMEM;
	if (tokens_beside(p, marks, wanted) == 0)
		wanted[count - 1] = 1;
	mean_of_tokens(p->prompt->relation_states, wanted, count, hidden, raw);
	free(wanted);
	return 0;
}

/* ---- Names */

static bool is_capital_word(const struct editor__prompt *p, size_t word)
{
	const char first = (const char)p->text.data[p->query.spans[word].start];
	return first >= 'A' && first <= 'Z';
}

/* Nothing but a space stands between the two words. */
static bool are_joined(const struct editor__prompt *p, size_t word)
{
	const size_t end = p->query.spans[word].end;
	return p->query.spans[word + 1].start == end + 1 && p->text.data[end] == ' ';
}

/* Capitals tell names only where other words have none. */
static bool has_small_word(const struct editor__prompt *p, const uint8_t *marks)
{
	for (size_t i = 1; i < p->query.word_count; i++) {
		const size_t start = p->query.spans[i].start;
		if (!marks[i] && p->query.spans[i].end - start >= SMALL_WORD_BYTES && p->text.data[start] >= 'a' &&
		    p->text.data[start] <= 'z')
			return true;
	}
	return false;
}

/* What stands before a name and is none of it. */
static bool is_title(const struct editor__prompt *p, size_t word)
{
	static const char *const titles[] = { "dr",       "general", "king",      "lady",  "lord",      "miss",
					      "mr",       "mrs",     "ms",        "pope",  "president", "prince",
					      "princess", "prof",    "professor", "queen", "saint",     "senator",
					      "sir",      "the",     "st" };
	const size_t from = word > 0 ? p->query.ends[word - 1] : 0, len = p->query.ends[word] - from;
	return editor__word_is_one_of((const char *)p->query.words.data + from, len, titles,
				      sizeof(titles) / sizeof(titles[0]));
}

/* Whether word i or the next, of which one is the subject's and the other not, makes the other a longer name; which. */
static bool makes_longer(const struct editor__prompt *p, const uint8_t *marks, size_t i, size_t *word)
{
	if (marks[i] == marks[i + 1] || !are_joined(p, i))
		return false;
	*word = marks[i] ? i + 1 : i;
	if (marks[i])
		return is_capital_word(p, i + 1);
	/* a text's first word has a capital anyway */
	return i > 0 && is_capital_word(p, i) && is_capital_word(p, i + 1) && !is_title(p, i);
}

int editor__prompt_longer_name(const struct editor__prompt *p, const char *subject, size_t len, uint8_t *longer,
			       bool *any)
{
	uint8_t marks[EDITOR__QUERY_WORDS_MAX];
	const size_t count = p->query.word_count;
	*any = false;
	memset(longer, 0, count);
	int rc = editor__query_mark(&p->query, subject, len, marks);
	if (rc != 0 || !has_small_word(p, marks))
		return rc;
	for (size_t i = 0, word; i + 1 < count; i++) {
		if (makes_longer(p, marks, i, &word))
			longer[word] = *any = true;
	}
	return 0;
}

/* ---- A subject where none is given */

static const char *word_text(const struct editor__prompt *p, size_t word, size_t *len)
{
	*len = p->query.spans[word].end - p->query.spans[word].start;
	return (const char *)p->text.data + p->query.spans[word].start;
}

static bool is_name(const char *word, size_t len)
{
	return (word[0] >= 'A' && word[0] <= 'Z') || editor__word_has_digit(word, len);
}

/* How many tokens begin inside the word, then the rarest of them: a vocabulary's later merges are its rarer ones. */
static size_t rarity(const struct editor__prompt *p, size_t word)
{
	size_t tokens = 0, latest = 0;
	for (size_t i = 0; i < p->prompt->id_count; i++) {
		const size_t start = i > 0 ? p->ends[i - 1] : 0;
		if (start >= p->query.spans[word].end || p->ends[i] <= p->query.spans[word].start)
			continue;
		tokens++;
		if ((size_t)p->prompt->ids[i] > latest)
			latest = (size_t)p->prompt->ids[i];
	}
	return tokens * 1000000 + latest;
}

static void put_word(const struct editor__prompt *p, size_t word, struct buf *out, size_t start)
{
	const size_t from = word > 0 ? p->query.ends[word - 1] : 0;
	if (out->len > start)
		buf_u8(out, ' ');
	buf_append(out, p->query.words.data + from, p->query.ends[word] - from);
}

int editor__prompt_subject(const struct editor__prompt *p, struct buf *out, bool *names)
{
	const size_t start = out->len;
	size_t rarest = 0, best = 0;
	for (size_t w = 0; w < p->query.word_count; w++) {
		size_t len;
		const char *word = word_text(p, w, &len);
		if (w > 0 && is_name(word, len))
			put_word(p, w, out, start);
		if (rarity(p, w) > best) {
			best = rarity(p, w);
			rarest = w;
		}
	}
	*names = out->len > start;
	if (!*names && p->query.word_count > 0)
		put_word(p, rarest, out, start);
	return buf_failed(out) ? ERR_NOMEM : 0;
}
