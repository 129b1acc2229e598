/* scrub.c: reads every chunk again and again, slowly and on a thread, so that damage is found while others still have
 * the right bytes. */
#include "coordinator/internal.h"

#include <string.h>

#define STEP_CHUNKS 64      /* 4 MiB */
#define REST_MS     3600000 /* after a pass, or one that failed */

static void scrub_run(struct pool_job *job)
{
	struct scrub *s = (struct scrub *)job;
	const uint64_t before = s->walk.byte_count;
	s->code = store_scrub_step(s->store, &s->walk, STEP_CHUNKS, &s->bad, &s->error);
	s->step_bytes = s->walk.byte_count - before;
}

static void pass_end(struct coordinator *c, struct scrub *s)
{
	if (s->code != 0)
		log_event(LOG_ERROR, "COORDINATOR-SCRUB-FAILED", LOGF_S("reason", s->error.text));
	else
		log_event(LOG_INFO, "COORDINATOR-SCRUBBED", LOGF_U("chunks", s->walk.chunk_count),
			  LOGF_U("bytes", s->walk.byte_count));
	s->pass_count += s->code == 0;
	s->walk = (struct store_scrub){ .begun = false };
	s->next_ms = coordinator__now_ms(c) + REST_MS;
	err_clear(&s->error);
}

static void scrub_done(struct pool_job *job)
{
	struct scrub *s = (struct scrub *)job;
	struct coordinator *c = s->coordinator;
	const uint64_t rate = c->config.scrub_bytes_per_s;
	s->running = false;
	s->byte_count += s->step_bytes;
	s->next_ms = coordinator__now_ms(c) + (int64_t)(s->step_bytes * 1000 / (rate > 0 ? rate : 1));
	if (s->bad.len > 0 && c->failure.code == 0 && !c->closed)
		coordinator__rot_found(c, (const struct hash *)(const void *)s->bad.data, s->bad.len / HASH_BYTES,
				       "scrub");
	buf_clear(&s->bad);
	if (s->code != 0 || s->walk.ended)
		pass_end(c, s);
}

void coordinator__scrub_advance(struct coordinator *c)
{
	struct scrub *s = &c->scrub;
	if (c->config.scrub_bytes_per_s == 0 || s->running || c->closed || coordinator__now_ms(c) < s->next_ms)
		return;
	s->job = (struct pool_job){ .run = scrub_run, .done = scrub_done };
	s->coordinator = c;
	s->store = c->store;
	s->running = pool_submit(c->upkeep, &s->job) == 0; /* else the next tick tries */
}
