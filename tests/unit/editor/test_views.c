/* Views (editor/views.c) of a shard's edits: what is in them, and what they do to training. */
#include "editor/shard_internal.h"

#include "base/fault.h"
#include "tests/unit/editor/tiny_fixture.h"

static struct editor_config config(size_t views)
{
	struct editor_config c;
	editor_config_default(model_shape_of(model), &c);
	c.layer = 2;
	c.plain_view = false;
	c.views = views;
	return c;
}

static void add(struct editor_shard *shard, uint64_t seq, const char *prompt, const char *subject, const char *target)
{
	shard_add(shard, seq, prompt, subject, "", target);
}

static struct editor_shard *shard_new(size_t views)
{
	const struct editor_config c = config(views);
	return shard_open(&c);
}

static struct editor_shard *shard_of_two(size_t views)
{
	struct editor_shard *shard = shard_new(views);
	add(shard, 1, "what is the capital of Orla?", "Orla", "Brin");
	add(shard, 2, "who is the king of all Vint?", "Vint", "Olaf IV");
	return shard;
}

/* In this turn the edit is seen as one whose own prompt is this one: the same prompt rows, the same residuals. */
static void expect_turn(struct editor__edit *edit, uint64_t turn, const char *prompt, const char *subject,
			const char *target)
{
	struct editor_shard *asked = shard_new(0);
	struct err e = ERR_INIT;
	add(asked, 1, prompt, subject, target);
	assert_ok(&e, editor__prefix_fill(asked, &e));
	const struct editor__edit *as = &asked->edits[0];
	editor__edit_see(edit, turn, true);
	const struct editor__reading read = editor__edit_reading(edit);
	assert_int_equal(read.prompt_rows, as->prompt_count - 1);
	assert_memory_equal(read.inputs, as->inputs, read.prompt_rows * TINY_FFN * sizeof(float));
	assert_memory_equal(read.residual, as->residual, editor__edit_rows(as) * TINY_HIDDEN * sizeof(float));
	editor__edit_see(edit, EDITOR__TURN_OWN, true);
	editor_shard_destroy(&asked);
}

static void expect_view(struct editor__edit *edit, size_t at, const char *prompt, const char *subject,
			const char *target)
{
	assert_true(at < edit->view_count);
	expect_turn(edit, 2 * at + 1, prompt, subject, target);
}

/* Read in a view's way, an edit in a batch has that question's rows before its answer, and its own behind them. */
static void a_view_is_the_other_question_about_the_subject(void **state)
{
	(void)state;
	struct editor_shard *shard = shard_of_two(3);
	struct err e = ERR_INIT;
	const size_t ffn = TINY_FFN, first = 0;
	assert_ok(&e, editor__prefix_fill(shard, &e));
	assert_ok(&e, editor__views_lend(shard, 7, NULL, &e));
	struct editor__edit *edit = &shard->edits[0];
	assert_int_equal(edit->view_count, 1); /* of one form, and no view twice */
	expect_view(edit, 0, "who is the king of all Orla?", "Orla", "Brin");
	for (uint64_t turn = 1; turn < 7; turn += 2) {
		editor__edit_see(edit, turn, true);
		assert_ptr_equal(edit->seen, edit->views);
	}
	const size_t labels = editor__edit_labels(edit), before = editor__edit_reading(edit).prompt_rows;
	size_t taken = 0;
	assert_ok(&e, editor__batch_fill(shard, &first, 1, 1.0f, &taken, &e));
	assert_int_equal(shard->batch.row_count, before + labels);
	assert_int_equal(shard->batch.rows[0], before);
	assert_memory_equal(shard->batch.labels, edit->ids + edit->prompt_count, labels * sizeof(int32_t));
	assert_memory_equal(shard->batch.x + before * ffn, edit->inputs + (edit->prompt_count - 1) * ffn,
			    labels * ffn * sizeof(float));
	editor__edit_see(edit, 2, true); /* its own turn */
	assert_int_equal(editor__edit_reading(edit).prompt_rows, edit->prompt_count - 1);
	assert_ptr_equal(editor__edit_reading(edit).inputs, edit->inputs);
	assert_ok(&e, editor__views_lend(shard, 8, NULL, &e)); /* instead of what was lent */
	assert_int_equal(edit->view_count, 1);
	editor__edit_see(edit, 1, true);
	editor__views_give_back(shard); /* nobody sees what is gone */
	assert_ptr_equal(editor__edit_reading(edit).inputs, edit->inputs);
	editor_shard_destroy(&shard);
}

/* As many as are wanted, and no more, however many could be lent; what one is lent, another on the same subject is,
 * too.
 */
static void views_are_counted_by_edit(void **state)
{
	(void)state;
	struct err e = ERR_INIT;
	for (size_t views = 1; views < 4; views++) {
		struct editor_shard *shard = shard_new(views);
		add(shard, 1, "what is the capital of Orla?", "Orla", "Brin");
		add(shard, 2, "where is Orla?", "Orla", "here");
		add(shard, 3, "who is the king of all Vint?", "Vint", "Olaf");
		add(shard, 4, "how high is Rask?", "Rask", "so");
		assert_ok(&e, editor__prefix_fill(shard, &e));
		assert_ok(&e, editor__views_lend(shard, 7, NULL, &e));
		for (size_t i = 0; i < 2; i++)
			assert_int_equal(shard->edits[i].view_count, views < 2 ? views : 2);
		editor_shard_destroy(&shard);
	}
}

static void names_and_answers_have_a_limit(void **state)
{
	(void)state;
	struct editor_shard *shard = shard_new(1);
	struct err e = ERR_INIT;
	shard_add(shard, 1, "where is Rask?", "Rask",
		  "\"Ra\",\"Rb\",\"Rc\",\"Rd\",\"Re\",\"Rf\",\"Rg\",\"Rh\",\"Ri\",\"Rj\"", "here");
	shard_add(shard, 2, "where is Orla?", "Orla", "\"Orl\"", "qxqxqxqxqxqxqxqxqxqxqxqxqxqxqx");
	shard_add(shard, 3, "where is Vint?", "Vint", "\"Vin\"", "qxqxqxqxqxqxqxqxqxqxqxqxqxqxqxq");
	assert_ok(&e, editor__prefix_fill(shard, &e));
	assert_ok(&e, editor__views_own(shard, NULL, &e));
	assert_int_equal(editor__edit_labels(&shard->edits[1]), 32);
	assert_int_equal(shard->edits[0].view_count, EDITOR_FORMS_MAX);
	assert_int_equal(shard->edits[1].view_count, 1);
	assert_int_equal(shard->edits[2].view_count, 0);
	editor_shard_destroy(&shard);
}

/* The question by each name but the one it has, before what is lent; that goes back, and they stay. */
static void an_edit_is_seen_by_its_other_names(void **state)
{
	(void)state;
	struct editor_shard *shard = shard_new(2);
	struct err e = ERR_INIT;
	shard_add(shard, 1, "what is the capital of the isle?", "the isle", "\"Orla\",\"The Isle\",\"old O\"", "Brin");
	shard_add(shard, 2, "who rules VT?", "Vint", "\"VT\"", "Olaf");
	assert_ok(&e, editor__prefix_fill(shard, &e));
	assert_ok(&e, editor__views_own(shard, NULL, &e));
	struct editor__edit *edits = shard->edits;
	assert_int_equal(edits[0].view_count, 3);
	expect_view(&edits[0], 0, "what is the capital of Orla?", "Orla", "Brin");
	expect_view(&edits[0], 2, "what is the capital of old O?", "old O", "Brin");
	assert_int_equal(edits[1].view_count, 1);
	expect_view(&edits[1], 0, "who rules Vint?", "Vint", "Olaf");
	const struct editor__view *named = edits[1].views;
	assert_ok(&e, editor__views_own(shard, NULL, &e)); /* nothing is new */
	assert_ptr_equal(edits[1].views, named);
	shard_add(shard, 3, "where is Rask?", "Rask", "\"Rsk\"", "here");
	assert_ok(&e, editor__prefix_fill(shard, &e));
	assert_ok(&e, editor__views_own(shard, NULL, &e));
	assert_ok(&e, editor__views_lend(shard, 7, NULL, &e));
	edits = shard->edits;
	assert_true(edits[1].view_count > 1 && edits[2].view_count > 1);
	expect_view(&edits[1], 0, "who rules Vint?", "Vint", "Olaf");
	expect_view(&edits[2], 0, "where is Rsk?", "Rsk", "here");
	editor__views_give_back(shard);
	assert_int_equal(edits[0].view_count, 3);
	assert_int_equal(edits[1].view_count, 1);
	assert_int_equal(edits[2].view_count, 1);
	expect_view(&edits[2], 0, "where is Rsk?", "Rsk", "here");
	editor_shard_destroy(&shard);
}

/* With or without a subject, and not where nothing would change; beside others every fourth turn, and theirs stay. */
static void an_edit_is_seen_as_it_is_typed_in_a_hurry(void **state)
{
	(void)state;
	struct editor_config c = config(2);
	struct err e = ERR_INIT;
	for (size_t views = 0; views < 3; views += 2) {
		c.views = views;
		c.plain_view = true;
		struct editor_shard *shard = shard_open(&c);
		shard_add(shard, 1, "Where is Rask? ", "Rask", "\"RK\"", "here");
		add(shard, 2, "Who rules Vint.", NULL, "Olaf");
		add(shard, 3, "who rules vint", NULL, "Olaf");
		add(shard, 4, "Who rules Orla?", NULL, "qxqxqxqxqxqxqxqxqxqxqxqxqxqxqxq");
		add(shard, 5, "Who rules Olaf?", "Olaf", "north");
		assert_ok(&e, editor__prefix_fill(shard, &e));
		assert_ok(&e, editor__views_own(shard, NULL, &e));
		assert_ok(&e, editor__views_lend(shard, 7, NULL, &e));
		const size_t names = views > 0 ? 1 : 0;
		struct editor__edit *edit = &shard->edits[0];
		if (views > 0) {
			assert_int_equal(edit->view_count, 3);
			for (uint64_t turn = 0; turn < 12; turn += 4) {
				expect_turn(edit, turn, "Where is Rask? ", "Rask", "here");
				expect_turn(edit, turn + 1, "Where is RK? ", "RK", "here");
				expect_turn(edit, turn + 2, "where is rask", "rask", "here");
				expect_turn(edit, turn + 3, "Who rules Rask?", "Rask", "here");
			}
		}
		editor__edit_see(edit, names > 0 ? 2 : 1, false);
		assert_null(edit->seen);
		editor__views_give_back(shard);
		assert_int_equal(edit->name_view_count, names);
		assert_int_equal(edit->view_count, names + 1);
		expect_turn(edit, names > 0 ? 2 : 1, "where is rask", "rask", "here");
		assert_int_equal(shard->edits[1].name_view_count, 0);
		assert_int_equal(shard->edits[1].view_count, 1);
		expect_view(&shard->edits[1], 0, "who rules vint", NULL, "Olaf");
		assert_int_equal(shard->edits[2].view_count, 0);
		assert_int_equal(shard->edits[3].view_count, 0);
		editor_shard_destroy(&shard);
	}
}

static void delta_of(struct editor_shard *shard, struct buf *out)
{
	struct editor_train_stats stats;
	struct err e = ERR_INIT;
	const size_t count = editor_shard_count(shard);
	assert_ok(&e, editor_shard_train(shard, EDITOR_BREADTH_FIRST, 0, count, 1, NULL, &stats, &e));
	buf_clear(out);
	assert_ok(&e, editor_shard_delta_encode(shard, out, &e));
	for (size_t i = 0; i < count; i++) /* they cost memory, and serve the pass alone */
		assert_true(shard->edits[i].view_count == 0 && shard->edits[i].views == NULL);
	editor_shard_destroy(&shard);
}

static void views_are_trained_and_repeat(void **state)
{
	(void)state;
	struct buf without = BUF_INIT, with = BUF_INIT, again = BUF_INIT;
	delta_of(shard_of_two(0), &without);
	delta_of(shard_of_two(2), &with);
	delta_of(shard_of_two(2), &again);
	assert_false(without.len == with.len && memcmp(without.data, with.data, with.len) == 0);
	assert_same_bytes(&with, &again);
	buf_free(&without);
	buf_free(&with);
	buf_free(&again);
}

/* A merge's passes read views, and what follows them (its re-test) does not. */
static void passes_of_a_merge_read_views_too(void **state)
{
	(void)state;
	float *common = calloc((size_t)TINY_HIDDEN * TINY_FFN, sizeof(*common)),
	      *out = calloc((size_t)TINY_HIDDEN * TINY_FFN, sizeof(*out));
	struct err e = ERR_INIT;
	double losses[2];
	assert_true(common != NULL && out != NULL);
	for (size_t k = 0; k < 2; k++) {
		struct editor_shard *shard = shard_of_two(2 * k);
		editor_shard_local_begin(shard, 0, 0);
		assert_ok(&e, editor_shard_local_passes(shard, common, 2, 1e-9f, 1, out, &losses[k], NULL, &e));
		for (size_t i = 0; i < 2; i++) {
			assert_int_equal(shard->edits[i].view_count, k);
			assert_null(shard->edits[i].seen);
		}
		editor_shard_destroy(&shard);
	}
	assert_true(losses[0] < losses[1] || losses[0] > losses[1]);
	free(common);
	free(out);
}

/* No view where there is nothing to lend, no subject to ask about, or a long answer: then nothing changes. */
static void what_has_no_view_is_trained_as_before(void **state)
{
	(void)state;
	static const struct {
		const char *prompt, *subject, *target;
	} cases[][2] = {
		{ { "what is the capital of Orla?", NULL, "Brin" }, { "who is the king?", "Vint", "Olaf" } },
		{ { "what is the capital of Orla?", "Orla", "Brin" }, { "who is the king?", "Vint", "Olaf" } },
		{ { "what of Orla?", "Orla", "a long answer, of which every letter is a token of the tiny model" },
		  { "who of Vint?", "Vint", "another one, quite as long, which is told from the first to the last" } },
	};
	for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
		struct buf deltas[2] = { BUF_INIT, BUF_INIT };
		for (size_t k = 0; k < 2; k++) {
			struct editor_shard *shard = shard_new(4 * k);
			for (size_t j = 0; j < 2; j++)
				add(shard, j + 1, cases[i][j].prompt, cases[i][j].subject, cases[i][j].target);
			delta_of(shard, &deltas[k]);
		}
		assert_same_bytes(&deltas[0], &deltas[1]);
		buf_free(&deltas[0]);
		buf_free(&deltas[1]);
	}
}

/* Views of the first of two edits. */
static size_t views_behind(const char *prompt, const char *subject, const char *own_prompt, const char *own_subject)
{
	struct editor_shard *shard = shard_new(4);
	struct err e = ERR_INIT;
	add(shard, 1, own_prompt, own_subject, "Brin");
	add(shard, 2, prompt, subject, "Olaf");
	assert_ok(&e, editor__prefix_fill(shard, &e));
	assert_ok(&e, editor__views_lend(shard, 1, NULL, &e));
	const size_t count = shard->edits[0].view_count;
	editor_shard_destroy(&shard);
	return count;
}

static void not_every_prompt_is_lent(void **state)
{
	(void)state;
	static const char own[] = "what is the capital of Orla?";
	char text[300], subject[TINY_CONTEXT - 20], question[TINY_CONTEXT];
	assert_int_equal(views_behind("who is the king of Vint?", "Vint", own, "Orla"), 1);
	assert_int_equal(views_behind("who is the king of Vint?", "vint", own, "Orla"), 1);
	/* the subject as a part of a word is none, and asked about twice it is not the only one */
	assert_int_equal(views_behind("who is the king of Vintland?", "Vint", own, "Orla"), 0);
	assert_int_equal(views_behind("is Vint the king of Vint?", "Vint", own, "Orla"), 0);
	/* its words stand apart: one of them would be left */
	assert_int_equal(views_behind("is Vint the king of Olaf?", "Vint Olaf", own, "Orla"), 0);
	/* the same question, and the same subject's other one */
	assert_int_equal(views_behind("what is the capital of Vint?", "Vint", own, "Orla"), 0);
	assert_int_equal(views_behind("who is the king of Orla?", "Orla", own, "Orla"), 0);
	/* what only begins alike is another question */
	assert_int_equal(views_behind("who is Vint now", "Vint", "who is Orla", "Orla"), 1);
	/* a text instead of a question */
	for (size_t bytes = 256; bytes < 258; bytes++) {
		memset(text, 'q', bytes);
		memcpy(text + bytes - 5, " Vint", 6);
		assert_int_equal(views_behind(text, "Vint", own, "Orla"), bytes == 256);
	}
	/* longer than the model's context with this subject in it */
	memset(subject, 'z', sizeof(subject) - 1);
	subject[sizeof(subject) - 1] = '\0';
	snprintf(question, sizeof(question), "of %s?", subject);
	assert_int_equal(views_behind("who of all men was the king of Vint?", "Vint", question, subject), 0);
	assert_int_equal(views_behind("and Vint?", "Vint", question, subject), 1);
}

/* A number in what is lent is the other edit's: the own one stands there instead. */
static void a_number_is_not_lent(void **state)
{
	(void)state;
	static const char own[] = "what was the capital of Orla in 1998?";
	static const struct {
		const char *lent, *view; /* of "Vint" and of "Orla"; NULL: none */
	} cases[] = {
		{ "who was the king of Vint in 2004?", "who was the king of Orla in 1998?" },
		{ "in 2004, who was the king of Vint?", "in 1998, who was the king of Orla?" },
		{ "who was the king of Vint?", "who was the king of Orla?" },
		{ "who was the king of Vint in 2004 and 2005?", NULL },
	};
	for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
		struct editor_shard *shard = shard_new(4);
		struct err e = ERR_INIT;
		add(shard, 1, own, "Orla", "Brin");
		add(shard, 2, cases[i].lent, "Vint", "Olaf");
		assert_ok(&e, editor__prefix_fill(shard, &e));
		assert_ok(&e, editor__views_lend(shard, 1, NULL, &e));
		assert_int_equal(shard->edits[0].view_count, cases[i].view != NULL);
		if (cases[i].view != NULL)
			expect_view(&shard->edits[0], 0, cases[i].view, "Orla", "Brin");
		editor_shard_destroy(&shard);
	}
	/* nothing to put in its place, and more than one thing */
	assert_int_equal(views_behind("who was the king of Vint in 2004?", "Vint", "where is Orla?", "Orla"), 0);
	assert_int_equal(views_behind("who was the king of Vint in 2004?", "Vint", "what was Orla in 7 to 9?", "Orla"),
			 0);
	/* a number of the subject is the subject's */
	assert_int_equal(views_behind("who was the king of Vint 2004?", "Vint 2004", "where is Orla?", "Orla"), 1);
}

/* What is streamed, and what is trained again after its re-test, sees its other names too. */
static void streaming_reads_other_names(void **state)
{
	(void)state;
	struct buf deltas[2] = { BUF_INIT, BUF_INIT };
	for (size_t k = 0; k < 2; k++) {
		struct editor_shard *shard = shard_new(4 * k);
		struct editor_train_stats stats;
		struct err e = ERR_INIT;
		shard_add(shard, 1, "what is the capital of Orla?", "Orla", "\"the isle\"", "Brin");
		assert_ok(&e, editor_shard_train(shard, EDITOR_STREAM, 0, 1, 1, NULL, &stats, &e));
		assert_int_equal(shard->edits[0].view_count, k);
		assert_null(shard->edits[0].seen);
		assert_ok(&e, editor_shard_delta_encode(shard, &deltas[k], &e));
		editor_shard_destroy(&shard);
	}
	assert_false(deltas[0].len == deltas[1].len && memcmp(deltas[0].data, deltas[1].data, deltas[0].len) == 0);
	buf_free(&deltas[0]);
	buf_free(&deltas[1]);
}

static int stop_at_inputs(void *context, const char *phase, size_t done, size_t total, double loss)
{
	bool *seen = context;
	(void)loss;
	assert_string_equal(phase, "inputs");
	assert_true(done > 0 && done <= total);
	*seen = true;
	return 1;
}

static struct editor_shard *shard_with_names(void)
{
	struct editor_shard *shard = shard_of_two(2);
	struct err e = ERR_INIT;
	shard_add(shard, 3, "where is Rask?", "Rask", "\"Rsk\"", "here");
	assert_ok(&e, editor__prefix_fill(shard, &e));
	return shard;
}

static void making_views_can_be_stopped(void **state)
{
	(void)state;
	struct editor_shard *shard = shard_with_names();
	struct err e = ERR_INIT;
	bool seen = false;
	const struct editor_watch watch = { stop_at_inputs, &seen };
	assert_int_equal(editor__views_own(shard, &watch, &e), ERR_INTERRUPTED);
	assert_true(seen);
	assert_int_equal(shard->edits[2].view_count, 0);
	err_clear(&e);
	assert_ok(&e, editor__views_own(shard, NULL, &e));
	assert_int_equal(shard->edits[2].view_count, 1);
	seen = false;
	assert_int_equal(editor__views_lend(shard, 1, &watch, &e), ERR_INTERRUPTED);
	assert_true(seen);
	for (size_t i = 0; i < 3; i++)
		assert_int_equal(shard->edits[i].view_count, i == 2);
	editor_shard_destroy(&shard);
}

static int name(void *context)
{
	struct err e = ERR_INIT;
	const int rc = editor__views_own(context, NULL, &e);
	assert_true(rc == 0 || e.text[0] != '\0');
	return rc;
}

static int lend(void *context)
{
	struct err e = ERR_INIT;
	return editor__views_lend(context, 1, NULL, &e);
}

static void out_of_memory_is_said(void **state)
{
	(void)state;
	struct editor_shard *shard = shard_with_names();
	assert_true(test_walk_allocations(name, shard) > 3);
	assert_int_equal(shard->edits[2].view_count, 1);
	assert_true(test_walk_allocations(lend, shard) > 4);
	assert_true(shard->edits[1].view_count > 0);
	assert_true(shard->edits[2].view_count > 1);
	editor_shard_destroy(&shard);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(a_view_is_the_other_question_about_the_subject),
		cmocka_unit_test(views_are_counted_by_edit),
		cmocka_unit_test(names_and_answers_have_a_limit),
		cmocka_unit_test(an_edit_is_seen_by_its_other_names),
		cmocka_unit_test(an_edit_is_seen_as_it_is_typed_in_a_hurry),
		cmocka_unit_test(a_number_is_not_lent),
		cmocka_unit_test(streaming_reads_other_names),
		cmocka_unit_test(views_are_trained_and_repeat),
		cmocka_unit_test(passes_of_a_merge_read_views_too),
		cmocka_unit_test(what_has_no_view_is_trained_as_before),
		cmocka_unit_test(not_every_prompt_is_lent),
		cmocka_unit_test(making_views_can_be_stopped),
		cmocka_unit_test(out_of_memory_is_said),
	};
	return cmocka_run_group_tests(tests, open_tiny, close_tiny);
}
