/* rot.c: lets a disk rot: changes one bit of every chunk in the blobs of FOLDER that begins with TEXT, OFFSET bytes
 * behind its beginning. Of what chunks hold now and of nothing else: pages that are not in use any more hold old
 * copies, parts of which may be of another chunk or of LMDB's trees by now. The folder's lock is not taken: it may be
 * that of a program that stands still. rot FOLDER TEXT OFFSET */
#include "store/env.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

struct wanted {
	const char *text;
	size_t offset;
};

/* Where in the file, as off_t. */
static int places_find(struct store_txn *txn, const struct wanted *wanted, struct buf *out, struct err *e)
{
	const size_t len = strlen(wanted->text);
	const uint8_t *map = NULL;
	size_t map_bytes;
	struct hash hash = { { 0 } };
	struct store__bytes value;
	bool begun = false;
	int rc = store__map_find(txn, &map, &map_bytes, e);
	while (rc == 0 && map != NULL) {
		rc = store__hash_next(txn, STORE__TABLE_CHUNK, &hash, &begun, &value, e);
		if (rc != 0 || value.len <= wanted->offset || value.len < len ||
		    memcmp(value.data, wanted->text, len) != 0)
			continue;
		const off_t place = (const uint8_t *)value.data - map + (off_t)wanted->offset;
		buf_append(out, &place, sizeof place);
	}
	if (rc != ERR_NOT_FOUND)
		return rc;
	err_clear(e);
	return out->len > 0 ? 0 : err_set(e, ERR_NOT_FOUND, "no chunk begins with \"%s\"", wanted->text);
}

static int bits_flip(const char *folder, const struct buf *places, struct err *e)
{
	const off_t *place = (const void *)places->data;
	char path[4096];
	snprintf(path, sizeof path, "%.4000s/blobs/data.mdb", folder);
	const int fd = open(path, O_RDWR | O_CLOEXEC);
	if (fd < 0)
		return err_open(e, errno, "%s", path);
	int rc = 0;
	for (size_t i = 0; rc == 0 && i < places->len / sizeof *place; i++) {
		uint8_t byte;
		if (pread(fd, &byte, 1, place[i]) != 1)
			rc = err_errno(e, ERR_IO, errno, "reading");
		byte ^= 1;
		if (rc == 0 && pwrite(fd, &byte, 1, place[i]) != 1)
			rc = err_errno(e, ERR_IO, errno, "writing");
	}
	close(fd);
	return rc;
}

int main(int argc, char **argv)
{
	struct store store = { .folder = argc > 1 ? argv[1] : NULL };
	struct store_txn *txn = NULL;
	struct buf places = BUF_INIT;
	struct err e = ERR_INIT;
	if (argc != 4) {
		fprintf(stderr, "usage: rot FOLDER TEXT OFFSET\n");
		return 2;
	}
	const struct wanted wanted = { argv[2], strtoul(argv[3], NULL, 10) };
	int rc = store__env_open(argv[1], STORE__CACHE, true, 0, &store.blobs, &e);
	if (rc == 0)
		rc = store__txn_begin(&store, store.blobs, false, 0, &txn, &e);
	if (rc == 0)
		rc = places_find(txn, &wanted, &places, &e);
	store__txn_abort(&txn);
	store__env_close(&store.blobs);
	if (rc == 0)
		rc = bits_flip(argv[1], &places, &e);
	if (rc != 0)
		fprintf(stderr, "rot: %s: %s\n", argv[1], e.text);
	else
		printf("%zu chunks\n", places.len / sizeof(off_t));
	buf_free(&places);
	return rc != 0;
}
