# limit: 600
# Guests of ours boot by PVH, do on Xen what they are written to do, and power off.
for guest in demo trace; do
  start_guest "$guest"
  until_true 200 ended "$guest"
  case $(state "$guest") in *c*) fail "$guest crashed: $(xl dmesg | grep 'unexpected exception' | tail -1)" ;; esac
done
