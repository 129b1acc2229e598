/* bench.h: what the programs of this folder share. */
#ifndef AMEND_BENCH_BENCH_H
#define AMEND_BENCH_BENCH_H

#include "base/err.h"

#include <stddef.h>
#include <stdint.h>

double bench_now_us(void);
/* Prints the error and ends the program unless rc is 0. */
void bench_need(int rc, const struct err *e);
/* Zeros; free(). Ends the program when there are none. */
void *bench_memory(size_t items, size_t bytes);
/* Token ids of no text. */
void bench_ids(int32_t *ids, size_t count);
/* AMEND_MODEL, default ~/.cache/amend/…; valid until the next call. */
const char *bench_model_path(void);

#endif
