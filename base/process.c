/* process.c: see process.h. */
#include "base/process.h"

#include <stdio.h>
#include <unistd.h>

uint64_t process_resident_bytes(void)
{
	unsigned long long pages = 0;
	FILE *f = fopen("/proc/self/statm", "re");
	if (f == NULL)
		return 0;
	int fields = fscanf(f, "%*u %llu", &pages);
	fclose(f);
	return fields == 1 ? (uint64_t)pages * (uint64_t)sysconf(_SC_PAGESIZE) : 0;
}
