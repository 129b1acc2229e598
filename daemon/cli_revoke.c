/* cli_revoke.c: `amend edit revoke`: takes an edit, or a group of edits, back. */
#include "daemon/cli_edit.h"

#include "base/text.h"
#include "store/store.h"

#include <stdio.h>
#include <string.h>

static int result_emit(struct cli *cli, const struct msg_revoke_reply *reply)
{
	struct buf text = BUF_INIT;
	struct json_w w;
	json_w_init(&w, &text);
	json_w_open(&w, '{');
	json_w_member_uint(&w, "revoked", reply->revoked_count);
	json_w_member_uint(&w, "restored", reply->restored_count);
	json_w_key(&w, "restored_ids");
	json_w_open(&w, '[');
	for (size_t i = 0; i < reply->restored_listed; i++)
		json_w_strn(&w, reply->restored[i].id.text, reply->restored[i].id.len);
	json_w_close(&w);
	json_w_key(&w, "version");
	if (reply->version != 0)
		json_w_uint(&w, reply->version);
	else
		json_w_null(&w);
	json_w_member_bool(&w, "already", reply->already);
	json_w_close(&w);
	return cli_emit(cli, &text);
}

/* By name, so that `edit wait` can be asked for them. */
static void restored_print(const struct msg_revoke_reply *reply)
{
	struct buf text = BUF_INIT;
	printf("; %u superseded edit%s submitted again", reply->restored_count,
	       reply->restored_count == 1 ? " was" : "s were");
	for (size_t i = 0; i < reply->restored_listed; i++) {
		buf_printf(&text, i == 0 ? " as " : ", ");
		text_escape(reply->restored[i].id.text, reply->restored[i].id.len, &text);
	}
	if (text.len > 0 && !buf_failed(&text))
		printf("%s", buf_cstr(&text));
	if (reply->restored_listed > 0 && reply->restored_listed < reply->restored_count)
		printf(" and %zu more", reply->restored_count - reply->restored_listed);
	buf_free(&text);
}

static int result_print(struct cli *cli, const struct msg_revoke_reply *reply)
{
	if (cli_is_structured(cli))
		return result_emit(cli, reply);
	if (reply->already) {
		printf("revoked before: nothing has changed\n");
		return CLI_OK;
	}
	printf("revoked %u edit%s", reply->revoked_count, cli_plural(reply->revoked_count));
	if (reply->version != 0)
		printf(", gone from v%llu on; the shard is trained anew without %s", (unsigned long long)reply->version,
		       reply->revoked_count == 1 ? "it" : "them");
	else if (reply->text.len > 0)
		printf(", but what is live goes on to hold %s: %.*s", reply->revoked_count == 1 ? "it" : "them",
		       (int)reply->text.len, reply->text.text);
	else
		printf(", no version has held %s", reply->revoked_count == 1 ? "it" : "them");
	if (reply->restored_count > 0)
		restored_print(reply);
	printf("\n");
	return CLI_OK;
}

static int revoke_call(struct cli *cli, const struct msg_revoke *ask)
{
	struct err e = ERR_INIT;
	struct msg request = { .type = MSG_REVOKE, .u.revoke = *ask };
	struct msg_received *reply = NULL;
	int rc = cli_call(cli, &request, &reply, &e);
	if (rc != 0)
		return cli_fail(cli, &e);
	const struct msg_revoke_reply *r = &reply->msg.u.revoke_reply;
	int status;
	if (r->code == 0) {
		status = result_print(cli, r);
	} else {
		err_set(&e, r->code, "not revoked: %.*s", (int)r->text.len, r->text.len > 0 ? r->text.text : "");
		status = cli_fail(cli, &e);
	}
	msg_free(&reply);
	return status;
}

/* An edit may be named by its number or the beginning of its id; the coordinator takes the whole id. */
static int revoke_edit(struct cli *cli, const char *name, struct msg_revoke *ask)
{
	struct err e = ERR_INIT;
	struct msg_received *found = NULL;
	if (cli_edit_find(cli, name, false, &found, &e) != 0)
		return cli_fail(cli, &e);
	ask->id = found->msg.u.edit_list_reply.edits[0].id;
	int status = revoke_call(cli, ask);
	msg_free(&found);
	return status;
}

int cli_edit_revoke(struct cli *cli, const struct cli_args *args)
{
	struct err e = ERR_INIT;
	const char *group = cli_value(args, "group"), *reason = cli_value(args, "reason");
	struct msg_revoke ask = { .id = { "", 0 }, .restore_superseded = cli_switch(args, "restore-superseded") };
	int rc = 0;
	if ((args->word_count == 1) == (group != NULL))
		rc = err_set(&e, ERR_INVALID, "edit revoke: give an ID, or --group NAME");
	else if (reason == NULL || *reason == '\0')
		rc = err_set(&e, ERR_INVALID, "edit revoke: needs --reason TEXT: the ledger keeps why");
	else if (strlen(reason) > MSG_REVOKE_REASON_BYTES_MAX)
		rc = err_set(&e, ERR_INVALID, "--reason: over %d bytes", MSG_REVOKE_REASON_BYTES_MAX);
	else if (group != NULL && (*group == '\0' || strlen(group) > MSG_GROUP_BYTES_MAX))
		rc = err_set(&e, ERR_INVALID, "--group: has 1 to %d bytes", MSG_GROUP_BYTES_MAX);
	if (rc != 0)
		return cli_misuse(&e);
	ask.reason = (struct msg_text){ reason, strlen(reason) };
	ask.group = (struct msg_text){ group != NULL ? group : "", group != NULL ? strlen(group) : 0 };
	return group != NULL ? revoke_call(cli, &ask) : revoke_edit(cli, args->words[0], &ask);
}
