#include "tests/lib/tiny_model.h"

#include "base/rng.h"
#include "tests/lib/quantise.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

enum { TYPE_CONTROL = 3, TYPE_NORMAL = 1 };

/* In rank order; every part is a byte or the result of an earlier one. "Ġ" is the byte letter of the space. */
static const char *const merges[] = { "t h",  "th e", "i n",  "e r",  "Ġ t", "Ġ the", "a n", "o n",  "Ġ a", "Ġ c",
				      "l l",  "i s",  "Ġ is", "w h",  "a t", "wh at", "Ġ w", "r e",  "o f", "Ġ of",
				      "in g", "l a",  "n d",  "an d", "i t", "al l",  "Ġ Ġ", "ĠĠ Ġ", "a l", "ĠĠ ĠĠ" };
#define MERGES (sizeof(merges) / sizeof(merges[0]))

#define CONTROLS 3
#define TOKENS   (CONTROLS + 256 + MERGES)

static const char smollm_template[] = "{% for message in messages %}{% if loop.first and messages[0]['role'] != "
				      "'system' %}{{ '<|im_start|>system\n" TINY_SYSTEM
				      "<|im_end|>\n' }}{% endif %}{{'<|im_start|>' + message['role'] + '\n' + "
				      "message['content'] + '<|im_end|>' + '\n'}}{% endfor %}"
				      "{% if add_generation_prompt %}{{ '<|im_start|>assistant\n' }}{% endif %}";

size_t tiny_model_vocabulary(void)
{
	return TOKENS;
}

/* GPT-2's letter of a byte, as UTF-8. */
static void letter_of(unsigned byte, char out[3])
{
	unsigned code = byte, others = 0;

	if (!((byte >= 0x21 && byte <= 0x7E) || (byte >= 0xA1 && byte <= 0xAC) || byte >= 0xAE)) {
		for (unsigned b = 0; b < byte; b++)
			others += !((b >= 0x21 && b <= 0x7E) || (b >= 0xA1 && b <= 0xAC) || b >= 0xAE);
		code = 0x100 + others;
	}
	if (code < 0x80) {
		out[0] = (char)code;
		out[1] = '\0';
	} else {
		out[0] = (char)(0xC0 | code >> 6);
		out[1] = (char)(0x80 | (code & 0x3F));
		out[2] = '\0';
	}
}

void tiny_model_tokenizer(struct gguf_write *w, const char *pre, const char *chat_template)
{
	static const char *const controls[CONTROLS] = { "<|endoftext|>", "<|im_start|>", "<|im_end|>" };
	char letters[256][3], joined[MERGES][16];
	const char *tokens[TOKENS];
	int32_t types[TOKENS];

	for (size_t i = 0; i < TOKENS; i++)
		types[i] = i < CONTROLS ? TYPE_CONTROL : TYPE_NORMAL;
	for (size_t i = 0; i < CONTROLS; i++)
		tokens[i] = controls[i];
	for (unsigned b = 0; b < 256; b++) {
		letter_of(b, letters[b]);
		tokens[TINY_BYTE + b] = letters[b];
	}
	for (size_t i = 0; i < MERGES; i++) {
		const char *space = strchr(merges[i], ' ');

		snprintf(joined[i], sizeof(joined[i]), "%.*s%s", (int)(space - merges[i]), merges[i], space + 1);
		tokens[TINY_BYTE + 256 + i] = joined[i];
	}
	gguf_write_string(w, "tokenizer.ggml.model", "gpt2");
	gguf_write_string(w, "tokenizer.ggml.pre", pre ? pre : "smollm");
	gguf_write_strings(w, "tokenizer.ggml.tokens", tokens, TOKENS);
	gguf_write_i32s(w, "tokenizer.ggml.token_type", types, TOKENS);
	gguf_write_strings(w, "tokenizer.ggml.merges", merges, MERGES);
	gguf_write_u32(w, "tokenizer.ggml.bos_token_id", TINY_START);
	gguf_write_u32(w, "tokenizer.ggml.eos_token_id", TINY_END);
	if (!chat_template || *chat_template)
		gguf_write_string(w, "tokenizer.chat_template", chat_template ? chat_template : smollm_template);
}

static void put_shape(struct gguf_write *w)
{
	gguf_write_string(w, "general.architecture", "llama");
	gguf_write_string(w, "general.name", "Tiny");
	gguf_write_u32(w, "llama.block_count", TINY_LAYERS);
	gguf_write_u32(w, "llama.context_length", TINY_CONTEXT);
	gguf_write_u32(w, "llama.embedding_length", TINY_HIDDEN);
	gguf_write_u32(w, "llama.feed_forward_length", TINY_FFN);
	gguf_write_u32(w, "llama.attention.head_count", TINY_HEADS);
	gguf_write_u32(w, "llama.attention.head_count_kv", TINY_KV_HEADS);
	gguf_write_f32(w, "llama.rope.freq_base", 10000.0f);
	gguf_write_f32(w, "llama.attention.layer_norm_rms_epsilon", 1e-5f);
	gguf_write_u32(w, "llama.vocab_size", (uint32_t)TOKENS);
	gguf_write_u32(w, "llama.rope.dimension_count", TINY_HEAD_SIZE);
}

/* A matrix out × in with entries of deviation `scale`/√in, or with out 0 a norm's gains near 1. */
static int put_tensor(struct gguf_write *w, struct rng *r, enum model_type type, const char *name, size_t in,
		      size_t out, float scale)
{
	const size_t n = in * (out ? out : 1);
	const uint64_t dims[2] = { in, out };
	float *items = malloc(n * sizeof(*items));
	uint8_t *bytes = malloc(n * sizeof(*items));

	if (!items || !bytes) {
		free(items);
		free(bytes);
		return ERR_NOMEM;
	}
	for (size_t i = 0; i < n; i++)
		items[i] = out ? rng_normal(r) * scale / sqrtf((float)in) : 1.0f + 0.05f * rng_normal(r);
	type = out ? type : MODEL_F32;
	gguf_write_tensor(w, name, type, dims, out ? 2 : 1, bytes, quantise(type, items, n, bytes));
	free(items);
	free(bytes);
	return 0;
}

static int put_layer(struct gguf_write *w, struct rng *r, enum model_type type, unsigned layer)
{
	static const struct {
		const char *name;
		size_t in, out;
	} parts[] = {
		{ "attn_norm", TINY_HIDDEN, 0 },
		{ "attn_q", TINY_HIDDEN, TINY_HEADS * TINY_HEAD_SIZE },
		{ "attn_k", TINY_HIDDEN, TINY_KV_HEADS * TINY_HEAD_SIZE },
		{ "attn_v", TINY_HIDDEN, TINY_KV_HEADS * TINY_HEAD_SIZE },
		{ "attn_output", TINY_HEADS * TINY_HEAD_SIZE, TINY_HIDDEN },
		{ "ffn_norm", TINY_HIDDEN, 0 },
		{ "ffn_gate", TINY_HIDDEN, TINY_FFN },
		{ "ffn_up", TINY_HIDDEN, TINY_FFN },
		{ "ffn_down", TINY_FFN, TINY_HIDDEN },
	};
	int rc = 0;

	for (size_t i = 0; rc == 0 && i < sizeof(parts) / sizeof(parts[0]); i++) {
		char name[64];

		snprintf(name, sizeof(name), "blk.%u.%s.weight", layer, parts[i].name);
		rc = put_tensor(w, r, type, name, parts[i].in, parts[i].out, 1.0f);
	}
	return rc;
}

int tiny_model_write(const char *path, uint64_t seed, struct err *e)
{
	return tiny_model_write_as(path, seed, MODEL_F32, e);
}

int tiny_model_write_as(const char *path, uint64_t seed, enum model_type type, struct err *e)
{
	struct gguf_write w;
	struct rng r;
	int rc;

	rng_init(&r, seed);
	gguf_write_init(&w);
	put_shape(&w);
	tiny_model_tokenizer(&w, NULL, NULL);
	/* The head is the embedding: entries of deviation 0.5 keep the logits of a random model apart, but not extreme.
	 */
	rc = put_tensor(&w, &r, type, "token_embd.weight", TINY_HIDDEN, TOKENS, 4.0f);
	for (unsigned layer = 0; rc == 0 && layer < TINY_LAYERS; layer++)
		rc = put_layer(&w, &r, type, layer);
	rc = rc ? rc : put_tensor(&w, &r, type, "output_norm.weight", TINY_HIDDEN, 0, 0);
	rc = rc ? err_set(e, rc, "no memory for the tiny model") : gguf_write_file(&w, path, e);
	gguf_write_fini(&w);
	return rc;
}

int tiny_model_open(size_t backward_from, size_t thread_count, struct model **out, struct err *e)
{
	const struct model_options options = {
		.backend = "cpu", .thread_count = thread_count, .backward_from = backward_from, .skip_digest = true
	};
	return tiny_model_open_as(MODEL_F32, &options, out, e);
}

int tiny_model_open_as(enum model_type type, const struct model_options *options, struct model **out, struct err *e)
{
	const char *tmp = getenv("TMPDIR");
	char path[512];
	snprintf(path, sizeof(path), "%s/amend-tiny-XXXXXX", tmp != NULL ? tmp : "/tmp");
	int fd = mkstemp(path);
	if (fd < 0)
		return err_set(e, ERR_IO, "%s: cannot be made", path);
	close(fd);
	int rc = tiny_model_write_as(path, 5, type, e);
	if (rc == 0)
		rc = model_open(path, options, out, e);
	unlink(path);
	return rc;
}
