#include "model/cpu_amx.h"

#include "model/cpu.h"
#include "model/quant.h"

#if defined(__x86_64__)
#include <cpuid.h>
#include <immintrin.h>
#include <string.h>
#include <sys/syscall.h>
#include <unistd.h>

#define TARGET      __attribute__((target("avx512f,avx512bw,avx512vl,amx-tile,amx-bf16")))
#define TILE        16 /* rows of a tile, and floats in its rows */
#define DEPTH       32 /* bfloat16 in a tile's row */
#define BLOCK       32 /* rows and columns of a block: 2 × 2 tiles */
#define TILE_ITEMS  ((size_t)TILE * DEPTH)
#define BLOCK_ITEMS (4 * TILE_ITEMS) /* hi, hi, lo, lo */
/* Depth that is summed in registers; and, with ROW_BLOCKS_MAX, what stays in the L2 cache. */
#define DEPTH_BLOCKS_MAX    ((size_t)48)
#define ROW_BLOCKS_MAX      ((size_t)8)
#define LINE_ITEMS          ((size_t)32) /* bfloat16 in a cache line */
#define AHEAD               ((size_t)2) /* blocks of B to fetch ahead; past the end of the data a prefetch does nothing */
#define BARRIER()           __asm__ volatile("" ::: "memory") /* the tile intrinsics do not tell the compiler about memory */
#define ARCH_REQ_XCOMP_PERM 0x1023
#define XFEATURE_TILE_DATA  18

static size_t least(size_t a, size_t b)
{
	return a < b ? a : b;
}

static size_t blocks(size_t n)
{
	return (n + BLOCK - 1) / BLOCK;
}

bool model__amx_ready(void)
{
	unsigned a, b, c, d;
	if (!__builtin_cpu_supports("avx512f") || !__builtin_cpu_supports("avx512bw") ||
	    !__builtin_cpu_supports("avx512vl"))
		return false;
	if (__get_cpuid_count(7, 0, &a, &b, &c, &d) == 0)
		return false;
	if ((d & (1u << 24)) == 0 || (d & (1u << 22)) == 0) /* AMX-TILE, AMX-BF16 */
		return false;
	return syscall(SYS_arch_prctl, ARCH_REQ_XCOMP_PERM, XFEATURE_TILE_DATA) == 0;
}

/* The first `count` of 16 lanes. */
static __mmask16 mask_of(size_t count)
{
	unsigned bits = count >= 16 ? 0xffffu : (1u << count) - 1u;
	return (__mmask16)bits;
}

/* --- Rows of x, split in the same way: blocks of 32 rows; in each, depth blocks: hi rows 0–15, hi 16–31, lo 0–15, lo
 * 16–31. */

/* As model_quant_to_bf16, of 16 at once. */
TARGET static inline __m512i round_bf16(__m512 v)
{
	__m512i bits = _mm512_castps_si512(v), top = _mm512_srli_epi32(bits, 16);
	__m512i odd = _mm512_and_si512(top, _mm512_set1_epi32(1));
	__m512i even = _mm512_srli_epi32(_mm512_add_epi32(_mm512_add_epi32(bits, _mm512_set1_epi32(0x7fff)), odd), 16);
	return _mm512_mask_or_epi32(even, _mm512_cmp_ps_mask(v, v, _CMP_UNORD_Q), top, _mm512_set1_epi32(0x40));
}

/* 32 floats of one row; `valid` of them are there. */
TARGET static void split_32(uint16_t *hi, uint16_t *lo, const float *x, size_t valid)
{
	for (size_t half = 0; half < 2; half++) {
		size_t left = valid > half * 16 ? valid - half * 16 : 0;
		__mmask16 mask = mask_of(left);
		__m512 v = _mm512_maskz_loadu_ps(mask, x + half * 16);
		__m512i top = round_bf16(v);
		__m512 rest = _mm512_sub_ps(v, _mm512_castsi512_ps(_mm512_slli_epi32(top, 16)));
		__m512i low = round_bf16(rest);
		_mm256_storeu_si256((__m256i *)(void *)(hi + half * 16), _mm512_cvtepi32_epi16(top));
		_mm256_storeu_si256((__m256i *)(void *)(lo + half * 16), _mm512_cvtepi32_epi16(low));
	}
}

TARGET static void split_row_block(uint16_t *to, const float *x, size_t row_count, size_t depth)
{
	for (size_t k = 0; k < blocks(depth); k++, to += BLOCK_ITEMS) {
		size_t valid = depth - k * DEPTH < DEPTH ? depth - k * DEPTH : DEPTH;
		for (size_t r = 0; r < BLOCK; r++) {
			uint16_t *hi = to + r * DEPTH; /* rows 16–31 follow rows 0–15 */
			if (r < row_count)
				split_32(hi, hi + 2 * TILE_ITEMS, x + r * depth + k * DEPTH, valid);
			else {
				memset(hi, 0, DEPTH * sizeof(*hi));
				memset(hi + 2 * TILE_ITEMS, 0, DEPTH * sizeof(*hi));
			}
		}
	}
}

/* --- Packing of B. Blocks of 32 columns; in each, depth blocks of 32; in each, tiles of 16 columns: hi 0, hi 1, lo 0,
 * lo 1. A tile's row holds two depths of 16 columns, side by side, as TDPBF16PS wants them. */

int model__tiles_new(struct model__tiles *tiles, struct model__pages *pages, size_t depth, size_t width)
{
	uint16_t *data = model__pages_alloc(pages, blocks(width) * blocks(depth) * BLOCK_ITEMS * sizeof(*data));
	*tiles = (struct model__tiles){ depth, width, data };
	return data == NULL ? ERR_NOMEM : 0;
}

/* 16 × 16 numbers of 32 bits: first within groups of four rows, then the groups. */
TARGET static inline void transpose(__m512i r[TILE])
{
	__m512i t[TILE];
#pragma GCC unroll 4
	for (size_t g = 0; g < TILE; g += 4) {
		t[g] = _mm512_unpacklo_epi32(r[g], r[g + 1]);
		t[g + 1] = _mm512_unpackhi_epi32(r[g], r[g + 1]);
		t[g + 2] = _mm512_unpacklo_epi32(r[g + 2], r[g + 3]);
		t[g + 3] = _mm512_unpackhi_epi32(r[g + 2], r[g + 3]);
		r[g] = _mm512_unpacklo_epi64(t[g], t[g + 2]);
		r[g + 1] = _mm512_unpackhi_epi64(t[g], t[g + 2]);
		r[g + 2] = _mm512_unpacklo_epi64(t[g + 1], t[g + 3]);
		r[g + 3] = _mm512_unpackhi_epi64(t[g + 1], t[g + 3]);
	}
#pragma GCC unroll 4
	for (size_t j = 0; j < 4; j++) {
		const __m512i even = _mm512_shuffle_i32x4(r[j], r[4 + j], 0x88),
			      odd = _mm512_shuffle_i32x4(r[j], r[4 + j], 0xdd),
			      even2 = _mm512_shuffle_i32x4(r[8 + j], r[12 + j], 0x88),
			      odd2 = _mm512_shuffle_i32x4(r[8 + j], r[12 + j], 0xdd);
		t[j] = _mm512_shuffle_i32x4(even, even2, 0x88);
		t[4 + j] = _mm512_shuffle_i32x4(odd, odd2, 0x88);
		t[8 + j] = _mm512_shuffle_i32x4(even, even2, 0xdd);
		t[12 + j] = _mm512_shuffle_i32x4(odd, odd2, 0xdd);
	}
#pragma GCC unroll 16
	for (size_t i = 0; i < TILE; i++)
		r[i] = t[i];
}

/* A block from rows of w that are B's columns, `stride` apart. */
TARGET static void pack_columns(uint16_t *to, const float *rows, size_t row_count, size_t stride, size_t valid)
{
	for (size_t tile = 0; tile < 2; tile++, to += TILE_ITEMS) {
		_Alignas(64) uint16_t hi[TILE_ITEMS], lo[TILE_ITEMS];
		__m512i r[TILE];
		const size_t first = tile * TILE, count = row_count > first ? least(row_count - first, TILE) : 0;
		for (size_t n = 0; n < TILE; n++) {
			if (n < count) {
				split_32(hi + n * DEPTH, lo + n * DEPTH, rows + (first + n) * stride, valid);
			} else {
				memset(hi + n * DEPTH, 0, DEPTH * sizeof(*hi));
				memset(lo + n * DEPTH, 0, DEPTH * sizeof(*lo));
			}
		}
		for (size_t part = 0; part < 2; part++) {
			const uint16_t *from = part == 0 ? hi : lo;
			uint16_t *out = to + part * 2 * TILE_ITEMS;
#pragma GCC unroll 16
			for (size_t n = 0; n < TILE; n++)
				r[n] = _mm512_load_si512(from + n * DEPTH);
			transpose(r);
#pragma GCC unroll 16
			for (size_t n = 0; n < TILE; n++)
				_mm512_storeu_si512(out + n * DEPTH, r[n]);
		}
	}
}

/* A block from rows of w that are B's depths. */
TARGET static void pack_depths(uint16_t *to, const float *rows, size_t row_count, size_t stride, size_t valid)
{
	for (size_t tile = 0; tile < 2; tile++, to += TILE_ITEMS) {
		const __mmask16 mask = mask_of(valid > tile * TILE ? valid - tile * TILE : 0);
		for (size_t k = 0; k < row_count; k += 2) {
			const float *row = rows + k * stride + tile * TILE;
			const __m512 even = _mm512_maskz_loadu_ps(mask, row),
				     odd = _mm512_maskz_loadu_ps(k + 1 < row_count ? mask : 0, row + stride);
			const __m512i even_hi = _mm512_slli_epi32(round_bf16(even), 16),
				      odd_hi = _mm512_slli_epi32(round_bf16(odd), 16);
			const __m512i even_lo = round_bf16(_mm512_sub_ps(even, _mm512_castsi512_ps(even_hi))),
				      odd_lo = round_bf16(_mm512_sub_ps(odd, _mm512_castsi512_ps(odd_hi)));
			_mm512_storeu_si512(to + k / 2 * DEPTH,
					    _mm512_or_si512(_mm512_srli_epi32(even_hi, 16), odd_hi));
			_mm512_storeu_si512(to + 2 * TILE_ITEMS + k / 2 * DEPTH,
					    _mm512_or_si512(even_lo, _mm512_slli_epi32(odd_lo, 16)));
		}
	}
}

void model__tiles_fill(const struct model__tiles *tiles, const float *rows, bool transposed, size_t panel,
		       size_t row_count)
{
	const size_t deep = blocks(tiles->depth), columns = transposed ? tiles->depth : tiles->width;
	for (size_t b = 0; b < blocks(columns); b++) {
		const size_t valid = least(columns - b * BLOCK, BLOCK);
		if (transposed)
			pack_columns(tiles->data + (panel * deep + b) * BLOCK_ITEMS, rows + b * BLOCK, row_count,
				     columns, valid);
		else
			pack_depths(tiles->data + (b * deep + panel) * BLOCK_ITEMS, rows + b * BLOCK, row_count,
				    columns, valid);
	}
}

/* --- The product */

struct tile_config {
	uint8_t palette, start_row, reserved[14];
	uint16_t row_bytes[16];
	uint8_t rows[16];
};

TARGET static void tiles_on(void)
{
	struct tile_config config = { .palette = 1 };
	for (size_t t = 0; t < 8; t++) {
		config.row_bytes[t] = 64;
		config.rows[t] = TILE;
	}
	BARRIER();
	_tile_loadconfig(&config);
}

TARGET static void tiles_off(void)
{
	_tile_release();
}

/* c (32 × 32) = Σ over depth blocks: hi·hi + hi·lo + lo·hi. Tiles 0–3 sum, 4–5 hold rows, 6–7 columns. */
TARGET static void block_product(float *c, const uint16_t *a, const uint16_t *b, size_t depth_blocks, bool first)
{
	_tile_zero(0);
	_tile_zero(1);
	_tile_zero(2);
	_tile_zero(3);
	for (size_t k = 0; k < depth_blocks; k++, a += BLOCK_ITEMS, b += BLOCK_ITEMS) {
		/* the first rows bring B from memory: tile loads alone keep too few lines in flight */
		for (size_t line = 0; first && line < BLOCK_ITEMS; line += LINE_ITEMS)
			_mm_prefetch((const char *)(b + AHEAD * BLOCK_ITEMS + line), _MM_HINT_T1);
		_tile_loadd(4, a, 64);
		_tile_loadd(6, b + 2 * TILE_ITEMS, 64);
		_tile_loadd(7, b + 3 * TILE_ITEMS, 64);
		_tile_loadd(5, a + TILE_ITEMS, 64);
		_tile_dpbf16ps(0, 4, 6);
		_tile_dpbf16ps(1, 4, 7);
		_tile_dpbf16ps(2, 5, 6);
		_tile_dpbf16ps(3, 5, 7);
		_tile_loadd(6, b, 64);
		_tile_loadd(7, b + TILE_ITEMS, 64);
		_tile_dpbf16ps(0, 4, 6);
		_tile_dpbf16ps(1, 4, 7);
		_tile_dpbf16ps(2, 5, 6);
		_tile_dpbf16ps(3, 5, 7);
		_tile_loadd(4, a + 2 * TILE_ITEMS, 64);
		_tile_loadd(5, a + 3 * TILE_ITEMS, 64);
		_tile_dpbf16ps(0, 4, 6);
		_tile_dpbf16ps(1, 4, 7);
		_tile_dpbf16ps(2, 5, 6);
		_tile_dpbf16ps(3, 5, 7);
	}
	_tile_stored(0, c, BLOCK * sizeof(float));
	_tile_stored(1, c + TILE, BLOCK * sizeof(float));
	_tile_stored(2, c + (size_t)TILE * BLOCK, BLOCK * sizeof(float));
	_tile_stored(3, c + (size_t)TILE * BLOCK + TILE, BLOCK * sizeof(float));
	BARRIER();
}

TARGET static void put_block(float *y, const float *c, bool accumulate, size_t row_count, size_t column_count,
			     size_t stride)
{
	__mmask16 left = mask_of(column_count);
	size_t more = column_count > 16 ? column_count - 16 : 0;
	__mmask16 right = mask_of(more);
	for (size_t r = 0; r < row_count; r++, y += stride, c += BLOCK) {
		__m512 v0 = _mm512_loadu_ps(c), v1 = _mm512_loadu_ps(c + 16);
		if (accumulate) {
			v0 = _mm512_add_ps(v0, _mm512_maskz_loadu_ps(left, y));
			v1 = _mm512_add_ps(v1, _mm512_maskz_loadu_ps(right, y + 16));
		}
		_mm512_mask_storeu_ps(y, left, v0);
		_mm512_mask_storeu_ps(y + 16, right, v1);
	}
}

struct job {
	float *y;
	const uint16_t *rows;
	const struct model__tiles *tiles;
	size_t row_count, row_from, row_to, depth_from, depth_to; /* of blocks, except row_count */
	bool accumulate;
};

static void column_block(const struct job *j, size_t n)
{
	float c[BLOCK * BLOCK] __attribute__((aligned(64)));
	size_t deep = blocks(j->tiles->depth), width = j->tiles->width;
	const uint16_t *b = j->tiles->data + (n * deep + j->depth_from) * BLOCK_ITEMS;
	for (size_t m = j->row_from; m < j->row_to; m++) {
		size_t rows_left = j->row_count - m * BLOCK, columns_left = width - n * BLOCK;
		block_product(c, j->rows + (m * deep + j->depth_from) * BLOCK_ITEMS, b, j->depth_to - j->depth_from,
			      m == j->row_from);
		put_block(j->y + m * BLOCK * width + n * BLOCK, c, j->accumulate || j->depth_from > 0,
			  rows_left < BLOCK ? rows_left : BLOCK, columns_left < BLOCK ? columns_left : BLOCK, width);
	}
}

static int reserve_rows(struct model__cpu *cpu, size_t byte_count)
{
	if (byte_count <= cpu->rows_bytes)
		return 0;
	void *rows = model__host_bytes(byte_count);
	if (rows == NULL)
		return ERR_NOMEM;
	model__host_bytes_free(cpu->rows);
	cpu->rows = rows;
	cpu->rows_bytes = byte_count;
	return 0;
}

int model__amx_product(struct model__cpu *cpu, float *y, const float *x, const struct model__tiles *tiles,
		       bool accumulate, size_t rows)
{
	size_t deep = blocks(tiles->depth), row_blocks = blocks(rows);
	int rc = reserve_rows(cpu, row_blocks * deep * BLOCK_ITEMS * sizeof(uint16_t));
	if (rc != 0)
		return rc;
	uint16_t *split = cpu->rows;
	int threads = model__cpu_threads(cpu, rows * tiles->depth * tiles->width / 8);
#pragma omp parallel num_threads(threads) if (threads > 1)
	{
#pragma omp for schedule(static)
		for (size_t m = 0; m < row_blocks; m++)
			split_row_block(split + m * deep * BLOCK_ITEMS, x + m * BLOCK * tiles->depth,
					least(rows - m * BLOCK, BLOCK), tiles->depth);
		tiles_on();
		for (size_t k = 0; k < deep; k += DEPTH_BLOCKS_MAX) {
			for (size_t m = 0; m < row_blocks; m += ROW_BLOCKS_MAX) {
				const struct job job = { y,         split,
							 tiles,     rows,
							 m,         least(m + ROW_BLOCKS_MAX, row_blocks),
							 k,         least(k + DEPTH_BLOCKS_MAX, deep),
							 accumulate };
				/* static: a thread always has the same columns, so the passes need no barrier */
#pragma omp for schedule(static) nowait
				for (size_t n = 0; n < blocks(tiles->width); n++)
					column_block(&job, n);
			}
		}
		tiles_off();
	}
	return 0;
}

/* --- Few rows: reads the tiles once with ordinary vectors; hi + lo gives the weight back. */

TARGET static inline __attribute__((always_inline)) void skinny_block(float *y, const float *x, const uint16_t *b,
								      bool accumulate, const size_t rows, size_t depth,
								      size_t width, size_t column_count)
{
	const __m512i top = _mm512_set1_epi32((int)0xffff0000u);
	__m512 sum[2 * MODEL__SKINNY_ROWS_MAX];
#pragma GCC unroll 16
	for (size_t i = 0; i < 2 * rows; i++)
		sum[i] = _mm512_setzero_ps();
	for (size_t k = 0; k < depth; k += 2) {
		size_t at = k / DEPTH * BLOCK_ITEMS + k % DEPTH / 2 * DEPTH;
		bool pair = k + 1 < depth;
#pragma GCC unroll 2
		for (size_t t = 0; t < 2; t++) {
			_mm_prefetch((const char *)(b + at + t * TILE_ITEMS + AHEAD * BLOCK_ITEMS), _MM_HINT_T0);
			_mm_prefetch((const char *)(b + at + (t + 2) * TILE_ITEMS + AHEAD * BLOCK_ITEMS), _MM_HINT_T0);
			__m512i hi = _mm512_loadu_si512(b + at + t * TILE_ITEMS),
				lo = _mm512_loadu_si512(b + at + (t + 2) * TILE_ITEMS);
			__m512 even = _mm512_add_ps(_mm512_castsi512_ps(_mm512_slli_epi32(hi, 16)),
						    _mm512_castsi512_ps(_mm512_slli_epi32(lo, 16)));
			__m512 odd = _mm512_add_ps(_mm512_castsi512_ps(_mm512_and_si512(hi, top)),
						   _mm512_castsi512_ps(_mm512_and_si512(lo, top)));
#pragma GCC unroll 8
			for (size_t r = 0; r < rows; r++) {
				sum[2 * r + t] =
					_mm512_fmadd_ps(even, _mm512_set1_ps(x[r * depth + k]), sum[2 * r + t]);
				if (pair)
					sum[2 * r + t] = _mm512_fmadd_ps(odd, _mm512_set1_ps(x[r * depth + k + 1]),
									 sum[2 * r + t]);
			}
		}
	}
	for (size_t r = 0; r < rows; r++) {
		float c[BLOCK];
		_mm512_storeu_ps(c, sum[2 * r]);
		_mm512_storeu_ps(c + 16, sum[2 * r + 1]);
		put_block(y + r * width, c, accumulate, 1, column_count, width);
	}
}

#define SKINNY_ROWS(rows_)                                                                                             \
	case rows_:                                                                                                    \
		skinny_block(y, x, b, accumulate, rows_, depth, width, column_count);                                  \
		break

TARGET static void skinny_columns(float *y, const float *x, const uint16_t *b, bool accumulate, size_t rows,
				  size_t depth, size_t width, size_t column_count)
{
	switch (rows) {
		SKINNY_ROWS(1);
		SKINNY_ROWS(2);
		SKINNY_ROWS(3);
		SKINNY_ROWS(4);
		SKINNY_ROWS(5);
		SKINNY_ROWS(6);
		SKINNY_ROWS(7);
		SKINNY_ROWS(8);
	default:
		break;
	}
}

void model__amx_skinny(struct model__cpu *cpu, float *y, const float *x, const struct model__tiles *tiles,
		       bool accumulate, size_t rows)
{
	size_t deep = blocks(tiles->depth), width = tiles->width;
	int threads = model__cpu_threads(cpu, rows * tiles->depth * width / 4);
#pragma omp parallel for schedule(static) num_threads(threads) if (threads > 1)
	for (size_t n = 0; n < blocks(width); n++)
		skinny_columns(y + n * BLOCK, x, tiles->data + n * deep * BLOCK_ITEMS, accumulate, rows, tiles->depth,
			       width, least(width - n * BLOCK, BLOCK));
}
#else
bool model__amx_ready(void)
{
	return false;
}

int model__tiles_new(struct model__tiles *tiles, struct model__pages *pages, size_t depth, size_t width)
{
	(void)tiles, (void)pages, (void)depth, (void)width;
	return ERR_UNSUPPORTED;
}

void model__tiles_fill(const struct model__tiles *tiles, const float *rows, bool transposed, size_t panel,
		       size_t row_count)
{
	(void)tiles, (void)rows, (void)transposed, (void)panel, (void)row_count;
}

int model__amx_product(struct model__cpu *cpu, float *y, const float *x, const struct model__tiles *tiles,
		       bool accumulate, size_t rows)
{
	(void)cpu, (void)y, (void)x, (void)tiles, (void)accumulate, (void)rows;
	return ERR_UNSUPPORTED;
}

void model__amx_skinny(struct model__cpu *cpu, float *y, const float *x, const struct model__tiles *tiles,
		       bool accumulate, size_t rows)
{
	(void)cpu, (void)y, (void)x, (void)tiles, (void)accumulate, (void)rows;
}
#endif
