/* wiring.c: see wiring.h. */
#include "daemon/wiring.h"

#include "daemon/roles.h"

#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

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

int wiring_client_open(const struct daemon_config *config, struct wiring *wiring, struct err *e)
{
	uint8_t server[PROTO_KEY_BYTES];
	memset(wiring, 0, sizeof *wiring);
	int rc = wiring_require(config->key_file, "key.file", "key-file", e);
	if (rc == 0)
		rc = wiring_require(config->server_key, "key.server", "server-key", e);
	if (rc == 0)
		rc = wiring_server_key(config, server, e);
	if (rc == 0)
		rc = proto_keypair_load(config->key_file, &wiring->keys, e);
	if (rc == 0)
		rc = proto_loop_new(env_system(), &wiring->loop, e);
	if (rc == 0)
		rc = proto_zmq_new(&wiring->keys, NULL, env_system(), &wiring->zmq, e);
	if (rc == 0)
		rc = proto_zmq_connect(wiring->zmq, config->coordinator, config->hints, server, &wiring->transport, e);
	if (rc != 0)
		wiring_close(wiring);
	return rc;
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
