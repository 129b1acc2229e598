/* cli_candidate.c: `amend version candidate|approve|reject`: what waits for a second key. */
#include "daemon/cli_edit.h"

#include <ctype.h>
#include <stdio.h>
#include <string.h>

#define CONTENT_DIGITS_MIN 12

static int candidate_ask(struct cli *cli, struct msg_received **reply, struct err *e)
{
	struct msg request = { .type = MSG_CANDIDATE };
	return cli_call(cli, &request, reply, e);
}

/* --- Showing it. */

static void seqs_json(struct json_w *w, const char *key, const uint64_t *seqs, size_t count)
{
	json_w_key(w, key);
	json_w_open(w, '[');
	for (size_t i = 0; i < count; i++)
		json_w_uint(w, seqs[i]);
	json_w_close(w);
}

static int candidate_emit(struct cli *cli, const struct msg_candidate_reply *r)
{
	struct buf text = BUF_INIT;
	struct json_w w;
	char time[ENV_TIME_BYTES];
	json_w_init(&w, &text);
	json_w_open(&w, '{');
	json_w_member_strn(&w, "state", r->state.text, r->state.len);
	if (r->version != 0) {
		env_time_format(r->made_ms, time);
		json_w_member_uint(&w, "version", r->version);
		json_w_member_hash(&w, "content", &r->content);
		json_w_member_str(&w, "made", time);
		json_w_member_uint(&w, "memories", r->memory_count);
		json_w_member_uint(&w, "edits", r->edit_count);
		json_w_member_uint(&w, "canaries", r->canaries);
		json_w_member_uint(&w, "canaries_changed", r->canaries_changed);
		json_w_member_uint(&w, "added_total", r->added_total);
		json_w_member_uint(&w, "removed_total", r->removed_total);
		seqs_json(&w, "added", r->added, r->added_count);
		seqs_json(&w, "removed", r->removed, r->removed_count);
		seqs_json(&w, "blamed", r->blamed, r->blamed_count);
	}
	json_w_member_uint(&w, "withheld_total", r->withheld_total);
	seqs_json(&w, "withheld", r->withheld, r->withheld_count);
	json_w_member_strn(&w, "text", r->text.text, r->text.len);
	json_w_close(&w);
	return cli_emit(cli, &text);
}

static int rows_add(struct cli *cli, struct cli_table *table, const char *change, const uint64_t *seqs, size_t count,
		    struct err *e)
{
	int rc = 0;
	for (size_t i = 0; rc == 0 && i < count && cli_output_open(); i++) {
		struct msg_received *reply = NULL;
		rc = cli_edit_get(cli, seqs[i], true, &reply, e);
		if (rc != 0)
			break;
		const struct msg_edit *edit = &reply->msg.u.edit_list_reply.edits[0];
		cli_table_cell(table, "%s", change);
		cli_table_cell(table, "%llu", (unsigned long long)edit->seq);
		cli_edit_id_cell(cli, table, edit->id);
		cli_edit_cells(cli, table, edit->payload);
		msg_free(&reply);
	}
	return rc;
}

static int edits_print(struct cli *cli, const struct msg_candidate_reply *r)
{
	static const char *const headers[] = { "CHANGE", "SEQ", "ID", "PROMPT", "TARGET" };
	struct cli_table *table = NULL;
	struct err e = ERR_INIT;
	if (r->added_count + r->removed_count + r->blamed_count + r->withheld_count == 0)
		return CLI_OK;
	if (cli_table_new(headers, 5, &table) != 0)
		return cli_out_of_memory(cli);
	int rc = rows_add(cli, table, "added", r->added, r->added_count, &e);
	if (rc == 0)
		rc = rows_add(cli, table, "left out", r->removed, r->removed_count, &e);
	if (rc == 0)
		rc = rows_add(cli, table, "blamed", r->blamed, r->blamed_count, &e);
	if (rc == 0)
		rc = rows_add(cli, table, "withheld", r->withheld, r->withheld_count, &e);
	if (rc != 0) {
		cli_table_free(&table);
		return cli_fail(cli, &e);
	}
	int status = cli_table_print(cli, &table);
	if (r->added_total > r->added_count || r->removed_total > r->removed_count)
		cli_line(stderr, "amend: the first %zu of %u added, the first %zu of %u left out", r->added_count,
			 r->added_total, r->removed_count, r->removed_total);
	return status;
}

static int candidate_print(struct cli *cli, const struct msg_candidate_reply *r)
{
	char content[HASH_HEX_BYTES], time[ENV_TIME_BYTES];
	if (r->text.len > 0)
		cli_line(stdout, "%.*s", (int)r->text.len, r->text.text);
	else
		cli_line(stdout, "there is no candidate: what is trained is published");
	if (r->version == 0)
		return edits_print(cli, r); /* what is withheld */
	hash_hex(&r->content, content);
	env_time_format(r->made_ms, time);
	cli_line(stdout, "content %s", content);
	cli_line(stdout, "made %s: %u memor%s, %u edit%s", time, r->memory_count, r->memory_count == 1 ? "y" : "ies",
		 r->edit_count, cli_plural(r->edit_count));
	return edits_print(cli, r);
}

int cli_version_candidate(struct cli *cli, const struct cli_args *args)
{
	struct err e = ERR_INIT;
	struct msg_received *reply = NULL;
	char content[HASH_HEX_BYTES];
	int status = CLI_OK;
	(void)args;
	if (candidate_ask(cli, &reply, &e) != 0)
		return cli_fail(cli, &e);
	const struct msg_candidate_reply *r = &reply->msg.u.candidate_reply;
	hash_hex(&r->content, content);
	if (cli_is_structured(cli))
		status = candidate_emit(cli, r);
	else if (cli->output != CLI_NAME)
		status = candidate_print(cli, r);
	else if (r->version != 0)
		printf("%s\n", content);
	msg_free(&reply);
	return status;
}

/* --- Judging it. */

static int content_check(const char *text, struct err *e)
{
	const size_t len = strlen(text);
	bool hex = len >= CONTENT_DIGITS_MIN && len < HASH_HEX_BYTES;
	for (size_t i = 0; hex && i < len; i++)
		hex = isxdigit((unsigned char)text[i]) && !isupper((unsigned char)text[i]);
	return hex ? 0
		   : err_set(e, ERR_INVALID,
			     "\"%.80s\" is no content: write %d to %d of the digits that `amend version candidate` "
			     "shows",
			     text, CONTENT_DIGITS_MIN, HASH_HEX_BYTES - 1);
}

/* Its beginning stands for the candidate that is there now, or for none. */
static int content_find(struct cli *cli, const char *text, struct hash *out, struct err *e)
{
	struct msg_received *reply = NULL;
	char now[HASH_HEX_BYTES];
	if (strlen(text) == HASH_HEX_BYTES - 1)
		return hash_parse(text, out) != 0 ? err_set(e, ERR_INVALID, "\"%s\" is no content", text) : 0;
	int rc = candidate_ask(cli, &reply, e);
	if (rc != 0)
		return rc;
	const struct msg_candidate_reply *r = &reply->msg.u.candidate_reply;
	*out = r->content;
	hash_hex(&r->content, now);
	if (r->version == 0)
		rc = err_set(e, ERR_NOT_FOUND, "there is no candidate");
	else if (strncmp(now, text, strlen(text)) != 0)
		rc = err_set(e, ERR_CONFLICT,
			     "the candidate is %.12s now, not %s: it was made anew; `amend version candidate` shows it",
			     now, text);
	msg_free(&reply);
	return rc;
}

static int judge(struct cli *cli, const char *content, struct msg_publish *ask, const char *not_done)
{
	struct err e = ERR_INIT;
	if (content_check(content, &e) != 0)
		return cli_misuse(&e);
	if (content_find(cli, content, &ask->content, &e) != 0) {
		err_wrap(&e, "%s", not_done);
		return cli_fail(cli, &e);
	}
	return cli_publish_call(cli, ask, not_done);
}

int cli_version_approve(struct cli *cli, const struct cli_args *args)
{
	struct msg_publish ask = { .action = MSG_PUBLISH_APPROVE, .reason = { "", 0 } };
	return judge(cli, args->words[0], &ask, "not approved");
}

int cli_version_reject(struct cli *cli, const struct cli_args *args)
{
	struct msg_publish ask = { .action = MSG_PUBLISH_REJECT };
	struct err e = ERR_INIT;
	if (cli_publish_reason(args, "version reject", &ask.reason, &e) != 0)
		return cli_misuse(&e);
	return judge(cli, args->words[0], &ask, "not rejected");
}
