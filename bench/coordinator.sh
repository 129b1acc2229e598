# coordinator.sh: a coordinator alone on this machine, for scripts that measure it through real sockets. Sourced; sets work,
# endpoint, server and me, and ends what it started when the script ends.
#   coordinator_folder [FOLDER]     keys and ports, below FOLDER (default: $TMPDIR or /tmp), which decides the disk
BIN=${AMEND_BIN:-$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)/build}
work='' pid=''
trap '[ -n "$pid" ] && kill -KILL "$pid" 2>/dev/null; wait 2>/dev/null; [ -z "$work" ] || rm -rf "$work"' EXIT

free_port() { python3 -c 'import socket; s = socket.socket(); s.bind(("127.0.0.1", 0)); print(s.getsockname()[1])'; }
coordinator_folder() { # folder, roles of the key `me`
	work=$(mktemp -d "$1/amend-bench.XXXXXX") || exit 1
	endpoint=tcp://127.0.0.1:$(free_port) hints=tcp://127.0.0.1:$(free_port)
	server=$("$BIN/amend" key new "$work/coordinator.key" 2>/dev/null)
	me=$("$BIN/amend" key new "$work/me.key" 2>/dev/null)
	(umask 077 && echo "$me $2 me" >"$work/allow")
}
coordinator_start() {
	"$BIN/amendd" coordinator --data "$work/coordinator" --key-file "$work/coordinator.key" --allow-file "$work/allow" \
		--coordinator "$endpoint" --hints "$hints" --submit.queue_edits 10000000 >>"$work/log" 2>&1 &
	pid=$!
	disown
}
coordinator_answers() {
	"$BIN/amend" --timeout 1 --coordinator "$endpoint" --server-key "$server" --key-file "$work/me.key" fleet status >/dev/null 2>&1
}
coordinator_await() { # seconds: ends the script where the coordinator ended, or has not answered by then
	local deadline=$((SECONDS + $1))
	until coordinator_answers; do
		if ! kill -0 "$pid" 2>/dev/null || [ "$SECONDS" -ge "$deadline" ]; then
			echo "the coordinator does not answer; its log:" >&2
			tail -n 3 "$work/log" >&2
			exit 1
		fi
		sleep 0.005
	done
}
