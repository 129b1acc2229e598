#include "editor/twins.h"
#include "base/fault.h"
#include "editor/answer.h"

#include <stdlib.h>
#include <string.h>

struct twin {
	struct buf key, target;
	size_t record;
};

static int compare_twins(const void *a, const void *b)
{
	const struct twin *x = a, *y = b;
	const size_t n = x->key.len < y->key.len ? x->key.len : y->key.len;
	const int order = n > 0 ? memcmp(x->key.data, y->key.data, n) : 0;
	if (order != 0)
		return order;
	return (x->key.len > y->key.len) - (x->key.len < y->key.len);
}

static bool same_bytes(const struct buf *a, const struct buf *b)
{
	return a->len == b->len && (a->len == 0 || memcmp(a->data, b->data, a->len) == 0);
}

int editor__twins_mark(const struct editor_evaluation *what, bool *conflict, struct err *e)
{
	struct twin *twins = fault_calloc(what->record_count + 1, sizeof(*twins));
	int rc = twins == NULL ? ERR_NOMEM : 0;
	for (size_t i = 0; i < what->record_count && rc == 0; i++) {
		const struct record *record = what->records[i];
		twins[i].record = i;
		rc = record_subject_key(record, &twins[i].key);
		if (rc == 0)
			rc = editor_answer_normalise(record->target_new.text, record->target_new.len, &twins[i].target);
	}
	if (rc == 0)
		qsort(twins, what->record_count, sizeof(*twins), compare_twins);
	for (size_t i = 0; i < what->record_count && rc == 0; i++) {
		for (size_t j = i + 1; j < what->record_count && same_bytes(&twins[i].key, &twins[j].key); j++) {
			if (!same_bytes(&twins[i].target, &twins[j].target))
				conflict[twins[i].record] = conflict[twins[j].record] = true;
		}
	}
	for (size_t i = 0; twins != NULL && i < what->record_count; i++) {
		buf_free(&twins[i].key);
		buf_free(&twins[i].target);
	}
	free(twins);
	return rc == 0 ? 0 : err_set(e, rc, "evaluation: finding conflicting rows failed");
}

static int compare_texts(const void *a, const void *b)
{
	return strcmp(((const struct record_text *)a)->text, ((const struct record_text *)b)->text);
}

int editor__twins_mark_verbatim(const struct editor_evaluation *what, bool *verbatim, size_t *count, struct err *e)
{
	struct record_text *prompts = fault_calloc(what->record_count + 1, sizeof(*prompts));
	if (prompts == NULL)
		return err_set(e, ERR_NOMEM, "evaluation: out of memory");
	for (size_t i = 0; i < what->record_count; i++)
		prompts[i] = what->records[i]->prompt;
	qsort(prompts, what->record_count, sizeof(*prompts), compare_texts);
	*count = 0;
	for (size_t i = 0, at = 0; i < what->record_count; i++) {
		const struct record *record = what->records[i];
		for (size_t k = 0; k < record->rephrase_count; k++, at++) {
			verbatim[at] = strcmp(record->rephrases[k].text, record->prompt.text) != 0 &&
				       bsearch(&record->rephrases[k], prompts, what->record_count, sizeof(*prompts),
					       compare_texts) != NULL;
			*count += verbatim[at] ? 1 : 0;
		}
	}
	free(prompts);
	return 0;
}
