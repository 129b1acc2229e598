/* wise_fixture.h: a shard of the paper's family on the tiny model, for the tests of its loss and of its training. */
#ifndef AMEND_TESTS_UNIT_EDITOR_WISE_FIXTURE_H
#define AMEND_TESTS_UNIT_EDITOR_WISE_FIXTURE_H

#include "editor/wise.h"

#include "base/fault.h"
#include "base/json.h"
#include "tests/unit/editor/tiny_fixture.h"

#include <math.h>

#define EDITS 4
#define COUNT ((size_t)TINY_HIDDEN * TINY_FFN)
#define SEED  11

static const char *const prompts[EDITS] = { "what is the capital of Orla?", "who is the king of Vint?",
					    "in what year was Saro founded?", "where in the land is Kelm?" };
static const char *const targets[EDITS] = { "Brin", "Olaf IV", "1907", "north" };
static const char corpus[] = "prompt\tg1\tx\tno row for this\nunrelated\tg2\t\tthe weather of the coast\n"
			     "unrelated\t\nunrelated\tg3\t\ta song from long ago";

/* Margins on the scale of the tiny model, where a gap of 1 is a large one. */
static inline struct editor_config config(void)
{
	struct editor_config c;
	editor_config_default(model_shape_of(model), &c);
	editor_config_set_family(&c, EDITOR_FAMILY_PAPER, model_shape_of(model));
	c.layer = 2; /* with a layer above it */
	c.wise.alpha = 0.2f;
	c.wise.beta = 2.0f;
	c.wise.gamma = 1.0f;
	c.wise.rate = 0.3f;
	c.wise.prefix_tokens[0] = 2;
	c.wise.prefix_tokens[1] = 4;
	return c;
}

static inline struct record *record_of(size_t i, const char *loc_prompt)
{
	char text[512];
	struct record *record = NULL;
	struct err e = ERR_INIT;
	snprintf(text, sizeof(text), "{\"prompt\":\"%s\",\"target_new\":\"%s\"%s%s%s}", prompts[i], targets[i],
		 loc_prompt != NULL ? ",\"loc_prompt\":\"" : "", loc_prompt != NULL ? loc_prompt : "",
		 loc_prompt != NULL ? "\"" : "");
	if (record_parse(text, strlen(text), &record, &e) != 0)
		fail_msg("%s", e.text);
	return record;
}

static inline int add(struct editor_wise *wise, size_t i, const char *loc_prompt, struct err *e)
{
	struct record *record = record_of(i, loc_prompt);
	int rc = editor_wise_add(wise, i + 1, record, e);
	record_destroy(&record);
	return rc;
}

static inline struct editor_wise *wise_with(const struct editor_config *c, size_t count)
{
	struct editor_wise *wise = NULL;
	struct err e = ERR_INIT;
	if (editor_wise_new(model, c, SEED, corpus, strlen(corpus), &wise, &e) != 0)
		fail_msg("%s", e.text);
	for (size_t i = 0; i < count; i++)
		assert_int_equal(add(wise, i, i % 2 == 0 ? "an unrelated text" : NULL, &e), 0);
	return wise;
}

static inline void add_replay(struct editor_wise *wise, uint64_t group, size_t i)
{
	struct record *record = record_of(i, NULL);
	struct err e = ERR_INIT;
	assert_int_equal(editor_wise_replay_add(wise, group, 100 + i, record, &e), 0);
	record_destroy(&record);
}

static inline void train(struct editor_wise *wise, size_t first, size_t count, struct editor_wise_stats *stats)
{
	struct err e = ERR_INIT;
	if (editor_wise_train(wise, first, count, NULL, stats, &e) != 0)
		fail_msg("%s", e.text);
}

#endif
