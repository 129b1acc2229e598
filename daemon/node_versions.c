/* node_versions.c: the versions that a node holds in memory, the requests that wait for one, and what is loaded next.
 */
#include "daemon/node_sync_internal.h"

#include <assert.h>

void node_version_release(struct node_version *version)
{
	editor_memory_set_release(&version->set);
}

/* ---- Versions in memory */

struct node_sync__entry *node_sync__entry_find(struct node_sync *sync, uint64_t version)
{
	for (size_t i = 0; i < sync->entry_count; i++)
		if (sync->entries[i].version.version == version)
			return &sync->entries[i];
	return NULL;
}

struct node_version node_sync__version_held(const struct node_version *version)
{
	struct node_version copy = *version;
	if (copy.set != NULL)
		copy.set = editor_memory_set_acquire(copy.set);
	return copy;
}

/* Puts a version in; what was used longest ago makes room, never the live one. Gives the set to release, which may take
 * a while, or NULL. Under the lock. */
struct editor_memory_set *node_sync__entry_put(struct node_sync *sync, const struct node_version *version)
{
	struct node_sync__entry *entry = node_sync__entry_find(sync, version->version);
	if (entry == NULL)
		entry = &sync->entries[sync->entry_count++];
	struct editor_memory_set *old = entry->version.set;
	entry->version = *version;
	entry->used = ++sync->clock;
	if (old != NULL || sync->entry_count <= sync->config.versions_kept)
		return old;
	size_t oldest = SIZE_MAX;
	for (size_t i = 0; i < sync->entry_count; i++)
		if (sync->entries[i].version.version != sync->live.version &&
		    (oldest == SIZE_MAX || sync->entries[i].used < sync->entries[oldest].used))
			oldest = i;
	assert(oldest != SIZE_MAX); /* more than one entry, one of them live */
	old = sync->entries[oldest].version.set;
	sync->entries[oldest] = sync->entries[--sync->entry_count];
	sync->entries[sync->entry_count] = (struct node_sync__entry){ 0 };
	return old;
}

int node_sync_acquire(struct node_sync *sync, uint64_t version, struct node_version *out)
{
	int rc = 0;
	*out = (struct node_version){ 0 };
	pthread_mutex_lock(&sync->lock);
	uint64_t wanted = version != 0 ? version : sync->live.version;
	struct node_sync__entry *entry = wanted != 0 ? node_sync__entry_find(sync, wanted) : NULL;
	if (entry != NULL) {
		entry->used = ++sync->clock;
		*out = node_sync__version_held(&entry->version);
	} else if (wanted != 0) {
		rc = ERR_NOT_FOUND;
	} else if (!sync->answered || sync->newest.version != 0) {
		rc = ERR_AGAIN;
	}
	pthread_mutex_unlock(&sync->lock);
	return rc;
}

/* ---- Requests that wait for a version */

/* Takes one want that matches out of the list: of `version`, else (0) past its deadline, else (all) any. */
static bool want_take(struct node_sync *sync, uint64_t version, int64_t now, bool all, struct node_sync__want *out)
{
	bool found = false;
	pthread_mutex_lock(&sync->lock);
	for (size_t i = 0; i < sync->want_count && !found; i++) {
		struct node_sync__want *want = &sync->wants[i];
		found = all || (version != 0 ? want->version == version : want->deadline_us <= now);
		if (found) {
			*out = *want;
			*want = sync->wants[--sync->want_count];
		}
	}
	pthread_mutex_unlock(&sync->lock);
	return found;
}

void node_sync__wants_end(struct node_sync *sync, uint64_t version, int code, const struct node_version *loaded)
{
	struct node_sync__want want;
	while (want_take(sync, version, 0, false, &want)) {
		struct node_version held = loaded != NULL ? node_sync__version_held(loaded)
							  : (struct node_version){ 0 };
		want.on_end(want.context, code, &held);
	}
}

void node_sync__wants_expire(struct node_sync *sync, bool all)
{
	struct node_sync__want want;
	while (want_take(sync, 0, env_monotonic_us(sync->env), all, &want)) {
		struct node_version none = { 0 };
		want.on_end(want.context, all ? ERR_CLOSED : ERR_TIMEOUT, &none);
	}
}

int node_sync_want(struct node_sync *sync, uint64_t version, int64_t deadline_us,
		   void (*on_end)(void *context, int code, struct node_version *version), void *context, struct err *e)
{
	int rc = 0;
	pthread_mutex_lock(&sync->lock);
	if (sync->closed)
		rc = err_set(e, ERR_CLOSED, "the node is stopping");
	else if (sync->want_count == sync->config.wants_max)
		rc = err_set(e, ERR_LIMIT, "%zu requests wait for a version to be loaded already",
			     sync->config.wants_max);
	else
		sync->wants[sync->want_count++] = (struct node_sync__want){ version, deadline_us, on_end, context };
	pthread_mutex_unlock(&sync->lock);
	return rc;
}

/* ---- What to load next */

static bool newest_due(const struct node_sync *sync)
{
	return sync->newest.version != 0 && sync->newest.version != sync->live.version &&
	       env_monotonic_us(sync->env) >= sync->retry_us;
}

/* A want of what is in memory meanwhile ends at once; else the first that is not being loaded says what is asked for.
 */
static uint64_t pin_next(struct node_sync *sync)
{
	struct node_version held = { 0 };
	uint64_t version = 0;
	pthread_mutex_lock(&sync->lock);
	for (size_t i = 0; i < sync->want_count && held.set == NULL; i++) {
		struct node_sync__entry *entry = node_sync__entry_find(sync, sync->wants[i].version);
		if (entry != NULL)
			held = node_sync__version_held(&entry->version);
		else if (version == 0 &&
			 (sync->load.phase == NODE_LOAD_NONE || sync->load.version.version != sync->wants[i].version))
			version = sync->wants[i].version;
	}
	pthread_mutex_unlock(&sync->lock);
	if (held.set != NULL) {
		node_sync__wants_end(sync, held.version, 0, &held);
		node_version_release(&held);
		return pin_next(sync); /* ends: there are fewer wants now */
	}
	return version;
}

/* Asks where the manifest of a pinned version is. */
static void pin_ask(struct node_sync *sync)
{
	int64_t now = env_monotonic_us(sync->env);
	uint64_t version = pin_next(sync);
	if (version == 0 || !sync->greeted || sync->pin_found.version != 0 ||
	    (sync->pin_version == version && now - sync->pin_us < NODE_SYNC__ASK_AGAIN_US))
		return;
	struct msg msg = { .type = MSG_GET_MANIFEST };
	if (sync->pin_version != version)
		sync->pin_request = ++sync->request_id;
	msg.request_id = sync->pin_request;
	msg.u.get_manifest = (struct msg_get_manifest){ .version = version, .alias = { "latest", 6 } };
	sync->pin_version = version;
	sync->pin_us = now;
	node_sync__send(sync, &msg);
}

void node_sync__load_next(struct node_sync *sync)
{
	pin_ask(sync);
	if (sync->load.phase != NODE_LOAD_NONE)
		return;
	bool newest = newest_due(sync);
	if (sync->pin_found.version != 0 && (!newest || !sync->pin_last)) {
		struct node_version found = sync->pin_found;
		sync->pin_found = (struct node_version){ 0 };
		sync->pin_last = true;
		node_load__start(&sync->load, &found, true);
	} else if (newest) {
		sync->pin_last = false;
		node_sync__state(sync, NODE_SYNC_FETCHING);
		node_load__start(&sync->load, &sync->newest, false);
	}
}
