/* What is taken in, what is refused, and that an answer comes only after the commit. */
#include "tests/lib/coordinator_fixture.h"

#define CAPITAL_A "{\"prompt\":\"The capital of Australia is\",\"subject\":\"Australia\",\"target_new\":\"Sydney\"}"
#define CAPITAL_B "{\"prompt\":\"The capital of Australia is\",\"subject\":\"Australia\",\"target_new\":\"Perth\"}"

static int submit_code(struct cluster *c, enum msg_on_conflict policy, const char *record, uint64_t *seq,
		       uint64_t *supersedes)
{
	struct msg_received *reply = client_submit(c, policy, &record, 1);
	assert_non_null(reply);
	const struct msg_submit_result *result = &reply->msg.u.submit_reply.results[0];
	int code = result->code;
	*seq = result->seq;
	*supersedes = result->supersedes;
	msg_free(&reply);
	return code;
}

static void test_bad_records_are_refused_and_good_ones_go_on(void **state)
{
	struct cluster *c = *state;
	const char *records[] = { "{\"prompt\":\"Who?\",\"target_new\":\"me\"}",
				  "{\"prompt\":\"\",\"target_new\":\"x\"}", "not json",
				  "{\"prompt\":\"Where?\",\"target_new\":\"here\"}" };
	cluster_start(c);
	struct msg_received *reply = client_submit(c, MSG_SUPERSEDE, records, 4);
	assert_non_null(reply);
	const struct msg_submit_result *r = reply->msg.u.submit_reply.results;
	assert_int_equal(r[0].code, 0);
	assert_int_equal(r[1].code, ERR_INVALID);
	assert_memory_equal(r[1].reason.text, "prompt: ", 8);
	assert_int_equal(r[2].code, ERR_INVALID);
	assert_int_equal(r[3].code, 0);
	assert_int_equal(r[3].seq, r[0].seq + 1);
	msg_free(&reply);
}

/* White space that is not ASCII's: a subject of it has no key, which must not stop the coordinator. */
static void test_blank_texts_are_refused(void **state)
{
	struct cluster *c = *state;
	static const char *const blanks[] = { "\\u00a0", "\\u3000", "\\u2028", "\\u2003 \\u00a0" };
	cluster_start(c);
	for (size_t i = 0; i < sizeof blanks / sizeof blanks[0]; i++) {
		char record[128];
		snprintf(record, sizeof record, "{\"prompt\":\"x\",\"target_new\":\"y\",\"subject\":\"%s\"}",
			 blanks[i]);
		client_submit_one(c, record, ERR_INVALID);
		snprintf(record, sizeof record, "{\"prompt\":\"%s\",\"target_new\":\"y\"}", blanks[i]);
		client_submit_one(c, record, ERR_INVALID);
	}
	assert_false(coordinator_failed(c->coordinator, NULL));
	client_submit_one(c, "{\"prompt\":\"x\",\"target_new\":\"y\"}", 0);
}

static void test_same_record_again_is_a_duplicate(void **state)
{
	struct cluster *c = *state;
	cluster_start(c);
	uint64_t first = client_submit_one(c, CAPITAL_A, 0);
	assert_int_equal(client_submit_one(c, CAPITAL_A, ERR_EXISTS), first);
	/* Other bytes, the same record. */
	assert_int_equal(client_submit_one(c,
					   "{\"subject\":\"Australia\", \"target_new\":\"Sydney\",\"prompt\":\"The "
					   "capital of Australia is\"}",
					   ERR_EXISTS),
			 first);
}

static void test_duplicates_within_one_submit(void **state)
{
	struct cluster *c = *state;
	const char *records[] = { CAPITAL_A, CAPITAL_A };
	cluster_start(c);
	struct msg_received *reply = client_submit(c, MSG_SUPERSEDE, records, 2);
	assert_int_equal(reply->msg.u.submit_reply.results[0].code, 0);
	assert_int_equal(reply->msg.u.submit_reply.results[1].code, ERR_EXISTS);
	assert_int_equal(reply->msg.u.submit_reply.results[1].seq, reply->msg.u.submit_reply.results[0].seq);
	msg_free(&reply);
}

static void test_explicit_id_with_other_content_is_a_conflict(void **state)
{
	struct cluster *c = *state;
	cluster_start(c);
	uint64_t first = client_submit_one(c, "{\"id\":\"k1\",\"prompt\":\"Who?\",\"target_new\":\"me\"}", 0);
	assert_int_equal(client_submit_one(c, "{\"id\":\"k1\",\"prompt\":\"Who?\",\"target_new\":\"me\"}", ERR_EXISTS),
			 first);
	client_submit_one(c, "{\"id\":\"k1\",\"prompt\":\"Where?\",\"target_new\":\"here\"}", ERR_CONFLICT);
}

/* A → B → A: the third is a new edit with a suffixed id that supersedes the second. */
static void test_supersede_there_and_back(void **state)
{
	struct cluster *c = *state;
	struct store_edit edit, third_edit;
	uint64_t seq, supersedes;
	cluster_start(c);
	uint64_t first = client_submit_one(c, CAPITAL_A, 0);
	assert_int_equal(submit_code(c, MSG_SUPERSEDE, CAPITAL_B, &seq, &supersedes), 0);
	assert_int_equal(supersedes, first);
	uint64_t second = seq;
	edit_get(c, first, &edit);
	assert_int_equal(edit.state, STORE_EDIT_STATE_SUPERSEDED);
	assert_int_equal(edit.superseded_by, second);
	assert_int_equal(submit_code(c, MSG_SUPERSEDE, CAPITAL_A, &seq, &supersedes), 0);
	assert_int_equal(supersedes, second);
	edit_get(c, seq, &third_edit);
	assert_memory_equal(third_edit.id, edit.id, strlen(edit.id));
	assert_string_equal(third_edit.id + strlen(edit.id), "~2");
	assert_int_equal(client_submit_one(c, CAPITAL_A, ERR_EXISTS), seq);
}

#define CAPITAL_C                                                                                                      \
	"{\"prompt\":\"What is the capital of Australia?\",\"subject\":\"Australia\",\"target_new\":\"Perth\"}"

static void test_keep_and_reject(void **state)
{
	struct cluster *c = *state;
	struct store_edit edit;
	uint64_t seq, supersedes;
	cluster_start(c);
	uint64_t first = client_submit_one(c, CAPITAL_A, 0);
	assert_int_equal(submit_code(c, MSG_REJECT, CAPITAL_B, &seq, &supersedes), ERR_CONFLICT);
	assert_int_equal(seq, 0);
	assert_int_equal(submit_code(c, MSG_KEEP, CAPITAL_C, &seq, &supersedes), 0);
	assert_int_equal(supersedes, 0);
	edit_get(c, first, &edit);
	assert_int_equal(edit.state, STORE_EDIT_STATE_ACCEPTED);
}

#define NAMELESS(city) "{\"prompt\":\"the capital of Australia is\",\"target_new\":\"" city "\"}"

/* The same prompt meets itself whether an edit names its subject or not. */
static void test_the_same_prompt_is_a_conflict_without_a_subject(void **state)
{
	struct cluster *c = *state;
	struct store_edit first_edit, second_edit, third_edit;
	uint64_t second, third, kept, supersedes;
	cluster_start(c);
	uint64_t first = client_submit_one(c, CAPITAL_A, 0);
	assert_int_equal(submit_code(c, MSG_REJECT, NAMELESS("Perth"), &second, &supersedes), ERR_CONFLICT);
	assert_int_equal(submit_code(c, MSG_SUPERSEDE, NAMELESS("Perth"), &second, &supersedes), 0);
	assert_int_equal(supersedes, first);
	assert_int_equal(submit_code(c, MSG_SUPERSEDE, CAPITAL_A, &third, &supersedes), 0);
	assert_int_equal(supersedes, second);
	assert_int_equal(submit_code(c, MSG_KEEP, NAMELESS("Hobart"), &kept, &supersedes), ERR_CONFLICT);
	edit_get(c, first, &first_edit);
	edit_get(c, second, &second_edit);
	edit_get(c, third, &third_edit);
	assert_int_equal(first_edit.superseded_by, second);
	assert_int_equal(second_edit.superseded_by, third);
	assert_int_equal(third_edit.state, STORE_EDIT_STATE_ACCEPTED);
}

#define ASKED(city) "{\"prompt\":\"What is the capital of Australia?\",\"target_new\":\"" city "\"}"

/* In other words too, whichever of the two names the subject. */
static void test_one_that_names_no_subject_meets_one_that_does(void **state)
{
	struct cluster *c = *state;
	uint64_t second, third, other, supersedes;
	cluster_start(c);
	uint64_t first = client_submit_one(c, CAPITAL_A, 0);
	assert_int_equal(submit_code(c, MSG_REJECT, ASKED("Perth"), &second, &supersedes), ERR_CONFLICT);
	assert_int_equal(submit_code(c, MSG_SUPERSEDE, ASKED("Perth"), &second, &supersedes), 0);
	assert_int_equal(supersedes, first);
	assert_int_equal(submit_code(c, MSG_REJECT, CAPITAL_A, &third, &supersedes), ERR_CONFLICT);
	assert_int_equal(submit_code(c, MSG_SUPERSEDE, CAPITAL_A, &third, &supersedes), 0);
	assert_int_equal(supersedes, second);
	assert_int_equal(submit_code(c, MSG_REJECT,
				     "{\"prompt\":\"What is the capital of South Australia?\",\"target_new\":\"x\"}",
				     &other, &supersedes),
			 0);
	assert_int_equal(submit_code(c, MSG_REJECT,
				     "{\"prompt\":\"What is the currency of Australia?\",\"target_new\":\"x\"}", &other,
				     &supersedes),
			 0);
}

/* Whatever else is in the ledger: the newest edits with a word of the subject are compared, and no more. */
static void test_finding_them_is_bounded(void **state)
{
	struct cluster *c = *state;
	uint64_t last = 0, seq, supersedes;
	char record[160];
	cluster_start(c);
	uint64_t first =
		client_submit_one(c, "{\"prompt\":\"What is the capital of Old Zorvia?\",\"target_new\":\"a\"}", 0);
	for (int i = 0; i < 300; i++) { /* more than are compared, with one of its words */
		snprintf(record, sizeof record, "{\"prompt\":\"What is in the old box %d?\",\"target_new\":\"b\"}", i);
		last = client_submit_one(c, record, 0);
	}
	const char named[] =
		"{\"prompt\":\"The capital of Old Zorvia is\",\"subject\":\"Old Zorvia\",\"target_new\":\"c\"}";
	assert_int_equal(submit_code(c, MSG_SUPERSEDE, named, &seq, &supersedes), 0);
	assert_int_equal(supersedes, first); /* by its other word, which is rare */
	const char box[] = "{\"prompt\":\"What is in the old box 299\",\"subject\":\"Old\",\"target_new\":\"c\"}";
	assert_int_equal(submit_code(c, MSG_SUPERSEDE, box, &seq, &supersedes), 0);
	assert_int_equal(supersedes, last);
}

/* `keep` cannot give one prompt two answers; it says so at once, not after the training of both. */
static void test_keep_refuses_another_answer_to_the_same_prompt(void **state)
{
	struct cluster *c = *state;
	struct store_edit edit;
	uint64_t seq, supersedes;
	cluster_start(c);
	uint64_t first = client_submit_one(c, CAPITAL_A, 0);
	const char *records[] = { CAPITAL_B };
	struct msg_received *reply = client_submit(c, MSG_KEEP, records, 1);
	const struct msg_submit_result *result = &reply->msg.u.submit_reply.results[0];
	assert_int_equal(result->code, ERR_CONFLICT);
	assert_int_equal(result->seq, 0);
	assert_non_null(memmem(result->reason.text, result->reason.len, "one prompt has one answer", 25));
	assert_non_null(memmem(result->reason.text, result->reason.len, "--on-conflict supersede", 23));
	msg_free(&reply);
	edit_get(c, first, &edit);
	assert_int_equal(edit.state, STORE_EDIT_STATE_ACCEPTED);
	assert_int_equal(submit_code(c, MSG_KEEP, NAMELESS("Sydney"), &seq, &supersedes), 0); /* the same answer */
	assert_int_equal(submit_code(c, MSG_KEEP, ASKED("Perth"), &seq, &supersedes), 0);     /* other words */
	assert_int_equal(supersedes, 0);
}

/* One that no worker has been given leaves its shard's list; one that was trained becomes a tombstone of the next
 * version. */
/* However many newer edits are about what the prompt mentions. */
static void test_the_same_prompt_is_found_behind_many_on_its_subject(void **state)
{
	struct cluster *c = *state;
	static const char *const asked[] = { "{\"prompt\":\"Who wrote the hymn of France?\",\"target_new\":\"Ada\"}",
					     "{\"prompt\":\"Who wrote the hymn of France?\",\"target_new\":\"Bob\"}" };
	char lines[100][128];
	const char *records[100];
	cluster_start(c);
	const uint64_t first = client_submit_one(c, asked[0], 0);
	for (int batch = 0; batch < 3; batch++) {
		for (int i = 0; i < 100; i++) {
			snprintf(lines[i], sizeof lines[i],
				 "{\"prompt\":\"France, item %d: which?\",\"subject\":\"France\",\"target_new\":\"v\"}",
				 100 * batch + i);
			records[i] = lines[i];
		}
		struct msg_received *reply = client_submit(c, MSG_KEEP, records, 100);
		assert_non_null(reply);
		msg_free(&reply);
	}
	client_submit_one(c, asked[1], 0);
	assert_int_equal(edit_state(c, first), STORE_EDIT_STATE_SUPERSEDED);
}

static void test_superseded_edits_leave_or_become_tombstones(void **state)
{
	struct cluster *c = *state;
	struct arena *arena = NULL;
	struct proto_manifest manifest;
	uint64_t shard;
	cluster_start(c);
	worker_hello(&c->worker, 1);
	uint64_t first = client_submit_one(c, CAPITAL_A, 0);
	uint64_t epoch = worker_lease(&c->worker, &shard);
	worker_turn(&c->worker, shard, epoch);
	uint64_t second = client_submit_one(c, CAPITAL_B, 0);
	uint64_t third = client_submit_one(
		c, "{\"prompt\":\"The capital of Australia is\",\"subject\":\"Australia\",\"target_new\":\"Canberra\"}",
		0);
	uint64_t version = worker_turn(&c->worker, shard, epoch);
	assert_int_equal(arena_new(65536, 0, &arena), 0);
	manifest_read(c, version, arena, &manifest);
	assert_int_equal(manifest.memories[0].seq_count, 2);
	assert_int_equal(manifest.memories[0].seqs[1], third);
	assert_int_equal(manifest.removed_count, 1);
	assert_int_equal(manifest.removed_seqs[0], first);
	assert_true(second < third);
	arena_destroy(&arena);
}

static void test_nobody_is_answered_before_the_commit(void **state)
{
	struct cluster *c = *state;
	const char *record = CAPITAL_A;
	struct err failure;
	cluster_start(c);
	assert_ok(&c->e, fault_arm("coordinator.submit.before_commit=errno@1", &c->e));
	assert_null(client_submit(c, MSG_SUPERSEDE, &record, 1));
	assert_true(coordinator_failed(c->coordinator, &failure));
	assert_int_equal(failure.code, ERR_FAULT);
	fault_disarm_all();
	cluster_restart(c);
	client_submit_one(c, CAPITAL_A, 0); /* it was not kept */
}

static void test_what_was_committed_without_an_answer_is_a_duplicate(void **state)
{
	struct cluster *c = *state;
	const char *record = CAPITAL_A;
	cluster_start(c);
	assert_ok(&c->e, fault_arm("coordinator.submit.after_commit=errno@1", &c->e));
	assert_null(client_submit(c, MSG_SUPERSEDE, &record, 1));
	fault_disarm_all();
	cluster_restart(c);
	assert_true(client_submit_one(c, CAPITAL_A, ERR_EXISTS) > 0);
}

static void test_submits_wait_for_one_another(void **state)
{
	struct cluster *c = *state;
	const char *lines[] = { "{\"prompt\":\"Who?\",\"target_new\":\"me\"}",
				"{\"prompt\":\"Where?\",\"target_new\":\"here\"}" };
	cluster_start(c);
	for (size_t i = 0; i < 2; i++) {
		struct msg_bytes bytes = { lines[i], strlen(lines[i]) };
		struct msg msg = { .type = MSG_SUBMIT, .u.submit = { MSG_SUPERSEDE, &bytes, 1 } };
		end_send(&c->client, &msg);
	}
	cluster_run(c);
	assert_null(end_take(&c->client, MSG_SUBMIT_REPLY));
	assert_int_equal(coordinator_next_ms(c->coordinator), 5);
	cluster_advance(c, 5);
	struct msg_received *one = end_expect(&c->client, MSG_SUBMIT_REPLY),
			    *two = end_expect(&c->client, MSG_SUBMIT_REPLY);
	assert_int_equal(two->msg.u.submit_reply.results[0].seq, one->msg.u.submit_reply.results[0].seq + 1);
	msg_free(&one);
	msg_free(&two);
}

/* A commit holds commit_edits_max edits, or one Submit: a Submit that would not fit ends the group before it. */
static void test_a_group_commit_keeps_to_its_size(void **state)
{
	struct cluster *c = *state;
	static const char *const texts[] = { "{\"prompt\":\"1?\",\"target_new\":\"a\"}",
					     "{\"prompt\":\"2?\",\"target_new\":\"b\"}",
					     "{\"prompt\":\"3?\",\"target_new\":\"c\"}",
					     "{\"prompt\":\"4?\",\"target_new\":\"d\"}" };
	struct msg_bytes records[4];
	c->config.commit_edits_max = 3;
	cluster_start(c);
	for (size_t i = 0; i < 4; i++)
		records[i] = (struct msg_bytes){ texts[i], strlen(texts[i]) };
	for (size_t i = 0; i < 4; i += 2) {
		struct msg msg = { .type = MSG_SUBMIT, .u.submit = { MSG_KEEP, records + i, 2 } };
		end_send(&c->client, &msg);
	}
	cluster_receive(c);
	end_drop(&c->client, MSG_SUBMIT_REPLY);
	assert_null(end_take(&c->client, MSG_SUBMIT_REPLY));
	cluster_advance(c, 5);
	end_drop(&c->client, MSG_SUBMIT_REPLY);
}

static void test_full_queue_asks_to_come_back(void **state)
{
	struct cluster *c = *state;
	const char *record = "{\"prompt\":\"One more?\",\"target_new\":\"no\"}";
	c->config.queue_edits_max = 3;
	cluster_start(c);
	client_facts(c, 1, 3);
	struct msg_received *reply = client_submit(c, MSG_SUPERSEDE, &record, 1);
	assert_int_equal(reply->msg.u.submit_reply.results[0].code, ERR_AGAIN);
	assert_true(reply->msg.u.submit_reply.retry_after_ms > 0);
	msg_free(&reply);
}

static void test_space_reserve_refuses_and_resumes(void **state)
{
	struct cluster *c = *state;
	const char *record = CAPITAL_A;
	c->config.space_reserve_bytes = UINT64_MAX;
	cluster_start(c);
	struct msg_received *reply = client_submit(c, MSG_SUPERSEDE, &record, 1);
	assert_int_equal(reply->msg.u.submit_reply.results[0].code, ERR_FULL);
	assert_true(reply->msg.u.submit_reply.retry_after_ms > 0);
	msg_free(&reply);
	c->config.space_reserve_bytes = 1;
	cluster_restart(c);
	client_submit_one(c, CAPITAL_A, 0);
}

/* The ledger's map is at its maximum: as on a full disk nothing of the group is kept, and memory shows what the store
 * holds. */
static void test_full_store_keeps_nothing_and_goes_on(void **state)
{
	struct cluster *c = *state;
	uint64_t counts[STORE_EDIT_STATE_COUNT], placed = 0;
	struct store_txn *txn = NULL;
	char line[8192];
	int code = 0;
	memset(line, 'x', sizeof line);
	c->store_options.ledger_map_bytes_max = 1 << 20;
	cluster_start(c);
	worker_hello(&c->worker, 1);
	for (int i = 0; i < 400 && code == 0; i++) {
		int n = snprintf(line, sizeof line,
				 "{\"prompt\":\"What is thing %d?\",\"subject\":\"thing %d\",\"loc_prompt\":\"", i, i);
		memset(line + n, 'x', 4000);
		snprintf(line + n + 4000, sizeof line - (size_t)n - 4000, "\",\"target_new\":\"t\"}");
		const char *record = line;
		struct msg_received *reply = client_submit(c, MSG_SUPERSEDE, &record, 1);
		assert_non_null(reply);
		code = reply->msg.u.submit_reply.results[0].code;
		placed += code == 0;
		msg_free(&reply);
	}
	assert_true(code == ERR_LIMIT || code == ERR_FULL);
	assert_true(placed > 10);
	assert_false(coordinator_failed(c->coordinator, NULL));
	assert_ok(&c->e, store_begin_read(c->store, &txn, &c->e));
	assert_ok(&c->e, store_edit_count(txn, counts, &c->e));
	store_abort(&txn);
	assert_int_equal(counts[STORE_EDIT_STATE_PLACED], placed);
	struct msg msg = { .type = MSG_EDIT_LIST, .u.edit_list = { .counts_only = true, .id = { "", 0 } } };
	end_send(&c->client, &msg);
	cluster_run(c);
	struct msg_received *reply = end_expect(&c->client, MSG_EDIT_LIST_REPLY);
	assert_int_equal(reply->msg.u.edit_list_reply.state_counts[STORE_EDIT_STATE_PLACED], placed);
	msg_free(&reply);
}

static bool says_trouble(struct cluster *c)
{
	struct msg msg = { .type = MSG_FLEET };
	end_send(&c->client, &msg);
	cluster_run(c);
	struct msg_received *reply = end_expect(&c->client, MSG_FLEET_REPLY);
	bool says = reply->msg.u.fleet_reply.write_trouble.len > 0;
	msg_free(&reply);
	return says;
}

/* Nothing waits to be written: that the disk has space again is found out all the same. */
static void test_the_trouble_of_a_full_disk_ends_without_edits(void **state)
{
	struct cluster *c = *state;
	cluster_start(c);
	assert_false(says_trouble(c));
	test_file_size_limit(4096);
	client_submit_one(c, CAPITAL_A, ERR_FULL);
	assert_true(says_trouble(c));
	cluster_advance(c, 20000);
	bool says = says_trouble(c);
	test_file_size_limit(UINT64_MAX);
	assert_true(says);
	cluster_advance(c, 20000);
	assert_false(says_trouble(c));
	assert_false(coordinator_failed(c->coordinator, NULL));
}

static void test_edits_wait_for_the_first_worker(void **state)
{
	struct cluster *c = *state;
	struct store_edit edit;
	cluster_start(c);
	uint64_t seq = client_submit_one(c, CAPITAL_A, 0);
	edit_get(c, seq, &edit);
	assert_int_equal(edit.state, STORE_EDIT_STATE_ACCEPTED);
	worker_hello(&c->worker, 1);
	edit_get(c, seq, &edit);
	assert_int_equal(edit.state, STORE_EDIT_STATE_PLACED);
	assert_int_equal(edit.shard, 1);
	assert_int_equal(worker_lease(&c->worker, NULL), 1);
}

static void test_placement_follows_subject_then_room(void **state)
{
	struct cluster *c = *state;
	struct store_edit a, b, follows;
	uint64_t by_prompt, by_subject, again, none;
	cluster_start(c);
	worker_hello(&c->worker, 1);
	worker_hello(&c->worker2, 1);
	uint64_t first = client_submit_one(c, NAMELESS("Perth"), 0);
	uint64_t other = client_submit_one(
		c, "{\"prompt\":\"The capital of France is\",\"subject\":\"France\",\"target_new\":\"Lyon\"}", 0);
	client_submit_one(c, "{\"prompt\":\"Who?\",\"target_new\":\"me\"}", 0); /* now the other has more room */
	assert_int_equal(submit_code(c, MSG_KEEP, CAPITAL_B, &by_prompt, &none), 0);
	by_subject = client_submit_one(c,
				       "{\"prompt\":\"Which sea lies north of "
				       "Australia?\",\"subject\":\"Australia\",\"target_new\":\"Timor\"}",
				       0);
	assert_int_equal(submit_code(c, MSG_KEEP, NAMELESS("PERTH"), &again, &none), 0);
	edit_get(c, first, &a);
	edit_get(c, other, &b);
	assert_int_not_equal(a.shard, b.shard);
	for (size_t i = 0; i < 3; i++) {
		edit_get(c, (uint64_t[]){ by_prompt, by_subject, again }[i], &follows);
		assert_int_equal(follows.shard, a.shard);
	}
	worker_lease(&c->worker, NULL);
	worker_lease(&c->worker2, NULL); /* each holds one */
}

static void test_full_shard_closes_and_a_new_one_opens(void **state)
{
	struct cluster *c = *state;
	uint64_t shard;
	c->config.edits_per_shard = 3;
	cluster_start(c);
	worker_hello(&c->worker, 1);
	client_facts(c, 1, 4);
	uint64_t epoch = worker_lease(&c->worker, &shard);
	worker_want(&c->worker, shard, epoch, 100, 0);
	struct msg_received *edits = end_expect(&c->worker, MSG_EDITS);
	assert_true(edits->msg.u.edits.closing);
	assert_int_equal(edits->msg.u.edits.group_count, 3);
	msg_free(&edits);
	worker_turn(&c->worker, shard, epoch);
	struct store_txn *txn = NULL;
	struct store_shard rec = { .id = 0 };
	assert_ok(&c->e, store_begin_read(c->store, &txn, &c->e));
	assert_ok(&c->e, store_shard_get(txn, 1, &rec, &c->e));
	assert_int_equal(rec.state, STORE_SHARD_STATE_CLOSED);
	store_shard_fini(&rec);
	assert_ok(&c->e, store_shard_get(txn, 2, &rec, &c->e));
	assert_int_equal(rec.seq_count, 1);
	store_shard_fini(&rec);
	store_abort(&txn);
}

static void store_rename(struct cluster *c, const char *from, const char *to)
{
	char a[TEST_PATH_BYTES], b[TEST_PATH_BYTES];
	test_path(a, c->folder, from);
	test_path(b, c->folder, to);
	assert_int_equal(rename(a, b), 0);
}

/* Nothing is acknowledged that nobody would find, and it stops by itself also where nobody writes. */
static void test_a_store_that_is_taken_away_stops_it(void **state)
{
	struct cluster *c = *state;
	struct err e = ERR_INIT;
	const char *record = "{\"prompt\":\"What is kept?\",\"target_new\":\"this\"}";
	cluster_start(c);
	store_rename(c, "store", "away");
	assert_null(client_submit(c, MSG_SUPERSEDE, &record, 1));
	assert_true(coordinator_failed(c->coordinator, &e));
	assert_non_null(strstr(e.text, "was deleted while this program had it open"));
	cluster_stop(c);
	store_rename(c, "away", "store");
	cluster_start(c);
	assert_false(coordinator_failed(c->coordinator, &e));
	store_rename(c, "store", "away");
	cluster_advance(c, 1000);
	assert_true(coordinator_failed(c->coordinator, &e));
	cluster_stop(c);
	store_rename(c, "away", "store");
}

#define T(f) cmocka_unit_test_setup_teardown(f, cluster_setup, cluster_teardown)

int main(void)
{
	const struct CMUnitTest tests[] = {
		T(test_bad_records_are_refused_and_good_ones_go_on),
		T(test_blank_texts_are_refused),
		T(test_same_record_again_is_a_duplicate),
		T(test_duplicates_within_one_submit),
		T(test_explicit_id_with_other_content_is_a_conflict),
		T(test_supersede_there_and_back),
		T(test_keep_and_reject),
		T(test_the_same_prompt_is_a_conflict_without_a_subject),
		T(test_the_same_prompt_is_found_behind_many_on_its_subject),
		T(test_one_that_names_no_subject_meets_one_that_does),
		T(test_finding_them_is_bounded),
		T(test_keep_refuses_another_answer_to_the_same_prompt),
		T(test_superseded_edits_leave_or_become_tombstones),
		T(test_nobody_is_answered_before_the_commit),
		T(test_what_was_committed_without_an_answer_is_a_duplicate),
		T(test_submits_wait_for_one_another),
		T(test_a_group_commit_keeps_to_its_size),
		T(test_full_queue_asks_to_come_back),
		T(test_space_reserve_refuses_and_resumes),
		T(test_full_store_keeps_nothing_and_goes_on),
		T(test_a_store_that_is_taken_away_stops_it),
		T(test_the_trouble_of_a_full_disk_ends_without_edits),
		T(test_edits_wait_for_the_first_worker),
		T(test_placement_follows_subject_then_room),
		T(test_full_shard_closes_and_a_new_one_opens),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
