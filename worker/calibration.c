/* calibration.c: where a worker's calibration comes from: a file it was given, its cache, or (family `paper`) the
 * coordinator's settings. What none of them has is made by the first job (job.c). */
#include "worker/internal.h"

#include "base/log.h"
#include "editor/calibration_cache.h"

/* ---- A file of `amend calibrate` */

static int given_take(struct worker *w, struct buf *bytes, struct err *e)
{
	const char *path = w->config.calibration_file;
	int rc = editor_calibration_file_read(path, bytes, &w->given, e);
	if (rc == 0)
		rc = editor_calibration_file_family(&w->given, path, &w->given_family, e);
	if (rc == 0)
		rc = editor_calibration_file_check(&w->given, path, w->given_family, model_digest(w->model), e);
	if (rc != 0)
		return rc;
	hash_of(bytes->data, bytes->len, &w->calibration_named);
	log_event(LOG_INFO, "WORKER-CALIBRATION-GIVEN", LOGF_S("file", path),
		  LOGF_X("digest", w->calibration_named.bytes, 8));
	return 0;
}

static int given_open(struct worker *w, struct err *e)
{
	struct buf bytes = BUF_INIT;
	int rc = given_take(w, &bytes, e);
	if (rc == 0 && w->given_family == EDITOR_FAMILY_AMEND) {
		w->calibration = bytes;
		return 0;
	}
	buf_free(&bytes); /* of the paper's family: the coordinator's settings come with it */
	return rc;
}

/* ---- The cache */

static int cache_load(struct worker *w, struct err *e)
{
	int rc = editor_calibration_cache_load(w->config.data_folder, model_digest(w->model), &w->calibration_named,
					       &w->config.editor, &w->calibration, e);
	if (rc != 0)
		buf_free(&w->calibration); /* what was read of a damaged one */
	if (rc == ERR_CORRUPT)
		log_event(LOG_WARN, "WORKER-CALIBRATION-DAMAGED", LOGF_S("reason", e->text));
	return rc == ERR_CORRUPT || rc == ERR_NOT_FOUND ? 0 : rc; /* made, or made again, by the first job */
}

int worker__calibration_open(struct worker *w, struct err *e)
{
	const bool given = w->config.calibration_file != NULL;
	int rc = hash_of_file(w->config.calibration_corpus, &w->corpus, e);
	if (rc != 0 && rc != ERR_NOT_FOUND && !given) { /* the job that needs it says that it is not there */
		err_wrap(e, "calibration corpus");
		return rc;
	}
	if (given)
		return given_open(w, e);
	w->calibration_named = w->corpus;
	return rc == 0 ? cache_load(w, e) : 0;
}

int worker__calibration_save(const struct worker *w, const struct buf *bytes, struct err *e)
{
	struct hash corpus;
	int rc = hash_of_file(w->config.calibration_corpus, &corpus, e);
	return rc == 0 ? editor_calibration_cache_save(w->config.data_folder, model_digest(w->model), &corpus,
						       &w->config.editor, bytes, e)
		       : rc;
}

/* ---- The coordinator's settings */

/* A bare calibration of gap.h, or one in a file of `amend calibrate`; of the latter what it was fitted on stays. */
static int settings_decode(const struct worker *w, const struct msg_bytes *settings, size_t layer,
			   struct editor_calibration_file *file, struct editor_wise_calibration *out, struct err *e)
{
	static const char whose[] = "the coordinator's calibration file";
	if (!editor_calibration_file_is(settings->bytes, settings->len))
		return editor_wise_calibration_decode(settings->bytes, settings->len, out, e);
	int rc = editor_calibration_file_decode(settings->bytes, settings->len, file, e);
	if (rc == 0)
		rc = editor_calibration_file_check(file, whose, EDITOR_FAMILY_PAPER, model_digest(w->model), e);
	if (rc == 0)
		rc = editor_wise_calibration_decode(file->calibration.data, file->calibration.len, out, e);
	return rc == 0 ? editor_calibration_file_margins(file, whose, layer, &out->wise, e) : rc;
}

/* With the base model that the settings belong to here. */
static int settings_encode(const struct worker *w, struct editor_calibration_file *file,
			   struct editor_wise_calibration *calibration, struct buf *out, struct err *e)
{
	calibration->base_model = *model_digest(w->model);
	if (file->fitting.file_count == 0)
		return editor_wise_calibration_encode(calibration, out, e);
	buf_clear(&file->calibration);
	int rc = editor_wise_calibration_encode(calibration, &file->calibration, e);
	return rc == 0 ? editor_calibration_file_encode(file, out, e) : rc;
}

/* The layer is the coordinator's, else the family's own of the model: only here both are known. */
static int paper_take(struct worker *w, const struct msg_hello_reply *reply, struct err *e)
{
	struct editor_calibration_file file = { .calibration = BUF_INIT };
	struct editor_wise_calibration calibration;
	struct buf bytes = BUF_INIT;
	editor_config_set_family(&w->config.editor, EDITOR_FAMILY_PAPER, model_shape_of(w->model));
	if (reply->layer != UINT32_MAX)
		w->config.editor.layer = reply->layer;
	int rc = settings_decode(w, &reply->settings, w->config.editor.layer, &file, &calibration, e);
	if (rc == 0) {
		w->config.editor.wise = calibration.wise;
		rc = settings_encode(w, &file, &calibration, &bytes, e);
	}
	editor_calibration_file_fini(&file);
	if (rc != 0) {
		buf_free(&bytes);
		return rc;
	}
	buf_free(&w->calibration);
	w->calibration = bytes;
	return w->calibrated ? store_blob_put(w->blobs, bytes.data, bytes.len, &w->calibration_root, e) : 0;
}

/* A file that this worker was started with says the same margins, or the two were not started for one another. */
static int given_agrees(const struct worker *w, struct err *e)
{
	const char *path = w->config.calibration_file;
	struct editor_wise_config own = w->config.editor.wise;
	const struct editor_wise_config *cluster = &w->config.editor.wise;
	int rc = editor_calibration_file_check(&w->given, path, EDITOR_FAMILY_PAPER, model_digest(w->model), e);
	if (rc == 0)
		rc = editor_calibration_file_margins(&w->given, path, w->config.editor.layer, &own, e);
	if (rc != 0)
		return rc;
	const float pairs[][2] = { { own.alpha, cluster->alpha },
				   { own.beta, cluster->beta },
				   { own.gamma, cluster->gamma },
				   { own.act_ratio, cluster->act_ratio } };
	for (size_t i = 0; i < sizeof pairs / sizeof pairs[0]; i++) {
		if (pairs[i][0] < pairs[i][1] || pairs[i][0] > pairs[i][1])
			return err_set(e, ERR_MISMATCH,
				       "%s has other margins than the coordinator's settings: start both with the same "
				       "--calibration file",
				       path);
	}
	return 0;
}

int worker__calibration_settings(struct worker *w, const struct msg_hello_reply *reply, struct err *e)
{
	const bool given = w->config.calibration_file != NULL;
	if (reply->settings.len == 0)
		return given ? editor_calibration_file_check(&w->given, w->config.calibration_file, EDITOR_FAMILY_AMEND,
							     model_digest(w->model), e)
			     : 0;
	int rc = hash_is_zero(&w->corpus)
			 ? err_set(e, ERR_NOT_FOUND,
				   "calibration corpus %s is not there, and family paper trains on its texts: name "
				   "another with --corpus",
				   w->config.calibration_corpus)
			 : paper_take(w, reply, e);
	return rc == 0 && given ? given_agrees(w, e) : rc;
}
