# What QEMU boots: Xen, dom0's kernel, its initramfs, and the disk with everything that changes from run to run.

# A field of the bzImage's header: offset, bytes.
header_field() { od -An -t "u$3" -j "$2" -N "$3" "$1" | tr -d ' '; }

# The ELF kernel inside a bzImage, which boots faster than the bzImage itself.
extract_kernel() {
  local sectors offset length start
  sectors=$(header_field "$1" 0x1f1 1)
  offset=$(header_field "$1" 0x248 4)
  length=$(header_field "$1" 0x24c 4)
  start=$(((sectors + 1) * 512 + offset))
  # The last four bytes are the size, not part of the xz stream.
  head -c "$((start + length - 4))" "$1" | tail -c "+$((start + 1))" | xz -dc --single-stream > "$2"
}

# Sets $boot: a folder with xen.elf, vmlinux and initramfs.cpio, made once for a set of packages.
make_boot() {
  local key root part
  key=$(cat "$lab/host/image.sh" "$lab/host/packages.sh" "$lab/dom0/init" "$lab/dom0/modules" | sha256sum | cut -c1-8)
  boot=$cache/boot-${packages##*-}-$key
  [ -d "$boot" ] && return
  say "making the initramfs"
  root=$cache/root.part
  part=$cache/boot.part
  rm -rf "$root" "$part" "$cache"/boot-*
  mkdir -p "$part"
  unpack_packages "$root"
  gzip -dc "$root"/boot/xen-4.17-amd64.gz > "$part/xen.elf"
  extract_kernel "$(echo "$root"/boot/vmlinuz-*)" "$part/vmlinux"
  fill_initramfs "$root" "$part/tree"
  (cd "$part/tree" && find . | sort | "$root/bin/busybox" cpio -o -H newc -R 0:0) > "$part/initramfs.cpio" 2> "$part/cpio.log" ||
    die "no initramfs: $(tail -1 "$part/cpio.log")"
  rm -rf "$part/tree" "$root"
  mv "$part" "$boot"
}

# The files of dom0, out of the unpacked packages $1, into $2.
fill_initramfs() {
  local root=$1 tree=$2 name file
  mkdir -p "$tree"/{bin,dev,etc,lab,lib/modules,lib64,proc,run,sys,tmp,usr/bin,usr/lib/xen-4.17/bin,var/log/xen,var/lib/xen}
  cp "$lab/dom0/init" "$tree/init"
  chmod 755 "$tree/init"
  cp "$root/bin/busybox" "$tree/bin/"
  for name in xl xenstored xenconsoled xen-init-dom0 libxl-save-helper xen-access; do
    cp "$root/usr/lib/xen-4.17/bin/$name" "$tree/usr/lib/xen-4.17/bin/"
  done
  cp -a "$root/etc/xen" "$tree/etc/"
  cp -L "$root/lib64/ld-linux-x86-64.so.2" "$tree/lib64/"
  # libgcc_s is opened at run time when a thread ends; the others are what xl and .NET are linked with.
  for name in libc.so.6 libm.so.6 libpthread.so.0 libdl.so.2 librt.so.1 libgcc_s.so.1 libstdc++.so.6 liblzma.so.5 \
    libuuid.so.1 libyajl.so.2 libz.so.1 libzstd.so.1; do
    file=$(find "$root/lib" "$root/usr/lib" -name "$name" | head -1)
    cp -L "${file:?no $name in the packages}" "$tree/lib/"
  done
  for file in "$root"/usr/lib/x86_64-linux-gnu/libx*.so.*; do
    # By their sonames, which have one number or two.
    case $file in *.so.4.17 | *.so.[0-9]) cp -L "$file" "$tree/lib/" ;; esac
  done
  while read -r name; do
    file=$(find "$root/lib/modules" -name "$name.ko")
    cp "${file:?no module $name in the kernel package}" "$tree/lib/modules/"
  done < "$lab/dom0/modules"
  cp "$lab/dom0/modules" "$tree/lib/modules/order"
}

# A disk with a folder's content.
make_disk() {
  local size
  size=$(($(du -sm "$1" | cut -f1) + 64))
  rm -f "$2"
  truncate -s "${size}M" "$2"
  mke2fs -q -t ext2 -m 0 -d "$1" "$2"
}
