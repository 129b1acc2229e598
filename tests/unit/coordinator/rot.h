/* rot.h: what a disk does to the blobs of a coordinator, whether it runs or not. */
#ifndef AMEND_TESTS_UNIT_COORDINATOR_ROT_H
#define AMEND_TESTS_UNIT_COORDINATOR_ROT_H

#include "tests/lib/coordinator_fixture.h"

#include <fcntl.h>
#include <unistd.h>

/* The ledger's copy of the newest version's manifest is gone, as it is in one of an earlier program. */
static inline void copy_lose(struct cluster *c)
{
	struct store_txn *txn = NULL;
	assert_ok(&c->e, store_begin(c->store, &txn, &c->e));
	assert_ok(&c->e, store_meta_put(txn, "newest-manifest/0", "", 0, &c->e));
	assert_ok(&c->e, store_commit(&txn, &c->e));
}

/* Flips a bit of every copy of these bytes. */
static inline void rot(struct cluster *c, const struct buf *needle)
{
	char path[TEST_PATH_BYTES];
	struct buf file = BUF_INIT;
	size_t found = 0;
	test_path(path, c->folder, "store/blobs/data.mdb");
	assert_ok(&c->e, file_read(path, (size_t)1 << 30, &file, &c->e));
	for (uint8_t *at = file.data;
	     (at = memmem(at, (size_t)(file.data + file.len - at), needle->data, needle->len)) != NULL; found++)
		at[needle->len / 2] ^= 4;
	assert_true(found > 0);
	const int fd = open(path, O_WRONLY); /* in place */
	assert_int_equal(pwrite(fd, file.data, file.len, 0), file.len);
	close(fd);
	buf_free(&file);
}

/* A blob of one chunk rots while the coordinator runs (a start looks at what it finds), and somebody reads it. */
static inline void rot_found(struct cluster *c, const struct hash *root)
{
	struct buf bytes = BUF_INIT;
	struct hash chunk;
	assert_ok(&c->e, store_blob_get(c->store, root, 1 << 20, &bytes, &c->e));
	rot(c, &bytes);
	hash_of(bytes.data, bytes.len, &chunk);
	buf_free(&bytes);
	end_need(&c->node, &chunk);
}

#endif
