/* config.h: the configuration of every program, as one table (base/conf.h). The same file serves coordinator, workers
 * and nodes. */
#ifndef AMEND_DAEMON_CONFIG_H
#define AMEND_DAEMON_CONFIG_H

#include "base/conf.h"

enum daemon_role {
	DAEMON_COORDINATOR = 1,
	DAEMON_WORKER = 2,
	DAEMON_NODE = 4,
	DAEMON_CLI = 8,
	DAEMON_UP = 16,
	DAEMON_EVAL = 32,      /* `amend eval run` */
	DAEMON_CALIBRATE = 64, /* `amend calibrate` */
};
#define DAEMON_ALL (DAEMON_COORDINATOR | DAEMON_WORKER | DAEMON_NODE)

enum daemon_canaries { DAEMON_CANARIES_AUTO, DAEMON_CANARIES_ON, DAEMON_CANARIES_OFF };

struct daemon_config {
	/* everyone */
	char *data; /* folder of this process */
	char *log_level;
	char *key_file;            /* own key pair */
	char *server_key;          /* the coordinator's public key, 64 hex digits */
	char *coordinator, *hints; /* endpoints: bound by the coordinator, connected to by the others */
	char *name;
	/* engine */
	char *model; /* base model file */
	char *backend;
	int64_t threads;
	/* coordinator */
	char *allow_file;
	char *metrics_listen; /* host:port, "" off */
	int64_t peers_max, edits_per_shard, group_edits, commit_edits, commit_wait_ms, heartbeat_ms, lease_ms,
		progress_ms, edit_tries, queue_edits, space_reserve_bytes, scrub_bytes, retrain_ms, keep_versions, seed;
	int64_t merge_every_edits, merge_interval_ms, merge_ranks, merge_threads, merge_deadline_ms, merge_tries,
		merge_loss_points;
	char *merge_program;
	bool merge_isolate, publish_approve;
	int publish_canaries; /* CONF_CHOICE: enum daemon_canaries */
	int64_t publish_canary_changes;
	/* the editing method */
	int family;    /* CONF_CHOICE: amend|paper */
	int64_t layer; /* 0: the family's own */
	double rate;   /* 0: the family's own */
	int wise_mode; /* CONF_CHOICE: retrieve|merge */
	double wise_alpha, wise_beta, wise_gamma, wise_rate, wise_clip, wise_mask_ratio, wise_stop_delta,
		wise_stop_loss, wise_act_ratio, wise_density;
	int64_t wise_steps, wise_prefix_tokens, wise_shards;
	bool wise_prefixes, wise_activation_loss, wise_replay, wise_trim_nonzero;
	int wise_operator; /* CONF_CHOICE: ties|linear|sign|slerp|dare|dare-ties */
	/* worker */
	char *corpus;
	char *canary_file; /* asked beside the shipped ones; "" none */
	char *calibration; /* file of `amend calibrate`; "" none */
	/* node */
	char *http_listen; /* host:port */
	char *http_public; /* host:port told to others, "" = http_listen */
	int64_t slots, context_tokens, prefill_rows, queue_requests, request_ms, versions_kept, pinned_waits,
		drain_wait_ms, drain_ms;
	int64_t http_connections, http_threads, http_idle_ms, http_body_bytes, http_bodies_bytes;
	int64_t http_header_ms, http_body_ms, http_address_connections;
	int set; /* CONF_CHOICE: auto|retrieve|merged */
	int64_t poll_ms, relay_peers;
	char *relay_listen; /* endpoint; "": no relay */
	char *relays;       /* KEY@ENDPOINT, separated by commas */
	/* up */
	int64_t workers;
};

extern const struct conf_table daemon_config_table;

#endif
