/* weights.c: the weights of a model: found and checked one after the other, then filled by all threads at once. */
#include "model/parts.h"

#include "base/fault.h"
#include "base/team.h"
#include "model/gguf_parse.h"
#include "model/quant.h"

#include <math.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define LAYER_MATRICES ((size_t)7)

/* ---- What the file holds */

/* A tensor that must have these dims (cols 0: a vector of `rows`). */
static int find_tensor(const struct model_gguf *gguf, const char *name, size_t rows, size_t cols,
		       const struct model_tensor **out, struct err *e)
{
	const struct model_tensor *t = model_gguf_tensor(gguf, name);
	size_t elements, bytes;
	if (t == NULL)
		return err_set(e, ERR_INVALID, "tensor %s is missing: the file is not a complete llama model", name);
	bool fits = cols == 0 ? t->dims[0] == rows && t->element_count == rows
			      : t->dims[0] == cols && t->dims[1] == rows && t->element_count == (uint64_t)rows * cols;
	if (!fits)
		return err_set(
			e, ERR_INVALID,
			"tensor %s is %llu × %llu, but the file's sizes ask for %zu × %zu: the file is malformed", name,
			(unsigned long long)t->dims[0], (unsigned long long)(t->dim_count > 1 ? t->dims[1] : 1),
			cols == 0 ? rows : cols, cols == 0 ? (size_t)1 : rows);
	if (!model_quant_block(t->type, &elements, &bytes) || t->dims[0] % elements != 0)
		return err_set(e, ERR_UNSUPPORTED, "tensor %s has element type %d, which is not supported", name,
			       (int)t->type);
	*out = t;
	return 0;
}

/* De-quantises in one piece of plain memory and hands it on. */
static float *dequantised(const struct model_tensor *t)
{
	float *values = fault_malloc((size_t)t->element_count * sizeof(*values));
	if (values != NULL)
		model_quant_dequantise(t->type, t->data, (size_t)t->element_count, values);
	return values;
}

static bool name_has(const struct model_tensor *t, const char *part)
{
	return memmem(t->name, t->name_len, part, strlen(part)) != NULL;
}

/* What a llama file may hold besides its layers; anything else (a bias, a norm of queries) would change the result. */
static int check_no_other_tensors(const struct model *m, struct err *e)
{
	size_t expected = 2 + 9 * m->shape.layers + (m->shape.tied_head ? 0 : 1);
	expected += model_gguf_tensor(m->gguf, "rope_freqs.weight") != NULL ? 1 : 0;
	if (model_gguf_tensor_count(m->gguf) == expected)
		return 0;
	for (size_t i = 0; i < model_gguf_tensor_count(m->gguf); i++) {
		const struct model_tensor *t = model_gguf_tensor_at(m->gguf, i);
		if (name_has(t, "bias") || name_has(t, "q_norm") || name_has(t, "k_norm"))
			return err_set(e, ERR_UNSUPPORTED,
				       "tensor %s is not supported: choose a llama model without biases",
				       model__show(t->name, t->name_len).text);
	}
	return err_set(e, ERR_UNSUPPORTED,
		       "the file holds %zu tensors, a llama model of %zu layers has %zu: it is another kind of model",
		       model_gguf_tensor_count(m->gguf), m->shape.layers, expected);
}

/* θ_j = base^(−2j/d) (Su et al. 2021, section 3.2.2), divided by the file's scaling. */
static int make_frequencies(struct model *m, struct err *e)
{
	size_t half = m->shape.head_size / 2, len;
	const char *type = "none";
	double factor = 1;
	const struct model_tensor *factors = NULL;
	len = strlen(type);
	int rc = model_gguf_string_or(m->gguf, "llama.rope.scaling.type", &type, &len, e);
	if (rc != 0)
		return rc;
	if (len != 4 || memcmp(type, "none", 4) != 0) {
		if (len != 6 || memcmp(type, "linear", 6) != 0)
			return err_set(
				e, ERR_UNSUPPORTED,
				"rotation scaling \"%s\" is not supported: choose a model with linear or no scaling",
				model__show(type, len).text);
		if (!model_gguf_f64(m->gguf, "llama.rope.scaling.factor", &factor) || !(factor > 0))
			return err_set(e, ERR_INVALID,
				       "the file asks for linear rotation scaling without a usable factor");
	}
	if (model_gguf_tensor(m->gguf, "rope_freqs.weight") != NULL)
		rc = find_tensor(m->gguf, "rope_freqs.weight", half, 0, &factors, e);
	if (rc != 0)
		return rc;
	float *own = factors == NULL ? NULL : dequantised(factors);
	m->freq = fault_malloc(half * sizeof(float));
	if (m->freq == NULL || (factors != NULL && own == NULL)) {
		free(own);
		return err_set(e, ERR_NOMEM, "rotation frequencies: out of memory");
	}
	for (size_t j = 0; j < half; j++) {
		double theta = pow((double)m->shape.rope_base, -2.0 * (double)j / (double)m->shape.head_size) / factor;
		m->freq[j] = (float)(own == NULL ? theta : theta / (double)own[j]);
	}
	free(own);
	return 0;
}

/* ---- Vectors */

static int load_vector(struct model *m, const char *name, size_t size, float **out, struct err *e)
{
	const struct model_tensor *t;
	int rc = find_tensor(m->gguf, name, size, 0, &t, e);
	if (rc != 0)
		return rc;
	float *values = dequantised(t);
	*out = m->backend->ops->alloc(m->backend, size);
	if (values == NULL || *out == NULL) {
		free(values);
		return err_set(e, ERR_NOMEM, "tensor %s: out of memory", name);
	}
	m->backend->ops->copy(m->backend, *out, values, size);
	free(values);
	return 0;
}

/* ---- Matrices */

struct piece {
	const struct model_tensor *tensor;
	size_t rows, cols;
	bool transposed_too, packed_too; /* packed_too: also where it is kept as stored */
	struct model_weight **weight, **stored;
};

struct load {
	struct model *model;
	const char *path; /* to hash; NULL: none */
	struct piece *pieces;
	size_t count;
	atomic_size_t next; /* 0 is the hash, which takes longest */
	pthread_mutex_t lock;
	size_t failed; /* the first piece that failed; SIZE_MAX: none */
	int rc;
	struct err error;
};

/* As the file stores it, where that is asked for and there are kernels for it; else *stored stays NULL. */
static int fill_stored(struct model *m, const struct piece *p, struct err *e)
{
	const struct model_backend_ops *ops = m->backend->ops;
	const struct model_tensor *t = p->tensor;
	if (!m->stored_too || ops->weight_new_stored == NULL)
		return 0;
	int rc = ops->weight_new_stored(m->backend, t->type, t->data, p->rows, p->cols, p->stored);
	if (rc == 0 || rc == ERR_UNSUPPORTED)
		return 0;
	return err_set(e, rc, "tensor %s: %s", model__show(t->name, t->name_len).text, err_text(rc));
}

static int fill(struct model *m, const struct piece *p, struct err *e)
{
	const struct model_backend_ops *ops = m->backend->ops;
	const struct model_tensor *t = p->tensor;
	int rc = fill_stored(m, p, e);
	if (rc != 0 || (*p->stored != NULL && !p->packed_too))
		return rc;
	rc = ops->weight_new(m->backend, t->type, t->data, p->rows, p->cols, p->transposed_too, p->weight);
	return rc == 0 ? 0
		       : err_set(e, rc, "tensor %s: packing %zu × %zu for backend %s failed: %s",
				 model__show(t->name, t->name_len).text, p->rows, p->cols, ops->name, err_text(rc));
}

static void note_failure(struct load *load, size_t at, int rc, const struct err *e)
{
	pthread_mutex_lock(&load->lock);
	if (at < load->failed) { /* of several the first counts, whichever came first */
		load->failed = at;
		load->rc = rc;
		load->error = *e;
	}
	pthread_mutex_unlock(&load->lock);
	atomic_store(&load->next, load->count + 1);
}

static void load_part(void *context, size_t part, size_t part_count)
{
	struct load *load = context;
	(void)part;
	(void)part_count;
	for (size_t at; (at = atomic_fetch_add(&load->next, 1)) <= load->count;) {
		struct err e = ERR_INIT;
		int rc = 0;
		if (at > 0)
			rc = fill(load->model, &load->pieces[at - 1], &e);
		else if (load->path != NULL)
			rc = hash_of_file(load->path, &load->model->digest, &e);
		if (rc != 0)
			note_failure(load, at, rc, &e);
	}
}

/* Threads that cannot be had are done without. */
static int load_all(struct load *load, struct err *e)
{
	const struct model_backend *b = load->model->backend;
	struct err none = ERR_INIT;
	struct team *team = NULL;
	const size_t parts = !b->ops->fills_side_by_side     ? 1
			     : b->thread_count < load->count ? b->thread_count
							     : load->count;
	if (parts > 1 && team_new(parts < TEAM_PARTS_MAX ? parts : TEAM_PARTS_MAX, &team, &none) == 0)
		team_run(team, load_part, load);
	else
		load_part(load, 0, 1);
	team_destroy(&team);
	if (load->rc != 0)
		*e = load->error;
	return load->rc;
}

static int piece_add(struct load *load, const char *name, const struct piece *piece, struct err *e)
{
	struct piece *p = &load->pieces[load->count++];
	*p = *piece;
	return find_tensor(load->model->gguf, name, p->rows, p->cols, &p->tensor, e);
}

static int add_layer(struct load *load, size_t index, struct err *e)
{
	struct model *m = load->model;
	const struct model_shape *s = &m->shape;
	struct model__layer *l = &m->layers[index];
	struct model__stored_layer *stored = &l->stored;
	const bool back = index >= m->backward_from;
	const size_t q_size = s->heads * s->head_size, kv_size = s->kv_heads * s->head_size;
	const struct {
		const char *name;
		struct piece piece;
	} matrices[LAYER_MATRICES] = {
		{ "attn_q", { NULL, q_size, s->hidden, back, true, &l->q, &stored->q } },
		{ "attn_k", { NULL, kv_size, s->hidden, back, true, &l->k, &stored->k } },
		{ "attn_v", { NULL, kv_size, s->hidden, back, true, &l->v, &stored->v } },
		{ "attn_output", { NULL, s->hidden, q_size, back, true, &l->o, &stored->o } },
		{ "ffn_gate", { NULL, s->ffn, s->hidden, back, true, &l->gate, &stored->gate } },
		{ "ffn_up", { NULL, s->ffn, s->hidden, back, true, &l->up, &stored->up } },
		{ "ffn_down", { NULL, s->hidden, s->ffn, back, true, &l->down, &stored->down } },
	};
	char name[64];
	snprintf(name, sizeof(name), "blk.%zu.attn_norm.weight", index);
	int rc = load_vector(m, name, s->hidden, &l->attn_norm, e);
	snprintf(name, sizeof(name), "blk.%zu.ffn_norm.weight", index);
	if (rc == 0)
		rc = load_vector(m, name, s->hidden, &l->ffn_norm, e);
	for (size_t i = 0; rc == 0 && i < LAYER_MATRICES; i++) {
		snprintf(name, sizeof(name), "blk.%zu.%s.weight", index, matrices[i].name);
		rc = piece_add(load, name, &matrices[i].piece, e);
	}
	if (rc == 0)
		l->down_tensor = load->pieces[load->count - 1].tensor;
	return rc;
}

/* The largest first, so that no thread waits for it at the end. */
static int add_head(struct load *load, struct err *e)
{
	struct model *m = load->model;
	const struct model_shape *s = &m->shape;
	const bool back = m->backward_from <= s->layers; /* the head's too where the edited layer is the last */
	const struct piece piece = { .rows = s->vocabulary,
				     .cols = s->hidden,
				     .transposed_too = back,
				     .packed_too = back || !m->head_stored_only,
				     .weight = &m->head,
				     .stored = &m->stored_head };
	return piece_add(load, s->tied_head ? "token_embd.weight" : "output.weight", &piece, e);
}

static int find_all(struct load *load, struct err *e)
{
	struct model *m = load->model;
	const struct model_shape *s = &m->shape;
	int rc = find_tensor(m->gguf, "token_embd.weight", s->vocabulary, s->hidden, &m->embedding, e);
	m->shape.tied_head = model_gguf_tensor(m->gguf, "output.weight") == NULL;
	if (rc == 0)
		rc = check_no_other_tensors(m, e);
	if (rc == 0)
		rc = make_frequencies(m, e);
	m->layers = fault_calloc(s->layers, sizeof(*m->layers));
	load->pieces = fault_calloc(s->layers * LAYER_MATRICES + 1, sizeof(*load->pieces));
	if (rc == 0 && (m->layers == NULL || load->pieces == NULL))
		rc = err_set(e, ERR_NOMEM, "layers: out of memory");
	if (rc == 0)
		rc = add_head(load, e);
	for (size_t i = 0; rc == 0 && i < s->layers; i++)
		rc = add_layer(load, i, e);
	return rc == 0 ? load_vector(m, "output_norm.weight", s->hidden, &m->output_norm, e) : rc;
}

int model__weights_load(struct model *m, const char *path, struct err *e)
{
	struct load load = { .model = m, .path = path, .failed = SIZE_MAX };
	pthread_mutex_init(&load.lock, NULL);
	int rc = find_all(&load, e);
	if (rc == 0)
		rc = load_all(&load, e);
	for (size_t i = 1; rc == 0 && i < load.count; i++)
		m->stored = m->stored && *load.pieces[i].stored != NULL;
	free(load.pieces);
	pthread_mutex_destroy(&load.lock);
	return rc;
}
