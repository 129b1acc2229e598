/* calibrate_search.h: `amend calibrate --search`: which layer and learning rate suit a model in the default family.
 * Trial edits are trained as one shard, breadth first; what counts is how many of their rephrases, which are not
 * trained on, decode freely to the target with the memory read. Layers around the first come first, by the first rate;
 * then half and twice that rate at the best layer. In this process; no files but those named. */
#ifndef AMEND_DAEMON_CALIBRATE_SEARCH_H
#define AMEND_DAEMON_CALIBRATE_SEARCH_H

#include "daemon/calibrate.h"

#define CALIBRATE_SEARCH_EDITS  50
#define CALIBRATE_SEARCH_TRIALS 8

struct calibrate_search_options {
	const char *model, *backend;
	size_t threads;
	const char *edits; /* edits with a rephrase: the first CALIBRATE_SEARCH_EDITS; NULL: the corpus's questions */
	enum import_format format;
	struct calibrate_bad bad; /* of edits */
	const char *corpus;
	size_t layer; /* where the search begins; 0: at the model's default */
	float rate;   /* the same */
	uint64_t seed;
	const struct editor_watch *watch; /* may be NULL */
};
struct calibrate_search_trial {
	size_t layer;
	float rate;
	size_t prompts_right, rephrases_right;
	double seconds; /* training and re-test */
};
struct calibrate_search_report {
	struct calibrate_search_trial trials[CALIBRATE_SEARCH_TRIALS];
	size_t trial_count, best; /* most rephrases, then most prompts, then the earlier */
	size_t edit_count, layers;
};
/* ERR_INVALID: under two usable edits, or a layer or rate that it cannot begin at. ERR_INTERRUPTED. */
int calibrate_search(const struct calibrate_search_options *options, struct calibrate_search_report *report,
		     struct err *e) MUST_CHECK;
/* One JSON object. */
int calibrate_search_json(const struct calibrate_search_report *report, struct buf *out, struct err *e) MUST_CHECK;

#endif
