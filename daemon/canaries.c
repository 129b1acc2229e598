/* canaries.c: see canaries.h. */
#include "daemon/canaries_internal.h"

#include "base/fault.h"
#include "base/buf.h"
#include "base/json.h"

#include <stdlib.h>
#include <string.h>

#define FILE_BYTES_MAX (4 * 1024 * 1024)
#define COUNT_MAX      10000

/* --- Files. */

static bool is_there(const struct canaries *c, const char *id)
{
	for (size_t i = 0; i < c->count; i++)
		if (strcmp(c->list[i].id, id) == 0)
			return true;
	return false;
}

static int add(struct canaries *c, const char *id, const char *prompt, bool chat)
{
	if (c->count == c->cap) {
		const size_t cap = c->cap == 0 ? 256 : 2 * c->cap;
		struct canary *list = fault_realloc(c->list, cap * sizeof *list);
		if (list == NULL)
			return ERR_NOMEM;
		c->list = list;
		c->cap = cap;
	}
	struct canary *canary = &c->list[c->count];
	*canary = (struct canary){ strdup(id), strdup(prompt), chat };
	c->count++;
	return canary->id != NULL && canary->prompt != NULL ? 0 : ERR_NOMEM;
}

static const char *line_wrong(const struct canaries *c, const char *id, const char *prompt, const char *chat)
{
	if (id == NULL || *id == '\0' || strlen(id) > MSG_CANARY_ID_BYTES_MAX)
		return "needs an \"id\" of at most 64 bytes";
	if ((prompt == NULL) == (chat == NULL))
		return "needs a \"prompt\", or \"chat\"";
	const size_t len = strlen(prompt != NULL ? prompt : chat);
	if (len == 0 || len > MSG_CANARY_PROMPT_BYTES_MAX)
		return "its text is empty, or over 2048 bytes";
	if (is_there(c, id))
		return "its id stands before";
	return c->count == COUNT_MAX ? "at most 10000 canaries are possible" : NULL;
}

static int line_take(struct canaries *c, const char *line, size_t len, const char *path, size_t number, struct err *e)
{
	struct json *json = NULL;
	int rc = json_parse(line, len, &json, e);
	if (rc != 0) {
		err_wrap(e, "%s:%zu", path, number);
		return rc;
	}
	const char *id = json_string(json_get(json, "id"), NULL);
	const char *prompt = json_string(json_get(json, "prompt"), NULL);
	const char *chat = json_string(json_get(json, "chat"), NULL);
	const char *wrong = line_wrong(c, id, prompt, chat);
	if (wrong != NULL)
		rc = err_set(e, ERR_INVALID, "%s:%zu: %s", path, number, wrong);
	else if (add(c, id, prompt != NULL ? prompt : chat, chat != NULL) != 0)
		rc = err_set(e, ERR_NOMEM, "canaries: out of memory");
	json_free(&json);
	return rc;
}

static int file_take(struct canaries *c, const char *path, struct err *e)
{
	struct buf bytes = BUF_INIT;
	int rc = file_read_regular(path, FILE_BYTES_MAX, &bytes, e);
	if (rc != 0)
		err_wrap(e, "canaries");
	const char *at = (const char *)bytes.data, *end = at + (rc == 0 ? bytes.len : 0);
	for (size_t number = 1; rc == 0 && at < end; number++) {
		const char *stop = memchr(at, '\n', (size_t)(end - at));
		const size_t len = (size_t)((stop != NULL ? stop : end) - at);
		if (len > 0)
			rc = line_take(c, at, len, path, number, e);
		at += len + 1;
	}
	buf_free(&bytes);
	return rc;
}

/* Of ids and texts in their order, as they are asked. */
static int digest_make(struct canaries *c, struct err *e)
{
	struct buf bytes = BUF_INIT;
	for (size_t i = 0; i < c->count; i++) {
		const struct canary *canary = &c->list[i];
		buf_append(&bytes, canary->id, strlen(canary->id) + 1);
		buf_append(&bytes, canary->prompt, strlen(canary->prompt) + 1);
		buf_append(&bytes, canary->chat ? "c" : "p", 1);
	}
	const bool failed = buf_failed(&bytes);
	if (!failed)
		hash_of(bytes.data, bytes.len, &c->row.digest);
	buf_free(&bytes);
	return failed ? err_set(e, ERR_NOMEM, "canaries: out of memory") : 0;
}

/* --- Life. */

int canaries_open(const char *shipped, const char *own, struct canaries **out, struct err *e)
{
	struct canaries *c = fault_calloc(1, sizeof *c);
	if (c == NULL)
		return err_set(e, ERR_NOMEM, "canaries: out of memory");
	c->row = (struct worker_canaries){
		.context = c, .roots = canaries__roots, .ask = canaries__ask, .prepare = canaries__prepare
	};
	int rc = file_take(c, shipped, e);
	if (rc == 0 && own != NULL)
		rc = file_take(c, own, e);
	if (rc == 0)
		rc = digest_make(c, e);
	if (rc != 0) {
		canaries_close(&c);
		return rc;
	}
	*out = c;
	return 0;
}

void canaries_close(struct canaries **canaries)
{
	struct canaries *c = *canaries;
	if (c == NULL)
		return;
	canaries__forget(c);
	for (size_t i = 0; i < c->count; i++) {
		free(c->list[i].id);
		free(c->list[i].prompt);
	}
	free(c->list);
	free(c);
	*canaries = NULL;
}

size_t canaries_count(const struct canaries *canaries)
{
	return canaries->count;
}

const struct worker_canaries *canaries_worker(const struct canaries *canaries)
{
	return &canaries->row;
}
