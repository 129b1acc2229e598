/* messages_admin.c: random messages of administrators. */
#include "tests/lib/messages_random.h"

static struct msg_key key(struct source *s)
{
	struct msg_key key = { .roles = (uint32_t)rng_below(s->rng, 32), .name = text(s, 64) };
	memcpy(key.key, hash(s).bytes, sizeof(key.key));
	return key;
}

static void fill_key_list_reply(struct source *s, struct msg_key_list_reply *m)
{
	m->key_count = some(s);
	struct msg_key *keys = many(s, m->key_count, sizeof(*keys));
	for (size_t i = 0; i < m->key_count; i++)
		keys[i] = key(s);
	m->keys = keys;
	m->total = u32(s);
}

static void fill_event_list_reply(struct source *s, struct msg_event_list_reply *m)
{
	m->event_count = some(s);
	struct msg_event *events = many(s, m->event_count, sizeof(*events));
	for (size_t i = 0; i < m->event_count; i++) {
		events[i] = (struct msg_event){ .seq = seq(s),
						.type = u32(s),
						.time_ms = when(s),
						.actor_name = text(s, 64),
						.edit = text(s, 159),
						.payload = bytes(s, 0, 900),
						.omitted = coin(s) };
		memcpy(events[i].actor, hash(s).bytes, sizeof events[i].actor);
	}
	m->events = events;
	m->next_seq = u64(s);
	m->last_seq = u64(s);
}

static void fill_candidate_reply(struct source *s, struct msg_candidate_reply *m)
{
	*m = (struct msg_candidate_reply){
		.state = text(s, 128),
		.version = u64(s),
		.content = hash(s),
		.made_ms = when(s),
		.memory_count = u32(s),
		.edit_count = u32(s),
		.added_count = rng_below(s->rng, 20),
		.removed_count = rng_below(s->rng, 20),
		.added_total = u32(s),
		.removed_total = u32(s),
		.canaries = u32(s),
		.canaries_changed = u32(s),
		.blamed_count = rng_below(s->rng, MSG_CANARY_CHANGES_MAX + 1),
		.withheld_count = rng_below(s->rng, 20),
		.withheld_total = u32(s),
		.text = text(s, 1024),
	};
	m->added = numbers(s, m->added_count);
	m->removed = numbers(s, m->removed_count);
	m->blamed = numbers(s, m->blamed_count);
	m->withheld = numbers(s, m->withheld_count);
}

static void fill_revoke_reply(struct source *s, struct msg_revoke_reply *m)
{
	*m = (struct msg_revoke_reply){ code(s), u64(s), u32(s), u32(s), coin(s), text(s, 1024), NULL, some(s) };
	struct msg_restored *restored = many(s, m->restored_listed, sizeof(*restored));
	for (size_t i = 0; i < m->restored_listed; i++)
		restored[i].id = text(s, 159);
	m->restored = restored;
}

void messages__fill_admin(struct source *s, struct msg *m)
{
	switch (m->type) {
	case MSG_KEY_LIST:
	case MSG_READER_LIST:
		m->u.key_list.from = u32(s);
		break;
	case MSG_KEY_LIST_REPLY:
	case MSG_READER_LIST_REPLY:
		fill_key_list_reply(s, &m->u.key_list_reply);
		break;
	case MSG_KEY_CHANGE:
		m->u.key_change = (struct msg_key_change){
			coin(s) ? MSG_KEY_ALLOW : MSG_KEY_REVOKE, key(s), text(s, 1024), { 0 }
		};
		memcpy(m->u.key_change.replaces, hash(s).bytes, sizeof m->u.key_change.replaces);
		break;
	case MSG_KEY_CHANGE_REPLY:
		m->u.key_change_reply = (struct msg_key_change_reply){ code(s), coin(s), text(s, 1024) };
		break;
	case MSG_MERGE_RUN:
		m->u.merge_run.id = u64(s);
		break;
	case MSG_REVOKE:
		m->u.revoke = (struct msg_revoke){ text(s, 159), text(s, 2000), text(s, 1024), coin(s) };
		break;
	case MSG_REVOKE_REPLY:
		fill_revoke_reply(s, &m->u.revoke_reply);
		break;
	case MSG_PUBLISH:
		m->u.publish = (struct msg_publish){ coin(s) ? MSG_PUBLISH_ROLLBACK : MSG_PUBLISH_REJECT, u64(s),
						     text(s, 1024), hash(s) };
		break;
	case MSG_PUBLISH_REPLY:
		m->u.publish_reply =
			(struct msg_publish_reply){ code(s), u64(s), hash(s), u32(s), coin(s), text(s, 1024) };
		break;
	case MSG_CANDIDATE_REPLY:
		fill_candidate_reply(s, &m->u.candidate_reply);
		break;
	case MSG_STORE_RUN:
		m->u.store_run = (struct msg_store_run){ u64(s) | 1, coin(s) ? MSG_STORE_BACKUP : MSG_STORE_COLLECT,
							 text(s, 4000), u64(s) };
		break;
	case MSG_STORE_STATUS:
		m->u.store_status = (struct msg_store_status){ code(s), coin(s), u64(s), u64(s),
							       u64(s),  u64(s),  u64(s), text(s, 1024) };
		break;
	case MSG_EVENT_LIST:
		m->u.event_list = (struct msg_event_list){ u64(s), u32(s), u32(s) };
		break;
	case MSG_EVENT_LIST_REPLY:
		fill_event_list_reply(s, &m->u.event_list_reply);
		break;
	default:
		assert_true(m->type == MSG_FLEET || m->type == MSG_CANDIDATE || m->type == MSG_SHUTDOWN);
	}
}
