/* ZsRE as MEND, ROME and EasyEdit publish it: {subject, src, alt, answers[], rephrase, loc, loc_ans}. The edit's target
 * is `alt`; a file without that field (ROME edits in the true answer) takes the first of `answers`. */
#include "daemon/import_internal.h"

static bool recognises(const struct json *item)
{
	return json_get(item, "src") != NULL && !import__has_core(item);
}

static int targets(const struct json *item, struct arena *arena, struct import__edit *edit, struct err *e)
{
	struct record_text answer;
	struct import__list others;
	int rc = import__answers(arena, json_get(item, "answers"), "answers", &answer, &others, e);
	if (rc != 0)
		return rc;
	if (json_get(item, "alt") == NULL && answer.text != NULL) {
		edit->target_new = answer;
		edit->aliases = others;
		return 0;
	}
	edit->target_true = answer;
	return import__required(arena, json_get(item, "alt"), "alt", &edit->target_new, e);
}

static int convert(const struct json *item, struct import__out *out, struct err *e)
{
	struct import__edit edit = { .prompt = { NULL, 0 } };
	struct import__probe loc = { .kind = "unrelated" };
	struct arena *arena = out->arena;
	int rc = import__required(arena, json_get(item, "src"), "src", &edit.prompt, e);
	if (rc == 0)
		rc = import__text(arena, json_get(item, "subject"), "subject", &edit.subject, e);
	if (rc == 0)
		rc = targets(item, arena, &edit, e);
	if (rc == 0)
		rc = import__add(arena, json_get(item, "rephrase"), "rephrase", &edit.rephrases, e);
	if (rc == 0)
		rc = import__text(arena, json_get(item, "loc"), "loc", &loc.prompt, e);
	if (rc == 0)
		rc = import__answers(arena, json_get(item, "loc_ans"), "loc_ans", &loc.target, &loc.aliases, e);
	if (rc == 0)
		rc = import__probe(arena, &edit.locality, &loc, e);
	if (rc == 0)
		rc = import__new_question(arena, item, &edit, e);
	return rc == 0 ? import__emit(out, &edit, e) : rc;
}

const struct import__format import__zsre = { "zsre", recognises, convert };
