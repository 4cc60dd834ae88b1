"""What a case is, and how it changes an environment whose files it shares with others."""

import base64
import csv
import hashlib
import os
import shutil
import stat
import subprocess
import sys
import zipfile
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

WHEEL = "official wheel"
CUT = "official wheel, retargeted"
SOURCE = "compiled from source"
OFFICIAL_210 = "pytorch-sm70-sm75-sm80-sm86-sm90-sm100-sm120-avx2"


# Changes the environment, and may say that another directory is to be verified.
Make = Callable[[Path], Path | None]


@dataclass(frozen=True)
class Case:
    """One environment: what is wrong with it, or why it only seems so."""

    name: str
    honest: bool
    says: str
    make: Make
    base: str
    variant: str
    origin: str
    row: str
    quick: bool
    debatable: bool
    nothing: bool

    @property
    def exits(self) -> tuple[int, ...]:
        """The exit codes that are right."""
        if self.honest:
            return (0,)
        return (1, 2) if self.nothing else (1,)


CLAIMS = {
    "cut": ("pytorch-sm90-avx512", CUT),
    "sm86": ("pytorch-bin-sm86", WHEEL),
    "sm89": ("pytorch-bin-sm89", WHEEL),
    "sm100": ("pytorch-bin-sm100", WHEEL),
    "official": (OFFICIAL_210, WHEEL),
    "cpu": ("pytorch-cpu-avx2", WHEEL),
}
CASES: dict[str, Case] = {}


def case(
    says: str,
    *,
    honest: bool = False,
    base: str = "cut",
    variant: str = "",
    origin: str = "",
    row: str = "",
    quick: bool = False,
    debatable: bool = False,
    nothing: bool = False,
    name: str = "",
) -> Callable[[Make], Make]:
    """Register a case. The function's name is the case's, its base's claims are too if none are given.

    `row` is what a wrong row should mention, `nothing` allows exit code 2; `debatable`: one may differ.
    """

    def register(make: Make) -> Make:
        key = name or make.__name__
        if key in CASES:
            raise ValueError(f"two cases are named {key}")
        claimed, made = CLAIMS.get(base, ("", ""))
        CASES[key] = Case(
            key, honest, says, make, base, variant or claimed, origin or made, row, quick, debatable, nothing
        )
        return make

    return register


def site(env: Path) -> Path:
    """The environment's site-packages."""
    (found,) = env.glob("lib/python3*/site-packages")
    return found


def lib(env: Path, name: str = "") -> Path:
    """A file of torch/lib."""
    return site(env) / "torch/lib" / name


def nvidia(env: Path, name: str) -> Path:
    """A library of NVIDIA's wheels."""
    (found,) = (site(env) / "nvidia").glob(f"*/lib/{name}")
    return found


def write(path: Path, data: bytes | str, mode: int | None = None) -> Path:
    """Put a new file there. The old one's content is shared with other environments and stays as it is."""
    path.parent.mkdir(parents=True, exist_ok=True)
    if mode is None:
        mode = stat.S_IMODE(path.stat().st_mode) if path.is_file() else 0o644
    path.unlink(missing_ok=True)
    for compiled in (path.parent / "__pycache__").glob(f"{path.stem}.*.pyc") if path.suffix == ".py" else ():
        # Nix has Python take these without a look at the source.
        compiled.unlink()
    path.write_bytes(data.encode() if isinstance(data, str) else data)
    path.chmod(mode)
    return path


def own(path: Path) -> Path:
    """Make the file one that may be written to in place."""
    mode = stat.S_IMODE(path.stat().st_mode)
    copy = path.with_name(path.name + ".own")
    shutil.copyfile(path, copy)
    copy.chmod(mode | 0o200)
    copy.replace(path)
    return path


def replace(path: Path, source: Path) -> Path:
    """Put another file's content there."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.unlink(missing_ok=True)
    shutil.copyfile(source, path)
    path.chmod(0o755)
    return path


def link_tree(source: Path, target: Path) -> None:
    """Copy a directory by hard links."""
    subprocess.run(["cp", "-al", source, target], check=True)


# No case changes what lies in these: a link will do for most of an environment's files.
SHARED = ("torch/include", "sympy", "networkx", "numpy", "mpmath")


def copy_base(base: Path, env: Path) -> None:
    """Copy an environment by hard links, so that every file may be replaced and none written to."""
    shared = {site(base) / name for name in SHARED}
    for folder, folders, files in os.walk(base):
        inside = env / Path(folder).relative_to(base)
        inside.mkdir()
        for name in list(folders):
            path = Path(folder, name)
            if path in shared or path.is_symlink():
                (inside / name).symlink_to(path if path in shared else path.readlink())
                folders.remove(name)
        for name in files:
            os.link(Path(folder, name), inside / name, follow_symlinks=False)


def record(env: Path, name: str = "torch") -> Path:
    """A distribution's RECORD."""
    (found,) = site(env).glob(f"{name}-*.dist-info/RECORD")
    return found


def tell(env: Path, *paths: Path, name: str = "torch") -> None:
    """Let RECORD agree with what was done to these files, so that it does not give it away."""
    where = record(env, name)
    rows = list(csv.reader(where.read_text().splitlines()))
    for path in paths:
        inside = os.path.relpath(path, site(env))
        rows = [row for row in rows if row[0] != inside]
        if path.is_file():
            digest = (
                base64.urlsafe_b64encode(hashlib.sha256(path.read_bytes()).digest()).rstrip(b"=").decode()
            )
            rows.append([inside, f"sha256={digest}", str(path.stat().st_size)])
    write(where, "".join(f"{name},{digest},{size}\n" for name, digest, size in rows))


def rewrite(path: Path, old: str, new: str) -> Path:
    """Replace text in a file, which has to have it."""
    text = path.read_text()
    if old not in text:
        raise ValueError(f"{path} does not have {old!r}")
    return write(path, text.replace(old, new))


def append(path: Path, text: str) -> Path:
    """Add to the end of a text file."""
    return write(path, path.read_text() + text)


def bases() -> Path:
    """The directory with the base environments and the wheels."""
    return Path(os.environ["CATALOGUE_BASES"])


def wheel(requirement: str) -> Path:
    """A wheel, downloaded once, of "name==version"."""
    name, version = requirement.split("==")
    kept = bases() / "wheels"
    pattern = f"{name.replace('-', '_')}-{version}*-*.whl"
    if not list(kept.glob(pattern)):
        command = [sys.executable, "-m", "pip", "download", "-q", "--no-deps", "--only-binary=:all:"]
        command += [
            "--python-version=3.11",
            *(f"--platform=manylinux{x}_x86_64" for x in ("_2_28", "_2_27", "_2_18", "_2_17", "2014", "1")),
        ]
        subprocess.run([*command, "-d", kept, requirement], check=True)
    return sorted(kept.glob(pattern))[0]


def part(requirement: str, inside: str, target: Path) -> Path:
    """A file of a wheel, put at target."""
    with zipfile.ZipFile(wheel(requirement)) as archive:
        return write(target, archive.read(inside), 0o755)


def install(env: Path, requirement: str | Path) -> None:
    """Unpack a wheel into the environment: RECORD is the wheel's, and programs can be started, as by pip."""
    with zipfile.ZipFile(wheel(requirement) if isinstance(requirement, str) else requirement) as archive:
        archive.extractall(site(env))
        for info in archive.infolist():
            if info.external_attr >> 16 & 0o111 and not info.is_dir():
                (site(env) / info.filename).chmod(0o755)
