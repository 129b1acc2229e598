/* shard_internal.h: what the files around a shard share: shard.c (edits), prefix.c and views.c (what the frozen layers
 * make of their texts), batch.c (packing), train.c and protect.c (steps and passes), retest.c, shard_wise.c (family
 * `paper`), metric.c and merge.c. Not for others. */
#ifndef AMEND_EDITOR_SHARD_INTERNAL_H
#define AMEND_EDITOR_SHARD_INTERNAL_H

#include "editor/shard.h"
#include "editor/subject_names.h"
#include "editor/tokens.h"

#include "base/rng.h"

/* Rows of one packed batch; a mini-batch with more is split and its gradients are added. A longer edit is a batch of
 * its own. */
#define EDITOR__ROWS_MAX 1024

struct editor__edit {
	uint64_t seq;
	struct record *record; /* prompt, target, subject and aliases of both only */
	int32_t *ids;          /* prompt, target, end-of-text */
	size_t id_count, prompt_count;
	/* Computed once (everything below the edited matrix is frozen), for the id_count − 1 tokens that predict
	 * something. */
	float *inputs;              /* A(x): rows × ffn; NULL until then; owns the two below */
	float *residual;            /* rows × hidden */
	float *raw;                 /* hidden: raw key of the prompt */
	float *relation;            /* hidden: raw relation key */
	struct buf subject;         /* folded; tells the relation from the rest */
	struct buf subject_aliases; /* of a subject that is given (subject_names.h) */
	float *forms;               /* keys of the prompt by other names of its subject (forms.c), as in route.h */
	size_t form_count;
	struct buf words;           /* of the prompt beside the subject (words.h) */
	bool subject_given;         /* by people, and it stands in the prompt */
	bool subject_names;         /* it was not, and the prompt's names stand for it */
	double sum, square_sum;     /* of inputs */
	struct editor__view *views; /* views.c: its own (first those by other names), which stay, then lent ones */
	size_t view_count, own_view_count, name_view_count;
	bool views_owned;                /* its own have been made, if it can have any */
	const struct editor__view *seen; /* what a batch takes instead of the edit's own prompt; NULL: that */
	bool gave_up;                    /* failed after all tries: not tried again for the sake of other edits */
};

struct editor__batch {
	size_t row_cap, segment_cap, label_cap;
	size_t row_count, segment_count, label_count;
	float *x, *y, *dy; /* rows × ffn, rows × hidden, rows × hidden */
	struct model_segment *segments;
	size_t *rows;
	int32_t *labels, *argmax;
	float *scale, *loss;
};

struct editor__trainer { /* backend memory, hidden × ffn each */
	float *base;     /* W */
	float *delta;    /* being trained */
	float *sum;      /* W + delta */
	float *grad, *m, *v;
	uint64_t step;      /* of Adam; 0: moments are to be cleared */
	float *noise;       /* pool of normals, host */
	float prompt_noise; /* of local passes (shard.h) */
	bool views_made;    /* for local passes */
	float *protect;     /* P of protect.c: ffn × ffn; covers these edits, in this order */
	uint64_t *protected_seqs;
	size_t protected_count;
};

struct editor_wise;
struct editor_shard {
	struct model *model;
	struct editor_config config;
	const struct model_shape *shape;
	struct model_backend *backend;
	struct model_run *run;
	struct editor__edit *edits;
	size_t edit_count, edit_cap;
	float *delta;   /* hidden × ffn, host */
	size_t row_max; /* of run */
	struct editor__batch batch;
	struct editor__trainer trainer;
	/* family `paper`: */
	struct editor_wise *wise; /* NULL before the first training */
	struct buf corpus;
	struct editor__replay { /* L_memo */
		uint64_t memory, seq;
		struct record *record;
	} * replays;
	size_t replay_count;
};

static inline struct names editor__edit_names(struct editor__edit *edit)
{
	return (struct names){ buf_cstr(&edit->subject), edit->subject.len, (const char *)edit->subject_aliases.data,
			       edit->subject_aliases.len };
}
static inline size_t editor__edit_rows(const struct editor__edit *edit)
{
	return edit->id_count - 1;
}
static inline size_t editor__edit_labels(const struct editor__edit *edit)
{
	return edit->id_count - edit->prompt_count;
}
static inline size_t editor__matrix_size(const struct editor_shard *shard)
{
	return shard->shape->hidden * shard->shape->ffn;
}
static inline int editor__watch(const struct editor_watch *watch, const char *phase, size_t done, size_t total,
				double loss, struct err *e)
{
	if (watch == NULL || watch->on_progress == NULL ||
	    watch->on_progress(watch->context, phase, done, total, loss) == 0)
		return 0;
	return err_set(e, ERR_INTERRUPTED, "%s stopped after %zu of %zu", phase, done, total);
}

/* prefix.c: texts (of 1 to the model's context rows) through the layers below the edited matrix, packed into batches of
 * sixteen rows and more, so that a text's rows have the same bits in any company. `keep` is called for each in order
 * and copies what it wants (borrowed: row_count × ffn, hidden, hidden, hidden); what it kept stays when a later one
 * fails. Phase "inputs" of `watch` (NULL: silent) counts texts. ERR_NOMEM, ERR_INTERRUPTED, the backend's errors, and
 * what `keep` returns. */
struct editor__prefix_text {
	const int32_t *ids;
	size_t row_count;
	void *owner;
};
struct editor__prefix_rows {
	const float *inputs, *residual, *states, *relation;
};
typedef int editor__prefix_keep(struct editor_shard *shard, void *owner, const struct editor__prefix_rows *rows,
				struct err *e);
int editor__prefix_run(struct editor_shard *shard, const struct editor__prefix_text *texts, size_t count,
		       editor__prefix_keep *keep, const struct editor_watch *watch, struct err *e) MUST_CHECK;

/* forms.c: the keys of every prompt whose subject has aliases with each of its other names in that place, as far as
 * they are not there. After editor__prefix_fill has found the subjects. ERR_NOMEM and the backend's errors. */
int editor__forms_fill(struct editor_shard *shard, struct err *e) MUST_CHECK;

/* views.c: what of an edit stands before its answer in a batch: its prompt's rows, or a view's. */
struct editor__reading {
	size_t prompt_rows;    /* before the row that predicts the answer's first token */
	const float *inputs;   /* prompt_rows × ffn; the answer's rows are the edit's own in any case */
	const float *residual; /* (prompt_rows + labels) × hidden */
};
struct editor__reading editor__edit_reading(const struct editor__edit *edit);
/* Views of edits, as config.views and config.plain_view say. Both want the edits' inputs there (editor__prefix_fill).
 * ERR_NOMEM, ERR_INTERRUPTED, the backend's errors; then an edit has what it had before of its own, and nothing lent.
 * own: of edits that have been added since, their prompts by the subject's other names, at most EDITOR_FORMS_MAX, where
 * people gave the subject and the prompt names it, and in small letters without the mark at the end. They stay as long
 * as the edit.
 * lend: to those whose subject people gave, up to config.views from other edits of the shard whose subject is another,
 * instead of those lent before. The same edits and seed give the same views. Together they take 1 GiB at most, and
 * those of one more edit. */
int editor__views_own(struct editor_shard *shard, const struct editor_watch *watch, struct err *e) MUST_CHECK;
int editor__views_lend(struct editor_shard *shard, uint64_t seed, const struct editor_watch *watch,
		       struct err *e) MUST_CHECK;
void editor__views_give_back(struct editor_shard *shard);
/* Every second turn of an edit reads one of its views, one after the other, until it is told otherwise; that in small
 * letters has every fourth turn instead where there are others, every second where there are none, and none but with
 * plain_too. */
#define EDITOR__TURN_OWN 0
void editor__edit_see(struct editor__edit *edit, uint64_t turn, bool plain_too);
/* The view by its other name number `at`, below name_view_count, until it is told otherwise; and that name (borrowed
 * from its record). */
void editor__edit_see_name(struct editor__edit *edit, size_t at);
const struct record_text *editor__edit_name(const struct editor__edit *edit, size_t at);
void editor__views_free(struct editor__edit *edit);

/* shard.c: computes the inputs that are missing. */
int editor__prefix_fill(struct editor_shard *shard, struct err *e) MUST_CHECK;

/* batch.c: room for so many rows, segments and labels; what was in the batch is lost when it grows. */
int editor__batch_reserve(struct editor__batch *batch, struct model_backend *backend, const struct model_shape *shape,
			  size_t rows, size_t segments, size_t labels, struct err *e) MUST_CHECK;
/* Packs edits (indices) into the shard's batch: segments, labelled rows, labels, x = inputs and y = residuals. How many
 * of the first edits fit (at least one) is in *taken. scale is set to `scale` for every label. */
int editor__batch_fill(struct editor_shard *shard, const size_t *edits, size_t edit_count, float scale, size_t *taken,
		       struct err *e) MUST_CHECK;
void editor__batch_free(struct editor__batch *batch, struct model_backend *backend);

/* train.c */
int editor__trainer_prepare(struct editor_shard *shard, struct err *e) MUST_CHECK;
void editor__trainer_free(struct editor_shard *shard);
/* sum = W + delta */
void editor__trainer_sum(struct editor_shard *shard, const float *delta);
/* The next local passes start with fresh moments of the optimiser. */
void editor__trainer_forget(struct editor_shard *shard);
/* Streams the edits of `group` (indices, at most stream_group_max) from the shard's present delta, replaying others
 * below `replay_end`; more carefully what has failed before (`again`). */
int editor__train_group(struct editor_shard *shard, const size_t *group, size_t group_count, size_t replay_end,
			bool again, uint64_t seed, const struct editor_watch *watch, struct editor_train_stats *stats,
			struct err *e) MUST_CHECK;

/* protect.c: P for the edits `others` (indices, ascending), going on from what it covers already; the same list gives
 * the same bits. *use: false where there is nothing to protect. gradient: grad ← grad·P (overwrites sum). */
int editor__protect_prepare(struct editor_shard *shard, const size_t *others, size_t other_count, bool *use,
			    struct err *e) MUST_CHECK;
int editor__protect_gradient(struct editor_shard *shard, struct err *e) MUST_CHECK;
void editor__protect_free(struct editor_shard *shard);

/* shard.c: a copy of what training and re-test look at, so that nothing else of a record can have an influence, and
 * records need not live on. */
int editor__record_copy(const struct record *record, bool irrelevant, struct record **out, struct err *e) MUST_CHECK;

/* shard_wise.c: family `paper`. */
void editor__wise_replays_free(struct editor_shard *shard);
int editor__wise_learn(struct editor_shard *shard, enum editor_mode mode, size_t first, size_t count, uint64_t seed,
		       const struct editor_watch *watch, struct editor_result *results,
		       struct editor_train_stats *stats, struct err *e) MUST_CHECK;
int editor__wise_index(struct editor_shard *shard, struct buf *out, struct err *e) MUST_CHECK;

#endif
