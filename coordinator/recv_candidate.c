/* recv_candidate.c: what waits at a gate, and what it changes. */
#include "coordinator/internal.h"

#include <string.h>

static size_t shown(const struct buf *seqs)
{
	const size_t count = seqs->len / sizeof(uint64_t);
	return count < MSG_CANDIDATE_EDITS_MAX ? count : MSG_CANDIDATE_EDITS_MAX;
}

static const char stuck_text[] =
	"; no administrator's key on the list may approve it, as each has submitted an edit that "
	"comes with it: allow another person's key (`amend key allow`), or reject it";

/* What is held back and why; at most ERR_TEXT_BYTES_MAX, as an answer may have. */
static void text_write(struct coordinator *c, char out[ERR_TEXT_BYTES_MAX])
{
	char held[ERR_TEXT_BYTES_MAX];
	const bool stuck = coordinator__candidate_stuck(c);
	coordinator__held_text(c, held, sizeof held);
	coordinator__copy_text(out, ERR_TEXT_BYTES_MAX - (stuck ? sizeof stuck_text - 1 : 0), coordinator__text(held));
	if (stuck)
		strcat(out, stuck_text);
}

void coordinator__recv_candidate(struct coordinator *c, const struct msg_received *received)
{
	struct buf added = BUF_INIT, removed = BUF_INIT, withheld = BUF_INIT;
	struct msg msg = { .type = MSG_CANDIDATE_REPLY };
	struct msg_candidate_reply *reply = &msg.u.candidate_reply;
	struct err e = ERR_INIT;
	char text[ERR_TEXT_BYTES_MAX];
	const struct candidate *candidate = &c->candidate;
	const bool is = candidate->sm.state != CANDIDATE_NONE;
	int rc = is ? coordinator__candidate_changes(c, &added, &removed, &e) : 0;
	if (rc == 0)
		rc = coordinator__withheld_list(c, &withheld, &e);
	reply->withheld = (const void *)withheld.data;
	reply->withheld_count = shown(&withheld);
	reply->withheld_total = (uint32_t)(withheld.len / sizeof(uint64_t));
	text_write(c, text);
	reply->text = coordinator__text(text);
	reply->state = coordinator__text(sm_state_name(&coordinator__candidate_states, candidate->sm.state));
	if (is) {
		reply->version = coordinator__candidate_number(c);
		reply->content = candidate->rec.content;
		reply->made_ms = candidate->rec.published_ms;
		reply->memory_count = candidate->rec.memory_count;
		reply->edit_count = candidate->rec.edit_count;
		reply->added = (const void *)added.data;
		reply->added_count = shown(&added);
		reply->added_total = (uint32_t)(added.len / sizeof(uint64_t));
		reply->canaries = candidate->canaries;
		reply->canaries_changed = candidate->changed;
		reply->blamed = candidate->blamed;
		reply->blamed_count = candidate->blamed_count;
		reply->removed = (const void *)removed.data;
		reply->removed_count = shown(&removed);
		reply->removed_total = (uint32_t)(removed.len / sizeof(uint64_t));
	}
	if (rc == 0)
		coordinator__reply(c, received, &msg);
	else
		coordinator__reply_error(c, received, rc, e.text);
	buf_free(&added);
	buf_free(&removed);
	buf_free(&withheld);
}
