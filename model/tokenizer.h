/* tokenizer.h: byte-level BPE from GGUF metadata (tokenizer.ggml.model "gpt2") with the pre-tokenisers `smollm`, `gpt2`
 * (aliases: "default") and `llama` (llama-bpe, Llama-3's expression), by PCRE2 (pretok.c). Read-only and thread-safe after new. */
#ifndef AMEND_MODEL_TOKENIZER_H
#define AMEND_MODEL_TOKENIZER_H

#include "model/gguf.h"

#include "base/buf.h"

#define MODEL_TEXT_BYTES_MAX (1024 * 1024)

struct model_tokenizer;

/* ERR_UNSUPPORTED names the tokenizer model or pre-tokeniser that it does not know and those that it does. */
int model_tokenizer_new(const struct model_gguf *gguf, struct model_tokenizer **out, struct err *e) MUST_CHECK;
void model_tokenizer_destroy(struct model_tokenizer **tokenizer);
/* Appends ids to *ids (grown with fault_realloc; caller frees). `parse_special`: control tokens in the text become their ids;
 * off: they are ordinary text, and no special id can come out (edit text, prompts). No BOS is added. */
int model_tokenizer_encode(const struct model_tokenizer *tokenizer, const char *text, size_t len, bool parse_special, int32_t **ids,
                           size_t *id_count, struct err *e) MUST_CHECK;
/* Appends the bytes of the ids; control tokens give nothing unless `special`. Bytes may end inside a UTF-8 character. */
int model_tokenizer_decode(const struct model_tokenizer *tokenizer, const int32_t *ids, size_t id_count, bool special, struct buf *out) MUST_CHECK;
/* The raw bytes of one token (borrowed); len 0 for an id out of range. */
const char *model_tokenizer_piece(const struct model_tokenizer *tokenizer, int32_t id, size_t *len);
size_t model_tokenizer_vocabulary(const struct model_tokenizer *tokenizer);
int32_t model_tokenizer_eos(const struct model_tokenizer *tokenizer); /* end of text: SmolLM2-Instruct 2 */
int32_t model_tokenizer_bos(const struct model_tokenizer *tokenizer); /* -1 when none */
int32_t model_tokenizer_find(const struct model_tokenizer *tokenizer, const char *piece, size_t len); /* id of exact piece or -1 */
bool model_tokenizer_is_control(const struct model_tokenizer *tokenizer, int32_t id);

/* Chat template (ChatML; the file's tokenizer.chat_template must be one, else ERR_UNSUPPORTED). Contents are tokenised with
 * special tokens off, only the template's own markers become control ids. The generation prompt is appended. */
struct model_message {
	const char *role, *content; /* role: system, user, assistant */
	size_t content_len;
};
int model_tokenizer_chat(const struct model_tokenizer *tokenizer, const struct model_message *messages, size_t message_count,
                         int32_t **ids, size_t *id_count, struct err *e) MUST_CHECK;

#endif
