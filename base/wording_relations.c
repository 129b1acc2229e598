/* wording_relations.c: common relations and the ways to ask for them (decisions.md, "Conflicts are told by words").
 * One row is one relation, in most cases a property of Wikidata; the rows are those that ZsRE, CounterFact and KnowEdit
 * ask for and that many items have, the ways their labels, aliases and plain verbs. Not taken from any file of edits.
 *
 * A way is up to four words, all of which the prompt says, inflected or not:
 *   word   as the first of them a noun of the subject ("the capital of S", "S's capital", "which capital does S have"),
 *          behind the first anywhere
 *   >word  what is done to the subject: "who leads S", "S is led by"
 *   <word  what the subject does, is or undergoes: "who did S marry", "S was born in"
 *   ^word  a noun that the subject is: "S is a subsidiary of", "whose novel is S"
 *   ~word  anywhere
 *   !word  the prompt does not say it
 *   @when, @where, @how, @who: the prompt asks so, and only so
 * Every other content word of the prompt has to be among those that may stand beside the ways. */
#include "base/wording_internal.h"

#include <string.h>

#define WAYS_MAX   16
#define WAY_WORDS  4
#define BESIDE_MAX 10

struct relation {
	const char *ways[WAYS_MAX + 1][WAY_WORDS + 1];
	const char *beside[BESIDE_MAX + 1];
};

/* clang-format off */
static const struct relation relations[] = {
	/* ---- People */
	/* place of birth */
	{ { { "@where", "~born" }, { "@where", "~birth" }, { "birthplace" }, { "@where", "birthplace" }, { "~born", "~city" },
	    { "~birth", "~city" }, { "~born", "~town" }, { "~birth", "~town" } }, { "in" } },
	/* country of birth */
	{ { { "~born", "~country" }, { "~birth", "~country" } }, { "in" } },
	/* date of birth */
	{ { { "@when", "~born" }, { "@when", "~birth" }, { "birthday" }, { "@when", "birthday" }, { "birthdate" } }, { NULL } },
	/* place of death */
	{ { { "@where", "<die" }, { "@where", "~death" }, { "<die", "~city" }, { "~death", "~city" }, { "<die", "~town" },
	    { "@where", "<pass", "away" } }, { NULL } },
	/* date of death */
	{ { { "@when", "<die" }, { "@when", "~death" }, { "@when", "<pass", "away" } }, { NULL } },
	/* cause of death */
	{ { { "cause", "~death" }, { "@how", "<die" }, { "<die", "of", "!day" }, { "<die", "from" } }, { NULL } },
	/* killed by */
	{ { { ">kill" }, { "killer" }, { ">murder" }, { "murderer" }, { ">assassinate" }, { "assassin" } }, { NULL } },
	/* place of burial */
	{ { { "@where", "~buried" }, { "@where", "~burial" }, { "@where", "~interred" }, { "@where", "~grave" },
	    { "@where", "resting" }, { "~cemetery", "~buried" }, { "~cemetery", "~burial" } }, { "final" } },
	/* country of citizenship */
	{ { { "nationality" }, { "citizenship" }, { "~country", "citizenship" }, { "~citizen" }, { "~country", "~citizen" },
	    { "~country", "from" } }, { "come", "from" } },
	/* occupation */
	{ { { "occupation" }, { "profession" }, { "job" }, { "vocation" }, { "<work", "as" }, { "<do", "for", "living" } },
	  { NULL } },
	/* employer */
	{ { { "employer" }, { ">employ" }, { "<work", "for" } }, { "company", "organization", "organisation", "institution",
	    "firm" } },
	/* educated at */
	{ { { "@where", "<study" }, { "@where", "<educated" }, { "@where", "<graduate" }, { "alma", "mater" },
	    { "~university", "<attend" }, { "~university", "<study" }, { "~university", "<educated" },
	    { "~university", "<graduate" }, { "~college", "<attend" }, { "<graduate", "from" } }, { "from" } },
	/* field of work */
	{ { { "field", "~work" }, { "field" }, { "~field", "<work" }, { "<specialize" }, { "<specialise" },
	    { "~field", "<specialize" }, { "speciality" }, { "specialty" }, { "discipline" }, { "area", "expertise" } },
	  { NULL } },
	/* spouse */
	{ { { "spouse" }, { "wife" }, { "husband" }, { "~marry" } }, { "woman", "man" } },
	/* father, mother, child, son, daughter, sibling, brother, sister */
	{ { { "father" }, { "dad" } }, { NULL } },
	{ { { "mother" }, { "mom" }, { "mum" } }, { NULL } },
	{ { { "child" }, { "kid" }, { "offspring" } }, { NULL } },
	{ { { "son" } }, { NULL } },
	{ { { "daughter" } }, { NULL } },
	{ { { "sibling" } }, { NULL } },
	{ { { "brother" } }, { NULL } },
	{ { { "sister" } }, { NULL } },
	/* sex or gender */
	{ { { "gender" }, { "sex" }, { "sex", "gender" } }, { NULL } },
	/* religion */
	{ { { "~religion" }, { "~faith" }, { "religious", "affiliation" } }, { "follow", "practice", "practise", "belong",
	    "adhere", "profess" } },
	/* member of political party */
	{ { { "~party" }, { "political", "affiliation" } }, { "political", "member", "belong", "affiliate", "affiliation",
	    "with" } },
	/* native language */
	{ { { "native", "~language" }, { "mother", "~tongue" }, { "first", "~language" }, { "native", "~tongue" } },
	  { "speak" } },
	/* languages spoken by a person */
	{ { { "~language", "<speak", "!in" }, { "~language", "~speaker" } }, { NULL } },
	/* instrument */
	{ { { "~instrument" } }, { "musical", "play" } },
	/* position played on a team */
	{ { { "~position", "<play" }, { "position", "playing" }, { "position" } }, { "team", "field" } },
	/* position held */
	{ { { "~position", "~hold" }, { "~office", "~hold" }, { "position" } }, { NULL } },
	/* member of sports team */
	{ { { "team" }, { "team", "<play" }, { "<play", "team" }, { "<play", "for" }, { "club" }, { "~club", "<play" },
	    { "~team", "^member" }, { "~club", "^member" }, { "team", "<belong" } }, { "sport", "for", "football" } },
	/* league */
	{ { { "~league" } }, { "play", "compete", "sport", "team", "member" } },
	/* sport */
	{ { { "~sport" } }, { "play" } },
	/* coach */
	{ { { "coach" }, { ">coach" }, { "head", "coach" } }, { "team" } },
	/* home venue */
	{ { { "home", "stadium" }, { "home", "ground" }, { "home", "venue" }, { "home", "arena" }, { "stadium" } }, { "play",
	    "game", "match" } },
	/* award received */
	{ { { "award" }, { "prize" }, { "~award", "<win" }, { "~prize", "<win" }, { "~award", "<receive" },
	    { "~prize", "<receive" }, { "~award", "<give" }, { "~prize", "<give" } }, { NULL } },
	/* residence */
	{ { { "residence" }, { "@where", "<live" }, { "@where", "<reside" }, { "@where", "~residence" }, { "~city", "<live" },
	    { "~city", "<reside" } }, { NULL } },
	/* member of a band */
	{ { { "~band", "^member" }, { "~band", "<play" }, { "~band", "<belong" }, { "band" } }, { "music", "musical" } },
	/* record label */
	{ { { "~label" } }, { "record", "music", "sign", "company" } },
	/* military rank, branch, conflict */
	{ { { "rank" }, { "~rank", "<hold" }, { "~rank", "<achieve" } }, { "military" } },
	{ { { "~branch" } }, { "military", "serve", "service", "armed", "force" } },
	{ { { "~war" }, { "~conflict" } }, { "fight", "serve", "participate", "military", "take", "part" } },
	/* doctoral advisor, teacher, influenced by */
	{ { { "doctoral", "advisor" }, { "doctoral", "adviser" }, { "phd", "advisor" }, { "doctoral", "supervisor" } },
	  { "thesis" } },
	{ { { "teacher" }, { ">teach" } }, { NULL } },
	{ { { ">influence" } }, { NULL } },
	/* replaces, replaced by */
	{ { { "predecessor" }, { ">precede" }, { "<succeed" }, { "<replace" } }, { NULL } },
	{ { { "successor" }, { "<precede" }, { ">succeed" }, { ">replace" } }, { NULL } },
	/* named after */
	{ { { "<name", "after" }, { "<named", "for" }, { "namesake" }, { "eponym" } }, { NULL } },
	/* age */
	{ { { "age" }, { "@how", "old" } }, { NULL } },

	/* ---- Organizations */
	/* founded by */
	{ { { "founder" }, { ">found" }, { ">establish" }, { ">start" }, { ">create" } }, { NULL } },
	/* inception */
	{ { { "@when", "~inception" }, { "inception" }, { "@when", "~found" }, { "@when", "~establish" }, { "@when", "~create" },
	    { "@when", "~form" }, { "@when", "~start" }, { "@when", "~begin" }, { "@when", "~foundation" },
	    { "@when", "~formation" }, { "@when", "~creation" }, { "@when", "~establishment" }, { "@when", "set", "up" } },
	  { NULL } },
	/* location of formation */
	{ { { "@where", "~found", "!can" }, { "@where", "~establish" }, { "@where", "~form" }, { "@where", "~start" },
	    { "@where", "~formation" }, { "~city", "~found" }, { "~city", "~form" }, { "@where", "~create" } }, { NULL } },
	/* dissolved */
	{ { { "@when", "~dissolve" }, { "@when", "~disband" }, { "@when", "~abolish" }, { "@when", "~dissolution" },
	    { "@when", "~defunct" }, { "@when", "cease", "exist" } }, { "become" } },
	/* end time */
	{ { { "@when", "<end" }, { "@when", "<finish" }, { "@when", "<conclude" } }, { NULL } },
	/* headquarters location */
	{ { { "headquarters" }, { "@where", "~headquarter" }, { "headquarter" }, { "@where", "<based", "!on" },
	    { "~city", "<based" }, { "~city", "~headquarter" }, { "head", "office" }, { "@where", "head", "office" },
	    { "hq" }, { "@where", "hq" }, { "~city", "hq" } }, { "main" } },
	/* owned by */
	{ { { "owner" }, { ">own" }, { "proprietor" }, { "@who", "<belong" } }, { "company", "organization", "organisation" } },
	/* parent organization, subsidiary */
	{ { { "parent", "company" }, { "parent", "organization" }, { "parent", "organisation" }, { "^subsidiary" } },
	  { "company", "corporation" } },
	{ { { "subsidiary" } }, { "company" } },
	/* leader; of a company its chief executive officer */
	{ { { "leader" }, { ">lead" }, { "head", "!whose" }, { ">head" }, { ">run" }, { "charge", "in" }, { "boss" }, { "ceo" },
	    { "chief", "executive" }, { "chief", "executive", "officer" } }, { NULL } },
	/* chairperson, manager */
	{ { { "chairman" }, { "chairperson" }, { "chairwoman" }, { "chair" }, { ">chair" } }, { NULL } },
	{ { { "manager" }, { ">manage" } }, { NULL } },
	/* industry */
	{ { { "~industry" } }, { "operate", "work", "belong", "active" } },
	/* product */
	{ { { "product" }, { "<make", "!of", "!from", "!out" }, { "<produce", "!where", "!when" }, { "<manufacture" } },
	  { "product" } },
	/* manufacturer, developer, publisher, distributor, operator */
	{ { { "manufacturer" }, { ">manufacture" }, { "maker" }, { ">make" }, { ">produce" } }, { "company", "firm",
	    "corporation" } },
	{ { { "developer" }, { ">develop" } }, { "company", "studio", "firm" } },
	{ { { "publisher" }, { ">publish" } }, { "company", "house", "firm" } },
	{ { { "distributor" }, { ">distribute" } }, { "company", "film", "studio" } },
	{ { { "operator" }, { ">operate" } }, { "company" } },

	/* ---- Works */
	/* author */
	{ { { "author" }, { "writer" }, { ">write" }, { ">author" }, { ">pen" }, { "~book", "by" }, { "~novel", "by" },
	    { "^book", "whose" }, { "^novel", "whose" } }, { "book", "novel", "poem", "story" } },
	/* composer, lyrics by, performer */
	{ { { "composer" }, { ">compose" }, { "~music", "~write" }, { "~music", "~compose" }, { "~score", "~compose" },
	    { "~score", "~write" } }, { "for" } },
	{ { { "lyricist" }, { "~lyric", "~write" } }, { "for" } },
	{ { { "performer" }, { ">perform" }, { "singer" }, { ">sing" }, { "vocalist" }, { ">record" }, { "~song", "by" },
	    { "~album", "by" } }, { "artist", "band", "song", "album" } },
	/* creator */
	{ { { "creator" }, { ">create" }, { ">make" }, { "painter" }, { ">paint" }, { "sculptor" }, { ">sculpt" },
	    { "artist" }, { "~painting", "by" } }, { "artist", "painter", "painting" } },
	/* discoverer or inventor */
	{ { { "discoverer" }, { ">discover" } }, { "scientist", "astronomer" } },
	{ { { "inventor" }, { ">invent" } }, { NULL } },
	/* architect, designer */
	{ { { "architect" }, { ">design" }, { "designer" }, { "architect", ">design" } }, { NULL } },
	/* constructed by */
	{ { { ">build" }, { "builder" }, { ">construct" }, { "constructor" } }, { "company" } },
	/* director, producer, production company, screenwriter, cast member */
	{ { { "director" }, { ">direct" }, { "~film", "director" }, { "~film", "by" } }, { "film", "movie" } },
	{ { { "producer" }, { ">produce" } }, { "film", "movie", "record" } },
	{ { { "production", "company" }, { "production", "studio" }, { "company", ">produce" }, { "studio", ">produce" } },
	  { "film" } },
	{ { { "screenwriter" }, { "~screenplay", "~write" }, { "scriptwriter" }, { "~script", "~write" } }, { "film", "for" } },
	{ { { "cast" }, { "~star" }, { "cast", "member" } }, { "actor", "actress", "film", "movie" } },
	/* voice actor, presenter, illustrator, translator, editor */
	{ { { ">voice" }, { "voice", "actor" } }, { NULL } },
	{ { { "presenter" }, { "host" }, { ">host" }, { ">present" } }, { "show" } },
	{ { { "illustrator" }, { ">illustrate" } }, { NULL } },
	{ { { "translator" }, { ">translate" } }, { NULL } },
	{ { { "editor" }, { ">edit" } }, { NULL } },
	/* publication date */
	{ { { "@when", "~publish" }, { "@when", "~release" }, { "@when", "~publication" }, { "@when", "<come", "out" },
	    { "@when", "~issue" } }, { "film", "album", "book" } },
	/* country of origin */
	{ { { "~country", "origin" }, { "~country", "from" }, { "@where", "from" }, { "@where", "<originate" },
	    { "~country", "<originate" } }, { "come", "from" } },
	/* original language of a work */
	{ { { "original", "~language" }, { "~language", "<write" }, { "original", "~language", "<write" } }, { "film",
	    "originally", "work" } },
	/* genre */
	{ { { "~genre" }, { "musical", "style" } }, { "music", "musical", "belong", "film" } },
	/* original broadcaster */
	{ { { "~network" }, { "~channel" }, { "broadcaster" }, { ">broadcast" } }, { "original", "originally", "television",
	    "tv", "air", "broadcast", "show" } },
	/* based on, narrative location, fictional universe, series */
	{ { { "<based", "on" } }, { "book", "novel", "story", "work" } },
	{ { { "@where", "<set" }, { "setting" } }, { NULL } },
	{ { { "~universe" } }, { "fictional", "exist", "appear" } },
	{ { { "~series" } }, { "part", "belong" } },
	/* material */
	{ { { "material" }, { "<make", "of" }, { "<make", "from" }, { "<make", "out" } }, { "use", "make", "build",
	    "from", "construct", "material" } },
	/* architectural style */
	{ { { "architectural", "~style" }, { "~style", "architecture" } }, { "build" } },
	/* color */
	{ { { "color" }, { "colour" } }, { NULL } },
	/* platform, programming language, operating system, license */
	{ { { "~platform" } }, { "run", "available", "game" } },
	{ { { "programming", "~language" } }, { "write" } },
	{ { { "operating", "system" } }, { "run", "use" } },
	{ { { "~license" }, { "~licence" } }, { "release", "under" } },
	/* winner */
	{ { { "winner" }, { ">win" } }, { NULL } },

	/* ---- Places and things */
	/* location; in words of a city */
	{ { { "@where" }, { "@where", "lie" }, { "@where", "can", "~found" }, { "@where", "<occur" }, { "@where", "<happen" }, { "@where", "<take" },
	    { "~city", "in" }, { "~town", "in" } }, { "lie" } },
	/* point in time */
	{ { { "@when" }, { "@when", "<occur" }, { "@when", "<happen" }, { "@when", "<take", "place" } }, { NULL } },
	/* country, continent */
	{ { { "~country", "in" }, { "country" }, { "~country", "<belong" } }, { "lie" } },
	{ { { "~continent" } }, { "lie", "belong" } },
	/* capital, of what it is the capital */
	{ { { "capital" }, { "~city", "capital" } }, { NULL } },
	{ { { "^capital" } }, { "country" } },
	/* official language, languages of a place */
	{ { { "official", "~language" } }, { NULL } },
	{ { { "~language", "~speak", "in" }, { "~people", "~speak", "in" }, { "~language", "~people", "~speak", "in" } },
	  { NULL } },
	/* currency, time zone, postal code, anthem */
	{ { { "~currency" } }, { "use" } },
	{ { { "@when", "~zone" } }, { NULL } },
	{ { { "postal", "code" }, { "zip", "code" }, { "postcode" } }, { NULL } },
	{ { { "anthem" }, { "national", "anthem" } }, { NULL } },
	/* population */
	{ { { "population" }, { "@how", "many", "~people", "~live" }, { "@how", "many", "~people" },
	    { "@how", "many", "~inhabitant" }, { "@how", "many", "~resident" }, { "number", "inhabitant" },
	    { "number", "resident" }, { "@how", "populous" } }, { NULL } },
	/* employees */
	{ { { "@how", "many", "employee" }, { "@how", "many", "people", "employ" }, { "@how", "many", "people", "work" },
	    { "~number", "employee" }, { "~number", "people", "employ" }, { "~number", "people", "work" },
	    { "headcount" } }, { "work", "for" } },
	/* price */
	{ { { "price" }, { "cost" }, { "<cost" }, { "@how", "much", "~cost" }, { "@how", "much", "price" },
	    { "@how", "expensive" }, { "@how", "much", "is", "!held" } }, { NULL } },
	/* phone number, e-mail address */
	{ { { "phone", "number" }, { "telephone", "number" } }, { NULL } },
	{ { { "email" }, { "email", "address" }, { "e", "mail", "address" }, { "e", "mail" } }, { NULL } },
	/* area, elevation, height, length, width, depth, mass */
	{ { { "area" }, { "@how", "large" }, { "@how", "big" } }, { NULL } },
	{ { { "elevation" }, { "altitude" }, { "@how", "high" } }, { NULL } },
	{ { { "height" }, { "@how", "tall" }, { "@how", "high" } }, { NULL } },
	{ { { "length" }, { "@how", "long" } }, { NULL } },
	{ { { "width" }, { "@how", "wide" } }, { NULL } },
	{ { { "depth" }, { "@how", "deep" } }, { NULL } },
	{ { { "mass" }, { "weight" }, { "@how", "heavy" }, { "@how", "much", "<weigh" } }, { NULL } },
	/* highest point */
	{ { { "highest", "point" }, { "highest", "mountain" }, { "highest", "peak" } }, { NULL } },
	/* mouth, source, mountain range, river through a place, crosses */
	{ { { "mouth" }, { "<flow", "into" }, { "<empty", "into" }, { "<drain", "into" } }, { "river", "sea", "ocean",
	    "water", "into" } },
	{ { { "source" }, { "@where", "<rise" }, { "@where", "source" } }, { NULL } },
	{ { { "~range" } }, { "mountain", "belong" } },
	{ { { "~river", "~flow", "through" }, { "~river", "~run", "through" } }, { NULL } },
	{ { { "<cross" }, { "<span" } }, { "river", "bridge" } },
	/* constellation, orbited body, chromosome, conservation status, engine */
	{ { { "~constellation" } }, { "star", "belong", "find" } },
	{ { { "<orbit" } }, { "planet", "star", "body" } },
	{ { { "~chromosome" } }, { "gene", "find" } },
	{ { { "conservation", "status" }, { "iucn", "status" } }, { "conservation" } },
	{ { { "engine" }, { "powerplant" } }, { "use", "power" } },
	/* twin city */
	{ { { "~twin", "~city" }, { "sister", "~city" }, { "~twin", "~town" } }, { "with" } },
};
/* clang-format on */
#define RELATION_COUNT (sizeof(relations) / sizeof(relations[0]))
_Static_assert(RELATION_COUNT <= WORDING_RELATIONS_MAX, "a bit for each relation");

/* Stop words that say something: who asks where X is from does not ask where X is. */
static const char *const meaning[] = { "about", "for", "from", "into", "with", NULL };

static bool asks_kind(const struct prompt *p, const char *way)
{
	const unsigned place_time = KIND_WHEN | KIND_WHERE;
	if (way[0] != '@')
		return (p->kinds & (KIND_WHO | KIND_OTHER)) != 0;
	if (strcmp(way, "@where") == 0)
		return (p->kinds & KIND_WHERE) != 0 && (p->kinds & ~place_time) == 0;
	if (strcmp(way, "@when") == 0)
		return (p->kinds & KIND_WHEN) != 0 && (p->kinds & ~place_time) == 0;
	return strcmp(way, "@how") == 0 ? p->kinds == KIND_HOW || p->kinds == KIND_AMOUNT : p->kinds == KIND_WHO;
}

static bool is_mark(char c)
{
	return c < 'a' || c > 'z';
}

static uint32_t letter(char c)
{
	return is_mark(c) ? 0 : 1U << (c - 'a');
}

/* Of the words that are not the subject's, and of their stems. */
static uint32_t first_letters(const struct prompt *p)
{
	uint32_t letters = 0;
	for (size_t i = 0; i < p->count; i++) {
		const struct word *word = &p->items[i];
		if (word->role != ROLE_SUBJECT)
			letters |= letter(word->text[0]) | (word->stem != NULL ? letter(word->stem[0]) : 0);
	}
	return letters;
}

/* Most ways fail here, and cost no more. */
static bool may_go(const char *const *way, uint32_t letters)
{
	for (; *way != NULL; way++) {
		const char c = (*way)[0];
		if (c != '@' && c != '!' && (letter(is_mark(c) ? (*way)[1] : c) & ~letters) != 0)
			return false;
	}
	return true;
}

static bool side_fits(const struct prompt *p, size_t i, char mark, bool exact)
{
	const enum side side = p->items[i].side;
	switch (mark) {
	case '~':
		return true;
	case '>':
		return side == SIDE_ACTED;
	case '<':
		return side == SIDE_ACTING || side == SIDE_OBJECT || side == SIDE_PASSIVE;
	case '^':
		return side == SIDE_INVERSE;
	default:
		return side == SIDE_OF || side == SIDE_ASKED || side == SIDE_NONE || (side == SIDE_ACTED && exact) ||
		       (side == SIDE_ACTING && exact && i == p->end) ||
		       (side == SIDE_OBJECT && exact && !wording__is(&p->items[p->start - 1], "did"));
	}
}

static bool says(const struct prompt *p, const char *base, char mark, uint32_t *used)
{
	for (size_t i = 0; i < p->count; i++) {
		const struct word *word = &p->items[i];
		if (word->role != ROLE_SUBJECT && (*used & 1U << i) == 0 && wording__inflects(word, base) &&
		    (word->role == ROLE_STOP || side_fits(p, i, mark, wording__is(word, base)))) {
			*used |= 1U << i;
			return true;
		}
	}
	return false;
}

static bool goes(const struct prompt *p, const char *const *way, uint32_t *used)
{
	const size_t first = way[0][0] == '@';
	const bool how = first != 0 && strcmp(way[0], "@how") == 0;
	if (!asks_kind(p, way[0]))
		return false;
	for (size_t i = first; way[i] != NULL; i++) {
		const bool marked = is_mark(way[i][0]);
		const char mark = marked ? way[i][0] : i == first && !how ? ' ' : '~';
		uint32_t absent = 0;
		if (mark == '!' ? says(p, way[i] + 1, '~', &absent) : !says(p, way[i] + marked, mark, used))
			return false;
	}
	return true;
}

static bool beside(const struct word *word, const char *const *list)
{
	for (; *list != NULL; list++) {
		if (wording__inflects(word, *list))
			return true;
	}
	return false;
}

static bool explained(const struct prompt *p, const char *const *list, uint32_t used)
{
	for (size_t i = 0; i < p->count; i++) {
		const struct word *word = &p->items[i];
		const bool counts = word->role == ROLE_CONTENT ||
				    (word->role == ROLE_STOP && wording__listed(word, meaning));
		if (counts && (used & 1U << i) == 0 && !wording__is_class(p, i) && !beside(word, list))
			return false;
	}
	return true;
}

static bool asks(const struct prompt *p, const struct relation *relation, uint32_t letters, uint32_t *keys)
{
	for (size_t i = 0; relation->ways[i][0] != NULL; i++) {
		uint32_t used = 0;
		if (may_go(relation->ways[i], letters) && goes(p, relation->ways[i], &used) &&
		    explained(p, relation->beside, used)) {
			*keys |= used;
			return true;
		}
	}
	return false;
}

void wording__relations(const struct prompt *p, struct wording_asked *out)
{
	memset(out, 0, sizeof(*out));
	if (p->end == 0 || p->count > WORDING_TOKENS_MAX)
		return;
	const uint32_t letters = first_letters(p);
	for (size_t i = 0; i < RELATION_COUNT; i++) {
		if (asks(p, &relations[i], letters, &out->keys))
			out->relations[i / 64] |= UINT64_C(1) << i % 64;
	}
}

/* Bits: 1 and 2, for the two ways round, where the word alone says the relation. */
static unsigned says_alone(const struct prompt *p, size_t i, const struct relation *relation)
{
	unsigned round = 0;
	for (size_t k = 0; relation->ways[k][0] != NULL; k++) {
		const char *const *way = relation->ways[k];
		const size_t first = way[0][0] == '@';
		if (way[first] != NULL && way[first + 1] == NULL &&
		    wording__inflects(&p->items[i], way[first] + is_mark(way[first][0])) && asks_kind(p, way[0]))
			round |= way[first][0] == '<' || way[first][0] == '^' ? 2 : 1;
	}
	return round;
}

bool wording__same_relation(const struct prompt *p, size_t i, const struct prompt *other)
{
	for (size_t r = 0; r < RELATION_COUNT; r++) {
		const unsigned round = says_alone(p, i, &relations[r]);
		for (size_t k = 0; round != 0 && k < other->count; k++) {
			if (other->items[k].role == ROLE_CONTENT && (round & says_alone(other, k, &relations[r])) != 0)
				return true;
		}
	}
	return false;
}
