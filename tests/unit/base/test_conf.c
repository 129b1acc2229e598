#include "tests/lib/test.h"

#include "base/conf.h"

struct settings {
	bool verbose;
	int64_t edits;
	double rate;
	char *folder, *model;
	int backend;
};

#define AT(m) offsetof(struct settings, m)

static const struct conf_item items[] = {
	{ "verbose", NULL, CONF_BOOL, AT(verbose), "false", 0, 0, NULL, 3, "", "Says more." },
	{ "merge.every_edits", "every", CONF_INT, AT(edits), "8", 1, 1000, NULL, 1, "edits", "Merges after so many." },
	{ "model", "m", CONF_STRING, AT(model), "", 0, 0, NULL, 2, "", "The model file." },
	{ "merge.rate", NULL, CONF_REAL, AT(rate), "0.5", 0, 1, NULL, 1, "", "The rate." },
	{ "merge.disk.folder", NULL, CONF_STRING, AT(folder), "/var/x", 0, 0, NULL, 1, "", "Where." },
	{ "backend", NULL, CONF_CHOICE, AT(backend), "auto", 0, 0, "auto|cpu|off", 3, "", "Which." },
};
static const struct conf_table table = { items, sizeof(items) / sizeof(items[0]), sizeof(struct settings) };

static void defaults(void **state)
{
	(void)state;
	struct settings s = { 0 };
	struct err e = ERR_INIT;
	assert_ok(&e, conf_init(&table, &s, &e));
	assert_false(s.verbose);
	assert_int_equal(s.edits, 8);
	assert_true(s.rate == 0.5);
	assert_string_equal(s.model, "");
	assert_string_equal(s.folder, "/var/x");
	assert_int_equal(s.backend, 0);
	conf_fini(&table, &s);
	assert_null(s.model);
}

static void sets(void **state)
{
	(void)state;
	static const char *const bad[][2] = {
		{ "verbose", "maybe" },
		{ "merge.every_edits", "0" },
		{ "merge.every_edits", "1001" },
		{ "merge.rate", "nan" },
		{ "merge.every_edits", "1.5" },
		{ "merge.every_edits", "" },
		{ "backend", "aut" },
		{ "backend", "cpu|off" },
		{ "merge.every_edits", "99999999999999999999" },
	};
	struct settings s = { 0 };
	struct err e = ERR_INIT;
	assert_ok(&e, conf_init(&table, &s, &e));
	assert_ok(&e, conf_set(&table, &s, "merge.every-edits", "1000", &e));
	assert_ok(&e, conf_set(&table, &s, "backend", "off", &e));
	assert_int_equal(s.backend, 2);
	for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++) {
		if (conf_set(&table, &s, bad[i][0], bad[i][1], &e) != ERR_INVALID)
			fail_msg("accepted %s=%s", bad[i][0], bad[i][1]);
		assert_memory_equal(e.text, bad[i][0], strlen(bad[i][0]));
	}
	assert_int_equal(conf_set(&table, &s, "nothing", "1", &e), ERR_NOT_FOUND);
	assert_int_equal(s.edits, 1000);
	conf_fini(&table, &s);
}

static void finds_what_was_changed(void **state)
{
	(void)state;
	static const char *const values[][2] = {
		{ "verbose", "true" },    { "merge.every_edits", "9" }, { "model", "x" },
		{ "merge.rate", "0.25" }, { "merge.disk.folder", "" },  { "backend", "cpu" }
	};
	struct err e = ERR_INIT;
	for (size_t i = 0; i < sizeof(values) / sizeof(values[0]); i++) {
		struct settings s = { 0 };
		assert_ok(&e, conf_init(&table, &s, &e));
		assert_null(conf_changed(&table, &s, ""));
		assert_ok(&e, conf_set(&table, &s, values[i][0], values[i][1], &e));
		assert_string_equal(conf_changed(&table, &s, "")->name, values[i][0]);
		const bool of_merge = strncmp(values[i][0], "merge.", 6) == 0;
		assert_int_equal(conf_changed(&table, &s, "merge.") != NULL, of_merge);
		conf_fini(&table, &s);
	}
}

static void flags(void **state)
{
	(void)state;
	struct settings s = { 0 };
	struct err e = ERR_INIT;
	assert_ok(&e, conf_init(&table, &s, &e));
	char *argv[] = { (char *)"amend",
			 (char *)"edit",
			 (char *)"--every",
			 (char *)"9",
			 (char *)"--verbose",
			 (char *)"-q",
			 (char *)"--other=1",
			 (char *)"--m=file.gguf",
			 (char *)"--",
			 (char *)"--no-verbose",
			 NULL };
	int argc = 10;
	assert_ok(&e, conf_parse_flags(&table, &s, &argc, argv, &e));
	assert_int_equal(argc, 6);
	static const char *const left[] = { "amend", "edit", "-q", "--other=1", "--", "--no-verbose" };
	for (int i = 0; i < argc; i++)
		assert_string_equal(argv[i], left[i]);
	assert_null(argv[argc]);
	assert_true(s.verbose);
	assert_int_equal(s.edits, 9);
	assert_string_equal(s.model, "file.gguf");
	char *no[] = { (char *)"amend", (char *)"--no-verbose", (char *)"--no-model", NULL };
	argc = 3;
	assert_ok(&e, conf_parse_flags(&table, &s, &argc, no, &e));
	assert_int_equal(argc, 2);
	assert_false(s.verbose);
	char *bare[] = { (char *)"amend", (char *)"--model", NULL };
	argc = 2;
	assert_int_equal(conf_parse_flags(&table, &s, &argc, bare, &e), ERR_INVALID);
	char *range[] = { (char *)"amend", (char *)"--every=0", NULL };
	argc = 2;
	assert_int_equal(conf_parse_flags(&table, &s, &argc, range, &e), ERR_INVALID);
	assert_non_null(strstr(e.text, "merge.every_edits: '0' must be a whole number from 1 to 1000 edits"));
	conf_fini(&table, &s);
}

static void loads(void **state)
{
	char path[TEST_PATH_BYTES];
	struct settings s = { 0 };
	struct err e = ERR_INIT;
	assert_ok(&e, conf_init(&table, &s, &e));
	test_path(path, *state, "c.yaml");
	assert_int_equal(conf_load_file(&table, &s, path, &e), ERR_NOT_FOUND);
	test_file_write(path, "# only a comment\n\n");
	assert_ok(&e, conf_load_file(&table, &s, path, &e));
	test_file_write(path,
			"verbose: yes\nmerge:\n  every_edits: 20 # more\n  disk: {folder: \"/a: b\"}\nbackend: off\n");
	assert_ok(&e, conf_load_file(&table, &s, path, &e));
	assert_true(s.verbose);
	assert_int_equal(s.edits, 20);
	assert_string_equal(s.folder, "/a: b");
	assert_int_equal(s.backend, 2);
	assert_true(s.rate == 0.5);
	conf_fini(&table, &s);
}

static void load_errors(void **state)
{
	static const struct {
		const char *text, *says;
	} bad[] = {
		{ "verbose: true\nnope: 1\n", "c.yaml:2: no setting has the name \"nope\" here; " },
		{ "merge:\n  rate: 0.1\n  nope: 1\n", "c.yaml:3: no setting has the name \"nope\" here; " },
		{ "merge:\n  rate: 0.1\n  rate: 0.2\n", "c.yaml:3: \"rate\" stands twice here; " },
		{ "# x\nmerge:\n  every_edits: 0\n", "c.yaml:3: merge.every_edits: '0' must be" },
		{ "merge: 3\n", "c.yaml:1: settings belong here, each as " },
		{ "merge:\n  rate: [1]\n", "c.yaml:2: this setting has a single value; " },
		{ "verbose: true\nverbose: false\n", "c.yaml:" },
		{ "# x\n- a\n", "c.yaml:2: settings belong here" },
		{ "verbose: b: c\n", "c.yaml:1: no YAML: mapping values are not allowed" },
		{ "verbose: true\nmerge:\n\trate: 0.1\n", "c.yaml:3: no YAML: found character" },
		{ "merge:\n  rate: 0.1\n every_edits: 1\n",
		  "c.yaml:3: no YAML: did not find expected key, while parsing a block mapping from line 1 on; mend" },
		{ "verbose: true\nmodel: \xff\n", "c.yaml:2: no YAML: invalid leading UTF-8 octet; mend that line" },
		{ "nope: 1\n", "; `amend config sample` prints" },
		{ "verbose: &x true\nmodel: *x\n", "c.yaml:2: \"*x\" stands for a value of another place: " },
		{ "verbose: true\n---\nedits: 3\n", "c.yaml:2: a second document begins: put all settings into one; " },
	};
	char path[TEST_PATH_BYTES];
	struct settings s = { 0 };
	struct err e = ERR_INIT;
	assert_ok(&e, conf_init(&table, &s, &e));
	test_path(path, *state, "c.yaml");
	for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++) {
		test_file_write(path, bad[i].text);
		int rc = conf_load_file(&table, &s, path, &e);
		if (rc != ERR_INVALID || strstr(e.text, bad[i].says) == NULL)
			fail_msg("%s: %s: %s", bad[i].text, err_name(rc), e.text);
	}
	conf_fini(&table, &s);
}

/* What the program prints, it reads: the sample gives the defaults, the view the present values. */
static void prints_what_it_reads(void **state)
{
	char path[TEST_PATH_BYTES];
	struct settings a = { 0 }, b = { 0 };
	struct err e = ERR_INIT;
	struct buf out = BUF_INIT;
	assert_ok(&e, conf_init(&table, &a, &e));
	assert_ok(&e, conf_init(&table, &b, &e));
	assert_ok(&e, conf_set(&table, &a, "merge.disk.folder", "a \"b\"\n\\", &e));
	assert_ok(&e, conf_set(&table, &a, "merge.rate", "0.1", &e));
	assert_ok(&e, conf_set(&table, &a, "backend", "off", &e));
	test_path(path, *state, "c.yaml");
	conf_view(&table, &a, 0, &out);
	test_file_write(path, buf_cstr(&out));
	assert_ok(&e, conf_load_file(&table, &b, path, &e));
	assert_string_equal(a.folder, b.folder);
	assert_true(b.rate == 0.1 && b.backend == 2);
	buf_clear(&out);
	conf_sample(&table, 0, &out);
	test_file_write(path, buf_cstr(&out));
	assert_ok(&e, conf_load_file(&table, &b, path, &e));
	assert_string_equal(b.folder, "/var/x");
	assert_int_equal(b.backend, 0);
	buf_free(&out);
	conf_fini(&table, &a);
	conf_fini(&table, &b);
}

static void help_by_role(void **state)
{
	(void)state;
	struct buf out = BUF_INIT;
	conf_help(&table, 2, &out);
	const char *text = buf_cstr(&out);
	assert_non_null(strstr(text, "--model TEXT, --m"));
	assert_non_null(strstr(text, "--[no-]verbose"));
	assert_non_null(strstr(text, "auto|cpu|off"));
	assert_null(strstr(text, "merge."));
	buf_clear(&out);
	conf_help(&table, 1, &out);
	assert_non_null(strstr(buf_cstr(&out), "[1..1000 edits] (default 8)"));
	buf_free(&out);
}

static int init_and_load(void *path)
{
	struct settings s = { 0 };
	int rc = conf_init(&table, &s, NULL);
	if (rc == 0)
		rc = conf_load_file(&table, &s, path, NULL);
	conf_fini(&table, &s);
	return rc;
}

static void out_of_memory(void **state)
{
	char path[TEST_PATH_BYTES];
	test_path(path, *state, "c.yaml");
	test_file_write(path, "model: a\nmerge:\n  rate: 0.2\n  disk:\n    folder: /b\n");
	assert_true(test_walk_allocations(init_and_load, path) > 8);
}

#define WITH_FOLDER(f) cmocka_unit_test_setup_teardown(f, test_setup_folder, test_teardown_folder)

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(defaults),
		cmocka_unit_test(sets),
		cmocka_unit_test(finds_what_was_changed),
		cmocka_unit_test(flags),
		WITH_FOLDER(loads),
		WITH_FOLDER(load_errors),
		WITH_FOLDER(prints_what_it_reads),
		cmocka_unit_test(help_by_role),
		WITH_FOLDER(out_of_memory),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
