# limit: 600
# The service in dom0: a policy that denies what the guest tries, seen in its events, its metrics and the guest itself.
needs_xen
cat > introspect.yaml << END
domains:
  - match: demo-*
    deny_protection_clears: true
    events:
      control_registers: [cr4]
      cpuid: true
sinks:
  json_file: $PWD/events.ndjson
END
started=$(now)
introspect run --config introspect.yaml 2> service.log &
pid=$!
page() { wget -q -O metrics http://127.0.0.1:9660/metrics; }
metric() { page && grep -q "^$1\$" metrics; }
until_true 120 page
fact start "$(since "$started") s until /metrics answers"

# A service sees the guest from its first instruction on when it is made paused.
start_guest demo-forever paused
until_true 120 metric 'introspect_domain_attached{domain="demo-forever"} 1'
xl unpause demo-forever
until_true 120 metric 'introspect_rule_matches_total{domain="demo-forever",rule="protect-cr4"} [1-9][0-9]*'
wget -q -O health http://127.0.0.1:9660/healthz
[ "$(cat health)" = ok ] || fail "/healthz says: $(head -1 health)"
until_true 60 grep -q '"verdict":"deny"' events.ndjson
metric 'introspect_responses_total{domain="demo-forever",flag="deny"} [1-9][0-9]*' || fail "/metrics tells of no denial"
grep -E '^introspect_(events|rule_matches|responses)_total|^process_resident' metrics
fact rule "$(sed -n 's/^introspect_rule_matches_total{domain="demo-forever",rule="protect-cr4"} //p' metrics) writes denied; $(sed -n 's/^introspect_events_total{domain="demo-forever",reason="cpuid"} //p' metrics) CPUID seen"

# The bit that the guest tried to clear.
introspect regs demo-forever --json > regs.json
cr4=$(sed -n 's/.*"cr4": *"0x\([0-9a-f]*\)".*/\1/p' regs.json)
[ $((0x$cr4 >> 20 & 1)) = 1 ] || fail "CR4 of the guest is 0x$cr4: SMEP was cleared all the same"
fact cr4 "0x$cr4"
fact memory "$(awk '/^VmHWM/ { peak = $2 } /^VmRSS/ { now = $2 } /^RssAnon/ { own = $2 } END { printf "%.1f MiB resident, %.1f of them not of files; at most %.1f", now / 1024, own / 1024, peak / 1024 }' "/proc/$pid/status")"

kill "$pid"
wait "$pid" || fail "the service ended with $?: $(tail -1 service.log)"
case $(state demo-forever) in *p*) fail "the service left the guest paused" ;; esac
