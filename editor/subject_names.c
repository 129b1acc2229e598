#include "editor/subject_names.h"

#include "base/text.h"
#include "editor/route.h"

#include <string.h>

bool editor__names_next(const struct editor__names *names, size_t *at, const char **name, size_t *len)
{
	const size_t from = *at > 0 ? *at - 1 : 0; /* in `aliases` */
	if (*at == 0) {
		*name = names->subject;
		*len = names->subject_len;
		*at = 1;
		return true;
	}
	if (from >= names->aliases_len)
		return false;
	*name = names->aliases + from;
	*len = strnlen(*name, names->aliases_len - from);
	*at += *len + 1;
	return true;
}

int editor__names_mark(const struct editor__query *query, const struct editor__names *names, uint8_t *marks)
{
	uint8_t own[EDITOR__QUERY_WORDS_MAX];
	const char *name;
	size_t len, stand = 0;
	int rc = 0;
	memset(marks, 0, query->word_count);
	for (size_t at = 0; rc == 0 && names->aliases_len > 0 && editor__names_next(names, &at, &name, &len);) {
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

int editor__names_aliases(const struct record *record, struct buf *out)
{
	int rc = 0;
	for (size_t i = 0; rc == 0 && i < record->subject_alias_count; i++) {
		rc = text_fold(record->subject_aliases[i].text, record->subject_aliases[i].len, out);
		buf_u8(out, 0);
	}
	return rc == 0 && buf_failed(out) ? ERR_NOMEM : rc;
}
