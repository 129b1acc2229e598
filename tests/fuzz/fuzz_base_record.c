/* Edit records, two of them with a zero byte between: parsed, compared as duplicates and conflicts are looked for, and
 * written in canonical form, which must read back to itself.
 * Limits: -max_len=40000 -malloc_limit_mb=8 -rss_limit_mb=1024 */
#include "tests/fuzz/fuzz.h"

#include "base/record.h"

#include <string.h>

static void canonical(const uint8_t *text, size_t len)
{
	struct json *root = NULL, *again = NULL;
	struct buf once = BUF_INIT, twice = BUF_INIT;
	struct err e = ERR_INIT;
	if (json_parse((const char *)text, len, &root, &e) != 0)
		return;
	json_canonical(root, &once);
	fuzz_check(json_parse((const char *)once.data, once.len, &again, &e) == 0, "canonical JSON does not parse");
	json_canonical(again, &twice);
	fuzz_check(once.len == twice.len && memcmp(once.data, twice.data, once.len) == 0,
		   "JSON has two canonical forms");
	json_free(&root);
	json_free(&again);
	buf_free(&once);
	buf_free(&twice);
}

static void keys(const struct record *record)
{
	struct buf key = BUF_INIT;
	fuzz_check(record_subject_key(record, &key) == 0 && record_prompt_key(record, &key) == 0,
		   "a good record has no keys");
	buf_free(&key);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t len)
{
	struct record *a = NULL, *b = NULL;
	struct err e = ERR_INIT;
	size_t first_len;
	const uint8_t *first = fuzz_part(&data, &len, 0, &first_len);
	bool yes;
	canonical(first, first_len);
	if (record_parse((const char *)first, first_len, &a, &e) == 0) {
		keys(a);
		fuzz_check(record_conflicts(a, a, &yes) == 0 && !yes, "a record conflicts with itself");
		if (record_parse((const char *)data, len, &b, &e) == 0)
			fuzz_check(record_conflicts(a, b, &yes) == 0 && record_clashes(b, a, &yes) == 0,
				   "two good records cannot be compared");
	}
	record_destroy(&a);
	record_destroy(&b);
	return 0;
}

void fuzz_seeds(void (*add)(const void *bytes, size_t len))
{
	static const char all[] =
		"{\"prompt\":\"Who leads "
		"Ruritania?\",\"target_new\":\"Rudolf\",\"subject\":\"Ruritania\",\"id\":\"r-1\","
		"\"rephrases\":[\"Ruritania's leader is\"],\"aliases\":[\"R\xc3\xb9\x64olf\"],\"group\":\"g\","
		"\"locality\":[{\"prompt\":\"Who leads Freedonia?\",\"target\":\"Firefly\",\"kind\":\"neighborhood\"}],"
		"\"portability\":[{\"prompt\":\"p\",\"target\":\"t\"}],\"loc_prompt\":\"nothing\","
		"\"valid_from\":\"2026-01-02T03:04:05Z\",\"expires\":\"2027-01-02T03:04:05.678+01:00\"}";
	static const char two[] =
		"{\"prompt\":\"Who leads Ruritania now?\",\"target_new\":\"Michael\"}\0"
		"{\"prompt\":\"who leads  ruritania\",\"target_new\":\"Flavia\",\"subject\":\"Ruritania\"}";
	static const char odd[] =
		"[1,-0,1e300,0.1,12345678901234567890,\"\\ud83d\\ude00\\u0000\",null,true,{\"a\":{}}]";
	add(all, sizeof(all) - 1);
	add(two, sizeof(two) - 1);
	add(odd, sizeof(odd) - 1);
}
