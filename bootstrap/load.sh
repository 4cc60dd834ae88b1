# shellcheck shell=sh
# All of bootstrap/, for ./run and .ci/: what brings a machine to where Nix builds. $root is the clone's directory.

say() { printf 'run: %s\n' "$*" >&2; }
fail() {
  say "$@"
  exit 2
}

: "${root:?}"
# shellcheck source=bootstrap/debian.sh
. "$root/bootstrap/debian.sh"
# shellcheck source=bootstrap/nix.sh
. "$root/bootstrap/nix.sh"
# shellcheck source=bootstrap/embedded.sh
. "$root/bootstrap/embedded.sh"
# shellcheck source=bootstrap/package_set.sh
. "$root/bootstrap/package_set.sh"
