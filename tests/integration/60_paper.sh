#!/bin/bash
# The paper's family through a cluster, on a tiny model: its shards are trained by workers, merged by ranks with TIES, gated
# with their new gaps, and read by a node that routes by gap.
. "$(dirname "$0")/lib.sh"
tiny_model

EDITS=4
PAPER=(--family paper --edits-per-shard 2 --alpha 0.2 --beta 2 --gamma 1 --wise.rate 0.3 --wise.steps 70 --rho 0.5 --wise.prefix-tokens 1 --merge.loss-points 100)

manifest() { amend version show latest -o json; }
kinds() { manifest | jq -r '[.memories[] | .kind] | sort | join(" ")'; }
merged_there() { [[ $(kinds) == "merged shard"* ]]; }
none_waits() { amend edit list -o jsonl | jq -es 'length > 0 and all(.[]; .state == "served" or .state == "failed")' >/dev/null; }
served_count() { amend edit list -o jsonl | jq -s 'map(select(.state == "served")) | length'; }
# route, score and threshold of each prompt of a file, in its order
routes() { # file of edits, set
	jq -cs --arg set "$2" '{prompt: map(.prompt), max_tokens: 1, temperature: 0, amend: {explain: true, set: $set}}' "$1" >"$WORK/ask.json"
	http /v1/completions -d @"$WORK/ask.json" | jq -r '.choices[].amend.route'
}

case_trained_merged_and_routed() {
	local merged
	facts "$EDITS" >"$WORK/facts.jsonl"
	cluster_up paper "$TINY" "${PAPER[@]}"
	try amend edit import "$WORK/facts.jsonl"
	expect_ok
	wait_for 90 none_waits || fail "edits still wait: $(amend edit list | tail -n 5)"
	[ "$(served_count)" -ge $((EDITS / 2)) ] || fail "only $(served_count) of $EDITS edits are served"
	[ "$(manifest | jq -r .family)" = paper ] || fail "the manifest says $(manifest | jq -c .family)"
	try amend --timeout $((90 * SLOW)) -q merge run
	expect_ok
	wait_for 30 merged_there || fail "the version holds $(kinds)"
	manifest | jq -e '.memories[] | select(.kind == "merged") | .index' >/dev/null || fail "the merged memory has no index"
	wait_for 20 routed_by_gap || fail "routes: $(routes "$WORK/facts.jsonl" merged | tr '\n' ' ')"
	# what comes after the merge is trained with edits of the merged memory beside it (L_memo)
	facts 1 later >"$WORK/later.jsonl"
	try amend edit import "$WORK/later.jsonl"
	expect_ok
	wait_for 60 none_waits || fail "edits still wait after the merge: $(amend edit list | tail -n 5)"
	grep -hq 'id=WORKER-JOB-DONE .*replays=[1-9]' "$D"/log/worker-*.log || fail "no edit of the merged memory was replayed"
	# its family is the cluster's for good
	cluster_down
	try "$BIN/amend" up --data "$D" "${ANY[@]}" --model "$TINY" --workers 2 --family amend
	expect_error 1 "family paper, the configuration says amend"
}
# Every served edit reads a memory: its gap is above ε, the smallest of its memory times 0.88.
routed_by_gap() {
	amend edit list -o jsonl | jq -r 'select(.state == "served") | .id' >"$WORK/live"
	jq -c --rawfile live "$WORK/live" '($live | split("\n")) as $ids | select(.id as $i | $ids | index($i))' "$WORK/facts.jsonl" >"$WORK/live.jsonl"
	[ "$(routes "$WORK/live.jsonl" merged | sort | uniq -c | awk '{ print $2 }')" = "merged:1" ]
}

run_case trained_merged_and_routed
