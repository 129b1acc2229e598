/* cli_help.c: help texts and the completion script, made from the table of commands. */
#include "daemon/cli.h"
#include "store/store.h"

#include <stdio.h>
#include <string.h>

#define OPTION_COLUMN 34
#define USAGE_COLUMNS 100

static void name_put(const struct cli_command *c, struct buf *out)
{
	buf_printf(out, "%s%s%s", c->noun, c->verb != NULL ? " " : "", c->verb != NULL ? c->verb : "");
}

/* Breaks before a part that would pass the edge. */
static void usage_part(struct buf *out, size_t *column, size_t indent, const char *part)
{
	if (*column + 1 + strlen(part) > USAGE_COLUMNS) {
		buf_printf(out, "\n%*s", (int)indent, "");
		*column = indent;
	}
	buf_printf(out, " %s", part);
	*column += 1 + strlen(part);
}

void cli_help_usage(const struct cli_command *c, struct buf *out)
{
	size_t start = out->len;
	char part[128];
	buf_puts(out, "usage: amend ");
	name_put(c, out);
	size_t column = out->len - start, indent = column;
	if (c->words[0] != '\0')
		usage_part(out, &column, indent, c->words);
	for (size_t i = 0; i < CLI_FLAGS_MAX && c->flags[i].name != NULL; i++) {
		const struct cli_flag *f = &c->flags[i];
		snprintf(part, sizeof part, "[--%s%s%s]", f->name, f->value != NULL ? " " : "",
			 f->value != NULL ? f->value : "");
		usage_part(out, &column, indent, part);
	}
	if (c->settings != 0)
		usage_part(out, &column, indent, "[settings]");
	buf_puts(out, "\n");
}

static void flag_put(const struct cli_flag *f, struct buf *out)
{
	size_t start = out->len;
	buf_printf(out, "  --%s%s%s", f->name, f->value != NULL ? " " : "", f->value != NULL ? f->value : "");
	size_t width = out->len - start;
	if (width >= OPTION_COLUMN)
		buf_printf(out, "\n%*s%s\n", OPTION_COLUMN, "", f->help);
	else
		buf_printf(out, "%*s%s\n", (int)(OPTION_COLUMN - width), "", f->help);
}

static void globals_put(struct buf *out)
{
	buf_puts(out, "\nglobal options:\n");
	for (const struct cli_flag *f = cli_global_flags; f->name != NULL; f++)
		flag_put(f, out);
	buf_puts(out, "  --coordinator, --server-key, --key-file: a cluster elsewhere\n");
}

void cli_help_command(const struct cli_command *c, struct buf *out)
{
	cli_help_usage(c, out);
	buf_printf(out, "\n%s\n", c->what);
	if (c->more != NULL)
		buf_puts(out, c->more);
	if (c->flags[0].name != NULL)
		buf_puts(out, "\noptions:\n");
	for (size_t i = 0; i < CLI_FLAGS_MAX && c->flags[i].name != NULL; i++)
		flag_put(&c->flags[i], out);
	if (c->settings != 0) {
		buf_puts(out, "\nsettings, over those of the configuration file:\n");
		conf_help(&daemon_config_table, c->settings, out);
	}
	globals_put(out);
}

static const char *const noun_words[][2] = {
	{ "edit", "submit facts and follow them" },
	{ "version", "what is published" },
	{ "merge", "one memory from many shards" },
	{ "fleet", "coordinator, workers and nodes" },
	{ "eval", "measure edits" },
	{ "store", "the coordinator's folder, or a copy of it" },
	{ "audit", "what the ledger says of changes, and whether it was changed" },
	{ "key", "who may come in" },
	{ "config", "the configuration file" },
};

static const char *noun_what(const char *noun)
{
	for (size_t i = 0; i < sizeof noun_words / sizeof noun_words[0]; i++)
		if (strcmp(noun_words[i][0], noun) == 0)
			return noun_words[i][1];
	return "";
}

static bool noun_first(size_t index)
{
	return index == 0 || strcmp(cli_commands[index - 1].noun, cli_commands[index].noun) != 0;
}

/* "add | import | list" */
static void verbs_put(const char *noun, const char *between, struct buf *out)
{
	bool first = true;
	for (size_t i = 0; i < cli_command_count; i++) {
		if (strcmp(cli_commands[i].noun, noun) != 0 || cli_commands[i].verb == NULL)
			continue;
		buf_printf(out, "%s%s", first ? "" : between, cli_commands[i].verb);
		first = false;
	}
}

void cli_help_noun(const char *noun, struct buf *out)
{
	buf_printf(out, "usage: amend %s ", noun);
	verbs_put(noun, "|", out);
	buf_printf(out, " [options]\n\n%s\n", noun_what(noun));
	for (size_t i = 0; i < cli_command_count; i++)
		if (strcmp(cli_commands[i].noun, noun) == 0)
			buf_printf(out, "  %-10s %s\n", cli_commands[i].verb, cli_commands[i].what);
	buf_printf(out, "\n`amend %s COMMAND --help` says more\n", noun);
}

void cli_help_all(struct buf *out)
{
	buf_puts(out, "usage: amend COMMAND [options]\n\ncommands:\n");
	for (size_t i = 0; i < cli_command_count; i++) {
		const struct cli_command *c = &cli_commands[i];
		if (!noun_first(i))
			continue;
		buf_printf(out, "  %-12s ", c->noun);
		verbs_put(c->noun, " | ", out);
		buf_printf(out, "%s%s\n", c->verb != NULL ? ": " : "", c->verb != NULL ? noun_what(c->noun) : c->what);
	}
	buf_printf(out, "  %-12s this text; `amend help COMMAND` says more of one\n", "help");
	globals_put(out);
	buf_puts(
		out,
		"\nexit codes: 0 done, 1 failed, 2 wrong usage, 3 not found, 4 not allowed, 5 conflict, 6 unreachable\n"
		"or timed out, 7 verification failed, 8 pending, 130 interrupted\n");
	buf_puts(out, "`amend COMMAND --help` says more of each\n");
}

/* --- completion: the words of a place in the line; where none are known, file names */

static void nouns_case(struct buf *out)
{
	buf_puts(out, "	0:) words='");
	for (size_t i = 0; i < cli_command_count; i++)
		if (noun_first(i))
			buf_printf(out, "%s ", cli_commands[i].noun);
	buf_puts(out, "help --help --version' ;;\n");
	for (size_t i = 0; i < cli_command_count; i++) {
		if (!noun_first(i) || cli_commands[i].verb == NULL)
			continue;
		buf_printf(out, "	1:%s) words='", cli_commands[i].noun);
		verbs_put(cli_commands[i].noun, " ", out);
		buf_puts(out, "' ;;\n");
	}
	buf_puts(out, "	1:completion) words=bash ;;\n	1:help) words='");
	for (size_t i = 0; i < cli_command_count; i++)
		if (noun_first(i))
			buf_printf(out, "%s ", cli_commands[i].noun);
	buf_puts(out, "' ;;\n");
}

static void settings_put(const struct cli_command *c, struct buf *out)
{
	for (size_t i = 0; i < daemon_config_table.item_count; i++) {
		const struct conf_item *item = &daemon_config_table.items[i];
		if ((item->roles & c->settings) != 0 && strcmp(item->name, "data") != 0)
			buf_printf(out, "--%s ", item->flag != NULL ? item->flag : item->name);
	}
}

static void options_case(struct buf *out)
{
	for (size_t i = 0; i < cli_command_count; i++) {
		const struct cli_command *c = &cli_commands[i];
		if (c->flags[0].name == NULL && c->settings == 0)
			continue;
		buf_printf(out, "	%s:%s:-*) words='", c->noun, c->verb != NULL ? c->verb : "*");
		for (size_t f = 0; f < CLI_FLAGS_MAX && c->flags[f].name != NULL; f++)
			buf_printf(out, "--%s ", c->flags[f].name);
		settings_put(c, out);
		buf_puts(out, "' ;;\n");
	}
}

static void states_put(const struct cli_flag *f, struct buf *out)
{
	buf_printf(out, "	--%s) words='", f->name);
	for (size_t i = 0; i < store_edit_states.state_count; i++)
		buf_printf(out, "%s%s", i > 0 ? " " : "", sm_state_name(&store_edit_states, (int)i));
	buf_puts(out, "' ;;\n");
}

/* Words of "a|b|c"; a form such as "vN|latest" lists no words. */
static void values_put(const struct cli_flag *f, const char *letter, struct buf *out)
{
	if (f->value != NULL && strcmp(f->value, CLI_STATE) == 0)
		states_put(f, out);
	if (f->value == NULL || strchr(f->value, '|') == NULL ||
	    strpbrk(f->value, "ABCDEFGHIJKLMNOPQRSTUVWXYZ") != NULL)
		return;
	buf_printf(out, "	--%s%s) words='", f->name, letter);
	for (const char *p = f->value; *p != '\0'; p++)
		buf_u8(out, *p == '|' ? ' ' : (uint8_t)*p);
	buf_puts(out, "' ;;\n");
}

static bool flag_seen(size_t command, const char *name)
{
	for (size_t i = 0; i < command; i++)
		for (size_t f = 0; f < CLI_FLAGS_MAX && cli_commands[i].flags[f].name != NULL; f++)
			if (strcmp(cli_commands[i].flags[f].name, name) == 0)
				return true;
	return false;
}

static void values_case(struct buf *out)
{
	for (const struct cli_flag *f = cli_global_flags; f->name != NULL; f++)
		values_put(f, strcmp(f->name, "output") == 0 ? " | -o" : "", out);
	for (size_t i = 0; i < cli_command_count; i++)
		for (size_t f = 0; f < CLI_FLAGS_MAX && cli_commands[i].flags[f].name != NULL; f++)
			if (!flag_seen(i, cli_commands[i].flags[f].name))
				values_put(&cli_commands[i].flags[f], "", out);
}

/* Options whose next word is their value and no part of the command. */
static void valued_put(struct buf *out)
{
	for (const struct cli_flag *f = cli_global_flags; f->name != NULL; f++)
		if (f->value != NULL)
			buf_printf(out, "--%s | ", f->name);
	for (size_t i = 0; i < daemon_config_table.item_count; i++) {
		const struct conf_item *item = &daemon_config_table.items[i];
		if (item->type != CONF_BOOL && item->flag != NULL && strcmp(item->name, "data") != 0)
			buf_printf(out, "--%s | ", item->flag);
	}
	buf_puts(out, "-o");
}

void cli_completion_bash(struct buf *out)
{
	buf_puts(out, "_amend() {\n"
		      "	local word=${COMP_WORDS[COMP_CWORD]} before= words= place=() i\n"
		      "	((COMP_CWORD > 0)) && before=${COMP_WORDS[COMP_CWORD - 1]}\n"
		      "	for ((i = 1; i < COMP_CWORD; i++)); do\n"
		      "		case ${COMP_WORDS[i]} in\n"
		      "		");
	valued_put(out);
	buf_puts(out, ")\n"
		      "			[[ ${COMP_WORDS[i + 1]-} == = ]] && ((i++))\n"
		      "			((i++)) ;;\n"
		      "		-*) ;;\n"
		      "		*) place+=(\"${COMP_WORDS[i]}\") ;;\n"
		      "		esac\n"
		      "	done\n"
		      "	if [[ $word == = ]]; then\n"
		      "		word=\n"
		      "	elif [[ $before == = ]]; then\n"
		      "		before=${COMP_WORDS[COMP_CWORD - 2]-}\n"
		      "	fi\n"
		      "	case ${#place[@]}:${place[0]-} in\n");
	nouns_case(out);
	buf_puts(out, "	esac\n"
		      "	case ${place[0]-}:${place[1]-}:$word in\n");
	options_case(out);
	buf_puts(out, "	esac\n"
		      "	[[ $word == -* ]] && words+=' ");
	for (const struct cli_flag *f = cli_global_flags; f->name != NULL; f++)
		buf_printf(out, "%s--%s", f == cli_global_flags ? "" : " ", f->name);
	buf_puts(out, "'\n"
		      "	case $before in\n");
	values_case(out);
	buf_puts(out, "	--model | --config | --data | --probes-file | --key-file | --corpus | --calibration | --out | "
		      "--edits | "
		      "--relation-head) words= ;;\n"
		      "	esac\n"
		      "	if [[ $words ]]; then\n"
		      "		mapfile -t COMPREPLY < <(compgen -W \"$words\" -- \"$word\")\n"
		      "	else\n"
		      "		mapfile -t COMPREPLY < <(compgen -f -- \"$word\")\n"
		      "	fi\n"
		      "}\n"
		      "complete -o filenames -F _amend amend\n");
}
