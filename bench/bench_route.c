/* bench_route: what a route costs by number of edits: the plain float search, the key index, the whole route; beside
 * them a prefill of 512 tokens in the same run. Medians, and in brackets the least and the quartiles, in µs, on one
 * thread. Keys: `random` unit vectors, and `questions`: the forms of data/calibration.tsv's prompts asked about its
 * subjects, no two alike, or the lines of TEXTS, a file of the same form; beyond TEXTS_MAX perturbations of them.
 * `behind` has other memory read before each search, as a prefill does.
 *
 * usage: bench_route [EDITS-MAX [THREADS [BACKEND [TEXTS]]]]   (from the project's folder; the model file from
 * AMEND_MODEL, default ~/.cache/amend/…, where the calibration is kept too; THREADS and BACKEND are the prefill's) */
#include "base/rng.h"
#include "base/text.h"
#include "bench/bench.h"
#include "editor/calibration_cache.h"
#include "editor/dot.h"
#include "editor/key_index.h"
#include "editor/packed.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define CORPUS       "data/calibration.tsv"
#define LINES_MAX    4096
#define TEXTS_MAX    10000
#define QUERIES      32
#define ASKS         10
#define SHARD        100 /* edits added at once */
#define PREFILL      512
#define OTHER_MEMORY ((size_t)96 << 20)
#define SAMPLES_MAX  512
#define LEAST        0.4f /* of candidates: near the threshold of edits with a subject on SmolLM2 */

struct text {
	struct buf subject;        /* folded */
	float *raw, *relation;     /* hidden */
	struct editor_prompt kept; /* of queries: states of its own */
	bool is_query;
};

struct bench {
	struct model *model;
	struct editor_config config;
	struct editor_calibration *calibration;
	size_t hidden, dims, ffn; /* dims: of prompt keys */
	struct text *texts;
	struct editor__tokens *tokens;
	size_t text_count, query_count;
	const struct text *queries[QUERIES];
	double prefill_us;
	uint8_t *other; /* OTHER_MEMORY bytes */
	struct rng rng;
};

struct samples {
	double us[SAMPLES_MAX];
	size_t count;
};

static int by_size(const void *a, const void *b)
{
	const double x = *(const double *)a, y = *(const double *)b;
	return (x > y) - (x < y);
}

static double print_samples(struct samples *s)
{
	qsort(s->us, s->count, sizeof(*s->us), by_size);
	const double median = s->us[s->count / 2];
	printf(" %9.1f [%.1f, %.1f, %.1f]", median, s->us[0], s->us[s->count / 4], s->us[s->count * 3 / 4]);
	s->count = 0;
	return median;
}

/* ---- Corpus, calibration, prefill */

static float *copy_floats(const float *from, size_t count)
{
	float *to = bench_memory(count, sizeof(*to));
	memcpy(to, from, count * sizeof(*to));
	return to;
}

static int keep_text(void *context, size_t at, const struct editor_prompt *prompt)
{
	struct bench *b = context;
	struct text *text = &b->texts[at];
	const struct model_segment whole = { .row_count = prompt->id_count };
	text->raw = bench_memory(b->hidden, sizeof(float));
	text->relation = bench_memory(b->hidden, sizeof(float));
	editor_route_raw_keys(prompt->prompt_states, &whole, 1, b->hidden, text->raw);
	editor_route_raw_keys(prompt->relation_states, &whole, 1, b->hidden, text->relation);
	if (!text->is_query || b->query_count == QUERIES)
		return 0;
	text->kept = (struct editor_prompt){ .ids = b->tokens[at].ids, .id_count = prompt->id_count };
	text->kept.prompt_states = copy_floats(prompt->prompt_states, prompt->id_count * b->hidden);
	text->kept.relation_states = copy_floats(prompt->relation_states, prompt->id_count * b->hidden);
	b->queries[b->query_count++] = text;
	return 0;
}

static struct buf read_file(const char *path)
{
	struct err e = ERR_INIT;
	struct buf bytes = BUF_INIT;
	bench_need(file_read(path, (size_t)64 << 20, &bytes, &e), &e);
	return bytes;
}

struct line { /* of the corpus's form */
	char *subject, *prompt;
};

/* The next of `bytes`, which ends with a NUL and is taken apart; false: there is none. */
static bool next_line(char **bytes, struct line *out, const char *path)
{
	struct err e = ERR_INIT;
	char *line = strsep(bytes, "\n");
	if (line == NULL || *line == '\0')
		return false;
	for (size_t tabs = 0; tabs < 2; tabs++)
		strsep(&line, "\t");
	out->subject = line == NULL ? NULL : strsep(&line, "\t");
	out->prompt = line;
	if (line == NULL || strchr(line, '\t') != NULL)
		bench_need(err_set(&e, ERR_INVALID, "%s: a line is not of the corpus's form", path), &e);
	return true;
}

static void add_text(struct bench *b, const char *subject, const char *prompt)
{
	struct err e = ERR_INIT;
	struct text *text = &b->texts[b->text_count];
	text->subject = (struct buf)BUF_INIT;
	text->is_query = b->text_count % ASKS == 0;
	bench_need(text_fold(subject, strlen(subject), &text->subject), &e);
	bench_need(editor__tokens_of(b->model, prompt, strlen(prompt), &b->tokens[b->text_count++], &e), &e);
}

static void read_texts(struct bench *b, const char *path)
{
	struct buf bytes = read_file(path);
	struct line line;
	buf_u8(&bytes, '\0');
	for (char *at = (char *)bytes.data; b->text_count < TEXTS_MAX && next_line(&at, &line, path);)
		add_text(b, line.subject, line.prompt);
	buf_free(&bytes);
}

static bool is_among(const char *const *texts, size_t count, const char *text)
{
	for (size_t i = 0; i < count; i++) {
		if (strcmp(texts[i], text) == 0)
			return true;
	}
	return false;
}

/* Every form with every subject, each time with another one. */
static void cross_texts(struct bench *b)
{
	static char forms_of[LINES_MAX][512]; /* prompts, '\n' for the subject */
	const char *subjects[LINES_MAX], *forms[LINES_MAX];
	size_t subject_count = 0, form_count = 0;
	struct buf bytes = read_file(CORPUS), prompt = BUF_INIT;
	struct line line;
	buf_u8(&bytes, '\0');
	for (char *at = (char *)bytes.data; next_line(&at, &line, CORPUS) && subject_count < LINES_MAX;) {
		const char *name = strstr(line.prompt, line.subject);
		if (*line.subject == '\0' || name == NULL)
			continue;
		snprintf(forms_of[form_count], sizeof(*forms_of), "%.*s\n%s", (int)(name - line.prompt), line.prompt,
			 name + strlen(line.subject));
		if (!is_among(subjects, subject_count, line.subject))
			subjects[subject_count++] = line.subject;
		if (!is_among(forms, form_count, forms_of[form_count])) {
			forms[form_count] = forms_of[form_count];
			form_count++;
		}
	}
	for (size_t i = 0; i < TEXTS_MAX && i < subject_count * form_count; i++) {
		const char *form = forms[i % form_count], *subject = subjects[(i + i / form_count) % subject_count],
			   *gap = strchr(form, '\n');
		prompt.len = 0;
		buf_append(&prompt, form, (size_t)(gap - form));
		buf_append(&prompt, subject, strlen(subject));
		buf_append(&prompt, gap + 1, strlen(gap + 1));
		add_text(b, subject, buf_cstr(&prompt));
	}
	buf_free(&prompt);
	buf_free(&bytes);
}

/* Every ASKS-th text asks as well: as an edit's own prompt. */
static void make_texts(struct bench *b, const char *path)
{
	struct err e = ERR_INIT;
	struct editor__packer *packer = NULL;
	const struct editor_key_layers layers = { .prompt = b->config.prompt_layer,
						  .relation = b->config.relation_layer };
	b->texts = bench_memory(TEXTS_MAX, sizeof(*b->texts));
	b->tokens = bench_memory(TEXTS_MAX, sizeof(*b->tokens));
	if (path == NULL)
		cross_texts(b);
	else
		read_texts(b, path);
	bench_need(editor__packer_new(b->model, 512, &packer, &e), &e);
	bench_need(editor__packer_prompts(packer, layers, b->tokens, b->text_count, keep_text, b, NULL, "bench", &e),
		   &e);
	editor__packer_destroy(&packer);
}

static void calibrate(struct bench *b)
{
	char folder[512];
	const char *home = getenv("HOME");
	struct err e = ERR_INIT;
	struct buf bytes = BUF_INIT, lines = read_file(CORPUS);
	struct hash corpus;
	snprintf(folder, sizeof(folder), "%s/.cache/amend", home == NULL ? "" : home);
	hash_of(lines.data, lines.len, &corpus);
	if (editor_calibration_cache_load(folder, model_digest(b->model), &corpus, &b->config, &bytes, &e) == 0) {
		bench_need(editor_calibration_decode(bytes.data, bytes.len, &b->calibration, &e), &e);
	} else {
		bench_need(editor_calibrate(b->model, &b->config, (const char *)lines.data, lines.len, NULL,
					    &b->calibration, &e),
			   &e);
		bench_need(editor_calibration_encode(b->calibration, &bytes, &e), &e);
		bench_need(
			editor_calibration_cache_save(folder, model_digest(b->model), &corpus, &b->config, &bytes, &e),
			&e);
	}
	buf_free(&bytes);
	buf_free(&lines);
}

static void prefill(struct bench *b)
{
	const struct model_shape *s = model_shape_of(b->model);
	const struct model_segment whole = { .row_count = PREFILL };
	struct err e = ERR_INIT;
	struct model_run *run = NULL;
	struct samples took = { .count = 0 };
	float *x = bench_memory(PREFILL * s->hidden, sizeof(*x));
	int32_t ids[PREFILL];
	bench_ids(ids, PREFILL);
	bench_need(model_run_new(b->model, PREFILL, &run, &e), &e);
	for (; took.count < 3; took.count++) {
		const double began = bench_now_us();
		bench_need(model_embed(run, x, ids, PREFILL, &e), &e);
		bench_need(model_layers(run, x, NULL, &whole, 1, 0, s->layers, NULL, NULL, 0, &e), &e);
		took.us[took.count] = bench_now_us() - began;
	}
	printf("prefill of %d tokens:", PREFILL);
	b->prefill_us = print_samples(&took);
	printf("\n");
	model_run_destroy(&run);
	free(x);
}

/* ---- Keys */

static void random_unit(struct bench *b, float *key)
{
	double square = 0;
	for (size_t k = 0; k < b->dims; k++) {
		key[k] = rng_normal(&b->rng);
		square += (double)key[k] * (double)key[k];
	}
	for (size_t k = 0; k < b->dims; k++)
		key[k] = (float)(key[k] / sqrt(square));
}

/* Raw keys of edit i: a text's own at first, then a text's moved by up to half the way between two others. */
static void raw_of(struct bench *b, size_t i, float *raw, float *relation)
{
	const struct text *text = &b->texts[i % b->text_count];
	const struct text *from = &b->texts[rng_below(&b->rng, b->text_count)],
			  *to = &b->texts[rng_below(&b->rng, b->text_count)];
	const float share = i < b->text_count ? 0 : rng_uniform(&b->rng) / 2;
	for (size_t k = 0; k < b->hidden; k++) {
		raw[k] = text->raw[k] + share * (to->raw[k] - from->raw[k]);
		relation[k] = text->relation[k] + share * (to->relation[k] - from->relation[k]);
	}
}

/* ---- Searches */

static void read_other_memory(struct bench *b)
{
	for (size_t i = 0; i < OTHER_MEMORY; i += 64)
		b->other[i]++;
}

static void search_plainly(const struct bench *b, const float *keys, size_t edit_count, const float *query,
			   struct editor__candidate *best, size_t *count)
{
	*count = 0;
	for (size_t i = 0; i < edit_count; i++)
		editor__candidate_keep(best, count, i, editor__dot(query, keys + i * b->dims, b->dims));
	while (*count > EDITOR_NEAREST && best[*count - 1].score < LEAST)
		(*count)--;
}

static bool are_same(const struct editor__candidate *a, size_t a_count, const struct editor__candidate *b,
		     size_t b_count)
{
	size_t same = 0;
	while (same < a_count && same < b_count && a[same].entry == b[same].entry &&
	       memcmp(&a[same].score, &b[same].score, sizeof(float)) == 0)
		same++;
	return same == a_count && same == b_count;
}

/* One row but for its end: plain search, index, index behind other memory. */
static double bench_searches(struct bench *b, const char *kind, const float *keys, size_t edit_count,
			     const float *queries, const struct editor__key_index *index)
{
	struct editor__candidate best[EDITOR_CANDIDATES], found[EDITOR_CANDIDATES];
	struct samples plain = { .count = 0 }, quick = { .count = 0 }, behind = { .count = 0 };
	struct err e = ERR_INIT;
	size_t best_count, found_count;
	const size_t repeats = edit_count <= 10000 ? 4 : 1;
	for (size_t i = 0; i < repeats * QUERIES; i++) {
		const float *query = queries + i % QUERIES * b->dims;
		double began = bench_now_us();
		bench_need(editor__key_index_search(index, query, LEAST, found, &found_count), &e);
		quick.us[quick.count++] = bench_now_us() - began;
		if (i >= QUERIES)
			continue;
		began = bench_now_us();
		search_plainly(b, keys, edit_count, query, best, &best_count);
		plain.us[plain.count++] = bench_now_us() - began;
		if (!are_same(found, found_count, best, best_count))
			bench_need(err_set(&e, ERR_INVALID, "the index found other keys than the plain search"), &e);
	}
	for (size_t i = 0; i < QUERIES; i++) {
		read_other_memory(b);
		const double began = bench_now_us();
		bench_need(editor__key_index_search(index, queries + i * b->dims, LEAST, found, &found_count), &e);
		behind.us[behind.count++] = bench_now_us() - began;
	}
	printf("%-9s %7zu |", kind, edit_count);
	print_samples(&plain);
	printf(" |");
	const double median = print_samples(&quick);
	printf(" |");
	print_samples(&behind);
	printf(" | %6.0f |", (double)editor__key_index_bytes(index) / (double)edit_count);
	return median;
}

static struct editor__key_index *index_of(const struct bench *b, const float *keys, size_t edit_count, double *us)
{
	struct editor__key_index *index = NULL;
	struct err e = ERR_INIT;
	bench_need(editor__key_index_new(b->dims, NULL, &index, &e), &e);
	const double began = bench_now_us();
	for (size_t i = 0; i < edit_count; i++) {
		if (i % SHARD == 0)
			bench_need(editor__key_index_reserve(index, SHARD), &e);
		editor__key_index_add(index, keys + i * b->dims);
	}
	*us = (bench_now_us() - began) / (double)edit_count;
	return index;
}

static void bench_random(struct bench *b, size_t edit_count)
{
	double build;
	float *keys = bench_memory(edit_count * b->dims, sizeof(*keys)),
	      *queries = bench_memory(QUERIES * b->dims, sizeof(*queries));
	for (size_t i = 0; i < edit_count; i++)
		random_unit(b, keys + i * b->dims);
	for (size_t i = 0; i < QUERIES; i++)
		random_unit(b, queries + i * b->dims);
	struct editor__key_index *index = index_of(b, keys, edit_count, &build);
	bench_searches(b, "random", keys, edit_count, queries, index);
	printf(" %5.2f |\n", build);
	editor__key_index_destroy(&index);
	free(keys);
	free(queries);
}

/* ---- Routes */

static struct editor_router *router_of(struct bench *b, size_t edit_count, float *keys, double *us)
{
	struct editor_index_entry entries[SHARD];
	float *raw = bench_memory(2 * SHARD * b->hidden, sizeof(*raw));
	struct editor_router *router = NULL;
	struct err e = ERR_INIT;
	const int32_t target[] = { 1, 2, 3 };
	*us = 0;
	bench_need(editor_router_new(b->calibration, b->ffn, &router, &e), &e);
	for (size_t first = 0; first < edit_count; first += SHARD) {
		struct buf bytes = BUF_INIT;
		for (size_t i = 0; i < SHARD; i++) {
			const struct buf *subject = &b->texts[(first + i) % b->text_count].subject;
			float *own = raw + 2 * i * b->hidden;
			raw_of(b, first + i, own, own + b->hidden);
			editor_calibration_key(b->calibration, own, keys + (first + i) * b->dims);
			entries[i] =
				(struct editor_index_entry){ .seq = first + i + 1,
							     .subject = { (const char *)subject->data, subject->len },
							     .subject_given = subject->len > 0,
							     .raw = own,
							     .relation = own + b->hidden,
							     .target_ids = target,
							     .target_count = 3 };
		}
		bench_need(editor_index_encode(entries, SHARD, b->hidden, b->ffn, &bytes, &e), &e);
		const double began = bench_now_us();
		bench_need(editor_router_add(router, bytes.data, bytes.len, first / SHARD, NULL, 0, &e), &e);
		*us += (bench_now_us() - began) / (double)edit_count;
		buf_free(&bytes);
	}
	free(raw);
	return router;
}

static void bench_routes(struct bench *b, const struct editor_router *router)
{
	const struct model_tokenizer *tokenizer = model_tokenizer_of(b->model);
	struct samples whole = { .count = 0 }, behind = { .count = 0 };
	struct err e = ERR_INIT;
	struct editor_route route;
	size_t routed = 0;
	for (size_t i = 0; i < 4 * QUERIES; i++) {
		const double began = bench_now_us();
		bench_need(editor_router_route(router, tokenizer, &b->queries[i % QUERIES]->kept, &route, &e), &e);
		whole.us[whole.count++] = bench_now_us() - began;
		routed += route.routed ? 1 : 0;
	}
	for (size_t i = 0; i < QUERIES; i++) {
		read_other_memory(b);
		const double began = bench_now_us();
		bench_need(editor_router_route(router, tokenizer, &b->queries[i]->kept, &route, &e), &e);
		behind.us[behind.count++] = bench_now_us() - began;
	}
	const double median = print_samples(&whole);
	printf(" |");
	print_samples(&behind);
	printf(" | %.4f %% | %zu of %d routed\n", 100 * median / b->prefill_us, routed / 4, QUERIES);
	fflush(stdout);
}

static void bench_questions(struct bench *b, size_t edit_count)
{
	double build, build_all;
	float *keys = bench_memory(edit_count * b->dims, sizeof(*keys)),
	      *queries = bench_memory(QUERIES * b->dims, sizeof(*queries));
	for (size_t i = 0; i < QUERIES; i++)
		editor_calibration_key(b->calibration, b->queries[i]->raw, queries + i * b->dims);
	struct editor_router *router = router_of(b, edit_count, keys, &build_all);
	struct editor__key_index *index = index_of(b, keys, edit_count, &build);
	bench_searches(b, "questions", keys, edit_count, queries, index);
	editor__key_index_destroy(&index);
	free(keys);
	printf(" %5.2f | %6.2f |", build, build_all);
	bench_routes(b, router);
	editor_router_destroy(&router);
	free(queries);
}

static void bench_keys(struct bench *b)
{
	struct samples prompt = { .count = 0 }, relation = { .count = 0 };
	float *key = bench_memory(b->dims + b->calibration->relation.dims, sizeof(*key));
	for (size_t i = 0; i < 4 * QUERIES; i++) {
		double began = bench_now_us();
		editor_calibration_key(b->calibration, b->queries[i % QUERIES]->raw, key);
		prompt.us[prompt.count++] = bench_now_us() - began;
		began = bench_now_us();
		editor_calibration_relation_key(b->calibration, b->queries[i % QUERIES]->relation, key);
		relation.us[relation.count++] = bench_now_us() - began;
	}
	printf("a prompt key:");
	print_samples(&prompt);
	printf(", a relation key:");
	print_samples(&relation);
	printf("\n");
	free(key);
}

static void open_all(struct bench *b, const char *backend, size_t thread_count)
{
	struct err e = ERR_INIT;
	struct editor__key_index *index = NULL;
	struct model_options options = { .backend = backend, .thread_count = thread_count };
	bench_need(model_open(bench_model_path(), &options, &b->model, &e), &e);
	b->hidden = model_shape_of(b->model)->hidden;
	b->ffn = model_shape_of(b->model)->ffn;
	editor_config_default(model_shape_of(b->model), &b->config);
	b->dims = b->config.prompt_dims;
	bench_need(editor__key_index_new(b->dims, NULL, &index, &e), &e);
	printf("%s: prefill by %s, keys of %zu searched by %s\n", model_name(b->model),
	       model_backend_of(b->model)->ops->describe(model_backend_of(b->model)), b->dims,
	       editor__key_index_instructions(index));
	editor__key_index_destroy(&index);
}

static void close_all(struct bench *b)
{
	for (size_t i = 0; i < b->text_count; i++) {
		buf_free(&b->texts[i].subject);
		free(b->texts[i].raw);
		free(b->texts[i].relation);
		free((float *)b->texts[i].kept.prompt_states);
		free((float *)b->texts[i].kept.relation_states);
	}
	editor__tokens_free(b->tokens, b->text_count);
	editor_calibration_destroy(&b->calibration);
	model_close(&b->model);
	free(b->texts);
	free(b->tokens);
	free(b->other);
	free(b);
}

int main(int argc, char **argv)
{
	static const size_t sizes[] = { 100, 1000, 10000, 100000 };
	const size_t edits_max = argc > 1 ? strtoul(argv[1], NULL, 10) : 100000;
	struct bench *b = bench_memory(1, sizeof(*b));
	rng_init(&b->rng, 1);
	b->other = bench_memory(OTHER_MEMORY, 1);
	open_all(b, argc > 3 ? argv[3] : "cpu", argc > 2 ? strtoul(argv[2], NULL, 10) : 1);
	calibrate(b);
	make_texts(b, argc > 4 ? argv[4] : NULL);
	if (b->query_count < QUERIES) {
		fprintf(stderr, "bench_route: fewer than %d texts\n", ASKS * QUERIES - ASKS + 1);
		return 1;
	}
	prefill(b);
	bench_keys(b);
	fflush(stdout);
	printf("keys        edits | plain search | index | index behind other memory | bytes an edit | index add | "
	       "router add | route | route behind other memory | route of a prefill\n");
	for (size_t i = 0; i < sizeof(sizes) / sizeof(sizes[0]) && sizes[i] <= edits_max; i++) {
		bench_random(b, sizes[i]);
		bench_questions(b, sizes[i]);
	}
	close_all(b);
	return 0;
}
