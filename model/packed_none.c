/* packed_none.c: stands in for packed_dnnl.c in builds without oneDNN. */
#include "model/packed.h"

bool model__packed_ready(void)
{
	return false;
}

int model__packed_new(struct model__packed *packed, struct model__pages *pages, const float *w, size_t depth,
		      size_t width)
{
	(void)pages;
	(void)w;
	*packed = (struct model__packed){ .depth = depth, .width = width };
	return ERR_UNSUPPORTED;
}

int model__products_new(struct model__products **out)
{
	*out = NULL;
	return ERR_UNSUPPORTED;
}

void model__products_free(struct model__products **products)
{
	(void)products;
}

int model__packed_product(struct model__products *products, float *y, const float *x,
			  const struct model__packed *packed, bool accumulate, size_t rows, size_t thread_count)
{
	(void)products;
	(void)y;
	(void)x;
	(void)packed;
	(void)accumulate;
	(void)rows;
	(void)thread_count;
	return ERR_UNSUPPORTED;
}
