/* Settings: a configuration file, then flags, a word a line behind a zero byte. What is read must be readable once more
 * as `amend config view` shows it, with the same result.
 * Limits: -max_len=16384 -malloc_limit_mb=8 -rss_limit_mb=1024 */
#include "tests/fuzz/fuzz.h"

#include "daemon/config.h"

#include <stdlib.h>
#include <string.h>

#define WORDS_MAX 32

static void view(const struct daemon_config *config, struct buf *out)
{
	buf_clear(out);
	conf_view(&daemon_config_table, config, UINT32_MAX, out);
	fuzz_check(!buf_failed(out), "out of memory");
}

static void check_view(const struct daemon_config *config)
{
	struct daemon_config again = { 0 };
	struct buf once = BUF_INIT, twice = BUF_INIT;
	struct err e = ERR_INIT;
	fuzz_check(conf_init(&daemon_config_table, &again, &e) == 0, "out of memory");
	view(config, &once);
	const int rc = conf_load_file(&daemon_config_table, &again, fuzz_file(once.data, once.len), &e);
	fuzz_check(rc == 0, e.text);
	view(&again, &twice);
	fuzz_check(once.len == twice.len && memcmp(once.data, twice.data, once.len) == 0,
		   "settings changed by being shown and read");
	buf_clear(&once);
	conf_view_json(&daemon_config_table, config, UINT32_MAX, &once);
	buf_free(&once);
	buf_free(&twice);
	conf_fini(&daemon_config_table, &again);
}

static void flags(struct daemon_config *config, const uint8_t *data, size_t len)
{
	char *argv[WORDS_MAX + 2] = { fuzz_text("amendd", 6) };
	int argc = 1;
	struct err e = ERR_INIT;
	while (len > 0 && argc <= WORDS_MAX) {
		size_t word_len;
		const uint8_t *word = fuzz_part(&data, &len, '\n', &word_len);
		argv[argc++] = fuzz_text(word, word_len);
	}
	char *all[WORDS_MAX + 2];
	const int count = argc;
	memcpy(all, argv, sizeof(all));
	(void)!conf_parse_flags(&daemon_config_table, config, &argc, argv, &e);
	for (int i = 0; i < count; i++)
		free(all[i]);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t len)
{
	struct daemon_config config = { 0 };
	struct err e = ERR_INIT;
	size_t file_len;
	const uint8_t *file = fuzz_part(&data, &len, 0, &file_len);
	fuzz_check(conf_init(&daemon_config_table, &config, &e) == 0, "out of memory");
	const int rc = conf_load_file(&daemon_config_table, &config, fuzz_file(file, file_len), &e);
	if (len > 0)
		flags(&config, data, len);
	if (rc == 0)
		check_view(&config);
	conf_fini(&daemon_config_table, &config);
	return 0;
}

void fuzz_seeds(void (*add)(const void *bytes, size_t len))
{
	static const char small[] =
		"model: \"a #b\"\nmerge: {every_edits: 10, interval_ms: 5}\nwise:\n  alpha: 1.5e1\n  prefixes: no\n"
		"set: merged\n\0--seed\n7\n--wise.alpha=3\n--no-wise.prefixes\n--\nfile";
	static const char alias[] = "name: &a [x, *a]\nother: !!int 3\n? {a: b}\n: |\n  text\n";
	struct buf sample = BUF_INIT;
	conf_sample(&daemon_config_table, DAEMON_ALL, &sample);
	add(sample.data, sample.len);
	buf_free(&sample);
	add(small, sizeof(small) - 1);
	add(alias, sizeof(alias) - 1);
}
