/* driver.c: main of a fuzz target without libFuzzer, so that what fuzzing found stays found with any compiler.
 *   TARGET                 runs its seeds, each also cut short and with single bits changed, and its regressions
 *   TARGET FILE...         runs these files: how a finding is replayed
 *   TARGET --seeds FOLDER  writes the seeds as files: where libFuzzer begins
 * From the root of the repository, as tests/run calls it. */
#include "tests/fuzz/fuzz.h"

#include <dirent.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define FILE_BYTES_MAX ((size_t)16 << 20)
#define CHANGES        16 /* of each kind, of a seed */

static const char *folder;
static size_t run_count;

/* In memory of just this length, so that a sanitizer sees a read behind it. */
static void run(const void *bytes, size_t len)
{
	uint8_t *copy = malloc(len > 0 ? len : 1);
	fuzz_check(copy != NULL, "out of memory");
	if (len > 0)
		memcpy(copy, bytes, len);
	(void)LLVMFuzzerTestOneInput(copy, len);
	free(copy);
	run_count++;
}

static void run_changed(const void *bytes, size_t len)
{
	uint8_t *copy = malloc(len > 0 ? len : 1);
	fuzz_check(copy != NULL, "out of memory");
	run(bytes, len);
	for (size_t i = 0; i < CHANGES && len > 0; i++) {
		const size_t at = i * len / CHANGES;
		run(bytes, at);
		memcpy(copy, bytes, len);
		copy[at] = (uint8_t)(copy[at] ^ 1u << i % 8);
		run(copy, len);
	}
	free(copy);
}

static void run_file(const char *path)
{
	struct buf bytes = BUF_INIT;
	struct err e = ERR_INIT;
	printf("%s\n", path);
	fflush(stdout); /* says which one it was, should it end here */
	if (file_read(path, FILE_BYTES_MAX, &bytes, &e) != 0) {
		fprintf(stderr, "%s\n", e.text);
		exit(2);
	}
	run(bytes.data, bytes.len);
	buf_free(&bytes);
}

static size_t run_folder(const char *path)
{
	char name[1024];
	size_t count = 0;
	DIR *dir = opendir(path);
	for (const struct dirent *d; dir != NULL && (d = readdir(dir)) != NULL;) {
		if (d->d_name[0] == '.')
			continue;
		snprintf(name, sizeof(name), "%s/%s", path, d->d_name);
		run_file(name);
		count++;
	}
	if (dir != NULL)
		closedir(dir);
	return count;
}

/* Where there is not even the folder of all targets' regressions, this runs elsewhere than it says. */
static void regressions_expect(const char *path)
{
	DIR *dir = opendir(path);
	if (dir == NULL) {
		fprintf(stderr, "%s: not here: run this from the root of the repository\n", path);
		exit(2);
	}
	closedir(dir);
}

static void write_seed(const void *bytes, size_t len)
{
	char path[1024];
	struct err e = ERR_INIT;
	snprintf(path, sizeof(path), "%s/seed-%03zu", folder, run_count++);
	if (file_write_atomic(path, bytes, len, 0600, &e) != 0) {
		fprintf(stderr, "%s\n", e.text);
		exit(2);
	}
}

int main(int argc, char **argv)
{
	const char *slash = strrchr(argv[0], '/'), *program = slash != NULL ? slash + 1 : argv[0];
	const char *name = strncmp(program, "fuzz_", 5) == 0 ? program + 5 : program;
	char path[512];
	if (argc == 3 && strcmp(argv[1], "--seeds") == 0) {
		folder = argv[2];
		fuzz_seeds(write_seed);
		return 0;
	}
	for (int i = 1; i < argc; i++)
		run_file(argv[i]);
	if (argc > 1)
		return 0;
	regressions_expect("tests/fuzz/regressions");
	fuzz_seeds(run_changed);
	printf("ok %s: %zu inputs of seeds\n", name, run_count);
	snprintf(path, sizeof(path), "tests/fuzz/regressions/%s", name);
	printf("ok %s: %zu regressions\n", name, run_folder(path));
	return 0;
}
