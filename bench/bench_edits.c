/* bench_edits: what it costs to have edits, by their number: the time that a version of so many more takes to load,
 * a route's, and the memory of both; and of 10,000 edits what they add to a prefill of 512 tokens and to decoding,
 * beside the bare model in turn. One thread, in its own processor time.
 *
 * Edits are texts of data/calibration.tsv, beyond those the same moved by up to half the way between two others, with
 * subjects of their own. Their memories are one dense matrix, or none where nothing reads it.
 * usage: bench_edits [EDITS-MAX [ROUNDS]]   (10000, 9; from the project's folder; AMEND_MODEL) */
#include "base/rng.h"
#include "base/text.h"
#include "bench/bench.h"
#include "editor/calibration_cache.h"
#include "editor/decode.h"
#include "editor/delta.h"
#include "editor/packed.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define CORPUS      "data/calibration.tsv"
#define TEXTS_MAX   800u
#define QUERIES     32u
#define ROUTES      64u
#define SLAB        10000u /* edits added at once */
#define COST_EDITS  10000u
#define ANCHOR_ROWS 4u
#define PROMPT      512u
#define STEPS       48u
#define ROUTE_US    150.0
#define FILLER      "and the road goes on along the river past the old mill "
#define UNKNOWN     "What is the colour of the gate of Brelmork Zuvanti?" /* asks for no edit */

struct text {
	struct buf subject; /* folded */
	float *raw, *relation;
	float *prompt_states, *relation_states; /* of the first QUERIES */
};

struct bench {
	struct model *model;
	const struct model_shape *shape;
	struct editor_config config;
	struct buf calibration, delta;
	struct editor_key_layers layers;
	struct text texts[TEXTS_MAX];
	struct editor__tokens tokens[TEXTS_MAX];
	size_t text_count;
	struct editor_memory_set *set;
	size_t part_count, edit_count;
	float *anchors; /* ANCHOR_ROWS × ffn */
	struct rng rng;
};

/* ---- Texts and calibration */

static void file_of(const char *path, struct buf *out)
{
	struct err e = ERR_INIT;
	bench_need(file_read(path, (size_t)64 << 20, out, &e), &e);
	buf_u8(out, '\0');
}

/* "kind TAB group TAB subject TAB text" of kind `prompt`. */
static void texts_read(struct bench *b)
{
	struct buf bytes = BUF_INIT;
	struct err e = ERR_INIT;
	file_of(CORPUS, &bytes);
	char *at = (char *)bytes.data;
	for (char *line; b->text_count < TEXTS_MAX && (line = strsep(&at, "\n")) != NULL && *line != '\0';) {
		char *kind = strsep(&line, "\t");
		(void)strsep(&line, "\t");
		char *subject = strsep(&line, "\t");
		if (strcmp(kind, "prompt") != 0 || line == NULL || *subject == '\0')
			continue;
		struct text *text = &b->texts[b->text_count];
		bench_need(text_fold(subject, strlen(subject), &text->subject), &e);
		bench_need(editor__tokens_of(b->model, line, strlen(line), &b->tokens[b->text_count++], &e), &e);
	}
	buf_free(&bytes);
}

static float *copied(const float *from, size_t count)
{
	float *to = bench_memory(count, sizeof(*to));
	memcpy(to, from, count * sizeof(*to));
	return to;
}

static int text_keep(void *context, size_t at, const struct editor_prompt *prompt)
{
	struct bench *b = context;
	struct text *text = &b->texts[at];
	const size_t hidden = b->shape->hidden;
	const struct model_segment whole = { .row_count = prompt->id_count };
	text->raw = bench_memory(hidden, sizeof(float));
	text->relation = bench_memory(hidden, sizeof(float));
	editor_route_raw_keys(prompt->prompt_states, &whole, 1, hidden, text->raw);
	editor_route_raw_keys(prompt->relation_states, &whole, 1, hidden, text->relation);
	if (at < QUERIES) {
		text->prompt_states = copied(prompt->prompt_states, prompt->id_count * hidden);
		text->relation_states = copied(prompt->relation_states, prompt->id_count * hidden);
	}
	return 0;
}

static void calibration_get(struct bench *b)
{
	char folder[512];
	const char *home = getenv("HOME");
	struct editor_calibration *made = NULL;
	struct buf lines = BUF_INIT;
	struct hash corpus;
	struct err e = ERR_INIT;
	bench_need(file_read(CORPUS, (size_t)64 << 20, &lines, &e), &e);
	snprintf(folder, sizeof(folder), "%s/.cache/amend", home == NULL ? "" : home);
	hash_of(lines.data, lines.len, &corpus);
	if (editor_calibration_cache_load(folder, model_digest(b->model), &corpus, &b->config, &b->calibration, &e) !=
	    0) {
		buf_clear(&b->calibration);
		bench_need(editor_calibrate(b->model, &b->config, (const char *)lines.data, lines.len, NULL, &made, &e),
			   &e);
		bench_need(editor_calibration_encode(made, &b->calibration, &e), &e);
		bench_need(editor_calibration_cache_save(folder, model_digest(b->model), &corpus, &b->config,
							 &b->calibration, &e),
			   &e);
		editor_calibration_destroy(&made);
	}
	buf_free(&lines);
}

static void delta_make(struct bench *b)
{
	const size_t count = b->shape->hidden * b->shape->ffn;
	float *delta = bench_memory(count, sizeof(*delta));
	struct err e = ERR_INIT;
	for (size_t i = 0; i < count; i++)
		delta[i] = 1e-5f * rng_normal(&b->rng);
	editor_delta_round(delta, count);
	bench_need(editor_delta_encode(delta, b->config.layer, b->shape->hidden, b->shape->ffn, &b->delta, &e), &e);
	free(delta);
}

static void open_all(struct bench *b)
{
	const struct model_options options = { .backend = "cpu",
					       .thread_count = 1,
					       .backward_from = SIZE_MAX,
					       .stored_too = true,
					       .head_stored_only = true };
	struct editor__packer *packer = NULL;
	struct err e = ERR_INIT;
	rng_init(&b->rng, 1);
	bench_need(model_open(bench_model_path(), &options, &b->model, &e), &e);
	b->shape = model_shape_of(b->model);
	editor_config_default(b->shape, &b->config);
	b->layers =
		(struct editor_key_layers){ .prompt = b->config.prompt_layer, .relation = b->config.relation_layer };
	calibration_get(b);
	texts_read(b);
	bench_need(editor__packer_new(b->model, 512, &packer, &e), &e);
	bench_need(editor__packer_prompts(packer, b->layers, b->tokens, b->text_count, text_keep, b, NULL, "bench", &e),
		   &e);
	editor__packer_destroy(&packer);
	delta_make(b);
	b->anchors = bench_memory(ANCHOR_ROWS * b->shape->ffn, sizeof(*b->anchors));
	bench_need(editor_memory_set_new(b->shape, model_digest(b->model), b->config.layer, 1, b->calibration.data,
					 b->calibration.len, NULL, 0, NULL, 0, EDITOR_SET_RETRIEVE, &b->set, &e),
		   &e);
}

static void close_all(struct bench *b)
{
	editor_memory_set_release(&b->set);
	for (size_t i = 0; i < b->text_count; i++) {
		buf_free(&b->texts[i].subject);
		free(b->texts[i].raw);
		free(b->texts[i].relation);
		free(b->texts[i].prompt_states);
		free(b->texts[i].relation_states);
	}
	editor__tokens_free(b->tokens, b->text_count);
	buf_free(&b->calibration);
	buf_free(&b->delta);
	free(b->anchors);
	model_close(&b->model);
	free(b);
}

/* ---- Edits */

static void keys_of(struct bench *b, size_t edit, float *raw, float *relation)
{
	const struct text *own = &b->texts[edit % b->text_count], *from = &b->texts[rng_below(&b->rng, b->text_count)],
			  *to = &b->texts[rng_below(&b->rng, b->text_count)];
	const float share = edit < b->text_count ? 0 : rng_uniform(&b->rng) / 2;
	for (size_t k = 0; k < b->shape->hidden; k++) {
		raw[k] = own->raw[k] + share * (to->raw[k] - from->raw[k]);
		relation[k] = own->relation[k] + share * (to->relation[k] - from->relation[k]);
	}
}

static void index_make(struct bench *b, size_t count, struct buf *out)
{
	const size_t hidden = b->shape->hidden;
	static const int32_t target[] = { 1, 2, 3 };
	struct editor_index_entry *entries = bench_memory(count, sizeof(*entries));
	float *keys = bench_memory(2 * count * hidden, sizeof(*keys));
	char(*names)[64] = bench_memory(count, sizeof(*names));
	struct err e = ERR_INIT;
	for (size_t i = 0; i < count; i++) {
		const size_t edit = b->edit_count + i;
		const struct text *text = &b->texts[edit % b->text_count];
		float *raw = keys + 2 * i * hidden;
		keys_of(b, edit, raw, raw + hidden);
		snprintf(names[i], sizeof(names[i]), "%.40s %zu", buf_cstr((struct buf *)&text->subject), edit);
		const bool is_text = edit < b->text_count;
		entries[i] = (struct editor_index_entry){
			.seq = edit + 1,
			.subject = { is_text ? (const char *)text->subject.data : names[i],
				     is_text ? text->subject.len : strlen(names[i]) },
			.subject_given = true,
			.raw = raw,
			.relation = raw + hidden,
			.target_ids = target,
			.target_count = 3,
			.anchors = b->anchors,
			.anchor_count = edit < QUERIES ? ANCHOR_ROWS : 0,
		};
	}
	bench_need(editor_index_encode(entries, count, hidden, b->shape->ffn, out, &e), &e);
	free(entries);
	free(keys);
	free(names);
}

/* As a node adds the memories of a newer version. Returns the time. */
static double edits_add(struct bench *b, size_t count)
{
	struct buf index = BUF_INIT;
	struct err e = ERR_INIT;
	index_make(b, count, &index);
	const bool is_read = b->edit_count < COST_EDITS; /* by what cost_measure decodes */
	const struct editor_memory_part part = { .id = b->part_count + 1,
						 .delta = is_read ? b->delta.data : NULL,
						 .delta_len = is_read ? b->delta.len : 0,
						 .index = index.data,
						 .index_len = index.len };
	const double began = bench_clock_us(1);
	bench_need(editor_memory_set_renew(b->set, b->shape, b->part_count + 2, b->part_count, &part, 1, NULL, 0,
					   EDITOR_SET_RETRIEVE, &e),
		   &e);
	const double took = bench_clock_us(1) - began;
	b->part_count++;
	b->edit_count += count;
	buf_free(&index);
	return took;
}

/* Times of ROUTES routes; returns how many of them led to an edit. */
static size_t routes_measure(struct bench *b, double us[ROUTES])
{
	struct err e = ERR_INIT;
	size_t routed = 0;
	for (size_t i = 0; i < ROUTES; i++) {
		const struct text *text = &b->texts[i % QUERIES];
		const struct editor_prompt prompt = { .ids = b->tokens[i % QUERIES].ids,
						      .id_count = b->tokens[i % QUERIES].id_count,
						      .prompt_states = text->prompt_states,
						      .relation_states = text->relation_states,
						      .looks = 1 };
		const struct model_side *side;
		struct editor_route route;
		uint64_t memory;
		const double began = bench_clock_us(1);
		bench_need(editor_memory_set_route(b->set, EDITOR_SET_RETRIEVE, model_tokenizer_of(b->model), &prompt,
						   &route, &side, &memory, &e),
			   &e);
		us[i] = bench_clock_us(1) - began;
		routed += route.routed ? 1 : 0;
	}
	return routed;
}

/* ---- What 10,000 edits cost a request */

/* PROMPT tokens: FILLER again and again, and behind it, where there is one, a full stop and the question. */
static void prompt_make(struct bench *b, const struct editor__tokens *question, int32_t ids[PROMPT])
{
	struct editor__tokens filler, stop;
	struct err e = ERR_INIT;
	bench_need(editor__tokens_of(b->model, FILLER, strlen(FILLER), &filler, &e), &e);
	bench_need(editor__tokens_of(b->model, ".\n", 2, &stop, &e), &e);
	const size_t behind = question == NULL ? 0 : question->id_count + stop.id_count;
	for (size_t i = 0; i < PROMPT - behind; i++)
		ids[i] = filler.ids[i % filler.id_count];
	if (question != NULL) {
		memcpy(ids + PROMPT - behind, stop.ids, stop.id_count * sizeof(*ids));
		memcpy(ids + PROMPT - question->id_count, question->ids, question->id_count * sizeof(*ids));
	}
	editor__tokens_free(&filler, 1);
	editor__tokens_free(&stop, 1);
}

/* Of the prefill, through *prefill_us, and of a step of decoding. */
static double request_us(struct editor_decoder *decoder, const int32_t *ids, size_t id_count, size_t tokens,
			 struct editor_memory_set *set, double *prefill_us, bool *routed)
{
	const struct editor_request request = {
		.ids = ids, .id_count = id_count, .token_max = tokens, .set = set, .sampling = { 0, 1 }
	};
	struct err e = ERR_INIT;
	size_t slot, steps = 0;
	double began = bench_clock_us(1);
	bench_need(editor_decoder_admit(decoder, &request, 1, &slot, &e), &e);
	*prefill_us = bench_clock_us(1) - began;
	const struct editor_sequence *sequence = editor_decoder_sequence(decoder, slot);
	*routed = sequence->memory_id != 0;
	began = bench_clock_us(1);
	for (; !sequence->done; steps++)
		bench_need(editor_decoder_step(decoder, &e), &e);
	const double took = bench_clock_us(1) - began;
	editor_decoder_release(decoder, slot);
	return steps > 0 ? took / (double)steps : 0;
}

static struct bench_pairs prefill_measure(struct bench *b, struct editor_decoder *decoder,
					  const struct editor__tokens *question, const char *name, double bar,
					  size_t rounds)
{
	struct bench_pairs pairs = { .name = name,
				     .unit = "ms",
				     .baseline = "the bare model",
				     .count = rounds,
				     .sense = BENCH_AT_MOST,
				     .bar = bar };
	int32_t ids[PROMPT];
	bool routed = false;
	prompt_make(b, question, ids);
	for (size_t i = 0; i < rounds; i++) {
		bool none;
		if (i % 2 == 0) /* neither is always the second */
			(void)request_us(decoder, ids, PROMPT, 1, NULL, &pairs.theirs[i], &none);
		(void)request_us(decoder, ids, PROMPT, 1, b->set, &pairs.ours[i], &routed);
		if (i % 2 != 0)
			(void)request_us(decoder, ids, PROMPT, 1, NULL, &pairs.theirs[i], &none);
		pairs.ours[i] *= 1e-3;
		pairs.theirs[i] *= 1e-3;
	}
	bench_report(&pairs);
	printf("  it reads %s\n", routed ? "an edit" : "no edit");
	return pairs;
}

/* A question that an edit answers, decoded for STEPS tokens. */
static void decode_measure(struct bench *b, struct editor_decoder *decoder, size_t rounds)
{
	struct bench_pairs pairs = { .name = "decoding by one of 10,000 edits",
				     .unit = "us a token",
				     .baseline = "the bare model",
				     .sense = BENCH_AT_MOST,
				     .bar = 1.03 };
	size_t others = 0;
	for (size_t i = 0; pairs.count < rounds && i < 4 * rounds; i++) {
		const struct editor__tokens *tokens = &b->tokens[i % QUERIES];
		double prefill;
		bool routed, none;
		const double bare = request_us(decoder, tokens->ids, tokens->id_count, STEPS, NULL, &prefill, &none);
		const double own = request_us(decoder, tokens->ids, tokens->id_count, STEPS, b->set, &prefill, &routed);
		if (!routed || bare == 0 || own == 0) {
			others++;
			continue;
		}
		pairs.theirs[pairs.count] = bare;
		pairs.ours[pairs.count++] = own;
	}
	if (pairs.count > 0)
		bench_report(&pairs);
	if (others > 0)
		printf("  %zu questions were not routed, or answered by nothing\n", others);
}

/* The routes again, as a share of the prefills of the bare model in `pairs`. */
static void share_report(const struct bench_pairs *route, const struct bench_pairs *prefill)
{
	struct bench_pairs share = { .name = "a route among 10,000 edits, beside a prefill of 512 tokens",
				     .unit = "us",
				     .baseline = "the bare model's prefill",
				     .count = prefill->count,
				     .sense = BENCH_AT_MOST,
				     .bar = 0.01 };
	for (size_t i = 0; i < share.count; i++) {
		share.ours[i] = route->ours[i];
		share.theirs[i] = 1e3 * prefill->theirs[i];
	}
	bench_report(&share);
}

static void cost_measure(struct bench *b, size_t rounds)
{
	struct bench_pairs route = { .name = "a route among 10,000 edits",
				     .unit = "us",
				     .count = ROUTES,
				     .sense = BENCH_AT_MOST,
				     .bar = ROUTE_US };
	struct editor_decoder *decoder = NULL;
	struct editor__tokens unknown;
	struct err e = ERR_INIT;
	(void)routes_measure(b, route.ours);
	bench_report(&route);
	bench_need(editor_decoder_new(b->model, 1, PROMPT + STEPS, PROMPT, &decoder, &e), &e);
	bench_need(editor__tokens_of(b->model, UNKNOWN, strlen(UNKNOWN), &unknown, &e), &e);
	const struct bench_pairs prefill =
		prefill_measure(b, decoder, NULL, "prefill of 512 tokens among 10,000 edits", 1.01, rounds);
	share_report(&route, &prefill);
	(void)prefill_measure(b, decoder, &unknown,
			      "prefill of 512 tokens that end with a question, among 10,000 edits", 1.01, rounds);
	/* cheaper: the question is answered by itself (decode.h) */
	(void)prefill_measure(b, decoder, &b->tokens[0], "prefill of 512 tokens that end with an edit's question", 0,
			      rounds);
	editor__tokens_free(&unknown, 1);
	decode_measure(b, decoder, rounds);
	editor_decoder_destroy(&decoder);
}

int main(int argc, char **argv)
{
	const size_t edits_max = argc > 1 ? strtoul(argv[1], NULL, 10) : 10000;
	const size_t asked = argc > 2 ? strtoul(argv[2], NULL, 10) : 9;
	const size_t rounds = asked < 1 ? 1 : asked > BENCH_PAIRS_MAX ? BENCH_PAIRS_MAX : asked;
	struct bench_curve adding = { .plot = "router",
				      .series = "loading an edit",
				      .x = "edits of the version",
				      .y = "us" },
			   route = { .plot = "router", .series = "a route", .x = "edits of the version", .y = "us" },
			   memory = { .plot = "router-memory",
				      .series = "a node",
				      .x = "edits of the version",
				      .y = "bytes an edit" };
	struct bench *b = bench_memory(1, sizeof(*b));
	open_all(b);
	const size_t before = bench_resident_bytes();
	for (size_t size = 100; size <= edits_max; size *= 10) {
		double us[ROUTES], per_edit = 0;
		const size_t first = b->edit_count;
		while (b->edit_count < size)
			per_edit += edits_add(b, size - b->edit_count < SLAB ? size - b->edit_count : SLAB);
		per_edit /= (double)(size - first);
		const size_t routed = routes_measure(b, us);
		double bytes = (double)(bench_resident_bytes() - before) / (double)size;
		bench_curve_add(&adding, (double)size, &per_edit, 1);
		bench_curve_add(&route, (double)size, us, ROUTES);
		bench_curve_add(&memory, (double)size, &bytes, 1);
		printf("%7zu edits: loaded in %.1f us each, %.0f bytes each, a route %.1f us [%.1f, %.1f], %zu of %u "
		       "routed\n",
		       size, per_edit, bytes, us[ROUTES / 2], us[ROUTES / 4], us[ROUTES * 3 / 4], routed, ROUTES);
		fflush(stdout);
		if (size == COST_EDITS)
			cost_measure(b, rounds);
	}
	bench_curve_report(&adding);
	bench_curve_report(&route);
	bench_curve_report(&memory);
	close_all(b);
	return 0;
}
