/* images.c: what a loss of power may leave. Replays what recorder.c wrote down, up to a point: what was synced is
 * there; of the writes that were not, sector by sector, a random part. Each such image of ledger and blobs is opened as
 * a coordinator opens it, and verified with all that clients had been told before that point. images BASE LOG HISTORY
 * COUNT SEED WORK    BASE: the folder when the log began; WORK: an empty folder, best in memory Half of the points lie
 * right behind an acknowledgement. Ends with "images N broken N"; exit 1 when one is. */
#include "base/env.h"
#include "base/rng.h"
#include "tests/torture/disk_log.h"
#include "tests/torture/verify.h"

#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#define LOG_BYTES_MAX ((size_t)2 << 30)
#define FILES_MAX     64
#define SHOWN_MAX     5 /* broken images whose findings are printed */

static const char *const image_paths[] = { "/ledger/data.mdb", "/blobs/data.mdb" };
#define IMAGE_FILES (sizeof image_paths / sizeof image_paths[0])

struct op {
	struct disk_op head;
	const uint8_t *bytes;
};

struct file {
	struct buf durable;
	struct buf pending; /* const struct op *, in order */
};

struct replay {
	struct buf log, ops;     /* ops: struct op, without DISK_FILE */
	int image_of[FILES_MAX]; /* by the log's number of a file; −1: none of ours */
	struct file files[IMAGE_FILES];
	const char *base, *work;
	struct history history;
	struct rng rng;
	uint64_t broken, torn, acks;
};

static const struct op *op_at(const struct replay *r, size_t index)
{
	return (const struct op *)(const void *)r->ops.data + index;
}

static size_t op_count(const struct replay *r)
{
	return r->ops.len / sizeof(struct op);
}

/* A program that was killed leaves half an operation at most. */
static int log_read(struct replay *r, const char *path, struct err *e)
{
	int rc = file_read(path, LOG_BYTES_MAX, &r->log, e);
	for (int i = 0; i < FILES_MAX; i++)
		r->image_of[i] = -1;
	for (size_t at = 0; rc == 0 && at + sizeof(struct disk_op) <= r->log.len;) {
		struct op op;
		memcpy(&op.head, r->log.data + at, sizeof op.head);
		op.bytes = r->log.data + at + sizeof op.head;
		at += sizeof op.head + op.head.byte_count;
		if (at > r->log.len)
			break;
		if (op.head.file >= FILES_MAX)
			return err_set(e, ERR_LIMIT, "%s: more than %d files", path, FILES_MAX);
		if (op.head.kind != DISK_FILE && r->image_of[op.head.file] >= 0) {
			buf_append(&r->ops, &op, sizeof op);
		} else if (op.head.kind == DISK_FILE) {
			r->image_of[op.head.file] = -1; /* a later process numbers anew */
			for (size_t i = 0; i < IMAGE_FILES; i++)
				if (op.head.byte_count == strlen(image_paths[i]) &&
				    memcmp(op.bytes, image_paths[i], op.head.byte_count) == 0)
					r->image_of[op.head.file] = (int)i;
		}
	}
	if (rc == 0 && buf_failed(&r->ops))
		rc = err_set(e, ERR_NOMEM, "%s: out of memory", path);
	return rc;
}

static void put(struct buf *image, uint64_t offset, const uint8_t *bytes, size_t byte_count)
{
	static const uint8_t zeros[4096];
	while (image->len < offset + byte_count) {
		uint64_t left = offset + byte_count - image->len;
		buf_append(image, zeros, left < sizeof zeros ? (size_t)left : sizeof zeros);
		if (buf_failed(image))
			abort();
	}
	memcpy(image->data + offset, bytes, byte_count);
}

static void apply(struct replay *r, const struct op *op)
{
	struct file *f = &r->files[r->image_of[op->head.file]];
	const struct op *const *pending = (const void *)f->pending.data;
	switch ((enum disk_kind)op->head.kind) {
	case DISK_WRITE:
		buf_append(&f->pending, &op, sizeof(const struct op *));
		break;
	case DISK_SYNCED:
		put(&f->durable, op->head.offset, op->bytes, op->head.byte_count);
		break;
	case DISK_SYNC:
		for (size_t i = 0; i < f->pending.len / sizeof *pending; i++)
			put(&f->durable, pending[i]->head.offset, pending[i]->bytes, pending[i]->head.byte_count);
		buf_clear(&f->pending);
		break;
	case DISK_CUT:
		if (op->head.offset < f->durable.len)
			f->durable.len = op->head.offset;
		break;
	case DISK_FILE:
		break;
	}
}

/* In tenths: how many of the sectors that were not synced are there. */
static void put_torn(struct replay *r, struct buf *image, const struct op *op, uint64_t tenths)
{
	for (size_t at = 0, n; at < op->head.byte_count; at += n) {
		size_t into = (op->head.offset + at) % DISK_SECTOR_BYTES;
		n = DISK_SECTOR_BYTES - into;
		if (n > op->head.byte_count - at)
			n = op->head.byte_count - at;
		if (rng_below(&r->rng, 10) < tenths)
			put(image, op->head.offset + at, op->bytes + at, n);
		else
			r->torn++;
	}
}

static int image_write(struct replay *r, size_t number, const struct op *under_way, uint64_t tenths, struct err *e)
{
	struct file *f = &r->files[number];
	const struct op *const *pending = (const void *)f->pending.data;
	struct buf image = BUF_INIT;
	char path[512], folder[512];
	buf_append(&image, f->durable.data, f->durable.len);
	for (size_t i = 0; i < f->pending.len / sizeof *pending; i++)
		put_torn(r, &image, pending[i], tenths);
	if (under_way != NULL && under_way->head.byte_count > 0 && (size_t)r->image_of[under_way->head.file] == number)
		put_torn(r, &image, under_way, tenths);
	snprintf(path, sizeof path, "%s%s", r->work, image_paths[number]);
	int rc = file_folder_of(path, folder, sizeof folder, e);
	if (rc == 0)
		rc = file_make_folder(folder, e);
	FILE *out = rc == 0 ? fopen(path, "wb") : NULL;
	if (rc == 0 && (out == NULL || fwrite(image.data, 1, image.len, out) != image.len))
		rc = err_errno(e, ERR_IO, errno, "%s", path);
	if (out != NULL && fclose(out) != 0 && rc == 0)
		rc = err_errno(e, ERR_IO, errno, "%s", path);
	buf_free(&image);
	return rc;
}

static int image_verify(struct replay *r, uint64_t until_ns, struct buf *out, struct verify_tally *tally, struct err *e)
{
	struct store_options store_options = { .env = env_system() };
	struct verify_options options = { .until_ns = until_ns, .only = true };
	struct store *store = NULL;
	struct err why = ERR_INIT;
	int rc = store_open(r->work, &store_options, &store, &why);
	if (rc == ERR_NOMEM || rc == ERR_FULL || rc == ERR_BUSY)
		return err_set(e, rc, "%s", why.text);
	if (rc != 0) {
		buf_printf(out, "I3: it cannot be opened: %s\n", why.text);
		tally->findings = 1;
		return 0;
	}
	rc = verify_store(store, &r->history, &options, out, tally, e);
	if (rc == ERR_CORRUPT) {
		buf_printf(out, "I3: %s\n", e->text);
		tally->findings++;
		rc = 0;
	}
	store_close(&store);
	return rc;
}

/* The power goes while operation `at` is under way: all before it were done. */
static int image_check(struct replay *r, size_t at, struct err *e)
{
	static const uint64_t shares[] = { 0, 1, 5, 9, 10 };
	const struct op *under_way = at < op_count(r) ? op_at(r, at) : NULL;
	uint64_t tenths = shares[rng_below(&r->rng, 5)],
		 until = under_way != NULL ? under_way->head.begin_ns : UINT64_MAX;
	struct verify_tally tally = { .findings = 0 };
	struct buf out = BUF_INIT;
	int rc = 0;
	for (size_t i = 0; rc == 0 && i < IMAGE_FILES; i++)
		rc = image_write(r, i, under_way, tenths, e);
	if (rc == 0)
		rc = image_verify(r, until, &out, &tally, e);
	r->acks += tally.acks;
	if (rc == 0 && tally.findings > 0 && r->broken++ < SHOWN_MAX)
		printf("# power lost in operation %zu, %" PRIu64 " of 10 sectors kept:\n%s", at, tenths,
		       buf_cstr(&out));
	buf_free(&out);
	return rc;
}

static int size_compare(const void *a, const void *b)
{
	const size_t *x = a, *y = b;
	return (*x > *y) - (*x < *y);
}

/* The first operation that began after a client had its answer. */
static size_t point_behind_ack(struct replay *r)
{
	size_t count = history_count(&r->history), low = 0, high = op_count(r);
	const struct history_line *line = history_at(&r->history, rng_below(&r->rng, count));
	for (size_t i = 0; i < count && line->kind != HISTORY_OK; i++)
		line = history_at(&r->history, rng_below(&r->rng, count));
	while (low < high) {
		size_t middle = low + (high - low) / 2;
		if (op_at(r, middle)->head.begin_ns <= line->ns)
			low = middle + 1;
		else
			high = middle;
	}
	return low;
}

static int images_check(struct replay *r, size_t count, struct err *e)
{
	size_t *points = calloc(count + 1, sizeof *points), done = 0;
	int rc = points == NULL ? err_set(e, ERR_NOMEM, "out of memory") : 0;
	for (size_t i = 0; rc == 0 && i < count; i++)
		points[i] = i % 2 == 0 ? point_behind_ack(r) : rng_below(&r->rng, op_count(r) + 1);
	if (rc == 0)
		qsort(points, count, sizeof *points, size_compare);
	for (size_t i = 0; rc == 0 && i < count; i++) {
		while (done < points[i])
			apply(r, op_at(r, done++));
		rc = image_check(r, points[i], e);
	}
	free(points);
	return rc;
}

static int base_read(struct replay *r, struct err *e)
{
	char path[512];
	int rc = 0;
	for (size_t i = 0; rc == 0 && i < IMAGE_FILES; i++) {
		snprintf(path, sizeof path, "%s%s", r->base, image_paths[i]);
		rc = file_read(path, LOG_BYTES_MAX, &r->files[i].durable, e);
	}
	return rc;
}

int main(int argc, char **argv)
{
	static struct replay r;
	struct err e = ERR_INIT;
	if (argc != 7) {
		fprintf(stderr, "usage: images BASE LOG HISTORY COUNT SEED WORK\n");
		return 2;
	}
	r.base = argv[1];
	r.work = argv[6];
	size_t count = strtoul(argv[4], NULL, 10);
	rng_init(&r.rng, strtoull(argv[5], NULL, 10));
	int rc = log_read(&r, argv[2], &e);
	if (rc == 0)
		rc = history_read(argv[3], &r.history, &e);
	if (rc == 0 && (op_count(&r) == 0 || history_count(&r.history) == 0))
		rc = err_set(&e, ERR_INVALID, "nothing was recorded: %zu operations, %zu lines of history",
			     op_count(&r), history_count(&r.history));
	if (rc == 0)
		rc = base_read(&r, &e);
	if (rc == 0)
		rc = images_check(&r, count, &e);
	if (rc != 0)
		fprintf(stderr, "images: %s\n", e.text);
	else
		printf("images %zu broken %" PRIu64 " of %zu operations, %" PRIu64 " sectors lost, %" PRIu64
		       " acknowledgements looked for\n",
		       count, r.broken, op_count(&r), r.torn, r.acks);
	return rc != 0 ? 2 : r.broken > 0;
}
