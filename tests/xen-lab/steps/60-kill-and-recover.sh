# limit: 600
# A service that is killed under load leaves a guest that stands: its own counter does not move. 'recover', which systemd
# runs then, lets it go on; and a service that was started again watches it from then on.
needs_xen
start_guest trace-forever paused
cat > introspect.yaml << END
domains:
  - match: trace-*
    events:
      control_registers: [cr0, cr3, cr4]
      cpuid: true
sinks:
  json_file: $PWD/service.ndjson
END
introspect run --config introspect.yaml 2> killed.log &
pid=$!

# The emulator has one processor for both: beside a guest that runs already the program would start for minutes.
until_true 120 grep -q "is watched" killed.log
xl unpause trace-forever
until_true 120 test -s service.ndjson
kill -9 "$pid"
wait "$pid" || true
xenlab stands trace-forever

# One that is started before the guest was recovered says what to do, and goes on by itself afterwards.
: > service.ndjson
introspect run --config introspect.yaml 2> restarted.log &
pid=$!
until_true 120 grep -q "introspect recover" restarted.log
introspect recover trace-forever
until_true 120 test -s service.ndjson
fact "service killed" "after recovery and restart $(xenlab goes-on trace-forever)"
kill -9 "$pid"
wait "$pid" || true
xenlab stands trace-forever
introspect recover trace-forever
fact "service killed" "after recovery alone $(xenlab goes-on trace-forever)"
