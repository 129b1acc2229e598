/* rot.c: lets a disk rot: changes one bit behind every place where TEXT stands in FILE (old copies of a page stay in
 * it). rot FILE TEXT OFFSET */
#include "base/buf.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#define FILE_BYTES_MAX ((size_t)1 << 30)

static int flip(int fd, const struct buf *file, const char *text, size_t offset, size_t *count, struct err *e)
{
	const uint8_t *at = file->data, *end = file->data + file->len;
	while ((at = memmem(at, (size_t)(end - at), text, strlen(text))) != NULL) {
		size_t place = (size_t)(at++ - file->data) + offset;
		if (place >= file->len)
			break;
		uint8_t byte = file->data[place] ^ 1;
		if (pwrite(fd, &byte, 1, (off_t)place) != 1)
			return err_errno(e, ERR_IO, errno, "writing");
		++*count;
	}
	return *count > 0 ? 0 : err_set(e, ERR_NOT_FOUND, "\"%s\" is not in it", text);
}

int main(int argc, char **argv)
{
	struct buf file = BUF_INIT;
	struct err e = ERR_INIT;
	size_t count = 0;
	if (argc != 4) {
		fprintf(stderr, "usage: rot FILE TEXT OFFSET\n");
		return 2;
	}
	int rc = file_read(argv[1], FILE_BYTES_MAX, &file, &e);
	int fd = rc == 0 ? open(argv[1], O_WRONLY | O_CLOEXEC) : -1;
	if (rc == 0 && fd < 0)
		rc = err_open(&e, errno, "%s", argv[1]);
	if (rc == 0)
		rc = flip(fd, &file, argv[2], strtoul(argv[3], NULL, 10), &count, &e);
	if (fd >= 0)
		close(fd);
	buf_free(&file);
	if (rc != 0)
		fprintf(stderr, "rot: %s: %s\n", argv[1], e.text);
	else
		printf("%zu places\n", count);
	return rc != 0;
}
