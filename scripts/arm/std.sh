#!/bin/sh
# std.sh TARGET FOLDER
# Builds Rust's standard library for TARGET into FOLDER/sysroot, for a toolchain without rustup: from
# the rust-src package of the installed release, in whichever Debian suite has it; its own
# dependencies come from the registry, as its lock file says. Takes a minute or two.
set -eu
target=$1 folder=$2
release=$(rustc -vV | sed -n 's/^release: //p')
[ "$(cat "$folder/sysroot/release" 2>/dev/null)" = "$release" ] && exit 0
command -v apt-get >/dev/null && command -v dpkg-deb >/dev/null || exit 1
mirror=$(apt-get indextargets --format '$(REPO_URI)' 'Created-By: Packages' 2>/dev/null | grep -v security | sort -u | head -1)
[ -n "$mirror" ] || exit 1

# Another suite's packages, without a change to this machine's own.
apt=$folder/apt
mkdir -p "$apt/state/lists/partial" "$apt/cache/archives/partial" "$apt/etc/apt.conf.d" "$apt/etc/preferences.d" "$apt/log"
: >"$apt/state/status"
cat >"$apt/apt.conf" <<C
Dir::State "$apt/state"; Dir::State::status "$apt/state/status"; Dir::Cache "$apt/cache";
Dir::Etc "$apt/etc"; Dir::Log "$apt/log"; APT::Sandbox::User "root";
C
export APT_CONFIG="$apt/apt.conf"
source=$folder/rust-src/usr/src/rustc-$release/library
for suite in trixie-backports sid forky trixie; do
  [ -d "$source" ] && break
  echo "deb [signed-by=/usr/share/keyrings/debian-archive-keyring.gpg] $mirror $suite main" >"$apt/etc/sources.list"
  apt-get -qq update 2>/dev/null || continue
  version=$(apt-cache madison rust-src | awk -v r="$release" 'index($3, r "+") == 1 {print $3; exit}')
  [ -n "$version" ] || continue
  (cd "$apt" && rm -f ./*.deb && apt-get -qq download "rust-src=$version" && dpkg-deb -x rust-src_*.deb "$folder/rust-src" && rm -f ./*.deb)
done
unset APT_CONFIG
[ -d "$source" ] || { echo "arm: no Debian suite has the source of Rust $release" >&2; exit 1; }

echo "arm: building Rust's library $release for $target" >&2
# As Rust's own bootstrap builds it.
RUSTC_BOOTSTRAP=1 CARGO_TARGET_DIR="$folder/std" CARGO_PROFILE_RELEASE_DEBUG=0 CFG_RELEASE=$release CFG_RELEASE_CHANNEL=stable \
  CARGO_TARGET_AARCH64_UNKNOWN_LINUX_GNU_LINKER=aarch64-linux-gnu-gcc \
  RUSTFLAGS="-Zforce-unstable-if-unmarked -Cembed-bitcode=yes" \
  cargo build -q --release --locked --target "$target" --manifest-path "$source/sysroot/Cargo.toml" --features "panic-unwind backtrace"
libraries=$folder/sysroot/lib/rustlib/$target/lib
rm -rf "$folder/sysroot" && mkdir -p "$libraries"
cp "$folder/std/$target/release/deps/"*.rlib "$libraries/"
rm -rf "$folder/std"
echo "$release" >"$folder/sysroot/release"
