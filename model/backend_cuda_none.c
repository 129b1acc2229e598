/* Stands in for backend_cuda.cu in builds without CUDA. */
#include "model/backend.h"

size_t model__backend_cuda_count(void)
{
	return 0;
}

int model__backend_cuda_new(size_t thread_count, struct model_backend **out, struct err *e)
{
	(void)thread_count;
	(void)out;
	return err_set(e, ERR_UNSUPPORTED,
		       "this build has no cuda backend (built without CUDA): choose --backend cpu, or build "
		       "again with make CUDA=1 on a machine with nvcc");
}
