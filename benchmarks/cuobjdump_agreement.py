"""Whether our readers and NVIDIA's cuobjdump list the same GPU code, and how long each takes.

Asked of every library with GPU code in wheels, or of libraries themselves:

    PYTHONPATH=pyhelpers/src python benchmarks/cuobjdump_agreement.py torch-*.whl libmine.so

cuobjdump is that of PATH or of the package nvidia-cuda-cuobjdump. Cubins and PTX are compared apart, entry by
entry and in order. Both read each file twice and the second time counts, so that neither waits for the disk.
Prints a table in Markdown. Exit code: 0 they agree, 1 they do not, 2 nothing was compared.
"""

import re
import shutil
import subprocess
import sys
import sysconfig
import tempfile
import time
import zipfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from pytorch_variants.binary.elf import open_elf
from pytorch_variants.binary.fatbin import read_fatbins
from pytorch_variants.errors import UserError

Listing = tuple[list[str], list[str]]


def cuobjdump() -> str:
    """The program's path."""
    packaged = Path(sysconfig.get_path("purelib")) / "nvidia" / "cu13" / "bin" / "cuobjdump"
    found = shutil.which("cuobjdump") or (str(packaged) if packaged.is_file() else None)
    if not found:
        sys.exit("no cuobjdump: pip install nvidia-cuda-cuobjdump")
    return found


def theirs(path: Path) -> tuple[Listing, float]:
    """The cubins and PTX that cuobjdump lists, as sm_90a, and the seconds that its list of cubins took."""

    def run(option: str) -> tuple[str, float]:
        start = time.perf_counter()
        result = subprocess.run([cuobjdump(), option, path], capture_output=True, text=True, check=False)
        return result.stdout, time.perf_counter() - start

    run("--list-elf")
    elf, seconds = run("--list-elf")
    ptx, _ = run("--list-ptx")
    return (re.findall(r"\.(sm_\d+a?)\.cubin", elf), re.findall(r"\.(sm_\d+a?)\.ptx", ptx)), seconds


def ours(path: Path) -> tuple[Listing, float]:
    """The same from our readers. cuobjdump does not tell sm_100f from sm_100."""
    start = time.perf_counter()
    with open_elf(path) as elf:
        entries = [entry for container in read_fatbins(elf) for entry in container.entries]
    seconds = time.perf_counter() - start
    cubins, ptx = (
        [entry.sm.removesuffix("f") for entry in entries if entry.kind == kind] for kind in ("cubin", "ptx")
    )
    return (cubins, ptx), seconds


@contextmanager
def libraries(source: Path) -> Iterator[Iterator[tuple[str, Path]]]:
    """The shared libraries of a wheel, extracted one at a time, or the file itself."""
    with tempfile.TemporaryDirectory() as scratch:

        def extract() -> Iterator[tuple[str, Path]]:
            with zipfile.ZipFile(source) as wheel:
                for name in wheel.namelist():
                    if re.search(r"\.so(\.[0-9.]+)?$", name):
                        path = Path(wheel.extract(name, scratch))
                        yield Path(name).name, path
                        path.unlink()

        yield extract() if source.suffix == ".whl" else iter([(source.name, source)])


def main() -> None:
    """Compare every library of every argument."""
    print("| from | library | MB | cubins | PTX | agree | cuobjdump --list-elf, s | ours, s | times faster |")
    print("|---|---|---|---|---|---|---|---|---|")
    compared = wrong = 0
    for source in map(Path, sys.argv[1:]):
        label = "-".join(source.name.split("-")[:2]) if source.suffix == ".whl" else ""
        with libraries(source) as found:
            for name, path in found:
                try:
                    ours(path)
                    mine, our_seconds = ours(path)
                except UserError as error:
                    print(f"| {label} | {name} | | | | {error} | | | |")
                    wrong += 1
                    continue
                if mine == ([], []):
                    continue
                other, their_seconds = theirs(path)
                compared += 1
                wrong += mine != other
                figures = (f"{path.stat().st_size / 1e6:.1f}", len(mine[0]), len(mine[1]))
                agree = "yes" if mine == other else f"no: {len(other[0])} and {len(other[1])}"
                times = (f"{their_seconds:.3f}", f"{our_seconds:.4f}", f"{their_seconds / our_seconds:.0f}")
                print("| " + " | ".join(map(str, (label, name, *figures, agree, *times))) + " |", flush=True)
    if not compared:
        sys.exit(2)
    sys.exit(1 if wrong else 0)


if __name__ == "__main__":
    main()
