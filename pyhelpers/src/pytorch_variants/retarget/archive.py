"""Zip archives by entries: unchanged ones are copied as they stand, changed ones deflated in parallel."""

import copy
import hashlib
import lzma
import os
import struct
import zlib
from collections import deque
from collections.abc import Callable, Iterator
from concurrent.futures import Executor, Future
from contextlib import contextmanager
from pathlib import Path
from typing import IO, Self
from zipfile import ZIP_DEFLATED, ZIP_STORED, BadZipFile, ZipFile, ZipInfo

from pytorch_variants.binary.elf import open_regular
from pytorch_variants.errors import UserError
from pytorch_variants.retarget.rewrite import BLOCK

# The bytes of an entry from one place to another; it is called by several threads at a time.
Read = Callable[[int, int], bytes]

_LOCAL_HEADER = struct.Struct("<4s22xHH")  # signature, lengths of the name and of the extra field
_LEVEL = 6  # zlib's default, as in official wheels; fixed, for the same bytes every time
_WINDOW = 32768  # how far back deflate can refer


# All that zipfile raises on archives that are damaged, or of a kind that it does not know.
_DAMAGE = (
    BadZipFile,
    EOFError,
    IndexError,
    NotImplementedError,
    OverflowError,
    UnicodeError,
    lzma.LZMAError,
    struct.error,
    zlib.error,
)


@contextmanager
def open_archive(path: Path) -> Iterator[ZipFile]:
    """Open a zip archive. Raises UserError where it is none, or is found damaged inside the block."""
    try:
        os.close(open_regular(path))
        with ZipFile(path) as archive:
            yield archive
    except _DAMAGE as error:
        text = str(error) or "the archive ends too early"
        raise UserError(text if str(path) in text else f"{path}: {text}") from error


def entry_start(source: int, info: ZipInfo) -> int:
    """The place of an entry's compressed bytes."""
    header = os.pread(source, _LOCAL_HEADER.size, info.header_offset)
    if len(header) != _LOCAL_HEADER.size or header[:4] != b"PK\3\4":
        raise UserError(f"{info.filename}: no such entry where the archive's directory has it")
    _, name, extra = _LOCAL_HEADER.unpack(header)
    return info.header_offset + _LOCAL_HEADER.size + int(name) + int(extra)


def _deflate(read: Read, start: int, stop: int, last: bool) -> tuple[bytes, bytes]:
    before = min(start, _WINDOW)
    data = read(start - before, stop)
    # The block before is what this one may refer to, as if one stream had been deflated.
    packer = zlib.compressobj(_LEVEL, zlib.DEFLATED, -zlib.MAX_WBITS, zdict=data[:before])
    packed = packer.compress(data[before:])
    return data[before:], packed + packer.flush(zlib.Z_FINISH if last else zlib.Z_SYNC_FLUSH)


def _blocks(read: Read, size: int, pool: Executor, ahead: int) -> Iterator[tuple[bytes, bytes]]:
    waiting: deque[Future[tuple[bytes, bytes]]] = deque()
    for start in range(0, max(size, 1), BLOCK):
        stop = min(start + BLOCK, size)
        waiting.append(pool.submit(_deflate, read, start, stop, stop == size))
        if len(waiting) > ahead:
            yield waiting.popleft().result()
    yield from (future.result() for future in waiting)


class Writer:
    """A new archive of entries of another one, which keep their order, times and modes.

    `ahead` blocks of 1 MiB are deflated by the pool at a time; that, not an entry's size, bounds the memory.
    """

    def __init__(self, file: IO[bytes], pool: Executor, ahead: int, progress: Callable[[int], None]) -> None:
        """Start the archive in an empty file; `progress` is called with numbers of bytes done."""
        self._file, self._pool, self._ahead, self._progress = file, pool, ahead, progress
        self._archive = ZipFile(file, "w")

    def _begin(self, info: ZipInfo, name: str) -> ZipInfo:
        new = copy.copy(info)
        new.filename, new.header_offset, new.extra = name, self._file.tell(), b""
        new.flag_bits &= ~0x08  # The sizes stand in the header: none follow the data.
        return new

    def _end(self, info: ZipInfo) -> None:
        # What ZipFile.writestr does when it has written the data.
        self._archive.filelist.append(info)
        self._archive.NameToInfo[info.filename] = info
        self._archive.start_dir = self._file.tell()

    def copy(self, source: int, info: ZipInfo, name: str) -> None:
        """Take over an entry with its compressed bytes; `source` is the old archive, open."""
        new = self._begin(info, name)
        self._file.write(new.FileHeader())
        start, end = entry_start(source, info), entry_start(source, info) + info.compress_size
        while start < end:
            data = os.pread(source, min(BLOCK, end - start), start)
            if not data:
                raise UserError(f"{info.filename}: the archive ends too early")
            self._file.write(data)
            self._progress(len(data))
            start += len(data)
        self._end(new)

    def add(self, info: ZipInfo, name: str, read: Read, size: int) -> bytes:
        """Write an entry with new contents, in an old one's place; its SHA-256 comes back."""
        new = self._begin(info, name)
        new.compress_type, new.file_size, new.compress_size, new.CRC = ZIP_DEFLATED, size, 0, 0
        # Without the compressed size and the checksum for now; the length stays.
        self._file.write(new.FileHeader())
        digest = hashlib.sha256()
        for data, packed in _blocks(read, size, self._pool, self._ahead):
            digest.update(data)
            new.CRC = zlib.crc32(data, new.CRC)
            new.compress_size += len(packed)
            self._file.write(packed)
            self._progress(len(data))
        end = self._file.tell()
        self._file.seek(new.header_offset)
        self._file.write(new.FileHeader())
        self._file.seek(end)
        self._end(new)
        return digest.digest()

    def __enter__(self) -> Self:
        """The archive is closed where the block ends well."""
        return self

    def __exit__(self, kind: type[BaseException] | None, *_: object) -> None:
        """Write the archive's directory, or leave the file as it is."""
        if kind:
            # ZipFile writes it whenever it is deleted, and complains that its file is closed by then.
            self._archive.fp = None
        self._archive.close()


def check_kinds(archive: ZipFile) -> None:
    """Raise UserError on entries that are not as in wheels: doubled, encrypted or in a rare compression."""
    names = set()
    for info in archive.infolist():
        if info.filename in names:
            raise UserError(f"{archive.filename}: two entries are named {info.filename}")
        names.add(info.filename)
        end = info.header_offset + info.compress_size
        stored = info.compress_type == ZIP_STORED
        if end > archive.start_dir or (stored and info.file_size != info.compress_size):
            raise UserError(f"{archive.filename}: {info.filename} has not the size that the archive says")
        if info.flag_bits & 1 or info.compress_type not in (ZIP_STORED, ZIP_DEFLATED):
            raise UserError(f"{archive.filename}: {info.filename} is encrypted or in a rare compression")
