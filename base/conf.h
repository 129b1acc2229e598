/* conf.h: the configuration table. One table of items per program makes --help, the sample file, `amend config view`
 * and the checks; values come from defaults, then the YAML file (libcyaml), then flags. None from the environment. */
#ifndef AMEND_BASE_CONF_H
#define AMEND_BASE_CONF_H

#include "base/buf.h"

enum conf_type {
	CONF_BOOL,   /* bool */
	CONF_INT,    /* int64_t */
	CONF_REAL,   /* double */
	CONF_STRING, /* char *, owned by the config, never NULL ("" when unset) */
	CONF_CHOICE, /* int: index into `choices` */
};

struct conf_item {
	const char *name; /* "merge.every_edits": flag --merge.every_edits, YAML merge: {every_edits: …} */
	const char *flag; /* short alias of the flag without dashes ("model"), or NULL */
	enum conf_type type;
	size_t offset;             /* of the value in the program's struct */
	const char *value_default; /* as text */
	double min, max;           /* CONF_INT and CONF_REAL */
	const char *choices;       /* CONF_CHOICE: "auto|cpu|reference" */
	unsigned roles;            /* bit set of the programs that use it; --help of a role shows its own */
	const char *unit;          /* "ms", "bytes", "edits", "" */
	const char *help;          /* one sentence */
};

struct conf_table {
	const struct conf_item *items;
	size_t item_count;
	size_t struct_bytes;
};

/* Sets every item to its default. The struct must be zeroed or initialised before. */
int conf_init(const struct conf_table *table, void *values, struct err *e) MUST_CHECK;
void conf_fini(const struct conf_table *table, void *values);
/* The first item whose name begins with `prefix` and whose value is not its default; NULL: there is none, or no memory
 * to tell. */
const struct conf_item *conf_changed(const struct conf_table *table, const void *values, const char *prefix);
/* What is no YAML, unknown keys, wrong types and values out of range are errors: "FILE:LINE: merge.every_edits: …". */
int conf_load_file(const struct conf_table *table, void *values, const char *path, struct err *e) MUST_CHECK;
int conf_set(const struct conf_table *table, void *values, const char *name, const char *text,
	     struct err *e) MUST_CHECK;
/* Takes --name value, --name=value and --no-name (bools) off argv; what it does not know stays, in order. `*argc`
 * shrinks. An unknown --flag is left for the caller. ERR_INVALID names the flag and the range. "--" ends the flags. */
int conf_parse_flags(const struct conf_table *table, void *values, int *argc, char **argv, struct err *e) MUST_CHECK;
void conf_help(const struct conf_table *table, unsigned role, struct buf *out); /* aligned text for --help */
void conf_sample(const struct conf_table *table, unsigned role,
		 struct buf *out); /* a commented YAML file of the defaults */
void conf_view(const struct conf_table *table, const void *values, unsigned role,
	       struct buf *out); /* YAML of the present values */
void conf_view_json(const struct conf_table *table, const void *values, unsigned role, struct buf *out);

#endif
