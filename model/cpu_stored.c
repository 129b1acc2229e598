/* cpu_stored.c: products by weights as the file stores them (stored.h), and the loops of a decode step, on the
 * backend's own team: a step is some two hundred short pieces of work one after the other, and OpenMP's threads are
 * left to the products of many rows. Shares are taken as parts come by, but a hand-over waits for every part: one that
 * the system holds up holds up the step. */
#include "base/log.h"
#include "model/cpu.h"

#include <assert.h>
#include <stdatomic.h>
#include <string.h>

#define TURNS      ((size_t)8)         /* shares of a part, about */
#define ALONE_WORK ((size_t)48 * 1024) /* multiply-adds that do not pay for asking the team: some microseconds */
#define ROUND_ROWS ((size_t)4)         /* rows from which on the team rounds them */

/* Without threads to be had the caller does it all: slower, with the same bits. */
static bool team_ready(struct model__cpu *cpu)
{
	struct err e = ERR_INIT;
	if (cpu->team != NULL || cpu->teamless)
		return !cpu->teamless;
	cpu->teamless = team_new(cpu->base.thread_count, &cpu->team, &e) != 0;
	if (cpu->teamless)
		log_event(LOG_WARN, "MODEL-DECODES-ALONE", LOGF_U("threads", cpu->base.thread_count),
			  LOGF_S("reason", e.text));
	return !cpu->teamless;
}

/* ---- Loops */

struct loop {
	void (*one)(void *context, size_t part, size_t index);
	void *context;
	size_t count;
	atomic_size_t next;
};

static void loop_part(void *context, size_t part, size_t part_count)
{
	struct loop *loop = context;
	const size_t share = loop->count / (TURNS * part_count) + 1;
	for (size_t at; (at = atomic_fetch_add(&loop->next, share)) < loop->count;) {
		for (size_t i = at; i < at + share && i < loop->count; i++)
			loop->one(loop->context, part, i);
	}
}

void model__cpu_loop(struct model__cpu *cpu, size_t work, size_t count,
		     void (*one)(void *context, size_t part, size_t index), void *context)
{
	if (cpu->base.thread_count == 1 || work < ALONE_WORK || count < 2 || !team_ready(cpu)) {
		for (size_t i = 0; i < count; i++)
			one(context, 0, i);
		return;
	}
	struct loop loop = { .one = one, .context = context, .count = count };
	team_run(cpu->team, loop_part, &loop);
}

/* ---- Products */

struct product {
	struct model__cpu *cpu;
	float *const *y;
	const float *x;
	const struct model__stored *const *stored;
	size_t count, rows, depth, panel_count;
	bool accumulate, rounds_here;
	atomic_size_t next_row, next_panel;
};

static void round_row(const struct product *p, size_t row)
{
	const size_t blocks = p->depth / MODEL__STORED_BLOCK;
	p->cpu->stored->round(p->cpu->rounded + row * blocks, p->x + row * p->depth, blocks);
}

/* Panels [from, to) of all weights, counted through. */
static void panels(const struct product *p, size_t from, size_t to)
{
	for (size_t i = 0, first = 0; i < p->count; i++) {
		const size_t own = model__stored_panels(p->stored[i]), begin = from > first ? from - first : 0,
			     end = to > first ? to - first : 0;
		if (begin < own && end > begin)
			model__stored_product(p->cpu->stored, p->y[i], p->x, p->cpu->rounded, p->stored[i],
					      p->accumulate, p->rows, begin, end < own ? end : own);
		first += own;
	}
}

static void product_part(void *context, size_t part, size_t part_count)
{
	struct product *p = context;
	const size_t share = p->panel_count / (TURNS * part_count) + 1;
	(void)part;
	if (p->rounds_here) {
		for (size_t row; (row = atomic_fetch_add(&p->next_row, 1)) < p->rows;)
			round_row(p, row);
		team_meet(p->cpu->team);
	}
	for (size_t at; (at = atomic_fetch_add(&p->next_panel, share)) < p->panel_count;)
		panels(p, at, at + share < p->panel_count ? at + share : p->panel_count);
}

static int reserve_rounded(struct model__cpu *cpu, size_t rows, size_t depth)
{
	const size_t blocks = rows * (depth / MODEL__STORED_BLOCK);
	if (blocks <= cpu->rounded_blocks)
		return 0;
	struct model__rounded *rounded = model__host_bytes(2 * blocks * sizeof(*rounded));
	if (rounded == NULL)
		return ERR_NOMEM;
	model__host_bytes_free(cpu->rounded);
	cpu->rounded = rounded;
	cpu->rounded_blocks = 2 * blocks;
	return 0;
}

int model__cpu_stored_products(struct model__cpu *cpu, float *const *y, const float *x,
			       const struct model__stored *const *stored, size_t count, bool accumulate, size_t rows)
{
	struct product p = { .cpu = cpu,
			     .y = y,
			     .x = x,
			     .stored = stored,
			     .count = count,
			     .rows = rows,
			     .depth = stored[0]->depth,
			     .accumulate = accumulate };
	bool rounds = false;
	for (size_t i = 0; i < count; i++) {
		assert(stored[i]->depth == p.depth);
		p.panel_count += model__stored_panels(stored[i]);
		rounds = rounds || model__stored_rounds(stored[i]);
	}
	int rc = rounds ? reserve_rounded(cpu, rows, p.depth) : 0;
	const bool alone = cpu->base.thread_count == 1 ||
			   rows * p.depth * p.panel_count * MODEL__STORED_PANEL < ALONE_WORK || !team_ready(cpu);
	if (rc != 0)
		return rc;
	p.rounds_here = rounds && !alone && rows >= ROUND_ROWS;
	for (size_t row = 0; rounds && !p.rounds_here && row < rows; row++)
		round_row(&p, row);
	if (alone)
		panels(&p, 0, p.panel_count);
	else
		team_run(cpu->team, product_part, &p);
	return 0;
}
