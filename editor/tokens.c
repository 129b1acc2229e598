#include "editor/tokens.h"

#include "base/fault.h"

#include <ctype.h>
#include <stdlib.h>
#include <string.h>

/* What stands between the spaces around it. */
static struct record_text without_spaces(const char *text, size_t len)
{
	for (; len > 0 && isspace((unsigned char)*text); len--)
		text++;
	while (len > 0 && isspace((unsigned char)text[len - 1]))
		len--;
	return (struct record_text){ text, len };
}

/* ---- Texts */

static int check_length(const struct model *model, struct editor__tokens *tokens, struct err *e)
{
	const size_t context = model_shape_of(model)->context;
	if (tokens->id_count > 0 && tokens->id_count <= context)
		return 0;
	const size_t count = tokens->id_count;
	editor__tokens_free(tokens, 1);
	if (count == 0)
		return err_set(e, ERR_INVALID, "empty text");
	return err_set(e, ERR_LIMIT, "%zu tokens, the model's context is %zu", count, context);
}

int editor__tokens_of(const struct model *model, const char *text, size_t len, struct editor__tokens *out,
		      struct err *e)
{
	*out = (struct editor__tokens){ 0 };
	int rc = model_tokenizer_encode(model_tokenizer_of(model), text, len, false, &out->ids, &out->id_count, e);
	if (rc != 0) {
		editor__tokens_free(out, 1);
		return rc;
	}
	return check_length(model, out, e);
}

int editor__tokens_of_pair(const struct model *model, const char *text, size_t len, const char *target,
			   size_t target_len, struct editor__tokens *out, struct err *e)
{
	struct buf joined = BUF_INIT;
	const struct record_text bare = without_spaces(target, target_len);
	buf_append(&joined, text, len);
	buf_u8(&joined, ' ');
	buf_append(&joined, bare.text, bare.len);
	int rc = buf_failed(&joined) ? err_set(e, ERR_NOMEM, "out of memory")
				     : editor__tokens_of(model, (const char *)joined.data, joined.len, out, e);
	buf_free(&joined);
	return rc;
}

void editor__tokens_free(struct editor__tokens *tokens, size_t count)
{
	for (size_t i = 0; i < count; i++) {
		free(tokens[i].ids);
		tokens[i] = (struct editor__tokens){ 0 };
	}
}

/* ---- Edits */

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
	const struct record_text bare = without_spaces(target->text, target->len);
	if (prompt_len == 0 || bare.len == 0)
		return err_set(e, ERR_INVALID, "edit: its %s is empty", prompt_len == 0 ? "prompt" : "target");
	struct pair p = { .tokenizer = model_tokenizer_of(model), .prompt = prompt, .prompt_len = prompt_len };
	buf_u8(&p.tail, ' ');
	buf_append(&p.tail, bare.text, bare.len);
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
