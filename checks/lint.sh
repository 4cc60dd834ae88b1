#!/bin/sh
# The linters of Nix files, over the tree of the working directory.
set -eu
find . -name '*.nix' -not -path './.*' -exec nixfmt --check {} +
statix check .
# Some names are in a pattern to be passed on, or to be accepted.
deadnix --fail --no-lambda-pattern-names .
