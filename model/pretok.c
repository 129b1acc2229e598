/* The only file that knows PCRE2. */
#define PCRE2_CODE_UNIT_WIDTH 8

#include "model/pretok.h"
#include "model/gguf_parse.h"

#include "base/fault.h"
#include "base/utf8.h"

#include <pcre2.h>
#include <stdlib.h>
#include <string.h>

#define STAGES_MAX 2

/* White space as Unicode's White_Space property has it, which is what the trainers' engines take for \s; PCRE2's own \s
 * would add U+180E. Written for use inside a class. */
#define WS "\\x09-\\x0d\\x{85}\\p{Z}"

/* GPT-2's expression (Radford et al. 2019, encoder.py). */
#define GPT2 "'s|'t|'re|'ve|'m|'ll|'d| ?\\p{L}+| ?\\p{N}+| ?[^" WS "\\p{L}\\p{N}]+|[" WS "]+(?![^" WS "])|[" WS "]+"
/* Every digit alone, before GPT-2's expression sees what is left (SmolLM, StarCoder). */
#define DIGIT "\\p{N}"
/* Llama 3's tokenizer.json. */
#define LLAMA3                                                                                                         \
	"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\\r\\n\\p{L}\\p{N}]?\\p{L}+|\\p{N}{1,3}| ?[^" WS "\\p{L}\\p{N}]+[\\r\\n]*"     \
	"|[" WS "]*[\\r\\n]+|[" WS "]+(?![^" WS "])|[" WS "]+"

static const struct pretok_kind {
	const char *names;              /* as in tokenizer.ggml.pre, each between spaces */
	const char *stages[STAGES_MAX]; /* each cuts the pieces of the one before */
	bool ignore_merges;
} kinds[] = {
	{ " smollm starcoder refact command-r codeshell ", { DIGIT, GPT2 }, false },
	{ " gpt2 gpt-2 default phi-2 mpt olmo jais ", { GPT2, NULL }, false },
	{ " llama-bpe llama llama3 llama-v3 ", { LLAMA3, NULL }, true },
};

struct model_pretok {
	const struct pretok_kind *kind;
	pcre2_general_context *memory;
	pcre2_code *codes[STAGES_MAX];
	size_t stage_count;
};

struct split {
	const struct model_pretok *pretok;
	pcre2_match_data *matches[STAGES_MAX];
	int (*each)(void *context, const char *word, size_t len);
	void *context;
	struct err *e;
};

static void *pcre_malloc(PCRE2_SIZE bytes, void *unused)
{
	(void)unused;
	return fault_malloc(bytes);
}

static void pcre_free(void *p, void *unused)
{
	(void)unused;
	free(p);
}

static const struct pretok_kind *kind_find(const char *name, size_t name_len)
{
	/* without NUL: the comparison below must not find an end in the name where the list has its own */
	if (name_len == 0 || name_len > 32 || memchr(name, ' ', name_len) || memchr(name, '\0', name_len))
		return NULL;
	for (size_t i = 0; i < sizeof(kinds) / sizeof(kinds[0]); i++)
		for (const char *p = kinds[i].names; *p; p++)
			if (p[0] == ' ' && strncmp(p + 1, name, name_len) == 0 && p[1 + name_len] == ' ')
				return &kinds[i];
	return NULL;
}

static int compile(struct model_pretok *t, struct err *e)
{
	pcre2_compile_context *context = pcre2_compile_context_create(t->memory);
	int rc = context ? 0 : err_set(e, ERR_NOMEM, "no memory for the pre-tokeniser");

	for (size_t i = 0; rc == 0 && i < STAGES_MAX && t->kind->stages[i]; i++) {
		PCRE2_SIZE at = 0;
		int code = 0;

		t->codes[i] = pcre2_compile((PCRE2_SPTR)t->kind->stages[i], PCRE2_ZERO_TERMINATED,
					    PCRE2_UTF | PCRE2_UCP, &code, &at, context);
		if (!t->codes[i]) {
			PCRE2_UCHAR text[128] = "";

			(void)pcre2_get_error_message(code, text, sizeof(text));
			rc = err_set(e, code == PCRE2_ERROR_HEAP_FAILED ? ERR_NOMEM : ERR_EXTERNAL,
				     "pre-tokeniser expression, at %zu: %s", (size_t)at, (const char *)text);
			break;
		}
		/* Without executable memory the interpreter gives the same words, more slowly. */
		(void)pcre2_jit_compile(t->codes[i], PCRE2_JIT_COMPLETE);
		t->stage_count = i + 1;
	}
	pcre2_compile_context_free(context);
	return rc;
}

int model_pretok_new(const char *name, size_t name_len, struct model_pretok **out, struct err *e)
{
	const struct pretok_kind *kind = kind_find(name, name_len);

	if (!kind)
		return err_set(e, ERR_UNSUPPORTED,
			       "pre-tokeniser \"%s\" is not known (known: smollm, gpt2, llama-bpe and their "
			       "aliases); use another model",
			       model__show(name, name_len).text);
	struct model_pretok *t = fault_calloc(1, sizeof(*t));
	if (!t)
		return err_set(e, ERR_NOMEM, "no memory for the pre-tokeniser");
	t->kind = kind;
	t->memory = pcre2_general_context_create(pcre_malloc, pcre_free, NULL);
	const int rc = t->memory ? compile(t, e) : err_set(e, ERR_NOMEM, "no memory for the pre-tokeniser");
	if (rc) {
		model_pretok_destroy(&t);
		return rc;
	}
	*out = t;
	return 0;
}

void model_pretok_destroy(struct model_pretok **pretok)
{
	struct model_pretok *t = *pretok;

	if (!t)
		return;
	for (size_t i = 0; i < STAGES_MAX; i++)
		pcre2_code_free(t->codes[i]);
	pcre2_general_context_free(t->memory);
	free(t);
	*pretok = NULL;
}

bool model_pretok_ignores_merges(const struct model_pretok *pretok)
{
	return pretok->kind->ignore_merges;
}

static int match_failed(struct split *s, int code)
{
	PCRE2_UCHAR text[128] = "";

	(void)pcre2_get_error_message(code, text, sizeof(text));
	return err_set(s->e, code == PCRE2_ERROR_NOMEMORY || code == PCRE2_ERROR_HEAPLIMIT ? ERR_NOMEM : ERR_EXTERNAL,
		       "pre-tokeniser: %s; shorten the text", (const char *)text);
}

/* Cuts one piece by stage `stage`: the matches, and what lies between them, go to the next stage, or to `each`. The end
 * of the piece is the end of the subject, so a look-ahead does not see the next piece: as the trainers' chained
 * splitters have it. */
static int split_stage(struct split *s, size_t stage, const char *text, size_t len)
{
	size_t at = 0, scan = 0;
	int rc = 0;

	if (len == 0)
		return 0;
	if (stage == s->pretok->stage_count)
		return s->each(s->context, text, len);
	while (rc == 0 && scan < len) {
		const int found = pcre2_match(s->pretok->codes[stage], (PCRE2_SPTR)text, len, scan, PCRE2_NO_UTF_CHECK,
					      s->matches[stage], NULL);
		const PCRE2_SIZE *ends = pcre2_get_ovector_pointer(s->matches[stage]);

		if (found == PCRE2_ERROR_NOMATCH)
			break;
		if (found < 0)
			return match_failed(s, found);
		const size_t from = ends[0],
			     to = ends[1]; /* read now: a deeper stage has its own, but the next match does not */
		rc = split_stage(s, stage + 1, text + at, from - at);
		rc = rc ? rc : split_stage(s, stage + 1, text + from, to - from);
		at = scan = to;
	}
	return rc ? rc : split_stage(s, stage + 1, text + at, len - at);
}

static int check_utf8(const char *text, size_t len, struct err *e)
{
	for (size_t i = 0; i < len;) {
		uint32_t code;
		const size_t n = utf8_next(text + i, len - i, &code);

		if (n == 0)
			return err_set(e, ERR_INVALID, "the text is not UTF-8 at byte %zu; send it as UTF-8", i);
		i += n;
	}
	return 0;
}

int model_pretok_split(const struct model_pretok *pretok, const char *text, size_t len,
		       int (*each)(void *context, const char *word, size_t len), void *context, struct err *e)
{
	struct split s = { .pretok = pretok, .each = each, .context = context, .e = e };
	int rc = check_utf8(text, len, e);

	for (size_t i = 0; rc == 0 && i < pretok->stage_count; i++) {
		s.matches[i] = pcre2_match_data_create(1, pretok->memory);
		if (!s.matches[i])
			rc = err_set(e, ERR_NOMEM, "no memory to split %zu bytes of text into words", len);
	}
	rc = rc ? rc : split_stage(&s, 0, text, len);
	for (size_t i = 0; i < pretok->stage_count; i++)
		pcre2_match_data_free(s.matches[i]);
	return rc;
}
