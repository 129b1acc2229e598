/* amend-merge: one rank of a merge. Started by mpirun under the coordinator's merge runner, which judges it by its
 * output file alone. */
#include "base/fault.h"
#include "daemon/cli.h"
#include "worker/merge_rank.h"
#include "worker/reduce_mpi.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum exit_code {
	EXIT_OK = 0,
	EXIT_FAILED = 1,
	EXIT_USAGE = 2,
	EXIT_NOT_FOUND = 3,
	EXIT_VERIFY = 7,
	EXIT_INTERRUPTED = 130
};

#define THREADS_MAX 1024

static const char usage[] =
	"usage: amend-merge --plan FILE --model FILE --output FILE [--threads N] [--backend NAME]\n"
	"One rank of a merge; run it under mpirun, or alone as the only rank.\n"
	"  --plan FILE     the plan; its inputs stand beside it\n"
	"  --model FILE    the base model (GGUF)\n"
	"  --output FILE   what rank 0 writes\n"
	"  --threads N     threads of this rank (default 1)\n"
	"  --backend NAME  cpu, cuda or reference (default cpu)\n"
	"Exit codes: 0 done, 1 failed, 2 usage, 3 a file is missing, 7 an input does not match the plan.\n";

static int parse_threads(const char *text, size_t *out)
{
	char *end;
	unsigned long n = strtoul(text, &end, 10);
	if (text[0] < '0' || text[0] > '9' || *end != '\0' || n < 1 || n > THREADS_MAX)
		return -1;
	*out = n;
	return 0;
}

static int parse(int argc, char **argv, struct worker_merge_rank_options *o)
{
	for (int i = 1; i < argc; i += 2) {
		const char *value = i + 1 < argc ? argv[i + 1] : NULL;
		bool known = value != NULL;
		if (value != NULL && strcmp(argv[i], "--plan") == 0)
			o->plan_path = value;
		else if (value != NULL && strcmp(argv[i], "--model") == 0)
			o->model_path = value;
		else if (value != NULL && strcmp(argv[i], "--output") == 0)
			o->output_path = value;
		else if (value != NULL && strcmp(argv[i], "--backend") == 0)
			o->backend = value;
		else
			known = value != NULL && strcmp(argv[i], "--threads") == 0 &&
				parse_threads(value, &o->thread_count) == 0;
		if (!known) {
			cli_line(stderr, "amend-merge: %s: unknown, or its value is missing or wrong", argv[i]);
			fputs(usage, stderr);
			return EXIT_USAGE;
		}
	}
	if (o->plan_path != NULL && o->model_path != NULL && o->output_path != NULL)
		return EXIT_OK;
	fprintf(stderr, "amend-merge: --plan, --model and --output are needed\n%s", usage);
	return EXIT_USAGE;
}

static int on_progress(void *context, const char *phase, size_t done, size_t total, double loss)
{
	(void)context;
	(void)phase;
	(void)loss;
	fprintf(stderr, "progress %zu %zu\n", done, total);
	return 0;
}

static int exit_of(int rc)
{
	switch (rc) {
	case 0:
		return EXIT_OK;
	case ERR_NOT_FOUND:
		return EXIT_NOT_FOUND;
	case ERR_CORRUPT:
	case ERR_MISMATCH:
		return EXIT_VERIFY;
	case ERR_INTERRUPTED:
		return EXIT_INTERRUPTED;
	default:
		return EXIT_FAILED;
	}
}

int main(int argc, char **argv)
{
	struct err e = ERR_INIT;
	const struct editor_watch watch = { .on_progress = on_progress };
	struct worker_merge_rank_options options = { .backend = "cpu", .thread_count = 1, .watch = &watch };
	if (argc == 2 && (strcmp(argv[1], "--help") == 0 || strcmp(argv[1], "-h") == 0)) {
		fputs(usage, stdout);
		return EXIT_OK;
	}
	if (argc == 2 && strcmp(argv[1], "--version") == 0) {
		printf("amend-merge %s\n", AMEND_VERSION);
		return EXIT_OK;
	}
	int code = parse(argc, argv, &options);
	if (code != EXIT_OK)
		return code;
	struct editor_reduce reduce;
	int rc = fault_init_from_env(&e);
	if (rc == 0)
		rc = worker_reduce_mpi_init(&argc, &argv, &reduce, &e);
	if (rc != 0) {
		cli_line(stderr, "amend-merge: %s", e.text);
		return exit_of(rc);
	}
	rc = worker_merge_rank_run(&options, &reduce, &e);
	if (rc != 0)
		cli_line(stderr, "amend-merge: rank %zu: %s", reduce.rank, e.text);
	if (reduce.broken && reduce.rank_count > 1)
		worker_reduce_mpi_abort(EXIT_FAILED); /* the others may wait in a collective for ever */
	worker_reduce_mpi_fini();
	return exit_of(rc);
}
