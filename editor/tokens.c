/* The tokens that an edit is trained on. */
#include "editor/shard_internal.h"

#include "base/fault.h"

#include <ctype.h>
#include <stdlib.h>
#include <string.h>

struct pair { /* being tokenised */
	const struct model_tokenizer *tokenizer;
	const char *prompt;
	size_t prompt_len;
	struct buf tail; /* " " + target */
	int32_t *ids;
	size_t id_count, prompt_count;
};

static int encode(const struct pair *p, const char *text, size_t len, int32_t **ids, size_t *id_count, struct err *e)
{
	return model_tokenizer_encode(p->tokenizer, text, len, false, ids, id_count, e);
}

static int encode_pair(struct pair *p, struct err *e)
{
	int32_t *prompt_ids = NULL;
	struct buf whole = BUF_INIT;
	int rc = encode(p, p->prompt, p->prompt_len, &prompt_ids, &p->prompt_count, e);
	buf_append(&whole, p->prompt, p->prompt_len);
	buf_append(&whole, p->tail.data, p->tail.len);
	if (rc == 0 && (buf_failed(&whole) || buf_failed(&p->tail)))
		rc = err_set(e, ERR_NOMEM, "edit: out of memory");
	if (rc == 0)
		rc = encode(p, (const char *)whole.data, whole.len, &p->ids, &p->id_count, e);
	/* The prompt's own tokens must come first, as generation starts from them. */
	if (rc == 0 && (p->id_count <= p->prompt_count ||
			memcmp(p->ids, prompt_ids, p->prompt_count * sizeof(*prompt_ids)) != 0)) {
		p->id_count = 0; /* a token spans prompt and target */
		rc = encode(p, p->prompt, p->prompt_len, &p->ids, &p->id_count, e);
		if (rc == 0)
			rc = encode(p, (const char *)p->tail.data, p->tail.len, &p->ids, &p->id_count, e);
	}
	buf_free(&whole);
	free(prompt_ids);
	if (rc == 0 && (p->prompt_count == 0 || p->id_count <= p->prompt_count))
		rc = err_set(e, ERR_INVALID, "edit: its %s has no tokens", p->prompt_count == 0 ? "prompt" : "target");
	return rc;
}

static int append_eos(struct pair *p, struct err *e)
{
	int32_t *grown = fault_realloc(p->ids, (p->id_count + 1) * sizeof(*grown));
	if (grown == NULL)
		return err_set(e, ERR_NOMEM, "edit: out of memory");
	p->ids = grown;
	p->ids[p->id_count++] = model_tokenizer_eos(p->tokenizer);
	return 0;
}

int editor__tokenise(const struct model *model, const char *prompt, size_t prompt_len, const struct record_text *target,
		     bool end_of_text, int32_t **ids, size_t *id_count, size_t *prompt_count, struct err *e)
{
	size_t first = 0, last = target->len;
	while (first < last && isspace((unsigned char)target->text[first]))
		first++;
	while (last > first && isspace((unsigned char)target->text[last - 1]))
		last--;
	if (prompt_len == 0 || first == last)
		return err_set(e, ERR_INVALID, "edit: its %s is empty", prompt_len == 0 ? "prompt" : "target");
	struct pair p = { .tokenizer = model_tokenizer_of(model), .prompt = prompt, .prompt_len = prompt_len };
	buf_u8(&p.tail, ' ');
	buf_append(&p.tail, target->text + first, last - first);
	int rc = encode_pair(&p, e);
	if (rc == 0 && end_of_text)
		rc = append_eos(&p, e);
	if (rc == 0 && p.id_count > model_shape_of(model)->context)
		rc = err_set(e, ERR_INVALID,
			     "prompt and target have %zu tokens, the model's context holds %zu: shorten them",
			     p.id_count, model_shape_of(model)->context);
	buf_free(&p.tail);
	if (rc != 0) {
		free(p.ids);
		return rc;
	}
	*ids = p.ids;
	*id_count = p.id_count;
	*prompt_count = p.prompt_count;
	return 0;
}
