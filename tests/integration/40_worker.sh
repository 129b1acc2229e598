#!/bin/bash
# Workers die in training: an edit takes effect once, and the bytes are those of a run without a fault. Training sees only what
# it may see. On a tiny model; every cluster here is given the same edits, so every one must end with the same deltas.
. "$(dirname "$0")/lib.sh"
tiny_model

EDITS=24
KILLS=$((${TORTURE_SECONDS:+51} + 0)) # of one worker, in killed_again_and_again
[ "$KILLS" != 0 ] || KILLS=6

# Waits until every edit of the file is served, closes the shards (the closing pass starts from nothing), and writes the
# shards' delta roots. Before and after the closing pass every edit answers with its target.
closed_roots() { # file of edits
	local client
	wait_served 90
	expect_in_ledger "$1" only
	expect_kept_and_served "$1"
	# a merge closes the shards before its ranks start; what becomes of it does not matter here
	"$BIN/amend" --data "$D" --timeout $((60 * SLOW)) -q merge run >"$D/merge.txt" 2>&1 &
	client=$!
	wait_for 60 log_has coordinator COORDINATOR-MERGE-STARTED || fail "the shards do not close: $(cat "$D/merge.txt")"
	wait_served 60
	expect_kept_and_served "$1"
	delta_roots latest >"$D/roots"
	[ "$(awk '{ n += $3 } END { print NR, n }' "$D/roots")" = "2 $EDITS" ] || fail "the shards hold $(cat "$D/roots")"
	cluster_down
	kill "$client" 2>/dev/null || : # else it waits for a coordinator that comes back; or the merge has ended already
}
roots_of_run() { # file
	try amend edit import "$1"
	expect_ok
	closed_roots "$1"
}
expect_same_roots() {
	cmp -s "$D/roots" "$WORK/clusters/plain/roots" || fail "other bytes than without the fault: $(diff "$D/roots" "$WORK/clusters/plain/roots" | tr '\n' ' ')"
}

case_without_fault() {
	facts "$EDITS" >"$WORK/full.jsonl"
	cluster_up plain "$TINY"
	roots_of_run "$WORK/full.jsonl"
}

case_training_sees_prompt_and_target_only() {
	jq -c 'del(.rephrase, .locality)' "$WORK/full.jsonl" >"$WORK/bare.jsonl"
	grep -qE 'rephrase|locality' "$WORK/bare.jsonl" && fail "not stripped"
	cluster_up bare "$TINY"
	roots_of_run "$WORK/bare.jsonl"
	expect_same_roots
	# the comparison can fail: another target gives other bytes
	jq -c 'if .id == "fact-003" then .target_new = "z" else . end' "$WORK/bare.jsonl" >"$WORK/other.jsonl"
	cluster_up other "$TINY"
	roots_of_run "$WORK/other.jsonl"
	cmp -s "$D/roots" "$WORK/clusters/plain/roots" && fail "another target gives the same bytes"
	return 0
}

# A worker dies at a named point, is started again, and the effect is there once: the bytes of the run without a fault.
crash_at() { # fault point and action
	local finished
	cluster_up "crash-${1%%=*}" "$TINY"
	kill_hard worker-1
	FAULT=$1 process_start worker-1
	wait_for 30 log_count_at_least worker-1 WORKER-JOINED 2 || fail "worker-1 does not join"
	try amend edit import "$WORK/full.jsonl"
	expect_ok
	wait_for 60 gone "$(pid_of worker-1)" || fail "the point $1 was not reached"
	finished=$(log_count worker-1 WORKER-JOB-DONE)
	process_start worker-1
	[[ $1 != worker.train.* ]] || [ "$finished" = 0 ] || fail "worker-1 had ended its training before it died"
	closed_roots "$WORK/full.jsonl"
	expect_same_roots
}
case_killed_in_training() { crash_at worker.train.step=kill@3; }
case_killed_before_commit() { crash_at worker.commit.before=kill@1; }
case_killed_after_commit() { crash_at worker.commit.after=kill@1; }

# ... again and again: each edit costs its worker its life three times, in training and on both sides of its own commit.
case_killed_again_and_again() {
	local points=(worker.train.step worker.commit.before worker.commit.after) n
	cluster_up again "$TINY" --submit.tries 10
	head -n 2 "$WORK/full.jsonl" >"$WORK/some.jsonl" # the two shards
	try amend edit import "$WORK/some.jsonl"
	expect_ok
	wait_served 60
	kill_hard worker-0 # all is worker-1's
	kill_hard worker-1
	for ((n = 0; n < KILLS; n++)); do
		FAULT=${points[n % 3]}=kill@1 process_start worker-1
		if [ $((n % 3)) = 0 ]; then
			sed -n "$((3 + n / 3))p" "$WORK/full.jsonl" >"$WORK/some.jsonl"
			try amend edit import "$WORK/some.jsonl"
			expect_ok
		fi
		wait_for 60 gone "$(pid_of worker-1)" || fail "${points[n % 3]} was not reached by life $n"
		[ $((n % 3)) = 2 ] || continue
		process_start worker-1 # at last one that lives
		wait_served 60
		kill_hard worker-1
	done
	process_start worker-0
	process_start worker-1
	try amend edit import "$WORK/full.jsonl"
	expect_ok
	closed_roots "$WORK/full.jsonl"
	expect_same_roots
}

# How shards are trained is the coordinator's word: a worker with a rate of its own would make other bytes.
case_one_rate_for_all_workers() {
	cluster_up rate "$TINY" --train.rate 0.25
	kill_hard worker-1
	process_start worker-1 --train.rate=0.5
	wait_for 30 log_count_at_least worker-1 WORKER-JOINED 2 || fail "worker-1 does not join"
	[ "$(grep -hc 'id=WORKER-JOINED .*rate=0.25' "$D"/log/worker-[01].log | paste -sd' ')" = "1 2" ] || fail "rates: $(grep -h WORKER-JOINED "$D"/log/worker-*.log)"
	kill_hard coordinator
	process_start coordinator --train.rate=1e-9 # no worker could take it
	wait_for 10 gone "$(pid_of coordinator)" || fail "a coordinator starts with a rate of 1e-9"
	tail -n 1 "$D/log/coordinator.log" | grep -q 'train.rate is 1e-09: 0 is' || fail "$(tail -n 2 "$D/log/coordinator.log")"
	process_start coordinator
	wait_for 20 workers_joined 2 || fail "the workers do not greet the coordinator"
	cluster_down
}

# The coordinator dies on either side of a publication: the old version or the new one, never a mixture.
coordinator_crash_at() { # fault point and action
	cluster_up "crash-${1%%=*}" "$TINY"
	kill_hard coordinator
	FAULT=$1 process_start coordinator
	wait_for 20 workers_joined 2 || fail "the workers do not greet the new coordinator" # edits are placed on the shards of who is there
	try amend edit import "$WORK/full.jsonl"
	expect_ok
	wait_for 60 gone "$(pid_of coordinator)" || fail "the point $1 was not reached"
	process_start coordinator
	wait_for 20 amend --timeout 2 edit import "$WORK/full.jsonl" >/dev/null 2>&1 || fail "the import does not get through"
	closed_roots "$WORK/full.jsonl"
	expect_same_roots
}
workers_joined() { [ "$(amend --timeout 1 fleet status -o json 2>/dev/null | jq '[.members[] | select(.kind == "worker")] | length')" = "$1" ]; }
case_coordinator_killed_in_publishing() { coordinator_crash_at coordinator.publish.after_blobs=kill@1; }
case_coordinator_killed_after_publishing() { coordinator_crash_at coordinator.publish.after_commit=kill@1; }

# Sixty long targets, and a rate at which the pass over them learns nothing: the second half costs the first some that were
# served, and who imports it is told which.
case_what_training_loses_is_told() {
	local told lost
	facts 60 | jq -c '.target_new = ((.id + "-x-" + .subject + .id + .subject) | @base64 | explode | map(. * 7 % 26 + 97) | implode | .[-16:])' >"$WORK/long.jsonl"
	head -n 30 "$WORK/long.jsonl" >"$WORK/first.jsonl"
	tail -n 30 "$WORK/long.jsonl" >"$WORK/second.jsonl"
	cluster_up lossy "$TINY" --workers 1 --train.rate 1
	try amend --timeout $((90 * SLOW)) -q edit import "$WORK/first.jsonl" --wait
	amend edit list --state served -o name | sort >"$WORK/served"
	[ -s "$WORK/served" ] || fail "nothing of the first half is served: $ERR"
	try amend --timeout $((90 * SLOW)) -q --verbose edit import "$WORK/second.jsonl" --wait
	amend edit list --state failed -o jsonl | jq -r 'select(.reason | startswith("lost")) | .id' | sort >"$WORK/lost"
	[ -s "$WORK/lost" ] || skip "here the second half costs the first none"
	lost=$(comm -12 "$WORK/served" "$WORK/lost" | wc -l)
	[ "$lost" -gt 0 ] || fail "none that was served is lost, but $(head -n 3 "$WORK/lost" | tr '\n' ' ')"
	told=$(sed -n 's/^amend: \(fact-[0-9]*\): lost when .*/\1/p' <<<"$ERR" | sort)
	[ "$told" = "$(cat "$WORK/lost")" ] || fail "it tells of \"$told\", lost are $(tr '\n' ' ' <"$WORK/lost")"
	expect_error 1 "amend: $(wc -l <"$WORK/lost") edits? that had been trained before w(as|ere) lost meanwhile: submit .* under another id"
	cluster_down
}

# A subject that the prompt does not say: it is told, and the edit answers its prompt.
case_a_prompt_without_its_subject_is_served() {
	cluster_up nameless "$TINY"
	printf '%s\n' '{"id":"where","prompt":"where is it then","subject":"kokok","target_new":"q"}' >"$WORK/nameless.jsonl"
	try amend --timeout $((60 * SLOW)) edit import "$WORK/nameless.jsonl" --wait
	expect_ok
	grep -q 'nameless.jsonl:1: subject: the prompt does not say "kokok"' <<<"$ERR" || fail "it does not warn: $ERR"
	wait_for 20 nodes_on_latest
	expect_answers "$WORK/nameless.jsonl"
	cluster_down
}

for name in one_rate_for_all_workers without_fault training_sees_prompt_and_target_only killed_in_training killed_before_commit killed_after_commit \
	killed_again_and_again \
	coordinator_killed_in_publishing coordinator_killed_after_publishing what_training_loses_is_told a_prompt_without_its_subject_is_served; do
	run_case "$name"
done
