/* recv_node_status.c: which version a node answers from. */
#include "coordinator/internal.h"

static bool content_matches(struct coordinator *c, const struct msg_node_status *status)
{
	struct store_txn *txn = NULL;
	struct store_version rec;
	struct err e = ERR_INIT;
	if (status->version == 0)
		return true;
	if (status->version == c->version)
		return hash_equal(&status->content, &c->version_content);
	int rc = store_begin_read(c->store, &txn, &e);
	if (rc == 0)
		rc = store_version_get(txn, status->version, &rec, &e);
	store_abort(&txn);
	return rc == 0 && hash_equal(&status->content, &rec.content);
}

void coordinator__recv_node_status(struct coordinator *c, const struct msg_received *received)
{
	const struct msg_node_status *status = &received->msg.u.node_status;
	struct peer *peer = coordinator__peer_find(c, received->peer_key, MSG_PEER_NODE);
	if (peer == NULL || peer->route != received->route) {
		coordinator__unknown(c, received);
		return;
	}
	peer->seen_ms = coordinator__now_ms(c);
	peer->resident_bytes = status->resident_bytes;
	coordinator__copy_text(peer->state, sizeof peer->state, status->state);
	peer->failed_version = status->failed_version;
	coordinator__copy_text(peer->failed_reason, sizeof peer->failed_reason, status->failed_reason);
	coordinator__copy_text(peer->source, sizeof peer->source, status->source);
	if (status->version != peer->version && !content_matches(c, status)) {
		log_event(LOG_WARN, "COORDINATOR-NODE-CONTENT-UNKNOWN", LOGF_S("peer", peer->name),
			  LOGF_U("version", status->version), LOGF_X("content", status->content.bytes, 8));
		return; /* another history: what it serves is not what we published */
	}
	if (status->version != peer->version) {
		peer->version = status->version;
		c->nodes_changed = true;
		if (c->peer_count <= 64) /* larger fleets: once a tick */
			coordinator__served_advance(c);
	}
}
