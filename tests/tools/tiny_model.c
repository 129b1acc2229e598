/* tiny-model OUT SEED: writes the small random model that integration scripts serve. */
#include "tests/lib/tiny_model.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>

int main(int argc, char **argv)
{
	struct err e = ERR_INIT;
	char *end = NULL;

	errno = 0;
	const unsigned long long seed = argc == 3 ? strtoull(argv[2], &end, 10) : 0;
	if (argc != 3 || end == argv[2] || *end != '\0' || errno) {
		fprintf(stderr, "usage: %s OUT SEED\nWrites a small random model to the file OUT. SEED is a number.\n",
			argv[0]);
		return 2;
	}
	if (tiny_model_write(argv[1], seed, &e)) {
		fprintf(stderr, "tiny-model: %s\n", e.text);
		return 1;
	}
	return 0;
}
