#!/bin/bash
# Workers die in training: an edit takes effect once, and the bytes are those of a run without a fault. Training sees only what
# it may see. On a tiny model; every cluster here is given the same edits, so every one must end with the same deltas.
. "$(dirname "$0")/lib.sh"
tiny_model

EDITS=24

# Imports the edits, waits, closes the shards (the closing pass starts from nothing), and prints the shards' delta roots.
roots_of_run() { # file
	try amend edit import "$1"
	expect_ok
	wait_served 60
	merge_closing
	delta_roots latest >"$D/roots"
}
# The merge itself may fail on a random model; the closing pass is what is wanted.
merge_closing() {
	amend --timeout 60 -q merge run >"$D/merge.txt" 2>&1
	wait_served 60
}

# What became of every edit. The random model cannot learn every one; with and without faults it must be the same ones.
outcomes() { amend edit list -o jsonl | jq -r '"\(.id) \(.state)"' | sort; }
expect_same_outcomes() {
	outcomes >"$D/outcomes"
	cmp -s "$D/outcomes" "$WORK/clusters/plain/outcomes" || fail "other outcomes than without the fault: $(diff "$D/outcomes" "$WORK/clusters/plain/outcomes" | tr '\n' ' ')"
}

case_without_fault() {
	facts "$EDITS" >"$WORK/full.jsonl"
	cluster_up plain "$TINY"
	roots_of_run "$WORK/full.jsonl"
	outcomes >"$D/outcomes"
	[ "$(grep -c ' served$' "$D/outcomes")" -ge $((EDITS / 2)) ] || fail "hardly anything is learnt: $(cat "$D/outcomes")"
	[ "$(wc -l <"$D/roots")" = 2 ] || fail "two workers hold $(wc -l <"$D/roots") shards: $(amend version show)"
	[ "$(awk '{ n += $3 } END { print n }' "$D/roots")" = "$EDITS" ] || fail "the shards hold $(cat "$D/roots")"
	cluster_down
}

case_training_sees_prompt_and_target_only() {
	jq -c 'del(.rephrase, .locality)' "$WORK/full.jsonl" >"$WORK/bare.jsonl"
	grep -qE 'rephrase|locality' "$WORK/bare.jsonl" && fail "not stripped"
	cluster_up bare "$TINY"
	roots_of_run "$WORK/bare.jsonl"
	cluster_down
	cmp -s "$D/roots" "$WORK/clusters/plain/roots" || fail "other bytes without rephrases and locality: $(diff "$D/roots" "$WORK/clusters/plain/roots" | tr '\n' ' ')"
	# the comparison can fail: another target gives other bytes
	jq -c 'if .id == "fact-003" then .target_new = "999" else . end' "$WORK/bare.jsonl" >"$WORK/other.jsonl"
	cluster_up other "$TINY"
	roots_of_run "$WORK/other.jsonl"
	cluster_down
	cmp -s "$D/roots" "$WORK/clusters/plain/roots" && fail "another target gives the same bytes"
	return 0
}

# Named crash points around a worker's commit: it dies there, is started again, and the effect is there once.
crash_at() { # fault point
	cluster_up "crash-$1" "$TINY"
	kill_hard worker-1
	FAULT="$1=kill@1" process_start worker-1
	wait_for 30 log_count_at_least worker-1 WORKER-JOINED 2 || fail "worker-1 does not join"
	try amend edit import "$WORK/full.jsonl"
	expect_ok
	wait_for 60 gone "$(pid_of worker-1)" || fail "the crash point $1 was not reached"
	process_start worker-1
	wait_served 90
	expect_once
	merge_closing
	delta_roots latest >"$D/roots"
	expect_same_outcomes
	cluster_down
	cmp -s "$D/roots" "$WORK/clusters/plain/roots" || fail "other bytes than without the crash: $(diff "$D/roots" "$WORK/clusters/plain/roots" | tr '\n' ' ')"
}
log_count_at_least() { [ "$(log_count "$1" "$2")" -ge "$3" ]; }
case_killed_before_commit() { crash_at worker.commit.before; }
case_killed_after_commit() { crash_at worker.commit.after; }

# The coordinator dies on either side of a publication: the old version or the new one, never a mixture.
coordinator_crash_at() { # fault point
	cluster_up "crash-$1" "$TINY"
	kill_hard coordinator
	FAULT="$1=kill@1" process_start coordinator
	wait_for 20 workers_joined 2 || fail "the workers do not greet the new coordinator" # edits are placed on the shards of who is there
	try amend edit import "$WORK/full.jsonl"
	wait_for 60 gone "$(pid_of coordinator)" || fail "the crash point $1 was not reached"
	process_start coordinator
	wait_for 20 amend --timeout 2 edit import "$WORK/full.jsonl" >/dev/null 2>&1 || fail "the import does not get through"
	wait_served 90
	expect_once
	merge_closing
	expect_same_outcomes
	delta_roots latest >"$D/roots"
	cluster_down
	cmp -s "$D/roots" "$WORK/clusters/plain/roots" || fail "other bytes than without the crash: $(diff "$D/roots" "$WORK/clusters/plain/roots" | tr '\n' ' ')"
}
workers_joined() { [ "$(amend --timeout 1 fleet status -o json 2>/dev/null | jq '[.members[] | select(.kind == "worker")] | length')" = "$1" ]; }
case_coordinator_killed_in_publishing() { coordinator_crash_at coordinator.publish.after_blobs; }

for name in without_fault training_sees_prompt_and_target_only killed_before_commit killed_after_commit coordinator_killed_in_publishing; do
	run_case "$name"
done
