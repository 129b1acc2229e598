#include "base/mention.h"

#include "base/text.h"
#include "base/wording.h"

#include <string.h>

#define STOP 1 /* no error: enough words */

/* ---- Words */

struct words {
	struct buf seen; /* the words, each behind its length */
	size_t count;
	int (*each)(void *context, const char *word, size_t len);
	void *context;
	int rc; /* of `each` */
};

static bool seen_before(const struct words *w, const char *word, size_t len)
{
	for (size_t at = 0, n; at < w->seen.len; at += sizeof n + n) {
		memcpy(&n, w->seen.data + at, sizeof n);
		if (n == len && memcmp(w->seen.data + at + sizeof n, word, len) == 0)
			return true;
	}
	return false;
}

static int take_word(void *context, const char *word, size_t len)
{
	struct words *w = context;
	if (!wording_is_content(word, len) || seen_before(w, word, len))
		return 0;
	buf_append(&w->seen, &len, sizeof len);
	buf_append(&w->seen, word, len);
	if (buf_failed(&w->seen))
		return ERR_NOMEM;
	w->rc = w->each(w->context, word, len);
	return w->rc != 0 || ++w->count == MENTION_WORDS_MAX ? STOP : 0;
}

int mention_words(const char *text, size_t len, int (*each)(void *context, const char *word, size_t len), void *context)
{
	struct words w = { .seen = BUF_INIT, .each = each, .context = context };
	int rc = text_words(text, len, take_word, &w);
	buf_free(&w.seen);
	return rc == STOP ? w.rc : rc;
}

/* ---- Parts */

struct places {
	struct place {
		size_t start, end;
		bool content;
	} list[MENTION_TEXT_WORDS_MAX];
	size_t count;
};

static int take_place(void *context, const char *word, size_t len, size_t start, size_t end)
{
	struct places *p = context;
	p->list[p->count++] = (struct place){ start, end, wording_is_content(word, len) };
	return p->count == MENTION_TEXT_WORDS_MAX ? STOP : 0;
}

static int part_say(const char *folded, size_t len, size_t start, size_t end,
		    int (*each)(void *context, const char *part, size_t len), struct buf *stopped, void *context)
{
	int rc = each(context, folded + start, end - start);
	if (rc != 0 || (end < len && folded[end] != '.'))
		return rc;
	stopped->len = 0;
	buf_append(stopped, folded + start, end - start);
	buf_u8(stopped, '.');
	return buf_failed(stopped) ? ERR_NOMEM : each(context, (const char *)stopped->data, stopped->len);
}

int mention_parts(const char *folded, size_t len, int (*each)(void *context, const char *part, size_t len),
		  void *context)
{
	struct places p = { .count = 0 };
	struct buf stopped = BUF_INIT;
	int rc = text_words_at(folded, len, take_place, &p);
	rc = rc == STOP ? 0 : rc;
	for (size_t i = 0; rc == 0 && i < p.count; i++) {
		bool content = false;
		for (size_t k = i; rc == 0 && k < p.count && k < i + MENTION_PART_WORDS_MAX; k++) {
			content = content || p.list[k].content;
			if (content)
				rc = part_say(folded, len, p.list[i].start, p.list[k].end, each, &stopped, context);
		}
	}
	buf_free(&stopped);
	return rc;
}
