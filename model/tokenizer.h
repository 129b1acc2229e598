/* tokenizer.h: byte-level BPE from GGUF metadata (tokenizer.ggml.model "gpt2") with the pre-tokenisers `smollm`, `gpt2`
 * (aliases: "default") and `llama` (llama-bpe, Llama-3's expression), by PCRE2 (pretok.c lists the aliases).
 * Read-only and thread-safe after new. */
#ifndef AMEND_MODEL_TOKENIZER_H
#define AMEND_MODEL_TOKENIZER_H

#include "model/gguf.h"

#include "base/buf.h"

#define MODEL_TEXT_BYTES_MAX (1024 * 1024)

struct model_tokenizer;

/* ERR_UNSUPPORTED names the tokenizer model or pre-tokeniser that it does not know and those that it does. */
int model_tokenizer_new(const struct model_gguf *gguf, struct model_tokenizer **out, struct err *e) MUST_CHECK;
void model_tokenizer_destroy(struct model_tokenizer **tokenizer);
/* Appends ids to *ids (grown with fault_realloc; caller frees). `parse_special`: control tokens in the text become
 * their ids; off: they are ordinary text, and no control id can come out, not by merging either (edit text, prompts).
 * User-defined tokens are taken whole in both modes. Bytes that the vocabulary lacks give nothing, as in the reference
 * tokenisers (SmolLM2 lacks six C0 controls and planes 4 to 11). No BOS is added. n log n in the longest word. On error
 * *ids may have moved, *id_count is as before. ERR_INVALID (not UTF-8: says at which byte), ERR_LIMIT (over
 * MODEL_TEXT_BYTES_MAX), ERR_NOMEM. */
int model_tokenizer_encode(const struct model_tokenizer *tokenizer, const char *text, size_t len, bool parse_special,
			   int32_t **ids, size_t *id_count, struct err *e) MUST_CHECK;
/* Appends the bytes of the ids; control tokens give nothing unless `special`. Bytes may end inside a character. */
int model_tokenizer_decode(const struct model_tokenizer *tokenizer, const int32_t *ids, size_t id_count, bool special,
			   struct buf *out) MUST_CHECK;
/* The raw bytes of one token (borrowed); len 0 for an id out of range. */
const char *model_tokenizer_piece(const struct model_tokenizer *tokenizer, int32_t id, size_t *len);
size_t model_tokenizer_vocabulary(const struct model_tokenizer *tokenizer);
/* The end-of-text id (SmolLM2-Instruct: 2) and the beginning-of-text id; -1 when none. */
int32_t model_tokenizer_eos(const struct model_tokenizer *tokenizer);
int32_t model_tokenizer_bos(const struct model_tokenizer *tokenizer);
/* The lowest id of exactly these raw bytes, or -1. */
int32_t model_tokenizer_find(const struct model_tokenizer *tokenizer, const char *piece, size_t len);
bool model_tokenizer_is_control(const struct model_tokenizer *tokenizer, int32_t id);

/* Chat template (ChatML; the file's tokenizer.chat_template must be one, else ERR_UNSUPPORTED). Contents are tokenised
 * with special tokens off, only the template's own markers become control ids. When the first message is no system
 * message, the system message that the template itself holds comes first (SmolLM2: "You are a helpful AI assistant
 * named SmolLM, trained by Hugging Face"). The generation prompt is appended. ERR_INVALID (no message, another role,
 * not UTF-8), ERR_LIMIT (1,024 messages, MODEL_TEXT_BYTES_MAX in all). On error *id_count is as before. */
struct model_message {
	const char *role, *content; /* role: system, user, assistant */
	size_t content_len;
};
int model_tokenizer_chat(const struct model_tokenizer *tokenizer, const struct model_message *messages,
			 size_t message_count, int32_t **ids, size_t *id_count, struct err *e) MUST_CHECK;

#endif
