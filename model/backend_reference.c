/* backend_reference.c: every operation as the plainest loop, sums in double. The oracle that the other rows are
 * compared with; nothing here is meant to be fast. Runs on the calling thread, whatever the thread count. */
#include "model/host_memory.h"
#include "model/quant.h"
#include "model/stored.h"

#include "base/fault.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

struct model_weight {
	size_t out_size, in_size;
	float *w;        /* or */
	uint8_t *stored; /* as in the file */
	enum model_type type;
	size_t row_bytes;
};

static const char *describe(const struct model_backend *b)
{
	(void)b;
	return "reference, 1 thread";
}

static void destroy(struct model_backend *b)
{
	free(b);
}

static void weight_destroy(struct model_backend *b, struct model_weight **weight)
{
	(void)b;
	if (*weight == NULL)
		return;
	model__host_bytes_free((*weight)->w);
	model__host_bytes_free((*weight)->stored);
	free(*weight);
	*weight = NULL;
}

static int weight_new(struct model_backend *b, enum model_type type, const void *data, size_t out_size, size_t in_size,
		      bool transposed_too, struct model_weight **weight)
{
	(void)transposed_too;
	struct model_weight *made = fault_calloc(1, sizeof(*made));
	if (made == NULL)
		return ERR_NOMEM;
	made->out_size = out_size;
	made->in_size = in_size;
	made->w = model__host_alloc(b, out_size * in_size);
	if (made->w == NULL) {
		free(made);
		return ERR_NOMEM;
	}
	model_quant_dequantise(type, data, out_size * in_size, made->w);
	*weight = made;
	return 0;
}

static int weight_new_stored(struct model_backend *b, enum model_type type, const void *data, size_t out_size,
			     size_t in_size, struct model_weight **weight)
{
	size_t elements, bytes;
	(void)b;
	if (model__stored_bytes(type, out_size, in_size) == 0 || !model_quant_block(type, &elements, &bytes))
		return ERR_UNSUPPORTED;
	struct model_weight *made = fault_calloc(1, sizeof(*made));
	if (made == NULL)
		return ERR_NOMEM;
	*made = (struct model_weight){ .out_size = out_size, .in_size = in_size, .type = type };
	made->row_bytes = in_size / elements * bytes;
	made->stored = model__host_bytes(out_size * made->row_bytes);
	if (made->stored == NULL) {
		free(made);
		return ERR_NOMEM;
	}
	memcpy(made->stored, data, out_size * made->row_bytes);
	*weight = made;
	return 0;
}

/* Rounds the rows as every backend does; the sums are in double. */
static int stored_forward(float *y, const float *x, const struct model_weight *w, bool accumulate, size_t rows)
{
	const size_t blocks = w->in_size / MODEL__STORED_BLOCK;
	struct model__rounded *rounded = fault_calloc(blocks + 1, sizeof(*rounded));
	if (rounded == NULL)
		return ERR_NOMEM;
	for (size_t r = 0; r < rows; r++, x += w->in_size) {
		model__stored_portable.round(rounded, x, blocks);
		for (size_t o = 0; o < w->out_size; o++) {
			const float sum =
				model__stored_reference(rounded, x, w->type, w->stored + o * w->row_bytes, w->in_size);
			y[r * w->out_size + o] = accumulate ? y[r * w->out_size + o] + sum : sum;
		}
	}
	free(rounded);
	return 0;
}

static int gemm(struct model_backend *b, float *c, const float *a, const float *bm, bool ta, bool tb, float alpha,
		float beta, size_t m, size_t n, size_t k)
{
	(void)b;
	size_t a_row = ta ? 1 : k, a_step = ta ? m : 1, b_column = tb ? k : 1, b_step = tb ? 1 : n;
	for (size_t i = 0; i < m; i++) {
		for (size_t j = 0; j < n; j++) {
			double sum = 0;
			for (size_t p = 0; p < k; p++)
				sum += (double)a[i * a_row + p * a_step] * (double)bm[j * b_column + p * b_step];
			double old = beta == 0 ? 0 : (double)beta * (double)c[i * n + j];
			c[i * n + j] = (float)((double)alpha * sum + old);
		}
	}
	return 0;
}

static int weight_forward(struct model_backend *b, float *y, const float *x, const struct model_weight *w,
			  bool accumulate, size_t rows)
{
	if (w->stored != NULL)
		return stored_forward(y, x, w, accumulate, rows);
	return gemm(b, y, x, w->w, false, true, 1, accumulate ? 1 : 0, rows, w->out_size, w->in_size);
}

static int weight_backward(struct model_backend *b, float *dx, const float *dy, const struct model_weight *w,
			   bool accumulate, size_t rows)
{
	if (w->stored != NULL)
		return ERR_INVALID;
	return gemm(b, dx, dy, w->w, false, false, 1, accumulate ? 1 : 0, rows, w->in_size, w->out_size);
}

static double inverse_rms(const float *x, float eps, size_t width)
{
	double sum = 0;
	for (size_t i = 0; i < width; i++)
		sum += (double)x[i] * (double)x[i];
	return 1 / sqrt(sum / (double)width + (double)eps);
}

static void rmsnorm(struct model_backend *b, float *y, const float *x, const float *g, float eps, size_t rows,
		    size_t width)
{
	(void)b;
	for (size_t r = 0; r < rows; r++, x += width, y += width) {
		double inverse = inverse_rms(x, eps, width);
		for (size_t i = 0; i < width; i++)
			y[i] = (float)((double)x[i] * inverse * (double)g[i]);
	}
}

/* dx_i += inv · (g_i dy_i − x_i · inv² · mean(g dy x)) */
static void rmsnorm_backward(struct model_backend *b, float *dx, const float *dy, const float *x, const float *g,
			     float eps, size_t rows, size_t width)
{
	(void)b;
	for (size_t r = 0; r < rows; r++, x += width, dx += width, dy += width) {
		double inverse = inverse_rms(x, eps, width), sum = 0;
		for (size_t i = 0; i < width; i++)
			sum += (double)g[i] * (double)dy[i] * (double)x[i];
		double pull = sum * inverse * inverse / (double)width;
		for (size_t i = 0; i < width; i++)
			dx[i] += (float)(inverse * ((double)g[i] * (double)dy[i] - (double)x[i] * pull));
	}
}

static void rope(struct model_backend *b, float *x, const int32_t *positions, const float *freq, bool interleaved,
		 bool inverse, size_t rows, size_t heads, size_t head_size)
{
	(void)b;
	size_t half = head_size / 2;
	for (size_t at = 0; at < rows * heads; at++, x += head_size) {
		for (size_t j = 0; j < half; j++) {
			float angle = (float)positions[at / heads] * freq[j];
			double c = cos((double)angle), s = inverse ? -sin((double)angle) : sin((double)angle);
			float *first = interleaved ? &x[2 * j] : &x[j],
			      *second = interleaved ? &x[2 * j + 1] : &x[j + half];
			double u = (double)*first, v = (double)*second;
			*first = (float)(u * c - v * s);
			*second = (float)(u * s + v * c);
		}
	}
}

static size_t first_seen(size_t position, size_t window)
{
	return window > 0 && position + 1 > window ? position + 1 - window : 0;
}

/* p[j − from] = softmax over the keys [from, to) of q·k_j / sqrt(head_size). */
static void probabilities(double *p, const float *q, const float *k, size_t stride, size_t from, size_t to,
			  size_t head_size)
{
	double max = -INFINITY, sum = 0;
	for (size_t j = from; j < to; j++) {
		double score = 0;
		for (size_t i = 0; i < head_size; i++)
			score += (double)q[i] * (double)k[j * stride + i];
		p[j - from] = score / sqrt((double)head_size);
		max = fmax(max, p[j - from]);
	}
	for (size_t j = 0; j < to - from; j++)
		sum += p[j] = exp(p[j] - max);
	for (size_t j = 0; j < to - from; j++)
		p[j] /= sum;
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

static int attention(struct model_backend *b, float *out, const float *q, const float *const *keys,
		     const float *const *values, const struct model_segment *segments, size_t segment_count,
		     size_t heads, size_t kv_heads, size_t head_size, size_t window)
{
	(void)b;
	size_t group = heads / kv_heads, stride = kv_heads * head_size;
	double *p = fault_malloc(longest(segments, segment_count) * sizeof(*p));
	if (p == NULL)
		return ERR_NOMEM;
	for (size_t s = 0; s < segment_count; s++) {
		for (size_t r = 0; r < segments[s].row_count; r++) {
			size_t position = segments[s].position + r, from = first_seen(position, window);
			for (size_t h = 0; h < heads; h++, q += head_size, out += head_size) {
				size_t offset = h / group * head_size;
				probabilities(p, q, keys[s] + offset, stride, from, position + 1, head_size);
				for (size_t i = 0; i < head_size; i++) {
					double sum = 0;
					for (size_t j = from; j <= position; j++)
						sum += p[j - from] * (double)values[s][j * stride + offset + i];
					out[i] = (float)sum;
				}
			}
		}
	}
	free(p);
	return 0;
}

/* One query of one head: with ds_j = p_j (dout·v_j − Σ p dout·v) / sqrt(head_size): dq = Σ ds k, dk_j += ds q, dv_j +=
 * p dout. */
static void attention_backward_row(double *p, float *dq, float *dk, float *dv, const float *dout, const float *q,
				   const float *k, const float *v, size_t stride, size_t from, size_t to,
				   size_t head_size)
{
	double *dp = p + (to - from), mean = 0;
	probabilities(p, q, k, stride, from, to, head_size);
	for (size_t j = from; j < to; j++) {
		double sum = 0;
		for (size_t i = 0; i < head_size; i++)
			sum += (double)dout[i] * (double)v[j * stride + i];
		dp[j - from] = sum;
		mean += sum * p[j - from];
	}
	memset(dq, 0, head_size * sizeof(*dq));
	for (size_t j = from; j < to; j++) {
		double ds = p[j - from] * (dp[j - from] - mean) / sqrt((double)head_size);
		for (size_t i = 0; i < head_size; i++) {
			dq[i] += (float)(ds * (double)k[j * stride + i]);
			dk[j * stride + i] += (float)(ds * (double)q[i]);
			dv[j * stride + i] += (float)(p[j - from] * (double)dout[i]);
		}
	}
}

static int attention_backward(struct model_backend *b, float *dq, float *dk, float *dv, const float *dout,
			      const float *q, const float *k, const float *v, const struct model_segment *segments,
			      size_t segment_count, size_t heads, size_t kv_heads, size_t head_size, size_t window)
{
	(void)b;
	size_t group = heads / kv_heads, stride = kv_heads * head_size;
	double *p = fault_malloc(2 * longest(segments, segment_count) * sizeof(*p));
	if (p == NULL)
		return ERR_NOMEM;
	for (size_t s = 0, row = 0; s < segment_count; row += segments[s].row_count, s++) {
		size_t base = row * stride;
		memset(dk + base, 0, segments[s].row_count * stride * sizeof(float));
		memset(dv + base, 0, segments[s].row_count * stride * sizeof(float));
		for (size_t r = 0; r < segments[s].row_count; r++) {
			for (size_t h = 0; h < heads; h++) {
				size_t at = ((row + r) * heads + h) * head_size, offset = base + h / group * head_size;
				attention_backward_row(p, dq + at, dk + offset, dv + offset, dout + at, q + at,
						       k + offset, v + offset, stride, first_seen(r, window), r + 1,
						       head_size);
			}
		}
	}
	free(p);
	return 0;
}

static void silu_mul(struct model_backend *b, float *y, const float *gate, const float *up, size_t n)
{
	(void)b;
	for (size_t i = 0; i < n; i++)
		y[i] = (float)((double)gate[i] / (1 + exp(-(double)gate[i])) * (double)up[i]);
}

static void silu_mul_backward(struct model_backend *b, float *dgate, float *dup, const float *dy, const float *gate,
			      const float *up, size_t n)
{
	(void)b;
	for (size_t i = 0; i < n; i++) {
		double g = (double)gate[i], d = (double)dy[i], sigmoid = 1 / (1 + exp(-g));
		double du = d * g * sigmoid, dg = d * (double)up[i] * sigmoid * (1 + g * (1 - sigmoid));
		dgate[i] = (float)dg;
		dup[i] = (float)du;
	}
}

static void add(struct model_backend *b, float *y, const float *x, size_t n)
{
	(void)b;
	for (size_t i = 0; i < n; i++)
		y[i] += x[i];
}

static void softmax_cross_entropy(struct model_backend *b, float *loss, int32_t *argmax, float *dlogits,
				  const float *logits, const int32_t *labels, const float *scale, size_t rows,
				  size_t width)
{
	(void)b;
	for (size_t r = 0; r < rows; r++, logits += width) {
		size_t best = 0;
		double sum = 0;
		for (size_t i = 1; i < width; i++)
			best = logits[i] > logits[best] ? i : best;
		double max = (double)logits[best];
		for (size_t i = 0; i < width; i++)
			sum += exp((double)logits[i] - max);
		loss[r] = (float)(log(sum) + max - (double)logits[labels[r]]);
		argmax[r] = (int32_t)best;
		for (size_t i = 0; dlogits != NULL && i < width; i++) {
			double p = exp((double)logits[i] - max) / sum - (i == (size_t)labels[r] ? 1 : 0);
			dlogits[r * width + i] = (float)((double)scale[r] * p);
		}
	}
}

static void adam(struct model_backend *b, float *w, float *m, float *v, const float *grad, float rate, float beta1,
		 float beta2, float eps, uint64_t step, size_t n)
{
	(void)b;
	double b1 = (double)beta1, b2 = (double)beta2;
	double c1 = 1 - pow(b1, (double)step), c2 = 1 - pow(b2, (double)step);
	for (size_t i = 0; i < n; i++) {
		double g = (double)grad[i], mean = b1 * (double)m[i] + (1 - b1) * g,
		       square = b2 * (double)v[i] + (1 - b2) * g * g;
		m[i] = (float)mean;
		v[i] = (float)square;
		w[i] = (float)((double)w[i] - (double)rate * (mean / c1) / (sqrt(square / c2) + (double)eps));
	}
}

static const struct model_backend_ops reference_ops = {
	.name = "reference",
	.fills_side_by_side = true,
	.describe = describe,
	.destroy = destroy,
	.alloc = model__host_alloc,
	.alloc_sparse = model__host_alloc_sparse,
	.free = model__host_free,
	.copy = model__host_copy,
	.clear = model__host_clear,
	.weight_new = weight_new,
	.weight_destroy = weight_destroy,
	.weight_new_stored = weight_new_stored,
	.weight_forward = weight_forward,
	.weight_backward = weight_backward,
	.gemm = gemm,
	.rmsnorm = rmsnorm,
	.rmsnorm_backward = rmsnorm_backward,
	.rope = rope,
	.attention = attention,
	.attention_backward = attention_backward,
	.silu_mul = silu_mul,
	.silu_mul_backward = silu_mul_backward,
	.add = add,
	.softmax_cross_entropy = softmax_cross_entropy,
	.adam = adam,
};

int model__backend_reference_new(size_t thread_count, struct model_backend **out, struct err *e)
{
	(void)thread_count;
	struct model_backend *b = fault_calloc(1, sizeof(*b));
	if (b == NULL)
		return err_set(e, ERR_NOMEM, "reference backend: out of memory");
	b->ops = &reference_ops;
	b->thread_count = 1;
	*out = b;
	return 0;
}
