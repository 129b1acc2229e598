#include "daemon/calibrate.h"

#include "base/json.h"
#include "daemon/eval_without.h"
#include "editor/shard.h"
#include "tests/unit/daemon/eval_fixture.h"

#include <dirent.h>
#include <math.h>

/* A calibration that was made elsewhere: used as it is, and what it was fitted on may not be evaluated. */
static void a_given_calibration_is_used_and_its_data_refused(void **state)
{
	const struct eval_fixture *f = *state;
	static const char head[] =
		"{\"prompt\":\"who owns Vint?\",\"target_new\":\"A\",\"subject\":\"Vint\",\"rephrase\":[\"whose is "
		"Vint?\"],"
		"\"locality\":[{\"prompt\":\"where is Vint?\",\"kind\":\"same_subject\"}]}\n"
		"{\"prompt\":\"who built Bolt?\",\"target_new\":\"A\",\"subject\":\"Bolt\",\"rephrase\":[\"Bolt's "
		"builder?\"],"
		"\"locality\":[{\"prompt\":\"how old is Bolt?\",\"kind\":\"same_subject\"}]}\n";
	char head_path[TEST_PATH_BYTES], calibration_path[TEST_PATH_BYTES];
	struct calibrate_options with = { .model = f->model,
					  .backend = "cpu",
					  .threads = 1,
					  .corpus = f->corpus,
					  .relation_head = head_path,
					  .seed = 1 };
	struct calibrate_report made;
	struct eval_options o = eval_fixture_options(f);
	struct eval_report r;
	struct buf bytes = BUF_INIT, json = BUF_INIT;
	struct err e = ERR_INIT;
	struct hash digest;
	test_path(head_path, f->folder, "head.jsonl");
	test_path(calibration_path, f->folder, "own.cal");
	test_file_write(head_path, head);
	test_file_write(f->file, eval_fixture_rows);
	if (calibrate_run(&with, &bytes, &made, &e) != 0)
		fail_msg("%s", e.text);
	assert_int_equal(made.head_groups, 2);
	assert_int_equal(made.texts.relation.groups, 8); /* with the six of the corpus */
	assert_int_equal(file_write_sealed(calibration_path, bytes.data, bytes.len, 0600, &e), 0);
	o.edits = 2;
	o.calibration = calibration_path;
	eval_fixture_run(&o, &r);
	hash_of(bytes.data, bytes.len, &digest);
	assert_true(hash_equal(&r.calibration_hash, &digest));
	assert_true(r.relation_threshold >= made.relation_threshold && r.relation_threshold <= made.relation_threshold);
	assert_int_equal(r.fitted_count, 2);
	assert_int_equal(eval_report_json(&r, false, &json, &e), 0);
	assert_non_null(strstr(buf_cstr(&json), "\"name\":\"head.jsonl\""));
	eval_report_fini(&r);
	test_file_write(f->file, head); /* the second row of what the head was fitted on, as an edit */
	assert_int_equal(eval_file_run(&o, &r, &e), ERR_INVALID);
	assert_non_null(
		strstr(e.text, "stands in the calibration corpus or in a file that the calibration was fitted"));
	o.family = EDITOR_FAMILY_PAPER;
	test_file_write(f->file, eval_fixture_rows);
	assert_int_equal(eval_file_run(&o, &r, &e), ERR_MISMATCH);
	assert_non_null(strstr(e.text, "family amend"));
	buf_free(&bytes);
	buf_free(&json);
}

static int seq_of(void *context, const struct record *record, uint64_t *seq)
{
	static const char *const targets[] = { "Olaf", "north", "Sven" };
	(void)context;
	for (*seq = 1; *seq <= 3; (*seq)++) {
		if (strcmp(record->target_new.text, targets[*seq - 1]) == 0)
			return 0;
	}
	return ERR_NOT_FOUND;
}

/* A version in which edit 1 is in force; 2 was in it and is removed, 3 never was. */
static struct editor_memory_set *published(const struct eval_fixture *f, struct model *model)
{
	static const char *const edits[] = { "{\"prompt\":\"who is the king of Vint?\",\"target_new\":\"Olaf\"}",
					     "{\"prompt\":\"where is Orla?\",\"target_new\":\"north\"}" };
	static const uint64_t removed[] = { 2 };
	const struct calibrate_options with = {
		.model = f->model, .backend = "cpu", .threads = 1, .corpus = f->corpus, .seed = 1
	};
	struct editor_memory_part part = { .id = 1 };
	struct buf calibration = BUF_INIT, delta = BUF_INIT, index = BUF_INIT;
	struct editor_memory_set *set = NULL;
	struct editor_shard *shard = NULL;
	struct editor_config config;
	struct calibrate_report made;
	struct err e = ERR_INIT;
	editor_config_default(model_shape_of(model), &config);
	assert_ok(&e, calibrate_run(&with, &calibration, &made, &e));
	assert_ok(&e, editor_shard_new(model, &config, &shard, &e));
	for (size_t i = 0; i < 2; i++) {
		struct record *record = NULL;
		assert_ok(&e, record_parse(edits[i], strlen(edits[i]), &record, &e));
		assert_ok(&e, editor_shard_add(shard, i + 1, record, &e));
		record_destroy(&record);
	}
	assert_ok(&e, editor_shard_delta_encode(shard, &delta, &e));
	assert_ok(&e, editor_shard_index_encode(shard, &index, &e));
	part.delta = delta.data;
	part.delta_len = delta.len;
	part.index = index.data;
	part.index_len = index.len;
	assert_ok(&e,
		  editor_memory_set_new(model_shape_of(model), model_digest(model), config.layer, 42, calibration.data,
					calibration.len, &part, 1, removed, 1, EDITOR_SET_RETRIEVE, &set, &e));
	editor_shard_destroy(&shard);
	buf_free(&calibration);
	buf_free(&delta);
	buf_free(&index);
	return set;
}

static void of_a_given_set_only_what_is_in_force_is_measured(void **state)
{
	const struct eval_fixture *f = *state;
	struct eval_options o = eval_fixture_options(f);
	struct eval_report r;
	struct err e = ERR_INIT;
	struct buf text = BUF_INIT;
	struct model *model = NULL;
	const struct model_options mo = { .backend = "cpu", .thread_count = 1, .backward_from = 0 };
	test_file_write(f->file, eval_fixture_rows);
	assert_ok(&e, model_open(f->model, &mo, &model, &e));
	o.set = published(f, model);
	o.edits = 5; /* Olaf, north, Sven, north again, blue */
	o.open_model = model;
	o.seq_of = seq_of;
	eval_fixture_run(&o, &r);
	assert_int_equal(r.version, 42);
	assert_int_equal(r.scores.edits, 1);
	assert_string_equal(r.records[0]->target_new.text, "Olaf");
	assert_int_equal(r.missing, 1);
	assert_int_equal(r.not_in_force, 2);
	assert_false(r.trained);
	assert_ok(&e, eval_report_json(&r, false, &text, &e));
	assert_non_null(strstr(buf_cstr(&text), "\"not_in_force\":2"));
	eval_report_fini(&r);
	test_file_write(f->file, "{\"prompt\":\"where is Orla?\",\"target_new\":\"north\"}\n");
	assert_int_equal(eval_file_run(&o, &r, &e), ERR_NOT_FOUND);
	assert_non_null(strstr(e.text, "1 are not in force in it, 0 are not there"));
	buf_free(&text);
	editor_memory_set_release(&o.set);
	model_close(&model);
}

static int stop(void *context, const char *phase, size_t done, size_t total, double loss)
{
	(void)done, (void)total, (void)loss;
	return strcmp(phase, context) == 0 ? 1 : 0;
}

static void it_can_be_stopped_while_training_or_calibrating(void **state)
{
	const struct eval_fixture *f = *state;
	static char phases[][12] = { "train", "calibrate" };
	test_file_write(f->file, eval_fixture_rows);
	for (size_t i = 0; i < 2; i++) {
		const struct editor_watch watch = { .on_progress = stop, .context = phases[i] };
		struct eval_options o = eval_fixture_options(f);
		struct eval_report r;
		struct err e = ERR_INIT;
		o.edits = 2;
		o.watch = &watch;
		assert_int_equal(eval_file_run(&o, &r, &e), ERR_INTERRUPTED);
	}
}

static const char rephrased[] =
	"{\"prompt\":\"where is Orla?\",\"target_new\":\"north\",\"subject\":\"Orla\",\"rephrase\":[\"where lies "
	"Orla?\"]}\n";

static void questions_inside_other_text_can_be_left_out(void **state)
{
	const struct eval_fixture *f = *state;
	test_file_write(f->file, rephrased);
	for (int quick = 0; quick <= 1; quick++) {
		struct eval_options o = eval_fixture_options(f);
		struct eval_report r;
		o.quick = quick != 0;
		eval_fixture_run(&o, &r);
		assert_true(isnan(r.scores.free_long) ? o.quick : !o.quick);
		assert_true(isnan(r.scores.free_chat) ? o.quick : !o.quick);
		assert_true(r.scores.free_gen >= 0);
		eval_report_fini(&r);
	}
}

/* The one file in `cache`. */
static void cached_file(const char *cache, char *out, size_t out_bytes)
{
	DIR *d = opendir(cache);
	size_t count = 0;
	assert_non_null(d);
	for (const struct dirent *entry; (entry = readdir(d)) != NULL;) {
		if (entry->d_name[0] == '.')
			continue;
		snprintf(out, out_bytes, "%s/%s", cache, entry->d_name);
		count++;
	}
	closedir(d);
	assert_int_equal(count, 1);
}

static void a_calibration_is_made_once(void **state)
{
	const struct eval_fixture *f = *state;
	char cache[TEST_PATH_BYTES], path[2 * TEST_PATH_BYTES];
	struct eval_options o = eval_fixture_options(f);
	struct eval_report first, second;
	struct err e = ERR_INIT;
	struct buf bytes = BUF_INIT;
	test_path(cache, f->folder, "cache");
	test_file_write(f->file, eval_fixture_rows);
	o.edits = 2;
	o.cache = cache;
	eval_fixture_run(&o, &first);
	assert_false(first.calibration_was_cached);
	cached_file(cache, path, sizeof(path));
	eval_fixture_run(&o, &second);
	assert_true(second.calibration_was_cached);
	assert_true(first.open_threshold == second.open_threshold);
	assert_true(first.subject_threshold == second.subject_threshold);
	assert_memory_equal(&first.scores, &second.scores, sizeof(first.scores));
	eval_report_fini(&second);
	assert_int_equal(file_read(path, 1 << 24, &bytes, &e), 0);
	bytes.data[bytes.len / 2] ^= 1; /* damaged: made again */
	assert_int_equal(file_write_atomic(path, bytes.data, bytes.len, 0600, &e), 0);
	eval_fixture_run(&o, &second);
	assert_false(second.calibration_was_cached);
	assert_true(first.open_threshold == second.open_threshold);
	eval_report_fini(&second);
	eval_report_fini(&first);
	buf_free(&bytes);
	o.cache = f->file; /* no folder: nothing is kept, and nothing fails */
	eval_fixture_run(&o, &first);
	assert_false(first.calibration_was_cached);
	eval_report_fini(&first);
}

static void the_report_has_the_promised_keys(void **state)
{
	const struct eval_fixture *f = *state;
	static const char *const keys[] = { "edits",
					    "rel",
					    "gen",
					    "loc",
					    "loc_same_subject",
					    "loc_same_form",
					    "free_rel",
					    "free_gen",
					    "right_memory",
					    "seconds_per_edit",
					    "core_seconds_per_edit",
					    "file_sha256",
					    "corpus_sha256",
					    "model_sha256",
					    "backend",
					    "rephrases_verbatim",
					    "free_gen_no_conflict",
					    "loc_neighborhood",
					    "portability",
					    "ppl",
					    "ppl_base",
					    "confident_rel",
					    "free_rel_no_anchor",
					    "free_gen_verbatim",
					    "free_long",
					    "free_chat",
					    "probes",
					    "scores",
					    "details" };
	struct eval_options o = eval_fixture_options(f);
	struct eval_report r;
	struct buf text = BUF_INIT;
	struct json *root = NULL;
	struct err e = ERR_INIT;
	test_file_write(f->file, eval_fixture_rows);
	o.edits = 2;
	o.before_too = true;
	eval_fixture_run(&o, &r);
	assert_int_equal(eval_report_json(&r, true, &text, &e), 0);
	assert_int_equal(json_parse(buf_cstr(&text), text.len, &root, &e), 0);
	for (size_t i = 0; i < sizeof(keys) / sizeof(keys[0]); i++) {
		if (json_get(root, keys[i]) == NULL)
			fail_msg("no %s", keys[i]);
	}
	assert_int_equal(json_type(json_get(root, "gen")), JSON_NULL);
	assert_int_equal(json_integer(json_get(root, "edits")), 2);
	assert_int_equal(json_length(json_get(root, "details")), 2);
	assert_int_equal(json_length(json_get(root, "probes")), 1);
	assert_int_equal(json_length(json_get(json_get(root, "scores"), "prompt")), 2);
	/* a row has the figures that it was asked for, and no others */
	const struct json *row = json_at(json_get(root, "details"), 0);
	assert_non_null(json_get(row, "ppl_base"));
	assert_null(json_get(row, "gen"));
	json_free(&root);
	buf_free(&text);
	eval_report_fini(&r);
}

static void shards_are_merged_and_measured_beside_one_another(void **state)
{
	const struct eval_fixture *f = *state;
	struct eval_options o = eval_fixture_options(f);
	struct eval_report apart, r;
	struct buf text = BUF_INIT;
	struct json *root = NULL;
	struct err e = ERR_INIT;
	test_file_write(f->file, eval_fixture_rows);
	o.edits = 3;
	o.edits_per_shard = 1;
	eval_fixture_run(&o, &apart);
	o.merged = true;
	eval_fixture_run(&o, &r);
	assert_int_equal(r.shards, 2); /* two subjects */
	assert_true(r.merged.done && r.merged.delta_bytes > 0);
	assert_true(r.merged.stats.rounds > 0);
	assert_int_equal(r.merged.stats.reduces, r.merged.stats.rounds + 2);
	/* a triangle of the metric, and a matrix a round and one for the start */
	const uint64_t triangle = (uint64_t)TINY_FFN * (TINY_FFN + 1) / 2,
		       matrices = (r.merged.stats.rounds + 1) * (uint64_t)TINY_HIDDEN * TINY_FFN;
	assert_true(r.merged.stats.reduced_bytes >= 8 * (triangle + matrices));
	assert_true(r.merged.stats.reduced_bytes < 8 * (triangle + matrices) + 10000);
	assert_memory_equal(&r.merged.shards.mean, &apart.scores.mean, sizeof(apart.scores.mean));
	assert_true(r.scores.free_rel >= 0 && r.merged.passed <= 3);
	/* the answers are the merged memory's, and main where nothing was routed */
	for (size_t i = 0; i < 3; i++)
		assert_true(r.answers[i].prompt_memory == 0 || r.answers[i].prompt_memory == 3);
	assert_int_equal(eval_report_json(&r, false, &text, &e), 0);
	assert_int_equal(json_parse(buf_cstr(&text), text.len, &root, &e), 0);
	const struct json *merged = json_get(root, "merged");
	assert_int_equal((int)json_number(json_get(merged, "reduces")), (int)r.merged.stats.reduces);
	assert_true(json_number(json_get(json_get(merged, "shards"), "free_rel")) >= 0);
	json_free(&root);
	buf_free(&text);
	eval_report_fini(&apart);
	eval_report_fini(&r);
}

/* A tiny model's shard: 40 steps of its closing pass with two edits (train.c), fewer where they are only streamed. */
static void parts_of_the_training_can_be_left_out(void **state)
{
	const struct eval_fixture *f = *state;
	struct eval_options o = eval_fixture_options(f);
	struct eval_report whole, r;
	struct buf text = BUF_INIT;
	struct err e = ERR_INIT;
	test_file_write(f->file, eval_fixture_rows);
	o.edits = 2;
	eval_fixture_run(&o, &whole);
	o.without = EVAL_WITHOUT_CLOSING | EVAL_WITHOUT_RETRAINING;
	eval_fixture_run(&o, &r);
	assert_int_equal(r.scores.edits, 2);
	assert_true(r.steps > 0 && r.steps <= 25 && whole.steps >= 40);
	assert_ok(&e, eval_report_json(&r, false, &text, &e));
	assert_non_null(strstr(buf_cstr(&text), "\"without\":[\"retraining\",\"closing\"]"));
	eval_report_fini(&r);
	buf_clear(&text);
	assert_ok(&e, eval_report_json(&whole, false, &text, &e));
	assert_non_null(strstr(buf_cstr(&text), "\"without\":[]"));
	buf_free(&text);
	eval_report_fini(&whole);
}

int main(void)
{
#define CASE(name) cmocka_unit_test_setup_teardown(name, eval_fixture_new, eval_fixture_free)
	const struct CMUnitTest tests[] = {
		CASE(a_given_calibration_is_used_and_its_data_refused),
		CASE(of_a_given_set_only_what_is_in_force_is_measured),
		CASE(it_can_be_stopped_while_training_or_calibrating),
		CASE(questions_inside_other_text_can_be_left_out),
		CASE(a_calibration_is_made_once),
		CASE(the_report_has_the_promised_keys),
		CASE(shards_are_merged_and_measured_beside_one_another),
		CASE(parts_of_the_training_can_be_left_out),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
