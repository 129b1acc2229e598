#!/bin/bash
# Links that are cut, held one way, thin, or lose an answer (cases 5, 7, 18, 30, 31), what was sent is sent again (41), and a worker that comes back after its
# lease has gone to another (34). On a tiny model.
. "$(dirname "$0")/lib.sh"
tiny_model

# A link to the coordinator: $LINK is its endpoint, its file of orders is given.
link_to_coordinator() { # file of orders, [tape of what goes up]
	local port=
	echo pass >"$1"
	rm -f "$1.port"
	"$T/proxy" "$(setting coordinator.endpoint | sed 's/.*://')" "$@" >"$1.port" &
	wait_for 5 test -s "$1.port" || fail "the proxy does not start"
	port=$(cat "$1.port")
	LINK=tcp://127.0.0.1:$port
}

# Commits happen and their answers do not arrive: the same record sent again is told its seq, as a duplicate.
case_lost_ack() {
	local client orders=$WORK/lost.orders
	case_begin lost
	link_to_coordinator "$orders"
	facts 40 lost >"$WORK/lost.jsonl" # more than pass while the link is open once
	CLIENT_ENDPOINT=$LINK client "$WORK/lost.jsonl" --pause 40 --timeout 900 --give-up 60 >/dev/null &
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

# What a submitter sent is sent again. By itself: the same record is a duplicate with its seq, one with the same id and another text
# a conflict, one whose time is over refused. By somebody who has its bytes, to the cluster that took them and has revoked one since,
# or to another: nothing. And what its key is for is this cluster.
told() { awk -v kind="$1" -v code="${2:-}" '$2 == kind && (code == "" || $5 == code)' "$HISTORY" | wc -l; } # kind, [code]
is_expired() { edits | awk -v id="$1" '$2 == id { exit $3 != "expired" }'; }
play() { # tape, endpoint
	exec 3<>"/dev/tcp/127.0.0.1/${2##*:}" || fail "$2 is not there"
	cat "$1" >&3
	timeout 2 cat <&3 >/dev/null
	exec 3>&-
	count faults
}
case_replay() {
	local records=$WORK/replay.jsonl tape=$WORK/replay.tape before soon first history
	case_begin replay
	link_to_coordinator "$WORK/replay.orders" "$tape"
	soon=$(date -u -d "+$((5 * SLOW)) seconds" +%FT%TZ)
	facts 6 replay | jq -c --arg soon "$soon" 'if .id == "replay-005" then .expires = $soon else . end' >"$records"
	CLIENT_ENDPOINT=$LINK client "$records" --batch 6 >/dev/null || fail "the client is not answered"
	client "$records" --batch 6 >/dev/null || fail "the client is not answered"
	[ "$(told ok)" = 6 ] && [ "$(told dup)" = 6 ] || fail "I1: the same again: $(told ok) are new and $(told dup) duplicates"
	[ "$(awk '$2 == "ok" || $2 == "dup" { print $3, $5 }' "$HISTORY" | sort -u | wc -l)" = 6 ] || fail "I1: a duplicate has another seq"
	head -n 5 "$records" | jq -c '.target_new = "other"' >"$records.other"
	client "$records.other" >/dev/null || fail "the client is not answered"
	[ "$(told fail ERR_CONFLICT)" = 5 ] || fail "I2: an id with another text: $(told fail ERR_CONFLICT) conflicts of 5"
	wait_for 30 is_expired replay-005 || fail "replay-005 does not expire: $(edits)"
	tail -n 1 "$records" >"$records.late"
	client "$records.late" >/dev/null || fail "the client is not answered"
	[ "$(told fail ERR_INVALID)" = 1 ] || fail "I2: what has expired is taken again: $(edits)"
	try amend edit revoke replay-000 --reason "a test"
	expect_ok
	before=$(edits | cut -f 1,2)
	[ "$(stat -c %s "$tape")" -gt 500 ] || fail "the tape is empty"
	play "$tape" "$(setting coordinator.endpoint)"
	[ "$(edits | cut -f 1,2)" = "$before" ] || fail "I2: the tape was taken: $(edits)"
	first=$D history=$HISTORY
	case_begin other
	play "$tape" "$(setting coordinator.endpoint)"
	[ -z "$(edits)" ] || fail "I2: the tape of another cluster was taken: $(edits)"
	try amend --timeout 3 --key-file "$first/keys/cli.key" edit import "$records"
	expect_error 6 key
	[ -z "$(edits)" ] || fail "I2: another cluster's submitter got in: $(edits)"
	check_now --only --rest --empty
	D=$first HISTORY=$history
	check_now --only --rest
}

# One direction of a worker's and a node's link goes silent. Each end notices within 8 s and what its clocks tick by, the others go
# on, and with the link it all goes on without a gap.
NOTICED_S=11
noticed() { # process, log id, count of before, what
	wait_for "$NOTICED_S" log_count_at_least "$1" "$2" $(($3 + 1)) || fail "$4: $1 does not notice within $NOTICED_S s"
	local ms=$(($(ms_now) - began))
	[ "$ms" -lt $((NOTICED_S * 1000)) ] || fail "$4: $1 notices after $ms ms only"
	note "$4: $1 noticed after $ms ms"
}
half_open() { # hold-up or hold-down
	local began lost silent alone
	for name in worker-0 worker-1 node-0; do kill_hard "$name"; done
	process_start worker-0 "--coordinator=$LINK"
	process_start node-0 "--coordinator=$LINK"
	records="$WORK/$1.jsonl"
	facts 12 "${1#hold-}" >"$records"
	head -n 6 "$records" >"$records.1"
	client "$records.1" >/dev/null || fail "the client is not answered"
	wait_served 60
	lost=$(log_count coordinator COORDINATOR-LEASE-LOST)
	silent=$(log_count worker-0 'WORKER-\(COORDINATOR-SILENT\|LEASE-LOST\)') # fenced, it has been told
	alone=$(log_count node-0 NODE-COORDINATOR-SILENT)
	process_start worker-1
	echo "$1" >"$WORK/half.orders"
	began=$(ms_now)
	count faults
	client "$records" >/dev/null || fail "the client is not answered"
	noticed coordinator COORDINATOR-LEASE-LOST "$lost" "$1"
	noticed worker-0 'WORKER-\(COORDINATOR-SILENT\|LEASE-LOST\)' "$silent" "$1"
	noticed node-0 NODE-COORDINATOR-SILENT "$alone" "$1"
	sleep 3
	echo pass >"$WORK/half.orders"
	wait_served 60
	wait_for 20 node_on_latest || fail "$1: the node stays behind"
}
node_on_latest() { # [process: of this one, not of the life before it]
	amend fleet status -o json | jq -e --argjson pid "${1:-0}" '.version as $v | [.members[] | select(.kind == "node")]
		| length > 0 and all(.[]; .version == $v and ($pid == 0 or .pid == $pid))' >/dev/null
}
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
gone_or_on_latest() { gone "$1" || node_on_latest "$1"; }
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
run_case replay
caught no-dedup replay
run_case half_open
CAUGHT_BY="after|within" caught long-lease half_open
run_case resets_and_thin_pipe
run_case pull_interrupted
run_case zombie_worker
caught no-fence zombie_worker
