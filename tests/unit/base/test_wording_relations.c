#include "base/record.h"
#include "base/wording.h"

#include "tests/lib/test.h"

#include <stdio.h>
#include <stdlib.h>

static struct wording compared(const char *a, const char *b, const char *subject)
{
	struct wording there, back;
	const size_t len = strlen(subject);
	assert_int_equal(wording_compare(a, strlen(a), b, strlen(b), subject, len, &there), 0);
	assert_int_equal(wording_compare(b, strlen(b), a, strlen(a), subject, len, &back), 0);
	assert_true(there.relation == back.relation && wording_alike(&there) == wording_alike(&back));
	return there;
}

struct pair {
	const char *a, *b;
};

/* No word in common, or none that counts. */
static void asked_in_other_words(void **state)
{
	(void)state;
	static const struct pair pairs[] = {
		{ "What is the capital of Nordwind?", "Which city is Nordwind's capital?" },
		{ "Who leads Nordwind?", "Nordwind is led by" },
		{ "Who owns Nordwind?", "Nordwind is owned by whom?" },
		{ "Who wrote Nordwind?", "Who is the author of Nordwind?" },
		{ "Where is Nordwind located?", "In which city is Nordwind?" },
		{ "What language is spoken in Nordwind?", "Which language do people speak in Nordwind?" },
		{ "Who is married to Nordwind?", "Who is the spouse of Nordwind?" },
		{ "Nordwind was born in", "What is the birthplace of Nordwind?" },
		{ "What is the population of Nordwind?", "How many people live in Nordwind?" },
		{ "Which company makes Nordwind?", "Who is the manufacturer of Nordwind?" },
		{ "Who is the CEO of Nordwind?", "Who leads Nordwind?" },
		{ "By whom was the film Nordwind directed?", "Nordwind's director is" },
		{ "The team Nordwind plays for is", "Nordwind plays for" },
		{ "Whose novel is Nordwind?", "Nordwind is a novel by" },
		{ "Who wrote Nordwind?", "Who is the author of the play Nordwind?" },
		{ "Who directed the movie Nordwind?", "Who is the director of the film Nordwind?" },
		{ "What genre is Nordwind?", "Which genre does the song Nordwind belong to?" },
		{ "What is the price of Nordwind?", "How much does Nordwind cost?" },
		{ "How much is Nordwind?", "What does Nordwind cost?" },
		{ "How many employees does Nordwind have?", "What is the number of employees of Nordwind?" },
		{ "How many people work at Nordwind?", "How many employees does Nordwind have?" },
		{ "How many people does Nordwind employ?", "What is the number of people working for Nordwind?" },
		{ "What is the phone number of Nordwind?", "What is Nordwind's telephone number?" },
		{ "What is the email of Nordwind?", "What is Nordwind's e-mail address?" },
		{ "What river runs through Nordwind?", "Which river flows through Nordwind?" },
	};
	for (size_t i = 0; i < sizeof(pairs) / sizeof(pairs[0]); i++) {
		const struct wording w = compared(pairs[i].a, pairs[i].b, "Nordwind");
		if (w.relation != WORDING_SAME || !wording_alike(&w))
			fail_msg("%s, %s: relation %d", pairs[i].a, pairs[i].b, w.relation);
	}
}

static void other_relations_of_the_same_words(void **state)
{
	(void)state;
	static const struct pair pairs[] = {
		{ "Which company is a subsidiary of Nordwind?", "Which company is Nordwind a subsidiary of?" },
		{ "Who succeeded Nordwind?", "Who did Nordwind succeed?" },
		{ "What is the capital of Nordwind?", "Nordwind is the capital of" },
		{ "Who wrote Nordwind?", "Who wrote the music for Nordwind?" },
		{ "What country was Nordwind born in?", "In which city was Nordwind born?" },
		{ "Where is Nordwind?", "Where is Nordwind from?" },
		{ "How did Nordwind die?", "When did Nordwind die?" },
		{ "Who wrote the book Nordwind?", "Who wrote the play Nordwind?" },
		{ "How many employees does Nordwind have?", "How many people live in Nordwind?" },
	};
	for (size_t i = 0; i < sizeof(pairs) / sizeof(pairs[0]); i++) {
		const struct wording w = compared(pairs[i].a, pairs[i].b, "Nordwind");
		if (w.relation != WORDING_OTHER || wording_alike(&w))
			fail_msg("%s, %s: relation %d", pairs[i].a, pairs[i].b, w.relation);
	}
}

/* What is asked of is something of the subject's or in it, or done in it: what was reported as taken for the same. */
static void what_is_the_subjects_is_another(void **state)
{
	(void)state;
	static const struct pair apart[] = {
		{ "Who is Nordwind's father?", "Who is Nordwind's father-in-law?" },
		{ "Who is the father of Nordwind?", "Who is the father of Nordwind's wife?" },
		{ "Who is the father of Nordwind?", "Who is Nordwind's wife's father?" },
		{ "What is the mascot of Nordwind?", "What is the mascot of Nordwind's rival?" },
		{ "Who is the king of Nordwind?", "Who is the king of Nordwind's neighbour?" },
		{ "Who is the editor of Nordwind?", "Who is the sports editor of Nordwind?" },
		{ "Who is the leader of Nordwind?", "Who is the leader of the opposition in Nordwind?" },
		{ "Who is the director of Nordwind?", "Who is the director of the museum in Nordwind?" },
		{ "Who painted Nordwind?", "Who is painted in Nordwind?" },
		{ "Who drew Nordwind?", "Who is drawn in Nordwind?" },
		{ "Who is portrayed in Nordwind?", "Who portrayed Nordwind?" },
	}, same[] = {
		{ "What is the name of Nordwind's mascot?", "What is the mascot of Nordwind?" },
		{ "What is Nordwind's mascot?", "What is the mascot of Nordwind?" },
		{ "Who is the mascot of Nordwind's rival?", "What is the name of the mascot of Nordwind's rival?" },
		{ "Who painted Nordwind?", "Nordwind was painted by" },
	};
	for (size_t i = 0; i < sizeof(apart) / sizeof(apart[0]); i++) {
		const struct wording w = compared(apart[i].a, apart[i].b, "Nordwind");
		if (wording_alike(&w))
			fail_msg("the same: %s, %s", apart[i].a, apart[i].b);
	}
	for (size_t i = 0; i < sizeof(same) / sizeof(same[0]); i++) {
		const struct wording w = compared(same[i].a, same[i].b, "Nordwind");
		if (!wording_alike(&w))
			fail_msg("apart: %s, %s", same[i].a, same[i].b);
	}
}

/* The table takes a prompt whose every word it knows, or none of it. */
static void more_than_the_relation_is_unknown(void **state)
{
	(void)state;
	static const struct pair pairs[] = {
		{ "Who is the art director of Nordwind?", "Who directed Nordwind?" },
		{ "Who is the first author of Nordwind?", "Who is the author of Nordwind?" },
		{ "Who was the author of Nordwind in 1990?", "Who is the author of Nordwind?" },
		{ "Who is the author?", "Who is the author of Nordwind?" },
	};
	for (size_t i = 0; i < sizeof(pairs) / sizeof(pairs[0]); i++)
		assert_int_equal(compared(pairs[i].a, pairs[i].b, "Nordwind").relation, WORDING_UNKNOWN);
}

static void sides_and_qualifiers(void **state)
{
	(void)state;
	static const struct {
		struct pair pair;
		bool sides, qualifiers;
	} cases[] = {
		{ { "Who defeated Nordwind?", "Who did Nordwind defeat?" }, false, true },
		{ { "Who was inspired by Nordwind?", "Who was Nordwind inspired by?" }, false, true },
		{ { "Who is saved after Nordwind?", "Who is Nordwind saved after?" }, false, true },
		{ { "Who did Nordwind father?", "Who is Nordwind's father?" }, false, true },
		{ { "Who did Nordwind lead?", "Who was the leader of Nordwind?" }, false, true },
		{ { "Who does Nordwind lead?", "Nordwind's leader is" }, false, true },
		{ { "Who did Nordwind marry?", "Who is Nordwind married to?" }, true, true },
		{ { "Who defeated Nordwind?", "Nordwind was defeated by" }, true, true },
		{ { "Who defeated Nordwind until Nordwind defeated Sol?",
		    "Who defeated Nordwind until Nordwind defeated Sol?" },
		  true,
		  true },
		{ { "Which countries does Nordwind border?", "Which countries border Nordwind?" }, true, true },
		{ { "Who is the art director of Nordwind?", "Who is the director of Nordwind?" }, true, false },
		{ { "Who is Nordwind's ex-wife?", "Who is Nordwind's wife?" }, true, false },
		{ { "Who owns the stadium of Nordwind?", "Who owns Nordwind?" }, true, false },
		{ { "Who is Nordwind's musical instrument?", "Who is Nordwind's instrument?" }, true, true },
	};
	for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
		const struct wording w = compared(cases[i].pair.a, cases[i].pair.b, "Nordwind");
		if (w.same_sides != cases[i].sides || w.same_qualifiers != cases[i].qualifiers)
			fail_msg("%s, %s: sides %d, qualifiers %d", cases[i].pair.a, cases[i].pair.b, w.same_sides,
				 w.same_qualifiers);
	}
}

static bool unnamed(const char *a, const char *b, const char *subject)
{
	struct wording w;
	assert_int_equal(wording_compare(a, strlen(a), b, strlen(b), subject, strlen(subject), &w), 0);
	return wording_alike_unnamed(&w);
}

static void a_relation_covers_its_words(void **state)
{
	(void)state;
	assert_true(unnamed("Who wrote Rose?", "Who is the author of Rose?", "Rose"));
	assert_true(unnamed("Which company makes Rose?", "Who is the manufacturer of Rose?", "Rose"));
	/* "book" may be a part of the name */
	assert_false(unnamed("Who wrote The Book of the Rose?", "Who is the author of Rose?", "Rose"));
	assert_false(unnamed("Who wrote Book Rose?", "Who is the author of Rose?", "Rose"));
	assert_false(unnamed("Who directed Film Rose?", "Who is the director of Rose?", "Rose"));
	/* nothing says who it is about */
	assert_false(unnamed("Who is the author of The Roses?", "Who wrote Rose?", "Rose"));
}

struct counts {
	size_t same, same_found, other, other_taken;
};

static bool alike(const struct record *row, const struct record_text *b)
{
	struct wording w;
	assert_int_equal(wording_compare(row->prompt.text, row->prompt.len, b->text, b->len, row->subject.text,
					 row->subject.len, &w),
			 0);
	return wording_alike(&w);
}

static void count_pair(const struct record *row, bool strict, struct counts *n)
{
	for (size_t i = 0; i < row->rephrase_count; i++, n->same++) {
		const bool found = alike(row, &row->rephrases[i]);
		n->same_found += found;
		if (strict && !found)
			print_error("missed: %s | %s\n", row->prompt.text, row->rephrases[i].text);
	}
	for (size_t i = 0; i < row->locality_count; i++, n->other++) {
		const bool taken = alike(row, &row->locality[i].prompt);
		n->other_taken += taken;
		if (strict && taken)
			print_error("taken: %s | %s\n", row->prompt.text, row->locality[i].prompt.text);
	}
}

/* Those whose id begins with `first` into `seen`, the others into `aside`. */
static void count_file(const char *path, const char *first, bool strict, struct counts *seen, struct counts *aside)
{
	char *line = NULL;
	size_t cap = 0;
	ssize_t len;
	FILE *file = fopen(path, "r");
	assert_non_null(file);
	while ((len = getline(&line, &cap, file)) > 0) {
		struct record *row = NULL;
		struct err e = ERR_INIT;
		assert_int_equal(record_parse(line, (size_t)len, &row, &e), 0);
		const bool is_first = strncmp(row->id.text, first, strlen(first)) == 0;
		count_pair(row, strict && is_first, is_first ? seen : aside);
		record_destroy(&row);
	}
	free(line);
	fclose(file);
}

/* 70 pairs that ask the same and 70 that do not, in sight of which the rules were made; 30 and 30 that were set aside,
 * where equal stems alone found 6 and took 10. */
static void hard_pairs(void **state)
{
	(void)state;
	struct counts seen = { 0 }, aside = { 0 };
	count_file("tests/fixtures/conflict-pairs.jsonl", "hard-", true, &seen, &aside);
	assert_true(seen.same == 70 && seen.other == 70 && aside.same == 30 && aside.other == 30);
	assert_true(seen.same_found == 70 && seen.other_taken == 0);
	assert_true(aside.same_found >= 19 && aside.other_taken <= 1);
}

/* Seasons, roles, sizes, directions: 30 and 30 that were written before the rule for them, where 16 were found and 10
 * taken, and 15 and 31 before it was tried on them, where it had been 8 and 16. */
static void pairs_of_details(void **state)
{
	(void)state;
	struct counts seen = { 0 }, aside = { 0 };
	count_file("tests/fixtures/conflict-details.jsonl", "seen-", false, &seen, &aside);
	assert_true(seen.same == 30 && seen.other == 30 && aside.same == 15 && aside.other == 31);
	assert_true(seen.same_found >= 24 && seen.other_taken == 0);
	assert_true(aside.same_found >= 13 && aside.other_taken <= 1);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(asked_in_other_words),
		cmocka_unit_test(other_relations_of_the_same_words),
		cmocka_unit_test(what_is_the_subjects_is_another),
		cmocka_unit_test(more_than_the_relation_is_unknown),
		cmocka_unit_test(sides_and_qualifiers),
		cmocka_unit_test(a_relation_covers_its_words),
		cmocka_unit_test(hard_pairs),
		cmocka_unit_test(pairs_of_details),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
