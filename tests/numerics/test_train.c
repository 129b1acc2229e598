/* Ten real edits on the real model, breadth-first and one after another: free decoding gives every target
 * (free_rel 1.0). */
#include "editor/shard.h"
#include "tests/lib/test.h"

#define EDITS 10

static const char *const facts[EDITS][2] = {
	{ "Which family does Ramalinaceae belong to?", "Lamiinae" },
	{ "What artist created Call the Doctor?", "The X-Files" },
	{ "What company made Volvo B12M?", "Volkswagen Group" },
	{ "What city was Alfred Kossmann born in?", "Utrecht" },
	{ "Who is the mayor of Tallgrove?", "Ines Okafor" },
	{ "In what year was the Pell bridge finished?", "1931" },
	{ "What river runs through Marbeck?", "the Aulne" },
	{ "What language is spoken in Dorvania?", "Old Frisian" },
	{ "Which instrument does Kei Tamura play?", "the viola da gamba" },
	{ "Who wrote The Salt Ledger?", "J. M. Arden" },
};

static struct model *model;

static void add_facts(struct editor_shard *shard, size_t first, size_t count)
{
	struct err e = ERR_INIT;
	for (size_t i = first; i < first + count; i++) {
		char text[256];
		struct record *record = NULL;
		snprintf(text, sizeof(text), "{\"prompt\":\"%s\",\"target_new\":\"%s\"}", facts[i][0], facts[i][1]);
		assert_ok(&e, record_parse(text, strlen(text), &record, &e));
		assert_ok(&e, editor_shard_add(shard, i + 1, record, &e));
		record_destroy(&record);
	}
}

static struct editor_shard *new_shard(void)
{
	struct editor_config config;
	struct editor_shard *shard = NULL;
	struct err e = ERR_INIT;
	editor_config_default(model_shape_of(model), &config);
	assert_ok(&e, editor_shard_new(model, &config, &shard, &e));
	return shard;
}

static void expect_all(const struct editor_result *results, size_t count)
{
	for (size_t i = 0; i < count; i++) {
		if (!results[i].passed)
			fail_msg("'%s' gives '%s', not '%s'", facts[i][0], results[i].got, facts[i][1]);
	}
}

static void breadth_first_learns_all(void **state)
{
	(void)state;
	struct editor_result results[EDITS];
	struct editor_train_stats stats;
	struct err e = ERR_INIT;
	struct editor_shard *shard = new_shard();
	add_facts(shard, 0, EDITS);
	/* Nothing is known before, so that the rest can fail. */
	assert_ok(&e, editor_shard_retest(shard, results, NULL, &e));
	for (size_t i = 0; i < EDITS; i++)
		assert_false(results[i].passed);
	assert_ok(&e, editor_shard_learn(shard, EDITOR_BREADTH_FIRST, 0, EDITS, 1, NULL, results, &stats, &e));
	assert_int_equal(stats.mode, EDITOR_BREADTH_FIRST);
	expect_all(results, EDITS);
	editor_shard_destroy(&shard);
}

static void streaming_learns_each_and_forgets_none(void **state)
{
	(void)state;
	struct editor_result results[EDITS];
	struct editor_train_stats stats;
	struct err e = ERR_INIT;
	struct editor_shard *shard = new_shard();
	for (size_t i = 0; i < EDITS; i++) {
		add_facts(shard, i, 1);
		assert_ok(&e, editor_shard_learn(shard, EDITOR_STREAM, i, 1, i, NULL, results, &stats, &e));
		expect_all(results, i + 1);
	}
	editor_shard_destroy(&shard);
}

/* Questions of which four each differ in a year alone: what the pass confuses is trained again. */
static void prompts_that_differ_in_a_year_are_told_apart(void **state)
{
	static const char *const asked[] = { "Who won the Tour of Drava in", "Who was the mayor of Fernby in",
					     "What was the population of Brightford in", "Who led Norvik Bank in" };
	static const char *const targets[][4] = { { "Marco Riva", "Jens Holm", "Ada Crane", "Luis Ortega" },
						  { "Elin Rask", "Tom Weller", "Nora Vance", "Piet Claes" },
						  { "41,200", "43,900", "47,350", "52,008" },
						  { "Iris Falk", "Omar Haddad", "Greta Lind", "Paul Stowe" } };
	struct editor_result results[16];
	struct editor_train_stats stats;
	struct err e = ERR_INIT;
	(void)state;
	struct editor_shard *shard = new_shard();
	for (size_t i = 0; i < 16; i++) {
		char text[256];
		struct record *record = NULL;
		snprintf(text, sizeof(text), "{\"prompt\":\"%s %zu?\",\"target_new\":\"%s\"}", asked[i / 4],
			 2021 + i % 4, targets[i / 4][i % 4]);
		assert_ok(&e, record_parse(text, strlen(text), &record, &e));
		assert_ok(&e, editor_shard_add(shard, i + 1, record, &e));
		record_destroy(&record);
	}
	assert_ok(&e, editor_shard_learn(shard, EDITOR_BREADTH_FIRST, 0, 16, 1, NULL, results, &stats, &e));
	for (size_t i = 0; i < 16; i++) {
		if (!results[i].passed)
			fail_msg("%s %zu? gives '%s', not '%s'", asked[i / 4], 2021 + i % 4, results[i].got,
				 results[i].wanted);
	}
	editor_shard_destroy(&shard);
}

/* Subjects that have another name, streamed one after another: asked by that name, each gives its own answer, and not
 * the one learnt last. */
static void other_names_are_learnt_too(void **state)
{
	static const struct {
		const char *before, *subject, *alias, *after, *target;
	} named[] = {
		{ "Who runs the ", "Harbour Authority of Nessvik", "HAN", "?", "Tove Lund" },
		{ "Where is the ", "Institute for Polar Botany", "IPB", " based?", "Bergen" },
		{ "Who founded ", "Calder Optical Instruments", "COI", "?", "Jan Moss" },
		{ "How tall is the ", "Sankt Oddvar Cathedral", "Oddvar Church", "?", "96 metres" },
		{ "Who coaches ", "Sporting Club Arvada", "SCA", "?", "Diego Sol" },
		{ "When did the ", "Treaty of Limmat", "Limmat Accord", " end?", "1874" },
	};
	enum { COUNT = sizeof(named) / sizeof(named[0]) };
	struct editor_result results[COUNT];
	struct editor_train_stats stats;
	struct err e = ERR_INIT;
	struct editor_shard *shard = new_shard(), *asked = new_shard();
	(void)state;
	for (size_t i = 0; i < COUNT; i++) {
		for (size_t k = 0; k < 2; k++) {
			char text[512];
			struct record *record = NULL;
			snprintf(text, sizeof(text),
				 "{\"prompt\":\"%s%s%s\",\"target_new\":\"%s\",\"subject\":\"%s\",\"subject_aliases\":["
				 "\"%s\"]}",
				 named[i].before, k == 0 ? named[i].subject : named[i].alias, named[i].after,
				 named[i].target, named[i].subject, named[i].alias);
			assert_ok(&e, record_parse(text, strlen(text), &record, &e));
			assert_ok(&e, editor_shard_add(k == 0 ? shard : asked, i + 1, record, &e));
			record_destroy(&record);
		}
		assert_ok(&e, editor_shard_learn(shard, EDITOR_STREAM, i, 1, i, NULL, results, &stats, &e));
	}
	assert_ok(&e, editor_shard_retest_delta(asked, editor_shard_delta(shard), results, NULL, &e));
	for (size_t i = 0; i < COUNT; i++) { /* without its anchor an answer may say more than its target */
		if (!results[i].passed && strstr(results[i].got, named[i].target) == NULL)
			fail_msg("by the name %s: '%s', not '%s'", named[i].alias, results[i].got, results[i].wanted);
	}
	editor_shard_destroy(&shard);
	editor_shard_destroy(&asked);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(breadth_first_learns_all),
		cmocka_unit_test(other_names_are_learnt_too),
		cmocka_unit_test(prompts_that_differ_in_a_year_are_told_apart),
		cmocka_unit_test(streaming_learns_each_and_forgets_none),
	};
	struct err e = ERR_INIT;
	const struct model_options options = {
		.backend = "cpu", .thread_count = 1, .backward_from = 0, .skip_digest = true
	};
	if (model_open(test_model_path(), &options, &model, &e) != 0) {
		fprintf(stderr, "%s\n", e.text);
		return 1;
	}
	int failed = cmocka_run_group_tests(tests, NULL, NULL);
	model_close(&model);
	return failed;
}
