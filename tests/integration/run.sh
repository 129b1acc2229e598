#!/bin/bash
# Runs the end-to-end scripts of this folder, one after the other: fast ones on a tiny model first, then SmolLM2. `run.sh NAME...`
# runs some. AMEND_BIN: programs; AMEND_MODEL: SmolLM2's file; AMEND_TEST_KEEP=1 keeps the folders.
set -u
cd "$(dirname "$0")" || exit 1
cache=$(mktemp -d "${TMPDIR:-/tmp}/amend-cache.XXXXXX") || exit 1
child=
trap 'rm -rf "$cache"' EXIT
trap 'kill -TERM $child 2>/dev/null; wait; exit 130' INT TERM
export AMEND_TEST_CACHE=$cache
if [ -z "${AMEND_TEST_SLOW:-}" ]; then
	read -r factor gflops < <("${AMEND_BIN:-$PWD/../../build}/tests/tools/core_speed") || exit 1
	AMEND_TEST_SLOW=$(awk -v f="$factor" 'BEGIN { n = int(f); print n < f ? n + 1 : n }')
	[ "$AMEND_TEST_SLOW" = 1 ] || echo "# a core reaches $gflops GFLOP/s here: $AMEND_TEST_SLOW times the time for everything"
fi
export AMEND_TEST_SLOW

scripts=()
for script in [0-9]*.sh; do
	[ $# -eq 0 ] && scripts+=("$script")
	for name in "$@"; do [[ $script == *"$name"* ]] && scripts+=("$script"); done
done
status=0
for script in "${scripts[@]}"; do
	bash "$script" &
	child=$!
	wait "$child" || {
		echo "not ok $script: exit $?"
		status=1
	}
done
exit "$status"
