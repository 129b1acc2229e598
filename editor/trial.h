/* trial.h: edits to try a method on, made of a calibration corpus's own questions (route.h), which no evaluation may
 * hold: prompt → the subject of another group, with the group's rephrase held out. Pure. */
#ifndef AMEND_EDITOR_TRIAL_H
#define AMEND_EDITOR_TRIAL_H

#include "base/record.h"

struct editor_trial_group { /* in the corpus's bytes */
	struct record_text subject, prompt, rephrase;
};
struct editor_trial_corpus {
	struct editor_trial_group *groups; /* with a subject, a prompt and a rephrase */
	struct record_text *unrelated;
	size_t group_count, unrelated_count;
};
/* At most so many of each, evenly spread over the corpus, which must outlive `out`. ERR_INVALID: under 2 groups. */
int editor_trial_read(const char *corpus, size_t corpus_len, size_t groups_max, size_t unrelated_max,
		      struct editor_trial_corpus *out, struct err *e) MUST_CHECK;
void editor_trial_fini(struct editor_trial_corpus *corpus);
/* What group `index` is trained to answer. */
const struct record_text *editor_trial_target(const struct editor_trial_corpus *corpus, size_t index);
/* A record of nothing but these (subject: NULL or empty for none); the caller's. */
int editor_trial_record(const struct record_text *prompt, const struct record_text *target,
			const struct record_text *subject, struct record **out, struct err *e) MUST_CHECK;

#endif
