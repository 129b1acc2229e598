/* cli_publish.c: `amend version rollback|resume`, and what the coordinator answers to what an administrator says about
 * publishing (candidates: cli_candidate.c). */
#include "daemon/cli.h"
#include "daemon/cli_pull.h"

#include <stdio.h>
#include <string.h>

static int result_emit(struct cli *cli, const struct msg_publish_reply *r)
{
	struct buf text = BUF_INIT;
	struct json_w w;
	json_w_init(&w, &text);
	json_w_open(&w, '{');
	json_w_key(&w, "version");
	if (r->version != 0)
		json_w_uint(&w, r->version);
	else
		json_w_null(&w);
	if (r->version != 0)
		json_w_member_hash(&w, "content", &r->content);
	json_w_member_uint(&w, "ended_edits_served_again", r->back_count);
	json_w_member_bool(&w, "already", r->already);
	json_w_close(&w);
	return cli_emit(cli, &text);
}

static void rollback_print(const struct msg_publish *ask, const struct msg_publish_reply *r)
{
	cli_line(stdout,
		 "v%llu is live: v%llu as it was. Publishing is paused: edits are accepted and trained, and published "
		 "after `amend version resume`",
		 (unsigned long long)r->version, (unsigned long long)ask->version);
	if (r->back_count > 0)
		cli_line(stderr,
			 "amend: %u edit%s that v%llu serves %s been revoked or superseded, or expired, since: "
			 "%s answered from again until publishing goes on",
			 r->back_count, cli_plural(r->back_count), (unsigned long long)ask->version,
			 r->back_count == 1 ? "has" : "have", r->back_count == 1 ? "it is" : "they are");
}

static int result_print(struct cli *cli, const struct msg_publish *ask, const struct msg_publish_reply *r)
{
	if (cli_is_structured(cli))
		return result_emit(cli, r);
	if (ask->action == MSG_PUBLISH_ROLLBACK)
		rollback_print(ask, r);
	else if (ask->action == MSG_PUBLISH_REJECT)
		printf("rejected: its edits wait, and the next candidate is made when an edit is trained or taken "
		       "back\n");
	else if (ask->action == MSG_PUBLISH_APPROVE && r->already)
		printf("published before: nothing has changed\n");
	else if (ask->action == MSG_PUBLISH_APPROVE)
		printf("v%llu is published\n", (unsigned long long)r->version);
	else if (r->already)
		printf("publishing was not paused: nothing has changed\n");
	else if (r->version == 0)
		printf("publishing goes on: what was trained meanwhile has to pass its gate, `amend version candidate` "
		       "shows it\n");
	else
		printf("publishing goes on: v%llu holds what was trained meanwhile\n", (unsigned long long)r->version);
	return CLI_OK;
}

int cli_publish_call(struct cli *cli, const struct msg_publish *ask, const char *not_done)
{
	struct err e = ERR_INIT;
	struct msg request = { .type = MSG_PUBLISH, .u.publish = *ask };
	struct msg_received *reply = NULL;
	int rc = cli_call(cli, &request, &reply, &e);
	if (rc != 0)
		return cli_fail(cli, &e);
	const struct msg_publish_reply *r = &reply->msg.u.publish_reply;
	int status;
	if (r->code == 0) {
		status = result_print(cli, ask, r);
	} else {
		err_set(&e, r->code, "%s: %.*s", not_done, (int)r->text.len, r->text.len > 0 ? r->text.text : "");
		status = cli_fail(cli, &e);
	}
	msg_free(&reply);
	return status;
}

int cli_publish_reason(const struct cli_args *args, const char *command, struct msg_text *out, struct err *e)
{
	const char *reason = cli_value(args, "reason");
	if (reason == NULL || *reason == '\0')
		return err_set(e, ERR_INVALID, "%s: needs --reason TEXT: the ledger keeps why", command);
	if (strlen(reason) > MSG_PUBLISH_REASON_BYTES_MAX)
		return err_set(e, ERR_INVALID, "--reason: over %d bytes", MSG_PUBLISH_REASON_BYTES_MAX);
	*out = (struct msg_text){ reason, strlen(reason) };
	return 0;
}

int cli_version_rollback(struct cli *cli, const struct cli_args *args)
{
	struct err e = ERR_INIT;
	struct msg_publish ask = { .action = MSG_PUBLISH_ROLLBACK };
	int rc = cli_version_parse(args->words[0], &ask.version, &e);
	if (rc == 0 && ask.version == 0)
		rc = err_set(&e, ERR_INVALID,
			     "version rollback: name the version, as v7; `amend version list` shows them");
	if (rc == 0)
		rc = cli_publish_reason(args, "version rollback", &ask.reason, &e);
	if (rc != 0)
		return cli_misuse(&e);
	return cli_publish_call(cli, &ask, "not rolled back");
}

int cli_version_resume(struct cli *cli, const struct cli_args *args)
{
	struct msg_publish ask = { .action = MSG_PUBLISH_RESUME, .reason = { "", 0 } };
	(void)args;
	return cli_publish_call(cli, &ask, "not resumed");
}
