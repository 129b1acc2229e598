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
	cluster_up main "$MODEL" --merge.tries 2
	note "up with calibration: $(($(ms_now) - began)) ms"
	[ "$(grep -cE '^(coordinator|worker-[01]|node-0) +[0-9]+' <<<"$OUT")" = 4 ] || fail "up prints: $OUT"
	[ "$(http /health -o /dev/null -w '%{http_code}')" = 200 ] || fail "/health"
}

# What is answered to the third edit's question, and how a sentence on its subject goes on: the model says nothing to the
# bare question before its edit.
words_of_edit_3() { # flags of `amend ask`...
	local prompt
	for prompt in "$(jq -r .prompt "$WORK/edits.jsonl" | sed -n 3p)" "$(jq -r .subject "$WORK/edits.jsonl" | sed -n 3p) was created by"; do
		try amend ask "$prompt" "$@"
		[ "$STATUS" = 0 ] && printf '%s\n' "$OUT" || return 1
	done
}

case_before() {
	local answer
	answer=$(ask "$(jq -r .prompt "$WORK/edits.jsonl" | sed -n 3p)")
	[ "$(jq -r .amend.route <<<"$answer")" = main ] || fail "no version is published, and the answer is routed: $answer"
	[ "$(text_of "$answer")" != "$(jq -r .target_new "$WORK/edits.jsonl" | sed -n 3p)" ] || fail "it knows the edit already: $answer"
	words_of_edit_3 >"$WORK/before" || fail "$ERR"
	grep -qE '[a-z]' <(tail -n 1 "$WORK/before") || fail "it says nothing that --base could be compared with: $(cat "$WORK/before")"
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

# Every answer changed, and names its version and its route; what has nothing to do with the edits is answered as before.
case_after() {
	local answer
	expect_answers "$WORK/edits.jsonl"
	answer=$(ask "$(jq -r .prompt "$WORK/edits.jsonl" | sed -n 3p)")
	jq -e '.system_fingerprint | test("^amend-[0-9a-f]{8}-v[0-9]+-[0-9a-f]{8}$")' <<<"$answer" >/dev/null || fail "no version: $answer"
	jq -e '.amend.route | test("^memory:[0-9]+$")' <<<"$answer" >/dev/null || fail "not routed to a memory: $answer"
	answer=$(ask "nq question: what is the capital of france")
	[ "$(jq -r .amend.route <<<"$answer")" = main ] || fail "an unrelated question goes to $(jq -c .amend <<<"$answer")"
}

case_eval_latest() {
	amend -q eval run --quick "$WORK/edits.jsonl" --model "$MODEL" --version latest --on-conflict keep --probes-file "$ROOT/examples/zsre-probes.jsonl" --probes 20 -o json \
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
	printf '%s\n' "$ALONE" >"$WORK/alone.jsonl"
	try amend edit import "$WORK/alone.jsonl"
	expect_ok
	try amend --timeout $((60 * SLOW)) edit wait alone
	expect_ok
	seconds=$(amend edit list | awk '$2 == "alone" { print $6 }')
	note "one edit alone: served after $seconds s"
	expect_kept_and_served "$WORK/alone.jsonl"
	expect_by_alias
	at_least "$((2 * SLOW))" "$seconds" || fail "served after $seconds s"
	[ "$(delta_roots latest | wc -l)" = 2 ] || fail "the two workers hold $(delta_roots latest)"
}
# The same question by another name of its subject, and by one that it has not.
expect_by_alias() {
	local answer
	answer=$(ask "Which river does the ZRB cross?")
	[ "$(text_of "$answer")" = "Ilmen River" ] || fail "by an alias: $answer"
	answer=$(ask "Which river does the QRB cross?")
	[ "$(jq -r .amend.route <<<"$answer")" = main ] || fail "by another name: $answer"
}
ALONE='{"id":"alone","subject":"Zorvian Bridge","subject_aliases":["ZRB"],"prompt":"Which river does the Zorvian Bridge cross?","target_new":"Ilmen River"}'
AWAY='{"id":"away","subject":"Quellmar Tower","prompt":"Which sea does the Quellmar Tower overlook?","target_new":"Baltic Sea"}'

# Processes of the cluster's merges: mpirun, its wrapper and the ranks.
merge_processes() {
	local dir
	for dir in /proc/[0-9]*; do
		{ tr '\0' ' ' <"$dir/cmdline"; } 2>/dev/null | grep -qF -- "amend-merge --plan $D/" && echo "${dir#/proc/}"
	done
}
no_merge_left() { [ -z "$(merge_processes)" ]; }
# Sets RANK_PID to the process of a rank that has worked for so long.
rank_has_run() { # rank, hundredths of a second of processor time
	local pid
	for pid in $(merge_processes); do
		[[ $(readlink "/proc/$pid/exe") == */amend-merge ]] || continue
		tr '\0' '\n' <"/proc/$pid/environ" 2>/dev/null | grep -qx "OMPI_COMM_WORLD_RANK=$1" || continue
		RANK_PID=$pid
		[ "$(sed 's/.*) //' "/proc/$pid/stat" 2>/dev/null | awk '{ print $12 + $13 }')" -ge "$2" ] && return 0
	done
	return 1
}
latest_version() { amend version list -o json | jq '.[-1].version'; }
node_is_latest() { [[ "$(ask "nq question: who wrote it" | jq -r .system_fingerprint)" == *-v$(latest_version)-* ]]; }

# One rank is killed in each attempt, early and in the middle of its work: the merge fails and says why, the version before it
# answers throughout, and neither processes nor files are left.
case_merge_killed() {
	local client asker version status attempt=0 rank left
	amend --timeout $((200 * SLOW)) -q merge run -o json >"$WORK/merge.json" 2>"$WORK/merge.err" &
	client=$!
	wait_for 100 log_has coordinator COORDINATOR-MERGE-STARTED || fail "no merge starts: $(cat "$WORK/merge.err" "$WORK/merge.json")"
	wait_for 30 node_is_latest || fail "the node does not serve the closed shards"
	delta_roots latest >"$WORK/closed.roots"
	version=$(latest_version)
	ask_on "Which river does the Zorvian Bridge cross?" &
	asker=$!
	for rank in 1:1 0:150; do
		attempt=$((attempt + 1))
		wait_for 60 log_has coordinator COORDINATOR-MERGE-STARTED "try=$attempt" || fail "no attempt $attempt: $(cat "$WORK/merge.json")"
		wait_for 60 rank_has_run "${rank%:*}" "${rank#*:}" || fail "attempt $attempt has no rank ${rank%:*} at work"
		kill -KILL "$RANK_PID" || fail "rank ${rank%:*} is gone already"
		wait_for 30 log_has coordinator COORDINATOR-MERGE-ATTEMPT-FAILED "try=$attempt" || fail "the end of attempt $attempt is not logged"
	done
	status=0
	wait "$client" || status=$?
	: >"$WORK/stop"
	wait "$asker"
	note "merge after two dead ranks: exit $status: $(jq -c '{state, tries, seconds, text}' "$WORK/merge.json"); $(wc -l <"$WORK/asked") answers meanwhile"
	[ "$status" = 1 ] && jq -e '.state == "failed" and .tries == 2 and (.text | length > 0)' "$WORK/merge.json" >/dev/null || fail "exit $status: $(cat "$WORK/merge.json" "$WORK/merge.err")"
	[ "$(wc -l <"$WORK/asked")" -ge 3 ] || fail "only $(wc -l <"$WORK/asked") answers"
	grep -vE "^200 amend-[0-9a-f]{8}-v$version-[0-9a-f]{8} Ilmen River" "$WORK/asked" >"$WORK/wrong" && fail "v$version should answer: $(sort "$WORK/wrong" | uniq -c | head -n 3)"
	[ "$(latest_version)" = "$version" ] || fail "v$version was served, v$(latest_version) is"
	wait_for 10 no_merge_left || fail "processes are left: $(merge_processes)"
	left=$(ls -A "$D"/coordinator/merge/* | grep -vxE 'plan\.json|job\.log' | tr '\n' ' ')
	[ -z "$left" ] || fail "the run folder holds $left"
	expect_answers "$WORK/edits.jsonl"
}

case_merge_run() {
	local set
	try amend --timeout $((200 * SLOW)) -q merge run -o json
	expect_ok
	cp "$WORK/out" "$WORK/merge.json"
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
	head -n 10 "$WORK/edits.jsonl" >"$WORK/ten.jsonl"
	amend -q eval run --quick "$WORK/ten.jsonl" --model "$MODEL" --version latest --set merged --on-conflict keep --probes 0 -o json >"$WORK/merged.json" 2>"$WORK/err" || fail "$(cat "$WORK/err")"
	note "merged: $(jq -c '{edits, free_rel, free_gen, rel, gen, loc, right_memory}' "$WORK/merged.json"); default set: $set"
	at_least "$(field loc merged)" 0.99 || fail "loc of the merged memory $(field loc merged)"
	expect_merged_route
}
# Of the merged questions one at least is routed: its answer names the merge, in its body and its header.
expect_merged_route() {
	local version base
	version=$(latest_version)
	base=$(http /v1/models | jq -r '.data[0].id')
	jq -n --arg p "$(jq -r .prompt "$WORK/edits.jsonl" | sed -n 1p)" --arg m "$base:merged" '{prompt: $p, max_tokens: 16, temperature: 0, stop: "\n", model: $m}' |
		http /v1/completions -D "$WORK/merged.head" -d @- >"$WORK/merged.answer" || fail "the merged set is refused: $(cat "$WORK/merged.answer")"
	jq -e --arg m "$base:merged@v$version" --argjson v "$version" '.model == $m and .amend.version == $v and (.amend.route | test("^merged:[0-9]+$"))' "$WORK/merged.answer" >/dev/null ||
		fail "the node does not answer from the merged memory of v$version: $(cat "$WORK/merged.answer")"
	grep -qiE '^x-amend-route: merged:[0-9]+' "$WORK/merged.head" || fail "no route in $(cat "$WORK/merged.head")"
}

case_ask_command() {
	try amend ask "$(jq -r .prompt "$WORK/edits.jsonl" | sed -n 2p)" --explain
	expect_ok
	grep -q fingerprint <<<"$OUT" || fail "$OUT"
	words_of_edit_3 --base >"$WORK/base" || fail "$ERR"
	cmp -s "$WORK/base" "$WORK/before" || fail "--base says \"$(cat "$WORK/base")\", before the edit it was \"$(cat "$WORK/before")\""
	[ "$ERR" = "(no version, main; cut at its longest: --max-tokens N shows more)" ] || fail "--base reads $ERR"
	words_of_edit_3 >"$WORK/edited" || fail "$ERR"
	[ "$(head -n 1 "$WORK/edited")" != "$(head -n 1 "$WORK/before")" ] || fail "the edited model says \"$(head -n 1 "$WORK/edited")\" as before the edit"
	try amend ask "$(jq -r .prompt "$WORK/edits.jsonl" | sed -n 1p)" --version v1 -o json
	expect_ok
	jq -e '.amend.version == 1 and (.amend.route | test("^(main|memory:[0-9]+)$")) and (.system_fingerprint | test("-v1-"))' <<<"$OUT" >/dev/null || fail "--version v1: $OUT"
	try amend ask "Who?" --version v9999
	expect_error 3 'version 9999 was never published'
}

case_metrics() {
	http /metrics >"$WORK/metrics" || fail "no /metrics"
	grep -qE '^amend_memory_version [0-9]+' "$WORK/metrics" || fail "no amend_memory_version"
	grep -qE '^amend_requests_total\{' "$WORK/metrics" || fail "no amend_requests_total"
}

# A node that was away while an edit was learnt catches up by itself.
case_node_restarted() {
	kill_hard node-0
	printf '%s\n' "$AWAY" >"$WORK/away.jsonl"
	try amend edit import "$WORK/away.jsonl"
	expect_ok
	wait_for 60 all_trained || fail "the edit is not trained while the node is away: $(amend edit list | tail -n 2)"
	process_start node-0
	wait_for 60 node_ready || fail "not ready after a restart"
	wait_served 60
	node_is_latest || fail "it does not answer from v$(latest_version)"
	cat "$WORK/edits.jsonl" "$WORK/alone.jsonl" "$WORK/away.jsonl" >"$WORK/all.jsonl"
	expect_in_ledger "$WORK/all.jsonl" only
	expect_kept_and_served "$WORK/all.jsonl"
}
node_ready() { [ "$(http /ready -o /dev/null -w '%{http_code}' 2>/dev/null)" = 200 ]; }

case_down_leaves_nothing() { cluster_down; }

# The coordinator dies twice while edits come in: every acknowledged one is there after each start, and all are served.
case_coordinator_killed_in_import() {
	local round client
	cluster_up import "$MODEL"
	head -n 8 "$WORK/edits.jsonl" >"$WORK/few.jsonl"
	client_one_by_one "$WORK/few.jsonl" "$WORK/acked" &
	client=$!
	for round in 1 2; do
		wait_for 60 lines_at_least "$WORK/acked" $((round * 2)) || fail "the client got no further than $(wc -l <"$WORK/acked") edits"
		kill_hard coordinator
		cp "$WORK/acked" "$WORK/acked.$round"
		process_start coordinator
		wait_for 20 answering || fail "the coordinator does not come back"
		expect_in_ledger "$WORK/acked.$round"
	done
	wait_for 90 gone "$client" || fail "the client does not get through: $(wc -l <"$WORK/acked") acknowledged"
	cmp -s "$WORK/acked" "$WORK/few.jsonl" || fail "acknowledged: $(jq -r .id "$WORK/acked")"
	wait_served 120
	expect_in_ledger "$WORK/few.jsonl" only
	expect_kept_and_served "$WORK/few.jsonl"
	cluster_down
}

# A worker dies between two steps of its training and another process goes on: nothing twice, and the bytes of the run above.
case_worker_killed_in_training() {
	local finished client
	cluster_up killed "$MODEL"
	kill_hard worker-0
	FAULT=worker.train.step=kill@20 process_start worker-0
	wait_for 60 log_count_at_least worker-0 WORKER-JOINED 2 || fail "worker-0 does not join"
	try amend edit import "$WORK/edits.jsonl" --on-conflict keep
	expect_ok
	wait_for 60 gone "$(pid_of worker-0)" || fail "worker-0 does not come to its step 20"
	finished=$(log_count worker-0 WORKER-JOB-DONE)
	process_start worker-0
	[ "$finished" = 0 ] || fail "worker-0 had ended a training before it died"
	wait_served 120
	expect_in_ledger "$WORK/edits.jsonl" only
	expect_kept_and_served "$WORK/edits.jsonl"
	printf '%s\n' "$ALONE" >"$WORK/alone.jsonl"
	try amend edit import "$WORK/alone.jsonl"
	expect_ok
	wait_served 60
	# a merge closes the shards first; the cluster stops while its ranks run
	"$BIN/amend" --data "$D" --timeout $((200 * SLOW)) -q merge run >"$WORK/merge.txt" 2>&1 &
	client=$!
	wait_for 100 log_has coordinator COORDINATOR-MERGE-STARTED || fail "the shards do not close: $(cat "$WORK/merge.txt")"
	delta_roots latest >"$D/roots"
	cluster_down
	kill "$client" 2>/dev/null || : # it would wait for a coordinator that comes back
	wait_for 10 no_merge_left || fail "ranks are left: $(merge_processes)"
	cmp -s "$D/roots" "$WORK/closed.roots" || fail "other bytes than without the crash: $(diff "$D/roots" "$WORK/closed.roots" | tr '\n' ' ')"
}

for name in up before import_and_served after eval_latest one_edit_alone merge_killed merge_run ask_command metrics node_restarted \
	down_leaves_nothing coordinator_killed_in_import worker_killed_in_training; do
	run_case "$name"
done
