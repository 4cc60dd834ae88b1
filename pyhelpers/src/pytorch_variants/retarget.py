"""Cut the GPU code of PyTorch's own libraries down to some architectures, and the files with it.

The kept entries move to the front of the section .nv_fatbin. The read-only segment that holds it is split in
two, so that what follows keeps its addresses and only moves forward in the file: no code, no symbol and no
unwind table has to be touched, only the relocations that point at the containers.

NVIDIA's libraries are left alone, since their licence does not allow changing them.
"""

import os
import re
import tempfile
from collections.abc import Callable, Collection, Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from pathlib import Path

from pytorch_variants import elf as E
from pytorch_variants.elf import Elf, ElfError, Section, Segment, open_elf
from pytorch_variants.errors import UserError
from pytorch_variants.fatbin import (
    SECTION,
    WRAPPER,
    WRAPPER_MAGIC,
    WRAPPERS,
    Container,
    Entry,
    read_fatbins,
)

# A list of SM architectures as torch.cuda.get_arch_list() splits it, maybe shortened before.
_ARCH_STRING = re.compile(rb"(?<=\0)sm_[0-9]{2,3}[af]?(?: (?:sm|compute)_[0-9]{2,3}[af]?)* *(?=\0)")

# Offset in the new file, offset in the old one, size; and bytes to write over.
_Copy = tuple[int, int, int]
_Patch = tuple[int, bytes]


@dataclass(frozen=True)
class Retargeted:
    """What became of one library: sizes of the file and of its GPU code in bytes, architectures."""

    path: Path
    before: int
    after: int
    gpu_code_before: int
    gpu_code_after: int
    kept: tuple[str, ...]
    dropped: tuple[str, ...]


@dataclass(frozen=True)
class _Plan:
    """How the new file is made of the old one."""

    size: int
    copies: tuple[_Copy, ...]
    patches: tuple[_Patch, ...]


def select(entries: Sequence[Entry], targets: Collection[int], keep_ptx: bool = False) -> list[Entry]:
    """The entries that a GPU of one of these architectures (90 for sm_90) runs.

    That is the code of the architecture itself. Where a container has none (MAGMA's kernels have no
    sm_75), it is what the driver would take: the latest cubin of the same major version, else the latest
    PTX.
    """
    kept: list[Entry] = []
    for target in targets:
        own = [entry for entry in entries if entry.arch == target and entry.kind == "cubin"]
        if not own:
            compatible = [entry for entry in entries if entry.arch <= target and not entry.specific]
            cubins = [e for e in compatible if e.kind == "cubin" and e.arch // 10 == target // 10]
            candidates = cubins or [entry for entry in compatible if entry.kind == "ptx"]
            own = [max(candidates, key=lambda entry: entry.arch)] if candidates else []
        if keep_ptx:
            own += [entry for entry in entries if entry.arch == target and entry.kind == "ptx"]
        kept += own
    return [entry for entry in entries if entry in kept]


def _compact(
    section: Section,
    containers: Iterable[Container],
    keep: Callable[[Sequence[Entry]], list[Entry]],
) -> tuple[dict[int, int], list[tuple[int, bytes]], list[_Copy], int]:
    """Lay the kept entries out anew from the section's start.

    Gives the new offset of each container by its old one, the container headers to write, the entries to
    copy, and where the last one ends.
    """
    moved: dict[int, int] = {}
    copies: list[_Copy] = []
    sizes: list[tuple[int, bytes]] = []
    position = section.offset
    for container in containers:
        position += -position % 8
        kept = keep(container.entries)
        header = (
            container.entries[0].offset if container.entries else container.offset + container.size
        ) - container.offset
        moved[container.offset] = position
        copies.append((position, container.offset, header))
        payload = sum(entry.size for entry in kept)
        sizes.append((position + 8, payload.to_bytes(8, "little")))
        position += header
        for entry in kept:
            copies.append((position, entry.offset, entry.size))
            position += entry.size
    return moved, sizes, copies, position


def _relocations(elf: Elf, section: Section, moved: dict[int, int]) -> list[_Patch]:
    """Point everything that held a container's address at its new place."""
    if any(s.type == E.SHT_RELR for s in elf.sections):
        raise UserError("its relocations are packed (RELR), which is not supported: retarget before packing")
    relative = E.R_RELATIVE.get(elf.machine)
    if relative is None:
        raise UserError(f"machine type {elf.machine} is not supported: x86-64 and AArch64 are")
    shift = section.address - section.offset
    patches: list[_Patch] = []
    pointed = set()
    for table in elf.sections:
        if table.type != E.SHT_RELA or not table.flags & E.SHF_ALLOC:
            continue
        rows = E.RELA.iter_unpack(elf.data[table.offset : table.end])
        for index, (where, info, addend) in enumerate(rows):
            if (
                info & 0xFFFFFFFF != relative
                or not section.address <= addend < section.address + section.size
            ):
                continue
            if addend - shift not in moved:
                raise UserError(f"something points into the middle of a fat binary, at {addend:#x}")
            pointed.add(where)
            new = E.RELA.pack(where, info, moved[addend - shift] + shift)
            patches.append((table.offset + index * E.RELA.size, new))
    wrappers = elf.section(WRAPPERS)
    if wrappers is None:
        raise UserError(f"it has fat binaries and no {WRAPPERS}")
    for offset in range(wrappers.offset, wrappers.end - WRAPPER.size + 1, WRAPPER.size):
        magic, _, address, _ = WRAPPER.unpack_from(elf.data, offset)
        if magic != WRAPPER_MAGIC:
            raise UserError(f"a wrapper with magic number {magic:#x}, not {WRAPPER_MAGIC:#x}")
        if address and address - shift in moved:
            # Some linkers leave the address in place beside the relocation.
            patches.append((offset + 8, (moved[address - shift] + shift).to_bytes(8, "little")))
    return patches


def _symbols(elf: Elf, section: Section, moved: dict[int, int], end: int) -> list[_Patch]:
    """Move the symbols that stand for containers."""
    index = elf.sections.index(section)
    shift = section.address - section.offset
    patches: list[_Patch] = []
    for table in elf.sections:
        if table.type not in (E.SHT_SYMTAB, E.SHT_DYNSYM):
            continue
        rows = E.SYMBOL.iter_unpack(elf.data[table.offset : table.end])
        for row, (name, info, other, where, value, size) in enumerate(rows):
            if where == index:
                new = moved.get(value - shift, end) + shift
                patches.append(
                    (
                        table.offset + row * E.SYMBOL.size,
                        E.SYMBOL.pack(name, info, other, where, new, size),
                    )
                )
    return patches


def _plan(elf: Elf, keep: Callable[[Sequence[Entry]], list[Entry]]) -> _Plan | None:
    """How to shrink a library, or None if there is nothing to drop."""
    section = elf.section(SECTION)
    containers = read_fatbins(elf)
    if section is None or all(keep(c.entries) == list(c.entries) for c in containers):
        return None
    moved, sizes, copies, kept_end = _compact(section, containers, keep)

    [load] = (
        s for s in elf.segments if s.type == E.PT_LOAD and s.offset <= section.offset < s.offset + s.file_size
    )
    tail_offset, tail_address = section.end, section.address + section.size
    load_end = load.offset + load.file_size
    # The tail stays congruent with its address, as the loader's page mapping needs it.
    page = max(s.align for s in elf.segments if s.type == E.PT_LOAD)
    delta = (tail_offset - kept_end) // page * page
    if delta == 0:
        return None
    if tail_address // page == (section.address + kept_end - section.offset) // page:
        raise UserError("the kept GPU code ends on the page where the next segment starts")

    first = replace(
        load,
        file_size=kept_end - load.offset,
        memory_size=kept_end - load.offset,
    )
    second = replace(
        load,
        offset=tail_offset - delta,
        address=tail_address,
        physical=tail_address,
        file_size=load_end - tail_offset,
        memory_size=load.address + load.memory_size - tail_address,
    )

    def forward(offset: int) -> int:
        return offset - delta if offset >= tail_offset else offset

    segments: list[Segment] = []
    for segment in elf.segments:
        if segment is load:
            segments += [first, second] if second.file_size else [first]
        else:
            segments.append(replace(segment, offset=forward(segment.offset)))
    table_end = elf.segments_offset + len(segments) * E.SEGMENT.size
    if len(segments) > len(elf.segments) and any(
        elf.segments_offset < s.offset < table_end for s in elf.sections if s.type != E.SHT_NOBITS and s.size
    ):
        raise UserError(
            "there is no room for one more program header: pass the file through patchelf --set-rpath first"
        )

    sections = [
        replace(s, size=kept_end - section.offset) if s is section else replace(s, offset=forward(s.offset))
        for s in elf.sections
    ]
    size = len(elf.data) - delta
    new_sections_offset = forward(elf.sections_offset)
    at = [
        *_relocations(elf, section, moved),
        *_symbols(elf, section, moved, kept_end),
    ]
    patches = [
        *((forward(offset), data) for offset, data in at),
        *sizes,
        (elf.segments_offset, b"".join(s.pack() for s in segments)),
        (new_sections_offset, b"".join(s.pack() for s in sections)),
        (32, elf.segments_offset.to_bytes(8, "little") + new_sections_offset.to_bytes(8, "little")),
        (56, len(segments).to_bytes(2, "little")),
    ]
    return _Plan(
        size=size,
        copies=(
            (0, 0, section.offset),
            *copies,
            (tail_offset - delta, tail_offset, len(elf.data) - tail_offset),
        ),
        patches=tuple(patches),
    )


def _copy(source: int, target: int, new: int, old: int, size: int) -> None:
    """Copy a range between files within the kernel, so that it never enters this process' memory."""
    while size:
        done = os.copy_file_range(source, target, size, old, new)
        if done == 0:
            raise UserError("the file became shorter while it was read")
        new, old, size = new + done, old + done, size - done


def _merged(copies: Iterable[_Copy]) -> Iterable[_Copy]:
    """Join copies that follow each other in both files."""
    pending: _Copy | None = None
    for new, old, size in copies:
        if pending and pending[0] + pending[2] == new and pending[1] + pending[2] == old:
            pending = (pending[0], pending[1], pending[2] + size)
        else:
            if pending:
                yield pending
            pending = (new, old, size)
    if pending:
        yield pending


def _replace_file(source: Path, target: Path, plan: _Plan) -> None:
    """Write the new file beside the target and rename it: there is always a whole file."""
    descriptor, temporary = tempfile.mkstemp(dir=target.parent, prefix=f".{target.name}.")
    try:
        with source.open("rb") as old, os.fdopen(descriptor, "wb") as new:
            os.truncate(new.fileno(), plan.size)
            for copy in _merged(plan.copies):
                _copy(old.fileno(), new.fileno(), *copy)
            for offset, data in plan.patches:
                os.pwrite(new.fileno(), data, offset)
            os.fchmod(new.fileno(), source.stat().st_mode & 0o7777)
        Path(temporary).replace(target)
    except BaseException:
        Path(temporary).unlink(missing_ok=True)
        raise


def retarget_file(
    source: Path, target: Path, targets: Collection[int], *, keep_ptx: bool = False
) -> Retargeted:
    """Write a library with the GPU code of some architectures (90 for sm_90) only.

    `target` may be `source`. Raises UserError, with the file's name, for a library that cannot be changed
    safely; it is then as it was.
    """

    def keep(entries: Sequence[Entry]) -> list[Entry]:
        return select(entries, targets, keep_ptx)

    try:
        with open_elf(source) as elf:
            entries = [entry for container in read_fatbins(elf) for entry in container.entries]
            kept = [entry for container in read_fatbins(elf) for entry in keep(container.entries)]
            before = len(elf.data)
            plan = _plan(elf, keep)
            if plan is None:
                plan = _Plan(before, ((0, 0, before),), ())
            if plan.copies != ((0, 0, before),) or source != target:
                _replace_file(source, target, plan)
    except ElfError:
        raise
    except UserError as error:
        raise UserError(f"{source}: {error}") from None
    except OSError as error:
        raise UserError(f"{target}: {error.strerror}; the file is as it was") from None
    return Retargeted(
        path=target,
        before=before,
        after=plan.size,
        gpu_code_before=sum(entry.size for entry in entries),
        gpu_code_after=sum(entry.size for entry in kept),
        kept=_names(kept),
        dropped=tuple(name for name in _names(entries) if name not in _names(kept)),
    )


def _names(entries: Iterable[Entry]) -> tuple[str, ...]:
    return tuple(entry.sm for _, entry in sorted({(e.arch, e.sm): e for e in entries}.items()))


def _cuda_libraries(torch: Path) -> list[Path]:
    """PyTorch's own libraries with GPU code, largest first. NVIDIA's are in packages beside torch."""
    found = []
    for path in sorted((torch / "lib").glob("libtorch*.so")):
        with open_elf(path) as elf:
            if elf.section(SECTION):
                found.append(path)
    return sorted(found, key=lambda path: -path.stat().st_size)


def architectures(torch: Path) -> tuple[int, ...]:
    """The architectures that all of libtorch_cuda.so has code of, as numbers (90 for sm_90).

    A few kernels of a wheel are built for more; these alone make no PyTorch for that GPU.
    """
    with open_elf(torch / "lib" / "libtorch_cuda.so") as elf:
        per_container = [
            {entry.arch for entry in container.entries if entry.kind == "cubin"}
            for container in read_fatbins(elf)
            if container.entries
        ]
    return tuple(sorted(set.intersection(*per_container))) if per_container else ()


def _rewrite_arch_string(library: Path, targets: Sequence[int]) -> None:
    """Make torch.cuda.get_arch_list() tell the truth, in place."""
    with open_elf(library) as elf:
        rodata = elf.section(".rodata")
        if rodata is None:
            raise UserError(f"{library}: it has no .rodata")
        found = list(_ARCH_STRING.finditer(elf.data, rodata.offset, rodata.end))
        if len(found) != 1:
            raise UserError(f"{library}: {len(found)} lists of architectures in it, one is wanted")
        start, length = found[0].start(), found[0].end() - found[0].start()
    # Blanks and not zeros: the compiler knew the text's length, and split() drops blanks.
    text = " ".join(f"sm_{target}" for target in sorted(targets)).encode().ljust(length)
    if len(text) > length:
        raise UserError(
            f"{library}: its list of architectures has {length} bytes, too few for {text.decode()}"
        )
    with library.open("r+b") as file:
        file.seek(start)
        file.write(text)


def retarget_torch(torch: Path, targets: Sequence[int], *, keep_ptx: bool = False) -> tuple[Retargeted, ...]:
    """Retarget an installed torch package (…/site-packages/torch) in place.

    Every library of PyTorch's own with GPU code, and the list of architectures that PyTorch gives of
    itself. Raises UserError before anything is changed if an architecture is not there.
    """
    available = architectures(torch)
    missing = [target for target in targets if target not in available]
    if missing:
        raise UserError(
            f"{torch}: this PyTorch has no {', '.join(f'sm_{m}' for m in missing)} code; "
            f"it has {', '.join(f'sm_{a}' for a in available)}"
        )

    def one(library: Path) -> Retargeted:
        return retarget_file(library, library, targets, keep_ptx=keep_ptx)

    with ThreadPoolExecutor(os.cpu_count()) as pool:
        results = tuple(pool.map(one, _cuda_libraries(torch)))
    _rewrite_arch_string(torch / "lib" / "libtorch_python.so", targets)
    return results
