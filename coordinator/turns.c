/* turns.c: whose turn it is when the queue is full. While nobody waits there is nothing to remember; from the first
 * refusal on, each submitter's turn moves by what was taken of it, and the earliest of those who wait comes next. */
#include "coordinator/turns.h"

#include <string.h>

static void forget(struct turns *turns, size_t i)
{
	turns->list[i] = turns->list[--turns->count];
}

static void forget_old(struct turns *turns, int64_t now_ms)
{
	for (size_t i = turns->count; i-- > 0;)
		if (now_ms - turns->list[i].asked_ms > TURNS_WAIT_MS)
			forget(turns, i);
}

static struct turn *turn_of(struct turns *turns, const uint8_t *key)
{
	size_t oldest = 0;
	for (size_t i = 0; i < turns->count; i++) {
		if (memcmp(turns->list[i].key, key, PROTO_KEY_BYTES) == 0)
			return &turns->list[i];
		if (turns->list[i].asked_ms < turns->list[oldest].asked_ms)
			oldest = i;
	}
	if (turns->count == TURNS_MAX)
		forget(turns, oldest);
	struct turn *turn = &turns->list[turns->count++];
	*turn = (struct turn){ .begin = turns->now };
	memcpy(turn->key, key, PROTO_KEY_BYTES);
	return turn;
}

static bool another_is_before(const struct turns *turns, const struct turn *turn)
{
	for (size_t i = 0; i < turns->count; i++) {
		const struct turn *other = &turns->list[i];
		if (other->waits && (other->begin < turn->begin || (other->begin == turn->begin && !turn->waits)))
			return true;
	}
	return false;
}

bool coordinator__turn_take(struct turns *turns, const uint8_t key[PROTO_KEY_BYTES], size_t count, bool room,
			    int64_t now_ms)
{
	forget_old(turns, now_ms);
	if (room && turns->count == 0)
		return true;
	struct turn *turn = turn_of(turns, key);
	turn->asked_ms = now_ms;
	turn->waits = !room || another_is_before(turns, turn);
	if (turn->waits)
		return false;
	turns->now = turn->begin > turns->now ? turn->begin : turns->now;
	turn->begin += count;
	return true;
}
