"""Verification against RECORD: every file of an installed wheel is there, and as it was installed."""

import base64
import binascii
import hashlib
import os
import stat
from collections.abc import Collection, Iterator, Sequence
from concurrent.futures import Executor
from dataclasses import dataclass, field
from pathlib import Path

from pytorch_variants.findings import Finding, Origin, note, ok, wrong
from pytorch_variants.verify.distributions import Distribution, Row
from pytorch_variants.verify.environment import Tree

# What Python runs. Of packages other than torch, what is neither this nor a library may be left out.
_PYTHON = (".py", ".pth")
_FIRST = 5


@dataclass(frozen=True)
class Wholeness:
    """One distribution against its RECORD, by kinds of problem; each text begins with the file.

    `code` is what is wrong with files that are run, `changed` those of them that are ELF files and are not
    as installed, `rest` what is wrong with others, `unlisted` code below its directories that RECORD does
    not have. `hashed` and `sized` count files, `left` the bytes of code whose size alone was compared.
    """

    distribution: Distribution
    code: tuple[str, ...] = ()
    changed: tuple[str, ...] = ()
    rest: tuple[str, ...] = ()
    unlisted: tuple[str, ...] = ()
    hashed: int = 0
    sized: int = 0
    left: int = 0


@dataclass
class _Tally:
    code: list[str] = field(default_factory=list)
    changed: list[str] = field(default_factory=list)
    rest: list[str] = field(default_factory=list)
    to_hash: list[tuple[str, Row]] = field(default_factory=list)
    sized: int = 0
    left: int = 0


def _digest(path: str, algorithm: str) -> bytes:
    with open(path, "rb") as file:  # noqa: PTH123
        return hashlib.file_digest(file, algorithm).digest()


def _differs(job: tuple[str, Row]) -> str:
    path, row = job
    algorithm, _, text = row.digest.partition("=")
    if algorithm not in hashlib.algorithms_guaranteed:
        return f"{row.path}: hashed by {algorithm[:40]}, which nobody knows"
    try:
        wanted = base64.urlsafe_b64decode(text + "=" * (-len(text) % 4))
        if _digest(path, algorithm) != wanted:
            return f"{row.path}: another content than was installed"
    except (binascii.Error, ValueError, TypeError):
        return f"{row.path}: its hash is none"
    except OSError as error:
        return f"{row.path}: {error.strerror}"
    return ""


def _is_library(row: Row, elf: Collection[str], path: str) -> bool:
    return path in elf or row.path.endswith(".so") or ".so." in row.path


def _look(site: Path, distribution: Distribution, elf: Collection[str], hash_all: bool) -> _Tally:
    tally = _Tally()
    # Text, as ten thousand paths would take longer than what is done with them.
    root = str(site)
    for row in distribution.rows or ():
        parts = row.path.split("/")
        # Scripts lie where pip found a place for them; byte code is made anew, and nobody has its hash. What
        # the installer itself writes has none either.
        if row.path.startswith("/") or ".." in parts or row.path.endswith((".pyc", ".dist-info/RECORD")):
            continue
        path = "/".join((root, *(part for part in parts if part not in ("", "."))))
        library = _is_library(row, elf, path)
        code = library or row.path.endswith(_PYTHON)
        # torch compiles extensions, starts programs, reads tables: whatever is gone, something fails.
        kind = tally.code if code or distribution.name == "torch" else tally.rest
        try:
            status = os.stat(path)  # noqa: PTH116
        except OSError as error:
            kind.append(f"{row.path}: {error.strerror}")
            continue
        if not stat.S_ISREG(status.st_mode):
            kind.append(f"{row.path}: no regular file")
            continue
        tally.sized += 1
        if row.size and row.size != str(status.st_size):
            # At least as many bytes as a library has headers; an empty one is none.
            changed = tally.changed if library and status.st_size else kind
            changed.append(f"{row.path}: {status.st_size} bytes, {row.size[:20]} were installed")
        elif code and hash_all and row.digest:
            tally.to_hash.append((path, row))
        elif code:
            tally.left += status.st_size
    return tally


def _unlisted(site: Path, distribution: Distribution, known: Collection[str], tree: Tree) -> list[str]:
    """Code below the distribution's own packages that no RECORD has."""
    root = f"{site}/"
    paths = (path for path in (*map(str, tree.elf), *tree.python) if path.startswith(root))
    files = {path.removeprefix(root): path for path in paths}
    names = distribution.top_level
    mine = {name for name in files if name.split("/")[0] in names}
    # A listed file may have a second name.
    unlisted = mine - set(known)
    listed = {_inode(path) for name, path in files.items() if name in known} if unlisted else set()
    return sorted(name for name in unlisted if _inode(files[name]) not in listed)


def _inode(path: str) -> tuple[int, int]:
    try:
        status = os.stat(path)  # noqa: PTH116
    except OSError:
        return (0, 0)
    return (status.st_dev, status.st_ino)


def read_wholeness(
    site: Path,
    distribution: Distribution,
    known: Collection[str],
    tree: Tree,
    pool: Executor,
    *,
    hash_all: bool,
) -> Wholeness:
    """Hold a distribution's files against its RECORD; `known` are all paths that some RECORD has.

    With `hash_all` the content of all code is compared, else only sizes are. `pool` has threads.
    """
    elf = frozenset(map(str, tree.elf))
    tally = _look(site, distribution, elf, hash_all)
    largest = sorted(tally.to_hash, key=lambda job: -int(job[1].size or 0) if job[1].size.isdecimal() else 0)
    for (path, row), problem in zip(largest, pool.map(_differs, largest, chunksize=64), strict=True):
        if problem:
            (tally.changed if _is_library(row, elf, path) else tally.code).append(problem)
    return Wholeness(
        distribution=distribution,
        code=tuple(tally.code),
        changed=tuple(tally.changed),
        rest=tuple(tally.rest),
        unlisted=tuple(_unlisted(site, distribution, known, tree)) if hash_all else (),
        hashed=len(tally.to_hash),
        sized=tally.sized,
        left=tally.left,
    )


def _some(texts: Sequence[str]) -> tuple[str, ...]:
    more = len(texts) - _FIRST
    return (*texts[:_FIRST], *((f"{more} more",) if more > 0 else ()))


def check_wholeness(parts: Sequence[Wholeness], origin: Origin) -> Iterator[Finding]:
    """What is run is what was installed.

    A build from source has had its libraries stripped, and their paths set, after its wheel was made:
    nixpkgs does so. Of these presence alone is held against it.
    """
    expected, right = "as installed", list[Wholeness]()
    for part in parts:
        where = part.distribution.directory.name
        if part.distribution.problem:
            yield wrong("RECORD", expected, (), where, part.distribution.problem)
            continue
        if part.distribution.rows is None:
            yield note("RECORD", expected, (), where, "there is no RECORD to hold the files against")
            continue
        problems, noted = part.code, tuple(f"{path}: not in RECORD" for path in part.unlisted)
        if origin is Origin.SOURCE:
            noted = (*part.changed, *noted)
        else:
            problems = (*problems, *part.changed)
            if part.distribution.name == "torch":
                problems, noted = (*problems, *noted), ()
        if problems:
            yield wrong("RECORD", expected, _some(problems), where)
        if noted:
            yield note(
                "RECORD",
                expected,
                _some(noted),
                where,
                "libraries are changed after the wheel is made" if part.changed else "",
            )
        if not problems:
            right.append(part)
        if part.rest:
            yield note("RECORD", expected, _some(part.rest), where, "nothing that is run")
    if right:
        sized, hashed, left = (sum(getattr(p, key) for p in right) for key in ("sized", "hashed", "left"))
        of = f"{sized} files, {hashed} of them by hash"
        if left:
            of += f"; of {left / 1e6:.0f} MB of code of NVIDIA's the size alone"
        yield ok("RECORD", expected, [part.distribution.name for part in right], of)
