#include "editor/clock.h"

#define HOUR     60u
#define HALF_DAY (12 * HOUR)

static bool is_digit(const char *text, size_t len, size_t at)
{
	return at < len && text[at] >= '0' && text[at] <= '9';
}

static char small(const char *text, size_t len, size_t at)
{
	const char c = at < len ? text[at] : ' ';
	return c >= 'A' && c <= 'Z' ? (char)(c + ('a' - 'A')) : c;
}

static bool is_plain(const char *text, size_t len, size_t at)
{
	return is_digit(text, len, at) || (small(text, len, at) >= 'a' && small(text, len, at) <= 'z');
}

/* Up to two digits; 0 of them where more stand there. */
static size_t take_two(const char *text, size_t len, size_t at, unsigned *value)
{
	size_t count = 0;
	for (*value = 0; is_digit(text, len, at + count); count++) {
		if (count == 2)
			return 0;
		*value = 10 * *value + (unsigned)(text[at + count] - '0');
	}
	return count;
}

/* "am", "p.m.", "a m" from `at` on, behind at most a space; the byte behind it, 0: none. */
static size_t take_half(const char *text, size_t len, size_t at, bool *pm)
{
	at += at < len && text[at] == ' ' ? 1 : 0;
	if (small(text, len, at) != 'a' && small(text, len, at) != 'p')
		return 0;
	*pm = small(text, len, at++) == 'p';
	at += at < len && (text[at] == ' ' || text[at] == '.') ? 1 : 0;
	if (small(text, len, at) != 'm' || is_plain(text, len, at + 1))
		return 0;
	return at + 1;
}

/* Minutes behind the hours that end at `at`; the byte behind them, 0: none. */
static size_t take_minutes(const char *text, size_t len, size_t at, unsigned *minutes)
{
	if (at >= len || (text[at] != ':' && text[at] != ' ' && text[at] != '.') ||
	    take_two(text, len, at + 1, minutes) != 2 || *minutes >= HOUR)
		return 0;
	return at + 3;
}

bool editor__clock_at(const char *text, size_t len, size_t at, struct editor__clock *clock)
{
	unsigned hours = 0, minutes = 0;
	bool pm = false;
	const size_t digits = take_two(text, len, at, &hours);
	if (digits == 0 || hours > 24)
		return false;
	const size_t hours_end = at + digits;
	size_t end = take_minutes(text, len, hours_end, &minutes);
	const size_t half = take_half(text, len, end > 0 ? end : hours_end, &pm);
	*clock = (struct editor__clock){ .half = half > 0, .colon = end > 0 && text[hours_end] == ':' };
	if (half > 0 && (hours == 0 || hours > 12))
		return false;
	if (half == 0 && (end == 0 || text[hours_end] == '.' || is_plain(text, len, end)))
		return false;
	if (half > 0)
		hours = hours % 12 + (pm ? 12 : 0);
	clock->minute = (hours % 24) * HOUR + (end > 0 ? minutes : 0);
	clock->sure = half > 0 || hours == 0 || hours > 12;
	clock->end = half > 0 ? half : end;
	return true;
}

bool editor__clocks_meet(const struct editor__clock *a, const struct editor__clock *b)
{
	return a->sure && b->sure ? a->minute == b->minute : a->minute % HALF_DAY == b->minute % HALF_DAY;
}
