#include "tests/lib/test.h"

#include "base/json.h"

#include <math.h>

static struct json *parsed(const char *text)
{
	struct json *root = NULL;
	struct err e = ERR_INIT;
	assert_ok(&e, json_parse(text, strlen(text), &root, &e));
	return root;
}

static void reads(void **state)
{
	(void)state;
	struct json *root = parsed("{\"b\":[1,2.5,\"x\\u00e9\",true,null],\"a\":{\"k\":-7}}");
	const struct json *b = json_get(root, "b");
	size_t len;
	assert_int_equal(json_type(root), JSON_OBJECT);
	assert_int_equal(json_length(root), 2);
	assert_int_equal(json_length(b), 5);
	assert_true(json_is_integer(json_at(b, 0)) && json_integer(json_at(b, 0)) == 1);
	assert_false(json_is_integer(json_at(b, 1)));
	assert_true(json_number(json_at(b, 1)) == 2.5);
	assert_string_equal(json_string(json_at(b, 2), &len), "xé");
	assert_int_equal(len, 3);
	assert_true(json_bool(json_at(b, 3)));
	assert_int_equal(json_type(json_at(b, 4)), JSON_NULL);
	assert_null(json_at(b, 5));
	assert_null(json_get(b, "k"));
	assert_null(json_get(root, "none"));
	assert_null(json_string(b, NULL));
	assert_int_equal(json_integer(json_get(json_get(root, "a"), "k")), -7);
	const char *key;
	const struct json *value;
	assert_true(json_member(root, 0, &key, &value));
	assert_string_equal(key, "b");
	assert_ptr_equal(value, b);
	assert_true(json_member(root, 1, &key, &value));
	assert_string_equal(key, "a");
	assert_false(json_member(root, 2, &key, &value));
	json_free(&root);
	assert_null(root);
	json_free(&root);
}

static void refuses(void **state)
{
	(void)state;
	static const char *const bad[] = {
		"",    "{",           "{} x",     "{\"a\":1,\"a\":2}",       "[1,]",
		"nul", "\"\\u0000\"", "\"\xff\"", "99999999999999999999999", "{\"a\" 1}",
	};
	for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++) {
		struct json *root = NULL;
		struct err e = ERR_INIT;
		if (json_parse(bad[i], strlen(bad[i]), &root, &e) != ERR_INVALID)
			fail_msg("accepted '%s'", bad[i]);
		assert_null(root);
		assert_non_null(strstr(e.text, "column "));
	}
}

static void nuls_are_read_where_they_may_be(void **state)
{
	(void)state;
	static const char text[] = "{\"a\":\"x\\u0000y\"}", key[] = "{\"a\\u0000\":1}";
	struct json *root = NULL;
	struct buf again = BUF_INIT;
	struct err e = ERR_INIT;
	size_t len;
	assert_ok(&e, json_parse_nul(text, strlen(text), &root, &e));
	assert_memory_equal(json_string(json_get(root, "a"), &len), "x\0y", 3);
	assert_int_equal(len, 3);
	json_canonical(root, &again);
	assert_string_equal(buf_cstr(&again), text);
	json_free(&root);
	assert_int_equal(json_parse_nul(key, strlen(key), &root, &e), ERR_INVALID);
	buf_free(&again);
}

static void depth(void **state)
{
	(void)state;
	char text[200] = "";
	struct json *root = NULL;
	struct err e = ERR_INIT;
	for (size_t n = JSON_DEPTH_MAX; n <= JSON_DEPTH_MAX + 1; n++) {
		memset(text, '[', n);
		memset(text + n, ']', n);
		int rc = json_parse(text, 2 * n, &root, &e);
		assert_int_equal(rc, n == JSON_DEPTH_MAX ? 0 : ERR_LIMIT);
		json_free(&root);
	}
	/* Brackets inside strings are no nesting. */
	memset(text, '[', 100);
	text[0] = text[99] = '"';
	assert_ok(&e, json_parse(text, 100, &root, &e));
	json_free(&root);
}

static void canonical(void **state)
{
	(void)state;
	struct json *root =
		parsed(" {\"b\" : [1.0, 1e2, 0.1], \"a\":\"\\u001f\\n\\/\\\"\\u00e9\", \"aa\":null,\"id\":\"x\"} ");
	struct buf b = BUF_INIT;
	json_canonical(root, &b);
	assert_string_equal(buf_cstr(&b), "{\"a\":\"\\u001f\\n/\\\"é\",\"aa\":null,\"b\":[1,1e+02,0.1],\"id\":\"x\"}");
	buf_clear(&b);
	json_canonical_without(root, "id", &b);
	assert_null(strstr(buf_cstr(&b), "id"));
	/* The canonical form of the canonical form is itself. */
	struct json *again = parsed(buf_cstr(&b));
	struct buf c = BUF_INIT;
	json_canonical(again, &c);
	assert_string_equal(buf_cstr(&b), buf_cstr(&c));
	buf_free(&b);
	buf_free(&c);
	json_free(&root);
	json_free(&again);
}

static void writes(void **state)
{
	(void)state;
	struct buf b = BUF_INIT;
	struct json_w w;
	json_w_init(&w, &b);
	json_w_open(&w, '{');
	json_w_key(&w, "a\"");
	json_w_open(&w, '[');
	json_w_int(&w, INT64_MIN);
	json_w_uint(&w, UINT64_MAX);
	json_w_real(&w, 0.1);
	json_w_real(&w, NAN);
	json_w_bool(&w, false);
	json_w_null(&w);
	json_w_strn(&w, "x\ty", 2);
	json_w_close(&w);
	json_w_key(&w, "o");
	json_w_open(&w, '{');
	json_w_close(&w);
	json_w_close(&w);
	assert_string_equal(buf_cstr(&b), "{\"a\\\"\":[-9223372036854775808,18446744073709551615,0.1,null,false,null,"
					  "\"x\\t\"],\"o\":{}}");
	buf_free(&b);
}

static void floats_read_back(void **state)
{
	(void)state;
	static const struct {
		float value;
		const char *text;
	} cases[] = { { 0.99999994f, "0.99999994" }, { 0.1f, "0.1" },     { 0, "0" },
		      { 16777216, "16777216" },      { 1e-45f, "1e-45" }, { NAN, "null" } };
	for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
		struct buf b = BUF_INIT;
		struct json_w w;
		json_w_init(&w, &b);
		json_w_open(&w, '{');
		json_w_member_float(&w, "x", cases[i].value);
		json_w_close(&w);
		const char *text = buf_cstr(&b) + strlen("{\"x\":");
		assert_memory_equal(text, cases[i].text, strlen(cases[i].text));
		assert_true(isnan(cases[i].value) || strtof(text, NULL) == cases[i].value);
		buf_free(&b);
	}
}

static void reals_read_back(void **state)
{
	(void)state;
	static const double values[] = { 0.1, 1.0 / 3.0, 1e300, 5e-324, -123456.789, 1e15, 0.0 };
	for (size_t i = 0; i < sizeof(values) / sizeof(values[0]); i++) {
		struct buf b = BUF_INIT;
		struct json_w w;
		json_w_init(&w, &b);
		json_w_real(&w, values[i]);
		struct json *root = parsed(buf_cstr(&b));
		assert_true(json_number(root) == values[i]);
		json_free(&root);
		buf_free(&b);
	}
}

static void key_in_array(void *context)
{
	(void)context;
	struct buf b = BUF_INIT;
	struct json_w w;
	json_w_init(&w, &b);
	json_w_open(&w, '[');
	json_w_key(&w, "k");
}

static void misuse_aborts(void **state)
{
	(void)state;
	assert_true(test_aborts(key_in_array, NULL));
}

static int parse_and_write(void *context)
{
	const char *text = context;
	struct json *root = NULL;
	struct buf b = BUF_INIT;
	int rc = json_parse(text, strlen(text), &root, NULL);
	if (rc == 0) {
		json_canonical(root, &b);
		rc = buf_failed(&b) ? ERR_NOMEM : 0;
	}
	buf_free(&b);
	json_free(&root);
	return rc;
}

static void out_of_memory(void **state)
{
	(void)state;
	char text[] = "{\"a\":[1,\"two\",{\"x\":\"\\u00e9\"}],\"b\":2.5,\"c\":\"long enough to grow a buffer or two, I "
		      "hope\"}";
	assert_true(test_walk_allocations(parse_and_write, text) > 8);
}

static void members(void **state)
{
	(void)state;
	struct buf b = BUF_INIT;
	struct json_w w;
	struct hash hash;
	memset(hash.bytes, 0xab, sizeof hash.bytes);
	json_w_init(&w, &b);
	json_w_open(&w, '{');
	json_w_member_str(&w, "a", "x\"");
	json_w_member_strn(&w, "b", "xyz", 2);
	json_w_member_strn(&w, "c", NULL, 0);
	json_w_member_uint(&w, "d", UINT64_MAX);
	json_w_member_int(&w, "e", -1);
	json_w_member_real(&w, "f", 0.5);
	json_w_member_bool(&w, "g", true);
	json_w_member_hash(&w, "h", &hash);
	json_w_close(&w);
	assert_string_equal(buf_cstr(&b),
			    "{\"a\":\"x\\\"\",\"b\":\"xy\",\"c\":\"\",\"d\":18446744073709551615,\"e\":-1,\"f\":0.5,"
			    "\"g\":true,\"h\":\"abababababababababababababababababababababababababababababababab\"}");
	buf_free(&b);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(members),         cmocka_unit_test(reads),
		cmocka_unit_test(refuses),         cmocka_unit_test(nuls_are_read_where_they_may_be),
		cmocka_unit_test(depth),           cmocka_unit_test(canonical),
		cmocka_unit_test(writes),          cmocka_unit_test(floats_read_back),
		cmocka_unit_test(reals_read_back), cmocka_unit_test(misuse_aborts),
		cmocka_unit_test(out_of_memory),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
