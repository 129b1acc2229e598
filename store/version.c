/* version.c: published versions, which never change, the aliases that name them, and small named values. */
#include "store/record.h"

#include <inttypes.h>
#include <string.h>

#define KEPT_FROM "kept-from"

static int version_decode(struct store_txn *txn, struct store__bytes key, struct reader *r, struct store_version *out,
			  struct err *e)
{
	out->version = reader_u64le(r);
	store__take_hash(r, &out->root);
	store__take_hash(r, &out->content);
	out->published_ms = (int64_t)reader_u64le(r);
	out->event_seq = reader_u64le(r);
	out->memory_count = reader_u32le(r);
	out->edit_count = reader_u32le(r);
	store__take_text(r, out->note, sizeof(out->note));
	return store__record_done(txn, STORE__TABLE_VERSION, key, r, e);
}

int store_version_get(struct store_txn *txn, uint64_t version, struct store_version *out, struct err *e)
{
	struct store__key key;
	struct reader r;
	store__key_number(version, &key);
	int rc = store__record_get(txn, STORE__TABLE_VERSION, &key, STORE__RECORD_VERSION, &r, e);
	return rc ? rc : version_decode(txn, store__key_bytes(&key), &r, out, e);
}

int store_version_last(struct store_txn *txn, uint64_t *version, struct err *e)
{
	struct store__bytes key, value;
	struct store_version last;
	struct reader r;
	int rc = store__last(txn, STORE__TABLE_VERSION, &key, &value, e);
	if (rc == ERR_NOT_FOUND) {
		err_clear(e);
		*version = 0;
		return 0;
	}
	if (!rc)
		rc = store__record_check(txn, STORE__TABLE_VERSION, key, value, STORE__RECORD_VERSION, &r, e);
	if (!rc)
		rc = version_decode(txn, key, &r, &last, e);
	if (!rc)
		*version = last.version;
	return rc;
}

int store_version_put(struct store_txn *txn, const struct store_version *version, struct err *e)
{
	struct store__key key;
	uint64_t last;
	if (!store__text_fits(version->note, sizeof(version->note)))
		return err_set(e, ERR_INVALID, "version %" PRIu64 ": its note is not terminated", version->version);
	int rc = store_version_last(txn, &last, e);
	if (rc)
		return rc;
	if (version->version && version->version <= last)
		return err_set(e, ERR_EXISTS, "version %" PRIu64 ": is published already and never changes",
			       version->version);
	if (version->version != last + 1)
		return err_set(e, ERR_INVALID, "version %" PRIu64 ": the next one is %" PRIu64, version->version,
			       last + 1);
	struct buf *b = store__record_begin(txn, STORE__RECORD_VERSION);
	buf_u64le(b, version->version);
	store__field_hash(b, &version->root);
	store__field_hash(b, &version->content);
	buf_u64le(b, (uint64_t)version->published_ms);
	buf_u64le(b, version->event_seq);
	buf_u32le(b, version->memory_count);
	buf_u32le(b, version->edit_count);
	store__field_text(b, version->note);
	store__key_number(version->version, &key);
	return store__record_put(txn, STORE__TABLE_VERSION, &key, e);
}

static int name_check(const char *what, const char *name, size_t cap, struct err *e)
{
	if (!*name || !store__text_fits(name, cap))
		return err_set(e, ERR_INVALID, "%s: a name has 1 to %zu bytes", what, cap - 1);
	return 0;
}

int store_alias_put(struct store_txn *txn, const char *name, uint64_t version, struct err *e)
{
	struct store_version found;
	struct store__key key;
	int rc = name_check("alias", name, STORE_ALIAS_BYTES, e);
	if (!rc)
		rc = store_version_get(txn, version, &found, e);
	if (rc)
		return rc;
	store__key_text(name, &key);
	buf_u64le(store__record_begin(txn, STORE__RECORD_ALIAS), version);
	return store__record_put(txn, STORE__TABLE_ALIAS, &key, e);
}

int store_alias_get(struct store_txn *txn, const char *name, uint64_t *version, struct err *e)
{
	struct store__key key;
	struct reader r;
	int rc = name_check("alias", name, STORE_ALIAS_BYTES, e);
	if (rc)
		return rc;
	store__key_text(name, &key);
	rc = store__record_get(txn, STORE__TABLE_ALIAS, &key, STORE__RECORD_ALIAS, &r, e);
	if (rc)
		return rc;
	*version = reader_u64le(&r);
	return store__record_done(txn, STORE__TABLE_ALIAS, store__key_bytes(&key), &r, e);
}

static int aliased(struct store_txn *txn, uint64_t version, bool *is, struct err *e)
{
	struct store__key at = { .len = 0 };
	struct store__bytes key, value;
	struct reader r;
	int rc;
	*is = false;
	store__key_add(&at, "", 1);
	while (!*is && !(rc = store__seek(txn, STORE__TABLE_ALIAS, store__key_bytes(&at), &key, &value, e))) {
		rc = store__record_check(txn, STORE__TABLE_ALIAS, key, value, STORE__RECORD_ALIAS, &r, e);
		if (rc)
			return rc;
		*is = reader_u64le(&r) == version;
		at.len = 0;
		store__key_add(&at, key.data, key.len < STORE_ALIAS_BYTES ? key.len : STORE_ALIAS_BYTES);
		store__key_add(&at, "", 1);
	}
	if (*is || rc != ERR_NOT_FOUND)
		return *is ? 0 : rc;
	err_clear(e);
	return 0;
}

static int kept_from(struct store_txn *txn, uint64_t *from, struct err *e)
{
	struct buf bytes = BUF_INIT;
	struct reader r;
	*from = 1;
	int rc = store_meta_get(txn, KEPT_FROM, &bytes, e);
	if (rc == 0) {
		reader_init(&r, bytes.data, bytes.len);
		*from = reader_u64le(&r);
	} else if (rc == ERR_NOT_FOUND) {
		err_clear(e);
		rc = 0;
	}
	buf_free(&bytes);
	return rc;
}

int store_version_stays(struct store_txn *txn, uint64_t version, uint64_t from, bool *stays, struct err *e)
{
	uint64_t before;
	int rc = kept_from(txn, &before, e);
	if (from < before)
		from = before;
	*stays = rc == 0 && version >= from;
	return rc == 0 && version < from ? aliased(txn, version, stays, e) : rc;
}

int store_version_kept(struct store_txn *txn, uint64_t version, bool *kept, struct err *e)
{
	return store_version_stays(txn, version, 1, kept, e);
}

int store_kept_put(struct store_txn *txn, uint64_t from, struct err *e)
{
	struct buf bytes = BUF_INIT;
	uint64_t before;
	int rc = kept_from(txn, &before, e);
	if (!rc && from > before) {
		buf_u64le(&bytes, from);
		rc = store_meta_put(txn, KEPT_FROM, bytes.data, bytes.len, e);
	}
	buf_free(&bytes);
	return rc;
}

int store_meta_put(struct store_txn *txn, const char *name, const void *bytes, size_t byte_count, struct err *e)
{
	struct store__key key;
	int rc = name_check("value", name, STORE_META_NAME_BYTES, e);
	if (rc)
		return rc;
	if (byte_count > STORE_META_BYTES_MAX)
		return err_set(e, ERR_LIMIT, "value %s: its %zu bytes are over %d", name, byte_count,
			       STORE_META_BYTES_MAX);
	store__key_text(name, &key);
	buf_append(store__record_begin(txn, STORE__RECORD_META), bytes, byte_count);
	return store__record_put(txn, STORE__TABLE_META, &key, e);
}

int store_meta_get(struct store_txn *txn, const char *name, struct buf *out, struct err *e)
{
	struct store__key key;
	struct reader r;
	int rc = name_check("value", name, STORE_META_NAME_BYTES, e);
	if (rc)
		return rc;
	store__key_text(name, &key);
	rc = store__record_get(txn, STORE__TABLE_META, &key, STORE__RECORD_META, &r, e);
	if (rc)
		return rc;
	size_t len = r.len - r.at;
	buf_append(out, reader_bytes(&r, len), len);
	return buf_failed(out) ? err_set(e, ERR_NOMEM, "value %s: reading it: out of memory", name) : 0;
}
