#include "tests/unit/daemon/node_fixture.h"

#include "base/fault.h"

static int read_version(struct node_fixture *f, const struct published *p, struct arena *arena,
			struct proto_manifest *m)
{
	return version_manifest_read(f->source, &p->root, &p->content, model_digest(f->model), arena, m, &f->e);
}

static void builds_and_routes(void **state)
{
	struct node_fixture *f = *state;
	struct published *p = node_publish(f, 3, false);
	struct arena *arena = NULL;
	struct proto_manifest m;
	struct editor_memory_set *set = NULL;
	struct buf roots = BUF_INIT;
	assert_int_equal(arena_new(4096, 0, &arena), 0);
	assert_ok(&f->e, read_version(f, p, arena, &m));
	assert_int_equal(m.version, 3);
	assert_ok(&f->e, proto_manifest_roots(&m, &roots, &f->e));
	assert_int_equal(roots.len, 3 * sizeof(struct hash)); /* calibration, delta, index */
	assert_ok(&f->e, version_set_build(f->source, &m, model_shape_of(f->model), &set, &f->e));
	assert_int_equal(editor_memory_set_version(set), 3);
	assert_int_equal(editor_memory_set_edit_count(set), 2);
	float raw[TINY_HIDDEN];
	struct editor_route route;
	const struct model_side *side = NULL;
	tiny_raw_key(f->model, node_prompts[1], raw);
	assert_int_equal(tiny_set_route(set, EDITOR_SET_RETRIEVE, f->model, node_prompts[1], raw, &route, &side), 7);
	assert_int_equal(route.nearest[0], 12);
	editor_memory_set_release(&set);
	buf_free(&roots);
	arena_destroy(&arena);
}

static void refuses_what_is_not_the_version(void **state)
{
	struct node_fixture *f = *state;
	struct published foreign = *node_publish(f, 1, true), other = *node_publish(f, 2, false);
	struct arena *arena = NULL;
	struct proto_manifest m;
	struct editor_memory_set *set = NULL;
	assert_int_equal(arena_new(4096, 0, &arena), 0);
	assert_int_equal(read_version(f, &foreign, arena, &m), ERR_MISMATCH);
	assert_non_null(strstr(f->e.text, "base model"));
	struct published mixed = other;
	mixed.content = foreign.content;
	assert_int_equal(read_version(f, &mixed, arena, &m), ERR_CORRUPT);
	mixed.root.bytes[5] ^= 1;
	assert_int_equal(read_version(f, &mixed, arena, &m), ERR_NOT_FOUND);
	assert_ok(&f->e, read_version(f, &other, arena, &m));
	struct model_shape shape = *model_shape_of(f->model);
	shape.ffn++;
	assert_int_equal(version_set_build(f->source, &m, &shape, &set, &f->e), ERR_MISMATCH);
	m.calibration_root.bytes[0] ^= 1;
	assert_int_equal(version_set_build(f->source, &m, model_shape_of(f->model), &set, &f->e), ERR_NOT_FOUND);
	assert_null(set);
	arena_destroy(&arena);
}

struct build {
	struct node_fixture *f;
	const struct proto_manifest *m;
};

static int build_once(void *context)
{
	struct build *b = context;
	struct editor_memory_set *set = NULL;
	int rc = version_set_build(b->f->source, b->m, model_shape_of(b->f->model), &set, &b->f->e);
	editor_memory_set_release(&set);
	return rc;
}

static void survives_failing_allocations(void **state)
{
	struct node_fixture *f = *state;
	struct arena *arena = NULL;
	struct proto_manifest m;
	struct published *p = node_publish(f, 1, false);
	assert_int_equal(arena_new(4096, 0, &arena), 0);
	assert_ok(&f->e, read_version(f, p, arena, &m));
	struct build b = { f, &m };
	assert_true(test_walk_allocations(build_once, &b) > 3);
	arena_destroy(&arena);
}

/* --- Routes alone. */

#define SHARDS 5

struct series { /* versions of shards 1 … with one edit each (seq 10 × shard), and a memory that covers 1 and 2 */
	struct proto_memory memories[SHARDS + 1];
	uint64_t seqs[SHARDS + 1][2];
	uint64_t removed[2];
	struct proto_manifest m;
};
static const uint64_t covered[] = { 1, 2 };

static struct hash key_index_put(struct node_fixture *f, uint64_t seq, size_t axis)
{
	float raw[TINY_HIDDEN] = { 0 };
	struct buf index = BUF_INIT;
	raw[axis] = 1;
	const struct editor_index_entry entry = { .seq = seq, .raw = raw, .relation = raw };
	assert_ok(&f->e, editor_index_encode(&entry, 1, TINY_HIDDEN, TINY_FFN, &index, &f->e));
	return node_blob_put(f, &index);
}

static void series_make(struct node_fixture *f, struct series *s)
{
	struct buf calibration = BUF_INIT;
	memset(s, 0, sizeof *s);
	plain_calibration(model_digest(f->model), TINY_HIDDEN, 0.5f, 0.9f, -1, &calibration);
	for (size_t i = 0; i < SHARDS + 1; i++) {
		struct buf delta = BUF_INIT;
		struct proto_memory *memory = &s->memories[i];
		tiny_delta(i, 0.5f, &delta);
		*memory = (struct proto_memory){ .id = i + 1, .kind = PROTO_MEMORY_SHARD, .seqs = s->seqs[i] };
		memory->delta_root = node_blob_put(f, &delta);
		if (i == SHARDS)
			continue;
		s->seqs[i][0] = 10 * (i + 1);
		memory->seq_count = 1;
		memory->index_root = key_index_put(f, s->seqs[i][0], i);
	}
	s->memories[SHARDS].id = UINT64_C(1) << 32;
	s->memories[SHARDS].kind = PROTO_MEMORY_MERGED;
	s->memories[SHARDS].sources = covered;
	s->memories[SHARDS].source_count = 2;
	s->m = (struct proto_manifest){ .version = 1,
					.base_model = *model_digest(f->model),
					.layer = TINY_LAYER,
					.hidden = TINY_HIDDEN,
					.ffn = TINY_FFN,
					.calibration_root = node_blob_put(f, &calibration),
					.memories = s->memories,
					.memory_count = SHARDS + 1,
					.removed_seqs = s->removed };
}

/* They are those of a set that is built of the whole version. */
static void routes_fit(struct node_fixture *f, struct version_routes *routes, struct store *from,
		       const struct proto_manifest *m)
{
	struct editor_memory_set *whole = NULL;
	assert_ok(&f->e, version_routes_renew(routes, from, m, model_shape_of(f->model), &f->e));
	assert_ok(&f->e, version_set_build(f->source, m, model_shape_of(f->model), &whole, &f->e));
	assert_int_equal(editor_memory_set_edit_count(routes->set), editor_memory_set_edit_count(whole));
	assert_int_equal(editor_memory_set_version(routes->set), m->version);
	assert_int_equal(editor_memory_set_has_merged(routes->set), editor_memory_set_has_merged(whole));
	for (size_t axis = 0; axis < 2 * SHARDS; axis++) {
		for (int kind = EDITOR_SET_RETRIEVE; kind <= EDITOR_SET_MERGED; kind++) {
			struct editor_route a, b;
			const struct model_side *side;
			float raw[TINY_HIDDEN] = { 0 };
			raw[axis] = 1;
			const uint64_t id = tiny_set_route(routes->set, kind, f->model, "x", raw, &a, &side);
			assert_true(side == NULL || side->delta == NULL);
			assert_int_equal(id, tiny_set_route(whole, kind, f->model, "x", raw, &b, &side));
			assert_int_equal(a.routed, b.routed);
			assert_int_equal(a.nearest_count, b.nearest_count);
			assert_memory_equal(a.nearest, b.nearest, a.nearest_count * sizeof a.nearest[0]);
			assert_memory_equal(a.nearest_score, b.nearest_score,
					    a.nearest_count * sizeof a.nearest_score[0]);
		}
	}
	editor_memory_set_release(&whole);
}

static void routes_follow_the_versions(void **state)
{
	struct node_fixture *f = *state;
	struct version_routes routes = { .set = NULL };
	struct series s;
	series_make(f, &s);
	s.m.memory_count = SHARDS - 1;
	routes_fit(f, &routes, f->source, &s.m);
	s.m.version++;
	s.m.memory_count = SHARDS + 1; /* two more, one of them merged */
	routes_fit(f, &routes, f->source, &s.m);
	s.seqs[4][1] = 51;
	s.memories[4].seq_count = 2;
	s.memories[4].index_root = key_index_put(f, 51, 7); /* the last shard has trained on */
	routes_fit(f, &routes, f->source, &s.m);
	s.removed[0] = 20; /* an edit of the second has ended, and comes back */
	s.m.removed_count = 1;
	routes_fit(f, &routes, f->source, &s.m);
	s.m.removed_count = 0;
	routes_fit(f, &routes, f->source, &s.m);
	s.memories[SHARDS].source_count = 1;
	routes_fit(f, &routes, f->source, &s.m);
	memmove(s.memories + 1, s.memories + 2, 3 * sizeof s.memories[0]);
	s.m.memory_count = 4;
	routes_fit(f, &routes, f->source, &s.m);
	s.m.memory_count = 0;
	routes_fit(f, &routes, f->source, &s.m);
	s.m.memory_count = 2;
	s.m.layer = TINY_LAYER - 1; /* of another layer: the deltas are not */
	assert_ok(&f->e, version_routes_renew(&routes, f->source, &s.m, model_shape_of(f->model), &f->e));
	assert_int_equal(editor_memory_set_layer(routes.set), TINY_LAYER - 1);
	version_routes_fini(&routes);
}

/* The first of the two that its memory covers, and not the other. */
static void what_a_merge_has_lost_is_read_in_its_shard(void **state)
{
	struct node_fixture *f = *state;
	const uint64_t lost[] = { 10 };
	const struct proto_merge_index index = { lost, 1 };
	struct editor_memory_set *set = NULL;
	struct version_routes routes = { .set = NULL };
	struct buf bytes = BUF_INIT;
	struct editor_route route;
	const struct model_side *side;
	float first[TINY_HIDDEN] = { 1 }, second[TINY_HIDDEN] = { 0, 1 };
	struct series s;
	series_make(f, &s);
	routes_fit(f, &routes, f->source, &s.m);
	assert_ok(&f->e, proto_merge_index_encode(&index, &bytes, &f->e));
	s.memories[SHARDS].index_root = node_blob_put(f, &bytes);
	routes_fit(f, &routes, f->source, &s.m); /* the merged memory is renewed */
	assert_ok(&f->e, version_set_build(f->source, &s.m, model_shape_of(f->model), &set, &f->e));
	assert_int_equal(tiny_set_route(set, EDITOR_SET_MERGED, f->model, "x", first, &route, &side), 1);
	assert_int_equal(tiny_set_route(set, EDITOR_SET_MERGED, f->model, "x", second, &route, &side), UINT64_C(1)
													       << 32);
	assert_int_equal(tiny_set_route(routes.set, EDITOR_SET_MERGED, f->model, "x", first, &route, &side), 1);
	editor_memory_set_release(&set);
	buf_append(&bytes, "no index", 8);
	s.memories[SHARDS].index_root = node_blob_put(f, &bytes);
	assert_int_not_equal(version_set_build(f->source, &s.m, model_shape_of(f->model), &set, &f->e), 0);
	assert_non_null(strstr(f->e.text, "merged memory's index"));
	version_routes_fini(&routes);
}

/* The second version's store has nothing but the index that is new. */
static void what_has_not_changed_is_not_read_again(void **state)
{
	struct node_fixture *f = *state;
	struct version_routes routes = { .set = NULL };
	struct store_options options = { .env = f->env, .blobs_only = true };
	struct store *fresh = NULL;
	struct buf index = BUF_INIT;
	struct hash root;
	struct series s;
	series_make(f, &s);
	s.m.memory_count = SHARDS;
	assert_ok(&f->e, store_open(f->data, &options, &fresh, &f->e));
	routes_fit(f, &routes, f->source, &s.m);
	s.memories[4].index_root = key_index_put(f, 50, 8);
	assert_ok(&f->e, store_blob_get(f->source, &s.memories[4].index_root, 100000, &index, &f->e));
	assert_ok(&f->e, store_blob_put(fresh, index.data, index.len, &root, &f->e));
	routes_fit(f, &routes, fresh, &s.m);
	s.memories[0].index_root = s.memories[1].index_root; /* but what stands before it is */
	assert_int_equal(version_routes_renew(&routes, fresh, &s.m, model_shape_of(f->model), &f->e), ERR_NOT_FOUND);
	assert_null(routes.set);
	routes_fit(f, &routes, f->source, &s.m);
	version_routes_fini(&routes);
	buf_free(&index);
	store_close(&fresh);
}

static void deltas_come_when_they_are_read(void **state)
{
	struct node_fixture *f = *state;
	const struct model_shape *shape = model_shape_of(f->model);
	struct version_routes routes = { .set = NULL };
	struct editor_memory_set *whole = NULL;
	struct editor_route route;
	const struct model_side *side, *wanted;
	float raw[TINY_HIDDEN] = { 0, 1 };
	struct series s;
	series_make(f, &s);
	assert_ok(&f->e, version_routes_renew(&routes, f->source, &s.m, shape, &f->e));
	assert_ok(&f->e, version_set_build(f->source, &s.m, shape, &whole, &f->e));
	assert_ok(&f->e, version_routes_delta_read(&routes, f->source, &s.m, shape, 2, &f->e));
	tiny_set_route(routes.set, EDITOR_SET_RETRIEVE, f->model, "x", raw, &route, &side);
	tiny_set_route(whole, EDITOR_SET_RETRIEVE, f->model, "x", raw, &route, &wanted);
	assert_memory_equal(side->delta, wanted->delta, (size_t)TINY_HIDDEN * TINY_FFN * sizeof(float));
	version_routes_delta_drop(&routes, shape, 2);
	tiny_set_route(routes.set, EDITOR_SET_RETRIEVE, f->model, "x", raw, &route, &side);
	assert_null(side->delta);
	assert_int_equal(version_routes_delta_read(&routes, f->source, &s.m, shape, 77, &f->e), ERR_NOT_FOUND);
	editor_memory_set_release(&whole);
	version_routes_fini(&routes);
}

struct renew {
	struct node_fixture *f;
	struct series s;
};

static int renew_twice(void *context)
{
	struct renew *r = context;
	const struct model_shape *shape = model_shape_of(r->f->model);
	struct version_routes routes = { .set = NULL };
	r->s.m.memory_count = 2;
	int rc = version_routes_renew(&routes, r->f->source, &r->s.m, shape, &r->f->e);
	r->s.m.memory_count = SHARDS + 1;
	if (rc == 0)
		rc = version_routes_renew(&routes, r->f->source, &r->s.m, shape, &r->f->e);
	assert_true(rc == 0 || routes.set == NULL);
	version_routes_fini(&routes);
	return rc;
}

static void routes_survive_failing_allocations(void **state)
{
	struct renew r = { .f = *state };
	series_make(r.f, &r.s);
	assert_true(test_walk_allocations(renew_twice, &r) > 10);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_setup_teardown(builds_and_routes, node_setup, node_teardown),
		cmocka_unit_test_setup_teardown(refuses_what_is_not_the_version, node_setup, node_teardown),
		cmocka_unit_test_setup_teardown(survives_failing_allocations, node_setup, node_teardown),
		cmocka_unit_test_setup_teardown(routes_follow_the_versions, node_setup, node_teardown),
		cmocka_unit_test_setup_teardown(what_a_merge_has_lost_is_read_in_its_shard, node_setup, node_teardown),
		cmocka_unit_test_setup_teardown(what_has_not_changed_is_not_read_again, node_setup, node_teardown),
		cmocka_unit_test_setup_teardown(deltas_come_when_they_are_read, node_setup, node_teardown),
		cmocka_unit_test_setup_teardown(routes_survive_failing_allocations, node_setup, node_teardown),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
