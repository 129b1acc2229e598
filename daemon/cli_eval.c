/* cli_eval.c: `amend eval run FILE`: trains and measures in this process; with --version, measures what the cluster
 * publishes. */
#include "daemon/cli.h"
#include "daemon/cli_edit.h"
#include "daemon/cli_eval_series.h"
#include "daemon/cli_pull.h"
#include "daemon/eval_file.h"
#include "daemon/eval_without.h"
#include "daemon/roles.h"

#include <inttypes.h>
#include <limits.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

struct eval {
	struct cli *cli;
	const char *edits, *probes, *probes_file, *format, *conflict, *version, *set, *without;
	bool details, before, quick, oracle, separate;
	bool bad_lines; /* some were left out */
	char corpus[PATH_MAX], cache[PATH_MAX];
	struct cli_progress progress;
	const char *phase;
	struct editor_watch watch;
	struct cli_series series;
};

static int on_progress(void *context, const char *phase, size_t done, size_t total, double loss)
{
	struct eval *ev = context;
	(void)loss;
	if (ev->phase == NULL || strcmp(ev->phase, phase) != 0) {
		cli_progress_break(ev->cli, &ev->progress);
		ev->phase = phase;
		cli_progress_begin(ev->cli, &ev->progress, phase, "", total);
	}
	ev->progress.total = total;
	cli_progress_set(ev->cli, &ev->progress, done);
	return ev->cli->interrupted;
}

/* A run begins: its phases have bars of their own. */
static void on_run(void *context)
{
	struct eval *ev = context;
	cli_progress_break(ev->cli, &ev->progress);
	ev->phase = NULL;
}

/* A row's seq in the cluster, by its id. */
static int seq_of(void *context, const struct record *record, uint64_t *seq)
{
	struct eval *ev = context;
	struct msg request = {
		.type = MSG_EDIT_LIST,
		.u.edit_list = { .id = { record->id.text, record->id.len }, .state_mask = UINT32_MAX, .limit = 1 }
	};
	struct msg_received *reply = NULL;
	struct err e = ERR_INIT;
	int rc = cli_call(ev->cli, &request, &reply, &e);
	if (rc != 0)
		return rc;
	rc = reply->msg.u.edit_list_reply.edit_count == 1 ? 0 : ERR_NOT_FOUND;
	*seq = rc == 0 ? reply->msg.u.edit_list_reply.edits[0].seq : 0;
	msg_free(&reply);
	return rc;
}

static void merged_print(const struct eval_report *r)
{
	const struct eval_merged *m = &r->merged;
	printf("merged into one memory of %.1f MB: %zu round%s, %zu reduce%s of %.1f MB together, %.1f s; %zu of %zu "
	       "edits pass\n",
	       (double)m->delta_bytes * 1e-6, m->stats.rounds, cli_plural(m->stats.rounds), m->stats.reduces,
	       cli_plural(m->stats.reduces), (double)m->stats.reduced_bytes * 1e-6, m->seconds, m->passed,
	       r->scores.edits);
}

static void report_print(const struct eval_report *r)
{
	const struct editor_scores *s = &r->scores;
	if (r->version != 0)
		printf("%zu edit%s in version v%llu of the cluster, %s\n", s->edits, cli_plural(s->edits),
		       (unsigned long long)r->version, r->model_name);
	else
		printf("%zu edit%s in %zu shard%s, %s, %s\n", s->edits, cli_plural(s->edits), r->shards,
		       cli_plural(r->shards), r->model_name, r->backend);
	if (r->merged.done)
		merged_print(r);
	for (size_t i = 0; i < EDITOR_FIGURE_COUNT; i++) {
		if (isnan(s->mean.values[i]))
			continue;
		printf("%-20s %.3f  ", editor_figure_names[i], s->mean.values[i]);
		if (r->merged.done)
			printf("(shards: %.3f)  ", r->merged.shards.mean.values[i]);
		printf("%s\n", editor_figure_texts[i]);
	}
	if (r->trained && s->edits > 0)
		printf("%-20s %.3f  training and re-test, wall clock (%.3f core seconds)\n", "seconds_per_edit",
		       r->train_seconds / (double)s->edits, r->train_core_seconds / (double)s->edits);
	const struct cli_left_out rows = { r->duplicates, r->superseded, r->rejected, r->missing, r->not_in_force };
	cli_series_left_out_print(&rows);
	if (r->bad_lines > 0)
		printf("%zu bad line%s left out\n", r->bad_lines, r->bad_lines == 1 ? " was" : "s were");
}

static int without_read(const struct eval *ev, unsigned *without, struct err *e)
{
	int rc = eval_without_parse(ev->without, without, e);
	if (rc == 0 && *without != 0 && ev->version != NULL)
		rc = err_set(e, ERR_INVALID, "--without is for what trains here: it does not go with --version");
	if (rc == 0 && *without != 0 && daemon_family(&ev->cli->config) == EDITOR_FAMILY_PAPER)
		rc = err_set(e, ERR_INVALID,
			     "--without is for family amend: the paper's parts are settings (--wise.*)");
	return rc;
}

/* What the command line says, before anything is looked for. */
static int options_read(const struct eval *ev, struct eval_options *o, struct err *e)
{
	enum msg_on_conflict on_conflict;
	unsigned without = 0;
	uint64_t edits = 0, probes = EVAL_PROBES, version;
	enum import_format format = IMPORT_AUTO;
	int rc = cli_on_conflict_parse(ev->conflict, &on_conflict, e);
	if (rc == 0)
		rc = import_format_parse(ev->format, &format, e);
	if (rc == 0 && ev->edits != NULL)
		rc = cli_number(ev->edits, "--edits", 1, 10000000, &edits, e);
	if (rc == 0 && ev->probes != NULL)
		rc = cli_number(ev->probes, "--probes", 0, 10000000, &probes, e);
	if (rc == 0)
		rc = cli_set_check(ev->set, e);
	const bool merged = ev->set != NULL && ev->version == NULL && strcmp(ev->set, "merged") == 0;
	if (rc == 0 && merged && daemon_family(&ev->cli->config) == EDITOR_FAMILY_PAPER)
		rc = err_set(e, ERR_INVALID, "--set merged without --version is for family amend: use --wise merge");
	if (rc == 0 && merged && ev->separate)
		rc = err_set(e, ERR_INVALID, "--separate edits each row alone: it does not go with --set merged");
	if (rc == 0 && ev->cli->config.model[0] == '\0')
		rc = err_set(e, ERR_INVALID, CLI_NEEDS_MODEL);
	if (rc == 0 && ev->separate && ev->version != NULL)
		rc = err_set(e, ERR_INVALID, "--separate trains here: it does not go with --version");
	if (rc == 0)
		rc = without_read(ev, &without, e);
	if (rc == 0 && ev->version != NULL)
		rc = cli_version_parse(ev->version, &version, e);
	else if (rc == 0)
		rc = daemon_family_check(&ev->cli->config, e);
	*o = (struct eval_options){ .format = format,
				    .edits = edits,
				    .probes = probes,
				    .merged = merged,
				    .without = without,
				    .on_conflict = on_conflict == MSG_KEEP     ? EVAL_KEEP
						   : on_conflict == MSG_REJECT ? EVAL_REJECT
									       : EVAL_SUPERSEDE };
	return rc;
}

/* Where calibrations are kept: XDG_CACHE_HOME and HOME are the user's, not settings of Amend. */
static void cache_folder(struct eval *ev)
{
	const char *xdg = getenv("XDG_CACHE_HOME"), *home = getenv("HOME");
	int len = 0;
	if (xdg != NULL && xdg[0] == '/') /* the standard ignores relative paths */
		len = snprintf(ev->cache, sizeof ev->cache, "%s/amend", xdg);
	else if (home != NULL && home[0] == '/')
		len = snprintf(ev->cache, sizeof ev->cache, "%s/.cache/amend", home);
	if ((size_t)len >= sizeof ev->cache)
		ev->cache[0] = '\0';
}

static int options_fill(struct eval *ev, const char *file, struct eval_options *o, struct err *e)
{
	const struct daemon_config *config = &ev->cli->config;
	int rc = 0;
	if (config->corpus[0] == '\0')
		rc = daemon_data_file("calibration.tsv", ev->corpus, sizeof ev->corpus, e);
	else
		snprintf(ev->corpus, sizeof ev->corpus, "%s", config->corpus);
	ev->watch = (struct editor_watch){ on_progress, ev };
	o->file = file;
	o->probes_file = ev->probes_file;
	o->edits_per_shard = (size_t)config->edits_per_shard;
	o->model = config->model;
	o->backend = config->backend;
	o->threads = (size_t)config->threads;
	o->corpus = ev->corpus;
	o->calibration = config->calibration[0] != '\0' ? config->calibration : NULL;
	cache_folder(ev);
	o->cache = ev->cache[0] != '\0' ? ev->cache : NULL;
	o->before_too = ev->before;
	o->quick = ev->quick;
	o->oracle = ev->oracle;
	o->separate = ev->separate;
	o->family = daemon_family(config);
	o->layer = (size_t)config->layer;
	o->rate = (float)config->rate;
	o->wise_mode = daemon_wise_mode(config);
	daemon_wise_config(config, &o->wise);
	o->watch = &ev->watch;
	return rc;
}

static int report_show(struct eval *ev, const struct eval_report *report, struct err *e)
{
	for (size_t i = 0; i < report->bad_count; i++)
		cli_line(stderr, "%s:%zu: %s", report->bad[i].file, report->bad[i].line_no, report->bad[i].text);
	ev->bad_lines = report->bad_lines > 0;
	if (!cli_is_structured(ev->cli)) {
		report_print(report);
		return 0;
	}
	struct buf text = BUF_INIT;
	int rc = eval_report_json(report, ev->details, &text, e);
	if (rc == 0 && cli_emit(ev->cli, &text) != CLI_OK)
		rc = err_set(e, ERR_NOMEM, "out of memory for the report");
	buf_free(&text);
	return rc;
}

static int measure(struct eval *ev, struct eval_options *o, struct err *e)
{
	if (ev->series.wanted)
		return cli_series_run(&ev->series, o, &ev->bad_lines, e);
	struct eval_report *report = calloc(1, sizeof *report);
	if (report == NULL)
		return err_set(e, ERR_NOMEM, "out of memory");
	int rc = eval_file_run(o, report, e);
	cli_progress_break(ev->cli, &ev->progress);
	if (rc == 0) {
		rc = report_show(ev, report, e);
		eval_report_fini(report);
	}
	free(report);
	return rc;
}

static bool has_merged(const struct proto_manifest *manifest)
{
	for (size_t i = 0; i < manifest->memory_count; i++) {
		if (manifest->memories[i].kind == PROTO_MEMORY_MERGED)
			return true;
	}
	return false;
}

/* Measures a published version: its memories are pulled and read by the same engine as a node's. */
static int cluster_run(struct eval *ev, struct eval_options *o, struct err *e)
{
	struct cli_manifest manifest;
	struct model *model = NULL;
	struct editor_memory_set *set = NULL;
	struct model_options options = {
		.backend = o->backend, .thread_count = o->threads, .backward_from = SIZE_MAX, .stored_too = true
	};
	uint64_t version = 0;
	int rc = cli_version_parse(ev->version, &version, e);
	if (rc == 0)
		rc = cli_manifest_pull(ev->cli, version, &manifest, e);
	if (rc != 0)
		return rc;
	const bool merged = ev->set != NULL && strcmp(ev->set, "merged") == 0;
	if (merged && !has_merged(&manifest.manifest))
		rc = err_set(e, ERR_NOT_FOUND,
			     "--set merged: version %" PRIu64 " has no merged memory; `amend merge run` makes one",
			     manifest.manifest.version);
	if (rc == 0)
		rc = model_open(o->model, &options, &model, e);
	if (rc == 0)
		rc = cli_set_pull(ev->cli, &manifest, model_digest(model), model_shape_of(model), &set, e);
	cli_manifest_free(&manifest);
	if (rc == 0) {
		o->open_model = model;
		o->set = set;
		o->set_kind = ev->set == NULL ? editor_memory_set_default(set)
			      : merged        ? EDITOR_SET_MERGED
					      : EDITOR_SET_RETRIEVE;
		o->seq_of = seq_of;
		o->seq_context = ev;
		rc = measure(ev, o, e);
	}
	editor_memory_set_release(&set);
	model_close(&model);
	return rc;
}

int cli_eval_run(struct cli *cli, const struct cli_args *args)
{
	struct eval ev = { .cli = cli,
			   .edits = cli_value(args, "edits"),
			   .probes = cli_value(args, "probes"),
			   .probes_file = cli_value(args, "probes-file"),
			   .format = cli_value(args, "format"),
			   .conflict = cli_value(args, "on-conflict"),
			   .version = cli_value(args, "version"),
			   .set = cli_value(args, "set"),
			   .without = cli_value(args, "without"),
			   .details = cli_switch(args, "details"),
			   .before = cli_switch(args, "before"),
			   .quick = cli_switch(args, "quick"),
			   .oracle = cli_switch(args, "oracle"),
			   .separate = cli_switch(args, "separate") };
	struct eval_options o;
	struct err e = ERR_INIT;
	int rc = options_read(&ev, &o, &e);
	if (rc == 0)
		rc = cli_series_read(cli, args, &o, &ev.series, &e);
	if (rc != 0) {
		cli_series_fini(&ev.series);
		return cli_misuse(&e);
	}
	ev.series.before_run = on_run;
	ev.series.context = &ev;
	o.seed = &ev.series.series.seeds[0];
	rc = cli_file_check(args->words[0], "check the path", &e);
	if (rc == 0 && ev.probes_file != NULL)
		rc = cli_file_check(ev.probes_file, "check --probes-file", &e);
	if (rc == 0)
		rc = options_fill(&ev, args->words[0], &o, &e);
	if (rc == 0)
		rc = ev.version != NULL ? cluster_run(&ev, &o, &e) : measure(&ev, &o, &e);
	cli_progress_break(cli, &ev.progress);
	cli_series_fini(&ev.series);
	if (rc != 0)
		return cli_fail(cli, &e);
	return ev.bad_lines ? CLI_FAILED : CLI_OK;
}
