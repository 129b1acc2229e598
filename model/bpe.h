/* bpe.h: byte-pair merges of one word (Sennrich et al. 2016), by a heap: n log n in the word's bytes. Inside model/
 * only. The merges are read-only after init; a scratch and a list of ids belong to one call. */
#ifndef AMEND_MODEL_BPE_H
#define AMEND_MODEL_BPE_H

#include "model/vocab.h"

struct model__merge {
	int32_t left, right, id;
};

struct model__bpe {
	int32_t byte_ids[256];       /* token of each single byte, -1: the vocabulary lacks it */
	struct model__merge *merges; /* by rank: earlier merges come first */
	size_t merge_count;
	uint32_t *slots; /* rank by the hash of (left, right); UINT32_MAX: empty */
	size_t slot_mask;
};

struct model__symbol;

struct model__bpe_scratch {
	struct model__symbol *symbols;
	size_t symbol_cap;
	uint64_t *heap; /* rank << 32 | index of the left symbol */
	size_t heap_len;
};

struct model__ids {
	int32_t *items;
	size_t count, cap;
};

/* Zero the struct before; fini after a failure too. */
int model__bpe_init(struct model__bpe *bpe, const struct model_gguf *gguf, const struct model__vocab *vocab,
		    struct err *e) MUST_CHECK;
void model__bpe_fini(struct model__bpe *bpe);
/* Appends the word's ids. Bytes that the vocabulary lacks give nothing, as in the reference tokenisers. ERR_NOMEM. */
int model__bpe_word(const struct model__bpe *bpe, struct model__bpe_scratch *scratch, const char *word, size_t len,
		    struct model__ids *ids) MUST_CHECK;
void model__bpe_scratch_fini(struct model__bpe_scratch *scratch);
int model__ids_push(struct model__ids *ids, int32_t id) MUST_CHECK;

#endif
