/* Statistics and thresholds of a corpus (route.h). The bytes of a calibration are calibration.c's. */
#include "base/fault.h"
#include "base/hash.h"
#include "base/log.h"
#include "base/rng.h"
#include "base/text.h"
#include "editor/corpus.h"
#include "editor/dot.h"
#include "editor/packed.h"
#include "editor/prompt.h"
#include "editor/relation.h"
#include "editor/whiten.h"
#include "editor/words.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define TEXTS_MAX      20000u
#define BATCH_ROWS     512u
#define FOLDS          2u
#define FOLD_TEXTS_MIN 2u /* of each kind in each fold */
#define TRIPLES_MIN    4u /* of a relation head */

struct text {
	struct editor_corpus_line line;
	size_t group, fold;
	bool spare;    /* it has no say in what questions of other groups reach */
	uint64_t form; /* of a question: equal for equal words without the subject's */
	uint64_t subject_hash;
};

/* A fold's query: the scores that edits of other groups reach, largest first. */
struct query {
	float *scores;
	size_t count;
	bool question;
};

struct corpus {
	struct text *texts;
	size_t count, plain_count;          /* in all; without those that are there for the relation head only */
	size_t left_out;                    /* texts longer than the model's context */
	size_t group_count, kind_groups[2]; /* in all; of unrelated texts, of questions */
	struct editor__tokens *tokens;
	float *raw;        /* count × hidden */
	float *relation;   /* count × hidden; of questions */
	struct buf *words; /* count; of questions, beside their subjects: at first all, then without common ones */
	uint8_t *use;
	float *keys;           /* count × hidden; of the fold at hand */
	struct query *queries; /* count */
	float *kept;           /* scores of rephrases with their prompts */
	size_t kept_count;
	struct editor__triple *triples; /* groups with a prompt and a rephrase */
	size_t triple_count;
};

static bool is_question(const struct text *text)
{
	return text->line.kind != EDITOR_UNRELATED;
}

/* ---- Reading */

static bool same_group(const struct text *a, const struct text *b)
{
	const struct record_text *x = &a->line.group, *y = &b->line.group;
	return x->len == y->len && memcmp(x->text, y->text, x->len) == 0;
}

/* Questions of one group (of one source: its texts begin at `first`) share a number and a fold; an unrelated text is a
 * group of its own. Folds take turns in each kind. */
static void number_group(struct corpus *c, size_t first, size_t at)
{
	for (size_t i = at; i > first && is_question(&c->texts[at]); i--) {
		if (same_group(&c->texts[i - 1], &c->texts[at])) {
			c->texts[at].group = c->texts[i - 1].group;
			c->texts[at].fold = c->texts[i - 1].fold;
			return;
		}
	}
	c->texts[at].group = c->group_count++;
	c->texts[at].fold = c->kind_groups[is_question(&c->texts[at]) ? 1 : 0]++ % FOLDS;
}

/* What the model cannot read, no query of it can ask. */
static int take_line(struct corpus *c, const struct model *model, const struct editor_corpus_line *line, size_t first,
		     struct err *e)
{
	int rc = editor__tokens_of(model, line->text.text, line->text.len, &c->tokens[c->count], e);
	if (rc == ERR_LIMIT) {
		c->left_out++;
		err_clear(e);
		return 0;
	}
	if (rc != 0)
		return rc;
	c->texts[c->count].line = *line;
	number_group(c, first, c->count++);
	return 0;
}

static int read_lines(struct corpus *c, const struct model *model, const char *what, const char *bytes, size_t len,
		      struct err *e)
{
	const size_t first = c->count;
	struct editor_corpus_line line;
	struct editor_corpus lines;
	int rc;
	editor_corpus_init(&lines, what, bytes, len);
	while ((rc = editor_corpus_next(&lines, &line, e)) == 0) {
		rc = take_line(c, model, &line, first, e);
		if (rc == 0)
			continue;
		err_wrap(e, "%s: line %zu", what, lines.line_no);
		return rc;
	}
	return rc == ERR_NOT_FOUND ? 0 : rc;
}

static int read_texts(struct corpus *c, const struct model *model, const struct editor_calibration_data *data,
		      struct err *e)
{
	const size_t lines = editor_corpus_lines(data->corpus, data->corpus_len) +
			     editor_corpus_lines(data->groups, data->groups_len);
	if (lines > TEXTS_MAX)
		return err_set(e, ERR_LIMIT, "calibration corpus: %zu lines, at most %u", lines, TEXTS_MAX);
	c->texts = fault_calloc(lines, sizeof(*c->texts));
	c->tokens = fault_calloc(lines, sizeof(*c->tokens));
	if (c->texts == NULL || c->tokens == NULL)
		return err_set(e, ERR_NOMEM, "calibration corpus: out of memory");
	int rc = read_lines(c, model, "calibration corpus", data->corpus, data->corpus_len, e);
	c->plain_count = c->count;
	if (rc == 0)
		rc = read_lines(c, model, "groups of the relation head", data->groups, data->groups_len, e);
	return rc;
}

static int check_folds(const struct corpus *c, size_t context, struct err *e)
{
	char left_out[160] = "";
	if (c->left_out > 0)
		snprintf(left_out, sizeof(left_out),
			 "; longer than the model's context of %zu tokens: %zu more; give --corpus FILE with "
			 "shorter texts",
			 context, c->left_out);
	size_t counts[FOLDS][2] = { { 0 } };
	for (size_t i = 0; i < c->plain_count; i++)
		counts[c->texts[i].fold][is_question(&c->texts[i]) ? 1 : 0]++;
	for (size_t f = 0; f < FOLDS; f++) {
		if (counts[f][0] < FOLD_TEXTS_MIN || counts[f][1] < FOLD_TEXTS_MIN)
			return err_set(e, ERR_INVALID,
				       "calibration corpus: %zu texts are too few: half of them holds %zu unrelated "
				       "ones and %zu questions, at least %u of each are needed%s",
				       c->plain_count, counts[f][0], counts[f][1], FOLD_TEXTS_MIN, left_out);
	}
	return 0;
}

/* ---- Keys */

struct keys {
	struct corpus *corpus;
	const struct model_tokenizer *tokenizer;
	size_t hidden;
};

static int keep_keys(void *context, size_t at, const struct editor_prompt *prompt)
{
	struct keys *keys = context;
	struct text *text = &keys->corpus->texts[at];
	const struct model_segment whole = { .row_count = prompt->id_count };
	uint8_t marks[EDITOR__QUERY_WORDS_MAX];
	struct editor__prompt p;
	struct buf subject = BUF_INIT;
	editor_route_raw_keys(prompt->prompt_states, &whole, 1, keys->hidden, keys->corpus->raw + at * keys->hidden);
	if (!is_question(text))
		return 0;
	int rc = editor__prompt_init(&p, keys->tokenizer, prompt);
	if (rc == 0)
		rc = text_fold(text->line.subject.text, text->line.subject.len, &subject);
	if (rc == 0)
		rc = editor__query_mark(&p.query, buf_cstr(&subject), subject.len, marks);
	if (rc == 0)
		rc = editor__prompt_relation(&p, keys->hidden, marks, keys->corpus->relation + at * keys->hidden);
	if (rc == 0)
		rc = editor__words_unmarked(&p.query, marks, &keys->corpus->words[at]);
	if (rc == 0) {
		text->form = hash_short(HASH_SHORT_INIT, keys->corpus->words[at].data, keys->corpus->words[at].len);
		text->subject_hash = hash_short(HASH_SHORT_INIT, subject.data, subject.len);
	}
	editor__prompt_fini(&p);
	buf_free(&subject);
	return rc;
}

static int corpus_alloc(struct corpus *c, size_t hidden, struct err *e)
{
	c->raw = fault_calloc(c->count * hidden, sizeof(*c->raw));
	c->relation = fault_calloc(c->count * hidden, sizeof(*c->relation));
	c->keys = fault_calloc(c->count * hidden, sizeof(*c->keys));
	c->words = fault_calloc(c->count, sizeof(*c->words));
	c->use = fault_calloc(c->count, sizeof(*c->use));
	c->queries = fault_calloc(c->count, sizeof(*c->queries));
	c->kept = fault_calloc(c->count, sizeof(*c->kept));
	c->triples = fault_calloc(c->count, sizeof(*c->triples));
	if (c->raw == NULL || c->relation == NULL || c->keys == NULL || c->words == NULL || c->use == NULL ||
	    c->queries == NULL || c->kept == NULL || c->triples == NULL)
		return err_set(e, ERR_NOMEM, "calibration of %zu texts: out of memory", c->count);
	return 0;
}

static int read_keys(struct corpus *c, struct model *model, const struct editor_config *config,
		     struct editor__packer *packer, const struct editor_watch *watch, struct err *e)
{
	const struct editor_key_layers layers = { .prompt = config->prompt_layer, .relation = config->relation_layer };
	struct keys keys = { c, model_tokenizer_of(model), model_shape_of(model)->hidden };
	int rc = corpus_alloc(c, keys.hidden, e);
	return rc == 0 ? editor__packer_prompts(packer, layers, c->tokens, c->count, keep_keys, &keys, watch,
						"calibrate", e)
		       : rc;
}

/* ---- The relation head, and its threshold */

/* Words that stand in many questions are left out of all. */
static int drop_common_words(struct corpus *c, struct editor_calibration *out, struct err *e)
{
	struct buf *questions = fault_calloc(c->count, sizeof(*questions));
	size_t count = 0;
	int rc = questions == NULL ? ERR_NOMEM : 0;
	for (size_t i = 0; i < c->count && rc == 0; i++) {
		if (is_question(&c->texts[i]))
			questions[count++] = c->words[i]; /* borrowed */
	}
	if (rc == 0)
		rc = editor__words_common(questions, count, EDITOR_COMMON_SHARE, EDITOR_COMMON_MAX,
					  &out->relation.common, &out->relation.common_count);
	free(questions);
	const struct editor__common_words common = { out->relation.common, out->relation.common_count };
	for (size_t i = 0; i < c->count && rc == 0; i++) {
		struct buf distinct = BUF_INIT;
		rc = editor__words_uncommon((const char *)c->words[i].data, c->words[i].len, &common, &distinct);
		buf_free(&c->words[i]);
		c->words[i] = distinct;
	}
	return rc != 0 ? err_set(e, rc, "calibration: out of memory") : 0;
}

static float share_of_words(const struct corpus *c, const struct text *prompt, const struct text *asked)
{
	const struct buf *a = &c->words[prompt - c->texts], *b = &c->words[asked - c->texts];
	return editor__words_share((const char *)a->data, a->len, (const char *)b->data, b->len);
}

/* A group's first prompt, rephrase and other question, of the texts from `first` on: `other`, else `near`. */
static void collect_triples(struct corpus *c, size_t first, size_t hidden)
{
	for (size_t at = first, end; at < c->count; at = end) {
		const struct text *of_kind[EDITOR_CORPUS_KINDS] = { NULL };
		for (end = at; end < c->count && c->texts[end].group == c->texts[at].group; end++) {
			if (of_kind[c->texts[end].line.kind] == NULL)
				of_kind[c->texts[end].line.kind] = &c->texts[end];
		}
		const struct text *prompt = of_kind[EDITOR_PROMPT], *rephrase = of_kind[EDITOR_REPHRASE],
				  *near = of_kind[EDITOR_NEAR],
				  *other = of_kind[EDITOR_OTHER] != NULL ? of_kind[EDITOR_OTHER] : near;
		if (prompt == NULL || rephrase == NULL)
			continue;
		c->triples[c->triple_count++] = (struct editor__triple){
			.prompt = c->relation + (size_t)(prompt - c->texts) * hidden,
			.rephrase = c->relation + (size_t)(rephrase - c->texts) * hidden,
			.other = other != NULL ? c->relation + (size_t)(other - c->texts) * hidden : NULL,
			.other_is_near = other != NULL && other == near,
			.form = prompt->form,
			.rephrase_form = rephrase->form,
			.other_form = other != NULL ? other->form : 0,
			.subject = prompt->subject_hash,
			.rephrase_words = share_of_words(c, prompt, rephrase),
			.other_words = other != NULL ? share_of_words(c, prompt, other) : 0,
		};
	}
}

static int larger_first(const void *a, const void *b)
{
	const float x = *(const float *)a, y = *(const float *)b;
	return (x < y) - (x > y);
}

/* Without groups to fit it on, every relation is let through. */
static int fit_relation(struct corpus *c, struct model_backend *backend, const struct editor_config *config,
			bool groups_alone, struct editor_calibration *out, struct editor_relation_report *report,
			struct err *e)
{
	const size_t hidden = out->hidden;
	out->relation.layer = config->relation_layer;
	out->relation.threshold = -1;
	int rc = drop_common_words(c, out, e);
	if (rc != 0)
		return rc;
	collect_triples(c, groups_alone ? c->plain_count : 0, hidden);
	report->groups = c->triple_count;
	if (c->triple_count < TRIPLES_MIN) {
		for (size_t k = 0; k < hidden; k++)
			out->relation.deviation[k] = 1;
		return c->count == c->plain_count
			       ? 0
			       : err_set(e, ERR_INVALID,
					 "%zu groups with a prompt and a rephrase are too few for a relation head: at "
					 "least %u are needed",
					 c->triple_count, TRIPLES_MIN);
	}
	rc = editor__relation_test(hidden, config, backend, c->triples, c->triple_count, report,
				   &out->relation.threshold, e);
	return rc == 0 ? editor__relation_fit(out, backend, c->triples, c->triple_count, config->relation_steps,
					      config->seed, e)
		       : rc;
}

/* ---- Scores of one half with the other half's statistics */

static float cosine(const struct corpus *c, size_t a, size_t b, size_t dims)
{
	return editor__dot(c->keys + a * dims, c->keys + b * dims, dims);
}

/* Hand-written groups (those with a question of kind `near`) are on invented subjects, less alike than what people
 * edit, and many of them would let more of the questions of other groups through: in each fold at most as many as there
 * are others have a say in that, evenly drawn. */
static int mark_spare(struct corpus *c, struct err *e)
{
	enum { UNRELATED, ASKED, NEAR, COUNTED, SPARE, KINDS };
	size_t counts[KINDS] = { 0 }, seen[FOLDS] = { 0 };
	uint8_t *kinds = fault_calloc(c->group_count + 1, sizeof(*kinds));
	if (kinds == NULL)
		return err_set(e, ERR_NOMEM, "calibration: out of memory");
	for (size_t i = 0; i < c->plain_count; i++) {
		uint8_t *kind = &kinds[c->texts[i].group];
		if (is_question(&c->texts[i]) && *kind != NEAR)
			*kind = c->texts[i].line.kind == EDITOR_NEAR ? NEAR : ASKED;
	}
	for (size_t g = 0; g < c->group_count; g++)
		counts[kinds[g]]++;
	const size_t stride = counts[ASKED] > 0 ? (counts[NEAR] + counts[ASKED] - 1) / counts[ASKED] : 1;
	for (size_t i = 0; i < c->plain_count; i++) {
		struct text *text = &c->texts[i];
		if (kinds[text->group] == NEAR)
			kinds[text->group] = seen[text->fold]++ % stride == 0 ? COUNTED : SPARE;
		text->spare = kinds[text->group] == SPARE;
	}
	free(kinds);
	return 0;
}

/* `edits`: the texts of the fold that could be edits. */
static int score_query(struct corpus *c, size_t at, const size_t *edits, size_t edit_count, size_t dims, struct err *e)
{
	struct query *query = &c->queries[at];
	query->question = is_question(&c->texts[at]);
	if (c->texts[at].spare)
		return 0;
	query->scores = fault_malloc(edit_count * sizeof(*query->scores));
	if (query->scores == NULL)
		return err_set(e, ERR_NOMEM, "calibration: out of memory");
	for (size_t i = 0; i < edit_count; i++) {
		if (c->texts[edits[i]].group != c->texts[at].group)
			query->scores[query->count++] = cosine(c, at, edits[i], dims);
	}
	qsort(query->scores, query->count, sizeof(*query->scores), larger_first);
	return 0;
}

static int score_fold(struct corpus *c, size_t fold, size_t hidden, const struct editor_config *config, struct err *e)
{
	const size_t dims = config->prompt_dims;
	struct editor_calibration *other = NULL;
	size_t prompt = SIZE_MAX, edit_count = 0, *edits = fault_malloc(c->plain_count * sizeof(*edits));
	int rc = edits == NULL ? err_set(e, ERR_NOMEM, "calibration: out of memory") : 0;
	for (size_t i = 0; i < c->plain_count && rc == 0; i++) {
		c->use[i] = c->texts[i].fold != fold;
		if (!c->use[i] && is_question(&c->texts[i]) && !c->texts[i].spare)
			edits[edit_count++] = i;
	}
	if (rc == 0)
		rc = editor__calibration_new(hidden, dims, 0, &other, e);
	if (rc == 0)
		rc = editor__whiten_fit(other, c->raw, c->use, c->plain_count, config->ridge, e);
	for (size_t i = 0; i < c->plain_count && rc == 0; i++) {
		if (!c->use[i])
			editor_calibration_key(other, c->raw + i * hidden, c->keys + i * dims);
	}
	for (size_t i = 0; i < c->plain_count && rc == 0; i++) {
		if (c->use[i])
			continue;
		rc = score_query(c, i, edits, edit_count, dims, e);
		if (c->texts[i].line.kind == EDITOR_PROMPT)
			prompt = i;
		if (c->texts[i].line.kind == EDITOR_REPHRASE && prompt < i &&
		    c->texts[prompt].group == c->texts[i].group)
			c->kept[c->kept_count++] = cosine(c, i, prompt, dims);
	}
	editor_calibration_destroy(&other);
	free(edits);
	return rc;
}

/* ---- Thresholds */

/* Expected share of the queries of a kind that reach `threshold` with one of `edit_count` edits drawn from those
 * scored. */
static double false_share(const struct corpus *c, bool question, double edit_count, float threshold)
{
	double sum = 0;
	size_t n = 0;
	for (size_t i = 0; i < c->plain_count; i++) {
		const struct query *query = &c->queries[i];
		size_t low = 0, high = query->count;
		if (query->question != question || query->count == 0)
			continue;
		while (low < high) {
			const size_t middle = low + (high - low) / 2;
			if (query->scores[middle] >= threshold)
				low = middle + 1;
			else
				high = middle;
		}
		n++;
		sum += 1 - pow(1 - (double)low / (double)query->count, edit_count);
	}
	return n > 0 ? sum / (double)n : 0;
}

static float least_threshold(const struct corpus *c, bool question, double edit_count, double share_max)
{
	float low = -1, high = 1;
	for (int step = 0; step < 20; step++) {
		const float middle = (low + high) / 2;
		if (false_share(c, question, edit_count, middle) <= share_max)
			high = middle;
		else
			low = middle;
	}
	return high;
}

static void fit_thresholds(struct corpus *c, const struct editor_config *config, struct editor_calibration *out)
{
	static const uint32_t edit_counts[EDITOR_THRESHOLDS] = { 1, 4, 16, 50, 100, 200, 400, 600 };
	for (size_t i = 0; i < EDITOR_THRESHOLDS; i++) {
		const float unrelated = least_threshold(c, false, edit_counts[i], (double)config->false_route_share);
		const float same_form = least_threshold(c, true, edit_counts[i], EDITOR_SAME_FORM_SHARE);
		out->thresholds[i].edit_count = edit_counts[i];
		out->thresholds[i].threshold = unrelated > same_form ? unrelated : same_form;
	}
	out->subject_threshold = out->thresholds[0].threshold;
	if (c->kept_count == 0)
		return;
	qsort(c->kept, c->kept_count, sizeof(*c->kept), larger_first);
	const size_t at = (size_t)(EDITOR_KEPT_SHARE * (double)(c->kept_count - 1) + 0.5);
	/* where text stands in for the key the key may be the looser one, never the stricter */
	if (c->kept[at] < out->thresholds[EDITOR_THRESHOLDS - 1].threshold)
		out->subject_threshold = c->kept[at];
}

static void corpus_free(struct corpus *c)
{
	if (c->tokens != NULL)
		editor__tokens_free(c->tokens, c->count);
	for (size_t i = 0; c->queries != NULL && i < c->count; i++)
		free(c->queries[i].scores);
	for (size_t i = 0; c->words != NULL && i < c->count; i++)
		buf_free(&c->words[i]);
	free(c->words);
	free(c->texts);
	free(c->tokens);
	free(c->triples);
	free(c->relation);
	free(c->raw);
	free(c->use);
	free(c->keys);
	free(c->queries);
	free(c->kept);
}

static void count_texts(const struct corpus *c, struct editor_calibration_report *report)
{
	size_t counts[EDITOR_CORPUS_KINDS] = { 0 };
	for (size_t i = 0; i < c->plain_count; i++)
		counts[c->texts[i].line.kind]++;
	report->prompts = counts[EDITOR_PROMPT];
	report->rephrases = counts[EDITOR_REPHRASE];
	report->others = counts[EDITOR_OTHER] + counts[EDITOR_NEAR];
	report->unrelated = counts[EDITOR_UNRELATED];
	report->left_out = c->left_out;
}

int editor_calibrate_data(struct model *model, const struct editor_config *config,
			  const struct editor_calibration_data *data, const struct editor_watch *watch,
			  struct editor_calibration **out, struct editor_calibration_report *report, struct err *e)
{
	const size_t hidden = model_shape_of(model)->hidden;
	struct corpus corpus = { 0 };
	struct editor_calibration *c = NULL;
	struct editor__packer *packer = NULL;
	*report = (struct editor_calibration_report){ 0 };
	int rc = read_texts(&corpus, model, data, e);
	if (rc == 0)
		rc = check_folds(&corpus, model_shape_of(model)->context, e);
	if (rc == 0)
		rc = editor__packer_new(model, BATCH_ROWS, &packer, e);
	if (rc == 0)
		rc = read_keys(&corpus, model, config, packer, watch, e);
	if (rc == 0)
		rc = mark_spare(&corpus, e);
	for (size_t f = 0; f < FOLDS && rc == 0; f++)
		rc = score_fold(&corpus, f, hidden, config, e);
	if (rc == 0)
		rc = editor__calibration_new(hidden, config->prompt_dims, config->relation_dims, &c, e);
	if (rc == 0)
		rc = fit_relation(&corpus, editor__packer_backend(packer), config, data->groups_alone, c,
				  &report->relation, e);
	if (rc == 0) {
		memset(corpus.use, 1, corpus.plain_count);
		rc = editor__whiten_fit(c, corpus.raw, corpus.use, corpus.plain_count, config->ridge, e);
	}
	if (rc == 0) {
		c->prompt_layer = config->prompt_layer;
		c->base_model = *model_digest(model);
		hash_of(data->corpus, data->corpus_len, &c->corpus);
		fit_thresholds(&corpus, config, c);
		count_texts(&corpus, report);
		rc = editor__calibration_shorten(c, e);
	}
	if (rc == 0) {
		*out = c;
	} else {
		editor_calibration_destroy(&c);
	}
	editor__packer_destroy(&packer);
	corpus_free(&corpus);
	return rc;
}

int editor_calibrate(struct model *model, const struct editor_config *config, const char *corpus_text,
		     size_t corpus_len, const struct editor_watch *watch, struct editor_calibration **out,
		     struct err *e)
{
	const struct editor_calibration_data data = { .corpus = corpus_text, .corpus_len = corpus_len };
	struct editor_calibration_report report;
	int rc = editor_calibrate_data(model, config, &data, watch, out, &report, e);
	if (rc == 0 && report.left_out > 0)
		log_event(LOG_WARN, "CALIBRATE-TEXTS-LEFT-OUT", LOGF_U("texts", report.left_out),
			  LOGF_U("context", model_shape_of(model)->context));
	return rc;
}
