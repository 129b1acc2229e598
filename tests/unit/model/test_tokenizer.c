#include "model/tokenizer.h"

#include "base/fault.h"
#include "base/rng.h"
#include "model/pretok.h"
#include "tests/lib/tiny_model.h"
#include "tests/lib/tokenizer_file.h"

#include <pthread.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#define COUNT(a) (sizeof(a) / sizeof((a)[0]))

struct fixture {
	struct model_gguf *gguf;
	struct model_tokenizer *t;
};

static int setup(void **state)
{
	static struct fixture f;
	struct gguf_write w;
	struct err e = ERR_INIT;

	gguf_write_init(&w);
	tiny_model_tokenizer(&w, NULL, NULL);
	f = (struct fixture){ NULL, NULL };
	*state = &f;
	return tokenizer_file_open(&w, &f.gguf, &e) || model_tokenizer_new(f.gguf, &f.t, &e) ? -1 : 0;
}

static int teardown(void **state)
{
	struct fixture *f = *state;

	model_tokenizer_destroy(&f->t);
	model_gguf_close(&f->gguf);
	return 0;
}

static int32_t id_of(const struct model_tokenizer *t, const char *piece)
{
	const int32_t id = model_tokenizer_find(t, piece, strlen(piece));

	assert_true(id >= 0);
	return id;
}

/* Encodes and compares with pieces separated by '^'; "" is no token at all. */
static void check(const struct model_tokenizer *t, const char *text, bool parse_special, const char *wanted)
{
	struct buf got = BUF_INIT;
	struct err e = ERR_INIT;
	int32_t *ids = NULL;
	size_t count = 0, len;

	assert_int_equal(model_tokenizer_encode(t, text, strlen(text), parse_special, &ids, &count, &e), 0);
	for (size_t i = 0; i < count; i++) {
		const char *piece = model_tokenizer_piece(t, ids[i], &len);

		if (i)
			buf_u8(&got, '^');
		buf_append(&got, piece, len);
	}
	assert_string_equal(buf_cstr(&got), wanted);
	buf_free(&got);
	free(ids);
}

static void test_merges_by_rank(void **state)
{
	const struct model_tokenizer *t = ((struct fixture *)*state)->t;

	check(t, "", false, "");
	check(t, "the", false, "the");
	check(t, "thes", false, "the^s");
	check(t, "what is the", false, "what^ is^ the");
	check(t, "king land", false, "k^ing^ ^l^and");
	check(t, " all", false, " a^ll"); /* "Ġ a" outranks "a l" and "l l" comes after it */
	check(t, "x     y", false, "x^    ^ ^y");
	check(t, "\xc3\xa9", false, "\xc3^\xa9"); /* a character without a merge is its bytes */
	check(t, "12", false, "1^2");
}

static void test_control_tokens(void **state)
{
	const struct model_tokenizer *t = ((struct fixture *)*state)->t;

	check(t, "<|im_end|>", true, "<|im_end|>");
	check(t, "a<|im_start|>the<|im_end|><|endoftext|>b", true, "a^<|im_start|>^the^<|im_end|>^<|endoftext|>^b");
	check(t, "<|im_end|", true, "<^|^i^m^_^e^nd^|");
	check(t, "<|<|im_end|>", true, "<^|^<|im_end|>");
	check(t, "<|im_end|>", false, "<^|^i^m^_^e^nd^|^>");
	assert_int_equal(id_of(t, "<|im_end|>"), TINY_END);
	assert_int_equal(model_tokenizer_eos(t), TINY_END);
	assert_int_equal(model_tokenizer_bos(t), TINY_START);
	for (int32_t id = 0; id < (int32_t)tiny_model_vocabulary(); id++)
		assert_int_equal(model_tokenizer_is_control(t, id), id < TINY_BYTE);
	assert_false(model_tokenizer_is_control(t, -1));
	assert_false(model_tokenizer_is_control(t, (int32_t)tiny_model_vocabulary()));
}

static void test_look_ups(void **state)
{
	const struct model_tokenizer *t = ((struct fixture *)*state)->t;
	size_t len = 9;

	assert_int_equal(model_tokenizer_vocabulary(t), tiny_model_vocabulary());
	for (int b = 0; b < 256; b++) {
		const char byte = (char)b;
		const char *piece = model_tokenizer_piece(t, TINY_BYTE + b, &len);

		assert_int_equal(len, 1);
		assert_int_equal((unsigned char)piece[0], b);
		assert_int_equal(model_tokenizer_find(t, &byte, 1), TINY_BYTE + b);
	}
	assert_int_equal(model_tokenizer_find(t, "zzz", 3), -1);
	assert_int_equal(model_tokenizer_find(t, "", 0), -1);
	(void)model_tokenizer_piece(t, -1, &len);
	assert_int_equal(len, 0);
	(void)model_tokenizer_piece(t, INT32_MAX, &len);
	assert_int_equal(len, 0);
}

static void test_decode(void **state)
{
	const struct model_tokenizer *t = ((struct fixture *)*state)->t;
	const int32_t ids[] = { TINY_START, id_of(t, "the"), TINY_BYTE + 0xC3, -7, 1 << 30, TINY_END };
	struct buf out = BUF_INIT;

	assert_int_equal(model_tokenizer_decode(t, ids, COUNT(ids), false, &out), 0);
	assert_string_equal(buf_cstr(&out), "the\xc3");
	assert_int_equal(model_tokenizer_decode(t, ids, COUNT(ids), true, &out), 0); /* appends */
	assert_string_equal(buf_cstr(&out), "the\xc3<|im_start|>the\xc3<|im_end|>");
	buf_free(&out);
	assert_int_equal(model_tokenizer_decode(t, NULL, 0, true, &out), 0);
	fault_set(0, 1);
	assert_int_equal(model_tokenizer_decode(t, ids, COUNT(ids), false, &out), ERR_NOMEM);
	fault_set(-1, 0);
	buf_free(&out);
}

/* --- The slow definition of byte-pair merging: find the lowest rank anywhere, leftmost; merge; again. */

struct slow {
	const struct fixture *f;
	int32_t *ids;
	size_t count;
};

static size_t rank_of(const struct fixture *f, int32_t left, int32_t right)
{
	size_t merge_count, left_len, right_len, text_len;
	const char *a = model_tokenizer_piece(f->t, left, &left_len),
		   *b = model_tokenizer_piece(f->t, right, &right_len);
	char joined[64], plain[64];

	memcpy(joined, a, left_len);
	joined[left_len] = '|';
	memcpy(joined + left_len + 1, b, right_len);
	assert_true(model_gguf_array(f->gguf, "tokenizer.ggml.merges", &merge_count));
	for (size_t rank = 0; rank < merge_count; rank++) {
		const char *text;
		size_t n = 0;

		assert_true(model_gguf_array_string(f->gguf, "tokenizer.ggml.merges", rank, &text, &text_len));
		for (size_t i = 0; i < text_len; i++) { /* the tiny merges use one letter beyond ASCII: the space's */
			const bool space_letter = text[i] == '\xc4';

			plain[n++] = space_letter ? ' ' : text[i] == ' ' ? '|' : text[i];
			i += space_letter;
		}
		if (n == left_len + right_len + 1 && memcmp(plain, joined, n) == 0)
			return rank;
	}
	return SIZE_MAX;
}

static int slow_word(void *context, const char *word, size_t len)
{
	struct slow *s = context;
	int32_t *ids = s->ids + s->count;
	char joined[64];
	size_t n = len, left_len, right_len;

	for (size_t i = 0; i < len; i++)
		ids[i] = TINY_BYTE + (unsigned char)word[i];
	for (;;) {
		size_t best = SIZE_MAX, at = 0;

		for (size_t i = 0; i + 1 < n; i++) {
			const size_t rank = rank_of(s->f, ids[i], ids[i + 1]);

			if (rank < best) {
				best = rank;
				at = i;
			}
		}
		if (best == SIZE_MAX)
			break;
		const char *a = model_tokenizer_piece(s->f->t, ids[at], &left_len);
		const char *b = model_tokenizer_piece(s->f->t, ids[at + 1], &right_len);
		memcpy(joined, a, left_len);
		memcpy(joined + left_len, b, right_len);
		ids[at] = model_tokenizer_find(s->f->t, joined, left_len + right_len);
		memmove(ids + at + 1, ids + at + 2, (n - at - 2) * sizeof(*ids));
		n--;
	}
	s->count += n;
	return 0;
}

static size_t random_text(struct rng *r, char *text, size_t max)
{
	static const char *const parts[] = { "th", "e",  " ",  "in", "g",        "an",           "l",   "a",
					     "t",  "wh", "is", " t", "  ",       "on",           "nd",  "o",
					     "f",  "re", "\n", "7",  "\xc3\xa9", "\xe4\xbd\xa0", "'ll", "." };
	const size_t wanted = 1 + rng_below(r, max - 8);
	size_t len = 0;

	while (len < wanted) {
		const char *part = parts[rng_below(r, COUNT(parts))];

		memcpy(text + len, part, strlen(part));
		len += strlen(part);
	}
	return len;
}

static void test_against_the_slow_definition(void **state)
{
	const struct fixture *f = *state;
	struct model_pretok *p = NULL;
	struct err e = ERR_INIT;
	struct rng r;
	char text[128];
	int32_t slow_ids[128];

	rng_init(&r, 3);
	assert_int_equal(model_pretok_new("smollm", 6, &p, &e), 0);
	for (int round = 0; round < 1000; round++) {
		const size_t len = random_text(&r, text, sizeof(text) - 8);
		struct slow s = { f, slow_ids, 0 };
		struct buf back = BUF_INIT;
		int32_t *ids = NULL;
		size_t count = 0;

		assert_int_equal(model_tokenizer_encode(f->t, text, len, false, &ids, &count, &e), 0);
		assert_int_equal(model_pretok_split(p, text, len, slow_word, &s, &e), 0);
		assert_int_equal(count, s.count);
		assert_memory_equal(ids, slow_ids, count * sizeof(*ids));
		assert_int_equal(model_tokenizer_decode(f->t, ids, count, false, &back), 0);
		assert_int_equal(back.len, len);
		assert_memory_equal(back.data, text, len);
		buf_free(&back);
		free(ids);
	}
	model_pretok_destroy(&p);
}

/* One word of a megabyte: merging it must not be quadratic. The test's time limit is the assertion. */
static void test_long_words_and_the_limit(void **state)
{
	const struct model_tokenizer *t = ((struct fixture *)*state)->t;
	static const char *const units[] = { "a", "th", "the", " ", "l", "<|im_" };
	const size_t len = MODEL_TEXT_BYTES_MAX;
	char *text = malloc(len + 4096);
	struct err e = ERR_INIT;

	assert_non_null(text);
	for (size_t u = 0; u < COUNT(units); u++) {
		int32_t *ids = NULL;
		size_t count = 0;

		for (size_t i = 0; i < len + 4096; i++)
			text[i] = units[u][i % strlen(units[u])];
		assert_int_equal(model_tokenizer_encode(t, text, len, true, &ids, &count, &e), 0);
		assert_true(count >= len / 4 - 1 && count <= len);
		assert_int_equal(model_tokenizer_encode(t, text, len + 4096, true, &ids, &count, &e), ERR_LIMIT);
		free(ids);
	}
	free(text);
}

static void test_appends_and_takes_nothing_on_error(void **state)
{
	const struct model_tokenizer *t = ((struct fixture *)*state)->t;
	struct err e = ERR_INIT;
	int32_t *ids = NULL;
	size_t count = 0;
	int rc = ERR_NOMEM;

	assert_int_equal(model_tokenizer_encode(t, "the", 3, false, &ids, &count, &e), 0);
	assert_int_equal(count, 1);
	assert_int_equal(model_tokenizer_encode(t, "what \xff", 6, false, &ids, &count, &e), ERR_INVALID);
	assert_int_equal(count, 1);
	for (int64_t n = 0; n < 100 && rc; n++) {
		fault_set(n, 1);
		rc = model_tokenizer_encode(t, " the<|im_end|>what", 18, true, &ids, &count, &e);
		fault_set(-1, 0);
		assert_true(rc == 0 || (rc == ERR_NOMEM && count == 1));
	}
	assert_int_equal(rc, 0);
	assert_int_equal(count, 4);
	assert_int_equal(ids[0], id_of(t, "the"));
	assert_int_equal(ids[1], id_of(t, " the"));
	assert_int_equal(ids[2], TINY_END);
	assert_int_equal(ids[3], id_of(t, "what"));
	free(ids);
}

struct thread_job {
	const struct model_tokenizer *t;
	int failures;
};

static void *encode_often(void *context)
{
	struct thread_job *job = context;
	static const char text[] = "what is the king of all lands 12 \xc3\xa9";

	for (int i = 0; i < 200; i++) {
		int32_t *ids = NULL;
		size_t count = 0;

		job->failures += model_tokenizer_encode(job->t, text, strlen(text), true, &ids, &count, NULL) != 0 ||
				 count < 12;
		free(ids);
	}
	return NULL;
}

static void test_threads_share_it(void **state)
{
	struct thread_job jobs[4];
	pthread_t threads[4];

	for (size_t i = 0; i < 4; i++) {
		jobs[i] = (struct thread_job){ ((struct fixture *)*state)->t, 0 };
		assert_int_equal(pthread_create(&threads[i], NULL, encode_often, &jobs[i]), 0);
	}
	for (size_t i = 0; i < 4; i++) {
		assert_int_equal(pthread_join(threads[i], NULL), 0);
		assert_int_equal(jobs[i].failures, 0);
	}
}

/* --- Vocabularies by hand */

static void check_file(const struct tokenizer_file *file, const char *text, bool parse_special, const char *wanted)
{
	struct model_gguf *g = NULL;
	struct model_tokenizer *t = NULL;
	struct gguf_write w;
	struct err e = ERR_INIT;

	tokenizer_file_write(file, &w);
	assert_int_equal(tokenizer_file_open(&w, &g, &e), 0);
	assert_int_equal(model_tokenizer_new(g, &t, &e), 0);
	assert_int_equal(model_tokenizer_eos(t), -1);
	check(t, text, parse_special, wanted);
	model_tokenizer_destroy(&t);
	model_gguf_close(&g);
}

static void test_merges_never_make_control_tokens(void **state)
{
	static const char *const tokens[] = { "a", "b", "ab", "c", "abc", "bc" }, *const merges[] = { "a b", "ab c",
												      "b c" };
	static const int32_t control[] = { 1, 1, 3, 1, 1, 1 }, normal[] = { 1, 1, 1, 1, 1, 1 };
	struct tokenizer_file file = { "gpt2", tokens, control, COUNT(tokens), merges, COUNT(merges) };

	(void)state;
	check_file(&file, "abc ab", false, "a^bc^a^b"); /* the space is in no token: it gives nothing */
	check_file(&file, "abc ab", true, "ab^c^ab");
	file.types = normal;
	check_file(&file, "abc ab", false, "abc^ab");
}

static void test_text_finds_its_token_behind_a_control_token_of_the_same_name(void **state)
{
	static const char *const tokens[] = { "a", "b", "a", "b" };
	static const int32_t types[] = { 3, 1, 1, 3 };
	const struct tokenizer_file file = { "gpt2", tokens, types, COUNT(tokens), NULL, 0 };

	(void)state;
	check_file(&file, "ab", false, "a^b");
}

static void test_user_defined_tokens_are_always_whole(void **state)
{
	static const char *const tokens[] = { "a", "b", "<x>", "<x><y>", "<", ">", "x" }, *const merges[] = { "a b" };
	static const int32_t types[] = { 1, 1, 4, 4, 1, 1, 1 };
	const struct tokenizer_file file = { "gpt2", tokens, types, COUNT(tokens), merges, COUNT(merges) };

	(void)state;
	check_file(&file, "a<x>b", false, "a^<x>^b");
	check_file(&file, "a<x><y>b", true, "a^<x><y>^b"); /* the longest */
	check_file(&file, "a<xb", false, "a^<^x^b");
}

static void test_llama3_takes_whole_words(void **state)
{
	static const char *const tokens[] = { "x", "y", "z", "xyz", "yz" }, *const merges[] = { "y z" };
	static const int32_t types[] = { 1, 1, 1, 1, 1 };
	struct tokenizer_file file = { "llama-bpe", tokens, types, COUNT(tokens), merges, COUNT(merges) };

	(void)state;
	check_file(&file, "xyz", false, "xyz");
	check_file(&file, "xyzx", false, "x^yz^x");
	file.pre = "gpt2";
	check_file(&file, "xyz", false, "x^yz");
}

static void test_a_missing_byte_parts_its_neighbours(void **state)
{
	static const char *const tokens[] = { "a", "b", "ab" }, *const merges[] = { "a b" };
	static const int32_t types[] = { 1, 1, 1 };
	const struct tokenizer_file file = { "gpt2", tokens, types, COUNT(tokens), merges, COUNT(merges) };

	(void)state;
	check_file(&file, "ab", false, "ab");
	check_file(&file, "azb", false, "a^b");
}

/* --- Files that cannot be used */

static int new_from(struct gguf_write *w)
{
	struct model_gguf *g = NULL;
	struct model_tokenizer *t = NULL;
	struct err e = ERR_INIT;

	assert_int_equal(tokenizer_file_open(w, &g, &e), 0);
	const int rc = model_tokenizer_new(g, &t, &e);
	assert_true((rc == 0) == (t != NULL));
	assert_int_equal(rc, e.code);
	model_tokenizer_destroy(&t);
	model_gguf_close(&g);
	return rc;
}

static int new_by_hand(const char *pre, const char *const *merges, size_t merge_count, size_t type_count, int32_t type)
{
	static const char *const tokens[] = { "a", "b", "ab" };
	const int32_t types[] = { 1, 1, type };
	struct gguf_write w;

	gguf_write_init(&w);
	gguf_write_string(&w, "tokenizer.ggml.model", "gpt2");
	gguf_write_string(&w, "tokenizer.ggml.pre", pre);
	gguf_write_strings(&w, "tokenizer.ggml.tokens", tokens, COUNT(tokens));
	gguf_write_i32s(&w, "tokenizer.ggml.token_type", types, type_count);
	gguf_write_strings(&w, "tokenizer.ggml.merges", merges, merge_count);
	return new_from(&w);
}

static void test_unusable_files(void **state)
{
	static const char *const good[] = { "a b" }, *const no_pair[] = { "ab" }, *const half[] = { "a " },
				 *const empty[] = { "" };
	struct gguf_write w;

	(void)state;
	assert_int_equal(new_by_hand("gpt2", good, 1, 3, 1), 0);
	assert_int_equal(new_by_hand("gpt2", good, 0, 3, 1), 0);
	assert_int_equal(new_by_hand("qwen2", good, 1, 3, 1), ERR_UNSUPPORTED);
	assert_int_equal(new_by_hand("gpt2", no_pair, 1, 3, 1), ERR_CORRUPT);
	assert_int_equal(new_by_hand("gpt2", half, 1, 3, 1), ERR_CORRUPT);
	assert_int_equal(new_by_hand("gpt2", empty, 1, 3, 1), ERR_CORRUPT);
	assert_int_equal(new_by_hand("gpt2", good, 1, 2, 1), ERR_CORRUPT);
	assert_int_equal(new_by_hand("gpt2", good, 1, 3, 0), ERR_CORRUPT);
	assert_int_equal(new_by_hand("gpt2", good, 1, 3, 257), ERR_CORRUPT);
	gguf_write_init(&w);
	assert_int_equal(new_from(&w), ERR_UNSUPPORTED);
	gguf_write_init(&w);
	gguf_write_string(&w, "tokenizer.ggml.model", "llama");
	assert_int_equal(new_from(&w), ERR_UNSUPPORTED);
	gguf_write_init(&w);
	gguf_write_string(&w, "tokenizer.ggml.model", "gpt2");
	assert_int_equal(new_from(&w), ERR_UNSUPPORTED); /* no tokens */
	gguf_write_init(&w);
	gguf_write_string(&w, "tokenizer.ggml.model", "gpt2");
	gguf_write_i32s(&w, "tokenizer.ggml.tokens", (const int32_t[]){ 1 }, 1);
	assert_int_equal(new_from(&w), ERR_CORRUPT);
}

static void test_added_tokens_are_refused(void **state)
{
	static const struct {
		const char *key;
		bool value;
		int code;
	} cases[] = { { "tokenizer.ggml.add_bos_token", true, ERR_UNSUPPORTED },
		      { "tokenizer.ggml.add_eos_token", true, ERR_UNSUPPORTED },
		      { "tokenizer.ggml.add_bos_token", false, 0 } };
	struct gguf_write w;

	(void)state;
	for (size_t i = 0; i < COUNT(cases); i++) {
		gguf_write_init(&w);
		tiny_model_tokenizer(&w, NULL, NULL);
		gguf_write_bool(&w, cases[i].key, cases[i].value);
		assert_int_equal(new_from(&w), cases[i].code);
	}
	gguf_write_init(&w);
	tiny_model_tokenizer(&w, NULL, NULL);
	gguf_write_u32(&w, "tokenizer.ggml.add_bos_token", 1);
	assert_int_equal(new_from(&w), ERR_INVALID);
}

static void test_ids_out_of_range(void **state)
{
	static const char *const tokens[] = { "a" };
	static const int32_t types[] = { 1 };
	const struct tokenizer_file file = { "gpt2", tokens, types, 1, NULL, 0 };
	struct gguf_write w;

	(void)state;
	tokenizer_file_write(&file, &w);
	gguf_write_u32(&w, "tokenizer.ggml.eos_token_id", 1);
	assert_int_equal(new_from(&w), ERR_CORRUPT);
	tokenizer_file_write(&file, &w);
	gguf_write_u32(&w, "tokenizer.ggml.bos_token_id", UINT32_MAX);
	assert_int_equal(new_from(&w), ERR_CORRUPT);
	tokenizer_file_write(&file, &w);
	gguf_write_u32(&w, "tokenizer.ggml.eos_token_id", 0);
	assert_int_equal(new_from(&w), 0);
}

/* The just-in-time compiler's memory may fail without harm: so every place is tried, not only those up to the first
 * success. */
static void test_out_of_memory(void **state)
{
	const struct fixture *f = *state;
	struct err e = ERR_INIT;
	int rc = ERR_NOMEM, failures = 0;

	for (int64_t n = 0; n < 64; n++) {
		struct model_tokenizer *t = NULL;

		fault_set(n, 1);
		rc = model_tokenizer_new(f->gguf, &t, &e);
		fault_set(-1, 0);
		failures += rc != 0;
		assert_true(rc == 0 || (rc == ERR_NOMEM && !t));
		model_tokenizer_destroy(&t);
	}
	assert_int_equal(rc, 0);
	assert_true(failures > 10);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_merges_by_rank),
		cmocka_unit_test(test_control_tokens),
		cmocka_unit_test(test_look_ups),
		cmocka_unit_test(test_decode),
		cmocka_unit_test(test_against_the_slow_definition),
		cmocka_unit_test(test_long_words_and_the_limit),
		cmocka_unit_test(test_appends_and_takes_nothing_on_error),
		cmocka_unit_test(test_threads_share_it),
		cmocka_unit_test(test_merges_never_make_control_tokens),
		cmocka_unit_test(test_text_finds_its_token_behind_a_control_token_of_the_same_name),
		cmocka_unit_test(test_user_defined_tokens_are_always_whole),
		cmocka_unit_test(test_llama3_takes_whole_words),
		cmocka_unit_test(test_a_missing_byte_parts_its_neighbours),
		cmocka_unit_test(test_unusable_files),
		cmocka_unit_test(test_added_tokens_are_refused),
		cmocka_unit_test(test_ids_out_of_range),
		cmocka_unit_test(test_out_of_memory),
	};

	return cmocka_run_group_tests(tests, setup, teardown);
}
