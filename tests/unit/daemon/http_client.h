/* http_client.h: raw HTTP over a socket, for tests: what is sent is exactly what is written. */
#ifndef AMEND_TESTS_UNIT_DAEMON_HTTP_CLIENT_H
#define AMEND_TESTS_UNIT_DAEMON_HTTP_CLIENT_H

#include "tests/lib/test.h"

#include <arpa/inet.h>
#include <errno.h>
#include <netinet/in.h>
#include <poll.h>
#include <strings.h>
#include <sys/socket.h>
#include <unistd.h>

struct http_answer {
	int status;
	struct buf all; /* head and body */
	const char *body;
};

/* -1: refused. */
static inline int http_knock(const char *address)
{
	struct sockaddr_in to = { .sin_family = AF_INET };
	const char *colon = strrchr(address, ':');
	to.sin_port = htons((uint16_t)atoi(colon + 1));
	to.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
	int fd = socket(AF_INET, SOCK_STREAM, 0);
	assert_true(fd >= 0);
	if (connect(fd, (struct sockaddr *)&to, sizeof to) == 0)
		return fd;
	assert_int_equal(errno, ECONNREFUSED);
	close(fd);
	return -1;
}

static inline int http_connect(const char *address)
{
	int fd = http_knock(address);
	assert_true(fd >= 0);
	return fd;
}

static inline void http_write(int fd, const char *text, size_t len)
{
	while (len > 0) {
		ssize_t n = send(fd, text, len, MSG_NOSIGNAL);
		if (n <= 0)
			return; /* closed by the server: the answer says why */
		text += n;
		len -= (size_t)n;
	}
}

static inline bool http_whole(struct http_answer *answer)
{
	const char *text = buf_cstr(&answer->all), *end = strstr(text, "\r\n\r\n"),
		   *length = strcasestr(text, "\r\ncontent-length:");
	if (end == NULL || length == NULL || length > end)
		return false;
	answer->body = end + 4;
	answer->status = atoi(text + strlen("HTTP/1.1 "));
	return strlen(answer->body) >= strtoul(length + 17, NULL, 10);
}

/* Calls `turn` while it waits. False: not within a minute, or closed before. */
static inline bool http_read(int fd, struct http_answer *answer, void (*turn)(void *), void *context)
{
	char part[4096];
	*answer = (struct http_answer){ .all = BUF_INIT };
	int64_t since = 0;
	do {
		struct pollfd p = { .fd = fd, .events = POLLIN };
		if (turn != NULL)
			turn(context);
		if (poll(&p, 1, 5) <= 0)
			continue;
		ssize_t n = recv(fd, part, sizeof part, 0);
		if (n <= 0)
			return false;
		buf_append(&answer->all, part, (size_t)n);
		if (http_whole(answer))
			return true;
	} while (test_wait(&since));
	return false;
}

static inline void http_request_write(int fd, const char *method, const char *path, const char *headers,
				      const char *body)
{
	struct buf text = BUF_INIT;
	buf_printf(&text, "%s %s HTTP/1.1\r\nHost: test\r\n%sContent-Length: %zu\r\n\r\n%s", method, path, headers,
		   strlen(body), body);
	http_write(fd, (const char *)text.data, text.len);
	buf_free(&text);
}

static inline void http_ask(const char *address, const char *method, const char *path, const char *body,
			    struct http_answer *answer, void (*turn)(void *), void *context)
{
	int fd = http_connect(address);
	http_request_write(fd, method, path, "", body);
	assert_true(http_read(fd, answer, turn, context));
	close(fd);
}

#endif
