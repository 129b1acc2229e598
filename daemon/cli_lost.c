/* cli_lost.c: what a wait tells besides of those waited for: other edits that had been trained and were lost meanwhile,
 * and which of them not every name of their subject answers. */
#include "daemon/cli_edit.h"

#include "store/store.h"

#define TOLD_MAX 20

struct lost {
	struct cli *cli;
	const struct cli_waited *waited;
	struct buf shards; /* of the edits waited for, uint64_t each */
	bool told;         /* name those that are found */
	uint64_t count;
};

/* The number-th of several. */
static void reason_tell(const struct cli *cli, const struct msg_edit *edit, uint64_t number)
{
	if (number <= TOLD_MAX || cli->verbose)
		cli_line(stderr, "amend: %.*s: %.*s", (int)edit->id.len, edit->id.len > 0 ? edit->id.text : "",
			 (int)edit->reason.len, edit->reason.len > 0 ? edit->reason.text : "");
}

static void more_tell(const struct cli *cli, uint64_t count)
{
	if (count > TOLD_MAX && !cli->verbose)
		cli_line(stderr, "… and %llu more; --verbose shows all", (unsigned long long)(count - TOLD_MAX));
}

static bool in_shards(const struct lost *l, uint64_t shard)
{
	const uint64_t *shards = (const void *)l->shards.data;
	for (size_t i = 0; i < l->shards.len / sizeof *shards; i++) {
		if (shards[i] == shard)
			return true;
	}
	return false;
}

/* An older coordinator does not say when an edit ended. One whose memory was lost is not trained until it is so again,
 * and yet had been in a version. */
static bool is_lost(const struct lost *l, const struct msg_edit *edit)
{
	return edit->state == STORE_EDIT_STATE_FAILED && (edit->trained_ms != 0 || edit->version != 0) &&
	       edit->ended_event > l->waited->since && (l->shards.len == 0 || in_shards(l, edit->shard));
}

static void page_take(struct lost *l, const struct msg_edit_list_reply *list)
{
	for (size_t i = 0; i < list->edit_count; i++) {
		const struct msg_edit *edit = &list->edits[i];
		if (!is_lost(l, edit))
			continue;
		l->count++;
		if (l->told)
			reason_tell(l->cli, edit, l->count);
	}
}

static int lost_look(struct lost *l, struct err *e)
{
	int rc = 0;
	l->count = 0;
	for (uint64_t from = 1; rc == 0 && from != 0;) {
		struct msg_edit_list ask = { .from_seq = from,
					     .state_mask = SM_TO(STORE_EDIT_STATE_FAILED),
					     .limit = CLI_PAGE_EDITS,
					     .ended_after = l->waited->since };
		struct msg_received *reply = NULL;
		rc = cli_edit_list_call(l->cli, ask, &reply, e);
		if (rc != 0)
			break;
		page_take(l, &reply->msg.u.edit_list_reply);
		from = reply->msg.u.edit_list_reply.next_seq;
		msg_free(&reply);
	}
	return rc;
}

/* --- those waited for */

struct walk {
	const struct cli_waited *waited;
	size_t at; /* the first that has not been met */
	void (*each)(void *context, const struct msg_edit *edit);
	void *context;
};

static void walk_page(struct walk *walk, const struct msg_edit_list_reply *list)
{
	const struct cli_waited *waited = walk->waited;
	for (size_t i = 0; i < list->edit_count; i++) {
		const struct msg_edit *edit = &list->edits[i];
		while (walk->at < waited->count && waited->seqs[walk->at] < edit->seq)
			walk->at++;
		if (walk->at < waited->count && waited->seqs[walk->at] == edit->seq)
			walk->each(walk->context, edit);
	}
}

static int walk_waited(struct cli *cli, struct walk walk, uint32_t state_mask, struct err *e)
{
	const struct cli_waited *waited = walk.waited;
	int rc = 0;
	for (uint64_t from = waited->seqs[0]; rc == 0 && from != 0 && from <= waited->seqs[waited->count - 1];) {
		struct msg_edit_list ask = { .from_seq = from, .state_mask = state_mask, .limit = CLI_PAGE_EDITS };
		struct msg_received *reply = NULL;
		rc = cli_edit_list_call(cli, ask, &reply, e);
		if (rc != 0)
			break;
		walk_page(&walk, &reply->msg.u.edit_list_reply);
		from = reply->msg.u.edit_list_reply.next_seq;
		msg_free(&reply);
	}
	return rc;
}

static void shard_take(void *context, const struct msg_edit *edit)
{
	struct lost *l = context;
	if (!in_shards(l, edit->shard))
		buf_append(&l->shards, &edit->shard, sizeof edit->shard);
}

static int shards_find(struct lost *l, struct err *e)
{
	const int rc = walk_waited(l->cli, (struct walk){ l->waited, 0, shard_take, l }, UINT32_MAX, e);
	return rc == 0 && buf_failed(&l->shards) ? err_set(e, ERR_NOMEM, "out of memory") : rc;
}

static int lost_find(struct lost *l, struct err *e)
{
	int rc = lost_look(l, e);
	if (rc != 0 || l->count == 0)
		return rc;
	if (l->waited->count > 0)
		rc = shards_find(l, e);
	l->told = true;
	return rc == 0 ? lost_look(l, e) : rc;
}

int cli_lost_tell(struct cli *cli, const struct cli_waited *waited, uint64_t *count)
{
	struct err e = ERR_INIT;
	struct lost l = { .cli = cli, .waited = waited, .shards = BUF_INIT };
	*count = 0;
	if (waited->since == CLI_WAITED_NONE)
		return CLI_OK;
	int rc = lost_find(&l, &e);
	buf_free(&l.shards);
	*count = rc == 0 ? l.count : 0;
	if (rc == 0)
		more_tell(cli, l.count);
	if (rc == 0 && l.count > 0)
		err_set(&e, ERR_INVALID,
			"%llu edit%s that had been trained before %s lost meanwhile: submit %s again under another id "
			"(`amend edit show ID` has the record), or revoke what took the place",
			(unsigned long long)l.count, cli_plural(l.count), l.count == 1 ? "was" : "were",
			l.count == 1 ? "it" : "each");
	return rc != 0 || l.count > 0 ? cli_fail(cli, &e) : CLI_OK;
}

struct unnamed {
	struct cli *cli;
	uint64_t count;
};

static void unnamed_take(void *context, const struct msg_edit *edit)
{
	struct unnamed *u = context;
	if (edit->reason.len > 0)
		reason_tell(u->cli, edit, ++u->count);
}

int cli_unnamed_tell(struct cli *cli, const uint64_t *seqs, size_t count)
{
	struct err e = ERR_INIT;
	struct unnamed u = { .cli = cli };
	const struct cli_waited waited = { .seqs = seqs, .count = count };
	if (cli->quiet || count == 0)
		return CLI_OK;
	const uint32_t states = SM_TO(STORE_EDIT_STATE_TRAINED) | SM_TO(STORE_EDIT_STATE_SERVED);
	if (walk_waited(cli, (struct walk){ &waited, 0, unnamed_take, &u }, states, &e) != 0)
		return cli_fail(cli, &e);
	more_tell(cli, u.count);
	return CLI_OK;
}
