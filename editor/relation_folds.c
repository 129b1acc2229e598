/* The threshold of a relation head, and what it does on questions that it did not see (relation.h). */
#include "editor/relation.h"

#include "base/fault.h"
#include "editor/dot.h"
#include "editor/whiten.h"

#include <stdlib.h>

#define FOLDS      5u
#define FITTED_MIN 2u /* groups that a fold's head is fitted on ... */
#define SHARE_MIN  8u /* ... and one in so many of all, or forms are shared */

struct test {
	const struct editor__triple *triples;
	size_t triple_count;
	size_t *folds; /* a triple; FOLDS: in none */
	struct editor__triple *fitted;
	size_t fitted_count;
	float *kept, *passed; /* scores of prompts with their rephrases, with the other questions */
	size_t kept_count, passed_count;
	bool near_too; /* there are no other questions but those of kind `near` */
};

/* Groups whose other question has no say in the threshold are fitted on for every fold. */
static bool is_tested(const struct test *t, size_t at)
{
	return t->near_too || !t->triples[at].other_is_near;
}

static size_t form_size(const struct test *t, uint64_t form)
{
	size_t size = 0;
	for (size_t i = 0; i < t->triple_count; i++)
		size += is_tested(t, i) && t->triples[i].form == form;
	return size;
}

/* A form goes to the fold that has the fewest groups so far. */
static void deal(struct test *t)
{
	size_t sizes[FOLDS] = { 0 };
	for (size_t i = 0; i < t->triple_count; i++) {
		size_t earlier = 0, least = 0;
		t->folds[i] = FOLDS;
		if (!is_tested(t, i))
			continue;
		while (earlier < i && (!is_tested(t, earlier) || t->triples[earlier].form != t->triples[i].form))
			earlier++;
		for (size_t f = 1; f < FOLDS; f++)
			least = sizes[f] < sizes[least] ? f : least;
		t->folds[i] = earlier < i ? t->folds[earlier] : least;
		sizes[least] += earlier < i ? 0 : form_size(t, t->triples[i].form);
	}
}

static void deal_by_turns(struct test *t)
{
	for (size_t i = 0; i < t->triple_count; i++)
		t->folds[i] = is_tested(t, i) ? i % FOLDS : FOLDS;
}

static bool forms_meet(const struct editor__triple *a, const struct editor__triple *b)
{
	const uint64_t forms[2][3] = { { a->form, a->rephrase_form, a->other_form },
				       { b->form, b->rephrase_form, b->other_form } };
	const size_t counts[2] = { a->other != NULL ? 3 : 2, b->other != NULL ? 3 : 2 };
	for (size_t i = 0; i < counts[0]; i++) {
		for (size_t j = 0; j < counts[1]; j++) {
			if (forms[0][i] == forms[1][j])
				return true;
		}
	}
	return false;
}

static bool may_fit(const struct test *t, size_t at, size_t fold, bool forms_apart)
{
	const struct editor__triple *triple = &t->triples[at];
	for (size_t i = 0; i < t->triple_count; i++) {
		if (t->folds[i] == fold &&
		    (t->triples[i].subject == triple->subject || (forms_apart && forms_meet(&t->triples[i], triple))))
			return false;
	}
	return t->folds[at] != fold;
}

static void gather(struct test *t, size_t fold, bool forms_apart)
{
	t->fitted_count = 0;
	for (size_t i = 0; i < t->triple_count; i++) {
		if (may_fit(t, i, fold, forms_apart))
			t->fitted[t->fitted_count++] = t->triples[i];
	}
}

/* Whether every fold that has groups leaves enough to fit on. */
static bool is_enough(struct test *t, bool forms_apart, size_t least)
{
	for (size_t f = 0; f < FOLDS; f++) {
		size_t own = 0;
		for (size_t i = 0; i < t->triple_count; i++)
			own += t->folds[i] == f;
		gather(t, f, forms_apart);
		if (own > 0 && t->fitted_count < least)
			return false;
	}
	return true;
}

/* Into folds with no form in common where the groups are enough for that, else with no subject in common. */
static void divide(struct test *t, bool *forms_apart)
{
	const size_t share = t->triple_count / SHARE_MIN;
	deal(t);
	*forms_apart = is_enough(t, true, share > FITTED_MIN ? share : FITTED_MIN);
	if (!*forms_apart && !is_enough(t, false, FITTED_MIN))
		deal_by_turns(t); /* one form is nearly all of them */
}

static int score_fold(struct test *t, size_t fold, size_t hidden, const struct editor_config *config,
		      struct model_backend *backend, struct err *e)
{
	struct editor_calibration *head = NULL;
	int rc = editor__calibration_new(hidden, 1, config->relation_dims, &head, e);
	if (rc == 0)
		rc = editor__relation_fit(head, backend, t->fitted, t->fitted_count, config->relation_steps,
					  config->seed, e);
	for (size_t i = 0; i < t->triple_count && rc == 0; i++) {
		const struct editor__triple *triple = &t->triples[i];
		float keys[2][EDITOR_HIDDEN_MAX];
		if (t->folds[i] != fold)
			continue;
		const size_t dims = editor_calibration_relation_dims(head);
		editor_calibration_relation_key(head, triple->prompt, keys[0]);
		editor_calibration_relation_key(head, triple->rephrase, keys[1]);
		t->kept[t->kept_count++] = editor__dot(keys[0], keys[1], dims) +
					   EDITOR_RELATION_WORDS * triple->rephrase_words;
		if (triple->other == NULL)
			continue;
		editor_calibration_relation_key(head, triple->other, keys[1]);
		t->passed[t->passed_count++] = editor__dot(keys[0], keys[1], dims) +
					       EDITOR_RELATION_WORDS * triple->other_words;
	}
	editor_calibration_destroy(&head);
	return rc;
}

static int score_folds(struct test *t, size_t hidden, const struct editor_config *config, struct model_backend *backend,
		       struct editor_relation_report *out, struct err *e)
{
	int rc = 0;
	out->fitted_least = t->triple_count;
	for (size_t f = 0; f < FOLDS && rc == 0; f++) {
		gather(t, f, out->forms_apart);
		if (t->fitted_count == t->triple_count) /* nobody's fold */
			continue;
		if (t->fitted_count < FITTED_MIN)
			return err_set(e, ERR_INVALID,
				       "a relation head cannot be tested: of %zu groups too many have one subject",
				       t->triple_count);
		out->folds++;
		out->fitted_least = t->fitted_count < out->fitted_least ? t->fitted_count : out->fitted_least;
		rc = score_fold(t, f, hidden, config, backend, e);
	}
	return rc;
}

static int larger_first(const void *a, const void *b)
{
	const float x = *(const float *)a, y = *(const float *)b;
	return (x < y) - (x > y);
}

static double share_from(const float *scores, size_t count, float threshold)
{
	size_t reached = 0;
	for (size_t i = 0; i < count; i++)
		reached += scores[i] >= threshold;
	return count > 0 ? (double)reached / (double)count : 0;
}

static void summarise(struct test *t, float false_share, struct editor_relation_report *out, float *threshold)
{
	if (t->passed_count > 0) {
		qsort(t->passed, t->passed_count, sizeof(*t->passed), larger_first);
		*threshold = t->passed[(size_t)((double)false_share * (double)t->passed_count)];
	}
	if (t->passed_count > 0 && t->kept_count >= EDITOR_RELATION_KEPT_MIN) {
		qsort(t->kept, t->kept_count, sizeof(*t->kept), larger_first);
		const float least = t->kept[(size_t)(EDITOR_RELATION_KEPT * (double)t->kept_count)];
		*threshold = least < *threshold ? least : *threshold;
	}
	out->rephrases = t->kept_count;
	out->others = t->passed_count;
	out->kept = share_from(t->kept, t->kept_count, *threshold);
	out->passed = share_from(t->passed, t->passed_count, *threshold);
}

int editor__relation_test(size_t hidden, const struct editor_config *config, struct model_backend *backend,
			  const struct editor__triple *triples, size_t triple_count, struct editor_relation_report *out,
			  float *threshold, struct err *e)
{
	struct test t = { .triples = triples,
			  .triple_count = triple_count,
			  .folds = fault_calloc(triple_count, sizeof(*t.folds)),
			  .fitted = fault_calloc(triple_count, sizeof(*t.fitted)),
			  .kept = fault_calloc(triple_count, sizeof(*t.kept)),
			  .passed = fault_calloc(triple_count, sizeof(*t.passed)) };
	int rc = t.folds == NULL || t.fitted == NULL || t.kept == NULL || t.passed == NULL
			 ? err_set(e, ERR_NOMEM, "relation head: out of memory")
			 : 0;
	t.near_too = true;
	for (size_t i = 0; i < triple_count; i++)
		t.near_too = t.near_too && (triples[i].other == NULL || triples[i].other_is_near);
	*threshold = -1; /* without other questions nothing is told apart */
	if (rc == 0) {
		divide(&t, &out->forms_apart);
		rc = score_folds(&t, hidden, config, backend, out, e);
	}
	if (rc == 0)
		summarise(&t, config->false_relation_share, out, threshold);
	free(t.folds);
	free(t.fitted);
	free(t.kept);
	free(t.passed);
	return rc;
}
