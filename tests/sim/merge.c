/* merge.c: a merge job without MPI: the merged memory is the list of all edits of the plan. Some jobs fail, hang, or
 * end without their file. */
#include "tests/sim/sim.h"

#include "tests/sim/engine.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

struct sim_merge {
	struct sim *sim;
	bool running, mute;
	int64_t end_us;
	char plan[SIM_PATH_BYTES], output[SIM_PATH_BYTES];
	uint32_t ranks;
};

static int start(void *context, const char *plan, const char *output, uint32_t ranks, struct err *e)
{
	struct sim_merge *merge = context;
	static const char *const misfortunes[] = { "does not start", "ends without its file", "hangs" };
	struct sim *sim = merge->sim;
	uint32_t number = sim->merge_count++;
	struct rng rng;
	sim_stream(sim, SIM_SOURCE_MERGES, number, &rng);
	uint64_t dice = rng_below(&rng, 10);
	if (sim->calm || dice > 2 || !sim_happens(sim, SIM_SOURCE_MERGES, number))
		dice = 9;
	else
		sim->result->tally.faults[SIM_TALLY_MERGE_UNBORN + dice][0]++;
	if (dice < 3)
		sim_tell(sim, SIM_SOURCE_MERGES, number, "the merge %s", misfortunes[dice]);
	if (dice == 0)
		return err_set(e, ERR_EXTERNAL, "no mpirun here");
	merge->running = true;
	merge->mute = dice == 1;
	merge->ranks = ranks;
	merge->end_us = dice == 2 ? INT64_MAX : sim_now(sim) + 100000 + (int64_t)rng_below(&rng, 5000000);
	snprintf(merge->plan, sizeof merge->plan, "%s", plan);
	snprintf(merge->output, sizeof merge->output, "%s", output);
	sim_trace(sim, 60, dice, "a merge starts");
	return 0;
}

static int by_seq(const void *a, const void *b)
{
	const struct sim_applied *x = a, *y = b;
	return x->seq < y->seq ? -1 : x->seq > y->seq;
}

static int shard_add(const struct sim_merge *merge, const struct merge_plan_shard *shard, struct buf *list,
		     struct err *e)
{
	struct buf text = BUF_INIT;
	int rc = merge_plan_input(merge->plan, shard->edits, &shard->edits_hash, MERGE_EDITS_BYTES_MAX, &text, e);
	const char *at = (const char *)text.data, *record;
	size_t left = text.len, record_len;
	struct sim_applied one;
	while (rc == 0 && merge_plan_edit_next(&at, &left, &one.seq, &record, &record_len, e) == 0) {
		struct record *parsed = NULL;
		rc = record_parse(record, record_len, &parsed, e);
		if (rc == 0)
			one.text = sim_engine_text(parsed);
		record_destroy(&parsed);
		buf_append(list, &one, sizeof one);
	}
	buf_free(&text);
	return rc;
}

static int output_write(const struct sim_merge *merge, struct err *e)
{
	struct merge_plan *plan = NULL;
	struct merge_output output = { .rounds = 1, .ranks = merge->ranks };
	struct buf list = BUF_INIT, delta = BUF_INIT;
	int rc = merge_plan_read(merge->plan, &plan, &output.plan, e);
	for (size_t i = 0; rc == 0 && i < plan->shard_count; i++)
		rc = shard_add(merge, &plan->shards[i], &list, e);
	if (rc == 0) {
		size_t count = list.len / sizeof(struct sim_applied);
		if (count > 0)
			qsort(list.data, count, sizeof(struct sim_applied), by_seq);
		sim_engine_encode((const void *)list.data, count, &delta);
		output.merge = plan->merge;
		output.layer = plan->layer;
		rc = merge_output_write(merge->output, &output, delta.data, delta.len, e);
	}
	merge_plan_destroy(&plan);
	buf_free(&list);
	buf_free(&delta);
	return rc;
}

static int poll_job(void *context, double *progress, struct err *e)
{
	struct sim_merge *merge = context;
	*progress = 0.5;
	if (!merge->running || sim_now(merge->sim) < merge->end_us)
		return merge->running ? ERR_AGAIN : 0;
	merge->running = false;
	return merge->mute ? 0 : output_write(merge, e);
}

static void kill_job(void *context)
{
	((struct sim_merge *)context)->running = false;
}

void sim_merge_init(struct sim *sim, struct coordinator_merge_job *job)
{
	if (sim->merge == NULL)
		sim->merge = calloc(1, sizeof *sim->merge);
	if (sim->merge == NULL)
		abort();
	*sim->merge = (struct sim_merge){ .sim = sim };
	*job = (struct coordinator_merge_job){ sim->merge, start, poll_job, kill_job };
}

void sim_merge_fini(struct sim *sim)
{
	free(sim->merge);
	sim->merge = NULL;
}
