/* cli_pull.h: a published version brought to this process: its manifest, and the memory set for measuring it. Chunks
 * are verified and kept in a temporary store that goes with the manifest: commands may run at once, and a store has one
 * owner. */
#ifndef AMEND_DAEMON_CLI_PULL_H
#define AMEND_DAEMON_CLI_PULL_H

#include "daemon/cli.h"
#include "editor/memory.h"
#include "proto/codec.h"

struct store;

struct cli_manifest {
	struct proto_manifest manifest; /* in the arena */
	struct hash content;
	struct arena *arena;
	struct store *blobs;
	char folder[4096]; /* of the store, removed by free */
};
int cli_version_parse(const char *text, uint64_t *version, struct err *e) MUST_CHECK; /* "v7", "7", "latest" (0) */
/* version 0: the newest. ERR_NOT_FOUND. */
int cli_manifest_pull(struct cli *cli, uint64_t version, struct cli_manifest *out, struct err *e) MUST_CHECK;
void cli_manifest_free(struct cli_manifest *manifest);
/* Every blob that the manifest names, then the set. The manifest may be freed afterwards. */
int cli_set_pull(struct cli *cli, struct cli_manifest *manifest, const struct hash *base_model,
		 const struct model_shape *shape, struct editor_memory_set **out, struct err *e) MUST_CHECK;

#endif
