/* approver.c: a second administrator, where versions wait for approval. It looks at the candidate again and again, and
 * approves it, rejects it, or lets it be made anew; once the faults have ended it only approves, and leaves what the
 * canaries refuse to others. */
#include "tests/sim/sim.h"

#include <stdlib.h>
#include <string.h>

#define KEY        99
#define LOOK_US    INT64_C(700000)
#define REST_US    INT64_C(300000)
#define REJECTS    15 /* of a hundred */
#define NEVER_ASKS INT64_MAX

bool sim_approver_init(struct sim *sim)
{
	struct sim_approver *approver = &sim->approver;
	struct err e = ERR_INIT;
	approver->act_us = NEVER_ASKS;
	if (!sim->world.approve)
		return true;
	memset(approver->key, KEY, sizeof approver->key);
	rng_init(&approver->rng, rng_derive(sim->options.seed, 4, 0));
	approver->act_us = sim_now(sim) + LOOK_US;
	return proto_mem_connect(sim->mem, "approver", "coordinator", approver->key, &approver->transport, &e) == 0;
}

void sim_approver_fini(struct sim *sim)
{
	if (sim->approver.transport != NULL)
		sim->approver.transport->ops->destroy(sim->approver.transport);
}

static void send(struct sim *sim, struct msg *msg)
{
	struct sim_approver *approver = &sim->approver;
	msg->request_id = ++approver->next_id;
	(void)approver->transport->ops->send(approver->transport, 0, msg, NULL);
	approver->act_us = sim_now(sim) + (sim->calm ? REST_US : LOOK_US);
}

static void look(struct sim *sim)
{
	struct msg msg = { .type = MSG_CANDIDATE };
	send(sim, &msg);
}

static bool says(struct msg_text text, const char *what)
{
	return text.len == strlen(what) && memcmp(text.text, what, text.len) == 0;
}

static void judge(struct sim *sim, const struct msg_candidate_reply *candidate)
{
	struct sim_approver *approver = &sim->approver;
	const bool rejects = !sim->calm && rng_below(&approver->rng, 100) < REJECTS;
	struct msg msg = { .type = MSG_PUBLISH };
	msg.u.publish = (struct msg_publish){ .action = rejects ? MSG_PUBLISH_REJECT : MSG_PUBLISH_APPROVE,
					      .reason = { "a second look", 13 },
					      .content = candidate->content };
	const bool refused = says(candidate->state, "refused");
	const bool rests = says(candidate->state, "none") || (refused && sim_check_upset(sim));
	approver->none_at = rests ? sim->result->events : 0;
	if (refused && (sim->calm ? !sim_check_upset(sim) : rng_below(&approver->rng, 4) == 0))
		msg.u.publish.action = MSG_PUBLISH_RESUME;
	else if (!says(candidate->state, "waiting"))
		return;
	sim_trace(sim, 45, msg.u.publish.action, "approver: %s",
		  msg.u.publish.action == MSG_PUBLISH_APPROVE  ? "approve"
		  : msg.u.publish.action == MSG_PUBLISH_REJECT ? "reject"
							       : "resume");
	send(sim, &msg);
}

bool sim_approver_step(struct sim *sim)
{
	struct sim_approver *approver = &sim->approver;
	struct msg_received *received = NULL;
	bool done = false;
	if (approver->transport == NULL)
		return false;
	while (approver->transport->ops->recv(approver->transport, &received, NULL) == 0) {
		if (received->msg.type == MSG_CANDIDATE_REPLY && received->msg.request_id == approver->next_id)
			judge(sim, &received->msg.u.candidate_reply);
		msg_free(&received);
		done = true;
	}
	if (sim_now(sim) < approver->act_us)
		return done;
	look(sim);
	return true;
}

bool sim_approver_rests(const struct sim *sim)
{
	return !sim->world.approve || (sim->approver.none_at != 0 && sim->approver.none_at == sim->result->events);
}
