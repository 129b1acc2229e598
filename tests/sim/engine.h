/* engine.h: a stand-in for model and training, put in the place of editor's functions by the linker (--wrap), so that
 * workers and nodes run as they are. A delta is the list of edits that were trained into it, in that order: what a
 * shard holds can be read off it. An edit's target says how it behaves. */
#ifndef AMEND_TESTS_SIM_ENGINE_H
#define AMEND_TESTS_SIM_ENGINE_H

#include "base/buf.h"
#include "base/record.h"

#define SIM_TARGET_FAILS   "fails"   /* beginning of a target: never passes its re-test */
#define SIM_TARGET_POISON  "poison"  /* its training fails: the whole group's */
#define SIM_TARGET_REFUSED "refused" /* the model cannot take it */
#define SIM_ENGINE_LAYER   2
#define SIM_ENGINE_FFN     128

struct sim_applied {        /* one edit of a delta */
	uint64_t seq, text; /* text: sim_engine_text of its record */
};

uint64_t sim_engine_text(const struct record *record);
/* Bytes of a delta: appended to `out`. `padding`: so many more, that follow from the list. */
void sim_engine_encode(const struct sim_applied *applied, size_t count, struct buf *out);
/* Appends struct sim_applied. ERR_CORRUPT. */
int sim_engine_decode(const void *bytes, size_t len, struct buf *applied, struct err *e) MUST_CHECK;
/* Beyond a chunk, so that deltas have several: for all engines of the process. */
void sim_engine_padding_set(size_t byte_count);

/* A node's memories: the edits that they answer from, as long as the set is held. */
struct editor_memory_set;
const uint64_t *sim_engine_set_seqs(const struct editor_memory_set *set, size_t *count);
extern bool sim_engine_spoilt; /* one was loaded of bytes that no training gave; of the run under way */

struct model;
struct model *sim_engine_model(void);

#endif
