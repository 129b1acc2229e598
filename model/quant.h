/* quant.h: de-quantisation of ggml blocks to float32, exactly as ggml's reference dequantize_row_* does. Pure. */
#ifndef AMEND_MODEL_QUANT_H
#define AMEND_MODEL_QUANT_H

#include "model/gguf.h"

#include <string.h>

/* Elements in a block and bytes of a block: {1, 4} for F32, {32, 20} for Q4_1, {256, 144} for Q4_K, … false for unknown
 * types. */
bool model_quant_block(enum model_type type, size_t *element_count, size_t *byte_count);
/* out[0..element_count) from `data`, whole blocks: element_count is a multiple of the block's. Asserts on unknown
 * types. */
void model_quant_dequantise(enum model_type type, const void *data, size_t element_count, float *out);

/* A float32's upper half, rounded to nearest even; NaN stays NaN. */
static inline uint16_t model_quant_to_bf16(float value)
{
	uint32_t bits;
	memcpy(&bits, &value, sizeof(bits));
	if ((bits & UINT32_C(0x7FFFFFFF)) > UINT32_C(0x7F800000))
		return (uint16_t)((bits >> 16) | 0x40); /* quiet: a payload in the lost bits must not become infinity */
	return (uint16_t)((bits + UINT32_C(0x7FFF) + ((bits >> 16) & 1)) >> 16);
}

static inline float model_quant_from_bf16(uint16_t bf16)
{
	uint32_t bits = (uint32_t)bf16 << 16;
	float value;
	memcpy(&value, &bits, sizeof(value));
	return value;
}

#endif
