/* env.h: the tables of time and randomness, given to a program at start-up, so that tests and the simulator bring their
 * own. */
#ifndef AMEND_BASE_ENV_H
#define AMEND_BASE_ENV_H

#include "base/err.h"

#include <stdint.h>

struct env {
	void *context;
	int64_t (*monotonic_us)(void *context);                        /* never goes back */
	int64_t (*wall_ms)(void *context);                             /* Unix time in milliseconds, UTC; may jump */
	void (*random)(void *context, void *bytes, size_t byte_count); /* unpredictable (libsodium) or seeded (tests) */
};

/* The real clock and libsodium's randomness. Valid for ever; thread-safe. */
const struct env *env_system(void);
int64_t env_monotonic_us(const struct env *env);
int64_t env_monotonic_ms(const struct env *env);
int64_t env_wall_ms(const struct env *env);
uint64_t env_random_u64(const struct env *env);

/* A manual environment for tests: time stands still until it is moved; randomness comes from `seed`. */
struct env_manual {
	struct env env; /* context points to this struct: do not copy after init */
	int64_t now_us;
	int64_t wall_offset_ms;
	uint64_t random_state[4];
};
void env_manual_init(struct env_manual *manual, uint64_t seed);
void env_manual_advance(struct env_manual *manual, int64_t us);

/* Writes RFC 3339 UTC with milliseconds, "2026-11-23T08:45:00.123Z" (25 bytes with the NUL). */
#define ENV_TIME_BYTES 32
void env_time_format(int64_t wall_ms, char out[ENV_TIME_BYTES]);
/* Parses RFC 3339. ERR_INVALID. */
int env_time_parse(const char *text, int64_t *wall_ms, struct err *e) MUST_CHECK;

#endif
