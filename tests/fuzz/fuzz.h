/* fuzz.h: what a fuzz target is. tests/fuzz/fuzz_FLOOR_NAME.c holds the two functions below and, in its first comment,
 * a line "Limits: -max_len=… -malloc_limit_mb=… -rss_limit_mb=…" for libFuzzer: one allocation, and all memory, that a
 * parser may take for an input of that length. A target is linked twice: with libFuzzer (make fuzz), and with driver.c
 * as a unit test that runs its seeds and the files of tests/fuzz/regressions/FLOOR_NAME. A wrong result is an abort.
 * Not thread-safe. */
#ifndef AMEND_TESTS_FUZZ_H
#define AMEND_TESTS_FUZZ_H

#include "base/buf.h"

/* libFuzzer's entry. Returns 0. */
int LLVMFuzzerTestOneInput(const uint8_t *data, size_t len);
/* Calls `add` for inputs that fuzzing begins with, made by the product's own writers where it has them. */
void fuzz_seeds(void (*add)(const void *bytes, size_t len));

/* For targets: aborts with a text unless `ok`. */
void fuzz_check(bool ok, const char *what);
/* The path of a file (in memory, mode 0600) that holds these bytes; valid until the next call. */
const char *fuzz_file(const void *bytes, size_t len);
/* Adds `choice` and these bytes as one seed: for targets whose first byte chooses. */
void fuzz_add(void (*add)(const void *bytes, size_t len), uint8_t choice, const void *bytes, size_t len);
/* A copy that ends with a NUL; free it. */
char *fuzz_text(const void *bytes, size_t len);
/* The next part of *data up to (not with) the byte `end`, or all that is left; it is taken off. */
const uint8_t *fuzz_part(const uint8_t **data, size_t *len, uint8_t end, size_t *part_len);

#endif
