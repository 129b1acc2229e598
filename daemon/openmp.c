#include "daemon/openmp.h"

#include <stdlib.h>
#include <unistd.h>

/* libgomp's own variables, which it takes from nowhere else (docs/decisions.md). */
void openmp_spinning_bound(char **argv)
{
	if (getenv("OMP_WAIT_POLICY") != NULL || getenv("GOMP_SPINCOUNT") != NULL)
		return;
	if (setenv("GOMP_SPINCOUNT", "1000", 1) == 0)
		execv("/proc/self/exe", argv); /* on failure the program simply spins longer */
}
