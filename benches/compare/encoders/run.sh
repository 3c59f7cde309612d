#!/bin/sh
# run.sh PROGRAM BUNDLE   edgeclip beside its peers (compare.py); PROGRAM is edgeclip, BUNDLE the starter.
# Everything is kept below target/compare: peers, workers, models.
set -eu
program=$1 bundle=$2
here=benches/compare/encoders
out=target/compare
python=$out/venv/bin/python

say() { echo "bench-compare: $*" >&2; }

command -v python3 >/dev/null || { say "Python 3.11 or newer is missing"; exit 1; }
[ -x "$python" ] || python3 -m venv "$out/venv"
grep -v '^#' "$here/requirements.txt" | while read -r package; do
  "$python" -m pip install -q --disable-pip-version-check -c "$here/requirements.txt" "$package" ||
    say "$package cannot be installed here: what needs it will be missing"
done
cargo build --release --manifest-path "$here/workers/Cargo.toml" --target-dir "$out/workers"

models=$(echo "${MODELS:-vitb32,tinyclip8m,starter}" | tr ',' ' ')
# shellcheck disable=SC2086
"$python" "$here/models.py" "$out/models" "$program" "$bundle" $models
# shellcheck disable=SC2086
"$python" "$here/litert.py" "$out/models" $models || say "LiteRT's files cannot be made here: it will be missing"
"$python" "$here/compare.py" "$out/models" "$out/workers/release" "$program"
