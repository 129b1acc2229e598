#include "base/hash.h"

#include "base/fault.h"

#include <assert.h>
#include <errno.h>
#include <fcntl.h>
#include <nettle/sha2.h>
#include <nettle/version.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#define READ_CHUNK_BYTES 65536

_Static_assert(sizeof(struct sha256_ctx) <= sizeof(struct hash_stream), "hash_stream is too small");
_Static_assert(SHA256_DIGEST_SIZE == HASH_BYTES, "SHA-256 has 32 bytes");

static struct sha256_ctx *state_of(struct hash_stream *s)
{
	return (struct sha256_ctx *)(void *)s->opaque;
}

void hash_of(const void *bytes, size_t byte_count, struct hash *out)
{
	struct hash_stream s;
	hash_begin(&s);
	hash_add(&s, bytes, byte_count);
	hash_end(&s, out);
}

void hash_begin(struct hash_stream *s)
{
	sha256_init(state_of(s));
}

void hash_add(struct hash_stream *s, const void *bytes, size_t byte_count)
{
	if (byte_count != 0)
		sha256_update(state_of(s), byte_count, bytes);
}

void hash_end(struct hash_stream *s, struct hash *out)
{
#if NETTLE_VERSION_MAJOR >= 4
	sha256_digest(state_of(s), out->bytes);
#else
	sha256_digest(state_of(s), HASH_BYTES, out->bytes);
#endif
}

int hash_of_file(const char *path, struct hash *out, struct err *e)
{
	int fd = open(path, O_RDONLY | O_CLOEXEC);
	if (fd < 0)
		return err_open(e, errno, "opening %s", path);
	unsigned char *chunk = fault_malloc(READ_CHUNK_BYTES);
	if (chunk == NULL) {
		close(fd);
		return err_set(e, ERR_NOMEM, "hashing %s: out of memory", path);
	}
	int rc = 0;
	ssize_t got;
	struct hash_stream s;
	hash_begin(&s);
	while ((got = read(fd, chunk, READ_CHUNK_BYTES)) != 0) {
		if (got < 0 && errno == EINTR)
			continue;
		if (got < 0) {
			rc = err_errno(e, ERR_IO, errno, "reading %s", path);
			break;
		}
		hash_add(&s, chunk, (size_t)got);
	}
	if (rc == 0)
		hash_end(&s, out);
	free(chunk);
	close(fd);
	return rc;
}

bool hash_equal(const struct hash *a, const struct hash *b)
{
	return memcmp(a->bytes, b->bytes, HASH_BYTES) == 0;
}

bool hash_is_zero(const struct hash *h)
{
	static const struct hash zero;
	return hash_equal(h, &zero);
}

void hash_hex(const struct hash *h, char out[HASH_HEX_BYTES])
{
	static const char digits[] = "0123456789abcdef";
	for (size_t i = 0; i < HASH_BYTES; i++) {
		out[2 * i] = digits[h->bytes[i] >> 4];
		out[2 * i + 1] = digits[h->bytes[i] & 15];
	}
	out[2 * HASH_BYTES] = '\0';
}

static int digit_of(char c)
{
	if (c >= '0' && c <= '9')
		return c - '0';
	if (c >= 'a' && c <= 'f')
		return c - 'a' + 10;
	if (c >= 'A' && c <= 'F')
		return c - 'A' + 10;
	return -1;
}

int hash_parse(const char *hex, struct hash *out)
{
	struct hash parsed;
	for (size_t i = 0; i < HASH_BYTES; i++) {
		int high = digit_of(hex[2 * i]);
		int low = high < 0 ? -1 : digit_of(hex[2 * i + 1]);
		if (low < 0)
			return ERR_INVALID;
		parsed.bytes[i] = (uint8_t)(high << 4 | low);
	}
	if (hex[2 * HASH_BYTES] != '\0')
		return ERR_INVALID;
	*out = parsed;
	return 0;
}

uint64_t hash_short(uint64_t hash, const void *bytes, size_t byte_count)
{
	const uint8_t *at = bytes;
	for (size_t i = 0; i < byte_count; i++)
		hash = (hash ^ at[i]) * UINT64_C(0x100000001b3);
	return hash;
}
