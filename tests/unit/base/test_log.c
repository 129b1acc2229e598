#include "tests/lib/test.h"

#include "base/err.h"
#include "base/log.h"

#include <unistd.h>

struct capture {
	int read_fd, write_fd;
	char text[8192];
};

static int setup(void **state)
{
	struct capture *c = calloc(1, sizeof(*c));
	int fds[2];
	if (c == NULL || pipe(fds) != 0)
		return -1;
	c->read_fd = fds[0];
	c->write_fd = fds[1];
	log_fd_set(c->write_fd);
	*state = c;
	return 0;
}

static int teardown(void **state)
{
	struct capture *c = *state;
	log_fd_set(-1);
	log_level_set(LOG_INFO);
	log_context_set("");
	close(c->read_fd);
	close(c->write_fd);
	free(c);
	return 0;
}

/* All that was logged so far; a marker line makes sure that the read does not block. */
static const char *taken(struct capture *c)
{
	assert_int_equal(write(c->write_fd, "#", 1), 1);
	ssize_t got = read(c->read_fd, c->text, sizeof(c->text) - 1);
	assert_true(got > 0);
	c->text[got - 1] = '\0';
	return c->text;
}

static void one_line(void **state)
{
	log_context_set("role=worker");
	log_event(LOG_INFO, "TEST-ONE", LOGF_S("path", "/a/b"), LOGF_I("i", -3), LOGF_U("u", UINT64_MAX),
		  LOGF_F("f", 0.5), LOGF_X("h", "\x01\xFE", 2), LOGF_SN("n", "abcdef", 3));
	const char *line = taken(*state);
	assert_memory_equal(line, "ts=20", 5);
	assert_non_null(strstr(line, "Z level=info id=TEST-ONE role=worker path=/a/b i=-3 u=18446744073709551615 f=0.5 "
				     "h=01fe n=abc\n"));
}

static void escapes(void **state)
{
	log_event(LOG_WARN, "TEST-TWO", LOGF_S("v", "a \"b\"\\\n\x1b[31m\xff\xe2\x80\xaeé"), LOGF_S("empty", ""),
		  LOGF_S("null", NULL));
	const char *line = taken(*state);
	assert_non_null(strstr(line, " v=\"a \\\"b\\\"\\\\\\x0A\\x1B[31m\\xFF\\u{202E}é\" empty=\"\" null=\"\"\n"));
	assert_ptr_equal(strchr(line, '\n'), line + strlen(line) - 1);
}

static void levels(void **state)
{
	enum log_level level;
	log_event(LOG_DEBUG, "TEST-DEBUG", LOGF_I("i", 1));
	log_level_set(LOG_ERROR);
	log_event(LOG_WARN, "TEST-WARN", LOGF_I("i", 1));
	log_event(LOG_ERROR, "TEST-ERROR", LOGF_I("i", 1));
	log_level_set(LOG_OFF);
	log_event(LOG_ERROR, "TEST-OFF", LOGF_I("i", 1));
	const char *text = taken(*state);
	assert_null(strstr(text, "TEST-DEBUG"));
	assert_null(strstr(text, "TEST-WARN"));
	assert_non_null(strstr(text, "level=error id=TEST-ERROR"));
	assert_null(strstr(text, "TEST-OFF"));
	assert_int_equal(log_level_parse("warn", &level), 0);
	assert_int_equal(level, LOG_WARN);
	assert_int_equal(log_level_parse("loud", &level), ERR_INVALID);
}

static void long_lines_are_cut(void **state)
{
	char big[6000];
	memset(big, 'x', sizeof(big) - 1);
	big[sizeof(big) - 1] = '\0';
	big[10] = ' '; /* so that it is quoted */
	log_event(LOG_INFO, "TEST-LONG", LOGF_S("v", big), LOGF_I("after", 1));
	const char *line = taken(*state);
	size_t len = strlen(line);
	assert_true(len <= 4096 && len > 4000);
	assert_string_equal(line + len - 11, "\" cut=true\n");
}

/* Wherever the limit falls, a quote that was opened is closed, and none is closed that was not opened. */
static void cut_lines_have_their_quotes_in_pairs(void **state)
{
	char first[5000];
	for (size_t len = 3950; len < 4090; len++) {
		memset(first, 'x', len);
		first[len] = '\0';
		log_event(LOG_INFO, "TEST-LONG", LOGF_S("v", first), LOGF_S("w", "two words"), LOGF_S("u", "and more"));
		const char *line = taken(*state);
		size_t quotes = 0;
		for (const char *at = strchr(line, '"'); at != NULL; at = strchr(at + 1, '"'))
			quotes++;
		if (quotes % 2 != 0)
			fail_msg("%zu bytes: %zu quotes: …%s", len, quotes, line + strlen(line) - 60);
	}
}

#define WITH_CAPTURE(f) cmocka_unit_test_setup_teardown(f, setup, teardown)

int main(void)
{
	const struct CMUnitTest tests[] = {
		WITH_CAPTURE(one_line),
		WITH_CAPTURE(escapes),
		WITH_CAPTURE(levels),
		WITH_CAPTURE(long_lines_are_cut),
		WITH_CAPTURE(cut_lines_have_their_quotes_in_pairs),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
