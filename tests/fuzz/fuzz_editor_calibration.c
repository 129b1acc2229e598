/* Calibrations: a file of `amend calibrate`, the bytes of the default family, the settings of the paper's. The first
 * byte chooses. What decodes must make usable keys and encode. Limits: -max_len=16384 -malloc_limit_mb=4
 * -rss_limit_mb=1024 */
#include "tests/fuzz/fuzz.h"

#include "editor/calibration_file.h"
#include "editor/gap.h"
#include "tests/unit/editor/tiny.h"

#include <math.h>

#define HIDDEN 4

static void same(const struct buf *bytes, const uint8_t *data, size_t len)
{
	fuzz_check(bytes->len == len && memcmp(bytes->data, data, len) == 0, "other bytes than it was decoded from");
}

static void check_key(const float *key, size_t count)
{
	for (size_t i = 0; i < count; i++)
		fuzz_check(isfinite(key[i]), "a key that is not finite");
}

static void plain(const uint8_t *data, size_t len)
{
	struct editor_calibration *c = NULL;
	struct buf again = BUF_INIT;
	struct err e = ERR_INIT;
	if (editor_calibration_decode(data, len, &c, &e) != 0)
		return;
	float raw[EDITOR_HIDDEN_MAX], key[EDITOR_HIDDEN_MAX];
	for (size_t i = 0; i < c->hidden; i++)
		raw[i] = (float)i - 2.5f;
	fuzz_check(editor_calibration_encode(c, &again, &e) == 0, "a calibration cannot be encoded");
	same(&again, data, len);
	editor_calibration_key(c, raw, key);
	check_key(key, c->dims);
	editor_calibration_relation_key(c, raw, key);
	check_key(key, editor_calibration_relation_dims(c));
	for (size_t edits = 0; edits < 100000; edits = edits * 3 + 1)
		fuzz_check(editor_calibration_threshold(c, edits) <= 1.0f || edits <= c->thresholds[0].edit_count,
			   "a threshold that is none");
	editor_calibration_destroy(&c);
	buf_free(&again);
}

static void paper(const uint8_t *data, size_t len)
{
	struct editor_wise_calibration c;
	struct buf again = BUF_INIT;
	struct err e = ERR_INIT;
	if (editor_wise_calibration_decode(data, len, &c, &e) != 0)
		return;
	fuzz_check(editor_wise_calibration_encode(&c, &again, &e) == 0, "settings cannot be encoded");
	buf_free(&again);
}

static void file(const uint8_t *data, size_t len)
{
	struct editor_calibration_file file;
	struct buf again = BUF_INIT;
	struct err e = ERR_INIT;
	enum editor_family family;
	struct editor_wise_config wise = { .alpha = 1 };
	bool found;
	if (editor_calibration_file_decode(data, len, &file, &e) != 0)
		return;
	/* Texts come in any order; they are written in theirs. */
	fuzz_check(editor_calibration_file_encode(&file, &again, &e) == 0, "a calibration file cannot be encoded");
	fuzz_check(again.len <= len, "a calibration file grew");
	(void)!editor_fitting_has(&file.fitting, "Who leads X?", 12, &found);
	if (editor_calibration_file_family(&file, "f.cal", &family, &e) == 0 && family == EDITOR_FAMILY_PAPER)
		(void)!editor_calibration_file_margins(&file, "f.cal", 24, &wise, &e);
	editor_calibration_file_fini(&file);
	buf_free(&again);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t len)
{
	void (*const parse[])(const uint8_t *, size_t) = { plain, paper, file };
	if (len > 0)
		parse[data[0] % 3](data + 1, len - 1);
	return 0;
}

static void seed_head(void (*add)(const void *bytes, size_t len))
{
	static float values[HIDDEN * HIDDEN] = { 1, 2, 3, 4, 0, 1, 1, 1, 0, 0, 2, 1, 0, 0, 0, 1 };
	static float ones[HIDDEN] = { 1, 1, 1, 1 };
	static uint64_t common[] = { 3, 9 };
	struct editor_calibration c = {
		.hidden = HIDDEN, .dims = HIDDEN, .mean = values, .deviation = ones, .whiten = values
	};
	struct buf out = BUF_INIT;
	struct err e = ERR_INIT;
	c.relation.mean = values;
	c.relation.deviation = ones;
	c.relation.head = values;
	c.relation.dims = 2;
	c.relation.common = common;
	c.relation.common_count = 2;
	for (size_t i = 0; i < EDITOR_THRESHOLDS; i++) {
		c.thresholds[i].edit_count = 1u << i;
		c.thresholds[i].threshold = 0.5f;
	}
	fuzz_check(editor_calibration_encode(&c, &out, &e) == 0, "no seed");
	fuzz_add(add, 0, out.data, out.len);
	buf_free(&out);
}

static void seed_file(void (*add)(const void *bytes, size_t len), struct buf *calibration)
{
	struct editor_calibration_file file = { .calibration = *calibration };
	struct buf out = BUF_INIT;
	struct err e = ERR_INIT;
	fuzz_check(editor_fitting_add_text(&file.fitting, "Who leads X?", 12, &e) == 0 &&
			   editor_fitting_add_text(&file.fitting, "Who is Y?", 9, &e) == 0,
		   "no seed");
	file.fitting.file_count = 1;
	strcpy(file.fitting.files[0].role, "corpus");
	strcpy(file.fitting.files[0].name, "corpus.tsv");
	fuzz_check(editor_calibration_file_encode(&file, &out, &e) == 0, "no seed");
	fuzz_add(add, 2, out.data, out.len);
	buf_free(&out);
	editor_calibration_file_fini(&file); /* the calibration too */
	*calibration = (struct buf)BUF_INIT;
}

void fuzz_seeds(void (*add)(const void *bytes, size_t len))
{
	const struct hash model = { { 1 } };
	const struct editor_wise_calibration margins = { .base_model = model,
							 .layer = 24,
							 .wise = { .alpha = 5, .beta = 20 } };
	struct buf bytes = BUF_INIT;
	struct err e = ERR_INIT;
	seed_head(add);
	plain_calibration(&model, HIDDEN, 0.5f, 0.5f, 0.5f, &bytes);
	fuzz_add(add, 0, bytes.data, bytes.len);
	seed_file(add, &bytes);
	fuzz_check(editor_wise_calibration_encode(&margins, &bytes, &e) == 0, "no seed");
	fuzz_add(add, 1, bytes.data, bytes.len);
	seed_file(add, &bytes);
}
