/* test.h: what every unit test includes: cmocka with its prelude, temporary folders, walks over failing allocations. */
#ifndef AMEND_TESTS_TEST_H
#define AMEND_TESTS_TEST_H

#include <setjmp.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "base/buf.h"

#define TEST_PATH_BYTES 512

/* Makes a fresh folder under $TMPDIR or /tmp; the test asserts on failure. */
void test_folder_make(char out[TEST_PATH_BYTES]);
/* Removes it with all that is in it. */
void test_folder_remove(const char *folder);
/* folder/name */
void test_path(char out[TEST_PATH_BYTES], const char *folder, const char *name);
void test_file_write(const char *path, const char *text);
/* What is logged from here on goes to the file FOLDER/log, until test_log_end. */
void test_log_begin(const char *folder);
size_t test_log_count(const char *id); /* lines of it with that id */
void test_log_end(void);
/* For a loop that waits for a condition: sleeps a moment. False, without sleeping, when a minute has passed since the
 * call that found *since_ms at 0. */
bool test_wait(int64_t *since_ms);
/* Writes beyond so many bytes of a file fail from here on in this process, as on a full disk; UINT64_MAX: none does. */
void test_file_size_limit(uint64_t bytes);
/* The model that numerics are checked on: $AMEND_MODEL, else SmolLM2-135M-Instruct in ~/.cache/amend. Says what
 * to do when it is not there; opening it then fails. */
const char *test_model_path(void);
/* cmocka fixtures: a folder per test, its path in *state. */
int test_setup_folder(void **state);
int test_teardown_folder(void **state);

/* Lets the n-th allocation fail for n = 0, 1, … and calls `run` each time until it returns 0. Asserts that every
 * failure was ERR_NOMEM. Returns how many calls failed; leaks are the sanitizer's to find. */
int test_walk_allocations(int (*run)(void *context), void *context);
/* True when `run` ends its process by an assertion. */
bool test_aborts(void (*run)(void *context), void *context);

#define assert_ok(e, call)                                                                                             \
	do {                                                                                                           \
		int test_rc_ = (call);                                                                                 \
		if (test_rc_ != 0)                                                                                     \
			fail_msg("%s: %s: %s", #call, err_name(test_rc_), (e)->text);                                  \
	} while (0)

/* Of two struct buf. */
#define assert_same_bytes(a, b)                                                                                        \
	do {                                                                                                           \
		const struct buf *test_a_ = (a), *test_b_ = (b);                                                       \
		assert_int_equal(test_a_->len, test_b_->len);                                                          \
		assert_memory_equal(test_a_->data, test_b_->data, test_a_->len);                                       \
	} while (0)

#endif
