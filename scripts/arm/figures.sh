#!/bin/sh
# Prints what a tile of each set costs: instructions, counted while it runs emulated, and cycles of its
# inner loop, estimated by llvm-mca from LLVM's models of the processors. Estimates: nothing is timed.
set -eu
cd "$(dirname "$0")/../.."
. scripts/arm/tools.sh
tools
have python3 || skip "python3 is missing"

# Models of the newer cores came with LLVM 17.
mca=$(ls /usr/bin/llvm-mca-* 2>/dev/null | sort -t- -k3 -n | tail -1)
case $mca in
  *-1[789] | *-[2-9][0-9]) ;;
  *) install_as_root llvm-19 && mca=/usr/bin/llvm-mca-19 || skip "llvm-mca 17 or newer is missing (Debian: sudo apt-get install llvm-19)" ;;
esac

say "building the kernels for $target"
cargo_kernels rustc -q -- --emit asm
program=$arm/kernels/$target/release/edgeclip-kernels
assembly=$(ls -t "$arm/kernels/$target/release/deps/"edgeclip_kernels-*.s | head -1)
python3 "$here/figures.py" "$mca" "$assembly"

# Debian's QEMU 10 has no plugins; 7.2 has.
qemu=$(command -v qemu-aarch64) libraries=
if ! "$qemu" -help | grep -q -- -plugin; then
  old=$(apt-cache madison qemu-user 2>/dev/null | awk '$3 ~ /^1:[789]\./ {print $3; exit}')
  [ -n "$old" ] || skip "no QEMU with plugins, so instructions are not counted"
  if [ ! -x "$arm/qemu/usr/bin/qemu-aarch64" ]; then
    say "downloading QEMU $old"
    mkdir -p "$arm/debs"
    (cd "$arm/debs" && apt-get download -q "qemu-user=$old" libcapstone4 libnuma1 liburing2 >/dev/null 2>&1) ||
      skip "QEMU $old cannot be downloaded, so instructions are not counted"
    for package in "$arm/debs/"*.deb; do dpkg-deb -x "$package" "$arm/qemu"; done
  fi
  qemu=$arm/qemu/usr/bin/qemu-aarch64 libraries=$arm/qemu/usr/lib/$(uname -m)-linux-gnu
fi
${CC:-cc} -O2 -Wall -shared -fPIC -o "$arm/count.so" "$here/count.c"

counted() { # CPU ARGUMENT...: instructions from start to end
  cpu=$1; shift
  LD_LIBRARY_PATH=$libraries "$qemu" -cpu "$cpu" -L /usr/aarch64-linux-gnu -E LD_LIBRARY_PATH= \
    -plugin "file=$arm/count.so" "$program" "$@" 2>&1 | sed -n 's/^instructions: //p'
}

echo
echo "Instructions of a whole tile, 768 inputs wide, counted"
printf '%-10s %-7s %6s %13s %16s\n' set tile rows instructions "a 1000 products"
for set in i8mm:max:10 dotprod:cortex-a76:5 neon:cortex-a72:3 portable:cortex-a72:4; do
  name=${set%%:*} rows=${set##*:} cpu=${set#*:} cpu=${cpu%:*}
  for what in tile:192 floats:768; do
    few=$(counted "$cpu" "${what%:*}" "$name" "${what#*:}" 10)
    many=$(counted "$cpu" "${what%:*}" "$name" "${what#*:}" 110)
    awk -v n="$name" -v w="${what%:*}" -v r="$rows" -v i="$((many - few))" \
      'BEGIN { printf "%-10s %-7s %6d %13.0f %16.1f\n", n, w == "tile" ? "bytes" : w, r, i / 100, i / 100 / (r * 16 * 768) * 1000 }'
  done
done
