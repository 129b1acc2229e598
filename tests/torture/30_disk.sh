#!/bin/bash
# Disks that are full, disks that rot, and memory that ends (cases 4, 11, 26 and 48). On a tiny model.
. "$(dirname "$0")/lib.sh"
tiny_model

# The coordinator's folder on a file system of its own that fills up while clients submit. Nothing is taken that cannot be kept;
# reading, status and answers go on; with room, everything goes on by itself.
refusals() { grep -c ' fail .* ERR_FULL$' "$HISTORY"; }
refused() { [ "$(refusals)" -gt "$1" ]; }
case_disk_full() {
	local client round left
	[ "$(id -u)" = 0 ] || skip "needs root for a small file system"
	cluster_name full
	mkdir -p "$D/coordinator" "$WORK/small"
	mount -t tmpfs -o size=24m none "$D/coordinator" 2>/dev/null || skip "mount is not allowed here"
	calibration_lend "$D" 2
	case_begin full --store.reserve_bytes 0
	facts 6 first >"$WORK/first.jsonl"
	client "$WORK/first.jsonl" >/dev/null || fail "with room the client is not answered"
	wait_served 60
	for round in 1 2; do
		left=$(($(stat -f -c '%a * %S' "$D/coordinator")))
		fallocate -l $((left - 49152)) "$D/coordinator/filler" || fail "the file system cannot be filled"
		facts 60 "room$round" 6000 | jq -c '.id += "-full"' >"$WORK/full.jsonl"
		client "$WORK/full.jsonl" --threads 3 --batch 2 >/dev/null &
		client=$!
		wait_for 30 refused $((round == 1 ? 0 : $(refusals))) || fail "nothing is refused on a full disk: $(tail -n 1 "$HISTORY")"
		count faults
		sleep 1
		alive "$(pid_of coordinator)" || fail "the coordinator ends on a full disk: $(tail -n 2 "$D/log/coordinator.log")"
		answering || fail "the coordinator does not answer on a full disk"
		http /v1/completions -d '{"prompt":"x is","max_tokens":1}' | jq -e .system_fingerprint >/dev/null || fail "the node does not answer"
		rm "$D/coordinator/filler"
		wait_for 60 gone "$client" || fail "it does not go on with room"
		wait "$client" || fail "the client is not answered with room"
	done
	note "$(refusals) refusals"
	alive "$(pid_of coordinator)" || fail "the coordinator has ended"
	wait_served 180
	cluster_down
	"$T/check" "$D/coordinator" --only --rest "$HISTORY" >"$WORK/check.out" 2>&1 || fail "$(head -n 4 "$WORK/check.out")"
	note "$(tail -n 1 "$WORK/check.out" | sed 's/^# //')"
}

# What a worker has trained rots on its disk before it is uploaded: the coordinator takes nothing but what its hash names, and
# the worker mends it.
stands_still() { grep -q '^State:.T' "/proc/$1/status"; }
case_rotten_upload() {
	local pid
	# a gate would read what was planted, and wait for it to heal
	case_begin upload ${TORTURE_PLANT:+--publish.canaries off}
	kill_hard worker-1
	kill_hard worker-0
	FAULT=worker.commit.after=stop@1 process_start worker-0
	wait_for 30 log_count_at_least worker-0 WORKER-JOINED 2 || fail "worker-0 does not join"
	facts 8 upload >"$WORK/upload.jsonl"
	client "$WORK/upload.jsonl" >/dev/null || fail "the client is not answered"
	pid=$(pid_of worker-0)
	wait_for 30 stands_still "$pid" || fail "the point was not reached"
	"$T/rot" "$D/worker-0" AMIX 300 >/dev/null || fail "no index to change"
	count faults
	kill -CONT "$pid"
	wait_for 60 all_trained || fail "it is not trained"
	[ -n "${TORTURE_PLANT:-}" ] || wait_served 60
	check_now --only $([ -n "${TORTURE_PLANT:-}" ] || echo --rest)
	log_has worker-0 UPLOAD-CHUNK-UNREADABLE || [ -n "${TORTURE_PLANT:-}" ] || fail "the worker did not see it"
}

healed() { # chunks
	[ "$(log_count coordinator COORDINATOR-CHUNK-HEALED)" = "$1" ] && amend fleet status -o json | jq -e '.damage == ""' >/dev/null
}

# The same on the coordinator's disk: it starts, says so, and a node that has nothing yet is not given it, nor gives anything. With
# the workers that made it all is whole again.
case_rotten_blob() {
	local rotten
	case_begin rot
	facts 8 rot >"$WORK/rot.jsonl"
	client "$WORK/rot.jsonl" >/dev/null || fail "the client is not answered"
	wait_served 60
	for name in coordinator worker-0 worker-1 node-0; do kill_hard "$name"; done # workers would heal it
	"$T/rot" "$D/coordinator" AMIX 300 >"$WORK/rot.out" || fail "no index to change"
	rotten=$(sed 's/ .*//' "$WORK/rot.out")
	count faults
	rm -rf "$D/node-0/blobs"
	process_start coordinator
	process_start node-0
	wait_for 20 answering || fail "the coordinator does not start with a chunk that rots"
	wait_for 60 log_count_at_least coordinator COORDINATOR-CHUNK-DAMAGED "$rotten" || fail "the coordinator sees $(log_count coordinator COORDINATOR-CHUNK-DAMAGED) of $rotten"
	# the node has been asked for it twice by then
	wait_for 90 log_has coordinator COORDINATOR-CHUNKS-LOST || fail "nobody has it, and the coordinator does not say so"
	cluster_kill "$D"
	wait_for 5 processes_gone "$D"
	"$T/check" --cache "$D/node-0" >"$WORK/check.out" 2>&1 || fail "$(head -n 2 "$WORK/check.out")"
	note "$(tail -n 1 "$WORK/check.out" | sed 's/^# //') in the node's cache"
	for name in coordinator worker-0 worker-1 node-0; do process_start "$name"; done
	wait_for 90 healed "$rotten" || fail "not healed: $rotten damaged, $(log_count coordinator COORDINATOR-CHUNK-HEALED) healed"
	wait_served 60
	check_now --only --rest
}

# No more address space than it has now, and some: what it acknowledges is true all the same, and a start without the limit goes on.
told_no_memory() { cat "$D/log/coordinator.log" "$HISTORY" | grep -ciE 'out of memory|ERR_NOMEM|cannot allocate memory|bad_alloc'; }
case_memory_limit() {
	local pid client room told ran_out=0
	need prlimit
	case_begin memory
	for room in 0 1 4; do
		told=$(told_no_memory)
		pid=$(pid_of coordinator)
		facts 40 "mem$room" 6000 >"$WORK/memory.jsonl"
		prlimit --pid "$pid" --as=$((($(awk '/^VmSize/ { print $2 }' "/proc/$pid/status") + room * 1024) * 1024)): || skip "prlimit is not allowed here"
		client "$WORK/memory.jsonl" --threads 4 --batch 3 >/dev/null &
		client=$!
		count faults
		wait_for 10 either_gone "$client" "$pid"
		if gone "$pid"; then
			note "it ended with $room MiB more: $(tail -n 1 "$D/log/coordinator.log" | cut -c1-150)"
			process_start coordinator
		fi
		prlimit --pid "$(pid_of coordinator)" --as=unlimited:
		wait_for 20 answering || fail "the coordinator does not come back"
		wait_for 90 gone "$client" || fail "the client does not get through"
		wait "$client" || fail "the client is not answered"
		[ "$(told_no_memory)" = "$told" ] || ran_out=$((ran_out + 1))
	done
	[ "$ran_out" -gt 0 ] || fail "memory never ran out: this proves nothing"
	note "memory ran out in $ran_out of 3 rounds"
	check_now --only
}

# The checker itself: a history or answers without a line prove nothing, and an answer that names no version is a finding.
checked() { # status wanted, flags of check...
	local wanted=$1 status=0
	shift
	"$T/check" "$D/coordinator" "$@" >"$WORK/check.out" 2>&1 || status=$?
	[ "$status" = "$wanted" ] || fail "check $*: status $status, not $wanted: $(tail -n 1 "$WORK/check.out")"
}
case_nothing_to_check() {
	case_begin nothing
	facts 2 nothing >"$WORK/nothing.jsonl"
	client "$WORK/nothing.jsonl" >/dev/null || fail "the client is not answered"
	wait_served 60
	cluster_down
	: >"$WORK/empty"
	echo "node-0 none" >"$WORK/unnamed"
	checked 2 --rest "$WORK/empty"
	checked 0 --empty --rest "$WORK/empty"
	checked 2 --answers "$WORK/empty" "$HISTORY"
	checked 1 --answers "$WORK/unnamed" "$HISTORY"
	check_now --only --rest
}

for name in ${CASES:-}; do run_case "$name"; done
[ -z "${CASES:-}" ] || exit 0
run_case nothing_to_check
run_case disk_full
run_case memory_limit
run_case rotten_blob
run_case rotten_upload
caught unchecked-hash rotten_upload
