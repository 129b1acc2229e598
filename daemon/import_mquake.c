/* MQuAKE: one case is a chain of facts, of which requested_rewrite (a list) changes some: an edit each, in one group.
 * The multi-hop questions follow from all of them, so the last edit of the case carries them as portability. */
#include "daemon/import_internal.h"

#include <stdio.h>
#include <string.h>

static bool recognises(const struct json *item)
{
	const struct json *rewrite = json_get(item, "requested_rewrite");
	return rewrite != NULL && json_type(rewrite) == JSON_ARRAY;
}

/* The other names of the answer stand with the single hop that asks the edit's question. */
static int aliases(const struct json *item, const struct json *rewrite, struct arena *arena, struct import__edit *edit,
		   struct err *e)
{
	const struct json *hops = json_get(item, "new_single_hops");
	const char *question = json_string(json_get(rewrite, "question"), NULL);
	int rc = 0;
	for (size_t i = 0; rc == 0 && question != NULL && i < json_length(hops); i++) {
		const struct json *hop = json_at(hops, i);
		const char *asked = json_string(json_get(hop, "question"), NULL);
		if (asked != NULL && strcmp(asked, question) == 0)
			rc = import__add(arena, json_get(hop, "answer_alias"), "new_single_hops", &edit->aliases, e);
	}
	return rc;
}

static int questions(const struct json *item, struct arena *arena, struct import__edit *edit, struct err *e)
{
	struct import__list prompts = { NULL, 0 };
	struct import__probe probe = { .kind = "multi_hop" };
	int rc = import__add(arena, json_get(item, "questions"), "questions", &prompts, e);
	if (rc == 0)
		rc = import__text(arena, json_get(item, "new_answer"), "new_answer", &probe.target, e);
	if (rc == 0)
		rc = import__add(arena, json_get(item, "new_answer_alias"), "new_answer_alias", &probe.aliases, e);
	for (size_t i = 0; rc == 0 && probe.target.text != NULL && i < prompts.count; i++) {
		probe.prompt = prompts.items[i];
		rc = import__probe(arena, &edit->portability, &probe, e);
	}
	return rc;
}

/* The same case has the same group in every file, and another case another one. */
static int group_of(const struct json *item, const struct json *rewrites, struct arena *arena,
		    struct import__edit *edit, struct err *e)
{
	int rc = import__text(arena, json_get(item, "case_id"), "case_id", &edit->case_id, e);
	if (rc != 0 || json_length(rewrites) < 2)
		return rc;
	struct buf canonical = BUF_INIT;
	struct hash hash;
	char hex[HASH_HEX_BYTES], name[64];
	json_canonical(rewrites, &canonical);
	bool failed = buf_failed(&canonical);
	if (!failed)
		hash_of(canonical.data, canonical.len, &hash);
	buf_free(&canonical);
	if (failed)
		return err_set(e, ERR_NOMEM, "out of memory for a group");
	hash_hex(&hash, hex);
	snprintf(name, sizeof(name), "mquake-%.16s", hex);
	edit->group.len = strlen(name);
	edit->group.text = arena_strndup(arena, name, edit->group.len);
	return edit->group.text != NULL ? 0 : err_set(e, ERR_NOMEM, "out of memory for a group");
}

static int convert(const struct json *item, struct import__out *out, struct err *e)
{
	const struct json *rewrites = json_get(item, "requested_rewrite");
	size_t count = json_length(rewrites);
	if (rewrites == NULL || json_type(rewrites) != JSON_ARRAY || count == 0)
		return err_set(e, ERR_INVALID, "requested_rewrite: %s",
			       rewrites == NULL ? "missing" : "must be a list of edits");
	int rc = 0;
	for (size_t i = 0; rc == 0 && i < count; i++) {
		struct import__edit edit = { .prompt = { NULL, 0 } };
		const struct json *rewrite = json_at(rewrites, i);
		rc = group_of(item, rewrites, out->arena, &edit, e);
		if (rc == 0)
			rc = import__rewrite(out->arena, rewrite, &edit, e);
		if (rc == 0)
			rc = import__add(out->arena, json_get(rewrite, "question"), "requested_rewrite.question",
					 &edit.rephrases, e);
		if (rc == 0)
			rc = aliases(item, rewrite, out->arena, &edit, e);
		if (rc == 0 && i + 1 == count)
			rc = questions(item, out->arena, &edit, e);
		if (rc == 0)
			rc = import__emit(out, &edit, e);
	}
	return rc;
}

const struct import__format import__mquake = { "mquake", recognises, convert };
