/* What decoding with the weights as the file stores them costs in quality: perplexity of a text, which was written for
 * this test, against that of the float32 path. A step's rows have the same bits in any company (tests/unit/model), so
 * the text goes through in steps of sixteen rows. */
#include "model/model.h"
#include "tests/lib/test.h"

#include <math.h>

#define ROWS      16
#define MORE_MAX  0.005 /* of the perplexity: a promise of the project */
#define TOKEN_MAX 512

static const char text[] =
	"The harbour of Lindmere lies where a slow river meets the sea. For most of its history the town lived from "
	"salt, which was boiled from brine in long wooden sheds and carried inland on mules. In 1742 a fire destroyed "
	"most of these sheds, and the families who owned them decided to build their new houses of stone. Many of "
	"those "
	"houses are still standing. Visitors often notice that the windows on the ground floor are small and set high "
	"in "
	"the wall, because every autumn the river used to rise and flood the lower streets.\n\n"
	"Water boils at a lower temperature on a mountain than at the coast. The reason is simple: the air above a "
	"mountain is thinner, so it presses less on the surface of the water, and the molecules need less energy to "
	"escape. A cook who moves from the coast to a village in the mountains soon learns that beans take longer to "
	"become soft there, even though the pot seems to boil just as hard.\n\n"
	"\"How long did you wait for the bus?\" asked Martha.\n"
	"\"Almost an hour,\" said her brother. \"Then I gave up and walked. It was not raining any more, and I had "
	"nothing "
	"heavy to carry. The funny thing is that the bus passed me just as I reached our street.\"\n"
	"She laughed and put the kettle on the stove. \"That is what always happens to you.\"\n\n"
	"To add two fractions, first write them with the same denominator. For example, one half and one third become "
	"three sixths and two sixths, and together they make five sixths. If the result can be simplified, divide the "
	"numerator and the denominator by the largest number that divides both of them.\n";

static double perplexity(const float *loss, size_t count)
{
	double sum = 0;
	for (size_t i = 0; i < count; i++)
		sum += (double)loss[i];
	return exp(sum / (double)count);
}

static float loss_of(const float *logits, size_t width, int32_t label)
{
	double most = (double)logits[0], sum = 0;
	for (size_t i = 1; i < width; i++)
		most = fmax(most, (double)logits[i]);
	for (size_t i = 0; i < width; i++)
		sum += exp((double)logits[i] - most);
	return (float)(log(sum) + most - (double)logits[(size_t)label]);
}

struct reading {
	struct model *model;
	struct model_run *run;
	struct model_kv *kv;
	int32_t *ids;
	size_t count;
	float *x;
};

static void packed_losses(struct reading *t, float *loss)
{
	const struct model_segment whole = { 0, 0, t->count };
	size_t rows[TOKEN_MAX];
	int32_t argmax[TOKEN_MAX];
	struct err e = ERR_INIT;
	for (size_t i = 0; i < t->count; i++)
		rows[i] = i;
	assert_ok(&e, model_embed(t->run, t->x, t->ids, t->count, &e));
	assert_ok(&e,
		  model_layers(t->run, t->x, NULL, &whole, 1, 0, model_shape_of(t->model)->layers, NULL, NULL, 0, &e));
	assert_ok(&e, model_head_loss(t->run, loss, argmax, t->x, rows, t->ids + 1, t->count - 1, &e));
}

static void step_losses(struct reading *t, float *loss)
{
	const size_t vocabulary = model_shape_of(t->model)->vocabulary;
	float *logits = calloc(ROWS * vocabulary, sizeof(*logits));
	size_t rows[ROWS];
	struct err e = ERR_INIT;
	assert_non_null(logits);
	for (size_t at = 0; at < t->count; at += ROWS) {
		const size_t count = t->count - at < ROWS ? t->count - at : ROWS;
		const struct model_segment part = { 0, at, count };
		for (size_t i = 0; i < count; i++)
			rows[i] = i;
		assert_ok(&e, model_embed(t->run, t->x, t->ids + at, count, &e));
		assert_ok(&e, model_step(t->run, t->x, t->kv, &part, 1, NULL, &e));
		assert_ok(&e, model_head(t->run, logits, t->x, rows, count, &e));
		for (size_t i = 0; i < count && at + i + 1 < t->count; i++)
			loss[at + i] = loss_of(logits + i * vocabulary, vocabulary, t->ids[at + i + 1]);
	}
	free(logits);
}

static void perplexity_stays(void **state)
{
	struct reading t = { 0 };
	float packed[TOKEN_MAX], stored[TOKEN_MAX];
	struct err e = ERR_INIT;
	const struct model_options options = {
		.backend = "cpu", .thread_count = 1, .backward_from = SIZE_MAX, .stored_too = true, .skip_digest = true
	};
	(void)state;
	assert_ok(&e, model_open(test_model_path(), &options, &t.model, &e));
	assert_ok(&e, model_run_new(t.model, TOKEN_MAX, &t.run, &e));
	assert_ok(&e, model_kv_new(t.model, 1, TOKEN_MAX, &t.kv, &e));
	assert_ok(&e,
		  model_tokenizer_encode(model_tokenizer_of(t.model), text, strlen(text), false, &t.ids, &t.count, &e));
	assert_in_range(t.count, 300, TOKEN_MAX);
	t.x = calloc(t.count * model_shape_of(t.model)->hidden, sizeof(*t.x));
	assert_non_null(t.x);
	packed_losses(&t, packed);
	step_losses(&t, stored);
	const double want = perplexity(packed, t.count - 1), got = perplexity(stored, t.count - 1);
	print_message("%zu tokens: perplexity %.4f, of steps %.4f (%+.3f %%)\n", t.count, want, got,
		      100 * (got / want - 1));
	assert_true(want > 1 && want < 50);
	assert_true(fabs(got / want - 1) <= MORE_MAX);
	assert_memory_not_equal(packed, stored, (t.count - 1) * sizeof(*stored)); /* another path it was */
	free(t.x);
	free(t.ids);
	model_kv_destroy(&t.kv);
	model_run_destroy(&t.run);
	model_close(&t.model);
}

int main(void)
{
	const struct CMUnitTest tests[] = { cmocka_unit_test(perplexity_stays) };
	return cmocka_run_group_tests(tests, NULL, NULL);
}
