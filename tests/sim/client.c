/* client.c: those who submit and revoke. A request that has no answer is sent again under its id; what is given up
 * stays unknown, and may be submitted anew under the same record id. */
#include "tests/sim/sim.h"

#include "tests/sim/engine.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define RESEND_US  1000000
#define GIVE_UP_US 12000000

static void *grown(void *items, size_t count, size_t item_bytes)
{
	/* room for one more: doubled at each power of two */
	if (count != 0 && (count & (count - 1)) != 0)
		return items;
	void *more = realloc(items, (count == 0 ? 1 : 2 * count) * item_bytes);
	if (more == NULL)
		abort();
	return more;
}

/* ---- Records */

static const char *target_kind(uint64_t dice, bool *refusable)
{
	*refusable = false;
	if (dice < 4)
		return SIM_TARGET_FAILS;
	if (dice < 6)
		return SIM_TARGET_POISON;
	if (dice < 8)
		return SIM_TARGET_REFUSED;
	*refusable = dice < 12;
	return "value";
}

/* The same, whatever other operations there were. */
static uint64_t serial_next(struct sim_client *client)
{
	return client->operations * UINT64_C(100) + client->number * UINT64_C(10) + client->made++;
}

/* `group`: 0, or the number of its all-or-nothing group. */
static size_t record_new(struct sim *sim, struct sim_client *client, uint64_t group)
{
	struct buf text = BUF_INIT;
	bool refusable, named = rng_below(&client->rng, 3) == 0;
	uint64_t subject = rng_below(&client->rng, sim->world.subjects), serial = serial_next(client);
	const char *kind = target_kind(rng_below(&client->rng, 100), &refusable);
	buf_puts(&text, "{");
	if (named)
		buf_printf(&text, "\"id\":\"e-%" PRIu64 "\",", serial);
	if (group != 0)
		buf_printf(&text, "\"group\":\"g-%" PRIu64 "\",", group);
	if (rng_below(&client->rng, 100) < 6) {
		char when[ENV_TIME_BYTES];
		env_time_format(env_wall_ms(&sim->clock.env) + 1000 + (int64_t)rng_below(&client->rng, 30000), when);
		buf_printf(&text, "\"expires\":\"%s\",", when);
	}
	buf_printf(&text, "\"prompt\":\"What is fact %" PRIu64 "?\",\"subject\":\"fact %" PRIu64 "\",", subject,
		   subject);
	buf_printf(&text, "\"%s\":\"%s %" PRIu64 "\"}", refusable ? "target_old" : "target_new", kind, serial);
	sim->records = grown(sim->records, sim->record_count, sizeof *sim->records);
	struct sim_record *record = &sim->records[sim->record_count];
	*record = (struct sim_record){ .serial = serial,
				       .text = (char *)text.data,
				       .len = text.len,
				       .refusable = refusable,
				       .named = named,
				       .group = group };
	hash_of(record->text, record->len, &record->content);
	return sim->record_count++;
}

static bool is_any(const struct sim_record *record)
{
	(void)record;
	return true;
}

static bool is_revocable(const struct sim_record *record)
{
	return record->named || record->group != 0;
}

/* One that somebody has sent before, chosen so that it stays the same when others are not there. */
static bool record_pick(const struct sim *sim, struct sim_client *client, bool (*fits)(const struct sim_record *),
			size_t *out)
{
	uint64_t dice = rng_u64(&client->rng), least = UINT64_MAX;
	for (size_t i = 0; i < sim->record_count; i++) {
		uint64_t order = hash_short(dice, &sim->records[i].serial, sizeof sim->records[i].serial);
		if (!fits(&sim->records[i]) || order >= least)
			continue;
		least = order;
		*out = i;
	}
	return least != UINT64_MAX;
}

/* Mostly new ones. */
static size_t record_choose(struct sim *sim, struct sim_client *client)
{
	size_t earlier;
	bool again = rng_below(&client->rng, 100) < 15;
	return again && record_pick(sim, client, is_any, &earlier) ? earlier : record_new(sim, client, 0);
}

/* ---- Sending */

static bool by_group(const struct sim_request *request, const struct sim_record *record)
{
	return record->group != 0 && (!record->named || request->id % 2 == 0);
}

static void request_send(struct sim *sim, struct sim_client *client)
{
	struct sim_request *request = client->request;
	struct msg_bytes records[SIM_BATCH_MAX];
	struct msg msg = { .type = MSG_SUBMIT, .request_id = request->id };
	char id[32];
	for (size_t i = 0; i < request->record_count; i++)
		records[i] = (struct msg_bytes){ sim->records[request->records[i]].text,
						 sim->records[request->records[i]].len };
	msg.u.submit = (struct msg_submit){ request->policy, records, request->record_count };
	if (request->revoke) {
		const struct sim_record *record = &sim->records[request->records[0]];
		bool whole = by_group(request, record);
		snprintf(id, sizeof id, whole ? "g-%" PRIu64 : "e-%" PRIu64, whole ? record->group : record->serial);
		struct msg_text name = { id, strlen(id) }, none = { "", 0 };
		msg.type = MSG_REVOKE;
		msg.u.revoke = (struct msg_revoke){
			whole ? none : name, whole ? name : none, { "it is wrong", 11 }, request->id % 4 < 2
		};
	}
	(void)client->transport->ops->send(client->transport, 0, &msg, NULL);
	request->sends++;
	client->resend_us = sim_now(sim) + RESEND_US;
}

static void request_tell(struct sim *sim, const struct sim_client *client)
{
	const struct sim_request *request = client->request;
	const struct sim_record *first = &sim->records[request->records[0]];
	uint32_t source = SIM_SOURCE_CLIENTS + client->number;
	if (request->revoke)
		sim_tell(sim, source, client->operations, "revoke %s%" PRIu64, by_group(request, first) ? "g-" : "e-",
			 by_group(request, first) ? first->group : first->serial);
	else
		sim_tell(sim, source, client->operations, "submit %zu: %.*s%s", request->record_count, (int)first->len,
			 first->text, request->record_count > 1 ? " …" : "");
}

static struct sim_request *request_add(struct sim *sim)
{
	struct sim_request *request = calloc(1, sizeof *request);
	if (request == NULL)
		abort();
	sim->requests = grown(sim->requests, sim->request_count, sizeof *sim->requests);
	return sim->requests[sim->request_count++] = request;
}

/* The next operation, or, where that is left out, the time until the one after it. */
static void request_new(struct sim *sim, struct sim_client *client)
{
	uint32_t source = SIM_SOURCE_CLIENTS + client->number;
	sim_stream(sim, source, ++client->operations, &client->rng);
	client->made = 0;
	client->think_us = 1000 * (1 + (int64_t)rng_below(&client->rng, (uint64_t)(2 * sim->world.think_ms)));
	client->act_us = sim_now(sim) + client->think_us;
	if (!sim_happens(sim, source, client->operations))
		return;
	struct sim_request *request = request_add(sim);
	request->id = (uint64_t)client->number << 32 | client->operations;
	uint64_t policy = rng_below(&client->rng, 10);
	request->policy = policy == 0 ? MSG_KEEP : policy == 1 ? MSG_REJECT : MSG_SUPERSEDE;
	uint64_t group = rng_below(&client->rng, 100) < 12 ? request->id : 0;
	if (rng_below(&client->rng, 100) < 10 && record_pick(sim, client, is_revocable, &request->records[0])) {
		request->revoke = true;
	} else {
		size_t count = 1 + rng_below(&client->rng, SIM_BATCH_MAX);
		while (request->record_count < count)
			request->records[request->record_count++] = group != 0 ? record_new(sim, client, group)
									       : record_choose(sim, client);
	}
	client->request = request;
	client->give_up_us = sim_now(sim) + GIVE_UP_US;
	request_tell(sim, client);
	request_send(sim, client);
}

static void request_end(struct sim *sim, struct sim_client *client)
{
	client->request = NULL;
	client->act_us = sim_now(sim) + client->think_us;
}

/* ---- Answers */

static void result_take(struct sim *sim, struct sim_client *client, size_t at, const struct msg_submit_result *result)
{
	struct sim_request *request = client->request;
	size_t index = request->records[at];
	struct sim_record *record = &sim->records[index];
	bool ok = result->code == 0 || result->code == ERR_EXISTS;
	sim_trace(sim, 41, result->seq ^ (uint64_t)(int64_t)result->code, "%s %s record %zu: %s seq=%" PRIu64,
		  client->name, ok ? "ok" : "fail", index, result->code == 0 ? "new" : err_name(result->code),
		  result->seq);
	if (!ok) {
		request->refused[at] = true;
		sim->result->edits_refused++;
		return;
	}
	if (record->refusable)
		sim_break(sim, "I2: a record without a target was taken as %" PRIu64, result->seq);
	sim->acks = grown(sim->acks, sim->ack_count, sizeof *sim->acks);
	sim->acks[sim->ack_count++] = (struct sim_ack){ index, result->seq };
	record->seq = result->seq;
	sim->result->edits_acked++;
}

/* "Later" is no end of it: the same request is sent again after a while. */
static bool is_later(const struct msg_submit_reply *reply)
{
	for (size_t i = 0; i < reply->result_count; i++)
		if (reply->results[i].code != ERR_AGAIN && reply->results[i].code != ERR_FULL)
			return false;
	return reply->result_count > 0;
}

static void answer_take(struct sim *sim, struct sim_client *client, const struct msg *msg)
{
	struct sim_request *request = client->request;
	if (request == NULL || msg->request_id != request->id)
		return; /* an answer that comes twice, or too late */
	if (msg->type == MSG_SUBMIT_REPLY && !request->revoke) {
		if (msg->u.submit_reply.result_count != request->record_count) {
			sim_break(sim, "%zu answers to %zu records", msg->u.submit_reply.result_count,
				  request->record_count);
			return;
		}
		if (is_later(&msg->u.submit_reply) && sim_now(sim) < client->give_up_us) {
			client->resend_us = sim_now(sim) + 500000;
			return;
		}
		for (size_t i = 0; i < request->record_count; i++)
			result_take(sim, client, i, &msg->u.submit_reply.results[i]);
	} else if (msg->type == MSG_REVOKE_REPLY && request->revoke) {
		sim_trace(sim, 42, (uint64_t)(int64_t)msg->u.revoke_reply.code, "%s revoke %s", client->name,
			  msg->u.revoke_reply.code == 0 ? "ok" : err_name(msg->u.revoke_reply.code));
	} else {
		return; /* an error of the moment: asked again */
	}
	request_end(sim, client);
}

void sim_client_delivered(struct sim *sim, const uint8_t *key, uint64_t request_id)
{
	for (size_t i = 0; i < sim->world.clients; i++)
		if (memcmp(sim->clients[i].key, key, PROTO_KEY_BYTES) == 0 && sim->clients[i].request != NULL &&
		    sim->clients[i].request->id == request_id)
			sim->clients[i].request->deliveries++;
}

/* ---- Life */

void sim_client_init(struct sim *sim, size_t number)
{
	struct sim_client *client = &sim->clients[number];
	struct err e = ERR_INIT;
	snprintf(client->name, sizeof client->name, "c%zu", number);
	memset(client->key, (int)(100 + number), sizeof client->key);
	client->act_us = sim_now(sim) + (int64_t)sim_below(sim, 3000000);
	client->number = (uint32_t)number;
	if (proto_mem_connect(sim->mem, client->name, "coordinator", client->key, &client->transport, &e) != 0)
		abort();
}

bool sim_client_step(struct sim *sim, struct sim_client *client)
{
	struct msg_received *received = NULL;
	int64_t now = sim_now(sim);
	bool done = false;
	while (client->transport->ops->recv(client->transport, &received, NULL) == 0) {
		answer_take(sim, client, &received->msg);
		msg_free(&received);
		done = true;
	}
	if (client->request == NULL && !sim->calm && now >= client->act_us) {
		request_new(sim, client);
		done = true;
	} else if (client->request != NULL && now >= client->give_up_us && !sim->calm) {
		sim_trace(sim, 43, client->request->id, "%s unknown %" PRIu64, client->name, client->request->id);
		sim->result->edits_unknown += client->request->record_count;
		request_end(sim, client);
		done = true;
	} else if (client->request != NULL && now >= client->resend_us) {
		request_send(sim, client);
		done = true;
	}
	return done;
}

int64_t sim_client_next(const struct sim_client *client)
{
	return client->request != NULL ? client->resend_us : client->act_us;
}

bool sim_client_idle(const struct sim_client *client)
{
	return client->request == NULL;
}

void sim_clients_fini(struct sim *sim)
{
	for (size_t i = 0; i < sim->world.clients; i++)
		if (sim->clients[i].transport != NULL)
			sim->clients[i].transport->ops->destroy(sim->clients[i].transport);
	for (size_t i = 0; i < sim->record_count; i++)
		free(sim->records[i].text);
	for (size_t i = 0; i < sim->request_count; i++)
		free(sim->requests[i]);
	free(sim->records);
	free(sim->requests);
	free(sim->acks);
}
