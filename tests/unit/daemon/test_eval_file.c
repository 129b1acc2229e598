#include "daemon/eval_file.h"
#include "daemon/calibrate.h"

#include "base/json.h"
#include "editor/shard.h"
#include "tests/lib/test.h"
#include "tests/lib/tiny_model.h"

#include <dirent.h>
#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <cmocka.h>

static char folder[] = "/tmp/test_eval_XXXXXX";
static char model_path[64], corpus_path[64], file_path[64];

static void put(const char *path, const char *text)
{
	struct err e = ERR_INIT;
	assert_int_equal(file_write_atomic(path, text, strlen(text), 0600, &e), 0);
}

static int set_up(void **state)
{
	static const char *const names[] = { "Ander", "Bolt", "Corvo", "Dalen", "Emmer", "Fisk" };
	struct buf corpus = BUF_INIT;
	struct err e = ERR_INIT;
	(void)state;
	assert_non_null(mkdtemp(folder));
	snprintf(model_path, sizeof(model_path), "%s/tiny.gguf", folder);
	snprintf(corpus_path, sizeof(corpus_path), "%s/corpus.tsv", folder);
	snprintf(file_path, sizeof(file_path), "%s/edits.jsonl", folder);
	assert_int_equal(tiny_model_write(model_path, 5, &e), 0);
	for (size_t i = 0; i < sizeof(names) / sizeof(names[0]); i++) {
		buf_printf(&corpus, "prompt\tg%zu\t%s\tWhat is the capital of %s?\n", i, names[i], names[i]);
		buf_printf(&corpus, "rephrase\tg%zu\t%s\tWhich city is %s's capital?\n", i, names[i], names[i]);
		buf_printf(&corpus, "unrelated\tu%zu\t\tnq question: who sang number %zu in the show\n", i, i);
	}
	put(corpus_path, buf_cstr(&corpus));
	buf_free(&corpus);
	return 0;
}

static int tear_down(void **state)
{
	(void)state;
	unlink(model_path);
	unlink(corpus_path);
	unlink(file_path);
	return rmdir(folder);
}

static struct eval_options options(void)
{
	return (struct eval_options){ .file = file_path,
				      .probes = EVAL_PROBES,
				      .on_conflict = EVAL_KEEP,
				      .model = model_path,
				      .backend = "cpu",
				      .threads = 1,
				      .corpus = corpus_path };
}

static void run(const struct eval_options *o, struct eval_report *report)
{
	struct err e = ERR_INIT;
	if (eval_file_run(o, report, &e) != 0)
		fail_msg("%s", e.text);
}

static const char rows[] =
	"{\"prompt\":\"who is the king of Vint?\",\"target_new\":\"Olaf\",\"subject\":\"Vint\"}\n"
	"{\"prompt\":\"where is Orla?\",\"target_new\":\"north\",\"subject\":\"Orla\"}\n"
	"{\"prompt\":\"\",\"target_new\":\"north\"}\n"
	"{\"prompt\":\"who is the king of Vint?\",\"target_new\":\"Sven\",\"subject\":\"Vint\"}\n"
	"{\"prompt\":\"where is Orla?\",\"target_new\":\"north\",\"subject\":\"Orla\"}\n"
	"{\"prompt\":\"what is the colour of Orla?\",\"target_new\":\"blue\",\"subject\":\"Orla\"}\n"
	"{\"prompt\":\"what is the capital of Saro?\",\"target_new\":\"Kir\",\"subject\":\"Saro\"}\n"
	"{\"prompt\":\"What is the capital of  BOLT?\",\"target_new\":\"Kir\",\"subject\":\"Bolt\"}\n";

static void first_rows_are_edited_and_others_probe(void **state)
{
	(void)state;
	struct eval_options o = options();
	struct eval_report r;
	put(file_path, rows);
	o.edits = 2;
	o.edits_per_shard = 1;
	run(&o, &r);
	assert_int_equal(r.scores.edits, 2);
	assert_int_equal(r.shards, 2); /* two subjects, one edit a shard */
	assert_int_equal(r.edit_count, 2);
	assert_int_equal(r.bad_lines, 1);
	assert_int_equal(r.bad[0].line_no, 3);
	assert_non_null(strstr(r.bad[0].text, "prompt"));
	/* of the others only Saro's: Vint and Orla are edited, Bolt's prompt stands in the corpus */
	assert_int_equal(r.scores.probes_same_form, 1);
	assert_true(r.trained && r.steps > 0 && r.train_seconds > 0);
	assert_true(isnan(r.scores.gen) && isnan(r.scores.loc));
	assert_true(r.scores.right_memory_prompts >= 0);
	eval_report_fini(&r);
}

/* A calibration that was made elsewhere: used as it is, and what it was fitted on may not be evaluated. */
static void a_given_calibration_is_used_and_its_data_refused(void **state)
{
	(void)state;
	static const char head[] =
		"{\"prompt\":\"who owns Vint?\",\"target_new\":\"A\",\"subject\":\"Vint\",\"rephrase\":[\"whose is "
		"Vint?\"],"
		"\"locality\":[{\"prompt\":\"where is Vint?\",\"kind\":\"same_subject\"}]}\n"
		"{\"prompt\":\"who built Bolt?\",\"target_new\":\"A\",\"subject\":\"Bolt\",\"rephrase\":[\"Bolt's "
		"builder?\"],"
		"\"locality\":[{\"prompt\":\"how old is Bolt?\",\"kind\":\"same_subject\"}]}\n";
	char head_path[80], calibration_path[80];
	struct calibrate_options with = { .model = model_path,
					  .backend = "cpu",
					  .threads = 1,
					  .corpus = corpus_path,
					  .relation_head = head_path,
					  .seed = 1 };
	struct calibrate_report made;
	struct eval_options o = options();
	struct eval_report r;
	struct buf bytes = BUF_INIT, json = BUF_INIT;
	struct err e = ERR_INIT;
	struct hash digest;
	snprintf(head_path, sizeof(head_path), "%s/head.jsonl", folder);
	snprintf(calibration_path, sizeof(calibration_path), "%s/own.cal", folder);
	put(head_path, head);
	put(file_path, rows);
	if (calibrate_run(&with, &bytes, &made, &e) != 0)
		fail_msg("%s", e.text);
	assert_int_equal(made.head_groups, 2);
	assert_int_equal(made.texts.relation.groups, 8); /* with the six of the corpus */
	assert_int_equal(file_write_sealed(calibration_path, bytes.data, bytes.len, 0600, &e), 0);
	o.edits = 2;
	o.calibration = calibration_path;
	run(&o, &r);
	hash_of(bytes.data, bytes.len, &digest);
	assert_true(hash_equal(&r.calibration_hash, &digest));
	assert_true(r.relation_threshold >= made.relation_threshold && r.relation_threshold <= made.relation_threshold);
	assert_int_equal(r.fitted_count, 2);
	assert_int_equal(eval_report_json(&r, false, &json, &e), 0);
	assert_non_null(strstr(buf_cstr(&json), "\"name\":\"head.jsonl\""));
	eval_report_fini(&r);
	put(file_path, head); /* the second row of what the head was fitted on, as an edit */
	assert_int_equal(eval_file_run(&o, &r, &e), ERR_INVALID);
	assert_non_null(
		strstr(e.text, "stands in the calibration corpus or in a file that the calibration was fitted"));
	o.family = EDITOR_FAMILY_PAPER;
	put(file_path, rows);
	assert_int_equal(eval_file_run(&o, &r, &e), ERR_MISMATCH);
	assert_non_null(strstr(e.text, "family amend"));
	unlink(head_path);
	unlink(calibration_path);
	buf_free(&bytes);
	buf_free(&json);
}

static void conflicts_follow_the_policy(void **state)
{
	(void)state;
	static const struct {
		enum eval_on_conflict policy;
		size_t edits, superseded, rejected;
		const char *king; /* of the row that is evaluated first */
	} cases[] = { { EVAL_KEEP, 4, 0, 0, "Olaf" },
		      { EVAL_SUPERSEDE, 3, 1, 0, "north" },
		      { EVAL_REJECT, 3, 0, 1, "Olaf" } };
	for (size_t i = 0; i < 3; i++) {
		struct eval_options o = options();
		struct eval_report r;
		put(file_path, rows);
		o.edits = 5; /* good rows: Vint, Orla, Vint again, Orla's duplicate, Orla's colour */
		o.on_conflict = cases[i].policy;
		run(&o, &r);
		assert_int_equal(r.scores.edits, cases[i].edits);
		assert_int_equal(r.record_count, cases[i].edits);
		assert_int_equal(r.superseded, cases[i].superseded);
		assert_int_equal(r.rejected, cases[i].rejected);
		assert_int_equal(r.duplicates, 1);
		assert_string_equal(r.records[0]->target_new.text, cases[i].king);
		assert_int_equal(r.shards, 1);
		eval_report_fini(&r);
	}
}

/* Rows before the last are bad in one field each; the model's context is 512 tokens. Checkpoints before the bad rows
 * count as those behind them do. */
static void rows_that_are_too_long_are_bad_lines(void **state)
{
	(void)state;
	static const char *const fields[] = {
		"prompt", "target_new", "rephrase", "rephrase", "locality", "portability"
	};
	struct eval_options o = options();
	struct eval_report r;
	char just[512], too[1024];
	struct buf text = BUF_INIT;
	struct err e = ERR_INIT;
	memset(just, 'q', sizeof(just) - 1); /* no token of the tiny model spans two of them */
	memset(too, 'q', sizeof(too) - 1);
	just[sizeof(just) - 1] = too[sizeof(too) - 1] = '\0';
#define ROW "{\"prompt\":\"where is %s?\",\"target_new\":\"%s\",\"subject\":\"%s\""
	buf_printf(&text, "{\"prompt\":\"%s\",\"target_new\":\"north\"}\n", too);
	buf_printf(&text, ROW "}\n", "Orla", too, "Orla");
	buf_printf(&text, ROW ",\"rephrase\":[\"%s\"]}\n", "Orla", "north", "Orla", too);
	buf_printf(&text, ROW ",\"rephrase\":[\"%s\"]}\n", "Orla", "north", "Orla", just); /* with its target */
	buf_printf(&text, ROW ",\"locality\":[{\"prompt\":\"%s\"}]}\n", "Orla", "north", "Orla", too);
	buf_printf(&text, ROW ",\"portability\":[{\"prompt\":\"%s\",\"target\":\"x\"}]}\n", "Orla", "north", "Orla",
		   too);
	buf_printf(&text,
		   ROW ",\"aliases\":[\"%s\"],\"locality\":[{\"prompt\":\"%s\"}],"
		       "\"portability\":[{\"prompt\":\"%s\",\"target\":\"x\"}]}\n",
		   "Orla", "north", "Orla", too, just, just);
	buf_printf(&text, ROW "}\n", "Vint", "east", "Vint");
	buf_printf(&text, ROW "}\n", "Saro", too, "Saro"); /* as a probe its prompt alone counts */
#undef ROW
	put(file_path, buf_cstr(&text));
	o.edits = 1;
	o.rows_reserved = 2;
	run(&o, &r);
	assert_int_equal(r.scores.edits, 1);
	assert_string_equal(r.records[0]->subject.text, "Orla");
	assert_int_equal(r.scores.probes_same_form, 1);
	assert_int_equal(r.bad_lines, 6);
	for (size_t i = 0; i < 6; i++) {
		assert_int_equal(r.bad[i].line_no, i + 1);
		if (strncmp(r.bad[i].text, fields[i], strlen(fields[i])) != 0 ||
		    strstr(r.bad[i].text, "context") == NULL)
			fail_msg("line %zu: %s", i + 1, r.bad[i].text);
	}
	eval_report_fini(&r);
	o.edits = 0;
	assert_int_equal(eval_file_run(&o, &r, &e), 0);
	assert_int_equal(r.scores.edits, 2);
	assert_int_equal(r.bad_lines, 7);
	eval_report_fini(&r);
	buf_free(&text);
}

/* As in the ledger: one of the two names no subject. */
static void the_same_prompt_is_a_conflict(void **state)
{
	(void)state;
	struct eval_options o = options();
	struct eval_report r;
	put(file_path, "{\"prompt\":\"who is the king of Vint?\",\"target_new\":\"Olaf\",\"subject\":\"Vint\"}\n"
		       "{\"prompt\":\"where is Orla?\",\"target_new\":\"north\",\"subject\":\"Orla\"}\n"
		       "{\"prompt\":\"Who is the king of Vint?\",\"target_new\":\"Sven\"}\n");
	o.on_conflict = EVAL_SUPERSEDE;
	run(&o, &r);
	assert_int_equal(r.superseded, 1);
	assert_int_equal(r.scores.edits, 2);
	assert_string_equal(r.records[1]->target_new.text, "Sven");
	eval_report_fini(&r);
}

static void calibration_rows_are_refused(void **state)
{
	(void)state;
	struct eval_options o = options();
	struct eval_report r;
	struct err e = ERR_INIT;
	put(file_path, rows);
	assert_int_equal(eval_file_run(&o, &r, &e), ERR_INVALID);
	assert_non_null(strstr(e.text, "line 8"));
	assert_non_null(strstr(e.text, "1 of "));
	assert_non_null(strstr(e.text, "calibration corpus"));
}

/* Also among more rows than their table begins with. */
static void every_duplicate_is_found(void **state)
{
	(void)state;
	struct eval_options o = options();
	struct eval_report r;
	struct err e = ERR_INIT;
	struct buf text = BUF_INIT;
	for (size_t i = 0; i < 1200; i++)
		buf_printf(&text, "{\"prompt\":\"who leads %zu?\",\"target_new\":\"Olaf\",\"subject\":\"%zu\"}\n",
			   i % 600, i % 600);
	for (size_t i = 0; i < 600; i += 100)
		buf_printf(&text, "{\"prompt\":\"who leads %zu?\",\"target_new\":\"Sven\",\"subject\":\"%zu\"}\n", i,
			   i);
	buf_puts(&text, "{\"prompt\":\"What is the capital of Bolt?\",\"target_new\":\"Kir\"}\n");
	put(file_path, buf_cstr(&text));
	o.on_conflict = EVAL_REJECT;
	assert_int_equal(eval_file_run(&o, &r, &e), ERR_INVALID); /* of the last row; nothing is trained */
	assert_non_null(strstr(e.text, "1 of 601"));
	assert_int_equal(r.duplicates, 600);
	assert_int_equal(r.rejected, 6);
	buf_free(&text);
}

static void a_file_without_edits_is_an_error(void **state)
{
	(void)state;
	struct eval_options o = options();
	struct eval_report r;
	struct err e = ERR_INIT;
	put(file_path, "nonsense\n");
	assert_int_equal(eval_file_run(&o, &r, &e), ERR_INVALID);
	assert_non_null(strstr(e.text, file_path));
	put(file_path, "\x8f\x01\n");
	assert_int_equal(eval_file_run(&o, &r, &e), ERR_INVALID);
	assert_non_null(strstr(e.text, " is no text file"));
	o.file = "/nonexistent/edits.jsonl";
	assert_int_not_equal(eval_file_run(&o, &r, &e), 0);
	assert_non_null(strstr(e.text, "/nonexistent/edits.jsonl"));
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
static struct editor_memory_set *published(struct model *model)
{
	static const char *const edits[] = { "{\"prompt\":\"who is the king of Vint?\",\"target_new\":\"Olaf\"}",
					     "{\"prompt\":\"where is Orla?\",\"target_new\":\"north\"}" };
	static const uint64_t removed[] = { 2 };
	const struct calibrate_options with = {
		.model = model_path, .backend = "cpu", .threads = 1, .corpus = corpus_path, .seed = 1
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
	(void)state;
	struct eval_options o = options();
	struct eval_report r;
	struct err e = ERR_INIT;
	struct buf text = BUF_INIT;
	struct model *model = NULL;
	const struct model_options mo = { .backend = "cpu", .thread_count = 1, .backward_from = 0 };
	put(file_path, rows);
	assert_ok(&e, model_open(model_path, &mo, &model, &e));
	o.set = published(model);
	o.edits = 5; /* Olaf, north, Sven, north again, blue */
	o.open_model = model;
	o.seq_of = seq_of;
	run(&o, &r);
	assert_int_equal(r.version, 42);
	assert_int_equal(r.scores.edits, 1);
	assert_string_equal(r.records[0]->target_new.text, "Olaf");
	assert_int_equal(r.missing, 1);
	assert_int_equal(r.not_in_force, 2);
	assert_false(r.trained);
	assert_ok(&e, eval_report_json(&r, false, &text, &e));
	assert_non_null(strstr(buf_cstr(&text), "\"not_in_force\":2"));
	eval_report_fini(&r);
	put(file_path, "{\"prompt\":\"where is Orla?\",\"target_new\":\"north\"}\n");
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
	(void)state;
	static char phases[][12] = { "train", "calibrate" };
	put(file_path, rows);
	for (size_t i = 0; i < 2; i++) {
		const struct editor_watch watch = { .on_progress = stop, .context = phases[i] };
		struct eval_options o = options();
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
	(void)state;
	put(file_path, rephrased);
	for (int quick = 0; quick <= 1; quick++) {
		struct eval_options o = options();
		struct eval_report r;
		o.quick = quick != 0;
		run(&o, &r);
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
	(void)state;
	char cache[96], path[512];
	struct eval_options o = options();
	struct eval_report first, second;
	struct err e = ERR_INIT;
	struct buf bytes = BUF_INIT;
	snprintf(cache, sizeof(cache), "%s/cache", folder);
	put(file_path, rows);
	o.edits = 2;
	o.cache = cache;
	run(&o, &first);
	assert_false(first.calibration_was_cached);
	cached_file(cache, path, sizeof(path));
	run(&o, &second);
	assert_true(second.calibration_was_cached);
	assert_true(first.open_threshold == second.open_threshold);
	assert_true(first.subject_threshold == second.subject_threshold);
	assert_memory_equal(&first.scores, &second.scores, sizeof(first.scores));
	eval_report_fini(&second);
	assert_int_equal(file_read(path, 1 << 24, &bytes, &e), 0);
	bytes.data[bytes.len / 2] ^= 1; /* damaged: made again */
	assert_int_equal(file_write_atomic(path, bytes.data, bytes.len, 0600, &e), 0);
	run(&o, &second);
	assert_false(second.calibration_was_cached);
	assert_true(first.open_threshold == second.open_threshold);
	eval_report_fini(&second);
	eval_report_fini(&first);
	buf_free(&bytes);
	unlink(path);
	rmdir(cache);
	o.cache = file_path; /* no folder: nothing is kept, and nothing fails */
	run(&o, &first);
	assert_false(first.calibration_was_cached);
	eval_report_fini(&first);
}

static void the_report_has_the_promised_keys(void **state)
{
	(void)state;
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
	struct eval_options o = options();
	struct eval_report r;
	struct buf text = BUF_INIT;
	struct json *root = NULL;
	struct err e = ERR_INIT;
	put(file_path, rows);
	o.edits = 2;
	o.before_too = true;
	run(&o, &r);
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
	(void)state;
	struct eval_options o = options();
	struct eval_report apart, r;
	struct buf text = BUF_INIT;
	struct json *root = NULL;
	struct err e = ERR_INIT;
	put(file_path, rows);
	o.edits = 3;
	o.edits_per_shard = 1;
	run(&o, &apart);
	o.merged = true;
	run(&o, &r);
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

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(first_rows_are_edited_and_others_probe),
		cmocka_unit_test(a_given_calibration_is_used_and_its_data_refused),
		cmocka_unit_test(conflicts_follow_the_policy),
		cmocka_unit_test(rows_that_are_too_long_are_bad_lines),
		cmocka_unit_test(the_same_prompt_is_a_conflict),
		cmocka_unit_test(calibration_rows_are_refused),
		cmocka_unit_test(every_duplicate_is_found),
		cmocka_unit_test(a_file_without_edits_is_an_error),
		cmocka_unit_test(of_a_given_set_only_what_is_in_force_is_measured),
		cmocka_unit_test(it_can_be_stopped_while_training_or_calibrating),
		cmocka_unit_test(questions_inside_other_text_can_be_left_out),
		cmocka_unit_test(a_calibration_is_made_once),
		cmocka_unit_test(the_report_has_the_promised_keys),
		cmocka_unit_test(shards_are_merged_and_measured_beside_one_another),
	};
	return cmocka_run_group_tests(tests, set_up, tear_down);
}
