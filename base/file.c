/* Whole files, for buf.h. */
#include "base/buf.h"

#include "base/fault.h"
#include "base/hash.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#define READ_CHUNK_BYTES 65536
#define PATH_BYTES_MAX   4096

static int read_all(int fd, const char *path, size_t byte_limit, struct buf *out, struct err *e)
{
	uint8_t *chunk = fault_malloc(READ_CHUNK_BYTES);
	if (chunk == NULL)
		return err_set(e, ERR_NOMEM, "reading %s: out of memory", path);
	int rc = 0;
	size_t total = 0;
	for (;;) {
		ssize_t got = read(fd, chunk, READ_CHUNK_BYTES);
		if (got < 0 && errno == EINTR)
			continue;
		if (got < 0)
			rc = err_errno(e, ERR_IO, errno, "reading %s", path);
		if (got <= 0)
			break;
		if ((size_t)got > byte_limit - total) {
			rc = err_set(e, ERR_LIMIT, "reading %s: over %zu bytes", path, byte_limit);
			break;
		}
		total += (size_t)got;
		buf_append(out, chunk, (size_t)got);
		if (buf_failed(out)) {
			rc = err_set(e, ERR_NOMEM, "reading %s: out of memory", path);
			break;
		}
	}
	free(chunk);
	return rc;
}

/* Closes `fd`. */
static int read_whole(int fd, const char *path, size_t byte_limit, struct buf *out, struct err *e)
{
	size_t len_before = out->len;
	bool failed_before = out->failed;
	int rc = read_all(fd, path, byte_limit, out, e);
	close(fd);
	if (rc != 0) { /* what was read so far is not a file: take it back */
		out->len = len_before;
		out->failed = failed_before;
	}
	return rc;
}

int file_read(const char *path, size_t byte_limit, struct buf *out, struct err *e)
{
	int fd = open(path, O_RDONLY | O_CLOEXEC);
	return fd >= 0 ? read_whole(fd, path, byte_limit, out, e) : err_open(e, errno, "opening %s", path);
}

int file_read_regular(const char *path, size_t byte_limit, struct buf *out, struct err *e)
{
	struct stat st;
	int rc = 0, fd = open(path, O_RDONLY | O_CLOEXEC | O_NONBLOCK); /* a FIFO would wait for a writer */
	if (fd < 0)
		return err_open(e, errno, "opening %s", path);
	if (fstat(fd, &st) != 0)
		rc = err_errno(e, ERR_IO, errno, "reading %s", path);
	else if (!S_ISREG(st.st_mode))
		rc = err_set(e, ERR_INVALID, "%s is not a regular file", path);
	if (rc == 0)
		return read_whole(fd, path, byte_limit, out, e);
	close(fd);
	return rc;
}

static int write_all(int fd, const uint8_t *bytes, size_t byte_count)
{
	while (byte_count > 0) {
		ssize_t put = write(fd, bytes, byte_count);
		if (put < 0 && errno == EINTR)
			continue;
		if (put < 0)
			return -1;
		bytes += put;
		byte_count -= (size_t)put;
	}
	return 0;
}

int file_folder_of(const char *path, char *out, size_t out_bytes, struct err *e)
{
	const char *slash = strrchr(path, '/');
	size_t len = slash == NULL ? 1 : slash == path ? 1 : (size_t)(slash - path);
	if (strlen(path) >= out_bytes)
		return err_set(e, ERR_LIMIT, "%.64s…: the path is over %zu bytes", path, out_bytes - 1);
	memcpy(out, slash == NULL ? "." : path, len);
	out[len] = '\0';
	return 0;
}

int file_sync_folder(const char *folder, struct err *e)
{
	int fd = open(folder, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	if (fd < 0)
		return err_open(e, errno, "opening folder %s", folder);
	/* Some file systems cannot sync a folder and say EINVAL: its entries are then as durable as they get. */
	int rc = fsync(fd) != 0 && errno != EINVAL ? err_errno(e, ERR_IO, errno, "syncing folder %s", folder) : 0;
	close(fd);
	return rc;
}

static int fill_temporary(int fd, const char *path, const void *bytes, size_t byte_count, unsigned mode, struct err *e)
{
	if (write_all(fd, bytes, byte_count) != 0)
		return err_errno(e, ERR_IO, errno, "writing %s", path);
	if (fchmod(fd, (mode_t)mode) != 0)
		return err_errno(e, ERR_IO, errno, "setting the mode of %s", path);
	if (fsync(fd) != 0)
		return err_errno(e, ERR_IO, errno, "syncing %s", path);
	int rc = fault_point("base.file.before_rename");
	return rc != 0 ? err_set(e, rc, "writing %s: planted fault", path) : 0;
}

static int create_fail(struct err *e, int errnum, const char *doing, const char *path)
{
	if (errnum == EACCES || errnum == EPERM || errnum == EROFS)
		return err_errno(e, errnum == EROFS ? ERR_IO : ERR_DENIED, errnum,
				 "%s %s: this user needs write access to its folder; grant it, or name another folder",
				 doing, path);
	const bool full = errnum == ENOSPC || errnum == EDQUOT;
	return err_errno(e, errnum == ENOENT ? ERR_NOT_FOUND : ERR_IO, errnum, "%s %s: %s", doing, path,
			 full ? "make room on its disk, or name another folder"
			      : "nothing can be made there; name another folder");
}

/* A file beside `path`, which is to take its place. */
static int open_temporary(const char *path, char temporary[PATH_BYTES_MAX], int *fd, struct err *e)
{
	if (snprintf(temporary, PATH_BYTES_MAX, "%s.XXXXXX", path) >= PATH_BYTES_MAX)
		return err_set(e, ERR_LIMIT, "%.64s…: the path is too long", path);
	*fd = mkostemp(temporary, O_CLOEXEC);
	return *fd < 0 ? create_fail(e, errno, "creating a file beside", path) : 0;
}

int file_write_check(const char *path, struct err *e)
{
	char temporary[PATH_BYTES_MAX];
	struct stat s;
	int fd;
	if (path[0] == '\0')
		return err_set(e, ERR_INVALID, "writing a file: its name is empty; name one");
	if (stat(path, &s) == 0 && S_ISDIR(s.st_mode))
		return err_set(e, ERR_INVALID, "writing %s: it is a folder; name a file in it", path);
	int rc = open_temporary(path, temporary, &fd, e);
	if (rc != 0)
		return rc;
	close(fd);
	unlink(temporary);
	return 0;
}

int file_write_atomic(const char *path, const void *bytes, size_t byte_count, unsigned mode, struct err *e)
{
	char folder[PATH_BYTES_MAX], temporary[PATH_BYTES_MAX];
	int fd, rc = file_folder_of(path, folder, sizeof(folder), e);
	if (rc == 0)
		rc = open_temporary(path, temporary, &fd, e);
	if (rc != 0)
		return rc;
	rc = fill_temporary(fd, path, bytes, byte_count, mode, e);
	if (close(fd) != 0 && rc == 0)
		rc = err_errno(e, ERR_IO, errno, "closing %s", path);
	if (rc == 0 && rename(temporary, path) != 0)
		rc = err_errno(e, ERR_IO, errno, "renaming to %s", path);
	if (rc != 0) {
		unlink(temporary);
		return rc;
	}
	return file_sync_folder(folder, e);
}

static int seal_check(struct buf *file, const char *path, struct err *e)
{
	struct hash actual;
	if (file->len < HASH_BYTES)
		return err_set(e, ERR_CORRUPT, "%s is cut off", path);
	file->len -= HASH_BYTES;
	hash_of(file->data, file->len, &actual);
	return memcmp(actual.bytes, file->data + file->len, HASH_BYTES) == 0
		       ? 0
		       : err_set(e, ERR_CORRUPT, "%s does not match its digest", path);
}

int file_read_sealed(const char *path, size_t byte_limit, struct buf *out, struct err *e)
{
	buf_clear(out);
	int rc = file_read(path, byte_limit, out, e);
	if (rc == 0)
		rc = seal_check(out, path, e);
	if (rc != 0)
		buf_clear(out);
	return rc;
}

int file_write_sealed(const char *path, const void *bytes, size_t byte_count, unsigned mode, struct err *e)
{
	struct hash digest;
	struct buf file = BUF_INIT;
	hash_of(bytes, byte_count, &digest);
	buf_append(&file, bytes, byte_count);
	buf_append(&file, digest.bytes, HASH_BYTES);
	int rc = buf_failed(&file) ? err_set(e, ERR_NOMEM, "writing %s: out of memory", path)
				   : file_write_atomic(path, file.data, file.len, mode, e);
	buf_free(&file);
	return rc;
}

int file_write_new(const char *path, const void *bytes, size_t byte_count, unsigned mode, struct err *e)
{
	char folder[PATH_BYTES_MAX];
	int rc = file_folder_of(path, folder, sizeof(folder), e);
	if (rc != 0)
		return rc;
	int fd = open(path, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC | O_NOFOLLOW, (mode_t)mode);
	if (fd < 0)
		return err_open(e, errno, "creating %s", path);
	if (write_all(fd, bytes, byte_count) != 0)
		rc = err_errno(e, ERR_IO, errno, "writing %s", path);
	else if (fsync(fd) != 0)
		rc = err_errno(e, ERR_IO, errno, "syncing %s", path);
	if (close(fd) != 0 && rc == 0)
		rc = err_errno(e, ERR_IO, errno, "closing %s", path);
	int planted = rc == 0 ? fault_point("base.file.new") : 0;
	if (planted != 0)
		rc = err_set(e, planted, "writing %s: planted fault", path);
	if (rc == 0)
		rc = file_sync_folder(folder, e);
	if (rc != 0)
		unlink(path); /* half a file is none */
	return rc;
}

static int make_one(const char *path, struct err *e)
{
	struct stat s;
	if (mkdir(path, 0700) == 0)
		return 0;
	int errnum = errno;
	if (errnum == EEXIST && stat(path, &s) == 0) {
		if (S_ISDIR(s.st_mode))
			return 0;
		return err_set(e, ERR_EXISTS,
			       "making folder %s: a file of that name is there; remove it, or name another folder",
			       path);
	}
	return create_fail(e, errnum, "making folder", path);
}

int file_make_folder(const char *path, struct err *e)
{
	char part[PATH_BYTES_MAX];
	size_t len = strlen(path);
	if (len == 0)
		return err_set(e, ERR_INVALID, "making a folder: its name is empty; name one");
	if (len >= sizeof(part))
		return err_set(e, ERR_INVALID, "making a folder: its path has %zu bytes; name one of at most %d", len,
			       PATH_BYTES_MAX - 1);
	memcpy(part, path, len + 1);
	for (size_t i = 1; i < len; i++) {
		if (part[i] != '/')
			continue;
		part[i] = '\0';
		int rc = make_one(part, e);
		if (rc != 0)
			return rc;
		part[i] = '/';
	}
	return make_one(part, e);
}
