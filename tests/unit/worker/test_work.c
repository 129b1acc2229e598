/* One lease, from Lease to ShardCommitReply: credit, epochs, fencing, refusals, what is lost on the way. */
#include "tests/unit/worker/lease_fixture.h"

/* A hook that swallows the next `*(size_t *)context` messages of the type `swallow_type`. */
static enum msg_type swallow_type;
static bool swallow(struct stand *s, const struct msg *msg)
{
	size_t *left = s->hook_context;
	if (msg->type != swallow_type || *left == 0)
		return false;
	--*left;
	return true;
}

static void swallow_next(struct stand *s, enum msg_type type, size_t *count)
{
	swallow_type = type;
	s->hook_context = count;
	s->hook = swallow;
}

static void expect_in_source(struct stand *s, const struct hash *root)
{
	struct buf missing = BUF_INIT;
	assert_ok(&s->e, store_blob_damaged(s->source, root, &missing, &s->e));
	assert_int_equal(missing.len, 0);
	buf_free(&missing);
}

static void trains_uploads_and_commits(void **state)
{
	struct stand *s = *state;
	begin(s, 3);
	stand_turns(s, 200);
	assert_int_equal(s->want.shard, STAND_SHARD);
	assert_int_equal(s->want.epoch, s->epoch);
	assert_int_equal(s->want.credit, STORE_SHARD_EDITS_MAX);
	assert_int_equal(s->want.received_count, 0);
	stand_group(s, 2);
	assert_int_equal(s->commit.shard_version, 1);
	assert_int_equal(s->commit.result_count, 2);
	assert_false(s->commit.closed);
	assert_true(s->commit.steps > 0);
	assert_int_equal(s->commit.layer, s->config.editor.layer);
	for (size_t i = 0; i < 2; i++) {
		assert_int_equal(s->results[i].seq, 10 + i);
		assert_true(s->results[i].passed);
	}
	expect_in_source(s, &s->commit.delta_root);
	expect_in_source(s, &s->commit.index_root);
	expect_in_source(s, &s->commit.calibration_root);
	assert_int_equal(s->want.received_count, 2); /* credit for the next group, at once */
	stand_group(s, 1);
	assert_int_equal(s->commit.shard_version, 2);
	assert_int_equal(s->commit.result_count, 3); /* the earlier ones are tested again */
	assert_int_equal(s->commits, 2);
}

static void credit_is_given_again_when_nothing_comes(void **state)
{
	struct stand *s = *state;
	size_t lost = 2;
	begin(s, 1);
	swallow_next(s, MSG_WANT, &lost);
	s->group_count = 1;
	stand_turns(s, 3000);
	assert_int_equal(lost, 0);
	assert_int_equal(s->commits, 0);
	stand_until(s, &s->commits, 1);
	assert_int_equal(s->wants, 1);
}

/* --- Fencing. */
static void fenced_while_it_waits(void **state)
{
	struct stand *s = *state;
	begin(s, 1);
	stand_turns(s, 200);
	stand_fence(s, s->epoch - 1); /* of an earlier lease */
	stand_turns(s, 1000);
	assert_int_equal(s->beat_leases, 1);
	stand_fence(s, s->epoch);
	stand_turns(s, 4000);
	assert_int_equal(s->beat_leases, 0);
	size_t wants = s->wants;
	stand_turns(s, 4000);
	assert_int_equal(s->wants, wants);
}

static void fenced_while_the_engine_works(void **state)
{
	struct stand *s = *state;
	begin(s, 2);
	s->hold_engine = true;
	s->group_count = 1;
	stand_turns(s, 500);
	assert_false(worker_idle(s->worker));
	stand_fence(s, s->epoch);
	stand_turns(s, 500);
	s->hold_engine = false;
	stand_turns(s, 3000);
	assert_true(worker_idle(s->worker));
	assert_int_equal(s->commits, 0); /* the result is thrown away */
	assert_int_equal(s->haves, 0);
	stand_lease(s);
	stand_group(s, 1);
	assert_int_equal(s->version, 1);
}

static void fenced_while_it_uploads(void **state)
{
	struct stand *s = *state;
	size_t lost = SIZE_MAX;
	begin(s, 1);
	swallow_next(s, MSG_HAVE, &lost);
	s->group_count = 1;
	stand_turns(s, 1000);
	stand_fence(s, s->epoch);
	stand_turns(s, 200);
	s->hook = NULL;
	stand_turns(s, 4000);
	assert_int_equal(s->haves, 0);
	assert_int_equal(s->commits, 0);
	stand_lease(s);
	stand_group(s, 1); /* the uploader is free again */
	assert_int_equal(s->version, 1);
}

static void edits_of_another_epoch_are_not_taken(void **state)
{
	struct stand *s = *state;
	begin(s, 1);
	stand_turns(s, 200);
	s->epoch--;
	struct msg_edit_item item = { 10, { s->edits[0], strlen(s->edits[0]) } };
	struct msg msg = { .type = MSG_EDITS };
	msg.u.edits = (struct msg_edits){ .shard = STAND_SHARD,
					  .epoch = s->epoch,
					  .group_end = true,
					  .group_count = 1,
					  .items = &item,
					  .item_count = 1 };
	stand_send(s, &msg);
	stand_turns(s, 1000);
	assert_int_equal(s->haves, 0);
}

/* --- Commits that are refused, lost, or meet a new epoch. */
static void commit_refused_with(struct stand *s, int code)
{
	begin(s, 1);
	s->commit_code = code;
	s->group_count = 1;
	stand_until(s, &s->commits, 1);
	stand_turns(s, 1500);
}

static void a_refused_commit_drops_the_lease(void **state)
{
	struct stand *s = *state;
	commit_refused_with(s, ERR_INVALID);
	stand_turns(s, 5000);
	assert_int_equal(s->commits, 1);
	assert_int_equal(s->beat_leases, 0);
	assert_int_equal(s->releases, 1);
	assert_int_equal(s->release.code, ERR_EXTERNAL); /* no edit's fault */
	s->commit_code = 0;
	stand_lease(s);
	stand_until(s, &s->commits, 2);
	assert_int_equal(s->version, 1);
}

static void a_commit_under_an_old_epoch_is_fenced(void **state)
{
	struct stand *s = *state;
	begin(s, 1);
	s->group_count = 1;
	s->hold_engine = true;
	stand_turns(s, 500);
	s->epoch++; /* another's, and the word of it was lost */
	s->hold_engine = false;
	stand_until(s, &s->commits, 1);
	stand_turns(s, 1500);
	assert_int_equal(s->version, 0);
	assert_int_equal(s->beat_leases, 0);
	assert_int_equal(s->releases, 0); /* it is another's */
}

static void a_commit_refused_for_now_is_sent_again(void **state)
{
	struct stand *s = *state;
	commit_refused_with(s, ERR_AGAIN);
	assert_int_equal(s->commits, 1);
	assert_int_equal(s->beat_leases, 1);
	s->commit_code = 0;
	stand_until(s, &s->commits, 2);
	assert_int_equal(s->version, 1);
}

static void chunks_that_got_lost_are_uploaded_again(void **state)
{
	struct stand *s = *state;
	begin(s, 1);
	s->commit_code = ERR_NOT_FOUND;
	s->group_count = 1;
	stand_until(s, &s->commits, 1);
	size_t haves = s->haves, chunks = s->chunks;
	stand_until(s, &s->commits, 2);
	assert_true(s->haves > haves);
	assert_int_equal(s->chunks, chunks); /* they are all there after all */
	s->commit_code = 0;
	stand_until(s, &s->commits, 3);
	stand_turns(s, 500);
	assert_int_equal(s->version, 1);
}

static void an_answer_that_is_lost_is_asked_for_again(void **state)
{
	struct stand *s = *state;
	begin(s, 2);
	s->group_count = 1;
	s->mute_commits = true;
	stand_until(s, &s->commits, 1);
	assert_int_equal(s->version, 1);
	s->mute_commits = false;
	stand_until(s, &s->commits, 2); /* the same one */
	assert_int_equal(s->commit.shard_version, 1);
	stand_group(s, 1);
	assert_int_equal(s->version, 2);
}

static bool answer_nothing(struct stand *s, const struct msg *msg)
{
	s->commits += msg->type == MSG_SHARD_COMMIT;
	return msg->type == MSG_SHARD_COMMIT;
}

/* The coordinator restarted before it saw the commit: the work is not done again. */
static void a_commit_in_flight_goes_on_under_a_new_epoch(void **state)
{
	struct stand *s = *state;
	begin(s, 1);
	s->hook = answer_nothing;
	s->group_count = 1;
	stand_until(s, &s->commits, 1);
	size_t wants = s->wants, haves = s->haves;
	s->hook = NULL;
	stand_lease(s);
	stand_turns(s, 500);
	assert_int_equal(s->commit.epoch, s->epoch);
	assert_int_equal(s->version, 1);
	assert_int_equal(s->haves, haves);
	assert_int_equal(s->wants, wants + 1); /* after the commit */
	assert_int_equal(s->want.received_count, 1);
	stand_turns(s, 1000);
	assert_int_equal(s->beat_leases, 1);
}

/* It took the commit, but its answer was lost. */
static void a_lease_that_holds_the_commit_answers_it(void **state)
{
	struct stand *s = *state;
	begin(s, 2);
	s->mute_commits = true;
	s->group_count = 1;
	stand_until(s, &s->commits, 1);
	assert_int_equal(s->version, 1);
	s->mute_commits = false;
	stand_lease(s);
	stand_turns(s, 300);
	assert_int_equal(s->commits, 1);
	assert_int_equal(s->needs, 0);
	assert_int_equal(s->want.epoch, s->epoch);
	assert_int_equal(s->want.received_count, 1); /* it goes on with what it has in memory */
	stand_group(s, 1);
	assert_int_equal(s->version, 2);
}

/* --- Messages with edits that are lost. */
static void a_lost_message_of_edits_does_not_shorten_the_group(void **state)
{
	struct stand *s = *state;
	begin(s, 2);
	stand_turns(s, 200);
	/* Only the second half of a group of two arrives. */
	struct msg_edit_item item = { 11, { s->edits[1], strlen(s->edits[1]) } };
	struct msg msg = { .type = MSG_EDITS };
	msg.u.edits = (struct msg_edits){ .shard = STAND_SHARD,
					  .epoch = s->epoch,
					  .group_end = true,
					  .group_count = 2,
					  .items = &item,
					  .item_count = 1 };
	s->group_count = 2;
	stand_send(s, &msg);
	stand_until(s, &s->commits, 1);
	assert_int_equal(s->commit.result_count, 2);
	assert_int_equal(s->results[0].seq, 10); /* in the list's order */
	assert_int_equal(s->results[1].seq, 11);
	stand_turns(s, 200);
	assert_int_equal(s->version, 1);
}

static void edits_that_come_twice_are_taken_once(void **state)
{
	struct stand *s = *state;
	begin(s, 2);
	stand_turns(s, 200);
	struct msg_edit_item items[2];
	for (size_t i = 0; i < 2; i++)
		items[i] = (struct msg_edit_item){ 10 + i, { s->edits[i], strlen(s->edits[i]) } };
	struct msg msg = { .type = MSG_EDITS };
	msg.u.edits = (struct msg_edits){ .shard = STAND_SHARD, .epoch = s->epoch, .items = items, .item_count = 1 };
	s->group_count = 2;
	stand_send(s, &msg);
	stand_send(s, &msg);
	msg.u.edits.items = items;
	msg.u.edits.item_count = 2;
	msg.u.edits.group_count = 2;
	msg.u.edits.group_end = true;
	stand_send(s, &msg);
	stand_send(s, &msg);
	stand_until(s, &s->commits, 1);
	assert_int_equal(s->commit.result_count, 2);
	assert_int_equal(s->commit.group_count, 2);
}

/* While something comes, it is not asked for again. */
static void edits_that_come_slowly_are_waited_for(void **state)
{
	struct stand *s = *state;
	begin(s, 2);
	stand_turns(s, 200);
	assert_int_equal(s->wants, 1);
	struct msg_edit_item item = { 10, { s->edits[0], strlen(s->edits[0]) } };
	struct msg msg = { .type = MSG_EDITS };
	msg.u.edits = (struct msg_edits){ .shard = STAND_SHARD, .epoch = s->epoch, .items = &item, .item_count = 1 };
	stand_turns(s, 1500);
	stand_send(s, &msg);
	stand_turns(s, 1500);
	assert_int_equal(s->wants, 1);
	stand_turns(s, 1000);
	assert_int_equal(s->wants, 2);
}

/* Which edits have ended comes in as many messages as the edits. */
static void ended_edits_come_in_parts(void **state)
{
	struct stand *s = *state;
	begin(s, 4);
	stand_group(s, 1);
	stand_turns(s, 200);
	struct msg_edit_item items[3];
	for (size_t i = 0; i < 3; i++)
		items[i] = (struct msg_edit_item){ 11 + i, { s->edits[1 + i], strlen(s->edits[1 + i]) } };
	uint64_t ended[] = { 11, 12 };
	struct msg msg = { .type = MSG_EDITS };
	msg.u.edits = (struct msg_edits){ .shard = STAND_SHARD,
					  .epoch = s->epoch,
					  .items = items,
					  .item_count = 2,
					  .removed_seqs = &ended[0],
					  .removed_count = 1 };
	s->group_count = 3;
	stand_send(s, &msg);
	msg.u.edits.items = &items[2];
	msg.u.edits.item_count = 1;
	msg.u.edits.removed_seqs = &ended[1];
	msg.u.edits.group_end = true;
	msg.u.edits.group_first = 1;
	msg.u.edits.group_count = 3;
	stand_send(s, &msg);
	stand_until(s, &s->commits, 2);
	assert_int_equal(s->commit.result_count, 2);
	assert_int_equal(s->results[0].seq, 10);
	assert_int_equal(s->results[1].seq, 13);
}

/* What the shard holds already fills no place of a later group: the group would be trained with a hole. */
static void edits_of_an_earlier_group_do_not_count(void **state)
{
	struct stand *s = *state;
	begin(s, 3);
	stand_group(s, 2);
	size_t wants = s->wants;
	struct msg_edit_item items[2] = { { 10, { s->edits[0], strlen(s->edits[0]) } },
					  { 12, { s->edits[2], strlen(s->edits[2]) } } };
	struct msg msg = { .type = MSG_EDITS };
	msg.u.edits = (struct msg_edits){ .shard = STAND_SHARD,
					  .epoch = s->epoch,
					  .group_end = true,
					  .group_first = 2,
					  .group_count = 1,
					  .items = items,
					  .item_count = 1 };
	stand_send(s, &msg);
	stand_turns(s, 1000);
	assert_int_equal(s->commits, 1);
	assert_int_equal(s->releases, 0);
	assert_int_equal(s->wants, wants);
	s->group_count = 1;
	msg.u.edits.item_count = 2;
	stand_send(s, &msg);
	stand_turns(s, 500);
	assert_int_equal(s->commits, 2);
	assert_int_equal(s->commit.result_count, 3);
	assert_int_equal(s->want.received_count, 3);
	assert_int_equal(s->wants, wants + 1); /* for the next group */
}

/* A message that the codec refuses would be refused at every turn. */
static void a_commit_that_cannot_be_sent_ends_the_lease(void **state)
{
	struct stand *s = *state;
	begin(s, 1);
	s->refuse_type = MSG_SHARD_COMMIT;
	s->refuse_code = ERR_AGAIN;
	s->group_count = 1;
	stand_turns(s, 5000);
	assert_int_equal(s->releases, 0);
	assert_int_equal(s->beat_leases, 1); /* a full queue: later */
	s->refuse_code = ERR_LIMIT;
	stand_turns(s, 4000);
	assert_int_equal(s->releases, 1);
	assert_int_equal(s->release.epoch, s->epoch);
	assert_int_equal(s->release.code, ERR_LIMIT);
	assert_int_equal(s->beat_leases, 0);
}

/* --- Edits that end. */
static void an_edit_that_ended_before_its_group_is_not_trained(void **state)
{
	struct stand *s = *state;
	struct hash without;
	begin(s, 4);
	stand_group(s, 1);
	s->ended[2] = true;
	stand_group(s, 3);
	assert_int_equal(s->commit.result_count, 3);
	without = s->delta_root;
	/* The same bytes as a shard that never saw it: only new edits are trained, the earlier one is replayed. */
	stand_stop(s);
	s->version = s->trained_count = 0;
	s->delta_root = (struct hash){ 0 };
	free(s->edits[2]);
	s->edits[2] = s->edits[3];
	s->edit_count = 3;
	s->ended[2] = false;
	stand_greet(s);
	stand_lease(s);
	stand_group(s, 1);
	stand_group(s, 2);
	assert_true(hash_equal(&without, &s->delta_root));
}

/* --- The closing pass. */
static void the_closing_pass_ends_the_lease(void **state)
{
	struct stand *s = *state;
	begin(s, 3);
	stand_group(s, 2);
	s->closing = true;
	stand_group(s, 1);
	assert_true(s->commit.closed);
	assert_int_equal(s->commit.result_count, 3);
	stand_turns(s, 1500);
	assert_int_equal(s->beat_leases, 0);
}

static void a_shard_can_close_without_new_edits(void **state)
{
	struct stand *s = *state;
	begin(s, 2);
	stand_group(s, 2);
	struct hash streamed = s->delta_root;
	s->closing = true;
	stand_until(s, &s->commits, 2);
	stand_turns(s, 200);
	assert_true(s->commit.closed);
	assert_int_equal(s->commit.group_count, 0);
	assert_int_equal(s->version, 2);
	assert_false(hash_equal(&streamed, &s->delta_root)); /* breadth first now */
}

/* --- What the coordinator hears of how far it is. */
struct heard {
	size_t queued, other;
	uint64_t last_shard;
};

static bool hear_progress(struct stand *s, const struct msg *msg)
{
	struct heard *heard = s->hook_context;
	if (msg->type != MSG_PROGRESS)
		return false;
	bool queued = msg->u.progress.phase.len == 6 && memcmp(msg->u.progress.phase.text, "queued", 6) == 0;
	heard->queued += queued;
	heard->other += !queued;
	heard->last_shard = msg->u.progress.shard;
	return true;
}

static void queue_edit(struct stand *s, uint64_t shard, uint64_t seq)
{
	struct msg msg = { .type = MSG_LEASE };
	msg.u.lease = (struct msg_lease){ .kind = MSG_LEASE_TRAIN, .shard = shard, .epoch = 1, .lease_ms = 8000 };
	stand_send(s, &msg);
	stand_turns(s, 200);
	struct msg_edit_item item = { seq, { s->edits[0], strlen(s->edits[0]) } };
	msg = (struct msg){ .type = MSG_EDITS };
	msg.u.edits = (struct msg_edits){
		.shard = shard, .epoch = 1, .group_end = true, .group_count = 1, .items = &item, .item_count = 1
	};
	stand_send(s, &msg);
	stand_turns(s, 200);
}

static void every_lease_tells_how_far_it_is(void **state)
{
	struct stand *s = *state;
	struct heard heard = { 0 };
	begin(s, 2);
	s->hook = hear_progress;
	s->hook_context = &heard;
	stand_turns(s, 2000);
	assert_int_equal(heard.queued + heard.other, 0); /* nothing to do, nothing to say */
	s->hold_engine = true;
	s->group_count = 1;
	stand_turns(s, 3000);
	assert_true(heard.other >= 2);
	assert_int_equal(heard.last_shard, STAND_SHARD);
	queue_edit(s, 8, 10); /* another lease waits for the engine */
	stand_turns(s, 3000);
	assert_true(heard.queued >= 2);
	assert_int_equal(heard.last_shard, STAND_SHARD); /* what the engine does comes last */
}

static bool hear_progress_alone(struct stand *s, const struct msg *msg)
{
	return hear_progress(s, msg) || msg->type == MSG_SHARD_COMMIT; /* the script knows one shard */
}

/* Edits that wait are trained in the order in which they came, whichever lease came first. */
static void the_oldest_edit_is_trained_first(void **state)
{
	static const uint64_t seqs[] = { 31, 30, 33, 32 }, shards_by_seq[] = { 21, 20, 23, 22 };
	struct stand *s = *state;
	struct heard heard = { 0 };
	begin(s, 2);
	s->hook = hear_progress_alone;
	s->hook_context = &heard;
	s->hold_engine = true;
	s->group_count = 1;
	stand_turns(s, 1000);
	for (size_t i = 0; i < 4; i++)
		queue_edit(s, 20 + i, seqs[i]);
	for (size_t i = 0; i < 4; i++) {
		s->hold_engine = false;
		stand_turn(s);
		s->hold_engine = true;
		stand_turns(s, 2000);
		assert_int_equal(heard.last_shard, shards_by_seq[i]); /* what the engine does comes last */
	}
	s->hold_engine = false;
	stand_turns(s, 500);
}

#define T(f) cmocka_unit_test_setup_teardown(f, stand_setup, stand_teardown)

int main(void)
{
	const struct CMUnitTest tests[] = {
		T(trains_uploads_and_commits),
		T(credit_is_given_again_when_nothing_comes),
		T(fenced_while_it_waits),
		T(fenced_while_the_engine_works),
		T(fenced_while_it_uploads),
		T(edits_of_another_epoch_are_not_taken),
		T(a_refused_commit_drops_the_lease),
		T(a_commit_under_an_old_epoch_is_fenced),
		T(a_commit_refused_for_now_is_sent_again),
		T(chunks_that_got_lost_are_uploaded_again),
		T(an_answer_that_is_lost_is_asked_for_again),
		T(a_commit_in_flight_goes_on_under_a_new_epoch),
		T(a_lease_that_holds_the_commit_answers_it),
		T(a_lost_message_of_edits_does_not_shorten_the_group),
		T(edits_that_come_twice_are_taken_once),
		T(edits_that_come_slowly_are_waited_for),
		T(ended_edits_come_in_parts),
		T(edits_of_an_earlier_group_do_not_count),
		T(a_commit_that_cannot_be_sent_ends_the_lease),
		T(an_edit_that_ended_before_its_group_is_not_trained),
		T(the_closing_pass_ends_the_lease),
		T(a_shard_can_close_without_new_edits),
		T(every_lease_tells_how_far_it_is),
		T(the_oldest_edit_is_trained_first),
	};
	return cmocka_run_group_tests(tests, stand_model_open, stand_model_close);
}
