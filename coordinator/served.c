/* served.c: an edit is served when every live node answers from a version that holds it; and how long that took. */
#include "coordinator/internal.h"
#include "base/order.h"

#include <stdlib.h>
#include <string.h>

const double coordinator__visible_bounds_s[VISIBLE_BUCKETS] = { 0.1, 0.25, 0.5, 1, 2, 3, 5, 10, 20, 60, 300, 3600 };

int coordinator__unserved_add(struct coordinator *c, uint64_t seq, uint64_t version, int64_t accepted_ms, struct err *e)
{
	if (c->unserved_count == c->unserved_cap) {
		size_t cap = c->unserved_cap == 0 ? 256 : c->unserved_cap * 2;
		struct unserved *list = fault_realloc(c->unserved, cap * sizeof *list);
		if (list == NULL)
			return err_set(e, ERR_NOMEM, "edits that wait to be served: out of memory");
		c->unserved = list;
		c->unserved_cap = cap;
	}
	c->unserved[c->unserved_count++] = (struct unserved){ seq, version, accepted_ms, false };
	return 0;
}

/* The version that every live node has reached; 0 without a node. */
static uint64_t watermark(const struct coordinator *c)
{
	uint64_t lowest = UINT64_MAX;
	for (size_t i = 0; i < c->peer_count; i++) {
		const struct peer *peer = c->peers[i];
		if (peer->kind == MSG_PEER_NODE && coordinator__peer_live(c, peer) && peer->version < lowest)
			lowest = peer->version;
	}
	return lowest == UINT64_MAX ? 0 : lowest;
}

static void visible_add(struct coordinator *c, double ms)
{
	uint64_t at = c->visible_count++;
	c->visible_sum_ms += ms;
	for (size_t i = 0; i < VISIBLE_BUCKETS; i++)
		c->visible_buckets[i] += ms <= coordinator__visible_bounds_s[i] * 1000;
	if (at >= VISIBLE_SAMPLES) /* reservoir sampling (Vitter 1985, algorithm R) */
		at = rng_below(&c->rng, at + 1);
	if (at < VISIBLE_SAMPLES)
		c->visible_ms[at] = ms;
}

void coordinator__visible_quantiles(const struct coordinator *c, double *p50, double *p99)
{
	size_t n = c->visible_count < VISIBLE_SAMPLES ? (size_t)c->visible_count : VISIBLE_SAMPLES;
	double *sorted = n > 0 ? fault_malloc(n * sizeof *sorted) : NULL;
	*p50 = *p99 = 0;
	if (sorted == NULL)
		return;
	memcpy(sorted, c->visible_ms, n * sizeof *sorted);
	qsort(sorted, n, sizeof *sorted, order_double);
	*p50 = sorted[(n - 1) / 2];
	*p99 = sorted[(n - 1) * 99 / 100];
	free(sorted);
}

static bool is_reached(const struct unserved *waiting, uint64_t reached)
{
	return waiting->version != 0 && waiting->version <= reached;
}

static int serve_batch(struct coordinator *c, uint64_t reached, size_t *taken, struct err *e)
{
	int64_t now = env_wall_ms(c->env);
	int rc = coordinator__begin(c, e);
	size_t marked = 0;
	for (*taken = 0; rc == 0 && *taken < c->unserved_count && marked < SERVED_BATCH; (*taken)++) {
		struct store_edit edit;
		struct unserved *waiting = &c->unserved[*taken];
		if (!is_reached(waiting, reached))
			continue;
		rc = store_edit_get(c->txn, waiting->seq, &edit, e);
		waiting->ended = rc == 0 && edit.state != STORE_EDIT_STATE_TRAINED;
		if (rc != 0 || waiting->ended)
			continue;
		edit.served_ms = now;
		edit.version = edit.version == 0 ? waiting->version : edit.version; /* a rollback brought it back */
		marked++;
		rc = coordinator__edit_move(c, &edit, STORE_EDIT_STATE_SERVED, NULL, e);
	}
	return rc == 0 ? coordinator__commit(c, NULL, NULL, e) : rc;
}

/* After the commit: what was served or ended leaves the list. */
static void list_shrink(struct coordinator *c, uint64_t reached, size_t taken)
{
	int64_t now = env_wall_ms(c->env);
	size_t kept = 0;
	for (size_t i = 0; i < c->unserved_count; i++) {
		if (i >= taken || !is_reached(&c->unserved[i], reached))
			c->unserved[kept++] = c->unserved[i];
		else if (!c->unserved[i].ended)
			visible_add(c, now > c->unserved[i].accepted_ms ? (double)(now - c->unserved[i].accepted_ms)
									: 0.0);
	}
	c->unserved_count = kept;
}

static bool any_served(const struct coordinator *c, uint64_t reached)
{
	for (size_t i = 0; i < c->unserved_count; i++) {
		if (is_reached(&c->unserved[i], reached))
			return true;
	}
	return false;
}

/* At the start the newest version's manifest could not be read. */
static bool is_unknown(struct coordinator *c)
{
	struct err unused = ERR_INIT;
	c->unserved_unknown = c->unserved_unknown && coordinator__unserved_look(c, &unused) != 0;
	return c->unserved_unknown;
}

void coordinator__served_advance(struct coordinator *c)
{
	const bool may = c->unserved_count > 0 && !coordinator__write_held(c) && !is_unknown(c);
	const uint64_t reached = may ? watermark(c) : 0;
	c->nodes_changed = false;
	if (reached == 0)
		return;
	while (c->failure.code == 0 && any_served(c, reached)) {
		struct err e = ERR_INIT;
		size_t taken = 0;
		if (serve_batch(c, reached, &taken, &e) != 0) {
			coordinator__txn_failed(c, &e);
			return;
		}
		list_shrink(c, reached, taken);
	}
}
