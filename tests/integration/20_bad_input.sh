#!/bin/bash
# Bad input of every kind gets one clear sentence, the right exit code, and nothing is lost or half-applied. On a tiny model.
. "$(dirname "$0")/lib.sh"
tiny_model
cluster_name main

# "*" and 0 become ports of their own, none of those that systems give to connections: a restarted program finds its own free.
case_up() {
	local ports
	cluster_up main "$TINY" --store.reserve_bytes 1000000
	ports=$(for name in coordinator.endpoint coordinator.hints node.listen; do setting "$name" | sed 's/.*://'; done | sort -un)
	[ "$(awk '$1 >= 1024 && $1 < 32768' <<<"$ports" | wc -l)" = 3 ] || fail "ports: $ports"
}

# file:line: field: reason for each bad line; the good ones go in; a summary; exit 1.
case_lines() {
	local file=$WORK/mixed.jsonl id
	{
		facts 1 good-a
		printf '{"id":"x1","prompt":"no end of it\n'
		printf '{"id":"x2","prompt":"","target_new":"t"}\n'
		printf '{"id":"x3","prompt":"What is empty?","target_new":""}\n'
		printf '{"id":"x4","target_new":"t"}\n'
		printf '{"id":"x5","prompt":"What rings?","target_new":"a \\u0007 bell"}\n'
		printf '{"id":"x6","prompt":"What turns? \\u202e","target_new":"t"}\n'
		printf '{"id":"x7","prompt":"bytes \xff\xfe","target_new":"t"}\n'
		printf '{"id":"x8","prompt":"What ends \\u0000 here?","target_new":"t"}\n'
		printf '{"id":"x9","prompt":7,"target_new":"t"}\n'
		printf '{"id":"x10","prompt":"%s","target_new":"t"}\n' "$(head -c 9000 /dev/zero | tr '\0' 'a')"
		printf '{"id":"x11","prompt":"%s","target_new":"t"}\n' "$(head -c 40000 /dev/zero | tr '\0' 'b')"
		printf '[1, 2]\n'
		printf '\n'
		facts 1 good-b
	} >"$file"
	try amend edit import "$file" -o json
	expect_error 1 "mixed.jsonl:2: " 'mixed.jsonl:3: prompt: ' 'mixed.jsonl:4: target_new: ' 'mixed.jsonl:5: prompt: ' \
		'mixed.jsonl:6: target_new: ' 'mixed.jsonl:7: prompt: ' 'mixed.jsonl:8: ' 'mixed.jsonl:9: ' 'mixed.jsonl:10: prompt: ' \
		'mixed.jsonl:11: prompt: ' 'mixed.jsonl:12: ' 'mixed.jsonl:13: '
	LC_ALL=C grep -q $'[\a\x1b\xff]' "$WORK/err" && fail "control bytes reach the terminal"
	[ "$(jq -c '[.accepted, .bad_lines, .refused, .lines]' <<<"$OUT")" = '[2,12,0,14]' ] || fail "summary: $OUT"
	for id in good-a-000 good-b-000; do
		try amend edit show "$id" -o json
		expect_ok
	done
	try amend edit show x5
	expect_error 3 x5
}

case_same_id() {
	try amend edit add --id twin --prompt "What is the first?" --target one
	expect_ok
	try amend edit add --id twin --prompt "What is the first?" --target one -o json
	expect_ok
	[ "$(jq -r .result <<<"$OUT")" = duplicate ] || fail "the same again: $OUT"
	try amend edit add --id twin --prompt "What is the first?" --target two
	expect_error 5 twin
	[ "$(amend edit show twin -o json | jq -r .record.target_new)" = one ] || fail "the first content was replaced"
	printf '{"id":"twin","prompt":"What is the first?","target_new":"three"}\n' >"$WORK/twin.jsonl"
	try amend edit import "$WORK/twin.jsonl"
	expect_error 1 'twin.jsonl:1: ' twin
}

case_conflicts() {
	try amend edit add --id c1 --subject "Lake Q" --prompt "How deep is Lake Q measured today?" --target 4
	expect_ok
	try amend edit add --id c2 --subject "Lake Q" --prompt "How deep is Lake Q measured now?" --target 5 --on-conflict reject
	expect_error 5 c1
	try amend edit add --id c3 --subject "Lake Q" --prompt "How deep is Lake Q measured now?" --target 6 --on-conflict supersede -o json
	expect_ok
	[ "$(amend edit show c1 -o json | jq -r .state)" = superseded ] || fail "c1 is $(amend edit show c1 -o json | jq -r .state)"
	try amend edit add --id c4 --subject "Lake Q" --prompt "how deep is Lake Q measured now" --target 7 --on-conflict keep
	expect_error 5 c3 'one prompt has one answer'
	try amend edit add --id c5 --prompt "How deep is Lake Q measured?" --target 8 --on-conflict reject
	expect_error 5 c3
	try amend edit add --prompt "What is x?" --target y --on-conflict never
	expect_error 2 never 'supersede'
}

# Text of all sorts is data: stored verbatim, shown escaped.
case_nasty_text() {
	local prompt='<|im_start|>system %n %s $(reboot) </script> "quoted" \ back'
	try amend edit add --id nasty --prompt "$prompt" --target 'a<|im_end|>b'
	expect_ok
	[ "$(amend edit show nasty -o json | jq -r .record.prompt)" = "$prompt" ] || fail "another text was stored: $(amend edit show nasty -o json)"
	try amend edit show nasty
	expect_ok
}

case_files() {
	try amend edit import "$WORK/absent.jsonl"
	expect_error 3 'absent.jsonl'
	try amend edit import "$WORK"
	[ "$STATUS" != 0 ] || fail "a folder is imported"
	: >"$WORK/empty.jsonl"
	try amend edit import "$WORK/empty.jsonl" -o json
	expect_ok
	try amend edit import
	expect_error 2 usage
	try amend edit wait nobody
	expect_error 3 nobody
	try amend version show v999
	expect_error 3 999
	try amend version show v1x
	expect_error 2 v1x
}

case_http() {
	local code
	code=$(http /v1/completions -o "$WORK/body" -w '%{http_code}' -d '{"prompt":')
	[ "$code" = 400 ] && jq -e '.error.message | length > 0' "$WORK/body" >/dev/null || fail "torn JSON: $code $(cat "$WORK/body")"
	code=$(http /v1/completions -o "$WORK/body" -w '%{http_code}' -d '{"prompt":"x","max_tokens":"many"}')
	[ "$code" = 400 ] && [ "$(jq -r .error.param "$WORK/body")" = max_tokens ] || fail "a wrong type: $code $(cat "$WORK/body")"
	code=$(http /v1/completions -o "$WORK/body" -w '%{http_code}' -d '{"prompt":"x","model":"gpt-9"}')
	[ "$code" = 404 ] || fail "an unknown model: $code $(cat "$WORK/body")"
	code=$(http /v1/nothing -o "$WORK/body" -w '%{http_code}')
	[ "$code" = 404 ] || fail "an unknown path: $code"
	code=$(http /v1/completions -o "$WORK/body" -w '%{http_code}')
	[ "$code" = 405 ] || fail "GET of completions: $code"
	head -c 6000000 /dev/zero | tr '\0' ' ' >"$WORK/large" # over the limit, and little enough to be read to its end
	code=$(http /v1/completions -o "$WORK/body" -w '%{http_code}' --data-binary @"$WORK/large" 2>/dev/null)
	[ "$code" = 413 ] && jq -e '.error.message | length > 0' "$WORK/body" >/dev/null || fail "6 MB of body: $code $(head -c 300 "$WORK/body")"
	code=$(http /health -o /dev/null -w '%{http_code}')
	[ "$code" = 200 ] || fail "/health afterwards: $code"
}

# More connections than a node holds, each of which sends its request byte by byte: probes and requests are answered meanwhile.
case_slow_clients() {
	local address i fd code fds=()
	address=$(setting node.listen)
	ulimit -n 2048 || skip "this shell may not open so many descriptors"
	trap '' PIPE
	for ((i = 0; i < 700; i++)); do
		exec {fd}<>"/dev/tcp/${address%:*}/${address##*:}" || fail "connection $i is refused"
		printf 'POST /v1/completions HTTP/1.1\r\nHost: x\r\nX-a: ' >&"$fd"
		fds+=("$fd")
	done
	for i in 1 2 3; do
		code=$(http /health -m 3 -o /dev/null -w '%{http_code}')
		[ "$code" = 200 ] || fail "/health beside 700 slow clients: $code"
		code=$(http /v1/completions -m 20 -o /dev/null -w '%{http_code}' -d '{"prompt":"x","max_tokens":1}')
		[ "$code" = 200 ] || fail "a completion beside 700 slow clients: $code"
		for fd in "${fds[@]}"; do printf a >&"$fd"; done 2>/dev/null
	done
	http /metrics | grep -q '^amend_http_connections_closed_total{reason="full"} [1-9]' || fail "no metric tells of them"
	log_has node-0 HTTP-CONNECTIONS-CLOSED || fail "no line of the log tells of them"
}

case_unreachable() {
	try amend --timeout 2 --coordinator tcp://127.0.0.1:9 fleet status
	expect_error 6 'tcp://127.0.0.1:9'
	D=$WORK/nowhere
	try amend fleet status
	expect_error 3 nowhere 'amend up'
	try amend down
	expect_error 3 nowhere
}

case_wrong_server_key() {
	local key
	key=$("$BIN/amend" key new "$WORK/other.key" 2>/dev/null)
	try amend --timeout 2 --server-key "$key" fleet status
	expect_error 6 'key'
	try amend --server-key abc fleet status
	expect_error 1 'key.server' '64 hex'
}

stranger_in() { amend --timeout 1 --key-file "$WORK/guest.key" fleet status >/dev/null 2>&1; }
stranger_out() { ! stranger_in; }
# SIGHUP reads the list of keys again, in both directions, and ends no program.
case_keys_reloaded() {
	local name guest allow=$D/keys/allow
	guest=$("$BIN/amend" key new "$WORK/guest.key" 2>/dev/null)
	stranger_in && fail "a key that nobody allowed gets in"
	cp -p "$allow" "$WORK/allow"
	echo "$guest reader guest" >>"$allow"
	for name in coordinator worker-0 node-0; do kill -HUP "$(pid_of "$name")"; done
	wait_for 10 stranger_in || fail "an allowed key stays outside after SIGHUP"
	cp -p "$WORK/allow" "$allow"
	kill -HUP "$(pid_of coordinator)"
	wait_for 10 stranger_out || fail "a revoked key stays inside after SIGHUP"
	echo "no line of a list of keys" >>"$allow"
	kill -HUP "$(pid_of coordinator)"
	wait_for 10 log_has coordinator COORDINATOR-ALLOW-UNCHANGED || fail "a bad list is not reported"
	cp -p "$WORK/allow" "$allow"
	answering || fail "a bad list changed the good one"
	for name in coordinator worker-0 node-0; do alive "$(pid_of "$name")" || fail "SIGHUP ended $name"; done
}

case_unknown_client_key() {
	"$BIN/amend" key new "$WORK/stranger.key" >/dev/null 2>&1
	try amend --timeout 3 --key-file "$WORK/stranger.key" fleet status
	case $STATUS in 4 | 6) ;; *) fail "exit $STATUS: $ERR" ;; esac
	grep -qi key <<<"$ERR" || fail "the key is not mentioned: $ERR"
	log_has coordinator PROTO-KEY-REFUSED || fail "the coordinator does not log the refused key"
	# a key without the right: the node's may read and not submit
	try amend --timeout 3 --key-file "$D/keys/node-0.key" edit add --prompt "May I?" --target no
	expect_error 4
	chmod 644 "$WORK/stranger.key"
	try amend --key-file "$WORK/stranger.key" fleet status
	[ "$STATUS" != 0 ] || fail "a key that all may read is taken"
	grep -q 'stranger.key' <<<"$ERR" || fail "the key file is not named: $ERR"
}

case_busy_port() {
	local endpoint
	endpoint=$(setting coordinator.endpoint)
	try "$BIN/amend" up --data "$WORK/clusters/busy" --model "$TINY" --coordinator "$endpoint" --hints 'tcp://127.0.0.1:*' --listen 127.0.0.1:0
	expect_error 1 "${endpoint##*:}" 'in use' 'another port'
	processes_gone "$WORK/clusters/busy" || fail "programs are left"
	mkdir -p "$WORK/busy2"
	try timeout 20 "$BIN/amendd" coordinator --data "$WORK/busy2" --key-file "$D/keys/coordinator.key" --allow-file "$D/keys/allow" \
		--coordinator "$endpoint" --hints 'tcp://127.0.0.1:*'
	expect_error 1 "${endpoint##*:}" 'in use'
}

case_second_coordinator() {
	try "$BIN/amend" up --data "$D" --model "$TINY" "${ANY[@]}"
	expect_error 1 'runs' 'amend down'
	try timeout 20 "$BIN/amendd" coordinator --data "$D/coordinator" --key-file "$D/keys/coordinator.key" --allow-file "$D/keys/allow" \
		--coordinator 'tcp://127.0.0.1:*' --hints 'tcp://127.0.0.1:*'
	expect_error 1 "$D/coordinator" 'in use|process'
	try amend fleet status
	expect_ok
}

case_models() {
	cluster_name models
	try "$BIN/amend" up --data "$D" --model "$WORK/absent.gguf" "${ANY[@]}"
	expect_error 3 absent.gguf
	head -c 20000 "$TINY" >"$WORK/cut.gguf"
	try "$BIN/amend" up --data "$D" --model "$WORK/cut.gguf" "${ANY[@]}"
	expect_error 7 cut.gguf
	[ ! -e "$D/keys" ] || fail "a truncated model leaves a folder"
	processes_gone "$D" || fail "programs are left after a truncated model"
	printf 'PK\3\4 this is no model' >"$WORK/foreign.gguf"
	try "$BIN/amend" up --data "$D" --model "$WORK/foreign.gguf" "${ANY[@]}"
	expect_error 1 foreign.gguf GGUF
	processes_gone "$D" || fail "programs are left after a foreign model"
	try "$BIN/amend" up --data "$WORK/no-model" "${ANY[@]}"
	expect_error 2 'needs --model'
	try "$BIN/amend" eval run "$ROOT/examples/zsre-100.jsonl" --model "$WORK/cut.gguf"
	expect_error 7 cut.gguf
}

# A worker with another base model is refused, says why and ends; the cluster goes on.
case_other_base_model() {
	"$BIN/tests/tools/tiny_model" "$WORK/tiny2.gguf" 2
	kill_hard worker-1
	rm -rf "$WORK/w"
	try timeout 60 "$BIN/amendd" worker --config="$D/amend.yaml" --name=worker-1 --data="$WORK/w" --key-file="$D/keys/worker-1.key" \
		--model="$WORK/tiny2.gguf" --threads=1
	expect_error 1 'refused' 'model'
	process_start worker-1
	wait_for 30 log_has worker-1 WORKER-JOINED || fail "the right worker does not come back"
	try amend fleet status
	expect_ok
}

# Nor may the edited layer change: a version with memories of two could be loaded by no node.
case_other_layer() {
	kill_hard coordinator
	try timeout 60 "$BIN/amendd" coordinator --config="$D/amend.yaml" --name=coordinator --data="$D/coordinator" --key-file="$D/keys/coordinator.key" \
		--allow-file="$D/keys/allow" --layer=2
	expect_error 1 'layer 3' 'says 2' 'set --layer to 3' 'another folder'
	process_start coordinator
	wait_for 30 amend fleet status >/dev/null 2>&1 || fail "the coordinator does not come back"
}

# A layer that no worker can edit is not fixed, even where nothing has to be calibrated first; while nothing is trained it may change.
case_wrong_layer() {
	cluster_name layers
	mkdir -p "$D" && calibration_lend "$D" 1
	try "$BIN/amend" up --data "$D" --model "$TINY" --workers 1 "${ANY[@]}" --layer 9
	expect_error 1 'ended: ' 'edits layer 9' 'layers 0 to 3' 'with --layer 1 to 3'
	processes_gone "$D" || fail "programs are left after a wrong layer"
	log_has coordinator COORDINATOR-BASE-FIXED && fail "a layer was fixed that no worker can edit"
	for layer in 2 1; do
		try "$BIN/amend" up --data "$D" --model "$TINY" --workers 1 "${ANY[@]}" --layer "$layer"
		expect_ok
		cluster_down
	done
	log_has coordinator COORDINATOR-LAYER-CHANGED 'from=2 to=1' || fail "the change is not logged"
}

case_read_only_folder() {
	local folder=$WORK/small
	mkdir -p "$folder"
	if [ "$(id -u)" = 0 ]; then
		mount -t tmpfs -o ro,size=1m none "$folder" 2>/dev/null || skip "mount is not allowed here"
	else
		chmod 555 "$folder"
	fi
	try "$BIN/amend" up --data "$folder/data" --model "$TINY" "${ANY[@]}"
	[ "$(id -u)" = 0 ] && umount "$folder"
	expect_error "$([ "$(id -u)" = 0 ] && echo 1 || echo 4)" "$folder" '[Rr]ead-only|[Pp]ermission' 'name another folder'
}

TRIES=0
refused_for_space() {
	TRIES=$((TRIES + 1))
	try amend --timeout 3 edit add --id "during-$TRIES" --prompt "Is there still room?" --target no
	[ "$STATUS" != 0 ]
}
# A full disk: nothing is accepted that could not be kept, what was accepted stays, and with room it goes on by itself.
case_full_folder() {
	local folder=$WORK/small
	mkdir -p "$folder"
	[ "$(id -u)" = 0 ] || skip "needs root for a small file system"
	mount -t tmpfs -o size=24m none "$folder" 2>/dev/null || skip "mount is not allowed here"
	D=$folder/data
	mkdir -p "$D" && calibration_lend "$D" 1
	try "$BIN/amend" up --data "$D" "${ANY[@]}" --model "$TINY" --workers 1 --store.reserve_bytes 8000000
	[ "$STATUS" = 0 ] || { umount "$folder"; fail "up: $ERR"; }
	try amend edit add --id before --prompt "Is there room?" --target yes
	[ "$STATUS" = 0 ] || { cluster_kill "$D"; umount -l "$folder"; fail "with room: $ERR"; }
	fallocate -l "$(($(stat -f -c '%a * %S' "$folder") - 4000000))" "$folder/filler"
	wait_for 10 refused_for_space # the coordinator looks at its disk once a second
	local status=$STATUS err=$ERR during=during-$TRIES
	printf '{"id":"waits","prompt":"Is there room for a file?","target_new":"no"}\n' >"$WORK/waits.jsonl"
	try timeout 60 "$BIN/amend" --data "$D" --timeout 3 edit import "$WORK/waits.jsonl"
	local import=$STATUS err_import=$ERR
	rm "$folder/filler"
	try wait_for 10 amend --timeout 3 edit add --id after --prompt "Is there room again?" --target yes
	local after=$STATUS err_after=$(amend edit list -o name | tr '\n' ' ')
	cluster_kill "$D"
	umount -l "$folder"
	[ "$status" != 0 ] || fail "an edit was accepted on a full disk"
	grep -qE 'space|disk|full' <<<"$err" || fail "the disk is not mentioned: $err"
	[ "$import" = 8 ] || fail "an import onto a full disk exits $import: $err_import"
	grep -q 'the coordinator takes no edits now: .*Ctrl-C stops' <<<"$err_import" || fail "an import that waits does not say why: $err_import"
	[ "$after" = 0 ] || fail "it does not go on with room: $ERR"
	grep -q 'before' <<<"$err_after" && ! grep -qw "$during" <<<"$err_after" || fail "the ledger holds: $err_after"
}

case_whole() {
	wait_served 60
	expect_once
	cluster_down
}

for name in up lines same_id conflicts nasty_text files http slow_clients unreachable wrong_server_key unknown_client_key keys_reloaded busy_port \
	second_coordinator models other_base_model other_layer wrong_layer read_only_folder full_folder whole; do
	run_case "$name"
done
