#include "tests/lib/messages.h"

#include "tests/lib/test.h"

const int test_message_types[] = {
	MSG_SUBMIT,
	MSG_SUBMIT_REPLY,
	MSG_EDIT_LIST,
	MSG_EDIT_LIST_REPLY,
	MSG_HELLO,
	MSG_HELLO_REPLY,
	MSG_LEASE,
	MSG_WANT,
	MSG_EDITS,
	MSG_HEARTBEAT,
	MSG_HEARTBEAT_REPLY,
	MSG_PROGRESS,
	MSG_SHARD_COMMIT,
	MSG_SHARD_COMMIT_REPLY,
	MSG_FENCED,
	MSG_GATE_RESULT,
	MSG_RELEASE,
	MSG_HAVE,
	MSG_MISSING,
	MSG_NEED,
	MSG_CHUNK,
	MSG_CHUNK_STORED,
	MSG_HINT,
	MSG_GET_MANIFEST,
	MSG_MANIFEST,
	MSG_NODE_STATUS,
	MSG_VERSION_LIST,
	MSG_VERSION_LIST_REPLY,
	MSG_MERGE_RUN,
	MSG_MERGE_STATUS,
	MSG_FLEET,
	MSG_FLEET_REPLY,
	MSG_SHUTDOWN,
	MSG_REVOKE,
	MSG_REVOKE_REPLY,
	MSG_ERROR,
};
const size_t test_message_type_count = sizeof(test_message_types) / sizeof(test_message_types[0]);

/* ---- Random values: small ones, large ones and the ends. */

struct source {
	struct rng *rng;
	struct arena *arena;
};

static uint64_t u64(struct source *s)
{
	uint64_t v = rng_u64(s->rng);
	return rng_below(s->rng, 8) == 0 ? UINT64_MAX : v >> rng_below(s->rng, 64);
}

static uint32_t u32(struct source *s)
{
	return rng_below(s->rng, 8) == 0 ? UINT32_MAX : (uint32_t)rng_u64(s->rng) >> rng_below(s->rng, 32);
}

static uint64_t seq(struct source *s)
{
	return 1 + rng_below(s->rng, (UINT64_C(1) << 62) - 1);
}

static int64_t when(struct source *s)
{
	return (int64_t)rng_below(s->rng, 253402300799999);
}

static bool coin(struct source *s)
{
	return rng_below(s->rng, 2) == 1;
}

static double share(struct source *s)
{
	return (double)rng_below(s->rng, 1001) / 1000;
}

static int code(struct source *s)
{
	return -(int)rng_below(s->rng, 21);
}

static struct hash hash(struct source *s)
{
	struct hash h = { { 0 } };
	if (rng_below(s->rng, 4) != 0)
		for (size_t i = 0; i < HASH_BYTES; i++)
			h.bytes[i] = (uint8_t)rng_u64(s->rng);
	return h;
}

static void *many(struct source *s, size_t count, size_t bytes)
{
	void *p = count == 0 ? NULL : arena_array(s->arena, count, bytes);
	assert_true(count == 0 || p != NULL);
	if (count > 0)
		memset(p, 0, count * bytes);
	return p;
}

static struct msg_text text(struct source *s, size_t max)
{
	static const char *const pieces[] = {
		"a", "Z", " ", "\n", "\"", "%n", "é", "世", "\xf0\x9f\x8d\x8b", "\xef\xbf\xbf", "\x7f", "\x1b[0m"
	};
	size_t len = rng_below(s->rng, 3) == 0 ? 0 : rng_below(s->rng, max + 1), at = 0;
	char *t = arena_alloc(s->arena, max + 1);
	assert_non_null(t);
	while (at < len) {
		const char *piece = pieces[rng_below(s->rng, sizeof(pieces) / sizeof(pieces[0]))];
		if (at + strlen(piece) > max)
			break;
		memcpy(t + at, piece, strlen(piece));
		at += strlen(piece);
	}
	return (struct msg_text){ t, at };
}

static struct msg_bytes bytes(struct source *s, size_t min, size_t max)
{
	size_t len = min + rng_below(s->rng, max - min + 1);
	uint8_t *b = many(s, len, 1);
	for (size_t i = 0; i < len; i++)
		b[i] = (uint8_t)rng_u64(s->rng);
	return (struct msg_bytes){ b, len };
}

static const uint64_t *numbers(struct source *s, size_t count)
{
	uint64_t *n = many(s, count, sizeof(*n));
	for (size_t i = 0; i < count; i++)
		n[i] = u64(s);
	return n;
}

static size_t some(struct source *s)
{
	return rng_below(s->rng, 4) == 0 ? 0 : rng_below(s->rng, 40);
}

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
	*m = (struct msg_edit_list){ text(s, 159), seq(s), u32(s), u32(s), coin(s), coin(s) };
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
					      0 };
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
}

static const struct msg_edit_result *results(struct source *s, size_t count)
{
	struct msg_edit_result *r = many(s, count, sizeof(*r));
	for (size_t i = 0; i < count; i++) {
		r[i].seq = seq(s);
		r[i].passed = coin(s);
		r[i].tries = u32(s);
		r[i].reason = text(s, 100);
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
}

static void fill_hashes(struct source *s, struct msg_hashes *m)
{
	m->hash_count = some(s);
	struct hash *h = many(s, m->hash_count, sizeof(*h));
	for (size_t i = 0; i < m->hash_count; i++)
		h[i] = hash(s);
	m->hashes = h;
}

static void fill_version_list_reply(struct source *s, struct msg_version_list_reply *m)
{
	m->version_count = some(s);
	struct msg_version *v = many(s, m->version_count, sizeof(*v));
	for (size_t i = 0; i < m->version_count; i++)
		v[i] = (struct msg_version){ u64(s), hash(s), hash(s), when(s), u32(s), u32(s), text(s, 255) };
	m->versions = v;
	m->latest = u64(s);
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
	m->visible_p99_ms = -share(s);
	m->member_total = u32(s);
}

static void fill_small(struct source *s, struct msg *m)
{
	switch (m->type) {
	case MSG_WANT:
		m->u.want = (struct msg_want){ u64(s), u64(s), u32(s), u32(s), u32(s) };
		break;
	case MSG_HEARTBEAT_REPLY:
		m->u.heartbeat_reply = (struct msg_heartbeat_reply){ u64(s), when(s) };
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
		m->u.node_status = (struct msg_node_status){ u64(s), hash(s), text(s, 20), u64(s), u64(s) };
		break;
	case MSG_VERSION_LIST:
		m->u.version_list = (struct msg_version_list){ u64(s), u64(s) };
		break;
	case MSG_MERGE_RUN:
		m->u.merge_run.id = u64(s);
		break;
	case MSG_REVOKE:
		m->u.revoke = (struct msg_revoke){ text(s, 159), text(s, 2000), text(s, 1024), coin(s) };
		break;
	case MSG_REVOKE_REPLY:
		m->u.revoke_reply =
			(struct msg_revoke_reply){ code(s), u64(s), u32(s), u32(s), coin(s), text(s, 1024) };
		break;
	case MSG_ERROR:
		m->u.error = (struct msg_error){ code(s), text(s, 1024) };
		break;
	default:
		assert_true(m->type == MSG_FLEET || m->type == MSG_SHUTDOWN);
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

/* ---- Dumping. */

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
	}
	PUT(m->latest);
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
		break;
	case MSG_VERSION_LIST:
		PUT(m->u.version_list);
		break;
	case MSG_HINT:
	case MSG_MERGE_RUN:
		PUT(m->u.hint.version); /* both are one number */
		break;
	case MSG_REVOKE:
		PUT_TEXT(m->u.revoke.id);
		PUT_TEXT(m->u.revoke.group);
		PUT_TEXT(m->u.revoke.reason);
		PUT(m->u.revoke.restore_superseded);
		break;
	case MSG_REVOKE_REPLY:
		PUT(m->u.revoke_reply.code);
		PUT(m->u.revoke_reply.version);
		PUT(m->u.revoke_reply.revoked_count);
		PUT(m->u.revoke_reply.restored_count);
		PUT(m->u.revoke_reply.already);
		PUT_TEXT(m->u.revoke_reply.text);
		break;
	case MSG_ERROR:
		PUT(m->u.error.code);
		PUT_TEXT(m->u.error.text);
		break;
	default:
		assert_true(m->type == MSG_FLEET || m->type == MSG_SHUTDOWN);
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
