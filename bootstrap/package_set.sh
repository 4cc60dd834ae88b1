# shellcheck shell=sh disable=SC2034,SC2154
# Which package set: nixpkgs, or one of pkgs.

# Remembered: where there is no network, the answer takes seconds.
nixpkgs_answers() {
  [ -n "${answers:-}" ] || {
    say "package set: asking whether nixpkgs can be reached, 8 s at most"
    answers=$(timeout 8 git ls-remote https://github.com/NixOS/nixpkgs refs/heads/nixos-unstable 2>/dev/null || echo no)
  }
  [ "$answers" != no ]
}

# prepare_package_set [PACKAGE SET [VARIANT]]: Nix and the package set; what neither this machine nor apt-get has
# is said before anything is installed.
prepare_package_set() {
  case ${1:-} in
    "") have_nix || nixpkgs_answers || check_python "${2:-}" ;;
    embedded | source) check_python "${2:-}" ;;
  esac
  ensure_nix
  configure_nix
  choose_package_set "${1:-}"
}

# Sets `nixpkgs`, a flake reference, or nothing for what flake.lock pins, and says why.
choose_package_set() {
  reason="asked for" nixpkgs='' embedded='' own=''
  case $1 in
    locked) ;;
    embedded) embedded=1 ;;
    source) own=1 ;;
    "")
      if nix eval --offline "$root#lib" --apply "lib: 0" >/dev/null 2>&1; then
        reason="the locked nixpkgs is in the store"
      elif nixpkgs_answers; then
        reason="the locked nixpkgs can be reached"
      else
        embedded=1 reason="the locked nixpkgs is not in the store and cannot be reached within seconds"
      fi
      ;;
    *)
      [ -e "$1/default.nix" ] || fail "--nixpkgs $1: no nixpkgs there: write locked, embedded, source or the path of a nixpkgs"
      nixpkgs=path:$(url_path "$(cd "$1" && pwd)")
      ;;
  esac
  if [ -n "$embedded" ]; then
    say "package set: pkgs/embedded, the official wheel with its GPU code cut down ($reason)"
    prepare_embedded
    # Most of it is fetched, and what is fetched can be unpacked meanwhile.
    NIX_CONFIG="$NIX_CONFIG
max-jobs = 4"
  elif [ -n "$own" ]; then
    say "package set: pkgs/source, PyTorch 2.6 compiled from Debian's source ($reason), which takes hours"
    prepare_source
  elif [ -n "$nixpkgs" ]; then
    say "package set: $1 ($reason); PyTorch is compiled, which takes hours"
  else
    say "package set: nixpkgs as flake.lock pins it ($reason), with the CUDA cache of flake.nix; PyTorch is compiled, which takes hours"
  fi
}
