#!/bin/bash
# A calibration of one's own, on a tiny model: made, given to an evaluation and to a cluster, and refused where it does not fit.
. "$(dirname "$0")/lib.sh"
tiny_model

# Groups for the relation head: a question, its rephrase, another question on the same subject.
groups() { # count
	local i asked=("who leads" "where is" "how old is") again=("the head of" "what is the place of" "the age of")
	for ((i = 0; i < $1; i++)); do
		printf '{"prompt":"%s town%d?","subject":"town%d","target_new":"x","rephrase":["%s town%d?"],"locality":[{"kind":"same_subject","prompt":"which river is near town%d?"}]}\n' \
			"${asked[i % 3]}" "$i" "$i" "${again[i % 3]}" "$i" "$i"
	done
}

case_made_and_evaluated_with() {
	groups 12 >"$WORK/groups.jsonl"
	facts 4 >"$WORK/facts.jsonl"
	try "$BIN/amend" calibrate --model "$TINY" --corpus "$WORK/corpus.tsv" --relation-head "$WORK/groups.jsonl" --out "$WORK/own.cal" --threads 1 -o json
	expect_ok
	jq -e '.relation.groups_of_file == 12 and (.fitted_on | length) == 2 and .relation.rephrases_kept > 0' <<<"$OUT" >/dev/null || fail "the summary says $OUT"
	local sha
	sha=$(jq -r .calibration_sha256 <<<"$OUT")
	try "$BIN/amend" eval run "$WORK/facts.jsonl" --model "$TINY" --corpus "$WORK/corpus.tsv" --calibration "$WORK/own.cal" --threads 1 --quick -o json
	expect_ok
	jq -e --arg sha "$sha" '.calibration_sha256 == $sha and any(.fitted_on[]; .name == "groups.jsonl")' <<<"$OUT" >/dev/null || fail "the report does not name its fitting"
	# what it was fitted on is not evaluated with it
	try "$BIN/amend" eval run "$WORK/groups.jsonl" --model "$TINY" --corpus "$WORK/corpus.tsv" --calibration "$WORK/own.cal" --threads 1
	expect_error 1 "was fitted on, which may not hold what is evaluated"
	head -c 5000 "$WORK/own.cal" >"$WORK/cut.cal"
	try "$BIN/amend" eval run "$WORK/facts.jsonl" --model "$TINY" --corpus "$WORK/corpus.tsv" --calibration "$WORK/cut.cal"
	expect_error 7 "cut off or damaged"
}

case_all_workers_have_it() {
	cluster_up own "$TINY" --calibration "$WORK/own.cal"
	try amend edit import "$WORK/facts.jsonl"
	expect_ok
	wait_for 60 none_waits || fail "edits still wait: $(amend edit list | tail -n 5)"
	grep -q WORKER-CALIBRATING "$D"/log/worker-*.log && fail "a worker calibrated on the corpus all the same"
	# the version knows what it was fitted on, without the corpus
	try amend eval run "$WORK/groups.jsonl" --model "$TINY" --corpus "$WORK/corpus.tsv" --version latest
	expect_error 1 "was fitted on, which may not hold what is evaluated"
	# a worker with another one is refused
	kill_hard worker-1
	try "$BIN/amend" calibrate --model "$TINY" --corpus "$WORK/corpus.tsv" --out "$WORK/other.cal" --threads 1 -o json
	expect_ok
	process_start worker-1 "--calibration=$WORK/other.cal"
	wait_for 20 log_has worker-1 PROCESS-FAILED "all workers of a cluster need the same one" || fail "worker-1: $(tail -n 3 "$D/log/worker-1.log")"
	cluster_down
	try "$BIN/amend" up --data "$D" "${ANY[@]}" --model "$TINY" --workers 2 --family paper --calibration "$WORK/own.cal"
	expect_error 1 "is a calibration of family amend"
}
none_waits() { amend edit list -o jsonl | jq -es 'length > 0 and all(.[]; .state == "served" or .state == "failed")' >/dev/null; }

case_margins_of_the_papers_family() {
	local how=(--family paper --wise.rate 0.3 --wise.steps 20 --wise.prefix-tokens 1 --rho 0.5 --edits-per-shard 2)
	try "$BIN/amend" -q calibrate "${how[@]}" --model "$TINY" --corpus "$WORK/corpus.tsv" --out "$WORK/paper.cal" --threads 1 -o json
	expect_ok
	local alpha
	jq -e '.family == "paper" and .beta > .alpha and .act_ratio > 0' <<<"$OUT" >/dev/null || fail "the summary says $OUT"
	alpha=$(jq .alpha <<<"$OUT")
	try "$BIN/amend" eval run "$WORK/facts.jsonl" "${how[@]}" --model "$TINY" --corpus "$WORK/corpus.tsv" --calibration "$WORK/paper.cal" --threads 1 --quick -o json
	expect_ok
	jq -e --argjson alpha "$alpha" '(.wise.alpha - $alpha | fabs) < 0.01 and any(.fitted_on[]; .role == "corpus")' <<<"$OUT" >/dev/null || fail "not trained by the measured margins: $(jq -c '[.wise, .fitted_on]' <<<"$OUT")"
	# they hold for the training that they were measured with
	try "$BIN/amend" eval run "$WORK/facts.jsonl" --family paper --model "$TINY" --corpus "$WORK/corpus.tsv" --calibration "$WORK/paper.cal"
	expect_error 1 "was measured with wise.steps at 20, edits are trained with 70"
	try "$BIN/amend" eval run "$WORK/facts.jsonl" "${how[@]}" --layer 1 --model "$TINY" --corpus "$WORK/corpus.tsv" --calibration "$WORK/paper.cal"
	expect_error 1 "was measured with layer at [2-9], edits are trained with 1"
	try "$BIN/amend" up --data "$WORK/clusters/layer" "${ANY[@]}" --model "$TINY" --workers 2 "${how[@]}" --layer 1 --calibration "$WORK/paper.cal"
	expect_error 1 "was measured with layer at [2-9], edits are trained with 1"
	cluster_up paper "$TINY" "${how[@]}" --calibration "$WORK/paper.cal"
	try amend edit import "$WORK/facts.jsonl"
	expect_ok
	wait_for 90 none_waits || fail "edits still wait: $(amend edit list | tail -n 5)"
	log_has worker-0 WORKER-CALIBRATION-GIVEN || fail "the worker did not read its file"
	cluster_down
}

case_layers_and_rates_are_searched() {
	try "$BIN/amend" -q calibrate --search --edits "$WORK/facts.jsonl" --model "$TINY" --corpus "$WORK/corpus.tsv" --threads 1 -o json
	expect_ok
	jq -e '.edits == 4 and (.trials | length) == 5 and (.layer as $l | .rate as $r | any(.trials[]; .layer == $l and .rate == $r))' <<<"$OUT" >/dev/null || fail "the search says $OUT"
}

run_case made_and_evaluated_with
run_case all_workers_have_it
run_case margins_of_the_papers_family
run_case layers_and_rates_are_searched
