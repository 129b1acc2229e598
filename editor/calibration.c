/* The bytes of a calibration, and the threshold for a number of edits. */
#include "base/fault.h"
#include "editor/whiten.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

#define CALIBRATION_MAGIC  "AMCA"
#define CALIBRATION_FORMAT 1u

int editor__calibration_new(size_t hidden, struct editor_calibration **out, struct err *e)
{
	struct editor_calibration *c = fault_calloc(1, sizeof(*c));
	if (c != NULL) {
		c->hidden = hidden;
		c->mean = fault_calloc(hidden, sizeof(float));
		c->deviation = fault_calloc(hidden, sizeof(float));
		c->whiten = fault_calloc(hidden * hidden, sizeof(float));
	}
	if (c == NULL || c->mean == NULL || c->deviation == NULL || c->whiten == NULL) {
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
	free(c);
	*calibration = NULL;
}

/* The whitening is upper triangular: only that half is written. */
int editor_calibration_encode(const struct editor_calibration *c, struct buf *out, struct err *e)
{
	const size_t start = out->len, hidden = c->hidden;
	buf_append(out, CALIBRATION_MAGIC, 4);
	buf_u32le(out, CALIBRATION_FORMAT);
	buf_u32le(out, (uint32_t)hidden);
	buf_u32le(out, (uint32_t)c->prompt_layer);
	buf_u32le(out, EDITOR_THRESHOLDS);
	buf_append(out, c->base_model.bytes, HASH_BYTES);
	buf_append(out, c->corpus.bytes, HASH_BYTES);
	for (size_t i = 0; i < EDITOR_THRESHOLDS; i++) {
		buf_u32le(out, c->thresholds[i].edit_count);
		buf_f32le(out, c->thresholds[i].threshold);
	}
	buf_f32le(out, c->subject_threshold);
	for (size_t i = 0; i < hidden; i++)
		buf_f32le(out, c->mean[i]);
	for (size_t i = 0; i < hidden; i++)
		buf_f32le(out, c->deviation[i]);
	for (size_t i = 0; i < hidden; i++) {
		for (size_t j = i; j < hidden; j++)
			buf_f32le(out, c->whiten[i * hidden + j]);
	}
	if (buf_failed(out)) {
		out->len = start;
		return err_set(e, ERR_NOMEM, "calibration: out of memory");
	}
	return 0;
}

static int read_header(struct reader *r, size_t *hidden, size_t *prompt_layer, struct err *e)
{
	const void *magic = reader_bytes(r, 4);
	if (magic == NULL || memcmp(magic, CALIBRATION_MAGIC, 4) != 0)
		return err_set(e, ERR_CORRUPT, "calibration: does not begin with " CALIBRATION_MAGIC);
	const uint32_t format = reader_u32le(r);
	*hidden = reader_u32le(r);
	*prompt_layer = reader_u32le(r);
	const uint32_t threshold_count = reader_u32le(r);
	if (r->overrun)
		return err_set(e, ERR_CORRUPT, "calibration: header cut off");
	if (format != CALIBRATION_FORMAT)
		return err_set(e, ERR_UNSUPPORTED, "calibration: format %u is not known, this program reads %u", format,
			       CALIBRATION_FORMAT);
	if (*hidden == 0 || *hidden > EDITOR_HIDDEN_MAX || threshold_count != EDITOR_THRESHOLDS)
		return err_set(e, ERR_CORRUPT, "calibration: keys of %zu and %u thresholds", *hidden, threshold_count);
	const size_t floats = 2 * EDITOR_THRESHOLDS + 1 + 2 * *hidden + *hidden * (*hidden + 1) / 2;
	if (r->len - r->at != 2 * HASH_BYTES + floats * sizeof(float))
		return err_set(e, ERR_CORRUPT, "calibration: %zu bytes do not fit keys of %zu", r->len, *hidden);
	return 0;
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
	for (size_t i = 0; i < c->hidden; i++)
		c->mean[i] = reader_f32le(r);
	for (size_t i = 0; i < c->hidden; i++)
		c->deviation[i] = reader_f32le(r);
	for (size_t i = 0; i < c->hidden; i++) {
		for (size_t j = i; j < c->hidden; j++)
			c->whiten[i * c->hidden + j] = reader_f32le(r);
	}
}

static int check(const struct editor_calibration *c, struct err *e)
{
	for (size_t i = 0; i < EDITOR_THRESHOLDS; i++) {
		if (c->thresholds[i].edit_count == 0 || !isfinite(c->thresholds[i].threshold) ||
		    (i > 0 && c->thresholds[i].edit_count <= c->thresholds[i - 1].edit_count))
			return err_set(e, ERR_CORRUPT, "calibration: threshold %zu is out of order or not finite", i);
	}
	if (!isfinite(c->subject_threshold))
		return err_set(e, ERR_CORRUPT, "calibration: the subject's threshold is not finite");
	for (size_t i = 0; i < c->hidden; i++) {
		if (!isfinite(c->mean[i]) || !isfinite(c->deviation[i]) || c->deviation[i] <= 0)
			return err_set(e, ERR_CORRUPT, "calibration: statistics of component %zu are not usable", i);
	}
	for (size_t i = 0; i < c->hidden * c->hidden; i++) {
		if (!isfinite(c->whiten[i]))
			return err_set(e, ERR_CORRUPT, "calibration: the whitening holds a number that is not finite");
	}
	return 0;
}

int editor_calibration_decode(const void *bytes, size_t len, struct editor_calibration **out, struct err *e)
{
	struct editor_calibration *c = NULL;
	size_t hidden = 0, prompt_layer = 0;
	struct reader r;
	reader_init(&r, bytes, len);
	int rc = read_header(&r, &hidden, &prompt_layer, e);
	if (rc == 0)
		rc = editor__calibration_new(hidden, &c, e);
	if (rc != 0)
		return rc;
	c->prompt_layer = prompt_layer;
	read_body(&r, c);
	rc = check(c, e);
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
