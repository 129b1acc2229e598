/* pretok.h: splits text into the words that byte-pair merges never cross, by the expression that the model was trained
 * with (PCRE2, with its just-in-time compiler where the system allows it). Read-only and thread-safe after new. */
#ifndef AMEND_MODEL_PRETOK_H
#define AMEND_MODEL_PRETOK_H

#include "base/err.h"

#include <stdbool.h>

struct model_pretok;

/* `name`: the file's tokenizer.ggml.pre, not NUL-terminated. ERR_UNSUPPORTED names those that are known. */
int model_pretok_new(const char *name, size_t name_len, struct model_pretok **out, struct err *e) MUST_CHECK;
void model_pretok_destroy(struct model_pretok **pretok);
/* Whether a word that is a token as a whole is taken without merging (Llama 3: "ignore_merges"). */
bool model_pretok_ignores_merges(const struct model_pretok *pretok);
/* Calls `each` for every word in order; the words put together are the text. Stops at the first non-zero result and
 * returns it
 * (`e` is then what `each` made of it). ERR_INVALID: not UTF-8, says at which byte. */
int model_pretok_split(const struct model_pretok *pretok, const char *text, size_t len,
		       int (*each)(void *context, const char *word, size_t len), void *context,
		       struct err *e) MUST_CHECK;

#endif
