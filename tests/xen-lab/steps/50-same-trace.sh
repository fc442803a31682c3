# limit: 300
# The same guest with the same options on Xen and on the core: two traces, equal event by event.
needs_xen
# int3 and XCR0 are what the lab's emulator does not deliver; EFER kills a guest on SVM.
options="--cr --msr sysenter_cs,sysenter_esp,sysenter_eip,pat,star,lstar,cstar,fmask,fs_base,gs_base,kernel_gs_base --cpuid --desc --debug --guest-request"
start_guest trace paused
# shellcheck disable=SC2086 # one word an option
introspect trace trace --unpause $options --json --registers --lossless > xen.ndjson
# shellcheck disable=SC2086 # one word an option
introspect trace --kernel "$LAB/guests/trace.elf" --memory 16 --vendor svm $options --json --registers --lossless > core.ndjson
code=0
xenlab compare core.ndjson xen.ndjson > comparison || code=$?
cat comparison
for count in $(grep ' equal$' comparison | tr ' ' -); do
  fact equal "$(echo "$count" | awk -F- '{ print $1, $2 }')"
done
[ "$code" = 0 ] || fail "$(grep ^different comparison | head -1)"
