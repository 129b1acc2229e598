/* needed.c: which blobs a version is made of, and which versions need a chunk. */
#include "coordinator/internal.h"

#include "base/order.h"
#include "proto/codec.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define RANGES_MAX 8 /* of versions, that a text names */
#define CANDIDATE  UINT64_MAX

int coordinator__manifest_roots(struct store *store, const struct hash *root, struct buf *roots, struct err *e)
{
	struct arena *arena = NULL;
	struct proto_manifest manifest;
	struct buf bytes = BUF_INIT;
	int rc = arena_new(1 << 16, 0, &arena) != 0 ? err_set(e, ERR_NOMEM, "out of memory") : 0;
	if (rc == 0)
		rc = store_blob_get(store, root, PROTO_MANIFEST_BYTES_MAX, &bytes, e);
	if (rc == 0)
		rc = proto_manifest_decode(bytes.data, bytes.len, arena, &manifest, e);
	buf_append(roots, root->bytes, HASH_BYTES);
	if (rc == 0)
		rc = proto_manifest_roots(&manifest, roots, e);
	buf_free(&bytes);
	arena_destroy(&arena);
	return rc;
}

/* --- The versions that need one of some chunks */

struct named_root {
	struct hash root;
	uint64_t version; /* 0: a shard or a merge names it; or CANDIDATE */
};

struct search {
	struct store *store;
	const struct buf *chunks; /* struct hash, ascending */
	struct buf named;         /* struct named_root */
	struct buf kept;          /* uint64_t: the versions that have blobs */
	const atomic_bool *stop;
	struct coordinator_damage *out;
};

static int stopped(const struct search *s, struct err *e)
{
	return s->stop != NULL && atomic_load(s->stop) ? err_set(e, ERR_INTERRUPTED, "the program ends") : 0;
}

static int by_hash(const void *a, const void *b)
{
	return memcmp(a, b, HASH_BYTES); /* of a named root: its first member */
}

static bool is_damaged(const struct search *s, const void *hash)
{
	return s->chunks->len > 0 &&
	       bsearch(hash, s->chunks->data, s->chunks->len / HASH_BYTES, HASH_BYTES, by_hash) != NULL;
}

static void needs(struct search *s, uint64_t version)
{
	if (version == 0)
		s->out->shards = true;
	else if (version == CANDIDATE)
		s->out->candidate = true;
	else
		buf_append(&s->out->versions, &version, sizeof version);
}

static void name_all(struct search *s, const struct buf *roots, uint64_t version)
{
	for (size_t at = 0; at < roots->len; at += HASH_BYTES) {
		struct named_root one = { .version = version };
		memcpy(one.root.bytes, roots->data + at, HASH_BYTES);
		buf_append(&s->named, &one, sizeof one);
	}
}

/* A manifest that cannot be read is one of a version that needs what is damaged. */
static int manifest_add(struct search *s, const struct hash *root, uint64_t version, struct err *e)
{
	struct buf roots = BUF_INIT;
	int rc = coordinator__manifest_roots(s->store, root, &roots, e);
	if (rc == ERR_NOT_FOUND || rc == ERR_CORRUPT) {
		err_clear(e);
		needs(s, version);
		rc = 0;
	} else if (rc == 0) {
		name_all(s, &roots, version);
	}
	buf_free(&roots);
	return rc;
}

static int version_add(struct search *s, uint64_t version, struct err *e)
{
	struct store_txn *txn = NULL;
	struct store_version rec;
	bool kept = false;
	int rc = store_begin_read(s->store, &txn, e);
	if (rc == 0)
		rc = store_version_kept(txn, version, &kept, e);
	if (rc == 0 && kept)
		rc = store_version_get(txn, version, &rec, e);
	store_abort(&txn);
	if (rc != 0 || !kept)
		return rc;
	buf_append(&s->kept, &version, sizeof version);
	return manifest_add(s, &rec.root, version, e);
}

static int ledger_add(struct search *s, uint64_t *last, struct err *e)
{
	struct store_txn *txn = NULL;
	struct store_version candidate;
	struct buf roots = BUF_INIT;
	bool waits = false;
	int rc = store_begin_read(s->store, &txn, e);
	if (rc == 0)
		rc = store_version_last(txn, last, e);
	if (rc == 0)
		rc = store_ledger_roots(txn, &roots, e);
	if (rc == 0) {
		rc = coordinator_candidate_get(txn, &candidate, e);
		waits = rc == 0;
	}
	if (rc == ERR_NOT_FOUND) {
		err_clear(e);
		rc = 0;
	}
	store_abort(&txn);
	if (rc == 0)
		name_all(s, &roots, 0);
	buf_free(&roots);
	return rc == 0 && waits ? manifest_add(s, &candidate.root, CANDIDATE, e) : rc;
}

static int root_look(const struct search *s, const struct hash *root, bool *damaged, struct err *e)
{
	struct buf chunk = BUF_INIT, list = BUF_INIT;
	uint64_t byte_count;
	*damaged = is_damaged(s, root);
	int rc = *damaged ? 0 : store_chunk_get(s->store, root, &chunk, e);
	if (rc == 0 && !*damaged)
		rc = store_root_parse(chunk.data, chunk.len, &list, &byte_count, e);
	for (size_t at = 0; rc == 0 && at < list.len && !*damaged; at += HASH_BYTES)
		*damaged = is_damaged(s, list.data + at);
	if (rc == ERR_NOT_FOUND || rc == ERR_CORRUPT) {
		err_clear(e);
		*damaged = true;
		rc = 0;
	}
	buf_free(&chunk);
	buf_free(&list);
	return rc;
}

/* Each blob is looked at once, however many versions it is in. */
static int roots_look(struct search *s, struct err *e)
{
	struct named_root *list = (void *)s->named.data;
	const size_t count = s->named.len / sizeof *list;
	bool damaged = false;
	int rc = buf_failed(&s->named) ? err_set(e, ERR_NOMEM, "out of memory for the list of blobs") : 0;
	if (rc == 0 && count > 0)
		qsort(list, count, sizeof *list, by_hash);
	for (size_t i = 0; rc == 0 && i < count; i++) {
		rc = stopped(s, e);
		if (rc == 0 && (i == 0 || !hash_equal(&list[i].root, &list[i - 1].root)))
			rc = root_look(s, &list[i].root, &damaged, e);
		if (rc == 0 && damaged)
			needs(s, list[i].version);
	}
	return rc;
}

static void versions_sort(struct buf *versions)
{
	uint64_t *list = (void *)versions->data;
	const size_t count = versions->len / sizeof *list;
	size_t kept = 0;
	if (count > 0)
		qsort(list, count, sizeof *list, order_u64);
	for (size_t i = 0; i < count; i++)
		if (kept == 0 || list[i] != list[kept - 1])
			list[kept++] = list[i];
	versions->len = kept * sizeof *list;
}

static void healthy_find(struct search *s)
{
	const uint64_t *kept = (const void *)s->kept.data, *list = (const void *)s->out->versions.data;
	const size_t count = s->out->versions.len / sizeof *list;
	for (size_t i = s->kept.len / sizeof *kept; i-- > 0 && s->out->healthy == 0;)
		if (count == 0 || bsearch(&kept[i], list, count, sizeof *list, order_u64) == NULL)
			s->out->healthy = kept[i];
}

int coordinator_damage_find(struct store *store, struct buf *chunks, const atomic_bool *stop,
			    struct coordinator_damage *out, struct err *e)
{
	struct search s = { .store = store, .chunks = chunks, .stop = stop, .out = out };
	uint64_t last = 0;
	*out = (struct coordinator_damage){ .chunk_count = chunks->len / HASH_BYTES };
	if (chunks->len > 0)
		qsort(chunks->data, chunks->len / HASH_BYTES, HASH_BYTES, by_hash);
	int rc = ledger_add(&s, &last, e);
	for (uint64_t v = 1; rc == 0 && v <= last; v++) {
		rc = stopped(&s, e);
		if (rc == 0)
			rc = version_add(&s, v, e);
	}
	if (rc == 0)
		rc = roots_look(&s, e);
	if (rc == 0 && (buf_failed(&out->versions) || buf_failed(&s.kept)))
		rc = err_set(e, ERR_NOMEM, "out of memory for a list of versions");
	if (rc == 0) {
		versions_sort(&out->versions);
		healthy_find(&s);
	}
	buf_free(&s.named);
	buf_free(&s.kept);
	if (rc != 0)
		coordinator_damage_fini(out);
	return rc;
}

void coordinator_damage_fini(struct coordinator_damage *damage)
{
	buf_free(&damage->versions);
	*damage = (struct coordinator_damage){ .chunk_count = 0 };
}

/* "versions 1, 3 to 7 and …" */
static void versions_text(const struct buf *versions, struct buf *out)
{
	const uint64_t *list = (const void *)versions->data;
	const size_t count = versions->len / sizeof *list;
	buf_puts(out, count == 1 ? "version" : "versions");
	for (size_t i = 0, ranges = 0; i < count; ranges++) {
		size_t to = i;
		while (to + 1 < count && list[to + 1] == list[to] + 1)
			to++;
		if (ranges == RANGES_MAX) {
			buf_puts(out, ", …");
			return;
		}
		buf_printf(out, "%s v%" PRIu64, ranges > 0 ? "," : "", list[i]);
		if (to > i)
			buf_printf(out, " to v%" PRIu64, list[to]);
		i = to + 1;
	}
}

void coordinator_damage_text(const struct coordinator_damage *damage, struct buf *out)
{
	const size_t version_count = damage->versions.len / sizeof(uint64_t);
	buf_printf(out, "%zu damaged chunk%s: ", damage->chunk_count, damage->chunk_count == 1 ? "" : "s");
	if (version_count > 0)
		versions_text(&damage->versions, out);
	if (damage->shards)
		buf_printf(out, "%sa shard or a merge", version_count > 0 ? ", and " : "");
	if (damage->candidate)
		buf_printf(out, "%sthe candidate for the next version",
			   version_count > 0 || damage->shards ? ", and " : "");
	if (version_count == 0 && !damage->shards && !damage->candidate) {
		buf_puts(out, "nothing needs what is damaged: `amend store gc` forgets it");
		return;
	}
	const bool one = !damage->shards && version_count + damage->candidate == 1;
	buf_printf(out, " need%s what is damaged", one ? "s" : "");
}

void coordinator_damage_advice(const struct coordinator_damage *damage, struct buf *out)
{
	if (damage->versions.len == 0 && !damage->shards) {
		if (damage->candidate)
			buf_puts(out, ": reject it (`amend version reject`), the next is made of what is whole");
		return;
	}
	buf_puts(out, ": restore a backup (`amend store restore`)");
	if (damage->healthy != 0 && damage->versions.len > 0)
		buf_printf(out, ", or go back to a version that is whole (`amend version rollback v%" PRIu64 "`)",
			   damage->healthy);
}
