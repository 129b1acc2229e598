/* cli.c: options, errors and the connection to a cluster. */
#include "daemon/cli.h"

#include "daemon/wiring.h"

#include <stdio.h>
#include <string.h>
#include <time.h>

static int exit_of(int code)
{
	switch (code) {
	case 0:
		return CLI_OK;
	case ERR_NOT_FOUND:
		return CLI_NOT_FOUND;
	case ERR_DENIED:
		return CLI_DENIED;
	case ERR_CONFLICT:
	case ERR_EXISTS:
		return CLI_CONFLICT;
	case ERR_TIMEOUT:
	case ERR_CLOSED:
		return CLI_UNREACHABLE;
	case ERR_CORRUPT:
		return CLI_VERIFY;
	case ERR_AGAIN:
		return CLI_PENDING;
	case ERR_INTERRUPTED:
		return CLI_INTERRUPTED;
	default:
		return CLI_FAILED;
	}
}

int cli_fail(struct cli *cli, const struct err *e)
{
	fprintf(stderr, "amend: %s\n", e->text[0] != '\0' ? e->text : err_text(e->code));
	return cli->interrupted ? CLI_INTERRUPTED : exit_of(e->code);
}

int cli_usage(const char *usage)
{
	fprintf(stderr, "usage: %s\n", usage);
	return CLI_USAGE;
}

static const struct cli_option *option_find(const struct cli_option *options, size_t count, const char *arg,
					    const char **inline_value)
{
	*inline_value = NULL;
	for (size_t i = 0; i < count; i++) {
		size_t len = strlen(options[i].name);
		if (arg[0] == '-' && arg[1] == '-' && strncmp(arg + 2, options[i].name, len) == 0 &&
		    (arg[2 + len] == '\0' || (arg[2 + len] == '=' && options[i].has_value))) {
			*inline_value = arg[2 + len] == '=' ? arg + 3 + len : NULL;
			return &options[i];
		}
		if (options[i].letter != 0 && arg[0] == '-' && arg[1] == options[i].letter &&
		    (arg[2] == '\0' || options[i].has_value)) {
			*inline_value = arg[2] != '\0' ? arg + 2 : NULL;
			return &options[i];
		}
	}
	return NULL;
}

/* `strict`: an unknown option is an error; else it stays on the line. */
static int options_take(const struct cli_option *options, size_t count, int *argc, char **argv, bool strict,
			struct err *e)
{
	int kept = 0, i = 0;
	for (; i < *argc; i++) {
		const char *value;
		if (strcmp(argv[i], "--") == 0) {
			i += strict; /* the command's own parser drops the dashes, the global one leaves them */
			break;
		}
		const struct cli_option *option = option_find(options, count, argv[i], &value);
		if (option == NULL) {
			if (strict && argv[i][0] == '-' && argv[i][1] != '\0')
				return err_set(e, ERR_INVALID, "unknown option %s; --help lists what there is",
					       argv[i]);
			argv[kept++] = argv[i];
			continue;
		}
		if (!option->has_value) {
			*option->flag = true;
			continue;
		}
		if (value == NULL && i + 1 >= *argc)
			return err_set(e, ERR_INVALID, "--%s needs a value", option->name);
		*option->value = value != NULL ? value : argv[++i];
	}
	while (i < *argc)
		argv[kept++] = argv[i++];
	*argc = kept;
	return 0;
}

int cli_options(const struct cli_option *options, size_t option_count, int *argc, char **argv, struct err *e)
{
	return options_take(options, option_count, argc, argv, true, e);
}

int cli_options_known(const struct cli_option *options, size_t option_count, int *argc, char **argv, struct err *e)
{
	return options_take(options, option_count, argc, argv, false, e);
}

int cli_number(const char *text, const char *name, uint64_t min, uint64_t max, uint64_t *out, struct err *e)
{
	uint64_t value = 0;
	bool right = text[0] != '\0';
	for (const char *p = text; right && *p != '\0'; p++)
		right = *p >= '0' && *p <= '9' && !__builtin_mul_overflow(value, (uint64_t)10, &value) &&
			!__builtin_add_overflow(value, (uint64_t)(*p - '0'), &value);
	if (!right || value < min || value > max)
		return err_set(e, ERR_INVALID, "%s: \"%s\" is not a number from %llu to %llu", name, text,
			       (unsigned long long)min, (unsigned long long)max);
	*out = value;
	return 0;
}

int cli_connect(struct cli *cli, struct err *e)
{
	static struct proto_keypair keys; /* lives as long as the context that uses it */
	uint8_t server[PROTO_KEY_BYTES];
	if (cli->transport != NULL)
		return 0;
	if (cli->config.key_file[0] == '\0' || cli->config.server_key[0] == '\0')
		return err_set(e, ERR_NOT_FOUND,
			       "no cluster: %s/amend.yaml is not there; start one with `amend up --model FILE`, name "
			       "its folder with --data, or "
			       "give --coordinator, --server-key and --key-file",
			       cli->data);
	if (proto_key_parse(cli->config.server_key, server) != 0)
		return err_set(e, ERR_INVALID,
			       "key.server: needs 64 hex digits, the `public` line of the coordinator's key file");
	int rc = proto_keypair_load(cli->config.key_file, &keys, e);
	if (rc == 0)
		rc = proto_zmq_new(&keys, NULL, env_system(), &cli->zmq, e);
	if (rc == 0)
		rc = proto_zmq_connect(cli->zmq, cli->config.coordinator, NULL, server, &cli->transport, e);
	cli->client = (struct proto_client){ .transport = cli->transport,
					     .env = env_system(),
					     .endpoint = cli->config.coordinator,
					     .timeout_ms = cli->timeout_ms,
					     .interrupted = &cli->interrupted,
					     .next_request = env_random_u64(env_system()) };
	return rc;
}

void cli_disconnect(struct cli *cli)
{
	if (cli->transport != NULL)
		cli->transport->ops->destroy(cli->transport);
	cli->transport = NULL;
	proto_zmq_destroy(&cli->zmq);
}

int cli_call(struct cli *cli, struct msg *request, struct msg_received **reply, struct err *e)
{
	int rc = cli_connect(cli, e);
	return rc == 0 ? proto_client_call(&cli->client, request, reply, e) : rc;
}

bool cli_is_json(const struct cli *cli)
{
	return cli->output == CLI_JSON || cli->output == CLI_JSONL;
}

void cli_json_print(struct buf *text)
{
	printf("%s\n", buf_cstr(text));
	buf_free(text);
}

void cli_pause(const struct cli *cli, int64_t ms)
{
	for (int64_t left = ms; left > 0 && !cli->interrupted; left -= 50) {
		struct timespec pause = { 0, (left < 50 ? left : 50) * 1000000L };
		nanosleep(&pause, NULL);
	}
}
