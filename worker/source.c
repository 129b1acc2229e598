/* source.c: see source.h. */
#include "worker/source.h"

#include "base/log.h"

#define LEFT_US     (5 * INT64_C(1000000))
#define STRIKES_MAX 6

const char *const worker_fetch_fault_names[WORKER_FETCH_FAULTS] = {
	[WORKER_FETCH_UNREACHABLE] = "unreachable", [WORKER_FETCH_SILENT] = "silent", [WORKER_FETCH_LATE] = "late",
	[WORKER_FETCH_LACKING] = "lacking",         [WORKER_FETCH_WRONG] = "wrong",
};

void worker__sources_init(struct worker__sources *sources, const struct env *env, struct proto_transport *coordinator)
{
	sources->env = env;
	sources->list[0] = (struct worker__source){ .transport = coordinator, .name = "coordinator" };
	sources->count = 1;
}

int worker__sources_add(struct worker__sources *sources, struct proto_transport *relay, const char *name, struct err *e)
{
	if (sources->count == WORKER_FETCH_RELAYS_MAX + 1)
		return err_set(e, ERR_LIMIT, "%s: a node pulls from %d relays at most", name, WORKER_FETCH_RELAYS_MAX);
	sources->list[sources->count] = sources->list[sources->count - 1];
	sources->list[sources->count - 1] = (struct worker__source){ .transport = relay, .name = name };
	sources->count++;
	return 0;
}

bool worker__source_is_relay(const struct worker__sources *sources, size_t index)
{
	return index + 1 < sources->count;
}

size_t worker__source_pick(const struct worker__sources *sources, size_t from)
{
	size_t at = from;
	while (worker__source_is_relay(sources, at) && sources->list[at].left_until_us > env_monotonic_us(sources->env))
		at++;
	return at;
}

void worker__source_begin(struct worker__sources *sources, size_t index)
{
	struct worker__source *source = &sources->list[index];
	source->heard_us = source->gave_us = env_monotonic_us(sources->env);
}

void worker__source_asked(struct worker__sources *sources, size_t index)
{
	sources->list[index].asked_us = env_monotonic_us(sources->env);
}

bool worker__source_quiet(const struct worker__sources *sources, size_t index)
{
	const struct worker__source *source = &sources->list[index];
	const int64_t since_us = source->asked_us > source->gave_us ? source->asked_us : source->gave_us;
	return env_monotonic_us(sources->env) - since_us >= WORKER_FETCH_RETRY_MS * INT64_C(1000);
}

void worker__source_heard(struct worker__sources *sources, size_t index)
{
	sources->list[index].heard_us = env_monotonic_us(sources->env);
}

void worker__source_gave(struct worker__sources *sources, size_t index, size_t byte_count)
{
	struct worker__source *source = &sources->list[index];
	const bool relay = worker__source_is_relay(sources, index);
	source->gave_us = env_monotonic_us(sources->env);
	if (++source->given == WORKER_FETCH_WINDOW)
		source->strikes = 0;
	sources->last = source;
	*(relay ? &sources->counts.relay_chunks : &sources->counts.chunks) += 1;
	*(relay ? &sources->counts.relay_bytes : &sources->counts.bytes) += byte_count;
}

/* A chunk now and then does not make up for what it does not give: a window is to come in twice the patience. */
enum worker_fetch_fault worker__source_judge(const struct worker__sources *sources, size_t index, int64_t owes_since_us)
{
	const struct worker__source *source = &sources->list[index];
	const int64_t now = env_monotonic_us(sources->env);
	if (now - source->heard_us >= WORKER__SOURCE_SILENT_US)
		return WORKER_FETCH_SILENT;
	const bool late = now - source->gave_us >= sources->patience_us ||
			  now - owes_since_us >= 2 * sources->patience_us;
	return late ? WORKER_FETCH_LATE : WORKER_FETCH_FAULTS;
}

void worker__source_fault(struct worker__sources *sources, size_t index, enum worker_fetch_fault fault)
{
	struct worker__source *source = &sources->list[index];
	sources->counts.faults[fault]++;
	if (fault == WORKER_FETCH_LACKING)
		return;
	if (fault == WORKER_FETCH_WRONG)
		source->strikes = STRIKES_MAX;
	const int64_t left_us = LEFT_US << source->strikes;
	source->left_until_us = env_monotonic_us(sources->env) + left_us;
	source->strikes += source->strikes < STRIKES_MAX;
	source->given = 0;
	log_event(LOG_WARN, "FETCH-RELAY-LEFT", LOGF_S("relay", source->name),
		  LOGF_S("reason", worker_fetch_fault_names[fault]), LOGF_I("seconds", left_us / 1000000));
}
