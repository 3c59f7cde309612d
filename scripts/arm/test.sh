#!/bin/sh
# Runs the kernels' tests as three processors would: each must choose, and run, the set meant for it.
set -eu
cd "$(dirname "$0")/../.."
. scripts/arm/tools.sh
tools

say "building the kernels for $target"
tests=$(cargo_kernels test --no-run --message-format=json | sed -n 's/.*"executable":"\([^"]*\)".*/\1/p' | tail -1)
[ -x "$tests" ] || { say "the tests were not built"; exit 1; }

failed=0
# make lint does not see what is written for another processor.
if have cargo-clippy; then cargo_kernels clippy -q --all-targets -- -D warnings || failed=1; fi
for pair in cortex-a72:neon cortex-a76:dotprod max:i8mm; do
  cpu=${pair%:*} set=${pair#*:} words=$arm/words-${pair%:*}
  if emulated "$cpu" "$tests" --nocapture --test-threads 2 >"$words" 2>&1 &&
    grep -q "^ran: $set," "$words" && grep -qx "chosen: $set" "$words"; then
    passed=$(sed -n 's/^test result: ok. \([0-9]*\) passed.*/\1/p' "$words")
    echo "ok $cpu: $passed tests; ran: $(sed -n 's/^ran: \(.*\),.*/\1/p' "$words" | paste -sd ' '); chosen: $set"
  else
    failed=1
    cat "$words"
    echo "FAILED $cpu: $set was to be chosen and run"
  fi
done
exit $failed
