/* cli_log.c: `amend audit log`: who changed what, when and why, as the ledger has it: of a coordinator that runs, or of
 * the folder of one that is stopped, or of a backup. */
#include "daemon/cli_edit.h"
#include "daemon/cli_store.h"

#include "coordinator/coordinator.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define PREFIX_MIN   8 /* digits that name a key */
#define TEXT_COLUMNS 90
#define EVENT(type)  (UINT32_C(1) << (type))

struct log_view {
	struct cli *cli;
	struct store *store; /* NULL: the coordinator is asked */
	int64_t since_ms, until_ms;
	const char *actor;           /* NULL: anybody */
	struct buf subject;          /* folded; empty: any */
	struct buf seqs;             /* of the edits about it so far, ascending: uint64_t */
	uint64_t limit, skip, count; /* entries: to print, to pass over first, and met in this walk */
	bool print;                  /* else they are only counted */
	struct cli_table *table;
	struct buf text;
	struct json_w json;
	int status;
};

struct entry { /* one line; borrowed */
	const struct msg_event *event;
	const struct json *payload; /* NULL: it is none, or was too long */
	char what[48], about[STORE_ID_BYTES + 32];
	const char *text;          /* why, or what it says; NULL: nothing */
	const struct json *change; /* of a list of keys: the one that this line is about */
};

/* --- Writing. */

static void member_copy(struct json_w *w, const char *key, const struct json *from, const char *name)
{
	const struct json *value = json_get(from, name);
	if (value == NULL)
		return;
	json_w_key(w, key);
	json_w_value(w, value);
}

static void entry_json(struct json_w *w, const struct entry *entry)
{
	const struct msg_event *event = entry->event;
	char time[ENV_TIME_BYTES], key[65];
	env_time_format(event->time_ms, time);
	proto_key_hex(event->actor, key);
	json_w_open(w, '{');
	json_w_member_uint(w, "seq", event->seq);
	json_w_member_str(w, "time", time);
	json_w_member_str(w, "what", entry->what);
	json_w_member_str(w, "about", entry->about);
	json_w_key(w, "by");
	json_w_open(w, '{');
	json_w_member_strn(w, "name", event->actor_name.text, event->actor_name.len);
	json_w_member_str(w, "key", key);
	json_w_close(w);
	if (entry->text != NULL)
		json_w_member_str(w, "reason", entry->text);
	if (event->edit.len > 0)
		json_w_member_strn(w, "edit", event->edit.text, event->edit.len);
	if (entry->change != NULL)
		member_copy(w, "key", entry->change, "key");
	if (entry->change != NULL)
		member_copy(w, "owner", entry->change, "owner");
	if (entry->change == NULL && entry->payload != NULL) {
		json_w_key(w, event->type == STORE_EVENT_EDIT_ACCEPTED ? "record" : "event");
		json_w_value(w, entry->payload);
	}
	json_w_close(w);
}

static void entry_row(struct log_view *view, const struct entry *entry)
{
	const struct msg_event *event = entry->event;
	char time[ENV_TIME_BYTES], key[65];
	env_time_format(event->time_ms, time);
	proto_key_hex(event->actor, key);
	cli_table_cell(view->table, "%" PRIu64, event->seq);
	cli_table_cell(view->table, "%s", time);
	cli_table_cell(view->table, "%s", entry->what);
	cli_table_cell(view->table, "%.*s%s%.16s", (int)event->actor_name.len,
		       event->actor_name.len > 0 ? event->actor_name.text : "", event->actor_name.len > 0 ? " " : "",
		       key);
	cli_table_cell(view->table, "%s", entry->about);
	cli_table_cell_cut(view->table, view->cli->output == CLI_WIDE ? 10 * TEXT_COLUMNS : TEXT_COLUMNS,
			   entry->text != NULL ? entry->text : "");
}

static bool by_actor(const struct log_view *view, const struct msg_event *event)
{
	char key[65];
	const size_t len = view->actor != NULL ? strlen(view->actor) : 0;
	proto_key_hex(event->actor, key);
	return view->actor == NULL ||
	       (len == event->actor_name.len && memcmp(view->actor, event->actor_name.text, len) == 0) ||
	       (len >= PREFIX_MIN && strncmp(view->actor, key, len) == 0);
}

static void entry_add(struct log_view *view, const struct entry *entry)
{
	if (entry->event->time_ms < view->since_ms || entry->event->time_ms > view->until_ms ||
	    !by_actor(view, entry->event))
		return;
	const bool shown = view->print && view->count >= view->skip && view->count - view->skip < view->limit;
	view->count++;
	if (!shown)
		return;
	if (view->cli->output == CLI_JSONL) { /* at once: a log may be long */
		struct buf line = BUF_INIT;
		struct json_w w;
		json_w_init(&w, &line);
		entry_json(&w, entry);
		view->status |= cli_emit(view->cli, &line);
	} else if (cli_is_structured(view->cli)) {
		entry_json(&view->json, entry);
	} else {
		entry_row(view, entry);
	}
}

/* --- What an event says. */

static void what_set(struct entry *entry, const char *what)
{
	snprintf(entry->what, sizeof entry->what, "%s", what);
}

static void about_edit(struct entry *entry)
{
	const struct msg_event *event = entry->event;
	if (event->edit.len > 0)
		snprintf(entry->about, sizeof entry->about, "%.*s", (int)event->edit.len, event->edit.text);
	else
		snprintf(entry->about, sizeof entry->about, "edit %" PRId64,
			 json_integer(json_get(entry->payload, "seq")));
}

static void accepted_say(struct log_view *view, struct entry *entry)
{
	struct buf text = BUF_INIT;
	const char *prompt = json_string(json_get(entry->payload, "prompt"), NULL);
	const char *target = json_string(json_get(entry->payload, "target_new"), NULL);
	const char *ticket = json_string(json_get(entry->payload, "ticket"), NULL);
	const char *actor = json_string(json_get(entry->payload, "actor"), NULL);
	what_set(entry, "accepted");
	about_edit(entry);
	buf_printf(&text, "%s -> %s", prompt != NULL ? prompt : "?", target != NULL ? target : "?");
	if (actor != NULL)
		buf_printf(&text, ", for %s", actor);
	if (ticket != NULL)
		buf_printf(&text, ", %s", ticket);
	entry->text = buf_cstr(&text);
	entry_add(view, entry);
	buf_free(&text);
}

static void revocation_say(struct log_view *view, struct entry *entry)
{
	const struct json *group = json_get(entry->payload, "group");
	const size_t count = json_length(json_get(entry->payload, "seqs"));
	what_set(entry, "revocation");
	if (json_string(group, NULL) != NULL)
		snprintf(entry->about, sizeof entry->about, "group %.100s, %zu edit%s", json_string(group, NULL), count,
			 cli_plural(count));
	else
		snprintf(entry->about, sizeof entry->about, "%zu edit%s", count, cli_plural(count));
	entry_add(view, entry);
}

static void version_say(struct log_view *view, struct entry *entry)
{
	const struct json *payload = entry->payload;
	const bool back = json_get(payload, "rollback_to") != NULL, approved = json_get(payload, "approved") != NULL;
	what_set(entry, back ? "rolled back" : approved ? "approved" : "published");
	snprintf(entry->about, sizeof entry->about, "v%" PRId64, json_integer(json_get(payload, "version")));
	if (entry->text == NULL)
		entry->text = json_string(json_get(payload, "note"), NULL);
	if (back) /* its reason says why; this what */
		snprintf(entry->about + strlen(entry->about), sizeof entry->about - strlen(entry->about),
			 " as v%" PRId64 ", publishing paused", json_integer(json_get(payload, "rollback_to")));
	entry_add(view, entry);
}

static void configured_say(struct log_view *view, struct entry *entry)
{
	const struct json *payload = entry->payload;
	const char *publishing = json_string(json_get(payload, "publishing"), NULL);
	const char *candidate = json_string(json_get(payload, "candidate"), NULL);
	const char *before = json_string(json_get(payload, "restored_from"), NULL);
	const char *cluster = json_string(json_get(payload, "cluster_id"), NULL);
	if (publishing != NULL)
		snprintf(entry->what, sizeof entry->what, "publishing %.16s", publishing);
	else if (candidate != NULL)
		snprintf(entry->what, sizeof entry->what, "candidate %.16s", candidate);
	else if (cluster != NULL)
		what_set(entry, before != NULL ? "restored" : "cluster begun");
	else if (json_get(payload, "kept_from") != NULL)
		what_set(entry, "old versions given up");
	else
		what_set(entry, "configured");
	if (candidate != NULL)
		snprintf(entry->about, sizeof entry->about, "v%" PRId64, json_integer(json_get(payload, "version")));
	else if (cluster != NULL && before != NULL)
		snprintf(entry->about, sizeof entry->about, "%.40s, from %.40s", cluster, before);
	else if (cluster != NULL)
		snprintf(entry->about, sizeof entry->about, "%.40s", cluster);
	else if (json_get(payload, "kept_from") != NULL)
		snprintf(entry->about, sizeof entry->about, "before v%" PRId64,
			 json_integer(json_get(payload, "kept_from")));
	entry_add(view, entry);
}

static void keys_say(struct log_view *view, struct entry *entry)
{
	const struct json *changes = json_get(entry->payload, "changes");
	const char *reason = entry->text;
	if (changes == NULL) {
		what_set(entry, "keys changed");
		entry_add(view, entry);
	}
	for (size_t i = 0; i < json_length(changes); i++) {
		const struct json *change = json_at(changes, i);
		const char *action = json_string(json_get(change, "action"), NULL);
		const char *key = json_string(json_get(change, "key"), NULL);
		const char *name = json_string(json_get(change, "name"), NULL);
		const char *roles = json_string(json_get(change, "roles"), NULL);
		char text[512];
		entry->change = change;
		snprintf(entry->what, sizeof entry->what, "key %.20s%s", action != NULL ? action : "changed",
			 json_get(change, "owner") != NULL ? " (rotated)" : "");
		snprintf(entry->about, sizeof entry->about, "%.64s %.16s", name != NULL ? name : "?",
			 key != NULL ? key : "?");
		snprintf(text, sizeof text, "%.64s%s%.380s", roles != NULL ? roles : "",
			 reason != NULL && *reason != '\0' ? ": " : "", reason != NULL ? reason : "");
		entry->text = text;
		entry_add(view, entry);
	}
}

static void shard_say(struct log_view *view, struct entry *entry)
{
	const size_t count = json_length(json_get(entry->payload, "seqs"));
	what_set(entry, "memory lost");
	snprintf(entry->about, sizeof entry->about, "shard %" PRId64 ", %zu edit%s to train again",
		 json_integer(json_get(entry->payload, "shard")), count, cli_plural(count));
	entry_add(view, entry);
}

/* Which edits a merge has lost stands in its event. */
static void merge_say(struct log_view *view, struct entry *entry)
{
	const struct json *payload = entry->payload;
	const char *state = json_string(json_get(payload, "state"), NULL);
	const size_t shards = json_length(json_get(payload, "shards"));
	const int64_t lost = json_integer(json_get(payload, "lost"));
	what_set(entry, state != NULL && strcmp(state, "published") == 0 ? "merged" : "merge failed");
	int n = snprintf(entry->about, sizeof entry->about, "merge %" PRId64 ", %zu shard%s",
			 json_integer(json_get(payload, "merge")), shards, cli_plural(shards));
	if (lost > 0)
		snprintf(entry->about + n, sizeof entry->about - (size_t)n, ", %" PRId64 " edit%s lost", lost,
			 cli_plural((size_t)lost));
	entry_add(view, entry);
}

static void event_say(struct log_view *view, const struct msg_event *event, const struct json *payload)
{
	struct entry entry = { .event = event, .payload = payload };
	const char *state = json_string(json_get(payload, "state"), NULL);
	entry.text = event->omitted ? "its details are too long for this list"
				    : json_string(json_get(payload, "reason"), NULL);
	switch (event->type) {
	case STORE_EVENT_EDIT_ACCEPTED:
		accepted_say(view, &entry);
		break;
	case STORE_EVENT_EDIT_ENDED:
	case STORE_EVENT_EDIT_DUE:
		what_set(&entry, event->type == STORE_EVENT_EDIT_DUE ? "due" : state != NULL ? state : "ended");
		about_edit(&entry);
		entry_add(view, &entry);
		break;
	case STORE_EVENT_EDIT_REVOKED:
		revocation_say(view, &entry);
		break;
	case STORE_EVENT_VERSION_PUBLISHED:
		version_say(view, &entry);
		break;
	case STORE_EVENT_KEY_CHANGED:
		keys_say(view, &entry);
		break;
	case STORE_EVENT_SHARD_LOST:
		shard_say(view, &entry);
		break;
	case STORE_EVENT_MERGE_ENDED:
		merge_say(view, &entry);
		break;
	default:
		configured_say(view, &entry);
		break;
	}
}

/* --- Of one subject. */

static bool seqs_have(const struct log_view *view, uint64_t seq)
{
	const uint64_t *list = (const void *)view->seqs.data;
	for (size_t i = view->seqs.len / sizeof *list; i-- > 0;)
		if (list[i] == seq)
			return true;
	return false;
}

static int is_wanted(struct log_view *view, const struct msg_event *event, const struct json *payload, bool *wanted)
{
	const struct json *seqs = json_get(payload, "seqs");
	int rc = 0;
	*wanted = view->subject.len == 0;
	if (*wanted)
		return 0;
	if (event->type == STORE_EVENT_EDIT_ACCEPTED) {
		rc = cli_edit_about(&view->subject, event->payload, wanted);
		if (*wanted)
			buf_append(&view->seqs, &event->seq, sizeof event->seq);
	} else if (event->type == STORE_EVENT_EDIT_ENDED || event->type == STORE_EVENT_EDIT_DUE) {
		*wanted = seqs_have(view, (uint64_t)json_integer(json_get(payload, "seq")));
	}
	for (size_t i = 0; !*wanted && i < json_length(seqs); i++)
		*wanted = seqs_have(view, (uint64_t)json_integer(json_at(seqs, i)));
	return rc != 0 || buf_failed(&view->seqs) ? ERR_NOMEM : 0;
}

/* --- Reading. */

static int events_say(struct log_view *view, const struct msg_event *events, size_t count, struct err *e)
{
	for (size_t i = 0; i < count && cli_output_open(); i++) {
		struct json *payload = NULL;
		bool wanted = false;
		struct err bad = ERR_INIT;
		const struct msg_event *event = &events[i];
		if (event->payload.len > 0 &&
		    json_parse((const char *)event->payload.bytes, event->payload.len, &payload, &bad) == ERR_NOMEM)
			return err_set(e, ERR_NOMEM, "out of memory");
		int rc = is_wanted(view, event, payload, &wanted);
		if (rc == 0 && wanted)
			event_say(view, event, payload);
		json_free(&payload);
		if (rc != 0)
			return err_set(e, rc, "out of memory");
	}
	return 0;
}

static int walk(struct log_view *view, struct err *e)
{
	struct msg_event_list ask = {
		.from_seq = 1,
		.type_mask = EVENT(STORE_EVENT_EDIT_ACCEPTED) | EVENT(STORE_EVENT_EDIT_ENDED) |
			     EVENT(STORE_EVENT_EDIT_REVOKED) | EVENT(STORE_EVENT_EDIT_DUE) |
			     EVENT(STORE_EVENT_VERSION_PUBLISHED) | EVENT(STORE_EVENT_CONFIG_CHANGED) |
			     EVENT(STORE_EVENT_KEY_CHANGED) | EVENT(STORE_EVENT_SHARD_LOST) |
			     EVENT(STORE_EVENT_MERGE_ENDED),
	};
	int rc = 0;
	view->count = 0;
	buf_clear(&view->seqs);
	while (rc == 0 && ask.from_seq != 0 && cli_output_open()) {
		struct msg request = { .type = MSG_EVENT_LIST, .u.event_list = ask };
		struct coordinator_events page = { .items = NULL };
		struct msg_received *reply = NULL;
		rc = view->store != NULL ? coordinator_events_read(view->store, &ask, &page, e)
					 : cli_call(view->cli, &request, &reply, e);
		if (rc != 0)
			break;
		struct msg_event_list_reply list = { page.items, page.count, page.next_seq, page.last_seq };
		if (reply != NULL)
			list = reply->msg.u.event_list_reply;
		rc = events_say(view, list.events, list.event_count, e);
		ask.from_seq = list.next_seq;
		msg_free(&reply);
		coordinator_events_free(&page);
	}
	return rc;
}

/* The newest `limit`: they are counted first. What comes meanwhile is the next call's. */
static int log_read(struct log_view *view, struct err *e)
{
	int rc = view->limit == UINT64_MAX ? 0 : walk(view, e);
	view->skip = view->count > view->limit ? view->count - view->limit : 0;
	view->print = true;
	return rc == 0 ? walk(view, e) : rc;
}

static int log_print(struct log_view *view)
{
	json_w_close(&view->json);
	if (view->cli->output <= CLI_WIDE)
		return cli_table_print(view->cli, &view->table);
	if (view->cli->output != CLI_JSONL)
		return cli_emit(view->cli, &view->text);
	return view->status;
}

static int time_value(const struct cli_args *args, const char *flag, int64_t *out, struct err *e)
{
	const char *text = cli_value(args, flag);
	int rc = text != NULL ? env_time_parse(text, out, e) : 0;
	if (rc != 0)
		err_wrap(e, "--%s", flag);
	return rc;
}

static int view_parse(struct log_view *view, const struct cli_args *args, struct err *e)
{
	const char *limit = cli_value(args, "limit"), *subject = cli_value(args, "subject");
	view->actor = cli_value(args, "actor");
	int rc = time_value(args, "since", &view->since_ms, e);
	if (rc == 0)
		rc = time_value(args, "until", &view->until_ms, e);
	if (rc == 0 && limit != NULL)
		rc = cli_number(limit, "--limit", 1, UINT64_MAX - 1, &view->limit, e);
	return rc == 0 && subject != NULL ? cli_subject_parse(subject, &view->subject, e) : rc;
}

static int folder_open(const struct cli_args *args, struct store **out, struct err *e)
{
	const struct store_options options = { .env = env_system(), .inspect = true };
	return args->word_count > 0 ? store_open(args->words[0], &options, out, e) : 0;
}

int cli_audit_log(struct cli *cli, const struct cli_args *args)
{
	static const char *const headers[] = { "SEQ", "WHEN", "WHAT", "BY", "ABOUT", "WHY" };
	struct err e = ERR_INIT;
	struct log_view view = { .cli = cli, .since_ms = INT64_MIN, .until_ms = INT64_MAX, .limit = UINT64_MAX };
	if (view_parse(&view, args, &e) != 0) {
		buf_free(&view.subject);
		return cli_misuse(&e);
	}
	if (cli_table_new(headers, 6, &view.table) != 0) {
		buf_free(&view.subject);
		return cli_out_of_memory(cli);
	}
	json_w_init(&view.json, &view.text);
	json_w_open(&view.json, '[');
	int rc = folder_open(args, &view.store, &e);
	if (rc == 0)
		rc = log_read(&view, &e);
	int status = rc == 0 ? log_print(&view) : cli_fail(cli, &e);
	store_close(&view.store);
	cli_table_free(&view.table);
	buf_free(&view.subject);
	buf_free(&view.seqs);
	buf_free(&view.text);
	return status;
}
