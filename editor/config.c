#include "editor/config.h"

#include <math.h>

#define EDITS_PER_SHARD_MAX 10000
#define VIEWS_MAX           64
#define STEPS_MAX           10000
#define PREFIX_TOKENS_MAX   100

/* `of` thirtieths of the model's depth: the layers were chosen on a model with 30. */
static size_t layer_in_proportion(size_t of, size_t layers)
{
	size_t layer = (of * layers + 15) / 30;
	return layer < layers ? layer : layers - 1;
}

/* Not the first layer where there are others: its input holds no more than the tokens. */
static size_t key_layer(size_t of, size_t layers)
{
	size_t layer = layer_in_proportion(of, layers);
	return layer == 0 && layers > 1 ? 1 : layer;
}

/* Two thirds of the hidden state: what varies least tells of nothing, and a search reads a third less (method.md). */
static size_t prompt_dims(size_t hidden)
{
	const size_t dims = (2 * hidden / 3 + 63) / 64 * 64;
	return dims > 1024 ? 1024 : dims > hidden ? hidden : dims;
}

static const struct editor_wise_config wise_default = {
	.alpha = 5.0f,
	.beta = 20.0f,
	.gamma = 10.0f,
	.rate = 1.0f,
	.steps_max = 70,
	.clip = 1.0f,
	.mask_ratio = 0.2f,
	.stop_delta = 1e-4f,
	.stop_loss = 0.02f,
	.act_ratio = 0.88f,
	.prefixes = true,
	.prefix_tokens = { 5, 10 },
	.activation_loss = true,
	.replay = false,
	.merge_shards = 2,
	.merge_operator = MERGE_TIES,
	.merge_density = 0.53f,
};

void editor_wise_config_default(struct editor_wise_config *out)
{
	*out = wise_default;
}

void editor_config_default(const struct model_shape *shape, struct editor_config *out)
{
	*out = (struct editor_config){
		.layer = layer_in_proportion(25, shape->layers),
		.prompt_layer = key_layer(6, shape->layers),
		.edits_per_shard = 100,
		.batch_edits = 10,
		.epochs = 16,
		.rate = 2e-2f,
		.noise = 0.2f,
		.end_token = true,
		.views = 3,
		.plain_view = true,
		.stream_group_max = 10,
		.stream_replay = 2,
		.stream_steps_max = 25,
		.stream_rate = 6e-2f,
		.stream_stop_loss = 0.02f,
		.stream_protect = 0.03f,
		.retest_tries = 3,
		.answer_tokens_max = 32,
		.relation_layer = key_layer(8, shape->layers),
		.prompt_dims = prompt_dims(shape->hidden),
		.ridge = 1.0f,
		.false_route_share = 0.001f,
		.false_relation_share = 0.05f,
		.relation_dims = 256,
		.relation_steps = 300,
		.merge_rounds = 10,
		.merge_passes = 2,
		.merge_rate = 2e-2f,
		.merge_noise = 0.4f,
		.merge_prompt_noise = 0.4f,
		.merge_outer_rate = 1.0f,
		.merge_outer_momentum = 0.0f,
		.seed = 1,
		.wise = wise_default,
	};
}

void editor_config_set_family(struct editor_config *config, enum editor_family family, const struct model_shape *shape)
{
	config->family = family;
	config->layer = layer_in_proportion(family == EDITOR_FAMILY_PAPER ? 24 : 25, shape->layers);
	if (config->prompt_layer > config->layer)
		config->prompt_layer = config->layer;
	if (config->relation_layer > config->layer)
		config->relation_layer = config->layer;
}

static int check_size(const char *field, size_t value, size_t min, size_t max, struct err *e)
{
	if (value >= min && value <= max)
		return 0;
	return err_set(e, ERR_INVALID, "%s is %zu: it may be %zu to %zu", field, value, min, max);
}

static int check_real(const char *field, float value, float min, float max, struct err *e)
{
	if (isfinite(value) && value >= min && value <= max)
		return 0;
	return err_set(e, ERR_INVALID, "%s is %g: it may be %g to %g", field, (double)value, (double)min, (double)max);
}

static int check_layers(const struct editor_config *c, const struct model_shape *shape, struct err *e)
{
	if (c->prompt_layer >= 1 && c->relation_layer >= 1 &&
	    (c->layer < c->prompt_layer || c->layer < c->relation_layer))
		return err_set(
			e, ERR_INVALID,
			"layer is %zu: it may not lie below prompt_layer (%zu) and relation_layer (%zu), by whose "
			"states routes are decided",
			c->layer, c->prompt_layer, c->relation_layer);
	if (shape->layers < 2)
		return err_set(e, ERR_INVALID, "the model has one layer: routes are decided below the edited one");
	return 0;
}

int editor_config_check(const struct editor_config *c, const struct model_shape *shape, struct err *e)
{
	const struct {
		const char *field;
		size_t value, min, max;
	} sizes[] = {
		{ "layer", c->layer, 0, shape->layers - 1 },
		{ "prompt_layer", c->prompt_layer, 1, c->layer },
		{ "relation_layer", c->relation_layer, 1, c->layer },
		{ "prompt_dims", c->prompt_dims, 1, shape->hidden },
		{ "relation_dims", c->relation_dims, 0, 1024 },
		{ "relation_steps", c->relation_steps, 1, STEPS_MAX },
		{ "edits_per_shard", c->edits_per_shard, 1, EDITS_PER_SHARD_MAX },
		{ "batch_edits", c->batch_edits, 1, EDITS_PER_SHARD_MAX },
		{ "epochs", c->epochs, 1, STEPS_MAX },
		{ "views", c->views, 0, VIEWS_MAX },
		{ "stream_group_max", c->stream_group_max, 1, EDITS_PER_SHARD_MAX },
		{ "stream_replay", c->stream_replay, 0, EDITS_PER_SHARD_MAX },
		{ "stream_steps_max", c->stream_steps_max, 1, STEPS_MAX },
		{ "retest_tries", c->retest_tries, 0, 100 },
		{ "answer_tokens_max", c->answer_tokens_max, 1, shape->context },
		{ "merge_rounds", c->merge_rounds, 1, STEPS_MAX },
		{ "merge_passes", c->merge_passes, 1, STEPS_MAX },
		{ "family", (size_t)c->family, EDITOR_FAMILY_AMEND, EDITOR_FAMILY_PAPER },
		{ "wise.steps_max", c->wise.steps_max, 1, STEPS_MAX },
		{ "wise.prefix_tokens", c->wise.prefix_tokens[0], 1, PREFIX_TOKENS_MAX },
		{ "wise.prefix_tokens", c->wise.prefix_tokens[1], 1, PREFIX_TOKENS_MAX },
		{ "wise.merge_shards", c->wise.merge_shards, 1, MERGE_PLAN_SHARDS_MAX },
		{ "wise.merge_operator", (size_t)c->wise.merge_operator, MERGE_TIES, MERGE_OPERATOR_COUNT - 1 },
	};
	const struct {
		const char *field;
		float value, min, max;
	} reals[] = {
		{ "rate", c->rate, EDITOR_RATE_MIN, EDITOR_RATE_MAX },
		{ "noise", c->noise, 0.0f, 10.0f },
		{ "stream_rate", c->stream_rate, EDITOR_RATE_MIN, EDITOR_RATE_MAX },
		{ "stream_stop_loss", c->stream_stop_loss, 0.0f, 100.0f },
		{ "stream_protect", c->stream_protect, 0.0f, 1000.0f },
		{ "ridge", c->ridge, 1e-6f, 1e6f },
		{ "false_route_share", c->false_route_share, 1e-6f, 0.5f },
		{ "false_relation_share", c->false_relation_share, 1e-6f, 0.999f },
		{ "merge_rate", c->merge_rate, EDITOR_RATE_MIN, EDITOR_RATE_MAX },
		{ "merge_noise", c->merge_noise, 0.0f, 10.0f },
		{ "merge_prompt_noise", c->merge_prompt_noise, 0.0f, 10.0f },
		{ "merge_outer_rate", c->merge_outer_rate, 1e-6f, 100.0f },
		{ "merge_outer_momentum", c->merge_outer_momentum, 0.0f, 0.999f },
		{ "wise.alpha", c->wise.alpha, 0.0f, 1e6f },
		{ "wise.beta", c->wise.beta, 0.0f, 1e6f },
		{ "wise.gamma", c->wise.gamma, 0.0f, 1e6f },
		{ "wise.rate", c->wise.rate, EDITOR_RATE_MIN, 1e3f },
		{ "wise.clip", c->wise.clip, 1e-6f, 100.0f },
		{ "wise.mask_ratio", c->wise.mask_ratio, 1e-6f, 1.0f },
		{ "wise.stop_delta", c->wise.stop_delta, 0.0f, 100.0f },
		{ "wise.stop_loss", c->wise.stop_loss, 0.0f, 100.0f },
		{ "wise.act_ratio", c->wise.act_ratio, 0.0f, 1.0f },
		{ "wise.merge_density", c->wise.merge_density, 1e-6f, 1.0f },
	};
	int rc = check_layers(c, shape, e);
	for (size_t i = 0; rc == 0 && i < sizeof(sizes) / sizeof(sizes[0]); i++)
		rc = check_size(sizes[i].field, sizes[i].value, sizes[i].min, sizes[i].max, e);
	for (size_t i = 0; rc == 0 && i < sizeof(reals) / sizeof(reals[0]); i++)
		rc = check_real(reals[i].field, reals[i].value, reals[i].min, reals[i].max, e);
	return rc;
}
