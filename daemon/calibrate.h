/* calibrate.h: `amend calibrate` without the command line: makes a calibration file (editor/calibration_file.h) from
 * the operator's data, in this process. The only files are those named in the options. */
#ifndef AMEND_DAEMON_CALIBRATE_H
#define AMEND_DAEMON_CALIBRATE_H

#include "daemon/import.h"
#include "editor/margins.h"
#include "editor/route.h"

/* A line of `file` that cannot be read: it is left out. reason: "field: …". */
struct calibrate_bad {
	void (*line)(void *context, const char *file, size_t line_no, const char *reason); /* NULL: nobody hears */
	void *context;
};

struct calibrate_options {
	const char *model, *backend; /* backend NULL: auto */
	size_t threads;              /* 0: all */
	const char *corpus;          /* route.h's form */
	/* Family `amend`: edits with a subject, a rephrase and, for telling relations apart, a locality item of kind
	 * same_subject, of which the first one counts, as the first rephrase does; NULL: none. */
	const char *relation_head;
	struct calibrate_bad bad;  /* of relation_head */
	enum import_format format; /* of relation_head */
	bool groups_alone;         /* the relation head is fitted on them and not on the corpus's groups too */
	enum editor_family family;
	size_t layer;                   /* 0: the family's own */
	struct editor_wise_config wise; /* family `paper`: how its edits are trained; the margins are measured */
	uint64_t seed;
	const struct editor_watch *watch; /* may be NULL */
};

struct calibrate_report {
	enum editor_family family;
	char model_name[128], backend[128];
	struct hash model_digest;
	struct editor_fitted_file files[EDITOR_FITTED_FILES_MAX]; /* what was fitted on */
	size_t file_count, text_count;
	double seconds;
	/* family `amend` */
	size_t head_rows, head_groups, head_left_out; /* of relation_head: read, used, without what a group needs */
	size_t bad_lines;
	struct editor_calibration_report texts;
	uint32_t threshold_edits[EDITOR_THRESHOLDS];
	float thresholds[EDITOR_THRESHOLDS], subject_threshold, relation_threshold;
	size_t prompt_layer, relation_layer, relation_dims;
	/* family `paper` */
	struct editor_margins margins;
	struct editor_wise_config wise;
	size_t layer;
};

/* `out`: the bytes of a calibration file, not sealed. ERR_INVALID: data that cannot be used (which, and why).
 * ERR_INTERRUPTED when the watch says so. */
int calibrate_run(const struct calibrate_options *options, struct buf *out, struct calibrate_report *report,
		  struct err *e) MUST_CHECK;
/* One JSON object. */
int calibrate_report_json(const struct calibrate_report *report, const char *out_path, const struct hash *out_hash,
			  struct buf *out, struct err *e) MUST_CHECK;

#endif
