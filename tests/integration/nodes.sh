# nodes.sh: nodes beside those of `amend up`, with keys of their own; relays among them. Sourced behind lib.sh.

# The key of a node that `amend up` does not start.
node_key() { # name, roles
	[ -f "$D/keys/$1.key" ] && return 0
	try amend key new "$D/keys/$1.key"
	expect_ok
	try amend key allow "$D/keys/$1.key" --roles "$2" --name "$1"
	expect_ok
}
public_of() { awk '$1 == "public" { print $2 }' "$D/keys/$1.key"; } # name
# The last value of a field in the log, of the lines with that id.
logged() { grep "id=$2" "$D/log/$1.log" | tail -n 1 | grep -oE " $3=[^ ]+" | cut -d= -f2-; } # name, id, field
node_started() { [ -n "$(logged "$1" NODE-STARTED http)" ]; }
node_start() { # name, flags...
	local name=$1
	shift
	: >"$D/log/$name.log"
	process_start "$name" --listen=127.0.0.1:0 --threads=1 "$@"
	wait_for 30 node_started "$name" || fail "$name does not start"
}
relay_start() { # name, flags...
	node_start "$1" "--relay-listen=${RELAY_AT:-tcp://127.0.0.1:*}" "${@:2}"
	wait_for 10 log_has "$1" RELAY-KEYS || fail "$1 hears of no keys"
}
address_of() { echo "$(public_of "$1")@$(logged "$1" PROTO-LISTENING endpoint)"; }
node_stop() { # name
	local pid
	pid=$(pid_of "$1")
	kill -CONT "$pid"
	kill -TERM "$pid"
	wait_for 10 gone "$pid" || fail "$1 does not end"
}
# A sum over the lines of a metric with that text in its labels.
metric() { # name, metric, [text]
	curl -sS --max-time 20 "http://$(logged "$1" NODE-STARTED http)/metrics" | grep "^$2[ {]" | grep -F -- "${3:-}" | awk '{ n += $2 } END { printf "%d", n }'
}
version_of() { metric "$1" amend_memory_version; }
newest() { amend version list -o json | jq -r '[.[].version] | max'; }
node_at() { [ "$(version_of "$1")" = "$2" ]; }
wait_at() { # seconds, version, names...
	local seconds=$1 version=$2 name
	shift 2
	for name in "$@"; do
		wait_for "$seconds" node_at "$name" "$version" || fail "$name is on v$(version_of "$name"), not v$version: $(tail -n 3 "$D/log/$name.log")"
	done
}
bytes_from() { metric "$1" amend_fetch_bytes_total "\"$2\""; } # name, coordinator|relay
