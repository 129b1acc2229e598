#!/bin/bash
# The procedures of docs/operations.md, taken out of the page and run as they stand there: each case makes the trouble,
# runs the page's commands, and looks at what came of them. On a tiny model.
. "$(dirname "$0")/lib.sh"
. "$(dirname "$0")/nodes.sh"
tiny_model

PAGE=$ROOT/docs/operations.md
FACTS=$WORK/facts.jsonl
facts 8 >"$FACTS"
mkdir "$WORK/bin" && ln -s "$BIN/amend" "$WORK/bin/amend"

# The commands of a block: `sh run:NAME` is the block's first line.
block() { # name
	awk -v fence="\`\`\`sh run:$1" '$0 == fence { on = 1; next } /^```/ { on = 0 } on' "$PAGE"
}
# As a person would, beside amend-data; the variables that the page leaves to the reader come from the environment.
run_block() { # name
	local commands
	commands=$(block "$1")
	[ -n "$commands" ] || fail "docs/operations.md has no block $1"
	cd "$D/.." || fail "$D/.. is not there"
	try env PATH="$WORK/bin:$PATH" bash -c "set -o pipefail; $commands"
}
operate() { # name: every command of the block must succeed
	run_block "$1"
	expect_ok
}
started() { # cluster: with $FACTS served
	cluster_up "$1/amend-data" "$TINY" "${@:2}"
	try amend edit import "$FACTS"
	expect_ok
	wait_served 90
	cp "$FACTS" "$D/../facts.jsonl"
}
latest() { amend version show latest -o json | jq .version; }
state_of() { amend edit show "$1" -o json | jq -r .state; }
add() { # id, word, target
	try amend edit add --id "$1" --prompt "$2 is" --subject "$2" --target "$3"
	expect_ok
}

# Each block of the page is run by a case.
case_no_block_is_left_out() {
	local name
	for name in $(sed -n 's/^```sh run://p' "$PAGE"); do
		grep -qE "(operate|run_block) $name( |\$)" "$0" || fail "nothing runs the block $name of docs/operations.md"
	done
	grep -qE '^```sh *$' "$PAGE" && fail "docs/operations.md has commands that no case runs"
	return 0
}

case_look() {
	started look
	operate look
	for name in 'ledger at' VERSION 'id=COORDINATOR-'; do grep -q "$name" <<<"$OUT" || fail "$name is not in: $OUT"; done
}

case_everything_stopped() {
	local name
	cluster_name look/amend-data
	for name in coordinator worker-0 worker-1 node-0; do kill_hard "$name"; done
	operate stopped
	expect_kept_and_served "$FACTS"
}

case_a_bad_edit() {
	cluster_name look/amend-data
	add bad zuzuz q
	wait_served 60
	BAD=bad operate bad-edit
	[ "$(state_of bad)" = revoked ] || fail "it is $(state_of bad)"
	expect_answers "$FACTS"
}

case_a_bad_version() {
	local good
	cluster_name look/amend-data
	good=$(latest)
	add worse zazaz q
	wait_served 60
	GOOD=v$good BAD=worse WHAT=zazaz operate bad-version
	[ "$(state_of worse)" = revoked ] || fail "it is $(state_of worse)"
	[ -z "$(amend fleet status -o json | jq -r .publish_held)" ] || fail "publishing is held"
	wait_for 20 nodes_on_latest || fail "the node does not follow"
	expect_answers "$FACTS"
}

case_a_key_has_leaked() {
	local old
	cluster_name look/amend-data
	old=$(amend key list -o json | jq -r '.[] | select(.name == "worker-1") | .key')
	operate key-leaked
	amend key list -o json | jq -e --arg key "$old" 'all(.[]; .key != $key or .roles == "revoked" or .revoked == true)' >/dev/null ||
		fail "the old key is in: $(amend key list -o json)"
	wait_for 20 worker_is_there || fail "the worker does not come with its new key: $(amend fleet status)"
	KEY=$(amend key list -o json | jq -r '.[] | select(.name == "cli") | .key') operate key-leaked-edits
	[ "$(grep -c '^fact-' <<<"$OUT")" = 8 ] || fail "the edits of the key: $OUT"
}
worker_is_there() { amend fleet status -o json | jq -e '.members[] | select(.name == "worker-1" and .state != "lost")' >/dev/null; }

candidate_is() { [ "$(amend version candidate -o json | jq -r .state)" = "$1" ]; }
case_a_version_waits_for_approval() {
	local key
	export SECOND=$WORK/second
	cluster_up approval/amend-data "$TINY" --publish.approve
	key=$("$BIN/amend" key new "$SECOND" 2>/dev/null) || fail "key new fails"
	try amend key allow "$key" --roles admin --name second
	expect_ok
	add first zuzuz q
	wait_for 60 candidate_is waiting || fail "no candidate: $(amend version candidate)"
	operate approve
	wait_served 60
	add wrong zazaz p
	wait_for 60 candidate_is waiting || fail "no candidate: $(amend version candidate)"
	BAD=wrong operate reject
	[ "$(state_of wrong)" = revoked ] || fail "it is $(state_of wrong)"
	[ "$(state_of first)" = served ] || fail "first is $(state_of first)"
	cluster_down
}

case_the_canaries_refuse_a_version() {
	printf '{"id":"own-%s","prompt":"%s"}\n' 1 "So zuzuz is" 2 "the zuzuz is" 3 "a zuzuz is" >"$WORK/own.jsonl"
	cluster_up canaries/amend-data "$TINY" --publish.canary_changes 0 --publish.canary_file "$WORK/own.jsonl"
	add bad zuzuz q
	wait_for 120 candidate_is refused || fail "it is $(amend version candidate)"
	BAD=bad operate canaries
	grep -q 'own-' <<<"$OUT" || fail "the canaries are not named: $OUT"
	[ "$(state_of bad)" = revoked ] || fail "it is $(state_of bad)"
	cluster_down
}

case_a_node_is_behind() {
	local pid
	cluster_name look/amend-data
	pid=$(pid_of node-0)
	kill -STOP "$pid"
	add later zizik w
	wait_for 60 is_trained later || fail "later is not trained"
	nodes_on_latest && fail "the node follows although it is stopped"
	operate node-behind
	wait_for 30 nodes_on_latest || fail "the node does not follow: $(amend fleet status)"
	wait_served 60
	expect_answers "$FACTS"
	cluster_down
}
is_trained() { [[ $(state_of "$1") == trained || $(state_of "$1") == served ]]; }

case_the_disk_is_full() {
	local folder=$WORK/small
	mkdir -p "$folder"
	[ "$(id -u)" = 0 ] || skip "needs root for a small file system"
	mount -t tmpfs -o size=48m none "$folder" 2>/dev/null || skip "mount is not allowed here"
	mkdir -p "$WORK/clusters/full/amend-data"
	ln -s "$folder" "$WORK/clusters/full/amend-data/coordinator"
	started full --store.reserve_bytes 8000000
	fallocate -l "$(($(stat -f -c '%a * %S' "$folder") - 4000000))" "$folder/filler"
	facts 4 more >"$D/../facts.jsonl"
	wait_for 10 is_refused || fail "edits are taken on a full disk"
	operate disk-full
	grep -q 'free space' <<<"$OUT" || fail "fleet status does not say it: $OUT"
	rm "$folder/filler"
	wait_for 10 is_taken || fail "nothing is taken although there is room"
	operate disk-full-after
	wait_served 60
	expect_kept_and_served "$D/../facts.jsonl"
	cluster_down
	umount "$folder"
}
is_refused() { ! amend --timeout 1 edit add --id "full-$RANDOM" --prompt "full is" --target n >/dev/null 2>&1; }
is_taken() { amend --timeout 1 edit add --id room --prompt "room is" --target y >/dev/null 2>&1; }

case_a_large_fleet() {
	local version
	started fleet
	operate fleet-keys
	mv "$D/../relay-0.key" "$D/keys/node-1.key"
	mv "$D/../leaf-0.key" "$D/keys/node-2.key"
	version=$(latest)
	relay_start node-1
	node_start node-2 --relays "$(address_of node-1)"
	wait_at 30 "$version" node-1 node-2
	wait_for 10 pulls_from_relay || fail "$OUT"
	[ "$(bytes_from node-2 coordinator)" = 0 ] || fail "node-2 has $(bytes_from node-2 coordinator) bytes of the coordinator"
	cluster_down
}
pulls_from_relay() {
	operate fleet-look
	grep -q 'PULLS FROM' <<<"$OUT" && grep 'node-2' <<<"$OUT" | grep -qF "$(logged node-1 PROTO-LISTENING endpoint)"
}

case_a_merge_fails() {
	local rank=$WORK/rank
	printf '#!/bin/sh\n[ -e "%s" ] || { echo "no memory for a rank" >&2; exit 1; }\nexec "%s" "$@"\n' "$rank.mended" "$BIN/amend-merge" >"$rank"
	chmod +x "$rank"
	started merge --merge.program "$rank" --merge.tries 2
	try amend --timeout $((60 * SLOW)) merge run
	[ "$STATUS" = 1 ] || fail "the merge ends with $STATUS: $OUT $ERR"
	operate merge-failing
	grep -q 'COORDINATOR-MERGE-ATTEMPT-FAILED' <<<"$OUT" || fail "the log's lines: $OUT"
	grep -q 'no memory for a rank' <<<"$OUT" || fail "the job's log: $OUT"
	expect_answers "$FACTS"
	: >"$rank.mended"
	operate merge-again
	amend version show latest -o json | jq -e '[.memories[].kind] | index("merged")' >/dev/null || fail "nothing is merged"
	expect_answers "$FACTS"
	cluster_down
}

case_an_edit_is_not_learnt() {
	cluster_up unlearnt/amend-data "$TINY"
	try amend edit import "$FACTS"
	expect_ok
	# more letters without a pattern than a small random model holds
	try amend edit add --id long --prompt "wuwuw is" --target "$(awk 'BEGIN { srand(7); for (i = 0; i < 400; i++) printf "%c", 97 + int(26 * rand()) }')"
	expect_ok
	try amend --timeout $((90 * SLOW)) -q edit wait
	grep -q '1 ended otherwise' <<<"$OUT" || fail "edit wait does not say that an edit has failed: $OUT $ERR"
	operate not-learnt
	grep -q $'^long\t.' <<<"$OUT" || fail "the failed edit and its reason: $OUT"
	expect_answers "$FACTS"
	cluster_down
}

case_a_machine_is_lost() {
	export BACKUPS=$WORK/backups
	mkdir -p "$BACKUPS"
	started lost
	operate backup
	add late zezez p
	wait_served 60
	cp "$WORK/clusters/lost/facts.jsonl" "$WORK/all.jsonl"
	jq -cn '{id: "late", prompt: "zezez is", subject: "zezez", target_new: "p"}' >>"$WORK/clusters/lost/facts.jsonl"
	cluster_down
	rm -r "$D/coordinator"
	operate restore
	wait_for 20 nodes_on_latest || fail "the node does not follow"
	expect_kept_and_served "$WORK/clusters/lost/facts.jsonl"
}

case_the_store_is_damaged() {
	local at
	export BACKUPS=$WORK/backups
	cluster_name lost/amend-data
	cluster_down
	for at in $(grep -obaF '"id":"fact-007"' "$D/coordinator/ledger/data.mdb" | cut -d: -f1); do
		printf 9 | dd of="$D/coordinator/ledger/data.mdb" bs=1 seek=$((at + 11)) conv=notrunc status=none
	done
	try "$BIN/amend" up --data "$D"
	run_block damaged
	grep -qE 'event [0-9]+' <<<"$ERR" || fail "the first bad event is not named: $ERR"
	[ -d "$D/coordinator.damaged" ] || fail "the damaged folder is not set apart"
	operate restore
	expect_kept_and_served "$WORK/clusters/lost/facts.jsonl"
	cluster_down
}

for name in no_block_is_left_out look everything_stopped a_bad_edit a_bad_version a_key_has_leaked a_version_waits_for_approval the_canaries_refuse_a_version a_node_is_behind a_large_fleet the_disk_is_full \
	a_merge_fails an_edit_is_not_learnt a_machine_is_lost the_store_is_damaged; do
	run_case "$name"
done
