/* What a Submit brings: who supersedes whom, and groups that are taken, trained and published as one. */
#include "tests/lib/coordinator_fixture.h"

#define CAPITAL(city)                                                                                                  \
	"{\"prompt\":\"The capital of Australia is\",\"subject\":\"Australia\",\"target_new\":\"" city "\"}"
#define MEMBER(n, group)                                                                                               \
	"{\"prompt\":\"Who is " n "?\",\"subject\":\"" n "\",\"target_new\":\"me\",\"group\":\"" group "\"}"
#define LONER(n) "{\"prompt\":\"Who is " n "?\",\"subject\":\"" n "\",\"target_new\":\"me\"}"

#define RECORDS_MAX 12
struct answer {
	int code[RECORDS_MAX];
	uint64_t seq[RECORDS_MAX];
	char reason[RECORDS_MAX][256];
};

static struct answer submit(struct cluster *c, enum msg_on_conflict policy, const char *const *records, size_t count)
{
	struct answer a = { .code = { 0 } };
	assert_true(count <= RECORDS_MAX);
	struct msg_received *reply = client_submit(c, policy, records, count);
	assert_non_null(reply);
	for (size_t i = 0; i < count; i++) {
		const struct msg_submit_result *r = &reply->msg.u.submit_reply.results[i];
		a.code[i] = r->code;
		a.seq[i] = r->seq;
		snprintf(a.reason[i], sizeof a.reason[i], "%.*s", (int)r->reason.len, r->reason.text);
	}
	msg_free(&reply);
	return a;
}

static uint64_t ledger_edits(struct cluster *c)
{
	struct store_txn *txn = NULL;
	uint64_t counts[STORE_EDIT_STATE_COUNT], n = 0;
	assert_ok(&c->e, store_begin_read(c->store, &txn, &c->e));
	assert_ok(&c->e, store_edit_count(txn, counts, &c->e));
	store_abort(&txn);
	for (size_t i = 0; i < STORE_EDIT_STATE_COUNT; i++)
		n += counts[i];
	return n;
}

static void test_the_answer_names_what_is_superseded(void **state)
{
	struct cluster *c = *state;
	const char *first[] = { CAPITAL("Sydney") }, *second[] = { CAPITAL("Perth") };
	struct store_edit edit;
	struct store_txn *txn = NULL;
	struct store_event event;
	cluster_start(c);
	uint64_t seq = submit(c, MSG_SUPERSEDE, first, 1).seq[0];
	struct answer a = submit(c, MSG_SUPERSEDE, second, 1);
	edit_get(c, seq, &edit);
	assert_non_null(strstr(a.reason[0], edit.id));
	assert_non_null(strstr(a.reason[0], "\"The capital of Australia is\" -> \"Sydney\""));
	/* Who did it stands in the ledger. */
	assert_int_equal(edit.superseded_by, a.seq[0]);
	assert_ok(&c->e, store_begin_read(c->store, &txn, &c->e));
	assert_ok(&c->e, store_event_get(txn, edit.ended_event, &event, &c->e));
	assert_memory_equal(event.actor, c->client.key, sizeof event.actor);
	store_abort(&txn);
}

static void test_a_group_is_refused_as_one(void **state)
{
	struct cluster *c = *state;
	const char *bad[] = { LONER("Ann"), MEMBER("Bob", "g"), LONER("Cid"),
			      "{\"prompt\":\"\",\"target_new\":\"x\",\"group\":\"g\"}", MEMBER("Dee", "h") };
	cluster_start(c);
	struct answer a = submit(c, MSG_SUPERSEDE, bad, 5);
	assert_int_equal(a.code[0], 0);
	assert_int_equal(a.code[1], ERR_INVALID);
	assert_non_null(strstr(a.reason[1], "refused with its group"));
	assert_non_null(strstr(a.reason[1], "prompt: "));
	assert_int_equal(a.code[2], 0);
	assert_int_equal(a.code[3], ERR_INVALID);
	assert_memory_equal(a.reason[3], "prompt: ", 8);
	assert_int_equal(a.code[4], 0);
	assert_int_equal(ledger_edits(c), 3);
	/* Under reject, one that contradicts a live edit takes its group with it. */
	const char *clash[] = {
		MEMBER("Eve", "k"),
		"{\"prompt\":\"Who is Ann?\",\"subject\":\"Ann\",\"target_new\":\"you\",\"group\":\"k\"}"
	};
	a = submit(c, MSG_REJECT, clash, 2);
	assert_int_equal(a.code[0], ERR_CONFLICT);
	assert_int_equal(a.code[1], ERR_CONFLICT);
	assert_non_null(strstr(a.reason[0], "contradicts edit"));
	assert_int_equal(ledger_edits(c), 3);
}

static void test_a_group_is_itself_consistent(void **state)
{
	struct cluster *c = *state;
	const char *clash[] = {
		MEMBER("Ann", "g"),
		"{\"prompt\":\"Who is Ann?\",\"subject\":\"Ann\",\"target_new\":\"you\",\"group\":\"g\"}",
	};
	const char *twice[] = { MEMBER("Ann", "g"), MEMBER("Ann", "g") };
	const char *times[] = { MEMBER("Ann", "g"), "{\"prompt\":\"Who is Bob?\",\"target_new\":\"me\",\"group\":\"g\","
						    "\"valid_from\":\"2030-01-01T00:00:00Z\"}" };
	cluster_start(c);
	struct answer a = submit(c, MSG_SUPERSEDE, clash, 2);
	assert_true(a.code[0] == ERR_CONFLICT && a.code[1] == ERR_CONFLICT);
	assert_non_null(strstr(a.reason[0], "contradict each other"));
	a = submit(c, MSG_SUPERSEDE, twice, 2);
	assert_true(a.code[0] == ERR_CONFLICT && a.code[1] == ERR_CONFLICT);
	a = submit(c, MSG_SUPERSEDE, times, 2);
	assert_true(a.code[0] == ERR_CONFLICT && a.code[1] == ERR_CONFLICT);
	assert_non_null(strstr(a.reason[0], "valid_from"));
	assert_int_equal(ledger_edits(c), 0);
	a = submit(c, MSG_KEEP, clash, 2); /* one prompt has one answer */
	assert_true(a.code[0] == ERR_CONFLICT && a.code[1] == ERR_CONFLICT);
	assert_int_equal(ledger_edits(c), 0);
	clash[1] = "{\"prompt\":\"Ann is who?\",\"subject\":\"Ann\",\"target_new\":\"you\",\"group\":\"g\"}";
	a = submit(c, MSG_SUPERSEDE, clash, 2);
	assert_true(a.code[0] == ERR_CONFLICT && a.code[1] == ERR_CONFLICT);
	a = submit(c, MSG_KEEP, clash, 2);
	assert_true(a.code[0] == 0 && a.code[1] == 0);
}

/* Two that say the same in two ways contradict the same earlier edit: the first ends it. */
static void test_a_group_supersedes_an_edit_once(void **state)
{
	struct cluster *c = *state;
	const char *two[] = {
		"{\"prompt\":\"Who is Ann?\",\"subject\":\"Ann\",\"target_new\":\"you\",\"group\":\"g\"}",
		"{\"prompt\":\"Ann is who?\",\"subject\":\"Ann\",\"target_new\":\"you\",\"group\":\"g\"}"
	};
	struct store_edit edit;
	cluster_start(c);
	const uint64_t first = client_submit_one(c, LONER("Ann"), 0);
	struct answer a = submit(c, MSG_SUPERSEDE, two, 2);
	assert_true(a.code[0] == 0 && a.code[1] == 0);
	edit_get(c, first, &edit);
	assert_int_equal(edit.state, STORE_EDIT_STATE_SUPERSEDED);
	assert_int_equal(edit.superseded_by, a.seq[0]);
	edit_get(c, a.seq[1], &edit);
	assert_int_equal(edit.supersedes, 0);
}

/* Sent again it is there already; it cannot grow, over two Submits or later; and it has a size. */
static void test_a_group_is_one_submit(void **state)
{
	struct cluster *c = *state;
	const char *three[] = { MEMBER("Ann", "g"), MEMBER("Bob", "g"), MEMBER("Cid", "g") };
	c->config.group_edits_max = 3;
	cluster_start(c);
	struct answer a = submit(c, MSG_SUPERSEDE, three, 2), b = submit(c, MSG_SUPERSEDE, three, 2);
	for (size_t i = 0; i < 2; i++) {
		assert_int_equal(a.code[i], 0);
		assert_int_equal(b.code[i], ERR_EXISTS);
		assert_int_equal(b.seq[i], a.seq[i]);
	}
	b = submit(c, MSG_SUPERSEDE, three, 3);
	for (size_t i = 0; i < 3; i++)
		assert_int_equal(b.code[i], ERR_CONFLICT);
	assert_non_null(strstr(b.reason[0], "cannot grow"));
	b = submit(c, MSG_SUPERSEDE, three + 2, 1);
	assert_int_equal(b.code[0], ERR_CONFLICT);
	const char *four[] = { MEMBER("A", "h"), MEMBER("B", "h"), MEMBER("C", "h"), MEMBER("D", "h") };
	b = submit(c, MSG_SUPERSEDE, four, 4);
	assert_int_equal(b.code[3], ERR_LIMIT);
	assert_non_null(strstr(b.reason[0], "at most 3"));
	assert_int_equal(ledger_edits(c), 2);
}

static void test_a_crash_keeps_all_of_a_group_or_nothing(void **state)
{
	struct cluster *c = *state;
	const char *records[] = { MEMBER("Ann", "g"), MEMBER("Bob", "g") };
	static const char *const points[] = { "coordinator.submit.before_commit=errno@1",
					      "coordinator.submit.after_commit=errno@1" };
	for (size_t i = 0; i < 2; i++) {
		cluster_start(c);
		assert_ok(&c->e, fault_arm(points[i], &c->e));
		assert_null(client_submit(c, MSG_SUPERSEDE, records, 2));
		fault_disarm_all();
		cluster_restart(c);
		assert_int_equal(ledger_edits(c), 2 * i);
		if (i == 1)
			assert_int_equal(submit(c, MSG_SUPERSEDE, records, 2).code[1], ERR_EXISTS);
		cluster_stop(c);
	}
}

static size_t group_heard(struct cluster *c, uint64_t shard, uint64_t epoch, uint32_t received, uint64_t *seqs)
{
	size_t n = 0;
	bool ended = false;
	worker_want(&c->worker, shard, epoch, 100, received);
	while (!ended) {
		struct msg_received *edits = end_expect(&c->worker, MSG_EDITS);
		for (size_t i = 0; i < edits->msg.u.edits.item_count; i++)
			seqs[n++] = edits->msg.u.edits.items[i].seq;
		ended = edits->msg.u.edits.group_end;
		msg_free(&edits);
	}
	return n;
}

/* However the records stood and whoever was there when they came: one shard, one training, one version. */
static void test_a_group_is_never_cut(void **state)
{
	struct cluster *c = *state;
	const char *records[] = { LONER("Ann"), MEMBER("Bob", "g"), LONER("Cid"), MEMBER("Dee", "g"),
				  MEMBER("Eve", "g") };
	uint64_t shard, seqs[RECORDS_MAX];
	struct store_edit edit;
	c->config.group_edits_max = 4;
	c->config.commit_edits_max = 2; /* edits that wait are placed two by two */
	cluster_start(c);
	struct answer a = submit(c, MSG_SUPERSEDE, records, 5);
	assert_int_equal(edit_state(c, a.seq[1]), STORE_EDIT_STATE_ACCEPTED);
	worker_hello(&c->worker, 1);
	uint64_t epoch = worker_lease(&c->worker, &shard);
	for (size_t i = 0; i < 5; i++) {
		edit_get(c, a.seq[i], &edit);
		assert_int_equal(edit.shard, shard);
		assert_int_equal(edit.group, i == 0 || i == 2 ? 0 : a.seq[1]);
	}
	/* Four of five fit: the loner and the whole group. */
	assert_int_equal(group_heard(c, shard, epoch, 0, seqs), 4);
	assert_true(seqs[0] == a.seq[0] && seqs[1] == a.seq[1] && seqs[2] == a.seq[3] && seqs[3] == a.seq[4]);
	struct commit commit = { .shard = shard, .epoch = epoch, .version = 1, .count = 4, .seqs = seqs };
	uint64_t version = 0;
	assert_int_equal(worker_commit(&c->worker, &commit, &version), 0);
	for (size_t i = 1; i < 4; i++) {
		edit_get(c, seqs[i], &edit);
		assert_int_equal(edit.version, version);
	}
}

/* A group behind other edits waits for the next training rather than being cut. */
static void test_a_group_that_does_not_fit_waits(void **state)
{
	struct cluster *c = *state;
	const char *records[] = { LONER("Ann"), LONER("Bob"), MEMBER("Cid", "g"), MEMBER("Dee", "g") };
	uint64_t shard, seqs[RECORDS_MAX];
	c->config.group_edits_max = 3;
	cluster_start(c);
	worker_hello(&c->worker, 1);
	submit(c, MSG_SUPERSEDE, records, 4);
	uint64_t epoch = worker_lease(&c->worker, &shard);
	assert_int_equal(group_heard(c, shard, epoch, 0, seqs), 2);
	struct commit commit = { .shard = shard, .epoch = epoch, .version = 1, .count = 2, .seqs = seqs };
	assert_int_equal(worker_commit(&c->worker, &commit, NULL), 0);
	assert_int_equal(group_heard(c, shard, epoch, 2, seqs), 2);
}

/* One fails: none is served, in the very version that brings the commit; the shard is trained without all of them. */
static void test_a_group_fails_as_one(void **state)
{
	struct cluster *c = *state;
	const char *records[] = { LONER("Ann"), MEMBER("Bob", "g"), MEMBER("Cid", "g"), LONER("Dee") };
	uint64_t shard, seqs[RECORDS_MAX], version = 0;
	struct store_edit edit;
	struct arena *arena = NULL;
	struct proto_manifest manifest;
	cluster_start(c);
	worker_hello(&c->worker, 1);
	struct answer a = submit(c, MSG_SUPERSEDE, records, 4);
	uint64_t epoch = worker_lease(&c->worker, &shard);
	assert_int_equal(group_heard(c, shard, epoch, 0, seqs), 4);
	struct commit commit = {
		.shard = shard, .epoch = epoch, .version = 1, .count = 4, .seqs = seqs, .failed = a.seq[2]
	};
	assert_int_equal(worker_commit(&c->worker, &commit, &version), 0);
	assert_int_equal(edit_state(c, a.seq[0]), STORE_EDIT_STATE_TRAINED);
	assert_int_equal(edit_state(c, a.seq[3]), STORE_EDIT_STATE_TRAINED);
	edit_get(c, a.seq[2], &edit);
	assert_int_equal(edit.state, STORE_EDIT_STATE_FAILED);
	assert_string_equal(edit.reason, "decoded to 1999");
	edit_get(c, a.seq[1], &edit);
	assert_int_equal(edit.state, STORE_EDIT_STATE_FAILED);
	assert_non_null(strstr(edit.reason, "another edit of its group failed"));
	assert_int_equal(arena_new(65536, 0, &arena), 0);
	manifest_read(c, version, arena, &manifest);
	assert_int_equal(manifest.removed_count, 2);
	arena_destroy(&arena);
	worker_want(&c->worker, shard, epoch, 100, 4);
	struct msg_received *edits = end_expect(&c->worker, MSG_EDITS);
	assert_true(edits->msg.u.edits.retrain);
	assert_int_equal(edits->msg.u.edits.removed_count, 2);
	msg_free(&edits);
}

/* A group whose training kills workers is dead-lettered as one, and what waits behind it goes on. */
static void test_a_poisonous_group_ends_as_one(void **state)
{
	struct cluster *c = *state;
	const char *records[] = { MEMBER("Bob", "g"), MEMBER("Cid", "g"), LONER("Dee") };
	uint64_t shard, seqs[RECORDS_MAX];
	c->config.group_edits_max = 2;
	cluster_start(c);
	worker_hello(&c->worker, 1);
	struct answer a = submit(c, MSG_SUPERSEDE, records, 3);
	for (uint64_t boot = 2; boot < 2 + c->config.edit_tries_max; boot++) {
		uint64_t epoch = worker_lease(&c->worker, &shard);
		assert_int_equal(group_heard(c, shard, epoch, 0, seqs), 2);
		end_clear(&c->worker);
		worker_hello(&c->worker, boot);
	}
	assert_int_equal(edit_state(c, a.seq[0]), STORE_EDIT_STATE_DEAD);
	assert_int_equal(edit_state(c, a.seq[1]), STORE_EDIT_STATE_DEAD);
	uint64_t epoch = worker_lease(&c->worker, &shard);
	assert_int_equal(group_heard(c, shard, epoch, 0, seqs), 1);
	assert_int_equal(seqs[0], a.seq[2]);
}

static void submit_only(struct cluster *c, const char *record) /* it waits for its group commit */
{
	struct msg_bytes bytes = { record, strlen(record) };
	struct msg msg = { .type = MSG_SUBMIT, .u.submit = { MSG_SUPERSEDE, &bytes, 1 } };
	end_send(&c->client, &msg);
	cluster_receive(c);
}

/* What comes while nothing is placed, because a write was refused a moment ago, does not get before what waits. */
static void test_what_waits_is_placed_first(void **state)
{
	struct cluster *c = *state;
	const char *records[] = { LONER("Ann"), LONER("Bob") }, *more[] = { LONER("Cid") };
	struct store_txn *txn = NULL;
	struct store_shard shard;
	cluster_start(c);
	worker_hello(&c->worker, 1);
	cluster_restart(c); /* no worker is known, and there is no shard yet */
	struct answer a = submit(c, MSG_SUPERSEDE, records, 2);
	assert_int_equal(edit_state(c, a.seq[0]), STORE_EDIT_STATE_ACCEPTED);
	test_file_size_limit(0);
	assert_int_equal(submit(c, MSG_SUPERSEDE, more, 1).code[0], ERR_FULL);
	test_file_size_limit(UINT64_MAX);
	submit_only(c, more[0]);
	env_manual_advance(&c->clock, c->config.commit_wait_ms * 1000);
	worker_hello(&c->worker, 1);
	cluster_advance(c, 2000);
	assert_ok(&c->e, store_begin_read(c->store, &txn, &c->e));
	assert_ok(&c->e, store_shard_get(txn, 1, &shard, &c->e));
	store_abort(&txn);
	assert_int_equal(shard.seq_count, 3);
	assert_int_equal(shard.seqs[0], a.seq[0]);
	assert_int_equal(shard.seqs[1], a.seq[1]);
	assert_true(shard.seqs[2] > a.seq[1]);
	store_shard_fini(&shard);
}

/* Its first edit was superseded before any worker came: the others are trained without it. */
static void test_a_group_outlives_its_first(void **state)
{
	struct cluster *c = *state;
	const char *records[] = { MEMBER("Ann", "g"), MEMBER("Bob", "g"), MEMBER("Cid", "g") };
	const char *other[] = { "{\"prompt\":\"Who is Ann?\",\"subject\":\"Ann\",\"target_new\":\"you\"}" };
	uint64_t shard, seqs[RECORDS_MAX];
	cluster_start(c);
	struct answer a = submit(c, MSG_SUPERSEDE, records, 3);
	struct answer b = submit(c, MSG_SUPERSEDE, other, 1);
	assert_int_equal(edit_state(c, a.seq[0]), STORE_EDIT_STATE_SUPERSEDED);
	worker_hello(&c->worker, 1);
	uint64_t epoch = worker_lease(&c->worker, &shard);
	assert_int_equal(group_heard(c, shard, epoch, 0, seqs), 3);
	assert_int_equal(seqs[0], a.seq[1]);
	assert_int_equal(seqs[1], a.seq[2]);
	assert_int_equal(seqs[2], b.seq[0]);
}

#define MAYOR(of, subject, target) "{\"prompt\":\"The mayor of " of " is\"" subject ",\"target_new\":\"" target "\"}"
#define HARBORTON                  ",\"subject\":\"New Harborton\",\"subject_aliases\":[\"NHT\"]"
#define HEATH                      ",\"subject\":\"North Heath\",\"subject_aliases\":[\"NHT\"]"
#define NHT                        ",\"subject\":\"nht\""

static int submit_code(struct cluster *c, enum msg_on_conflict policy, const char *record, uint64_t *seq,
		       uint64_t *supersedes)
{
	struct msg_received *reply = client_submit(c, policy, &record, 1);
	assert_non_null(reply);
	const struct msg_submit_result *result = &reply->msg.u.submit_reply.results[0];
	const int code = result->code;
	*seq = result->seq;
	*supersedes = result->supersedes;
	msg_free(&reply);
	return code;
}

static void test_an_alias_is_the_subject_unless_two_have_it(void **state)
{
	struct cluster *c = *state;
	uint64_t second, third, other, supersedes;
	cluster_start(c);
	uint64_t first = client_submit_one(c, MAYOR("New Harborton", HARBORTON, "a"), 0);
	/* found by the alias that the earlier one lists, then by the one that the later lists */
	assert_int_equal(submit_code(c, MSG_REJECT, MAYOR("NHT", NHT, "b"), &second, &supersedes), ERR_CONFLICT);
	assert_int_equal(submit_code(c, MSG_SUPERSEDE, MAYOR("NHT", NHT, "b"), &second, &supersedes), 0);
	assert_int_equal(supersedes, first);
	assert_int_equal(submit_code(c, MSG_SUPERSEDE, MAYOR("New Harborton", HARBORTON, "c"), &third, &supersedes), 0);
	assert_int_equal(supersedes, second);
	/* and by one that names no subject */
	assert_int_equal(submit_code(c, MSG_REJECT, MAYOR("NHT", "", "d"), &other, &supersedes), ERR_CONFLICT);
	/* of two that go by it none is meant */
	client_submit_one(c, MAYOR("North Heath", HEATH, "e"), 0);
	assert_int_equal(submit_code(c, MSG_REJECT, MAYOR("NHT", NHT, "f"), &other, &supersedes), 0);
	assert_int_equal(supersedes, 0);
	assert_int_equal(submit_code(c, MSG_REJECT, MAYOR("North Heath", HEATH, "g"), &other, &supersedes),
			 ERR_CONFLICT);
}

#define T(f) cmocka_unit_test_setup_teardown(f, cluster_setup, cluster_teardown)

int main(void)
{
	const struct CMUnitTest tests[] = {
		T(test_the_answer_names_what_is_superseded),
		T(test_a_group_is_refused_as_one),
		T(test_a_group_is_itself_consistent),
		T(test_a_group_supersedes_an_edit_once),
		T(test_a_group_is_one_submit),
		T(test_a_crash_keeps_all_of_a_group_or_nothing),
		T(test_a_group_is_never_cut),
		T(test_a_group_that_does_not_fit_waits),
		T(test_a_group_fails_as_one),
		T(test_a_poisonous_group_ends_as_one),
		T(test_what_waits_is_placed_first),
		T(test_a_group_outlives_its_first),
		T(test_an_alias_is_the_subject_unless_two_have_it),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
