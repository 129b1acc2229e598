/* KnowEdit (EasyEdit's benchmark): {subject, prompt, target_new, ground_truth, rephrase_prompt, portability{GROUP:
 * […]}, locality{GROUP: […]}}; WikiBio calls the first three concept, text and labels. A group's items are {prompt,
 * ground_truth}; ground_truth is a text, a list of aliases, or a list of such lists. The locality groups ask other
 * relations of the edited subject. */
#include "daemon/import_internal.h"

#include <string.h>

static bool is_object(const struct json *v)
{
	return v != NULL && json_type(v) == JSON_OBJECT;
}

/* {GROUP: […]}: one probe without its list, {prompt, target}, is none. */
static bool is_groups(const struct json *v)
{
	const struct json *group;
	const char *name;
	for (size_t i = 0; is_object(v) && json_member(v, i, &name, &group); i++) {
		if (json_type(group) != JSON_ARRAY && !is_object(group) && json_type(group) != JSON_NULL)
			return false;
	}
	return is_object(v);
}

/* Without a subject it would be refused: it is rather a record, whose check says what is wrong with the groups. */
static bool recognises(const struct json *item)
{
	if (json_get(item, "labels") != NULL && json_get(item, "concept") != NULL)
		return true;
	const struct json *portability = json_get(item, "portability");
	return json_get(item, "subject") != NULL &&
	       (is_groups(json_get(item, "locality")) ||
		(is_groups(portability) && json_get(portability, "New Question") == NULL));
}

struct group {
	struct arena *arena;
	struct import__probes *probes;
	const char *field, *kind;
	bool answer_needed;
};

static int add_probe(const struct group *g, const struct json *prompt, const struct json *answer, struct err *e)
{
	struct import__probe probe = { .kind = g->kind };
	struct import__list prompts = { NULL, 0 };
	int rc = import__add(g->arena, prompt, g->field, &prompts, e);
	if (rc == 0)
		rc = import__answers(g->arena, answer, g->field, &probe.target, &probe.aliases, e);
	/* Wikidata had no answer to some questions: what follows from the edit cannot be asked then. */
	if (rc != 0 || prompts.count == 0 || (g->answer_needed && probe.target.text == NULL))
		return rc;
	probe.prompt = prompts.items[0];
	return import__probe(g->arena, g->probes, &probe, e);
}

/* A list of {prompt, ground_truth}, or one such object with two lists side by side. */
static int add_group(const struct group *g, const struct json *v, struct err *e)
{
	int rc = 0;
	if (json_type(v) == JSON_NULL)
		return 0;
	if (json_type(v) == JSON_ARRAY) {
		for (size_t i = 0; rc == 0 && i < json_length(v); i++) {
			const struct json *one = json_at(v, i);
			rc = is_object(one) ? add_probe(g, json_get(one, "prompt"), json_get(one, "ground_truth"), e)
					    : err_set(e, ERR_INVALID, "%s: every item must be an object", g->field);
		}
		return rc;
	}
	const struct json *prompts = json_get(v, "prompt"), *answers = json_get(v, "ground_truth");
	if (prompts == NULL)
		return err_set(e, ERR_INVALID, "%s: must be a list of objects with a prompt", g->field);
	if (json_type(prompts) != JSON_ARRAY)
		return add_probe(g, prompts, answers, e);
	for (size_t i = 0; rc == 0 && i < json_length(prompts); i++)
		rc = add_probe(g, json_at(prompts, i), json_at(answers, i), e);
	return rc;
}

/* "Logical_Generalization" → "logical_generalization" */
static const char *lower(struct arena *arena, const char *name)
{
	char *copy = arena_strndup(arena, name, strlen(name));
	for (char *c = copy; c != NULL && *c != '\0'; c++)
		*c = (char)(*c >= 'A' && *c <= 'Z' ? *c + ('a' - 'A') : *c);
	return copy;
}

static int groups(const struct json *item, const char *field, bool portability, struct arena *arena,
		  struct import__probes *probes, struct err *e)
{
	const struct json *all = json_get(item, field), *v;
	const char *name;
	int rc = 0;
	if (all == NULL || json_type(all) == JSON_NULL)
		return 0;
	if (!is_object(all))
		return err_set(e, ERR_INVALID, "%s: must be an object of groups", field);
	for (size_t i = 0; rc == 0 && json_member(all, i, &name, &v); i++) {
		struct group g = { arena, probes, field, "same_subject", portability };
		if (portability)
			g.kind = lower(arena, name);
		rc = g.kind != NULL ? add_group(&g, v, e) : err_set(e, ERR_NOMEM, "%s: out of memory", field);
	}
	return rc;
}

/* The member of the one name or of WikiBio's. */
static int core(const struct json *item, struct arena *arena, const char *name, const char *other,
		struct record_text *out, struct err *e)
{
	const char *used = json_get(item, name) == NULL && json_get(item, other) != NULL ? other : name;
	return import__required(arena, json_get(item, used), used, out, e);
}

static int convert(const struct json *item, struct import__out *out, struct err *e)
{
	struct import__edit edit = { .prompt = { NULL, 0 } };
	struct arena *arena = out->arena;
	struct import__list unused;
	int rc = core(item, arena, "prompt", "text", &edit.prompt, e);
	if (rc == 0)
		rc = core(item, arena, "target_new", "labels", &edit.target_new, e);
	if (rc == 0)
		rc = core(item, arena, "subject", "concept", &edit.subject, e);
	if (rc == 0)
		rc = import__answers(arena, json_get(item, "ground_truth"), "ground_truth", &edit.target_true, &unused,
				     e);
	if (rc == 0)
		rc = import__add(arena, json_get(item, "rephrase_prompt"), "rephrase_prompt", &edit.rephrases, e);
	if (rc == 0)
		rc = import__add(arena, json_get(item, "rephrase"), "rephrase", &edit.rephrases, e);
	if (rc == 0)
		rc = groups(item, "locality", false, arena, &edit.locality, e);
	if (rc == 0)
		rc = groups(item, "portability", true, arena, &edit.portability, e);
	return rc == 0 ? import__emit(out, &edit, e) : rc;
}

const struct import__format import__knowedit = { "knowedit", recognises, convert };
