/* segments.h: the parts of a longer text that may be what it asks. What continues a text is what it says last: its last
 * question, however much stands before it. Pure. */
#ifndef AMEND_EDITOR_SEGMENTS_H
#define AMEND_EDITOR_SEGMENTS_H

#include <stdbool.h>
#include <stddef.h>

#define EDITOR_SEGMENTS_MAX 3u

struct editor_span { /* bytes [start, end) of a text */
	size_t start, end;
};
/* The text as a whole (`whole`; else it is left out), its last sentence, and its last question where at most two other
 * sentences stand behind it; without the white space around them, none twice. Never two sentences of several: a text
 * that names a subject and then asks something else would be near what is asked about that subject. A sentence ends at
 * a line feed, and at a mark that ends one when white space and no small letter follow (or any, in a text without
 * capitals); a full stop behind a single capital or a usual abbreviation (J. R., Dr., Inc.) ends none. The text need be
 * no UTF-8. Returns how many. */
size_t editor_segments(const char *text, size_t len, bool whole, struct editor_span spans[EDITOR_SEGMENTS_MAX]);

#endif
