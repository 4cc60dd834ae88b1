"""The README's commands, and what they say where something is missing; .ci/releases.py reads this too."""

import re
from pathlib import Path

README = (Path(__file__).resolve().parents[2] / "README.md").read_text(encoding="utf-8")
COMMANDS = re.findall(
    r"^    ((?:nix|\./run|(?:result|venv)/bin/(?:python|pip|make-venv)|pytorch-variants) .+?)(?: +# .*)?$",
    README,
    re.MULTILINE,
)
# It runs the tests.
CHECK = "./run check"
# What a command says on a machine without what it asks for, all of it in one line.
WITHOUT = {
    "nix run .#verify-pytorch-sm90-avx512": "no GPU",
    "nix run .#cli -- plan pytorch": "the locked nixpkgs is neither in the store nor to be reached",
    "nix run .#cli -- lock update": "nixpkgs",
}
# A finding: the embedded set has nothing for such a machine.
FOUND = {"./run cli detect": "problem the official wheel is built for CUDA"}
[UNDOING] = re.findall(r"^## Undoing it\n\nIn the clone:\n\n((?:    .*\n)+)", README, re.MULTILINE)
