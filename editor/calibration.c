/* The bytes of a calibration, and the threshold for a number of edits. */
#include "base/fault.h"
#include "editor/whiten.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

#define CALIBRATION_MAGIC "AMCA"

int editor__calibration_new(size_t hidden, size_t dims, size_t relation_dims, struct editor_calibration **out,
			    struct err *e)
{
	struct editor_calibration *c = fault_calloc(1, sizeof(*c));
	if (c != NULL) {
		c->hidden = hidden;
		c->dims = dims;
		c->mean = fault_calloc(hidden, sizeof(float));
		c->deviation = fault_calloc(hidden, sizeof(float));
		c->whiten = fault_calloc(hidden * dims, sizeof(float));
		c->relation.dims = relation_dims;
		c->relation.mean = fault_calloc(hidden, sizeof(float));
		c->relation.deviation = fault_calloc(hidden, sizeof(float));
		c->relation.head = fault_calloc(hidden * relation_dims + 1, sizeof(float));
	}
	if (c == NULL || c->mean == NULL || c->deviation == NULL || c->whiten == NULL || c->relation.mean == NULL ||
	    c->relation.deviation == NULL || c->relation.head == NULL) {
		editor_calibration_destroy(&c);
		return err_set(e, ERR_NOMEM, "calibration for keys of %zu: out of memory", hidden);
	}
	*out = c;
	return 0;
}

void editor_calibration_destroy(struct editor_calibration **calibration)
{
	struct editor_calibration *c = *calibration;
	if (c == NULL)
		return;
	free(c->mean);
	free(c->deviation);
	free(c->whiten);
	editor__short_rows_destroy(&c->short_whiten);
	editor__short_rows_destroy(&c->relation.short_head);
	free(c->relation.mean);
	free(c->relation.deviation);
	free(c->relation.head);
	free(c->relation.common);
	free(c);
	*calibration = NULL;
}

static void put_floats(struct buf *out, const float *values, size_t count)
{
	for (size_t i = 0; i < count; i++)
		buf_f32le(out, values[i]);
}

int editor_calibration_encode(const struct editor_calibration *c, struct buf *out, struct err *e)
{
	const size_t start = out->len, hidden = c->hidden;
	buf_append(out, CALIBRATION_MAGIC, 4);
	buf_u32le(out, EDITOR__CALIBRATION_FORMAT);
	buf_u32le(out, (uint32_t)hidden);
	buf_u32le(out, (uint32_t)c->dims);
	buf_u32le(out, (uint32_t)c->prompt_layer);
	buf_u32le(out, (uint32_t)c->relation.layer);
	buf_u32le(out, (uint32_t)c->relation.dims);
	buf_u32le(out, EDITOR_THRESHOLDS);
	buf_u32le(out, (uint32_t)c->relation.common_count);
	buf_append(out, c->base_model.bytes, HASH_BYTES);
	buf_append(out, c->corpus.bytes, HASH_BYTES);
	for (size_t i = 0; i < EDITOR_THRESHOLDS; i++) {
		buf_u32le(out, c->thresholds[i].edit_count);
		buf_f32le(out, c->thresholds[i].threshold);
	}
	buf_f32le(out, c->subject_threshold);
	buf_f32le(out, c->relation.threshold);
	put_floats(out, c->mean, hidden);
	put_floats(out, c->deviation, hidden);
	put_floats(out, c->whiten, hidden * c->dims);
	put_floats(out, c->relation.mean, hidden);
	put_floats(out, c->relation.deviation, hidden);
	put_floats(out, c->relation.head, hidden * c->relation.dims);
	for (size_t i = 0; i < c->relation.common_count; i++)
		buf_u64le(out, c->relation.common[i]);
	if (buf_failed(out)) {
		out->len = start;
		return err_set(e, ERR_NOMEM, "calibration: out of memory");
	}
	return 0;
}

struct header {
	size_t hidden, dims, prompt_layer, relation_layer, relation_dims, common_count;
};

static int read_header(struct reader *r, struct header *h, struct err *e)
{
	const void *magic = reader_bytes(r, 4);
	if (magic == NULL || memcmp(magic, CALIBRATION_MAGIC, 4) != 0)
		return err_set(e, ERR_CORRUPT, "calibration: does not begin with " CALIBRATION_MAGIC);
	const uint32_t format = reader_u32le(r);
	h->hidden = reader_u32le(r);
	h->dims = reader_u32le(r);
	h->prompt_layer = reader_u32le(r);
	h->relation_layer = reader_u32le(r);
	h->relation_dims = reader_u32le(r);
	const uint32_t threshold_count = reader_u32le(r);
	h->common_count = reader_u32le(r);
	if (r->overrun)
		return err_set(e, ERR_CORRUPT, "calibration: header cut off");
	if (format != EDITOR__CALIBRATION_FORMAT)
		return err_set(e, ERR_UNSUPPORTED, "calibration: format %u is not known, this program reads %u", format,
			       EDITOR__CALIBRATION_FORMAT);
	if (h->hidden == 0 || h->hidden > EDITOR_HIDDEN_MAX || h->dims == 0 || h->dims > h->hidden ||
	    h->relation_dims > EDITOR_RELATION_DIMS_MAX || h->common_count > EDITOR_COMMON_MAX ||
	    threshold_count != EDITOR_THRESHOLDS)
		return err_set(e, ERR_CORRUPT, "calibration: keys of %zu, %zu and %zu, %u thresholds, %zu common words",
			       h->hidden, h->dims, h->relation_dims, threshold_count, h->common_count);
	const size_t floats = 2 * EDITOR_THRESHOLDS + 2 + (4 + h->dims + h->relation_dims) * h->hidden;
	if (r->len - r->at != 2 * HASH_BYTES + floats * sizeof(float) + h->common_count * sizeof(uint64_t))
		return err_set(e, ERR_CORRUPT, "calibration: %zu bytes do not fit keys of %zu", r->len, h->hidden);
	return 0;
}

static void take_floats(struct reader *r, float *out, size_t count)
{
	for (size_t i = 0; i < count; i++)
		out[i] = reader_f32le(r);
}

static void read_body(struct reader *r, struct editor_calibration *c)
{
	memcpy(c->base_model.bytes, reader_bytes(r, HASH_BYTES), HASH_BYTES);
	memcpy(c->corpus.bytes, reader_bytes(r, HASH_BYTES), HASH_BYTES);
	for (size_t i = 0; i < EDITOR_THRESHOLDS; i++) {
		c->thresholds[i].edit_count = reader_u32le(r);
		c->thresholds[i].threshold = reader_f32le(r);
	}
	c->subject_threshold = reader_f32le(r);
	c->relation.threshold = reader_f32le(r);
	take_floats(r, c->mean, c->hidden);
	take_floats(r, c->deviation, c->hidden);
	take_floats(r, c->whiten, c->hidden * c->dims);
	take_floats(r, c->relation.mean, c->hidden);
	take_floats(r, c->relation.deviation, c->hidden);
	take_floats(r, c->relation.head, c->hidden * c->relation.dims);
	for (size_t i = 0; i < c->relation.common_count; i++)
		c->relation.common[i] = reader_u64le(r);
}

static bool all_finite(const float *values, size_t count)
{
	for (size_t i = 0; i < count; i++) {
		if (!isfinite(values[i]))
			return false;
	}
	return true;
}

static int check_statistics(const char *key, const float *mean, const float *deviation, size_t count, struct err *e)
{
	for (size_t i = 0; i < count; i++) {
		if (!isfinite(mean[i]) || !isfinite(deviation[i]) || deviation[i] <= 0)
			return err_set(e, ERR_CORRUPT,
				       "calibration: statistics of the %s key's component %zu are not usable", key, i);
	}
	return 0;
}

static int check(const struct editor_calibration *c, struct err *e)
{
	for (size_t i = 0; i < EDITOR_THRESHOLDS; i++) {
		if (c->thresholds[i].edit_count == 0 || !isfinite(c->thresholds[i].threshold) ||
		    (i > 0 && c->thresholds[i].edit_count <= c->thresholds[i - 1].edit_count))
			return err_set(e, ERR_CORRUPT, "calibration: threshold %zu is out of order or not finite", i);
	}
	if (!isfinite(c->subject_threshold) || !isfinite(c->relation.threshold))
		return err_set(e, ERR_CORRUPT, "calibration: a threshold is not finite");
	if (!all_finite(c->whiten, c->hidden * c->dims) || !all_finite(c->relation.head, c->hidden * c->relation.dims))
		return err_set(e, ERR_CORRUPT, "calibration: a matrix holds a number that is not finite");
	for (size_t i = 1; i < c->relation.common_count; i++) {
		if (c->relation.common[i] <= c->relation.common[i - 1])
			return err_set(e, ERR_CORRUPT, "calibration: common word %zu is out of order", i);
	}
	int rc = check_statistics("prompt", c->mean, c->deviation, c->hidden, e);
	return rc == 0 ? check_statistics("relation", c->relation.mean, c->relation.deviation, c->hidden, e) : rc;
}

int editor_calibration_decode(const void *bytes, size_t len, struct editor_calibration **out, struct err *e)
{
	struct editor_calibration *c = NULL;
	struct header h = { 0 };
	struct reader r;
	reader_init(&r, bytes, len);
	int rc = read_header(&r, &h, e);
	if (rc == 0)
		rc = editor__calibration_new(h.hidden, h.dims, h.relation_dims, &c, e);
	if (rc != 0)
		return rc;
	c->prompt_layer = h.prompt_layer;
	c->relation.layer = h.relation_layer;
	c->relation.common_count = h.common_count;
	c->relation.common = fault_calloc(h.common_count + 1, sizeof(*c->relation.common));
	if (c->relation.common == NULL) {
		rc = err_set(e, ERR_NOMEM, "calibration: out of memory");
	} else {
		read_body(&r, c);
		rc = check(c, e);
	}
	if (rc == 0)
		rc = editor__calibration_shorten(c, e);
	if (rc != 0) {
		editor_calibration_destroy(&c);
		return rc;
	}
	*out = c;
	return 0;
}

float editor_calibration_threshold(const struct editor_calibration *c, size_t edit_count)
{
	size_t hi = 1;
	if (edit_count <= c->thresholds[0].edit_count)
		return c->thresholds[0].threshold;
	while (hi + 1 < EDITOR_THRESHOLDS && edit_count > c->thresholds[hi].edit_count)
		hi++;
	const double a = log((double)c->thresholds[hi - 1].edit_count), b = log((double)c->thresholds[hi].edit_count);
	const double t = (log((double)edit_count) - a) / (b - a);
	const double low = (double)c->thresholds[hi - 1].threshold, high = (double)c->thresholds[hi].threshold;
	const double value = low + t * (high - low);
	return value > 1.0 ? 1.0f : (float)value;
}
