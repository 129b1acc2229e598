#!/bin/bash
# Links that are cut, held one way, thin, or lose an answer (cases 5, 7, 18, 30, 31), and a worker that comes back after its
# lease has gone to another (34). On a tiny model.
. "$(dirname "$0")/lib.sh"
tiny_model

# A link to the coordinator: $LINK is its endpoint, its file of orders is given.
link_to_coordinator() { # file of orders
	local port=
	echo pass >"$1"
	rm -f "$1.port"
	"$T/proxy" "$(setting coordinator.endpoint | sed 's/.*://')" "$1" >"$1.port" &
	wait_for 5 test -s "$1.port" || fail "the proxy does not start"
	port=$(cat "$1.port")
	LINK=tcp://127.0.0.1:$port
}

# Commits happen and their answers do not arrive: the same record sent again is told its seq, as a duplicate.
case_lost_ack() {
	local client orders=$WORK/lost.orders
	case_begin lost
	link_to_coordinator "$orders"
	facts 12 lost >"$WORK/lost.jsonl"
	CLIENT_ENDPOINT=$LINK client "$WORK/lost.jsonl" --pause 20 --timeout 900 --give-up 60 >/dev/null &
	client=$!
	while alive "$client"; do
		echo hold-down >"$orders"
		sleep "0.$((RANDOM % 6 + 2))"
		echo cut >"$orders"
		sleep 0.1
		echo pass >"$orders"
		sleep "0.$((RANDOM % 4 + 2))"
		count faults
	done
	wait "$client" || [ -n "${TORTURE_PLANT:-}" ] || fail "the client does not get through"
	# at least one answer was lost after its commit: the record was never told "accepted", and was there when it came again
	awk '$2 == "ok" { ok[$3] } $2 == "dup" && !($3 in ok) { lost++ } END { exit !lost }' "$HISTORY" || [ -n "${TORTURE_PLANT:-}" ] || fail "no answer was lost"
	note "$(awk '$2 == "ok" { ok[$3] } $2 == "dup" && !($3 in ok) { lost++ } END { print lost + 0 }' "$HISTORY") answers were lost after their commit"
	[ -n "${TORTURE_PLANT:-}" ] || wait_served 90
	check_now --only $([ -n "${TORTURE_PLANT:-}" ] || echo --rest)
}

# One direction of a worker's and a node's link goes silent. Both ends notice within 8 s and some, the others go on, and with the
# link it all goes on without a gap.
lease_lost() { log_count_at_least coordinator COORDINATOR-LEASE-LOST "$1"; }
half_open() { # hold-up or hold-down
	local began lost
	for name in worker-0 worker-1 node-0; do kill_hard "$name"; done
	process_start worker-0 "--coordinator=$LINK"
	process_start node-0 "--coordinator=$LINK"
	records="$WORK/$1.jsonl"
	facts 12 "${1#hold-}" >"$records"
	head -n 6 "$records" >"$records.1"
	client "$records.1" >/dev/null || fail "the client is not answered"
	wait_served 60
	lost=$(log_count coordinator COORDINATOR-LEASE-LOST)
	process_start worker-1
	echo "$1" >"$WORK/half.orders"
	began=$(ms_now)
	count faults
	client "$records" >/dev/null || fail "the client is not answered"
	wait_for 20 lease_lost $((lost + 1)) || fail "$1: the coordinator does not notice within 20 s"
	note "$1: noticed after $(($(ms_now) - began)) ms"
	sleep 3
	echo pass >"$WORK/half.orders"
	wait_served 60
	wait_for 20 node_on_latest || fail "$1: the node stays behind"
}
node_on_latest() { amend fleet status -o json | jq -e '.version as $v | [.members[] | select(.kind == "node")] | length > 0 and all(.[]; .version == $v)' >/dev/null; }
case_half_open() {
	local records
	case_begin half
	link_to_coordinator "$WORK/half.orders"
	poll_answers &
	half_open hold-up
	half_open hold-down
	check_now --only --rest --answers "$ANSWERS"
}

# Links that end again and again, and one that is thin: uploads and downloads go on where they were.
case_resets_and_thin_pipe() {
	local i
	case_begin thin
	link_to_coordinator "$WORK/thin.orders"
	kill_hard worker-0
	kill_hard worker-1
	kill_hard node-0
	rm -rf "$D/node-0/blobs"
	for name in worker-0 worker-1 node-0; do process_start "$name" "--coordinator=$LINK"; done
	facts 30 thin >"$WORK/thin.jsonl"
	CLIENT_ENDPOINT=$LINK client "$WORK/thin.jsonl" --threads 2 --pause 100 >/dev/null &
	for ((i = 0; i < 12; i++)); do
		sleep "0.$((RANDOM % 9 + 1))"
		echo cut >"$WORK/thin.orders"
		sleep 0.1
		echo pass >"$WORK/thin.orders"
		count faults
	done
	echo slow 60000 >"$WORK/thin.orders"
	wait_for 60 gone $! || fail "the client does not get through"
	wait_served 180
	check_now --only --rest
}

# A node dies after each write of chunks that it fetches, and is started again: each life keeps what the ones before had, and adds
# to it, until the version is served.
cached() { "$T/check" --cache "$D/node-0" | sed -n 's/^# \([0-9]*\) chunks, 0 broken$/\1/p'; }
gone_or_on_latest() { gone "$1" || node_on_latest; }
case_pull_interrupted() {
	local pid lives=0 before=0 now
	case_begin pull
	facts 24 pull >"$WORK/pull.jsonl"
	client "$WORK/pull.jsonl" >/dev/null || fail "the client is not answered"
	wait_served 60
	kill_hard node-0
	rm -rf "$D/node-0/blobs" "$D/node-0/live.json"
	while :; do
		FAULT=store.blob.after=kill@1 process_start node-0
		pid=$(pid_of node-0)
		wait_for 60 gone_or_on_latest "$pid" || fail "life $lives of the node comes to nothing"
		gone "$pid" || break
		now=$(cached)
		[ "${now:-0}" -gt "$before" ] || fail "life $lives of the node has brought nothing: $before chunks, then ${now:-damaged ones}"
		before=$now
		lives=$((lives + 1))
		count faults
	done
	[ "$lives" -ge 3 ] || fail "the node died $lives times only"
	note "$lives lives, $before chunks"
	check_now --only --rest
}

# A worker stands still with its result in hand, and is cut off. Its lease ends, another worker has the shard and trains; then the
# first comes back, has heard nothing of that, and commits with its old epoch: that counts for nothing.
stands_still() { grep -q '^State:.T' "/proc/$1/status"; }
case_zombie_worker() {
	local pid shard
	case_begin zombie --lease.ms 2000 --lease.heartbeat_ms 300
	link_to_coordinator "$WORK/zombie.orders"
	kill_hard worker-1
	kill_hard worker-0
	FAULT=worker.commit.after=stop@1 process_start worker-0 "--coordinator=$LINK"
	wait_for 30 log_count_at_least worker-0 WORKER-JOINED 2 || fail "worker-0 does not join"
	facts 8 zombie >"$WORK/zombie.jsonl"
	client "$WORK/zombie.jsonl" >/dev/null || fail "the client is not answered"
	pid=$(pid_of worker-0)
	wait_for 30 stands_still "$pid" || fail "the point was not reached"
	echo cut >"$WORK/zombie.orders"
	count faults
	shard=$(grep id=WORKER-LEASE-HELD "$D/log/worker-0.log" | tail -n 1 | grep -o 'shard=[0-9]*')
	FAULT=worker.train.step=delay-1000@1:12 process_start worker-1 # is not done when the other comes back
	wait_for 20 log_has coordinator COORDINATOR-LEASE-LOST "$shard .*worker=worker-0" || fail "the lease of $shard does not end"
	wait_for 20 log_has coordinator COORDINATOR-LEASE-GRANTED "$shard .*worker=worker-1" || fail "worker-1 does not get $shard"
	echo pass >"$WORK/zombie.orders"
	kill -CONT "$pid"
	wait_served 90
	check_now --only --rest
}

for name in ${CASES:-}; do run_case "$name"; done
[ -z "${CASES:-}" ] || exit 0
run_case lost_ack
caught no-dedup lost_ack
run_case half_open
run_case resets_and_thin_pipe
run_case pull_interrupted
run_case zombie_worker
caught no-fence zombie_worker
