/* tiny_model.h: a small random `llama` model as a GGUF file, for end-to-end tests without a download. The same seed
 * gives the same bytes. It speaks no language; what it says is a function of its seed. */
#ifndef AMEND_TESTS_TINY_MODEL_H
#define AMEND_TESTS_TINY_MODEL_H

#include "model/model.h"

#include "tests/lib/gguf_write.h"

#include <stdint.h>

#define TINY_LAYERS    4
#define TINY_HIDDEN    64
#define TINY_FFN       128
#define TINY_HEADS     4
#define TINY_KV_HEADS  2
#define TINY_HEAD_SIZE 16
#define TINY_CONTEXT   512
/* Tokens: the three control tokens, 256 bytes, then one for each merge. */
#define TINY_END_OF_TEXT 0
#define TINY_START       1
#define TINY_END         2 /* also the end-of-text id of the file, as in SmolLM2-Instruct */
#define TINY_BYTE        3 /* TINY_BYTE + b is byte b */
#define TINY_SYSTEM      "You are a tiny test model"

size_t tiny_model_vocabulary(void);
/* Only the tokenizer's metadata (with pre-tokeniser `pre`, NULL: "smollm"; chat template `chat_template`, NULL:
 * SmolLM2's form with TINY_SYSTEM, "": none). */
void tiny_model_tokenizer(struct gguf_write *w, const char *pre, const char *chat_template);
/* The whole file: float32 tensors, tied head. */
int tiny_model_write(const char *path, uint64_t seed, struct err *e) MUST_CHECK;
/* The same numbers with matrices of `type` (tests/lib/quantise.h); norms stay float32. */
int tiny_model_write_as(const char *path, uint64_t seed, enum model_type type, struct err *e) MUST_CHECK;
/* That of seed 5, opened as asked; its file is gone again when this returns. */
int tiny_model_open_as(enum model_type type, const struct model_options *options, struct model **out,
		       struct err *e) MUST_CHECK;
/* The model of seed 5, opened with backend "cpu"; its file is gone again when this returns. */
int tiny_model_open(size_t backward_from, size_t thread_count, struct model **out, struct err *e) MUST_CHECK;

#endif
