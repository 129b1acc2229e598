/* rights.c: who may send what to a coordinator. One row a message type; a type without a row is nobody's. Of a Chunk
 * the coordinator takes from others than workers what it has asked for, and no more (recv_blob.c). */
#include "proto/keys.h"
#include "proto/msg.h"

#define S PROTO_ROLE_SUBMITTER
#define W PROTO_ROLE_WORKER
#define R PROTO_ROLE_READER
#define U PROTO_ROLE_AUDITOR
#define A PROTO_ROLE_ADMIN

static const struct {
	int type;
	unsigned roles;
} rights[] = {
	{ MSG_SUBMIT, S | A },
	{ MSG_EDIT_LIST, S | U | A },
	{ MSG_HELLO, W | R | A },
	{ MSG_WANT, W },
	{ MSG_HEARTBEAT, W | R | A },
	{ MSG_PROGRESS, W },
	{ MSG_SHARD_COMMIT, W },
	{ MSG_GATE_RESULT, W },
	{ MSG_RELEASE, W },
	{ MSG_CANARY_RESULT, W },
	{ MSG_HAVE, W },
	{ MSG_CHUNK, W | R | A },
	{ MSG_NEED, W | R | U | A },
	{ MSG_GET_MANIFEST, W | R | U | A },
	{ MSG_NODE_STATUS, R | A },
	{ MSG_VERSION_LIST, R | U | A },
	{ MSG_FLEET, R | U | A },
	{ MSG_MERGE_RUN, A },
	{ MSG_SHUTDOWN, A },
	{ MSG_REVOKE, A },
	{ MSG_STORE_RUN, A },
	{ MSG_PUBLISH, A },
	{ MSG_CANDIDATE, U | A },
	{ MSG_EVENT_LIST, U | A },
	{ MSG_READER_LIST, R | A },
	{ MSG_KEY_LIST, A },
	{ MSG_KEY_CHANGE, A },
};

bool proto_right(unsigned roles, int message_type)
{
	for (size_t i = 0; i < sizeof(rights) / sizeof(rights[0]); i++)
		if (rights[i].type == message_type)
			return (rights[i].roles & roles) != 0;
	return false;
}
