#!/bin/bash
# Edits are taken back and come back: one, a group, by time; the others answer as before, and a death in between changes
# nothing. On a tiny model.
. "$(dirname "$0")/lib.sh"
tiny_model

EDITS=8

answer_of() { # prompt: text and route, as the node gives them
	http /v1/completions -d "$(jq -cn --arg p "$1" '{prompt: $p, max_tokens: 6, temperature: 0, stop: "\n", amend: {explain: true}}')" |
		jq -r '(.amend.route // .choices[0].amend.route) as $route | .choices[0] | "\(.text | sub("^\\s+"; "") | gsub("\\s+$"; "")) \($route)"'
}
prompt_of() { jq -r "select(.id == \"$1\") | .prompt" "$FACTS"; }
state_is() { [ "$(amend edit show "$1" -o json | jq -r .state)" = "$2" ]; } # id, state
history_of() { amend edit show "$1" -o json | jq -r '[.history[].what] | join(" ")'; }
version_of() { amend version show latest -o json | jq .version; }
settle() { # versions published at least: the tombstone's, and that of the shard without the edit
	wait_for 60 log_count_at_least coordinator COORDINATOR-VERSION-PUBLISHED "$1" || fail "the shard was not trained anew"
	wait_for 20 nodes_on_latest || fail "the node does not follow"
	wait_served 60
}
published() { log_count coordinator COORDINATOR-VERSION-PUBLISHED; }
FACTS=$WORK/facts.jsonl

case_one_edit_leaves_and_the_others_stay() {
	local before others id=fact-003 count
	facts "$EDITS" | jq -c 'if (.id | IN("fact-005", "fact-006")) then .group = "pair" else . end' >"$FACTS"
	cluster_up revoke "$TINY"
	before=$(answer_of "$(prompt_of $id)")
	try amend edit import "$FACTS"
	expect_ok
	wait_served 90
	expect_answers "$FACTS"
	count=$(published)
	try amend edit revoke $id --reason "a test" -o json
	expect_ok
	[ "$(jq .revoked <<<"$OUT")" = 1 ] || fail "$OUT"
	settle $((count + 2))
	[ "$(answer_of "$(prompt_of $id)")" = "$before" ] || fail "it answers $(answer_of "$(prompt_of $id)"), before the edit $before"
	others=$WORK/others.jsonl
	jq -c "select(.id != \"$id\")" "$FACTS" >"$others"
	expect_answers "$others"
	[ "$(history_of $id)" = "accepted trained served revoked" ] || fail "its history: $(history_of $id)"
	try amend edit revoke $id --reason "again"
	expect_ok
	[[ $OUT == "revoked before"* ]] || fail "$OUT"
	# A group, as one.
	count=$(published)
	try amend edit revoke --group pair --reason "a test" -o json
	expect_ok
	[ "$(jq .revoked <<<"$OUT")" = 2 ] || fail "$OUT"
	settle $((count + 2))
	jq -c 'select(.group == null)' "$others" >"$WORK/rest.jsonl"
	expect_answers "$WORK/rest.jsonl"
}

# A → B, B is revoked: A again, under a new id.
case_what_was_superseded_comes_back() {
	local id=fact-000 prompt
	cluster_name revoke
	prompt=$(prompt_of $id)
	try amend edit add --id newer --prompt "$prompt" --subject "$(jq -r "select(.id == \"$id\") | .subject" "$FACTS")" --target z
	expect_ok
	[[ $OUT == *"supersedes edit $id: \"$prompt\""* ]] || fail "it does not say what it supersedes: $OUT"
	wait_served 60
	[[ $(answer_of "$prompt") == "z memory:"* ]] || fail "B answers $(answer_of "$prompt")"
	try amend edit revoke newer --reason "a test" --restore-superseded
	expect_ok
	wait_served 60
	wait_for 60 state_is "$id~2" served || fail "A is not back: $(edits | tail -n 3)"
	wait_for 20 nodes_on_latest
	[[ $(answer_of "$prompt") == "$(jq -r "select(.id == \"$id\") | .target_new" "$FACTS") memory:"* ]] || fail "A answers $(answer_of "$prompt")"
	try amend edit revoke "$id" --reason "a test"
	expect_error 5 "superseded by edit newer"
}

# What supersedes by another name of its subject answers for all of them.
case_what_supersedes_has_all_names() {
	cluster_name revoke
	try amend edit add --id full --prompt "kokok is" --subject kokok --subject-alias lulul --target q
	expect_ok
	wait_served 60
	[[ $(answer_of "lulul is") == q*" memory:"* ]] || fail "by an alias: $(answer_of "lulul is")"
	try amend edit add --id alias --prompt "lulul is" --subject lulul --target z
	expect_ok
	[[ $OUT == *'supersedes edit full: "kokok is" -> "q", answers for "kokok" too'* ]] || fail "it does not say what it supersedes: $OUT"
	try amend edit add --id again --prompt "kokok is" --subject kokok --target w --on-conflict reject
	expect_error 5 alias
	wait_served 60
	wait_for 20 nodes_on_latest
	[[ $(answer_of "lulul is") == "z memory:"* ]] || fail "by its name: $(answer_of "lulul is")"
	[[ $(answer_of "kokok is") == z*" memory:"* ]] || fail "by the name that it took over: $(answer_of "kokok is")"
}

case_time_ends_and_begins() {
	local soon
	cluster_name revoke
	soon=$(date -u -d "+$((6 * SLOW)) seconds" +%Y-%m-%dT%H:%M:%SZ)
	try amend edit add --id short --prompt "zuzuz is" --subject zuzuz --target q --expires "$soon"
	expect_ok
	try amend edit add --id late --prompt "vuvuv is" --subject vuvuv --target w --valid-from "$soon"
	expect_ok
	state_is late scheduled || fail "late is $(amend edit show late -o json | jq -r .state)"
	wait_for 60 state_is short expired || fail "short does not expire"
	wait_for 60 state_is late served || fail "late does not begin"
	[[ $(answer_of "vuvuv is") == "w memory:"* ]] || fail "late answers $(answer_of "vuvuv is")"
	cluster_down
}

# A merged memory holds what was revoked behind the tombstone: nobody asks, and it is merged anew without it.
merged_memory() { amend version show latest -o json | jq -r '[.memories[] | select(.kind == "merged") | .id] | join(" ")'; }
merged_anew() { [ "$(merged_memory)" != "$1" ]; } # the memory before
case_a_merged_memory_forgets() {
	local id=fact-003 old delta count
	cluster_up merged "$TINY"
	try amend edit import "$FACTS"
	expect_ok
	wait_served 90
	try amend eval run "$FACTS" --model "$TINY" --version latest --set merged --quick --probes 0
	expect_error 3 'no merged memory'
	try amend --timeout $((60 * SLOW)) -q merge run
	expect_ok
	old=$(merged_memory)
	[ -n "$old" ] || fail "no memory is merged: $(amend version show latest -o json)"
	delta=$(amend version show latest -o json | jq -r '.memories[] | select(.kind == "merged") | .delta')
	count=$(published)
	try amend edit revoke $id --reason "a test"
	expect_ok
	wait_for 60 merged_anew "$old" || fail "it is not merged anew: $(grep MERGE "$D/log/coordinator.log" | tail -n 3)"
	[ "$(wc -w <<<"$(merged_memory)")" = 1 ] || fail "merged memories: $(merged_memory)"
	[ "$(amend version show latest -o json | jq -r '.memories[] | select(.kind == "merged") | .delta')" != "$delta" ] || fail "it is the same memory"
	wait_for 20 nodes_on_latest || fail "the node does not follow"
	[ "$(published)" = $((count + 3)) ] || fail "$(($(published) - count)) versions where the tombstone, the shard and the memory are three"
	wait_served 60
	jq -c "select(.id != \"$id\")" "$FACTS" >"$WORK/others.jsonl"
	expect_answers "$WORK/others.jsonl"
	cluster_down
}

# The coordinator dies on either side of the revocation's commit; asked again, it is revoked once.
coordinator_crash_at() { # fault point and action
	local pid
	cluster_up "crash-${1%%=*}" "$TINY"
	try amend edit import "$FACTS"
	expect_ok
	wait_served 90
	kill_hard coordinator
	FAULT=$1 process_start coordinator
	pid=$(pid_of coordinator)
	wait_for 20 answering || fail "the coordinator does not start"
	amend --timeout 2 edit revoke fact-003 --reason "a test" >/dev/null 2>&1
	wait_for 60 gone "$pid" || fail "the point $1 was not reached"
	process_start coordinator
	wait_for 20 answering || fail "the coordinator does not start again"
	try amend edit revoke fact-003 --reason "a test"
	expect_ok
	wait_for 60 log_has coordinator COORDINATOR-LEASE-GRANTED || fail "the shard is not leased"
	wait_served 60
	wait_for 20 nodes_on_latest
	state_is fact-003 revoked || fail "it is not revoked"
	jq -c 'select(.id != "fact-003")' "$FACTS" >"$WORK/others.jsonl"
	expect_answers "$WORK/others.jsonl"
	cluster_down
}
case_killed_before_the_commit() { coordinator_crash_at coordinator.revoke.before_commit=kill@1; }
case_killed_after_the_commit() { coordinator_crash_at coordinator.revoke.after_commit=kill@1; }
case_killed_after_the_blobs() { coordinator_crash_at coordinator.publish.after_blobs=kill@1; }

for name in one_edit_leaves_and_the_others_stay what_was_superseded_comes_back what_supersedes_has_all_names time_ends_and_begins a_merged_memory_forgets killed_before_the_commit \
	killed_after_the_commit killed_after_the_blobs; do
	run_case "$name"
done
