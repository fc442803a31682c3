# The hypervisor, its toolstack and the program are there.
xl info > info
fact xen "$(awk -F': ' '/^xen_version/ { print $2 }' info)"
fact dom0 "$(awk '/^MemTotal/ { printf "%d MiB", $2 / 1024 }' /proc/meminfo)"
xl list
introspect version
