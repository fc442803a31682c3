# limit: 120
# The program in a dom0 of 512 MiB: its size on disk, how long it takes to start, and the memory that it needs.
fact size "$(stat -c %s "$LAB/introspect/introspect" | awk '{ printf "%.1f MiB on disk, the runtime in it", $1 / 1048576 }')"
fact libraries "$(LD_TRACE_LOADED_OBJECTS=1 "$LAB/introspect/introspect" | awk '{ printf "%s ", $1 }')"
introspect version > cold
for n in 1 2 3; do
  /bin/busybox time -v "$LAB/introspect/introspect" version > version 2> time
  awk -F': ' '/Maximum resident/ { kib = $2 } /Elapsed/ { sub(".*:", "", $NF); s = $NF } END { printf "%s s, at most %.1f MiB resident\n", s, kib / 1024 }' time
done > starts
fact start "$(sort starts | sed -n 2p)"
# No ICU and no OpenSSL: dom0 has neither, and the program says so by running.
for library in libicuuc libssl libcrypto; do
  [ -z "$(find / -xdev -name "$library*" | head -1)" ] || fail "dom0 has $library: this proves nothing"
done
fact free "$(awk '/^MemAvailable/ { printf "%d MiB of dom0 available", $2 / 1024 }' /proc/meminfo)"
