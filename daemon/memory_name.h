/* memory_name.h: what a memory is called in answers, headers and tables. */
#ifndef AMEND_DAEMON_MEMORY_NAME_H
#define AMEND_DAEMON_MEMORY_NAME_H

#include <stddef.h>
#include <stdint.h>

#define MEMORY_NAME_BYTES 32

/* "memory:3", or "merged:1": ids of merged memories are numbered from 2^32 on; 0 is "main". */
void memory_name(uint64_t id, char out[MEMORY_NAME_BYTES]);

#endif
