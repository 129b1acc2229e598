#include "tests/lib/network.h"

#include "tests/lib/test.h"

#include <poll.h>

struct proto_allow *test_allow_make(const char *folder, const uint8_t key[PROTO_KEY_BYTES], unsigned roles)
{
	char path[TEST_PATH_BYTES];
	struct err e = ERR_INIT;
	struct proto_allow *allow = NULL;
	static unsigned count;
	char name[32];
	snprintf(name, sizeof(name), "allow-%u", count++);
	test_path(path, folder, name);
	assert_ok(&e, proto_allow_add(path, key, roles, "peer", &e));
	assert_ok(&e, proto_allow_load(path, &allow, &e));
	return allow;
}

static void wait_for(struct proto_transport *t, int64_t ms)
{
	struct pollfd fd = { .fd = t->ops->fd(t), .events = POLLIN };
	poll(&fd, fd.fd >= 0, (int)(ms < 20 ? ms : 20));
}

int test_receive(struct proto_transport *t, struct msg_received **out, int64_t ms)
{
	int64_t end = env_monotonic_ms(env_system()) + ms, left;
	int rc;
	while ((rc = t->ops->recv(t, out, NULL)) == ERR_AGAIN && (left = end - env_monotonic_ms(env_system())) > 0)
		wait_for(t, left);
	return rc;
}

int test_send(struct proto_transport *t, uint64_t route, const struct msg *msg, int64_t ms)
{
	int64_t end = env_monotonic_ms(env_system()) + ms;
	int rc;
	while ((rc = t->ops->send(t, route, msg, NULL)) == ERR_AGAIN && env_monotonic_ms(env_system()) < end)
		poll(NULL, 0, 5);
	return rc;
}

void test_end_destroy(struct proto_transport **t)
{
	if (*t != NULL)
		(*t)->ops->destroy(*t);
	*t = NULL;
}
