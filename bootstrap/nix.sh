# shellcheck shell=sh disable=SC2154
# A Nix that is new enough, and its settings: what is called from elsewhere is ensure_nix and configure_nix.

# version_at_least 2.18 2.26.3
version_at_least() { [ "$(printf '%s\n%s\n' "$1" "$2" | sort -V | head -n 1)" = "$1" ]; }

nix_is_new_enough() {
  command -v nix >/dev/null && version_at_least 2.18 "$(nix --version | sed 's/.* //')"
}

nix_is_offered() {
  offered=$(apt_version nix-bin)
  version_at_least 2.18 "${offered:-0}"
}

# Debian's mirrors of apt's sources, those first that apt knows to be Debian's. Their names stand there
# before any list has been fetched.
debian_mirrors() {
  apt-get indextargets --format "\$(SITE)|\$(RELEASE)|\$(CODENAME)|\$(ORIGIN)" "Created-By: Packages" |
    awk -F '|' -v code="$1" '$2 == code || $3 == code { print ($4 != "Debian") "|" $1 }' | sort -u | cut -d '|' -f 2
}

# private_apt DIRECTORY ARGUMENT…: apt-get with this machine's configuration, and with sources and a state of
# its own in which no package is installed.
private_apt() {
  directory=$1
  shift
  LC_ALL=C apt-get -qq -o APT::Status-Fd=1 -o "Dir::State=$directory/state" -o "Dir::State::status=$directory/status" \
    -o "Dir::Cache=$directory/cache" \
    -o "Dir::Etc::sourcelist=$directory/sources.list" -o Dir::Etc::sourceparts=/dev/null \
    -o Dir::Etc::preferences=/dev/null -o Dir::Etc::preferencesparts=/dev/null -o APT::Default-Release= \
    -o APT::Sandbox::User=root -o Acquire::Languages=none "$@"
}

# fetch_trixie DIRECTORY PACKAGE: the package and all that it needs, libc6 included, into DIRECTORY/cache/archives.
fetch_trixie() {
  mkdir -p "$1/state/lists/partial" "$1/cache/archives/partial"
  : >"$1/status"
  for mirror in $(debian_mirrors bookworm); do
    say "unpacking Debian 13's Nix into .nix, from $mirror: 39 MB, and the system stays as it is"
    printf 'deb [arch=%s signed-by=/usr/share/keyrings/debian-archive-keyring.gpg] %s trixie main\n' \
      "$(dpkg --print-architecture)" "$mirror" >"$1/sources.list"
    with_progress private_apt "$1" update &&
      with_progress private_apt "$1" install -y --download-only --no-install-recommends "$2" && return
  done
  return 1
}

# Debian 12's Nix is too old for today's nixpkgs, and installing Debian 13's would bring that release's libc6 and
# upgrade or remove half of the system. So it is unpacked, with the libraries that it needs, and started by its own
# loader; LD_LIBRARY_PATH would reach git and the builders. In a subshell, for its traps.
make_private_nix() (
  making=$(mktemp -d "$root/.nix-XXXXXX") || fail "Nix is unpacked into this clone, which $(id -un) cannot write to"
  trap 'rm -rf "$making"' EXIT
  trap 'exit 130' HUP INT TERM
  fetch_trixie "$making" nix-bin ||
    fail "apt could not fetch Debian 13's nix-bin: $(apt_reason), or install Nix 2.18 or later as https://nixos.org/download says"
  for package in "$making"/cache/archives/*.deb; do
    dpkg-deb --extract "$package" "$making/unpacked"
  done
  # Not all of it: there are programs among it that would run as root.
  mkdir -p "$making/nix/bin" "$making/nix/lib"
  mv "$making"/unpacked/usr/lib/*-linux-gnu/*.so* "$making/unpacked/usr/bin/nix" "$making/unpacked/usr/bin/bash-static" "$making/nix/lib"
  # nix-store and the like are links to nix, which looks at its name.
  mv "$making"/unpacked/usr/bin/nix-* "$making/nix/bin"
  cat >"$making/nix/bin/nix" <<'WRAPPER'
#!/bin/sh
base=${0%/bin/*}
# Where Nix looks for its own helpers, whose names it would else take from the loader's.
export NIX_BIN_DIR="$base/bin"
exec "$base"/lib/ld-linux-*.so.* --argv0 "${0##*/}" --library-path "$base/lib" "$base/lib/nix" "$@"
WRAPPER
  chmod 755 "$making/nix/bin/nix"
  # What an older Debian or a moved disk has left.
  rm -rf "$root/.nix"
  mv -T "$making/nix" "$root/.nix"
)

# True if it is there and runs.
use_private_nix() {
  [ -x "$root/.nix/bin/nix" ] || return 1
  PATH=$root/.nix/bin:$PATH
  nix_is_new_enough
}

have_nix() { nix_is_new_enough || use_private_nix; }

# Whose the store is and who can make one, before anything is installed. Nix reads NIX_STATE_DIR too.
check_store() {
  state=${NIX_STATE_DIR:-/nix/var/nix}
  [ ! -S "$state/daemon-socket/socket" ] || return 0
  if [ ! -e "$state" ]; then
    can_be_root || fail "Nix needs /nix, which root alone can make, and there is no sudo: let root run 'install -d -m 0755 -o $(id -u) -g $(id -g) /nix', then ./run again"
  elif [ ! -w "$state" ]; then
    owner=$(stat -c %U "$state")
    if can_be_root; then
      fail "the Nix store is $owner's, and no Nix daemon runs: start it (sudo systemctl start nix-daemon), or run this as $owner"
    fi
    fail "the Nix store is $owner's, no Nix daemon runs, and there is no sudo: let root start the daemon (systemctl start nix-daemon), or run this as $owner"
  fi
}

ensure_nix() {
  check_store
  have_nix && return
  official="install Nix 2.18 or later as https://nixos.org/download says, then run this again"
  is_debian || fail "Nix is missing or older than 2.18, and this is neither Debian nor Ubuntu: $official"
  # shellcheck source=/dev/null
  codename=$(. /etc/os-release && printf %s "${VERSION_CODENAME:-}")
  [ "$codename" = bookworm ] || apt_update
  if nix_is_offered; then
    apt_install nix-bin
  elif [ "$codename" = bookworm ]; then
    make_private_nix
    use_private_nix || :
  else
    fail "this release's Nix is ${offered:-missing}, older than 2.18: $official"
  fi
  nix_is_new_enough || fail "Nix is still older than 2.18: $official"
}

# Settings for this process alone; no file is changed. The cache of evaluations remembers that there was
# an error and not which: https://github.com/NixOS/nix/issues/3872
configure_nix() {
  NIX_CONFIG="${NIX_CONFIG:-}
extra-experimental-features = nix-command flakes
warn-dirty = false
eval-cache = false
accept-flake-config = true"
  # Without a daemon there are no build users unless somebody made them.
  if [ ! -S /nix/var/nix/daemon-socket/socket ]; then
    getent group nixbld >/dev/null || NIX_CONFIG="$NIX_CONFIG
build-users-group ="
    configure_private_nix
    if [ ! -e /nix/var/nix ]; then
      say "making /nix for $(id -un), as Nix' single-user installation does"
      as_root install -d -m 0755 -o "$(id -u)" -g "$(id -g)" /nix
      # Without this one Nix takes a store under the home directory, where nothing finds what it is built with:
      # https://github.com/NixOS/nix/pull/6714
      mkdir -p /nix/var/nix
    fi
  fi
  export NIX_CONFIG
}

# Debian's Nix shows its sandboxes this shell, by a path where the private one has none.
configure_private_nix() {
  case $(command -v nix) in
    "$root/.nix/bin/nix") ;;
    *) return 0 ;;
  esac
  case $root in
    # The setting is a list with spaces between its members.
    *[[:space:]]*) NIX_CONFIG="$NIX_CONFIG
sandbox = false" ;;
    *) NIX_CONFIG="$NIX_CONFIG
sandbox-paths = /bin/sh=$root/.nix/lib/bash-static" ;;
  esac
}
