#!/bin/bash
# Loss of power (cases 2, 17, 19), and syncs that fail (3). On a tiny model.
. "$(dirname "$0")/lib.sh"
tiny_model
IMAGES=$((SECONDS_WANTED * 40))

# All that the coordinator writes and syncs is written down while edits are taken, trained and published. Then: what may a disk
# hold when the power goes at any of these moments? Each image opens, has every acknowledged edit, and every blob of every version.
case_power_loss() {
	local images=$IMAGES status=0
	[ -z "${TORTURE_PLANT:-}" ] || images=$((IMAGES / 5))
	case_begin power
	kill_hard coordinator
	cp -r "$D/coordinator" "$WORK/base"
	process_start_recorded "$WORK/disk.log" coordinator
	wait_for 20 answering || fail "the coordinator does not come back"
	facts 48 power >"$WORK/power.jsonl"
	client "$WORK/power.jsonl" --threads 2 >/dev/null || fail "the client is not answered"
	[ -n "${TORTURE_PLANT:-}" ] || wait_served 90
	facts 12 last >"$WORK/last.jsonl"
	client "$WORK/last.jsonl" >/dev/null || fail "the client is not answered"
	cluster_kill "$D"
	wait_for 5 processes_gone "$D" || fail "programs outlive SIGKILL"
	mkdir -p "$MEMORY"
	"$T/images" "$WORK/base" "$WORK/disk.log" "$HISTORY" "$images" "$SEED" "$MEMORY" >"$WORK/images.out" 2>&1 || status=$?
	rm -rf "$MEMORY" "$WORK/base" "$WORK/disk.log"
	count images "$images"
	note "$(tail -n 1 "$WORK/images.out")"
	[ "$status" = 0 ] || fail "$(tail -n 1 "$WORK/images.out") $(grep -m 2 '^I[1-7]' "$WORK/images.out" | cut -c1-250)"
}

# A sync fails: nothing of that group is acknowledged, the coordinator ends, and a start goes on with all that was.
case_sync_fails() {
	local n client pid status
	case_begin sync
	for n in 1 2 3 4 7; do
		kill_hard coordinator
		WAITED=1 TORTURE_DISK_EIO=$((n + 2)) process_start_recorded /dev/null coordinator
		pid=$(pid_of coordinator)
		facts 20 "sync$n" >"$WORK/sync.jsonl"
		client "$WORK/sync.jsonl" >/dev/null &
		client=$!
		wait_for 30 gone "$pid" || fail "a coordinator goes on after its sync $((n + 2)) failed"
		status=0
		wait "$pid" || status=$?
		{ [ "$status" -gt 0 ] && [ "$status" -lt 126 ]; } || fail "the coordinator whose sync $((n + 2)) failed ends with status $status"
		count faults
		process_start coordinator
		wait_for 20 answering || fail "the coordinator does not come back"
		wait_for 60 gone "$client" || fail "the client does not get through"
		wait "$client" || fail "the client is not answered"
	done
	grep -q 'check the disk' "$D/log/coordinator.log" || fail "the coordinator does not say that its disk failed: $(tail -n 3 "$D/log/coordinator.log")"
	wait_served 120
	check_now --only --rest
}

run_case power_loss
caught early-ack power_loss
caught no-sync power_loss
run_case sync_fails
