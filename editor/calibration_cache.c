/* calibration_cache.c: see calibration_cache.h. */
#include "editor/calibration_cache.h"

#include "editor/whiten.h"

#include <stdio.h>

#define CALIBRATION_BYTES_MAX (256 * 1024 * 1024)
#define PATH_BYTES_MAX        4096

/* What editor_calibrate reads of the settings, and the form of its bytes. */
static int settings_digest(const struct editor_config *config, struct hash *out, struct err *e)
{
	struct buf b = BUF_INIT;
	buf_u32le(&b, EDITOR__CALIBRATION_FORMAT);
	buf_u32le(&b, EDITOR__CALIBRATION_METHOD);
	buf_u32le(&b, (uint32_t)config->prompt_layer);
	buf_u32le(&b, (uint32_t)config->relation_layer);
	buf_u32le(&b, (uint32_t)config->prompt_dims);
	buf_u32le(&b, (uint32_t)config->relation_dims);
	buf_u32le(&b, (uint32_t)config->relation_steps);
	buf_f32le(&b, config->ridge);
	buf_f32le(&b, config->false_route_share);
	buf_f32le(&b, config->false_relation_share);
	hash_of(b.data, b.len, out);
	int rc = buf_failed(&b) ? err_set(e, ERR_NOMEM, "calibration: out of memory") : 0;
	buf_free(&b);
	return rc;
}

static int cache_path(const char *folder, const struct hash *base_model, const struct hash *corpus,
		      const struct editor_config *config, char out[PATH_BYTES_MAX], struct err *e)
{
	char model[HASH_HEX_BYTES], text[HASH_HEX_BYTES], settings[HASH_HEX_BYTES];
	struct hash digest;
	int rc = settings_digest(config, &digest, e);
	if (rc != 0)
		return rc;
	hash_hex(base_model, model);
	hash_hex(corpus, text);
	hash_hex(&digest, settings);
	int len = snprintf(out, PATH_BYTES_MAX, "%s/calibration-%.12s-%.12s-%.12s.bin", folder, model, text, settings);
	return len < PATH_BYTES_MAX ? 0 : err_set(e, ERR_LIMIT, "%.64s…: the path is too long", folder);
}

/* The name holds only the beginnings of the digests. */
static int belongs(const struct buf *bytes, const char *path, const struct hash *base_model, const struct hash *corpus,
		   struct err *e)
{
	struct editor_calibration *c = NULL;
	int rc = editor_calibration_decode(bytes->data, bytes->len, &c, e);
	if (rc == 0 && !(hash_equal(&c->base_model, base_model) && hash_equal(&c->corpus, corpus)))
		rc = err_set(e, ERR_NOT_FOUND, "%s is of another model or corpus", path);
	editor_calibration_destroy(&c);
	return rc;
}

int editor_calibration_cache_load(const char *folder, const struct hash *base_model, const struct hash *corpus,
				  const struct editor_config *config, struct buf *out, struct err *e)
{
	char path[PATH_BYTES_MAX];
	buf_clear(out);
	int rc = cache_path(folder, base_model, corpus, config, path, e);
	if (rc == 0)
		rc = file_read_sealed(path, CALIBRATION_BYTES_MAX, out, e);
	if (rc == 0)
		rc = belongs(out, path, base_model, corpus, e);
	if (rc != 0)
		buf_clear(out);
	return rc;
}

int editor_calibration_cache_save(const char *folder, const struct hash *base_model, const struct hash *corpus,
				  const struct editor_config *config, const struct buf *bytes, struct err *e)
{
	char path[PATH_BYTES_MAX];
	int rc = cache_path(folder, base_model, corpus, config, path, e);
	if (rc == 0)
		rc = file_make_folder(folder, e);
	return rc == 0 ? file_write_sealed(path, bytes->data, bytes->len, 0600, e) : rc;
}
