#include "base/wording.h"

#include "tests/lib/test.h"

static struct wording compared(const char *a, const char *b, const char *subject)
{
	struct wording there, back;
	const size_t len = subject != NULL ? strlen(subject) : 0;
	assert_int_equal(wording_compare(a, strlen(a), b, strlen(b), subject, len, &there), 0);
	assert_int_equal(wording_compare(b, strlen(b), a, strlen(a), subject, len, &back), 0);
	assert_true(there.overlap == back.overlap && there.apart == back.apart);
	assert_true(there.same_kind == back.same_kind && there.same_marks == back.same_marks);
	assert_true(there.same_head == back.same_head && there.relation == back.relation);
	assert_true(there.same_sides == back.same_sides && there.same_qualifiers == back.same_qualifiers);
	assert_true(there.same_details == back.same_details && wording_alike(&there) == wording_alike(&back));
	return there;
}

static void overlaps(void **state)
{
	(void)state;
	assert_true(compared("The capital of France is", "What is the capital of France?", "France").overlap == 1.0);
	assert_true(compared("The capital of France is", "The president of France is", "France").overlap == 0.0);
	assert_true(compared("capital city of X", "capital of X", "X").overlap == 0.5);
	assert_true(compared("capital city", "capital of X", "X").apart == 1);
	assert_true(compared("", "", NULL).overlap == 1.0);
	assert_true(compared("France", "France", "France").overlap == 1.0);
	assert_true(compared("who is", "who is", NULL).overlap == 1.0);
	assert_true(compared("who is", "where is", NULL).overlap == 1.0 / 3.0);
	assert_true(compared("red red red blue", "red", NULL).overlap == 0.5);
	assert_true(compared("leads leader", "leads", NULL).overlap == 0.5);
	/* light words count where nothing else is left */
	assert_true(compared("X's name and part", "the name of X", "X").overlap == 0.5);
	assert_true(compared("the name of X's leader", "X's leader", "X").overlap == 1.0);
}

/* A stem has four bytes, and only endings behind it. */
static void forms_of_a_word_match(void **state)
{
	(void)state;
	static const struct {
		const char *a, *b;
		bool match;
	} cases[] = { { "leads", "leader", true },        { "designed", "designer", true },
		      { "created", "creator", true },     { "production", "produced", true },
		      { "citizen", "citizenship", true }, { "officially", "official", true },
		      { "made", "makes", true },          { "led", "leads", true },
		      { "wrote", "written", true },       { "own", "owner", true },
		      { "wrong", "wrote", false },        { "country", "county", false },
		      { "sons", "sony", false },          { "husband", "husbandry", false },
		      { "ceo", "ceos", false },           { "größe", "größen", false },
		      { "größte", "größter", true } };
	for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
		if ((compared(cases[i].a, cases[i].b, NULL).overlap == 1.0) != cases[i].match)
			fail_msg("%s, %s", cases[i].a, cases[i].b);
	}
}

struct pair {
	const char *a, *b;
};

static void same_questions(void **state)
{
	(void)state;
	static const struct pair pairs[] = {
		{ "Who leads Nordwind?", "Who is the leader of Nordwind?" },
		{ "Who is the CEO of Nordwind?", "The CEO of Nordwind is" },
		{ "Who is Nordwind's wife?", "What is the name of the wife of Nordwind?" },
		{ "Who founded Nordwind?", "Nordwind was founded by" },
		{ "When was Nordwind founded?", "In what year was Nordwind founded?" },
		{ "When was Nordwind founded?", "Nordwind was founded in" },
		{ "When was Nordwind founded?", "The date of the founding of Nordwind is" },
		{ "Where is Nordwind?", "What is the location of Nordwind?" },
		{ "Where was Nordwind discovered?", "What is the place of discovery of Nordwind?" },
		{ "Which musical instrument does Nordwind play?", "What instrument does Nordwind play?" },
		{ "What architect designed Nordwind?", "Who is the architect of Nordwind?" },
		{ "What is the sex or gender of Nordwind?", "What gender is Nordwind?" },
		{ "What was the revenue of Nordwind in 2020?", "What is Nordwind's revenue in 2020?" },
		{ "How many students does Nordwind have?", "What is the number of students at Nordwind?" },
		{ "How much does a night at Nordwind cost?", "What does a night at Nordwind cost?" },
		{ "How much is the entrance fee of Nordwind?", "What is the entrance fee of Nordwind?" },
		{ "What city did Nordwind live in when she died?", "In which city was Nordwind living when she died?" },
	};
	for (size_t i = 0; i < sizeof(pairs) / sizeof(pairs[0]); i++) {
		const struct wording w = compared(pairs[i].a, pairs[i].b, "Nordwind");
		if (!wording_alike(&w))
			fail_msg("%s, %s", pairs[i].a, pairs[i].b);
	}
}

/* Each of them is told apart by one condition alone: the others hold. */
static void other_questions(void **state)
{
	(void)state;
	static const struct {
		struct pair pair;
		char by;
	} cases[] = {
		{ { "Who is the head of state of Nordwind?", "Who is the head of government of Nordwind?" }, 'o' },
		{ { "Which company bought Nordwind?", "Which company sold Nordwind?" }, 'o' },
		{ { "When was Nordwind founded?", "Where was Nordwind founded?" }, 'k' },
		{ { "When was Nordwind founded?", "Who founded Nordwind?" }, 'k' },
		{ { "Nordwind was founded in", "Nordwind was founded by" }, 'k' },
		{ { "What is the date of birth of Nordwind?", "What is the place of birth of Nordwind?" }, 'k' },
		{ { "What is the birth date of Nordwind?", "What is the birth place of Nordwind?" }, 'k' },
		{ { "What is the employer of Nordwind?", "What is the location of the employer of Nordwind?" }, 'k' },
		{ { "How did Nordwind die?", "Why did Nordwind die?" }, 'k' },
		{ { "How did Nordwind change?", "How much did Nordwind change?" }, 'k' },
		{ { "Who is the vice president of Nordwind?", "Who is the president of Nordwind?" }, 'm' },
		{ { "What was the revenue of Nordwind in 2020?", "What was the revenue of Nordwind?" }, 'm' },
		{ { "What was the profit margin of Nordwind in 2020?",
		    "What was the profit margin of Nordwind in 2021?" },
		  'm' },
		{ { "Who voted for Nordwind?", "Who voted against Nordwind?" }, 'm' },
		{ { "What is the weight of Nordwind with a battery?",
		    "What is the weight of Nordwind without a battery?" },
		  'm' },
		{ { "Who is the wife of the CEO of Nordwind?", "Who is the CEO of Nordwind?" }, 'h' },
		{ { "What is the population of the capital of Nordwind?", "What is the capital of Nordwind?" }, 'h' },
		{ { "What is the official language of Nordwind?", "What is the official name of Nordwind?" }, 'h' },
		{ { "Nordwind is a town of red roofs, old walls, narrow lanes, one market, two mills and a tower. Its "
		    "lord was",
		    "Nordwind is a town of red roofs, old walls, narrow lanes, one market, two mills and a tower. Its "
		    "lord "
		    "was a friend of monks and poets, and built towers" },
		  'a' },
	};
	for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
		const struct wording w = compared(cases[i].pair.a, cases[i].pair.b, "Nordwind");
		if (wording_alike(&w) || (w.overlap < WORDING_OVERLAP_MIN) != (cases[i].by == 'o') ||
		    w.same_kind != (cases[i].by != 'k') || w.same_marks != (cases[i].by != 'm') ||
		    w.same_head != (cases[i].by != 'h') || (w.apart > WORDING_APART_MAX) != (cases[i].by == 'a'))
			fail_msg("%s, %s: %.2f, %zu apart, kind %d, marks %d, head %d", cases[i].pair.a,
				 cases[i].pair.b, w.overlap, w.apart, w.same_kind, w.same_marks, w.same_head);
	}
}

/* Each of the two has a word that the other lacks, or one says when or where; all other conditions hold. */
static void other_details(void **state)
{
	(void)state;
	static const struct pair apart[] = {
		{ "What does a room at Nordwind cost in winter?", "What does a room at Nordwind cost in summer?" },
		{ "What does a room at Nordwind cost?", "What does a room at Nordwind cost at Christmas?" },
		{ "What is the email of the Nordwind support desk?", "What is the email of the Nordwind sales desk?" },
		{ "Who first climbed Nordwind in summer?", "Who first climbed Nordwind in winter?" },
		{ "Who leads Nordwind in Europe?", "Who leads Nordwind?" },
		{ "Who answers the phone of the Nordwind billing office?",
		  "Who answers the phone of the Nordwind shipping office?" },
		{ "What is the price of a double room at Nordwind?", "What is the price of a single room at Nordwind?" },
		{ "Who guards the north gate of Nordwind?", "Who guards the south gate of Nordwind?" },
		{ "How thick is the inner wall of Nordwind?", "How thick is the outer wall of Nordwind?" },
		{ "Who designed Nordwind's home shirt?", "Who designed Nordwind's away shirt?" },
		{ "How many people does Nordwind employ in Japan?", "How many people does Nordwind employ in Brazil?" },
		{ "What does entry to Nordwind cost for children?", "What does entry to Nordwind cost for students?" },
		{ "Who coaches the youth team of Nordwind?", "Who coaches the women's team of Nordwind?" },
		{ "Who is the trainer of the junior squad of Nordwind?",
		  "Who is the trainer of the senior squad of Nordwind?" },
		{ "Who wrote the film version of Nordwind?", "Who wrote the stage version of Nordwind?" },
		{ "What is the average temperature in Nordwind in May?",
		  "What is the average temperature in Nordwind in June?" },
		{ "When does the morning shift at Nordwind begin?", "When does the morning shift at Nordwind end?" },
		{ "How large is the biggest hall of Nordwind?", "How large is the smallest hall of Nordwind?" },
		{ "Which bus goes to Nordwind?", "Which bus goes to Nordwind at night?" },
		{ "Who acts as Hal in the play Nordwind?", "Who acts as Hal in the film Nordwind?" },
	}, same[] = {
		{ "In winter, what is the price of a room at Nordwind?", "What is the room price at Nordwind in winter?" },
		{ "Who designed the east wing of Nordwind?", "Who is the designer of Nordwind's east wing?" },
		{ "On Sundays, when does Nordwind open?", "When does Nordwind open on Sundays?" },
		{ "Which shipping company founded Nordwind?", "Which shipping company established Nordwind?" },
		{ "Who acts as Hal in the movie Nordwind?", "Who acts as Hal in the film Nordwind?" },
		{ "Who acts in the film Nordwind?", "Who acts in Nordwind?" },
	};
	for (size_t i = 0; i < sizeof(apart) / sizeof(apart[0]); i++) {
		const struct wording w = compared(apart[i].a, apart[i].b, "Nordwind");
		if (w.same_details || wording_alike(&w) || w.relation != WORDING_UNKNOWN ||
		    w.overlap < WORDING_OVERLAP_MIN || w.apart > WORDING_APART_MAX || !w.same_kind || !w.same_marks ||
		    !w.same_head || !w.same_sides || !w.same_qualifiers)
			fail_msg("%s, %s: %.2f, %zu apart, kind %d, marks %d, head %d, sides %d, qualifiers %d, "
				 "details %d",
				 apart[i].a, apart[i].b, w.overlap, w.apart, w.same_kind, w.same_marks, w.same_head,
				 w.same_sides, w.same_qualifiers, w.same_details);
	}
	for (size_t i = 0; i < sizeof(same) / sizeof(same[0]); i++) {
		const struct wording w = compared(same[i].a, same[i].b, "Nordwind");
		if (!w.same_details || !wording_alike(&w))
			fail_msg("apart: %s, %s: details %d", same[i].a, same[i].b, w.same_details);
	}
}

static void a_number_of_its_own_is_no_amount(void **state)
{
	(void)state;
	static const struct pair pairs[] = {
		{ "How many phones does Nordwind have?", "What is the phone number of Nordwind?" },
		{ "How many houses does Nordwind have?", "What is the number of the house of Nordwind?" },
		{ "How many students does Nordwind have?", "What is the number of teachers at Nordwind?" },
	};
	for (size_t i = 0; i < sizeof(pairs) / sizeof(pairs[0]); i++) {
		const struct wording w = compared(pairs[i].a, pairs[i].b, "Nordwind");
		if (wording_alike(&w))
			fail_msg("%s, %s", pairs[i].a, pairs[i].b);
	}
}

/* What the subject says is not asked. */
static void words_of_the_subject_do_not_count(void **state)
{
	(void)state;
	const struct wording w = compared("Who directed The First Day When 1984 Began?",
					  "Who is the director of The First Day When 1984 Began?",
					  "The First Day When 1984 Began");
	assert_true(wording_alike(&w) && w.overlap == 1.0);
	assert_true(compared("Who leads Nordwind 3?", "Who leads Nordwind?", "Nordwind 3").same_marks);
	const struct wording named = compared("Where is Who?", "Who?", "Who");
	assert_true(named.same_kind); /* the second asks for nothing */
}

static int all_of_it(void *context)
{
	(void)context;
	struct wording w;
	const char *a = "Wie heißt die Hauptstadt von Österreich", *b = "Die Hauptstadt von Österreich heißt";
	return wording_compare(a, strlen(a), b, strlen(b), "Österreich", strlen("Österreich"), &w);
}

static void out_of_memory(void **state)
{
	(void)state;
	assert_true(test_walk_allocations(all_of_it, NULL) >= 10);
}

/* The first one's edit names no subject. */
static bool unnamed(const char *a, const char *b, const char *subject)
{
	struct wording w;
	assert_int_equal(wording_compare(a, strlen(a), b, strlen(b), subject, strlen(subject), &w), 0);
	return wording_alike_unnamed(&w);
}

static void subjects_of_one_side(void **state)
{
	(void)state;
	assert_true(unnamed("Who leads Nord-Wind?", "Who is the leader of Nord-Wind?", "nord wind"));
	assert_true(unnamed("In what year was Nordwind founded?", "When was Nordwind founded?", "Nordwind"));
	assert_true(unnamed("Who is Nordwind's CEO?", "What is the name of the CEO of Nordwind?", "Nordwind"));
	/* the subject word for word */
	assert_false(unnamed("Who leads Nordwinds?", "Who leads Nordwind?", "Nordwind"));
	assert_false(unnamed("Who leads the North?", "Who leads the North Wind?", "North Wind"));
	assert_false(unnamed("Who leads the wind of the north wing?", "Who leads the north wind?", "north wind"));
	/* as a part of a longer name */
	assert_false(unnamed("Who founded Nordwind Records?", "Who founded Nordwind?", "Nordwind"));
	assert_false(unnamed("Who founded the University of Paris?", "Who founded Paris?", "Paris"));
	assert_false(unnamed("Who wrote The Name of the Rose?", "Who wrote Rose?", "Rose"));
	assert_false(unnamed("Who wrote The Year of the Rose?", "Who wrote Rose?", "Rose"));
	/* another question about it */
	assert_false(unnamed("Who is the wife of the CEO of Nordwind?", "Who is the CEO of Nordwind?", "Nordwind"));
	assert_false(unnamed("Where was Nordwind founded?", "When was Nordwind founded?", "Nordwind"));
	assert_false(unnamed("", "Who leads Nordwind?", "Nordwind"));
	assert_false(unnamed("Who leads?", "Who leads?", ""));
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(overlaps),
		cmocka_unit_test(subjects_of_one_side),
		cmocka_unit_test(forms_of_a_word_match),
		cmocka_unit_test(same_questions),
		cmocka_unit_test(other_questions),
		cmocka_unit_test(other_details),
		cmocka_unit_test(a_number_of_its_own_is_no_amount),
		cmocka_unit_test(words_of_the_subject_do_not_count),
		cmocka_unit_test(out_of_memory),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
