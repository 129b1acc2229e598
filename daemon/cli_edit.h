/* cli_edit.h: what the edit commands share: finding edits, and waiting for them. */
#ifndef AMEND_DAEMON_CLI_EDIT_H
#define AMEND_DAEMON_CLI_EDIT_H

#include "base/record.h"
#include "daemon/cli.h"

#define CLI_PAGE_EDITS 200

int cli_edit_list_call(struct cli *cli, struct msg_edit_list ask, struct msg_received **reply,
		       struct err *e) MUST_CHECK;
/* The edit of this number; ERR_NOT_FOUND. *reply holds one edit: free it with msg_free. */
int cli_edit_get(struct cli *cli, uint64_t seq, bool payload, struct msg_received **reply, struct err *e) MUST_CHECK;
/* By its id, else its number, else the beginning of its id. ERR_NOT_FOUND; ERR_CONFLICT: the beginning of several. */
int cli_edit_find(struct cli *cli, const char *text, bool payload, struct msg_received **reply,
		  struct err *e) MUST_CHECK;
void cli_edit_id_cell(struct cli *cli, struct cli_table *table, struct msg_text id);
/* --subject, folded; to be freed also after an error. ERR_INVALID. */
int cli_subject_parse(const char *text, struct buf *folded, struct err *e) MUST_CHECK;
/* Whether a record is about it: its subject or an alias of that is it, or, where it names none, its prompt holds it.
 * ERR_NOMEM. */
int cli_edit_about(const struct buf *subject, struct msg_bytes payload, bool *has) MUST_CHECK;
/* What is to be said of a record that is taken all the same: that its prompt does not say its subject. `out` stays
 * empty when there is nothing. ERR_NOMEM. */
int cli_edit_warning(const struct record *record, struct buf *out) MUST_CHECK;
/* Two cells: prompt and target of a record, cut to a table's width. */
void cli_edit_cells(struct cli *cli, struct cli_table *table, struct msg_bytes payload);

/* Waits until this edit is served (or has ended otherwise, which is a failure), and says so. Gives an exit code.
 * Another edit that was lost as this one was trained is a failure too (cli_lost_tell); of one that was served before
 * the wait began nothing is told, unless it `is_new`: this command has submitted it. */
int cli_edit_wait_seq(struct cli *cli, uint64_t seq, const char *id, bool is_new);
/* The same for many, in ascending order, with a progress bar: superseded ones count as ended well. new_seq: the least
 * that this command has submitted; CLI_WAITED_NONE: it found all of them. */
int cli_edit_wait_seqs(struct cli *cli, const uint64_t *seqs, size_t count, uint64_t new_seq);

#define CLI_WAITED_NONE UINT64_MAX
struct cli_waited {
	uint64_t since;       /* the first edit that was waited for; CLI_WAITED_NONE: nothing was */
	const uint64_t *seqs; /* all of them, ascending; count 0: any */
	size_t count;
};
/* Names on stderr the edits that had been trained and, since, were lost in the shards of those waited for, the first
 * twenty of them but with --verbose, and what to do next. CLI_FAILED when there are such, with their count; a key that
 * sees its own edits only hears of its own. */
int cli_lost_tell(struct cli *cli, const struct cli_waited *waited, uint64_t *count);
/* Likewise, but with --quiet, which of these (ascending) are answered by their own prompt and not by every name of
 * their subject: no failure. */
int cli_unnamed_tell(struct cli *cli, const uint64_t *seqs, size_t count);
int cli_on_conflict_parse(const char *text, enum msg_on_conflict *out, struct err *e) MUST_CHECK; /* NULL: supersede */

#endif
