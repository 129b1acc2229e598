/* What a worker takes before it joins: the layer, the rate, a calibration file; and that it joins not without. */
#include "tests/lib/worker_fixture.h"
#include "tests/unit/editor/tiny.h"

#include "editor/calibration_file.h"

#include <unistd.h>

static void a_layer_outside_of_the_model_ends_it(void **state)
{
	struct stand *s = *state;
	s->layer = TINY_LAYERS;
	stand_start(s);
	stand_until(s, &s->asks, 1);
	stand_ends(s, 2000, ERR_INVALID, "layer is 4: it may be 0 to 3");
	assert_int_equal(s->hellos, 0); /* it was not a worker yet: the cluster's layer is not fixed */
}

static void expect_unable(struct stand *s, size_t hellos, const char *says)
{
	stand_ends(s, 2000, ERR_INVALID, says);
	assert_int_equal(s->hellos, hellos);
}

/* A worker that need not calibrate is none either before it has taken the layer. */
static void with_a_cached_calibration_the_layer_is_looked_at_first(void **state)
{
	struct stand *s = *state;
	stand_greet(s);
	s->layer = TINY_LAYERS;
	stand_restart(s);
	expect_unable(s, 1, "layer is 4: it may be 0 to 3");
	s->layer = 0; /* below the keys */
	stand_restart(s);
	expect_unable(s, 1, "layer is 0: it may not lie below prompt_layer (1)");
	s->layer = 2;
	stand_restart(s);
	stand_until(s, &s->hellos, 2);
}

/* The coordinator that comes back may be another, with another layer. */
static void after_a_silence_the_layer_is_looked_at_again(void **state)
{
	struct stand *s = *state;
	stand_greet(s);
	s->silent = true;
	stand_turns(s, 9000);
	s->layer = 0;
	s->silent = false;
	expect_unable(s, 1, "layer is 0: it may not lie below prompt_layer");
}

static void a_coordinator_that_forgot_it_is_asked_again(void **state)
{
	struct stand *s = *state;
	struct msg msg = { .type = MSG_ERROR, .u.error = { ERR_NOT_FOUND, { "why", 3 } } };
	stand_greet(s);
	s->layer = 0;
	stand_send(s, &msg);
	expect_unable(s, 1, "layer is 0: it may not lie below prompt_layer");
}

static void a_layer_that_changes_while_it_calibrates_is_looked_at(void **state)
{
	struct stand *s = *state;
	s->hold_engine = true;
	stand_start(s);
	stand_turns(s, 2000);
	assert_false(worker_idle(s->worker));
	s->layer = 0;
	s->hold_engine = false;
	expect_unable(s, 0, "layer is 0: it may not lie below prompt_layer");
}

/* The paper's family trains on its texts: every job would fail. */
static void the_papers_worker_needs_its_corpus_to_join(void **state)
{
	struct stand *s = *state;
	struct buf settings = BUF_INIT;
	stand_paper(s, &settings);
	assert_int_equal(unlink(s->corpus), 0);
	stand_start(s);
	stand_ends(s, 2000, ERR_NOT_FOUND, "corpus.tsv");
	assert_int_equal(s->hellos, 0);
	buf_free(&settings);
}

static bool keep_refusal(struct stand *s, const struct msg *msg)
{
	if (msg->type == MSG_HELLO && msg->u.hello.refusal.len > 0) {
		struct buf *kept = s->hook_context;
		assert_int_equal(msg->u.hello.kind, MSG_PEER_CLIENT);
		buf_append(kept, msg->u.hello.refusal.text, msg->u.hello.refusal.len);
		buf_puts(kept, ";");
	}
	return false;
}

/* Its log may lie on another machine than the people who wonder why nothing is trained. */
static void the_coordinator_is_told_why_it_ends(void **state)
{
	struct stand *s = *state;
	struct buf kept = BUF_INIT;
	s->hook = keep_refusal;
	s->hook_context = &kept;
	s->layer = 0;
	stand_start(s);
	expect_unable(s, 0, "layer is 0: it may not lie below prompt_layer");
	assert_non_null(strstr(buf_cstr(&kept), "layer is 0: it may not lie below prompt_layer (1) and relation_layer "
						"(1), by whose states routes are decided;"));
	assert_null(strchr(strchr(buf_cstr(&kept), ';') + 1, ';')); /* once */
	buf_clear(&kept);
	s->layer = 2;
	s->hello_code = ERR_MISMATCH;
	stand_restart(s);
	stand_turns(s, 2000);
	assert_true(worker_failed(s->worker, NULL));
	assert_int_equal(kept.len, 0); /* it knows that: it said so */
	s->hello_code = 0;
	assert_int_equal(unlink(s->corpus), 0);
	stand_restart(s);
	stand_turns(s, 2000);
	assert_true(worker_failed(s->worker, NULL));
	assert_non_null(strstr(buf_cstr(&kept), "corpus.tsv"));
	buf_free(&kept);
}

/* --- How the cluster trains. */

/* What a shard of two edits becomes, trained breadth first, with the worker's own rate and the coordinator's word. */
static struct hash delta_with(float own, double told)
{
	void *state = NULL;
	assert_int_equal(stand_setup(&state), 0);
	struct stand *s = state;
	s->config.editor.rate = own;
	s->config.editor.stream_group_max = 1;
	s->rate = told;
	stand_greet(s);
	stand_edit(s, "what is the capital of Orla?", "Brin");
	stand_edit(s, "who is the king of Vint?", "Olaf IV");
	stand_lease(s);
	stand_group(s, 2);
	const struct hash delta = s->commit.delta_root;
	stand_teardown(&state);
	return delta;
}

static void the_coordinators_rate_decides(void **state)
{
	(void)state;
	const struct hash told = delta_with(0.02f, 0.03), own = delta_with(0.02f, 0);
	const struct hash other_own = delta_with(0.01f, 0.03);
	assert_true(hash_equal(&told, &other_own));
	assert_false(hash_equal(&told, &own));
}

static void without_a_word_of_it_the_rate_is_the_default_again(void **state)
{
	(void)state;
	void *stand = NULL;
	const struct hash own = delta_with(0.02f, 0);
	assert_int_equal(stand_setup(&stand), 0);
	struct stand *s = stand;
	s->config.editor.stream_group_max = 1;
	s->rate = 0.03;
	stand_greet(s);
	s->rate = 0; /* the coordinator is started anew, without its rate */
	s->silent = true;
	stand_turns(s, 9000);
	s->silent = false;
	stand_until(s, &s->hellos, s->hellos + 1);
	stand_edit(s, "what is the capital of Orla?", "Brin");
	stand_edit(s, "who is the king of Vint?", "Olaf IV");
	stand_lease(s);
	stand_group(s, 2);
	assert_true(hash_equal(&s->commit.delta_root, &own));
	stand_teardown(&stand);
}

static void a_rate_that_cannot_train_is_refused(void **state)
{
	struct stand *s = *state;
	s->rate = 5;
	stand_start(s);
	stand_ends(s, 5000, ERR_INVALID, "rate is 5");
}

/* --- A calibration file that it was given. */

#define SETTINGS_ALPHA 7.0f /* of the coordinator's, whose others are the defaults */

enum margin { ALPHA, BETA, GAMMA, ACT_RATIO, MARGINS };

/* One margin is `value`. */
static void given_write(struct stand *s, enum editor_family family, enum margin margin, float value,
			char path[TEST_PATH_BYTES])
{
	struct editor_calibration_file file = { .calibration = BUF_INIT };
	struct editor_wise_calibration paper = { .base_model = *model_digest(stand_model()),
						 .layer = 2,
						 .wise = s->config.editor.wise };
	struct buf bytes = BUF_INIT;
	float *const margins[MARGINS] = { &paper.wise.alpha, &paper.wise.beta, &paper.wise.gamma,
					  &paper.wise.act_ratio };
	paper.wise.alpha = SETTINGS_ALPHA;
	*margins[margin] = value;
	test_path(path, s->folder, "given.cal");
	if (family == EDITOR_FAMILY_PAPER)
		assert_ok(&s->e, editor_wise_calibration_encode(&paper, &file.calibration, &s->e));
	else
		plain_calibration(&paper.base_model, TINY_HIDDEN, 0.5f, 0.5f, 0.5f, &file.calibration);
	assert_ok(&s->e, editor_fitting_add_text(&file.fitting, "Who?", 4, &s->e));
	assert_ok(&s->e, editor_fitting_add_file(&file.fitting, "corpus", s->corpus, &s->e));
	assert_ok(&s->e, editor_calibration_file_encode(&file, &bytes, &s->e));
	assert_ok(&s->e, file_write_sealed(path, bytes.data, bytes.len, 0600, &s->e));
	if (s->settings.bytes == NULL && family == EDITOR_FAMILY_PAPER) { /* the coordinator's, of the same file */
		static uint8_t settings[4096];
		assert_true(bytes.len <= sizeof settings);
		memcpy(settings, bytes.data, bytes.len);
		s->settings = (struct msg_bytes){ settings, bytes.len };
	}
	editor_calibration_file_fini(&file);
	buf_free(&bytes);
	s->config.calibration_file = path;
}

static void a_given_calibration_is_used_as_it_is(void **state)
{
	struct stand *s = *state;
	char path[TEST_PATH_BYTES];
	struct buf bytes = BUF_INIT, published = BUF_INIT;
	struct hash digest;
	given_write(s, EDITOR_FAMILY_AMEND, ALPHA, 0, path);
	s->hold_engine = true;
	stand_start(s);
	stand_until(s, &s->hellos, 1); /* nothing to calibrate */
	assert_int_equal(s->asks, 1);
	assert_ok(&s->e, file_read_sealed(path, 1 << 20, &bytes, &s->e));
	hash_of(bytes.data, bytes.len, &digest);
	assert_true(hash_equal(&s->hello.calibration, &digest));
	assert_ok(&s->e, hash_of_file(s->corpus, &digest, &s->e));
	assert_true(hash_equal(&s->hello.corpus, &digest)); /* said beside it */
	s->hold_engine = false;
	stand_edit(s, "The capital of Orla is", "Kir");
	stand_lease(s);
	stand_group(s, 1);
	assert_ok(&s->e, store_blob_get(s->source, &s->commit.calibration_root, 1 << 20, &published, &s->e));
	assert_same_bytes(&published, &bytes);
	buf_free(&bytes);
	buf_free(&published);
}

static void with_a_given_calibration_the_layer_is_looked_at_first(void **state)
{
	struct stand *s = *state;
	char path[TEST_PATH_BYTES];
	given_write(s, EDITOR_FAMILY_AMEND, ALPHA, 0, path);
	s->layer = TINY_LAYERS;
	stand_start(s);
	expect_unable(s, 0, "layer is 4: it may be 0 to 3");
}

static void without_a_file_the_corpus_names_the_calibration(void **state)
{
	struct stand *s = *state;
	struct hash corpus;
	stand_greet(s);
	assert_ok(&s->e, hash_of_file(s->corpus, &corpus, &s->e));
	assert_true(hash_equal(&s->hello.calibration, &corpus));
	assert_true(hash_equal(&s->hello.corpus, &corpus));
}

static void a_file_of_another_family_or_model_ends_it(void **state)
{
	struct stand *s = *state;
	char path[TEST_PATH_BYTES];
	struct err e = ERR_INIT;
	given_write(s, EDITOR_FAMILY_PAPER, ALPHA, SETTINGS_ALPHA, path);
	s->settings = (struct msg_bytes){ NULL, 0 }; /* a cluster of family amend */
	stand_start(s);
	stand_ends(s, 500, ERR_MISMATCH, "is a calibration of family paper, and edits are of family amend");
	stand_stop(s);
	test_file_write(path, "AMCF, but cut off");
	assert_int_equal(
		worker_new(&s->config, &s->clock.env, s->blobs, s->client, NULL, stand_model(), &s->worker, &e),
		ERR_CORRUPT);
	assert_non_null(strstr(e.text, "given.cal"));
}

static void the_papers_file_and_the_coordinators_settings_agree(void **state)
{
	struct stand *s = *state;
	char path[TEST_PATH_BYTES];
	struct err e = ERR_INIT;
	struct buf published = BUF_INIT;
	struct editor_calibration_file file;
	struct editor_wise_calibration paper;
	s->layer = 2;
	given_write(s, EDITOR_FAMILY_PAPER, ALPHA, SETTINGS_ALPHA, path);
	stand_start(s);
	stand_until(s, &s->hellos, 1);
	stand_turns(s, 500);
	assert_false(worker_failed(s->worker, &e));
	s->keep_failed = true; /* the tiny model forgets: it is not what is asked here */
	stand_edit(s, "The capital of Orla is", "Kir");
	stand_lease(s);
	stand_group(s, 1);
	assert_ok(&s->e, store_blob_get(s->source, &s->commit.calibration_root, 1 << 20, &published, &s->e));
	assert_ok(&s->e, editor_calibration_file_decode(published.data, published.len, &file, &s->e));
	assert_int_equal(file.fitting.text_count, 1); /* what it was fitted on goes into the version */
	assert_ok(&s->e, editor_wise_calibration_decode(file.calibration.data, file.calibration.len, &paper, &s->e));
	assert_true(paper.wise.alpha == SETTINGS_ALPHA);
	editor_calibration_file_fini(&file);
	buf_free(&published);
	stand_stop(s);
	s->layer = 3;
	stand_start(s);
	stand_ends(s, 2000, ERR_MISMATCH,
		   "the coordinator's calibration file was measured with layer at 2, edits are trained with 3: ");
	s->layer = 2;
	/* The settings stay as they were. */
	static const float others[MARGINS] = { 8, 21, 11, 0.5f };
	for (enum margin margin = ALPHA; margin < MARGINS; margin++) {
		stand_stop(s);
		given_write(s, EDITOR_FAMILY_PAPER, margin, others[margin], path);
		stand_start(s);
		stand_ends(s, 2000, ERR_MISMATCH, "other margins than the coordinator's settings");
	}
}

#define T(f) cmocka_unit_test_setup_teardown(f, stand_setup, stand_teardown)

int main(void)
{
	const struct CMUnitTest tests[] = {
		T(a_layer_outside_of_the_model_ends_it),
		T(with_a_cached_calibration_the_layer_is_looked_at_first),
		T(after_a_silence_the_layer_is_looked_at_again),
		T(a_coordinator_that_forgot_it_is_asked_again),
		T(a_layer_that_changes_while_it_calibrates_is_looked_at),
		T(the_papers_worker_needs_its_corpus_to_join),
		T(the_coordinator_is_told_why_it_ends),
		cmocka_unit_test(the_coordinators_rate_decides),
		cmocka_unit_test(without_a_word_of_it_the_rate_is_the_default_again),
		T(a_rate_that_cannot_train_is_refused),
		T(a_given_calibration_is_used_as_it_is),
		T(with_a_given_calibration_the_layer_is_looked_at_first),
		T(without_a_file_the_corpus_names_the_calibration),
		T(a_file_of_another_family_or_model_ends_it),
		T(the_papers_file_and_the_coordinators_settings_agree),
	};
	return cmocka_run_group_tests(tests, stand_model_open, stand_model_close);
}
