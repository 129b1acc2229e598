# lib.sh: what the torture scripts share beyond the integration tests' (tests/integration/lib.sh): clients with histories,
# the checker, planted faults, links. A case is a function that works on one cluster and ends with its check; run_case runs it
# in the programs as they are, caught runs it in those with a planted fault, and it must fail by a finding.
. "$(dirname "${BASH_SOURCE[0]}")/../integration/lib.sh"
T=$BIN/tests/torture
PLANTED=$T/planted
SECONDS_WANTED=${TORTURE_SECONDS:-30}
SEED=${TORTURE_SEED:-1}
RANDOM=$SEED
HISTORY=$WORK/history
ANSWERS=$WORK/answers
MEMORY=$WORK/memory # a folder in memory, where there is one
[ -d /dev/shm ] && [ -w /dev/shm ] && MEMORY=/dev/shm/$(basename "$WORK")
COUNTS=${TORTURE_COUNTS:-$WORK/counts} # of faults injected, images opened, plants caught: run adds them up
: >>"$COUNTS"

# Ends what a case that failed has left running, besides its cluster.
torture_cleanup() {
	local dir folder
	for dir in /proc/[0-9]*; do
		[[ $(readlink "$dir/exe" 2>/dev/null) == "$T"/* ]] || continue
		{ tr '\0' ' ' <"$dir/cmdline"; } 2>/dev/null | grep -qF -- "$WORK/" && kill -KILL "${dir#/proc/}" 2>/dev/null
	done
	for folder in "$WORK"/clusters/*; do
		[ -d "$folder" ] || continue
		: >"$folder/quiet"
		cluster_kill "$folder"
		wait_for 5 processes_gone "$folder"
	done
	awk -v at="$WORK/" 'index($2, at) == 1 { print $2 }' /proc/mounts | while read -r folder; do umount -l "$folder"; done
	cleanup
	[ "$MEMORY" = "$WORK/memory" ] || rm -rf "$MEMORY"
}
trap torture_cleanup EXIT

count() { echo "$1 ${2:-1}" >>"$COUNTS"; } # what, how many

# Each case begins with histories of its own.
case_begin() { # cluster, amend up's flags...
	local name=$1
	shift
	HISTORY=$WORK/$name${TORTURE_PLANT:+-$TORTURE_PLANT}.history
	ANSWERS=$WORK/$name${TORTURE_PLANT:+-$TORTURE_PLANT}.answers
	: >"$HISTORY"
	: >"$ANSWERS"
	cluster_up "$name${TORTURE_PLANT:+-$TORTURE_PLANT}" "$TINY" "$@"
	D=$(readlink -f "$D")
}

# A submitter that keeps a history.
client() { # file of edits, flags of client...
	local file=$1
	shift
	"$T/client" "$@" "${CLIENT_ENDPOINT:-$(setting coordinator.endpoint)}" "$(setting key.server)" "${CLIENT_KEY:-$D/keys/cli.key}" "$HISTORY" "$file"
}

# Asks the node again and again, until the file `quiet` is there; what answers name goes to $ANSWERS. An answer that names no
# version is one that check finds.
poll_answers() {
	while [ -d "$D" ] && [ ! -e "$D/quiet" ]; do
		http /v1/completions -m 5 -d '{"prompt":"x is","max_tokens":1}' 2>/dev/null | jq -r 'select(has("choices")) | "node-0 " + (.system_fingerprint // "none")' 2>/dev/null >>"$ANSWERS"
		sleep 0.1
	done
}

# Stops the cluster and checks all that it left against what clients and nodes said.
check_now() { # flags of check
	: >"$D/quiet"
	[ -n "${TORTURE_PLANT:-}" ] && cluster_kill "$D" && wait_for 10 processes_gone "$D"
	processes_gone "$D" || cluster_down
	local status=0
	"$T/check" "$D/coordinator" "$@" "$HISTORY" >"$WORK/check.out" 2>&1 || status=$?
	[ "$status" = 0 ] || fail "$(head -n 4 "$WORK/check.out")"
	note "$(tail -n 1 "$WORK/check.out" | sed 's/^# //')"
}

# A fault planted in the product must be found by the very case that passes without it.
caught() { # plant, case
	local began=$EPOCHREALTIME
	rm -f "$WORK/why" "$WORK/skipped"
	(BIN=$PLANTED && export TORTURE_PLANT=$1 && "case_$2" >"$WORK/caught.out" 2>&1)
	local status=$? ms=$(((${EPOCHREALTIME/./} - ${began/./}) / 1000))
	if [ -f "$WORK/skipped" ]; then
		echo "skip $TOPIC/$1 in $2: $(cat "$WORK/skipped")"
	elif [ "$status" != 0 ] && grep -qE "${CAUGHT_BY:-^I[1-7]: |broken [1-9]}" "$WORK/why" 2>/dev/null; then
		count caught
		echo "ok $TOPIC/$1 is caught by $2 ($((ms / 1000)).$(printf %03d $((ms % 1000))) s)"
		note "$(cut -c1-200 "$WORK/why")"
	else
		echo "not ok $TOPIC/$1 is not caught by $2: exit $status: $(cat "$WORK/why" 2>/dev/null)"
		sed 's/^/#   /' "$WORK/caught.out" | tail -n 5
	fi
	local link
	for link in "$WORK"/clusters/*-"$1"; do [ -d "$link" ] && cluster_kill "$link"; done
}

either_gone() { gone "$1" || gone "$2"; }
need() { command -v "$1" >/dev/null || skip "this machine has no $1"; }

# Starts a program behind the recorder of its disk (recorder.c): what it writes below its own folder goes to $1.
process_start_recorded() { # log, process name, flags...
	local log=$1 name=$2
	shift 2
	LD_PRELOAD=$T/recorder.so TORTURE_DISK_UNDER=$D/$name TORTURE_DISK_LOG=$log process_start "$name" "$@"
}
