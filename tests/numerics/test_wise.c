/* The step of the paper's family against an independent implementation (PyTorch): tests/reference/smollm2-135m.json has
 * the loss of three edits, its gradient with respect to the edited matrix, and the gap of every token after one step of
 * SGD with rate 1. Tolerances as in test_reference.c. */
#include "base/buf.h"
#include "base/json.h"
#include "editor/wise.h"
#include "tests/lib/test.h"

#include <math.h>

#define HIDDEN ((size_t)576)
#define FFN    ((size_t)1536)

struct fixture {
	struct json *document;
	struct model *model;
};

static struct fixture fixture;

static int set_up(void **state)
{
	struct buf text = BUF_INIT;
	struct err e = ERR_INIT;
	const struct model_options options = {
		.backend = "cpu", .thread_count = 1, .backward_from = 25, .skip_digest = true
	};
	int rc = file_read("tests/reference/smollm2-135m.json", 1 << 20, &text, &e);
	if (rc == 0)
		rc = json_parse(buf_cstr(&text), text.len, &fixture.document, &e);
	buf_free(&text);
	if (rc == 0)
		rc = model_open(test_model_path(), &options, &fixture.model, &e);
	if (rc != 0)
		print_message("%s\n", e.text);
	*state = &fixture;
	return rc;
}

static int tear_down(void **state)
{
	(void)state;
	model_close(&fixture.model);
	json_free(&fixture.document);
	return 0;
}

/* The record whose tokens the reference was computed from. */
static struct record *record_of(struct fixture *f, size_t item)
{
	const struct json *ids = json_get(json_at(json_get(f->document, "gradient"), item), "ids");
	size_t first =
		(size_t)json_integer(json_get(json_at(json_get(f->document, "gradient"), item), "prompt_tokens"));
	int32_t target[64];
	size_t count = json_length(ids) - first;
	struct buf text = BUF_INIT, line = BUF_INIT;
	struct record *record = NULL;
	struct json_w w;
	struct err e = ERR_INIT;
	assert_true(count <= 64);
	for (size_t i = 0; i < count; i++)
		target[i] = (int32_t)json_integer(json_at(ids, first + i));
	assert_int_equal(model_tokenizer_decode(model_tokenizer_of(f->model), target, count, false, &text), 0);
	json_w_init(&w, &line);
	json_w_open(&w, '{');
	json_w_key(&w, "prompt");
	json_w_str(&w, json_string(json_get(json_at(json_get(f->document, "logits"), item), "prompt"), NULL));
	json_w_key(&w, "target_new");
	json_w_strn(&w, buf_cstr(&text), text.len);
	json_w_close(&w);
	if (record_parse(buf_cstr(&line), line.len, &record, &e) != 0)
		fail_msg("%s", e.text);
	buf_free(&text);
	buf_free(&line);
	return record;
}

static void check_gradient(const struct json *item, const float *gradient)
{
	const struct json *rows = json_get(item, "rows"), *cols = json_get(item, "cols"),
			  *entries = json_get(item, "entries");
	double largest = 0, worst = 0, square = 0;
	for (size_t r = 0; r < json_length(rows); r++) {
		for (size_t c = 0; c < json_length(cols); c++) {
			double want = json_number(json_at(json_at(entries, r), c));
			double got = (double)gradient[(size_t)json_integer(json_at(rows, r)) * FFN +
						      (size_t)json_integer(json_at(cols, c))];
			largest = fmax(largest, fabs(want));
			worst = fmax(worst, fabs(want - got));
		}
	}
	assert_true(worst <= 1e-3 * largest);
	for (size_t i = 0; i < HIDDEN * FFN; i++)
		square += (double)gradient[i] * (double)gradient[i];
	double want = json_number(json_get(item, "grad_frobenius"));
	assert_true(fabs(sqrt(square) - want) <= 1e-3 * want);
}

/* The prompt's tokens only: the reference goes on through the target's. */
static double reference_gap(const struct json *item)
{
	const struct json *gaps = json_get(item, "gap_per_token_after_sgd_step_lr1");
	size_t count = (size_t)json_integer(json_get(item, "prompt_tokens"));
	double sum = 0;
	for (size_t i = 0; i < count; i++)
		sum += json_number(json_at(gaps, i));
	return sum / (double)count;
}

static void check_item(struct fixture *f, size_t index)
{
	const struct json *item = json_at(json_get(f->document, "gradient"), index);
	struct editor_config c;
	struct editor_wise *wise = NULL;
	struct editor_wise_loss loss;
	struct err e = ERR_INIT;
	double gap, want = json_number(json_get(item, "loss"));
	float *delta = calloc(HIDDEN * FFN, sizeof(*delta)), *gradient = calloc(HIDDEN * FFN, sizeof(*gradient));
	struct record *record = record_of(f, index);
	assert_true(delta != NULL && gradient != NULL);
	editor_config_default(model_shape_of(f->model), &c);
	editor_config_set_family(&c, EDITOR_FAMILY_PAPER, model_shape_of(f->model));
	assert_int_equal(c.layer, json_integer(json_get(f->document, "layer")));
	c.wise.prefixes = c.wise.activation_loss = false;
	if (editor_wise_new(f->model, &c, 1, NULL, 0, &wise, &e) != 0 || editor_wise_add(wise, 1, record, &e) != 0 ||
	    editor_wise_loss_at(wise, 0, 0, delta, &loss, gradient, &e) != 0)
		fail_msg("%s", e.text);
	assert_true(fabs(loss.total - want) <= 1e-3 * want);
	check_gradient(item, gradient);
	for (size_t i = 0; i < HIDDEN * FFN; i++)
		delta[i] = -gradient[i];
	assert_int_equal(editor_wise_gaps(wise, delta, &gap, &e), 0);
	want = reference_gap(item);
	print_message("loss %.4f, gap after one step %.4f, reference %.4f\n", loss.total, gap, want);
	assert_true(fabs(gap - want) <= 1e-3 * want);
	/* As part of the loss too. */
	assert_int_equal(editor_wise_loss_at(wise, 0, 0, delta, &loss, NULL, &e), 0);
	assert_true(fabs(loss.gap_edit - want) <= 1e-3 * want);
	editor_wise_destroy(&wise);
	record_destroy(&record);
	free(delta);
	free(gradient);
}

static void losses_gradients_and_gaps(void **state)
{
	struct fixture *f = *state;
	assert_int_equal(json_length(json_get(f->document, "gradient")), 3);
	for (size_t i = 0; i < 3; i++)
		check_item(f, i);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(losses_gradients_and_gaps),
	};
	return cmocka_run_group_tests(tests, set_up, tear_down);
}
