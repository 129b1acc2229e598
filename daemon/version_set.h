/* version_set.h: from a version's manifest and blobs (already in the local store) to the memory set that serves it.
 * Used by the node's sync and by commands that evaluate a published version. */
#ifndef AMEND_DAEMON_VERSION_SET_H
#define AMEND_DAEMON_VERSION_SET_H

#include "editor/memory.h"
#include "model/model.h"
#include "proto/codec.h"
#include "store/store.h"

/* Reads and checks a manifest: content hash, base model (NULL: any; ERR_MISMATCH names both digests), shapes. Arrays
 * live in `arena`. */
int version_manifest_read(struct store *blobs, const struct hash *root, const struct hash *content,
			  const struct hash *base_model, struct arena *arena, struct proto_manifest *out,
			  struct err *e) MUST_CHECK;
/* Builds the set; every blob must be in the store. Takes tens of milliseconds a memory: call it off the loop thread. */
int version_set_build(struct store *blobs, const struct proto_manifest *manifest, const struct model_shape *shape,
		      struct editor_memory_set **out, struct err *e) MUST_CHECK;

/* Where versions route, one version after the other, without their deltas: what did not change since the last is not
 * read again. Not of family `paper`, whose routes are measured with the deltas. One thread; { 0 } to begin with. */
struct version_routes {
	struct editor_memory_set *set; /* of the last version; NULL: there is none */
	struct hash head;              /* of what all its memories depend on */
	struct buf stamps;             /* struct hash a memory: what it and its live edits are */
};
/* Makes it that of `manifest`, whose indexes must be in the store. After an error it is as at the beginning. */
int version_routes_renew(struct version_routes *routes, struct store *blobs, const struct proto_manifest *manifest,
			 const struct model_shape *shape, struct err *e) MUST_CHECK;
/* Reads the delta of one of its memories (`manifest`: as given last), or takes it away again. */
int version_routes_delta_read(struct version_routes *routes, struct store *blobs, const struct proto_manifest *manifest,
			      const struct model_shape *shape, uint64_t memory_id, struct err *e) MUST_CHECK;
void version_routes_delta_drop(struct version_routes *routes, const struct model_shape *shape, uint64_t memory_id);
void version_routes_fini(struct version_routes *routes);

#endif
