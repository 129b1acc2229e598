/* cli_args.c: sorts a command line by the table of commands. Options may stand anywhere; a command's own come before
 * the global ones, and those before settings of the configuration. */
#include "daemon/cli.h"

#include <assert.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define WORD_BYTES_MAX 64 /* longer words are near to none */
#define NEAR_MAX       2

const struct cli_flag cli_global_flags[] = {
	{ "data", "FOLDER", "the folder of `amend up` (default: ./amend-data)" },
	{ "config", "FILE", "configuration file (default: FOLDER/amend.yaml)" },
	{ "timeout", "SECONDS",
	  "longest wait for one answer (default: 10), and for work to be done (default: a day; up: 180)" },
	{ "output", "table|wide|json|jsonl|yaml|name", "form of the output; -o for short" },
	{ "no-headers", NULL, "tables without their first line" },
	{ "quiet", NULL, "no progress and no notes; -q for short" },
	{ "verbose", NULL, "log what happens; -v for short" },
	{ "no-color", NULL, "no bold print; the environment variable NO_COLOR does the same" },
	{ "help", NULL, "this text; -h for short" },
	{ "version", NULL, "the program's version" },
	{ NULL, NULL, NULL },
};

/* --- near words */

static size_t least(size_t a, size_t b, size_t c)
{
	size_t ab = a < b ? a : b;
	return ab < c ? ab : c;
}

/* Insertions, deletions, changes and swaps of neighbours from one word to the other. */
static size_t distance(const char *a, const char *b)
{
	size_t rows[3][WORD_BYTES_MAX + 1], a_len = strlen(a), b_len = strlen(b);
	if (a_len > WORD_BYTES_MAX || b_len > WORD_BYTES_MAX)
		return SIZE_MAX;
	for (size_t j = 0; j <= b_len; j++)
		rows[0][j] = j;
	for (size_t i = 1; i <= a_len; i++) {
		size_t *row = rows[i % 3], *above = rows[(i + 2) % 3], *before = rows[(i + 1) % 3];
		row[0] = i;
		for (size_t j = 1; j <= b_len; j++) {
			row[j] = least(above[j] + 1, row[j - 1] + 1, above[j - 1] + (a[i - 1] != b[j - 1]));
			bool swapped = i > 1 && j > 1 && a[i - 1] == b[j - 2] && a[i - 2] == b[j - 1];
			if (swapped && before[j - 2] + 1 < row[j])
				row[j] = before[j - 2] + 1;
		}
	}
	return rows[a_len % 3][b_len];
}

struct near {
	const char *wanted, *found;
	size_t distance;
};

static void near_try(struct near *near, const char *word)
{
	size_t len = strlen(near->wanted), d = distance(near->wanted, word);
	if (d > 0 && len >= 3 && strncmp(near->wanted, word, len) == 0)
		d = 1; /* the beginning of a word is as good as one slip */
	if (d <= NEAR_MAX && 2 * d < len && d < near->distance) {
		near->found = word;
		near->distance = d;
	}
}

static int unknown(const struct near *near, const char *what, const char *dashes, struct err *e)
{
	return near->found == NULL ? err_set(e, ERR_INVALID, "unknown %s \"%s%.64s\"", what, dashes, near->wanted)
				   : err_set(e, ERR_INVALID, "unknown %s \"%s%.64s\"; did you mean \"%s%s\"?", what,
					     dashes, near->wanted, dashes, near->found);
}

/* --- the command */

static int command_unknown(const char *word, struct err *e)
{
	struct near near = { word, NULL, SIZE_MAX };
	for (size_t i = 0; i < cli_command_count; i++)
		near_try(&near, cli_commands[i].noun);
	return unknown(&near, "command", "", e);
}

static int verb_unknown(const char *noun, const char *word, struct err *e)
{
	struct near near = { word, NULL, SIZE_MAX };
	for (size_t i = 0; i < cli_command_count; i++)
		if (strcmp(cli_commands[i].noun, noun) == 0)
			near_try(&near, cli_commands[i].verb);
	if (near.found == NULL)
		return err_set(e, ERR_INVALID, "unknown command \"%s %.64s\"", noun, word);
	return err_set(e, ERR_INVALID, "unknown command \"%s %.64s\"; did you mean \"%s %s\"?", noun, word, noun,
		       near.found);
}

/* Takes the noun or the verb; *taken is false when the word is none of the command's name. */
static int command_word(struct cli_args *args, const char *word, bool *taken, struct err *e)
{
	*taken = args->command == NULL;
	if (!*taken)
		return 0;
	if (strcmp(word, "help") == 0 && !args->help) {
		args->help = true;
		return 0;
	}
	for (size_t i = 0; i < cli_command_count; i++) {
		const struct cli_command *command = &cli_commands[i];
		if (strcmp(command->noun, args->noun != NULL ? args->noun : word) != 0)
			continue;
		if (command->verb == NULL || (args->noun != NULL && strcmp(command->verb, word) == 0)) {
			args->command = command;
			args->noun = NULL;
			return 0;
		}
		if (args->noun == NULL) {
			args->noun = command->noun;
			return 0;
		}
	}
	return args->noun == NULL ? command_unknown(word, e) : verb_unknown(args->noun, word, e);
}

/* --- options */

struct line { /* the command line, and where we are in it */
	int argc, at;
	char **argv;
};

struct option {
	const char *name; /* behind the dashes */
	size_t name_len;
	const char *value; /* behind the =, or NULL */
};

static const char *letter_name(char letter)
{
	return letter == 'o'   ? "output"
	       : letter == 'q' ? "quiet"
	       : letter == 'v' ? "verbose"
	       : letter == 'h' ? "help"
			       : "";
}

/* "--name", "--name=value", "-o", "-ojson". */
static struct option option_read(const char *arg)
{
	struct option o = { arg + 2, 0, NULL };
	if (arg[1] == '-') {
		o.name_len = strcspn(o.name, "=");
		o.value = o.name[o.name_len] == '=' ? o.name + o.name_len + 1 : NULL;
		return o;
	}
	o.name = letter_name(arg[1]);
	o.name_len = strlen(o.name);
	o.value = arg[2] != '\0' ? arg + 2 : NULL;
	return o;
}

static bool named(const struct option *o, const char *name)
{
	return strlen(name) == o->name_len && o->name_len > 0 && memcmp(name, o->name, o->name_len) == 0;
}

/* Gives `value` for a flag with one: behind the = or the next word. A switch takes none. */
static int value_take(struct line *line, const struct cli_flag *flag, const struct option *o, const char **value,
		      struct err *e)
{
	*value = flag->value != NULL ? o->value : "";
	if (flag->value == NULL && o->value != NULL)
		return err_set(e, ERR_INVALID, "--%s takes no value", flag->name);
	if (*value == NULL && line->at + 1 >= line->argc)
		return err_set(e, ERR_INVALID, "--%s needs a value: %s", flag->name, flag->value);
	if (*value == NULL)
		*value = line->argv[++line->at];
	return 0;
}

static int output_parse(const char *text, enum cli_output *out, struct err *e)
{
	static const char *const names[] = { "table", "wide", "json", "jsonl", "yaml", "name" };
	for (size_t i = 0; i < sizeof names / sizeof names[0]; i++) {
		if (strcmp(text, names[i]) == 0) {
			*out = (enum cli_output)i;
			return 0;
		}
	}
	return err_set(e, ERR_INVALID, "--output %.64s: may be table, wide, json, jsonl, yaml or name", text);
}

static int timeout_parse(struct cli *cli, const char *text, struct err *e)
{
	char *end;
	double seconds = strtod(text, &end);
	if (end == text || *end != '\0' || !(seconds >= 0.001 && seconds < 1e6))
		return err_set(e, ERR_INVALID, "--timeout %.64s: needs a number of seconds from 0.001 to 999999", text);
	cli->timeout_given = true;
	cli->timeout_ms = cli->wait_ms = (int64_t)(seconds * 1000);
	return 0;
}

static int global_set(struct cli *cli, struct cli_args *args, const char *name, const char *value, struct err *e)
{
	const struct {
		const char *name;
		bool *set;
	} switches[] = { { "no-headers", &cli->no_headers }, { "quiet", &cli->quiet }, { "verbose", &cli->verbose },
			 { "no-color", &cli->no_color },     { "help", &args->help },  { "version", &args->version } };
	for (size_t i = 0; i < sizeof switches / sizeof switches[0]; i++)
		if (strcmp(name, switches[i].name) == 0)
			*switches[i].set = true;
	if (strcmp(name, "data") == 0)
		cli->data = value;
	if (strcmp(name, "config") == 0)
		args->config_file = value;
	if (strcmp(name, "output") == 0)
		return output_parse(value, &cli->output, e);
	return strcmp(name, "timeout") == 0 ? timeout_parse(cli, value, e) : 0;
}

/* A flag may be written with - for _. */
static bool setting_named(const char *name, const struct option *o, size_t skip)
{
	if (name == NULL || o->name_len < skip || strlen(name) != o->name_len - skip)
		return false;
	for (size_t i = 0; name[i] != '\0'; i++)
		if (name[i] != o->name[skip + i] && !(name[i] == '_' && o->name[skip + i] == '-'))
			return false;
	return true;
}

/* `amend up` hands its settings on to every program; other commands use their own only. */
static bool setting_fits(const struct cli_command *command, const struct conf_item *item)
{
	if (command == NULL || (command->settings & DAEMON_UP) != 0)
		return true;
	return !command->offline && (item->roles & (DAEMON_CLI | command->settings)) != 0;
}

/* Settings of the configuration are read later, over the file; here they only leave the line. */
static bool setting_take(struct line *line, struct cli_args *args, const struct option *o)
{
	for (size_t i = 0; i < daemon_config_table.item_count; i++) {
		const struct conf_item *item = &daemon_config_table.items[i];
		bool plain = setting_named(item->name, o, 0) || setting_named(item->flag, o, 0);
		bool negated = item->type == CONF_BOOL && strncmp(o->name, "no-", 3) == 0 &&
			       (setting_named(item->name, o, 3) || setting_named(item->flag, o, 3));
		if ((!plain && !negated) || !setting_fits(args->command, item))
			continue;
		args->settings[args->setting_count++] = line->argv[line->at];
		if (item->type != CONF_BOOL && o->value == NULL && line->at + 1 < line->argc)
			args->settings[args->setting_count++] = line->argv[++line->at];
		return true;
	}
	return false;
}

static int option_unknown(const struct cli_args *args, const char *arg, const struct option *o, struct err *e)
{
	char name[WORD_BYTES_MAX + 1];
	struct near near = { name, NULL, SIZE_MAX };
	if (arg[1] != '-')
		return err_set(e, ERR_INVALID, "unknown option \"%.64s\"", arg);
	snprintf(name, sizeof name, "%.*s", (int)(o->name_len < WORD_BYTES_MAX ? o->name_len : WORD_BYTES_MAX),
		 o->name);
	for (size_t i = 0; args->command != NULL && i < CLI_FLAGS_MAX && args->command->flags[i].name != NULL; i++)
		near_try(&near, args->command->flags[i].name);
	for (size_t i = 0; cli_global_flags[i].name != NULL; i++)
		near_try(&near, cli_global_flags[i].name);
	for (size_t i = 0; i < daemon_config_table.item_count; i++)
		if (daemon_config_table.items[i].flag != NULL &&
		    setting_fits(args->command, &daemon_config_table.items[i]))
			near_try(&near, daemon_config_table.items[i].flag);
	return unknown(&near, "option", "--", e);
}

static int option_take(struct cli *cli, struct cli_args *args, struct line *line, struct err *e)
{
	const char *arg = line->argv[line->at], *value;
	struct option o = option_read(arg);
	for (size_t i = 0; args->command != NULL && i < CLI_FLAGS_MAX && args->command->flags[i].name != NULL; i++) {
		const struct cli_flag *flag = &args->command->flags[i];
		if (!named(&o, flag->name))
			continue;
		int rc = value_take(line, flag, &o, &args->values[i], e);
		args->given[args->given_count++] = (struct cli_given){ flag, args->values[i] };
		return rc;
	}
	for (size_t i = 0; cli_global_flags[i].name != NULL; i++) {
		if (!named(&o, cli_global_flags[i].name))
			continue;
		int rc = value_take(line, &cli_global_flags[i], &o, &value, e);
		return rc == 0 ? global_set(cli, args, cli_global_flags[i].name, value, e) : rc;
	}
	return setting_take(line, args, &o) ? 0 : option_unknown(args, arg, &o, e);
}

/* --- the line */

static int words_check(const struct cli *cli, const struct cli_args *args, struct err *e)
{
	const struct cli_command *c = args->command;
	if (args->help || args->version || c == NULL)
		return 0;
	if (args->word_count < c->words_min) {
		const char *word = c->words; /* the first that is not there */
		for (int i = 0; i < args->word_count && strchr(word, ' ') != NULL; i++)
			word = strchr(word, ' ') + 1;
		return err_set(e, ERR_INVALID, "%.*s is missing", (int)strcspn(word, " "), word);
	}
	if (args->word_count > c->words_max)
		return err_set(e, ERR_INVALID, "\"%.64s\" is one word too many; a text with spaces needs quotes",
			       args->words[c->words_max]);
	if (cli->output == CLI_NAME && !c->names)
		return err_set(e, ERR_INVALID, "--output name: this command has nothing that is named");
	return 0;
}

int cli_args_parse(struct cli *cli, int argc, char **argv, struct cli_args *args, struct err *e)
{
	struct line line = { argc, 1, argv };
	bool options = true, taken = false;
	int rc = 0;
	*args = (struct cli_args){ .words = argv, .setting_count = 1 };
	args->settings = calloc((size_t)argc + 2, sizeof *args->settings);
	args->given = calloc((size_t)argc, sizeof *args->given);
	if (args->settings == NULL || args->given == NULL)
		return err_set(e, ERR_NOMEM, "out of memory");
	args->settings[0] = argv[0];
	for (; rc == 0 && line.at < argc; line.at++) {
		char *arg = argv[line.at];
		if (options && strcmp(arg, "--") == 0)
			options = false;
		else if (options && arg[0] == '-' && arg[1] != '\0')
			rc = option_take(cli, args, &line, e);
		else if ((rc = command_word(args, arg, &taken, e)) == 0 && !taken)
			args->words[args->word_count++] = arg; /* what was read makes the room */
	}
	return rc == 0 ? words_check(cli, args, e) : rc;
}

void cli_args_fini(struct cli_args *args)
{
	free(args->settings);
	free(args->given);
	args->settings = NULL;
	args->given = NULL;
}

const char *cli_value(const struct cli_args *args, const char *flag)
{
	for (size_t i = 0; i < CLI_FLAGS_MAX && args->command->flags[i].name != NULL; i++)
		if (strcmp(args->command->flags[i].name, flag) == 0)
			return args->values[i];
	assert(false); /* no flag of the command's table */
	return NULL;
}

const char *cli_value_at(const struct cli_args *args, const char *flag, size_t at)
{
	for (size_t i = 0; i < args->given_count; i++)
		if (strcmp(args->given[i].flag->name, flag) == 0 && at-- == 0)
			return args->given[i].value;
	return NULL;
}

bool cli_switch(const struct cli_args *args, const char *flag)
{
	return cli_value(args, flag) != NULL;
}
