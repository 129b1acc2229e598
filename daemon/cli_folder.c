/* cli_folder.c: see cli_folder.h. */
#include "daemon/cli_folder.h"

#include "base/buf.h"

#include <dirent.h>
#include <errno.h>
#include <limits.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#define LEDGER "coordinator/ledger/data.mdb"

static bool is_there(const char *folder, const char *name)
{
	char path[PATH_MAX];
	return snprintf(path, sizeof path, "%s/%s", folder, name) < (int)sizeof path && access(path, F_OK) == 0;
}

static bool has_bytes(const char *folder, const char *name)
{
	char path[PATH_MAX];
	struct stat st;
	return snprintf(path, sizeof path, "%s/%s", folder, name) < (int)sizeof path && stat(path, &st) == 0 &&
	       st.st_size > 0;
}

/* The blobs of a worker or a node: those start when the coordinator has answered. */
static int find_cache(const char *folder, char out[NAME_MAX + 8], struct err *e)
{
	DIR *dir = opendir(folder);
	if (dir == NULL)
		return errno == ENOENT ? 0 : err_open(e, errno, "data folder %s", folder);
	for (struct dirent *entry; out[0] == '\0' && (entry = readdir(dir)) != NULL;) {
		if (strncmp(entry->d_name, "worker-", 7) != 0 && strncmp(entry->d_name, "node-", 5) != 0)
			continue;
		snprintf(out, NAME_MAX + 8, "%s/blobs", entry->d_name);
		if (!is_there(folder, out))
			out[0] = '\0';
	}
	closedir(dir);
	return 0;
}

int cli_folder_check(const char *folder, struct err *e)
{
	char beside[NAME_MAX + 8] = "";
	if (has_bytes(folder, LEDGER))
		return 0;
	int rc = find_cache(folder, beside, e);
	if (rc != 0)
		return rc;
	if (beside[0] == '\0' && is_there(folder, "keys") && !is_there(folder, "coordinator"))
		snprintf(beside, sizeof beside, "keys");
	if (beside[0] == '\0')
		return 0;
	return err_set(e, ERR_CORRUPT,
		       "data folder %s: %s is there, but the coordinator's " LEDGER
		       " is %s: put coordinator/ back from a backup, or remove the whole folder to begin an empty "
		       "cluster in it",
		       folder, beside, is_there(folder, LEDGER) ? "empty" : "gone");
}

int cli_folder_make(const char *folder, struct err *e)
{
	static const char *const parts[] = { "", "/coordinator", "/keys", "/run", "/log" };
	char path[PATH_MAX + 32];
	int rc = 0;
	for (size_t i = 0; rc == 0 && i < sizeof parts / sizeof parts[0]; i++) {
		snprintf(path, sizeof path, "%s%s", folder, parts[i]);
		rc = file_make_folder(path, e);
	}
	if (rc != 0)
		err_wrap(e, "data folder");
	return rc;
}
