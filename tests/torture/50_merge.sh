#!/bin/bash
# Merges: the same bits for any number of ranks and any way to reduce, and ranks that die (cases 12 and 13). On a tiny model.
. "$(dirname "$0")/lib.sh"
tiny_model

# As coordinator/merge_job.c starts it: in namespaces of its own, since MPI listens on every address.
merge_with() { # run folder, output, ranks, mpirun flags...
	local folder=$1 output=$2 ranks=$3
	shift 3
	unshare -pfnm --kill-child --mount-proc sh -c 'ip link set lo up; exec "$@"' - \
		mpirun $([ "$(id -u)" = 0 ] && echo --allow-run-as-root) --oversubscribe --bind-to none --mca plm isolated --mca btl self,vader \
		--mca btl_vader_single_copy_mechanism none --mca oob_tcp_if_include lo "$@" -np "$ranks" \
		"$BIN/amend-merge" --plan "$folder/plan.json" --output "$output" --model "$TINY" --threads 1 >"$WORK/merge.log" 2>&1
}
case_same_bits() {
	local run first='' hash apart
	need mpirun
	need unshare
	unshare -pfnm --mount-proc true 2>/dev/null || skip "namespaces are not allowed here"
	case_begin merge
	facts 24 merge >"$WORK/merge.jsonl"
	client "$WORK/merge.jsonl" >/dev/null || fail "the client is not answered"
	wait_served 90
	kill_hard coordinator
	FAULT=coordinator.merge.before_publish=kill@1 process_start coordinator
	wait_for 20 answering || fail "the coordinator does not come back"
	amend --timeout 20 merge run >/dev/null 2>&1 &
	wait_for 90 gone "$(pid_of coordinator)" || fail "the merge is not published"
	cluster_kill "$D"
	for run in "1" "2" "3" "2 --mca coll_tuned_use_dynamic_rules 1 --mca coll_tuned_allreduce_algorithm 1" \
		"2 --mca coll_tuned_use_dynamic_rules 1 --mca coll_tuned_allreduce_algorithm 3" \
		"3 --mca coll_tuned_use_dynamic_rules 1 --mca coll_tuned_allreduce_algorithm 4" \
		"3 --mca coll_tuned_use_dynamic_rules 1 --mca coll_tuned_allreduce_algorithm 6"; do
		rm -f "$WORK/output"
		apart= # where they see nothing of one another, ranks send what they add up, by each of MPI's ways
		[[ $run == *allreduce* ]] && apart=worker.merge.share=errno@1:1000
		AMEND_FAULT=$apart merge_with "$D/coordinator/merge/1" "$WORK/output" $run || fail "ranks $run: $(tail -n 2 "$WORK/merge.log")"
		hash=$(tail -c "+$(($(grep -abo -m 1 AMDL "$WORK/output" | head -n 1 | cut -d: -f1) + 1))" "$WORK/output" | sha256sum) # the delta
		[ -n "$first" ] || first=$hash
		[ "$hash" = "$first" ] || fail "I4: with ranks $run another output than with one"
		count merges
	done
	note "the same output seven times: ${first:0:12}"
}

# A rank is killed, or stands still: the old version serves on, the merge is tried again and published, nothing is left behind.
ranks_of() { for pid in $(pgrep -x amend-merge); do grep -qaF -- "$D/" "/proc/$pid/cmdline" 2>/dev/null && echo "$pid"; done; }
rank_runs() { [ "$(ranks_of | wc -l)" -ge 2 ]; }
case_rank_dies() {
	local signal version tries
	need mpirun
	case_begin ranks --merge.deadline_ms 12000
	facts 16 ranks >"$WORK/ranks.jsonl"
	client "$WORK/ranks.jsonl" >/dev/null || fail "the client is not answered"
	wait_served 90
	kill_hard coordinator
	FAULT=worker.merge.reduce=delay-3000@1 process_start coordinator # its ranks have it, too: they run long enough
	wait_for 20 answering || fail "the coordinator does not come back"
	poll_answers &
	for signal in KILL SEGV STOP; do
		version=$(amend version list -o json | jq '.[-1].version')
		amend --timeout $((120 * SLOW)) merge run >"$WORK/merge.txt" 2>&1 &
		tries=$!
		wait_for 30 rank_runs || fail "no ranks run: $(cat "$WORK/merge.txt")"
		kill "-$signal" "$(ranks_of | head -n 1)"
		count faults
		[ "$(amend version list -o json | jq '.[-1].version')" -ge "$version" ] || fail "the version is gone"
		wait_for 120 gone "$tries" || fail "$signal: the merge does not end"
		wait "$tries" || fail "$signal: $(cat "$WORK/merge.txt")"
		[ -z "$(ranks_of)" ] || fail "$signal: ranks are left: $(ranks_of)"
		log_count_at_least coordinator COORDINATOR-MERGE-ATTEMPT-FAILED 1 || fail "$signal: no attempt failed"
		facts 2 "more${signal,,}" >"$WORK/more.jsonl"
		client "$WORK/more.jsonl" >/dev/null || fail "the client is not answered"
		wait_served 90
	done
	check_now --only --rest --answers "$ANSWERS"
}

for name in ${CASES:-}; do run_case "$name"; done
[ -z "${CASES:-}" ] || exit 0
run_case same_bits
CAUGHT_BY='^I4: ' caught float-sum same_bits
run_case rank_dies
