#include "model/cpu_amx_internal.h"

#include "model/cpu.h"
#include "model/quant.h"

#if defined(__x86_64__)
#include <cpuid.h>
#include <immintrin.h>
#include <string.h>
#include <sys/syscall.h>
#include <unistd.h>

#define DEPTH_BLOCKS_MAX    ((size_t)48)  /* that are summed in registers */
#define L2_BLOCKS           ((size_t)384) /* of rows: what stays in the L2 cache while the columns pass */
#define LINE_ITEMS          ((size_t)32)  /* bfloat16 in a cache line */
#define BARRIER()           __asm__ volatile("" ::: "memory") /* the tile intrinsics do not tell the compiler about memory */
#define ARCH_REQ_XCOMP_PERM 0x1023
#define XFEATURE_TILE_DATA  18

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
	if (__get_cpuid_count(7, 1, &a, &b, &c, &d) == 0 || (a & (1u << 5)) == 0) /* AVX512_BF16 */
		return false;
	return syscall(SYS_arch_prctl, ARCH_REQ_XCOMP_PERM, XFEATURE_TILE_DATA) == 0;
}

/* --- Rows of x, split: blocks of 32 rows; in each, depth blocks: hi rows 0–15, hi 16–31, lo 0–15, lo
 * 16–31. */

/* As model_quant_to_bf16, of 16 at once. */
TARGET static inline __m512i round_bf16(__m512 v)
{
	__m512i bits = _mm512_castps_si512(v), top = _mm512_srli_epi32(bits, 16);
	__m512i odd = _mm512_and_si512(top, _mm512_set1_epi32(1));
	__m512i even = _mm512_srli_epi32(_mm512_add_epi32(_mm512_add_epi32(bits, _mm512_set1_epi32(0x7fff)), odd), 16);
	return _mm512_mask_or_epi32(even, _mm512_cmp_ps_mask(v, v, _CMP_UNORD_Q), top, _mm512_set1_epi32(0x40));
}

/* 32 floats of one row; `valid` of them are there. lo NULL: only hi. Denormals become 0, as the tiles take them. */
TARGET static inline void split_32(uint16_t *hi, uint16_t *lo, const float *x, size_t valid)
{
	const __m512 v0 = _mm512_maskz_loadu_ps(mask_of(valid), x),
		     v1 = _mm512_maskz_loadu_ps(mask_of(valid > TILE ? valid - TILE : 0), x + TILE);
	const __m512i top = (__m512i)_mm512_cvtne2ps_pbh(v1, v0);
	_mm512_storeu_si512(hi, top);
	if (lo == NULL)
		return;
	const __m512i top0 = _mm512_slli_epi32(_mm512_cvtepu16_epi32(_mm512_castsi512_si256(top)), 16),
		      top1 = _mm512_slli_epi32(_mm512_cvtepu16_epi32(_mm512_extracti64x4_epi64(top, 1)), 16);
	_mm512_storeu_si512(lo, (__m512i)_mm512_cvtne2ps_pbh(_mm512_sub_ps(v1, _mm512_castsi512_ps(top1)),
							     _mm512_sub_ps(v0, _mm512_castsi512_ps(top0))));
}

/* `whole`: lo as well. */
TARGET static void split_row_block(uint16_t *to, const float *x, bool whole, size_t row_count, size_t depth)
{
	for (size_t k = 0; k < blocks(depth); k++, to += BLOCK_ITEMS) {
		const size_t valid = least(depth - k * DEPTH, DEPTH);
		for (size_t r = 0; r < BLOCK; r++) {
			uint16_t *hi = to + r * DEPTH, *lo = hi + 2 * TILE_ITEMS; /* rows 16–31 follow rows 0–15 */
			if (r < row_count) {
				split_32(hi, whole ? lo : NULL, x + r * depth + k * DEPTH, valid);
				continue;
			}
			memset(hi, 0, DEPTH * sizeof(*hi));
			memset(lo, 0, DEPTH * sizeof(*lo));
		}
	}
}

/* --- Packing of B. Blocks of 32 columns; in each, depth blocks of 32; in each, tiles of 16 columns: hi 0, hi 1, lo 0,
 * lo 1. A tile's row holds two depths of 16 columns, side by side, as TDPBF16PS wants them. */

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
		for (size_t k = 0; k < DEPTH; k += 2) {
			const float *row = rows + k * stride + tile * TILE;
			const __m512 even = _mm512_maskz_loadu_ps(k < row_count ? mask : 0, row),
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

int model__tiles_new(struct model__tiles *tiles, struct model__pages *pages, size_t depth, size_t width)
{
	uint16_t *data = model__pages_alloc(pages, blocks(width) * blocks(depth) * BLOCK_ITEMS * sizeof(*data));
	*tiles = (struct model__tiles){ depth, width, data };
	return data == NULL ? ERR_NOMEM : 0;
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

TARGET static inline void zero_sums(void)
{
	_tile_zero(0);
	_tile_zero(1);
	_tile_zero(2);
	_tile_zero(3);
}

/* c (32 × 32) = tiles 0–3. */
TARGET static inline void store_sums(float *c)
{
	_tile_stored(0, c, BLOCK * sizeof(float));
	_tile_stored(1, c + TILE, BLOCK * sizeof(float));
	_tile_stored(2, c + (size_t)TILE * BLOCK, BLOCK * sizeof(float));
	_tile_stored(3, c + (size_t)TILE * BLOCK + TILE, BLOCK * sizeof(float));
	BARRIER();
}

/* Tiles 0–3 += rows in tiles 4 and 5 · columns in tiles 6 and 7. */
TARGET static inline void add_products(void)
{
	_tile_dpbf16ps(0, 4, 6);
	_tile_dpbf16ps(1, 4, 7);
	_tile_dpbf16ps(2, 5, 6);
	_tile_dpbf16ps(3, 5, 7);
}

/* The first rows bring B from memory: tile loads alone keep too few lines in flight. */
TARGET static inline void fetch_ahead(const uint16_t *b, size_t items)
{
	for (size_t line = 0; line < items; line += LINE_ITEMS)
		_mm_prefetch((const char *)(b + AHEAD * BLOCK_ITEMS + line), _MM_HINT_T1);
}

/* c = Σ over depth blocks: hi·lo + hi·hi + lo·hi. */
TARGET static void block_product(float *c, const uint16_t *a, const uint16_t *b, size_t depth_blocks, bool first)
{
	zero_sums();
	for (size_t k = 0; k < depth_blocks; k++, a += BLOCK_ITEMS, b += BLOCK_ITEMS) {
		if (first)
			fetch_ahead(b, BLOCK_ITEMS);
		_tile_loadd(4, a, 64);
		_tile_loadd(6, b + 2 * TILE_ITEMS, 64);
		_tile_loadd(7, b + 3 * TILE_ITEMS, 64);
		_tile_loadd(5, a + TILE_ITEMS, 64);
		add_products();
		_tile_loadd(6, b, 64);
		_tile_loadd(7, b + TILE_ITEMS, 64);
		add_products();
		_tile_loadd(4, a + 2 * TILE_ITEMS, 64);
		_tile_loadd(5, a + 3 * TILE_ITEMS, 64);
		add_products();
	}
	store_sums(c);
}

/* c = Σ over depth blocks: hi·hi. */
TARGET static void block_product_hi(float *c, const uint16_t *a, const uint16_t *b, size_t depth_blocks, bool first)
{
	zero_sums();
	for (size_t k = 0; k < depth_blocks; k++, a += BLOCK_ITEMS, b += BLOCK_ITEMS) {
		if (first)
			fetch_ahead(b, 2 * TILE_ITEMS);
		_tile_loadd(4, a, 64);
		_tile_loadd(6, b, 64);
		_tile_loadd(7, b + TILE_ITEMS, 64);
		_tile_loadd(5, a + TILE_ITEMS, 64);
		add_products();
	}
	store_sums(c);
}

struct job {
	float *y;
	const uint16_t *rows;
	const struct model__tiles *tiles;
	size_t row_count, row_from, row_to, depth_from, depth_to; /* of blocks, except row_count */
	bool accumulate, whole;
};

static void column_block(const struct job *j, size_t n)
{
	float c[BLOCK * BLOCK] __attribute__((aligned(64)));
	size_t deep = blocks(j->tiles->depth), width = j->tiles->width;
	const uint16_t *b = j->tiles->data + (n * deep + j->depth_from) * BLOCK_ITEMS;
	for (size_t m = j->row_from; m < j->row_to; m++) {
		const uint16_t *a = j->rows + (m * deep + j->depth_from) * BLOCK_ITEMS;
		if (j->whole)
			block_product(c, a, b, j->depth_to - j->depth_from, m == j->row_from);
		else
			block_product_hi(c, a, b, j->depth_to - j->depth_from, m == j->row_from);
		put_block(j->y + m * BLOCK * width + n * BLOCK, c, j->accumulate || j->depth_from > 0,
			  least(j->row_count - m * BLOCK, BLOCK), least(width - n * BLOCK, BLOCK), width);
	}
}

/* By the threads of the parallel region that it is called in. */
static void run_job(struct job job)
{
	const size_t deep = blocks(job.tiles->depth), row_blocks = blocks(job.row_count);
	const size_t most = L2_BLOCKS / least(deep, DEPTH_BLOCKS_MAX), parts = (row_blocks + most - 1) / most;
	for (size_t k = 0; k < deep; k += DEPTH_BLOCKS_MAX) {
		job.depth_from = k;
		job.depth_to = least(k + DEPTH_BLOCKS_MAX, deep);
		for (size_t part = 0; part < parts; part++) {
			job.row_from = row_blocks * part / parts;
			job.row_to = row_blocks * (part + 1) / parts;
			/* static: a thread always has the same columns, so the passes need no barrier */
#pragma omp for schedule(static) nowait
			for (size_t n = 0; n < blocks(job.tiles->width); n++)
				column_block(&job, n);
		}
	}
}

static int reserve(void **memory, size_t *bytes, size_t byte_count)
{
	if (byte_count <= *bytes)
		return 0;
	void *grown = model__host_bytes(byte_count);
	if (grown == NULL)
		return ERR_NOMEM;
	model__host_bytes_free(*memory);
	*memory = grown;
	*bytes = byte_count;
	return 0;
}

static bool is_whole(const struct model__cpu *cpu)
{
	return !(cpu->bf16 && cpu->base.training);
}

int model__amx_products(struct model__cpu *cpu, float *const *y, const float *x,
			const struct model__tiles *const *tiles, size_t count, bool accumulate, size_t rows)
{
	const size_t depth = tiles[0]->depth, deep = blocks(depth), row_blocks = blocks(rows);
	const bool whole = is_whole(cpu);
	int rc = reserve(&cpu->rows, &cpu->rows_bytes, row_blocks * deep * BLOCK_ITEMS * sizeof(uint16_t));
	if (rc != 0)
		return rc;
	uint16_t *split = cpu->rows;
	size_t width = 0;
	for (size_t i = 0; i < count; i++)
		width += tiles[i]->width;
	const int threads = model__cpu_threads(cpu, rows * depth * width / 8);
#pragma omp parallel num_threads(threads) if (threads > 1)
	{
#pragma omp for schedule(static)
		for (size_t m = 0; m < row_blocks; m++)
			split_row_block(split + m * deep * BLOCK_ITEMS, x + m * BLOCK * depth, whole,
					least(rows - m * BLOCK, BLOCK), depth);
		tiles_on();
		for (size_t i = 0; i < count; i++)
			run_job((struct job){ .y = y[i],
					      .rows = split,
					      .tiles = tiles[i],
					      .row_count = rows,
					      .accumulate = accumulate,
					      .whole = whole });
		tiles_off();
	}
	return 0;
}

/* --- Of two plain matrices */

struct plain {
	const float *values;
	bool transposed; /* stands as columns × rows */
	size_t rows, columns;
};

/* 32 rows of A from `first` on: what pack_depths makes of Aᵀ, each tile turned. */
TARGET static void split_plain_rows(uint16_t *to, const struct plain *a, bool whole, size_t first)
{
	if (!a->transposed) {
		split_row_block(to, a->values + first * a->columns, whole, least(a->rows - first, BLOCK), a->columns);
		return;
	}
	for (size_t k = 0; k < a->columns; k += DEPTH, to += BLOCK_ITEMS) {
		pack_depths(to, a->values + k * a->rows + first, least(a->columns - k, DEPTH), a->rows,
			    least(a->rows - first, BLOCK));
		for (size_t tile = 0; tile < 4; tile++) {
			__m512i r[TILE];
#pragma GCC unroll 16
			for (size_t i = 0; i < TILE; i++)
				r[i] = _mm512_loadu_si512(to + tile * TILE_ITEMS + i * DEPTH);
			transpose(r);
#pragma GCC unroll 16
			for (size_t i = 0; i < TILE; i++)
				_mm512_storeu_si512(to + tile * TILE_ITEMS + i * DEPTH, r[i]);
		}
	}
}

/* 32 columns of B from `first` on. */
static void pack_plain_columns(uint16_t *to, const struct plain *b, size_t first)
{
	const size_t count = least(b->columns - first, BLOCK);
	for (size_t k = 0; k < b->rows; k += DEPTH, to += BLOCK_ITEMS) {
		const size_t depth = least(b->rows - k, DEPTH);
		if (b->transposed)
			pack_columns(to, b->values + first * b->rows + k, count, b->rows, depth);
		else
			pack_depths(to, b->values + k * b->columns + first, depth, b->columns, count);
	}
}

int model__amx_gemm(struct model__cpu *cpu, float *c, const float *a, const float *b, bool ta, bool tb, bool accumulate,
		    size_t m, size_t n, size_t k)
{
	const size_t deep = blocks(k), row_blocks = blocks(m), column_blocks = blocks(n), bytes = sizeof(uint16_t);
	const struct plain left = { a, ta, m, k }, right = { b, tb, k, n };
	int rc = reserve(&cpu->rows, &cpu->rows_bytes, row_blocks * deep * BLOCK_ITEMS * bytes);
	if (rc == 0)
		rc = reserve(&cpu->columns, &cpu->columns_bytes, column_blocks * deep * BLOCK_ITEMS * bytes);
	if (rc != 0)
		return rc;
	uint16_t *rows = cpu->rows, *columns = cpu->columns;
	const struct model__tiles tiles = { k, n, columns };
	const struct job job = {
		.y = c, .rows = rows, .tiles = &tiles, .row_count = m, .accumulate = accumulate, .whole = is_whole(cpu)
	};
	const int threads = model__cpu_threads(cpu, m * n * k / 8);
#pragma omp parallel num_threads(threads) if (threads > 1)
	{
#pragma omp for schedule(static) nowait
		for (size_t i = 0; i < row_blocks; i++)
			split_plain_rows(rows + i * deep * BLOCK_ITEMS, &left, job.whole, i * BLOCK);
#pragma omp for schedule(static)
		for (size_t i = 0; i < column_blocks; i++)
			pack_plain_columns(columns + i * deep * BLOCK_ITEMS, &right, i * BLOCK);
		tiles_on();
		run_job(job);
		tiles_off();
	}
	return 0;
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

int model__amx_products(struct model__cpu *cpu, float *const *y, const float *x,
			const struct model__tiles *const *tiles, size_t count, bool accumulate, size_t rows)
{
	(void)cpu, (void)y, (void)x, (void)tiles, (void)count, (void)accumulate, (void)rows;
	return ERR_UNSUPPORTED;
}

int model__amx_gemm(struct model__cpu *cpu, float *c, const float *a, const float *b, bool ta, bool tb, bool accumulate,
		    size_t m, size_t n, size_t k)
{
	(void)cpu, (void)c, (void)a, (void)b, (void)ta, (void)tb, (void)accumulate, (void)m, (void)n, (void)k;
	return ERR_UNSUPPORTED;
}

#endif
