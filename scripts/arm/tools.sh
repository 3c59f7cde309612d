# Sourced by test.sh and figures.sh, from the root: what it takes to build for 64-bit ARM and to run
# that here. What is downloaded or built stays in target/arm.
target=aarch64-unknown-linux-gnu
mkdir -p target/arm
arm=$PWD/target/arm
here=scripts/arm

say() { echo "arm: $*" >&2; }
skip() { echo "skipped: $*"; exit 0; }

install_as_root() { # PACKAGE...
  command -v apt-get >/dev/null && [ "$(id -u)" = 0 ] || return 1
  say "installing $* with apt-get"
  apt-get install -y -q --no-install-recommends "$@" >/dev/null 2>&1 ||
    { apt-get update -q >/dev/null 2>&1 && apt-get install -y -q --no-install-recommends "$@" >/dev/null 2>&1; }
}

have() { command -v "$1" >/dev/null; }

tools() {
  have cargo || skip "Rust is missing: install it from rustup.rs"
  have aarch64-linux-gnu-gcc || install_as_root gcc-aarch64-linux-gnu libc6-dev-arm64-cross ||
    skip "no cross compiler (Debian: sudo apt-get install gcc-aarch64-linux-gnu libc6-dev-arm64-cross)"
  have qemu-aarch64 || install_as_root qemu-user ||
    skip "no emulator (Debian: sudo apt-get install qemu-user)"
  flags=
  rust_std || skip "no standard library of Rust for $target (rustup target add $target)"
  unset RUSTFLAGS EDGECLIP_KERNEL
  export CARGO_TARGET_DIR="$arm/kernels"
  export CARGO_TARGET_AARCH64_UNKNOWN_LINUX_GNU_LINKER=aarch64-linux-gnu-gcc
  export CARGO_TARGET_AARCH64_UNKNOWN_LINUX_GNU_RUSTFLAGS="$flags"
}

# rustup's, or the one that std.sh builds from Debian's source of the same release.
rust_std() {
  [ -d "$(rustc --print sysroot)/lib/rustlib/$target/lib" ] && return 0
  if have rustup && say "fetching Rust's library for $target" && timeout 300 rustup -q target add "$target" 2>/dev/null; then
    return 0
  fi
  sh "$here/std.sh" "$target" "$arm" && flags="--sysroot=$arm/sysroot"
}

emulated() { # CPU PROGRAM ARGUMENT...
  cpu=$1; shift
  qemu-aarch64 -cpu "$cpu" -L /usr/aarch64-linux-gnu "$@"
}

cargo_kernels() { # VERB ARGUMENT...
  verb=$1; shift
  cargo "$verb" --locked --release --manifest-path "$here/kernels/Cargo.toml" --target "$target" "$@"
}
