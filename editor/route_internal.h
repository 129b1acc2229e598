/* route_internal.h: what router.c (the edits of a version) and route.c (which of them a text asks for) share. */
#ifndef AMEND_EDITOR_ROUTE_INTERNAL_H
#define AMEND_EDITOR_ROUTE_INTERNAL_H

#include "editor/contrasts.h"
#include "editor/key_index.h"
#include "editor/subject_names.h"
#include "editor/words.h"

struct editor__entry {
	uint64_t seq;
	size_t memory;
	size_t subject, subject_len;   /* where it stands in `bytes` */
	size_t aliases, aliases_len;   /* the same; of the subject, each ended by a NUL */
	size_t words, words_len;       /* the same; without common ones */
	size_t needed, needed_len;     /* the same; numbers that a text must say that asks for it, one space between */
	struct editor__contrasts says; /* in all of its words; of what stands for a subject, too */
	bool subject_given, subject_names;
	bool form; /* keys of its prompt by another name; all else is shared with the entry before it */
	size_t target_ids, target_count, anchors, anchor_count; /* the same; bytes of anchor.h */
};

struct editor_router {
	const struct editor_calibration *calibration;
	size_t ffn, dims; /* of relation keys */
	struct editor__entry *entries;
	struct editor__key_index *keys; /* of entry_count prompt keys, hidden floats, unit length */
	float *relations;               /* entry_count × dims, unit length */
	size_t entry_count, entry_cap, form_count;
	struct buf bytes; /* subjects, their aliases, words, target tokens, anchor rows */
};

/* Borrowed from the calibration. */
static inline struct editor__common_words editor__router_common(const struct editor_router *router)
{
	return (struct editor__common_words){ router->calibration->relation.common,
					      router->calibration->relation.common_count };
}

static inline struct names editor__router_names(const struct editor_router *router, const struct editor__entry *entry)
{
	const char *bytes = (const char *)router->bytes.data;
	return (struct names){ bytes + entry->subject, entry->subject_len, bytes + entry->aliases, entry->aliases_len };
}

static inline struct editor__saying editor__router_saying(const struct editor_router *router,
							  const struct editor__entry *entry)
{
	return (struct editor__saying){ &entry->says, (const char *)router->bytes.data + entry->words,
					entry->words_len };
}

#endif
