/* cli_key.c: `amend key new`, `amend config check|view|sample`, `amend completion bash`. */
#include "daemon/cli.h"

#include <stdio.h>
#include <string.h>

int cli_key(struct cli *cli, int argc, char **argv)
{
	struct err e = ERR_INIT;
	struct proto_keypair pair;
	char hex[65];
	if (argc != 2 || strcmp(argv[0], "new") != 0)
		return cli_usage("amend key new FILE");
	int rc = proto_keypair_new(&pair, &e);
	if (rc == 0)
		rc = proto_keypair_save(&pair, argv[1], &e);
	if (rc != 0)
		return cli_fail(cli, &e);
	proto_key_hex(pair.public_key, hex);
	proto_keypair_wipe(&pair);
	printf("%s\n", hex);
	fprintf(stderr,
		"key pair in %s, its public key above; a line \"%.12s… ROLES NAME\" in the coordinator's allow list "
		"lets it in\n",
		argv[1], hex);
	return CLI_OK;
}

static int config_check(struct cli *cli, const char *file)
{
	struct err e = ERR_INIT;
	int rc = conf_load_file(&daemon_config_table, &cli->config, file, &e);
	if (rc != 0)
		return cli_fail(cli, &e);
	printf("%s: fine\n", file);
	return CLI_OK;
}

static int config_print(struct cli *cli, bool sample)
{
	struct buf text = BUF_INIT;
	if (sample)
		conf_sample(&daemon_config_table, DAEMON_ALL | DAEMON_UP | DAEMON_CLI, &text);
	else
		conf_view(&daemon_config_table, &cli->config, DAEMON_ALL | DAEMON_UP | DAEMON_CLI, &text);
	printf("%s", buf_cstr(&text));
	buf_free(&text);
	return CLI_OK;
}

int cli_config(struct cli *cli, int argc, char **argv)
{
	struct err e = ERR_INIT;
	if (argc == 2 && strcmp(argv[0], "check") == 0)
		return config_check(cli, argv[1]);
	if (argc == 2 && strcmp(argv[0], "view") == 0)
		return conf_load_file(&daemon_config_table, &cli->config, argv[1], &e) == 0 ? config_print(cli, false)
											    : cli_fail(cli, &e);
	if (argc == 1 && strcmp(argv[0], "sample") == 0)
		return config_print(cli, true);
	return cli_usage("amend config check FILE | view FILE | sample");
}

int cli_completion(struct cli *cli, int argc, char **argv)
{
	(void)cli;
	if (argc != 1 || strcmp(argv[0], "bash") != 0)
		return cli_usage("amend completion bash     (eval \"$(amend completion bash)\")");
	printf("%s", "_amend() {\n"
		     "	local word=${COMP_WORDS[COMP_CWORD]} words=\n"
		     "	case $COMP_CWORD:${COMP_WORDS[1]} in\n"
		     "	1:*) words='up down edit ask version merge fleet eval key config completion --help --version' "
		     ";;\n"
		     "	2:edit) words='add import list show wait' ;;\n"
		     "	2:version) words='list show' ;;\n"
		     "	2:merge | 2:eval) words=run ;;\n"
		     "	2:fleet) words=status ;;\n"
		     "	2:key) words=new ;;\n"
		     "	2:config) words='check view sample' ;;\n"
		     "	2:completion) words=bash ;;\n"
		     "	esac\n"
		     "	case ${COMP_WORDS[1]}:$word in\n"
		     "	up:-*) words='--model --workers --listen --coordinator --hints --backend --threads' ;;\n"
		     "	edit:-*) words='--on-conflict --wait --prompt --target --subject --id --state --limit' ;;\n"
		     "	ask:-*) words='--version --explain --set --base --node --max-tokens' ;;\n"
		     "	eval:-*) words='--edits --probes --probes-file --before --on-conflict --model --version --set "
		     "--details --threads' "
		     ";;\n"
		     "	esac\n"
		     "	[[ $word == -* ]] && words+=' --data --config --output --timeout --quiet'\n"
		     "	mapfile -t COMPREPLY < <(compgen -W \"$words\" -- \"$word\")\n"
		     "	[ ${#COMPREPLY[@]} -gt 0 ] || mapfile -t COMPREPLY < <(compgen -f -- \"$word\")\n"
		     "}\n"
		     "complete -F _amend amend\n");
	return CLI_OK;
}
