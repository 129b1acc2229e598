/* Key files and allow lists; the first byte chooses. What a list gives must be found in it.
 * Limits: -max_len=8192 -malloc_limit_mb=4 -rss_limit_mb=1024 */
#include "tests/fuzz/fuzz.h"

#include "proto/keys.h"

#include <string.h>

static void pair(const uint8_t *data, size_t len)
{
	struct proto_keypair pair;
	struct err e = ERR_INIT;
	if (proto_keypair_load(fuzz_file(data, len), &pair, &e) == 0)
		proto_keypair_wipe(&pair);
}

/* Every line is found by its key, and the list is the same when it is written and read again. */
static void check(const struct proto_allow *allow)
{
	struct proto_allow *again = NULL;
	struct proto_allowed one, other;
	struct buf text = BUF_INIT;
	struct err e = ERR_INIT;
	const char *name;
	size_t i = 0;
	proto_allow_format(allow, &text);
	fuzz_check(proto_allow_parse("again", &text, &again, &e) == 0, "a list that cannot be read again");
	for (; proto_allow_at(allow, i, &one); i++) {
		fuzz_check((one.roles & ~PROTO_ROLE_ALL) == 0, "a role that there is not");
		fuzz_check(proto_allow_roles(allow, one.key, &name) == one.roles && name == one.name,
			   "a line that its key does not find");
		fuzz_check(proto_allow_at(again, i, &other) && memcmp(one.key, other.key, PROTO_KEY_BYTES) == 0 &&
				   one.roles == other.roles && strcmp(one.name, other.name) == 0,
			   "another line when it is read again");
	}
	fuzz_check(!proto_allow_at(again, i, &other), "more lines when it is read again");
	proto_allow_destroy(&again);
	buf_free(&text);
}

static void allow(const uint8_t *data, size_t len)
{
	struct proto_allow *allow = NULL;
	struct err e = ERR_INIT;
	if (proto_allow_load(fuzz_file(data, len), &allow, &e) != 0)
		return;
	check(allow);
	proto_allow_destroy(&allow);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t len)
{
	if (len > 0 && data[0] % 2 == 0)
		pair(data + 1, len - 1);
	else if (len > 0)
		allow(data + 1, len - 1);
	return 0;
}

void fuzz_seeds(void (*add)(const void *bytes, size_t len))
{
	static const char file[] = "public 07a37cbc142093c8b755dc1b10e86cb426374ad16aa853ed0bdfc0b2b86d1c7c\n"
				   "secret 0102030405060708090a0b0c0d0e0f101112131415161718191a1b1c1d1e1f20\n";
	static const char list[] =
		"# people\n"
		"07a37cbc142093c8b755dc1b10e86cb426374ad16aa853ed0bdfc0b2b86d1c7c submitter+reader ann\n"
		"\n"
		"0707070000000000000000000000000000000000000000000000000000000000 worker+admin w1\r\n"
		"0808070000000000000000000000000000000000000000000000000000000000 revoked w0\n";
	fuzz_add(add, 0, file, sizeof(file) - 1);
	fuzz_add(add, 1, list, sizeof(list) - 1);
}
