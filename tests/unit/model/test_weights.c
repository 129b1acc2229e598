/* How weights come into memory: by several threads, on what pages, and as tiles. */
#include "model/cpu_amx.h"
#include "model/quant.h"

#include "base/fault.h"
#include "base/process.h"
#include "base/rng.h"
#include "tests/lib/test.h"
#include "tests/lib/tiny_model.h"

#include <math.h>

/* ---- Tiles */

#define BLOCK ((size_t)32)
#define TILE  ((size_t)16)

static float *numbers(size_t count)
{
	static const float odd[] = { NAN, INFINITY, -INFINITY, 1e-40f, -0.0f, 3.4e38f, 1.00390625f, 1.01171875f };
	struct rng rng;
	float *values = malloc(count * sizeof(*values));
	assert_non_null(values);
	rng_init(&rng, count);
	for (size_t i = 0; i < count; i++)
		values[i] = i % 37 == 5 ? odd[i / 37 % 8] : (float)rng_uniform(&rng) - 0.5f;
	return values;
}

/* The tiles take a denormal number for 0, so it may stand as either. */
static uint16_t without_denormal(uint16_t bf16)
{
	return (bf16 & 0x7f80) != 0 ? bf16 : bf16 & 0x8000;
}

/* One number at a time, as cpu_amx.c says where it stands. */
static void expect_tiles(const uint16_t *data, const float *w, bool transposed, size_t depth, size_t width)
{
	const size_t deep = (depth + BLOCK - 1) / BLOCK, wide = (width + BLOCK - 1) / BLOCK;
	uint16_t *want = calloc(deep * wide, 4 * TILE * BLOCK * sizeof(*want));
	assert_non_null(want);
	for (size_t k = 0; k < depth; k++) {
		for (size_t n = 0; n < width; n++) {
			const float value = transposed ? w[n * depth + k] : w[k * width + n];
			const uint16_t hi = model_quant_to_bf16(value);
			const size_t at = ((n / BLOCK * deep + k / BLOCK) * 4 + n % BLOCK / TILE) * TILE * BLOCK +
					  k % BLOCK / 2 * BLOCK + n % TILE * 2 + k % 2;
			want[at] = hi;
			want[at + 2 * TILE * BLOCK] = model_quant_to_bf16(value - model_quant_from_bf16(hi));
		}
	}
	for (size_t i = 0; i < deep * wide * 4 * TILE * BLOCK; i++)
		assert_int_equal(without_denormal(data[i]), without_denormal(want[i]));
	free(want);
}

static void check_tiles(size_t depth, size_t width, bool transposed)
{
	struct model__pages pages;
	struct model__tiles tiles;
	float *w = numbers(depth * width);
	const size_t rows = transposed ? width : depth, columns = transposed ? depth : width;
	model__pages_init(&pages);
	assert_int_equal(model__tiles_new(&tiles, &pages, depth, width), 0);
	for (size_t panel = 0; panel * MODEL__TILES_ROWS < rows; panel++) {
		const size_t left = rows - panel * MODEL__TILES_ROWS;
		model__tiles_fill(&tiles, w + panel * MODEL__TILES_ROWS * columns, transposed, panel,
				  left < MODEL__TILES_ROWS ? left : MODEL__TILES_ROWS);
	}
	expect_tiles(tiles.data, w, transposed, depth, width);
	model__pages_fini(&pages);
	free(w);
}

static void tiles_hold_every_weight_in_two_parts(void **state)
{
	static const size_t sizes[][2] = { { 1, 1 }, { 32, 32 }, { 33, 17 }, { 64, 48 }, { 100, 31 }, { 7, 129 } };
	(void)state;
	if (!model__amx_ready())
		skip();
	for (size_t i = 0; i < sizeof(sizes) / sizeof(sizes[0]); i++) {
		check_tiles(sizes[i][0], sizes[i][1], true);
		check_tiles(sizes[i][0], sizes[i][1], false);
	}
}

/* ---- Threads */

static const char *const backends[] = { "cpu", "cpu:avx512", "cpu:avx2", "cpu:portable", "reference" };
static const enum model_type types[] = { MODEL_F32, MODEL_Q4_1, MODEL_Q8_0, MODEL_BF16 };

/* A prompt of one token and a step: by weights as they are packed, and as they are stored. */
static int ask(const struct model_options *options, enum model_type type, float out[2 * TINY_HIDDEN], struct err *e)
{
	struct model *model = NULL;
	struct model_run *run = NULL;
	struct model_kv *kv = NULL;
	const struct model_segment first = { 0, 0, 1 }, second = { 0, 1, 1 };
	const int32_t ids[2] = { TINY_BYTE + 'a', TINY_BYTE + 'b' };
	int rc = tiny_model_open_as(type, options, &model, e);
	if (rc == 0)
		rc = model_run_new(model, 4, &run, e);
	if (rc == 0)
		rc = model_kv_new(model, 1, 4, &kv, e);
	if (rc == 0)
		rc = model_embed(run, out, ids, 2, e);
	if (rc == 0)
		rc = model_layers(run, out, kv, &first, 1, 0, TINY_LAYERS, NULL, NULL, 0, e);
	if (rc == 0)
		rc = model_step(run, out + TINY_HIDDEN, kv, &second, 1, NULL, e);
	model_kv_destroy(&kv);
	model_run_destroy(&run);
	model_close(&model);
	return rc;
}

static struct model_options options_of(const char *backend, size_t threads)
{
	return (struct model_options){
		.backend = backend, .thread_count = threads, .backward_from = TINY_LAYERS - 1, .stored_too = true
	};
}

static void threads_that_load_change_no_bit(void **state)
{
	(void)state;
	for (size_t b = 0; b < sizeof(backends) / sizeof(backends[0]); b++) {
		for (size_t t = 0; t < sizeof(types) / sizeof(types[0]); t++) {
			float alone[2 * TINY_HIDDEN], many[2 * TINY_HIDDEN];
			struct err e = ERR_INIT;
			struct model_options options = options_of(backends[b], 1);
			const int rc = ask(&options, types[t], alone, &e);
			if (rc == ERR_UNSUPPORTED)
				continue; /* instructions that this machine lacks */
			assert_ok(&e, rc);
			for (options.thread_count = 2; options.thread_count <= 5; options.thread_count++) {
				assert_ok(&e, ask(&options, types[t], many, &e));
				assert_memory_equal(alone, many, sizeof(alone));
			}
		}
	}
}

static void the_digest_is_the_files(void **state)
{
	char path[TEST_PATH_BYTES];
	struct hash want;
	struct err e = ERR_INIT;
	test_path(path, *state, "model.gguf");
	assert_ok(&e, tiny_model_write(path, 3, &e));
	assert_ok(&e, hash_of_file(path, &want, &e));
	for (size_t threads = 1; threads <= 3; threads++) {
		struct model_options options = options_of("cpu", threads);
		struct model *model = NULL;
		assert_ok(&e, model_open(path, &options, &model, &e));
		assert_true(hash_equal(model_digest(model), &want));
		model_close(&model);
		options.skip_digest = true;
		assert_ok(&e, model_open(path, &options, &model, &e));
		assert_true(hash_is_zero(model_digest(model)));
		model_close(&model);
	}
}

/* Whichever thread meets it; a thread that cannot be had is done without. */
static void memory_may_run_out_on_any_thread(void **state)
{
	const struct model_options options = options_of("cpu", 3);
	float out[2 * TINY_HIDDEN];
	int failures = 0;
	struct err e = ERR_INIT;
	(void)state;
	for (int64_t n = 0; n < 150; n++) {
		fault_set(n, 1);
		const int rc = ask(&options, MODEL_Q4_1, out, &e);
		fault_set(-1, 0);
		assert_true(rc == 0 || rc == ERR_NOMEM);
		failures += rc != 0;
	}
	assert_true(failures > 100);
	assert_ok(&e, ask(&options, MODEL_Q4_1, out, &e));
}

/* ---- Pages */

static void sparse_memory_takes_what_is_filled(void **state)
{
	enum { MIB = 1 << 20 };
	const size_t count = (size_t)256 * MIB / sizeof(float), step = MIB / sizeof(float);
	float *memory = model__host_alloc_sparse(NULL, count);
	const uint64_t before = process_resident_bytes();
	(void)state;
	assert_non_null(memory);
	for (size_t i = 0; i < count; i += step)
		memory[i] = 1;
	assert_true(process_resident_bytes() - before < 8 * MIB);
	model__host_free(NULL, memory);
}

static void pages_are_zeros_on_cache_lines(void **state)
{
	struct model__pages pages;
	(void)state;
	model__pages_init(&pages);
	for (size_t bytes = 1; bytes < 100000; bytes = bytes * 3 + 1) {
		uint8_t *memory = model__pages_alloc(&pages, bytes);
		assert_non_null(memory);
		assert_int_equal((uintptr_t)memory % MODEL__ALIGN, 0);
		for (size_t i = 0; i < bytes; i++)
			assert_int_equal(memory[i], 0);
		memset(memory, 0xAA, bytes);
	}
	model__pages_fini(&pages);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(tiles_hold_every_weight_in_two_parts),
		cmocka_unit_test(threads_that_load_change_no_bit),
		cmocka_unit_test_setup_teardown(the_digest_is_the_files, test_setup_folder, test_teardown_folder),
		cmocka_unit_test(memory_may_run_out_on_any_thread),
		cmocka_unit_test(sparse_memory_takes_what_is_filled),
		cmocka_unit_test(pages_are_zeros_on_cache_lines),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
