/* role_worker.c: `amendd worker`. */
#include "daemon/canaries.h"
#include "daemon/metrics_page.h"
#include "daemon/roles.h"
#include "daemon/wiring.h"

#include "base/log.h"
#include "worker/worker.h"

#include <limits.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>

#define TICK_MS    20
#define METRICS_MS 1000
#define STALE_MS   30000 /* without metrics the loop is stuck: /health says so */
#define JOBS_MAX   4

struct role {
	struct wiring wiring;
	struct model *model;
	struct store *blobs;
	struct pool *pool;
	struct worker *worker;
	struct canaries *canaries;
	struct metrics_page *page;
	bool ending;
};

static void on_message(void *context, struct msg_received **received)
{
	struct role *role = context;
	worker_receive(role->worker, received);
}

static void on_signal(void *context, int signal_number)
{
	struct role *role = context;
	if (signal_number == SIGHUP)
		return; /* there is nothing to read again */
	log_event(LOG_INFO, "WORKER-STOPPING", LOGF_I("signal", signal_number));
	role->ending = true;
	worker_close(role->worker);
}

static void on_tick(void *context)
{
	struct role *role = context;
	worker_tick(role->worker);
	if (worker_failed(role->worker, NULL))
		role->ending = true;
	if (role->ending && worker_idle(role->worker))
		proto_loop_stop(role->wiring.loop);
}

static void on_metrics(void *context)
{
	struct role *role = context;
	struct buf text = BUF_INIT;
	worker_metrics(role->worker, &text);
	metrics_page_set(role->page, &text);
	buf_free(&text);
}

static int engine_open(struct role *role, const struct daemon_config *config, struct editor_config *editor,
		       struct err *e)
{
	struct model_options options = { .backend = config->backend,
					 .thread_count = (size_t)config->threads,
					 .stored_too = true };
	int rc = model_open(config->model, &options, &role->model, e);
	if (rc != 0)
		return rc;
	editor_config_default(model_shape_of(role->model), editor);
	return 0;
}

static int canaries_find(struct role *role, const struct daemon_config *config, struct err *e)
{
	char shipped[PATH_MAX];
	int rc = daemon_data_file("canaries.jsonl", shipped, sizeof shipped, e);
	return rc == 0 ? canaries_open(shipped, config->canary_file[0] != '\0' ? config->canary_file : NULL,
				       &role->canaries, e)
		       : rc;
}

static int open_all(struct role *role, const struct daemon_config *config, char corpus[PATH_MAX], struct err *e)
{
	struct editor_config editor = { 0 };
	int rc = wiring_require(config->data, "data", "data", e);
	if (rc == 0)
		rc = wiring_require(config->model, "model.file", "model", e);
	if (rc == 0 && config->corpus[0] == '\0')
		rc = daemon_data_file("calibration.tsv", corpus, PATH_MAX, e);
	else if (rc == 0)
		snprintf(corpus, PATH_MAX, "%s", config->corpus);
	if (rc == 0)
		rc = wiring_client_open(config, false, &role->wiring, e);
	if (rc == 0)
		rc = wiring_signals(&role->wiring, on_signal, role, e);
	if (rc == 0)
		rc = engine_open(role, config, &editor, e);
	struct store_options blobs = { .env = env_system(), .blobs_only = true };
	if (rc == 0)
		rc = store_open(config->data, &blobs, &role->blobs, e);
	if (rc == 0)
		rc = pool_new(1, JOBS_MAX, &role->pool, e);
	if (rc == 0)
		rc = canaries_find(role, config, e);
	struct worker_config worker = { .name = config->name,
					.editor = editor,
					.calibration_corpus = corpus,
					.calibration_file = config->calibration[0] != '\0' ? config->calibration : NULL,
					.data_folder = config->data,
					.software = AMEND_VERSION,
					.canaries = rc == 0 ? canaries_worker(role->canaries) : NULL,
					.canaries_ahead = config->publish_canaries != DAEMON_CANARIES_OFF };
	if (rc == 0)
		rc = worker_new(&worker, env_system(), role->blobs, role->wiring.transport, role->pool, role->model,
				&role->worker, e);
	if (rc == 0 && config->metrics_listen[0] != '\0')
		rc = metrics_page_open(config->metrics_listen, STALE_MS, env_system(), &role->page, e);
	return rc;
}

static int loop_run(struct role *role, struct err *e)
{
	struct proto_loop *loop = role->wiring.loop;
	int rc = proto_loop_transport(loop, role->wiring.transport, on_message, role, e);
	if (rc == 0)
		rc = proto_loop_pool(loop, role->pool, e);
	if (rc == 0)
		rc = proto_loop_timer(loop, TICK_MS, on_tick, role, e);
	if (rc == 0 && role->page != NULL)
		rc = proto_loop_timer(loop, METRICS_MS, on_metrics, role, e);
	if (rc == 0)
		rc = proto_loop_run(loop, e);
	if (rc == 0 && worker_failed(role->worker, e))
		rc = e->code;
	return rc;
}

int daemon_worker_run(const struct daemon_config *config, struct err *e)
{
	struct role role = { 0 };
	char corpus[PATH_MAX];
	int rc = open_all(&role, config, corpus, e);
	if (rc == 0) {
		struct model_backend *backend = model_backend_of(role.model);
		log_event(LOG_INFO, "WORKER-STARTED", LOGF_S("backend", backend->ops->describe(backend)),
			  LOGF_S("coordinator", config->coordinator));
		rc = loop_run(&role, e);
	}
	metrics_page_close(&role.page);
	if (role.worker != NULL)
		worker_close(role.worker);
	pool_destroy(&role.pool);
	worker_destroy(&role.worker);
	canaries_close(&role.canaries);
	store_close(&role.blobs);
	model_close(&role.model);
	wiring_close(&role.wiring);
	return rc;
}
