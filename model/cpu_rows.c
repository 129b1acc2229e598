/* cpu_rows.c: the row-wise operations of the cpu backend: cuts them into threads. A row (or a fixed chunk of elements)
 * is always computed by one kernel call, so that the thread count does not change a bit. */
#include "model/cpu.h"

#include <math.h>
#include <string.h>

#define CHUNK       ((size_t)4096) /* elements of one kernel call in element-wise operations */
#define WORK_OF_EXP 8              /* an exponential costs about as much as so many multiply-adds */

void model__cpu_rmsnorm(struct model_backend *b, float *y, const float *x, const float *g, float eps, size_t rows,
			size_t width)
{
	struct model__cpu *cpu = (struct model__cpu *)b;
	int threads = model__cpu_threads(cpu, rows * width);
#pragma omp parallel for schedule(static) num_threads(threads) if (threads > 1)
	for (size_t r = 0; r < rows; r++)
		cpu->k->rmsnorm(y + r * width, x + r * width, g, eps, width);
}

void model__cpu_rmsnorm_backward(struct model_backend *b, float *dx, const float *dy, const float *x, const float *g,
				 float eps, size_t rows, size_t width)
{
	struct model__cpu *cpu = (struct model__cpu *)b;
	int threads = model__cpu_threads(cpu, rows * width);
#pragma omp parallel for schedule(static) num_threads(threads) if (threads > 1)
	for (size_t r = 0; r < rows; r++)
		cpu->k->rmsnorm_backward(dx + r * width, dy + r * width, x + r * width, g, eps, width);
}

static void rotation_fill(float *cosines, float *sines, int32_t position, const float *freq, size_t half)
{
	for (size_t j = 0; j < half; j++) {
		float angle = (float)position * freq[j];
		cosines[2 * j] = cosines[2 * j + 1] = cosf(angle);
		sines[2 * j + 1] = sinf(angle);
		sines[2 * j] = -sines[2 * j + 1];
	}
}

/* Extends the table to `position_count`; false when it cannot (then rotations are computed where they are needed). */
static bool rotations_ready(struct model__cpu *cpu, const float *freq, size_t half, size_t position_count)
{
	size_t size = 4 * half, from = cpu->rotation_count;
	if (half > sizeof(cpu->rotation_freq) / sizeof(float) || position_count > MODEL__ROPE_POSITIONS_MAX)
		return false;
	if (size != cpu->rotation_size || memcmp(freq, cpu->rotation_freq, half * sizeof(float)) != 0)
		from = 0;
	if (from >= position_count)
		return true;
	size_t count = position_count < 256 ? 256 : 2 * position_count;
	if (count > MODEL__ROPE_POSITIONS_MAX)
		count = MODEL__ROPE_POSITIONS_MAX;
	float *table = model__host_alloc(&cpu->base, count * size);
	if (table == NULL)
		return false;
	if (from > 0)
		memcpy(table, cpu->rotations, from * size * sizeof(float));
	for (size_t p = from; p < count; p++)
		rotation_fill(table + p * size, table + p * size + 2 * half, (int32_t)p, freq, half);
	model__host_bytes_free(cpu->rotations);
	cpu->rotations = table;
	cpu->rotation_count = count;
	cpu->rotation_size = size;
	memcpy(cpu->rotation_freq, freq, half * sizeof(float));
	return true;
}

/* Pairs (j, j + half), and any pair without a table. */
static void rope_head(float *x, int32_t position, const float *freq, bool interleaved, bool inverse, size_t half)
{
	for (size_t j = 0; j < half; j++) {
		float angle = (float)position * freq[j], c = cosf(angle), s = inverse ? -sinf(angle) : sinf(angle);
		float *first = interleaved ? &x[2 * j] : &x[j], *second = interleaved ? &x[2 * j + 1] : &x[j + half];
		float u = *first, v = *second;
		*first = u * c - v * s;
		*second = u * s + v * c;
	}
}

static void rope_table_row(const struct model__cpu *cpu, float *x, const float *cosines, bool interleaved, bool inverse,
			   size_t heads, size_t head_size)
{
	const float *sines = cosines + head_size;
	size_t half = head_size / 2;
	for (size_t h = 0; h < heads; h++, x += head_size) {
		if (interleaved) {
			cpu->k->rope_pairs(x, cosines, sines, inverse, head_size);
			continue;
		}
		for (size_t j = 0; j < half; j++) {
			float c = cosines[2 * j], s = sines[inverse ? 2 * j : 2 * j + 1], u = x[j], v = x[j + half];
			x[j] = u * c - v * s;
			x[j + half] = u * s + v * c;
		}
	}
}

void model__cpu_rope(struct model_backend *b, float *x, const int32_t *positions, const float *freq, bool interleaved,
		     bool inverse, size_t rows, size_t heads, size_t head_size)
{
	struct model__cpu *cpu = (struct model__cpu *)b;
	int threads = model__cpu_threads(cpu, rows * heads * head_size);
	size_t last = 0, row_size = heads * head_size;
	for (size_t r = 0; r < rows; r++)
		last = (size_t)positions[r] > last ? (size_t)positions[r] : last;
	bool ready = rotations_ready(cpu, freq, head_size / 2, last + 1);
#pragma omp parallel for schedule(static) num_threads(threads) if (threads > 1)
	for (size_t r = 0; r < rows; r++) {
		if (ready) {
			const float *cosines = cpu->rotations + (size_t)positions[r] * cpu->rotation_size;
			rope_table_row(cpu, x + r * row_size, cosines, interleaved, inverse, heads, head_size);
			continue;
		}
		for (size_t h = 0; h < heads; h++)
			rope_head(x + r * row_size + h * head_size, positions[r], freq, interleaved, inverse,
				  head_size / 2);
	}
}

static size_t chunk_len(size_t at, size_t n)
{
	return n - at < CHUNK ? n - at : CHUNK;
}

struct silu {
	const struct model__cpu *cpu;
	float *y;
	const float *gate, *up;
	size_t n;
};

static void silu_chunk(void *context, size_t part, size_t index)
{
	const struct silu *s = context;
	const size_t at = index * CHUNK;
	(void)part;
	s->cpu->k->silu_mul(s->y + at, s->gate + at, s->up + at, chunk_len(at, s->n));
}

void model__cpu_silu_mul(struct model_backend *b, float *y, const float *gate, const float *up, size_t n)
{
	struct model__cpu *cpu = (struct model__cpu *)b;
	struct silu silu = { cpu, y, gate, up, n };
	if (b->stepping) {
		model__cpu_loop(cpu, n * WORK_OF_EXP, (n + CHUNK - 1) / CHUNK, silu_chunk, &silu);
		return;
	}
	int threads = model__cpu_threads(cpu, n * WORK_OF_EXP);
#pragma omp parallel for schedule(static) num_threads(threads) if (threads > 1)
	for (size_t i = 0; i < n; i += CHUNK)
		cpu->k->silu_mul(y + i, gate + i, up + i, chunk_len(i, n));
}

void model__cpu_silu_mul_backward(struct model_backend *b, float *dgate, float *dup, const float *dy, const float *gate,
				  const float *up, size_t n)
{
	struct model__cpu *cpu = (struct model__cpu *)b;
	int threads = model__cpu_threads(cpu, n * WORK_OF_EXP);
#pragma omp parallel for schedule(static) num_threads(threads) if (threads > 1)
	for (size_t i = 0; i < n; i += CHUNK)
		cpu->k->silu_mul_backward(dgate + i, dup + i, dy + i, gate + i, up + i, chunk_len(i, n));
}

void model__cpu_add(struct model_backend *b, float *y, const float *x, size_t n)
{
	struct model__cpu *cpu = (struct model__cpu *)b;
	int threads = model__cpu_threads(cpu, n);
#pragma omp parallel for schedule(static) num_threads(threads) if (threads > 1)
	for (size_t i = 0; i < n; i += CHUNK)
		cpu->k->add(y + i, x + i, chunk_len(i, n));
}

void model__cpu_cross_entropy(struct model_backend *b, float *loss, int32_t *argmax, float *dlogits,
			      const float *logits, const int32_t *labels, const float *scale, size_t rows, size_t width)
{
	struct model__cpu *cpu = (struct model__cpu *)b;
	int threads = model__cpu_threads(cpu, rows * width * WORK_OF_EXP);
#pragma omp parallel for schedule(static) num_threads(threads) if (threads > 1)
	for (size_t r = 0; r < rows; r++)
		cpu->k->cross_entropy(&loss[r], &argmax[r], dlogits == NULL ? NULL : dlogits + r * width,
				      logits + r * width, labels[r], dlogits == NULL ? 0 : scale[r], width);
}

void model__cpu_adam(struct model_backend *b, float *w, float *m, float *v, const float *grad, float rate, float beta1,
		     float beta2, float eps, uint64_t step, size_t n)
{
	struct model__cpu *cpu = (struct model__cpu *)b;
	int threads = model__cpu_threads(cpu, n * WORK_OF_EXP);
	float correct1 = (float)(1 / (1 - pow((double)beta1, (double)step)));
	float correct2 = (float)(1 / (1 - pow((double)beta2, (double)step)));
#pragma omp parallel for schedule(static) num_threads(threads) if (threads > 1)
	for (size_t i = 0; i < n; i += CHUNK)
		cpu->k->adam(w + i, m + i, v + i, grad + i, rate, beta1, beta2, eps, correct1, correct2,
			     chunk_len(i, n));
}
