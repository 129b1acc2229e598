/* role_coordinator.c: `amendd coordinator`. */
#include "daemon/metrics_page.h"
#include "daemon/roles.h"
#include "daemon/wise_settings.h"
#include "daemon/wiring.h"

#include "base/log.h"
#include "coordinator/coordinator.h"
#include "editor/calibration_file.h"
#include "editor/gap.h"

#include <limits.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>

#define TICK_MS    5
#define METRICS_MS 1000
#define STALE_MS   30000 /* without metrics the loop is stuck: /health says so */

struct role {
	const struct daemon_config *config;
	struct wiring wiring; /* its transport is the listening end */
	struct store *store;
	struct coordinator_merge_job merge_job;
	bool has_merge_job;
	struct coordinator *coordinator;
	struct metrics_page *page;
	int code;
	struct err error;
};

static void on_message(void *context, struct msg_received **received)
{
	struct role *role = context;
	coordinator_receive(role->coordinator, received);
}

static void on_tick(void *context)
{
	struct role *role = context;
	coordinator_tick(role->coordinator);
	if (coordinator_failed(role->coordinator, &role->error)) {
		role->code = role->error.code != 0 ? role->error.code : ERR_IO;
		proto_loop_stop(role->wiring.loop);
	} else if (coordinator_shutdown(role->coordinator)) {
		coordinator_close(role->coordinator);
		proto_loop_stop(role->wiring.loop);
	}
}

static void on_auth_open(void *context, const struct err *e)
{
	struct role *role = context;
	log_event(LOG_ERROR, "COORDINATOR-AUTH-OPEN", LOGF_S("reason", e->text));
	if (role->code != 0)
		return;
	role->code = e->code;
	role->error = *e;
}

static void on_metrics(void *context)
{
	struct role *role = context;
	struct buf text = BUF_INIT;
	coordinator_metrics(role->coordinator, &text);
	metrics_page_set(role->page, &text);
	buf_free(&text);
}

static int allow_set(void *context, struct proto_allow **list, struct err *e)
{
	struct role *role = context;
	return wiring_allow_set(&role->wiring, list, e);
}

static void allow_reload(struct role *role)
{
	struct err e = ERR_INIT;
	if (coordinator_keys_reload(role->coordinator, &e) != 0)
		log_event(LOG_ERROR, "COORDINATOR-ALLOW-UNCHANGED", LOGF_S("reason", e.text));
	else
		log_event(LOG_INFO, "COORDINATOR-ALLOW-RELOADED", LOGF_S("file", role->config->allow_file));
}

static void on_signal(void *context, int signal_number)
{
	struct role *role = context;
	if (signal_number == SIGHUP) {
		allow_reload(role);
		return;
	}
	log_event(LOG_INFO, "COORDINATOR-STOPPING", LOGF_I("signal", signal_number));
	coordinator_close(role->coordinator);
	proto_loop_stop(role->wiring.loop);
}

/* The port that is in use may be the one that this process has taken a moment ago. */
static bool one_port(const char *a, const char *b)
{
	const char *of_a = strrchr(a, ':'), *of_b = strrchr(b, ':');
	return of_a != NULL && of_b != NULL && strcmp(of_a, of_b) == 0;
}

static int listen_open(struct role *role, struct err *e)
{
	const struct daemon_config *config = role->config;
	struct proto_limits limits = PROTO_LIMITS_DEFAULT;
	limits.peers_max = (size_t)config->peers_max;
	int rc = proto_zmq_listen(role->wiring.zmq, config->coordinator, config->hints, &limits,
				  &role->wiring.transport, e);
	if (rc == ERR_BUSY && one_port(config->coordinator, config->hints))
		return err_set(e, ERR_INVALID,
			       "coordinator.endpoint (%s) and coordinator.hints (%s) name the same port; give each one "
			       "of its own",
			       config->coordinator, config->hints);
	return rc;
}

static int transport_open(struct role *role, struct err *e)
{
	const struct daemon_config *config = role->config;
	int rc = proto_keypair_load(config->key_file, &role->wiring.keys, e);
	if (rc == 0)
		rc = proto_allow_load(config->allow_file, &role->wiring.allow, e);
	if (rc == 0)
		rc = proto_loop_new(env_system(), &role->wiring.loop, e);
	if (rc == 0)
		rc = wiring_signals(&role->wiring, on_signal, role, e);
	if (rc == 0)
		rc = proto_zmq_new(&role->wiring.keys, role->wiring.allow, env_system(), &role->wiring.zmq, e);
	return rc == 0 ? listen_open(role, e) : rc;
}

static int merge_job_open(struct role *role, struct err *e)
{
	static char program[PATH_MAX + 16];
	const struct daemon_config *config = role->config;
	char folder[PATH_MAX];
	int rc = daemon_program_folder(folder, sizeof folder, e);
	if (rc != 0)
		return rc;
	snprintf(program, sizeof program, "%s/amend-merge", folder);
	struct coordinator_merge_options options = {
		.program = config->merge_program[0] != '\0' ? config->merge_program : program,
		.model = config->model,
		.threads_per_rank = (uint32_t)config->merge_threads,
		.isolate = config->merge_isolate,
	};
	rc = coordinator_merge_job_new(&options, &role->merge_job, e);
	role->has_merge_job = rc == 0;
	return rc;
}

/* The measured margins with this cluster's other settings, and what they were measured on. */
static int settings_wrap(struct editor_calibration_file *given, struct editor_wise_calibration *calibration,
			 struct buf *settings, struct err *e)
{
	struct editor_wise_calibration measured;
	int rc = editor_wise_calibration_decode(given->calibration.data, given->calibration.len, &measured, e);
	if (rc != 0)
		return rc;
	calibration->base_model = measured.base_model;
	calibration->corpus = measured.corpus;
	calibration->layer = measured.layer;
	buf_clear(&given->calibration);
	rc = editor_wise_calibration_encode(calibration, &given->calibration, e);
	return rc == 0 ? editor_calibration_file_encode(given, settings, e) : rc;
}

/* What only the paper's family needs: how workers train, and how their finished deltas are put together. */
static int paper_settings(const struct daemon_config *c, struct editor_calibration_file *given, struct buf *settings,
			  struct coordinator_config *out, struct err *e)
{
	struct editor_wise_calibration calibration = { .wise = { .alpha = 0 } };
	int rc = 0;
	daemon_wise_config(c, &calibration.wise);
	if (given != NULL) {
		rc = editor_calibration_file_alone(given, c->calibration, &calibration.wise, e);
		if (rc == 0)
			rc = editor_calibration_file_margins(given, c->calibration,
							     c->layer > 0 ? (size_t)c->layer : SIZE_MAX,
							     &calibration.wise, e);
		if (rc == 0)
			rc = settings_wrap(given, &calibration, settings, e);
	} else {
		rc = editor_wise_calibration_encode(&calibration, settings, e);
	}
	out->family = "paper";
	out->settings = (struct msg_bytes){ settings->data, settings->len };
	out->replay = calibration.wise.replay;
	out->merge_operator = calibration.wise.merge_operator;
	out->merge_density = (double)calibration.wise.merge_density;
	out->merge_trim_nonzero = calibration.wise.merge_trim_nonzero;
	return rc;
}

/* What the method's settings and the calibration file say to workers. */
static int method_settings(const struct daemon_config *c, struct buf *settings, struct coordinator_config *out,
			   struct err *e)
{
	struct editor_calibration_file given = { .calibration = BUF_INIT };
	struct buf bytes = BUF_INIT;
	const bool has_file = c->calibration[0] != '\0', paper = daemon_family(c) == EDITOR_FAMILY_PAPER;
	int rc = has_file ? editor_calibration_file_read(c->calibration, &bytes, &given, e) : 0;
	if (rc == 0 && has_file) {
		rc = editor_calibration_file_check(&given, c->calibration, daemon_family(c), NULL, e);
		hash_of(bytes.data, bytes.len, &out->calibration);
	}
	if (rc == 0 && paper)
		rc = paper_settings(c, has_file ? &given : NULL, settings, out, e);
	editor_calibration_file_fini(&given);
	buf_free(&bytes);
	return rc;
}

static int coordinator_open(struct role *role, struct err *e)
{
	const struct daemon_config *c = role->config;
	if (c->rate != 0 && c->rate < (double)EDITOR_RATE_MIN)
		return err_set(e, ERR_INVALID, "train.rate is %g: 0 is the family's own, else it is %g to 1", c->rate,
			       (double)EDITOR_RATE_MIN);
	struct buf settings = BUF_INIT;
	struct coordinator_config config = {
		.peers_max = (uint32_t)c->peers_max,
		.edits_per_shard = (uint32_t)c->edits_per_shard,
		.group_edits_max = (uint32_t)c->group_edits,
		.commit_edits_max = (uint32_t)c->commit_edits,
		.commit_wait_ms = (uint32_t)c->commit_wait_ms,
		.heartbeat_ms = (uint32_t)c->heartbeat_ms,
		.lease_ms = (uint32_t)c->lease_ms,
		.progress_ms_max = (uint32_t)c->progress_ms,
		.edit_tries_max = (uint32_t)c->edit_tries,
		.queue_edits_max = (uint32_t)c->queue_edits,
		.merge_every_edits = (uint32_t)c->merge_every_edits,
		.merge_interval_ms = (uint32_t)c->merge_interval_ms,
		.merge_ranks = (uint32_t)c->merge_ranks,
		.merge_deadline_ms = (uint32_t)c->merge_deadline_ms,
		.merge_tries_max = (uint32_t)c->merge_tries,
		.merge_loss_points = (uint32_t)c->merge_loss_points,
		.canaries = c->publish_canaries == DAEMON_CANARIES_ON ||
			    (c->publish_canaries == DAEMON_CANARIES_AUTO && daemon_family(c) != EDITOR_FAMILY_PAPER),
		.canary_changes = (uint32_t)c->publish_canary_changes,
		.approve = c->publish_approve,
		.store_threads = 1,
		.keep_versions = (uint64_t)c->keep_versions,
		.scrub_bytes_per_s = (uint64_t)c->scrub_bytes,
		.retrain_ms = (uint32_t)c->retrain_ms,
		.space_reserve_bytes = (uint64_t)c->space_reserve_bytes,
		.seed = (uint64_t)c->seed,
		.layer = c->layer > 0 ? (uint32_t)c->layer : UINT32_MAX,
		.rate = c->rate,
		.data_folder = c->data,
		.cluster_id = "",
		.family = "amend",
		.tensor_format = "blk.%u.ffn_down.weight",
		.key = role->wiring.keys.public_key,
		.allow_file = c->allow_file,
		.allow_set = allow_set,
		.allow_context = role,
	};
	int rc = method_settings(c, &settings, &config, e);
	if (rc == 0)
		rc = coordinator_new(&config, env_system(), role->store, role->wiring.transport, &role->merge_job,
				     &role->coordinator, e);
	if (rc == 0)
		rc = coordinator_keys_reload(role->coordinator, e);
	buf_free(&settings);
	return rc;
}

static int open_all(struct role *role, struct err *e)
{
	const struct daemon_config *config = role->config;
	int rc = wiring_require(config->data, "data", "data", e);
	if (rc == 0)
		rc = wiring_require(config->key_file, "key.file", "key-file", e);
	if (rc == 0)
		rc = wiring_require(config->allow_file, "allow.file", "allow-file", e);
	struct store_options options = { .env = env_system() };
	if (rc == 0) /* the folder first: a second coordinator on it must not reach the port */
		rc = store_open(config->data, &options, &role->store, e);
	if (rc == 0)
		rc = transport_open(role, e);
	if (rc == 0)
		rc = merge_job_open(role, e);
	if (rc == 0)
		rc = coordinator_open(role, e);
	if (rc == 0 && config->metrics_listen[0] != '\0')
		rc = metrics_page_open(config->metrics_listen, STALE_MS, env_system(), &role->page, e);
	return rc;
}

static int loop_run(struct role *role, struct err *e)
{
	struct proto_loop *loop = role->wiring.loop;
	int rc = proto_loop_transport(loop, role->wiring.transport, on_message, role, e);
	if (rc == 0)
		rc = proto_loop_timer(loop, TICK_MS, on_tick, role, e);
	if (rc == 0)
		rc = wiring_auth_watch(&role->wiring, on_auth_open, role, e);
	if (rc == 0 && role->page != NULL)
		rc = proto_loop_timer(loop, METRICS_MS, on_metrics, role, e);
	if (rc == 0)
		rc = proto_loop_run(loop, e);
	if (rc == 0 && role->code != 0) {
		*e = role->error;
		rc = role->code;
	}
	return rc;
}

int daemon_coordinator_run(const struct daemon_config *config, struct err *e)
{
	struct role role = { .config = config };
	int rc = open_all(&role, e);
	if (rc == 0) {
		log_event(LOG_INFO, "COORDINATOR-LISTENING",
			  LOGF_S("endpoint", proto_zmq_endpoint(role.wiring.transport, false)),
			  LOGF_S("metrics", role.page != NULL ? metrics_page_address(role.page) : ""),
			  LOGF_S("data", config->data));
		rc = loop_run(&role, e);
	}
	metrics_page_close(&role.page);
	coordinator_destroy(&role.coordinator);
	if (role.has_merge_job)
		coordinator_merge_job_fini(&role.merge_job);
	wiring_close(&role.wiring);
	store_close(&role.store);
	return rc;
}
