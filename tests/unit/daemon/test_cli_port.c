/* Addresses of a cluster: free ports, those that are taken, and words that are none. */
#include "daemon/cli_port.h"

#include "tests/lib/test.h"

#include <arpa/inet.h>
#include <netinet/in.h>
#include <sys/socket.h>
#include <unistd.h>

static int resolve(struct cli_ports *ports, const char *text, char out[128], struct err *e)
{
	const char *scheme = strncmp(text, "tcp://", 6) == 0 ? "tcp://" : "";
	return cli_port_resolve(ports, env_system(), scheme, text, "node.listen", out, 128, e);
}

static unsigned port_of(const char *address)
{
	return (unsigned)strtoul(strrchr(address, ':') + 1, NULL, 10);
}

static void any_port_is_a_free_one_below_those_of_connections(void **state)
{
	struct cli_ports ports = { .count = 0 };
	struct err e = ERR_INIT;
	char out[128];
	(void)state;
	assert_ok(&e, resolve(&ports, "tcp://127.0.0.1:*", out, &e));
	assert_int_equal(strncmp(out, "tcp://127.0.0.1:", 16), 0);
	assert_true(port_of(out) >= 20000 && port_of(out) < 32000);
	assert_ok(&e, resolve(&ports, "127.0.0.1:0", out, &e));
	assert_int_equal(ports.count, 2);
	assert_int_equal(ports.chosen[1], port_of(out));
	assert_true(ports.chosen[0] != ports.chosen[1]);
}

static void a_port_that_is_taken_is_refused(void **state)
{
	struct sockaddr_in address = { .sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK) };
	socklen_t len = sizeof address;
	struct cli_ports ports = { .count = 0 };
	struct err e = ERR_INIT;
	char text[64], out[128];
	int fd = socket(AF_INET, SOCK_STREAM, 0);
	(void)state;
	assert_int_equal(bind(fd, (struct sockaddr *)&address, len), 0);
	assert_int_equal(listen(fd, 1), 0);
	assert_int_equal(getsockname(fd, (struct sockaddr *)&address, &len), 0);
	snprintf(text, sizeof text, "127.0.0.1:%u", ntohs(address.sin_port));
	assert_int_equal(resolve(&ports, text, out, &e), ERR_BUSY);
	assert_non_null(strstr(e.text, "node.listen: port "));
	close(fd);
	assert_ok(&e, resolve(&ports, text, out, &e));
	assert_string_equal(out, text);
}

static void two_settings_with_one_port_are_named(void **state)
{
	struct cli_ports ports = { .count = 0 };
	struct err e = ERR_INIT;
	char out[128];
	(void)state;
	assert_ok(&e, resolve(&ports, "127.0.0.1:0", out, &e));
	assert_int_equal(cli_port_resolve(&ports, env_system(), "", out, "coordinator.hints", out, sizeof out, &e),
			 ERR_INVALID);
	assert_non_null(strstr(e.text, "coordinator.hints: port "));
	assert_non_null(strstr(e.text, " is that of node.listen; give each one of its own"));
}

static void an_address_of_another_machine_is_told(void **state)
{
	struct cli_ports ports = { .count = 0 };
	struct err e = ERR_INIT;
	char out[128];
	(void)state;
	assert_int_equal(resolve(&ports, "192.0.2.1:7777", out, &e), ERR_INVALID);
	assert_non_null(strstr(e.text, "192.0.2.1:7777: no interface of this machine has that address; give one"));
}

static void what_is_no_address_is_refused(void **state)
{
	static const char *const wrong[] = { "",
					     "127.0.0.1",
					     ":7400",
					     "127.0.0.1:x",
					     "127.0.0.1:",
					     "127.0.0.1:70000",
					     "127.0.0.1:4294967297",
					     "127.0.0.1:-4294967295",
					     "127.0.0.1:1x",
					     "localhost:0",
					     "tcp://host:1" };
	(void)state;
	for (size_t i = 0; i < sizeof wrong / sizeof wrong[0]; i++) {
		struct cli_ports ports = { .count = 0 };
		struct err e = ERR_INIT;
		char out[128];
		if (resolve(&ports, wrong[i], out, &e) != ERR_INVALID)
			fail_msg("%s", wrong[i]);
		assert_non_null(strstr(e.text, "node.listen"));
		assert_int_equal(ports.count, 0);
	}
}

static void the_scheme_is_needed(void **state)
{
	struct cli_ports ports = { .count = 0 };
	struct err e = ERR_INIT;
	char out[128];
	(void)state;
	assert_int_equal(
		cli_port_resolve(&ports, env_system(), "tcp://", "127.0.0.1:0", "coordinator.hints", out, 128, &e),
		ERR_INVALID);
	assert_non_null(strstr(e.text, "is not tcp://HOST:PORT, such as tcp://127.0.0.1:7400"));
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(any_port_is_a_free_one_below_those_of_connections),
		cmocka_unit_test(a_port_that_is_taken_is_refused),
		cmocka_unit_test(two_settings_with_one_port_are_named),
		cmocka_unit_test(an_address_of_another_machine_is_told),
		cmocka_unit_test(what_is_no_address_is_refused),
		cmocka_unit_test(the_scheme_is_needed),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
