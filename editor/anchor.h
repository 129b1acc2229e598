/* anchor.h: an edit's own inputs of the edited matrix at its answer's positions, kept so that an answer can read the
 * memory with them (anchored recall, method.md 4). Row 0 belongs to the prompt's last token, row t to the target's
 * token t−1; the last one predicts the end of the text. Bytes a row: for every 64 values a float32 scale and 64 int8,
 * little-endian. Pure. */
#ifndef AMEND_EDITOR_ANCHOR_H
#define AMEND_EDITOR_ANCHOR_H

#include "base/buf.h"
#include "model/tokenizer.h"

#include <stdbool.h>

#define EDITOR_ANCHOR_ROWS_MAX 64u /* a longer answer is not anchored beyond them */
/* What the rows are multiplied by when another text reads them: the state beside them is the query's, not the edit's.
 * The edit's own prompt reads them as they are, which is what was re-tested. Rephrases of 200 edits of
 * same_subject.jsonl that decode to the target: 1.0 .875, 1.2 .905, 1.4 .900; of 300 of zsre.jsonl: 1.0 .783, 1.2
 * .783, 1.4 .777, 1.7 .750. */
#define EDITOR_ANCHOR_SCALE 1.2f
/* What they are multiplied by once more where the answer departs from the target all the same, to read that row again.
 * An answer that departs then goes on without them. Of the first 100 rephrases of same_subject.jsonl .91 decode to the
 * target instead of .88, of zsre.jsonl .79 instead of .78 (2.0: .79); loc_same_subject is the same, .904. */
#define EDITOR_ANCHOR_PRESS 1.5f

struct editor_anchor {         /* borrowed from a router */
	const uint8_t *ids;    /* target tokens, id_count × uint32 little-endian */
	const uint8_t *inputs; /* row_count × editor_anchor_row_bytes */
	size_t id_count, row_count;
	float scale; /* 1 to EDITOR_ANCHOR_SCALE */
};

size_t editor_anchor_row_bytes(size_t ffn);
/* Appends `row_count` rows of `ffn` floats. ERR_INVALID: a value that is not finite. */
int editor_anchor_encode(const float *inputs, size_t row_count, size_t ffn, struct buf *out) MUST_CHECK;
/* The scale for a text whose prompt key has this cosine with the edit's. */
float editor_anchor_scale(float prompt_score);
/* Row `row` as ffn floats, times the scale. */
void editor_anchor_row(const struct editor_anchor *anchor, size_t row, size_t ffn, float *out);
/* Whether the target's token `at` is `id`, or `id` spells it with other small and large letters (ASCII): an answer may
 * begin otherwise than the edit was written down, and counts (answer.h). */
bool editor_anchor_says(const struct editor_anchor *anchor, const struct model_tokenizer *tokenizer, size_t at,
			int32_t id);
/* How many rows an answer of these tokens reads: up to and including the first that departs from the target. */
size_t editor_anchor_reach(const struct editor_anchor *anchor, const struct model_tokenizer *tokenizer,
			   const int32_t *ids, size_t id_count);

#endif
