# limit: 90
# What the toolstack's own example does with a guest that asks CPUID in a loop: the yardstick for the program.
start_guest load
xen-access "$(xl domid load)" cpuid > access.txt 2>&1 &
pid=$!
until_true 20 grep -q -i cpuid access.txt
lines() { grep -c -i 'cpuid' access.txt; }
cpu() { awk '{ printf "%.2f", ($14 + $15) / 100 }' "/proc/$pid/stat"; }
first=$(lines) busy=$(cpu) started=$(now)
sleep 10
events=$(($(lines) - first)) seconds=$(since "$started") used=$(echo "$(cpu) $busy" | awk '{ print $1 - $2 }')
kill -INT $pid
wait $pid || true
head -5 access.txt
fact xen-access "$(echo "$events $seconds $used" | awk '{ printf "%.0f events/s, %.0f us of CPU an event", $1 / $2, $3 * 1e6 / $1 }')"
[ "$events" -gt 100 ] || fail "only $events events"
head -20 access.txt > access.head
rm access.txt
