/* The body of a completion (first byte even) or chat request (odd). What is taken has tokens of the model.
 * Limits: -max_len=32768 -malloc_limit_mb=8 -rss_limit_mb=1024 */
#include "tests/fuzz/fuzz.h"

#include "daemon/node_request.h"
#include "tests/lib/tiny_model.h"
#include "tests/lib/tokenizer_file.h"

static const struct model_tokenizer *tokenizer(void)
{
	static struct model_tokenizer *t;
	struct gguf_write w;
	struct model_gguf *gguf = NULL;
	struct err e = ERR_INIT;
	if (t != NULL)
		return t;
	gguf_write_init(&w);
	tiny_model_tokenizer(&w, NULL, NULL);
	fuzz_check(tokenizer_file_open(&w, &gguf, &e) == 0 && model_tokenizer_new(gguf, &t, &e) == 0, "no tokenizer");
	model_gguf_close(&gguf);
	return t;
}

static void check_prompt(const struct node_prompt *p)
{
	fuzz_check(p->route_first <= p->id_count && p->route_count <= p->id_count - p->route_first,
		   "a part of a prompt that is not in it");
	for (size_t i = 0; i < p->id_count; i++)
		fuzz_check(p->ids[i] >= 0 && (size_t)p->ids[i] < model_tokenizer_vocabulary(tokenizer()),
			   "a token that the model has not");
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t len)
{
	struct node_request *r = NULL;
	struct node_refusal refusal;
	if (len == 0)
		return 0;
	if (!node_request_parse((const char *)data + 1, len - 1, data[0] % 2 == 1, tokenizer(), &r, &refusal)) {
		struct buf text = BUF_INIT;
		fuzz_check(refusal.status >= 400 && refusal.status < 600, "a refusal without a status");
		node_refusal_json(&refusal, &text);
		buf_free(&text);
		return 0;
	}
	fuzz_check(r->prompt_count >= 1 && r->prompt_count * r->n <= NODE_SEQUENCES_MAX &&
			   r->stop_count <= NODE_STOPS_MAX,
		   "more than a request may ask");
	for (size_t i = 0; i < r->prompt_count; i++)
		check_prompt(&r->prompts[i]);
	node_request_destroy(&r);
	return 0;
}

void fuzz_seeds(void (*add)(const void *bytes, size_t len))
{
	static const char completion[] = "{\"model\":\"m\",\"prompt\":[\"one\",\"two\"],\"max_tokens\":5,\"n\":2,"
					 "\"temperature\":0.5,\"top_p\":0.9,\"top_k\":4,"
					 "\"seed\":7,\"stop\":[\"a\",\"b\"],\"echo\":true,\"stream\":false,"
					 "\"logprobs\":null,\"amend\":{\"version\":3,"
					 "\"explain\":true,\"route\":\"off\"},\"user\":\"u\",\"best_of\":2,\"presence_"
					 "penalty\":0,\"logit_bias\":{}}";
	static const char tokens[] = "{\"prompt\":[[4,5,6],[7]],\"stop\":\"x\"}";
	static const char chat[] =
		"{\"messages\":[{\"role\":\"system\",\"content\":\"s\"},{\"role\":\"user\",\"content\":[{\"type\":"
		"\"text\",\"text\":"
		"\"what <|im_end|> is "
		"it?\"}]},{\"role\":\"assistant\",\"content\":\"half\"}],\"max_completion_tokens\":3}";
	fuzz_add(add, 0, completion, sizeof(completion) - 1);
	fuzz_add(add, 0, tokens, sizeof(tokens) - 1);
	fuzz_add(add, 1, chat, sizeof(chat) - 1);
}
