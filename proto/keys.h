/* keys.h: CURVE keys (CurveZMQ, RFC 26), the list of allowed public keys with their roles, and the table of rights.
 * A key file is two lines, "public <64 hex>" and "secret <64 hex>", mode 0600; one that group or others can read is
 * refused. */
#ifndef AMEND_PROTO_KEYS_H
#define AMEND_PROTO_KEYS_H

#include "base/buf.h"
#include "base/env.h"

#include <stdbool.h>

#define PROTO_KEY_BYTES 32

enum proto_role { /* promises.md, Roles */
		  PROTO_ROLE_SUBMITTER = 1 << 0,
		  PROTO_ROLE_WORKER = 1 << 1,
		  PROTO_ROLE_READER = 1 << 2,
		  PROTO_ROLE_AUDITOR = 1 << 3,
		  PROTO_ROLE_ADMIN = 1 << 4,
};
#define PROTO_ROLE_ALL 31u

struct proto_keypair {
	uint8_t public_key[PROTO_KEY_BYTES], secret_key[PROTO_KEY_BYTES]; /* wipe with proto_keypair_wipe */
};
int proto_keypair_new(struct proto_keypair *out,
		      struct err *e) MUST_CHECK; /* libsodium box keys: the same as zmq_curve_keypair */
int proto_keypair_save(const struct proto_keypair *pair, const char *path,
		       struct err *e) MUST_CHECK; /* ERR_EXISTS: never overwrites */
int proto_keypair_load(const char *path, struct proto_keypair *out,
		       struct err *e) MUST_CHECK; /* ERR_DENIED when readable by others */
void proto_keypair_wipe(struct proto_keypair *pair);
int proto_key_parse(const char *hex, uint8_t key[PROTO_KEY_BYTES]) MUST_CHECK;
void proto_key_hex(const uint8_t key[PROTO_KEY_BYTES], char out[65]);

/* The allow list: a text file "hex roles name" a line ("# comment"), roles joined by "+": "worker",
 * "submitter+reader+admin"; or "revoked", which allows nothing and keeps the key from being added again unasked. */
#define PROTO_ALLOW_NAME_BYTES_MAX 64
#define PROTO_ALLOW_KEYS_MAX       4096
struct proto_allow;
/* Errors say "PATH:LINE: …"; ERR_DENIED: others than the owner may write it. */
int proto_allow_load(const char *path, struct proto_allow **out, struct err *e) MUST_CHECK;
/* The same of a text, which is taken apart; `what` stands for its path in errors. */
int proto_allow_parse(const char *what, struct buf *text, struct proto_allow **out, struct err *e) MUST_CHECK;
void proto_allow_format(const struct proto_allow *allow, struct buf *out); /* that text, sorted by key */
void proto_allow_destroy(struct proto_allow **allow);
/* These change the file, atomically and one after the other; the other lines stay as they are. ERR_LIMIT: with that
 * line it would have more keys or bytes than are read; the file is as it was. */
/* Appends a line. ERR_EXISTS for a key that stands there, revoked or not. */
int proto_allow_add(const char *path, const uint8_t key[PROTO_KEY_BYTES], unsigned roles, const char *name,
		    struct err *e) MUST_CHECK;
/* The same in place of what the list said of the key. */
int proto_allow_set(const char *path, const uint8_t key[PROTO_KEY_BYTES], unsigned roles, const char *name,
		    struct err *e) MUST_CHECK;
/* `keys`: one after the other, PROTO_KEY_BYTES each. ERR_NOT_FOUND: one is not on the list, and none is revoked. */
int proto_allow_revoke(const char *path, const uint8_t *keys, size_t key_count, struct err *e) MUST_CHECK;
/* Writes the list where the file is gone or holds no key; *restored: it has. An empty list is not written. */
int proto_allow_restore(const char *path, const struct proto_allow *allow, bool *restored, struct err *e) MUST_CHECK;
struct proto_allowed { /* of one line; borrowed */
	const uint8_t *key;
	unsigned roles; /* 0: revoked */
	const char *name;
};
bool proto_allow_at(const struct proto_allow *allow, size_t index, struct proto_allowed *out); /* by key; false: none */
/* Takes the roles from a key of this list, as a line that says revoked; its file stays as it is. */
void proto_allow_bar(struct proto_allow *allow, const uint8_t key[PROTO_KEY_BYTES]);
/* Roles of a key, 0 when it is not on the list or revoked there. `name` may be NULL; borrowed. */
unsigned proto_allow_roles(const struct proto_allow *allow, const uint8_t key[PROTO_KEY_BYTES], const char **name);
int proto_roles_parse(const char *text, unsigned *roles) MUST_CHECK;
void proto_roles_format(unsigned roles, char *out, size_t out_bytes);

/* May a peer with these roles send a message of this type to a coordinator? Default deny. */
bool proto_right(unsigned roles, int message_type);

#endif
