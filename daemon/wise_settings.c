#include "daemon/wise_settings.h"

/* In the order of the setting's choices. */
static const enum editor_family families[] = { EDITOR_FAMILY_AMEND, EDITOR_FAMILY_PAPER };
static const enum wise_mode modes[] = { WISE_RETRIEVE, WISE_MERGE };
static const enum merge_operator operators[] = { MERGE_TIES,  MERGE_LINEAR, MERGE_SIGN,
						 MERGE_SLERP, MERGE_DARE,   MERGE_DARE_TIES };

enum editor_family daemon_family(const struct daemon_config *config)
{
	return families[config->family];
}

enum wise_mode daemon_wise_mode(const struct daemon_config *config)
{
	return modes[config->wise_mode];
}

int daemon_family_check(const struct daemon_config *config, struct err *e)
{
	const bool paper = daemon_family(config) == EDITOR_FAMILY_PAPER;
	const struct conf_item *other = conf_changed(&daemon_config_table, config, paper ? "train." : "wise.");
	if (other == NULL)
		return 0;
	const char *flag = other->flag != NULL ? other->flag : other->name;
	return paper ? err_set(e, ERR_INVALID,
			       "--%s is of family amend: family paper trains by wise.rate and wise.steps", flag)
		     : err_set(e, ERR_INVALID, "--%s is of family paper: give --family paper too, or leave it out",
			       flag);
}

void daemon_wise_config(const struct daemon_config *c, struct editor_wise_config *out)
{
	*out = (struct editor_wise_config){
		.alpha = (float)c->wise_alpha,
		.beta = (float)c->wise_beta,
		.gamma = (float)c->wise_gamma,
		.rate = (float)c->wise_rate,
		.steps_max = (size_t)c->wise_steps,
		.clip = (float)c->wise_clip,
		.mask_ratio = (float)c->wise_mask_ratio,
		.stop_delta = (float)c->wise_stop_delta,
		.stop_loss = (float)c->wise_stop_loss,
		.act_ratio = (float)c->wise_act_ratio,
		.prefixes = c->wise_prefixes,
		.prefix_tokens = { (size_t)c->wise_prefix_tokens, (size_t)(2 * c->wise_prefix_tokens) },
		.activation_loss = c->wise_activation_loss,
		.replay = c->wise_replay && modes[c->wise_mode] == WISE_RETRIEVE,
		.merge_shards = (size_t)c->wise_shards,
		.merge_operator = operators[c->wise_operator],
		.merge_density = (float)c->wise_density,
		.merge_trim_nonzero = c->wise_trim_nonzero,
	};
}
