/* hash.h: SHA-256 (FIPS 180-4, through nettle, which uses the processor's SHA instructions) and its printed form; a
 * short hash for tables. Thread-safe. */
#ifndef AMEND_BASE_HASH_H
#define AMEND_BASE_HASH_H

#include "base/err.h"

#include <stdbool.h>
#include <stdint.h>

#define HASH_BYTES     32
#define HASH_HEX_BYTES 65 /* with the NUL */

struct hash {
	uint8_t bytes[HASH_BYTES];
};

struct hash_stream {
	uint64_t opaque[16]; /* holds struct sha256_ctx; size asserted in hash.c */
};

void hash_of(const void *bytes, size_t byte_count, struct hash *out);
void hash_begin(struct hash_stream *s);
void hash_add(struct hash_stream *s, const void *bytes, size_t byte_count);
void hash_end(struct hash_stream *s, struct hash *out);
int hash_of_file(const char *path, struct hash *out, struct err *e) MUST_CHECK;
bool hash_equal(const struct hash *a, const struct hash *b);
bool hash_is_zero(const struct hash *h);
void hash_hex(const struct hash *h, char out[HASH_HEX_BYTES]);
int hash_parse(const char *hex, struct hash *out) MUST_CHECK; /* 64 hex digits; ERR_INVALID */

/* FNV-1a over 64 bits, for tables in memory: whoever knows it can make texts collide. Goes on from `hash`, which begins
 * as HASH_SHORT_INIT. */
#define HASH_SHORT_INIT UINT64_C(0xcbf29ce484222325)
uint64_t hash_short(uint64_t hash, const void *bytes, size_t byte_count);

#endif
