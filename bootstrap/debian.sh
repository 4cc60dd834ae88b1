# shellcheck shell=sh
# Packages of Debian and Ubuntu, for what the machine lacks.

as_root() {
  if [ "$(id -u)" = 0 ]; then
    "$@"
  elif command -v sudo >/dev/null; then
    sudo "$@"
  else
    fail "needs root to run '$*', and there is no sudo: run it as root, then ./run again"
  fi
}

is_debian() { command -v apt-get >/dev/null && [ -r /etc/os-release ]; }

apt_update() {
  [ -n "${apt_updated:-}" ] || as_root apt-get update -qq || fail "apt-get update failed: check the network and the package sources"
  apt_updated=1
}

# The version that apt would install, or nothing.
apt_version() { apt-cache policy "$1" 2>/dev/null | awk '/Candidate:/ && $2 != "(none)" { print $2 }'; }

# Nothing that is there is ever removed for it.
apt_install() {
  say "installing with apt-get: $*"
  apt_update
  as_root env DEBIAN_FRONTEND=noninteractive apt-get install -y -qq --no-remove --no-install-recommends \
    "$@" >/dev/null || fail "apt-get could not install $*: see its message above"
}
