#include "daemon/eval_part.h"

#include <string.h>

#define KIND "shard"

void eval__key_begin(const struct eval_options *options, const char *kind, const char *settings,
		     const struct hash *model, struct buf *out)
{
	buf_printf(out, "%s\n%s\n%s\n", kind, AMEND_VERSION, options->backend != NULL ? options->backend : "auto");
	buf_append(out, model->bytes, HASH_BYTES);
	buf_printf(out, "\n%zu\n%s\n", options->edits_per_shard, settings != NULL ? settings : "");
}

/* The paper's family replays edits of earlier shards. */
int eval__part_key(const struct eval_options *options, const struct eval__part_of *of, struct hash *key, struct err *e)
{
	const bool paper = of->config->family == EDITOR_FAMILY_PAPER;
	struct buf text = BUF_INIT;
	eval__key_begin(options, KIND, options->training, of->model, &text);
	buf_u64le(&text, of->config->seed + of->shard);
	if (paper) { /* the margins may be those of a calibration */
		const struct editor_wise_config *wise = &of->config->wise;
		const float margins[] = { wise->alpha, wise->beta, wise->gamma, wise->act_ratio };
		for (size_t i = 0; i < sizeof(margins) / sizeof(margins[0]); i++)
			buf_f32le(&text, margins[i]);
		buf_u8(&text, options->separate ? 1 : 0);
		buf_append(&text, of->corpus->data, of->corpus->len);
	}
	for (size_t i = 0; i < of->rows->edit_count; i++) {
		if (of->shard_of[i] != of->shard && !(paper && of->shard_of[i] < of->shard))
			continue;
		buf_u64le(&text, i + 1);
		buf_u64le(&text, of->shard_of[i]);
		buf_append(&text, of->rows->edits[i].record->content.bytes, HASH_BYTES);
	}
	int rc = buf_failed(&text) ? err_set(e, ERR_NOMEM, "out of memory") : 0;
	hash_of(text.data, text.len, key);
	buf_free(&text);
	return rc;
}

/* Times in microseconds. */
static void head_put(const struct eval__part *part, struct buf *out)
{
	buf_u64le(out, part->steps);
	buf_u64le(out, part->failed);
	buf_u64le(out, (uint64_t)(part->seconds * 1e6));
	buf_u64le(out, (uint64_t)(part->core_seconds * 1e6));
	buf_u64le(out, part->delta.len);
}

int eval__part_put(struct eval_keep *keep, const struct hash *key, const struct eval__part *part, struct err *e)
{
	struct buf content = BUF_INIT;
	head_put(part, &content);
	buf_append(&content, part->delta.data, part->delta.len);
	buf_append(&content, part->index.data, part->index.len);
	int rc = buf_failed(&content) ? err_set(e, ERR_NOMEM, "out of memory")
				      : eval_keep_put(keep, KIND, key, &content, e);
	buf_free(&content);
	return rc;
}

int eval__part_get(struct eval_keep *keep, const struct hash *key, struct eval__part *part, struct err *e)
{
	struct buf content = BUF_INIT;
	struct reader r;
	int rc = eval_keep_get(keep, KIND, key, &content, e);
	if (rc != 0) {
		buf_free(&content);
		return rc;
	}
	reader_init(&r, content.data, content.len);
	part->steps = reader_u64le(&r);
	part->failed = reader_u64le(&r);
	part->seconds = (double)reader_u64le(&r) * 1e-6;
	part->core_seconds = (double)reader_u64le(&r) * 1e-6;
	const uint64_t delta_len = reader_u64le(&r);
	const void *delta = reader_bytes(&r, (size_t)delta_len);
	if (delta != NULL) {
		buf_append(&part->delta, delta, (size_t)delta_len);
		buf_append(&part->index, r.data + r.at, r.len - r.at);
	}
	part->reused = true;
	rc = delta == NULL                                          ? err_set(e, ERR_CORRUPT, "a kept shard ends early")
	     : buf_failed(&part->delta) || buf_failed(&part->index) ? err_set(e, ERR_NOMEM, "out of memory")
								    : 0;
	buf_free(&content);
	return rc;
}

void eval__part_fini(struct eval__part *part)
{
	buf_free(&part->delta);
	buf_free(&part->index);
}
