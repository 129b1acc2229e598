/* cli_key.c: `amend key new`, `amend config check|view|sample`, `amend completion bash`. */
#include "daemon/cli.h"

#include <stdio.h>
#include <string.h>

static int key_emit(struct cli *cli, const char *file, const char *hex)
{
	struct buf text = BUF_INIT;
	struct json_w w;
	json_w_init(&w, &text);
	json_w_open(&w, '{');
	json_w_member_str(&w, "file", file);
	json_w_member_str(&w, "public", hex);
	json_w_close(&w);
	return cli_emit(cli, &text);
}

int cli_key_new(struct cli *cli, const struct cli_args *args)
{
	struct err e = ERR_INIT;
	struct proto_keypair pair;
	char hex[65];
	int rc = proto_keypair_new(&pair, &e);
	if (rc == 0)
		rc = proto_keypair_save(&pair, args->words[0], &e);
	if (rc != 0) {
		proto_keypair_wipe(&pair);
		return cli_fail(cli, &e);
	}
	proto_key_hex(pair.public_key, hex);
	proto_keypair_wipe(&pair);
	if (cli->output == CLI_NAME)
		printf("%s\n", args->words[0]);
	else if (cli_is_structured(cli))
		return key_emit(cli, args->words[0], hex);
	else
		printf("%s\n", hex);
	if (!cli->quiet)
		fprintf(stderr,
			"key pair in %s, its public key above. `amend key allow %.12s… --roles ROLES --name NAME`, "
			"with the whole key, lets it in; ROLES are submitter, reader (a node too), worker, auditor, "
			"admin, joined by +. Without a coordinator that runs: a line \"KEY ROLES NAME\" in its allow "
			"list "
			"(%s/keys/allow after `amend up`, else its --allow-file)\n",
			args->words[0], hex, cli->data);
	return CLI_OK;
}

int cli_config_check(struct cli *cli, const struct cli_args *args)
{
	struct err e = ERR_INIT;
	int rc = conf_load_file(&daemon_config_table, &cli->config, args->words[0], &e);
	if (rc == ERR_NOT_FOUND)
		rc = cli_add_step(&e, "check the path; `amend config sample` prints a file to begin with");
	if (rc != 0)
		return cli_fail(cli, &e);
	if (!cli->quiet)
		printf("%s: fine\n", args->words[0]);
	return CLI_OK;
}

static int text_print(struct cli *cli, struct buf *text)
{
	int status = buf_failed(text) ? cli_out_of_memory(cli) : CLI_OK;
	if (status == CLI_OK)
		printf("%s", buf_cstr(text));
	buf_free(text);
	return status;
}

int cli_config_view(struct cli *cli, const struct cli_args *args)
{
	struct err e = ERR_INIT;
	struct buf text = BUF_INIT;
	int rc = conf_load_file(&daemon_config_table, &cli->config, args->words[0], &e);
	if (rc == ERR_NOT_FOUND)
		rc = cli_add_step(&e, "check the path; `amend config sample` prints a file to begin with");
	if (rc != 0)
		return cli_fail(cli, &e);
	if (cli->output == CLI_JSON || cli->output == CLI_JSONL) {
		conf_view_json(&daemon_config_table, &cli->config, DAEMON_ALL | DAEMON_UP | DAEMON_CLI, &text);
		return cli_emit(cli, &text);
	}
	conf_view(&daemon_config_table, &cli->config, DAEMON_ALL | DAEMON_UP | DAEMON_CLI, &text);
	return text_print(cli, &text);
}

int cli_config_sample(struct cli *cli, const struct cli_args *args)
{
	struct buf text = BUF_INIT;
	(void)args;
	conf_sample(&daemon_config_table, DAEMON_ALL | DAEMON_UP | DAEMON_CLI, &text);
	return text_print(cli, &text);
}

int cli_completion(struct cli *cli, const struct cli_args *args)
{
	struct err e = ERR_INIT;
	struct buf text = BUF_INIT;
	if (strcmp(args->words[0], "bash") != 0) {
		err_set(&e, ERR_INVALID, "completion %.64s: there is one for bash only", args->words[0]);
		return cli_misuse(&e);
	}
	cli_completion_bash(&text);
	return text_print(cli, &text);
}
