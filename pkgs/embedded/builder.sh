#!/bin/sh
# Runs the phases of a derivation of this set with the machine's own tools. Nix gives its attributes as
# environment variables.
# shellcheck disable=SC2154
export PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin
# Nix' own HOME must not exist, and nvcc would make it, so that no other build could begin beside this one.
export HOME="$NIX_BUILD_TOP" LC_ALL=C.UTF-8 SOURCE_DATE_EPOCH=315532800

if [ -n "${interpreter:-}" ] && ! command -v "$interpreter" >/dev/null; then
  echo "$name: no $interpreter here: with --impure the set takes the Python that this machine has, with --option sandbox false it sees it, and apt-get install $interpreter installs it" >&2
  exit 1
fi

# A log that stands still names what runs, and what it has written so far. The sleep is nobody's: it must not hold
# the log open after the build.
(
  while sleep 25 >/dev/null 2>&1 && kill -0 $$; do
    echo "$name: still running, $(du -sm . "$out" 2>/dev/null | awk '{ sum += $1 } END { print sum }') MB so far"
  done
) &
alive=$!
trap 'kill $alive 2>/dev/null || :' EXIT

for phase in preUnpack preConfigure preBuild buildCommand postInstall; do
  eval "script=\${$phase:-}"
  eval "$script"
done
