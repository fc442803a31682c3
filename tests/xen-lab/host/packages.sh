# The packages: fetched by apt, kept in $cache/packages-KEY, unpacked beside it. Nothing is installed.

# Names with versions, as apt knows them now; the kernel's metapackage becomes the kernel.
list_packages() {
  local kernel names
  kernel=$(apt-cache depends linux-image-amd64 2> /dev/null | awk '/Depends: linux-image-/ { print $2; exit }')
  names=$(sed -e 's/#.*//' -e "s/^linux-image-amd64$/$kernel/" "$lab/packages")
  # shellcheck disable=SC2086 # one word a package
  apt-cache policy $names | awk '/^[^ ]/ { name = $1; sub(":$", "", name) } /Candidate: [^(]/ { print name "=" $2 }'
}

# Sets $root: a folder with all packages unpacked.
fetch_packages() {
  local wanted key debs deb
  wanted=$(list_packages)
  if [ "$(grep -c '=.' <<< "$wanted")" != "$(grep -vcE '^(#.*)?$' "$lab/packages")" ]; then
    die "apt does not know every package of $lab/packages; run 'apt-get update', on Debian 12"
  fi
  key=$(sha256sum <<< "$wanted" | cut -c1-12)
  root=$cache/root-$key
  [ -e "$root/.complete" ] && return
  say "fetching $(wc -l <<< "$wanted") packages"
  debs=$cache/debs-$key
  rm -rf "$root"
  mkdir -p "$debs" "$root"
  # shellcheck disable=SC2086 # one word a package
  (cd "$debs" && apt-get download -q -o APT::Sandbox::User=root $wanted) > "$debs/log" 2>&1 || die "apt-get download failed: $(tail -1 "$debs/log")"
  for deb in "$debs"/*.deb; do
    dpkg-deb -x "$deb" "$root"
  done
  rm -rf "$debs"
  # What lies in the cache of an older set is not needed any more.
  find "$cache" -maxdepth 1 \( -name 'root-*' -o -name 'boot-*' \) ! -name "*-$key*" -exec rm -rf {} +
  touch "$root/.complete"
}
