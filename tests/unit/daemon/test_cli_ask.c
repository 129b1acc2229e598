/* Asking a node: a real coordinator names it, and an HTTP server of the test plays it. */
#include "tests/lib/cli_fixture.h"

#include "daemon/http.h"

#include <pthread.h>

#define BASE "Tiny-1"

struct node {
	struct cli_world *w;
	struct http_server *http;
	struct err e;
	pthread_mutex_t lock; /* of what follows: the server has threads of its own */
	struct buf body;      /* of the last question */
	int status;
	const char *answer; /* NULL: an ordinary one */
	size_t answer_spaces;
	size_t questions;
	bool interrupts; /* the question is followed by SIGINT for the asker */
	pthread_t asker;
};

static struct cli *interrupted_cli; /* a handler has no context */

static void on_signal(int signal_number)
{
	(void)signal_number;
	interrupted_cli->interrupted = 1;
}

static void answer_write(struct node *n, const char *body, size_t len, struct buf *text)
{
	pthread_mutex_lock(&n->lock);
	buf_clear(&n->body);
	buf_append(&n->body, body, len);
	n->questions++;
	if (n->interrupts)
		pthread_kill(n->asker, SIGINT);
	if (n->answer != NULL)
		buf_puts(text, n->answer);
	else
		buf_puts(text,
			 "{\"object\":\"text_completion\",\"choices\":[{\"index\":0,\"text\":\" Ada "
			 "\\u001b[31mLovelace\"}],"
			 "\"system_fingerprint\":\"amend-00-v1-11\",\"amend\":{\"version\":1,\"route\":\"memory:1\","
			 "\"prompt_score\":0.75,\"edits\":[2]}}");
	for (size_t i = 0; i < n->answer_spaces; i++)
		buf_u8(text, ' ');
	pthread_mutex_unlock(&n->lock);
}

static void on_request(void *context, struct http_exchange *x)
{
	struct node *n = context;
	struct buf text = BUF_INIT;
	size_t len;
	const char *body = http_body(x, &len);
	if (strcmp(http_path(x), "/v1/models") == 0)
		buf_puts(&text, "{\"data\":[{\"id\":\"" BASE "\"},{\"id\":\"" BASE ":merged\"}]}");
	else
		answer_write(n, body, len, &text);
	http_reply(x, strcmp(http_path(x), "/v1/models") == 0 ? 200 : n->status, "application/json", &text);
}

static void node_join(struct node *n)
{
	struct end_peer *end = &n->w->cluster->node;
	const char *address = http_server_address(n->http);
	struct msg msg = { .type = MSG_HELLO };
	msg.u.hello = (struct msg_hello){ .kind = MSG_PEER_NODE,
					  .protocol_min = 1,
					  .protocol_max = 1,
					  .name = { "node", 4 },
					  .software = { "test", 4 },
					  .backend = { "reference", 9 },
					  .endpoint = { address, strlen(address) },
					  .boot = 1,
					  .layers = 30,
					  .hidden = 576,
					  .ffn = 1536,
					  .pid = 1 };
	memset(msg.u.hello.base_model.bytes, 0xab, HASH_BYTES);
	end_send(end, &msg);
	cluster_run(end->cluster);
	end_drop(end, MSG_HELLO_REPLY);
}

static int setup(void **state)
{
	struct node *n = calloc(1, sizeof *n);
	struct http_config config = { "127.0.0.1:0", 65536, 8, 1, 5, 0, 0, 0, 0 };
	void *world = NULL;
	assert_non_null(n);
	pthread_mutex_init(&n->lock, NULL);
	n->status = 200;
	if (cli_setup_cluster(&world) != 0)
		return -1;
	n->w = world;
	assert_ok(&n->e, http_server_open(&config, on_request, n, &n->http, &n->e));
	*state = n;
	return 0;
}

static int teardown(void **state)
{
	struct node *n = *state;
	void *world = n->w;
	http_server_close(&n->http);
	buf_free(&n->body);
	pthread_mutex_destroy(&n->lock);
	free(n);
	return cli_teardown(&world);
}

/* What the node was asked for, of the last question. */
static void expect_asked_of(struct node *n, const char *model, int64_t tokens, int64_t version)
{
	struct json *asked = NULL;
	assert_ok(&n->e, json_parse(buf_cstr(&n->body), n->body.len, &asked, &n->e));
	const char *name = json_string(json_get(asked, "model"), NULL);
	if (model == NULL)
		assert_null(name);
	else
		assert_string_equal(name, model);
	assert_int_equal(json_integer(json_get(asked, "max_tokens")), tokens);
	assert_string_equal(json_string(json_get(asked, "prompt"), NULL), "Who?");
	assert_int_equal(json_integer(json_get(json_get(asked, "amend"), "version")), version);
	json_free(&asked);
}

static void expect_asked(struct node *n, const char *model, int64_t tokens)
{
	expect_asked_of(n, model, tokens, 0);
}

static void the_answer_is_one_line(void **state)
{
	struct node *n = *state;
	node_join(n);
	EXPECT(n->w, CLI_OK, "ask", "Who?");
	assert_string_equal(cli_out(n->w), "Ada \\x1B[31mLovelace\n"); /* what a model says never steers a terminal */
	expect_asked(n, NULL, 32);
}

/* Every answer names its version and memory, beside the data. */
static void version_and_memory_are_told_apart_from_the_answer(void **state)
{
	struct node *n = *state;
	node_join(n);
	EXPECT(n->w, CLI_OK, "ask", "Who?");
	assert_string_equal(cli_err(n->w), "(v1, memory:1)\n");
	EXPECT(n->w, CLI_OK, "-q", "ask", "Who?");
	assert_string_equal(cli_err(n->w), "");
	n->answer = "{\"choices\":[{\"text\":\"\\n\"}],\"amend\":{\"version\":0,\"route\":\"main\"}}";
	EXPECT(n->w, CLI_OK, "ask", "Who?");
	assert_string_equal(cli_out(n->w), "(empty answer)\n");
	assert_string_equal(cli_err(n->w), "(no version, main)\n");
	n->answer = "{\"choices\":[{\"text\":\"x\"}],\"amend\":{\"version\":2,\"route\":\"merged:3\"}}";
	EXPECT(n->w, CLI_OK, "ask", "Who?");
	assert_string_equal(cli_err(n->w), "(v2, merged:3)\n");
}

static void explain_shows_route_scores_and_edits(void **state)
{
	struct node *n = *state;
	node_join(n);
	client_facts(n->w->cluster, 1, 1); /* seq 2 */
	n->answer = "{\"choices\":[{\"text\":\" Ada\"}],\"system_fingerprint\":\"amend-00-v1-11\",\"amend\":{"
		    "\"version\":1,\"route\":\"main\",\"prompt_score\":0.25,\"prompt_threshold\":0.5,"
		    "\"subject_found\":false,\"edits\":[2,77],\"scores\":[0.25,0.125]}}";
	EXPECT(n->w, CLI_OK, "ask", "Who?", "--explain", "--max-tokens", "5");
	cli_expect_out(n->w, "version      v1, fingerprint amend-00-v1-11\n");
	cli_expect_out(n->w, "route        main\n");
	cli_expect_out(n->w, "similarity   0.250 < 0.500, the least for a memory\n");
	cli_expect_out(n->w, "subject      the nearest edit's does not stand in the question\n");
	cli_expect_out(n->w, "0.250  2    ");
	cli_expect_out(n->w, "0.125  77   -"); /* one that is not to be seen */
	expect_asked(n, NULL, 5);
	n->answer = NULL; /* read from a memory, and no subject was found */
	EXPECT(n->w, CLI_OK, "ask", "Who?", "--explain");
	cli_expect_out(
		n->w,
		"subject      the nearest edit was given none: names or a rare word of its prompt stand for it\n");
	assert_null(strstr(cli_out(n->w), "\nwords "));
	n->answer =
		"{\"choices\":[{\"text\":\" Ada\"}],\"amend\":{\"version\":1,\"route\":\"main\",\"relation_score\":0,"
		"\"relation_threshold\":0.5,\"subject_found\":true,\"told_apart\":true,\"edits\":[2]}}";
	EXPECT(n->w, CLI_OK, "ask", "Who?", "--explain");
	cli_expect_out(n->w,
		       "subject      the nearest edit's stands in the question\nwords        the nearest edit's are ");
	assert_null(strstr(cli_out(n->w), "\nrelation "));
	n->answer = "{\"choices\":[{\"text\":\" Ada\"}],\"amend\":{\"version\":1,\"route\":\"main\","
		    "\"subject_found\":false,\"told_apart\":true,\"edits\":[2]}}";
	EXPECT(n->w, CLI_OK, "ask", "Who?", "--explain");
	cli_expect_out(n->w, "subject      the nearest edit was given none: ");
	n->answer = "{\"choices\":[{\"text\":\" Ada\"}],\"amend\":{\"version\":1,\"route\":\"main\"}}";
	EXPECT(n->w, CLI_OK, "ask", "Who?", "-o", "json");
	struct json *answer = cli_json(n->w);
	assert_string_equal(json_string(json_get(json_get(answer, "amend"), "route"), NULL), "main");
	json_free(&answer);
}

/* A model may say any character: what a terminal cannot show is shown escaped, what a program reads stays. */
static void an_answer_may_hold_a_nul(void **state)
{
	struct node *n = *state;
	node_join(n);
	n->answer = "{\"choices\":[{\"text\":\" Ada\\u0000 Lovelace\"}],\"amend\":{\"version\":1,\"route\":\"main\"}}";
	EXPECT(n->w, CLI_OK, "ask", "Who?");
	assert_string_equal(cli_out(n->w), "Ada\\x00 Lovelace\n");
	EXPECT(n->w, CLI_OK, "ask", "Who?", "-o", "json");
	cli_expect_out(n->w, "\"text\":\" Ada\\u0000 Lovelace\"");
	EXPECT(n->w, CLI_OK, "ask", "Who?", "-o", "yaml");
	cli_expect_out(n->w, "text: \" Ada\\u0000 Lovelace\"");
}

static void a_set_and_the_base_are_named(void **state)
{
	struct node *n = *state;
	node_join(n);
	EXPECT(n->w, CLI_OK, "ask", "Who?", "--set", "merged");
	expect_asked(n, BASE ":merged", 32);
	EXPECT(n->w, CLI_OK, "ask", "Who?", "--base");
	expect_asked(n, BASE, 32);
}

/* The model's name without a set would be the unedited model. */
static void a_version_is_asked_for_by_its_number(void **state)
{
	struct node *n = *state;
	node_join(n);
	EXPECT(n->w, CLI_OK, "ask", "Who?", "--version", "v7");
	expect_asked_of(n, NULL, 32, 7);
	EXPECT(n->w, CLI_OK, "ask", "Who?", "--version", "latest");
	expect_asked_of(n, NULL, 32, 0);
	EXPECT(n->w, CLI_OK, "ask", "Who?", "--set", "retrieve", "--version", "7");
	expect_asked_of(n, BASE ":retrieve", 32, 7);
}

static void a_wrong_question_is_not_sent(void **state)
{
	struct node *n = *state;
	node_join(n);
	EXPECT(n->w, CLI_USAGE, "ask", "Who?", "--set", "all");
	cli_expect_err(n->w, "--set all: may be merged or retrieve");
	EXPECT(n->w, CLI_USAGE, "ask", "Who?", "--base", "--version", "v1");
	EXPECT(n->w, CLI_USAGE, "ask", "Who?", "--version", "seven");
	EXPECT(n->w, CLI_USAGE, "ask", "Who?", "--max-tokens", "0");
	EXPECT(n->w, CLI_USAGE, "ask");
	assert_int_equal(n->questions, 0);
}

static void no_node_is_not_found(void **state)
{
	struct node *n = *state;
	EXPECT(n->w, CLI_NOT_FOUND, "ask", "Who?");
	cli_expect_err(n->w, "no node is there");
	node_join(n);
	EXPECT(n->w, CLI_NOT_FOUND, "ask", "Who?", "--node", "other");
	cli_expect_err(n->w, "no node is called \"other\"");
	EXPECT(n->w, CLI_OK, "ask", "Who?", "--node", "node");
}

static void what_the_node_refuses_is_passed_on(void **state)
{
	struct node *n = *state;
	node_join(n);
	n->answer = "{\"error\":{\"message\":\"no such model\"}}";
	n->status = 404;
	EXPECT(n->w, CLI_NOT_FOUND, "ask", "Who?");
	cli_expect_err(n->w, "the node answered 404: no such model");
	n->status = 503;
	EXPECT(n->w, CLI_PENDING, "ask", "Who?");
	n->status = 400;
	EXPECT(n->w, CLI_FAILED, "ask", "Who?");
	n->status = 500;
	n->answer = "<html>";
	EXPECT(n->w, CLI_FAILED, "ask", "Who?");
	assert_string_equal(cli_out(n->w), "");
}

static void too_long_an_answer_is_cut_off(void **state)
{
	struct node *n = *state;
	node_join(n);
	n->answer_spaces = 16 * 1024 * 1024;
	EXPECT(n->w, CLI_FAILED, "ask", "Who?");
	cli_expect_err(n->w, "the answer is over 16777216 bytes");
}

static void an_interrupt_ends_the_question(void **state)
{
	struct node *n = *state;
	node_join(n);
	n->interrupts = true;
	n->asker = pthread_self();
	interrupted_cli = &n->w->cli;
	signal(SIGINT, on_signal);
	EXPECT(n->w, CLI_INTERRUPTED, "ask", "Who?");
	signal(SIGINT, SIG_DFL);
	cli_expect_err(n->w, "interrupted: ");
	assert_string_equal(cli_out(n->w), "");
}

static void a_dead_node_is_unreachable(void **state)
{
	struct node *n = *state;
	node_join(n);
	http_server_close(&n->http);
	EXPECT(n->w, CLI_UNREACHABLE, "ask", "Who?");
	cli_expect_err(n->w, "`amend fleet status` lists the nodes");
}

static void configure(struct node *n)
{
	char path[TEST_PATH_BYTES], text[256];
	assert_ok(&n->e, file_make_folder(n->w->folder, &n->e));
	test_path(path, n->w->folder, "amend.yaml");
	snprintf(text, sizeof text, "node:\n  listen: \"%s\"\n", http_server_address(n->http));
	test_file_write(path, text);
}

/* Nodes serve on while the coordinator is away; so does asking them. */
static void without_a_coordinator_the_configured_node_is_asked(void **state)
{
	struct node *n = *state;
	configure(n);
	n->w->deaf = true;
	EXPECT(n->w, CLI_OK, "ask", "Who?");
	assert_string_equal(cli_out(n->w), "Ada \\x1B[31mLovelace\n");
	cli_expect_err(n->w, "did not answer within 10000 ms");
	cli_expect_err(n->w, http_server_address(n->http));
	cli_expect_err(n->w, "the node of the configuration file");
	cli_expect_err(n->w, "(v1, memory:1)\n");
	int64_t began = env_monotonic_ms(n->w->cli.env);
	EXPECT(n->w, CLI_OK, "ask", "Who?", "--explain");
	cli_expect_out(n->w, "2    -"); /* the edits are not looked up in vain */
	assert_true(env_monotonic_ms(n->w->cli.env) - began < 15000);
	/* neither a named node nor a cluster elsewhere is that of the file */
	EXPECT(n->w, CLI_UNREACHABLE, "ask", "Who?", "--node", "node");
	EXPECT(n->w, CLI_UNREACHABLE, "--coordinator", "tcp://127.0.0.1:9", "ask", "Who?");
	assert_int_equal(n->questions, 2);
}

/* A fact may have lines: the answer is shown whole, and the node is not told to stop at the first. */
static void every_line_of_an_answer_is_shown(void **state)
{
	struct node *n = *state;
	n->answer = "{\"choices\":[{\"text\":\" roses are red\\nviolets\\u001b[2J are "
		    "blue\\n\",\"finish_reason\":\"length\"}],"
		    "\"amend\":{\"version\":1,\"route\":\"memory:1\"}}";
	node_join(n);
	EXPECT(n->w, CLI_OK, "ask", "Poem?");
	assert_string_equal(cli_out(n->w), "roses are red\nviolets\\x1B[2J are blue\n");
	cli_expect_err(n->w, "(v1, memory:1; cut at its longest: --max-tokens N shows more)\n");
	assert_null(strstr(buf_cstr(&n->body), "\"stop\""));
	EXPECT(n->w, CLI_OK, "ask", "Poem?", "-o", "json");
	cli_expect_out(n->w, "roses are red\\nviolets");
}

int main(void)
{
#define NODE(f) cmocka_unit_test_setup_teardown(f, setup, teardown)
	const struct CMUnitTest tests[] = {
		NODE(the_answer_is_one_line),
		NODE(version_and_memory_are_told_apart_from_the_answer),
		NODE(explain_shows_route_scores_and_edits),
		NODE(an_answer_may_hold_a_nul),
		NODE(every_line_of_an_answer_is_shown),
		NODE(a_set_and_the_base_are_named),
		NODE(a_version_is_asked_for_by_its_number),
		NODE(a_wrong_question_is_not_sent),
		NODE(no_node_is_not_found),
		NODE(what_the_node_refuses_is_passed_on),
		NODE(too_long_an_answer_is_cut_off),
		NODE(an_interrupt_ends_the_question),
		NODE(a_dead_node_is_unreachable),
		NODE(without_a_coordinator_the_configured_node_is_asked),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
