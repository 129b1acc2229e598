#include "model/quant.h"

#include <assert.h>
#include <string.h>

static_assert(__BYTE_ORDER__ == __ORDER_LITTLE_ENDIAN__, "GGUF data is read in place: little-endian machines only");

static uint32_t float_bits(float value)
{
	uint32_t bits;

	memcpy(&bits, &value, sizeof(bits));
	return bits;
}

static float bits_float(uint32_t bits)
{
	float value;

	memcpy(&value, &bits, sizeof(value));
	return value;
}

/* Without branches, so that a loop over it becomes vector code: normal numbers (and infinities, NaNs) by moving the
 * exponent up and scaling back, subnormal ones by putting the mantissa behind 0.5 and taking 0.5 away. Both are exact.
 */
static inline float half_to_float(uint16_t half)
{
	const uint32_t w = (uint32_t)half << 16;
	const uint32_t sign = w & UINT32_C(0x80000000);
	const uint32_t two_w = w + w;
	const float normal = bits_float((two_w >> 4) + (UINT32_C(0xE0) << 23)) * 0x1.0p-112f;
	const float subnormal = bits_float((two_w >> 17) | (UINT32_C(126) << 23)) - 0.5f;

	return bits_float(sign | (two_w < (UINT32_C(1) << 27) ? float_bits(subnormal) : float_bits(normal)));
}

static inline float half_at(const uint8_t *p)
{
	uint16_t half;

	memcpy(&half, p, sizeof(half));
	return half_to_float(half);
}

/* --- Rows: `n` elements from whole blocks. */

static void row_f32(const uint8_t *restrict p, size_t n, float *restrict out)
{
	memcpy(out, p, n * sizeof(float));
}

static void row_f16(const uint8_t *restrict p, size_t n, float *restrict out)
{
	for (size_t i = 0; i < n; i++)
		out[i] = half_at(p + 2 * i);
}

static void row_bf16(const uint8_t *restrict p, size_t n, float *restrict out)
{
	for (size_t i = 0; i < n; i++) {
		uint16_t v;

		memcpy(&v, p + 2 * i, sizeof(v));
		out[i] = model_quant_from_bf16(v);
	}
}

/* {half d; 16 bytes: element j in the low, j + 16 in the high nibble}: (q − 8) · d. */
static void row_q4_0(const uint8_t *restrict p, size_t n, float *restrict out)
{
	for (size_t i = 0; i < n; i += 32, p += 18, out += 32) {
		const float d = half_at(p);

		for (size_t j = 0; j < 16; j++) {
			out[j] = (float)((int)(p[2 + j] & 15) - 8) * d;
			out[j + 16] = (float)((int)(p[2 + j] >> 4) - 8) * d;
		}
	}
}

/* {half d, m; 16 bytes as above}: q · d + m. */
static void row_q4_1(const uint8_t *restrict p, size_t n, float *restrict out)
{
	for (size_t i = 0; i < n; i += 32, p += 20, out += 32) {
		const float d = half_at(p), m = half_at(p + 2);

		for (size_t j = 0; j < 16; j++) {
			out[j] = (float)(int)(p[4 + j] & 15) * d + m;
			out[j + 16] = (float)(int)(p[4 + j] >> 4) * d + m;
		}
	}
}

/* {half d; 32 signed bytes}: q · d. */
static void row_q8_0(const uint8_t *restrict p, size_t n, float *restrict out)
{
	for (size_t i = 0; i < n; i += 32, p += 34, out += 32) {
		const float d = half_at(p);

		for (size_t j = 0; j < 32; j++)
			out[j] = (float)(int8_t)p[2 + j] * d;
	}
}

/* Six-bit scale and minimum of sub-block j (0…7) out of the 12 packed bytes of a Q4_K block. */
static void scale_min_k4(const uint8_t *s, size_t j, unsigned *scale, unsigned *min)
{
	if (j < 4) {
		*scale = s[j] & 63u;
		*min = s[j + 4] & 63u;
	} else {
		*scale = (s[j + 4] & 15u) | ((unsigned)(s[j - 4] >> 6) << 4);
		*min = (unsigned)(s[j + 4] >> 4) | ((unsigned)(s[j] >> 6) << 4);
	}
}

/* {half d, dmin; 12 bytes of scales; 128 bytes}: 8 sub-blocks of 32, two to 32 bytes: q · (d · scale) − dmin · min. */
static void row_q4_k(const uint8_t *restrict p, size_t n, float *restrict out)
{
	for (size_t i = 0; i < n; i += 256, p += 144) {
		const float d = half_at(p), dmin = half_at(p + 2);
		const uint8_t *q = p + 16;

		for (size_t pair = 0; pair < 4; pair++, q += 32, out += 64) {
			unsigned s1, m1, s2, m2;

			scale_min_k4(p + 4, 2 * pair, &s1, &m1);
			scale_min_k4(p + 4, 2 * pair + 1, &s2, &m2);
			const float d1 = d * (float)s1, low1 = dmin * (float)m1;
			const float d2 = d * (float)s2, low2 = dmin * (float)m2;
			for (size_t j = 0; j < 32; j++) {
				out[j] = d1 * (float)(int)(q[j] & 15) - low1;
				out[j + 32] = d2 * (float)(int)(q[j] >> 4) - low2;
			}
		}
	}
}

/* {128 bytes of low nibbles; 64 bytes of high bit pairs; 16 signed scales; half d}: (q − 32) · d · scale, 16 elements a
 * scale. */
static void row_q6_k(const uint8_t *restrict p, size_t n, float *restrict out)
{
	for (size_t i = 0; i < n; i += 256, p += 210) {
		const float d = half_at(p + 208);

		for (size_t side = 0; side < 2; side++, out += 128) {
			const uint8_t *ql = p + 64 * side, *qh = p + 128 + 32 * side, *s = p + 192 + 8 * side;

			for (size_t j = 0; j < 32; j++) {
				const size_t is = j / 16;
				const int q1 = (int)((ql[j] & 15u) | ((qh[j] & 3u) << 4)) - 32;
				const int q2 = (int)((ql[j + 32] & 15u) | (((qh[j] >> 2) & 3u) << 4)) - 32;
				const int q3 = (int)((ql[j] >> 4) | (((qh[j] >> 4) & 3u) << 4)) - 32;
				const int q4 = (int)((ql[j + 32] >> 4) | (((qh[j] >> 6) & 3u) << 4)) - 32;

				out[j] = d * (float)(int8_t)s[is] * (float)q1;
				out[j + 32] = d * (float)(int8_t)s[is + 2] * (float)q2;
				out[j + 64] = d * (float)(int8_t)s[is + 4] * (float)q3;
				out[j + 96] = d * (float)(int8_t)s[is + 6] * (float)q4;
			}
		}
	}
}

static const struct row_type {
	enum model_type type;
	size_t element_count, byte_count;
	void (*row)(const uint8_t *restrict p, size_t n, float *restrict out);
} row_types[] = {
	{ MODEL_F32, 1, 4, row_f32 },       { MODEL_F16, 1, 2, row_f16 },       { MODEL_BF16, 1, 2, row_bf16 },
	{ MODEL_Q4_0, 32, 18, row_q4_0 },   { MODEL_Q4_1, 32, 20, row_q4_1 },   { MODEL_Q8_0, 32, 34, row_q8_0 },
	{ MODEL_Q4_K, 256, 144, row_q4_k }, { MODEL_Q6_K, 256, 210, row_q6_k },
};

static const struct row_type *row_type_find(enum model_type type)
{
	for (size_t i = 0; i < sizeof(row_types) / sizeof(row_types[0]); i++)
		if (row_types[i].type == type)
			return &row_types[i];
	return NULL;
}

bool model_quant_block(enum model_type type, size_t *element_count, size_t *byte_count)
{
	const struct row_type *t = row_type_find(type);

	if (!t)
		return false;
	*element_count = t->element_count;
	*byte_count = t->byte_count;
	return true;
}

void model_quant_dequantise(enum model_type type, const void *data, size_t element_count, float *out)
{
	const struct row_type *t = row_type_find(type);

	assert(t && element_count % t->element_count == 0);
	t->row(data, element_count, out);
}
