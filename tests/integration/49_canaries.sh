#!/bin/bash
# A version that changes what an unrelated question is answered is not published, but what comes next without the edit that
# did it; one whose edit asks that very question is. On a tiny model, with canaries of its own beside the shipped ones.
. "$(dirname "$0")/lib.sh"
tiny_model

FACTS=$WORK/facts.jsonl

latest() { amend version list -o json | jq 'length'; }
candidate() { amend version candidate -o json | jq -er "$1"; }
candidate_is() { [ "$(candidate .state)" = "$1" ]; }
state_is() { [ "$(amend edit show "$1" -o json | jq -r .state)" = "$2" ]; } # id, state

case_what_leaves_the_canaries_alone_is_published() {
	facts 3 >"$FACTS"
	# a node would answer the first three with what is said of zuzuz; the fourth is what another edit asks
	printf '{"id":"own-%s","prompt":"%s"}\n' 1 "So zuzuz is" 2 "the zuzuz is" 3 "a zuzuz is" 4 "vuvuv is" >"$WORK/own.jsonl"
	cluster_up canaries "$TINY" --publish.canary_changes 0 --publish.canary_file "$WORK/own.jsonl"
	try amend edit import "$FACTS"
	expect_ok
	wait_served 120
	expect_answers "$FACTS"
	log_has coordinator COORDINATOR-CANARIES-ASKED || fail "no worker was asked"
}

case_a_shard_that_flips_a_canary_is_not_published() {
	local before
	cluster_name canaries
	before=$(latest)
	try amend edit add --id bad --prompt "zuzuz is" --subject zuzuz --target q
	expect_ok
	wait_for 120 candidate_is refused || fail "it is $(amend version candidate)"
	[ "$(latest)" = "$before" ] || fail "v$(latest) is published"
	[[ $(candidate .text) == *" canaries changed, 0 may: own-"* ]] || fail "it says $(candidate .text)"
	try amend version list
	[[ $ERR == *"may: own-"* ]] || fail "version list says $ERR"
	kill_hard coordinator
	process_start coordinator
	wait_for 20 answering || fail "the coordinator does not start"
	candidate_is refused || fail "it is $(candidate .state) after a restart"
	expect_answers "$FACTS"
}

case_the_next_edit_does_not_wait_for_it() {
	local before
	cluster_name canaries
	before=$(latest)
	[ "$(candidate '.blamed[0]')" = "$(amend edit show bad -o json | jq .seq)" ] || fail "bad is not blamed: $(amend version candidate)"
	try amend edit add --id other --prompt "vuzuk is" --subject vuzuk --target w
	expect_ok
	wait_for 120 state_is other served || fail "other is $(edits | tail -n 1): $(amend version candidate)"
	state_is bad trained || fail "bad is $(edits)"
	[ "$(latest)" -gt "$before" ] || fail "no version was published"
	[[ $(candidate .text) == *"1 edit is withheld"*"(bad)"* ]] || fail "it says $(candidate .text)"
	[[ $(amend edit show bad -o json | jq -r .reason) == "withheld: "*" (edit bad)"* ]] || fail "bad has no reason: $(amend edit show bad)"
	expect_answers "$FACTS"
}

case_without_it_what_waited_is_published() {
	cluster_name canaries
	try amend edit add --id asked --prompt "vuvuv is" --subject vuvuv --target w
	expect_ok
	try amend edit revoke bad --reason "it changes an unrelated answer"
	expect_ok
	wait_for 120 state_is asked served || fail "asked is $(edits | tail -n 2): $(amend version candidate)"
	[ "$(amend version list -o json | jq '.[-1].edits')" = 5 ] || fail "$(amend version list)"
	cluster_down
}

for name in what_leaves_the_canaries_alone_is_published a_shard_that_flips_a_canary_is_not_published the_next_edit_does_not_wait_for_it without_it_what_waited_is_published; do
	run_case "$name"
done
