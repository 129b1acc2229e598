/* Our own records among the forms of published sets: known by keys that only a record has. What else stands there is a
 * key that is not known, and kept. */
#include "daemon/import_internal.h"

bool import__has_core(const struct json *item)
{
	return json_string(json_get(item, "prompt"), NULL) != NULL &&
	       json_string(json_get(item, "target_new"), NULL) != NULL;
}

static bool has_any(const struct json *item, const char *const *names, size_t count)
{
	for (size_t i = 0; i < count; i++) {
		if (json_get(item, names[i]) != NULL)
			return true;
	}
	return false;
}

static bool has_list(const struct json *item, const char *name)
{
	const struct json *v = json_get(item, name);
	return v != NULL && json_type(v) == JSON_ARRAY;
}

/* Published sets have an id of their own now and then, and lists of rephrases: those count where no probe stands as
 * they have it. */
static bool recognises(const struct json *item)
{
	static const char *const own[] = { "expires", "valid_from", "group",   "actor",      "source",         "ticket",
					   "schema",  "tags",       "aliases", "loc_prompt", "subject_aliases" };
	static const char *const theirs[] = { "requested_rewrite", "rephrase_prompt", "locality_prompt",
					      "paraphrase_prompts", "neighborhood_prompts" };
	const struct json *locality = json_get(item, "locality"), *portability = json_get(item, "portability");
	if (!import__has_core(item))
		return false;
	if (has_any(item, own, sizeof(own) / sizeof(own[0])) || has_list(item, "locality") ||
	    has_list(item, "portability"))
		return true;
	if (has_any(item, theirs, sizeof(theirs) / sizeof(theirs[0])) ||
	    (locality != NULL && json_type(locality) == JSON_OBJECT) ||
	    (portability != NULL && json_type(portability) == JSON_OBJECT))
		return false;
	return json_string(json_get(item, "id"), NULL) != NULL || has_list(item, "rephrase");
}

const struct import__format import__record = { "amend", recognises, NULL };
