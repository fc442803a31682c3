# The packages: fetched by apt, kept in $cache/packages-KEY. Nothing is installed.

# Names with versions, as apt knows them now; the kernel's metapackage becomes the kernel.
list_packages() {
  local kernel names
  kernel=$(apt-cache depends linux-image-amd64 2> /dev/null | awk '/Depends: linux-image-/ { print $2; exit }')
  names=$(sed -e 's/#.*//' -e "s/^linux-image-amd64$/$kernel/" "$lab/packages")
  # shellcheck disable=SC2086 # one word a package
  apt-cache policy $names | awk '/^[^ ]/ { name = $1; sub(":$", "", name) } /Candidate: [^(]/ { print name "=" $2 }'
}

# Sets $packages: a folder with the packages, of the versions that apt has now.
fetch_packages() {
  local wanted part
  wanted=$(list_packages)
  if [ "$(grep -c '=.' <<< "$wanted")" != "$(grep -vcE '^(#.*)?$' "$lab/packages")" ]; then
    die "apt does not know every package of $lab/packages; run 'apt-get update', on Debian 12"
  fi
  packages=$cache/packages-$(sha256sum <<< "$wanted" | cut -c1-12)
  [ -d "$packages" ] && return
  say "fetching $(wc -l <<< "$wanted") packages"
  part=$cache/packages.part
  rm -rf "$part" "$cache"/packages-*
  mkdir -p "$part"
  # shellcheck disable=SC2086 # one word a package
  (cd "$part" && apt-get download -q -o APT::Sandbox::User=root $wanted) > "$cache/packages.log" 2>&1 ||
    die "apt-get download failed: $(tail -1 "$cache/packages.log")"
  mv "$part" "$packages"
}

# Unpacks the packages into a folder; of the kernel's, which is large, the kernel and the modules that dom0 loads.
unpack_packages() {
  local package module wanted=('./boot/vmlinuz-*')
  mkdir -p "$1"
  while read -r module; do
    wanted+=("*/$module.ko")
  done < "$lab/dom0/modules"
  for package in "$packages"/*.deb; do
    case $package in
      */linux-image-*) dpkg-deb --fsys-tarfile "$package" | tar -x -C "$1" --wildcards "${wanted[@]}" ;;
      *) dpkg-deb -x "$package" "$1" ;;
    esac
  done
}
