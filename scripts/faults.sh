#!/usr/bin/env bash
# The fault runs of test/faults. `faults.sh`: CI sizes; `faults.sh nightly`: the same with larger counts;
# `faults.sh report [nightly]`: and writes the table of docs/faults.md.
set -euo pipefail
cd "$(dirname "$0")/.."

for tool in sshd strace; do
  if ! command -v "$tool" >/dev/null 2>&1 && ! [ -x "/usr/sbin/$tool" ]; then
    echo "The fault runs need $tool: run \"npm run setup\"." >&2
    exit 1
  fi
done

report=""
if [ "${1:-}" = report ]; then
  shift
  report=$(mktemp)
  trap 'rm -f "$report"' EXIT
  export CONFIG_MANAGER_FAULTS_REPORT=$report
fi
if [ "${1:-}" = nightly ]; then
  export CONFIG_MANAGER_FAULTS=nightly
fi

status=0
mapfile -t others < <(find test/faults -name "*.fault.ts" ! -name ssh-slow.fault.ts | sort)
node --test --test-concurrency=2 "${others[@]}" || status=$?
# R14 compares times: nothing runs beside it.
node --test test/faults/ssh-slow.fault.ts || status=$?
if [ -n "$report" ]; then
  node scripts/faults-table.ts "$report" "${CONFIG_MANAGER_FAULTS:-ci}" >docs/faults.md
fi
exit "$status"
