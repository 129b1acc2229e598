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
	assert_ok(&f->e, version_manifest_roots(&m, &roots, &f->e));
	assert_int_equal(roots.len, 3 * sizeof(struct hash)); /* calibration, delta, index */
	assert_ok(&f->e, version_set_build(f->source, &m, model_shape_of(f->model), &set, &f->e));
	assert_int_equal(editor_memory_set_version(set), 3);
	assert_int_equal(editor_memory_set_edit_count(set), 2);
	float raw[TINY_HIDDEN];
	struct editor_route route;
	const struct model_side *side = NULL;
	tiny_raw_key(f->model, node_prompts[1], raw);
	assert_int_equal(tiny_set_route(set, EDITOR_SET_RETRIEVE, f->model, "x", raw, &route, &side), 7);
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

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_setup_teardown(builds_and_routes, node_setup, node_teardown),
		cmocka_unit_test_setup_teardown(refuses_what_is_not_the_version, node_setup, node_teardown),
		cmocka_unit_test_setup_teardown(survives_failing_allocations, node_setup, node_teardown),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
