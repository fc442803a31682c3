# limit: 120
# A monitor that is killed under load leaves a guest that stands; 'recover' lets it go on.
needs_xen
start_guest trace-forever
introspect trace trace-forever --cr --cpuid --json > killed.ndjson 2>&1 &
pid=$!
until_true 30 test -s killed.ndjson
kill -9 "$pid"
wait "$pid" || true
introspect recover trace-forever
before=$(busy_seconds trace-forever)
sleep 3
after=$(busy_seconds trace-forever)
fact guest "ran $(echo "$after $before" | awk '{ printf "%.1f", $1 - $2 }') s of 3 after recovery"
echo "$after $before" | awk '{ exit !($1 - $2 > 0.2) }' || fail "the guest stands"
introspect trace trace-forever --cpuid --count 10 > again
