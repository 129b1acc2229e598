/* cli_version.c: `amend version list|show`, `amend merge run`, `amend fleet status`. */
#include "daemon/cli.h"
#include "daemon/cli_pull.h"

#include "base/record.h"
#include "store/store.h"

#include <stdio.h>
#include <string.h>

#define POLL_MS       200
#define PAGE_VERSIONS 200

static void text_member(struct json_w *w, const char *key, struct msg_text text)
{
	json_w_key(w, key);
	json_w_strn(w, text.len > 0 ? text.text : "", text.len);
}

static void uint_member(struct json_w *w, const char *key, uint64_t value)
{
	json_w_key(w, key);
	json_w_uint(w, value);
}

static void hash_member(struct json_w *w, const char *key, const struct hash *hash)
{
	char hex[HASH_HEX_BYTES];
	hash_hex(hash, hex);
	json_w_key(w, key);
	json_w_str(w, hex);
}

static void time_member(struct json_w *w, const char *key, int64_t ms)
{
	char time[ENV_TIME_BYTES];
	env_time_format(ms, time);
	json_w_key(w, key);
	json_w_str(w, time);
}

/* --- versions */

static void version_json(struct json_w *w, const struct msg_version *v)
{
	json_w_open(w, '{');
	uint_member(w, "version", v->version);
	hash_member(w, "content", &v->content);
	time_member(w, "published", v->published_ms);
	uint_member(w, "memories", v->memory_count);
	uint_member(w, "edits", v->edit_count);
	text_member(w, "note", v->note);
	json_w_close(w);
}

static void version_row(struct cli_table *table, const struct msg_version *v)
{
	char time[ENV_TIME_BYTES], hex[HASH_HEX_BYTES];
	env_time_format(v->published_ms, time);
	hash_hex(&v->content, hex);
	cli_table_cell(table, "v%llu", (unsigned long long)v->version);
	cli_table_cell(table, "%s", time);
	cli_table_cell(table, "%u", v->memory_count);
	cli_table_cell(table, "%u", v->edit_count);
	cli_table_cell(table, "%.12s", hex);
	cli_table_cell(table, "%.*s", (int)v->note.len, v->note.len > 0 ? v->note.text : "");
}

static int version_list(struct cli *cli, int argc, char **argv)
{
	static const char *const headers[] = { "VERSION", "PUBLISHED", "MEMORIES", "EDITS", "CONTENT", "NOTE" };
	struct err e = ERR_INIT;
	struct cli_table *table = NULL;
	struct buf text = BUF_INIT;
	struct json_w w;
	int rc = cli_options(NULL, 0, &argc, argv, &e);
	if (rc == 0 && argc > 0)
		return cli_usage("amend version list");
	json_w_init(&w, &text);
	json_w_open(&w, '[');
	if (rc == 0)
		rc = cli_table_new(headers, 6, &table);
	for (uint64_t from = 1, latest = 1; rc == 0 && from <= latest;) {
		struct msg request = { .type = MSG_VERSION_LIST, .u.version_list = { from, PAGE_VERSIONS } };
		struct msg_received *reply = NULL;
		rc = cli_call(cli, &request, &reply, &e);
		if (rc != 0)
			break;
		const struct msg_version_list_reply *list = &reply->msg.u.version_list_reply;
		for (size_t i = 0; i < list->version_count; i++) {
			version_json(&w, &list->versions[i]);
			version_row(table, &list->versions[i]);
		}
		latest = list->version_count > 0 ? list->latest : 0;
		from += list->version_count;
		msg_free(&reply);
	}
	json_w_close(&w);
	if (rc == 0 && cli_is_json(cli))
		printf("%s\n", buf_cstr(&text));
	if (rc == 0 && !cli_is_json(cli))
		cli_table_print(cli, &table);
	cli_table_free(&table);
	buf_free(&text);
	return rc == 0 ? CLI_OK : cli_fail(cli, &e);
}

static void memory_json(struct json_w *w, const struct proto_memory *m)
{
	json_w_open(w, '{');
	uint_member(w, "id", m->id);
	json_w_key(w, "kind");
	json_w_str(w, m->kind == PROTO_MEMORY_MERGED ? "merged" : "shard");
	uint_member(w, "shard_version", m->shard_version);
	hash_member(w, "delta", &m->delta_root);
	if (m->kind == PROTO_MEMORY_SHARD)
		hash_member(w, "index", &m->index_root);
	text_member(w, "encoding", m->encoding);
	json_w_key(w, "passed");
	json_w_real(w, m->score);
	uint_member(w, "edits", m->seq_count);
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
	uint_member(w, "version", m->version);
	hash_member(w, "content", content);
	hash_member(w, "parent", &m->parent);
	time_member(w, "published", m->published_ms);
	hash_member(w, "base_model", &m->base_model);
	text_member(w, "family", m->family);
	text_member(w, "tensor", m->tensor);
	uint_member(w, "layer", m->layer);
	json_w_key(w, "default_set");
	json_w_str(w, m->default_set == PROTO_SET_MERGED ? "merged" : "retrieve");
	uint_member(w, "ledger_seq", m->ledger_seq);
	uint_member(w, "removed_edits", m->removed_count);
	json_w_key(w, "memories");
	json_w_open(w, '[');
	for (size_t i = 0; i < m->memory_count; i++)
		memory_json(w, &m->memories[i]);
	json_w_close(w);
	json_w_close(w);
}

static void manifest_table(struct cli *cli, const struct proto_manifest *m, const struct hash *content)
{
	static const char *const headers[] = { "MEMORY", "KIND", "EDITS", "PASSED", "SHARD VERSION", "DELTA" };
	struct cli_table *table = NULL;
	char time[ENV_TIME_BYTES], hex[HASH_HEX_BYTES];
	env_time_format(m->published_ms, time);
	hash_hex(content, hex);
	printf("version v%llu, published %s, content %.12s, %.*s, default set: %s\n", (unsigned long long)m->version,
	       time, hex, (int)m->tensor.len, m->tensor.text,
	       m->default_set == PROTO_SET_MERGED ? "merged" : "retrieve");
	if (cli_table_new(headers, 6, &table) != 0)
		return;
	for (size_t i = 0; i < m->memory_count; i++) {
		const struct proto_memory *memory = &m->memories[i];
		hash_hex(&memory->delta_root, hex);
		cli_table_cell(table, "%llu", (unsigned long long)memory->id);
		cli_table_cell(table, "%s", memory->kind == PROTO_MEMORY_MERGED ? "merged" : "shard");
		cli_table_cell(table, "%zu", memory->seq_count);
		cli_table_cell(table, "%.3f", memory->score);
		cli_table_cell(table, "%llu", (unsigned long long)memory->shard_version);
		cli_table_cell(table, "%.12s", hex);
	}
	cli_table_print(cli, &table);
}

static int version_show(struct cli *cli, int argc, char **argv)
{
	struct err e = ERR_INIT;
	struct cli_manifest manifest;
	uint64_t version = 0;
	int rc = cli_options(NULL, 0, &argc, argv, &e);
	if (rc == 0 && argc > 1)
		return cli_usage("amend version show [vN|latest]");
	if (rc == 0 && argc == 1)
		rc = cli_version_parse(argv[0], &version, &e);
	if (rc == 0)
		rc = cli_manifest_pull(cli, version, &manifest, &e);
	if (rc != 0)
		return cli_fail(cli, &e);
	if (cli_is_json(cli)) {
		struct buf text = BUF_INIT;
		struct json_w w;
		json_w_init(&w, &text);
		manifest_json(&w, &manifest.manifest, &manifest.content);
		cli_json_print(&text);
	} else {
		manifest_table(cli, &manifest.manifest, &manifest.content);
	}
	cli_manifest_free(&manifest);
	return CLI_OK;
}

int cli_version(struct cli *cli, int argc, char **argv)
{
	if (argc > 0 && strcmp(argv[0], "list") == 0)
		return version_list(cli, argc - 1, argv + 1);
	if (argc > 0 && strcmp(argv[0], "show") == 0)
		return version_show(cli, argc - 1, argv + 1);
	return cli_usage("amend version list|show");
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

static void merge_print(struct cli *cli, const struct msg_merge_status *s)
{
	const char *state = sm_state_name(&store_merge_states, (int)s->state);
	if (!cli_is_json(cli)) {
		printf("merge %llu of %u shards over %u ranks: %s", (unsigned long long)s->id, s->shard_count, s->ranks,
		       state);
		if (s->version != 0)
			printf(" as v%llu: %.1f %% of the edits pass (%.1f %% in their shards); %s",
			       (unsigned long long)s->version, 100 * s->score, 100 * s->score_inputs,
			       s->served_by_default ? "served by default" : "not served by default");
		printf("\n%.*s%s", (int)s->text.len, s->text.len > 0 ? s->text.text : "", s->text.len > 0 ? "\n" : "");
		return;
	}
	struct buf text = BUF_INIT;
	struct json_w w;
	json_w_init(&w, &text);
	json_w_open(&w, '{');
	uint_member(&w, "merge", s->id);
	json_w_key(&w, "state");
	json_w_str(&w, state);
	uint_member(&w, "version", s->version);
	uint_member(&w, "shards", s->shard_count);
	uint_member(&w, "ranks", s->ranks);
	uint_member(&w, "tries", s->tries);
	json_w_key(&w, "score");
	json_w_real(&w, s->score);
	json_w_key(&w, "score_inputs");
	json_w_real(&w, s->score_inputs);
	json_w_key(&w, "served_by_default");
	json_w_bool(&w, s->served_by_default);
	json_w_key(&w, "seconds");
	json_w_real(&w, s->ended_ms > s->planned_ms ? (double)(s->ended_ms - s->planned_ms) / 1e3 : 0);
	text_member(&w, "text", s->text);
	json_w_close(&w);
	cli_json_print(&text);
}

static int merge_run(struct cli *cli, int argc, char **argv)
{
	struct err e = ERR_INIT;
	struct msg_received *reply = NULL;
	struct cli_progress progress;
	int rc = cli_options(NULL, 0, &argc, argv, &e);
	if (rc == 0 && argc > 0)
		return cli_usage("amend merge run");
	if (rc == 0)
		rc = merge_ask(cli, 0, &reply, &e);
	int64_t deadline = env_monotonic_ms(env_system()) + cli->wait_ms;
	cli_progress_begin(cli, &progress, "merge", "%", 100);
	uint64_t id = rc == 0 ? reply->msg.u.merge_status.id : 0;
	while (rc == 0 && !reply->msg.u.merge_status.done) {
		msg_free(&reply);
		cli_pause(cli, POLL_MS);
		if (cli->interrupted || env_monotonic_ms(env_system()) > deadline)
			rc = err_set(&e, cli->interrupted ? ERR_INTERRUPTED : ERR_AGAIN,
				     "merge %llu goes on without us", (unsigned long long)id);
		else
			rc = merge_ask(cli, id, &reply, &e);
		if (rc == 0)
			cli_progress_set(cli, &progress, (uint64_t)(100 * reply->msg.u.merge_status.progress));
	}
	if (rc != 0)
		return cli_fail(cli, &e);
	cli_progress_end(cli, &progress, 100);
	merge_print(cli, &reply->msg.u.merge_status);
	int status = reply->msg.u.merge_status.state == STORE_MERGE_PUBLISHED ? CLI_OK : CLI_FAILED;
	msg_free(&reply);
	return status;
}

int cli_merge(struct cli *cli, int argc, char **argv)
{
	if (argc > 0 && strcmp(argv[0], "run") == 0)
		return merge_run(cli, argc - 1, argv + 1);
	return cli_usage("amend merge run");
}

/* --- fleet */

static const char *kind_name(enum msg_peer_kind kind)
{
	return kind == MSG_PEER_WORKER ? "worker" : kind == MSG_PEER_NODE ? "node" : "client";
}

static void member_json(struct json_w *w, const struct msg_fleet_member *m)
{
	char hex[65];
	proto_key_hex(m->key, hex);
	json_w_open(w, '{');
	text_member(w, "name", m->name);
	json_w_key(w, "kind");
	json_w_str(w, kind_name(m->kind));
	text_member(w, "state", m->state);
	text_member(w, "endpoint", m->endpoint);
	text_member(w, "backend", m->backend);
	text_member(w, "software", m->software);
	json_w_key(w, "key");
	json_w_str(w, hex);
	uint_member(w, "pid", m->pid);
	uint_member(w, "version", m->version);
	uint_member(w, "leases", m->lease_count);
	uint_member(w, "resident_bytes", m->resident_bytes);
	json_w_key(w, "seen_ms_ago");
	json_w_int(w, m->seen_ms_ago);
	json_w_close(w);
}

static void fleet_json(struct cli *cli, const struct msg_fleet_reply *f)
{
	struct buf text = BUF_INIT;
	struct json_w w;
	(void)cli;
	json_w_init(&w, &text);
	json_w_open(&w, '{');
	text_member(&w, "cluster", f->cluster_id);
	text_member(&w, "software", f->software);
	hash_member(&w, "base_model", &f->base_model);
	uint_member(&w, "version", f->version);
	uint_member(&w, "ledger_seq", f->last_seq);
	uint_member(&w, "queue_length", f->queue_length);
	uint_member(&w, "shards_open", f->shards_open);
	uint_member(&w, "shards_closed", f->shards_closed);
	uint_member(&w, "pid", f->pid);
	uint_member(&w, "resident_bytes", f->resident_bytes);
	json_w_key(&w, "visible_p50_seconds");
	json_w_real(&w, f->visible_p50_ms / 1e3);
	json_w_key(&w, "visible_p99_seconds");
	json_w_real(&w, f->visible_p99_ms / 1e3);
	json_w_key(&w, "members");
	json_w_open(&w, '[');
	for (size_t i = 0; i < f->member_count; i++)
		member_json(&w, &f->members[i]);
	json_w_close(&w);
	json_w_close(&w);
	cli_json_print(&text);
}

static void fleet_table(struct cli *cli, const struct msg_fleet_reply *f)
{
	static const char *const headers[] = { "NAME",     "KIND", "STATE",    "VERSION", "PID",
					       "RESIDENT", "SEEN", "ENDPOINT", "BACKEND" };
	struct cli_table *table = NULL;
	char version[32] = "no version yet";
	if (f->version != 0)
		snprintf(version, sizeof version, "v%llu", (unsigned long long)f->version);
	printf("cluster %.*s: %s, ledger at %llu, %llu edits waiting, %u open and %u closed shards\n",
	       (int)f->cluster_id.len, f->cluster_id.text, version, (unsigned long long)f->last_seq,
	       (unsigned long long)f->queue_length, f->shards_open, f->shards_closed);
	if (f->visible_p99_ms > 0)
		printf("accepted to served by every node: p50 %.2f s, p99 %.2f s\n", f->visible_p50_ms / 1e3,
		       f->visible_p99_ms / 1e3);
	if (cli_table_new(headers, 9, &table) != 0)
		return;
	for (size_t i = 0; i < f->member_count; i++) {
		const struct msg_fleet_member *m = &f->members[i];
		cli_table_cell(table, "%.*s", (int)m->name.len, m->name.text);
		cli_table_cell(table, "%s", kind_name(m->kind));
		cli_table_cell(table, "%.*s", (int)m->state.len, m->state.len > 0 ? m->state.text : "");
		cli_table_cell(table, m->version != 0 ? "v%llu" : "-", (unsigned long long)m->version);
		cli_table_cell(table, "%u", m->pid);
		cli_table_cell(table, "%llu MiB", (unsigned long long)(m->resident_bytes >> 20));
		cli_table_cell(table, "%.1f s ago", (double)m->seen_ms_ago / 1e3);
		cli_table_cell(table, "%.*s", (int)m->endpoint.len, m->endpoint.len > 0 ? m->endpoint.text : "");
		cli_table_cell(table, "%.*s", (int)m->backend.len, m->backend.len > 0 ? m->backend.text : "");
	}
	cli_table_print(cli, &table);
}

int cli_fleet(struct cli *cli, int argc, char **argv)
{
	struct err e = ERR_INIT;
	struct msg request = { .type = MSG_FLEET };
	struct msg_received *reply = NULL;
	if (argc != 1 || strcmp(argv[0], "status") != 0)
		return cli_usage("amend fleet status");
	int rc = cli_call(cli, &request, &reply, &e);
	if (rc != 0)
		return cli_fail(cli, &e);
	if (cli_is_json(cli))
		fleet_json(cli, &reply->msg.u.fleet_reply);
	else
		fleet_table(cli, &reply->msg.u.fleet_reply);
	msg_free(&reply);
	return CLI_OK;
}
