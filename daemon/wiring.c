/* wiring.c: see wiring.h. */
#include "daemon/wiring.h"

#include "daemon/roles.h"

#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#define PROBE_MS 60000
#define CHECK_MS 1000

int wiring_require(const char *value, const char *name, const char *flag, struct err *e)
{
	if (value[0] != '\0')
		return 0;
	return err_set(e, ERR_INVALID, "%s: not set; give --%s or set it in the configuration file", name, flag);
}

int wiring_server_key(const struct daemon_config *config, uint8_t key[PROTO_KEY_BYTES], struct err *e)
{
	return proto_key_parse(config->server_key, key) == 0
		       ? 0
		       : err_set(e, ERR_INVALID,
				 "key.server: needs 64 hex digits, the `public` line of the coordinator's key file");
}

int wiring_client_open(const struct daemon_config *config, bool server, struct wiring *wiring, struct err *e)
{
	struct buf nobody = BUF_INIT;
	uint8_t server_key[PROTO_KEY_BYTES];
	memset(wiring, 0, sizeof *wiring);
	int rc = wiring_require(config->key_file, "key.file", "key-file", e);
	if (rc == 0)
		rc = wiring_require(config->server_key, "key.server", "server-key", e);
	if (rc == 0)
		rc = wiring_server_key(config, server_key, e);
	if (rc == 0)
		rc = proto_keypair_load(config->key_file, &wiring->keys, e);
	if (rc == 0)
		rc = proto_loop_new(env_system(), &wiring->loop, e);
	if (rc == 0 && server)
		rc = proto_allow_parse("nobody", &nobody, &wiring->allow, e);
	buf_free(&nobody);
	if (rc == 0)
		rc = proto_zmq_new(&wiring->keys, wiring->allow, env_system(), &wiring->zmq, e);
	if (rc == 0)
		rc = proto_zmq_connect(wiring->zmq, config->coordinator, config->hints, server_key, &wiring->transport,
				       e);
	if (rc != 0)
		wiring_close(wiring);
	return rc;
}

int wiring_allow_set(struct wiring *wiring, struct proto_allow **list, struct err *e)
{
	/* The ZAP thread keeps to the old list until this one is set. */
	int rc = proto_zmq_allow_set(wiring->zmq, *list);
	if (rc != 0)
		return err_set(e, rc, "setting the list of allowed keys");
	proto_allow_destroy(&wiring->allow);
	wiring->allow = *list;
	*list = NULL;
	return 0;
}

static void auth_judge(struct wiring *wiring, int rc, const struct err *e)
{
	if (rc == 0 || wiring->on_auth_open == NULL)
		return;
	void (*on_open)(void *context, const struct err *e) = wiring->on_auth_open;
	wiring->on_auth_open = NULL;
	on_open(wiring->auth_context, e);
	proto_loop_stop(wiring->loop);
}

static void on_probe(void *context)
{
	struct wiring *wiring = context;
	struct err e = ERR_INIT;
	auth_judge(wiring, proto_zmq_probe(wiring->zmq, &e), &e);
}

static void on_check(void *context)
{
	struct wiring *wiring = context;
	struct err e = ERR_INIT;
	auth_judge(wiring, proto_zmq_check(wiring->zmq, &e), &e);
}

int wiring_auth_watch(struct wiring *wiring, void (*on_open)(void *context, const struct err *e), void *context,
		      struct err *e)
{
	wiring->on_auth_open = on_open;
	wiring->auth_context = context;
	int rc = proto_loop_timer(wiring->loop, PROBE_MS, on_probe, wiring, e);
	return rc == 0 ? proto_loop_timer(wiring->loop, CHECK_MS, on_check, wiring, e) : rc;
}

int wiring_signals(struct wiring *wiring, void (*on_signal)(void *context, int signal_number), void *context,
		   struct err *e)
{
	return proto_loop_signals(wiring->loop, on_signal, context, e);
}

void wiring_close(struct wiring *wiring)
{
	proto_loop_destroy(&wiring->loop);
	if (wiring->transport != NULL)
		wiring->transport->ops->destroy(wiring->transport);
	wiring->transport = NULL;
	proto_zmq_destroy(&wiring->zmq);
	proto_allow_destroy(&wiring->allow);
	proto_keypair_wipe(&wiring->keys);
}

int daemon_program_folder(char *out, size_t out_bytes, struct err *e)
{
	char path[PATH_MAX];
	ssize_t len = readlink("/proc/self/exe", path, sizeof path - 1);
	if (len < 0)
		return err_set(e, ERR_IO, "cannot read /proc/self/exe; is /proc mounted?");
	path[len] = '\0';
	char *slash = strrchr(path, '/');
	*slash = '\0';
	if (snprintf(out, out_bytes, "%s", path) >= (int)out_bytes)
		return err_set(e, ERR_LIMIT, "the path of the program is too long");
	return 0;
}

int daemon_data_file(const char *name, char *out, size_t out_bytes, struct err *e)
{
	static const char *const places[] = { "share", "../share/amend" };
	char folder[PATH_MAX];
	int rc = daemon_program_folder(folder, sizeof folder, e);
	if (rc != 0)
		return rc;
	for (size_t i = 0; i < sizeof places / sizeof places[0]; i++)
		if (snprintf(out, out_bytes, "%s/%s/%s", folder, places[i], name) < (int)out_bytes &&
		    access(out, R_OK) == 0)
			return 0;
	return err_set(
		e, ERR_NOT_FOUND,
		"%s: not found beside the program in %s (looked in share and ../share/amend); run `make install`", name,
		folder);
}
