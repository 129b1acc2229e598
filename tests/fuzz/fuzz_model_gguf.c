/* GGUF files: opened, every tensor and every kind of value looked at, small tensors de-quantised.
 * Limits: -max_len=32768 -malloc_limit_mb=4 -rss_limit_mb=1024 */
#include "tests/fuzz/fuzz.h"

#include "model/gguf.h"
#include "model/quant.h"
#include "tests/lib/gguf_write.h"

#define ELEMENTS_MAX 4096

static const char *const keys[] = { "u32", "u64", "f32", "bool", "string", "strings", "i32s", "general.alignment" };

static void values(const struct model_gguf *gguf)
{
	for (size_t i = 0; i < sizeof(keys) / sizeof(keys[0]); i++) {
		uint64_t u;
		double f;
		bool b;
		const char *text;
		size_t len, count = 0;
		int64_t item, sum = 0;
		struct err e = ERR_INIT;
		(void)model_gguf_u64(gguf, keys[i], &u);
		(void)model_gguf_f64(gguf, keys[i], &f);
		(void)model_gguf_bool(gguf, keys[i], &b);
		(void)!model_gguf_u64_or(gguf, keys[i], &u, &e);
		if (model_gguf_string(gguf, keys[i], &text, &len))
			for (size_t k = 0; k < len; k++)
				sum += text[k];
		if (!model_gguf_array(gguf, keys[i], &count))
			continue;
		for (size_t k = 0; k < count; k++) {
			(void)model_gguf_array_i64(gguf, keys[i], k, &item);
			if (model_gguf_array_string(gguf, keys[i], k, &text, &len) && len > 0)
				sum += text[0] + text[len - 1];
		}
		fuzz_check(sum != INT64_MAX, "never: it only keeps the reads");
	}
}

static void tensors(const struct model_gguf *gguf)
{
	float out[ELEMENTS_MAX];
	for (size_t i = 0; i < model_gguf_tensor_count(gguf); i++) {
		const struct model_tensor *t = model_gguf_tensor_at(gguf, i);
		if (t->element_count > 0 && t->element_count <= ELEMENTS_MAX)
			model_quant_dequantise(t->type, t->data, (size_t)t->element_count, out);
	}
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t len)
{
	struct model_gguf *gguf = NULL;
	struct err e = ERR_INIT;
	if (model_gguf_open(fuzz_file(data, len), &gguf, &e) != 0)
		return 0;
	values(gguf);
	tensors(gguf);
	(void)model_gguf_tensor(gguf, "1");
	model_gguf_close(&gguf);
	return 0;
}

static void fill(struct gguf_write *w)
{
	static const uint8_t data[1024] = { 1, 2, 3 };
	static const struct {
		const char *name;
		uint32_t type;
		uint64_t dims[2];
		size_t bytes;
	} kinds[] = {
		{ "0", MODEL_F32, { 4, 2 }, 32 },      { "1", MODEL_F16, { 8, 2 }, 32 },
		{ "2", MODEL_Q4_0, { 32, 2 }, 36 },    { "3", MODEL_Q4_1, { 32, 2 }, 40 },
		{ "8", MODEL_Q8_0, { 32, 2 }, 68 },    { "12", MODEL_Q4_K, { 256, 2 }, 288 },
		{ "14", MODEL_Q6_K, { 256, 1 }, 210 }, { "30", MODEL_BF16, { 8, 1 }, 16 },
	};
	gguf_write_u32(w, "u32", 7);
	gguf_write_u64(w, "u64", UINT64_MAX);
	gguf_write_f32(w, "f32", 0.5f);
	gguf_write_bool(w, "bool", true);
	gguf_write_string(w, "string", "text");
	gguf_write_strings(w, "strings", (const char *const[]){ "a", "", "bc" }, 3);
	gguf_write_i32s(w, "i32s", (const int32_t[]){ -1, 0, 1 }, 3);
	for (size_t i = 0; i < sizeof(kinds) / sizeof(kinds[0]); i++)
		gguf_write_tensor(w, kinds[i].name, kinds[i].type, kinds[i].dims, 2, data, kinds[i].bytes);
}

void fuzz_seeds(void (*add)(const void *bytes, size_t len))
{
	for (uint32_t version = 2; version <= 3; version++) {
		struct gguf_write w;
		struct buf out = BUF_INIT;
		gguf_write_init(&w);
		w.version = version;
		if (version == 3)
			fill(&w);
		fuzz_check(gguf_write_end(&w, &out, NULL) == 0, "out of memory");
		add(out.data, out.len);
		buf_free(&out);
		gguf_write_fini(&w);
	}
}
