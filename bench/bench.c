#include "bench/bench.h"

#include <stdio.h>
#include <stdlib.h>
#include <time.h>

double bench_now_us(void)
{
	struct timespec t;
	clock_gettime(CLOCK_MONOTONIC, &t);
	return 1e6 * (double)t.tv_sec + 1e-3 * (double)t.tv_nsec;
}

void bench_need(int rc, const struct err *e)
{
	if (rc == 0)
		return;
	fprintf(stderr, "bench: %s\n", e->text);
	exit(1);
}

void *bench_memory(size_t items, size_t bytes)
{
	void *p = calloc(items, bytes);
	if (p == NULL) {
		fprintf(stderr, "bench: out of memory\n");
		exit(1);
	}
	return p;
}

void bench_ids(int32_t *ids, size_t count)
{
	for (size_t i = 0; i < count; i++)
		ids[i] = (int32_t)(1000 + i * 7919 % 40000);
}

const char *bench_model_path(void)
{
	static char path[512];
	const char *given = getenv("AMEND_MODEL"), *home = getenv("HOME");
	if (given != NULL && given[0] != '\0')
		snprintf(path, sizeof(path), "%s", given);
	else
		snprintf(path, sizeof(path), "%s/.cache/amend/SmolLM2-135M-Instruct.Q4_1.gguf",
			 home == NULL ? "" : home);
	return path;
}
