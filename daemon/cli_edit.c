/* cli_edit.c: `amend edit add|list|show|wait`: submit one fact, and follow facts through their states. */
#include "daemon/cli_edit.h"

#include "base/record.h"
#include "store/store.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define PAGE_EDITS 200
#define POLL_MS    100

/* --- showing */

static void edit_json(struct json_w *w, const struct msg_edit *edit)
{
	char time[ENV_TIME_BYTES];
	json_w_open(w, '{');
	json_w_member_strn(w, "id", edit->id.text, edit->id.len);
	json_w_member_uint(w, "seq", edit->seq);
	json_w_member_str(w, "state", sm_state_name(&store_edit_states, (int)edit->state));
	const struct {
		const char *key;
		uint64_t value;
	} numbers[] = { { "shard", edit->shard },
			{ "version", edit->version },
			{ "supersedes", edit->supersedes },
			{ "superseded_by", edit->superseded_by } };
	for (size_t i = 0; i < sizeof numbers / sizeof numbers[0]; i++) {
		json_w_key(w, numbers[i].key);
		if (numbers[i].value != 0)
			json_w_uint(w, numbers[i].value);
		else
			json_w_null(w);
	}
	const struct {
		const char *key;
		int64_t ms;
	} times[] = { { "accepted", edit->accepted_ms },
		      { "trained", edit->trained_ms },
		      { "served", edit->served_ms } };
	for (size_t i = 0; i < sizeof times / sizeof times[0]; i++) {
		json_w_key(w, times[i].key);
		env_time_format(times[i].ms, time);
		if (times[i].ms != 0)
			json_w_str(w, time);
		else
			json_w_null(w);
	}
	json_w_key(w, "reason");
	if (edit->reason.len > 0)
		json_w_strn(w, edit->reason.text, edit->reason.len);
	else
		json_w_null(w);
	if (edit->payload.len > 0) {
		struct json *record = NULL;
		json_w_key(w, "record");
		if (json_parse(edit->payload.bytes, edit->payload.len, &record, NULL) == 0)
			json_w_value(w, record);
		else
			json_w_null(w);
		json_free(&record);
	}
	json_w_close(w);
}

static int list_call(struct cli *cli, struct msg_edit_list ask, struct msg_received **reply, struct err *e)
{
	struct msg request = { .type = MSG_EDIT_LIST, .u.edit_list = ask };
	return cli_call(cli, &request, reply, e);
}

static void row_add(struct cli_table *table, const struct msg_edit *edit)
{
	cli_table_cell(table, "%llu", (unsigned long long)edit->seq);
	cli_table_cell(table, "%.*s", edit->id.len == HASH_HEX_BYTES - 1 ? 12 : (int)edit->id.len, edit->id.text);
	cli_table_cell(table, "%s", sm_state_name(&store_edit_states, (int)edit->state));
	cli_table_cell(table, edit->shard != 0 ? "%llu" : "-", (unsigned long long)edit->shard);
	cli_table_cell(table, edit->version != 0 ? "v%llu" : "-", (unsigned long long)edit->version);
	if (edit->served_ms != 0)
		cli_table_cell(table, "%.2f s", (double)(edit->served_ms - edit->accepted_ms) / 1e3);
	else
		cli_table_cell(table, "-");
	cli_table_cell(table, "%.*s", (int)edit->reason.len, edit->reason.len > 0 ? edit->reason.text : "");
}

static int state_mask_parse(const char *name, uint32_t *mask, struct err *e)
{
	*mask = UINT32_MAX;
	if (name == NULL)
		return 0;
	int state = sm_state_find(&store_edit_states, name);
	if (state < 0) {
		struct buf names = BUF_INIT;
		for (int i = 0; i < STORE_EDIT_STATE_COUNT; i++)
			buf_printf(&names, "%s%s", i > 0 ? ", " : "", sm_state_name(&store_edit_states, i));
		int rc = err_set(e, ERR_INVALID, "--state %s: may be %s", name, buf_cstr(&names));
		buf_free(&names);
		return rc;
	}
	*mask = SM_TO(state);
	return 0;
}

struct listing {
	struct cli *cli;
	struct cli_table *table;
	struct buf text;
	struct json_w json;
	int status; /* of the lines printed so far */
};

static void listing_add(struct listing *l, const struct msg_edit *edit)
{
	if (l->cli->output == CLI_NAME) {
		printf("%.*s\n", (int)edit->id.len, edit->id.text);
	} else if (l->cli->output == CLI_JSONL) { /* at once: a list may be long */
		struct buf line = BUF_INIT;
		struct json_w w;
		json_w_init(&w, &line);
		edit_json(&w, edit);
		l->status |= cli_emit(l->cli, &line);
	} else if (cli_is_structured(l->cli)) {
		edit_json(&l->json, edit);
	} else {
		row_add(l->table, edit);
	}
}

static int listing_run(struct listing *l, uint32_t mask, uint64_t from, uint64_t limit, struct err *e)
{
	int rc = 0;
	for (uint64_t seen = 0; rc == 0 && seen < limit && from != 0 && cli_output_open();) {
		struct msg_received *reply = NULL;
		uint64_t page = limit - seen < PAGE_EDITS ? limit - seen : PAGE_EDITS;
		rc = list_call(l->cli,
			       (struct msg_edit_list){ .from_seq = from, .state_mask = mask, .limit = (uint32_t)page },
			       &reply, e);
		if (rc != 0)
			break;
		const struct msg_edit_list_reply *list = &reply->msg.u.edit_list_reply;
		for (size_t i = 0; i < list->edit_count; i++)
			listing_add(l, &list->edits[i]);
		seen += list->edit_count;
		from = list->next_seq;
		msg_free(&reply);
	}
	return rc;
}

static int listing_print(struct listing *l)
{
	json_w_close(&l->json);
	if (l->cli->output <= CLI_WIDE)
		return cli_table_print(l->cli, &l->table);
	if (cli_is_structured(l->cli) && l->cli->output != CLI_JSONL)
		return cli_emit(l->cli, &l->text);
	return l->status;
}

int cli_edit_list(struct cli *cli, const struct cli_args *args)
{
	static const char *const headers[] = { "SEQ", "ID", "STATE", "SHARD", "VERSION", "SERVED AFTER", "REASON" };
	struct err e = ERR_INIT;
	struct listing l = { .cli = cli, .text = BUF_INIT };
	uint32_t mask = 0;
	uint64_t limit = UINT64_MAX, from = 1;
	int rc = state_mask_parse(cli_value(args, "state"), &mask, &e);
	if (rc == 0 && cli_value(args, "limit") != NULL)
		rc = cli_number(cli_value(args, "limit"), "--limit", 1, UINT64_MAX - 1, &limit, &e);
	if (rc == 0 && cli_value(args, "from") != NULL)
		rc = cli_number(cli_value(args, "from"), "--from", 1, UINT64_MAX - 1, &from, &e);
	if (rc != 0)
		return cli_misuse(&e);
	if (cli_table_new(headers, 7, &l.table) != 0)
		return cli_out_of_memory(cli);
	json_w_init(&l.json, &l.text);
	json_w_open(&l.json, '[');
	rc = listing_run(&l, mask, from, limit, &e);
	int status = rc == 0 ? listing_print(&l) : cli_fail(cli, &e);
	cli_table_free(&l.table);
	buf_free(&l.text);
	return status;
}

static int edit_find(struct cli *cli, const char *id, bool payload, struct msg_received **reply, struct err *e)
{
	struct msg_edit_list ask = {
		.id = { id, strlen(id) }, .state_mask = UINT32_MAX, .limit = 1, .with_payload = payload
	};
	int rc = list_call(cli, ask, reply, e);
	if (rc == 0 && (*reply)->msg.u.edit_list_reply.edit_count == 0) {
		msg_free(reply);
		rc = err_set(e, ERR_NOT_FOUND, "no edit has the id \"%s\"; `amend edit list` shows them all", id);
	}
	return rc;
}

int cli_edit_show(struct cli *cli, const struct cli_args *args)
{
	struct err e = ERR_INIT;
	struct msg_received *reply = NULL;
	struct buf text = BUF_INIT;
	struct json_w w;
	int status = CLI_OK;
	if (edit_find(cli, args->words[0], true, &reply, &e) != 0)
		return cli_fail(cli, &e);
	json_w_init(&w, &text);
	edit_json(&w, &reply->msg.u.edit_list_reply.edits[0]);
	if (cli->output == CLI_NAME)
		printf("%.*s\n", (int)reply->msg.u.edit_list_reply.edits[0].id.len,
		       reply->msg.u.edit_list_reply.edits[0].id.text);
	else if (cli_is_structured(cli))
		status = cli_emit(cli, &text);
	else
		status = cli_object_print(cli, &text);
	buf_free(&text);
	msg_free(&reply);
	return status;
}

/* --- adding */

static void member(struct json_w *w, const char *key, const char *value)
{
	if (value == NULL)
		return;
	json_w_member_str(w, key, value);
}

static int result_emit(struct cli *cli, const struct msg_submit_result *result, const char *id)
{
	struct buf text = BUF_INIT;
	struct json_w w;
	json_w_init(&w, &text);
	json_w_open(&w, '{');
	member(&w, "id", id);
	member(&w, "result", result->code == 0 ? "accepted" : result->code == ERR_EXISTS ? "duplicate" : "refused");
	json_w_member_uint(&w, "seq", result->seq);
	json_w_member_uint(&w, "supersedes", result->supersedes);
	json_w_member_strn(&w, "reason", result->reason.len > 0 ? result->reason.text : "", result->reason.len);
	json_w_close(&w);
	return cli_emit(cli, &text);
}

static int result_print(struct cli *cli, const struct msg_submit_result *result)
{
	char id[STORE_ID_BYTES];
	bool taken = result->code == 0 || result->code == ERR_EXISTS;
	int status = CLI_OK;
	snprintf(id, sizeof id, "%.*s", (int)result->id.len, result->id.len > 0 ? result->id.text : "");
	if (cli_is_structured(cli)) {
		status = result_emit(cli, result, id);
	} else if (taken && cli->output == CLI_NAME) {
		printf("%s\n", id);
	} else if (taken) {
		printf("%s %s as seq %llu", result->code == 0 ? "accepted" : "already there:", id,
		       (unsigned long long)result->seq);
		if (result->supersedes != 0)
			printf(", supersedes seq %llu", (unsigned long long)result->supersedes);
		printf("\n");
	}
	if (taken)
		return status;
	struct err e = ERR_INIT;
	err_set(&e, result->code, "refused: %.*s", (int)result->reason.len,
		result->reason.len > 0 ? result->reason.text : "");
	return cli_fail(cli, &e);
}

static int add_submit(struct cli *cli, const struct buf *record, enum msg_on_conflict on_conflict)
{
	struct err e = ERR_INIT;
	struct record *check = NULL;
	struct msg_received *reply = NULL;
	int rc = record_parse((const char *)record->data, record->len, &check, &e);
	record_destroy(&check);
	if (rc != 0)
		return cli_fail(cli, &e);
	struct msg_bytes bytes = { record->data, record->len };
	struct msg request = { .type = MSG_SUBMIT, .u.submit = { on_conflict, &bytes, 1 } };
	rc = cli_call(cli, &request, &reply, &e);
	if (rc != 0)
		return cli_fail(cli, &e);
	int status = reply->msg.u.submit_reply.result_count == 1
			     ? result_print(cli, &reply->msg.u.submit_reply.results[0])
			     : CLI_FAILED;
	msg_free(&reply);
	return status;
}

int cli_edit_add(struct cli *cli, const struct cli_args *args)
{
	static const char *const members[][2] = {
		{ "id", "id" },           { "prompt", "prompt" }, { "target", "target_new" },
		{ "subject", "subject" }, { "source", "source" }, { "ticket", "ticket" }
	};
	struct err e = ERR_INIT;
	enum msg_on_conflict on_conflict;
	struct buf record = BUF_INIT;
	struct json_w w;
	int rc = cli_on_conflict_parse(cli_value(args, "on-conflict"), &on_conflict, &e);
	if (rc == 0 && (cli_value(args, "prompt") == NULL || cli_value(args, "target") == NULL))
		rc = err_set(&e, ERR_INVALID, "edit add: --prompt and --target are needed; --help says more");
	if (rc != 0)
		return cli_misuse(&e);
	json_w_init(&w, &record);
	json_w_open(&w, '{');
	for (size_t i = 0; i < sizeof members / sizeof members[0]; i++)
		member(&w, members[i][1], cli_value(args, members[i][0]));
	json_w_close(&w);
	int status = buf_failed(&record) ? cli_out_of_memory(cli) : add_submit(cli, &record, on_conflict);
	buf_free(&record);
	return status == CLI_OK && cli_switch(args, "wait") ? cli_edit_wait_all(cli) : status;
}

/* --- waiting */

struct counts {
	uint64_t waiting, served, ended;
};

/* Edits that are neither served nor at an end of another kind. Without a node, what is published has come as far as it
 * can. */
static int counts_get(struct cli *cli, bool nodes, struct counts *out, struct err *e)
{
	struct msg_received *reply = NULL;
	int rc = list_call(cli, (struct msg_edit_list){ .counts_only = true, .state_mask = UINT32_MAX }, &reply, e);
	*out = (struct counts){ 0 };
	for (size_t i = 0; rc == 0 && i < reply->msg.u.edit_list_reply.state_count; i++) {
		uint64_t n = reply->msg.u.edit_list_reply.state_counts[i];
		bool served = i == STORE_EDIT_STATE_SERVED || (i == STORE_EDIT_STATE_TRAINED && !nodes);
		bool waiting = !served && i <= STORE_EDIT_STATE_SERVED;
		*(served ? &out->served : waiting ? &out->waiting : &out->ended) += n;
	}
	msg_free(&reply);
	return rc;
}

static int nodes_get(struct cli *cli, bool *nodes, struct err *e)
{
	struct msg request = { .type = MSG_FLEET };
	struct msg_received *reply = NULL;
	int rc = cli_call(cli, &request, &reply, e);
	*nodes = false;
	for (size_t i = 0; rc == 0 && i < reply->msg.u.fleet_reply.member_count; i++)
		*nodes = *nodes || reply->msg.u.fleet_reply.members[i].kind == MSG_PEER_NODE;
	msg_free(&reply);
	return rc;
}

static int wait_summary(struct cli *cli, const struct counts *c)
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
		json_w_close(&w);
		status = cli_emit(cli, &text);
	} else {
		printf("%llu served, %llu waiting, %llu ended otherwise (superseded, failed, …)\n",
		       (unsigned long long)c->served, (unsigned long long)c->waiting, (unsigned long long)c->ended);
	}
	return c->waiting == 0 ? status : CLI_PENDING;
}

/* `c` is what was known last: the call that is interrupted tells nothing new. */
static int counts_wait(struct cli *cli, bool nodes, struct counts *c, struct err *e)
{
	struct cli_progress progress;
	uint64_t total = c->waiting;
	int64_t deadline = env_monotonic_ms(cli->env) + cli->wait_ms;
	int rc = 0;
	cli_progress_begin(cli, &progress, "served", "edits", total);
	while (rc == 0 && c->waiting > 0 && !cli->interrupted && env_monotonic_ms(cli->env) < deadline) {
		struct counts now;
		cli_pause(cli, POLL_MS);
		rc = counts_get(cli, nodes, &now, e);
		if (rc == 0)
			*c = now;
		total = c->waiting > total ? c->waiting : total;
		progress.total = total;
		cli_progress_set(cli, &progress, total - c->waiting);
	}
	if (total > 0)
		cli_progress_end(cli, &progress, total - c->waiting);
	return cli->interrupted ? ERR_INTERRUPTED : rc;
}

int cli_edit_wait_all(struct cli *cli)
{
	struct err e = ERR_INIT;
	struct counts c = { 0 };
	bool nodes = false;
	int rc = nodes_get(cli, &nodes, &e);
	if (rc == 0)
		rc = counts_get(cli, nodes, &c, &e);
	if (rc != 0)
		return cli_fail(cli, &e);
	rc = counts_wait(cli, nodes, &c, &e);
	if (rc != 0 && rc != ERR_INTERRUPTED)
		return cli_fail(cli, &e);
	int status = wait_summary(cli, &c);
	if (rc != ERR_INTERRUPTED)
		return status;
	err_set(&e, rc, "interrupted: what was accepted is still trained and served; `amend edit wait` waits on");
	return cli_fail(cli, &e);
}

static int wait_one(struct cli *cli, const char *id, bool nodes, int64_t deadline, struct err *e)
{
	for (;;) {
		struct msg_received *reply = NULL;
		int rc = edit_find(cli, id, false, &reply, e);
		if (rc == ERR_INTERRUPTED)
			return err_set(e, rc, "interrupted: %s is not served yet; it goes on without us", id);
		if (rc != 0)
			return rc;
		int state = (int)reply->msg.u.edit_list_reply.edits[0].state;
		msg_free(&reply);
		if (state == STORE_EDIT_STATE_SERVED || (state == STORE_EDIT_STATE_TRAINED && !nodes))
			return 0;
		if (state > STORE_EDIT_STATE_SERVED)
			return err_set(e, ERR_INVALID, "%s: %s; `amend edit show %s` says why", id,
				       sm_state_name(&store_edit_states, state), id);
		if (!cli->interrupted && env_monotonic_ms(cli->env) >= deadline)
			return err_set(e, ERR_AGAIN, "%s: still %s", id, sm_state_name(&store_edit_states, state));
		cli_pause(cli, POLL_MS);
	}
}

int cli_edit_wait(struct cli *cli, const struct cli_args *args)
{
	struct err e = ERR_INIT;
	bool nodes = false;
	if (args->word_count == 0)
		return cli_edit_wait_all(cli);
	int rc = nodes_get(cli, &nodes, &e);
	int64_t deadline = env_monotonic_ms(cli->env) + cli->wait_ms;
	for (int i = 0; rc == 0 && i < args->word_count; i++)
		rc = wait_one(cli, args->words[i], nodes, deadline, &e);
	return rc == 0 ? CLI_OK : cli_fail(cli, &e);
}

int cli_on_conflict_parse(const char *text, enum msg_on_conflict *out, struct err *e)
{
	static const char *const names[] = {
		[MSG_SUPERSEDE] = "supersede", [MSG_KEEP] = "keep", [MSG_REJECT] = "reject"
	};
	*out = MSG_SUPERSEDE;
	for (int i = 0; text != NULL && i < 3; i++) {
		if (strcmp(text, names[i]) == 0) {
			*out = (enum msg_on_conflict)i;
			return 0;
		}
	}
	return text == NULL ? 0 : err_set(e, ERR_INVALID, "--on-conflict %s: may be supersede, keep or reject", text);
}
