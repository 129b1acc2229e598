/* cli_store.c: `amend store verify`: reads all of a stopped program's data folder. */
#include "daemon/cli_store.h"

#include "base/fault.h"
#include "coordinator/coordinator.h"
#include "daemon/version_set.h"

#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

int cli_store_folder(const struct cli *cli, const struct cli_args *args, char out[PATH_MAX], struct err *e)
{
	int n = args->word_count > 0 ? snprintf(out, PATH_MAX, "%s", args->words[0])
				     : snprintf(out, PATH_MAX, "%s/coordinator", cli->data);
	return n < PATH_MAX ? 0 : err_set(e, ERR_INVALID, "the folder's path is longer than %d bytes", PATH_MAX);
}

struct verified {
	struct store_ledger_tally ledger;
	struct store_chunks_tally chunks;
	uint64_t blob_count, apart_count;
	struct err problems[4]; /* of the ledger, of versions, of chunks, who needs those; code 0: none */
};

/* --- Versions: what they are made of is there */

struct named_root {
	struct hash root;
	uint64_t version; /* 0: a shard or a merge names it */
};

static int root_order(const void *a, const void *b)
{
	return memcmp(a, b, sizeof(struct hash)); /* the first member; which version names it does not matter */
}

static int roots_name(struct buf *named, const struct buf *roots, uint64_t version, struct err *e)
{
	for (size_t at = 0; at < roots->len; at += sizeof(struct hash)) {
		struct named_root one = { .version = version };
		memcpy(&one.root, roots->data + at, sizeof one.root);
		buf_append(named, &one, sizeof one);
	}
	return buf_failed(named) ? err_set(e, ERR_NOMEM, "out of memory for the list of blobs") : 0;
}

/* After a rollback the old version's manifest, byte for byte, has a later number. */
static int number_check(struct store_txn *txn, const struct store_version *version, uint64_t number, struct err *e)
{
	struct store_version before;
	if (number == version->version)
		return 0;
	int rc = number < version->version ? store_version_get(txn, number, &before, e) : ERR_NOT_FOUND;
	if (rc == ERR_NOT_FOUND || (rc == 0 && !hash_equal(&before.root, &version->root)))
		return err_set(e, ERR_CORRUPT, "its manifest is that of version %" PRIu64, number);
	return rc;
}

static int manifest_roots(struct store *store, struct store_txn *txn, const struct store_version *version,
			  struct buf *named, struct err *e)
{
	struct arena *arena = NULL;
	struct proto_manifest manifest;
	struct buf roots = BUF_INIT;
	int rc = arena_new(1 << 16, 0, &arena) != 0 ? err_set(e, ERR_NOMEM, "out of memory for a manifest") : 0;
	if (rc == 0)
		rc = version_manifest_read(store, &version->root, &version->content, NULL, arena, &manifest, e);
	if (rc == 0)
		rc = proto_manifest_roots(&manifest, &roots, e);
	if (rc == 0)
		rc = roots_name(named, &roots, version->version, e);
	if (rc == 0)
		rc = number_check(txn, version, manifest.version, e);
	if (rc == ERR_NOT_FOUND || rc == ERR_CORRUPT || rc == ERR_INVALID) {
		err_wrap(e, "version %" PRIu64, version->version);
		e->code = rc = ERR_CORRUPT;
	}
	buf_free(&roots);
	arena_destroy(&arena);
	return rc;
}

static int candidate_roots(struct store *store, struct store_txn *txn, struct buf *named, struct err *e)
{
	struct store_version candidate;
	int rc = coordinator_candidate_get(txn, &candidate, e);
	if (rc == ERR_NOT_FOUND) {
		err_clear(e);
		return 0;
	}
	if (rc == 0)
		rc = manifest_roots(store, txn, &candidate, named, e);
	if (rc != 0)
		err_wrap(e, "the candidate");
	return rc;
}

static int versions_roots(struct store *store, struct store_txn *txn, struct buf *named, struct err *e)
{
	struct store_version version;
	struct buf roots = BUF_INIT;
	uint64_t last = 0;
	bool kept = true;
	int rc = store_ledger_roots(txn, &roots, e);
	if (rc == 0)
		rc = roots_name(named, &roots, 0, e);
	if (rc == 0)
		rc = store_version_last(txn, &last, e);
	for (uint64_t v = 1; rc == 0 && v <= last; v++) {
		rc = store_version_kept(txn, v, &kept, e);
		if (rc == 0 && kept)
			rc = store_version_get(txn, v, &version, e);
		if (rc == 0 && kept)
			rc = manifest_roots(store, txn, &version, named, e);
	}
	buf_free(&roots);
	return rc == 0 ? candidate_roots(store, txn, named, e) : rc;
}

static int root_whole(struct store *store, const struct named_root *named, uint64_t last, struct err *e)
{
	struct buf missing = BUF_INIT;
	char root[HASH_HEX_BYTES], chunk[HASH_HEX_BYTES], owner[48] = "a shard or a merge";
	int rc = store_blob_missing(store, &named->root, &missing, e);
	if (rc == 0 && missing.len > 0) {
		struct hash first;
		memcpy(&first, missing.data, sizeof first);
		hash_hex(&named->root, root);
		hash_hex(&first, chunk);
		if (named->version != 0)
			snprintf(owner, sizeof owner, "%sversion %" PRIu64,
				 named->version > last ? "the candidate for " : "", named->version);
		rc = err_set(
			e, ERR_CORRUPT,
			"%s: %zu chunk%s of blob %s missing or damaged, first %s: restore the folder from a backup",
			owner, missing.len / sizeof first, missing.len == sizeof first ? " is" : "s are", root, chunk);
	}
	buf_free(&missing);
	return rc;
}

static int versions_verify(struct store *store, struct store_txn *txn, struct verified *v, struct err *e)
{
	struct buf named = BUF_INIT;
	int rc = versions_roots(store, txn, &named, e);
	struct named_root *list = (void *)named.data;
	size_t count = named.len / sizeof *list;
	if (rc == 0 && count > 0)
		qsort(list, count, sizeof *list, root_order);
	for (size_t i = 0; rc == 0 && i < count; i++) {
		if (i > 0 && hash_equal(&list[i].root, &list[i - 1].root))
			continue;
		v->blob_count++;
		rc = root_whole(store, &list[i], v->ledger.version_count, e);
	}
	buf_free(&named);
	return rc;
}

/* --- Damaged chunks: those that are in their place, and those that were set apart */

static int damaged_list(struct store *store, struct verified *v, struct buf *chunks, struct err *e)
{
	struct store_scrub walk = { .begun = false };
	int rc = store_quarantine_list(store, SIZE_MAX, chunks, e);
	v->apart_count = chunks->len / HASH_BYTES;
	while (rc == 0 && v->chunks.bad_count > 0 && !walk.ended)
		rc = store_scrub_step(store, &walk, 1024, chunks, e);
	return rc;
}

static int damage_verify(struct store *store, struct verified *v, struct err *e)
{
	struct buf chunks = BUF_INIT, text = BUF_INIT;
	struct coordinator_damage damage = { .chunk_count = 0 };
	int rc = damaged_list(store, v, &chunks, e);
	if (rc == 0 && chunks.len > 0)
		rc = coordinator_damage_find(store, &chunks, NULL, &damage, e);
	if (rc == 0 && chunks.len > 0) {
		coordinator_damage_text(&damage, &text);
		if (damage.versions.len > 0 || damage.shards || damage.candidate)
			buf_puts(&text, ": start the coordinator, it fetches that from workers and nodes which have "
					"it; if none has");
		coordinator_damage_advice(&damage, &text);
		rc = err_set(e, ERR_CORRUPT, "%s", buf_failed(&text) ? "out of memory" : buf_cstr(&text));
	}
	coordinator_damage_fini(&damage);
	buf_free(&chunks);
	buf_free(&text);
	return rc;
}

/* --- The whole folder */

/* What is damaged in one part does not hide what is in another. */
static int part_end(int rc, struct err *problem, struct err *e)
{
	if (rc == 0 || rc == ERR_CORRUPT)
		return 0;
	*e = *problem;
	return rc;
}

static int folder_verify(const char *folder, bool cache, struct verified *v, struct err *e)
{
	struct store *store = NULL;
	struct store_txn *txn = NULL;
	struct store_options options = { .env = env_system(), .inspect = true, .blobs_only = cache };
	int rc = store_open(folder, &options, &store, e);
	if (rc == 0 && !cache)
		rc = store_begin_read(store, &txn, e);
	if (rc == 0 && !cache)
		rc = part_end(store_ledger_verify(txn, &v->ledger, &v->problems[0]), &v->problems[0], e);
	if (rc == 0 && !cache && v->problems[0].code == 0)
		rc = part_end(versions_verify(store, txn, v, &v->problems[1]), &v->problems[1], e);
	if (rc == 0)
		rc = part_end(store_chunks_verify(store, &v->chunks, &v->problems[2]), &v->problems[2], e);
	if (rc == 0 && !cache && v->problems[0].code == 0)
		rc = part_end(damage_verify(store, v, &v->problems[3]), &v->problems[3], e);
	store_abort(&txn);
	store_close(&store);
	return rc;
}

static int verified_emit(struct cli *cli, const char *folder, const struct verified *v)
{
	struct buf text = BUF_INIT;
	struct json_w w;
	json_w_init(&w, &text);
	json_w_open(&w, '{');
	json_w_member_str(&w, "folder", folder);
	json_w_member_uint(&w, "events", v->ledger.event_count);
	json_w_member_uint(&w, "edits", v->ledger.edit_count);
	json_w_member_uint(&w, "versions", v->ledger.version_count);
	json_w_member_uint(&w, "records", v->ledger.record_count);
	json_w_member_uint(&w, "blobs", v->blob_count);
	json_w_member_uint(&w, "chunks", v->chunks.chunk_count);
	json_w_member_uint(&w, "chunk_bytes", v->chunks.byte_count);
	json_w_member_uint(&w, "bad_chunks", v->chunks.bad_count);
	json_w_member_uint(&w, "apart_chunks", v->apart_count);
	json_w_key(&w, "bad_seq");
	if (v->ledger.bad_seq != 0)
		json_w_uint(&w, v->ledger.bad_seq);
	else
		json_w_null(&w);
	json_w_key(&w, "problems");
	json_w_open(&w, '[');
	for (size_t i = 0; i < sizeof v->problems / sizeof v->problems[0]; i++)
		if (v->problems[i].code != 0)
			json_w_str(&w, v->problems[i].text);
	json_w_close(&w);
	json_w_close(&w);
	return cli_emit(cli, &text);
}

static void verified_print(const char *folder, bool cache, const struct verified *v)
{
	const struct store_ledger_tally *l = &v->ledger;
	if (!cache)
		cli_line(stdout,
			 "%s: %" PRIu64 " event%s, %" PRIu64 " edit%s, %" PRIu64 " version%s, %" PRIu64
			 " other records, %" PRIu64 " blob%s",
			 folder, l->event_count, cli_plural(l->event_count), l->edit_count, cli_plural(l->edit_count),
			 l->version_count, cli_plural(l->version_count),
			 l->record_count - l->edit_count - l->version_count, v->blob_count, cli_plural(v->blob_count));
	cli_line(stdout, "%s: %" PRIu64 " chunk%s, %" PRIu64 " bytes", folder, v->chunks.chunk_count,
		 cli_plural(v->chunks.chunk_count), v->chunks.byte_count);
}

int cli_store_verify(struct cli *cli, const struct cli_args *args)
{
	struct err e = ERR_INIT;
	char folder[PATH_MAX];
	const bool cache = cli_switch(args, "cache");
	struct verified v = { .problems = { ERR_INIT, ERR_INIT, ERR_INIT, ERR_INIT } };
	int status = CLI_OK;
	if (cli_store_folder(cli, args, folder, &e) != 0 ||
	    (cache && args->word_count == 0 && err_set(&e, ERR_INVALID, "--cache: name the worker's or node's FOLDER")))
		return cli_misuse(&e);
	if (folder_verify(folder, cache, &v, &e) != 0)
		return cli_fail(cli, &e);
	if (cli_is_structured(cli))
		status = verified_emit(cli, folder, &v);
	else
		verified_print(folder, cache, &v);
	for (size_t i = 0; i < sizeof v.problems / sizeof v.problems[0]; i++)
		if (v.problems[i].code != 0)
			status = cli_fail(cli, &v.problems[i]);
	return status;
}
