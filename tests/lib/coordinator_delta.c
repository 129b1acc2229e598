/* coordinator_delta.c: the deltas that a fixture's workers commit (coordinator_fixture.h). */
#include "tests/lib/coordinator_fixture.h"

#include "base/delta_bytes.h"
#include "base/zstd.h"

uint32_t cluster_layer(struct cluster *c)
{
	struct store_txn *txn = NULL;
	struct buf bytes = BUF_INIT;
	struct reader r;
	assert_ok(&c->e, store_begin_read(c->store, &txn, &c->e));
	assert_ok(&c->e, store_meta_get(txn, "layer", &bytes, &c->e));
	store_abort(&txn);
	reader_init(&r, bytes.data, bytes.len);
	uint32_t layer = reader_u32le(&r);
	buf_free(&bytes);
	return layer;
}

/* Masked: a bit an entry, then the low and the high bytes of those that are not 0. */
void delta_put(struct cluster *c, const uint16_t *bits, size_t count, uint32_t hidden, uint32_t layer, struct buf *out)
{
	const size_t mask_bytes = ((size_t)hidden * CLUSTER_FFN + 7) / 8, bytes = mask_bytes + 2 * count;
	uint8_t *payload = calloc(bytes, 1);
	assert_non_null(payload);
	for (size_t i = 0; i < count; i++) {
		payload[i / 8] = (uint8_t)(payload[i / 8] | 1u << i % 8);
		payload[mask_bytes + i] = (uint8_t)bits[i];
		payload[mask_bytes + count + i] = (uint8_t)(bits[i] >> 8);
	}
	buf_append(out, DELTA_MAGIC, 4);
	buf_u16le(out, DELTA_FORMAT);
	buf_u16le(out, DELTA_MASKED);
	buf_u32le(out, layer);
	buf_u32le(out, hidden);
	buf_u32le(out, CLUSTER_FFN);
	buf_u32le(out, 0);
	buf_u64le(out, count);
	assert_ok(&c->e, zstd_compress(payload, bytes, 3, out, &c->e));
	free(payload);
}

void delta_store(struct cluster *c, const char *text, struct hash *root)
{
	struct buf bytes = BUF_INIT;
	uint16_t bits[64]; /* small numbers of bf16 */
	size_t count = strlen(text);
	assert_true(count <= 64);
	for (size_t i = 0; i < count; i++)
		bits[i] = (uint16_t)(0x3c00 | (uint8_t)text[i]);
	delta_put(c, bits, count, CLUSTER_HIDDEN, cluster_layer(c), &bytes);
	assert_ok(&c->e, store_blob_put(c->store, bytes.data, bytes.len, root, &c->e));
	buf_free(&bytes);
}
