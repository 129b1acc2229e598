#include "editor/evaluate.h"
#include "base/fault.h"
#include "base/text.h"
#include "editor/answer.h"
#include "editor/evaluate_internal.h"
#include "editor/route_text.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

#define BATCH_ROWS       512u
#define SLOTS_MAX        32u
#define CACHE_TOKENS_MAX 4096u /* of all decoding sequences together */
#define UNCHANGED_TOKENS 8u    /* of the unedited model's answer, where an item has no target */
#define CONFIDENT        0.8

/* Decoded with the set and its routes; the same without anchors; by the unedited model. */
enum pass { ANSWERS, BARE, BASE };

/* ---- Routes: one pass through the lower layers */

/* Asked for its route alone: what a wrong route does to an answer is told by the short questions. */
static bool is_only_routed(const struct editor__question *q)
{
	return q->kind == EDITOR_ASKED_UNRELATED_LONG || q->kind == EDITOR_ASKED_SAME_FORM_LONG ||
	       q->kind == EDITOR_ASKED_SAME_SUBJECT_LONG || q->kind == EDITOR_ASKED_MENTION ||
	       q->kind == EDITOR_ASKED_MENTION_OTHER;
}

static bool is_locality(const struct editor__question *q)
{
	switch (q->kind) {
	case EDITOR_ASKED_UNRELATED:
	case EDITOR_ASKED_SAME_SUBJECT:
	case EDITOR_ASKED_NEIGHBORHOOD:
	case EDITOR_ASKED_SAME_FORM:
		return true;
	default:
		return is_only_routed(q);
	}
}

struct routing {
	struct editor__evaluator *v;
	struct editor__parts parts;
	struct err *e;
};

static int route_one(void *context, size_t at, const struct editor_prompt *prompt)
{
	struct routing *r = context;
	struct editor__question *q = &r->v->questions[at];
	const struct editor__text text = { .set = r->v->set,
					   .kind = r->v->set_kind,
					   .first = q->route_first,
					   .count = q->route_count,
					   .route = &q->route,
					   .side = &q->side,
					   .memory_id = &q->memory_id };
	return editor__text_route(&r->parts, r->v->model, &text, prompt, r->e);
}

static void route_by_oracle(struct editor__evaluator *v)
{
	for (size_t i = 0; i < v->count; i++) {
		struct editor__question *q = &v->questions[i];
		if (!is_locality(q))
			q->side =
				editor_memory_set_side_of(v->set, v->set_kind, v->what->seqs[q->record], &q->memory_id);
	}
}

static int route_all(struct editor__evaluator *v, struct err *e)
{
	const struct editor_key_layers layers = editor_memory_set_key_layers(v->set);
	struct routing routing = { .v = v, .e = e };
	if (editor_memory_set_edit_count(v->set) == 0 || v->count == 0)
		return 0;
	if (v->what->oracle) {
		route_by_oracle(v);
		return 0;
	}
	struct editor__tokens *tokens = fault_calloc(v->count, sizeof(*tokens));
	if (tokens == NULL)
		return err_set(e, ERR_NOMEM, "evaluation: out of memory");
	for (size_t i = 0; i < v->count; i++)
		tokens[i] = v->questions[i].tokens;
	int rc = editor__packer_prompts(v->packer, layers, tokens, v->count, route_one, &routing, v->watch, "route", e);
	if (rc == 0)
		rc = editor__parts_route(&routing.parts, v->packer, v->model, layers, v->watch, e);
	editor__parts_free(&routing.parts);
	free(tokens);
	return rc;
}

/* ---- Decoding */

struct decode_job {
	struct editor__evaluator *v;
	size_t *question_of;              /* of a request */
	struct editor__tokens *continued; /* one a question, or NULL: where the ids generated go */
	enum pass pass;
	int rc;
};

/* Inside a sentence: its target or an alias of that counts. */
static int one_stands_in(const struct editor__question *q, const char *text, size_t len, bool *right)
{
	int rc = editor_answer_stands_in(text, len, &q->target, right);
	for (size_t i = 0; i < q->alias_count && rc == 0 && !*right; i++)
		rc = editor_answer_stands_in(text, len, &q->aliases[i], right);
	return rc;
}

static int is_right(const struct editor__question *q, const char *text, size_t len, bool *right)
{
	if (editor__is_edit(q) || q->kind == EDITOR_ASKED_LONG)
		return editor_answer_matches(text, len, q->edit, right);
	return q->target.text != NULL ? one_stands_in(q, text, len, right) : 0;
}

/* For people: the first line that says something, without spaces around it, controls and broken characters escaped. */
static void show(const char *text, size_t len, char *out, size_t out_bytes)
{
	while (len > 0 && (*text == ' ' || *text == '\n' || *text == '\t')) {
		text++;
		len--;
	}
	text_show_line(text, len, out, out_bytes);
}

static int judge(struct decode_job *job, struct editor__question *q, const struct editor_sequence *sequence)
{
	struct buf text = BUF_INIT;
	bool right = false;
	int rc = model_tokenizer_decode(model_tokenizer_of(job->v->model), sequence->ids, sequence->id_count, false,
					&text);
	const char *bytes = text.len > 0 ? (const char *)text.data : "";
	const char *newline = memchr(bytes, '\n', text.len);
	const size_t len = newline != NULL ? (size_t)(newline - bytes) : text.len;
	if (rc == 0)
		rc = is_right(q, bytes, len, &right);
	if (job->pass == BASE)
		show(bytes, text.len, q->answer_base, sizeof(q->answer_base));
	else if (job->pass == ANSWERS)
		show(bytes, len, q->answer, sizeof(q->answer));
	double *const places[] = { &q->right, &q->right_bare, &q->right_base };
	*places[job->pass] = right ? 1 : 0;
	buf_free(&text);
	return rc;
}

static int continue_tokens(struct decode_job *job, struct editor__question *q, struct editor__tokens *out,
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
	struct editor__question *q = &job->v->questions[at];
	const int rc = job->continued != NULL ? continue_tokens(job, q, &job->continued[at], sequence)
					      : judge(job, q, sequence);
	if (rc != 0)
		job->rc = rc;
}

static int decoder_open(struct editor__evaluator *v, struct err *e)
{
	size_t token_max = 2;
	for (size_t i = 0; i < v->count; i++) {
		const size_t tokens = v->questions[i].tokens.id_count + v->questions[i].answer_tokens;
		token_max = tokens > token_max ? tokens : token_max;
	}
	size_t slots = CACHE_TOKENS_MAX / token_max;
	slots = slots < 1 ? 1 : slots > SLOTS_MAX ? SLOTS_MAX : slots;
	return editor_decoder_new(v->model, slots, token_max, BATCH_ROWS, &v->decoder, e);
}

/* Decodes the questions that `wanted` picks, with the set and its routes, or with the unedited model. `continued`: only
 * the first UNCHANGED_TOKENS, kept as text to compare on. */
static int decode_all(struct editor__evaluator *v, bool (*wanted)(const struct editor__question *q), enum pass pass,
		      struct editor__tokens *continued, struct err *e)
{
	struct editor_request *requests = fault_calloc(v->count, sizeof(*requests));
	struct decode_job job = { .v = v, .continued = continued, .pass = pass };
	size_t count = 0;
	job.question_of = fault_calloc(v->count, sizeof(*job.question_of));
	int rc = requests == NULL || job.question_of == NULL ? err_set(e, ERR_NOMEM, "evaluation: out of memory") : 0;
	for (size_t i = 0; i < v->count && rc == 0; i++) {
		const struct editor__question *q = &v->questions[i];
		if (!wanted(q))
			continue;
		job.question_of[count] = i;
		requests[count++] = (struct editor_request){
			.ids = q->tokens.ids,
			.id_count = q->tokens.id_count,
			.route_first = q->route_first,
			.route_count = q->route_count,
			.token_max = continued != NULL ? UNCHANGED_TOKENS : q->answer_tokens,
			.set = pass == BASE || v->what->oracle ? NULL : v->set,
			.forced = pass != BASE && v->what->oracle ? q->side : NULL,
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

static bool is_answered(const struct editor__question *q)
{
	return !is_locality(q);
}

static bool is_asked_before(const struct editor__question *q)
{
	return q->kind == EDITOR_ASKED_PROMPT || q->kind == EDITOR_ASKED_PORTABILITY;
}

static bool is_anchored(const struct editor__question *q)
{
	const bool around = q->kind == EDITOR_ASKED_LONG || q->kind == EDITOR_ASKED_CHAT;
	return (editor__is_edit(q) || around) && q->side != NULL && q->route.anchor.row_count > 0;
}

/* A question that reads no anchor is answered the same without. */
static int decode_bare(struct editor__evaluator *v, struct err *e)
{
	for (size_t i = 0; i < v->count; i++)
		v->questions[i].right_bare = v->questions[i].right;
	return v->what->no_anchor ? 0 : decode_all(v, is_anchored, BARE, NULL, e);
}

/* A prompt that keeps the main memory is unchanged by construction: only routed ones are compared. */
static bool is_compared(const struct editor__question *q)
{
	return is_locality(q) && !is_only_routed(q) && q->side != NULL;
}

static bool needs_continuation(const struct editor__question *q)
{
	return is_compared(q) && q->target.text == NULL;
}

/* ---- Teacher-forced scores */

/* What an item says of its question. */
enum role {
	ANSWER,      /* the target behind the text, as routed */
	ANSWER_BASE, /* the same by the unedited model */
	OWN_TEXT,    /* the text's own tokens */
	COMPARED,    /* a locality item with its memory; the next item is the same without */
	UNCHANGED,
};

struct forced_pass {
	struct editor__forced *items;
	struct {
		size_t question;
		enum role role;
	} * of; /* an item */
	size_t count;
};

static int add_forced(struct forced_pass *pass, size_t question, enum role role, struct editor__forced item)
{
	const size_t positions = item.text.id_count > item.first ? item.text.id_count - item.first : 1;
	item.argmax = fault_calloc(positions, sizeof(*item.argmax));
	item.loss = fault_calloc(positions, sizeof(*item.loss));
	pass->of[pass->count].question = question;
	pass->of[pass->count].role = role;
	pass->items[pass->count++] = item;
	return item.argmax == NULL || item.loss == NULL ? ERR_NOMEM : 0;
}

/* Texts of edits and compared items: prompt + " " + target, or the unedited model's continuation, which stands there
 * already. */
static int forced_texts(struct editor__evaluator *v, struct editor__tokens *texts, struct err *e)
{
	int rc = decode_all(v, needs_continuation, BASE, texts, e);
	for (size_t i = 0; i < v->count && rc == 0; i++) {
		const struct editor__question *q = &v->questions[i];
		if (q->target.text == NULL || !(editor__is_edit(q) || is_compared(q)))
			continue;
		rc = editor__tokens_of_pair(v->model, q->text.text, q->text.len, q->target.text, q->target.len,
					    &texts[i], e);
		if (rc != 0)
			err_wrap(e, "evaluation: \"%.60s\" with its target", q->text.text);
	}
	return rc;
}

static double share_equal(const struct editor__forced *item, const int32_t *expected)
{
	size_t equal = 0, positions = 0;
	for (size_t k = item->first; k < item->text.id_count; k++, positions++)
		equal += item->argmax[positions] == expected[positions] ? 1 : 0;
	return positions > 0 ? (double)equal / (double)positions : (double)NAN;
}

static double share_confident(const struct editor__forced *item)
{
	size_t confident = 0, positions = 0;
	for (size_t k = item->first; k < item->text.id_count; k++, positions++)
		confident += exp(-(double)item->loss[positions]) > CONFIDENT ? 1 : 0;
	return positions > 0 ? (double)confident / (double)positions : (double)NAN;
}

static double perplexity(const struct editor__forced *item)
{
	double sum = 0;
	size_t positions = 0;
	for (size_t k = item->first; k < item->text.id_count; k++)
		sum += (double)item->loss[positions++];
	return positions > 0 ? exp(sum / (double)positions) : (double)NAN;
}

static void score_forced(struct editor__evaluator *v, const struct forced_pass *pass)
{
	for (size_t i = 0; i < pass->count; i++) {
		const struct editor__forced *item = &pass->items[i];
		struct editor__question *q = &v->questions[pass->of[i].question];
		switch (pass->of[i].role) {
		case ANSWER:
			q->forced = share_equal(item, item->text.ids + item->first);
			q->ppl = perplexity(item);
			q->confident = share_confident(item);
			break;
		case ANSWER_BASE:
			q->ppl_base = perplexity(item);
			break;
		case OWN_TEXT:
			q->confident_own = share_confident(item);
			break;
		case COMPARED:
			q->forced = share_equal(item, pass->items[i + 1].argmax);
			break;
		case UNCHANGED:
			break;
		}
	}
}

/* A question's items; text: its tokens with the target behind them, or none. */
static int add_items(const struct editor__evaluator *v, struct forced_pass *pass, size_t at,
		     const struct editor__tokens *text)
{
	const struct editor__question *q = &v->questions[at];
	const size_t first = q->tokens.id_count;
	const struct editor_anchor *anchor = v->what->no_anchor ? NULL : &q->route.anchor;
	const struct editor__forced routed = { .text = *text, .first = first, .side = q->side, .anchor = anchor },
				    plain = { .text = *text, .first = first },
				    own = { .text = q->tokens, .first = 1, .side = q->side };
	int rc = 0;
	if (text->ids == NULL)
		return 0;
	rc = add_forced(pass, at, editor__is_edit(q) ? ANSWER : COMPARED, routed);
	if (rc == 0 && !editor__is_edit(q))
		rc = add_forced(pass, at, UNCHANGED, plain);
	if (rc == 0 && q->kind == EDITOR_ASKED_PROMPT && v->what->before_too)
		rc = add_forced(pass, at, ANSWER_BASE, plain);
	if (rc == 0 && q->kind == EDITOR_ASKED_REPHRASE)
		rc = add_forced(pass, at, OWN_TEXT, own);
	return rc;
}

static int forced_pass_run(struct editor__evaluator *v, struct editor__tokens *texts, struct forced_pass *pass,
			   struct err *e)
{
	int rc = forced_texts(v, texts, e);
	for (size_t i = 0; i < v->count && rc == 0; i++) {
		struct editor__question *q = &v->questions[i];
		if (is_locality(q) && q->side == NULL)
			q->forced = 1;
		rc = add_items(v, pass, i, &texts[i]);
		if (rc != 0)
			err_set(e, rc, "evaluation: out of memory");
	}
	if (rc == 0)
		rc = editor__packer_forced(v->packer, pass->items, pass->count, v->watch, "score", e);
	if (rc == 0)
		score_forced(v, pass);
	return rc;
}

static int forced_all(struct editor__evaluator *v, struct err *e)
{
	struct editor__tokens *texts = fault_calloc(v->count, sizeof(*texts));
	struct forced_pass pass = { .items = fault_calloc(2 * v->count, sizeof(*pass.items)),
				    .of = fault_calloc(2 * v->count, sizeof(*pass.of)) };
	int rc = texts == NULL || pass.items == NULL || pass.of == NULL
			 ? err_set(e, ERR_NOMEM, "evaluation: out of memory")
			 : forced_pass_run(v, texts, &pass, e);
	for (size_t i = 0; i < pass.count; i++) {
		free(pass.items[i].argmax);
		free(pass.items[i].loss);
	}
	if (texts != NULL)
		editor__tokens_free(texts, v->count);
	free(texts);
	free(pass.items);
	free(pass.of);
	return rc;
}

int editor_evaluate(struct model *model, const struct editor_config *config, struct editor_memory_set *set,
		    enum editor_set_kind kind, const struct editor_evaluation *evaluation, struct editor_scores *scores,
		    struct editor_answer *answers, const struct editor_watch *watch, struct err *e)
{
	struct editor__evaluator v = {
		.model = model, .config = config, .set = set, .set_kind = kind, .what = evaluation, .watch = watch
	};
	memset(scores, 0, sizeof(*scores));
	if (evaluation->details != NULL)
		memset(evaluation->details, 0, sizeof(*evaluation->details));
	int rc = editor__evaluate_ask(&v, e);
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
		rc = decode_all(&v, is_asked_before, BASE, NULL, e);
	if (rc == 0)
		rc = editor__evaluate_sum(&v, scores, answers, e);
	editor_decoder_destroy(&v.decoder);
	editor__packer_destroy(&v.packer);
	for (size_t i = 0; i < v.count; i++)
		editor__tokens_free(&v.questions[i].tokens, 1);
	free(v.questions);
	return rc;
}
