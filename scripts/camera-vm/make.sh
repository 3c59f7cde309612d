# Sourced by run.sh: what the machine boots from, and what it shares with this one.

install_as_root() { # PACKAGE...
  command -v apt-get >/dev/null && [ "$(id -u)" = 0 ] || return 1
  say "installing $* with apt-get"
  apt-get install -y -q --no-install-recommends "$@" >/dev/null 2>&1 ||
    { apt-get update -q >/dev/null && apt-get install -y -q --no-install-recommends "$@" >/dev/null 2>&1; }
}

have_tools() {
  PATH=$PATH:/sbin:/usr/sbin
  for tool in qemu-system-x86_64 cpio depmod modprobe busybox; do
    command -v "$tool" >/dev/null || return 1
  done
}

tools() { have_tools || { install_as_root qemu-system-x86 cpio kmod busybox-static && have_tools; }; }

unpacked() { # FOLDER PACKAGE...: downloads and unpacks what is not there
  folder=$1; shift
  mkdir -p "$folder/debs"
  for package in "$@"; do
    [ -e "$folder/debs/$package.done" ] && continue
    say "downloading $package"
    (cd "$folder/debs" && apt-get download -q "$package" >/dev/null 2>&1 && dpkg-deb -x "$package"_*.deb ..) || return 1
    rm -f "$folder/debs/$package"_*.deb
    touch "$folder/debs/$package.done"
  done
}

newest_image() {
  apt-cache depends linux-image-amd64 2>/dev/null | sed -n 's/.*Depends: \(linux-image-[0-9].*\)/\1/p' | head -1
}

# Debian's kernel with vivid, and v4l2-ctl, which turns vivid's faults on.
kernel() {
  [ -e "$vm/vmlinuz" ] && return 0
  command -v apt-get >/dev/null || return 1
  image=$(newest_image)
  if [ -z "$image" ] && [ "$(id -u)" = 0 ]; then apt-get update -q >/dev/null 2>&1 && image=$(newest_image); fi
  [ -n "$image" ] || return 1
  unpacked "$vm/kernel" "$image" || return 1
  unpacked "$vm/user" v4l-utils libv4l-0 libv4lconvert0 libv4l2rds0 libjpeg62-turbo libudev1 libstdc++6 || return 1
  version=${image#linux-image-}
  depmod -b "$vm/kernel" "$version" || return 1
  rm -rf "$vm/modules" && mkdir "$vm/modules"
  for module in virtio_pci 9pnet_virtio 9p vivid; do
    modprobe -d "$vm/kernel" -S "$version" --show-depends "$module" | sed -n 's/^insmod \([^ ]*\).*/\1/p'
  done | awk '!seen[$0]++' | while read -r file; do
    cp "$file" "$vm/modules/" && basename "$file" >>"$vm/modules/order"
  done
  [ -e "$vm/modules/vivid.ko" ] || return 1
  rm -f "$vm/loopback.ko"
  cp "$vm/kernel/boot/vmlinuz-$version" "$vm/vmlinuz" && rm -rf "$vm/kernel"
}

# A camera of the form MJPG, which vivid lacks, is v4l2loopback, built for the same kernel.
loopback() {
  [ -e "$vm/loopback.ko" ] && return 0
  command -v make >/dev/null && command -v gcc >/dev/null && command -v apt-get >/dev/null || return 1
  version=$(modinfo -F vermagic "$vm/modules/vivid.ko" | cut -d' ' -f1)
  tree=$vm/headers headers=linux-headers-$version
  parts=$(apt-cache depends "$headers" 2>/dev/null | sed -n 's/.*Depends: \(linux-[hk].*\)/\1/p')
  [ -n "$parts" ] && unpacked "$tree" "$headers" $parts v4l2loopback-dkms || return 1
  sed -i "s|include /usr/src|include $tree/usr/src|" "$tree/usr/src/$headers/Makefile"
  say "building v4l2loopback"
  (cd "$tree"/usr/src/v4l2loopback-*/ && make -s -C "$tree/usr/src/$headers" M="$PWD" modules >build.log 2>&1 &&
    strip -g v4l2loopback.ko && cp v4l2loopback.ko "$vm/loopback.ko") && rm -rf "$tree"
}

initrd() { # busybox, the modules and guest.sh; cheap to make, so made anew each time
  root=$vm/root
  rm -rf "$root" && mkdir -p "$root/bin" "$root/proc" "$root/sys" "$root/dev" "$root/share" "$root/tmp" "$root/etc"
  cp "$(command -v busybox)" "$root/bin/busybox"
  cp -r "$vm/modules" "$root/modules"
  [ -e "$vm/loopback.ko" ] && cp "$vm/loopback.ko" "$root/modules/"
  cp "$here/guest.sh" "$root/init" && chmod +x "$root/init"
  (cd "$root" && find . | cpio -o -H newc --quiet | gzip -1) >"$vm/initrd.gz"
}

libraries() { # PROGRAM: the files that it is linked with
  LD_LIBRARY_PATH=$vm/user/usr/lib/x86_64-linux-gnu:$vm/user/lib/x86_64-linux-gnu ldd "$1" | grep -o '/[^ )]*'
}

share() { # PROGRAM EXAMPLE MODEL: what the machine sees of this one, read-only
  share=$vm/share
  rm -rf "$share" && mkdir -p "$share/bin" "$share/lib"
  cp "$1" "$share/bin/edgeclip" && cp "$2" "$share/bin/frames" && cp "$vm/user/usr/bin/v4l2-ctl" "$share/bin/"
  for file in "$share"/bin/*; do
    for library in $(libraries "$file"); do cp -Ln "$library" "$share/lib/" 2>/dev/null || true; done
  done
  if [ -n "$3" ]; then cp "$3" "$share/starter.ecmodel"; fi
  cp "$here/checks.sh" "$share/"
  mkdir "$share/photos" && cp "$here/../../examples/photos/coffee.jpg" "$here/../../examples/photos/rocket.jpg" "$share/photos/"
}
