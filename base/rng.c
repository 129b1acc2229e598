#include "base/rng.h"

#include <assert.h>
#include <math.h>

#define TAU 6.28318530717958647692

static uint64_t splitmix(uint64_t *state)
{
	uint64_t z = (*state += UINT64_C(0x9E3779B97F4A7C15));
	z = (z ^ (z >> 30)) * UINT64_C(0xBF58476D1CE4E5B9);
	z = (z ^ (z >> 27)) * UINT64_C(0x94D049BB133111EB);
	return z ^ (z >> 31);
}

void rng_init(struct rng *r, uint64_t seed)
{
	for (int i = 0; i < 4; i++)
		r->s[i] = splitmix(&seed);
	r->spare = 0.0f;
	r->has_spare = 0;
}

uint64_t rng_derive(uint64_t seed, uint64_t a, uint64_t b)
{
	uint64_t h = splitmix(&seed);
	uint64_t state = h ^ a;
	h = splitmix(&state);
	state = h ^ b;
	return splitmix(&state);
}

static uint64_t rotate_left(uint64_t x, int by)
{
	return (x << by) | (x >> (64 - by));
}

uint64_t rng_u64(struct rng *r)
{
	uint64_t *s = r->s;
	uint64_t result = rotate_left(s[1] * 5, 7) * 9;
	uint64_t t = s[1] << 17;
	s[2] ^= s[0];
	s[3] ^= s[1];
	s[1] ^= s[2];
	s[0] ^= s[3];
	s[2] ^= t;
	s[3] = rotate_left(s[3], 45);
	return result;
}

uint64_t rng_below(struct rng *r, uint64_t bound)
{
	assert(bound > 0);
	/* Values under 2^64 mod bound would make the low results likelier: draw again. */
	uint64_t reject_below = (UINT64_MAX - bound + 1) % bound;
	uint64_t v;
	do
		v = rng_u64(r);
	while (v < reject_below);
	return v % bound;
}

float rng_uniform(struct rng *r)
{
	return (float)(rng_u64(r) >> 40) * 0x1p-24f;
}

float rng_normal(struct rng *r)
{
	if (r->has_spare) {
		r->has_spare = 0;
		return r->spare;
	}
	/* 1 - u lies in (0, 1], so the logarithm is finite. */
	double u = 1.0 - (double)(rng_u64(r) >> 11) * 0x1p-53;
	double angle = TAU * ((double)(rng_u64(r) >> 11) * 0x1p-53);
	double radius = sqrt(-2.0 * log(u));
	r->spare = (float)(radius * sin(angle));
	r->has_spare = 1;
	return (float)(radius * cos(angle));
}

void rng_shuffle(struct rng *r, size_t *items, size_t item_count)
{
	for (size_t i = item_count; i > 1; i--) {
		size_t j = (size_t)rng_below(r, i);
		size_t t = items[i - 1];
		items[i - 1] = items[j];
		items[j] = t;
	}
}
