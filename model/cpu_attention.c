/* cpu_attention.c: causal grouped-query attention of the cpu backend. Forward: a task is one row and one key head;
 * backward: one segment and one key head, whose dk and dv no other task touches. So no sum crosses threads. */
#include "model/cpu.h"

#include <math.h>
#include <omp.h>
#include <string.h>

struct shape {
	size_t heads, group, kv_heads, head_size, window, stride;
	float scale;
};

static struct shape shape_of(size_t heads, size_t kv_heads, size_t head_size, size_t window)
{
	return (struct shape){ heads,
			       heads / kv_heads,
			       kv_heads,
			       head_size,
			       window,
			       kv_heads * head_size,
			       1.0f / sqrtf((float)head_size) };
}

static size_t first_seen(size_t position, size_t window)
{
	return window > 0 && position + 1 > window ? position + 1 - window : 0;
}

static size_t longest(const struct model_segment *segments, size_t segment_count)
{
	size_t max = 1;
	for (size_t s = 0; s < segment_count; s++) {
		size_t end = segments[s].position + segments[s].row_count;
		max = end > max ? end : max;
	}
	return max;
}

static size_t pairs_of(const struct model_segment *segments, size_t segment_count)
{
	size_t pairs = 0;
	for (size_t s = 0; s < segment_count; s++)
		pairs += segments[s].row_count * (segments[s].position + (segments[s].row_count + 1) / 2);
	return pairs;
}

/* q, out: the row's first head of this key head's group; keys, values: of this key head. */
static void attend(const struct model__cpu *cpu, const struct shape *sh, float *p, float *out, const float *q,
		   const float *keys, const float *values, size_t position)
{
	size_t from = first_seen(position, sh->window), count = position + 1 - from;
	for (size_t g = 0; g < sh->group; g++, q += sh->head_size, out += sh->head_size) {
		cpu->k->scores(p, q, keys + from * sh->stride, sh->stride, count, sh->head_size);
		cpu->k->softmax(p, sh->scale, count);
		cpu->k->weighted_sum(out, p, values + from * sh->stride, sh->stride, false, count, sh->head_size);
	}
}

struct step {
	const struct model__cpu *cpu;
	const struct shape *shape;
	float *out;
	const float *q, *const *keys, *const *values;
	const struct model_segment *segments;
};

/* One head of one row; every segment has one. */
static void step_head(void *context, size_t part, size_t index)
{
	const struct step *s = context;
	const struct shape *sh = s->shape;
	const size_t segment = index / sh->heads, head = index % sh->heads, offset = head / sh->group * sh->head_size;
	struct shape one = *sh;
	one.group = 1;
	attend(s->cpu, &one, s->cpu->scratch + part * s->cpu->scratch_size, s->out + index * sh->head_size,
	       s->q + index * sh->head_size, s->keys[segment] + offset, s->values[segment] + offset,
	       s->segments[segment].position);
}

static bool one_row_each(const struct model_segment *segments, size_t segment_count)
{
	for (size_t s = 0; s < segment_count; s++) {
		if (segments[s].row_count != 1)
			return false;
	}
	return true;
}

int model__cpu_attention(struct model_backend *b, float *out, const float *q, const float *const *keys,
			 const float *const *values, const struct model_segment *segments, size_t segment_count,
			 size_t heads, size_t kv_heads, size_t head_size, size_t window)
{
	struct model__cpu *cpu = (struct model__cpu *)b;
	const struct shape sh = shape_of(heads, kv_heads, head_size, window);
	int rc = model__cpu_scratch(cpu, longest(segments, segment_count));
	if (rc != 0)
		return rc;
	const size_t work = 2 * pairs_of(segments, segment_count) * heads * head_size;
	struct step step = { cpu, &sh, out, q, keys, values, segments };
	if (b->stepping && one_row_each(segments, segment_count)) {
		model__cpu_loop(cpu, work, segment_count * heads, step_head, &step);
		return 0;
	}
	int threads = model__cpu_threads(cpu, work);
#pragma omp parallel num_threads(threads) if (threads > 1)
	{
		float *p = cpu->scratch + (size_t)omp_get_thread_num() * cpu->scratch_size;
		for (size_t s = 0, row = 0; s < segment_count; row += segments[s].row_count, s++) {
#pragma omp for schedule(static, 1) nowait
			for (size_t task = 0; task < segments[s].row_count * sh.kv_heads; task++) {
				size_t r = task / sh.kv_heads, h = task % sh.kv_heads;
				size_t at = ((row + r) * heads + h * sh.group) * head_size, offset = h * head_size;
				attend(cpu, &sh, p, out + at, q + at, keys[s] + offset, values[s] + offset,
				       segments[s].position + r);
			}
		}
	}
	return 0;
}

/* ---- Backward: with p = softmax and ds_j = p_j (dout·v_j − Σ p dout·v) · scale: dq = Σ_j ds_j k_j, dk_j = Σ ds_j q,
 * dv_j = Σ p_j dout, the last two over the queries. Those are taken a chunk at a time, p and ds kept by key, so that
 * each sum goes through registers. */

#define CHUNK ((size_t)32) /* queries of one head */

struct back {
	const struct model__cpu *cpu;
	const struct shape *shape;
	float *dq, *dk, *dv; /* of one segment: dq, q, dout of one head, dk, dv, k, v of its key head */
	const float *dout, *q, *k, *v;
	float *row, *row_slopes; /* of one query, by key */
	float *weights, *slopes; /* key × CHUNK: p and ds of the chunk; 0 where a query does not see the key */
};

/* The scratch of one thread for `keys` keys. */
static size_t back_floats(size_t keys)
{
	return keys * (2 + 2 * CHUNK);
}

static void back_scratch(struct back *b, float *scratch, size_t keys)
{
	b->row = scratch;
	b->row_slopes = b->row + keys;
	b->weights = b->row_slopes + keys;
	b->slopes = b->weights + keys * CHUNK;
}

/* Query `i` of the chunk that begins at `first`; `from`, `to`: keys that any query of the chunk sees. */
static void query_backward(const struct back *b, size_t first, size_t i, size_t from, size_t to)
{
	const struct shape *sh = b->shape;
	const struct model__cpu_kernels *kernels = b->cpu->k;
	const size_t position = first + i, seen = first_seen(position, sh->window), count = position + 1 - seen;
	const size_t at = position * sh->heads * sh->head_size, start = seen * sh->stride;
	float *p = b->row, *ds = b->row_slopes;
	kernels->scores(p, b->q + at, b->k + start, sh->stride, count, sh->head_size);
	kernels->softmax(p, sh->scale, count);
	kernels->scores(ds, b->dout + at, b->v + start, sh->stride, count, sh->head_size);
	const float mean = kernels->dot(p, ds, count);
	for (size_t j = 0; j < count; j++)
		ds[j] = p[j] * (ds[j] - mean) * sh->scale;
	kernels->weighted_sum(b->dq + at, ds, b->k + start, sh->stride, false, count, sh->head_size);
	for (size_t j = from; j < to; j++) {
		const bool sees = j >= seen && j <= position;
		b->weights[(j - from) * CHUNK + i] = sees ? p[j - seen] : 0;
		b->slopes[(j - from) * CHUNK + i] = sees ? ds[j - seen] : 0;
	}
}

/* All queries of one head of one segment; adds to dk and dv. */
static void head_backward(const struct back *b, size_t row_count)
{
	const struct shape *sh = b->shape;
	const size_t query_stride = sh->heads * sh->head_size;
	for (size_t first = 0; first < row_count; first += CHUNK) {
		const size_t count = row_count - first < CHUNK ? row_count - first : CHUNK;
		const size_t from = first_seen(first, sh->window), to = first + count;
		for (size_t i = 0; i < count; i++)
			query_backward(b, first, i, from, to);
		for (size_t j = from; j < to; j++) {
			const size_t skipped = j > first ? j - first : 0; /* queries before the key */
			const size_t at = (j - from) * CHUNK + skipped, query = (first + skipped) * query_stride;
			b->cpu->k->weighted_sum(b->dk + j * sh->stride, b->slopes + at, b->q + query, query_stride,
						true, count - skipped, sh->head_size);
			b->cpu->k->weighted_sum(b->dv + j * sh->stride, b->weights + at, b->dout + query, query_stride,
						true, count - skipped, sh->head_size);
		}
	}
}

int model__cpu_attention_backward(struct model_backend *b, float *dq, float *dk, float *dv, const float *dout,
				  const float *q, const float *k, const float *v, const struct model_segment *segments,
				  size_t segment_count, size_t heads, size_t kv_heads, size_t head_size, size_t window)
{
	struct model__cpu *cpu = (struct model__cpu *)b;
	const struct shape sh = shape_of(heads, kv_heads, head_size, window);
	const size_t keys = longest(segments, segment_count);
	int rc = model__cpu_scratch(cpu, back_floats(keys));
	if (rc != 0)
		return rc;
	int threads = model__cpu_threads(cpu, 5 * pairs_of(segments, segment_count) * heads * head_size);
#pragma omp parallel num_threads(threads) if (threads > 1)
	{
		size_t turn = 0; /* tasks are dealt out in a fixed order */
		for (size_t s = 0, row = 0; s < segment_count; row += segments[s].row_count, s++) {
			for (size_t h = 0; h < kv_heads; h++) {
				if (turn++ % (size_t)omp_get_num_threads() != (size_t)omp_get_thread_num())
					continue;
				const size_t base = row * sh.stride + h * head_size;
				for (size_t r = 0; r < segments[s].row_count; r++) {
					memset(dk + base + r * sh.stride, 0, head_size * sizeof(float));
					memset(dv + base + r * sh.stride, 0, head_size * sizeof(float));
				}
				for (size_t g = 0; g < sh.group; g++) {
					const size_t at = (row * heads + h * sh.group + g) * head_size;
					struct back back = { .cpu = cpu,
							     .shape = &sh,
							     .dq = dq + at,
							     .dk = dk + base,
							     .dv = dv + base,
							     .dout = dout + at,
							     .q = q + at,
							     .k = k + base,
							     .v = v + base };
					back_scratch(&back,
						     cpu->scratch + (size_t)omp_get_thread_num() * cpu->scratch_size,
						     keys);
					head_backward(&back, segments[s].row_count);
				}
			}
		}
	}
	return 0;
}
