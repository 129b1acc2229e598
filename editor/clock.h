/* clock.h: times of day in text and in lists of words, where marks are spaces: "5:00 pm", "5 p.m.", "5 00 p m",
 * "17:00". Inside editor/ only. Pure. */
#ifndef AMEND_EDITOR_CLOCK_H
#define AMEND_EDITOR_CLOCK_H

#include <stdbool.h>
#include <stddef.h>

struct editor__clock {
	unsigned minute; /* of the day */
	bool half;       /* it says am or pm */
	bool sure;       /* which half of the day is known */
	bool colon;
	size_t end; /* the byte behind it */
};
/* Whether a time stands at byte `at`, where a run of letters and digits begins: hours with "am" or "pm", minutes of two
 * digits behind a colon, a space or a full stop between them, or hours and minutes behind a colon or a space ("17 00"
 * is one only for what asks for a time). 24:00 is 0:00. Where it is none *clock holds nothing of use. */
bool editor__clock_at(const char *text, size_t len, size_t at, struct editor__clock *clock);
/* Whether they may be one: of the day where both are sure, else of half a day. */
bool editor__clocks_meet(const struct editor__clock *a, const struct editor__clock *b);

#endif
