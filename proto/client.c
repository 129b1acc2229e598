/* client.c: one question, one answer, for command lines. */
#include "proto/loop.h"

#include <errno.h>
#include <poll.h>

#define SLICE_MS  100 /* how long `interrupted` may go unseen */
#define RESEND_MS 1000

struct call {
	struct proto_client *client;
	struct msg *request;
	int64_t end_ms, send_ms;
	bool sent;
};

static int give_up(const struct call *call, struct err *e)
{
	const struct proto_client *c = call->client;
	if (!call->sent)
		return err_set(e, ERR_TIMEOUT,
			       "no connection to %s came about within %lld ms. Likely causes: no coordinator runs "
			       "there; this key is not on its "
			       "allow list, or the server key given here is not its own; a firewall is between. Its "
			       "log says PROTO-KEY-REFUSED "
			       "when it was the key",
			       c->endpoint, (long long)c->timeout_ms);
	return err_set(e, ERR_TIMEOUT,
		       "%s did not answer within %lld ms. Likely causes: the coordinator is busy or has just "
		       "stopped; this key is not (any more) on "
		       "its allow list; a firewall is between. Asking again is safe",
		       c->endpoint, (long long)c->timeout_ms);
}

static int send_when_due(struct call *call, int64_t now_ms, struct err *e)
{
	struct proto_transport *t = call->client->transport;
	if (now_ms < call->send_ms)
		return 0;
	int rc = t->ops->send(t, 0, call->request, e);
	if (rc == 0) {
		call->sent = true;
		call->send_ms = now_ms + RESEND_MS;
	} else if (rc == ERR_AGAIN) {
		call->send_ms = now_ms + SLICE_MS / 2;
		rc = 0;
	}
	return rc;
}

static int error_reply(struct msg_received **reply, struct err *e)
{
	struct msg_error error = (*reply)->msg.u.error;
	int code = error.code == 0 ? ERR_EXTERNAL : error.code;
	if (error.text.len == 0)
		err_set(e, code, "%s", err_text(code));
	else
		err_set(e, code, "%.*s", (int)error.text.len, error.text.text);
	msg_free(reply);
	return code;
}

/* ERR_AGAIN: not there yet. Hints and answers to earlier questions are passed over. */
static int take_reply(struct call *call, struct msg_received **reply, struct err *e)
{
	struct proto_transport *t = call->client->transport;
	for (;;) {
		struct msg_received *received = NULL;
		int rc = t->ops->recv(t, &received, e);
		if (rc != 0)
			return rc;
		if (received->msg.type == MSG_HINT || received->msg.request_id != call->request->request_id) {
			msg_free(&received);
			continue;
		}
		if (received->msg.type == MSG_ERROR)
			return error_reply(&received, e);
		*reply = received;
		return 0;
	}
}

static int wait_a_slice(const struct call *call, int64_t now_ms, struct err *e)
{
	const struct proto_transport *t = call->client->transport;
	struct pollfd fd = { .fd = t->ops->fd(t), .events = POLLIN };
	int64_t until = call->end_ms < call->send_ms ? call->end_ms : call->send_ms;
	int64_t ms = until - now_ms < SLICE_MS ? until - now_ms : SLICE_MS;
	if (fd.fd < 0 && ms > 1)
		ms = 1;
	if (poll(&fd, fd.fd >= 0, ms < 0 || t->pending ? 0 : (int)ms) < 0 && errno != EINTR)
		return err_errno(e, ERR_IO, errno, "waiting for %s", call->client->endpoint);
	return 0;
}

int proto_client_call(struct proto_client *client, struct msg *request, struct msg_received **reply, struct err *e)
{
	while (client->next_request == 0) /* a start that no other process shares */
		client->next_request = env_random_u64(client->env) >> 16;
	request->request_id = client->next_request++;
	int64_t now = env_monotonic_ms(client->env);
	struct call call = { client, request, now + client->timeout_ms, now, false };
	for (;;) {
		if (client->interrupted != NULL && *client->interrupted)
			return err_set(e, ERR_INTERRUPTED, "asking %s: interrupted", client->endpoint);
		int rc = send_when_due(&call, now, e);
		if (rc != 0)
			return rc;
		rc = take_reply(&call, reply, e);
		if (rc != ERR_AGAIN)
			return rc;
		if (now >= call.end_ms)
			return give_up(&call, e);
		rc = wait_a_slice(&call, now, e);
		if (rc != 0)
			return rc;
		now = env_monotonic_ms(client->env);
	}
}
