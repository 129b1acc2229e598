/* check.c: the history checker: reads histories, the ledger of a stopped coordinator and what nodes answered, prints
 * what is broken with the line that shows it, and exits 1 then; 2 when it could not look, or there was nothing to look
 * at: a history without a line, unless --empty allows it, or answers without one.
 *   check FOLDER [--only] [--rest] [--empty] [--answers FILE] HISTORY...
 *   check --cache FOLDER    of a stopped worker or node: that every chunk there has the hash that names it */
#include "tests/torture/verify.h"

#include "base/env.h"

#include <inttypes.h>
#include <stdio.h>
#include <string.h>

static int arguments(int argc, char **argv, struct verify_options *options, struct history *history, struct err *e)
{
	bool empty = false;
	int rc = 0;
	for (int i = 2; rc == 0 && i < argc; i++) {
		if (strcmp(argv[i], "--only") == 0)
			options->only = true;
		else if (strcmp(argv[i], "--rest") == 0)
			options->rest = true;
		else if (strcmp(argv[i], "--empty") == 0)
			empty = true;
		else if (strcmp(argv[i], "--answers") == 0 && i + 1 < argc)
			options->answers = argv[++i];
		else
			rc = history_read(argv[i], history, e);
	}
	if (rc == 0 && !empty && history_count(history) == 0)
		return err_set(e, ERR_INVALID, "the history is empty: it proves nothing (--empty allows it)");
	return rc;
}

/* I5: what a node or worker stores may be loaded, and so served. */
static int cache_check(const char *folder)
{
	struct store_options options = { .env = env_system(), .blobs_only = true, .inspect = true };
	struct store_chunks_tally tally = { .bad_count = 0 };
	struct store *store = NULL;
	struct err e = ERR_INIT;
	int rc = store_open(folder, &options, &store, &e);
	if (rc == 0)
		rc = store_chunks_verify(store, &tally, &e);
	store_close(&store);
	if (rc == ERR_CORRUPT)
		printf("I5: %s: %s\n", folder, e.text);
	else if (rc != 0)
		fprintf(stderr, "check: %s\n", e.text);
	printf("# %" PRIu64 " chunks, %" PRIu64 " broken\n", tally.chunk_count, tally.bad_count);
	return rc == 0 ? 0 : rc == ERR_CORRUPT ? 1 : 2;
}

int main(int argc, char **argv)
{
	struct verify_options options = { .until_ns = UINT64_MAX };
	struct store_options inspect = { .env = env_system(), .inspect = true };
	struct history history = { BUF_INIT };
	struct verify_tally tally = { .findings = 0 };
	struct store *store = NULL;
	struct buf out = BUF_INIT;
	struct err e = ERR_INIT;
	if (argc == 3 && strcmp(argv[1], "--cache") == 0)
		return cache_check(argv[2]);
	if (argc < 2) {
		fprintf(stderr, "usage: check FOLDER [--only] [--rest] [--empty] [--answers FILE] HISTORY...\n");
		return 2;
	}
	int rc = arguments(argc, argv, &options, &history, &e);
	if (rc == 0)
		rc = store_open(argv[1], &inspect, &store, &e);
	if (rc == 0)
		rc = verify_store(store, &history, &options, &out, &tally, &e);
	if (rc == 0 && options.answers != NULL && tally.answers == 0 && tally.findings == 0)
		rc = err_set(&e, ERR_INVALID, "%s: no node's answer is there", options.answers);
	store_close(&store);
	printf("%s", buf_cstr(&out));
	if (rc == ERR_CORRUPT)
		printf("I3: %s\n", e.text);
	else if (rc != 0)
		fprintf(stderr, "check: %s\n", e.text);
	else
		printf("# %" PRIu64 " acknowledgements, %" PRIu64 " edits, %" PRIu64 " events, %" PRIu64
		       " versions, %" PRIu64 " commits, %" PRIu64 " answers: %" PRIu64 " broken\n",
		       tally.acks, tally.edits, tally.events, tally.versions, tally.commits, tally.answers,
		       tally.findings);
	buf_free(&out);
	history_free(&history);
	return rc != 0 && rc != ERR_CORRUPT ? 2 : rc != 0 || tally.findings > 0;
}
