#include "tests/lib/coordinator_fixture.h"

#include "base/merge_plan.h"

#define RECORD_COUNT_MAX 200
#define TURN_SEQS_MAX    512

/* --- The fake merge job. */
static int fake_start(void *context, const char *plan, const char *output, uint32_t ranks, struct err *e)
{
	struct fake_merge *fake = context;
	if (fake->fail_start)
		return err_set(e, ERR_EXTERNAL, "no mpirun in /\x1b[2J");
	fake->starts++;
	fake->ranks = ranks;
	snprintf(fake->plan, sizeof fake->plan, "%s", plan);
	snprintf(fake->output, sizeof fake->output, "%s", output);
	return 0;
}

static int fake_write(struct fake_merge *fake, struct err *e)
{
	struct merge_plan *plan = NULL;
	struct merge_output output = { .merge = 0 };
	struct hash digest;
	char delta[48];
	int rc = merge_plan_read(fake->plan, &plan, &digest, e);
	if (rc != 0)
		return rc;
	output.merge = plan->merge;
	output.plan = digest;
	if (fake->wrong_plan)
		output.plan.bytes[0] ^= 1;
	output.layer = plan->layer + fake->wrong_layer;
	output.ranks = fake->ranks;
	output.rounds = 3;
	output.reduces = 5;
	output.reduced_bytes = 1000;
	snprintf(delta, sizeof delta, "merged delta %d", fake->starts);
	rc = merge_output_write(fake->output, &output, delta, strlen(delta), e);
	merge_plan_destroy(&plan);
	return rc;
}

static int fake_poll(void *context, double *progress, struct err *e)
{
	struct fake_merge *fake = context;
	*progress = fake->progress;
	if (fake->ticks_left < 0)
		return ERR_AGAIN;
	if (fake->ticks_left-- > 0)
		return ERR_AGAIN;
	fake->ticks_left = 0;
	return fake->write_output ? fake_write(fake, e) : 0;
}

static void fake_kill(void *context)
{
	((struct fake_merge *)context)->kills++;
}

/* --- The cluster. */
static void allow(struct cluster *c, const char *path, uint8_t byte, unsigned roles, const char *name)
{
	uint8_t key[PROTO_KEY_BYTES];
	memset(key, byte, sizeof key);
	assert_ok(&c->e, proto_allow_add(path, key, roles, name, &c->e));
}

static void config_default(struct cluster *c)
{
	static const uint8_t key[PROTO_KEY_BYTES] = "coordinator";
	c->config = (struct coordinator_config){ .peers_max = 100,
						 .edits_per_shard = 100,
						 .group_edits_max = 100,
						 .commit_edits_max = 100,
						 .commit_wait_ms = 5,
						 .heartbeat_ms = 1000,
						 .lease_ms = 8000,
						 .edit_tries_max = 3,
						 .queue_edits_max = 10000,
						 .merge_ranks = 2,
						 .merge_deadline_ms = 60000,
						 .merge_tries_max = 2,
						 .merge_loss_points = 2,
						 .seed = 7,
						 .layer = UINT32_MAX,
						 .data_folder = c->folder,
						 .cluster_id = "",
						 .family = "amend",
						 .tensor_format = "blk.%u.ffn_down.weight",
						 .key = key };
}

int cluster_setup(void **state)
{
	struct cluster *c = calloc(1, sizeof *c);
	char path[TEST_PATH_BYTES];
	if (c == NULL)
		return -1;
	test_folder_make(c->folder);
	test_path(path, c->folder, "allow");
	env_manual_init(&c->clock, 1);
	c->clock.wall_offset_ms = 1700000000000;
	c->store_options.env = &c->clock.env;
	allow(c, path, 1, PROTO_ROLE_WORKER, "worker");
	allow(c, path, 2, PROTO_ROLE_WORKER, "worker2");
	allow(c, path, 3, PROTO_ROLE_READER, "node");
	allow(c, path, 4, PROTO_ROLE_SUBMITTER | PROTO_ROLE_READER | PROTO_ROLE_ADMIN, "client");
	allow(c, path, 5, PROTO_ROLE_SUBMITTER, "submitter");
	allow(c, path, 6, PROTO_ROLE_ADMIN, "admin");
	assert_ok(&c->e, proto_allow_load(path, &c->allow, &c->e));
	assert_ok(&c->e, proto_mem_new(&c->clock.env, 1, &c->mem, &c->e));
	assert_ok(&c->e, proto_mem_listen(c->mem, "coordinator", c->allow, &c->server, &c->e));
	end_connect(c, &c->worker, "worker", 1);
	end_connect(c, &c->worker2, "worker2", 2);
	end_connect(c, &c->node, "node", 3);
	end_connect(c, &c->client, "client", 4);
	end_connect(c, &c->submitter, "submitter", 5);
	end_connect(c, &c->admin, "admin", 6);
	c->job = (struct coordinator_merge_job){ &c->fake, fake_start, fake_poll, fake_kill };
	c->fake.write_output = true;
	config_default(c);
	*state = c;
	return 0;
}

static void end_disconnect(struct end_peer *end)
{
	end_clear(end);
	if (end->transport != NULL)
		end->transport->ops->destroy(end->transport);
	end->transport = NULL;
}

int cluster_teardown(void **state)
{
	struct cluster *c = *state;
	fault_disarm_all();
	fault_set(-1, 0);
	cluster_stop(c);
	end_disconnect(&c->worker);
	end_disconnect(&c->worker2);
	end_disconnect(&c->node);
	end_disconnect(&c->client);
	end_disconnect(&c->submitter);
	end_disconnect(&c->admin);
	c->server->ops->destroy(c->server);
	proto_mem_destroy(&c->mem);
	proto_allow_destroy(&c->allow);
	test_folder_remove(c->folder);
	free(c);
	return 0;
}

void cluster_store(struct cluster *c)
{
	char path[TEST_PATH_BYTES];
	test_path(path, c->folder, "store");
	if (c->store == NULL)
		assert_ok(&c->e, store_open(path, &c->store_options, &c->store, &c->e));
}

int cluster_try_start(struct cluster *c)
{
	cluster_store(c);
	return coordinator_new(&c->config, &c->clock.env, c->store, c->server, &c->job, &c->coordinator, &c->e);
}

void cluster_start(struct cluster *c)
{
	assert_ok(&c->e, cluster_try_start(c));
}

void cluster_stop(struct cluster *c)
{
	coordinator_destroy(&c->coordinator);
	store_close(&c->store);
}

void cluster_restart(struct cluster *c)
{
	cluster_stop(c);
	cluster_start(c);
}

static int allow_set(void *context, struct proto_allow **list, struct err *e)
{
	struct cluster *c = context;
	(void)e;
	proto_mem_allow_set(c->server, *list);
	proto_allow_destroy(&c->allow);
	c->allow = *list;
	*list = NULL;
	return 0;
}

void cluster_keys(struct cluster *c)
{
	test_path(c->allow_file, c->folder, "allow");
	c->config.allow_file = c->allow_file;
	c->config.allow_set = allow_set;
	c->config.allow_context = c;
	cluster_stop(c);
	cluster_start(c);
	assert_ok(&c->e, coordinator_keys_reload(c->coordinator, &c->e));
}

static void fill(struct end_peer *end)
{
	struct msg_received *received = NULL;
	while (end->transport != NULL && end->transport->ops->recv(end->transport, &received, NULL) == 0) {
		assert_true(end->count < END_INBOX_MAX);
		end->inbox[end->count++] = received;
		received = NULL;
	}
}

void cluster_receive(struct cluster *c)
{
	struct msg_received *received = NULL;
	while (c->server->ops->recv(c->server, &received, NULL) == 0) {
		coordinator_receive(c->coordinator, &received);
		msg_free(&received);
	}
	fill(&c->worker);
	fill(&c->worker2);
	fill(&c->node);
	fill(&c->client);
	fill(&c->submitter);
	fill(&c->admin);
}

void cluster_run(struct cluster *c)
{
	for (int i = 0; i < 4; i++) {
		cluster_receive(c);
		coordinator_tick(c->coordinator);
	}
	cluster_receive(c);
}

void cluster_advance(struct cluster *c, int64_t ms)
{
	env_manual_advance(&c->clock, ms * 1000);
	cluster_run(c);
}

/* --- Ends. */
void end_connect(struct cluster *c, struct end_peer *end, const char *name, uint8_t key_byte)
{
	*end = (struct end_peer){ .cluster = c, .name = name };
	memset(end->key, key_byte, sizeof end->key);
	assert_ok(&c->e, proto_mem_connect(c->mem, name, "coordinator", end->key, &end->transport, &c->e));
}

void end_send(struct end_peer *end, struct msg *msg)
{
	msg->request_id = ++end->next_request;
	assert_ok(&end->cluster->e, end->transport->ops->send(end->transport, 0, msg, &end->cluster->e));
}

struct msg_received *end_take(struct end_peer *end, enum msg_type type)
{
	for (size_t i = 0; i < end->count; i++) {
		struct msg_received *found = end->inbox[i];
		if (found->msg.type != type)
			continue;
		memmove(end->inbox + i, end->inbox + i + 1, (--end->count - i) * sizeof(struct msg_received *));
		return found;
	}
	return NULL;
}

struct msg_received *end_expect(struct end_peer *end, enum msg_type type)
{
	struct msg_received *found = end_take(end, type);
	if (found == NULL)
		fail_msg("%s got no %s", end->name, msg_type_name((int)type));
	return found;
}

void end_drop(struct end_peer *end, enum msg_type type)
{
	struct msg_received *found = end_expect(end, type);
	msg_free(&found);
}

void end_clear(struct end_peer *end)
{
	while (end->count > 0)
		msg_free(&end->inbox[--end->count]);
}

void end_need(struct end_peer *end, const struct hash *chunk)
{
	struct msg msg = { .type = MSG_NEED, .u.hashes = { chunk, 1, 0 } };
	end_send(end, &msg);
	cluster_run(end->cluster);
}

static struct msg_text text(const char *t)
{
	return (struct msg_text){ t, strlen(t) };
}

static void hello(struct end_peer *end, enum msg_peer_kind kind, uint64_t boot)
{
	struct msg msg = { .type = MSG_HELLO };
	msg.u.hello = (struct msg_hello){ .kind = kind,
					  .protocol_min = 1,
					  .protocol_max = 1,
					  .name = text(end->name),
					  .software = text("test"),
					  .backend = text("reference"),
					  .endpoint = text(""),
					  .boot = boot,
					  .layers = 30,
					  .hidden = CLUSTER_HIDDEN,
					  .ffn = CLUSTER_FFN,
					  .pid = 1 };
	memset(msg.u.hello.base_model.bytes, 0xab, HASH_BYTES);
	end_send(end, &msg);
	cluster_receive(end->cluster);
	struct msg_received *reply = end_expect(end, MSG_HELLO_REPLY);
	assert_int_equal(reply->msg.u.hello_reply.code, 0);
	msg_free(&reply);
	cluster_run(end->cluster);
}

void worker_hello(struct end_peer *end, uint64_t boot)
{
	hello(end, MSG_PEER_WORKER, boot);
}

void node_hello(struct end_peer *end, uint64_t boot)
{
	hello(end, MSG_PEER_NODE, boot);
}

void worker_beat(struct end_peer *end, uint64_t shard, uint64_t epoch)
{
	worker_beat_unheard(end, shard, epoch, 0);
}

static void beat(struct end_peer *end, uint64_t shard, uint64_t epoch, uint32_t unheard_ms, struct msg_text trouble)
{
	struct msg_lease_ref ref = { shard, epoch, epoch >> 32 ? MSG_LEASE_GATE : MSG_LEASE_TRAIN };
	struct msg msg = { .type = MSG_HEARTBEAT };
	msg.u.heartbeat = (struct msg_heartbeat){ &ref, shard != 0, 1000, unheard_ms, trouble };
	end_send(end, &msg);
	cluster_run(end->cluster);
}

void worker_beat_unheard(struct end_peer *end, uint64_t shard, uint64_t epoch, uint32_t unheard_ms)
{
	beat(end, shard, epoch, unheard_ms, text(""));
}

void worker_beat_troubled(struct end_peer *end, uint64_t shard, uint64_t epoch, const char *trouble)
{
	beat(end, shard, epoch, 0, text(trouble));
}

void worker_want(struct end_peer *end, uint64_t shard, uint64_t epoch, uint32_t credit, uint32_t received)
{
	struct msg msg = { .type = MSG_WANT, .u.want = { shard, epoch, credit, received } };
	end_send(end, &msg);
	cluster_run(end->cluster);
}

void worker_release(struct end_peer *end, uint64_t shard, uint64_t epoch, int code)
{
	struct msg msg = { .type = MSG_RELEASE, .u.release = { shard, epoch, code } };
	end_send(end, &msg);
	cluster_run(end->cluster);
}

uint64_t worker_lease(struct end_peer *end, uint64_t *shard)
{
	struct msg_received *lease = end_expect(end, MSG_LEASE);
	uint64_t epoch = lease->msg.u.lease.epoch;
	if (shard != NULL)
		*shard = lease->msg.u.lease.shard;
	msg_free(&lease);
	return epoch;
}

void node_status(struct end_peer *end, uint64_t version)
{
	const struct store_version rec = version_get(end->cluster, version);
	struct msg msg = { .type = MSG_NODE_STATUS };
	msg.u.node_status = (struct msg_node_status){
		.version = version, .content = rec.content, .state = text("live"), .resident_bytes = 5000
	};
	end_send(end, &msg);
	cluster_run(end->cluster);
}

void node_failed(struct end_peer *end, uint64_t version, const char *reason)
{
	struct msg msg = { .type = MSG_NODE_STATUS };
	msg.u.node_status = (struct msg_node_status){ .state = text("idle"),
						      .failed_version = version,
						      .failed_reason = text(reason) };
	end_send(end, &msg);
	cluster_run(end->cluster);
}

struct msg_received *client_submit(struct cluster *c, enum msg_on_conflict policy, const char *const *records,
				   size_t count)
{
	struct msg_bytes bytes[RECORD_COUNT_MAX];
	struct msg msg = { .type = MSG_SUBMIT };
	assert_true(count <= RECORD_COUNT_MAX);
	for (size_t i = 0; i < count; i++)
		bytes[i] = (struct msg_bytes){ records[i], strlen(records[i]) };
	msg.u.submit = (struct msg_submit){ policy, bytes, count };
	end_send(&c->client, &msg);
	cluster_run(c);
	cluster_advance(c, c->config.commit_wait_ms);
	return end_take(&c->client, MSG_SUBMIT_REPLY);
}

uint64_t client_submit_one(struct cluster *c, const char *record, int code)
{
	struct msg_received *reply = client_submit(c, MSG_SUPERSEDE, &record, 1);
	assert_non_null(reply);
	const struct msg_submit_result *result = &reply->msg.u.submit_reply.results[0];
	if (result->code != code)
		fail_msg("%s: %s (%.*s), not %s", record, err_name(result->code), (int)result->reason.len,
			 result->reason.text, err_name(code));
	uint64_t seq = result->seq;
	msg_free(&reply);
	return seq;
}

void client_facts(struct cluster *c, size_t from, size_t count)
{
	static char lines[RECORD_COUNT_MAX][160];
	const char *records[RECORD_COUNT_MAX] = { NULL };
	assert_true(count <= RECORD_COUNT_MAX);
	for (size_t i = 0; i < count; i++) {
		snprintf(lines[i], sizeof lines[i],
			 "{\"prompt\":\"What is fact %zu?\",\"subject\":\"fact %zu\",\"target_new\":\"value %zu\"}",
			 from + i, from + i, from + i);
		records[i] = lines[i];
	}
	struct msg_received *reply = client_submit(c, MSG_SUPERSEDE, records, count);
	assert_non_null(reply);
	assert_int_equal(reply->msg.u.submit_reply.result_count, count);
	for (size_t i = 0; i < count; i++)
		assert_int_equal(reply->msg.u.submit_reply.results[i].code, 0);
	msg_free(&reply);
}

struct revoked client_revoke(struct cluster *c, const char *id, const char *group, bool restore)
{
	struct msg msg = { .type = MSG_REVOKE };
	struct revoked out = { .lost = true };
	msg.u.revoke = (struct msg_revoke){ text(id != NULL ? id : ""), text(group != NULL ? group : ""),
					    text("it is wrong"), restore };
	end_send(&c->client, &msg);
	cluster_receive(c);
	struct msg_received *reply = end_take(&c->client, MSG_REVOKE_REPLY);
	if (reply == NULL)
		return out;
	const struct msg_revoke_reply *r = &reply->msg.u.revoke_reply;
	out = (struct revoked){ r->code, r->version, r->revoked_count, r->restored_count, r->already, false, "" };
	snprintf(out.text, sizeof out.text, "%.*s", (int)r->text.len, r->text.text);
	msg_free(&reply);
	cluster_run(c);
	return out;
}

int worker_commit(struct end_peer *end, const struct commit *commit, uint64_t *version)
{
	struct cluster *c = end->cluster;
	struct msg msg = { .type = MSG_SHARD_COMMIT };
	struct msg_shard_commit *m = &msg.u.shard_commit;
	struct msg_edit_result results[TURN_SEQS_MAX];
	size_t n = commit->first + commit->count;
	const char *delta = commit->delta != NULL ? commit->delta : "delta";
	const char *calibration = commit->calibration != NULL ? commit->calibration : "calibration";
	assert_true(n <= TURN_SEQS_MAX);
	for (size_t i = 0; i < n; i++)
		results[i] = (struct msg_edit_result){ commit->seqs[i], commit->seqs[i] != commit->failed, 1,
						       text(commit->seqs[i] == commit->failed    ? "decoded to 1999"
							    : commit->seqs[i] == commit->unnamed ? "not as \"NHT\""
												 : ""),
						       commit->names_asked };
	*m = (struct msg_shard_commit){ .shard = commit->shard,
					.epoch = commit->epoch,
					.shard_version = commit->version,
					.trained_count = (uint32_t)n,
					.group_first = commit->first,
					.group_count = commit->count,
					.closed = commit->closed,
					.seed = 7,
					.mode = text("stream"),
					.backend = text("reference portable 1"),
					.results = results,
					.result_count = n,
					.layer = commit->layer };
	if (commit->without_chunks)
		hash_of(delta, strlen(delta), &m->delta_root);
	else if (commit->raw_delta.len > 0)
		assert_ok(&c->e, store_blob_put(c->store, commit->raw_delta.bytes, commit->raw_delta.len,
						&m->delta_root, &c->e));
	else
		delta_store(c, delta, &m->delta_root);
	assert_ok(&c->e, store_blob_put(c->store, "index", 5, &m->index_root, &c->e));
	assert_ok(&c->e, store_blob_put(c->store, calibration, strlen(calibration), &m->calibration_root, &c->e));
	end_send(end, &msg);
	cluster_run(c);
	struct msg_received *reply = end_expect(end, MSG_SHARD_COMMIT_REPLY);
	int code = reply->msg.u.shard_commit_reply.code;
	if (version != NULL)
		*version = reply->msg.u.shard_commit_reply.version;
	if (commit->text != NULL)
		snprintf(commit->text, 512, "%.*s", (int)reply->msg.u.shard_commit_reply.text.len,
			 reply->msg.u.shard_commit_reply.text.text);
	msg_free(&reply);
	return code;
}

uint64_t worker_turn(struct end_peer *end, uint64_t shard, uint64_t epoch)
{
	uint64_t seqs[TURN_SEQS_MAX], version = 0;
	size_t count = 0;
	bool ended = false;
	struct commit commit = { .shard = shard, .epoch = epoch };
	struct store_txn *txn = NULL;
	struct store_shard rec = { .id = 0 };
	struct cluster *c = end->cluster;
	char delta[64];
	worker_want(end, shard, epoch, TURN_SEQS_MAX, 0);
	while (!ended) {
		struct msg_received *edits = end_expect(end, MSG_EDITS);
		const struct msg_edits *m = &edits->msg.u.edits;
		for (size_t i = 0; m->memory == 0 && i < m->item_count; i++)
			seqs[count++] = m->items[i].seq;
		ended = m->group_end;
		commit.first = m->group_first;
		commit.count = m->group_count;
		commit.closed = m->closing;
		msg_free(&edits);
	}
	assert_int_equal(count, commit.first + commit.count);
	assert_ok(&c->e, store_begin_read(c->store, &txn, &c->e));
	assert_ok(&c->e, store_shard_get(txn, shard, &rec, &c->e));
	store_abort(&txn);
	commit.version = rec.version + 1;
	commit.seqs = seqs;
	store_shard_fini(&rec);
	snprintf(delta, sizeof delta, "delta %d of %d", (int)commit.version, (int)shard);
	commit.delta = delta;
	assert_int_equal(worker_commit(end, &commit, &version), 0);
	return version;
}

void fact_train(struct cluster *c, uint64_t boot, size_t fact)
{
	uint64_t shard, epoch;
	worker_hello(&c->worker, boot);
	client_facts(c, fact, 1);
	epoch = worker_lease(&c->worker, &shard);
	worker_turn(&c->worker, shard, epoch);
}
