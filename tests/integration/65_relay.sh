#!/bin/bash
# Nodes that pull from a relay: bytes of the coordinator, a relay that stands still, dies or is not there, a ring of relays, and
# keys that may not read. On a tiny model.
. "$(dirname "$0")/lib.sh"
. "$(dirname "$0")/nodes.sh"
tiny_model

COUNT=12 # edits of a version

pulls_from() { amend fleet status -o json | jq -r --arg n "$1" '.members[] | select(.name == $n) | .pulls_from'; }
sent_bytes() { curl -sS "http://$(logged coordinator COORDINATOR-LISTENING metrics)/metrics" | awk '$1 == "amend_sent_bytes_total" { printf "%d", $2 }'; }
page_new() { [ "$(sent_bytes)" != "$1" ]; } # sent before: the page is made once a second, and each heartbeat is answered
sent_now() { # of a page that was made since
	wait_for 10 page_new "$(sent_bytes)" || fail "the coordinator's page does not change"
	sent_bytes
}
learn() { # prefix: COUNT edits more, all published
	facts "$COUNT" "$1" >"$WORK/$1.jsonl"
	try amend -q edit import "$WORK/$1.jsonl"
	expect_ok
	wait_served 90
}

# Without node-0, and with the coordinator's metrics.
case_up() {
	cluster_up relay "$TINY"
	node_key node-1 reader
	node_key node-2 reader
	node_key node-3 reader
	node_key node-4 worker
	node_stop node-0
	kill -TERM "$(pid_of coordinator)"
	wait_for 10 gone "$(pid_of coordinator)" || fail "the coordinator does not end"
	process_start coordinator --metrics-listen=127.0.0.1:0
	wait_for 20 answering || fail "the coordinator does not come back"
	facts "$COUNT" first >"$WORK/first.jsonl"
	try amend -q edit import "$WORK/first.jsonl"
	expect_ok
	wait_for $((90 * SLOW)) all_trained || fail "not all is trained: $(amend edit list | tail -n 5)"
}

# A relay and two children that start with nothing: the coordinator gives one version, the relay the rest.
case_one_version_for_three() {
	local before after version one
	cluster_name relay
	version=$(newest)
	relay_start node-1
	wait_at 30 "$version" node-1
	one=$(bytes_from node-1 coordinator)
	[ "$one" -gt 0 ] || fail "the relay has fetched nothing"
	[ "$(metric node-1 amend_relay_keys)" -ge 4 ] || fail "the relay lets in $(metric node-1 amend_relay_keys) keys"
	before=$(sent_now)
	node_start node-2 --relays "$(address_of node-1)"
	node_start node-3 --relays "$(address_of node-1)"
	wait_at 30 "$version" node-2 node-3
	after=$(sent_now)
	note "a version has $one bytes; the coordinator sent $((after - before)) while two children pulled it"
	for name in node-2 node-3; do
		[ "$(bytes_from $name relay)" = "$one" ] || fail "$name has $(bytes_from $name relay) bytes of the relay, $(bytes_from $name coordinator) of the coordinator"
		[ "$(bytes_from $name coordinator)" = 0 ] || fail "$name has $(bytes_from $name coordinator) bytes of the coordinator"
	done
	[ "$(metric node-1 amend_relay_bytes_total)" = $((2 * one)) ] || fail "the relay has given $(metric node-1 amend_relay_bytes_total) bytes, not twice $one"
	[ $((after - before)) -lt $((one / 2)) ] || fail "the coordinator sent $((after - before)) bytes meanwhile"
	wait_for 10 pulls node-2 "$(logged node-1 PROTO-LISTENING endpoint)" || fail "node-2 pulls from $(pulls_from node-2)"
	[ "$(pulls_from node-1)" = coordinator ] || fail "node-1 pulls from $(pulls_from node-1)"
	amend fleet status | grep -q 'PULLS FROM' || fail "$(amend fleet status)"
}

# All hear of a version at the same time: the children wait for the relay, and none turns to the coordinator.
case_a_new_version_comes_by_the_relay() {
	local of_two of_three
	cluster_name relay
	of_two=$(bytes_from node-2 coordinator) of_three=$(bytes_from node-3 coordinator)
	learn second
	wait_at 30 "$(newest)" node-1 node-2 node-3
	[ "$(bytes_from node-2 coordinator)" = "$of_two" ] || fail "node-2 turned to the coordinator: $(grep RELAY "$D/log/node-2.log" | tail -n 3)"
	[ "$(bytes_from node-3 coordinator)" = "$of_three" ] || fail "node-3 turned to the coordinator: $(grep RELAY "$D/log/node-3.log" | tail -n 3)"
}

# The relay stands still when a version is published, so both children ask it and wait; then it is killed.
case_relay_killed_while_children_pull() {
	local version
	cluster_name relay
	kill -STOP "$(pid_of node-1)"
	learn_without node-1 third
	version=$(newest)
	kill_hard node-1
	wait_at 30 "$version" node-2 node-3
	[ "$(bytes_from node-2 coordinator)" -gt 0 ] || fail "node-2 has nothing of the coordinator"
	log_has node-2 FETCH-RELAY-LEFT || fail "node-2 does not say that it left the relay"
	[ "$(metric node-2 amend_fetch_relay_faults_total)" -gt 0 ] || fail "node-2 counts no fault"
	wait_served 60
	expect_kept "$WORK/third.jsonl"
}
learn_without() { # name of a node that stands still, prefix: trained, and published
	local before
	before=$(newest)
	facts "$COUNT" "$2" >"$WORK/$2.jsonl"
	try amend -q edit import "$WORK/$2.jsonl"
	expect_ok
	wait_for $((90 * SLOW)) all_trained || fail "not all is trained: $(amend edit list | tail -n 5)"
	[ "$(newest)" -gt "$before" ] || fail "nothing was published"
}
# A node answers with the targets of that file.
expect_kept() { # file
	local wrong
	jq -cs '{prompt: map(.prompt), max_tokens: 8, temperature: 0, stop: "\n"}' "$1" >"$WORK/ask.json"
	curl -sS --max-time 60 "http://$(logged node-2 NODE-STARTED http)/v1/completions" -d @"$WORK/ask.json" >"$WORK/answers.json"
	wrong=$(jq -rn --slurpfile edits "$1" --slurpfile answers "$WORK/answers.json" 'range($edits | length) | . as $i |
		select($answers[0].choices[$i].text | sub("^\\s+"; "") | startswith($edits[$i].target_new) | not) | $edits[$i].id')
	[ -z "$wrong" ] || fail "node-2 does not answer $(wc -l <<<"$wrong") of $(wc -l <"$1") edits"
}

# It comes back at the same place, and is asked again: of the first version after the time for which it was left.
case_relay_comes_back() {
	local tries=0
	cluster_name relay
	RELAY_AT=$(logged node-1 PROTO-LISTENING endpoint) relay_start node-1
	wait_at 30 "$(newest)" node-1
	wait_for 60 pulls_anew "$(logged node-1 PROTO-LISTENING endpoint)" || fail "node-2 pulls from $(pulls_from node-2)"
}
pulls_anew() { # endpoint
	learn "fourth-$((++tries))"
	wait_at 30 "$(newest)" node-1 node-2 node-3
	wait_for 2 pulls node-2 "$1"
}
pulls() { [ "$(pulls_from "$1")" = "$2" ]; }

# A key without the role reader is refused by the relay; so is one that is revoked, within the time of a heartbeat.
case_keys() {
	local keys refused
	cluster_name relay
	node_start node-4 --relays "$(address_of node-1)"
	wait_for 20 log_has node-1 PROTO-KEY-REFUSED "key=$(public_of node-4)" || fail "the relay lets in a worker's key"
	kill -KILL "$(pid_of node-4)" 2>/dev/null # unless the coordinator's refusal has ended it
	keys=$(metric node-1 amend_relay_keys)
	try amend key revoke node-3 --reason 'it was sold'
	expect_ok
	wait_for 5 keys_are $((keys - 1)) || fail "the relay lets in $(metric node-1 amend_relay_keys) keys, $keys before"
	kill_hard node-3
	rm -r "$D/node-3"
	refused=$(refused_count node-3)
	node_start node-3 --relays "$(address_of node-1)"
	wait_for 20 refused_more node-3 "$refused" || fail "the relay lets in a revoked key"
	[ "$(bytes_from node-3 relay)" = 0 ] || fail "a revoked key has $(bytes_from node-3 relay) bytes of the relay"
	kill_hard node-3
}
refused_count() { grep 'id=PROTO-KEY-REFUSED' "$D/log/node-1.log" | grep -c "key=$(public_of "$1")"; } # name
refused_more() { [ "$(refused_count "$1")" -gt "$2" ]; }
keys_are() { [ "$(metric node-1 amend_relay_keys)" = "$1" ]; }

# Two relays that pull from one another: both go on, by the coordinator.
case_a_ring_does_not_hang() {
	local a b
	cluster_name relay
	node_stop node-2
	node_stop node-1
	a=$(logged node-1 PROTO-LISTENING endpoint)
	RELAY_AT=tcp://127.0.0.1:* relay_start node-2 --relays "$(public_of node-1)@$a"
	b=$(logged node-2 PROTO-LISTENING endpoint)
	RELAY_AT=$a relay_start node-1 --relays "$(public_of node-2)@$b"
	wait_at 30 "$(newest)" node-1 node-2
	learn fifth
	wait_at 30 "$(newest)" node-1 node-2
	cluster_down
}

for name in up one_version_for_three a_new_version_comes_by_the_relay relay_killed_while_children_pull relay_comes_back keys a_ring_does_not_hang; do
	run_case $name
done
