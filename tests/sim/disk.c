/* disk.c: see disk.h. The functions of libc below are found before libc's own by every library of the process. */
#include "tests/sim/disk.h"

#include <errno.h>
#include <fcntl.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/statvfs.h>
#include <sys/syscall.h>
#include <sys/uio.h>
#include <sys/vfs.h>
#include <unistd.h>

#define SECTOR_BYTES 512
#define FDS_MAX      1024
#define PUBLIC       __attribute__((visibility("default")))

enum fd_kind { FD_UNKNOWN, FD_OTHER, FD_FILE, FD_SYNCED_FILE, FD_FOLDER };
enum verdict { DISK_GOES_ON, DISK_FAILS, DISK_CRASHES };

struct sim_disk *sim_disk_now;
static unsigned char kinds[FDS_MAX];

static ssize_t raw_pwrite(int fd, const void *bytes, size_t byte_count, off_t offset)
{
	return syscall(SYS_pwrite64, fd, bytes, byte_count, offset);
}

static enum fd_kind kind_of(int fd)
{
	struct stat st;
	if (fd <= STDERR_FILENO || fd >= FDS_MAX)
		return FD_OTHER;
	if (kinds[fd] == FD_UNKNOWN) {
		kinds[fd] = FD_OTHER;
		if (fstat(fd, &st) == 0 && S_ISDIR(st.st_mode))
			kinds[fd] = FD_FOLDER;
		else if (fstat(fd, &st) == 0 && S_ISREG(st.st_mode))
			kinds[fd] = fcntl(fd, F_GETFL) & O_DSYNC ? FD_SYNCED_FILE : FD_FILE;
	}
	return (enum fd_kind)kinds[fd];
}

void sim_disk_init(struct sim_disk *disk, uint64_t seed)
{
	*disk = (struct sim_disk){ .undo = NULL };
	rng_init(&disk->rng, seed);
}

/* Of one operation. */
static enum verdict judge(struct sim_disk *disk)
{
	disk->operations++;
	if (disk->dead)
		return DISK_FAILS;
	if (disk->crash_in > 0 && --disk->crash_in == 0) {
		disk->dead = true;
		return DISK_CRASHES;
	}
	if (disk->eio_in > 0 && --disk->eio_in == 0) {
		disk->failed = true;
		disk->errors++;
		return DISK_FAILS;
	}
	return DISK_GOES_ON;
}

/* ---- What was not synced */

static void undo_drop(struct sim_disk *disk, int fd)
{
	struct sim_undo **at = &disk->undo;
	while (*at != NULL) {
		struct sim_undo *one = *at;
		if (fd >= 0 && one->fd != fd) {
			at = &one->earlier;
			continue;
		}
		*at = one->earlier;
		free(one);
	}
}

static void undo_keep(struct sim_disk *disk, int fd, size_t byte_count, off_t offset)
{
	struct sim_undo *one = malloc(sizeof *one + byte_count);
	if (one == NULL)
		abort();
	ssize_t there = pread(fd, one->former, byte_count, offset);
	one->fd = fd;
	one->offset = offset;
	one->byte_count = byte_count;
	one->former_count = there > 0 ? (size_t)there : 0;
	one->earlier = disk->undo;
	disk->undo = one;
}

/* A sector is old or new as a whole. */
static void undo_apply(struct sim_disk *disk, const struct sim_undo *one)
{
	unsigned char old[SECTOR_BYTES];
	for (size_t at = 0, n; at < one->byte_count; at += n) {
		size_t into = (size_t)(one->offset + (off_t)at) % SECTOR_BYTES;
		n = SECTOR_BYTES - into < one->byte_count - at ? SECTOR_BYTES - into : one->byte_count - at;
		if (rng_below(&disk->rng, 2) == 0)
			continue;
		memset(old, 0, sizeof old);
		if (at < one->former_count)
			memcpy(old, one->former + at, n < one->former_count - at ? n : one->former_count - at);
		(void)!raw_pwrite(one->fd, old, n, one->offset + (off_t)at);
		disk->torn_sectors++;
	}
}

void sim_disk_crash(struct sim_disk *disk)
{
	for (const struct sim_undo *one = disk->undo; one != NULL; one = one->earlier)
		undo_apply(disk, one);
	undo_drop(disk, -1);
	disk->dead = true;
}

void sim_disk_settle(struct sim_disk *disk)
{
	undo_drop(disk, -1);
	disk->dead = disk->failed = disk->refused = false;
	disk->crash_in = disk->eio_in = 0;
}

/* ---- Operations */

static ssize_t refuse(int errnum)
{
	errno = errnum;
	return -1;
}

static bool grows(int fd, size_t byte_count, off_t offset)
{
	struct stat st;
	return fstat(fd, &st) == 0 && offset + (off_t)byte_count > st.st_size;
}

static ssize_t disk_pwrite(int fd, const void *bytes, size_t byte_count, off_t offset)
{
	struct sim_disk *disk = sim_disk_now;
	enum fd_kind kind = kind_of(fd);
	if (disk == NULL || (kind != FD_FILE && kind != FD_SYNCED_FILE))
		return raw_pwrite(fd, bytes, byte_count, offset);
	enum verdict verdict = judge(disk);
	if (verdict == DISK_FAILS)
		return refuse(EIO);
	if (disk->full && grows(fd, byte_count, offset)) {
		disk->refused = true;
		disk->refusals++;
		return refuse(ENOSPC);
	}
	if (kind == FD_FILE || disk->lies)
		undo_keep(disk, fd, byte_count, offset);
	else if (verdict == DISK_CRASHES && rng_below(&disk->rng, 2) == 0)
		return refuse(
			EIO); /* a write that is synced by itself, and no longer than a sector: it is there or not */
	ssize_t written = raw_pwrite(fd, bytes, byte_count, offset);
	return verdict == DISK_CRASHES ? refuse(EIO) : written;
}

static int disk_sync(int fd)
{
	struct sim_disk *disk = sim_disk_now;
	enum verdict verdict = judge(disk);
	/* It may die after the sync and before it hears of it. */
	if (verdict == DISK_GOES_ON || (verdict == DISK_CRASHES && rng_below(&disk->rng, 2) == 0)) {
		if (!disk->lies)
			undo_drop(disk, fd);
		if (verdict == DISK_GOES_ON)
			return 0;
	}
	return (int)refuse(EIO);
}

PUBLIC ssize_t pwrite(int fd, const void *bytes, size_t byte_count, off_t offset)
{
	return disk_pwrite(fd, bytes, byte_count, offset);
}

PUBLIC ssize_t write(int fd, const void *bytes, size_t byte_count)
{
	enum fd_kind kind = sim_disk_now == NULL ? FD_OTHER : kind_of(fd);
	off_t at = kind == FD_FILE || kind == FD_SYNCED_FILE ? lseek(fd, 0, SEEK_CUR) : -1;
	if (at < 0)
		return syscall(SYS_write, fd, bytes, byte_count);
	ssize_t written = disk_pwrite(fd, bytes, byte_count, at);
	if (written > 0)
		(void)lseek(fd, at + written, SEEK_SET);
	return written;
}

PUBLIC ssize_t writev(int fd, const struct iovec *parts, int part_count)
{
	ssize_t total = 0;
	if (sim_disk_now == NULL || kind_of(fd) == FD_OTHER)
		return syscall(SYS_writev, fd, parts, part_count);
	for (int i = 0; i < part_count; i++) {
		ssize_t written = write(fd, parts[i].iov_base, parts[i].iov_len);
		if (written < 0)
			return total > 0 && !sim_disk_now->dead ? total : written;
		total += written;
	}
	return total;
}

PUBLIC int fsync(int fd)
{
	return sim_disk_now == NULL || kind_of(fd) == FD_OTHER ? (int)syscall(SYS_fsync, fd) : disk_sync(fd);
}

PUBLIC int fdatasync(int fd)
{
	return sim_disk_now == NULL || kind_of(fd) == FD_OTHER ? (int)syscall(SYS_fdatasync, fd) : disk_sync(fd);
}

PUBLIC int close(int fd)
{
	if (fd >= 0 && fd < FDS_MAX)
		kinds[fd] = FD_UNKNOWN;
	if (sim_disk_now != NULL)
		undo_drop(sim_disk_now, fd); /* disk.h: no file is closed with writes that matter and are not synced */
	return (int)syscall(SYS_close, fd);
}

PUBLIC int statvfs(const char *path, struct statvfs *out)
{
	struct statfs fs;
	if (statfs(path, &fs) != 0)
		return -1;
	memset(out, 0, sizeof *out);
	out->f_bsize = (unsigned long)fs.f_bsize;
	out->f_frsize = (unsigned long)fs.f_bsize;
	out->f_blocks = fs.f_blocks;
	out->f_bfree = fs.f_bfree;
	out->f_bavail = fs.f_bavail;
	if (sim_disk_now != NULL) { /* the same on every machine */
		out->f_frsize = 4096;
		out->f_blocks = 1 << 28;
		out->f_bavail = sim_disk_now->full ? 0 : 1 << 27;
	}
	return 0;
}
