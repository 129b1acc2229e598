/* folder.c: the folder of a store: its lock, its durability, and whether there is room. */
#include "store/env.h"

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <linux/magic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/statvfs.h>
#include <sys/vfs.h>
#include <unistd.h>

#define FULL_BYTES   (4u << 20) /* less than this free counts as full: a short write eats the rest */
#define CIFS_MAGIC   0xff534d42u
#define SMB2_MAGIC   0xfe534d42u
#define CEPH_MAGIC   0x00c36400u
#define LUSTRE_MAGIC 0x0bd00bd0u

static int folder_fail(struct err *e, const char *folder, int errnum, const char *what)
{
	switch (errnum) {
	case EACCES:
	case EPERM:
		return err_errno(e, ERR_DENIED, errnum,
				 "data folder %s: %s: give this user write access to it, or name another folder",
				 folder, what);
	case EROFS:
		return err_errno(e, ERR_DENIED, errnum, "data folder %s: %s: mount it writable, or name another folder",
				 folder, what);
	case ENOTDIR:
		return err_errno(e, ERR_INVALID, errnum,
				 "data folder %s: %s: something of that name is a file: name another folder", folder,
				 what);
	case ENOSPC:
	case EDQUOT:
		return err_errno(e, ERR_FULL, errnum, "data folder %s: %s: free some space", folder, what);
	default:
		return err_errno(e, ERR_IO, errnum, "data folder %s: %s", folder, what);
	}
}

static int sync_path(const char *path, const char *folder, struct err *e)
{
	int rc = file_sync_folder(path, e);
	if (rc)
		err_wrap(e, "data folder %s", folder);
	return rc;
}

static int sync_parent(const char *folder, struct err *e)
{
	char path[PATH_MAX];
	if (snprintf(path, sizeof(path), "%s/..", folder) >= (int)sizeof(path))
		return err_set(e, ERR_INVALID, "data folder: its path is longer than %d bytes", PATH_MAX);
	int fd = open(path, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	if (fd < 0)
		return 0; /* a parent that we may not read cannot have got the entry from us */
	close(fd);
	return sync_path(path, folder, e);
}

static int make_folder(const char *folder, struct err *e)
{
	struct stat st;
	if (!stat(folder, &st))
		return S_ISDIR(st.st_mode) ? 0 : folder_fail(e, folder, ENOTDIR, "opening it");
	if (errno != ENOENT)
		return folder_fail(e, folder, errno, "looking at it");
	int rc = file_make_folder(folder, e);
	if (rc) {
		err_wrap(e, "data folder %s: does not exist and cannot be made: make it, or name another folder",
			 folder);
		return rc;
	}
	return sync_parent(folder, e);
}

static int refuse_network(const char *folder, int fd, struct err *e)
{
	struct statfs fs;
	if (fstatfs(fd, &fs))
		return folder_fail(e, folder, errno, "asking for its file system");
	switch ((unsigned long)fs.f_type & 0xffffffffu) {
	case NFS_SUPER_MAGIC:
	case SMB_SUPER_MAGIC:
	case CIFS_MAGIC:
	case SMB2_MAGIC:
	case CEPH_MAGIC:
	case LUSTRE_MAGIC:
	case AFS_SUPER_MAGIC:
		return err_set(e, ERR_UNSUPPORTED,
			       "data folder %s: lies on a network file system, where locks and shared memory do not "
			       "hold: name a "
			       "folder on a local disk",
			       folder);
	default:
		return 0;
	}
}

static long holder_pid(int fd)
{
	char text[32] = "";
	ssize_t n = pread(fd, text, sizeof(text) - 1, 0);
	return n > 0 ? strtol(text, NULL, 10) : 0;
}

static int take_lock(const char *folder, int fd, struct err *e)
{
	if (flock(fd, LOCK_EX | LOCK_NB)) {
		if (errno != EWOULDBLOCK)
			return folder_fail(e, folder, errno, "locking it");
		long pid = holder_pid(fd);
		return err_set(e, ERR_BUSY,
			       "data folder %s: in use by process %ld%s: stop that one, or name another folder", folder,
			       pid, pid == (long)getpid() ? " (this one)" : "");
	}
	char text[32];
	int len = snprintf(text, sizeof(text), "%ld\n", (long)getpid());
	/* The pid only serves the message above: on a full disk the lock holds without it. */
	if ((ftruncate(fd, 0) || pwrite(fd, text, (size_t)len, 0) != len) && errno != ENOSPC && errno != EDQUOT &&
	    errno != EFBIG)
		return folder_fail(e, folder, errno, "writing its lock file");
	return 0;
}

int store__folder_open(const char *folder, struct store__lock *lock, struct err *e)
{
	char path[PATH_MAX];
	lock->fd = -1;
	if (!*folder || snprintf(path, sizeof(path), "%s/lock", folder) >= (int)sizeof(path) - 32)
		return err_set(e, ERR_INVALID, "data folder \"%.60s\": its path is empty or too long", folder);
	int rc = make_folder(folder, e);
	if (rc)
		return rc;
	int fd = open(path, O_RDWR | O_CREAT | O_CLOEXEC | O_NOFOLLOW, 0600);
	if (fd < 0)
		return folder_fail(e, folder, errno, "opening its lock file");
	rc = refuse_network(folder, fd, e);
	if (!rc)
		rc = take_lock(folder, fd, e);
	if (rc) {
		close(fd);
		return rc;
	}
	lock->fd = fd;
	return 0;
}

int store__folder_inspect(const char *folder, struct store__lock *lock, struct err *e)
{
	char path[PATH_MAX];
	struct stat st;
	lock->fd = -1;
	if (!*folder || snprintf(path, sizeof(path), "%s/lock", folder) >= (int)sizeof(path) - 32)
		return err_set(e, ERR_INVALID, "data folder \"%.60s\": its path is empty or too long", folder);
	if (stat(folder, &st))
		return errno == ENOENT ? err_set(e, ERR_NOT_FOUND, "data folder %s: does not exist", folder)
				       : folder_fail(e, folder, errno, "looking at it");
	int fd = open(path, O_RDWR | O_CREAT | O_CLOEXEC | O_NOFOLLOW, 0600);
	if (fd >= 0) {
		int rc = take_lock(folder, fd, e);
		if (rc)
			close(fd);
		else
			lock->fd = fd;
		return rc;
	}
	/* On a read-only disk there is no writer to keep out but one that has it open elsewhere. */
	if (errno != EROFS && errno != EACCES)
		return folder_fail(e, folder, errno, "opening its lock file");
	fd = open(path, O_RDONLY | O_CLOEXEC | O_NOFOLLOW);
	if (fd < 0)
		return errno == ENOENT || errno == EROFS ? 0 : folder_fail(e, folder, errno, "opening its lock file");
	if (flock(fd, LOCK_SH | LOCK_NB)) {
		close(fd);
		return err_set(e, ERR_BUSY, "data folder %s: in use by another process: stop that one first", folder);
	}
	lock->fd = fd;
	return 0;
}

void store__folder_close(struct store__lock *lock)
{
	if (lock->fd >= 0)
		close(lock->fd); /* lets go of the flock; the file stays, or two openers could hold two files of one
				    name */
	lock->fd = -1;
}

static int reserve_lock_file(const char *folder, const char *name, size_t bytes, struct err *e)
{
	char path[PATH_MAX];
	if (snprintf(path, sizeof(path), "%s/%s/lock.mdb", folder, name) >= (int)sizeof(path))
		return err_set(e, ERR_INVALID, "data folder: its path is longer than %d bytes", PATH_MAX);
	int fd = open(path, O_RDWR | O_CREAT | O_CLOEXEC | O_NOFOLLOW, 0600);
	if (fd < 0)
		return folder_fail(e, folder, errno, "opening an environment's lock file");
	int failed = posix_fallocate(fd, 0, (off_t)bytes);
	close(fd);
	if (failed == EFBIG)
		failed = ENOSPC;
	return failed && failed != EOPNOTSUPP && failed != EINVAL
		       ? folder_fail(e, folder, failed, "reserving a lock file")
		       : 0;
}

int store__folder_sub(const char *folder, const char *name, size_t lock_bytes, struct err *e)
{
	char path[PATH_MAX];
	struct stat st;
	if (snprintf(path, sizeof(path), "%s/%s", folder, name) >= (int)sizeof(path))
		return err_set(e, ERR_INVALID, "data folder: its path is longer than %d bytes", PATH_MAX);
	if (mkdir(path, 0700) && errno != EEXIST)
		return folder_fail(e, folder, errno, "making a folder in it");
	if (stat(path, &st))
		return folder_fail(e, folder, errno, "looking into it");
	if (!S_ISDIR(st.st_mode))
		return err_set(e, ERR_INVALID,
			       "data folder %s: \"%s\" in it is a file of something else: name another folder", folder,
			       name);
	return reserve_lock_file(folder, name, lock_bytes, e);
}

int store__folder_sync(const char *folder, const char *name, struct err *e)
{
	char path[PATH_MAX];
	if (snprintf(path, sizeof(path), "%s/%s", folder, name) >= (int)sizeof(path))
		return err_set(e, ERR_INVALID, "data folder: its path is longer than %d bytes", PATH_MAX);
	int rc = sync_path(path, folder, e);
	return rc ? rc : sync_path(folder, folder, e);
}

static const char *const file_names[STORE__FILE_COUNT] = {
	[STORE__FILE_LOCK] = "lock",
	[STORE__FILE_LEDGER] = "ledger/data.mdb",
	[STORE__FILE_BLOBS] = "blobs/data.mdb",
};

static struct store__file file_of(const char *folder, int which)
{
	char path[PATH_MAX];
	struct stat st;
	if (snprintf(path, sizeof(path), "%s/%s", folder, file_names[which]) >= (int)sizeof(path) || stat(path, &st))
		return (struct store__file){ .inode = 0 };
	return (struct store__file){ st.st_dev, st.st_ino };
}

void store__folder_note(const char *folder, struct store__file files[STORE__FILE_COUNT])
{
	for (int i = 0; i < STORE__FILE_COUNT; i++)
		files[i] = file_of(folder, i);
}

int store__folder_same(const char *folder, const struct store__file files[STORE__FILE_COUNT], struct err *e)
{
	for (int i = 0; i < STORE__FILE_COUNT; i++) {
		const struct store__file now = file_of(folder, i);
		if (files[i].inode == 0 || (now.inode == files[i].inode && now.device == files[i].device))
			continue;
		return err_set(e, ERR_IO,
			       "data folder %s: %s in it was %s while this program had it open: what is written now "
			       "would be lost, so nothing is any more; put the folder back as it was, or a backup, and "
			       "start again",
			       folder, file_names[i], now.inode == 0 ? "deleted" : "replaced");
	}
	return 0;
}

bool store__folder_full(const char *folder, off_t file_bytes)
{
	struct statvfs fs;
	struct rlimit limit;
	if (!getrlimit(RLIMIT_FSIZE, &limit) && limit.rlim_cur != RLIM_INFINITY &&
	    (rlim_t)file_bytes + FULL_BYTES > limit.rlim_cur)
		return true;
	return !statvfs(folder, &fs) && (uint64_t)fs.f_bavail * fs.f_frsize < FULL_BYTES;
}

int store__folder_space(const char *folder, uint64_t *free_bytes, uint64_t *disk_bytes, struct err *e)
{
	struct statvfs fs;
	if (statvfs(folder, &fs))
		return folder_fail(e, folder, errno, "asking for its free space");
	*free_bytes = (uint64_t)fs.f_bavail * fs.f_frsize;
	*disk_bytes = (uint64_t)fs.f_blocks * fs.f_frsize;
	return 0;
}
