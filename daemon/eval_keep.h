/* eval_keep.h: what an evaluation keeps in its report folder so that an interrupted one goes on: trained shards,
 * calibrations and finished checkpoints. A file is named by the hash of all that its content follows from, and carries
 * the content's own hash, which is checked when it is read. Threads: any, also at once; processes too. */
#ifndef AMEND_DAEMON_EVAL_KEEP_H
#define AMEND_DAEMON_EVAL_KEEP_H

#include "base/buf.h"
#include "base/hash.h"

#include <limits.h>
#include <stdatomic.h>

struct eval_keep {
	char folder[PATH_MAX];
	atomic_size_t reused, damaged; /* files read, and files that did not match their hash */
};

/* Makes `folder`/kept where it is not there. ERR_INVALID: an empty name; ERR_LIMIT: a path that is too long. */
int eval_keep_open(struct eval_keep *keep, const char *folder, struct err *e) MUST_CHECK;
/* ERR_NOT_FOUND: not there, or damaged (counted): make it again and put it. `out` is appended to. */
int eval_keep_get(struct eval_keep *keep, const char *kind, const struct hash *key, struct buf *out,
		  struct err *e) MUST_CHECK;
int eval_keep_put(struct eval_keep *keep, const char *kind, const struct hash *key, const struct buf *content,
		  struct err *e) MUST_CHECK;

#endif
