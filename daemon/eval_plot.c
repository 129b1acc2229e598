#include "daemon/eval_plot.h"

#include "base/env.h"
#include "daemon/eval_summary.h"
#include "editor/route.h"

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <math.h>
#include <spawn.h>
#include <stdio.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

extern char **environ;

#define BINS 48

static int write_file(const char *folder, const char *name, const char *ending, struct buf *text, struct err *e)
{
	char path[PATH_MAX];
	int rc = buf_failed(text) ? err_set(e, ERR_NOMEM, "plots: out of memory") : 0;
	if (rc == 0 && snprintf(path, sizeof(path), "%s/%s.%s", folder, name, ending) >= (int)sizeof(path))
		rc = err_set(e, ERR_LIMIT, "%.200s…: the path is too long", folder);
	if (rc == 0)
		rc = file_write_atomic(path, text->data, text->len, 0644, e);
	buf_free(text);
	return rc;
}

/* What a plot is drawn from: its columns, what its script sets, and its `plot` command. */
struct drawing {
	struct buf data, setup, plot;
};

/* Both images by one script: the command comes between setting the terminal and the end. Frees the drawing. */
static int write_drawing(const char *folder, const char *name, struct drawing *d, struct err *e)
{
	struct buf script = BUF_INIT;
	buf_printf(&script,
		   "# gnuplot %s.gp\n"
		   "set grid\nset key outside right\nset style line 1 lw 2\n%s"
		   "set terminal svg size 900,500 dynamic background rgb 'white'\nset output '%s.svg'\n%s"
		   "set terminal pngcairo size 900,500\nset output '%s.png'\n%s",
		   name, buf_cstr(&d->setup), name, buf_cstr(&d->plot), name, buf_cstr(&d->plot));
	script.failed = script.failed || buf_failed(&d->setup) || buf_failed(&d->plot);
	buf_free(&d->setup);
	buf_free(&d->plot);
	int rc = write_file(folder, name, "dat", &d->data, e);
	if (rc == 0)
		return write_file(folder, name, "gp", &script, e);
	buf_free(&script);
	return rc;
}

/* ---- Figures against T */

struct edits_plot {
	const char *name, *title, *range;
	const char *const *figures; /* up to a NULL */
};
static const struct edits_plot scores_plot = { .name = "scores",
					       .title = "Scores after the last edit",
					       .range = "set yrange [0:1.02]\n",
					       .figures = (const char *const[]){ "rel", "gen", "free_rel", "free_gen",
										 "free_gen_no_anchor", "loc",
										 "loc_same_form", "loc_same_subject",
										 "right_memory", "free_chat",
										 "free_long", NULL } },
			       time_plot = { .name = "time",
					     .title = "Time of an edit",
					     .range = "set ylabel 'seconds'\nset yrange [0:*]\n",
					     .figures = (const char *const[]){ "seconds_per_edit",
									       "core_seconds_per_edit", NULL } };

/* A published version's edits have no time, for one. */
static bool has_figures(const struct edits_plot *p, const struct json *summary)
{
	for (size_t i = 0; p->figures[i] != NULL; i++) {
		if (eval_summary_has(summary, p->figures[i]))
			return true;
	}
	return false;
}

/* The columns of one plot: a header with the names, and a row a checkpoint; NaN where nothing was measured. */
static void put_columns(struct buf *out, const struct json *summary, const char *const *names)
{
	buf_puts(out, "T");
	for (size_t i = 0; names[i] != NULL; i++)
		buf_printf(out, " %s %s_sd", names[i], names[i]);
	buf_puts(out, "\n");
	for (size_t c = 0; c < json_length(summary); c++) {
		const struct json *row = json_at(summary, c);
		buf_printf(out, "%lld", (long long)json_integer(json_get(row, "rows")));
		for (size_t i = 0; names[i] != NULL; i++) {
			const struct json *value = json_get(row, names[i]);
			const double sd = json_number(json_get(value, "sd"));
			if (value == NULL)
				buf_puts(out, " NaN NaN");
			else
				buf_printf(out, " %.6f %.6f", json_number(json_get(value, "mean")), sd);
		}
		buf_puts(out, "\n");
	}
}

static int plot_against_edits(const struct json *summary, const char *folder, const struct edits_plot *p, struct err *e)
{
	struct drawing d = { BUF_INIT, BUF_INIT, BUF_INIT };
	size_t shown = 0;
	put_columns(&d.data, summary, p->figures);
	buf_printf(&d.setup, "set title '%s'\nset xlabel 'rows (T)'\n%s%s", p->title,
		   json_length(summary) > 1 ? "set logscale x\n" : "", p->range);
	buf_puts(&d.plot, "plot ");
	for (size_t i = 0; p->figures[i] != NULL; i++) {
		if (eval_summary_has(summary, p->figures[i]))
			buf_printf(&d.plot, "%s'%s.dat' using 1:%zu:%zu with yerrorlines lw 2 title '%s' noenhanced",
				   shown++ > 0 ? ", \\\n  " : "", p->name, 2 * i + 2, 2 * i + 3, p->figures[i]);
	}
	buf_puts(&d.plot, "\n");
	return write_drawing(folder, p->name, &d, e);
}

/* ---- Distributions of routing scores */

static const struct {
	const char *kind, *title;
} kinds[] = { { "prompt", "prompts" },
	      { "rephrase", "rephrases" },
	      { "unrelated", "unrelated" },
	      { "same_form", "same form" },
	      { "same_subject", "same subject" } };
#define KINDS (sizeof(kinds) / sizeof(kinds[0]))

/* What a row [row, routed, prompt score, relation score, prompt threshold] has; NaN: nothing. */
typedef double score_of(const struct json *row);

static double prompt_score(const struct json *row)
{
	return json_number(json_at(row, 2));
}

/* A relation score of 0 was not asked for: the prompt key had refused. */
static double relation_score(const struct json *row)
{
	const double score = json_number(json_at(row, 3));
	return fabs(score) > 0 ? score : (double)NAN;
}

/* Memories have thresholds of their own: only the ratio can be compared. */
static double gap_ratio(const struct json *row)
{
	const double threshold = json_number(json_at(row, 4));
	return threshold > 0 ? json_number(json_at(row, 2)) / threshold : (double)NAN;
}

struct routing_plot {
	const char *name, *title, *axis;
	score_of *score;
	double least, most; /* of the axis; scores outside fall into the first or last bin */
	const char *thresholds[3];
	double threshold; /* where there are no names */
};
static const struct routing_plot prompt_plot = { .name = "routing-prompt",
						 .title = "Prompt key: cosine with the nearest edit",
						 .axis = "score of the nearest edit",
						 .score = prompt_score,
						 .least = -0.2,
						 .most = 1,
						 .thresholds = { "open_threshold", "subject_threshold" } },
				 relation_plot = { .name = "routing-relation",
						   .title = "Relation key: score, where the prompt key let through",
						   .axis = "score of the nearest edit",
						   .score = relation_score,
						   .least = -0.2,
						   .most = 1 + EDITOR_RELATION_WORDS,
						   .thresholds = { "relation_threshold" } },
				 gap_plot = { .name = "routing-gap",
					      .title = "Gap of the memory that is nearest to being read",
					      .axis = "gap / threshold",
					      .score = gap_ratio,
					      .least = 0,
					      .most = 3,
					      .threshold = 1 };

/* Shares of the rows in each bin. Returns how many counted. */
static size_t histogram(const struct routing_plot *p, const struct json *rows, double shares[BINS])
{
	size_t n = 0;
	memset(shares, 0, BINS * sizeof(*shares));
	for (size_t i = 0; i < json_length(rows); i++) {
		const double score = p->score(json_at(rows, i));
		if (isnan(score))
			continue;
		const double at = (score - p->least) / (p->most - p->least) * BINS;
		shares[at < 0 ? 0 : at >= BINS ? BINS - 1 : (size_t)at] += 1;
		n++;
	}
	for (size_t b = 0; b < BINS && n > 0; b++)
		shares[b] /= (double)n;
	return n;
}

static void put_threshold(struct buf *setup, double at)
{
	buf_printf(setup, "set arrow from %.4f, graph 0 to %.4f, graph 1 nohead dt 2\n", at, at);
}

static void put_axis(struct buf *setup, const struct routing_plot *p, const struct json *run)
{
	buf_printf(setup, "set title '%s'\nset xlabel '%s'\nset ylabel 'share'\n", p->title, p->axis);
	buf_printf(setup, "set xrange [%.1f:%.1f]\n", p->least, p->most);
	if (p->threshold > 0)
		put_threshold(setup, p->threshold);
	for (size_t i = 0; p->thresholds[i] != NULL; i++) {
		const struct json *value = json_get(run, p->thresholds[i]);
		if (value != NULL && json_type(value) == JSON_NUMBER)
			put_threshold(setup, json_number(value));
	}
}

static int plot_routing(const struct json *run, const char *folder, const struct routing_plot *p, struct err *e)
{
	struct drawing d = { BUF_INIT, BUF_INIT, BUF_INIT };
	double shares[KINDS][BINS];
	size_t shown = 0;
	buf_puts(&d.data, "score");
	buf_puts(&d.plot, "plot ");
	for (size_t k = 0; k < KINDS; k++) {
		const size_t count = histogram(p, json_get(json_get(run, "scores"), kinds[k].kind), shares[k]);
		buf_printf(&d.data, " %s", kinds[k].kind);
		if (count > 0)
			buf_printf(&d.plot, "%s'%s.dat' using 1:%zu with steps lw 2 title '%s (%zu)'",
				   shown++ > 0 ? ", \\\n  " : "", p->name, k + 2, kinds[k].title, count);
	}
	buf_puts(&d.plot, "\n");
	buf_puts(&d.data, "\n");
	for (size_t b = 0; b < BINS; b++) {
		buf_printf(&d.data, "%.4f", p->least + (p->most - p->least) * (double)b / BINS);
		for (size_t k = 0; k < KINDS; k++)
			buf_printf(&d.data, " %.6f", shares[k][b]);
		buf_puts(&d.data, "\n");
	}
	put_axis(&d.setup, p, run);
	return write_drawing(folder, p->name, &d, e);
}

static bool has_scores(const struct routing_plot *p, const struct json *run)
{
	double shares[BINS];
	for (size_t k = 0; k < KINDS; k++) {
		if (histogram(p, json_get(json_get(run, "scores"), kinds[k].kind), shares) > 0)
			return true;
	}
	return false;
}

/* Those that have something to show. */
static size_t routing_plots(const struct json *run, const struct routing_plot *plots[2])
{
	static const struct routing_plot *const paper[] = { &gap_plot, NULL }, *const own[] = { &prompt_plot,
												&relation_plot, NULL };
	const char *family = json_string(json_get(run, "family"), NULL);
	size_t count = 0;
	for (const struct routing_plot *const *p = family != NULL && strcmp(family, "paper") == 0 ? paper : own;
	     *p != NULL; p++) {
		if (has_scores(*p, run))
			plots[count++] = *p;
	}
	return count;
}

static const struct json *last_run(const struct json *report)
{
	const struct json *runs = json_get(report, "runs");
	return json_at(runs, json_length(runs) - 1);
}

size_t eval_plot_names(const struct json *report, const char *names[EVAL_PLOTS_MAX])
{
	const struct json *summary = json_get(report, "summary");
	const struct routing_plot *routing[2];
	const size_t routings = routing_plots(last_run(report), routing);
	size_t count = 0;
	if (has_figures(&scores_plot, summary))
		names[count++] = scores_plot.name;
	for (size_t i = 0; i < routings; i++)
		names[count++] = routing[i]->name;
	if (has_figures(&time_plot, summary))
		names[count++] = time_plot.name;
	return count;
}

/* ---- gnuplot */

/* In `folder`, silently. 0, or an errno value; *status is the exit status. */
static int run_gnuplot(const char *folder, const char *script, int *status)
{
	posix_spawn_file_actions_t actions;
	char *const argv[] = { (char *)"gnuplot", (char *)script, NULL };
	pid_t pid;
	int rc = posix_spawn_file_actions_init(&actions);
	if (rc != 0)
		return rc;
	rc = posix_spawn_file_actions_addchdir_np(&actions, folder);
	for (int fd = STDIN_FILENO; fd <= STDERR_FILENO && rc == 0; fd++)
		rc = posix_spawn_file_actions_addopen(&actions, fd, "/dev/null", O_RDWR, 0);
	if (rc == 0)
		rc = posix_spawnp(&pid, argv[0], &actions, NULL, argv, environ);
	posix_spawn_file_actions_destroy(&actions);
	while (rc == 0 && waitpid(pid, status, 0) < 0)
		rc = errno == EINTR ? 0 : errno;
	return rc;
}

static int remove_file(const char *folder, const char *name, const char *ending, struct err *e)
{
	char path[PATH_MAX];
	if (snprintf(path, sizeof(path), "%s/%s.%s", folder, name, ending) >= (int)sizeof(path))
		return err_set(e, ERR_LIMIT, "%.200s…: the path is too long", folder);
	if (unlink(path) == 0 || errno == ENOENT)
		return 0;
	return err_errno(e, ERR_IO, errno, "removing %s", path);
}

static int remove_images(const char *folder, const char *name, struct err *e)
{
	int rc = remove_file(folder, name, "svg", e);
	return rc == 0 ? remove_file(folder, name, "png", e) : rc;
}

/* Of every plot that there is, not only of this report's. */
static int remove_old(const char *folder, struct err *e)
{
	const char *const names[] = { scores_plot.name, prompt_plot.name, relation_plot.name, gap_plot.name,
				      time_plot.name };
	int rc = 0;
	for (size_t i = 0; i < sizeof(names) / sizeof(names[0]) && rc == 0; i++) {
		rc = remove_images(folder, names[i], e);
		if (rc == 0)
			rc = remove_file(folder, names[i], "gp", e);
		if (rc == 0)
			rc = remove_file(folder, names[i], "dat", e);
	}
	return rc;
}

/* A script that fails costs its own images alone. */
static int draw(const struct json *report, const char *folder, struct eval_images *images, struct buf *notice,
		struct err *e)
{
	const char *names[EVAL_PLOTS_MAX];
	const size_t count = eval_plot_names(report, names);
	int rc = 0;
	for (size_t i = 0; i < count && rc == 0; i++) {
		char script[64];
		int status = 0;
		snprintf(script, sizeof(script), "%s.gp", names[i]);
		const int failed = run_gnuplot(folder, script, &status);
		if (failed == ENOENT) {
			buf_printf(notice,
				   "No images: gnuplot is not installed (Debian: gnuplot-nox); `cd %s && gnuplot *.gp` "
				   "makes them.\n",
				   folder);
			return 0;
		}
		if (failed == 0 && WIFEXITED(status) && WEXITSTATUS(status) == 0) {
			images->names[images->count++] = names[i];
			continue;
		}
		buf_printf(notice, "No image of %s: gnuplot failed; `cd %s && gnuplot %s` says why.\n", names[i],
			   folder, script);
		rc = remove_images(folder, names[i], e); /* what it began */
	}
	return rc;
}

int eval_plot(const struct json *report, const char *report_folder, struct eval_images *images, struct buf *notice,
	      struct err *e)
{
	static const struct edits_plot *const against_edits[] = { &scores_plot, &time_plot };
	const struct json *summary = json_get(report, "summary"), *last = last_run(report);
	const struct routing_plot *routing[2];
	const size_t routings = routing_plots(last, routing);
	char folder[PATH_MAX];
	if (snprintf(folder, sizeof(folder), "%s/plots", report_folder) >= (int)sizeof(folder))
		return err_set(e, ERR_LIMIT, "%.200s…: the path is too long", report_folder);
	images->count = 0;
	int rc = file_make_folder(folder, e);
	if (rc == 0)
		rc = remove_old(folder, e);
	for (size_t i = 0; i < 2 && rc == 0; i++)
		rc = has_figures(against_edits[i], summary) ? plot_against_edits(summary, folder, against_edits[i], e)
							    : 0;
	for (size_t i = 0; i < routings && rc == 0; i++)
		rc = plot_routing(last, folder, routing[i], e);
	return rc == 0 ? draw(report, folder, images, notice, e) : rc;
}
