/* cli_audit.c: `amend audit fsck`: whether the ledger of a stopped coordinator, or of a backup, was changed. */
#include "daemon/cli_store.h"

#include <inttypes.h>
#include <string.h>

struct chain {
	uint64_t event_count, bad_seq, head_seq; /* head_seq: the event with the hash of --head */
	struct hash head;
};

/* Looks for the event whose hash was written down before: what stands before it is as it was then. */
static int head_find(struct store_txn *txn, struct chain *chain, const struct hash *wanted, struct err *e)
{
	struct store_event event;
	char hex[HASH_HEX_BYTES];
	for (uint64_t seq = chain->event_count; seq > 0; seq--) {
		int rc = store_event_get(txn, seq, &event, e);
		if (rc != 0)
			return rc;
		if (hash_equal(&event.self, wanted)) {
			chain->head_seq = seq;
			return 0;
		}
	}
	hash_hex(wanted, hex);
	return err_set(e, ERR_CORRUPT,
		       "no event has the hash %s: the ledger was rewritten, or is older than that: compare it with a "
		       "backup",
		       hex);
}

static int chain_check(const char *folder, const struct hash *wanted, struct chain *chain, struct err *e)
{
	struct store *store = NULL;
	struct store_txn *txn = NULL;
	struct store_options options = { .env = env_system(), .inspect = true };
	int rc = store_open(folder, &options, &store, e);
	if (rc == 0)
		rc = store_begin_read(store, &txn, e);
	if (rc == 0)
		rc = store_event_verify(txn, &chain->bad_seq, e);
	if (rc == 0)
		rc = store_event_last(txn, &chain->event_count, &chain->head, e);
	if (rc == 0 && wanted != NULL)
		rc = head_find(txn, chain, wanted, e);
	store_abort(&txn);
	store_close(&store);
	return rc;
}

static int chain_emit(struct cli *cli, const char *folder, const struct chain *chain, bool whole)
{
	struct buf text = BUF_INIT;
	struct json_w w;
	char hex[HASH_HEX_BYTES];
	hash_hex(&chain->head, hex);
	json_w_init(&w, &text);
	json_w_open(&w, '{');
	json_w_member_str(&w, "folder", folder);
	json_w_member_bool(&w, "whole", whole);
	json_w_member_uint(&w, "events", chain->event_count);
	json_w_key(&w, "head");
	if (whole && chain->event_count > 0)
		json_w_str(&w, hex);
	else
		json_w_null(&w);
	json_w_key(&w, "bad_seq");
	if (chain->bad_seq != 0)
		json_w_uint(&w, chain->bad_seq);
	else
		json_w_null(&w);
	json_w_close(&w);
	return cli_emit(cli, &text);
}

static int chain_print(struct cli *cli, const char *folder, const struct chain *chain)
{
	char hex[HASH_HEX_BYTES];
	if (cli_is_structured(cli))
		return chain_emit(cli, folder, chain, true);
	hash_hex(&chain->head, hex);
	cli_line(stdout, "%s: %" PRIu64 " event%s, one chain without gaps", folder, chain->event_count,
		 cli_plural(chain->event_count));
	if (chain->event_count > 0)
		cli_line(stdout, "head %s", hex);
	if (chain->head_seq != 0)
		cli_line(stdout, "--head is event %" PRIu64 ": what stands before it is unchanged", chain->head_seq);
	return CLI_OK;
}

int cli_audit_fsck(struct cli *cli, const struct cli_args *args)
{
	struct err e = ERR_INIT;
	struct chain chain = { .event_count = 0 };
	struct hash wanted;
	char folder[PATH_MAX];
	const char *head = cli_value(args, "head");
	int rc = cli_store_folder(cli, args, folder, &e);
	if (rc == 0 && head != NULL && hash_parse(head, &wanted) != 0)
		rc = err_set(&e, ERR_INVALID, "--head: \"%.80s\" is no hash of 64 hexadecimal digits", head);
	if (rc != 0)
		return cli_misuse(&e);
	rc = chain_check(folder, head != NULL ? &wanted : NULL, &chain, &e);
	if (rc == 0)
		return chain_print(cli, folder, &chain);
	if (rc == ERR_CORRUPT && cli_is_structured(cli))
		(void)chain_emit(cli, folder, &chain, false);
	return cli_fail(cli, &e);
}
