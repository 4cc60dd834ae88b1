# shellcheck shell=sh disable=SC2154
# What the package sets of pkgs want of the machine: its Python and pip, and to compile a compiler.

# url_path PATH: the path as it stands in a flake reference.
url_path() {
  case $1 in
    *[!A-Za-z0-9/._~+-]*) printf %s "$1" | od -A n -v -t x1 | tr -d ' \n' | sed 's/../%&/g; s/%2f/\//g' ;;
    *) printf %s "$1" ;;
  esac
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
  pinned=$(nix eval --raw "$nixpkgs#pins.pythons" --apply 'pythons:
    builtins.concatStringsSep ", " (map (builtins.replaceStrings [ "python3" ] [ "3." ]) (builtins.attrNames pythons))')
  is_debian || fail "the embedded package set needs Python with pip, one of $pinned: install one, then run this again"
  apt_install python3 python3-pip
  has_python || fail "the embedded package set needs one of Python $pinned with pip, and this release's python3 is none: install one, then run this again"
}

has_python() { python=$(embedded_python) && "$python" -m pip --version >/dev/null 2>&1; }

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
