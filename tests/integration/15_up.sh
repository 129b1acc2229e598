#!/bin/bash
# `amend up` beside what runs already: another one, what an interrupted one has left, a cluster that grows. On a tiny model.
. "$(dirname "$0")/lib.sh"
tiny_model

workers() { amend --timeout 2 fleet status -o json 2>/dev/null | jq '[.members[] | select(.kind == "worker")] | length'; }
up_in() { # in the background, with a pid of its own
	exec "$BIN/amend" up --data "$D" "${ANY[@]}" --model "$TINY" "$@"
}

# A worker that comes later has a key of its own, which the coordinator that runs reads at once.
case_one_worker_more() {
	cluster_up grow "$TINY"
	calibration_lend "$D" 5
	try timeout $((60 * SLOW)) "$BIN/amend" up --data "$D" --workers 3
	expect_ok
	[ "$(workers)" = 3 ] || fail "$(workers) workers"
	log_has coordinator COORDINATOR-ALLOW-RELOADED || fail "the list was not read again"
}

# Killed after it had written the key, and before the coordinator was told.
case_key_of_a_killed_start() {
	cluster_name grow
	"$BIN/amend" key new "$D/keys/worker-3.key" >"$WORK/key" 2>/dev/null || fail "no key"
	echo "$(cat "$WORK/key") worker worker-3" >>"$D/keys/allow"
	try timeout $((60 * SLOW)) "$BIN/amend" up --data "$D" --workers 4
	expect_ok
	[ "$(workers)" = 4 ] || fail "$(workers) workers"
}

refused() { log_has coordinator PROTO-KEY-REFUSED; }
# Of a coordinator that reads another list, in the cluster before. A key that is allowed later joins without another start.
case_refused_key() {
	local up status=0
	cluster_name grow
	kill_hard coordinator
	cp -p "$D/keys/allow" "$D/allow"
	process_start coordinator "--allow-file=$D/allow"
	wait_for 20 answering || fail "the coordinator does not answer"
	: >"$D/log/coordinator.log"
	timeout $((60 * SLOW)) "$BIN/amend" up --data "$D" --workers 5 >"$WORK/up.txt" 2>&1 &
	up=$!
	wait_for 30 refused || fail "the key is not refused: $(cat "$WORK/up.txt")"
	mv "$D/keys/worker-4.key" "$D/worker-4.key" # the secret is not needed again to tell whose key it is
	wait "$up" || status=$?
	[ "$status" = 4 ] || fail "exit $status: $(cat "$WORK/up.txt")"
	grep -q 'refuses the key of worker-4.*SIGHUP' "$WORK/up.txt" || fail "$(cat "$WORK/up.txt")"
	mv "$D/worker-4.key" "$D/keys/worker-4.key"
	gone "$(pid_of worker-0)" && fail "what ran before is stopped"
	: >"$D/log/coordinator.log"
	timeout $((60 * SLOW)) "$BIN/amend" up --data "$D" --workers 5 >"$WORK/up.txt" 2>&1 &
	up=$!
	wait_for 30 refused || fail "the key is not refused: $(cat "$WORK/up.txt")"
	cp -p "$D/keys/allow" "$D/allow"
	kill -HUP "$(pid_of coordinator)"
	wait "$up" || fail "it does not join: $(cat "$WORK/up.txt")"
	[ "$(workers)" = 5 ] || fail "$(workers) workers"
	cluster_down
}

# One wins, the other leaves at once and touches nothing.
case_two_at_once() {
	local one two first second
	cluster_name twice
	mkdir -p "$D" && calibration_lend "$D" 2
	up_in >"$WORK/up-1.txt" 2>&1 &
	one=$!
	up_in >"$WORK/up-2.txt" 2>&1 &
	two=$!
	wait "$one" && first=0 || first=$?
	wait "$two" && second=0 || second=$?
	[ $((first + second)) = 1 ] || fail "exit $first and $second: $(cat "$WORK"/up-[12].txt)"
	grep -qh "another \`amend up\`" "$WORK"/up-[12].txt || fail "$(cat "$WORK"/up-[12].txt)"
	[ "$(workers)" = 2 ] || fail "$(workers) workers"
	cluster_down
}

up_killed() { # name, file of the folder that is waited for
	local up
	cluster_name "$1"
	mkdir -p "$D"
	up_in >"$WORK/up.txt" 2>&1 &
	up=$!
	wait_for 30 [ -e "$D/$2" ] || fail "$2 does not appear: $(cat "$WORK/up.txt")"
	kill -KILL "$up"
	wait "$up" 2>/dev/null
	[ -e "$D/amend.yaml" ] && fail "it had ended before it was killed"
	return 0
}
# What is left is found, by other commands too, and goes on to be a cluster.
case_killed_and_goes_on() {
	local coordinator
	up_killed killed run/worker-0.pid
	coordinator=$(pid_of coordinator)
	wait_for 20 answering || fail "the coordinator is not found: $(amend --timeout 1 fleet status 2>&1)"
	try amend edit list
	expect_ok
	try amend up
	expect_ok
	grep -q 'interrupted' <<<"$ERR" || fail "it is not said: $ERR"
	[ "$(pid_of coordinator)" = "$coordinator" ] || fail "another coordinator was started"
	[ "$(workers)" = 2 ] || fail "$(workers) workers"
	try amend up
	expect_error 1 'runs' 'amend down'
	cluster_down
}
case_killed_and_ended() {
	up_killed ended run/worker-1.pid
	cluster_down
	try amend edit list
	expect_error 6 'does not run' 'amend up'
	try amend up
	expect_ok
	[ "$(workers)" = 2 ] || fail "$(workers) workers"
}

# The folder of the cluster before.
case_moved() {
	local moved=$WORK/clusters/elsewhere
	cluster_name ended
	mv "$D" "$moved"
	try "$BIN/amend" --data "$moved" edit list
	expect_error 3 'was moved' "$D/keys/cli.key" 'amend down'
	grep -q 'key new' <<<"$ERR" && fail "$ERR"
	D=$moved
	cluster_down
	try amend up
	expect_ok
	try amend edit list
	expect_ok
	rm "$D/keys/cli.key"
	try amend edit list
	expect_error 3 'key' "$D/keys/cli.key" 'amend down'
	cluster_down
	try amend up
	expect_ok
	try amend edit list
	expect_ok
}

suspended() { [ "$(awk '/^State:/ { print $2 }' "/proc/$1/status")" = T ]; }
case_suspended() {
	local pid began
	cluster_name elsewhere
	pid=$(pid_of worker-0) || fail "no cluster runs"
	kill -STOP "$pid"
	wait_for 5 suspended "$pid" || fail "worker-0 runs on"
	try amend up
	expect_error 1 "worker-0 \(pid $pid\) is suspended" "kill -CONT $pid"
	# a coordinator that is started anew waits for it in vain
	kill_hard coordinator
	try amend --timeout 4 up
	expect_error 6 'after 4 s: 1 of 2 workers and 1 of 1 nodes' "worker-0 \(pid $pid\) is suspended" 'with --timeout'
	began=$(ms_now)
	cluster_down
	[ $(($(ms_now) - began)) -lt $((20000 * SLOW)) ] || fail "its end was waited for in vain"
}

# One that runs and does not join: what it said last.
case_reason_of_who_does_not_join() {
	local pid
	cluster_name elsewhere
	try amend up
	expect_ok
	kill_hard worker-1
	sleep 600 &
	pid=$!
	printf '%d %s\n' "$pid" "$(sed 's/.*) //' "/proc/$pid/stat" | cut -d' ' -f20)" >"$D/run/worker-1.pid"
	echo 'ts=2026-01-01T00:00:00.000Z level=warn id=WORKER-REFUSED reason="another model"' >>"$D/log/worker-1.log"
	try amend --timeout 6 up --workers 3
	kill "$pid"
	expect_error 6 'after 6 s' 'worker-1 says: another model' 'to get ready'
	cluster_down
}

# Each says what to do.
case_what_cannot_be() {
	local base=("$BIN/amend" up --model "$TINY")
	: >"$WORK/file"
	try "${base[@]}" --data "$WORK/file" "${ANY[@]}"
	expect_error 5 'a file of that name is there; remove it, or name another folder'
	try "${base[@]}" --data "$WORK/file/folder" "${ANY[@]}"
	expect_error 5 'name another folder'
	try "${base[@]}" --data '' "${ANY[@]}"
	expect_error 1 'its name is empty; name one'
	try "$BIN/amend" --data "$WORK/file" down
	expect_error 1 "cannot read $WORK/file/run; name the folder" 'Not a directory'
	try "${base[@]}" --data "$WORK/absent" "${ANY[@]}" --listen 192.0.2.1:7777
	expect_error 1 'node.listen: cannot listen on 192.0.2.1:7777: no interface' 'such as 127.0.0.1'
	try "${base[@]}" --data "$WORK/absent" --listen 127.0.0.1:0 --coordinator tcp://127.0.0.1:20777 --hints tcp://127.0.0.1:20777
	expect_error 1 'coordinator.hints: port 20777 is that of coordinator.endpoint'
	[ -e "$WORK/absent" ] && fail "a folder is left"
	mkdir "$WORK/one-port"
	try timeout 20 "$BIN/amendd" coordinator --data "$WORK/one-port" --key-file "$WORK/clusters/elsewhere/keys/coordinator.key" \
		--allow-file "$WORK/clusters/elsewhere/keys/allow" --coordinator tcp://127.0.0.1:20777 --hints tcp://127.0.0.1:20777
	expect_error 1 'coordinator.endpoint' 'coordinator.hints .* name the same port'
}

for name in one_worker_more key_of_a_killed_start refused_key two_at_once killed_and_goes_on killed_and_ended moved suspended \
	reason_of_who_does_not_join what_cannot_be; do run_case "$name"; done
