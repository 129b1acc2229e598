/* tokenizer_file.h: opens a tokenizer from metadata that a test writes. Not thread-safe. */
#ifndef AMEND_TESTS_TOKENIZER_FILE_H
#define AMEND_TESTS_TOKENIZER_FILE_H

#include "tests/lib/gguf_write.h"

struct model_gguf;

/* Writes `w` (taken and freed) to a temporary file and opens that; the file is unlinked at once: the map keeps it. */
int tokenizer_file_open(struct gguf_write *w, struct model_gguf **out, struct err *e) MUST_CHECK;

/* A vocabulary by hand: tokens with their types (1 normal, 3 control, 4 user-defined, …) and merges; pre-tokeniser
 * `pre`. */
struct tokenizer_file {
	const char *pre;
	const char *const *tokens;
	const int32_t *types;
	size_t token_count;
	const char *const *merges;
	size_t merge_count;
};
void tokenizer_file_write(const struct tokenizer_file *file, struct gguf_write *w);

#endif
