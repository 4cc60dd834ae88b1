# shellcheck shell=sh
# Packages of Debian and Ubuntu, for what the machine lacks.

as_root() {
  if [ "$(id -u)" = 0 ]; then
    "$@"
  elif command -v sudo >/dev/null; then
    sudo "$@"
  else
    fail "needs root to run '$*', and there is no sudo: let root run it, then ./run again"
  fi
}

can_be_root() { [ "$(id -u)" = 0 ] || command -v sudo >/dev/null; }

is_debian() { command -v apt-get >/dev/null && [ -r /etc/os-release ]; }

# apt_reason MESSAGES: what to do about an update that failed.
apt_reason() {
  case $(cat "$1") in
    *"Release file"*"is expired"*) printf %s "a mirror's list is too old (Release file expired): write another mirror into /etc/apt/sources.list or /etc/apt/sources.list.d, or set this machine's clock, if $(date +%F) is not today" ;;
    *"Release file"*"is not valid yet"*) printf %s "a mirror's list is of a later day than this machine's clock, which says $(date +%F): set the clock" ;;
    *) printf %s "check the network and the package sources" ;;
  esac
}

apt_update() {
  [ -z "${apt_updated:-}" ] || return 0
  messages=$(mktemp)
  problem=
  as_root env LC_ALL=C apt-get update -qq 2>"$messages" || problem=$(apt_reason "$messages")
  cat "$messages" >&2
  rm -f "$messages"
  [ -z "$problem" ] || fail "apt-get update failed: $problem"
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
