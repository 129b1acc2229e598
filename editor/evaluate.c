#include "editor/evaluate.h"
#include "base/fault.h"
#include "base/text.h"
#include "editor/answer.h"
#include "editor/decode.h"
#include "editor/packed.h"
#include "editor/twins.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

#define BATCH_ROWS       512u
#define SLOTS_MAX        32u
#define CACHE_TOKENS_MAX 4096u /* of all decoding sequences together */
#define UNCHANGED_TOKENS 8u    /* of the unedited model's answer, where an item has no target */

/* Decoded with the set and its routes; the same without anchors; by the unedited model. */
enum pass { ANSWERS, BARE, BASE };
enum kind { PROMPT, REPHRASE, UNRELATED, SAME_SUBJECT, NEIGHBORHOOD, SAME_FORM, PORTABILITY };

/* One text that is asked, and what came of it. Those of a record stand together, so that a record's mean is one sweep.
 */
struct question {
	enum kind kind;
	size_t record;                   /* index; of a probe for SAME_FORM */
	struct record_text text, target; /* target.text NULL: none */
	struct editor__tokens tokens;
	struct editor_route route;
	const struct model_side *side; /* NULL: main memory */
	uint64_t memory_id;
	double forced;     /* teacher-forced accuracy, or share of unchanged positions; NaN: not asked */
	double right;      /* free decoding: 0 or 1; NaN: not asked */
	double right_bare; /* the same without anchors */
	double right_base; /* the same of the unedited model */
	char answer[160], answer_base[160];
};

struct evaluator {
	struct model *model;
	const struct editor_config *config;
	struct editor_memory_set *set;
	enum editor_set_kind set_kind;
	const struct editor_evaluation *what;
	const struct editor_watch *watch;
	struct question *questions;
	size_t count, cap;
	struct editor__packer *packer;
	struct editor_decoder *decoder;
};

/* ---- What is asked */

static int ask(struct evaluator *v, enum kind kind, size_t record, struct record_text text, struct record_text target,
	       struct err *e)
{
	if (v->count == v->cap) {
		const size_t cap = v->cap > 0 ? 2 * v->cap : 256;
		struct question *grown = fault_realloc(v->questions, cap * sizeof(*grown));
		if (grown == NULL)
			return err_set(e, ERR_NOMEM, "evaluation: out of memory");
		v->questions = grown;
		v->cap = cap;
	}
	struct question *q = &v->questions[v->count];
	memset(q, 0, sizeof(*q));
	q->kind = kind;
	q->record = record;
	q->text = text;
	q->target = target;
	q->forced = q->right = q->right_bare = q->right_base = (double)NAN;
	int rc = editor__tokens_of(v->model, text.text, text.len, &q->tokens, e);
	if (rc != 0)
		return err_wrap(e, "evaluation: \"%.60s\"", text.text);
	v->count++;
	return 0;
}

static bool is_kind(const struct record_text *kind, const char *name)
{
	return kind->text != NULL && kind->len == strlen(name) && memcmp(kind->text, name, kind->len) == 0;
}

static enum kind locality_kind(const struct record_probe *item)
{
	if (is_kind(&item->kind, "same_subject"))
		return SAME_SUBJECT;
	return is_kind(&item->kind, "neighborhood") ? NEIGHBORHOOD : UNRELATED;
}

static int ask_record(struct evaluator *v, size_t index, struct err *e)
{
	const struct record *record = v->what->records[index];
	int rc = ask(v, PROMPT, index, record->prompt, record->target_new, e);
	for (size_t i = 0; i < record->rephrase_count && rc == 0; i++)
		rc = ask(v, REPHRASE, index, record->rephrases[i], record->target_new, e);
	for (size_t i = 0; i < record->locality_count && rc == 0; i++)
		rc = ask(v, locality_kind(&record->locality[i]), index, record->locality[i].prompt,
			 record->locality[i].target, e);
	for (size_t i = 0; i < record->portability_count && rc == 0; i++)
		rc = ask(v, PORTABILITY, index, record->portability[i].prompt, record->portability[i].target, e);
	return rc;
}

static int ask_all(struct evaluator *v, struct err *e)
{
	const struct record_text none = { NULL, 0 };
	int rc = 0;
	for (size_t i = 0; i < v->what->record_count && rc == 0; i++)
		rc = ask_record(v, i, e);
	for (size_t i = 0; i < v->what->probe_count && rc == 0; i++)
		rc = ask(v, SAME_FORM, i, v->what->probes[i]->prompt, none, e);
	return rc;
}

/* ---- Routes: one pass through the lower layers */

struct routing {
	struct evaluator *v;
	struct err *e;
};

static int route_one(void *context, size_t at, const struct editor_prompt *prompt)
{
	const struct routing *r = context;
	struct question *q = &r->v->questions[at];
	return editor_memory_set_route(r->v->set, r->v->set_kind, model_tokenizer_of(r->v->model), prompt, &q->route,
				       &q->side, &q->memory_id, r->e);
}

static int route_all(struct evaluator *v, struct err *e)
{
	struct routing routing = { v, e };
	if (editor_memory_set_edit_count(v->set) == 0 || v->count == 0)
		return 0;
	struct editor__tokens *tokens = fault_calloc(v->count, sizeof(*tokens));
	if (tokens == NULL)
		return err_set(e, ERR_NOMEM, "evaluation: out of memory");
	for (size_t i = 0; i < v->count; i++)
		tokens[i] = v->questions[i].tokens;
	int rc = editor__packer_prompts(v->packer, editor_memory_set_key_layers(v->set), tokens, v->count, route_one,
					&routing, v->watch, "route", e);
	free(tokens);
	return rc;
}

/* ---- Decoding */

static bool is_edit(const struct question *q)
{
	return q->kind == PROMPT || q->kind == REPHRASE;
}

static bool is_locality(const struct question *q)
{
	return !is_edit(q) && q->kind != PORTABILITY;
}

struct decode_job {
	struct evaluator *v;
	size_t *question_of;              /* of a request */
	struct editor__tokens *continued; /* one a question, or NULL: where the ids generated go */
	enum pass pass;
	int rc;
};

static int contains_target(const char *text, size_t len, const struct record_text *target, bool *holds)
{
	struct buf a = BUF_INIT, b = BUF_INIT;
	int rc = editor_answer_normalise(text, len, &a);
	if (rc == 0)
		rc = editor_answer_normalise(target->text, target->len, &b);
	*holds = rc == 0 && b.len > 0 && strstr(buf_cstr(&a), buf_cstr(&b)) != NULL;
	buf_free(&a);
	buf_free(&b);
	return rc;
}

/* For people: the first line that says something, without spaces around it, controls and broken characters escaped. */
static void show(const char *text, size_t len, char *out, size_t out_bytes)
{
	struct buf shown = BUF_INIT;
	while (len > 0 && (*text == ' ' || *text == '\n' || *text == '\t')) {
		text++;
		len--;
	}
	const char *newline = len > 0 ? memchr(text, '\n', len) : NULL;
	text_escape(text, newline != NULL ? (size_t)(newline - text) : len, &shown);
	size_t cut = shown.len < out_bytes ? shown.len : out_bytes - 1;
	while (cut < shown.len && cut > 0 && (shown.data[cut] & 0xC0) == 0x80)
		cut--;
	if (cut > 0)
		memcpy(out, shown.data, cut);
	out[cut] = '\0';
	buf_free(&shown);
}

static int judge(struct decode_job *job, struct question *q, const struct editor_sequence *sequence)
{
	struct buf text = BUF_INIT;
	bool right = false;
	int rc = model_tokenizer_decode(model_tokenizer_of(job->v->model), sequence->ids, sequence->id_count, false,
					&text);
	const char *bytes = text.len > 0 ? (const char *)text.data : "";
	const char *newline = memchr(bytes, '\n', text.len);
	const size_t len = newline != NULL ? (size_t)(newline - bytes) : text.len;
	if (rc == 0 && is_edit(q))
		rc = editor_answer_matches(bytes, len, job->v->what->records[q->record], &right);
	else if (rc == 0 && q->target.text != NULL)
		rc = contains_target(bytes, len, &q->target, &right);
	if (job->pass == BASE)
		show(bytes, text.len, q->answer_base, sizeof(q->answer_base));
	else if (job->pass == ANSWERS)
		show(bytes, len, q->answer, sizeof(q->answer));
	double *const places[] = { &q->right, &q->right_bare, &q->right_base };
	*places[job->pass] = right ? 1 : 0;
	buf_free(&text);
	return rc;
}

static int continue_tokens(struct decode_job *job, struct question *q, struct editor__tokens *out,
			   const struct editor_sequence *sequence)
{
	/* an answer that ends at once still has one position to compare: that of the end */
	const int32_t end = model_tokenizer_eos(model_tokenizer_of(job->v->model));
	const size_t more = sequence->id_count > 0 ? sequence->id_count : 1;
	out->ids = fault_malloc((q->tokens.id_count + more) * sizeof(*out->ids));
	if (out->ids == NULL)
		return ERR_NOMEM;
	memcpy(out->ids, q->tokens.ids, q->tokens.id_count * sizeof(*out->ids));
	memcpy(out->ids + q->tokens.id_count, sequence->id_count > 0 ? sequence->ids : &end, more * sizeof(*out->ids));
	out->id_count = q->tokens.id_count + more;
	return 0;
}

static void on_decoded(void *context, size_t request, const struct editor_sequence *sequence)
{
	struct decode_job *job = context;
	const size_t at = job->question_of[request];
	struct question *q = &job->v->questions[at];
	const int rc = job->continued != NULL ? continue_tokens(job, q, &job->continued[at], sequence)
					      : judge(job, q, sequence);
	if (rc != 0)
		job->rc = rc;
}

static int decoder_open(struct evaluator *v, struct err *e)
{
	size_t longest = 0;
	for (size_t i = 0; i < v->count; i++)
		longest = v->questions[i].tokens.id_count > longest ? v->questions[i].tokens.id_count : longest;
	const size_t token_max = longest + v->config->answer_tokens_max;
	size_t slots = CACHE_TOKENS_MAX / token_max;
	slots = slots < 1 ? 1 : slots > SLOTS_MAX ? SLOTS_MAX : slots;
	return editor_decoder_new(v->model, slots, token_max, BATCH_ROWS, &v->decoder, e);
}

/* Decodes the questions that `wanted` picks, with the set and its routes, or with the unedited model. `continued`: only
 * the first UNCHANGED_TOKENS, kept as text to compare on. */
static int decode_all(struct evaluator *v, bool (*wanted)(const struct question *q), enum pass pass,
		      struct editor__tokens *continued, struct err *e)
{
	struct editor_request *requests = fault_calloc(v->count, sizeof(*requests));
	struct decode_job job = { .v = v, .continued = continued, .pass = pass };
	size_t count = 0;
	job.question_of = fault_calloc(v->count, sizeof(*job.question_of));
	int rc = requests == NULL || job.question_of == NULL ? err_set(e, ERR_NOMEM, "evaluation: out of memory") : 0;
	for (size_t i = 0; i < v->count && rc == 0; i++) {
		const struct question *q = &v->questions[i];
		if (!wanted(q))
			continue;
		job.question_of[count] = i;
		requests[count++] = (struct editor_request){
			.ids = q->tokens.ids,
			.id_count = q->tokens.id_count,
			.token_max = continued != NULL ? UNCHANGED_TOKENS : v->config->answer_tokens_max,
			.set = pass == BASE ? NULL : v->set,
			.no_anchor = pass == BARE || v->what->no_anchor,
			.kind = v->set_kind,
			.sampling = { .temperature = 0, .top_p = 1 },
			/* the unedited model often begins with an empty line: what it says then is shown, not counted
			 */
			.stop_at_newline = continued == NULL && pass != BASE,
		};
	}
	if (rc == 0 && count > 0)
		rc = editor_decoder_run(v->decoder, requests, count, on_decoded, &job, v->watch, e);
	if (rc == 0 && job.rc != 0)
		rc = err_set(e, job.rc, "evaluation: an answer could not be read");
	free(requests);
	free(job.question_of);
	return rc;
}

static bool is_answered(const struct question *q)
{
	return is_edit(q) || q->kind == PORTABILITY;
}

static bool is_prompt(const struct question *q)
{
	return q->kind == PROMPT;
}

static bool is_anchored(const struct question *q)
{
	return q->kind == REPHRASE && q->side != NULL && q->route.anchor.row_count > 0;
}

/* A rephrase that reads no anchor answers the same without. */
static int decode_bare(struct evaluator *v, struct err *e)
{
	for (size_t i = 0; i < v->count; i++)
		v->questions[i].right_bare = v->questions[i].right;
	return v->what->no_anchor ? 0 : decode_all(v, is_anchored, BARE, NULL, e);
}

/* A prompt that keeps the main memory is unchanged by construction: only routed ones are compared. */
static bool is_compared(const struct question *q)
{
	return is_locality(q) && q->side != NULL;
}

static bool needs_continuation(const struct question *q)
{
	return is_compared(q) && q->target.text == NULL;
}

/* ---- Teacher-forced scores */

struct forced_pass {
	struct editor__forced *items;
	size_t *question_of;
	size_t count;
};

static int add_forced(struct forced_pass *pass, size_t question, const struct editor__tokens *text, size_t first,
		      const struct model_side *side, const struct editor_anchor *anchor)
{
	struct editor__forced *item = &pass->items[pass->count];
	const size_t positions = text->id_count > first ? text->id_count - first : 1;
	*item = (struct editor__forced){ .text = *text, .first = first, .side = side, .anchor = anchor };
	item->argmax = fault_calloc(positions, sizeof(*item->argmax));
	if (item->argmax == NULL)
		return ERR_NOMEM;
	pass->question_of[pass->count++] = question;
	return 0;
}

/* Texts of edits and compared items: prompt + " " + target, or the unedited model's continuation, which stands there
 * already. */
static int forced_texts(struct evaluator *v, struct editor__tokens *texts, struct err *e)
{
	int rc = decode_all(v, needs_continuation, BASE, texts, e);
	for (size_t i = 0; i < v->count && rc == 0; i++) {
		const struct question *q = &v->questions[i];
		if (q->target.text == NULL || !(is_edit(q) || is_compared(q)))
			continue;
		rc = editor__tokens_of_pair(v->model, q->text.text, q->text.len, q->target.text, q->target.len,
					    &texts[i], e);
		if (rc != 0)
			err_wrap(e, "evaluation: \"%.60s\" with its target", q->text.text);
	}
	return rc;
}

static void score_forced(struct evaluator *v, const struct forced_pass *pass)
{
	for (size_t i = 0; i < pass->count; i++) {
		const struct editor__forced *item = &pass->items[i];
		struct question *q = &v->questions[pass->question_of[i]];
		/* a compared item stands twice: with its memory, then without */
		const bool compared = !is_edit(q);
		const int32_t *expected = compared ? pass->items[i + 1].argmax : item->text.ids + item->first;
		size_t equal = 0, positions = 0;
		for (size_t k = item->first; k < item->text.id_count; k++, positions++)
			equal += item->argmax[positions] == expected[positions] ? 1 : 0;
		if (positions > 0)
			q->forced = (double)equal / (double)positions;
		i += compared ? 1 : 0;
	}
}

static int forced_pass_run(struct evaluator *v, struct editor__tokens *texts, struct forced_pass *pass, struct err *e)
{
	int rc = forced_texts(v, texts, e);
	for (size_t i = 0; i < v->count && rc == 0; i++) {
		struct question *q = &v->questions[i];
		if (is_locality(q) && q->side == NULL)
			q->forced = 1;
		if (texts[i].ids == NULL)
			continue;
		rc = add_forced(pass, i, &texts[i], q->tokens.id_count, q->side,
				v->what->no_anchor ? NULL : &q->route.anchor);
		if (rc == 0 && !is_edit(q))
			rc = add_forced(pass, i, &texts[i], q->tokens.id_count, NULL, NULL);
		if (rc != 0)
			err_set(e, rc, "evaluation: out of memory");
	}
	if (rc == 0)
		rc = editor__packer_forced(v->packer, pass->items, pass->count, v->watch, "score", e);
	if (rc == 0)
		score_forced(v, pass);
	return rc;
}

static int forced_all(struct evaluator *v, struct err *e)
{
	struct editor__tokens *texts = fault_calloc(v->count, sizeof(*texts));
	struct forced_pass pass = { .items = fault_calloc(2 * v->count, sizeof(*pass.items)),
				    .question_of = fault_calloc(2 * v->count, sizeof(*pass.question_of)) };
	int rc = texts == NULL || pass.items == NULL || pass.question_of == NULL
			 ? err_set(e, ERR_NOMEM, "evaluation: out of memory")
			 : forced_pass_run(v, texts, &pass, e);
	for (size_t i = 0; i < pass.count; i++)
		free(pass.items[i].argmax);
	if (texts != NULL)
		editor__tokens_free(texts, v->count);
	free(texts);
	free(pass.items);
	free(pass.question_of);
	return rc;
}

/* ---- Means */

enum value { FORCED, RIGHT, RIGHT_BARE, RIGHT_BASE, ROUTED, RIGHT_MEMORY };

static double value_of(const struct evaluator *v, const struct question *q, enum value value)
{
	uint64_t own = 0;
	switch (value) {
	case FORCED:
		return q->forced;
	case RIGHT:
		return q->right;
	case RIGHT_BARE:
		return q->right_bare;
	case RIGHT_BASE:
		return q->right_base;
	case ROUTED:
		return q->side != NULL ? 1 : 0;
	case RIGHT_MEMORY:
		break;
	}
	if (q->side == NULL || editor_memory_set_side_of(v->set, v->set_kind, v->what->seqs[q->record], &own) == NULL)
		return 0;
	return own == q->memory_id ? 1 : 0;
}

/* The mean over records of each record's mean; `left_out` (one a record, or NULL) leaves records out. NaN when nothing
 * was asked. */
static double mean_of(const struct evaluator *v, enum kind kind, enum value value, const bool *left_out)
{
	double sum = 0, own = 0;
	size_t records = 0, n = 0;
	for (size_t i = 0; i <= v->count; i++) {
		const struct question *q = i < v->count ? &v->questions[i] : NULL;
		const bool next = q == NULL || (i > 0 && (q->record != q[-1].record ||
							  (q->kind == SAME_FORM) != (q[-1].kind == SAME_FORM)));
		if (next && n > 0) {
			sum += own / (double)n;
			records++;
			own = 0;
			n = 0;
		}
		if (q == NULL || q->kind != kind || (left_out != NULL && left_out[q->record]))
			continue;
		const double x = value_of(v, q, value);
		own += isnan(x) ? 0 : x;
		n += isnan(x) ? 0 : 1;
	}
	return records > 0 ? sum / (double)records : (double)NAN;
}

static int sum_up(const struct evaluator *v, struct editor_scores *s, struct err *e)
{
	bool *conflict = fault_calloc(v->what->record_count + 1, sizeof(*conflict));
	int rc = conflict == NULL ? err_set(e, ERR_NOMEM, "evaluation: out of memory")
				  : editor__twins_mark(v->what, conflict, e);
	if (rc == 0)
		rc = editor__twins_count_verbatim(v->what, &s->rephrases_verbatim, e);
	if (rc == 0) {
		s->edits = v->what->record_count;
		s->rel = mean_of(v, PROMPT, FORCED, NULL);
		s->gen = mean_of(v, REPHRASE, FORCED, NULL);
		s->loc = mean_of(v, UNRELATED, FORCED, NULL);
		s->loc_same_subject = mean_of(v, SAME_SUBJECT, FORCED, NULL);
		s->loc_neighborhood = mean_of(v, NEIGHBORHOOD, FORCED, NULL);
		s->loc_same_form = mean_of(v, SAME_FORM, FORCED, NULL);
		s->free_rel = mean_of(v, PROMPT, RIGHT, NULL);
		s->free_gen = mean_of(v, REPHRASE, RIGHT, NULL);
		s->free_gen_no_anchor = mean_of(v, REPHRASE, RIGHT_BARE, NULL);
		s->free_gen_no_conflict = mean_of(v, REPHRASE, RIGHT, conflict);
		s->free_rel_base = mean_of(v, PROMPT, RIGHT_BASE, NULL);
		s->right_memory = mean_of(v, REPHRASE, RIGHT_MEMORY, NULL);
		s->right_memory_prompts = mean_of(v, PROMPT, RIGHT_MEMORY, NULL);
		s->routed_unrelated = mean_of(v, UNRELATED, ROUTED, NULL);
		s->routed_same_form = mean_of(v, SAME_FORM, ROUTED, NULL);
		s->routed_same_subject = mean_of(v, SAME_SUBJECT, ROUTED, NULL);
		s->portability = mean_of(v, PORTABILITY, RIGHT, NULL);
		s->probes_same_form = v->what->probe_count;
	}
	free(conflict);
	return rc;
}

static void fill_answers(const struct evaluator *v, struct editor_answer *answers)
{
	memset(answers, 0, v->what->record_count * sizeof(*answers));
	for (size_t i = 0; i < v->count; i++) {
		const struct question *q = &v->questions[i];
		struct editor_answer *a = is_edit(q) ? &answers[q->record] : NULL;
		if (q->kind == PROMPT) {
			memcpy(a->prompt_before, q->answer_base, sizeof(a->prompt_before));
			memcpy(a->prompt_after, q->answer, sizeof(a->prompt_after));
			a->prompt_right = q->right > 0;
			a->prompt_memory = q->memory_id;
		} else if (q->kind == REPHRASE && v->questions[i - 1].kind == PROMPT) {
			memcpy(a->rephrase_after, q->answer, sizeof(a->rephrase_after));
			a->rephrase_right = q->right > 0;
			a->rephrase_memory = q->memory_id;
			a->rephrase_score = q->route.prompt_score;
		}
	}
}

int editor_evaluate(struct model *model, const struct editor_config *config, struct editor_memory_set *set,
		    enum editor_set_kind kind, const struct editor_evaluation *evaluation, struct editor_scores *scores,
		    struct editor_answer *answers, const struct editor_watch *watch, struct err *e)
{
	struct evaluator v = {
		.model = model, .config = config, .set = set, .set_kind = kind, .what = evaluation, .watch = watch
	};
	memset(scores, 0, sizeof(*scores));
	int rc = ask_all(&v, e);
	if (rc == 0)
		rc = editor__packer_new(model, BATCH_ROWS, &v.packer, e);
	if (rc == 0)
		rc = route_all(&v, e);
	if (rc == 0 && v.count > 0)
		rc = decoder_open(&v, e);
	if (rc == 0 && v.count > 0)
		rc = forced_all(&v, e);
	if (rc == 0 && v.count > 0)
		rc = decode_all(&v, is_answered, ANSWERS, NULL, e);
	if (rc == 0 && v.count > 0)
		rc = decode_bare(&v, e);
	if (rc == 0 && v.count > 0 && evaluation->before_too)
		rc = decode_all(&v, is_prompt, BASE, NULL, e);
	if (rc == 0)
		rc = sum_up(&v, scores, e);
	if (rc == 0 && answers != NULL)
		fill_answers(&v, answers);
	editor_decoder_destroy(&v.decoder);
	editor__packer_destroy(&v.packer);
	for (size_t i = 0; i < v.count; i++)
		editor__tokens_free(&v.questions[i].tokens, 1);
	free(v.questions);
	return rc;
}
