#include "editor/anchor.h"

#include <math.h>
#include <string.h>
#include <strings.h>

#define BLOCK          64u
#define WHOLLY_ANOTHER 0.05f /* 1 − cosine from which on a text is no spelling of the edit's prompt any more */

size_t editor_anchor_row_bytes(size_t ffn)
{
	return (ffn + BLOCK - 1) / BLOCK * sizeof(float) + ffn;
}

static int encode_block(const float *values, size_t count, struct buf *out)
{
	float largest = 0;
	for (size_t i = 0; i < count; i++) {
		if (!isfinite(values[i]))
			return ERR_INVALID;
		largest = fmaxf(largest, fabsf(values[i]));
	}
	const float scale = largest / 127.0f;
	buf_f32le(out, scale);
	for (size_t i = 0; i < count; i++)
		buf_u8(out, (uint8_t)(int8_t)(scale > 0 ? lrintf(values[i] / scale) : 0));
	return buf_failed(out) ? ERR_NOMEM : 0;
}

int editor_anchor_encode(const float *inputs, size_t row_count, size_t ffn, struct buf *out)
{
	int rc = 0;
	for (size_t r = 0; r < row_count; r++) {
		for (size_t at = 0; at < ffn && rc == 0; at += BLOCK)
			rc = encode_block(inputs + r * ffn + at, ffn - at < BLOCK ? ffn - at : BLOCK, out);
	}
	return rc;
}

float editor_anchor_scale(float prompt_score)
{
	const float away = (1.0f - prompt_score) / WHOLLY_ANOTHER;
	return 1.0f + (EDITOR_ANCHOR_SCALE - 1.0f) * fminf(fmaxf(away, 0.0f), 1.0f);
}

void editor_anchor_row(const struct editor_anchor *anchor, size_t row, size_t ffn, float *out)
{
	struct reader r;
	const size_t bytes = editor_anchor_row_bytes(ffn);
	reader_init(&r, anchor->inputs + row * bytes, bytes);
	for (size_t at = 0; at < ffn; at += BLOCK) {
		const size_t count = ffn - at < BLOCK ? ffn - at : BLOCK;
		const float scale = anchor->scale * reader_f32le(&r);
		const int8_t *values = reader_bytes(&r, count);
		for (size_t i = 0; i < count; i++)
			out[at + i] = scale * (float)values[i];
	}
}

static int32_t token_of(const struct editor_anchor *anchor, size_t at)
{
	struct reader r;
	reader_init(&r, anchor->ids + at * sizeof(uint32_t), sizeof(uint32_t));
	return (int32_t)reader_u32le(&r);
}

bool editor_anchor_says(const struct editor_anchor *anchor, const struct model_tokenizer *tokenizer, size_t at,
			int32_t id)
{
	size_t len, wanted_len;
	if (at >= anchor->id_count)
		return false;
	const int32_t wanted = token_of(anchor, at);
	const char *piece = model_tokenizer_piece(tokenizer, id, &len);
	const char *text = model_tokenizer_piece(tokenizer, wanted, &wanted_len);
	return id == wanted || (len > 0 && len == wanted_len && strncasecmp(piece, text, len) == 0);
}

size_t editor_anchor_reach(const struct editor_anchor *anchor, const struct model_tokenizer *tokenizer,
			   const int32_t *ids, size_t id_count)
{
	size_t rows = 0, at = 0;
	while (rows < anchor->row_count && at <= id_count) {
		rows++;
		if (at == id_count || !editor_anchor_says(anchor, tokenizer, at, ids[at]))
			break;
		at++;
	}
	return rows;
}
