/* fuzz.c: what fuzz targets share (fuzz.h). */
#include "tests/fuzz/fuzz.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

void fuzz_check(bool ok, const char *what)
{
	if (ok)
		return;
	fprintf(stderr, "fuzz target: %s\n", what);
	abort();
}

const char *fuzz_file(const void *bytes, size_t len)
{
	static int fd = -1;
	static char path[64];
	if (fd >= 0)
		close(fd);
	fd = memfd_create("fuzz", MFD_CLOEXEC);
	fuzz_check(fd >= 0 && fchmod(fd, 0600) == 0, "no file in memory");
	for (size_t at = 0; at < len;) {
		const ssize_t n = pwrite(fd, (const char *)bytes + at, len - at, (off_t)at);
		fuzz_check(n > 0, "a file in memory cannot be written");
		at += (size_t)n;
	}
	snprintf(path, sizeof(path), "/proc/self/fd/%d", fd);
	return path;
}

void fuzz_add(void (*add)(const void *bytes, size_t len), uint8_t choice, const void *bytes, size_t len)
{
	struct buf seed = BUF_INIT;
	buf_u8(&seed, choice);
	buf_append(&seed, bytes, len);
	fuzz_check(!buf_failed(&seed), "out of memory for a seed");
	add(seed.data, seed.len);
	buf_free(&seed);
}

char *fuzz_text(const void *bytes, size_t len)
{
	char *text = malloc(len + 1);
	fuzz_check(text != NULL, "out of memory");
	if (len > 0)
		memcpy(text, bytes, len);
	text[len] = '\0';
	return text;
}

const uint8_t *fuzz_part(const uint8_t **data, size_t *len, uint8_t end, size_t *part_len)
{
	const uint8_t *part = *data, *at = *len > 0 ? memchr(part, end, *len) : NULL;
	*part_len = at != NULL ? (size_t)(at - part) : *len;
	const size_t taken = at != NULL ? *part_len + 1 : *part_len;
	*data += taken;
	*len -= taken;
	return part;
}
