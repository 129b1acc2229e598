/* import_fixture.h: what the tests of the importer share: a whole file read into one text. */
#ifndef AMEND_TESTS_IMPORT_FIXTURE_H
#define AMEND_TESTS_IMPORT_FIXTURE_H

#include "tests/lib/test.h"

#include "daemon/import.h"

#define IMPORT_FIXTURES "tests/fixtures/import/"

/* "LINE {record}\n" a record and "LINE! reason\n" a bad item, then, unless the file simply ended, "ERR_…: text\n". */
static inline int import_read(const char *path, enum import_format format, struct buf *log)
{
	struct import_file *file = NULL;
	struct err e = ERR_INIT;
	int rc = import_open(path, format, &file, &e);
	while (file != NULL && (rc == 0 || rc == ERR_INVALID)) {
		struct import_row row = { .record = NULL };
		rc = import_next(file, &row, &e);
		if (rc == 0) {
			buf_printf(log, "%zu ", row.line_no);
			buf_append(log, row.text, row.len);
			buf_u8(log, '\n');
			record_destroy(&row.record);
		} else if (rc == ERR_INVALID) {
			buf_printf(log, "%zu! %s\n", row.line_no, e.text);
		}
	}
	if (rc != ERR_NOT_FOUND || file == NULL)
		buf_printf(log, "%s: %s\n", err_name(rc), e.text);
	import_close(&file);
	assert_null(file);
	return rc;
}

static inline void import_expect(const char *path, enum import_format format, const char *wanted)
{
	struct buf log = BUF_INIT;
	(void)import_read(path, format, &log);
	assert_string_equal(buf_cstr(&log), wanted);
	buf_free(&log);
}

/* The text as a file of that name. */
static inline void import_expect_text(const char *folder, const char *name, const char *text, enum import_format format,
				      const char *wanted)
{
	char path[TEST_PATH_BYTES];
	test_path(path, folder, name);
	test_file_write(path, text);
	import_expect(path, format, wanted);
}

#endif
