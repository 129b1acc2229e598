/* HalluEditBench: CSV with {topic, subject, relation, object or label, question, paraphrased_question,
 * locality_question, question_2hop, answer_2hop … question_6hop, answer_6hop}. The locality question asks another
 * relation of the same subject; no answer is given, so it is compared with the unedited model's. */
#include "daemon/import_internal.h"

#include <stdio.h>

#define HOPS_MIN 2
#define HOPS_MAX 6

static bool recognises(const struct json *item)
{
	return json_get(item, "question") != NULL && !import__has_core(item) &&
	       (json_get(item, "object") != NULL || json_get(item, "label") != NULL);
}

static int hops(const struct json *item, struct arena *arena, struct import__edit *edit, struct err *e)
{
	static const char *const kinds[] = { "hop2", "hop3", "hop4", "hop5", "hop6" };
	int rc = 0;
	for (int hop = HOPS_MIN; rc == 0 && hop <= HOPS_MAX; hop++) {
		struct import__probe probe = { .kind = kinds[hop - HOPS_MIN] };
		char question[32], answer[32];
		snprintf(question, sizeof(question), "question_%dhop", hop);
		snprintf(answer, sizeof(answer), "answer_%dhop", hop);
		rc = import__text(arena, json_get(item, question), question, &probe.prompt, e);
		if (rc == 0)
			rc = import__text(arena, json_get(item, answer), answer, &probe.target, e);
		if (rc == 0 && probe.target.text != NULL)
			rc = import__probe(arena, &edit->portability, &probe, e);
	}
	return rc;
}

static int convert(const struct json *item, struct import__out *out, struct err *e)
{
	struct import__edit edit = { .prompt = { NULL, 0 } };
	struct import__probe locality = { .kind = "same_subject" };
	struct arena *arena = out->arena;
	const char *target = json_get(item, "label") != NULL ? "label" : "object";
	int rc = import__required(arena, json_get(item, "question"), "question", &edit.prompt, e);
	if (rc == 0)
		rc = import__required(arena, json_get(item, target), target, &edit.target_new, e);
	if (rc == 0)
		rc = import__text(arena, json_get(item, "subject"), "subject", &edit.subject, e);
	if (rc == 0)
		rc = import__text(arena, json_get(item, "relation"), "relation", &edit.relation, e);
	if (rc == 0)
		rc = import__add(arena, json_get(item, "paraphrased_question"), "paraphrased_question", &edit.rephrases,
				 e);
	if (rc == 0)
		rc = import__text(arena, json_get(item, "locality_question"), "locality_question", &locality.prompt, e);
	if (rc == 0)
		rc = import__probe(arena, &edit.locality, &locality, e);
	if (rc == 0)
		rc = hops(item, arena, &edit, e);
	return rc == 0 ? import__emit(out, &edit, e) : rc;
}

const struct import__format import__hallu_csv = { "hallu-csv", recognises, convert };
