/* cli_import.c: `amend edit import FILE`: streams a file of edits in batches of at most 60 KiB; a bad line is reported
 * as FILE:LINE: field: reason and the rest goes on. Sending a file twice changes nothing: ids are idempotent. */
#include "daemon/cli_edit.h"
#include "base/fault.h"
#include "base/order.h"
#include "daemon/import.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define BATCH_RECORDS_MAX 100
#define BATCH_BYTES_MAX   (MSG_SUBMIT_BYTES_MAX - 1024)
#define REPORTS_MAX       20
#define RETRY_MS_MAX      INT64_C(600000) /* a coordinator that takes nothing: so long, or --timeout */

/* What is said of single lines: a foreign file, or a set imported over another, is one long complaint. */
struct reports {
	const char *what; /* in the plural */
	uint64_t count;
};

/* A set of names by their hash_short: open addressing, at most half full; 0 is an empty place. */
struct names {
	uint64_t *places;
	size_t count, cap;
	bool failed; /* out of memory */
};

struct import {
	struct cli *cli;
	const char *path;
	enum msg_on_conflict on_conflict;
	struct buf bytes; /* the batch's records, one after the other */
	struct {
		size_t offset, len, line_no;
	} records[BATCH_RECORDS_MAX];
	size_t record_count;
	struct buf group;    /* of the record taken last; empty: none */
	size_t group_first;  /* where that group begins in the batch */
	bool group_bad;      /* what comes of it is refused with it */
	struct names groups; /* that other records have ended */
	bool whole;          /* read to its end */
	struct buf seqs;     /* uint64_t each: what --wait waits for */
	uint64_t new_seq;    /* the least that this import brought; CLI_WAITED_NONE: none */
	uint64_t accepted, duplicates, superseding, refused, bad_lines, lines;
	struct reports bad, replaced, warned;
	struct cli_progress progress;
};

static void report(struct import *im, struct reports *reports, size_t line_no, const char *text, size_t len)
{
	if (reports->count++ >= REPORTS_MAX && !im->cli->verbose)
		return;
	if (im->cli->stderr_is_terminal && im->progress.drawn)
		fprintf(stderr, "\r\033[K");
	cli_line(stderr, "%s:%zu: %.*s", im->path, line_no, (int)len, len > 0 ? text : "");
}

static void complain(struct import *im, size_t line_no, const char *text, size_t len)
{
	report(im, &im->bad, line_no, text, len);
}

static void reports_end(const struct import *im, const struct reports *reports)
{
	if (reports->count > REPORTS_MAX && !im->cli->verbose)
		fprintf(stderr, "… and %llu more %s; --verbose shows all\n",
			(unsigned long long)(reports->count - REPORTS_MAX), reports->what);
}

/* Edits that the cluster has. */
static uint64_t taken_count(const struct import *im)
{
	return im->accepted + im->duplicates;
}

static void results_count(struct import *im, const struct msg_submit_reply *reply)
{
	for (size_t i = 0; i < reply->result_count && i < im->record_count; i++) {
		const struct msg_submit_result *r = &reply->results[i];
		im->accepted += r->code == 0;
		im->duplicates += r->code == ERR_EXISTS;
		im->superseding += r->code == 0 && r->supersedes != 0;
		if (r->code == 0 && r->supersedes != 0 && r->reason.len > 0 && !im->cli->quiet)
			report(im, &im->replaced, im->records[i].line_no, r->reason.text, r->reason.len);
		if (r->code == 0 && r->seq < im->new_seq)
			im->new_seq = r->seq;
		if (r->code == 0 || r->code == ERR_EXISTS) {
			buf_append(&im->seqs, &r->seq, sizeof r->seq);
			continue;
		}
		im->refused++;
		complain(im, im->records[i].line_no, r->reason.text, r->reason.len);
	}
}

/* A full queue or disk is answered with a time to come back: nothing of the batch was kept. */
static bool retry_due(const struct msg_submit_reply *reply)
{
	return reply->result_count > 0 && (reply->results[0].code == ERR_AGAIN || reply->results[0].code == ERR_FULL);
}

/* Nobody should wonder why nothing moves: the reason is said when the waiting begins. */
static int retry_wait(struct import *im, const struct msg_submit_reply *answer, int64_t *deadline, struct err *e)
{
	const struct msg_submit_result *r = &answer->results[0];
	int64_t now = env_monotonic_ms(im->cli->env);
	int64_t patience = im->cli->wait_ms < RETRY_MS_MAX ? im->cli->wait_ms : RETRY_MS_MAX;
	const char *reason = r->reason.len > 0 ? r->reason.text : "";
	if (*deadline == 0) {
		*deadline = now + patience;
		cli_progress_break(im->cli, &im->progress);
		fprintf(stderr,
			"amend: the coordinator takes no edits now: %.*s; waiting %lld s at most, Ctrl-C stops\n",
			(int)r->reason.len, reason, (long long)(patience / 1000));
	}
	if (now >= *deadline)
		return err_set(
			e, ERR_AGAIN,
			"the coordinator takes no edits: %.*s; what was accepted stays: import the file again when "
			"it does",
			(int)r->reason.len, reason);
	cli_pause(im->cli, answer->retry_after_ms > 0 ? answer->retry_after_ms : 1000);
	return im->cli->interrupted ? err_set(e, ERR_INTERRUPTED, "interrupted") : 0;
}

static int batch_submit(struct import *im, struct msg *request, struct err *e)
{
	int64_t deadline = 0;
	for (;;) {
		struct msg_received *reply = NULL;
		int rc = cli_call(im->cli, request, &reply, e);
		if (rc != 0)
			return rc;
		const struct msg_submit_reply *answer = &reply->msg.u.submit_reply;
		bool again = retry_due(answer);
		if (again)
			rc = retry_wait(im, answer, &deadline, e);
		else
			results_count(im, answer);
		msg_free(&reply);
		if (rc != 0 || !again)
			return rc;
	}
}

/* The first `count` records; those behind them move up. */
static int batch_send(struct import *im, size_t count, struct err *e)
{
	struct msg_bytes records[BATCH_RECORDS_MAX];
	if (count == 0)
		return 0;
	for (size_t i = 0; i < count; i++)
		records[i] = (struct msg_bytes){ im->bytes.data + im->records[i].offset, im->records[i].len };
	struct msg request = { .type = MSG_SUBMIT, .u.submit = { im->on_conflict, records, count } };
	int rc = batch_submit(im, &request, e);
	size_t sent = count < im->record_count ? im->records[count].offset : im->bytes.len;
	memmove(im->bytes.data, im->bytes.data + sent, im->bytes.len - sent);
	im->bytes.len -= sent;
	im->record_count -= count;
	memmove(im->records, im->records + count, im->record_count * sizeof im->records[0]);
	for (size_t i = 0; i < im->record_count; i++)
		im->records[i].offset -= sent;
	im->group_first = im->group_first > count ? im->group_first - count : 0;
	return rc == 0 && buf_failed(&im->seqs) ? err_set(e, ERR_NOMEM, "out of memory for a batch") : rc;
}

/* --- A group is taken all or not at all, so one batch must hold all of it. */

static bool in_group(const struct import *im, const char *name, size_t len)
{
	return len > 0 && im->group.len == len && memcmp(im->group.data, name, len) == 0;
}

static uint64_t name_of(const void *name, size_t len)
{
	const uint64_t hash = hash_short(HASH_SHORT_INIT, name, len);
	return hash != 0 ? hash : 1;
}

/* Where the name is, or would be. */
static size_t names_place(const struct names *names, uint64_t name)
{
	size_t at = (size_t)name & (names->cap - 1);
	while (names->places[at] != 0 && names->places[at] != name)
		at = (at + 1) & (names->cap - 1);
	return at;
}

static bool names_have(const struct names *names, uint64_t name)
{
	return names->cap > 0 && names->places[names_place(names, name)] == name;
}

static void names_add(struct names *names, uint64_t name)
{
	if (2 * names->count >= names->cap) {
		struct names grown = { .cap = names->cap > 0 ? 2 * names->cap : 64 };
		grown.places = fault_calloc(grown.cap, sizeof(*grown.places));
		if (grown.places == NULL) {
			names->failed = true;
			return;
		}
		for (size_t i = 0; i < names->cap; i++) {
			if (names->places[i] != 0)
				grown.places[names_place(&grown, names->places[i])] = names->places[i];
		}
		grown.count = names->count;
		free(names->places);
		*names = grown;
	}
	const size_t at = names_place(names, name);
	names->count += names->places[at] == 0;
	names->places[at] = name;
}

static void group_enter(struct import *im, const char *name, size_t len)
{
	if (in_group(im, name, len))
		return;
	if (im->group.len > 0)
		names_add(&im->groups, name_of(im->group.data, im->group.len));
	buf_clear(&im->group);
	if (len > 0)
		buf_append(&im->group, name, len);
	im->group_first = im->record_count;
	im->group_bad = false;
}

/* A group that goes on behind other records: its beginning may have been sent. */
static bool group_goes_on(const struct import *im, const char *name, size_t len)
{
	return len > 0 && names_have(&im->groups, name_of(name, len));
}

static void group_complain(struct import *im, size_t line_no, const char *why)
{
	char text[256];
	snprintf(text, sizeof text, "refused with its group: %s", why);
	complain(im, line_no, text, strlen(text));
	im->refused++;
}

static void group_refuse(struct import *im, const char *why)
{
	for (size_t i = im->group_first; i < im->record_count; i++)
		group_complain(im, im->records[i].line_no, why);
	if (im->group_first < im->record_count)
		im->bytes.len = im->records[im->group_first].offset;
	im->record_count = im->group_first;
	im->group_bad = true;
}

/* A bad line names its group when it is JSON at all. */
static void bad_line_group(struct import *im, const struct import_row *row)
{
	struct json *item = NULL;
	size_t len = 0;
	char why[64];
	if (row->text == NULL || json_parse(row->text, row->len, &item, NULL) != 0)
		return;
	const char *name = json_string(json_get(item, "group"), &len);
	if (name != NULL && len > 0) {
		group_enter(im, name, len);
		snprintf(why, sizeof why, "line %zu of it is bad", row->line_no);
		group_refuse(im, why);
	}
	json_free(&item);
}

static bool fits(const struct import *im, const struct import_row *row)
{
	return im->record_count < BATCH_RECORDS_MAX &&
	       im->bytes.len + row->len + 16 * (im->record_count + 1) <= BATCH_BYTES_MAX;
}

static int record_take(struct import *im, const struct import_row *row, struct err *e)
{
	const struct record_text *group = &row->record->group;
	group_enter(im, group->text, group->len);
	if (group_goes_on(im, group->text, group->len)) {
		group_complain(im, row->line_no,
			       "its records must follow one another; those before were taken without it: `amend edit "
			       "revoke --group` takes them back");
		return 0;
	}
	if (!fits(im, row)) {
		int rc = batch_send(im, group->len > 0 ? im->group_first : im->record_count, e);
		if (rc != 0)
			return rc;
	}
	if (!im->group_bad && !fits(im, row))
		group_refuse(im, "it has more than 100 edits or 59 KiB, and is sent as one");
	if (im->group_bad) {
		group_complain(im, row->line_no, "see above");
		return 0;
	}
	im->records[im->record_count].offset = im->bytes.len;
	im->records[im->record_count].len = row->len;
	im->records[im->record_count++].line_no = row->line_no;
	buf_append(&im->bytes, row->text, row->len);
	return buf_failed(&im->bytes) || buf_failed(&im->group) || im->groups.failed
		       ? err_set(e, ERR_NOMEM, "out of memory for a batch")
		       : 0;
}

static int record_warn(struct import *im, const struct import_row *row, struct err *e)
{
	struct buf text = BUF_INIT;
	if (im->cli->quiet)
		return 0;
	int rc = cli_edit_warning(row->record, &text);
	if (rc == 0 && text.len > 0)
		report(im, &im->warned, row->line_no, buf_cstr(&text), text.len);
	buf_free(&text);
	return rc != 0 ? err_set(e, rc, "out of memory for a record") : 0;
}

/* How many edits there will be, by how much of the file those so far took; 0 for a pipe. */
static void progress_show(struct import *im, const struct import_file *file)
{
	uint64_t read = import_bytes_read(file), good = im->lines - im->refused - im->bad_lines;
	if (read > 0)
		im->progress.total = (uint64_t)((double)good * (double)import_bytes_total(file) / (double)read);
	cli_progress_set(im->cli, &im->progress, taken_count(im));
}

static int file_read_through(struct import *im, struct import_file *file, struct err *e)
{
	for (;;) {
		struct err bad = ERR_INIT;
		struct import_row row = { .record = NULL };
		int rc = im->cli->interrupted ? ERR_INTERRUPTED : import_next(file, &row, &bad);
		if (rc == ERR_NOT_FOUND)
			return batch_send(im, im->record_count, e);
		if (rc != 0 && rc != ERR_INVALID)
			return err_set(e, rc, "%s", bad.text);
		im->lines++;
		if (rc == ERR_INVALID) {
			im->bad_lines++;
			complain(im, row.line_no, bad.text, strlen(bad.text));
			bad_line_group(im, &row);
		} else {
			rc = record_warn(im, &row, e);
			if (rc == 0)
				rc = record_take(im, &row, e);
			record_destroy(&row.record);
			if (rc != 0)
				return rc;
		}
		progress_show(im, file);
	}
}

static int summary(const struct import *im)
{
	if (!cli_is_structured(im->cli)) {
		printf("%llu accepted (%llu supersede another), %llu were there already, %llu refused, %llu bad "
		       "line%s\n",
		       (unsigned long long)im->accepted, (unsigned long long)im->superseding,
		       (unsigned long long)im->duplicates, (unsigned long long)im->refused,
		       (unsigned long long)im->bad_lines, cli_plural(im->bad_lines));
		return CLI_OK;
	}
	const struct {
		const char *key;
		uint64_t value;
	} members[] = { { "accepted", im->accepted },     { "superseding", im->superseding },
			{ "duplicates", im->duplicates }, { "refused", im->refused },
			{ "bad_lines", im->bad_lines },   { "lines", im->lines } };
	struct buf text = BUF_INIT;
	struct json_w w;
	json_w_init(&w, &text);
	json_w_open(&w, '{');
	for (size_t i = 0; i < sizeof members / sizeof members[0]; i++) {
		json_w_member_uint(&w, members[i].key, members[i].value);
	}
	json_w_close(&w);
	return cli_emit(im->cli, &text);
}

static int import_run(struct import *im, struct import_file *file)
{
	struct err e = ERR_INIT;
	cli_progress_begin(im->cli, &im->progress, "import", "edits", 0);
	int rc = file_read_through(im, file, &e);
	if (rc == 0)
		im->progress.total = taken_count(im);
	cli_progress_end(im->cli, &im->progress, taken_count(im));
	if (rc == 0 && im->lines == 0 && !im->cli->quiet)
		cli_line(stderr, "amend: no records in %s", im->path);
	reports_end(im, &im->replaced);
	reports_end(im, &im->warned);
	reports_end(im, &im->bad);
	int status = summary(im);
	if (rc != 0 && im->cli->interrupted)
		err_set(&e, ERR_INTERRUPTED,
			"interrupted: what was accepted stays, %llu at least; import the file again to go on from "
			"there",
			(unsigned long long)taken_count(im));
	im->whole = rc == 0;
	if (rc != 0)
		return cli_fail(im->cli, &e);
	return im->refused + im->bad_lines > 0 ? CLI_FAILED : status;
}

/* For the edits of the file; lines that were there already may come twice. */
static int import_wait(struct import *im)
{
	uint64_t *seqs = (uint64_t *)(void *)im->seqs.data;
	size_t count = im->seqs.len / sizeof *seqs, kept = 0;
	if (count > 0)
		qsort(seqs, count, sizeof *seqs, order_u64);
	for (size_t i = 0; i < count; i++)
		if (kept == 0 || seqs[kept - 1] != seqs[i])
			seqs[kept++] = seqs[i];
	return cli_edit_wait_seqs(im->cli, seqs, kept, im->new_seq);
}

int cli_edit_import(struct cli *cli, const struct cli_args *args)
{
	struct err e = ERR_INIT;
	struct import_file *file = NULL;
	enum import_format format;
	struct import *im = calloc(1, sizeof *im);
	if (im == NULL)
		return cli_out_of_memory(cli);
	im->cli = cli;
	im->path = args->words[0];
	im->new_seq = CLI_WAITED_NONE;
	im->bad.what = "lines that were not accepted";
	im->replaced.what = "that supersede another edit";
	im->warned.what = "whose prompt does not say the subject";
	if (cli_on_conflict_parse(cli_value(args, "on-conflict"), &im->on_conflict, &e) != 0 ||
	    import_format_parse(cli_value(args, "format"), &format, &e) != 0) {
		free(im);
		return cli_misuse(&e);
	}
	int rc = strcmp(im->path, "-") == 0
			 ? 0
			 : cli_file_check(im->path, "check the path, or give `-` for standard input", &e);
	if (rc == 0)
		rc = import_open(im->path, format, &file, &e);
	if (rc == 0)
		rc = cli_connect(cli, &e);
	int status = rc == 0 ? import_run(im, file) : cli_fail(cli, &e);
	int waited = im->whole && cli_switch(args, "wait") ? import_wait(im) : CLI_OK;
	import_close(&file);
	buf_free(&im->bytes);
	buf_free(&im->group);
	free(im->groups.places);
	buf_free(&im->seqs);
	free(im);
	return status != CLI_OK ? status : waited;
}
