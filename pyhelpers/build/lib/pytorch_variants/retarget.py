"""Cut the GPU code of PyTorch's libraries down to some architectures, and the files with it."""

import os
import re
import stat
import tempfile
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from pytorch_variants.elf import SHT_NOBITS, Elf, ElfError, open_elf
from pytorch_variants.errors import UserError
from pytorch_variants.fatbin import read_fatbins
from pytorch_variants.layout import Copy, Patch, make_plan, select

__all__ = ["Retargeted", "architectures", "retarget_file", "retarget_torch", "select"]

# NVIDIA's licence does not allow changing its libraries; some wheels carry them beside PyTorch's own.
_NVIDIA = re.compile(
    r"lib(cu(da|blas|dnn|fft|file|pti|rand|solver|sparse|tensor)|nccl|npp"
    r"|nv(rtc|JitLink|ToolsExt|perf|shmem|_)|nvidia)"
)
_FLAG = rb"(?:sm|compute)_\d+[af]?"
_FLAGS = re.compile(rb"(?<![ -~])" + _FLAG + rb"(?: " + _FLAG + rb")*(?=\0)")


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


def _copy(source: int, target: int, start: int, to: int, length: int) -> None:
    """Copy within the kernel where it can, so that no byte of GPU code passes through this process."""
    while length:
        try:
            done = os.copy_file_range(source, target, length, start, to)
        except OSError:
            # Another file system, or one that cannot.
            done = os.pwrite(target, os.pread(source, min(length, 1 << 20), start), to)
        if not done:
            raise UserError("it was cut short while it was read")
        start, to, length = start + done, to + done, length - done


@contextmanager
def _replacing(target: Path, like: int) -> Iterator[int]:
    """A new file beside the target, with the mode of an open one, that takes the target's place."""
    descriptor, name = tempfile.mkstemp(prefix=f".{target.name}.", dir=target.parent)
    try:
        try:
            yield descriptor
            os.fchmod(descriptor, stat.S_IMODE(os.fstat(like).st_mode))
        finally:
            os.close(descriptor)
        Path(name).replace(target)
    except BaseException:
        Path(name).unlink(missing_ok=True)
        raise


def _write(
    source: Path,
    target: Path,
    copies: Sequence[Copy],
    patches: Sequence[Patch],
    size: int,
) -> None:
    with source.open("rb") as file, _replacing(target, file.fileno()) as new:
        os.truncate(new, size)
        for start, to, length in copies:
            _copy(file.fileno(), new, start, to, length)
        for offset, data in patches:
            os.pwrite(new, data, offset)


def retarget_file(source: Path, target: Path, keep: frozenset[int], *, keep_ptx: bool = False) -> Retargeted:
    """Write the library to `target` with the GPU code for the architectures `keep` alone.

    `keep` has architectures as numbers, 90 for sm_90; each container keeps what select() chooses of it,
    which can be nothing.

    `target` may be `source`. It is replaced at once or not at all, and has the mode of `source`.
    The same input gives the same bytes; a second time changes nothing. Raises UserError on a file
    that is not laid out as PyTorch's are.
    """
    try:
        with open_elf(source) as elf:
            before, plan = len(elf.data), make_plan(elf, keep, keep_ptx)
        _write(source, target, plan.copies, plan.patches, plan.size)
    except ElfError:
        raise
    except UserError as error:
        raise UserError(f"{source}: {error}") from error
    except OSError as error:
        raise UserError(f"{error.filename or target}: {error.strerror}") from error
    return Retargeted(
        path=target,
        before=before,
        after=plan.size,
        gpu_code_before=plan.gpu_code_before,
        gpu_code_after=plan.gpu_code_after,
        kept=plan.kept,
        dropped=plan.dropped,
    )


def _find_flags(elf: Elf) -> tuple[int, bytes] | None:
    """The place and text of the string that torch._C._cuda_getArchFlags() returns."""
    constants = elf.section(".rodata")
    if constants is None or constants.type == SHT_NOBITS:
        return None
    with elf.data[constants.offset : constants.offset + constants.size] as data:
        found = [(match.start(), match.group()) for match in _FLAGS.finditer(data)]
    if len(found) != 1:
        return None
    return constants.offset + found[0][0], found[0][1]


def _read_flags(torch_dir: Path) -> tuple[Path, int, bytes]:
    library = torch_dir / "lib" / "libtorch_python.so"
    with open_elf(library) as elf:
        found = _find_flags(elf)
    if found is None:
        raise UserError(f"{library}: no list of GPU architectures in it; is this a CUDA build?")
    return library, *found


def _retarget_flags(torch_dir: Path, keep: frozenset[int], keep_ptx: bool) -> None:
    # The function makes its Python string by PyUnicode_FromString, which ends at the first NUL.
    library, offset, flags = _read_flags(torch_dir)
    kept = b" ".join(
        flag
        for flag in flags.split(b" ")
        if int(re.sub(rb"\D", b"", flag)) in keep and (keep_ptx or flag.startswith(b"sm_"))
    )
    if kept != flags:
        size = library.stat().st_size
        patch = (offset, kept.ljust(len(flags), b"\0"))
        _write(library, library, [(0, 0, size)], [patch], size)


def _libraries(torch_dir: Path) -> Iterator[tuple[Path, frozenset[int]]]:
    """PyTorch's own libraries with GPU code, and the architectures that they have cubins for."""
    for path in sorted(torch_dir.rglob("*.so*")):
        if path.is_symlink() or not path.is_file() or _NVIDIA.match(path.name):
            continue
        with path.open("rb") as file:
            if file.read(4) != b"\x7fELF":
                continue
        with open_elf(path) as elf:
            containers = read_fatbins(elf)
        if containers:
            yield (
                path,
                frozenset(
                    entry.arch
                    for container in containers
                    for entry in container.entries
                    if entry.kind == "cubin"
                ),
            )


def architectures(torch_dir: Path) -> tuple[int, ...]:
    """The architectures that a PyTorch is built for, as numbers: those it says that have cubins too.

    An architecture that only a few kernels have code for is none of them: PyTorch 2.11 has sm_89 code
    in one container of 444, where an L40S runs the sm_86 code of all the others.

    `torch_dir` is .../site-packages/torch. Raises UserError where that is not a CUDA build.
    """
    _, _, flags = _read_flags(torch_dir)
    said = {int(number) for number in re.findall(rb"sm_(\d+)", flags)}
    return tuple(sorted(said.intersection(*[frozenset().union(*(a for _, a in _libraries(torch_dir)))])))


def retarget_torch(
    torch_dir: Path,
    keep: Sequence[int],
    *,
    keep_ptx: bool = False,
    jobs: int | None = None,
    progress: Callable[[Retargeted], None] | None = None,
) -> tuple[Retargeted, ...]:
    """Retarget every library of an installed PyTorch in place, and the list that PyTorch gives of itself.

    `torch_dir` is .../site-packages/torch. NVIDIA's libraries stay as they are. `jobs` libraries are
    worked on at a time; `progress` is called with each that is done. Raises UserError, before anything
    is changed, for an architecture that this PyTorch is not built for.
    """
    available = architectures(torch_dir)
    for arch in keep:
        if arch not in available:
            names = ", ".join(f"sm_{number}" for number in available)
            raise UserError(f"this PyTorch has no sm_{arch} code; it has {names}")
    if not keep:
        raise UserError("name at least one architecture to keep")
    wanted = frozenset(keep)
    paths = [path for path, _ in _libraries(torch_dir)]
    results = []
    with ThreadPoolExecutor(jobs or min(len(paths), os.cpu_count() or 1)) as pool:
        for result in pool.map(lambda path: retarget_file(path, path, wanted, keep_ptx=keep_ptx), paths):
            results.append(result)
            if progress:
                progress(result)
    # Last, so that a run that was cut off is taken up where it stopped.
    _retarget_flags(torch_dir, wanted, keep_ptx)
    return tuple(results)
