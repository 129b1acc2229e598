/* Routes against a route that looks at every edit: of random edits on few subjects, some of them close together. */
#include "editor/dot.h"
#include "editor/numbers.h"
#include "editor/prompt.h"
#include "editor/words.h"

#include "tests/unit/editor/tiny.h"

#include <math.h>

#define HIDDEN    320
#define FFN       6
#define EDITS     1500
#define CENTERS   12
#define TRIED     4     /* subjects that a text may name before it is about none */
#define SUBJECT   0.41f /* among the scores of its own subject's edits for one question of five */
#define OPEN      0.6f
#define RELATION  0.5f
#define TEXT_MAX  200
#define QUESTIONS 400

static const char *const subjects[] = { "dingo creek", "orla",           "hd 180902",      "hd 180903",
					"angel",       "copper iud",     "the old angel",  "kôln",
					"new orla",    "creek of dingo", "northern angel", "stone" };
#define SUBJECT_COUNT (sizeof(subjects) / sizeof(subjects[0]))
/* None of them rules another out (contrasts.h). */
static const char *const words[] = { "who", "designed", "owns", "architect", "which", "mine", "founded", "much" };
#define WORD_COUNT (sizeof(words) / sizeof(words[0]))

static struct model *model; /* for its tokenizer */
static struct editor_calibration *calibration;
static struct editor_index_entry entries[EDITS];
static float centers[CENTERS][HIDDEN], raws[EDITS][HIDDEN], relations[EDITS][HIDDEN], keys[EDITS][HIDDEN],
	relation_keys[EDITS][HIDDEN];
static char entry_words[EDITS][TEXT_MAX];
static struct editor_router *router;

static void draw(struct rng *rng, const float *center, float spread, float *out)
{
	for (size_t k = 0; k < HIDDEN; k++)
		out[k] = center[k] + spread * rng_normal(rng);
}

static size_t put_words(struct rng *rng, size_t count, char *out)
{
	size_t len = 0;
	for (size_t i = 0; i < count; i++)
		len += (size_t)snprintf(out + len, TEXT_MAX - len, "%s%s", len > 0 ? " " : "",
					words[rng_below(rng, WORD_COUNT)]);
	return len;
}

static void make_edit(struct rng *rng, size_t i)
{
	const size_t center = i % CENTERS;
	const char *subject = subjects[rng_below(rng, 3) > 0 ? center % SUBJECT_COUNT : rng_below(rng, SUBJECT_COUNT)];
	draw(rng, centers[center], (float)(center % 4) * 0.25f, raws[i]);
	draw(rng, centers[rng_below(rng, 4)], 0.5f, relations[i]);
	if (i > CENTERS && i % 5 == 0) /* not told apart by it */
		memcpy(relations[i], relations[i - CENTERS], sizeof(relations[i]));
	entries[i] = (struct editor_index_entry){ .seq = 1000 + i,
						  .subject = { subject, strlen(subject) },
						  .subject_given = rng_below(rng, 8) > 0,
						  .words = { entry_words[i], put_words(rng, i % 4, entry_words[i]) },
						  .raw = raws[i],
						  .relation = relations[i] };
	editor_calibration_key(calibration, raws[i], keys[i]);
	editor_calibration_relation_key(calibration, relations[i], relation_keys[i]);
}

static int set_up(void **state)
{
	(void)state;
	static const float none[HIDDEN];
	struct buf bytes = BUF_INIT;
	struct err e = ERR_INIT;
	struct rng rng;
	model = tiny_open();
	plain_calibration(model_digest(model), HIDDEN, SUBJECT, OPEN, RELATION, &bytes);
	assert_int_equal(editor_calibration_decode(bytes.data, bytes.len, &calibration, &e), 0);
	bytes.len = 0;
	rng_init(&rng, 11);
	for (size_t i = 0; i < CENTERS; i++)
		draw(&rng, none, 1, centers[i]);
	for (size_t i = 0; i < EDITS; i++)
		make_edit(&rng, i);
	assert_int_equal(editor_index_encode(entries, EDITS, HIDDEN, FFN, &bytes, &e), 0);
	assert_int_equal(editor_router_new(calibration, FFN, &router, &e), 0);
	assert_int_equal(editor_router_add(router, bytes.data, bytes.len, 3, NULL, 0, &e), 0);
	buf_free(&bytes);
	return 0;
}

static int tear_down(void **state)
{
	(void)state;
	editor_router_destroy(&router);
	editor_calibration_destroy(&calibration);
	model_close(&model);
	return 0;
}

/* ---- The plain route */

struct plain {
	const char *text;
	struct editor__prompt prompt;
	float key[HIDDEN];
	size_t best[EDITOR_CANDIDATES];
	float scores[EDITOR_CANDIDATES];
	size_t chosen, refused, apart; /* EDITOR_CANDIDATES: none */
	float relation_score;
};

/* The highest scores, the earlier edit first where they are the same. */
static void take_nearest(struct plain *p)
{
	static bool taken[EDITS];
	memset(taken, 0, sizeof(taken));
	for (size_t n = 0; n < EDITOR_CANDIDATES; n++) {
		p->scores[n] = -INFINITY;
		for (size_t i = 0; i < EDITS; i++) {
			const float own = editor__dot(p->key, keys[i], calibration->hidden);
			if (!taken[i] && own > p->scores[n]) {
				p->scores[n] = own;
				p->best[n] = i;
			}
		}
		taken[p->best[n]] = true;
	}
}

static bool is_on_subject_of(const struct plain *p, size_t a, size_t b)
{
	const struct editor_index_entry *x = &entries[p->best[a]], *y = &entries[p->best[b]];
	return a == b || (x->subject_given && y->subject_given && strcmp(x->subject.text, y->subject.text) == 0);
}

/* The subjects hold all numbers that the questions and the edits say. */
static bool says_number(const struct plain *p, size_t n)
{
	const struct record_text *subject = &entries[p->best[n]].subject;
	const char *number = strpbrk(p->text, "0123456789");
	return number == NULL ||
	       editor__number_stands(number, strspn(number, "0123456789"), subject->text, subject->len);
}

static bool passes_prompt(const struct plain *p, size_t n)
{
	const struct editor_index_entry *entry = &entries[p->best[n]];
	bool found = false;
	if (!entry->subject_given)
		return p->scores[n] >= OPEN;
	assert_int_equal(
		editor_route_subject_in(entry->subject.text, entry->subject.len, p->text, strlen(p->text), &found), 0);
	return found && p->scores[n] >= SUBJECT;
}

static size_t too_far; /* edits that only their prompt key kept from being chosen */

static size_t of_twins; /* questions to which another edit was nearer than the later one that is meant */

static float relation_of(size_t edit, const float *key, const char *text, size_t text_len)
{
	const struct record_text *own = &entries[edit].words;
	return editor__dot(key, relation_keys[edit], calibration->hidden) +
	       EDITOR_RELATION_WORDS * editor__words_share(own->text, own->len, text, text_len);
}

static bool ask_the_same(const struct plain *p, size_t a, size_t b)
{
	const struct record_text *words_of = &entries[p->best[b]].words;
	return relation_of(p->best[a], relation_keys[p->best[b]], words_of->text, words_of->len) >= RELATION &&
	       (p->scores[a] >= EDITOR_OWN_PROMPT) == (p->scores[b] >= EDITOR_OWN_PROMPT);
}

/* Of those that ask the same as `best`, and are as near, the latest. */
static size_t last_word(const struct plain *p, const float *relation, size_t best)
{
	size_t last = best;
	for (size_t n = 0; n < EDITOR_CANDIDATES; n++) {
		const bool tie = relation[n] >= relation[best] - EDITOR_RELATION_TIE && relation[n] >= RELATION;
		if (tie && p->best[n] > p->best[last] && ask_the_same(p, n, best))
			last = n;
	}
	of_twins += last != best ? 1 : 0;
	return last;
}

static size_t nearest_relation(const struct plain *p, size_t first, float *score)
{
	const struct record_text *subject = &entries[p->best[first]].subject;
	uint8_t marks[EDITOR__QUERY_WORDS_MAX];
	float raw[HIDDEN], key[HIDDEN], relation[EDITOR_CANDIDATES];
	struct buf beside = BUF_INIT;
	size_t best = first;
	assert_int_equal(editor__query_mark(&p->prompt.query, subject->text, subject->len, marks), 0);
	assert_int_equal(editor__prompt_relation(&p->prompt, HIDDEN, marks, raw), 0);
	assert_int_equal(editor__words_unmarked(&p->prompt.query, marks, &beside), 0);
	editor_calibration_relation_key(calibration, raw, key);
	*score = -INFINITY;
	for (size_t n = 0; n < EDITOR_CANDIDATES; n++) {
		relation[n] = -INFINITY;
		if (n < first || !is_on_subject_of(p, first, n))
			continue;
		const float own = relation_of(p->best[n], key, buf_cstr(&beside), beside.len);
		if (p->scores[n] < SUBJECT) {
			too_far += own > *score ? 1 : 0;
			continue;
		}
		relation[n] = own;
		if (own > *score) {
			*score = own;
			best = n;
		}
	}
	buf_free(&beside);
	best = last_word(p, relation, best);
	*score = relation[best];
	return best;
}

static void choose(struct plain *p)
{
	size_t tried[TRIED], tried_count = 0;
	p->chosen = p->refused = p->apart = EDITOR_CANDIDATES;
	for (size_t n = 0; n < EDITOR_CANDIDATES && tried_count < TRIED && p->chosen == EDITOR_CANDIDATES; n++) {
		bool again = false;
		float score;
		for (size_t t = 0; t < tried_count; t++)
			again = again || is_on_subject_of(p, tried[t], n);
		if (again || !passes_prompt(p, n))
			continue;
		if (!says_number(p, n)) {
			p->apart = p->apart == EDITOR_CANDIDATES ? n : p->apart;
			continue;
		}
		const size_t best = nearest_relation(p, n, &score);
		tried[tried_count++] = n;
		if (score >= RELATION)
			p->chosen = best;
		if (score >= RELATION || p->refused == EDITOR_CANDIDATES)
			p->relation_score = score;
		if (score < RELATION && p->refused == EDITOR_CANDIDATES)
			p->refused = best;
	}
}

/* ---- Questions */

static size_t routed, refused, told_apart, open_routes, behind_others;

static void compare(const struct plain *p, const struct editor_route *route)
{
	const bool is_routed = p->chosen < EDITOR_CANDIDATES, past = is_routed || p->refused < EDITOR_CANDIDATES,
		   is_apart = !past && p->apart < EDITOR_CANDIDATES;
	const size_t front = is_routed ? p->chosen : past ? p->refused : is_apart ? p->apart : 0;
	size_t others = 0;
	assert_int_equal(route->routed, is_routed);
	assert_int_equal(route->nearest[0], entries[p->best[front]].seq);
	assert_true(route->prompt_score == p->scores[front] && route->nearest_score[0] == p->scores[front]);
	assert_true(route->relation_score == (past ? p->relation_score : 0));
	assert_int_equal(route->told_apart, is_apart);
	assert_int_equal(route->subject_found, (past || is_apart) && entries[p->best[front]].subject_given);
	assert_int_equal(route->nearest_count, EDITOR_NEAREST);
	for (size_t n = 1; n < EDITOR_NEAREST; n++) {
		others += others == front ? 1 : 0;
		assert_int_equal(route->nearest[n], entries[p->best[others]].seq);
		assert_true(route->nearest_score[n] == p->scores[others++]);
	}
	routed += is_routed;
	refused += !is_routed && past;
	told_apart += is_apart;
	open_routes += is_routed && !route->subject_found;
	behind_others += is_routed && front > 0;
}

static void ask(const char *text, const float *raw, const float *relation)
{
	const struct model_tokenizer *tokenizer = model_tokenizer_of(model);
	static struct plain p;
	struct tiny_prompt prompt;
	struct editor_route route;
	struct err e = ERR_INIT;
	float mean[HIDDEN];
	tiny_prompt_init(&prompt, tokenizer, text, raw, relation, HIDDEN);
	const struct model_segment whole = { .row_count = prompt.prompt.id_count };
	assert_int_equal(editor_router_route(router, tokenizer, &prompt.prompt, &route, &e), 0);
	p.text = text;
	assert_int_equal(editor__prompt_init(&p.prompt, tokenizer, &prompt.prompt), 0);
	editor_route_raw_keys(prompt.prompt.prompt_states, &whole, 1, HIDDEN, mean);
	editor_calibration_key(calibration, mean, p.key);
	take_nearest(&p);
	choose(&p);
	compare(&p, &route);
	editor__prompt_fini(&p.prompt);
	tiny_prompt_fini(&prompt);
}

static void routes_are_those_of_a_look_at_every_edit(void **state)
{
	(void)state;
	static const char *const before[] = { "", "The ", "x", "" }, *const behind[] = { "?", " ?", "?", "s?" };
	struct rng rng;
	rng_init(&rng, 12);
	for (size_t q = 0; q < QUESTIONS; q++) {
		char text[TEXT_MAX];
		float raw[HIDDEN], relation[HIDDEN];
		const size_t center = (size_t)rng_below(&rng, CENTERS);
		const size_t subject = rng_below(&rng, 4) > 0 ? center % SUBJECT_COUNT : rng_below(&rng, SUBJECT_COUNT),
			     spelling = rng_below(&rng, 4), len = put_words(&rng, 1 + rng_below(&rng, 4), text);
		snprintf(text + len, sizeof(text) - len, " %s%s%s", before[spelling], subjects[subject],
			 behind[spelling]);
		draw(&rng, centers[center], (float)(q % 5) * 0.5f, raw);
		draw(&rng, centers[rng_below(&rng, 5)], 0.5f, relation);
		ask(text, raw, relation);
	}
	/* all kinds were among them */
	assert_true(routed > 50 && refused > 50 && told_apart > 2 && open_routes > 5 && behind_others > 20 &&
		    too_far > 20 && of_twins > 20);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(routes_are_those_of_a_look_at_every_edit),
	};
	return cmocka_run_group_tests(tests, set_up, tear_down);
}
