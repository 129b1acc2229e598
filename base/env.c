#include "base/env.h"

#include "base/rng.h"

#include <stdbool.h>

#include <assert.h>
#include <limits.h>
#include <pthread.h>
#include <sodium.h> /* randomness; keys are in proto/keys.c */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

static int64_t system_monotonic_us(void *context)
{
	(void)context;
	struct timespec t;
	clock_gettime(CLOCK_MONOTONIC, &t);
	return (int64_t)t.tv_sec * 1000000 + t.tv_nsec / 1000;
}

static int64_t system_wall_ms(void *context)
{
	(void)context;
	struct timespec t;
	clock_gettime(CLOCK_REALTIME, &t);
	return (int64_t)t.tv_sec * 1000 + t.tv_nsec / 1000000;
}

static void system_random(void *context, void *bytes, size_t byte_count)
{
	(void)context;
	randombytes_buf(bytes, byte_count);
}

static void start_sodium(void)
{
	if (sodium_init() < 0)
		abort(); /* no source of randomness: keys made now would be guessable */
}

const struct env *env_system(void)
{
	static const struct env system = {
		.monotonic_us = system_monotonic_us,
		.wall_ms = system_wall_ms,
		.random = system_random,
	};
	static pthread_once_t once = PTHREAD_ONCE_INIT;
	pthread_once(&once, start_sodium);
	return &system;
}

int64_t env_monotonic_us(const struct env *env)
{
	return env->monotonic_us(env->context);
}

int64_t env_monotonic_ms(const struct env *env)
{
	return env_monotonic_us(env) / 1000;
}

int64_t env_wall_ms(const struct env *env)
{
	return env->wall_ms(env->context);
}

uint64_t env_random_u64(const struct env *env)
{
	uint64_t v;
	env->random(env->context, &v, sizeof(v));
	return v;
}

static int64_t manual_monotonic_us(void *context)
{
	return ((const struct env_manual *)context)->now_us;
}

static int64_t manual_wall_ms(void *context)
{
	const struct env_manual *m = context;
	return m->wall_offset_ms + m->now_us / 1000;
}

static void manual_random(void *context, void *bytes, size_t byte_count)
{
	struct env_manual *m = context;
	struct rng r;
	rng_init(&r, 0);
	memcpy(r.s, m->random_state, sizeof(r.s));
	uint8_t *out = bytes;
	while (byte_count > 0) {
		uint64_t v = rng_u64(&r);
		size_t n = byte_count < sizeof(v) ? byte_count : sizeof(v);
		memcpy(out, &v, n);
		out += n;
		byte_count -= n;
	}
	memcpy(m->random_state, r.s, sizeof(r.s));
}

void env_manual_init(struct env_manual *manual, uint64_t seed)
{
	struct rng r;
	rng_init(&r, seed);
	*manual = (struct env_manual){
		.env = { manual, manual_monotonic_us, manual_wall_ms, manual_random },
		.now_us = 1000000,
		.wall_offset_ms = INT64_C(1767225600000), /* 2026-01-01T00:00:00Z */
	};
	memcpy(manual->random_state, r.s, sizeof(r.s));
}

void env_manual_advance(struct env_manual *manual, int64_t us)
{
	assert(us >= 0);
	manual->now_us += us;
}

void env_time_format(int64_t wall_ms, char out[ENV_TIME_BYTES])
{
	int64_t seconds = wall_ms / 1000, ms = wall_ms % 1000;
	if (ms < 0) {
		ms += 1000;
		seconds--;
	}
	time_t t = (time_t)seconds;
	struct tm parts;
	if (gmtime_r(&t, &parts) == NULL || parts.tm_year < -1900 || parts.tm_year > 8099) {
		snprintf(out, ENV_TIME_BYTES, "0000-01-01T00:00:00.000Z"); /* outside what RFC 3339 can write */
		return;
	}
	size_t len = strftime(out, ENV_TIME_BYTES, "%Y-%m-%dT%H:%M:%S", &parts);
	if (parts.tm_year < -900) /* strftime does not pad years under 1000 */
		len = (size_t)snprintf(out, ENV_TIME_BYTES, "%04u-%02u-%02uT%02u:%02u:%02u",
				       (unsigned)(parts.tm_year + 1900) % 10000, (unsigned)(parts.tm_mon + 1) % 100,
				       (unsigned)parts.tm_mday % 100, (unsigned)parts.tm_hour % 100,
				       (unsigned)parts.tm_min % 100, (unsigned)parts.tm_sec % 100);
	snprintf(out + len, ENV_TIME_BYTES - len, ".%03dZ", (int)ms);
}

/* `digits` decimal digits at *at into *out, then the character `then` (0: none); moves *at on. */
static bool take_number(const char **at, int digits, char then, int *out)
{
	*out = 0;
	for (int i = 0; i < digits; i++, (*at)++) {
		if (**at < '0' || **at > '9')
			return false;
		*out = *out * 10 + (**at - '0');
	}
	if (then == '\0')
		return true;
	if (**at != then && !(then == 'T' && (**at == 't' || **at == ' ')))
		return false;
	(*at)++;
	return true;
}

/* ".123456" → 123 milliseconds; no fraction is fine. */
static bool take_fraction(const char **at, int *ms)
{
	*ms = 0;
	if (**at != '.')
		return true;
	(*at)++;
	int scale = 100, digits = 0;
	for (; **at >= '0' && **at <= '9'; (*at)++, digits++) {
		*ms += (**at - '0') * scale;
		scale /= 10;
	}
	return digits > 0;
}

static bool take_zone(const char **at, int *offset_minutes)
{
	int hours, minutes;
	*offset_minutes = 0;
	char sign = **at;
	if (sign == '\0')
		return false;
	(*at)++;
	if (sign == 'Z' || sign == 'z')
		return true;
	if ((sign != '+' && sign != '-') || !take_number(at, 2, ':', &hours) || !take_number(at, 2, '\0', &minutes))
		return false;
	if (hours > 23 || minutes > 59)
		return false;
	*offset_minutes = (sign == '-' ? -1 : 1) * (hours * 60 + minutes);
	return true;
}

static int days_in_month(int year, int month)
{
	static const int days[] = { 31, 28, 31, 30, 31, 30, 31, 31, 30, 31, 30, 31 };
	bool leap = (year % 4 == 0 && year % 100 != 0) || year % 400 == 0;
	return month == 2 && leap ? 29 : days[month - 1];
}

int env_time_parse(const char *text, int64_t *wall_ms, struct err *e)
{
	const char *at = text;
	int year, month, day, hour, minute, second, ms, zone;
	bool ok = take_number(&at, 4, '-', &year) && take_number(&at, 2, '-', &month) &&
		  take_number(&at, 2, 'T', &day) && take_number(&at, 2, ':', &hour) &&
		  take_number(&at, 2, ':', &minute) && take_number(&at, 2, '\0', &second) && take_fraction(&at, &ms) &&
		  take_zone(&at, &zone) && *at == '\0';
	ok = ok && month >= 1 && month <= 12 && day >= 1 && day <= days_in_month(year, month) && hour <= 23 &&
	     minute <= 59 && second <= 60;
	if (!ok)
		return err_set(e, ERR_INVALID, "'%.40s' is no RFC 3339 time: write 2026-11-23T08:45:00Z", text);
	struct tm parts = { .tm_year = year - 1900,
			    .tm_mon = month - 1,
			    .tm_mday = day,
			    .tm_hour = hour,
			    .tm_min = minute,
			    .tm_sec = second };
	int64_t seconds = (int64_t)timegm(&parts) - (int64_t)zone * 60;
	*wall_ms = seconds * 1000 + ms;
	return 0;
}
