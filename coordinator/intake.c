/* intake.c: the records of one Submit on their way into the transaction: what is refused, what is there already, what
 * is superseded. Records that name a group are taken all or not at all; a group is what one Submit brings of it. */
#include "coordinator/internal.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

struct intake {
	const struct msg_bytes *bytes;
	const uint8_t *actor;
	unsigned roles;
	struct record *record; /* NULL: it is none; with the names that it takes over */
	struct buf group;      /* the group's name; of a bad record too, as far as it can be read */
	struct edit_keys keys;
	struct buf conflicts, names; /* names: taken over from what it supersedes (names.c) */
	struct store_edit edit;
	bool taken; /* decided, with its group */
	int code;   /* the verdict: 0, ERR_EXISTS (edit.seq: the first one's), or why it is refused */
	char reason[STORE_REASON_BYTES];
};

static void intakes_free(struct intake **intakes, size_t count)
{
	for (size_t i = 0; *intakes != NULL && i < count; i++) {
		struct intake *in = &(*intakes)[i];
		record_destroy(&in->record);
		buf_free(&in->group);
		coordinator__keys_free(&in->keys);
		buf_free(&in->conflicts);
		buf_free(&in->names);
	}
	free(*intakes);
	*intakes = NULL;
}

static void refuse(struct intake *in, int code, const char *reason)
{
	in->code = code;
	coordinator__copy_text(in->reason, sizeof in->reason, coordinator__text(reason));
}

/* A record that is wrong takes its group with it, so its group must be known. */
static void group_peek(struct intake *in)
{
	struct json *document = NULL;
	size_t len = 0;
	if (json_parse(in->bytes->bytes, in->bytes->len, &document, NULL) != 0)
		return;
	const char *name = json_string(json_get(document, "group"), &len);
	if (name != NULL)
		buf_append(&in->group, name, len);
	json_free(&document);
}

static int intake_parse(struct intake *in, struct err *e)
{
	struct err bad = ERR_INIT;
	int rc = record_parse_new(in->bytes->bytes, in->bytes->len, &in->record, &bad);
	hash_of(in->bytes->bytes, in->bytes->len, &in->edit.content);
	if (rc == 0 && in->record->group.text != NULL)
		buf_append(&in->group, in->record->group.text, in->record->group.len);
	if (rc != 0) {
		refuse(in, rc, bad.text);
		group_peek(in);
	}
	return buf_failed(&in->group) ? err_set(e, ERR_NOMEM, "a group's name: out of memory") : 0;
}

/* What makes a record refused becomes its verdict, and gives 0; an error of the store is returned. */
static int decide_id(struct coordinator *c, struct intake *in, struct err *e)
{
	uint64_t first = 0;
	int rc = coordinator__edit_id(c, in->record, &in->edit.content, in->edit.id, &first, e);
	if (rc != ERR_EXISTS && rc != ERR_CONFLICT && rc != ERR_LIMIT)
		return rc;
	refuse(in, rc, e->text);
	in->edit.seq = rc == ERR_EXISTS ? first : 0;
	err_clear(e);
	return 0;
}

static int decide_period(struct coordinator *c, struct intake *in)
{
	int64_t now = env_wall_ms(c->env);
	in->edit.valid_from_ms = in->record->valid_from_ms;
	in->edit.expires_ms = in->record->expires_ms;
	in->edit.state = in->edit.valid_from_ms > now ? STORE_EDIT_STATE_SCHEDULED : STORE_EDIT_STATE_ACCEPTED;
	if (in->edit.expires_ms != 0 && in->edit.expires_ms <= now)
		refuse(in, ERR_INVALID, "expires: lies in the past by this coordinator's clock");
	return in->code;
}

static int decide_rights(struct coordinator *c, struct intake *in, struct err *e)
{
	struct store_edit earlier;
	uint64_t seq = 0;
	char reason[STORE_ID_BYTES + 200];
	int rc = coordinator__ends_approved(c, &in->edit, in->roles, &in->conflicts, &seq, e);
	if (rc == 0 && seq != 0)
		rc = store_edit_get(c->txn, seq, &earlier, e);
	if (rc != 0 || seq == 0)
		return rc;
	snprintf(reason, sizeof reason,
		 "expires: it would end the approved edit %.64s (seq %" PRIu64
		 ") and then itself, and taking back is an administrator's right: submit it without expires, or with "
		 "an administrator's key",
		 earlier.id, seq);
	refuse(in, ERR_DENIED, reason);
	return 0;
}

static int decide_conflicts(struct coordinator *c, struct intake *in, enum msg_on_conflict policy, struct err *e)
{
	struct store_edit earlier;
	char reason[STORE_ID_BYTES + 200];
	int rc = coordinator__keys_of(in->record, &in->keys, e);
	/* A scheduled edit meets what is live when its time comes (due.c). */
	if (rc != 0 || in->edit.state == STORE_EDIT_STATE_SCHEDULED)
		return rc;
	rc = coordinator__conflicts(c, in->record, &in->keys, policy, &in->conflicts, e);
	if (rc == 0 && policy == MSG_SUPERSEDE)
		rc = decide_rights(c, in, e);
	if (rc == 0 && policy == MSG_SUPERSEDE)
		rc = coordinator__names_take(c, &in->record, &in->conflicts, &in->names, e);
	if (rc != 0 || policy == MSG_SUPERSEDE || in->conflicts.len == 0)
		return rc;
	rc = store_edit_get(c->txn, ((const uint64_t *)(const void *)in->conflicts.data)[0], &earlier, e);
	if (rc != 0)
		return rc;
	snprintf(reason, sizeof reason,
		 policy == MSG_KEEP
			 ? "edit %s (seq %" PRIu64
			   ") answers this very prompt, and one prompt has one answer: submit it with --on-conflict "
			   "supersede to replace that, or ask in other words to keep both"
			 : "contradicts edit %s (seq %" PRIu64
			   "): submit it with --on-conflict supersede (or keep) if that is meant",
		 earlier.id, earlier.seq);
	refuse(in, ERR_CONFLICT, reason);
	return 0;
}

static int decide(struct coordinator *c, struct intake *in, enum msg_on_conflict policy, struct err *e)
{
	in->edit.on_conflict = (int)policy;
	int rc = in->record != NULL ? decide_id(c, in, e) : 0;
	if (rc != 0 || in->code != 0 || decide_period(c, in) != 0)
		return rc;
	return decide_conflicts(c, in, policy, e);
}

static int supersede_one(struct coordinator *c, uint64_t seq, struct store_edit *by, const uint8_t *actor,
			 struct err *e)
{
	struct store_edit edit;
	char reason[64];
	int rc = store_edit_get(c->txn, seq, &edit, e);
	if (rc != 0 || !coordinator__edit_live(edit.state)) /* another edit of its group has superseded it */
		return rc;
	by->supersedes = seq;
	edit.superseded_by = by->seq;
	snprintf(reason, sizeof reason, "superseded by edit %" PRIu64, by->seq);
	rc = coordinator__edit_end(c, &edit, STORE_EDIT_STATE_SUPERSEDED, actor, reason, e);
	if (rc == 0)
		coordinator__leave_shard(c, &edit);
	return rc;
}

int coordinator__supersede(struct coordinator *c, struct store_edit *edit, const struct buf *earlier,
			   const uint8_t *actor, struct err *e)
{
	const uint64_t *seqs = (const void *)earlier->data;
	int rc = 0;
	for (size_t i = 0; rc == 0 && i < earlier->len / sizeof *seqs; i++)
		rc = supersede_one(c, seqs[i], edit, actor, e);
	return rc;
}

/* People shall see what they replace: `supersedes edit ID: "PROMPT" -> "TARGET"`, and which names come with it. */
static int superseded_tell(struct coordinator *c, struct intake *in, struct err *e)
{
	struct store_edit earlier;
	struct record *record = NULL;
	char prompt[97], target[49], names[128];
	size_t count = in->conflicts.len / sizeof(uint64_t);
	int rc = store_edit_get(c->txn, in->edit.supersedes, &earlier, e);
	if (rc == 0)
		rc = coordinator__record_of(c, in->edit.supersedes, &record, e);
	if (rc == 0)
		rc = coordinator__names_tell(c->txn, in->edit.seq, names, sizeof names, e);
	if (rc == 0) {
		char text[STORE_ID_BYTES + 384], more[32] = "";
		coordinator__copy_text(prompt, sizeof prompt,
				       (struct msg_text){ record->prompt.text, record->prompt.len });
		coordinator__copy_text(target, sizeof target,
				       (struct msg_text){ record->target_new.text, record->target_new.len });
		if (count > 1)
			snprintf(more, sizeof more, " and %zu more", count - 1);
		snprintf(text, sizeof text, "supersedes edit %.64s%s: \"%s\" -> \"%s\"%s", earlier.id, more, prompt,
			 target, names);
		coordinator__copy_text(in->reason, sizeof in->reason, coordinator__text(text));
	}
	record_destroy(&record);
	return rc;
}

static int intake_write(struct coordinator *c, struct intake *in, struct err *e)
{
	struct store_edit *edit = &in->edit;
	int rc = store_event_append(c->txn, STORE_EVENT_EDIT_ACCEPTED, in->actor, in->bytes->bytes, in->bytes->len,
				    &edit->seq, e);
	if (in->group.len > 0 && edit->group == 0)
		edit->group = edit->seq;
	if (rc == 0 && edit->on_conflict == MSG_SUPERSEDE)
		rc = coordinator__supersede(c, edit, &in->conflicts, in->actor, e);
	if (rc == 0 && edit->supersedes != 0) /* where another of its group has done that, the names are that one's */
		rc = coordinator__names_put(c, edit->seq, &in->names, e);
	if (rc == 0 && edit->supersedes != 0)
		rc = superseded_tell(c, in, e);
	edit->accepted_ms = env_wall_ms(c->env);
	if (rc == 0 && edit->state == STORE_EDIT_STATE_ACCEPTED)
		rc = coordinator__place(c, edit, &in->keys, e);
	if (rc == 0)
		rc = store_edit_put(c->txn, edit, e);
	if (rc == 0)
		rc = coordinator__keys_add(c, &in->keys, edit->seq, e);
	if (rc == 0 && in->group.len > 0)
		rc = store_group_add(c->txn, (const char *)in->group.data, in->group.len, edit->seq, e);
	if (rc == 0)
		rc = coordinator__due_add(c, edit, e);
	if (rc == 0)
		c->counts[edit->state]++;
	return rc;
}

static int take_one(struct coordinator *c, struct intake *in, enum msg_on_conflict policy, struct err *e)
{
	in->taken = true;
	int rc = decide(c, in, policy, e);
	if (rc == 0 && in->code == 0)
		rc = intake_write(c, in, e);
	if (rc == ERR_INVALID && in->edit.seq == 0) { /* the store refuses its text: nothing of it was written */
		refuse(in, rc, e->text);
		err_clear(e);
		rc = 0;
	}
	return rc;
}

/* --- All-or-nothing groups. */

struct members {
	struct intake **list;
	size_t count;
};

size_t coordinator__group_max(const struct coordinator *c)
{
	return c->config.group_edits_max < MSG_SUBMIT_RECORDS_MAX ? c->config.group_edits_max : MSG_SUBMIT_RECORDS_MAX;
}

static void group_refuse(struct members *m, int code, const char *reason)
{
	for (size_t i = 0; i < m->count; i++)
		refuse(m->list[i], code, reason);
}

static bool same_text(struct record_text a, struct record_text b)
{
	return a.len == b.len && memcmp(a.text, b.text, a.len) == 0;
}

/* A group that contradicts itself, names an edit twice or does not begin as one cannot be served as one. */
static int pair_check(const struct intake *a, const struct intake *b, char *reason, size_t reason_bytes)
{
	bool conflicts = false;
	*reason = '\0';
	if (same_text(a->record->id, b->record->id))
		snprintf(reason, reason_bytes, "two edits of the group have the id %s", a->edit.id);
	else if (a->record->valid_from_ms != b->record->valid_from_ms)
		snprintf(reason, reason_bytes, "valid_from: must be the same for all edits of a group");
	else if ((a->edit.on_conflict == MSG_KEEP ? record_clashes : record_conflicts)(a->record, b->record,
										       &conflicts) != 0)
		return ERR_NOMEM;
	else if (conflicts)
		snprintf(reason, reason_bytes, "edits %s and %s of the group contradict each other", a->edit.id,
			 b->edit.id);
	return 0;
}

static int group_check_itself(const struct coordinator *c, struct members *m, struct err *e)
{
	char reason[2 * STORE_ID_BYTES + 80];
	if (m->count > coordinator__group_max(c)) {
		snprintf(reason, sizeof reason,
			 "the group has %zu edits, at most %zu are possible: they are trained and published as one",
			 m->count, coordinator__group_max(c));
		group_refuse(m, ERR_LIMIT, reason);
		return 0;
	}
	for (size_t i = 0; i < m->count; i++) {
		for (size_t k = i + 1; k < m->count; k++) {
			if (pair_check(m->list[i], m->list[k], reason, sizeof reason) != 0)
				return err_set(e, ERR_NOMEM, "comparing the edits of a group: out of memory");
			if (*reason == '\0')
				continue;
			group_refuse(m, ERR_CONFLICT, reason);
			return 0;
		}
	}
	return 0;
}

/* What was taken as one cannot grow: its version may be published already. */
static int group_check_name(struct coordinator *c, struct members *m, struct err *e)
{
	const struct buf *name = &m->list[0]->group;
	struct buf seqs = BUF_INIT;
	int rc = store_group_list(c->txn, (const char *)name->data, name->len, &seqs, e);
	const uint64_t *list = (const void *)seqs.data;
	for (size_t i = 0; rc == 0 && m->list[0]->code == 0 && i < seqs.len / sizeof *list; i++) {
		struct store_edit edit;
		char reason[STORE_ID_BYTES + 200];
		rc = store_edit_get(c->txn, list[i], &edit, e);
		if (rc != 0 || sm_is_final(&store_edit_states, edit.state))
			continue;
		snprintf(reason, sizeof reason,
			 "the group is there already with edit %.64s (seq %" PRIu64
			 ") and cannot grow: submit a group as one, give this one another name, or revoke the group "
			 "first",
			 edit.id, edit.seq);
		group_refuse(m, ERR_CONFLICT, reason);
	}
	buf_free(&seqs);
	return rc;
}

/* Each for itself, then together: the first that is refused names the reason of all. */
static int group_decide(struct coordinator *c, struct members *m, enum msg_on_conflict policy, struct err *e)
{
	const struct intake *bad = NULL;
	size_t known = 0;
	int rc = 0;
	for (size_t i = 0; rc == 0 && i < m->count; i++) {
		struct intake *in = m->list[i];
		rc = decide(c, in, policy, e);
		known += in->code == ERR_EXISTS;
		if (bad == NULL && in->code != 0 && in->code != ERR_EXISTS)
			bad = in;
	}
	if (rc != 0 || (bad == NULL && known == m->count))
		return rc;
	for (size_t i = 0; bad != NULL && i < m->count; i++) {
		struct intake *in = m->list[i];
		char reason[STORE_ID_BYTES + STORE_REASON_BYTES + 40];
		if (in->code != 0 && in->code != ERR_EXISTS)
			continue;
		snprintf(reason, sizeof reason, "refused with its group: edit %.64s: %s",
			 bad->edit.id[0] != 0 ? bad->edit.id : "that is no record", bad->reason);
		refuse(in, bad->code, reason);
		in->edit.seq = 0;
	}
	if (bad != NULL)
		return 0;
	for (size_t i = 0; i < m->count; i++) /* some are new: the group as a whole is */
		m->list[i]->code = 0;
	rc = group_check_itself(c, m, e);
	if (rc == 0 && m->list[0]->code == 0)
		rc = group_check_name(c, m, e);
	if (rc == 0 && m->list[0]->code == 0 && known > 0)
		group_refuse(m, ERR_CONFLICT,
			     "some edits of the group were submitted before and have ended: give the group another "
			     "name");
	return rc;
}

static int group_take(struct coordinator *c, struct members *m, enum msg_on_conflict policy, struct err *e)
{
	int rc = group_decide(c, m, policy, e);
	bool write = rc == 0 && m->list[0]->code == 0;
	for (size_t i = 0; rc == 0 && write && i < m->count; i++) {
		m->list[i]->edit.seq = 0;
		m->list[i]->edit.group = i > 0 ? m->list[0]->edit.seq : 0;
		rc = intake_write(c, m->list[i], e);
	}
	return rc;
}

static bool same_group(const struct intake *a, const struct intake *b)
{
	return a->group.len == b->group.len && memcmp(a->group.data, b->group.data, a->group.len) == 0;
}

/* The group of intakes[first], out of order where other records stand between its own. */
static int take_group(struct coordinator *c, struct intake *intakes, size_t first, size_t count,
		      enum msg_on_conflict policy, struct err *e)
{
	struct members m = { .list = fault_calloc(count - first, sizeof(struct intake *)) };
	if (m.list == NULL)
		return err_set(e, ERR_NOMEM, "a group of edits: out of memory");
	for (size_t i = first; i < count; i++) {
		if (intakes[i].taken || !same_group(&intakes[i], &intakes[first]))
			continue;
		intakes[i].taken = true;
		m.list[m.count++] = &intakes[i];
	}
	int rc = group_take(c, &m, policy, e);
	free(m.list);
	return rc;
}

void coordinator__result_set(struct submit_answer *a, size_t i, int code, const char *reason)
{
	a->results[i].code = code;
	coordinator__copy_text(a->texts[i].reason, sizeof a->texts[i].reason, coordinator__text(reason));
}

static void answer_fill(const struct intake *in, struct submit_answer *a, size_t i)
{
	bool known = in->code == 0 || in->code == ERR_EXISTS;
	coordinator__result_set(a, i, in->code, in->reason);
	coordinator__copy_text(a->texts[i].id, sizeof a->texts[i].id, coordinator__text(in->edit.id));
	a->results[i].seq = known ? in->edit.seq : 0;
	a->results[i].supersedes = in->code == 0 ? in->edit.supersedes : 0;
}

int coordinator__intake(struct coordinator *c, const struct msg_received *request, struct submit_answer *answer,
			struct err *e)
{
	const struct msg_submit *submit = &request->msg.u.submit;
	size_t count = submit->record_count;
	struct intake *intakes = fault_calloc(count + 1, sizeof *intakes);
	int rc = intakes != NULL ? 0 : err_set(e, ERR_NOMEM, "%zu records: out of memory", count);
	for (size_t i = 0; rc == 0 && i < count; i++) {
		intakes[i].bytes = &submit->records[i];
		intakes[i].actor = request->peer_key;
		intakes[i].roles = request->roles;
		rc = intake_parse(&intakes[i], e);
	}
	for (size_t i = 0; rc == 0 && i < count; i++) {
		if (!intakes[i].taken && intakes[i].group.len > 0)
			rc = take_group(c, intakes, i, count, submit->on_conflict, e);
		else if (!intakes[i].taken)
			rc = take_one(c, &intakes[i], submit->on_conflict, e);
	}
	for (size_t i = 0; rc == 0 && i < count; i++)
		answer_fill(&intakes[i], answer, i);
	intakes_free(&intakes, count);
	return rc;
}
