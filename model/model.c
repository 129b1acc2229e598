#include "model/parts.h"

#include "base/fault.h"
#include "base/utf8.h"
#include "model/gguf_parse.h"
#include "model/quant.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define LAYERS_MAX     512
#define WIDTH_MAX      65536
#define VOCABULARY_MAX 1000000
#define CONTEXT_MAX    ((size_t)1 << 17)

static int shape_number(const struct model_gguf *gguf, const char *key, uint64_t min, uint64_t max, size_t *out,
			struct err *e)
{
	uint64_t value;
	if (!model_gguf_u64(gguf, key, &value))
		return err_set(e, ERR_INVALID,
			       "the file has no whole number %s: it is not a complete llama GGUF, download it again",
			       key);
	if (value < min || value > max)
		return err_set(e, ERR_UNSUPPORTED, "%s is %llu, outside %llu to %llu: this model is not supported", key,
			       (unsigned long long)value, (unsigned long long)min, (unsigned long long)max);
	*out = (size_t)value;
	return 0;
}

static int check_architecture(const struct model_gguf *gguf, struct err *e)
{
	const char *text, *known = "llama";
	size_t len;
	uint64_t experts = 0;
	if (!model_gguf_string(gguf, "general.architecture", &text, &len))
		return err_set(e, ERR_INVALID,
			       "the file names no general.architecture: choose a llama model in GGUF form");
	if (len != strlen(known) || memcmp(text, known, len) != 0)
		return err_set(e, ERR_UNSUPPORTED, "architecture \"%s\" is not supported: choose a llama model",
			       model__show(text, len).text);
	int rc = model_gguf_u64_or(gguf, "llama.expert_count", &experts, e);
	if (rc != 0)
		return rc;
	if (experts > 0)
		return err_set(e, ERR_UNSUPPORTED,
			       "a mixture of %llu experts is not supported: choose a dense llama model",
			       (unsigned long long)experts);
	return 0;
}

static int read_heads(const struct model_gguf *gguf, struct model_shape *shape, struct err *e)
{
	int rc = shape_number(gguf, "llama.attention.head_count", 1, 1024, &shape->heads, e);
	if (rc != 0)
		return rc;
	uint64_t kv_heads = shape->heads, key_size = shape->hidden / shape->heads, value_size, rotated;
	rc = model_gguf_u64_or(gguf, "llama.attention.head_count_kv", &kv_heads, e);
	if (rc == 0)
		rc = model_gguf_u64_or(gguf, "llama.attention.key_length", &key_size, e);
	value_size = rotated = key_size;
	if (rc == 0)
		rc = model_gguf_u64_or(gguf, "llama.attention.value_length", &value_size, e);
	if (rc == 0)
		rc = model_gguf_u64_or(gguf, "llama.rope.dimension_count", &rotated, e);
	if (rc != 0)
		return rc;
	if (kv_heads == 0 || kv_heads > shape->heads || shape->heads % kv_heads != 0)
		return err_set(e, ERR_INVALID, "%zu heads do not divide into %llu key heads: the file is malformed",
			       shape->heads, (unsigned long long)kv_heads);
	shape->kv_heads = (size_t)kv_heads;
	shape->head_size = key_size <= 512 ? (size_t)key_size : 0;
	if (shape->head_size == 0 || shape->head_size % 2 != 0)
		return err_set(
			e, ERR_UNSUPPORTED,
			"%zu heads of hidden size %zu are not supported: a head must have an even size up to 512",
			shape->heads, shape->hidden);
	if (value_size != shape->head_size)
		return err_set(e, ERR_UNSUPPORTED,
			       "heads whose values (%llu) and keys (%zu) differ in size are not supported",
			       (unsigned long long)value_size, shape->head_size);
	if (rotated != shape->head_size)
		return err_set(e, ERR_UNSUPPORTED, "rotating %llu of a head's %zu dimensions is not supported",
			       (unsigned long long)rotated, shape->head_size);
	return 0;
}

static int read_shape(const struct model_gguf *gguf, const struct model_tokenizer *tokenizer, struct model_shape *shape,
		      struct err *e)
{
	double eps, base = 10000;
	uint64_t window = 0;
	int rc = shape_number(gguf, "llama.block_count", 1, LAYERS_MAX, &shape->layers, e);
	if (rc == 0)
		rc = shape_number(gguf, "llama.embedding_length", 1, WIDTH_MAX, &shape->hidden, e);
	if (rc == 0)
		rc = shape_number(gguf, "llama.feed_forward_length", 1, 4 * WIDTH_MAX, &shape->ffn, e);
	if (rc == 0)
		rc = shape_number(gguf, "llama.context_length", 1, UINT32_MAX, &shape->context, e);
	if (rc == 0)
		rc = read_heads(gguf, shape, e);
	if (rc != 0)
		return rc;
	if (shape->context > CONTEXT_MAX)
		shape->context = CONTEXT_MAX;
	if (!model_gguf_f64(gguf, "llama.attention.layer_norm_rms_epsilon", &eps) || !(eps > 0) || eps > 1)
		return err_set(e, ERR_INVALID,
			       "the file has no usable llama.attention.layer_norm_rms_epsilon: download it again");
	rc = model_gguf_f64_or(gguf, "llama.rope.freq_base", &base, e);
	if (rc == 0)
		rc = model_gguf_u64_or(gguf, "llama.attention.sliding_window", &window, e);
	if (rc != 0)
		return rc;
	if (!(base >= 1) || base > 1e12)
		return err_set(e, ERR_INVALID, "llama.rope.freq_base is %g: the file is malformed", base);
	shape->window = window > CONTEXT_MAX ? 0 : (size_t)window;
	shape->rms_eps = (float)eps;
	shape->rope_base = (float)base;
	shape->vocabulary = model_tokenizer_vocabulary(tokenizer);
	if (shape->vocabulary == 0 || shape->vocabulary > VOCABULARY_MAX)
		return err_set(e, ERR_UNSUPPORTED, "a vocabulary of %zu tokens is not supported", shape->vocabulary);
	return 0;
}

static void set_name(struct model *m, const char *path)
{
	const char *text, *slash = strrchr(path, '/');
	size_t len;
	if (!model_gguf_string(m->gguf, "general.name", &text, &len) || len == 0) {
		text = slash == NULL ? path : slash + 1;
		len = strlen(text);
	}
	size_t at = 0;
	while (at < len) { /* goes to logs and terminals: whole characters, and none that steers */
		uint32_t code;
		size_t n = utf8_next(text + at, len - at, &code);
		if (at + (n > 0 ? n : 1) >= sizeof(m->name))
			break;
		bool plain = n > 0 && code >= 0x20 && code != 0x7F && !(code >= 0x80 && code < 0xA0);
		if (plain)
			memcpy(m->name + at, text + at, n);
		else
			memset(m->name + at, '?', n > 0 ? n : 1);
		at += n > 0 ? n : 1;
	}
	m->name[at] = '\0';
}

static int open_parts(struct model *m, const char *path, const struct model_options *options, struct err *e)
{
	int rc = model_gguf_open(path, &m->gguf, e);
	if (rc != 0)
		return rc; /* names the file itself */
	rc = check_architecture(m->gguf, e);
	if (rc == 0)
		rc = model_tokenizer_new(m->gguf, &m->tokenizer, e);
	if (rc == 0)
		rc = read_shape(m->gguf, m->tokenizer, &m->shape, e);
	if (rc == 0)
		rc = model__weights_load(m, options->skip_digest ? NULL : path, e);
	if (rc != 0)
		err_wrap(e, "model file %s", path);
	return rc;
}

int model_open(const char *path, const struct model_options *options, struct model **out, struct err *e)
{
	struct model *m = fault_calloc(1, sizeof(*m));
	if (m == NULL)
		return err_set(e, ERR_NOMEM, "model %s: out of memory", path);
	m->backward_from = options->backward_from;
	m->stored_too = m->stored = options->stored_too;
	m->head_stored_only = options->head_stored_only;
	int rc = model_backend_new(options->backend, options->thread_count, &m->backend, e);
	if (rc == 0) {
		/* a run's backend must read these weights: the same row with the same instructions */
		bool named = options->backend != NULL && strcmp(options->backend, "auto") != 0;
		snprintf(m->backend_name, sizeof(m->backend_name), "%s",
			 named ? options->backend : m->backend->ops->name);
		rc = open_parts(m, path, options, e);
	}
	if (rc != 0) {
		model_close(&m);
		return rc;
	}
	set_name(m, path);
	*out = m;
	return 0;
}

static void close_layer(struct model *m, struct model__layer *l)
{
	const struct model_backend_ops *ops = m->backend->ops;
	struct model__stored_layer *s = &l->stored;
	struct model_weight **weights[] = { &l->q, &l->k, &l->v, &l->o, &l->gate, &l->up, &l->down,
					    &s->q, &s->k, &s->v, &s->o, &s->gate, &s->up, &s->down };
	for (size_t i = 0; i < sizeof(weights) / sizeof(weights[0]); i++)
		ops->weight_destroy(m->backend, weights[i]);
	ops->free(m->backend, l->attn_norm);
	ops->free(m->backend, l->ffn_norm);
}

void model_close(struct model **model)
{
	if (model == NULL || *model == NULL)
		return;
	struct model *m = *model;
	for (size_t i = 0; m->layers != NULL && i < m->shape.layers; i++)
		close_layer(m, &m->layers[i]);
	if (m->backend != NULL) {
		m->backend->ops->weight_destroy(m->backend, &m->head);
		m->backend->ops->weight_destroy(m->backend, &m->stored_head);
		m->backend->ops->free(m->backend, m->output_norm);
	}
	free(m->layers);
	free(m->freq);
	model_tokenizer_destroy(&m->tokenizer);
	model_gguf_close(&m->gguf);
	model_backend_destroy(&m->backend);
	free(m);
	*model = NULL;
}

const struct model_shape *model_shape_of(const struct model *model)
{
	return &model->shape;
}

const struct model_tokenizer *model_tokenizer_of(const struct model *model)
{
	return model->tokenizer;
}

struct model_backend *model_backend_of(struct model *model)
{
	return model->backend;
}

struct model_backend *model_run_backend(struct model_run *run)
{
	return run->backend;
}

const struct hash *model_digest(const struct model *model)
{
	return &model->digest;
}

const char *model_name(const struct model *model)
{
	return model->name;
}

void model_down_proj_get(const struct model *model, size_t layer, float *out)
{
	const struct model_tensor *t = model->layers[layer].down_tensor;
	model_quant_dequantise(t->type, t->data, (size_t)t->element_count, out);
}
