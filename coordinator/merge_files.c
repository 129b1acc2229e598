/* merge_files.c: the run folder DATA/merge/ID/: frozen inputs with their digests, the plan, and the output that is
 * judged against it. */
#include "base/merge_plan.h"
#include "coordinator/internal.h"

#include <ftw.h>
#include <inttypes.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

int coordinator__merge_path(const struct coordinator *c, uint64_t id, const char *name, char out[PATH_MAX],
			    struct err *e)
{
	int len =
		snprintf(out, PATH_MAX, "%s/merge/%" PRIu64 "%s%s", c->data_folder, id, name[0] != 0 ? "/" : "", name);
	return len > 0 && len < PATH_MAX ? 0
					 : err_set(e, ERR_LIMIT, "merge %" PRIu64 ": a path in %.64s… is over %d bytes",
						   id, c->data_folder, PATH_MAX - 1);
}

static int write_delta(struct coordinator *c, uint64_t merge, const struct shard *shard, struct merge_plan_shard *out,
		       struct err *e)
{
	char path[PATH_MAX];
	struct buf bytes = BUF_INIT;
	snprintf(out->delta, sizeof out->delta, "shard-%" PRIu64 ".delta", shard->rec.id);
	int rc = coordinator__merge_path(c, merge, out->delta, path, e);
	if (rc == 0)
		rc = coordinator__blob_get(c, &shard->rec.delta_root, STORE_CHUNK_BYTES * (size_t)STORE_BLOB_CHUNKS_MAX,
					   &bytes, e);
	if (rc == 0) {
		hash_of(bytes.data, bytes.len, &out->delta_hash);
		rc = file_write_atomic(path, bytes.data, bytes.len, 0600, e);
	}
	buf_free(&bytes);
	return rc;
}

static int edits_text(struct store_txn *txn, const struct shard *shard, struct buf *out, struct err *e)
{
	for (size_t i = 0; i < shard->rec.trained_count; i++) {
		const uint64_t seq = shard->rec.seqs[i];
		if (!coordinator__edit_live(shard->states[i]))
			continue;
		buf_printf(out, "%" PRIu64 "\t", seq);
		size_t at = out->len;
		int rc = coordinator__payload_put(txn, seq, out, e);
		if (rc != 0)
			return rc;
		/* One line an edit: a line end inside of JSON is only white space. */
		for (; !buf_failed(out) && at < out->len; at++) {
			if (out->data[at] == '\n' || out->data[at] == '\r')
				out->data[at] = ' ';
		}
		buf_u8(out, '\n');
	}
	return buf_failed(out) ? err_set(e, ERR_NOMEM, "out of memory") : 0;
}

static int write_edits(struct coordinator *c, uint64_t merge, const struct shard *shard, struct merge_plan_shard *out,
		       struct err *e)
{
	char path[PATH_MAX];
	struct buf text = BUF_INIT;
	struct store_txn *txn = NULL;
	snprintf(out->edits, sizeof out->edits, "shard-%" PRIu64 ".edits", shard->rec.id);
	int rc = coordinator__merge_path(c, merge, out->edits, path, e);
	if (rc == 0)
		rc = store_begin_read(c->store, &txn, e);
	if (rc == 0)
		rc = edits_text(txn, shard, &text, e);
	store_abort(&txn);
	if (rc == 0) {
		hash_of(text.data, text.len, &out->edits_hash);
		rc = file_write_atomic(path, text.data, text.len, 0600, e);
	}
	buf_free(&text);
	return rc;
}

static int write_inputs(struct coordinator *c, const struct store_merge *rec, struct merge_plan *plan, struct err *e)
{
	for (size_t i = 0; i < rec->shard_count; i++) {
		const struct shard *shard = coordinator__shard_find(c, rec->shards[i]);
		if (shard == NULL)
			return err_set(e, ERR_NOT_FOUND, "shard %" PRIu64 " is not there", rec->shards[i]);
		plan->shards[i].id = shard->rec.id;
		int rc = write_delta(c, rec->id, shard, &plan->shards[i], e);
		if (rc == 0)
			rc = write_edits(c, rec->id, shard, &plan->shards[i], e);
		if (rc != 0) {
			err_wrap(e, "shard %" PRIu64, shard->rec.id);
			return rc;
		}
	}
	return 0;
}

int coordinator__merge_prepare_files(struct coordinator *c, struct store_merge *rec, struct err *e)
{
	char folder[PATH_MAX], path[PATH_MAX], output[PATH_MAX];
	struct merge_plan *plan = NULL;
	struct buf text = BUF_INIT;
	int rc = coordinator__merge_path(c, rec->id, "", folder, e);
	if (rc == 0)
		rc = coordinator__merge_path(c, rec->id, "plan.json", path, e);
	if (rc == 0)
		rc = coordinator__merge_path(c, rec->id, "output", output, e);
	if (rc == 0)
		rc = file_make_folder(folder, e);
	if (rc == 0)
		rc = merge_plan_new(rec->shard_count, &plan, e);
	if (rc == 0)
		rc = write_inputs(c, rec, plan, e);
	if (rc == 0) {
		plan->merge = rec->id;
		plan->operator= c->config.merge_operator;
		plan->numbers.density = c->config.merge_density;
		plan->numbers.trim_nonzero = c->config.merge_trim_nonzero;
		plan->base_model = c->base_model;
		plan->layer = coordinator__layer(c);
		plan->seed = c->config.seed;
		plan->deadline_ms = c->config.merge_deadline_ms;
		rc = merge_plan_encode(plan, &text, e);
	}
	if (rc == 0) {
		hash_of(text.data, text.len, &rec->plan);
		(void)unlink(output);
		rc = file_write_atomic(path, text.data, text.len, 0600, e);
	}
	buf_free(&text);
	merge_plan_destroy(&plan);
	if (rc != 0)
		err_wrap(e, "preparing merge %" PRIu64 " in %s", rec->id, folder);
	return rc;
}

int coordinator__merge_verify(struct coordinator *c, struct store_merge *rec, struct err *e)
{
	char path[PATH_MAX];
	struct merge_output output;
	struct buf delta = BUF_INIT;
	int rc = coordinator__merge_path(c, rec->id, "output", path, e);
	if (rc == 0)
		rc = merge_output_read(path, &rec->plan, &output, &delta, e);
	if (rc == ERR_NOT_FOUND)
		err_set(e, rc,
			"it ended without an output: a rank failed or was killed; %s/merge/%" PRIu64
			"/job.log holds its last words",
			c->data_folder, rec->id);
	if (rc == 0 && output.merge != rec->id)
		rc = err_set(e, ERR_MISMATCH, "%s is the output of merge %" PRIu64, path, output.merge);
	if (rc == 0 && output.layer != coordinator__layer(c))
		rc = err_set(e, ERR_MISMATCH,
			     "%s edits layer %" PRIu64 ", this cluster's memories edit layer %" PRIu32
			     ": is merge.program of this cluster's version?",
			     path, output.layer, coordinator__layer(c));
	if (rc == 0) {
		rec->rounds = (uint32_t)output.rounds;
		rec->reduces = (uint32_t)output.reduces;
		rec->reduced_bytes = output.reduced_bytes;
	}
	if (rc == 0)
		rc = coordinator__heal_put(c, delta.data, delta.len, &rec->output_root, e);
	buf_free(&delta);
	return rc;
}

static int remove_entry(const char *path, const struct stat *st, int kind, struct FTW *at)
{
	(void)st;
	const char *name = path + at->base;
	if (at->level == 0 || (at->level == 1 && (strcmp(name, "plan.json") == 0 || strcmp(name, "job.log") == 0)))
		return 0;
	if ((kind == FTW_DP ? rmdir(path) : unlink(path)) != 0)
		log_event(LOG_DEBUG, "COORDINATOR-MERGE-FILE-KEPT", LOGF_S("path", path));
	return 0;
}

void coordinator__merge_clean(const struct coordinator *c, uint64_t id)
{
	char folder[PATH_MAX];
	if (coordinator__merge_path(c, id, "", folder, NULL) == 0)
		(void)nftw(folder, remove_entry, 16, FTW_DEPTH | FTW_PHYS | FTW_MOUNT);
}
