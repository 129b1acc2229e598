#include "tests/lib/quantise.h"

#include "model/quant.h"

#include <math.h>
#include <stdlib.h>

#define BLOCK 32u

/* To the nearest half; small ones become zero, as no scale of a test is. */
static uint16_t half_of(float value)
{
	uint32_t bits;
	memcpy(&bits, &value, sizeof(bits));
	const uint32_t sign = bits >> 16 & 0x8000u, rest = bits & 0x7fffffffu;
	if (rest < 0x38800000u)
		return (uint16_t)sign;
	const uint32_t rounded = rest + 0xfffu + (rest >> 13 & 1);
	return (uint16_t)(sign | ((rounded - 0x38000000u) >> 13));
}

static float put_half(uint8_t *out, float value)
{
	const uint16_t half = half_of(value);
	float back;
	memcpy(out, &half, sizeof(half));
	model_quant_dequantise(MODEL_F16, out, 1, &back);
	return back;
}

static int nearest(float value, float scale, int least, int most)
{
	const long q = scale == 0 ? 0 : lrintf(value / scale);
	return (int)(q < least ? least : q > most ? most : q);
}

static void block_q8_0(const float *v, uint8_t *out)
{
	float most = 0;
	for (size_t i = 0; i < BLOCK; i++)
		most = fmaxf(most, fabsf(v[i]));
	const float d = put_half(out, most / 127);
	for (size_t i = 0; i < BLOCK; i++)
		out[2 + i] = (uint8_t)nearest(v[i], d, -128, 127);
}

static void block_q4_1(const float *v, uint8_t *out)
{
	float least = v[0], most = v[0];
	for (size_t i = 1; i < BLOCK; i++) {
		least = fminf(least, v[i]);
		most = fmaxf(most, v[i]);
	}
	const float d = put_half(out, (most - least) / 15), m = put_half(out + 2, least);
	for (size_t i = 0; i < BLOCK / 2; i++)
		out[4 + i] = (uint8_t)(nearest(v[i] - m, d, 0, 15) | nearest(v[i + BLOCK / 2] - m, d, 0, 15) << 4);
}

static void one_bf16(const float *v, uint8_t *out)
{
	const uint16_t bits = model_quant_to_bf16(*v);
	memcpy(out, &bits, sizeof(bits));
}

static void one_f32(const float *v, uint8_t *out)
{
	memcpy(out, v, sizeof(*v));
}

static void (*writer_of(enum model_type type))(const float *v, uint8_t *out)
{
	switch (type) {
	case MODEL_F32:
		return one_f32;
	case MODEL_BF16:
		return one_bf16;
	case MODEL_Q8_0:
		return block_q8_0;
	case MODEL_Q4_1:
		return block_q4_1;
	default:
		abort();
	}
}

size_t quantise_bytes(enum model_type type, size_t count)
{
	size_t elements = 1, bytes = 0;
	return model_quant_block(type, &elements, &bytes) ? count / elements * bytes : 0;
}

size_t quantise(enum model_type type, const float *values, size_t count, uint8_t *out)
{
	size_t elements = 1, bytes = 0;
	if (!model_quant_block(type, &elements, &bytes))
		abort();
	for (size_t i = 0; i < count / elements; i++)
		writer_of(type)(values + i * elements, out + i * bytes);
	return quantise_bytes(type, count);
}
