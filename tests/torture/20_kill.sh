#!/bin/bash
# Programs are killed, stopped and failed: at every named point, and at any time (cases 1, 8, 16, 17, 22 and 33); one
# client floods the coordinator, and programs work for long (42, 57). On a tiny model.
. "$(dirname "$0")/lib.sh"
tiny_model
NEXT=0    # of records: each submit brings new ones
REVOKED=0 # of those, the last one whose first edit was taken back

# ---- What makes a program pass a point. Each is asked again until it is done: a program may die in it.
records() { # count, [jq filter]
	NEXT=$((NEXT + 1))
	facts "$1" "w$NEXT" | jq -c "${2:-.}" >"$WORK/records-$NEXT.jsonl"
}
asked() { # command of amend...
	local tries
	for ((tries = 0; tries < 40; tries++)); do
		amend --timeout 2 "$@" >"$WORK/asked.out" 2>&1 && return 0
		sleep 0.25
	done
	fail "amend $*: $(cat "$WORK/asked.out")"
}
do_submit() { client "$WORK/records-$NEXT.jsonl" --give-up 60 >/dev/null; }
do_due() { do_submit; }
do_revoke() { asked edit revoke "w$REVOKED-000" --reason "a test"; }
do_keys() { asked key allow "$(printf '%064x' "$NEXT")" --roles reader --name "key-$NEXT"; }
do_rollback() { asked version rollback "v1" --reason "a test"; }
do_resume() { asked version resume; }
do_merge() { asked merge run; }

# The process with the point armed; what must be there before it; what is asked; the point.
sweep_points() {
	local action=$1 point
	for point in coordinator.submit.before_commit coordinator.submit.after_commit coordinator.group.before_commit \
		coordinator.group.after_commit coordinator.publish.after_blobs coordinator.publish.before_commit \
		coordinator.publish.after_commit store.commit.before store.commit.after store.blob.before store.blob.after; do
		echo "coordinator submit $point=$action"
	done
	for point in coordinator.due.before_commit coordinator.due.after_commit; do echo "coordinator due $point=$action"; done
	for point in coordinator.revoke.before_commit coordinator.revoke.after_commit; do echo "coordinator revoke $point=$action"; done
	for point in coordinator.keys.before_commit coordinator.keys.after_commit base.file.before_rename; do echo "coordinator keys $point=$action"; done
	for point in rollback resume; do
		echo "coordinator $point coordinator.$point.before_commit=$action"
		echo "coordinator $point coordinator.$point.after_commit=$action"
	done
	for point in worker.train.step worker.commit.before worker.commit.after store.blob.before store.blob.after; do
		echo "worker-0 submit $point=$action"
	done
	for point in store.blob.before store.blob.after; do echo "node-0 submit $point=$action"; done
}

reached() { # process, what is asked, point=action
	local name=$1 what=$2 pid client shards
	[ "$what" != resume ] || asked version rollback v1 --reason "a test"
	kill_hard "$name"
	[ "$name" != worker-0 ] || kill_hard worker-1 # all shards are worker-0's
	case $what in
	due) records 2 ".valid_from = \"$(date -u -d '+2 seconds' +%FT%TZ)\"" ;;
	revoke) REVOKED=$((REVOKED + 1)) ;;
	*) records 2 ;;
	esac
	FAULT=$3@1 process_start "$name"
	pid=$(pid_of "$name")
	"do_$what" &
	client=$!
	if [[ $3 == *=kill ]]; then
		wait_for 30 gone "$pid" || fail "$3 of $name was not reached by $what"
	else # it ends, or it deals with it: later than the client is answered, where that is not what fails
		wait_for 60 log_has "$name" FAULT-FIRED "point=${3%=*}" || fail "$3 of $name was not reached by $what"
		wait_for 30 either_gone "$client" "$pid" || fail "$what does not get through an error at $3"
		wait_for 2 gone "$pid" && count ended
	fi
	count faults
	! gone "$pid" || process_start "$name"
	[ "$name" != worker-0 ] || process_start worker-1
	wait_for 20 answering || fail "the coordinator does not come back after $3"
	wait_for 60 gone "$client" || fail "$what does not get through after $3 of $name"
	wait "$client" || fail "$what fails after $3 of $name"
	[ "$what" != rollback ] || asked version resume
}

sweep() { # action
	local name what point
	case_begin "sweep-$1" --lease.ms 2000
	records 4
	do_submit || fail "the client is not answered"
	wait_served 60
	poll_answers &
	while read -r name what point; do
		reached "$name" "$what" "$point" || exit 1
	done < <(sweep_points "$1")
	asked version resume
	wait_served 180
	check_now --only --rest --answers "$ANSWERS"
}
# Any program is killed, told to end, or stands still at any time, while clients submit and somebody asks the node.
NAMES=(coordinator coordinator worker-0 worker-1 node-0)
disturb() { # until when, in ms
	local name pid n=0
	while [ "$(ms_now)" -lt "$1" ]; do
		name=${NAMES[RANDOM % ${#NAMES[@]}]}
		pid=$(pid_of "$name")
		sleep "0.$((RANDOM % 10))"
		if [ $((RANDOM % 3)) = 0 ]; then
			kill -STOP "$pid"
			sleep "$((RANDOM % 3)).$((RANDOM % 10))"
			kill -CONT "$pid"
		else
			if [ $((RANDOM % 3)) = 0 ]; then
				kill -TERM "$pid"
				wait_for 10 gone "$pid" || fail "$name does not end when it is told to"
			else
				kill_hard "$name"
			fi
			sleep "0.$((RANDOM % 5))"
			process_start "$name"
			[ "$name" != coordinator ] || wait_for 20 answering || fail "the coordinator does not come back"
		fi
		n=$((n + 1))
	done
	count faults "$n"
	note "$n times a program was killed, told to end, or stood still"
}
bounded() { # process
	local pid fds kib
	pid=$(pid_of "$1")
	fds=$(find "/proc/$pid/fd" -type l 2>/dev/null | wc -l)
	kib=$(awk '/^VmRSS/ { print $2 }' "/proc/$pid/status")
	[ "$fds" -lt 200 ] && [ "$kib" -lt 600000 ] || fail "I6: $1 has $fds descriptors and $kib KiB"
}
case_killed_at_any_time() {
	local client end round=0 seconds=$SECONDS_WANTED
	[ -z "${TORTURE_PLANT:-}" ] || { seconds=10 && NAMES=(coordinator); }
	case_begin any --lease.ms 2000
	[ -z "${TORTURE_PLANT:-}" ] || { kill_hard worker-0 && kill_hard worker-1; } # nothing but submits makes commits
	poll_answers &
	end=$(($(ms_now) + seconds * 1000))
	while [ "$(ms_now)" -lt "$end" ]; do # each twice: the second is a duplicate
		round=$((round + 1))
		facts 10 "any$round" >"$WORK/any.jsonl"
		client "$WORK/any.jsonl" --twice --threads 2 --pause $((seconds * 25)) --timeout 1000 >/dev/null || echo "the client is not answered" >"$D/client-failed"
	done &
	client=$!
	disturb "$end"
	wait_for 180 gone "$client" || fail "the client does not get through"
	[ ! -e "$D/client-failed" ] || fail "$(cat "$D/client-failed")"
	[ -n "${TORTURE_PLANT:-}" ] || wait_served 180
	for name in "${NAMES[@]}"; do bounded "$name"; done
	check_now --only $([ -n "${TORTURE_PLANT:-}" ] || echo --rest) --answers "$ANSWERS"
}

# A worker stands still for a minute, with what is sent to it. The coordinator's memory stays bounded, and what is submitted meanwhile
# is trained by the other and served.
kib_of() { awk '/^VmRSS/ { print $2 }' "/proc/$(pid_of "$1")/status"; }
fds_of() { find "/proc/$(pid_of "$1")/fd" -type l 2>/dev/null | wc -l; }
case_stalled_worker() {
	local pid end kib round=0
	case_begin stalled
	poll_answers &
	pid=$(pid_of worker-0)
	facts 6 before >"$WORK/stalled.jsonl"
	client "$WORK/stalled.jsonl" >/dev/null || fail "the client is not answered"
	wait_served 60
	kib=$(kib_of coordinator)
	kill -STOP "$pid"
	count faults
	end=$(($(ms_now) + 60000))
	while [ "$(ms_now)" -lt "$end" ]; do
		[ "$round" -lt 6 ] || { sleep 1 && continue; }
		round=$((round + 1))
		facts 6 "stalled$round" >"$WORK/stalled.jsonl"
		client "$WORK/stalled.jsonl" >/dev/null || fail "the client is not answered"
		wait_served 60
	done
	[ "$(kib_of coordinator)" -lt $((kib + 65536)) ] || fail "I6: the coordinator had $kib KiB, and has $(kib_of coordinator)"
	bounded coordinator
	note "$round rounds of edits were served meanwhile; the coordinator had $kib KiB, and has $(kib_of coordinator)"
	kill -CONT "$pid"
	wait_served 60
	check_now --only --rest --answers "$ANSWERS"
}

# One client sends with eight threads, each a hundred times a second, to a queue that is full all the time. Another, with another key
# and three Submits that need half of the queue each, asks twice a second. It gets through meanwhile: each of its Submits waits for no
# more than one of the first's threads and for what the queue held or took since its last one.
FLOOD_BATCH=5
taken_meanwhile() { # of the flood, from the other's first question to its last answer
	awk '$3 ~ /^polite/ && !from { from = NR } $3 ~ /^polite/ && $2 == "ok" { to = NR }
		$3 ~ /^flood/ && $2 == "ok" { at[NR] } END { for (i in at) n += (i + 0 > from && i + 0 < to); print n + 0 }' "$HISTORY"
}
case_edit_flood() {
	local flood client key bound=$((3 * (20 + 10 + FLOOD_BATCH)))
	case_begin flood --submit.queue_edits 20
	key=$(amend -q key new "$D/keys/polite.key") || fail "no key"
	asked key allow "$key" --roles submitter --name polite
	facts 300 flood >"$WORK/flood.jsonl"
	facts 30 polite >"$WORK/polite.jsonl"
	client "$WORK/flood.jsonl" --threads 8 --batch "$FLOOD_BATCH" --retry 10 --give-up 900 >/dev/null &
	flood=$!
	wait_for 30 refused_before || fail "the queue is never full"
	count faults
	CLIENT_KEY=$D/keys/polite.key client "$WORK/polite.jsonl" --batch 10 --retry 500 --give-up 600 >/dev/null &
	client=$!
	wait_for 300 either_gone "$client" "$flood"
	gone "$client" || fail "I7: the flood has ended, and the other client waits still"
	wait "$client" || fail "the client with 30 edits is not answered"
	alive "$flood" && note "the flood went on"
	note "$(taken_meanwhile) edits of the flood were taken meanwhile"
	[ "$(taken_meanwhile)" -le "$bound" ] || fail "I7: $(taken_meanwhile) edits of the flood were taken before 30 of another"
	bounded coordinator
	wait_for 600 gone "$flood" || fail "the flood does not get through"
	wait_served 600
	check_now --only --rest
}
refused_before() { grep -q ' fail .* ERR_AGAIN$' "$HISTORY"; }

# The same work again and again: what the programs hold stays what it was by the middle of it.
threads_of() { find "/proc/$(pid_of "$1")/task" -mindepth 1 -maxdepth 1 2>/dev/null | wc -l; }
files_of() { find "$D/$1" -type f | wc -l; }
case_soak() {
	local end half name i programs round=0
	local -A kib=() fds=() threads=() files=()
	[ -z "${TORTURE_PLANT:-}" ] || SECONDS_WANTED=10
	case_begin soak
	end=$(($(ms_now) + SECONDS_WANTED * 2000)) half=$(($(ms_now) + SECONDS_WANTED * 1000))
	while [ "$(ms_now)" -lt "$end" ] || [ "$round" -lt 8 ]; do
		facts 4 "soak$round" >"$WORK/soak.jsonl"
		client "$WORK/soak.jsonl" >/dev/null || fail "the client is not answered"
		wait_served 60
		for i in 0 1 2 3; do asked edit revoke "soak$round-00$i" --reason "a test"; done
		round=$((round + 1))
		[ ${#kib[@]} = 0 ] && [ "$round" -ge 4 ] && [ "$(ms_now)" -ge "$half" ] || continue
		for name in coordinator worker-0 worker-1 node-0; do
			kib[$name]=$(kib_of "$name") fds[$name]=$(fds_of "$name") threads[$name]=$(threads_of "$name") files[$name]=$(files_of "$name")
		done
		programs=$(processes_of "$D" | wc -l)
		half=$(ms_now) end=$((end > half + SECONDS_WANTED * 1000 ? end : half + SECONDS_WANTED * 1000))
	done
	wait_served 60
	for name in coordinator worker-0 worker-1 node-0; do
		note "$name: ${kib[$name]} KiB, ${fds[$name]} descriptors, ${threads[$name]} threads and ${files[$name]} files, then $(kib_of "$name"), $(fds_of "$name"), $(threads_of "$name") and $(files_of "$name"), after $round rounds"
		[ "$(kib_of "$name")" -lt $((kib[$name] + 16384)) ] || fail "I6: $name had ${kib[$name]} KiB, and has $(kib_of "$name")"
		[ "$(fds_of "$name")" -le $((fds[$name] + 4)) ] || fail "I6: $name had ${fds[$name]} descriptors, and has $(fds_of "$name")"
		[ "$(threads_of "$name")" -le $((threads[$name] + 2)) ] || fail "I6: $name had ${threads[$name]} threads, and has $(threads_of "$name")"
		[ "$(files_of "$name")" -le $((files[$name] + 2)) ] || fail "I6: $name had ${files[$name]} files, and has $(files_of "$name")"
	done
	[ "$(processes_of "$D" | wc -l)" -le "$programs" ] || fail "I6: there were $programs programs, and are $(processes_of "$D" | wc -l)"
	check_now --only --rest
}
case_killed_at_every_point() { sweep kill; }
case_failed_at_every_point() { sweep errno; }
case_delayed_at_every_point() { sweep delay-700; }

for name in ${CASES:-}; do run_case "$name"; done
[ -z "${CASES:-}" ] || exit 0
run_case killed_at_any_time
caught early-ack killed_at_any_time
caught no-dedup killed_at_any_time
run_case killed_at_every_point
run_case failed_at_every_point
run_case stalled_worker
run_case edit_flood
caught no-turns edit_flood
run_case soak
caught leak-memory soak
caught leak-descriptors soak
if [ "$SECONDS_WANTED" -ge 60 ]; then run_case delayed_at_every_point; fi
