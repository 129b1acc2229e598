/* coordinator.c: the coordinator's life and the one switch over received messages. */
#include "coordinator/internal.h"

#include <stdlib.h>
#include <string.h>

int64_t coordinator__now_ms(const struct coordinator *c)
{
	return env_monotonic_ms(c->env);
}

struct msg_text coordinator__text(const char *text)
{
	return (struct msg_text){ text, strlen(text) };
}

void coordinator__copy_text(char *out, size_t out_bytes, struct msg_text text)
{
	size_t n = text.len < out_bytes - 1 ? text.len : out_bytes - 1;
	/* Never cut a UTF-8 character in two: it would travel back out as invalid text. */
	while (n > 0 && n < text.len && ((unsigned char)text.text[n] & 0xc0) == 0x80)
		n--;
	if (n > 0)
		memcpy(out, text.text, n);
	out[n] = 0;
}

int coordinator__send(struct coordinator *c, uint64_t route, struct msg *msg)
{
	struct err e = ERR_INIT;
	int rc = c->transport->ops->send(c->transport, route, msg, &e);
	if (rc != 0 && rc != ERR_AGAIN && rc != ERR_CLOSED)
		log_event(LOG_WARN, "COORDINATOR-SEND-FAILED", LOGF_S("type", msg_type_name((int)msg->type)),
			  LOGF_S("reason", e.text));
	return rc;
}

/* A reply that finds the peer's queue full is dropped: every request is idempotent and is asked again. */
void coordinator__reply(struct coordinator *c, const struct msg_received *request, struct msg *msg)
{
	msg->request_id = request->msg.request_id;
	msg->trace_id = request->msg.trace_id;
	if (coordinator__send(c, request->route, msg) == ERR_AGAIN)
		log_event(LOG_DEBUG, "COORDINATOR-REPLY-DROPPED", LOGF_S("type", msg_type_name((int)msg->type)));
}

void coordinator__reply_error(struct coordinator *c, const struct msg_received *request, int code, const char *text)
{
	struct msg msg = { .type = MSG_ERROR };
	msg.u.error.code = code;
	msg.u.error.text = coordinator__text(text);
	coordinator__reply(c, request, &msg);
}

void coordinator__fail(struct coordinator *c, const struct err *e)
{
	if (c->failure.code != 0)
		return;
	c->failure = *e;
	if (c->failure.code == 0)
		c->failure.code = ERR_IO;
	log_event(LOG_ERROR, "COORDINATOR-FAILED", LOGF_S("code", err_name(c->failure.code)),
		  LOGF_S("reason", c->failure.text));
}

static int copy_config(struct coordinator *c, const struct coordinator_config *config)
{
	c->config = *config;
	c->data_folder = strdup(config->data_folder != NULL ? config->data_folder : ".");
	c->family = strdup(config->family != NULL ? config->family : "amend");
	c->tensor_format = strdup(config->tensor_format != NULL ? config->tensor_format : "blk.%u.ffn_down.weight");
	if (config->key != NULL)
		memcpy(c->key, config->key, sizeof c->key);
	if (config->cluster_id != NULL)
		coordinator__copy_text(c->cluster_id, sizeof c->cluster_id, coordinator__text(config->cluster_id));
	c->config.data_folder = c->data_folder;
	buf_append(&c->settings, config->settings.bytes, config->settings.len);
	c->config.settings = (struct msg_bytes){ c->settings.data, c->settings.len };
	c->config.family = c->family;
	c->config.tensor_format = c->tensor_format;
	c->config.cluster_id = c->cluster_id;
	c->config.key = c->key;
	return c->data_folder != NULL && c->family != NULL && c->tensor_format != NULL && !buf_failed(&c->settings)
		       ? 0
		       : ERR_NOMEM;
}

static int check_config(const struct coordinator_config *config, struct err *e)
{
	if (config->edits_per_shard == 0 || config->edits_per_shard > STORE_SHARD_EDITS_MAX)
		return err_set(e, ERR_INVALID, "edits_per_shard: %u is not in 1..%d", config->edits_per_shard,
			       STORE_SHARD_EDITS_MAX);
	if (config->group_edits_max == 0 || config->commit_edits_max == 0 || config->edit_tries_max == 0 ||
	    config->peers_max == 0)
		return err_set(e, ERR_INVALID,
			       "group_edits_max, commit_edits_max, edit_tries_max and peers_max must be at least 1");
	if (config->settings.len > MSG_SETTINGS_BYTES_MAX)
		return err_set(e, ERR_LIMIT, "settings of %zu bytes: at most %d", config->settings.len,
			       MSG_SETTINGS_BYTES_MAX);
	if (config->lease_ms == 0 || config->heartbeat_ms == 0 || config->heartbeat_ms > config->lease_ms)
		return err_set(e, ERR_INVALID, "heartbeat_ms must be in 1..lease_ms (%u)", config->lease_ms);
	return 0;
}

int coordinator_new(const struct coordinator_config *config, const struct env *env, struct store *store,
		    struct proto_transport *transport, struct coordinator_merge_job *merge_job,
		    struct coordinator **out, struct err *e)
{
	int rc = check_config(config, e);
	if (rc != 0) {
		err_wrap(e, "starting the coordinator");
		return rc;
	}
	struct coordinator *c = fault_calloc(1, sizeof *c);
	if (c == NULL)
		return err_set(e, ERR_NOMEM, "starting the coordinator: out of memory");
	c->env = env;
	c->store = store;
	c->transport = transport;
	c->merge_job = merge_job;
	coordinator__collect_init(c);
	c->submits = fault_calloc(SUBMITS_PENDING_MAX, sizeof(struct msg_received *));
	rng_init(&c->rng, config->seed);
	if (copy_config(c, config) != 0 || c->submits == NULL)
		rc = err_set(e, ERR_NOMEM, "out of memory");
	else
		rc = pool_new(config->store_threads, BACKGROUND_JOBS_MAX, &c->background, e);
	if (rc == 0)
		rc = pool_new(config->store_threads, UPKEEP_JOBS_MAX, &c->upkeep, e);
	if (rc == 0)
		rc = coordinator__load(c, e);
	if (rc != 0) {
		coordinator_destroy(&c);
		err_wrap(e, "starting the coordinator");
		return rc;
	}
	c->merge_mark_ms = coordinator__now_ms(c);
	log_event(LOG_INFO, "COORDINATOR-STARTED", LOGF_S("cluster", c->cluster_id), LOGF_U("seq", c->last_seq),
		  LOGF_U("version", c->version), LOGF_U("shards", c->shard_count));
	*out = c;
	return 0;
}

void coordinator_destroy(struct coordinator **coordinator)
{
	struct coordinator *c = *coordinator;
	if (c == NULL)
		return;
	c->closed = true;
	atomic_store(&c->ending, true); /* what the threads still give back changes nothing */
	pool_destroy(&c->background);
	pool_destroy(&c->upkeep);
	coordinator__merge_job_stop(c);
	coordinator__store_work_free(c);
	coordinator__collect_end(&c->collecting.work);
	coordinator__heal_free(c);
	buf_free(&c->scrub.bad);
	store_abort(&c->txn);
	coordinator__submits_drop(c);
	coordinator__blobs_drop(c);
	while (c->shard_count > 0)
		coordinator__shard_drop(c, c->shard_count - 1);
	coordinator__peers_free(c);
	free(c->shards);
	free(c->submits);
	free(c->unserved);
	coordinator__candidate_free(&c->candidate);
	buf_free(&c->withheld);
	free(c->dues);
	free(c->merges);
	buf_free(&c->merges_out);
	free(c->merge.seqs);
	free(c->data_folder);
	free(c->family);
	buf_free(&c->settings);
	free(c->tensor_format);
	free(c);
	*coordinator = NULL;
}

static void recv_shutdown(struct coordinator *c, const struct msg_received *received)
{
	log_event(LOG_INFO, "COORDINATOR-SHUTDOWN-ASKED", LOGF_X("by", received->peer_key, 8));
	coordinator_close(c);
	c->shutdown = true;
	struct msg msg = { .type = MSG_SHUTDOWN };
	coordinator__reply(c, received, &msg);
}

static const char not_taken[] = "a coordinator does not take this message: it is a reply, or of a newer version";

/* What administrators say. */
static void dispatch_admin(struct coordinator *c, const struct msg_received *r)
{
	switch (r->msg.type) {
	case MSG_REVOKE:
		coordinator__recv_revoke(c, r);
		break;
	case MSG_STORE_RUN:
		coordinator__recv_store_run(c, r);
		break;
	case MSG_PUBLISH:
		coordinator__recv_publish(c, r);
		break;
	case MSG_CANDIDATE:
		coordinator__recv_candidate(c, r);
		break;
	case MSG_EVENT_LIST:
		coordinator__recv_event_list(c, r);
		break;
	case MSG_KEY_LIST:
		coordinator__recv_key_list(c, r);
		break;
	case MSG_KEY_CHANGE:
		coordinator__recv_key_change(c, r);
		break;
	case MSG_SHUTDOWN:
		recv_shutdown(c, r);
		break;
	default:
		coordinator__reply_error(c, r, ERR_UNSUPPORTED, not_taken);
		break;
	}
}

static void dispatch(struct coordinator *c, struct msg_received **received)
{
	struct msg_received *r = *received;
	switch (r->msg.type) {
	case MSG_SUBMIT:
		coordinator__recv_submit(c, received);
		break;
	case MSG_EDIT_LIST:
		coordinator__recv_edit_list(c, r);
		break;
	case MSG_HELLO:
		coordinator__recv_hello(c, r);
		break;
	case MSG_WANT:
		coordinator__recv_want(c, r);
		break;
	case MSG_HEARTBEAT:
		coordinator__recv_heartbeat(c, r);
		break;
	case MSG_PROGRESS:
		coordinator__recv_progress(c, r);
		break;
	case MSG_SHARD_COMMIT:
		coordinator__recv_shard_commit(c, received);
		break;
	case MSG_RELEASE:
		coordinator__recv_release(c, r);
		break;
	case MSG_GATE_RESULT:
		coordinator__recv_gate_result(c, r);
		break;
	case MSG_CANARY_RESULT:
		coordinator__recv_canary_result(c, r);
		break;
	case MSG_HAVE:
		coordinator__recv_have(c, r);
		break;
	case MSG_NEED:
		coordinator__recv_need(c, r);
		break;
	case MSG_CHUNK:
		coordinator__recv_chunk(c, received);
		break;
	case MSG_GET_MANIFEST:
		coordinator__recv_get_manifest(c, r);
		break;
	case MSG_VERSION_LIST:
		coordinator__recv_version_list(c, r);
		break;
	case MSG_NODE_STATUS:
		coordinator__recv_node_status(c, r);
		break;
	case MSG_MERGE_RUN:
		coordinator__recv_merge_run(c, r);
		break;
	case MSG_FLEET:
		coordinator__recv_fleet(c, r);
		break;
	case MSG_READER_LIST:
		coordinator__recv_reader_list(c, r);
		break;
	default:
		dispatch_admin(c, r);
		break;
	}
}

void coordinator_receive(struct coordinator *coordinator, struct msg_received **received)
{
	if (coordinator->failure.code != 0)
		return; /* no answer means unknown: the only true thing to say now */
	enum msg_type type = (*received)->msg.type;
	dispatch(coordinator, received);
	/* What else may set something moving does so itself (a group commit) or waits for the tick. */
	if (type == MSG_HELLO || type == MSG_WANT || type == MSG_SHARD_COMMIT || type == MSG_RELEASE ||
	    type == MSG_MERGE_RUN || type == MSG_REVOKE || type == MSG_KEY_CHANGE || type == MSG_GATE_RESULT ||
	    type == MSG_CANARY_RESULT || type == MSG_PUBLISH)
		coordinator__advance(coordinator);
}

void coordinator__advance(struct coordinator *c)
{
	if (c->failure.code != 0 || coordinator__write_held(c))
		return;
	coordinator__leases_advance(c);
	for (size_t i = 0; i < c->shard_count && c->failure.code == 0 && !coordinator__write_held(c); i++)
		coordinator__shard_pump(c, c->shards[i]);
	coordinator__candidate_advance(c);
}

static void submit_when_due(struct coordinator *c)
{
	if (c->submit_count > 0 && coordinator_next_ms(c) == 0)
		coordinator__submit_flush(c);
}

static void background_poll(struct coordinator *c)
{
	(void)pool_poll(c->background);
	(void)pool_poll(c->upkeep);
}

/* After a failure memory holds what the ledger does not: no step may write any more. */
void coordinator_tick(struct coordinator *coordinator)
{
	static void (*const steps[])(struct coordinator *) = {
		submit_when_due,           coordinator__chunks_flush,        coordinator__peers_forget,
		coordinator__due_advance,  coordinator__unpublished_advance, coordinator__place_waiting,
		coordinator__advance,      coordinator__merge_advance,       coordinator__served_advance,
		coordinator__needs_pump,   coordinator__keys_record_due,     coordinator__write_trial,
		coordinator__heal_advance, coordinator__scrub_advance,       coordinator__collect_advance,
		background_poll,           coordinator__store_work_poll,     coordinator__here_look,
	};
	for (size_t i = 0; i < sizeof steps / sizeof steps[0] && coordinator->failure.code == 0; i++)
		steps[i](coordinator);
}

int64_t coordinator_next_ms(const struct coordinator *coordinator)
{
	const struct coordinator *c = coordinator;
	if (c->submit_count > 0) {
		int64_t due = c->submit_since_ms + c->config.commit_wait_ms - coordinator__now_ms(c);
		return due > 0 ? due : 0;
	}
	if (c->chunk_count > 0 || c->nodes_changed)
		return 0;
	return c->needs.peer_count > 0 || c->check_count > 0 ? 5 : 100;
}

bool coordinator_failed(const struct coordinator *coordinator, struct err *e)
{
	if (coordinator->failure.code == 0)
		return false;
	if (e != NULL)
		*e = coordinator->failure;
	return true;
}

bool coordinator_shutdown(const struct coordinator *coordinator)
{
	return coordinator->shutdown;
}

void coordinator_close(struct coordinator *coordinator)
{
	if (coordinator->closed)
		return;
	coordinator->closed = true;
	coordinator__merge_job_stop(coordinator);
	coordinator__store_work_stop(coordinator);
	if (coordinator->failure.code == 0)
		coordinator__submit_flush(coordinator); /* those that wait were taken in before the end began */
}
