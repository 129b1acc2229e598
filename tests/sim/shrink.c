#include "tests/sim/shrink.h"

#include "tests/sim/campaign.h"

#include <ctype.h>
#include <stdlib.h>
#include <string.h>

#define RANDOM_TRIES 150
#define RANDOM_LEAST 4 /* of fewer, the other way tries nearly all sets */

struct search {
	struct sim_options options;
	struct shrunk *out;
	struct sim_keep tried;
	struct sim_story story;
	struct rng rng;
	uint64_t runs_max;
};

/* ---- The same invariant */

static char next_letter(const char **text)
{
	while (isdigit((unsigned char)**text))
		(*text)++;
	return **text == '\0' ? '\0' : *(*text)++;
}

/* "I4: …" by its number; another finding by its words without the numbers. */
static bool is_same(const char *a, const char *b)
{
	if (a[0] == 'I' && isdigit((unsigned char)a[1]))
		return strncmp(a, b, 3) == 0;
	for (char letter = next_letter(&a); letter == next_letter(&b); letter = next_letter(&a))
		if (letter == '\0')
			return true;
	return false;
}

/* ---- Tries */

static void keep_of(const struct sim_story *story, struct sim_keep *keep)
{
	keep->count = story->count;
	for (size_t i = 0; i < story->count; i++)
		keep->ids[i] = story->events[i].id;
}

/* What breaks as well with the events `tried` becomes the list to go on with. */
static bool still_breaks(struct search *search)
{
	struct shrunk *out = search->out;
	struct sim_result result;
	search->options.keep = &search->tried;
	out->runs++;
	campaign_run_one(&search->options, &result, &search->story);
	if (!result.broken || !is_same(out->result.text, result.text))
		return false;
	out->story = search->story;
	out->result = result;
	keep_of(&out->story, &out->keep);
	return true;
}

static bool is_over(const struct search *search)
{
	return search->out->keep.count == 0 || (search->runs_max > 0 && search->out->runs >= search->runs_max);
}

static bool without_part(struct search *search, size_t part, size_t parts)
{
	const struct sim_keep *keep = &search->out->keep;
	size_t first = keep->count * part / parts, end = keep->count * (part + 1) / parts;
	search->tried.count = 0;
	for (size_t i = 0; i < keep->count; i++)
		if (i < first || i >= end)
			search->tried.ids[search->tried.count++] = keep->ids[i];
	return still_breaks(search);
}

/* Until no single event can be left out. */
static void leave_parts_out(struct search *search)
{
	size_t parts = 2;
	while (!is_over(search)) {
		size_t count = search->out->keep.count, part;
		bool found = false;
		parts = parts < count ? parts : count;
		for (part = parts; part-- > 0 && !found && !is_over(search);) /* the latest first: no causes, mostly */
			found = without_part(search, part, parts);
		if (!found && parts == count)
			break;
		parts = !found ? 2 * parts : parts > 2 ? parts - 1 : 2;
	}
}

/* Of a race, one event less is often too late or too early by a hair, and many less are not. */
static bool leave_some_out(struct search *search)
{
	const struct sim_keep *keep = &search->out->keep;
	if (keep->count < RANDOM_LEAST)
		return false;
	for (int tries = 0; tries < RANDOM_TRIES && !is_over(search); tries++) {
		uint64_t share = 2 + rng_below(&search->rng, keep->count);
		search->tried.count = 0;
		for (size_t i = 0; i < keep->count; i++)
			if (rng_below(&search->rng, share) != 0)
				search->tried.ids[search->tried.count++] = keep->ids[i];
		if (search->tried.count < keep->count && still_breaks(search))
			return true;
	}
	return false;
}

bool sim_shrink(const struct sim_options *options, uint64_t runs_max, struct shrunk *out)
{
	struct search *search = calloc(1, sizeof *search);
	if (search == NULL)
		abort();
	search->options = *options;
	search->out = out;
	search->runs_max = runs_max;
	out->runs = 1;
	campaign_run_one(&search->options, &out->result, &out->story);
	out->event_count = out->story.count;
	keep_of(&out->story, &out->keep);
	rng_init(&search->rng, options->seed);
	if (out->result.broken)
		do
			leave_parts_out(search);
		while (leave_some_out(search));
	free(search);
	return out->result.broken;
}

/* ---- Lists */

void sim_keep_format(const struct sim_keep *keep, struct buf *out)
{
	for (size_t i = 0; i < keep->count; i++) {
		char id[SIM_EVENT_ID_BYTES];
		sim_event_id_format(&keep->ids[i], id);
		buf_printf(out, "%s%s", i > 0 ? "," : "", id);
	}
	if (keep->count == 0)
		buf_puts(out, "none");
}

bool sim_keep_parse(const char *text, struct sim_keep *out)
{
	out->count = 0;
	if (strcmp(text, "none") == 0)
		return true;
	for (const char *at = text;; at++) {
		size_t len = strcspn(at, ",");
		if (out->count == SIM_EVENTS_MAX || !sim_event_id_parse(at, len, &out->ids[out->count]))
			return false;
		out->count++;
		at += len;
		if (*at == '\0')
			return true;
	}
}
