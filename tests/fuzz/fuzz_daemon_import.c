/* Files of edits in every form. The first byte: the format, and from 8 on the rest is compressed here, so that changes
 * reach what a .zst file holds. Every record that comes out parses again, to the same id.
 * Limits: -max_len=65536 -malloc_limit_mb=16 -rss_limit_mb=1024 */
#include "tests/fuzz/fuzz.h"

#include "base/zstd.h"
#include "daemon/import.h"

#include <stdio.h>
#include <string.h>

#define FORMATS    (IMPORT_HALLU_CSV + 1)
#define COMPRESSED 8

static void check_row(struct import_row *row)
{
	struct record *again = NULL;
	struct err e = ERR_INIT;
	fuzz_check(record_parse(row->text, row->len, &again, &e) == 0, "a record that was imported does not parse");
	fuzz_check(strcmp(again->id.text, row->record->id.text) == 0, "a record has two ids");
	record_destroy(&again);
	record_destroy(&row->record);
}

static void import(const char *path, enum import_format format)
{
	struct import_file *file = NULL;
	struct err e = ERR_INIT;
	int rc = import_open(path, format, &file, &e);
	while (file != NULL && (rc == 0 || rc == ERR_INVALID)) {
		struct import_row row = { .record = NULL };
		rc = import_next(file, &row, &e);
		if (rc == 0)
			check_row(&row);
	}
	import_close(&file);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t len)
{
	struct buf packed = BUF_INIT;
	if (len == 0)
		return 0;
	const enum import_format format = (enum import_format)(data[0] % COMPRESSED % FORMATS);
	if ((data[0] & COMPRESSED) != 0) {
		fuzz_check(zstd_compress(data + 1, len - 1, 1, &packed, NULL) == 0, "out of memory");
		import(fuzz_file(packed.data, packed.len), format);
	} else {
		import(fuzz_file(data + 1, len - 1), format);
	}
	buf_free(&packed);
	return 0;
}

void fuzz_seeds(void (*add)(const void *bytes, size_t len))
{
	static const struct {
		const char *name;
		enum import_format format;
	} files[] = {
		{ "facts.jsonl", IMPORT_AMEND },
		{ "zsre.json", IMPORT_ZSRE },
		{ "counterfact.json", IMPORT_COUNTERFACT },
		{ "counterfact-flat.json", IMPORT_AUTO },
		{ "knowedit.json", IMPORT_KNOWEDIT },
		{ "mquake.json", IMPORT_MQUAKE },
		{ "hallu.csv", IMPORT_HALLU_CSV },
	};
	for (size_t i = 0; i < sizeof(files) / sizeof(files[0]); i++) {
		char path[128];
		struct buf bytes = BUF_INIT;
		struct err e = ERR_INIT;
		snprintf(path, sizeof(path), "tests/fixtures/import/%s", files[i].name);
		fuzz_check(file_read(path, 65536, &bytes, &e) == 0, e.text);
		fuzz_add(add, (uint8_t)files[i].format, bytes.data, bytes.len);
		fuzz_add(add, IMPORT_AUTO, bytes.data, bytes.len);
		fuzz_add(add, (uint8_t)(files[i].format | COMPRESSED), bytes.data, bytes.len);
		buf_free(&bytes);
	}
}
