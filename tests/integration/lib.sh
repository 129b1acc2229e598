# lib.sh: what the end-to-end scripts share. A script sources it, defines case_NAME functions, and calls run_case NAME for
# each; a case runs in a subshell, and `fail WHY` ends it. Clusters live in folders below $WORK and stop when the script ends.
set -u
ROOT=$(cd "$(dirname "${BASH_SOURCE[0]}")/../.." && pwd)
BIN=${AMEND_BIN:-$ROOT/build}
MODEL=${AMEND_MODEL:-${HOME:-/root}/.cache/amend/SmolLM2-135M-Instruct.Q4_1.gguf}
# Checks of time are for an idle machine of two fast cores; a slower (run.sh measures it), loaded or instrumented one may
# take this many times as long.
SLOW=${AMEND_TEST_SLOW:-1}
[ -n "${SAN:-}" ] && SLOW=$((SLOW * 10))
TOPIC=$(basename "$0" .sh)
WORK=$(mktemp -d "${TMPDIR:-/tmp}/amend-$TOPIC.XXXXXX") || exit 1
mkdir "$WORK/clusters"
D=$WORK/none # the folder of the cluster that a case works on
ANY=(--coordinator 'tcp://127.0.0.1:*' --hints 'tcp://127.0.0.1:*' --listen 127.0.0.1:0)

cleanup() {
	local link
	for link in "$WORK"/clusters/*; do
		[ -d "$link" ] && cluster_kill "$link"
	done
	if [ -n "${AMEND_TEST_KEEP:-}" ]; then
		echo "# kept: $WORK"
	else
		mountpoint -q "$WORK/small" 2>/dev/null && umount "$WORK/small"
		rm -rf "$WORK"
	fi
}
trap cleanup EXIT
trap 'exit 130' INT TERM

# ---- Cases

fail() {
	printf '%s\n' "$*" | tr '\n' ' ' >"$WORK/why"
	exit 1
}
skip() {
	printf '%s' "$*" >"$WORK/skipped"
	exit 0
}
note() { printf '# %s\n' "$*"; }

run_case() { # name
	local began=$EPOCHREALTIME status=0
	rm -f "$WORK/why" "$WORK/skipped"
	("case_$1") || status=$?
	local ms=$(((${EPOCHREALTIME/./} - ${began/./}) / 1000))
	if [ -f "$WORK/skipped" ]; then
		echo "skip $TOPIC/$1: $(cat "$WORK/skipped")"
	elif [ "$status" = 0 ]; then
		echo "ok $TOPIC/$1 ($((ms / 1000)).$(printf %03d $((ms % 1000))) s)"
	else
		echo "not ok $TOPIC/$1: $(cat "$WORK/why" 2>/dev/null || echo "exit $status")"
		logs_show
	fi
}

# The last words of the cluster that the failed case worked on.
logs_show() {
	local log
	for log in "$D"/log/*.log; do
		[ -s "$log" ] || continue
		echo "#   ${log##*/}:"
		tail -n "${AMEND_TEST_LOG_LINES:-8}" "$log" | cut -c1-300 | sed 's/^/#     /'
	done
}

# Runs a command until it succeeds; SECONDS of grace, stretched on slow machines.
wait_for() { # seconds, command...
	local deadline=$(($(date +%s%N) / 1000000 + $1 * 1000 * SLOW))
	shift
	until "$@"; do
		[ $(($(date +%s%N) / 1000000)) -lt "$deadline" ] || return 1
		sleep 0.05
	done
}

ms_now() { echo $(($(date +%s%N) / 1000000)); }

# Runs a command; its output goes to $OUT and $ERR, its status to $STATUS.
OUT= ERR= STATUS=0
try() {
	STATUS=0
	"$@" >"$WORK/out" 2>"$WORK/err" </dev/null || STATUS=$?
	OUT=$(cat "$WORK/out")
	ERR=$(cat "$WORK/err")
}
# An error is one sentence that says what, where and what next: expect_error STATUS PATTERN... after `try`.
expect_error() { # status, extended regular expressions that stderr must hold...
	local wanted=$1 pattern
	shift
	[ "$STATUS" = "$wanted" ] || fail "exit $STATUS instead of $wanted: $ERR"
	for pattern in "$@"; do
		grep -qE -- "$pattern" <<<"$ERR" || fail "\"$pattern\" is not in: $ERR"
	done
	grep -qiE 'segmentation|assert|sanitizer|core dumped' <<<"$ERR" && fail "it crashed: $ERR"
	return 0
}
expect_ok() { [ "$STATUS" = 0 ] || fail "exit $STATUS: $ERR $OUT"; }

# ---- Clusters

amend() { "$BIN/amend" --data "$D" "$@"; }

# What a worker has calibrated once is given to the next cluster's workers: the corpus does not change between tests.
calibration_lend() { # cluster, workers
	local i
	compgen -G "$CACHE/calibration-*.bin" >/dev/null || return 0
	for ((i = 0; i < $2; i++)); do
		mkdir -p "$1/worker-$i" && cp "$CACHE"/calibration-*.bin "$1/worker-$i/"
	done
}
calibration_keep() { # cluster
	local file
	for file in "$1"/worker-0/calibration-*.bin; do
		[ -f "$file" ] && [ ! -f "$CACHE/${file##*/}" ] && cp "$file" "$CACHE/"
	done
	return 0
}
CACHE=${AMEND_TEST_CACHE:-$WORK/cache}
mkdir -p "$CACHE"

cluster_name() { # name: makes it the one that this script works on
	D=$WORK/clusters/$1
}
cluster_up() { # name, model, extra flags...
	local model=$2
	cluster_name "$1"
	shift 2
	[ -d "$D" ] || { mkdir -p "$D" && calibration_lend "$D" 2; }
	try "$BIN/amend" up --data "$D" "${ANY[@]}" --model "$model" --workers 2 "$@"
	expect_ok
	calibration_keep "$D"
}
cluster_down() {
	try amend down
	expect_ok
	processes_gone "$D" || fail "programs are left: $(processes_of "$D")"
}
# Every process whose command line names the folder, but our own shells.
processes_of() { # folder
	local dir exe
	for dir in /proc/[0-9]*; do
		{ tr '\0' ' ' <"$dir/cmdline"; } 2>/dev/null | grep -qF -- "$1/" || continue
		# programs that hold secrets show their link to root alone
		exe=$(readlink "$dir/exe" 2>/dev/null) || exe=/$(cat "$dir/comm" 2>/dev/null)
		[ "$exe" = "$(readlink -f /bin/bash)" ] && continue
		# a test stops its own clusters only
		case $exe in
		*/amendd | */amend-merge | */mpirun | */orterun | */orted | */unshare | */amend | */sh | */dash) echo "${dir#/proc/}" ;;
		esac
	done
}
processes_gone() { [ -z "$(processes_of "$1")" ]; }
cluster_kill() { # folder
	local pid
	for pid in $(processes_of "$1"); do kill -KILL "$pid" 2>/dev/null; done
	return 0
}
pid_of() { # process name
	local pid
	read -r pid _ <"$D/run/$1.pid" && echo "$pid"
}
# A zombie is gone, unless other threads of it still end: until then they hold its ports and locks.
alive() { awk '/^State:/ { seen = 1; dead = $2 ~ /[ZX]/ } /^Threads:/ { more = $2 > 1 } END { exit !(seen && (!dead || more)) }' "/proc/$1/status" 2>/dev/null; }
gone() { ! alive "$1"; }
kill_hard() { # process name
	local pid
	pid=$(pid_of "$1")
	kill -KILL "$pid" || fail "$1 (pid $pid) does not run"
	wait_for 5 gone "$pid" || fail "$1 (pid $pid) outlives SIGKILL"
}
# Starts one program of a cluster again, as `amend up` does; FAULT arms a fault point in it.
process_start() { # process name, extra flags...
	local name=$1 role=${1%-[0-9]} pid
	shift
	local args=("--config=$D/amend.yaml" "--name=$name" "--data=$D/$name" "--key-file=$D/keys/$name.key")
	[ "$role" = coordinator ] && args+=("--allow-file=$D/keys/allow")
	[ "$role" = worker ] && args+=(--threads=1)
	AMEND_FAULT=${FAULT:-} setsid "$BIN/amendd" "$role" "${args[@]}" "$@" >>"$D/log/$name.log" 2>&1 </dev/null &
	pid=$!
	[ -n "${WAITED:-}" ] || disown "$pid" # WAITED=1: its status can be waited for
	printf '%d %s\n' "$pid" "$(sed 's/.*) //' "/proc/$pid/stat" | cut -d' ' -f20)" >"$D/run/$name.pid"
}
# The setting NAME of the cluster's file, such as node.listen.
setting() {
	"$BIN/amend" config view "$D/amend.yaml" | awk -v group="${1%%.*}" -v key="${1#*.}" '
		/^[a-z]/ { at = $1 }
		at == group ":" && $1 == key ":" { sub(/^[^:]*: */, ""); gsub(/"/, ""); print; exit }'
}
http() { # path, curl flags...
	local path=$1
	shift
	curl -sS --max-time 60 "$@" "http://$(setting node.listen)$path"
}
log_has() { # process name, log id, [pattern]
	grep "id=$2" "$D/log/$1.log" 2>/dev/null | grep -q -- "${3:-}"
}
log_count() { grep -c "id=$2" "$D/log/$1.log" 2>/dev/null || true; }
log_count_at_least() { [ "$(log_count "$1" "$2")" -ge "$3" ]; } # process name, log id, count

# ---- Edits

wait_served() { # seconds
	try amend --timeout "$(($1 * SLOW))" -q edit wait -o json
	[ "$STATUS" = 0 ] || fail "not all is served: exit $STATUS: $ERR $OUT $(amend edit list | tail -n 5)"
}
# id, state and seq of every edit, by seq
edits() { amend edit list -o jsonl | jq -r '[.seq, .id, .state] | @tsv'; }
# I1 of the promises: every id is in the ledger once.
expect_once() {
	local twice
	twice=$(amend edit list -o jsonl | jq -r .id | sort | uniq -d)
	[ -z "$twice" ] || fail "in the ledger twice: $twice"
}
ids_of() { jq -r .id "$1" | sort; }
# Every edit of the file is in the ledger exactly once; nothing but the file's edits, when the second argument is "only".
expect_in_ledger() { # file of edits, [only]
	amend edit list -o jsonl | jq -r .id | sort >"$WORK/ledger"
	ids_of "$1" >"$WORK/wanted"
	[ "${2:-}" = only ] || { grep -Fx -f "$WORK/wanted" "$WORK/ledger" >"$WORK/found" && mv "$WORK/found" "$WORK/ledger"; }
	cmp -s "$WORK/ledger" "$WORK/wanted" || fail "in the ledger (<) other than once (>): $(diff "$WORK/ledger" "$WORK/wanted" | grep '^[<>]' | head -n 5 | tr '\n' ' ')"
}
expect_all_served() { # count
	local served
	served=$(amend edit list -o jsonl | jq -r 'select(.state == "served") | .id' | sort -u | wc -l)
	[ "$served" = "$1" ] || fail "$served of $1 edits are served: $(amend edit list -o jsonl | jq -r 'select(.state != "served") | .id + " " + .state + " " + (.reason // "")' | head -n 5)"
}
# Every edit of the file answers through HTTP with its target, and a memory gives the answer. One request asks them all.
expect_answers() { # file of edits, at most 128
	local wrong
	jq -cs '{prompt: map(.prompt), max_tokens: 16, temperature: 0, stop: "\n", amend: {explain: true}}' "$1" >"$WORK/ask.json"
	http /v1/completions -o "$WORK/answers.json" -d @"$WORK/ask.json" || fail "the node does not answer"
	jq -e '.choices | length > 0' "$WORK/answers.json" >/dev/null || fail "no answers: $(head -c 300 "$WORK/answers.json")"
	wrong=$(jq -rn --slurpfile edits "$1" --slurpfile answers "$WORK/answers.json" 'range($edits | length) | $edits[.] as $e |
		({amend: ($answers[0].amend // {route: "nothing"}), text: ""} + ($answers[0].choices[.] // {})) as $a | ($a.text | sub("^\\s+"; "")) as $text |
		select(($text | startswith($e.target_new) | not) or ($a.amend.route | test("^(memory|merged):[0-9]+$") | not)) |
		"\($e.id): \($text[:30] | tojson) from \($a.amend.route), not \($e.target_new | tojson)"')
	[ -z "$wrong" ] || fail "$(wc -l <<<"$wrong") of $(wc -l <"$1") answers are wrong: $(head -n 3 <<<"$wrong")"
}
# What an acknowledgement promises: every edit of the file is in the ledger once, is served, and answers with its target.
expect_kept_and_served() { # file of edits
	local unserved
	expect_in_ledger "$1"
	unserved=$(amend edit list -o jsonl | jq -r 'select(.state != "served") | "\(.id) \(.state) \(.reason // "")"' | grep -F -f <(ids_of "$1"))
	[ -z "$unserved" ] || fail "not served: $(head -n 5 <<<"$unserved")"
	expect_answers "$1"
}
# Sends a file edit by edit, so that each answer is an acknowledgement of its own, and repeats what was not answered.
client_one_by_one() { # file of edits, file that gets each acknowledged line
	local line
	: >"$2"
	while read -r line; do
		until amend --timeout 2 edit import - --on-conflict keep -q >/dev/null 2>&1 <<<"$line"; do :; done
		printf '%s\n' "$line" >>"$2"
	done <"$1"
}
# Asks one thing again and again until the file `stop` is there; "code fingerprint answer" goes to the file `asked` each time.
ask_on() { # prompt
	jq -cn --arg p "$1" '{prompt: $p, max_tokens: 8, temperature: 0, stop: "\n"}' >"$WORK/ask-on.json"
	while [ ! -e "$WORK/stop" ]; do
		http /v1/completions -d @"$WORK/ask-on.json" -w '\n%{http_code}\n' 2>&1 |
			jq -rs '"\(.[1] // 0) \(.[0].system_fingerprint) \(.[0].choices[0].text | sub("^\\s+"; ""))"' >>"$WORK/asked" || echo "000 no answer" >>"$WORK/asked"
	done
}
all_trained() { amend edit list -o jsonl | jq -es 'all(.[]; .state == "trained" or .state == "served")' >/dev/null; }
nodes_on_latest() { amend fleet status -o json | jq -e '.version as $v | all(.members[] | select(.kind == "node"); .version == $v)' >/dev/null; }
lines_at_least() { [ -e "$1" ] && [ "$(wc -l <"$1")" -ge "$2" ]; }
answering() { amend --timeout 1 fleet status >/dev/null 2>&1; }

# Shard and delta root of every shard of a version: what a replay must give again.
delta_roots() { # version
	amend version show "$1" -o json | jq -r '.memories[] | select(.kind == "shard") | "\(.id) \(.delta) \(.edits)"' | sort
}
# Up to 250 facts about invented words. Short prompts with a letter for a target: the tiny random model learns sixty of them
# in two shards without a failure. PAD lengthens the records, which makes an import of few edits take several batches.
facts() { # count, [prefix], [pad bytes]
	local i word letter pad v=(a e i o u) k=(b d f g k l m n p r s t v z)
	pad=$(head -c "${3:-0}" /dev/zero | tr '\0' y)
	for ((i = 0; i < $1; i++)); do
		word=${2:-}${k[i % 14]}${v[i / 14 % 5]}${k[i * 5 / 7 % 14]}${v[(i / 70 + i) % 5]}${k[i / 14 % 14]}
		printf -v letter '\\x%x' $((97 + i % 26))
		printf '{"id":"%s-%03d","prompt":"%s is","subject":"%s","target_new":"%b","rephrase":["What is %s?%s"],"locality":[{"prompt":"nq question: who wrote book %d","target":"x"}],"loc_prompt":"nq question: where is hill %d the north"}\n' \
			"${2:-fact}" "$i" "$word" "$word" "$letter" "$word" "$pad" "$i" "$i"
	done
}

need_model() {
	[ -f "$MODEL" ] || {
		echo "skip $TOPIC: $MODEL is not there; scripts/fetch-model gets it, AMEND_MODEL names another place"
		exit 0
	}
}
# Makes $TINY, and a corpus of short texts for it: a letter is a token there, and its context is 512 of them.
tiny_model() {
	TINY=$WORK/tiny.gguf
	"$BIN/tests/tools/tiny_model" "$TINY" 1 || exit 1
	awk -F '\t' 'length($3) < 90 && length($4) < 300 && count[$1]++ < 400' "$ROOT/data/calibration.tsv" >"$WORK/corpus.tsv"
	ANY+=(--corpus "$WORK/corpus.tsv")
}
