/* store_fixture.h: an opened store in a temporary folder, with a clock that stands still. */
#ifndef AMEND_TESTS_STORE_FIXTURE_H
#define AMEND_TESTS_STORE_FIXTURE_H

#include "store/store.h"
#include "tests/lib/test.h"

struct fixture {
	char folder[TEST_PATH_BYTES];
	struct env_manual clock;
	struct store_options options;
	struct store *store;
	struct store_txn *txn; /* aborted by the teardown when a test left it open */
	struct err e;
};

#define OK(f, call)       assert_ok(&(f)->e, call)
#define FAILS(code, call) assert_string_equal(err_name(call), #code)

extern const uint8_t fixture_actor[STORE_KEY_BYTES];

int fixture_setup_closed(void **state); /* only the folder */
int fixture_setup(void **state);
int fixture_teardown(void **state);
void fixture_open(struct fixture *f);
void fixture_reopen(struct fixture *f);
void fixture_begin(struct fixture *f);
void fixture_begin_read(struct fixture *f);
void fixture_commit(struct fixture *f);
void fixture_abort(struct fixture *f);
/* Appends an event with that payload; gives its seq. */
uint64_t fixture_event(struct fixture *f, const char *payload);
/* Flips a bit of the byte `at` after every place where `needle` lies in FOLDER/environment/data.mdb (old copies of a
 * page stay in it). The store must be closed. Returns how many places there were. */
size_t fixture_tamper(const struct fixture *f, const char *environment, const void *needle, size_t needle_len,
		      size_t at);

#endif
