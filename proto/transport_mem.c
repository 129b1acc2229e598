/* transport_mem.c: a network in memory with seeded faults, for tests and the simulator. Messages are encoded and
 * decoded like on the wire, and pass the same rights. Packets wait in one heap by the time they are due; then in the
 * inbox of their end. */
#include "proto/transport.h"

#include "base/fault.h"
#include "base/log.h"
#include "base/rng.h"
#include "proto/intake.h"
#include "proto/refusals.h"

#include <stdlib.h>
#include <string.h>

#define NAME_BYTES_MAX   63
#define INBOX_MAX        100000 /* packets on their way to one server */
#define CLIENT_INBOX_MAX 1000

struct packet {
	struct packet *next; /* in an inbox */
	uint64_t to, from;   /* ids of ends */
	int64_t due_us;
	uint64_t order; /* of sending: breaks ties, so that equal delays keep the order */
	size_t head_len, bulk_len;
	uint8_t bytes[];
};

struct end {
	struct proto_transport base;
	struct proto_mem *mem;
	uint64_t id;
	char name[NAME_BYTES_MAX + 1];
	bool server;
	bool cut_out, cut_in;         /* client: nothing of it, to it, arrives */
	uint64_t last_out, last_in;   /* client: the highest order that arrived of it, came to it */
	uint8_t key[PROTO_KEY_BYTES]; /* client */
	uint64_t server_id;           /* client: 0 while no server of that name was there */
	char server_name[NAME_BYTES_MAX + 1];
	const struct proto_allow *allow; /* server */
	struct proto__refusals refusals; /* server */
	int64_t link_free_us;            /* server: when what it has sent is on its way */
	struct packet *first, **last;    /* inbox */
	size_t waiting;                  /* in the heap or the inbox */
	struct proto__intake intake;
};

struct proto_mem {
	const struct env *env;
	struct rng rng;
	struct proto_mem_faults faults;
	struct proto_mem_counts counts;
	int64_t link_bytes_per_s; /* of a server; 0: no limit */
	struct end **ends;        /* ascending id */
	size_t end_count, end_cap;
	uint64_t next_id, next_order;
	struct packet **heap;
	size_t heap_count, heap_cap;
	size_t inbox_count; /* packets in inboxes */
	struct buf head;
	bool closed;
};

/* ---- Ends. */

static struct end *end_of(const struct proto_mem *mem, uint64_t id)
{
	size_t low = 0, high = mem->end_count;
	while (low < high) {
		size_t middle = low + (high - low) / 2;
		if (mem->ends[middle]->id < id)
			low = middle + 1;
		else
			high = middle;
	}
	return low < mem->end_count && mem->ends[low]->id == id ? mem->ends[low] : NULL;
}

static struct end *end_named(const struct proto_mem *mem, const char *name, bool server)
{
	for (size_t i = 0; i < mem->end_count; i++)
		if (mem->ends[i]->server == server && strcmp(mem->ends[i]->name, name) == 0)
			return mem->ends[i];
	return NULL;
}

/* A client finds its server again when that was restarted under the same name. */
static struct end *server_of(struct end *client)
{
	struct end *server = client->server_id == 0 ? NULL : end_of(client->mem, client->server_id);
	if (server == NULL)
		server = end_named(client->mem, client->server_name, true);
	client->server_id = server == NULL ? 0 : server->id;
	return server;
}

static void mem_free(struct proto_mem *mem)
{
	for (size_t i = 0; i < mem->heap_count; i++)
		free(mem->heap[i]);
	free(mem->heap);
	free(mem->ends);
	buf_free(&mem->head);
	free(mem);
}

/* ---- The heap. */

static bool before(const struct packet *a, const struct packet *b)
{
	return a->due_us != b->due_us ? a->due_us < b->due_us : a->order < b->order;
}

static int heap_push(struct proto_mem *mem, struct packet *packet)
{
	if (mem->heap_count == mem->heap_cap) {
		size_t cap = mem->heap_cap == 0 ? 64 : 2 * mem->heap_cap;
		struct packet **more = fault_realloc(mem->heap, cap * sizeof(struct packet *));
		if (more == NULL)
			return ERR_NOMEM;
		mem->heap = more;
		mem->heap_cap = cap;
	}
	size_t at = mem->heap_count++;
	for (; at > 0 && before(packet, mem->heap[(at - 1) / 2]); at = (at - 1) / 2)
		mem->heap[at] = mem->heap[(at - 1) / 2];
	mem->heap[at] = packet;
	return 0;
}

static struct packet *heap_pop(struct proto_mem *mem)
{
	struct packet *top = mem->heap[0], *moved = mem->heap[--mem->heap_count];
	size_t at = 0;
	for (;;) {
		size_t child = 2 * at + 1;
		if (child >= mem->heap_count)
			break;
		if (child + 1 < mem->heap_count && before(mem->heap[child + 1], mem->heap[child]))
			child++;
		if (!before(mem->heap[child], moved))
			break;
		mem->heap[at] = mem->heap[child];
		at = child;
	}
	mem->heap[at] = moved;
	return top;
}

static bool cut_between(const struct end *from, const struct end *to)
{
	return from->cut_out || to->cut_in;
}

static void arrival_count(struct proto_mem *mem, uint64_t *last, uint64_t order)
{
	mem->counts.reordered += order < *last;
	*last = order > *last ? order : *last;
}

/* Everything that is due goes to its inbox, or is lost to a partition or an end that is gone. */
static void deliver(struct proto_mem *mem)
{
	int64_t now = env_monotonic_us(mem->env);
	while (mem->heap_count > 0 && mem->heap[0]->due_us <= now) {
		struct packet *packet = heap_pop(mem);
		struct end *to = end_of(mem, packet->to), *from = end_of(mem, packet->from);
		if (to == NULL || from == NULL || cut_between(from, to)) {
			if (to != NULL)
				to->waiting--;
			mem->counts.cut += to != NULL && from != NULL;
			free(packet);
			continue;
		}
		arrival_count(mem, to->server ? &from->last_out : &to->last_in, packet->order);
		packet->next = NULL;
		*to->last = packet;
		to->last = &packet->next;
		mem->inbox_count++;
	}
}

/* ---- Sending. */

static bool chance(struct rng *rng, double share)
{
	return share > 0 && (double)(rng_u64(rng) >> 11) * 0x1p-53 < share;
}

/* When the last of so many bytes has left. */
static int64_t sent_us(const struct proto_mem *mem, struct end *from, size_t byte_count)
{
	int64_t now = env_monotonic_us(mem->env);
	if (!from->server || mem->link_bytes_per_s <= 0)
		return now;
	from->link_free_us = from->link_free_us > now ? from->link_free_us : now;
	from->link_free_us += (int64_t)byte_count * 1000000 / mem->link_bytes_per_s;
	return from->link_free_us;
}

static int packet_put(struct proto_mem *mem, struct end *from, struct end *to, const struct msg_bytes *bulk)
{
	struct packet *packet = fault_malloc(sizeof(*packet) + mem->head.len + bulk->len);
	if (packet == NULL)
		return ERR_NOMEM;
	int64_t span = mem->faults.delay_us_max - mem->faults.delay_us_min;
	packet->due_us = sent_us(mem, from, sizeof(*packet) + mem->head.len + bulk->len) + mem->faults.delay_us_min;
	if (span > 0)
		packet->due_us += (int64_t)rng_below(&mem->rng, (uint64_t)span + 1);
	packet->from = from->id;
	packet->to = to->id;
	packet->order = mem->next_order++;
	packet->head_len = mem->head.len;
	packet->bulk_len = bulk->len;
	memcpy(packet->bytes, mem->head.data, mem->head.len);
	if (bulk->len > 0)
		memcpy(packet->bytes + mem->head.len, bulk->bytes, bulk->len);
	if (heap_push(mem, packet) != 0) {
		free(packet);
		return ERR_NOMEM;
	}
	to->waiting++;
	return 0;
}

/* Encoded bytes stand in mem->head. Faults are drawn for each message, cut or not, so that a partition does not shift
 * the later draws. */
static int carry(struct proto_mem *mem, struct end *from, struct end *to, const struct msg_bytes *bulk, struct err *e)
{
	bool drop = chance(&mem->rng, mem->faults.drop), twice = chance(&mem->rng, mem->faults.duplicate);
	if (to->waiting >= (to->server ? INBOX_MAX : CLIENT_INBOX_MAX)) {
		from->base.counts.full++;
		return err_set(e, ERR_AGAIN, "%s: its queue is full", to->name);
	}
	bool cut = cut_between(from, to), lost = drop || cut;
	mem->counts.lost += drop;
	mem->counts.cut += cut && !drop;
	mem->counts.doubled += twice && !lost;
	if (!lost && packet_put(mem, from, to, bulk) != 0)
		return err_set(e, ERR_NOMEM, "no memory for a message to %s", to->name);
	if (!lost && twice)
		(void)packet_put(mem, from, to, bulk); /* without memory it is no duplicate */
	from->base.counts.sent++;
	from->base.counts.sent_bytes += mem->head.len + bulk->len;
	*(from->server ? &mem->counts.from_server : &mem->counts.to_server) += 1;
	*(from->server ? &mem->counts.from_server_bytes : &mem->counts.to_server_bytes) += mem->head.len + bulk->len;
	return 0;
}

static int end_send(struct proto_transport *t, uint64_t route, const struct msg *msg, struct err *e)
{
	struct end *end = (struct end *)t;
	struct msg_bytes bulk;
	int rc = proto_encode(msg, &end->mem->head, &bulk, e);
	if (rc != 0)
		return rc;
	struct end *to = end->server ? end_of(end->mem, route) : server_of(end);
	if (end->server && (to == NULL || proto_allow_roles(end->allow, to->key, NULL) == 0))
		return err_set(e, ERR_CLOSED, "%s: the peer is gone", end->name);
	if (to == NULL)
		return err_set(e, ERR_AGAIN, "%s: not connected: no server '%s'", end->name, end->server_name);
	return carry(end->mem, end, to, &bulk, e);
}

static int end_publish(struct proto_transport *t, const struct msg *msg, struct err *e)
{
	struct end *end = (struct end *)t;
	struct msg_bytes bulk;
	if (!end->server)
		return err_set(e, ERR_UNSUPPORTED, "%s: only a server publishes", end->name);
	int rc = proto_encode(msg, &end->mem->head, &bulk, e);
	for (size_t i = 0; rc == 0 && i < end->mem->end_count; i++) {
		struct end *to = end->mem->ends[i];
		if (to->server || strcmp(to->server_name, end->name) != 0 ||
		    proto_allow_roles(end->allow, to->key, NULL) == 0)
			continue;
		rc = carry(end->mem, end, to, &bulk, e);
		if (rc == ERR_AGAIN)
			rc = 0; /* a subscriber that is too slow misses it */
	}
	return rc;
}

/* ---- Receiving. */

static int packet_take(struct end *end, const struct packet *packet, struct msg_received **out)
{
	struct proto__parcel parcel = { .head = packet->bytes,
					.head_len = packet->head_len,
					.frame_count = packet->bulk_len > 0 ? 2 : 1 };
	parcel.bulk = packet->bulk_len > 0 ? packet->bytes + packet->head_len : NULL;
	parcel.bulk_len = packet->bulk_len;
	struct end *from = end_of(end->mem, packet->from);
	if (!end->server) {
		int type = 0;
		uint64_t ids[2];
		bool hint = proto_peek(parcel.head, parcel.head_len, &type, &ids[0], &ids[1]) == 0 && type == MSG_HINT;
		return proto__intake_client(&end->intake, &parcel, hint, out);
	}
	if (from == NULL)
		return ERR_CLOSED;
	struct msg denial;
	parcel.key = from->key;
	parcel.roles = proto_allow_roles(end->allow, from->key, NULL);
	if (parcel.roles == 0)
		(void)proto__refusals_take(&end->refusals, from->key, env_monotonic_ms(end->mem->env));
	parcel.route = from->id;
	int rc = proto__intake_server(&end->intake, &parcel, out, &denial);
	if (denial.type != 0 && end_send(&end->base, parcel.route, &denial, NULL) != 0)
		end->base.counts.full++; /* a courtesy: the refusal itself has been logged */
	return rc;
}

static struct packet *inbox_pop(struct end *end)
{
	struct packet *packet = end->first;
	if (packet == NULL)
		return NULL;
	end->first = packet->next;
	if (end->first == NULL)
		end->last = &end->first;
	end->waiting--;
	end->mem->inbox_count--;
	return packet;
}

static int end_recv(struct proto_transport *t, struct msg_received **out, struct err *e)
{
	struct end *end = (struct end *)t;
	struct packet *packet;
	deliver(end->mem);
	while ((packet = inbox_pop(end)) != NULL) {
		int rc = packet_take(end, packet, out);
		free(packet);
		if (rc == 0)
			return 0;
	}
	return err_set(e, ERR_AGAIN, "no message");
}

static int end_fd(const struct proto_transport *t)
{
	(void)t;
	return -1;
}

static size_t end_refused(struct proto_transport *t, struct msg_refused_key out[MSG_REFUSED_KEYS_MAX])
{
	const struct end *end = (const struct end *)t;
	return proto__refusals_list(&end->refusals, env_monotonic_ms(end->mem->env), out);
}

static void end_destroy(struct proto_transport *t)
{
	struct end *end = (struct end *)t;
	struct proto_mem *mem = end->mem;
	struct packet *packet;
	while ((packet = inbox_pop(end)) != NULL)
		free(packet);
	for (size_t i = 0; i < mem->end_count; i++)
		if (mem->ends[i] == end) {
			memmove(&mem->ends[i], &mem->ends[i + 1], (mem->end_count - i - 1) * sizeof(mem->ends[0]));
			mem->end_count--;
			break;
		}
	free(end);
	if (mem->closed && mem->end_count == 0)
		mem_free(mem);
}

static const struct proto_transport_ops end_ops = { end_send, end_recv, end_fd, end_publish, end_refused, end_destroy };

/* ---- Making. */

static int end_new(struct proto_mem *mem, const char *name, bool server, struct end **out, struct err *e)
{
	if (strlen(name) == 0 || strlen(name) > NAME_BYTES_MAX)
		return err_set(e, ERR_INVALID, "the name of an end has 1 to %d bytes", NAME_BYTES_MAX);
	if (end_named(mem, name, server) != NULL)
		return err_set(e, ERR_BUSY, "%s: the name is in use", name);
	if (mem->end_count == mem->end_cap) {
		size_t cap = mem->end_cap == 0 ? 16 : 2 * mem->end_cap;
		struct end **more = fault_realloc(mem->ends, cap * sizeof(struct end *));
		if (more == NULL)
			return err_set(e, ERR_NOMEM, "%s: out of memory", name);
		mem->ends = more;
		mem->end_cap = cap;
	}
	struct end *end = fault_calloc(1, sizeof(*end));
	if (end == NULL)
		return err_set(e, ERR_NOMEM, "%s: out of memory", name);
	end->base.ops = &end_ops;
	end->mem = mem;
	end->id = mem->next_id++;
	end->server = server;
	end->last = &end->first;
	end->intake = (struct proto__intake){ .env = mem->env, .counts = &end->base.counts };
	memcpy(end->name, name, strlen(name) + 1);
	mem->ends[mem->end_count++] = end;
	*out = end;
	return 0;
}

int proto_mem_new(const struct env *env, uint64_t seed, struct proto_mem **out, struct err *e)
{
	struct proto_mem *mem = fault_calloc(1, sizeof(*mem));
	if (mem == NULL)
		return err_set(e, ERR_NOMEM, "no memory for a network");
	mem->env = env;
	mem->next_id = 1;
	rng_init(&mem->rng, seed);
	*out = mem;
	return 0;
}

void proto_mem_destroy(struct proto_mem **pointer)
{
	struct proto_mem *mem = *pointer;
	*pointer = NULL;
	if (mem == NULL)
		return;
	mem->closed = true; /* its last end frees it */
	if (mem->end_count == 0)
		mem_free(mem);
}

void proto_mem_faults_set(struct proto_mem *mem, const struct proto_mem_faults *faults)
{
	mem->faults = *faults;
}

void proto_mem_link_set(struct proto_mem *mem, int64_t bytes_per_s)
{
	mem->link_bytes_per_s = bytes_per_s;
}

void proto_mem_counts_get(const struct proto_mem *mem, struct proto_mem_counts *out)
{
	*out = mem->counts;
}

void proto_mem_partition(struct proto_mem *mem, const char *client, bool to_server, bool from_server)
{
	struct end *end = end_named(mem, client, false);
	if (end == NULL)
		return;
	end->cut_out = to_server;
	end->cut_in = from_server;
}

int proto_mem_listen(struct proto_mem *mem, const char *name, const struct proto_allow *allow,
		     struct proto_transport **out, struct err *e)
{
	struct end *end;
	int rc = end_new(mem, name, true, &end, e);
	if (rc != 0)
		return rc;
	end->allow = allow;
	*out = &end->base;
	return 0;
}

void proto_mem_allow_set(struct proto_transport *server, const struct proto_allow *allow)
{
	struct end *end = (struct end *)server;
	end->allow = allow;
	end->refusals = (struct proto__refusals){ 0 };
}

int proto_mem_connect(struct proto_mem *mem, const char *name, const char *server, const uint8_t key[PROTO_KEY_BYTES],
		      struct proto_transport **out, struct err *e)
{
	struct end *end;
	if (strlen(server) == 0 || strlen(server) > NAME_BYTES_MAX)
		return err_set(e, ERR_INVALID, "the name of a server has 1 to %d bytes", NAME_BYTES_MAX);
	int rc = end_new(mem, name, false, &end, e);
	if (rc != 0)
		return rc;
	memcpy(end->server_name, server, strlen(server) + 1);
	memcpy(end->key, key, PROTO_KEY_BYTES);
	*out = &end->base;
	return 0;
}

int64_t proto_mem_next_due(const struct proto_mem *mem)
{
	if (mem->inbox_count > 0)
		return env_monotonic_us(mem->env);
	return mem->heap_count > 0 ? mem->heap[0]->due_us : INT64_MAX;
}
