/* A tokenizer's metadata, and text for it. Parts with a byte 0xff between, which is no UTF-8: pre-tokeniser, tokens a
 * line, their types a byte, merges a line, chat template, text. What is encoded must decode, and not to more than it
 * was. Limits: -max_len=16384 -malloc_limit_mb=8 -rss_limit_mb=1024 */
#include "tests/fuzz/fuzz.h"

#include "model/tokenizer.h"
#include "tests/lib/gguf_write.h"

#include <stdlib.h>
#include <string.h>

#define LINES_MAX 512

static void lines(struct gguf_write *w, const char *key, char *text)
{
	const char *line[LINES_MAX];
	size_t count = 0;
	char *save = NULL;
	for (char *at = strtok_r(text, "\n", &save); at != NULL && count < LINES_MAX; at = strtok_r(NULL, "\n", &save))
		line[count++] = at;
	gguf_write_strings(w, key, line, count);
}

static void types(struct gguf_write *w, const uint8_t *bytes, size_t len)
{
	int32_t type[LINES_MAX];
	const size_t count = len < LINES_MAX ? len : LINES_MAX;
	for (size_t i = 0; i < count; i++)
		type[i] = (int32_t)bytes[i] - '0';
	gguf_write_i32s(w, "tokenizer.ggml.token_type", type, count);
}

static struct model_gguf *metadata(const uint8_t **data, size_t *len)
{
	static const char *const keys[] = { "tokenizer.ggml.pre", "tokenizer.ggml.tokens", "tokenizer.ggml.token_type",
					    "tokenizer.ggml.merges", "tokenizer.chat_template" };
	struct gguf_write w;
	struct buf file = BUF_INIT;
	struct model_gguf *gguf = NULL;
	struct err e = ERR_INIT;
	gguf_write_init(&w);
	gguf_write_string(&w, "tokenizer.ggml.model", "gpt2");
	gguf_write_u32(&w, "tokenizer.ggml.bos_token_id", 1);
	gguf_write_u32(&w, "tokenizer.ggml.eos_token_id", 2);
	for (size_t i = 0; i < 5; i++) {
		size_t part_len;
		const uint8_t *part = fuzz_part(data, len, 0xff, &part_len);
		char *text = fuzz_text(part, part_len);
		if (i == 2)
			types(&w, part, part_len);
		else if (i == 0 || i == 4)
			gguf_write_string(&w, keys[i], text);
		else
			lines(&w, keys[i], text);
		free(text);
	}
	fuzz_check(gguf_write_end(&w, &file, NULL) == 0, "out of memory");
	gguf_write_fini(&w);
	(void)!model_gguf_open(fuzz_file(file.data, file.len), &gguf, &e);
	buf_free(&file);
	return gguf;
}

static void use(const struct model_tokenizer *t, const char *text, size_t len)
{
	const struct model_message messages[] = { { "system", text, len / 2 }, { "user", text, len } };
	struct err e = ERR_INIT;
	struct buf back = BUF_INIT;
	for (int special = 0; special < 2; special++) {
		int32_t *ids = NULL;
		size_t count = 0;
		if (model_tokenizer_encode(t, text, len, special, &ids, &count, &e) == 0) {
			buf_clear(&back);
			for (size_t i = 0; i < count; i++)
				fuzz_check(ids[i] >= 0 && (size_t)ids[i] < model_tokenizer_vocabulary(t) &&
						   (special || !model_tokenizer_is_control(t, ids[i])),
					   "an id that cannot be");
			fuzz_check(model_tokenizer_decode(t, ids, count, true, &back) == 0, "ids do not decode");
			fuzz_check(back.len <= len, "more text came back than there was");
		}
		free(ids);
	}
	buf_free(&back);
	int32_t *ids = NULL;
	size_t count = 0;
	(void)!model_tokenizer_chat(t, messages, 2, &ids, &count, &e);
	free(ids);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t len)
{
	struct model_gguf *gguf = metadata(&data, &len);
	struct model_tokenizer *t = NULL;
	struct err e = ERR_INIT;
	if (gguf != NULL && model_tokenizer_new(gguf, &t, &e) == 0)
		use(t, (const char *)data, len);
	model_tokenizer_destroy(&t);
	model_gguf_close(&gguf);
	return 0;
}

static void seed(void (*add)(const void *bytes, size_t len), const char *pre, const char *text)
{
	struct buf b = BUF_INIT;
	buf_puts(&b, pre);
	buf_puts(&b, "\xff<|endoftext|>\n<|im_start|>\n<|im_end|>\nhello\na\nb\nab\nc\nabc\n1\n\xc4\xa0\n\xc4\xa0"
		     "a\n\xc3\xa9\n!\n\xff"
		     "3334111111111\xff"
		     "a b\nab c\n\xc4\xa0 a\n\xff"
		     "{% for message in messages %}{% if loop.first and messages[0]['role'] != 'system' %}"
		     "{{ '<|im_start|>system\\nYou are it<|im_end|>\\n' }}{% endif %}{{'<|im_start|>' + "
		     "message['role'] + '\\n' + "
		     "message['content'] + '<|im_end|>' + '\\n'}}{% endfor %}\xff");
	buf_puts(&b, text);
	add(b.data, b.len);
	buf_free(&b);
}

void fuzz_seeds(void (*add)(const void *bytes, size_t len))
{
	seed(add, "smollm", "abc hello 12 a\xc3\xa9!");
	seed(add, "gpt2", "<|im_start|>abcabc  a's");
	seed(add, "llama-bpe", "123456 ab\n\n c<|endoftext|>");
}
