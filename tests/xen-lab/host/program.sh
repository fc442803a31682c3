# The program and the lab's own tool, as they go into dom0.

# A project as one file with its runtime in it, compiled ahead. The artifacts are the lab's: the tree's own build stays as
# it is.
publish_one() {
  nice dotnet publish "$repository/$1" -c Release -r linux-x64 --self-contained -p:PublishSingleFile=true \
    -p:PublishReadyToRun=true -p:PublishReadyToRunComposite=false \
    --artifacts-path "$cache/artifacts" -o "$work/$2" -nodeReuse:false -v q --nologo 9>&- ||
    die "cannot publish $1"
}

publish() {
  say "publishing"
  mkdir -p "$work"
  # Compiled ahead: a dom0 has little time for a compiler, and an emulated one less. The runtime is so already.
  publish_one src/Introspect.Daemon introspect
  publish_one tests/Introspect.XenLab xenlab
}

# The disk of a run: the program, the tool, the guests, and the steps that match one of the patterns.
fill_disk() {
  local disk=$work/disk guest pattern step count=0
  rm -rf "$disk"
  mkdir -p "$disk"/{steps,guests,introspect,xenlab}
  cp "$work/introspect/introspect" "$disk/introspect/"
  cp "$work/xenlab/xenlab" "$disk/xenlab/"
  cp "$lab/dom0/main" "$lab/dom0/step" "$repository/docs/xen.md" "$disk/"
  for guest in $("$work/xenlab/xenlab" guests); do
    "$work/xenlab/xenlab" guest "$guest" "$disk/guests/$guest.elf"
  done
  for step in "$lab"/steps/*.sh; do
    for pattern in "$@"; do
      # shellcheck disable=SC2053 # a pattern
      if [[ $(basename "$step" .sh) == $pattern ]]; then
        cp "$step" "$disk/steps/"
        count=$((count + 1))
        break
      fi
    done
  done
  [ "$count" -gt 0 ] || die "no step matches $*; there are: $(cd "$lab/steps" && echo *.sh)"
  make_disk "$disk" "$work/disk.img"
  rm -rf "$disk"
}
