/* The key of a kept shard: all that its training depends on, and nothing that only merges or routes. */
#include "daemon/eval_part.h"
#include "daemon/eval_without.h"

#include "tests/lib/test.h"

static const struct hash model = { { 7 } };

static struct hash key_of(const struct editor_config *config, unsigned without)
{
	struct buf corpus = BUF_INIT;
	const struct eval_options options = { .backend = "cpu", .without = without };
	const struct eval__rows rows = { .edit_count = 0 };
	const struct eval__part_of of = { .config = config, .model = &model, .rows = &rows, .corpus = &corpus };
	struct hash key;
	struct err e = ERR_INIT;
	assert_ok(&e, eval__part_key(&options, &of, &key, &e));
	return key;
}

/* Whether it matters to the key; `field` is one of `config`'s. */
static bool matters(const struct editor_config *config, void *field)
{
	uint8_t *lowest = field; /* bits of a number or a bool */
	const struct hash plain = key_of(config, 0);
	*lowest ^= 1;
	const struct hash other = key_of(config, 0);
	*lowest ^= 1;
	return !hash_equal(&plain, &other);
}

static void expect(enum editor_family family)
{
	const struct model_shape shape = { .layers = 30 };
	struct editor_config c;
	editor_config_default(&shape, &c);
	editor_config_set_family(&c, family, &shape);
	const bool amend = family == EDITOR_FAMILY_AMEND, paper = !amend;
	struct editor_wise_config *w = &c.wise;
	const struct {
		void *field;
		bool counts;
	} fields[] = {
		{ &c.layer, true },
		{ &c.seed, true },
		{ &c.prompt_layer, amend },
		{ &c.relation_layer, amend },
		{ &c.batch_edits, amend },
		{ &c.epochs, amend },
		{ &c.rate, amend },
		{ &c.noise, amend },
		{ &c.stream_group_max, amend },
		{ &c.stream_replay, amend },
		{ &c.stream_steps_max, amend },
		{ &c.stream_rate, amend },
		{ &c.stream_stop_loss, amend },
		{ &c.stream_protect, amend },
		{ &c.retest_tries, amend },
		{ &c.answer_tokens_max, amend },
		{ &c.views, amend },
		{ &c.end_token, amend },
		{ &c.plain_view, amend },
		{ &w->alpha, paper },
		{ &w->beta, paper },
		{ &w->gamma, paper },
		{ &w->rate, paper },
		{ &w->steps_max, paper },
		{ &w->clip, paper },
		{ &w->mask_ratio, paper },
		{ &w->stop_delta, paper },
		{ &w->stop_loss, paper },
		{ &w->prefixes, paper },
		{ &w->prefix_tokens[0], paper },
		{ &w->prefix_tokens[1], paper },
		{ &w->activation_loss, paper },
		{ &c.edits_per_shard, false },
		{ &c.ridge, false },
		{ &c.false_route_share, false },
		{ &c.merge_rounds, false },
		{ &c.merge_rate, false },
		{ &w->act_ratio, false },
		{ &w->merge_shards, false },
		{ &w->merge_density, false },
		{ &w->merge_trim_nonzero, false },
	};
	for (size_t i = 0; i < sizeof(fields) / sizeof(fields[0]); i++) {
		if (matters(&c, fields[i].field) != fields[i].counts)
			fail_msg("family %d, field %zu", (int)family, i);
	}
}

static void a_key_holds_what_its_family_trains_by(void **state)
{
	(void)state;
	expect(EDITOR_FAMILY_AMEND);
	expect(EDITOR_FAMILY_PAPER);
}

static void a_streamed_shard_is_another(void **state)
{
	const struct model_shape shape = { .layers = 30 };
	struct editor_config c;
	(void)state;
	editor_config_default(&shape, &c);
	const struct hash whole = key_of(&c, 0), streamed = key_of(&c, EVAL_WITHOUT_CLOSING);
	assert_false(hash_equal(&whole, &streamed));
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(a_key_holds_what_its_family_trains_by),
		cmocka_unit_test(a_streamed_shard_is_another),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
