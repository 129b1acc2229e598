#include "model/parts.h"

#include "base/fault.h"

#include <stdlib.h>

int model_kv_new(const struct model *model, size_t slot_count, size_t token_max, struct model_kv **out, struct err *e)
{
	const struct model_shape *shape = &model->shape;
	size_t width = shape->kv_heads * shape->head_size, count;
	if (slot_count == 0 || token_max == 0)
		return err_set(e, ERR_INVALID, "key-value cache: %zu slots of %zu tokens: both must be at least 1",
			       slot_count, token_max);
	if (token_max > shape->context)
		return err_set(e, ERR_LIMIT,
			       "key-value cache: %zu tokens a slot, but the model's context is %zu: ask for fewer",
			       token_max, shape->context);
	if (__builtin_mul_overflow(slot_count, token_max, &count) ||
	    __builtin_mul_overflow(count, shape->layers * width, &count))
		return err_set(e, ERR_LIMIT, "key-value cache: %zu slots of %zu tokens: more than memory can address",
			       slot_count, token_max);
	struct model_kv *kv = fault_calloc(1, sizeof(*kv));
	if (kv == NULL)
		return err_set(e, ERR_NOMEM, "key-value cache: out of memory");
	*kv = (struct model_kv){ .backend = model->backend,
				 .layers = shape->layers,
				 .slot_count = slot_count,
				 .token_max = token_max,
				 .width = width };
	/* a short sequence fills the beginning of each layer's part */
	kv->keys = kv->backend->ops->alloc_sparse(kv->backend, count);
	kv->values = kv->backend->ops->alloc_sparse(kv->backend, count);
	if (kv->keys == NULL || kv->values == NULL) {
		model_kv_destroy(&kv);
		return err_set(e, ERR_NOMEM,
			       "key-value cache: no memory for %zu slots of %zu tokens (%zu MiB): lower one of them",
			       slot_count, token_max, count / 131072);
	}
	*out = kv;
	return 0;
}

void model_kv_destroy(struct model_kv **kv)
{
	if (kv == NULL || *kv == NULL)
		return;
	(*kv)->backend->ops->free((*kv)->backend, (*kv)->keys);
	(*kv)->backend->ops->free((*kv)->backend, (*kv)->values);
	free(*kv);
	*kv = NULL;
}

float *model__kv_at(const struct model_kv *kv, float *base, size_t layer, size_t slot)
{
	return base + (layer * kv->slot_count + slot) * kv->token_max * kv->width;
}
