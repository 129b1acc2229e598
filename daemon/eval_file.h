/* eval_file.h: `amend eval run` without the command line: trains the edits of a file in process (or takes a memory set
 * that is there already), and measures what method.md says. No cluster, no sockets; the only files are those named in
 * the options, and the calibrations of `cache`. */
#ifndef AMEND_DAEMON_EVAL_FILE_H
#define AMEND_DAEMON_EVAL_FILE_H

#include "daemon/eval_keep.h"
#include "daemon/import.h"
#include "daemon/wise_settings.h"
#include "editor/evaluate.h"
#include "editor/merge.h"

enum eval_on_conflict { EVAL_SUPERSEDE, EVAL_KEEP, EVAL_REJECT };

struct eval_options {
	const char *file;          /* of edits */
	enum import_format format; /* of it and of probes_file */
	size_t edits;              /* the first so many good rows; 0: all */
	size_t rows_reserved;      /* probes are looked for behind so many good rows (default: behind the edits) */
	size_t probes;             /* prompts of rows that are not edited: at most so many (default 200: EVAL_PROBES) */
	const char *probes_file;   /* where those rows come from; NULL: the rows of `file` after the edits */
	enum eval_on_conflict on_conflict;
	size_t edits_per_shard; /* 0: the model's default */
	const uint64_t *seed;   /* of all training; NULL: the default */
	const char *method;     /* the settings that shape what is measured, as text: names what is kept; may be NULL */
	struct eval_keep *keep; /* finished work is looked for and put there; may be NULL */
	const char *model, *backend; /* backend NULL: auto */
	size_t threads;              /* 0: all */
	const char *corpus;          /* calibration corpus; its texts must not be evaluated */
	const char *calibration;     /* file of `amend calibrate`; NULL: made from the corpus. What it was fitted on
					must not be evaluated */
	const char *cache;           /* folder of calibrations; NULL: none is kept */
	bool before_too;             /* decode with the unedited model too */
	bool quick;                  /* nothing is asked inside longer texts and chats */
	enum editor_family family;
	size_t layer;                   /* 0: the family's own */
	float rate;                     /* family `amend`: of a shard's pass; 0: the family's own */
	unsigned without;               /* family `amend`: parts of training (eval_without.h) */
	struct editor_wise_config wise; /* family `paper` only, as the next */
	enum wise_mode wise_mode;
	bool oracle;   /* evaluation.oracle */
	bool separate; /* each row is edited alone; scores are means over the rows, without probes of the same form */
	bool merged;   /* family `amend`: the shards are merged into one memory, and that is what is measured */
	const struct editor_watch *watch; /* may be NULL */
	/* Instead of training: a set that is there already (borrowed), with the model it belongs to, and where its
	 * edits are. `seq_of` gives ERR_NOT_FOUND for a row that is no edit of the cluster: it is left out and counted
	 * in `missing`, one whose edit the set does not hold in `not_in_force`. `model` above may be NULL then. */
	struct model *open_model;
	struct editor_memory_set *set;
	enum editor_set_kind set_kind;
	int (*seq_of)(void *context, const struct record *record, uint64_t *seq);
	void *seq_context;
};
#define EVAL_PROBES 200

/* What edits share that may contradict each other. */
enum eval__key { EVAL__SUBJECT, EVAL__PROMPT, EVAL__KEY_COUNT };
/* Of a file of edits. */
struct eval__row {
	struct record *record; /* NULL: not used */
	size_t line_no;
	uint64_t keys[EVAL__KEY_COUNT]; /* hashes of the folded texts */
};
#define EVAL_BAD_MAX 20
struct eval_bad {
	const char *file; /* of the options */
	size_t line_no;
	char text[200]; /* "field: reason" */
};
/* Of options.merged. */
struct eval_merged {
	bool done;
	struct editor_round_stats stats;
	size_t passed; /* edits that pass the re-test with the merged memory */
	uint64_t delta_bytes;
	double seconds;              /* of merging and that re-test */
	struct editor_scores shards; /* the same edits, each read from its own shard */
};
struct eval_report {
	struct editor_scores scores;
	/* the file */
	size_t rows; /* good ones taken as edits: at most options.edits, with those that are left out below */
	size_t lines, bad_lines, duplicates, superseded, rejected, missing;
	size_t not_in_force; /* edits that the given set does not hold: revoked, superseded, expired, not yet trained */
	struct eval_bad bad[EVAL_BAD_MAX]; /* the first ones */
	size_t bad_count;
	struct hash file_hash, corpus_hash;
	struct hash calibration_hash;                              /* of the calibration's file; zero: none was given */
	struct editor_fitted_file fitted[EDITOR_FITTED_FILES_MAX]; /* files that it was fitted on */
	size_t fitted_count;
	/* training; nothing of it with a given set */
	bool trained, calibration_was_cached;
	size_t shards, shards_reused, failed; /* failed: did not pass the re-test */
	size_t steps;
	double train_seconds, train_core_seconds, calibrate_seconds, evaluate_seconds;
	enum editor_family family;
	struct editor_wise_config wise; /* family `paper` */
	enum wise_mode wise_mode;
	bool oracle, separate;
	unsigned without; /* family `amend` */
	size_t memories;  /* `paper`: after merging */
	struct eval_merged merged;
	/* the version */
	uint64_t version;
	size_t edit_count;
	float open_threshold, subject_threshold, relation_threshold;
	uint64_t seed;
	size_t threads;
	size_t layer, prompt_layer, relation_layer, edits_per_shard;
	char backend[128], model_name[128];
	struct hash model_digest;
	/* per edit, in the order of the file */
	struct record **records;       /* the evaluated ones, owned */
	struct editor_answer *answers; /* scores.edits entries, owned */
	size_t record_count;
	struct eval__row *probes; /* the rows that were asked without being edited, owned */
	size_t probe_count;
	struct editor_details details;
};

/* ERR_INVALID: nothing to evaluate, or rows that stand in the calibration corpus (the first by name, and how many). Bad
 * lines are no error: they are counted and reported. ERR_INTERRUPTED when the watch says so. `report` is valid after
 * success until eval_report_fini. */
int eval_file_run(const struct eval_options *options, struct eval_report *report, struct err *e) MUST_CHECK;
void eval_report_fini(struct eval_report *report);
/* One JSON object; figures that the file has no items for are null. `details`: with one object an edit. */
int eval_report_json(const struct eval_report *report, bool details, struct buf *out, struct err *e) MUST_CHECK;

#endif
