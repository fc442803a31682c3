# The machine: QEMU without acceleration, and what it says on its second serial port.

# One run. $1: a folder for console.log (Xen and dom0), lab.log (the protocol) and results.tar.
# 0: the lab ran to its end. 1: QEMU ended before. 2: nothing was heard for $silence seconds.
run_machine() {
  local out=$1 pid last now heard
  rm -f "$out"/{console.log,lab.log,results.tar}
  truncate -s 64M "$out/results.tar"
  : > "$out/lab.log"
  nice qemu-system-x86_64 -accel tcg,thread=single,tb-size=512 -machine pc -cpu max,-smap -smp 2 -m "$machine_memory" \
    -nodefaults -no-reboot -display none -vga none -net none \
    -serial "file:$out/console.log" -serial "file:$out/lab.log" \
    -drive "file=$out/disk.img,format=raw,if=virtio,readonly=on" -drive "file=$out/results.tar,format=raw,if=virtio" \
    -kernel "$boot/xen.elf" \
    -append "console=com1 com1=115200,8n1 loglvl=all guest_loglvl=all dom0_mem=${dom0_memory}M,,max:${dom0_memory}M dom0_max_vcpus=1 dom0_vcpus_pin spec-ctrl=no xpti=no" \
    -initrd "$boot/vmlinux console=hvc0 earlyprintk=xen loglevel=5 mitigations=off nopti panic=5 rdinit=/init random.trust_cpu=on nokaslr,$boot/initramfs.cpio" \
    < /dev/null > "$out/qemu.log" 2>&1 &
  pid=$!
  trap 'kill $pid 2> /dev/null' EXIT
  last=-1 heard=$SECONDS
  while kill -0 $pid 2> /dev/null; do
    sleep 1
    now=$(stat -c %s "$out/lab.log")
    if [ "$now" != "$last" ]; then
      last=$now heard=$SECONDS
    elif [ $((SECONDS - heard)) -gt "$silence" ]; then
      kill $pid
      wait $pid 2> /dev/null || true
      trap - EXIT
      return 2
    fi
  done
  trap - EXIT
  grep -q '^@lab done' "$out/lab.log"
}
