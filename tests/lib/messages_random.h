/* messages_random.h: random values of messages, and what fills those of administrators. Inside tests/lib only. */
#ifndef AMEND_TESTS_LIB_MESSAGES_RANDOM_H
#define AMEND_TESTS_LIB_MESSAGES_RANDOM_H

#include "tests/lib/messages.h"

#include "tests/lib/test.h"

/* ---- Random values: small ones, large ones and the ends. */

struct source {
	struct rng *rng;
	struct arena *arena;
};

static inline uint64_t u64(struct source *s)
{
	uint64_t v = rng_u64(s->rng);
	return rng_below(s->rng, 8) == 0 ? UINT64_MAX : v >> rng_below(s->rng, 64);
}

static inline uint32_t u32(struct source *s)
{
	return rng_below(s->rng, 8) == 0 ? UINT32_MAX : (uint32_t)rng_u64(s->rng) >> rng_below(s->rng, 32);
}

static inline uint64_t seq(struct source *s)
{
	return 1 + rng_below(s->rng, (UINT64_C(1) << 62) - 1);
}

static inline int64_t when(struct source *s)
{
	return (int64_t)rng_below(s->rng, 253402300799999);
}

static inline bool coin(struct source *s)
{
	return rng_below(s->rng, 2) == 1;
}

static inline double share(struct source *s)
{
	return (double)rng_below(s->rng, 1001) / 1000;
}

static inline int code(struct source *s)
{
	return -(int)rng_below(s->rng, 21);
}

static inline struct hash hash(struct source *s)
{
	struct hash h = { { 0 } };
	if (rng_below(s->rng, 4) != 0)
		for (size_t i = 0; i < HASH_BYTES; i++)
			h.bytes[i] = (uint8_t)rng_u64(s->rng);
	return h;
}

static inline void *many(struct source *s, size_t count, size_t bytes)
{
	void *p = count == 0 ? NULL : arena_array(s->arena, count, bytes);
	assert_true(count == 0 || p != NULL);
	if (count > 0)
		memset(p, 0, count * bytes);
	return p;
}

static inline struct msg_text text(struct source *s, size_t max)
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

static inline struct msg_bytes bytes(struct source *s, size_t min, size_t max)
{
	size_t len = min + rng_below(s->rng, max - min + 1);
	uint8_t *b = many(s, len, 1);
	for (size_t i = 0; i < len; i++)
		b[i] = (uint8_t)rng_u64(s->rng);
	return (struct msg_bytes){ b, len };
}

static inline const uint64_t *numbers(struct source *s, size_t count)
{
	uint64_t *n = many(s, count, sizeof(*n));
	for (size_t i = 0; i < count; i++)
		n[i] = u64(s);
	return n;
}

static inline size_t some(struct source *s)
{
	return rng_below(s->rng, 4) == 0 ? 0 : rng_below(s->rng, 40);
}

/* What administrators say, and the answers. */
void messages__fill_admin(struct source *s, struct msg *m);

#endif
