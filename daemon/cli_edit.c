/* cli_edit.c: `amend edit add|list|show`: submit one fact, and find facts again; cli_wait.c waits for them. */
#include "daemon/cli_edit.h"

#include "base/record.h"
#include "base/text.h"
#include "store/store.h"

#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define PROMPT_COLUMNS   40 /* of a table */
#define TARGET_COLUMNS   24
#define WIDE_COLUMNS     200
#define ID_COLUMNS       12
#define PREFIX_BYTES_MIN 4 /* shorter beginnings of ids are taken for mistakes */

/* --- showing */

static void step_json(struct json_w *w, const struct msg_edit_step *step)
{
	char time[ENV_TIME_BYTES], key[65];
	env_time_format(step->time_ms, time);
	json_w_open(w, '{');
	json_w_member_str(w, "time", time);
	json_w_member_strn(w, "what", step->what.text, step->what.len);
	if (step->text.len > 0)
		json_w_member_strn(w, "text", step->text.text, step->text.len);
	if (step->event != 0) {
		proto_key_hex(step->actor, key);
		json_w_member_str(w, "by", key);
		json_w_member_uint(w, "event", step->event);
	}
	json_w_close(w);
}

static void history_json(struct json_w *w, const struct msg_edit *edit)
{
	if (edit->history_count == 0)
		return;
	json_w_key(w, "history");
	json_w_open(w, '[');
	for (size_t i = 0; i < edit->history_count; i++)
		step_json(w, &edit->history[i]);
	json_w_close(w);
}

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
			{ "superseded_by", edit->superseded_by },
			{ "restores", edit->restores } };
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
		      { "served", edit->served_ms },
		      { "valid_from", edit->valid_from_ms },
		      { "expires", edit->expires_ms } };
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
	history_json(w, edit);
	json_w_close(w);
}

int cli_edit_list_call(struct cli *cli, struct msg_edit_list ask, struct msg_received **reply, struct err *e)
{
	struct msg request = { .type = MSG_EDIT_LIST, .u.edit_list = ask };
	return cli_call(cli, &request, reply, e);
}

/* Of a hash, the beginning: `edit show` takes it. */
void cli_edit_id_cell(struct cli *cli, struct cli_table *table, struct msg_text id)
{
	bool cut = id.len == HASH_HEX_BYTES - 1 && cli->output != CLI_WIDE;
	cli_table_cell(table, "%.*s", cut ? ID_COLUMNS : (int)id.len, id.text);
}

void cli_edit_cells(struct cli *cli, struct cli_table *table, struct msg_bytes payload)
{
	static const struct {
		const char *key;
		size_t columns;
	} cells[] = { { "prompt", PROMPT_COLUMNS }, { "target_new", TARGET_COLUMNS } };
	struct json *record = NULL;
	if (payload.len > 0 && json_parse((const char *)payload.bytes, payload.len, &record, NULL) != 0)
		record = NULL;
	for (size_t i = 0; i < sizeof cells / sizeof cells[0]; i++) {
		const char *text = json_string(json_get(record, cells[i].key), NULL);
		cli_table_cell_cut(table, cli->output == CLI_WIDE ? WIDE_COLUMNS : cells[i].columns,
				   text != NULL ? text : "-");
	}
	json_free(&record);
}

static void row_add(struct cli *cli, struct cli_table *table, const struct msg_edit *edit)
{
	cli_table_cell(table, "%llu", (unsigned long long)edit->seq);
	cli_edit_id_cell(cli, table, edit->id);
	cli_table_cell(table, "%s", sm_state_name(&store_edit_states, (int)edit->state));
	cli_table_cell(table, edit->shard != 0 ? "%llu" : "-", (unsigned long long)edit->shard);
	cli_table_cell(table, edit->version != 0 ? "v%llu" : "-", (unsigned long long)edit->version);
	if (edit->served_ms != 0)
		cli_table_cell(table, "%.2f s", (double)(edit->served_ms - edit->accepted_ms) / 1e3);
	else
		cli_table_cell(table, "-");
	cli_edit_cells(cli, table, edit->payload);
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
	struct buf subject; /* folded; empty: any */
	struct cli_table *table;
	struct buf text;
	struct json_w json;
	int status; /* of the lines printed so far */
};

static void listing_add(struct listing *l, const struct msg_edit *edit)
{
	if (l->cli->output == CLI_NAME) {
		cli_line(stdout, "%.*s", (int)edit->id.len, edit->id.text);
	} else if (l->cli->output == CLI_JSONL) { /* at once: a list may be long */
		struct buf line = BUF_INIT;
		struct json_w w;
		json_w_init(&w, &line);
		edit_json(&w, edit);
		l->status |= cli_emit(l->cli, &line);
	} else if (cli_is_structured(l->cli)) {
		edit_json(&l->json, edit);
	} else {
		row_add(l->cli, l->table, edit);
	}
}

static int listing_page(struct listing *l, const struct msg_edit_list_reply *list, uint64_t limit, uint64_t *seen,
			struct err *e)
{
	for (size_t i = 0; i < list->edit_count && *seen < limit; i++) {
		bool has = true;
		int rc = l->subject.len > 0 ? cli_edit_about(&l->subject, list->edits[i].payload, &has) : 0;
		if (rc != 0)
			return err_set(e, rc, "comparing subjects failed");
		if (has)
			listing_add(l, &list->edits[i]);
		*seen += has;
	}
	return 0;
}

static int listing_run(struct listing *l, uint32_t mask, uint64_t from, uint64_t limit, struct err *e)
{
	const bool any = l->subject.len == 0;
	int rc = 0;
	for (uint64_t seen = 0; rc == 0 && seen < limit && from != 0 && cli_output_open();) {
		struct msg_received *reply = NULL;
		uint64_t page = any && limit - seen < CLI_PAGE_EDITS ? limit - seen : CLI_PAGE_EDITS;
		rc = cli_edit_list_call(l->cli,
					(struct msg_edit_list){ .from_seq = from,
								.state_mask = mask,
								.limit = (uint32_t)page,
								.with_payload = l->cli->output != CLI_NAME || !any },
					&reply, e);
		if (rc != 0)
			break;
		const struct msg_edit_list_reply *list = &reply->msg.u.edit_list_reply;
		rc = listing_page(l, list, limit, &seen, e);
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
	static const char *const headers[] = { "SEQ",          "ID",     "STATE",  "SHARD", "VERSION",
					       "SERVED AFTER", "PROMPT", "TARGET", "REASON" };
	struct err e = ERR_INIT;
	struct listing l = { .cli = cli, .subject = BUF_INIT, .text = BUF_INIT };
	uint32_t mask = 0;
	uint64_t limit = UINT64_MAX, from = 1;
	int rc = state_mask_parse(cli_value(args, "state"), &mask, &e);
	if (rc == 0 && cli_value(args, "limit") != NULL)
		rc = cli_number(cli_value(args, "limit"), "--limit", 1, UINT64_MAX - 1, &limit, &e);
	if (rc == 0 && cli_value(args, "from") != NULL)
		rc = cli_number(cli_value(args, "from"), "--from", 1, UINT64_MAX - 1, &from, &e);
	if (rc == 0 && cli_value(args, "subject") != NULL)
		rc = cli_subject_parse(cli_value(args, "subject"), &l.subject, &e);
	if (rc != 0)
		return cli_misuse(&e);
	if (cli_table_new(headers, 9, &l.table) != 0) {
		buf_free(&l.subject);
		return cli_out_of_memory(cli);
	}
	json_w_init(&l.json, &l.text);
	json_w_open(&l.json, '[');
	rc = listing_run(&l, mask, from, limit, &e);
	int status = rc == 0 ? listing_print(&l) : cli_fail(cli, &e);
	cli_table_free(&l.table);
	buf_free(&l.text);
	buf_free(&l.subject);
	return status;
}

/* --- one edit by its id, its number, or the beginning of its id */

static int find_id(struct cli *cli, const char *id, bool payload, struct msg_received **reply, struct err *e)
{
	struct msg_edit_list ask = {
		.id = { id, strlen(id) }, .state_mask = UINT32_MAX, .limit = 1, .with_payload = payload
	};
	return cli_edit_list_call(cli, ask, reply, e);
}

int cli_edit_get(struct cli *cli, uint64_t seq, bool payload, struct msg_received **reply, struct err *e)
{
	struct msg_edit_list ask = { .from_seq = seq, .state_mask = UINT32_MAX, .limit = 1, .with_payload = payload };
	int rc = cli_edit_list_call(cli, ask, reply, e);
	if (rc == 0 &&
	    ((*reply)->msg.u.edit_list_reply.edit_count == 0 || (*reply)->msg.u.edit_list_reply.edits[0].seq != seq)) {
		msg_free(reply);
		rc = err_set(e, ERR_NOT_FOUND, "no edit is number %llu", (unsigned long long)seq);
	}
	return rc;
}

struct prefix {
	const char *text;
	size_t len, found_count;
	char found[2][STORE_ID_BYTES];
};

static void prefix_compare(struct prefix *p, const struct msg_edit *edit)
{
	if (edit->id.len < p->len || edit->id.len >= STORE_ID_BYTES || memcmp(edit->id.text, p->text, p->len) != 0)
		return;
	memcpy(p->found[p->found_count], edit->id.text, edit->id.len);
	p->found[p->found_count++][edit->id.len] = '\0';
}

/* The ledger has no index of beginnings: the ids are read through, until two of them fit. */
static int prefix_search(struct cli *cli, struct prefix *p, struct err *e)
{
	int rc = 0;
	for (uint64_t from = 1; rc == 0 && from != 0 && p->found_count < 2;) {
		struct msg_edit_list ask = { .from_seq = from, .state_mask = UINT32_MAX, .limit = CLI_PAGE_EDITS };
		struct msg_received *reply = NULL;
		rc = cli_edit_list_call(cli, ask, &reply, e);
		if (rc != 0)
			break;
		const struct msg_edit_list_reply *list = &reply->msg.u.edit_list_reply;
		for (size_t i = 0; i < list->edit_count && p->found_count < 2; i++)
			prefix_compare(p, &list->edits[i]);
		from = list->next_seq;
		msg_free(&reply);
	}
	return rc;
}

static int find_prefix(struct cli *cli, const char *text, bool payload, struct msg_received **reply, struct err *e)
{
	struct prefix p = { .text = text, .len = strlen(text) };
	int rc = p.len >= PREFIX_BYTES_MIN ? prefix_search(cli, &p, e) : 0;
	if (rc != 0)
		return rc;
	if (p.found_count == 2)
		return err_set(e, ERR_CONFLICT, "\"%s\" begins more than one id, such as %s and %s: give more of it",
			       text, p.found[0], p.found[1]);
	if (p.found_count == 0)
		return err_set(e, ERR_NOT_FOUND, "no edit has the id \"%s\"; `amend edit list` shows them all", text);
	return find_id(cli, p.found[0], payload, reply, e);
}

int cli_edit_find(struct cli *cli, const char *text, bool payload, struct msg_received **reply, struct err *e)
{
	uint64_t seq;
	struct err silent = ERR_INIT;
	int rc = find_id(cli, text, payload, reply, e);
	if (rc != 0 || (*reply)->msg.u.edit_list_reply.edit_count > 0)
		return rc;
	msg_free(reply);
	if (cli_number(text, "seq", 1, UINT64_MAX - 1, &seq, &silent) == 0) {
		rc = cli_edit_get(cli, seq, payload, reply, &silent);
		if (rc != ERR_NOT_FOUND)
			return rc == 0 ? 0 : err_set(e, rc, "%s", silent.text);
	}
	return find_prefix(cli, text, payload, reply, e);
}

/* The coordinator's list names its keys; it is at hand where `amend up` made it. NULL: it is not. */
static struct proto_allow *key_names(const struct cli *cli)
{
	struct proto_allow *allow = NULL;
	struct err silent = ERR_INIT;
	char path[PATH_MAX];
	if (snprintf(path, sizeof path, "%s/keys/allow", cli->data) >= (int)sizeof path ||
	    proto_allow_load(path, &allow, &silent) != 0)
		return NULL;
	return allow;
}

static void by_cell(struct cli_table *table, const struct proto_allow *names, const struct msg_edit_step *step)
{
	static const uint8_t nobody[PROTO_KEY_BYTES];
	const char *name = NULL;
	char key[65];
	proto_key_hex(step->actor, key);
	if (memcmp(step->actor, nobody, sizeof nobody) == 0)
		cli_table_cell(table, "-");
	else if (names != NULL && proto_allow_roles(names, step->actor, &name) != 0 && name[0] != '\0')
		cli_table_cell(table, "%s", name);
	else
		cli_table_cell(table, "%.16s", key);
}

static int history_print(struct cli *cli, const struct msg_edit *edit)
{
	static const char *const headers[] = { "WHEN", "WHAT", "BY", "WHY" };
	struct cli_table *table;
	char time[ENV_TIME_BYTES];
	if (edit->history_count == 0)
		return CLI_OK;
	if (cli_table_new(headers, 4, &table) != 0)
		return cli_out_of_memory(cli);
	struct proto_allow *names = key_names(cli);
	for (size_t i = 0; i < edit->history_count; i++) {
		const struct msg_edit_step *step = &edit->history[i];
		env_time_format(step->time_ms, time);
		cli_table_cell(table, "%s", time);
		cli_table_cell(table, "%.*s", (int)step->what.len, step->what.len > 0 ? step->what.text : "");
		by_cell(table, names, step);
		cli_table_cell(table, "%.*s", (int)step->text.len, step->text.len > 0 ? step->text.text : "");
	}
	proto_allow_destroy(&names);
	printf("\n");
	return cli_table_print(cli, &table);
}

static int edit_print(struct cli *cli, const struct msg_edit *edit)
{
	struct buf text = BUF_INIT;
	struct json_w w;
	struct msg_edit shown = *edit;
	if (!cli_is_structured(cli))
		shown.history_count = 0; /* a table of its own */
	json_w_init(&w, &text);
	edit_json(&w, &shown);
	if (cli_is_structured(cli))
		return cli_emit(cli, &text);
	int status = cli_object_print(cli, &text);
	return status == CLI_OK ? history_print(cli, edit) : status;
}

int cli_edit_show(struct cli *cli, const struct cli_args *args)
{
	struct err e = ERR_INIT;
	struct msg_received *reply = NULL;
	int status = CLI_OK;
	if (cli_edit_find(cli, args->words[0], true, &reply, &e) != 0)
		return cli_fail(cli, &e);
	const struct msg_edit *edit = &reply->msg.u.edit_list_reply.edits[0];
	if (cli->output == CLI_NAME)
		cli_line(stdout, "%.*s", (int)edit->id.len, edit->id.text);
	else
		status = edit_print(cli, edit);
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

/* A list of all values of a flag. */
static void members_add(struct json_w *w, const char *key, const struct cli_args *args, const char *flag)
{
	const char *value = cli_value_at(args, flag, 0);
	if (value == NULL)
		return;
	json_w_key(w, key);
	json_w_open(w, '[');
	for (size_t i = 0; (value = cli_value_at(args, flag, i)) != NULL; i++)
		json_w_str(w, value);
	json_w_close(w);
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

/* The coordinator says which edit that is: "supersedes edit ID: "PROMPT" -> "TARGET"". */
static void superseded_print(const struct msg_submit_result *result)
{
	struct buf text = BUF_INIT;
	text_escape(result->reason.text, result->reason.len, &text);
	printf(", %s", result->reason.len > 0 && !buf_failed(&text) ? buf_cstr(&text) : "supersedes another edit");
	buf_free(&text);
}

static void id_copy(const struct msg_submit_result *result, char id[STORE_ID_BYTES])
{
	snprintf(id, STORE_ID_BYTES, "%.*s", (int)result->id.len, result->id.len > 0 ? result->id.text : "");
}

static int result_print(struct cli *cli, const struct msg_submit_result *result)
{
	char id[STORE_ID_BYTES];
	bool taken = result->code == 0 || result->code == ERR_EXISTS;
	int status = CLI_OK;
	id_copy(result, id);
	if (cli_is_structured(cli)) {
		status = result_emit(cli, result, id);
	} else if (taken && cli->output == CLI_NAME) {
		cli_line(stdout, "%s", id);
	} else if (taken) {
		printf("%s %s as seq %llu", result->code == 0 ? "accepted" : "already there:", id,
		       (unsigned long long)result->seq);
		if (result->supersedes != 0)
			superseded_print(result);
		printf("\n");
	}
	if (taken)
		return status;
	struct err e = ERR_INIT;
	err_set(&e, result->code, "refused: %.*s%s", (int)result->reason.len,
		result->reason.len > 0 ? result->reason.text : "",
		result->code == ERR_AGAIN || result->code == ERR_FULL ? "; nothing was kept: try again later" : "");
	return cli_fail(cli, &e);
}

static int add_submit(struct cli *cli, const struct buf *record, enum msg_on_conflict on_conflict, bool wait)
{
	struct err e = ERR_INIT;
	struct record *check = NULL;
	struct msg_received *reply = NULL;
	struct buf warning = BUF_INIT;
	int rc = record_parse_new((const char *)record->data, record->len, &check, &e);
	if (rc == 0 && cli_edit_warning(check, &warning) != 0)
		rc = err_set(&e, ERR_NOMEM, "out of memory");
	record_destroy(&check);
	if (rc == 0 && warning.len > 0 && !cli->quiet)
		cli_line(stderr, "amend: %s", buf_cstr(&warning));
	buf_free(&warning);
	if (rc != 0)
		return cli_fail(cli, &e);
	struct msg_bytes bytes = { record->data, record->len };
	struct msg request = { .type = MSG_SUBMIT, .u.submit = { on_conflict, &bytes, 1 } };
	rc = cli_call(cli, &request, &reply, &e);
	if (rc != 0)
		return cli_fail(cli, &e);
	bool answered = reply->msg.u.submit_reply.result_count == 1;
	uint64_t seq = answered ? reply->msg.u.submit_reply.results[0].seq : 0;
	bool is_new = answered && reply->msg.u.submit_reply.results[0].code == 0;
	int status = answered ? result_print(cli, &reply->msg.u.submit_reply.results[0]) : CLI_FAILED;
	char id[STORE_ID_BYTES];
	if (answered)
		id_copy(&reply->msg.u.submit_reply.results[0], id);
	msg_free(&reply);
	return status == CLI_OK && wait ? cli_edit_wait_seq(cli, seq, id, is_new) : status;
}

int cli_edit_add(struct cli *cli, const struct cli_args *args)
{
	static const char *const members[][2] = { { "id", "id" },
						  { "prompt", "prompt" },
						  { "target", "target_new" },
						  { "subject", "subject" },
						  { "source", "source" },
						  { "ticket", "ticket" },
						  { "group", "group" },
						  { "valid-from", "valid_from" },
						  { "expires", "expires" },
						  { "loc-prompt", "loc_prompt" } };
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
	members_add(&w, "rephrase", args, "rephrase");
	members_add(&w, "aliases", args, "alias");
	members_add(&w, "subject_aliases", args, "subject-alias");
	json_w_close(&w);
	int status = buf_failed(&record) ? cli_out_of_memory(cli)
					 : add_submit(cli, &record, on_conflict, cli_switch(args, "wait"));
	buf_free(&record);
	return status;
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
