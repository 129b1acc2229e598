/* vocab.h: the tokens of a byte-level vocabulary as raw bytes, and the way back by a hash table. Inside model/ only.
 * Read-only after init. */
#ifndef AMEND_MODEL_VOCAB_H
#define AMEND_MODEL_VOCAB_H

#include "model/gguf.h"

#define VOCAB_TOKENS_MAX (1024 * 1024)

/* Numbers of llama_token_type. */
enum model__token_type {
	VOCAB_NORMAL = 1,
	VOCAB_UNKNOWN = 2,
	VOCAB_CONTROL = 3,
	VOCAB_USER_DEFINED = 4,
	VOCAB_UNUSED = 5,
	VOCAB_BYTE = 6,
};

struct model__vocab {
	size_t count;
	uint8_t *types;   /* enum model__token_type by id */
	char *bytes;      /* all pieces, one after the other */
	uint32_t *starts; /* count + 1 */
	int32_t *slots;   /* open addressing by the hash of the piece; -1: empty */
	size_t slot_mask;
};

/* Reads tokenizer.ggml.tokens and token_type. Zero the struct before; fini after a failure too. */
int model__vocab_init(struct model__vocab *vocab, const struct model_gguf *gguf, struct err *e) MUST_CHECK;
void model__vocab_fini(struct model__vocab *vocab);
const char *model__vocab_piece(const struct model__vocab *vocab, int32_t id, size_t *len);
/* Lowest id of these raw bytes, or -1. `ordinary`: only tokens that plain text may become (normal, byte, unused). */
int32_t model__vocab_find(const struct model__vocab *vocab, const char *piece, size_t len, bool ordinary);
bool model__vocab_is_control(const struct model__vocab *vocab, int32_t id);
/* Raw bytes of a token's text in GPT-2's byte letters (a visible letter for each byte; others stay as they are). `out`
 * has room for `len` bytes; returns how many were written. */
size_t model__vocab_unletter(const char *text, size_t len, char *out);

#endif
