#include "daemon/eval_without.h"

#include <string.h>

int eval_without_parse(const char *text, unsigned *out, struct err *e)
{
	static const char names[] = EVAL_WITHOUT_PARTS;
	*out = 0;
	while (text != NULL) {
		const size_t len = strcspn(text, ",");
		const char *name = names;
		unsigned bit = 1;
		while (name != NULL && (strcspn(name, ",") != len || memcmp(name, text, len) != 0)) {
			name = strchr(name, ',');
			if (name != NULL)
				name++;
			bit <<= 1;
		}
		if (name == NULL)
			return err_set(e, ERR_INVALID, "--without %.*s: may be %s, several with commas between them",
				       len < 32 ? (int)len : 32, text, names);
		*out |= bit;
		text = text[len] != '\0' ? text + len + 1 : NULL;
	}
	return 0;
}

void eval_without_apply(unsigned without, struct editor_config *config)
{
	if ((without & EVAL_WITHOUT_NOISE) != 0)
		config->noise = 0;
	if ((without & EVAL_WITHOUT_VIEWS) != 0)
		config->views = 0;
	if ((without & EVAL_WITHOUT_END_TOKEN) != 0)
		config->end_token = false;
	if ((without & EVAL_WITHOUT_RETRAINING) != 0)
		config->retest_tries = 0;
	if ((without & EVAL_WITHOUT_PLAIN) != 0)
		config->plain_view = false;
}

void eval_without_put(struct json_w *w, unsigned without)
{
	const char *name = EVAL_WITHOUT_PARTS;
	json_w_open(w, '[');
	for (unsigned bit = 1; *name != '\0'; bit <<= 1) {
		const size_t len = strcspn(name, ",");
		if ((without & bit) != 0)
			json_w_strn(w, name, len);
		name += len + (name[len] == ',');
	}
	json_w_close(w);
}
