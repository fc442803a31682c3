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

# Sets $boot: a folder with xen.elf, vmlinux and initramfs.cpio, made once for a set of packages and an init.
make_boot() {
  local tree kernel module library
  boot=$cache/boot-${root##*/root-}-$(cat "$lab/dom0/init" "$lab/host/image.sh" | sha256sum | cut -c1-8)
  [ -e "$boot/initramfs.cpio" ] && return
  say "making the initramfs"
  find "$cache" -maxdepth 1 -name 'boot-*' -exec rm -rf {} +
  mkdir -p "$boot"
  gzip -dc "$root"/boot/xen-4.17-amd64.gz > "$boot/xen.elf"
  kernel=$(echo "$root"/boot/vmlinuz-*)
  extract_kernel "$kernel" "$boot/vmlinux"

  tree=$boot/tree
  mkdir -p "$tree"/{bin,dev,etc,lib/modules,lib64,proc,run,sys,tmp,usr/bin,var/log/xen,var/lib/xen,lab}
  cp "$root/bin/busybox" "$tree/bin/"
  cp -a "$root/usr/lib/xen-4.17" "$tree/usr/lib-xen"
  mkdir -p "$tree/usr/lib/xen-4.17/bin"
  for library in xl xenstored xenconsoled xen-init-dom0 libxl-save-helper xen-access; do
    mv "$tree/usr/lib-xen/bin/$library" "$tree/usr/lib/xen-4.17/bin/"
  done
  rm -rf "$tree/usr/lib-xen"
  cp -a "$root/usr/bin"/xenstore* "$tree/usr/bin/" 2> /dev/null || true
  cp -a "$root/etc/xen" "$tree/etc/"
  cp -L "$root/lib64/ld-linux-x86-64.so.2" "$tree/lib64/"
  # libgcc_s is opened at run time when a thread ends; the others are what xl and .NET are linked with.
  for library in libc.so.6 libm.so.6 libpthread.so.0 libdl.so.2 librt.so.1 libgcc_s.so.1 libstdc++.so.6 liblzma.so.5 \
    libuuid.so.1 libyajl.so.2 libz.so.1 libzstd.so.1; do
    cp -L "$(find "$root/lib" "$root/usr/lib" -name "$library" | head -1)" "$tree/lib/"
  done
  for library in "$root"/usr/lib/x86_64-linux-gnu/libx*.so.*; do
    # By their sonames, which have one number or two.
    [ -L "$library" ] || case $library in *.so.4.17 | *.so.[0-9]) ;; *) continue ;; esac
    cp -L "$library" "$tree/lib/"
  done
  for module in xen-privcmd xenfs xen-evtchn xen-gntalloc xen-gntdev \
    virtio_ring virtio virtio_pci_legacy_dev virtio_pci_modern_dev virtio_pci virtio_blk crc32c_generic crc16 mbcache jbd2 ext4; do
    cp "$(find "$root/lib/modules" -name "$module.ko")" "$tree/lib/modules/"
  done
  cp "$lab/dom0/init" "$tree/init"
  chmod 755 "$tree/init"
  (cd "$tree" && find . | sort | "$root/bin/busybox" cpio -o -H newc -R 0:0) > "$boot/initramfs.part" 2> /dev/null
  rm -rf "$tree"
  mv "$boot/initramfs.part" "$boot/initramfs.cpio"
}

# A disk with a folder's content.
make_disk() {
  local size
  size=$(($(du -sm "$1" | cut -f1) + 64))
  rm -f "$2"
  truncate -s "${size}M" "$2"
  mke2fs -q -t ext2 -m 0 -d "$1" "$2"
}
