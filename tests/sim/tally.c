#include "tests/sim/tally.h"

#include <inttypes.h>
#include <stdbool.h>
#include <stdio.h>

#define C 1u /* coordinator */
#define W 2u /* workers */
#define N 4u /* nodes */
#define U 8u /* clients */
#define A 0u /* the cluster: in the first column */

static const struct {
	const char *name;
	unsigned columns;
} faults[SIM_TALLY_FAULTS] = {
	[SIM_TALLY_LOST] = { "message lost", A },
	[SIM_TALLY_DOUBLED] = { "message doubled", A },
	[SIM_TALLY_REORDERED] = { "message out of order", A },
	[SIM_TALLY_CUT] = { "message cut off", A },
	[SIM_TALLY_NETWORK] = { "network changes", A },
	[SIM_TALLY_SWIZZLE] = { "swizzle", A },
	[SIM_TALLY_LINK_BOTH] = { "link cut both ways", W | N | U },
	[SIM_TALLY_LINK_TO] = { "link cut, to it", W | N | U },
	[SIM_TALLY_LINK_FROM] = { "link cut, from it", W | N | U },
	[SIM_TALLY_CRASH] = { "crash", C | W | N },
	[SIM_TALLY_CRASH_IN_OP] = { "crash in a write", C | W | N },
	[SIM_TALLY_TORN] = { "torn writes", C | W | N },
	[SIM_TALLY_STOP] = { "stop", C | W | N },
	[SIM_TALLY_PAUSE] = { "pause", C | W | N },
	[SIM_TALLY_SLOW] = { "slow", C | W | N },
	[SIM_TALLY_DISK_FULL] = { "disk full", C | W | N },
	[SIM_TALLY_DISK_ERROR] = { "disk error", C | W | N },
	[SIM_TALLY_MEMORY] = { "no memory", C | W | N },
	[SIM_TALLY_POINT] = { "fault point", A },
	[SIM_TALLY_CLOCK_FORWARD] = { "clock forward", C | W | N },
	[SIM_TALLY_CLOCK_BACK] = { "clock back", C | W | N },
	[SIM_TALLY_MERGE_UNBORN] = { "merge does not start", A },
	[SIM_TALLY_MERGE_MUTE] = { "merge without file", A },
	[SIM_TALLY_MERGE_HANGS] = { "merge hangs", A },
	[SIM_TALLY_NIGHT] = { "night", A },
	[SIM_TALLY_ROT] = { "rotten chunk", C | W | N },
	[SIM_TALLY_RESTORE] = { "back on a backup", A },
};

static const char *const operations[SIM_TALLY_OPERATIONS] = {
	[SIM_TALLY_SUBMIT] = "submit",
	[SIM_TALLY_SUBMIT_GROUP] = "  of a group",
	[SIM_TALLY_SUBMIT_AGAIN] = "  of a known record",
	[SIM_TALLY_SUBMIT_KEEP] = "  on conflict keep",
	[SIM_TALLY_SUBMIT_REJECT] = "  on conflict reject",
	[SIM_TALLY_SUBMIT_EXPIRES] = "  with expires",
	[SIM_TALLY_SUBMIT_VALID_FROM] = "  with valid_from",
	[SIM_TALLY_REVOKE] = "revoke an edit",
	[SIM_TALLY_REVOKE_GROUP] = "revoke a group",
	[SIM_TALLY_ROLLBACK] = "rollback",
	[SIM_TALLY_RESUME] = "resume",
	[SIM_TALLY_KEY_REVOKE] = "key revoke",
	[SIM_TALLY_KEY_ALLOW] = "key allow",
	[SIM_TALLY_COLLECT] = "gc",
	[SIM_TALLY_MERGE] = "merge run",
	[SIM_TALLY_BACKUP] = "backup",
};

static bool applies(size_t fault, size_t column)
{
	return faults[fault].columns == A ? column == 0 : (faults[fault].columns >> column & 1) != 0;
}

void sim_tally_add(struct sim_tally *to, const struct sim_tally *one)
{
	for (size_t i = 0; i < SIM_TALLY_FAULTS; i++)
		for (size_t k = 0; k < SIM_TALLY_COLUMNS; k++)
			to->faults[i][k] += one->faults[i][k];
	for (size_t i = 0; i < SIM_TALLY_OPERATIONS; i++)
		for (size_t k = 0; k < SIM_TALLY_OUTCOMES; k++)
			to->operations[i][k] += one->operations[i][k];
	to->collected_chunks += one->collected_chunks;
	to->merged_versions += one->merged_versions;
	to->rollbacks += one->rollbacks;
	to->refused_candidates += one->refused_candidates;
	to->withheld_edits += one->withheld_edits;
	to->lost_shards += one->lost_shards;
	to->rot_healed += one->rot_healed;
	to->rot_lost += one->rot_lost;
	to->rot_collected += one->rot_collected;
}

size_t sim_tally_missing(const struct sim_tally *tally)
{
	const uint64_t outcomes[] = { tally->collected_chunks,   tally->merged_versions, tally->rollbacks,
				      tally->refused_candidates, tally->withheld_edits,  tally->rot_healed,
				      tally->lost_shards };
	size_t missing = 0;
	for (size_t i = 0; i < sizeof outcomes / sizeof outcomes[0]; i++)
		missing += outcomes[i] == 0;
	for (size_t i = 0; i < SIM_TALLY_FAULTS; i++)
		for (size_t k = 0; k < SIM_TALLY_COLUMNS; k++)
			missing += applies(i, k) && tally->faults[i][k] == 0;
	for (size_t i = 0; i < SIM_TALLY_OPERATIONS; i++)
		missing += tally->operations[i][SIM_TALLY_OK] == 0;
	return missing;
}

size_t sim_tally_print(const struct sim_tally *tally)
{
	size_t missing = sim_tally_missing(tally);
	printf("%-22s %12s %9s %9s %9s\n", "fault", "coordinator", "worker", "node", "client");
	for (size_t i = 0; i < SIM_TALLY_FAULTS; i++) {
		printf("%-22s", faults[i].name);
		for (size_t k = 0; k < SIM_TALLY_COLUMNS; k++)
			if (applies(i, k))
				printf(k == 0 ? " %12" PRIu64 : " %9" PRIu64, tally->faults[i][k]);
			else
				printf(k == 0 ? " %12s" : " %9s", "");
		putchar('\n');
	}
	printf("%-22s %12s %9s %9s %9s\n", "operation", "asked", "ok", "refused", "unknown");
	for (size_t i = 0; i < SIM_TALLY_OPERATIONS; i++)
		printf("%-22s %12" PRIu64 " %9" PRIu64 " %9" PRIu64 " %9" PRIu64 "\n", operations[i],
		       tally->operations[i][SIM_TALLY_ASKED], tally->operations[i][SIM_TALLY_OK],
		       tally->operations[i][SIM_TALLY_REFUSED], tally->operations[i][SIM_TALLY_UNKNOWN]);
	printf("chunks collected=%" PRIu64 " versions merged=%" PRIu64 " rolled back=%" PRIu64 "\n",
	       tally->collected_chunks, tally->merged_versions, tally->rollbacks);
	printf("candidates refused=%" PRIu64 " edits withheld=%" PRIu64
	       " rotten chunks of the coordinator healed=%" PRIu64 " collected=%" PRIu64 " lost=%" PRIu64
	       " memories lost=%" PRIu64 "\n",
	       tally->refused_candidates, tally->withheld_edits, tally->rot_healed, tally->rot_collected,
	       tally->rot_lost, tally->lost_shards);
	printf("coverage: %zu cells are empty\n", missing);
	return missing;
}
