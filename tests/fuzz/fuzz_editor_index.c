/* A shard's index as a version's router takes it in, with the anchors of its edits, and a route through it; or the gaps
 * of a memory of the paper's family. The first byte chooses. A refused index leaves the router as it was.
 * Limits: -max_len=16384 -malloc_limit_mb=8 -rss_limit_mb=1024 */
#include "tests/fuzz/fuzz.h"

#include "editor/gap.h"
#include "tests/lib/tokenizer_file.h"
#include "tests/unit/editor/tiny.h"

#include <math.h>

#define HIDDEN 4
#define FFN    6
#define MEMORY 3

static struct editor_calibration *calibration;
static struct model_tokenizer *tokenizer;

static void prepare(void)
{
	const struct hash model = { { 1 } };
	struct gguf_write w;
	struct model_gguf *gguf = NULL;
	struct buf bytes = BUF_INIT;
	struct err e = ERR_INIT;
	if (calibration != NULL)
		return;
	plain_calibration(&model, HIDDEN, 0.2f, 0.1f, 0.1f, &bytes);
	gguf_write_init(&w);
	tiny_model_tokenizer(&w, NULL, NULL);
	fuzz_check(editor_calibration_decode(bytes.data, bytes.len, &calibration, &e) == 0 &&
			   tokenizer_file_open(&w, &gguf, &e) == 0 && model_tokenizer_new(gguf, &tokenizer, &e) == 0,
		   "no tokenizer");
	model_gguf_close(&gguf);
	buf_free(&bytes);
}

static void read_anchor(const struct editor_anchor *anchor)
{
	float row[FFN];
	const int32_t ids[] = { 4, 5 };
	for (size_t i = 0; i < anchor->row_count; i++)
		editor_anchor_row(anchor, i, FFN, row);
	fuzz_check(editor_anchor_reach(anchor, tokenizer, ids, 2) <= 3, "an answer reads more rows than it has tokens");
	for (size_t i = 0; i < anchor->id_count; i++)
		(void)editor_anchor_says(anchor, tokenizer, i, 4);
}

static void route(const struct editor_router *router)
{
	static const float raw[HIDDEN] = { 1, 2, -1, 0.5f };
	struct tiny_prompt p;
	struct editor_route route;
	struct err e = ERR_INIT;
	tiny_prompt_init(&p, tokenizer, "who leads fact 1?", raw, raw, HIDDEN);
	fuzz_check(editor_router_route(router, tokenizer, &p.prompt, &route, &e) == 0, "no route");
	fuzz_check(isfinite(route.prompt_score) && isfinite(route.relation_score), "a score that is not finite");
	fuzz_check(!route.routed || route.memory == MEMORY, "a memory that there is not");
	if (route.routed)
		read_anchor(&route.anchor);
	tiny_prompt_fini(&p);
}

static void keys(const uint8_t *data, size_t len)
{
	struct editor_router *router = NULL;
	struct err e = ERR_INIT;
	const uint64_t removed[] = { 11 };
	size_t memory;
	fuzz_check(editor_router_new(calibration, FFN, &router, &e) == 0, "out of memory");
	if (editor_router_add(router, data, len, MEMORY, removed, 1, &e) != 0)
		fuzz_check(editor_router_count(router) == 0, "a refused index left edits");
	(void)!editor_router_add(router, data, len, MEMORY, NULL, 0, &e);
	(void)editor_router_memory_of(router, 10, &memory);
	route(router);
	editor_router_destroy(&router);
}

static void gaps(const uint8_t *data, size_t len)
{
	static const float delta[HIDDEN * FFN];
	struct editor_gap_router *router = NULL;
	struct err e = ERR_INIT;
	const uint64_t removed[] = { 11 };
	size_t memory;
	fuzz_check(editor_gap_router_new(HIDDEN, FFN, &router, &e) == 0, "out of memory");
	(void)!editor_gap_router_add(router, delta, data, len, MEMORY, false, removed, 1, &e);
	(void)!editor_gap_router_add(router, delta, data, len, MEMORY + 1, true, NULL, 0, &e);
	(void)editor_gap_router_memory_of(router, 10, &memory);
	editor_gap_router_destroy(&router);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t len)
{
	prepare();
	if (len > 0 && data[0] % 4 == 0)
		gaps(data + 1, len - 1);
	else if (len > 0)
		keys(data + 1, len - 1);
	return 0;
}

void fuzz_seeds(void (*add)(const void *bytes, size_t len))
{
	static const float raw[HIDDEN] = { 1, 2, -1, 0.5f }, other[HIDDEN] = { 0, 1, 0, 0 };
	static const float anchors[2 * FFN] = { 1, 2, 3, 4, 5, 6, -1, 0, 0, 0, 0, 0.5f };
	static const float forms[2 * HIDDEN] = { 0, 0, 1, 0, 1, 1, 0, 0 };
	static const int32_t ids[] = { 4, 5 };
	const struct editor_index_entry entries[] = {
		{ .seq = 10,
		  .subject = { "fact 1", 6 },
		  .subject_given = true,
		  .aliases = { "f1\0", 3 },
		  .words = { "leads", 5 },
		  .raw = raw,
		  .relation = raw,
		  .target_ids = ids,
		  .target_count = 2,
		  .anchors = anchors,
		  .anchor_count = 2,
		  .forms = forms,
		  .form_count = 1 },
		{ .seq = 11, .raw = other, .relation = raw },
		{ .seq = 12, .raw = raw, .relation = other, .target_ids = ids, .target_count = 1 },
	};
	const struct editor_gap_entry gap[] = { { 10, 0.5f }, { 11, 0.25f } };
	struct buf out = BUF_INIT;
	struct err e = ERR_INIT;
	for (size_t count = 0; count <= 3; count++) {
		buf_clear(&out);
		fuzz_check(editor_index_encode(entries, count, HIDDEN, FFN, &out, &e) == 0, "no seed");
		fuzz_add(add, 1, out.data, out.len);
	}
	buf_clear(&out);
	fuzz_check(editor_gap_index_encode(gap, 2, 0.8f, &out, &e) == 0, "no seed");
	fuzz_add(add, 0, out.data, out.len);
	buf_free(&out);
}
