/* msg_type.h: the types of the messages (msg.h), by the file of the conversation that they belong to. The numbers are
 * the wire's and stay. */
#ifndef AMEND_PROTO_MSG_TYPE_H
#define AMEND_PROTO_MSG_TYPE_H

/* Each with its number: also what the tests of every message walk. */
#define MSG_TYPES(X)                                                                                                   \
	/* submit.proto */                                                                                             \
	X(MSG_SUBMIT, 1)                                                                                               \
	X(MSG_SUBMIT_REPLY, 2)                                                                                         \
	X(MSG_EDIT_LIST, 3)                                                                                            \
	X(MSG_EDIT_LIST_REPLY, 4)                                                                                      \
	/* work.proto */                                                                                               \
	X(MSG_HELLO, 16)                                                                                               \
	X(MSG_HELLO_REPLY, 17)                                                                                         \
	X(MSG_LEASE, 18)                                                                                               \
	X(MSG_WANT, 19)                                                                                                \
	X(MSG_EDITS, 20)                                                                                               \
	X(MSG_HEARTBEAT, 21)                                                                                           \
	X(MSG_HEARTBEAT_REPLY, 22)                                                                                     \
	X(MSG_PROGRESS, 23)                                                                                            \
	X(MSG_SHARD_COMMIT, 24)                                                                                        \
	X(MSG_SHARD_COMMIT_REPLY, 25)                                                                                  \
	X(MSG_FENCED, 26)                                                                                              \
	X(MSG_GATE_RESULT, 27)                                                                                         \
	X(MSG_RELEASE, 28)                                                                                             \
	X(MSG_CANARY_RUN, 29)                                                                                          \
	X(MSG_CANARY_RESULT, 30)                                                                                       \
	/* blob.proto */                                                                                               \
	X(MSG_HAVE, 48)                                                                                                \
	X(MSG_MISSING, 49)                                                                                             \
	X(MSG_NEED, 50)                                                                                                \
	X(MSG_CHUNK, 51)                                                                                               \
	X(MSG_CHUNK_STORED, 52)                                                                                        \
	/* version.proto */                                                                                            \
	X(MSG_HINT, 64)                                                                                                \
	X(MSG_GET_MANIFEST, 65)                                                                                        \
	X(MSG_MANIFEST, 66)                                                                                            \
	X(MSG_NODE_STATUS, 67)                                                                                         \
	X(MSG_VERSION_LIST, 68)                                                                                        \
	X(MSG_VERSION_LIST_REPLY, 69)                                                                                  \
	X(MSG_PUBLISH, 70)                                                                                             \
	X(MSG_PUBLISH_REPLY, 71)                                                                                       \
	X(MSG_CANDIDATE, 72)                                                                                           \
	X(MSG_CANDIDATE_REPLY, 73)                                                                                     \
	/* admin.proto */                                                                                              \
	X(MSG_MERGE_RUN, 80)                                                                                           \
	X(MSG_MERGE_STATUS, 81)                                                                                        \
	X(MSG_FLEET, 82)                                                                                               \
	X(MSG_FLEET_REPLY, 83)                                                                                         \
	X(MSG_SHUTDOWN, 84)                                                                                            \
	X(MSG_REVOKE, 85)                                                                                              \
	X(MSG_REVOKE_REPLY, 86)                                                                                        \
	X(MSG_KEY_LIST, 87)                                                                                            \
	X(MSG_KEY_LIST_REPLY, 88)                                                                                      \
	X(MSG_KEY_CHANGE, 89)                                                                                          \
	X(MSG_KEY_CHANGE_REPLY, 90)                                                                                    \
	X(MSG_READER_LIST, 91)                                                                                         \
	X(MSG_READER_LIST_REPLY, 92)                                                                                   \
	X(MSG_STORE_RUN, 104)                                                                                          \
	X(MSG_STORE_STATUS, 105)                                                                                       \
	X(MSG_EVENT_LIST, 106)                                                                                         \
	X(MSG_EVENT_LIST_REPLY, 107)                                                                                   \
	X(MSG_ERROR, 127)

enum msg_type {
#define X(name, number) name = number,
	MSG_TYPES(X)
#undef X
};

const char *msg_type_name(int type); /* "Submit", "?" */

#endif
