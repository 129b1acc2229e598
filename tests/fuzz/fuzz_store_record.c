/* Records of the ledger, and root chunks. The first byte chooses the table; the rest is a record behind its type,
 * hashed here as a rotten record would not be, so that what reads the fields is reached. Includes store/'s own headers:
 * no other way puts bytes of one's own under a key. Limits: -max_len=8192 -malloc_limit_mb=4 -rss_limit_mb=1024 */
#include "tests/fuzz/fuzz.h"

#include "store/record.h"
#include "tests/lib/test.h"

#define SEQ 7

enum { EDIT, SHARD, MERGE, VERSION, EVENT, ROOT, KINDS };

static struct store *store;
static char folder[TEST_PATH_BYTES];

static void remove_folder(void)
{
	store_close(&store);
	test_folder_remove(folder);
}

static void prepare(void)
{
	static struct env_manual clock_at;
	const struct store_options options = { .env = &clock_at.env };
	struct err e = ERR_INIT;
	if (store != NULL)
		return;
	env_manual_init(&clock_at, 1);
	test_folder_make(folder);
	fuzz_check(store_open(folder, &options, &store, &e) == 0, e.text);
	(void)atexit(remove_folder);
}

static const struct {
	enum store__table table;
	int type;
} kinds[] = {
	[EDIT] = { STORE__TABLE_EDIT, STORE__RECORD_EDIT },
	[SHARD] = { STORE__TABLE_SHARD, STORE__RECORD_SHARD },
	[MERGE] = { STORE__TABLE_MERGE, STORE__RECORD_MERGE },
	[VERSION] = { STORE__TABLE_VERSION, STORE__RECORD_VERSION },
	[EVENT] = { STORE__TABLE_EVENT, STORE_EVENT_EDIT_ACCEPTED },
};

static void read_back(struct store_txn *txn, int kind)
{
	struct store_edit edit;
	struct store_shard shard = { .id = 0 };
	struct store_merge merge;
	struct store_version version;
	struct store_event event;
	struct err e = ERR_INIT;
	uint64_t bad;
	switch (kind) {
	case EDIT:
		if (store_edit_get(txn, SEQ, &edit, &e) == 0)
			fuzz_check(edit.state >= 0 && edit.state < STORE_EDIT_STATE_COUNT, "no state of an edit");
		(void)!store_edit_next(txn, 0, UINT32_MAX, &edit, &e);
		break;
	case SHARD:
		if (store_shard_get(txn, SEQ, &shard, &e) == 0) {
			fuzz_check(shard.trained_count + shard.group_count <= shard.seq_count &&
					   shard.seq_count <= STORE_SHARD_EDITS_MAX,
				   "a shard with more edits than it has");
			store_shard_fini(&shard);
		}
		break;
	case MERGE:
		if (store_merge_get(txn, SEQ, &merge, &e) == 0)
			fuzz_check(merge.shard_count <= 64 && merge.state >= 0 && merge.state < STORE_MERGE_STATE_COUNT,
				   "a merge that cannot be");
		break;
	case VERSION:
		(void)!store_version_get(txn, SEQ, &version, &e);
		break;
	default:
		if (store_event_get(txn, SEQ, &event, &e) == 0)
			fuzz_check(event.seq == SEQ, "another event");
		(void)!store_event_verify(txn, &bad, &e);
	}
}

static void record(int kind, const uint8_t *data, size_t len)
{
	struct store_txn *txn = NULL;
	struct store__key key;
	struct err e = ERR_INIT;
	fuzz_check(store_begin(store, &txn, &e) == 0, e.text);
	store__key_number(SEQ, &key);
	buf_append(store__record_begin(txn, kinds[kind].type), data, len);
	fuzz_check(store__record_put(txn, kinds[kind].table, &key, &e) == 0, e.text);
	read_back(txn, kind);
	store_abort(&txn);
}

static void root(const uint8_t *data, size_t len)
{
	struct buf hashes = BUF_INIT;
	struct err e = ERR_INIT;
	uint64_t byte_count;
	if (store_root_parse(data, len, &hashes, &byte_count, &e) == 0)
		fuzz_check(byte_count <= hashes.len / HASH_BYTES * STORE_CHUNK_BYTES, "a blob longer than its chunks");
	buf_free(&hashes);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t len)
{
	if (len == 0)
		return 0;
	prepare();
	const int kind = data[0] % KINDS;
	if (kind == ROOT)
		root(data + 1, len - 1);
	else
		record(kind, data + 1, len - 1);
	return 0;
}

/* The fields that the store itself wrote. */
static void take(struct store_txn *txn, int kind, uint64_t number, struct buf *out)
{
	struct store__key key;
	struct reader fields;
	struct err e = ERR_INIT;
	store__key_number(number, &key);
	fuzz_check(store__record_get(txn, kinds[kind].table, &key, kinds[kind].type, &fields, &e) == 0, e.text);
	buf_append(out, fields.data + fields.at, fields.len - fields.at);
}

void fuzz_seeds(void (*add)(const void *bytes, size_t len))
{
	uint64_t seqs[] = { 1, 2, 3 };
	const struct store_edit edit = { .seq = SEQ, .id = "edit-7", .reason = "why", .valid_from_ms = 5 };
	const struct store_shard shard = {
		.id = 1, .seqs = seqs, .seq_count = 3, .trained_count = 1, .group_count = 1, .note = "cpu"
	};
	const struct store_merge merge = { .id = 1, .ranks = 2, .shards = { 1, 2 }, .shard_count = 2, .reason = "r" };
	const struct store_version version = { .version = 1, .note = "shard 1 version 1" };
	const uint8_t actor[STORE_KEY_BYTES] = { 9 };
	static const uint8_t root_chunk[48] = { 'A', 'M', 'R', 'T', 1, 0, 0, 0, 5 };
	struct store_txn *txn = NULL;
	struct err e = ERR_INIT;
	uint64_t seq = 0;
	prepare();
	fuzz_check(store_begin(store, &txn, &e) == 0, e.text);
	fuzz_check(store_event_append(txn, STORE_EVENT_EDIT_ACCEPTED, actor, "{}", 2, &seq, &e) == 0, e.text);
	fuzz_check(store_edit_put(txn, &edit, &e) == 0 && store_shard_put(txn, &shard, &e) == 0 &&
			   store_merge_put(txn, &merge, &e) == 0 && store_version_put(txn, &version, &e) == 0,
		   e.text);
	struct buf seeds[ROOT] = { BUF_INIT };
	for (int kind = 0; kind < ROOT; kind++)
		take(txn, kind, kind == EVENT ? seq : kind == EDIT ? SEQ : 1, &seeds[kind]);
	store_abort(&txn); /* before `add`, which may run the target */
	for (int kind = 0; kind < ROOT; kind++) {
		fuzz_add(add, (uint8_t)kind, seeds[kind].data, seeds[kind].len);
		buf_free(&seeds[kind]);
	}
	fuzz_add(add, ROOT, root_chunk, sizeof(root_chunk));
}
