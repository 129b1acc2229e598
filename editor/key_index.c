#include "editor/key_index_internal.h"

#include "base/fault.h"

#include <assert.h>
#include <stdlib.h>
#include <string.h>

#define PIECE_BLOCKS (EDITOR__PIECE_KEYS / EDITOR__SCAN_KEYS)
#define HUGE_BYTES   ((size_t)2 << 20)
#define MAPPED_MAX   16u   /* pieces in one mapping */
#define KEY_RANGE    0.95f /* of the largest component: with a few of them cut off, four bits fit the others better */

/* All that stands in it is a multiple of EDITOR__SCAN_ALIGN. */
static size_t piece_bytes(const struct editor__key_index *index)
{
	return PIECE_BLOCKS * editor__scan_block_bytes(index->group_count) +
	       EDITOR__PIECE_KEYS * (editor__row_bytes(index) + index->width * sizeof(float));
}

/* As many pieces as leave the least of their huge pages unused: a scan goes faster over huge pages. */
static size_t mapped_bytes(const struct editor__key_index *index)
{
	const size_t piece = piece_bytes(index);
	size_t best = 1, least = SIZE_MAX;
	for (size_t count = 1; count <= MAPPED_MAX; count++) {
		const size_t lost = (HUGE_BYTES - count * piece % HUGE_BYTES) % HUGE_BYTES / count;
		best = lost < least ? count : best;
		least = lost < least ? lost : least;
	}
	return best * piece;
}

int editor__key_index_new(size_t width, const char *instructions, struct editor__key_index **out, struct err *e)
{
	assert(width > 0 && width <= EDITOR_HIDDEN_MAX);
	struct editor__key_index *index = fault_calloc(1, sizeof(*index));
	if (index == NULL)
		return err_set(e, ERR_NOMEM, "key index: out of memory");
	index->kernel = editor__scan_kernel_of(instructions);
	if (index->kernel == NULL) {
		free(index);
		return err_set(
			e, ERR_UNSUPPORTED,
			"key index: this processor has no instructions \"%.32s\": take portable, avx2, avx512vnni or "
			"what the processor has",
			instructions);
	}
	index->width = width;
	index->group_count = (width + 7) / 8;
	if (arena_new(mapped_bytes(index), 0, &index->memory) != 0) {
		free(index);
		return err_set(e, ERR_NOMEM, "key index: out of memory");
	}
	*out = index;
	return 0;
}

void editor__key_index_destroy(struct editor__key_index **index)
{
	if (*index == NULL)
		return;
	arena_destroy(&(*index)->memory);
	free((*index)->pieces);
	free(*index);
	*index = NULL;
}

const char *editor__key_index_instructions(const struct editor__key_index *index)
{
	return index->kernel->name;
}

size_t editor__key_index_count(const struct editor__key_index *index)
{
	return index->count;
}

size_t editor__key_index_bytes(const struct editor__key_index *index)
{
	return sizeof(*index) + index->piece_count * (sizeof(struct editor__piece) + piece_bytes(index));
}

int editor__key_index_reserve(struct editor__key_index *index, size_t more)
{
	const size_t need = (index->count + more + EDITOR__PIECE_KEYS - 1) / EDITOR__PIECE_KEYS;
	if (need <= index->piece_count)
		return 0;
	struct editor__piece *pieces = fault_realloc(index->pieces, need * sizeof(*pieces));
	if (pieces == NULL)
		return ERR_NOMEM;
	index->pieces = pieces;
	while (index->piece_count < need) {
		uint8_t *blocks = fault_memory() == 0 ? arena_alloc(index->memory, piece_bytes(index)) : NULL;
		if (blocks == NULL)
			return ERR_NOMEM;
		uint8_t *rows = blocks + PIECE_BLOCKS * editor__scan_block_bytes(index->group_count);
		float *keys = (float *)(void *)(rows + EDITOR__PIECE_KEYS * editor__row_bytes(index));
		pieces[index->piece_count++] = (struct editor__piece){ .blocks = blocks, .rows = rows, .keys = keys };
	}
	return 0;
}

struct rounding {    /* of a key = scale · b + remainder */
	float scale; /* 0: b tells nothing */
	float four;  /* upper bound of ‖remainder‖ without the lower four bits, */
	float eight; /* with them */
};

static int byte_of(float v, float inverse)
{
	const float whole = editor__nearest(v * inverse + 127.5f);
	return (int)(whole < 0 ? 0 : whole > 255 ? 255 : whole);
}

/* `bytes` has room for 8 × group_count; what lies behind the width stays. */
static struct rounding round_key(const float *v, size_t width, uint8_t *bytes)
{
	const float scale = editor__largest(v, width) * (KEY_RANGE / 127.5f), inverse = editor__inverse(scale);
	struct rounding r = { .scale = inverse > 0 ? scale : 0 };
	double four = 0, eight = 0;
	for (size_t i = 0; i < width; i++) {
		const int byte = byte_of(v[i], inverse);
		const double without = (double)v[i] - (double)r.scale * ((byte & 0xf0) - 120);
		const double with = (double)v[i] - (double)r.scale * (byte - 127.5);
		four += without * without;
		eight += with * with;
		bytes[i] = (uint8_t)byte;
	}
	r.four = editor__rounded_up(sqrt(four));
	r.eight = editor__rounded_up(sqrt(eight));
	return r;
}

/* A key's bytes to where its block and its row hold them. */
static void put_bytes(const struct editor__key_index *index, size_t at, const uint8_t *bytes)
{
	const size_t half = 4 * index->group_count;
	uint8_t *lane = editor__block_at(index, at) + 4 * (at % EDITOR__SCAN_KEYS), *low = editor__row_at(index, at);
	memset(low, 0, editor__row_bytes(index));
	for (size_t i = 0; i < half; i++) {
		const unsigned lower = bytes[i], upper = bytes[half + i];
		lane[i / 4 * 4 * EDITOR__SCAN_KEYS + i % 4] = (uint8_t)(lower >> 4 | (upper & 0xf0));
		low[i] = (uint8_t)((lower & 15) | upper << 4);
	}
}

/* A key without a bound is only counted: all keys are scored then. */
static void put_key(struct editor__key_index *index, size_t at, const float *key)
{
	const size_t lane = at % EDITOR__SCAN_KEYS;
	uint8_t bytes[EDITOR_HIDDEN_MAX];
	if (lane == 0)
		memset(editor__block_at(index, at), 0, editor__scan_block_bytes(index->group_count));
	if (!editor__is_bounded(key, index->width)) {
		index->unbounded_count++;
		return;
	}
	memset(bytes, 0, 8 * index->group_count);
	const struct rounding r = round_key(key, index->width, bytes);
	put_bytes(index, at, bytes);
	struct editor__scan_tails *tails = editor__tails_at(index, at);
	tails->scale[lane] = r.scale;
	tails->error[lane] = r.four;
	*editor__row_tail(index, editor__row_at(index, at)) =
		(struct editor__scan_tail){ .scale = r.scale, .error = r.eight };
	const float longest = editor__length(key, index->width) + (r.four > r.eight ? r.four : r.eight);
	if (longest > index->length_max)
		index->length_max = longest;
}

void editor__key_index_add(struct editor__key_index *index, const float *key)
{
	assert(index->count / EDITOR__PIECE_KEYS < index->piece_count);
	memcpy(index->pieces[index->count / EDITOR__PIECE_KEYS].keys + index->count % EDITOR__PIECE_KEYS * index->width,
	       key, index->width * sizeof(*key));
	put_key(index, index->count, key);
	index->count++;
}

void editor__key_index_cut(struct editor__key_index *index, size_t count)
{
	for (; index->count > count; index->count--)
		index->unbounded_count -= editor__is_bounded(editor__key_at(index, index->count - 1), index->width) ? 0
														    : 1;
}
