#!/bin/bash
# Programs die, are stopped and come back: every acknowledged edit is in the ledger once and is served. On a tiny model.
. "$(dirname "$0")/lib.sh"
tiny_model
cluster_name main

# Import with the coordinator killed again and again: the client repeats, nothing is lost, nothing is there twice.
case_kill9_coordinator() {
	local round id acked=$WORK/acked
	cluster_up main "$TINY"
	facts 400 kill >"$WORK/kill.jsonl"
	(
		: >"$acked"
		# one edit at a time, so that each answer is an acknowledgement of its own
		while read -r line; do
			id=$(jq -r .id <<<"$line")
			until amend --timeout 2 edit import - -q >/dev/null 2>&1 <<<"$line"; do sleep 0.1; done
			echo "$id" >>"$acked"
		done < <(head -n 60 "$WORK/kill.jsonl")
	) &
	local client=$!
	for round in 1 2 3; do
		# killed while the client is in the middle: some are acknowledged, some are not
		wait_for 60 sh -c "[ \$(cat '$acked' 2>/dev/null | wc -l) -ge $((round * 10)) ]" || fail "the client got no further than $(wc -l <"$acked") edits"
		kill_hard coordinator
		[ ! -e "$acked" ] || cp "$acked" "$WORK/acked.$round"
		process_start coordinator
	done
	wait_for 90 gone "$client" || fail "the client does not get through"
	wait "$client" 2>/dev/null
	[ "$(wc -l <"$acked")" = 60 ] || fail "$(wc -l <"$acked") of 60 acknowledged"
	# the whole file at once, killed in the middle, then imported again
	amend --timeout 3 edit import "$WORK/kill.jsonl" -o json >"$WORK/first.json" 2>/dev/null &
	client=$!
	wait_for 10 sh -c "[ \$($BIN/amend --data $D --timeout 2 edit list -o name 2>/dev/null | wc -l) -gt 60 ]"
	kill_hard coordinator
	process_start coordinator
	wait "$client"
	wait_for 20 sh -c "$BIN/amend --data $D --timeout 3 edit import $WORK/kill.jsonl -o json >$WORK/second.json 2>/dev/null" || fail "the second import fails"
	[ "$(jq '.accepted + .duplicates' "$WORK/second.json")" = 400 ] || fail "second import: $(cat "$WORK/second.json")"
	amend edit list -o name | sort >"$WORK/ledger"
	jq -r .id "$WORK/kill.jsonl" | sort >"$WORK/sent"
	cmp -s "$WORK/ledger" "$WORK/sent" || fail "the ledger differs from what was acknowledged: $(diff "$WORK/ledger" "$WORK/sent" | head -n 3)"
	expect_once
}

case_all_served_after() {
	wait_served 150
	expect_once
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
	[ "$(jq -c '[.accepted, .duplicates, .refused]' <<<"$OUT")" = '[0,400,0]' ] || fail "$OUT"
	after=$(amend edit list -o jsonl | jq -c '[.seq, .id, .state, .shard]' | sha256sum)
	[ "$before" = "$after" ] || fail "the list of edits changed"
}

# A node that was away catches up by itself, from its folder and what is new.
case_node_restarted() {
	local fingerprint
	kill_hard node-0
	facts 5 away >"$WORK/away.jsonl"
	try amend edit import "$WORK/away.jsonl"
	expect_ok
	process_start node-0
	wait_served 60
	fingerprint=$(http /v1/completions -d '{"prompt":"Which number does the box away000 hold?","max_tokens":2}' | jq -r .system_fingerprint)
	[ "$(sed 's/.*-\(v[0-9]*\)-.*/\1/' <<<"$fingerprint")" = "v$(amend version list -o json | jq '.[-1].version')" ] || fail "it answers from $fingerprint"
}

# Requests that run while versions change are answered, each from one version.
case_requests_during_change() {
	local pid
	facts 8 change >"$WORK/change.jsonl"
	(
		for _ in $(seq 40); do
			http /v1/completions -d '{"prompt":"Which number does the box away001 hold?","max_tokens":8}' -w '%{http_code}\n' -o "$WORK/answer.$BASHPID" >>"$WORK/codes" || echo 000 >>"$WORK/codes"
			jq -r .system_fingerprint "$WORK/answer.$BASHPID" >>"$WORK/fingerprints"
		done
	) &
	pid=$!
	try amend edit import "$WORK/change.jsonl"
	expect_ok
	wait_served 60
	wait "$pid"
	[ "$(sort -u "$WORK/codes")" = 200 ] || fail "codes: $(sort "$WORK/codes" | uniq -c | tr '\n' ' ')"
	grep -qvE '^amend-[0-9a-f]{8}-v[0-9]+-[0-9a-f]{8}$' "$WORK/fingerprints" && fail "a fingerprint: $(grep -vE '^amend-[0-9a-f]{8}-v[0-9]+-[0-9a-f]{8}$' "$WORK/fingerprints" | head -n 1)"
	return 0
}

# Ctrl-C of an import: what was accepted stays, the rest comes with the next import.
case_interrupt_import() {
	local pid count
	facts 2000 ctrl >"$WORK/ctrl.jsonl"
	(trap - INT; exec "$BIN/amend" --data "$D" edit import "$WORK/ctrl.jsonl" -o json >"$WORK/ctrl.json" 2>"$WORK/ctrl.err" </dev/null) &
	pid=$!
	wait_for 10 sh -c "[ \$($BIN/amend --data $D --timeout 2 edit list -o name 2>/dev/null | grep -c ctrl-) -gt 0 ]"
	kill -INT "$pid" 2>/dev/null
	wait "$pid"
	local status=$?
	count=$(amend edit list -o name | grep -c ctrl-)
	# a machine that is fast enough has sent it all before the signal
	[ "$status" = 130 ] || { [ "$status" = 0 ] && [ "$count" = 2000 ]; } || fail "exit $status after $count: $(cat "$WORK/ctrl.err")"
	[ "$status" = 0 ] || grep -q 'import the file again' "$WORK/ctrl.err" || fail "no next step: $(cat "$WORK/ctrl.err")"
	[ "$(jq '.accepted + .duplicates' "$WORK/ctrl.json")" -le "$count" ] || fail "$(cat "$WORK/ctrl.json") accepted, $count in the ledger"
	note "interrupted after $count of 2000"
	cluster_kill "$D"
	processes_gone "$D" || wait_for 5 processes_gone "$D" || fail "programs outlive SIGKILL"
	# the folder starts again with every accepted edit
	cluster_up main "$TINY"
	[ "$(amend edit list -o name | grep -c ctrl-)" = "$count" ] || fail "$count were accepted, $(amend edit list -o name | grep -c ctrl-) are there after the restart"
	expect_once
	cluster_down
}

# Ctrl-C of `amend up`, early and late: no program stays, and the folder starts afterwards.
case_interrupt_up() {
	local delay pid
	for delay in 0.05 0.3 0.8; do
		cluster_name "up-$delay"
		mkdir -p "$D"
		(trap - INT; exec "$BIN/amend" up --data "$D" "${ANY[@]}" --model "$TINY" >/dev/null 2>"$WORK/up.err" </dev/null) &
		pid=$!
		sleep "$delay"
		kill -INT "$pid" 2>/dev/null
		wait "$pid"
		local status=$?
		if [ "$status" = 0 ]; then # it was up already
			cluster_down
		else
			[ "$status" = 130 ] || fail "after $delay s: exit $status: $(cat "$WORK/up.err")"
			wait_for 10 processes_gone "$D" || fail "after $delay s: programs are left"
		fi
		cluster_up "up-$delay" "$TINY"
		cluster_down
	done
}

for name in kill9_coordinator all_served_after restart_time import_again node_restarted requests_during_change interrupt_import interrupt_up; do
	run_case "$name"
done
