/* client.c: a submitter that keeps a history (history.h): each record is sent until it is answered for good, under its
 * own id. What was not answered in time is "unknown" and sent again. client [options] ENDPOINT SERVER-KEY KEY-FILE
 * HISTORY [FILE.jsonl]
 *   --make N PREFIX  N made-up records instead of a file     --threads T  connections, each with its part (1)
 *   --batch B        records a Submit (1)                    --timeout MS until "unknown" (1500)
 *   --give-up S      seconds in all (120)                    --twice      each is sent again after its answer
 *   --pause MS       between two Submits (0)              --retry MS   after one that was refused for now (100)
 * Ends with "acked A duplicates D refused R unknown U seconds S". Exit 1: not all was answered for good. */
#include "base/env.h"
#include "base/json.h"
#include "proto/loop.h"
#include "tests/torture/history.h"

#include <inttypes.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#define FILE_BYTES_MAX ((size_t)1 << 30)
#define BATCH_MAX      100
#define THREADS_MAX    64

struct item {
	struct buf bytes;
	struct history_line line;
	bool done;
};

struct run {
	const char *endpoint, *key_file, *prefix;
	uint8_t server_key[PROTO_KEY_BYTES];
	int history;
	struct item *items;
	size_t item_count, batch, threads;
	int64_t timeout_ms, give_up_ms, pause_ms, retry_ms;
	bool twice;
	atomic_uint_fast64_t acked, duplicates, refused, unknown, errors;
};

struct part {
	struct run *run;
	size_t first; /* of the items: first, first + threads, … */
};

static int item_note(struct run *run, struct item *item, enum history_kind kind, struct err *e)
{
	item->line.kind = kind;
	return history_append(run->history, &item->line, e);
}

static int item_set(struct item *item, const char *text, size_t len, struct err *e)
{
	struct json *json = NULL;
	int rc = json_parse(text, len, &json, e);
	const char *id = rc == 0 ? json_string(json_get(json, "id"), NULL) : NULL;
	if (rc == 0 && (id == NULL || strlen(id) >= sizeof item->line.id || strpbrk(id, " \n") != NULL))
		rc = err_set(e, ERR_INVALID, "a record without a plain id: %.100s", text);
	if (rc == 0) {
		snprintf(item->line.id, sizeof item->line.id, "%s", id);
		hash_of(text, len, &item->line.content);
		buf_append(&item->bytes, text, len);
	}
	json_free(&json);
	return rc;
}

static int items_read(struct run *run, const char *path, struct err *e)
{
	struct buf text = BUF_INIT;
	int rc = file_read(path, FILE_BYTES_MAX, &text, e);
	char *at = rc == 0 && text.len > 0 ? (char *)(uintptr_t)buf_cstr(&text) : NULL, *end;
	size_t lines = 0;
	for (size_t i = 0; i < text.len; i++)
		lines += text.data[i] == '\n';
	run->items = calloc(lines + 1, sizeof *run->items);
	if (run->items == NULL)
		rc = err_set(e, ERR_NOMEM, "%s: out of memory", path);
	for (; rc == 0 && at != NULL && (end = strchr(at, '\n')) != NULL; at = end + 1)
		if (end > at)
			rc = item_set(&run->items[run->item_count++], at, (size_t)(end - at), e);
	buf_free(&text);
	return rc;
}

static int items_make(struct run *run, size_t count, struct err *e)
{
	char text[512];
	int rc = 0;
	run->items = calloc(count + 1, sizeof *run->items);
	if (run->items == NULL)
		return err_set(e, ERR_NOMEM, "records: out of memory");
	for (; rc == 0 && run->item_count < count; run->item_count++) {
		int len = snprintf(text, sizeof text,
				   "{\"id\":\"%s-%zu\",\"prompt\":\"The %s%zu of all is\",\"subject\":\"%s%zu\","
				   "\"target_new\":\"%c\"}",
				   run->prefix, run->item_count, run->prefix, run->item_count, run->prefix,
				   run->item_count, (char)('a' + run->item_count % 26));
		rc = item_set(&run->items[run->item_count], text, (size_t)len, e);
	}
	return rc;
}

/* An answer that is no promise either way is asked for again. */
static int answer_take(struct run *run, struct item *item, const struct msg_submit_result *result, struct err *e)
{
	item->line.seq = result->seq;
	if (result->code == 0 || result->code == ERR_EXISTS) {
		item->done = true;
		atomic_fetch_add(result->code == 0 ? &run->acked : &run->duplicates, 1);
		return item_note(run, item, result->code == 0 ? HISTORY_OK : HISTORY_DUP, e);
	}
	snprintf(item->line.code, sizeof item->line.code, "%s", err_name(result->code));
	item->done = result->code != ERR_AGAIN && result->code != ERR_FULL;
	atomic_fetch_add(&run->refused, 1);
	return item_note(run, item, HISTORY_FAIL, e);
}

static int batch_send(struct run *run, struct proto_client *client, struct item **batch, size_t count, bool *refused,
		      struct err *e)
{
	struct msg_bytes records[BATCH_MAX];
	struct msg_received *reply = NULL;
	struct msg request = { .type = MSG_SUBMIT, .u.submit = { MSG_KEEP, records, count } };
	int rc = 0;
	for (size_t i = 0; rc == 0 && i < count; i++) {
		records[i] = (struct msg_bytes){ batch[i]->bytes.data, batch[i]->bytes.len };
		rc = item_note(run, batch[i], HISTORY_INVOKE, e);
	}
	if (rc != 0)
		return rc;
	struct err why = ERR_INIT;
	int called = proto_client_call(client, &request, &reply, &why);
	const struct msg_submit_reply *answer = called == 0 ? &reply->msg.u.submit_reply : NULL;
	bool whole = answer != NULL && answer->result_count == count;
	*refused = whole && answer->retry_after_ms > 0;
	for (size_t i = 0; rc == 0 && i < count; i++) {
		if (whole)
			rc = answer_take(run, batch[i], &answer->results[i], e);
		else
			rc = item_note(run, batch[i], HISTORY_UNKNOWN, e);
		atomic_fetch_add(&run->unknown, !whole);
	}
	msg_free(&reply);
	return rc;
}

/* Until all are answered, or time is over. */
static int part_pass(struct part *part, struct proto_client *client, int64_t end_ms, struct err *e)
{
	struct run *run = part->run;
	struct item *batch[BATCH_MAX];
	size_t next = part->first;
	int rc = 0;
	while (rc == 0 && env_monotonic_ms(env_system()) < end_ms) {
		size_t count = 0, at = next;
		bool refused = false;
		for (; at < run->item_count && count < run->batch; at += run->threads)
			if (!run->items[at].done)
				batch[count++] = &run->items[at];
		if (count == 0)
			break;
		rc = batch_send(run, client, batch, count, &refused, e);
		if (refused || run->pause_ms > 0)
			usleep((useconds_t)(refused ? run->retry_ms : run->pause_ms) * 1000);
		while (next < run->item_count && run->items[next].done)
			next += run->threads;
	}
	return rc;
}

static int part_run(struct part *part, struct proto_client *client, struct err *e)
{
	struct run *run = part->run;
	int64_t end_ms = env_monotonic_ms(env_system()) + run->give_up_ms;
	int rc = part_pass(part, client, end_ms, e);
	if (rc != 0 || !run->twice)
		return rc;
	for (size_t i = part->first; i < run->item_count; i += run->threads)
		run->items[i].done = false;
	return part_pass(part, client, end_ms, e);
}

static void *part_main(void *argument)
{
	struct part *part = argument;
	struct run *run = part->run;
	struct proto_keypair keys;
	struct proto_zmq *zmq = NULL;
	struct proto_transport *transport = NULL;
	struct err e = ERR_INIT;
	int rc = proto_keypair_load(run->key_file, &keys, &e);
	if (rc == 0)
		rc = proto_zmq_new(&keys, NULL, env_system(), &zmq, &e);
	if (rc == 0)
		rc = proto_zmq_connect(zmq, run->endpoint, NULL, run->server_key, &transport, &e);
	if (rc == 0) {
		struct proto_client client = { .transport = transport,
					       .env = env_system(),
					       .endpoint = run->endpoint,
					       .timeout_ms = run->timeout_ms,
					       .next_request = env_random_u64(env_system()) };
		rc = part_run(part, &client, &e);
	}
	if (rc != 0) {
		fprintf(stderr, "client: %s\n", e.text);
		atomic_fetch_add(&run->errors, 1);
	}
	if (transport != NULL)
		transport->ops->destroy(transport);
	proto_zmq_destroy(&zmq);
	proto_keypair_wipe(&keys);
	return NULL;
}

static int run_all(struct run *run)
{
	static struct part parts[THREADS_MAX];
	pthread_t threads[THREADS_MAX];
	size_t started = 0, open = 0;
	int64_t from = env_monotonic_us(env_system());
	for (; started < run->threads; started++) {
		parts[started] = (struct part){ run, started };
		if (pthread_create(&threads[started], NULL, part_main, &parts[started]) != 0)
			break;
	}
	for (size_t i = 0; i < started; i++)
		pthread_join(threads[i], NULL);
	for (size_t i = 0; i < run->item_count; i++)
		open += !run->items[i].done;
	printf("acked %" PRIuFAST64 " duplicates %" PRIuFAST64 " refused %" PRIuFAST64 " unknown %" PRIuFAST64
	       " seconds %.3f\n",
	       run->acked, run->duplicates, run->refused, run->unknown,
	       (double)(env_monotonic_us(env_system()) - from) / 1e6);
	return open > 0 || run->errors > 0 || started < run->threads;
}

static size_t number(const char *text, size_t max)
{
	unsigned long value = strtoul(text, NULL, 10);
	return value < 1 ? 1 : value > max ? max : value;
}

/* Returns the index of the first word, or `argc` when the options are wrong. */
static int options_read(struct run *run, int argc, char **argv, size_t *make)
{
	int i = 1;
	for (; i < argc && strncmp(argv[i], "--", 2) == 0; i++) {
		if (strcmp(argv[i], "--twice") == 0) {
			run->twice = true;
		} else if (strcmp(argv[i], "--make") == 0 && i + 2 < argc) {
			*make = number(argv[i + 1], 10000000);
			run->prefix = argv[i + 2];
			i += 2;
		} else if (i + 1 < argc) {
			size_t value = number(argv[i + 1], 1000000);
			if (strcmp(argv[i], "--threads") == 0)
				run->threads = value < THREADS_MAX ? value : THREADS_MAX;
			else if (strcmp(argv[i], "--batch") == 0)
				run->batch = value < BATCH_MAX ? value : BATCH_MAX;
			else if (strcmp(argv[i], "--timeout") == 0)
				run->timeout_ms = (int64_t)value;
			else if (strcmp(argv[i], "--pause") == 0)
				run->pause_ms = (int64_t)value;
			else if (strcmp(argv[i], "--retry") == 0)
				run->retry_ms = (int64_t)value;
			else if (strcmp(argv[i], "--give-up") == 0)
				run->give_up_ms = (int64_t)value * 1000;
			else
				return argc;
			i++;
		} else {
			return argc;
		}
	}
	return i;
}

int main(int argc, char **argv)
{
	static struct run run = { .batch = 1, .threads = 1, .timeout_ms = 1500, .give_up_ms = 120000, .retry_ms = 100 };
	struct err e = ERR_INIT;
	size_t make = 0;
	int i = options_read(&run, argc, argv, &make);
	if (argc - i != (make > 0 ? 4 : 5) || proto_key_parse(argv[i + 1], run.server_key) != 0) {
		fprintf(stderr, "usage: client [options] ENDPOINT SERVER-KEY KEY-FILE HISTORY [FILE.jsonl]\n");
		return 2;
	}
	run.endpoint = argv[i];
	run.key_file = argv[i + 2];
	int rc = history_open(argv[i + 3], &run.history, &e);
	if (rc == 0)
		rc = make > 0 ? items_make(&run, make, &e) : items_read(&run, argv[i + 4], &e);
	if (rc != 0) {
		fprintf(stderr, "client: %s\n", e.text);
		return 2;
	}
	int status = run_all(&run);
	for (size_t k = 0; k < run.item_count; k++)
		buf_free(&run.items[k].bytes);
	free(run.items);
	return status;
}
