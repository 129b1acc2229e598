/* Calibration files: what they were fitted on, their bytes, and what is said of files that do not fit. */
#include "editor/calibration_file.h"

#include "base/fault.h"
#include "editor/gap.h"
#include "tests/lib/test.h"
#include "tests/unit/editor/tiny.h"

static char folder[TEST_PATH_BYTES];

static int set_up(void **state)
{
	(void)state;
	test_folder_make(folder);
	return 0;
}

static int tear_down(void **state)
{
	(void)state;
	test_folder_remove(folder);
	return 0;
}

static const struct hash model_a = { { 1, 2, 3 } }, model_b = { { 9 } };

static struct editor_wise_config margins(float alpha)
{
	return (struct editor_wise_config){ .alpha = alpha,
					    .beta = 3 * alpha,
					    .gamma = 2 * alpha,
					    .rate = 1,
					    .steps_max = 70,
					    .clip = 1,
					    .mask_ratio = 0.2f,
					    .act_ratio = 0.7f };
}

static void paper_file(struct editor_calibration_file *file)
{
	const struct editor_wise_calibration paper = { .base_model = model_a, .layer = 24, .wise = margins(40) };
	struct err e = ERR_INIT;
	*file = (struct editor_calibration_file){ .calibration = BUF_INIT };
	assert_ok(&e, editor_wise_calibration_encode(&paper, &file->calibration, &e));
}

static void amend_file(struct editor_calibration_file *file)
{
	*file = (struct editor_calibration_file){ .calibration = BUF_INIT };
	plain_calibration(&model_a, 4, 0.5f, 0.5f, 0.5f, &file->calibration);
}

static void texts_are_found_folded(void **state)
{
	(void)state;
	static const char corpus[] = "prompt\tg\tX\tWho leads  X?\nunrelated\tu\t\tnq: something\n";
	struct editor_fitting fitting = { .text_count = 0 }, more = { .text_count = 0 };
	struct err e = ERR_INIT;
	bool found;
	assert_ok(&e, editor_fitting_add_corpus(&fitting, corpus, strlen(corpus), &e));
	assert_ok(&e, editor_fitting_add_text(&more, "Was it Y?", 9, &e));
	assert_ok(&e, editor_fitting_add_digests(&fitting, &more, &e));
	assert_ok(&e, editor_fitting_add_digests(&fitting, &more, &e)); /* twice is once */
	editor_fitting_sort(&fitting);
	assert_int_equal(fitting.text_count, 3);
	assert_ok(&e, editor_fitting_has(&fitting, "who LEADS x?", 12, &found));
	assert_true(found);
	assert_ok(&e, editor_fitting_has(&fitting, "was it y?", 9, &found));
	assert_true(found);
	assert_ok(&e, editor_fitting_has(&fitting, "who leads y?", 12, &found));
	assert_false(found);
	editor_fitting_fini(&fitting);
	editor_fitting_fini(&more);
}

static void written(struct buf *out)
{
	struct editor_calibration_file file;
	struct err e = ERR_INIT;
	char path[TEST_PATH_BYTES];
	amend_file(&file);
	test_path(path, folder, "rows.jsonl");
	test_file_write(path, "some rows");
	assert_ok(&e, editor_fitting_add_file(&file.fitting, "relation-head", path, &e));
	assert_ok(&e, editor_fitting_add_text(&file.fitting, "b", 1, &e));
	assert_ok(&e, editor_fitting_add_text(&file.fitting, "a", 1, &e));
	assert_ok(&e, editor_calibration_file_encode(&file, out, &e));
	editor_calibration_file_fini(&file);
}

static void bytes_read_back_and_cut_ones_are_refused(void **state)
{
	(void)state;
	struct editor_calibration_file back;
	struct buf bytes = BUF_INIT, again = BUF_INIT;
	struct err e = ERR_INIT;
	struct hash rows;
	written(&bytes);
	assert_true(editor_calibration_file_is(bytes.data, bytes.len));
	assert_ok(&e, editor_calibration_file_decode(bytes.data, bytes.len, &back, &e));
	hash_of("some rows", 9, &rows);
	assert_int_equal(back.fitting.file_count, 1);
	assert_string_equal(back.fitting.files[0].role, "relation-head");
	assert_string_equal(back.fitting.files[0].name, "rows.jsonl");
	assert_true(hash_equal(&back.fitting.files[0].sha256, &rows));
	assert_int_equal(back.fitting.text_count, 2);
	assert_ok(&e, editor_calibration_file_encode(&back, &again, &e));
	assert_same_bytes(&again, &bytes);
	const size_t calibration_len = back.calibration.len;
	editor_calibration_file_fini(&back);
	for (size_t len = 0; len < bytes.len - calibration_len; len++)
		assert_int_equal(editor_calibration_file_decode(bytes.data, len, &back, &e), ERR_CORRUPT);
	bytes.data[4] = 9;
	assert_int_equal(editor_calibration_file_decode(bytes.data, bytes.len, &back, &e), ERR_UNSUPPORTED);
	buf_free(&bytes);
	buf_free(&again);
}

static void files_that_cannot_be_used_say_why(void **state)
{
	(void)state;
	struct editor_calibration_file file;
	struct buf bytes = BUF_INIT;
	char path[TEST_PATH_BYTES];
	struct err e = ERR_INIT;
	test_path(path, folder, "none.cal");
	assert_int_equal(editor_calibration_file_read(path, NULL, &file, &e), ERR_NOT_FOUND);
	assert_non_null(strstr(e.text, "amend calibrate"));
	test_path(path, folder, "cut.cal");
	written(&bytes);
	assert_ok(&e, file_write_sealed(path, bytes.data, bytes.len, 0600, &e));
	assert_ok(&e, editor_calibration_file_read(path, NULL, &file, &e));
	editor_calibration_file_fini(&file);
	struct buf disk = BUF_INIT;
	assert_ok(&e, file_read(path, 1 << 20, &disk, &e));
	assert_ok(&e, file_write_atomic(path, disk.data, disk.len - 7, 0600, &e));
	assert_int_equal(editor_calibration_file_read(path, NULL, &file, &e), ERR_CORRUPT);
	assert_non_null(strstr(e.text, "cut off or damaged"));
	assert_ok(&e, file_write_sealed(path, "no calibration", 14, 0600, &e)); /* sealed, but something else */
	assert_int_equal(editor_calibration_file_read(path, NULL, &file, &e), ERR_CORRUPT);
	assert_non_null(strstr(e.text, path));
	buf_free(&disk);
	buf_free(&bytes);
}

static void another_family_or_model_is_refused(void **state)
{
	(void)state;
	struct editor_calibration_file amend, paper;
	enum editor_family family;
	struct err e = ERR_INIT;
	amend_file(&amend);
	paper_file(&paper);
	assert_ok(&e, editor_calibration_file_family(&paper, "p.cal", &family, &e));
	assert_int_equal(family, EDITOR_FAMILY_PAPER);
	assert_ok(&e, editor_calibration_file_check(&amend, "a.cal", EDITOR_FAMILY_AMEND, &model_a, &e));
	assert_ok(&e, editor_calibration_file_check(&paper, "p.cal", EDITOR_FAMILY_PAPER, NULL, &e));
	assert_int_equal(editor_calibration_file_check(&amend, "a.cal", EDITOR_FAMILY_PAPER, &model_a, &e),
			 ERR_MISMATCH);
	assert_non_null(strstr(e.text, "--family amend"));
	assert_int_equal(editor_calibration_file_check(&paper, "p.cal", EDITOR_FAMILY_PAPER, &model_b, &e),
			 ERR_MISMATCH);
	assert_non_null(strstr(e.text, "p.cal was made for the base model 010203000000"));
	editor_calibration_file_fini(&amend);
	editor_calibration_file_fini(&paper);
}

static struct editor_wise_config published(void)
{
	struct editor_wise_config config;
	editor_wise_config_default(&config);
	return config;
}

static void margins_hold_for_the_training_that_they_were_measured_with(void **state)
{
	(void)state;
	const struct {
		size_t layer, steps;
		float rate, clip, ratio;
		const char *next;
	} others[] = {
		{ 23, 70, 1, 1, 0.2f,
		  "layer at 24, edits are trained with 23: run `amend calibrate --family paper --layer 23`" },
		{ 24, 20, 1, 1, 0.2f, "--wise.steps 20`, or set --wise.steps 70" },
		{ 24, 70, 0.5f, 1, 0.2f, "--wise.rate 0.5`" },
		{ 24, 70, 1, 2, 0.2f, "--wise.clip 2`" },
		{ 24, 70, 1, 1, 0.25f, "--wise.mask_ratio 0.25`" },
	};
	struct editor_calibration_file paper;
	struct editor_wise_config config = published();
	struct err e = ERR_INIT;
	paper_file(&paper);
	assert_ok(&e, editor_calibration_file_margins(&paper, "p.cal", 24, &config, &e));
	assert_true(config.alpha == 40.0f && config.beta == 120.0f && config.gamma == 80.0f);
	assert_true(config.act_ratio == 0.7f);
	for (size_t i = 0; i < sizeof(others) / sizeof(others[0]); i++) {
		config = published();
		config.steps_max = others[i].steps;
		config.rate = others[i].rate;
		config.clip = others[i].clip;
		config.mask_ratio = others[i].ratio;
		assert_int_equal(editor_calibration_file_margins(&paper, "p.cal", others[i].layer, &config, &e),
				 ERR_MISMATCH);
		assert_non_null(strstr(e.text, others[i].next));
		assert_true(config.alpha == 5.0f);
	}
	config = published();
	assert_ok(&e, editor_calibration_file_margins(&paper, "p.cal", SIZE_MAX, &config, &e)); /* not known yet */
	editor_calibration_file_fini(&paper);
}

static void a_margin_is_set_by_the_file_or_by_hand(void **state)
{
	(void)state;
	struct editor_calibration_file paper;
	struct editor_wise_config config = published();
	struct err e = ERR_INIT;
	paper_file(&paper);
	assert_ok(&e, editor_calibration_file_alone(&paper, "p.cal", &config, &e));
	config.act_ratio = 0;
	assert_int_equal(editor_calibration_file_alone(&paper, "p.cal", &config, &e), ERR_MISMATCH);
	assert_non_null(strstr(e.text, "p.cal holds wise.act_ratio 0.7, and it is set to 0 as well"));
	config = published();
	config.beta = 100;
	assert_int_equal(editor_calibration_file_alone(&paper, "p.cal", &config, &e), ERR_MISMATCH);
	assert_non_null(strstr(e.text, "leave out --wise.beta"));
	config.beta = 120; /* what the file says, too */
	assert_ok(&e, editor_calibration_file_alone(&paper, "p.cal", &config, &e));
	editor_calibration_file_fini(&paper);
}

static void a_set_knows_what_its_calibration_was_fitted_on(void **state)
{
	(void)state;
	struct editor_memory_set *set = NULL;
	struct model *model = tiny_open();
	struct editor_calibration_file file = { .calibration = BUF_INIT };
	struct buf bytes = BUF_INIT;
	struct err e = ERR_INIT;
	bool found;
	plain_calibration(model_digest(model), model_shape_of(model)->hidden, 0.5f, 0.5f, 0.5f, &file.calibration);
	assert_ok(&e, editor_memory_set_new(model_shape_of(model), model_digest(model), TINY_LAYER, 1,
					    file.calibration.data, file.calibration.len, NULL, 0, NULL, 0,
					    EDITOR_SET_RETRIEVE, &set, &e));
	assert_null(editor_memory_set_fitting(set)); /* a bare one */
	editor_memory_set_release(&set);
	assert_ok(&e, editor_fitting_add_text(&file.fitting, "Who?", 4, &e));
	assert_ok(&e, editor_calibration_file_encode(&file, &bytes, &e));
	for (int64_t n = 0, rc = ERR_NOMEM; rc != 0; n++) { /* nothing leaks on the way */
		fault_set(n, 1);
		rc = editor_memory_set_new(model_shape_of(model), model_digest(model), TINY_LAYER, 1, bytes.data,
					   bytes.len, NULL, 0, NULL, 0, EDITOR_SET_RETRIEVE, &set, &e);
		fault_set(-1, 0);
		assert_true(rc == 0 || rc == ERR_NOMEM);
	}
	assert_ok(&e, editor_fitting_has(editor_memory_set_fitting(set), "who?", 4, &found));
	assert_true(found);
	assert_int_equal(editor_memory_set_family(set), EDITOR_FAMILY_AMEND);
	editor_memory_set_release(&set);
	editor_calibration_file_fini(&file);
	buf_free(&bytes);
	model_close(&model);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(texts_are_found_folded),
		cmocka_unit_test(bytes_read_back_and_cut_ones_are_refused),
		cmocka_unit_test(files_that_cannot_be_used_say_why),
		cmocka_unit_test(another_family_or_model_is_refused),
		cmocka_unit_test(margins_hold_for_the_training_that_they_were_measured_with),
		cmocka_unit_test(a_margin_is_set_by_the_file_or_by_hand),
		cmocka_unit_test(a_set_knows_what_its_calibration_was_fitted_on),
	};
	return cmocka_run_group_tests(tests, set_up, tear_down);
}
