#include "base/merge_plan.h"

#include "base/fault.h"
#include "base/json.h"

#include <inttypes.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define FORMAT         1
#define PATH_BYTES_MAX 4096
#define HEADER_LEN_MAX 4096

static const char *const operator_names[MERGE_OPERATOR_COUNT] = {
	[MERGE_ROUNDS] = "rounds", [MERGE_TIES] = "ties", [MERGE_LINEAR] = "linear",       [MERGE_SIGN] = "sign",
	[MERGE_SLERP] = "slerp",   [MERGE_DARE] = "dare", [MERGE_DARE_TIES] = "dare-ties",
};

const char *merge_operator_name(enum merge_operator operator)
{
	return operator_names[operator];
}

int merge_operator_parse(const char *name, enum merge_operator *out, struct err *e)
{
	for (size_t i = 0; i < MERGE_OPERATOR_COUNT; i++) {
		if (strcmp(name, operator_names[i]) == 0) {
			*out = (enum merge_operator)i;
			return 0;
		}
	}
	return err_set(e, ERR_INVALID,
		       "operator '%.32s': it may be rounds, ties, linear, sign, slerp, dare or dare-ties", name);
}

void merge_numbers_init(struct merge_numbers *numbers)
{
	*numbers = (struct merge_numbers){ .outer_momentum = -1.0, .noise = -1.0 };
}

int merge_plan_new(size_t shard_count, struct merge_plan **out, struct err *e)
{
	if (shard_count == 0 || shard_count > MERGE_PLAN_SHARDS_MAX)
		return err_set(e, ERR_INVALID, "merge plan: %zu shards: it may be 1 to %d", shard_count,
			       MERGE_PLAN_SHARDS_MAX);
	struct merge_plan *plan = fault_calloc(1, sizeof(*plan));
	if (plan == NULL)
		return err_set(e, ERR_NOMEM, "merge plan: out of memory");
	plan->shards = fault_calloc(shard_count, sizeof(*plan->shards));
	if (plan->shards == NULL) {
		free(plan);
		return err_set(e, ERR_NOMEM, "merge plan: out of memory");
	}
	plan->shard_count = shard_count;
	merge_numbers_init(&plan->numbers);
	*out = plan;
	return 0;
}

void merge_plan_destroy(struct merge_plan **plan)
{
	if (*plan == NULL)
		return;
	free((*plan)->shards);
	free(*plan);
	*plan = NULL;
}

/* ---- Writing */

static void put_count(struct json_w *w, const char *key, uint64_t v)
{
	if (v > 0)
		json_w_member_uint(w, key, v);
}

static void put_real(struct json_w *w, const char *key, double v, bool present)
{
	if (!present)
		return;
	json_w_member_real(w, key, v);
}

static void put_numbers(struct json_w *w, const struct merge_numbers *n)
{
	json_w_key(w, "config");
	json_w_open(w, '{');
	put_count(w, "rounds", n->rounds);
	put_count(w, "passes", n->passes);
	put_count(w, "batch_edits", n->batch_edits);
	put_real(w, "rate", n->rate, n->rate > 0);
	put_real(w, "outer_rate", n->outer_rate, n->outer_rate > 0);
	put_real(w, "outer_momentum", n->outer_momentum, n->outer_momentum >= 0);
	put_real(w, "noise", n->noise, n->noise >= 0);
	put_real(w, "density", n->density, n->density > 0);
	json_w_member_bool(w, "trim_nonzero", n->trim_nonzero);
	json_w_close(w);
}

static void put_shard(struct json_w *w, const struct merge_plan_shard *s)
{
	json_w_open(w, '{');
	json_w_member_uint(w, "id", s->id);
	json_w_member_str(w, "delta", s->delta);
	json_w_member_hash(w, "delta_sha256", &s->delta_hash);
	json_w_member_str(w, "edits", s->edits);
	json_w_member_hash(w, "edits_sha256", &s->edits_hash);
	json_w_close(w);
}

int merge_plan_encode(const struct merge_plan *plan, struct buf *out, struct err *e)
{
	struct json_w w;
	json_w_init(&w, out);
	json_w_open(&w, '{');
	json_w_member_uint(&w, "format", FORMAT);
	json_w_member_uint(&w, "merge", plan->merge);
	json_w_member_str(&w, "operator", operator_names[plan->operator]);
	json_w_member_hash(&w, "base_model", &plan->base_model);
	json_w_member_uint(&w, "layer", plan->layer);
	json_w_member_uint(&w, "seed", plan->seed);
	put_numbers(&w, &plan->numbers);
	json_w_key(&w, "shards");
	json_w_open(&w, '[');
	for (size_t i = 0; i < plan->shard_count; i++)
		put_shard(&w, &plan->shards[i]);
	json_w_close(&w);
	json_w_member_uint(&w, "deadline_ms", plan->deadline_ms);
	json_w_close(&w);
	return buf_failed(out) ? err_set(e, ERR_NOMEM, "merge plan: out of memory") : 0;
}

/* ---- Reading. Each getter does nothing after the first failure, so that a caller checks once. */
struct get {
	const struct json *object;
	const char *where;
	struct err *e;
	int rc;
};

static const struct json *want(struct get *g, const char *key, enum json_type type)
{
	if (g->rc != 0)
		return NULL;
	const struct json *v = json_get(g->object, key);
	if (v == NULL || json_type(v) != type) {
		g->rc = err_set(g->e, ERR_INVALID, "%s: %s: %s", g->where, key,
				v == NULL ? "missing" : "of another type");
		return NULL;
	}
	return v;
}

/* Integers in JSON are signed here: seeds and ids above 2^63 are never issued. */
static uint64_t get_uint(struct get *g, const char *key)
{
	const struct json *v = want(g, key, JSON_NUMBER);
	if (v == NULL)
		return 0;
	if (!json_is_integer(v) || json_integer(v) < 0) {
		g->rc = err_set(g->e, ERR_INVALID, "%s: %s: no whole number from 0", g->where, key);
		return 0;
	}
	return (uint64_t)json_integer(v);
}

static double get_real(struct get *g, const char *key, double absent)
{
	if (g->rc != 0 || json_get(g->object, key) == NULL)
		return absent;
	const struct json *v = want(g, key, JSON_NUMBER);
	double real = v != NULL ? json_number(v) : absent;
	if (v != NULL && !(isfinite(real) && real >= 0))
		g->rc = err_set(g->e, ERR_INVALID, "%s: %s: below 0 or not finite", g->where, key);
	return real;
}

static void get_hash(struct get *g, const char *key, struct hash *out)
{
	const struct json *v = want(g, key, JSON_STRING);
	if (v != NULL && hash_parse(json_string(v, NULL), out) != 0)
		g->rc = err_set(g->e, ERR_INVALID, "%s: %s: no 64 hex digits", g->where, key);
}

static void get_name(struct get *g, const char *key, char out[MERGE_PLAN_NAME_BYTES_MAX])
{
	const struct json *v = want(g, key, JSON_STRING);
	size_t len = 0;
	const char *name = v != NULL ? json_string(v, &len) : NULL;
	if (name == NULL)
		return;
	if (len == 0 || len >= MERGE_PLAN_NAME_BYTES_MAX || strchr(name, '/') != NULL || name[0] == '.') {
		g->rc = err_set(g->e, ERR_INVALID, "%s: %s: no plain file name of 1 to %d bytes", g->where, key,
				MERGE_PLAN_NAME_BYTES_MAX - 1);
		return;
	}
	memcpy(out, name, len + 1);
}

static void get_numbers(struct get *g, struct merge_numbers *n)
{
	const struct json *config = want(g, "config", JSON_OBJECT);
	struct get in = { config, "merge plan: config", g->e, g->rc };
	if (config == NULL)
		return;
	n->rounds = json_get(config, "rounds") != NULL ? get_uint(&in, "rounds") : 0;
	n->passes = json_get(config, "passes") != NULL ? get_uint(&in, "passes") : 0;
	n->batch_edits = json_get(config, "batch_edits") != NULL ? get_uint(&in, "batch_edits") : 0;
	n->rate = get_real(&in, "rate", 0);
	n->outer_rate = get_real(&in, "outer_rate", 0);
	n->outer_momentum = get_real(&in, "outer_momentum", -1);
	n->noise = get_real(&in, "noise", -1);
	n->density = get_real(&in, "density", 0);
	if (in.rc == 0 && n->density > 1)
		in.rc = err_set(g->e, ERR_INVALID, "merge plan: config: density: over 1");
	if (json_get(config, "trim_nonzero") != NULL) {
		const struct json *v = want(&in, "trim_nonzero", JSON_BOOL);
		n->trim_nonzero = v != NULL && json_bool(v);
	}
	g->rc = in.rc;
}

static int get_shard(const struct json *object, size_t index, struct merge_plan *plan, struct err *e)
{
	char where[64];
	snprintf(where, sizeof(where), "merge plan: shards[%zu]", index);
	struct get g = { object, where, e, 0 };
	struct merge_plan_shard *s = &plan->shards[index];
	s->id = get_uint(&g, "id");
	get_name(&g, "delta", s->delta);
	get_hash(&g, "delta_sha256", &s->delta_hash);
	get_name(&g, "edits", s->edits);
	get_hash(&g, "edits_sha256", &s->edits_hash);
	for (size_t i = 0; g.rc == 0 && i < index; i++) {
		if (plan->shards[i].id == s->id)
			g.rc = err_set(e, ERR_INVALID, "%s: shard %" PRIu64 " stands twice", where, s->id);
	}
	return g.rc;
}

static int get_plan(const struct json *root, struct merge_plan **out, struct err *e)
{
	struct get g = { root, "merge plan", e, 0 };
	uint64_t format = get_uint(&g, "format");
	const struct json *operator= want(&g, "operator", JSON_STRING);
	const struct json *shards = want(&g, "shards", JSON_ARRAY);
	if (g.rc == 0 && format != FORMAT)
		g.rc = err_set(e, ERR_INVALID, "merge plan: format %" PRIu64 " is unknown here: update this program",
			       format);
	if (g.rc != 0 || (g.rc = merge_plan_new(json_length(shards), out, e)) != 0)
		return g.rc;
	struct merge_plan *plan = *out;
	g.rc = merge_operator_parse(json_string(operator, NULL), &plan->operator, e);
	if (g.rc != 0)
		err_wrap(e, "merge plan");
	plan->merge = get_uint(&g, "merge");
	plan->layer = get_uint(&g, "layer");
	plan->seed = get_uint(&g, "seed");
	plan->deadline_ms = get_uint(&g, "deadline_ms");
	get_hash(&g, "base_model", &plan->base_model);
	get_numbers(&g, &plan->numbers);
	for (size_t i = 0; g.rc == 0 && i < plan->shard_count; i++)
		g.rc = get_shard(json_at(shards, i), i, plan, e);
	if (g.rc != 0)
		merge_plan_destroy(out);
	return g.rc;
}

int merge_plan_parse(const char *text, size_t len, struct merge_plan **out, struct err *e)
{
	struct json *root;
	int rc = json_parse(text, len, &root, e);
	if (rc != 0) {
		err_wrap(e, "merge plan");
		return rc;
	}
	rc = get_plan(root, out, e);
	json_free(&root);
	return rc;
}

int merge_plan_read(const char *path, struct merge_plan **out, struct hash *digest, struct err *e)
{
	struct buf text = BUF_INIT;
	int rc = file_read(path, MERGE_PLAN_BYTES_MAX, &text, e);
	if (rc == 0) {
		hash_of(text.data, text.len, digest);
		rc = merge_plan_parse(buf_cstr(&text), text.len, out, e);
		if (rc != 0)
			err_wrap(e, "%s", path);
	}
	buf_free(&text);
	return rc;
}

int merge_plan_input(const char *plan_path, const char *name, const struct hash *want_hash, size_t byte_limit,
		     struct buf *out, struct err *e)
{
	char path[PATH_BYTES_MAX];
	const char *slash = strrchr(plan_path, '/');
	int folder_len = slash == NULL ? 0 : (int)(slash - plan_path) + 1;
	int n = snprintf(path, sizeof(path), "%.*s%s", folder_len, plan_path, name);
	if (n < 0 || (size_t)n >= sizeof(path))
		return err_set(e, ERR_LIMIT, "merge input %s: its path is over %d bytes", name, PATH_BYTES_MAX - 1);
	size_t start = out->len;
	int rc = file_read(path, byte_limit, out, e);
	if (rc != 0)
		return rc;
	struct hash got;
	hash_of(out->data + start, out->len - start, &got);
	if (hash_equal(&got, want_hash))
		return 0;
	char want_hex[HASH_HEX_BYTES], got_hex[HASH_HEX_BYTES];
	hash_hex(want_hash, want_hex);
	hash_hex(&got, got_hex);
	out->len = start;
	return err_set(e, ERR_CORRUPT, "merge input %s: its SHA-256 is %s, the plan says %s: plan the merge again",
		       path, got_hex, want_hex);
}

int merge_plan_edit_next(const char **text, size_t *len, uint64_t *seq, const char **record, size_t *record_len,
			 struct err *e)
{
	if (*len == 0)
		return ERR_NOT_FOUND;
	const char *end = memchr(*text, '\n', *len), *at = *text;
	uint64_t value = 0;
	while (end != NULL && at < end && *at >= '0' && *at <= '9' && value <= UINT64_MAX / 100)
		value = value * 10 + (uint64_t)(*at++ - '0');
	if (end == NULL || at == *text || at >= end || *at != '\t')
		return err_set(e, ERR_CORRUPT, "edits file: a line is no \"<seq>\\t<record>\\n\"");
	*seq = value;
	*record = at + 1;
	*record_len = (size_t)(end - at) - 1;
	*len -= (size_t)(end + 1 - *text);
	*text = end + 1;
	return 0;
}

/* ---- The output file */

int merge_output_write(const char *path, struct merge_output *output, const void *delta, size_t delta_len,
		       struct err *e)
{
	struct buf bytes = BUF_INIT;
	struct json_w w;
	output->delta_bytes = delta_len;
	hash_of(delta, delta_len, &output->delta_hash);
	json_w_init(&w, &bytes);
	json_w_open(&w, '{');
	json_w_member_uint(&w, "format", FORMAT);
	json_w_member_uint(&w, "merge", output->merge);
	json_w_member_hash(&w, "plan_sha256", &output->plan);
	json_w_member_uint(&w, "layer", output->layer);
	json_w_member_uint(&w, "delta_bytes", output->delta_bytes);
	json_w_member_hash(&w, "delta_sha256", &output->delta_hash);
	json_w_member_uint(&w, "rounds", output->rounds);
	json_w_member_uint(&w, "reduces", output->reduces);
	json_w_member_uint(&w, "reduced_bytes", output->reduced_bytes);
	put_real(&w, "loss", output->loss, true);
	json_w_member_uint(&w, "ranks", output->ranks);
	json_w_close(&w);
	buf_u8(&bytes, '\n');
	buf_append(&bytes, delta, delta_len);
	int rc = buf_failed(&bytes) ? err_set(e, ERR_NOMEM, "merge output: out of memory for %zu bytes", delta_len)
				    : file_write_atomic(path, bytes.data, bytes.len, 0600, e);
	buf_free(&bytes);
	return rc;
}

static int parse_header(const char *text, size_t len, struct merge_output *output, struct err *e)
{
	struct json *root;
	int rc = json_parse(text, len, &root, e);
	if (rc != 0)
		return rc;
	struct get g = { root, "header", e, 0 };
	uint64_t format = get_uint(&g, "format");
	output->merge = get_uint(&g, "merge");
	output->layer = get_uint(&g, "layer");
	output->delta_bytes = get_uint(&g, "delta_bytes");
	output->rounds = get_uint(&g, "rounds");
	output->reduces = get_uint(&g, "reduces");
	output->reduced_bytes = get_uint(&g, "reduced_bytes");
	output->ranks = get_uint(&g, "ranks");
	output->loss = get_real(&g, "loss", 0);
	get_hash(&g, "plan_sha256", &output->plan);
	get_hash(&g, "delta_sha256", &output->delta_hash);
	json_free(&root);
	if (g.rc == 0 && format != FORMAT)
		g.rc = err_set(e, ERR_CORRUPT, "header: format %" PRIu64, format);
	return g.rc;
}

static int check_output(const uint8_t *file, size_t len, const struct hash *plan, struct merge_output *output,
			size_t *header_len, struct err *e)
{
	const char *text = (const char *)file;
	const char *end = len > 0 ? memchr(text, '\n', len < HEADER_LEN_MAX ? len : HEADER_LEN_MAX) : NULL;
	if (end == NULL)
		return err_set(e, ERR_CORRUPT, "no header line");
	int rc = parse_header(text, (size_t)(end - text), output, e);
	if (rc == ERR_NOMEM)
		return rc;
	if (rc != 0) { /* wrong JSON in a file of ours is damage, not input */
		if (e != NULL)
			e->code = ERR_CORRUPT;
		return ERR_CORRUPT;
	}
	*header_len = (size_t)(end - text) + 1;
	struct hash got;
	hash_of(file + *header_len, len - *header_len, &got);
	if (len - *header_len != output->delta_bytes || !hash_equal(&got, &output->delta_hash))
		return err_set(e, ERR_CORRUPT, "the delta's %zu bytes do not match the header's length and SHA-256",
			       len - *header_len);
	if (!hash_equal(plan, &output->plan))
		return err_set(e, ERR_MISMATCH, "it was made from another plan");
	return 0;
}

/* The file is read behind what `delta` holds, and its header then taken out: a delta is large, one copy is enough. */
int merge_output_read(const char *path, const struct hash *plan, struct merge_output *output, struct buf *delta,
		      struct err *e)
{
	size_t start = delta->len, header_len = 0;
	int rc = file_read(path, MERGE_DELTA_BYTES_MAX, delta, e);
	if (rc != 0)
		return rc;
	rc = delta->len == start ? err_set(e, ERR_CORRUPT, "it is empty")
				 : check_output(delta->data + start, delta->len - start, plan, output, &header_len, e);
	if (rc != 0) {
		err_wrap(e, "merge output %s", path);
		delta->len = start;
		return rc;
	}
	memmove(delta->data + start, delta->data + start + header_len, delta->len - start - header_len);
	delta->len -= header_len;
	return 0;
}
