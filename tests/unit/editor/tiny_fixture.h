/* tiny_fixture.h: the tiny model, open while the tests of a file run, and edits of its shards. */
#ifndef AMEND_TESTS_UNIT_EDITOR_TINY_FIXTURE_H
#define AMEND_TESTS_UNIT_EDITOR_TINY_FIXTURE_H

#include "editor/shard.h"

#include "tests/unit/editor/tiny.h"

static struct model *model;

static inline int open_tiny(void **state)
{
	(void)state;
	model = tiny_open();
	return 0;
}

static inline int close_tiny(void **state)
{
	(void)state;
	model_close(&model);
	return 0;
}

static inline struct editor_shard *shard_open(const struct editor_config *config)
{
	struct editor_shard *shard = NULL;
	struct err e = ERR_INIT;
	assert_ok(&e, editor_shard_new(model, config, &shard, &e));
	return shard;
}

/* subject: NULL for none; aliases: other names of it, as in JSON ("\"NHT\",\"Old Rask\""), "" for none. */
static inline void shard_add(struct editor_shard *shard, uint64_t seq, const char *prompt, const char *subject,
			     const char *aliases, const char *target)
{
	struct buf text = BUF_INIT;
	struct record *record = NULL;
	struct err e = ERR_INIT;
	buf_printf(&text, "{\"prompt\":\"%s\",\"target_new\":\"%s\"", prompt, target);
	if (subject != NULL)
		buf_printf(&text, ",\"subject\":\"%s\",\"subject_aliases\":[%s]", subject, aliases);
	buf_printf(&text, "}");
	assert_ok(&e, record_parse(buf_cstr(&text), text.len, &record, &e));
	buf_free(&text);
	assert_ok(&e, editor_shard_add(shard, seq, record, &e));
	record_destroy(&record);
}

#endif
