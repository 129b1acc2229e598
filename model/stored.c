#include "model/stored.h"

#include "model/quant.h"

#include <assert.h>
#include <string.h>

#define BLOCK MODEL__STORED_BLOCK
#define PANEL MODEL__STORED_PANEL
#define ROWS  MODEL__STORED_ROWS_MAX

static_assert(sizeof(struct model__rounded) == 80, "blocks of x stand in a row without gaps");

/* ---- Packing of a panel: `rows` points to `count` rows of the file, `row_bytes` apart; what is missing stays as it
 * is. */

/* Per block: 256 bytes of nibbles, then 16 scales, 16 minima. A file's block has depth j and j + 16 in byte j; four
 * bytes of each output make a vector. */
static void pack_q4_1(uint8_t *to, const uint8_t *rows, size_t row_bytes, size_t count, size_t depth)
{
	enum { FILE_BYTES = 20, BYTES = 320 };
	for (size_t b = 0; b < depth / BLOCK; b++, to += BYTES) {
		for (size_t o = 0; o < count; o++) {
			const uint8_t *from = rows + o * row_bytes + b * FILE_BYTES;
			memcpy(to + 256 + 2 * o, from, 2);
			memcpy(to + 288 + 2 * o, from + 2, 2);
			for (size_t v = 0; v < 4; v++)
				memcpy(to + 64 * v + 4 * o, from + 4 + 4 * v, 4);
		}
	}
}

/* The panel's blocks of 512 bytes, four depths of each output in a vector, 128 added (VPDPBUSD multiplies unsigned by
 * signed numbers); then the blocks' 16 scales each. */
static void pack_q8_0(uint8_t *to, const uint8_t *rows, size_t row_bytes, size_t count, size_t depth)
{
	enum { FILE_BYTES = 34, BYTES = 512 };
	const size_t blocks = depth / BLOCK;
	uint8_t *scales = to + blocks * BYTES;
	if (count < PANEL)
		memset(to, 0x80, blocks * BYTES);
	for (size_t b = 0; b < blocks; b++) {
		for (size_t o = 0; o < count; o++) {
			const uint8_t *from = rows + o * row_bytes + b * FILE_BYTES;
			memcpy(scales + 2 * (b * PANEL + o), from, 2);
			for (size_t v = 0; v < BLOCK / 4; v++) {
				uint32_t four;
				memcpy(&four, from + 2 + 4 * v, 4);
				four ^= UINT32_C(0x80808080);
				memcpy(to + b * BYTES + 64 * v + 4 * o, &four, 4);
			}
		}
	}
}

/* Two depths of each output in a vector. */
static void pack_bf16(uint8_t *to, const uint8_t *rows, size_t row_bytes, size_t count, size_t depth)
{
	for (size_t k = 0; k < depth; k += 2) {
		for (size_t o = 0; o < count; o++)
			memcpy(to + k / 2 * 64 + 4 * o, rows + o * row_bytes + 2 * k, k + 1 < depth ? 4 : 2);
	}
}

static const struct form {
	enum model_type type;
	size_t panel_bytes; /* of BLOCK depths */
	bool rounds;
	void (*pack)(uint8_t *to, const uint8_t *rows, size_t row_bytes, size_t count, size_t depth);
} forms[] = {
	{ MODEL_Q4_1, 320, true, pack_q4_1 },
	{ MODEL_Q8_0, 544, true, pack_q8_0 },
	{ MODEL_BF16, 1024, false, pack_bf16 },
};

static const struct form *form_of(enum model_type type)
{
	for (size_t i = 0; i < sizeof(forms) / sizeof(forms[0]); i++) {
		if (forms[i].type == type)
			return &forms[i];
	}
	return NULL;
}

static size_t panel_bytes(const struct form *form, size_t depth)
{
	return (depth + BLOCK - 1) / BLOCK * form->panel_bytes;
}

static size_t panels_of(size_t width)
{
	return (width + PANEL - 1) / PANEL;
}

size_t model__stored_bytes(enum model_type type, size_t width, size_t depth)
{
	const struct form *form = form_of(type);
	return form == NULL || (form->rounds && depth % BLOCK != 0) ? 0 : panels_of(width) * panel_bytes(form, depth);
}

void model__stored_pack(struct model__stored *stored, void *memory, enum model_type type, const void *data,
			size_t width, size_t depth)
{
	const struct form *form = form_of(type);
	size_t elements, bytes;
	const bool known = model_quant_block(type, &elements, &bytes);
	assert(known && form != NULL);
	const size_t row_bytes = depth / elements * bytes, size = panel_bytes(form, depth);
	*stored = (struct model__stored){ type, depth, width, memory };
	for (size_t p = 0; p < panels_of(width); p++)
		form->pack(stored->data + p * size, (const uint8_t *)data + p * PANEL * row_bytes, row_bytes,
			   width - p * PANEL < PANEL ? width - p * PANEL : PANEL, depth);
}

size_t model__stored_panels(const struct model__stored *stored)
{
	return panels_of(stored->width);
}

bool model__stored_rounds(const struct model__stored *stored)
{
	return form_of(stored->type)->rounds;
}

/* ---- Products */

static void put_sums(float *y, const float *sums, bool accumulate, size_t rows, size_t count, size_t stride)
{
	for (size_t r = 0; r < rows; r++, y += stride, sums += PANEL) {
		for (size_t o = 0; o < count; o++)
			y[o] = accumulate ? y[o] + sums[o] : sums[o];
	}
}

void model__stored_product(const struct model__stored_kernel *kernel, float *y, const float *x,
			   const struct model__rounded *rounded, const struct model__stored *stored, bool accumulate,
			   size_t rows, size_t from, size_t to)
{
	_Alignas(64) float sums[ROWS * PANEL];
	const size_t width = stored->width, depth = stored->depth, blocks = depth / BLOCK;
	const size_t size = panel_bytes(form_of(stored->type), depth);
	for (size_t p = from; p < to; p++) {
		const uint8_t *panel = stored->data + p * size;
		for (size_t first = 0; first < rows; first += ROWS) {
			const size_t count = rows - first < ROWS ? rows - first : ROWS;
			if (stored->type == MODEL_Q4_1)
				kernel->q4_1(sums, panel, rounded + first * blocks, blocks, count);
			else if (stored->type == MODEL_Q8_0)
				kernel->q8_0(sums, panel, rounded + first * blocks, blocks, count);
			else
				kernel->bf16(sums, panel, x + first * depth, depth, count);
			put_sums(y + first * width + p * PANEL, sums, accumulate, count,
				 width - p * PANEL < PANEL ? width - p * PANEL : PANEL, width);
		}
	}
}

const struct model__stored_kernel *model__stored_kernel_of(const char *name)
{
	const struct model__stored_kernel *const kernels[] = { model__stored_avx512(), model__stored_avx2(),
							       &model__stored_portable };
	for (size_t i = 0; i < sizeof(kernels) / sizeof(kernels[0]); i++) {
		if (kernels[i] != NULL && (name == NULL || strcmp(name, kernels[i]->name) == 0))
			return kernels[i];
	}
	return NULL;
}

/* ---- The oracle */

static float half_at(const uint8_t *p)
{
	float value;
	model_quant_dequantise(MODEL_F16, p, 1, &value);
	return value;
}

static int32_t rounded_at(const struct model__rounded *x, size_t i)
{
	return MODEL__STORED_BASE * x->high[i] + x->low[i];
}

static double block_q4_1(const struct model__rounded *x, const uint8_t *block)
{
	int32_t dot = 0;
	for (size_t j = 0; j < BLOCK / 2; j++)
		dot += (block[4 + j] & 15) * rounded_at(x, j) + (block[4 + j] >> 4) * rounded_at(x, j + BLOCK / 2);
	return (double)half_at(block) * (double)x->scale * dot + (double)half_at(block + 2) * (double)x->sum;
}

static double block_q8_0(const struct model__rounded *x, const uint8_t *block)
{
	int32_t dot = 0;
	for (size_t j = 0; j < BLOCK; j++)
		dot += (int8_t)block[2 + j] * rounded_at(x, j);
	return (double)half_at(block) * (double)x->scale * dot;
}

float model__stored_reference(const struct model__rounded *rounded, const float *x, enum model_type type,
			      const uint8_t *row, size_t depth)
{
	double sum = 0;
	if (type == MODEL_BF16) {
		for (size_t k = 0; k < depth; k++) {
			uint16_t bits;
			memcpy(&bits, row + 2 * k, sizeof(bits));
			sum += (double)x[k] * (double)model_quant_from_bf16(bits);
		}
		return (float)sum;
	}
	for (size_t b = 0; b < depth / BLOCK; b++)
		sum += type == MODEL_Q4_1 ? block_q4_1(rounded + b, row + b * 20)
					  : block_q8_0(rounded + b, row + b * 34);
	return (float)sum;
}
