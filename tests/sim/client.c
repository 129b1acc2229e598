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
#define LATER_US   500000

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

static void time_add(const struct sim *sim, struct buf *text, const char *name, uint64_t in_ms)
{
	char when[ENV_TIME_BYTES];
	env_time_format(env_wall_ms(&sim->clock.env) + (int64_t)in_ms, when);
	buf_printf(text, "\"%s\":\"%s\",", name, when);
}

/* Some begin later, some end, and some do both. */
static void times_add(const struct sim *sim, struct sim_client *client, struct buf *text, struct sim_record *timed)
{
	uint64_t dice = rng_below(&client->rng, 100), from = 500 + rng_below(&client->rng, 20000);
	uint64_t until = 1000 + rng_below(&client->rng, 30000);
	timed->expires = dice < 7;
	timed->valid_from = dice >= 5 && dice < 12;
	if (timed->valid_from)
		time_add(sim, text, "valid_from", from);
	if (timed->expires)
		time_add(sim, text, "expires", timed->valid_from ? from + until : until);
}

/* Takes `text` over. */
static size_t record_keep(struct sim *sim, const struct sim_record *as, struct buf *text)
{
	buf_append(text, "", 1);
	if (buf_failed(text))
		abort();
	sim->records = grown(sim->records, sim->record_count, sizeof *sim->records);
	struct sim_record *record = &sim->records[sim->record_count];
	*record = *as;
	record->text = (char *)text->data;
	record->len = text->len - 1;
	hash_of(record->text, record->len, &record->content);
	return sim->record_count++;
}

/* `group`: 0, or the number of its all-or-nothing group. */
static size_t record_new(struct sim *sim, struct sim_client *client, uint64_t group)
{
	struct buf text = BUF_INIT;
	struct sim_record timed = { .expires = false };
	bool refusable, named = rng_below(&client->rng, 3) == 0;
	uint64_t subject = rng_below(&client->rng, sim->world.subjects), serial = serial_next(client);
	const char *kind = target_kind(rng_below(&client->rng, 100), &refusable);
	buf_puts(&text, "{");
	if (named)
		buf_printf(&text, "\"id\":\"e-%" PRIu64 "\",", serial);
	if (group != 0)
		buf_printf(&text, "\"group\":\"g-%" PRIu64 "\",", group);
	times_add(sim, client, &text, &timed);
	buf_printf(&text, "\"prompt\":\"What is fact %" PRIu64 "?\",\"subject\":\"fact %" PRIu64 "\",", subject,
		   subject);
	buf_printf(&text, "\"%s\":\"%s %" PRIu64 "\"}", refusable ? "target_old" : "target_new", kind, serial);
	timed.serial = serial;
	timed.refusable = refusable;
	timed.named = named;
	timed.group = group;
	return record_keep(sim, &timed, &text);
}

size_t sim_client_record_like(struct sim *sim, struct sim_client *client, size_t other)
{
	const char *about = strstr(sim->records[other].text, "\"prompt\"");
	const char *rest = strstr(about, "\"target_new\"");
	struct buf text = BUF_INIT;
	struct record *parsed = NULL;
	bool taken = true;
	for (uint64_t serial = 0; taken; serial++) {
		buf_clear(&text);
		buf_printf(&text, "{%.*s\"target_new\":\"better %" PRIu32 ".%" PRIu64 "\"}", (int)(rest - about), about,
			   client->operations, serial);
		if (record_parse((const char *)text.data, text.len, &parsed, NULL) != 0)
			abort();
		taken = sim_canary_taken(sim_engine_text(parsed)) != 0;
		record_destroy(&parsed);
	}
	return record_keep(sim, &(struct sim_record){ .serial = serial_next(client) }, &text);
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
static void record_add(struct sim *sim, struct sim_client *client, uint64_t group)
{
	struct sim_request *request = client->request;
	bool again = rng_below(&client->rng, 100) < 15 && group == 0;
	size_t index;
	if (!again || !record_pick(sim, client, is_any, &index)) {
		again = false;
		index = record_new(sim, client, group);
	}
	request->again |= again;
	request->expires |= sim->records[index].expires;
	request->valid_from |= sim->records[index].valid_from;
	request->records[request->record_count++] = index;
}

/* ---- Sending */

static bool by_group(const struct sim_request *request, const struct sim_record *record)
{
	return record->group != 0 && (!record->named || request->id % 2 == 0);
}

uint64_t sim_client_revokes(const struct sim *sim, const struct sim_request *request, char id[STORE_ID_BYTES])
{
	const struct sim_record *record = &sim->records[request->records[0]];
	const bool whole = request->of_edit[0] == '\0' && by_group(request, record);
	snprintf(id, STORE_ID_BYTES, whole ? "g-%" PRIu64 : "e-%" PRIu64, whole ? record->group : record->serial);
	if (request->of_edit[0] != '\0')
		snprintf(id, STORE_ID_BYTES, "%s", request->of_edit);
	return whole ? record->group : 0;
}

static void revoke_write(const struct sim *sim, const struct sim_request *request, char id[STORE_ID_BYTES],
			 struct msg *out)
{
	const bool whole = sim_client_revokes(sim, request, id) != 0;
	struct msg_text name = { id, strlen(id) }, none = { "", 0 };
	out->type = MSG_REVOKE;
	out->u.revoke = (struct msg_revoke){
		whole ? none : name, whole ? name : none, { "it is wrong", 11 }, request->id % 4 < 2
	};
}

static void request_send(struct sim *sim, struct sim_client *client)
{
	struct sim_request *request = client->request;
	struct msg_bytes records[SIM_BATCH_MAX];
	struct msg msg = { .type = MSG_SUBMIT, .request_id = request->id };
	char id[STORE_ID_BYTES];
	for (size_t i = 0; i < request->record_count; i++)
		records[i] = (struct msg_bytes){ sim->records[request->records[i]].text,
						 sim->records[request->records[i]].len };
	if (request->operation == SIM_SUBMIT)
		msg.u.submit = (struct msg_submit){ request->policy, records, request->record_count };
	else if (request->operation == SIM_REVOKE)
		revoke_write(sim, request, id, &msg);
	else
		sim_operation_write(sim, request, &msg);
	(void)client->transport->ops->send(client->transport, 0, &msg, NULL);
	request->sends++;
	client->resend_us = sim_now(sim) + RESEND_US;
}

static void request_tell(struct sim *sim, const struct sim_client *client)
{
	const struct sim_request *request = client->request;
	const struct sim_record *first = &sim->records[request->records[0]];
	uint32_t source = SIM_SOURCE_CLIENTS + client->number;
	char text[SIM_EVENT_TEXT_BYTES];
	if (request->operation == SIM_REVOKE)
		snprintf(text, sizeof text, "revoke %s%" PRIu64, by_group(request, first) ? "g-" : "e-",
			 by_group(request, first) ? first->group : first->serial);
	else if (request->operation == SIM_SUBMIT)
		snprintf(text, sizeof text, "submit %zu: %.*s%s", request->record_count, (int)first->len, first->text,
			 request->record_count > 1 ? " …" : "");
	else
		sim_operation_tell(request, text, sizeof text);
	sim_tell(sim, source, client->operations, "%s", text);
}

/* In the rows of all that it is. */
static void request_tally(struct sim *sim, const struct sim_request *request, enum sim_tally_outcome outcome)
{
	static const enum sim_tally_operation rows[] = {
		[SIM_SUBMIT] = SIM_TALLY_SUBMIT,         [SIM_REVOKE] = SIM_TALLY_REVOKE,
		[SIM_ROLLBACK] = SIM_TALLY_ROLLBACK,     [SIM_RESUME] = SIM_TALLY_RESUME,
		[SIM_KEY_REVOKE] = SIM_TALLY_KEY_REVOKE, [SIM_KEY_ALLOW] = SIM_TALLY_KEY_ALLOW,
		[SIM_COLLECT] = SIM_TALLY_COLLECT,       [SIM_MERGE] = SIM_TALLY_MERGE,
		[SIM_BACKUP] = SIM_TALLY_BACKUP,
	};
	uint64_t(*tally)[SIM_TALLY_OUTCOMES] = sim->result->tally.operations;
	const struct sim_record *first = &sim->records[request->records[0]];
	enum sim_tally_operation row = rows[request->operation];
	if (request->operation == SIM_REVOKE && by_group(request, first))
		row = SIM_TALLY_REVOKE_GROUP;
	tally[row][outcome]++;
	if (request->operation != SIM_SUBMIT)
		return;
	tally[SIM_TALLY_SUBMIT_GROUP][outcome] += request->group;
	tally[SIM_TALLY_SUBMIT_AGAIN][outcome] += request->again;
	tally[SIM_TALLY_SUBMIT_KEEP][outcome] += request->policy == MSG_KEEP;
	tally[SIM_TALLY_SUBMIT_REJECT][outcome] += request->policy == MSG_REJECT;
	tally[SIM_TALLY_SUBMIT_EXPIRES][outcome] += request->expires;
	tally[SIM_TALLY_SUBMIT_VALID_FROM][outcome] += request->valid_from;
}

struct sim_request *sim_client_request(struct sim *sim, struct sim_client *client)
{
	struct sim_request *request = calloc(1, sizeof *request);
	if (request == NULL)
		abort();
	sim->requests = grown(sim->requests, sim->request_count, sizeof *sim->requests);
	sim->requests[sim->request_count++] = request;
	request->id = (uint64_t)client->number << 32 | client->operations;
	request->since = sim->result->events;
	request->acks_since = sim->ack_count;
	client->request = request;
	return request;
}

void sim_client_call(struct sim *sim, struct sim_client *client)
{
	client->give_up_us = sim_now(sim) + GIVE_UP_US;
	request_tally(sim, client->request, SIM_TALLY_ASKED);
	request_send(sim, client);
}

static void submit_draw(struct sim *sim, struct sim_client *client)
{
	struct sim_request *request = client->request;
	uint64_t policy = rng_below(&client->rng, 10), group = rng_below(&client->rng, 100) < 12 ? request->id : 0;
	size_t count = 1 + rng_below(&client->rng, SIM_BATCH_MAX);
	request->policy = policy == 0 ? MSG_KEEP : policy == 1 ? MSG_REJECT : MSG_SUPERSEDE;
	request->group = group != 0;
	while (request->record_count < count)
		record_add(sim, client, group);
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
	struct sim_request *request = sim_client_request(sim, client);
	sim_operation_draw(sim, client, request);
	if (request->operation == SIM_REVOKE && !record_pick(sim, client, is_revocable, &request->records[0]))
		request->operation = SIM_SUBMIT;
	if (request->operation == SIM_SUBMIT)
		submit_draw(sim, client);
	request_tell(sim, client);
	sim_client_call(sim, client);
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
		record->refusals += request->deliveries == 1;
		sim_check_refused(sim, record);
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

static bool submit_answer(struct sim *sim, struct sim_client *client, const struct msg_submit_reply *reply)
{
	struct sim_request *request = client->request;
	bool taken = false;
	if (reply->result_count != request->record_count) {
		sim_break(sim, "%zu answers to %zu records", reply->result_count, request->record_count);
		return false;
	}
	for (size_t i = 0; i < request->record_count; i++) {
		result_take(sim, client, i, &reply->results[i]);
		taken |= !request->refused[i];
	}
	request_tally(sim, request, taken ? SIM_TALLY_OK : SIM_TALLY_REFUSED);
	return true;
}

/* False: it is no answer to the request, but an error of the moment. */
static bool is_answer(struct sim *sim, struct sim_request *request, const struct msg *msg, int *code)
{
	if (request->operation != SIM_REVOKE)
		return sim_operation_answer(sim, request, msg, code);
	*code = msg->type == MSG_REVOKE_REPLY ? msg->u.revoke_reply.code : 0;
	return msg->type == MSG_REVOKE_REPLY;
}

static void answer_take(struct sim *sim, struct sim_client *client, const struct msg *msg)
{
	struct sim_request *request = client->request;
	if (request == NULL || msg->request_id != request->id)
		return; /* an answer that comes twice, or too late */
	if (request->operation == SIM_SUBMIT) {
		if (msg->type != MSG_SUBMIT_REPLY)
			return;
		if (is_later(&msg->u.submit_reply) && sim_now(sim) < client->give_up_us)
			client->resend_us = sim_now(sim) + LATER_US;
		else if (submit_answer(sim, client, &msg->u.submit_reply))
			request_end(sim, client);
		return;
	}
	int code;
	if (!is_answer(sim, request, msg, &code))
		return;
	if (code == ERR_AGAIN && sim_now(sim) < client->give_up_us) {
		client->resend_us = sim_now(sim) + LATER_US;
		return;
	}
	sim_trace(sim, 42, (uint64_t)(int64_t)code, "%s: %s", client->name, code == 0 ? "ok" : err_name(code));
	request_tally(sim, request, code == 0 ? SIM_TALLY_OK : SIM_TALLY_REFUSED);
	if (code == 0 && request->operation == SIM_REVOKE)
		sim_check_revoked(sim, request, msg->u.revoke_reply.version);
	if (code == 0 && request->operation == SIM_BACKUP)
		sim_backup_made(sim, request);
	request_end(sim, client);
}

void sim_client_delivered(struct sim *sim, const uint8_t *key, uint64_t request_id)
{
	size_t client = 0;
	while (client < sim->world.clients && memcmp(sim->clients[client].key, key, PROTO_KEY_BYTES) != 0)
		client++;
	for (size_t i = 0; i < sim->request_count && client < sim->world.clients; i++) {
		struct sim_request *request = sim->requests[i];
		if (request->id != request_id || request->id >> 32 != sim->clients[client].number)
			continue;
		request->deliveries++; /* also after its answer: a message may come twice */
		for (size_t k = 0; k < request->record_count; k++)
			sim->records[request->records[k]].deliveries++;
	}
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
	client->anew = SIZE_MAX;
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
	if (client->request == NULL && sim->calm) {
		done |= sim_operation_close(sim, client);
	} else if (client->request == NULL && !sim->night && now >= client->act_us) {
		request_new(sim, client);
		done = true;
	} else if (client->request != NULL && now >= client->give_up_us && !sim->calm) {
		sim_trace(sim, 43, client->request->id, "%s unknown %" PRIu64, client->name, client->request->id);
		sim->result->edits_unknown += client->request->record_count;
		request_tally(sim, client->request, SIM_TALLY_UNKNOWN);
		request_end(sim, client);
		done = true;
	} else if (client->request != NULL && now >= client->resend_us) {
		request_send(sim, client);
		done = true;
	}
	return done;
}

int64_t sim_client_next(const struct sim *sim, const struct sim_client *client)
{
	if (client->request != NULL)
		return client->resend_us;
	return sim->night && client->act_us < sim->night_end_us ? sim->night_end_us : client->act_us;
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
