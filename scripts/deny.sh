#!/bin/sh
# Licences, bans and sources of every dependency, by cargo-deny VERSION, which is installed
# under target/tools where it is missing. Advisories need the network: cargo deny check advisories.
set -eu
version=$1
tools=$PWD/target/tools
have() { [ "$("$1" --version 2>/dev/null)" = "cargo-deny $version" ]; }
deny=cargo-deny
if ! have "$deny"; then
  deny=$tools/bin/cargo-deny
  have "$deny" || {
    echo "lint: installing cargo-deny $version into $tools (some minutes, once)" >&2
    cargo install -q cargo-deny --version "$version" --locked --no-default-features --root "$tools" --target-dir "$tools/build"
    rm -rf "$tools/build"
  }
fi
"$deny" --log-level error check licenses bans sources
