/* What is lost for good, looked at while memory is short: a look that was cut short says nothing, and comes again. */
#include "tests/unit/coordinator/candidate_fixture.h"
#include "tests/unit/coordinator/lost_fixture.h"

#define ROUND_MS 10000 /* of asking, at whose end what is lost is given up */
#define TRIES    400
#define FIRST    12 /* allocation that fails: those before are of a look whose failure does not count */

/* The n-th allocation of each of the coordinator's ticks fails, for a round. */
static void starve(struct cluster *c, int64_t n)
{
	for (int64_t at = 0; at < ROUND_MS; at += 1000) {
		struct msg beat = { .type = MSG_HEARTBEAT };
		env_manual_advance(&c->clock, 1000 * 1000);
		end_send(&c->worker, &beat);
		cluster_receive(c);
		fault_set(n, 1);
		coordinator_tick(c->coordinator);
		fault_set(-1, 0);
		assert_false(coordinator_failed(c->coordinator, NULL));
	}
	end_clear(&c->worker);
}

/* Nobody has given it for long enough, but for a round. */
static void nearly_lost(struct cluster *c, const struct hash *root)
{
	lose(c, root, 2);
	wait(c, RETRAIN_MS);
}

static bool last_lost_says(struct cluster *c, const char *says)
{
	struct store_txn *txn = NULL;
	struct store_event event;
	uint64_t last;
	bool found = false;
	assert_ok(&c->e, store_begin_read(c->store, &txn, &c->e));
	assert_ok(&c->e, store_event_last(txn, &last, NULL, &c->e));
	for (uint64_t at = 1; at <= last; at++) {
		assert_ok(&c->e, store_event_get(txn, at, &event, &c->e));
		if (event.type == STORE_EVENT_SHARD_LOST)
			found = memmem(event.payload, event.payload_len, says, strlen(says)) != NULL;
	}
	store_abort(&txn);
	return found;
}

/* Else administrators would be asked again for what they have approved. */
static void test_the_ledger_says_what_was_in_force(void **state)
{
	struct cluster *c = *state;
	char says[64];
	struct fact f;
	int64_t n = FIRST;
	c->config.retrain_ms = RETRAIN_MS;
	served_facts(c, &f);
	const struct hash root = delta_of(c, 1, 0);
	nearly_lost(c, &root);
	for (; n < TRIES && edit_state(c, f.seq) != STORE_EDIT_STATE_PLACED; n++)
		starve(c, n);
	assert_true(n > FIRST + 5 && n < TRIES);
	snprintf(says, sizeof says, "\"in_force\":[%d,%d]", (int)f.seq, (int)f.seq + 1);
	assert_true(last_lost_says(c, says));
}

static void test_a_lost_manifest_is_replaced(void **state)
{
	struct cluster *c = *state;
	struct fact f;
	int64_t n = FIRST;
	c->config.retrain_ms = RETRAIN_MS;
	prepare(c, &f);
	const struct hash root = version_get(c, 1).root;
	copy_lose(c);
	nearly_lost(c, &root);
	for (; n < TRIES && newest(c) == 1; n++)
		starve(c, n);
	assert_true(n > FIRST + 5 && n < TRIES);
	assert_int_equal(memories_of(c, 2), 1);
}

/* Its manifest's chunk, which the disk changes while it waits: all of what it names is whole. */
static void test_a_lost_candidate_is_made_anew(void **state)
{
	struct cluster *c = *state;
	struct fact f;
	int64_t n = FIRST;
	c->config.retrain_ms = RETRAIN_MS;
	served_facts(c, &f);
	fact_more(c, &f);
	const struct hash root = candidate_get(c).root;
	rot_found(c, &root);
	end_clear(&c->worker);
	end_clear(&c->node);
	wait(c, RETRAIN_MS);
	test_log_begin(c->folder);
	for (; n < TRIES && test_log_count("COORDINATOR-CANDIDATE-DROPPED") == 0; n++)
		starve(c, n);
	test_log_end();
	assert_true(n > FIRST + 5 && n < TRIES);
	cluster_advance(c, 5000);
	assert_int_equal(approve(c).version, 2);
}

/* ERR_CLOSED: no answer came. */
static int starved_revoke(struct cluster *c, const struct fact *f, int64_t n)
{
	struct msg msg = { .type = MSG_REVOKE,
			   .u.revoke = { .id = { f->edit.id, strlen(f->edit.id) }, .reason = { "wrong", 5 } } };
	end_send(&c->client, &msg);
	fault_set(n, 1);
	cluster_receive(c);
	fault_set(-1, 0);
	assert_false(coordinator_failed(c->coordinator, NULL));
	struct msg_received *reply = end_take(&c->client, MSG_REVOKE_REPLY);
	const int code = reply == NULL ? ERR_CLOSED : reply->msg.u.revoke_reply.code;
	if (reply != NULL)
		msg_free(&reply);
	cluster_advance(c, 2000);
	return code;
}

static struct hash calibration_of(struct cluster *c, uint64_t version)
{
	struct proto_manifest manifest;
	struct arena *arena = NULL;
	assert_int_equal(arena_new(65536, 0, &arena), 0);
	manifest_read(c, version, arena, &manifest);
	const struct hash root = manifest.calibration_root;
	arena_destroy(&arena);
	return root;
}

/* No node could route with it. */
static void test_a_revocation_names_no_lost_calibration(void **state)
{
	struct cluster *c = *state;
	struct fact f;
	int64_t n = FIRST;
	c->config.retrain_ms = RETRAIN_MS;
	served_facts(c, &f);
	const struct hash root = calibration_of(c, 1);
	lose(c, &root, 2);
	wait(c, 2 * RETRAIN_MS);
	while (n < TRIES && newest(c) == 1)
		(void)starved_revoke(c, &f, n++);
	assert_true(n > FIRST + 5 && n < TRIES);
	assert_int_equal(memories_of(c, 2), 0);
	const struct hash none = calibration_of(c, 2);
	assert_true(hash_is_zero(&none));
}

/* It is refused before anything of it was begun: no write is held back for it. */
static void test_a_revocation_is_refused_by_a_lost_manifest(void **state)
{
	struct cluster *c = *state;
	struct fact f;
	int refused = 0;
	served_facts(c, &f);
	const struct hash root = version_get(c, 1).root;
	copy_lose(c);
	lose(c, &root, 2);
	wait(c, 2000);
	test_log_begin(c->folder);
	for (int64_t n = 0; n < TRIES; n++) {
		const int code = starved_revoke(c, &f, n);
		assert_true(code == ERR_NOMEM || code == ERR_AGAIN || code == ERR_CLOSED);
		refused += code == ERR_NOMEM;
	}
	test_log_end();
	assert_true(refused > 0);
	assert_int_equal(test_log_count("COORDINATOR-WRITE-REFUSED"), 0);
	assert_int_equal(edit_state(c, f.seq), STORE_EDIT_STATE_SERVED);
}

#define T(f) cmocka_unit_test_setup_teardown(f, cluster_setup, cluster_teardown)

int main(void)
{
	const struct CMUnitTest tests[] = {
		T(test_the_ledger_says_what_was_in_force),
		T(test_a_lost_manifest_is_replaced),
		T(test_a_lost_candidate_is_made_anew),
		T(test_a_revocation_names_no_lost_calibration),
		T(test_a_revocation_is_refused_by_a_lost_manifest),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
