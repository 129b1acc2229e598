/* evaluate_fits.c: whether the model has room for what training and an evaluation read of a record. */
#include "editor/evaluate.h"
#include "editor/tokens.h"

#include <stdlib.h>

#define PREFIX_SEED_TOKENS 4 /* of a text that family `paper` puts before a prompt, and the space behind it */

/* Tokens that training puts before a prompt. */
static size_t prefix_tokens(const struct editor_config *config)
{
	const size_t *tokens = config->wise.prefix_tokens;
	if (config->family != EDITOR_FAMILY_PAPER || !config->wise.prefixes)
		return 0;
	return (tokens[0] > tokens[1] ? tokens[0] : tokens[1]) + PREFIX_SEED_TOKENS;
}

static int check_target(const struct model *model, const struct record *record, size_t before, struct err *e)
{
	const size_t context = model_shape_of(model)->context;
	int32_t *ids = NULL;
	size_t count = 0, prompt_count;
	struct err why = ERR_INIT;
	if (before + record->prompt.len + record->target_new.len + 2 <= context)
		return 0; /* no more tokens than bytes, with the space between and the end */
	int rc = editor__tokenise(model, record->prompt.text, record->prompt.len, &record->target_new, true, &ids,
				  &count, &prompt_count, &why);
	free(ids);
	if (rc != 0)
		return err_set(e, rc, "target_new: %s", why.text);
	if (before + count > context)
		return err_set(e, ERR_INVALID,
			       "target_new: prompt and target have %zu tokens, the model's context holds %zu with the "
			       "texts that training puts before them: shorten them",
			       count, context - before);
	return 0;
}

/* Alone, with room for an answer of one token, and with its target behind it. */
static int check_question(const struct model *model, const char *field, struct record_text text,
			  struct record_text target, struct err *e)
{
	const size_t context = model_shape_of(model)->context;
	struct editor__tokens alone = { 0 }, both = { 0 };
	struct err why = ERR_INIT;
	if (text.len + target.len + 1 <= context)
		return 0;
	int rc = editor__tokens_of(model, text.text, text.len, &alone, &why);
	if (rc == 0 && alone.id_count == context)
		rc = err_set(&why, ERR_LIMIT, "%zu tokens leave no room for an answer in the model's context",
			     alone.id_count);
	if (rc == 0 && target.len > 0)
		rc = editor__tokens_of_pair(model, text.text, text.len, target.text, target.len, &both, &why);
	editor__tokens_free(&alone, 1);
	editor__tokens_free(&both, 1);
	if (rc == 0)
		return 0;
	return err_set(e, rc == ERR_LIMIT ? ERR_INVALID : rc, "%s: \"%.40s…\"%s: %s: shorten it", field, text.text,
		       rc == ERR_LIMIT && target.len > 0 ? " with its target" : "", why.text);
}

int editor_evaluate_fits(const struct model *model, const struct editor_config *config, const struct record *record,
			 bool probe, struct err *e)
{
	const struct record_text none = { NULL, 0 };
	int rc = check_question(model, "prompt", record->prompt, none, e);
	if (probe || rc != 0)
		return rc;
	rc = check_target(model, record, prefix_tokens(config), e);
	for (size_t i = 0; i < record->rephrase_count && rc == 0; i++)
		rc = check_question(model, "rephrase", record->rephrases[i], record->target_new, e);
	for (size_t i = 0; i < record->locality_count && rc == 0; i++)
		rc = check_question(model, "locality", record->locality[i].prompt, record->locality[i].target, e);
	for (size_t i = 0; i < record->portability_count && rc == 0; i++)
		rc = check_question(model, "portability", record->portability[i].prompt, none, e);
	return rc;
}
