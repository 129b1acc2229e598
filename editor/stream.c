#include "editor/stream.h"

#include "base/fault.h"
#include "editor/dot.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

#define EPSILON 1e-8f

/* What has failed its re-test is mostly too near to another edit, which noise hides further: such a group is trained in
 * more and smaller steps, beside what is nearest to each of it and more of the others, and without noise (method.md,
 * Training). */
#define AGAIN_REPLAY 3
#define AGAIN_STEPS  2
#define AGAIN_RATE   0.5f
#define AGAIN_NEAR   2u

/* Bigger groups bear a higher rate and need more replay: both double from 1 edit to 10 (method.md, Streaming). */
static float group_factor(size_t group_count)
{
	size_t beyond = (group_count < 10 ? group_count : 10) - 1;
	return 1.0f + (float)beyond / 9.0f;
}

/* The inputs of the edited matrix from which the answer's first token follows. */
static const float *answer_input(const struct editor_shard *shard, size_t edit)
{
	return shard->edits[edit].inputs + (shard->edits[edit].prompt_count - 1) * shard->shape->ffn;
}

static float answer_cosine(const struct editor_shard *shard, size_t a, size_t b)
{
	const size_t ffn = shard->shape->ffn;
	const float *x = answer_input(shard, a), *y = answer_input(shard, b);
	return editor__dot(x, y, ffn) / (sqrtf(editor__dot(x, x, ffn) * editor__dot(y, y, ffn)) + EPSILON);
}

static bool stream_has(const struct editor__stream *s, size_t edit)
{
	for (size_t i = 0; i < s->group_count + s->near_count; i++) {
		if (s->edits[i] == edit)
			return true;
	}
	return false;
}

/* Beside each of the group stand those of the others that its answer is most easily taken for. */
static void take_near(const struct editor_shard *shard, struct editor__stream *s)
{
	for (size_t n = 0; n < s->group_count * AGAIN_NEAR; n++) {
		const size_t own = s->edits[n / AGAIN_NEAR];
		size_t best = SIZE_MAX;
		float most = -INFINITY;
		for (size_t i = 0; i < s->other_count; i++) {
			const float near = answer_cosine(shard, own, s->others[i]);
			if (near > most && !stream_has(s, s->others[i])) {
				most = near;
				best = s->others[i];
			}
		}
		if (best != SIZE_MAX)
			s->edits[s->group_count + s->near_count++] = best;
	}
}

/* Every second turn reads a view. By other names an edit is asked something else, so its own prompt gets as many steps
 * as without; in small letters it is hardly that. */
static void count_turns(const struct editor_shard *shard, struct editor__stream *s)
{
	size_t most = 0, names = 0;
	for (size_t i = 0; i < s->group_count; i++) {
		const struct editor__edit *edit = &shard->edits[s->edits[i]];
		const size_t views = s->noise ? edit->view_count : edit->name_view_count;
		most = views > most ? views : most;
		names = edit->name_view_count > names ? edit->name_view_count : names;
	}
	s->turns = most > 0 ? 2 * most : 1;
	s->steps_max *= names > 0 ? 2 : 1;
}

static void take_others(const struct editor_shard *shard, struct editor__stream *s, size_t replay_end)
{
	for (size_t i = 0; i < replay_end; i++) {
		/* replaying what cannot be learnt would only pull */
		if (!shard->edits[i].gave_up && !stream_has(s, i))
			s->others[s->other_count++] = i;
	}
}

static void take_drawn(struct editor__stream *s)
{
	for (size_t i = 0; i < s->other_count; i++) {
		if (!stream_has(s, s->others[i]))
			s->drawn[s->drawn_count++] = s->others[i];
	}
	if (s->replay_count > s->drawn_count)
		s->replay_count = s->drawn_count;
}

int editor__stream_new(const struct editor_shard *shard, const size_t *group, size_t group_count, size_t replay_end,
		       bool again, struct editor__stream *s, struct err *e)
{
	float factor = group_factor(group_count);
	*s = (struct editor__stream){ .group_count = group_count,
				      .replay_count = (size_t)((float)shard->config.stream_replay * factor + 0.5f),
				      .steps_max = shard->config.stream_steps_max,
				      .rate = shard->config.stream_rate * factor,
				      .noise = !again };
	if (again) {
		s->replay_count *= AGAIN_REPLAY;
		s->steps_max *= AGAIN_STEPS;
		s->rate *= AGAIN_RATE;
	}
	s->edits = fault_malloc((group_count * (1 + AGAIN_NEAR) + s->replay_count) * sizeof(size_t));
	s->others = fault_malloc(shard->edit_count * sizeof(size_t));
	s->drawn = fault_malloc(shard->edit_count * sizeof(size_t));
	if (s->edits == NULL || s->others == NULL || s->drawn == NULL) {
		editor__stream_free(s);
		return err_set(e, ERR_NOMEM, "training: out of memory");
	}
	memcpy(s->edits, group, group_count * sizeof(size_t));
	take_others(shard, s, replay_end);
	if (again)
		take_near(shard, s);
	take_drawn(s);
	count_turns(shard, s);
	return 0;
}

void editor__stream_free(struct editor__stream *s)
{
	free(s->edits);
	free(s->others);
	free(s->drawn);
	*s = (struct editor__stream){ 0 };
}

size_t editor__stream_count(const struct editor__stream *s)
{
	return s->group_count + s->near_count + s->replay_count;
}

void editor__stream_draw(struct editor__stream *s, struct rng *rng)
{
	for (size_t i = 0; i < s->replay_count; i++) {
		size_t k = i + (size_t)rng_below(rng, s->drawn_count - i), drawn = s->drawn[k];
		s->drawn[k] = s->drawn[i];
		s->drawn[i] = drawn;
		s->edits[s->group_count + s->near_count + i] = drawn;
	}
}
