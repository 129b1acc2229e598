/* plant.c: faults planted in the programs by the linker (--wrap), for `make torture` to show that its checks find them.
 * TORTURE_PLANT names one; none is planted without. Those that the simulator has too are its own (tests/sim/plant.c).
 */
#include "tests/sim/sim.h"

#include "coordinator/internal.h"
#include "store/env_lmdb.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#define LONG_LEASE_MS 6000
#define LEAK_BYTES    ((size_t)4 << 20) /* for each Submit */

static bool nosync, unchecked;
static enum { OWN_NONE, NO_TURNS, LONG_LEASE, LEAK_MEMORY, LEAK_DESCRIPTORS, FLOAT_SUM, OWN_COUNT } own;
static const char *const own_names[OWN_COUNT] = { "none",        "no-turns",         "long-lease",
						  "leak-memory", "leak-descriptors", "float-sum" };

__attribute__((constructor)) static void plant(void)
{
	const char *name = getenv("TORTURE_PLANT");
	if (name == NULL || name[0] == '\0')
		return;
	nosync = strcmp(name, "no-sync") == 0;
	unchecked = strcmp(name, sim_plant_names[SIM_PLANT_UNCHECKED]) == 0;
	if (unchecked)
		sim_planted = SIM_PLANT_UNCHECKED;
	for (int i = 1; i < OWN_COUNT; i++)
		if (strcmp(name, own_names[i]) == 0)
			own = i;
	bool known = nosync || unchecked || own != OWN_NONE;
	for (int i = 0; i < SIM_PLANT_NO_SYNC && !known; i++) {
		known = strcmp(name, sim_plant_names[i]) == 0;
		sim_planted = known ? (enum sim_plant)i : SIM_PLANT_NONE;
	}
	if (!known) {
		fprintf(stderr, "TORTURE_PLANT: \"%s\" is not known\n", name);
		exit(2);
	}
}

/* ---- no-sync: LMDB commits without waiting for the disk. */

int __real_mdb_env_open(MDB_env *env, const char *path, unsigned flags, mdb_mode_t mode);
int __wrap_mdb_env_open(MDB_env *env, const char *path, unsigned flags, mdb_mode_t mode);
int __wrap_mdb_env_open(MDB_env *env, const char *path, unsigned flags, mdb_mode_t mode)
{
	return __real_mdb_env_open(env, path, nosync ? flags | MDB_NOSYNC : flags, mode);
}

/* ---- unchecked-hash: chunks are stored without a look at their hash, too (given out so: tests/sim/plant.c). */

int __real_store_chunks_put(struct store *store, const struct store_chunk *chunks, size_t chunk_count, struct err *e);
int __wrap_store_chunks_put(struct store *store, const struct store_chunk *chunks, size_t chunk_count, struct err *e);
int __wrap_store_chunks_put(struct store *store, const struct store_chunk *chunks, size_t chunk_count, struct err *e)
{
	struct store_txn *txn = NULL;
	int rc = __real_store_chunks_put(store, chunks, chunk_count, e);
	if (rc != ERR_CORRUPT || !unchecked)
		return rc;
	err_clear(e);
	rc = store__txn_begin(store, store->blobs, true, chunk_count * 2 * STORE_CHUNK_BYTES, &txn, e);
	for (size_t i = 0; rc == 0 && i < chunk_count; i++)
		rc = store__put(txn, STORE__TABLE_CHUNK, (struct store__bytes){ chunks[i].hash.bytes, HASH_BYTES },
				(struct store__bytes){ chunks[i].bytes, chunks[i].byte_count }, e);
	if (rc == 0)
		return store__txn_commit(&txn, e);
	store__txn_abort(&txn);
	return rc;
}

/* ---- no-turns: whoever comes when there is room is taken. leak-…: each Submit leaves something behind. */

bool __real_coordinator__turn_take(struct turns *turns, const uint8_t *key, size_t count, bool room, int64_t now_ms);
bool __wrap_coordinator__turn_take(struct turns *turns, const uint8_t *key, size_t count, bool room, int64_t now_ms);
bool __wrap_coordinator__turn_take(struct turns *turns, const uint8_t *key, size_t count, bool room, int64_t now_ms)
{
	static char *volatile leaked;
	if (own == LEAK_MEMORY && (leaked = malloc(LEAK_BYTES)) != NULL)
		memset(leaked, 1, LEAK_BYTES);
	if (own == LEAK_DESCRIPTORS && dup(STDERR_FILENO) < 0)
		abort();
	return own == NO_TURNS ? room : __real_coordinator__turn_take(turns, key, count, room, now_ms);
}

/* ---- long-lease: a lease outlasts what its holder counts. */

void __real_coordinator__lease_renew(struct lease *lease, int64_t expires_ms);
void __wrap_coordinator__lease_renew(struct lease *lease, int64_t expires_ms);
void __wrap_coordinator__lease_renew(struct lease *lease, int64_t expires_ms)
{
	__real_coordinator__lease_renew(lease, own == LONG_LEASE ? expires_ms + LONG_LEASE_MS : expires_ms);
}
