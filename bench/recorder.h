/* recorder.h: what a run asks of its backends: where the time goes, by operation, and its matrix products, to be done
 * again by themselves. Of programs linked with --wrap=model_backend_new; one thread. */
#ifndef AMEND_BENCH_RECORDER_H
#define AMEND_BENCH_RECORDER_H

#include <stddef.h>

/* Forgets what was recorded. Backends made from the start of the program on are recorded. */
void recorder_clear(void);
size_t recorder_products(void);
double recorder_flops(void); /* of the products */
/* Time in the recorded products as they were done, and in all operations. */
double recorder_products_us(void);
double recorder_all_us(void);
/* Does every recorded product once more, in order, by the same backend and prepared weights and with operands of the
 * same shapes: what the run's products take by themselves. Records nothing. */
double recorder_replay_us(void);
/* A line an operation: calls, time, share of `total_us`. */
void recorder_print(double total_us);

#endif
