#include "tests/lib/tokenizer_file.h"

#include "model/gguf.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

int tokenizer_file_open(struct gguf_write *w, struct model_gguf **out, struct err *e)
{
	const char *folder = getenv("TMPDIR");
	char path[512];
	int rc = 0;

	snprintf(path, sizeof(path), "%s/amend-tokenizer.XXXXXX", folder && *folder ? folder : "/tmp");
	const int fd = mkstemp(path);
	if (fd < 0)
		rc = err_errno(e, ERR_IO, errno, "create %s", path);
	else
		(void)close(fd);
	rc = rc ? rc : gguf_write_file(w, path, e);
	rc = rc ? rc : model_gguf_open(path, out, e);
	if (fd >= 0)
		(void)unlink(path);
	gguf_write_fini(w);
	return rc;
}

void tokenizer_file_write(const struct tokenizer_file *file, struct gguf_write *w)
{
	gguf_write_init(w);
	gguf_write_string(w, "tokenizer.ggml.model", "gpt2");
	gguf_write_string(w, "tokenizer.ggml.pre", file->pre);
	gguf_write_strings(w, "tokenizer.ggml.tokens", file->tokens, file->token_count);
	gguf_write_i32s(w, "tokenizer.ggml.token_type", file->types, file->token_count);
	gguf_write_strings(w, "tokenizer.ggml.merges", file->merges, file->merge_count);
}
