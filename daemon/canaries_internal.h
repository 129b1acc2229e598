/* canaries_internal.h: what canaries.c (files, life) and canaries_ask.c (the engine's side) share. */
#ifndef AMEND_DAEMON_CANARIES_INTERNAL_H
#define AMEND_DAEMON_CANARIES_INTERNAL_H

#include "daemon/canaries.h"

#include "daemon/version_set.h"
#include "editor/route_kept.h"

struct canary {
	char *id, *prompt;
	bool chat;
};

struct question { /* a canary that the model can take */
	const struct canary *canary;
	int32_t *ids;
	size_t id_count, first, count; /* first, count: what the route is decided from; count 0: all */
	bool before_known, before_failed;
	struct buf before; /* the base model's answer; asked when a memory takes the canary for the first time */
	/* of the candidate that is asked: */
	uint64_t memory, edit;                 /* of the set that is asked; edit 0: no edit's route alone */
	uint64_t changed_memory, changed_edit; /* of the one in which it changed */
	bool changed, after_failed;
	struct buf after;
};

struct canaries {
	struct canary *list;
	size_t count, cap;
	struct worker_canaries row;
	/* The engine's, kept from one candidate to the next: */
	const struct model *model; /* of all that follows; NULL: nothing follows */
	struct question *questions;
	size_t question_count;
	struct editor_kept *kept; /* of the first questions, in order; NULL: of none */
	struct version_routes routes;
};

int canaries__ask(void *context, struct model *model, struct store *blobs, const struct msg_canary_run *asked,
		  const struct editor_watch *watch, struct worker_canary_answer *out, struct err *e) MUST_CHECK;
int canaries__prepare(void *context, struct model *model, const void *calibration, size_t calibration_len,
		      const struct editor_watch *watch, bool *more, struct err *e) MUST_CHECK;
int canaries__roots(void *context, struct store *blobs, const struct msg_canary_run *asked, struct buf *out,
		    struct err *e) MUST_CHECK;
void canaries__forget(struct canaries *c); /* what is kept */

#endif
