/* route_kept.h: texts whose routes are asked of one memory set after the other: what a route is decided from is
 * computed once by the model and kept (about 8 × hidden bytes a token), so that each further route takes no product
 * with the model's weights. The routes are those of a decoder's requests (decode.h). Family `amend` only: the paper's
 * gaps need each memory's own products. One thread. */
#ifndef AMEND_EDITOR_ROUTE_KEPT_H
#define AMEND_EDITOR_ROUTE_KEPT_H

#include "editor/memory.h"

struct editor_kept;

struct editor_kept_text { /* as editor_request has them */
	const int32_t *ids;
	size_t id_count;                 /* ≥ 1 */
	size_t route_first, route_count; /* route_count 0: all */
};

/* Keys are taken at these layers, of which there must be some. ERR_INVALID: none, or of family `paper`; ERR_NOMEM. */
int editor_kept_new(struct model *model, struct editor_key_layers layers, struct editor_kept **out,
		    struct err *e) MUST_CHECK; /* model borrowed */
void editor_kept_destroy(struct editor_kept **kept);
struct editor_key_layers editor_kept_layers(const struct editor_kept *kept);
size_t editor_kept_count(const struct editor_kept *kept); /* of texts */
/* Runs the texts through the layers below the route and adds them behind those that are there: all or none. Blocks.
 * ERR_NOMEM, ERR_INTERRUPTED by `watch`. */
int editor_kept_add(struct editor_kept *kept, const struct editor_kept_text *texts, size_t text_count,
		    const struct editor_watch *watch, struct err *e) MUST_CHECK;
/* The route of text `at` in a set whose keys are of the same layers: as editor_memory_set_route. Touches neither the
 * model's weights nor its backend. */
int editor_kept_route(const struct editor_kept *kept, size_t at, const struct editor_memory_set *set,
		      enum editor_set_kind kind, struct editor_route *route, const struct model_side **side,
		      uint64_t *memory_id, struct err *e) MUST_CHECK;

#endif
