#include "model/backend.h"

#include <sched.h>
#include <stdio.h>
#include <string.h>

#define THREADS_MAX 1024

static size_t threads_of_mask(void)
{
	cpu_set_t set;
	CPU_ZERO(&set);
	if (sched_getaffinity(0, sizeof(set), &set) != 0)
		return 1; /* more than CPU_SETSIZE processors: the caller should say how many it wants */
	int count = CPU_COUNT(&set);
	return count < 1 ? 1 : (size_t)count;
}

int model_backend_new(const char *name, size_t thread_count, struct model_backend **out, struct err *e)
{
	if (thread_count > THREADS_MAX)
		return err_set(e, ERR_LIMIT, "%zu threads asked for, at most %d are supported: lower the thread count",
			       thread_count, THREADS_MAX);
	if (thread_count == 0)
		thread_count = threads_of_mask();
	if (name == NULL || strcmp(name, "auto") == 0)
		name = model__backend_cuda_count() > 0 ? "cuda" : "cpu";
	if (strcmp(name, "cpu") == 0)
		return model__backend_cpu_new(NULL, thread_count, out, e);
	if (strncmp(name, "cpu:", 4) == 0)
		return model__backend_cpu_new(name + 4, thread_count, out, e);
	if (strcmp(name, "reference") == 0)
		return model__backend_reference_new(thread_count, out, e);
	if (strcmp(name, "cuda") == 0)
		return model__backend_cuda_new(thread_count, out, e);
	return err_set(e, ERR_UNSUPPORTED, "no backend is called \"%.64s\": choose one of auto, reference, cpu, cuda",
		       name);
}

void model_backend_destroy(struct model_backend **backend)
{
	if (backend == NULL || *backend == NULL)
		return;
	(*backend)->ops->destroy(*backend);
	*backend = NULL;
}

const char *model_backend_list(void)
{
	if (model__backend_cuda_count() > 0)
		return "reference cpu cuda";
#if AMEND_CUDA
	return "reference cpu cuda(no device)";
#else
	return "reference cpu cuda(not built)";
#endif
}
