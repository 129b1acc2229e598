#include "daemon/eval_keep.h"

#include <stdio.h>
#include <string.h>

#define MAGIC         "AMENDEK1"
#define CONTENT_BYTES (1ull << 32) /* a shard of the largest models */

static int path_of(const struct eval_keep *keep, const char *kind, const struct hash *key, char out[PATH_MAX],
		   struct err *e)
{
	char hex[HASH_HEX_BYTES];
	hash_hex(key, hex);
	const int len = snprintf(out, PATH_MAX, "%s/%s-%.32s", keep->folder, kind, hex);
	return len < PATH_MAX ? 0 : err_set(e, ERR_LIMIT, "%s: the path is too long", keep->folder);
}

int eval_keep_open(struct eval_keep *keep, const char *folder, struct err *e)
{
	memset(keep, 0, sizeof(*keep));
	const int len = snprintf(keep->folder, sizeof(keep->folder), "%s/kept", folder);
	if (len >= (int)sizeof(keep->folder))
		return err_set(e, ERR_LIMIT, "%.200s…: the path is too long", folder);
	int rc = file_make_folder(folder, e); /* an empty name is not the root */
	return rc == 0 ? file_make_folder(keep->folder, e) : rc;
}

/* The content of a file whose key and hash are what they say; NULL: damaged. */
static const void *content_of(const struct buf *file, const struct hash *key, size_t *len)
{
	struct reader r;
	struct hash own;
	reader_init(&r, file->data, file->len);
	const void *magic = reader_bytes(&r, strlen(MAGIC)), *name = reader_bytes(&r, HASH_BYTES),
		   *hash = reader_bytes(&r, HASH_BYTES);
	if (r.overrun || memcmp(magic, MAGIC, strlen(MAGIC)) != 0 || memcmp(name, key->bytes, HASH_BYTES) != 0)
		return NULL;
	*len = r.len - r.at;
	hash_of(r.data + r.at, *len, &own);
	return memcmp(hash, own.bytes, HASH_BYTES) == 0 ? r.data + r.at : NULL;
}

int eval_keep_get(struct eval_keep *keep, const char *kind, const struct hash *key, struct buf *out, struct err *e)
{
	char path[PATH_MAX];
	struct buf file = BUF_INIT;
	size_t len = 0;
	int rc = path_of(keep, kind, key, path, e);
	if (rc == 0)
		rc = file_read(path, CONTENT_BYTES, &file, e);
	if (rc != 0)
		return rc;
	const void *content = content_of(&file, key, &len);
	if (content == NULL) {
		atomic_fetch_add(&keep->damaged, 1);
		rc = err_set(e, ERR_NOT_FOUND, "%s: damaged", path);
	} else {
		atomic_fetch_add(&keep->reused, 1);
		buf_append(out, content, len);
		rc = buf_failed(out) ? err_set(e, ERR_NOMEM, "%s: out of memory", path) : 0;
	}
	buf_free(&file);
	return rc;
}

int eval_keep_put(struct eval_keep *keep, const char *kind, const struct hash *key, const struct buf *content,
		  struct err *e)
{
	char path[PATH_MAX];
	struct buf file = BUF_INIT;
	struct hash own;
	int rc = path_of(keep, kind, key, path, e);
	hash_of(content->data, content->len, &own);
	buf_append(&file, MAGIC, strlen(MAGIC));
	buf_append(&file, key->bytes, HASH_BYTES);
	buf_append(&file, own.bytes, HASH_BYTES);
	buf_append(&file, content->data, content->len);
	if (rc == 0)
		rc = buf_failed(&file) ? err_set(e, ERR_NOMEM, "%s: out of memory", path)
				       : file_write_atomic(path, file.data, file.len, 0644, e);
	buf_free(&file);
	return rc;
}
