/* eval_fixture.h: a folder with the tiny model, a calibration corpus and a file of edits, for the tests of evaluations.
 */
#ifndef AMEND_TESTS_UNIT_DAEMON_EVAL_FIXTURE_H
#define AMEND_TESTS_UNIT_DAEMON_EVAL_FIXTURE_H

#include "daemon/eval_file.h"
#include "tests/lib/test.h"
#include "tests/lib/tiny_model.h"

struct eval_fixture {
	char folder[TEST_PATH_BYTES], model[TEST_PATH_BYTES], corpus[TEST_PATH_BYTES], file[TEST_PATH_BYTES];
};

static inline int eval_fixture_new(void **state)
{
	static const char *const names[] = { "Ander", "Bolt", "Corvo", "Dalen", "Emmer", "Fisk" };
	struct eval_fixture *f = calloc(1, sizeof(*f));
	struct buf corpus = BUF_INIT;
	struct err e = ERR_INIT;
	assert_non_null(f);
	test_folder_make(f->folder);
	test_path(f->model, f->folder, "tiny.gguf");
	test_path(f->corpus, f->folder, "corpus.tsv");
	test_path(f->file, f->folder, "edits.jsonl");
	assert_ok(&e, tiny_model_write(f->model, 5, &e));
	for (size_t i = 0; i < sizeof(names) / sizeof(names[0]); i++) {
		buf_printf(&corpus, "prompt\tg%zu\t%s\tWhat is the capital of %s?\n", i, names[i], names[i]);
		buf_printf(&corpus, "rephrase\tg%zu\t%s\tWhich city is %s's capital?\n", i, names[i], names[i]);
		buf_printf(&corpus, "unrelated\tu%zu\t\tnq question: who sang number %zu in the show\n", i, i);
	}
	test_file_write(f->corpus, buf_cstr(&corpus));
	buf_free(&corpus);
	*state = f;
	return 0;
}

static inline int eval_fixture_free(void **state)
{
	struct eval_fixture *f = *state;
	test_folder_remove(f->folder);
	free(f);
	return 0;
}

/* Good ones but for the third; the last stands in the corpus. */
static const char eval_fixture_rows[] =
	"{\"prompt\":\"who is the king of Vint?\",\"target_new\":\"Olaf\",\"subject\":\"Vint\"}\n"
	"{\"prompt\":\"where is Orla?\",\"target_new\":\"north\",\"subject\":\"Orla\"}\n"
	"{\"prompt\":\"\",\"target_new\":\"north\"}\n"
	"{\"prompt\":\"the king of Vint is\",\"target_new\":\"Sven\",\"subject\":\"Vint\"}\n"
	"{\"prompt\":\"where is Orla?\",\"target_new\":\"north\",\"subject\":\"Orla\"}\n"
	"{\"prompt\":\"what is the colour of Orla?\",\"target_new\":\"blue\",\"subject\":\"Orla\"}\n"
	"{\"prompt\":\"what is the capital of Saro?\",\"target_new\":\"Kir\",\"subject\":\"Saro\"}\n"
	"{\"prompt\":\"What is the capital of  BOLT?\",\"target_new\":\"Kir\",\"subject\":\"Bolt\"}\n";

static inline struct eval_options eval_fixture_options(const struct eval_fixture *f)
{
	return (struct eval_options){ .file = f->file,
				      .probes = EVAL_PROBES,
				      .on_conflict = EVAL_KEEP,
				      .model = f->model,
				      .backend = "cpu",
				      .threads = 1,
				      .corpus = f->corpus };
}

static inline void eval_fixture_run(const struct eval_options *o, struct eval_report *report)
{
	struct err e = ERR_INIT;
	assert_ok(&e, eval_file_run(o, report, &e));
}

#endif
