/* calibration_file.h: a calibration with what it was fitted on: what `amend calibrate` writes, what `--calibration
 * FILE` reads, and what a version names when its workers were given one. Bytes: {"AMCF", format, file count, per file:
 * role, name (each a u32 length and its bytes), SHA-256; text count, per text the SHA-256 of its folded form,
 * ascending; then the calibration's own bytes (route.h or gap.h)}, little-endian. On disk a SHA-256 of all that follows
 * (buf.h, sealed). Files are read and written whole; no threads' state. */
#ifndef AMEND_EDITOR_CALIBRATION_FILE_H
#define AMEND_EDITOR_CALIBRATION_FILE_H

#include "editor/config.h"

#include "base/buf.h"
#include "base/hash.h"

#define EDITOR_FITTED_FILES_MAX  8
#define EDITOR_FITTED_TEXTS_MAX  200000u
#define EDITOR_FITTED_NAME_BYTES 128

struct editor_fitted_file {
	char role[16];                       /* "corpus", "relation-head" */
	char name[EDITOR_FITTED_NAME_BYTES]; /* without its folders */
	struct hash sha256;
};
struct editor_fitting { /* what may not be evaluated with this calibration */
	struct editor_fitted_file files[EDITOR_FITTED_FILES_MAX];
	size_t file_count;
	struct hash *texts; /* of folded texts; ascending after decode */
	size_t text_count, text_cap;
};
struct editor_calibration_file {
	struct editor_fitting fitting;
	struct buf calibration; /* bytes of route.h or gap.h */
};

/* `path` is hashed; its last part becomes the name. ERR_LIMIT: more than EDITOR_FITTED_FILES_MAX. */
int editor_fitting_add_file(struct editor_fitting *fitting, const char *role, const char *path,
			    struct err *e) MUST_CHECK;
int editor_fitting_add_text(struct editor_fitting *fitting, const char *text, size_t len, struct err *e) MUST_CHECK;
/* Every text of a corpus (route.h: the last column of its lines). */
int editor_fitting_add_corpus(struct editor_fitting *fitting, const char *corpus, size_t corpus_len,
			      struct err *e) MUST_CHECK;
/* The texts of another fitting too. */
int editor_fitting_add_digests(struct editor_fitting *fitting, const struct editor_fitting *other,
			       struct err *e) MUST_CHECK;
/* Ascending, each once: what editor_fitting_has needs. */
void editor_fitting_sort(struct editor_fitting *fitting);
/* Whether `text`, folded, is one of them. ERR_INVALID: it is no UTF-8. */
int editor_fitting_has(const struct editor_fitting *fitting, const char *text, size_t len, bool *found) MUST_CHECK;
void editor_fitting_fini(struct editor_fitting *fitting);

/* Sorts the texts. */
int editor_calibration_file_encode(struct editor_calibration_file *file, struct buf *out, struct err *e) MUST_CHECK;
/* ERR_CORRUPT, ERR_UNSUPPORTED (another format). `out` needs fini only after success. The calibration itself is not
 * looked at. */
int editor_calibration_file_decode(const void *bytes, size_t len, struct editor_calibration_file *out,
				   struct err *e) MUST_CHECK;
/* Whether these bytes are such a file's (and not a bare calibration's). */
bool editor_calibration_file_is(const void *bytes, size_t len);
void editor_calibration_file_fini(struct editor_calibration_file *file);
/* A sealed file. Errors name the path and the next step: ERR_NOT_FOUND, ERR_CORRUPT (cut off or damaged). `bytes` (may
 * be NULL) gets what was decoded. */
int editor_calibration_file_read(const char *path, struct buf *bytes, struct editor_calibration_file *out,
				 struct err *e) MUST_CHECK;
/* Which family it is of. ERR_CORRUPT, ERR_UNSUPPORTED: the calibration in it cannot be read. */
int editor_calibration_file_family(const struct editor_calibration_file *file, const char *path,
				   enum editor_family *family, struct err *e) MUST_CHECK;
/* That it is of this family, and (unless NULL) of this base model. ERR_MISMATCH says what to do. */
int editor_calibration_file_check(const struct editor_calibration_file *file, const char *path,
				  enum editor_family family, const struct hash *base_model, struct err *e) MUST_CHECK;
/* Margins and threshold of a file of family `paper` into `config`. They hold for the edited layer and the settings of
 * training that they were measured with: ERR_MISMATCH names one that differs. `layer` SIZE_MAX: the family's own of a
 * model that is not known yet, not compared. */
int editor_calibration_file_margins(const struct editor_calibration_file *file, const char *path, size_t layer,
				    struct editor_wise_config *config, struct err *e) MUST_CHECK;
/* That people have not set a margin or the threshold beside the file, which would be passed over: ERR_MISMATCH names
 * one in `config` that has neither the file's value nor the published one. */
int editor_calibration_file_alone(const struct editor_calibration_file *file, const char *path,
				  const struct editor_wise_config *config, struct err *e) MUST_CHECK;

#endif
