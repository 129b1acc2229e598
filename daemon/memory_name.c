/* memory_name.c: see memory_name.h. */
#include "daemon/memory_name.h"

#include <inttypes.h>
#include <stdio.h>

void memory_name(uint64_t id, char out[MEMORY_NAME_BYTES])
{
	if (id == 0)
		snprintf(out, MEMORY_NAME_BYTES, "main");
	else if (id >> 32 != 0)
		snprintf(out, MEMORY_NAME_BYTES, "merged:%" PRIu64, id & UINT32_MAX);
	else
		snprintf(out, MEMORY_NAME_BYTES, "memory:%" PRIu64, id);
}
