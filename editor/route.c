/* route.c: which edit a text asks for. */
#include "editor/route_internal.h"

#include "base/fault.h"
#include "editor/apart.h"
#include "editor/dot.h"
#include "editor/numbers.h"
#include "editor/prompt.h"

#include <assert.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

#define SUBJECTS_TRIED 4 /* a text that names more of them is about none */

/* A route in the making: the candidates, nearest first, and the text that asks. */
struct choice {
	const struct editor_router *router;
	const struct editor__prompt *prompt;
	struct editor__candidate best[EDITOR_CANDIDATES + 1];
	size_t count;               /* of candidates */
	size_t nearest_count;       /* candidates, else some that are none */
	float open;                 /* threshold of edits without a subject */
	uint64_t absent;            /* bit i: the words that stand for candidate i's subject do not stand in the text */
	size_t chosen;              /* `count`: none */
	float relation_score;       /* of the chosen one, or of what came nearest to being chosen */
	size_t refused;             /* the candidate that the relation key alone refused first; `count`: none */
	size_t apart;               /* the first that words and numbers alone told apart; `count`: none */
	float *raw, *key;           /* room for a relation key */
	struct buf words;           /* of the text beside the subject at hand, without common ones */
	struct editor__apart marks; /* what its words and numbers tell */
};

static const float *relation_at(const struct editor_router *router, size_t entry)
{
	return router->relations + entry * router->dims;
}

/* Memory that is read soon: candidates lie far apart. */
static void fetch(const void *from, size_t bytes)
{
	for (size_t i = 0; i < bytes; i += 64)
		__builtin_prefetch((const char *)from + i);
}

static const struct editor__entry *entry_of(const struct choice *c, size_t candidate)
{
	return &c->router->entries[c->best[candidate].entry];
}

static const char *subject_of(const struct choice *c, size_t candidate)
{
	return (const char *)c->router->bytes.data + entry_of(c, candidate)->subject;
}

static struct names names_of(const struct choice *c, size_t candidate)
{
	return editor__router_names(c->router, entry_of(c, candidate));
}

static bool same_subject(const struct choice *c, size_t a, size_t b)
{
	const struct editor__entry *x = entry_of(c, a), *y = entry_of(c, b);
	return a == b || (x->subject_given && y->subject_given && x->subject_len == y->subject_len &&
			  memcmp(subject_of(c, a), subject_of(c, b), x->subject_len) == 0);
}

/* What the prompt score of candidate i must reach. The words that stand for a subject that nobody gave (prompt.h) are
 * only a guess, so a text without some of them may still ask for the edit; but then it must be as near as if there were
 * many edits: with few the open threshold lets questions of the edit's form about anything else through. */
static float prompt_threshold(const struct choice *c, size_t i, bool subject_stands)
{
	const struct editor_calibration *calibration = c->router->calibration;
	const float strict = calibration->thresholds[EDITOR_THRESHOLDS - 1].threshold;
	if (entry_of(c, i)->subject_given)
		return calibration->subject_threshold;
	return subject_stands || strict < c->open ? c->open : strict;
}

_Static_assert(EDITOR_CANDIDATES < 64, "candidates are bits of choice.absent");

static int share_in(const struct editor__query *query, const struct editor__entry *entry, const char *name, size_t len,
		    float *share)
{
	/* names that are only alike are other names, unless people said that this one is the subject */
	return entry->subject_given ? editor__query_share(query, name, len, share)
				    : editor__query_share_spelled(query, name, len, share);
}

/* Whether what the text asks last says this name of the subject of candidate i: one that it only names before is not
 * what it asks about, unless the whole is the edit's own prompt, or nearly. */
static int asks_for(const struct choice *c, size_t i, const char *name, size_t len, bool *asks)
{
	float share = 0;
	*asks = c->prompt->asked.word_count == 0 || len == 0 || c->best[i].score >= EDITOR_OWN_WORDS;
	if (*asks)
		return 0;
	int rc = share_in(&c->prompt->asked, entry_of(c, i), name, len, &share);
	*asks = rc == 0 && share >= EDITOR_SUBJECT_SHARE;
	if (rc == 0 && !*asks) /* a name may hold what ends a sentence: "Tesagure! Bukatsu-mono" */
		rc = editor__query_stands_behind(&c->prompt->query, name, len,
						 c->prompt->text.len - c->prompt->prompt->asked_bytes, asks);
	return rc;
}

/* Whether the text names something else of whose name this one of the subject of candidate i is a part, by a word that
 * neither its own prompt nor another of its names says ("Doctor Emil Skarsgaard", who is called Doctor Skarsgaard). */
static int names_longer(const struct choice *c, size_t i, const char *name, size_t len, bool *longer)
{
	const struct editor__query *query = &c->prompt->query;
	const struct editor__entry *entry = entry_of(c, i);
	const struct names names = names_of(c, i);
	uint8_t beside[EDITOR__QUERY_WORDS_MAX], marks[EDITOR__QUERY_WORDS_MAX];
	bool any = false;
	*longer = false;
	int rc = editor__prompt_longer_name(c->prompt, name, len, beside, &any);
	if (rc == 0 && any)
		rc = editor__names_mark(query, &names, marks);
	if (rc != 0 || !any)
		return rc;
	for (size_t k = 0; k < query->word_count && !*longer; k++) {
		const size_t from = k > 0 ? query->ends[k - 1] : 0;
		*longer = beside[k] && !marks[k] &&
			  editor__words_share((const char *)query->words.data + from, query->ends[k] - from,
					      (const char *)c->router->bytes.data + entry->words,
					      entry->words_len) <= 0;
	}
	return 0;
}

/* Whether the prompt key lets candidate i be a route by this name of its subject. */
static int passes_named(struct choice *c, size_t i, const char *name, size_t len, bool *passes)
{
	const struct editor__entry *entry = entry_of(c, i);
	float share = 0;
	bool asks = false;
	int rc = asks_for(c, i, name, len, &asks);
	if (rc != 0 || !asks)
		return rc;
	rc = share_in(&c->prompt->query, entry, name, len, &share);
	bool longer = false;
	if (rc == 0 && entry->subject_given)
		rc = names_longer(c, i, name, len, &longer);
	const bool stands = len == 0 || (share >= EDITOR_SUBJECT_SHARE && !longer);
	c->absent |= stands ? 0 : UINT64_C(1) << i;
	*passes = entry->subject_given ? stands
				       : c->best[i].score >= prompt_threshold(c, i, stands) &&
						 (!entry->subject_names || share >= EDITOR_NAMES_SHARE);
	return rc;
}

/* The same by any of its names. */
static int passes_prompt(struct choice *c, size_t i, bool *passes)
{
	const struct names names = names_of(c, i);
	const char *name;
	size_t len;
	int rc = 0;
	*passes = false;
	if (c->best[i].score < prompt_threshold(c, i, true))
		return 0;
	for (size_t at = 0; rc == 0 && !*passes && names_next(&names, &at, &name, &len);)
		rc = passes_named(c, i, name, len, passes);
	if (rc != 0 || !*passes)
		return rc;
	bool apart = false;
	rc = editor__apart_from(&c->marks, c->router, entry_of(c, i), &apart);
	*passes = rc == 0 && !apart;
	c->apart = apart && c->apart == c->count ? i : c->apart;
	return rc;
}

/* What the text says beside the words that are marked. */
static int put_words(struct choice *c, const uint8_t *marks)
{
	const struct editor__common_words common = editor__router_common(c->router);
	struct buf all = BUF_INIT;
	int rc = editor__words_unmarked(&c->prompt->query, marks, &all);
	c->words.len = 0;
	if (rc == 0 && all.len > 0)
		rc = editor__words_uncommon((const char *)all.data, all.len, &common, &c->words);
	buf_free(&all);
	return rc;
}

/* Its relation key and words beside the subject of candidate i. */
static int take_relation(struct choice *c, size_t i)
{
	const struct editor_router *router = c->router;
	const struct names names = names_of(c, i);
	uint8_t marks[EDITOR__QUERY_WORDS_MAX];
	int rc = editor__names_mark(&c->prompt->query, &names, marks);
	if (rc == 0)
		rc = editor__prompt_relation(c->prompt, router->calibration->hidden, marks, c->raw);
	if (rc == 0)
		rc = put_words(c, marks);
	if (rc == 0)
		editor_calibration_relation_key(router->calibration, c->raw, c->key);
	return rc;
}

static float relation_between(const struct choice *c, size_t i, const float *key, const char *words, size_t words_len)
{
	const struct editor_router *router = c->router;
	const struct editor__entry *entry = entry_of(c, i);
	const char *own = (const char *)router->bytes.data + entry->words;
	return editor__dot(key, relation_at(router, c->best[i].entry), router->dims) +
	       EDITOR_RELATION_WORDS * editor__words_share(own, entry->words_len, words, words_len);
}

/* Relation score of candidate i with the key and the words at hand. */
static float relation_of(const struct choice *c, size_t i)
{
	return relation_between(c, i, c->key, (const char *)c->words.data, c->words.len);
}

static bool ask_the_same(const struct choice *c, size_t i, size_t k)
{
	const struct editor__entry *entry = entry_of(c, k), *other = entry_of(c, i);
	const struct editor__saying one = editor__router_saying(c->router, entry),
				    another = editor__router_saying(c->router, other);
	const char *words = (const char *)c->router->bytes.data + entry->words;
	return editor__numbers_same((const char *)c->router->bytes.data + other->words, other->words_len, words,
				    entry->words_len) &&
	       !editor__contrasts_apart(&one, &one, &another) &&
	       relation_between(c, i, relation_at(c->router, c->best[k].entry), words, entry->words_len) >=
		       c->router->calibration->relation.threshold;
}

static bool is_own_prompt(const struct choice *c, size_t i)
{
	return c->best[i].score >= EDITOR_OWN_PROMPT;
}

/* Of candidates that ask the same as the best one and are as near, the last word counts. An edit's own prompt is its
 * own. */
static size_t last_word(const struct choice *c, const size_t *alike, const float *scores, size_t count, size_t best)
{
	const float threshold = c->router->calibration->relation.threshold;
	const float least = scores[best] - EDITOR_RELATION_TIE;
	size_t last = best;
	for (size_t i = 0; i < count; i++) {
		if (entry_of(c, alike[i])->seq <= entry_of(c, alike[last])->seq || scores[i] < least ||
		    scores[i] < threshold || is_own_prompt(c, alike[i]) != is_own_prompt(c, alike[best]))
			continue;
		if (ask_the_same(c, alike[i], alike[best]))
			last = i;
	}
	return last;
}

/* Of the candidates on the subject of candidate `first` the one whose relation is nearest to the prompt's. Nearer ones
 * among them may lack the alias that the text says. */
static int nearest_relation(struct choice *c, size_t first, size_t *best, float *score)
{
	const struct editor_router *router = c->router;
	float scores[EDITOR_CANDIDATES];
	size_t alike[EDITOR_CANDIDATES], count = 0, at = 0;
	int rc = 0;
	for (size_t i = entry_of(c, first)->aliases_len > 0 ? 0 : first; i < c->count && rc == 0; i++) {
		bool apart = !same_subject(c, first, i);
		if (!apart && i != first) /* which has been looked at */
			rc = editor__apart_from(&c->marks, router, entry_of(c, i), &apart);
		if (apart)
			continue;
		alike[count++] = i;
		fetch(relation_at(router, c->best[i].entry), router->dims * sizeof(float));
		fetch(router->bytes.data + entry_of(c, i)->words, entry_of(c, i)->words_len);
	}
	if (rc == 0)
		rc = take_relation(c, first);
	if (rc != 0)
		return rc;
	for (size_t i = 0; i < count; i++) {
		scores[i] = relation_of(c, alike[i]);
		at = scores[i] > scores[at] ? i : at;
	}
	at = last_word(c, alike, scores, count, at);
	*best = alike[at];
	*score = scores[at];
	return 0;
}

static int choose(struct choice *c)
{
	size_t tried[SUBJECTS_TRIED], tried_count = 0;
	int rc = 0;
	c->chosen = c->refused = c->apart = c->count;
	for (size_t i = 0; i < c->count && rc == 0 && c->chosen == c->count && tried_count < SUBJECTS_TRIED; i++) {
		bool passes = false, again = false;
		for (size_t t = 0; t < tried_count; t++)
			again = again || same_subject(c, tried[t], i);
		if (!again)
			rc = passes_prompt(c, i, &passes);
		if (rc != 0 || !passes)
			continue;
		size_t best = i;
		float score = 0;
		rc = nearest_relation(c, i, &best, &score);
		tried[tried_count++] = i;
		if (rc == 0 && score >= c->router->calibration->relation.threshold) {
			c->chosen = best;
			c->relation_score = score;
		} else if (rc == 0 && c->refused == c->count) {
			c->refused = best;
			c->relation_score = score;
		}
	}
	return rc;
}

/* An edit is told once, however many forms of it are near. */
static void put_nearest(const struct choice *c, size_t candidate, struct editor_route *out)
{
	const uint64_t seq = entry_of(c, candidate)->seq;
	for (size_t i = 0; i < out->nearest_count; i++) {
		if (out->nearest[i] == seq)
			return;
	}
	out->nearest[out->nearest_count] = seq;
	out->nearest_score[out->nearest_count++] = c->best[candidate].score;
}

static void put_route(struct choice *c, struct editor_route *out)
{
	const struct editor_router *router = c->router;
	const size_t front = c->chosen < c->count    ? c->chosen
			     : c->refused < c->count ? c->refused
			     : c->apart < c->count   ? c->apart
						     : 0;
	const bool given = entry_of(c, front)->subject_given;
	const float needed = prompt_threshold(c, front, (c->absent >> front & 1) == 0);
	const struct editor__candidate first = c->best[front];
	memmove(c->best + 1, c->best, front * sizeof(*c->best));
	c->best[0] = first;
	const struct editor__entry *entry = entry_of(c, 0);
	const bool past_prompt = c->chosen < c->count || c->refused < c->count;
	out->routed = c->chosen < c->count;
	out->memory = entry->memory;
	out->prompt_score = first.score;
	out->told_apart = !past_prompt && c->apart < c->count;
	out->subject_found = (past_prompt || out->told_apart) && entry->subject_given;
	out->prompt_threshold = out->subject_found || !given ? needed : c->open;
	out->relation_score = past_prompt ? c->relation_score : 0;
	out->relation_threshold = router->calibration->relation.threshold;
	if (out->routed)
		out->anchor = (struct editor_anchor){ .ids = router->bytes.data + entry->target_ids,
						      .inputs = router->bytes.data + entry->anchors,
						      .id_count = entry->target_count,
						      .row_count = entry->anchor_count,
						      .scale = editor_anchor_scale(first.score) };
	for (size_t k = 0; k < c->nearest_count && out->nearest_count < EDITOR_NEAREST; k++)
		put_nearest(c, k, out);
}

static int route(struct choice *c, const struct editor_prompt *prompt)
{
	const struct editor_router *router = c->router;
	const size_t hidden = router->calibration->hidden;
	const struct model_segment whole = { .row_count = prompt->id_count };
	editor_route_raw_keys(prompt->prompt_states, &whole, 1, hidden, c->raw);
	editor_calibration_key(router->calibration, c->raw, c->key);
	const float given = router->calibration->subject_threshold, least = given < c->open ? given : c->open;
	int rc = editor__key_index_search(router->keys, c->key, least, c->best, &c->nearest_count);
	for (; c->count < c->nearest_count && c->best[c->count].score >= least; c->count++)
		fetch(entry_of(c, c->count), sizeof(struct editor__entry));
	if (rc == 0)
		rc = editor__apart_init(&c->marks, c->prompt);
	return rc == 0 ? choose(c) : rc;
}

int editor_router_route(const struct editor_router *router, const struct model_tokenizer *tokenizer,
			const struct editor_prompt *prompt, struct editor_route *out, struct err *e)
{
	const size_t hidden = router->calibration->hidden;
	struct editor__prompt text;
	struct choice c = { .router = router, .prompt = &text };
	memset(out, 0, sizeof(*out));
	/* k looks at n edits come near one by chance as often as one look at k·n */
	c.open = out->prompt_threshold = editor_calibration_threshold(
		router->calibration, editor_router_count(router) * (prompt->looks > 1 ? prompt->looks : 1));
	out->relation_threshold = router->calibration->relation.threshold;
	if (router->entry_count == 0)
		return 0;
	c.raw = fault_malloc((2 * hidden + router->dims) * sizeof(*c.raw));
	int rc = editor__prompt_init(&text, tokenizer, prompt);
	if (rc == 0 && c.raw == NULL)
		rc = ERR_NOMEM;
	if (rc == 0) {
		c.key = c.raw + hidden;
		rc = route(&c, prompt);
	}
	if (rc == 0)
		put_route(&c, out);
	editor__prompt_fini(&text);
	buf_free(&c.words);
	editor__apart_fini(&c.marks);
	free(c.raw);
	return rc != 0 ? err_set(e, rc, "route: out of memory") : 0;
}

int editor_route_subject_in(const char *subject, size_t subject_len, const char *text, size_t text_len, bool *found)
{
	struct editor__query query;
	float share = 0;
	int rc = editor__query_init(&query, text, text_len);
	if (rc == 0)
		rc = editor__query_share(&query, subject, subject_len, &share);
	editor__query_fini(&query);
	*found = rc == 0 && share >= EDITOR_SUBJECT_SHARE;
	return rc;
}

void editor_route_raw_keys(const float *states, const struct model_segment *segments, size_t segment_count,
			   size_t hidden, float *raw)
{
	for (size_t s = 0; s < segment_count; s++) {
		const size_t rows = segments[s].row_count, first = rows > 1 ? 1 : 0;
		float *key = raw + s * hidden;
		assert(rows > 0);
		memset(key, 0, hidden * sizeof(*key));
		for (size_t r = first; r < rows; r++) {
#pragma omp simd
			for (size_t k = 0; k < hidden; k++)
				key[k] += states[r * hidden + k];
		}
		for (size_t k = 0; k < hidden; k++)
			key[k] /= (float)(rows - first);
		states += rows * hidden;
	}
}
