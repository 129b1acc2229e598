/* recorder.h: what a run asks of its backends: where the time goes, by operation, and its matrix products, which are
 * done again by themselves in turn with it, a fifth of a second each, so that both meet the same moods of the machine.
 * Of programs linked with --wrap=model_backend_new; one thread. Times are those of bench_clock_us. */
#ifndef AMEND_BENCH_RECORDER_H
#define AMEND_BENCH_RECORDER_H

#include <stddef.h>

/* Forgets what was recorded. Backends made from the start of the program on are recorded. thread_count: of them. */
void recorder_clear(size_t thread_count);
double recorder_flops(void); /* of the products */
/* Time in the recorded products as they were done, and in all operations. */
double recorder_products_us(void);
double recorder_all_us(void);
/* What every recorded product took once more, in order, by the same backend and prepared weights and with operands of
 * the same shapes: all products of the run and no others, packed and in the precision that the run has them in. Those
 * that wait have their turn now. */
double recorder_replayed_us(void);
/* What the turns took out of the run's time so far: to be taken from it. */
double recorder_paused_us(void);
/* A line an operation: calls, time, share of `total_us`. */
void recorder_print(double total_us);

#endif
