/* Files of every make: lines, damaged and hostile ones, pipes, compressed ones. */
#include "tests/unit/daemon/import_fixture.h"

#include "base/rng.h"
#include "base/zstd.h"

#include <fcntl.h>
#include <signal.h>
#include <sys/mman.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/time.h>
#include <unistd.h>

#if defined(__SANITIZE_ADDRESS__) || defined(__SANITIZE_THREAD__)
#define SANITIZED 1
#elif defined(__has_feature)
#define SANITIZED (__has_feature(address_sanitizer) || __has_feature(thread_sanitizer))
#else
#define SANITIZED 0
#endif

static void write_bytes(const char *path, const void *bytes, size_t len)
{
	struct err e = ERR_INIT;
	assert_ok(&e, file_write_atomic(path, bytes, len, 0600, &e));
}

static void lines_keep_their_numbers(void **state)
{
	import_expect_text(*state, "f.jsonl",
			   "\xEF\xBB\xBF{\"prompt\":\"a\",\"target_new\":\"t\"}\r\n"
			   "\n   \t\n"
			   "{\"prompt\":\"no end\n"
			   "{\"prompt\": \"b\", \"target_new\": \"t\", \"kept\": 1}",
			   IMPORT_AUTO,
			   "1 {\"prompt\":\"a\",\"target_new\":\"t\"}\n"
			   "4! record: column 17: premature end of input near '\"no end'\n"
			   "5 {\"prompt\": \"b\", \"target_new\": \"t\", \"kept\": 1}\n");
}

static void an_empty_file_has_no_records(void **state)
{
	static const char *const empty[] = { "", "\n \n", "[]", " [ \n ] \n", "\xEF\xBB\xBF" };
	for (size_t i = 0; i < sizeof(empty) / sizeof(empty[0]); i++) {
		import_expect_text(*state, "empty.json", empty[i], IMPORT_AUTO, "");
		import_expect_text(*state, "empty.csv", i < 2 ? empty[i] : "", IMPORT_AUTO, "");
	}
}

static void what_cannot_be_opened_says_so(void **state)
{
	struct import_file *file = NULL;
	struct err e = ERR_INIT;
	char path[TEST_PATH_BYTES];
	test_path(path, *state, "absent");
	assert_int_equal(import_open(path, IMPORT_AUTO, &file, &e), ERR_NOT_FOUND);
	assert_non_null(strstr(e.text, "absent"));
	assert_int_equal(import_open(*state, IMPORT_AUTO, &file, &e), ERR_IO);
	assert_null(file);
}

/* A line over the cap is reported, not truncated, and not kept in memory. */
static void long_lines_are_refused(void **state)
{
	struct buf text = BUF_INIT;
	char path[TEST_PATH_BYTES];
	test_path(path, *state, "long.jsonl");
	buf_printf(&text, "{\"prompt\":\"%0*d\",\"target_new\":\"t\"}\n", RECORD_BYTES_MAX, 1);
	buf_printf(&text, "{\"prompt\":\"%0*d\",\"target_new\":\"t\"}\n", IMPORT_ITEM_BYTES_MAX, 1);
	buf_puts(&text, "{\"prompt\":\"p\",\"target_new\":\"t\"}\n");
	write_bytes(path, text.data, text.len);
	import_expect(path, IMPORT_AUTO,
		      "1! record: 32798 bytes, 32768 are possible\n"
		      "2! record: over 1048576 bytes\n"
		      "3 {\"prompt\":\"p\",\"target_new\":\"t\"}\n");
	buf_free(&text);
}

static void reading_shows_how_far_it_is(void **state)
{
	struct import_file *file = NULL;
	struct import_row row = { .record = NULL };
	struct err e = ERR_INIT;
	char path[TEST_PATH_BYTES];
	test_path(path, *state, "f.jsonl");
	test_file_write(path, "{\"prompt\":\"p\",\"target_new\":\"t\"}\n");
	assert_ok(&e, import_open(path, IMPORT_AUTO, &file, &e));
	assert_int_equal(import_bytes_total(file), 32);
	assert_ok(&e, import_next(file, &row, &e));
	assert_int_equal(import_bytes_read(file), 32);
	assert_int_equal(row.line_no, 1);
	assert_string_equal(row.record->prompt.text, "p");
	record_destroy(&row.record);
	import_close(&file);
	import_close(&file);
}

static void a_damaged_archive_ends_reading(void **state)
{
	struct buf plain = BUF_INIT, packed = BUF_INIT, log = BUF_INIT;
	struct err e = ERR_INIT;
	struct rng rng;
	char path[TEST_PATH_BYTES];
	rng_init(&rng, 3);
	test_path(path, *state, "f.jsonl.zst");
	for (int i = 0; i < 3000; i++)
		buf_printf(&plain, "{\"prompt\":\"p%llu\",\"target_new\":\"t\"}\n", (unsigned long long)rng_u64(&rng));
	assert_ok(&e, zstd_compress(plain.data, plain.len, 3, &packed, &e));
	write_bytes(path, packed.data, packed.len);
	assert_int_equal(import_read(path, IMPORT_AUTO, &log), ERR_NOT_FOUND);
	assert_null(strchr(buf_cstr(&log), '!'));
	write_bytes(path, packed.data, packed.len - 9);
	buf_clear(&log);
	assert_int_equal(import_read(path, IMPORT_AUTO, &log), ERR_CORRUPT);
	assert_non_null(strstr(buf_cstr(&log), "cut short"));
	memset(packed.data + packed.len / 2, 0xFF, 64);
	write_bytes(path, packed.data, packed.len);
	buf_clear(&log);
	assert_int_equal(import_read(path, IMPORT_AUTO, &log), ERR_CORRUPT);
	assert_non_null(strstr(buf_cstr(&log), "f.jsonl.zst: zstd: "));
	buf_free(&plain);
	buf_free(&packed);
	buf_free(&log);
}

/* 50 MB of records in a small archive pass through an address space that grows by less than 16 MB. */
static void memory_is_bounded(void **state)
{
	struct buf block = BUF_INIT, packed = BUF_INIT;
	struct import_file *file = NULL;
	struct err e = ERR_INIT;
	struct rusage before, after;
	char path[TEST_PATH_BYTES];
	size_t count = 0;
	int rc = 0;
	test_path(path, *state, "big.json.zst");
	while (block.len < 10000000)
		buf_printf(&block, "{\"prompt\":\"%08000d\",\"target_new\":\"t\"},\n", 1);
	assert_ok(&e, zstd_compress("[", 1, 1, &packed, &e));
	for (int i = 0; i < 5; i++)
		assert_ok(&e, zstd_compress(block.data, block.len, 1, &packed, &e));
	write_bytes(path, packed.data, packed.len);
	buf_free(&block);
	buf_free(&packed);
	assert_int_equal(getrusage(RUSAGE_SELF, &before), 0);
	assert_ok(&e, import_open(path, IMPORT_AMEND, &file, &e));
	while (rc == 0) {
		struct import_row row;
		rc = import_next(file, &row, &e);
		if (rc != 0)
			break;
		count++;
		record_destroy(&row.record);
	}
	assert_int_equal(rc, ERR_INVALID); /* no ] */
	assert_true(count > 5000);
	import_close(&file);
	assert_int_equal(getrusage(RUSAGE_SELF, &after), 0);
	if (SANITIZED) /* it keeps what was freed for a while */
		return;
	assert_true(after.ru_maxrss - before.ru_maxrss < 16 * 1024);
}

static void on_alarm(int signal_number)
{
	(void)signal_number;
}

/* Ctrl-C ends an import that waits for a silent pipe. The timer repeats: a signal may come before the read has begun.
 */
static void a_silent_pipe_is_interrupted(void **state)
{
	static const char first[] = "{\"prompt\":\"p\",\"target_new\":\"t\"}\n{\"pro";
	struct import_file *file = NULL;
	struct import_row row = { .record = NULL };
	struct err e = ERR_INIT;
	char path[TEST_PATH_BYTES];
	const struct sigaction action = { .sa_handler = on_alarm };
	const struct itimerval often = { { 0, 5000 }, { 0, 5000 } }, never = { { 0, 0 }, { 0, 0 } };
	test_path(path, *state, "pipe");
	assert_int_equal(mkfifo(path, 0600), 0);
	int writer = open(path, O_RDWR | O_CLOEXEC);
	assert_true(writer >= 0);
	assert_int_equal(write(writer, first, strlen(first)), strlen(first));
	assert_ok(&e, import_open(path, IMPORT_AUTO, &file, &e));
	assert_int_equal(import_bytes_total(file), 0);
	assert_ok(&e, import_next(file, &row, &e));
	assert_string_equal(row.record->prompt.text, "p");
	record_destroy(&row.record);
	assert_int_equal(sigaction(SIGALRM, &action, NULL), 0);
	assert_int_equal(setitimer(ITIMER_REAL, &often, NULL), 0);
	assert_int_equal(import_next(file, &row, &e), ERR_INTERRUPTED);
	assert_non_null(strstr(e.text, "pipe"));
	assert_int_equal(setitimer(ITIMER_REAL, &never, NULL), 0);
	signal(SIGALRM, SIG_DFL);
	import_close(&file);
	close(writer);
}

/* --- Mutated inputs: whatever the bytes, reading ends, and what comes out are whole records in the file's order. */

static const char *const seeds[] = { "facts.jsonl",   "zsre.json",   "counterfact.json", "counterfact-flat.json",
				     "knowedit.json", "mquake.json", "hallu.csv" };
#define SEED_COUNT (sizeof(seeds) / sizeof(seeds[0]))

/* A file in memory: thousands of versions of it are read. */
struct seed {
	int fd;
	enum import_format format;
	struct buf bytes;
};

static void check_bytes(const struct seed *seed, const struct buf *bytes, size_t calls_max)
{
	char path[64];
	snprintf(path, sizeof(path), "/proc/self/fd/%d", seed->fd);
	assert_int_equal(ftruncate(seed->fd, 0), 0);
	assert_int_equal(pwrite(seed->fd, bytes->data, bytes->len, 0), bytes->len);

	struct import_file *file = NULL;
	struct err e = ERR_INIT;
	size_t calls = 0, line_no = 0;
	int rc = import_open(path, seed->format, &file, &e);
	while (file != NULL && (rc == 0 || rc == ERR_INVALID)) {
		struct import_row row = { .record = NULL };
		rc = import_next(file, &row, &e);
		assert_true(++calls <= calls_max);
		if (rc != 0 && rc != ERR_INVALID)
			break;
		assert_true(row.line_no >= line_no && row.line_no > 0);
		line_no = row.line_no;
		if (rc == 0) {
			assert_true(row.len > 0 && row.text[0] != '\0' && row.record->prompt.len > 0);
			record_destroy(&row.record);
		} else {
			assert_true(e.text[0] != '\0');
		}
	}
	if (file != NULL && rc != ERR_NOT_FOUND && rc != ERR_CORRUPT)
		fail_msg("%s: %s: %s", path, err_name(rc), e.text);
	import_close(&file);
}

/* Changes, removes, doubles or swaps a few bytes, with a liking for those that mean something. */
static void mutate(struct rng *rng, struct buf *bytes)
{
	static const char special[] = "\"\"[]{},:\\\n\r\0 \t'n0-\xFF\x80\xEF";
	for (uint64_t n = 1 + rng_u64(rng) % 4; n > 0 && bytes->len > 1; n--) {
		size_t at = rng_u64(rng) % bytes->len, other = rng_u64(rng) % bytes->len;
		size_t len = 1 + rng_u64(rng) % (bytes->len - at);
		switch (rng_u64(rng) % 4) {
		case 0:
			bytes->data[at] = (uint8_t)special[rng_u64(rng) % (sizeof(special) - 1)];
			break;
		case 1:
			memmove(bytes->data + at, bytes->data + at + len, bytes->len - at - len);
			bytes->len -= len;
			break;
		case 2:
			if (bytes->len < 20000) {
				struct buf copy = BUF_INIT;
				buf_append(&copy, bytes->data + at, len);
				buf_append(bytes, copy.data, copy.len);
				buf_free(&copy);
			}
			break;
		default: {
			uint8_t kept = bytes->data[at];
			bytes->data[at] = bytes->data[other];
			bytes->data[other] = kept;
		}
		}
	}
}

static void for_each_seed(void (*run)(struct seed *seed))
{
	for (size_t i = 0; i < SEED_COUNT; i++) {
		struct seed seed = { memfd_create("seed", MFD_CLOEXEC), IMPORT_AUTO, BUF_INIT };
		struct err e = ERR_INIT;
		char from[TEST_PATH_BYTES];
		assert_true(seed.fd >= 0);
		if (strstr(seeds[i], ".csv") != NULL) /* the name of a file in memory does not say so */
			seed.format = IMPORT_HALLU_CSV;
		snprintf(from, sizeof(from), IMPORT_FIXTURES "%s", seeds[i]);
		assert_ok(&e, file_read(from, 1 << 20, &seed.bytes, &e));
		run(&seed);
		buf_free(&seed.bytes);
		close(seed.fd);
	}
}

static void cut_everywhere(struct seed *seed)
{
	for (; seed->bytes.len > 0; seed->bytes.len--)
		check_bytes(seed, &seed->bytes, 2 * seed->bytes.len + 4);
}

static void mutate_rounds(const struct seed *seed, const struct buf *bytes, int rounds, size_t calls_max)
{
	struct rng rng;
	rng_init(&rng, 11);
	for (int round = 0; round < rounds; round++) {
		struct buf copy = BUF_INIT;
		buf_append(&copy, bytes->data, bytes->len);
		mutate(&rng, &copy);
		check_bytes(seed, &copy, calls_max);
		buf_free(&copy);
	}
}

static void mutate_often(struct seed *seed)
{
	mutate_rounds(seed, &seed->bytes, 1000, 50000);
}

static void mutate_packed(struct seed *seed)
{
	struct buf packed = BUF_INIT;
	struct err e = ERR_INIT;
	assert_ok(&e, zstd_compress(seed->bytes.data, seed->bytes.len, 3, &packed, &e));
	mutate_rounds(seed, &packed, 300, 100000000);
	buf_free(&packed);
}

static void files_cut_anywhere_are_read_to_their_end(void **state)
{
	(void)state;
	for_each_seed(cut_everywhere);
}

static void mutated_files_are_read_to_their_end(void **state)
{
	(void)state;
	for_each_seed(mutate_often);
}

static void mutated_archives_are_read_to_their_end(void **state)
{
	(void)state;
	for_each_seed(mutate_packed);
}

#define T(test) cmocka_unit_test_setup_teardown(test, test_setup_folder, test_teardown_folder)

int main(void)
{
	const struct CMUnitTest tests[] = {
		T(lines_keep_their_numbers),
		T(an_empty_file_has_no_records),
		T(what_cannot_be_opened_says_so),
		T(long_lines_are_refused),
		T(reading_shows_how_far_it_is),
		T(a_damaged_archive_ends_reading),
		T(memory_is_bounded),
		T(a_silent_pipe_is_interrupted),
		cmocka_unit_test(files_cut_anywhere_are_read_to_their_end),
		cmocka_unit_test(mutated_files_are_read_to_their_end),
		cmocka_unit_test(mutated_archives_are_read_to_their_end),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
