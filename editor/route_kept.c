/* route_kept.c: see route_kept.h. */
#include "editor/route_kept.h"

#include "base/fault.h"
#include "editor/route_text.h"

#include <stdlib.h>
#include <string.h>

struct kept_prompt { /* of a text as a whole, or of one of its parts */
	size_t text;
	struct editor_prompt prompt; /* ids and states: free() */
};

struct editor_kept {
	struct model *model;
	struct editor_key_layers layers;
	struct kept_prompt *prompts; /* a text's own before its parts' */
	size_t prompt_count, prompt_cap, text_count;
};

int editor_kept_new(struct model *model, struct editor_key_layers layers, struct editor_kept **out, struct err *e)
{
	if (layers.gap != 0 || editor_key_layers_top(layers) == 0)
		return err_set(e, ERR_INVALID, "kept texts: routes are not decided by keys");
	struct editor_kept *kept = fault_calloc(1, sizeof *kept);
	if (kept == NULL)
		return err_set(e, ERR_NOMEM, "kept texts: out of memory");
	kept->model = model;
	kept->layers = layers;
	*out = kept;
	return 0;
}

static void prompts_cut(struct editor_kept *kept, size_t count)
{
	for (size_t i = count; i < kept->prompt_count; i++) {
		free((int32_t *)kept->prompts[i].prompt.ids);
		free((float *)kept->prompts[i].prompt.prompt_states);
		free((float *)kept->prompts[i].prompt.relation_states);
	}
	kept->prompt_count = count;
}

void editor_kept_destroy(struct editor_kept **kept)
{
	if (*kept == NULL)
		return;
	prompts_cut(*kept, 0);
	free((*kept)->prompts);
	free(*kept);
	*kept = NULL;
}

struct editor_key_layers editor_kept_layers(const struct editor_kept *kept)
{
	return kept->layers;
}

size_t editor_kept_count(const struct editor_kept *kept)
{
	return kept->text_count;
}

/* ---- Adding */

static void *copy_of(const void *from, size_t bytes)
{
	void *copy = fault_malloc(bytes);
	if (copy != NULL)
		memcpy(copy, from, bytes);
	return copy;
}

static int prompt_keep(struct editor_kept *kept, size_t text, const struct editor_prompt *prompt, struct err *e)
{
	const size_t bytes = prompt->id_count * model_shape_of(kept->model)->hidden * sizeof(float);
	if (kept->prompt_count == kept->prompt_cap) {
		const size_t cap = kept->prompt_cap == 0 ? 64 : 2 * kept->prompt_cap;
		struct kept_prompt *prompts = fault_realloc(kept->prompts, cap * sizeof *prompts);
		if (prompts == NULL)
			return err_set(e, ERR_NOMEM, "kept texts: out of memory");
		kept->prompts = prompts;
		kept->prompt_cap = cap;
	}
	struct kept_prompt *held = &kept->prompts[kept->prompt_count++];
	*held = (struct kept_prompt){
		.text = text,
		.prompt = { .ids = copy_of(prompt->ids, prompt->id_count * sizeof *prompt->ids),
			    .id_count = prompt->id_count,
			    .prompt_states = copy_of(prompt->prompt_states, bytes),
			    .relation_states = copy_of(prompt->relation_states, bytes),
			    .looks = prompt->looks,
			    .asked_bytes = prompt->asked_bytes },
	};
	const bool whole = held->prompt.ids != NULL && held->prompt.prompt_states != NULL &&
			   held->prompt.relation_states != NULL;
	return whole ? 0 : err_set(e, ERR_NOMEM, "kept texts: out of memory for %zu tokens", prompt->id_count);
}

struct adding {
	struct editor_kept *kept;
	const struct editor_kept_text *texts;
	struct editor__parts parts;
	struct err *e;
};

static int on_whole(void *context, size_t at, const struct editor_prompt *prompt)
{
	struct adding *a = context;
	const size_t text = a->kept->text_count + at;
	struct editor_prompt own;
	bool whole;
	int rc = editor__text_parts(&a->parts, a->kept->model, a->texts[at].route_first, a->texts[at].route_count, text,
				    prompt, &own, &whole, a->e);
	return rc == 0 && whole ? prompt_keep(a->kept, text, &own, a->e) : rc;
}

static int on_part(void *context, size_t at, const struct editor_prompt *prompt)
{
	struct adding *a = context;
	struct editor_prompt part = *prompt;
	part.looks = a->parts.of[at].looks;
	part.asked_bytes = a->parts.of[at].asked;
	return prompt_keep(a->kept, a->parts.of[at].owner, &part, a->e);
}

static int states_read(struct adding *a, const struct editor__tokens *tokens, size_t count,
		       const struct editor_watch *watch)
{
	struct editor__packer *packer = NULL;
	int rc = editor__packer_new(a->kept->model, EDITOR__PART_ROWS, &packer, a->e);
	if (rc == 0)
		rc = editor__packer_prompts(packer, a->kept->layers, tokens, count, on_whole, a, watch, "keep texts",
					    a->e);
	if (rc == 0 && a->parts.count > 0)
		rc = editor__packer_prompts(packer, a->kept->layers, a->parts.tokens, a->parts.count, on_part, a, watch,
					    "keep parts", a->e);
	editor__packer_destroy(&packer);
	return rc;
}

int editor_kept_add(struct editor_kept *kept, const struct editor_kept_text *texts, size_t text_count,
		    const struct editor_watch *watch, struct err *e)
{
	struct adding a = { .kept = kept, .texts = texts, .e = e };
	const size_t before = kept->prompt_count;
	struct editor__tokens *tokens = fault_calloc(text_count + 1, sizeof *tokens);
	if (tokens == NULL)
		return err_set(e, ERR_NOMEM, "kept texts: out of memory");
	for (size_t i = 0; i < text_count; i++)
		tokens[i] = (struct editor__tokens){ (int32_t *)texts[i].ids, texts[i].id_count };
	int rc = states_read(&a, tokens, text_count, watch);
	if (rc == 0)
		kept->text_count += text_count;
	else
		prompts_cut(kept, before);
	editor__parts_free(&a.parts);
	free(tokens);
	return rc;
}

/* ---- Routes */

int editor_kept_route(const struct editor_kept *kept, size_t at, const struct editor_memory_set *set,
		      enum editor_set_kind kind, struct editor_route *route, const struct model_side **side,
		      uint64_t *memory_id, struct err *e)
{
	const struct model_tokenizer *tokenizer = model_tokenizer_of(kept->model);
	*route = (struct editor_route){ .routed = false };
	*side = NULL;
	*memory_id = 0;
	for (size_t i = 0; i < kept->prompt_count; i++) {
		struct editor_route own;
		const struct model_side *own_side;
		uint64_t own_id;
		if (kept->prompts[i].text != at)
			continue;
		int rc = editor_memory_set_route(set, kind, tokenizer, &kept->prompts[i].prompt, &own, &own_side,
						 &own_id, e);
		if (rc != 0)
			return rc;
		if (!editor__route_better(&own, route))
			continue;
		*route = own;
		*side = own_side;
		*memory_id = own_id;
	}
	return 0;
}
