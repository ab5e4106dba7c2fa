#!/usr/bin/env bash
# Copyright The Space DRA Driver Authors.
# SPDX-License-Identifier: Apache-2.0
#
# Runs the suites on each version of Kubernetes, one after the other, and prints a table of the results
# of gotestsum. The table and the logs are in build/matrix.
#
#   test/matrix.sh TEST VERSION...
#
# TEST is the command that runs packages of tests. A VERSION is one that make pin has added, or newest.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")"
read -ra test <<<"$1"
logs=$PWD/../build/matrix
mkdir -p "$logs"
printf '| Kubernetes | integration | node | e2e | examples | skew |\n|---|---|---|---|---|---|\n' >"$logs/table.md"

status=0
for version in "${@:2}"; do
  export K8S=${version#newest}
  make -C .. programs
  row="| $version |"
  while read -r suite arguments; do
    # shellcheck disable=SC2086 # these are words
    "${test[@]}" $arguments 2>&1 | tee "$logs/$version-$suite.log" || status=1
    row+=" $(sed -n 's/^DONE //p' "$logs/$version-$suite.log") |"
  done <<'SUITES'
integration ./integration/...
node ./node/...
e2e ./e2e/... -skip=^TestExamples
examples ./e2e -run=^TestExamples
skew ./skew
SUITES
  echo "$row" >>"$logs/table.md"
done
cat "$logs/table.md"
exit "$status"
