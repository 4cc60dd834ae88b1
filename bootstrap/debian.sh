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

# What to do about an update that failed, by what it said.
apt_reason() {
  case $apt_said in
    *"Release file"*"is expired"*) printf %s "a mirror's list is too old (Release file expired): write another mirror into /etc/apt/sources.list or /etc/apt/sources.list.d, or set this machine's clock, if $(date +%F) is not today" ;;
    *"Release file"*"is not valid yet"*) printf %s "a mirror's list is of a later day than this machine's clock, which says $(date +%F): set the clock" ;;
    *) printf %s "check the network and the package sources" ;;
  esac
}

# with_progress COMMAND…: an apt-get whose APT::Status-Fd is its output, and how far that is. Sets `apt_said`, its
# messages, and shows them.
with_progress() {
  messages=$(mktemp)
  succeeded=
  { "$@" 2>"$messages" && echo succeeded; } | show_progress && succeeded=1
  apt_said=$(cat "$messages")
  rm -f "$messages"
  [ -z "$apt_said" ] || printf '%s\n' "$apt_said" >&2
  [ -n "$succeeded" ]
}

# One line of a terminal, and elsewhere a line every ten seconds.
show_progress() {
  shown=$(date +%s) ended=''
  while read -r status; do
    case $status in
      dlstatus:* | pmstatus:*) ;;
      *)
        ended=$status
        continue
        ;;
    esac
    percent=${status%:*}
    percent=${percent##*:}
    line="apt-get: ${percent%.*} %, ${status##*:}"
    if [ -t 2 ]; then
      printf '\r\033[K%.79s' "run: $line" >&2
    elif [ $(($(date +%s) - shown)) -ge 10 ]; then
      say "$line"
      shown=$(date +%s)
    fi
  done
  [ ! -t 2 ] || printf '\r\033[K' >&2
  [ "$ended" = succeeded ]
}

apt_update() {
  [ -z "${apt_updated:-}" ] || return 0
  say "fetching apt-get's lists of packages"
  with_progress as_root env LC_ALL=C apt-get update -qq -o APT::Status-Fd=1 || fail "apt-get update failed: $(apt_reason)"
  apt_updated=1
}

# The version that apt would install, or nothing.
apt_version() { apt-cache policy "$1" 2>/dev/null | awk '/Candidate:/ && $2 != "(none)" { print $2 }'; }

# Nothing that is there is ever removed for it.
apt_install() {
  apt_update
  options="-y -qq --no-remove --no-install-recommends"
  # shellcheck disable=SC2086
  size=$(apt-get install $options --print-uris "$@" 2>/dev/null | awk '{ sum += $3 } END { printf "%.0f", sum / 1e6 }')
  say "installing with apt-get: $*; to fetch: $size MB"
  # shellcheck disable=SC2086
  with_progress as_root env LC_ALL=C DEBIAN_FRONTEND=noninteractive apt-get install $options -o APT::Status-Fd=1 \
    "$@" || fail "apt-get could not install $*: see its message above"
}
