/* canaries.h: questions that no edit is about, and what a version that is not published yet answers to them. A canary
 * counts as changed when the version sends it to a memory and that answers otherwise than the base model; in every set
 * that the version has. Files: JSON lines {"id":"…","prompt":"…"}, or "chat" instead of "prompt" for what a user says
 * first; other members are for people. */
#ifndef AMEND_DAEMON_CANARIES_H
#define AMEND_DAEMON_CANARIES_H

#include "worker/worker.h"

struct canaries;

/* Reads the shipped file, and `own` (NULL: none) beside it. An id stands once. ERR_INVALID: "FILE:LINE: reason". */
int canaries_open(const char *shipped, const char *own, struct canaries **out, struct err *e) MUST_CHECK;
void canaries_close(struct canaries **canaries);
size_t canaries_count(const struct canaries *canaries);
/* For worker_config; valid as long as they are open. */
const struct worker_canaries *canaries_worker(const struct canaries *canaries);

#endif
