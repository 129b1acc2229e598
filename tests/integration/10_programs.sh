#!/bin/bash
# The programs without a cluster: help, versions, completion, the configuration file, the Kubernetes manifests.
. "$(dirname "$0")/lib.sh"

case_version() {
	local program version
	version=$(cat "$ROOT/VERSION")
	for program in amend amendd amend-merge; do
		try "$BIN/$program" --version
		expect_ok
		grep -qF "${version%-*}" <<<"$OUT" || fail "$program --version says \"$OUT\", VERSION says $version"
	done
}

# libgomp says what it was loaded with.
case_spinning_is_bounded() {
	local program said
	for program in amend amendd; do
		said=$(env -u OMP_WAIT_POLICY OMP_DISPLAY_ENV=verbose "$BIN/$program" --version 2>&1)
		grep -q "GOMP_SPINCOUNT = '1000'" <<<"$said" || fail "$program spins as long as it likes: $said"
		said=$(env -u OMP_WAIT_POLICY GOMP_SPINCOUNT=7 OMP_DISPLAY_ENV=verbose "$BIN/$program" --version 2>&1)
		! grep -q "GOMP_SPINCOUNT = '1000'" <<<"$said" || fail "$program does not leave GOMP_SPINCOUNT as it was set"
	done
}

case_help() {
	local program role
	for program in amend amendd amend-merge; do
		try "$BIN/$program" --help
		expect_ok
		grep -q '^usage:' <<<"$OUT" || fail "$program --help has no usage line: $OUT"
	done
	for role in coordinator worker node; do
		try "$BIN/amendd" "$role" --help
		expect_ok
		grep -q -- '--data' <<<"$OUT" || fail "amendd $role --help does not list --data"
	done
	try "$BIN/amend" help
	expect_ok
	local listed
	listed=$(sed -n '/^commands:/,/^$/p' <<<"$OUT" | awk '/^  [a-z]/ { print $1 }')
	[ -z "$(sort <<<"$listed" | uniq -d)" ] || fail "a command is listed twice: $listed"
	grep -E '^  [a-z].*: *$' <<<"$OUT" && fail "a command is not explained: $OUT"
	try "$BIN/amend"
	expect_error 2 usage
	try "$BIN/amend" frobnicate
	expect_error 2 'unknown command "frobnicate"'
	try "$BIN/amendd" frobnicate
	expect_error 2 'unknown role "frobnicate"'
	try "$BIN/amendd" node --frobnicate
	expect_error 2 'frobnicate'
}

# What a family does not have is not ignored in silence.
case_settings_of_the_other_family() {
	try "$BIN/amend" eval run "$ROOT/examples/zsre-100.jsonl" --model none --alpha 3
	expect_error 2 '--alpha is of family paper'
	try "$BIN/amend" eval run "$ROOT/examples/zsre-100.jsonl" --model none --no-prefixes
	expect_error 2 '--prefixes is of family paper'
	try "$BIN/amend" eval run "$ROOT/examples/zsre-100.jsonl" --model none --family paper --train.rate 0.5
	expect_error 2 '--train.rate is of family amend'
	try "$BIN/amend" calibrate --out "$WORK/none.cal" --model none --rho 0.5
	expect_error 2 '--rho is of family paper'
}

case_errors_are_escaped() {
	local red=$'\e[31mred' line words
	for line in amend "amendd node --config" amendd amend-merge "amend-merge --model m --output o --plan"; do
		read -ra words <<<"$line"
		try "$BIN/${words[0]}" "${words[@]:1}" "$red"
		[ "$STATUS" = 0 ] && fail "$line $red succeeds"
		grep -qF '\x1B[31mred' <<<"$ERR" || fail "$line does not show it: $ERR"
		LC_ALL=C grep -q $'\e' "$WORK/err" && fail "control bytes of $line reach the terminal"
	done
	return 0
}

# Every setting of --help stands in the sample, and the sample is a file that passes the check.
case_sample() {
	local role setting group key
	for role in coordinator worker node; do
		"$BIN/amendd" "$role" --sample >"$WORK/sample.yaml" || fail "amendd $role --sample fails"
		try "$BIN/amend" config check "$WORK/sample.yaml"
		expect_ok
		"$BIN/amendd" "$role" --help | grep -oE '^ *--[a-z][a-z0-9._]*' | tr -d ' -' | sort -u >"$WORK/flags"
		[ "$(wc -l <"$WORK/flags")" -ge 8 ] || fail "amendd $role --help lists $(wc -l <"$WORK/flags") settings"
		while read -r setting; do
			case $setting in
			config | help | version | sample) continue ;;
			esac
			key=${setting##*.} group=${setting%.*}
			[ "$group" = "$key" ] || grep -qE "^#? ?$group:" "$WORK/sample.yaml" || fail "$role: the sample lacks the group $group"
			grep -qE "^#? *$key:" "$WORK/sample.yaml" || fail "$role: the sample lacks $setting"
		done <"$WORK/flags"
	done
	"$BIN/amend" config sample >"$WORK/all.yaml" || fail "amend config sample fails"
	try "$BIN/amend" config check "$WORK/all.yaml"
	expect_ok
}

case_config_errors() {
	printf 'lease:\n  ms: 50000000\n' >"$WORK/range.yaml"
	try "$BIN/amend" config check "$WORK/range.yaml"
	expect_error 1 "range.yaml" 'lease\.ms' '600000'
	printf 'lease:\n  mss: 5\n' >"$WORK/unknown.yaml"
	try "$BIN/amend" config check "$WORK/unknown.yaml"
	expect_error 1 "unknown.yaml" 'mss'
	printf 'lease: [1, 2\n' >"$WORK/torn.yaml"
	try "$BIN/amend" config check "$WORK/torn.yaml"
	expect_error 1 "torn.yaml"
	try "$BIN/amend" config check "$WORK/absent.yaml"
	[ "$STATUS" != 0 ] || fail "an absent file passes"
	grep -q absent.yaml <<<"$ERR" || fail "the file is not named: $ERR"
}

complete_line() { # words...: prints what the completion offers for the last one
	COMP_WORDS=("$@")
	COMP_CWORD=$(($# - 1))
	COMPREPLY=()
	_amend
	echo "${COMPREPLY[*]}"
}
case_completion() {
	local verb
	eval "$("$BIN/amend" completion bash)" || fail "it does not evaluate"
	complete -p amend >/dev/null || fail "no completion is registered"
	[ "$(complete_line amend ed)" = edit ] || fail "ed: $(complete_line amend ed)"
	[ "$(complete_line amend edit im)" = import ] || fail "edit im: $(complete_line amend edit im)"
	[ "$(complete_line amend up --mo)" = --model ] || fail "up --mo: $(complete_line amend up --mo)"
	for verb in $(complete_line amend ''); do
		[[ $verb == --* ]] || "$BIN/amend" --help | grep -q "^  $verb " || fail "it offers $verb, which --help does not know"
	done
	for verb in $("$BIN/amend" --help | sed -n '/^commands/,/^$/s/^  \([a-z]*\) .*/\1/p'); do
		grep -qw "$verb" <<<"$(complete_line amend '')" || fail "it lacks $verb"
	done
}

case_key() {
	local key
	key=$("$BIN/amend" key new "$WORK/a.key" 2>/dev/null) || fail "key new fails"
	grep -qE '^[0-9a-f]{64}$' <<<"$key" || fail "not 64 hex digits: $key"
	[ "$(stat -c %a "$WORK/a.key")" = 600 ] || fail "the key file has mode $(stat -c %a "$WORK/a.key")"
	try "$BIN/amend" key new "$WORK/a.key"
	[ "$STATUS" != 0 ] || fail "it overwrites a key"
	grep -q a.key <<<"$ERR" || fail "the file is not named: $ERR"
}

# The manifests speak the programs' real language: flags, ports, configuration.
case_manifests() {
	local role file flag port
	try "$BIN/amend" config check "$ROOT/k8s/base/amend.yaml"
	expect_ok
	for role in coordinator worker node; do
		file=$ROOT/k8s/base/$role.yaml
		grep -q "command: \[\"amendd\", \"$role\"\]" "$file" || fail "$role.yaml does not start amendd $role"
		"$BIN/amendd" "$role" --help >"$WORK/help"
		for flag in $(sed -n 's/^ *- \(--[a-z.-]*\)=.*/\1/p' "$file"); do
			[ "$flag" = --config ] || grep -qE -- "$flag([^a-z.-]|\$)" "$WORK/help" || fail "$role.yaml: amendd $role has no $flag"
		done
		for port in $(grep -oE 'containerPort: [0-9]+' "$file" | grep -oE '[0-9]+'); do
			grep -qE -- "- --[a-z-]+=.*:$port\$" "$file" || fail "$role.yaml: nothing is told to listen on $port"
		done
		for port in $(grep -oE '^ +port: [0-9]+' "$file" | grep -oE '[0-9]+'; grep -oE 'targetPort: [0-9]+' "$file" | grep -oE '[0-9]+'); do
			[ "$port" = 80 ] || grep -q "containerPort: $port\$" "$file" || fail "$role.yaml: a service or probe names port $port, which the container does not have"
		done
	done
	for port in $(grep -oE 'port: [0-9]+' "$ROOT/k8s/base/network-policy.yaml" | grep -oE '[0-9]+'); do
		grep -qh "containerPort: $port\$" "$ROOT"/k8s/base/*.yaml || fail "network-policy.yaml opens $port, which nothing listens on"
	done
	for file in $(sed -n '/^resources:/,/^[a-z]*Gen/s/^  - \(.*\.yaml\)/\1/p' "$ROOT/k8s/base/kustomization.yaml"); do
		[ -f "$ROOT/k8s/base/$file" ] || fail "kustomization.yaml names $file"
	done
	# Kubernetes' own check where it is there; nothing is installed for it
	if command -v kubectl >/dev/null; then
		kubectl kustomize "$ROOT/k8s/base" >/dev/null || fail "kubectl kustomize refuses k8s/base"
	fi
}

for name in version spinning_is_bounded help errors_are_escaped settings_of_the_other_family sample config_errors completion key manifests; do run_case "$name"; done
