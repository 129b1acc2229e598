/* messages_dump.c: the contents of messages as bytes (messages.h). */
#include "tests/lib/messages.h"

#include "tests/lib/test.h"

#define PUT(x) buf_append(out, &(x), sizeof(x))

static void put_bytes(struct buf *out, const void *b, size_t len)
{
	buf_u64le(out, len);
	if (len > 0)
		buf_append(out, b, len);
}
#define PUT_TEXT(t)  put_bytes(out, (t).text, (t).len)
#define PUT_BYTES(b) put_bytes(out, (b).bytes, (b).len)

static void dump_results(const struct msg_edit_result *r, size_t count, struct buf *out)
{
	PUT(count);
	for (size_t i = 0; i < count; i++) {
		PUT(r[i].seq);
		PUT(r[i].passed);
		PUT(r[i].tries);
		PUT(r[i].names_asked);
		PUT_TEXT(r[i].reason);
	}
}

static void dump_submits(const struct msg *m, struct buf *out)
{
	const struct msg_submit *s = &m->u.submit;
	const struct msg_submit_reply *r = &m->u.submit_reply;
	if (m->type == MSG_SUBMIT) {
		PUT(s->on_conflict);
		for (size_t i = 0; i < s->record_count; i++)
			PUT_BYTES(s->records[i]);
		return;
	}
	for (size_t i = 0; i < r->result_count; i++) {
		PUT(r->results[i].code);
		PUT(r->results[i].seq);
		PUT(r->results[i].supersedes);
		PUT_TEXT(r->results[i].id);
		PUT_TEXT(r->results[i].reason);
	}
	PUT(r->retry_after_ms);
}

static void dump_edit_list_reply(const struct msg_edit_list_reply *m, struct buf *out)
{
	for (size_t i = 0; i < m->edit_count; i++) {
		const struct msg_edit *x = &m->edits[i];
		buf_append(out, x, offsetof(struct msg_edit, id));
		PUT_TEXT(x->id);
		PUT_TEXT(x->reason);
		PUT_BYTES(x->payload);
		PUT(x->restores);
		PUT(x->valid_from_ms);
		PUT(x->expires_ms);
		PUT(x->ended_event);
		for (size_t k = 0; k < x->history_count; k++) {
			PUT(x->history[k].time_ms);
			PUT(x->history[k].event);
			PUT(x->history[k].actor);
			PUT_TEXT(x->history[k].what);
			PUT_TEXT(x->history[k].text);
		}
	}
	PUT(m->next_seq);
	put_bytes(out, m->state_counts, m->state_count * sizeof(uint64_t));
	PUT(m->last_seq);
}

static void dump_hello(const struct msg_hello *m, struct buf *out)
{
	PUT(m->kind);
	PUT(m->protocol_min);
	PUT(m->protocol_max);
	PUT_TEXT(m->name);
	PUT_TEXT(m->software);
	PUT_TEXT(m->backend);
	PUT_TEXT(m->endpoint);
	PUT(m->boot);
	PUT(m->base_model);
	PUT(m->layers);
	PUT(m->hidden);
	PUT(m->ffn);
	PUT(m->pid);
	PUT(m->calibration);
	PUT(m->corpus);
	PUT(m->canaries);
	PUT_TEXT(m->refusal);
}

static void dump_hello_reply(const struct msg_hello_reply *m, struct buf *out)
{
	PUT(m->code);
	PUT_TEXT(m->text);
	PUT_TEXT(m->cluster_id);
	PUT(m->heartbeat_ms);
	PUT(m->lease_ms);
	PUT(m->seed);
	PUT(m->layer);
	PUT(m->version);
	PUT_BYTES(m->settings);
	PUT(m->rate);
}

static void dump_edits(const struct msg_edits *m, struct buf *out)
{
	PUT(m->shard);
	PUT(m->epoch);
	PUT(m->replayed);
	PUT(m->group_end);
	PUT(m->closing);
	PUT(m->group_first);
	PUT(m->group_count);
	for (size_t i = 0; i < m->item_count; i++) {
		PUT(m->items[i].seq);
		PUT_BYTES(m->items[i].payload);
	}
	put_bytes(out, m->removed_seqs, m->removed_count * sizeof(uint64_t));
	PUT(m->retrain);
	PUT(m->memory);
	PUT(m->replay_count);
}

static void dump_heartbeat(const struct msg_heartbeat *m, struct buf *out)
{
	for (size_t i = 0; i < m->lease_count; i++) {
		PUT(m->leases[i].shard);
		PUT(m->leases[i].epoch);
		PUT(m->leases[i].kind);
	}
	PUT(m->resident_bytes);
	PUT(m->unheard_ms);
	PUT_TEXT(m->trouble);
}

static void dump_shard_commit(const struct msg_shard_commit *m, struct buf *out)
{
	PUT(m->shard);
	PUT(m->epoch);
	PUT(m->shard_version);
	PUT(m->delta_root);
	PUT(m->index_root);
	PUT(m->calibration_root);
	PUT(m->trained_count);
	PUT(m->group_first);
	PUT(m->group_count);
	PUT(m->closed);
	PUT(m->seed);
	PUT_TEXT(m->mode);
	PUT_TEXT(m->backend);
	dump_results(m->results, m->result_count, out);
	PUT(m->train_ms);
	PUT(m->retest_ms);
	PUT(m->steps);
	PUT(m->layer);
}

static void dump_version_list_reply(const struct msg_version_list_reply *m, struct buf *out)
{
	for (size_t i = 0; i < m->version_count; i++) {
		PUT(m->versions[i].version);
		PUT(m->versions[i].root);
		PUT(m->versions[i].content);
		PUT(m->versions[i].published_ms);
		PUT(m->versions[i].memory_count);
		PUT(m->versions[i].edit_count);
		PUT_TEXT(m->versions[i].note);
		PUT_TEXT(m->versions[i].problem);
	}
	PUT(m->latest);
	PUT_TEXT(m->held);
}

static void dump_event_list_reply(const struct msg_event_list_reply *m, struct buf *out)
{
	for (size_t i = 0; i < m->event_count; i++) {
		PUT(m->events[i].seq);
		PUT(m->events[i].type);
		PUT(m->events[i].time_ms);
		PUT(m->events[i].actor);
		PUT_TEXT(m->events[i].actor_name);
		PUT_TEXT(m->events[i].edit);
		PUT_BYTES(m->events[i].payload);
		PUT(m->events[i].omitted);
	}
	PUT(m->next_seq);
	PUT(m->last_seq);
}

static void dump_merge_status(const struct msg_merge_status *m, struct buf *out)
{
	PUT(m->code);
	PUT(m->id);
	PUT(m->version);
	PUT(m->state);
	PUT(m->tries);
	PUT(m->ranks);
	PUT(m->shard_count);
	PUT(m->score);
	PUT(m->score_inputs);
	PUT(m->progress);
	PUT_TEXT(m->text);
	PUT(m->done);
	PUT(m->served_by_default);
	PUT(m->planned_ms);
	PUT(m->ended_ms);
	PUT(m->rounds);
	PUT(m->reduces);
	PUT(m->reduced_bytes);
	PUT_TEXT(m->reason);
}

static void dump_fleet_reply(const struct msg_fleet_reply *m, struct buf *out)
{
	for (size_t i = 0; i < m->member_count; i++) {
		const struct msg_fleet_member *f = &m->members[i];
		PUT(f->kind);
		PUT_TEXT(f->name);
		PUT_TEXT(f->endpoint);
		PUT_TEXT(f->backend);
		PUT_TEXT(f->software);
		PUT_TEXT(f->state);
		PUT(f->key);
		PUT(f->seen_ms_ago);
		PUT(f->version);
		PUT(f->resident_bytes);
		PUT(f->lease_count);
		PUT(f->edit_done);
		PUT(f->edit_total);
		PUT(f->pid);
		PUT(f->failed_version);
		PUT_TEXT(f->failed_reason);
		PUT_TEXT(f->source);
		PUT(f->failing);
	}
	PUT(m->version);
	PUT(m->queue_length);
	PUT(m->last_seq);
	PUT(m->shards_open);
	PUT(m->shards_closed);
	PUT(m->pid);
	PUT(m->resident_bytes);
	PUT(m->base_model);
	PUT_TEXT(m->cluster_id);
	PUT_TEXT(m->software);
	PUT_TEXT(m->data_folder);
	PUT(m->visible_p50_ms);
	PUT(m->visible_p99_ms);
	PUT(m->member_total);
	PUT_TEXT(m->refused_name);
	PUT_TEXT(m->refused_reason);
	PUT(m->refused_ms_ago);
	PUT(m->merge);
	PUT_TEXT(m->merge_phase);
	PUT_TEXT(m->merge_reason);
	PUT_TEXT(m->write_trouble);
	PUT_TEXT(m->publish_held);
	PUT_TEXT(m->damage);
	PUT_TEXT(m->canaries);
	for (size_t i = 0; i < m->refused_key_count; i++) {
		PUT(m->refused_keys[i].key);
		PUT(m->refused_keys[i].ms_ago);
	}
}

/* What administrators say of edits and versions. */
static void dump_judged(const struct msg *m, struct buf *out)
{
	switch (m->type) {
	case MSG_REVOKE:
		PUT_TEXT(m->u.revoke.id);
		PUT_TEXT(m->u.revoke.group);
		PUT_TEXT(m->u.revoke.reason);
		PUT(m->u.revoke.restore_superseded);
		break;
	case MSG_PUBLISH:
		PUT(m->u.publish.action);
		PUT(m->u.publish.version);
		PUT_TEXT(m->u.publish.reason);
		PUT(m->u.publish.content);
		break;
	case MSG_PUBLISH_REPLY:
		PUT(m->u.publish_reply.code);
		PUT(m->u.publish_reply.version);
		PUT(m->u.publish_reply.content);
		PUT(m->u.publish_reply.back_count);
		PUT(m->u.publish_reply.already);
		PUT_TEXT(m->u.publish_reply.text);
		break;
	case MSG_CANDIDATE_REPLY:
		PUT_TEXT(m->u.candidate_reply.state);
		PUT(m->u.candidate_reply.version);
		PUT(m->u.candidate_reply.content);
		PUT(m->u.candidate_reply.made_ms);
		PUT(m->u.candidate_reply.memory_count);
		PUT(m->u.candidate_reply.edit_count);
		put_bytes(out, m->u.candidate_reply.added, m->u.candidate_reply.added_count * sizeof(uint64_t));
		put_bytes(out, m->u.candidate_reply.removed, m->u.candidate_reply.removed_count * sizeof(uint64_t));
		PUT(m->u.candidate_reply.added_total);
		PUT(m->u.candidate_reply.removed_total);
		PUT(m->u.candidate_reply.canaries);
		PUT(m->u.candidate_reply.canaries_changed);
		put_bytes(out, m->u.candidate_reply.blamed, m->u.candidate_reply.blamed_count * sizeof(uint64_t));
		put_bytes(out, m->u.candidate_reply.withheld, m->u.candidate_reply.withheld_count * sizeof(uint64_t));
		PUT(m->u.candidate_reply.withheld_total);
		PUT_TEXT(m->u.candidate_reply.text);
		break;
	case MSG_REVOKE_REPLY:
		PUT(m->u.revoke_reply.code);
		PUT(m->u.revoke_reply.version);
		PUT(m->u.revoke_reply.revoked_count);
		PUT(m->u.revoke_reply.restored_count);
		PUT(m->u.revoke_reply.already);
		PUT_TEXT(m->u.revoke_reply.text);
		for (size_t i = 0; i < m->u.revoke_reply.restored_listed; i++)
			PUT_TEXT(m->u.revoke_reply.restored[i].id);
		break;
	default:
		assert_true(m->type == MSG_FLEET || m->type == MSG_CANDIDATE || m->type == MSG_SHUTDOWN);
	}
}

/* Versions, and what is asked of them. */
static void dump_published(const struct msg *m, struct buf *out)
{
	switch (m->type) {
	case MSG_GET_MANIFEST:
		PUT(m->u.get_manifest.version);
		PUT_TEXT(m->u.get_manifest.alias);
		break;
	case MSG_MANIFEST:
		PUT(m->u.manifest.code);
		PUT(m->u.manifest.version);
		PUT(m->u.manifest.root);
		PUT(m->u.manifest.content);
		PUT(m->u.manifest.published_ms);
		PUT_TEXT(m->u.manifest.note);
		break;
	case MSG_NODE_STATUS:
		PUT(m->u.node_status.version);
		PUT(m->u.node_status.content);
		PUT_TEXT(m->u.node_status.state);
		PUT(m->u.node_status.resident_bytes);
		PUT(m->u.node_status.requests);
		PUT(m->u.node_status.failed_version);
		PUT_TEXT(m->u.node_status.failed_reason);
		PUT_TEXT(m->u.node_status.source);
		break;
	case MSG_VERSION_LIST:
		PUT(m->u.version_list);
		break;
	case MSG_HINT:
	case MSG_MERGE_RUN:
		PUT(m->u.hint.version); /* both are one number */
		break;
	case MSG_EVENT_LIST:
		PUT(m->u.event_list);
		break;
	case MSG_EVENT_LIST_REPLY:
		dump_event_list_reply(&m->u.event_list_reply, out);
		break;
	case MSG_STORE_RUN:
		PUT(m->u.store_run.id);
		PUT(m->u.store_run.action);
		PUT_TEXT(m->u.store_run.folder);
		PUT(m->u.store_run.keep_versions);
		break;
	case MSG_STORE_STATUS:
		PUT(m->u.store_status.code);
		PUT(m->u.store_status.done);
		PUT(m->u.store_status.event_count);
		PUT(m->u.store_status.version_count);
		PUT(m->u.store_status.chunk_count);
		PUT(m->u.store_status.byte_count);
		PUT(m->u.store_status.bad_count);
		PUT_TEXT(m->u.store_status.text);
		break;
	case MSG_ERROR:
		PUT(m->u.error.code);
		PUT_TEXT(m->u.error.text);
		break;
	default:
		dump_judged(m, out);
	}
}

static void dump_key(const struct msg_key *key, struct buf *out)
{
	PUT(key->key);
	PUT(key->roles);
	PUT_TEXT(key->name);
}

static void dump_keys(const struct msg *m, struct buf *out)
{
	switch (m->type) {
	case MSG_KEY_LIST:
	case MSG_READER_LIST:
		PUT(m->u.key_list.from);
		break;
	case MSG_KEY_LIST_REPLY:
	case MSG_READER_LIST_REPLY:
		for (size_t i = 0; i < m->u.key_list_reply.key_count; i++)
			dump_key(&m->u.key_list_reply.keys[i], out);
		PUT(m->u.key_list_reply.total);
		break;
	case MSG_KEY_CHANGE:
		PUT(m->u.key_change.action);
		dump_key(&m->u.key_change.key, out);
		PUT_TEXT(m->u.key_change.reason);
		PUT(m->u.key_change.replaces);
		break;
	case MSG_KEY_CHANGE_REPLY:
		PUT(m->u.key_change_reply.code);
		PUT(m->u.key_change_reply.already);
		PUT_TEXT(m->u.key_change_reply.text);
		break;
	default:
		dump_published(m, out);
	}
}

static void dump_small(const struct msg *m, struct buf *out)
{
	switch (m->type) {
	case MSG_EDIT_LIST:
		PUT_TEXT(m->u.edit_list.id);
		PUT(m->u.edit_list.from_seq);
		PUT(m->u.edit_list.state_mask);
		PUT(m->u.edit_list.limit);
		PUT(m->u.edit_list.with_payload);
		PUT(m->u.edit_list.counts_only);
		PUT(m->u.edit_list.ended_after);
		break;
	case MSG_WANT:
		buf_append(out, &m->u.want, offsetof(struct msg_want, replay_count));
		PUT(m->u.want.replay_count);
		break;
	case MSG_HEARTBEAT_REPLY:
		PUT(m->u.heartbeat_reply);
		break;
	case MSG_PROGRESS:
		buf_append(out, &m->u.progress, offsetof(struct msg_progress, phase));
		PUT_TEXT(m->u.progress.phase);
		PUT(m->u.progress.loss);
		break;
	case MSG_SHARD_COMMIT_REPLY:
		PUT(m->u.shard_commit_reply.code);
		PUT(m->u.shard_commit_reply.shard);
		PUT(m->u.shard_commit_reply.epoch);
		PUT(m->u.shard_commit_reply.version);
		PUT_TEXT(m->u.shard_commit_reply.text);
		break;
	case MSG_FENCED:
		PUT(m->u.fenced);
		break;
	case MSG_GATE_RESULT:
		PUT(m->u.gate_result);
		break;
	case MSG_CANARY_RUN:
		PUT(m->u.canary_run);
		break;
	case MSG_CANARY_RESULT:
		PUT(m->u.canary_result.content);
		PUT(m->u.canary_result.code);
		PUT_TEXT(m->u.canary_result.text);
		PUT(m->u.canary_result.asked);
		PUT(m->u.canary_result.changed_total);
		PUT(m->u.canary_result.canaries);
		for (size_t i = 0; i < m->u.canary_result.changed_count; i++) {
			PUT_TEXT(m->u.canary_result.changed[i].id);
			PUT_TEXT(m->u.canary_result.changed[i].prompt);
			PUT_TEXT(m->u.canary_result.changed[i].before);
			PUT_TEXT(m->u.canary_result.changed[i].after);
			PUT(m->u.canary_result.changed[i].memory);
			PUT(m->u.canary_result.changed[i].edit);
		}
		break;
	case MSG_RELEASE:
		PUT(m->u.release.shard);
		PUT(m->u.release.epoch);
		PUT(m->u.release.code);
		break;
	case MSG_CHUNK:
	case MSG_CHUNK_STORED:
		PUT(m->u.chunk.hash);
		PUT(m->u.chunk.code);
		PUT_BYTES(m->u.chunk.data);
		break;
	default:
		dump_keys(m, out);
	}
}

static void dump_lease(const struct msg_lease *m, struct buf *out)
{
	PUT(m->kind);
	PUT(m->shard);
	PUT(m->epoch);
	PUT(m->lease_ms);
	PUT(m->shard_version);
	PUT(m->delta_root);
	PUT(m->index_root);
	PUT(m->calibration_root);
	PUT(m->trained_count);
}

void test_message_dump(const struct msg *m, struct buf *out)
{
	PUT(m->type);
	PUT(m->request_id);
	PUT(m->trace_id);
	switch ((int)m->type) {
	case MSG_SUBMIT:
	case MSG_SUBMIT_REPLY:
		dump_submits(m, out);
		break;
	case MSG_EDIT_LIST_REPLY:
		dump_edit_list_reply(&m->u.edit_list_reply, out);
		break;
	case MSG_HELLO:
		dump_hello(&m->u.hello, out);
		break;
	case MSG_HELLO_REPLY:
		dump_hello_reply(&m->u.hello_reply, out);
		break;
	case MSG_LEASE:
		dump_lease(&m->u.lease, out);
		break;
	case MSG_EDITS:
		dump_edits(&m->u.edits, out);
		break;
	case MSG_HEARTBEAT:
		dump_heartbeat(&m->u.heartbeat, out);
		break;
	case MSG_SHARD_COMMIT:
		dump_shard_commit(&m->u.shard_commit, out);
		break;
	case MSG_HAVE:
	case MSG_MISSING:
	case MSG_NEED:
		put_bytes(out, m->u.hashes.hashes, m->u.hashes.hash_count * sizeof(struct hash));
		PUT(m->u.hashes.version);
		break;
	case MSG_VERSION_LIST_REPLY:
		dump_version_list_reply(&m->u.version_list_reply, out);
		break;
	case MSG_MERGE_STATUS:
		dump_merge_status(&m->u.merge_status, out);
		break;
	case MSG_FLEET_REPLY:
		dump_fleet_reply(&m->u.fleet_reply, out);
		break;
	default:
		dump_small(m, out);
	}
}

void test_manifest_dump(const struct proto_manifest *m, struct buf *out)
{
	PUT(m->format);
	PUT(m->version);
	PUT(m->parent);
	PUT(m->base_model);
	PUT_TEXT(m->family);
	PUT(m->layer);
	PUT(m->hidden);
	PUT(m->ffn);
	PUT_TEXT(m->tensor);
	PUT(m->calibration_root);
	PUT(m->ledger_seq);
	PUT(m->published_ms);
	PUT(m->default_set);
	for (size_t i = 0; i < m->memory_count; i++) {
		const struct proto_memory *x = &m->memories[i];
		PUT(x->id);
		PUT(x->kind);
		PUT(x->shard_version);
		PUT(x->delta_root);
		PUT(x->index_root);
		PUT_TEXT(x->encoding);
		put_bytes(out, x->seqs, x->seq_count * sizeof(uint64_t));
		put_bytes(out, x->sources, x->source_count * sizeof(uint64_t));
		PUT(x->score);
	}
	put_bytes(out, m->removed_seqs, m->removed_count * sizeof(uint64_t));
}
