#include "model/quant.h"

#include "base/rng.h"
#include "tests/unit/model/quant_vectors.h"

#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#define BLOCKS 16

/* IEEE 754 binary16 by its definition. */
static double half_value(unsigned half)
{
	const int exponent = (int)(half >> 10 & 31);
	const double mantissa = half & 1023, sign = half & 0x8000 ? -1 : 1;

	if (exponent == 31)
		return mantissa != 0 ? (double)NAN : sign * (double)INFINITY;
	return exponent ? sign * ldexp(1024 + mantissa, exponent - 25) : sign * ldexp(mantissa, -24);
}

static double half_in(const uint8_t *p)
{
	return half_value((unsigned)p[0] | (unsigned)p[1] << 8);
}

/* One element of a block, written from the format's description rather than from loops that share code with quant.c. */
static double element(enum model_type type, const uint8_t *b, size_t i)
{
	const unsigned shift = i % 32 < 16 ? 0 : 4;

	switch (type) {
	case MODEL_Q4_0:
		return half_in(b) * ((int)(b[2 + i % 16] >> shift & 15) - 8);
	case MODEL_Q4_1:
		return half_in(b) * (b[4 + i % 16] >> shift & 15) + half_in(b + 2);
	case MODEL_Q8_0:
		return half_in(b) * (b[2 + i] < 128 ? b[2 + i] : (int)b[2 + i] - 256);
	case MODEL_Q4_K: {
		/* Eight six-bit scales, then minima: low 6 bits of bytes 0–7 for sub-blocks 0–3; for 4–7 nibbles of
		 * bytes 8–11 with the two top bits of bytes 0–7 above them. */
		const size_t sub = i / 32;
		const uint8_t *s = b + 4;
		const int scale = sub < 4 ? s[sub] % 64 : s[sub + 4] % 16 + s[sub - 4] / 64 * 16;
		const int min = sub < 4 ? s[sub + 4] % 64 : s[sub + 4] / 16 + s[sub] / 64 * 16;
		const int byte = b[16 + i / 64 * 32 + i % 32];

		return half_in(b) * scale * (sub % 2 ? byte / 16 : byte % 16) - half_in(b + 2) * min;
	}
	case MODEL_Q6_K: {
		const size_t side = i / 128, within = i % 128, lane = within % 32, quarter = within / 32;
		const int low = b[side * 64 + lane + (quarter % 2) * 32], high = b[128 + side * 32 + lane];
		const int q = (quarter < 2 ? low % 16 : low / 16) + (high >> (2 * quarter) & 3) * 16 - 32;
		const int raw = b[192 + i / 16];

		return half_in(b + 208) * (raw < 128 ? raw : raw - 256) * q;
	}
	default:
		return (double)NAN;
	}
}

/* Random blocks with finite scales: each half's exponent is kept below infinity. */
static void fill_blocks(struct rng *r, enum model_type type, uint8_t *bytes, size_t block_bytes, size_t block_count)
{
	for (size_t i = 0; i < block_count * block_bytes; i++)
		bytes[i] = (uint8_t)rng_u64(r);
	for (size_t k = 0; k < block_count; k++) {
		uint8_t *b = bytes + k * block_bytes;

		b[type == MODEL_Q6_K ? 209 : 1] &= 0xBF;
		if (type == MODEL_Q4_1 || type == MODEL_Q4_K)
			b[3] &= 0xBF;
	}
}

static void test_formulas(void **state)
{
	static const enum model_type types[] = { MODEL_Q4_0, MODEL_Q4_1, MODEL_Q8_0, MODEL_Q4_K, MODEL_Q6_K };
	static float out[BLOCKS * 256];
	struct rng r;

	(void)state;
	rng_init(&r, 11);
	for (size_t k = 0; k < sizeof(types) / sizeof(types[0]); k++) {
		size_t elements, bytes;

		assert_true(model_quant_block(types[k], &elements, &bytes));
		/* An odd start: blocks in a file are not aligned. */
		uint8_t *blocks = malloc(BLOCKS * bytes + 1);
		assert_non_null(blocks);
		fill_blocks(&r, types[k], blocks + 1, bytes, BLOCKS);
		model_quant_dequantise(types[k], blocks + 1, BLOCKS * elements, out);
		for (size_t i = 0; i < BLOCKS * elements; i++) {
			const uint8_t *b = blocks + 1 + i / elements * bytes;
			const double wanted = element(types[k], b, i % elements);
			/* Three roundings of float32 at most; a difference cancels, so the bound goes by the parts. */
			const double part = types[k] == MODEL_Q4_1 || types[k] == MODEL_Q4_K ? fabs(half_in(b + 2)) * 63
											     : 0;
			const double bound = 3 * 0x1p-24 * (fabs(wanted) + part);

			if (!(fabs((double)out[i] - wanted) <= bound))
				fail_msg("type %d, element %zu: %.9g, not %.9g", (int)types[k], i, (double)out[i],
					 wanted);
		}
		free(blocks);
	}
}

static void test_vectors_of_another_program(void **state)
{
	float out[256];

	(void)state;
	for (size_t k = 0; k < sizeof(quant_vectors) / sizeof(quant_vectors[0]); k++) {
		const struct quant_vector *v = &quant_vectors[k];

		model_quant_dequantise(v->type, v->bytes, v->element_count, out);
		for (size_t i = 0; i < sizeof(v->samples) / sizeof(v->samples[0]); i++)
			if (memcmp(&out[v->samples[i].index], &v->samples[i].value, sizeof(float)) != 0)
				fail_msg("%s, element %zu: %a, not %a", v->name, v->samples[i].index,
					 (double)out[v->samples[i].index], (double)v->samples[i].value);
	}
}

static float half_of(uint16_t half)
{
	float value;

	model_quant_dequantise(MODEL_F16, &half, 1, &value);
	return value;
}

static void test_every_half(void **state)
{
	static uint16_t halves[65536];
	static float out[65536];

	(void)state;
	for (unsigned h = 0; h < 65536; h++)
		halves[h] = (uint16_t)h;
	model_quant_dequantise(MODEL_F16, halves, 65536, out);
	for (unsigned h = 0; h < 65536; h++) {
		const float wanted = (float)half_value(h), one = half_of((uint16_t)h);

		if (isnan(wanted)) {
			assert_true(isnan(one) && isnan(out[h]));
		} else {
			assert_memory_equal(&one, &wanted, sizeof(one)); /* minus zero too */
			assert_memory_equal(&out[h], &wanted, sizeof(one));
		}
	}
	assert_true(half_of(0x0001) == 0x1p-24f);     /* smallest subnormal */
	assert_true(half_of(0x03FF) == 0x1.FF8p-15f); /* largest subnormal */
	assert_true(half_of(0x7BFF) == 65504.0f);
	assert_true(isinf(half_of(0x7C00)));
}

static float from_bits(uint32_t bits)
{
	float f;

	memcpy(&f, &bits, sizeof(f));
	return f;
}

static void test_bf16(void **state)
{
	static const struct {
		uint32_t bits;
		uint16_t wanted;
	} cases[] = {
		{ 0x3F800000, 0x3F80 }, /* 1 */
		{ 0x3F808000, 0x3F80 }, /* tie, even below */
		{ 0x3F818000, 0x3F82 }, /* tie, even above */
		{ 0x3F808001, 0x3F81 }, /* just over a tie */
		{ 0x3F807FFF, 0x3F80 }, /* just under */
		{ 0x80000000, 0x8000 }, /* −0 */
		{ 0x7F7FFFFF, 0x7F80 }, /* the largest float rounds to infinity */
		{ 0x7F800000, 0x7F80 }, { 0xFF800000, 0xFF80 }, { 0x00000001, 0x0000 }, /* subnormal, rounds to zero */
		{ 0x00008001, 0x0001 }, { 0x7FFFFFFF, 0x7FFF },
	};

	(void)state;
	for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++)
		assert_int_equal(model_quant_to_bf16(from_bits(cases[i].bits)), cases[i].wanted);
	/* A NaN whose payload lies in the lost half must not become infinity. */
	assert_true(isnan(model_quant_from_bf16(model_quant_to_bf16(from_bits(0x7F800001)))));
	assert_true(isnan(model_quant_from_bf16(model_quant_to_bf16(from_bits(0xFF80FFFF)))));
	for (uint32_t b = 0; b < 65536; b++) {
		const float f = model_quant_from_bf16((uint16_t)b);

		if (!isnan(f))
			assert_int_equal(model_quant_to_bf16(f), b);
	}
}

static void test_plain_rows(void **state)
{
	const float floats[3] = { 1.5f, -0.0f, 3e38f };
	const uint16_t bf16s[3] = { 0x3FC0, 0x8000, 0xC2F7 };
	float out[3];

	(void)state;
	model_quant_dequantise(MODEL_F32, floats, 3, out);
	assert_memory_equal(out, floats, sizeof(floats));
	model_quant_dequantise(MODEL_BF16, bf16s, 3, out);
	assert_true(out[0] == 1.5f && out[1] == 0.0f && signbit(out[1]) && out[2] == -123.5f);
}

static void test_blocks(void **state)
{
	static const struct {
		enum model_type type;
		size_t elements, bytes;
	} known[] = {
		{ MODEL_F32, 1, 4 },    { MODEL_F16, 1, 2 },    { MODEL_BF16, 1, 2 },     { MODEL_Q4_0, 32, 18 },
		{ MODEL_Q4_1, 32, 20 }, { MODEL_Q8_0, 32, 34 }, { MODEL_Q4_K, 256, 144 }, { MODEL_Q6_K, 256, 210 }
	};
	static const int unknown[] = { -1, 4, 6, 7, 9, 10, 11, 13, 15, 24, 31, 1000 };
	size_t elements, bytes;

	(void)state;
	for (size_t i = 0; i < sizeof(known) / sizeof(known[0]); i++) {
		assert_true(model_quant_block(known[i].type, &elements, &bytes));
		assert_int_equal(elements, known[i].elements);
		assert_int_equal(bytes, known[i].bytes);
	}
	for (size_t i = 0; i < sizeof(unknown) / sizeof(unknown[0]); i++)
		assert_false(model_quant_block((enum model_type)unknown[i], &elements, &bytes));
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_formulas),   cmocka_unit_test(test_vectors_of_another_program),
		cmocka_unit_test(test_every_half), cmocka_unit_test(test_bf16),
		cmocka_unit_test(test_plain_rows), cmocka_unit_test(test_blocks),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
