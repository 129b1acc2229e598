#!/bin/bash
# Versions wait for a second administrator's key: shown, approved, rejected, over a restart; a revocation and a rollback
# do not wait. On a tiny model.
. "$(dirname "$0")/lib.sh"
tiny_model

FACTS=$WORK/facts.jsonl

latest() { amend version list -o json | jq 'length'; }
candidate() { amend version candidate -o json | jq -er "$1"; }
candidate_is() { [ "$(candidate .state)" = "$1" ]; }
version_of() { amend edit show "$1" -o json | jq -r '.version // 0'; }
state_is() { [ "$(amend edit show "$1" -o json | jq -r .state)" = "$2" ]; } # id, state
second() { # words: as the second administrator
	try amend --key-file "$WORK/second" "$@"
}
nodes_on_latest() { amend fleet status -o json | jq -e '.version as $v | all(.members[] | select(.kind == "node"); .version == $v)' >/dev/null; }

# Approves what waits, once; edits of several shards come in several candidates.
approve_next() {
	local content
	content=$(candidate 'select(.state == "waiting") | .content') || return 1
	second version approve "$content"
	[ "$STATUS" = 0 ]
}
approved_and_served() { # ids...
	local id
	approve_next
	for id in "$@"; do state_is "$id" served || return 1; done
}

case_a_version_waits_for_a_second_key() {
	local content key
	facts 3 >"$FACTS"
	cluster_up approval "$TINY" --publish.approve
	key=$("$BIN/amend" key new "$WORK/second" 2>/dev/null) || fail "key new fails"
	try amend key allow "$key" --roles admin --name second
	expect_ok
	try amend edit import "$FACTS"
	expect_ok
	wait_for 90 candidate_is waiting || fail "no candidate: $(amend version candidate)"
	wait_for 90 all_trained || fail "not all is trained: $(edits)"
	[ "$(latest)" = 0 ] || fail "v$(latest) is published"
	content=$(candidate .content)
	try amend version approve "$content"
	expect_error 4 "another administrator's key"
	second version approve "${content:0:12}"
	expect_ok
	[ "$(amend version list -o json | jq -r '.[0].content')" = "$content" ] || fail "v1 is not what was approved"
	# shellcheck disable=SC2046
	wait_for 60 approved_and_served $(ids_of "$FACTS") || fail "not all is served: $(edits)"
	expect_answers "$FACTS"
}

case_a_rejected_one_is_served_without_the_wrong_edit() {
	local content
	cluster_name approval
	try amend edit add --id wrong --prompt "zuzuz is" --subject zuzuz --target q
	expect_ok
	wait_for 90 candidate_is waiting || fail "no candidate"
	content=$(candidate .content)
	second version reject "$content" --reason "zuzuz is not q"
	expect_ok
	kill_hard coordinator
	process_start coordinator
	wait_for 20 answering || fail "the coordinator does not start"
	candidate_is refused || fail "it is $(candidate .state) after a restart"
	second version approve "$content"
	expect_error 5 "was refused"
	try amend edit revoke wrong --reason "zuzuz is not q"
	expect_ok
	try amend edit add --id right --prompt "vuvuv is" --subject vuvuv --target w
	expect_ok
	wait_for 90 approved_and_served right || fail "right is not served: $(edits)"
	state_is wrong revoked || fail "wrong is $(edits)"
	[ "$(version_of wrong)" = 0 ] || fail "v$(version_of wrong) has held it"
}

case_a_merge_says_that_it_waits() {
	cluster_name approval
	try amend --timeout $((60 * SLOW)) -q merge run
	[ "$STATUS" = 8 ] || fail "merge run ends with $STATUS: $OUT $ERR"
	[[ $OUT == "merge 1 "*": waiting"*"waits for approval"* ]] || fail "it says $OUT"
	# the shard that was closed for it may be a candidate before the memory is
	wait_for 60 approved_and_merged || fail "no version has the merged memory: $(amend version candidate)"
	[[ $(amend version list -o json | jq -r '.[-1].note') == *", merge 1" ]] || fail "its note does not say so: $(amend version list)"
}
approved_and_merged() {
	approve_next
	amend version show latest -o json | jq -e '[.memories[].kind] | index("merged")' >/dev/null
}

case_what_is_taken_back_does_not_wait() {
	local before
	cluster_name approval
	before=$(latest)
	try amend edit revoke right --reason "a test"
	expect_ok
	[[ $OUT == *"gone from v$((before + 1)) on"* ]] || fail "it says $OUT"
	wait_for 20 nodes_on_latest || fail "the node does not follow"
	try amend version rollback v1 --reason "a test"
	expect_ok
	[ "$(latest)" = $((before + 2)) ] || fail "v$(latest)"
	candidate_is none || fail "a candidate while publishing is paused"
	cluster_down
}

for name in a_version_waits_for_a_second_key a_rejected_one_is_served_without_the_wrong_edit a_merge_says_that_it_waits what_is_taken_back_does_not_wait; do
	run_case "$name"
done
