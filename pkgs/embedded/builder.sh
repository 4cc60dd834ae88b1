#!/bin/sh
# Runs the phases of a derivation of this set with the machine's own tools. Nix gives its attributes as
# environment variables.
# shellcheck disable=SC2154
export PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin
# Nix' own HOME must not exist, and nvcc would make it, so that no other build could begin beside this one.
export HOME="$NIX_BUILD_TOP" LC_ALL=C.UTF-8 SOURCE_DATE_EPOCH=315532800
# Nix says that its log is a terminal with colours.
export TERM=dumb NO_COLOR=1

if [ -n "${interpreter:-}" ] && ! command -v "$interpreter" >/dev/null; then
  echo "$name: no $interpreter here: with --impure the set takes the Python that this machine has, with --option sandbox false it sees it, and apt-get install $interpreter installs it" >&2
  exit 1
fi

# phase NAME: what is done from here on, for Nix' own progress and for ./run's.
phase() { echo "@nix {\"action\":\"setPhase\",\"phase\":\"$1\"}"; }

# follow_download: from here on, how many bytes of $size are there.
follow_download() {
  echo "@nix {\"action\":\"start\",\"id\":1,\"level\":3,\"type\":101,\"text\":\"fetching $name\",\"fields\":[]}"
  while sleep 0.5 >/dev/null 2>&1; do
    echo "@nix {\"action\":\"result\",\"id\":1,\"type\":105,\"fields\":[$(du -sb . | cut -f 1),$size,0,0]}"
  done &
  background="$background $!"
}

# A log that stands still names what runs, and what it has written so far. The sleep is nobody's: it must not hold
# the log open after the build.
(
  while sleep 25 >/dev/null 2>&1 && kill -0 $$; do
    echo "$name: still running, $(du -sm . "$out" 2>/dev/null | awk '{ sum += $1 } END { print sum }') MB so far"
  done
) &
background=$!
trap 'kill $background 2>/dev/null || :' EXIT

for phase in preUnpack preConfigure preBuild buildCommand postInstall; do
  eval "script=\${$phase:-}"
  eval "$script"
done
