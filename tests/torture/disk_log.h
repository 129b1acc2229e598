/* disk_log.h: what recorder.c writes down and images.c replays: one `struct disk_op` an operation, its bytes behind it.
 */
#ifndef AMEND_TESTS_TORTURE_DISK_LOG_H
#define AMEND_TESTS_TORTURE_DISK_LOG_H

#include <stdint.h>

#define DISK_SECTOR_BYTES 512

enum disk_kind {
	DISK_FILE = 1, /* file `file` is the path that follows */
	DISK_WRITE,    /* may be lost, sector by sector, until its file is synced */
	DISK_SYNCED,   /* a write that was durable when it returned (O_DSYNC) */
	DISK_SYNC,     /* fsync, fdatasync of `file` */
	DISK_CUT,      /* ftruncate to `offset` */
};

struct disk_op {
	uint32_t kind, file;
	uint64_t begin_ns, end_ns;   /* of the monotonic clock */
	uint64_t offset, byte_count; /* byte_count: so many bytes follow */
};

#endif
