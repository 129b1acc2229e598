/* stored_portable.c: the products of stored.h in plain C. */
#include "model/quant.h"
#include "model/stored.h"

#include <math.h>

#define BLOCK MODEL__STORED_BLOCK
#define PANEL MODEL__STORED_PANEL

static float half_at(const uint8_t *p)
{
	float value;
	model_quant_dequantise(MODEL_F16, p, 1, &value);
	return value;
}

static void round_portable(struct model__rounded *out, const float *x, size_t block_count)
{
	for (size_t b = 0; b < block_count; b++, x += BLOCK) {
		float most = 0, doubt = 0; /* doubt: 0, or NaN */
		for (size_t i = 0; i < BLOCK; i++) {
			most = fabsf(x[i]) > most ? fabsf(x[i]) : most;
			doubt += x[i] * 0.0f;
		}
		const bool number = doubt == 0;
		const float scale = most / MODEL__STORED_LARGEST + doubt;
		const float inverse = number && most > MODEL__STORED_LEAST ? MODEL__STORED_LARGEST / most : 0;
		int32_t total = 0;
		for (size_t i = 0; i < BLOCK; i++) {
			const int32_t q = number ? (int32_t)lrintf(x[i] * inverse) : 0;
			const int32_t high = (int32_t)lrintf((float)q * (1.0f / MODEL__STORED_BASE));
			out[b].high[i] = (int8_t)high;
			out[b].low[i] = (int8_t)(q - MODEL__STORED_BASE * high);
			total += q;
		}
		out[b].scale = scale;
		out[b].sum = scale * (float)total;
		out[b].total = total;
		out[b].spare = 0;
	}
}

static int32_t rounded_at(const struct model__rounded *x, size_t i)
{
	return MODEL__STORED_BASE * x->high[i] + x->low[i];
}

static void q4_1_portable(float *sums, const uint8_t *panel, const struct model__rounded *x, size_t block_count,
			  size_t rows)
{
	for (size_t i = 0; i < rows * PANEL; i++)
		sums[i] = 0;
	for (size_t b = 0; b < block_count; b++, panel += 320) {
		for (size_t r = 0; r < rows; r++) {
			const struct model__rounded *own = x + r * block_count + b;
			for (size_t o = 0; o < PANEL; o++) {
				int32_t dot = 0;
				for (size_t i = 0; i < BLOCK / 2; i++) {
					const uint8_t both = panel[i / 4 * 64 + 4 * o + i % 4];
					dot += (both & 15) * rounded_at(own, i) +
					       (both >> 4) * rounded_at(own, i + BLOCK / 2);
				}
				sums[r * PANEL + o] += (float)dot * (half_at(panel + 256 + 2 * o) * own->scale);
				sums[r * PANEL + o] += half_at(panel + 288 + 2 * o) * own->sum;
			}
		}
	}
}

static void q8_0_portable(float *sums, const uint8_t *panel, const struct model__rounded *x, size_t block_count,
			  size_t rows)
{
	const uint8_t *scales = panel + block_count * 512;
	for (size_t i = 0; i < rows * PANEL; i++)
		sums[i] = 0;
	for (size_t b = 0; b < block_count; b++, panel += 512, scales += 32) {
		for (size_t r = 0; r < rows; r++) {
			const struct model__rounded *own = x + r * block_count + b;
			for (size_t o = 0; o < PANEL; o++) {
				int32_t dot = -128 * own->total;
				for (size_t i = 0; i < BLOCK; i++)
					dot += panel[i / 4 * 64 + 4 * o + i % 4] * rounded_at(own, i);
				sums[r * PANEL + o] += (float)dot * (half_at(scales + 2 * o) * own->scale);
			}
		}
	}
}

static float bf16_at(const uint8_t *p)
{
	return model_quant_from_bf16((uint16_t)(p[0] | p[1] << 8));
}

static void bf16_portable(float *sums, const uint8_t *panel, const float *x, size_t depth, size_t rows)
{
	for (size_t r = 0; r < rows; r++, x += depth) {
		for (size_t o = 0; o < PANEL; o++) {
			float even = 0, odd = 0;
			for (size_t k = 0; k < depth; k += 2) {
				const uint8_t *pair = panel + k / 2 * 64 + 4 * o;
				even += bf16_at(pair) * x[k];
				if (k + 1 < depth)
					odd += bf16_at(pair + 2) * x[k + 1];
			}
			sums[r * PANEL + o] = even + odd;
		}
	}
}

const struct model__stored_kernel model__stored_portable = { "portable", round_portable, q4_1_portable, q8_0_portable,
							     bf16_portable };
