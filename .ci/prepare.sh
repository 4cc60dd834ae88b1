# shellcheck shell=sh
# What ./run check and ./run lint begin with: Nix, the embedded package set, compilers, and .venv with this
# repository's command line and all that its tests use. Read by .ci/check and .ci/lint.

root=$(cd "$(dirname "$0")/.." && pwd -P)
cd "$root" || exit
# shellcheck source=bootstrap/load.sh
. bootstrap/load.sh

prepare() {
  python_is_here 3.11 || case $(apt_version python3) in
    3.11.*) ;;
    *) fail "the tests are for Python 3.11, which neither this machine nor its apt-get has as python3: run them on Debian 12, in a container for instance" ;;
  esac
  ensure_nix
  configure_nix
  prepare_embedded
  # The tests evaluate purely, which is for this one.
  python=python3.11
  if ! command -v shellcheck >/dev/null || ! command -v gcc >/dev/null || ! command -v aarch64-linux-gnu-gcc >/dev/null || ! "$python" -c 'import ensurepip' 2>/dev/null; then
    is_debian || fail "the checks need shellcheck, gcc, one for aarch64 and Python's venv: install them, then run this again"
    apt_install shellcheck gcc g++ gcc-aarch64-linux-gnu libc6-dev binutils python3-venv
  fi
  # A sample of a build over pkgs/source is among the tests.
  prepare_compiler
  say "what the tests use, into .venv"
  "$python" -m venv .venv
  .venv/bin/pip install --quiet --disable-pip-version-check --editable 'pyhelpers[test]'
}
