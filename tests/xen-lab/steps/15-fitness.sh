# limit: 300
# The program in a dom0 of 512 MiB: its size on disk, how long it takes to start, and the memory that it needs.
fact size "$(stat -c %s "$LAB/introspect/introspect" | awk '{ printf "%.1f MiB on disk, the runtime in it", $1 / 1048576 }')"
fact libraries "$(LD_TRACE_LOADED_OBJECTS=1 "$LAB/introspect/introspect" | awk '{ sub("/.*/", "", $1); printf "%s ", $1 }')"
for library in libicuuc libssl libcrypto; do
  [ -z "$(find / -xdev -name "$library*" | head -1)" ] || fail "dom0 has $library, so this would prove nothing"
done

for n in 1 2 3 4; do
  started=$(now)
  introspect version > version
  since "$started"
done > starts
fact start "first $(head -1 starts) s, then $(sed 1d starts | sort -n | sed -n 2p) s"

# The service without a domain to watch.
cat > introspect.yaml << END
domains:
  - match: nobody
    events:
      cpuid: true
END
started=$(now)
introspect run --config introspect.yaml 2> service.log &
pid=$!
until_true 120 wget -q -O metrics http://127.0.0.1:9660/metrics
fact service "$(since "$started") s until /metrics answers"
fact memory "$(awk '/^VmHWM/ { peak = $2 } /^VmRSS/ { now = $2 } /^RssAnon/ { own = $2 } END { printf "%.1f MiB resident, %.1f of them not of files; at most %.1f", now / 1024, own / 1024, peak / 1024 }' "/proc/$pid/status")"
fact dom0 "$(awk '/^MemTotal/ { total = $2 } /^MemAvailable/ { free = $2 } END { printf "%d of %d MiB available then", free / 1024, total / 1024 }' /proc/meminfo)"
kill "$pid"
wait "$pid"
