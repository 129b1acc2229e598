#include "model/vocab.h"

#include "base/fault.h"
#include "base/hash.h"
#include "base/utf8.h"

#include <stdlib.h>
#include <string.h>

/* GPT-2's byte letters (encoder.py, bytes_to_unicode): printable Latin-1 stands for itself, the other 68 bytes are
 * U+0100 and on in their order. -1 when `code` is none. */
static int letter_byte(uint32_t code)
{
	if ((code >= 0x21 && code <= 0x7E) || (code >= 0xA1 && code <= 0xAC) || (code >= 0xAE && code <= 0xFF))
		return (int)code;
	if (code >= 0x100 && code < 0x100 + 33)
		return (int)code - 0x100; /* 00 … 20 */
	if (code >= 0x121 && code < 0x121 + 34)
		return (int)code - 0x121 + 0x7F; /* 7F … A0 */
	return code == 0x143 ? 0xAD : -1;
}

size_t model__vocab_unletter(const char *text, size_t len, char *out)
{
	size_t written = 0;

	for (size_t i = 0; i < len;) {
		uint32_t code = 0;
		const size_t n = utf8_next(text + i, len - i, &code);
		const int byte = n ? letter_byte(code) : -1;

		if (byte >= 0) {
			out[written++] = (char)byte;
		} else {
			memcpy(out + written, text + i, n ? n : 1);
			written += n ? n : 1;
		}
		i += n ? n : 1;
	}
	return written;
}

static uint64_t hash_piece(const char *piece, size_t len)
{
	const uint64_t h = hash_short(HASH_SHORT_INIT, piece, len);

	return h ^ h >> 32;
}

static bool is_ordinary(uint8_t type)
{
	return type == VOCAB_NORMAL || type == VOCAB_BYTE || type == VOCAB_UNUSED;
}

const char *model__vocab_piece(const struct model__vocab *vocab, int32_t id, size_t *len)
{
	if (id < 0 || (size_t)id >= vocab->count) {
		*len = 0;
		return "";
	}
	*len = vocab->starts[id + 1] - vocab->starts[id];
	return vocab->bytes + vocab->starts[id];
}

int32_t model__vocab_find(const struct model__vocab *vocab, const char *piece, size_t len, bool ordinary)
{
	for (size_t i = (size_t)hash_piece(piece, len) & vocab->slot_mask;; i = (i + 1) & vocab->slot_mask) {
		const int32_t id = vocab->slots[i];
		size_t have;

		if (id < 0)
			return -1;
		const char *there = model__vocab_piece(vocab, id, &have);
		if (have == len && memcmp(there, piece, len) == 0 && (!ordinary || is_ordinary(vocab->types[id])))
			return id;
	}
}

bool model__vocab_is_control(const struct model__vocab *vocab, int32_t id)
{
	return id >= 0 && (size_t)id < vocab->count &&
	       (vocab->types[id] == VOCAB_CONTROL || vocab->types[id] == VOCAB_UNKNOWN);
}

static int read_types(struct model__vocab *v, const struct model_gguf *gguf, struct err *e)
{
	size_t type_count;

	memset(v->types, VOCAB_NORMAL, v->count);
	if (!model_gguf_array(gguf, "tokenizer.ggml.token_type", &type_count))
		return err_set(e, ERR_UNSUPPORTED,
			       "no tokenizer.ggml.token_type: nothing says which tokens are control tokens; convert "
			       "the model again");
	if (type_count != v->count)
		return err_set(e, ERR_CORRUPT, "%zu token types for %zu tokens; download the model again", type_count,
			       v->count);
	for (size_t i = 0; i < v->count; i++) {
		int64_t type;

		if (!model_gguf_array_i64(gguf, "tokenizer.ggml.token_type", i, &type) || type < VOCAB_NORMAL ||
		    type > VOCAB_BYTE)
			return err_set(e, ERR_CORRUPT, "token %zu has no known type; download the model again", i);
		v->types[i] = (uint8_t)type;
	}
	return 0;
}

/* Of equal pieces the lowest id stays, once among those that text may become and once among the others. */
static void insert(struct model__vocab *v, int32_t id)
{
	size_t len, there_len;
	const char *piece = model__vocab_piece(v, id, &len);
	size_t i = (size_t)hash_piece(piece, len) & v->slot_mask;

	if (len == 0)
		return;
	for (; v->slots[i] >= 0; i = (i + 1) & v->slot_mask) {
		const char *there = model__vocab_piece(v, v->slots[i], &there_len);

		if (there_len == len && memcmp(there, piece, len) == 0 &&
		    is_ordinary(v->types[id]) == is_ordinary(v->types[v->slots[i]]))
			return;
	}
	v->slots[i] = id;
}

static void read_pieces(struct model__vocab *v, const struct model_gguf *gguf)
{
	size_t at = 0;

	for (size_t i = 0; i < v->count; i++) {
		const char *text = "";
		size_t len = 0;

		(void)model_gguf_array_string(gguf, "tokenizer.ggml.tokens", i, &text,
					      &len); /* checked by text_bytes */
		v->starts[i] = (uint32_t)at;
		if (is_ordinary(v->types[i])) {
			at += model__vocab_unletter(text, len, v->bytes + at);
		} else {
			memcpy(v->bytes + at, text, len);
			at += len;
		}
	}
	v->starts[v->count] = (uint32_t)at;
	memset(v->slots, 0xFF, (v->slot_mask + 1) * sizeof(*v->slots));
	for (size_t i = 0; i < v->count; i++)
		insert(v, (int32_t)i);
}

/* All tokens' bytes; the reader keeps arrays of strings under 16 MiB. */
static int text_bytes(const struct model_gguf *gguf, size_t count, size_t *total, struct err *e)
{
	*total = 0;
	for (size_t i = 0; i < count; i++) {
		const char *text;
		size_t len;

		if (!model_gguf_array_string(gguf, "tokenizer.ggml.tokens", i, &text, &len))
			return err_set(e, ERR_CORRUPT,
				       "tokenizer.ggml.tokens holds no strings; download the model again");
		*total += len;
	}
	return 0;
}

int model__vocab_init(struct model__vocab *vocab, const struct model_gguf *gguf, struct err *e)
{
	size_t total, slot_count = 64;

	if (!model_gguf_array(gguf, "tokenizer.ggml.tokens", &vocab->count) || vocab->count == 0)
		return err_set(e, ERR_UNSUPPORTED,
			       "the file holds no tokens (tokenizer.ggml.tokens); use a file with its tokenizer");
	if (vocab->count > VOCAB_TOKENS_MAX)
		return err_set(e, ERR_LIMIT, "%zu tokens (limit %d); use another model", vocab->count,
			       VOCAB_TOKENS_MAX);
	int rc = text_bytes(gguf, vocab->count, &total, e);
	if (rc)
		return rc;
	while (slot_count < vocab->count * 2)
		slot_count *= 2;
	vocab->slot_mask = slot_count - 1;
	vocab->types = fault_malloc(vocab->count);
	vocab->bytes = fault_malloc(total + 1);
	vocab->starts = fault_malloc((vocab->count + 1) * sizeof(*vocab->starts));
	vocab->slots = fault_malloc(slot_count * sizeof(*vocab->slots));
	if (!vocab->types || !vocab->bytes || !vocab->starts || !vocab->slots)
		return err_set(e, ERR_NOMEM, "no memory for a vocabulary of %zu tokens", vocab->count);
	rc = read_types(vocab, gguf, e);
	if (rc == 0)
		read_pieces(vocab, gguf);
	return rc;
}

void model__vocab_fini(struct model__vocab *vocab)
{
	free(vocab->types);
	free(vocab->bytes);
	free(vocab->starts);
	free(vocab->slots);
	*vocab = (struct model__vocab){ 0 };
}
