/* operations.c: what administrators ask for besides revocations: rollbacks and resumes, keys, collections of chunks,
 * merges, backups. A seed that rolls back or revokes keys is not every seed: it gets less far. */
#include "tests/sim/sim.h"

#include <inttypes.h>
#include <stdio.h>
#include <string.h>

static const unsigned roles[] = { [SIM_WORKER] = PROTO_ROLE_WORKER, [SIM_NODE] = PROTO_ROLE_READER };

/* In a hundred; the rest submits. */
static enum sim_operation choose(const struct sim *sim, uint64_t dice)
{
	const struct sim_world *world = &sim->world;
	const struct {
		enum sim_operation operation;
		uint64_t share;
	} shares[] = {
		{ SIM_REVOKE, 10 },
		{ SIM_MERGE, 2 },
		{ SIM_ROLLBACK, world->rollbacks ? 7 : 0 },
		{ SIM_RESUME, sim_check_paused(sim) ? 12 : 1 },
		{ SIM_KEY_REVOKE, world->keys ? 4 : 0 },
		{ SIM_KEY_ALLOW, world->keys ? 7 : 0 },
		{ SIM_COLLECT, !world->collections              ? 0
			       : sim_now(sim) > world->night_us ? 25
								: 4 },
		{ SIM_BACKUP, world->backups ? 8 : 0 },
	};
	for (size_t i = 0; i < sizeof shares / sizeof shares[0]; i++) {
		if (dice < shares[i].share)
			return shares[i].operation;
		dice -= shares[i].share;
	}
	return SIM_SUBMIT;
}

void sim_operation_draw(struct sim *sim, struct sim_client *client, struct sim_request *request)
{
	uint64_t dice = rng_below(&client->rng, 100), version = sim_check_version(sim);
	uint64_t low = rng_below(&client->rng, version + 1), few = rng_below(&client->rng, 4);
	request->of = &sim->procs[1 + rng_below(&client->rng, sim->proc_count - 1)];
	request->operation = choose(sim, dice);
	if (request->operation == SIM_ROLLBACK) /* mostly a little; also to what never was */
		request->version = few == 0 || version <= few ? low : version - few;
	else if (request->operation == SIM_COLLECT)
		request->version = few; /* 0: all are kept */
}

void sim_operation_tell(const struct sim_request *request, char *out, size_t out_bytes)
{
	switch (request->operation) {
	case SIM_ROLLBACK:
		snprintf(out, out_bytes, "roll back to version %" PRIu64, request->version);
		break;
	case SIM_RESUME:
		snprintf(out, out_bytes, "resume publishing");
		break;
	case SIM_KEY_REVOKE:
		snprintf(out, out_bytes, "revoke the key of %s", request->of->name);
		break;
	case SIM_KEY_ALLOW:
		snprintf(out, out_bytes, "allow the key of %s", request->of->name);
		break;
	case SIM_COLLECT:
		snprintf(out, out_bytes, "collect chunks, keep %" PRIu64 " versions (0: all)", request->version);
		break;
	case SIM_MERGE:
		snprintf(out, out_bytes, "run a merge");
		break;
	case SIM_BACKUP:
		snprintf(out, out_bytes, "make a backup");
		break;
	case SIM_SUBMIT:
	case SIM_REVOKE:
		break;
	}
}

static struct msg_text text_of(const char *text)
{
	return (struct msg_text){ text, strlen(text) };
}

static void key_change_write(const struct sim_request *request, struct msg *out)
{
	struct msg_key_change *change = &out->u.key_change;
	out->type = MSG_KEY_CHANGE;
	change->action = request->operation == SIM_KEY_ALLOW ? MSG_KEY_ALLOW : MSG_KEY_REVOKE;
	change->reason = text_of("who knows");
	memcpy(change->key.key, request->of->key, PROTO_KEY_BYTES);
	if (change->action == MSG_KEY_REVOKE)
		return;
	change->key.roles = roles[request->of->kind];
	change->key.name = text_of(request->of->name);
}

static void backup_write(const struct sim *sim, const struct sim_request *request, struct msg *out)
{
	static char folder[SIM_PATH_BYTES]; /* until it is sent */
	sim_backup_folder(sim, request, folder);
	out->type = MSG_STORE_RUN;
	out->u.store_run =
		(struct msg_store_run){ .id = request->id, .action = MSG_STORE_BACKUP, .folder = text_of(folder) };
}

void sim_operation_write(struct sim *sim, const struct sim_request *request, struct msg *out)
{
	struct sim_proc *proc = &sim->procs[request->of - sim->procs];
	switch (request->operation) {
	case SIM_ROLLBACK:
		out->type = MSG_PUBLISH;
		out->u.publish = (struct msg_publish){ .action = MSG_PUBLISH_ROLLBACK,
						       .version = request->version,
						       .reason = text_of("it is bad") };
		break;
	case SIM_RESUME:
		out->type = MSG_PUBLISH;
		out->u.publish = (struct msg_publish){ .action = MSG_PUBLISH_RESUME, .reason = text_of("") };
		break;
	case SIM_KEY_ALLOW:
		proc->allowance_sent = true;
		proc->revoked = false;
		key_change_write(request, out);
		break;
	case SIM_KEY_REVOKE:
		key_change_write(request, out);
		break;
	case SIM_COLLECT:
		out->type = MSG_STORE_RUN;
		out->u.store_run = (struct msg_store_run){ .id = request->id,
							   .action = MSG_STORE_COLLECT,
							   .folder = text_of(""),
							   .keep_versions = request->version };
		break;
	case SIM_MERGE:
		out->type = MSG_MERGE_RUN;
		break;
	case SIM_BACKUP:
		backup_write(sim, request, out);
		break;
	case SIM_SUBMIT:
	case SIM_REVOKE:
		break;
	}
}

static const enum msg_type answers[] = {
	[SIM_ROLLBACK] = MSG_PUBLISH_REPLY,      [SIM_RESUME] = MSG_PUBLISH_REPLY,
	[SIM_KEY_REVOKE] = MSG_KEY_CHANGE_REPLY, [SIM_KEY_ALLOW] = MSG_KEY_CHANGE_REPLY,
	[SIM_COLLECT] = MSG_STORE_STATUS,        [SIM_MERGE] = MSG_MERGE_STATUS,
	[SIM_BACKUP] = MSG_STORE_STATUS,
};

static int code_of(struct sim *sim, const struct sim_request *request, const struct msg *msg)
{
	const struct msg_store_status *store = &msg->u.store_status;
	struct sim_proc *proc = &sim->procs[request->of - sim->procs];
	switch (msg->type) {
	case MSG_PUBLISH_REPLY:
		return msg->u.publish_reply.code;
	case MSG_KEY_CHANGE_REPLY:
		/* An allowance that is under way, or comes twice, may arrive after it. */
		if (msg->u.key_change_reply.code == 0 && request->operation == SIM_KEY_REVOKE && !proc->allowance_sent)
			proc->revoked = true;
		return msg->u.key_change_reply.code;
	case MSG_STORE_STATUS:
		if (store->code == 0 && !store->done)
			return ERR_AGAIN;
		if (request->operation == SIM_COLLECT)
			sim->result->tally.collected_chunks += store->chunk_count;
		return store->code;
	case MSG_MERGE_STATUS:
		return msg->u.merge_status.code == ERR_AGAIN ? ERR_BUSY : msg->u.merge_status.code;
	default:
		return ERR_INVALID;
	}
}

bool sim_operation_answer(struct sim *sim, const struct sim_request *request, const struct msg *msg, int *code)
{
	if (msg->type != answers[request->operation])
		return false;
	*code = code_of(sim, request, msg);
	if (*code == ERR_FULL)
		*code = ERR_AGAIN;
	return true;
}

bool sim_operation_close(struct sim *sim, struct sim_client *client)
{
	enum sim_operation operation = SIM_SUBMIT;
	const struct sim_proc *of = &sim->procs[0];
	char edit[STORE_ID_BYTES] = "";
	size_t record = 0;
	if (!sim->procs[0].up || client->number != 0)
		return false;
	if (sim_check_paused(sim))
		operation = SIM_RESUME;
	for (size_t i = 1; i < sim->proc_count && operation == SIM_SUBMIT; i++) {
		if (proto_allow_roles(sim->allow, sim->procs[i].key, NULL) != 0)
			continue;
		operation = SIM_KEY_ALLOW;
		of = &sim->procs[i];
	}
	if (operation == SIM_SUBMIT && client->anew == SIZE_MAX && sim_check_upsetting(sim, edit, &record))
		operation = SIM_REVOKE;
	if (operation == SIM_SUBMIT && client->anew == SIZE_MAX)
		return false;
	client->operations++;
	client->made = 0;
	struct sim_request *request = sim_client_request(sim, client);
	request->operation = operation;
	if (operation == SIM_SUBMIT) {
		request->records[request->record_count++] = sim_client_record_like(sim, client, client->anew);
		client->anew = SIZE_MAX;
	} else if (operation == SIM_REVOKE) {
		client->anew = record;
	}
	request->of = of;
	snprintf(request->of_edit, sizeof request->of_edit, "%s", edit);
	sim_client_call(sim, client);
	return true;
}
