/* recv_keys.c: the list of allowed keys, which administrators change while the coordinator runs. The file is what
 * holds; the ledger keeps the list as it was read last, and an event for whatever has changed since, whoever changed
 * it. */
#include "coordinator/internal.h"
#include "coordinator/owner.h"

#include <string.h>

#define META_NAME "allowed-keys"

/* --- what has changed since the ledger heard of it last */

int coordinator_keys_recorded(struct store_txn *txn, struct proto_allow **out, struct err *e)
{
	struct buf text = BUF_INIT;
	int rc = store_meta_get(txn, META_NAME, &text, e);
	if (rc == ERR_NOT_FOUND)
		err_clear(e);
	if (rc == 0 || rc == ERR_NOT_FOUND)
		rc = proto_allow_parse("the ledger's list of allowed keys", &text, out, e);
	buf_free(&text);
	return rc;
}

static void change_write(struct json_w *w, const char *action, const struct proto_allowed *allowed,
			 const struct buf *owners)
{
	const uint8_t *owner = coordinator__owner_of(owners, allowed->key);
	char hex[65], roles[64];
	proto_key_hex(allowed->key, hex);
	proto_roles_format(allowed->roles, roles, sizeof roles);
	json_w_open(w, '{');
	json_w_member_str(w, "action", action);
	json_w_member_str(w, "key", hex);
	json_w_member_str(w, "roles", roles);
	json_w_member_str(w, "name", allowed->name);
	if (owner != allowed->key) {
		proto_key_hex(owner, hex);
		json_w_member_str(w, "owner", hex); /* by the owner's first key */
	}
	json_w_close(w);
}

static const char *action_of(const struct proto_allow *before, const struct proto_allowed *now)
{
	const char *name;
	const unsigned roles = proto_allow_roles(before, now->key, &name);
	if (name == NULL || (roles == 0 && now->roles != 0))
		return now->roles != 0 ? "allow" : "revoke";
	if (roles != 0 && now->roles == 0)
		return "revoke";
	return roles != now->roles || strcmp(name, now->name) != 0 ? "change" : NULL;
}

static size_t changes_write(struct json_w *w, const struct proto_allow *before, const struct proto_allow *now,
			    const struct buf *owners)
{
	struct proto_allowed allowed;
	const char *name;
	size_t count = 0;
	for (size_t i = 0; proto_allow_at(now, i, &allowed); i++) {
		const char *action = action_of(before, &allowed);
		if (action != NULL)
			change_write(w, action, &allowed, owners);
		count += action != NULL;
	}
	for (size_t i = 0; proto_allow_at(before, i, &allowed); i++) {
		(void)proto_allow_roles(now, allowed.key, &name);
		if (name != NULL)
			continue;
		allowed.roles = 0;
		change_write(w, "remove", &allowed, owners);
		count++;
	}
	return count;
}

static int changes_record(struct coordinator *c, const struct proto_allow *now, const uint8_t *actor, struct buf *json,
			  struct err *e)
{
	struct buf list = BUF_INIT;
	proto_allow_format(now, &list);
	int rc = buf_failed(&list) ? err_set(e, ERR_NOMEM, "out of memory") : 0;
	if (rc == 0)
		rc = store_meta_put(c->txn, META_NAME, list.data, list.len, e);
	if (rc == 0)
		rc = coordinator__event(c, STORE_EVENT_KEY_CHANGED, actor, json, NULL, e);
	if (rc == 0)
		rc = coordinator__commit(c, "coordinator.keys.before_commit", "coordinator.keys.after_commit", e);
	buf_free(&list);
	return rc;
}

/* What could not be written, on a full disk, is when that is over. */
static void record_note(struct coordinator *c, const uint8_t *actor, struct msg_text reason, int rc,
			const struct err *e)
{
	if (rc != 0 && !c->unrecorded.due)
		log_event(LOG_WARN, "COORDINATOR-ALLOW-UNRECORDED", LOGF_S("reason", e->text));
	c->unrecorded.due = rc != 0;
	memcpy(c->unrecorded.actor, actor != NULL ? actor : c->key, sizeof c->unrecorded.actor);
	coordinator__copy_text(c->unrecorded.reason, sizeof c->unrecorded.reason, reason);
}

/* Nothing is written where nothing has changed. */
static int keys_record(struct coordinator *c, const struct proto_allow *now, const uint8_t *actor,
		       struct msg_text reason, struct err *e)
{
	struct proto_allow *before = NULL;
	struct buf json = BUF_INIT, owners = BUF_INIT;
	struct json_w w;
	size_t count = 0;
	json_w_init(&w, &json);
	int rc = coordinator__begin(c, e);
	if (rc == 0)
		rc = coordinator_keys_recorded(c->txn, &before, e);
	if (rc == 0)
		rc = coordinator__owners_load(c->txn, &owners, e);
	if (rc == 0) {
		json_w_open(&w, '{');
		json_w_key(&w, "changes");
		json_w_open(&w, '[');
		count = changes_write(&w, before, now, &owners);
		json_w_close(&w);
		json_w_member_strn(&w, "reason", reason.text, reason.len);
		json_w_close(&w);
	}
	if (rc == 0 && count > 0)
		rc = changes_record(c, now, actor, &json, e);
	if (rc != 0)
		coordinator__txn_failed(c, e);
	store_abort(&c->txn);
	proto_allow_destroy(&before);
	buf_free(&json);
	buf_free(&owners);
	record_note(c, actor, reason, rc, e);
	return rc;
}

void coordinator__keys_record_due(struct coordinator *c)
{
	struct err e = ERR_INIT;
	char reason[sizeof c->unrecorded.reason];
	uint8_t actor[PROTO_KEY_BYTES];
	if (!c->unrecorded.due || c->failure.code != 0 || coordinator__write_held(c))
		return;
	memcpy(reason, c->unrecorded.reason, sizeof reason);
	memcpy(actor, c->unrecorded.actor, sizeof actor);
	(void)keys_record(c, c->allow, actor, coordinator__text(reason), &e);
}

/* --- the list in force */

/* The shards of a worker whose key was revoked, or is a worker's no more, are another's at the next tick. */
static void peers_check(struct coordinator *c)
{
	for (size_t i = 0; i < c->peer_count; i++) {
		struct peer *peer = c->peers[i];
		peer->barred = (proto_allow_roles(c->allow, peer->key, NULL) & coordinator__kind_roles(peer->kind)) ==
			       0;
	}
}

/* Of the keys that may read: heartbeats tell by it that they are others now. Never 0. */
static uint64_t readers_digest(const struct proto_allow *allow)
{
	struct proto_allowed allowed;
	struct hash_stream state;
	struct hash all;
	uint64_t digest;
	hash_begin(&state);
	for (size_t i = 0; proto_allow_at(allow, i, &allowed); i++)
		if ((allowed.roles & PROTO_ROLE_READER) != 0)
			hash_add(&state, allowed.key, PROTO_KEY_BYTES);
	hash_end(&state, &all);
	memcpy(&digest, all.bytes, sizeof digest);
	return digest | 1;
}

static bool is_empty(const struct proto_allow *allow)
{
	struct proto_allowed first;
	return !proto_allow_at(allow, 0, &first);
}

/* A list that was lost and made anew knows of no revocation. The file is put right where it can be written. */
static void revoked_write(const struct coordinator *c, const struct proto_allow *fresh, const struct buf *keys)
{
	struct err e = ERR_INIT;
	const char *name;
	const int rc = keys->len == 0
			       ? 0
			       : proto_allow_revoke(c->config.allow_file, keys->data, keys->len / PROTO_KEY_BYTES, &e);
	for (size_t at = 0; at < keys->len; at += PROTO_KEY_BYTES) {
		(void)proto_allow_roles(fresh, keys->data + at, &name);
		log_event(LOG_WARN, "COORDINATOR-KEY-STAYS-REVOKED", LOGF_X("key", keys->data + at, PROTO_KEY_BYTES),
			  LOGF_S("name", name), LOGF_S("file", c->config.allow_file),
			  LOGF_S("file_error", rc != 0 ? e.text : ""),
			  LOGF_S("step", "`amend key allow` lets it in again"));
	}
}

/* What the ledger knows as revoked stays so, but for the key that an administrator allows right now, or has allowed
 * while the ledger could not be written. */
static int revoked_keep(struct coordinator *c, struct proto_allow *fresh, const uint8_t *allowed_now, struct err *e)
{
	struct store_txn *txn = NULL;
	struct proto_allow *recorded = NULL;
	struct proto_allowed r;
	struct buf keys = BUF_INIT;
	int rc = store_begin_read(c->store, &txn, e);
	if (rc == 0)
		rc = coordinator_keys_recorded(txn, &recorded, e);
	store_abort(&txn);
	for (size_t i = 0; rc == 0 && proto_allow_at(recorded, i, &r); i++) {
		const bool meant = (allowed_now != NULL && memcmp(r.key, allowed_now, PROTO_KEY_BYTES) == 0) ||
				   proto_allow_roles(c->allow, r.key, NULL) != 0;
		if (r.roles != 0 || meant || proto_allow_roles(fresh, r.key, NULL) == 0)
			continue;
		proto_allow_bar(fresh, r.key);
		buf_append(&keys, r.key, PROTO_KEY_BYTES);
	}
	if (rc == 0 && buf_failed(&keys))
		rc = err_set(e, ERR_NOMEM, "keys that stay revoked: out of memory");
	if (rc == 0)
		revoked_write(c, fresh, &keys);
	buf_free(&keys);
	proto_allow_destroy(&recorded);
	return rc;
}

/* Reads the file and has the transport keep to it. */
static int list_apply(struct coordinator *c, const uint8_t *allowed_now, struct err *e)
{
	struct proto_allow *fresh = NULL;
	int rc = proto_allow_load(c->config.allow_file, &fresh, e);
	const struct proto_allow *now = fresh;
	if (rc == 0 && is_empty(fresh) && !is_empty(c->allow))
		rc = err_set(
			e, ERR_INVALID,
			"%s holds no key: the list in force is kept; restore the file, or change a key (`amend key "
			"allow`), which writes it anew",
			c->config.allow_file);
	if (rc == 0)
		rc = revoked_keep(c, fresh, allowed_now, e);
	if (rc == 0)
		rc = c->config.allow_set(c->config.allow_context, &fresh, e);
	proto_allow_destroy(&fresh);
	if (rc != 0)
		return rc;
	c->allow = now;
	c->readers = readers_digest(now);
	peers_check(c);
	return 0;
}

int coordinator_keys_reload(struct coordinator *coordinator, struct err *e)
{
	struct coordinator *c = coordinator;
	if (c->config.allow_file == NULL || c->failure.code != 0)
		return 0;
	int rc = list_apply(c, NULL, e);
	if (rc == 0 && keys_record(c, c->allow, NULL, coordinator__text("the file"), e) != 0)
		rc = c->failure.code; /* else it is recorded later */
	return rc;
}

/* --- pages of it */

static void page_answer(struct coordinator *c, const struct msg_received *received, bool readers)
{
	struct msg_key keys[MSG_KEYS_MAX];
	struct msg msg = { .type = readers ? MSG_READER_LIST_REPLY : MSG_KEY_LIST_REPLY };
	struct msg_key_list_reply *reply = &msg.u.key_list_reply;
	struct proto_allowed allowed;
	const size_t from = received->msg.u.key_list.from;
	if (c->allow == NULL) {
		coordinator__reply_error(c, received, ERR_UNSUPPORTED, "this coordinator has no file of allowed keys");
		return;
	}
	for (size_t i = 0; proto_allow_at(c->allow, i, &allowed); i++) {
		if (readers && (allowed.roles & PROTO_ROLE_READER) == 0)
			continue;
		if (reply->total++ < from || reply->key_count == MSG_KEYS_MAX)
			continue;
		struct msg_key *key = &keys[reply->key_count++];
		*key = (struct msg_key){ .roles = readers ? PROTO_ROLE_READER : allowed.roles,
					 .name = coordinator__text(readers ? "" : allowed.name) };
		memcpy(key->key, allowed.key, sizeof key->key);
	}
	reply->keys = keys;
	coordinator__reply(c, received, &msg);
}

void coordinator__recv_key_list(struct coordinator *c, const struct msg_received *received)
{
	page_answer(c, received, false);
}

/* To relays, which let in nobody else. Whose keys they are, and what else these may do, is not a node's to know. */
void coordinator__recv_reader_list(struct coordinator *c, const struct msg_received *received)
{
	page_answer(c, received, true);
}

/* --- administrators */

/* An administrator who asks stays one, so that there is always one. */
static int change_allowed(const struct coordinator *c, const struct msg_received *received, struct err *e)
{
	const struct msg_key_change *ask = &received->msg.u.key_change;
	const bool own = memcmp(ask->key.key, received->peer_key, PROTO_KEY_BYTES) == 0;
	const bool server = memcmp(ask->key.key, c->key, PROTO_KEY_BYTES) == 0;
	if (c->allow == NULL)
		return err_set(e, ERR_UNSUPPORTED, "this coordinator has no file of allowed keys");
	if (own && (ask->action == MSG_KEY_REVOKE || (ask->key.roles & PROTO_ROLE_ADMIN) == 0))
		return err_set(
			e, ERR_CONFLICT,
			"this is the key that you ask with: ask with another administrator's, so that one stays");
	if (server && ask->action == MSG_KEY_REVOKE)
		return err_set(e, ERR_CONFLICT, "this is the coordinator's own key: it is replaced by a restart");
	return 0;
}

static bool replaces_any(const struct msg_key_change *ask)
{
	static const uint8_t none[PROTO_KEY_BYTES];
	return ask->action == MSG_KEY_ALLOW && memcmp(ask->replaces, none, sizeof none) != 0;
}

/* Before the key is allowed, so that it is never anybody else's. */
static int owner_keep(struct coordinator *c, const struct msg_key_change *ask, struct err *e)
{
	const char *name = NULL;
	if (!replaces_any(ask))
		return 0;
	(void)proto_allow_roles(c->allow, ask->replaces, &name);
	if (name == NULL)
		return err_set(e, ERR_NOT_FOUND, "the key that this one replaces is not on the list");
	return coordinator__owner_put(c, ask->key.key, ask->replaces, e);
}

static bool is_so(const struct coordinator *c, const struct msg_key_change *ask)
{
	const char *name;
	const unsigned roles = proto_allow_roles(c->allow, ask->key.key, &name);
	if (name == NULL || ask->action == MSG_KEY_REVOKE)
		return name != NULL && roles == 0;
	return roles == ask->key.roles && strlen(name) == ask->key.name.len &&
	       memcmp(name, ask->key.name.text, ask->key.name.len) == 0;
}

/* A change of a file that is gone, or empty, would lock everybody else out: it begins with the list in force. */
static int list_restore(struct coordinator *c, struct err *e)
{
	bool restored;
	int rc = proto_allow_restore(c->config.allow_file, c->allow, &restored, e);
	if (restored)
		log_event(LOG_WARN, "COORDINATOR-ALLOW-RESTORED", LOGF_S("file", c->config.allow_file),
			  LOGF_S("reason", "it was gone or empty: it is the list in force again"));
	return rc;
}

static int list_change(struct coordinator *c, const struct msg_key_change *ask, struct err *e)
{
	char name[MSG_KEY_NAME_BYTES_MAX + 1];
	if (ask->action == MSG_KEY_REVOKE)
		return proto_allow_revoke(c->config.allow_file, ask->key.key, 1, e);
	coordinator__copy_text(name, sizeof name, ask->key.name);
	return proto_allow_set(c->config.allow_file, ask->key.key, ask->key.roles, name, e);
}

static void changed_log(const struct msg_received *received)
{
	const struct msg_key_change *ask = &received->msg.u.key_change;
	char roles[64];
	proto_roles_format(ask->key.roles, roles, sizeof roles);
	log_event(LOG_INFO, "COORDINATOR-KEY-CHANGED",
		  LOGF_S("action", ask->action == MSG_KEY_REVOKE ? "revoke" : "allow"), LOGF_X("key", ask->key.key, 8),
		  LOGF_S("roles", roles), LOGF_X("by", received->peer_key, 8),
		  LOGF_SN("reason", ask->reason.text, ask->reason.len));
}

/* The file first: what a crash leaves between the two is recorded at the next start. A change that is asked for again
 * is recorded when it was not. */
void coordinator__recv_key_change(struct coordinator *c, const struct msg_received *received)
{
	const struct msg_key_change *ask = &received->msg.u.key_change;
	struct msg msg = { .type = MSG_KEY_CHANGE_REPLY };
	struct msg_key_change_reply *reply = &msg.u.key_change_reply;
	struct err e = ERR_INIT, unrecorded = ERR_INIT;
	const uint8_t *allowed_now = ask->action == MSG_KEY_ALLOW ? ask->key.key : NULL;
	coordinator__submit_flush(c); /* what was sent before it stands before it */
	if (c->failure.code != 0)
		return;
	reply->code = change_allowed(c, received, &e);
	if (reply->code == 0)
		reply->code = owner_keep(c, ask, &e);
	reply->already = reply->code == 0 && is_so(c, ask);
	if (reply->code == 0)
		reply->code = list_restore(c, &e);
	if (reply->code == 0 && !reply->already)
		reply->code = list_change(c, ask, &e);
	if (reply->code == 0 && (reply->code = list_apply(c, allowed_now, &e)) != 0 && !reply->already)
		err_wrap(&e, "the file holds the change, and it is not in force; ask again");
	if (reply->code == 0) {
		if (!reply->already)
			changed_log(received);
		reply->code = keys_record(c, c->allow, received->peer_key, ask->reason, &unrecorded);
		if (reply->code != 0)
			err_set(&e, reply->code,
				"the change holds, and is not in the ledger yet (%.200s): it will be; ask again",
				unrecorded.text);
	}
	if (c->failure.code != 0)
		return;
	reply->text = coordinator__text(e.text);
	coordinator__reply(c, received, &msg);
}
