/* proxy.c: a TCP link that can be cut, held in one direction, or made thin.
 *   proxy TARGET-PORT CONTROL [TAPE]
 * Listens on a free port of 127.0.0.1, which it prints, and goes on to TARGET-PORT there. TAPE: what goes up on the
 * first connection is kept there.
 * The file CONTROL says what the link does, and is read again 50 times a second: `pass`; `hold-up`, `hold-down`, `hold`
 * (nothing arrives that way, and nobody is told: up is towards TARGET-PORT); `cut` (all connections end, what was held
 * is lost, new ones are refused); `slow N` (bytes a second, each way and connection); `target PORT` sends new ones
 * there. */
#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <netinet/in.h>
#include <poll.h>
#include <signal.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

#define LINKS_MAX 64
#define BUF_BYTES 65536
#define TICK_MS   20

enum way { UP, DOWN, WAYS };

struct link {
	int fds[2]; /* the client's, the target's; −1: free */
	struct flow {
		char bytes[BUF_BYTES];
		size_t from, to;
		double credit; /* bytes that a thin link may still send */
	} flows[WAYS];
};

static struct link links[LINKS_MAX];
static const struct link *taped; /* NULL: none yet */
static int tape = -1;
static bool hold[WAYS], cut;
static double rate; /* 0: as fast as it goes */
static int target_port;

static double now_s(void)
{
	struct timespec now;
	clock_gettime(CLOCK_MONOTONIC, &now);
	return (double)now.tv_sec + (double)now.tv_nsec / 1e9;
}

static void link_close(struct link *l)
{
	for (int i = 0; i < 2; i++) {
		if (l->fds[i] >= 0)
			close(l->fds[i]);
		l->fds[i] = -1;
	}
}

static struct sockaddr_in local(int port)
{
	return (struct sockaddr_in){ .sin_family = AF_INET,
				     .sin_port = htons((uint16_t)port),
				     .sin_addr = { htonl(INADDR_LOOPBACK) } };
}

static void control_read(const char *path)
{
	char word[32] = "pass";
	long value = 0;
	FILE *file = fopen(path, "r");
	if (file == NULL)
		return;
	int count = fscanf(file, "%31s %ld", word, &value);
	fclose(file);
	if (count < 1)
		return; /* being written */
	hold[UP] = strcmp(word, "hold-up") == 0 || strcmp(word, "hold") == 0;
	hold[DOWN] = strcmp(word, "hold-down") == 0 || strcmp(word, "hold") == 0;
	cut = strcmp(word, "cut") == 0;
	rate = strcmp(word, "slow") == 0 ? (double)value : 0;
	if (strcmp(word, "target") == 0)
		target_port = (int)value;
	for (int i = 0; cut && i < LINKS_MAX; i++)
		link_close(&links[i]);
}

static void accept_one(int listener)
{
	int client = accept4(listener, NULL, NULL, SOCK_NONBLOCK | SOCK_CLOEXEC);
	struct link *l = NULL;
	for (int i = 0; i < LINKS_MAX && l == NULL; i++)
		l = links[i].fds[0] < 0 ? &links[i] : NULL;
	if (client < 0)
		return;
	if (cut || l == NULL) {
		close(client);
		return;
	}
	struct sockaddr_in to = local(target_port);
	int server = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
	if (server < 0 || connect(server, (struct sockaddr *)&to, sizeof to) != 0 ||
	    fcntl(server, F_SETFL, O_NONBLOCK) != 0) {
		close(client);
		if (server >= 0)
			close(server);
		return;
	}
	memset(l->flows, 0, sizeof l->flows);
	l->fds[0] = client;
	l->fds[1] = server;
	if (taped == NULL)
		taped = l;
	else if (taped == l) /* its place is used again */
		tape = -1;
}

/* False: the link has ended. */
static bool flow_move(struct link *l, enum way way, double passed_s)
{
	struct flow *f = &l->flows[way];
	int from = l->fds[way], to = l->fds[!way];
	if (f->from == f->to)
		f->from = f->to = 0;
	if (f->to < BUF_BYTES) {
		ssize_t n = read(from, f->bytes + f->to, BUF_BYTES - f->to);
		if (n == 0 || (n < 0 && errno != EAGAIN && errno != EINTR))
			return false;
		if (n > 0 && way == UP && l == taped && tape >= 0 && write(tape, f->bytes + f->to, (size_t)n) != n)
			abort();
		f->to += n > 0 ? (size_t)n : 0;
	}
	size_t count = f->to - f->from;
	f->credit = rate > 0 && f->credit + rate * passed_s < rate ? f->credit + rate * passed_s : rate;
	if (rate > 0 && (double)count > f->credit)
		count = (size_t)f->credit;
	if (hold[way] || count == 0)
		return true;
	ssize_t n = write(to, f->bytes + f->from, count);
	if (n < 0)
		return errno == EAGAIN || errno == EINTR;
	f->from += (size_t)n;
	f->credit -= (double)n;
	return true;
}

static void turn(int listener, double passed_s)
{
	struct pollfd fds[2 * LINKS_MAX + 1] = { { .fd = listener, .events = POLLIN } };
	nfds_t count = 1;
	for (int i = 0; i < LINKS_MAX; i++)
		for (int way = UP; way < WAYS && links[i].fds[0] >= 0; way++)
			if (links[i].flows[way].to < BUF_BYTES)
				fds[count++] = (struct pollfd){ .fd = links[i].fds[way], .events = POLLIN };
	if (poll(fds, count, TICK_MS) > 0 && (fds[0].revents & POLLIN) != 0)
		accept_one(listener);
	for (int i = 0; i < LINKS_MAX; i++)
		for (int way = UP; way < WAYS && links[i].fds[0] >= 0; way++)
			if (!flow_move(&links[i], (enum way)way, passed_s))
				link_close(&links[i]);
}

int main(int argc, char **argv)
{
	struct sockaddr_in here = local(0);
	socklen_t len = sizeof here;
	int listener = socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
	if (argc == 4)
		tape = open(argv[3], O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0600);
	if (argc < 3 || argc > 4 || (argc == 4 && tape < 0) || listener < 0 ||
	    bind(listener, (struct sockaddr *)&here, sizeof here) != 0 || listen(listener, LINKS_MAX) != 0 ||
	    getsockname(listener, (struct sockaddr *)&here, &len) != 0) {
		fprintf(stderr, "usage: proxy TARGET-PORT CONTROL [TAPE]\n");
		return 2;
	}
	target_port = atoi(argv[1]);
	for (int i = 0; i < LINKS_MAX; i++)
		links[i].fds[0] = links[i].fds[1] = -1;
	printf("%d\n", ntohs(here.sin_port));
	fflush(stdout);
	signal(SIGPIPE, SIG_IGN);
	for (double last = now_s();;) {
		double now = now_s();
		control_read(argv[2]);
		turn(listener, now - last);
		last = now;
	}
}
