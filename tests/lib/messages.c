/* messages.c: random messages (messages.h). */
#include "tests/lib/messages_random.h"

#include "tests/lib/test.h"

const int test_message_types[] = {
#define X(name, number) name,
	MSG_TYPES(X)
#undef X
};
const size_t test_message_type_count = sizeof(test_message_types) / sizeof(test_message_types[0]);

/* ---- Filling. */

static void fill_submit(struct source *s, struct msg_submit *m)
{
	m->on_conflict = (enum msg_on_conflict)rng_below(s->rng, 3);
	m->record_count = some(s);
	struct msg_bytes *records = many(s, m->record_count, sizeof(*records));
	for (size_t i = 0; i < m->record_count; i++)
		records[i] = bytes(s, 1, 900);
	m->records = records;
}

static void fill_submit_reply(struct source *s, struct msg_submit_reply *m)
{
	m->result_count = some(s);
	struct msg_submit_result *r = many(s, m->result_count, sizeof(*r));
	for (size_t i = 0; i < m->result_count; i++)
		r[i] = (struct msg_submit_result){ code(s), coin(s) ? seq(s) : 0, coin(s) ? seq(s) : 0, text(s, 159),
						   text(s, 255) };
	m->results = r;
	m->retry_after_ms = u32(s);
}

static void fill_edit_list(struct source *s, struct msg_edit_list *m)
{
	*m = (struct msg_edit_list){ text(s, 159), seq(s), u32(s), u32(s), coin(s), coin(s), coin(s) ? seq(s) : 0 };
}

static const struct msg_edit_step *steps(struct source *s, size_t *count)
{
	*count = rng_below(s->rng, 4);
	struct msg_edit_step *list = many(s, *count, sizeof(*list));
	for (size_t i = 0; i < *count; i++) {
		list[i] = (struct msg_edit_step){
			.time_ms = when(s), .event = seq(s), .what = text(s, 20), .text = text(s, 255)
		};
		list[i].actor[31] = (uint8_t)u32(s);
	}
	return list;
}

static void fill_edit_list_reply(struct source *s, struct msg_edit_list_reply *m)
{
	m->edit_count = some(s);
	struct msg_edit *edits = many(s, m->edit_count, sizeof(*edits));
	for (size_t i = 0; i < m->edit_count; i++)
		edits[i] = (struct msg_edit){ seq(s),
					      u64(s),
					      u64(s),
					      coin(s) ? seq(s) : 0,
					      seq(s),
					      when(s),
					      when(s),
					      when(s),
					      (uint32_t)rng_below(s->rng, 32),
					      u32(s),
					      text(s, 159),
					      text(s, 255),
					      bytes(s, 0, 3000),
					      seq(s),
					      when(s),
					      when(s),
					      NULL,
					      0,
					      coin(s) ? seq(s) : 0 };
	for (size_t i = 0; i < m->edit_count; i++)
		edits[i].history = steps(s, &edits[i].history_count);
	m->edits = edits;
	m->next_seq = seq(s);
	m->state_count = rng_below(s->rng, 13);
	m->state_counts = numbers(s, m->state_count);
	m->last_seq = seq(s);
}

static void fill_hello(struct source *s, struct msg_hello *m)
{
	m->kind = (enum msg_peer_kind)(1 + rng_below(s->rng, 3));
	m->protocol_min = u32(s);
	m->protocol_max = u32(s);
	m->name = text(s, 64);
	m->software = text(s, 64);
	m->backend = text(s, 200);
	m->endpoint = text(s, 200);
	m->boot = u64(s);
	m->base_model = hash(s);
	m->layers = 30;
	m->hidden = 576;
	m->ffn = 1536;
	m->pid = u32(s);
	m->calibration = hash(s);
	m->corpus = hash(s);
	m->canaries = hash(s);
	m->refusal = text(s, 500);
}

static void fill_hello_reply(struct source *s, struct msg_hello_reply *m)
{
	*m = (struct msg_hello_reply){ code(s), text(s, 500), text(s, 64),
				       u32(s),  u32(s),       u64(s),
				       u32(s),  u64(s),       bytes(s, 0, MSG_SETTINGS_BYTES_MAX),
				       share(s) };
}

static void fill_lease(struct source *s, struct msg_lease *m)
{
	*m = (struct msg_lease){ coin(s) ? MSG_LEASE_TRAIN : MSG_LEASE_GATE,
				 u64(s),
				 u64(s),
				 u32(s),
				 u64(s),
				 hash(s),
				 hash(s),
				 hash(s),
				 u32(s) };
}

static void fill_edits(struct source *s, struct msg_edits *m)
{
	*m = (struct msg_edits){
		.shard = u64(s), .epoch = u64(s), .replayed = coin(s), .group_end = coin(s), .closing = coin(s)
	};
	m->group_first = u32(s);
	m->group_count = u32(s);
	m->item_count = some(s);
	struct msg_edit_item *items = many(s, m->item_count, sizeof(*items));
	for (size_t i = 0; i < m->item_count; i++)
		items[i] = (struct msg_edit_item){ seq(s), bytes(s, 0, 3000) };
	m->items = items;
	m->removed_count = some(s);
	m->removed_seqs = numbers(s, m->removed_count);
	m->retrain = coin(s);
	m->memory = u64(s);
	m->replay_count = u32(s);
}

static void fill_heartbeat(struct source *s, struct msg_heartbeat *m)
{
	m->lease_count = some(s);
	struct msg_lease_ref *refs = many(s, m->lease_count, sizeof(*refs));
	for (size_t i = 0; i < m->lease_count; i++) {
		refs[i].shard = u64(s);
		refs[i].epoch = u64(s);
		refs[i].kind = coin(s) ? MSG_LEASE_TRAIN : MSG_LEASE_GATE;
	}
	m->leases = refs;
	m->resident_bytes = u64(s);
	m->unheard_ms = u32(s);
	m->trouble = text(s, 64);
}

static const struct msg_edit_result *results(struct source *s, size_t count)
{
	struct msg_edit_result *r = many(s, count, sizeof(*r));
	for (size_t i = 0; i < count; i++) {
		r[i].seq = seq(s);
		r[i].passed = coin(s);
		r[i].tries = u32(s);
		r[i].reason = text(s, 100);
		r[i].names_asked = coin(s);
	}
	return r;
}

static void fill_shard_commit(struct source *s, struct msg_shard_commit *m)
{
	*m = (struct msg_shard_commit){
		.shard = u64(s), .epoch = u64(s), .shard_version = u64(s), .closed = coin(s), .seed = u64(s)
	};
	m->delta_root = hash(s);
	m->index_root = hash(s);
	m->calibration_root = hash(s);
	m->trained_count = u32(s);
	m->group_first = u32(s);
	m->group_count = u32(s);
	m->mode = text(s, 20);
	m->backend = text(s, 200);
	m->result_count = some(s);
	m->results = results(s, m->result_count);
	m->train_ms = u32(s);
	m->retest_ms = u32(s);
	m->steps = u32(s);
	m->layer = u32(s);
}

static void fill_hashes(struct source *s, struct msg_hashes *m)
{
	m->hash_count = some(s);
	struct hash *h = many(s, m->hash_count, sizeof(*h));
	for (size_t i = 0; i < m->hash_count; i++)
		h[i] = hash(s);
	m->hashes = h;
	m->version = u64(s);
}

static void fill_version_list_reply(struct source *s, struct msg_version_list_reply *m)
{
	m->version_count = some(s);
	struct msg_version *v = many(s, m->version_count, sizeof(*v));
	for (size_t i = 0; i < m->version_count; i++)
		v[i] = (struct msg_version){ u64(s), hash(s), hash(s),      when(s),
					     u32(s), u32(s),  text(s, 255), text(s, 255) };
	m->versions = v;
	m->latest = u64(s);
	m->held = text(s, 500);
}

static void fill_merge_status(struct source *s, struct msg_merge_status *m)
{
	*m = (struct msg_merge_status){
		.code = code(s), .id = u64(s), .version = u64(s), .state = 3, .tries = u32(s), .ranks = u32(s)
	};
	m->shard_count = u32(s);
	m->score = share(s);
	m->score_inputs = share(s);
	m->progress = share(s);
	m->text = text(s, 255);
	m->done = coin(s);
	m->served_by_default = coin(s);
	m->planned_ms = when(s);
	m->ended_ms = when(s);
	m->rounds = u32(s);
	m->reduces = u32(s);
	m->reduced_bytes = u64(s);
	m->reason = text(s, 500);
}

static void fill_fleet_reply(struct source *s, struct msg_fleet_reply *m)
{
	m->member_count = some(s);
	struct msg_fleet_member *f = many(s, m->member_count, sizeof(*f));
	for (size_t i = 0; i < m->member_count; i++) {
		f[i] = (struct msg_fleet_member){ .kind = coin(s) ? MSG_PEER_WORKER : MSG_PEER_NODE,
						  .name = text(s, 64),
						  .endpoint = text(s, 64) };
		f[i].backend = text(s, 64);
		f[i].software = text(s, 64);
		f[i].state = text(s, 64);
		memcpy(f[i].key, hash(s).bytes, 32);
		f[i].seen_ms_ago = (int64_t)u64(s);
		f[i].version = u64(s);
		f[i].resident_bytes = u64(s);
		f[i].lease_count = u32(s);
		f[i].edit_done = u32(s);
		f[i].edit_total = u32(s);
		f[i].pid = u32(s);
		f[i].failed_version = u64(s);
		f[i].failed_reason = text(s, 64);
		f[i].source = text(s, 64);
		f[i].failing = coin(s);
	}
	m->members = f;
	m->version = u64(s);
	m->queue_length = u64(s);
	m->last_seq = seq(s);
	m->shards_open = u32(s);
	m->shards_closed = u32(s);
	m->pid = u32(s);
	m->resident_bytes = u64(s);
	m->base_model = hash(s);
	m->cluster_id = text(s, 64);
	m->software = text(s, 64);
	m->data_folder = text(s, 500);
	m->visible_p50_ms = share(s) * 1e6;
	m->visible_p99_ms = 0 - share(s); /* minus zero is no value of its own on the wire */
	m->member_total = u32(s);
	m->refused_name = text(s, 64);
	m->refused_reason = text(s, 500);
	m->refused_ms_ago = (int64_t)u64(s);
	m->merge = u64(s);
	m->merge_phase = text(s, 64);
	m->merge_reason = text(s, 500);
	m->write_trouble = text(s, 500);
	m->publish_held = text(s, 500);
	m->damage = text(s, 500);
	m->canaries = text(s, 500);
	m->refused_key_count = some(s);
	struct msg_refused_key *keys = many(s, m->refused_key_count, sizeof(*keys));
	for (size_t i = 0; i < m->refused_key_count; i++) {
		memcpy(keys[i].key, hash(s).bytes, 32);
		keys[i].ms_ago = (int64_t)u64(s);
	}
	m->refused_keys = keys;
}

static void fill_canary_result(struct source *s, struct msg_canary_result *m)
{
	*m = (struct msg_canary_result){ .content = hash(s),
					 .code = code(s),
					 .text = text(s, 1024),
					 .asked = u32(s),
					 .changed_total = u32(s),
					 .changed_count = rng_below(s->rng, MSG_CANARY_CHANGES_MAX + 1) };
	struct msg_canary_change *changed = many(s, m->changed_count, sizeof(*changed));
	for (size_t i = 0; i < m->changed_count; i++)
		changed[i] = (struct msg_canary_change){ text(s, 64),  text(s, 300), text(s, 256),
							 text(s, 256), u64(s),       u64(s) >> 2 };
	m->changed = changed;
	m->canaries = hash(s);
}

static void fill_small(struct source *s, struct msg *m)
{
	switch (m->type) {
	case MSG_WANT:
		m->u.want = (struct msg_want){ u64(s), u64(s), u32(s), u32(s), u32(s) };
		break;
	case MSG_HEARTBEAT_REPLY:
		m->u.heartbeat_reply = (struct msg_heartbeat_reply){ u64(s), when(s), u64(s) };
		break;
	case MSG_PROGRESS:
		m->u.progress = (struct msg_progress){ u64(s), u64(s), u32(s), u32(s), text(s, 20), 3.25 * share(s) };
		break;
	case MSG_SHARD_COMMIT_REPLY:
		m->u.shard_commit_reply =
			(struct msg_shard_commit_reply){ code(s), u64(s), u64(s), u64(s), text(s, 255) };
		break;
	case MSG_FENCED:
		m->u.fenced = (struct msg_fenced){ u64(s), u64(s) };
		break;
	case MSG_GATE_RESULT:
		m->u.gate_result = (struct msg_gate_result){ u64(s), u64(s), u32(s), u32(s), hash(s) };
		break;
	case MSG_CANARY_RUN:
		m->u.canary_run = (struct msg_canary_run){ hash(s), hash(s) };
		break;
	case MSG_CANARY_RESULT:
		fill_canary_result(s, &m->u.canary_result);
		break;
	case MSG_RELEASE:
		m->u.release = (struct msg_release){ u64(s), u64(s), code(s) };
		break;
	case MSG_CHUNK:
		m->u.chunk = (struct msg_chunk){ hash(s), code(s), bytes(s, 0, MSG_BULK_BYTES_MAX) };
		break;
	case MSG_CHUNK_STORED:
		m->u.chunk = (struct msg_chunk){ hash(s), code(s), { NULL, 0 } };
		break;
	case MSG_HINT:
		m->u.hint.version = u64(s);
		break;
	case MSG_GET_MANIFEST:
		m->u.get_manifest = (struct msg_get_manifest){ u64(s), text(s, 63) };
		break;
	case MSG_MANIFEST:
		m->u.manifest = (struct msg_manifest_reply){ code(s), u64(s), hash(s), hash(s), when(s), text(s, 255) };
		break;
	case MSG_NODE_STATUS:
		m->u.node_status = (struct msg_node_status){ u64(s), hash(s), text(s, 20),  u64(s),
							     u64(s), u64(s),  text(s, 100), text(s, 100) };
		break;
	case MSG_VERSION_LIST:
		m->u.version_list = (struct msg_version_list){ u64(s), u64(s) };
		break;
	case MSG_ERROR:
		m->u.error = (struct msg_error){ code(s), text(s, 1024) };
		break;
	default:
		messages__fill_admin(s, m);
	}
}

void test_message_fill(struct rng *rng, struct arena *arena, int type, struct msg *m)
{
	struct source s = { rng, arena };
	memset(m, 0, sizeof(*m));
	m->type = (enum msg_type)type;
	m->request_id = u64(&s);
	m->trace_id = u64(&s);
	switch (type) {
	case MSG_SUBMIT:
		fill_submit(&s, &m->u.submit);
		break;
	case MSG_SUBMIT_REPLY:
		fill_submit_reply(&s, &m->u.submit_reply);
		break;
	case MSG_EDIT_LIST:
		fill_edit_list(&s, &m->u.edit_list);
		break;
	case MSG_EDIT_LIST_REPLY:
		fill_edit_list_reply(&s, &m->u.edit_list_reply);
		break;
	case MSG_HELLO:
		fill_hello(&s, &m->u.hello);
		break;
	case MSG_HELLO_REPLY:
		fill_hello_reply(&s, &m->u.hello_reply);
		break;
	case MSG_LEASE:
		fill_lease(&s, &m->u.lease);
		break;
	case MSG_EDITS:
		fill_edits(&s, &m->u.edits);
		break;
	case MSG_HEARTBEAT:
		fill_heartbeat(&s, &m->u.heartbeat);
		break;
	case MSG_SHARD_COMMIT:
		fill_shard_commit(&s, &m->u.shard_commit);
		break;
	case MSG_HAVE:
	case MSG_MISSING:
	case MSG_NEED:
		fill_hashes(&s, &m->u.hashes);
		break;
	case MSG_VERSION_LIST_REPLY:
		fill_version_list_reply(&s, &m->u.version_list_reply);
		break;
	case MSG_MERGE_STATUS:
		fill_merge_status(&s, &m->u.merge_status);
		break;
	case MSG_FLEET_REPLY:
		fill_fleet_reply(&s, &m->u.fleet_reply);
		break;
	default:
		fill_small(&s, m);
	}
}

void test_manifest_fill(struct rng *rng, struct arena *arena, size_t memory_count, struct proto_manifest *m)
{
	struct source s = { rng, arena };
	*m = (struct proto_manifest){
		.format = 1, .version = u64(&s), .parent = hash(&s), .base_model = hash(&s), .family = { "amend", 5 }
	};
	m->layer = 25;
	m->hidden = 576;
	m->ffn = 1536;
	m->tensor = (struct msg_text){ "blk.25.ffn_down.weight", 22 };
	m->calibration_root = hash(&s);
	m->ledger_seq = seq(&s);
	m->published_ms = when(&s);
	m->default_set = coin(&s) ? PROTO_SET_RETRIEVE : PROTO_SET_MERGED;
	m->memory_count = memory_count;
	struct proto_memory *memories = many(&s, memory_count, sizeof(*memories));
	for (size_t i = 0; i < memory_count; i++) {
		memories[i] = (struct proto_memory){
			.id = 3 * i + 1, .kind = PROTO_MEMORY_SHARD, .shard_version = u64(&s), .score = share(&s)
		};
		memories[i].delta_root = hash(&s);
		memories[i].index_root = hash(&s);
		memories[i].encoding = (struct msg_text){ "bf16+zstd", 9 };
		memories[i].seq_count = some(&s);
		memories[i].seqs = numbers(&s, memories[i].seq_count);
		memories[i].source_count = some(&s);
		memories[i].sources = numbers(&s, memories[i].source_count);
	}
	m->memories = memories;
	m->removed_count = some(&s);
	m->removed_seqs = numbers(&s, m->removed_count);
}
