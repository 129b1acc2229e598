/* cli_edit.h: what the edit commands share: finding edits, and waiting for them. */
#ifndef AMEND_DAEMON_CLI_EDIT_H
#define AMEND_DAEMON_CLI_EDIT_H

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
/* Two cells: prompt and target of a record, cut to a table's width. */
void cli_edit_cells(struct cli *cli, struct cli_table *table, struct msg_bytes payload);

/* Waits until this edit is served (or has ended otherwise, which is a failure), and says so. Gives an exit code. */
int cli_edit_wait_seq(struct cli *cli, uint64_t seq, const char *id);
/* The same for many, in ascending order, with a progress bar: superseded ones count as ended well. */
int cli_edit_wait_seqs(struct cli *cli, const uint64_t *seqs, size_t count);
int cli_on_conflict_parse(const char *text, enum msg_on_conflict *out, struct err *e) MUST_CHECK; /* NULL: supersede */

#endif
