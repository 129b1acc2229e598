/* cli_keys.c: `amend key list|allow|revoke|rotate`: who may come in, changed while the coordinator runs. */
#include "daemon/cli.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#define PREFIX_MIN 8 /* digits that name a key */

/* --- the list */

struct known {
	uint8_t key[PROTO_KEY_BYTES];
	unsigned roles;
	char name[MSG_KEY_NAME_BYTES_MAX + 1];
};
struct known_list {
	struct known *keys;
	size_t count;
};

static int page_take(const struct msg_key_list_reply *reply, struct known_list *out, struct err *e)
{
	struct known *more = realloc(out->keys, (out->count + reply->key_count + 1) * sizeof *more);
	if (more == NULL)
		return err_set(e, ERR_NOMEM, "out of memory");
	out->keys = more;
	for (size_t i = 0; i < reply->key_count; i++) {
		const struct msg_key *key = &reply->keys[i];
		struct known *known = &out->keys[out->count++];
		*known = (struct known){ .roles = key->roles };
		memcpy(known->key, key->key, sizeof known->key);
		memcpy(known->name, key->name.text, key->name.len); /* the codec holds it to its length */
	}
	return 0;
}

static int list_get(struct cli *cli, struct known_list *out, struct err *e)
{
	uint32_t total = 0;
	int rc = 0;
	*out = (struct known_list){ NULL, 0 };
	do {
		struct msg request = { .type = MSG_KEY_LIST, .u.key_list.from = (uint32_t)out->count };
		struct msg_received *reply = NULL;
		rc = cli_call(cli, &request, &reply, e);
		if (rc == 0) {
			total = reply->msg.u.key_list_reply.total;
			if (reply->msg.u.key_list_reply.key_count == 0)
				total = 0; /* it became shorter meanwhile */
			rc = page_take(&reply->msg.u.key_list_reply, out, e);
		}
		msg_free(&reply);
	} while (rc == 0 && out->count < total);
	return rc;
}

static void roles_text(unsigned roles, char out[64])
{
	proto_roles_format(roles, out, 64);
	if (roles == 0)
		snprintf(out, 64, "revoked");
}

static int list_emit(struct cli *cli, const struct known_list *list)
{
	struct buf text = BUF_INIT;
	struct json_w w;
	char hex[65], roles[64];
	json_w_init(&w, &text);
	json_w_open(&w, '[');
	for (size_t i = 0; i < list->count; i++) {
		proto_key_hex(list->keys[i].key, hex);
		roles_text(list->keys[i].roles, roles);
		json_w_open(&w, '{');
		json_w_member_str(&w, "key", hex);
		json_w_member_str(&w, "roles", roles);
		json_w_member_str(&w, "name", list->keys[i].name);
		json_w_close(&w);
	}
	json_w_close(&w);
	return cli_emit(cli, &text);
}

static int list_print(struct cli *cli, const struct known_list *list)
{
	static const char *const headers[] = { "NAME", "ROLES", "KEY" };
	struct cli_table *table;
	char hex[65], roles[64];
	if (cli_table_new(headers, 3, &table) != 0)
		return cli_out_of_memory(cli);
	for (size_t i = 0; i < list->count; i++) {
		proto_key_hex(list->keys[i].key, hex);
		roles_text(list->keys[i].roles, roles);
		cli_table_cell(table, "%s", list->keys[i].name);
		cli_table_cell(table, "%s", roles);
		cli_table_cell(table, "%s", hex);
	}
	return cli_table_print(cli, &table);
}

int cli_key_list(struct cli *cli, const struct cli_args *args)
{
	struct err e = ERR_INIT;
	struct known_list list;
	(void)args;
	int rc = list_get(cli, &list, &e);
	int status = rc != 0 ? cli_fail(cli, &e) : cli_is_structured(cli) ? list_emit(cli, &list) : CLI_OK;
	if (rc == 0 && cli->output == CLI_NAME)
		for (size_t i = 0; i < list.count; i++)
			cli_line(stdout, "%s", list.keys[i].name);
	else if (rc == 0 && !cli_is_structured(cli))
		status = list_print(cli, &list);
	free(list.keys);
	return status;
}

/* --- naming a key */

static bool is_prefix(const char *word, const uint8_t key[PROTO_KEY_BYTES])
{
	char hex[65];
	proto_key_hex(key, hex);
	return strlen(word) >= PREFIX_MIN && strncmp(word, hex, strlen(word)) == 0;
}

/* By its name, or the beginning of the key. One of both is preferred that is not revoked. */
static int known_find(const struct known_list *list, const char *word, const struct known **out, struct err *e)
{
	size_t count[2] = { 0, 0 };
	*out = NULL;
	for (size_t i = 0; i < list->count; i++) {
		const struct known *known = &list->keys[i];
		if (strcmp(known->name, word) != 0 && !is_prefix(word, known->key))
			continue;
		count[known->roles != 0]++;
		if (*out == NULL || ((*out)->roles == 0 && known->roles != 0))
			*out = known;
	}
	if (*out == NULL)
		return err_set(e, ERR_NOT_FOUND, "no key on the coordinator's list has the name, or begins with, %s",
			       word);
	if (count[1] > 1 || (count[1] == 0 && count[0] > 1))
		return err_set(e, ERR_CONFLICT, "%zu keys have the name %s: give the key, or its first %d digits",
			       count[1] > 1 ? count[1] : count[0], word, PREFIX_MIN);
	return 0;
}

/* --- changing the list */

static int change_call(struct cli *cli, const struct msg_key_change *ask, bool *already, struct err *e)
{
	struct msg request = { .type = MSG_KEY_CHANGE, .u.key_change = *ask };
	struct msg_received *reply = NULL;
	int rc = cli_call(cli, &request, &reply, e);
	if (rc != 0)
		return rc;
	const struct msg_key_change_reply *r = &reply->msg.u.key_change_reply;
	*already = r->already;
	rc = r->code;
	if (rc != 0)
		err_set(e, rc, "%.*s", (int)r->text.len, r->text.len > 0 ? r->text.text : "");
	msg_free(&reply);
	return rc;
}

static struct msg_key key_of(const uint8_t key[PROTO_KEY_BYTES], unsigned roles, const char *name)
{
	struct msg_key out = { .roles = roles, .name = { name, strlen(name) } };
	memcpy(out.key, key, sizeof out.key);
	return out;
}

static int reason_of(const struct cli_args *args, struct msg_text *out, struct err *e)
{
	const char *reason = cli_value(args, "reason");
	*out = (struct msg_text){ reason != NULL ? reason : "", reason != NULL ? strlen(reason) : 0 };
	if (out->len > MSG_REVOKE_REASON_BYTES_MAX)
		return err_set(e, ERR_INVALID, "--reason: over %d bytes", MSG_REVOKE_REASON_BYTES_MAX);
	return 0;
}

static int change_print(struct cli *cli, const char *done, const struct msg_key_change *ask, bool already)
{
	struct buf text = BUF_INIT;
	struct json_w w;
	char hex[65], roles[64];
	proto_key_hex(ask->key.key, hex);
	roles_text(ask->key.roles, roles);
	if (!cli_is_structured(cli)) {
		cli_line(stdout, "%s %s (%.12s…)%s", done, ask->key.name.text, hex,
			 already ? ": it was so before" : "");
		return CLI_OK;
	}
	json_w_init(&w, &text);
	json_w_open(&w, '{');
	json_w_member_str(&w, "key", hex);
	json_w_member_str(&w, "roles", roles);
	json_w_member_str(&w, "name", ask->key.name.text);
	json_w_member_bool(&w, "already", already);
	json_w_close(&w);
	return cli_emit(cli, &text);
}

/* 64 digits, or a key file of this machine. */
static int key_given(const char *word, uint8_t key[PROTO_KEY_BYTES], struct err *e)
{
	struct proto_keypair pair;
	if (proto_key_parse(word, key) == 0)
		return 0;
	int rc = proto_keypair_load(word, &pair, e);
	if (rc == ERR_NOT_FOUND)
		return cli_add_step(e, "give the public key, 64 hex digits, or its key file");
	memcpy(key, pair.public_key, PROTO_KEY_BYTES);
	proto_keypair_wipe(&pair);
	return rc;
}

static int allow_parse(const struct cli_args *args, unsigned *roles, struct msg_text *reason, struct err *e)
{
	const char *role_text = cli_value(args, "roles"), *name = cli_value(args, "name");
	if (role_text == NULL || name == NULL)
		return err_set(e, ERR_INVALID, "key allow: needs --roles ROLES and --name NAME");
	if (proto_roles_parse(role_text, roles) != 0)
		return err_set(e, ERR_INVALID,
			       "--roles %.64s: submitter, worker, reader (a node too), auditor, admin, joined by +",
			       role_text);
	if (*name == '\0' || strlen(name) > MSG_KEY_NAME_BYTES_MAX)
		return err_set(e, ERR_INVALID, "--name: one word of 1 to %d bytes", MSG_KEY_NAME_BYTES_MAX);
	return reason_of(args, reason, e);
}

int cli_key_allow(struct cli *cli, const struct cli_args *args)
{
	struct err e = ERR_INIT;
	struct msg_key_change ask = { .action = MSG_KEY_ALLOW };
	uint8_t key[PROTO_KEY_BYTES];
	unsigned roles = 0;
	bool already = false;
	if (allow_parse(args, &roles, &ask.reason, &e) != 0)
		return cli_misuse(&e);
	int rc = key_given(args->words[0], key, &e);
	if (rc == 0) {
		ask.key = key_of(key, roles, cli_value(args, "name"));
		rc = change_call(cli, &ask, &already, &e);
	}
	return rc == 0 ? change_print(cli, "allowed", &ask, already) : cli_fail(cli, &e);
}

int cli_key_revoke(struct cli *cli, const struct cli_args *args)
{
	struct err e = ERR_INIT;
	struct msg_key_change ask = { .action = MSG_KEY_REVOKE };
	struct known_list list = { NULL, 0 };
	const struct known *known = NULL;
	bool already = false;
	if (reason_of(args, &ask.reason, &e) != 0)
		return cli_misuse(&e);
	int rc = list_get(cli, &list, &e);
	if (rc == 0)
		rc = known_find(&list, args->words[0], &known, &e);
	if (rc == 0) {
		ask.key = key_of(known->key, 0, known->name);
		rc = change_call(cli, &ask, &already, &e);
	}
	int status = rc == 0 ? change_print(cli, "revoked", &ask, already) : cli_fail(cli, &e);
	free(list.keys);
	return status;
}

/* --- another key in the place of one */

struct rotation {
	struct cli *cli;
	const char *file;
	char next[PATH_MAX], last[PATH_MAX]; /* FILE.next, until it is FILE; FILE.last, until its key is revoked */
	struct proto_keypair old, fresh;
	struct msg_text reason;
	bool swapped; /* before: FILE holds the fresh pair, FILE.last the old one */
	bool keep_old;
	bool server; /* FILE is the coordinator's own, which it answers with until it is started again */
};

/* What an interrupted rotation has left is gone on with. */
static int pairs_prepare(struct rotation *r, struct err *e)
{
	if (snprintf(r->next, sizeof r->next, "%s.next", r->file) >= (int)sizeof r->next ||
	    snprintf(r->last, sizeof r->last, "%s.last", r->file) >= (int)sizeof r->last)
		return err_set(e, ERR_LIMIT, "%s: too long a path", r->file);
	r->swapped = access(r->last, F_OK) == 0 && access(r->next, F_OK) != 0;
	int rc = proto_keypair_load(r->swapped ? r->last : r->file, &r->old, e);
	if (rc != 0)
		return rc;
	if (r->swapped)
		return proto_keypair_load(r->file, &r->fresh, e);
	if (access(r->next, F_OK) == 0)
		return proto_keypair_load(r->next, &r->fresh, e);
	rc = proto_keypair_new(&r->fresh, e);
	return rc == 0 ? proto_keypair_save(&r->fresh, r->next, e) : rc;
}

static int listed_find(const struct known_list *list, const uint8_t key[PROTO_KEY_BYTES], struct known *out,
		       struct err *e)
{
	const struct known *found = NULL;
	char hex[65];
	proto_key_hex(key, hex);
	int rc = known_find(list, hex, &found, e);
	if (rc == 0)
		*out = *found;
	return rc;
}

static int fresh_allow(struct rotation *r, struct known *known, struct err *e)
{
	struct known_list list = { NULL, 0 };
	bool already, revoked = false;
	int rc = list_get(r->cli, &list, e);
	if (rc == 0)
		rc = listed_find(&list, r->old.public_key, known, e);
	if (rc == 0 && r->swapped && known->roles == 0) {
		/* Only FILE.last is left to go. The revocation is asked for again: so it is in the ledger, too. */
		revoked = true;
		r->keep_old = r->server;
		rc = listed_find(&list, r->fresh.public_key, known, e);
	}
	free(list.keys);
	if (rc == 0 && known->roles == 0)
		rc = err_set(e, ERR_CONFLICT, "the key of %s is revoked: make another with `amend key new`", r->file);
	if (rc != 0 || revoked)
		return rc;
	struct msg_key_change ask = { .action = MSG_KEY_ALLOW,
				      .key = key_of(r->fresh.public_key, known->roles, known->name),
				      .reason = r->reason };
	memcpy(ask.replaces, r->old.public_key, sizeof ask.replaces);
	return change_call(r->cli, &ask, &already, e);
}

/* FILE is at any time one whole pair, and both pairs are allowed. */
static int files_swap(struct rotation *r, struct err *e)
{
	char folder[PATH_MAX];
	if (access(r->next, F_OK) != 0)
		return 0; /* done before */
	if (link(r->file, r->last) != 0 && errno != EEXIST)
		return err_errno(e, ERR_IO, errno, "%s", r->last);
	if (rename(r->next, r->file) != 0)
		return err_errno(e, ERR_IO, errno, "%s", r->file);
	int rc = file_folder_of(r->file, folder, sizeof folder, e);
	return rc == 0 ? file_sync_folder(folder, e) : rc;
}

static int old_revoke(struct rotation *r, const struct known *known, struct err *e)
{
	struct msg_key_change ask = { .action = MSG_KEY_REVOKE,
				      .key = key_of(r->old.public_key, 0, known->name),
				      .reason = r->reason };
	bool already;
	int rc = 0;
	/* A key cannot revoke itself: the fresh one, under the same file name, does. */
	if (memcmp(r->cli->keys.public_key, r->old.public_key, PROTO_KEY_BYTES) == 0)
		cli_disconnect(r->cli);
	if (!r->keep_old)
		rc = change_call(r->cli, &ask, &already, e);
	if (rc == 0 && unlink(r->last) != 0)
		rc = err_errno(e, ERR_IO, errno, "removing %s", r->last);
	return rc;
}

static void server_explain(const struct rotation *r)
{
	char hex[65];
	proto_key_hex(r->fresh.public_key, hex);
	fprintf(stderr,
		"%s holds the coordinator's next pair. It answers with it once it is started again: `amend down` and "
		"`amend up` do that for this machine; programs elsewhere are started again with key.server: %s. Then "
		"`amend key revoke` ends the old one\n",
		r->file, hex);
}

static int rotated_print(const struct rotation *r, const struct known *known)
{
	struct msg_key_change done = { .key = key_of(r->fresh.public_key, known->roles, known->name) };
	if (!r->cli->quiet && r->server)
		server_explain(r);
	else if (!r->cli->quiet)
		fprintf(stderr,
			"%s holds a new pair with the roles of the old one, which %s; a program that uses it takes it "
			"when it is started again\n",
			r->file, r->keep_old ? "stays allowed until `amend key revoke`" : "is revoked");
	return change_print(r->cli, "rotated", &done, false);
}

int cli_key_rotate(struct cli *cli, const struct cli_args *args)
{
	struct err e = ERR_INIT;
	struct known known = { .roles = 0 };
	uint8_t server[PROTO_KEY_BYTES];
	struct rotation r = { .cli = cli, .file = args->words[0], .keep_old = cli_switch(args, "keep-old") };
	if (reason_of(args, &r.reason, &e) != 0)
		return cli_misuse(&e);
	int rc = pairs_prepare(&r, &e);
	r.server = rc == 0 && proto_key_parse(cli->config.server_key, server) == 0 &&
		   memcmp(server, r.old.public_key, PROTO_KEY_BYTES) == 0;
	r.keep_old = r.keep_old || r.server;
	if (rc == 0)
		rc = fresh_allow(&r, &known, &e);
	if (rc == 0)
		rc = files_swap(&r, &e);
	if (rc == 0)
		rc = old_revoke(&r, &known, &e);
	int status = rc == 0 ? rotated_print(&r, &known) : cli_fail(cli, &e);
	proto_keypair_wipe(&r.old);
	proto_keypair_wipe(&r.fresh);
	return status;
}
