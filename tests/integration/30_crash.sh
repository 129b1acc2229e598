#!/bin/bash
# Programs die, are stopped and come back: every acknowledged edit is in the ledger once and is served. On a tiny model.
. "$(dirname "$0")/lib.sh"
tiny_model
EDITS=40
cluster_name main

# Import with the coordinator killed again and again: the client repeats, nothing is lost, nothing is there twice.
case_kill9_coordinator() {
	local round client acked=$WORK/acked
	cluster_up main "$TINY"
	facts "$EDITS" kill 6000 >"$WORK/kill.jsonl"
	head -n $((EDITS / 2)) "$WORK/kill.jsonl" >"$WORK/half.jsonl"
	client_one_by_one "$WORK/half.jsonl" "$acked" &
	client=$!
	for round in 1 2 3; do
		# killed while the client is in the middle: some are acknowledged, some are not
		wait_for 60 lines_at_least "$acked" $((round * 5)) || fail "the client got no further than $(wc -l <"$acked") edits"
		kill_hard coordinator
		cp "$acked" "$WORK/acked.$round"
		process_start coordinator
		wait_for 20 answering || fail "the coordinator does not come back"
		expect_in_ledger "$WORK/acked.$round"
	done
	wait_for 90 gone "$client" || fail "the client does not get through: $(wc -l <"$acked") acknowledged"
	cmp -s "$acked" "$WORK/half.jsonl" || fail "$(wc -l <"$acked") of $((EDITS / 2)) acknowledged"
	expect_in_ledger "$WORK/half.jsonl" only
}

# The same file in one import of several batches. The coordinator dies with a batch in its ledger that was not answered yet,
# and in the next start before it is in the ledger: the client is answered in the end, and each edit is there once.
case_killed_around_commit() {
	local client
	kill_hard coordinator
	FAULT=coordinator.submit.after_commit=kill@2 process_start coordinator
	wait_for 20 answering || fail "the coordinator does not come back"
	amend --timeout 60 edit import "$WORK/kill.jsonl" -o json >"$WORK/whole.json" 2>"$WORK/whole.err" &
	client=$!
	wait_for 30 gone "$(pid_of coordinator)" || fail "the point after the commit was not reached"
	FAULT=coordinator.submit.before_commit=kill@1 process_start coordinator
	wait_for 30 gone "$(pid_of coordinator)" || fail "the point before the commit was not reached"
	process_start coordinator
	wait_for 60 gone "$client" || fail "the client does not get through"
	wait "$client" || fail "the import fails: $(cat "$WORK/whole.err")"
	[ "$(jq -c '[.accepted + .duplicates, .refused, .bad_lines]' "$WORK/whole.json")" = "[$EDITS,0,0]" ] || fail "$(cat "$WORK/whole.json")"
	expect_in_ledger "$WORK/kill.jsonl" only
}

case_all_served_after() {
	wait_served 150
	expect_kept_and_served "$WORK/kill.jsonl"
}

# Restart of the coordinator alone under two seconds until it answers.
case_restart_time() {
	local began
	kill_hard coordinator
	began=$(ms_now)
	process_start coordinator
	wait_for 10 amend --timeout 1 fleet status >/dev/null 2>&1 || fail "it does not come back"
	note "coordinator answers $(($(ms_now) - began)) ms after its restart"
	[ $(($(ms_now) - began)) -lt $((4000 * SLOW)) ] || fail "$(($(ms_now) - began)) ms"
}

# The same file again changes nothing.
case_import_again() {
	local before after
	before=$(amend edit list -o jsonl | jq -c '[.seq, .id, .state, .shard]' | sha256sum)
	try amend edit import "$WORK/kill.jsonl" -o json
	expect_ok
	[ "$(jq -c '[.accepted, .duplicates, .refused]' <<<"$OUT")" = "[0,$EDITS,0]" ] || fail "$OUT"
	after=$(amend edit list -o jsonl | jq -c '[.seq, .id, .state, .shard]' | sha256sum)
	[ "$before" = "$after" ] || fail "the list of edits changed"
}

# A node that was away catches up by itself, from its folder and what is new.
newest_version() { amend version list -o json | jq '.[-1].version'; }
fingerprint_of() { http /v1/completions -d "{\"prompt\":\"$1\",\"max_tokens\":2}" | jq -r .system_fingerprint; }
answers_from_newest() { [[ "$(fingerprint_of "awaybabab is")" == *-v"$(newest_version)"-* ]]; }
case_node_restarted() {
	kill_hard node-0
	facts 5 away >"$WORK/away.jsonl"
	try amend edit import "$WORK/away.jsonl"
	expect_ok
	wait_for 30 all_trained || fail "the new edits are not trained while the node is away: $(amend edit list | tail -n 5)"
	process_start node-0
	wait_served 60
	wait_for 30 answers_from_newest || fail "it answers from $(fingerprint_of "awaybabab is"), the newest is v$(newest_version)"
	expect_kept_and_served "$WORK/away.jsonl"
	expect_kept_and_served "$WORK/kill.jsonl"
}
# Requests that run while versions change are answered, each from one version, and a fact that is served stays.
case_requests_during_change() {
	local pid
	facts 8 change >"$WORK/change.jsonl"
	ask_on "awaydabeb is" &
	pid=$!
	wait_for 30 lines_at_least "$WORK/asked" 3 || fail "no answers before the change"
	try amend edit import "$WORK/change.jsonl"
	expect_ok
	wait_served 60
	: >"$WORK/stop"
	wait "$pid"
	grep -vE '^200 amend-[0-9a-f]{8}-v[0-9]+-[0-9a-f]{8} b' "$WORK/asked" >"$WORK/wrong" && fail "of $(wc -l <"$WORK/asked") answers: $(sort "$WORK/wrong" | uniq -c | head -n 3)"
	[ "$(cut -d' ' -f2 "$WORK/asked" | sort -u | wc -l)" -ge 2 ] || fail "no version changed meanwhile: $(sort "$WORK/asked" | uniq -c)"
	expect_kept_and_served "$WORK/change.jsonl"
	cluster_down
}

# Damage in the caches of a worker and a node: they are set aside, and all that was accepted is served. What only the
# damaged cache had, a trained group that was not uploaded yet, is trained again.
case_damaged_caches() {
	local at blobs name
	cluster_up damage "$TINY"
	facts 24 damage >"$WORK/damage.jsonl"
	head -n 12 "$WORK/damage.jsonl" >"$WORK/damage.1"
	tail -n 12 "$WORK/damage.jsonl" >"$WORK/damage.2"
	try amend edit import "$WORK/damage.1"
	expect_ok
	wait_served 60
	kill_hard worker-0
	kill_hard worker-1
	FAULT=worker.commit.after=kill@1 process_start worker-0
	try amend edit import "$WORK/damage.2"
	expect_ok
	wait_for 60 gone "$(pid_of worker-0)" || fail "the point before the upload was not reached"
	cluster_kill "$D"
	wait_for 5 processes_gone "$D" || fail "programs outlive SIGKILL"
	blobs=$D/worker-0/blobs/data.mdb
	for ((at = 5; at < 300 * 37; at += 37)); do
		printf '\377' | dd of="$blobs" bs=1 seek="$at" conv=notrunc status=none
	done
	truncate -s 20000 "$D/node-0/blobs/data.mdb"
	cluster_up damage "$TINY"
	for name in worker-0 node-0; do
		log_has "$name" STORE-CACHE-SET-ASIDE || fail "$name says nothing of its damaged cache"
		[ -s "$D/$name/blobs/data.mdb.damaged" ] || fail "$name keeps nothing of its damaged cache"
	done
	log_has worker-1 STORE-CACHE-SET-ASIDE && fail "the cache of worker-1 was whole"
	wait_served 90
	expect_in_ledger "$WORK/damage.jsonl" only
	expect_kept_and_served "$WORK/damage.jsonl"
	cluster_down
}

# Ctrl-C, as a terminal sends it: to the whole process group.
interrupt_and_gone() {
	kill -INT -- "-$1" 2>/dev/null
	gone "$1"
}

# Ctrl-C of an import that waits for its next line: what was accepted stays, the rest comes with the next import.
case_interrupt_import() {
	local pid status count
	cluster_up ctrl "$TINY"
	facts 40 ctrl 6000 >"$WORK/ctrl.jsonl"
	mkfifo "$WORK/pipe"
	exec 3<>"$WORK/pipe"
	setsid "$BIN/amend" --data "$D" edit import "$WORK/pipe" -o json >"$WORK/ctrl.json" 2>"$WORK/ctrl.err" </dev/null 3<&- &
	pid=$!
	head -n 25 "$WORK/ctrl.jsonl" >&3 # of about ten edits a batch: two are sent, and some edits wait for the third to fill
	wait_for 20 ledger_at_least 15 || fail "no batch arrives: $(amend edit list -o name | wc -l) edits"
	wait_for 10 interrupt_and_gone "$pid" || fail "an import that waits for its pipe outlives Ctrl-C"
	wait "$pid"
	status=$?
	exec 3>&-
	[ "$status" = 130 ] || fail "exit $status: $(cat "$WORK/ctrl.err")"
	grep -q 'import the file again' "$WORK/ctrl.err" || fail "no next step: $(cat "$WORK/ctrl.err")"
	count=$(amend edit list -o name | wc -l)
	[ "$(jq .accepted "$WORK/ctrl.json")" = "$count" ] && [ "$count" -lt 25 ] || fail "$(cat "$WORK/ctrl.json"), $count in the ledger"
	note "interrupted after $count of 25"
	# the folder starts again with every accepted edit, even after all programs died at once
	cluster_kill "$D"
	wait_for 5 processes_gone "$D" || fail "programs outlive SIGKILL"
	cluster_up ctrl "$TINY"
	head -n "$count" "$WORK/ctrl.jsonl" >"$WORK/accepted.jsonl"
	expect_in_ledger "$WORK/accepted.jsonl" only
	wait_served 60
	expect_kept_and_served "$WORK/accepted.jsonl"
	try amend edit import "$WORK/ctrl.jsonl" -o json
	expect_ok
	[ "$(jq -c '[.accepted, .duplicates]' <<<"$OUT")" = "[$((40 - count)),$count]" ] || fail "again: $OUT"
	wait_served 60
	expect_in_ledger "$WORK/ctrl.jsonl" only
	expect_kept_and_served "$WORK/ctrl.jsonl"
	cluster_down
}
ledger_at_least() { [ "$(amend --timeout 2 edit list -o name 2>/dev/null | wc -l)" -ge "$1" ]; }

# Starts the cluster and interrupts its start when a condition holds.
interrupt_up_when() { # what, condition...
	local pid what=$1
	shift
	setsid "$BIN/amend" up --data "$D" "${ANY[@]}" --model "$TINY" --workers 2 >/dev/null 2>"$WORK/up.err" </dev/null &
	pid=$!
	wait_for 60 "$@" || fail "$what: it never came so far: $(cat "$WORK/up.err")"
	kill -INT -- "-$pid" 2>/dev/null
	STATUS=0
	wait "$pid" || STATUS=$?
	if [ "$STATUS" = 0 ]; then # the last program has joined in the meantime
		note "$what: up had ended"
		cluster_down
	fi
	[ "$STATUS" = 130 ] || [ "$STATUS" = 0 ] || fail "$what: exit $STATUS: $(cat "$WORK/up.err")"
	wait_for 10 processes_gone "$D" || fail "$what: programs are left: $(processes_of "$D")"
	compgen -G "$D/run/*.pid" >/dev/null && fail "$what: run/ holds $(ls "$D/run")"
	return 0
}
# Ctrl-C of `amend up` in a new folder, at several moments: no program stays, and the folder starts afterwards.
case_interrupt_first_up() {
	cluster_name first
	interrupt_up_when "keys are made" test -e "$D/keys"
	interrupt_up_when "the coordinator starts" test -e "$D/run/coordinator.pid"
	interrupt_up_when "a worker calibrates" log_has worker-0 WORKER-CALIBRATING
	cluster_up first "$TINY"
	facts 2 first >"$WORK/first.jsonl"
	try amend edit import "$WORK/first.jsonl"
	expect_ok
	wait_served 60
	expect_kept_and_served "$WORK/first.jsonl"
	cluster_down
}

# The same where edits were accepted before: every one is there and served in the next start.
case_interrupt_next_up() {
	local joined
	cluster_name ctrl
	for name in coordinator worker-0 worker-1 node-0; do
		interrupt_up_when "$name starts" test -e "$D/run/$name.pid"
	done
	joined=$(log_count coordinator COORDINATOR-PEER-JOINED)
	interrupt_up_when "a worker joins" log_count_at_least coordinator COORDINATOR-PEER-JOINED $((joined + 1))
	cluster_up ctrl "$TINY"
	expect_in_ledger "$WORK/ctrl.jsonl" only
	wait_served 60
	expect_kept_and_served "$WORK/ctrl.jsonl"
	cluster_down
}

for name in kill9_coordinator killed_around_commit all_served_after restart_time import_again node_restarted requests_during_change \
	damaged_caches interrupt_import interrupt_first_up interrupt_next_up; do
	run_case "$name"
done
