#include "base/names.h"

#include "base/fault.h"
#include "base/text.h"

#include <stdlib.h>
#include <string.h>

#define STOP 1 /* no error: enough words */

struct words { /* folded, in the order of the text */
	struct buf bytes;
	size_t ends[NAMES_TEXT_WORDS_MAX]; /* of word i in `bytes` */
	struct {
		size_t start, end; /* of word i in the text */
	} spans[NAMES_TEXT_WORDS_MAX];
	size_t count;
};

static int take_word(void *context, const char *word, size_t len, size_t start, size_t end)
{
	struct words *w = context;
	if (w->count == NAMES_TEXT_WORDS_MAX)
		return STOP;
	buf_append(&w->bytes, word, len);
	w->spans[w->count].start = start;
	w->spans[w->count].end = end;
	w->ends[w->count++] = w->bytes.len;
	return buf_failed(&w->bytes) ? ERR_NOMEM : 0;
}

static int words_read(const char *text, size_t len, struct words *out)
{
	int rc = text_words_at(text, len, take_word, out);
	return rc == STOP ? 0 : rc;
}

struct match {
	const struct words *text;
	size_t at;
	bool differs;
};

static int match_word(void *context, const char *word, size_t len)
{
	struct match *m = context;
	const size_t start = m->at > 0 ? m->text->ends[m->at - 1] : 0;
	m->differs = m->at == m->text->count || m->text->ends[m->at] - start != len ||
		     memcmp(m->text->bytes.data + start, word, len) != 0;
	m->at++;
	return m->differs ? STOP : 0;
}

/* How many words of the text from `at` on are the name; 0: it does not stand there. */
static int words_of_name(const struct words *text, size_t at, const struct record_text *name, size_t *count)
{
	struct match m = { .text = text, .at = at };
	int rc = text_words(name->text, name->len, match_word, &m);
	*count = m.differs ? 0 : m.at - at;
	return rc == STOP ? 0 : rc;
}

/* The words of the longest name that begins at a word; 0: none does. */
static int name_at(const struct record *record, const struct words *text, size_t at, size_t *count)
{
	int rc = words_of_name(text, at, &record->subject, count);
	for (size_t i = 0; rc == 0 && i < record->subject_alias_count; i++) {
		size_t words;
		rc = words_of_name(text, at, &record->subject_aliases[i], &words);
		*count = words > *count ? words : *count;
	}
	return rc;
}

static int say(const struct record *record, const struct record_text *name, const struct words *words, const char *text,
	       size_t len, struct buf *out)
{
	size_t from = 0, count = 0;
	int rc = 0;
	for (size_t i = 0; rc == 0 && i<words->count; i += count> 0 ? count : 1) {
		rc = name_at(record, words, i, &count);
		if (rc != 0 || count == 0)
			continue;
		buf_append(out, text + from, words->spans[i].start - from);
		buf_append(out, name->text, name->len);
		from = words->spans[i + count - 1].end;
	}
	buf_append(out, text + from, len - from);
	return rc == 0 && buf_failed(out) ? ERR_NOMEM : rc;
}

int names_say(const struct record *record, const struct record_text *name, const char *text, size_t len,
	      struct buf *out)
{
	struct words *words = fault_calloc(1, sizeof *words);
	if (words == NULL)
		return ERR_NOMEM;
	int rc = words_read(text, len, words);
	if (rc == 0)
		rc = say(record, name, words, text, len, out);
	buf_free(&words->bytes);
	free(words);
	return rc;
}

int names_resolve(const struct record *record, const char *text, size_t len, struct buf *out)
{
	if (record->subject_alias_count > 0)
		return names_say(record, &record->subject, text, len, out);
	buf_append(out, text, len);
	return buf_failed(out) ? ERR_NOMEM : 0;
}

static void put_names(struct json_w *w, const struct json *own, const char *names, size_t names_len)
{
	const bool list = own != NULL && json_type(own) == JSON_ARRAY;
	json_w_open(w, '[');
	for (size_t i = 0; list && i < json_length(own); i++)
		json_w_value(w, json_at(own, i));
	if (own != NULL && json_type(own) == JSON_STRING)
		json_w_value(w, own);
	for (size_t at = 0; at < names_len; at += strlen(names + at) + 1)
		json_w_str(w, names + at);
	json_w_close(w);
}

int names_add(const struct json *record, const char *names, size_t names_len, struct buf *out)
{
	static const char member[] = "subject_aliases";
	struct json_w w;
	const char *key;
	const struct json *value;
	json_w_init(&w, out);
	json_w_open(&w, '{');
	for (size_t i = 0; json_member(record, i, &key, &value); i++) {
		if (strcmp(key, member) == 0)
			continue;
		json_w_key(&w, key);
		json_w_value(&w, value);
	}
	json_w_key(&w, member);
	put_names(&w, json_get(record, member), names, names_len);
	json_w_close(&w);
	return buf_failed(out) ? ERR_NOMEM : 0;
}

int names_list(const struct record *record, const struct record_text *name, bool *listed)
{
	struct buf wanted = BUF_INIT, own = BUF_INIT;
	int rc = record->subject_alias_count > 0 ? text_fold(name->text, name->len, &wanted) : 0;
	*listed = false;
	for (size_t i = 0; rc == 0 && !*listed && i < record->subject_alias_count; i++) {
		own.len = 0;
		rc = text_fold(record->subject_aliases[i].text, record->subject_aliases[i].len, &own);
		*listed = rc == 0 && own.len == wanted.len && memcmp(own.data, wanted.data, own.len) == 0;
	}
	buf_free(&wanted);
	buf_free(&own);
	return rc;
}

int names_fold_aliases(const struct record *record, struct buf *out)
{
	int rc = 0;
	for (size_t i = 0; rc == 0 && i < record->subject_alias_count; i++) {
		rc = text_fold(record->subject_aliases[i].text, record->subject_aliases[i].len, out);
		buf_u8(out, 0);
	}
	return rc == 0 && buf_failed(out) ? ERR_NOMEM : rc;
}

bool names_next(const struct names *names, size_t *at, const char **name, size_t *len)
{
	const size_t from = *at > 0 ? *at - 1 : 0; /* in `aliases` */
	if (*at == 0) {
		*name = names->subject;
		*len = names->subject_len;
		*at = 1;
		return true;
	}
	if (from >= names->aliases_len)
		return false;
	*name = names->aliases + from;
	*len = strnlen(*name, names->aliases_len - from);
	*at += *len + 1;
	return true;
}
