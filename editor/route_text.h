/* route_text.h: the route of a text as it stands in a request: of the whole of it, or in a chat of a message, and of
 * the parts (segments.h) that may be what it asks. A part is routed by the keys that it has when it is asked alone: it
 * goes through the layers below the route once more by itself, so that it is known by the same thresholds behind any
 * other text and after any earlier turn. Inside editor/ only. One thread. */
#ifndef AMEND_EDITOR_ROUTE_TEXT_H
#define AMEND_EDITOR_ROUTE_TEXT_H

#include "editor/memory.h"
#include "editor/packed.h"

#define EDITOR__PART_TOKENS_MAX 128u /* longer parts are not routed by themselves */
#define EDITOR__PART_ROWS       256u /* of a packer that parts go through */

struct editor__text {
	const struct editor_memory_set *set; /* borrowed, like the three places */
	enum editor_set_kind kind;
	size_t first, count; /* of its tokens: a chat's message; count 0: all */
	struct editor_route *route;
	const struct model_side **side;
	uint64_t *memory_id;
	struct editor__tokens *part; /* set to the tokens of the part whose route it has, freed by the caller; left
					alone when that is the whole text's; NULL: not wanted */
};
struct editor__parts { /* of many texts; { 0 } to begin with */
	struct editor__tokens *tokens;
	struct part_of {
		struct editor__text text;
		size_t looks; /* how many parts of its text are routed */
		size_t asked; /* asked_bytes of a part that is the text as a whole; else 0 */
		size_t owner; /* for whoever routes the parts itself */
	} * of;               /* a part */
	size_t count, cap;
};

/* Routes the whole of a text from `prompt`, the states of all its tokens, and adds its parts. A message of a chat that
 * is short enough is itself a part, and not routed from states that tell of earlier turns. Families that route by gap
 * have no parts. ERR_NOMEM and what routes return. */
int editor__text_route(struct editor__parts *parts, const struct model *model, const struct editor__text *text,
		       const struct editor_prompt *prompt, struct err *e) MUST_CHECK;
/* What editor__text_route looks at, for whoever keeps it and routes later: adds the parts of the message of `count`
 * tokens from `first` on (count 0: all) and sets *own to what is routed of the whole, borrowed from `prompt`; *whole:
 * false when that is the first part added. The parts' `text` says nothing else, their owner is `owner`. */
int editor__text_parts(struct editor__parts *parts, const struct model *model, size_t first, size_t count, size_t owner,
		       const struct editor_prompt *prompt, struct editor_prompt *own, bool *whole,
		       struct err *e) MUST_CHECK;
/* Of several routed parts the nearest one counts, of none the longest: it comes first. `held`: zeroed at first. */
bool editor__route_better(const struct editor_route *route, const struct editor_route *held);
/* Routes the parts, all at these layers: the part that is nearest to an edit of those that are routed has the text's
 * route. */
int editor__parts_route(const struct editor__parts *parts, struct editor__packer *packer, const struct model *model,
			struct editor_key_layers layers, const struct editor_watch *watch, struct err *e) MUST_CHECK;
void editor__parts_free(struct editor__parts *parts);

#endif
