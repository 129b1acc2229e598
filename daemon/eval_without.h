/* eval_without.h: parts of family `amend`'s training that an evaluation leaves out, to measure what each is worth
 * (method.md, Training). Inside daemon/ only. Pure. */
#ifndef AMEND_DAEMON_EVAL_WITHOUT_H
#define AMEND_DAEMON_EVAL_WITHOUT_H

#include "base/json.h"
#include "editor/config.h"

/* Bits of a set. RETRAINING: of what fails the re-test. CLOSING: a shard is streamed, in groups of stream_group_max,
 * and no pass over all follows. PLAIN: edits in small letters and without the mark at their end. */
enum eval_without {
	EVAL_WITHOUT_NOISE = 1,
	EVAL_WITHOUT_VIEWS = 2,
	EVAL_WITHOUT_END_TOKEN = 4,
	EVAL_WITHOUT_RETRAINING = 8,
	EVAL_WITHOUT_CLOSING = 16,
	EVAL_WITHOUT_PLAIN = 32,
};
#define EVAL_WITHOUT_PARTS "noise,views,end-token,retraining,closing,plain"

/* A list of those names with commas between them; NULL: none is left out. ERR_INVALID. */
int eval_without_parse(const char *text, unsigned *out, struct err *e) MUST_CHECK;
/* All but the closing pass, which is not a matter of the configuration. */
void eval_without_apply(unsigned without, struct editor_config *config);
/* An array of the names. */
void eval_without_put(struct json_w *w, unsigned without);

#endif
