/* messages.h: random valid messages of every type, and their contents as bytes for comparing, written by hand apart
 * from the codec's tables so that a field that a table forgot is found. */
#ifndef AMEND_TESTS_MESSAGES_H
#define AMEND_TESTS_MESSAGES_H

#include "base/buf.h"
#include "base/rng.h"
#include "proto/codec.h"

extern const int test_message_types[];
extern const size_t test_message_type_count;

void test_message_fill(struct rng *rng, struct arena *arena, int type, struct msg *out);
void test_message_dump(const struct msg *msg, struct buf *out);
void test_manifest_fill(struct rng *rng, struct arena *arena, size_t memory_count, struct proto_manifest *out);
void test_manifest_dump(const struct proto_manifest *manifest, struct buf *out);

#endif
