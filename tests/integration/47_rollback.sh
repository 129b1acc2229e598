#!/bin/bash
# An old version is published again and publishing pauses: what is learnt meanwhile waits, also over a restart of the
# coordinator, and comes with the resume. On a tiny model.
. "$(dirname "$0")/lib.sh"
tiny_model

FACTS=$WORK/facts.jsonl

ask() { # prompt: text and route
	http /v1/completions -d "$(jq -cn --arg p "$1" '{prompt: $p, max_tokens: 6, temperature: 0, stop: "\n", amend: {explain: true}}')" |
		jq -r '(.amend.route // .choices[0].amend.route) as $route | .choices[0] | "\(.text | sub("^\\s+"; "") | gsub("\\s+$"; "")) \($route)"'
}
latest() { amend version show latest -o json | jq .version; }
content_of() { amend version list -o json | jq -r ".[] | select(.version == $1) | .content"; }
held() { amend fleet status -o json | jq -er .publish_held; }
answering() { held >/dev/null; }
state_is() { [ "$(amend edit show "$1" -o json | jq -r .state)" = "$2" ]; } # id, state

case_an_old_version_comes_back_and_publishing_waits() {
	local old new
	facts 4 >"$FACTS"
	cluster_up rollback "$TINY"
	try amend edit import "$FACTS"
	expect_ok
	wait_served 90
	old=$(latest)
	try amend edit add --id bad --prompt "zuzuz is" --subject zuzuz --target q
	expect_ok
	wait_served 90
	[[ $(ask "zuzuz is") == "q memory:"* ]] || fail "it answers $(ask "zuzuz is")"
	try amend version rollback "v$old"
	expect_error 2 "needs --reason"
	try amend version rollback v999 --reason "a test"
	expect_error 3 "does not exist"
	try amend version rollback "v$old" --reason "zuzuz is not q"
	expect_ok
	new=$(latest)
	[ "$new" -gt "$old" ] || fail "v$new after v$old"
	[ "$(content_of "$new")" = "$(content_of "$old")" ] || fail "v$new is not v$old"
	wait_for 20 nodes_on_latest || fail "the node does not follow"
	[[ $(ask "zuzuz is") != *memory:* ]] || fail "it answers $(ask "zuzuz is")"
	expect_answers "$FACTS"
	[[ $(held) == "publishing is paused since "*"zuzuz is not q"* ]] || fail "fleet status says: $(held)"
	try amend version list
	[[ $ERR == *"publishing is paused since "* ]] || fail "version list says: $ERR"
}

case_what_is_learnt_meanwhile_waits_for_the_resume() {
	local new
	cluster_name rollback
	new=$(latest)
	try amend edit add --id later --prompt "vuvuv is" --subject vuvuv --target w
	expect_ok
	wait_for 60 state_is later trained || fail "later is not trained: $(edits | tail -n 3)"
	kill_hard coordinator
	process_start coordinator
	wait_for 20 answering || fail "the coordinator does not start"
	[ "$(latest)" = "$new" ] || fail "v$(latest) is published although publishing is paused"
	[[ $(held) == *"1 trained edit waits"* ]] || fail "fleet status says: $(held)"
	[[ $(ask "vuvuv is") != *memory:* ]] || fail "it answers $(ask "vuvuv is")"
	state_is later trained || fail "later is not trained any more"
	try amend version resume
	expect_ok
	wait_for 60 state_is later served || fail "later is not served"
	[ -z "$(held)" ] || fail "fleet status says: $(held)"
	[[ $(ask "vuvuv is") == "w memory:"* ]] || fail "it answers $(ask "vuvuv is")"
	[[ $(ask "zuzuz is") == "q memory:"* ]] || fail "it answers $(ask "zuzuz is")"
	cluster_down
	try amend store verify "$D/coordinator"
	expect_ok
}

for name in an_old_version_comes_back_and_publishing_waits what_is_learnt_meanwhile_waits_for_the_resume; do
	run_case "$name"
done
