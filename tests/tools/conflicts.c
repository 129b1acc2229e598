/* conflicts FILE...: how the rule for conflicts (base/wording.h) does on files of edits (one JSON object a line). What
 * it should find: rephrases of a prompt, and rows that follow one with the same subject and another target. What it
 * should not: other questions on the subject (locality of kind same_subject, against prompt and rephrases) and
 * questions about the answer (portability). Prints, for one limit of the overlap after the other and one condition more
 * a line, how many are found; the product's line is marked. Below it the same where one of the two edits names no
 * subject, and of edits about other subjects those whose question such an edit would be taken for. */
#include "base/record.h"
#include "base/wording.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define ROWS_MAX 4096

enum set { REPHRASES, FOLLOWING, OTHERS, OTHERS_REPHRASED, PORTABILITY, SET_COUNT };
enum rule { WORDS, KIND, MARKS, HEAD, APART, SIDES, QUALIFIERS, DETAILS, TABLE, RULE_COUNT };
static const char *const rule_names[] = { "words",   "+ kind",       "+ marks",   "+ head", "+ apart",
					  "+ sides", "+ qualifiers", "+ details", "+ table" };
static const double limits[] = { 0.25, 1.0 / 3.0, 0.4, WORDING_OVERLAP_MIN, 0.6, 0.75, 1.0 };
#define LIMIT_COUNT (sizeof(limits) / sizeof(limits[0]))

struct tally {
	size_t all, found[LIMIT_COUNT][RULE_COUNT];
};

static struct record *rows[ROWS_MAX];
static size_t row_count;
static struct tally tallies[SET_COUNT];
static size_t unnamed[SET_COUNT][2]; /* the edit's question has no subject, or the other one has none */

static bool holds(const struct wording *w, double limit, enum rule rule)
{
	if (rule == TABLE && w->relation != WORDING_UNKNOWN)
		return w->relation == WORDING_SAME;
	return w->overlap >= limit && (rule < KIND || w->same_kind) && (rule < MARKS || w->same_marks) &&
	       (rule < HEAD || w->same_head) && (rule < APART || w->apart <= WORDING_APART_MAX) &&
	       (rule < SIDES || w->same_sides) && (rule < QUALIFIERS || w->same_qualifiers) &&
	       (rule < DETAILS || w->same_details);
}

static void mark(const struct record *row, const struct record_text *a, const struct record_text *b,
		 bool found[LIMIT_COUNT][RULE_COUNT])
{
	struct wording w;
	if (wording_compare(a->text, a->len, b->text, b->len, row->subject.text, row->subject.len, &w) != 0) {
		fprintf(stderr, "conflicts: comparing %s failed\n", row->id.text);
		exit(1);
	}
	for (size_t i = 0; i < LIMIT_COUNT; i++) {
		for (enum rule rule = WORDS; rule < RULE_COUNT; rule++)
			found[i][rule] = found[i][rule] || holds(&w, limits[i], rule);
	}
}

/* As edits, one of which has no subject: `a` or `b`. */
static bool unnamed_alike(const struct record *row, const struct record_text *a, const struct record_text *b)
{
	struct wording w;
	if (wording_compare(a->text, a->len, b->text, b->len, row->subject.text, row->subject.len, &w) != 0)
		exit(1);
	return wording_alike_unnamed(&w);
}

static void count(enum set set, bool found[LIMIT_COUNT][RULE_COUNT])
{
	tallies[set].all++;
	for (size_t i = 0; i < LIMIT_COUNT; i++) {
		for (enum rule rule = WORDS; rule < RULE_COUNT; rule++)
			tallies[set].found[i][rule] += found[i][rule];
	}
}

static void count_pair(enum set set, const struct record *row, const struct record_text *a, const struct record_text *b)
{
	bool found[LIMIT_COUNT][RULE_COUNT] = { { false } };
	mark(row, a, b, found);
	count(set, found);
	unnamed[set][0] += unnamed_alike(row, a, b);
	unnamed[set][1] += unnamed_alike(row, b, a);
}

static bool same(const struct record_text *a, const struct record_text *b)
{
	return a->text != NULL && b->text != NULL && a->len == b->len && memcmp(a->text, b->text, a->len) == 0;
}

static void count_row(const struct record *row)
{
	bool found[LIMIT_COUNT][RULE_COUNT] = { { false } }, follows = false, first = false, last = false;
	for (size_t i = 0; i < row->rephrase_count; i++)
		count_pair(REPHRASES, row, &row->prompt, &row->rephrases[i]);
	for (size_t k = 0; k < row->locality_count; k++) {
		if (strcmp(row->locality[k].kind.text, "same_subject") != 0)
			continue;
		count_pair(OTHERS, row, &row->prompt, &row->locality[k].prompt);
		for (size_t i = 0; i < row->rephrase_count; i++)
			count_pair(OTHERS_REPHRASED, row, &row->rephrases[i], &row->locality[k].prompt);
	}
	for (size_t k = 0; k < row->portability_count; k++)
		count_pair(PORTABILITY, row, &row->prompt, &row->portability[k].prompt);
	for (size_t i = 0; rows[i] != row; i++) {
		if (!same(&rows[i]->subject, &row->subject) || same(&rows[i]->target_new, &row->target_new))
			continue;
		follows = true;
		mark(row, &rows[i]->prompt, &row->prompt, found);
		first = first || unnamed_alike(row, &rows[i]->prompt, &row->prompt);
		last = last || unnamed_alike(row, &row->prompt, &rows[i]->prompt);
	}
	if (follows)
		count(FOLLOWING, found);
	unnamed[FOLLOWING][0] += first;
	unnamed[FOLLOWING][1] += last;
}

/* A prompt without its subject, beside an edit about another one that it says, as part of a longer name or not. */
static void print_others(void)
{
	size_t taken = 0;
	for (size_t i = 0; i < row_count; i++) {
		for (size_t k = 0; k < row_count; k++) {
			if (same(&rows[i]->subject, &rows[k]->subject) || rows[k]->subject.text == NULL ||
			    same(&rows[i]->prompt, &rows[k]->prompt) ||
			    !unnamed_alike(rows[k], &rows[i]->prompt, &rows[k]->prompt))
				continue;
			printf("  %s | %s [%s]\n", rows[i]->prompt.text, rows[k]->prompt.text, rows[k]->subject.text);
			taken++;
		}
	}
	printf("questions of edits about other subjects, without it: %zu taken for the same\n", taken);
}

static int read_rows(const char *path)
{
	char *line = NULL;
	size_t cap = 0;
	ssize_t len;
	struct err e = ERR_INIT;
	FILE *file = fopen(path, "r");
	if (file == NULL) {
		fprintf(stderr, "conflicts: %s cannot be opened\n", path);
		return ERR_NOT_FOUND;
	}
	while (row_count < ROWS_MAX && (len = getline(&line, &cap, file)) > 0) {
		if (record_parse(line, (size_t)len, &rows[row_count], &e) == 0)
			row_count++;
		else
			fprintf(stderr, "conflicts: %s: left out: %s\n", path, e.text);
	}
	free(line);
	fclose(file);
	return 0;
}

static void print(void)
{
	printf("%-8s%-14s%12s%12s%12s%12s%12s\n", "overlap", "rule", "rephrases", "following", "others", "others (re)",
	       "portability");
	for (enum rule rule = WORDS; rule < RULE_COUNT; rule++) {
		for (size_t i = 0; i < LIMIT_COUNT; i++) {
			printf("%-8.2f%-14s", limits[i], rule_names[rule]);
			for (enum set set = 0; set < SET_COUNT; set++)
				printf("%12zu", tallies[set].found[i][rule]);
			printf("%s\n", rule == TABLE && limits[i] == WORDING_OVERLAP_MIN ? "  the product's" : "");
		}
	}
	for (size_t side = 0; side < 2; side++) {
		printf("%-22s", side == 0 ? "first without" : "second without");
		for (enum set set = 0; set < SET_COUNT; set++)
			printf("%12zu", unnamed[set][side]);
		printf("\n");
	}
	printf("%-22s", "of");
	for (enum set set = 0; set < SET_COUNT; set++)
		printf("%12zu", tallies[set].all);
	printf("\n");
}

int main(int argc, char **argv)
{
	int rc = argc > 1 ? 0 : ERR_INVALID;
	for (int i = 1; rc == 0 && i < argc; i++)
		rc = read_rows(argv[i]);
	if (argc < 2)
		fprintf(stderr, "usage: conflicts FILE...\n");
	for (size_t i = 0; rc == 0 && i < row_count; i++)
		count_row(rows[i]);
	if (rc == 0)
		print();
	if (rc == 0)
		print_others();
	for (size_t i = 0; i < row_count; i++)
		record_destroy(&rows[i]);
	return rc == 0 ? 0 : 1;
}
