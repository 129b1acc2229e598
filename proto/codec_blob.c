/* codec_blob.c: blob.proto and the structs of msg.h. A chunk's bytes travel beside the body (codec.c). */
#include "proto/codec_wire.h"

#include "proto/blob.pb-c.h"

static const struct codec__row hashes_rows[] = {
	ROW_HASHES(1, msg_hashes, hashes, hash_count, MSG_HASHES_MAX),
	ROW_U64(2, msg_hashes, version, 0, UINT64_MAX),
};
CODEC_TABLE(codec__hashes, amend__hashes__descriptor, msg_hashes, hashes_rows);

static const struct codec__row chunk_rows[] = {
	ROW_HASH(1, msg_chunk, hash),
	ROW_CODE(2, msg_chunk, code),
};
CODEC_TABLE(codec__chunk, amend__chunk__descriptor, msg_chunk, chunk_rows);
