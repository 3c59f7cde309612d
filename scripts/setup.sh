#!/bin/sh
# setup.sh build             a C compiler, libclang (it reads the kernel's camera headers) and Rust
# setup.sh broker            an MQTT broker, which tests talk to
# setup.sh venv DIR FILE     a Python environment in DIR with the packages of FILE
# Installs what is missing where it may (Debian, as root); elsewhere it says what to install.
set -eu

say() { echo "setup: $*" >&2; }

install() { # PACKAGE... by apt, or a word
  if command -v apt-get >/dev/null && [ "$(id -u)" = 0 ]; then
    say "installing $* with apt-get"
    apt-get install -y -q "$@" >/dev/null 2>&1 || { apt-get update -q >/dev/null && apt-get install -y -q "$@" >/dev/null; }
  else
    say "please install $* (Debian: sudo apt-get install $*), then run this again"; exit 1
  fi
}

case "$1" in
build)
  command -v cc >/dev/null || install gcc libc6-dev
  if [ -z "${LIBCLANG_PATH:-}" ] && ! ls /usr/lib/llvm-*/lib/libclang*.so* /usr/lib/*/libclang-*.so* /usr/lib64/libclang*.so* 2>/dev/null | grep -q 'libclang[-.0-9]*so'; then
    install libclang-dev
  fi
  if ! command -v cargo >/dev/null; then
    say "Rust is missing: install it from rustup.rs (1.91 or newer), then run this again"; exit 1
  fi
  ;;
venv)
  dir=$2 requirements=$3
  command -v python3 >/dev/null || install python3 python3-venv
  if [ ! -x "$dir/bin/pip" ]; then
    say "making a Python environment in $dir"
    python3 -m venv "$dir" 2>/dev/null || { rm -rf "$dir"; install python3-venv; python3 -m venv "$dir"; }
  fi
  say "installing the references that tests compare with into $dir: $(grep -v "^#" "$requirements" | tr "\n" " ")"
  "$dir/bin/pip" install -q --disable-pip-version-check -r "$requirements"
  ;;
broker)
  # Where it cannot be installed, the tests that need it say so and pass.
  command -v mosquitto >/dev/null || [ -x /usr/sbin/mosquitto ] || ( install mosquitto mosquitto-clients ) || true
  ;;
*) say "unknown part $1"; exit 2 ;;
esac
