/* An allowed key in the hands of a program that does not keep to the protocol: raw libzmq against our server. */
#include "tests/unit/proto/zmq_fixture.h"

#include "base/log.h"
#include "base/process.h"

#include <arpa/inet.h>
#include <dirent.h>
#include <netinet/in.h>
#include <poll.h>
#include <signal.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>
#include <zmq.h>

static void *context, *raw; /* raw: NULL before a test opens it */

static void raw_open(const struct net *net, const char *routing_id)
{
	raw = zmq_socket(context, ZMQ_DEALER);
	int linger = 0;
	assert_non_null(raw);
	zmq_setsockopt(raw, ZMQ_LINGER, &linger, sizeof(linger));
	if (routing_id != NULL)
		assert_int_equal(zmq_setsockopt(raw, ZMQ_ROUTING_ID, routing_id, strlen(routing_id)), 0);
	assert_int_equal(zmq_setsockopt(raw, ZMQ_CURVE_SERVERKEY, net->server_keys.public_key, 32), 0);
	assert_int_equal(zmq_setsockopt(raw, ZMQ_CURVE_PUBLICKEY, net->client_keys.public_key, 32), 0);
	assert_int_equal(zmq_setsockopt(raw, ZMQ_CURVE_SECRETKEY, net->client_keys.secret_key, 32), 0);
	assert_int_equal(zmq_connect(raw, proto_zmq_endpoint(net->server, false)), 0);
}

static int setup_raw(void **state)
{
	raw = NULL;
	context = zmq_ctx_new();
	assert_non_null(context);
	return setup_with(state, PROTO_ROLE_WORKER, 100);
}

static int teardown_raw(void **state)
{
	if (raw != NULL)
		zmq_close(raw);
	zmq_ctx_term(context);
	return teardown(state);
}

static void a_good_peer_is_served(struct net *net)
{
	struct msg msg = { .type = MSG_WANT, .request_id = 5 };
	struct msg_received *got = NULL;
	assert_int_equal(test_send(net->client, 0, &msg, SOON_MS), 0);
	assert_int_equal(test_receive(net->server, &got, SOON_MS), 0);
	assert_int_equal(got->msg.request_id, 5);
	assert_int_equal(test_send(net->server, got->route,
				   &(struct msg){ .type = MSG_HEARTBEAT_REPLY, .request_id = 6 }, SOON_MS),
			 0);
	msg_free(&got);
	assert_int_equal(test_receive(net->client, &got, SOON_MS), 0);
	assert_int_equal(got->msg.request_id, 6);
	msg_free(&got);
}

/* Receives until `count` reaches `wanted`: nothing may come out. */
static void wait_count(struct net *net, const uint64_t *count, uint64_t wanted)
{
	int64_t end = env_monotonic_ms(env_system()) + SOON_MS;
	struct msg_received *got = NULL;
	while (*count < wanted && env_monotonic_ms(env_system()) < end)
		assert_int_equal(test_receive(net->server, &got, 20), ERR_AGAIN);
	assert_int_equal(*count, wanted);
}

static void junk_is_counted_and_dropped(void **state)
{
	struct net *net = *state;
	raw_open(net, NULL);
	zmq_send(raw, "", 0, 0);
	zmq_send(raw, "GET / HTTP/1.1", 14, 0);
	zmq_send(raw, "a", 1, ZMQ_SNDMORE);
	zmq_send(raw, "b", 1, ZMQ_SNDMORE);
	zmq_send(raw, "c", 1, 0);
	wait_count(net, &net->server->counts.undecodable, 3);
	a_good_peer_is_served(net);
}

/* More junk than one recv may drop: `pending` says that the rest still waits. */
static void a_flood_of_junk_leaves_turns(void **state)
{
	struct net *net = *state;
	raw_open(net, NULL);
	for (int i = 0; i < 500; i++)
		assert_int_equal(zmq_send(raw, "junk", 4, 0), 4);
	wait_count(net, &net->server->counts.undecodable, 500);
	a_good_peer_is_served(net);
}

static void an_oversized_frame_ends_only_its_connection(void **state)
{
	struct net *net = *state;
	size_t bytes = 8 << 20;
	char *frame = calloc(1, bytes);
	assert_non_null(frame);
	raw_open(net, NULL);
	assert_int_equal(zmq_send(raw, frame, bytes, 0), (int)bytes);
	a_good_peer_is_served(net);
	free(frame);
	assert_int_equal(net->server->counts.undecodable, 0); /* it never came up */
}

static void a_long_multipart_message_is_dropped(void **state)
{
	struct net *net = *state;
	static const char frame[1000];
	raw_open(net, NULL);
	for (int i = 0; i < 5000; i++)
		assert_int_equal(zmq_send(raw, frame, sizeof(frame), ZMQ_SNDMORE), (int)sizeof(frame));
	assert_int_equal(zmq_send(raw, frame, sizeof(frame), 0), (int)sizeof(frame));
	wait_count(net, &net->server->counts.undecodable, 1);
	a_good_peer_is_served(net);
}

/* A process that sends a message of so many frames of 60,000 bytes, and ends when it was sent or, for all that it
 * knows, lost. */
static pid_t long_message_start(const struct net *net, size_t frame_count)
{
	static uint8_t frame[60000];
	const pid_t pid = fork();
	assert_true(pid >= 0);
	if (pid != 0)
		return pid;
	(void)prctl(PR_SET_PDEATHSIG, SIGKILL);
	context = zmq_ctx_new();
	raw_open(net, NULL);
	for (size_t i = 0; i < frame_count; i++)
		if (zmq_send(raw, frame, sizeof(frame), i + 1 < frame_count ? ZMQ_SNDMORE : 0) < 0)
			_exit(1);
	for (;;)
		pause();
}

/* libzmq holds all frames before the last: 300 MB here, and without an end for who does not keep to libzmq. The
 * connection is cut, again and again, as the peer connects again; others are served. */
static void a_message_without_an_end_is_cut(void **state)
{
	struct net *net = *state;
	int64_t since = 0;
	a_good_peer_is_served(net);
	log_level_set(LOG_WARN);
	test_log_begin(net->folder);
	const uint64_t before = process_resident_bytes();
	const pid_t pid = long_message_start(net, 5000);
	uint64_t most = 0;
	while (test_log_count("PROTO-CONNECTION-CUT") == 0 && test_wait(&since)) {
		const uint64_t now = process_resident_bytes();
		most = now > most ? now : most;
		a_good_peer_is_served(net);
	}
	for (int i = 0; i < 20; i++)
		a_good_peer_is_served(net);
	assert_int_equal(kill(pid, SIGKILL), 0);
	assert_int_equal(waitpid(pid, NULL, 0), pid);
	test_log_end();
	log_level_set(LOG_OFF);
	assert_true(test_log_count("PROTO-CONNECTION-CUT") > 0);
	printf("# %.1f MB more while it was sent\n", most > before ? (double)(most - before) / 1e6 : 0.0);
	if (most > before + ((uint64_t)160 << 20))
		fail_msg("%.1f MB more", (double)(most - before) / 1e6);
}

/* What is whole is read, however much of it comes by one connection. */
static void much_traffic_is_no_long_message(void **state)
{
	struct net *net = *state;
	static uint8_t bulk[MSG_BULK_BYTES_MAX];
	struct msg chunk = { .type = MSG_CHUNK, .request_id = 1, .u.chunk = { .data = { bulk, sizeof(bulk) } } };
	struct msg_received *got = NULL;
	log_level_set(LOG_WARN);
	test_log_begin(net->folder);
	for (int i = 0; i < 600; i++) { /* 39 MB */
		assert_int_equal(test_send(net->client, 0, &chunk, SOON_MS), 0);
		assert_int_equal(test_receive(net->server, &got, SOON_MS), 0);
		msg_free(&got);
	}
	poll(NULL, 0, SILENCE_MS); /* some looks */
	test_log_end();
	log_level_set(LOG_OFF);
	assert_int_equal(test_log_count("PROTO-CONNECTION-CUT"), 0); /* else it connects again, and goes on */
	a_good_peer_is_served(net);
}

#define FLEET       280
#define FLEET_SENDS 16 /* whole messages of 64,000 bytes: a MiB, all but 24 KB */

/* A process with so many connections, each of which sends what a worker may have on its way unread. */
static pid_t fleet_start(const struct net *net)
{
	static const uint8_t frame[64000];
	const pid_t pid = fork();
	assert_true(pid >= 0);
	if (pid != 0)
		return pid;
	(void)prctl(PR_SET_PDEATHSIG, SIGKILL);
	context = zmq_ctx_new();
	for (int i = 0; i < FLEET; i++) {
		raw_open(net, NULL);
		for (int sent = 0; sent < FLEET_SENDS; sent++)
			if (zmq_send(raw, frame, sizeof(frame), 0) < 0)
				_exit(1);
	}
	for (;;)
		pause();
}

/* 287 MB wait to be read, and none of it is a message without an end. */
static void a_fleet_that_waits_to_be_read_is_not_cut(void **state)
{
	struct net *net = *state;
	struct rlimit limit, most;
	int64_t since = 0;
	a_good_peer_is_served(net);
	assert_int_equal(getrlimit(RLIMIT_NOFILE, &limit), 0);
	most = (struct rlimit){ limit.rlim_max, limit.rlim_max };
	assert_int_equal(setrlimit(RLIMIT_NOFILE, &most), 0);
	log_level_set(LOG_WARN);
	test_log_begin(net->folder);
	const uint64_t much = process_resident_bytes() + ((uint64_t)260 << 20);
	const pid_t pid = fleet_start(net);
	while (process_resident_bytes() < much && test_log_count("PROTO-CONNECTION-CUT") == 0 && test_wait(&since))
		;
	assert_true(process_resident_bytes() >= much || test_log_count("PROTO-CONNECTION-CUT") > 0);
	poll(NULL, 0, SILENCE_MS); /* some looks */
	test_log_end();
	log_level_set(LOG_OFF);
	assert_int_equal(test_log_count("PROTO-CONNECTION-CUT"), 0);
	wait_count(net, &net->server->counts.undecodable, FLEET * FLEET_SENDS); /* they all come */
	assert_int_equal(kill(pid, SIGKILL), 0);
	assert_int_equal(waitpid(pid, NULL, 0), pid);
	assert_int_equal(setrlimit(RLIMIT_NOFILE, &limit), 0);
}

static struct sockaddr_in address_of(const struct net *net)
{
	const char *colon = strrchr(proto_zmq_endpoint(net->server, false), ':');
	struct sockaddr_in address = { .sin_family = AF_INET, .sin_port = htons((uint16_t)atoi(colon + 1)) };
	address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
	return address;
}

/* A process that connects so many times, says nothing, and connects again what is closed; until it is killed. */
static pid_t crowd_start(const struct net *net, size_t count)
{
	const struct sockaddr_in address = address_of(net);
	const pid_t pid = fork();
	assert_true(pid >= 0);
	if (pid != 0)
		return pid;
	const struct rlimit all = { 1024, 1024 };
	char byte[64];
	int fds[512];
	(void)prctl(PR_SET_PDEATHSIG, SIGKILL);
	(void)setrlimit(RLIMIT_NOFILE, &all);
	memset(fds, 0xff, sizeof(fds));
	for (;;) {
		for (size_t i = 0; i < count; i++) {
			if (fds[i] >= 0 && recv(fds[i], byte, sizeof(byte), MSG_DONTWAIT) == 0) {
				close(fds[i]);
				fds[i] = -1;
			}
			if (fds[i] >= 0)
				continue;
			fds[i] = socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK, 0);
			if (fds[i] >= 0)
				(void)connect(fds[i], (const struct sockaddr *)&address, sizeof(address));
		}
		usleep(20000);
	}
}

static void crowd_end(pid_t pid)
{
	kill(pid, SIGKILL);
	assert_int_equal(waitpid(pid, NULL, 0), pid);
}

static size_t descriptors(void)
{
	size_t count = 0;
	DIR *folder = opendir("/proc/self/fd");
	assert_non_null(folder);
	while (readdir(folder) != NULL)
		count++;
	closedir(folder);
	return count;
}

static void descriptors_wait(size_t wanted)
{
	int64_t since = 0;
	while (descriptors() < wanted && test_wait(&since))
		;
	assert_true(descriptors() >= wanted);
}

static void new_peer_comes_in(struct net *net)
{
	struct proto_transport *late = NULL;
	struct msg msg = { .type = MSG_WANT, .request_id = 8 };
	struct msg_received *got = NULL;
	struct err e = ERR_INIT;
	assert_ok(&e, proto_zmq_connect(net->client_zmq, proto_zmq_endpoint(net->server, false), NULL,
					net->server_keys.public_key, &late, &e));
	assert_int_equal(test_send(late, 0, &msg, SOON_MS), 0);
	assert_int_equal(test_receive(net->server, &got, SOON_MS), 0);
	assert_int_equal(got->msg.request_id, 8);
	msg_free(&got);
	test_end_destroy(&late);
}

/* Two hundred that never shake hands: others are served, and come in, meanwhile. */
static void slow_handshakes_hold_nobody_up(void **state)
{
	struct net *net = *state;
	a_good_peer_is_served(net);
	const size_t before = descriptors();
	const pid_t crowd = crowd_start(net, 200);
	descriptors_wait(before + 100);
	a_good_peer_is_served(net);
	new_peer_comes_in(net);
	crowd_end(crowd);
	a_good_peer_is_served(net);
}

/* More connections than the process has descriptors: who is connected is served, the door stays shut to strangers, and
 * when the crowd has gone new ones come in. */
static void descriptors_that_run_out_end_nothing(void **state)
{
	struct net *net = *state;
	struct rlimit limit, small;
	a_good_peer_is_served(net);
	assert_int_equal(getrlimit(RLIMIT_NOFILE, &limit), 0);
	const size_t before = descriptors();
	small = (struct rlimit){ before + 60, limit.rlim_max };
	assert_int_equal(setrlimit(RLIMIT_NOFILE, &small), 0);
	const pid_t crowd = crowd_start(net, 400);
	int64_t since = 0;
	int fd;
	while ((fd = dup(0)) >= 0 && close(fd) == 0 && test_wait(&since))
		;
	assert_int_equal(fd, -1);                                    /* there are none left, not for a probe either: */
	assert_int_equal(proto_zmq_probe(net->server_zmq, NULL), 0); /* it fails, which proves nothing */
	for (int i = 0; i < 20; i++) {
		struct err e = ERR_INIT;
		a_good_peer_is_served(net);
		assert_ok(&e, proto_zmq_check(net->server_zmq, &e));
	}
	crowd_end(crowd);
	assert_int_equal(setrlimit(RLIMIT_NOFILE, &limit), 0);
	new_peer_comes_in(net);
	a_good_peer_is_served(net);
	since = 0;
	while (proto_zmq_probe(net->server_zmq, NULL) != 0 && test_wait(&since))
		;
	assert_int_equal(proto_zmq_check(net->server_zmq, NULL), 0);
}

/* Both sides are told: the peer by an Error, which every version can read, the server's people by a line. */
static void another_version_is_told_so(void **state)
{
	struct net *net = *state;
	struct buf head = BUF_INIT;
	struct msg_bytes bulk;
	struct msg msg = { .type = MSG_WANT, .request_id = 77 };
	struct msg_received *answer = NULL;
	struct err e = ERR_INIT;
	uint8_t frame[1024];
	int len, timeout = SOON_MS;
	assert_int_equal(proto_encode(&msg, &head, &bulk, NULL), 0);
	head.data[4] = MSG_PROTOCOL_VERSION + 1;
	raw_open(net, NULL);
	zmq_setsockopt(raw, ZMQ_RCVTIMEO, &timeout, sizeof(timeout));
	log_level_set(LOG_WARN);
	test_log_begin(net->folder);
	assert_int_equal(zmq_send(raw, head.data, head.len, 0), (int)head.len);
	wait_count(net, &net->server->counts.undecodable, 1);
	test_log_end();
	log_level_set(LOG_OFF);
	assert_int_equal(test_log_count("PROTO-MESSAGE-DROPPED"), 1);
	assert_int_equal(net->server->counts.forbidden, 0);
	len = zmq_recv(raw, frame, sizeof(frame), 0);
	assert_in_range(len, PROTO_HEADER_BYTES, sizeof(frame));
	assert_ok(&e, proto_decode(frame, (size_t)len, NULL, 0, &answer, &e));
	assert_int_equal(answer->msg.type, MSG_ERROR);
	assert_int_equal(answer->msg.request_id, 77);
	assert_int_equal(answer->msg.u.error.code, ERR_UNSUPPORTED);
	assert_non_null(strstr(answer->msg.u.error.text.text, "protocol version 1, and your program another"));
	msg_free(&answer);
	buf_free(&head);
	a_good_peer_is_served(net);
}

/* An id that a peer gave itself is none that a route may be made of. */
static void a_chosen_routing_id_is_refused(void **state)
{
	struct net *net = *state;
	struct buf head = BUF_INIT;
	struct msg_bytes bulk;
	struct msg msg = { .type = MSG_WANT };
	assert_int_equal(proto_encode(&msg, &head, &bulk, NULL), 0);
	raw_open(net, "w0");
	assert_int_equal(zmq_send(raw, head.data, head.len, 0), (int)head.len);
	wait_count(net, &net->server->counts.unauthenticated, 1);
	buf_free(&head);
	a_good_peer_is_served(net);
}

int main(void)
{
#define NET(f) cmocka_unit_test_setup_teardown(f, setup_raw, teardown_raw)
	const struct CMUnitTest tests[] = {
		NET(a_fleet_that_waits_to_be_read_is_not_cut), /* first: what the process has freed would hide its bytes
								*/
		NET(junk_is_counted_and_dropped),
		NET(a_flood_of_junk_leaves_turns),
		NET(an_oversized_frame_ends_only_its_connection),
		NET(a_long_multipart_message_is_dropped),
		NET(a_message_without_an_end_is_cut),
		NET(much_traffic_is_no_long_message),
		NET(slow_handshakes_hold_nobody_up),
		NET(descriptors_that_run_out_end_nothing),
		NET(another_version_is_told_so),
		NET(a_chosen_routing_id_is_refused),
	};
	log_level_set(LOG_OFF);
	return cmocka_run_group_tests(tests, NULL, NULL);
}
