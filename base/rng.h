/* rng.h: seeded pseudo-random numbers for numerics (xoshiro256**, Blackman and Vigna 2018, seeded by SplitMix64).
 * Same seed, same numbers on every machine. Not for keys: env.h has the unpredictable ones. */
#ifndef AMEND_BASE_RNG_H
#define AMEND_BASE_RNG_H

#include <stddef.h>
#include <stdint.h>

struct rng {
	uint64_t s[4];
	float spare; /* second value of the last normal pair */
	int has_spare;
};

void rng_init(struct rng *r, uint64_t seed);
/* A seed for a named purpose, so that streams do not overlap: hash of (seed, a, b). */
uint64_t rng_derive(uint64_t seed, uint64_t a, uint64_t b);
uint64_t rng_u64(struct rng *r);
uint64_t rng_below(struct rng *r, uint64_t bound);                 /* uniform in [0, bound), bound > 0, without bias */
float rng_uniform(struct rng *r);                                  /* [0, 1), 24 bits */
float rng_normal(struct rng *r);                                   /* mean 0, standard deviation 1 (Box-Muller) */
void rng_shuffle(struct rng *r, size_t *items, size_t item_count); /* Fisher-Yates */

#endif
