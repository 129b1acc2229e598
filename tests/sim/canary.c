/* canary.c: a stand-in for the canaries. Some edits, by their words, change what one of them is answered: a version in
 * which such an edit lives may not be published. A worker reads a candidate as it is, from its own blobs. */
#include "tests/sim/engine.h"
#include "tests/sim/sim.h"

#include "base/arena.h"
#include "daemon/version_set.h"

#include <inttypes.h>
#include <stdio.h>

#define ASKED      20
#define ONE_IN     20 /* edits upsets a canary */
#define FAILS_OF   10 /* tries one comes to nothing, while there are faults */
#define BLOB_BYTES ((size_t)1 << 24)

bool sim_canary_upset(uint64_t text)
{
	return text % ONE_IN == 0;
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

static int memory_ask(struct store *blobs, const struct proto_manifest *m, const struct proto_memory *memory,
		      uint32_t *changed, struct err *e)
{
	struct buf bytes = BUF_INIT, list = BUF_INIT;
	int rc = store_blob_get(blobs, &memory->delta_root, BLOB_BYTES, &bytes, e);
	if (rc == 0)
		rc = sim_engine_decode(bytes.data, bytes.len, &list, e);
	const struct sim_applied *applied = (const void *)list.data;
	for (size_t i = 0; rc == 0 && i < list.len / sizeof *applied; i++)
		*changed += sim_canary_upset(applied[i].text) && !is_removed(m, applied[i].seq);
	buf_free(&bytes);
	buf_free(&list);
	return rc;
}

static int ask(void *context, struct model *model, struct store *blobs, const struct msg_canary_run *run,
	       const struct editor_watch *watch, struct worker_canary_answer *out, struct err *e)
{
	static const char id[] = "canary", prompt[] = "What is no fact?", before[] = "none", after[] = "another";
	struct sim_proc *proc = context;
	struct proto_manifest manifest;
	struct arena *arena = NULL;
	uint32_t changed = 0;
	(void)model, (void)watch;
	if (!proc->sim->calm && rng_below(&proc->rng, FAILS_OF) == 0)
		return err_set(e, ERR_NOMEM, "the engine is out of memory");
	int rc = manifest_read(blobs, run, &arena, &manifest, e);
	for (size_t i = 0; rc == 0 && i < manifest.memory_count; i++)
		rc = memory_ask(blobs, &manifest, &manifest.memories[i], &changed, e);
	arena_destroy(&arena);
	if (rc != 0)
		return rc;
	out->asked = ASKED;
	out->changed_total = changed < ASKED ? changed : ASKED;
	out->changed_count = out->changed_total > 0;
	out->changed[0] = (struct msg_canary_change){ .id = { id, sizeof id - 1 }, /* no edit and no memory alone */
						      .prompt = { prompt, sizeof prompt - 1 },
						      .before = { before, sizeof before - 1 },
						      .after = { after, sizeof after - 1 } };
	return 0;
}

const struct worker_canaries *sim_canaries(struct sim_proc *proc)
{
	proc->canaries =
		(struct worker_canaries){ .context = proc, .digest = { { ASKED } }, .roots = roots, .ask = ask };
	return &proc->canaries;
}
