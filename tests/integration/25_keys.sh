#!/bin/bash
# Keys are listed, allowed, revoked and rotated while a cluster runs; where secrets may not be found. On a tiny model.
. "$(dirname "$0")/lib.sh"
tiny_model

state_of() { amend fleet status -o json | jq -r --arg n "$1" '.members[] | select(.name == $n) | .state'; }
lost() { [ "$(state_of "$1")" = lost ]; }
there() { case $(state_of "$1") in lost | "") false ;; esac; }
roles_of() { amend key list -o json | jq -r --arg n "$1" '.[] | select(.name == $n) | .roles'; }

case_list() {
	cluster_up keys "$TINY"
	[ "$(roles_of worker-1)" = worker ] || fail "worker-1: $(amend key list)"
	[ "$(roles_of node-0)" = reader ] || fail "node-0: $(amend key list)"
	try amend --key-file "$D/keys/node-0.key" key list
	expect_error 4 'roles of your key'
}

# Its connection stands; it is out at once, without a restart, and comes back when it is allowed again.
case_revoked_while_connected() {
	local key began ms
	cluster_name keys
	there worker-1 || fail "worker-1 is $(state_of worker-1)"
	key=$(awk '$1 == "public" { print $2 }' "$D/keys/worker-1.key")
	began=$(ms_now)
	try amend key revoke worker-1 --reason 'a laptop was lost'
	expect_ok
	lost worker-1 || fail "worker-1 is $(state_of worker-1)"
	ms=$(($(ms_now) - began))
	note "a connected worker was out $ms ms after the command began"
	wait_for 10 log_has coordinator PROTO-MESSAGE-DROPPED 'not on the allow list' || fail "it says nothing any more"
	alive "$(pid_of worker-1)" || fail "worker-1 has ended"
	facts 4 keys >"$WORK/facts.jsonl"
	try amend -q edit import "$WORK/facts.jsonl"
	expect_ok
	wait_served 60
	log_has coordinator COORDINATOR-KEY-CHANGED 'action=revoke.*laptop' || fail "no line tells of it"
	# no start adds it again
	kill -TERM "$(pid_of worker-0)"
	wait_for 10 gone "$(pid_of worker-0)" || fail "worker-0 does not end"
	try timeout $((60 * SLOW)) "$BIN/amend" up --data "$D" --workers 2
	[ "$(roles_of worker-1)" = revoked ] || fail "$(amend key list)"
	try amend key allow "$key" --roles worker --name worker-1
	expect_ok
	wait_for 20 there worker-1 || fail "worker-1 is $(state_of worker-1)"
	cluster_down
}

# A start writes a list that was lost anew from the ledger: of it a revoked key's file alone makes no allowed key.
case_revoked_when_the_list_is_lost() {
	local key=$WORK/extra.key
	cluster_up lost_list "$TINY"
	"$BIN/amend" key new "$key" >/dev/null 2>&1
	try amend key allow "$key" --roles reader --name extra
	expect_ok
	try amend key revoke worker-1 --reason leaked
	expect_ok
	rm "$D/keys/allow"
	try timeout $((60 * SLOW)) "$BIN/amend" up --data "$D"
	[ "$STATUS" != 0 ] || fail "it starts beside a coordinator that runs, on a list of its own"
	grep -q 'amend down' <<<"$ERR" || fail "$ERR"
	cluster_down
	try timeout $((60 * SLOW)) "$BIN/amend" up --data "$D" # worker-1 is refused, so the start is
	[ "$STATUS" != 0 ] || fail "a worker with a revoked key comes in"
	rm "$D/keys/allow"
	try timeout $((60 * SLOW)) "$BIN/amend" up --data "$D" --workers 1
	expect_ok
	grep -q 'written anew from the ledger' <<<"$ERR" || fail "$ERR"
	[ "$(roles_of worker-1)" = revoked ] || fail "$(amend key list)"
	[ "$(roles_of extra)" = reader ] || fail "$(amend key list)"
	cluster_down
}

case_rotate_own_key() {
	cluster_up keys "$TINY"
	cp -p "$D/keys/cli.key" "$WORK/stolen.key"
	try amend key rotate "$D/keys/cli.key"
	expect_ok
	try amend fleet status
	expect_ok
	try amend --timeout 2 --key-file "$WORK/stolen.key" fleet status
	expect_error 6 key
	[ "$(amend key list -o json | jq -r '[.[] | select(.name == "cli") | .roles] | sort | join(" ")')" = \
		"revoked submitter+reader+auditor+admin" ] || fail "$(amend key list)"
}

case_rotate_worker_key() {
	cluster_name keys
	try amend key rotate "$D/keys/worker-0.key" --keep-old
	expect_ok
	there worker-0 || fail "the old key is out"
	kill -TERM "$(pid_of worker-0)"
	wait_for 10 gone "$(pid_of worker-0)" || fail "worker-0 does not end"
	try timeout $((60 * SLOW)) "$BIN/amend" up --data "$D"
	expect_ok
	there worker-0 || fail "worker-0 is $(state_of worker-0)"
}

# One socket has one key: a restart, and the programs of this machine learn it by that.
case_rotate_server_key() {
	local old new
	cluster_name keys
	old=$(setting key.server)
	try amend key rotate "$D/keys/coordinator.key"
	expect_ok
	grep -q 'amend down' <<<"$ERR" || fail "$ERR"
	try amend fleet status
	expect_ok
	cluster_down
	try timeout $((60 * SLOW)) "$BIN/amend" up --data "$D"
	expect_ok
	new=$(setting key.server)
	[ "$new" != "$old" ] || fail "the coordinator has its old key"
	[ "$(amend fleet status -o json | jq '[.members[] | select(.state != "lost")] | length')" = 3 ] || fail "$(amend fleet status)"
	try amend key revoke "$old"
	expect_ok
	try amend --timeout 2 --server-key "$old" fleet status
	expect_error 6 'server key'
}

# What a secret may look like: its hex digits in either case, base64, its bytes.
patterns_of() { # secret as hex digits
	printf '%s\n%s\n' "$1" "${1^^}" >>"$WORK/texts"
	printf '%b' "$(sed 's/../\\x&/g' <<<"$1")" | base64 | tr -d '=\n' >>"$WORK/texts"
	echo >>"$WORK/texts"
	sed 's/../\\x&/g' <<<"$1" >>"$WORK/bytes"
}
holds_secret() { # file
	grep -qFa -f "$WORK/texts" "$1" || LC_ALL=C grep -qaP "$(paste -sd '|' "$WORK/bytes")" "$1"
}

# No secret of the cluster is in a log, a command line, an environment, the ledger or another file; none can be in a core file.
case_secrets_scan() {
	local file secret name pid count=0
	cluster_name keys
	: >"$WORK/texts" >"$WORK/bytes"
	for file in "$D"/keys/*.key; do
		[ "$(stat -c %a "$file")" = 600 ] || fail "$file: $(stat -c %a "$file")"
		while read -r secret; do patterns_of "$secret"; done < <(awk '$1 == "secret" { print $2 }' "$file")
		holds_secret "$file" || fail "the scan finds nothing in $file"
	done
	[ "$(wc -l <"$WORK/bytes")" -ge 5 ] || fail "$(wc -l <"$WORK/bytes") secrets"
	for name in coordinator worker-0 node-0; do
		pid=$(pid_of "$name")
		for file in "/proc/$pid/cmdline" "/proc/$pid/environ"; do
			cat "$file" >"$WORK/scanned" 2>/dev/null # of another user's program: nobody's to read
			holds_secret "$WORK/scanned" && fail "a secret in $file of $name"
		done
		awk '/Max core file size/ { exit $5 != 0 || $6 != 0 }' "/proc/$pid/limits" || fail "$name may leave a core file"
	done
	while IFS= read -r file; do
		case $file in "$D"/keys/*.key) continue ;; esac
		holds_secret "$file" && fail "a secret is in $file"
		count=$((count + 1))
	done < <(find "$D" -type f)
	note "$(wc -l <"$WORK/bytes") secrets are in none of $count files"
	cluster_down
}

# A killed program leaves no core file, whatever limit its user has set.
case_no_core_file() {
	local name=core-test pid
	mkdir -p "$WORK/core"
	cluster_name keys
	(
		cd "$WORK/core" || exit 1
		ulimit -c unlimited 2>/dev/null
		exec "$BIN/amendd" worker --config "$D/amend.yaml" --name "$name" --data "$WORK/core/data" --key-file "$D/keys/worker-0.key" --threads=1
	) >"$WORK/core/log" 2>&1 &
	pid=$!
	wait_for 10 test -d "$WORK/core/data" || fail "$(cat "$WORK/core/log")"
	awk '/Max core file size/ { exit $5 != 0 || $6 != 0 }' "/proc/$pid/limits" || fail "it may leave a core file"
	kill -ABRT "$pid"
	wait "$pid" 2>/dev/null
	[ -z "$(find "$WORK/core" -name 'core*' -type f)" ] || fail "it left $(find "$WORK/core" -name 'core*' -type f)"
}

# Without its authentication the coordinator ends within seconds, and lets nobody in meanwhile.
touched_to_death() { # pid
	amend --timeout 1 -q fleet status >/dev/null 2>&1
	gone "$1"
}
case_authentication_dies() {
	cluster_up auth "$TINY"
	kill_hard coordinator
	: >"$D/log/coordinator.log"
	FAULT='proto.zap.dies=errno@40' process_start coordinator
	wait_for 60 touched_to_death "$(pid_of coordinator)" || fail "it goes on"
	log_has coordinator COORDINATOR-AUTH-OPEN 'authentication thread has ended' || fail "it does not say why"
	log_has coordinator PROCESS-FAILED || fail "it ended well"
	FAULT='proto.zap.dies=errno@1' process_start coordinator
	wait_for 20 gone "$(pid_of coordinator)" || fail "it starts without authentication"
	FAULT='proto.zap.open=errno@1:1000000' process_start coordinator
	wait_for 20 gone "$(pid_of coordinator)" || fail "it starts with an open door"
	log_has coordinator PROCESS-FAILED 'a random key was let in' || fail "it does not say why"
	process_start coordinator
	wait_for 20 answering || fail "it does not come back"
	cluster_down
}

# A key file that others may read is refused by every program.
case_open_key_files() {
	local role mode key=$WORK/open.key
	cluster_name keys
	"$BIN/amend" key new "$key" >/dev/null 2>&1
	for mode in 640 604 660 622; do
		chmod "$mode" "$key"
		for role in coordinator worker node; do
			try timeout 20 "$BIN/amendd" "$role" --config "$D/amend.yaml" --data "$WORK/open" --key-file "$key" \
				$([ "$role" = coordinator ] && echo --allow-file "$D/keys/allow --coordinator tcp://127.0.0.1:* --hints tcp://127.0.0.1:*")
			expect_error 1 "open.key has mode 0$mode" 'chmod 600'
		done
		try amend --key-file "$key" fleet status
		[ "$STATUS" = 4 ] || fail "amend takes a key file of mode $mode: exit $STATUS"
		grep -q 'chmod 600' <<<"$ERR" || fail "$ERR"
		try amend key rotate "$key"
		expect_error 4 'chmod 600'
		try amend key allow "$key" --roles reader --name open
		expect_error 4 'chmod 600'
	done
}

# A key that may submit sees what became of its own edits, and waits for them, whatever others' do.
case_submitter_waits() {
	local key=$WORK/submitter.key
	cluster_name keys
	"$BIN/amend" key new "$key" >/dev/null 2>&1
	try amend key allow "$key" --roles submitter --name alone
	expect_ok
	try amend --key-file "$key" edit add --id own-1 --prompt "What is one of one's own?" --target this --wait
	expect_ok
	grep -q 'own-1 is served as v' <<<"$OUT" || fail "$OUT $ERR"
	try amend edit add --id other-1 --prompt "What is of another?" --target that
	expect_ok
	try amend --key-file "$key" edit add --id own-2 --prompt "What else is one's own?" --target more
	expect_ok
	try amend --key-file "$key" edit wait own-2
	expect_ok
	try amend --key-file "$key" edit wait -o json
	expect_ok
	jq -e '.waiting == 0 and .served == 0' <<<"$OUT" >/dev/null || fail "$OUT"
	try amend --key-file "$key" edit add --id own-3 --prompt "What is the last of one's own?" --target end
	expect_ok
	try amend --key-file "$key" edit wait -o json
	expect_ok
	jq -e '.waiting == 0 and .ended_otherwise == 0' <<<"$OUT" >/dev/null || fail "$OUT"
	[ "$(amend --key-file "$key" edit show own-3 -o json | jq -r .state)" = served ] || fail "$(amend edit show own-3)"
	try amend --key-file "$key" edit wait other-1
	expect_error 3 other-1
}

for name in list submitter_waits revoked_while_connected revoked_when_the_list_is_lost rotate_own_key rotate_worker_key rotate_server_key secrets_scan no_core_file \
	open_key_files authentication_dies; do
	run_case "$name"
done
