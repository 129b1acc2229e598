/* Which connections are cut (proto/guard.h): of those of its ports, by what has come on each and on all. */
#include "proto/guard.h"

#include "base/log.h"
#include "tests/lib/test.h"

#include <arpa/inet.h>
#include <netinet/in.h>
#include <poll.h>
#include <sys/socket.h>
#include <unistd.h>

#define MIB ((size_t)1 << 20)

struct pair {
	int client, server;
};

static int listener_open(uint16_t *port)
{
	struct sockaddr_in address = { .sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK) };
	socklen_t len = sizeof(address);
	const int fd = socket(AF_INET, SOCK_STREAM, 0);
	assert_true(fd >= 0);
	assert_int_equal(bind(fd, (struct sockaddr *)&address, len), 0);
	assert_int_equal(listen(fd, 8), 0);
	assert_int_equal(getsockname(fd, (struct sockaddr *)&address, &len), 0);
	*port = ntohs(address.sin_port);
	return fd;
}

static struct pair pair_open(int listener, uint16_t port)
{
	struct sockaddr_in address = { .sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK) };
	struct pair pair = { .client = socket(AF_INET, SOCK_STREAM, 0) };
	address.sin_port = htons(port);
	assert_true(pair.client >= 0);
	assert_int_equal(connect(pair.client, (struct sockaddr *)&address, sizeof(address)), 0);
	pair.server = accept(listener, NULL, NULL);
	assert_true(pair.server >= 0);
	return pair;
}

static void pair_close(const struct pair *pair)
{
	close(pair->client);
	close(pair->server);
}

/* So much comes, and is read, as by who waits for the rest of a message. */
static void come(const struct pair *pair, size_t bytes)
{
	static uint8_t part[65536];
	for (size_t left = bytes; left > 0;) {
		ssize_t sent = send(pair->client, part, left < sizeof(part) ? left : sizeof(part), MSG_NOSIGNAL);
		if (sent <= 0)
			return; /* it is cut */
		left -= (size_t)sent;
		for (ssize_t n; sent > 0 && (n = recv(pair->server, part, (size_t)sent, 0)) > 0;)
			sent -= n;
	}
}

static bool is_cut(const struct pair *pair)
{
	char byte;
	return recv(pair->client, &byte, 1, MSG_DONTWAIT) == 0;
}

static struct proto__guard *guard_start(const char *folder, uint16_t first, uint16_t second)
{
	const uint16_t ports[2] = { first, second };
	struct proto__guard *guard = NULL;
	struct err e = ERR_INIT;
	log_level_set(LOG_WARN);
	test_log_begin(folder);
	assert_ok(&e, proto__guard_start(ports, &guard, &e));
	return guard;
}

/* When so many have been cut, and no more in some looks. */
static void guard_end(struct proto__guard **guard, size_t cut)
{
	int64_t since = 0;
	while (test_log_count("PROTO-CONNECTION-CUT") < cut && test_wait(&since))
		;
	poll(NULL, 0, 400);
	proto__guard_stop(guard);
	test_log_end();
	log_level_set(LOG_OFF);
	assert_int_equal(test_log_count("PROTO-CONNECTION-CUT"), cut);
}

/* None is over its own limit: above what each may have, all have 265 MiB, and 253 without the one that has most. */
static void of_all_the_one_with_the_most_is_cut(void **state)
{
	const char *folder = *state;
	struct pair pairs[27];
	uint16_t port;
	const int listener = listener_open(&port);
	struct proto__guard *guard = guard_start(folder, port, 0);
	for (size_t i = 0; i < 27; i++)
		pairs[i] = pair_open(listener, port);
	for (size_t i = 0; i < 27; i++)
		come(&pairs[i], (i == 13 ? 14 : 12) * MIB);
	guard_end(&guard, 1);
	for (size_t i = 0; i < 27; i++) {
		assert_int_equal(is_cut(&pairs[i]), i == 13);
		pair_close(&pairs[i]);
	}
	close(listener);
}

/* What each may have does not count, in however many connections: 120 of 2.2 MiB have 264. */
static void what_each_may_have_is_not_counted(void **state)
{
	const char *folder = *state;
	static struct pair pairs[120];
	uint16_t port;
	const int listener = listener_open(&port);
	struct proto__guard *guard = guard_start(folder, port, 0);
	for (size_t i = 0; i < 120; i++) {
		pairs[i] = pair_open(listener, port);
		come(&pairs[i], 22 * MIB / 10);
	}
	guard_end(&guard, 0);
	for (size_t i = 0; i < 120; i++)
		pair_close(&pairs[i]);
	close(listener);
}

/* Of both ports, and of no other. */
static void connections_of_its_ports_are_watched(void **state)
{
	const char *folder = *state;
	struct pair pairs[3];
	uint16_t ports[3];
	int listeners[3];
	for (size_t i = 0; i < 3; i++)
		listeners[i] = listener_open(&ports[i]);
	struct proto__guard *guard = guard_start(folder, ports[0], ports[1]);
	for (size_t i = 0; i < 3; i++) {
		pairs[i] = pair_open(listeners[i], ports[i]);
		come(&pairs[i], 17 * MIB);
	}
	guard_end(&guard, 2);
	for (size_t i = 0; i < 3; i++) {
		assert_int_equal(is_cut(&pairs[i]), i < 2);
		pair_close(&pairs[i]);
		close(listeners[i]);
	}
}

/* What came before a whole message is no part of the next. */
static void a_whole_message_begins_anew(void **state)
{
	const char *folder = *state;
	uint16_t port;
	const int listener = listener_open(&port);
	struct proto__guard *guard = guard_start(folder, port, 0);
	struct pair pair = pair_open(listener, port);
	for (int i = 0; i < 3; i++) {
		come(&pair, 10 * MIB);
		proto__guard_seen(guard, pair.server);
		poll(NULL, 0, 250); /* a look, or a few */
	}
	assert_int_equal(test_log_count("PROTO-CONNECTION-CUT"), 0);
	come(&pair, 17 * MIB);
	guard_end(&guard, 1);
	assert_true(is_cut(&pair));
	pair_close(&pair);
	close(listener);
}

static int folder_make(void **state)
{
	static char folder[TEST_PATH_BYTES];
	test_folder_make(folder);
	*state = folder;
	return 0;
}

static int folder_remove(void **state)
{
	test_folder_remove(*state);
	return 0;
}

#define T(f) cmocka_unit_test_setup_teardown(f, folder_make, folder_remove)

int main(void)
{
	const struct CMUnitTest tests[] = {
		T(of_all_the_one_with_the_most_is_cut),
		T(what_each_may_have_is_not_counted),
		T(connections_of_its_ports_are_watched),
		T(a_whole_message_begins_anew),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
