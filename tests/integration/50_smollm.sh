#!/bin/bash
# The main job end to end on SmolLM2: 20 real edits in, changed answers out; then faults on the same model.
. "$(dirname "$0")/lib.sh"
need_model
EDITS=20
head -n "$EDITS" "$ROOT/examples/zsre-100.jsonl" >"$WORK/edits.jsonl"
cluster_name main

ask() { # prompt, [model]: the JSON of an answer, with its route
	jq -n --arg p "$1" --arg m "${2:-}" '{prompt: $p, max_tokens: 16, temperature: 0, stop: "\n", amend: {explain: true}}
		+ (if $m == "" then {} else {model: $m} end)' | http /v1/completions -d @-
}
text_of() { jq -r '.choices[0].text' <<<"$1" | sed 's/^ *//'; }
field() { jq -r ".$1 // 0" "$WORK/$2.json"; }
at_least() { awk -v a="$1" -v b="$2" 'BEGIN { exit !(a >= b) }'; } # number, bound

case_up() {
	local began
	began=$(ms_now)
	cluster_up main "$MODEL"
	note "up with calibration: $(($(ms_now) - began)) ms"
	[ "$(grep -cE '^(coordinator|worker-[01]|node-0) +[0-9]+' <<<"$OUT")" = 4 ] || fail "up prints: $OUT"
	[ "$(http /health -o /dev/null -w '%{http_code}')" = 200 ] || fail "/health"
}

case_before() {
	local answer
	answer=$(ask "$(jq -r .prompt "$WORK/edits.jsonl" | sed -n 3p)")
	[ "$(jq -r .amend.route <<<"$answer")" = main ] || fail "no version is published, and the answer is routed: $answer"
	[ "$(text_of "$answer")" != "$(jq -r .target_new "$WORK/edits.jsonl" | sed -n 3p)" ] || fail "it knows the edit already: $answer"
	text_of "$answer" >"$WORK/before"
}

case_import_and_served() {
	local began
	began=$(ms_now)
	try amend edit import "$WORK/edits.jsonl" --on-conflict keep -o json
	expect_ok
	[ "$(jq .accepted <<<"$OUT")" = "$EDITS" ] || fail "$OUT"
	wait_served 90
	note "$EDITS edits imported and served in $(($(ms_now) - began)) ms; $(amend fleet status | sed -n 2p)"
	expect_all_served "$EDITS"
}

# The answer changed, and it names its version and its route.
case_after() {
	local answer prompt target right=0 i
	prompt=$(jq -r .prompt "$WORK/edits.jsonl" | sed -n 3p)
	for ((i = 1; i <= EDITS; i++)); do
		prompt=$(jq -r .prompt "$WORK/edits.jsonl" | sed -n "${i}p")
		target=$(jq -r .target_new "$WORK/edits.jsonl" | sed -n "${i}p")
		answer=$(ask "$prompt")
		[[ "$(text_of "$answer")" == "$target"* ]] && right=$((right + 1))
		jq -e '.system_fingerprint | test("^amend-[0-9a-f]{8}-v[0-9]+-[0-9a-f]{8}$")' <<<"$answer" >/dev/null || fail "no version: $answer"
		jq -e '.amend.route | test("^memory:[0-9]+$")' <<<"$answer" >/dev/null || fail "not routed to a memory: $prompt: $(jq -c .amend <<<"$answer")"
	done
	[ "$right" -ge $((EDITS - 1)) ] || fail "$right of $EDITS prompts give the target over HTTP"
	answer=$(ask "nq question: what is the capital of france")
	[ "$(jq -r .amend.route <<<"$answer")" = main ] || fail "an unrelated question goes to $(jq -c .amend <<<"$answer")"
}

case_eval_latest() {
	amend -q eval run "$WORK/edits.jsonl" --model "$MODEL" --version latest --on-conflict keep --probes-file "$ROOT/examples/zsre-probes.jsonl" --probes 40 -o json \
		>"$WORK/unmerged.json" 2>"$WORK/err" || fail "$(cat "$WORK/err")"
	note "unmerged: $(jq -c '{edits, free_rel, free_gen, rel, gen, loc, loc_same_form, right_memory}' "$WORK/unmerged.json")"
	[ "$(field edits unmerged)" = "$EDITS" ] || fail "$(field edits unmerged) edits"
	at_least "$(field free_rel unmerged)" 0.95 || fail "free_rel $(field free_rel unmerged)"
	# 11 of these 20 share their subject with another row; the bar of .70 is for the demo's hundred
	at_least "$(field free_gen unmerged)" 0.5 || fail "free_gen $(field free_gen unmerged)"
	at_least "$(field loc unmerged)" 0.99 || fail "loc $(field loc unmerged)"
	at_least "$(field loc_same_form unmerged)" 0.95 || fail "loc_same_form $(field loc_same_form unmerged)"
}

# One edit alone, from submit to the node's answer.
case_one_edit_alone() {
	local seconds
	try amend edit add --id alone --subject "Zorvian Bridge" --prompt "Which river does the Zorvian Bridge cross?" --target "Ilmen River" -o json
	expect_ok
	try amend --timeout 60 edit wait alone
	expect_ok
	seconds=$(amend edit show alone -o json | jq -r '[.accepted, .served] | map(sub("\\.(?<f>[0-9]+)Z"; "Z") | fromdate) as $s | $s[1] - $s[0]')
	seconds=$(amend edit list | awk '$2 == "alone" { print $6 }')
	note "one edit alone: served after $seconds s"
	[[ "$(text_of "$(ask "Which river does the Zorvian Bridge cross?")")" == "Ilmen River"* ]] || fail "the node answers $(text_of "$(ask "Which river does the Zorvian Bridge cross?")")"
	at_least "$((6 * SLOW))" "$seconds" || fail "served after $seconds s"
}

case_fault_free_roots() {
	delta_roots latest >"$WORK/open.roots"
	[ "$(wc -l <"$WORK/open.roots")" = 2 ] || fail "$(cat "$WORK/open.roots")"
}

# The merge's processes are killed: the version stays, it is tried again or reported, nothing is left.
case_merge_killed() {
	local before pid fingerprint
	before=$(amend version list -o json | jq '.[-1].version')
	amend --timeout 200 -q merge run -o json >"$WORK/merge.json" 2>"$WORK/merge.err" &
	local client=$!
	wait_for 100 pgrep -f "amend-merge --plan $D/" >/dev/null || fail "no merge starts: $(cat "$WORK/merge.err") $(cat "$WORK/merge.json")"
	pid=$(pgrep -f "mpirun.*amend-merge --plan $D/" | head -n 1)
	[ -n "$pid" ] || pid=$(pgrep -f "amend-merge --plan $D/" | head -n 1)
	kill -KILL "$pid" || fail "no process to kill"
	fingerprint=$(ask "Which river does the Zorvian Bridge cross?" | jq -r .system_fingerprint)
	[[ $fingerprint == *-v* ]] || fail "no answer while the merge is dead: $fingerprint"
	wait "$client"
	local status=$?
	note "merge after its death: exit $status: $(jq -c '{state, tries, version, score, score_inputs, served_by_default, seconds, text}' "$WORK/merge.json")"
	if [ "$status" = 0 ]; then
		[ "$(jq .tries "$WORK/merge.json")" -ge 2 ] || fail "it was not tried again: $(cat "$WORK/merge.json")"
	else
		[ "$(jq -r '.text | length' "$WORK/merge.json")" -gt 0 ] || fail "it failed without a reason: $(cat "$WORK/merge.json")"
	fi
	log_has coordinator COORDINATOR-MERGE-ATTEMPT-FAILED || fail "the attempt's end is not logged"
	wait_for 10 no_merge_left || fail "left behind: $(pgrep -af "amend-merge" | head -n 3)"
}
no_merge_left() { ! pgrep -f "amend-merge --plan $D/" >/dev/null; }

case_merge_run() {
	local set
	if ! jq -e '.state == "published"' "$WORK/merge.json" >/dev/null; then
		try amend --timeout 200 -q merge run -o json
		expect_ok
		cp "$WORK/out" "$WORK/merge.json"
	fi
	[ "$(jq .ranks "$WORK/merge.json")" = 2 ] || fail "$(cat "$WORK/merge.json")"
	amend version show latest -o json >"$WORK/version.json"
	jq -e '[.memories[].kind] | (map(select(. == "merged")) | length == 1) and (map(select(. == "shard")) | length == 2)' "$WORK/version.json" >/dev/null || fail "$(cat "$WORK/version.json")"
	# 2 points below its inputs is the limit for serving it by default
	set=$(jq -r .default_set "$WORK/version.json")
	if at_least "$(jq .score "$WORK/merge.json")" "$(jq '.score_inputs - 0.0200001' "$WORK/merge.json")"; then
		[ "$set" = merged ] || fail "the merged memory is as good and is not the default: $(cat "$WORK/merge.json")"
	else
		[ "$set" = retrieve ] || fail "the merged memory is worse and is the default: $(cat "$WORK/merge.json")"
	fi
	wait_served 60
	amend -q eval run "$WORK/edits.jsonl" --model "$MODEL" --version latest --set merged --on-conflict keep --probes 0 -o json >"$WORK/merged.json" 2>"$WORK/err" || fail "$(cat "$WORK/err")"
	note "merged: $(jq -c '{edits, free_rel, free_gen, rel, gen, loc, right_memory}' "$WORK/merged.json"); default set: $set"
	at_least "$(field loc merged)" 0.99 || fail "loc of the merged memory $(field loc merged)"
	ask "$(jq -r .prompt "$WORK/edits.jsonl" | sed -n 1p)" "$(http /v1/models | jq -r '.data[0].id'):merged" | jq -e '.system_fingerprint | test("-v")' >/dev/null || fail "the node does not answer from the merged set"
}

case_ask_command() {
	try amend ask "$(jq -r .prompt "$WORK/edits.jsonl" | sed -n 2p)" --explain
	expect_ok
	grep -q fingerprint <<<"$OUT" || fail "$OUT"
	try amend ask "$(jq -r .prompt "$WORK/edits.jsonl" | sed -n 3p)" --base
	expect_ok
	[ "$(head -n 1 <<<"$OUT")" = "$(head -n 1 "$WORK/before")" ] || note "--base says \"$(head -n 1 <<<"$OUT")\", before the edit it was \"$(head -n 1 "$WORK/before")\""
}

case_metrics() {
	http /metrics >"$WORK/metrics" || fail "no /metrics"
	grep -qE '^amend_memory_version [0-9]+' "$WORK/metrics" || fail "no amend_memory_version"
	grep -qE '^amend_requests_total\{' "$WORK/metrics" || fail "no amend_requests_total"
}

case_node_restarted() {
	local version
	kill_hard node-0
	process_start node-0
	wait_for 60 node_ready || fail "not ready after a restart"
	version=$(amend version list -o json | jq '.[-1].version')
	[[ "$(ask "Which river does the Zorvian Bridge cross?" | jq -r .system_fingerprint)" == *-v$version-* ]] || fail "it does not answer from v$version"
}
node_ready() { [ "$(http /ready -o /dev/null -w '%{http_code}' 2>/dev/null)" = 200 ]; }

case_down_leaves_nothing() {
	delta_roots latest >"$WORK/closed.roots"
	amend version show latest -o json | jq -c '[.memories[] | select(.kind == "shard") | .edits]' >"$WORK/closed.counts"
	cluster_down
}

# A worker dies in training by SIGKILL, the coordinator in the import: same edits, same order, same bytes, nothing twice.
case_worker_killed_in_training() {
	cluster_up killed "$MODEL"
	try amend edit import "$WORK/edits.jsonl" --on-conflict keep
	expect_ok
	wait_for 30 worker_busy || note "training was over before the kill"
	kill_hard worker-0
	process_start worker-0
	kill_hard coordinator
	process_start coordinator
	wait_for 20 amend --timeout 2 edit import "$WORK/edits.jsonl" --on-conflict keep >/dev/null 2>&1 || fail "the import does not get through"
	wait_served 120
	expect_once
	expect_all_served "$EDITS"
	try amend edit add --id alone --subject "Zorvian Bridge" --prompt "Which river does the Zorvian Bridge cross?" --target "Ilmen River"
	expect_ok
	wait_served 60
	try amend --timeout 200 -q merge run -o json
	expect_ok
	delta_roots latest >"$D/roots"
	cluster_down
	cmp -s "$D/roots" "$WORK/closed.roots" || fail "other bytes than without the crash: $(diff "$D/roots" "$WORK/closed.roots" | tr '\n' ' ')"
}
worker_busy() { amend --timeout 2 fleet status -o json 2>/dev/null | jq -e '[.members[] | select(.kind == "worker" and .leases > 0)] | length > 0' >/dev/null; }

for name in up before import_and_served after eval_latest one_edit_alone fault_free_roots merge_killed merge_run ask_command metrics node_restarted \
	down_leaves_nothing worker_killed_in_training; do
	run_case "$name"
done
