/* keys.c: key files and the allow list. CURVE keys are Curve25519 keys, as crypto_box of libsodium makes them. */
#include "proto/keys.h"

#include "base/fault.h"
#include "base/text.h"

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <sodium.h> /* key pairs and their wiping belong here, randomness to base: two users, one library */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <unistd.h>

#define KEY_FILE_STEP      "restore it from a copy, or remove it and make another (`amend key new`, `amend up`)"
#define KEY_FILE_BYTES_MAX 1024
#define LIST_BYTES_MAX     (4u << 20)
#define ENTRIES_MAX        PROTO_ALLOW_KEYS_MAX
#define NAME_BYTES_MAX     PROTO_ALLOW_NAME_BYTES_MAX
#define LIST_FULL_STEP     "take lines out of it that say " REVOKED ", and have the coordinator read it again (SIGHUP)"
#define REVOKED            "revoked" /* stands where roles do: the line stays, so that nobody adds the key again unasked */

_Static_assert(PROTO_KEY_BYTES == crypto_box_PUBLICKEYBYTES && PROTO_KEY_BYTES == crypto_box_SECRETKEYBYTES,
	       "CURVE keys");

/* ---- Key pairs. */

int proto_keypair_new(struct proto_keypair *out, struct err *e)
{
	if (sodium_init() < 0)
		return err_set(e, ERR_EXTERNAL, "libsodium found no source of randomness: is /dev/urandom there?");
	crypto_box_keypair(out->public_key, out->secret_key);
	return 0;
}

void proto_keypair_wipe(struct proto_keypair *pair)
{
	sodium_memzero(pair, sizeof(*pair));
}

void proto_key_hex(const uint8_t key[PROTO_KEY_BYTES], char out[65])
{
	sodium_bin2hex(out, 65, key, PROTO_KEY_BYTES);
}

int proto_key_parse(const char *hex, uint8_t key[PROTO_KEY_BYTES])
{
	size_t len;
	const char *end;
	if (strlen(hex) != 2 * PROTO_KEY_BYTES ||
	    sodium_hex2bin(key, PROTO_KEY_BYTES, hex, 2 * PROTO_KEY_BYTES, NULL, &len, &end) != 0 ||
	    len != PROTO_KEY_BYTES)
		return ERR_INVALID;
	return 0;
}

int proto_keypair_save(const struct proto_keypair *pair, const char *path, struct err *e)
{
	char public_hex[65], secret_hex[65], text[160];
	proto_key_hex(pair->public_key, public_hex);
	proto_key_hex(pair->secret_key, secret_hex);
	int len = snprintf(text, sizeof(text), "public %s\nsecret %s\n", public_hex, secret_hex);
	int rc = file_write_new(path, text, (size_t)len, 0600, e);
	sodium_memzero(text, sizeof(text));
	sodium_memzero(secret_hex, sizeof(secret_hex));
	if (rc == ERR_EXISTS)
		return err_set(e, rc, "key file %s exists already: remove it or choose another name", path);
	if (rc != 0)
		err_wrap(e, "key file");
	return rc;
}

static int key_file_open(const char *path, int *out, struct err *e)
{
	struct stat st;
	int fd = open(path, O_RDONLY | O_CLOEXEC | O_NONBLOCK);
	if (fd < 0)
		return err_open(e, errno, "opening key file %s", path);
	int rc = 0;
	if (fstat(fd, &st) != 0)
		rc = err_errno(e, ERR_IO, errno, "key file %s", path);
	else if (!S_ISREG(st.st_mode))
		rc = err_set(e, ERR_INVALID, "key file %s is not a regular file", path);
	else if ((st.st_mode & 077) != 0)
		rc = err_set(e, ERR_DENIED,
			     "key file %s has mode %04o: others may read the secret key. Run: chmod 600 %s", path,
			     (unsigned)(st.st_mode & 07777), path);
	if (rc != 0)
		close(fd);
	else
		*out = fd;
	return rc;
}

static int key_file_parse(char *text, struct proto_keypair *out)
{
	char *save = NULL, *first = strtok_r(text, "\n", &save), *second = strtok_r(NULL, "\n", &save);
	if (first == NULL || second == NULL || strtok_r(NULL, "\n", &save) != NULL)
		return ERR_INVALID;
	if (strncmp(first, "public ", 7) != 0 || strncmp(second, "secret ", 7) != 0)
		return ERR_INVALID;
	if (proto_key_parse(first + 7, out->public_key) != 0 || proto_key_parse(second + 7, out->secret_key) != 0)
		return ERR_INVALID;
	return 0;
}

static int key_text_load(const char *path, char *text, struct proto_keypair *out, struct err *e)
{
	int fd = -1;
	int rc = key_file_open(path, &fd, e);
	if (rc != 0)
		return rc;
	size_t len = 0;
	ssize_t n;
	while ((n = read(fd, text + len, KEY_FILE_BYTES_MAX - len)) > 0 || (n < 0 && errno == EINTR))
		len += n > 0 ? (size_t)n : 0;
	int errnum = n < 0 ? errno : 0;
	close(fd);
	if (errnum != 0)
		return err_errno(e, ERR_IO, errnum, "reading key file %s", path);
	text[len] = '\0';
	if (strlen(text) != len || key_file_parse(text, out) != 0)
		return err_set(e, ERR_INVALID,
			       "key file %s is not two lines 'public <64 hex digits>' and 'secret <64 hex "
			       "digits>': " KEY_FILE_STEP,
			       path);
	uint8_t derived[PROTO_KEY_BYTES];
	if (crypto_scalarmult_base(derived, out->secret_key) != 0 ||
	    memcmp(derived, out->public_key, sizeof(derived)) != 0)
		return err_set(e, ERR_CORRUPT,
			       "key file %s: its public key does not belong to its secret key: " KEY_FILE_STEP, path);
	return 0;
}

int proto_keypair_load(const char *path, struct proto_keypair *out, struct err *e)
{
	char text[KEY_FILE_BYTES_MAX + 1];
	int rc = key_text_load(path, text, out, e);
	sodium_memzero(text, sizeof(text));
	if (rc != 0)
		proto_keypair_wipe(out);
	return rc;
}

/* ---- Roles. */

static const struct {
	const char *name;
	unsigned role;
} roles_by_name[] = {
	{ "submitter", PROTO_ROLE_SUBMITTER }, { "worker", PROTO_ROLE_WORKER }, { "reader", PROTO_ROLE_READER },
	{ "auditor", PROTO_ROLE_AUDITOR },     { "admin", PROTO_ROLE_ADMIN },
};
#define ROLE_COUNT (sizeof(roles_by_name) / sizeof(roles_by_name[0]))

static unsigned role_find(const char *name, size_t len)
{
	for (size_t i = 0; i < ROLE_COUNT; i++)
		if (strlen(roles_by_name[i].name) == len && memcmp(roles_by_name[i].name, name, len) == 0)
			return roles_by_name[i].role;
	return 0;
}

int proto_roles_parse(const char *text, unsigned *roles)
{
	unsigned all = 0;
	for (;;) {
		size_t len = strcspn(text, "+");
		unsigned role = role_find(text, len);
		if (role == 0)
			return ERR_INVALID;
		all |= role;
		if (text[len] == '\0')
			break;
		text += len + 1;
	}
	*roles = all;
	return 0;
}

void proto_roles_format(unsigned roles, char *out, size_t out_bytes)
{
	size_t len = 0;
	if (out_bytes == 0)
		return;
	out[0] = '\0';
	for (size_t i = 0; i < ROLE_COUNT; i++) {
		if ((roles & roles_by_name[i].role) == 0)
			continue;
		int n = snprintf(out + len, out_bytes - len, "%s%s", len == 0 ? "" : "+", roles_by_name[i].name);
		if (n < 0 || (size_t)n >= out_bytes - len)
			return;
		len += (size_t)n;
	}
}

/* ---- The allow list, sorted by key. */

struct entry {
	uint8_t key[PROTO_KEY_BYTES];
	unsigned roles;
	char name[NAME_BYTES_MAX + 1];
};
enum list_change { LIST_NEW, LIST_PUT, LIST_REVOKE };
struct proto_allow {
	struct entry *entries;
	size_t entry_count, entry_cap;
};

static int entry_compare(const void *a, const void *b)
{
	return memcmp(((const struct entry *)a)->key, ((const struct entry *)b)->key, PROTO_KEY_BYTES);
}

static int name_check(const char *name)
{
	size_t len = strlen(name);
	if (len == 0 || len > NAME_BYTES_MAX || strpbrk(name, " \t#") != NULL)
		return ERR_INVALID;
	return text_check(name, len, false, NULL);
}

static int line_parse(char *line, struct entry *out, const char **why)
{
	char *save = NULL, *hex = strtok_r(line, " \t\r", &save), *roles = strtok_r(NULL, " \t\r", &save),
	     *name = strtok_r(NULL, " \t\r", &save);
	*why = "expected 'KEY ROLES NAME': 64 hex digits, roles joined by '+', one word";
	if (hex == NULL || roles == NULL || name == NULL || strtok_r(NULL, " \t\r", &save) != NULL)
		return ERR_INVALID;
	*why = "the key is not 64 hex digits";
	if (proto_key_parse(hex, out->key) != 0)
		return ERR_INVALID;
	*why = "unknown role: use submitter, worker, reader, auditor, admin, joined by '+', or revoked alone";
	if (strcmp(roles, REVOKED) != 0 && proto_roles_parse(roles, &out->roles) != 0)
		return ERR_INVALID;
	*why = "the name has more than 64 bytes, or is not plain UTF-8";
	if (name_check(name) != 0)
		return ERR_INVALID;
	memcpy(out->name, name, strlen(name) + 1);
	return 0;
}

static int entry_add(struct proto_allow *allow, const struct entry *entry)
{
	if (allow->entry_count == allow->entry_cap) {
		size_t cap = allow->entry_cap == 0 ? 16 : 2 * allow->entry_cap;
		struct entry *more = fault_realloc(allow->entries, cap * sizeof(*more));
		if (more == NULL)
			return ERR_NOMEM;
		allow->entries = more;
		allow->entry_cap = cap;
	}
	allow->entries[allow->entry_count++] = *entry;
	return 0;
}

/* Before the entries are sorted. */
static const struct entry *entry_find(const struct proto_allow *allow, const uint8_t key[PROTO_KEY_BYTES])
{
	for (size_t i = 0; i < allow->entry_count; i++)
		if (memcmp(allow->entries[i].key, key, PROTO_KEY_BYTES) == 0)
			return &allow->entries[i];
	return NULL;
}

static int allow_line(struct proto_allow *allow, const char *path, size_t number, char *line, struct err *e)
{
	struct entry entry;
	const char *why;
	line += strspn(line, " \t\r");
	if (*line == '\0' || *line == '#')
		return 0;
	memset(&entry, 0, sizeof(entry));
	if (line_parse(line, &entry, &why) != 0)
		return err_set(e, ERR_INVALID, "%s:%zu: %s; mend the line or take it out", path, number, why);
	if (allow->entry_count == ENTRIES_MAX)
		return err_set(e, ERR_LIMIT, "%s:%zu: more than %d keys: " LIST_FULL_STEP, path, number, ENTRIES_MAX);
	if (entry_find(allow, entry.key) != NULL)
		return err_set(e, ERR_EXISTS, "%s:%zu: this key stands on an earlier line already; keep one of them",
			       path, number);
	if (entry_add(allow, &entry) != 0)
		return err_set(e, ERR_NOMEM, "%s:%zu: out of memory", path, number);
	return 0;
}

static int allow_parse(struct proto_allow *allow, const char *path, struct buf *text, struct err *e)
{
	if (text->len > 0 && memchr(text->data, 0, text->len) != NULL)
		return err_set(e, ERR_INVALID, "%s: holds a NUL byte: not a text file; restore it from a copy", path);
	char *line = text->len == 0 ? NULL : (char *)(uintptr_t)buf_cstr(text);
	if (buf_failed(text))
		return err_set(e, ERR_NOMEM, "%s: out of memory", path);
	for (size_t number = 1; line != NULL; number++) {
		char *end = strchr(line, '\n');
		if (end != NULL)
			*end++ = '\0';
		int rc = allow_line(allow, path, number, line, e);
		if (rc != 0)
			return rc;
		line = end;
	}
	if (allow->entry_count > 0)
		qsort(allow->entries, allow->entry_count, sizeof(allow->entries[0]), entry_compare);
	return 0;
}

static int allow_make(const char *path, struct buf *text, struct proto_allow **out, struct err *e)
{
	struct proto_allow *allow = fault_calloc(1, sizeof(*allow));
	int rc = allow == NULL ? err_set(e, ERR_NOMEM, "%s: out of memory", path) : allow_parse(allow, path, text, e);
	if (rc != 0)
		proto_allow_destroy(&allow);
	else
		*out = allow;
	return rc;
}

int proto_allow_load(const char *path, struct proto_allow **out, struct err *e)
{
	struct buf text = BUF_INIT;
	struct stat st;
	int rc = file_read(path, LIST_BYTES_MAX, &text, e);
	if (rc == 0 && stat(path, &st) == 0 && (st.st_mode & 022) != 0)
		rc = err_set(e, ERR_DENIED, "%s has mode %04o: others may write themselves in. Run: chmod go-w %s",
			     path, (unsigned)(st.st_mode & 07777), path);
	if (rc != 0)
		err_wrap(e, "reading the list of allowed keys");
	else
		rc = allow_make(path, &text, out, e);
	buf_free(&text);
	return rc;
}

int proto_allow_parse(const char *what, struct buf *text, struct proto_allow **out, struct err *e)
{
	return allow_make(what, text, out, e);
}

static void entry_format(const uint8_t key[PROTO_KEY_BYTES], unsigned roles, const char *name, struct buf *out)
{
	char hex[65], role_text[64];
	proto_key_hex(key, hex);
	proto_roles_format(roles, role_text, sizeof(role_text));
	buf_printf(out, "%s %s %s\n", hex, roles == 0 ? REVOKED : role_text, name);
}

void proto_allow_format(const struct proto_allow *allow, struct buf *out)
{
	for (size_t i = 0; i < allow->entry_count; i++)
		entry_format(allow->entries[i].key, allow->entries[i].roles, allow->entries[i].name, out);
}

bool proto_allow_at(const struct proto_allow *allow, size_t index, struct proto_allowed *out)
{
	if (allow == NULL || index >= allow->entry_count)
		return false;
	const struct entry *entry = &allow->entries[index];
	*out = (struct proto_allowed){ entry->key, entry->roles, entry->name };
	return true;
}

void proto_allow_destroy(struct proto_allow **allow)
{
	if (*allow == NULL)
		return;
	free((*allow)->entries);
	free(*allow);
	*allow = NULL;
}

static struct entry *entry_search(const struct proto_allow *allow, const uint8_t key[PROTO_KEY_BYTES])
{
	struct entry wanted;
	memcpy(wanted.key, key, PROTO_KEY_BYTES);
	return allow != NULL && allow->entry_count > 0
		       ? bsearch(&wanted, allow->entries, allow->entry_count, sizeof(wanted), entry_compare)
		       : NULL;
}

void proto_allow_bar(struct proto_allow *allow, const uint8_t key[PROTO_KEY_BYTES])
{
	struct entry *found = entry_search(allow, key);
	if (found != NULL)
		found->roles = 0;
}

unsigned proto_allow_roles(const struct proto_allow *allow, const uint8_t key[PROTO_KEY_BYTES], const char **name)
{
	const struct entry *found = entry_search(allow, key);
	if (name != NULL)
		*name = found == NULL ? NULL : found->name;
	return found == NULL ? 0 : found->roles;
}

/* Takes the key's line out of the text; the others stay as they are, comments too. */
static void text_drop_entry(struct buf *text, const uint8_t key[PROTO_KEY_BYTES])
{
	char hex[65];
	size_t kept = 0;
	proto_key_hex(key, hex);
	for (size_t at = 0, end; at < text->len; at = end) {
		const uint8_t *newline = memchr(text->data + at, '\n', text->len - at);
		end = newline != NULL ? (size_t)(newline - text->data) + 1 : text->len;
		size_t from = at;
		while (from < end && strchr(" \t\r", text->data[from]) != NULL)
			from++;
		if (end - from >= 64 && strncasecmp((const char *)text->data + from, hex, 64) == 0)
			continue;
		memmove(text->data + kept, text->data + at, end - at);
		kept += end - at;
	}
	text->len = kept;
}

/* What is written can be read again. The text stays. */
static int list_check(const char *path, const struct buf *text, struct err *e)
{
	struct proto_allow *allow = NULL;
	struct buf copy = BUF_INIT;
	if (text->len > LIST_BYTES_MAX)
		return err_set(e, ERR_LIMIT, "%s: more than %u bytes: " LIST_FULL_STEP, path, LIST_BYTES_MAX);
	buf_append(&copy, text->data, text->len);
	int rc = allow_make(path, &copy, &allow, e);
	proto_allow_destroy(&allow);
	buf_free(&copy);
	return rc;
}

static void text_put_entry(struct buf *text, const struct entry *entry)
{
	text_drop_entry(text, entry->key);
	if (text->len > 0 && text->data[text->len - 1] != '\n')
		buf_puts(text, "\n");
	entry_format(entry->key, entry->roles, entry->name, text);
}

static int text_write(const char *path, const struct buf *text, struct err *e)
{
	if (buf_failed(text))
		return err_set(e, ERR_NOMEM, "%s: out of memory", path);
	int rc = list_check(path, text, e);
	return rc == 0 ? file_write_atomic(path, text->data, text->len, 0600, e) : rc;
}

/* What the list says now allows the change, perhaps with what it keeps of the old line. */
static int change_check(const char *path, const struct proto_allow *allow, enum list_change change, struct entry *entry,
			struct err *e)
{
	const struct entry *old = allow == NULL ? NULL : entry_find(allow, entry->key);
	if (old != NULL && change == LIST_NEW)
		return err_set(e, ERR_EXISTS, "%s: this key is on the list already%s", path,
			       old->roles == 0 ? ", revoked" : "");
	if (change == LIST_REVOKE) {
		if (old == NULL)
			return err_set(e, ERR_NOT_FOUND, "%s: this key is not on the list", path);
		memcpy(entry->name, old->name, sizeof(entry->name));
	}
	return 0;
}

static int allow_change_locked(const char *path, enum list_change change, struct entry *entries, size_t count,
			       struct err *e)
{
	struct proto_allow *allow = NULL;
	struct buf text = BUF_INIT;
	int rc = 0;
	if (access(path, F_OK) == 0) {
		rc = proto_allow_load(path, &allow, e);
		if (rc == 0)
			rc = file_read(path, LIST_BYTES_MAX, &text, e);
	} else {
		buf_puts(&text, "# public key, roles, name\n");
	}
	for (size_t i = 0; rc == 0 && i < count; i++) {
		rc = change_check(path, allow, change, &entries[i], e);
		if (rc == 0)
			text_put_entry(&text, &entries[i]);
	}
	if (rc == 0)
		rc = text_write(path, &text, e);
	buf_free(&text);
	proto_allow_destroy(&allow);
	return rc;
}

/* Until `folder` is closed: two changes at once must not lose a line. */
static int folder_lock(const char *path, int *folder, struct err *e)
{
	char name_of[PATH_MAX];
	int rc = file_folder_of(path, name_of, sizeof(name_of), e);
	if (rc != 0)
		return rc;
	*folder = open(name_of, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	if (*folder < 0)
		return err_open(e, errno, "opening the folder of %s", path);
	if (flock(*folder, LOCK_EX) == 0)
		return 0;
	rc = err_errno(e, ERR_IO, errno, "locking the folder of %s", path);
	close(*folder);
	return rc;
}

static int allow_change(const char *path, enum list_change change, struct entry *entries, size_t count, struct err *e)
{
	int folder;
	int rc = folder_lock(path, &folder, e);
	if (rc != 0)
		return rc;
	rc = allow_change_locked(path, change, entries, count, e);
	close(folder);
	return rc;
}

static int allow_put(const char *path, enum list_change change, const uint8_t key[PROTO_KEY_BYTES], unsigned roles,
		     const char *name, struct err *e)
{
	struct entry entry = { .roles = roles };
	if (roles == 0 || (roles & ~PROTO_ROLE_ALL) != 0)
		return err_set(e, ERR_INVALID,
			       "%s: a key needs at least one of the roles submitter, worker, reader, auditor, admin",
			       path);
	if (name_check(name) != 0)
		return err_set(e, ERR_INVALID, "%s: a name is one word of at most %d bytes", path, NAME_BYTES_MAX);
	memcpy(entry.key, key, PROTO_KEY_BYTES);
	memcpy(entry.name, name, strlen(name) + 1);
	return allow_change(path, change, &entry, 1, e);
}

int proto_allow_add(const char *path, const uint8_t key[PROTO_KEY_BYTES], unsigned roles, const char *name,
		    struct err *e)
{
	return allow_put(path, LIST_NEW, key, roles, name, e);
}

int proto_allow_set(const char *path, const uint8_t key[PROTO_KEY_BYTES], unsigned roles, const char *name,
		    struct err *e)
{
	return allow_put(path, LIST_PUT, key, roles, name, e);
}

int proto_allow_revoke(const char *path, const uint8_t *keys, size_t key_count, struct err *e)
{
	struct entry *entries = fault_calloc(key_count, sizeof(*entries));
	if (entries == NULL)
		return err_set(e, ERR_NOMEM, "%s: out of memory", path);
	for (size_t i = 0; i < key_count; i++)
		memcpy(entries[i].key, keys + i * PROTO_KEY_BYTES, PROTO_KEY_BYTES);
	int rc = allow_change(path, LIST_REVOKE, entries, key_count, e);
	free(entries);
	return rc;
}

static int allow_restore_locked(const char *path, const struct proto_allow *allow, bool *restored, struct err *e)
{
	struct proto_allow *found = NULL;
	struct buf text = BUF_INIT;
	int rc = proto_allow_load(path, &found, e);
	const bool lost = rc == ERR_NOT_FOUND || (rc == 0 && found->entry_count == 0);
	proto_allow_destroy(&found);
	if (rc != 0 && !lost)
		return rc;
	err_clear(e);
	if (!lost || allow->entry_count == 0)
		return 0;
	proto_allow_format(allow, &text);
	rc = text_write(path, &text, e);
	buf_free(&text);
	*restored = rc == 0;
	return rc;
}

int proto_allow_restore(const char *path, const struct proto_allow *allow, bool *restored, struct err *e)
{
	int folder;
	int rc = folder_lock(path, &folder, e);
	*restored = false;
	if (rc != 0)
		return rc;
	rc = allow_restore_locked(path, allow, restored, e);
	close(folder);
	return rc;
}
