#include "model/model.h"

#include "tests/lib/test.h"
#include "tests/lib/tiny_model.h"

enum { TYPE_U32 = 4, TYPE_F32 = 6 }; /* of GGUF values */

struct file {
	char folder[TEST_PATH_BYTES], path[TEST_PATH_BYTES];
	struct buf bytes;
};

static int setup(void **state)
{
	struct file *f = calloc(1, sizeof *f);
	struct err e = ERR_INIT;
	assert_non_null(f);
	test_folder_make(f->folder);
	test_path(f->path, f->folder, "tiny.gguf");
	assert_ok(&e, tiny_model_write(f->path, 5, &e));
	assert_ok(&e, file_read(f->path, 1 << 30, &f->bytes, &e));
	*state = f;
	return 0;
}

static int teardown(void **state)
{
	struct file *f = *state;
	buf_free(&f->bytes);
	test_folder_remove(f->folder);
	free(f);
	return 0;
}

/* Where `text` stands first, behind it: the type of a metadata key, or what follows a name. */
static uint8_t *behind(struct file *f, const char *text)
{
	uint8_t *at = memmem(f->bytes.data, f->bytes.len, text, strlen(text));
	assert_non_null(at);
	return at + strlen(text);
}

/* The type of a key's value; the payload has the same size. */
static void retype(struct file *f, const char *key, uint32_t type)
{
	memcpy(behind(f, key), &type, sizeof type);
}

static int opened(struct file *f, struct err *e)
{
	struct model_options options = { .backend = "cpu", .thread_count = 1, .backward_from = SIZE_MAX };
	struct model *model = NULL;
	FILE *out = fopen(f->path, "wb");
	assert_non_null(out);
	assert_int_equal(fwrite(f->bytes.data, 1, f->bytes.len, out), f->bytes.len);
	assert_int_equal(fclose(out), 0);
	err_clear(e);
	int rc = model_open(f->path, &options, &model, e);
	model_close(&model);
	return rc;
}

/* A setting that cannot be read is not a setting that is not there. */
static void values_of_another_type_are_refused(void **state)
{
	struct file *f = *state;
	static const char *const keys[] = { "llama.rope.dimension_count", "llama.attention.head_count_kv" };
	struct err e = ERR_INIT;
	assert_ok(&e, opened(f, &e));
	for (size_t i = 0; i < sizeof keys / sizeof keys[0]; i++) {
		retype(f, keys[i], TYPE_F32);
		assert_int_equal(opened(f, &e), ERR_INVALID);
		assert_non_null(strstr(e.text, keys[i]));
		retype(f, keys[i], TYPE_U32);
	}
	assert_ok(&e, opened(f, &e));
}

static void names_do_not_steer_the_terminal(void **state)
{
	struct file *f = *state;
	static const char name[] = "blk.3.ffn_norm.weight", evil[] = "\x1b[2J.q_norm.weight...";
	uint32_t layers = TINY_LAYERS - 1;
	struct err e = ERR_INIT;
	assert_int_equal(sizeof name, sizeof evil);
	memcpy(behind(f, name) - strlen(name), evil, strlen(evil));
	memcpy(behind(f, "llama.block_count") + 4, &layers, sizeof layers); /* more tensors than layers ask for */
	assert_int_equal(opened(f, &e), ERR_UNSUPPORTED);
	assert_non_null(strstr(e.text, "?[2J.q_norm.weight... is not supported"));
	uint8_t *architecture = behind(f, "general.architecture") + 4 + 8;
	assert_memory_equal(architecture, "llama", 5);
	architecture[0] = 0x1b;
	assert_int_equal(opened(f, &e), ERR_UNSUPPORTED);
	assert_non_null(strstr(e.text, "\"?lama\""));
}

static void the_name_is_shown_as_text(void **state)
{
	struct file *f = *state;
	struct model_options options = { .backend = "cpu", .thread_count = 1, .backward_from = SIZE_MAX };
	struct model *model = NULL;
	struct err e = ERR_INIT;
	uint8_t *name = behind(f, "general.name") + 4 + 8;
	memcpy(name, "\x1b\xff\x9b", 3);
	assert_ok(&e, opened(f, &e));
	assert_ok(&e, model_open(f->path, &options, &model, &e));
	assert_int_equal(strncmp(model_name(model), "???", 3), 0);
	model_close(&model);
}

#define T(test) cmocka_unit_test_setup_teardown(test, setup, teardown)

int main(void)
{
	const struct CMUnitTest tests[] = {
		T(values_of_another_type_are_refused),
		T(names_do_not_steer_the_terminal),
		T(the_name_is_shown_as_text),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
