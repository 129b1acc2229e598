#!/bin/bash
# A relay whose disk rots, and one that gives it out unseen: what it gives is never stored, and its child goes on by the
# coordinator.
. "$(dirname "$0")/lib.sh"
. "$ROOT/tests/integration/nodes.sh"
tiny_model

# The indexes of the relay's copy get a wrong bit each; then a node that has nothing pulls from it.
pull_from_rotten() { # cluster, plant in the relay
	local version
	case_begin "$1"
	node_key node-1 reader
	node_key node-2 reader
	facts 8 "$1" >"$WORK/$1.jsonl"
	client "$WORK/$1.jsonl" >/dev/null || fail "the client is not answered"
	wait_served 60
	version=$(amend version show latest -o json | jq .version)
	if [ -n "$2" ]; then
		BIN=$PLANTED TORTURE_PLANT=$2 relay_start node-1
	else
		relay_start node-1
	fi
	wait_at 30 "$version" node-1
	"$T/rot" "$D/node-1" AMIX 300 >/dev/null || fail "no index to change"
	count faults
	node_start node-2 --relays "$(address_of node-1)"
	wait_at 60 "$version" node-2
	[ "$(bytes_from node-2 coordinator)" -gt 0 ] || fail "node-2 has all of the relay"
}
# Nothing wrong was stored by the child.
expect_whole() {
	node_stop node-2
	"$T/check" --cache "$D/node-2" | grep -q '^# [1-9][0-9]* chunks, 0 broken$' || fail "node-2 has $("$T/check" --cache "$D/node-2" | tail -n 1)"
	check_now --only --rest
}

# It reads what it gives: the child hears that it is not there.
case_rotten_relay() {
	pull_from_rotten rotten ''
	log_has node-1 RELAY-CHUNK-UNREADABLE || fail "the relay has seen nothing"
	log_has node-2 FETCH-CHUNK-CORRUPT && fail "the relay has given wrong bytes"
	[ "$(metric node-2 amend_fetch_relay_faults_total '"lacking"')" -gt 0 ] || fail "node-2 counts no chunk that the relay lacks"
	[ "$(bytes_from node-2 relay)" -gt 0 ] || fail "node-2 has nothing of the relay"
	expect_whole
}

# It gives out what it has, unseen: the child finds it, says who it was, and leaves it for minutes.
case_lying_relay() {
	pull_from_rotten lying unchecked-hash
	log_has node-2 FETCH-CHUNK-CORRUPT "from=$(logged node-1 PROTO-LISTENING endpoint)" || fail "node-2 does not say who gave wrong bytes"
	log_has node-2 FETCH-RELAY-LEFT 'reason=wrong seconds=320' || fail "node-2 does not leave the relay"
	[ "$(metric node-2 amend_fetch_relay_faults_total '"wrong"')" -gt 0 ] || fail "node-2 counts no wrong chunk"
	expect_whole
}

for name in ${CASES:-rotten_relay lying_relay}; do run_case "$name"; done
