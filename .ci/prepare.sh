# shellcheck shell=sh
# What ./run check and ./run lint begin with: Nix, the embedded package set, compilers, and .venv with this
# repository's command line and all that its tests use. Read by .ci/check and .ci/lint.

root=$(cd "$(dirname "$0")/.." && pwd -P)
cd "$root" || exit
# shellcheck source=bootstrap/load.sh
. bootstrap/load.sh

prepare() {
  check_python ""
  ensure_nix
  configure_nix
  prepare_embedded
  # Evaluated purely, as most tests do it, the set is for this one. Where there is none they look for the machine's.
  ! python_is_here 3.11 || python=python3.11
  if ! command -v shellcheck >/dev/null || ! command -v gcc >/dev/null || ! command -v aarch64-linux-gnu-gcc >/dev/null || ! "$python" -c 'import ensurepip' 2>/dev/null; then
    is_debian || fail "the checks need shellcheck, gcc, one for aarch64 and Python's venv: install them, then run this again"
    apt_install shellcheck gcc g++ gcc-aarch64-linux-gnu libc6-dev binutils "$python-venv"
  fi
  # A sample of a build over pkgs/source is among the tests.
  prepare_compiler
  say "what the tests use, into .venv"
  "$python" -m venv .venv
  .venv/bin/pip install --quiet --disable-pip-version-check --editable 'pyhelpers[test]'
}
