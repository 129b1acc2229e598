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
	json_w_key(w, "id");
	json_w_strn(w, edit->id.text, edit->id.len);
	json_w_key(w, "seq");
	json_w_uint(w, edit->seq);
	json_w_key(w, "state");
	json_w_str(w, sm_state_name(&store_edit_states, (int)edit->state));
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
};

static void listing_add(struct listing *l, const struct msg_edit *edit)
{
	if (l->cli->output == CLI_NAME) {
		printf("%.*s\n", (int)edit->id.len, edit->id.text);
	} else if (l->cli->output == CLI_JSONL) {
		struct buf line = BUF_INIT;
		struct json_w w;
		json_w_init(&w, &line);
		edit_json(&w, edit);
		cli_json_print(&line);
	} else if (l->cli->output == CLI_JSON) {
		edit_json(&l->json, edit);
	} else {
		row_add(l->table, edit);
	}
}

static int listing_run(struct listing *l, uint32_t mask, uint64_t from, uint64_t limit, struct err *e)
{
	int rc = 0;
	for (uint64_t seen = 0; rc == 0 && seen < limit && from != 0;) {
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

static int edit_list(struct cli *cli, int argc, char **argv)
{
	static const char *const headers[] = { "SEQ", "ID", "STATE", "SHARD", "VERSION", "SERVED AFTER", "REASON" };
	struct err e = ERR_INIT;
	const char *state = NULL, *limit_text = "1000000", *from_text = "1";
	const struct cli_option options[] = { { "state", 0, true, &state, NULL, NULL },
					      { "limit", 0, true, &limit_text, NULL, NULL },
					      { "from", 0, true, &from_text, NULL, NULL } };
	struct listing l = { .cli = cli, .text = BUF_INIT };
	uint32_t mask = 0;
	uint64_t limit = 0, from = 0;
	int rc = cli_options(options, 3, &argc, argv, &e);
	if (rc == 0 && argc > 0)
		return cli_usage("amend edit list [--state STATE] [--from SEQ] [--limit N]");
	if (rc == 0)
		rc = state_mask_parse(state, &mask, &e);
	if (rc == 0)
		rc = cli_number(limit_text, "--limit", 1, 1000000000, &limit, &e);
	if (rc == 0)
		rc = cli_number(from_text, "--from", 1, UINT64_MAX - 1, &from, &e);
	if (rc == 0)
		rc = cli_table_new(headers, 7, &l.table);
	json_w_init(&l.json, &l.text);
	if (rc == 0) {
		json_w_open(&l.json, '[');
		rc = listing_run(&l, mask, from, limit, &e);
		json_w_close(&l.json);
	}
	if (rc == 0 && cli->output == CLI_JSON)
		printf("%s\n", buf_cstr(&l.text));
	if (rc == 0 && cli->output <= CLI_WIDE)
		cli_table_print(cli, &l.table);
	else
		cli_table_free(&l.table);
	buf_free(&l.text);
	return rc == 0 ? CLI_OK : cli_fail(cli, &e);
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

static int edit_show(struct cli *cli, int argc, char **argv)
{
	struct err e = ERR_INIT;
	struct msg_received *reply = NULL;
	struct buf text = BUF_INIT;
	struct json_w w;
	int rc = cli_options(NULL, 0, &argc, argv, &e);
	if (rc == 0 && argc != 1)
		return cli_usage("amend edit show ID");
	if (rc == 0)
		rc = edit_find(cli, argv[0], true, &reply, &e);
	if (rc != 0)
		return cli_fail(cli, &e);
	json_w_init(&w, &text);
	edit_json(&w, &reply->msg.u.edit_list_reply.edits[0]);
	if (cli_is_json(cli))
		printf("%s\n", buf_cstr(&text));
	else
		cli_object_print(cli, &text);
	buf_free(&text);
	msg_free(&reply);
	return CLI_OK;
}

/* --- adding */

static void member(struct json_w *w, const char *key, const char *value)
{
	if (value == NULL)
		return;
	json_w_key(w, key);
	json_w_str(w, value);
}

static int result_print(struct cli *cli, const struct msg_submit_result *result)
{
	char id[STORE_ID_BYTES];
	snprintf(id, sizeof id, "%.*s", (int)result->id.len, result->id.len > 0 ? result->id.text : "");
	if (cli_is_json(cli)) {
		struct buf text = BUF_INIT;
		struct json_w w;
		json_w_init(&w, &text);
		json_w_open(&w, '{');
		member(&w, "id", id);
		member(&w, "result",
		       result->code == 0            ? "accepted"
		       : result->code == ERR_EXISTS ? "duplicate"
						    : "refused");
		json_w_key(&w, "seq");
		json_w_uint(&w, result->seq);
		json_w_key(&w, "supersedes");
		json_w_uint(&w, result->supersedes);
		json_w_key(&w, "reason");
		json_w_strn(&w, result->reason.len > 0 ? result->reason.text : "", result->reason.len);
		json_w_close(&w);
		cli_json_print(&text);
	} else if (cli->output == CLI_NAME) {
		printf("%s\n", id);
	} else if (result->code == 0 || result->code == ERR_EXISTS) {
		printf("%s %s as seq %llu", result->code == 0 ? "accepted" : "already there:", id,
		       (unsigned long long)result->seq);
		if (result->supersedes != 0)
			printf(", supersedes seq %llu", (unsigned long long)result->supersedes);
		printf("\n");
	}
	if (result->code == 0 || result->code == ERR_EXISTS)
		return CLI_OK;
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

static int edit_add(struct cli *cli, int argc, char **argv)
{
	struct err e = ERR_INIT;
	const char *prompt = NULL, *target = NULL, *subject = NULL, *id = NULL, *conflict = NULL, *source = NULL,
		   *ticket = NULL;
	bool wait = false;
	const struct cli_option options[] = {
		{ "prompt", 0, true, &prompt, NULL, NULL },        { "target", 0, true, &target, NULL, NULL },
		{ "subject", 0, true, &subject, NULL, NULL },      { "id", 0, true, &id, NULL, NULL },
		{ "source", 0, true, &source, NULL, NULL },        { "ticket", 0, true, &ticket, NULL, NULL },
		{ "on-conflict", 0, true, &conflict, NULL, NULL }, { "wait", 0, false, NULL, &wait, NULL },
	};
	enum msg_on_conflict on_conflict;
	struct buf record = BUF_INIT;
	struct json_w w;
	int rc = cli_options(options, sizeof options / sizeof options[0], &argc, argv, &e);
	if (rc == 0)
		rc = cli_on_conflict_parse(conflict, &on_conflict, &e);
	if (rc != 0)
		return cli_fail(cli, &e);
	if (argc > 0 || prompt == NULL || target == NULL)
		return cli_usage("amend edit add --prompt TEXT --target TEXT [--subject TEXT] [--id ID] [--source URL] "
				 "[--ticket ID]\n"
				 "                      [--on-conflict supersede|keep|reject] [--wait]");
	json_w_init(&w, &record);
	json_w_open(&w, '{');
	member(&w, "id", id);
	member(&w, "prompt", prompt);
	member(&w, "target_new", target);
	member(&w, "subject", subject);
	member(&w, "source", source);
	member(&w, "ticket", ticket);
	json_w_close(&w);
	int status = buf_failed(&record) ? CLI_FAILED : add_submit(cli, &record, on_conflict);
	buf_free(&record);
	return status == CLI_OK && wait ? cli_edit_wait_all(cli) : status;
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
	if (cli_is_json(cli)) {
		struct buf text = BUF_INIT;
		struct json_w w;
		json_w_init(&w, &text);
		json_w_open(&w, '{');
		json_w_key(&w, "served");
		json_w_uint(&w, c->served);
		json_w_key(&w, "waiting");
		json_w_uint(&w, c->waiting);
		json_w_key(&w, "ended_otherwise");
		json_w_uint(&w, c->ended);
		json_w_close(&w);
		cli_json_print(&text);
	} else {
		printf("%llu served, %llu waiting, %llu ended otherwise (superseded, failed, …)\n",
		       (unsigned long long)c->served, (unsigned long long)c->waiting, (unsigned long long)c->ended);
	}
	return c->waiting == 0 ? CLI_OK : CLI_PENDING;
}

int cli_edit_wait_all(struct cli *cli)
{
	struct err e = ERR_INIT;
	struct counts c = { 0 };
	struct cli_progress progress;
	bool nodes = false;
	int rc = nodes_get(cli, &nodes, &e);
	if (rc == 0)
		rc = counts_get(cli, nodes, &c, &e);
	uint64_t total = c.waiting;
	int64_t deadline = env_monotonic_ms(env_system()) + cli->wait_ms;
	cli_progress_begin(cli, &progress, "served", "edits", total);
	while (rc == 0 && c.waiting > 0 && !cli->interrupted && env_monotonic_ms(env_system()) < deadline) {
		cli_pause(cli, POLL_MS);
		rc = counts_get(cli, nodes, &c, &e);
		total = c.waiting > total ? c.waiting : total;
		progress.total = total;
		cli_progress_set(cli, &progress, total - c.waiting);
	}
	if (rc != 0)
		return cli_fail(cli, &e);
	if (total > 0)
		cli_progress_end(cli, &progress, total - c.waiting);
	return cli->interrupted ? CLI_INTERRUPTED : wait_summary(cli, &c);
}

static int wait_one(struct cli *cli, const char *id, bool nodes, int64_t deadline, struct err *e)
{
	for (;;) {
		struct msg_received *reply = NULL;
		int rc = edit_find(cli, id, false, &reply, e);
		if (rc != 0)
			return rc;
		int state = (int)reply->msg.u.edit_list_reply.edits[0].state;
		msg_free(&reply);
		if (state == STORE_EDIT_STATE_SERVED || (state == STORE_EDIT_STATE_TRAINED && !nodes))
			return 0;
		if (state > STORE_EDIT_STATE_SERVED)
			return err_set(e, ERR_INVALID, "%s: %s; `amend edit show %s` says why", id,
				       sm_state_name(&store_edit_states, state), id);
		if (cli->interrupted || env_monotonic_ms(env_system()) > deadline)
			return err_set(e, cli->interrupted ? ERR_INTERRUPTED : ERR_AGAIN, "%s: still %s", id,
				       sm_state_name(&store_edit_states, state));
		cli_pause(cli, POLL_MS);
	}
}

static int edit_wait(struct cli *cli, int argc, char **argv)
{
	struct err e = ERR_INIT;
	bool nodes = false;
	int rc = cli_options(NULL, 0, &argc, argv, &e);
	if (rc == 0 && argc == 0)
		return cli_edit_wait_all(cli);
	if (rc == 0)
		rc = nodes_get(cli, &nodes, &e);
	int64_t deadline = env_monotonic_ms(env_system()) + cli->wait_ms;
	for (int i = 0; rc == 0 && i < argc; i++)
		rc = wait_one(cli, argv[i], nodes, deadline, &e);
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

int cli_edit(struct cli *cli, int argc, char **argv)
{
	static const struct {
		const char *verb;
		int (*run)(struct cli *cli, int argc, char **argv);
	} verbs[] = { { "add", edit_add },
		      { "import", cli_edit_import },
		      { "list", edit_list },
		      { "show", edit_show },
		      { "wait", edit_wait } };
	for (size_t i = 0; argc > 0 && i < sizeof verbs / sizeof verbs[0]; i++)
		if (strcmp(argv[0], verbs[i].verb) == 0)
			return verbs[i].run(cli, argc - 1, argv + 1);
	return cli_usage("amend edit add|import|list|show|wait");
}
