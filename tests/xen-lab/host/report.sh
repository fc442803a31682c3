# What the protocol says, as a table, and as the run's exit code.

report() {
  local log=$work/lab.log
  if [ "$status" != 0 ] && ! grep -q '^@lab begin' "$log"; then
    echo "dom0 did not come up; the end of its console:"
    tail -20 "$work/console.log"
  fi
  awk '
    { sub("\r$", "") }
    $2 == "boot" { printf "%-28s %s s after power-on\n", "boot: " $3, $4; next }
    $2 == "begin" { running = $3; next }
    $2 == "fact" { name = $3; $1 = $2 = $3 = ""; sub("^ +", ""); facts[name] = facts[name] "    " $0 "\n"; next }
    $2 == "log" { name = $3; $1 = $2 = $3 = ""; sub("^ +", ""); logs[name] = logs[name] "    | " $0 "\n"; next }
    $2 == "pass" || $2 == "fail" || $2 == "skip" {
      order[++count] = $3; outcome[$3] = $2; took[$3] = $4
      running = ""; name = $3
      $1 = $2 = $3 = $4 = ""; sub("^ +", ""); why[name] = $0; next
    }
    $2 == "error" || $2 == "warn" { print; next }
    END {
      if (running != "") { order[++count] = running; outcome[running] = "fail"; took[running] = "-"; why[running] = "the machine ended in it" }
      printf "\n%-28s %-5s %8s  %s\n", "step", "", "seconds", ""
      for (i = 1; i <= count; i++) {
        s = order[i]
        printf "%-28s %-5s %8s  %s\n%s%s", s, outcome[s], took[s], why[s], facts[s], outcome[s] == "fail" ? logs[s] : ""
        total[outcome[s]]++
      }
      printf "\nxen-lab: %d passed, %d failed, %d skipped\n", total["pass"], total["fail"], total["skip"]
      exit total["fail"] > 0 || total["pass"] == 0
    }' "$log" || status=1
  [ "$attempts" = 1 ] || echo "QEMU hung once; this is the second try"
  [ "$status" = 0 ] || echo "logs: $work (console.log, lab.log, results)"
  say "done"
  [ "$status" = 0 ] || exit 1
}
