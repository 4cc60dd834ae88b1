# shellcheck shell=sh disable=SC2154
# What the package sets of pkgs want of the machine: its Python and pip, and to compile a compiler.

# url_path PATH: the path as it stands in a flake reference.
url_path() {
  case $1 in
    *[!A-Za-z0-9/._~+-]*) printf %s "$1" | od -A n -v -t x1 | tr -d ' \n' | sed 's/../%&/g; s/%2f/\//g' ;;
    *) printf %s "$1" ;;
  esac
}

python_is_here() { [ -e "/usr/local/bin/python$1" ] || [ -e "/usr/bin/python$1" ]; }

# check_python [VARIANT]: of the Pythons that wheels are pinned for, the machine has one or apt-get does; of a
# variant that names one it is this.
check_python() {
  pinned=$(sed -n '/^  "pythons": \[$/,/\]/s/.*"\(3[.][0-9]*\)".*/\1/p' "$root/pkgs/embedded/wheels.json")
  named=$(echo "${1:-}" | sed -n 's/.*-python3\([0-9][0-9]*\)-.*/3.\1/p')
  case " $(echo "$pinned" | tr '\n' ' ')" in
    *" ${named:-none} "*)
      python_is_here "$named" || fail "$1: this machine has no python$named: apt-get install python$named python3-pip, where this release has it, or leave it out of the name"
      return
      ;;
  esac
  for version in $pinned; do
    ! python_is_here "$version" || return 0
  done
  needed="the embedded package set needs one of Python $(echo "$pinned" | paste -s -d , | sed 's/,/, /g') with pip"
  is_debian || fail "$needed in /usr/bin or /usr/local/bin: install one, then run this again"
  offered=$(apt_version python3)
  [ -n "$offered" ] || {
    apt_update
    offered=$(apt_version python3)
  }
  others=
  for version in $pinned; do
    case $offered in "$version".*) return 0 ;; esac
    [ -z "$(apt_version "python$version")" ] || others="python$version python3-pip"
  done
  [ -z "$others" ] || fail "$needed, and this release's python3 is $offered: apt-get install $others, then run this again"
  fail "$needed, and this release has Python ${offered:-none} alone: run this in a container of Debian 12 or 13"
}

# Prints the program of the Python that the set takes by itself, python3.11 or another.
embedded_python() { nix eval --impure --raw "$nixpkgs#python3.interpreter" 2>/dev/null; }

# Sets `nixpkgs` and `python`. The set builds outside Nix' sandbox, which would hide the machine's Python
# and pip, and looks for them when it is evaluated, which is impure.
prepare_embedded() {
  nixpkgs=path:$(url_path "$root/pkgs/embedded")
  NIX_CONFIG="$NIX_CONFIG
sandbox = false
substitute = false"
  user_config=${XDG_CONFIG_HOME:-${HOME:-/root}/.config}/pip/pip.conf
  [ -n "${PIP_CONFIG_FILE:-}" ] || [ ! -e "$user_config" ] || export PIP_CONFIG_FILE="$user_config"
  has_python && return
  check_python ""
  is_debian || fail "$python has no pip: $python -m ensurepip, then run this again"
  apt_install python3 python3-pip
  has_python || fail "${python:-python3} has no pip: $python -m ensurepip, then run this again"
}

has_python() { python=$(embedded_python) && "$python" -m pip --version >/dev/null 2>&1; }

# follow ARGUMENT…: `nix build` of a derivation, and how far it is; by the machine's own Python, since nothing else is
# there when it begins.
follow() { PYTHONPATH=$root/pyhelpers/src "$python" -B -m pytorch_variants.follow "$@"; }

# The set that compiles is the embedded one and more, and wants a compiler.
prepare_source() {
  prepare_embedded
  nixpkgs="path:$(url_path "$root/pkgs")?dir=source"
  prepare_compiler
}

prepare_compiler() {
  if ! command -v c++ >/dev/null || ! command -v patch >/dev/null || ! command -v xz >/dev/null ||
    ! "$python" -c 'import os, sysconfig; os.stat(sysconfig.get_path("include") + "/Python.h")' 2>/dev/null; then
    is_debian || fail "compiling needs a C++ compiler, patch, xz and the headers of $python: install them, then run this again"
    apt_install g++ patch xz-utils "$python-dev"
  fi
}
