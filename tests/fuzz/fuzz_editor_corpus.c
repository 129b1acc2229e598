/* A calibration corpus: its lines, and the texts that may not be evaluated with what was fitted on them.
 * Limits: -max_len=32768 -malloc_limit_mb=4 -rss_limit_mb=1024 */
#include "tests/fuzz/fuzz.h"

#include "editor/calibration_file.h"
#include "editor/corpus.h"

#include <stdlib.h>
#include <string.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t len)
{
	const char *text = (const char *)data;
	struct editor_corpus corpus;
	struct editor_corpus_line line;
	struct editor_fitting fitting = { .text_count = 0 };
	struct err e = ERR_INIT;
	size_t count = 0;
	int rc;
	editor_corpus_init(&corpus, "corpus", text, len);
	while ((rc = editor_corpus_next(&corpus, &line, &e)) != ERR_NOT_FOUND) {
		fuzz_check(rc == 0 || rc == ERR_INVALID || rc == ERR_LIMIT, "another error");
		fuzz_check(rc != 0 || (line.text.len > 0 && line.text.text >= text &&
				       line.text.text + line.text.len <= text + len),
			   "a text that is not in the corpus");
		fuzz_check(++count <= editor_corpus_lines(text, len), "more lines than there are");
	}
	if (editor_fitting_add_corpus(&fitting, text, len, &e) == 0)
		editor_fitting_sort(&fitting);
	editor_fitting_fini(&fitting);
	return 0;
}

void fuzz_seeds(void (*add)(const void *bytes, size_t len))
{
	static const char good[] =
		"prompt\tg1\tX\tWho leads X?\nrephrase\tg1\tX\tX's leader is\nother\tg1\tX\tWhere is X?\r\n"
		"\nunrelated\tu\t\tnq: what is \xc3\xa9?\n";
	static const char bad[] = "prompt\tg1\tX\nunknown\tg\ts\tt\nprompt\tg\ts\t\n\xff\t\t\tt";
	add(good, sizeof(good) - 1);
	add(bad, sizeof(bad) - 1);
}
