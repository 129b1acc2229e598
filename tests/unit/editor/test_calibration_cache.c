#include "editor/calibration_cache.h"

#include "tests/lib/test.h"
#include "tests/unit/editor/tiny.h"

#define HIDDEN 8

struct place {
	const char *folder;
	struct hash model, corpus;
	struct editor_config config;
	struct buf bytes;
};

static struct place place_in(const char *folder)
{
	const struct model_shape shape = { .layers = 4, .hidden = HIDDEN };
	struct place p = { .folder = folder };
	p.model.bytes[0] = 1;
	editor_config_default(&shape, &p.config);
	plain_calibration(&p.model, HIDDEN, 0.5f, 0.6f, 0.7f, &p.bytes);
	return p;
}

static int load(const struct place *p, struct buf *out)
{
	struct err e = ERR_INIT;
	return editor_calibration_cache_load(p->folder, &p->model, &p->corpus, &p->config, out, &e);
}

static void save(const struct place *p)
{
	struct err e = ERR_INIT;
	assert_ok(&e, editor_calibration_cache_save(p->folder, &p->model, &p->corpus, &p->config, &p->bytes, &e));
}

static void only_the_same_is_found(void **state)
{
	char folder[TEST_PATH_BYTES];
	struct buf out = BUF_INIT;
	test_path(folder, *state, "cache/amend"); /* made when it is not there */
	struct place p = place_in(folder);
	assert_int_equal(load(&p, &out), ERR_NOT_FOUND);
	save(&p);
	assert_int_equal(load(&p, &out), 0);
	assert_same_bytes(&out, &p.bytes);
	struct place others[] = { p, p, p, p, p, p, p, p, p };
	others[0].model.bytes[0]++;
	others[1].corpus.bytes[0]++;
	others[2].config.prompt_layer++;
	others[3].config.relation_layer++;
	others[4].config.relation_dims++;
	others[5].config.relation_steps++;
	others[6].config.ridge *= 2;
	others[7].config.false_route_share *= 2;
	others[8].config.false_relation_share *= 2;
	for (size_t i = 0; i < 9; i++) {
		assert_int_equal(load(&others[i], &out), ERR_NOT_FOUND);
		assert_int_equal(out.len, 0);
	}
	struct place same = p;
	same.config.seed++;
	same.config.layer++;
	same.config.edits_per_shard++;
	assert_int_equal(load(&same, &out), 0);
	buf_free(&out);
	buf_free(&p.bytes);
}

/* The name holds the beginnings of the digests only: the rest is compared with what the file says. */
static void another_model_of_the_same_beginning_is_not_taken(void **state)
{
	struct buf out = BUF_INIT;
	struct place p = place_in(*state);
	save(&p);
	p.model.bytes[31] ^= 1;
	assert_int_equal(load(&p, &out), ERR_NOT_FOUND);
	p.model.bytes[31] ^= 1;
	p.corpus.bytes[31] ^= 1;
	assert_int_equal(load(&p, &out), ERR_NOT_FOUND);
	buf_free(&out);
	buf_free(&p.bytes);
}

static void a_folder_that_cannot_be_made_is_an_error(void **state)
{
	char file[TEST_PATH_BYTES], folder[TEST_PATH_BYTES];
	struct err e = ERR_INIT;
	test_path(file, *state, "file");
	test_file_write(file, "x");
	test_path(folder, *state, "file/amend");
	struct place p = place_in(folder);
	assert_true(editor_calibration_cache_save(folder, &p.model, &p.corpus, &p.config, &p.bytes, &e) != 0);
	assert_non_null(strstr(e.text, file));
	buf_free(&p.bytes);
}

#define WITH_FOLDER(f) cmocka_unit_test_setup_teardown(f, test_setup_folder, test_teardown_folder)

int main(void)
{
	const struct CMUnitTest tests[] = {
		WITH_FOLDER(only_the_same_is_found),
		WITH_FOLDER(another_model_of_the_same_beginning_is_not_taken),
		WITH_FOLDER(a_folder_that_cannot_be_made_is_an_error),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
