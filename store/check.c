/* check.c: whether a data file is whole, before LMDB reads it: LMDB trusts its pages, and ends the process on some that
 * are not (an assertion, a read behind its map). What is checked is where things lie and in which order; what chunks
 * and records hold has hashes of its own.
 *
 * The file (MDB_DATA_VERSION 1): pages 0 and 1 are metas, the one with the larger transaction counts. Each names the
 * roots of two trees: pages that are free by transaction, and tables by name. A page is a head of 16 bytes, the offsets
 * of its nodes from below, and nodes of 8 bytes, key and value from above. Long values lie in pages of their own. */
#include "base/fault.h"
#include "store/env.h"

#include <assert.h>
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

static_assert(__BYTE_ORDER__ == __ORDER_LITTLE_ENDIAN__ && sizeof(size_t) == 8,
	      "LMDB's files are read in the form of little-endian 64-bit machines");

#define MAGIC          UINT32_C(0xBEEFC0DE)
#define DATA_VERSION   1
#define META_BYTES     152 /* with its page's head */
#define DB_BYTES       48
#define PAGE_HEAD      16
#define NODE_HEAD      8
#define PAGE_BYTES_MIN 512
#define PAGE_BYTES_MAX 65536
#define MAP_BYTES_MAX  (UINT64_C(1) << 46)
#define DEPTH_MAX      32 /* of LMDB's cursors */
#define NO_PAGE        UINT64_MAX

enum { PAGE_BRANCH = 1, PAGE_LEAF = 2, PAGE_OVERFLOW = 4, PAGE_META = 8 };
enum { NODE_LONG = 1, NODE_TABLE = 2 };
enum tree_kind { TREE_FREE, TREE_TABLES, TREE_DATA };

struct tree {
	enum tree_kind kind;
	uint64_t root, entry_count;
	unsigned depth;
	uint64_t found_count;
	const uint8_t *last_key;
	size_t last_key_len;
};

struct walk {
	const uint8_t *file;
	uint64_t file_bytes, page_bytes, page_count;
	uint8_t *used; /* a bit a page */
	bool ours;
	const char *why;
};

struct node {
	const uint8_t *key, *value;
	size_t key_len, value_len;
	unsigned flags;
	uint64_t child; /* of a branch */
};

static uint16_t u16_at(const uint8_t *p)
{
	uint16_t v;
	memcpy(&v, p, sizeof v);
	return v;
}

static uint32_t u32_at(const uint8_t *p)
{
	uint32_t v;
	memcpy(&v, p, sizeof v);
	return v;
}

static uint64_t u64_at(const uint8_t *p)
{
	uint64_t v;
	memcpy(&v, p, sizeof v);
	return v;
}

static bool damaged(struct walk *w, const char *why)
{
	w->why = why;
	return false;
}

/* Every page has one use. */
static bool use(struct walk *w, uint64_t first, uint64_t count)
{
	if (first < 2 || first >= w->page_count || count > w->page_count - first)
		return damaged(w, "a page lies behind its end");
	for (uint64_t page = first; page < first + count; page++) {
		if (w->used[page / 8] >> page % 8 & 1)
			return damaged(w, "a page is used twice");
		w->used[page / 8] |= (uint8_t)(1u << page % 8);
	}
	return true;
}

static const uint8_t *page_take(struct walk *w, uint64_t page, uint64_t count)
{
	if (!use(w, page, count))
		return NULL;
	if ((page + count) * w->page_bytes > w->file_bytes) {
		damaged(w, "it is cut short");
		return NULL;
	}
	const uint8_t *bytes = w->file + page * w->page_bytes;
	if (u64_at(bytes) != page) {
		damaged(w, "a page is not where it belongs");
		return NULL;
	}
	return bytes;
}

static size_t node_count(const struct walk *w, const uint8_t *page)
{
	size_t lower = u16_at(page + 12), upper = u16_at(page + 14);
	return lower < PAGE_HEAD || lower % 2 != 0 || lower > upper || upper > w->page_bytes ? SIZE_MAX
											     : (lower - PAGE_HEAD) / 2;
}

static bool node_read(struct walk *w, const uint8_t *page, size_t i, bool leaf, struct node *out)
{
	size_t at = u16_at(page + PAGE_HEAD + 2 * i);
	if (at < u16_at(page + 14) || at % 2 != 0 || at + NODE_HEAD > w->page_bytes)
		return damaged(w, "a node lies outside its page");
	const uint8_t *p = page + at;
	uint64_t low = u32_at(p);
	*out = (struct node){ .key = p + NODE_HEAD, .key_len = u16_at(p + 6) };
	out->value = out->key + out->key_len;
	if (leaf) {
		out->flags = u16_at(p + 4);
		out->value_len = low;
	} else {
		out->child = low | (uint64_t)u16_at(p + 4) << 32;
	}
	size_t in_page = out->flags & NODE_LONG ? sizeof(uint64_t) : out->value_len;
	return at + NODE_HEAD + out->key_len + in_page <= w->page_bytes ? true
									: damaged(w, "a node is longer than its page");
}

/* Where the value is long, points at it. */
static bool value_find(struct walk *w, struct node *node)
{
	if (!(node->flags & NODE_LONG))
		return true;
	uint64_t count = (PAGE_HEAD - 1 + node->value_len) / w->page_bytes + 1;
	const uint8_t *page = page_take(w, u64_at(node->value), count);
	if (page == NULL)
		return false;
	if (u16_at(page + 10) != PAGE_OVERFLOW || u32_at(page + 12) < count)
		return damaged(w, "a long value has other pages than its node says");
	node->value = page + PAGE_HEAD;
	return true;
}

static bool key_follows(struct tree *t, const struct node *node)
{
	bool first = t->found_count++ == 0;
	int order = -1;
	if (!first && t->kind == TREE_FREE) {
		order = u64_at(t->last_key) < u64_at(node->key) ? -1 : 1;
	} else if (!first) {
		size_t shorter = t->last_key_len < node->key_len ? t->last_key_len : node->key_len;
		order = memcmp(t->last_key, node->key, shorter);
		if (order == 0)
			order = t->last_key_len < node->key_len ? -1 : 1;
	}
	t->last_key = node->key;
	t->last_key_len = node->key_len;
	return order < 0;
}

/* A count, then the pages from the last to the first: LMDB merges lists by that order. */
static bool free_list_check(struct walk *w, const struct node *node)
{
	if (node->value_len < sizeof(uint64_t) || u64_at(node->value) > node->value_len / sizeof(uint64_t) - 1)
		return damaged(w, "its list of free pages is not one");
	uint64_t above = NO_PAGE;
	for (uint64_t i = 1; i <= u64_at(node->value); i++) {
		const uint64_t page = u64_at(node->value + i * sizeof(uint64_t));
		if (page >= above)
			return damaged(w, "a list of its free pages is out of order");
		if (!use(w, page, 1))
			return false;
		above = page;
	}
	return true;
}

static bool tree_walk(struct walk *w, struct tree *t);

static bool table_check(struct walk *w, const struct node *node)
{
	struct tree t = { .kind = TREE_DATA };
	if (!store__table_known(node->key, node->key_len))
		return true;
	w->ours = true;
	if (node->flags != NODE_TABLE || node->value_len != DB_BYTES || u16_at(node->value + 4) != 0)
		return damaged(w, "a table of it is none");
	t.depth = u16_at(node->value + 6);
	t.entry_count = u64_at(node->value + 32);
	t.root = u64_at(node->value + 40);
	return tree_walk(w, &t);
}

static bool leaf_check(struct walk *w, struct tree *t, struct node *node)
{
	if (node->key_len == 0 || (t->kind == TREE_FREE && node->key_len != sizeof(uint64_t)) ||
	    (node->flags & ~(unsigned)(t->kind == TREE_TABLES ? NODE_LONG | NODE_TABLE : NODE_LONG)) != 0)
		return damaged(w, "a node is of another kind than its tree");
	if (!key_follows(t, node))
		return damaged(w, "its keys are out of order");
	if (!value_find(w, node))
		return false;
	return t->kind == TREE_FREE ? free_list_check(w, node) : t->kind == TREE_TABLES ? table_check(w, node) : true;
}

/* As deep as the stated depth of the tree, which is bounded. */
static bool page_walk(struct walk *w, struct tree *t, uint64_t number, unsigned level)
{
	const bool leaf = level == t->depth;
	const uint8_t *page = page_take(w, number, 1);
	if (page == NULL)
		return false;
	size_t count = node_count(w, page);
	if (u16_at(page + 10) != (leaf ? PAGE_LEAF : PAGE_BRANCH) || count == SIZE_MAX || count == 0)
		return damaged(w, "a page of a tree is none");
	for (size_t i = 0; i < count; i++) {
		struct node node;
		if (!node_read(w, page, i, leaf, &node))
			return false;
		if (!(leaf ? leaf_check(w, t, &node) : page_walk(w, t, node.child, level + 1)))
			return false;
	}
	return true;
}

static bool tree_walk(struct walk *w, struct tree *t)
{
	if (t->root == NO_PAGE)
		return t->entry_count == 0 ? true : damaged(w, "a tree has lost its root");
	if (t->depth == 0 || t->depth > DEPTH_MAX)
		return damaged(w, "a tree has no depth");
	if (!page_walk(w, t, t->root, 1))
		return false;
	return t->found_count == t->entry_count ? true
						: damaged(w, "a tree holds another number of entries than it says");
}

/* A file of another version of LMDB is left to LMDB: *other. */
static bool metas_check(struct walk *w, const uint8_t **newest, bool *other)
{
	const uint8_t *meta[2] = { w->file, NULL };
	if (w->file_bytes < META_BYTES || u32_at(w->file + 16) != MAGIC)
		return damaged(w, "its head is not that of a data file");
	w->page_bytes = u32_at(w->file + 40);
	if (w->page_bytes < PAGE_BYTES_MIN || w->page_bytes > PAGE_BYTES_MAX || (w->page_bytes & (w->page_bytes - 1)))
		return damaged(w, "its head is not that of a data file");
	if (w->file_bytes < 2 * w->page_bytes)
		return damaged(w, "it is cut short");
	meta[1] = w->file + w->page_bytes;
	if (u32_at(meta[1] + 16) != MAGIC || u32_at(meta[0] + 20) != u32_at(meta[1] + 20) ||
	    u32_at(meta[1] + 40) != w->page_bytes || u16_at(meta[0] + 10) != PAGE_META ||
	    u16_at(meta[1] + 10) != PAGE_META)
		return damaged(w, "its head is not that of a data file");
	*other = u32_at(meta[0] + 20) != DATA_VERSION;
	*newest = meta[u64_at(meta[0] + 144) < u64_at(meta[1] + 144)];
	return true;
}

static struct tree tree_of(const uint8_t *db, enum tree_kind kind)
{
	return (struct tree){
		.kind = kind, .depth = u16_at(db + 6), .entry_count = u64_at(db + 32), .root = u64_at(db + 40)
	};
}

static bool roots_walk(struct walk *w, const uint8_t *meta)
{
	struct tree unused = tree_of(meta + 40, TREE_FREE), tables = tree_of(meta + 40 + DB_BYTES, TREE_TABLES);
	if (u16_at(meta + 40 + DB_BYTES + 4) != 0)
		return damaged(w, "its head is not that of a data file");
	if (!tree_walk(w, &tables))
		return false;
	return w->ours ? tree_walk(w, &unused) : true;
}

/* A page behind the file's end is a free one that was never written: a list in the file names it with eight bytes. */
static uint64_t pages_max(const struct walk *w)
{
	return w->file_bytes / w->page_bytes + 1 + w->file_bytes / sizeof(uint64_t);
}

/* 0, or ERR_CORRUPT with `why`; ERR_NOMEM. */
static int file_walk(struct walk *w)
{
	const uint8_t *meta = NULL;
	bool other = false;
	if (!metas_check(w, &meta, &other))
		return ERR_CORRUPT;
	if (other)
		return 0;
	w->page_count = u64_at(meta + 136) + 1;
	if (w->page_count < 2 || u64_at(meta + 32) > MAP_BYTES_MAX ||
	    w->page_count > u64_at(meta + 32) / w->page_bytes || w->page_count > pages_max(w)) {
		w->why = "its head is not that of a data file";
		return ERR_CORRUPT;
	}
	w->used = fault_calloc(w->page_count / 8 + 1, 1);
	if (w->used == NULL)
		return ERR_NOMEM;
	bool whole = roots_walk(w, meta);
	free(w->used);
	return whole ? 0 : ERR_CORRUPT;
}

int store__file_check(const char *path, struct err *e)
{
	struct walk w = { .why = "" };
	struct stat st;
	int fd = open(path, O_RDONLY | O_CLOEXEC);
	if (fd < 0 && errno == ENOENT)
		return 0; /* it is made */
	if (fd < 0 || fstat(fd, &st) != 0) {
		int rc = err_open(e, errno, "%s", path);
		if (fd >= 0)
			close(fd);
		return rc;
	}
	w.file_bytes = (uint64_t)st.st_size;
	void *map = st.st_size > 0 ? mmap(NULL, (size_t)st.st_size, PROT_READ, MAP_SHARED, fd, 0) : NULL;
	close(fd);
	if (map == NULL)
		return 0; /* LMDB takes it for a new one */
	if (map == MAP_FAILED)
		return err_errno(e, ERR_NOMEM, errno, "%s: mapping it", path);
	w.file = map;
	int rc = file_walk(&w);
	munmap(map, (size_t)st.st_size);
	if (rc == ERR_NOMEM)
		return err_set(e, rc, "%s: checking it: out of memory", path);
	return rc == 0 ? 0 : err_set(e, rc, "%s", w.why);
}
