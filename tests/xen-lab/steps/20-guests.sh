# Guests of ours boot by PVH and run.
for guest in demo trace; do
  start_guest "$guest"
  until_true 20 ended "$guest" || true
  xl list -v
  cat "/var/log/xen/console/guest-$guest.log" || true
done
