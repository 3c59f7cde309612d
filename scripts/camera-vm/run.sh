#!/bin/sh
# run.sh PROGRAM EXAMPLE [MODEL]
# Runs checks.sh with our own program in a small virtual machine, on the virtual camera (vivid) of
# a real kernel, and on one of JPEGs (v4l2loopback) where that can be built. The machine is x86-64
# in software emulation, as the program is: it needs no cross compiler, no /dev/kvm and no rights,
# and boots in ten seconds; for ARM the program would first have to be built again, which takes ten
# minutes. What is downloaded stays in target/camera-vm.
set -eu
program=$1 example=$2 model=${3:-}
here=$(cd "$(dirname "$0")" && pwd)
vm=${CAMERA_VM:-target/camera-vm}
mkdir -p "$vm" && vm=$(cd "$vm" && pwd)
. "$here/make.sh"

say() { echo "camera-vm: $*" >&2; }
skip() { echo "skipped: $*"; exit 0; }

[ "$(uname -sm)" = "Linux x86_64" ] || skip "the virtual camera is run on Linux on x86-64 only"
tools || skip "qemu-system-x86_64, cpio, depmod or busybox is missing (Debian: sudo apt-get install qemu-system-x86 cpio kmod busybox-static)"
kernel || skip "Debian's kernel package cannot be downloaded (needs apt on Debian, and its package lists: sudo apt-get update)"
loopback || echo "skipped: the checks of MJPG, since v4l2loopback cannot be built (needs make, gcc and the headers of Debian's kernel)"
initrd
share "$program" "$example" "$model"

log=$vm/log
say "starting the machine; its words go to $log"
# Fused sums are what emulation is slowest at; vivid on a slow machine makes the kernel complain of waits below zero.
timeout "${CAMERA_VM_TIMEOUT:-900}" qemu-system-x86_64 -accel tcg -cpu max,-fma -m 1024 -smp 2 \
  -display none -monitor none -serial stdio -no-reboot -nic none \
  -kernel "$vm/vmlinuz" -initrd "$vm/initrd.gz" -append "console=ttyS0 loglevel=3 panic=-1" \
  -virtfs "local,path=$vm/share,mount_tag=share,security_model=none,readonly=on,multidevs=remap" \
  </dev/null 2>&1 | sed -u 's/\r//g' | tee "$log" | grep --line-buffered -E '^(ok|FAILED|passed|failed|  \|)' || true

grep -q '^passed: ' "$log" || { say "the checks did not pass: see $log"; exit 1; }
