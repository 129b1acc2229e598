#include "base/fault.h"

#include "base/log.h"

#include <assert.h>
#include <errno.h>
#include <pthread.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#define NAME_BYTES_MAX 64
#define ARMED_MAX      32
#define SEEN_MAX       256 /* points counted by fault_hits; later names are not counted */

enum action { ACTION_KILL, ACTION_ERRNO, ACTION_STOP, ACTION_DELAY };

struct armed {
	char name[NAME_BYTES_MAX];
	enum action action;
	long delay_ms;
	uint64_t countdown; /* fires when it reaches 0; 1 is the next pass */
	uint64_t repeat;
};

struct seen {
	char name[NAME_BYTES_MAX];
	uint64_t hits;
};

static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;
static struct armed armed[ARMED_MAX];
static struct seen seen[SEEN_MAX];
static size_t seen_count;
static atomic_size_t armed_count; /* what a point reads before anything else */
static atomic_bool from_env;      /* armed for a real process: its log tells what fired */

static void note_hit(const char *name)
{
	for (size_t i = 0; i < seen_count; i++) {
		if (strcmp(seen[i].name, name) == 0) {
			seen[i].hits++;
			return;
		}
	}
	if (seen_count == SEEN_MAX)
		return;
	snprintf(seen[seen_count].name, NAME_BYTES_MAX, "%s", name);
	seen[seen_count++].hits = 1;
}

/* True when `name` fires now; the action is copied out so that it happens outside the lock. */
static bool take_fire(const char *name, struct armed *out)
{
	bool fire = false;
	size_t count = atomic_load(&armed_count);
	for (size_t i = 0; i < count && !fire; i++) {
		if (strcmp(armed[i].name, name) != 0 || armed[i].repeat == 0)
			continue;
		if (armed[i].countdown > 1) {
			armed[i].countdown--;
			continue;
		}
		armed[i].repeat--;
		*out = armed[i];
		fire = true;
	}
	return fire;
}

static void sleep_ms(long ms)
{
	struct timespec left = { ms / 1000, (ms % 1000) * 1000000 };
	while (nanosleep(&left, &left) != 0 && errno == EINTR)
		;
}

int fault_point(const char *name)
{
	if (atomic_load_explicit(&armed_count, memory_order_relaxed) == 0)
		return 0;
	struct armed fired;
	pthread_mutex_lock(&lock);
	note_hit(name);
	bool fire = take_fire(name, &fired);
	pthread_mutex_unlock(&lock);
	if (!fire)
		return 0;
	if (atomic_load(&from_env) && (fired.action == ACTION_ERRNO || fired.action == ACTION_DELAY))
		log_event(LOG_WARN, "FAULT-FIRED", LOGF_S("point", name));
	switch (fired.action) {
	case ACTION_KILL:
		kill(getpid(), SIGKILL);
		return 0;
	case ACTION_STOP:
		kill(getpid(), SIGSTOP);
		return 0;
	case ACTION_DELAY:
		sleep_ms(fired.delay_ms);
		return 0;
	case ACTION_ERRNO:
		break;
	}
	return ERR_FAULT;
}

static int parse_count(const char *text, size_t len, uint64_t *out)
{
	if (len == 0 || len > 18)
		return ERR_INVALID;
	*out = 0;
	for (size_t i = 0; i < len; i++) {
		if (text[i] < '0' || text[i] > '9')
			return ERR_INVALID;
		*out = *out * 10 + (uint64_t)(text[i] - '0');
	}
	return 0;
}

static int parse_action(const char *text, size_t len, struct armed *out)
{
	static const char delay[] = "delay-";
	uint64_t ms;
	if (len == 4 && memcmp(text, "kill", 4) == 0)
		out->action = ACTION_KILL;
	else if (len == 4 && memcmp(text, "stop", 4) == 0)
		out->action = ACTION_STOP;
	else if (len == 5 && memcmp(text, "errno", 5) == 0)
		out->action = ACTION_ERRNO;
	else if (len > sizeof(delay) - 1 && memcmp(text, delay, sizeof(delay) - 1) == 0 &&
		 parse_count(text + sizeof(delay) - 1, len - sizeof(delay) + 1, &ms) == 0 && ms <= 600000) {
		out->action = ACTION_DELAY;
		out->delay_ms = (long)ms;
	} else
		return ERR_INVALID;
	return 0;
}

static int parse_spec(const char *spec, size_t len, struct armed *out, struct err *e)
{
	const char *equals = memchr(spec, '=', len);
	const char *at = memchr(spec, '@', len);
	const char *colon = at != NULL ? memchr(at, ':', len - (size_t)(at - spec)) : NULL;
	const char *end = spec + len;
	if (equals == NULL || equals == spec || at == NULL || at < equals)
		return err_set(e, ERR_INVALID, "fault '%.*s': write NAME=ACTION@COUNTDOWN[:REPEAT]", (int)len, spec);
	if ((size_t)(equals - spec) >= NAME_BYTES_MAX)
		return err_set(e, ERR_INVALID, "fault '%.*s': the name is over %d bytes", (int)len, spec,
			       NAME_BYTES_MAX - 1);
	memset(out, 0, sizeof(*out));
	memcpy(out->name, spec, (size_t)(equals - spec));
	if (parse_action(equals + 1, (size_t)(at - equals - 1), out) != 0)
		return err_set(e, ERR_INVALID, "fault '%.*s': the action is kill, errno, stop or delay-MS", (int)len,
			       spec);
	const char *countdown_end = colon != NULL ? colon : end;
	out->repeat = 1;
	if (parse_count(at + 1, (size_t)(countdown_end - at - 1), &out->countdown) != 0 || out->countdown == 0 ||
	    (colon != NULL && parse_count(colon + 1, (size_t)(end - colon - 1), &out->repeat) != 0))
		return err_set(e, ERR_INVALID, "fault '%.*s': countdown and repeat are numbers from 1", (int)len, spec);
	return 0;
}

static int arm(const char *spec, size_t len, struct err *e)
{
	struct armed one;
	int rc = parse_spec(spec, len, &one, e);
	if (rc != 0)
		return rc;
	pthread_mutex_lock(&lock);
	size_t count = atomic_load(&armed_count);
	if (count == ARMED_MAX) {
		rc = err_set(e, ERR_LIMIT, "fault '%.*s': %d faults are armed already", (int)len, spec, ARMED_MAX);
	} else {
		armed[count] = one;
		atomic_store(&armed_count, count + 1);
	}
	pthread_mutex_unlock(&lock);
	return rc;
}

int fault_arm(const char *spec, struct err *e)
{
	return arm(spec, strlen(spec), e);
}

int fault_init_from_env(struct err *e)
{
	const char *specs = getenv("AMEND_FAULT");
	if (specs == NULL)
		return 0;
	atomic_store(&from_env, true);
	while (*specs != '\0') {
		size_t len = strcspn(specs, ",");
		int rc = len == 0 ? 0 : arm(specs, len, e);
		if (rc != 0) {
			err_wrap(e, "AMEND_FAULT");
			return rc;
		}
		specs += len;
		if (*specs == ',')
			specs++;
	}
	return 0;
}

void fault_disarm_all(void)
{
	pthread_mutex_lock(&lock);
	atomic_store(&armed_count, 0);
	pthread_mutex_unlock(&lock);
}

uint64_t fault_hits(const char *name)
{
	uint64_t hits = 0;
	pthread_mutex_lock(&lock);
	for (size_t i = 0; i < seen_count; i++) {
		if (strcmp(seen[i].name, name) == 0)
			hits = seen[i].hits;
	}
	pthread_mutex_unlock(&lock);
	return hits;
}

/* Allocations: `alloc_on` is the one load that an ordinary run pays. */
static atomic_bool alloc_on;
static int64_t alloc_countdown, alloc_repeat;

void fault_set(int64_t countdown, int64_t repeat)
{
	pthread_mutex_lock(&lock);
	alloc_countdown = countdown;
	alloc_repeat = repeat;
	atomic_store(&alloc_on, countdown >= 0 && repeat > 0);
	pthread_mutex_unlock(&lock);
}

static bool alloc_fails(void)
{
	if (!atomic_load_explicit(&alloc_on, memory_order_relaxed))
		return false;
	bool fails = false;
	pthread_mutex_lock(&lock);
	if (alloc_countdown > 0) {
		alloc_countdown--;
	} else if (alloc_countdown == 0 && alloc_repeat > 0) {
		alloc_repeat--;
		fails = true;
	}
	pthread_mutex_unlock(&lock);
	if (fails)
		errno = ENOMEM;
	return fails;
}

int fault_memory(void)
{
	return alloc_fails() ? ERR_NOMEM : 0;
}

void *fault_malloc(size_t bytes)
{
	return alloc_fails() ? NULL : malloc(bytes != 0 ? bytes : 1);
}

void *fault_calloc(size_t item_count, size_t item_bytes)
{
	if (alloc_fails())
		return NULL;
	return calloc(item_count != 0 ? item_count : 1, item_bytes != 0 ? item_bytes : 1);
}

void *fault_realloc(void *p, size_t bytes)
{
	return alloc_fails() ? NULL : realloc(p, bytes != 0 ? bytes : 1);
}
