/* A relay: whom it lets in, what it gives, and what it holds; and a node that pulls from one. */
#include "tests/unit/daemon/node_fixture.h"

#include "base/fault.h"
#include "daemon/node_relay.h"

#define TURN_US 20000

/* The fixture's store `source` is what the relay has; its script is the coordinator of the node. */
struct stage {
	struct node_fixture *f;
	struct proto_mem *mem; /* a network of the relay's own */
	struct proto_allow *itself, *allow;
	struct proto_transport *coordinator, *link, *children, *child[2];
	struct node_relay *relay;
	uint64_t version;
	uint32_t arrived;
	uint64_t readers; /* what heartbeats say */
	uint8_t keys[4];  /* first bytes of the readers' keys */
	size_t key_count, lists, tries, sets;
	size_t shown;        /* pages behind so many keys get lost; 0: none */
	uint64_t request_id; /* of the last question for a page */
	bool mute, set_fails;
};

static void key_of(uint8_t first, uint8_t key[PROTO_KEY_BYTES])
{
	memset(key, 0, PROTO_KEY_BYTES);
	key[0] = first;
}

static int allow_set(void *context, struct proto_allow **list, struct err *e)
{
	struct stage *g = context;
	g->tries++;
	if (g->set_fails)
		return err_set(e, ERR_NOMEM, "planted");
	g->sets++;
	proto_mem_allow_set(g->children, *list);
	proto_allow_destroy(&g->allow);
	g->allow = *list;
	*list = NULL;
	return 0;
}

static struct proto_allow *list_of(const char *line)
{
	struct err e = ERR_INIT;
	struct buf text = BUF_INIT;
	struct proto_allow *list = NULL;
	buf_puts(&text, line);
	assert_ok(&e, proto_allow_parse("test", &text, &list, &e));
	buf_free(&text);
	return list;
}

static struct stage *stage_open(struct node_fixture *f)
{
	struct stage *g = calloc(1, sizeof *g);
	uint8_t key[PROTO_KEY_BYTES];
	assert_non_null(g);
	g->f = f;
	g->itself = list_of("0900000000000000000000000000000000000000000000000000000000000000 reader relay");
	g->allow = list_of("");
	assert_ok(&f->e, proto_mem_new(f->env, 2, &g->mem, &f->e));
	assert_ok(&f->e, proto_mem_listen(g->mem, "coordinator", g->itself, &g->coordinator, &f->e));
	assert_ok(&f->e, proto_mem_listen(g->mem, "relay", g->allow, &g->children, &f->e));
	key_of(9, key);
	assert_ok(&f->e, proto_mem_connect(g->mem, "relay", "coordinator", key, &g->link, &f->e));
	key_of(1, key);
	assert_ok(&f->e, proto_mem_connect(g->mem, "child-1", "relay", key, &g->child[0], &f->e));
	key_of(2, key);
	assert_ok(&f->e, proto_mem_connect(g->mem, "child-2", "relay", key, &g->child[1], &f->e));
	const struct node_relay_config config = { g->children, g->link, allow_set, g };
	assert_ok(&f->e, node_relay_new(&config, f->env, f->source, &g->relay, &f->e));
	return g;
}

static void stage_close(struct stage *g)
{
	struct proto_transport *ends[] = { g->child[0], g->child[1], g->link, g->children, g->coordinator };
	node_relay_destroy(&g->relay);
	for (size_t i = 0; i < sizeof ends / sizeof ends[0]; i++)
		ends[i]->ops->destroy(ends[i]);
	proto_mem_destroy(&g->mem);
	proto_allow_destroy(&g->allow);
	proto_allow_destroy(&g->itself);
	free(g);
}

/* One page a key, so that there are several. */
static void page_send(struct stage *g, const struct msg_received *ask)
{
	struct msg_key key = { .roles = PROTO_ROLE_READER };
	struct msg msg = { .type = MSG_READER_LIST_REPLY, .request_id = ask->msg.request_id };
	const size_t from = ask->msg.u.key_list.from;
	g->lists++;
	g->request_id = ask->msg.request_id;
	if (g->mute || (g->shown > 0 && from >= g->shown))
		return;
	if (from < g->key_count)
		key_of(g->keys[from], key.key);
	msg.u.key_list_reply = (struct msg_key_list_reply){ &key, from < g->key_count, (uint32_t)g->key_count };
	assert_ok(&g->f->e, g->coordinator->ops->send(g->coordinator, ask->route, &msg, &g->f->e));
}

static void turn(struct stage *g)
{
	struct msg_received *received = NULL;
	struct msg beat = { .type = MSG_HEARTBEAT_REPLY, .u.heartbeat_reply.readers = g->readers };
	env_manual_advance(&g->f->manual, TURN_US);
	if (g->readers != 0)
		assert_false(node_relay_answer(g->relay, &beat));
	while (g->coordinator->ops->recv(g->coordinator, &received, &g->f->e) == 0) {
		assert_int_equal(received->msg.type, MSG_READER_LIST);
		page_send(g, received);
		msg_free(&received);
	}
	while (g->link->ops->recv(g->link, &received, &g->f->e) == 0) {
		assert_true(node_relay_answer(g->relay, &received->msg));
		msg_free(&received);
	}
	while (g->children->ops->recv(g->children, &received, &g->f->e) == 0) {
		node_relay_receive(g->relay, received);
		msg_free(&received);
	}
	node_relay_tick(g->relay, g->version, g->arrived);
}

static void turns(struct stage *g, int64_t ms)
{
	for (; ms > 0; ms -= TURN_US / 1000)
		turn(g);
}

static void keys_set(struct stage *g, const uint8_t *keys, size_t count)
{
	if (count > 0)
		memcpy(g->keys, keys, count);
	g->key_count = count;
	g->readers++;
	turns(g, 200);
}

static void ask(struct stage *g, size_t child, const struct hash *hashes, size_t count, uint64_t version)
{
	struct msg need = { .type = MSG_NEED, .request_id = 77, .u.hashes = { hashes, count, version } };
	assert_ok(&g->f->e, g->child[child]->ops->send(g->child[child], 0, &need, &g->f->e));
	turns(g, 60);
}

/* The next message; NULL: none. */
static struct msg_received *heard(struct stage *g, size_t child)
{
	struct msg_received *received = NULL;
	return g->child[child]->ops->recv(g->child[child], &received, &g->f->e) == 0 ? received : NULL;
}

static void expect_chunk(struct stage *g, size_t child, const struct hash *hash, int code)
{
	struct msg_received *received = heard(g, child);
	assert_non_null(received);
	assert_int_equal(received->msg.type, MSG_CHUNK);
	assert_int_equal(received->msg.request_id, 77);
	assert_true(hash_equal(&received->msg.u.chunk.hash, hash));
	assert_int_equal(received->msg.u.chunk.code, code);
	struct hash actual;
	hash_of(received->msg.u.chunk.data.bytes, received->msg.u.chunk.data.len, &actual);
	assert_true(code != 0 || hash_equal(&actual, hash));
	msg_free(&received);
}

static void expect_type(struct stage *g, size_t child, enum msg_type type, int code)
{
	struct msg_received *received = heard(g, child);
	assert_non_null(received);
	assert_int_equal(received->msg.type, type);
	assert_true(type != MSG_ERROR || received->msg.u.error.code == code);
	msg_free(&received);
}

static void expect_silence(struct stage *g, size_t child)
{
	assert_null(heard(g, child));
}

static struct hash chunk_hash(const char *text)
{
	struct hash hash;
	hash_of(text, strlen(text), &hash);
	return hash;
}

static struct hash chunk_put(struct stage *g, const char *text)
{
	struct store_chunk chunk = { chunk_hash(text), text, strlen(text) };
	assert_ok(&g->f->e, store_chunks_put(g->f->source, &chunk, 1, &g->f->e));
	g->arrived++;
	return chunk.hash;
}

static struct node_relay_counts counts(const struct stage *g)
{
	struct node_relay_counts counts;
	node_relay_counts_get(g->relay, &counts);
	return counts;
}

/* ---- Whom it lets in */

static void nobody_is_let_in_before_the_coordinator_names_keys(void **state)
{
	struct stage *g = stage_open(*state);
	struct hash here = chunk_put(g, "here");
	ask(g, 0, &here, 1, 0);
	expect_silence(g, 0);
	assert_int_equal(g->children->counts.received, 0);
	assert_int_equal(g->lists, 0);
	keys_set(g, (const uint8_t[]){ 1, 3, 9 }, 3);
	assert_int_equal(g->lists, 3); /* one page a key */
	assert_int_equal(counts(g).keys, 3);
	ask(g, 0, &here, 1, 0);
	expect_chunk(g, 0, &here, 0);
	ask(g, 1, &here, 1, 0); /* it may not read */
	expect_silence(g, 1);
	stage_close(g);
}

static void a_changed_list_holds_at_once(void **state)
{
	struct stage *g = stage_open(*state);
	struct hash here = chunk_put(g, "here");
	keys_set(g, (const uint8_t[]){ 1 }, 1);
	turns(g, 5000);
	assert_int_equal(g->sets, 1); /* what has not changed is not asked for */
	keys_set(g, (const uint8_t[]){ 2 }, 1);
	ask(g, 0, &here, 1, 0);
	ask(g, 1, &here, 1, 0);
	expect_silence(g, 0);
	expect_chunk(g, 1, &here, 0);
	keys_set(g, NULL, 0);
	ask(g, 1, &here, 1, 0);
	expect_silence(g, 1);
	stage_close(g);
}

/* A list that is not answered, or cannot be set, is asked for every two seconds; the old one holds meanwhile. */
static void a_list_that_does_not_come_is_asked_for_again(void **state)
{
	struct stage *g = stage_open(*state);
	struct hash here = chunk_put(g, "here");
	keys_set(g, (const uint8_t[]){ 1 }, 1);
	g->mute = true;
	keys_set(g, (const uint8_t[]){ 2 }, 1);
	turns(g, 5000);
	assert_int_equal(g->lists, 1 + 3);
	ask(g, 0, &here, 1, 0);
	expect_chunk(g, 0, &here, 0);
	g->mute = false;
	g->set_fails = true;
	turns(g, 5000);
	assert_true(g->lists <= 1 + 3 + 3);
	g->set_fails = false;
	turns(g, 2500);
	ask(g, 1, &here, 1, 0);
	expect_chunk(g, 1, &here, 0);
	stage_close(g);
}

/* Of a list that came in part, nothing is kept: it begins anew, with its first key. */
static void a_list_that_breaks_off_begins_anew(void **state)
{
	struct stage *g = stage_open(*state);
	struct hash here = chunk_put(g, "here");
	g->shown = 1;
	keys_set(g, (const uint8_t[]){ 1, 3, 2 }, 3);
	assert_int_equal(g->lists, 2);
	assert_int_equal(g->sets, 0);
	g->shown = 0;
	turns(g, 2500);
	assert_int_equal(g->lists, 2 + 3);
	assert_int_equal(counts(g).keys, 3);
	for (size_t child = 0; child < 2; child++) {
		ask(g, child, &here, 1, 0);
		expect_chunk(g, child, &here, 0);
	}
	stage_close(g);
}

static void say_page(struct stage *g, size_t key_count, uint32_t total)
{
	struct msg_key key = { .roles = PROTO_ROLE_READER };
	struct msg msg = { .type = MSG_READER_LIST_REPLY, .request_id = g->request_id };
	key_of(2, key.key);
	msg.u.key_list_reply = (struct msg_key_list_reply){ &key, key_count, total };
	assert_true(node_relay_answer(g->relay, &msg));
}

/* A page that comes again after its list could not be set is none of the next; one without a key ends its list, which
 * has become shorter meanwhile. */
static void a_page_counts_once(void **state)
{
	struct stage *g = stage_open(*state);
	g->set_fails = true;
	keys_set(g, (const uint8_t[]){ 1 }, 1);
	assert_int_equal(g->tries, 1);
	say_page(g, 1, 1);
	assert_int_equal(g->tries, 1);
	g->set_fails = false;
	g->mute = true;
	turns(g, 2500);
	say_page(g, 1, 2);
	turns(g, 60);
	say_page(g, 0, 2);
	assert_int_equal(g->sets, 1);
	assert_int_equal(counts(g).keys, 1);
	stage_close(g);
}

static void a_coordinator_without_a_list_is_told_once(void **state)
{
	struct stage *g = stage_open(*state);
	const struct msg beat = { .type = MSG_HEARTBEAT_REPLY };
	test_log_begin(g->f->folder);
	for (int i = 0; i < 3; i++)
		assert_false(node_relay_answer(g->relay, &beat));
	assert_int_equal(test_log_count("RELAY-KEYS-UNKNOWN"), 1);
	test_log_end();
	stage_close(g);
}

/* A revocation cannot reach a relay that does not hear the coordinator: after a minute it lets in nobody. */
static void without_the_coordinator_it_closes(void **state)
{
	struct stage *g = stage_open(*state);
	struct hash here = chunk_put(g, "here");
	keys_set(g, (const uint8_t[]){ 1 }, 1);
	const uint64_t readers = g->readers;
	g->readers = 0; /* silence */
	turns(g, RELAY_TRUST_MS - 1000);
	ask(g, 0, &here, 1, 0);
	expect_chunk(g, 0, &here, 0);
	turns(g, 2000);
	ask(g, 0, &here, 1, 0);
	expect_silence(g, 0);
	assert_int_equal(counts(g).keys, 0);
	g->readers = readers; /* it is there again, with the same list */
	turns(g, 200);
	ask(g, 0, &here, 1, 0);
	expect_chunk(g, 0, &here, 0);
	stage_close(g);
}

/* Want of memory does not keep it open. */
static void closing_needs_no_memory(void **state)
{
	struct stage *g = stage_open(*state);
	struct hash here = chunk_put(g, "here");
	keys_set(g, (const uint8_t[]){ 1 }, 1);
	const uint64_t readers = g->readers;
	for (int i = 0; i < 2; i++) { /* the second time it has been open again */
		ask(g, 0, &here, 1, 0);
		expect_chunk(g, 0, &here, 0);
		g->readers = 0; /* silence */
		turns(g, RELAY_TRUST_MS - 1000);
		env_manual_advance(&g->f->manual, 2000 * 1000);
		fault_set(0, INT64_MAX);
		node_relay_tick(g->relay, g->version, g->arrived);
		fault_set(-1, 0);
		assert_int_equal(counts(g).keys, 0);
		ask(g, 0, &here, 1, 0);
		expect_silence(g, 0);
		g->readers = readers;
		turns(g, 200);
	}
	stage_close(g);
}

/* It is tried again every two seconds, and said as often. */
static void closing_that_fails_is_tried_again(void **state)
{
	struct stage *g = stage_open(*state);
	struct hash here = chunk_put(g, "here");
	keys_set(g, (const uint8_t[]){ 1 }, 1);
	g->readers = 0;
	g->set_fails = true;
	turns(g, RELAY_TRUST_MS + 5000);
	assert_in_range(g->tries, 1 + 2, 1 + 3);
	assert_int_equal(counts(g).keys, 1);
	g->set_fails = false;
	turns(g, 2500);
	assert_int_equal(counts(g).keys, 0);
	ask(g, 0, &here, 1, 0);
	expect_silence(g, 0);
	stage_close(g);
}

/* ---- What it gives */

static void it_gives_chunks_and_nothing_else(void **state)
{
	struct stage *g = stage_open(*state);
	struct hash hashes[3];
	hashes[0] = chunk_put(g, "one");
	hashes[1] = chunk_hash("nowhere");
	hashes[2] = chunk_put(g, "two");
	keys_set(g, (const uint8_t[]){ 1 }, 1);
	g->version = 4;
	turns(g, 40);
	ask(g, 0, hashes, 3, 4);
	expect_chunk(g, 0, &hashes[0], 0);
	expect_chunk(g, 0, &hashes[1], ERR_NOT_FOUND); /* it has all of version 4 that it will have */
	expect_chunk(g, 0, &hashes[2], 0);
	ask(g, 0, &hashes[1], 1, 0);
	expect_chunk(g, 0, &hashes[1], ERR_NOT_FOUND);
	assert_int_equal(counts(g).chunks, 2);
	assert_int_equal(counts(g).bytes, 6);
	struct msg get = { .type = MSG_GET_MANIFEST, .u.get_manifest.alias = { "latest", 6 } };
	assert_ok(&g->f->e, g->child[0]->ops->send(g->child[0], 0, &get, &g->f->e));
	turns(g, 60);
	expect_type(g, 0, MSG_ERROR, ERR_UNSUPPORTED);
	struct msg submit = { .type = MSG_HAVE, .u.hashes = { hashes, 1, 0 } };
	assert_ok(&g->f->e, g->child[0]->ops->send(g->child[0], 0, &submit, &g->f->e));
	turns(g, 60);
	expect_type(g, 0, MSG_ERROR, ERR_DENIED); /* a reader may not even say it */
	stage_close(g);
}

static void what_it_has_not_yet_comes_when_it_has_it(void **state)
{
	struct stage *g = stage_open(*state);
	struct hash hashes[2];
	hashes[0] = chunk_hash("later");
	hashes[1] = chunk_put(g, "here");
	keys_set(g, (const uint8_t[]){ 1, 2 }, 2);
	g->version = 4;
	ask(g, 0, hashes, 2, 5);
	struct msg_received *missing = heard(g, 0);
	assert_int_equal(missing->msg.type, MSG_MISSING);
	assert_int_equal(missing->msg.u.hashes.hash_count, 1);
	assert_true(hash_equal(&missing->msg.u.hashes.hashes[0], &hashes[0]));
	msg_free(&missing);
	expect_chunk(g, 0, &hashes[1], 0);
	ask(g, 1, hashes, 1, 5);
	expect_type(g, 1, MSG_MISSING, 0);
	turns(g, 2000);
	ask(g, 0, hashes, 1, 5); /* the child asks again: it hears that it is heard */
	expect_type(g, 0, MSG_MISSING, 0);
	assert_int_equal(counts(g).owed, 2);
	(void)chunk_put(g, "later");
	turns(g, 60);
	expect_chunk(g, 0, &hashes[0], 0);
	expect_chunk(g, 1, &hashes[0], 0);
	expect_silence(g, 0);
	assert_int_equal(counts(g).owed, 0);
	stage_close(g);
}

/* What is held is looked for when something has come, and else not, whoever asks meanwhile. */
static void nothing_is_looked_for_without_news(void **state)
{
	struct stage *g = stage_open(*state);
	const struct hash later = chunk_hash("later"), never = chunk_hash("never");
	keys_set(g, (const uint8_t[]){ 1, 2 }, 2);
	g->version = 4;
	turns(g, 60);
	ask(g, 0, &later, 1, 5);
	expect_type(g, 0, MSG_MISSING, 0);
	g->arrived++; /* something else */
	turn(g);
	(void)chunk_put(g, "later");
	g->arrived--; /* it is not told yet */
	ask(g, 1, &never, 1, 5);
	expect_type(g, 1, MSG_MISSING, 0);
	expect_silence(g, 0);
	g->arrived++;
	turns(g, 60);
	expect_chunk(g, 0, &later, 0);
	stage_close(g);
}

/* The version is there, and the chunk is none of it; or the child is gone. */
static void what_does_not_come_is_not_held_for_ever(void **state)
{
	struct stage *g = stage_open(*state);
	struct hash never = chunk_hash("never");
	keys_set(g, (const uint8_t[]){ 1, 2 }, 2);
	g->version = 4;
	ask(g, 0, &never, 1, 5);
	expect_type(g, 0, MSG_MISSING, 0);
	g->version = 5;
	turns(g, 60);
	expect_chunk(g, 0, &never, ERR_NOT_FOUND);
	ask(g, 1, &never, 1, 6);
	expect_type(g, 1, MSG_MISSING, 0);
	assert_int_equal(counts(g).owed, 1);
	turns(g, 9000); /* four questions may get lost */
	assert_int_equal(counts(g).owed, 1);
	turns(g, 2000);
	assert_int_equal(counts(g).owed, 0);
	expect_silence(g, 1);
	stage_close(g);
}

static void a_child_is_owed_so_much_and_no_more(void **state)
{
	struct stage *g = stage_open(*state);
	static struct hash hashes[MSG_HASHES_MAX];
	keys_set(g, (const uint8_t[]){ 1 }, 1);
	for (size_t i = 0; i < MSG_HASHES_MAX; i++)
		memcpy(hashes[i].bytes, &i, sizeof i);
	for (int i = 0; i < 3; i++) {
		for (size_t j = 0; j < MSG_HASHES_MAX; j++)
			hashes[j].bytes[30] = (uint8_t)i;
		ask(g, 0, hashes, MSG_HASHES_MAX, 9);
		expect_type(g, 0, i < 2 ? MSG_MISSING : MSG_ERROR, ERR_AGAIN);
	}
	assert_int_equal(counts(g).owed, 2 * MSG_HASHES_MAX);
	stage_close(g);
}

/* ---- A node that pulls from it */

static void node_and_relay_turn(struct stage *g, size_t relay, struct proto_transport *link)
{
	struct msg_received *received = NULL;
	turn(g);
	while (link->ops->recv(link, &received, &g->f->e) == 0) {
		node_sync_relay_receive(g->f->sync, relay, received);
		msg_free(&received);
	}
	node_turn(g->f);
}

static void a_node_pulls_from_its_relay(void **state)
{
	struct node_fixture *f = *state;
	struct stage *g = stage_open(f);
	node_publish(f, 1, false);
	keys_set(g, (const uint8_t[]){ 1 }, 1);
	node_start(f, 4);
	assert_ok(&f->e, node_sync_relay_add(f->sync, g->child[0], "tcp://relay:1", 5000, &f->e));
	for (int i = 0; i < 200 && node_info(f).live != 1; i++)
		node_and_relay_turn(g, 0, g->child[0]);
	assert_int_equal(node_info(f).live, 1);
	assert_int_equal(f->chunks, 0); /* of the coordinator */
	assert_true(node_info(f).fetch.relay_chunks > 4);
	assert_true(node_info(f).relays);
	for (int i = 0; i < 100; i++)
		node_and_relay_turn(g, 0, g->child[0]);
	assert_string_equal(f->status_source, "tcp://relay:1");
	/* It is gone: the coordinator gives. */
	keys_set(g, NULL, 0);
	node_publish(f, 2, false);
	for (int i = 0; i < 500 && node_info(f).live != 2; i++)
		node_and_relay_turn(g, 0, g->child[0]);
	assert_int_equal(node_info(f).live, 2);
	assert_true(f->chunks > 0);
	assert_int_equal(node_info(f).fetch.faults[WORKER_FETCH_SILENT], 1);
	stage_close(g);
}

#define T(f) cmocka_unit_test_setup_teardown(f, node_setup, node_teardown)

int main(void)
{
	const struct CMUnitTest tests[] = {
		T(nobody_is_let_in_before_the_coordinator_names_keys),
		T(a_changed_list_holds_at_once),
		T(a_list_that_does_not_come_is_asked_for_again),
		T(a_list_that_breaks_off_begins_anew),
		T(a_page_counts_once),
		T(a_coordinator_without_a_list_is_told_once),
		T(without_the_coordinator_it_closes),
		T(closing_needs_no_memory),
		T(closing_that_fails_is_tried_again),
		T(it_gives_chunks_and_nothing_else),
		T(what_it_has_not_yet_comes_when_it_has_it),
		T(nothing_is_looked_for_without_news),
		T(what_does_not_come_is_not_held_for_ever),
		T(a_child_is_owed_so_much_and_no_more),
		T(a_node_pulls_from_its_relay),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
