/* disk.h: a disk that loses what was not synced. While `sim_disk_now` is set, the process's writes and syncs (LMDB's,
 * and our own) go through here: they are counted, may fail, and can be where the program crashes. The files are real
 * ones on a memory file system; for each write that was not synced its former bytes are kept, and a crash puts back a
 * random part of them, sector by sector. Not simulated: names (a rename or a new file is durable at once) and reads. */
#ifndef AMEND_TESTS_SIM_DISK_H
#define AMEND_TESTS_SIM_DISK_H

#include "base/rng.h"

#include <stdbool.h>
#include <sys/types.h>

struct sim_undo { /* former bytes of one write that was not synced */
	struct sim_undo *earlier;
	int fd;
	off_t offset;
	size_t byte_count, former_count; /* former_count: so many of them were within the file */
	unsigned char former[];
};

struct sim_disk {
	struct rng rng;
	struct sim_undo *undo; /* the newest first */
	bool full;             /* writes that make a file longer fail */
	bool lies;             /* planted fault: a sync does nothing */
	int64_t crash_in;      /* operations until the program dies in the middle of one; 0: never */
	int64_t eio_in;        /* operations until one fails; 0: never */
	bool dead;             /* it died: nothing that it still does has an effect */
	bool failed, refused;  /* an operation failed, found no room, since the program's start */
	uint64_t operations, torn_sectors, errors, refusals;
};

extern struct sim_disk *sim_disk_now; /* NULL: the disk is the machine's */

void sim_disk_init(struct sim_disk *disk, uint64_t seed);
/* What the power loss leaves: to be called while the program's files are still open. It is dead from then on. */
void sim_disk_crash(struct sim_disk *disk);
/* The program's files are closed; what it had not synced is kept. It may be started again. */
void sim_disk_settle(struct sim_disk *disk);

#endif
