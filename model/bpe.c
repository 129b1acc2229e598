#include "model/bpe.h"

#include "base/fault.h"

#include <stdlib.h>
#include <string.h>

#define NONE       UINT32_MAX
#define MERGES_MAX (4 * VOCAB_TOKENS_MAX)

struct model__symbol {
	int32_t id;          /* -1: a byte that the vocabulary lacks, or merged away */
	uint32_t prev, next; /* NONE at the ends */
};

static size_t hash_pair(int32_t left, int32_t right)
{
	uint64_t h = ((uint64_t)(uint32_t)left << 32 | (uint32_t)right) * UINT64_C(0x9E3779B97F4A7C15);

	return (size_t)(h ^ h >> 29);
}

static uint32_t rank_find(const struct model__bpe *bpe, int32_t left, int32_t right)
{
	if (left < 0 || right < 0)
		return NONE;
	for (size_t i = hash_pair(left, right) & bpe->slot_mask;; i = (i + 1) & bpe->slot_mask) {
		const uint32_t rank = bpe->slots[i];

		if (rank == NONE || (bpe->merges[rank].left == left && bpe->merges[rank].right == right))
			return rank;
	}
}

/* "left right" in byte letters. A merge whose parts or result plain text may not become is left out: so no control
 * token can ever come out of merging. False when `text` is no pair at all. */
static bool read_merge(struct model__bpe *bpe, const struct model__vocab *vocab, const char *text, size_t len,
		       char *room)
{
	const char *space = len > 2 ? memchr(text + 1, ' ', len - 2) : NULL; /* a part has one letter at least */
	struct model__merge m;

	if (!space)
		return false;
	const size_t left = model__vocab_unletter(text, (size_t)(space - text), room);
	const size_t right = model__vocab_unletter(space + 1, len - 1 - (size_t)(space - text), room + left);
	m.left = model__vocab_find(vocab, room, left, true);
	m.right = model__vocab_find(vocab, room + left, right, true);
	m.id = model__vocab_find(vocab, room, left + right, true);
	if (m.left < 0 || m.right < 0 || m.id < 0 || rank_find(bpe, m.left, m.right) != NONE)
		return true;
	size_t i = hash_pair(m.left, m.right) & bpe->slot_mask;
	while (bpe->slots[i] != NONE)
		i = (i + 1) & bpe->slot_mask;
	bpe->slots[i] = (uint32_t)bpe->merge_count;
	bpe->merges[bpe->merge_count++] = m;
	return true;
}

static int read_merges(struct model__bpe *bpe, const struct model_gguf *gguf, const struct model__vocab *vocab,
		       size_t count, struct err *e)
{
	char *room = NULL;
	size_t room_bytes = 0;
	int rc = 0;

	for (size_t i = 0; rc == 0 && i < count; i++) {
		const char *text = "";
		size_t len = 0;

		if (!model_gguf_array_string(gguf, "tokenizer.ggml.merges", i, &text, &len)) {
			rc = err_set(e, ERR_CORRUPT,
				     "tokenizer.ggml.merges holds no strings; download the model again");
		} else if (len > room_bytes) {
			free(room);
			room_bytes = len * 2;
			room = fault_malloc(room_bytes);
			rc = room ? 0 : err_set(e, ERR_NOMEM, "no memory for a merge of %zu bytes", len);
		}
		if (rc == 0 && !read_merge(bpe, vocab, text, len, room))
			rc = err_set(e, ERR_CORRUPT, "merge %zu is no pair of pieces; download the model again", i);
	}
	free(room);
	return rc;
}

int model__bpe_init(struct model__bpe *bpe, const struct model_gguf *gguf, const struct model__vocab *vocab,
		    struct err *e)
{
	size_t count, slot_count = 64;

	for (unsigned i = 0; i < 256; i++) {
		const char byte = (char)i;

		bpe->byte_ids[i] = model__vocab_find(vocab, &byte, 1, true);
	}
	if (!model_gguf_array(gguf, "tokenizer.ggml.merges", &count))
		return err_set(e, ERR_UNSUPPORTED,
			       "the file holds no merges (tokenizer.ggml.merges); convert the model again");
	if (count > MERGES_MAX)
		return err_set(e, ERR_LIMIT, "%zu merges (limit %d); use another model", count, MERGES_MAX);
	while (slot_count < count * 2)
		slot_count *= 2;
	bpe->slot_mask = slot_count - 1;
	bpe->merges = fault_malloc((count ? count : 1) * sizeof(*bpe->merges));
	bpe->slots = fault_malloc(slot_count * sizeof(*bpe->slots));
	if (!bpe->merges || !bpe->slots)
		return err_set(e, ERR_NOMEM, "no memory for %zu merges", count);
	memset(bpe->slots, 0xFF, slot_count * sizeof(*bpe->slots));
	return read_merges(bpe, gguf, vocab, count, e);
}

void model__bpe_fini(struct model__bpe *bpe)
{
	free(bpe->merges);
	free(bpe->slots);
	*bpe = (struct model__bpe){ .merges = NULL };
}

void model__bpe_scratch_fini(struct model__bpe_scratch *scratch)
{
	free(scratch->symbols);
	free(scratch->heap);
	*scratch = (struct model__bpe_scratch){ NULL, 0, NULL, 0 };
}

int model__ids_push(struct model__ids *ids, int32_t id)
{
	if (ids->count == ids->cap) {
		const size_t cap = ids->cap < 32 ? 64 : ids->cap * 2;
		int32_t *items = fault_realloc(ids->items, cap * sizeof(*items));

		if (!items)
			return ERR_NOMEM;
		ids->items = items;
		ids->cap = cap;
	}
	ids->items[ids->count++] = id;
	return 0;
}

/* Room for a word of `len` bytes: at most len − 1 pairs at first, and two new ones for each of len − 1 merges. */
static int reserve(struct model__bpe_scratch *s, size_t len)
{
	size_t cap = s->symbol_cap ? s->symbol_cap : 64;

	if (len <= s->symbol_cap)
		return 0;
	while (cap < len)
		cap *= 2;
	struct model__symbol *symbols = fault_realloc(s->symbols, cap * sizeof(*symbols));
	if (!symbols)
		return ERR_NOMEM;
	s->symbols = symbols;
	uint64_t *heap = fault_realloc(s->heap, 3 * cap * sizeof(*heap));
	if (!heap)
		return ERR_NOMEM;
	s->heap = heap;
	s->symbol_cap = cap;
	return 0;
}

static void heap_push(struct model__bpe_scratch *s, uint64_t item)
{
	size_t i = s->heap_len++;

	while (i > 0 && s->heap[(i - 1) / 2] > item) {
		s->heap[i] = s->heap[(i - 1) / 2];
		i = (i - 1) / 2;
	}
	s->heap[i] = item;
}

static uint64_t heap_pop(struct model__bpe_scratch *s)
{
	const uint64_t top = s->heap[0], last = s->heap[--s->heap_len];
	size_t i = 0;

	for (size_t child = 1; child < s->heap_len; child = 2 * i + 1) {
		if (child + 1 < s->heap_len && s->heap[child + 1] < s->heap[child])
			child++;
		if (s->heap[child] >= last)
			break;
		s->heap[i] = s->heap[child];
		i = child;
	}
	s->heap[i] = last;
	return top;
}

static void push_pair(const struct model__bpe *bpe, struct model__bpe_scratch *s, uint32_t left)
{
	if (left == NONE || s->symbols[left].next == NONE)
		return;
	const uint32_t rank = rank_find(bpe, s->symbols[left].id, s->symbols[s->symbols[left].next].id);
	if (rank != NONE)
		heap_push(s, (uint64_t)rank << 32 | left);
}

/* Lowest rank first, leftmost among equals. Pairs that a merge broke are still in the heap: they no longer match their
 * rank. */
static void merge_all(const struct model__bpe *bpe, struct model__bpe_scratch *s)
{
	while (s->heap_len > 0) {
		const uint64_t top = heap_pop(s);
		const struct model__merge *m = &bpe->merges[top >> 32];
		struct model__symbol *left = &s->symbols[(uint32_t)top];

		if (left->id != m->left || left->next == NONE || s->symbols[left->next].id != m->right)
			continue;
		struct model__symbol *right = &s->symbols[left->next];
		left->id = m->id;
		right->id = -1;
		left->next = right->next;
		if (left->next != NONE)
			s->symbols[left->next].prev = (uint32_t)top;
		push_pair(bpe, s, left->prev);
		push_pair(bpe, s, (uint32_t)top);
	}
}

int model__bpe_word(const struct model__bpe *bpe, struct model__bpe_scratch *scratch, const char *word, size_t len,
		    struct model__ids *ids)
{
	int rc = len < NONE ? reserve(scratch, len) : ERR_LIMIT;

	if (rc)
		return rc;
	for (size_t i = 0; i < len; i++)
		scratch->symbols[i] = (struct model__symbol){ bpe->byte_ids[(uint8_t)word[i]],
							      i ? (uint32_t)(i - 1) : NONE,
							      i + 1 < len ? (uint32_t)(i + 1) : NONE };
	scratch->heap_len = 0;
	for (size_t i = 0; i + 1 < len; i++)
		push_pair(bpe, scratch, (uint32_t)i);
	merge_all(bpe, scratch);
	for (uint32_t i = len ? 0 : NONE; rc == 0 && i != NONE; i = scratch->symbols[i].next)
		if (scratch->symbols[i].id >= 0)
			rc = model__ids_push(ids, scratch->symbols[i].id);
	return rc;
}
