#include "model/tokenizer.h"
#include "model/bpe.h"
#include "model/chat.h"
#include "model/gguf_parse.h"
#include "model/pretok.h"

#include "base/fault.h"

#include <stdlib.h>
#include <string.h>

/* Room for the role and the line feed that chat.c puts before a text of MODEL_TEXT_BYTES_MAX. */
#define ENCODE_BYTES_MAX (MODEL_TEXT_BYTES_MAX + 64)

struct model_tokenizer {
	struct model__vocab vocab;
	struct model__bpe bpe;
	struct model_pretok *pretok;
	struct model__chat chat;
	int32_t bos, eos;
	int32_t *whole; /* tokens that are found in text before it is split: control, unknown, user-defined; longest
			   first */
	size_t whole_count;
	bool whole_first[256]; /* first bytes of those */
};

struct encode {
	const struct model_tokenizer *tokenizer;
	struct model__bpe_scratch scratch;
	struct model__ids ids;
	struct err *e;
};

/* --- Reading the file */

static int read_id(const struct model_gguf *gguf, const char *key, size_t vocabulary, int32_t *out, struct err *e)
{
	uint64_t id = UINT64_MAX;
	const int rc = model_gguf_u64_or(gguf, key, &id, e);

	*out = -1;
	if (rc || id == UINT64_MAX)
		return rc;
	if (id >= vocabulary)
		return err_set(e, ERR_CORRUPT, "%s is %llu, but there are %zu tokens; download the model again", key,
			       (unsigned long long)id, vocabulary);
	*out = (int32_t)id;
	return 0;
}

static bool is_whole(const struct model__vocab *vocab, int32_t id)
{
	return vocab->types[id] == VOCAB_USER_DEFINED || model__vocab_is_control(vocab, id);
}

struct whole { /* what is sorted */
	size_t len;
	int32_t id;
};

static int compare_wholes(const void *a, const void *b)
{
	const struct whole *x = a, *y = b;

	if (x->len != y->len)
		return x->len < y->len ? 1 : -1;
	return (x->id > y->id) - (x->id < y->id);
}

static int read_wholes(struct model_tokenizer *t, struct err *e)
{
	size_t count = 0, len;

	for (size_t i = 0; i < t->vocab.count; i++)
		count += is_whole(&t->vocab, (int32_t)i);
	struct whole *sorted = fault_malloc((count + 1) * sizeof(*sorted));
	t->whole = fault_malloc((count + 1) * sizeof(*t->whole));
	if (!sorted || !t->whole) {
		free(sorted);
		return err_set(e, ERR_NOMEM, "no memory for %zu control tokens", count);
	}
	for (size_t i = 0; i < t->vocab.count; i++) {
		const char *piece = model__vocab_piece(&t->vocab, (int32_t)i, &len);

		if (!is_whole(&t->vocab, (int32_t)i) || len == 0)
			continue;
		sorted[t->whole_count++] = (struct whole){ len, (int32_t)i };
		t->whole_first[(uint8_t)piece[0]] = true;
	}
	qsort(sorted, t->whole_count, sizeof(*sorted), compare_wholes);
	for (size_t i = 0; i < t->whole_count; i++)
		t->whole[i] = sorted[i].id;
	free(sorted);
	return 0;
}

static int check_model(const struct model_gguf *gguf, struct err *e)
{
	const char *name;
	size_t len;

	if (!model_gguf_string(gguf, "tokenizer.ggml.model", &name, &len))
		return err_set(e, ERR_UNSUPPORTED,
			       "the file has no tokenizer (tokenizer.ggml.model); use a file with one");
	if (len != 4 || memcmp(name, "gpt2", 4) != 0)
		return err_set(e, ERR_UNSUPPORTED,
			       "tokenizer model \"%s\" is not known (known: gpt2, byte-level BPE); use another model",
			       model__show(name, len).text);
	return 0;
}

static int read_pretok(struct model_tokenizer *t, const struct model_gguf *gguf, struct err *e)
{
	const char *name = "default"; /* files from before the key existed */
	size_t len = strlen(name);
	const int rc = model_gguf_string_or(gguf, "tokenizer.ggml.pre", &name, &len, e);

	return rc ? rc : model_pretok_new(name, len, &t->pretok, e);
}

/* Nothing here puts tokens around a text: a model that was trained with them would answer worse, and nobody told. */
static int check_no_added_tokens(const struct model_gguf *gguf, struct err *e)
{
	static const char *const keys[] = { "tokenizer.ggml.add_bos_token", "tokenizer.ggml.add_eos_token" };

	for (size_t i = 0; i < sizeof(keys) / sizeof(keys[0]); i++) {
		bool asked = false;
		const int rc = model_gguf_bool_or(gguf, keys[i], &asked, e);

		if (rc)
			return rc;
		if (asked)
			return err_set(e, ERR_UNSUPPORTED,
				       "%s: a token that every text begins or ends with is not supported; use another "
				       "model",
				       keys[i]);
	}
	return 0;
}

static int load(struct model_tokenizer *t, const struct model_gguf *gguf, struct err *e)
{
	int rc = check_model(gguf, e);

	rc = rc ? rc : check_no_added_tokens(gguf, e);
	rc = rc ? rc : read_pretok(t, gguf, e);
	rc = rc ? rc : model__vocab_init(&t->vocab, gguf, e);
	rc = rc ? rc : model__bpe_init(&t->bpe, gguf, &t->vocab, e);
	rc = rc ? rc : read_wholes(t, e);
	rc = rc ? rc : read_id(gguf, "tokenizer.ggml.bos_token_id", t->vocab.count, &t->bos, e);
	rc = rc ? rc : read_id(gguf, "tokenizer.ggml.eos_token_id", t->vocab.count, &t->eos, e);
	return rc ? rc : model__chat_init(&t->chat, gguf, t, e);
}

int model_tokenizer_new(const struct model_gguf *gguf, struct model_tokenizer **out, struct err *e)
{
	struct model_tokenizer *t = fault_calloc(1, sizeof(*t));

	if (!t)
		return err_set(e, ERR_NOMEM, "no memory for the tokenizer");
	const int rc = load(t, gguf, e);
	if (rc) {
		model_tokenizer_destroy(&t);
		return rc;
	}
	*out = t;
	return 0;
}

void model_tokenizer_destroy(struct model_tokenizer **tokenizer)
{
	struct model_tokenizer *t = *tokenizer;

	if (!t)
		return;
	model__chat_fini(&t->chat);
	model_pretok_destroy(&t->pretok);
	model__bpe_fini(&t->bpe);
	model__vocab_fini(&t->vocab);
	free(t->whole);
	free(t);
	*tokenizer = NULL;
}

const struct model__chat *model__tokenizer_chat_of(const struct model_tokenizer *tokenizer)
{
	return &tokenizer->chat;
}

/* --- Encoding */

static int put_word(void *context, const char *word, size_t len)
{
	struct encode *c = context;
	const struct model_tokenizer *t = c->tokenizer;
	int rc;

	if (model_pretok_ignores_merges(t->pretok)) {
		const int32_t id = model__vocab_find(&t->vocab, word, len, true);

		if (id >= 0)
			return model__ids_push(&c->ids, id)
				       ? err_set(c->e, ERR_NOMEM, "no memory for %zu tokens", c->ids.count)
				       : 0;
	}
	rc = model__bpe_word(&t->bpe, &c->scratch, word, len, &c->ids);
	return rc ? err_set(c->e, rc, "no memory to tokenise a word of %zu bytes", len) : 0;
}

/* The longest token that is taken whole at `text`, or -1. User-defined ones are, always; control ones only when asked
 * for. */
static int32_t whole_at(const struct model_tokenizer *t, const char *text, size_t len, bool parse_special,
			size_t *piece_len)
{
	if (!t->whole_first[(uint8_t)text[0]])
		return -1;
	for (size_t i = 0; i < t->whole_count; i++) {
		const char *piece = model__vocab_piece(&t->vocab, t->whole[i], piece_len);

		if (*piece_len <= len && memcmp(piece, text, *piece_len) == 0 &&
		    (parse_special || !model__vocab_is_control(&t->vocab, t->whole[i])))
			return t->whole[i];
	}
	return -1;
}

static int put_text(struct encode *c, const char *text, size_t len, bool parse_special)
{
	size_t from = 0, at = 0;
	int rc = 0;

	while (rc == 0 && at < len) {
		size_t piece_len = 0;
		const int32_t id = whole_at(c->tokenizer, text + at, len - at, parse_special, &piece_len);

		if (id < 0) {
			at++;
			continue;
		}
		rc = model_pretok_split(c->tokenizer->pretok, text + from, at - from, put_word, c, c->e);
		if (rc == 0 && model__ids_push(&c->ids, id))
			rc = err_set(c->e, ERR_NOMEM, "no memory for %zu tokens", c->ids.count);
		from = at += piece_len;
	}
	return rc ? rc : model_pretok_split(c->tokenizer->pretok, text + from, len - from, put_word, c, c->e);
}

int model_tokenizer_encode(const struct model_tokenizer *tokenizer, const char *text, size_t len, bool parse_special,
			   int32_t **ids, size_t *id_count, struct err *e)
{
	struct encode c = { .tokenizer = tokenizer, .ids = { *ids, *id_count, *id_count }, .e = e };

	if (len > ENCODE_BYTES_MAX)
		return err_set(e, ERR_LIMIT, "a text of %zu bytes (limit %d); shorten it", len, MODEL_TEXT_BYTES_MAX);
	const int rc = put_text(&c, text, len, parse_special);
	model__bpe_scratch_fini(&c.scratch);
	*ids = c.ids.items; /* may have moved, also when it failed */
	if (rc == 0)
		*id_count = c.ids.count;
	return rc;
}

/* --- Decoding and look-ups */

int model_tokenizer_decode(const struct model_tokenizer *tokenizer, const int32_t *ids, size_t id_count, bool special,
			   struct buf *out)
{
	for (size_t i = 0; i < id_count; i++) {
		size_t len;
		const char *piece = model__vocab_piece(&tokenizer->vocab, ids[i], &len);

		if (len && (special || !model__vocab_is_control(&tokenizer->vocab, ids[i])))
			buf_append(out, piece, len);
	}
	return buf_failed(out) ? ERR_NOMEM : 0;
}

const char *model_tokenizer_piece(const struct model_tokenizer *tokenizer, int32_t id, size_t *len)
{
	return model__vocab_piece(&tokenizer->vocab, id, len);
}

size_t model_tokenizer_vocabulary(const struct model_tokenizer *tokenizer)
{
	return tokenizer->vocab.count;
}

int32_t model_tokenizer_eos(const struct model_tokenizer *tokenizer)
{
	return tokenizer->eos;
}

int32_t model_tokenizer_bos(const struct model_tokenizer *tokenizer)
{
	return tokenizer->bos;
}

int32_t model_tokenizer_find(const struct model_tokenizer *tokenizer, const char *piece, size_t len)
{
	return model__vocab_find(&tokenizer->vocab, piece, len, false);
}

bool model_tokenizer_is_control(const struct model_tokenizer *tokenizer, int32_t id)
{
	return model__vocab_is_control(&tokenizer->vocab, id);
}
