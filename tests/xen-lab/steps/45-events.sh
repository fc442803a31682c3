# limit: 600
# What Xen offers on this processor, one event after the other; docs/xen.md has the same table.
code=0
xenlab events "$LAB/xen.md" > events.md || code=$?
cat events.md
[ "$code" != 77 ] || skip "$(tail -1 events.md)"
fact events "$(grep -c '| done |' events.md) of $(grep -c '^| [a-z]' events.md) can be switched on"
[ "$code" = 0 ] || fail "docs/xen.md has another table than events.md in the results"
