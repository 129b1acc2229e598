/* The report of an evaluation as JSON; its members are in eval_file.h. */
#include "daemon/eval_file.h"
#include "daemon/eval_without.h"
#include "base/json.h"

#include <math.h>

static void put_real(struct json_w *w, const char *key, double value)
{
	json_w_member_real(w, key, value);
}

/* Float32 figures and times, in as many digits as they have. */
static void put_rounded(struct json_w *w, const char *key, double value, double unit)
{
	put_real(w, key, round(value / unit) * unit);
}

static void put_count(struct json_w *w, const char *key, uint64_t value)
{
	json_w_member_uint(w, key, value);
}

static void put_text(struct json_w *w, const char *key, const char *value)
{
	json_w_member_str(w, key, value);
}

static void figures_put(struct json_w *w, const struct editor_figures *figures, bool all)
{
	for (size_t i = 0; i < EDITOR_FIGURE_COUNT; i++) {
		if (all || !isnan(figures->values[i]))
			put_real(w, editor_figure_names[i], figures->values[i]);
	}
}

static void put_scores(struct json_w *w, const struct editor_scores *s)
{
	put_count(w, "edits", s->edits);
	figures_put(w, &s->mean, true);
	put_count(w, "probes_same_form", s->probes_same_form);
	put_count(w, "rephrases_verbatim", s->rephrases_verbatim);
}

static void put_training(struct json_w *w, const struct eval_report *r)
{
	const double edits = r->trained && r->scores.edits > 0 ? (double)r->scores.edits : (double)NAN;
	put_rounded(w, "seconds_per_edit", r->train_seconds / edits, 1e-4);
	put_rounded(w, "core_seconds_per_edit", r->train_core_seconds / edits, 1e-4);
	put_rounded(w, "train_seconds", r->trained ? r->train_seconds : (double)NAN, 1e-3);
	put_rounded(w, "calibrate_seconds", r->trained ? r->calibrate_seconds : (double)NAN, 1e-3);
	put_rounded(w, "evaluate_seconds", r->evaluate_seconds, 1e-3);
	put_count(w, "shards", r->shards);
	put_count(w, "shards_reused", r->shards_reused);
	put_count(w, "steps", r->steps);
	put_count(w, "failed", r->failed);
}

/* The calibration that was given, and every file that it was fitted on. */
static void put_fitted(struct json_w *w, const struct eval_report *r)
{
	if (!hash_is_zero(&r->calibration_hash))
		json_w_member_hash(w, "calibration_sha256", &r->calibration_hash);
	if (r->fitted_count == 0)
		return;
	json_w_key(w, "fitted_on");
	json_w_open(w, '[');
	for (size_t i = 0; i < r->fitted_count; i++) {
		json_w_open(w, '{');
		put_text(w, "role", r->fitted[i].role);
		put_text(w, "name", r->fitted[i].name);
		json_w_member_hash(w, "sha256", &r->fitted[i].sha256);
		json_w_close(w);
	}
	json_w_close(w);
}

static void put_file(struct json_w *w, const struct eval_report *r)
{
	json_w_member_hash(w, "file_sha256", &r->file_hash);
	json_w_member_hash(w, "corpus_sha256", &r->corpus_hash);
	put_fitted(w, r);
	put_count(w, "rows", r->rows);
	put_count(w, "lines", r->lines);
	put_count(w, "bad_lines", r->bad_lines);
	put_count(w, "duplicates", r->duplicates);
	put_count(w, "superseded", r->superseded);
	put_count(w, "rejected", r->rejected);
	put_count(w, "missing", r->missing);
	put_count(w, "not_in_force", r->not_in_force);
	json_w_key(w, "bad");
	json_w_open(w, '[');
	for (size_t i = 0; i < r->bad_count; i++) {
		json_w_open(w, '{');
		put_text(w, "file", r->bad[i].file);
		put_count(w, "line", r->bad[i].line_no);
		put_text(w, "reason", r->bad[i].text);
		json_w_close(w);
	}
	json_w_close(w);
}

static void put_margins(struct json_w *w, const struct editor_wise_config *c)
{
	put_rounded(w, "alpha", (double)c->alpha, 1e-6);
	put_rounded(w, "beta", (double)c->beta, 1e-6);
	put_rounded(w, "gamma", (double)c->gamma, 1e-6);
	put_rounded(w, "act_ratio", (double)c->act_ratio, 1e-6);
	put_rounded(w, "rho", (double)c->mask_ratio, 1e-6);
	put_rounded(w, "rate", (double)c->rate, 1e-6);
	put_rounded(w, "density", (double)c->merge_density, 1e-6);
}

static void put_wise(struct json_w *w, const struct eval_report *r)
{
	const struct editor_wise_config *c = &r->wise;
	json_w_key(w, "wise");
	json_w_open(w, '{');
	put_text(w, "mode", r->wise_mode == WISE_MERGE ? "merge" : "retrieve");
	put_count(w, "merge_shards", c->merge_shards);
	put_text(w, "operator", merge_operator_name(c->merge_operator));
	put_margins(w, c);
	put_count(w, "steps_max", c->steps_max);
	json_w_member_bool(w, "prefixes", c->prefixes);
	json_w_member_bool(w, "activation_loss", c->activation_loss);
	json_w_member_bool(w, "replay", c->replay);
	put_count(w, "memories", r->memories);
	put_rounded(w, "core_seconds_per_step", r->steps > 0 ? r->train_core_seconds / (double)r->steps : (double)NAN,
		    1e-4);
	json_w_close(w);
}

static void put_merged(struct json_w *w, const struct eval_report *r)
{
	const struct eval_merged *m = &r->merged;
	json_w_key(w, "merged");
	json_w_open(w, '{');
	put_count(w, "rounds", m->stats.rounds);
	put_count(w, "reduces", m->stats.reduces);
	put_count(w, "reduced_bytes", m->stats.reduced_bytes);
	put_count(w, "delta_bytes", m->delta_bytes);
	put_count(w, "passed", m->passed);
	put_rounded(w, "loss", m->stats.loss, 1e-6);
	put_rounded(w, "seconds", m->seconds, 1e-3);
	json_w_key(w, "shards");
	json_w_open(w, '{');
	figures_put(w, &m->shards.mean, true);
	json_w_close(w);
	json_w_close(w);
}

static void put_version(struct json_w *w, const struct eval_report *r)
{
	put_count(w, "version", r->version);
	put_text(w, "model", r->model_name);
	json_w_member_hash(w, "model_sha256", &r->model_digest);
	put_text(w, "backend", r->backend);
	put_text(w, "family", r->family == EDITOR_FAMILY_PAPER ? "paper" : "amend");
	json_w_member_bool(w, "oracle", r->oracle);
	json_w_member_bool(w, "separate", r->separate);
	if (r->trained && r->family == EDITOR_FAMILY_PAPER)
		put_wise(w, r);
	if (r->trained && r->family == EDITOR_FAMILY_AMEND) {
		json_w_key(w, "without");
		eval_without_put(w, r->without);
	}
	if (r->merged.done)
		put_merged(w, r);
	put_count(w, "threads", r->threads);
	put_count(w, "seed", r->seed);
	put_count(w, "layer", r->layer);
	put_count(w, "prompt_layer", r->prompt_layer);
	put_count(w, "relation_layer", r->relation_layer);
	put_count(w, "edits_per_shard", r->edits_per_shard);
	const bool keyed = r->trained && r->family == EDITOR_FAMILY_AMEND;
	put_rounded(w, "subject_threshold", keyed ? (double)r->subject_threshold : (double)NAN, 1e-6);
	put_rounded(w, "relation_threshold", keyed ? (double)r->relation_threshold : (double)NAN, 1e-6);
	put_rounded(w, "open_threshold", keyed ? (double)r->open_threshold : (double)NAN, 1e-6);
}

static void put_probes(struct json_w *w, const struct eval_report *r)
{
	json_w_key(w, "probes");
	json_w_open(w, '[');
	for (size_t i = 0; i < r->probe_count; i++) {
		const struct record *record = r->probes[i].record;
		json_w_open(w, '{');
		json_w_member_strn(w, "id", record->id.text, record->id.len);
		json_w_member_strn(w, "prompt", record->prompt.text, record->prompt.len);
		figures_put(w, &r->details.probes[i], false);
		json_w_close(w);
	}
	json_w_close(w);
}

/* Routing scores by kind of question, as rows [row, routed, prompt score, relation score]. */
static void put_asked(struct json_w *w, const struct eval_report *r)
{
	json_w_key(w, "scores");
	json_w_open(w, '{');
	for (size_t kind = 0; kind < EDITOR_ASKED_COUNT; kind++) {
		json_w_key(w, editor_asked_names[kind]);
		json_w_open(w, '[');
		for (size_t i = 0; i < r->details.asked_count; i++) {
			const struct editor_asked *asked = &r->details.asked[i];
			if (asked->kind != kind)
				continue;
			json_w_open(w, '[');
			json_w_uint(w, asked->record);
			json_w_uint(w, asked->routed ? 1 : 0);
			json_w_real(w, round((double)asked->prompt_score * 1e6) * 1e-6);
			json_w_real(w, round((double)asked->relation_score * 1e6) * 1e-6);
			json_w_real(w, round((double)asked->prompt_threshold * 1e6) * 1e-6);
			json_w_close(w);
		}
		json_w_close(w);
	}
	json_w_close(w);
}

static void put_details(struct json_w *w, const struct eval_report *r)
{
	json_w_key(w, "details");
	json_w_open(w, '[');
	for (size_t i = 0; i < r->record_count; i++) {
		const struct editor_answer *a = &r->answers[i];
		const struct record *record = r->records[i];
		json_w_open(w, '{');
		json_w_member_strn(w, "id", record->id.text, record->id.len);
		json_w_member_strn(w, "prompt", record->prompt.text, record->prompt.len);
		json_w_member_strn(w, "target", record->target_new.text, record->target_new.len);
		put_text(w, "before", a->prompt_before);
		put_text(w, "after", a->prompt_after);
		json_w_member_bool(w, "right", a->prompt_right);
		put_count(w, "memory", a->prompt_memory);
		if (record->rephrase_count > 0) {
			json_w_member_strn(w, "rephrase", record->rephrases[0].text, record->rephrases[0].len);
			put_text(w, "rephrase_after", a->rephrase_after);
			json_w_member_bool(w, "rephrase_right", a->rephrase_right);
			put_count(w, "rephrase_memory", a->rephrase_memory);
			put_rounded(w, "rephrase_score", (double)a->rephrase_score, 1e-6);
		}
		figures_put(w, &a->figures, false);
		json_w_close(w);
	}
	json_w_close(w);
	put_probes(w, r);
	put_asked(w, r);
}

int eval_report_json(const struct eval_report *report, bool details, struct buf *out, struct err *e)
{
	struct json_w w;
	json_w_init(&w, out);
	json_w_open(&w, '{');
	put_scores(&w, &report->scores);
	put_training(&w, report);
	put_file(&w, report);
	put_version(&w, report);
	if (details)
		put_details(&w, report);
	json_w_close(&w);
	return buf_failed(out) ? err_set(e, ERR_NOMEM, "report: out of memory") : 0;
}
