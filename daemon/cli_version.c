/* cli_version.c: `amend version list|show`, `amend merge run`. */
#include "daemon/cli.h"
#include "daemon/cli_pull.h"
#include "daemon/memory_name.h"

#include "base/record.h"
#include "store/store.h"

#include <stdio.h>
#include <string.h>

#define POLL_MS       200
#define PAGE_VERSIONS 200

static void time_member(struct json_w *w, const char *key, int64_t ms)
{
	char time[ENV_TIME_BYTES];
	env_time_format(ms, time);
	json_w_member_str(w, key, time);
}

/* --- versions */

static void version_json(struct json_w *w, const struct msg_version *v)
{
	json_w_open(w, '{');
	json_w_member_uint(w, "version", v->version);
	json_w_member_hash(w, "content", &v->content);
	time_member(w, "published", v->published_ms);
	json_w_member_uint(w, "memories", v->memory_count);
	json_w_member_uint(w, "edits", v->edit_count);
	json_w_member_strn(w, "note", v->note.text, v->note.len);
	if (v->problem.len > 0)
		json_w_member_strn(w, "problem", v->problem.text, v->problem.len);
	json_w_close(w);
}

static void version_row(struct cli_table *table, const struct msg_version *v)
{
	char time[ENV_TIME_BYTES], hex[HASH_HEX_BYTES];
	env_time_format(v->published_ms, time);
	hash_hex(&v->content, hex);
	cli_table_cell(table, "v%llu", (unsigned long long)v->version);
	if (hash_is_zero(&v->content)) {
		for (int i = 0; i < 4; i++)
			cli_table_cell(table, "?");
		cli_table_cell(table, "%.*s", (int)v->problem.len, v->problem.len > 0 ? v->problem.text : "");
		return;
	}
	cli_table_cell(table, "%s", time);
	cli_table_cell(table, "%u", v->memory_count);
	cli_table_cell(table, "%u", v->edit_count);
	cli_table_cell(table, "%.12s", hex);
	cli_table_cell(table, "%.*s%s%.*s", (int)v->note.len, v->note.len > 0 ? v->note.text : "",
		       v->problem.len > 0 ? "; " : "", (int)v->problem.len, v->problem.len > 0 ? v->problem.text : "");
}

struct versions {
	struct cli *cli;
	uint64_t damaged; /* the first whose record is; 0: none */
	size_t damaged_count;
	struct cli_table *table;
	struct json_w json;
	char held[ERR_TEXT_BYTES_MAX]; /* why newer edits are not published */
};

static void versions_add(struct versions *l, const struct msg_version *v)
{
	if (hash_is_zero(&v->content) && l->damaged_count++ == 0)
		l->damaged = v->version;
	if (l->cli->output == CLI_NAME)
		printf("v%llu\n", (unsigned long long)v->version);
	else if (cli_is_structured(l->cli))
		version_json(&l->json, v);
	else
		version_row(l->table, v);
}

static int versions_read(struct versions *l, struct err *e)
{
	for (uint64_t from = 1, latest = 1; from <= latest && cli_output_open();) {
		struct msg request = { .type = MSG_VERSION_LIST, .u.version_list = { from, PAGE_VERSIONS } };
		struct msg_received *reply = NULL;
		int rc = cli_call(l->cli, &request, &reply, e);
		if (rc != 0)
			return rc;
		const struct msg_version_list_reply *list = &reply->msg.u.version_list_reply;
		for (size_t i = 0; i < list->version_count; i++)
			versions_add(l, &list->versions[i]);
		latest = list->version_count > 0 ? list->latest : 0;
		snprintf(l->held, sizeof l->held, "%.*s", (int)list->held.len,
			 list->held.len > 0 ? list->held.text : "");
		from += list->version_count;
		msg_free(&reply);
	}
	return 0;
}

int cli_version_list(struct cli *cli, const struct cli_args *args)
{
	static const char *const headers[] = { "VERSION", "PUBLISHED", "MEMORIES", "EDITS", "CONTENT", "NOTE" };
	struct err e = ERR_INIT;
	struct versions l = { .cli = cli };
	struct buf text = BUF_INIT;
	int status = CLI_OK;
	(void)args;
	if (cli_table_new(headers, 6, &l.table) != 0)
		return cli_out_of_memory(cli);
	json_w_init(&l.json, &text);
	json_w_open(&l.json, '[');
	int rc = versions_read(&l, &e);
	json_w_close(&l.json);
	if (rc != 0)
		status = cli_fail(cli, &e);
	else if (cli_is_structured(cli))
		status = cli_emit(cli, &text);
	else if (cli->output != CLI_NAME)
		status = cli_table_print(cli, &l.table);
	if (rc == 0 && l.held[0] != '\0' && !cli->quiet)
		cli_line(stderr, "amend: %s", l.held);
	if (status == CLI_OK && l.damaged_count > 0)
		status =
			cli_fail(cli, (err_set(&e, ERR_CORRUPT,
					       "the ledger's records of %zu of these versions, first v%llu, cannot be "
					       "read: `amend store verify` says what else is damaged; restore a backup",
					       l.damaged_count, (unsigned long long)l.damaged),
				       &e));
	cli_table_free(&l.table);
	buf_free(&text);
	return status;
}

static void memory_json(struct json_w *w, const struct proto_memory *m)
{
	json_w_open(w, '{');
	json_w_member_uint(w, "id", m->id);
	json_w_member_str(w, "kind", m->kind == PROTO_MEMORY_MERGED ? "merged" : "shard");
	json_w_member_uint(w, "shard_version", m->shard_version);
	json_w_member_hash(w, "delta", &m->delta_root);
	if (!hash_is_zero(&m->index_root))
		json_w_member_hash(w, "index", &m->index_root);
	json_w_member_strn(w, "encoding", m->encoding.text, m->encoding.len);
	json_w_member_real(w, "passed", m->score);
	json_w_member_uint(w, "edits", m->seq_count);
	json_w_key(w, "sources");
	json_w_open(w, '[');
	for (size_t i = 0; i < m->source_count; i++)
		json_w_uint(w, m->sources[i]);
	json_w_close(w);
	json_w_close(w);
}

static void manifest_json(struct json_w *w, const struct proto_manifest *m, const struct hash *content)
{
	json_w_open(w, '{');
	json_w_member_uint(w, "version", m->version);
	json_w_member_hash(w, "content", content);
	json_w_member_hash(w, "parent", &m->parent);
	time_member(w, "published", m->published_ms);
	json_w_member_hash(w, "base_model", &m->base_model);
	json_w_member_strn(w, "family", m->family.text, m->family.len);
	json_w_member_strn(w, "tensor", m->tensor.text, m->tensor.len);
	json_w_member_uint(w, "layer", m->layer);
	json_w_member_str(w, "default_set", m->default_set == PROTO_SET_MERGED ? "merged" : "retrieve");
	json_w_member_uint(w, "ledger_seq", m->ledger_seq);
	json_w_member_uint(w, "removed_edits", m->removed_count);
	json_w_key(w, "memories");
	json_w_open(w, '[');
	for (size_t i = 0; i < m->memory_count; i++)
		memory_json(w, &m->memories[i]);
	json_w_close(w);
	json_w_close(w);
}

static int manifest_table(struct cli *cli, const struct proto_manifest *m, const struct hash *content)
{
	static const char *const headers[] = { "MEMORY", "KIND", "EDITS", "PASSED", "SHARD VERSION", "DELTA" };
	struct cli_table *table = NULL;
	char time[ENV_TIME_BYTES], hex[HASH_HEX_BYTES], name[MEMORY_NAME_BYTES];
	env_time_format(m->published_ms, time);
	hash_hex(content, hex);
	cli_line(stdout, "version v%llu, published %s, content %.12s, %.*s, default set: %s",
		 (unsigned long long)m->version, time, hex, (int)m->tensor.len, m->tensor.text,
		 m->default_set == PROTO_SET_MERGED ? "merged" : "retrieve");
	if (cli_table_new(headers, 6, &table) != 0)
		return cli_out_of_memory(cli);
	for (size_t i = 0; i < m->memory_count; i++) {
		const struct proto_memory *memory = &m->memories[i];
		hash_hex(&memory->delta_root, hex);
		memory_name(memory->id, name);
		cli_table_cell(table, "%s", name);
		cli_table_cell(table, "%s", memory->kind == PROTO_MEMORY_MERGED ? "merged" : "shard");
		cli_table_cell(table, "%zu", memory->seq_count);
		cli_table_cell(table, "%.3f", memory->score);
		cli_table_cell(table, "%llu", (unsigned long long)memory->shard_version);
		cli_table_cell(table, "%.12s", hex);
	}
	return cli_table_print(cli, &table);
}

static int manifest_emit(struct cli *cli, const struct cli_manifest *manifest)
{
	struct buf text = BUF_INIT;
	struct json_w w;
	json_w_init(&w, &text);
	manifest_json(&w, &manifest->manifest, &manifest->content);
	return cli_emit(cli, &text);
}

int cli_version_show(struct cli *cli, const struct cli_args *args)
{
	struct err e = ERR_INIT;
	struct cli_manifest manifest;
	uint64_t version = 0;
	int status = CLI_OK;
	if (args->word_count == 1 && cli_version_parse(args->words[0], &version, &e) != 0)
		return cli_misuse(&e);
	if (cli_manifest_pull(cli, version, &manifest, &e) != 0)
		return cli_fail(cli, &e);
	if (cli->output == CLI_NAME)
		printf("v%llu\n", (unsigned long long)manifest.manifest.version);
	else if (cli_is_structured(cli))
		status = manifest_emit(cli, &manifest);
	else
		status = manifest_table(cli, &manifest.manifest, &manifest.content);
	cli_manifest_free(&manifest);
	return status;
}

/* --- merges */

static int merge_ask(struct cli *cli, uint64_t id, struct msg_received **reply, struct err *e)
{
	struct msg request = { .type = MSG_MERGE_RUN, .u.merge_run = { id } };
	int rc = cli_call(cli, &request, reply, e);
	if (rc != 0)
		return rc;
	const struct msg_merge_status *status = &(*reply)->msg.u.merge_status;
	if (status->code == 0)
		return 0;
	rc = err_set(e, status->code, "merge: %.*s", (int)status->text.len,
		     status->text.len > 0 ? status->text.text : "");
	msg_free(reply);
	return rc;
}

/* It has passed, and publishing waits for people. */
static bool merge_waits(const struct msg_merge_status *s)
{
	return s->state == STORE_MERGE_STATE_PUBLISHED && s->version == 0;
}

static const char *merge_state(const struct msg_merge_status *s)
{
	return merge_waits(s) ? "waiting" : sm_state_name(&store_merge_states, (int)s->state);
}

static int merge_emit(struct cli *cli, const struct msg_merge_status *s)
{
	struct buf text = BUF_INIT;
	struct json_w w;
	json_w_init(&w, &text);
	json_w_open(&w, '{');
	json_w_member_uint(&w, "merge", s->id);
	json_w_member_str(&w, "state", merge_state(s));
	json_w_member_uint(&w, "version", s->version);
	json_w_member_uint(&w, "shards", s->shard_count);
	json_w_member_uint(&w, "ranks", s->ranks);
	json_w_member_uint(&w, "tries", s->tries);
	json_w_member_uint(&w, "rounds", s->rounds);
	json_w_member_uint(&w, "reduces", s->reduces);
	json_w_member_uint(&w, "reduced_bytes", s->reduced_bytes);
	json_w_member_real(&w, "score", s->score);
	json_w_member_real(&w, "score_inputs", s->score_inputs);
	json_w_member_bool(&w, "served_by_default", s->served_by_default);
	json_w_member_real(&w, "seconds",
			   s->ended_ms > s->planned_ms ? (double)(s->ended_ms - s->planned_ms) / 1e3 : 0);
	json_w_member_strn(&w, "text", s->text.text, s->text.len);
	json_w_close(&w);
	return cli_emit(cli, &text);
}

static int merge_print(struct cli *cli, const struct msg_merge_status *s)
{
	if (cli_is_structured(cli))
		return merge_emit(cli, s);
	printf("merge %llu (%u shard%s, %u rank%s): %s", (unsigned long long)s->id, s->shard_count,
	       cli_plural(s->shard_count), s->ranks, cli_plural(s->ranks), merge_state(s));
	if (s->version != 0)
		printf(" as v%llu: %.1f %% of the edits pass (%.1f %% in their shards); %s",
		       (unsigned long long)s->version, 100 * s->score, 100 * s->score_inputs,
		       s->served_by_default ? "served by default" : "not served by default");
	if (s->reduces > 0)
		printf("\n%u round%s, %u reduce%s of %.1f MB together", s->rounds, cli_plural(s->rounds), s->reduces,
		       cli_plural(s->reduces), (double)s->reduced_bytes * 1e-6);
	printf("\n");
	if (s->text.len > 0)
		cli_line(stdout, "%.*s", (int)s->text.len, s->text.text);
	return CLI_OK;
}

static bool merge_failed(const struct msg_received *reply)
{
	return reply->msg.u.merge_status.state == STORE_MERGE_STATE_FAILED;
}

/* Once for each reason. */
static void held_say(struct cli *cli, struct cli_progress *progress, const struct msg_merge_status *s, char *said,
		     size_t said_bytes)
{
	char reason[ERR_TEXT_BYTES_MAX];
	snprintf(reason, sizeof reason, "%.*s", (int)s->reason.len, s->reason.len > 0 ? s->reason.text : "");
	if (reason[0] == '\0' || cli->quiet || strcmp(reason, said) == 0)
		return;
	snprintf(said, said_bytes, "%s", reason);
	cli_progress_break(cli, progress);
	cli_line(stderr, "amend: merge %llu (%.*s) does not go on: %s; it is tried again", (unsigned long long)s->id,
		 (int)s->text.len, s->text.len > 0 ? s->text.text : "", reason);
}

/* Asks until it is done; *reply is the last status. */
static int merge_wait(struct cli *cli, uint64_t id, struct msg_received **reply, struct err *e)
{
	struct cli_progress progress;
	struct cli_wait wait;
	uint64_t percent = 0;
	char said[ERR_TEXT_BYTES_MAX] = "";
	int rc = 0;
	cli_wait_begin(cli, &wait);
	cli_progress_begin(cli, &progress, "merge", "%", 100);
	wait.progress = &progress;
	while (rc == 0 && !(*reply)->msg.u.merge_status.done) {
		msg_free(reply);
		cli_pause(cli, POLL_MS);
		if (!cli->interrupted && cli_wait_over(cli))
			rc = err_set(e, ERR_AGAIN, "merge %llu is not done; it goes on without us",
				     (unsigned long long)id);
		else
			rc = merge_ask(cli, id, reply, e);
		if (rc == 0 && !merge_failed(*reply))
			percent = (uint64_t)(100 * (*reply)->msg.u.merge_status.progress);
		if (rc == 0) {
			held_say(cli, &progress, &(*reply)->msg.u.merge_status, said, sizeof said);
			cli_progress_set(cli, &progress, percent);
		}
	}
	if (rc == 0)
		cli_progress_end(cli, &progress, percent);
	cli_progress_break(cli, &progress);
	cli->wait = NULL;
	return cli->interrupted && rc != 0 ? err_set(e, ERR_INTERRUPTED, "interrupted: merge %llu goes on without us",
						     (unsigned long long)id)
					   : rc;
}

int cli_merge_run(struct cli *cli, const struct cli_args *args)
{
	struct err e = ERR_INIT;
	struct msg_received *reply = NULL;
	(void)args;
	int rc = merge_ask(cli, 0, &reply, &e);
	if (rc == 0)
		rc = merge_wait(cli, reply->msg.u.merge_status.id, &reply, &e);
	if (rc != 0)
		return cli_fail(cli, &e);
	int status = merge_print(cli, &reply->msg.u.merge_status);
	const bool published = reply->msg.u.merge_status.state == STORE_MERGE_STATE_PUBLISHED;
	const bool waiting = merge_waits(&reply->msg.u.merge_status);
	msg_free(&reply);
	if (status != CLI_OK || !published)
		return published ? status : CLI_FAILED;
	return waiting ? CLI_PENDING : CLI_OK;
}
