/* tally.h: how often each kind of fault hit each kind of program, and each operation was asked for and answered: what a
 * run of many seeds has covered. */
#ifndef AMEND_TESTS_SIM_TALLY_H
#define AMEND_TESTS_SIM_TALLY_H

#include <stddef.h>
#include <stdint.h>

/* Rows of faults; what happened, not what was tried. The columns are enum sim_kind and clients. */
enum sim_tally_fault {
	SIM_TALLY_LOST, /* messages, of the cluster as a whole */
	SIM_TALLY_DOUBLED,
	SIM_TALLY_REORDERED,
	SIM_TALLY_CUT,
	SIM_TALLY_NETWORK,     /* changes of the rates and delays */
	SIM_TALLY_SWIZZLE,     /* several links, one after the other */
	SIM_TALLY_LINK_BOTH,   /* cut both ways */
	SIM_TALLY_LINK_TO,     /* nothing comes to it */
	SIM_TALLY_LINK_FROM,   /* nothing comes from it */
	SIM_TALLY_CRASH,       /* between two messages */
	SIM_TALLY_CRASH_IN_OP, /* in the middle of a write or sync */
	SIM_TALLY_TORN,        /* deaths that lost sectors of unsynced writes */
	SIM_TALLY_STOP,
	SIM_TALLY_PAUSE,
	SIM_TALLY_SLOW,
	SIM_TALLY_DISK_FULL, /* writes without room */
	SIM_TALLY_DISK_ERROR,
	SIM_TALLY_MEMORY,
	SIM_TALLY_POINT,
	SIM_TALLY_CLOCK_FORWARD,
	SIM_TALLY_CLOCK_BACK,
	SIM_TALLY_MERGE_UNBORN, /* the job does not start */
	SIM_TALLY_MERGE_MUTE,   /* it ends without its file */
	SIM_TALLY_MERGE_HANGS,
	SIM_TALLY_NIGHT,   /* minutes in which nothing is asked */
	SIM_TALLY_ROT,     /* chunks of which a bit changed on the disk */
	SIM_TALLY_RESTORE, /* the coordinator goes on from a backup */
	SIM_TALLY_FAULTS
};
#define SIM_TALLY_COLUMNS 4
#define SIM_TALLY_CLIENT  3

enum sim_tally_outcome { SIM_TALLY_ASKED, SIM_TALLY_OK, SIM_TALLY_REFUSED, SIM_TALLY_UNKNOWN, SIM_TALLY_OUTCOMES };

/* What clients ask for; a submit is counted by what is in it, too. */
enum sim_tally_operation {
	SIM_TALLY_SUBMIT,
	SIM_TALLY_SUBMIT_GROUP,
	SIM_TALLY_SUBMIT_AGAIN, /* with a record that was sent before */
	SIM_TALLY_SUBMIT_KEEP,
	SIM_TALLY_SUBMIT_REJECT,
	SIM_TALLY_SUBMIT_EXPIRES,
	SIM_TALLY_SUBMIT_VALID_FROM,
	SIM_TALLY_REVOKE,
	SIM_TALLY_REVOKE_GROUP,
	SIM_TALLY_ROLLBACK,
	SIM_TALLY_RESUME,
	SIM_TALLY_KEY_REVOKE,
	SIM_TALLY_KEY_ALLOW,
	SIM_TALLY_COLLECT,
	SIM_TALLY_MERGE,
	SIM_TALLY_BACKUP,
	SIM_TALLY_OPERATIONS
};

struct sim_tally {
	uint64_t faults[SIM_TALLY_FAULTS][SIM_TALLY_COLUMNS];
	uint64_t operations[SIM_TALLY_OPERATIONS][SIM_TALLY_OUTCOMES];
	uint64_t collected_chunks, merged_versions, rollbacks; /* what came of it */
	uint64_t refused_candidates, withheld_edits;           /* by the canaries */
	uint64_t lost_shards;                                  /* trained again from the ledger */
	uint64_t rot_healed, rot_lost, rot_collected;          /* the coordinator's chunks, at the end */
};

void sim_tally_add(struct sim_tally *to, const struct sim_tally *one);
/* Two tables. Returns how many cells are empty that should not be; these are named. */
size_t sim_tally_print(const struct sim_tally *tally);
size_t sim_tally_missing(const struct sim_tally *tally);

#endif
