#!/bin/bash
# Copies of the coordinator's folder while edits are submitted and versions published; a cluster that goes on from one.
. "$(dirname "$0")/lib.sh"
tiny_model

some_acked() { lines_at_least "$WORK/acked" "$1"; }

case_backup_under_load() {
	local client i
	cluster_up kept "$TINY"
	facts 60 >"$WORK/facts.jsonl"
	client_one_by_one "$WORK/facts.jsonl" "$WORK/acked" &
	client=$!
	for i in 1 2 3; do
		wait_for 60 some_acked $((10 * i)) || fail "only $(wc -l <"$WORK/acked") edits are acknowledged"
		cp "$WORK/acked" "$WORK/acked-$i"
		try amend store backup "$WORK/copy-$i" -o json
		expect_ok
		jq -e '.bad_chunks == 0 and .events > 0' <<<"$OUT" >/dev/null || fail "$OUT"
	done
	wait "$client" || fail "the client has failed"
	wait_served 120
	for i in 1 2 3; do
		try "$BIN/amend" store verify "$WORK/copy-$i"
		expect_ok
		try "$BIN/amend" audit fsck "$WORK/copy-$i"
		expect_ok
	done
	log_has coordinator COORDINATOR-BACKUP-MADE || fail "nothing is logged"
	try amend store gc # an upload of before its start might still be on its way
	expect_error 8 'ask again in [0-9]+ s'
	try "$BIN/amend" store verify "$D/coordinator" # it runs
	expect_error 1 'in use by process [0-9]+'
}

# The disk is lost. What was acknowledged before the copy began is in it; the rest is submitted again.
case_restore() {
	cluster_name kept
	cluster_down
	try amend store verify
	expect_ok
	try amend store restore "$WORK/copy-2"
	expect_error 5 'holds something already'
	mv "$D/coordinator" "$WORK/lost"
	try amend store restore "$WORK/copy-2"
	expect_ok
	cluster_up kept "$TINY"
	# the node was on a later version: what it reads from now on is the copy's
	wait_for 20 nodes_on_latest || fail "the node does not go back: $(amend fleet status)"
	log_has node-0 NODE-CLUSTER-CHANGED || fail "the node takes the copy's versions for later ones of its own"
	amend edit list -o jsonl | jq -r .id | sort >"$WORK/ledger"
	ids_of "$WORK/acked-2" | comm -23 - "$WORK/ledger" >"$WORK/missing"
	[ ! -s "$WORK/missing" ] || fail "acknowledged before the copy, and not in it: $(head -n 3 "$WORK/missing")"
	[ "$(wc -l <"$WORK/ledger")" -lt 60 ] || fail "the copy has later edits, too"
	try amend edit import "$WORK/facts.jsonl"
	expect_ok
	wait_served 120
	expect_in_ledger "$WORK/facts.jsonl" only
	expect_answers "$WORK/facts.jsonl"
	cluster_down
	try amend store verify
	expect_ok
}

healed() {
	log_has coordinator COORDINATOR-SCRUBBED &&
		amend fleet status -o json | jq -e '.damage == ""' >/dev/null &&
		[ "$(log_count coordinator COORDINATOR-CHUNK-HEALED)" -gt 0 ] &&
		[ "$(log_count coordinator COORDINATOR-CHUNK-HEALED)" = "$(log_count coordinator COORDINATOR-CHUNK-DAMAGED)" ]
}

# The disk has changed every delta of a coordinator; its workers have what they made.
case_rot() {
	local at
	cluster_name kept
	for at in $(grep -obaF AMDL "$D/coordinator/blobs/data.mdb" | cut -d: -f1); do
		printf '\377' | dd of="$D/coordinator/blobs/data.mdb" bs=1 seek=$((at + 60)) conv=notrunc status=none
	done
	try amend store verify
	expect_error 7 'damaged chunk' 'does not match its hash' 'start the coordinator' 'amend store restore'
	rm -r "$D/node-0/blobs" "$D/node-0/live.json" # it has to fetch all of it
	: >"$D/log/coordinator.log"
	cluster_up kept "$TINY"
	wait_for 60 healed || fail "not healed: $(grep -c CHUNK-DAMAGED "$D/log/coordinator.log") damaged, $(log_count coordinator COORDINATOR-CHUNK-HEALED) healed"
	wait_served 60
	expect_answers "$WORK/facts.jsonl"
	cluster_down
	try amend store verify
	expect_ok
}

lost_is_gone() { amend edit list -o jsonl | jq -es 'all(.[]; .state == "served")' >/dev/null && [ "$(log_count coordinator COORDINATOR-SHARD-LOST)" -gt 0 ]; }

# The same, and nobody has them any more: the ledger has the edits, so workers train them again.
case_lost() {
	local at
	cluster_name kept
	for at in $(grep -obaF AMDL "$D/coordinator/blobs/data.mdb" | cut -d: -f1); do
		printf '\377' | dd of="$D/coordinator/blobs/data.mdb" bs=1 seek=$((at + 60)) conv=notrunc status=none
	done
	rm -r "$D/node-0/blobs" "$D/node-0/live.json" "$D"/worker-*/blobs
	: >"$D/log/coordinator.log"
	cluster_up kept "$TINY" --store.retrain_ms=3000
	wait_for 120 lost_is_gone || fail "$(log_count coordinator COORDINATOR-SHARD-LOST) shards are lost; $(amend edit list -o jsonl | jq -r .state | sort | uniq -c)"
	wait_for 20 nodes_on_latest || fail "$(amend fleet status)"
	expect_in_ledger "$WORK/facts.jsonl" only
	expect_answers "$WORK/facts.jsonl"
	amend version list -o json | jq -e 'any(.[]; .problem | strings | test("lost")) and (.[-1].problem == null)' >/dev/null ||
		fail "the versions that cannot be loaded are not marked: $(amend version list)"
	try amend audit fsck
	expect_error 1 'in use'
	cluster_down
	try amend audit fsck
	expect_ok
}

# Where the bytes, in hexadecimal, stand in the file; whatever they are (grep takes no line's end).
bytes_at() {
	od -An -v -tx1 "$2" | tr -d ' \n' | grep -ob "$1" | awk -F: '$1 % 2 == 0 { print $1 / 2 }'
}

# A record in the ledger that says nothing but of an old version.
case_version_record() {
	local at content count
	cluster_up kept "$TINY"
	count=$(amend version list -o name | wc -l)
	content=$(amend version list -o json | jq -r '.[0].content')
	cluster_down
	for at in $(bytes_at "$content" "$D/coordinator/ledger/data.mdb"); do
		printf 'amend' | dd of="$D/coordinator/ledger/data.mdb" bs=1 seek="$at" conv=notrunc status=none
	done
	cluster_up kept "$TINY"
	try amend version list
	expect_error 7 'records of 1 of these versions, first v1'
	[ "$(grep -c '^v[0-9]' <<<"$OUT")" = "$count" ] || fail "$count versions: $OUT"
	grep -q '^v1 .*damaged' <<<"$OUT" || fail "$OUT"
	cluster_down
}

# Somebody has put an older copy in the ledger's place: it is whole, and does not hold the head that was written down.
case_older_copy() {
	local head older
	cluster_name kept
	head=$("$BIN/amend" audit fsck "$D/coordinator" -o json | jq -r .head)
	older=$("$BIN/amend" audit fsck "$WORK/lost" -o json | jq -r .head)
	[ "${#head}" = 64 ] && [ "${#older}" = 64 ] || fail "no heads: $head, $older"
	try "$BIN/amend" audit fsck "$WORK/copy-3" --head "$older"
	expect_error 7 'no event has the hash'
	try "$BIN/amend" audit fsck "$WORK/lost" --head "$older"
	expect_ok
	try "$BIN/amend" audit fsck "$WORK/lost" --head "$("$BIN/amend" audit fsck "$WORK/copy-1" -o json | jq -r .head)"
	expect_ok
	try "$BIN/amend" audit fsck "$D/coordinator" --head "$older" # went on from copy-2
	expect_error 7 'no event has the hash'
}

# Somebody has written into the ledger of a stopped cluster.
case_tampered() {
	local at
	cluster_name kept
	at=$(grep -obaF '"id":"fact-007"' "$D/coordinator/ledger/data.mdb" | tail -n 1 | cut -d: -f1)
	[ -n "$at" ] || fail "the edit is not found in the file"
	for at in $(grep -obaF '"id":"fact-007"' "$D/coordinator/ledger/data.mdb" | cut -d: -f1); do
		printf 9 | dd of="$D/coordinator/ledger/data.mdb" bs=1 seek=$((at + 11)) conv=notrunc status=none
	done
	try amend audit fsck
	expect_error 7 'event [0-9]+: does not match its hash'
	try amend store verify
	expect_error 7 'event [0-9]+: does not match its hash'
	try amend store restore "$D/coordinator" "$WORK/tampered"
	expect_error 7 'no copy is made' 'event [0-9]+: does not match its hash' 'from a backup'
	[ ! -e "$WORK/tampered" ] && [ ! -e "$WORK/tampered.part" ] || fail "it leaves a copy behind"
	try timeout $((60 * SLOW)) "$BIN/amend" up --data "$D"
	expect_error 1 'event [0-9]+: does not match its hash' 'nothing is acknowledged' 'from a backup'
	processes_gone "$D" || fail "programs are left: $(processes_of "$D")"
}

run_case backup_under_load
run_case restore
run_case rot
run_case older_copy
run_case lost
run_case version_record
run_case tampered
