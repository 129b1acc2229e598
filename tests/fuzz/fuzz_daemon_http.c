/* What a client sends to a node's HTTP server, byte for byte, over loopback. Whatever it is, the server answers or
 * closes, and its handler sees complete requests within the limits only. Limits: -max_len=65536 -malloc_limit_mb=8
 * -rss_limit_mb=1024 */
#include "tests/fuzz/fuzz.h"

#include "daemon/http.h"

#include <arpa/inet.h>
#include <errno.h>
#include <netinet/in.h>
#include <poll.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#define BODY_BYTES_MAX 4096
#define ANSWER_MS_MAX  20000 /* ten times as long as an idle connection is kept */

static struct http_server *server;

static void on_request(void *context, struct http_exchange *x)
{
	struct buf text = BUF_INIT;
	size_t len;
	(void)context;
	const char *body = http_body(x, &len), *given = http_request_header(x, "x-given");
	fuzz_check(len <= BODY_BYTES_MAX, "a body over the limit");
	buf_printf(&text, "%s %s %d ", http_method(x), http_path(x), http_method_is(x, "GET"));
	buf_append(&text, body, len);
	http_header_set(x, "x-echo", "%s", given != NULL ? given : "none");
	http_reply(x, 200, "text/plain", &text);
}

/* libFuzzer's clock interrupts what waits. */
static bool is_ready(int fd, short events)
{
	struct pollfd p = { .fd = fd, .events = events };
	int ready;
	do
		ready = poll(&p, 1, ANSWER_MS_MAX);
	while (ready < 0 && errno == EINTR);
	return ready == 1;
}

static bool connects(int fd, const struct sockaddr_in *to)
{
	int failed = 0;
	socklen_t len = sizeof failed;
	if (connect(fd, (const struct sockaddr *)to, sizeof *to) == 0)
		return true;
	/* what was interrupted goes on */
	return errno == EINTR && is_ready(fd, POLLOUT) && getsockopt(fd, SOL_SOCKET, SO_ERROR, &failed, &len) == 0 &&
	       failed == 0;
}

static int connected(void)
{
	struct sockaddr_in to = { .sin_family = AF_INET };
	struct err e = ERR_INIT;
	if (server == NULL) {
		const struct http_config config = {
			"127.0.0.1:0", BODY_BYTES_MAX, 8, 1, 2, 4 * BODY_BYTES_MAX, 0, 0, 0
		};
		fuzz_check(http_server_open(&config, on_request, NULL, &server, &e) == 0, e.text);
	}
	to.sin_port = htons((uint16_t)atoi(strrchr(http_server_address(server), ':') + 1));
	to.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
	const int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
	/* Closed at once, so that ports do not run out while they wait. */
	const struct linger linger = { .l_onoff = 1 };
	fuzz_check(fd >= 0 && setsockopt(fd, SOL_SOCKET, SO_LINGER, &linger, sizeof linger) == 0 && connects(fd, &to),
		   "no connection");
	return fd;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t len)
{
	const int fd = connected();
	char part[4096];
	while (len > 0) {
		const ssize_t n = send(fd, data, len, MSG_NOSIGNAL | MSG_DONTWAIT);
		if (n <= 0)
			break; /* it has closed, or waits until its answers are read */
		data += n;
		len -= (size_t)n;
	}
	shutdown(fd, SHUT_WR);
	do
		fuzz_check(is_ready(fd, POLLIN), "neither an answer nor an end");
	while (recv(fd, part, sizeof part, 0) > 0);
	close(fd);
	return 0;
}

void fuzz_seeds(void (*add)(const void *bytes, size_t len))
{
	static const char *const requests[] = {
		"GET /v1/models HTTP/1.1\r\nHost: a\r\n\r\n",
		"POST /v1/completions HTTP/1.1\r\nHost: a\r\nX-Given: 7\r\nContent-Length: "
		"13\r\n\r\n{\"prompt\":\"\"}GET / HTTP/1.1\r\n"
		"Host: a\r\nConnection: close\r\n\r\n",
		"POST /%2e%00%zz?q=%41 HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: "
		"chunked\r\n\r\n4;x=y\r\nabcd\r\n0\r\nT: v\r\n\r\n",
		"HEAD / HTTP/1.0\r\nExpect: 100-continue\r\nContent-Length: 99999\r\nCookie: a=\"b\"; c\r\n\r\n",
		"POST / HTTP/1.1\r\nHost: a\r\nContent-Type: multipart/form-data; boundary=x\r\nContent-Length: "
		"8\r\n\r\n--x\r\n--x",
	};
	for (size_t i = 0; i < sizeof(requests) / sizeof(requests[0]); i++)
		add(requests[i], strlen(requests[i]));
}
