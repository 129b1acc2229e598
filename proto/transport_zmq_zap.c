/* transport_zmq_zap.c: the ZAP handler (RFC 27) and its probe. libzmq lets every key in when no handler is bound, so
 * the handler is bound first, the domain is enforced (ZMQ_ZAP_ENFORCE_DOMAIN), and a random key knocks at start and
 * each minute. */
#include "proto/transport_zmq_internal.h"

#include "base/fault.h"
#include "base/log.h"
#include "base/sync.h"
#include "proto/intake.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>
#include <unistd.h>
#include <zmq.h>

#define ZAP_ENDPOINT    "inproc://zeromq.zap.01"
#define FIELD_BYTES_MAX 255
#define PROBE_MS        500
#define PROBE_WAIT_MS   5000 /* at start-up, for a verdict on a loaded machine */

enum verdict { VERDICT_NONE, VERDICT_REFUSED, VERDICT_LET_IN, VERDICT_SILENT };
enum phase { PHASE_IDLE, PHASE_WANTED, PHASE_RUNNING };

struct proto__zap {
	struct proto_zmq *zmq;
	pthread_t thread;
	int wake_fd;
	pthread_mutex_t lock;
	pthread_cond_t changed;
	/* Under the lock: */
	bool stop, dead;
	enum phase phase;
	enum verdict verdict;
	uint64_t probe_count;
	char target[PROTO__ENDPOINT_BYTES];
	/* The thread's own: */
	void *handler, *probe, *monitor;
	int64_t probe_deadline_ms;
	uint8_t probe_key[PROTO_KEY_BYTES];
	struct proto__rate rate; /* of lines about refused keys */
};

unsigned proto__zmq_roles(struct proto_zmq *zmq, const uint8_t key[PROTO_KEY_BYTES])
{
	pthread_mutex_lock(&zmq->lock);
	unsigned roles = proto_allow_roles(zmq->allow, key, NULL);
	pthread_mutex_unlock(&zmq->lock);
	return roles;
}

static int64_t now_ms(void)
{
	return env_monotonic_ms(env_system()); /* real time, also when a test moves the process's clock */
}

unsigned proto__zmq_admit(struct proto_zmq *zmq, const uint8_t key[PROTO_KEY_BYTES], bool *told)
{
	pthread_mutex_lock(&zmq->lock);
	unsigned roles = proto_allow_roles(zmq->allow, key, NULL);
	*told = roles == 0 && fault_point("proto.key.refused") == 0 &&
		proto__refusals_take(&zmq->refusals, key, now_ms());
	pthread_mutex_unlock(&zmq->lock);
	return roles;
}

size_t proto__zmq_refused(struct proto_zmq *zmq, struct msg_refused_key out[MSG_REFUSED_KEYS_MAX])
{
	pthread_mutex_lock(&zmq->lock);
	const size_t count = proto__refusals_list(&zmq->refusals, now_ms(), out);
	pthread_mutex_unlock(&zmq->lock);
	return count;
}

/* ---- One request: version, request id, domain, address, identity, mechanism, credentials. */

struct request {
	char field[7][FIELD_BYTES_MAX + 1];
	size_t len[7];
	size_t frame_count;
	bool oversize;
};

static bool request_read(void *socket, struct request *r)
{
	int more = 1;
	memset(r, 0, sizeof(*r));
	while (more) {
		size_t i = r->frame_count;
		char spill[FIELD_BYTES_MAX + 1], *to = i < 7 ? r->field[i] : spill;
		int n = zmq_recv(socket, to, FIELD_BYTES_MAX, i == 0 ? ZMQ_DONTWAIT : 0);
		if (n < 0)
			return false;
		if (n > FIELD_BYTES_MAX)
			r->oversize = true;
		else if (i < 7)
			r->len[i] = (size_t)n;
		r->frame_count++;
		size_t bytes = sizeof(more);
		if (zmq_getsockopt(socket, ZMQ_RCVMORE, &more, &bytes) != 0)
			return false;
	}
	return true;
}

static bool field_is(const struct request *r, size_t i, const char *text)
{
	return r->len[i] == strlen(text) && memcmp(r->field[i], text, r->len[i]) == 0;
}

static bool is_probe(const struct proto__zap *zap, const struct request *r)
{
	return zap->probe != NULL && memcmp(r->field[6], zap->probe_key, PROTO_KEY_BYTES) == 0;
}

/* *told: its refusal is worth a line. */
static bool request_allowed(struct proto__zap *zap, const struct request *r, bool *told)
{
	const uint8_t *key = (const uint8_t *)r->field[6];
	*told = true;
	if (r->frame_count != 7 || r->oversize || !field_is(r, 0, "1.0") || !field_is(r, 2, PROTO__ZAP_DOMAIN) ||
	    !field_is(r, 5, "CURVE") || r->len[6] != PROTO_KEY_BYTES)
		return false;
	if (fault_point("proto.zap.open") != 0)
		return true; /* the planted bug that the probe must find */
	if (!is_probe(zap, r))
		return proto__zmq_admit(zap->zmq, key, told) != 0;
	*told = false;
	return proto__zmq_roles(zap->zmq, key) != 0;
}

static void refusal_log(struct proto__zap *zap, const struct request *r)
{
	uint64_t suppressed;
	if (proto__rate_take(&zap->rate, now_ms(), &suppressed))
		log_event(LOG_WARN, "PROTO-KEY-REFUSED",
			  LOGF_X("key", r->field[6], r->len[6] > PROTO_KEY_BYTES ? PROTO_KEY_BYTES : r->len[6]),
			  LOGF_SN("address", r->field[3], r->len[3]), LOGF_U("suppressed", suppressed));
}

/* A refusal is 300, "for now": after a 400 the peer's libzmq would never try again, and a key that is allowed later
 * stayed outside. The probe wants its answer at once: libzmq may close what was refused by 300 only when the time of a
 * handshake is over. */
static void answer(const struct proto__zap *zap, const struct request *r, bool allowed)
{
	const char *code = allowed ? "200" : is_probe(zap, r) ? "400" : "300";
	void *socket = zap->handler;
	char user_id[65] = "";
	if (allowed)
		proto_key_hex((const uint8_t *)r->field[6], user_id);
	const char *text = allowed ? "OK" : "key not allowed";
	/* The six frames are queued inside this process: nothing here can wait on a peer. */
	if (zmq_send(socket, "1.0", 3, ZMQ_SNDMORE) < 0 || zmq_send(socket, r->field[1], r->len[1], ZMQ_SNDMORE) < 0 ||
	    zmq_send(socket, code, 3, ZMQ_SNDMORE) < 0 || zmq_send(socket, text, strlen(text), ZMQ_SNDMORE) < 0 ||
	    zmq_send(socket, user_id, strlen(user_id), ZMQ_SNDMORE) < 0 || zmq_send(socket, "", 0, 0) < 0)
		log_event(LOG_ERROR, "PROTO-ZAP-ANSWER-FAILED", LOGF_S("error", zmq_strerror(errno)));
}

static void serve(struct proto__zap *zap)
{
	struct request request;
	while (request_read(zap->handler, &request)) {
		bool told, allowed = request_allowed(zap, &request, &told);
		if (!allowed && told)
			refusal_log(zap, &request);
		answer(zap, &request, allowed);
	}
}

/* ---- The probe: a client with a random key, watched by a monitor. */

static void probe_close(struct proto__zap *zap)
{
	if (zap->probe != NULL)
		zmq_socket_monitor(zap->probe, NULL, 0);
	if (zap->monitor != NULL)
		zmq_close(zap->monitor);
	if (zap->probe != NULL)
		zmq_close(zap->probe);
	zap->probe = zap->monitor = NULL;
}

static void probe_finish(struct proto__zap *zap, enum verdict verdict)
{
	probe_close(zap);
	pthread_mutex_lock(&zap->lock);
	zap->verdict = verdict;
	zap->phase = PHASE_IDLE;
	zap->probe_count++;
	pthread_cond_broadcast(&zap->changed);
	pthread_mutex_unlock(&zap->lock);
}

static bool set_int(void *socket, int option, int value)
{
	return zmq_setsockopt(socket, option, &value, sizeof(value)) == 0;
}

static bool probe_open(struct proto__zap *zap, const char *target)
{
	struct proto_keypair pair;
	char name[64]; /* a new one each time: a closed socket gives its name back late */
	if (proto_keypair_new(&pair, NULL) != 0)
		return false;
	snprintf(name, sizeof(name), "inproc://amend-probe-%llu", (unsigned long long)zap->probe_count);
	memcpy(zap->probe_key, pair.public_key, PROTO_KEY_BYTES);
	zap->probe = zmq_socket(zap->zmq->context, ZMQ_DEALER);
	bool ok = zap->probe != NULL && set_int(zap->probe, ZMQ_LINGER, 0) &&
		  zmq_setsockopt(zap->probe, ZMQ_CURVE_SERVERKEY, zap->zmq->keys.public_key, PROTO_KEY_BYTES) == 0 &&
		  zmq_setsockopt(zap->probe, ZMQ_CURVE_PUBLICKEY, pair.public_key, PROTO_KEY_BYTES) == 0 &&
		  zmq_setsockopt(zap->probe, ZMQ_CURVE_SECRETKEY, pair.secret_key, PROTO_KEY_BYTES) == 0 &&
		  zmq_socket_monitor(zap->probe, name, ZMQ_EVENT_ALL) == 0;
	proto_keypair_wipe(&pair);
	zap->monitor = ok ? zmq_socket(zap->zmq->context, ZMQ_PAIR) : NULL;
	return zap->monitor != NULL && set_int(zap->monitor, ZMQ_LINGER, 0) && zmq_connect(zap->monitor, name) == 0 &&
	       zmq_connect(zap->probe, target) == 0;
}

static void probe_begin(struct proto__zap *zap, const char *target)
{
	zap->probe_deadline_ms = now_ms() + PROBE_MS;
	if (!probe_open(zap, target))
		probe_finish(zap, VERDICT_SILENT);
}

/* Events come as two frames, {event u16, value u32} and the address. */
static void probe_watch(struct proto__zap *zap)
{
	uint8_t event[16];
	char address[FIELD_BYTES_MAX];
	while (zap->monitor != NULL && zmq_recv(zap->monitor, event, sizeof(event), ZMQ_DONTWAIT) >= 6) {
		if (zmq_recv(zap->monitor, address, sizeof(address), 0) < 0)
			break;
		uint16_t what;
		memcpy(&what, event, sizeof(what));
		if (what == ZMQ_EVENT_HANDSHAKE_SUCCEEDED)
			probe_finish(zap, VERDICT_LET_IN);
		else if (what == ZMQ_EVENT_HANDSHAKE_FAILED_AUTH || what == ZMQ_EVENT_HANDSHAKE_FAILED_PROTOCOL ||
			 what == ZMQ_EVENT_HANDSHAKE_FAILED_NO_DETAIL || what == ZMQ_EVENT_DISCONNECTED)
			probe_finish(zap, VERDICT_REFUSED);
	}
	if (zap->monitor != NULL && now_ms() >= zap->probe_deadline_ms)
		probe_finish(zap, VERDICT_SILENT);
}

/* ---- The thread. */

/* False when it shall end. */
static bool take_orders(struct proto__zap *zap)
{
	uint64_t count;
	char target[PROTO__ENDPOINT_BYTES] = "";
	(void)!read(zap->wake_fd, &count, sizeof(count));
	pthread_mutex_lock(&zap->lock);
	bool stop = zap->stop;
	if (!stop && zap->phase == PHASE_WANTED) {
		zap->phase = PHASE_RUNNING;
		memcpy(target, zap->target, sizeof(target));
	}
	pthread_mutex_unlock(&zap->lock);
	if (target[0] != '\0')
		probe_begin(zap, target);
	return !stop;
}

static void *run(void *context)
{
	struct proto__zap *zap = context;
	for (;;) {
		zmq_pollitem_t items[3] = { { zap->handler, 0, ZMQ_POLLIN, 0 }, { NULL, zap->wake_fd, ZMQ_POLLIN, 0 } };
		items[2] = (zmq_pollitem_t){ zap->monitor, 0, ZMQ_POLLIN, 0 };
		int count = zap->monitor != NULL ? 3 : 2;
		if (zmq_poll(items, count, zap->monitor != NULL ? 50 : -1) < 0 && errno != EINTR)
			break;
		if ((items[1].revents != 0 && !take_orders(zap)) || fault_point("proto.zap.dies") != 0)
			break;
		serve(zap);
		if (zap->monitor != NULL)
			probe_watch(zap);
	}
	probe_close(zap);
	zmq_close(zap->handler);
	pthread_mutex_lock(&zap->lock);
	zap->dead = true;
	pthread_cond_broadcast(&zap->changed);
	pthread_mutex_unlock(&zap->lock);
	return NULL;
}

static void wake(struct proto__zap *zap)
{
	uint64_t one = 1;
	(void)!write(zap->wake_fd, &one, sizeof(one)); /* a full counter wakes as well */
}

static int handler_bind(struct proto__zap *zap, struct err *e)
{
	zap->handler = zmq_socket(zap->zmq->context, ZMQ_REP);
	if (zap->handler == NULL || !set_int(zap->handler, ZMQ_LINGER, 0) || zmq_bind(zap->handler, ZAP_ENDPOINT) != 0)
		return err_set(e, ERR_EXTERNAL, "starting authentication: %s", zmq_strerror(errno));
	return 0;
}

static void zap_free(struct proto__zap *zap)
{
	if (zap->wake_fd >= 0)
		close(zap->wake_fd);
	sync_fini(&zap->lock, &zap->changed);
	free(zap);
}

int proto__zap_start(struct proto_zmq *zmq, struct proto__zap **out, struct err *e)
{
	struct proto__zap *zap = fault_calloc(1, sizeof(*zap));
	if (zap == NULL || sync_init(&zap->lock, &zap->changed) != 0) {
		free(zap);
		return err_set(e, ERR_NOMEM, "starting authentication: out of memory");
	}
	zap->zmq = zmq;
	zap->wake_fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
	int rc = zap->wake_fd < 0 ? err_errno(e, ERR_IO, errno, "starting authentication: eventfd")
				  : handler_bind(zap, e);
	if (rc == 0) {
		int errnum = pthread_create(&zap->thread, NULL, run, zap);
		rc = errnum == 0 ? 0 : err_errno(e, ERR_EXTERNAL, errnum, "starting authentication: thread");
	}
	if (rc != 0) {
		if (zap->handler != NULL)
			zmq_close(zap->handler);
		zap_free(zap);
		return rc;
	}
	*out = zap;
	return 0;
}

void proto__zap_stop(struct proto__zap **pointer)
{
	struct proto__zap *zap = *pointer;
	*pointer = NULL;
	if (zap == NULL)
		return;
	pthread_mutex_lock(&zap->lock);
	zap->stop = true;
	pthread_mutex_unlock(&zap->lock);
	wake(zap);
	pthread_join(zap->thread, NULL);
	zap_free(zap);
}

void proto__zap_target(struct proto__zap *zap, const char *endpoint)
{
	pthread_mutex_lock(&zap->lock);
	snprintf(zap->target, sizeof(zap->target), "%s", endpoint);
	zap->verdict = VERDICT_NONE;
	pthread_mutex_unlock(&zap->lock);
}

/* Under the lock. */
static int verdict_code(const struct proto__zap *zap, struct err *e)
{
	if (zap->dead)
		return err_set(e, ERR_DENIED,
			       "the authentication thread has ended: nobody may be let in; restart this process");
	if (zap->verdict == VERDICT_LET_IN)
		return err_set(e, ERR_DENIED,
			       "authentication is open: a random key was let in at %s; stop this process and report it",
			       zap->target);
	if (zap->verdict == VERDICT_SILENT)
		return err_set(e, ERR_TIMEOUT,
			       "authentication was not proven at %s: the probe got no verdict within %d ms",
			       zap->target, PROBE_MS);
	return 0;
}

int proto_zmq_check(struct proto_zmq *zmq, struct err *e)
{
	struct proto__zap *zap = zmq->zap;
	if (zap == NULL)
		return err_set(e, ERR_DENIED, "no authentication runs in this process");
	pthread_mutex_lock(&zap->lock);
	int rc = verdict_code(zap, e);
	pthread_mutex_unlock(&zap->lock);
	return rc == ERR_TIMEOUT ? 0 : rc; /* one silent probe on a loaded machine is no proof */
}

static void probe_want(struct proto__zap *zap)
{
	if (zap->phase == PHASE_IDLE && zap->target[0] != '\0')
		zap->phase = PHASE_WANTED;
	wake(zap);
}

int proto__zap_probe_wait(struct proto__zap *zap, struct err *e)
{
	struct timespec deadline = sync_deadline(PROBE_WAIT_MS);
	int rc = 0;
	pthread_mutex_lock(&zap->lock);
	/* A busy machine may need more than one try; only a clear refusal counts. */
	do {
		uint64_t before = zap->probe_count;
		probe_want(zap);
		while (rc == 0 && !zap->dead && zap->probe_count == before)
			rc = pthread_cond_timedwait(&zap->changed, &zap->lock, &deadline);
	} while (rc == 0 && !zap->dead && zap->verdict == VERDICT_SILENT);
	if (rc == 0)
		rc = verdict_code(zap, e);
	else
		rc = err_set(e, ERR_TIMEOUT, "authentication was not proven at %s within %d ms", zap->target,
			     PROBE_WAIT_MS);
	pthread_mutex_unlock(&zap->lock);
	return rc;
}

int proto_zmq_probe(struct proto_zmq *zmq, struct err *e)
{
	struct proto__zap *zap = zmq->zap;
	int rc = proto_zmq_check(zmq, e);
	if (rc != 0)
		return rc;
	pthread_mutex_lock(&zap->lock);
	/* A silent probe is no proof; one that never came back is. */
	if (zap->phase == PHASE_WANTED)
		rc = err_set(e, ERR_DENIED, "the authentication thread does not answer; restart this process");
	if (rc == 0)
		probe_want(zap);
	pthread_mutex_unlock(&zap->lock);
	return rc;
}
