/* cli_subject.c: which edits are about what `--subject` names, and subjects that an edit cannot be found by. */
#include "daemon/cli_edit.h"

#include "base/text.h"
#include "editor/route.h"

#include <string.h>

int cli_subject_parse(const char *text, struct buf *folded, struct err *e)
{
	int rc = text_check(text, strlen(text), false, e);
	if (rc == 0)
		rc = text_fold(text, strlen(text), folded);
	if (rc == 0 && folded->len == 0)
		rc = err_set(e, ERR_INVALID, "empty");
	if (rc != 0)
		err_wrap(e, "--subject");
	return rc;
}

static int folds_to(const struct json *text, const struct buf *subject, bool *same)
{
	struct buf folded = BUF_INIT;
	size_t len = 0;
	const char *bytes = json_string(text, &len);
	int rc = bytes != NULL ? text_fold(bytes, len, &folded) : 0;
	*same = rc == 0 && folded.len == subject->len && folded.len > 0 &&
		memcmp(folded.data, subject->data, folded.len) == 0;
	buf_free(&folded);
	return rc;
}

static int named(const struct json *record, const struct buf *subject, bool *has)
{
	const struct json *aliases = json_get(record, "subject_aliases");
	const bool list = aliases != NULL && json_type(aliases) == JSON_ARRAY;
	const size_t count = list ? json_length(aliases) : 1;
	int rc = folds_to(json_get(record, "subject"), subject, has);
	for (size_t i = 0; rc == 0 && !*has && aliases != NULL && i < count; i++)
		rc = folds_to(list ? json_at(aliases, i) : aliases, subject, has);
	return rc;
}

static int mentioned(const struct json *record, const struct buf *subject, bool *has)
{
	struct buf folded = BUF_INIT;
	size_t len = 0;
	const char *prompt = json_string(json_get(record, "prompt"), &len);
	int rc = prompt != NULL ? text_fold(prompt, len, &folded) : 0;
	*has = rc == 0 && folded.len > 0 && memmem(folded.data, folded.len, subject->data, subject->len) != NULL;
	buf_free(&folded);
	return rc;
}

/* An edit that names no subject may still be about it: then its prompt holds it. */
int cli_edit_about(const struct buf *subject, struct msg_bytes payload, bool *has)
{
	struct json *record = NULL;
	struct err e = ERR_INIT;
	*has = false;
	int rc = json_parse((const char *)payload.bytes, payload.len, &record, &e);
	if (rc != 0)
		return rc == ERR_NOMEM ? rc : 0; /* the coordinator took none that is no record */
	rc = json_string(json_get(record, "subject"), NULL) != NULL ? named(record, subject, has)
								    : mentioned(record, subject, has);
	json_free(&record);
	return rc;
}

int cli_edit_warning(const struct record *record, struct buf *out)
{
	bool absent = false;
	int rc = editor_route_subject_absent(record, &absent);
	if (rc != 0 || !absent)
		return rc;
	buf_printf(out,
		   "subject: the prompt does not say \"%.*s\", nor an alias of it: the edit answers that prompt "
		   "whoever is "
		   "meant, and no question about the subject; put the subject into the prompt",
		   (int)record->subject.len, record->subject.text);
	return buf_failed(out) ? ERR_NOMEM : 0;
}
