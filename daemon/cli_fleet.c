/* cli_fleet.c: `amend fleet status`. */
#include "daemon/cli.h"

#include <stdio.h>
#include <string.h>

#define KEY_TRIES_MS 60000

static const char *kind_name(enum msg_peer_kind kind)
{
	return kind == MSG_PEER_WORKER ? "worker" : kind == MSG_PEER_NODE ? "node" : "client";
}

static void member_json(struct json_w *w, const struct msg_fleet_member *m)
{
	char hex[65];
	proto_key_hex(m->key, hex);
	json_w_open(w, '{');
	json_w_member_strn(w, "name", m->name.text, m->name.len);
	json_w_member_str(w, "kind", kind_name(m->kind));
	json_w_member_strn(w, "state", m->state.text, m->state.len);
	json_w_member_strn(w, "endpoint", m->endpoint.text, m->endpoint.len);
	json_w_member_strn(w, "backend", m->backend.text, m->backend.len);
	json_w_member_strn(w, "software", m->software.text, m->software.len);
	json_w_member_str(w, "key", hex);
	json_w_member_uint(w, "pid", m->pid);
	json_w_member_uint(w, "version", m->version);
	if (m->failing)
		json_w_member_bool(w, "failing", true);
	if (m->failed_version != 0)
		json_w_member_uint(w, "failed_version", m->failed_version);
	if (m->failed_reason.len > 0)
		json_w_member_strn(w, "failed_reason", m->failed_reason.text, m->failed_reason.len);
	if (m->source.len > 0)
		json_w_member_strn(w, "pulls_from", m->source.text, m->source.len);
	json_w_member_uint(w, "leases", m->lease_count);
	json_w_member_uint(w, "resident_bytes", m->resident_bytes);
	json_w_member_int(w, "seen_ms_ago", m->seen_ms_ago);
	json_w_close(w);
}

static void refused_keys_json(struct json_w *w, const struct msg_fleet_reply *f)
{
	json_w_key(w, "refused_keys");
	json_w_open(w, '[');
	for (size_t i = 0; i < f->refused_key_count; i++) {
		char hex[65];
		proto_key_hex(f->refused_keys[i].key, hex);
		json_w_open(w, '{');
		json_w_member_str(w, "key", hex);
		json_w_member_int(w, "ms_ago", f->refused_keys[i].ms_ago);
		json_w_close(w);
	}
	json_w_close(w);
}

static int fleet_emit(struct cli *cli, const struct msg_fleet_reply *f)
{
	struct buf text = BUF_INIT;
	struct json_w w;
	json_w_init(&w, &text);
	json_w_open(&w, '{');
	json_w_member_strn(&w, "cluster", f->cluster_id.text, f->cluster_id.len);
	json_w_member_strn(&w, "software", f->software.text, f->software.len);
	json_w_member_hash(&w, "base_model", &f->base_model);
	json_w_member_uint(&w, "version", f->version);
	json_w_member_uint(&w, "ledger_seq", f->last_seq);
	json_w_member_uint(&w, "queue_length", f->queue_length);
	json_w_member_uint(&w, "shards_open", f->shards_open);
	json_w_member_uint(&w, "shards_closed", f->shards_closed);
	json_w_member_uint(&w, "pid", f->pid);
	json_w_member_uint(&w, "resident_bytes", f->resident_bytes);
	json_w_member_uint(&w, "member_total", f->member_total);
	if (f->merge != 0) {
		json_w_member_uint(&w, "merge", f->merge);
		json_w_member_strn(&w, "merge_phase", f->merge_phase.text, f->merge_phase.len);
		json_w_member_strn(&w, "merge_reason", f->merge_reason.text, f->merge_reason.len);
	}
	json_w_member_strn(&w, "publish_held", f->publish_held.text, f->publish_held.len);
	json_w_member_strn(&w, "write_trouble", f->write_trouble.text, f->write_trouble.len);
	json_w_member_strn(&w, "canaries_differ", f->canaries.text, f->canaries.len);
	json_w_member_strn(&w, "damage", f->damage.text, f->damage.len);
	json_w_member_real(&w, "visible_p50_seconds", f->visible_p50_ms / 1e3);
	json_w_member_real(&w, "visible_p99_seconds", f->visible_p99_ms / 1e3);
	json_w_key(&w, "members");
	json_w_open(&w, '[');
	for (size_t i = 0; i < f->member_count; i++)
		member_json(&w, &f->members[i]);
	json_w_close(&w);
	if (f->refused_reason.len > 0) {
		json_w_key(&w, "refused");
		json_w_open(&w, '{');
		json_w_member_strn(&w, "name", f->refused_name.text, f->refused_name.len);
		json_w_member_strn(&w, "reason", f->refused_reason.text, f->refused_reason.len);
		json_w_member_int(&w, "ms_ago", f->refused_ms_ago);
		json_w_close(&w);
	}
	refused_keys_json(&w, f);
	json_w_close(&w);
	return cli_emit(cli, &text);
}

static void state_cell(struct cli_table *table, const struct msg_fleet_member *m)
{
	if (m->failing && m->failed_version != 0)
		cli_table_cell(table, "failing v%llu", (unsigned long long)m->failed_version);
	else if (m->failing)
		cli_table_cell(table, "failing");
	else
		cli_table_cell(table, "%.*s", (int)m->state.len, m->state.len > 0 ? m->state.text : "");
}

/* Of those that still try: they do every few seconds. */
static void refused_key_line(const struct msg_fleet_reply *f)
{
	size_t count = 0;
	char hex[65], others[64] = "";
	while (count < f->refused_key_count && f->refused_keys[count].ms_ago < KEY_TRIES_MS)
		count++;
	if (count == 0)
		return;
	proto_key_hex(f->refused_keys[0].key, hex);
	if (count > 1)
		snprintf(others, sizeof others, ", and %zu other%s before it", count - 1, cli_plural(count - 1));
	cli_line(stdout, "the key %s, which is not on the list of allowed ones, was refused %.1f s ago%s", hex,
		 (double)f->refused_keys[0].ms_ago / 1e3, others);
}

/* What its rows cannot say. */
static void fleet_reasons(const struct msg_fleet_reply *f)
{
	for (size_t i = 0; i < f->member_count; i++) {
		const struct msg_fleet_member *m = &f->members[i];
		char what[48] = "";
		if (m->failed_version != 0)
			snprintf(what, sizeof what, " cannot load v%llu", (unsigned long long)m->failed_version);
		if (m->failing && m->failed_reason.len > 0)
			cli_line(stdout, "%.*s%s: %.*s", (int)m->name.len, m->name.text, what,
				 (int)m->failed_reason.len, m->failed_reason.text);
	}
	if (f->publish_held.len > 0)
		cli_line(stdout, "%.*s", (int)f->publish_held.len, f->publish_held.text);
	if (f->write_trouble.len > 0)
		cli_line(stdout, "the coordinator keeps nothing new: %.*s", (int)f->write_trouble.len,
			 f->write_trouble.text);
	if (f->canaries.len > 0)
		cli_line(stdout, "%.*s", (int)f->canaries.len, f->canaries.text);
	if (f->damage.len > 0)
		cli_line(stdout, "%.*s", (int)f->damage.len, f->damage.text);
	if (f->merge != 0)
		cli_line(stdout, "merge %llu is under way: %.*s%s%.*s", (unsigned long long)f->merge,
			 (int)f->merge_phase.len, f->merge_phase.len > 0 ? f->merge_phase.text : "",
			 f->merge_reason.len > 0 ? ": " : "", (int)f->merge_reason.len,
			 f->merge_reason.len > 0 ? f->merge_reason.text : "");
	if (f->refused_reason.len > 0)
		cli_line(stdout, "%.*s could not join %.1f s ago: %.*s", (int)f->refused_name.len, f->refused_name.text,
			 (double)f->refused_ms_ago / 1e3, (int)f->refused_reason.len, f->refused_reason.text);
	refused_key_line(f);
}

/* A column of its own where not all pull from the coordinator. */
static bool fleet_relays(const struct msg_fleet_reply *f)
{
	static const char coordinator[] = "coordinator";
	for (size_t i = 0; i < f->member_count; i++) {
		const struct msg_text *source = &f->members[i].source;
		if (source->len > 0 &&
		    (source->len != sizeof coordinator - 1 || memcmp(source->text, coordinator, source->len) != 0))
			return true;
	}
	return false;
}

static int fleet_table(struct cli *cli, const struct msg_fleet_reply *f)
{
	static const char *const headers[] = { "NAME",     "KIND", "STATE",    "VERSION", "PID",
					       "RESIDENT", "SEEN", "ENDPOINT", "BACKEND", "PULLS FROM" };
	const bool relays = fleet_relays(f);
	struct cli_table *table = NULL;
	char version[32] = "no version yet";
	if (f->version != 0)
		snprintf(version, sizeof version, "v%llu", (unsigned long long)f->version);
	cli_line(stdout,
		 "cluster %.*s: %s, ledger at %llu, %llu edit%s waiting, %u shard%s open (being filled or trained) and "
		 "%u closed",
		 (int)f->cluster_id.len, f->cluster_id.text, version, (unsigned long long)f->last_seq,
		 (unsigned long long)f->queue_length, cli_plural(f->queue_length), f->shards_open,
		 cli_plural(f->shards_open), f->shards_closed);
	if (f->visible_p99_ms > 0)
		printf("accepted to served by every node: p50 %.2f s, p99 %.2f s\n", f->visible_p50_ms / 1e3,
		       f->visible_p99_ms / 1e3);
	if (f->member_total > f->member_count)
		printf("%zu of %u workers and nodes:\n", f->member_count, f->member_total);
	if (cli_table_new(headers, relays ? 10 : 9, &table) != 0)
		return cli_out_of_memory(cli);
	for (size_t i = 0; i < f->member_count; i++) {
		const struct msg_fleet_member *m = &f->members[i];
		cli_table_cell(table, "%.*s", (int)m->name.len, m->name.text);
		cli_table_cell(table, "%s", kind_name(m->kind));
		state_cell(table, m);
		cli_table_cell(table, m->version != 0 ? "v%llu" : "-", (unsigned long long)m->version);
		cli_table_cell(table, "%u", m->pid);
		cli_table_cell(table, m->resident_bytes != 0 ? "%llu MiB" : "-",
			       (unsigned long long)(m->resident_bytes >> 20)); /* its first heartbeat says it */
		cli_table_cell(table, "%.1f s ago", (double)m->seen_ms_ago / 1e3);
		cli_table_cell(table, "%.*s", (int)m->endpoint.len, m->endpoint.len > 0 ? m->endpoint.text : "");
		cli_table_cell(table, "%.*s", (int)m->backend.len, m->backend.len > 0 ? m->backend.text : "");
		if (relays)
			cli_table_cell(table, "%.*s", (int)m->source.len, m->source.len > 0 ? m->source.text : "");
	}
	int status = cli_table_print(cli, &table);
	fleet_reasons(f);
	return status;
}

static int fleet_names(const struct msg_fleet_reply *f)
{
	for (size_t i = 0; i < f->member_count; i++)
		cli_line(stdout, "%.*s", (int)f->members[i].name.len, f->members[i].name.text);
	return CLI_OK;
}

int cli_fleet_status(struct cli *cli, const struct cli_args *args)
{
	struct err e = ERR_INIT;
	struct msg request = { .type = MSG_FLEET };
	struct msg_received *reply = NULL;
	(void)args;
	if (cli_call(cli, &request, &reply, &e) != 0)
		return cli_fail(cli, &e);
	const struct msg_fleet_reply *fleet = &reply->msg.u.fleet_reply;
	int status = cli->output == CLI_NAME  ? fleet_names(fleet)
		     : cli_is_structured(cli) ? fleet_emit(cli, fleet)
					      : fleet_table(cli, fleet);
	msg_free(&reply);
	return status;
}
