/* cli_fixture.h: command lines run in this process, against a real coordinator over the in-memory network: whenever a
 * command waits, the coordinator runs and the clock moves. What they print is caught. */
#ifndef AMEND_TESTS_CLI_FIXTURE_H
#define AMEND_TESTS_CLI_FIXTURE_H

#include "daemon/cli.h"
#include "tests/lib/coordinator_fixture.h"

#define CLI_WORDS_MAX 32

struct cli_world {
	struct cluster *cluster; /* NULL: commands that need none */
	char folder[TEST_PATH_BYTES];
	struct cli cli; /* of the last run; what a test sets before a run is kept: terminals, colours */
	struct buf out, err;
	const char *out_path; /* standard output goes there instead of `out`; NULL: it is caught */
	/* the way to the coordinator */
	struct proto_transport transport, *inner;
	bool deaf;               /* nothing is delivered; the clock moves on */
	int deaf_receives;       /* > 0: so many empty ones, then it hears again */
	int sends_to_interrupt;  /* > 0: the n-th send from now is followed by SIGINT */
	int pauses_to_interrupt; /* the same for pauses */
	int pauses;
	void (*on_pause)(struct cli_world *w); /* what happens while the command waits */
	int saved_out, saved_err;
};

int cli_setup_plain(void **state);   /* a folder, no cluster */
int cli_setup_cluster(void **state); /* a coordinator that runs, connected by a key that may do everything */
int cli_teardown(void **state);
void cli_world_key(struct cli_world *w, uint8_t key_byte); /* connects by another of the fixture's keys */

/* Runs `amend --data FOLDER words…`, the last word being NULL. Gives the exit code. */
int cli_do(struct cli_world *w, const char *const *words);
#define DO(w, ...) cli_do(w, (const char *const[]){ __VA_ARGS__, NULL })

const char *cli_out(struct cli_world *w);
const char *cli_err(struct cli_world *w);
/* Asserts the exit code, and shows what was printed when it is another. */
void cli_expect(struct cli_world *w, int got, int status);
#define EXPECT(w, status, ...) cli_expect(w, DO(w, __VA_ARGS__), status)
void cli_expect_out(struct cli_world *w, const char *text); /* holds it */
void cli_expect_err(struct cli_world *w, const char *text);
struct json *cli_json(struct cli_world *w); /* standard output as JSON; free it */

/* A worker and a node join; the worker trains every open group, a version is published, the node serves it. */
void cli_fleet_join(struct cli_world *w);
void cli_fleet_work(struct cli_world *w, uint64_t version);

#endif
