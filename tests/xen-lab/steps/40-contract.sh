# limit: 600
# What every implementation of the seam keeps, checked on Xen with guests of ours.
code=0
xenlab contract > contract.txt || code=$?
cat contract.txt
[ "$code" != 77 ] || skip "$(tail -1 contract.txt)"
fact contract "$(tail -1 contract.txt)"
[ "$code" = 0 ] || fail "$(grep ^broken contract.txt | head -1)"
