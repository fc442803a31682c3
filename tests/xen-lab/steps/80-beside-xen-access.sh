# limit: 900
# The same guest, the same load, the same kind of file: the program and the toolstack's own example in turns.
needs_xen
start_guest load
code=0
xenlab beside load 2 > beside.txt || code=$?
cat beside.txt
while read -r line; do
  fact "${line%%:*}" "${line#*: }"
done < beside.txt
[ "$code" = 0 ] || fail "$(tail -1 beside.txt)"
