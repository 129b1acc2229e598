/* process.h: what the system says of this process, and what it may show of it. Any thread. */
#ifndef AMEND_BASE_PROCESS_H
#define AMEND_BASE_PROCESS_H

#include "base/err.h"

#include <stdint.h>

uint64_t process_resident_bytes(void); /* memory that is there now; 0 where /proc does not say */
/* For programs that hold secrets, first of all: no core file, and other processes of the same user can neither trace
 * this one nor read its memory or environment (all but root's). Not inherited by a program that it runs, but for the
 * core's limit. Under a sanitizer, which traces its own process, only the former. */
void process_keep_secrets(void);
/* May open `most` files, or what the system lets it, where a shell's limit is lower. ERR_LIMIT: not even `least`;
 * ERR_IO: the limit cannot be read. */
int process_open_files(uint64_t least, uint64_t most, struct err *e) MUST_CHECK;
/* A mapped file that was cut or cannot be read ends the process by SIGBUS, as without this; but stderr says first which
 * file, and what to do. At the start, before other threads. */
void process_name_bus_errors(void);

#endif
