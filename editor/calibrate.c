/* Statistics and thresholds of a corpus (route.h). The bytes of a calibration are calibration.c's. */
#include "base/fault.h"
#include "editor/packed.h"
#include "editor/whiten.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

#define TEXTS_MAX      20000u
#define LINE_BYTES_MAX 8192u
#define BATCH_ROWS     512u
#define FOLDS          2u
#define FOLD_TEXTS_MIN 2u /* of each kind in each fold */

struct text {
	const char *line, *text;
	size_t group_len, text_len; /* "<kind>\t<group>" begins `line` */
	size_t group, fold;
	bool question;
};

/* A fold's query: the scores that edits of other groups reach, largest first. */
struct query {
	float *scores;
	size_t count;
	bool question;
};

struct corpus {
	struct text *texts;
	size_t count;
	size_t group_count, kind_groups[2]; /* in all; of unrelated texts, of questions */
	struct editor__tokens *tokens;
	float *raw; /* count × hidden */
	uint8_t *use;
	float *keys;           /* count × hidden; of the fold at hand */
	struct query *queries; /* count */
	float *kept;           /* scores of rephrases with their prompts */
	size_t kept_count;
};

/* ---- Reading */

static int split_line(const char *line, size_t len, struct text *out, size_t line_no, struct err *e)
{
	const char *kind_end = memchr(line, '\t', len);
	const size_t kind = kind_end != NULL ? (size_t)(kind_end - line) : 0;
	const char *group_end = kind_end != NULL ? memchr(kind_end + 1, '\t', len - kind - 1) : NULL;
	const bool question = kind == 8 && memcmp(line, "question", 8) == 0;
	const bool unrelated = kind == 9 && memcmp(line, "unrelated", 9) == 0;
	if (len > LINE_BYTES_MAX)
		return err_set(e, ERR_LIMIT, "calibration corpus: line %zu: %zu bytes, at most %u", line_no, len,
			       LINE_BYTES_MAX);
	if (group_end == NULL || (!question && !unrelated) || group_end + 1 == line + len)
		return err_set(e, ERR_INVALID,
			       "calibration corpus: line %zu: must read \"question<tab>group<tab>text\" or "
			       "\"unrelated<tab>...\"",
			       line_no);
	*out = (struct text){ .line = line, .group_len = (size_t)(group_end - line), .question = question };
	out->text = group_end + 1;
	out->text_len = len - out->group_len - 1;
	return 0;
}

static bool same_group(const struct text *a, const struct text *b)
{
	return a->group_len == b->group_len && memcmp(a->line, b->line, a->group_len) == 0;
}

/* Questions of one group share a number and a fold; an unrelated text is a group of its own. Folds take turns in each
 * kind. */
static void number_group(struct corpus *c, size_t at)
{
	for (size_t i = at; i > 0 && c->texts[at].question; i--) {
		if (same_group(&c->texts[i - 1], &c->texts[at])) {
			c->texts[at].group = c->texts[i - 1].group;
			c->texts[at].fold = c->texts[i - 1].fold;
			return;
		}
	}
	c->texts[at].group = c->group_count++;
	c->texts[at].fold = c->kind_groups[c->texts[at].question ? 1 : 0]++ % FOLDS;
}

static int read_texts(struct corpus *c, const char *text, size_t len, struct err *e)
{
	size_t lines = 1;
	for (size_t i = 0; i < len; i++)
		lines += text[i] == '\n' ? 1 : 0;
	if (lines > TEXTS_MAX)
		return err_set(e, ERR_LIMIT, "calibration corpus: %zu lines, at most %u", lines, TEXTS_MAX);
	c->texts = fault_calloc(lines, sizeof(*c->texts));
	if (c->texts == NULL)
		return err_set(e, ERR_NOMEM, "calibration corpus: out of memory");
	int rc = 0;
	for (size_t at = 0, line_no = 1; at < len && rc == 0; line_no++) {
		const char *end = memchr(text + at, '\n', len - at);
		const size_t line_len = end != NULL ? (size_t)(end - text) - at : len - at;
		if (line_len > 0) {
			rc = split_line(text + at, line_len, &c->texts[c->count], line_no, e);
			if (rc == 0)
				number_group(c, c->count++);
		}
		at += line_len + 1;
	}
	return rc;
}

static int check_folds(const struct corpus *c, struct err *e)
{
	size_t counts[FOLDS][2] = { { 0 } };
	for (size_t i = 0; i < c->count; i++)
		counts[c->texts[i].fold][c->texts[i].question ? 1 : 0]++;
	for (size_t f = 0; f < FOLDS; f++) {
		if (counts[f][0] < FOLD_TEXTS_MIN || counts[f][1] < FOLD_TEXTS_MIN)
			return err_set(e, ERR_INVALID,
				       "calibration corpus: %zu texts are too few: half of them holds %zu unrelated "
				       "ones and %zu "
				       "questions, at least %u of each are needed",
				       c->count, counts[f][0], counts[f][1], FOLD_TEXTS_MIN);
	}
	return 0;
}

/* ---- Keys */

static int read_keys(struct corpus *c, struct model *model, size_t layer, const struct editor_watch *watch,
		     struct err *e)
{
	const size_t hidden = model_shape_of(model)->hidden;
	struct editor__packer *packer = NULL;
	c->tokens = fault_calloc(c->count, sizeof(*c->tokens));
	c->raw = fault_calloc(c->count * hidden, sizeof(*c->raw));
	c->keys = fault_calloc(c->count * hidden, sizeof(*c->keys));
	c->use = fault_calloc(c->count, sizeof(*c->use));
	c->queries = fault_calloc(c->count, sizeof(*c->queries));
	c->kept = fault_calloc(c->count, sizeof(*c->kept));
	if (c->tokens == NULL || c->raw == NULL || c->keys == NULL || c->use == NULL || c->queries == NULL ||
	    c->kept == NULL)
		return err_set(e, ERR_NOMEM, "calibration of %zu texts: out of memory", c->count);
	int rc = 0;
	for (size_t i = 0; i < c->count && rc == 0; i++) {
		rc = editor__tokens_of(model, c->texts[i].text, c->texts[i].text_len, &c->tokens[i], e);
		if (rc != 0)
			err_wrap(e, "calibration corpus: text %zu", i + 1);
	}
	if (rc == 0)
		rc = editor__packer_new(model, BATCH_ROWS, &packer, e);
	if (rc == 0)
		rc = editor__packer_keys(packer, layer, c->tokens, c->count, c->raw, watch, "calibrate", e);
	editor__packer_destroy(&packer);
	return rc;
}

/* ---- Scores of one half with the other half's statistics */

static int larger_first(const void *a, const void *b)
{
	const float x = *(const float *)a, y = *(const float *)b;
	return (x < y) - (x > y);
}

static float cosine(const struct corpus *c, size_t a, size_t b, size_t hidden)
{
	const float *x = c->keys + a * hidden, *y = c->keys + b * hidden;
	float sums[8] = { 0 };
	size_t i = 0;
	for (; i + 8 <= hidden; i += 8) {
		for (size_t j = 0; j < 8; j++)
			sums[j] += x[i + j] * y[i + j];
	}
	for (; i < hidden; i++)
		sums[0] += x[i] * y[i];
	return ((sums[0] + sums[4]) + (sums[1] + sums[5])) + ((sums[2] + sums[6]) + (sums[3] + sums[7]));
}

static int score_query(struct corpus *c, size_t at, size_t fold, size_t hidden, struct err *e)
{
	struct query *query = &c->queries[at];
	query->question = c->texts[at].question;
	query->scores = fault_malloc(c->count * sizeof(*query->scores));
	if (query->scores == NULL)
		return err_set(e, ERR_NOMEM, "calibration: out of memory");
	for (size_t i = 0; i < c->count; i++) {
		const struct text *edit = &c->texts[i];
		if (edit->question && edit->fold == fold && edit->group != c->texts[at].group)
			query->scores[query->count++] = cosine(c, at, i, hidden);
	}
	qsort(query->scores, query->count, sizeof(*query->scores), larger_first);
	return 0;
}

static int score_fold(struct corpus *c, size_t fold, size_t hidden, float ridge, struct err *e)
{
	struct editor_calibration *other = NULL;
	for (size_t i = 0; i < c->count; i++)
		c->use[i] = c->texts[i].fold != fold;
	int rc = editor__calibration_new(hidden, &other, e);
	if (rc == 0)
		rc = editor__whiten_fit(other, c->raw, c->use, c->count, ridge, e);
	for (size_t i = 0; i < c->count && rc == 0; i++) {
		if (!c->use[i])
			editor_calibration_key(other, c->raw + i * hidden, c->keys + i * hidden);
	}
	for (size_t i = 0; i < c->count && rc == 0; i++) {
		if (c->use[i])
			continue;
		rc = score_query(c, i, fold, hidden, e);
		/* the first two texts of a group are a fact's prompt and its rephrase */
		const bool second = i > 0 && c->texts[i].question && c->texts[i - 1].group == c->texts[i].group &&
				    (i == 1 || c->texts[i - 2].group != c->texts[i].group);
		if (second)
			c->kept[c->kept_count++] = cosine(c, i, i - 1, hidden);
	}
	editor_calibration_destroy(&other);
	return rc;
}

/* ---- Thresholds */

/* Expected share of the queries of a kind that reach `threshold` with one of `edit_count` edits drawn from those
 * scored. */
static double false_share(const struct corpus *c, bool question, double edit_count, float threshold)
{
	double sum = 0;
	size_t n = 0;
	for (size_t i = 0; i < c->count; i++) {
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
	free(c->texts);
	free(c->tokens);
	free(c->raw);
	free(c->use);
	free(c->keys);
	free(c->queries);
	free(c->kept);
}

int editor_calibrate(struct model *model, const struct editor_config *config, const char *corpus_text,
		     size_t corpus_len, const struct editor_watch *watch, struct editor_calibration **out,
		     struct err *e)
{
	const size_t hidden = model_shape_of(model)->hidden;
	struct corpus corpus = { 0 };
	struct editor_calibration *c = NULL;
	int rc = read_texts(&corpus, corpus_text, corpus_len, e);
	if (rc == 0)
		rc = check_folds(&corpus, e);
	if (rc == 0)
		rc = read_keys(&corpus, model, config->prompt_layer, watch, e);
	for (size_t f = 0; f < FOLDS && rc == 0; f++)
		rc = score_fold(&corpus, f, hidden, config->ridge, e);
	if (rc == 0)
		rc = editor__calibration_new(hidden, &c, e);
	if (rc == 0) {
		memset(corpus.use, 1, corpus.count);
		rc = editor__whiten_fit(c, corpus.raw, corpus.use, corpus.count, config->ridge, e);
	}
	if (rc == 0) {
		c->prompt_layer = config->prompt_layer;
		c->base_model = *model_digest(model);
		hash_of(corpus_text, corpus_len, &c->corpus);
		fit_thresholds(&corpus, config, c);
		*out = c;
	} else {
		editor_calibration_destroy(&c);
	}
	corpus_free(&corpus);
	return rc;
}
