#include "daemon/eval_part.h"

#include "daemon/eval_train.h"

#include <string.h>

#define KIND "shard"

void eval__key_begin(const struct eval_options *options, const char *kind, const struct hash *model, struct buf *out)
{
	buf_printf(out, "%s\n%s\n%s\n", kind, AMEND_VERSION, options->backend != NULL ? options->backend : "auto");
	buf_append(out, model->bytes, HASH_BYTES);
}

static void put_sizes(struct buf *out, const size_t *sizes, size_t count)
{
	for (size_t i = 0; i < count; i++)
		buf_u64le(out, sizes[i]);
}

static void put_reals(struct buf *out, const float *reals, size_t count)
{
	for (size_t i = 0; i < count; i++)
		buf_f32le(out, reals[i]);
}

/* A shard's index holds its prompts' keys, of two layers. */
static void put_amend(const struct editor_config *c, struct buf *out)
{
	const size_t sizes[] = { c->layer,        c->prompt_layer,      c->relation_layer, c->batch_edits,
				 c->epochs,       c->stream_group_max,  c->stream_replay,  c->stream_steps_max,
				 c->retest_tries, c->answer_tokens_max, c->views,          c->end_token,
				 c->plain_view };
	const float reals[] = { c->rate, c->noise, c->stream_rate, c->stream_stop_loss, c->stream_protect };
	put_sizes(out, sizes, sizeof(sizes) / sizeof(sizes[0]));
	put_reals(out, reals, sizeof(reals) / sizeof(reals[0]));
}

static void put_paper(const struct editor_config *c, const struct buf *corpus, struct buf *out)
{
	const struct editor_wise_config *w = &c->wise;
	const size_t sizes[] = { c->layer,          w->steps_max, w->prefixes, w->prefix_tokens[0], w->prefix_tokens[1],
				 w->activation_loss };
	const float reals[] = { w->alpha, w->beta,       w->gamma,      w->rate,
				w->clip,  w->mask_ratio, w->stop_delta, w->stop_loss };
	put_sizes(out, sizes, sizeof(sizes) / sizeof(sizes[0]));
	put_reals(out, reals, sizeof(reals) / sizeof(reals[0]));
	buf_u64le(out, corpus->len);
	buf_append(out, corpus->data, corpus->len);
}

static void put_edit(const struct eval__part_of *of, size_t i, uint64_t memory, struct buf *out)
{
	buf_u64le(out, i + 1);
	buf_u64le(out, memory);
	buf_append(out, of->rows->edits[i].record->content.bytes, HASH_BYTES);
}

/* How shards are merged and routed to is not in it: what was trained serves for that, too. */
int eval__part_key(const struct eval_options *options, const struct eval__part_of *of, struct hash *key, struct err *e)
{
	const struct editor_config *c = of->config;
	const bool paper = c->family == EDITOR_FAMILY_PAPER;
	const uint64_t numbers[] = { (uint64_t)c->family, c->seed, of->shard, options->without };
	struct buf text = BUF_INIT;
	eval__key_begin(options, KIND, of->model, &text);
	for (size_t i = 0; i < sizeof(numbers) / sizeof(numbers[0]); i++)
		buf_u64le(&text, numbers[i]);
	if (paper)
		put_paper(c, of->corpus, &text);
	else
		put_amend(c, &text);
	for (size_t i = 0; i < of->rows->edit_count; i++) {
		uint64_t memory;
		if (of->shard_of[i] == of->shard)
			put_edit(of, i, UINT64_MAX, &text);
		else if (paper && eval__paper_replays(options, c, of->shard_of[i], of->shard, &memory))
			put_edit(of, i, memory, &text);
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
