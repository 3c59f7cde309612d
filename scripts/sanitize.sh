#!/bin/sh
# The kernels' tests with AddressSanitizer, on every set that this processor runs: reads and writes beyond what a tile
# was given, which the tests themselves would not notice.
set -eu
cd "$(dirname "$0")/.."
say() { echo "sanitize: $*" >&2; }

host=$(rustc -vV | sed -n 's/^host: //p')
case $host in
  x86_64-*-linux-gnu | aarch64-*-linux-gnu) ;;
  *) say "skipped: no AddressSanitizer for $host"; exit 0 ;;
esac
# The flag belongs to nightly compilers; a stable one takes it where it is told that this is a check, not a release.
RUSTC_BOOTSTRAP=1 RUSTFLAGS="-Zsanitizer=address" "${CARGO:-cargo}" test --release --quiet \
  --manifest-path scripts/arm/kernels/Cargo.toml --target "$host" --target-dir target/sanitizer -- --nocapture
