/* codec.c: the frame, and the table of message types with their caps. */
#include "proto/codec_wire.h"

#include "base/fault.h"

#include <stdlib.h>
#include <string.h>

#define KIB               1024
#define FIELDS_MAX        65536 /* the most are a FleetReply's: its members' */
#define UNPACK_BYTES_MAX  (8u << 20)
#define ARENA_BLOCK_BYTES 4096
#define ARENA_BYTES_MAX   (8u << 20)

_Static_assert(1024 + CODEC_MEMBERS_MAX * CODEC_MEMBER_FIELDS <= FIELDS_MAX, "a FleetReply passes its own scan");

static const char magic[4] = { 'A', 'M', 'N', 'D' };

static const struct type_row {
	enum msg_type type;
	const char *name;
	size_t body_cap;
	const struct codec__table *table;
} types[] = {
	{ MSG_SUBMIT, "Submit", 64 * KIB, &codec__submit },
	{ MSG_SUBMIT_REPLY, "SubmitReply", 256 * KIB, &codec__submit_reply },
	{ MSG_EDIT_LIST, "EditList", 1 * KIB, &codec__edit_list },
	{ MSG_EDIT_LIST_REPLY, "EditListReply", 256 * KIB, &codec__edit_list_reply },
	{ MSG_HELLO, "Hello", 4 * KIB, &codec__hello },
	{ MSG_HELLO_REPLY, "HelloReply", 16 * KIB, &codec__hello_reply },
	{ MSG_LEASE, "Lease", 1 * KIB, &codec__lease },
	{ MSG_WANT, "Want", 1 * KIB, &codec__want },
	{ MSG_EDITS, "Edits", 256 * KIB, &codec__edits },
	{ MSG_HEARTBEAT, "Heartbeat", 64 * KIB, &codec__heartbeat },
	{ MSG_HEARTBEAT_REPLY, "HeartbeatReply", 1 * KIB, &codec__heartbeat_reply },
	{ MSG_PROGRESS, "Progress", 1 * KIB, &codec__progress },
	{ MSG_SHARD_COMMIT, "ShardCommit", 256 * KIB, &codec__shard_commit },
	{ MSG_SHARD_COMMIT_REPLY, "ShardCommitReply", 4 * KIB, &codec__shard_commit_reply },
	{ MSG_FENCED, "Fenced", 1 * KIB, &codec__fenced },
	{ MSG_GATE_RESULT, "GateResult", 1 * KIB, &codec__gate_result },
	{ MSG_RELEASE, "Release", 1 * KIB, &codec__release },
	{ MSG_CANARY_RUN, "CanaryRun", 1 * KIB, &codec__canary_run },
	{ MSG_CANARY_RESULT, "CanaryResult", 96 * KIB, &codec__canary_result },
	{ MSG_HAVE, "Have", 72 * KIB, &codec__hashes },
	{ MSG_MISSING, "Missing", 72 * KIB, &codec__hashes },
	{ MSG_NEED, "Need", 72 * KIB, &codec__hashes },
	{ MSG_CHUNK, "Chunk", 1 * KIB, &codec__chunk },
	{ MSG_CHUNK_STORED, "ChunkStored", 1 * KIB, &codec__chunk },
	{ MSG_HINT, "Hint", 1 * KIB, &codec__hint },
	{ MSG_GET_MANIFEST, "GetManifest", 1 * KIB, &codec__get_manifest },
	{ MSG_MANIFEST, "Manifest", 4 * KIB, &codec__manifest_reply },
	{ MSG_NODE_STATUS, "NodeStatus", 2 * KIB, &codec__node_status },
	{ MSG_VERSION_LIST, "VersionList", 1 * KIB, &codec__version_list },
	{ MSG_VERSION_LIST_REPLY, "VersionListReply", 256 * KIB, &codec__version_list_reply },
	{ MSG_MERGE_RUN, "MergeRun", 1 * KIB, &codec__merge_run },
	{ MSG_MERGE_STATUS, "MergeStatus", 4 * KIB, &codec__merge_status },
	{ MSG_FLEET, "Fleet", 1 * KIB, &codec__nothing },
	{ MSG_FLEET_REPLY, "FleetReply", MSG_FLEET_REPLY_BYTES_MAX, &codec__fleet_reply },
	{ MSG_SHUTDOWN, "Shutdown", 1 * KIB, &codec__nothing },
	{ MSG_REVOKE, "Revoke", 4 * KIB, &codec__revoke },
	{ MSG_REVOKE_REPLY, "RevokeReply", 64 * KIB, &codec__revoke_reply },
	{ MSG_STORE_RUN, "StoreRun", 8 * KIB, &codec__store_run },
	{ MSG_STORE_STATUS, "StoreStatus", 4 * KIB, &codec__store_status },
	{ MSG_PUBLISH, "Publish", 4 * KIB, &codec__publish },
	{ MSG_PUBLISH_REPLY, "PublishReply", 4 * KIB, &codec__publish_reply },
	{ MSG_CANDIDATE, "Candidate", 1 * KIB, &codec__nothing },
	{ MSG_CANDIDATE_REPLY, "CandidateReply", 32 * KIB, &codec__candidate_reply },
	{ MSG_KEY_LIST, "KeyList", 1 * KIB, &codec__key_list },
	{ MSG_KEY_LIST_REPLY, "KeyListReply", 128 * KIB, &codec__key_list_reply },
	{ MSG_READER_LIST, "ReaderList", 1 * KIB, &codec__key_list },
	{ MSG_READER_LIST_REPLY, "ReaderListReply", 128 * KIB, &codec__key_list_reply },
	{ MSG_KEY_CHANGE, "KeyChange", 2 * KIB, &codec__key_change },
	{ MSG_KEY_CHANGE_REPLY, "KeyChangeReply", 4 * KIB, &codec__key_change_reply },
	{ MSG_EVENT_LIST, "EventList", 1 * KIB, &codec__event_list },
	{ MSG_EVENT_LIST_REPLY, "EventListReply", 256 * KIB, &codec__event_list_reply },
	{ MSG_ERROR, "Error", 4 * KIB, &codec__error },
};

static const struct type_row *type_find(int type)
{
	for (size_t i = 0; i < sizeof(types) / sizeof(types[0]); i++)
		if ((int)types[i].type == type)
			return &types[i];
	return NULL;
}

const char *msg_type_name(int type)
{
	const struct type_row *row = type_find(type);
	return row == NULL ? "?" : row->name;
}

size_t proto_body_cap(int type)
{
	const struct type_row *row = type_find(type);
	return row == NULL ? 0 : row->body_cap;
}

static void put(uint8_t *to, uint64_t v, size_t bytes)
{
	for (size_t i = 0; i < bytes; i++)
		to[i] = (uint8_t)(v >> (8 * i));
}

/* The bulk frame of a message: only a chunk has one. */
static int bulk_of(const struct msg *msg, struct msg_bytes *bulk, struct err *e)
{
	*bulk = (struct msg_bytes){ NULL, 0 };
	if (msg->type == MSG_CHUNK)
		*bulk = msg->u.chunk.data;
	if (bulk->len > MSG_BULK_BYTES_MAX)
		return err_set(e, ERR_LIMIT, "a chunk of %zu bytes: at most %d are allowed", bulk->len,
			       MSG_BULK_BYTES_MAX);
	return 0;
}

int proto_encode(const struct msg *msg, struct buf *head, struct msg_bytes *bulk, struct err *e)
{
	const struct type_row *row = type_find((int)msg->type);
	if (row == NULL)
		return err_set(e, ERR_UNSUPPORTED, "no message type %d", (int)msg->type);
	int rc = bulk_of(msg, bulk, e);
	if (rc != 0)
		return rc;
	uint8_t header[PROTO_HEADER_BYTES] = { 0 };
	buf_clear(head);
	buf_append(head, header, sizeof(header));
	if (buf_failed(head))
		return err_set(e, ERR_NOMEM, "no memory for a message");
	rc = codec__encode(row->table, &msg->u, row->body_cap, head, e);
	if (rc != 0) {
		err_wrap(e, "encoding %s", row->name);
		return rc;
	}
	memcpy(header, magic, sizeof(magic));
	put(header + 4, MSG_PROTOCOL_VERSION, 2);
	put(header + 6, (uint64_t)msg->type, 2);
	put(header + 8, head->len - PROTO_HEADER_BYTES, 4);
	put(header + 12, bulk->len, 4);
	put(header + 24, msg->request_id, 8);
	put(header + 32, msg->trace_id, 8);
	memcpy(head->data, header, sizeof(header));
	return 0;
}

struct header {
	unsigned version, type;
	uint32_t body_len, bulk_len;
	uint64_t flags, request_id, trace_id;
};

static int header_read(const void *head, size_t head_len, struct header *h, struct err *e)
{
	if (head_len < PROTO_HEADER_BYTES || memcmp(head, magic, sizeof(magic)) != 0)
		return err_set(e, ERR_INVALID, "%zu bytes that do not start as an Amend message does", head_len);
	struct reader r;
	reader_init(&r, (const uint8_t *)head + sizeof(magic), PROTO_HEADER_BYTES - sizeof(magic));
	h->version = reader_u16le(&r);
	h->type = reader_u16le(&r);
	h->body_len = reader_u32le(&r);
	h->bulk_len = reader_u32le(&r);
	h->flags = reader_u64le(&r);
	h->request_id = reader_u64le(&r);
	h->trace_id = reader_u64le(&r);
	return 0;
}

int proto_peek(const void *head, size_t head_len, int *type, uint64_t *request_id, uint64_t *trace_id)
{
	struct header h;
	int rc = header_read(head, head_len, &h, NULL);
	if (rc != 0)
		return rc;
	*type = (int)h.type;
	*request_id = h.request_id;
	*trace_id = h.trace_id;
	return 0;
}

int proto_version_check(const void *head, size_t head_len, struct err *e)
{
	struct header h;
	int rc = header_read(head, head_len, &h, e);
	if (rc == 0 && h.version != MSG_PROTOCOL_VERSION && h.type != MSG_ERROR)
		rc = err_set(e, ERR_UNSUPPORTED, "protocol version %u: this program speaks %d; update the older side",
			     h.version, MSG_PROTOCOL_VERSION);
	return rc;
}

static int header_check(const struct header *h, size_t head_len, size_t bulk_len, const struct type_row *row,
			struct err *e)
{
	if (row == NULL)
		return err_set(e, ERR_UNSUPPORTED, "no message type %u", h->type);
	if (h->flags != 0)
		return err_set(e, ERR_UNSUPPORTED, "%s: unknown flags", row->name);
	if (h->body_len != head_len - PROTO_HEADER_BYTES || h->bulk_len != bulk_len)
		return err_set(e, ERR_INVALID, "%s: the lengths in the header are not those of the frames", row->name);
	if (h->body_len > row->body_cap)
		return err_set(e, ERR_LIMIT, "%s: body of %u bytes, at most %zu are allowed", row->name, h->body_len,
			       row->body_cap);
	if (bulk_len > MSG_BULK_BYTES_MAX)
		return err_set(e, ERR_LIMIT, "%s: bulk frame of %zu bytes, at most %d are allowed", row->name, bulk_len,
			       MSG_BULK_BYTES_MAX);
	if (bulk_len > 0 && row->type != MSG_CHUNK)
		return err_set(e, ERR_INVALID, "%s: a bulk frame that does not belong there", row->name);
	return 0;
}

static int received_new(struct msg_received **out, struct err *e)
{
	struct msg_received *r = fault_calloc(1, sizeof(*r));
	if (r == NULL || arena_new(ARENA_BLOCK_BYTES, ARENA_BYTES_MAX, &r->arena) != 0) {
		free(r);
		return err_set(e, ERR_NOMEM, "no memory for a message");
	}
	*out = r;
	return 0;
}

static int body_read(struct msg_received *r, const struct type_row *row, const uint8_t *body, size_t body_len,
		     const void *bulk, size_t bulk_len, struct err *e)
{
	struct codec__caps caps = { row->body_cap, FIELDS_MAX, UNPACK_BYTES_MAX };
	int rc = codec__decode(row->table, body, body_len, &caps, r->arena, &r->msg.u, e);
	if (rc != 0 || bulk_len == 0)
		return rc;
	r->msg.u.chunk.data = (struct msg_bytes){ arena_copy(r->arena, bulk, bulk_len), bulk_len };
	return r->msg.u.chunk.data.bytes == NULL ? err_set(e, ERR_NOMEM, "no memory for a chunk") : 0;
}

int proto_decode(const void *head, size_t head_len, const void *bulk, size_t bulk_len, struct msg_received **out,
		 struct err *e)
{
	struct header h;
	int rc = header_read(head, head_len, &h, e);
	if (rc != 0)
		return rc;
	rc = proto_version_check(head, head_len, e);
	if (rc != 0)
		return rc;
	const struct type_row *row = type_find((int)h.type);
	rc = header_check(&h, head_len, bulk_len, row, e);
	if (rc != 0)
		return rc;
	struct msg_received *r = NULL;
	rc = received_new(&r, e);
	if (rc != 0)
		return rc;
	r->msg.type = row->type;
	r->msg.request_id = h.request_id;
	r->msg.trace_id = h.trace_id;
	rc = body_read(r, row, (const uint8_t *)head + PROTO_HEADER_BYTES, h.body_len, bulk, bulk_len, e);
	if (rc != 0) {
		msg_free(&r);
		err_wrap(e, "decoding %s", row->name);
		return rc;
	}
	*out = r;
	return 0;
}

void msg_free(struct msg_received **received)
{
	struct msg_received *r = *received;
	*received = NULL;
	if (r == NULL)
		return;
	arena_destroy(&r->arena);
	free(r);
}
