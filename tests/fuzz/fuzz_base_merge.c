/* What a merge reads: its plan, the edits of a shard, the output of the ranks. The first byte chooses.
 * Limits: -max_len=65536 -malloc_limit_mb=8 -rss_limit_mb=1024 */
#include "tests/fuzz/fuzz.h"

#include "base/json.h"
#include "base/merge_plan.h"

#include <string.h>

static void plan(const uint8_t *data, size_t len)
{
	struct merge_plan *plan = NULL, *again = NULL;
	struct buf text = BUF_INIT;
	struct err e = ERR_INIT;
	if (merge_plan_parse((const char *)data, len, &plan, &e) != 0)
		return;
	fuzz_check(merge_plan_encode(plan, &text, &e) == 0, "a plan that was read cannot be written");
	fuzz_check(merge_plan_parse((const char *)text.data, text.len, &again, &e) == 0,
		   "a plan's own text does not parse");
	fuzz_check(again->shard_count == plan->shard_count, "a plan lost shards");
	merge_plan_destroy(&plan);
	merge_plan_destroy(&again);
	buf_free(&text);
}

static void edits(const uint8_t *data, size_t len)
{
	const char *text = (const char *)data, *record;
	size_t record_len;
	uint64_t seq;
	struct err e = ERR_INIT;
	while (merge_plan_edit_next(&text, &len, &seq, &record, &record_len, &e) == 0)
		fuzz_check(record + record_len <= text, "a line reaches into the next");
}

static void output(const uint8_t *data, size_t len)
{
	struct merge_output output;
	struct hash plan = { { 1 } };
	struct buf delta = BUF_INIT;
	struct err e = ERR_INIT;
	if (merge_output_read(fuzz_file(data, len), &plan, &output, &delta, &e) == 0)
		fuzz_check(delta.len == output.delta_bytes, "a delta of another length");
	buf_free(&delta);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t len)
{
	if (len == 0)
		return 0;
	void (*const parse[])(const uint8_t *, size_t) = { plan, edits, output };
	parse[data[0] % 3](data + 1, len - 1);
	return 0;
}

/* As merge_output_write writes it, which needs a folder. */
static void seed_output(void (*add)(const void *bytes, size_t len))
{
	static const char delta[] = "delta";
	const struct hash plan = { { 1 } };
	struct hash hash;
	struct buf bytes = BUF_INIT;
	struct json_w w;
	hash_of(delta, sizeof(delta), &hash);
	json_w_init(&w, &bytes);
	json_w_open(&w, '{');
	json_w_member_hash(&w, "plan_sha256", &plan);
	json_w_member_hash(&w, "delta_sha256", &hash);
	json_w_member_uint(&w, "delta_bytes", sizeof(delta));
	for (const char *const *name = (const char *const[]){ "merge", "layer", "rounds", "reduces", "reduced_bytes",
							      "ranks", "format", "loss", NULL };
	     *name != NULL; name++)
		json_w_member_uint(&w, *name, 1);
	json_w_close(&w);
	buf_u8(&bytes, '\n');
	buf_append(&bytes, delta, sizeof(delta));
	fuzz_add(add, 2, bytes.data, bytes.len);
	buf_free(&bytes);
}

void fuzz_seeds(void (*add)(const void *bytes, size_t len))
{
	static const char lines[] = "7\t{\"prompt\":\"p\",\"target_new\":\"t\"}\n18446744073709551615\t{}\n";
	struct merge_plan *plan = NULL;
	struct buf text = BUF_INIT;
	struct err e = ERR_INIT;
	fuzz_check(merge_plan_new(2, &plan, &e) == 0, "out of memory");
	plan->merge = 7;
	plan->numbers.rounds = 24;
	plan->numbers.rate = 0.01;
	for (size_t i = 0; i < 2; i++) {
		plan->shards[i].id = i + 3;
		strcpy(plan->shards[i].delta, "shard.delta");
		strcpy(plan->shards[i].edits, "shard.edits");
	}
	fuzz_check(merge_plan_encode(plan, &text, &e) == 0, "a plan cannot be written");
	fuzz_add(add, 0, text.data, text.len);
	fuzz_add(add, 1, lines, sizeof(lines) - 1);
	merge_plan_destroy(&plan);
	buf_free(&text);
	seed_output(add);
}
