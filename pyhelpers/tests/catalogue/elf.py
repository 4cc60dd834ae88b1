"""Just enough of ELF and of fat binaries to break them."""

import struct
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

MAGIC = 0xBA55ED50
PTX, CUBIN, LTO = 1, 2, 8


@dataclass(frozen=True)
class Section:
    """A section header; `header` is where it lies itself."""

    header: int
    name: str
    kind: int
    flags: int
    address: int
    offset: int
    size: int


def sections(data: bytes) -> list[Section]:
    """The section headers of an ELF file's bytes."""
    (table,) = struct.unpack_from("<Q", data, 40)
    size, count, names = struct.unpack_from("<HHH", data, 58)
    raw = [(table + i * size, *struct.unpack_from("<IIQQQQ", data, table + i * size)) for i in range(count)]
    strings = raw[names][5]
    found = []
    for header, name, kind, flags, address, offset, length in raw:
        end = data.index(b"\0", strings + name)
        text = data[strings + name : end].decode()
        found.append(Section(header, text, kind, flags, address, offset, length))
    return found


def section(path: Path, name: str) -> tuple[int, int]:
    """Where a section lies in a file: offset and size."""
    for found in sections(path.read_bytes()):
        if found.name == name:
            return found.offset, found.size
    raise KeyError(f"{path} has no {name}")


@dataclass(frozen=True)
class Entry:
    """One entry of a fat binary; `at` is where its header starts."""

    at: int
    kind: int
    header: int
    size: int
    packed: int
    arch: int
    flags: int

    @property
    def payload(self) -> int:
        """Where its code starts."""
        return self.at + self.header


@dataclass(frozen=True)
class Container:
    """A fat binary: where it starts, and its entries."""

    at: int
    header: int
    size: int
    entries: tuple[Entry, ...]


def containers(data: bytes | bytearray, start: int, end: int) -> Iterator[Container]:
    """The fat binaries between two offsets."""
    at = start
    while at + 16 <= end:
        magic, _, header, size = struct.unpack_from("<IHHQ", data, at)
        if magic != MAGIC:
            at += 8
            continue
        entries = []
        inside = at + header
        while inside < at + header + size:
            kind, _, length, payload, packed = struct.unpack_from("<HHIQI", data, inside)
            arch = struct.unpack_from("<I", data, inside + 28)[0]
            flags = struct.unpack_from("<Q", data, inside + 40)[0]
            entries.append(Entry(inside, kind, length, payload, packed, arch, flags))
            inside += length + payload
        yield Container(at, header, size, tuple(entries))
        at += header + size


def fatbins(path: Path) -> tuple[bytearray, list[Container]]:
    """A library's bytes and the fat binaries of its .nv_fatbin."""
    start, size = section(path, ".nv_fatbin")
    data = bytearray(path.read_bytes())
    return data, list(containers(data, start, start + size))


def with_arch(code: bytes, arch: int) -> bytes:
    """A fat binary whose entries' headers claim another architecture."""
    data = bytearray(code)
    for container in containers(data, 0, len(data)):
        for entry in container.entries:
            struct.pack_into("<I", data, entry.at + 28, arch)
    return bytes(data)


def cubin_with_arch(code: bytes, arch: int) -> bytes:
    """A fat binary whose cubins' own headers say another architecture than the entries' headers."""
    data = bytearray(code)
    for container in containers(data, 0, len(data)):
        for entry in container.entries:
            if data[entry.payload : entry.payload + 4] != b"\x7fELF":
                raise ValueError("the cubin is compressed")
            flags = struct.unpack_from("<I", data, entry.payload + 48)[0]
            struct.pack_into("<I", data, entry.payload + 48, flags & ~0xFF00 | arch << 8)
    return bytes(data)


def without_sections(data: bytes) -> bytes:
    """An ELF file without section headers, which no loader needs."""
    out = bytearray(data)
    struct.pack_into("<Q", out, 40, 0)
    struct.pack_into("<HHH", out, 58, 0, 0, 0)
    return bytes(out)


def renamed(data: bytes, old: str, new: str) -> bytes:
    """An ELF file with a section's name overwritten by one of the same length."""
    if len(old) != len(new):
        raise ValueError("of the same length")
    strings = next(found for found in sections(data) if found.name == ".shstrtab")
    at = data.index(old.encode() + b"\0", strings.offset, strings.offset + strings.size)
    return data[:at] + new.encode() + data[at + len(old) :]


def segments(data: bytes | bytearray) -> list[tuple[int, int, int, int, int, int]]:
    """Program headers: where each lies, its type, flags, offset, address and size in the file."""
    (table,) = struct.unpack_from("<Q", data, 32)
    size, count = struct.unpack_from("<HH", data, 54)
    found = []
    for i in range(count):
        at = table + i * size
        kind, flags, offset, address, _, length = struct.unpack_from("<IIQQQQ", data, at)
        found.append((at, kind, flags, offset, address, length))
    return found


def offset_of(data: bytes | bytearray, address: int) -> int:
    """Where in the file a mapped address lies."""
    for _, kind, _, offset, start, size in segments(data):
        if kind == 1 and start <= address < start + size:
            return address - start + offset
    raise KeyError(hex(address))


def dynamic(data: bytes | bytearray) -> dict[int, tuple[int, int]]:
    """The dynamic section: by tag, where the entry lies and its value."""
    found: dict[int, tuple[int, int]] = {}
    for _, kind, _, offset, _, size in segments(data):
        if kind == 2:
            for at in range(offset, offset + size, 16):
                tag, value = struct.unpack_from("<QQ", data, at)
                found.setdefault(tag, (at, value))
    return found


def relocations(data: bytes | bytearray) -> Iterator[tuple[int, int, int, int]]:
    """RELA relocations: where each lies, address, info, addend."""
    tags = dynamic(data)
    start = offset_of(data, tags[7][1])
    for at in range(start, start + tags[8][1], 24):
        yield (at, *struct.unpack_from("<QQq", data, at))


def function(data: bytes | bytearray, part: str) -> int:
    """Where in the file an exported function starts whose name has this part."""
    found = {x.name: x for x in sections(bytes(data))}
    symbols, strings = found[".dynsym"], found[".dynstr"]
    for at in range(symbols.offset, symbols.offset + symbols.size, 24):
        name, info, _, index, value, size = struct.unpack_from("<IBBHQQ", data, at)
        start = strings.offset + name
        text = bytes(data[start : data.index(b"\0", start)]).decode()
        if part in text and info & 15 == 2 and index and size >= 16:
            return offset_of(data, value)
    raise KeyError(part)
