/* Text as people submit it and as it is shown: rules, folding, escapes, columns, words, and whether two prompts ask the
 * same. Three parts with a zero byte between: two prompts and a subject.
 * Limits: -max_len=8192 -malloc_limit_mb=4 -rss_limit_mb=1024 */
#include "tests/fuzz/fuzz.h"

#include "base/mention.h"
#include "base/text.h"
#include "base/wording.h"

#include <string.h>

static int word(void *context, const char *word, size_t len)
{
	fuzz_check(len > 0, "an empty word");
	(void)wording_is_content(word, len);
	++*(size_t *)context;
	return 0;
}

static void shown(const char *text, size_t len)
{
	char line[40], part[TEXT_ESCAPE_BYTES];
	struct buf escaped = BUF_INIT;
	size_t part_len, columns;
	text_escape(text, len, &escaped);
	buf_free(&escaped);
	text_show_line(text, len, line, sizeof(line));
	fuzz_check(memchr(line, 0, sizeof(line)) != NULL, "a shown line has no end");
	for (size_t at = 0, n; at < len; at += n) {
		n = text_escape_step(text + at, len - at, part, &part_len);
		fuzz_check(n > 0 && n <= len - at && part_len <= sizeof(part), "an escape takes nothing, or too much");
	}
	for (size_t at = 0, n; at < len; at += n) {
		n = text_columns_step(text + at, len - at, &columns);
		fuzz_check(n > 0 && n <= len - at && columns <= 2, "a character takes nothing, or too much");
	}
}

static void composed(const char *text, size_t len)
{
	struct buf once = BUF_INIT, folded = BUF_INIT;
	size_t words = 0;
	if (text_compose(text, len, &once) == 0) {
		const char *plain = buf_cstr(&once);
		(void)text_is_blank(plain, once.len);
		if (text_check(plain, once.len, true, NULL) == 0)
			fuzz_check(text_fold(plain, once.len, &folded) == 0 &&
					   mention_words(plain, once.len, word, &words) == 0 &&
					   mention_parts(buf_cstr(&folded), folded.len, word, &words) == 0,
				   "good text cannot be folded or split");
	}
	buf_free(&once);
	buf_free(&folded);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t len)
{
	size_t a_len, b_len;
	const char *a = (const char *)fuzz_part(&data, &len, 0, &a_len);
	const char *b = (const char *)fuzz_part(&data, &len, 0, &b_len);
	struct wording wording;
	shown(a, a_len);
	composed(a, a_len);
	if (text_check(a, a_len, false, NULL) != 0 || text_check(b, b_len, false, NULL) != 0 ||
	    text_check((const char *)data, len, false, NULL) != 0)
		return 0;
	fuzz_check(wording_compare(a, a_len, b, b_len, (const char *)data, len, &wording) == 0,
		   "good texts cannot be compared");
	fuzz_check(wording.overlap >= 0 && wording.overlap <= 1, "an overlap that is no share");
	(void)wording_alike(&wording);
	(void)wording_alike_unnamed(&wording);
	return 0;
}

void fuzz_seeds(void (*add)(const void *bytes, size_t len))
{
	static const char prompts[] =
		"Who is the vice president of Ruritania?\0the first leader of ruritania, 1894?\0Ruritania";
	static const char wide[] =
		"\xe6\x97\xa5\xe6\x9c\xac \xf0\x9f\x91\xa9\xe2\x80\x8d\xf0\x9f\x92\xbb e\xcc\x81 \x1b[31m \xe2\x80\xae"
		" \xef\xbb\xbf\r\n\xed\xa0\x80 \xc3\xa9";
	static const char folds[] = "Stra\xc3\x9f"
				    "e \xc4\xb0stanbul \xef\xac\x81n \xce\xa3\xce\xaf\xcf\x83\0STRASSE\0stra\xc3\x9f"
				    "e";
	add(prompts, sizeof(prompts) - 1);
	add(wide, sizeof(wide) - 1);
	add(folds, sizeof(folds) - 1);
}
