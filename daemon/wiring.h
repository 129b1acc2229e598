/* wiring.h: what every role needs before its own work: keys, transport to the coordinator, shipped files, a small
 * metrics page. */
#ifndef AMEND_DAEMON_WIRING_H
#define AMEND_DAEMON_WIRING_H

#include "daemon/config.h"
#include "proto/loop.h"

/* A worker's or node's way to the coordinator. Close in reverse order of opening. */
struct wiring {
	struct proto_keypair keys;
	struct proto_zmq *zmq;
	struct proto_transport *transport;
	struct proto_loop *loop;
	struct proto_allow *allow; /* of a process with a server end: who may come in; else NULL */
	void (*on_auth_open)(void *context, const struct err *e);
	void *auth_context;
};
/* Loads the key pair, checks the settings, connects, makes the loop. Errors name the setting. `server`: the process has
 * a server end, too, which lets in nobody before wiring_allow_set. */
int wiring_client_open(const struct daemon_config *config, bool server, struct wiring *wiring,
		       struct err *e) MUST_CHECK;
/* Takes the list, and the server end keeps to it from now on. */
int wiring_allow_set(struct wiring *wiring, struct proto_allow **list, struct err *e) MUST_CHECK;
/* ZAP fails open when its handler dies: a key that nobody allowed must stay outside (promises.md). The server end is
 * probed each minute, and its handler looked at each second; on_open is told what was found, and the loop ends. */
int wiring_auth_watch(struct wiring *wiring, void (*on_open)(void *context, const struct err *e), void *context,
		      struct err *e) MUST_CHECK;
/* SIGINT and SIGTERM end the loop; on_signal (may be NULL) is called first. Must come before any thread is made. */
int wiring_signals(struct wiring *wiring, void (*on_signal)(void *context, int signal_number), void *context,
		   struct err *e) MUST_CHECK;
void wiring_close(struct wiring *wiring);
/* The setting key.server. */
int wiring_server_key(const struct daemon_config *config, uint8_t key[PROTO_KEY_BYTES], struct err *e) MUST_CHECK;
/* ERR_INVALID "name: not set; give --flag" for an empty text setting. */
int wiring_require(const char *value, const char *name, const char *flag, struct err *e) MUST_CHECK;

#endif
