/* cli_calibrate.c: `amend calibrate`: what a new model, or an operator's own data, needs. In this process, without a
 * cluster. */
#include "daemon/calibrate.h"
#include "daemon/calibrate_search.h"
#include "daemon/cli.h"
#include "daemon/roles.h"
#include "daemon/wise_settings.h"

#include <limits.h>
#include <stdio.h>
#include <string.h>

struct calibration {
	struct cli *cli;
	const char *out;
	char corpus[PATH_MAX];
	struct cli_progress progress;
	const char *phase;
	struct editor_watch watch;
	size_t bad_lines;
};

#define BAD_SHOWN 20 /* bad lines; --verbose: all */

static void on_bad(void *context, const char *file, size_t line_no, const char *reason)
{
	struct calibration *c = context;
	if (c->bad_lines++ < BAD_SHOWN || c->cli->verbose)
		cli_line(stderr, "%s:%zu: %s", file, line_no, reason);
}

static void bad_end(const struct calibration *c)
{
	if (c->bad_lines > BAD_SHOWN && !c->cli->verbose)
		cli_line(stderr, "… and %zu more bad lines; --verbose shows all", c->bad_lines - BAD_SHOWN);
}

static int on_progress(void *context, const char *phase, size_t done, size_t total, double loss)
{
	struct calibration *c = context;
	(void)loss;
	if (c->phase == NULL || strcmp(c->phase, phase) != 0) {
		cli_progress_break(c->cli, &c->progress);
		c->phase = phase;
		cli_progress_begin(c->cli, &c->progress, phase, "", total);
	}
	c->progress.total = total;
	cli_progress_set(c->cli, &c->progress, done);
	return c->cli->interrupted;
}

/* ---- --search */

static int search_show(struct calibration *c, const struct calibrate_search_report *r, struct err *e)
{
	static const char *const headers[] = { "LAYER", "RATE", "PROMPTS", "REPHRASES", "SECONDS", "" };
	struct cli_table *table = NULL;
	struct buf text = BUF_INIT;
	if (cli_is_structured(c->cli)) {
		int rc = calibrate_search_json(r, &text, e);
		if (rc == 0 && cli_emit(c->cli, &text) != CLI_OK)
			rc = err_set(e, ERR_NOMEM, "out of memory for the report");
		return rc;
	}
	if (cli_table_new(headers, 6, &table) != 0)
		return err_set(e, ERR_NOMEM, "out of memory");
	for (size_t i = 0; i < r->trial_count; i++) {
		const struct calibrate_search_trial *t = &r->trials[i];
		cli_table_cell(table, "%zu", t->layer);
		cli_table_cell(table, "%.3g", (double)t->rate);
		cli_table_cell(table, "%.2f", (double)t->prompts_right / (double)r->edit_count);
		cli_table_cell(table, "%.2f", (double)t->rephrases_right / (double)r->edit_count);
		cli_table_cell(table, "%.1f", t->seconds);
		cli_table_cell(table, "%s", i == r->best ? "best" : "");
	}
	const int status = cli_table_print(c->cli, &table);
	if (!c->cli->quiet)
		fprintf(stderr, "of %zu edits; use it by --layer %zu --train.rate %.3g\n", r->edit_count,
			r->trials[r->best].layer, (double)r->trials[r->best].rate);
	return status == CLI_OK ? 0 : err_set(e, ERR_NOMEM, "out of memory");
}

static int search(struct calibration *c, const struct calibrate_options *o, const char *edits, struct err *e)
{
	const struct calibrate_search_options options = { .model = o->model,
							  .backend = o->backend,
							  .threads = o->threads,
							  .edits = edits,
							  .format = o->format,
							  .corpus = o->corpus,
							  .layer = o->layer,
							  .rate = (float)c->cli->config.rate,
							  .seed = o->seed,
							  .bad = o->bad,
							  .watch = o->watch };
	struct calibrate_search_report report;
	int rc = calibrate_search(&options, &report, e);
	cli_progress_break(c->cli, &c->progress);
	return rc == 0 ? search_show(c, &report, e) : rc;
}

/* ---- The command line */

/* --search makes no file: what it reports are settings. */
static int search_check(const struct cli_args *args, struct err *e)
{
	static const char *const others[] = { "out", "relation-head", "head-groups" };
	const bool search = cli_switch(args, "search");
	if (!search && cli_value(args, "edits") != NULL)
		return err_set(e, ERR_INVALID, "--edits belongs to --search");
	for (size_t i = 0; search && i < sizeof others / sizeof others[0]; i++) {
		if (cli_value(args, others[i]) != NULL)
			return err_set(e, ERR_INVALID, "--search makes no calibration: leave --%s out", others[i]);
	}
	return 0;
}

static int options_read(const struct cli_args *args, struct calibrate_options *o, struct err *e)
{
	const char *groups = cli_value(args, "head-groups");
	o->relation_head = cli_value(args, "relation-head");
	int rc = import_format_parse(cli_value(args, "format"), &o->format, e);
	if (rc == 0)
		rc = search_check(args, e);
	if (rc == 0 && cli_value(args, "out") == NULL && !cli_switch(args, "search"))
		rc = err_set(e, ERR_INVALID, "needs --out FILE, where the calibration is written");
	if (rc == 0 && groups != NULL && strcmp(groups, "add") != 0 && strcmp(groups, "replace") != 0)
		rc = err_set(e, ERR_INVALID, "--head-groups %.64s: may be add or replace", groups);
	if (rc == 0 && groups != NULL && o->relation_head == NULL)
		rc = err_set(e, ERR_INVALID,
			     "--head-groups needs --relation-head FILE: without it the corpus's groups "
			     "are all there are");
	o->groups_alone = groups != NULL && strcmp(groups, "replace") == 0;
	return rc;
}

static int options_fill(struct calibration *c, bool search, struct calibrate_options *o, struct err *e)
{
	const struct daemon_config *config = &c->cli->config;
	int rc = 0;
	if (config->model[0] == '\0')
		return err_set(e, ERR_INVALID, CLI_NEEDS_MODEL);
	rc = daemon_family_check(config, e);
	if (rc != 0)
		return rc;
	o->family = daemon_family(config);
	if (o->family == EDITOR_FAMILY_PAPER && o->relation_head != NULL)
		return err_set(e, ERR_INVALID, "--relation-head is of family amend: family paper routes by gaps alone");
	if (o->family == EDITOR_FAMILY_PAPER && search)
		return err_set(e, ERR_INVALID, "--search is of family amend: the paper names its layer and rate");
	if (config->corpus[0] == '\0')
		rc = daemon_data_file("calibration.tsv", c->corpus, sizeof c->corpus, e);
	else
		snprintf(c->corpus, sizeof c->corpus, "%s", config->corpus);
	c->watch = (struct editor_watch){ on_progress, c };
	o->model = config->model;
	o->backend = config->backend;
	o->threads = (size_t)config->threads;
	o->corpus = c->corpus;
	o->layer = (size_t)config->layer;
	daemon_wise_config(config, &o->wise);
	o->seed = (uint64_t)config->seed;
	o->watch = &c->watch;
	o->bad = (struct calibrate_bad){ on_bad, c };
	return rc;
}

static int report_show(struct calibration *c, const struct calibrate_report *report, const struct buf *bytes,
		       struct err *e)
{
	struct buf text = BUF_INIT;
	struct hash digest;
	hash_of(bytes->data, bytes->len, &digest);
	int rc = calibrate_report_json(report, c->out, &digest, &text, e);
	if (rc != 0) {
		buf_free(&text);
		return rc;
	}
	if (report->family == EDITOR_FAMILY_PAPER && !report->margins.met && !c->cli->quiet)
		fprintf(stderr,
			"amend: warning: the hinges were met in no trial: routes by these margins will err; try "
			"another --layer, or a smaller --wise.rate\n");
	const int status = cli_is_structured(c->cli) ? cli_emit(c->cli, &text) : cli_object_print(c->cli, &text);
	return status == CLI_OK ? 0 : err_set(e, ERR_NOMEM, "out of memory for the report");
}

int cli_calibrate(struct cli *cli, const struct cli_args *args)
{
	struct calibration c = { .cli = cli, .out = cli_value(args, "out") };
	struct calibrate_options options = { .model = NULL };
	struct calibrate_report report;
	struct buf bytes = BUF_INIT;
	struct err e = ERR_INIT;
	int rc = options_read(args, &options, &e);
	if (rc == 0)
		rc = options_fill(&c, cli_switch(args, "search"), &options, &e);
	if (rc != 0)
		return rc == ERR_INVALID ? cli_misuse(&e) : cli_fail(cli, &e);
	if (cli_switch(args, "search")) {
		rc = search(&c, &options, cli_value(args, "edits"), &e);
		bad_end(&c);
		return rc != 0 ? cli_fail(cli, &e) : c.bad_lines > 0 ? CLI_FAILED : CLI_OK;
	}
	rc = file_write_check(c.out, &e);
	if (rc == 0)
		rc = calibrate_run(&options, &bytes, &report, &e);
	cli_progress_break(cli, &c.progress);
	bad_end(&c);
	if (rc == 0)
		rc = file_write_sealed(c.out, bytes.data, bytes.len, 0644, &e);
	if (rc == 0)
		rc = report_show(&c, &report, &bytes, &e);
	buf_free(&bytes);
	return rc != 0 ? cli_fail(cli, &e) : c.bad_lines > 0 ? CLI_FAILED : CLI_OK;
}
