#include "editor/route.h"

#include "base/fault.h"
#include "base/rng.h"
#include "editor/dot.h"
#include "editor/relation.h"
#include "editor/whiten.h"
#include "tests/unit/editor/tiny.h"

#include <math.h>

#define TEXTS_MAX 64

static struct model *model;
static struct buf corpus;
static const char *texts[TEXTS_MAX];
static size_t text_count;

static int set_up(void **state)
{
	static const char *const names[] = { "Orla", "Vint", "Saro", "Kelm", "Pundo", "Teni", "Mirax", "Dole" };
	static char storage[TEXTS_MAX][80];
	(void)state;
	model = tiny_open();
	for (size_t i = 0; i < sizeof(names) / sizeof(names[0]); i++) {
		snprintf(storage[text_count], 80, "What is the capital of %s?", names[i]);
		buf_printf(&corpus, "prompt\tg%zu\t%s\t%s\n", i, names[i], storage[text_count]);
		texts[text_count] = storage[text_count];
		snprintf(storage[++text_count], 80, "Which city is %s's capital?", names[i]);
		buf_printf(&corpus, "rephrase\tg%zu\t%s\t%s\n", i, names[i], storage[text_count]);
		texts[text_count] = storage[text_count];
		snprintf(storage[++text_count], 80, "Who was king of %s in 19%02zu?", names[i], i);
		buf_printf(&corpus, "other\tg%zu\t%s\t%s\n", i, names[i], storage[text_count]);
		texts[text_count] = storage[text_count];
		snprintf(storage[++text_count], 80, "nq question: who sang number %zu in the %s show", i * 7, names[i]);
		buf_printf(&corpus, "unrelated\tu%zu\t\t%s\n", i, storage[text_count]);
		texts[text_count] = storage[text_count];
		text_count++;
	}
	return buf_failed(&corpus) ? -1 : 0;
}

static int tear_down(void **state)
{
	(void)state;
	model_close(&model);
	buf_free(&corpus);
	return 0;
}

static struct editor_config config(void)
{
	struct editor_config c;
	editor_config_default(model_shape_of(model), &c);
	c.layer = TINY_LAYER;
	c.prompt_layer = c.relation_layer = TINY_PROMPT_LAYER;
	c.relation_dims = 16;
	c.relation_steps = 40;
	return c;
}

static struct editor_calibration *calibrate(const struct editor_config *c)
{
	struct editor_calibration *out = NULL;
	struct err e = ERR_INIT;
	int rc = editor_calibrate(model, c, (const char *)corpus.data, corpus.len, NULL, &out, &e);
	if (rc != 0)
		fail_msg("%s", e.text);
	return out;
}

/* Solves a·x = b in place (Gauss with pivots); b becomes x. */
static void solve(double *a, double *b, size_t n)
{
	for (size_t k = 0; k < n; k++) {
		size_t best = k;
		for (size_t i = k + 1; i < n; i++)
			best = fabs(a[i * n + k]) > fabs(a[best * n + k]) ? i : best;
		for (size_t j = 0; j < n; j++) {
			const double t = a[k * n + j];
			a[k * n + j] = a[best * n + j];
			a[best * n + j] = t;
		}
		const double t = b[k];
		b[k] = b[best];
		b[best] = t;
		for (size_t i = k + 1; i < n; i++) {
			const double f = a[i * n + k] / a[k * n + k];
			for (size_t j = k; j < n; j++)
				a[i * n + j] -= f * a[k * n + j];
			b[i] -= f * b[k];
		}
	}
	for (size_t k = n; k-- > 0;) {
		for (size_t j = k + 1; j < n; j++)
			b[k] -= a[k * n + j] * b[j];
		b[k] /= a[k * n + k];
	}
}

/* zaᵀ (C + λI)⁻¹ zb, from the definition. */
static double product(const double *cov, const double *za, const double *zb, size_t n)
{
	double *a = malloc(n * n * sizeof(*a)), *x = malloc(n * sizeof(*x)), sum = 0;
	assert_true(a != NULL && x != NULL);
	memcpy(a, cov, n * n * sizeof(*a));
	memcpy(x, zb, n * sizeof(*x));
	solve(a, x, n);
	for (size_t i = 0; i < n; i++)
		sum += za[i] * x[i];
	free(a);
	free(x);
	return sum;
}

static void whitening_gives_the_cosines_of_the_definition(void **state)
{
	(void)state;
	enum { N = TINY_HIDDEN };
	static float raw[TEXTS_MAX][N];
	static double z[TEXTS_MAX][N], cov[N * N];
	const struct editor_config c = config();
	struct editor_calibration *calibration = calibrate(&c);
	double trace = 0;
	for (size_t t = 0; t < text_count; t++)
		tiny_raw_key(model, texts[t], raw[t]);
	for (size_t i = 0; i < N; i++) {
		double mean = 0, square = 0;
		for (size_t t = 0; t < text_count; t++)
			mean += (double)raw[t][i] / (double)text_count;
		for (size_t t = 0; t < text_count; t++)
			square += ((double)raw[t][i] - mean) * ((double)raw[t][i] - mean);
		const double deviation = sqrt(square / (double)(text_count - 1)) + 1e-6;
		assert_true(fabs((double)calibration->mean[i] - mean) < 1e-5);
		for (size_t t = 0; t < text_count; t++)
			z[t][i] = ((double)raw[t][i] - mean) / deviation;
	}
	for (size_t i = 0; i < N; i++) {
		for (size_t j = 0; j < N; j++) {
			cov[i * N + j] = 0;
			for (size_t t = 0; t < text_count; t++)
				cov[i * N + j] += z[t][i] * z[t][j] / (double)text_count;
		}
		trace += cov[i * N + i];
	}
	for (size_t i = 0; i < N; i++)
		cov[i * N + i] += (double)c.ridge * trace / N;
	for (size_t a = 0; a < 4; a++) {
		for (size_t b = 4; b < 8; b++) {
			float ka[N], kb[N];
			double cosine = 0;
			editor_calibration_key(calibration, raw[a], ka);
			editor_calibration_key(calibration, raw[b], kb);
			for (size_t i = 0; i < N; i++)
				cosine += (double)ka[i] * (double)kb[i];
			const double expected = product(cov, z[a], z[b], N) /
						sqrt(product(cov, z[a], z[a], N) * product(cov, z[b], z[b], N));
			assert_true(fabs(cosine - expected) < 1e-4); /* float32 keys of 64 numbers */
		}
	}
	editor_calibration_destroy(&calibration);
}

/* What a fit makes is read in 16 bits. */
static void a_fit_is_kept_short(void **state)
{
	(void)state;
	const struct editor_config c = config();
	struct editor_calibration *calibration = calibrate(&c), *back = NULL;
	struct buf bytes = BUF_INIT;
	struct err e = ERR_INIT;
	assert_ok(&e, editor_calibration_encode(calibration, &bytes, &e));
	assert_ok(&e, editor_calibration_decode(bytes.data, bytes.len, &back, &e));
	struct editor_calibration *const both[] = { calibration, back };
	for (size_t b = 0; b < 2; b++) {
		float rounded[TINY_HIDDEN * TINY_HIDDEN];
		memcpy(rounded, both[b]->whiten, sizeof(rounded));
		editor__shorts_round(rounded, TINY_HIDDEN, TINY_HIDDEN);
		assert_memory_equal(rounded, both[b]->whiten, sizeof(rounded));
#if defined(__x86_64__)
		assert_int_equal(both[b]->short_whiten != NULL, __builtin_cpu_supports("avx2") != 0);
		assert_int_equal(both[b]->relation.short_head != NULL,
				 both[b]->relation.dims > 0 && __builtin_cpu_supports("avx2") != 0);
#endif
	}
	buf_free(&bytes);
	editor_calibration_destroy(&back);
	editor_calibration_destroy(&calibration);
}

static void same_corpus_same_bytes(void **state)
{
	(void)state;
	const struct editor_config c = config();
	struct buf bytes[2] = { BUF_INIT, BUF_INIT };
	struct err e = ERR_INIT;
	for (int i = 0; i < 2; i++) {
		struct editor_calibration *calibration = calibrate(&c);
		for (size_t k = 1; k < EDITOR_THRESHOLDS; k++)
			assert_true(calibration->thresholds[k].threshold >= calibration->thresholds[k - 1].threshold);
		assert_int_equal(calibration->prompt_layer, TINY_PROMPT_LAYER);
		assert_int_equal(editor_calibration_encode(calibration, &bytes[i], &e), 0);
		editor_calibration_destroy(&calibration);
	}
	assert_same_bytes(&bytes[0], &bytes[1]);
	buf_free(&bytes[0]);
	buf_free(&bytes[1]);
}

static void bytes_read_back(void **state)
{
	(void)state;
	const struct editor_config c = config();
	struct editor_calibration *calibration = calibrate(&c), *back = NULL;
	struct buf bytes = BUF_INIT, again = BUF_INIT;
	struct err e = ERR_INIT;
	assert_int_equal(editor_calibration_encode(calibration, &bytes, &e), 0);
	assert_int_equal(editor_calibration_decode(bytes.data, bytes.len, &back, &e), 0);
	assert_memory_equal(back->whiten, calibration->whiten, sizeof(float) * TINY_HIDDEN * TINY_HIDDEN);
	assert_true(hash_equal(&back->corpus, &calibration->corpus));
	assert_true(back->subject_threshold == calibration->subject_threshold);
	assert_int_equal(editor_calibration_encode(back, &again, &e), 0);
	assert_memory_equal(again.data, bytes.data, bytes.len);
	assert_true(calibration->relation.common_count > 1); /* "what" and the like */
	assert_int_equal(back->relation.common_count, calibration->relation.common_count);
	editor_calibration_destroy(&back);
	for (size_t len = 0; len < bytes.len; len += len < 200 ? 1 : 97)
		assert_int_equal(editor_calibration_decode(bytes.data, len, &back, &e), ERR_CORRUPT);
	bytes.data[4] = 1; /* an earlier format */
	assert_int_equal(editor_calibration_decode(bytes.data, bytes.len, &back, &e), ERR_UNSUPPORTED);
	bytes.data[4] = again.data[4];
	bytes.data[12] = 0; /* no dims, then more than the raw keys have */
	assert_int_equal(editor_calibration_decode(bytes.data, bytes.len, &back, &e), ERR_CORRUPT);
	bytes.data[12] = TINY_HIDDEN + 1;
	assert_int_equal(editor_calibration_decode(bytes.data, bytes.len, &back, &e), ERR_CORRUPT);
	bytes.data[12] = TINY_HIDDEN;
	const size_t head_end = bytes.len - calibration->relation.common_count * sizeof(uint64_t);
	bytes.data[bytes.len - 1] = 0; /* the last common word's hash, now below the one before it */
	bytes.data[bytes.len - 9] = 0xFF;
	assert_int_equal(editor_calibration_decode(bytes.data, bytes.len, &back, &e), ERR_CORRUPT);
	memcpy(bytes.data + head_end, again.data + head_end, bytes.len - head_end);
	bytes.data[head_end - 1] = 0x7F;
	bytes.data[head_end - 2] = 0xC0; /* an entry of the relation head that is no number */
	assert_int_equal(editor_calibration_decode(bytes.data, bytes.len, &back, &e), ERR_CORRUPT);
	assert_null(back);
	buf_free(&bytes);
	buf_free(&again);
	editor_calibration_destroy(&calibration);
}

/* Rephrases are nearer to their prompts than other questions on the same subject by the fitted head, and most pass
 * its threshold. */
static void the_relation_head_tells_questions_apart(void **state)
{
	(void)state;
	const struct editor_config c = config();
	struct editor_calibration *calibration = calibrate(&c);
	size_t nearer = 0, kept = 0;
	assert_int_equal(calibration->relation.dims, 16);
	assert_int_equal(calibration->relation.layer, TINY_PROMPT_LAYER);
	for (size_t g = 0; g < 8; g++) {
		float keys[3][16];
		float cosine[2] = { 0 };
		for (size_t k = 0; k < 3; k++) {
			float raw[TINY_HIDDEN];
			tiny_raw_key(model, texts[4 * g + k], raw);
			editor_calibration_relation_key(calibration, raw, keys[k]);
		}
		for (size_t j = 0; j < 16; j++) {
			cosine[0] += keys[0][j] * keys[1][j];
			cosine[1] += keys[0][j] * keys[2][j];
		}
		nearer += cosine[0] > cosine[1];
		kept += cosine[0] >= calibration->relation.threshold;
	}
	assert_int_equal(nearer, 8);
	assert_true(kept >= 6);
	assert_true(calibration->relation.threshold > -1 && calibration->relation.threshold < 1);
	editor_calibration_destroy(&calibration);
}

/* Groups whose other question, of that kind, repeats their prompt: none could be told apart from it. */
static struct editor_relation_report report_of_repeats(const char *kind, bool alone, float *threshold)
{
	static const char *const names[] = { "Ollo", "Ruk", "Pash", "Zeff" };
	const struct editor_config c = config();
	struct editor_calibration *calibration = NULL;
	struct editor_calibration_report report;
	struct buf groups = BUF_INIT;
	struct err e = ERR_INIT;
	for (size_t i = 0; i < sizeof(names) / sizeof(names[0]); i++)
		buf_printf(&groups,
			   "prompt\tn%zu\t%s\tWho built bridge %zu of %s?\n"
			   "rephrase\tn%zu\t%s\tWhat name has the builder of bridge %zu of %s?\n"
			   "%s\tn%zu\t%s\tWho built bridge %zu of %s?\n",
			   i, names[i], i, names[i], i, names[i], i, names[i], kind, i, names[i], i, names[i]);
	const struct editor_calibration_data data = { .corpus = (const char *)corpus.data,
						      .corpus_len = corpus.len,
						      .groups = (const char *)groups.data,
						      .groups_len = groups.len,
						      .groups_alone = alone };
	assert_ok(&e, editor_calibrate_data(model, &c, &data, NULL, &calibration, &report, &e));
	*threshold = calibration->relation.threshold;
	editor_calibration_destroy(&calibration);
	buf_free(&groups);
	return report.relation;
}

static void questions_that_sound_near_do_not_set_the_threshold(void **state)
{
	float threshold;
	(void)state;
	assert_int_equal(report_of_repeats("other", false, &threshold).others, 12);
	assert_true(threshold > 0.99f);
	const struct editor_relation_report near = report_of_repeats("near", false, &threshold);
	assert_int_equal(near.groups, 12);
	assert_int_equal(near.rephrases, 8); /* nor do their rephrases */
	assert_int_equal(near.others, 8);
	assert_true(threshold < 0.99f);
	assert_int_equal(report_of_repeats("near", true, &threshold).others, 4); /* there is nothing else */
	assert_true(threshold > 0.99f);
}

/* Two groups on one relation, each with the other's forms: there is nothing to push away, so the head stays as drawn.
 */
static void questions_of_one_form_are_no_negatives(void **state)
{
	enum { N = 4, DIMS = 2, STEPS = 20 };
	static const float x[N] = { 1, 0, 2, 0 }, y[N] = { 0, 3, 0, 1 }, z[N] = { 2, 2, 0, 1 };
	struct editor__triple triples[] = {
		{ .prompt = x, .rephrase = y, .other = z, .form = 1, .rephrase_form = 2, .other_form = 2 },
		{ .prompt = y, .rephrase = x, .other = z, .form = 2, .rephrase_form = 1, .other_form = 1 },
	};
	float heads[3][N * DIMS];
	(void)state;
	for (size_t i = 0; i < 3; i++) {
		struct editor_calibration *c = NULL;
		struct err e = ERR_INIT;
		triples[1].other_form = i < 2 ? 1 : 3; /* at last something else */
		assert_ok(&e, editor__calibration_new(N, N, DIMS, &c, &e));
		assert_ok(&e, editor__relation_fit(c, model_backend_of(model), triples, 2, i == 0 ? 1 : STEPS, 1, &e));
		memcpy(heads[i], c->relation.head, sizeof(heads[i]));
		editor_calibration_destroy(&c);
	}
	assert_memory_equal(heads[0], heads[1], sizeof(heads[0]));
	assert_true(memcmp(heads[1], heads[2], sizeof(heads[1])) != 0);
}

enum { DRAWN = 16 };

/* Questions of `groups` relations, each with its own subject: a rephrase and another question as far from the prompt as
 * these say. */
static void draw(float (*x)[3][DRAWN], size_t groups, float rephrase, float other, struct editor__triple *triples)
{
	struct rng rng;
	rng_init(&rng, 1);
	for (size_t i = 0; i < groups; i++) {
		for (size_t k = 0; k < DRAWN; k++) {
			x[i][0][k] = rng_normal(&rng);
			x[i][1][k] = x[i][0][k] + rephrase * rng_normal(&rng);
			x[i][2][k] = x[i][0][k] + other * rng_normal(&rng);
		}
		triples[i] = (struct editor__triple){ .prompt = x[i][0],
						      .rephrase = x[i][1],
						      .other = x[i][2],
						      .form = 3 * i,
						      .rephrase_form = 3 * i + 1,
						      .other_form = 3 * i + 2,
						      .subject = i };
	}
}

/* One threshold is to hold for every prompt: a group's own rephrase comes above the cosine of the logistic loss, its
 * own other question below, where being told apart would do with both above. */
static void own_questions_come_to_either_side_of_one_cosine(void **state)
{
	enum { GROUPS = 24, DIMS = 8 };
	static float x[GROUPS][3][DRAWN];
	struct editor__triple triples[GROUPS];
	struct editor_calibration *c = NULL;
	struct err e = ERR_INIT;
	(void)state;
	draw(x, GROUPS, 0.1f, 0.5f, triples);
	assert_ok(&e, editor__calibration_new(DRAWN, DRAWN, DIMS, &c, &e));
	assert_ok(&e, editor__relation_fit(c, model_backend_of(model), triples, GROUPS, 400, 1, &e));
	float kept = 1, passed = 0;
	for (size_t i = 0; i < GROUPS; i++) {
		float keys[3][DIMS];
		for (size_t q = 0; q < 3; q++)
			editor_calibration_relation_key(c, x[i][q], keys[q]);
		kept = fminf(kept, editor__dot(keys[0], keys[1], DIMS));
		passed += editor__dot(keys[0], keys[2], DIMS) / GROUPS;
	}
	assert_true(kept > 0.4f);
	assert_true(passed < 0.4f);
	editor_calibration_destroy(&c);
}

/* Where rephrases and other questions are alike, what lets few of the others pass would keep few rephrases. */
static void enough_rephrases_are_kept(void **state)
{
	enum { GROUPS = 120 };
	static float x[GROUPS][3][DRAWN];
	static struct editor__triple triples[GROUPS];
	struct editor_config c = config();
	(void)state;
	draw(x, GROUPS, 1, 1, triples);
	for (size_t count = 99; count <= GROUPS; count += GROUPS - 99) { /* fewer do not tell */
		struct editor_relation_report report = { 0 };
		struct err e = ERR_INIT;
		float threshold = 0;
		assert_ok(&e, editor__relation_test(DRAWN, &c, model_backend_of(model), triples, count, &report,
						    &threshold, &e));
		assert_int_equal(report.rephrases, count);
		assert_true(count < 100 ? report.kept < 0.9 : report.kept >= 0.95);
		assert_true(count < 100 ? report.passed < 0.08 : report.passed > 0.08);
	}
}

/* The shares that let a question through count edits of every group that has a say: those that are like nothing
 * else must not thin the others out. The threshold of most edits, with so many of those behind the corpus. */
static float threshold_beside(size_t made)
{
	const struct editor_config c = config();
	struct editor_calibration *calibration = NULL;
	static const char *const kinds[] = { "prompt", "rephrase", "near" };
	struct buf all = BUF_INIT;
	struct err e = ERR_INIT;
	struct rng rng;
	buf_append(&all, corpus.data, corpus.len);
	rng_init(&rng, 5);
	for (size_t i = 0; i < made; i++) {
		for (size_t kind = 0; kind < 3; kind++) {
			buf_printf(&all, "%s\tm%zu\t\t", kinds[kind], i);
			for (size_t k = 0; k < 8 + i % 5; k++)
				buf_printf(&all, "%c%c%c ", (char)('a' + rng_below(&rng, 26)),
					   (char)('a' + rng_below(&rng, 26)), (char)('a' + rng_below(&rng, 26)));
			buf_printf(&all, "?\n");
		}
	}
	assert_false(buf_failed(&all));
	assert_ok(&e, editor_calibrate(model, &c, (const char *)all.data, all.len, NULL, &calibration, &e));
	const float threshold = calibration->thresholds[EDITOR_THRESHOLDS - 1].threshold;
	editor_calibration_destroy(&calibration);
	buf_free(&all);
	return threshold;
}

static void hand_written_groups_do_not_thin_the_others_out(void **state)
{
	(void)state;
	assert_true(threshold_beside(400) >= threshold_beside(8)); /* of 8 others */
}

static void thresholds_are_log_linear(void **state)
{
	(void)state;
	struct editor_calibration c = { 0 };
	for (size_t i = 0; i < EDITOR_THRESHOLDS; i++) {
		c.thresholds[i].edit_count = 1u << (2 * i); /* 1, 4, 16 … 16384 */
		c.thresholds[i].threshold = 0.1f * (float)(i + 1);
	}
	assert_true(editor_calibration_threshold(&c, 0) == 0.1f);
	assert_true(editor_calibration_threshold(&c, 1) == 0.1f);
	assert_true(fabsf(editor_calibration_threshold(&c, 2) - 0.15f) < 1e-6f);
	assert_true(fabsf(editor_calibration_threshold(&c, 16) - 0.3f) < 1e-6f);
	assert_true(fabsf(editor_calibration_threshold(&c, 65536) - 0.9f) < 1e-6f); /* beyond the last */
	assert_true(editor_calibration_threshold(&c, (size_t)1 << 40) == 1.0f);     /* a cosine is at most 1 */
}

static void bad_corpora_are_refused(void **state)
{
	(void)state;
	static const struct {
		const char *text, *says;
	} cases[] = {
		{ "", "too few" },
		{ "prompt\ta\tx\tWhat?\nanswer\tb\tx\tNo.\n", "line 2" },
		{ "prompt\ta\n", "line 1" },
		{ "prompt\ta\tx\t\n", "line 1" },
		{ "prompt\ta\tx\tWhat?\nprompt\tb\tx\tWhy?\nunrelated\tc\t\tx\n", "too few" },
	};
	const struct editor_config c = config();
	for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
		struct editor_calibration *out = NULL;
		struct err e = ERR_INIT;
		assert_int_equal(editor_calibrate(model, &c, cases[i].text, strlen(cases[i].text), NULL, &out, &e),
				 ERR_INVALID);
		assert_non_null(strstr(e.text, cases[i].says));
		assert_null(out);
	}
}

/* Longer than the tiny model's context: "a " is at least one token. */
static void put_long(struct buf *out, const char *head)
{
	buf_puts(out, head);
	for (size_t i = 0; i <= TINY_CONTEXT; i++)
		buf_puts(out, "a ");
	buf_puts(out, "\n");
}

static void a_text_longer_than_the_context_is_left_out(void **state)
{
	(void)state;
	const struct editor_config c = config();
	struct editor_calibration *without = calibrate(&c), *with = NULL;
	struct editor_calibration_report report;
	struct buf longer = BUF_INIT;
	struct err e = ERR_INIT;
	put_long(&longer, "unrelated\tfirst\t\t");
	buf_append(&longer, corpus.data, corpus.len);
	put_long(&longer, "prompt\tlast\tOrla\tOrla ");
	const struct editor_calibration_data data = { .corpus = (const char *)longer.data, .corpus_len = longer.len };
	assert_int_equal(editor_calibrate_data(model, &c, &data, NULL, &with, &report, &e), 0);
	assert_int_equal(report.left_out, 2);
	assert_int_equal(report.prompts, 8);
	assert_memory_equal(with->whiten, without->whiten, TINY_HIDDEN * TINY_HIDDEN * sizeof(float));
	assert_memory_equal(with->thresholds, without->thresholds, sizeof(with->thresholds));
	editor_calibration_destroy(&with);
	editor_calibration_destroy(&without);
	buf_clear(&longer);
	for (size_t i = 0; i < 8; i++)
		put_long(&longer, i % 2 == 0 ? "prompt\tg\tx\t" : "unrelated\tu\t\t");
	assert_int_equal(editor_calibrate(model, &c, (const char *)longer.data, longer.len, NULL, &with, &e),
			 ERR_INVALID);
	assert_non_null(strstr(e.text, "longer than the model's context of 512 tokens: 8 more; give --corpus FILE"));
	buf_free(&longer);
}

static int stop_at_once(void *context, const char *phase, size_t done, size_t total, double loss)
{
	(void)context, (void)phase, (void)done, (void)total, (void)loss;
	return 1;
}

static void it_can_be_stopped(void **state)
{
	(void)state;
	const struct editor_config c = config();
	const struct editor_watch watch = { .on_progress = stop_at_once };
	struct editor_calibration *out = NULL;
	struct err e = ERR_INIT;
	assert_int_equal(editor_calibrate(model, &c, (const char *)corpus.data, corpus.len, &watch, &out, &e),
			 ERR_INTERRUPTED);
	assert_null(out);
}

static void running_out_of_memory_is_an_error(void **state)
{
	(void)state;
	const struct editor_config c = config();
	int rc = ERR_NOMEM;
	for (int64_t n = 0; rc != 0; n++) {
		struct editor_calibration *out = NULL;
		struct err e = ERR_INIT;
		fault_set(n, 1);
		rc = editor_calibrate(model, &c, (const char *)corpus.data, corpus.len, NULL, &out, &e);
		fault_set(-1, 0);
		assert_true(rc == 0 || rc == ERR_NOMEM);
		assert_true(rc != 0 || out != NULL);
		editor_calibration_destroy(&out);
		assert_true(n < 10000);
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(whitening_gives_the_cosines_of_the_definition),
		cmocka_unit_test(a_fit_is_kept_short),
		cmocka_unit_test(same_corpus_same_bytes),
		cmocka_unit_test(bytes_read_back),
		cmocka_unit_test(the_relation_head_tells_questions_apart),
		cmocka_unit_test(questions_that_sound_near_do_not_set_the_threshold),
		cmocka_unit_test(questions_of_one_form_are_no_negatives),
		cmocka_unit_test(own_questions_come_to_either_side_of_one_cosine),
		cmocka_unit_test(enough_rephrases_are_kept),
		cmocka_unit_test(hand_written_groups_do_not_thin_the_others_out),
		cmocka_unit_test(thresholds_are_log_linear),
		cmocka_unit_test(bad_corpora_are_refused),
		cmocka_unit_test(a_text_longer_than_the_context_is_left_out),
		cmocka_unit_test(it_can_be_stopped),
		cmocka_unit_test(running_out_of_memory_is_an_error),
	};
	return cmocka_run_group_tests(tests, set_up, tear_down);
}
