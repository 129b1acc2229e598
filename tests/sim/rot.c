/* rot.c: disks that change bits of stored chunks. A chunk is changed only while another program has it whole, so that
 * what the coordinator finds damaged can come back; who had it may give it up before it is asked, and then it is lost.
 * Where lost memories are trained again (world.retrain), some of a shard's memory change at all that have them. */
#include "tests/sim/check_internal.h"

#include "store/env.h"

#include <fcntl.h>
#include <inttypes.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#define CHUNKS_MOST 3 /* at a time */

struct place { /* of a chunk's bytes in its file */
	struct hash hash;
	off_t offset;
	size_t byte_count;
};

static bool has_whole(const struct sim_proc *proc, const struct hash *hash)
{
	struct buf bytes = BUF_INIT;
	struct err silent = ERR_INIT;
	sim_plant_watched = true;
	const bool whole = proc->store != NULL && store_chunk_get(proc->store, hash, &bytes, &silent) == 0;
	sim_plant_watched = false;
	buf_free(&bytes);
	return whole;
}

/* Another program than this one; NULL: none that is up. */
static const struct sim_proc *holder(const struct sim *sim, const struct sim_proc *proc, const struct hash *hash)
{
	for (size_t i = 0; i < sim->proc_count; i++)
		if (&sim->procs[i] != proc && sim->procs[i].up && has_whole(&sim->procs[i], hash))
			return &sim->procs[i];
	return NULL;
}

static void places_list(struct sim_proc *proc, struct buf *out)
{
	struct store_txn *txn = NULL;
	struct err silent = ERR_INIT;
	const uint8_t *map = NULL;
	size_t map_bytes = 0;
	struct place place = { .offset = 0 };
	struct store__bytes value;
	bool begun = false;
	if (store__txn_begin(proc->store, proc->store->blobs, false, 0, &txn, &silent) != 0)
		return;
	if (store__map_find(txn, &map, &map_bytes, &silent) == 0 && map != NULL)
		while (store__hash_next(txn, STORE__TABLE_CHUNK, &place.hash, &begun, &value, &silent) == 0) {
			place.offset = (const uint8_t *)value.data - map;
			place.byte_count = value.len;
			buf_append(out, &place, sizeof place);
		}
	store__txn_abort(&txn);
}

static bool bit_flip(const struct sim_proc *proc, const struct place *place, struct rng *rng)
{
	char path[SIM_PATH_BYTES + 32];
	const off_t at = place->offset + (off_t)rng_below(rng, place->byte_count);
	const unsigned bit = (unsigned)rng_below(rng, 8);
	unsigned char byte;
	snprintf(path, sizeof path, "%s/blobs/data.mdb", proc->folder);
	const int fd = open(path, O_RDWR | O_CLOEXEC);
	bool done = fd >= 0 && pread(fd, &byte, 1, at) == 1;
	byte = (unsigned char)(byte ^ 1u << bit);
	done = done && pwrite(fd, &byte, 1, at) == 1;
	if (fd >= 0)
		close(fd);
	return done;
}

static bool change(struct sim *sim, struct sim_proc *proc, const struct place *place, struct rng *rng)
{
	const struct sim_rot rot = { place->hash, (size_t)(proc - sim->procs) };
	if (place->byte_count == 0 || !has_whole(proc, &place->hash) || !bit_flip(proc, place, rng))
		return false;
	buf_append(&sim->rotted, &rot, sizeof rot);
	sim->result->tally.faults[SIM_TALLY_ROT][proc->kind]++;
	return true;
}

/* ---- Of a memory, everywhere */

/* The first chunks of the shards' deltas and indexes, as the ledger has them now. */
static void memories_list(struct sim *sim, struct buf *out)
{
	struct store_txn *txn = NULL;
	struct store_shard shard;
	struct err silent = ERR_INIT;
	if (sim_check__look(coordinator_of(sim)->store, &txn, &silent) != 0)
		return;
	for (uint64_t id = 1; store_shard_next(txn, id, &shard, &silent) == 0; id = shard.id + 1) {
		buf_append(out, &shard.delta_root, sizeof shard.delta_root);
		buf_append(out, &shard.index_root, sizeof shard.index_root);
		store_shard_fini(&shard);
	}
	store_abort(&txn);
}

static bool change_one(struct sim *sim, struct sim_proc *proc, const struct hash *hash, struct rng *rng)
{
	struct buf places = BUF_INIT;
	bool done = false;
	places_list(proc, &places);
	const struct place *list = (const void *)places.data;
	for (size_t i = 0; i < places.len / sizeof *list && !done; i++)
		done = hash_equal(&list[i].hash, hash) && change(sim, proc, &list[i], rng);
	buf_free(&places);
	return done;
}

size_t sim_rot_lose(struct sim *sim, struct rng *rng)
{
	struct buf memories = BUF_INIT;
	size_t changed = 0;
	const uint64_t dice = rng_u64(rng);
	if (coordinator_of(sim)->up && coordinator_of(sim)->store != NULL)
		memories_list(sim, &memories);
	const struct hash *roots = (const void *)memories.data;
	const size_t count = memories.len / sizeof *roots;
	for (size_t i = 0; i < sim->proc_count && count > 0; i++)
		if (sim->procs[i].up && sim->procs[i].store != NULL)
			changed += change_one(sim, &sim->procs[i], &roots[dice % count], rng);
	buf_free(&memories);
	return changed;
}

size_t sim_rot_put(struct sim *sim, struct sim_proc *proc, struct rng *rng)
{
	struct buf places = BUF_INIT;
	size_t changed = 0, most = 1 + rng_below(rng, CHUNKS_MOST);
	if (sim->world.retrain && rng_below(rng, 2) == 0)
		return sim_rot_lose(sim, rng);
	if (proc->up && proc->store != NULL)
		places_list(proc, &places);
	const struct place *list = (const void *)places.data;
	const size_t count = places.len / sizeof *list, from = count > 0 ? rng_below(rng, count) : 0;
	for (size_t i = 0; i < count && changed < most; i++) {
		const struct place *place = &list[(from + i) % count];
		changed += holder(sim, proc, &place->hash) != NULL && change(sim, proc, place, rng);
	}
	buf_free(&places);
	return changed;
}

/* ---- What it explains */

static const struct sim_rot *rotted_of(const struct sim *sim, size_t *count)
{
	*count = sim->rotted.len / sizeof(struct sim_rot);
	return (const void *)sim->rotted.data;
}

static bool is_here(struct store *store, const struct hash *hash)
{
	struct store_txn *txn = NULL;
	struct store__bytes value;
	struct err silent = ERR_INIT;
	bool here = false;
	if (store__txn_begin(store, store->blobs, false, 0, &txn, &silent) == 0)
		here = store__get(txn, STORE__TABLE_CHUNK, (struct store__bytes){ hash->bytes, HASH_BYTES }, &value,
				  &silent) == 0;
	store__txn_abort(&txn);
	return here;
}

static bool is_apart(struct store *store, const struct hash *hash)
{
	struct err silent = ERR_INIT;
	bool apart = false;
	return store_quarantine_has(store, hash, &apart, &silent) == 0 && apart;
}

bool sim_rot_was(const struct sim *sim, const struct hash *hash)
{
	size_t count;
	const struct sim_rot *rotted = rotted_of(sim, &count);
	for (size_t i = 0; i < count; i++)
		if (rotted[i].proc == 0 && hash_equal(&rotted[i].hash, hash))
			return true;
	return false;
}

bool sim_rot_is(struct sim *sim, const struct hash *hash)
{
	struct store *store = coordinator_of(sim)->store;
	return sim_rot_was(sim, hash) && !has_whole(coordinator_of(sim), hash) &&
	       (is_here(store, hash) || is_apart(store, hash));
}

bool sim_rot_any(struct sim *sim)
{
	size_t count;
	const struct sim_rot *rotted = rotted_of(sim, &count);
	for (size_t i = 0; i < count; i++)
		if (rotted[i].proc == 0 && sim_rot_is(sim, &rotted[i].hash))
			return true;
	return false;
}

bool sim_rot_explains(struct sim *sim, const struct hash *root)
{
	struct buf damaged = BUF_INIT;
	struct err silent = ERR_INIT;
	bool all = sim->rotted.len > 0 &&
		   store_blob_damaged(coordinator_of(sim)->store, root, &damaged, &silent) == 0 && damaged.len > 0;
	for (size_t at = 0; all && at < damaged.len; at += HASH_BYTES) {
		struct hash hash;
		memcpy(hash.bytes, damaged.data + at, HASH_BYTES);
		all = sim_rot_is(sim, &hash);
	}
	buf_free(&damaged);
	return all;
}

/* ---- At rest */

/* Each is whole again, or collected, or apart and nobody has it. */
bool sim_rot_rests(struct sim *sim, char *why, size_t why_bytes)
{
	struct sim_proc *c = coordinator_of(sim);
	size_t count;
	const struct sim_rot *rotted = rotted_of(sim, &count);
	for (size_t i = 0; i < count; i++) {
		char hex[HASH_HEX_BYTES];
		const struct hash *hash = &rotted[i].hash;
		if (rotted[i].proc != 0 || !sim_rot_is(sim, hash))
			continue;
		const struct sim_proc *by = holder(sim, c, hash);
		if (is_apart(c->store, hash) && by == NULL)
			continue;
		hash_hex(hash, hex);
		snprintf(why, why_bytes, "chunk %.12s is %s%s%s", hex,
			 is_apart(c->store, hash) ? "apart" : "damaged and was not found",
			 by != NULL ? ", and whole at " : "", by != NULL ? by->name : "");
		return false;
	}
	return true;
}

void sim_rot_end(struct sim *sim)
{
	struct sim_proc *c = coordinator_of(sim);
	struct sim_tally *tally = &sim->result->tally;
	size_t count;
	const struct sim_rot *rotted = rotted_of(sim, &count);
	for (size_t i = 0; i < count; i++) {
		if (rotted[i].proc != 0)
			continue;
		if (has_whole(c, &rotted[i].hash))
			tally->rot_healed++;
		else if (is_apart(c->store, &rotted[i].hash))
			tally->rot_lost++;
		else
			tally->rot_collected++;
	}
}
