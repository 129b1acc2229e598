#include "base/zstd.h"

#include "base/fault.h"

#include <stdlib.h>
#include <string.h>
#include <zstd.h>

struct zstd_reader {
	ZSTD_DStream *stream;
	bool inside_frame;
};

int zstd_compress(const void *bytes, size_t len, int level, struct buf *out, struct err *e)
{
	size_t bound = ZSTD_compressBound(len);
	uint8_t *packed = fault_malloc(bound);
	if (packed == NULL)
		return err_set(e, ERR_NOMEM, "zstd: out of memory for %zu bytes", bound);
	size_t packed_len = ZSTD_compress(packed, bound, bytes, len, level);
	int rc = 0;
	if (ZSTD_isError(packed_len))
		rc = err_set(e, ERR_EXTERNAL, "zstd: %s", ZSTD_getErrorName(packed_len));
	else
		buf_append(out, packed, packed_len);
	free(packed);
	if (rc == 0 && buf_failed(out))
		rc = err_set(e, ERR_NOMEM, "zstd: out of memory for %zu bytes", packed_len);
	return rc;
}

int zstd_decompress(const void *bytes, size_t len, void *out, size_t out_len, struct err *e)
{
	size_t got = ZSTD_decompress(out, out_len, bytes, len);
	if (ZSTD_isError(got))
		return err_set(e, ERR_CORRUPT, "zstd: %s", ZSTD_getErrorName(got));
	if (got != out_len)
		return err_set(e, ERR_CORRUPT, "zstd: %zu bytes instead of %zu", got, out_len);
	return 0;
}

bool zstd_is_frame(const void *bytes, size_t len)
{
	return len >= 4 && memcmp(bytes, "\x28\xB5\x2F\xFD", 4) == 0;
}

int zstd_reader_new(struct zstd_reader **out, struct err *e)
{
	struct zstd_reader *reader = fault_calloc(1, sizeof(*reader));
	if (reader != NULL)
		reader->stream = ZSTD_createDStream();
	if (reader == NULL || reader->stream == NULL) {
		free(reader);
		return err_set(e, ERR_NOMEM, "zstd: out of memory");
	}
	*out = reader;
	return 0;
}

void zstd_reader_destroy(struct zstd_reader **reader)
{
	if (*reader == NULL)
		return;
	ZSTD_freeDStream((*reader)->stream);
	free(*reader);
	*reader = NULL;
}

int zstd_reader_step(struct zstd_reader *reader, const uint8_t **in, size_t *in_len, void *out, size_t out_cap,
		     size_t *out_len, struct err *e)
{
	ZSTD_inBuffer from = { *in, *in_len, 0 };
	ZSTD_outBuffer to = { out, out_cap, 0 };
	do {
		/* A frame that ended leaves the stream ready for the next one; asking it again without input would
		 * look like one begun. */
		if (from.pos == from.size && !reader->inside_frame)
			break;
		size_t before = from.pos, hint = ZSTD_decompressStream(reader->stream, &to, &from);
		if (ZSTD_isError(hint))
			return err_set(e, ERR_CORRUPT, "zstd: %s", ZSTD_getErrorName(hint));
		reader->inside_frame = hint != 0;
		if (to.pos == 0 && from.pos == before)
			break;
	} while (to.pos == 0);
	*in += from.pos;
	*in_len -= from.pos;
	*out_len = to.pos;
	return 0;
}

bool zstd_reader_inside_frame(const struct zstd_reader *reader)
{
	return reader->inside_frame;
}
