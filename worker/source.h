/* source.h: inside worker/ only. Where a fetch asks for chunks: the relays in the order in which they were added, and
 * behind them the coordinator, which is asked for what no relay gives. A relay that cannot be reached, is silent or
 * makes one wait is left alone for 5 s, each time twice as long until it has given a window of chunks since; one that
 * gave wrong bytes for 320 s. */
#ifndef AMEND_WORKER_SOURCE_H
#define AMEND_WORKER_SOURCE_H

#include "worker/fetch.h"

#define WORKER__SOURCE_SILENT_US (4 * INT64_C(1000000)) /* two questions without an answer */

struct worker__source {
	struct proto_transport *transport;
	const char *name;
	int64_t left_until_us; /* a relay that is left alone */
	unsigned strikes;
	uint32_t given;                      /* chunks since it was left */
	int64_t asked_us, heard_us, gave_us; /* the last two: or it was asked when it owed nothing */
};

struct worker__sources {
	const struct env *env;
	struct worker__source list[WORKER_FETCH_RELAYS_MAX + 1]; /* the last is the coordinator */
	size_t count;
	int64_t patience_us;
	const struct worker__source *last; /* that gave something; NULL: none has */
	struct worker_fetch_counts counts;
};

void worker__sources_init(struct worker__sources *sources, const struct env *env, struct proto_transport *coordinator);
int worker__sources_add(struct worker__sources *sources, struct proto_transport *relay, const char *name,
			struct err *e) MUST_CHECK;
bool worker__source_is_relay(const struct worker__sources *sources, size_t index);
/* The first from `from` on that is not left alone. */
size_t worker__source_pick(const struct worker__sources *sources, size_t from);
void worker__source_begin(struct worker__sources *sources, size_t index); /* it owes something from now on */
void worker__source_asked(struct worker__sources *sources, size_t index);
void worker__source_heard(struct worker__sources *sources, size_t index);
void worker__source_gave(struct worker__sources *sources, size_t index, size_t byte_count);
/* It owes something, and is to be asked for it again. */
bool worker__source_quiet(const struct worker__sources *sources, size_t index);
/* A relay that owes something since then is so. WORKER_FETCH_FAULTS: it is not. */
enum worker_fetch_fault worker__source_judge(const struct worker__sources *sources, size_t index,
					     int64_t owes_since_us);
/* Counted; but for WORKER_FETCH_LACKING, which is of one chunk, it is left alone from now on. */
void worker__source_fault(struct worker__sources *sources, size_t index, enum worker_fetch_fault fault);

#endif
