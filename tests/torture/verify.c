#include "tests/torture/verify.h"

#include "base/arena.h"
#include "base/json.h"
#include "daemon/version_set.h"
#include "proto/keys.h"

#include <inttypes.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define MANIFEST_BYTES_MAX ((size_t)1 << 24)
#define ANSWERS_BYTES_MAX  ((size_t)1 << 26)

struct taken { /* an accepted record of the ledger */
	struct hash content;
	uint64_t seq;
	int state;
};

struct lease { /* of a shard, by the events so far */
	uint64_t epoch;
	char worker[65];
	bool ended;
};

struct look {
	struct store *store;
	struct store_txn *txn;
	const struct history *history;
	const struct verify_options *options;
	struct buf *out;
	struct verify_tally *tally;
	struct buf taken;  /* struct taken, by content and seq */
	struct buf leases; /* struct lease, by shard − 1 */
	uint64_t version;  /* of the last such event */
};

__attribute__((format(printf, 2, 3))) static void finding(struct look *l, const char *format, ...)
{
	char line[512];
	va_list args;
	if (l->tally->findings++ >= VERIFY_FINDINGS_SHOWN)
		return;
	va_start(args, format);
	vsnprintf(line, sizeof line, format, args);
	va_end(args);
	buf_printf(l->out, "%s\n", line);
}

static const struct taken *taken_at(const struct look *l, size_t index)
{
	return (const struct taken *)(const void *)l->taken.data + index;
}

static size_t taken_count(const struct look *l)
{
	return l->taken.len / sizeof(struct taken);
}

static int by_content(const void *a, const void *b)
{
	const struct taken *x = a, *y = b;
	int order = memcmp(x->content.bytes, y->content.bytes, HASH_BYTES);
	return order != 0 ? order : (x->seq > y->seq) - (x->seq < y->seq);
}

/* The first with that content, or the number of all. */
static size_t taken_find(const struct look *l, const struct hash *content)
{
	size_t low = 0, high = taken_count(l);
	while (low < high) {
		size_t middle = low + (high - low) / 2;
		if (memcmp(taken_at(l, middle)->content.bytes, content->bytes, HASH_BYTES) < 0)
			low = middle + 1;
		else
			high = middle;
	}
	return low < taken_count(l) && hash_equal(&taken_at(l, low)->content, content) ? low : taken_count(l);
}

static int taken_read(struct look *l, struct err *e)
{
	struct store_edit edit;
	int rc = 0;
	for (uint64_t from = 1; (rc = store_edit_next(l->txn, from, UINT32_MAX, &edit, e)) == 0; from = edit.seq + 1) {
		struct taken taken = { edit.content, edit.seq, edit.state };
		buf_append(&l->taken, &taken, sizeof taken);
		l->tally->edits++;
	}
	if (rc != ERR_NOT_FOUND)
		return rc;
	err_clear(e);
	if (buf_failed(&l->taken))
		return err_set(e, ERR_NOMEM, "edits: out of memory");
	if (l->taken.len > 0)
		qsort(l->taken.data, taken_count(l), sizeof(struct taken), by_content);
	return 0;
}

/* ---- I1, I2: what clients were told */

static void ack_check(struct look *l, const struct history_line *line)
{
	struct store_edit edit;
	struct err e = ERR_INIT;
	l->tally->acks++;
	if (store_edit_get(l->txn, line->seq, &edit, &e) != 0)
		finding(l, "I1: %s:%" PRIu64 ": %s was acknowledged as seq %" PRIu64 " and is not in the ledger",
			line->file, line->number, line->id, line->seq);
	else if (!hash_equal(&edit.content, &line->content))
		finding(l, "I1: %s:%" PRIu64 ": %s was acknowledged as seq %" PRIu64 ", which holds other bytes",
			line->file, line->number, line->id, line->seq);
	else if (strcmp(edit.id, line->id) != 0)
		finding(l, "I1: %s:%" PRIu64 ": %s was acknowledged as seq %" PRIu64 ", which is edit %s", line->file,
			line->number, line->id, line->seq, edit.id);
}

static bool asked(const struct history_line *line)
{
	return line->kind != HISTORY_INVOKE && line->kind != HISTORY_FAIL;
}

/* A record that every answer refused, and no request of which is without an answer, is nowhere. */
static void refusal_check(struct look *l, const struct history_line *line)
{
	const struct history *h = l->history;
	size_t invokes = 0, answers = 0;
	for (size_t i = 0; i < history_count(h); i++) {
		const struct history_line *other = history_at(h, i);
		if (!hash_equal(&other->content, &line->content))
			continue;
		if (asked(other))
			return;
		invokes += other->kind == HISTORY_INVOKE;
		answers += other->kind == HISTORY_FAIL;
	}
	if (invokes == answers && taken_find(l, &line->content) < taken_count(l))
		finding(l, "I2: %s:%" PRIu64 ": %s was refused (%s) and is seq %" PRIu64, line->file, line->number,
			line->id, line->code, taken_at(l, taken_find(l, &line->content))->seq);
}

static int contents_compare(const void *a, const void *b)
{
	return memcmp(a, b, HASH_BYTES);
}

/* Nothing is in the ledger that nobody asked for, and a record that lives is there once. */
static int ledger_check(struct look *l, struct err *e)
{
	struct buf contents = BUF_INIT;
	for (size_t i = 0; i < history_count(l->history); i++)
		buf_append(&contents, history_at(l->history, i)->content.bytes, HASH_BYTES);
	if (buf_failed(&contents))
		return err_set(e, ERR_NOMEM, "history: out of memory");
	if (contents.len > 0)
		qsort(contents.data, contents.len / HASH_BYTES, HASH_BYTES, contents_compare);
	for (size_t i = 0; i < taken_count(l); i++) {
		const struct taken *one = taken_at(l, i), *before = i > 0 ? one - 1 : NULL;
		if (before != NULL && hash_equal(&before->content, &one->content) &&
		    !sm_is_final(&store_edit_states, before->state))
			finding(l, "I1: seq %" PRIu64 " is the record of seq %" PRIu64 " taken again while it is %s",
				one->seq, before->seq, sm_state_name(&store_edit_states, before->state));
		if (l->options->only &&
		    (contents.len == 0 || bsearch(one->content.bytes, contents.data, contents.len / HASH_BYTES,
						  HASH_BYTES, contents_compare) == NULL))
			finding(l, "I2: seq %" PRIu64 " was asked for by nobody", one->seq);
	}
	buf_free(&contents);
	return 0;
}

static int history_check(struct look *l, struct err *e)
{
	for (size_t i = 0; i < history_count(l->history); i++) {
		const struct history_line *line = history_at(l->history, i);
		if (line->ns > l->options->until_ns)
			continue;
		if (line->kind == HISTORY_OK || line->kind == HISTORY_DUP)
			ack_check(l, line);
		else if (line->kind == HISTORY_FAIL && l->options->until_ns == UINT64_MAX)
			refusal_check(l, line);
	}
	return ledger_check(l, e);
}

/* ---- I4: shards and their leases */

static uint64_t member(const struct json *json, const char *name)
{
	const struct json *value = json_get(json, name);
	return value != NULL && json_is_integer(value) ? (uint64_t)json_integer(value) : 0;
}

static struct lease *lease_of(struct look *l, uint64_t shard)
{
	static const struct lease none;
	while (l->leases.len / sizeof none < shard)
		buf_append(&l->leases, &none, sizeof none);
	return shard > 0 && !buf_failed(&l->leases) ? (struct lease *)(void *)l->leases.data + (shard - 1) : NULL;
}

static void on_lease(struct look *l, const struct store_event *event, const struct json *json)
{
	struct lease *lease = lease_of(l, member(json, "shard"));
	const char *worker = json_string(json_get(json, "worker"), NULL);
	uint64_t epoch = member(json, "epoch");
	if (lease == NULL || epoch >> 32 != 0)
		return; /* a gate's */
	if (event->type == STORE_EVENT_LEASE_EXPIRED) {
		lease->ended |= lease->epoch == epoch;
		return;
	}
	if (epoch <= lease->epoch)
		finding(l, "I4: event %" PRIu64 ": epoch %" PRIu64 " of shard %" PRIu64 " comes after %" PRIu64,
			event->seq, epoch, member(json, "shard"), lease->epoch);
	*lease = (struct lease){ .epoch = epoch };
	snprintf(lease->worker, sizeof lease->worker, "%s", worker != NULL ? worker : "");
}

static void on_commit(struct look *l, const struct store_event *event, const struct json *json)
{
	const struct lease *lease = lease_of(l, member(json, "shard"));
	uint64_t epoch = member(json, "epoch");
	char actor[65];
	proto_key_hex(event->actor, actor);
	l->tally->commits++;
	if (lease == NULL || lease->epoch != epoch || lease->ended || strcmp(lease->worker, actor) != 0)
		finding(l,
			"I4: event %" PRIu64 ": shard %" PRIu64 " took a commit of epoch %" PRIu64
			" by %.8s; its lease is "
			"epoch %" PRIu64 " of %.8s%s",
			event->seq, member(json, "shard"), epoch, actor, lease != NULL ? lease->epoch : 0,
			lease != NULL ? lease->worker : "", lease != NULL && lease->ended ? ", ended" : "");
}

static bool live(int state)
{
	return state == STORE_EDIT_STATE_ACCEPTED || state == STORE_EDIT_STATE_PLACED ||
	       state == STORE_EDIT_STATE_TRAINED || state == STORE_EDIT_STATE_SERVED;
}

/* Returns how many live edits it holds. */
static uint64_t shard_check(struct look *l, const struct store_shard *shard)
{
	uint64_t count = 0;
	for (size_t i = 0; i < shard->seq_count; i++) {
		struct store_edit edit;
		struct err e = ERR_INIT;
		if (i > 0 && shard->seqs[i] <= shard->seqs[i - 1])
			finding(l, "I4: shard %" PRIu64 " holds %" PRIu64 " after %" PRIu64, shard->id, shard->seqs[i],
				shard->seqs[i - 1]);
		if (store_edit_get(l->txn, shard->seqs[i], &edit, &e) != 0) {
			finding(l, "I4: shard %" PRIu64 " holds %" PRIu64 ", which is no edit", shard->id,
				shard->seqs[i]);
			continue;
		}
		bool trained = edit.state == STORE_EDIT_STATE_TRAINED || edit.state == STORE_EDIT_STATE_SERVED;
		if (live(edit.state) && (edit.shard != shard->id || trained != (i < shard->trained_count)))
			finding(l,
				"I4: edit %" PRIu64 " of shard %" PRIu64 " is %s in place %zu of shard %" PRIu64
				" with %zu trained",
				edit.seq, edit.shard, sm_state_name(&store_edit_states, edit.state), i, shard->id,
				shard->trained_count);
		count += live(edit.state);
	}
	return count;
}

static int shards_check(struct look *l, struct err *e)
{
	struct store_shard shard;
	uint64_t held = 0, placed = 0, counts[STORE_EDIT_STATE_COUNT];
	int rc;
	for (uint64_t id = 1; (rc = store_shard_next(l->txn, id, &shard, e)) == 0; id = shard.id + 1) {
		held += shard_check(l, &shard);
		store_shard_fini(&shard);
	}
	if (rc != ERR_NOT_FOUND)
		return rc;
	err_clear(e);
	rc = store_edit_count(l->txn, counts, e);
	for (int state = 0; rc == 0 && state < STORE_EDIT_STATE_COUNT; state++)
		placed += live(state) && state != STORE_EDIT_STATE_ACCEPTED ? counts[state] : 0;
	if (rc == 0 && held < placed)
		finding(l, "I4: %" PRIu64 " edits are placed, %" PRIu64 " stand in shards", placed, held);
	return rc;
}

/* ---- I5: versions and what nodes answered */

static void root_check(struct look *l, const struct hash *root, const char *what, uint64_t id)
{
	struct buf damaged = BUF_INIT;
	struct err e = ERR_INIT;
	char hex[HASH_HEX_BYTES];
	if (hash_is_zero(root))
		return;
	hash_hex(root, hex);
	if (store_blob_damaged(l->store, root, &damaged, &e) != 0)
		finding(l, "I5: %s %" PRIu64 ": blob %.12s: %s", what, id, hex, e.text);
	else if (damaged.len > 0)
		finding(l, "I5: %s %" PRIu64 ": blob %.12s: %zu chunks are missing or damaged", what, id, hex,
			damaged.len / sizeof(struct hash));
	buf_free(&damaged);
}

static void version_check(struct look *l, uint64_t number)
{
	struct store_version version;
	struct proto_manifest manifest;
	struct arena *arena = NULL;
	struct buf roots = BUF_INIT;
	struct err e = ERR_INIT;
	int rc = store_version_get(l->txn, number, &version, &e);
	if (rc == 0)
		rc = arena_new((size_t)16 * 1024, MANIFEST_BYTES_MAX, &arena);
	if (rc == 0)
		rc = version_manifest_read(l->store, &version.root, &version.content, NULL, arena, &manifest, &e);
	if (rc == 0)
		rc = proto_manifest_roots(&manifest, &roots, &e);
	if (rc != 0)
		finding(l, "I5: version %" PRIu64 ": %s", number, e.text);
	for (size_t i = 0; rc == 0 && i < roots.len / sizeof(struct hash); i++)
		root_check(l, (const struct hash *)(const void *)roots.data + i, "version", number);
	buf_free(&roots);
	arena_destroy(&arena);
	l->tally->versions++;
}

/* A commit's blobs are there before the ledger names them. */
static int roots_check(struct look *l, struct err *e)
{
	struct buf roots = BUF_INIT;
	int rc = store_ledger_roots(l->txn, &roots, e);
	for (size_t i = 0; rc == 0 && i < roots.len / sizeof(struct hash); i++)
		root_check(l, (const struct hash *)(const void *)roots.data + i, "ledger root", i);
	buf_free(&roots);
	return rc;
}

static void on_published(struct look *l, const struct store_event *event, const struct json *json)
{
	uint64_t version = member(json, "version");
	if (version != l->version + 1)
		finding(l, "I5: event %" PRIu64 ": version %" PRIu64 " follows %" PRIu64, event->seq, version,
			l->version);
	l->version = version;
	version_check(l, version);
}

/* "NODE amend-BASE-vN-ROOT": of a published version, and never of an older one than before. */
static void answer_check(struct look *l, const char *line, uint64_t number, struct buf *nodes)
{
	struct last {
		char node[64];
		uint64_t version;
	} *last = NULL;
	struct store_version version;
	struct err e = ERR_INIT;
	char node[64], root[9], hex[HASH_HEX_BYTES];
	uint64_t v;
	if (sscanf(line, "%63s amend-%*8[0-9a-f]-v%" SCNu64 "-%8[0-9a-f]", node, &v, root) != 3) {
		finding(l, "I5: %s:%" PRIu64 ": no version in \"%.100s\"", l->options->answers, number, line);
		return;
	}
	l->tally->answers++;
	for (size_t i = 0; i < nodes->len / sizeof *last && last == NULL; i++) {
		struct last *one = (struct last *)(void *)nodes->data + i;
		last = strcmp(one->node, node) == 0 ? one : NULL;
	}
	if (last != NULL && v < last->version)
		finding(l, "I5: %s:%" PRIu64 ": %s answered from v%" PRIu64 " after v%" PRIu64, l->options->answers,
			number, node, v, last->version);
	if (last == NULL) {
		struct last one = { .version = v };
		snprintf(one.node, sizeof one.node, "%s", node);
		buf_append(nodes, &one, sizeof one);
	} else {
		last->version = v;
	}
	if (v == 0)
		return; /* the base model */
	if (store_version_get(l->txn, v, &version, &e) != 0) {
		finding(l, "I5: %s:%" PRIu64 ": %s answered from v%" PRIu64 ", which was not published",
			l->options->answers, number, node, v);
		return;
	}
	hash_hex(&version.root, hex);
	if (strncmp(hex, root, 8) != 0)
		finding(l, "I5: %s:%" PRIu64 ": %s answered from v%" PRIu64 " with root %s; the published is %.8s",
			l->options->answers, number, node, v, root, hex);
}

static int answers_check(struct look *l, struct err *e)
{
	struct buf text = BUF_INIT, nodes = BUF_INIT;
	int rc = l->options->answers != NULL ? file_read(l->options->answers, ANSWERS_BYTES_MAX, &text, e) : 0;
	char *at = rc == 0 && text.len > 0 ? (char *)(uintptr_t)buf_cstr(&text) : NULL, *end;
	for (uint64_t number = 1; at != NULL && (end = strchr(at, '\n')) != NULL; number++, at = end + 1) {
		*end = '\0';
		answer_check(l, at, number, &nodes);
	}
	buf_free(&text);
	buf_free(&nodes);
	return rc;
}

/* ---- I7 */

static int rest_check(struct look *l, struct err *e)
{
	int rc = 0;
	for (size_t i = 0; rc == 0 && i < taken_count(l); i++) {
		struct store_edit edit;
		rc = store_edit_get(l->txn, taken_at(l, i)->seq, &edit, e);
		if (rc != 0 || edit.state == STORE_EDIT_STATE_SERVED || edit.superseded_by != 0)
			continue;
		if (!sm_is_final(&store_edit_states, edit.state) || edit.reason[0] == '\0')
			finding(l, "I7: edit %" PRIu64 " (%s) is %s%s", edit.seq, edit.id,
				sm_state_name(&store_edit_states, edit.state),
				sm_is_final(&store_edit_states, edit.state) ? " without a reason" : "");
	}
	return rc;
}

/* ---- All */

static int events_check(struct look *l, struct err *e)
{
	uint64_t last = 0;
	int rc = store_event_last(l->txn, &last, NULL, e);
	for (uint64_t seq = 1; rc == 0 && seq <= last; seq++) {
		struct store_event event;
		struct json *json = NULL;
		rc = store_event_get(l->txn, seq, &event, e);
		l->tally->events++;
		if (rc != 0 || event.type == STORE_EVENT_EDIT_ACCEPTED ||
		    json_parse(event.payload, event.payload_len, &json, NULL) != 0)
			continue;
		if (event.type == STORE_EVENT_LEASE_GRANTED || event.type == STORE_EVENT_LEASE_EXPIRED)
			on_lease(l, &event, json);
		else if (event.type == STORE_EVENT_SHARD_COMMITTED)
			on_commit(l, &event, json);
		else if (event.type == STORE_EVENT_VERSION_PUBLISHED)
			on_published(l, &event, json);
		json_free(&json);
	}
	return rc;
}

/* I3 first: of a ledger that is damaged the rest would say little. */
static int look_at(struct look *l, struct err *e)
{
	struct store_ledger_tally ledger;
	int rc = store_ledger_verify(l->txn, &ledger, e);
	if (rc == ERR_CORRUPT || rc == ERR_NOT_FOUND) {
		finding(l, "I3: %s", e->text);
		err_clear(e);
		return 0;
	}
	if (rc == 0)
		rc = taken_read(l, e);
	if (rc == 0)
		rc = history_check(l, e);
	if (rc == 0)
		rc = events_check(l, e);
	if (rc == 0)
		rc = shards_check(l, e);
	if (rc == 0)
		rc = roots_check(l, e);
	if (rc == 0)
		rc = answers_check(l, e);
	return rc == 0 && l->options->rest ? rest_check(l, e) : rc;
}

int verify_store(struct store *store, const struct history *history, const struct verify_options *options,
		 struct buf *out, struct verify_tally *tally, struct err *e)
{
	struct look l = { .store = store, .history = history, .options = options, .out = out, .tally = tally };
	*tally = (struct verify_tally){ .findings = 0 };
	int rc = store_begin_read(store, &l.txn, e);
	if (rc == 0)
		rc = look_at(&l, e);
	store_abort(&l.txn);
	buf_free(&l.taken);
	buf_free(&l.leases);
	return rc == 0 && buf_failed(out) ? err_set(e, ERR_NOMEM, "findings: out of memory") : rc;
}
