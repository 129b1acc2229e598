/* CounterFact: ROME's nested form (and MEMIT's, which is the same), and EasyEdit's flat one: {prompt, subject,
 * target_new, ground_truth, rephrase_prompt, locality_prompt, locality_ground_truth}. Neighbourhood prompts ask the
 * same relation of other subjects whose true answer is the edit's old one. */
#include "daemon/import_internal.h"

static bool recognises(const struct json *item)
{
	static const char *const flat[] = { "rephrase_prompt", "locality_prompt", "paraphrase_prompts",
					    "neighborhood_prompts" };
	const struct json *rewrite = json_get(item, "requested_rewrite");
	if (rewrite != NULL)
		return json_type(rewrite) == JSON_OBJECT;
	if (json_get(item, "prompt") == NULL || json_get(item, "target_new") == NULL)
		return false;
	for (size_t i = 0; i < sizeof(flat) / sizeof(flat[0]); i++) {
		if (json_get(item, flat[i]) != NULL)
			return true;
	}
	/* alone it is one more key of a record where the subject is missing, which this form needs */
	return json_get(item, "ground_truth") != NULL && json_get(item, "subject") != NULL;
}

/* "prompts": strings, or objects {prompt, target}; the target is else `answer`. */
static int neighbours(const struct json *item, struct arena *arena, const struct record_text *answer,
		      struct import__edit *edit, struct err *e)
{
	const struct json *list = json_get(item, "neighborhood_prompts");
	if (list != NULL && json_type(list) != JSON_ARRAY && json_type(list) != JSON_NULL)
		return err_set(e, ERR_INVALID, "neighborhood_prompts: must be a list");
	int rc = 0;
	for (size_t i = 0; rc == 0 && i < json_length(list); i++) {
		struct import__probe probe = { .target = *answer, .kind = "neighborhood" };
		const struct json *one = json_at(list, i);
		bool object = json_type(one) == JSON_OBJECT;
		rc = import__text(arena, object ? json_get(one, "prompt") : one, "neighborhood_prompts", &probe.prompt,
				  e);
		if (rc == 0 && object)
			rc = import__text(arena, json_get(one, "target"), "neighborhood_prompts", &probe.target, e);
		if (rc == 0)
			rc = import__probe(arena, &edit->locality, &probe, e);
	}
	return rc;
}

static int nested(const struct json *item, struct arena *arena, struct import__edit *edit, struct err *e)
{
	const struct json *rewrite = json_get(item, "requested_rewrite");
	int rc = json_type(rewrite) == JSON_OBJECT
			 ? import__rewrite(arena, rewrite, edit, e)
			 : err_set(e, ERR_INVALID, "requested_rewrite: must be an object (a list of them: mquake)");
	if (rc == 0)
		rc = import__add(arena, json_get(item, "paraphrase_prompts"), "paraphrase_prompts", &edit->rephrases,
				 e);
	return rc == 0 ? neighbours(item, arena, &edit->target_true, edit, e) : rc;
}

/* locality_prompt and locality_ground_truth: one text each, or two lists side by side. */
static int flat_locality(const struct json *item, struct arena *arena, struct import__edit *edit, struct err *e)
{
	const struct json *prompts = json_get(item, "locality_prompt");
	const struct json *answers = json_get(item, "locality_ground_truth");
	bool list = prompts != NULL && json_type(prompts) == JSON_ARRAY;
	size_t count = list ? json_length(prompts) : 1;
	int rc = 0;
	for (size_t i = 0; rc == 0 && i < count; i++) {
		struct import__probe probe = { .kind = "neighborhood" };
		rc = import__text(arena, list ? json_at(prompts, i) : prompts, "locality_prompt", &probe.prompt, e);
		if (rc == 0)
			rc = import__answers(arena, list ? json_at(answers, i) : answers, "locality_ground_truth",
					     &probe.target, &probe.aliases, e);
		if (rc == 0)
			rc = import__probe(arena, &edit->locality, &probe, e);
	}
	return rc;
}

static int flat(const struct json *item, struct arena *arena, struct import__edit *edit, struct err *e)
{
	static const char *const rephrases[] = { "rephrase_prompt", "rephrase", "paraphrase_prompts" };
	struct import__list unused;
	int rc = import__rewrite(arena, item, edit, e);
	if (rc == 0 && edit->target_true.text == NULL)
		rc = import__answers(arena, json_get(item, "ground_truth"), "ground_truth", &edit->target_true, &unused,
				     e);
	for (size_t i = 0; rc == 0 && i < sizeof(rephrases) / sizeof(rephrases[0]); i++)
		rc = import__add(arena, json_get(item, rephrases[i]), rephrases[i], &edit->rephrases, e);
	if (rc == 0)
		rc = flat_locality(item, arena, edit, e);
	if (rc == 0)
		rc = neighbours(item, arena, &edit->target_true, edit, e);
	return rc == 0 ? import__new_question(arena, item, edit, e) : rc;
}

static int convert(const struct json *item, struct import__out *out, struct err *e)
{
	struct import__edit edit = { .prompt = { NULL, 0 } };
	int rc = json_get(item, "requested_rewrite") != NULL ? nested(item, out->arena, &edit, e)
							     : flat(item, out->arena, &edit, e);
	if (rc == 0)
		rc = import__text(out->arena, json_get(item, "case_id"), "case_id", &edit.case_id, e);
	return rc == 0 ? import__emit(out, &edit, e) : rc;
}

const struct import__format import__counterfact = { "counterfact", recognises, convert };
