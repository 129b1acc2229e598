/* cli_wait.c: `amend edit wait`, and --wait of other commands: follows edits until every node serves them. */
#include "daemon/cli_edit.h"

#include "base/order.h"
#include "store/store.h"

#include <stdio.h>
#include <stdlib.h>

#define POLL_MS  100
#define FLEET_MS 1000

struct counts {
	uint64_t waiting, served, ended, scheduled;
};

static uint64_t least(uint64_t a, uint64_t b)
{
	return a < b ? a : b;
}

/* Edits that are neither served nor at an end of another kind. Without a node, what is published has come as far as it
 * can. */
static int counts_get(struct cli *cli, bool nodes, struct counts *out, struct err *e)
{
	struct msg_received *reply = NULL;
	int rc = cli_edit_list_call(cli, (struct msg_edit_list){ .counts_only = true, .state_mask = UINT32_MAX },
				    &reply, e);
	*out = (struct counts){ 0 };
	for (size_t i = 0; rc == 0 && i < reply->msg.u.edit_list_reply.state_count; i++) {
		uint64_t n = reply->msg.u.edit_list_reply.state_counts[i];
		bool served = i == STORE_EDIT_STATE_SERVED || (i == STORE_EDIT_STATE_TRAINED && !nodes);
		bool waiting = !served && i <= STORE_EDIT_STATE_SERVED;
		bool scheduled = i == STORE_EDIT_STATE_SCHEDULED;
		*(served ? &out->served : waiting ? &out->waiting : scheduled ? &out->scheduled : &out->ended) += n;
	}
	msg_free(&reply);
	return rc;
}

/* What the waits know of the fleet. Done: a member that fails was told of, or this key may not ask. */
struct fleet {
	bool nodes, done, waiting, held_told;
	bool own; /* this key may see its own edits alone */
	int64_t asked_ms;
};

static void failing_tell(struct cli *cli, struct fleet *fleet, const struct msg_fleet_member *m,
			 struct cli_progress *progress)
{
	fleet->done = true;
	if (progress != NULL)
		cli_progress_break(cli, progress);
	char what[64] = "";
	if (m->failed_version != 0)
		snprintf(what, sizeof what, " cannot load v%llu and tries again",
			 (unsigned long long)m->failed_version);
	cli_line(stderr, "amend: %.*s%s: %.*s; `amend fleet status` shows it as long as it lasts", (int)m->name.len,
		 m->name.text, what, (int)m->failed_reason.len, m->failed_reason.len > 0 ? m->failed_reason.text : "");
}

/* Why newer edits are not published, once: nothing else would say why the wait lasts. */
static void held_tell(struct cli *cli, struct fleet *fleet, struct msg_text held, struct cli_progress *progress)
{
	if (held.len == 0 || fleet->held_told || !fleet->waiting)
		return;
	fleet->held_told = true;
	if (progress != NULL)
		cli_progress_break(cli, progress);
	cli_line(stderr, "amend: %.*s", (int)held.len, held.text);
}

/* `progress` may be NULL: nothing is drawn. */
static int fleet_ask(struct cli *cli, struct fleet *fleet, struct cli_progress *progress, struct err *e)
{
	struct msg request = { .type = MSG_FLEET };
	struct msg_received *reply = NULL;
	fleet->asked_ms = env_monotonic_ms(cli->env);
	int rc = cli_call(cli, &request, &reply, e);
	if (rc ==
	    ERR_DENIED) { /* a key that may submit and see its edits: they are served by nodes, as far as it knows */
		fleet->nodes = fleet->done = fleet->own = true;
		err_clear(e);
		return 0;
	}
	for (size_t i = 0; rc == 0 && i < reply->msg.u.fleet_reply.member_count; i++) {
		const struct msg_fleet_member *m = &reply->msg.u.fleet_reply.members[i];
		fleet->nodes = fleet->nodes || m->kind == MSG_PEER_NODE;
		if (m->failing && !fleet->done)
			failing_tell(cli, fleet, m, progress);
	}
	if (rc == 0)
		held_tell(cli, fleet, reply->msg.u.fleet_reply.publish_held, progress);
	msg_free(&reply);
	return rc;
}

/* While edits are not served. A call that fails is left to the next of the edits. */
static void fleet_watch(struct cli *cli, struct fleet *fleet, struct cli_progress *progress)
{
	struct err e = ERR_INIT;
	fleet->waiting = true;
	if (!fleet->done && !cli->interrupted && env_monotonic_ms(cli->env) - fleet->asked_ms >= FLEET_MS)
		(void)fleet_ask(cli, fleet, progress, &e);
}

static int wait_summary(struct cli *cli, const struct counts *c, uint64_t lost)
{
	int status = CLI_OK;
	if (cli_is_structured(cli)) {
		struct buf text = BUF_INIT;
		struct json_w w;
		json_w_init(&w, &text);
		json_w_open(&w, '{');
		json_w_member_uint(&w, "served", c->served);
		json_w_member_uint(&w, "waiting", c->waiting);
		json_w_member_uint(&w, "ended_otherwise", c->ended);
		json_w_member_uint(&w, "scheduled", c->scheduled);
		json_w_member_uint(&w, "lost", lost);
		json_w_close(&w);
		status = cli_emit(cli, &text);
	} else {
		printf("%llu served, %llu waiting, %llu ended otherwise (superseded, failed, …)",
		       (unsigned long long)c->served, (unsigned long long)c->waiting, (unsigned long long)c->ended);
		if (c->scheduled > 0)
			printf(", %llu scheduled", (unsigned long long)c->scheduled);
		printf("\n");
	}
	return c->waiting == 0 ? status : CLI_PENDING;
}

/* `c` is what was known last: the call that is interrupted tells nothing new. */
static int counts_wait(struct cli *cli, struct fleet *fleet, struct counts *c, struct err *e)
{
	struct cli_progress progress;
	uint64_t total = c->waiting, done = 0;
	const uint64_t ended_before = c->ended;
	int rc = 0;
	cli_progress_begin(cli, &progress, "served", "edits", total);
	cli->wait->progress = &progress;
	while (rc == 0 && c->waiting > 0 && !cli->interrupted && !cli_wait_over(cli)) {
		struct counts now;
		cli_pause(cli, POLL_MS);
		rc = counts_get(cli, fleet->nodes, &now, e);
		if (rc == 0)
			*c = now;
		if (rc == 0 && c->waiting > 0)
			fleet_watch(cli, fleet, &progress);
		total = c->waiting > total ? c->waiting : total;
		progress.total = total;
		done = total - c->waiting;
		done -= c->ended > ended_before && c->ended - ended_before <= done ? c->ended - ended_before : 0;
		cli_progress_set(cli, &progress, done);
	}
	if (total > 0)
		cli_progress_end(cli, &progress, done);
	cli->wait->progress = NULL;
	return cli->interrupted ? ERR_INTERRUPTED : rc;
}

/* --- one edit */

static bool has_come(const struct msg_edit *edit, bool nodes)
{
	return edit->state == STORE_EDIT_STATE_SERVED || (edit->state == STORE_EDIT_STATE_TRAINED && !nodes);
}

/* `id` is what the user called it. */
static int edit_judge(const struct msg_edit *edit, const char *id, bool nodes, bool *done, struct err *e)
{
	const char *state = sm_state_name(&store_edit_states, (int)edit->state);
	*done = has_come(edit, nodes);
	if (*done || edit->state < STORE_EDIT_STATE_SERVED)
		return 0;
	if (edit->state == STORE_EDIT_STATE_SCHEDULED) {
		char time[ENV_TIME_BYTES];
		env_time_format(edit->valid_from_ms, time);
		return err_set(e, ERR_AGAIN, "%s: scheduled: it begins at %s; wait for it then", id, time);
	}
	if (edit->reason.len > 0)
		return err_set(e, ERR_INVALID, "%s: %s: %.*s", id, state, (int)edit->reason.len, edit->reason.text);
	return err_set(e, ERR_INVALID, "%s: %s; `amend edit show %s` says more", id, state, id);
}

static void served_say(const struct cli *cli, const struct msg_edit *edit, const char *id)
{
	bool served = edit->state == STORE_EDIT_STATE_SERVED;
	if (!cli_is_structured(cli) && cli->output != CLI_NAME)
		cli_line(stdout, served ? "%s is served as v%llu" : "%s is published as v%llu; no node is there", id,
			 (unsigned long long)edit->version);
	if (edit->reason.len > 0 && !cli->quiet) /* it is, and yet not by every name of its subject */
		cli_line(stderr, "amend: %s: %.*s", id, (int)edit->reason.len, edit->reason.text);
}

/* *waited: `seq` when it was not served yet. */
static int wait_one(struct cli *cli, uint64_t seq, const char *id, struct fleet *fleet, uint64_t *waited, struct err *e)
{
	for (*waited = CLI_WAITED_NONE;;) {
		struct msg_received *reply = NULL;
		bool done = false;
		int rc = cli_edit_get(cli, seq, false, &reply, e);
		if (rc == ERR_INTERRUPTED)
			return err_set(e, rc, "interrupted: %s is not served yet; it goes on without us", id);
		if (rc != 0)
			return rc;
		const struct msg_edit *edit = &reply->msg.u.edit_list_reply.edits[0];
		rc = edit_judge(edit, id, fleet->nodes, &done, e);
		if (done)
			served_say(cli, edit, id);
		int state = (int)edit->state;
		msg_free(&reply);
		if (rc != 0 || done)
			return rc;
		if (!cli->interrupted && cli_wait_over(cli))
			return err_set(e, ERR_AGAIN, "%s: still %s; `amend edit wait %s` waits on", id,
				       sm_state_name(&store_edit_states, state), id);
		*waited = seq;
		fleet_watch(cli, fleet, NULL);
		cli_pause(cli, POLL_MS);
	}
}

static int wait_named(struct cli *cli, const char *name, struct fleet *fleet, struct buf *waited, struct err *e)
{
	struct msg_received *reply = NULL;
	int rc = cli_edit_find(cli, name, false, &reply, e);
	if (rc == ERR_INTERRUPTED)
		return err_set(e, rc, "interrupted: %s is not served yet; it goes on without us", name);
	if (rc != 0)
		return rc;
	uint64_t seq = reply->msg.u.edit_list_reply.edits[0].seq;
	msg_free(&reply);
	rc = wait_one(cli, seq, name, fleet, &seq, e);
	if (seq != CLI_WAITED_NONE)
		buf_append(waited, &seq, sizeof seq);
	return rc;
}

/* What was lost meanwhile is as bad as one that is not served; `status` is what else there is to say. */
static int lost_tell(struct cli *cli, uint64_t since, const uint64_t *seqs, size_t count, int status)
{
	uint64_t lost;
	const struct cli_waited waited = { since, seqs, count };
	const int told = cli->interrupted ? CLI_OK : cli_lost_tell(cli, &waited, &lost);
	return status == CLI_OK ? told : status;
}

/* What is wrong with one edit says nothing of the next; the first failure's exit code counts. */
static int wait_each(struct cli *cli, const struct cli_args *args, struct fleet *fleet)
{
	struct buf waited = BUF_INIT;
	int status = CLI_OK, rc = 0;
	for (int i = 0; i < args->word_count && rc != ERR_TIMEOUT && rc != ERR_INTERRUPTED; i++) {
		struct err e = ERR_INIT;
		rc = wait_named(cli, args->words[i], fleet, &waited, &e);
		if (rc == 0)
			continue;
		int failed = cli_fail(cli, &e);
		status = status == CLI_OK || cli->interrupted ? failed : status;
	}
	uint64_t *seqs = (void *)waited.data;
	const size_t count = waited.len / sizeof *seqs;
	if (buf_failed(&waited))
		status = cli_out_of_memory(cli);
	else if (count > 0 && rc != ERR_TIMEOUT) {
		qsort(seqs, count, sizeof *seqs, order_u64);
		status = lost_tell(cli, seqs[0], seqs, count, status);
	}
	buf_free(&waited);
	return status;
}

int cli_edit_wait_seq(struct cli *cli, uint64_t seq, const char *id, bool is_new)
{
	struct err e = ERR_INIT;
	struct fleet fleet = { .nodes = false };
	struct cli_wait wait;
	cli_wait_begin(cli, &wait);
	uint64_t waited = CLI_WAITED_NONE;
	int rc = fleet_ask(cli, &fleet, NULL, &e);
	if (rc == 0)
		rc = wait_one(cli, seq, id, &fleet, &waited, &e);
	int status = rc == 0 ? CLI_OK : cli_fail(cli, &e);
	if (rc != ERR_TIMEOUT)
		status = lost_tell(cli, is_new ? seq : waited, &seq, 1, status);
	cli->wait = NULL;
	return status;
}

/* --- those of a file */

struct seqs {
	const uint64_t *list; /* ascending */
	size_t count;
};

/* How many of them are in a state of the mask. *first: the least of those. A call that fails changes neither. */
static int seqs_in(struct cli *cli, struct seqs seqs, uint32_t mask, uint64_t *found, uint64_t *first, struct err *e)
{
	int rc = 0;
	size_t at = 0;
	uint64_t count = 0, least = *first;
	for (uint64_t from = *first; rc == 0 && from != 0 && from <= seqs.list[seqs.count - 1];) {
		struct msg_edit_list ask = { .from_seq = from, .state_mask = mask, .limit = CLI_PAGE_EDITS };
		struct msg_received *reply = NULL;
		rc = cli_edit_list_call(cli, ask, &reply, e);
		if (rc != 0)
			break;
		const struct msg_edit_list_reply *list = &reply->msg.u.edit_list_reply;
		for (size_t i = 0; i < list->edit_count; i++) {
			while (at < seqs.count && seqs.list[at] < list->edits[i].seq)
				at++;
			if (at == seqs.count || seqs.list[at] != list->edits[i].seq)
				continue;
			if (count++ == 0)
				least = seqs.list[at];
		}
		from = list->next_seq;
		msg_free(&reply);
	}
	if (rc == 0) {
		*found = count;
		*first = least;
	}
	return rc;
}

static uint32_t waiting_mask(bool nodes)
{
	return SM_TO(STORE_EDIT_STATE_ACCEPTED) | SM_TO(STORE_EDIT_STATE_PLACED) |
	       (nodes ? SM_TO(STORE_EDIT_STATE_TRAINED) : 0);
}

static uint32_t ended_mask(void)
{
	uint32_t ended = 0;
	for (int state = STORE_EDIT_STATE_SERVED + 1; state < STORE_EDIT_STATE_COUNT; state++)
		ended |= SM_TO(state);
	return ended;
}

/* Looks how many wait, from *first on, and, when some do no more, how many of all have ended otherwise. */
static int seqs_look(struct cli *cli, struct seqs seqs, const struct fleet *fleet, struct counts *c, uint64_t *first,
		     struct err *e)
{
	uint64_t before = c->waiting, start = seqs.list[0];
	int rc = seqs_in(cli, seqs, waiting_mask(fleet->nodes), &c->waiting, first, e);
	if (rc == 0 && c->waiting != before)
		rc = seqs_in(cli, seqs, ended_mask(), &c->ended, &start, e);
	c->served = seqs.count - c->waiting - (c->ended < seqs.count - c->waiting ? c->ended : seqs.count - c->waiting);
	return rc;
}

/* *since: at most the first of them that waits. */
static int seqs_wait(struct cli *cli, struct seqs seqs, struct fleet *fleet, struct counts *c, uint64_t *since,
		     struct err *e)
{
	struct cli_progress progress;
	uint64_t first = seqs.list[0];
	c->waiting = seqs.count; /* as far as is known */
	cli_progress_begin(cli, &progress, "served", "edits", seqs.count);
	cli->wait->progress = &progress;
	int rc = seqs_look(cli, seqs, fleet, c, &first, e);
	if (rc == 0 && c->waiting > 0)
		*since = least(*since, first);
	while (rc == 0 && c->waiting > 0 && !cli->interrupted && !cli_wait_over(cli)) {
		cli_pause(cli, POLL_MS + (int64_t)(c->waiting / 10)); /* long lists cost the coordinator more */
		rc = seqs_look(cli, seqs, fleet, c, &first, e);
		if (rc == 0 && c->waiting > 0)
			fleet_watch(cli, fleet, &progress);
		cli_progress_set(cli, &progress, c->served);
	}
	cli_progress_end(cli, &progress, c->served);
	cli->wait->progress = NULL;
	return cli->interrupted ? ERR_INTERRUPTED : rc;
}

static int seqs_end(struct cli *cli, struct seqs seqs, const struct counts *c, struct err *e)
{
	uint64_t superseded = 0, first = seqs.list[0]; /* scheduled ones have not failed either */
	int rc = seqs_in(cli, seqs, SM_TO(STORE_EDIT_STATE_SUPERSEDED) | SM_TO(STORE_EDIT_STATE_SCHEDULED), &superseded,
			 &first, e);
	if (rc != 0)
		return cli_fail(cli, e);
	if (c->waiting > 0)
		rc = err_set(e, ERR_AGAIN, "%llu of %zu edits are not served yet; `amend edit wait` waits on",
			     (unsigned long long)c->waiting, seqs.count);
	else if (c->ended > superseded)
		rc = err_set(e, ERR_INVALID, "%llu of %zu edits have failed; `amend edit list --state failed` says why",
			     (unsigned long long)(c->ended - superseded), seqs.count);
	return rc != 0 ? cli_fail(cli, e) : CLI_OK;
}

int cli_edit_wait_seqs(struct cli *cli, const uint64_t *list, size_t count, uint64_t new_seq)
{
	struct err e = ERR_INIT;
	struct counts c = { 0 };
	struct seqs seqs = { list, count };
	struct fleet fleet = { .nodes = false };
	struct cli_wait wait;
	if (count == 0)
		return CLI_OK;
	cli_wait_begin(cli, &wait);
	int rc = fleet_ask(cli, &fleet, NULL, &e);
	if (rc == 0)
		rc = seqs_wait(cli, seqs, &fleet, &c, &new_seq, &e);
	if (rc == ERR_INTERRUPTED)
		err_set(&e, rc,
			"interrupted: what was accepted is still trained and served; `amend edit wait` waits on");
	int status = rc == 0 ? seqs_end(cli, seqs, &c, &e) : cli_fail(cli, &e);
	if (rc == 0) {
		const int told = cli_unnamed_tell(cli, list, count);
		status = lost_tell(cli, new_seq, list, count, status == CLI_OK ? told : status);
	}
	cli->wait = NULL;
	return status;
}

/* --- all, or those of this key */

/* The edits of this key that wait now, as uint64_t: the coordinator lists no others to it. */
static int own_list(struct cli *cli, struct buf *out, struct err *e)
{
	int rc = 0;
	for (uint64_t from = 1; rc == 0 && from != 0;) {
		struct msg_edit_list ask = { .from_seq = from,
					     .state_mask = waiting_mask(true),
					     .limit = CLI_PAGE_EDITS };
		struct msg_received *reply = NULL;
		rc = cli_edit_list_call(cli, ask, &reply, e);
		if (rc != 0)
			break;
		const struct msg_edit_list_reply *list = &reply->msg.u.edit_list_reply;
		for (size_t i = 0; i < list->edit_count; i++)
			buf_append(out, &list->edits[i].seq, sizeof list->edits[i].seq);
		from = list->next_seq;
		msg_free(&reply);
	}
	return rc == 0 && buf_failed(out) ? err_set(e, ERR_NOMEM, "out of memory") : rc;
}

static int own_wait(struct cli *cli, struct fleet *fleet, struct counts *c, uint64_t *since, struct err *e)
{
	struct buf seqs = BUF_INIT;
	int rc = own_list(cli, &seqs, e);
	if (rc == 0 && seqs.len > 0)
		rc = seqs_wait(cli, (struct seqs){ (const void *)seqs.data, seqs.len / sizeof(uint64_t) }, fleet, c,
			       since, e);
	buf_free(&seqs);
	return rc;
}

/* The first edit that waits, if one does. */
static int first_waiting(struct cli *cli, bool nodes, uint64_t *first, struct err *e)
{
	struct msg_edit_list ask = { .from_seq = 1, .state_mask = waiting_mask(nodes), .limit = 1 };
	struct msg_received *reply = NULL;
	int rc = cli_edit_list_call(cli, ask, &reply, e);
	if (rc == 0 && reply->msg.u.edit_list_reply.edit_count > 0)
		*first = reply->msg.u.edit_list_reply.edits[0].seq;
	msg_free(&reply);
	return rc;
}

static int wait_all(struct cli *cli)
{
	struct err e = ERR_INIT;
	struct counts c = { 0 };
	struct fleet fleet = { .nodes = false };
	struct cli_wait wait;
	uint64_t since = CLI_WAITED_NONE, lost = 0;
	int rc = fleet_ask(cli, &fleet, NULL, &e);
	if (rc == 0 && !fleet.own)
		rc = first_waiting(cli, fleet.nodes, &since, &e);
	if (rc == 0 && !fleet.own)
		rc = counts_get(cli, fleet.nodes, &c, &e);
	if (rc != 0)
		return cli_fail(cli, &e);
	cli_wait_begin(cli, &wait);
	rc = fleet.own ? own_wait(cli, &fleet, &c, &since, &e) : counts_wait(cli, &fleet, &c, &e);
	cli->wait = NULL;
	if (rc != 0 && rc != ERR_INTERRUPTED)
		return cli_fail(cli, &e);
	int told = rc == 0 ? cli_lost_tell(cli, &(struct cli_waited){ .since = since }, &lost) : CLI_OK;
	int status = wait_summary(cli, &c, lost);
	if (rc != ERR_INTERRUPTED)
		return status == CLI_OK ? told : status;
	err_set(&e, rc, "interrupted: what was accepted is still trained and served; `amend edit wait` waits on");
	return cli_fail(cli, &e);
}

int cli_edit_wait(struct cli *cli, const struct cli_args *args)
{
	struct err e = ERR_INIT;
	struct fleet fleet = { .nodes = false };
	struct cli_wait wait;
	if (args->word_count == 0)
		return wait_all(cli);
	if (fleet_ask(cli, &fleet, NULL, &e) != 0)
		return cli_fail(cli, &e);
	cli_wait_begin(cli, &wait);
	int status = wait_each(cli, args, &fleet);
	cli->wait = NULL;
	return status;
}
