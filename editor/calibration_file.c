#include "editor/calibration_file.h"

#include "base/fault.h"
#include "base/text.h"
#include "editor/corpus.h"
#include "editor/gap.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define MAGIC           "AMCF"
#define FORMAT          1u
#define FILE_BYTES_MAX  ((size_t)512 * 1024 * 1024)
#define CALIBRATE_AGAIN "make it again with `amend calibrate`"

/* ---- What it was fitted on */

int editor_fitting_add_file(struct editor_fitting *fitting, const char *role, const char *path, struct err *e)
{
	const char *name = strrchr(path, '/');
	if (fitting->file_count == EDITOR_FITTED_FILES_MAX)
		return err_set(e, ERR_LIMIT, "%s: a calibration is fitted on at most %d files", path,
			       EDITOR_FITTED_FILES_MAX);
	struct editor_fitted_file *file = &fitting->files[fitting->file_count];
	*file = (struct editor_fitted_file){ .role = "" };
	snprintf(file->role, sizeof(file->role), "%s", role);
	text_show_line(name != NULL ? name + 1 : path, strlen(name != NULL ? name + 1 : path), file->name,
		       sizeof(file->name));
	int rc = hash_of_file(path, &file->sha256, e);
	fitting->file_count += rc == 0;
	return rc;
}

static int reserve(struct editor_fitting *fitting, size_t count, struct err *e)
{
	if (count <= fitting->text_cap)
		return 0;
	if (count > EDITOR_FITTED_TEXTS_MAX)
		return err_set(e, ERR_LIMIT, "more than %u texts to fit on: leave some out", EDITOR_FITTED_TEXTS_MAX);
	const size_t cap = count < 256 ? 256 : 2 * count;
	struct hash *grown = fault_realloc(fitting->texts, cap * sizeof(*grown));
	if (grown == NULL)
		return err_set(e, ERR_NOMEM, "out of memory for %zu texts", count);
	fitting->texts = grown;
	fitting->text_cap = cap;
	return 0;
}

static int digest_of(const char *text, size_t len, struct hash *out)
{
	struct buf folded = BUF_INIT;
	int rc = text_fold(text, len, &folded);
	if (rc == 0)
		hash_of(folded.data, folded.len, out);
	buf_free(&folded);
	return rc;
}

int editor_fitting_add_text(struct editor_fitting *fitting, const char *text, size_t len, struct err *e)
{
	int rc = reserve(fitting, fitting->text_count + 1, e);
	if (rc != 0)
		return rc;
	rc = digest_of(text, len, &fitting->texts[fitting->text_count]);
	if (rc != 0)
		return err_set(e, rc, "text %zu of the fitting cannot be read", fitting->text_count + 1);
	fitting->text_count++;
	return 0;
}

int editor_fitting_add_corpus(struct editor_fitting *fitting, const char *corpus, size_t corpus_len, struct err *e)
{
	struct editor_corpus_line line;
	struct editor_corpus lines;
	int rc;
	editor_corpus_init(&lines, "calibration corpus", corpus, corpus_len);
	while ((rc = editor_corpus_next(&lines, &line, e)) == 0) {
		rc = editor_fitting_add_text(fitting, line.text.text, line.text.len, e);
		if (rc != 0) {
			err_wrap(e, "calibration corpus");
			return rc;
		}
	}
	return rc == ERR_NOT_FOUND ? 0 : rc;
}

int editor_fitting_add_digests(struct editor_fitting *fitting, const struct editor_fitting *other, struct err *e)
{
	int rc = reserve(fitting, fitting->text_count + other->text_count, e);
	if (rc == 0 && other->text_count > 0) {
		memcpy(fitting->texts + fitting->text_count, other->texts, other->text_count * sizeof(*other->texts));
		fitting->text_count += other->text_count;
	}
	return rc;
}

static int compare(const void *a, const void *b)
{
	return memcmp(a, b, HASH_BYTES);
}

void editor_fitting_sort(struct editor_fitting *fitting)
{
	size_t kept = 0;
	if (fitting->text_count > 0)
		qsort(fitting->texts, fitting->text_count, sizeof(*fitting->texts), compare);
	for (size_t i = 0; i < fitting->text_count; i++) {
		if (kept == 0 || !hash_equal(&fitting->texts[kept - 1], &fitting->texts[i]))
			fitting->texts[kept++] = fitting->texts[i];
	}
	fitting->text_count = kept;
}

int editor_fitting_has(const struct editor_fitting *fitting, const char *text, size_t len, bool *found)
{
	struct hash digest;
	int rc = digest_of(text, len, &digest);
	*found = rc == 0 && fitting->text_count > 0 &&
		 bsearch(&digest, fitting->texts, fitting->text_count, sizeof(digest), compare) != NULL;
	return rc;
}

void editor_fitting_fini(struct editor_fitting *fitting)
{
	free(fitting->texts);
	*fitting = (struct editor_fitting){ .text_count = 0 };
}

/* ---- Bytes */

static void put_text(struct buf *out, const char *text)
{
	buf_u32le(out, (uint32_t)strlen(text));
	buf_puts(out, text);
}

int editor_calibration_file_encode(struct editor_calibration_file *file, struct buf *out, struct err *e)
{
	const struct editor_fitting *fitting = &file->fitting;
	editor_fitting_sort(&file->fitting);
	buf_append(out, MAGIC, 4);
	buf_u32le(out, FORMAT);
	buf_u32le(out, (uint32_t)fitting->file_count);
	for (size_t i = 0; i < fitting->file_count; i++) {
		put_text(out, fitting->files[i].role);
		put_text(out, fitting->files[i].name);
		buf_append(out, fitting->files[i].sha256.bytes, HASH_BYTES);
	}
	buf_u32le(out, (uint32_t)fitting->text_count);
	for (size_t i = 0; i < fitting->text_count; i++)
		buf_append(out, fitting->texts[i].bytes, HASH_BYTES);
	buf_append(out, file->calibration.data, file->calibration.len);
	return buf_failed(out) ? err_set(e, ERR_NOMEM, "calibration file: out of memory") : 0;
}

/* false: cut off, or longer than its place. */
static bool take_text(struct reader *r, char *out, size_t out_bytes)
{
	const uint32_t len = reader_u32le(r);
	const void *text = len < out_bytes ? reader_bytes(r, len) : NULL;
	if (text == NULL)
		return false;
	memcpy(out, text, len);
	out[len] = '\0';
	return true;
}

static int read_files(struct reader *r, struct editor_fitting *fitting, struct err *e)
{
	const uint32_t count = reader_u32le(r);
	bool whole = !r->overrun && count <= EDITOR_FITTED_FILES_MAX;
	for (uint32_t i = 0; whole && i < count; i++) {
		struct editor_fitted_file *file = &fitting->files[i];
		whole = take_text(r, file->role, sizeof(file->role)) && take_text(r, file->name, sizeof(file->name));
		const void *sha256 = whole ? reader_bytes(r, HASH_BYTES) : NULL;
		whole = sha256 != NULL;
		if (whole)
			memcpy(file->sha256.bytes, sha256, HASH_BYTES);
	}
	fitting->file_count = count;
	return whole ? 0 : err_set(e, ERR_CORRUPT, "calibration file: the list of its files is cut off or damaged");
}

static int read_texts(struct reader *r, struct editor_fitting *fitting, struct err *e)
{
	const uint32_t count = reader_u32le(r);
	const uint8_t *texts = count <= EDITOR_FITTED_TEXTS_MAX ? reader_bytes(r, (size_t)count * HASH_BYTES) : NULL;
	if (texts == NULL)
		return err_set(e, ERR_CORRUPT, "calibration file: the list of its texts is cut off or damaged");
	int rc = reserve(fitting, count, e);
	for (uint32_t i = 0; rc == 0 && i < count; i++) {
		memcpy(fitting->texts[i].bytes, texts + (size_t)i * HASH_BYTES, HASH_BYTES);
		if (i > 0 && compare(&fitting->texts[i - 1], &fitting->texts[i]) >= 0)
			rc = err_set(e, ERR_CORRUPT, "calibration file: text %u is out of order", i);
	}
	fitting->text_count = rc == 0 ? count : 0;
	return rc;
}

bool editor_calibration_file_is(const void *bytes, size_t len)
{
	return len >= 4 && memcmp(bytes, MAGIC, 4) == 0;
}

int editor_calibration_file_decode(const void *bytes, size_t len, struct editor_calibration_file *out, struct err *e)
{
	struct reader r;
	reader_init(&r, bytes, len);
	*out = (struct editor_calibration_file){ .calibration = BUF_INIT };
	if (!editor_calibration_file_is(bytes, len))
		return err_set(e, ERR_CORRUPT, "calibration file: does not begin with " MAGIC);
	(void)reader_bytes(&r, 4);
	const uint32_t format = reader_u32le(&r);
	if (!r.overrun && format != FORMAT)
		return err_set(e, ERR_UNSUPPORTED, "calibration file: format %u is not known, this program reads %u",
			       format, FORMAT);
	int rc = read_files(&r, &out->fitting, e);
	if (rc == 0)
		rc = read_texts(&r, &out->fitting, e);
	if (rc == 0) {
		buf_append(&out->calibration, r.data + r.at, r.len - r.at);
		rc = buf_failed(&out->calibration) ? err_set(e, ERR_NOMEM, "calibration file: out of memory") : 0;
	}
	if (rc != 0)
		editor_calibration_file_fini(out);
	return rc;
}

void editor_calibration_file_fini(struct editor_calibration_file *file)
{
	editor_fitting_fini(&file->fitting);
	buf_free(&file->calibration);
}

/* ---- Files */

int editor_calibration_file_read(const char *path, struct buf *bytes, struct editor_calibration_file *out,
				 struct err *e)
{
	struct buf own = BUF_INIT, *into = bytes != NULL ? bytes : &own;
	int rc = file_read_sealed(path, FILE_BYTES_MAX, into, e);
	if (rc == ERR_NOT_FOUND)
		err_set(e, rc, "calibration file %s is not there: " CALIBRATE_AGAIN " --out %s, or name another", path,
			path);
	else if (rc == ERR_CORRUPT)
		err_set(e, rc,
			"%s is no calibration file, or it is cut off or damaged: copy it again, or " CALIBRATE_AGAIN,
			path);
	if (rc == 0) {
		rc = editor_calibration_file_decode(into->data, into->len, out, e);
		if (rc != 0)
			err_wrap(e, "%s cannot be used, " CALIBRATE_AGAIN, path);
	}
	buf_free(&own);
	return rc;
}

static int read_head(const struct editor_calibration_file *file, const char *path, enum editor_family *family,
		     struct hash *base_model, struct err *e)
{
	const struct buf *bytes = &file->calibration;
	struct editor_calibration *calibration = NULL;
	struct editor_wise_calibration paper;
	int rc;
	if (editor_wise_calibration_is(bytes->data, bytes->len)) {
		rc = editor_wise_calibration_decode(bytes->data, bytes->len, &paper, e);
		*family = EDITOR_FAMILY_PAPER;
		*base_model = paper.base_model;
	} else {
		rc = editor_calibration_decode(bytes->data, bytes->len, &calibration, e);
		*family = EDITOR_FAMILY_AMEND;
		*base_model = rc == 0 ? calibration->base_model : (struct hash){ { 0 } };
	}
	editor_calibration_destroy(&calibration);
	if (rc != 0)
		err_wrap(e, "%s cannot be used, " CALIBRATE_AGAIN, path);
	return rc;
}

int editor_calibration_file_family(const struct editor_calibration_file *file, const char *path,
				   enum editor_family *family, struct err *e)
{
	struct hash base_model;
	return read_head(file, path, family, &base_model, e);
}

int editor_calibration_file_check(const struct editor_calibration_file *file, const char *path,
				  enum editor_family family, const struct hash *base_model, struct err *e)
{
	static const char *const names[] = { [EDITOR_FAMILY_AMEND] = "amend", [EDITOR_FAMILY_PAPER] = "paper" };
	char theirs[HASH_HEX_BYTES], ours[HASH_HEX_BYTES];
	enum editor_family own;
	struct hash made_for;
	int rc = read_head(file, path, &own, &made_for, e);
	if (rc != 0)
		return rc;
	if (own != family)
		return err_set(e, ERR_MISMATCH,
			       "%s is a calibration of family %s, and edits are of family %s: set --family %s, or "
			       "calibrate with `amend calibrate --family %s`",
			       path, names[own], names[family], names[own], names[family]);
	if (base_model == NULL || hash_equal(&made_for, base_model))
		return 0;
	hash_hex(&made_for, theirs);
	hash_hex(base_model, ours);
	return err_set(e, ERR_MISMATCH,
		       "%s was made for the base model %.12s, this one is %.12s: give that model, or run `amend "
		       "calibrate` with this one",
		       path, theirs, ours);
}

static bool is_same(double a, double b)
{
	return !(a < b) && !(a > b);
}

int editor_calibration_file_margins(const struct editor_calibration_file *file, const char *path, size_t layer,
				    struct editor_wise_config *config, struct err *e)
{
	struct editor_wise_calibration paper;
	int rc = editor_wise_calibration_decode(file->calibration.data, file->calibration.len, &paper, e);
	if (rc != 0) {
		err_wrap(e, "%s", path);
		return rc;
	}
	const struct {
		const char *name;
		double measured, set;
	} settings[] = {
		{ "layer", paper.layer, layer == SIZE_MAX ? paper.layer : (double)layer },
		{ "wise.steps", (double)paper.wise.steps_max, (double)config->steps_max },
		{ "wise.rate", (double)paper.wise.rate, (double)config->rate },
		{ "wise.clip", (double)paper.wise.clip, (double)config->clip },
		{ "wise.mask_ratio", (double)paper.wise.mask_ratio, (double)config->mask_ratio },
	};
	for (size_t i = 0; i < sizeof(settings) / sizeof(settings[0]); i++) {
		const char *name = settings[i].name;
		const double measured = settings[i].measured, set = settings[i].set;
		if (!is_same(measured, set))
			return err_set(e, ERR_MISMATCH,
				       "%s was measured with %s at %g, edits are trained with %g: run `amend calibrate "
				       "--family paper --%s %g`, or set --%s %g",
				       path, name, measured, set, name, set, name, measured);
	}
	config->alpha = paper.wise.alpha;
	config->beta = paper.wise.beta;
	config->gamma = paper.wise.gamma;
	config->act_ratio = paper.wise.act_ratio;
	return 0;
}

int editor_calibration_file_alone(const struct editor_calibration_file *file, const char *path,
				  const struct editor_wise_config *config, struct err *e)
{
	struct editor_wise_calibration paper;
	struct editor_wise_config unset;
	int rc = editor_wise_calibration_decode(file->calibration.data, file->calibration.len, &paper, e);
	if (rc != 0) {
		err_wrap(e, "%s", path);
		return rc;
	}
	const struct editor_wise_config *measured = &paper.wise;
	editor_wise_config_default(&unset);
	const struct {
		const char *name;
		double measured, set, unset;
	} margins[] = {
		{ "wise.alpha", (double)measured->alpha, (double)config->alpha, (double)unset.alpha },
		{ "wise.beta", (double)measured->beta, (double)config->beta, (double)unset.beta },
		{ "wise.gamma", (double)measured->gamma, (double)config->gamma, (double)unset.gamma },
		{ "wise.act_ratio", (double)measured->act_ratio, (double)config->act_ratio, (double)unset.act_ratio },
	};
	for (size_t i = 0; i < sizeof(margins) / sizeof(margins[0]); i++) {
		if (!is_same(margins[i].set, margins[i].unset) && !is_same(margins[i].set, margins[i].measured))
			return err_set(e, ERR_MISMATCH,
				       "%s holds %s %g, and it is set to %g as well: leave out the file, and set all "
				       "four margins, or leave out --%s",
				       path, margins[i].name, margins[i].measured, margins[i].set, margins[i].name);
	}
	return 0;
}
