/* record.h: the edit record (interfaces.md, "Edit record"): one JSON object a line.
 * Used by whoever reads facts: CLI, coordinator (schema), worker and evaluator (fields). Pure; not thread-safe per
 * object. */
#ifndef AMEND_BASE_RECORD_H
#define AMEND_BASE_RECORD_H

#include "base/hash.h"
#include "base/json.h"

#define RECORD_BYTES_MAX        (32 * 1024) /* one record on the wire */
#define RECORD_PROMPT_BYTES_MAX (8 * 1024)
#define RECORD_TARGET_BYTES_MAX (8 * 1024)
#define RECORD_ID_BYTES_MAX     128
#define RECORD_LIST_MAX         64 /* rephrases, aliases (either kind), locality items, portability items */

struct record_text {
	const char *text; /* NUL-terminated too */
	size_t len;
};

struct record_probe {                      /* a locality or portability item */
	struct record_text prompt, target; /* target.text NULL when absent */
	struct record_text kind;           /* locality: "unrelated" (default), "same_subject", "neighborhood" */
	struct record_text *aliases;       /* other forms of the target; owned by the record */
	size_t alias_count;
};

struct record {
	struct json *document; /* owns every text below */
	struct record_text id; /* explicit id, or the hex of the hash of the canonical record */
	bool id_explicit;
	struct hash content;                            /* SHA-256 of the canonical record without `id` */
	struct record_text prompt, target_new, subject; /* subject.text NULL when absent */
	struct record_text loc_prompt, group;           /* NULL when absent */
	int64_t valid_from_ms, expires_ms;              /* wall clock; 0: not given */
	struct record_text *rephrases, *aliases;        /* arrays owned by the record; aliases: of target_new */
	size_t rephrase_count, alias_count;
	struct record_text *subject_aliases; /* other names of the subject, which is given too */
	size_t subject_alias_count;
	struct record_probe *locality, *portability;
	size_t locality_count, portability_count;
	char id_storage[HASH_HEX_BYTES];
};

/* Checks the schema, sizes and text rules. ERR_INVALID with "field: reason". Takes nothing on error. */
int record_parse(const char *json_text, size_t len, struct record **out, struct err *e) MUST_CHECK;
/* The same for what is submitted, of which more is asked than of what a ledger holds: each alias of the subject has a
 * content word (wording.h). */
int record_parse_new(const char *json_text, size_t len, struct record **out, struct err *e) MUST_CHECK;
void record_destroy(struct record **record);
/* The folded subject that placement and conflicts go by; the prompt key when there is no subject. Appended to `out`. */
int record_subject_key(const struct record *record, struct buf *out) MUST_CHECK;
/* The folded prompt without the marks that end it ("Who won?" and "who won" are one): edits that ask the same are found
 * under it when only one of them names its subject. Appended. */
int record_prompt_key(const struct record *record, struct buf *out) MUST_CHECK;
/* Two edits conflict: another folded target, and the same prompt key, or the same subject (its key, or the one's key is
 * an alias of the other's) with prompts that are worded alike (wording.h), an alias counting as the subject's words;
 * where only one has a subject, the other's prompt says it and nothing more. */
int record_conflicts(const struct record *a, const struct record *b, bool *conflicts) MUST_CHECK;
/* Whether both name a subject, and the same one: by its key, or because the one's is an alias of the other's. */
int record_same_subject(const struct record *a, const struct record *b, bool *same) MUST_CHECK;
/* The very same prompt key and another folded target: a conflict that no policy can let stand, as one prompt has one
 * answer. */
int record_clashes(const struct record *a, const struct record *b, bool *clashes) MUST_CHECK;

#endif
