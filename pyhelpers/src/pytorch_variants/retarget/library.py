"""Cut the GPU code of one library down to some architectures, and the file with it."""

import re
from collections import Counter
from collections.abc import Callable, Collection, Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from pytorch_variants.binary.elf import (
    SHT_NOBITS,
    Elf,
    ElfError,
    open_elf,
)
from pytorch_variants.binary.fatbin import (
    Container,
    Entry,
    read_fatbins,
)
from pytorch_variants.errors import UserError
from pytorch_variants.hardware.compatibility import nearest_code, select
from pytorch_variants.retarget.layout import (
    Rewriting,
    code_names,
    plan_rewriting,
)
from pytorch_variants.retarget.rewrite import write

FLAGS_LIBRARY = "libtorch_python.so"
_FLAG = rb"(?:sm|compute)_\d+[af]?"
# A compiler that loads the end of another constant by vector registers puts that in front, without a NUL
# between (PyTorch 2.8 and 2.9); but a list of options for nvcc is not what is looked for.
_FLAGS = re.compile(rb"(?<![ ,;=_-])" + _FLAG + rb"(?: " + _FLAG + rb")*(?=\0)")

TAKES_ITS_PLACE = "the result would take its place: name a directory with -o, or say --in-place"

# Bytes done, bytes in all.
Progress = Callable[[int, int], None]


@dataclass(frozen=True)
class Retargeted:
    """What became of one library. Sizes are bytes; gpu_code_* are those of .nv_fatbin."""

    path: Path
    before: int
    after: int
    gpu_code_before: int
    gpu_code_after: int
    kept: tuple[str, ...]
    dropped: tuple[str, ...]


@dataclass(frozen=True)
class Library:
    """A library of PyTorch's own that has GPU code, or `flags`: the place and text of the list of it.

    That list is the string that torch._C._cuda_getArchFlags() returns. `path` is in the file system or,
    of a wheel, in the archive; `size` is the file's, in bytes.
    """

    path: Path
    size: int
    containers: tuple[Container, ...]
    flags: tuple[int, bytes] | None


def read_library(path: Path, elf: Elf) -> Library | None:
    """What there is to retarget in a library; None if there is nothing. Raises UserError."""
    containers, flags = read_fatbins(elf), None
    if path.name == FLAGS_LIBRARY and (constants := elf.section(".rodata")):
        size = 0 if constants.type == SHT_NOBITS else constants.size
        with elf.data[constants.offset : constants.offset + size] as data:
            found = [(match.start(), match.group()) for match in _FLAGS.finditer(data)]
        if len(found) != 1:
            raise UserError("no list of GPU architectures in it; is this a CUDA build?")
        flags = constants.offset + found[0][0], found[0][1]
    return Library(path, len(elf.data), containers, flags) if containers or flags else None


def _kept_flags(flags: bytes, keep: Collection[int], keep_ptx: bool) -> bytes:
    numbers = {flag: int(re.sub(rb"\D", b"", flag)) for flag in flags.split(b" ")}
    have = [number for flag, number in numbers.items() if flag.startswith(b"sm_")]
    kept = {nearest_code(have, arch) for arch in keep}
    return b" ".join(
        flag for flag, number in numbers.items() if number in kept and (keep_ptx or flag.startswith(b"sm_"))
    )


def plan_library(elf: Elf, library: Library, keep: frozenset[int], keep_ptx: bool) -> Rewriting | None:
    """How to make the library for these architectures; None if it is that already. Raises UserError."""
    if not library.flags:
        plan = plan_rewriting(elf, keep, keep_ptx)
        return plan if plan.gpu_code_before != plan.gpu_code_after else None
    offset, flags = library.flags
    kept = _kept_flags(flags, keep, keep_ptx)
    # The function makes its Python string by PyUnicode_FromString, which ends at the first NUL.
    patch = offset, kept.ljust(len(flags), b"\0")
    return Rewriting(library.size, ((0, 0, library.size),), (patch,), 0, 0, (), ()) if kept != flags else None


def account(library: Library, plan: Rewriting | None) -> Retargeted:
    """What becomes of a library."""
    if plan:
        return Retargeted(
            path=library.path,
            before=library.size,
            after=plan.size,
            gpu_code_before=plan.gpu_code_before,
            gpu_code_after=plan.gpu_code_after,
            kept=plan.kept,
            dropped=plan.dropped,
        )
    names = code_names([container.entries for container in library.containers])
    code = sum(container.size for container in library.containers)
    return Retargeted(library.path, library.size, library.size, code, code, names, ())


@contextmanager
def naming(source: Path, target: Path) -> Iterator[None]:
    """Name the file in what is raised, as one line."""
    try:
        yield
    except ElfError:
        raise  # It has the path.
    except UserError as error:
        raise UserError(f"{source}: {error}") from error
    except OSError as error:
        raise UserError(f"{error.filename or target}: {error.strerror}") from error


def retarget_file(source: Path, target: Path, keep: frozenset[int], *, keep_ptx: bool = False) -> Retargeted:
    """Write the library to `target` with the GPU code for the architectures `keep` alone.

    `keep` has architectures as numbers, 90 for sm_90; each container keeps what select() chooses of it,
    which can be nothing.

    `target` may be `source`. It is replaced at once or not at all, and has the mode of `source`.
    The same input gives the same bytes; a second time changes nothing. Raises UserError on a file
    that is not laid out as PyTorch's are.
    """
    with naming(source, target):
        with open_elf(source) as elf:
            library, plan = Library(target, len(elf.data), (), None), plan_rewriting(elf, keep, keep_ptx)
        write(source, target, plan)
    return account(library, plan)


def _containers(libraries: Iterable[Library]) -> list[tuple[Entry, ...]]:
    return [c.entries for library in libraries for c in library.containers if c.entries]


def _counts(containers: Iterable[tuple[Entry, ...]], arch: int) -> Counter[str]:
    """How many containers give an architecture its own machine code, another's, or PTX."""
    counts = Counter[str]()
    for entries in containers:
        for code in select(entries, [arch])[:1]:
            counts["ptx" if code.kind == "ptx" else "own" if code.arch == arch else "other"] += 1
    return counts


def available(libraries: Iterable[Library]) -> tuple[int, ...]:
    """The architectures that one package's libraries are built for, as numbers in order.

    Those are the ones that PyTorch says it is built for that have cubins too. Other packages say nothing: of
    them, those whose GPUs run more code of their own than of others. PyTorch 2.11 has sm_89 code in one
    container of 444, where an L40S runs the sm_86 code of all the others; so sm_89 is none of them. vLLM has
    sm_80 code in 170 containers of 561, and nothing else that an A100 runs; so sm_80 is one.
    """
    libraries = list(libraries)
    containers = _containers(libraries)
    having = {entry.arch for entries in containers for entry in entries if entry.kind == "cubin"}
    for flags in [library.flags for library in libraries if library.flags]:
        said = {int(number) for number in re.findall(rb"sm_(\d+)", flags[1])}
        return tuple(sorted(said & having))
    counts = {arch: _counts(containers, arch) for arch in sorted(having)}
    return tuple(arch for arch, count in counts.items() if 2 * count["own"] > count.total())


def choose(
    libraries: Sequence[Library], wanted: Sequence[int], compatible: bool, what: str
) -> frozenset[int]:
    """The architectures that code is kept for, once it is sure that the package has code for all of them.

    With `compatible` one that it is not built for may run the code of the nearest earlier one, else what the
    driver compiles of PTX; where single kernels have code of its own these keep that. (PyTorch 2.10 has for
    sm_89: rowwise FP8 products, whose sm_86 code is a tenth as large.) Raises UserError, which names what
    there is, for a GPU without code.
    """
    if not wanted:
        raise UserError("name at least one architecture to keep")
    have = available(libraries)
    if not have:
        raise UserError(f"{what} has no GPU code; is this a CUDA build?")
    for arch in wanted:
        near = nearest_code(have, arch)
        # PyTorch says what machine code it has, and would say nothing.
        compiled = not near and not any(library.flags for library in libraries)
        compiled = compiled and bool(_counts(_containers(libraries), arch)["ptx"])
        if near == arch or (compatible and (near or compiled)):
            continue
        message = f"{what} has no sm_{arch} code; it has {', '.join(f'sm_{number}' for number in have)}"
        if near or compiled:
            runs = f"sm_{near} code runs on" if near else "PTX that the driver compiles for"
            message += f", and {runs} sm_{arch}: take that with --compatible"
        raise UserError(message)
    return frozenset(wanted)
