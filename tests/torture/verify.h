/* verify.h: the invariants I1 to I5 and I7 of the promises, of a coordinator's store that nobody writes, of what
 * clients were told (history.h), and of what nodes answered. Each finding is one line that begins with the invariant
 * and names the offending record, event or line. */
#ifndef AMEND_TESTS_TORTURE_VERIFY_H
#define AMEND_TESTS_TORTURE_VERIFY_H

#include "store/store.h"
#include "tests/torture/history.h"

#define VERIFY_FINDINGS_SHOWN 20 /* more are counted */

struct verify_options {
	uint64_t until_ns;   /* of the history, what was said later is left out; UINT64_MAX: nothing */
	bool only;           /* the ledger holds nothing but what the history asked for */
	bool rest;           /* I7: all is at rest, so everything must be served or have ended with a reason */
	const char *answers; /* a file of what nodes answered, or NULL: lines "NODE FINGERPRINT" in their order */
};

struct verify_tally {
	uint64_t findings, acks, edits, events, versions, commits, answers; /* all but the first: that were looked at */
};

/* The lines go to `out`. An error means that it could not look; a damaged ledger is a finding. */
int verify_store(struct store *store, const struct history *history, const struct verify_options *options,
		 struct buf *out, struct verify_tally *tally, struct err *e) MUST_CHECK;

#endif
