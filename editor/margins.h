/* margins.h: α, β, γ and act_ratio of the paper's family (wise.h) for one model, measured on trial edits of a corpus's
 * own questions (route.h): targets are other groups' subjects, rephrases and unrelated texts are held out.
 *
 * Margins scale with the learning rate and the model: one step without hinges moves the gap of an unrelated text by
 * `unit` on average, and a hinge below what steps do anyway is never met. α begins at unit · √steps (what so many steps
 * in no common direction come to), β = 3 α, γ = 1.5 α; it is doubled until the three hinges of an edit's last step come
 * to no more than EDITOR_MARGIN_LEFT of α, mean over the trial's edits, at most EDITOR_MARGIN_TRIALS times; when no
 * trial gets there, the one that tells edits best from unrelated texts is taken. act_ratio puts ε at the geometric mean
 * of the smallest gap of an edit or rephrase and the gap that 19 of 20 unrelated texts stay below, at the trial's
 * shards merged by the configured operator. Same corpus, model and backend: same numbers. */
#ifndef AMEND_EDITOR_MARGINS_H
#define AMEND_EDITOR_MARGINS_H

#include "editor/calibration_file.h"
#include "editor/config.h"

#define EDITOR_MARGIN_EDITS     4
#define EDITOR_MARGIN_UNRELATED 40
#define EDITOR_MARGIN_TRIALS    4
#define EDITOR_MARGIN_LEFT      0.05f

struct editor_margin_trial {
	float alpha, beta, gamma;
	size_t steps;                          /* of all edits */
	double left;                           /* hinges of the edits' last steps over α, mean */
	double edit_least, rephrase_least;     /* gaps at the merged delta */
	double unrelated_high, unrelated_mean; /* the same; high: 19 of 20 stay below it */
	double apart;                          /* min(edit_least, rephrase_least) / unrelated_high */
};
struct editor_margins {
	double unit; /* mean gap of unrelated texts after one step without hinges */
	struct editor_margin_trial trials[EDITOR_MARGIN_TRIALS];
	size_t trial_count, chosen, edit_count, unrelated_count;
	bool met; /* the chosen trial's hinges */
	float act_ratio;
	double threshold; /* ε of the trial's memory */
};

/* `config`: family `paper`; its margins and act_ratio are not looked at. The texts used are added to `fitting`. Steps
 * without end: minutes on a real model. ERR_INVALID: too few groups with a subject, a prompt and a rephrase, or too few
 * unrelated texts; ERR_INTERRUPTED. */
int editor_margins_fit(struct model *model, const struct editor_config *config, const char *corpus, size_t corpus_len,
		       const struct editor_watch *watch, struct editor_fitting *fitting, struct editor_margins *out,
		       struct err *e) MUST_CHECK;

#endif
