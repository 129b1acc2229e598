/* disk.c: reads chunks from the disk rather than through the map. What the map has in memory may be right where the
 * disk is not, and a page that the disk does not give would end the process (SIGBUS); read() says so. */
#include "base/fault.h"
#include "store/env.h"

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#define BLOCK_BYTES STORE__DISK_PAGE_BYTES /* what direct reads are aligned to, too */
#define READ_BYTES  (STORE_CHUNK_BYTES + 2 * BLOCK_BYTES)
#define TRIES       2
#define PAGE_HEAD   16 /* of long values: number u64, unused u16, flags u16, pages u32 (check.c) */
#define PAGE_LONG   4

/* Files on memory have no direct reads, and some file systems. */
static int data_open(struct store__disk *disk, const char *path, struct err *e)
{
	disk->fd = open(path, O_RDONLY | O_DIRECT | O_CLOEXEC);
	disk->direct = disk->fd >= 0;
	if (disk->fd < 0)
		disk->fd = open(path, O_RDONLY | O_CLOEXEC);
	return disk->fd >= 0 ? 0 : err_open(e, errno, "opening %s", path);
}

int store__disk_open(struct store_txn *txn, struct store__disk *out, struct err *e)
{
	void *bytes = NULL;
	*out = (struct store__disk){ .fd = -1 };
	if (snprintf(out->path, sizeof(out->path), "%s/data.mdb", store__txn_path(txn)) >= (int)sizeof(out->path))
		return err_set(e, ERR_INVALID, "%s: its path is longer than %d bytes", store__txn_path(txn), PATH_MAX);
	if (fault_memory() || posix_memalign(&bytes, BLOCK_BYTES, READ_BYTES))
		return err_set(e, ERR_NOMEM, "%s: reading it: out of memory", out->path);
	out->bytes = bytes;
	int rc = store__map_find(txn, &out->map, &out->map_bytes, e);
	if (!rc && out->map)
		rc = data_open(out, out->path, e);
	if (rc)
		store__disk_close(out);
	return rc;
}

void store__disk_close(struct store__disk *disk)
{
	if (disk->fd >= 0)
		close(disk->fd);
	free(disk->bytes);
	*disk = (struct store__disk){ .fd = -1 };
}

static bool is_mapped(const struct store__disk *disk, struct store__bytes value)
{
	const uint8_t *data = value.data;
	return disk->map && data >= disk->map && value.len <= STORE_CHUNK_BYTES &&
	       (size_t)(data - disk->map) + value.len <= disk->map_bytes;
}

/* False: the disk does not give it. */
static bool range_read(struct store__disk *disk, off_t from, size_t len)
{
	size_t got = 0;
	if (fault_point("store.disk.read"))
		return false;
	if (!disk->direct) /* not what others have mapped: those pages stay in memory */
		(void)posix_fadvise(disk->fd, from, (off_t)len, POSIX_FADV_DONTNEED);
	while (got < len) {
		const ssize_t n = pread(disk->fd, disk->bytes + got, len - got, from + (off_t)got);
		if (n < 0 && errno == EINTR)
			continue;
		if (n <= 0)
			return false;
		got += (size_t)n;
	}
	return true;
}

bool store__disk_read(struct store__disk *disk, struct store__bytes value, struct store__bytes *out)
{
	*out = value;
	if (!is_mapped(disk, value))
		return true;
	const size_t at = (size_t)((const uint8_t *)value.data - disk->map);
	const size_t from = at / BLOCK_BYTES * BLOCK_BYTES;
	const size_t len = (at + value.len + BLOCK_BYTES - 1) / BLOCK_BYTES * BLOCK_BYTES - from;
	for (int i = 0; i < TRIES; i++)
		if (range_read(disk, (off_t)from, len)) {
			*out = (struct store__bytes){ disk->bytes + (at - from), value.len };
			return true;
		}
	*out = (struct store__bytes){ NULL, 0 };
	return false;
}

static int head_write(const struct store__disk *disk, size_t at, size_t page_count, struct err *e)
{
	uint8_t page[BLOCK_BYTES] = { 0 };
	const uint64_t number = at / BLOCK_BYTES;
	const uint16_t flags = PAGE_LONG;
	const uint32_t pages = (uint32_t)page_count;
	memcpy(page, &number, sizeof(number));
	memcpy(page + 10, &flags, sizeof(flags));
	memcpy(page + 12, &pages, sizeof(pages));
	const int fd = open(disk->path, O_WRONLY | O_CLOEXEC);
	if (fd < 0)
		return err_open(e, errno, "opening %s", disk->path);
	int rc = 0;
	if (pwrite(fd, page, sizeof(page), (off_t)at) != (ssize_t)sizeof(page) || fdatasync(fd))
		rc = err_errno(e, ERR_IO, errno, "%s: a page that the disk does not give could not be written anew",
			       disk->path);
	close(fd);
	return rc;
}

int store__disk_head_renew(struct store__disk *disk, struct store__bytes value, struct err *e)
{
	const size_t at = is_mapped(disk, value) ? (size_t)((const uint8_t *)value.data - disk->map) : 0;
	if (at % BLOCK_BYTES != PAGE_HEAD)
		return 0; /* it lies in a page of the tree, which LMDB has read */
	for (int i = 0; i < TRIES; i++)
		if (range_read(disk, (off_t)(at - PAGE_HEAD), BLOCK_BYTES))
			return 0;
	return head_write(disk, at - PAGE_HEAD, (PAGE_HEAD + value.len + BLOCK_BYTES - 1) / BLOCK_BYTES, e);
}
