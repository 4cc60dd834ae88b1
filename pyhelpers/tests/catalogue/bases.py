"""The environments that the cases start from.

cut: a built variant of the embedded set: PyTorch 2.10's official wheel (CUDA 12.8), cut down to sm_90.
official: the same with the official wheel itself.
sm86, sm89, sm100: the official wheel, cut down by `pytorch-variants retarget`.
cpu: a venv with the official CPU wheel.
release-2.14.1 and so on: a venv with this official release, if --release asks for it.
"""

import argparse
import os
import shlex
import shutil
import subprocess
import sys
from pathlib import Path

from .base import install, link_tree, site, wheel


def cut(target: Path, environment: Path) -> None:
    """An environment without the links of the store, by hard links where that can be."""
    subprocess.run(["cp", "-rlL", environment, target], check=True)
    shutil.rmtree(target / "bin")
    (target / "bin").mkdir()
    for name in ("python", "python3"):
        (target / "bin" / name).symlink_to((environment / "bin/python").resolve())
    writable(target)


def writable(tree: Path) -> None:
    """Let what is copied of it be removed."""
    for folder in [tree, *(path for path in tree.rglob("*") if path.is_dir() and not path.is_symlink())]:
        folder.chmod(0o755)


def other_torch(target: Path, base: Path, package: Path) -> None:
    """An environment with another PyTorch than a base."""
    link_tree(base, target)
    for name in ("torch", "torchgen", "functorch"):
        shutil.rmtree(site(target) / name)
    for path in site(target).glob("torch-*.dist-info"):
        shutil.rmtree(path)
    install(target, package)


def main() -> None:
    """Make those that are not there yet."""
    parser = argparse.ArgumentParser(prog="python -m catalogue.bases", description=__doc__)
    parser.add_argument("directory", type=Path)
    parser.add_argument(
        "--environment", type=Path, required=True, help="a built pytorch-sm90-avx512.environment"
    )
    parser.add_argument(
        "--retarget", default="pytorch-variants retarget", help="the command that cuts wheels"
    )
    parser.add_argument(
        "--release", action="append", default=[], help="a release's venv too (5 GB), as 2.14.1"
    )
    options = parser.parse_args()
    bases = options.directory.resolve()
    (bases / "wheels").mkdir(parents=True, exist_ok=True)
    os.environ["CATALOGUE_BASES"] = str(bases)
    if not (bases / "cut").is_dir():
        cut(bases / "cut", options.environment.resolve())
    if not (bases / "official").is_dir():
        other_torch(bases / "official", bases / "cut", wheel("torch==2.10.0"))
    for name, extra in (("sm86", []), ("sm89", ["--compatible"]), ("sm100", [])):
        if not (bases / name).is_dir():
            room = bases / "retargeted"
            room.mkdir(exist_ok=True)
            command = [*shlex.split(options.retarget), str(wheel("torch==2.10.0")), "--gpu", name, *extra]
            subprocess.run([*command, "--output", str(room)], check=True)
            (package,) = room.glob("*.whl")
            other_torch(bases / name, bases / "cut", package)
            shutil.rmtree(room)
    if not (bases / "cpu").is_dir():
        venv(bases / "cpu", "torch==2.13.0+cpu")
    for version in options.release:
        if not (bases / f"release-{version}").is_dir():
            venv(bases / f"release-{version}", f"torch=={version}")
    for base in bases.glob("*/bin/python"):
        # Else each case would compile torch's Python anew.
        subprocess.run([base, "-c", "import torch, torch._dynamo"], check=True)


def venv(target: Path, *requirements: str) -> None:
    """A venv with packages from pip."""
    subprocess.run([sys.executable, "-m", "venv", "--without-pip", target], check=True)
    command = [
        sys.executable,
        "-m",
        "pip",
        "--python",
        str(target / "bin/python"),
        "install",
        "-q",
        "--no-cache-dir",
    ]
    subprocess.run([*command, *requirements, "numpy"], check=True)


if __name__ == "__main__":
    main()
