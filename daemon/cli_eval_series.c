#include "daemon/cli_eval_series.h"

#include "daemon/eval_summary.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* ---- The command line */

/* "1,10,100": each from `min` on; `ascending`: larger than the one before, else only another. */
static int list_read(const char *text, const char *name, uint64_t min, bool ascending, uint64_t *out, size_t max,
		     size_t *count, struct err *e)
{
	char number[24];
	*count = 0;
	for (const char *at = text;; at++) {
		const size_t len = strcspn(at, ",");
		if (*count == max)
			return err_set(e, ERR_INVALID, "%s: at most %zu numbers", name, max);
		snprintf(number, sizeof(number), "%.*s", (int)(len < sizeof(number) ? len : sizeof(number) - 1), at);
		int rc = cli_number(number, name, min, 9000000000000000, &out[*count], e);
		if (rc != 0)
			return rc;
		for (size_t i = 0; i < *count; i++) {
			if (ascending ? out[i] >= out[*count] : out[i] == out[*count])
				return err_set(e, ERR_INVALID, "%s: %" PRIu64 " %s", name, out[*count],
					       ascending ? "must be larger than what stands before it"
							 : "stands there twice");
		}
		(*count)++;
		at += len;
		if (*at == '\0')
			return 0;
	}
}

static int checkpoints_read(const char *text, size_t edits, struct eval_series *series, struct err *e)
{
	uint64_t numbers[EVAL_CHECKPOINTS_MAX];
	series->checkpoint_count = 1;
	series->checkpoints[0] = edits;
	if (text == NULL)
		return 0;
	if (edits != 0)
		return err_set(e, ERR_INVALID, "--edits does not go with --checkpoints: the last one says how many");
	int rc = list_read(text, "--checkpoints", 1, true, numbers, EVAL_CHECKPOINTS_MAX, &series->checkpoint_count, e);
	for (size_t i = 0; i < series->checkpoint_count && rc == 0; i++)
		series->checkpoints[i] = (size_t)numbers[i];
	return rc;
}

static int seeds_read(const char *text, int64_t seed, struct eval_series *series, struct err *e)
{
	series->seed_count = 1;
	series->seeds[0] = (uint64_t)seed;
	return text == NULL
		       ? 0
		       : list_read(text, "--repeat", 0, false, series->seeds, EVAL_SEEDS_MAX, &series->seed_count, e);
}

/* ---- What is told and what names the finished work */

static bool is_one_of(const char *name, const char *const *names)
{
	for (; *names != NULL; names++) {
		if (strcmp(name, *names) == 0)
			return true;
	}
	return false;
}

static void put_choice(struct buf *out, const char *choices, int index)
{
	for (; index > 0; index--)
		choices += strcspn(choices, "|") + 1;
	buf_append(out, choices, strcspn(choices, "|"));
}

static void put_value(struct buf *out, const struct conf_item *item, const void *config)
{
	const char *at = (const char *)config + item->offset;
	switch (item->type) {
	case CONF_BOOL:
		buf_printf(out, "%d", *(const bool *)at);
		break;
	case CONF_INT:
		buf_printf(out, "%" PRId64, *(const int64_t *)at);
		break;
	case CONF_REAL:
		buf_printf(out, "%.17g", *(const double *)at);
		break;
	case CONF_STRING:
		buf_printf(out, "%s", *(char *const *)at);
		break;
	case CONF_CHOICE:
		put_choice(out, item->choices, *(const int *)at);
		break;
	}
}

/* Every setting of this command that shapes what is measured. Files are named by their hashes, the seed stands by
 * itself, and how many threads work makes no other method. */
static void method_put(const struct daemon_config *config, struct buf *out)
{
	static const char *const others[] = {
		"key.file",      "key.server",    "coordinator.endpoint", "model.file", "model.threads",
		"model.backend", "worker.corpus", "calibration.file",     "seed",       NULL
	};
	const unsigned servers = DAEMON_ALL | DAEMON_UP;
	for (size_t i = 0; i < daemon_config_table.item_count; i++) {
		const struct conf_item *item = &daemon_config_table.items[i];
		if ((item->roles & ~servers) == 0 || is_one_of(item->name, others))
			continue;
		buf_printf(out, "%s%s=", out->len > 0 ? " " : "", item->name);
		put_value(out, item, config);
	}
}

/* The command's own flags; those in `but` are left out. */
static void flags_put(const struct cli_args *args, const char *const *but, struct buf *out)
{
	for (size_t i = 0; i < CLI_FLAGS_MAX && args->command->flags[i].name != NULL; i++) {
		const struct cli_flag *flag = &args->command->flags[i];
		if (args->values[i] == NULL || is_one_of(flag->name, but))
			continue;
		buf_printf(out, " --%s", flag->name);
		if (flag->value != NULL)
			buf_printf(out, " %s", args->values[i]);
	}
}

static bool is_default(const struct conf_item *item, const struct daemon_config *config, const char *text)
{
	if (item->type == CONF_BOOL)
		return (text[0] == '1') == (strcmp(item->value_default, "true") == 0);
	if (item->type != CONF_REAL)
		return strcmp(text, item->value_default) == 0;
	const double value = *(const double *)((const char *)config + item->offset);
	const double plain = strtod(item->value_default, NULL);
	return value >= plain && value <= plain;
}

/* The settings that are not the defaults, as flags: where they were given does not matter to a reader. */
static void settings_put(const struct daemon_config *config, struct buf *out)
{
	static const char *const hidden[] = { "key.file", "key.server", "coordinator.endpoint", NULL };
	for (size_t i = 0; i < daemon_config_table.item_count; i++) {
		const struct conf_item *item = &daemon_config_table.items[i];
		struct buf value = BUF_INIT;
		put_value(&value, item, config);
		const char *text = buf_cstr(&value);
		const bool same = is_default(item, config, text);
		if ((item->roles & ~(unsigned)(DAEMON_ALL | DAEMON_UP)) != 0 && !same &&
		    !is_one_of(item->name, hidden)) {
			const char *flag = item->flag != NULL ? item->flag : item->name;
			if (item->type == CONF_BOOL)
				buf_printf(out, " --%s%s", text[0] == '1' ? "" : "no-", flag);
			else
				buf_printf(out, " --%s %s", flag, text);
		}
		buf_free(&value);
	}
}

static void command_put(const struct cli_args *args, const struct daemon_config *config, struct buf *out)
{
	static const char *const none[] = { NULL };
	buf_printf(out, "amend %s %s", args->command->noun, args->command->verb);
	for (int i = 0; i < args->word_count; i++)
		buf_printf(out, " %s", args->words[i]);
	flags_put(args, none, out);
	settings_put(config, out);
}

int cli_series_read(struct cli *cli, const struct cli_args *args, struct eval_options *options, struct cli_series *out,
		    struct err *e)
{
	/* these are told apart by numbers and hashes of their own */
	static const char *const known[] = { "edits", "probes",      "probes-file", "format", "on-conflict", "before",
					     "quick", "checkpoints", "repeat",      "report", "details",     NULL };
	const char *checkpoints = cli_value(args, "checkpoints"), *repeat = cli_value(args, "repeat"),
		   *folder = cli_value(args, "report");
	*out = (struct cli_series){ .cli = cli,
				    .wanted = checkpoints != NULL || repeat != NULL || folder != NULL,
				    .details = cli_switch(args, "details") };
	out->series.folder = folder;
	if (folder != NULL && folder[0] == '\0')
		return err_set(e, ERR_INVALID, "--report: the folder's name is empty; name one");
	if (cli_value(args, "version") != NULL && (checkpoints != NULL || repeat != NULL))
		return err_set(e, ERR_INVALID, "--checkpoints and --repeat train here: they do not go with --version");
	int rc = checkpoints_read(checkpoints, options->edits, &out->series, e);
	if (rc == 0)
		rc = seeds_read(repeat, cli->config.seed, &out->series, e);
	command_put(args, &cli->config, &out->command);
	method_put(&cli->config, &out->method);
	flags_put(args, known, &out->measures);
	out->series.command = buf_cstr(&out->command);
	out->series.measures = buf_cstr(&out->measures);
	options->method = buf_cstr(&out->method);
	if (rc == 0 && (buf_failed(&out->command) || buf_failed(&out->method) || buf_failed(&out->measures)))
		rc = err_set(e, ERR_NOMEM, "out of memory");
	return rc;
}

void cli_series_fini(struct cli_series *series)
{
	buf_free(&series->command);
	buf_free(&series->method);
	buf_free(&series->measures);
}

/* ---- Running */

static void on_run(void *context, size_t index, size_t count, size_t edits, uint64_t seed, bool kept)
{
	const struct cli_series *s = context;
	char which[32] = "all edits";
	if (s->before_run != NULL)
		s->before_run(s->context);
	if (s->cli->quiet)
		return;
	if (edits > 0)
		snprintf(which, sizeof(which), "%zu edit%s", edits, cli_plural(edits));
	fprintf(stderr, "run %zu of %zu: %s, seed %" PRIu64 "%s\n", index + 1, count, which, seed,
		kept ? ": finished before" : "");
}

static void put_row(void *context, const struct json *summary, const struct eval_row *row)
{
	struct cli_table *table = context;
	char cell[EVAL_CELL_BYTES];
	cli_table_cell(table, "%s", row->path);
	for (size_t i = 0; i < json_length(summary); i++) {
		eval_summary_cell(summary, i, row, cell);
		cli_table_cell(table, "%s", cell);
	}
	cli_table_cell(table, "%s", row->what);
}

/* A column a checkpoint. */
static int table_print(struct cli *cli, const struct json *report, struct err *e)
{
	const struct json *summary = json_get(report, "summary");
	const size_t count = json_length(summary);
	const char *headers[EVAL_CHECKPOINTS_MAX + 2] = { "FIGURE" };
	char names[EVAL_CHECKPOINTS_MAX][32];
	struct cli_table *table = NULL;
	for (size_t i = 0; i < count; i++) {
		const int64_t rows = json_integer(json_get(json_at(summary, i), "rows"));
		snprintf(names[i], sizeof(names[i]), "T=%" PRId64, rows);
		headers[i + 1] = names[i];
	}
	headers[count + 1] = "WHAT";
	if (cli_table_new(headers, count + 2, &table) != 0)
		return err_set(e, ERR_NOMEM, "out of memory");
	cli_table_cell(table, "edits");
	for (size_t i = 0; i < count; i++)
		cli_table_cell(table, "%" PRId64, json_integer(json_get(json_at(summary, i), "edits")));
	cli_table_cell(table, "of the first T rows");
	eval_summary_figures(summary, put_row, table);
	eval_summary_times(summary, EVAL_TIMES_OF_EDIT, put_row, table);
	eval_summary_merge(summary, put_row, table);
	return cli_table_print(cli, &table) == CLI_OK ? 0 : err_set(e, ERR_NOMEM, "out of memory");
}

static void rows_print(uint64_t count, const char *why)
{
	if (count > 0)
		printf("%" PRIu64 " row%s %s\n", count, count == 1 ? " was" : "s were", why);
}

void cli_series_left_out_print(const struct cli_left_out *rows)
{
	rows_print(rows->duplicates, "left out: the same record stands earlier in the file");
	rows_print(rows->superseded,
		   "superseded: a later one says something else of the same (`--on-conflict keep` trains both)");
	rows_print(rows->rejected,
		   "refused: an earlier one says something else of the same (`--on-conflict` reject, or "
		   "keep where the prompts are equal)");
	rows_print(rows->missing, "left out: no edit of the cluster has the id");
	rows_print(rows->not_in_force, "left out: the edit is not in force in the version (revoked, superseded, "
				       "expired, failed or not yet in it)");
}

static uint64_t count_of(const struct json *run, const char *name)
{
	return (uint64_t)json_integer(json_get(run, name));
}

/* What stands below the table. */
static void notes_print(const struct json *report)
{
	const struct json *runs = json_get(report, "runs"), *last = json_at(runs, json_length(runs) - 1);
	const struct cli_left_out rows = { .duplicates = count_of(last, "duplicates"),
					   .superseded = count_of(last, "superseded"),
					   .rejected = count_of(last, "rejected"),
					   .missing = count_of(last, "missing"),
					   .not_in_force = count_of(last, "not_in_force") };
	cli_series_left_out_print(&rows);
}

static int report_print(const struct cli_series *s, const struct json *report, struct err *e)
{
	struct buf text = BUF_INIT;
	int rc = 0;
	if (!cli_is_structured(s->cli)) {
		rc = table_print(s->cli, report, e);
		notes_print(report);
		return rc;
	}
	if (s->details)
		json_canonical(report, &text);
	else
		rc = eval_series_brief(report, &text, e);
	if (rc == 0 && cli_emit(s->cli, &text) != CLI_OK)
		rc = err_set(e, ERR_NOMEM, "out of memory for the report");
	buf_free(&text);
	return rc;
}

/* Of the run that met the most: each reads the same files, as far as it needs them. */
static bool bad_lines_print(const struct json *report)
{
	const struct json *runs = json_get(report, "runs"), *run = NULL;
	for (size_t i = 0; i < json_length(runs); i++) {
		const struct json *other = json_at(runs, i);
		if (run == NULL || json_length(json_get(other, "bad")) > json_length(json_get(run, "bad")))
			run = other;
	}
	const struct json *bad = json_get(run, "bad");
	for (size_t i = 0; i < json_length(bad); i++) {
		const struct json *line = json_at(bad, i);
		cli_line(stderr, "%s:%" PRId64 ": %s", json_string(json_get(line, "file"), NULL),
			 json_integer(json_get(line, "line")), json_string(json_get(line, "reason"), NULL));
	}
	return json_length(bad) > 0;
}

int cli_series_run(struct cli_series *s, struct eval_options *options, bool *bad_lines, struct err *e)
{
	struct buf notice = BUF_INIT;
	struct json *report = NULL;
	s->series.options = options;
	s->series.env = s->cli->env;
	s->series.on_run = on_run;
	s->series.context = s;
	int rc = eval_series_run(&s->series, &report, &notice, e);
	if (rc == ERR_INTERRUPTED && s->series.folder != NULL)
		return cli_add_step(e, "run the same command again to go on");
	if (s->before_run != NULL)
		s->before_run(s->context);
	if (rc == 0) {
		*bad_lines = bad_lines_print(report);
		rc = report_print(s, report, e);
		fflush(stdout);
		fprintf(stderr, "%s", buf_cstr(&notice));
		if (s->series.folder != NULL && !s->cli->quiet)
			fprintf(stderr, "report: %s/report.md, report.json, plots/\n", s->series.folder);
	}
	json_free(&report);
	buf_free(&notice);
	return rc;
}
