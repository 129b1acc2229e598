#include "editor/subject_names.h"

#include "editor/route.h"

#include <string.h>

int editor__names_mark(const struct editor__query *query, const struct names *names, uint8_t *marks)
{
	uint8_t own[EDITOR__QUERY_WORDS_MAX];
	const char *name;
	size_t len, stand = 0;
	int rc = 0;
	memset(marks, 0, query->word_count);
	for (size_t at = 0; rc == 0 && names->aliases_len > 0 && names_next(names, &at, &name, &len);) {
		float share = 0;
		rc = editor__query_share(query, name, len, &share);
		if (rc != 0 || share < EDITOR_SUBJECT_SHARE)
			continue;
		rc = editor__query_mark(query, name, len, own);
		for (size_t i = 0; rc == 0 && i < query->word_count; i++)
			marks[i] |= own[i];
		stand++;
	}
	return rc == 0 && stand == 0 ? editor__query_mark(query, names->subject, names->subject_len, marks) : rc;
}

int editor__names_stand(const struct names *names, const char *text, size_t len, bool *stand)
{
	const char *name;
	size_t name_len;
	int rc = 0;
	*stand = false;
	for (size_t at = 0; rc == 0 && !*stand && names_next(names, &at, &name, &name_len);)
		rc = editor_route_subject_in(name, name_len, text, len, stand);
	return rc;
}

int editor_route_subject_absent(const struct record *record, bool *absent)
{
	struct buf subject = BUF_INIT, aliases = BUF_INIT;
	bool stand = false;
	int rc = record->subject.text != NULL ? record_subject_key(record, &subject) : 0;
	if (rc == 0)
		rc = names_fold_aliases(record, &aliases);
	const struct names names = { buf_cstr(&subject), subject.len, (const char *)aliases.data, aliases.len };
	if (rc == 0 && record->subject.text != NULL)
		rc = editor__names_stand(&names, record->prompt.text, record->prompt.len, &stand);
	*absent = rc == 0 && record->subject.text != NULL && !stand;
	buf_free(&subject);
	buf_free(&aliases);
	return rc;
}
