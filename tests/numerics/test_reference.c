/* The engine against an independent implementation (PyTorch): tests/reference/smollm2-135m.json. Tolerances are the
 * issue's: logits 2e-3 absolute (float32 sums of other orders, 30 layers deep), losses and gradients 1e-3 of the
 * largest entry. */
#include "base/buf.h"
#include "base/json.h"
#include "model/model.h"
#include "tests/lib/test.h"

#include <math.h>

#define TOKENS_MAX    128
#define EDITED_LAYER  24
#define HIDDEN        576
#define FFN           1536
#define GREEDY_TOKENS 24

struct fixture {
	struct json *document;
	struct model *model;
	struct model_run *run;
	struct model_kv *kv;
	size_t vocabulary;
};

static struct fixture fixture;

static struct model *open_with(const char *backend)
{
	const char *path = test_model_path();
	struct err e = ERR_INIT;
	struct model *model = NULL;
	struct model_options options = {
		.backend = backend, .thread_count = 1, .backward_from = EDITED_LAYER + 1, .skip_digest = true
	};
	if (model_open(path, &options, &model, &e) != 0)
		fail_msg("%s", e.text);
	return model;
}

static void open_fixture(struct fixture *f, const char *backend)
{
	struct err e = ERR_INIT;
	f->model = open_with(backend);
	f->vocabulary = model_shape_of(f->model)->vocabulary;
	assert_int_equal(model_run_new(f->model, TOKENS_MAX, &f->run, &e), 0);
	assert_int_equal(model_kv_new(f->model, 1, TOKENS_MAX, &f->kv, &e), 0);
}

static void close_fixture(struct fixture *f)
{
	model_kv_destroy(&f->kv);
	model_run_destroy(&f->run);
	model_close(&f->model);
}

static int set_up(void **state)
{
	struct buf text = BUF_INIT;
	struct err e = ERR_INIT;
	if (file_read("tests/reference/smollm2-135m.json", 1 << 20, &text, &e) != 0)
		return -1;
	int rc = json_parse(buf_cstr(&text), text.len, &fixture.document, &e);
	buf_free(&text);
	if (rc != 0)
		return -1;
	open_fixture(&fixture, "cpu");
	*state = &fixture;
	return 0;
}

static int tear_down(void **state)
{
	(void)state;
	close_fixture(&fixture);
	json_free(&fixture.document);
	return 0;
}

static size_t read_ids(const struct json *array, int32_t *ids)
{
	size_t count = json_length(array);
	assert_true(count <= TOKENS_MAX);
	for (size_t i = 0; i < count; i++)
		ids[i] = (int32_t)json_integer(json_at(array, i));
	return count;
}

static void layers(struct fixture *f, float *x, const int32_t *ids, size_t position, size_t count)
{
	struct err e = ERR_INIT;
	const struct model_segment segment = { 0, position, count };
	assert_int_equal(model_embed(f->run, x, ids, count, &e), 0);
	if (model_layers(f->run, x, f->kv, &segment, 1, 0, model_shape_of(f->model)->layers, NULL, NULL, 0, &e) != 0)
		fail_msg("%s", e.text);
}

static float check_logits(const float *logits, const struct json *index, const struct json *expected)
{
	float worst = 0;
	for (size_t i = 0; i < json_length(index); i++) {
		float want = (float)json_number(json_at(expected, i));
		float difference = fabsf(logits[json_integer(json_at(index, i))] - want);
		worst = difference > worst ? difference : worst;
	}
	assert_true(worst <= 2e-3f);
	return worst;
}

static void check_top10(const float *logits, size_t vocabulary, const struct json *expected)
{
	float above = INFINITY;
	for (size_t k = 0; k < json_length(expected); k++) {
		size_t best = vocabulary;
		for (size_t i = 0; i < vocabulary; i++) {
			if (logits[i] < above && (best == vocabulary || logits[i] > logits[best]))
				best = i;
		}
		assert_int_equal(best, json_integer(json_at(expected, k)));
		above = logits[best];
	}
}

static void check_nll(struct fixture *f, const float *x, const int32_t *ids, size_t count, const struct json *expected)
{
	size_t rows[TOKENS_MAX];
	float loss[TOKENS_MAX], largest = 0;
	int32_t argmax[TOKENS_MAX];
	struct err e = ERR_INIT;
	for (size_t i = 0; i + 1 < count; i++) {
		rows[i] = i;
		largest = fmaxf(largest, (float)json_number(json_at(expected, i)));
	}
	assert_int_equal(model_head_loss(f->run, loss, argmax, x, rows, ids + 1, count - 1, &e), 0);
	for (size_t i = 0; i + 1 < count; i++)
		assert_true(fabsf(loss[i] - (float)json_number(json_at(expected, i))) <= 1e-3f * largest);
}

static void check_greedy(struct fixture *f, float *x, float *logits, size_t count, const struct json *expected,
			 size_t tokens)
{
	const struct model_sampling greedy = { 0, 1 };
	struct err e = ERR_INIT;
	const size_t first = 0;
	assert_in_range(tokens, 1, json_length(expected));
	for (size_t i = 0; i < tokens; i++) {
		int32_t id;
		assert_int_equal(model_sample(logits, f->vocabulary, &greedy, 0, f->run, &id), 0);
		assert_int_equal(id, json_integer(json_at(expected, i)));
		layers(f, x, &id, count + i, 1);
		assert_int_equal(model_head(f->run, logits, x, &first, 1, &e), 0);
	}
}

static float check_prompt(struct fixture *f, const struct json *item, size_t tokens)
{
	int32_t ids[TOKENS_MAX];
	struct err e = ERR_INIT;
	size_t count = read_ids(json_get(item, "ids"), ids), ends[2] = { 0, count - 1 };
	float *x = calloc(TOKENS_MAX * HIDDEN, sizeof(*x)), *logits = calloc(2 * f->vocabulary, sizeof(*logits));
	assert_non_null(x);
	assert_non_null(logits);
	layers(f, x, ids, 0, count);
	assert_int_equal(model_head(f->run, logits, x, ends, 2, &e), 0);
	float worst = check_logits(logits, json_get(item, "index"), json_get(item, "first_position"));
	worst = fmaxf(worst,
		      check_logits(logits + f->vocabulary, json_get(item, "index"), json_get(item, "last_position")));
	check_top10(logits + f->vocabulary, f->vocabulary, json_get(item, "top10_ids"));
	check_nll(f, x, ids, count, json_get(item, "nll_per_token"));
	check_greedy(f, x, logits + f->vocabulary, count, json_get(item, "greedy_24_ids_without_stopping"), tokens);
	free(x);
	free(logits);
	return worst;
}

static void test_tokens(void **state)
{
	struct fixture *f = *state;
	const struct json *items = json_get(f->document, "tokens");
	assert_true(json_length(items) > 40);
	for (size_t i = 0; i < json_length(items); i++) {
		const struct json *item = json_at(items, i), *expected = json_get(item, "ids");
		size_t len, count = 0;
		const char *text = json_string(json_get(item, "text"), &len);
		int32_t *ids = NULL;
		struct err e = ERR_INIT;
		assert_int_equal(
			model_tokenizer_encode(model_tokenizer_of(f->model), text, len, true, &ids, &count, &e), 0);
		assert_int_equal(count, json_length(expected));
		for (size_t k = 0; k < count; k++)
			assert_int_equal(ids[k], json_integer(json_at(expected, k)));
		free(ids);
	}
}

static void test_prompts_cpu(void **state)
{
	struct fixture *f = *state;
	const struct json *items = json_get(f->document, "logits");
	float worst = 0;
	assert_int_equal(json_length(items), 6);
	for (size_t i = 0; i < json_length(items); i++)
		worst = fmaxf(worst, check_prompt(f, json_at(items, i), GREEDY_TOKENS));
	print_message("largest difference of a logit: %.2e\n", (double)worst);
}

/* --- Gradient of down_proj of EDITED_LAYER: dWᵀ = Σ rows dy · A */

struct edit {
	int32_t ids[TOKENS_MAX];
	size_t count, prompt_count;
	float *down_input, *y, *dy, *gradient;
	float loss;
};

/* y = residual + A·Wᵀ is the layer's output, so the pass up to the layer gives it directly. */
static void compute_edit(struct fixture *f, const struct json *item, struct edit *edit)
{
	struct err e = ERR_INIT;
	size_t rows[TOKENS_MAX], labels = 0;
	float scale[TOKENS_MAX], loss[TOKENS_MAX];
	int32_t argmax[TOKENS_MAX];
	edit->count = read_ids(json_get(item, "ids"), edit->ids);
	edit->prompt_count = (size_t)json_integer(json_get(item, "prompt_tokens"));
	const struct model_segment segment = { 0, 0, edit->count };
	const struct model_tap tap = { MODEL_TAP_DOWN_INPUT, EDITED_LAYER, edit->down_input };
	for (size_t i = edit->prompt_count; i < edit->count; i++)
		rows[labels++] = i - 1;
	for (size_t i = 0; i < labels; i++)
		scale[i] = 1.0f / (float)labels;
	assert_int_equal(model_embed(f->run, edit->y, edit->ids, edit->count, &e), 0);
	assert_int_equal(model_layers(f->run, edit->y, NULL, &segment, 1, 0, EDITED_LAYER + 1, NULL, &tap, 1, &e), 0);
	if (model_loss(f->run, loss, argmax, edit->dy, edit->y, &segment, 1, EDITED_LAYER + 1, rows,
		       edit->ids + edit->prompt_count, scale, labels, &e) != 0)
		fail_msg("%s", e.text);
	edit->loss = 0;
	for (size_t i = 0; i < labels; i++)
		edit->loss += loss[i] * scale[i];
	struct model_backend *b = model_backend_of(f->model);
	assert_int_equal(b->ops->gemm(b, edit->gradient, edit->dy, edit->down_input, true, false, 1, 0, HIDDEN, FFN,
				      edit->count),
			 0);
}

static void check_entries(const struct json *item, const float *gradient)
{
	const struct json *rows = json_get(item, "rows"), *cols = json_get(item, "cols"),
			  *entries = json_get(item, "entries");
	float largest = 0, worst = 0;
	for (size_t r = 0; r < json_length(rows); r++) {
		for (size_t c = 0; c < json_length(cols); c++) {
			float want = (float)json_number(json_at(json_at(entries, r), c));
			float got = gradient[(size_t)json_integer(json_at(rows, r)) * FFN +
					     (size_t)json_integer(json_at(cols, c))];
			largest = fmaxf(largest, fabsf(want));
			worst = fmaxf(worst, fabsf(want - got));
		}
	}
	print_message("largest relative difference of a gradient entry: %.2e\n", (double)(worst / largest));
	assert_true(worst <= 1e-3f * largest);
}

static double norm_of(const float *v, size_t n)
{
	double sum = 0;
	for (size_t i = 0; i < n; i++)
		sum += (double)v[i] * (double)v[i];
	return sqrt(sum);
}

static void check_norms(const struct json *item, const float *gradient)
{
	double want = json_number(json_get(item, "grad_frobenius"));
	assert_true(fabs(norm_of(gradient, (size_t)HIDDEN * FFN) - want) <= 1e-3 * want);
	const struct json *rows = json_get(item, "rows"), *norms = json_get(item, "row_norms");
	for (size_t r = 0; r < json_length(rows); r++) {
		double got = norm_of(gradient + (size_t)json_integer(json_at(rows, r)) * FFN, FFN);
		assert_true(fabs(got - json_number(json_at(norms, r))) <= 1e-3 * want);
	}
}

/* The gap ‖A(x)·(W′−W)ᵀ‖ after one step of SGD with rate 1. */
static void check_gaps(struct fixture *f, const struct json *item, const struct edit *edit)
{
	const struct json *expected = json_get(item, "gap_per_token_after_sgd_step_lr1");
	struct model_backend *b = model_backend_of(f->model);
	float *moved = calloc(edit->count * HIDDEN, sizeof(*moved));
	double largest = 0;
	assert_non_null(moved);
	assert_int_equal(json_length(expected), edit->count);
	assert_int_equal(
		b->ops->gemm(b, moved, edit->down_input, edit->gradient, false, true, -1, 0, edit->count, HIDDEN, FFN),
		0);
	for (size_t i = 0; i < edit->count; i++)
		largest = fmax(largest, json_number(json_at(expected, i)));
	for (size_t i = 0; i < edit->count; i++)
		assert_true(fabs(norm_of(moved + i * HIDDEN, HIDDEN) - json_number(json_at(expected, i))) <=
			    1e-3 * largest);
	free(moved);
}

static void check_edit(struct fixture *f, const struct json *item)
{
	struct edit edit = { .down_input = calloc(TOKENS_MAX * FFN, sizeof(float)),
			     .y = calloc(TOKENS_MAX * HIDDEN, sizeof(float)),
			     .dy = calloc(TOKENS_MAX * HIDDEN, sizeof(float)),
			     .gradient = calloc((size_t)HIDDEN * FFN, sizeof(float)) };
	assert_true(edit.down_input != NULL && edit.y != NULL && edit.dy != NULL && edit.gradient != NULL);
	compute_edit(f, item, &edit);
	float want = (float)json_number(json_get(item, "loss"));
	assert_true(fabsf(edit.loss - want) <= 1e-3f * want);
	check_entries(item, edit.gradient);
	check_norms(item, edit.gradient);
	check_gaps(f, item, &edit);
	free(edit.down_input);
	free(edit.y);
	free(edit.dy);
	free(edit.gradient);
}

static void test_gradients_cpu(void **state)
{
	struct fixture *f = *state;
	const struct json *items = json_get(f->document, "gradient");
	assert_int_equal(json_length(items), 3);
	for (size_t i = 0; i < json_length(items); i++)
		check_edit(f, json_at(items, i));
}

/* The shortest prompt and edit of the file. */
static void test_one_prompt_on(struct fixture *f, const char *backend, size_t tokens)
{
	struct fixture own = { .document = f->document };
	open_fixture(&own, backend);
	float worst = check_prompt(&own, json_at(json_get(f->document, "logits"), 2), tokens);
	check_edit(&own, json_at(json_get(f->document, "gradient"), 2));
	print_message("%s: largest difference of a logit: %.2e\n",
		      model_backend_of(own.model)->ops->describe(model_backend_of(own.model)), (double)worst);
	close_fixture(&own);
}

/* The kernels that `auto` does not choose on this machine. */
static void test_one_prompt_dispatch(void **state)
{
	static const char *const names[] = { "cpu:amx", "cpu:avx512", "cpu:avx2" };
	for (size_t i = 0; i < sizeof(names) / sizeof(names[0]); i++) {
		struct model_backend *b = NULL;
		struct err e = ERR_INIT;
		int rc = model_backend_new(names[i], 1, &b, &e);
		model_backend_destroy(&b);
		if (rc == 0)
			test_one_prompt_on(*state, names[i], GREEDY_TOKENS);
		else
			print_message("SKIPPED, NOT TESTED: %s: %s\n", names[i], e.text);
	}
}

/* Its loops take a second for six tokens: eight after the prompt have gone through the cache. */
static void test_one_prompt_reference(void **state)
{
	test_one_prompt_on(*state, "reference", 8);
}

static void test_one_prompt_cuda(void **state)
{
	struct model_backend *b = NULL;
	struct err e = ERR_INIT;
	if (model_backend_new("cuda", 1, &b, &e) != 0) {
		assert_int_equal(e.code, ERR_UNSUPPORTED);
		print_message("SKIPPED, NOT TESTED: cuda backend: %s\n", e.text);
		skip();
	}
	model_backend_destroy(&b);
	test_one_prompt_on(*state, "cuda", GREEDY_TOKENS);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_tokens),
		cmocka_unit_test(test_prompts_cpu),
		cmocka_unit_test(test_gradients_cpu),
		cmocka_unit_test(test_one_prompt_reference),
		cmocka_unit_test(test_one_prompt_dispatch),
		cmocka_unit_test(test_one_prompt_cuda),
	};
	return cmocka_run_group_tests(tests, set_up, tear_down);
}
