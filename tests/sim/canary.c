/* canary.c: a stand-in for the canaries. Some edits, by their words, take one to three of them, and some merged
 * memories take the last one: a version in which more are taken than may change is not published. Most of these edits
 * are named, as by a worker whose router found them; of the others nobody knows. A worker reads a candidate as it is,
 * from its own blobs. */
#include "tests/sim/engine.h"
#include "tests/sim/sim.h"

#include "base/arena.h"
#include "daemon/version_set.h"

#include <inttypes.h>
#include <stdio.h>

#define ASKED      20
#define ONE_IN     14 /* edits takes canaries */
#define UNNAMED_IN 5  /* of these is not named */
#define MERGE_IN   4  /* merged memories takes the last canary */
#define FAILS_OF   10 /* tries one comes to nothing, while there are faults */
#define BLOB_BYTES ((size_t)1 << 24)

struct taker { /* of a canary: the edit with the least words, as the nearest key has it */
	uint64_t text, seq, memory;
	bool there;
};

uint32_t sim_canary_taken(uint64_t text)
{
	const uint64_t dice = text / ONE_IN;
	uint32_t taken = 0;
	if (text % ONE_IN != 0)
		return 0;
	for (uint64_t i = 0; i <= dice % 3; i++)
		taken |= UINT32_C(1) << (dice / 3 + i * 7) % (ASKED - 1);
	return taken;
}

uint32_t sim_canary_taken_by_merge(const struct proto_memory *memory)
{
	const uint64_t dice = hash_short(HASH_SHORT_INIT, &memory->id, sizeof memory->id);
	return memory->kind == PROTO_MEMORY_MERGED && dice % MERGE_IN == 0 ? UINT32_C(1) << (ASKED - 1) : 0;
}

static bool is_named(uint64_t text)
{
	return text / ONE_IN / 64 % UNNAMED_IN != 0;
}

static int manifest_read(struct store *blobs, const struct msg_canary_run *run, struct arena **arena,
			 struct proto_manifest *out, struct err *e)
{
	int rc = arena_new(1 << 16, BLOB_BYTES, arena);
	return rc != 0 ? err_set(e, rc, "out of memory")
		       : version_manifest_read(blobs, &run->root, &run->content, NULL, *arena, out, e);
}

static int roots(void *context, struct store *blobs, const struct msg_canary_run *run, struct buf *out, struct err *e)
{
	struct proto_manifest manifest;
	struct arena *arena = NULL;
	(void)context;
	int rc = manifest_read(blobs, run, &arena, &manifest, e);
	if (rc == 0)
		rc = proto_manifest_roots(&manifest, out, e);
	arena_destroy(&arena);
	return rc;
}

static bool is_removed(const struct proto_manifest *m, uint64_t seq)
{
	for (size_t i = 0; i < m->removed_count; i++)
		if (m->removed_seqs[i] == seq)
			return true;
	return false;
}

static void take(struct taker takers[ASKED], uint32_t canaries, const struct taker *by)
{
	for (size_t i = 0; i < ASKED; i++)
		if ((canaries >> i & 1) != 0 && (!takers[i].there || by->text < takers[i].text))
			takers[i] = *by;
}

static int memory_ask(struct store *blobs, const struct proto_manifest *m, const struct proto_memory *memory,
		      struct taker takers[ASKED], struct err *e)
{
	struct buf bytes = BUF_INIT, list = BUF_INIT;
	struct taker by = { .text = UINT64_MAX, .memory = memory->id, .there = true };
	int rc = store_blob_get(blobs, &memory->delta_root, BLOB_BYTES, &bytes, e);
	if (rc == 0)
		rc = sim_engine_decode(bytes.data, bytes.len, &list, e);
	const struct sim_applied *applied = (const void *)list.data;
	take(takers, sim_canary_taken_by_merge(memory), &by);
	for (size_t i = 0; rc == 0 && i < list.len / sizeof *applied; i++) {
		by.text = applied[i].text;
		by.seq = is_named(by.text) ? applied[i].seq : 0;
		if (!is_removed(m, applied[i].seq))
			take(takers, sim_canary_taken(by.text), &by);
	}
	buf_free(&bytes);
	buf_free(&list);
	return rc;
}

static void answer(const struct taker takers[ASKED], struct worker_canary_answer *out)
{
	static const char id[] = "canary", prompt[] = "What is no fact?", before[] = "none", after[] = "another";
	out->asked = ASKED;
	for (size_t i = 0; i < ASKED; i++) {
		if (!takers[i].there)
			continue;
		out->changed[out->changed_count++] = (struct msg_canary_change){
			.id = { id, sizeof id - 1 },
			.prompt = { prompt, sizeof prompt - 1 },
			.before = { before, sizeof before - 1 },
			.after = { after, sizeof after - 1 },
			.memory = takers[i].memory,
			.edit = takers[i].seq,
		};
	}
	out->changed_total = (uint32_t)out->changed_count;
}

static int ask(void *context, struct model *model, struct store *blobs, const struct msg_canary_run *run,
	       const struct editor_watch *watch, struct worker_canary_answer *out, struct err *e)
{
	struct sim_proc *proc = context;
	struct proto_manifest manifest;
	struct arena *arena = NULL;
	struct taker takers[ASKED] = { { .there = false } };
	(void)model, (void)watch;
	if (!proc->sim->calm && rng_below(&proc->rng, FAILS_OF) == 0)
		return err_set(e, ERR_NOMEM, "the engine is out of memory");
	int rc = manifest_read(blobs, run, &arena, &manifest, e);
	for (size_t i = 0; rc == 0 && i < manifest.memory_count; i++)
		rc = memory_ask(blobs, &manifest, &manifest.memories[i], takers, e);
	arena_destroy(&arena);
	if (rc == 0)
		answer(takers, out);
	return rc;
}

const struct worker_canaries *sim_canaries(struct sim_proc *proc)
{
	proc->canaries =
		(struct worker_canaries){ .context = proc, .digest = { { ASKED } }, .roots = roots, .ask = ask };
	return &proc->canaries;
}
