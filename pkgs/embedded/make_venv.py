"""Make a virtual environment beside this PyTorch, in which pip keeps it: make-venv DIRECTORY.

Its Python imports what this environment has, by a .pth file, and what pip installs there counts first. Its
pip.conf names this environment's constraints, so that no package brings another torch, nor a torchvision for
another one.
"""

import os
import sys
import venv
from pathlib import Path


def main() -> None:
    if len(sys.argv) != 2 or sys.argv[1].startswith("-"):
        sys.exit("make-venv: write the directory of the new virtual environment, as in make-venv venv")
    directory = Path(sys.argv[1])
    if os.path.lexists(directory):
        sys.exit(f"make-venv: {directory} is there: write another directory, or remove it")
    try:
        import ensurepip  # noqa: F401
    except ImportError:
        python = f"python3.{sys.version_info.minor}"
        sys.exit(f"make-venv: {python} cannot make one: apt-get install {python}-venv, then run this again")
    # A link to bin/python may have called it, and the store's directory is what counts.
    environment = Path(__file__).resolve().parents[1]
    site = f"lib/python3.{sys.version_info.minor}/site-packages"
    venv.create(directory, with_pip=True, symlinks=True)
    (directory / site / "pytorch.pth").write_text(f"{environment / site}\n")
    (directory / "pip.conf").write_text(f"[install]\nconstraint = {environment / 'constraints.txt'}\n")


if __name__ == "__main__":
    main()
