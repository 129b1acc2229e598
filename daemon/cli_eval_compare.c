/* cli_eval_compare.c: `amend eval compare A B`: two reports side by side. */
#include "daemon/cli.h"
#include "daemon/eval_compare.h"

#include <limits.h>
#include <stdio.h>
#include <sys/stat.h>

#define REPORT_BYTES_MAX (1ull << 30)

/* A file, or the report.json of a report's folder. */
static int report_read(const char *given, struct json **out, struct err *e)
{
	char path[PATH_MAX];
	struct buf text = BUF_INIT;
	struct stat s;
	const bool folder = stat(given, &s) == 0 && S_ISDIR(s.st_mode);
	if (snprintf(path, sizeof(path), "%s%s", given, folder ? "/report.json" : "") >= (int)sizeof(path))
		return err_set(e, ERR_LIMIT, "%.200s…: the path is too long", given);
	int rc = file_read(path, REPORT_BYTES_MAX, &text, e);
	if (rc == 0) {
		rc = json_parse(buf_cstr(&text), text.len, out, e);
		if (rc != 0)
			err_wrap(e, "%s", path);
	}
	buf_free(&text);
	return rc;
}

static void row_put(struct cli_table *table, long long t_a, long long t_b, const struct json *figure)
{
	const double low = json_number(json_get(figure, "low")), high = json_number(json_get(figure, "high"));
	if (t_a == t_b)
		cli_table_cell(table, "%lld", t_a);
	else
		cli_table_cell(table, "%lld, %lld", t_a, t_b);
	cli_table_cell(table, "%s", json_string(json_get(figure, "figure"), NULL));
	cli_table_cell(table, "%.3f", json_number(json_get(figure, "a")));
	cli_table_cell(table, "%.3f", json_number(json_get(figure, "b")));
	cli_table_cell(table, "%+.3f", json_number(json_get(figure, "difference")));
	cli_table_cell(table, "%+.3f to %+.3f%s", low, high, low > 0 || high < 0 ? " *" : "");
	cli_table_cell(table, "%lld%s", (long long)json_integer(json_get(figure, "rows")),
		       json_bool(json_get(figure, "paired")) ? "" : " (not paired)");
}

static int table_print(struct cli *cli, const struct json *comparison)
{
	static const char *const headers[] = { "T", "FIGURE", "A", "B", "B-A", "95 % INTERVAL", "ROWS" };
	const struct json *checkpoints = json_get(comparison, "checkpoints");
	struct cli_table *table = NULL;
	if (cli_table_new(headers, 7, &table) != 0)
		return cli_out_of_memory(cli);
	for (size_t c = 0; c < json_length(checkpoints); c++) {
		const struct json *checkpoint = json_at(checkpoints, c), *figures = json_get(checkpoint, "figures");
		for (size_t f = 0; f < json_length(figures); f++)
			row_put(table, (long long)json_integer(json_get(checkpoint, "t_a")),
				(long long)json_integer(json_get(checkpoint, "t_b")), json_at(figures, f));
	}
	return cli_table_print(cli, &table);
}

static int comparison_show(struct cli *cli, struct buf *text)
{
	struct json *comparison = NULL;
	if (cli_is_structured(cli))
		return cli_emit(cli, text);
	if (json_parse(buf_cstr(text), text->len, &comparison, NULL) != 0)
		return cli_out_of_memory(cli);
	const int status = table_print(cli, comparison);
	json_free(&comparison);
	if (status == CLI_OK && !cli->quiet) {
		fflush(stdout);
		fprintf(stderr, "* the interval leaves out 0; %u resamples\n", EVAL_RESAMPLES);
	}
	return status;
}

int cli_eval_compare(struct cli *cli, const struct cli_args *args)
{
	struct json *a = NULL, *b = NULL;
	struct buf text = BUF_INIT;
	struct err e = ERR_INIT;
	int rc = report_read(args->words[0], &a, &e);
	if (rc == 0)
		rc = report_read(args->words[1], &b, &e);
	if (rc == 0)
		rc = eval_compare(a, b, EVAL_RESAMPLES, 1, &text, &e);
	const int status = rc == 0 ? comparison_show(cli, &text) : cli_fail(cli, &e);
	json_free(&a);
	json_free(&b);
	buf_free(&text);
	return status;
}
